/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pre-copy decisions in virtual time: a simulated link and a simulated guest drive precopy.c; no clock, no socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "migrated/precopy.h"

#define MS 1000000ull
#define S 1000000000ull

struct sim {
	struct precopy p;
	uint64_t now, link_bps, dirty_bps, hot_pages;
	unsigned rounds;
	double percent;
	enum precopy_action last;
	uint64_t left;
	struct { uint64_t at; double eta_s; } told[64];     /* the first of each 64th of the way */
};

static void sim_progress(struct sim *s)
{
	struct precopy_progress g;

	precopy_progress(&s->p, &g);
	assert_true(g.percent >= s->percent);
	assert_true(g.percent <= 100.0);
	s->percent = g.percent;
	if (!s->told[(unsigned)(g.percent * 0.63)].at) {
		s->told[(unsigned)(g.percent * 0.63)].at = s->now;
		s->told[(unsigned)(g.percent * 0.63)].eta_s = g.eta_s;
	}
}

/* Runs until the decision; the guest dirties dirty_bps bytes a second within hot_pages pages. */
static void sim_run(struct sim *s, const struct precopy_config *cfg, uint64_t frames)
{
	uint64_t pages = frames;

	s->now = 5 * S;
	precopy_init(&s->p, cfg, frames, s->now);
	do {
		uint64_t begin = s->now, sent = 0;

		precopy_round_begin(&s->p, pages, s->now);
		s->rounds++;
		while (sent < pages && !precopy_expired(&s->p, s->now)) {
			uint64_t n = pages - sent < 64 ? pages - sent : 64;

			s->now += n * 4096 * S / s->link_bps + 1000;
			precopy_sent(&s->p, n, n * 4096, s->now);
			sent += n;
			sim_progress(s);
		}
		s->left = s->dirty_bps * (s->now - begin) / S / 4096 + (pages - sent);
		if (s->left > s->hot_pages)
			s->left = s->hot_pages;
		s->last = precopy_round_end(&s->p, s->left, s->now);
		sim_progress(s);
		pages = s->left;
		assert_true(s->rounds < 1000);
	} while (s->last == PRECOPY_ROUND);
}

static void test_idle_guest_stops_after_two_rounds(void **state)
{
	struct sim s = {.link_bps = 1000000000, .dirty_bps = 400000, .hot_pages = 1000};
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	sim_run(&s, &cfg, 65536);
	assert_int_equal(s.last, PRECOPY_STOP);
	assert_true(s.rounds <= 3);
	assert_true(s.left < 64);
}

static void test_busy_guest_converges_below_the_goal(void **state)
{
	struct sim s = {.link_bps = 1000000000, .dirty_bps = 300000000, .hot_pages = 65536};
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	sim_run(&s, &cfg, 262144);
	assert_int_equal(s.last, PRECOPY_STOP);
	assert_true(precopy_predict_ns(&s.p, s.left) <= cfg.goal_downtime_ns);
}

static void test_stalled_but_within_the_limit_stops(void **state)
{
	/* 25,000 hot pages: 102 ms at 1 GB/s, over the goal, under the limit, and no round makes it better */
	struct sim s = {.link_bps = 1000000000, .dirty_bps = 4000000000, .hot_pages = 25000};
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	sim_run(&s, &cfg, 65536);
	assert_int_equal(s.last, PRECOPY_STOP);
	assert_true(s.rounds <= 6);
}

static void test_hopeless_guest_is_left_alone(void **state)
{
	struct sim s = {.link_bps = 100000000, .dirty_bps = 4000000000, .hot_pages = 60000};
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	sim_run(&s, &cfg, 65536);
	assert_int_equal(s.last, PRECOPY_GIVE_UP);
	assert_int_equal(s.rounds, cfg.max_rounds);
	assert_non_null(strstr(precopy_why(&s.p), "max_downtime_ms"));
}

static void test_deadline_ends_a_slow_first_round(void **state)
{
	struct sim s = {.link_bps = 1000000, .dirty_bps = 1000000, .hot_pages = 262144};
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	cfg.deadline_ns = 2 * S;
	sim_run(&s, &cfg, 262144);
	assert_int_equal(s.last, PRECOPY_GIVE_UP);
	assert_true(s.now - 5 * S < 3 * S);
	assert_non_null(strstr(precopy_why(&s.p), "deadline"));
}

static void test_goal_never_above_the_limit(void **state)
{
	struct sim s = {.link_bps = 1000000000, .dirty_bps = 4000000000, .hot_pages = 10000};
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	cfg.max_downtime_ns = 20 * MS;
	sim_run(&s, &cfg, 65536);
	assert_int_equal(s.last, PRECOPY_GIVE_UP);
}

/* As the simulated guest of sim_run(), but it writes less the more it is slowed down. */
static void throttled_run(struct sim *s, const struct precopy_config *cfg, uint64_t frames)
{
	uint64_t pages = frames, full = s->dirty_bps;
	unsigned throttle = 0;

	s->now = 5 * S;
	precopy_init(&s->p, cfg, frames, s->now);
	do {
		uint64_t took = pages * 4096 * S / s->link_bps;

		precopy_round_begin(&s->p, pages, s->now);
		for (uint64_t sent = 0; sent < pages; sent += 64) {
			s->now += took * 64 / pages;
			precopy_sent(&s->p, 64, 64 * 4096, s->now);
		}
		s->left = (uint64_t)((double)full * (1000 - throttle) / 1000 * (double)took / S / 4096);
		if (s->left > s->hot_pages)
			s->left = s->hot_pages;
		s->last = precopy_round_end(&s->p, s->left, s->now);
		assert_true(precopy_throttle(&s->p) >= throttle);
		throttle = precopy_throttle(&s->p);
		assert_true(throttle <= PRECOPY_THROTTLE_MAX);
		pages = s->left;
		sim_progress(s);
		assert_true(++s->rounds < 1000);
	} while (s->last == PRECOPY_ROUND);
}

static void test_a_throttled_guest_ends_within_the_deadline(void **state)
{
	static const struct { uint64_t link, dirty, hot, deadline; } c[] = {
		{ 20000000, 4000000000, 25000, 120 }, { 20000000, 4000000000, 25000, 30 }, { 100000000, 300000000, 60000, 60 },
		{ 20000000, 25000000, 25000, 60 }, { 1000000000, 10000000000, 200000, 20 },
	};

	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		struct sim s = { .link_bps = c[i].link, .dirty_bps = c[i].dirty, .hot_pages = c[i].hot };
		struct precopy_config cfg;

		precopy_config_default(&cfg);
		cfg.throttle = true;
		cfg.deadline_ns = c[i].deadline * S;
		throttled_run(&s, &cfg, 2 * c[i].hot);
		assert_int_equal(s.last, PRECOPY_STOP);
		assert_true(precopy_throttle(&s.p) > 0);
		assert_true(s.now - 5 * S <= cfg.deadline_ns);
		assert_true(precopy_predict_ns(&s.p, s.left) <= cfg.max_downtime_ns);
	}
}

static void test_no_guest_is_slowed_down_that_converges(void **state)
{
	struct sim s = { .link_bps = 1000000000, .dirty_bps = 500000000, .hot_pages = 200000 };
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	cfg.throttle = true;
	throttled_run(&s, &cfg, 262144);
	assert_int_equal(s.last, PRECOPY_STOP);
	assert_int_equal(0, precopy_throttle(&s.p));
}

static void test_a_guest_that_may_is_switched_when_a_round_did_not_help(void **state)
{
	struct sim s = { .link_bps = 20000000, .dirty_bps = 4000000000, .hot_pages = 25000 };
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	cfg.postcopy = true;
	sim_run(&s, &cfg, 50000);
	assert_int_equal(s.last, PRECOPY_SWITCH);
	assert_int_equal(s.rounds, 2);
	assert_true(s.now - 5 * S < cfg.deadline_ns);
	assert_int_equal(0, precopy_throttle(&s.p));
}

static void test_the_deadline_switches_in_the_first_round(void **state)
{
	struct sim s = { .link_bps = 20000000, .dirty_bps = 400000, .hot_pages = 300000 };
	struct precopy_config cfg;

	precopy_config_default(&cfg);
	cfg.postcopy = true;
	cfg.deadline_ns = 3 * S;
	sim_run(&s, &cfg, 262144);
	assert_int_equal(s.last, PRECOPY_SWITCH);
	assert_int_equal(s.rounds, 1);
	assert_true(s.now - 5 * S < cfg.deadline_ns + S);
}

/* What fits the longest pause that is accepted goes in the pause: nothing is owed that need not be. */
static void test_a_guest_that_converges_is_not_switched(void **state)
{
	static const struct { uint64_t link, dirty, hot; } c[] = {
		{ 1000000000, 500000000, 200000 }, { 1000000000, 400000, 1000 }, { 100000000, 4000000000, 5000 },
	};

	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		struct sim s = { .link_bps = c[i].link, .dirty_bps = c[i].dirty, .hot_pages = c[i].hot };
		struct precopy_config cfg;

		precopy_config_default(&cfg);
		cfg.postcopy = true;
		sim_run(&s, &cfg, 262144);
		assert_int_equal(s.last, PRECOPY_STOP);
	}
}

static void test_a_slow_link_is_measured(void **state)
{
	struct precopy_config cfg;
	struct precopy p;
	uint64_t now = S;

	precopy_config_default(&cfg);
	precopy_init(&p, &cfg, 100000, now);
	precopy_round_begin(&p, 100000, now);
	for (int i = 0; i < 100; i++) {
		precopy_sent(&p, 64, 64 * 4096, now += 1000);       /* a burst into the socket */
		precopy_sent(&p, 64, 64 * 4096, now += 100 * MS);
	}
	assert_in_range(p.rate_bps, 4500000, 6500000);
	for (int i = 0; i < 100; i++)
		precopy_sent(&p, 4096, 0, now += 10 * MS);          /* zero pages cost nothing and tell nothing */
	assert_in_range(p.rate_bps, 4500000, 6500000);
}

static void test_pace_holds_the_cap(void **state)
{
	struct precopy_config cfg;
	struct precopy p;

	precopy_config_default(&cfg);
	assert_int_equal(0, cfg.bandwidth_bps);
	cfg.bandwidth_bps = 100000000;
	precopy_init(&p, &cfg, 1000, S);
	precopy_round_begin(&p, 1000, S);
	precopy_sent(&p, 100, 10000000, S + 10 * MS);
	assert_in_range(precopy_pace_ns(&p, S + 10 * MS), 89 * MS, 91 * MS);
	assert_int_equal(0, precopy_pace_ns(&p, S + 101 * MS));
}

/* Whoever asks before the first round, or while it is empty of news, hears of no way that is not gone. */
static void test_nothing_is_told_before_it_is_known(void **state)
{
	struct precopy_progress g;
	struct precopy_config cfg;
	struct precopy p;

	precopy_config_default(&cfg);
	precopy_init(&p, &cfg, 1000, S);
	precopy_progress(&p, &g);
	assert_true(g.percent < 0.1 && g.eta_s < 0 && !g.known && !g.rate_known);
	precopy_round_begin(&p, 100000, S);
	precopy_sent(&p, 50000, 50000 * 4096ull, 2 * S);
	precopy_progress(&p, &g);
	assert_true(g.percent > 42 && g.percent < 43 && g.eta_s > 0.9 && g.eta_s < 1.1 && !g.known && g.rate_known);
	precopy_round_end(&p, 10, 3 * S);
	precopy_progress(&p, &g);
	assert_true(g.known && g.converges);
}

static void test_eta_says_when_it_will_not_converge(void **state)
{
	struct sim s = {.link_bps = 100000000, .dirty_bps = 4000000000, .hot_pages = 60000};
	struct precopy_config cfg;
	struct precopy_progress g;

	precopy_config_default(&cfg);
	sim_run(&s, &cfg, 65536);
	precopy_progress(&s.p, &g);
	assert_true(g.eta_s < 0);
	assert_true(g.dirty_rate_mbs > g.rate_mbs * 0.9);
}

/*
 * From a tenth of the way on, what is told is within a third of what it then takes; of a guest that writes much, from the second round on: what the
 * first leaves dirty is not known before its end.
 */
static void test_eta_is_about_right(void **state)
{
	static const uint64_t dirty_bps[] = { 0, 50000000, 300000000 };
	struct precopy_config cfg;

	for (size_t k = 0; k < 3; k++) {
		struct sim s = {.link_bps = 1000000000, .dirty_bps = dirty_bps[k], .hot_pages = 60000};
		unsigned told = 0;

		precopy_config_default(&cfg);
		sim_run(&s, &cfg, 524288);
		assert_int_equal(s.last, PRECOPY_STOP);
		for (unsigned i = k < 2 ? 7 : 54; i < 64; i++) {
			double took = (double)(s.now - s.told[i].at) / 1e9;

			if (!s.told[i].at)
				continue;
			told++;
			assert_true(s.told[i].eta_s >= 0);
			assert_true(s.told[i].eta_s < took * 4 / 3 + 0.1 && s.told[i].eta_s > took * 2 / 3 - 0.1);
		}
		assert_true(told > (k < 2 ? 20 : 0));
	}
}

static void test_empty_and_huge_values_do_no_harm(void **state)
{
	struct precopy_config cfg;
	struct precopy p;

	precopy_config_default(&cfg);
	precopy_init(&p, &cfg, 0, 0);
	precopy_round_begin(&p, 0, 0);
	assert_int_equal(PRECOPY_STOP, precopy_round_end(&p, 0, 0));
	precopy_init(&p, &cfg, UINT64_MAX, 0);
	precopy_round_begin(&p, UINT64_MAX, 0);
	precopy_sent(&p, UINT64_MAX, UINT64_MAX, 1);
	assert_true(precopy_predict_ns(&p, UINT64_MAX) > S);
	(void)precopy_round_end(&p, UINT64_MAX, UINT64_MAX);
}

/* A move that held still for another's pause has no slower link for it, and owes the cap nothing. */
static void test_what_was_waited_is_not_the_links(void **state)
{
	struct precopy_config cfg;
	struct precopy p;
	uint64_t now = S, rate, pace;

	precopy_config_default(&cfg);
	cfg.bandwidth_bps = 50000000;
	precopy_init(&p, &cfg, 100000, now);
	precopy_round_begin(&p, 100000, now);
	for (unsigned i = 0; i < 100; i++)
		precopy_sent(&p, 256, 256 * 4096, now += 10 * MS);
	rate = p.rate_bps;
	pace = precopy_pace_ns(&p, now);
	now += 2 * S;
	precopy_waited(&p, now);
	assert_int_equal(precopy_pace_ns(&p, now), pace);
	for (unsigned i = 0; i < 20; i++)
		precopy_sent(&p, 256, 256 * 4096, now += 10 * MS);
	assert_true(p.rate_bps > rate * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_guest_stops_after_two_rounds),
		cmocka_unit_test(test_busy_guest_converges_below_the_goal),
		cmocka_unit_test(test_stalled_but_within_the_limit_stops),
		cmocka_unit_test(test_hopeless_guest_is_left_alone),
		cmocka_unit_test(test_deadline_ends_a_slow_first_round),
		cmocka_unit_test(test_goal_never_above_the_limit),
		cmocka_unit_test(test_a_throttled_guest_ends_within_the_deadline),
		cmocka_unit_test(test_no_guest_is_slowed_down_that_converges),
		cmocka_unit_test(test_a_guest_that_may_is_switched_when_a_round_did_not_help),
		cmocka_unit_test(test_the_deadline_switches_in_the_first_round),
		cmocka_unit_test(test_a_guest_that_converges_is_not_switched),
		cmocka_unit_test(test_a_slow_link_is_measured),
		cmocka_unit_test(test_pace_holds_the_cap),
		cmocka_unit_test(test_what_was_waited_is_not_the_links),
		cmocka_unit_test(test_nothing_is_told_before_it_is_known),
		cmocka_unit_test(test_eta_says_when_it_will_not_converge),
		cmocka_unit_test(test_eta_is_about_right),
		cmocka_unit_test(test_empty_and_huge_values_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
