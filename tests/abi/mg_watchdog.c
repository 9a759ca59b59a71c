/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCHEDOP_watchdog: two there are; they are set, fed, ended; an id that is none is refused.  One that is fed does not end the domain,
 * one that is not does, with reason SHUTDOWN_watchdog, however busy the guest is: a guest that still runs then crashes itself.
 */
#include "micro_guest.h"

const char guest_name[] = "watchdog";

#define SECOND 1000000000UL

static long watchdog(uint32_t id, uint32_t timeout)
{
	struct sched_watchdog w = { .id = id, .timeout = timeout };

	return sched_op(SCHEDOP_watchdog, &w);
}

static void spin_until(uint64_t at)
{
	while (system_time(0) < at)
		;
}

void guest_main(void)
{
	struct sched_shutdown crash = { .reason = SHUTDOWN_crash };
	uint64_t now;

	CHECK_EQ(watchdog(1, 5), -XEN_EINVAL);                  /* none is set */
	CHECK_EQ(watchdog(3, 5), -XEN_EINVAL);
	CHECK_EQ(watchdog(0xffffffff, 5), -XEN_EINVAL);
	CHECK_EQ(watchdog(0, 4), 1);
	CHECK_EQ(watchdog(0, 1000), 2);
	CHECK_EQ(watchdog(0, 1000), -XEN_ENOSPC);
	CHECK_EQ(sched_op(SCHEDOP_watchdog, (void *)8), -XEN_EFAULT);
	CHECK_EQ(watchdog(1, 4), 0);
	for (unsigned i = 0; i < 18; i++) {                     /* fed, so often that a host may stand still for three seconds */
		spin_until(system_time(0) + SECOND / 4);
		CHECK_EQ(watchdog(1, 4), 0);
	}
	CHECK_EQ(watchdog(1, 0), 0);                            /* ended */
	CHECK_EQ(watchdog(1, 1), -XEN_EINVAL);
	spin_until(system_time(0) + 4 * SECOND + SECOND / 2);   /* and ended for good */
	CHECK_EQ(watchdog(2, 1), 0);
	put("the watchdog barks in a second\n");
	put("PASS watchdog\n");
	events_off();
	now = system_time(0);
	spin_until(now + 100 * SECOND);
	put("it did not\n");
	sched_op(SCHEDOP_shutdown, &crash);
}
