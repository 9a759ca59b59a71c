/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sched_op.c - yield, block, poll, shutdown; and the end of a domain.
 *
 * Sleeping is a state change here and nothing more: the vCPU loop sleeps when it finds the state, and what wakes a vCPU
 * changes it back.  The order against lost wake-ups: first the state, then the look at what is pending; the raising side
 * does the reverse.
 */
#include <stdarg.h>
#include <stdio.h>

#include "hypervisor/abi/abi_private.h"
#include <xen/sched.h>

#define POLL_MAX_PORTS 128U

/* The loop is to look at the vCPU's state before it enters the guest again. */
static void look_around(struct vcpu *v) { atomic_store(&v->kick, true); }

/* ---- the end of a domain ---- */

void abi_log(struct domain *d, const char *fmt, ...)
{
	char msg[256];
	va_list ap;

	if (!d->log)
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	d->log(d, msg);
}

void domain_shutdown(struct domain *d, int reason)
{
	int running = DOMAIN_RUNNING;

	if (d->shutdown_code != DOMAIN_RUNNING && reason != SHUTDOWN_crash)
		reason = d->shutdown_code;
	if (!atomic_compare_exchange_strong(&d->shutdown_reason, &running, reason))
		return;
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		vcpu_wake(d->vcpu[i]);
	if (d->shutdown_notify)
		d->shutdown_notify(d);
}

int domain_crash(struct vcpu *v, const char *fmt, ...)
{
	char msg[256];
	va_list ap;

	abi_full_context(v);
	if (v->d->log) {
		va_start(ap, fmt);
		vsnprintf(msg, sizeof(msg), fmt, ap);
		va_end(ap);
		v->d->log(v->d, msg);
	}
	domain_shutdown(v->d, SHUTDOWN_crash);
	return -1;
}

/* ---- watchdog ---- */

uint64_t watchdog_deadline_ns(const struct domain *d)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < DOMAIN_WATCHDOGS; i++) {
		uint64_t at = atomic_load_explicit(&d->watchdog[i].deadline_ns, memory_order_relaxed);

		if (at && at < next)
			next = at;
	}
	return next;
}

void watchdog_poll(struct domain *d)
{
	uint64_t next = watchdog_deadline_ns(d);

	if (next == UINT64_MAX || abi_now_ns() < next || atomic_load(&d->shutdown_reason) != DOMAIN_RUNNING)
		return;
	abi_log(d, "its watchdog ran out");
	domain_shutdown(d, SHUTDOWN_watchdog);
}

static void watchdog_set(struct domain *d, unsigned i, uint32_t timeout_s)
{
	atomic_store(&d->watchdog[i].timeout_s, timeout_s);
	atomic_store(&d->watchdog[i].deadline_ns, abi_now_ns() + timeout_s * 1000000000UL);
}

void watchdog_rearm(struct domain *d)
{
	for (unsigned i = 0; i < DOMAIN_WATCHDOGS; i++)
		if (atomic_load(&d->watchdog[i].deadline_ns))
			watchdog_set(d, i, atomic_load(&d->watchdog[i].timeout_s));
}

/* d->lock held.  id 0: a new one, whose id is the result; else time-out 0 ends it, another starts its time afresh (sched.h). */
static int64_t watchdog_op(struct domain *d, const struct sched_watchdog *w)
{
	if (w->id > DOMAIN_WATCHDOGS || (w->id && !atomic_load(&d->watchdog[w->id - 1].deadline_ns)))
		return -EINVAL;
	for (unsigned i = 0; !w->id; i++) {
		if (i == DOMAIN_WATCHDOGS)
			return -ENOSPC;
		if (atomic_load(&d->watchdog[i].deadline_ns))
			continue;
		watchdog_set(d, i, w->timeout);
		return i + 1;
	}
	if (w->timeout)
		watchdog_set(d, w->id - 1, w->timeout);
	else
		atomic_store(&d->watchdog[w->id - 1].deadline_ns, 0);
	return 0;
}

static int64_t sched_watchdog(struct vcpu *v, uint64_t va)
{
	struct sched_watchdog w;
	int64_t rc;

	if (guest_read(v, &w, va, sizeof(w)))
		return -EFAULT;
	pthread_mutex_lock(&v->d->lock);
	rc = watchdog_op(v->d, &w);
	pthread_mutex_unlock(&v->d->lock);
	look_around(v);                        /* its thread looks at the new deadline */
	return rc;
}

/* ---- block and poll ---- */

static int64_t sched_block(struct vcpu *v)
{
	v->info->evtchn_upcall_mask = 0;
	vcpu_info_touched(v);
	atomic_store(&v->run_state, VCPU_BLOCKED);
	atomic_thread_fence(memory_order_seq_cst);
	if (pv_events_deliverable(v))
		atomic_store(&v->run_state, VCPU_RUNNABLE);
	look_around(v);
	return 0;
}

/* Any of the ports pending already?  1, 0, or -EINVAL for a port that is none. */
static int ports_pending(struct domain *d, const uint32_t *port, unsigned n)
{
	int rc = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = !evtchn_port_valid(d, port[i]) ? -EINVAL : evtchn_is_pending(d, port[i]);
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int64_t sched_poll(struct vcpu *v, uint64_t va)
{
	uint32_t port[POLL_MAX_PORTS];
	struct sched_poll p;
	int rc;

	if (guest_read(v, &p, va, sizeof(p)))
		return -EFAULT;
	if (p.nr_ports > POLL_MAX_PORTS)
		return -EINVAL;
	if (guest_read(v, port, (uint64_t)(uintptr_t)p.ports.p, p.nr_ports * sizeof(port[0])))
		return -EFAULT;
	v->poll_port = p.nr_ports == 1 ? port[0] : UINT32_MAX;
	v->poll_until_ns = p.timeout;
	atomic_store(&v->run_state, VCPU_POLLING);
	atomic_thread_fence(memory_order_seq_cst);
	rc = ports_pending(v->d, port, p.nr_ports);
	if (rc || pv_events_deliverable(v))
		atomic_store(&v->run_state, VCPU_RUNNABLE);
	look_around(v);
	return rc < 0 ? rc : 0;
}

/* ---- shutdown ---- */

static int64_t sched_shutdown(struct vcpu *v, unsigned reason)
{
	if (reason > SHUTDOWN_MAX)
		return -EINVAL;
	abi_log(v->d, "vCPU %u: the guest shuts down, reason %u", v->id, reason);
	domain_shutdown(v->d, (int)reason);
	look_around(v);
	/*
	 * Seen only by a domain that goes on after a suspend, always in the same instance as far as it can tell: sched.h
	 * calls that 1, "cancelled or merely checkpointed".
	 */
	return reason == SHUTDOWN_suspend;
}

static int64_t sched_shutdown_va(struct vcpu *v, uint64_t va, bool latch)
{
	struct sched_shutdown s;

	if (guest_read(v, &s, va, sizeof(s)))
		return -EFAULT;
	if (!latch)
		return sched_shutdown(v, s.reason);
	if (s.reason > SHUTDOWN_MAX)
		return -EINVAL;
	v->d->shutdown_code = (int)s.reason;
	return 0;
}

int64_t do_sched_op(struct vcpu *v, struct hypercall *c)
{
	switch (c->arg[0]) {
	case SCHEDOP_yield:
		vcpu_yield(v);
		return 0;
	case SCHEDOP_block:
		return sched_block(v);
	case SCHEDOP_poll:
		return sched_poll(v, c->arg[1]);
	case SCHEDOP_shutdown:
		return sched_shutdown_va(v, c->arg[1], false);
	case SCHEDOP_shutdown_code:
		return sched_shutdown_va(v, c->arg[1], true);
	case SCHEDOP_watchdog:
		return sched_watchdog(v, c->arg[1]);
	case SCHEDOP_remote_shutdown:
	case SCHEDOP_pin_override:
		return -EPERM;
	}
	return -ENOSYS;
}

/* The oldest form: the reason itself is the argument. */
int64_t do_sched_op_compat(struct vcpu *v, struct hypercall *c)
{
	switch (c->arg[0]) {
	case SCHEDOP_yield:
	case SCHEDOP_block:
		return do_sched_op(v, c);
	case SCHEDOP_shutdown:
		return sched_shutdown(v, (unsigned)c->arg[1]);
	}
	return -ENOSYS;
}
