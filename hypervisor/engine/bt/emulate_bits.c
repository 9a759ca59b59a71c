/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_bits.c - instructions whose memory operand is not where ModRM says: bit strings and xlat.
 */
#include "hypervisor/engine/bt/emulate.h"

/*
 * bt/bts/btr/btc mem, reg: the register is a signed bit offset from the operand's address, so the word touched may lie
 * 2^60 bytes away (SDM vol. 2, BT).  The host does the operation on the right word with the offset within it.
 */
static int do_bit_string(struct emu *e)
{
	const ZydisDecodedOperand *op = &e->op[0];
	unsigned bits = op->size;
	uint64_t *reg, saved, off;
	int64_t soff;
	int rc;

	off = emu_reg_read(e, e->op[1].reg.value);
	soff = bits == 16 ? (int16_t)off : bits == 32 ? (int32_t)off : (int64_t)off;
	off = emu_offset(e, op) + (uint64_t)(soff >> (bits == 16 ? 4 : bits == 32 ? 5 : 6)) * (bits / 8);
	if (e->in.address_width == 32)
		off = (uint32_t)off;
	else if (e->in.address_width == 16)
		off = (uint16_t)off;
	reg = &e->v->regs.gpr[ZydisRegisterGetId(e->op[1].reg.value)];
	saved = *reg;
	*reg = saved & (bits - 1);
	rc = emu_native_at(e, emu_linear(e, op->mem.segment, off));
	*reg = saved;
	return rc;
}

static int do_xlat(struct emu *e)
{
	ZydisRegister seg = ZYDIS_REGISTER_DS;
	unsigned w = e->in.address_width;
	uint64_t off, x = 0;

	for (unsigned i = 0; i < e->in.operand_count; i++)
		if (e->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			seg = e->op[i].mem.segment;
	off = e->v->regs.gpr[REG_RBX] + (uint8_t)e->v->regs.gpr[REG_RAX];
	if (w < 64)
		off &= (1UL << w) - 1;
	if (emu_read(e, seg, emu_linear(e, seg, off), 1, &x))
		return -1;
	emu_reg_write(e, ZYDIS_REGISTER_AL, x);
	return 0;
}

/* mov between the accumulator and an address that is part of the instruction: there is no ModRM to re-encode */
static int do_mov_moffs(struct emu *e)
{
	uint64_t x;

	return emu_operand_read(e, 1, &x) ? -1 : emu_operand_write(e, 0, x);
}

static bool has_memory(const struct emu *e)
{
	return e->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY || e->op[1].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

emu_fn emu_bits_handler(const struct emu *e)
{
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_BT: case ZYDIS_MNEMONIC_BTS: case ZYDIS_MNEMONIC_BTR: case ZYDIS_MNEMONIC_BTC:
		return e->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY && e->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER ?
		       do_bit_string : NULL;
	case ZYDIS_MNEMONIC_XLAT:
		return do_xlat;
	case ZYDIS_MNEMONIC_MOV:
		return has_memory(e) && !(e->in.attributes & ZYDIS_ATTRIB_HAS_MODRM) ? do_mov_moffs : NULL;
	default:
		return NULL;
	}
}
