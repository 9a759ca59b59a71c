/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile, with two vCPUs: one rewrites page tables, hypercall arguments and code while the other walks, copies and runs
 * them.  Arguments may change between the hypervisor's look and its use; it must have looked once.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_race";

#define SLOT 301UL

static uint64_t *t[5], *args;
static volatile bool stop, stopped;
static volatile uint8_t *code;

static void second(void)
{
	uint64_t x = 88172645463325252UL;

	vcpu_info(1)->evtchn_upcall_mask = 1;
	while (!stop) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		t[x % 3][x >> 8 & 511] = x & 0x10000 ? pte(va_to_mfn(t[(x % 3) + 1]), P_KERNEL) : x;
		args[x >> 20 & 511] = x & 0x20000 ? x : (uint64_t)args;
		args[0] = x;
		code[1] = (uint8_t)x;
	}
	stopped = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

void guest_main(void)
{
	uint64_t l4_ma = va_to_mfn((void *)si->pt_base) << 12, deadline;

	if (vcpu_op(VCPUOP_is_up, 1, NULL) == -XEN_ENOENT)
		fail("needs two vCPUs");
	for (unsigned i = 0; i < 5; i++)
		t[i] = page_alloc();
	args = page_alloc();
	code = page_alloc();
	code[0] = 0xb8;                         /* mov $..., %eax; ret */
	code[5] = 0xc3;
	for (unsigned l = 0; l < 3; l++)
		for (unsigned i = 0; i < 512; i++)
			t[l][i] = pte(va_to_mfn(t[l + 1]), P_KERNEL);
	CHECK_EQ(mmu_update(l4_ma + SLOT * 8, pte(va_to_mfn(t[0]), P_KERNEL)), 0);
	vcpu_start(1, second);
	for (unsigned round = 0; round < 4000; round++) {
		uint64_t va = 0xffff000000000000UL | SLOT << 39 | (rnd() & 0x7ffffffff8UL);

		TRY("mov (%0), %%rax", : : "r"(va) : "rax", "r11", "memory");
		TRY("lock incq (%0)", : : "r"(va) : "r11", "memory", "cc");
		hypercall(xen_version, 6, args + rnd() % 500, 0, 0);
		hypercall(grant_table_op, 5, args, 3, 0);
		evtchn_op((int)(rnd() % 14), args + rnd() % 500);
		hypercall(xen_version, 1, va, 0, 0);
		((void (*)(void))(uintptr_t)code)();
		if (round % 16 == 0)
			mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0);
	}
	stop = true;
	deadline = system_time(0) + 20000000000UL;
	while (!stopped)
		CHECK(system_time(0) < deadline);
	mmu_update(l4_ma + SLOT * 8, 0);
}
