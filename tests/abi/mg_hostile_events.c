/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile, two vCPUs: both bind, close, send, unmask and query the same channels, in the 2-level and then in the FIFO ABI,
 * with a storm of IPIs on top and event words scribbled over.  Ports run out and come back; every vCPU still hears its own.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_events";

static volatile bool stop, stopped;
static volatile unsigned heard;
static uint32_t own;

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void disturb(uint64_t *seed)
{
	uint32_t port = (uint32_t)(next(seed) % 40) + own + 1, cpu = (uint32_t)(next(seed) & 1);
	struct evtchn_bind_ipi ipi = { .vcpu = cpu };
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
	struct evtchn_bind_interdomain b = { .remote_dom = DOMID_SELF, .remote_port = port };
	struct evtchn_bind_vcpu v = { .port = port, .vcpu = cpu };
	struct evtchn_status s = { .dom = DOMID_SELF, .port = port };
	struct evtchn_close c = { .port = port };
	struct evtchn_unmask u = { .port = port };

	switch (next(seed) % 9) {
	case 0: evtchn_op(EVTCHNOP_bind_ipi, &ipi); break;
	case 1: evtchn_op(EVTCHNOP_alloc_unbound, &a); break;
	case 2: evtchn_op(EVTCHNOP_bind_interdomain, &b); break;
	case 3: evtchn_op(EVTCHNOP_bind_vcpu, &v); break;
	case 4: evtchn_op(EVTCHNOP_status, &s); break;
	case 5: evtchn_op(EVTCHNOP_close, &c); break;
	case 6: evtchn_op(EVTCHNOP_unmask, &u); break;
	default: event_send(port);
	}
}

static void second(void)
{
	uint64_t seed = 88172645463325252UL;

	vcpu_info(1)->evtchn_upcall_mask = 1;
	while (!stop)
		disturb(&seed);
	stopped = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

static void on_event(uint32_t port)
{
	if (port == own)
		heard++;
}

void guest_main(void)
{
	uint64_t seed = 42, end, filled = 0;
	struct evtchn_bind_ipi ipi = { .vcpu = 0 };
	uint32_t last = 0;

	event_hook = on_event;
	own = bind_ipi(0);
	vcpu_start(1, second);
	events_on();
	for (unsigned round = 0; round < 20000; round++) {
		disturb(&seed);
		if (round % 64 == 0) {
			unsigned before = heard;

			event_send(own);
			end = system_time(0) + 10000000000UL;
			while (heard == before)
				CHECK(system_time(0) < end);
		}
	}
	stop = true;
	end = system_time(0) + 20000000000UL;
	while (!stopped)
		CHECK(system_time(0) < end);
	for (uint32_t p = own + 1; p < 4096; p++) {
		struct evtchn_close c = { .port = p };

		evtchn_op(EVTCHNOP_close, &c);
	}
	while (evtchn_op(EVTCHNOP_bind_ipi, &ipi) == 0) {       /* until there are no more */
		last = ipi.port;
		filled++;
	}
	CHECK(filled > 3000);
	for (uint32_t p = own + 1; p <= last; p++) {
		struct evtchn_close c = { .port = p };

		if (p % 5 == 0)
			event_send(p);
		evtchn_op(EVTCHNOP_close, &c);
	}
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_ipi, &ipi), 0);
	for (unsigned i = 0; i < 100000; i++)                   /* a storm of one's own */
		event_send(own);
	CHECK(heard > 100000);
	events_off();
}
