/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: every frame number that is not RAM, mapped in every way: beyond RAM, the special frames, the M2P, the tables
 * the hypervisor keeps, all address bits set, with every flag.  Mappings are refused or fault; the M2P and the tables never
 * become writable; reserved bits are page faults.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_frames";

#define SLOT 303UL

static uint64_t *l1, l1_va;

static int probe(uint64_t entry, bool write)
{
	uint64_t va = l1_va;

	l1[7] = entry;
	mmuext(MMUEXT_INVLPG_LOCAL, va, 0);
	if (write)
		TRY("lock orq $0, (%0)", : : "r"(va) : "r11", "memory", "cc");
	else
		TRY("mov (%0), %%rax", : : "r"(va) : "rax", "r11", "memory");
	return trapped.vector;
}

void guest_main(void)
{
	uint64_t l4_ma = va_to_mfn((void *)si->pt_base) << 12, before[8];
	uint64_t *l3 = page_alloc(), *l2 = page_alloc();

	l1 = page_alloc();
	l1_va = 0xffff000000000000UL | SLOT << 39 | 7UL << 12;
	l3[0] = pte(va_to_mfn(l2), P_KERNEL);
	l2[0] = pte(va_to_mfn(l1), P_KERNEL);
	CHECK_EQ(mmu_update(l4_ma + SLOT * 8, pte(va_to_mfn(l3), P_KERNEL)), 0);
	for (unsigned i = 0; i < 8; i++)
		before[i] = m2p[i];
	for (uint64_t off = 0; off < 400; off++) {
		int r = probe(pte(0x8000000 + off, P_RO), false), w;

		CHECK(r == -1 || r == 14);
		w = probe(pte(0x8000000 + off, P_KERNEL), true);
		CHECK(w == -1 || w == 14);
		if (off >= 65)                          /* shared info and the grant table may be written, nothing else */
			CHECK_EQ(w, 14);
		CHECK((long)hypercall(update_va_mapping, l1_va, pte(0x7ffff00 + off % 256, P_KERNEL), 0, 0) < 0);
	}
	for (unsigned bit = 24; bit < 40; bit++) {
		CHECK_EQ(probe(pte(1UL << bit, P_KERNEL), false), bit == 27 ? -1 : 14);
		CHECK_EQ(probe(pte((1UL << bit) - 1, P_KERNEL), true), 14);
	}
	for (unsigned i = 0; i < 20000; i++) {
		int v = probe(rnd() & ~(rnd() % 2 ? 0x80UL : 0), rnd() & 1);

		CHECK(v == -1 || v == 14);
	}
	l2[0] = pte(0, P_KERNEL) | 0x80;                /* 2 MiB from frame 0 on, reserved bits in it */
	for (unsigned i = 0; i < 300; i++) {
		l2[0] = (rnd() & 0xffffffffff000UL) | 0xe7;
		mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
		TRY("mov (%0), %%rax", : : "r"(l1_va) : "rax", "r11", "memory");
		CHECK(trapped.vector == -1 || trapped.vector == 14);
	}
	mmu_update(l4_ma + SLOT * 8, 0);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(m2p[i], before[i]);
	for (unsigned i = 0; i < 512; i++)
		TRY("movq $1, (%0)", : : "r"((uint8_t *)m2p + i * 4096) : "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
}
