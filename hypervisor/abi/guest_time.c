/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_time.c - the guest's clocks: vcpu_time_info, wall clock, one-shot and periodic timers, runstate.
 *
 * System time is nanoseconds since the domain was built, pauses and moves included.  With an invariant TSC one pair
 * (TSC, nanoseconds) serves all vCPUs for as long as the domain lives, so guest time cannot step and is
 * the same on every vCPU (XEN_PVCLOCK_TSC_STABLE_BIT); timers use the same clock.  Without one, each entry to the guest
 * refreshes the pair from CLOCK_MONOTONIC and the guest keeps it monotonic itself (no stable bit).
 *
 * A domain built here reads the host's TSC.  One that comes from elsewhere, or from a file, reads its own: it goes on at the rate and from
 * the count that it had, by as much as system time did, so the pair that the guest knows holds on.  domain.tsc_scale and .tsc_offset
 * make that of the host's.
 */
#include "hypervisor/abi/abi_private.h"

#define NS_PER_S 1000000000UL
#define SETTLE_NS (5 * NS_PER_S)        /* in which a guest that slept has had a timer interrupt on each vCPU, however busy the host */

/* ---- scale ---- */

/* mul and shift such that ns = ((ticks << shift) * mul) >> 32, mul in [2^31, 2^32) for the best precision. */
static void scale_from_khz(uint64_t khz, uint32_t *mul, int8_t *shift)
{
	/* ns per tick = 10^6 / khz, as a 32.32 fraction, normalised */
	unsigned __int128 frac = ((unsigned __int128)1000000 << 64) / khz;         /* .64 */
	int s = 0;

	while (frac >> 64) {
		frac >>= 1;
		s++;
	}
	while (!(frac >> 63)) {
		frac <<= 1;
		s--;
	}
	*mul = (uint32_t)(frac >> 32);
	*shift = (int8_t)s;
}

static uint64_t scale_ticks(uint64_t ticks, uint32_t mul, int shift)
{
	unsigned __int128 t = ticks;

	t = shift < 0 ? t >> -shift : t << shift;
	return (uint64_t)(t * mul >> 32);
}

/* The least number of ticks that is ns or more by scale_ticks(). */
static uint64_t ticks_for(uint64_t ns, uint32_t mul, int shift)
{
	unsigned __int128 t = (((unsigned __int128)ns << 32) + mul - 1) / mul;

	return (uint64_t)(shift < 0 ? t << -shift : (t + (1ULL << shift) - 1) >> shift);
}

static uint64_t guest_tsc(const struct domain *d) { return domain_guest_tsc(d, abi_read_tsc()); }

uint64_t system_time_ns(const struct domain *d)
{
	uint64_t tsc;

	if (!d->clock.stable)
		return abi_now_ns() + (uint64_t)d->system_offset_ns;
	tsc = guest_tsc(d);
	/* Another CPU's TSC may be a few ticks behind the one the pair was taken on. */
	return tsc <= d->clock.tsc ? d->clock.ns : d->clock.ns + scale_ticks(tsc - d->clock.tsc, d->clock.mul, d->clock.shift);
}

void time_set(struct domain *d, uint64_t system_ns)
{
	d->clock.tsc = guest_tsc(d);
	d->clock.ns = system_ns;
	d->system_offset_ns = (int64_t)(system_ns - abi_now_ns());
	d->clock.generation++;
}

struct tsc_pair tsc_pair_get(const struct domain *d)
{
	if (d->clock.stable)
		return (struct tsc_pair) { d->clock.tsc, d->clock.ns, d->tsc_khz };
	return (struct tsc_pair) { guest_tsc(d), system_time_ns(d), d->tsc_khz };
}

/* 1 MHz to 100 GHz: what is outside is damage, and scales that it leads to might not fit. */
#define TSC_KHZ_MIN 1000U
#define TSC_KHZ_MAX 100000000U

int tsc_go_on(struct domain *d, const struct tsc_pair *p)
{
	uint64_t now = system_time_ns(d), host_khz;
	unsigned __int128 scale;
	bool stable;

	host_khz = abi_tsc_khz(&stable);
	if (p->khz < TSC_KHZ_MIN || p->khz > TSC_KHZ_MAX || p->ns >= 1UL << 62)
		return -EINVAL;
	scale = ((unsigned __int128)p->khz << TSC_SCALE_BITS) / host_khz;
	if (scale > UINT64_MAX)
		return -EINVAL;
	d->tsc_khz = p->khz;
	d->tsc_scale = p->khz == host_khz ? 0 : (uint64_t)scale;
	scale_from_khz(p->khz, &d->clock.mul, &d->clock.shift);
	d->tsc_offset = 0;
	d->tsc_offset = (int64_t)(p->tsc + (now > p->ns ? ticks_for(now - p->ns, d->clock.mul, d->clock.shift) : 0) - guest_tsc(d));
	d->clock.tsc = p->tsc;
	d->clock.ns = p->ns;
	d->clock.generation++;
	return 0;
}

/*
 * A guest that was not asked cannot tell its scheduler that it slept: what ran on a vCPU then would be charged with all of it, and
 * wait until everything else has had as much.  So the sleep is put where the guest sleeps by itself: all vCPUs that are up are
 * halted (SCHEDOP_block).  One that polls is no such: it waits for a lock in the middle of something.
 */
static bool all_halted(const struct domain *d)
{
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		int state = atomic_load(&d->vcpu[i]->run_state);

		if (state != VCPU_BLOCKED && state != VCPU_DOWN)
			return false;
	}
	return true;
}

bool time_sleep_is_over(const struct domain *d) { return !d->clock.slept_ns || !all_halted(d); }

void time_sleep_over(struct domain *d)
{
	if (time_sleep_is_over(d))
		return;
	time_set(d, system_time_ns(d) + d->clock.slept_ns);
	d->clock.slept_ns = 0;
	d->clock.jumped = true;
	d->clock.settled_ns = system_time_ns(d) + SETTLE_NS;
	atomic_store(&d->clock.waking_since_ns, abi_now_ns());
	atomic_store(&d->clock.waking, 1);
}

/*
 * Once is too early after a sleep.  Linux forgives its watchdogs at the first look at the clock that finds the flag, and
 * counts its jiffies on by the days later, in the timer interrupt of one CPU: a grace period of RCU that began between the
 * two, by the old jiffies, is days old by the new ones, and is called a stall (tree_stall.h, check_cpu_stall).  For stalls it
 * looks in each CPU's timer interrupt, after the clock.  So for a while each of those says it again, and what began by the old
 * jiffies is forgiven by the new.  What begins between the look and the counting, on another CPU, is not: so they wake one by one.
 */
static void tell_watchdogs_again(struct vcpu *v, uint64_t now)
{
	if (now >= v->d->clock.settled_ns)
		return;
	v->info->time.flags |= XEN_PVCLOCK_GUEST_STOPPED;
	vcpu_info_touched(v);
}

void time_domain_init(struct domain *d)
{
	uint64_t khz = abi_tsc_khz(&d->clock.stable);

	d->tsc_khz = khz;
	scale_from_khz(khz, &d->clock.mul, &d->clock.shift);
	time_set(d, 0);
}

/* ---- what the guest reads ---- */

static struct vcpu_time_info time_info(struct domain *d)
{
	struct vcpu_time_info t = { .tsc_to_system_mul = d->clock.mul, .tsc_shift = d->clock.shift };

	if (d->clock.stable) {
		t.tsc_timestamp = d->clock.tsc;
		t.system_time = d->clock.ns;
		t.flags = XEN_PVCLOCK_TSC_STABLE_BIT;
	} else {
		t.tsc_timestamp = guest_tsc(d);
		t.system_time = system_time_ns(d);
	}
	return t;
}

/* The secondary copy may be read by other vCPUs while it is written: odd version first, even version last. */
void time_write_area(struct vcpu *v)
{
	struct vcpu_time_info t = v->info->time;
	uint32_t odd = t.version | 1;

	if (!v->time_va)
		return;
	if (guest_kernel_write(v, v->time_va, &odd, sizeof(odd)))
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	guest_kernel_write(v, v->time_va + sizeof(odd), (const uint8_t *)&t + sizeof(odd), sizeof(t) - sizeof(odd));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	guest_kernel_write(v, v->time_va, &t.version, sizeof(t.version));
}

void time_update_vcpu(struct vcpu *v)
{
	struct domain *d = v->d;
	struct vcpu_time_info *out = &v->info->time, t;

	bool fresh = v->time_generation != d->clock.generation;

	if (d->clock.stable && !fresh)
		return;
	t = time_info(d);
	/* The guest takes this flag out itself, once it has told its watchdogs (Linux: pvclock_touch_watchdogs). */
	t.flags |= fresh && d->clock.jumped ? XEN_PVCLOCK_GUEST_STOPPED : out->flags & XEN_PVCLOCK_GUEST_STOPPED;
	v->time_generation = d->clock.generation;
	out->version |= 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	out->tsc_timestamp = t.tsc_timestamp;
	out->system_time = t.system_time;
	out->tsc_to_system_mul = t.tsc_to_system_mul;
	out->tsc_shift = t.tsc_shift;
	out->flags = t.flags;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	out->version++;
	vcpu_info_touched(v);
	time_write_area(v);
}

void time_update_wallclock(struct domain *d)
{
	struct shared_info *s = domain_shared_info(d);
	uint64_t boot = abi_realtime_ns() - system_time_ns(d);

	d->wallclock_offset_ns = (int64_t)boot;
	s->wc_version |= 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	s->wc_sec = (uint32_t)(boot / NS_PER_S);
	s->wc_sec_hi = (uint32_t)(boot / NS_PER_S >> 32);
	s->wc_nsec = (uint32_t)(boot % NS_PER_S);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	s->wc_version++;
	domain_mark_dirty(d, SPECIAL_MFN + SPECIAL_SHARED_INFO);
}

/* ---- timers ---- */

void time_poll_timers(struct vcpu *v)
{
	uint64_t now;
	bool due = false;

	watchdog_poll(v->d);
	if (!v->singleshot_ns && !v->periodic_ns && !(atomic_load(&v->run_state) == VCPU_POLLING && v->poll_until_ns))
		return;
	now = system_time_ns(v->d);
	if (v->singleshot_ns && now >= v->singleshot_ns) {
		v->singleshot_ns = 0;
		due = true;
	}
	if (v->periodic_ns && now >= v->periodic_next_ns) {
		v->periodic_next_ns += ((now - v->periodic_next_ns) / v->periodic_ns + 1) * v->periodic_ns;
		due = true;
	}
	if (due) {
		tell_watchdogs_again(v, now);
		evtchn_raise_virq(v, VIRQ_TIMER);
	}
	if (v->poll_until_ns && now >= v->poll_until_ns) {
		int polling = VCPU_POLLING;

		atomic_compare_exchange_strong(&v->run_state, &polling, VCPU_RUNNABLE);
	}
}

uint64_t time_next_deadline_ns(const struct vcpu *v)
{
	uint64_t next = UINT64_MAX, sys, now;

	if (v->singleshot_ns)
		next = v->singleshot_ns;
	if (v->periodic_ns && v->periodic_next_ns < next)
		next = v->periodic_next_ns;
	if (atomic_load(&v->run_state) == VCPU_POLLING && v->poll_until_ns && v->poll_until_ns < next)
		next = v->poll_until_ns;
	if (next == UINT64_MAX)
		return watchdog_deadline_ns(v->d);
	now = abi_now_ns();
	sys = system_time_ns(v->d);
	if (next <= sys)
		return now;
	next = next - sys > UINT64_MAX - 1 - now ? UINT64_MAX - 1 : now + (next - sys);
	return next < watchdog_deadline_ns(v->d) ? next : watchdog_deadline_ns(v->d);
}

/* ---- runstate ---- */

static void runstate_write(struct vcpu *v)
{
	struct vcpu_runstate_info r = v->runstate;
	const size_t off = offsetof(struct vcpu_runstate_info, state_entry_time);
	bool flag = v->d->vm_assist >> VMASST_TYPE_runstate_update_flag & 1;
	uint64_t entry;

	if (!v->runstate_va)
		return;
	if (flag) {
		/* Readers on other vCPUs see the update bit for as long as the rest may not fit together (vcpu.h). */
		entry = r.state_entry_time | XEN_RUNSTATE_UPDATE;
		if (guest_kernel_write(v, v->runstate_va + off, &entry, sizeof(entry)))
			return;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		r.state_entry_time = entry;
	}
	if (guest_kernel_write(v, v->runstate_va, &r, sizeof(r)) || !flag)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	entry = r.state_entry_time & ~XEN_RUNSTATE_UPDATE;
	guest_kernel_write(v, v->runstate_va + off, &entry, sizeof(entry));
}

static void runstate_account(struct vcpu *v, uint64_t now)
{
	struct vcpu_runstate_info *r = &v->runstate;

	if (now > r->state_entry_time)
		r->time[r->state & 3] += now - r->state_entry_time;
	r->state_entry_time = now;
}

void runstate_change(struct vcpu *v, int runstate)
{
	if (v->runstate.state == runstate)
		return;
	pthread_mutex_lock(&v->d->lock);
	runstate_account(v, system_time_ns(v->d));
	v->runstate.state = runstate;
	pthread_mutex_unlock(&v->d->lock);
	runstate_write(v);
}

void runstate_get(struct vcpu *v, struct vcpu_runstate_info *out)
{
	uint64_t now = system_time_ns(v->d);

	pthread_mutex_lock(&v->d->lock);
	*out = v->runstate;
	pthread_mutex_unlock(&v->d->lock);
	if (now > out->state_entry_time)
		out->time[out->state & 3] += now - out->state_entry_time;
}

/* A copy is there at once, for a vCPU that is not running yet as well: the address is looked up by the caller. */
void runstate_register(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_runstate_info r;

	v->runstate_va = va;
	if (!va)
		return;
	runstate_get(v, &r);
	guest_write(self, va, &r, sizeof(r));
}

int time_register_area(struct vcpu *self, struct vcpu *v, uint64_t va)
{
	struct vcpu_time_info t = v->info->time;
	uint32_t version = t.version;

	t = time_info(v->d);
	t.version = version & ~1U;
	if (va && guest_write(self, va, &t, sizeof(t)))
		return -EFAULT;
	v->time_va = va;
	return 0;
}
