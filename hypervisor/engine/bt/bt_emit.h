/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_emit.h - writing x86-64 instructions.  Offsets are relative to the cache's start; the bytes go to the writable
 * mapping.  A register is its hardware number.  The caller has made sure that there is room.
 */
#ifndef HV_BT_EMIT_H
#define HV_BT_EMIT_H

#include <stdint.h>
#include <string.h>

struct emit { uint8_t *base; uint32_t p; };

#define GS_OFF(member) ((uint32_t)offsetof(struct bt_vcpu, member))
#define GS_GPR(r) (GS_OFF(v.regs.gpr) + 8U * (uint32_t)(r))
#define GS_HOST(r) (GS_OFF(host) + 8U * (uint32_t)(r))

static inline void e8(struct emit *e, unsigned b) { e->base[e->p++] = (uint8_t)b; }
static inline void e32(struct emit *e, uint32_t v) { memcpy(e->base + e->p, &v, 4); e->p += 4; }
static inline void e64(struct emit *e, uint64_t v) { memcpy(e->base + e->p, &v, 8); e->p += 8; }

static inline void e_rex(struct emit *e, int w, unsigned reg, unsigned index, unsigned base)
{
	unsigned rex = 0x40 | (w ? 8 : 0) | (reg & 8 ? 4 : 0) | (index & 8 ? 2 : 0) | (base & 8 ? 1 : 0);

	if (rex != 0x40)
		e8(e, rex);
}

/* op reg, rm (register form); opc of one byte */
static inline void e_rr(struct emit *e, int w, unsigned opc, unsigned reg, unsigned rm)
{
	e_rex(e, w, reg, 0, rm);
	e8(e, opc);
	e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* op reg, %gs:off */
static inline void e_gs(struct emit *e, int w, unsigned opc, unsigned reg, uint32_t off)
{
	e8(e, 0x65);
	e_rex(e, w, reg, 0, 0);
	e8(e, opc);
	e8(e, 0x04 | (reg & 7) << 3);
	e8(e, 0x25);
	e32(e, off);
}

/* movzwl %gs:off, reg */
static inline void e_gs_movzw(struct emit *e, unsigned reg, uint32_t off)
{
	e8(e, 0x65);
	e_rex(e, 0, reg, 0, 0);
	e8(e, 0x0f);
	e8(e, 0xb7);
	e8(e, 0x04 | (reg & 7) << 3);
	e8(e, 0x25);
	e32(e, off);
}

/* op reg, %gs:off(,index,8) */
static inline void e_gs_idx(struct emit *e, int w, unsigned opc, unsigned reg, unsigned index, uint32_t off)
{
	e8(e, 0x65);
	e_rex(e, w, reg, index, 0);
	e8(e, opc);
	e8(e, 0x04 | (reg & 7) << 3);
	e8(e, 0xc5 | (index & 7) << 3);
	e32(e, off);
}

#define OP_LOAD 0x8b
#define OP_STORE 0x89
#define OP_LEA 0x8d

static inline void e_load_gs(struct emit *e, unsigned reg, uint32_t off) { e_gs(e, 1, OP_LOAD, reg, off); }
static inline void e_store_gs(struct emit *e, unsigned reg, uint32_t off) { e_gs(e, 1, OP_STORE, reg, off); }

/* movl $imm, %gs:off */
static inline void e_store_gs_imm32(struct emit *e, uint32_t imm, uint32_t off)
{
	e_gs(e, 0, 0xc7, 0, off);
	e32(e, imm);
}

/* op reg, disp(base) with disp8/32 as needed; base may be any register */
static inline void e_mem_disp(struct emit *e, int w, unsigned opc, unsigned reg, unsigned base, int32_t disp)
{
	int small = disp >= -128 && disp < 128;

	e_rex(e, w, reg, 0, base);
	e8(e, opc);
	if (disp == 0 && (base & 7) != 5)
		e8(e, (reg & 7) << 3 | (base & 7));
	else
		e8(e, (small ? 0x40 : 0x80) | (reg & 7) << 3 | (base & 7));
	if ((base & 7) == 4)
		e8(e, 0x24);
	if (disp == 0 && (base & 7) != 5)
		return;
	if (small)
		e8(e, (uint8_t)disp);
	else
		e32(e, (uint32_t)disp);
}

/* op reg, disp(base,index); the index is not rsp */
static inline void e_mem_index(struct emit *e, int w, unsigned opc, unsigned reg, unsigned base, unsigned index, int32_t disp)
{
	unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp >= -128 && disp < 128 ? 0x40 : 0x80;

	e_rex(e, w, reg, index, base);
	e8(e, opc);
	e8(e, mod | (reg & 7) << 3 | 4);
	e8(e, (index & 7) << 3 | (base & 7));
	if (mod == 0x40)
		e8(e, (uint8_t)disp);
	else if (mod)
		e32(e, (uint32_t)disp);
}

/* ModRM and SIB of (a,i): base and index swapped where the base cannot go without displacement. */
static inline void e_pair(struct emit *e, unsigned reg, unsigned a, unsigned i)
{
	if ((a & 7) == 5) {
		unsigned t = a;

		a = i;
		i = t;
	}
	if ((a & 7) == 5) {
		e8(e, 0x44 | (reg & 7) << 3);
		e8(e, (i & 7) << 3 | (a & 7));
		e8(e, 0);
		return;
	}
	e8(e, 0x04 | (reg & 7) << 3);
	e8(e, (i & 7) << 3 | (a & 7));
}

/* Which of a and i the encoding uses as base; the other is the index. */
static inline unsigned e_pair_base(unsigned a, unsigned i) { return (a & 7) == 5 ? i : a; }
static inline unsigned e_pair_index(unsigned a, unsigned i) { return (a & 7) == 5 ? a : i; }

/* op reg, (a,i) */
static inline void e_ai(struct emit *e, int w, unsigned opc, unsigned reg, unsigned a, unsigned i)
{
	e_rex(e, w, reg, e_pair_index(a, i), e_pair_base(a, i));
	e8(e, opc);
	e_pair(e, reg, a, i);
}

static inline void e_mov_imm(struct emit *e, unsigned reg, uint64_t v)
{
	if (v <= 0xffffffffULL) {
		e_rex(e, 0, 0, 0, reg);
		e8(e, 0xb8 | (reg & 7));
		e32(e, (uint32_t)v);
	} else if ((int64_t)v == (int32_t)v) {
		e_rex(e, 1, 0, 0, reg);
		e8(e, 0xc7);
		e8(e, 0xc0 | (reg & 7));
		e32(e, (uint32_t)v);
	} else {
		e_rex(e, 1, 0, 0, reg);
		e8(e, 0xb8 | (reg & 7));
		e64(e, v);
	}
}

static inline void e_jmp_to(struct emit *e, uint32_t to)
{
	e8(e, 0xe9);
	e32(e, to - (e->p + 4));
}

/* jcc with a rel32 to be set later; returns the offset of the rel32 */
static inline uint32_t e_jcc_fwd(struct emit *e, unsigned cc)
{
	e8(e, 0x0f);
	e8(e, 0x80 | cc);
	e32(e, 0);
	return e->p - 4;
}

static inline void e_patch(struct emit *e, uint32_t at, uint32_t to)
{
	uint32_t rel = to - (at + 4);

	memcpy(e->base + at, &rel, 4);
}

/* Nops so that p + ahead is a multiple of align (a power of two, 8 at most). */
static inline void e_align(struct emit *e, unsigned ahead, unsigned align)
{
	static const uint8_t nops[8][8] = {
		{ 0 }, { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 }, { 0x0f, 0x1f, 0x40, 0 }, { 0x0f, 0x1f, 0x44, 0, 0 },
		{ 0x66, 0x0f, 0x1f, 0x44, 0, 0 }, { 0x0f, 0x1f, 0x80, 0, 0, 0, 0 },
	};
	unsigned n = (align - ((e->p + ahead) & (align - 1))) & (align - 1);

	memcpy(e->base + e->p, nops[n], n);
	e->p += n;
}

#endif
