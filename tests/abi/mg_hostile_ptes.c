/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: page tables full of garbage: entries with random bits, frames that do not exist, hypervisor frames, tables
 * that contain themselves; read, written and executed through, pinned and unpinned, changed by hypercall.  Every access
 * faults or hits memory of the guest's own; the M2P stays as it was.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_ptes";

#define SLOT 300UL                      /* an L4 slot of our own */

static uint64_t *t[6];

static uint64_t garbage(void)
{
	switch (rnd() % 6) {
	case 0: return pte(va_to_mfn(t[rnd() % 6]), P_KERNEL | (rnd() & 0xfff));
	case 1: return pte(0x8000000 + rnd() % 100, P_KERNEL);
	case 2: return pte(rnd() % 0x9000000, rnd() & 0xfff);
	case 3: return rnd();
	case 4: return pte(va_to_mfn(t[rnd() % 6]), P_KERNEL);
	default: return pte(va_to_mfn(t[5]), P_RO | (rnd() & 1UL << 63));
	}
}

void guest_main(void)
{
	uint64_t l4_ma = va_to_mfn((void *)si->pt_base) << 12, before = m2p[5];
	unsigned faults = 0, hits = 0;

	for (unsigned i = 0; i < 6; i++)
		t[i] = page_alloc();
	CHECK_EQ(mmu_update(l4_ma + SLOT * 8, pte(va_to_mfn(t[0]), P_KERNEL)), 0);
	for (unsigned round = 0; round < 30000; round++) {
		/* writes below land in t[5] or t[*]; the chain t0 -> t1 -> t2 -> page is redone each time, mostly intact */
		uint64_t va = 0xffff000000000000UL | SLOT << 39 | (rnd() & 0x7fffffffffUL);

		for (unsigned l = 0; l < 3; l++) {
			uint64_t slot = va >> (30 - 9 * l) & 511;

			t[l][slot] = rnd() % 4 ? pte(va_to_mfn(t[l + 1]), P_KERNEL) : garbage();
		}
		if (round % 7 == 0)
			mmuext(MMUEXT_PIN_L1_TABLE + (int)(rnd() % 5), va_to_mfn(t[rnd() % 5]), 0);
		if (round % 5 == 0)
			mmu_update((va_to_mfn(t[rnd() % 5]) << 12) + rnd() % 4096, garbage());
		if (round % 11 == 0)
			hypercall(update_va_mapping, va, garbage(), rnd() % 4, 0);
		mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
		switch (rnd() % 3) {
		case 0:
			TRY("mov (%0), %%rax", : : "r"(va) : "rax", "r11", "memory");
			break;
		case 1:
			TRY("lock addq $1, (%0)", : : "r"(va & ~7UL) : "r11", "memory", "cc");
			break;
		default:
			TRY("rep movsb", : : "S"(va), "D"(t[5]), "c"(8UL) : "r11", "memory");
			break;
		}
		if (trapped.vector == -1)
			hits++;
		else if (trapped.vector == 14 || trapped.vector == 13)
			faults++;
		else
			fail("trap %d at rip %lx", trapped.vector, trapped.rip);
	}
	CHECK(faults > 1000);
	CHECK(hits > 100);
	CHECK_EQ(m2p[5], before);
	mmu_update(l4_ma + SLOT * 8, 0);
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
}
