/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: VEX, EVEX and XOP prefixes with everything behind them, in user mode: all maps, lengths, widths and vvvv, with
 * operands in registers and memory, doubled and preceded by prefixes they may not follow.  Each runs, faults, or is #UD; no
 * 512-bit or mask-register instruction gets through; the kernel's memory stays as it was.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_vex";

static uint64_t canary[512];
static volatile bool cut_short;          /* the timer came before the instruction */

static bool stop_loops(struct trap_regs *r)
{
	if (r->vector == TRAP_EVENT && (r->cs & 3) == 3) {
		r->rip = USER_CODE + 64;
		cut_short = true;
	}
	return false;
}

void guest_main(void)
{
	unsigned ud = 0, ran = 0, faults = 0;
	uint8_t b[20];

	for (unsigned i = 0; i < 512; i++)
		canary[i] = i * 0x9e3779b97f4a7c15UL;
	bind_virq(VIRQ_TIMER, 0);
	user_trap_hook = stop_loops;
	user_tables(true);
	for (unsigned round = 0; round < 25000; round++) {
		uint64_t *regs = (uint64_t *)&user;
		bool evex = false;
		unsigned n = 0;

		memset(b, 0xcc, sizeof(b));
		if (rnd() % 16 == 0) {
			static const uint8_t odd[] = { 0x66, 0xf2, 0xf3, 0x67, 0x64, 0x48, 0x2e };

			b[n++] = odd[rnd() % sizeof(odd)];
		}
		switch (rnd() % 8) {
		case 0: case 1:
			b[n++] = 0xc5;
			b[n++] = (uint8_t)rnd();
			break;
		case 2: case 3: case 4:
			b[n++] = 0xc4;
			b[n++] = (uint8_t)((rnd() & 0xe0) | (rnd() % 8 ? 1 + rnd() % 3 : rnd() & 31));
			b[n++] = (uint8_t)rnd();
			break;
		case 5:
			b[n++] = 0x8f;                          /* XOP, or pop */
			b[n++] = (uint8_t)(rnd() | 8);
			b[n++] = (uint8_t)rnd();
			break;
		default:
			evex = n == 0;
			b[n++] = 0x62;
			b[n++] = (uint8_t)((rnd() & 0xf0) | 1 | rnd() % 8);
			b[n++] = (uint8_t)(rnd() | 4);
			b[n++] = (uint8_t)rnd();
		}
		b[n++] = (uint8_t)rnd();
		b[n++] = (uint8_t)rnd();
		b[n++] = (uint8_t)(rnd() & 0x3f);
		for (unsigned i = 0; i < 15; i++)
			regs[i] = rnd() % 4 ? USER_STACK - 8192 + rnd() % 512 : rnd();
		if (round % 16 == 0) {
			struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + 50000000 };

			vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
		}
		cut_short = false;
		run_user(b, sizeof(b));
		CHECK_EQ(back.cs & 3, 3);
		if (evex && !cut_short)
			CHECK(back.vector == 6 || back.vector == 13);
		ud += back.vector == 6;
		ran += back.vector == 3;
		faults += back.vector == 14 || back.vector == 13;
	}
	for (unsigned i = 0; i < 512; i++)
		CHECK_EQ(canary[i], i * 0x9e3779b97f4a7c15UL);
	if (ud < 1000 || ran < 200 || faults < 200)
		fail("%u undefined, %u ran, %u faults", ud, ran, faults);
}
