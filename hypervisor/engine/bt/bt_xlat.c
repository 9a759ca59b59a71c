/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat.c - translation of one block: a run of guest instructions of one page, with conditional side exits, up to a
 * jump or an instruction that has to leave.
 *
 * A memory access becomes (A and I scratch; flags not needed, or saved before):
 *
 *	lea   ea, A                      [add %gs:segment base, A]
 *   retry:
 *	pext  %gs:mask, A, I             (or mov, shr, and)
 *	add   %gs:ntag{r,w}(,I,8), A
 *	cmp   $4096-size, A ; ja cold    miss, or crossing the page's end
 *	mov   %gs:page(,I,8), I
 *	op    (A,I)
 *
 * Scratch registers are guest registers spilled to their slots: one already spilled, else one whose slot is up to date,
 * else the instruction's own dead destination, else the one used farthest ahead.  Reloads are lazy.
 */
#include "hypervisor/engine/bt/bt_int.h"
#include "hypervisor/engine/bt/bt_emit.h"

#define MAX_LOOP BT_MAX_INSNS                         /* instructions of a loop that is translated twice */
#define MAX_COLD (2 * (BT_MAX_INSNS + MAX_LOOP))
#define MAX_SIDE 4
#define R(n) (1U << (n))

enum { FL_HOST, FL_SLOT };
enum { CC_E = 4, CC_NE = 5, CC_A = 7 };

struct cold { uint32_t jcc; uint32_t site; uint64_t va; uint8_t a; bool const_va; };
struct side { uint32_t jcc; uint64_t target; uint32_t mask; struct bt_exit *exit; };
struct regstate { unsigned spilled, clean; };

/*
 * A group: several accesses of the block at constant offsets from one register are checked together, as one range
 * [lo, hi) from its value then; d holds the range's host address.  delta is what the stack pointer moved since.
 */
struct group { bool valid, write; uint8_t base, d; int32_t lo, hi, delta; };

struct xl {
	struct bt_domain *bt;
	struct bt_block *b;
	struct emit e, c;                   /* hot code, and cold: bt_domain.used, .cold_used */
	bool in_cold;                       /* e is the cold one for a while */
	struct bt_insn in[BT_MAX_INSNS];
	bool live[BT_MAX_INSNS + 1];        /* flags live before instruction i */
	unsigned n, i;
	unsigned spilled, clean;            /* guest value in the slot only; slot up to date */
	int fl;
	bool fl_slot_valid;
	int bank;
	const uint8_t *code;
	uint64_t page_va;
	struct vcpu *v;
	const uint8_t *other;               /* the other page that flags_wanted() looked at last */
	uint64_t other_va;
	struct cold cold[MAX_COLD]; unsigned nr_cold;
	struct side side[2 * MAX_SIDE + 1]; unsigned nr_side;
	struct bt_irec *irec;
	unsigned nr_irec;
	struct group grp;
	bool no_groups;
	int loop_end;                       /* instruction that jumps back to the first; -1: none */
	struct { uint32_t jcc, head; struct regstate from, to; bool used; } back;
};

/* ---- registers and flags ---- */

static unsigned insn_regs(const struct bt_insn *in) { return in->rd | in->wr | in->ea_regs; }

/* How far ahead a register is used next; in a loop, round its end. */
static unsigned next_use(const struct xl *x, unsigned r)
{
	unsigned n = x->n, dist = 0;
	bool loop = (int)x->i <= x->loop_end;

	if (loop)
		n = (unsigned)x->loop_end + 1;
	for (unsigned j = x->i + 1; j < n; j++) {
		dist++;
		if (insn_regs(&x->in[j]) & R(r))
			return dist;
	}
	for (unsigned j = 0; loop && j < x->i; j++) {
		dist++;
		if (insn_regs(&x->in[j]) & R(r))
			return dist;
	}
	return BT_MAX_INSNS + 1;
}

static void spill(struct xl *x, unsigned r)
{
	if (x->spilled & R(r))
		return;
	if (!(x->clean & R(r)))
		e_store_gs(&x->e, r, GS_GPR(r));
	x->spilled |= R(r);
	x->clean |= R(r);
}

static void need(struct xl *x, unsigned mask)
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

/* The instruction wrote these registers in full (host), or in part after need(). */
static void wrote(struct xl *x, unsigned mask)
{
	x->spilled &= ~mask;
	x->clean &= ~mask;
	if (x->grp.valid && (mask & R(x->grp.d)))
		x->grp.valid = false;
}

static unsigned scratch(struct xl *x, unsigned excl)
{
	const struct bt_insn *in = &x->in[x->i];
	unsigned dead = in->wr_full & ~in->rd, best = NR_GPR, best_score = 0;

	excl |= R(REG_RSP) | (in->needs_low ? 0xff00 : 0) | (x->grp.valid ? R(x->grp.d) : 0);
	for (unsigned r = 0; r < NR_GPR; r++) {
		unsigned score, ahead;

		if (excl & R(r))
			continue;
		ahead = next_use(x, r);
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
	spill(x, best);
	return best;
}

static void flags_save(struct xl *x)
{
	if (x->fl == FL_SLOT)
		return;
	x->fl = FL_SLOT;
	if (x->fl_slot_valid)
		return;
	spill(x, REG_RAX);
	e8(&x->e, 0x9f);                                          /* lahf */
	e8(&x->e, 0x0f); e8(&x->e, 0x90); e8(&x->e, 0xc0);        /* seto al */
	e8(&x->e, 0x66);
	e_gs(&x->e, 0, OP_STORE, REG_RAX, GS_OFF(fl));
	x->fl_slot_valid = true;
}

static void emit_flags_load(struct emit *e)
{
	e8(e, 0x65); e8(e, 0x0f); e8(e, 0xb7); e8(e, 0x04); e8(e, 0x25);  /* movzwl %gs:fl, eax */
	e32(e, GS_OFF(fl));
	e8(e, 0x04); e8(e, 0x7f);                                         /* add $0x7f, al: OF */
	e8(e, 0x9e);                                                      /* sahf */
}

static void flags_restore(struct xl *x)
{
	if (x->fl == FL_HOST)
		return;
	spill(x, REG_RAX);
	emit_flags_load(&x->e);
	x->fl = FL_HOST;
}

static void flags_written(struct xl *x)
{
	x->fl = FL_HOST;
	x->fl_slot_valid = false;
}

/* Before something that clobbers the host's flags while instruction i is under way. */
static void flags_guard(struct xl *x, bool needed_later)
{
	if (x->live[x->i] && needed_later)
		flags_save(x);
	else if (x->fl == FL_HOST)
		x->fl_slot_valid = false;
}

/* ---- records ---- */

static void record_start(struct xl *x)
{
	struct bt_irec *r = &x->irec[x->nr_irec++];

	r->hoff = (uint16_t)(x->e.p - x->b->start);
	r->goff = (uint16_t)(x->in[x->i].va - x->b->va);
	r->mask = r->op_mask = (uint16_t)x->spilled;
	r->fl_slot = r->op_fl_slot = x->fl == FL_SLOT;
}

static void record_op(struct xl *x)
{
	struct bt_irec *r = &x->irec[x->nr_irec - 1];

	r->op_mask = (uint16_t)x->spilled;
	r->op_fl_slot = x->fl == FL_SLOT;
}

static struct bt_exit *exit_new(struct xl *x, enum bt_exit_kind kind, uint64_t target, bool no_flags)
{
	struct bt_exit *ex = &x->bt->exit[x->bt->nr_exits++];

	*ex = (struct bt_exit){ .from = x->b, .target = target, .kind = (uint8_t)kind, .no_flags = no_flags };
	return ex;
}

/* Code that leaves through ex: every register and the flags are in place. */
static void emit_exit_stub(struct xl *x, struct emit *e, struct bt_exit *ex)
{
	ex->stub = e->p;
	e_store_gs_imm32(e, (uint32_t)(ex - x->bt->exit), GS_OFF(exit_id));
	e_jmp_to(e, x->bt->stub_exit);
}

/* A patchable jump, to its stub at first. */
static void emit_link(struct xl *x, uint64_t target, bool no_flags)
{
	struct bt_exit *ex = exit_new(x, BX_LINK, target, no_flags);

	e_align(&x->e, 1, 4);
	ex->patch = x->e.p + 1;
	if (x->in_cold) {
		e_jmp_to(&x->e, x->e.p + 5);
		emit_exit_stub(x, &x->e, ex);
	} else {
		e_jmp_to(&x->e, x->c.p);
		emit_exit_stub(x, &x->c, ex);
	}
}

/* ---- memory ---- */

static void emit_lea(struct xl *x, unsigned dst, const struct bt_insn *in)
{
	struct emit *e = &x->e;
	unsigned scale = in->scale == 8 ? 3 : in->scale == 4 ? 2 : in->scale == 2 ? 1 : 0;
	int32_t disp = (int32_t)in->disp;

	if (in->base == BT_NO_REG && in->index == BT_NO_REG) {
		e_mov_imm(e, dst, in->addr32 ? (uint32_t)in->disp : (uint64_t)in->disp);
		return;
	}
	if (in->addr32)
		e8(e, 0x67);
	if (in->index == BT_NO_REG) {
		if (!disp && !in->addr32)
			e_rr(e, 1, OP_STORE, in->base, dst);
		else
			e_mem_disp(e, 1, OP_LEA, dst, in->base, disp);
		return;
	}
	if (in->base == BT_NO_REG) {
		e_rex(e, 1, dst, in->index, 0);
		e8(e, OP_LEA);
		e8(e, 0x04 | (dst & 7) << 3);
		e8(e, scale << 6 | (in->index & 7) << 3 | 5);
		e32(e, (uint32_t)disp);
		return;
	}
	e_rex(e, 1, dst, in->index, in->base);
	e8(e, OP_LEA);
	if (disp == 0 && (in->base & 7) != 5)
		e8(e, 0x04 | (dst & 7) << 3);
	else
		e8(e, (disp >= -128 && disp < 128 ? 0x44 : 0x84) | (dst & 7) << 3);
	e8(e, scale << 6 | (in->index & 7) << 3 | (in->base & 7));
	if (disp == 0 && (in->base & 7) != 5)
		return;
	if (disp >= -128 && disp < 128)
		e8(e, (uint8_t)disp);
	else
		e32(e, (uint32_t)disp);
}

static uint32_t tlb_off(const struct xl *x, size_t member)
{
	return (uint32_t)((size_t)x->bank * sizeof(struct bt_tlb) + member);
}

static uint32_t site_new(struct xl *x, unsigned a, unsigned i, unsigned size, bool write)
{
	uint32_t n = x->bt->nr_sites++;

	x->bt->site[n] = (struct bt_site){
		.resume = x->e.p, .block = x->b, .mask = (uint16_t)x->spilled, .insn = (uint16_t)(x->nr_irec - 1),
		.a = (uint8_t)a, .i = (uint8_t)i, .size = (uint8_t)size, .range = (uint16_t)size,
		.len = x->in[x->i].len, .write = write,
		.flags_in_slot = x->fl == FL_SLOT,
	};
	return n;
}

static void cold_add(struct xl *x, uint32_t jcc, uint32_t site, unsigned a, bool const_va, uint64_t va)
{
	x->cold[x->nr_cold++] = (struct cold){ .jcc = jcc, .site = site, .a = (uint8_t)a, .const_va = const_va, .va = va };
}

/*
 * A holds the address: afterwards (A,I) is the host address, or the slow path was taken.  The site's facts about the
 * access are returned for the caller to complete.
 */
static struct bt_site *emit_check_locked(struct xl *x, unsigned a, unsigned i, unsigned size, bool write, bool locked)
{
	struct emit *e = &x->e;
	uint32_t site = site_new(x, a, i, size, write);

	locked &= size > 1;
	x->bt->site[site].locked = locked;

	if (x->bt->use_pext) {
		e8(e, 0x65);                              /* pext %gs:mask, a, i: VEX.LZ.F3.0F38.W1 F5 */
		e8(e, 0xc4);
		e8(e, (i & 8 ? 0 : 0x80) | 0x40 | 0x20 | 0x02);
		e8(e, 0x80 | ((~a & 15) << 3) | 0x02);
		e8(e, 0xf5);
		e8(e, 0x04 | (i & 7) << 3);
		e8(e, 0x25);
		e32(e, tlb_off(x, offsetof(struct bt_tlb, mask)));
	} else {
		e_rr(e, 0, OP_STORE, a, i);
		e_rex(e, 0, 0, 0, i);
		e8(e, 0xc1); e8(e, 0xe8 | (i & 7)); e8(e, PAGE_SHIFT_HV);
		e_rex(e, 0, 0, 0, i);
		e8(e, 0x81); e8(e, 0xe0 | (i & 7)); e32(e, BT_TLB_ENTRIES - 1);
	}
	e_gs_idx(e, 1, 0x03, a, i, tlb_off(x, write ? offsetof(struct bt_tlb, ntag_w) : offsetof(struct bt_tlb, ntag_r)));
	e_rex(e, 1, 0, 0, a);
	e8(e, 0x81); e8(e, 0xf8 | (a & 7)); e32(e, 4096 - size);
	cold_add(x, e_jcc_fwd(e, CC_A), site, a, false, 0);
	if (locked) {                                     /* test $size-1, a (low byte): unaligned, it may cross a cache line */
		e8(e, 0x40 | a >> 3); e8(e, 0xf6); e8(e, 0xc0 | (a & 7)); e8(e, size - 1);
		cold_add(x, e_jcc_fwd(e, CC_NE), site, a, false, 0);
	}
	e_gs_idx(e, 1, OP_LOAD, i, i, tlb_off(x, offsetof(struct bt_tlb, page)));
	return &x->bt->site[site];
}

static struct bt_site *emit_check(struct xl *x, unsigned a, unsigned i, unsigned size, bool write)
{
	return emit_check_locked(x, a, i, size, write, false);
}

/* The same for a constant address within one page: A becomes the page's host address, the offset is constant. */
static struct bt_site *emit_check_const(struct xl *x, unsigned a, uint64_t va, unsigned size, bool write)
{
	struct emit *e = &x->e;
	uint64_t ntag = -(va & ~(PAGE_SIZE_HV - 1));
	uint32_t idx = bt_tlb_index(bt_tlb_of(x->v, (enum bt_bank)x->bank), va) * 8, site;
	uint32_t tag = tlb_off(x, write ? offsetof(struct bt_tlb, ntag_w) : offsetof(struct bt_tlb, ntag_r)) + idx;

	site = site_new(x, a, BT_NO_REG, size, write);
	if ((int64_t)ntag == (int32_t)ntag) {
		e_gs(e, 1, 0x81, 7, tag);                 /* cmpq $ntag, %gs:tag */
		e32(e, (uint32_t)ntag);
	} else {
		e_mov_imm(e, a, ntag);
		e_gs(e, 1, 0x3b, a, tag);
	}
	cold_add(x, e_jcc_fwd(e, CC_NE), site, a, true, va);
	e_load_gs(e, a, tlb_off(x, offsetof(struct bt_tlb, page)) + idx);
	return &x->bt->site[site];
}

static void emit_segment(struct xl *x, const struct bt_insn *in, unsigned a)
{
	if (in->seg)
		e_gs(&x->e, 1, 0x03, a, in->seg == 4 ? GS_OFF(fs_base) : GS_OFF(gs_base));
}

/* Copies the instruction with its memory operand replaced by (a,i), or disp(a) when i is BT_NO_REG. */
static void emit_retargeted(struct emit *e, const struct bt_insn *in, unsigned a, unsigned i, int32_t disp)
{
	unsigned base = i == BT_NO_REG ? a : e_pair_base(a, i), index = i == BT_NO_REG ? 0 : e_pair_index(a, i);
	unsigned reg = (in->bytes[in->modrm_off] >> 3) & 7;

	for (unsigned k = 0; k < in->pfx_len; k++) {
		uint8_t p = in->bytes[k];

		if (p == 0x66 || p == 0xf0 || p == 0xf2 || p == 0xf3)
			e8(e, p);
	}
	if (in->encoding == BE_VEX) {
		const uint8_t *v = in->bytes + in->op_off;
		unsigned xb = (index & 8 ? 0 : 0x40) | (base & 8 ? 0 : 0x20);

		e8(e, 0xc4);
		if (v[0] == 0xc5) {
			e8(e, (v[1] & 0x80) | xb | 1);
			e8(e, v[1] & 0x7f);
			e8(e, v[2]);
		} else {
			e8(e, (v[1] & 0x9f) | xb);
			e8(e, v[2]);
			e8(e, v[3]);
		}
	} else {
		unsigned rex = (in->rex & 0xcU) | (index & 8 ? 2 : 0) | (base & 8 ? 1 : 0);

		if (rex || in->rex)
			e8(e, 0x40 | rex);
		for (unsigned k = in->op_off; k < in->modrm_off; k++)
			e8(e, in->bytes[k]);
	}
	if (i != BT_NO_REG) {
		e_pair(e, reg, a, i);
	} else {
		e8(e, 0x80 | reg << 3 | (a & 7));
		if ((a & 7) == 4)
			e8(e, 0x24);
		e32(e, (uint32_t)disp);
	}
	for (unsigned k = in->tail_off; k < in->len; k++)
		e8(e, in->bytes[k]);
}

/* A memory operand's address is a constant that the short form can take. */
static bool const_address(const struct bt_insn *in, unsigned size)
{
	return !in->seg && (in->base == BT_RIP || (in->base == BT_NO_REG && in->index == BT_NO_REG)) && !in->addr32 &&
	       !(in->locked && bt_is_split((uint64_t)in->disp, size)) && (in->disp & (PAGE_SIZE_HV - 1)) + size <= PAGE_SIZE_HV;
}

/* Puts the operand's address in a; rip-relative included. */
static void emit_address(struct xl *x, const struct bt_insn *in, unsigned a)
{
	if (in->base == BT_RIP)
		e_mov_imm(&x->e, a, (uint64_t)in->disp);
	else
		emit_lea(x, a, in);
	emit_segment(x, in, a);
}

/* ---- groups of accesses ---- */

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

struct access { int32_t disp; unsigned size; bool write; };

/* The access at a constant offset from base that the instruction makes, if it makes one. */
static bool base_access(const struct bt_insn *in, unsigned base, struct access *ac)
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

		pending |= insn_regs(in);
		if (base_access(in, base, &ac)) {
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
 * True if the access can go through a group, made here if it pays: *off from register x->grp.d.  `regs` are what the
 * instruction uses beside; `guard` says that its flags matter while the check is made.
 */
static bool group_use(struct xl *x, unsigned base, struct access ac, unsigned regs, bool guard, int32_t *off)
{
	const struct bt_insn *in = &x->in[x->i];
	struct group g;
	unsigned used, a, i;
	struct bt_site *s;

	if (x->grp.valid && x->grp.base == base && (!ac.write || x->grp.write) && ac.disp + x->grp.delta >= x->grp.lo &&
	    ac.disp + x->grp.delta + (int32_t)ac.size <= x->grp.hi && !(in->needs_low && x->grp.d >= 8)) {
		*off = ac.disp + x->grp.delta - x->grp.lo;
		return true;
	}
	if (x->no_groups || group_scan(x, base, ac.write, &g, &used) < 2)
		return false;
	x->grp.valid = false;
	used |= regs | R(base) | R(REG_RSP) | R(REG_RAX) | R(REG_RCX);
	if (__builtin_popcount(used | (in->needs_low ? 0xff00 : 0)) > NR_GPR - 2)
		return false;
	flags_guard(x, guard);
	need(x, R(base));
	a = scratch(x, used);
	i = scratch(x, used | R(a));
	e_mem_disp(&x->e, 1, OP_LEA, a, base, g.lo);
	s = emit_check(x, a, i, (unsigned)(g.hi - g.lo), ac.write);
	s->size = (uint8_t)ac.size;
	s->off = (uint16_t)(ac.disp - g.lo);
	s->stack = base == REG_RSP || base == REG_RBP;
	s->simple = in->cls == BC_MEM;
	e_rr(&x->e, 1, 0x01, i, a);
	g.valid = true;
	g.d = (uint8_t)a;
	x->grp = g;
	*off = ac.disp - g.lo;
	return true;
}

/* After an instruction: what it did to the group. */
static void group_after(struct xl *x)
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

/* A non-canonical address faults with #SS where the base register implies the stack segment. */
static bool stack_segment(const struct bt_insn *in)
{
	return !in->seg && (in->base == REG_RSP || in->base == REG_RBP);
}

static void xl_mem(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	unsigned regs = in->rd | in->wr, dead = in->wr_full & ~in->rd, excl;
	bool flags_back = in->fl_use && x->live[x->i], konst = const_address(in, in->mem_size);
	unsigned a, i = BT_NO_REG;
	struct access ac;
	struct bt_site *s;
	int32_t off;

	if (in->base < NR_GPR && base_access(in, in->base, &ac) &&
	    group_use(x, in->base, ac, regs, in->fl_use || !in->fl_kill, &off)) {
		if (flags_back)
			flags_restore(x);
		need(x, in->rd);
		if (x->grp.valid) {
			record_op(x);
			emit_retargeted(&x->e, in, x->grp.d, BT_NO_REG, off);
			wrote(x, in->wr_full);
			x->clean &= ~(unsigned)in->wr;
			if (in->fl_write)
				flags_written(x);
			return;
		}
	}
	flags_guard(x, in->fl_use || !in->fl_kill);
	need(x, in->rd | in->ea_regs);
	excl = (regs | in->ea_regs) & ~dead;
	if (flags_back)
		excl |= R(REG_RAX);
	a = scratch(x, excl);
	if (konst) {
		s = emit_check_const(x, a, (uint64_t)in->disp, in->mem_size, in->mem_wr);
	} else {
		i = scratch(x, excl | R(a));
		emit_address(x, in, a);
		s = emit_check_locked(x, a, i, in->mem_size, in->mem_wr, in->locked);
	}
	s->simple = true;
	s->stack = stack_segment(in);
	if (flags_back) {
		flags_restore(x);
		need(x, in->rd);
	}
	record_op(x);
	emit_retargeted(&x->e, in, a, i, (int32_t)(in->disp & (PAGE_SIZE_HV - 1)));
	wrote(x, in->wr_full);
	x->clean &= ~(unsigned)in->wr;
	if (in->fl_write)
		flags_written(x);
}

/*
 * bt* memory,register: the register's upper bits are an offset from the operand's address, in operands; its lower bits
 * go to a scratch register that the instruction then names.
 */
static void xl_bit(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	struct bt_insn op = *in;
	unsigned excl = in->rd | in->ea_regs | R(REG_RAX), a, i, t, log = in->opsize == 8 ? 6 : 5;
	struct emit *e = &x->e;

	flags_guard(x, true);
	need(x, in->rd | in->ea_regs);
	a = scratch(x, excl);
	i = scratch(x, excl | R(a));
	t = scratch(x, excl | R(a) | R(i));
	emit_address(x, in, a);
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
	emit_check_locked(x, a, i, in->opsize, in->mem_wr, in->locked)->stack = stack_segment(in);
	flags_restore(x);
	record_op(x);
	op.bytes[op.modrm_off] = (uint8_t)((op.bytes[op.modrm_off] & 0xc7) | (t & 7) << 3);
	op.rex = (uint8_t)(0x40 | (in->rex & 8) | (t & 8 ? 4 : 0));
	emit_retargeted(e, &op, a, i, 0);
	flags_written(x);
}

/* Checks the stack slot at disp(%rsp) for a write or read of 8 bytes; (a,i) is its host address. */
static void stack_access(struct xl *x, int32_t disp, bool write, unsigned a, unsigned i)
{
	if (disp)
		e_mem_disp(&x->e, 1, OP_LEA, a, REG_RSP, disp);
	else
		e_rr(&x->e, 1, OP_STORE, REG_RSP, a);
	emit_check(x, a, i, 8, write)->stack = true;
}

static void rsp_add(struct xl *x, int32_t n) { e_mem_disp(&x->e, 1, OP_LEA, REG_RSP, REG_RSP, n); }

static void push_imm(struct xl *x, uint64_t v, unsigned excl)
{
	bool small = (int64_t)v == (int32_t)v;
	const struct access ac = { -8, 8, true };
	unsigned a, i, t;
	int32_t off;

	if (!excl && group_use(x, REG_RSP, ac, 0, x->in[x->i].cls != BC_CALL || x->live[x->i + 1], &off)) {
		t = small ? 0 : scratch(x, 0);
		if (!small)
			e_mov_imm(&x->e, t, v);
		record_op(x);
		e_mem_disp(&x->e, 1, small ? 0xc7 : OP_STORE, t, x->grp.d, off);
		if (small)
			e32(&x->e, (uint32_t)v);
		rsp_add(x, -8);
		return;
	}
	if (!excl)
		flags_guard(x, x->in[x->i].cls != BC_CALL || x->live[x->i + 1]);
	a = scratch(x, excl);
	i = scratch(x, excl | R(a));
	t = small ? 0 : scratch(x, excl | R(a) | R(i));
	stack_access(x, -8, true, a, i);
	if (!small)
		e_mov_imm(&x->e, t, v);
	record_op(x);
	if (small) {
		e_ai(&x->e, 1, 0xc7, 0, a, i);
		e32(&x->e, (uint32_t)v);
	} else {
		e_ai(&x->e, 1, OP_STORE, t, a, i);
	}
	rsp_add(x, -8);
}

static void push_reg(struct xl *x, unsigned r, unsigned excl)
{
	const struct access ac = { -8, 8, true };
	int32_t off;
	unsigned a, i;

	if (x->in[x->i].cls == BC_PUSH_REG && group_use(x, REG_RSP, ac, R(r), true, &off)) {
		need(x, R(r));
		record_op(x);
		e_mem_disp(&x->e, 1, OP_STORE, r, x->grp.d, off);
		rsp_add(x, -8);
		return;
	}
	if (x->in[x->i].cls == BC_PUSH_REG) {
		flags_guard(x, true);
		need(x, R(r));
	}
	a = scratch(x, excl | R(r));
	i = scratch(x, excl | R(r) | R(a));

	stack_access(x, -8, true, a, i);
	record_op(x);
	e_ai(&x->e, 1, OP_STORE, r, a, i);
	rsp_add(x, -8);
}

static void xl_push(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	unsigned a, i;

	if (in->cls == BC_PUSH_IMM) {
		push_imm(x, in->imm, 0);
		return;
	}
	if (in->cls == BC_PUSH_REG) {
		push_reg(x, in->reg, 0);
		return;
	}
	flags_guard(x, true);
	need(x, in->ea_regs);
	a = scratch(x, in->ea_regs);
	i = scratch(x, in->ea_regs | R(a));
	emit_address(x, in, a);
	emit_check(x, a, i, 8, false);
	e_ai(&x->e, 1, OP_LOAD, a, a, i);
	push_reg(x, a, 0);
}

static void xl_pop(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	const struct access ac = { 0, 8, false };
	int32_t off;
	unsigned a, i;

	if (in->cls == BC_LEAVE) {
		flags_guard(x, true);
		need(x, R(REG_RBP));
		a = scratch(x, R(REG_RBP));
		i = scratch(x, R(REG_RBP) | R(a));
		e_rr(&x->e, 1, OP_STORE, REG_RBP, a);
		emit_check(x, a, i, 8, false)->stack = true;
		record_op(x);
		e_ai(&x->e, 1, OP_LOAD, a, a, i);
		e_mem_disp(&x->e, 1, OP_LEA, REG_RSP, REG_RBP, 8);
		e_rr(&x->e, 1, OP_STORE, a, REG_RBP);
		wrote(x, R(REG_RBP));
		return;
	}
	if (group_use(x, REG_RSP, ac, R(in->reg), true, &off)) {
		record_op(x);
		e_mem_disp(&x->e, 1, OP_LOAD, in->reg, x->grp.d, off);
		wrote(x, R(in->reg));
		if (in->reg != REG_RSP)
			rsp_add(x, 8);
		return;
	}
	flags_guard(x, true);
	a = scratch(x, 0);
	i = scratch(x, R(a));
	stack_access(x, 0, false, a, i);
	record_op(x);
	e_ai(&x->e, 1, OP_LOAD, in->reg, a, i);
	wrote(x, R(in->reg));
	if (in->reg != REG_RSP)
		rsp_add(x, 8);
}

/* ---- leaving the block ---- */

/* The bytes of the code page that holds va, as it is mapped at this moment; NULL: not known. */
static const uint8_t *code_page(struct xl *x, uint64_t va)
{
	uint64_t page = va & ~(PAGE_SIZE_HV - 1), mfn;

	if (page == x->page_va)
		return x->code;
	if (x->bt->no_peek[bt_no_group_index(x->b->va)])
		return NULL;
	if (page != x->other_va) {
		x->other_va = page;
		x->other = mmu_probe(x->v, page, x->bank == BT_KERNEL, MMU_EXEC, &mfn, NULL) ? NULL :
			   domain_frame(x->bt->d, mfn);
	}
	return x->other;
}

/*
 * Flags as the code at target wants them: true if it may use them.  What is found on this page the block depends on; for
 * other pages it is looked at again when the jump is linked (find() in bt_run.c).
 */
static bool flags_wanted(struct xl *x, uint64_t target)
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
		if (in.fl_use)
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

static void leave_direct(struct xl *x, uint64_t target)
{
	bool wanted = x->live[x->i + 1];

	if (wanted)
		flags_restore(x);
	need(x, x->spilled);
	emit_link(x, target, !wanted);
}

/* Target in rax, guest rax and rcx in their slots, flags in fl. */
static void leave_indirect(struct xl *x)
{
	struct emit *e = &x->e;

	need(x, x->spilled & ~(R(REG_RAX) | R(REG_RCX)));
	spill(x, REG_RCX);
	e_rr(e, 0, OP_STORE, REG_RAX, REG_RCX);
	e8(e, 0x81); e8(e, 0xe1); e32(e, BT_JC_ENTRIES - 1);              /* and $mask, ecx */
	e8(e, 0x65); e8(e, 0xff); e8(e, 0x24); e8(e, 0xcd);               /* jmp *%gs:jc(,%rcx,8) */
	e32(e, GS_OFF(jc) + (uint32_t)x->bank * BT_JC_ENTRIES * 8);
}

static void leave_to_c(struct xl *x, enum bt_exit_kind kind, uint64_t rip)
{
	struct bt_exit *ex;

	flags_restore(x);
	need(x, x->spilled);
	ex = exit_new(x, kind, rip, false);
	emit_exit_stub(x, &x->e, ex);
}

/* A conditional exit.  With nothing to reload the jump itself is patched. */
static void side_exit(struct xl *x, unsigned cc, uint64_t target)
{
	struct side *s = &x->side[x->nr_side++];

	*s = (struct side){ .target = target, .mask = x->spilled };
	if (!x->spilled) {
		s->exit = exit_new(x, BX_LINK, target, false);
		e_align(&x->e, 2, 4);
	}
	s->jcc = e_jcc_fwd(&x->e, cc);
	if (s->exit)
		s->exit->patch = s->jcc;
}

static void xl_jcc(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	flags_restore(x);
	side_exit(x, in->cc, in->target);
}

/*
 * The jump back of a loop that is the block itself.  The loop is translated twice: the second copy starts with the
 * registers as the first left them, so that in the steady state nothing is spilled and reloaded each round.
 */
static void loop_first_end(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	if (in->cls == BC_JCC) {
		flags_restore(x);
		side_exit(x, in->cc ^ 1, in->va + in->len);
	} else if (x->live[0]) {
		flags_restore(x);
	}
	if (x->fl == FL_SLOT) {                   /* not live: the second copy starts in the usual state */
		x->fl = FL_HOST;
		x->fl_slot_valid = false;
	}
	x->back.to = (struct regstate){ x->spilled, x->clean };
	x->back.head = x->e.p;
	x->fl_slot_valid = false;
}

/* From register state `from` to `to`. */
static void state_fix(struct xl *x, struct regstate from, struct regstate to)
{
	x->spilled = from.spilled;
	x->clean = from.clean;
	need(x, from.spilled & ~to.spilled);
	for (unsigned r = 0; r < NR_GPR; r++)
		if (((to.spilled | to.clean) & ~x->clean) & R(r))
			e_store_gs(&x->e, r, GS_GPR(r));
}

static void loop_second_end(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	struct regstate now = { x->spilled, x->clean };
	bool same = now.spilled == x->back.to.spilled && !(x->back.to.clean & ~now.clean);

	if (in->cls == BC_JCC) {
		flags_restore(x);
		now = (struct regstate){ x->spilled, x->clean };
		same = now.spilled == x->back.to.spilled && !(x->back.to.clean & ~now.clean);
		x->back.jcc = e_jcc_fwd(&x->e, in->cc);
		x->back.from = now;
		x->back.used = !same;
		if (same)
			e_patch(&x->e, x->back.jcc, x->back.head);
		return;
	}
	if (x->live[0])
		flags_restore(x);
	now = (struct regstate){ x->spilled, x->clean };
	state_fix(x, now, x->back.to);
	e_jmp_to(&x->e, x->back.head);
}

static void xl_loop(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	uint32_t at;

	flags_restore(x);
	need(x, x->spilled);
	record_op(x);
	e8(&x->e, in->bytes[in->op_off]);
	e8(&x->e, 0);
	at = x->e.p;
	emit_link(x, in->va + in->len, false);
	x->e.base[at - 1] = (uint8_t)(x->e.p - at);
	emit_link(x, in->target, false);
}

static void xl_ret(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	const struct access ac = { 0, 8, false };
	int32_t off;

	flags_save(x);
	spill(x, REG_RAX);
	if (x->grp.valid && group_use(x, REG_RSP, ac, 0, true, &off)) {
		record_op(x);
		e_mem_disp(&x->e, 1, OP_LOAD, REG_RAX, x->grp.d, off);
	} else {
		spill(x, REG_RCX);
		stack_access(x, 0, false, REG_RAX, REG_RCX);
		record_op(x);
		e_ai(&x->e, 1, OP_LOAD, REG_RAX, REG_RAX, REG_RCX);
	}
	rsp_add(x, 8 + (int32_t)in->imm);
	leave_indirect(x);
}

/* Brings the target of an indirect jump or call to rax, whose guest value is in its slot. */
static void indirect_target(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	flags_save(x);
	if (in->cls == BC_JMP_REG || in->cls == BC_CALL_REG) {
		need(x, R(in->reg));
		spill(x, REG_RAX);
		if (in->reg != REG_RAX)
			e_rr(&x->e, 1, OP_STORE, in->reg, REG_RAX);
		record_op(x);
		return;
	}
	need(x, in->ea_regs);
	spill(x, REG_RAX);
	spill(x, REG_RCX);
	if (const_address(in, 8)) {
		emit_check_const(x, REG_RAX, (uint64_t)in->disp, 8, false);
		record_op(x);
		e_mem_disp(&x->e, 1, OP_LOAD, REG_RAX, REG_RAX, (int32_t)(in->disp & (PAGE_SIZE_HV - 1)));
		return;
	}
	emit_address(x, in, REG_RAX);
	emit_check(x, REG_RAX, REG_RCX, 8, false);
	record_op(x);
	e_ai(&x->e, 1, OP_LOAD, REG_RAX, REG_RAX, REG_RCX);
}

static void xl_read_seg(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	uint32_t off = GS_OFF(sel) + (uint32_t)in->imm * 2;

	need(x, in->rd);
	if (in->opsize == 2) {
		e8(&x->e, 0x66);
		e_gs(&x->e, 0, OP_LOAD, in->reg, off);
	} else {
		e_gs_movzw(&x->e, in->reg, off);
	}
	wrote(x, in->wr);
}

/* One instruction.  true: it ends the block. */
static bool xl_insn(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	switch ((enum bt_class)in->cls) {
	case BC_SKIP:
		return false;
	case BC_RDTSC:
		if (x->bt->d->tsc_offset) {
			leave_to_c(x, BX_EMULATE, in->va);
			return true;
		}
		/* fall through */
	case BC_VERBATIM:
		if (in->fl_use && x->live[x->i])
			flags_restore(x);
		need(x, in->rd);
		record_op(x);
		memcpy(x->e.base + x->e.p, in->bytes, in->len);
		x->e.p += in->len;
		wrote(x, in->wr_full);
		x->clean &= ~(unsigned)in->wr;
		if (in->fl_write)
			flags_written(x);
		return false;
	case BC_READ_SEG:
		xl_read_seg(x);
		return false;
	case BC_LEA_RIP:
		e_mov_imm(&x->e, (unsigned)__builtin_ctz(in->wr), in->opsize == 8 ? (uint64_t)in->disp : (uint32_t)in->disp);
		wrote(x, in->wr);
		return false;
	case BC_MEM:
		xl_mem(x);
		return false;
	case BC_BIT:
		xl_bit(x);
		return false;
	case BC_PUSH_REG: case BC_PUSH_IMM: case BC_PUSH_MEM:
		xl_push(x);
		return false;
	case BC_POP_REG: case BC_LEAVE:
		xl_pop(x);
		return false;
	case BC_JCC:
		xl_jcc(x);
		return false;
	case BC_LOOP:
		xl_loop(x);
		return true;
	case BC_JMP:
		leave_direct(x, in->target);
		return true;
	case BC_CALL:
		push_imm(x, in->va + in->len, 0);
		leave_direct(x, in->target);
		return true;
	case BC_JMP_REG: case BC_JMP_MEM:
		indirect_target(x);
		leave_indirect(x);
		return true;
	case BC_CALL_REG: case BC_CALL_MEM:
		indirect_target(x);
		push_imm(x, in->va + in->len, R(REG_RAX));
		leave_indirect(x);
		return true;
	case BC_RET:
		xl_ret(x);
		return true;
	case BC_SYSCALL:
		leave_to_c(x, BX_SYSCALL, in->va + in->len);
		return true;
	case BC_STRING:
		leave_to_c(x, BX_STRING, in->va);
		return true;
	case BC_EMULATE:
		break;
	}
	leave_to_c(x, BX_EMULATE, in->va);
	return true;
}

/* ---- the block ---- */

static bool ends_block(const struct bt_insn *in)
{
	switch (in->cls) {
	case BC_SKIP: case BC_RDTSC: case BC_READ_SEG: case BC_BIT: case BC_VERBATIM: case BC_LEA_RIP: case BC_MEM:
	 case BC_PUSH_REG: case BC_PUSH_IMM: case BC_PUSH_MEM:
	case BC_POP_REG: case BC_LEAVE: case BC_JCC:
		return false;
	default:
		return true;
	}
}

/*
 * A retpoline thunk, call 1f; 2: pause; lfence; jmp 2b; 1: mov %reg,(%rsp); ret, is a jump to reg and is translated as
 * one.  The word below the stack pointer that it leaves is the one difference.
 */
static void see_retpoline(struct xl *x, struct bt_insn *in)
{
	uint64_t off = in->target - x->page_va;
	const uint8_t *p;

	if (in->cls != BC_CALL || in->target - in->va > 64 || off > PAGE_SIZE_HV - 5)
		return;
	p = x->code + off;
	if ((p[0] != 0x48 && p[0] != 0x4c) || p[1] != 0x89 || (p[2] & 0xc7) != 0x04 || p[3] != 0x24 || p[4] != 0xc3)
		return;
	in->reg = (uint8_t)((p[2] >> 3 & 7) | (p[0] & 4 ? 8 : 0));
	if (in->reg == REG_RSP)
		return;
	in->cls = BC_JMP_REG;
	in->rd = (uint16_t)R(in->reg);
	if (off + 5 > x->b->dep_hi)
		x->b->dep_hi = (uint16_t)(off + 5);
}

/* Decodes the block's instructions.  false: the first one straddles and the next page's bytes are not given. */
static bool decode_block(struct xl *x, const uint8_t *next)
{
	uint64_t va = x->b->va;
	unsigned jccs = 0;

	while (x->n < BT_MAX_INSNS) {
		uint64_t off = va - x->page_va;
		struct bt_insn *in = &x->in[x->n];
		uint8_t buf[30];
		size_t left = PAGE_SIZE_HV - off;

		if (off >= PAGE_SIZE_HV)
			break;
		if (bt_decode(in, va, x->code + off, left)) {
			if (left < 15 && x->n)
				break;
			if (left < 15 && !next)
				return false;
			if (left < 15) {
				memcpy(buf, x->code + off, left);
				memcpy(buf + left, next, 15);
			}
			if (left >= 15 || bt_decode(in, va, buf, 15)) {
				in->cls = BC_EMULATE;         /* not valid: the emulator raises #UD */
				in->len = 1;
				in->fl_use = true;
			}
			x->n++;
			va += in->len;
			break;
		}
		see_retpoline(x, in);
		x->n++;
		va += in->len;
		if (ends_block(in) || (in->cls == BC_JCC && ++jccs == MAX_SIDE))
			break;
	}
	x->b->len = (uint16_t)(va - x->b->va);
	return true;
}

static void flags_liveness(struct xl *x)
{
	const struct bt_insn *last = &x->in[x->n - 1];
	bool live;

	if (last->cls == BC_JMP || last->cls == BC_CALL)
		live = flags_wanted(x, last->target);
	else if (ends_block(last))
		live = true;
	else
		live = flags_wanted(x, last->va + last->len);
	x->live[x->n] = live;
	for (unsigned i = x->n; i-- > 0;) {
		const struct bt_insn *in = &x->in[i];

		if (in->cls == BC_JCC || in->fl_use)
			live = true;
		else if (in->fl_kill)
			live = false;
		x->live[i] = live;
	}
}

/* cmpb $0, %gs:off */
static void emit_byte_check(struct emit *e, uint32_t off)
{
	e8(e, 0x65);
	e8(e, 0x80);
	e8(e, 0x3c);
	e8(e, 0x25);
	e32(e, off);
	e8(e, 0);
}

/* Zero when the page is not known to be mapped as it was translated. */
static void emit_page_check(struct emit *e, const struct bt_page *pg) { emit_byte_check(e, GS_OFF(cvalid) + pg->id); }

/*
 * ientry, right before the body: compares the address it was called for (rax) with the block's, and the page; restores
 * rax, rcx and the flags.  As long as it may miss, the flags stay in bt_vcpu.fl, for a block that does want them.
 * bt_block_kill() overwrites its first instruction.
 */
static void emit_ientry(struct xl *x)
{
	struct emit *e = &x->e;
	struct bt_block *b = x->b;
	uint32_t va_at;

	e_align(e, 0, 8);
	va_at = e->p;
	e64(e, b->va);
	b->ientry = e->p;
	e8(e, 0x48); e8(e, 0x3b); e8(e, 0x05); e32(e, va_at - (e->p + 4));            /* cmp va(%rip), rax */
	e8(e, 0x0f); e8(e, 0x85); e32(e, x->bt->stub_ijmp - (e->p + 4));              /* jne */
	emit_page_check(e, b->page);
	e8(e, 0x0f); e8(e, 0x84); e32(e, x->bt->stub_ijmp - (e->p + 4));              /* je */
	e_load_gs(e, REG_RCX, GS_GPR(REG_RCX));
	if (b->fl_live)
		emit_flags_load(e);
	e_load_gs(e, REG_RAX, GS_GPR(REG_RAX));
	e_align(e, 0, 8);
}

static void emit_flags_push(struct emit *e)
{
	e_store_gs(e, REG_RAX, GS_GPR(REG_RAX));
	e8(e, 0x9f);
	e8(e, 0x0f); e8(e, 0x90); e8(e, 0xc0);
	e8(e, 0x66);
	e_gs(e, 0, OP_STORE, REG_RAX, GS_OFF(fl));
}

static void emit_flags_pop(struct emit *e)
{
	emit_flags_load(e);
	e_load_gs(e, REG_RAX, GS_GPR(REG_RAX));
}

/* xentry, for direct jumps from other pages, behind the body; and the way out of a block that cannot be entered. */
static void emit_xentry(struct xl *x)
{
	struct emit *e = &x->e;
	struct bt_block *b = x->b;

	b->xentry = e->p;
	if (b->fl_live)
		emit_flags_push(e);
	emit_page_check(e, b->page);
	e_patch(e, e_jcc_fwd(e, CC_E), x->c.p);
	if (b->fl_live) {
		emit_flags_pop(e);
		emit_flags_pop(&x->c);
	}
	e_jmp_to(e, b->entry);
	emit_exit_stub(x, &x->c, b->self);
}

/* A block of a straddling instruction checks its second page at each entry.  Returns what to point at the way out. */
static uint32_t emit_page2(struct xl *x)
{
	struct emit *e = &x->e;
	uint32_t ok, miss;

	if (x->b->fl_live)
		emit_flags_push(e);
	emit_page_check(e, x->b->page2);
	ok = e_jcc_fwd(e, CC_NE);
	if (x->b->fl_live)
		emit_flags_pop(e);
	e8(e, 0xe9);
	e32(e, 0);
	miss = e->p - 4;
	e_patch(e, ok, e->p);
	if (x->b->fl_live)
		emit_flags_pop(e);
	return miss;
}

/*
 * With CR0.TS set a block that has FPU instructions goes through the emulator, an instruction at a time, until one of them
 * raises #NM.
 */
static void emit_ts_check(struct xl *x)
{
	struct emit *e = &x->e;
	bool fpu = false;
	uint32_t ok;

	for (unsigned i = 0; i < x->n; i++)
		fpu |= x->in[i].fpu;
	if (!fpu || !atomic_load(&x->bt->ts_checks))
		return;
	if (x->b->fl_live)
		emit_flags_push(e);
	emit_byte_check(e, GS_OFF(ts));
	ok = e_jcc_fwd(e, CC_E);
	if (x->b->fl_live)
		emit_flags_pop(e);
	emit_exit_stub(x, e, exit_new(x, BX_EMULATE, x->b->va, false));
	e_patch(e, ok, e->p);
	if (x->b->fl_live)
		emit_flags_pop(e);
}

static void emit_cold_paths(struct xl *x)
{
	struct emit *e = &x->e, hot = x->e;

	x->e = x->c;
	x->in_cold = true;
	for (unsigned k = 0; k < x->nr_cold; k++) {
		const struct cold *c = &x->cold[k];

		e_patch(e, c->jcc, e->p);
		if (c->const_va)
			e_mov_imm(e, c->a, c->va);
		e_store_gs_imm32(e, c->site, GS_OFF(site));
		e_jmp_to(e, x->bt->stub_cold);
	}
	for (unsigned k = 0; k < x->nr_side; k++) {
		const struct side *s = &x->side[k];

		e_patch(e, s->jcc, e->p);
		if (s->exit) {
			emit_exit_stub(x, e, s->exit);
			continue;
		}
		x->spilled = s->mask;
		need(x, s->mask);
		emit_link(x, s->target, false);
	}
	if (x->back.used) {
		e_patch(e, x->back.jcc, e->p);
		state_fix(x, x->back.from, x->back.to);
		e_jmp_to(e, x->back.head);
	}
	x->in_cold = false;
	x->c = x->e;
	x->e = hot;
}

/* The loop that the block is, if it is one. */
static int find_loop(const struct xl *x)
{
	for (unsigned i = 1; i < x->n && i < MAX_LOOP; i++)
		if ((x->in[i].cls == BC_JCC || x->in[i].cls == BC_JMP) && x->in[i].target == x->b->va)
			return (int)i;
	return -1;
}

/* The block's body.  false: it does not end by itself. */
static bool emit_body(struct xl *x)
{
	for (x->i = 0; (int)x->i <= x->loop_end; x->i++) {
		record_start(x);
		if ((int)x->i == x->loop_end) {
			loop_first_end(x);
			x->grp.valid = false;
		} else {
			xl_insn(x);
			group_after(x);
		}
	}
	x->grp.valid = false;
	for (x->i = 0; x->i < x->n; x->i++) {
		record_start(x);
		if ((int)x->i == x->loop_end) {
			loop_second_end(x);
			if (x->in[x->i].cls == BC_JMP)
				return true;
		} else if (xl_insn(x)) {
			return true;
		}
		group_after(x);
	}
	return false;
}

struct bt_block *bt_translate(struct vcpu *v, struct bt_page *pg, struct bt_page *pg2, uint64_t va,
			      const uint8_t *code, const uint8_t *next, bool *need_next)
{
	static struct xl xl;                     /* under bt->lock; one domain a process */
	struct bt_domain *bt = v->d->bt;
	struct xl *x = &xl;
	struct bt_block *b = &bt->block[bt->nr_blocks];
	uint32_t miss = 0;

	memset(b, 0, sizeof(*b));
	x->bt = bt;
	x->v = v;
	x->other_va = 1;                         /* no page */
	x->b = b;
	x->e = (struct emit){ .base = bt->rw, .p = (uint32_t)bt->used };
	x->c = (struct emit){ .base = bt->rw, .p = (uint32_t)bt->cold_used };
	x->in_cold = false;
	x->n = x->i = x->spilled = x->clean = x->nr_cold = x->nr_side = x->nr_irec = 0;
	x->back.used = false;
	x->grp.valid = false;
	x->no_groups = bt->no_group[bt_no_group_index(va)];
	x->fl = FL_HOST;
	x->fl_slot_valid = false;
	x->bank = pg->bank;
	x->code = code;
	x->page_va = pg->va;
	b->page = pg;
	b->va = va;
	b->dep_lo = (uint16_t)(va - pg->va);
	*need_next = !decode_block(x, next);
	if (*need_next)
		return NULL;
	if (b->dep_hi < va - pg->va + b->len)
		b->dep_hi = (uint16_t)(va - pg->va + b->len);
	if (b->dep_hi > PAGE_SIZE_HV) {
		b->page2 = pg2;
		b->dep_hi = PAGE_SIZE_HV;
	}
	flags_liveness(x);
	b->fl_live = x->live[0];
	x->loop_end = find_loop(x);
	b->loops = x->loop_end >= 0;
	b->irec = x->irec = &bt->irec[bt->nr_irecs];
	b->self = exit_new(x, BX_SELF, va, false);
	emit_ientry(x);
	b->entry = b->start = x->e.p;
	/* a nop of five bytes: room for the jump of bt_block_kill() */
	e8(&x->e, 0x0f); e8(&x->e, 0x1f); e8(&x->e, 0x44); e8(&x->e, 0); e8(&x->e, 0);
	if (b->page2)
		miss = emit_page2(x);
	emit_ts_check(x);
	if (!emit_body(x)) {
		x->i = x->n - 1;
		leave_direct(x, va + b->len);
	}
	b->nr = (uint16_t)x->nr_irec;
	bt->nr_irecs += x->nr_irec;
	b->body_end = x->e.p;
	emit_xentry(x);
	if (b->page2)
		e_patch(&x->e, miss, b->self->stub);
	emit_cold_paths(x);
	b->end = x->e.p;
	bt->used = (x->e.p + 15) & ~15UL;
	bt->cold_used = x->c.p;
	/* bt_block_at_host() searches without the lock: the entry is complete first */
	__atomic_store_n(&bt->nr_blocks, bt->nr_blocks + 1, __ATOMIC_RELEASE);
	return b;
}

/*
 * A thunk executes one instruction with bt_vcpu.bounce_addr for its memory operand.  Entered through enter_direct, so
 * everything is in place; leaves through a BX_BOUNCE exit.
 */
void bt_thunk_emit(struct bt_domain *bt, struct bt_site *s, const uint8_t *bytes, size_t n, uint64_t va)
{
	struct emit e = { .base = bt->rw, .p = (uint32_t)bt->cold_used };
	struct bt_insn in;
	unsigned a;
	struct bt_exit *ex = &bt->exit[bt->nr_exits++];

	*ex = (struct bt_exit){ .from = s->block, .target = va, .kind = BX_BOUNCE };
	if (bt_decode(&in, va, bytes, n) || in.cls != BC_MEM)
		return;
	for (a = 0; a < 8; a++)
		if (a != REG_RSP && !((in.rd | in.wr) & R(a)))
			break;
	e_align(&e, 0, 8);
	s->thunk = e.p;
	e_store_gs(&e, a, GS_GPR(a));
	e_load_gs(&e, a, GS_OFF(bounce_addr));
	emit_retargeted(&e, &in, a, BT_NO_REG, 0);
	e_load_gs(&e, a, GS_GPR(a));
	e_store_gs_imm32(&e, (uint32_t)(ex - bt->exit), GS_OFF(exit_id));
	e_jmp_to(&e, bt->stub_exit);
	bt->cold_used = e.p;
}

/* The thunk's first instruction stores its scratch register: 65 48 89 /r. */
unsigned bt_thunk_scratch(const struct bt_domain *bt, uint32_t thunk) { return (bt->rx[thunk + 3] >> 3) & 7; }
