/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abi_private.h - what the files of abi/ share and nobody else sees.
 *
 * Locks: d->lock guards event channels, grants and the memory reservation.  It is taken for short, bounded work only
 * and never while waiting for another vCPU: guest memory reached through the engine and TLB shoot-downs stay outside.
 */
#ifndef HV_ABI_PRIVATE_H
#define HV_ABI_PRIVATE_H

#include <errno.h>
#include <string.h>

#include "hypervisor/abi/abi.h"

/* ---- hypercalls ---- */

/*
 * One hypercall in flight.  A handler that wants to be called again (v->kick came while it worked) updates arg[], sets
 * `again` and returns anything; one that has set the registers itself (iret) sets `no_return`.
 */
struct hypercall {
	uint64_t arg[6];
	bool again;
	bool no_return;
	bool in_multicall;
};

typedef int64_t hypercall_fn(struct vcpu *v, struct hypercall *c);

hypercall_fn do_mmu_update, do_mmuext_op, do_update_va_mapping, do_update_va_mapping_otherdomain;      /* mmu_op.c */
hypercall_fn do_memory_op;                                                                           /* memory_op.c */
hypercall_fn do_set_trap_table, do_callback_op, do_set_callbacks, do_nmi_op, do_stack_switch, do_fpu_taskswitch,
	do_set_debugreg, do_get_debugreg;                                                            /* traps.c */
hypercall_fn do_iret;                                                                                /* kernel_entry.c */
hypercall_fn do_set_gdt, do_update_descriptor, do_set_segment_base;                                  /* segments.c */
hypercall_fn do_event_channel_op;                                                                    /* evtchn_op.c */
hypercall_fn do_grant_table_op;                                                                      /* gnttab.c */
hypercall_fn do_sched_op, do_sched_op_compat;                                                        /* sched_op.c */
hypercall_fn do_vcpu_op, do_set_timer_op;                                                            /* vcpu_op.c */
hypercall_fn do_xen_version, do_console_io, do_physdev_op, do_vm_assist;                             /* misc_op.c */

/* From here on vector registers may be used and locks waited for: engine.h. */
static inline void abi_full_context(struct vcpu *v)
{
	if (v->d->engine && v->d->engine->full_context)
		v->d->engine->full_context(v);
}

/* Another vCPU, pause or the timer wants this one: long operations stop at the next step and continue later. */
static inline bool hypercall_preempt(struct vcpu *v)
{
	return atomic_load_explicit(&v->kick, memory_order_relaxed);
}

/* ---- guest memory ---- */

/* Guest kernel virtual memory, all or nothing as far as the return value goes: 0 or -EFAULT. */
int guest_read(struct vcpu *v, void *dst, uint64_t va, size_t n);
int guest_write(struct vcpu *v, uint64_t va, const void *src, size_t n);

/*
 * Guest kernel memory through the kernel page tables whatever mode is in force, for data the hypervisor keeps there
 * (LDT, runstate, time).  No A/D bits are set.  0 or -EFAULT.  On v's own thread, or while v cannot run.
 */
int guest_kernel_read(struct vcpu *v, void *dst, uint64_t va, size_t n);
int guest_kernel_write(struct vcpu *v, uint64_t va, const void *src, size_t n);

static inline bool va_is_canonical(uint64_t va) { return (uint64_t)((int64_t)(va << 16) >> 16) == va; }

static inline bool frame_is_populated(const struct domain *d, uint64_t mfn)
{
	return mfn < d->max_pages &&
	       (__atomic_load_n(&d->populated[mfn / 64], __ATOMIC_RELAXED) >> (mfn % 64) & 1);
}

/* A frame of RAM the guest holds, or NULL. */
static inline void *ram_frame(const struct domain *d, uint64_t mfn)
{
	return frame_is_populated(d, mfn) ? d->ram + (mfn << PAGE_SHIFT_HV) : NULL;
}

/* A whole or part of a frame was written by the ABI. */
static inline void frame_touched(struct domain *d, uint64_t mfn)
{
	domain_mark_dirty(d, mfn);
	d->engine->frame_written(d, mfn);
}

static inline struct shared_info *domain_shared_info(const struct domain *d)
{
	return domain_frame(d, SPECIAL_MFN + SPECIAL_SHARED_INFO);
}

/* The machine-to-physical table: entry of mfn (mfn < max_pages). */
void m2p_set(struct domain *d, uint64_t mfn, uint64_t gpfn);
#define M2P_INVALID (~0UL)

/* ---- page tables (mmu_op.c) ---- */

#define PTE_PRESENT 0x001UL
#define PTE_RW 0x002UL
#define PTE_ACCESSED 0x020UL
#define PTE_DIRTY 0x040UL
#define PTE_PSE 0x080UL
static inline uint64_t pte_mfn(uint64_t pte) { return (pte & 0x000ffffffffff000UL) >> PAGE_SHIFT_HV; }

/* L4 slots that belong to the hypervisor (M2P). */
#define HYPERVISOR_L4_FIRST 256
#define HYPERVISOR_L4_LAST 271

static inline bool va_is_hypervisor(uint64_t va)
{
	return va >= 0xffff800000000000UL && va < 0xffff880000000000UL;
}

/* The L1 slot that maps va in the tree below l4, or NULL; *ret_mfn is the L1's frame. */
uint64_t *pt_l1_slot(struct domain *d, uint64_t l4, uint64_t va, uint64_t *ret_mfn);
/* As mmu_update would write it: slot of the table in frame mfn.  0 or -EINVAL. */
int pt_entry_write(struct domain *d, uint64_t mfn, unsigned slot, uint64_t val);
void pt_mark(struct domain *d, uint64_t mfn, unsigned level);

/* TLB mask of every vCPU of the domain. */
static inline uint64_t vcpu_mask_all(const struct domain *d)
{
	return d->nr_vcpus >= 64 ? ~0UL : (1UL << d->nr_vcpus) - 1;
}

/* ---- PV CPU ---- */

#define EFLAGS_CF 0x1UL
#define EFLAGS_MBS 0x2UL
#define EFLAGS_TF 0x100UL
#define EFLAGS_IF 0x200UL
#define EFLAGS_IOPL 0x3000UL
#define EFLAGS_NT 0x4000UL
#define EFLAGS_RF 0x10000UL
#define EFLAGS_VM 0x20000UL
#define EFLAGS_AC 0x40000UL

#define TRAP_DB 1
#define TRAP_NMI 2
#define TRAP_BP 3
#define TRAP_OF 4
#define TRAP_UD 6
#define TRAP_NM 7
#define TRAP_NP 11
#define TRAP_SS 12
#define TRAP_GP 13
#define TRAP_PF 14

/* vcpu.nmi_pending: bits */
#define NMI_PENDING 1
#define NMI_MASKED 2

/* Leave guest user mode for kernel mode, or the reverse: tables, %gs bases, engine. */
void pv_toggle_mode(struct vcpu *v);

/* What a code selector is: 64, 32 (compatibility), or 0: not loadable. */
int pv_code_selector(struct vcpu *v, uint16_t sel);
/* A stack selector iret may load. */
bool pv_stack_selector_ok(struct vcpu *v, uint16_t sel);

/* Would a load of sel into seg succeed? */
bool pv_segment_loadable(struct vcpu *v, unsigned seg, uint16_t sel);
/*
 * Enter the failsafe callback of a vCPU that does not run, with its data selectors in the frame and null from then on.
 * Without a callback they are only nulled.  0, or -EFAULT: the frame does not fit its stack.
 */
int pv_failsafe(struct vcpu *v);

/* Queue an exception the ABI itself raises: fills v->exc and delivers it.  Result as pv_exception. */
int pv_inject(struct vcpu *v, uint8_t vector, uint32_t error_code);

int pv_set_gdt(struct vcpu *v, const uint64_t *frames, uint64_t entries);   /* 0 or -EINVAL, nothing changed */

static inline void vcpu_info_touched(struct vcpu *v) { domain_mark_dirty(v->d, v->info_mfn); }

/* ---- domain life ---- */

void abi_log(struct domain *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Record a shutdown reason (the first one counts) and stop every vCPU. */
void domain_shutdown(struct domain *d, int reason);
/* The guest did what cannot be carried on from: log why, record SHUTDOWN_crash.  Returns -1 for the caller to return. */
int domain_crash(struct vcpu *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- event channels (evtchn.c) ---- */

int evtchn_domain_init(struct domain *d);
void evtchn_domain_destroy(struct domain *d);
void vcpu_mark_events_pending(struct vcpu *v);
bool evtchn_port_valid(const struct domain *d, uint32_t port);     /* d->lock held */
bool evtchn_is_pending(const struct domain *d, uint32_t port);     /* d->lock held */
/* A vCPU registered its vcpu_info elsewhere: every word may hold something. d->lock held. */
void evtchn_vcpu_info_moved(struct vcpu *v);

/* ---- grants ---- */

int grant_domain_init(struct domain *d);
void grant_domain_destroy(struct domain *d);

/* ---- time ---- */

void time_domain_init(struct domain *d);
void time_set(struct domain *d, uint64_t system_ns);          /* system time is system_ns now; vCPUs are told as they enter */
/* The guest's clocks go on by what it slept, if nothing of it is at work.  Its vCPUs stand still; with d->lock. */
void time_sleep_over(struct domain *d);
/*
 * One instant by the guest's TSC, which counts at tsc_khz, and by its system time: what ties the two.  With a stable TSC it stays the same
 * for as long as the guest lives and does not sleep.  go_on: the TSC follows system time from there, never back behind it; before the first vCPU
 * runs.  0, or -EINVAL.
 */
struct tsc_pair { uint64_t tsc, ns, khz; };
struct tsc_pair tsc_pair_get(const struct domain *d);
int tsc_go_on(struct domain *d, const struct tsc_pair *p);
int time_register_area(struct vcpu *self, struct vcpu *v, uint64_t va);
void time_write_area(struct vcpu *v);
void runstate_register(struct vcpu *self, struct vcpu *v, uint64_t va);
void runstate_get(struct vcpu *v, struct vcpu_runstate_info *out);

#endif
