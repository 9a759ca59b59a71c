/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: random bytes as user code, its own code page writable.  Whatever they are, the guest kernel gets a trap from
 * user mode and its own memory is as it was.  Registers hold addresses of the stack so that memory operands hit.  A
 * program that loops is ended by the timer.
 *
 * No lock prefix and no xchg: a locked access across cache lines is a bus lock, which some hosts' kernels punish by never
 * letting the instruction finish, native or not.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_user";

static uint64_t canary[512];

/*
 * The timer found user code looping (jmp to itself, rep without end): its next instruction is an int3.  Also when it only
 * was slow: then this round ends a little early.
 */
static bool stop_loops(struct trap_regs *r)
{
	if (r->vector == TRAP_EVENT && (r->cs & 3) == 3)
		r->rip = USER_CODE + 64;
	return false;
}

static uint64_t digest(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < 512; i++)
		sum = sum * 31 + canary[i];
	return sum;
}

void guest_main(void)
{
	static const uint8_t often[] = { 0x0f, 0x66, 0xf2, 0xf3, 0x48, 0x67, 0xc4, 0xc5, 0x62, 0x64, 0x65 };
	uint64_t before;
	unsigned counts[4] = { 0 };
	uint8_t insns[16];

	for (unsigned i = 0; i < 512; i++)
		canary[i] = rnd();
	before = digest();
	bind_virq(VIRQ_TIMER, 0);
	user_trap_hook = stop_loops;
	user_tables(true);
	for (unsigned round = 0; round < 20000; round++) {
		struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + 50000000 };
		uint64_t *regs = (uint64_t *)&user;

		for (unsigned i = 0; i < sizeof(insns); i++)
			do
				insns[i] = rnd() % 3 ? (uint8_t)rnd() : often[rnd() % sizeof(often)];
			while (insns[i] == 0xf0 || insns[i] == 0x86 || insns[i] == 0x87);
		for (unsigned i = 0; i < 15; i++)
			regs[i] = rnd() % 4 ? USER_STACK - 8192 + rnd() % 256 : rnd();
		user.rcx = rnd() % 64;
		vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
		run_user(insns, sizeof(insns));
		CHECK_EQ(back.cs & 3, 3);
		counts[back.vector == 6 ? 0 : back.vector == 14 ? 1 : back.vector == 13 ? 2 : 3]++;
	}
	CHECK_EQ(digest(), before);
	CHECK(counts[0] > 100 && counts[1] > 100 && counts[2] > 100 && counts[3] > 100);
}
