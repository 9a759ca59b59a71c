/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat_group.c - one check for several accesses of a block at constant offsets from one register.
 */
#include "hypervisor/engine/bt/bt_xlat.h"

#define GROUP_RANGE 1024

/* What the instruction adds to the stack pointer; false: nobody knows. */
static bool rsp_change(const struct bt_insn *in, int32_t *by)
{
	const uint8_t *b = in->bytes;
	int32_t imm;

	*by = 0;
	switch (in->cls) {
	case BC_PUSH_REG: case BC_PUSH_IMM: case BC_PUSH_MEM:
		*by = -8;
		return true;
	case BC_POP_REG:
		*by = 8;
		return in->reg != REG_RSP;
	case BC_LEAVE:
		return false;
	default:
		break;
	}
	if (!(in->wr & R(REG_RSP)))
		return true;
	if (in->cls != BC_VERBATIM || b[0] != 0x48)
		return false;
	if (b[1] == 0x83 && (b[2] == 0xec || b[2] == 0xc4)) {             /* sub, add imm8 */
		*by = b[2] == 0xec ? -(int8_t)b[3] : (int8_t)b[3];
		return true;
	}
	if (b[1] == 0x81 && (b[2] == 0xec || b[2] == 0xc4)) {
		memcpy(&imm, b + 3, 4);
		*by = b[2] == 0xec ? -imm : imm;
		return imm > -65536 && imm < 65536;
	}
	if (b[1] == 0x8d && b[2] == 0x64 && b[3] == 0x24) {               /* lea disp8(rsp), rsp */
		*by = (int8_t)b[4];
		return true;
	}
	return false;
}

/* The access at a constant offset from base that the instruction makes, if it makes one. */
bool xl_base_access(const struct bt_insn *in, unsigned base, struct access *ac)
{
	if (in->locked)
		return false;                     /* its alignment is looked at, which a group does not do */
	if (in->cls == BC_MEM) {
		*ac = (struct access){ (int32_t)in->disp, in->mem_size, in->mem_wr };
		return in->base == base && in->index == BT_NO_REG && !in->seg && !in->addr32;
	}
	if (base != REG_RSP)
		return false;
	switch (in->cls) {
	case BC_PUSH_REG: case BC_PUSH_IMM: case BC_CALL:
		*ac = (struct access){ -8, 8, true };
		return true;
	case BC_POP_REG: case BC_RET:
		*ac = (struct access){ 0, 8, false };
		return true;
	default:
		return false;
	}
}

/* The range of the accesses from here on that one check can serve; their number, and the registers used meanwhile. */
static unsigned group_scan(const struct xl *x, unsigned base, bool write, struct group *g, unsigned *used)
{
	unsigned n = 0, end = (int)x->i <= x->loop_end ? (unsigned)x->loop_end + 1 : x->n, pending = 0;
	int32_t delta = 0, by;

	*used = 0;
	*g = (struct group){ .write = write, .base = (uint8_t)base, .lo = INT32_MAX, .hi = INT32_MIN };
	for (unsigned j = x->i; j < end; j++) {
		const struct bt_insn *in = &x->in[j];
		struct access ac;

		pending |= xl_insn_regs(in);
		if (xl_base_access(in, base, &ac)) {
			int32_t lo = ac.disp + delta < g->lo ? ac.disp + delta : g->lo;
			int32_t hi = ac.disp + delta + (int32_t)ac.size > g->hi ? ac.disp + delta + (int32_t)ac.size : g->hi;

			if ((ac.write && !write) || ac.disp > 65536 || ac.disp < -65536 || hi - lo > GROUP_RANGE)
				break;
			g->lo = lo;
			g->hi = hi;
			*used |= pending;
			n++;
		}
		if (base == REG_RSP) {
			if (!rsp_change(in, &by))
				break;
			delta += by;
		} else if (in->wr & R(base)) {
			break;
		}
	}
	return n;
}

/*
 * True if the access can go through a group, made here if it pays: its host address is the guest's and x->grp.d.  `regs` are what
 * the instruction uses beside; `guard` says that its flags matter while the check is made.
 */
bool xl_group_use(struct xl *x, unsigned base, struct access ac, unsigned regs, bool guard)
{
	const struct bt_insn *in = &x->in[x->i];
	struct group g;
	unsigned used, a, i;
	struct bt_site *s;

	if (x->grp.valid && x->grp.base == base && !(regs & R(x->grp.d)) && (!ac.write || x->grp.write) && ac.disp + x->grp.delta >= x->grp.lo &&
	    ac.disp + x->grp.delta + (int32_t)ac.size <= x->grp.hi && !(in->needs_low && x->grp.d >= 8)) {
		xl_need(x, R(base));
		return true;
	}
	if (x->no_groups || group_scan(x, base, ac.write, &g, &used) < 2)
		return false;
	x->grp.valid = false;
	used |= regs | R(base) | R(REG_RSP) | R(REG_RAX) | x->fast.pinned;
	used |= x->table == BT_NO_REG ? 0 : R(x->table);
	if (__builtin_popcount(used | (in->needs_low ? 0xff00 : 0)) > NR_GPR - 2)
		return false;
	xl_flags_guard(x, guard);
	xl_need(x, R(base));
	a = xl_scratch(x, used);
	i = xl_scratch(x, used | R(a));
	if (g.lo)
		e_mem_disp(&x->e, 1, OP_LEA, a, base, g.lo);
	else
		e_rr(&x->e, 1, OP_STORE, base, a);       /* which the processor may do by renaming */
	s = xl_emit_check_addend(x, a, i, (unsigned)(g.hi - g.lo), ac.write);
	s->size = (uint8_t)ac.size;
	s->off = (uint16_t)(ac.disp - g.lo);
	s->stack = base == REG_RSP || base == REG_RBP;
	s->simple = in->cls == BC_MEM;
	g.valid = true;
	g.d = (uint8_t)i;
	x->grp = g;
	return true;
}

/* After an instruction: what it did to the group. */
void xl_group_after(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	int32_t by;

	if (!x->grp.valid)
		return;
	if (x->grp.base == REG_RSP) {
		if (rsp_change(in, &by))
			x->grp.delta += by;
		else
			x->grp.valid = false;
	} else if (in->wr & R(x->grp.base)) {
		x->grp.valid = false;
	}
}
