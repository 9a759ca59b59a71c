/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose turn it is among the moves that leave a node: how many send, that one guest stands still at a time and nobody
 * sends meanwhile, what order they go in, and that whatever ends, stalls or says nothing, the others go on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "migrated/move_turns.h"

#define MS 1000000ull
#define MIB (1ull << 20)

static struct turns t;
static uint64_t now;

static int setup(void **state)
{
	turns_init(&t, 0);
	now = 1000 * MS;
	return 0;
}

/* The next word and whose it is; -1: none. */
static int next(enum turn_word *word)
{
	unsigned slot;

	return turns_next(&t, now, &slot, word) ? (int)slot : -1;
}

static void expect(int slot, enum turn_word word)
{
	enum turn_word w;

	assert_int_equal(next(&w), slot);
	assert_int_equal(w, word);
}

static void expect_nothing(void)
{
	enum turn_word w;

	assert_int_equal(next(&w), -1);
}

static void to_sending(unsigned slot)
{
	expect((int)slot, TURN_ADMIT);
	turns_want_send(&t, slot);
	expect((int)slot, TURN_SEND);
}

static void a_lone_move_waits_for_nothing(void **state)
{
	turns_add(&t, 3);
	to_sending(3);
	expect_nothing();
	assert_int_equal(turns_wake_ns(&t, now), 0);
	turns_want_pause(&t, 3);
	expect(3, TURN_PAUSE);
	turns_over(&t, 3);
	expect_nothing();
	turns_end(&t, 3);
	assert_int_equal(turns_wake_ns(&t, now), 0);
}

static void two_send_and_one_meets(void **state)
{
	for (unsigned i = 0; i < 5; i++)
		turns_add(&t, i);
	to_sending(0);
	to_sending(1);
	expect(2, TURN_ADMIT);
	turns_want_send(&t, 2);
	expect_nothing();
	assert_int_equal(turns_before(&t, 3), 3);
	assert_int_equal(turns_before(&t, 4), 4);
	turns_end(&t, 0);
	expect(2, TURN_SEND);
	expect(3, TURN_ADMIT);
	expect_nothing();
}

static void nobody_sends_while_a_guest_stands_still(void **state)
{
	turns_add(&t, 0);
	turns_add(&t, 1);
	to_sending(0);
	to_sending(1);
	turns_want_pause(&t, 0);
	expect(1, TURN_YIELD);
	expect_nothing();
	turns_add(&t, 2);
	expect_nothing();                        /* none begins either */
	turns_quiet(&t, 1);
	expect(0, TURN_PAUSE);
	expect_nothing();
	turns_over(&t, 0);
	expect(1, TURN_GO_ON);
	expect(2, TURN_ADMIT);
	expect_nothing();
}

static void a_sender_that_does_not_hold_still_is_not_waited_for_long(void **state)
{
	turns_add(&t, 0);
	turns_add(&t, 1);
	to_sending(0);
	to_sending(1);
	turns_want_pause(&t, 0);
	expect(1, TURN_YIELD);
	assert_int_equal(turns_wake_ns(&t, now), TURNS_QUIET_NS);
	now += TURNS_QUIET_NS;
	expect(0, TURN_PAUSE);
	/* nor a pause that does not end */
	assert_int_equal(turns_wake_ns(&t, now), TURNS_LEASE_NS);
	now += TURNS_LEASE_NS;
	expect(1, TURN_GO_ON);
	turns_want_pause(&t, 1);
	expect(1, TURN_PAUSE);
	turns_over(&t, 0);                       /* late: it is not its turn that ends */
	assert_true(turns_pause_is_on(&t));
	turns_end(&t, 1);
	assert_false(turns_pause_is_on(&t));
}

static void pauses_go_one_by_one_as_they_were_asked_for(void **state)
{
	turns_init(&t, 4);
	for (unsigned i = 0; i < 3; i++) {
		turns_add(&t, i);
		to_sending(i);
	}
	turns_want_pause(&t, 2);
	turns_want_pause(&t, 0);
	expect(1, TURN_YIELD);
	turns_want_pause(&t, 1);                 /* instead of holding still */
	expect(2, TURN_PAUSE);
	expect_nothing();
	turns_end(&t, 2);
	expect(0, TURN_PAUSE);
	turns_over(&t, 0);
	expect(1, TURN_PAUSE);
	turns_end(&t, 1);
	expect_nothing();
}

static void who_is_over_soonest_goes_first(void **state)
{
	turns_init(&t, 1);
	for (unsigned i = 0; i < 6; i++)
		turns_add(&t, i);
	to_sending(0);
	expect(1, TURN_ADMIT);
	turns_measured(&t, 2, 512 * MIB, 0);
	turns_measured(&t, 3, 256 * MIB, 180000000);     /* half the size, but it writes at nine tenths of the wire */
	turns_measured(&t, 4, 128 * MIB, 0);
	assert_int_equal(turns_before(&t, 4), 2);
	assert_int_equal(turns_before(&t, 5), 5);        /* not measured yet */
	turns_end(&t, 1);
	expect(4, TURN_ADMIT);
	turns_end(&t, 4);
	expect(2, TURN_ADMIT);
	turns_end(&t, 2);
	expect(3, TURN_ADMIT);
	turns_end(&t, 3);
	expect(5, TURN_ADMIT);
}

static void expected_time(void **state)
{
	assert_int_equal(turns_expected_ns(200000000, 0, 200000000), 1000000000);
	assert_int_equal(turns_expected_ns(200000000, 100000000, 200000000), 2000000000);
	assert_true(turns_expected_ns(100, 300000000, 200000000) >= turns_expected_ns(100, 199000000, 200000000));
	assert_true(turns_expected_ns(UINT64_MAX / 2, UINT64_MAX, 0) > 0);
	turns_rate(&t, 800000000);
	assert_int_equal(t.rate_bps, 350000000);
	turns_rate(&t, 0);
	turns_rate(&t, UINT64_MAX);
	assert_int_equal(t.rate_bps, 350000000);
}

/*
 * Random moves that begin, end, fail, hold still or not: what must hold holds, and in the end all have had their
 * turn.
 */
static void any_course_of_things(void **state)
{
	for (unsigned seed = 1; seed <= 300; seed++) {
		unsigned added = 0, over = 0;

		srand(seed);
		turns_init(&t, 1 + (unsigned)rand() % 4);
		for (unsigned step = 0; over < 40 && step < 100000; step++) {
			unsigned slot = (unsigned)rand() % TURNS_MAX, sending = 0, pausing = 0;
			struct turn *u = &t.turn[slot];
			enum turn_word w;

			now += (uint64_t)rand() % (5 * MS);
			if (u->state == TURN_NONE && added < 40) {
				turns_add(&t, slot);
				added++;
			} else if (u->state == TURN_WAITING && rand() % 2) {
				turns_measured(&t, slot, (uint64_t)rand() * 4096, (uint64_t)rand());
			} else if (u->state == TURN_MEETING) {
				turns_want_send(&t, slot);
			} else if (u->state == TURN_SENDING) {
				if (u->yielding && rand() % 2)
					turns_quiet(&t, slot);
				else if (rand() % 8 == 0)
					turns_want_pause(&t, slot);
			} else if (u->state == TURN_PAUSING && rand() % 3) {
				turns_over(&t, slot);
			}
			if (u->state == TURN_OVER || (u->state > TURN_WAITING && rand() % 40 == 0)) {
				turns_end(&t, slot);
				over++;
			}
			while (next(&w) >= 0)
				;
			for (unsigned i = 0; i < TURNS_MAX; i++) {
				sending += t.turn[i].state == TURN_SENDING && !t.turn[i].yielding;
				pausing += t.turn[i].state == TURN_PAUSING && t.pause == (int)i;
			}
			assert_true(sending <= t.sending_max);
			assert_true(pausing <= 1);
			assert_true(!pausing || !sending);
		}
		assert_int_equal(over, 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_lone_move_waits_for_nothing, setup),
		cmocka_unit_test_setup(two_send_and_one_meets, setup),
		cmocka_unit_test_setup(nobody_sends_while_a_guest_stands_still, setup),
		cmocka_unit_test_setup(a_sender_that_does_not_hold_still_is_not_waited_for_long, setup),
		cmocka_unit_test_setup(pauses_go_one_by_one_as_they_were_asked_for, setup),
		cmocka_unit_test_setup(who_is_over_soonest_goes_first, setup),
		cmocka_unit_test_setup(expected_time, setup),
		cmocka_unit_test_setup(any_course_of_things, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
