/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The states of a copy: what ownership.pml allows, and that everything else is refused without effect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "hypervisor/hv_domain_copy.h"

static void test_source_of_a_move(void **state)
{
	struct copy c = { .state = COPY_BUILDING };
	struct err err = { 0 };

	assert_int_equal(copy_apply(&c, COPY_RUN, 0, NULL, &err), 0);
	assert_true(copy_executes(&c));
	c.attempt = 7;
	assert_int_equal(copy_apply(&c, COPY_HAND, 7, "n2", &err), -EPERM);           /* not while it runs */
	assert_int_equal(copy_apply(&c, COPY_MOVE_PAUSE, 0, NULL, &err), 0);
	assert_int_equal(copy_apply(&c, COPY_HAND, 6, "n2", &err), -EPERM);           /* another attempt */
	assert_int_equal(c.state, COPY_PAUSED);
	assert_int_equal(copy_apply(&c, COPY_HAND, 7, "n2", &err), 0);
	assert_int_equal(copy_apply(&c, COPY_HAND, 7, "n2", &err), 0);
	assert_int_equal(copy_apply(&c, COPY_HAND, 7, "n3", &err), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_MOVE_RESUME, 0, NULL, &err), -EPERM);    /* handed never resumes by itself */
	assert_int_equal(copy_apply(&c, COPY_RUN, 0, NULL, &err), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_QUORUM_RESUME, 0, NULL, &err), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_RESUME_HANDED, 8, NULL, &err), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_RESUME_HANDED, 7, NULL, &err), 0);
	assert_true(copy_executes(&c));
}

static void test_target_of_a_move(void **state)
{
	struct copy c = { .state = COPY_INCOMING, .attempt = 9 };
	struct err err = { 0 };

	assert_int_equal(copy_apply(&c, COPY_RUN, 9, NULL, &err), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_ACTIVATE, 9, NULL, &err), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_LOADED, 0, NULL, &err), 0);
	assert_false(copy_executes(&c));
	assert_int_equal(copy_apply(&c, COPY_ACTIVATE, 8, NULL, &err), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_ACTIVATE, 9, NULL, &err), 0);
	assert_true(copy_executes(&c));
}

static void test_quorum(void **state)
{
	struct copy c = { .state = COPY_RUNNING };

	assert_int_equal(copy_apply(&c, COPY_QUORUM_PAUSE, 0, NULL, NULL), 0);
	assert_false(copy_executes(&c));
	assert_int_equal(copy_apply(&c, COPY_MOVE_PAUSE, 0, NULL, NULL), -EPERM);
	assert_int_equal(copy_apply(&c, COPY_QUORUM_RESUME, 0, NULL, NULL), 0);
	assert_true(copy_executes(&c));
	/* lost during a move's pause: the move's failure must not start the guest */
	assert_int_equal(copy_apply(&c, COPY_MOVE_PAUSE, 0, NULL, NULL), 0);
	assert_int_equal(copy_apply(&c, COPY_QUORUM_PAUSE, 0, NULL, NULL), 0);
	assert_int_equal(copy_apply(&c, COPY_MOVE_RESUME, 0, NULL, NULL), 0);
	assert_int_equal(c.state, COPY_QUORUM_PAUSED);
}

static void test_operators_pause(void **state)
{
	struct copy c = { .state = COPY_RUNNING, .user_paused = true };

	assert_false(copy_executes(&c));
	assert_int_equal(copy_apply(&c, COPY_MOVE_PAUSE, 0, NULL, NULL), 0);
	assert_int_equal(copy_apply(&c, COPY_MOVE_RESUME, 0, NULL, NULL), 0);
	assert_false(copy_executes(&c));
}

static void test_dying_is_final(void **state)
{
	for (int s = 0; s < COPY_NR; s++) {
		struct copy c = { .state = (enum copy_state)s };

		assert_int_equal(copy_apply(&c, COPY_DESTROY, 0, NULL, NULL), 0);
		for (int e = 0; e < COPY_DESTROY; e++)
			assert_int_equal(copy_apply(&c, (enum copy_event)e, 0, NULL, NULL), -EPERM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source_of_a_move), cmocka_unit_test(test_target_of_a_move), cmocka_unit_test(test_quorum),
		cmocka_unit_test(test_operators_pause), cmocka_unit_test(test_dying_is_final),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
