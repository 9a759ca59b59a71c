/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_legacy.c - instructions of compatibility-mode code that 64-bit mode no longer has (decimal arithmetic, salc,
 * bound) or that do less there.  The host cannot run them for us.  Flags the manual leaves undefined are what Intel CPUs show.
 */
#include <string.h>

#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/emulate_fpstate.h"

static uint8_t al(const struct emu *e) { return (uint8_t)e->v->regs.gpr[REG_RAX]; }
static void set_al(struct emu *e, unsigned x) { emu_reg_write(e, ZYDIS_REGISTER_AL, x); }
static void set_ax(struct emu *e, unsigned x) { emu_reg_write(e, ZYDIS_REGISTER_AX, x); }

/* SF, ZF, PF of a byte; CF, AF and OF as given. */
static void set_flags(struct emu *e, uint8_t r, uint64_t others)
{
	others |= r & 0x80 ? FL_SF : 0;
	others |= r ? 0 : FL_ZF;
	others |= __builtin_parity(r) ? 0 : FL_PF;
	e->v->regs.rflags = (e->v->regs.rflags & ~FL_ARITH) | others;
}

static int decimal_adjust(struct emu *e, int sign)
{
	uint64_t f = e->v->regs.rflags, out = 0;
	uint8_t old = al(e), x = old;
	bool carry = f & FL_CF, half = (old & 15) > 9 || (f & FL_AF);

	if (half) {
		carry = carry || (sign > 0 ? x + 6 > 0xff : x < 6);
		x = (uint8_t)(x + 6 * sign);
		out |= FL_AF;
	}
	if (old > 0x99 || (f & FL_CF)) {
		x = (uint8_t)(x + 0x60 * sign);
		carry = true;
	} else if (sign > 0) {
		carry = false;
	}
	set_al(e, x);
	set_flags(e, x, out | (carry ? FL_CF : 0));
	return 0;
}

static int do_daa(struct emu *e) { return decimal_adjust(e, 1); }
static int do_das(struct emu *e) { return decimal_adjust(e, -1); }

static int ascii_adjust(struct emu *e, int sign)
{
	uint16_t ax = (uint16_t)e->v->regs.gpr[REG_RAX];
	uint64_t out = 0;

	if ((ax & 15) > 9 || (e->v->regs.rflags & FL_AF)) {
		ax = (uint16_t)(sign > 0 ? ax + 0x106 : ax - 6 - 0x100);
		out = FL_AF | FL_CF;
	}
	ax &= 0xff0f;
	set_ax(e, ax);
	set_flags(e, (uint8_t)ax, out);
	return 0;
}

static int do_aaa(struct emu *e) { return ascii_adjust(e, 1); }
static int do_aas(struct emu *e) { return ascii_adjust(e, -1); }

static int do_aam(struct emu *e)
{
	uint8_t base = (uint8_t)e->in.raw.imm[0].value.u, x = al(e);

	if (base == 0)
		return mmu_raise(e->v, VEC_DE, 0);
	set_ax(e, (unsigned)(x / base) << 8 | x % base);
	set_flags(e, x % base, 0);
	return 0;
}

static int do_aad(struct emu *e)
{
	uint8_t a = al(e), b = (uint8_t)((e->v->regs.gpr[REG_RAX] >> 8) * e->in.raw.imm[0].value.u);
	uint8_t x = (uint8_t)(a + b);

	/* carries are those of the addition */
	set_ax(e, x);
	set_flags(e, x, (a + b > 0xff ? FL_CF : 0) | ((a ^ b ^ x) & 0x10 ? FL_AF : 0) |
		  ((a ^ x) & (b ^ x) & 0x80 ? FL_OF : 0));
	return 0;
}

static int do_salc(struct emu *e)
{
	set_al(e, e->v->regs.rflags & FL_CF ? 0xff : 0);
	return 0;
}

/* One of the bounds, the lower or the upper, to *limit. */
static int bound_read(struct emu *e, unsigned i, int32_t *limit)
{
	const ZydisDecodedOperand *op = &e->op[1];
	unsigned w = e->in.operand_width / 8;
	int16_t word;

	*limit = 0;
	if (emu_read(e, op->mem.segment, emu_linear(e, op->mem.segment, emu_offset(e, op) + i * w), w, limit))
		return -1;
	if (w == 2) {
		memcpy(&word, limit, 2);
		*limit = word;
	}
	return 0;
}

/* An index below the lower bound is told before the upper one is read, and may be missing. */
static int do_bound(struct emu *e)
{
	int32_t index = (int32_t)emu_reg_read(e, e->op[0].reg.value), limit;

	if (e->in.operand_width == 16)
		index = (int16_t)index;
	if (bound_read(e, 0, &limit))
		return -1;
	if (index < limit)
		return mmu_raise(e->v, VEC_BR, 0);
	if (bound_read(e, 1, &limit))
		return -1;
	return index > limit ? mmu_raise(e->v, VEC_BR, 0) : 0;
}

/* vzeroall, vzeroupper: registers 0..7 only */
static int do_vzero(struct emu *e)
{
	struct vcpu *v = e->v;

	if (v->cr0_ts)
		return mmu_raise(v, VEC_NM, 0);
	if ((v->xcr0 & XS_ALL) != XS_ALL)
		return emu_ud(e);
	xs_expand(v);
	memset(v->xsave + XS_OFF_YMM, 0, 8 * 16);
	if (e->in.mnemonic == ZYDIS_MNEMONIC_VZEROALL)
		memset(v->xsave + XS_OFF_XMM, 0, 8 * 16);
	xs_shrink(v);
	return 0;
}

emu_fn emu_legacy_handler(const struct emu *e)
{
	if (!e->code32)
		return NULL;
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_DAA: return do_daa;
	case ZYDIS_MNEMONIC_DAS: return do_das;
	case ZYDIS_MNEMONIC_AAA: return do_aaa;
	case ZYDIS_MNEMONIC_AAS: return do_aas;
	case ZYDIS_MNEMONIC_AAM: return do_aam;
	case ZYDIS_MNEMONIC_AAD: return do_aad;
	case ZYDIS_MNEMONIC_SALC: return do_salc;
	case ZYDIS_MNEMONIC_BOUND: return do_bound;
	case ZYDIS_MNEMONIC_VZEROALL: case ZYDIS_MNEMONIC_VZEROUPPER: return do_vzero;
	default: return NULL;
	}
}
