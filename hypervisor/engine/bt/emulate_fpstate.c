/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_fpstate.c - fxsave, fxrstor and the xsave family between guest memory and v->xsave.
 *
 * The operand is mapped whole before anything moves, edited in a bounce buffer and written back, so that a fault leaves
 * state and memory as they were.  x87 instruction and data pointers are never shown: they are the host's.
 */
#include <string.h>

#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/emulate_fpstate.h"

static uint64_t get64(const uint8_t *p) { uint64_t x; memcpy(&x, p, 8); return x; }
static void put64(uint8_t *p, uint64_t x) { memcpy(p, &x, 8); }
static uint32_t get32(const uint8_t *p) { uint32_t x; memcpy(&x, p, 4); return x; }
static void put32(uint8_t *p, uint32_t x) { memcpy(p, &x, 4); }

static void init_x87(uint8_t *img)
{
	memset(img, 0, XS_OFF_MXCSR);
	img[0] = 0x7f;                  /* FCW 037f; FTW abridged 0: all empty */
	img[1] = 0x03;
	memset(img + XS_OFF_ST, 0, XS_OFF_XMM - XS_OFF_ST);
}

static void init_component(uint8_t *img, uint64_t bit)
{
	if (bit == XS_X87)
		init_x87(img);
	else if (bit == XS_SSE)
		memset(img + XS_OFF_XMM, 0, XS_OFF_XMM_END - XS_OFF_XMM);
	else
		memset(img + XS_OFF_YMM, 0, XS_SIZE - XS_OFF_YMM);
}

void xs_expand(struct vcpu *v)
{
	uint64_t bv = get64(v->xsave + XS_OFF_HEADER);

	for (uint64_t bit = XS_X87; bit <= XS_YMM; bit <<= 1)
		if (!(bv & bit))
			init_component(v->xsave, bit);
	memset(v->xsave + 8, 0, 16);    /* FIP, FDP: host addresses */
	put64(v->xsave + XS_OFF_HEADER, XS_ALL);
}

void xs_shrink(struct vcpu *v)
{
	for (unsigned i = XS_OFF_YMM; i < XS_SIZE; i += 8)
		if (get64(v->xsave + i))
			return;
	put64(v->xsave + XS_OFF_HEADER, XS_X87 | XS_SSE);
}

void xs_init_once(struct vcpu *v)
{
	for (unsigned i = 0; i < XS_SIZE; i += 8)
		if (get64(v->xsave + i))
			return;
	init_x87(v->xsave);
	put32(v->xsave + XS_OFF_MXCSR, MXCSR_DEFAULT);
}

/* Copy one component between images of the standard layout; MXCSR goes apart. */
static void copy_component(uint8_t *to, const uint8_t *from, uint64_t bit)
{
	if (bit == XS_X87) {
		memcpy(to, from, XS_OFF_MXCSR);
		memcpy(to + XS_OFF_ST, from + XS_OFF_ST, XS_OFF_XMM - XS_OFF_ST);
	} else if (bit == XS_SSE) {
		memcpy(to + XS_OFF_XMM, from + XS_OFF_XMM, XS_OFF_XMM_END - XS_OFF_XMM);
	} else {
		memcpy(to + XS_OFF_YMM, from + XS_OFF_YMM, XS_SIZE - XS_OFF_YMM);
	}
}

static uint64_t edx_eax(const struct emu *e)
{
	return e->v->regs.gpr[REG_RDX] << 32 | (uint32_t)e->v->regs.gpr[REG_RAX];
}

/* The memory operand, checked for alignment and mapped. */
static int map_area(struct emu *e, unsigned align, size_t n, enum mmu_access access, struct mmu_span *s)
{
	const ZydisDecodedOperand *op = &e->op[0];
	uint64_t va = emu_address(e, op);

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return emu_ud(e);
	if (e->v->cr0_ts)
		return mmu_raise(e->v, VEC_NM, 0);
	if (va & (align - 1))
		return emu_gp(e);
	return emu_map(e, op->mem.segment, va, n, access, s);
}

/* ---- fxsave, fxrstor ---- */

/* Outside 64-bit mode xmm8..15 are not part of the image. */
static unsigned fx_end(const struct emu *e) { return e->code32 ? XS_OFF_XMM + 8 * 16 : XS_OFF_XMM_END; }

static int do_fxsave(struct emu *e)
{
	uint8_t area[512];
	struct mmu_span s;

	if (map_area(e, 16, sizeof(area), MMU_WRITE, &s))
		return -1;
	mmu_span_read(&s, area);                        /* bytes 464..511 are software's */
	xs_expand(e->v);
	memcpy(area, e->v->xsave, fx_end(e));
	put32(area + XS_OFF_MXCSR + 4, MXCSR_VALID);
	xs_shrink(e->v);
	mmu_span_write(e->v->d, &s, area);
	return 0;
}

static int do_fxrstor(struct emu *e)
{
	uint8_t area[512];
	struct mmu_span s;

	if (map_area(e, 16, sizeof(area), MMU_READ, &s))
		return -1;
	mmu_span_read(&s, area);
	if (get32(area + XS_OFF_MXCSR) & ~MXCSR_VALID)
		return emu_gp(e);
	xs_expand(e->v);
	memcpy(e->v->xsave, area, fx_end(e));
	memset(e->v->xsave + 8, 0, 16);
	xs_shrink(e->v);
	return 0;
}

/* ---- xsave, xsaveopt, xsavec, xrstor ---- */

/* XCR0 always has x87 (SDM vol. 1 section 13.3); OSXSAVE is the host's and on, as under Xen, so nothing here is #UD. */
static uint64_t xcr0(const struct emu *e) { return (e->v->xcr0 & XS_ALL) | XS_X87; }

static size_t area_size(uint64_t mask) { return mask & XS_YMM ? XS_SIZE : XS_OFF_YMM; }

static int do_xsave(struct emu *e)
{
	uint64_t rfbm = edx_eax(e) & xcr0(e), bv, inuse;
	bool compact = e->in.mnemonic == ZYDIS_MNEMONIC_XSAVEC || e->in.mnemonic == ZYDIS_MNEMONIC_XSAVEC64;
	uint8_t area[XS_SIZE];
	struct mmu_span s;

	if (map_area(e, 64, area_size(rfbm), MMU_WRITE, &s))
		return -1;
	mmu_span_read(&s, area);
	xs_expand(e->v);
	xs_shrink(e->v);
	inuse = get64(e->v->xsave + XS_OFF_HEADER);
	for (uint64_t bit = XS_X87; bit <= XS_YMM; bit <<= 1)
		if ((rfbm & bit) && (!compact || (inuse & bit)))
			copy_component(area, e->v->xsave, bit);
	if (rfbm & (compact ? XS_SSE : XS_SSE | XS_YMM)) {
		memcpy(area + XS_OFF_MXCSR, e->v->xsave + XS_OFF_MXCSR, 4);
		put32(area + XS_OFF_MXCSR + 4, MXCSR_VALID);
	}
	bv = get64(area + XS_OFF_HEADER);
	put64(area + XS_OFF_HEADER, compact ? inuse & rfbm : (bv & ~rfbm) | (inuse & rfbm));
	if (compact)
		put64(area + XS_OFF_HEADER + 8, rfbm | 1UL << 63);
	mmu_span_write(e->v->d, &s, area);
	return 0;
}

/* XSTATE_BV and XCOMP_BV of an image to restore; SDM vol. 1 sections 13.8.1, 13.8.2. */
static int check_header(struct emu *e, const uint8_t *h)
{
	uint64_t bv = get64(h), comp = get64(h + 8), rest = 0;

	if (comp >> 63) {
		comp &= ~(1UL << 63);
		if ((comp & ~xcr0(e)) || (bv & ~comp))
			return emu_gp(e);
		for (unsigned i = 16; i < 64; i += 8)
			rest |= get64(h + i);
	} else {
		if (comp || (bv & ~xcr0(e)))
			return emu_gp(e);
		rest = get64(h + 16);
	}
	return rest ? emu_gp(e) : 0;
}

static int do_xrstor(struct emu *e)
{
	uint64_t rfbm = edx_eax(e) & xcr0(e), bv;
	uint8_t area[XS_SIZE], *img = e->v->xsave;
	bool compact;
	struct mmu_span s;

	if (map_area(e, 64, area_size(rfbm), MMU_READ, &s))
		return -1;
	memset(area, 0, sizeof(area));
	mmu_span_read(&s, area);
	if (check_header(e, area + XS_OFF_HEADER))
		return -1;
	bv = get64(area + XS_OFF_HEADER);
	compact = area[XS_OFF_HEADER + 15] & 0x80;
	/* the compacted form takes MXCSR with the SSE component alone, the standard one with SSE or AVX requested */
	if (compact ? rfbm & bv & XS_SSE : rfbm & (XS_SSE | XS_YMM))
		if (get32(area + XS_OFF_MXCSR) & ~MXCSR_VALID)
			return emu_gp(e);
	xs_expand(e->v);
	for (uint64_t bit = XS_X87; bit <= XS_YMM; bit <<= 1) {
		if (!(rfbm & bit))
			continue;
		if (bv & bit)
			copy_component(img, area, bit);
		else
			init_component(img, bit);
	}
	if (compact ? rfbm & bv & XS_SSE : rfbm & (XS_SSE | XS_YMM))
		memcpy(img + XS_OFF_MXCSR, area + XS_OFF_MXCSR, 4);
	else if (compact && (rfbm & XS_SSE))
		put32(img + XS_OFF_MXCSR, MXCSR_DEFAULT);
	memset(img + 8, 0, 16);
	xs_shrink(e->v);
	return 0;
}

/* ---- xgetbv, xsetbv ---- */

static int do_xgetbv(struct emu *e)
{
	uint32_t which = (uint32_t)e->v->regs.gpr[REG_RCX];
	uint64_t x = xcr0(e);

	if (which > 1)
		return emu_gp(e);
	if (which == 1) {                /* XCR0 & XINUSE */
		xs_expand(e->v);
		xs_shrink(e->v);
		x &= get64(e->v->xsave + XS_OFF_HEADER);
	}
	e->v->regs.gpr[REG_RAX] = (uint32_t)x;
	e->v->regs.gpr[REG_RDX] = x >> 32;
	return 0;
}

static int do_xsetbv(struct emu *e)
{
	uint64_t x = edx_eax(e);

	if (!e->v->regs.kernel_mode || (uint32_t)e->v->regs.gpr[REG_RCX] || (x & ~XS_ALL) || !(x & XS_X87) ||
	    ((x & XS_YMM) && !(x & XS_SSE)))
		return emu_gp(e);
	e->v->xcr0 = x;
	return 0;
}

emu_fn emu_fpstate_handler(const struct emu *e)
{
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE: case ZYDIS_MNEMONIC_FXSAVE64:
		return do_fxsave;
	case ZYDIS_MNEMONIC_FXRSTOR: case ZYDIS_MNEMONIC_FXRSTOR64:
		return do_fxrstor;
	case ZYDIS_MNEMONIC_XSAVE: case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC: case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT: case ZYDIS_MNEMONIC_XSAVEOPT64:
		return do_xsave;
	case ZYDIS_MNEMONIC_XRSTOR: case ZYDIS_MNEMONIC_XRSTOR64:
		return do_xrstor;
	case ZYDIS_MNEMONIC_XGETBV:
		return do_xgetbv;
	case ZYDIS_MNEMONIC_XSETBV:
		return do_xsetbv;
	default:
		return NULL;
	}
}
