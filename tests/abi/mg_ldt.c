/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A local descriptor table: SET_LDT checks its arguments, selectors with TI set load from it with their bases, lar and
 * lsl see it from user mode too (where the table is not mapped), and taking it away makes them fault.
 */
#include "micro_guest.h"

const char guest_name[] = "ldt";

static const uint64_t low = 0x10000000;

static const uint8_t lar_code[] = {
	0x31, 0xc0,                             /* xor %eax, %eax */
	0x66, 0xbb, 0x0f, 0x00,                 /* mov $0xf, %bx */
	0x0f, 0x02, 0xc3,                       /* lar %bx, %eax */
	0x0f, 0x03, 0xcb,                       /* lsl %bx, %ecx */
	0xcc,
};

void guest_main(void)
{
	uint64_t *ldt = page_alloc();
	uint16_t sel = 0;
	uint64_t limit = 0, rights = 0;

	ldt[1] = 0x00cff3000000ffffUL | (low & 0xffffff) << 16 | (low >> 24) << 56;
	ldt[2] = 0x00cf73000000ffffUL;                          /* not present */
	ldt[3] = 0x0000890000000067UL;                          /* a TSS */
	make_readonly(ldt);
	CHECK_EQ(mmuext(MMUEXT_SET_LDT, (uint64_t)ldt + 8, 4), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_SET_LDT, (uint64_t)ldt, 8193), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_SET_LDT, 1UL << 60, 4), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_SET_LDT, 0xffff800000000000UL, 4), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_SET_LDT, (uint64_t)ldt, 4), 0);
	__asm__ volatile("mov %0, %%fs\n\tmov %%fs, %0" : "+r"(sel));
	sel = 0xf;
	__asm__ volatile("mov %1, %%fs\n\tmov %%fs, %0" : "=r"(sel) : "r"(sel));
	CHECK_EQ(sel, 0xf);
	TRY("mov %%fs:16, %%rax", : : : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.cr2, low + 16);
	TRY("mov %0, %%ds", : : "r"((uint16_t)0x17) : "r11", "memory");
	CHECK_EQ(trapped.vector, 11);
	CHECK_EQ(trapped.error, 0x14);
	TRY("mov %0, %%ds", : : "r"((uint16_t)0x1f) : "r11", "memory");         /* a system descriptor */
	CHECK_EQ(trapped.vector, 13);
	CHECK_EQ(trapped.error, 0x1c);
	TRY("mov %0, %%ds", : : "r"((uint16_t)0x27) : "r11", "memory");         /* past the end */
	CHECK_EQ(trapped.vector, 13);
	__asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0xfUL) : "cc");
	CHECK_EQ(limit, 0xffffffff);
	__asm__ volatile("lar %1, %0" : "=r"(rights) : "r"(0xfUL) : "cc");
	CHECK_EQ(rights, 0xc0f300);

	user_tables(false);
	run_user(lar_code, sizeof(lar_code));
	CHECK_EQ(back.vector, 3);
	CHECK_EQ(back.rax, 0xc0f300);
	CHECK_EQ(back.rcx, 0xffffffff);

	CHECK_EQ(mmuext(MMUEXT_SET_LDT, 0, 0), 0);
	TRY("mov %0, %%ds", : : "r"((uint16_t)0xf) : "r11", "memory");
	CHECK_EQ(trapped.vector, 13);
	run_user(lar_code, sizeof(lar_code));
	CHECK_EQ(back.rax, 0);
}
