/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runstate: the times of the four states add up to the time since the first, blocking shows as blocked, and a registered
 * area is written at once and at each change, with the update flag where it is asked for.
 */
#include "micro_guest.h"

const char guest_name[] = "runstate";

static struct vcpu_runstate_info get(unsigned cpu)
{
	struct vcpu_runstate_info r;

	CHECK_EQ(vcpu_op(VCPUOP_get_runstate_info, cpu, &r), 0);
	return r;
}

static uint64_t sum(const struct vcpu_runstate_info *r) { return r->time[0] + r->time[1] + r->time[2] + r->time[3]; }

static void sleep_ms(unsigned ms)
{
	uint64_t until = system_time(0) + ms * 1000000UL;

	while (system_time(0) < until) {
		struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = until };

		vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
		sched_op(SCHEDOP_block, NULL);
	}
}

void guest_main(void)
{
	volatile struct vcpu_runstate_info *area = page_alloc();
	struct vcpu_register_runstate_memory_area a = { .addr.p = (uint64_t)area };
	uint64_t before = system_time(0);         /* a host that takes the processor away meanwhile makes the span longer, no sum */
	struct vcpu_runstate_info r = get(0), s;

	CHECK_EQ(r.state, RUNSTATE_running);
	bind_virq(VIRQ_TIMER, 0);
	/* who stands still before it rests has nothing left to rest for */
	for (unsigned i = 0; i < 10 && (i == 0 || s.time[RUNSTATE_blocked] - r.time[RUNSTATE_blocked] <= 10000000); i++) {
		sleep_ms(30);
		s = get(0);
	}
	CHECK(s.time[RUNSTATE_blocked] - r.time[RUNSTATE_blocked] > 10000000);
	CHECK(sum(&s) - sum(&r) <= system_time(0) - before);
	CHECK(sum(&s) - sum(&r) >= 25000000);

	CHECK_EQ(vcpu_op(VCPUOP_register_runstate_memory_area, 0, &a), 0);
	CHECK_EQ(area->state, RUNSTATE_running);
	before = area->time[RUNSTATE_blocked];
	CHECK_EQ(hypercall(vm_assist, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag, 0, 0), 0);
	for (unsigned i = 0; i < 10 && area->time[RUNSTATE_blocked] <= before; i++)
		sleep_ms(10);
	CHECK(area->time[RUNSTATE_blocked] > before);
	CHECK_EQ(area->state_entry_time >> 63, 0);               /* not left in mid-update */

	a.addr.p = 1UL << 60;
	CHECK((long)vcpu_op(VCPUOP_register_runstate_memory_area, 0, &a) < 0);
	a.addr.p = 0xffff800000000000UL;
	CHECK((long)vcpu_op(VCPUOP_register_runstate_memory_area, 0, &a) < 0);
	a.addr.p = (uint64_t)area + 4096 - 20;                    /* across two pages, the second one gone */
	page_alloc();
	map_page((uint64_t)area + 4096, 0);
	vcpu_op(VCPUOP_register_runstate_memory_area, 0, &a);
	sleep_ms(5);
	CHECK_EQ(vcpu_op(VCPUOP_get_runstate_info, 40, &s), -XEN_ENOENT);
	CHECK_EQ(vcpu_op(VCPUOP_get_runstate_info, 0, (void *)0x10), -XEN_EFAULT);
}
