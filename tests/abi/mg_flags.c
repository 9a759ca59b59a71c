/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flags: popf and iretq within the kernel change what CPL 3 may change and nothing else, pushf never shows VM or IOPL,
 * TF steps one instruction, AC and ID and NT stay, and arithmetic after each is what the processor does.
 */
#include "micro_guest.h"

const char guest_name[] = "flags";

static uint64_t pushf(void)
{
	uint64_t f;

	__asm__ volatile("pushf\n\tpop %0" : "=r"(f) : : "memory");
	return f;
}

static uint64_t popf(uint64_t x)
{
	uint64_t f;

	__asm__ volatile("push %1\n\tpopf\n\tpushf\n\tpop %0\n\tpush $0x202\n\tpopf" : "=r"(f) : "r"(x) : "memory", "cc");
	return f;
}

static uint64_t iret(uint64_t x)
{
	uint64_t f;

	__asm__ volatile("mov %%rsp, %%rax\n\tmov %%ss, %%ecx\n\tpush %%rcx\n\tpush %%rax\n\tpush %1\n\tmov %%cs, %%ecx\n\tpush %%rcx\n\t"
			 "lea 1f(%%rip), %%rcx\n\tpush %%rcx\n\tiretq\n1:\tpushf\n\tpop %0\n\tpush $0x202\n\tpopf"
			 : "=r"(f) : "r"(x) : "rax", "rcx", "memory", "cc");
	return f;
}

void guest_main(void)
{
	static const uint64_t may = 0x244cd5;           /* ID AC NT OF DF SF ZF AF PF CF; TF apart */

	CHECK_EQ(pushf() & 0x3000, 0);
	CHECK_EQ(pushf() & 0x202, 0x202);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t x = rnd() & ~0x100UL, want = (x & may) | 0x202;

		if (popf(x) != want)
			fail("popf of %lx gave %lx, not %lx", x, popf(x), want);
		x &= ~0x4000UL;
		want = (x & may) | 0x202;
		if (iret(x) != want)
			fail("iretq of %lx gave %lx, not %lx", x, iret(x), want);
	}
	TRY("push $0x4202\n\tpopf\n\tiretq", : : : "r11", "memory", "cc");              /* NT: a task return, #GP */
	CHECK_EQ(trapped.vector, 13);
	__asm__ volatile("push $0x202\n\tpopf" : : : "cc", "memory");
}
