/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that hears nothing: no event reaches it, it reads no store, it counts in its memory for ever.  Whoever waits for it to
 * agree to something waits for ever, too.  With "crash" on its command line it crashes instead.  tests/hypervisor/test-hand-over moves
 * it; it has no verdict of its own.
 */
#include "micro_guest.h"

const char guest_name[] = "deaf";

static struct { char magic[24]; volatile uint64_t count; } counter __attribute__((aligned(4096))) = { "haven: deaf guest counts", 0 };

void guest_main(void)
{
	struct sched_shutdown crash = { .reason = SHUTDOWN_crash };

	events_off();
	counter.count = 1;
	if (si->cmd_line[0] == 'c')
		sched_op(SCHEDOP_shutdown, &crash);
	for (;;)
		counter.count++;
}
