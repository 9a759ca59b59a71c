/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu_loop.c - what a vCPU's thread does: look at what is asked of the vCPU, run the guest until something needs the
 * ABI, serve that, and so on.
 *
 * v->kick is cleared before anything is looked at; whoever asks something changes the state first and sets kick
 * afterwards.  So a request is either seen in this round or ends the next run() at once.
 */
#include "hypervisor/abi/abi_private.h"
#include "hypervisor/vcpu_loop.h"
#include "hypervisor/vcpu_thread.h"

#define THROTTLE_SLICE_NS 1000000UL
#define THROTTLE_NAP_MIN_NS 500000UL         /* shorter ones are saved up */
#define THROTTLE_NAP_MAX_NS 1000000000UL
#define WAKING_NS 200000000UL                /* for one vCPU of a guest that slept to get to its rest again, on a busy host */

/* BLOCKED ends with any pending event, POLLING with a deliverable one (a polled port or time-out ended it elsewhere). */
static bool vcpu_asleep(struct vcpu *v)
{
	int state = atomic_load(&v->run_state);

	if (state == VCPU_BLOCKED && __atomic_load_n(&v->info->evtchn_upcall_pending, __ATOMIC_SEQ_CST))
		atomic_compare_exchange_strong(&v->run_state, &state, VCPU_RUNNABLE);
	else if ((state == VCPU_BLOCKED || state == VCPU_POLLING) && pv_events_deliverable(v))
		atomic_compare_exchange_strong(&v->run_state, &state, VCPU_RUNNABLE);
	return atomic_load(&v->run_state) != VCPU_RUNNABLE;
}

static void vcpu_run_until_kicked(struct vcpu *v, const struct engine_ops *engine)
{
	enum engine_exit why;

	if (pv_deliver_events(v))
		return;
	do {
		why = engine->run(v);
		if (pv_serve(v, why))
			break;
	} while (why != EXIT_KICK && !atomic_load_explicit(&v->kick, memory_order_relaxed));
}

/*
 * A throttled vCPU pays for the time it ran with a share of time asleep; what counts is the time it had, so that a slice that ran over
 * is paid for too, and a guest that mostly sleeps loses little.  It is runnable meanwhile: the guest sees stolen time.
 */
static void throttle_charge(struct vcpu *v, uint64_t ran_ns)
{
	uint64_t share = atomic_load_explicit(&v->d->throttle, memory_order_relaxed);

	v->nap_ns = share ? v->nap_ns + ran_ns * share / (1000 - share) : 0;
	if (v->nap_ns > THROTTLE_NAP_MAX_NS)
		v->nap_ns = THROTTLE_NAP_MAX_NS;
}

static void throttle_nap(struct vcpu *v)
{
	unsigned share = atomic_load(&v->d->throttle);
	uint64_t end = abi_now_ns() + v->nap_ns;

	runstate_change(v, RUNSTATE_runnable);
	/* events end a wait, not the nap; a change of the share does */
	while (share && abi_now_ns() < end && atomic_load(&v->d->throttle) == share && !atomic_load(&v->pause_requested) &&
	       !atomic_load(&v->exit_requested))
		vcpu_wait(v, end);
	v->nap_ns = 0;
}

/* The first one's time is the domain's. */
static void first_run_note(struct domain *d)
{
	uint64_t none = 0;

	if (!atomic_load_explicit(&d->first_run_ns, memory_order_relaxed))
		atomic_compare_exchange_strong(&d->first_run_ns, &none, abi_now_ns());
}

static void vcpu_run_guest(struct vcpu *v)
{
	const struct engine_ops *engine = v->d->engine;
	bool throttled = atomic_load_explicit(&v->d->throttle, memory_order_relaxed) != 0;
	uint64_t begin = throttled ? abi_now_ns() : 0, deadline = time_next_deadline_ns(v);

	runstate_change(v, RUNSTATE_running);
	time_update_vcpu(v);
	vcpu_timer_arm(v, throttled && begin + THROTTLE_SLICE_NS < deadline ? begin + THROTTLE_SLICE_NS : deadline);
	first_run_note(v->d);
	vcpu_run_until_kicked(v, engine);
	if (throttled)
		throttle_charge(v, abi_now_ns() - begin);
}

/* ---- after a sleep in a file (abi/guest_time.c, tell_watchdogs_again): one vCPU after the other sees what time it is, until it rests again ---- */

/* The turn is another's; of a vCPU that is down it would be nobody's. */
static void waking_pass(struct domain *d, unsigned turn)
{
	unsigned next = turn;

	do
		next = next < d->nr_vcpus ? next + 1 : 0;
	while (next && atomic_load(&d->vcpu[next - 1]->run_state) == VCPU_DOWN);
	atomic_store(&d->clock.waking_since_ns, abi_now_ns());
	if (!atomic_compare_exchange_strong(&d->clock.waking, &turn, next))
		return;
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		vcpu_wake(d->vcpu[i]);
}

/* False: v waited for another's turn to end, which it does when that one takes too long: it may be waiting for v. */
static bool waking_turn(struct vcpu *v)
{
	struct domain *d = v->d;
	unsigned turn = atomic_load(&d->clock.waking);
	uint64_t end = atomic_load(&d->clock.waking_since_ns) + WAKING_NS;

	if (!turn || turn == v->id + 1)
		return true;
	if (abi_now_ns() >= end) {
		waking_pass(d, turn);
	} else {
		runstate_change(v, RUNSTATE_runnable);
		vcpu_wait(v, end);
	}
	return false;
}

static void vcpu_sleep(struct vcpu *v, int runstate, uint64_t deadline_ns)
{
	runstate_change(v, runstate);
	vcpu_wait(v, deadline_ns);
}

static void vcpu_pause(struct vcpu *v)
{
	v->d->engine->sync_state(v);
	if (v->runstate.state != RUNSTATE_blocked)
		runstate_change(v, RUNSTATE_offline);
	vcpu_thread_park(v);
}

void vcpu_loop(struct vcpu *v)
{
	struct domain *d = v->d;

	while (!atomic_load(&v->exit_requested)) {
		atomic_store(&v->kick, false);
		if (atomic_load(&v->pause_requested)) {
			vcpu_pause(v);
			continue;
		}
		if (atomic_load(&d->shutdown_reason) != DOMAIN_RUNNING || atomic_load(&v->run_state) == VCPU_DOWN) {
			vcpu_sleep(v, RUNSTATE_offline, UINT64_MAX);
			continue;
		}
		time_poll_timers(v);
		if (vcpu_asleep(v)) {
			if (atomic_load_explicit(&d->clock.waking, memory_order_relaxed) == v->id + 1)
				waking_pass(d, v->id + 1);
			vcpu_sleep(v, RUNSTATE_blocked, time_next_deadline_ns(v));
		} else if (atomic_load_explicit(&d->clock.waking, memory_order_relaxed) && !waking_turn(v)) {
			continue;
		} else if (v->nap_ns >= THROTTLE_NAP_MIN_NS) {
			throttle_nap(v);
		} else {
			vcpu_run_guest(v);
		}
	}
}
