/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu_thread.c - vCPU threads.  See vcpu_thread.h.
 *
 * A wake-up is a token that stays until the sleeper takes it: whoever has something for a vCPU changes the state, then
 * leaves the token; the sleeper takes the token, then looks at the state.  So none is lost, whichever comes first.
 *
 * A vCPU's own deadline ends its sleep (vcpu_wait).  While it is in the guest a timer of the kernel's sends its thread the
 * engine's own signal (engine.h), which is a kick.  To arm a timer costs the host more than a kick too many: one that is armed for
 * an earlier time stays so, and when it fires the vCPU looks around and arms it anew.
 *
 * Locks: th->lock is a leaf; vcpu_wake is called with d->lock held.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sched.h>
#include <unistd.h>

#include "hypervisor/abi/abi.h"
#include "hypervisor/ram_huge.h"
#include "hypervisor/vcpu_loop.h"
#include "hypervisor/vcpu_thread.h"

#define VCPU_STACK_BYTES (1024UL * 1024)

struct vcpu_threads {
	struct domain *d;
	struct ram_huge *huge;
};

struct vcpu_thread {
	struct vcpu_threads *set;
	pthread_mutex_t lock;
	pthread_cond_t wake_cond;             /* the vCPU's thread waits */
	pthread_cond_t ack_cond;              /* who pauses waits */
	bool token;
	bool parked;
	bool started;
	bool ended;
	int start_rc;
	/* the vCPU's thread alone */
	timer_t timer;
	bool has_timer;
	uint64_t armed_ns;                    /* when it fires next, or has fired; UINT64_MAX: it is not armed */
};

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000UL), .tv_nsec = (long)(ns % 1000000000UL) };
}

static void cond_init_monotonic(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

/* ---- sleep and wake ---- */

void vcpu_wake(struct vcpu *v)
{
	struct vcpu_thread *th = v->th;

	if (!th) {
		atomic_store(&v->kick, true);
		return;
	}
	v->d->engine->kick(v);
	pthread_mutex_lock(&th->lock);
	th->token = true;
	pthread_cond_signal(&th->wake_cond);
	pthread_mutex_unlock(&th->lock);
}

void vcpu_yield(struct vcpu *v) { sched_yield(); }

void vcpu_wait(struct vcpu *v, uint64_t deadline_ns)
{
	struct vcpu_thread *th = v->th;
	struct timespec ts = to_timespec(deadline_ns);
	int r = 0;

	pthread_mutex_lock(&th->lock);
	while (!th->token && r != ETIMEDOUT) {
		if (deadline_ns == UINT64_MAX)
			pthread_cond_wait(&th->wake_cond, &th->lock);
		else
			r = pthread_cond_timedwait(&th->wake_cond, &th->lock, &ts);
	}
	th->token = false;
	pthread_mutex_unlock(&th->lock);
}

/* ---- timer of vCPUs in the guest ---- */

static int timer_make(struct vcpu *v)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = v->d->engine->timer_signal };

	ev._sigev_un._tid = v->tid;           /* glibc has no other name for timer_create(2)'s sigev_notify_thread_id */
	v->th->armed_ns = UINT64_MAX;
	if (timer_create(CLOCK_MONOTONIC, &ev, &v->th->timer))
		return -errno;
	v->th->has_timer = true;
	return 0;
}

static void timer_end(struct vcpu *v)
{
	if (v->th->has_timer)
		timer_delete(v->th->timer);
	v->th->has_timer = false;
}

void vcpu_timer_arm(struct vcpu *v, uint64_t deadline_ns)
{
	struct vcpu_thread *th = v->th;
	struct itimerspec at = { .it_value = to_timespec(deadline_ns ? deadline_ns : 1) };      /* 0 would disarm it */

	if (deadline_ns == UINT64_MAX || (deadline_ns >= th->armed_ns && th->armed_ns > abi_now_ns()))
		return;
	th->armed_ns = deadline_ns;
	timer_settime(th->timer, TIMER_ABSTIME, &at, NULL);
}

/* ---- threads ---- */

static void report_start(struct vcpu_thread *th, int rc)
{
	pthread_mutex_lock(&th->lock);
	th->start_rc = rc;
	if (rc)
		th->ended = true;
	pthread_cond_broadcast(&th->ack_cond);
	pthread_mutex_unlock(&th->lock);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct vcpu_thread *th = v->th;
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "vcpu%u", v->id % HV_MAX_VCPUS);
	pthread_setname_np(pthread_self(), name);
	v->tid = gettid();
	rc = v->d->engine->vcpu_enter_thread(v);
	if (!rc)
		rc = timer_make(v);
	report_start(th, rc);
	if (!rc)
		vcpu_loop(v);
	timer_end(v);
	pthread_mutex_lock(&th->lock);
	th->ended = true;
	pthread_cond_broadcast(&th->ack_cond);
	pthread_mutex_unlock(&th->lock);
	return NULL;
}

void vcpu_thread_park(struct vcpu *v)
{
	struct vcpu_thread *th = v->th;

	pthread_mutex_lock(&th->lock);
	th->parked = true;
	pthread_cond_broadcast(&th->ack_cond);
	while (atomic_load(&v->pause_requested) && !atomic_load(&v->exit_requested))
		pthread_cond_wait(&th->wake_cond, &th->lock);
	th->parked = false;
	pthread_mutex_unlock(&th->lock);
}

static void wait_parked(struct vcpu_thread *th)
{
	pthread_mutex_lock(&th->lock);
	while (!th->parked && !th->ended)
		pthread_cond_wait(&th->ack_cond, &th->lock);
	pthread_mutex_unlock(&th->lock);
}

static struct vcpu_threads *threads_of(struct domain *d)
{
	return d->nr_vcpus && d->vcpu[0]->th ? d->vcpu[0]->th->set : NULL;
}

static int threads_alloc(struct domain *d)
{
	struct vcpu_threads *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	set->d = d;
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct vcpu_thread *th = calloc(1, sizeof(*th));

		if (!th) {
			while (i--) {
				free(d->vcpu[i]->th);
				d->vcpu[i]->th = NULL;
			}
			free(set);
			return -ENOMEM;
		}
		th->set = set;
		pthread_mutex_init(&th->lock, NULL);
		cond_init_monotonic(&th->wake_cond);
		cond_init_monotonic(&th->ack_cond);
		d->vcpu[i]->th = th;
		atomic_store(&d->vcpu[i]->pause_requested, true);
		atomic_store(&d->vcpu[i]->exit_requested, false);
	}
	return 0;
}

int vcpu_threads_start(struct domain *d)
{
	struct vcpu_threads *set;
	pthread_attr_t attr;
	int rc = threads_alloc(d);

	if (rc)
		return rc;
	set = threads_of(d);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK_BYTES);
	for (unsigned i = 0; i < d->nr_vcpus && !rc; i++) {
		rc = -pthread_create(&d->vcpu[i]->thread, &attr, vcpu_main, d->vcpu[i]);
		d->vcpu[i]->th->started = !rc;
	}
	pthread_attr_destroy(&attr);
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct vcpu_thread *th = d->vcpu[i]->th;

		if (!th->started)
			continue;
		wait_parked(th);
		if (!rc)
			rc = th->start_rc;
	}
	if (rc)
		vcpu_threads_stop(d);
	else
		set->huge = ram_huge_start(d);
	return rc;
}

void vcpu_threads_stop(struct domain *d)
{
	struct vcpu_threads *set = threads_of(d);

	if (!set)
		return;
	ram_huge_stop(set->huge);
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		atomic_store(&d->vcpu[i]->exit_requested, true);
		vcpu_wake(d->vcpu[i]);
	}
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		if (d->vcpu[i]->th->started)
			pthread_join(d->vcpu[i]->thread, NULL);
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct vcpu_thread *th = d->vcpu[i]->th;

		d->vcpu[i]->th = NULL;
		pthread_mutex_destroy(&th->lock);
		pthread_cond_destroy(&th->wake_cond);
		pthread_cond_destroy(&th->ack_cond);
		free(th);
	}
	free(set);
}

/* ---- pause ---- */

void vcpu_threads_pause_soon(struct domain *d)
{
	if (!threads_of(d))
		return;
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		atomic_store(&d->vcpu[i]->pause_requested, true);
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		vcpu_wake(d->vcpu[i]);
}

void vcpu_threads_pause(struct domain *d)
{
	if (!threads_of(d))
		return;
	vcpu_threads_pause_soon(d);
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		wait_parked(d->vcpu[i]->th);
}

void vcpu_threads_resume(struct domain *d)
{
	if (!threads_of(d))
		return;
	abi_domain_settle(d);
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		atomic_store(&d->vcpu[i]->pause_requested, false);
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		vcpu_wake(d->vcpu[i]);
}

void vcpu_threads_throttle(struct domain *d, unsigned thousandths)
{
	atomic_store(&d->throttle, thousandths < 1000 ? thousandths : 999);
	/* whoever sleeps for the former share looks again */
	for (unsigned i = 0; threads_of(d) && i < d->nr_vcpus; i++)
		vcpu_wake(d->vcpu[i]);
}
