/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evtchn_op.c - the event_channel_op hypercall.
 *
 * Peers a guest can have: its own vCPUs (IPIs, VIRQs), itself (loopback), and the back ends in Domain-0, which are part
 * of this process.  Other domains do not exist for it.
 */
#include "hypervisor/abi/evtchn.h"

bool virq_is_global(uint32_t virq)
{
	switch (virq) {
	case VIRQ_TIMER:
	case VIRQ_DEBUG:
	case VIRQ_XENOPROF:
	case VIRQ_XENPMU:
		return false;
	}
	return virq < VIRQ_ARCH_0;
}

static int domid_is_self(const struct domain *d, uint16_t domid) { return domid == DOMID_SELF || domid == d->domid; }

/* Each below runs with d->lock held; arguments have been copied in, results are copied out by the caller. */

static int64_t op_alloc_unbound(struct vcpu *v, void *arg)
{
	struct evtchn_alloc_unbound *a = arg;
	struct domain *d = v->d;
	int port;

	if (!domid_is_self(d, a->dom))
		return -EPERM;
	port = evtchn_alloc(d);
	if (port < 0)
		return port;
	d->evtchn->port[port].kind = EC_UNBOUND;
	d->evtchn->port[port].remote_dom = a->remote_dom == DOMID_SELF ? d->domid : a->remote_dom;
	a->port = (uint32_t)port;
	return 0;
}

static int64_t op_bind_interdomain(struct vcpu *v, void *arg)
{
	struct evtchn_bind_interdomain *a = arg;
	struct domain *d = v->d;
	struct evtchn *remote;
	int port;

	if (!domid_is_self(d, a->remote_dom))
		return a->remote_dom == 0 ? -EINVAL : -ESRCH;
	if (!evtchn_port_valid(d, a->remote_port))
		return -EINVAL;
	remote = &d->evtchn->port[a->remote_port];
	if (remote->kind != EC_UNBOUND || remote->remote_dom != d->domid)
		return -EINVAL;
	port = evtchn_alloc(d);
	if (port < 0)
		return port;
	d->evtchn->port[port].kind = EC_LOOP;
	d->evtchn->port[port].remote_port = a->remote_port;
	remote->kind = EC_LOOP;
	remote->remote_port = (uint32_t)port;
	/* The other end may have been signalled before there was anyone to hear it (event_channel.h). */
	evtchn_set_pending(d, (uint32_t)port);
	a->local_port = (uint32_t)port;
	return 0;
}

static int64_t op_bind_virq(struct vcpu *v, void *arg)
{
	struct evtchn_bind_virq *a = arg;
	struct domain *d = v->d;
	int port;

	if (a->virq >= NR_VIRQS || (virq_is_global(a->virq) && a->vcpu))
		return -EINVAL;
	if (a->vcpu >= d->nr_vcpus)
		return -ENOENT;
	if (d->evtchn->virq_port[a->vcpu][a->virq])
		return -EEXIST;
	port = evtchn_alloc(d);
	if (port < 0)
		return port;
	d->evtchn->port[port].kind = EC_VIRQ;
	d->evtchn->port[port].vcpu = (uint8_t)a->vcpu;
	d->evtchn->port[port].virq = (uint8_t)a->virq;
	d->evtchn->virq_port[a->vcpu][a->virq] = (uint32_t)port;
	a->port = (uint32_t)port;
	return 0;
}

static int64_t op_bind_ipi(struct vcpu *v, void *arg)
{
	struct evtchn_bind_ipi *a = arg;
	struct domain *d = v->d;
	int port;

	if (a->vcpu >= d->nr_vcpus)
		return -ENOENT;
	port = evtchn_alloc(d);
	if (port < 0)
		return port;
	d->evtchn->port[port].kind = EC_IPI;
	d->evtchn->port[port].vcpu = (uint8_t)a->vcpu;
	a->port = (uint32_t)port;
	return 0;
}

static int port_close(struct domain *d, uint32_t port)
{
	struct evtchn *e;

	if (!evtchn_port_valid(d, port))
		return -EINVAL;
	e = &d->evtchn->port[port];
	if (e->kind == EC_VIRQ) {
		for (unsigned i = 0; i < HV_MAX_VCPUS; i++)
			if (d->evtchn->virq_port[i][e->virq] == port)
				d->evtchn->virq_port[i][e->virq] = 0;
	} else if (e->kind == EC_LOOP && e->remote_port != port) {
		struct evtchn *other = &d->evtchn->port[e->remote_port];

		other->kind = EC_UNBOUND;
		other->remote_dom = d->domid;
		other->remote_port = 0;
	}
	evtchn_free(d, port);
	return 0;
}

static int64_t op_close(struct vcpu *v, void *arg)
{
	const struct evtchn_close *a = arg;

	return port_close(v->d, a->port);
}

/* Sent, and the back end wants a turn on this thread once the lock is free. */
#define SEND_TURN 1

static int64_t op_send(struct vcpu *v, void *arg)
{
	const struct evtchn_send *a = arg;
	struct domain *d = v->d;
	struct evtchn *e;

	if (!evtchn_port_valid(d, a->port))
		return -EINVAL;
	e = &d->evtchn->port[a->port];
	switch (e->kind) {
	case EC_BACKEND:
		return d->evtchn_notify_backend && d->evtchn_notify_backend(d, a->port) ? SEND_TURN : 0;
	case EC_LOOP:
		evtchn_set_pending(d, e->remote_port);
		return 0;
	case EC_IPI:
		evtchn_set_pending(d, a->port);
		return 0;
	case EC_UNBOUND:
		return 0;                     /* nobody there yet: silently dropped */
	}
	return -EINVAL;
}

static int64_t op_status(struct vcpu *v, void *arg)
{
	struct evtchn_status *a = arg;
	struct domain *d = v->d;
	const struct evtchn *e;

	if (!domid_is_self(d, a->dom))
		return a->dom == 0 ? -EPERM : -ESRCH;
	if (a->port >= EVTCHN_MAX_PORTS)
		return -EINVAL;
	e = &d->evtchn->port[a->port];
	memset(&a->u, 0, sizeof(a->u));
	a->vcpu = e->vcpu;
	switch (e->kind) {
	case EC_UNBOUND:
		a->status = EVTCHNSTAT_unbound;
		a->u.unbound.dom = e->remote_dom;
		break;
	case EC_BACKEND:
		a->status = EVTCHNSTAT_interdomain;
		a->u.interdomain.dom = 0;
		a->u.interdomain.port = a->port;
		break;
	case EC_LOOP:
		a->status = EVTCHNSTAT_interdomain;
		a->u.interdomain.dom = d->domid;
		a->u.interdomain.port = e->remote_port;
		break;
	case EC_VIRQ:
		a->status = EVTCHNSTAT_virq;
		a->u.virq = e->virq;
		break;
	case EC_IPI:
		a->status = EVTCHNSTAT_ipi;
		break;
	default:
		a->status = EVTCHNSTAT_closed;
		break;
	}
	return 0;
}

static int64_t op_bind_vcpu(struct vcpu *v, void *arg)
{
	const struct evtchn_bind_vcpu *a = arg;
	struct domain *d = v->d;
	struct evtchn *e;

	if (a->vcpu >= d->nr_vcpus)
		return -ENOENT;
	if (!evtchn_port_valid(d, a->port))
		return -EINVAL;
	e = &d->evtchn->port[a->port];
	if (e->kind == EC_IPI || (e->kind == EC_VIRQ && !virq_is_global(e->virq)))
		return -EINVAL;
	return evtchn_bind_notify(d, a->port, a->vcpu) ? 0 : -ENOENT;
}

static int64_t op_unmask(struct vcpu *v, void *arg)
{
	const struct evtchn_unmask *a = arg;

	return evtchn_unmask_port(v->d, a->port);
}

static int64_t op_reset(struct vcpu *v, void *arg)
{
	const struct evtchn_reset *a = arg;
	struct domain *d = v->d;

	if (!domid_is_self(d, a->dom))
		return a->dom == 0 ? -EPERM : -ESRCH;
	for (uint32_t port = 1; port < EVTCHN_MAX_PORTS; port++)
		port_close(d, port);
	fifo_reset(d);
	return 0;
}

static int64_t op_init_control(struct vcpu *v, void *arg) { return fifo_init_control(v, arg); }
static int64_t op_expand_array(struct vcpu *v, void *arg) { return fifo_expand_array(v, arg); }
static int64_t op_set_priority(struct vcpu *v, void *arg) { return fifo_set_priority(v->d, arg); }

union evtchn_arg {
	struct evtchn_alloc_unbound alloc_unbound;
	struct evtchn_bind_interdomain bind_interdomain;
	struct evtchn_bind_virq bind_virq;
	struct evtchn_bind_ipi bind_ipi;
	struct evtchn_status status;
	struct evtchn_init_control init_control;
	struct evtchn_expand_array expand_array;
};

#define OP(name, out) [EVTCHNOP_ ## name] = { op_ ## name, sizeof(struct evtchn_ ## name), out }
static const struct evtchn_opdesc {
	int64_t (*fn)(struct vcpu *v, void *arg);
	uint8_t size;
	bool has_result;
} evtchn_ops[] = {
	OP(bind_interdomain, true), OP(bind_virq, true), OP(close, false), OP(send, false), OP(status, true),
	OP(alloc_unbound, true), OP(bind_ipi, true), OP(bind_vcpu, false), OP(unmask, false), OP(reset, false),
	OP(init_control, true), OP(expand_array, false), OP(set_priority, false),
};
#undef OP

int64_t do_event_channel_op(struct vcpu *v, struct hypercall *c)
{
	uint64_t cmd = c->arg[0];
	const struct evtchn_opdesc *op;
	union evtchn_arg arg;
	int64_t rc;

	if (cmd == EVTCHNOP_bind_pirq)
		return -EPERM;
	if (cmd >= sizeof(evtchn_ops) / sizeof(evtchn_ops[0]))
		return -ENOSYS;
	op = &evtchn_ops[cmd];
	_Static_assert(sizeof(struct evtchn_status) <= sizeof(arg), "every argument fits");
	if (!op->fn)
		return -ENOSYS;
	memset(&arg, 0, sizeof(arg));
	if (guest_read(v, &arg, c->arg[1], op->size))
		return -EFAULT;
	pthread_mutex_lock(&v->d->lock);
	rc = op->fn(v, &arg);
	pthread_mutex_unlock(&v->d->lock);
	if (rc == SEND_TURN) {
		v->d->evtchn_backend_turn(v->d);
		rc = 0;
	}
	if (!rc && op->has_result && guest_write(v, c->arg[1], &arg, op->size))
		return -EFAULT;
	return rc;
}
