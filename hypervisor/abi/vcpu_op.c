/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu_op.c - vcpu_op: bringing vCPUs up and down, their timers and the areas they share with the hypervisor.
 */
#include <stdlib.h>

#include "hypervisor/abi/abi_private.h"
#include <xen/sched.h>

#define MIN_PERIOD_NS 1000000UL           /* Xen's floor and ceiling (STIME_DELTA_MAX) for a periodic timer */
#define MAX_PERIOD_NS (UINT64_MAX >> 2)

/* ---- initialise, up, down ---- */

static int context_check(const struct domain *d, const struct vcpu_guest_context *ctx)
{
	uint64_t l4 = xen_cr3_to_pfn(ctx->ctrlreg[3]), user_l4 = xen_cr3_to_pfn(ctx->ctrlreg[1]);

	for (unsigned i = 0; i < 256; i++)
		if (!va_is_canonical(ctx->trap_ctxt[i].address))
			return -EINVAL;
	if (!va_is_canonical(ctx->event_callback_eip) || !va_is_canonical(ctx->failsafe_callback_eip) ||
	    !va_is_canonical(ctx->syscall_callback_eip) || !va_is_canonical(ctx->fs_base) ||
	    !va_is_canonical(ctx->gs_base_kernel) || !va_is_canonical(ctx->gs_base_user))
		return -EINVAL;
	if (!frame_is_populated(d, l4) || (user_l4 && !frame_is_populated(d, user_l4)))
		return -EINVAL;
	if ((ctx->ldt_base & (PAGE_SIZE_HV - 1)) || ctx->ldt_ents > 8192 || !va_is_canonical(ctx->ldt_base))
		return -EINVAL;
	return 0;
}

static void context_regs(struct vcpu *v, const struct vcpu_guest_context *ctx)
{
	const struct cpu_user_regs *u = &ctx->user_regs;
	struct cpu_regs *r = &v->regs;

	r->gpr[REG_RAX] = u->rax; r->gpr[REG_RBX] = u->rbx; r->gpr[REG_RCX] = u->rcx; r->gpr[REG_RDX] = u->rdx;
	r->gpr[REG_RSI] = u->rsi; r->gpr[REG_RDI] = u->rdi; r->gpr[REG_RBP] = u->rbp; r->gpr[REG_RSP] = u->rsp;
	r->gpr[REG_R8] = u->r8; r->gpr[REG_R9] = u->r9; r->gpr[REG_R10] = u->r10; r->gpr[REG_R11] = u->r11;
	r->gpr[REG_R12] = u->r12; r->gpr[REG_R13] = u->r13; r->gpr[REG_R14] = u->r14; r->gpr[REG_R15] = u->r15;
	r->rip = u->rip;
	r->rflags = (u->rflags & ~(EFLAGS_IOPL | EFLAGS_VM)) | EFLAGS_IF | EFLAGS_MBS;
	r->sel[SEG_CS] = u->cs | 3;
	r->sel[SEG_SS] = u->ss | 3;
	r->sel[SEG_DS] = u->ds;
	r->sel[SEG_ES] = u->es;
	r->sel[SEG_FS] = u->fs;
	r->sel[SEG_GS] = u->gs;
	r->fs_base = ctx->fs_base;
	r->kernel_mode = !!(ctx->flags & VGCF_in_kernel);
	r->gs_base = r->kernel_mode ? ctx->gs_base_kernel : ctx->gs_base_user;
	r->gs_base_other = r->kernel_mode ? ctx->gs_base_user : ctx->gs_base_kernel;
	v->iopl = u->rflags >> 12 & 3;
}

/* Legacy x87/SSE state in the standard XSAVE layout: 512 bytes of FXSAVE image, then XSTATE_BV. */
static void context_fpu(struct vcpu *v, const struct vcpu_guest_context *ctx)
{
	const uint64_t xstate_bv = 3;

	if (!(ctx->flags & VGCF_I387_VALID))
		return;
	memcpy(v->xsave, ctx->fpu_ctxt.x, sizeof(ctx->fpu_ctxt.x));
	memset(v->xsave + 512, 0, sizeof(v->xsave) - 512);
	memcpy(v->xsave + 512, &xstate_bv, sizeof(xstate_bv));
}

/*
 * Data selectors that do not load are nulled and the vCPU starts at its failsafe callback, which finds them in its frame:
 * what Xen does as it switches to such a vCPU.
 */
static int context_selectors(struct vcpu *v)
{
	static const uint8_t data[] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };

	for (unsigned i = 0; i < sizeof(data); i++)
		if (!pv_segment_loadable(v, data[i], v->regs.sel[data[i]]))
			return pv_failsafe(v) ? -EINVAL : 0;
	return 0;
}

static int context_apply(struct vcpu *v, const struct vcpu_guest_context *ctx)
{
	int rc = context_check(v->d, ctx);

	if (!rc)
		rc = pv_set_gdt(v, ctx->gdt_frames, ctx->gdt_ents);
	if (rc)
		return rc;
	context_regs(v, ctx);
	context_fpu(v, ctx);
	for (unsigned i = 0; i < 256; i++) {
		const struct trap_info *t = &ctx->trap_ctxt[i];

		/* by place, not by t->vector: Linux leaves that 0 in the entries it has no handler for */
		v->trap[i] = (struct trap_entry){ .address = t->address, .cs = t->cs | 3, .dpl = TI_GET_DPL(t),
							  .mask_events = !!TI_GET_IF(t) };
	}
	v->ldt_base = ctx->ldt_base;
	v->ldt_ents = (unsigned)ctx->ldt_ents;
	v->kernel_ss = (uint16_t)(ctx->kernel_ss | 3);
	v->kernel_sp = ctx->kernel_sp;
	v->cr3_kernel = xen_cr3_to_pfn(ctx->ctrlreg[3]);
	v->cr3_user = xen_cr3_to_pfn(ctx->ctrlreg[1]);
	for (unsigned i = 0; i < 4; i++)
		if (debugreg_set(v, i, ctx->debugreg[i]))
			v->dr[i] = 0;
	debugreg_set(v, 6, ctx->debugreg[6]);
	debugreg_set(v, 7, ctx->debugreg[7]);
	v->cb_event = ctx->event_callback_eip;
	v->cb_failsafe = ctx->failsafe_callback_eip;
	v->cb_failsafe_mask = !!(ctx->flags & VGCF_failsafe_disables_events);
	v->cb_syscall = ctx->syscall_callback_eip;
	v->cb_syscall_mask = !!(ctx->flags & VGCF_syscall_disables_events);
	pt_mark(v->d, v->cr3_kernel, 4);
	v->regs.code32 = !v->regs.kernel_mode && pv_code_selector(v, v->regs.sel[SEG_CS]) == 32;
	rc = context_selectors(v);
	v->initialised = !rc;
	return rc;
}

static int64_t op_initialise(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_guest_context *ctx = malloc(sizeof(*ctx));
	int64_t rc = -ENOMEM;

	if (!ctx)
		return rc;
	rc = -EFAULT;
	if (guest_read(self, ctx, va, sizeof(*ctx)))
		goto out;
	/* Not a lock held across the work: a vCPU that is down and not initialised is run by nobody. */
	pthread_mutex_lock(&v->d->lock);
	rc = v->initialised || atomic_load(&v->run_state) != VCPU_DOWN ? -EEXIST : 0;
	if (!rc)
		rc = context_apply(v, ctx);
	pthread_mutex_unlock(&v->d->lock);
out:
	free(ctx);
	return rc;
}

static int64_t op_up(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	int down = VCPU_DOWN;

	if (!v->initialised)
		return -EINVAL;
	if (atomic_compare_exchange_strong(&v->run_state, &down, VCPU_RUNNABLE))
		vcpu_wake(v);
	return 0;
}

static int64_t op_down(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct domain *d = v->d;
	bool any_up = false;

	atomic_store(&v->run_state, VCPU_DOWN);
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		any_up |= atomic_load(&d->vcpu[i]->run_state) != VCPU_DOWN;
	if (!any_up)
		domain_shutdown(d, SHUTDOWN_poweroff);
	vcpu_wake(v);
	if (v == self)
		atomic_store(&v->kick, true);
	return 0;
}

static int64_t op_is_up(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	return atomic_load(&v->run_state) != VCPU_DOWN;
}

/* ---- shared areas ---- */

static int64_t op_get_runstate_info(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_runstate_info r;

	runstate_get(v, &r);
	return guest_write(self, va, &r, sizeof(r));
}

static int64_t op_register_runstate(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_register_runstate_memory_area a;

	if (guest_read(self, &a, va, sizeof(a)))
		return -EFAULT;
	if (!va_is_canonical(a.addr.p) || va_is_hypervisor(a.addr.p))
		return -EFAULT;
	runstate_register(self, v, a.addr.p);
	return 0;
}

static int64_t op_register_time(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_register_time_memory_area a;

	if (guest_read(self, &a, va, sizeof(a)))
		return -EFAULT;
	if (!va_is_canonical(a.addr.p) || va_is_hypervisor(a.addr.p))
		return -EFAULT;
	return time_register_area(self, v, a.addr.p);
}

/* Once per vCPU: from then on the structure lives in the guest's own page, with everything it held. */
static int64_t op_register_vcpu_info(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_register_vcpu_info a;
	struct domain *d = v->d;
	uint8_t *page;

	if (guest_read(self, &a, va, sizeof(a)))
		return -EFAULT;
	/* Aligned, since pending bits are set in it atomically; a valid one never crosses a page for that. */
	if (a.offset > PAGE_SIZE_HV - sizeof(struct vcpu_info) || (a.offset & 7))
		return -EINVAL;
	if (v->info_mfn != SPECIAL_MFN + SPECIAL_SHARED_INFO)
		return -EINVAL;
	if (v != self && atomic_load(&v->run_state) != VCPU_DOWN)
		return -EINVAL;
	page = ram_frame(d, a.mfn);
	if (!page)
		return -EINVAL;
	pthread_mutex_lock(&d->lock);
	memcpy(page + a.offset, v->info, sizeof(*v->info));
	v->info = (struct vcpu_info *)(void *)(page + a.offset);
	v->info_mfn = a.mfn;
	v->info_offset = a.offset;
	evtchn_vcpu_info_moved(v);
	pthread_mutex_unlock(&d->lock);
	d->engine->frame_written(d, a.mfn);
	return 0;
}

/* ---- timers ---- */

static int64_t op_set_periodic(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_set_periodic_timer t;

	if (guest_read(self, &t, va, sizeof(t)))
		return -EFAULT;
	if (t.period_ns < MIN_PERIOD_NS || t.period_ns > MAX_PERIOD_NS || v != self)
		return -EINVAL;
	v->periodic_next_ns = system_time_ns(v->d) + t.period_ns;
	v->periodic_ns = t.period_ns;
	atomic_store(&v->kick, true);
	return 0;
}

static int64_t op_stop_periodic(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	v->periodic_ns = 0;
	return 0;
}

static int64_t op_set_singleshot(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_set_singleshot_timer t;

	if (v != self)
		return -EINVAL;
	if (guest_read(self, &t, va, sizeof(t)))
		return -EFAULT;
	if ((t.flags & VCPU_SSHOTTMR_future) && t.timeout_abs_ns < system_time_ns(v->d))
		return -ETIME;
	v->singleshot_ns = t.timeout_abs_ns ? t.timeout_abs_ns : 1;
	atomic_store(&v->kick, true);
	return 0;
}

static int64_t op_stop_singleshot(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	if (v != self)
		return -EINVAL;
	v->singleshot_ns = 0;
	return 0;
}

void vcpu_send_nmi(struct vcpu *v)
{
	if (!(atomic_fetch_or(&v->nmi_pending, NMI_PENDING) & NMI_PENDING))
		vcpu_wake(v);
}

static int64_t op_send_nmi(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	vcpu_send_nmi(v);
	return 0;
}

/* vCPUs are pinned to nothing. */
static int64_t op_get_physid(struct vcpu *self, struct vcpu *v, uint64_t va) { return -EINVAL; }

static int64_t (*const vcpu_ops[])(struct vcpu *self, struct vcpu *v, uint64_t va) = {
	[VCPUOP_initialise] = op_initialise,
	[VCPUOP_up] = op_up,
	[VCPUOP_down] = op_down,
	[VCPUOP_is_up] = op_is_up,
	[VCPUOP_get_runstate_info] = op_get_runstate_info,
	[VCPUOP_register_runstate_memory_area] = op_register_runstate,
	[VCPUOP_set_periodic_timer] = op_set_periodic,
	[VCPUOP_stop_periodic_timer] = op_stop_periodic,
	[VCPUOP_set_singleshot_timer] = op_set_singleshot,
	[VCPUOP_stop_singleshot_timer] = op_stop_singleshot,
	[VCPUOP_register_vcpu_info] = op_register_vcpu_info,
	[VCPUOP_send_nmi] = op_send_nmi,
	[VCPUOP_get_physid] = op_get_physid,
	[VCPUOP_register_vcpu_time_memory_area] = op_register_time,
};

int64_t do_vcpu_op(struct vcpu *v, struct hypercall *c)
{
	uint64_t cmd = c->arg[0];
	uint32_t id = (uint32_t)c->arg[1];

	if (id >= v->d->nr_vcpus)
		return -ENOENT;
	if (cmd >= sizeof(vcpu_ops) / sizeof(vcpu_ops[0]))
		return -ENOSYS;
	return vcpu_ops[cmd](v, v->d->vcpu[id], c->arg[2]);
}

/* The one-shot timer's older form: 0 stops it. */
int64_t do_set_timer_op(struct vcpu *v, struct hypercall *c)
{
	v->singleshot_ns = c->arg[0];
	atomic_store(&v->kick, true);
	return 0;
}
