/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one-shot timer wakes a blocked vCPU and interrupts a busy one, not before its time and not long after; the
 * periodic timer keeps its rate; poll ends with its time-out.
 *
 * A host that stands still makes a timer late, so most of them have to be in time, and each has to come: one that came by another event
 * alone, or with the next, would be late each time.
 */
#include "micro_guest.h"

const char guest_name[] = "timer";

#define MS 1000000UL
#define ROUNDS 20
#define LATE (300 * MS)
#define LOST (60000 * MS)

static volatile unsigned ticks;

static uint32_t timer_port;

static void on_event(uint32_t port) { ticks += port == timer_port; }

static unsigned late;

/* It is `now`, and the timer was due; not before, and it did not get lost. */
static void in_time(uint64_t due, uint64_t now)
{
	CHECK(now >= due && now < due + LOST);
	late += now >= due + LATE;
}

static uint64_t arm(uint64_t in_ns)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + in_ns };

	ticks = 0;
	CHECK_EQ(vcpu_op(VCPUOP_set_singleshot_timer, 0, &t), 0);
	return t.timeout_abs_ns;
}

void guest_main(void)
{
	struct vcpu_set_periodic_timer p = { .period_ns = 5 * MS };
	struct vcpu_set_singleshot_timer past = { .timeout_abs_ns = 1, .flags = VCPU_SSHOTTMR_future };
	struct sched_poll poll = { .nr_ports = 1 };
	uint32_t quiet = bind_ipi(0);
	uint64_t due, now;

	timer_port = bind_virq(VIRQ_TIMER, 0);
	event_hook = on_event;
	events_on();
	for (unsigned i = 0; i < ROUNDS; i++) {
		events_off();                           /* else the timer may be taken between the look and the sleep */
		due = arm(5 * MS);
		while (!ticks) {
			sched_op(SCHEDOP_block, NULL);
			events_off();
		}
		events_on();
		in_time(due, system_time(0));

		due = arm(5 * MS);
		while (!ticks) {
			for (volatile unsigned n = 0; n < 1000; n++)
				;
			CHECK(system_time(0) < due + LOST);     /* the busy loop is interrupted */
		}
		in_time(due, system_time(0));
	}
	CHECK(late <= ROUNDS);                          /* of twice as many */
	ticks = 0;
	CHECK_EQ(vcpu_op(VCPUOP_set_periodic_timer, 0, &p), 0);
	due = system_time(0);
	while (ticks < 20)
		sched_op(SCHEDOP_block, NULL);          /* missed one: the next wakes it */
	now = system_time(0);
	CHECK(now >= due + 19 * 5 * MS && now < due + LOST);        /* a host that stands still has fewer, never more */
	CHECK_EQ(vcpu_op(VCPUOP_stop_periodic_timer, 0, NULL), 0);
	ticks = 0;
	events_off();
	poll.ports.p = &quiet;
	poll.timeout = due = system_time(0) + 10 * MS;
	CHECK_EQ(sched_op(SCHEDOP_poll, &poll), 0);
	now = system_time(0);
	CHECK(now + MS >= due && now < due + LOST);
	CHECK_EQ(ticks, 0);
	CHECK_EQ(vcpu_op(VCPUOP_set_singleshot_timer, 0, &past), -XEN_ETIME);
}
