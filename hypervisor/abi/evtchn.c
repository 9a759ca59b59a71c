/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evtchn.c - event channels: allocation, the 2-level pending and mask bits, and the path from "raised" to a vCPU that
 * leaves what it does and takes an upcall.
 *
 * Nothing is lost because of the order: pending bit, selector bit, upcall_pending, then the wake-up; a vCPU that goes to
 * sleep says so first and looks at upcall_pending afterwards (sched_op.c).
 */
#include <stdlib.h>

#include "hypervisor/abi/evtchn.h"

int evtchn_domain_init(struct domain *d)
{
	d->evtchn = calloc(1, sizeof(*d->evtchn));
	return d->evtchn ? 0 : -ENOMEM;
}

void evtchn_domain_destroy(struct domain *d)
{
	free(d->evtchn);
	d->evtchn = NULL;
}

bool evtchn_port_valid(const struct domain *d, uint32_t port)
{
	return port && port < EVTCHN_MAX_PORTS && d->evtchn->port[port].kind != EC_FREE;
}

int evtchn_alloc(struct domain *d)
{
	unsigned limit = EVTCHN_MAX_PORTS;

	for (unsigned port = 1; port < limit; port++) {
		struct evtchn *e = &d->evtchn->port[port];

		if (e->kind == EC_FREE) {
			/* A FIFO queue may end in this port still: which one must not be forgotten (evtchn_fifo.c). */
			*e = (struct evtchn){ .priority = EVTCHN_FIFO_PRIORITY_DEFAULT, .last_vcpu = e->last_vcpu,
					      .last_priority = e->last_priority };
			return (int)port;
		}
	}
	return -ENOSPC;
}

/* ---- bits in shared info ---- */

static bool bit_test(const uint64_t *words, unsigned bit)
{
	return __atomic_load_n(&words[bit / 64], __ATOMIC_SEQ_CST) >> (bit % 64) & 1;
}

static bool bit_test_and_set(uint64_t *words, unsigned bit)
{
	return __atomic_fetch_or(&words[bit / 64], 1UL << (bit % 64), __ATOMIC_SEQ_CST) >> (bit % 64) & 1;
}

static bool bit_test_and_clear(uint64_t *words, unsigned bit)
{
	return __atomic_fetch_and(&words[bit / 64], ~(1UL << (bit % 64)), __ATOMIC_SEQ_CST) >> (bit % 64) & 1;
}

static void shared_info_touched(struct domain *d) { domain_mark_dirty(d, SPECIAL_MFN + SPECIAL_SHARED_INFO); }

/* ---- raising ---- */

void vcpu_mark_events_pending(struct vcpu *v)
{
	bool was = __atomic_exchange_n(&v->info->evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST);

	vcpu_info_touched(v);
	if (!was)
		vcpu_wake(v);
}

/* Bit of the word that port is in, in the vCPU's selector. */
static void two_level_notify(struct vcpu *v, uint32_t port)
{
	if (!bit_test_and_set(&v->info->evtchn_pending_sel, port / 64))
		vcpu_mark_events_pending(v);
	vcpu_info_touched(v);
}

static bool two_level_set_pending(struct domain *d, uint32_t port)
{
	struct shared_info *s = domain_shared_info(d);

	if (bit_test_and_set(s->evtchn_pending, port))
		return false;
	shared_info_touched(d);
	if (!bit_test(s->evtchn_mask, port))
		two_level_notify(d->vcpu[d->evtchn->port[port].vcpu], port);
	return true;
}

/* vCPUs that sleep in SCHEDOP_poll wake for their port, masked or not. */
static void wake_pollers(struct domain *d, uint32_t port)
{
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct vcpu *v = d->vcpu[i];

		if (atomic_load(&v->run_state) == VCPU_POLLING && (v->poll_port == port || v->poll_port == UINT32_MAX)) {
			int polling = VCPU_POLLING;

			atomic_compare_exchange_strong(&v->run_state, &polling, VCPU_RUNNABLE);
			vcpu_wake(v);
		}
	}
}

void evtchn_set_pending(struct domain *d, uint32_t port)
{
	if (d->evtchn->fifo ? fifo_set_pending(d, port) : two_level_set_pending(d, port))
		wake_pollers(d, port);
}

bool evtchn_is_pending(const struct domain *d, uint32_t port)
{
	if (d->evtchn->fifo)
		return fifo_is_pending(d, port);
	return bit_test(domain_shared_info(d)->evtchn_pending, port);
}

int evtchn_unmask_port(struct domain *d, uint32_t port)
{
	struct shared_info *s = domain_shared_info(d);

	if (!evtchn_port_valid(d, port))
		return -EINVAL;
	if (d->evtchn->fifo) {
		fifo_unmask(d, port);
		return 0;
	}
	if (bit_test_and_clear(s->evtchn_mask, port)) {
		shared_info_touched(d);
		if (bit_test(s->evtchn_pending, port))
			two_level_notify(d->vcpu[d->evtchn->port[port].vcpu], port);
	}
	return 0;
}

void evtchn_free(struct domain *d, uint32_t port)
{
	struct evtchn *e = &d->evtchn->port[port];

	if (d->evtchn->fifo) {
		uint8_t last_vcpu = e->last_vcpu, last_priority = e->last_priority;

		/* The event may still be linked on a queue; only its pending bit goes. */
		fifo_clear_pending(d, port);
		*e = (struct evtchn){ .last_vcpu = last_vcpu, .last_priority = last_priority };
		return;
	}
	bit_test_and_clear(domain_shared_info(d)->evtchn_pending, port);
	shared_info_touched(d);
	*e = (struct evtchn){ 0 };
}

/* Later events of port go to another vCPU, and so does one that is pending already. */
bool evtchn_bind_notify(struct domain *d, uint32_t port, unsigned vcpu)
{
	if (vcpu >= d->nr_vcpus)
		return false;
	d->evtchn->port[port].vcpu = (uint8_t)vcpu;
	return true;
}

void evtchn_vcpu_info_moved(struct vcpu *v)
{
	__atomic_store_n(&v->info->evtchn_pending_sel, ~0UL, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->info->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
	vcpu_mark_events_pending(v);
}

/* ---- for back ends and timers ---- */

int evtchn_bind_backend(struct domain *d)
{
	int port;

	pthread_mutex_lock(&d->lock);
	port = evtchn_alloc(d);
	if (port > 0) {
		d->evtchn->port[port].kind = EC_UNBOUND;
		d->evtchn->port[port].remote_dom = 0;
	}
	pthread_mutex_unlock(&d->lock);
	return port;
}

int evtchn_connect_backend(struct domain *d, uint32_t port)
{
	struct evtchn *e;
	int rc = -EINVAL;

	pthread_mutex_lock(&d->lock);
	if (!evtchn_port_valid(d, port))
		goto out;
	e = &d->evtchn->port[port];
	/* Connecting twice is how a back end that restarted, or came with an image, says it is there again. */
	if (e->kind == EC_BACKEND || (e->kind == EC_UNBOUND && e->remote_dom == 0)) {
		e->kind = EC_BACKEND;
		rc = 0;
	}
out:
	pthread_mutex_unlock(&d->lock);
	return rc;
}

void evtchn_raise(struct domain *d, uint32_t port)
{
	pthread_mutex_lock(&d->lock);
	if (evtchn_port_valid(d, port) && d->evtchn->port[port].kind == EC_BACKEND)
		evtchn_set_pending(d, port);
	pthread_mutex_unlock(&d->lock);
}

void evtchn_raise_virq(struct vcpu *v, unsigned virq)
{
	struct domain *d = v->d;
	uint32_t port;

	if (virq >= NR_VIRQS)
		return;
	pthread_mutex_lock(&d->lock);
	port = d->evtchn->virq_port[v->id][virq];
	if (port)
		evtchn_set_pending(d, port);
	pthread_mutex_unlock(&d->lock);
}
