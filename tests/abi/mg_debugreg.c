/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Breakpoints fire: on execution (before the instruction, once, RF holding it off), on writes and on any access of 1 to 8
 * bytes (after the instruction), with the right bits in DR6; single steps too; nothing while DR7 is off.  By hypercall
 * and by mov to debug registers.
 */
#include "micro_guest.h"

const char guest_name[] = "debugreg";

static uint64_t word[4];
static volatile unsigned hits;
static volatile uint64_t hit_rip, hit_dr6;

static long set(unsigned reg, uint64_t x) { return hypercall(set_debugreg, reg, x, 0, 0); }
static uint64_t get(unsigned reg) { return (uint64_t)hypercall(get_debugreg, reg, 0, 0, 0); }

static bool on_trap(struct trap_regs *r)
{
	if (r->vector != 1)
		return false;
	hits++;
	hit_rip = r->rip;
	hit_dr6 = get(6);
	set(6, 0);
	r->rflags |= 0x10000;                   /* RF: past an instruction breakpoint */
	r->rflags &= ~0x100UL;
	return true;
}

static __attribute__((noinline)) uint64_t target(uint64_t x)
{
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

void guest_main(void)
{
	uint64_t after, x;

	trap_hook = on_trap;
	CHECK_EQ(set(0, 1UL << 62), -XEN_EPERM);
	CHECK_EQ(set(0, 0xffff800000000000UL), -XEN_EPERM);
	CHECK_EQ(set(7, 1UL << 40), -XEN_EINVAL);
	CHECK_EQ(set(7, 0x2000), -XEN_EPERM);
	CHECK_EQ(set(9, 0), -XEN_ENODEV);
	CHECK_EQ(get(7), 0x400);

	CHECK_EQ(set(0, (uint64_t)target), 0);
	CHECK_EQ(get(0), (uint64_t)target);
	CHECK_EQ(target(1), 2);
	CHECK_EQ(hits, 0);
	CHECK_EQ(set(7, 1), 0);
	CHECK_EQ(target(5), 6);
	CHECK_EQ(hits, 1);
	CHECK_EQ(hit_rip, (uint64_t)target);
	CHECK_EQ(hit_dr6 & 0xf, 1);
	CHECK_EQ(target(5), 6);
	CHECK_EQ(hits, 2);

	hits = 0;                                                       /* 8 bytes written, in DR1, global */
	CHECK_EQ(set(1, (uint64_t)&word[1]), 0);
	CHECK_EQ(set(7, 1 << 3 | 1UL << 20 | 2UL << 22), 0);
	__asm__ volatile("movq $5, %1\n\tlea 0(%%rip), %0" : "=r"(after), "=m"(word[0]));
	CHECK_EQ(hits, 0);
	__asm__ volatile("movq $5, %1\n1:\tlea 1b(%%rip), %0" : "=r"(after), "=m"(word[1]));
	CHECK_EQ(hits, 1);
	CHECK_EQ(hit_rip, after);
	CHECK_EQ(hit_dr6 & 0xf, 2);
	__asm__ volatile("movb $5, %0" : "=m"(*((uint8_t *)&word[1] + 7)));
	CHECK_EQ(hits, 2);
	__asm__ volatile("mov %1, %0" : "=r"(x) : "m"(word[1]));        /* reads do not count */
	CHECK_EQ(hits, 2);
	__asm__ volatile("lock incq %0" : "+m"(word[1]));
	CHECK_EQ(hits, 3);
	__asm__ volatile("rep stosb" : : "D"((uint8_t *)&word[0] + 4), "c"(8UL), "a"(0) : "memory");
	CHECK(hits > 3);

	hits = 0;                                                       /* any access of 4 bytes, by mov */
	__asm__ volatile("mov %0, %%db2" : : "r"(&word[2]));
	__asm__ volatile("mov %0, %%db7" : : "r"(1UL << 4 | 3UL << 24 | 3UL << 26));
	__asm__ volatile("mov %1, %0" : "=r"(x) : "m"(word[2]));
	CHECK_EQ(hits, 1);
	CHECK_EQ(hit_dr6 & 0xf, 4);
	__asm__ volatile("movl %1, %k0" : "=r"(x) : "m"(*((uint32_t *)&word[2] + 1)));
	CHECK_EQ(hits, 1);
	__asm__ volatile("push %0\n\tpop %0" : "+m"(word[2]));
	CHECK_EQ(hits, 3);
	CHECK_EQ(set(7, 0), 0);
	__asm__ volatile("mov %1, %0" : "=r"(x) : "m"(word[2]));
	CHECK_EQ(hits, 3);

	hits = 0;
	__asm__ volatile("pushf\n\torq $0x100, (%%rsp)\n\tpopf\n\tnop\n1:\tlea 1b(%%rip), %0" : "=r"(after) : : "cc", "memory");
	CHECK_EQ(hits, 1);
	CHECK_EQ(hit_rip, after);
	CHECK_EQ(hit_dr6 & 0x4000, 0x4000);
}
