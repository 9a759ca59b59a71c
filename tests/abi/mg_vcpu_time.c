/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clocks a guest reads without asking: vcpu_time_info and its registered copy agree, versions are even, system time
 * never steps back (saved and loaded in between as well), and the wall clock's boot time is one that has been and stays.
 */
#include "micro_guest.h"

const char guest_name[] = "vcpu_time";

static uint64_t wall(void)
{
	volatile struct shared_info *s = shared;
	uint32_t version;
	uint64_t sec;

	do {
		version = s->wc_version & ~1U;
		__asm__ volatile("" ::: "memory");
		sec = s->wc_sec | (uint64_t)s->wc_sec_hi << 32;
		__asm__ volatile("" ::: "memory");
	} while (version != s->wc_version);
	CHECK(s->wc_nsec < 1000000000);
	return sec;
}

void guest_main(void)
{
	volatile struct vcpu_time_info *copy = page_alloc(), *t = &vcpu_info(0)->time;
	struct vcpu_register_time_memory_area a = { .addr.p = (uint64_t)copy };
	uint64_t last = system_time(0), boot = wall(), end;

	CHECK(t->tsc_to_system_mul != 0);
	CHECK_EQ(t->version & 1, 0);
	if (t->flags & XEN_PVCLOCK_TSC_STABLE_BIT) {
		CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &a), 0);
		CHECK_EQ(copy->version & 1, 0);
		CHECK_EQ(copy->tsc_to_system_mul, t->tsc_to_system_mul);
		CHECK_EQ(copy->tsc_timestamp, t->tsc_timestamp);
		CHECK_EQ(copy->system_time, t->system_time);
	}
	CHECK(boot > 1600000000);                                /* 2020 */
	end = last + 300000000;
	while (last < end) {
		uint64_t now = system_time(0);

		CHECK(now >= last);
		last = now;
		hypercall(xen_version, 0, 0, 0, 0);
		if (t->flags & XEN_PVCLOCK_TSC_STABLE_BIT) {
			CHECK_EQ(copy->version & 1, 0);
			CHECK(copy->tsc_to_system_mul != 0);
		}
	}
	CHECK(wall() + 1 >= boot && wall() <= boot + 1);
	a.addr.p = 1UL << 61;
	CHECK((long)vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &a) < 0);
	a.addr.p = 0x10;
	CHECK((long)vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &a) < 0);
}
