/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat_flow.c - leaving a block: jumps, calls, returns, loops, and exits to C.
 */
#include "hypervisor/engine/bt/bt_xlat.h"

/* The bytes of the code page that holds va, as it is mapped at this moment; NULL: not known. */
static const uint8_t *code_page(struct xl *x, uint64_t va)
{
	uint64_t page = va & ~(PAGE_SIZE_HV - 1), mfn;

	if (page == x->page_va)
		return x->code;
	if (x->bt->ahead || x->bt->no_peek[bt_no_group_index(x->b->va)])
		return NULL;
	if (page != x->other_va) {
		x->other_va = page;
		x->other = mmu_probe(x->v, page + x->delta, x->bank == BT_KERNEL, MMU_EXEC, &mfn, NULL) ? NULL :
			   domain_frame(x->bt->d, mfn);
	}
	return x->other;
}

/*
 * Flags as the code at target wants them: true if it may use them.  What is found on this page the block depends on; for
 * other pages it is looked at again when the jump is linked (find() in bt_run.c).
 */
bool xl_flags_wanted(struct xl *x, uint64_t target)
{
	struct bt_insn in;

	for (unsigned k = 0; k < 8; k++) {
		uint64_t off = target & (PAGE_SIZE_HV - 1);
		const uint8_t *code = code_page(x, target);

		if (!code || bt_decode(&in, target, code + off, PAGE_SIZE_HV - off))
			return true;
		if (code == x->code && off < x->b->dep_lo)
			x->b->dep_lo = (uint16_t)off;
		if (code == x->code && off + in.len > x->b->dep_hi)
			x->b->dep_hi = (uint16_t)(off + in.len);
		if (in.fl_use && !in.fl_part)
			return true;
		if (in.fl_kill)
			return false;
		switch (in.cls) {
		case BC_SKIP: case BC_RDTSC: case BC_READ_SEG: case BC_BIT: case BC_VERBATIM: case BC_MEM: case BC_LEA_RIP:
		 case BC_PUSH_REG: case BC_PUSH_IMM:
		case BC_PUSH_MEM: case BC_POP_REG: case BC_LEAVE:
			target += in.len;
			break;
		case BC_JMP: case BC_CALL:
			target = in.target;
			break;
		default:
			return true;
		}
	}
	return true;
}

void xl_leave_direct(struct xl *x, uint64_t target)
{
	bool wanted = x->live[x->i + 1];

	if (wanted)
		xl_flags_restore(x);
	xl_border(x);
	xl_emit_link(x, target, !wanted);
}

/* Target in BT_S0, flags in fl. */
void xl_leave_indirect(struct xl *x)
{
	xl_border(x);
	bt_emit_jump_cache(&x->e, x->bank);
}

void xl_leave_to_c(struct xl *x, enum bt_exit_kind kind, uint64_t rip)
{
	struct bt_exit *ex;

	xl_flags_restore(x);
	xl_border(x);
	ex = xl_exit_new(x, kind, rip, false);
	xl_emit_exit_stub(x, &x->e, ex);
}

/* A conditional exit.  With nothing to move the jump itself is patched. */
static void side_exit(struct xl *x, unsigned cc, uint64_t target)
{
	struct side *s = &x->side[x->nr_side++];

	*s = (struct side){ .target = target, .at = { x->spilled, x->clean } };
	if (x->spilled == BT_SLOT_REGS) {
		s->exit = xl_exit_new(x, BX_LINK, target, false);
		e_align(&x->e, 2, 4);
	}
	s->jcc = e_jcc_fwd(&x->e, cc);
	if (s->exit)
		s->exit->patch = s->jcc;
}

void xl_jcc(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	xl_flags_restore(x);
	side_exit(x, in->cc, in->target);
}

/*
 * The jump back of a loop that is the block itself.  The loop is translated twice: the second copy starts with the
 * registers as the first left them, so that in the steady state nothing is spilled and reloaded each round.
 */
void xl_loop_first_end(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	if (in->cls == BC_JCC) {
		xl_flags_restore(x);
		side_exit(x, in->cc ^ 1, in->va + in->len);
	} else if (x->live[0]) {
		xl_flags_restore(x);
	}
	if (x->fl == FL_SLOT) {                   /* not live: the second copy starts in the usual state */
		x->fl = FL_HOST;
		x->fl_slot_valid = false;
	}
	if (x->fast.on)
		xl_fast_wait(x);
	else
		xl_loop_table(x);
	x->back.to = (struct regstate){ x->spilled, x->clean };
	x->back.head = x->e.p;
	x->fl_slot_valid = false;
}

/* From register state `from` to `to`. */
void xl_state_fix(struct xl *x, struct regstate from, struct regstate to)
{
	x->spilled = from.spilled;
	x->clean = from.clean;
	xl_need(x, from.spilled & ~to.spilled);
	for (unsigned r = 0; r < NR_GPR; r++)
		if (((to.spilled | to.clean) & ~x->clean) & R(r))
			e_store_gs(&x->e, r, GS_GPR(r));
}

void xl_loop_second_end(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	struct regstate now = { x->spilled, x->clean };
	bool same = now.spilled == x->back.to.spilled && !(x->back.to.clean & ~now.clean);

	if (in->cls == BC_JCC) {
		xl_flags_restore(x);
		now = (struct regstate){ x->spilled, x->clean };
		same = now.spilled == x->back.to.spilled && !(x->back.to.clean & ~now.clean);
		x->back.jcc = e_jcc_fwd(&x->e, in->cc);
		x->back.from = now;
		x->back.used = !same && !x->fast.on;
		if (same && !x->fast.on)
			e_patch(&x->e, x->back.jcc, x->back.head);
		x->table = BT_NO_REG;
		return;
	}
	if (x->live[0])
		xl_flags_restore(x);
	now = (struct regstate){ x->spilled, x->clean };
	if (x->fast.on) {
		x->back.from = now;
		x->back.jcc = x->e.p + 1;
	} else {
		xl_state_fix(x, now, x->back.to);
	}
	e_jmp_to(&x->e, x->back.head);
}

void xl_loop(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	uint32_t at;

	xl_flags_restore(x);
	xl_border(x);
	xl_record_op(x);
	e8(&x->e, in->bytes[in->op_off]);
	e8(&x->e, 0);
	at = x->e.p;
	xl_emit_link(x, in->va + in->len, false);
	x->e.base[at - 1] = (uint8_t)(x->e.p - at);
	xl_emit_link(x, in->target, false);
}

void xl_ret(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	const struct access ac = { 0, 8, false };

	xl_flags_save(x);
	xl_spill(x, BT_S0);
	if (x->grp.valid && xl_group_use(x, REG_RSP, ac, 0, true)) {
		xl_record_op(x);
		e_mem_index(&x->e, 1, OP_LOAD, BT_S0, REG_RSP, x->grp.d, 0);
	} else {
		xl_spill(x, BT_S1);
		xl_stack_access(x, 0, false, BT_S0, BT_S1);
		xl_record_op(x);
		e_ai(&x->e, 1, OP_LOAD, BT_S0, BT_S0, BT_S1);
	}
	x->grp.valid = false;
	xl_rsp_add(x, 8 + (int32_t)in->imm);
	xl_leave_indirect(x);
}

/* Brings the target of an indirect jump or call to BT_S0, whose guest value is in its slot. */
void xl_indirect_target(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	xl_flags_save(x);
	if (in->cls == BC_JMP_REG || in->cls == BC_CALL_REG) {
		x->grp.valid = false;
		xl_need(x, R(in->reg));
		xl_spill(x, BT_S0);
		if (in->reg != BT_S0)
			e_rr(&x->e, 1, OP_STORE, in->reg, BT_S0);
		return;
	}
	x->grp.valid = false;
	xl_need(x, in->ea_regs);
	xl_spill(x, BT_S0);
	xl_spill(x, BT_S1);
	if (xl_const_address(x, in, 8)) {
		xl_emit_check_const(x, BT_S0, (uint64_t)in->disp, 8, false);
		xl_record_op(x);
		e_mem_disp(&x->e, 1, OP_LOAD, BT_S0, BT_S0, (int32_t)(in->disp & (PAGE_SIZE_HV - 1)));
		return;
	}
	xl_emit_address(x, in, BT_S0);
	xl_emit_check(x, BT_S0, BT_S1, 8, false);
	xl_record_op(x);
	e_ai(&x->e, 1, OP_LOAD, BT_S0, BT_S0, BT_S1);
}

void xl_read_seg(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	uint32_t off = GS_OFF(v.regs.sel) + (uint32_t)in->imm * 2;

	xl_need(x, in->rd);
	if (in->opsize == 2) {
		e8(&x->e, 0x66);
		e_gs(&x->e, 0, OP_LOAD, in->reg, off);
	} else {
		e_gs_movzw(&x->e, in->reg, off);
	}
	xl_wrote(x, in->wr);
}
