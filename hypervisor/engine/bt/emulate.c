/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate.c - one guest instruction: fetch, decode, find the handler, advance.
 *
 * The slow path of the translator and its oracle.  Constraints: context "full" of bt.h; exceptions are precise; every
 * call ends after a bounded amount of work (string instructions stop in between with rip on themselves).
 */
#include <string.h>

#include "hypervisor/engine/bt/emulate.h"

static emu_fn (*const finders[])(const struct emu *e) = {
	emu_flow_handler, emu_string_handler, emu_bits_handler, emu_fpstate_handler, emu_vector_handler,
	emu_priv_handler, emu_msr_handler, emu_desc_handler, emu_legacy_handler,
};

bool emu_decode(struct emu *e, size_t n, ZyanStatus *st)
{
	ZydisDecoder dec;

	if (e->code32)
		ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	*st = ZydisDecoderDecodeFull(&dec, e->bytes, n, &e->in, e->op);
	return ZYAN_SUCCESS(*st);
}

/* Bytes of the instruction, touching the second page only when the first ends inside it. */
static int fetch(struct emu *e)
{
	uint64_t rip = e->code32 ? (uint32_t)e->v->regs.rip : e->v->regs.rip;
	size_t n = PAGE_SIZE_HV - (rip & (PAGE_SIZE_HV - 1)), more;
	struct mmu_span s;
	ZyanStatus st;

	if (n > ZYDIS_MAX_INSTRUCTION_LENGTH)
		n = ZYDIS_MAX_INSTRUCTION_LENGTH;
	if (mmu_span_map(e->v, rip, n, MMU_EXEC, 0, &s))
		return -1;
	mmu_span_read(&s, e->bytes);
	if (emu_decode(e, n, &st))
		return 0;
	if (st == ZYDIS_STATUS_NO_MORE_DATA && n < ZYDIS_MAX_INSTRUCTION_LENGTH) {
		more = ZYDIS_MAX_INSTRUCTION_LENGTH - n;
		if (mmu_span_map(e->v, e->code32 ? (uint32_t)(rip + n) : rip + n, more, MMU_EXEC, 0, &s))
			return -1;
		mmu_span_read(&s, e->bytes + n);
		if (emu_decode(e, ZYDIS_MAX_INSTRUCTION_LENGTH, &st))
			return 0;
	}
	/* more than 15 bytes is #GP, everything else unknown is #UD (SDM vol. 3 section 6.15) */
	return st == ZYDIS_STATUS_NO_MORE_DATA || st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? emu_gp(e) : emu_ud(e);
}

emu_fn emu_handler(const struct emu *e)
{
	for (size_t i = 0; i < sizeof(finders) / sizeof(finders[0]); i++) {
		emu_fn f = finders[i](e);

		if (f)
			return f;
	}
	return emu_native;
}

#define DR6_BS (1U << 14)                       /* single step */

static int debug_trap(struct vcpu *v, unsigned dr6)
{
	v->dr[6] |= dr6;
	mmu_raise(v, VEC_DB, 0);
	return EXIT_EXCEPTION;
}

int emu_step(struct vcpu *v)
{
	struct emu e;
	bool tf = v->regs.rflags & FL_TF;
	int rc;

	if ((v->dr[7] & DR7_ENABLES) && !(v->regs.rflags & FL_RF)) {
		unsigned hits = emu_debug_exec(v, v->regs.rip);

		if (hits)
			return debug_trap(v, hits);
	}
	e.v = v;
	e.code32 = v->regs.code32;
	e.debug_hits = 0;
	if (fetch(&e))
		return EXIT_EXCEPTION;
	e.next = v->regs.rip + e.in.length;
	if (e.code32)
		e.next = (uint32_t)e.next;
	/* LOCK is allowed on few instructions; Zydis refuses the others while decoding */
	rc = emu_handler(&e)(&e);
	if (rc == -1)
		return EXIT_EXCEPTION;
	v->regs.rip = e.next;
	v->regs.rflags = (v->regs.rflags & ~(FL_RF | FL_VM | FL_IF | FL_IOPL)) | FL_FIXED;
	if (rc)
		return rc - EMU_EXIT(0);
	if (tf || e.debug_hits)
		return debug_trap(v, e.debug_hits | (tf ? DR6_BS : 0));
	return EMU_DONE;
}
