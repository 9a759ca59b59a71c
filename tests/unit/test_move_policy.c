/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of a move: text, command line and messages say the same, what is out of range is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/move_policy.h"

static void test_defaults_hold_until_something_is_said(void **state)
{
	json_t *options = NULL;
	struct move_policy p;
	struct err err;

	move_policy_default(&p);
	assert_int_equal(0, move_policy_apply(&p, NULL, &err));
	assert_int_equal(p.target_downtime_ms, 30);
	assert_int_equal(p.max_downtime_ms, 300);
	assert_int_equal(p.deadline_s, 300);
	assert_int_equal(p.converge, MOVE_CONVERGE_THROTTLE);
	assert_int_equal(0, move_policy_parse("deadline_s=7, converge=no,bandwidth_mbs=20", &options, &err));
	assert_int_equal(0, move_policy_apply(&p, options, &err));
	assert_int_equal(p.deadline_s, 7);
	assert_int_equal(p.converge, MOVE_CONVERGE_NO);
	assert_int_equal(p.bandwidth_mbs, 20);
	assert_int_equal(p.max_downtime_ms, 300);
	json_decref(options);
}

static void test_what_is_wrong_is_named(void **state)
{
	static const struct { const char *text, *word; } bad[] = {
		{ "deadline_s=0", "deadline_s" }, { "connections=9", "between 0 and 8" }, { "max_downtime_ms=x", "not a number" },
		{ "max_downtime_ms=nan", "max_downtime_ms" }, { "converge=later", "postcopy or no" }, { "converge=1", "postcopy or no" },
		{ "speed=1", "no option" }, { "deadline_s", "NAME=VALUE" }, { "bandwidth_mbs=1e300", "bandwidth_mbs" },
	};
	json_t *options = NULL;
	struct err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(-EINVAL, move_policy_parse(bad[i].text, &options, &err));
		assert_non_null(strstr(err.text, bad[i].word));
	}
}

static void test_messages_of_any_type_are_looked_at(void **state)
{
	json_t *bad = json_pack("{s:s}", "deadline_s", "soon"), *worse = json_pack("{s:i}", "converge", 1), *list = json_array();
	json_t *good = json_pack("{s:f, s:n, s:s, s:i}", "max_downtime_ms", 20.5, "deadline_s", "converge", "throttle", "future", 1);
	struct move_policy p;
	struct err err;

	move_policy_default(&p);
	assert_int_equal(-EINVAL, move_policy_apply(&p, bad, &err));
	assert_int_equal(-EINVAL, move_policy_apply(&p, worse, &err));
	assert_int_equal(0, move_policy_apply(&p, list, &err));
	assert_int_equal(0, move_policy_apply(&p, good, &err));
	assert_int_equal(p.max_downtime_ms, 20);
	json_decref(bad);
	json_decref(worse);
	json_decref(list);
	json_decref(good);
}

static void test_command_lines(void **state)
{
	char name[] = "web", deadline[] = "--deadline", ten[] = "10", cap[] = "--bandwidth=50", other[] = "--json", near[] = "--deadlines";
	char *argv[] = { name, deadline, ten, cap, other, near, deadline };
	json_t *options = json_object();
	struct err err;
	int i = 0;

	assert_int_equal(0, move_policy_argument(options, 7, argv, &i, &err));
	i = 1;
	assert_int_equal(1, move_policy_argument(options, 7, argv, &i, &err));
	assert_int_equal(2, i);
	i = 3;
	assert_int_equal(1, move_policy_argument(options, 7, argv, &i, &err));
	assert_int_equal(3, i);
	for (i = 4; i < 6; i++)
		assert_int_equal(0, move_policy_argument(options, 7, argv, &i, &err));
	assert_int_equal(-EINVAL, move_policy_argument(options, 7, argv, &i, &err));
	assert_non_null(strstr(err.text, "needs a value"));
	assert_int_equal(10, json_integer_value(json_object_get(options, "deadline_s")));
	assert_int_equal(50, json_integer_value(json_object_get(options, "bandwidth_mbs")));
	json_decref(options);
}

static void connections_by_size_and_processors(void **state)
{
	assert_int_equal(move_connections_default(128 << 10, 64), 1);
	assert_int_equal(move_connections_default(2 << 20, 64), 2);
	assert_int_equal(move_connections_default(2 << 20, 1), 1);
	assert_int_equal(move_connections_default(64 << 20, 2), 2);
	assert_int_equal(move_connections_default(64 << 20, 64), 4);
	assert_int_equal(move_connections_default(64 << 20, 0), 1);
}

/* The line of haven migrate, haven status and xl migrate. */
static void test_progress_in_words(void **state)
{
	static const struct { const char *json, *line; } c[] = {
		{ "{'phase': 'waiting', 'waiting_for': 3, 'percent': 0}", "waiting, 3 moves go before it" },
		{ "{'phase': 'precopy', 'percent': 0.0, 'rounds': 1, 'bytes_sent': 0, 'eta_s': -1.0}", "precopy, 0 %, round 1, 0.0 MiB sent" },
		{ "{'phase': 'precopy', 'percent': 56.1, 'rounds': 1, 'bytes_sent': 101397299, 'rate_mbs': 182.0, 'eta_s': 12.4}",
		  "precopy, 56 %, round 1, 96.7 MiB sent at 182 MB/s, at least 12 s left" },
		{ "{'phase': 'precopy', 'percent': 90, 'rounds': 2, 'bytes_sent': 1048576, 'rate_mbs': 182.0, 'dirty_rate_mbs': 0.2, 'converges': true, "
		  "'eta_s': 1.4}", "precopy, 90 %, round 2, 1.0 MiB sent at 182 MB/s, dirtied at 0 MB/s, about 1 s left" },
		{ "{'phase': 'precopy', 'percent': 97, 'rounds': 3, 'bytes_sent': 1048576, 'rate_mbs': 182.0, 'dirty_rate_mbs': 9, 'converges': true, "
		  "'eta_s': 0.4}", "precopy, 97 %, round 3, 1.0 MiB sent at 182 MB/s, dirtied at 9 MB/s, less than a second left" },
		{ "{'phase': 'precopy', 'percent': 90, 'rounds': 9, 'bytes_sent': 1048576, 'rate_mbs': 20, 'dirty_rate_mbs': 99, 'converges': false, "
		  "'eta_s': -1.0, 'throttle_percent': 66.7}",
		  "precopy, 90 %, round 9, 1.0 MiB sent at 20 MB/s, dirtied at 99 MB/s, guest slowed by 66.7 %, will not converge at this rate" },
		{ "{'phase': 'ready', 'percent': 98, 'rounds': 9, 'bytes_sent': 1048576, 'rate_mbs': 20, 'dirty_rate_mbs': 99, 'converges': false, "
		  "'eta_s': -1.0}", "ready, 98 %, round 9, 1.0 MiB sent at 20 MB/s, dirtied at 99 MB/s" },
		{ "{'phase': 'postcopy', 'percent': 99.7, 'rounds': 0, 'bytes_sent': 1048576, 'rate_mbs': 20, 'eta_s': 6.3, 'owed_mib': 120.2}",
		  "postcopy, 99 %, 1.0 MiB sent at 20 MB/s, 120 MiB owed, about 6 s left" },
	};
	char line[256], few[8];

	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		char text[400];
		json_t *p;

		snprintf(text, sizeof(text), "%s", c[i].json);
		for (char *q = text; *q; q++)
			*q = *q == '\'' ? '"' : *q;
		p = json_loads(text, 0, NULL);
		assert_non_null(p);
		move_line(p, line, sizeof(line));
		assert_string_equal(line, c[i].line);
		move_line(p, few, sizeof(few));
		assert_memory_equal(few, line, 7);
		assert_int_equal(few[7], 0);
		json_decref(p);
	}
	move_line(NULL, line, sizeof(line));
	assert_string_equal(line, "?, 0 %, round 0, 0.0 MiB sent");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_by_size_and_processors),
		cmocka_unit_test(test_defaults_hold_until_something_is_said),
		cmocka_unit_test(test_what_is_wrong_is_named),
		cmocka_unit_test(test_messages_of_any_type_are_looked_at),
		cmocka_unit_test(test_command_lines),
		cmocka_unit_test(test_progress_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
