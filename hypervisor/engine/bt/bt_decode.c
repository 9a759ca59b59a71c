/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_decode.c - classification of guest instructions, by whitelist: an instruction set or category that is not named
 * here goes to the emulator, which raises #UD for what it does not know.  Isolation rests on this: an instruction is
 * copied verbatim only if every operand it has, hidden ones included, is an ordinary register.
 */
#include "hypervisor/engine/bt/bt_decode.h"

#include <string.h>
#include <Zydis/Zydis.h>

static ZydisDecoder decoder;

void bt_decode_init(void)
{
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
}

/* Instruction sets whose register and memory forms are what their operands say, and nothing else. */
static bool isa_plain(ZydisISASet s)
{
	switch (s) {
	case ZYDIS_ISA_SET_I86: case ZYDIS_ISA_SET_I186: case ZYDIS_ISA_SET_I386: case ZYDIS_ISA_SET_I486:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_PPRO: case ZYDIS_ISA_SET_PENTIUMMMX: case ZYDIS_ISA_SET_PENTIUMREAL: case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_LONGMODE: case ZYDIS_ISA_SET_LAHF: case ZYDIS_ISA_SET_PAUSE: case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_SSE: case ZYDIS_ISA_SET_SSE2: case ZYDIS_ISA_SET_SSE2MMX: case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSE3X87: case ZYDIS_ISA_SET_SSSE3: case ZYDIS_ISA_SET_SSSE3MMX: case ZYDIS_ISA_SET_SSE4:
	case ZYDIS_ISA_SET_SSE42: case ZYDIS_ISA_SET_SSEMXCSR: case ZYDIS_ISA_SET_AVX: case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVXAES: case ZYDIS_ISA_SET_AVX_GFNI: case ZYDIS_ISA_SET_AES: case ZYDIS_ISA_SET_PCLMULQDQ:
	case ZYDIS_ISA_SET_VPCLMULQDQ: case ZYDIS_ISA_SET_VAES: case ZYDIS_ISA_SET_GFNI: case ZYDIS_ISA_SET_SHA:
	case ZYDIS_ISA_SET_FMA: case ZYDIS_ISA_SET_F16C: case ZYDIS_ISA_SET_BMI1: case ZYDIS_ISA_SET_BMI2:
	case ZYDIS_ISA_SET_LZCNT: case ZYDIS_ISA_SET_POPCNT: case ZYDIS_ISA_SET_MOVBE: case ZYDIS_ISA_SET_ADOX_ADCX:
	case ZYDIS_ISA_SET_X87: case ZYDIS_ISA_SET_FCMOV: case ZYDIS_ISA_SET_RDRAND: case ZYDIS_ISA_SET_RDSEED:
	case ZYDIS_ISA_SET_CMPXCHG16B: case ZYDIS_ISA_SET_CLFSH: case ZYDIS_ISA_SET_CLFLUSHOPT: case ZYDIS_ISA_SET_CLWB:
		return true;
	default:
		return false;
	}
}

static bool category_plain(ZydisInstructionCategory c)
{
	switch (c) {
	case ZYDIS_CATEGORY_ADOX_ADCX: case ZYDIS_CATEGORY_AES: case ZYDIS_CATEGORY_AVX: case ZYDIS_CATEGORY_AVX2:
	case ZYDIS_CATEGORY_BINARY: case ZYDIS_CATEGORY_BITBYTE: case ZYDIS_CATEGORY_BLEND: case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2: case ZYDIS_CATEGORY_BROADCAST: case ZYDIS_CATEGORY_CMOV: case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_CLFLUSHOPT: case ZYDIS_CATEGORY_CLWB: case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_FCMOV: case ZYDIS_CATEGORY_GFNI: case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_LOGICAL_FP: case ZYDIS_CATEGORY_LZCNT: case ZYDIS_CATEGORY_MMX:
	case ZYDIS_CATEGORY_PCLMULQDQ: case ZYDIS_CATEGORY_RDRAND: case ZYDIS_CATEGORY_RDSEED:
	case ZYDIS_CATEGORY_ROTATE: case ZYDIS_CATEGORY_SEMAPHORE: case ZYDIS_CATEGORY_SETCC: case ZYDIS_CATEGORY_SHA:
	case ZYDIS_CATEGORY_SHIFT: case ZYDIS_CATEGORY_SSE: case ZYDIS_CATEGORY_STTNI: case ZYDIS_CATEGORY_VAES:
	case ZYDIS_CATEGORY_VFMA: case ZYDIS_CATEGORY_VPCLMULQDQ: case ZYDIS_CATEGORY_X87_ALU:
		return true;
	default:
		return false;
	}
}

/* Members of mixed categories (MISC, FLAGOP, ...) that are plain. */
static bool mnemonic_plain(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_LEA: case ZYDIS_MNEMONIC_PAUSE: case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLC: case ZYDIS_MNEMONIC_STC: case ZYDIS_MNEMONIC_CMC: case ZYDIS_MNEMONIC_CLD:
	case ZYDIS_MNEMONIC_LAHF: case ZYDIS_MNEMONIC_SAHF:
	case ZYDIS_MNEMONIC_LFENCE: case ZYDIS_MNEMONIC_MFENCE: case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_EMMS: case ZYDIS_MNEMONIC_LDMXCSR: case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR: case ZYDIS_MNEMONIC_VSTMXCSR:
		return true;
	default:
		return false;
	}
}

/* Refused although their category is plain: they address memory beside their operand, or are not unprivileged. */
static bool mnemonic_special(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_VMASKMOVPS: case ZYDIS_MNEMONIC_VMASKMOVPD: case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ: case ZYDIS_MNEMONIC_MASKMOVDQU: case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_FNSTENV: case ZYDIS_MNEMONIC_FNSAVE:     /* would store pointers into our code cache */
	case ZYDIS_MNEMONIC_VMASKMOVDQU: case ZYDIS_MNEMONIC_XLAT: case ZYDIS_MNEMONIC_BOUND:
	case ZYDIS_MNEMONIC_LAR: case ZYDIS_MNEMONIC_LSL: case ZYDIS_MNEMONIC_ARPL: case ZYDIS_MNEMONIC_SALC:
	case ZYDIS_MNEMONIC_RDTSCP: case ZYDIS_MNEMONIC_RDPMC: case ZYDIS_MNEMONIC_RDMSR:
	case ZYDIS_MNEMONIC_WRMSR:
		return true;
	default:
		return false;
	}
}

/* Instructions that define all six status flags, whatever their operands hold. */
static bool kills_flags(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_ADD: case ZYDIS_MNEMONIC_SUB: case ZYDIS_MNEMONIC_CMP: case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_AND: case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_XOR: case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_ADC: case ZYDIS_MNEMONIC_SBB: case ZYDIS_MNEMONIC_XADD: case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_COMISS: case ZYDIS_MNEMONIC_COMISD: case ZYDIS_MNEMONIC_UCOMISS:
	case ZYDIS_MNEMONIC_UCOMISD: case ZYDIS_MNEMONIC_PTEST: case ZYDIS_MNEMONIC_POPCNT:
		return true;
	case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR: case ZYDIS_MNEMONIC_SAR:
		return op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		       (op[1].imm.value.u & (zi->operand_width == 64 ? 63 : 31));
	default:
		return false;
	}
}

/* Hardware number of the general register behind any of its names; -1: none. */
static int gpr_number(ZydisRegister r)
{
	ZydisRegister big = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);

	return big >= ZYDIS_REGISTER_RAX && big <= ZYDIS_REGISTER_R15 ? (int)(big - ZYDIS_REGISTER_RAX) : -1;
}

/* Notes a register operand; false if it is of a kind that only the emulator may touch. */
static bool note_register(struct bt_insn *in, const ZydisDecodedOperand *op)
{
	ZydisRegister r = op->reg.value;
	int n;

	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8: case ZYDIS_REGCLASS_GPR16: case ZYDIS_REGCLASS_GPR32: case ZYDIS_REGCLASS_GPR64:
		break;
	case ZYDIS_REGCLASS_MMX: case ZYDIS_REGCLASS_XMM: case ZYDIS_REGCLASS_YMM: case ZYDIS_REGCLASS_X87:
		in->fpu = true;
		return true;
	case ZYDIS_REGCLASS_FLAGS:
		return true;
	default:
		in->fpu = true;
		return r == ZYDIS_REGISTER_MXCSR || r == ZYDIS_REGISTER_X87CONTROL || r == ZYDIS_REGISTER_X87STATUS ||
		       r == ZYDIS_REGISTER_X87TAG;
	}
	n = gpr_number(r);
	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
		in->high_byte = in->needs_low = true;
	if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		in->rd |= 1U << n;
	if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
		in->wr |= 1U << n;
		if ((op->actions & ZYDIS_OPERAND_ACTION_WRITE) && op->size >= 32)
			in->wr_full |= 1U << n;
		else
			in->rd |= 1U << n;
	}
	return true;
}

/* Fills in the address form; false for forms that the translator does not build. */
static bool note_memory(struct bt_insn *in, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	const ZydisDecodedOperandMem *m = &op->mem;

	in->addr32 = zi->address_width == 32;
	in->seg = m->segment == ZYDIS_REGISTER_FS ? 4 : m->segment == ZYDIS_REGISTER_GS ? 5 : 0;
	in->base = in->index = BT_NO_REG;
	in->scale = m->scale ? m->scale : 1;
	in->disp = m->disp.value;
	in->mem_size = (uint16_t)(op->size / 8);
	in->mem_rd = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	in->mem_wr = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP) {
		in->base = BT_RIP;
		in->disp = (int64_t)(in->va + in->len + (uint64_t)m->disp.value);
		return m->base == ZYDIS_REGISTER_RIP;
	}
	/* Zydis 4.0, of a SIB without a base: with REX.B, and an address of 32 bits, it takes base r13 and no displacement */
	if (zi->raw.modrm.mod == 0 && zi->raw.modrm.rm == 4 && (in->bytes[in->modrm_off + 1] & 7) == 5) {
		in->disp = zi->raw.disp.value;
	} else if (m->base != ZYDIS_REGISTER_NONE) {
		if (gpr_number(m->base) < 0)
			return false;
		in->base = (uint8_t)gpr_number(m->base);
		in->ea_regs |= 1U << in->base;
	}
	if (m->index != ZYDIS_REGISTER_NONE) {
		if (gpr_number(m->index) < 0)
			return false;
		in->index = (uint8_t)gpr_number(m->index);
		in->ea_regs |= 1U << in->index;
	}
	return true;
}

static void note_flags(struct bt_insn *in, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	const uint32_t six = ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF |
			     ZYDIS_CPUFLAG_OF;
	uint32_t written;

	if (!zi->cpu_flags)
		return;
	written = (zi->cpu_flags->modified | zi->cpu_flags->set_0 | zi->cpu_flags->set_1 | zi->cpu_flags->undefined) & six;
	in->fl_write = written;
	in->fl_kill = written && kills_flags(zi, op);
	in->fl_part = !(zi->cpu_flags->tested & six) && written && !in->fl_kill;
	in->fl_use = (zi->cpu_flags->tested & six) || in->fl_part;
	if ((zi->mnemonic == ZYDIS_MNEMONIC_XOR || zi->mnemonic == ZYDIS_MNEMONIC_SUB) &&
	    op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	    op[0].reg.value == op[1].reg.value && op[0].size >= 32)
		in->rd = 0;            /* a zeroing idiom reads nothing */
}

/* First byte behind ModRM, SIB and displacement. */
static uint8_t tail_offset(const struct bt_insn *in)
{
	unsigned at = in->modrm_off, mod, rm, sib = 0;

	if (!at)
		return in->len;
	mod = in->bytes[at] >> 6;
	rm = in->bytes[at++] & 7;
	if (mod == 3)
		return (uint8_t)at;
	if (rm == 4)
		sib = in->bytes[at++];
	if (mod == 1)
		at++;
	else if (mod == 2 || rm == 5 || (rm == 4 && (sib & 7) == 5))
		at += 4;
	return (uint8_t)at;
}

static bool is_prefix(uint8_t b)
{
	switch (b) {
	case 0x66: case 0x67: case 0xf0: case 0xf2: case 0xf3: case 0x2e: case 0x36: case 0x3e: case 0x26: case 0x64: case 0x65:
		return true;
	default:
		return false;
	}
}

static void note_encoding(struct bt_insn *in, const ZydisDecodedInstruction *zi)
{
	unsigned i = 0;

	in->encoding = zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? BE_VEX : BE_LEGACY;
	in->modrm_off = zi->raw.modrm.offset;
	in->tail_off = tail_offset(in);
	for (; i < in->len; i++) {
		if (is_prefix(in->bytes[i]))
			in->rex = 0;              /* a REX that another prefix follows is ignored */
		else if ((in->bytes[i] & 0xf0) == 0x40)
			in->rex = in->bytes[i];
		else
			break;
	}
	in->pfx_len = (uint8_t)(in->rex ? i - 1 : i);
	in->op_off = (uint8_t)i;
}

/* Branches, calls and stack instructions; BC_EMULATE when the form is unusual. */
static enum bt_class classify_control(struct bt_insn *in, const ZydisDecodedInstruction *zi,
				      const ZydisDecodedOperand *op)
{
	bool seen = zi->operand_count_visible > 0;
	bool rel = seen && op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op[0].imm.is_relative;
	bool reg = seen && op[0].type == ZYDIS_OPERAND_TYPE_REGISTER;
	bool mem = seen && op[0].type == ZYDIS_OPERAND_TYPE_MEMORY;

	if (rel)
		in->target = in->va + in->len + (uint64_t)op[0].imm.value.s;
	if (reg && gpr_number(op[0].reg.value) >= 0)
		in->reg = (uint8_t)gpr_number(op[0].reg.value);
	if (in->reg < 16 && zi->mnemonic != ZYDIS_MNEMONIC_POP)
		in->rd |= (uint16_t)(1U << in->reg);
	if (reg && gpr_number(op[0].reg.value) < 0)
		return BC_EMULATE;
	if (mem && !note_memory(in, zi, &op[0]))
		return BC_EMULATE;
	if ((zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) && !(in->rex & 8))
		return BC_EMULATE;
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return BC_EMULATE;
		return rel ? BC_JMP : reg ? BC_JMP_REG : in->mem_size == 8 ? BC_JMP_MEM : BC_EMULATE;
	case ZYDIS_MNEMONIC_CALL:
		if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return BC_EMULATE;
		return rel ? BC_CALL : reg ? BC_CALL_REG : in->mem_size == 8 ? BC_CALL_MEM : BC_EMULATE;
	case ZYDIS_MNEMONIC_RET:
		if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return BC_EMULATE;
		in->imm = zi->raw.imm[0].size ? (uint16_t)zi->raw.imm[0].value.u : 0;
		return BC_RET;
	case ZYDIS_MNEMONIC_PUSH:
		if (op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
			in->imm = (uint64_t)op[0].imm.value.s;
			return zi->stack_width == 64 ? BC_PUSH_IMM : BC_EMULATE;
		}
		if (mem)
			return in->mem_size == 8 ? BC_PUSH_MEM : BC_EMULATE;
		return op[0].size == 64 ? BC_PUSH_REG : BC_EMULATE;
	case ZYDIS_MNEMONIC_POP:
		if (!reg || op[0].size != 64)
			return BC_EMULATE;
		in->wr = in->wr_full = (uint16_t)(1U << in->reg);
		return BC_POP_REG;
	case ZYDIS_MNEMONIC_LEAVE:
		in->rd = in->wr = in->wr_full = 1U << 5;
		return BC_LEAVE;
	case ZYDIS_MNEMONIC_JRCXZ: case ZYDIS_MNEMONIC_LOOP: case ZYDIS_MNEMONIC_LOOPE: case ZYDIS_MNEMONIC_LOOPNE:
		return zi->address_width == 64 ? BC_LOOP : BC_EMULATE;
	default:
		break;
	}
	if (zi->meta.category == ZYDIS_CATEGORY_COND_BR && rel && zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	    (zi->opcode & 0xf0) == 0x70) {
		in->cc = zi->opcode & 15;
		return BC_JCC;
	}
	if (zi->meta.category == ZYDIS_CATEGORY_COND_BR && rel && zi->opcode_map == ZYDIS_OPCODE_MAP_0F &&
	    (zi->opcode & 0xf0) == 0x80) {
		in->cc = zi->opcode & 15;
		return BC_JCC;
	}
	return BC_EMULATE;
}

static bool is_control(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.category) {
	case ZYDIS_CATEGORY_CALL: case ZYDIS_CATEGORY_COND_BR: case ZYDIS_CATEGORY_POP: case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_RET: case ZYDIS_CATEGORY_UNCOND_BR:
		return true;
	default:
		return zi->mnemonic == ZYDIS_MNEMONIC_LEAVE;
	}
}

/* mov %seg, register: the selector is the vCPU's, the CPU's own segment registers are the host's. */
static bool is_read_segment(struct bt_insn *in, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	if (zi->mnemonic != ZYDIS_MNEMONIC_MOV || op[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    op[1].type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    ZydisRegisterGetClass(op[1].reg.value) != ZYDIS_REGCLASS_SEGMENT || gpr_number(op[0].reg.value) < 0)
		return false;
	in->reg = (uint8_t)gpr_number(op[0].reg.value);
	in->imm = (uint64_t)ZydisRegisterGetId(op[1].reg.value);
	in->opsize = (uint8_t)(op[0].size / 8);
	in->wr = (uint16_t)(1U << in->reg);
	in->wr_full = in->opsize >= 4 ? in->wr : 0;
	in->rd = in->opsize >= 4 ? 0 : in->wr;
	return in->imm < 6;
}

static enum bt_class classify(struct bt_insn *in, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	bool mem = false, agen = false;

	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_NOP: case ZYDIS_MNEMONIC_ENDBR64: case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_SERIALIZE:         /* changed code is invalidated when it is written */
		return BC_SKIP;
	case ZYDIS_MNEMONIC_SYSCALL:
		return BC_SYSCALL;
	case ZYDIS_MNEMONIC_MOVSB: case ZYDIS_MNEMONIC_MOVSW: case ZYDIS_MNEMONIC_MOVSQ:
	case ZYDIS_MNEMONIC_STOSB: case ZYDIS_MNEMONIC_STOSW: case ZYDIS_MNEMONIC_STOSD: case ZYDIS_MNEMONIC_STOSQ:
		return BC_STRING;
	case ZYDIS_MNEMONIC_RDTSC:
		in->wr = in->wr_full = 1U << 0 | 1U << 2;
		return BC_RDTSC;
	case ZYDIS_MNEMONIC_MOVSD:
		if (zi->meta.category == ZYDIS_CATEGORY_STRINGOP)
			return BC_STRING;
		break;
	default:
		break;
	}
	if (zi->meta.category == ZYDIS_CATEGORY_PREFETCH || zi->meta.category == ZYDIS_CATEGORY_PREFETCHWT1 ||
	    zi->meta.category == ZYDIS_CATEGORY_WIDENOP)
		return BC_SKIP;
	note_flags(in, zi, op);
	if (is_read_segment(in, zi, op))
		return BC_READ_SEG;
	if (is_control(zi))
		return classify_control(in, zi, op);
	if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return BC_EMULATE;
	if (mnemonic_special(zi->mnemonic) || !isa_plain(zi->meta.isa_set) ||
	    !(category_plain(zi->meta.category) || mnemonic_plain(zi->mnemonic)))
		return BC_EMULATE;
	in->rd = 0;
	in->fpu = zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX || zi->meta.isa_set == ZYDIS_ISA_SET_X87 ||
		  zi->meta.isa_set == ZYDIS_ISA_SET_PENTIUMMMX || zi->meta.isa_set == ZYDIS_ISA_SET_SSEMXCSR;
	for (unsigned i = 0; i < zi->operand_count; i++) {
		const ZydisDecodedOperand *o = &op[i];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			if (!note_register(in, o))
				return BC_EMULATE;
		} else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			if (mem || agen || o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN || !zi->raw.modrm.offset ||
			    !note_memory(in, zi, o))
				return BC_EMULATE;
			mem = o->mem.type == ZYDIS_MEMOP_TYPE_MEM;
			agen = o->mem.type == ZYDIS_MEMOP_TYPE_AGEN;
			if (!mem && !agen)
				return BC_EMULATE;
		} else if (o->type != ZYDIS_OPERAND_TYPE_IMMEDIATE) {
			return BC_EMULATE;
		}
	}
	note_flags(in, zi, op);
	if (zi->mnemonic == ZYDIS_MNEMONIC_BSF || zi->mnemonic == ZYDIS_MNEMONIC_BSR) {
		in->rd |= in->wr;                 /* keeps its destination when the source is zero */
		in->wr_full = 0;
	}
	if (mem) {
		/* bt*, mem,reg address memory by their register operand too */
		if (zi->meta.category == ZYDIS_CATEGORY_BITBYTE && op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    op[0].type == ZYDIS_OPERAND_TYPE_MEMORY && zi->mnemonic != ZYDIS_MNEMONIC_BSF &&
		    zi->mnemonic != ZYDIS_MNEMONIC_BSR) {
			in->reg = (uint8_t)gpr_number(op[1].reg.value);
			return (in->opsize == 4 || in->opsize == 8) && !in->addr32 ? BC_BIT : BC_EMULATE;
		}
		if (zi->mnemonic == ZYDIS_MNEMONIC_CLFLUSH || zi->mnemonic == ZYDIS_MNEMONIC_CLFLUSHOPT ||
		    zi->mnemonic == ZYDIS_MNEMONIC_CLWB)
			in->mem_size = 1;             /* acts on the line that holds the byte */
		if (!in->mem_size || in->mem_size > 128)
			return BC_EMULATE;
		if (in->encoding == BE_VEX && in->pfx_len && in->bytes[in->pfx_len - 1] == 0x66)
			return BC_EMULATE;
		return BC_MEM;
	}
	if (agen) {
		if (zi->mnemonic != ZYDIS_MNEMONIC_LEA)
			return BC_EMULATE;
		in->rd |= in->ea_regs;
		return in->base != BT_RIP ? BC_VERBATIM : in->opsize >= 4 ? BC_LEA_RIP : BC_EMULATE;
	}
	return BC_VERBATIM;
}

int bt_decode(struct bt_insn *in, uint64_t va, const uint8_t *bytes, size_t n)
{
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZyanStatus st;

	memset(in, 0, sizeof(*in));
	in->va = va;
	in->base = in->index = in->reg = BT_NO_REG;
	if (n > ZYDIS_MAX_INSTRUCTION_LENGTH)
		n = ZYDIS_MAX_INSTRUCTION_LENGTH;
	st = ZydisDecoderDecodeFull(&decoder, bytes, n, &zi, op);
	if (!ZYAN_SUCCESS(st))
		return st == ZYDIS_STATUS_NO_MORE_DATA ? BT_DECODE_MORE : -1;
	in->len = zi.length;
	memcpy(in->bytes, bytes, zi.length);
	in->opsize = (uint8_t)(zi.operand_width / 8);
	in->locked = zi.attributes & ZYDIS_ATTRIB_HAS_LOCK || (zi.mnemonic == ZYDIS_MNEMONIC_XCHG && zi.raw.modrm.offset && zi.raw.modrm.mod != 3);
	note_encoding(in, &zi);
	in->cls = (uint8_t)classify(in, &zi, op);
	if (in->cls == BC_EMULATE) {
		in->fl_use = true;
		in->fl_part = false;
	}
	return 0;
}
