/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A well-behaved guest that notices what is done to it: a hundred times a second it sleeps on its timer, asks the store for its own
 * number, and says on its console how late either came, in microseconds, and the worst so far.  tests/hypervisor/test-hostile watches it
 * while others attack; it has no verdict of its own.
 */
#include "micro_guest.h"
#include <xen/io/xs_wire.h>

const char guest_name[] = "neighbour";

#define TICK_NS 10000000UL

static struct xenstore_domain_interface *ring;

static void on_event(uint32_t port) { }

/* Until an event has come; `ready` is looked at with events off, so none comes between. */
static void sleep_until(bool (*ready)(void))
{
	for (;;) {
		events_off();
		if (ready())
			break;
		sched_op(SCHEDOP_block, NULL);
	}
	events_on();
	events_deliver();
}

static uint64_t wake_ns;
static uint32_t wanted;

static bool due(void) { return system_time(0) >= wake_ns; }
static bool answered(void) { return __atomic_load_n(&ring->rsp_prod, __ATOMIC_SEQ_CST) - ring->rsp_cons >= wanted; }

static void timer_sleep(uint64_t until)
{
	struct vcpu_set_singleshot_timer s = { .timeout_abs_ns = until };

	wake_ns = until;
	CHECK_EQ(vcpu_op(VCPUOP_set_singleshot_timer, 0, &s), 0);
	sleep_until(due);
}

static void ring_read(void *data, uint32_t n)
{
	uint8_t *p = data;

	wanted = n;
	sleep_until(answered);
	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons + i)];
	__atomic_store_n(&ring->rsp_cons, ring->rsp_cons + n, __ATOMIC_RELEASE);
}

static void store_ask(uint32_t id)
{
	struct { struct xsd_sockmsg h; char path[6]; } __attribute__((packed)) q = { { XS_READ, id, 0, 6 }, "domid" };
	const uint8_t *p = (const uint8_t *)&q;
	struct xsd_sockmsg got;
	char body[16];

	for (uint32_t i = 0; i < sizeof(q); i++)
		ring->req[MASK_XENSTORE_IDX(ring->req_prod + i)] = (char)p[i];
	__atomic_store_n(&ring->req_prod, ring->req_prod + (uint32_t)sizeof(q), __ATOMIC_RELEASE);
	event_send(si->store_evtchn);
	ring_read(&got, sizeof(got));
	if (got.type != XS_READ || got.req_id != id || got.len > sizeof(body))
		fail("answer %u of type %u, %u octets, to request %u", got.req_id, got.type, got.len, id);
	ring_read(body, got.len);
}

void guest_main(void)
{
	uint64_t at, late, asked, worst_late = 0, worst_asked = 0;

	ring = mfn_to_va(si->store_mfn);
	event_hook = on_event;
	bind_virq(VIRQ_TIMER, 0);
	events_on();
	for (uint32_t n = 1;; n++) {
		at = system_time(0) + TICK_NS;
		timer_sleep(at);
		late = (system_time(0) - at) / 1000;
		at = system_time(0);
		store_ask(n);
		asked = (system_time(0) - at) / 1000;
		worst_late = late > worst_late ? late : worst_late;
		worst_asked = asked > worst_asked ? asked : worst_asked;
		put("tick %u: timer %lu store %lu, worst %lu %lu\n", n, late, asked, worst_late, worst_asked);
	}
}
