/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segments: a GDT of one's own frames, data and TLS selectors with bases, null selectors, faults of bad ones with the
 * selector as error code, and the hypervisor's flat selectors with RPL 3.
 */
#include "micro_guest.h"

const char guest_name[] = "segments";

static uint64_t magic = 0x1234567890abcdefUL;

void guest_main(void)
{
	uint64_t *gdt = page_alloc(), frame = va_to_mfn(gdt), got;
	uint16_t sel;
	/* bases are 32 bits; a page below 4 GiB to point at */
	static const uint64_t low = 0x10000000;

	gdt[5] = 0x00cff3000000ffffUL;                                          /* flat data, DPL 3 */
	gdt[6] = 0x00affb000000ffffUL;                                          /* 64-bit code */
	gdt[7] = 0x00cff3000000ffffUL | (low & 0xffffff) << 16 | (low >> 24) << 56;
	gdt[8] = 0x00cf73000000ffffUL;                                          /* not present */
	make_readonly(gdt);
	CHECK_EQ(hypercall(set_gdt, &frame, 512, 0, 0), 0);

	__asm__ volatile("mov %%cs, %0" : "=r"(sel));
	CHECK_EQ(sel & 3, 3);
	__asm__ volatile("mov %0, %%fs" : : "r"((uint16_t)0x3b));
	__asm__ volatile("mov %%fs, %0" : "=r"(sel));
	CHECK_EQ(sel, 0x3b);
	TRY("mov %%fs:0, %%rax", : : : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.cr2, low);                                             /* the descriptor's base */
	TRY("mov %0, %%ds", : : "r"((uint16_t)0x43) : "r11", "memory");
	CHECK_EQ(trapped.vector, 11);
	CHECK_EQ(trapped.error, 0x40);
	TRY("mov %0, %%ds", : : "r"((uint16_t)0x4b) : "r11", "memory");
	CHECK_EQ(trapped.vector, 13);
	CHECK_EQ(trapped.error, 0x48);
	TRY("mov %0, %%es", : : "r"((uint16_t)0x1003) : "r11", "memory");       /* beyond the table */
	CHECK_EQ(trapped.vector, 13);
	TRY("mov %0, %%es", : : "r"((uint16_t)0xf) : "r11", "memory");          /* no LDT */
	CHECK_EQ(trapped.vector, 13);
	__asm__ volatile("mov %0, %%es\n\tmov %1, %%ds" : : "r"((uint16_t)0x2b), "r"((uint16_t)0));

	CHECK_EQ(hypercall(set_segment_base, SEGBASE_FS, &magic, 0, 0), 0);
	__asm__ volatile("mov %%fs:0, %0" : "=r"(got));
	CHECK_EQ(got, magic);
	CHECK_EQ(hypercall(set_segment_base, SEGBASE_GS_KERNEL, &magic, 0, 0), 0);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
	CHECK_EQ(got, magic);
	CHECK_EQ(hypercall(set_segment_base, SEGBASE_FS, 1UL << 63, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(update_descriptor, (va_to_mfn(gdt) << 12) + 9 * 8, gdt[5], 0, 0), 0);
	__asm__ volatile("mov %0, %%ds\n\tmov %1, %%ds" : : "r"((uint16_t)0x4b), "r"((uint16_t)0));
}
