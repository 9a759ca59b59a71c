/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that hears nothing: no event reaches it, it reads no store, it counts in its memory for ever, and notes its clocks there.  Whoever waits for it to
 * agree to something waits for ever, too.  With "crash" on its command line it crashes instead, with
 * "doze" it is mostly idle.  tests/hypervisor/test-hand-over moves
 * it; it has no verdict of its own.
 */
#include "micro_guest.h"

const char guest_name[] = "deaf";

static struct {
	char magic[24];
	volatile uint64_t count, tsc, ns, stepped_back;
} counter __attribute__((aligned(4096))) = { "haven: deaf guest counts", 0, 0, 0, 0 };

static void look_at_clocks(void)
{
	uint64_t tsc = rdtsc(), ns = system_time(0);

	if (tsc < counter.tsc || ns < counter.ns)
		counter.stepped_back++;
	counter.tsc = tsc;
	counter.ns = ns;
}

/* It hears that it may wake up, and no more. */
static void doze(void)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + 5000000 };

	vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
	sched_op(SCHEDOP_block, NULL);
	events_off();
	shared->evtchn_pending[0] = 0;
	vcpu_info(0)->evtchn_pending_sel = 0;
	vcpu_info(0)->evtchn_upcall_pending = 0;
}

static void on_event(uint32_t port) { }

void guest_main(void)
{
	bool dozes = si->cmd_line[0] == 'd';
	struct sched_shutdown crash = { .reason = SHUTDOWN_crash };

	events_off();
	counter.count = 1;
	if (si->cmd_line[0] == 'c')
		sched_op(SCHEDOP_shutdown, &crash);
	event_hook = on_event;
	if (dozes)
		bind_virq(VIRQ_TIMER, 0);
	for (;;) {
		if (dozes)
			doze();
		counter.count++;
		look_at_clocks();
	}
}
