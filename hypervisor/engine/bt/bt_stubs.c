/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_stubs.c - the ways into and out of translated code, emitted once at the start of each domain's code cache.
 *
 *   enter_jc      C function: loads the guest's registers and jumps to v.regs.rip through the jump cache
 *   enter_direct  C function: the same, to the host address bt_vcpu.target, with the flags loaded
 *   stub_leave    returns from enter with BT_EXIT_RECOVERED: the guest's state is in memory already
 *   stub_exit     jumped to with every guest register and the flags in place and exit_id set: returns from enter
 *   stub_ijmp     an indirect jump that missed: target in BT_S0, flags in fl
 *   stub_gate     jumped to as stub_exit, at a `syscall`: calls bt_vcpu.fn_gate; goes on as from enter_jc, or returns from enter
 *   stub_cold     a memory access that missed: calls bt_vcpu.fn_cold; resumes at bt_vcpu.resume or returns from enter
 */
#include "hypervisor/engine/bt/bt_int.h"
#include "hypervisor/engine/bt/bt_emit.h"

/* cmpl $0, %gs:attention: from here on a kick finds the program counter in the cache (bt_signal.c) */
static void emit_attention(struct emit *e)
{
	e_gs(e, 0, 0x83, 7, GS_OFF(attention));
	e8(e, 0);
}

static void emit_prologue(struct emit *e)
{
	e8(e, 0x53);                                      /* push rbx, rbp, r12..r15 */
	e8(e, 0x55);
	for (unsigned r = 12; r < 16; r++) {
		e8(e, 0x41);
		e8(e, 0x50 | (r & 7));
	}
	e8(e, 0x48); e8(e, 0x83); e8(e, 0xec); e8(e, 8);  /* sub $8, rsp: calls from stub_cold find it aligned */
	e_store_gs(e, REG_RSP, GS_OFF(host_rsp));
}

static void emit_epilogue(struct emit *e)
{
	e_load_gs(e, REG_RSP, GS_OFF(host_rsp));
	e8(e, 0x48); e8(e, 0x83); e8(e, 0xc4); e8(e, 8);
	for (unsigned r = 15; r >= 12; r--) {
		e8(e, 0x41);
		e8(e, 0x58 | (r & 7));
	}
	e8(e, 0x5d);
	e8(e, 0x5b);
	e8(e, 0xc3);
}

/* BT_SLOT_REGS are in their slots while translated code runs from block to block. */
static void emit_load_all(struct emit *e, uint32_t skip)
{
	for (unsigned r = 0; r < NR_GPR; r++)
		if (!((skip | BT_SLOT_REGS) & 1U << r))
			e_load_gs(e, r, GS_GPR(r));
}

static void emit_store_all(struct emit *e)
{
	for (unsigned r = 0; r < NR_GPR; r++)
		if (!(BT_SLOT_REGS & 1U << r))
			e_store_gs(e, r, GS_GPR(r));
}

/* Through the jump cache to the target in BT_S0. */
void bt_emit_jump_cache(struct emit *e, int bank)
{
	e_rr(e, 0, OP_STORE, BT_S0, BT_S1);
	e8(e, 0x41); e8(e, 0x81); e8(e, 0xe3); e32(e, BT_JC_ENTRIES - 1);           /* and $mask, r11d */
	e8(e, 0x65); e8(e, 0x42); e8(e, 0xff); e8(e, 0x24); e8(e, 0xdd);            /* jmp *%gs:jc(,%r11,8) */
	e32(e, GS_OFF(jc) + (uint32_t)bank * BT_JC_ENTRIES * 8);
}

/* *on: where to go on from other stubs, on the stack that the prologue made. */
static uint32_t emit_enter_jc(const struct bt_domain *bt, struct emit *e, int bank, uint32_t *on)
{
	uint32_t at;

	e_align(e, 0, 8);
	at = e->p;
	emit_prologue(e);
	*on = e->p;
	emit_attention(e);
	e8(e, 0x0f); e8(e, 0x85); e32(e, bt->stub_leave - (e->p + 4));
	emit_load_all(e, 0);
	e_load_gs(e, BT_S0, GS_OFF(v.regs.rip));
	bt_emit_jump_cache(e, bank);
	return at;
}

static uint32_t emit_enter_direct(const struct bt_domain *bt, struct emit *e)
{
	uint32_t at;

	e_align(e, 0, 8);
	at = e->p;
	emit_prologue(e);
	emit_attention(e);
	e8(e, 0x0f); e8(e, 0x85); e32(e, bt->stub_leave - (e->p + 4));
	emit_load_all(e, 1U << REG_RAX);
	e8(e, 0x65); e8(e, 0x0f); e8(e, 0xb7); e8(e, 0x04); e8(e, 0x25);  /* movzwl %gs:fl, eax */
	e32(e, GS_OFF(fl));
	e8(e, 0x04); e8(e, 0x7f);                                         /* add $0x7f, al: OF */
	e8(e, 0x9e);                                                      /* sahf */
	e_load_gs(e, REG_RAX, GS_GPR(REG_RAX));
	e8(e, 0x65); e8(e, 0xff); e8(e, 0x24); e8(e, 0x25);               /* jmp *%gs:target */
	e32(e, GS_OFF(target));
	return at;
}

/* Every register to its slot, the flags to fl. */
static void emit_save_state(struct emit *e)
{
	emit_store_all(e);
	e8(e, 0x9f);                                                      /* lahf; seto al; mov ax, %gs:fl */
	e8(e, 0x0f); e8(e, 0x90); e8(e, 0xc0);
	e8(e, 0x66); e_gs(e, 0, OP_STORE, REG_RAX, GS_OFF(fl));
}

static void emit_exits(struct bt_domain *bt, struct emit *e)
{
	e_align(e, 0, 8);
	bt->stub_exit = e->p;
	emit_save_state(e);
	emit_epilogue(e);

	e_align(e, 0, 8);
	bt->stub_ijmp = e->p;
	e_store_gs(e, BT_S0, GS_OFF(v.regs.rip));
	emit_store_all(e);
	e_store_gs_imm32(e, BT_EXIT_IJMP, GS_OFF(exit_id));
	emit_epilogue(e);
}

static void emit_cold(struct bt_domain *bt, struct emit *e)
{
	uint32_t jne, again;

	e_align(e, 0, 8);
	bt->stub_cold = e->p;
	for (unsigned r = 0; r < NR_GPR; r++)
		e_store_gs(e, r, GS_HOST(r));
	e_load_gs(e, REG_RSP, GS_OFF(host_rsp));
	again = e->p;
	e_load_gs(e, REG_RDI, GS_OFF(self));
	e8(e, 0x65); e8(e, 0xff); e8(e, 0x14); e8(e, 0x25);               /* call *%gs:fn_cold */
	e32(e, GS_OFF(fn_cold));
	e_rr(e, 0, 0x85, REG_RAX, REG_RAX);
	jne = e_jcc_fwd(e, 5);
	emit_attention(e);
	e8(e, 0x0f); e8(e, 0x85); e32(e, again - (e->p + 4));
	for (unsigned r = 0; r < NR_GPR; r++)
		e_load_gs(e, r, GS_HOST(r));
	e8(e, 0x65); e8(e, 0xff); e8(e, 0x24); e8(e, 0x25);               /* jmp *%gs:resume */
	e32(e, GS_OFF(resume));
	e_patch(e, jne, e->p);
	emit_epilogue(e);
}

/* on: where enter_jc looks at attention and goes on, by bank. */
static void emit_gate(struct bt_domain *bt, struct emit *e, const uint32_t *on)
{
	e_align(e, 0, 8);
	bt->stub_gate = e->p;
	emit_save_state(e);
	e_load_gs(e, REG_RSP, GS_OFF(host_rsp));
	e_load_gs(e, REG_RDI, GS_OFF(self));
	e8(e, 0x65); e8(e, 0xff); e8(e, 0x14); e8(e, 0x25);               /* call *%gs:fn_gate */
	e32(e, GS_OFF(fn_gate));
	_Static_assert(BT_KERNEL == 0 && BT_USER == 1 && BT_GATE_LEAVE == 2, "below, equal, above");
	e8(e, 0x83); e8(e, 0xf8); e8(e, BT_USER);                         /* cmp $BT_USER, eax; jb; je */
	e8(e, 0x0f); e8(e, 0x82); e32(e, on[BT_KERNEL] - (e->p + 4));
	e8(e, 0x0f); e8(e, 0x84); e32(e, on[BT_USER] - (e->p + 4));
	emit_epilogue(e);
}

void bt_stubs_emit(struct bt_domain *bt)
{
	struct emit e = { .base = bt->rw, .p = 16 };      /* offset 0 means "none" */
	uint32_t at, on[BT_NR_BANKS];

	bt->stub_leave = e.p;
	e_store_gs_imm32(&e, BT_EXIT_RECOVERED, GS_OFF(exit_id));
	emit_epilogue(&e);
	for (int b = 0; b < BT_NR_BANKS; b++) {
		at = emit_enter_jc(bt, &e, b, &on[b]);
		bt->enter_jc[b] = (void (*)(struct bt_vcpu *))(uintptr_t)bt_host(bt, at);
	}
	at = emit_enter_direct(bt, &e);
	bt->enter_direct = (void (*)(struct bt_vcpu *))(uintptr_t)bt_host(bt, at);
	emit_exits(bt, &e);
	emit_gate(bt, &e, on);
	emit_cold(bt, &e);
	bt->first = (e.p + 63) & ~63U;
	bt->used = bt->first;
}
