/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_quick.c - instructions that leave translated code and are frequent enough in a context switch not to go through the
 * emulator, whose decoder wants the full context.  Built -mgeneral-regs-only.
 */
#include "hypervisor/abi/abi.h"
#include "hypervisor/engine/bt/bt_int.h"

/* mov %reg, %seg */
static int load_segment(struct bt_vcpu *bv, unsigned seg, unsigned reg, unsigned len)
{
	if (pv_load_segment(&bv->v, seg, (uint16_t)bv->v.regs.gpr[reg]))
		return EXIT_EXCEPTION;
	bv->v.regs.rip += len;
	return EMU_DONE;
}

/* The instruction at bv->v.regs.rip, whose bytes are code[0..n).  EMU_DONE, an engine_exit, or -2: the emulator must do it. */
int bt_quick(struct bt_vcpu *bv, const uint8_t *code, size_t n)
{
	unsigned i = 0, rex = 0, modrm, seg;

	if (n < 3)
		return -2;
	if ((code[0] & 0xf0) == 0x40)
		rex = code[i++];
	if (code[i] != 0x8e)
		return -2;
	modrm = code[i + 1];
	seg = modrm >> 3 & 7;
	if (modrm >> 6 != 3 || seg == SEG_CS || seg >= NR_SEG)
		return -2;
	return load_segment(bv, seg, (modrm & 7) | (rex & 1) << 3, i + 2);
}
