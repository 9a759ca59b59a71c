/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page tables: the three ways to change a PTE (mmu_update, update_va_mapping, a store to a pinned read-only table), that
 * what changed is what the CPU sees after the flush, A and D bits, PRESERVE_AD, and permissions.
 */
#include "micro_guest.h"

const char guest_name[] = "mmu";

void guest_main(void)
{
	volatile uint64_t *a = page_alloc(), *b = page_alloc(), *window = page_alloc();
	uint64_t *slot = pte_of((uint64_t)window), slot_ma = va_to_mfn(slot) << 12 | ((uint64_t)slot & 4095);
	uint64_t ma = va_to_mfn(a), mb = va_to_mfn(b), old;

	*a = 0xaaaa;
	*b = 0xbbbb;
	map_page((uint64_t)window, pte(ma, P_KERNEL));
	CHECK_EQ(*window, 0xaaaa);
	CHECK_EQ(mmu_update(slot_ma, pte(mb, P_KERNEL)), 0);
	CHECK_EQ(mmuext(MMUEXT_INVLPG_LOCAL, (uint64_t)window, 0), 0);
	CHECK_EQ(*window, 0xbbbb);

	/* A and D appear, and PRESERVE_AD keeps them */
	map_page((uint64_t)window, pte(ma, P_PRESENT | P_RW | P_USER));
	CHECK_EQ(*window, 0xaaaa);
	CHECK_EQ(*slot & (P_A | P_D), P_A);
	*window = 0xaaab;
	CHECK_EQ(*slot & (P_A | P_D), P_A | P_D);
	CHECK_EQ(mmu_update(slot_ma | MMU_PT_UPDATE_PRESERVE_AD, pte(ma, P_PRESENT | P_USER)), 0);
	CHECK_EQ(*slot & (P_A | P_D | P_RW), P_A | P_D);

	/* read-only is read-only, not present is a fault */
	CHECK_EQ(mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0), 0);
	TRY("movq $1, (%0)", : : "r"(window) : "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.error, 3);
	CHECK_EQ(*window, 0xaaab);
	map_page((uint64_t)window, 0);
	TRY("mov (%0), %%rax", : : "r"(window) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.error, 0);

	/* stores to the pinned table itself: mov, xchg, lock btr as Linux uses them */
	*(volatile uint64_t *)slot = pte(mb, P_KERNEL);
	CHECK_EQ(*window, 0xbbbb);
	old = 0;
	__asm__ volatile("xchg %0, %1" : "+r"(old), "+m"(*slot) : : "memory");
	CHECK_EQ(old, pte(mb, P_KERNEL));
	mmuext(MMUEXT_INVLPG_LOCAL, (uint64_t)window, 0);
	TRY("mov (%0), %%rax", : : "r"(window) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	*(volatile uint64_t *)slot = pte(ma, P_KERNEL);
	__asm__ volatile("lock btrq $1, %0" : "+m"(*slot) : : "memory");        /* clear RW */
	mmuext(MMUEXT_INVLPG_LOCAL, (uint64_t)window, 0);
	TRY("movq $1, (%0)", : : "r"(window) : "r11", "memory");
	CHECK_EQ(trapped.error, 3);

	/* an entry must not name what does not exist; the old one stays */
	CHECK_EQ(mmu_update(slot_ma, pte(0x7ffffff, P_KERNEL)), -XEN_EINVAL);
	CHECK_EQ(*window, 0xaaab);

	/* pages cleared and copied by the hypervisor */
	CHECK_EQ(mmuext(MMUEXT_COPY_PAGE, mb, ma), 0);
	CHECK_EQ(*b, 0xaaab);
	CHECK_EQ(mmuext(MMUEXT_CLEAR_PAGE, mb, 0), 0);
	CHECK_EQ(*b, 0);
}
