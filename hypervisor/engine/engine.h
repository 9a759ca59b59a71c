/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine.h - the seam between the Xen ABI and what executes guest instructions.
 *
 * Above it: hypercalls, event channels, PV frames (abi/), the vCPU loop.  Below it: `bt`, binary translation.
 *
 * run() executes until something only the ABI can handle happens, and says what.  regs.rip then is:
 *   EXIT_HYPERCALL, EXIT_SYSCALL   after the instruction (the return address the ABI pushes or goes on at)
 *   EXIT_EXCEPTION                 as hardware reports it: at the instruction for a fault, after it for a trap (int3, #DB)
 *   EXIT_KICK                      at an instruction boundary
 */
#ifndef HV_ENGINE_H
#define HV_ENGINE_H

#include "hypervisor/vcpu.h"

enum engine_exit {
	EXIT_KICK,          /* vcpu.kick was set, a flush was asked for, or the engine wants the loop to look around */
	EXIT_HYPERCALL,     /* `syscall` in kernel mode, or int 0x82 */
	EXIT_SYSCALL,       /* `syscall` in user mode (64-bit) */
	EXIT_SYSCALL32,     /* `syscall` from a compatibility segment */
	EXIT_SYSENTER,
	EXIT_EXCEPTION,     /* vcpu.exc says which; includes int n, with exc.software */
	EXIT_HALT,          /* engine cannot go on: an internal error, logged; the domain is crashed */
};

enum dirty_op { DIRTY_LOG_OFF, DIRTY_LOG_ON };

struct buf;

struct engine_ops {
	const char *name;

	/* Domain and vCPU set-up.  0 or -errno; on error nothing is left behind. */
	int (*domain_init)(struct domain *d, size_t code_cache_bytes);
	void (*domain_destroy)(struct domain *d);
	int (*vcpu_init)(struct vcpu *v);
	void (*vcpu_destroy)(struct vcpu *v);

	/*
	 * Memory of a vCPU, all zero, with whatever the engine wants to have beside it; NULL: there is none.  An engine without these
	 * takes any.
	 */
	struct vcpu *(*vcpu_alloc)(void);
	void (*vcpu_free)(struct vcpu *v);

	/* Called on the vCPU's own thread, once, before the first run(): per-thread state (gs base, sigaltstack). */
	int (*vcpu_enter_thread)(struct vcpu *v);
	enum engine_exit (*run)(struct vcpu *v);

	/* A kernel's timer (SI_TIMER) that sends a vCPU's thread this signal kicks the vCPU, from vcpu_enter_thread() on. */
	int timer_signal;

	/* From any thread: make run() return soon (sets vcpu.kick, signals the thread when it is in the guest). */
	void (*kick)(struct vcpu *v);

	/*
	 * While run() serves an exit by itself (domain.serve) the guest's vector registers are live in the host's and other
	 * vCPUs count on this one to answer their requests.  Before anything that may use vector registers (libc, files not
	 * built -mgeneral-regs-only) or wait for a lock that is held across a shoot-down: this.  Does nothing elsewhere.
	 */
	void (*full_context)(struct vcpu *v);

	/*
	 * Translation look-aside state.  "local" forms: on v's own thread, outside translated code.  shootdown: flushes
	 * the vCPUs in mask (bit per vCPU id) and returns when none of them can use an old entry; the caller's own bit is
	 * served directly; while it waits the caller serves requests made of itself.
	 */
	void (*tlb_flush_local)(struct vcpu *v);
	void (*tlb_invlpg_local)(struct vcpu *v, uint64_t va);
	void (*tlb_shootdown)(struct vcpu *self, uint64_t mask, uint64_t va, bool all);
	void (*cr3_changed)(struct vcpu *v, bool kernel);     /* cr3_kernel or cr3_user was set; cheap */
	void (*mode_changed)(struct vcpu *v);                 /* regs.kernel_mode toggled */

	/* A frame was written from outside translated code (hypercall, back end, restore): drop translations of it. */
	void (*frame_written)(struct domain *d, uint64_t mfn);

	/*
	 * Dirty log.  dirty_log() switches it; dirty_sync() revokes every write tag on every vCPU, acknowledged, so that
	 * each page's next write marks it again, then moves d->dirty to `out` (bitmap of domain_nr_frames bits, cleared
	 * at the source) - the snapshot is exact as of some instant during the call.  Called off vCPU threads.
	 */
	int (*dirty_log)(struct domain *d, enum dirty_op op);
	int (*dirty_sync)(struct domain *d, uint64_t *out);

	/*
	 * What a guest that moves runs, so that its target has it ready; NULL where there is nothing to prepare.  All off vCPU threads.
	 * code_watch(): from here on note it.  code_list(): append what was noted and not listed since, within out's bound; 0 or -ENOMEM.
	 * code_make(), before the guest's state is loaded, on any thread: prepare what such a list names, as long as go_on(arg); lists come from other nodes: 0 or -EBADMSG.
	 */
	void (*code_watch)(struct domain *d);
	int (*code_list)(struct domain *d, struct buf *out);
	int (*code_make)(struct domain *d, const void *list, size_t bytes, bool (*go_on)(void *arg), void *arg, unsigned *ret_blocks);

	/*
	 * Guest virtual memory through v's page tables in force (kernel mode rights unless user_rights).  Bytes copied
	 * before a fault are reported through *done; -EFAULT then, with v->exc describing the #PF (cr2, error code).
	 */
	int (*copy_from)(struct vcpu *v, void *dst, uint64_t va, size_t n, size_t *done);
	int (*copy_to)(struct vcpu *v, uint64_t va, const void *src, size_t n, size_t *done);

	/*
	 * Gives back memory that can be made anew: translations.  For a guest that has been idle for long; off vCPU threads.
	 * It costs the guest's next steps what making them again costs.
	 */
	void (*trim)(struct domain *d);

	/* State only the engine keeps, for the image; vector state in vcpu.xsave is complete after sync_state. */
	void (*sync_state)(struct vcpu *v);
};

extern const struct engine_ops engine_bt;

#endif
