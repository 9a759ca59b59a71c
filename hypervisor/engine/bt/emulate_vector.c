/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_vector.c - vector instructions that touch memory an element at a time: masked moves and gathers.
 *
 * Elements whose mask bit is clear are neither read nor written and cannot fault.  A gather that faults shows the
 * elements loaded so far and their mask bits cleared (SDM vol. 2, VGATHERDPS), so that it can be restarted.
 */
#include <string.h>

#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/emulate_fpstate.h"

#define YMM_BYTES 32

static void ymm_read(const struct vcpu *v, unsigned n, uint8_t *x)
{
	memcpy(x, v->xsave + XS_OFF_XMM + 16 * n, 16);
	memcpy(x + 16, v->xsave + XS_OFF_YMM + 16 * n, 16);
}

static void ymm_write(struct vcpu *v, unsigned n, const uint8_t *x)
{
	memcpy(v->xsave + XS_OFF_XMM + 16 * n, x, 16);
	memcpy(v->xsave + XS_OFF_YMM + 16 * n, x + 16, 16);
}

static int vector_usable(struct emu *e)
{
	if (e->v->cr0_ts)
		return mmu_raise(e->v, VEC_NM, 0);
	if (e->in.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && (e->v->xcr0 & XS_ALL) != XS_ALL)
		return emu_ud(e);
	return 0;
}

static unsigned vreg(const struct emu *e, unsigned i) { return (unsigned)ZydisRegisterGetId(e->op[i].reg.value); }

static bool mask_bit(const uint8_t *mask, unsigned i, unsigned w) { return mask[(i + 1) * w - 1] & 0x80; }

/* ---- maskmovq, (v)maskmovdqu: bytes of a register to [rdi] ---- */

static int do_maskmov_bytes(struct emu *e)
{
	uint8_t data[YMM_BYTES], mask[YMM_BYTES];
	unsigned n = 16, regs[2], found = 0;
	ZydisRegister seg = ZYDIS_REGISTER_DS;
	uint64_t base = 0;

	if (vector_usable(e))
		return -1;
	for (unsigned i = 0; i < e->in.operand_count; i++) {
		if (e->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			seg = e->op[i].mem.segment;
			base = emu_offset(e, &e->op[i]);
		} else if (e->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && found < 2) {
			regs[found++] = i;
		}
	}
	if (found < 2)
		return emu_ud(e);
	xs_expand(e->v);
	if (ZydisRegisterGetClass(e->op[regs[0]].reg.value) == ZYDIS_REGCLASS_MMX) {
		n = 8;
		memcpy(data, e->v->xsave + XS_OFF_ST + 16 * vreg(e, regs[0]), 8);
		memcpy(mask, e->v->xsave + XS_OFF_ST + 16 * vreg(e, regs[1]), 8);
	} else {
		ymm_read(e->v, vreg(e, regs[0]), data);
		ymm_read(e->v, vreg(e, regs[1]), mask);
	}
	xs_shrink(e->v);
	/* every byte's page is checked before the first is stored */
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < n; i++) {
			uint64_t va = emu_linear(e, seg, base + i);
			struct mmu_span s;

			if (!(mask[i] & 0x80))
				continue;
			if (pass ? emu_write(e, seg, va, 1, &data[i]) : emu_map(e, seg, va, 1, MMU_WRITE, &s))
				return -1;
		}
	return 0;
}

/* ---- vmaskmovps/pd, vpmaskmovd/q ---- */

static int do_maskmov_load(struct emu *e, unsigned w)
{
	unsigned n = e->op[0].size / 8;
	const ZydisDecodedOperand *mem = &e->op[2];
	uint8_t mask[YMM_BYTES], x[YMM_BYTES] = { 0 };
	uint64_t base = emu_offset(e, mem);

	xs_expand(e->v);
	ymm_read(e->v, vreg(e, 1), mask);
	for (unsigned i = 0; i < n / w; i++)
		if (mask_bit(mask, i, w) &&
		    emu_read(e, mem->mem.segment, emu_linear(e, mem->mem.segment, base + i * w), w, x + i * w))
			return -1;
	ymm_write(e->v, vreg(e, 0), x);
	xs_shrink(e->v);
	return 0;
}

static int do_maskmov_store(struct emu *e, unsigned w)
{
	unsigned n = e->op[2].size / 8;
	const ZydisDecodedOperand *mem = &e->op[0];
	uint8_t mask[YMM_BYTES], x[YMM_BYTES];
	uint64_t base = emu_offset(e, mem);

	xs_expand(e->v);
	ymm_read(e->v, vreg(e, 1), mask);
	ymm_read(e->v, vreg(e, 2), x);
	xs_shrink(e->v);
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < n / w; i++) {
			uint64_t va = emu_linear(e, mem->mem.segment, base + i * w);
			struct mmu_span s;

			if (!mask_bit(mask, i, w))
				continue;
			if (pass ? emu_write(e, mem->mem.segment, va, w, x + i * w) :
			    emu_map(e, mem->mem.segment, va, w, MMU_WRITE, &s))
				return -1;
		}
	return 0;
}

static int do_maskmov(struct emu *e)
{
	unsigned w = e->in.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD || e->in.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ ? 8 : 4;

	if (vector_usable(e))
		return -1;
	return e->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? do_maskmov_store(e, w) : do_maskmov_load(e, w);
}

/* ---- gathers: operands dest, memory with a vector index, mask ---- */

static int gather(struct emu *e, unsigned index_w, unsigned w)
{
	const ZydisDecodedOperand *mem = &e->op[1];
	unsigned dst = vreg(e, 0), msk = vreg(e, 2), idx = (unsigned)ZydisRegisterGetId(mem->mem.index);
	unsigned index_bytes = ZydisRegisterGetClass(mem->mem.index) == ZYDIS_REGCLASS_YMM ? 32 : 16;
	unsigned dst_bytes = e->op[0].size / 8, n = index_bytes / index_w;
	uint8_t x[YMM_BYTES], mask[YMM_BYTES], index[YMM_BYTES];
	uint64_t base = emu_base(e, mem);
	int rc = 0;

	if (vector_usable(e))
		return -1;
	if (dst == msk || dst == idx || msk == idx)
		return emu_ud(e);
	if (dst_bytes / w < n)
		n = dst_bytes / w;
	xs_expand(e->v);
	ymm_read(e->v, dst, x);
	ymm_read(e->v, msk, mask);
	ymm_read(e->v, idx, index);
	/* whatever happens, the mask becomes its sign bits spread over the vector length, and zero above */
	for (unsigned i = 0; i < YMM_BYTES / w; i++)
		memset(mask + i * w, i * w < e->in.avx.vector_length / 8u && mask_bit(mask, i, w) ? 0xff : 0, w);
	for (unsigned i = 0; i < n && !rc; i++) {
		int64_t at;
		uint64_t off;

		if (!mask_bit(mask, i, w))
			continue;
		if (index_w == 4) {
			int32_t at32;

			memcpy(&at32, index + 4 * i, 4);
			at = at32;
		} else {
			memcpy(&at, index + 8 * i, 8);
		}
		off = base + (uint64_t)at * mem->mem.scale;
		if (e->in.address_width == 32)
			off = (uint32_t)off;
		rc = emu_read(e, mem->mem.segment, emu_linear(e, mem->mem.segment, off), w, x + i * w);
		if (!rc)
			memset(mask + i * w, 0, w);
	}
	if (!rc) {
		memset(mask, 0, sizeof(mask));
		memset(x + n * w, 0, sizeof(x) - n * w);
	}
	ymm_write(e->v, dst, x);
	ymm_write(e->v, msk, mask);
	xs_shrink(e->v);
	return rc;
}

static int do_gather_dd(struct emu *e) { return gather(e, 4, 4); }
static int do_gather_dq(struct emu *e) { return gather(e, 4, 8); }
static int do_gather_qd(struct emu *e) { return gather(e, 8, 4); }
static int do_gather_qq(struct emu *e) { return gather(e, 8, 8); }

emu_fn emu_vector_handler(const struct emu *e)
{
	if (e->in.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		return NULL;
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ: case ZYDIS_MNEMONIC_MASKMOVDQU: case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return do_maskmov_bytes;
	case ZYDIS_MNEMONIC_VMASKMOVPS: case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD: case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return do_maskmov;
	case ZYDIS_MNEMONIC_VGATHERDPS: case ZYDIS_MNEMONIC_VPGATHERDD:
		return do_gather_dd;
	case ZYDIS_MNEMONIC_VGATHERDPD: case ZYDIS_MNEMONIC_VPGATHERDQ:
		return do_gather_dq;
	case ZYDIS_MNEMONIC_VGATHERQPS: case ZYDIS_MNEMONIC_VPGATHERQD:
		return do_gather_qd;
	case ZYDIS_MNEMONIC_VGATHERQPD: case ZYDIS_MNEMONIC_VPGATHERQQ:
		return do_gather_qq;
	default:
		return NULL;
	}
}
