/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses across two pages: loads, stores, locked operations and vectors of every width see both halves; when one half is
 * missing or read-only nothing at all is written and cr2 is the first byte that is missing.
 */
#include "micro_guest.h"

const char guest_name[] = "page_crossing";

void guest_main(void)
{
	uint8_t *p = page_alloc(), *q = page_alloc(), *edge = q;
	uint64_t x, old = *pte_of((uint64_t)q);

	for (unsigned cut = 1; cut < 8; cut++) {
		memset(p, 0, 4096);
		memset(q, 0, 4096);
		*(volatile uint64_t *)(edge - cut) = 0x1122334455667788UL;
		x = 0;
		for (unsigned i = 0; i < 8; i++)
			x |= (uint64_t)edge[(int)i - (int)cut] << 8 * i;
		CHECK_EQ(x, 0x1122334455667788UL);
		CHECK_EQ(*(volatile uint64_t *)(edge - cut), x);
		__asm__ volatile("addq $1, %0" : "+m"(*(volatile uint64_t *)(edge - cut)) : : "cc");
		CHECK_EQ(*(volatile uint64_t *)(edge - cut), x + 1);
		__asm__ volatile("lock addq $1, %0" : "+m"(*(volatile uint64_t *)(edge - cut)) : : "cc");
		CHECK_EQ(*(volatile uint64_t *)(edge - cut), x + 2);
	}
	for (unsigned cut = 1; cut < 16; cut++) {
		memset(p, (int)cut, 4096);
		memset(q, (int)(cut + 1), 4096);
		__asm__ volatile("movdqu -8(%0), %%xmm1\n\tpaddb %%xmm1, %%xmm1\n\tmovdqu %%xmm1, (%1)" : : "r"(edge), "r"(edge - cut) : "memory");
		for (unsigned i = 0; i < 16; i++)
			CHECK_EQ(edge[(int)i - (int)cut], i < 8 ? 2 * cut : 2 * cut + 2);
	}
	map_page((uint64_t)q, 0);
	memset(p, 0x55, 4096);
	TRY("movq $0, (%0)", : : "r"(edge - 3) : "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.error, 2);
	CHECK_EQ(trapped.cr2, (uint64_t)edge);
	CHECK_EQ(edge[-1], 0x55);
	TRY("lock xaddq %%rax, (%0)", : : "r"(edge - 3) : "rax", "r11", "memory", "cc");
	CHECK_EQ(trapped.cr2, (uint64_t)edge);
	CHECK_EQ(edge[-3], 0x55);
	TRY("mov -1(%0), %%ax", : : "r"(edge) : "rax", "r11", "memory");
	CHECK_EQ(trapped.cr2, (uint64_t)edge);
	/* ten bytes are two accesses for the CPU, which does the first of them; here not */
	__asm__ volatile("fninit; fldz");
	TRY("fstpt (%0)", : : "r"(edge - 8) : "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.cr2, (uint64_t)edge);
	CHECK_EQ(*(volatile uint64_t *)(edge - 8), 0x5555555555555555UL);
	TRY("fbstp (%0)", : : "r"(edge - 9) : "r11", "memory");
	CHECK_EQ(trapped.cr2, (uint64_t)edge);
	CHECK_EQ(*(volatile uint64_t *)(edge - 9), 0x5555555555555555UL);
	map_page((uint64_t)q, (old & ~P_RW));
	TRY("movq $0, (%0)", : : "r"(edge - 3) : "r11", "memory");
	CHECK_EQ(trapped.error, 3);
	CHECK_EQ(edge[-1], 0x55);
	CHECK_EQ(edge[-3], 0x55);
	map_page((uint64_t)q, old);
	/* the number is still there to be stored */
	__asm__ volatile("fbstp (%0)" : : "r"(edge - 9) : "memory");
	CHECK_EQ(*(volatile uint64_t *)(edge - 9), 0);
	CHECK_EQ(edge[0], 0);
}
