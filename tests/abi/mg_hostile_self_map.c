/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: page tables that contain themselves.  An L4 slot that names the L4, one that names it as L3 and L2, chains that
 * loop through other levels: walks end after four steps, what is seen through them is page-table contents and nothing of
 * the host's, and stores through them that the frame's type forbids do not happen behind the hypervisor's back.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_self_map";

#define SLOT 302UL

static uint64_t va_of(uint64_t l4, uint64_t l3, uint64_t l2, uint64_t l1, uint64_t off)
{
	return 0xffff000000000000UL | l4 << 39 | l3 << 30 | l2 << 21 | l1 << 12 | off;
}

void guest_main(void)
{
	uint64_t *l4 = (uint64_t *)si->pt_base, l4_mfn = va_to_mfn(l4), got, before = m2p[7];
	uint64_t *t = page_alloc(), *u = page_alloc();

	CHECK_EQ(mmu_update((l4_mfn << 12) + SLOT * 8, pte(l4_mfn, P_KERNEL)), 0);
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	got = *(volatile uint64_t *)va_of(SLOT, SLOT, SLOT, SLOT, SLOT * 8);     /* the L4 itself, four times over */
	CHECK_EQ(got & 0xffffffffff000UL, l4_mfn << 12);
	got = *(volatile uint64_t *)va_of(SLOT, SLOT, SLOT, 511, 0);             /* an L3 */
	for (unsigned i = 0; i < 512; i++) {
		uint64_t entry;

		TRY("mov (%0), %%rax", : : "r"(va_of(SLOT, SLOT, SLOT, i, 8 * (i & 511))) : "rax", "r11", "memory");
		CHECK(trapped.vector == -1 || trapped.vector == 14);
		entry = l4[i];
		if (i >= 256 && i <= 271)
			CHECK(trapped.vector == 14 || entry);            /* the hypervisor's slots */
	}
	/* through it the L4 looks writable */
	TRY("lock orq $0, (%0)", : : "r"(va_of(SLOT, SLOT, SLOT, SLOT, 400 * 8)) : "r11", "memory", "cc");
	CHECK(trapped.vector == -1 || trapped.vector == 14);
	/* loops of other lengths */
	for (unsigned i = 0; i < 512; i++) {
		t[i] = pte(va_to_mfn(u), P_KERNEL);
		u[i] = pte(va_to_mfn(t), P_KERNEL);
	}
	CHECK_EQ(mmu_update((l4_mfn << 12) + SLOT * 8, pte(va_to_mfn(t), P_KERNEL)), 0);
	for (unsigned level = 1; level <= 4; level++) {
		mmuext(MMUEXT_PIN_L1_TABLE + (int)level - 1, va_to_mfn(t), 0);
		mmuext(MMUEXT_UNPIN_TABLE, va_to_mfn(t), 0);
	}
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t va = va_of(SLOT, rnd() & 511, rnd() & 511, rnd() & 511, rnd() & 0xff8);

		TRY("mov (%0), %%rax\n\tlock xaddq %%rbx, (%0)", : : "r"(va), "b"(0UL) : "rax", "r11", "memory", "cc");
		CHECK(trapped.vector == -1 || trapped.vector == 14 || trapped.vector == 13);
		hypercall(update_va_mapping, va, pte(rnd() % 4096, P_RO), UVMF_INVLPG, 0);
		hypercall(xen_version, 6, va, 0, 0);
	}
	mmuext(MMUEXT_NEW_USER_BASEPTR, va_to_mfn(t), 0);
	mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
	mmu_update((l4_mfn << 12) + SLOT * 8, 0);
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	CHECK_EQ(m2p[7], before);
}
