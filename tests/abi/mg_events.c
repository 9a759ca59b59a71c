/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event channels from the inside: an IPI to oneself is taken at once when unmasked, held while masked (vCPU mask and
 * port mask), taken by the next hypercall after unmasking; block with something pending returns at once.
 */
#include "micro_guest.h"

const char guest_name[] = "events";

static volatile unsigned seen[64];

static void on_event(uint32_t port)
{
	if (port < 64)
		seen[port]++;
}

void guest_main(void)
{
	uint32_t a = bind_ipi(0), b = bind_ipi(0);
	struct evtchn_unmask u = { .port = b };
	struct evtchn_close c = { .port = a };

	event_hook = on_event;
	CHECK_EQ(event_send(a), 0);
	CHECK_EQ(seen[a], 0);                           /* the vCPU masks events */
	CHECK_EQ(vcpu_info(0)->evtchn_upcall_pending, 1);
	events_on();
	events_deliver();
	CHECK_EQ(seen[a], 1);
	CHECK_EQ(event_send(a), 0);
	CHECK_EQ(seen[a], 2);                           /* on the way back from the very hypercall */
	CHECK(upcalls >= 2);

	__atomic_fetch_or(&shared->evtchn_mask[0], 1UL << b, __ATOMIC_SEQ_CST);
	CHECK_EQ(event_send(b), 0);
	events_deliver();
	CHECK_EQ(seen[b], 0);
	CHECK_EQ(evtchn_op(EVTCHNOP_unmask, &u), 0);
	CHECK_EQ(seen[b], 1);

	events_off();
	CHECK_EQ(event_send(a), 0);
	CHECK_EQ(sched_op(SCHEDOP_block, NULL), 0);     /* unmasks, finds it pending, does not sleep */
	events_deliver();
	CHECK_EQ(seen[a], 3);

	CHECK_EQ(evtchn_op(EVTCHNOP_close, &c), 0);
	CHECK_EQ(event_send(a), -XEN_EINVAL);
	CHECK_EQ(bind_ipi(0), a);                       /* the lowest free port */
}
