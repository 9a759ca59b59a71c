/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What haven resolve does between two plain hosts, in every combination of what can be known and said: never the word that runs a copy
 * beside another, or an old one. (tests/model/two_hosts.pml shows that these rules suffice.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "ha-agent/resolve_plan.h"

static bool does(const struct resolve_verdict *v, enum resolve_step step)
{
	return v->step[0] == step || v->step[1] == step;
}

static void check(const struct resolve_facts *f, enum resolve_word w, bool force)
{
	struct resolve_verdict v = resolve_plan(f, w, force);

	/* refused with a reason, or steps, and never both */
	assert_true((v.why != NULL) == (v.step[0] == RESOLVE_END));
	assert_int_equal(v.step[2], RESOLVE_END);
	if (v.forcible)
		assert_null(resolve_plan(f, w, true).why);
	/* the source runs on: not while the target's copy could run, nor after it ran, as far as can be seen */
	if (does(&v, RESOLVE_RESUME)) {
		assert_int_equal(f->source, RESOLVE_HANDED);
		assert_int_not_equal(f->target, RESOLVE_RUNS);
		assert_true(!f->taken || f->target == RESOLVE_READY);
		assert_true(f->target != RESOLVE_UNKNOWN || force);
		assert_true(f->target != RESOLVE_READY || v.step[0] == RESOLVE_DROP_READY);
	}
	/* the target runs: not while the source's copy runs, nor when that may have run since */
	if (does(&v, RESOLVE_TAKE)) {
		assert_int_equal(f->target, RESOLVE_READY);
		assert_int_not_equal(f->source, RESOLVE_RUNS);
		assert_true(f->source == RESOLVE_HANDED || force);
		assert_int_equal(v.step[0], RESOLVE_TAKE);
	}
	/* what may be the last copy is dropped on the operator's own word alone */
	if (does(&v, RESOLVE_DROP_HANDED))
		assert_true(v.step[0] == RESOLVE_TAKE || f->target == RESOLVE_RUNS || f->taken || force);
	if (does(&v, RESOLVE_DROP_HANDED))
		assert_true(!f->serves || f->target == RESOLVE_UNKNOWN || f->target == RESOLVE_NONE);
	if (does(&v, RESOLVE_DROP_READY))
		assert_true(v.step[1] == RESOLVE_RESUME || f->source == RESOLVE_RUNS || force);
}

static void test_every_combination(void **state)
{
	for (unsigned n = 0; n < RESOLVE_COPIES * RESOLVE_COPIES * 16; n++) {
		unsigned pair = n / 16;
		struct resolve_facts f = { pair / RESOLVE_COPIES, pair % RESOLVE_COPIES, n & 1, n & 2 };

		if (f.source == RESOLVE_READY || f.target == RESOLVE_HANDED)
			continue;
		check(&f, n & 4 ? RESOLVE_SOURCE : RESOLVE_TARGET, n & 8);
	}
}

static void test_undecided_window(void **state)
{
	struct resolve_facts f = { .source = RESOLVE_HANDED, .target = RESOLVE_READY };
	struct resolve_verdict v = resolve_plan(&f, RESOLVE_SOURCE, false);

	assert_int_equal(resolve_choices(&f), 1u << RESOLVE_SOURCE | 1u << RESOLVE_TARGET);
	assert_int_equal(v.step[0], RESOLVE_DROP_READY);
	assert_int_equal(v.step[1], RESOLVE_RESUME);
	v = resolve_plan(&f, RESOLVE_TARGET, false);
	assert_int_equal(v.step[0], RESOLVE_TAKE);
	assert_int_equal(v.step[1], RESOLVE_DROP_HANDED);
	f.serves = true;
	assert_int_equal(resolve_plan(&f, RESOLVE_TARGET, false).step[1], RESOLVE_END);
}

static void test_one_answer(void **state)
{
	struct resolve_facts lost_go = { .source = RESOLVE_HANDED, .target = RESOLVE_NONE };
	struct resolve_facts lost_done = { .source = RESOLVE_HANDED, .target = RESOLVE_RUNS, .taken = true };
	struct resolve_facts ran_on = { .source = RESOLVE_RUNS, .target = RESOLVE_READY };
	struct resolve_facts silent = { .source = RESOLVE_HANDED, .target = RESOLVE_UNKNOWN };

	assert_int_equal(resolve_choices(&lost_go), 1u << RESOLVE_SOURCE);
	assert_int_equal(resolve_choices(&lost_done), 1u << RESOLVE_TARGET);
	assert_int_equal(resolve_choices(&ran_on), 1u << RESOLVE_SOURCE);
	assert_int_equal(resolve_choices(&silent), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_combination), cmocka_unit_test(test_undecided_window), cmocka_unit_test(test_one_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
