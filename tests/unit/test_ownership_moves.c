/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moves: who takes a stream, what becomes of a handed copy, pages that are owed, and when the move's job ends. */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ownership_node.h"

static void test_stream_only_for_a_begin_of_this_membership(void **state)
{
	static const uint32_t three[] = { 1, 2, 3 };
	struct own_entry e = { .rec = record(1, 2, 0), .copy = OWN_RUN, .holds = true };
	const struct own_dom *d;
	char text[OWN_TEXT_LEN];

	hear_report(2, false, true, &e);
	own_find(o, U)->config = strdup("{}");
	hear(2, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = 1, .rec = record(2, 2, 1) });
	assert_true(did_send(OWN_M_ACK));
	assert_int_equal(own_accept(o, U, 3, 2, &d, text), -ESTALE);
	assert_int_equal(own_accept(o, U, 2, 3, &d, text), -ESTALE);
	assert_int_equal(own_accept(o, U, 2, 2, &d, text), 0);
	own_accept_gone(o, U, 2);
	assert_int_equal(own_accept(o, U, 2, 2, &d, text), -ESTALE);	/* once */
	hear(2, (struct own_msg){ .type = OWN_M_ABORT, .epoch = 2 });
	hear(2, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 4, .serial = 2, .rec = record(4, 2, 1) });
	own_view(o, VIEW + 1, three, 3);
	assert_int_equal(own_accept(o, U, 4, 2, &d, text), -ESTALE);	/* of another membership */
}

/* The copy of the source, handed to node 2 by attempt 2. */
static void hand_over(void)
{
	run_here();
	hear(1, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = 50, .rec = record(2, 1, 2) });
	local(OWN_HANDED, 2, 2);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");	/* it had begun to look whether the intent is idle: of before */
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_true(did_send(OWN_M_ASK));
	forget_outputs();
}

/* In the pause six messages went round, and seven after it, each of which kept the ring, above everything else, at half of two processors for 8 ms. */
static void test_the_pause_tells_nothing(void **state)
{
	struct own_local l = { .copy = OWN_PAUSED, .attempt = 2, .target = 2, .domid = 3 };

	run_here();
	hear(1, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = 50, .rec = record(2, 1, 2) });
	forget_outputs();
	strcpy(l.uuid, U);
	assert_int_equal(own_local(o, &l), OWN_PAUSE_MS);
	l.copy = OWN_HANDED;
	assert_int_equal(own_local(o, &l), OWN_PAUSE_MS);
	assert_int_equal(own_find(o, U)->copy, OWN_HANDED);      /* known here all the same */
	own_nudge(o, U);
	assert_false(did_send(OWN_M_REPORT));
	own_look(o);
	assert_true(did_send(OWN_M_REPORT));
}

static void test_the_target_says_running_once(void **state)
{
	struct own_local l = { .copy = OWN_RUN, .attempt = 2, .domid = 3 };

	hear(2, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = 1, .rec = record(1, 2, 0), .config = "{}" });
	hear(2, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = 2, .rec = record(2, 2, 1) });
	forget_outputs();
	strcpy(l.uuid, U);
	assert_int_equal(own_local(o, &l), OWN_LANDING_MS);
	own_nudge(o, U);			/* its worker ends */
	while (own_find(o, U)->busy)
		own_action_done(o, U, own_find(o, U)->busy, 0, 0, true, "");
	assert_false(did_send(OWN_M_RUNNING));
	own_look(o);
	assert_int_equal(own_local(o, &l), 0);	/* its next event did not have RUNNING wait again */
	while (own_find(o, U)->busy)
		own_action_done(o, U, own_find(o, U)->busy, 0, 0, true, "");
	assert_true(did_send(OWN_M_RUNNING));
	assert_false(did_send(OWN_M_REPORT));
	own_tick(o);
	assert_true(did_send(OWN_M_REPORT));
}

static void test_beside_a_move_all_is_told(void **state)
{
	struct own_local l = { .copy = OWN_PAUSED, .domid = 3 };

	run_here();
	forget_outputs();
	strcpy(l.uuid, U);
	assert_int_equal(own_local(o, &l), 0);
	assert_true(did_send(OWN_M_REPORT));
}

/*
 * A look that hypervisord answered before the stream came was heard after the copy had been activated and its worker was gone: the node
 * said that it held nothing and had activated nothing, the source's copy resumed on that, and two ran.
 */
static void test_no_promise_from_an_old_look(void **state)
{
	const struct own_dom *d;
	char text[OWN_TEXT_LEN];
	struct own_local none = { .copy = OWN_NONE };

	strcpy(none.uuid, U);
	hear(2, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = 1, .rec = record(1, 2, 0), .config = "{}" });
	hear(2, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = 2, .rec = record(2, 2, 1) });
	own_nudge(o, U);			/* a look is under way ... */
	assert_true(did_act(OWN_DO_REFRESH));
	own_find(o, U)->unsure = false;
	assert_int_equal(own_accept(o, U, 2, 2, &d, text), 0);
	revoke_rc = -ENOENT;
	own_accept_gone(o, U, 2);		/* ... the stream has come and gone, its events are still to be heard */
	forget_outputs();
	own_refreshed(o, &none);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	for (int i = 0; i < n_sent; i++)
		assert_false(sent[i].type == OWN_M_REPORT && !sent[i].holds);
	assert_true(did_act(OWN_DO_REFRESH));	/* it looks again */
	local(OWN_RUN, 0, 0);
	assert_true(own_holds(own_find(o, U)));
}

/* ... and the same with the list that a new connection to hypervisord begins with, and an event that overtakes an answer. */
static void test_event_is_younger_than_the_answer(void **state)
{
	struct own_local none = { .copy = OWN_NONE };

	strcpy(none.uuid, U);
	run_here();
	own_nudge(o, U);
	local(OWN_HANDED, 2, 2);
	own_refreshed(o, &none);
	assert_int_equal(own_find(o, U)->copy, OWN_HANDED);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_true(own_find(o, U)->busy == OWN_DO_REFRESH);
	own_hypervisor(o, false);
	local(OWN_PAUSED, 2, 2);
	own_locals(o, NULL, 0);
	assert_int_equal(own_find(o, U)->copy, OWN_PAUSED);
}

static void test_handed_resumes_on_a_promise_alone(void **state)
{
	struct own_entry e = { .rec = record(2, 1, 2), .act_known = false, .begun = 2 };

	hand_over();
	hear_report(2, false, true, &e);
	assert_int_equal(n_acted, 0);			/* its state folder was lost: no promise */
	e.act_known = true;
	e.begun = 0;
	hear_report(2, false, true, &e);
	assert_int_equal(n_acted, 0);			/* does not remember the BEGIN: its directory was lost */
	e.begun = e.pending = 2;
	hear_report(2, false, true, &e);
	assert_int_equal(n_acted, 0);			/* would still take the stream */
	e.pending = 0;
	e.holds = true;
	hear_report(2, false, true, &e);
	assert_int_equal(n_acted, 0);			/* holds a copy */
	e.holds = false;
	hear_report(3, false, true, &e);
	assert_int_equal(n_acted, 0);			/* another node's word */
	hear_report(2, false, true, &e);
	assert_true(did_act(OWN_DO_RESUME_HANDED));
}

static void test_handed_is_dropped_when_it_ran_there(void **state)
{
	struct own_entry e = { .rec = record(2, 1, 2), .act_known = true, .begun = 2, .activated = 2 };

	hand_over();
	hear_report(2, false, true, &e);
	assert_true(did_act(OWN_DO_DESTROY));
	assert_int_equal(acted[0].number, OWN_BIT(OWN_HANDED));
}

static void test_handed_is_dropped_when_the_target_is_fenced(void **state)
{
	static const uint32_t rest[] = { 1, 3 };

	hand_over();
	own_view(o, VIEW, rest, 2);
	assert_false(did_act(OWN_DO_DESTROY));
	own_fenced(o, 2);
	assert_true(did_act(OWN_DO_DESTROY));
}

static void test_handed_waits_for_running_to_count(void **state)
{
	hand_over();
	hear(2, (struct own_msg){ .type = OWN_M_RUNNING, .epoch = 3, .serial = 4, .rec = record(3, 2, 0) });
	hear(1, (struct own_msg){ .type = OWN_M_ACK, .what = OWN_M_RUNNING, .epoch = 3, .serial = 4, .whom = 2 });
	hear(2, (struct own_msg){ .type = OWN_M_ACK, .what = OWN_M_RUNNING, .epoch = 3, .serial = 4, .whom = 2 });
	assert_false(did_act(OWN_DO_DESTROY));
	hear(3, (struct own_msg){ .type = OWN_M_ACK, .what = OWN_M_RUNNING, .epoch = 3, .serial = 4, .whom = 2 });
	assert_true(did_act(OWN_DO_DESTROY));
}

/* The copy of hand_over() as it is while the target fetches its pages, and that target's RUNNING, which counts. */
static void serve_pages(void)
{
	struct own_local l = { .copy = OWN_HANDED, .attempt = 2, .target = 2, .domid = 3, .serves = true };

	strcpy(l.uuid, U);
	hand_over();
	own_local(o, &l);
	hear(2, (struct own_msg){ .type = OWN_M_RUNNING, .epoch = 3, .serial = 4, .rec = record(3, 2, 0) });
	for (uint32_t n = 1; n <= 3; n++)
		hear(n, (struct own_msg){ .type = OWN_M_ACK, .what = OWN_M_RUNNING, .epoch = 3, .serial = 4, .whom = 2 });
	own_tick(o);
}

static void test_a_copy_that_serves_stays(void **state)
{
	serve_pages();
	assert_false(did_act(OWN_DO_DESTROY));
	local(OWN_HANDED, 2, 2);			/* all has come */
	assert_true(did_act(OWN_DO_DESTROY));
	assert_int_equal(acted[n_acted - 1].number, OWN_BIT(OWN_HANDED));
}

static void test_a_copy_that_serves_goes_when_nobody_can_use_it(void **state)
{
	static const uint32_t rest[] = { 1, 3 };
	struct own_entry e = { .rec = record(3, 2, 0), .act_known = true, .begun = 2, .activated = 2 };

	serve_pages();
	hear_report(2, false, true, &e);		/* its guest ended */
	assert_true(did_act(OWN_DO_DESTROY));
	teardown(state);
	setup(state);
	serve_pages();
	own_view(o, VIEW, rest, 2);
	assert_false(did_act(OWN_DO_DESTROY));		/* away is not fenced */
	own_fenced(o, 2);
	assert_true(did_act(OWN_DO_DESTROY));
	teardown(state);
	setup(state);
	serve_pages();
	hear(3, (struct own_msg){ .type = OWN_M_RUNNING, .epoch = 9, .serial = 5, .rec = record(9, 3, 0) });
	for (uint32_t n = 1; n <= 3; n++)
		hear(n, (struct own_msg){ .type = OWN_M_ACK, .what = OWN_M_RUNNING, .epoch = 9, .serial = 5, .whom = 3 });
	own_tick(o);
	assert_true(did_act(OWN_DO_DESTROY));		/* another owner */
}

/* Pacemaker's stop at the node that a guest has left: nothing of it runs there, and what it still needs stays. */
static void test_stop_leaves_a_copy_that_serves(void **state)
{
	char text[OWN_TEXT_LEN];

	serve_pages();
	forget_outputs();
	assert_int_equal(own_stop(o, U, text), 0);
	assert_int_equal(ended, OWN_J_STOP);
	assert_int_equal(ended_rc, 0);
	assert_false(did_act(OWN_DO_DESTROY));
}

/* It runs here, and pages of it are on node 2, which has reported the copy they are in. */
static void run_with_pages_on_2(void)
{
	struct own_local l = { .copy = OWN_RUN, .attempt = 2, .domid = 3, .source = 2 };
	struct own_entry e = { .rec = record(3, 1, 0), .copy = OWN_HANDED, .holds = true, .act_known = true };

	strcpy(l.uuid, U);
	run_here();
	hear_report(2, false, true, &e);
	own_local(o, &l);
	while (own_find(o, U)->busy)
		own_action_done(o, U, own_find(o, U)->busy, 0, 0, true, "");
	forget_outputs();
}

static void test_a_guest_ends_when_its_pages_are_lost(void **state)
{
	static const uint32_t rest[] = { 1, 3 }, all[] = { 1, 2, 3 };
	struct own_entry none = { .rec = record(3, 1, 0), .act_known = true };

	run_with_pages_on_2();
	own_tick(o);
	assert_false(did_act(OWN_DO_PAGES_LOST));
	own_view(o, VIEW, rest, 2);
	own_tick(o);
	assert_false(did_act(OWN_DO_PAGES_LOST));	/* away: it may come back with them */
	own_fenced(o, 2);
	assert_true(did_act(OWN_DO_PAGES_LOST));
	teardown(state);
	setup(state);
	run_with_pages_on_2();
	own_view(o, VIEW, all, 3);
	hear_report(1, true, true, NULL);
	hear_report(3, true, true, NULL);
	assert_false(did_act(OWN_DO_PAGES_LOST));	/* node 2 has not reported yet */
	hear_report(2, true, false, NULL);
	assert_false(did_act(OWN_DO_PAGES_LOST));	/* it cannot tell what it holds */
	hear_report(2, true, true, &none);
	assert_true(did_act(OWN_DO_PAGES_LOST));
}

/* Pacemaker fences nobody while migrate_to runs, so migrate_to must not wait for a fencing. */
static void test_move_ends_when_the_target_is_lost(void **state)
{
	static const uint32_t rest[] = { 1, 3 };
	char text[OWN_TEXT_LEN];

	run_here();
	assert_int_equal(own_migrate(o, U, 2, text), 0);
	uint64_t serial = sent[n_sent - 1].serial;

	hear(1, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = serial, .rec = record(2, 1, 2) });
	for (uint32_t n = 1; n <= 3; n++)
		hear_ack(n, OWN_M_BEGIN, 2, serial);
	assert_true(did_act(OWN_DO_MOVE));
	local(OWN_HANDED, 2, 2);
	own_view(o, VIEW + 1, rest, 2);
	assert_int_equal(ended, OWN_J_MIGRATE);
	assert_int_equal(ended_rc, -EHOSTDOWN);
	assert_false(did_act(OWN_DO_DESTROY));		/* lost is not fenced */
}

/* The source's copy dies in mid-move: the action ends when the target has said that it holds nothing, then the record is released. */
static void test_move_whose_copy_died(void **state)
{
	struct own_entry e = { .rec = record(2, 1, 2), .copy = OWN_INCOMING, .holds = true };
	char text[OWN_TEXT_LEN];
	uint64_t serial;

	run_here();
	assert_int_equal(own_migrate(o, U, 2, text), 0);
	serial = sent[n_sent - 1].serial;
	hear(1, (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = serial, .rec = record(2, 1, 2) });
	for (uint32_t n = 1; n <= 3; n++)
		hear_ack(n, OWN_M_BEGIN, 2, serial);
	hear_report(2, false, true, &e);
	local(OWN_NONE, 0, 0);
	own_move_done(o, U, 2, -ECONNRESET, "gone");
	for (int i = 0; i < 3; i++)
		own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	hear_report(1, false, true, &(struct own_entry){ .rec = record(2, 1, 2) });
	assert_false(did_send(OWN_M_RELEASE));
	e.holds = false;
	e.copy = OWN_NONE;
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_int_equal(ended, OWN_J_NONE);
	hear_report(2, false, true, &e);
	assert_int_equal(ended, OWN_J_MIGRATE);
	assert_int_equal(ended_rc, -EIO);
	assert_true(did_send(OWN_M_RELEASE));
	hear(1, (struct own_msg){ .type = OWN_M_RELEASE, .epoch = 3, .serial = sent[n_sent - 1].serial });
	assert_int_equal(own_find(o, U)->rec.owner, 0);
	assert_int_equal(own_find(o, U)->rec.to, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_the_pause_tells_nothing), T(test_the_target_says_running_once), T(test_beside_a_move_all_is_told),
		T(test_stream_only_for_a_begin_of_this_membership), T(test_no_promise_from_an_old_look),
		T(test_event_is_younger_than_the_answer), T(test_handed_resumes_on_a_promise_alone),
		T(test_handed_is_dropped_when_it_ran_there), T(test_handed_is_dropped_when_the_target_is_fenced),
		T(test_handed_waits_for_running_to_count), T(test_a_copy_that_serves_stays),
		T(test_a_copy_that_serves_goes_when_nobody_can_use_it), T(test_stop_leaves_a_copy_that_serves),
		T(test_a_guest_ends_when_its_pages_are_lost), T(test_move_ends_when_the_target_is_lost),
		T(test_move_whose_copy_died),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
