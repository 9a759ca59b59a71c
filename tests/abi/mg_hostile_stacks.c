/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: kernel stacks where no frame can go, one kind a run (the command line names it): not canonical, at the end of the
 * canonical half, wrapping at 2^64, read-only, unmapped, a page table, the M2P, across a page end.  The domain crashes or
 * goes on; nothing else may happen.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_stacks";

static volatile bool came;

static bool on_trap(struct trap_regs *r)
{
	came = true;
	pass();
}

void guest_main(void)
{
	static const uint8_t insns[] = { 0x0f, 0x0b };
	uint8_t *page = page_alloc(), *ro = page_alloc();
	uint64_t *table = (uint64_t *)si->pt_base;
	uint64_t sp[] = { 1UL << 60, 0x800000000000UL, 0x800000000008UL, 8, 16, ~0UL, 0xffff800000000010UL, (uint64_t)ro + 64,
			  0x123456789000UL, (uint64_t)table + 2048, (uint64_t)m2p + 256, (uint64_t)page + 24, (uint64_t)ro + 4096 + 8,
			  0xffff880000000000UL };
	unsigned kind = 0;

	for (const int8_t *c = si->cmd_line; *c >= '0' && *c <= '9'; c++)
		kind = kind * 10 + (unsigned)(*c - '0');
	map_page((uint64_t)page, pte(va_to_mfn(page), P_KERNEL));
	make_readonly(ro);
	trap_hook = on_trap;
	if (kind & 1) {                                 /* from user mode: the stack of stack_switch */
		user_tables(false);
		CHECK_EQ(hypercall(stack_switch, FLAT_KERNEL_SS, sp[kind / 2 % 14], 0, 0), 0);
		run_user(insns, 2);
	} else {                                        /* from kernel mode: the current one */
		__asm__ volatile("mov %0, %%rsp\n\tud2" : : "r"(sp[kind / 2 % 14]) : "memory");
	}
	fail("neither a crash nor a trap");
}
