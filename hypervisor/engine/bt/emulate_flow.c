/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_flow.c - jumps, calls, returns, software interrupts, system calls, and what moves the stack pointer.
 *
 * Far transfers and iret follow what the CPU does for code at CPL 3, where Xen runs a PV guest's kernel and user code
 * alike: selectors with RPL 3 only, no change between guest kernel and guest user mode.
 */
#include "hypervisor/abi/abi.h"
#include "hypervisor/engine/bt/emulate.h"

#define SEL_RPL 3
#define HYPERCALL_INT 0x82              /* xen/arch-x86_32.h: the hypercall gate of old guests */

/* ---- conditions and near branches ---- */

static bool condition(const struct emu *e)
{
	uint64_t f = e->v->regs.rflags;
	bool sf = f & FL_SF, of = f & FL_OF, r;

	switch (e->in.opcode >> 1 & 7) {
	case 0: r = of; break;
	case 1: r = f & FL_CF; break;
	case 2: r = f & FL_ZF; break;
	case 3: r = f & (FL_CF | FL_ZF); break;
	case 4: r = sf; break;
	case 5: r = f & FL_PF; break;
	case 6: r = sf != of; break;
	default: r = (f & FL_ZF) || sf != of; break;
	}
	return r != (e->in.opcode & 1);
}

/* Where a near branch goes: checked as the CPU does, before anything changes. */
static int set_target(struct emu *e, uint64_t to)
{
	if (e->code32)
		to = e->in.operand_width == 16 ? (uint16_t)to : (uint32_t)to;
	if (!mmu_canonical(to))
		return emu_gp(e);
	e->next = to;
	return 0;
}

static int branch_relative(struct emu *e)
{
	return set_target(e, e->next + (uint64_t)e->in.raw.imm[0].value.s);
}

static int do_jcc(struct emu *e)
{
	return condition(e) ? branch_relative(e) : 0;
}

static bool is_far(const struct emu *e) { return e->in.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR; }

/* CS for a far transfer.  0 and *code32, or -1 with #GP(selector). */
static int check_cs(struct emu *e, uint16_t sel, bool *code32)
{
	struct vcpu *v = e->v;

	if ((sel & 3) == SEL_RPL && (sel & ~3)) {
		if (sel == FLAT_RING3_CS64 || sel == v->regs.sel[SEG_CS]) {
			*code32 = sel == FLAT_RING3_CS64 ? false : v->regs.code32;
			return 0;
		}
		if (pv_iret_user32_cs(v, sel) == 1 && !v->regs.kernel_mode) {
			*code32 = true;
			return 0;
		}
		if (pv_iret_user32_cs(v, sel) == 0) {
			*code32 = false;
			return 0;
		}
	}
	return mmu_raise(v, VEC_GP, sel & ~3u);
}

static int far_transfer(struct emu *e, uint16_t sel, uint64_t to, bool call)
{
	unsigned w = e->in.operand_width / 8;
	bool code32;

	if (check_cs(e, sel, &code32))
		return -1;
	if (code32)
		to = (uint32_t)to;
	if (!mmu_canonical(to))
		return emu_gp(e);
	if (call) {
		uint64_t sp = e->v->regs.gpr[REG_RSP];

		if (emu_push(e, e->v->regs.sel[SEG_CS], w))
			return -1;
		if (emu_push(e, e->next, w)) {
			e->v->regs.gpr[REG_RSP] = sp;
			return -1;
		}
	}
	e->v->regs.sel[SEG_CS] = sel;
	e->v->regs.code32 = code32;
	e->next = to;
	return 0;
}

/* ptr16:32 or m16:16/32/64 */
static int far_branch(struct emu *e, bool call)
{
	const ZydisDecodedOperand *op = &e->op[0];
	unsigned w = e->in.operand_width / 8;
	uint64_t off = 0;
	uint16_t sel;

	if (op->type == ZYDIS_OPERAND_TYPE_POINTER)
		return far_transfer(e, op->ptr.segment, op->ptr.offset, call);
	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return emu_ud(e);
	if (emu_read(e, op->mem.segment, emu_address(e, op), w, &off))
		return -1;
	if (emu_read(e, op->mem.segment, emu_linear(e, op->mem.segment, emu_offset(e, op) + w), 2, &sel))
		return -1;
	return far_transfer(e, sel, off, call);
}

static int do_jmp(struct emu *e)
{
	uint64_t to;

	if (is_far(e))
		return far_branch(e, false);
	if (e->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return branch_relative(e);
	return emu_operand_read(e, 0, &to) ? -1 : set_target(e, to);
}

static unsigned near_width(const struct emu *e)
{
	return !e->code32 ? 8 : e->in.operand_width == 16 ? 2 : 4;
}

static int do_call(struct emu *e)
{
	uint64_t ret = e->next, to;

	if (is_far(e))
		return far_branch(e, true);
	if (e->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		to = ret + (uint64_t)e->in.raw.imm[0].value.s;
	else if (emu_operand_read(e, 0, &to))
		return -1;
	if (set_target(e, to))
		return -1;
	return emu_push(e, ret, near_width(e));
}

static int do_ret(struct emu *e)
{
	uint64_t sp = e->v->regs.gpr[REG_RSP], to, cs;
	uint16_t extra = e->in.raw.imm[0].size ? (uint16_t)e->in.raw.imm[0].value.u : 0;
	unsigned w = is_far(e) ? e->in.operand_width / 8 : near_width(e);

	if (emu_pop(e, w, &to))
		return -1;
	if (is_far(e) ? emu_pop(e, w, &cs) || far_transfer(e, (uint16_t)cs, to, false) : set_target(e, to)) {
		e->v->regs.gpr[REG_RSP] = sp;
		return -1;
	}
	emu_sp_set(e, emu_sp_add(e, extra));
	return 0;
}

static uint64_t counter(const struct emu *e, uint64_t add, bool store)
{
	unsigned w = e->in.address_width;
	ZydisRegister cx = w == 64 ? ZYDIS_REGISTER_RCX : w == 32 ? ZYDIS_REGISTER_ECX : ZYDIS_REGISTER_CX;
	uint64_t n = emu_reg_read(e, cx) + add;

	if (w < 64)
		n &= (1UL << w) - 1;
	if (store)
		emu_reg_write((struct emu *)(uintptr_t)e, cx, n);
	return n;
}

static int do_loop(struct emu *e)
{
	uint64_t next = e->next;
	bool zf = e->v->regs.rflags & FL_ZF, take = counter(e, -1UL, false) != 0;

	if (e->in.mnemonic == ZYDIS_MNEMONIC_LOOPE)
		take &= zf;
	else if (e->in.mnemonic == ZYDIS_MNEMONIC_LOOPNE)
		take &= !zf;
	if (take && branch_relative(e)) {
		e->next = next;
		return -1;
	}
	counter(e, -1UL, true);
	return 0;
}

static int do_jcxz(struct emu *e)
{
	return counter(e, 0, false) ? 0 : branch_relative(e);
}

/* ---- system calls and software interrupts: regs.rip is after the instruction ---- */

static int do_syscall(struct emu *e)
{
	if (e->v->regs.kernel_mode)
		return EMU_EXIT(EXIT_HYPERCALL);
	return EMU_EXIT(e->code32 ? EXIT_SYSCALL32 : EXIT_SYSCALL);
}

static int do_sysenter(struct emu *e)
{
	return e->v->regs.kernel_mode ? emu_gp(e) : EMU_EXIT(EXIT_SYSENTER);
}

static int software_interrupt(struct emu *e, uint8_t vector)
{
	mmu_raise(e->v, vector, 0);
	e->v->exc.software = e->in.length;
	return EMU_EXIT(EXIT_EXCEPTION);
}

static int do_int(struct emu *e)
{
	uint8_t n = (uint8_t)e->in.raw.imm[0].value.u;

	if (n == HYPERCALL_INT && e->v->regs.kernel_mode)
		return EMU_EXIT(EXIT_HYPERCALL);
	return software_interrupt(e, n);
}

static int do_int3(struct emu *e) { return software_interrupt(e, VEC_BP); }

/* No gate's privilege is checked for this one (SDM vol. 2, INT1): a #DB like the hardware's. */
static int do_int1(struct emu *e)
{
	mmu_raise(e->v, VEC_DB, 0);
	return EMU_EXIT(EXIT_EXCEPTION);
}


static int do_into(struct emu *e)
{
	return e->v->regs.rflags & FL_OF ? software_interrupt(e, VEC_OF) : 0;
}

/* ---- flags images ---- */

/* What popf and iret may change at CPL 3 with IOPL 0; IF stays set there, as the CPU shows it under Xen. */
#define FL_POPPABLE (FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID)

static uint64_t flags_image(const struct emu *e)
{
	return (e->v->regs.rflags & FL_POPPABLE) | FL_FIXED | FL_IF;
}

static void flags_load(struct emu *e, uint64_t image, unsigned bytes)
{
	uint64_t mask = bytes == 2 ? FL_POPPABLE & 0xffff : FL_POPPABLE;

	e->v->regs.rflags = (e->v->regs.rflags & ~mask) | (image & mask) | FL_FIXED;
}

/* ---- stack ---- */

static unsigned push_width(const struct emu *e)
{
	if (!e->code32 && e->in.raw.rex.W)
		return 8;
	if (e->in.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)
		return 2;
	return e->code32 ? 4 : 8;
}

static int do_pushf(struct emu *e) { return emu_push(e, flags_image(e), push_width(e)); }

static int do_popf(struct emu *e)
{
	uint64_t image;

	if (emu_pop(e, push_width(e), &image))
		return -1;
	flags_load(e, image, push_width(e));
	return 0;
}

static int seg_index(ZydisRegister reg)
{
	switch (reg) {
	case ZYDIS_REGISTER_ES: return SEG_ES;
	case ZYDIS_REGISTER_CS: return SEG_CS;
	case ZYDIS_REGISTER_SS: return SEG_SS;
	case ZYDIS_REGISTER_DS: return SEG_DS;
	case ZYDIS_REGISTER_FS: return SEG_FS;
	case ZYDIS_REGISTER_GS: return SEG_GS;
	default: return -1;
	}
}

static int operand_segment(const struct emu *e, unsigned i)
{
	return e->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER ? seg_index(e->op[i].reg.value) : -1;
}

static int do_push(struct emu *e)
{
	int seg = operand_segment(e, 0);
	uint64_t x;

	if (seg >= 0)
		x = e->v->regs.sel[seg];
	else if (e->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		x = (uint64_t)e->in.raw.imm[0].value.s;
	else if (emu_operand_read(e, 0, &x))
		return -1;
	return emu_push(e, x, push_width(e));
}

static int do_pop(struct emu *e)
{
	uint64_t sp = e->v->regs.gpr[REG_RSP], x;
	int seg = operand_segment(e, 0);

	if (emu_pop(e, push_width(e), &x))
		return -1;
	/* rsp is the incremented one in a destination's address, and the popped value wins when it is the destination */
	if (seg >= 0 ? pv_load_segment(e->v, (unsigned)seg, (uint16_t)x) : emu_operand_write(e, 0, x)) {
		e->v->regs.gpr[REG_RSP] = sp;
		return -1;
	}
	return 0;
}

static int do_pusha(struct emu *e)
{
	unsigned w = e->in.operand_width / 8;
	uint64_t sp = e->v->regs.gpr[REG_RSP];

	for (unsigned i = 0; i < 8; i++)
		if (emu_push(e, i == REG_RSP ? sp : e->v->regs.gpr[i], w)) {
			e->v->regs.gpr[REG_RSP] = sp;
			return -1;
		}
	return 0;
}

static int do_popa(struct emu *e)
{
	unsigned w = e->in.operand_width / 8;
	uint64_t sp = e->v->regs.gpr[REG_RSP], x[8];

	for (int i = 7; i >= 0; i--)
		if (emu_pop(e, w, &x[i])) {
			e->v->regs.gpr[REG_RSP] = sp;
			return -1;
		}
	for (unsigned i = 0; i < 8; i++)
		if (i != REG_RSP)
			emu_reg_write(e, (ZydisRegister)((w == 2 ? ZYDIS_REGISTER_AX : ZYDIS_REGISTER_EAX) + i), x[i]);
	return 0;
}

static int do_enter(struct emu *e)
{
	unsigned w = push_width(e), level = (unsigned)e->in.raw.imm[1].value.u & 31;
	uint64_t sp0 = e->v->regs.gpr[REG_RSP], bp = e->v->regs.gpr[REG_RBP], frame, x, sp;
	uint16_t size = (uint16_t)e->in.raw.imm[0].value.u;
	struct mmu_span s;

	if (emu_push(e, bp, w))
		goto fault;
	frame = e->v->regs.gpr[REG_RSP];
	for (unsigned i = 1; i < level; i++) {
		bp = e->code32 ? (uint32_t)(bp - w) : bp - w;
		x = 0;
		if (emu_read(e, ZYDIS_REGISTER_SS, bp, w, &x) || emu_push(e, x, w))
			goto fault;
	}
	if (level && emu_push(e, frame, w))
		goto fault;
	sp = emu_sp_add(e, -(int64_t)size);
	/* the CPU checks that the new top can be written (SDM, ENTER) */
	if (emu_map(e, ZYDIS_REGISTER_SS, sp, w, MMU_WRITE, &s))
		goto fault;
	emu_sp_set(e, sp);
	emu_reg_write(e, w == 2 ? ZYDIS_REGISTER_BP : ZYDIS_REGISTER_RBP, frame);
	return 0;
fault:
	e->v->regs.gpr[REG_RSP] = sp0;
	return -1;
}

static int do_leave(struct emu *e)
{
	unsigned w = push_width(e);
	uint64_t sp = e->v->regs.gpr[REG_RSP], x;

	emu_sp_set(e, e->v->regs.gpr[REG_RBP]);
	if (emu_pop(e, w, &x)) {
		e->v->regs.gpr[REG_RSP] = sp;
		return -1;
	}
	emu_reg_write(e, w == 2 ? ZYDIS_REGISTER_BP : ZYDIS_REGISTER_RBP, x);
	return 0;
}

/* ---- iret: within the mode, as native code at CPL 3 (Linux's sync_core() does it) ---- */

static int do_iret(struct emu *e)
{
	struct vcpu *v = e->v;
	unsigned w = e->in.operand_width / 8;
	uint64_t sp = v->regs.gpr[REG_RSP], f[5] = { 0 };
	uint64_t saved_sp = sp;
	bool full = !e->code32, code32;     /* 64-bit mode always pops rsp and ss */

	for (unsigned i = 0; i < (full ? 5 : 3); i++)
		if (emu_pop(e, w, &f[i]))
			goto fault;
	if (v->regs.rflags & FL_NT) {
		emu_gp(e);
		goto fault;
	}
	if (check_cs(e, (uint16_t)f[1], &code32))
		goto fault;
	if (!mmu_canonical(f[0])) {
		emu_gp(e);
		goto fault;
	}
	if (full) {
		if ((uint16_t)f[4] != v->regs.sel[SEG_SS] && pv_load_segment(v, SEG_SS, (uint16_t)f[4]))
			goto fault;
		v->regs.gpr[REG_RSP] = f[3];
	}
	v->regs.sel[SEG_CS] = (uint16_t)f[1];
	v->regs.code32 = code32;
	flags_load(e, f[2], w);
	e->next = code32 ? (uint32_t)f[0] : f[0];
	return 0;
fault:
	v->regs.gpr[REG_RSP] = saved_sp;
	return -1;
}

/* ---- segment registers by mov, and far pointers ---- */

static int do_mov_seg(struct emu *e)
{
	int to = operand_segment(e, 0), from = operand_segment(e, 1);
	uint64_t x;

	if (from >= 0) {
		x = e->v->regs.sel[from];
		if (e->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return emu_write(e, e->op[0].mem.segment, emu_address(e, &e->op[0]), 2, &x);
		return emu_operand_write(e, 0, x);
	}
	if (to == SEG_CS)
		return emu_ud(e);
	if (e->op[1].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		x = 0;
		if (emu_read(e, e->op[1].mem.segment, emu_address(e, &e->op[1]), 2, &x))
			return -1;
	} else if (emu_operand_read(e, 1, &x)) {
		return -1;
	}
	return pv_load_segment(e->v, (unsigned)to, (uint16_t)x);
}

static int load_far_pointer(struct emu *e, unsigned seg)
{
	unsigned w = e->in.operand_width / 8;
	const ZydisDecodedOperand *op = &e->op[1];
	uint64_t off = 0;
	uint16_t sel;

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return emu_ud(e);
	if (emu_read(e, op->mem.segment, emu_address(e, op), w, &off) ||
	    emu_read(e, op->mem.segment, emu_linear(e, op->mem.segment, emu_offset(e, op) + w), 2, &sel) ||
	    pv_load_segment(e->v, seg, sel))
		return -1;
	emu_reg_write(e, e->op[0].reg.value, off);
	return 0;
}

static int do_lds(struct emu *e) { return load_far_pointer(e, SEG_DS); }
static int do_les(struct emu *e) { return load_far_pointer(e, SEG_ES); }
static int do_lfs(struct emu *e) { return load_far_pointer(e, SEG_FS); }
static int do_lgs(struct emu *e) { return load_far_pointer(e, SEG_GS); }
static int do_lss(struct emu *e) { return load_far_pointer(e, SEG_SS); }

static int do_lea(struct emu *e)
{
	emu_reg_write(e, e->op[0].reg.value, emu_offset(e, &e->op[1]));
	return 0;
}

/* Hints, and instructions that do nothing while the feature behind them is off. */
static int do_nothing(struct emu *e) { return 0; }

static const emu_fn handlers[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	[ZYDIS_MNEMONIC_JO] = do_jcc, [ZYDIS_MNEMONIC_JNO] = do_jcc, [ZYDIS_MNEMONIC_JB] = do_jcc,
	[ZYDIS_MNEMONIC_JNB] = do_jcc, [ZYDIS_MNEMONIC_JZ] = do_jcc, [ZYDIS_MNEMONIC_JNZ] = do_jcc,
	[ZYDIS_MNEMONIC_JBE] = do_jcc, [ZYDIS_MNEMONIC_JNBE] = do_jcc, [ZYDIS_MNEMONIC_JS] = do_jcc,
	[ZYDIS_MNEMONIC_JNS] = do_jcc, [ZYDIS_MNEMONIC_JP] = do_jcc, [ZYDIS_MNEMONIC_JNP] = do_jcc,
	[ZYDIS_MNEMONIC_JL] = do_jcc, [ZYDIS_MNEMONIC_JNL] = do_jcc, [ZYDIS_MNEMONIC_JLE] = do_jcc,
	[ZYDIS_MNEMONIC_JNLE] = do_jcc,
	[ZYDIS_MNEMONIC_JCXZ] = do_jcxz, [ZYDIS_MNEMONIC_JECXZ] = do_jcxz, [ZYDIS_MNEMONIC_JRCXZ] = do_jcxz,
	[ZYDIS_MNEMONIC_LOOP] = do_loop, [ZYDIS_MNEMONIC_LOOPE] = do_loop, [ZYDIS_MNEMONIC_LOOPNE] = do_loop,
	[ZYDIS_MNEMONIC_JMP] = do_jmp, [ZYDIS_MNEMONIC_CALL] = do_call, [ZYDIS_MNEMONIC_RET] = do_ret,
	[ZYDIS_MNEMONIC_SYSCALL] = do_syscall, [ZYDIS_MNEMONIC_SYSENTER] = do_sysenter,
	[ZYDIS_MNEMONIC_INT] = do_int, [ZYDIS_MNEMONIC_INT3] = do_int3, [ZYDIS_MNEMONIC_INT1] = do_int1,
	[ZYDIS_MNEMONIC_INTO] = do_into,
	[ZYDIS_MNEMONIC_IRET] = do_iret, [ZYDIS_MNEMONIC_IRETD] = do_iret, [ZYDIS_MNEMONIC_IRETQ] = do_iret,
	[ZYDIS_MNEMONIC_PUSH] = do_push, [ZYDIS_MNEMONIC_POP] = do_pop,
	[ZYDIS_MNEMONIC_PUSHF] = do_pushf, [ZYDIS_MNEMONIC_PUSHFD] = do_pushf, [ZYDIS_MNEMONIC_PUSHFQ] = do_pushf,
	[ZYDIS_MNEMONIC_POPF] = do_popf, [ZYDIS_MNEMONIC_POPFD] = do_popf, [ZYDIS_MNEMONIC_POPFQ] = do_popf,
	[ZYDIS_MNEMONIC_PUSHA] = do_pusha, [ZYDIS_MNEMONIC_PUSHAD] = do_pusha,
	[ZYDIS_MNEMONIC_POPA] = do_popa, [ZYDIS_MNEMONIC_POPAD] = do_popa,
	[ZYDIS_MNEMONIC_ENTER] = do_enter, [ZYDIS_MNEMONIC_LEAVE] = do_leave,
	[ZYDIS_MNEMONIC_LDS] = do_lds, [ZYDIS_MNEMONIC_LES] = do_les, [ZYDIS_MNEMONIC_LFS] = do_lfs,
	[ZYDIS_MNEMONIC_LGS] = do_lgs, [ZYDIS_MNEMONIC_LSS] = do_lss,
	[ZYDIS_MNEMONIC_LEA] = do_lea,
	[ZYDIS_MNEMONIC_NOP] = do_nothing, [ZYDIS_MNEMONIC_ENDBR64] = do_nothing, [ZYDIS_MNEMONIC_ENDBR32] = do_nothing,
	[ZYDIS_MNEMONIC_PAUSE] = do_nothing, [ZYDIS_MNEMONIC_RDSSPD] = do_nothing, [ZYDIS_MNEMONIC_RDSSPQ] = do_nothing,
	[ZYDIS_MNEMONIC_PREFETCH] = do_nothing, [ZYDIS_MNEMONIC_PREFETCHW] = do_nothing,
	[ZYDIS_MNEMONIC_PREFETCHNTA] = do_nothing, [ZYDIS_MNEMONIC_PREFETCHT0] = do_nothing,
	[ZYDIS_MNEMONIC_PREFETCHT1] = do_nothing, [ZYDIS_MNEMONIC_PREFETCHT2] = do_nothing,
	[ZYDIS_MNEMONIC_PREFETCHWT1] = do_nothing, [ZYDIS_MNEMONIC_CLDEMOTE] = do_nothing,
	[ZYDIS_MNEMONIC_SERIALIZE] = do_nothing,
};

emu_fn emu_flow_handler(const struct emu *e)
{
	if (e->in.mnemonic == ZYDIS_MNEMONIC_MOV && (operand_segment(e, 0) >= 0 || operand_segment(e, 1) >= 0))
		return do_mov_seg;
	return handlers[e->in.mnemonic];
}
