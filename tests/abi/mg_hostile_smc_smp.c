/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile, two vCPUs: one rewrites a function the other runs, byte by byte and whole, through another mapping of the page
 * and across a page end.  What runs is old code, new code, or a byte of each; after the last write, an agreed signal and a
 * serialising instruction, the new code.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_smc_smp";

static volatile uint8_t *code, *alias;
static volatile uint32_t want, ready;
static volatile bool stop, stopped;

static void second(void)
{
	uint32_t n = 0;

	vcpu_info(1)->evtchn_upcall_mask = 1;
	while (!stop) {
		for (unsigned i = 0; i < 50; i++)
			alias[1 + (i & 3)] = (uint8_t)(n + i);
		n++;
		*(volatile uint32_t *)(alias + 1) = n;          /* mov $n, %eax; ret */
		__atomic_store_n(&want, n, __ATOMIC_SEQ_CST);
		while (!stop && __atomic_load_n(&ready, __ATOMIC_SEQ_CST) != n)
			;
	}
	stopped = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

void guest_main(void)
{
	uint8_t *page = page_alloc(), *other = page_alloc(), *low, *high;
	uint64_t end, *win = page_alloc();

	low = page_alloc();
	high = page_alloc();
	(void)other;
	code = page + 100;
	code[0] = 0xb8;
	code[5] = 0xc3;
	map_page((uint64_t)win, pte(va_to_mfn(page), P_KERNEL));
	alias = (uint8_t *)win + 100;
	vcpu_start(1, second);
	end = system_time(0) + 100000000000UL;
	for (unsigned round = 0; round < 400; round++) {
		uint32_t n, a, b;

		while (__atomic_load_n(&want, __ATOMIC_SEQ_CST) == ready) {
			__asm__ volatile("call *%1" : "=a"(a) : "r"(code) : "memory");
			CHECK(system_time(0) < end);
		}
		n = want;
		__asm__ volatile("cpuid" : "=a"(a), "=c"(b) : "a"(0), "c"(0) : "rbx", "rdx");
		__asm__ volatile("call *%1" : "=a"(a) : "r"(code) : "memory");
		CHECK_EQ(a, n);
		__atomic_store_n(&ready, n, __ATOMIC_SEQ_CST);
	}
	stop = true;
	while (!stopped)
		CHECK(system_time(0) < end);
	/* across a page's end, one half changed at a time */
	for (unsigned cut = 1; cut < 6; cut++)
		for (unsigned i = 0; i < 50; i++) {
			uint8_t insn[6] = { 0xb8, (uint8_t)i, (uint8_t)cut, 3, 4, 0xc3 };
			uint32_t a;

			for (unsigned k = 0; k < 6; k++)
				((volatile uint8_t *)high)[(int)k - (int)cut] = insn[k];
			__asm__ volatile("call *%1" : "=a"(a) : "r"(high - cut) : "memory");
			CHECK_EQ(a, 0x04030000 | cut << 8 | i);
			((volatile uint8_t *)high)[4 - (int)cut] = 0x77;
			__asm__ volatile("call *%1" : "=a"(a) : "r"(high - cut) : "memory");
			CHECK_EQ(a, 0x77030000 | cut << 8 | i);
		}
	CHECK(low != high);
}
