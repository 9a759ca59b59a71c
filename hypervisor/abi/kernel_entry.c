/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_entry.c - entering the guest kernel (exceptions, events, system calls) and its way back (iret).
 *
 * Every entry builds one frame, low to high:
 *
 *   rcx, r11, [error code], rip, cs | saved_upcall_mask << 32, rflags, rsp, ss
 *
 * on kernel_sp when the guest was in user mode, else on the current stack; aligned down to 16 before.  RFLAGS.IF in the
 * frame is the complement of the upcall mask, as everywhere a guest looks at it.  A stack that cannot take the frame is
 * the guest's end, as on Xen.
 */
#include "hypervisor/abi/abi_private.h"

void pv_swapgs(struct vcpu *v)
{
	uint64_t base = v->regs.gs_base;

	v->regs.gs_base = v->regs.gs_base_other;
	v->regs.gs_base_other = base;
}

void pv_toggle_mode(struct vcpu *v)
{
	pv_swapgs(v);
	v->regs.kernel_mode = !v->regs.kernel_mode;
	v->d->engine->mode_changed(v);
}

/* What distinguishes one entry from another. */
struct bounce {
	const char *what;
	uint64_t address;
	bool has_error_code;
	uint32_t error_code;
	bool mask_events;
};

#define ARCHITECTURAL_IOPL(d) ((d)->vm_assist >> VMASST_TYPE_architectural_iopl & 1)

static uint64_t frame_rflags(const struct vcpu *v, uint8_t mask)
{
	uint64_t rflags = (v->regs.rflags & ~(EFLAGS_IF | EFLAGS_IOPL)) | EFLAGS_MBS;

	if (!mask)
		rflags |= EFLAGS_IF;
	if (ARCHITECTURAL_IOPL(v->d))
		rflags |= (uint64_t)v->iopl << 12;
	return rflags;
}

static int bounce_to_kernel(struct vcpu *v, const struct bounce *b)
{
	struct cpu_regs *regs = &v->regs;
	uint8_t mask = v->info->evtchn_upcall_mask;
	bool from_kernel = regs->kernel_mode;
	uint64_t frame[8], sp;
	unsigned n = 0;

	if (!b->address)
		return domain_crash(v, "vCPU %u: %s and the guest has no handler (rip %#lx, error code %#x, cr2 %#lx)",
				    v->id, b->what, regs->rip, b->error_code, v->info->arch.cr2);
	frame[n++] = regs->gpr[REG_RCX];
	frame[n++] = regs->gpr[REG_R11];
	if (b->has_error_code)
		frame[n++] = b->error_code;
	frame[n++] = regs->rip;
	frame[n++] = (uint64_t)(from_kernel ? regs->sel[SEG_CS] & ~3U : regs->sel[SEG_CS]) | (uint64_t)mask << 32;
	frame[n++] = frame_rflags(v, mask);
	frame[n++] = regs->gpr[REG_RSP];
	frame[n++] = regs->sel[SEG_SS];

	if (!from_kernel)
		pv_toggle_mode(v);
	sp = (from_kernel ? regs->gpr[REG_RSP] : v->kernel_sp) & ~15UL;
	sp -= n * sizeof(frame[0]);
	if (guest_write(v, sp, frame, n * sizeof(frame[0])))
		return domain_crash(v, "vCPU %u: fault on the guest kernel's stack at %#lx while entering it for %s (rip %#lx)",
				    v->id, sp, b->what, frame[b->has_error_code ? 3 : 2]);

	regs->gpr[REG_RSP] = sp;
	regs->rip = b->address;
	regs->sel[SEG_CS] = FLAT_KERNEL_CS;
	regs->sel[SEG_SS] = FLAT_KERNEL_SS;
	regs->code32 = 0;
	regs->rflags &= ~(EFLAGS_AC | EFLAGS_VM | EFLAGS_RF | EFLAGS_NT | EFLAGS_TF);
	if (b->mask_events && !mask) {
		v->info->evtchn_upcall_mask = 1;
		vcpu_info_touched(v);
	}
	return 0;
}

/* The frame has ds, es, fs and gs between r11 and rip (xen/arch-x86/xen-x86_64.h, FAILSAFE_CALLBACK). */
int pv_failsafe(struct vcpu *v)
{
	struct cpu_regs *regs = &v->regs;
	uint8_t mask = v->info->evtchn_upcall_mask;
	bool from_kernel = regs->kernel_mode;
	uint64_t cs = from_kernel ? regs->sel[SEG_CS] & ~3U : regs->sel[SEG_CS], sp;
	const uint64_t frame[11] = {
		regs->gpr[REG_RCX], regs->gpr[REG_R11], regs->sel[SEG_DS], regs->sel[SEG_ES], regs->sel[SEG_FS], regs->sel[SEG_GS],
		regs->rip, cs | (uint64_t)mask << 32, frame_rflags(v, mask), regs->gpr[REG_RSP], regs->sel[SEG_SS],
	};

	regs->sel[SEG_DS] = regs->sel[SEG_ES] = regs->sel[SEG_FS] = regs->sel[SEG_GS] = 0;
	if (!v->cb_failsafe)
		return 0;
	sp = ((from_kernel ? regs->gpr[REG_RSP] : v->kernel_sp) & ~15UL) - sizeof(frame);
	if (guest_kernel_write(v, sp, frame, sizeof(frame)))
		return -EFAULT;
	if (!from_kernel)
		pv_toggle_mode(v);
	regs->gpr[REG_RSP] = sp;
	regs->rip = v->cb_failsafe;
	regs->sel[SEG_CS] = FLAT_KERNEL_CS;
	regs->sel[SEG_SS] = FLAT_KERNEL_SS;
	regs->rflags &= ~(EFLAGS_AC | EFLAGS_VM | EFLAGS_RF | EFLAGS_NT | EFLAGS_TF);
	if (v->cb_failsafe_mask && !mask) {
		v->info->evtchn_upcall_mask = 1;
		vcpu_info_touched(v);
	}
	return 0;
}

/* ---- exceptions ---- */

static const char *vector_name(unsigned vector)
{
	static const char *const names[32] = {
		"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "exception 9", "#TS", "#NP", "#SS", "#GP",
		"#PF", "exception 15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
	};

	return vector < 32 && names[vector] ? names[vector] : "interrupt";
}

/*
 * int n: who may use the gate (xen.h, trap_info).  #BP and #OF are open to all.  A refused gate is #GP at the
 * instruction.
 */
static bool softint_permitted(const struct vcpu *v, uint8_t vector)
{
	const struct trap_entry *t = &v->trap[vector];

	if (vector == TRAP_BP || vector == TRAP_OF)
		return true;
	return t->address && t->dpl >= (v->regs.kernel_mode ? 1 : 3);
}

static int deliver_exception(struct vcpu *v, const struct guest_exception *exc)
{
	const struct trap_entry *t = &v->trap[exc->vector];
	struct bounce b = { .what = vector_name(exc->vector), .address = t->address, .mask_events = t->mask_events,
			    .has_error_code = !exc->software && vector_has_error_code(exc->vector),
			    .error_code = exc->error_code };

	switch (exc->vector) {
	case TRAP_PF:
		v->info->arch.cr2 = exc->cr2;
		vcpu_info_touched(v);
		/* U says which of the guest's two modes it was; both run at the same privilege. */
		b.error_code = (exc->error_code & ~4U) | (v->regs.kernel_mode ? 0 : 4);
		break;
	case TRAP_NM:
		v->cr0_ts = 0;
		break;
	}
	return bounce_to_kernel(v, &b);
}

int pv_inject(struct vcpu *v, uint8_t vector, uint32_t error_code)
{
	v->exc = (struct guest_exception){ .vector = vector, .error_code = error_code };
	return deliver_exception(v, &v->exc);
}

int pv_exception(struct vcpu *v)
{
	struct guest_exception exc = v->exc;

	if (exc.software && !softint_permitted(v, exc.vector)) {
		v->regs.rip -= exc.software;
		return pv_inject(v, TRAP_GP, (uint32_t)exc.vector << 3 | 2);
	}
	return deliver_exception(v, &exc);
}

/* ---- events and NMIs ---- */

static bool nmi_deliverable(const struct vcpu *v)
{
	return (atomic_load_explicit(&v->nmi_pending, memory_order_relaxed) & (NMI_PENDING | NMI_MASKED)) == NMI_PENDING &&
	       v->trap[TRAP_NMI].address;
}

static bool upcall_deliverable(const struct vcpu *v)
{
	return __atomic_load_n(&v->info->evtchn_upcall_pending, __ATOMIC_ACQUIRE) && !v->info->evtchn_upcall_mask;
}

bool pv_events_deliverable(const struct vcpu *v)
{
	return upcall_deliverable(v) || nmi_deliverable(v);
}

int pv_deliver_events(struct vcpu *v)
{
	struct bounce b = { .mask_events = true };

	if (nmi_deliverable(v)) {
		atomic_store(&v->nmi_pending, NMI_MASKED);
		b.what = "NMI";
		b.address = v->trap[TRAP_NMI].address;
		return bounce_to_kernel(v, &b);
	}
	if (!upcall_deliverable(v))
		return 0;
	b.what = "an event";
	b.address = v->cb_event;
	return bounce_to_kernel(v, &b);
}

/* ---- system calls of the guest's user mode ---- */

int pv_syscall(struct vcpu *v, enum engine_exit how)
{
	struct cpu_regs *regs = &v->regs;
	struct bounce b = { .what = "a system call" };

	switch (how) {
	case EXIT_SYSCALL:
		b.address = v->cb_syscall;
		b.mask_events = v->cb_syscall_mask;
		regs->sel[SEG_CS] = FLAT_USER_CS64;
		break;
	case EXIT_SYSCALL32:
		b.address = v->cb_syscall32;
		b.mask_events = v->cb_syscall32_mask;
		regs->sel[SEG_CS] = FLAT_USER_CS32;
		break;
	default:
		b.address = v->cb_sysenter;
		b.mask_events = v->cb_sysenter_mask;
		break;
	}
	if (!b.address) {
		/* No entry point: the instruction is not there, as far as the guest's programs can tell. */
		regs->rip -= 2;
		return how == EXIT_SYSENTER ? pv_inject(v, TRAP_GP, 0) : pv_inject(v, TRAP_UD, 0);
	}
	if (how == EXIT_SYSENTER) {
		/* SYSENTER saves nothing; Xen shows the guest a frame without a way back. */
		regs->rip = 0;
		regs->gpr[REG_RSP] = 0;
		regs->sel[SEG_CS] = 3;
	} else {
		regs->gpr[REG_RCX] = regs->rip;
		regs->gpr[REG_R11] = (regs->rflags & ~EFLAGS_RF) | EFLAGS_IF | EFLAGS_MBS;
	}
	regs->sel[SEG_SS] = FLAT_USER_SS;
	return bounce_to_kernel(v, &b);
}

/* ---- iret ---- */

/* CS and SS of a return; a selector that does not load is #GP in the context returned to, as the CPU's iretq has it. */
static int iret_segments(struct vcpu *v, const struct iret_context *f)
{
	struct cpu_regs *regs = &v->regs;
	uint16_t cs = (uint16_t)(f->cs | 3), ss = (uint16_t)(f->ss | 3);
	int bits;

	if (f->flags & VGCF_in_syscall) {
		/* The SYSRET path: CS and SS of the frame are discarded but for 32-bit callers. */
		regs->code32 = cs == FLAT_USER_CS32;
		regs->sel[SEG_CS] = regs->code32 ? FLAT_USER_CS32 : FLAT_USER_CS64;
		regs->sel[SEG_SS] = FLAT_USER_SS;
		return 0;
	}
	regs->sel[SEG_CS] = cs;
	regs->sel[SEG_SS] = ss;
	bits = pv_code_selector(v, cs);
	regs->code32 = bits == 32 && !regs->kernel_mode;
	if (!bits || (bits == 32 && regs->kernel_mode))
		return pv_inject(v, TRAP_GP, cs & ~3U);
	if (!pv_stack_selector_ok(v, ss))
		return pv_inject(v, TRAP_GP, ss & ~3U);
	return 0;
}

int64_t do_iret(struct vcpu *v, struct hypercall *c)
{
	struct cpu_regs *regs = &v->regs;
	struct iret_context f;

	c->no_return = true;
	if (guest_read(v, &f, regs->gpr[REG_RSP], sizeof(f)))
		return domain_crash(v, "vCPU %u: fault while reading the iret frame at %#lx", v->id, regs->gpr[REG_RSP]);
	if ((f.cs & 3) == 3) {
		if (!v->cr3_user)
			return domain_crash(v, "vCPU %u: return to user mode without user page tables", v->id);
		pv_toggle_mode(v);
	}
	if (ARCHITECTURAL_IOPL(v->d))
		v->iopl = f.rflags >> 12 & 3;
	regs->rip = f.rip;
	regs->rflags = (f.rflags & ~(EFLAGS_IOPL | EFLAGS_VM)) | EFLAGS_IF | EFLAGS_MBS;
	regs->gpr[REG_RSP] = f.rsp;
	regs->gpr[REG_RAX] = f.rax;
	if (f.flags & VGCF_in_syscall) {
		regs->gpr[REG_RCX] = f.rip;
		regs->gpr[REG_R11] = regs->rflags;
	} else {
		regs->gpr[REG_RCX] = f.rcx;
		regs->gpr[REG_R11] = f.r11;
	}
	v->info->evtchn_upcall_mask = !(f.rflags & EFLAGS_IF);
	vcpu_info_touched(v);
	if (atomic_load_explicit(&v->nmi_pending, memory_order_relaxed) & NMI_MASKED)      /* which this vCPU alone sets */
		atomic_fetch_and(&v->nmi_pending, (uint8_t)~NMI_MASKED);
	return iret_segments(v, &f);
}
