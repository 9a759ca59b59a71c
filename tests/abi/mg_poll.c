/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCHEDOP_poll: returns at once for a port that is pending, after its time-out otherwise, wakes for a masked port, and
 * refuses ports that are none and lists that are too long.
 */
#include "micro_guest.h"

const char guest_name[] = "poll";

static long poll(uint32_t *ports, unsigned n, uint64_t timeout)
{
	struct sched_poll p = { .nr_ports = n, .timeout = timeout };

	p.ports.p = ports;
	return sched_op(SCHEDOP_poll, &p);
}

void guest_main(void)
{
	uint32_t port[3] = { bind_ipi(0), bind_ipi(0), bind_virq(VIRQ_TIMER, 0) }, bad[2] = { port[0], 4000 };
	struct vcpu_set_singleshot_timer t;
	uint64_t begun = system_time(0);

	for (unsigned i = 0; i < 3; i++)
		__atomic_fetch_or(&shared->evtchn_mask[port[i] / 64], 1UL << port[i] % 64, __ATOMIC_SEQ_CST);
	CHECK_EQ(poll(port, 1, begun + 20000000), 0);
	CHECK(system_time(0) >= begun + 20000000);
	CHECK_EQ(poll(port, 3, system_time(0) + 5000000), 0);
	event_send(port[1]);
	begun = system_time(0);
	CHECK_EQ(poll(port, 2, begun + 30000000000UL), 0);
	CHECK(system_time(0) < begun + 10000000000UL);
	t = (struct vcpu_set_singleshot_timer){ .timeout_abs_ns = system_time(0) + 5000000 };
	CHECK_EQ(vcpu_op(VCPUOP_set_singleshot_timer, 0, &t), 0);
	begun = system_time(0);
	CHECK_EQ(poll(port + 2, 1, 0), 0);                        /* no time-out: the timer's port ends it */
	CHECK(system_time(0) < begun + 10000000000UL);
	CHECK_EQ(poll(port, 1, 1), 0);                            /* long past */
	CHECK_EQ(poll(bad, 2, system_time(0) + 1000), -XEN_EINVAL);
	CHECK_EQ(poll(port, 129, system_time(0) + 1000), -XEN_EINVAL);
	CHECK_EQ(poll((uint32_t *)0x10, 1, 1), -XEN_EFAULT);
	CHECK_EQ(poll(NULL, 0, system_time(0) + 1000000), 0);
	CHECK_EQ(sched_op(99, NULL), -XEN_ENOSYS);
	CHECK((long)sched_op(SCHEDOP_remote_shutdown, port) < 0);
}
