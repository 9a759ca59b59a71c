/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: a console that never stops, by the ring and by hypercall in turn, with control octets, lines without an end and no wait for
 * anyone.  It ends after six megabytes: whoever logs them keeps a bounded part, and others' consoles go on meanwhile.
 */
#include "micro_guest.h"
#include <xen/io/console.h>

const char guest_name[] = "hostile_console";

#define BYTES (6UL << 20)

static void on_event(uint32_t port) { }

static void sleep_until(uint64_t at)
{
	struct vcpu_set_singleshot_timer s = { .timeout_abs_ns = at };

	vcpu_op(VCPUOP_set_singleshot_timer, 0, &s);
	while (system_time(0) < at)
		sched_op(SCHEDOP_block, NULL);
}

/*
 * What does not fit into the back end's buffer is dropped: the verdict waits until there is room. The thread that empties it takes the ring
 * besides: what comes by the ring after all that, twice, since it may take either first, tells that it has been there.
 */
static void breathe(struct xencons_interface *ring)
{
	uint64_t end;

	event_hook = on_event;
	bind_virq(VIRQ_TIMER, 0);
	sleep_until(system_time(0) + 300000000);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t cons = ring->out_cons, prod = ring->out_prod - cons > sizeof(ring->out) ? cons : ring->out_prod;

		ring->out[MASK_XENCONS_IDX(prod, ring->out)] = '\n';
		__atomic_store_n(&ring->out_prod, prod + 1, __ATOMIC_RELEASE);
		event_send(si->console.domU.evtchn);
		for (end = system_time(0) + 20000000000UL; __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE) != prod + 1 && system_time(0) < end; )
			sleep_until(system_time(0) + 10000000);
	}
}

void guest_main(void)
{
	struct xencons_interface *ring = mfn_to_va(si->console.domU.mfn);
	static char text[2048];
	uint64_t done = 0;

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)(rnd() % 16 ? rnd() % 256 : 27);
	while (done < BYTES) {
		uint32_t prod = ring->out_prod, n = (uint32_t)(rnd() % sizeof(text));

		for (uint32_t i = 0; i < n; i++)
			ring->out[MASK_XENCONS_IDX(prod + i, ring->out)] = text[i];
		__atomic_store_n(&ring->out_prod, prod + n, __ATOMIC_RELEASE);
		event_send(si->console.domU.evtchn);
		hypercall(console_io, CONSOLEIO_write, n, text, 0);
		done += 2 * n;
	}
	breathe(ring);
	put("\n");
}
