/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_gate.c - the guest's system calls and hypercalls, served without leaving run(): from `syscall` in translated code through
 * stub_gate to the ABI and on through the jump cache, in the mode that the guest is in then.
 *
 * The vCPU stays in the code cache meanwhile (bt_vcpu.in_code), unless a handler wants the full context; then, as whenever run()'s
 * loop has to look at something before the guest goes on, it leaves.  Built -mgeneral-regs-only.
 */
#include "hypervisor/engine/bt/bt_int.h"

/* Has run()'s loop to look at the vCPU before it goes on?  (A request that comes later sets attention, which the stub looks at.) */
static bool must_leave(struct bt_vcpu *bv)
{
	struct vcpu *v = &bv->v;

	return !bv->vec_live || atomic_load_explicit(&v->kick, memory_order_relaxed) ||
	       atomic_load_explicit(&bv->req, memory_order_relaxed) || bt_is_stepped(v) || bv->ts != (uint8_t)v->cr0_ts;
}

int bt_gate(struct bt_vcpu *bv)
{
	struct vcpu *v = &bv->v;
	const struct bt_exit *x = &bv->bt->exit[bv->exit_id];
	int rc;

	if (!v->d->serve || bv->bt->trace_exec)
		return BT_GATE_LEAVE;
	bv->stat[BS_GATE]++;
	v->regs.rip = bt_guest_va(bv, x->rel, x->target);
	bt_flags_out(bv);
	rc = v->d->serve(v, v->regs.kernel_mode ? EXIT_HYPERCALL : EXIT_SYSCALL);
	v->regs.rflags &= ~BT_RFLAGS_RF;
	bt_flags_in(bv);
	if (!rc && !must_leave(bv))
		return bt_bank_of(v);
	bv->exit_id = BT_EXIT_RECOVERED;
	bv->why = rc ? BW_STOP : BW_SERVED;
	return BT_GATE_LEAVE;
}
