/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * serve.c - what each reason to leave the guest asks of the ABI.
 *
 * Built -mgeneral-regs-only, as is all that the fast hypercalls (hypercall.c) reach: engines call it with the guest's
 * vector registers in the host's.
 */
#include "hypervisor/abi/abi_private.h"

static int serve_one(struct vcpu *v, enum engine_exit why)
{
	switch (why) {
	case EXIT_HYPERCALL:
		return pv_hypercall(v);
	case EXIT_SYSCALL:
	case EXIT_SYSCALL32:
	case EXIT_SYSENTER:
		return pv_syscall(v, why);
	case EXIT_EXCEPTION:
		return pv_exception(v);
	case EXIT_KICK:
	case EXIT_HALT:
		break;
	}
	return domain_crash(v, "vCPU %u: the engine cannot go on at rip %#lx", v->id, v->regs.rip);
}

int pv_serve(struct vcpu *v, enum engine_exit why)
{
	if (why == EXIT_KICK)
		return 0;                /* its loop looks around, and delivers events as it enters again */
	if (serve_one(v, why))
		return -1;
	/* one that is about to sleep or to stop is looked at by its loop */
	return atomic_load_explicit(&v->run_state, memory_order_relaxed) == VCPU_RUNNABLE ? pv_deliver_events(v) : 0;
}

int pv_serve_fast(struct vcpu *v, int why) { return pv_serve(v, (enum engine_exit)why); }
