/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat_loop.c - the fast form of a loop that is one block: accesses whose addresses step by a constant each round
 * have their pages looked up once, for as many rounds as all of them stay within.
 *
 *   setup:   for each such access, or group of them: the soft TLB's check of the range that it covers in this round (as
 *            bt_xlat_check.c has it); how many rounds more its page has; a register h with host less guest address
 *            (often plus the part of the address that stays the same, whose register h then takes).
 *            limit = what a stepping register will hold after the least of those rounds
 *   top:     cmp %gs:loop_limit, stepping register ; je setup
 *            the instructions, with (h,index), (base,h) or (h) for their operands
 *            jcc top
 *
 * A setup that fails, by a miss or where an access crosses a page's end, goes to the checked form of the loop for some
 * rounds.  So does every entry into the loop: most loops end before a setup would have paid.
 *
 * What makes the stale lookup sound: the soft TLB is changed by the vCPU's own thread alone, when it serves a request
 * (bt_serve) or fills an entry; to be served a request makes it leave translated code (bt_signal.c), and from there it
 * gets back into a loop by its entry.  A fill that takes the entry of a page in use takes nothing from the mapping.
 *
 * Status flags are dead at the loop's head, else there is no fast form: setup and limit clobber them.
 */
#include "hypervisor/engine/bt/bt_xlat.h"

#define HOIST_RANGE 1024
#define HOIST_STEP 256                    /* bytes a round; what steps farther has too few rounds a page */
#define LIN_MAX (1 << 20)
#define WAIT_ENTRY 4                      /* rounds in the checked form: after the entry, after a setup that failed */
#define WAIT_FAILED 8

/* ---- what registers hold ---- */

static const struct lin lin_unknown = { BT_NO_REG, BT_NO_REG, 1, false, 0 };

static struct lin lin_const(struct lin a, int64_t by)
{
	int64_t c = a.c + by;

	if (!a.known || c > LIN_MAX || c < -LIN_MAX)
		return lin_unknown;
	a.c = (int32_t)c;
	return a;
}

/* What disp(base,index,scale) is. */
static struct lin lin_address(const struct lin *reg, const struct bt_insn *in)
{
	struct lin a = { BT_NO_REG, BT_NO_REG, 1, true, 0 };

	if (in->base != BT_NO_REG)
		a = reg[in->base];
	if (in->index != BT_NO_REG) {
		const struct lin *i = &reg[in->index];

		if (!i->known || i->x != BT_NO_REG || a.x != BT_NO_REG)
			return lin_unknown;
		a.x = i->b;
		a.s = in->scale;
		a = lin_const(a, (int64_t)i->c * in->scale);
	}
	return lin_const(a, in->disp);
}

/* The instruction's effect on what registers hold. */
static void lin_step(struct lin *reg, const struct bt_insn *in)
{
	const uint8_t *b = in->bytes + in->op_off;
	unsigned modrm = in->bytes[in->modrm_off];
	unsigned rm = (modrm & 7) | (in->rex & 1 ? 8 : 0), r = (modrm >> 3 & 7) | (in->rex & 4 ? 8 : 0);
	bool wide = in->cls == BC_VERBATIM && in->encoding == BE_LEGACY && in->rex & 8 && !in->pfx_len && !in->addr32 &&
		    in->modrm_off == in->op_off + 1;
	bool direct = modrm >> 6 == 3, mov;
	struct lin to = lin_unknown;
	int32_t imm = 0;
	unsigned dst = rm;

	if (!in->wr)
		return;
	mov = b[0] == 0x89 || b[0] == 0x8b;
	if (wide && direct && (b[0] == 0x83 || b[0] == 0x81) && ((modrm >> 3 & 7) == 0 || (modrm >> 3 & 7) == 5)) {
		if (b[0] == 0x83)
			imm = (int8_t)b[2];
		else
			memcpy(&imm, b + 2, 4);
		to = lin_const(reg[rm], (modrm >> 3 & 7) == 5 ? -(int64_t)imm : imm);
	} else if (wide && direct && b[0] == 0xff && (modrm >> 3 & 7) < 2) {
		to = lin_const(reg[rm], (modrm >> 3 & 7) ? -1 : 1);
	} else if (wide && direct && mov) {
		dst = b[0] == 0x89 ? rm : r;
		to = reg[b[0] == 0x89 ? r : rm];
	} else if (wide && !direct && b[0] == 0x8d) {
		dst = r;
		to = lin_address(reg, in);
	}
	for (unsigned k = 0; k < NR_GPR; k++)
		if (in->wr & R(k))
			reg[k] = lin_unknown;
	if (in->wr == R(dst))
		reg[dst] = to;
}

/* What the head's value of a register changes by from round to round; false: nobody knows. */
static bool lin_round(const struct lin *end, unsigned r, int32_t *by)
{
	*by = end[r].c;
	return end[r].known && end[r].b == r && end[r].x == BT_NO_REG;
}

/* ---- the plan ---- */

static bool class_allowed(const struct bt_insn *in)
{
	switch (in->cls) {
	case BC_SKIP: case BC_VERBATIM: case BC_LEA_RIP: case BC_MEM: case BC_BIT: case BC_JCC: case BC_READ_SEG:
		return !(in->wr & R(REG_RSP)) && !(in->needs_low && in->cls != BC_VERBATIM);
	default:
		return false;
	}
}

/* The parts of the operand: which the fast form replaces.  false: it cannot. */
static bool hoist_part(const struct bt_insn *in, unsigned written, struct hoist *h)
{
	bool base_fixed = in->base != BT_NO_REG && in->base != BT_RIP && !(written & R(in->base));
	bool index_fixed = in->index != BT_NO_REG && !(written & R(in->index));

	h->inv = BT_NO_REG;
	if (in->base == BT_RIP || (in->base == BT_NO_REG && in->index == BT_NO_REG)) {
		h->part = HP_ALL;
	} else if (base_fixed) {
		h->part = HP_BASE;
		h->inv = in->base;
	} else if (index_fixed) {
		h->part = HP_INDEX;
		h->inv = in->index;
		h->scale = in->scale;
	} else {
		h->part = HP_NONE;
		return in->base == BT_NO_REG || in->index == BT_NO_REG;
	}
	return true;
}

/* The access as a group of its own.  false: its pages cannot be known ahead. */
static bool hoist_of(const struct xl *x, const struct bt_insn *in, const struct lin *reg, const struct lin *end,
		     struct hoist *h)
{
	struct lin a = { BT_NO_REG, BT_NO_REG, 1, true, 0 };
	int32_t by = 0;
	int64_t step = 0;

	memset(h, 0, sizeof(*h));
	if (in->cls != BC_MEM || in->locked || in->seg || in->addr32 || in->needs_low || in->index == REG_RSP ||
	    !hoist_part(in, x->fast.written, h))
		return false;
	if (h->part == HP_ALL) {
		if (x->rel && in->base != BT_RIP)
			return false;                 /* xl_emit_code_address() would take it for one of the code's */
		h->at = (uint64_t)in->disp & ~(PAGE_SIZE_HV - 1);
		a.c = (int32_t)((uint64_t)in->disp & (PAGE_SIZE_HV - 1));
		if (a.c + in->mem_size > (int32_t)PAGE_SIZE_HV)
			return false;
	} else {
		a = lin_address(reg, in);
		if (!a.known || (a.b != BT_NO_REG && !lin_round(end, a.b, &by)))
			return false;
		step = a.b != BT_NO_REG ? by : 0;
		if (a.x != BT_NO_REG && !lin_round(end, a.x, &by))
			return false;
		step += a.x != BT_NO_REG ? (int64_t)by * a.s : 0;
	}
	if (step > HOIST_STEP || step < -HOIST_STEP)
		return false;
	h->b = a.b;
	h->x = a.x;
	h->s = a.s;
	h->step = (int32_t)step;
	h->lo = a.c;
	h->hi = a.c + in->mem_size;
	h->write = in->mem_wr;
	h->n = 1;
	h->h = BT_NO_REG;
	return true;
}

static bool hoist_join(struct hoist *to, const struct hoist *h)
{
	int32_t lo = h->lo < to->lo ? h->lo : to->lo, hi = h->hi > to->hi ? h->hi : to->hi;

	if (to->b != h->b || to->x != h->x || (h->x != BT_NO_REG && to->s != h->s) || to->part != h->part ||
	    to->inv != h->inv || to->scale != h->scale || to->at != h->at || hi - lo > HOIST_RANGE)
		return false;
	to->lo = lo;
	to->hi = hi;
	to->write |= h->write;
	to->n++;
	return true;
}

/* The registers that a hoisted access names, h aside. */
static unsigned operand_regs(const struct bt_insn *in, const struct hoist *h)
{
	unsigned regs = h->part == HP_ALL || in->base == BT_NO_REG || h->part == HP_BASE ? 0 : R(in->base);

	return h->part == HP_ALL || in->index == BT_NO_REG || h->part == HP_INDEX ? regs : regs | R(in->index);
}

static unsigned hoist_heads(const struct hoist *h)
{
	return (h->b == BT_NO_REG ? 0 : R(h->b)) | (h->x == BT_NO_REG ? 0 : R(h->x)) | (h->inv == BT_NO_REG ? 0 : R(h->inv));
}

/* What the loop uses beside the groups' registers; whether accesses are left that need scratch registers. */
static unsigned regs_used(const struct xl *x, bool *checks)
{
	unsigned used = R(REG_RSP);

	*checks = false;
	for (unsigned i = 0; (int)i <= x->loop_end; i++) {
		const struct bt_insn *in = &x->in[i];

		if (x->fast.of[i]) {
			used |= in->rd | in->wr | operand_regs(in, &x->fast.g[x->fast.of[i] - 1]);
		} else {
			used |= xl_insn_regs(in);
			*checks |= in->cls == BC_MEM || in->cls == BC_BIT;
		}
	}
	return used;
}

/* A register for each group: best the one it replaces, then those in their slots anyway.  false: there are too few. */
static bool regs_assign(struct xl *x)
{
	static const uint8_t order[] = { BT_S0, BT_S1, 9, 8, 15, 14, 13, 12, 7, 6, 2, 1, 3, 5 };
	struct fast *f = &x->fast;
	bool checks;
	unsigned taken, left;

	f->used = regs_used(x, &checks);
	taken = f->used | R(REG_RAX);                     /* which saving the flags uses */


	f->heads = 0;
	for (unsigned k = 0; k < f->nr; k++)
		f->heads |= hoist_heads(&f->g[k]);
	f->take = 0;
	for (unsigned k = 0; k < f->nr; k++) {
		struct hoist *h = &f->g[k];
		unsigned others = 0, r = BT_NO_REG;

		for (unsigned j = 0; j < f->nr; j++)
			others |= j == k ? 0 : hoist_heads(&f->g[j]);
		if (h->inv != BT_NO_REG && !((taken | others) & R(h->inv)))
			r = h->inv;
		for (unsigned j = 0; r == BT_NO_REG && j < sizeof(order); j++)
			if (!((taken | f->heads) & R(order[j])))
				r = order[j];
		if (r == BT_NO_REG)
			return false;
		h->h = (uint8_t)r;
		taken |= R(r);
		f->take |= R(r);
	}
	left = NR_GPR - (unsigned)__builtin_popcount(taken);
	/* three for the setup, which may be in use in the loop; two to spare for checks in the loop */
	return (!checks || (left >= 2 && f->nr <= MAX_HOIST - 2)) &&
	       __builtin_popcount(f->heads | f->take | R(REG_RSP)) <= NR_GPR - 3;
}

/* Drop the group with the fewest accesses. */
static void hoist_drop(struct xl *x)
{
	struct fast *f = &x->fast;
	unsigned least = 0;

	for (unsigned k = 1; k < f->nr; k++)
		if (f->g[k].n <= f->g[least].n)
			least = k;
	for (unsigned i = 0; (int)i <= x->loop_end; i++) {
		if (f->of[i] == least + 1)
			f->of[i] = 0;
		else if (f->of[i] > least + 1)
			f->of[i]--;
	}
	memmove(&f->g[least], &f->g[least + 1], (f->nr - least - 1) * sizeof(f->g[0]));
	f->nr--;
}

static void groups_find(struct xl *x, const struct lin *end)
{
	struct fast *f = &x->fast;
	struct lin reg[NR_GPR];

	for (unsigned r = 0; r < NR_GPR; r++)
		reg[r] = (struct lin){ (uint8_t)r, BT_NO_REG, 1, true, 0 };
	for (unsigned i = 0; (int)i <= x->loop_end; i++) {
		struct hoist h;
		unsigned k = 0;

		if (hoist_of(x, &x->in[i], reg, end, &h)) {
			while (k < f->nr && !hoist_join(&f->g[k], &h))
				k++;
			if (k == f->nr && k < MAX_HOIST)
				f->g[f->nr++] = h;
			f->of[i] = k < f->nr ? (uint8_t)(k + 1) : 0;
		}
		lin_step(reg, &x->in[i]);
	}
}

/* The register that counts the rounds, where a page may end. */
static void limit_find(struct xl *x, const struct lin *end)
{
	struct fast *f = &x->fast;

	f->iv = BT_NO_REG;
	for (unsigned k = 0; k < f->nr; k++) {
		const struct hoist *h = &f->g[k];

		if (!h->step)
			continue;
		f->iv = h->b != BT_NO_REG && end[h->b].c ? h->b : h->x;
		f->iv_step = end[f->iv].c;
		return;
	}
}

/* Before the block is emitted: x->fast says whether and how. */
void xl_fast_plan(struct xl *x)
{
	struct fast *f = &x->fast;
	struct lin end[NR_GPR];

	memset(f, 0, sizeof(*f));
	f->iv = BT_NO_REG;
	if (x->loop_end < 0 || x->live[0])
		return;
	for (unsigned r = 0; r < NR_GPR; r++)
		end[r] = (struct lin){ (uint8_t)r, BT_NO_REG, 1, true, 0 };
	for (unsigned i = 0; (int)i < x->loop_end; i++) {
		if (!class_allowed(&x->in[i]))
			return;
		f->written |= x->in[i].wr;
		lin_step(end, &x->in[i]);
	}
	groups_find(x, end);
	while (f->nr && !regs_assign(x))
		hoist_drop(x);
	limit_find(x, end);
	f->on = f->nr > 0;
}

/* ---- the code ---- */

/* Before the second form: so many rounds until the first setup. */
void xl_fast_wait(struct xl *x)
{
	e_store_gs_imm32(&x->e, WAIT_ENTRY, GS_OFF(loop_wait));
}

/*
 * A loop without a fast form: where registers are idle, one has the address of the soft TLB, from which a load takes
 * three cycles less than through %gs (measured on Sapphire Rapids); a list's walk is a chain of such loads.
 */
void xl_loop_table(struct xl *x)
{
	unsigned used = R(REG_RSP) | R(REG_RAX), n = 0, best = BT_NO_REG;
	bool checks = false;

	for (unsigned i = 0; (int)i <= x->loop_end; i++) {
		const struct bt_insn *in = &x->in[i];

		used |= xl_insn_regs(in);
		checks |= in->cls == BC_MEM || in->cls == BC_BIT;
		if (in->cls != BC_MEM && in->cls != BC_BIT && !class_allowed(in) && (int)i != x->loop_end)
			return;
	}
	for (unsigned r = 0; r < NR_GPR; r++) {
		if (used & R(r))
			continue;
		n++;
		if (best == BT_NO_REG || !(x->spilled & R(best)))
			best = r;
	}
	if (!checks || n < 4)                             /* two are for the checks, one for a group */
		return;
	xl_spill(x, best);
	e_load_gs(&x->e, best, GS_OFF(self));
	x->table = (uint8_t)best;
}

/* In the fast form: an access that needs no check.  false: it does. */
bool xl_fast_access(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	const struct hoist *h;
	unsigned base, index = BT_NO_REG, scale = 0;
	int32_t disp = (int32_t)in->disp;

	if (!x->fast.of[x->i])
		return false;
	h = &x->fast.g[x->fast.of[x->i] - 1];
	if (in->fl_use && x->live[x->i])
		xl_flags_restore(x);
	xl_need(x, in->rd | operand_regs(in, h));
	base = h->h;
	if (h->part == HP_ALL) {
		disp &= (int32_t)PAGE_SIZE_HV - 1;
	} else if (h->part == HP_BASE || in->base == BT_NO_REG) {
		if (h->part != HP_INDEX && in->index != BT_NO_REG) {
			index = in->index;
			scale = (unsigned)__builtin_ctz(in->scale);
		}
	} else {
		base = in->base;
		index = h->h;
	}
	xl_record_op(x);
	xl_emit_operand(&x->e, in, base, index, scale, disp);
	xl_wrote(x, in->wr_full);
	x->clean &= ~(unsigned)in->wr;
	if (in->fl_write)
		xl_flags_written(x);
	return true;
}

static void state_set(struct xl *x, struct regstate s)
{
	x->spilled = s.spilled;
	x->clean = s.clean;
}

/* From here on what is emitted is cold, until cold_end(). */
static struct emit cold_begin(struct xl *x)
{
	struct emit hot = x->e;

	x->e = x->c;
	x->in_cold = true;
	return hot;
}

static void cold_end(struct xl *x, struct emit hot)
{
	x->in_cold = false;
	x->c = x->e;
	x->e = hot;
}

/* Registers for the setup: neither a group's nor one that it computes addresses from. */
static unsigned setup_scratch(const struct xl *x, unsigned taken)
{
	unsigned best = BT_NO_REG;

	taken |= x->fast.heads | x->fast.take | R(REG_RSP);
	for (unsigned r = 0; r < NR_GPR; r++)
		if (!(taken & R(r)) && (best == BT_NO_REG || !(x->fast.used & R(r))))
			best = r;
	return best;
}

/* Rounds after this one that the group has, from offset a in its page, to k; the least of all to the limit's slot. */
static void emit_rounds_left(struct xl *x, const struct hoist *h, unsigned a, unsigned k, bool first)
{
	struct emit *e = &x->e;
	unsigned step = (unsigned)(h->step < 0 ? -h->step : h->step);
	unsigned log = step < 2 ? 0 : 32 - (unsigned)__builtin_clz(step - 1);
	uint32_t at;

	if (h->step < 0) {
		e_rr(e, 0, OP_STORE, a, k);
	} else {
		e_mov_imm(e, k, 4096U - (unsigned)(h->hi - h->lo));
		e_rr(e, 0, 0x29, a, k);
	}
	e_rex(e, 0, 0, 0, k);
	e8(e, 0xc1); e8(e, 0xe8 | (k & 7)); e8(e, log);                   /* shr */
	if (first) {
		e_store_gs(e, k, GS_OFF(loop_limit));
		return;
	}
	e_gs(e, 1, 0x3b, k, GS_OFF(loop_limit));                          /* cmp ; jae over the store */
	e8(e, 0x73); e8(e, 0);
	at = e->p;
	e_store_gs(e, k, GS_OFF(loop_limit));
	e->base[at - 1] = (uint8_t)(e->p - at);
}

/* Looks up the group's page and loads its register. */
static void emit_lookup(struct xl *x, const struct hoist *h, unsigned a, unsigned i, unsigned k, bool *first)
{
	struct emit *e = &x->e;
	struct bt_insn ea = { .base = h->b, .index = h->x, .scale = h->s, .disp = h->lo };
	uint32_t tag = xl_tlb_off(x, h->write ? offsetof(struct bt_tlb, ntag_w) : offsetof(struct bt_tlb, ntag_r)), fail;
	struct regstate now = { x->spilled, x->clean };
	struct emit hot;
	size_t host;

	if (h->part == HP_ALL)
		xl_emit_code_address(x, a, h->at + (uint64_t)h->lo);
	else
		xl_emit_lea(x, a, &ea);
	xl_emit_index(x, a, i);
	e_gs_idx(e, 1, 0x03, a, i, tag);
	e_rex(e, 1, 0, 0, a);
	e8(e, 0x81); e8(e, 0xf8 | (a & 7)); e32(e, 4096U - (unsigned)(h->hi - h->lo));
	fail = e_jcc_fwd(e, CC_A);
	if (h->step) {
		emit_rounds_left(x, h, a, k, *first);
		*first = false;
	}
	host = h->part == HP_ALL ? offsetof(struct bt_tlb, page) : offsetof(struct bt_tlb, addend);
	e_gs_idx(e, 1, OP_LOAD, k, i, xl_tlb_off(x, host));
	if (h->inv == BT_NO_REG) {
		e_rr(e, 1, OP_STORE, k, h->h);
	} else {
		ea = (struct bt_insn){ .base = (uint8_t)k, .index = h->inv, .scale = h->part == HP_INDEX ? h->scale : 1 };
		if (h->inv == REG_RSP) {                      /* no index */
			ea.base = h->inv;
			ea.index = (uint8_t)k;
		}
		xl_emit_lea(x, h->h, &ea);
	}
	x->spilled |= R(h->h);

	hot = cold_begin(x);
	e_patch(e, fail, e->p);
	xl_state_fix(x, now, x->back.to);
	e_store_gs_imm32(e, WAIT_FAILED, GS_OFF(loop_wait));
	e_jmp_to(e, x->back.head);
	cold_end(x, hot);
	state_set(x, (struct regstate){ now.spilled | R(h->h), now.clean });
}

/* loop_limit: rounds to the value of the stepping register. */
static void emit_limit(struct xl *x, unsigned k)
{
	struct emit *e = &x->e;

	e_load_gs(e, k, GS_OFF(loop_limit));
	e_mem_disp(e, 1, OP_LEA, k, k, 1);
	e_rex(e, 1, k, 0, k);                                             /* imul $step, k, k */
	e8(e, 0x69); e8(e, 0xc0 | (k & 7) << 3 | (k & 7)); e32(e, (uint32_t)x->fast.iv_step);
	e_rr(e, 1, 0x01, x->fast.iv, k);
	e_store_gs(e, k, GS_OFF(loop_limit));
}

/* The way from the second form: after some rounds on to the setup, and registers as that wants them. */
static void emit_way_in(struct xl *x, unsigned scratch)
{
	struct emit *e = &x->e;
	const struct fast *f = &x->fast;
	unsigned own = f->take & f->heads;

	e_patch(e, x->back.jcc, e->p);
	xl_state_fix(x, x->back.from, x->back.to);
	e_gs(e, 0, 0x83, 5, GS_OFF(loop_wait));                           /* subl $1 */
	e8(e, 1);
	e8(e, 0x0f); e8(e, 0x80 | CC_NE); e32(e, x->back.head - (e->p + 4));
	state_set(x, x->back.to);
	xl_need(x, f->heads | (f->iv == BT_NO_REG ? 0 : R(f->iv)));
	for (unsigned r = 0; r < NR_GPR; r++) {
		if ((scratch | (f->take & ~own)) & R(r)) {
			xl_spill(x, r);
		} else if ((own & ~x->clean) & R(r)) {
			e_store_gs(e, r, GS_GPR(r));
			x->clean |= R(r);
		}
	}
}

/* Where `jcc` leads, out of line: registers become as `to`, and it goes on at `target`. */
static void emit_cold_way(struct xl *x, uint32_t jcc, struct regstate now, struct regstate to, uint32_t target)
{
	struct emit *e = &x->e, hot = cold_begin(x);

	e_patch(e, jcc, e->p);
	xl_state_fix(x, now, to);
	e_jmp_to(e, target);
	cold_end(x, hot);
}

/* One more round within the pages looked up?  If not: to `setup`, where registers are as `at`. */
static void emit_loop_limit(struct xl *x, uint32_t setup, struct regstate at)
{
	struct regstate now = { x->spilled, x->clean };

	e_gs(&x->e, 1, 0x3b, x->fast.iv, GS_OFF(loop_limit));
	emit_cold_way(x, e_jcc_fwd(&x->e, CC_E), now, at, setup);
	state_set(x, now);
}

/* The block's last branch: back to `head`, where registers are as `top`, or on. */
static void emit_loop_end(struct xl *x, uint32_t head, struct regstate top)
{
	struct emit *e = &x->e;
	const struct bt_insn *end = &x->in[x->loop_end];
	struct regstate now;
	uint32_t jcc;

	xl_record_start(x);
	if (end->cls == BC_JCC)
		xl_flags_restore(x);
	now = (struct regstate){ x->spilled, x->clean };
	if (end->cls == BC_JMP) {
		xl_state_fix(x, now, top);
		e_jmp_to(e, head);
		return;
	}
	jcc = e_jcc_fwd(e, end->cc);
	if (now.spilled == top.spilled && !(top.clean & ~now.clean))
		e_patch(e, jcc, head);
	else
		emit_cold_way(x, jcc, now, top, head);
	state_set(x, now);
	xl_border(x);
	xl_emit_link(x, end->va + end->len, false);
}

/* The loop itself.  `setup` is where it goes when a page ends: registers are as `at` there. */
static void emit_loop(struct xl *x, uint32_t setup, struct regstate at)
{
	struct fast *f = &x->fast;
	struct regstate top;
	uint32_t head;

	xl_need(x, f->used);
	x->clean = (x->clean & ~f->written) | x->spilled;
	top = (struct regstate){ x->spilled, x->clean };
	head = x->e.p;
	f->now = true;
	f->pinned = f->take;
	for (x->i = 0; (int)x->i < x->loop_end; x->i++) {
		xl_record_start(x);
		if (!x->i && f->iv != BT_NO_REG)
			emit_loop_limit(x, setup, at);
		xl_insn(x);
		xl_group_after(x);
	}
	f->now = false;
	f->pinned = 0;
	x->grp.valid = false;
	emit_loop_end(x, head, top);
}

/* Behind the block's body, whose second form of the loop leads here. */
void xl_fast_emit(struct xl *x)
{
	struct fast *f = &x->fast;
	unsigned a = setup_scratch(x, 0), i = setup_scratch(x, R(a)), k = setup_scratch(x, R(a) | R(i));
	struct regstate at;
	uint32_t setup;
	bool first = true;

	x->grp.valid = false;
	x->fl = FL_HOST;
	x->fl_slot_valid = false;
	emit_way_in(x, R(a) | R(i) | R(k));
	at = (struct regstate){ x->spilled, x->clean };
	setup = x->e.p;
	x->i = 0;
	xl_record_start(x);
	for (unsigned n = 0; n < f->nr; n++)
		emit_lookup(x, &f->g[n], a, i, k, &first);
	if (f->iv != BT_NO_REG)
		emit_limit(x, k);
	emit_loop(x, setup, at);
}
