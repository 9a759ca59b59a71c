/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Save, load, save again: the same octets.  And what arrives damaged is refused whole, or loaded into a state a guest
 * could have made by itself; it never crashes us (a peer or a file is hostile).
 */
#include "tests/unit/abi_fake.h"
#include "lib/buf.h"

static struct domain *d;
static struct vcpu *v;

static int setup(void **state)
{
	d = fake_busy_domain();
	v = d->vcpu[0];
	return 0;
}

static int teardown(void **state)
{
	fake_free(d);
	return 0;
}

static struct buf save_domain(void)
{
	struct buf b = BUF_INIT(1 << 20);

	assert_int_equal(abi_domain_save(d, &b), 0);
	return b;
}

static struct buf save_vcpu(unsigned id)
{
	struct buf b = BUF_INIT(1 << 20);

	assert_int_equal(abi_vcpu_save(d->vcpu[id], &b), 0);
	return b;
}

/* Into a blank domain of the same shape, whose memory has arrived. */
static void move_to_blank(void)
{
	struct domain *old = d;
	struct fake_counters counters = fake;

	d = fake_domain(2, 256, 0);
	memcpy(d->ram, old->ram, domain_nr_frames(d) << PAGE_SHIFT_HV);
	v = d->vcpu[0];
	fake_free(old);
	fake = counters;
}

static void what_was_saved_comes_back(void **state)
{
	struct buf dom = save_domain(), cpu[2] = { save_vcpu(0), save_vcpu(1) }, again;

	assert_int_equal(cpu[0].len, 8832);             /* docs/specs/image.md names the size */
	move_to_blank();
	assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(abi_vcpu_load(d->vcpu[i], cpu[i].data, cpu[i].len), 0);
	again = save_domain();
	assert_int_equal(again.len, dom.len);
	assert_memory_equal(again.data, dom.data, dom.len);
	buf_free(&again);
	for (unsigned i = 0; i < 2; i++) {
		again = save_vcpu(i);
		assert_int_equal(again.len, cpu[i].len);
		assert_memory_equal(again.data, cpu[i].data, cpu[i].len);
		buf_free(&again);
		buf_free(&cpu[i]);
	}
	assert_int_equal(atomic_load(&d->tot_pages), 127);
	assert_ptr_equal(v->info, hva(d, gva(62) + 128));
	assert_int_equal(d->evtchn->virq_port[1][VIRQ_TIMER], 2);
	buf_free(&dom);
}

/* The pause shows on the guest's clock, and a target whose clock is behind does not turn it back. */
static void system_time_goes_on_by_the_true_pause(void **state)
{
	struct buf dom = save_domain();
	uint64_t then = system_time_ns(d);

	fake_real += 700000000UL;
	assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
	assert_int_equal(system_time_ns(d), then + 700000000UL);
	fake_real -= 3600000000000UL;
	assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
	assert_int_equal(system_time_ns(d), then);
	time_update_vcpu(v);
	assert_int_equal(v->info->time.system_time, then);
	buf_free(&dom);
}

/*
 * Nodes whose TSCs count at another rate and from another point, and whose real-time clocks are apart: what the guest reads by its own
 * formula goes on by the true pause and never back.  With an invariant TSC the correction used to be lost: the guest's time jumped by what
 * the two nodes' clocks were apart.
 */
static void a_node_with_other_clocks_changes_nothing(void **state)
{
	static const struct { uint64_t khz, ahead; int64_t offset_ns; } node[] = {
		{ 3700000, 0, 0 }, { 1200000, 1UL << 60, 5000000000L }, { 2100000, 12345, -5000000000L }, { 2900001, 1, 86400L * 1000000000 },
	};
	const uint64_t pause = 40000000UL;

	for (size_t i = 0; i < sizeof(node) / sizeof(node[0]); i++) {
		struct buf dom = save_domain();
		uint64_t then = system_time_ns(d), real = fake_real, last;

		fake_tsc_khz = node[i].khz;
		fake_tsc_ahead = node[i].ahead;
		move_to_blank();
		fake_now = 7000000000UL;                       /* the other node came up at another time */
		fake_real = real + pause + (uint64_t)node[i].offset_ns;
		d->saved_clock_behind_ns = node[i].offset_ns;
		assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
		last = system_time_ns(d);
		assert_int_equal(last, then + pause);
		for (unsigned k = 0; k < 1000; k++) {
			fake_now += 999983;
			assert_true(system_time_ns(d) > last);
			last = system_time_ns(d);
		}
		/* a second at the other rate is a second, to a part in a million */
		assert_true(llabs((long long)(last - then - pause - 999983000)) < 1000);
		fake_tsc_khz = FAKE_TSC_KHZ;
		fake_tsc_ahead = 0;
		buf_free(&dom);
	}
}

static struct buf save_tsc(void)
{
	struct buf b = BUF_INIT(64);

	assert_int_equal(abi_tsc_save(d, &b), 0);
	assert_int_equal(b.len, 24);                    /* docs/specs/image.md names the size */
	return b;
}

static uint64_t guest_tsc_now(void) { return domain_guest_tsc(d, abi_read_tsc()); }

/* As a guest computes it (xen.h, vcpu_time_info). */
static uint64_t guest_clock(const struct vcpu_time_info *t)
{
	uint64_t delta = guest_tsc_now() - t->tsc_timestamp;

	delta = t->tsc_shift < 0 ? delta >> -t->tsc_shift : delta << t->tsc_shift;
	return t->system_time + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
}

/*
 * From node to node, there and back, whose TSCs count at other rates, from other points, and one of which is no clock at all: RDTSC goes on
 * by the pause at the rate that the guest was told, and its own formula makes the hypervisor's system time.  It used to go on from
 * the other host's count.
 */
static void rdtsc_goes_on(void **state)
{
	static const struct { uint64_t khz, ahead; bool unstable; } node[] = {
		{ 3700000, 0, false }, { 1200000, 1UL << 62, false }, { 2100000, 12345, false }, { 2900001, 1, true }, { 2099999, 3, false },
		{ 2100000, 0, false }, { 999999, 7, true }, { 3000000, 0xfffffffffffUL, false },
	};
	const uint64_t pause = 40000000UL;
	struct vcpu_time_info first;

	time_update_vcpu(v);
	first = v->info->time;
	for (size_t i = 0; i < sizeof(node) / sizeof(node[0]); i++) {
		struct buf dom = save_domain(), tsc = save_tsc();
		uint64_t then = guest_tsc_now(), real = fake_real, t0, s0, expected = pause * FAKE_TSC_KHZ / 1000000;

		fake_tsc_khz = node[i].khz;
		fake_tsc_ahead = node[i].ahead;
		move_to_blank();
		d->clock.stable = fake_tsc_stable = !node[i].unstable;
		fake_now = 7000000000UL + i * 86400000000000UL;
		fake_real = real + pause;
		assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
		assert_int_equal(abi_tsc_load(d, tsc.data, tsc.len), 0);
		assert_int_equal(d->tsc_khz, FAKE_TSC_KHZ);
		assert_true(guest_tsc_now() - then - expected < 50 || then + expected - guest_tsc_now() < 50);
		t0 = guest_tsc_now();
		s0 = system_time_ns(d);
		for (unsigned k = 0; k < 1000; k++) {
			uint64_t before = guest_tsc_now();

			fake_now += 999983;
			fake_real += 999983;
			time_update_vcpu(v);
			assert_true(guest_tsc_now() > before);
			assert_true(llabs((long long)(guest_clock(&v->info->time) - system_time_ns(d))) < 5);
		}
		/* a second is a second by both, to a part in a million */
		assert_true(llabs((long long)(system_time_ns(d) - s0 - 999983000)) < 1100);
		assert_true(llabs((long long)((guest_tsc_now() - t0) * 1000000 / FAKE_TSC_KHZ - 999983000)) < 1100);
		if (i < 3) {
			assert_int_equal(v->info->time.tsc_timestamp, first.tsc_timestamp);
			assert_int_equal(v->info->time.system_time, first.system_time);
			assert_int_equal(v->info->time.tsc_to_system_mul, first.tsc_to_system_mul);
		}
		assert_int_equal(v->info->time.flags, node[i].unstable ? 0 : XEN_PVCLOCK_TSC_STABLE_BIT);
		buf_free(&dom);
		buf_free(&tsc);
	}
	fake_tsc_khz = FAKE_TSC_KHZ;
	fake_tsc_ahead = 0;
	fake_tsc_stable = true;
}

static void a_tsc_record_is_checked(void **state)
{
	static const struct tsc_pair bad[] = { { 1, 1, 0 }, { 1, 1, 999 }, { 1, 1, 100000001 }, { 1, 1, UINT64_MAX }, { 1, 1UL << 62, 2100000 },
					       { 1, UINT64_MAX, 2100000 } };
	static const struct tsc_pair odd[] = { { UINT64_MAX, 0, 2100000 }, { 0, (1UL << 62) - 1, 1000 }, { 1UL << 63, 0, 100000000 } };
	struct buf b = save_tsc();

	for (size_t n = 0; n < b.len; n++)
		assert_int_equal(abi_tsc_load(d, b.data, n), -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(abi_tsc_load(d, &bad[i], sizeof(bad[i])), -EINVAL);
	assert_int_equal(d->tsc_scale | (uint64_t)d->tsc_offset, 0);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {     /* the guest's own clock is odd then, and nothing else */
		assert_int_equal(abi_tsc_load(d, &odd[i], sizeof(odd[i])), 0);
		time_update_vcpu(v);
		time_poll_timers(v);
		time_next_deadline_ns(v);
	}
	buf_free(&b);
}

/*
 * From a file there is no other clock than what the file says: days are days.  But not for what runs: a guest's scheduler charged all of them
 * to it.  So they pass when all vCPUs are halted; a guest that is saved again before has not lost them.
 */
static void a_guest_restored_after_days(void **state)
{
	const uint64_t days = 3 * 86400UL * 1000000000;
	struct buf dom = save_domain();
	uint64_t then = system_time_ns(d), real = fake_real;

	move_to_blank();
	fake_real = real + days;
	assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
	for (unsigned i = 0; i < 2; i++)
		atomic_store(&d->vcpu[i]->run_state, i ? VCPU_BLOCKED : VCPU_RUNNABLE);
	assert_true(time_sleep_is_over(d));
	abi_domain_settle(d);
	assert_int_equal(system_time_ns(d), then);
	time_update_vcpu(v);
	assert_int_equal(v->info->time.flags, XEN_PVCLOCK_TSC_STABLE_BIT);
	buf_free(&dom);
	dom = save_domain();
	move_to_blank();
	fake_real = real + days + 500;
	assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
	atomic_store(&d->vcpu[0]->run_state, VCPU_BLOCKED);
	atomic_store(&d->vcpu[1]->run_state, VCPU_POLLING);      /* in the middle of something */
	abi_domain_settle(d);
	assert_int_equal(system_time_ns(d), then);
	atomic_store(&d->vcpu[1]->run_state, VCPU_DOWN);
	assert_false(time_sleep_is_over(d));
	abi_domain_settle(d);
	assert_int_equal(system_time_ns(d), then + days + 500);
	assert_true(time_sleep_is_over(d));
	abi_domain_settle(d);                                    /* once */
	assert_int_equal(system_time_ns(d), then + days + 500);
	for (unsigned i = 0; i < 2; i++) {
		time_update_vcpu(d->vcpu[i]);
		assert_int_equal(d->vcpu[i]->info->time.flags, XEN_PVCLOCK_TSC_STABLE_BIT | XEN_PVCLOCK_GUEST_STOPPED);
	}
	v->info->time.flags &= (uint8_t)~XEN_PVCLOCK_GUEST_STOPPED;       /* as Linux does */
	time_update_vcpu(v);
	assert_int_equal(v->info->time.flags, XEN_PVCLOCK_TSC_STABLE_BIT);
	time_poll_timers(v);                                    /* no event, nothing said */
	assert_int_equal(v->info->time.flags, XEN_PVCLOCK_TSC_STABLE_BIT);
	for (unsigned i = 0; i < 3; i++) {                       /* but with each one, until the guest has settled */
		v->singleshot_ns = system_time_ns(d);
		time_poll_timers(v);
		time_update_vcpu(v);
		assert_int_equal(v->info->time.flags, XEN_PVCLOCK_TSC_STABLE_BIT | (i < 2 ? XEN_PVCLOCK_GUEST_STOPPED : 0));
		v->info->time.flags &= (uint8_t)~XEN_PVCLOCK_GUEST_STOPPED;
		fake_now += i ? 5000000000 : 1000000;
	}
	d->clock.stable = false;                                /* the pair is written anew at each entry, the flag is not */
	time_update_vcpu(v);
	assert_int_equal(v->info->time.flags, 0);
	time_update_vcpu(d->vcpu[1]);
	assert_int_equal(d->vcpu[1]->info->time.flags, XEN_PVCLOCK_GUEST_STOPPED);
	d->clock.stable = true;
	buf_free(&dom);
}

static void every_truncation_is_refused(void **state)
{
	struct buf dom = save_domain(), cpu = save_vcpu(0), after;

	for (size_t n = 0; n < dom.len; n++) {
		uint8_t *p = malloc(n ? n : 1);         /* its own size, so that ASan sees a read too far */

		memcpy(p, dom.data, n);
		assert_int_equal(abi_domain_load(d, p, n), -EINVAL);
		free(p);
	}
	for (size_t n = 0; n < cpu.len; n += n < 600 ? 1 : 61) {
		uint8_t *p = malloc(n ? n : 1);

		memcpy(p, cpu.data, n);
		assert_int_equal(abi_vcpu_load(v, p, n), -EINVAL);
		free(p);
	}
	after = save_domain();
	assert_memory_equal(after.data, dom.data, dom.len);       /* nothing was applied */
	buf_free(&after);
	after = save_vcpu(0);
	assert_memory_equal(after.data, cpu.data, cpu.len);
	buf_free(&after);
	buf_free(&dom);
	buf_free(&cpu);
}

/* Flip bits at random; whatever is accepted must be usable: run hypercalls and events on it. */
static void damage_never_harms_us(void **state)
{
	struct buf dom = save_domain(), cpu = save_vcpu(0);
	unsigned accepted = 0;

	srand(7);
	for (unsigned round = 0; round < 4000; round++) {
		struct buf *b = round & 1 ? &cpu : &dom;
		size_t at = (size_t)rand() % b->len;
		uint8_t old = b->data[at];
		int rc;

		b->data[at] = (uint8_t)rand();
		rc = round & 1 ? abi_vcpu_load(v, b->data, b->len) : abi_domain_load(d, b->data, b->len);
		b->data[at] = old;
		if (rc)
			continue;
		accepted++;
		fake_run_on(d, round);
		assert_int_equal(abi_domain_load(d, dom.data, dom.len), 0);
		assert_int_equal(abi_vcpu_load(v, cpu.data, cpu.len), 0);
	}
	assert_true(accepted > 200);                   /* register values and the like may be anything */
	buf_free(&dom);
	buf_free(&cpu);
}

static void another_shape_is_refused(void **state)
{
	struct buf dom = save_domain(), cpu = save_vcpu(0);
	struct domain *other = fake_domain(1, 256, 128);

	assert_int_equal(abi_domain_load(other, dom.data, dom.len), -EINVAL);
	fake_free(other);
	other = fake_domain(2, 512, 128);
	assert_int_equal(abi_domain_load(other, dom.data, dom.len), -EINVAL);
	assert_int_equal(abi_vcpu_load(other->vcpu[1], cpu.data, cpu.len), -EINVAL);
	fake_free(other);
	buf_free(&dom);
	buf_free(&cpu);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_saved_comes_back), T(system_time_goes_on_by_the_true_pause),
		T(a_node_with_other_clocks_changes_nothing), T(rdtsc_goes_on), T(a_tsc_record_is_checked), T(a_guest_restored_after_days), T(every_truncation_is_refused),
		T(damage_never_harms_us), T(another_shape_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
