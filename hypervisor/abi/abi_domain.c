/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abi_domain.c - a domain's and a vCPU's state as the ABI sees them at power-on.
 */
#include "hypervisor/abi/abi_private.h"

_Static_assert(sizeof(struct vcpu_info) == 64, "xen.h: vcpu_info on x86-64");
_Static_assert(sizeof(struct shared_info) <= PAGE_SIZE_HV, "shared info is one page");

int abi_domain_init(struct domain *d)
{
	int rc;

	pthread_mutex_init(&d->reservation_lock, NULL);
	rc = evtchn_domain_init(d);
	if (!rc)
		rc = grant_domain_init(d);
	if (rc) {
		abi_domain_destroy(d);
		return rc;
	}
	memset(domain_shared_info(d), 0, PAGE_SIZE_HV);
	atomic_store(&d->shutdown_reason, DOMAIN_RUNNING);
	d->shutdown_code = DOMAIN_RUNNING;
	time_domain_init(d);
	time_update_wallclock(d);
	return 0;
}

void abi_domain_destroy(struct domain *d)
{
	evtchn_domain_destroy(d);
	grant_domain_destroy(d);
}

/* x87 and SSE as after FNINIT and reset (SDM vol. 1, 8.1 and 10.2): FCW 37f, MXCSR 1f80. */
static void fpu_power_on(struct vcpu *v)
{
	const uint16_t fcw = 0x37f;
	const uint32_t mxcsr = 0x1f80;
	const uint64_t xstate_bv = 3;

	memset(v->xsave, 0, sizeof(v->xsave));
	memcpy(v->xsave, &fcw, sizeof(fcw));
	memcpy(v->xsave + 24, &mxcsr, sizeof(mxcsr));
	memcpy(v->xsave + 512, &xstate_bv, sizeof(xstate_bv));
}

void abi_vcpu_init(struct vcpu *v)
{
	struct domain *d = v->d;

	v->info = &domain_shared_info(d)->vcpu_info[v->id];
	v->info_mfn = SPECIAL_MFN + SPECIAL_SHARED_INFO;
	v->info_offset = (unsigned)(offsetof(struct shared_info, vcpu_info) + v->id * sizeof(struct vcpu_info));
	memset(v->info, 0, sizeof(*v->info));
	v->info->evtchn_upcall_mask = 1;
	v->regs.kernel_mode = 1;
	v->regs.rflags = EFLAGS_IF | EFLAGS_MBS;
	v->regs.sel[SEG_CS] = FLAT_KERNEL_CS;
	v->regs.sel[SEG_SS] = FLAT_KERNEL_SS;
	v->kernel_ss = FLAT_KERNEL_SS;
	v->dr[6] = 0xffff0ff0;
	v->dr[7] = 0x400;
	v->xcr0 = 3;
	v->cr4 = 0x620;                               /* PAE, OSFXSR, OSXMMEXCPT: what the guest finds set */
	v->msr_pat = 0x0000050100070406UL;            /* WB WT UC- UC WC WP UC UC: fixed, as on Xen */
	v->runstate.state = RUNSTATE_offline;
	v->runstate.state_entry_time = system_time_ns(d);
	v->time_generation = d->clock.generation - 1;
	fpu_power_on(v);
	atomic_store(&v->run_state, VCPU_DOWN);
}
