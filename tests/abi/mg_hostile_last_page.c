/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: code and data at the ends of everything: the last bytes of RAM, an instruction whose second page is missing, not
 * executable or the hypervisor's, the end of the lower canonical half, the top of the address space, a jump that wraps.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_last_page";

#define SLOT 306UL

static uint64_t *l1;

static void call(uint64_t to, int vector)
{
	TRY_STACK("call *%0", : : "r"(to) : "rax", "rbx", "r11", "memory");
	if (trapped.vector != vector)
		fail("call of %lx: trap %d (cr2 %lx), not %d", to, trapped.vector, trapped.cr2, vector);
}

void guest_main(void)
{
	uint64_t l4_ma = va_to_mfn((void *)si->pt_base) << 12, base = 0xffff000000000000UL | SLOT << 39, ram = si->nr_pages;
	uint64_t *l3 = page_alloc(), *l2 = page_alloc(), last = ((uint64_t *)si->mfn_list)[ram - 1];
	uint8_t *page = page_alloc(), *at;

	l1 = page_alloc();
	l3[0] = pte(va_to_mfn(l2), P_KERNEL);
	l2[0] = pte(va_to_mfn(l1), P_KERNEL);
	CHECK_EQ(mmu_update(l4_ma + SLOT * 8, pte(va_to_mfn(l3), P_KERNEL)), 0);
	l1[0] = pte(last, P_KERNEL);
	at = (uint8_t *)base;
	at[4095] = 0xc3;                                        /* ret as the last byte of RAM */
	call(base + 4095, -1);
	at[4093] = 0x90;
	at[4094] = 0x90;
	call(base + 4093, -1);
	at[4095] = 0x90;                                        /* runs on into nothing */
	call(base + 4093, 14);
	CHECK_EQ(trapped.cr2, base + 4096);
	at[4091] = 0x48;                                        /* mov $imm64: ten bytes, five of them there */
	at[4092] = 0xb8;
	for (unsigned i = 4093; i < 4096; i++)
		at[i] = 0x11;
	call(base + 4091, 14);
	CHECK_EQ(trapped.cr2, base + 4096);
	CHECK_EQ(trapped.rip, base + 4091);
	memset(page, 0x22, 5);
	page[5] = 0xc3;
	l1[1] = pte(va_to_mfn(page), P_KERNEL) | 1UL << 63;     /* there, not executable */
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	call(base + 4091, 14);
	CHECK_EQ(trapped.error & 0x10, 0x10);
	CHECK_EQ(trapped.cr2, base + 4096);
	l1[1] = pte(va_to_mfn(page), P_KERNEL);
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	call(base + 4091, -1);
	l1[1] = pte(0x8000000 + 80, P_RO);                      /* the M2P */
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	TRY_STACK("call *%0", : : "r"(base + 4091) : "rax", "rbx", "r11", "memory");
	l1[1] = pte(ram + 5, P_KERNEL);                         /* beyond RAM */
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	call(base + 4091, 14);

	call(0x7fffffffffffUL, 14);                             /* the last byte of the lower half */
	call(0x800000000000UL, 13);
	call(0xffff7fffffffffffUL, 13);
	call(0xffff800000000000UL, 14);                         /* the M2P again: read-only data, NX or not ours */
	call(~0UL, 14);
	call(~14UL, 14);
	TRY("mov (%0), %%rax", : : "r"(~3UL) : "rax", "r11", "memory");
	CHECK(trapped.vector == 14 || trapped.vector == 13);
	TRY("mov %%rax, (%0)", : : "r"(0x7ffffffffffcUL) : "rax", "r11", "memory");
	CHECK(trapped.vector == 14 || trapped.vector == 13);
	TRY("mov 0x7fffffff(%0), %%rax", : : "r"(0x7fffffffffffUL) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 13);
	TRY("movdqu (%0), %%xmm0", : : "r"(0x7ffffffffff8UL) : "r11", "memory");
	CHECK(trapped.vector == 14 || trapped.vector == 13);
	mmu_update(l4_ma + SLOT * 8, 0);
}
