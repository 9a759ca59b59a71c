/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_operand.c - registers, effective addresses, memory operands and the stack of the emulated instruction.
 *
 * Segments are flat: 64-bit code has no other kind, and compatibility-mode code is run with bases of 0 except for FS
 * and GS (the bases of other data segments are not kept in struct cpu_regs).
 */
#include <string.h>

#include "hypervisor/engine/bt/emulate.h"

uint64_t emu_reg_read(const struct emu *e, ZydisRegister reg)
{
	const struct cpu_regs *r = &e->v->regs;
	int id = ZydisRegisterGetId(reg);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR64:
		return r->gpr[id];
	case ZYDIS_REGCLASS_GPR32:
		return (uint32_t)r->gpr[id];
	case ZYDIS_REGCLASS_GPR16:
		return (uint16_t)r->gpr[id];
	case ZYDIS_REGCLASS_GPR8:           /* al..bl, ah..bh, then spl.. with ids from 8 */
		if (id < 4)
			return (uint8_t)r->gpr[id];
		if (id < 8)
			return (uint8_t)(r->gpr[id - 4] >> 8);
		return (uint8_t)r->gpr[id - 4];
	case ZYDIS_REGCLASS_IP:
		return reg == ZYDIS_REGISTER_EIP ? (uint32_t)e->next : e->next;
	default:
		return 0;
	}
}

void emu_reg_write(struct emu *e, ZydisRegister reg, uint64_t value)
{
	struct cpu_regs *r = &e->v->regs;
	int id = ZydisRegisterGetId(reg);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR64:
		r->gpr[id] = value;
		break;
	case ZYDIS_REGCLASS_GPR32:
		r->gpr[id] = (uint32_t)value;
		break;
	case ZYDIS_REGCLASS_GPR16:
		r->gpr[id] = (r->gpr[id] & ~0xffffUL) | (uint16_t)value;
		break;
	case ZYDIS_REGCLASS_GPR8:
		if (id >= 4 && id < 8)
			r->gpr[id - 4] = (r->gpr[id - 4] & ~0xff00UL) | (uint64_t)(uint8_t)value << 8;
		else if (id < 4)
			r->gpr[id] = (r->gpr[id] & ~0xffUL) | (uint8_t)value;
		else
			r->gpr[id - 4] = (r->gpr[id - 4] & ~0xffUL) | (uint8_t)value;
		break;
	default:
		break;
	}
}

static uint64_t truncate_to(uint64_t x, unsigned bits)
{
	return bits >= 64 ? x : x & ((1UL << bits) - 1);
}

uint64_t emu_linear(const struct emu *e, ZydisRegister seg, uint64_t offset)
{
	if (seg == ZYDIS_REGISTER_FS)
		offset += e->v->regs.fs_base;
	else if (seg == ZYDIS_REGISTER_GS)
		offset += e->v->regs.gs_base;
	return e->code32 ? (uint32_t)offset : offset;
}

/* Zydis 4.0, of a SIB without a base: with REX.B, and an address of 32 bits, it takes base r13 and no displacement. */
static bool sib_without_base(const ZydisDecodedInstruction *in)
{
	return (in->attributes & ZYDIS_ATTRIB_HAS_SIB) && in->raw.modrm.mod == 0 && in->raw.sib.base == 5;
}

uint64_t emu_base(const struct emu *e, const ZydisDecodedOperand *op)
{
	uint64_t x = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;

	if (sib_without_base(&e->in) && op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
		return (uint64_t)e->in.raw.disp.value;
	return op->mem.base != ZYDIS_REGISTER_NONE ? x + emu_reg_read(e, op->mem.base) : x;
}

uint64_t emu_offset(const struct emu *e, const ZydisDecodedOperand *op)
{
	uint64_t x = emu_base(e, op);

	if (op->mem.index != ZYDIS_REGISTER_NONE && op->mem.type != ZYDIS_MEMOP_TYPE_MIB)
		x += emu_reg_read(e, op->mem.index) * op->mem.scale;
	return truncate_to(x, e->in.address_width);
}

uint64_t emu_address(const struct emu *e, const ZydisDecodedOperand *op)
{
	return emu_linear(e, op->mem.segment, emu_offset(e, op));
}

/* In compatibility mode a null selector cannot be used, nor CS written (64-bit code does not look at segments). */
static bool segment_usable(const struct emu *e, ZydisRegister seg, enum mmu_access access)
{
	const uint16_t *sel = e->v->regs.sel;

	switch (seg) {
	case ZYDIS_REGISTER_CS: return access != MMU_WRITE;
	case ZYDIS_REGISTER_DS: return sel[SEG_DS] & ~3;
	case ZYDIS_REGISTER_ES: return sel[SEG_ES] & ~3;
	case ZYDIS_REGISTER_FS: return sel[SEG_FS] & ~3;
	case ZYDIS_REGISTER_GS: return sel[SEG_GS] & ~3;
	default: return true;
	}
}

int emu_map(struct emu *e, ZydisRegister seg, uint64_t va, size_t n, enum mmu_access access, struct mmu_span *s)
{
	if (e->code32 && !segment_usable(e, seg, access))
		return emu_gp(e);
	if (!mmu_span_map(e->v, va, n, access, access == MMU_WRITE ? MMU_PTWR : 0, s)) {
		if (e->v->dr[7] & DR7_ENABLES)
			e->debug_hits |= (uint8_t)emu_debug_access(e->v, va, n, access == MMU_WRITE);
		return 0;
	}
	if (seg == ZYDIS_REGISTER_SS && e->v->exc.vector == VEC_GP)
		e->v->exc.vector = VEC_SS;
	return -1;
}

int emu_read(struct emu *e, ZydisRegister seg, uint64_t va, size_t n, void *dst)
{
	struct mmu_span s;

	if (emu_map(e, seg, va, n, MMU_READ, &s))
		return -1;
	mmu_span_read(&s, dst);
	return 0;
}

/* An aligned store that lies in one frame is one store, as on hardware: other vCPUs never see half of it. */
static void store_whole(void *p, const void *src, size_t n)
{
	uint64_t x = 0;

	memcpy(&x, src, n);
	switch (n) {
	case 8: __atomic_store_n((uint64_t *)p, x, __ATOMIC_RELEASE); break;
	case 4: __atomic_store_n((uint32_t *)p, (uint32_t)x, __ATOMIC_RELEASE); break;
	case 2: __atomic_store_n((uint16_t *)p, (uint16_t)x, __ATOMIC_RELEASE); break;
	default: *(volatile uint8_t *)p = (uint8_t)x; break;
	}
}

int emu_write(struct emu *e, ZydisRegister seg, uint64_t va, size_t n, const void *src)
{
	struct mmu_span s;
	void *p;

	if (emu_map(e, seg, va, n, MMU_WRITE, &s))
		return -1;
	p = mmu_span_direct(&s);
	if (p && n <= 8 && (n & (n - 1)) == 0 && (va & (n - 1)) == 0) {
		store_whole(p, src, n);
		mmu_span_stored(e->v->d, &s);
	} else {
		mmu_span_write(e->v->d, &s, src);
	}
	return 0;
}

int emu_operand_read(struct emu *e, unsigned i, uint64_t *value)
{
	const ZydisDecodedOperand *op = &e->op[i];

	*value = 0;
	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		*value = emu_reg_read(e, op->reg.value);
		return 0;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		*value = truncate_to(op->imm.value.u, op->size);
		return 0;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (op->size > 64)
			return emu_ud(e);
		return emu_read(e, op->mem.segment, emu_address(e, op), op->size / 8, value);
	default:
		return emu_ud(e);
	}
}

int emu_operand_write(struct emu *e, unsigned i, uint64_t value)
{
	const ZydisDecodedOperand *op = &e->op[i];

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		emu_reg_write(e, op->reg.value, value);
		return 0;
	}
	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->size > 64)
		return emu_ud(e);
	return emu_write(e, op->mem.segment, emu_address(e, op), op->size / 8, &value);
}

uint64_t emu_sp_add(const struct emu *e, int64_t by)
{
	uint64_t sp = e->v->regs.gpr[REG_RSP] + (uint64_t)by;

	return e->code32 ? (uint32_t)sp : sp;
}

void emu_sp_set(struct emu *e, uint64_t sp)
{
	e->v->regs.gpr[REG_RSP] = e->code32 ? (uint32_t)sp : sp;
}

int emu_push(struct emu *e, uint64_t value, unsigned bytes)
{
	uint64_t sp = emu_sp_add(e, -(int64_t)bytes);

	if (emu_write(e, ZYDIS_REGISTER_SS, sp, bytes, &value))
		return -1;
	emu_sp_set(e, sp);
	return 0;
}

int emu_pop(struct emu *e, unsigned bytes, uint64_t *value)
{
	uint64_t sp = emu_sp_add(e, 0);

	*value = 0;
	if (emu_read(e, ZYDIS_REGISTER_SS, sp, bytes, value))
		return -1;
	emu_sp_set(e, sp + bytes);
	return 0;
}
