/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat_check.c - addresses, the soft TLB's check before an access, and the instruction with its operand replaced.
 */
#include "hypervisor/engine/bt/bt_xlat.h"

/* lea of the instruction's operand, segment left out, to dst. */
void xl_emit_lea(struct xl *x, unsigned dst, const struct bt_insn *in)
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

uint32_t xl_tlb_off(const struct xl *x, size_t member)
{
	return (uint32_t)((size_t)x->bank * sizeof(struct bt_tlb) + member);
}

/*
 * A check that is an instruction's first code, as of a constant address, is begun again where the instruction starts; a kick may
 * find the thread there.  By then the flags and the registers that became scratch are in their slots alone, so that is where the
 * record of the start has them.
 */
static void record_retry(struct xl *x)
{
	struct bt_irec *r = &x->irec[x->nr_irec - 1];

	if (x->b->start + r->hoff != x->e.p)
		return;
	r->mask = (uint16_t)x->spilled;
	r->fl_slot = x->fl == FL_SLOT;
}

static uint32_t site_new(struct xl *x, unsigned a, unsigned i, unsigned size, bool write)
{
	uint32_t n = x->bt->nr_sites++;

	record_retry(x);
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

/* The index of address a in the soft TLB goes to i. */
void xl_emit_index(struct xl *x, unsigned a, unsigned i)
{
	struct emit *e = &x->e;

	if (x->bt->use_pext) {
		e8(e, 0x65);                              /* pext %gs:mask, a, i: VEX.LZ.F3.0F38.W1 F5 */
		e8(e, 0xc4);
		e8(e, (i & 8 ? 0 : 0x80) | 0x40 | 0x20 | 0x02);
		e8(e, 0x80 | ((~a & 15) << 3) | 0x02);
		e8(e, 0xf5);
		e8(e, 0x04 | (i & 7) << 3);
		e8(e, 0x25);
		e32(e, xl_tlb_off(x, offsetof(struct bt_tlb, mask)));
	} else {
		e_rr(e, 0, OP_STORE, a, i);
		e_rex(e, 0, 0, 0, i);
		e8(e, 0xc1); e8(e, 0xe8 | (i & 7)); e8(e, PAGE_SHIFT_HV);
		e_rex(e, 0, 0, 0, i);
		e8(e, 0x81); e8(e, 0xe0 | (i & 7)); e32(e, BT_TLB_ENTRIES - 1);
	}
}

/* An access to the soft TLB's table at member, indexed by i. */
static void emit_table(struct xl *x, unsigned opc, unsigned reg, unsigned i, size_t member)
{
	uint32_t off = xl_tlb_off(x, member);

	if (x->table == BT_NO_REG) {
		e_gs_idx(&x->e, 1, opc, reg, i, off);
		return;
	}
	e_rex(&x->e, 1, reg, i, x->table);
	e8(&x->e, opc);
	e8(&x->e, 0x84 | (reg & 7) << 3);
	e8(&x->e, 0xc0 | (i & 7) << 3 | (x->table & 7));
	e32(&x->e, off);
}

/* A holds the address: afterwards its offset in the page, and I the soft TLB's index; or the slow path was taken. */
static struct bt_site *emit_tag_check(struct xl *x, unsigned a, unsigned i, unsigned size, bool write, bool locked)
{
	struct emit *e = &x->e;
	uint32_t site = site_new(x, a, i, size, write);

	locked &= size > 1;
	x->bt->site[site].locked = locked;
	xl_emit_index(x, a, i);
	emit_table(x, 0x03, a, i, write ? offsetof(struct bt_tlb, ntag_w) : offsetof(struct bt_tlb, ntag_r));
	e_rex(e, 1, 0, 0, a);
	e8(e, 0x81); e8(e, 0xf8 | (a & 7)); e32(e, 4096 - size);
	cold_add(x, e_jcc_fwd(e, CC_A), site, a, false, 0);
	if (locked) {                                     /* test $size-1, a (low byte): unaligned, it may cross a cache line */
		e8(e, 0x40 | a >> 3); e8(e, 0xf6); e8(e, 0xc0 | (a & 7)); e8(e, size - 1);
		cold_add(x, e_jcc_fwd(e, CC_NE), site, a, false, 0);
	}
	return &x->bt->site[site];
}

/*
 * A holds the address: afterwards (A,I) is the host address, or the slow path was taken.  The site's facts about the
 * access are returned for the caller to complete.
 */
struct bt_site *xl_emit_check_locked(struct xl *x, unsigned a, unsigned i, unsigned size, bool write, bool locked)
{
	struct bt_site *s = emit_tag_check(x, a, i, size, write, locked);

	emit_table(x, OP_LOAD, i, i, offsetof(struct bt_tlb, page));
	return s;
}

/* The same, but afterwards I is what the host address is more than the guest's; A is of no use. */
struct bt_site *xl_emit_check_addend(struct xl *x, unsigned a, unsigned i, unsigned size, bool write)
{
	struct bt_site *s = emit_tag_check(x, a, i, size, write, false);

	emit_table(x, OP_LOAD, i, i, offsetof(struct bt_tlb, addend));
	return s;
}

struct bt_site *xl_emit_check(struct xl *x, unsigned a, unsigned i, unsigned size, bool write)
{
	return xl_emit_check_locked(x, a, i, size, write, false);
}

/* The same for a constant address within one page: A becomes the page's host address, the offset is constant. */
struct bt_site *xl_emit_check_const(struct xl *x, unsigned a, uint64_t va, unsigned size, bool write)
{
	struct emit *e = &x->e;
	uint64_t ntag = -(va & ~(PAGE_SIZE_HV - 1));
	uint32_t idx = bt_tlb_index(bt_tlb_of(x->v, (enum bt_bank)x->bank), va) * 8, site;
	uint32_t tag = xl_tlb_off(x, write ? offsetof(struct bt_tlb, ntag_w) : offsetof(struct bt_tlb, ntag_r)) + idx;

	site = site_new(x, a, BT_NO_REG, size, write);
	if ((int64_t)ntag == (int32_t)ntag) {
		e_gs(e, 1, 0x81, 7, tag);                 /* cmpq $ntag, %gs:tag */
		e32(e, (uint32_t)ntag);
	} else {
		e_mov_imm(e, a, ntag);
		e_gs(e, 1, 0x3b, a, tag);
	}
	cold_add(x, e_jcc_fwd(e, CC_NE), site, a, true, va);
	e_load_gs(e, a, xl_tlb_off(x, offsetof(struct bt_tlb, page)) + idx);
	return &x->bt->site[site];
}

static void emit_segment(struct xl *x, const struct bt_insn *in, unsigned a)
{
	if (in->seg)
		e_gs(&x->e, 1, 0x03, a, in->seg == 4 ? GS_OFF(v.regs.fs_base) : GS_OFF(v.regs.gs_base));
}

/*
 * Copies the instruction with its memory operand replaced by disp(base,index,scale), without its segment; index may be
 * BT_NO_REG, and scale is the logarithm.
 */
void xl_emit_operand(struct emit *e, const struct bt_insn *in, unsigned base, unsigned index, unsigned scale,
		     int32_t disp)
{
	unsigned reg = (in->bytes[in->modrm_off] >> 3) & 7, x = index == BT_NO_REG ? 0 : index, mod;

	for (unsigned k = 0; k < in->pfx_len; k++) {
		uint8_t p = in->bytes[k];

		if (p == 0x66 || p == 0xf0 || p == 0xf2 || p == 0xf3)
			e8(e, p);
	}
	if (in->encoding == BE_VEX) {
		const uint8_t *v = in->bytes + in->op_off;
		unsigned xb = (x & 8 ? 0 : 0x40) | (base & 8 ? 0 : 0x20);

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
		unsigned rex = (in->rex & 0xcU) | (x & 8 ? 2 : 0) | (base & 8 ? 1 : 0);

		if (rex || in->rex)
			e8(e, 0x40 | rex);
		for (unsigned k = in->op_off; k < in->modrm_off; k++)
			e8(e, in->bytes[k]);
	}
	mod = !disp && (base & 7) != 5 ? 0 : disp >= -128 && disp < 128 ? 0x40 : 0x80;
	if (index != BT_NO_REG || (base & 7) == 4) {
		e8(e, mod | reg << 3 | 4);
		e8(e, scale << 6 | (index == BT_NO_REG ? 4 : index & 7) << 3 | (base & 7));
	} else {
		e8(e, mod | reg << 3 | (base & 7));
	}
	if (mod == 0x40)
		e8(e, (uint8_t)disp);
	else if (mod)
		e32(e, (uint32_t)disp);
	for (unsigned k = in->tail_off; k < in->len; k++)
		e8(e, in->bytes[k]);
}

/* The same with (a,i), or disp(a) when i is BT_NO_REG. */
void xl_emit_retargeted(struct emit *e, const struct bt_insn *in, unsigned a, unsigned i, int32_t disp)
{
	if (i == BT_NO_REG)
		xl_emit_operand(e, in, a, BT_NO_REG, 0, disp);
	else
		xl_emit_operand(e, in, e_pair_base(a, i), e_pair_index(a, i), 0, 0);
}

/* A memory operand's address is a constant that the short form can take. */
bool xl_const_address(const struct xl *x, const struct bt_insn *in, unsigned size)
{
	return !in->seg && ((in->base == BT_RIP && !x->rel) || (in->base == BT_NO_REG && in->index == BT_NO_REG)) && !in->addr32 &&
	       !(in->locked && bt_is_split((uint64_t)in->disp, size)) && (in->disp & (PAGE_SIZE_HV - 1)) + size <= PAGE_SIZE_HV;
}

/* Puts the guest's address of what lies at va in the page's addresses in reg.  Leaves the flags alone. */
void xl_emit_code_address(struct xl *x, unsigned reg, uint64_t va)
{
	if (!x->rel) {
		e_mov_imm(&x->e, reg, va);
		return;
	}
	e_load_gs(&x->e, reg, GS_OFF(delta));
	e_mem_disp(&x->e, 1, OP_LEA, reg, reg, (int32_t)va);
}

/* Puts the operand's address in a; rip-relative included. */
void xl_emit_address(struct xl *x, const struct bt_insn *in, unsigned a)
{
	if (in->base == BT_RIP)
		xl_emit_code_address(x, a, (uint64_t)in->disp);
	else
		xl_emit_lea(x, a, in);
	emit_segment(x, in, a);
}
