/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_string.c - movs, stos, lods, cmps, scas, ins, outs, with and without a repeat prefix.
 *
 * A repeated instruction is interruptible: registers always show the elements done, a fault reports the first element
 * that could not be done, and after STRING_BATCH bytes the emulator returns with rip still on the instruction.  Whole
 * pages of movs and stos are done by the host's own string instructions, which have the same rules for overlap.
 */
#include <string.h>

#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/privop.h"

#define STRING_BATCH (16 * PAGE_SIZE_HV)
#define SINGLE_COST 64                    /* what an element done by itself counts for: two page walks */

struct string_op {
	struct emu *e;
	unsigned w;                       /* element size in bytes */
	unsigned aw;                      /* address size in bits */
	ZydisRegister src_seg;
	int64_t step;
	uint64_t left;                    /* elements to do, the instruction's count or 1 */
	bool rep;
	uint64_t budget;
};

static uint64_t addr_reg(const struct string_op *s, unsigned reg)
{
	uint64_t x = s->e->v->regs.gpr[reg];

	return s->aw == 64 ? x : s->aw == 32 ? (uint32_t)x : (uint16_t)x;
}

static void addr_reg_set(struct string_op *s, unsigned reg, uint64_t x)
{
	uint64_t *r = &s->e->v->regs.gpr[reg];

	*r = s->aw == 64 ? x : s->aw == 32 ? (uint32_t)x : (*r & ~0xffffUL) | (uint16_t)x;
}

static uint64_t src_va(const struct string_op *s) { return emu_linear(s->e, s->src_seg, addr_reg(s, REG_RSI)); }
static uint64_t dst_va(const struct string_op *s) { return emu_linear(s->e, ZYDIS_REGISTER_ES, addr_reg(s, REG_RDI)); }

static void string_begin(struct string_op *s, struct emu *e)
{
	*s = (struct string_op){ .e = e, .w = e->in.operand_width / 8, .aw = e->in.address_width,
				 .src_seg = ZYDIS_REGISTER_DS, .budget = STRING_BATCH };
	for (unsigned i = 0; i < e->in.operand_count; i++) {
		const ZydisDecodedOperand *op = &e->op[i];

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		s->w = op->size / 8;
		if (ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op->mem.base) == ZYDIS_REGISTER_RSI)
			s->src_seg = op->mem.segment;
	}
	s->step = e->v->regs.rflags & FL_DF ? -(int64_t)s->w : (int64_t)s->w;
	s->rep = e->in.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
	s->left = s->rep ? addr_reg(s, REG_RCX) : 1;
}

/* n elements are done: move the registers. */
static void string_advance(struct string_op *s, uint64_t n, bool src, bool dst)
{
	uint64_t cost;

	if (src)
		addr_reg_set(s, REG_RSI, addr_reg(s, REG_RSI) + (uint64_t)s->step * n);
	if (dst)
		addr_reg_set(s, REG_RDI, addr_reg(s, REG_RDI) + (uint64_t)s->step * n);
	s->left -= n;
	if (s->rep)
		addr_reg_set(s, REG_RCX, s->left);
	cost = n == 1 ? SINGLE_COST : n * s->w;
	s->budget = s->budget > cost ? s->budget - cost : 0;
}

/* The batch is over: stay on the instruction when elements are left. */
static int string_end(struct string_op *s)
{
	if (s->left)
		s->e->next = s->e->v->regs.rip;
	return 0;
}

/* With TF set every iteration traps. */
static bool string_goes_on(const struct string_op *s)
{
	return s->left && s->budget && (s->budget == STRING_BATCH || !(s->e->v->regs.rflags & FL_TF));
}

/* Elements that fit between va and the end of its page, going up; 0 when fewer than one does or DF is set. */
static uint64_t page_elements(const struct string_op *s, uint64_t va)
{
	return s->step < 0 ? 0 : (PAGE_SIZE_HV - (va & (PAGE_SIZE_HV - 1))) / s->w;
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Elements one host instruction may do from here, not letting a 32- or 16-bit address register wrap. */
static uint64_t batch(const struct string_op *s, uint64_t room, unsigned reg)
{
	uint64_t n = min_u64(room, s->left);

	if (s->e->v->regs.rflags & FL_TF)
		n = min_u64(n, 1);
	if (s->aw < 64)
		n = min_u64(n, ((1UL << s->aw) - addr_reg(s, reg)) / s->w);
	return n;
}

static void host_movs(unsigned w, void *dst, const void *src, uint64_t n)
{
	switch (w) {
	case 1: __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
	case 2: __asm__ volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
	case 4: __asm__ volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
	default: __asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
	}
}

static void host_stos(unsigned w, void *dst, uint64_t value, uint64_t n)
{
	switch (w) {
	case 1: __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	case 2: __asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	case 4: __asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	default: __asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	}
}

static int do_movs(struct emu *e)
{
	struct string_op s;

	for (string_begin(&s, e); string_goes_on(&s); ) {
		uint64_t src = src_va(&s), dst = dst_va(&s), x = 0;
		uint64_t n = min_u64(batch(&s, page_elements(&s, src), REG_RSI),
				     batch(&s, page_elements(&s, dst), REG_RDI));
		struct mmu_span from, to;

		if (n > 1) {
			if (emu_map(e, s.src_seg, src, n * s.w, MMU_READ, &from) ||
			    emu_map(e, ZYDIS_REGISTER_ES, dst, n * s.w, MMU_WRITE, &to))
				return -1;
			host_movs(s.w, mmu_span_direct(&to), mmu_span_direct(&from), n);
			mmu_span_stored(e->v->d, &to);
		} else {
			n = 1;
			if (emu_read(e, s.src_seg, src, s.w, &x) || emu_write(e, ZYDIS_REGISTER_ES, dst, s.w, &x))
				return -1;
		}
		string_advance(&s, n, true, true);
	}
	return string_end(&s);
}

static int do_stos(struct emu *e)
{
	uint64_t ax = e->v->regs.gpr[REG_RAX];
	struct string_op s;

	for (string_begin(&s, e); string_goes_on(&s); ) {
		uint64_t dst = dst_va(&s), n = batch(&s, page_elements(&s, dst), REG_RDI);
		struct mmu_span to;

		if (n > 1) {
			if (emu_map(e, ZYDIS_REGISTER_ES, dst, n * s.w, MMU_WRITE, &to))
				return -1;
			host_stos(s.w, mmu_span_direct(&to), ax, n);
			mmu_span_stored(e->v->d, &to);
		} else {
			n = 1;
			if (emu_write(e, ZYDIS_REGISTER_ES, dst, s.w, &ax))
				return -1;
		}
		string_advance(&s, n, false, true);
	}
	return string_end(&s);
}

static ZydisRegister accumulator(unsigned w)
{
	return w == 1 ? ZYDIS_REGISTER_AL : w == 2 ? ZYDIS_REGISTER_AX : w == 4 ? ZYDIS_REGISTER_EAX : ZYDIS_REGISTER_RAX;
}

static int do_lods(struct emu *e)
{
	struct string_op s;

	for (string_begin(&s, e); string_goes_on(&s); ) {
		uint64_t x = 0;

		if (emu_read(e, s.src_seg, src_va(&s), s.w, &x))
			return -1;
		emu_reg_write(e, accumulator(s.w), x);
		string_advance(&s, 1, true, false);
	}
	return string_end(&s);
}

/* Flags of a - b, w bytes wide. */
static void flags_compare(struct emu *e, uint64_t a, uint64_t b, unsigned w)
{
	uint64_t top = 1UL << (8 * w - 1), mask = top | (top - 1), r = (a - b) & mask, f = 0;

	a &= mask;
	b &= mask;
	f |= a < b ? FL_CF : 0;
	f |= r ? 0 : FL_ZF;
	f |= r & top ? FL_SF : 0;
	f |= (a ^ b) & (a ^ r) & top ? FL_OF : 0;
	f |= (a ^ b ^ r) & 0x10 ? FL_AF : 0;
	f |= __builtin_parity((unsigned)r & 0xff) ? 0 : FL_PF;
	e->v->regs.rflags = (e->v->regs.rflags & ~FL_ARITH) | f;
}

/* repe stops at the first difference, repne at the first match. */
static bool compare_ends(const struct emu *e)
{
	bool equal = e->v->regs.rflags & FL_ZF;

	if (e->in.attributes & ZYDIS_ATTRIB_HAS_REPNE)
		return equal;
	return (e->in.attributes & (ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REP)) && !equal;
}

/* A fault leaves the flags of before the instruction, though elements are done (SDM vol. 2, REP). */
static int compare_fault(struct emu *e, uint64_t flags)
{
	e->v->regs.rflags = flags;
	return -1;
}

static int compare_loop(struct emu *e, bool scas)
{
	uint64_t flags = e->v->regs.rflags;
	struct string_op s;

	for (string_begin(&s, e); string_goes_on(&s); ) {
		uint64_t a = emu_reg_read(e, accumulator(s.w)), b = 0;

		if (!scas) {
			a = 0;
			if (emu_read(e, s.src_seg, src_va(&s), s.w, &a))
				return compare_fault(e, flags);
		}
		if (emu_read(e, ZYDIS_REGISTER_ES, dst_va(&s), s.w, &b))
			return compare_fault(e, flags);
		flags_compare(e, a, b, s.w);
		string_advance(&s, 1, !scas, true);
		if (compare_ends(e))
			return 0;
	}
	return string_end(&s);
}

static int do_cmps(struct emu *e) { return compare_loop(e, false); }
static int do_scas(struct emu *e) { return compare_loop(e, true); }

/* No device is there: reads are all ones, writes vanish. */
static int do_ins(struct emu *e)
{
	struct string_op s;
	uint64_t ones = -1UL;

	string_begin(&s, e);
	if (!priv_ports_allowed(e->v, e->v->regs.gpr[REG_RDX], s.w))
		return emu_gp(e);
	while (string_goes_on(&s)) {
		if (emu_write(e, ZYDIS_REGISTER_ES, dst_va(&s), s.w, &ones))
			return -1;
		string_advance(&s, 1, false, true);
	}
	return string_end(&s);
}

static int do_outs(struct emu *e)
{
	struct string_op s;
	uint64_t x;

	string_begin(&s, e);
	if (!priv_ports_allowed(e->v, e->v->regs.gpr[REG_RDX], s.w))
		return emu_gp(e);
	while (string_goes_on(&s)) {
		if (emu_read(e, s.src_seg, src_va(&s), s.w, &x))
			return -1;
		string_advance(&s, 1, true, false);
	}
	return string_end(&s);
}

emu_fn emu_string_handler(const struct emu *e)
{
	/* MOVSD and CMPSD are also names of SSE2 instructions */
	if (e->in.meta.category != ZYDIS_CATEGORY_STRINGOP && e->in.meta.category != ZYDIS_CATEGORY_IOSTRINGOP)
		return NULL;
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB: case ZYDIS_MNEMONIC_MOVSW: case ZYDIS_MNEMONIC_MOVSD: case ZYDIS_MNEMONIC_MOVSQ:
		return do_movs;
	case ZYDIS_MNEMONIC_STOSB: case ZYDIS_MNEMONIC_STOSW: case ZYDIS_MNEMONIC_STOSD: case ZYDIS_MNEMONIC_STOSQ:
		return do_stos;
	case ZYDIS_MNEMONIC_LODSB: case ZYDIS_MNEMONIC_LODSW: case ZYDIS_MNEMONIC_LODSD: case ZYDIS_MNEMONIC_LODSQ:
		return do_lods;
	case ZYDIS_MNEMONIC_CMPSB: case ZYDIS_MNEMONIC_CMPSW: case ZYDIS_MNEMONIC_CMPSD: case ZYDIS_MNEMONIC_CMPSQ:
		return do_cmps;
	case ZYDIS_MNEMONIC_SCASB: case ZYDIS_MNEMONIC_SCASW: case ZYDIS_MNEMONIC_SCASD: case ZYDIS_MNEMONIC_SCASQ:
		return do_scas;
	case ZYDIS_MNEMONIC_INSB: case ZYDIS_MNEMONIC_INSW: case ZYDIS_MNEMONIC_INSD:
		return do_ins;
	case ZYDIS_MNEMONIC_OUTSB: case ZYDIS_MNEMONIC_OUTSW: case ZYDIS_MNEMONIC_OUTSD:
		return do_outs;
	default:
		return NULL;
	}
}
