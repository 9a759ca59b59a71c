/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abi.h - what the rest of the hypervisor calls of the Xen PV ABI.
 *
 * Pure: no file descriptors, no sockets; clocks come in through abi_now_ns().  Everything a guest can reach by
 * hypercall, event channel, grant or shared page starts here.
 */
#ifndef HV_ABI_H
#define HV_ABI_H

#include "hypervisor/engine/engine.h"

/*
 * Set-up and tear-down of evtchn/grant/shared info/clock of a domain whose memory is mapped and whose engine is set.
 * 0 or -errno.  The caller has initialised d->lock; then one abi_vcpu_init per vCPU.
 */
int abi_domain_init(struct domain *d);
void abi_domain_destroy(struct domain *d);
void abi_vcpu_init(struct vcpu *v);                   /* power-on state: down, info in shared_info */

/*
 * Serve what run() returned, and deliver events that this made deliverable.  0, or -1: the vCPU does not go on.  pv_serve_fast
 * is the same as an engine may call it with vector registers live (domain.serve).
 */
int pv_serve(struct vcpu *v, enum engine_exit why);
int pv_serve_fast(struct vcpu *v, int why);

/* PV CPU: entry to the guest's handlers.  All run on v's thread.  0, or -1: the guest cannot take it (domain crashes). */
int pv_hypercall(struct vcpu *v);                     /* EXIT_HYPERCALL */
int pv_syscall(struct vcpu *v, enum engine_exit how); /* EXIT_SYSCALL, EXIT_SYSCALL32, EXIT_SYSENTER */
int pv_exception(struct vcpu *v);                     /* deliver v->exc */
int pv_deliver_events(struct vcpu *v);                /* upcall if pending and not masked, NMI */
bool pv_events_deliverable(const struct vcpu *v);

void vcpu_send_nmi(struct vcpu *v);                   /* any thread; one pending at most, as on hardware */

/* Segment loads for the emulator: sets sel and base, or fills v->exc (#GP/#NP/#SS) and returns -1. */
int pv_load_segment(struct vcpu *v, unsigned seg, uint16_t sel);
void pv_swapgs(struct vcpu *v);
bool pv_ports_in_bitmap(struct vcpu *v, uint16_t port, unsigned bytes);   /* user code without IOPL may use them: set_iobitmap */
int debugreg_set(struct vcpu *v, unsigned reg, uint64_t val);   /* 0..3, 6, 7: checked; 0 or -errno */
int pv_iret_user32_cs(struct vcpu *v, uint16_t sel);  /* code segment: 1 compatibility, 0 64-bit; -1: not loadable */

/* Event channels, from back ends and timers (any thread, d->lock not held).  Ports below are the guest's. */
int evtchn_bind_backend(struct domain *d);                           /* allocates an unbound port for Domain-0; port or -errno */
int evtchn_connect_backend(struct domain *d, uint32_t port);         /* back end attaches to an unbound port; 0 or -errno */
void evtchn_raise(struct domain *d, uint32_t port);                  /* back end -> guest */
void evtchn_raise_virq(struct vcpu *v, unsigned virq);

/*
 * Grants, for back ends: resolve a reference of the guest to a frame.  Marks GTF_reading/writing; release clears.
 * Returns the frame's host address (4096 bytes) or NULL; *ret_mfn is for domain_mark_dirty.
 */
void *grant_acquire(struct domain *d, uint32_t ref, bool write, uint64_t *ret_mfn);
void grant_release(struct domain *d, uint32_t ref, bool write);
/* The same for those who do many at once: d->lock held. */
void *grant_acquire_locked(struct domain *d, uint32_t ref, bool write, uint64_t *ret_mfn);
void grant_release_locked(struct domain *d, uint32_t ref, bool write);

/* Time.  The first four are hypervisor/host_clock.c; tests replace them. */
uint64_t abi_now_ns(void);                            /* host CLOCK_MONOTONIC */
uint64_t abi_realtime_ns(void);                       /* host CLOCK_REALTIME */
uint64_t abi_read_tsc(void);
uint64_t abi_tsc_khz(bool *ret_stable);               /* rate of abi_read_tsc(); stable: invariant and in step on all CPUs */
uint64_t system_time_ns(const struct domain *d);
void time_update_vcpu(struct vcpu *v);                /* vcpu_time_info of v, before it enters the guest */
bool time_sleep_is_over(const struct domain *d);      /* nothing to go on by, or not now: some vCPU is at work (any thread, a hint) */
void time_update_wallclock(struct domain *d);
void time_poll_timers(struct vcpu *v);                /* raises VIRQ_TIMER when singleshot/periodic is due */
uint64_t time_next_deadline_ns(const struct vcpu *v); /* host monotonic, UINT64_MAX: none */
void runstate_change(struct vcpu *v, int runstate);

/*
 * SCHEDOP_watchdog.  A domain that stood still (a pause, a restore, a move) is given its whole time again: watchdog_rearm, before
 * its vCPUs go on.  poll ends the domain (SHUTDOWN_watchdog) when one has run out; any vCPU's thread.
 */
void watchdog_poll(struct domain *d);
uint64_t watchdog_deadline_ns(const struct domain *d);      /* host monotonic, UINT64_MAX: none */
void watchdog_rearm(struct domain *d);

/*
 * vcpu_thread.c implements; tests stub.  wake: v has something to look at (any thread, d->lock held or not): it leaves
 * the guest or its sleep.  yield: v's thread gives up the CPU for a moment.
 */
void vcpu_wake(struct vcpu *v);
void vcpu_yield(struct vcpu *v);

/* Name of a hypercall for logs and statistics. */
const char *hypercall_name(uint64_t nr);

/*
 * Image: every piece of state above as bytes (record bodies, see docs/specs/image.md), and back.  save: appends to a
 * growing buffer; load: validates everything, 0 or -EINVAL with nothing applied.
 */
struct buf;
int abi_domain_save(struct domain *d, struct buf *out);
int abi_domain_load(struct domain *d, const void *p, size_t n);
int abi_tsc_save(struct domain *d, struct buf *out);
int abi_tsc_load(struct domain *d, const void *p, size_t n);   /* after the domain; without it the guest's TSC is the host's */
int abi_vcpu_save(struct vcpu *v, struct buf *out);
int abi_vcpu_load(struct vcpu *v, const void *p, size_t n);
/*
 * load: domain first, then its vCPUs, all before any vCPU thread runs; guest memory may come before or after.  settle:
 * once memory is there and the back ends have taken their grants again, before the first vCPU runs (vcpu_threads_resume
 * does it, each time); nothing to do for a domain that was built here.
 */
void abi_domain_settle(struct domain *d);

#endif
