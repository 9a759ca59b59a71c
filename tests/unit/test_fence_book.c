/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which fencings are believed. A node that had just booted took the fencings of the past for fencings of the present boots, because
 * pacemaker-fenced's history was empty when the others came into its membership and was filled by its peers a few seconds later:
 * a living member counted as fenced, so a copy handed to it was destroyed, and its domains could have been claimed had it only been
 * cut off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ha-agent/fence_book.h"

static struct fence_book book;

static int setup(void **state) { return fence_book_init(&book, 1000); }

static int teardown(void **state)
{
	fence_book_dispose(&book);
	return 0;
}

static struct fence_entry done(const char *key, int64_t at)
{
	return (struct fence_entry){ .target = "n2", .key = key, .cuts_power = true, .succeeded = true, .completed_ns = at };
}

static bool told(struct fence_entry e, bool live)
{
	bool tell;

	fence_book_entry(&book, &e, live, &tell);
	return tell;
}

static void test_a_fencing_that_just_ended_is_told_once(void **state)
{
	fence_book_read(&book, 2000);
	assert_true(told(done("a", 1500), true));
	assert_false(told(done("a", 1500), true));
	assert_true(told(done("b", 1400), true));	/* another; the clock is not asked */
}

static void test_history_of_the_past_comes_late(void **state)
{
	fence_book_mark(&book, "n2", 1, false, false, 1100);	/* it comes in while pacemaker-fenced is not there */
	fence_book_read(&book, 1200);				/* ... and has an empty history at first */
	assert_false(told(done("old", 500), false));		/* its peers hand it theirs */
	assert_false(told(done("old2", 1150), false));
	assert_true(told(done("fresh", 1300), true));
}

static void test_old_entry_beside_a_live_one(void **state)
{
	fence_book_mark(&book, "n2", 1, true, false, 1100);
	assert_false(told(done("old", 500), true));		/* before it came back: whatever else has just ended */
	assert_true(told(done("fresh", 1200), true));
}

static void test_what_ended_while_nobody_listened(void **state)
{
	fence_book_read(&book, 2000);
	assert_false(told(done("before", 1900), false));
	assert_true(told(done("meanwhile", 2100), false));
}

static void test_mark_excludes_what_is_there(void **state)
{
	struct fence_entry ended = done("a", 1500), running = { .target = "n2", .key = "r", .cuts_power = true, .running = true };

	fence_book_mark(&book, "n2", 1, true, true, 1600);
	fence_book_exclude(&book, &ended, true);
	fence_book_exclude(&book, &running, true);
	assert_false(told(ended, true));
	assert_false(told(done("r2", 1700), true));		/* the one that was running */
	assert_true(told(done("next", 1800), true));
}

static void test_running_one_of_a_node_that_stayed(void **state)
{
	struct fence_entry running = { .target = "n2", .key = "r", .cuts_power = true, .running = true };

	fence_book_mark(&book, "n2", 1, false, true, 1600);
	fence_book_exclude(&book, &running, false);
	assert_true(told(done("r2", 1700), true));
}

static void test_running_one_found_when_it_can_be_read_again(void **state)
{
	struct fence_entry running = { .target = "n2", .key = "r", .cuts_power = true, .running = true };

	fence_book_mark(&book, "n2", 1, false, false, 1600);
	assert_false(told(running, false));
	fence_book_read(&book, 1650);
	assert_false(told(done("r2", 1700), true));
	assert_true(told(done("next", 1800), true));
}

static void test_what_is_no_cut_of_power(void **state)
{
	struct fence_entry on = done("on", 1500), failed = done("failed", 1500);

	on.cuts_power = false;
	failed.succeeded = false;
	assert_false(told(on, true));
	assert_false(told(failed, true));
}

static void test_restart_within_a_boot(void **state)
{
	json_t *saved;

	fence_book_read(&book, 2000);
	assert_true(told(done("a", 1500), true));
	saved = fence_book_save(&book, "boot");
	teardown(NULL);
	fence_book_init(&book, 9000);
	assert_false(fence_book_load(&book, saved, "another"));
	assert_true(fence_book_load(&book, saved, "boot"));
	assert_false(told(done("a", 1500), false));
	assert_true(told(done("b", 2500), false));	/* ended while this process was not there */
	json_decref(saved);
	saved = json_pack("{s:s,s:[]}", "boot", "boot", "known");
	assert_false(fence_book_load(&book, saved, "boot"));
	json_decref(saved);
}

static void test_table_has_an_end(void **state)
{
	char name[16];

	for (int i = 0; i < FENCE_NODES; i++) {
		snprintf(name, sizeof(name), "x%d", i);
		assert_non_null(fence_book_node(&book, name));
	}
	assert_null(fence_book_node(&book, "one more"));
	assert_false(told(done("a", 1500), true));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_fencing_that_just_ended_is_told_once), T(test_history_of_the_past_comes_late),
		T(test_old_entry_beside_a_live_one), T(test_what_ended_while_nobody_listened), T(test_mark_excludes_what_is_there),
		T(test_running_one_of_a_node_that_stayed), T(test_running_one_found_when_it_can_be_read_again),
		T(test_what_is_no_cut_of_power), T(test_restart_within_a_boot), T(test_table_has_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
