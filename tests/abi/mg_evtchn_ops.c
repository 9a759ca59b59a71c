/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * event_channel_op's bookkeeping: unbound and loopback channels, what status says of each kind, close on one end, send
 * on none, binding of VIRQs twice, vCPUs that are not there, and a reset that closes everything.
 */
#include "micro_guest.h"

const char guest_name[] = "evtchn_ops";

static uint32_t last, seen;

static void on_event(uint32_t port) { last = port; seen++; }

static struct evtchn_status status(uint32_t port)
{
	struct evtchn_status s = { .dom = DOMID_SELF, .port = port };

	CHECK_EQ(evtchn_op(EVTCHNOP_status, &s), 0);
	return s;
}

void guest_main(void)
{
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
	struct evtchn_bind_interdomain b = { .remote_dom = DOMID_SELF };
	struct evtchn_bind_virq v = { .virq = VIRQ_DEBUG };
	struct evtchn_bind_ipi ipi = { .vcpu = 500 };
	struct evtchn_bind_vcpu bv = { .vcpu = 0 };
	struct evtchn_close c;
	struct evtchn_reset r = { .dom = DOMID_SELF };
	struct evtchn_status s = { .dom = 55 };

	event_hook = on_event;
	CHECK_EQ(evtchn_op(EVTCHNOP_alloc_unbound, &a), 0);
	CHECK_EQ(status(a.port).status, EVTCHNSTAT_unbound);
	CHECK_EQ(event_send(a.port), 0);                         /* nobody there: dropped */
	b.remote_port = a.port;
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_interdomain, &b), 0);
	CHECK_EQ(status(b.local_port).status, EVTCHNSTAT_interdomain);
	CHECK_EQ(status(b.local_port).u.interdomain.port, a.port);
	CHECK_EQ(status(a.port).u.interdomain.port, b.local_port);
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_interdomain, &b), -XEN_EINVAL);
	events_on();
	events_deliver();
	CHECK_EQ(last, b.local_port);                            /* binding raises it once */
	CHECK_EQ(event_send(b.local_port), 0);
	CHECK_EQ(last, a.port);
	CHECK_EQ(event_send(a.port), 0);
	CHECK_EQ(last, b.local_port);
	CHECK_EQ(seen, 3);
	c.port = b.local_port;
	CHECK_EQ(evtchn_op(EVTCHNOP_close, &c), 0);
	CHECK_EQ(evtchn_op(EVTCHNOP_close, &c), -XEN_EINVAL);
	CHECK_EQ(status(a.port).status, EVTCHNSTAT_unbound);
	CHECK_EQ(status(b.local_port).status, EVTCHNSTAT_closed);

	a.dom = 12;
	CHECK((long)evtchn_op(EVTCHNOP_alloc_unbound, &a) < 0);
	b.remote_dom = 12;
	CHECK((long)evtchn_op(EVTCHNOP_bind_interdomain, &b) < 0);
	CHECK((long)evtchn_op(EVTCHNOP_status, &s) < 0);
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_virq, &v), 0);
	CHECK_EQ(status(v.port).u.virq, VIRQ_DEBUG);
	CHECK_EQ(event_send(v.port), -XEN_EINVAL);
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_virq, &v), -XEN_EEXIST);
	v.vcpu = 77;
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_virq, &v), -XEN_ENOENT);
	v = (struct evtchn_bind_virq){ .virq = 999 };
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_virq, &v), -XEN_EINVAL);
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_ipi, &ipi), -XEN_ENOENT);
	bv.port = bind_ipi(0);
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_vcpu, &bv), -XEN_EINVAL); /* an IPI has its vCPU */
	bv.port = 4000000;
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_vcpu, &bv), -XEN_EINVAL);
	CHECK_EQ(event_send(0), -XEN_EINVAL);
	CHECK_EQ(event_send(4096), -XEN_EINVAL);
	CHECK_EQ(evtchn_op(EVTCHNOP_bind_pirq, &v), -XEN_EPERM);
	CHECK_EQ(evtchn_op(77, &v), -XEN_ENOSYS);
	CHECK_EQ(evtchn_op(EVTCHNOP_send, (void *)0x10), -XEN_EFAULT);
	CHECK_EQ(evtchn_op(EVTCHNOP_reset, &r), 0);
	for (uint32_t port = 1; port < 64; port++)
		CHECK_EQ(status(port).status, EVTCHNSTAT_closed);
}
