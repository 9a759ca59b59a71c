/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat_state.c - the block's registers and flags while it is translated, the records of where they are, the exits.
 */
#include "hypervisor/engine/bt/bt_xlat.h"

/* Notes the registers that instruction j uses and no nearer one does; true: all are known. */
static bool use_at(const struct xl *x, unsigned j, uint8_t dist, uint8_t ahead[NR_GPR], unsigned *seen)
{
	unsigned mask = xl_insn_regs(&x->in[j]) & ~*seen;

	*seen |= mask;
	for (; mask; mask &= mask - 1)
		ahead[__builtin_ctz(mask)] = dist;
	return *seen == 0xffff;
}

/* How far ahead each register is used next; in a loop, round its end. */
static void next_uses(const struct xl *x, uint8_t ahead[NR_GPR])
{
	bool loop = (int)x->i <= x->loop_end;
	unsigned n = loop ? (unsigned)x->loop_end + 1 : x->n, seen = 0;
	uint8_t dist = 0;

	memset(ahead, BT_MAX_INSNS + 1, NR_GPR);
	for (unsigned j = x->i + 1; j < n; j++)
		if (use_at(x, j, ++dist, ahead, &seen))
			return;
	for (unsigned j = 0; loop && j < x->i; j++)
		if (use_at(x, j, ++dist, ahead, &seen))
			return;
}

void xl_spill(struct xl *x, unsigned r)
{
	if (x->spilled & R(r))
		return;
	if (!(x->clean & R(r)))
		e_store_gs(&x->e, r, GS_GPR(r));
	x->spilled |= R(r);
	x->clean |= R(r);
}

void xl_need(struct xl *x, unsigned mask)
{
	mask &= x->spilled;
	if (x->grp.valid && (mask & R(x->grp.d)))
		x->grp.valid = false;
	for (unsigned r = 0; mask; r++, mask >>= 1) {
		if (!(mask & 1))
			continue;
		e_load_gs(&x->e, r, GS_GPR(r));
		x->spilled &= ~R(r);
		x->clean |= R(r);
	}
}

/* The instruction wrote these registers in full (host), or in part after xl_need(). */
void xl_wrote(struct xl *x, unsigned mask)
{
	x->spilled &= ~mask;
	x->clean &= ~mask;
	if (x->grp.valid && (mask & R(x->grp.d)))
		x->grp.valid = false;
}

/* Registers that hold something of ours for longer than an instruction. */
static unsigned regs_held(const struct xl *x)
{
	return (x->grp.valid ? R(x->grp.d) : 0) | (x->table == BT_NO_REG ? 0 : R(x->table)) | x->fast.pinned;
}

unsigned xl_scratch(struct xl *x, unsigned excl)
{
	const struct bt_insn *in = &x->in[x->i];
	unsigned dead = in->wr_full & ~in->rd, best = NR_GPR, best_score = 0;
	uint8_t next[NR_GPR];

	next_uses(x, next);
	excl |= R(REG_RSP) | (in->needs_low ? 0xff00 : 0) | regs_held(x);
	for (unsigned r = 0; r < NR_GPR; r++) {
		unsigned score, ahead;

		if (excl & R(r))
			continue;
		ahead = next[r];
		score = x->spilled & R(r) ? 4000 : (int)x->i <= x->loop_end && ahead > BT_MAX_INSNS ? 3500 :
			dead & R(r) ? 3000 : x->clean & R(r) ? 1000 : 0;
		score += ahead + 1;
		if (r >= 8)
			score++;                  /* rarely an operand later in the loop that follows */
		if (score > best_score) {
			best = r;
			best_score = score;
		}
	}
	xl_spill(x, best);
	return best;
}

/* Where a block ends: every register where the next one looks for it. */
void xl_border(struct xl *x)
{
	xl_need(x, x->spilled & ~BT_SLOT_REGS);
	xl_spill(x, BT_S0);
	xl_spill(x, BT_S1);
}

/*
 * rax is about to be needed for the flags: its value moves to a host register that nobody uses, which is returned for
 * rax_back(), or else to its slot.  `busy` are the scratch registers in use.
 */
static unsigned rax_free(struct xl *x, unsigned busy)
{
	unsigned mask = x->spilled & ~(busy | regs_held(x)), r;

	if (!(x->spilled & R(REG_RAX)) && mask) {
		r = 31 - (unsigned)__builtin_clz(mask);
		e_rr(&x->e, 1, OP_STORE, REG_RAX, r);
		return r;
	}
	xl_spill(x, REG_RAX);
	return BT_NO_REG;
}

static void rax_back(struct xl *x, unsigned r)
{
	if (r != BT_NO_REG)
		e_rr(&x->e, 1, OP_STORE, r, REG_RAX);
}

void xl_emit_flags_store(struct emit *e)
{
	e8(e, 0x9f);                                                      /* lahf */
	e8(e, 0x0f); e8(e, 0x90); e8(e, 0xc0);                            /* seto al */
	e8(e, 0x66);
	e_gs(e, 0, OP_STORE, REG_RAX, GS_OFF(fl));
}

void xl_flags_save(struct xl *x)
{
	unsigned r;

	if (x->fl == FL_SLOT)
		return;
	x->fl = FL_SLOT;
	if (x->fl_slot_valid)
		return;
	r = rax_free(x, 0);
	xl_emit_flags_store(&x->e);
	rax_back(x, r);
	x->fl_slot_valid = true;
}

void xl_emit_flags_load(struct emit *e)
{
	e8(e, 0x65); e8(e, 0x0f); e8(e, 0xb7); e8(e, 0x04); e8(e, 0x25);  /* movzwl %gs:fl, eax */
	e32(e, GS_OFF(fl));
	e8(e, 0x04); e8(e, 0x7f);                                         /* add $0x7f, al: OF */
	e8(e, 0x9e);                                                      /* sahf */
}

void xl_flags_restore_busy(struct xl *x, unsigned busy)
{
	unsigned r;

	if (x->fl == FL_HOST)
		return;
	r = rax_free(x, busy);
	xl_emit_flags_load(&x->e);
	rax_back(x, r);
	x->fl = FL_HOST;
}

void xl_flags_restore(struct xl *x) { xl_flags_restore_busy(x, 0); }

void xl_flags_written(struct xl *x)
{
	x->fl = FL_HOST;
	x->fl_slot_valid = false;
}

/* Before something that clobbers the host's flags while instruction i is under way. */
void xl_flags_guard(struct xl *x, bool needed_later)
{
	if (x->live[x->i] && needed_later)
		xl_flags_save(x);
	else if (x->fl == FL_HOST)
		x->fl_slot_valid = false;
}

/* ---- records ---- */

void xl_record_start(struct xl *x)
{
	struct bt_irec *r = &x->irec[x->nr_irec++];

	r->hoff = (uint16_t)(x->e.p - x->b->start);
	r->goff = (uint16_t)(x->in[x->i].va - x->b->va);
	r->mask = r->op_mask = (uint16_t)x->spilled;
	r->fl_slot = r->op_fl_slot = x->fl == FL_SLOT;
}

void xl_record_op(struct xl *x)
{
	struct bt_irec *r = &x->irec[x->nr_irec - 1];

	r->op_mask = (uint16_t)x->spilled;
	r->op_fl_slot = x->fl == FL_SLOT;
}

struct bt_exit *xl_exit_new(struct xl *x, enum bt_exit_kind kind, uint64_t target, bool no_flags)
{
	struct bt_exit *ex = &x->bt->exit[x->bt->nr_exits++];

	*ex = (struct bt_exit){ .from = x->b, .target = target, .kind = (uint8_t)kind, .no_flags = no_flags, .rel = x->rel };
	return ex;
}

/* Code that leaves through ex: every register and the flags are in place. */
void xl_emit_exit_stub(struct xl *x, struct emit *e, struct bt_exit *ex)
{
	ex->stub = e->p;
	e_store_gs_imm32(e, (uint32_t)(ex - x->bt->exit), GS_OFF(exit_id));
	e_jmp_to(e, ex->kind == BX_SYSCALL ? x->bt->stub_gate : x->bt->stub_exit);
}

/* A patchable jump, to its stub at first. */
void xl_emit_link(struct xl *x, uint64_t target, bool no_flags)
{
	struct bt_exit *ex = xl_exit_new(x, BX_LINK, target, no_flags);

	e_align(&x->e, 1, 4);
	ex->patch = x->e.p + 1;
	if (x->in_cold) {
		e_jmp_to(&x->e, x->e.p + 5);
		xl_emit_exit_stub(x, &x->e, ex);
	} else {
		e_jmp_to(&x->e, x->c.p);
		xl_emit_exit_stub(x, &x->c, ex);
	}
}
