/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code that changes: through its own mapping, through an alias (as Linux patches its text, 17,000 times a boot), through
 * the hypervisor (copy page), by remapping the address to another frame, and across a page boundary.
 */
#include "micro_guest.h"

const char guest_name[] = "smc";

typedef unsigned fn(void);

/* mov $n, %eax; ret */
static void emit(volatile uint8_t *p, uint32_t n)
{
	p[0] = 0xb8;
	p[1] = (uint8_t)n;
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)(n >> 16);
	p[4] = (uint8_t)(n >> 24);
	p[5] = 0xc3;
}

static unsigned call(volatile uint8_t *p)
{
	__asm__ volatile("" ::: "memory");
	return ((fn *)(uintptr_t)p)();
}

void guest_main(void)
{
	uint8_t *code = page_alloc(), *next = page_alloc(), *alias = page_alloc(), *spare = page_alloc();

	CHECK(next == code + 4096);
	for (unsigned i = 0; i < 2000; i++) {
		emit(code, i);
		CHECK_EQ(call(code), i);
	}
	map_page((uint64_t)alias, pte(va_to_mfn(code), P_KERNEL));
	make_readonly(code);
	for (unsigned i = 0; i < 2000; i++) {
		emit(alias, i * 3);
		CHECK_EQ(call(code), i * 3);
	}
	/* a byte of an instruction already run, in a loop that runs it */
	for (unsigned i = 0; i < 200; i++) {
		alias[1] = (uint8_t)i;
		CHECK_EQ(call(code) & 0xff, i);
	}
	emit(spare, 77);
	CHECK_EQ(mmuext(MMUEXT_COPY_PAGE, va_to_mfn(code), va_to_mfn(spare)), 0);
	CHECK_EQ(call(code), 77);
	emit(spare, 78);
	map_page((uint64_t)code, pte(va_to_mfn(spare), P_KERNEL));
	CHECK_EQ(call(code), 78);
	map_page((uint64_t)code, pte(va_to_mfn(code), P_KERNEL));
	for (unsigned i = 0; i < 200; i++) {
		emit(code + 4093, i * 0x01010101);              /* three bytes here, three there */
		CHECK_EQ(call(code + 4093), i * 0x01010101);
		next[0] = (uint8_t)(i + 1);
		CHECK_EQ(call(code + 4093) >> 16 & 0xff, (i + 1) & 0xff);
	}
	map_page((uint64_t)code, pte(va_to_mfn(code), P_KERNEL | 1UL << 63));
	TRY("jmp *%0", : : "r"(code) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.error, 0x11);                          /* instruction fetch of a present page */
}
