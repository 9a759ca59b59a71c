/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile, two vCPUs: both pin, unpin, link and unlink the same frames as tables of all levels, give base pointers that the
 * other is taking apart, and write the entries by hypercall and by hand.  Types may end up any way; walks stay inside.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_pins";

#define SLOT 304UL

static uint64_t *t[6];
static volatile bool stop, stopped;

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void disturb(uint64_t *seed)
{
	uint64_t x = next(seed), frame = va_to_mfn(t[x % 6]), other = va_to_mfn(t[x >> 8 & 3]);
	struct mmuext_op op[4];

	for (unsigned i = 0; i < 4; i++) {
		op[i].cmd = (unsigned)(next(seed) % 5);                  /* PIN_L1..L4, UNPIN */
		op[i].arg1.mfn = va_to_mfn(t[next(seed) % 6]);
	}
	hypercall(mmuext_op, op, 4, 0, DOMID_SELF);
	mmu_update((frame << 12) + (next(seed) & 0xff8) + (x >> 20) % 3 % 2 * 2, pte(other, next(seed) & 0xfff));
	if (x % 7 == 0) {
		mmuext(MMUEXT_NEW_USER_BASEPTR, frame, 0);
		mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
	}
	if (x % 31 == 0)
		mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0);
}

static void second(void)
{
	uint64_t seed = 88172645463325252UL;

	vcpu_info(1)->evtchn_upcall_mask = 1;
	while (!stop)
		disturb(&seed);
	stopped = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

void guest_main(void)
{
	uint64_t l4_ma = va_to_mfn((void *)si->pt_base) << 12, seed = 1234567, end, before = m2p[5];

	for (unsigned i = 0; i < 6; i++)
		t[i] = page_alloc();
	vcpu_start(1, second);
	for (unsigned round = 0; round < 3000; round++) {
		uint64_t va = 0xffff000000000000UL | SLOT << 39 | (next(&seed) & 0x7ffffffff8UL);

		if (round % 8 == 0)
			mmu_update(l4_ma + SLOT * 8, pte(va_to_mfn(t[round % 6]), P_KERNEL));
		disturb(&seed);
		TRY("mov (%0), %%rax", : : "r"(va) : "rax", "r11", "memory");
		CHECK(trapped.vector == -1 || trapped.vector == 14);
		TRY("lock addq $8, (%0)", : : "r"(va) : "r11", "memory", "cc");
		CHECK(trapped.vector == -1 || trapped.vector == 14);
	}
	stop = true;
	end = system_time(0) + 20000000000UL;
	while (!stopped)
		CHECK(system_time(0) < end);
	mmu_update(l4_ma + SLOT * 8, 0);
	CHECK_EQ(m2p[5], before);
}
