/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System time never goes back, across hypercalls, sleeps and event upcalls; runstate times add up to it; the wall clock
 * is a plausible date.
 */
#include "micro_guest.h"

const char guest_name[] = "clock";

static struct vcpu_runstate_info runstate;

static void on_event(uint32_t port) { }

void guest_main(void)
{
	struct vcpu_register_runstate_memory_area area = { .addr.v = &runstate };
	uint64_t last = 0, begun, sum = 0;

	bind_virq(VIRQ_TIMER, 0);
	event_hook = on_event;
	events_on();
	CHECK_EQ(vcpu_op(VCPUOP_register_runstate_memory_area, 0, &area), 0);
	CHECK_EQ(runstate.state, RUNSTATE_running);
	begun = system_time(0);
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t t = system_time(0);

		CHECK(t >= last);
		last = t;
		if (i % 1000 == 0) {
			struct vcpu_set_singleshot_timer s = { .timeout_abs_ns = t + 100000 };

			events_off();                   /* block unmasks; the timer must not be taken before it */
			CHECK_EQ(vcpu_op(VCPUOP_set_singleshot_timer, 0, &s), 0);
			if (i % 2000 == 0)
				sched_op(SCHEDOP_block, NULL);
			events_on();
		}
	}
	CHECK(last > begun);
	CHECK_EQ(runstate.state, RUNSTATE_running);
	CHECK(runstate.time[RUNSTATE_blocked] > 0);
	for (unsigned i = 0; i < 4; i++)
		sum += runstate.time[i];
	CHECK(sum <= runstate.state_entry_time);
	CHECK(runstate.state_entry_time <= system_time(0));
	CHECK(shared->wc_sec > 1600000000);
	CHECK_EQ(shared->wc_version & 1, 0);
}
