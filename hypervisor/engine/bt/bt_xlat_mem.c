/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat_mem.c - instructions that access memory: one operand, bit strings, the stack.
 */
#include "hypervisor/engine/bt/bt_xlat.h"

/* A non-canonical address faults with #SS where the base register implies the stack segment. */
static bool stack_segment(const struct bt_insn *in)
{
	return !in->seg && (in->base == REG_RSP || in->base == REG_RBP);
}

void xl_mem(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	unsigned regs = in->rd | in->wr, dead = in->wr_full & ~in->rd, excl;
	bool flags_back = in->fl_use && x->live[x->i], konst = xl_const_address(x, in, in->mem_size);
	unsigned a, i = BT_NO_REG;
	struct access ac;
	struct bt_site *s;

	if (x->fast.now && xl_fast_access(x))
		return;
	if (in->base < NR_GPR && xl_base_access(in, in->base, &ac) &&
	    xl_group_use(x, in->base, ac, regs, in->fl_use || !in->fl_kill)) {
		if (flags_back)
			xl_flags_restore(x);
		xl_need(x, in->rd | in->ea_regs);
		if (x->grp.valid) {
			xl_record_op(x);
			xl_emit_operand(&x->e, in, in->base, x->grp.d, 0, (int32_t)in->disp);
			xl_wrote(x, in->wr_full);
			x->clean &= ~(unsigned)in->wr;
			if (in->fl_write)
				xl_flags_written(x);
			return;
		}
	}
	xl_flags_guard(x, in->fl_use || !in->fl_kill);
	xl_need(x, in->rd | in->ea_regs);
	excl = (regs | in->ea_regs) & ~dead;
	if (flags_back)
		excl |= R(REG_RAX);
	a = xl_scratch(x, excl);
	if (konst) {
		s = xl_emit_check_const(x, a, (uint64_t)in->disp, in->mem_size, in->mem_wr);
	} else {
		i = xl_scratch(x, excl | R(a));
		xl_emit_address(x, in, a);
		s = xl_emit_check_locked(x, a, i, in->mem_size, in->mem_wr, in->locked);
	}
	s->simple = true;
	s->stack = stack_segment(in);
	if (flags_back) {
		xl_flags_restore_busy(x, R(a) | (konst ? 0 : R(i)));
		xl_need(x, in->rd);
	}
	xl_record_op(x);
	xl_emit_retargeted(&x->e, in, a, i, (int32_t)(in->disp & (PAGE_SIZE_HV - 1)));
	xl_wrote(x, in->wr_full);
	x->clean &= ~(unsigned)in->wr;
	if (in->fl_write)
		xl_flags_written(x);
}

/*
 * bt* memory,register: the register's upper bits are an offset from the operand's address, in operands; its lower bits
 * go to a scratch register that the instruction then names.
 */
void xl_bit(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	struct bt_insn op = *in;
	unsigned excl = in->rd | in->ea_regs | R(REG_RAX), a, i, t, log = in->opsize == 8 ? 6 : 5;
	struct emit *e = &x->e;

	xl_flags_guard(x, true);
	xl_need(x, in->rd | in->ea_regs);
	a = xl_scratch(x, excl);
	i = xl_scratch(x, excl | R(a));
	t = xl_scratch(x, excl | R(a) | R(i));
	xl_emit_address(x, in, a);
	if (in->opsize == 8)
		e_rr(e, 1, OP_STORE, in->reg, t);
	else
		e_rr(e, 1, 0x63, t, in->reg);             /* movslq */
	e_rex(e, 1, 0, 0, t);
	e8(e, 0xc1); e8(e, 0xf8 | (t & 7)); e8(e, log);   /* sar */
	e_rex(e, 1, a, t, a);                             /* lea (a,t,opsize), a */
	e8(e, OP_LEA); e8(e, 0x44 | (a & 7) << 3);
	e8(e, (log - 3) << 6 | (t & 7) << 3 | (a & 7)); e8(e, 0);
	e_rr(e, 0, OP_STORE, in->reg, t);
	e_rex(e, 0, 0, 0, t);
	e8(e, 0x83); e8(e, 0xe0 | (t & 7)); e8(e, (1U << log) - 1);   /* and */
	xl_emit_check_locked(x, a, i, in->opsize, in->mem_wr, in->locked)->stack = stack_segment(in);
	xl_flags_restore_busy(x, R(a) | R(i) | R(t));
	xl_record_op(x);
	op.bytes[op.modrm_off] = (uint8_t)((op.bytes[op.modrm_off] & 0xc7) | (t & 7) << 3);
	op.rex = (uint8_t)(0x40 | (in->rex & 8) | (t & 8 ? 4 : 0));
	xl_emit_retargeted(e, &op, a, i, 0);
	xl_flags_written(x);
}

/* Checks the stack slot at disp(%rsp) for a write or read of 8 bytes; (a,i) is its host address. */
void xl_stack_access(struct xl *x, int32_t disp, bool write, unsigned a, unsigned i)
{
	if (disp)
		e_mem_disp(&x->e, 1, OP_LEA, a, REG_RSP, disp);
	else
		e_rr(&x->e, 1, OP_STORE, REG_RSP, a);
	xl_emit_check(x, a, i, 8, write)->stack = true;
}

void xl_rsp_add(struct xl *x, int32_t n) { e_mem_disp(&x->e, 1, OP_LEA, REG_RSP, REG_RSP, n); }

static void emit_const(struct xl *x, unsigned reg, uint64_t v, bool code)
{
	if (code)
		xl_emit_code_address(x, reg, v);
	else
		e_mov_imm(&x->e, reg, v);
}

/* Pushes v; code: an address of the page's. */
static void push_const(struct xl *x, uint64_t v, bool code, unsigned excl)
{
	bool small = (int64_t)v == (int32_t)v && !(code && x->rel);
	const struct access ac = { -8, 8, true };
	unsigned a, i, t;

	if (!excl && xl_group_use(x, REG_RSP, ac, 0, x->in[x->i].cls != BC_CALL || x->live[x->i + 1])) {
		t = small ? 0 : xl_scratch(x, 0);
		if (!small)
			emit_const(x, t, v, code);
		xl_record_op(x);
		e_mem_index(&x->e, 1, small ? 0xc7 : OP_STORE, t, REG_RSP, x->grp.d, -8);
		if (small)
			e32(&x->e, (uint32_t)v);
		xl_rsp_add(x, -8);
		return;
	}
	if (!excl)
		xl_flags_guard(x, x->in[x->i].cls != BC_CALL || x->live[x->i + 1]);
	a = xl_scratch(x, excl);
	i = xl_scratch(x, excl | R(a));
	t = small ? 0 : xl_scratch(x, excl | R(a) | R(i));
	xl_stack_access(x, -8, true, a, i);
	if (!small)
		emit_const(x, t, v, code);
	xl_record_op(x);
	if (small) {
		e_ai(&x->e, 1, 0xc7, 0, a, i);
		e32(&x->e, (uint32_t)v);
	} else {
		e_ai(&x->e, 1, OP_STORE, t, a, i);
	}
	xl_rsp_add(x, -8);
}

/* Pushes the address behind the instruction; `excl` are registers in use. */
void xl_push_return(struct xl *x, unsigned excl)
{
	push_const(x, x->in[x->i].va + x->in[x->i].len, true, excl);
}

static void push_reg(struct xl *x, unsigned r, unsigned excl)
{
	const struct access ac = { -8, 8, true };
	unsigned a, i;

	if (x->in[x->i].cls == BC_PUSH_REG && xl_group_use(x, REG_RSP, ac, R(r), true)) {
		xl_need(x, R(r));
		xl_record_op(x);
		e_mem_index(&x->e, 1, OP_STORE, r, REG_RSP, x->grp.d, -8);
		xl_rsp_add(x, -8);
		return;
	}
	if (x->in[x->i].cls == BC_PUSH_REG) {
		xl_flags_guard(x, true);
		xl_need(x, R(r));
	}
	a = xl_scratch(x, excl | R(r));
	i = xl_scratch(x, excl | R(r) | R(a));

	xl_stack_access(x, -8, true, a, i);
	xl_record_op(x);
	e_ai(&x->e, 1, OP_STORE, r, a, i);
	xl_rsp_add(x, -8);
}

void xl_push(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	unsigned a, i;

	if (in->cls == BC_PUSH_IMM) {
		push_const(x, in->imm, false, 0);
		return;
	}
	if (in->cls == BC_PUSH_REG) {
		push_reg(x, in->reg, 0);
		return;
	}
	xl_flags_guard(x, true);
	xl_need(x, in->ea_regs);
	a = xl_scratch(x, in->ea_regs);
	i = xl_scratch(x, in->ea_regs | R(a));
	xl_emit_address(x, in, a);
	xl_emit_check(x, a, i, 8, false);
	e_ai(&x->e, 1, OP_LOAD, a, a, i);
	push_reg(x, a, 0);
}

void xl_pop(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	const struct access ac = { 0, 8, false };
	unsigned a, i;

	if (in->cls == BC_LEAVE) {
		xl_flags_guard(x, true);
		xl_need(x, R(REG_RBP));
		a = xl_scratch(x, R(REG_RBP));
		i = xl_scratch(x, R(REG_RBP) | R(a));
		e_rr(&x->e, 1, OP_STORE, REG_RBP, a);
		xl_emit_check(x, a, i, 8, false)->stack = true;
		xl_record_op(x);
		e_ai(&x->e, 1, OP_LOAD, a, a, i);
		e_mem_disp(&x->e, 1, OP_LEA, REG_RSP, REG_RBP, 8);
		e_rr(&x->e, 1, OP_STORE, a, REG_RBP);
		xl_wrote(x, R(REG_RBP));
		return;
	}
	if (xl_group_use(x, REG_RSP, ac, R(in->reg), true)) {
		xl_record_op(x);
		e_mem_index(&x->e, 1, OP_LOAD, in->reg, REG_RSP, x->grp.d, 0);
		xl_wrote(x, R(in->reg));
		if (in->reg != REG_RSP)
			xl_rsp_add(x, 8);
		return;
	}
	xl_flags_guard(x, true);
	a = xl_scratch(x, 0);
	i = xl_scratch(x, R(a));
	xl_stack_access(x, 0, false, a, i);
	xl_record_op(x);
	e_ai(&x->e, 1, OP_LOAD, in->reg, a, i);
	xl_wrote(x, R(in->reg));
	if (in->reg != REG_RSP)
		xl_rsp_add(x, 8);
}
