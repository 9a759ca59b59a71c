/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile, two vCPUs: page-table pages mapped writable and scribbled over while in use by the other vCPU for walks, for
 * hypercall arguments, for code and for the frames of exceptions.  What it reads is its own or a fault.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_tables";

#define SLOT 305UL

static uint64_t *l3, *l2, *l1, *page;
static volatile bool stop, stopped;

static void second(void)
{
	uint64_t x = 88172645463325252UL;

	vcpu_info(1)->evtchn_upcall_mask = 1;
	while (!stop) {
		uint64_t *t;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		t = x % 3 == 0 ? l1 : x % 3 == 1 ? l2 : l3;
		t[x >> 8 & 15] = x & 0x100000 ? x : pte(va_to_mfn(t == l1 ? page : t == l2 ? l1 : l2), P_KERNEL);
	}
	for (unsigned i = 0; i < 16; i++) {
		l3[i] = pte(va_to_mfn(l2), P_KERNEL);
		l2[i] = pte(va_to_mfn(l1), P_KERNEL);
		l1[i] = pte(va_to_mfn(page), P_KERNEL);
	}
	stopped = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

void guest_main(void)
{
	uint64_t l4_ma = va_to_mfn((void *)si->pt_base) << 12, base = 0xffff000000000000UL | SLOT << 39, end;
	unsigned ok = 0;

	l3 = page_alloc();
	l2 = page_alloc();
	l1 = page_alloc();
	page = page_alloc();
	memset(page, 0xc3, 4096);                               /* ret */
	for (unsigned i = 0; i < 16; i++) {
		l3[i] = pte(va_to_mfn(l2), P_KERNEL);
		l2[i] = pte(va_to_mfn(l1), P_KERNEL);
		l1[i] = pte(va_to_mfn(page), P_KERNEL);
	}
	CHECK_EQ(mmu_update(l4_ma + SLOT * 8, pte(va_to_mfn(l3), P_KERNEL)), 0);
	vcpu_start(1, second);
	for (unsigned round = 0; round < 6000; round++) {
		uint64_t va = base | (rnd() & 15) << 30 | (rnd() & 15) << 21 | (rnd() & 15) << 12, x = 0xc3c3c3c3c3c3c3c3UL;

		TRY("mov (%1), %0", : "+a"(x) : "r"(va + (rnd() & 0xff8)) : "r11", "memory");
		CHECK(trapped.vector == -1 || trapped.vector == 14);
		ok += trapped.vector == -1;
		hypercall(xen_version, 1, va + 8, 0, 0);
		hypercall(grant_table_op, 5, va + 16, 2, 0);
		hypercall(mmu_update, va, 2, 0, DOMID_SELF);
		if (round % 16 == 0)
			mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0);
	}
	CHECK(ok > 100);
	stop = true;
	end = system_time(0) + 20000000000UL;
	while (!stopped)
		CHECK(system_time(0) < end);
	mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0);
	memset(page, 0xc3, 4096);
	((void (*)(void))(uintptr_t)base)();                    /* code through tables that were garbage a moment ago */
	mmu_update(l4_ma + SLOT * 8, 0);
}
