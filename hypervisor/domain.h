/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain.h - one domain and its vCPUs, as every part of the hypervisor sees them.
 *
 * A domain's machine frames are its own: for RAM, mfn == gfn at start of day, and a frame number means the same on
 * every node, so page tables travel verbatim.  All guest-visible memory lies in one memfd:
 *
 *   frame number                                 file offset (pages)              what
 *   0 .. max_pages-1                             0 .. max_pages-1                 RAM (a hole where ballooned out)
 *   SPECIAL_MFN .. SPECIAL_MFN+nr_special-1      max_pages .. max_pages+nr-1      shared info, grant frames, M2P, ...
 *
 * Guest memory is reached through two doors only: domain_frame() for a frame number (bounds-checked here) and
 * engine_ops.copy_from/copy_to for a guest virtual address.
 */
#ifndef HV_DOMAIN_H
#define HV_DOMAIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT_HV 12
#define PAGE_SIZE_HV 4096UL
#define HV_MAX_VCPUS 32

/* Fixed frame numbers beyond any RAM: 512 GiB of guest-physical space.  They travel, so they never change. */
#define SPECIAL_MFN 0x8000000UL
#define SPECIAL_SHARED_INFO 0                 /* offset from SPECIAL_MFN */
#define SPECIAL_GRANT 1                       /* 64 grant v1 frames */
#define SPECIAL_NR_GRANT 64
#define SPECIAL_HYPERVISOR_L3 65              /* L3/L2 tables that map the M2P for the guest; read-only to it */
#define SPECIAL_NR_TABLES 8
#define SPECIAL_M2P 80                        /* max_pages * 8 bytes, rounded up to pages */

struct domain;
struct vcpu;

/* Why a domain ended: Xen's SHUTDOWN_* of sched.h, or still going. */
#define DOMAIN_RUNNING (-1)

struct evtchn_state;   /* abi/evtchn.c */
struct grant_state;    /* abi/grant.c */
struct bt_domain;      /* engine/bt */

#define DOMAIN_WATCHDOGS 2             /* as many as Xen has */

struct domain {
	uint16_t domid;
	uint8_t uuid[16];
	char name[80];

	int ram_fd;                 /* the memfd; sealed against growing and shrinking */
	uint8_t *ram;               /* mapping of the whole memfd */
	uint64_t max_pages;         /* RAM frames the number space holds (maxmem) */
	uint64_t nr_special;        /* pages beyond RAM */
	_Atomic uint64_t tot_pages; /* RAM frames the guest holds (memory less balloon) */
	_Atomic uint64_t limit_pages; /* it may not grow beyond (mem-set, mem-max); 0: max_pages */
	uint64_t *populated;        /* bitmap of max_pages: the guest holds the frame */
	_Atomic uint64_t *dirty;    /* bitmap of max_pages+nr_special, set while logging; RAM first, then special */
	atomic_bool dirty_logging;

	unsigned nr_vcpus;
	struct vcpu *vcpu[HV_MAX_VCPUS];

	const struct engine_ops *engine;
	struct bt_domain *bt;
	_Atomic uint64_t first_run_ns; /* host CLOCK_MONOTONIC at which a vCPU first went to run here; 0: none has */
	atomic_uint throttle;       /* thousandths of their time that the vCPUs lose: vcpu_loop.c; 0: none */
	atomic_bool pages_owed;     /* some of RAM is still on its way (hv_domain_pages.c): nobody else may make pages of it */
	pthread_mutex_t collapse_lock; /* held while a large page is made; pages_owed is set under it */
	uint8_t *pt_type;           /* a byte per RAM frame: 0, or level 1..4 while the frame is in use as a page table */

	pthread_mutex_t lock;       /* event channels, grants, memory reservation: everything in abi/ that vCPUs share */
	pthread_mutex_t reservation_lock; /* frames taken and given up; may be held across a TLB shoot-down; before d->lock */
	struct evtchn_state *evtchn;
	struct grant_state *grant;

	/*
	 * time, see abi/guest_time.c.  With an invariant TSC guest system time is clock.ns at TSC clock.tsc and runs on
	 * from there at the TSC's rate; else it is host CLOCK_MONOTONIC + system_offset_ns.
	 */
	struct {
		uint64_t tsc, ns;
		uint32_t mul;            /* ns = ((tsc << shift) * mul) >> 32 */
		int8_t shift;
		bool stable;
		uint64_t slept_ns;       /* what the guest slept in an image and its clocks have not gone on by yet: time_sleep_over */
		bool jumped;             /* they have, by more than a guest's watchdogs bear */
		uint64_t settled_ns;     /* system time up to which each timer event tells the watchdogs again */
		uint32_t generation;     /* changes whenever the above does */
		_Atomic unsigned waking; /* after a sleep its vCPUs wake one by one: this one less 1, since then; 0: all have (vcpu_loop.c) */
		_Atomic uint64_t waking_since_ns;
	} clock;
	int64_t system_offset_ns;
	int64_t wallclock_offset_ns; /* CLOCK_REALTIME at system time 0 */
	int64_t saved_clock_behind_ns; /* what this node's CLOCK_REALTIME is ahead of the clock that an image being loaded was written by */
	/*
	 * The guest's TSC: rate, which it was told at its start, and how it comes about from the host's (domain_guest_tsc).  Set before the
	 * first vCPU runs, and then for good: translated code has scale and offset in it.
	 */
	uint64_t tsc_khz;
	uint64_t tsc_scale;          /* guest ticks a host tick, a fixed-point number with TSC_SCALE_BITS; 0: one */
	int64_t tsc_offset;

	uint64_t vm_assist;
	uint64_t store_mfn, console_mfn;
	uint32_t store_port, console_port;

	/* SCHEDOP_watchdog: host CLOCK_MONOTONIC at which the domain ends, 0: off; and what it was last set to. */
	struct { _Atomic uint64_t deadline_ns; _Atomic uint32_t timeout_s; } watchdog[DOMAIN_WATCHDOGS];

	_Atomic int shutdown_reason; /* DOMAIN_RUNNING or SHUTDOWN_* */
	int shutdown_code;           /* latched by SCHEDOP_shutdown_code, DOMAIN_RUNNING: none */

	/*
	 * What an engine may ask of the layer above from inside run(), v->regs being complete: serve this EXIT_HYPERCALL,
	 * EXIT_SYSCALL or EXIT_EXCEPTION (enum engine_exit).  0: go on in the guest; else run() returns EXIT_KICK.  NULL: run()
	 * returns the exit.  See engine_ops.full_context.
	 */
	int (*serve)(struct vcpu *v, int why);

	/*
	 * What abi/ asks of the process around it.  Callbacks may be called from any vCPU thread, with d->lock held where
	 * noted; they must not block.
	 */
	void *owner;
	struct devices *devices;      /* devices/devices.c: its own, set by devices_create */
	/* Guest signalled a port bound to a back end; lock held.  true: call evtchn_backend_turn when it is not held any more. */
	bool (*evtchn_notify_backend)(struct domain *d, uint32_t port);
	void (*evtchn_backend_turn)(struct domain *d);
	void (*console_write)(struct domain *d, const char *s, size_t n); /* console_io write (early boot) */
	void (*shutdown_notify)(struct domain *d);                       /* shutdown_reason was set */
	void (*log)(struct domain *d, const char *msg);                  /* one line, no newline, ours (no guest bytes) */
	/* The guest gave frames [mfn, mfn+n) up: free the host memory behind them so that they read as zeros.  NULL: cleared. */
	void (*ram_release)(struct domain *d, uint64_t mfn, uint64_t n);
};

#define TSC_SCALE_BITS 48

/* The guest's TSC when the host's is host_tsc.  The translator emits the same arithmetic (bt_xlat.c). */
static inline uint64_t domain_guest_tsc(const struct domain *d, uint64_t host_tsc)
{
	if (d->tsc_scale)
		host_tsc = (uint64_t)((unsigned __int128)host_tsc * d->tsc_scale >> TSC_SCALE_BITS);
	return host_tsc + (uint64_t)d->tsc_offset;
}

static inline uint64_t domain_nr_frames(const struct domain *d) { return d->max_pages + d->nr_special; }

/*
 * Index of a frame in memfd and bitmaps, or UINT64_MAX when the guest may not name it.  The only translation from a
 * guest's frame number; every caller checks the result (or uses domain_frame).
 */
static inline uint64_t domain_frame_index(const struct domain *d, uint64_t mfn)
{
	if (mfn < d->max_pages)
		return mfn;
	if (mfn >= SPECIAL_MFN && mfn - SPECIAL_MFN < d->nr_special)
		return d->max_pages + (mfn - SPECIAL_MFN);
	return UINT64_MAX;
}

/* Host address of a frame, or NULL when there is no such frame.  4096 bytes, valid as long as the domain. */
static inline void *domain_frame(const struct domain *d, uint64_t mfn)
{
	uint64_t i = domain_frame_index(d, mfn);

	return i == UINT64_MAX ? NULL : d->ram + (i << PAGE_SHIFT_HV);
}

/* Every write to guest memory that does not go through a write tag says so here, after the write. */
static inline void domain_mark_dirty(struct domain *d, uint64_t mfn)
{
	uint64_t i = domain_frame_index(d, mfn);

	if (i != UINT64_MAX && atomic_load_explicit(&d->dirty_logging, memory_order_acquire))
		atomic_fetch_or_explicit(&d->dirty[i / 64], 1UL << (i % 64), memory_order_release);
}

#endif
