/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starts and what may not be claimed: fencings, memberships, names, restores, quorum. */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ownership_node.h"

static void test_claim_waits_for_every_ack(void **state)
{
	assert_int_equal(start(), 0);
	assert_true(did_send(OWN_M_CLAIM));
	uint64_t serial = sent[n_sent - 1].serial;

	hear(1, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = serial, .rec = record(1, 1, 0), .config = "{}" });
	hear_ack(1, OWN_M_CLAIM, 1, serial);
	hear_ack(2, OWN_M_CLAIM, 1, serial);
	assert_false(did_act(OWN_DO_CREATE));
	hear_ack(3, OWN_M_CLAIM, 1, serial - 1);	/* of an earlier claim of that epoch */
	assert_false(did_act(OWN_DO_CREATE));
	hear_ack(3, OWN_M_CLAIM, 1, serial);
	assert_true(did_act(OWN_DO_CREATE));
	assert_int_equal(grants, 1);
}

static void test_no_claim_while_somebody_holds(void **state)
{
	struct own_entry e = { .rec = record(4, 2, 0), .copy = OWN_READY, .holds = true };

	hear_report(2, false, true, &e);
	start();
	assert_false(did_send(OWN_M_CLAIM));
}

static void test_no_claim_while_somebody_cannot_tell(void **state)
{
	hear_report(2, true, false, NULL);
	start();
	assert_false(did_send(OWN_M_CLAIM));
}

/* The other two are quorate, and hold nothing. */
static void node_3_leaves(void)
{
	static const uint32_t two[] = { 1, 2 };

	own_view(o, VIEW, two, 2);
	own_quorum(o, true, true);
	hear_report(1, true, true, NULL);
	hear_report(2, true, true, NULL);
}

/* A node that is out must have been fenced since it was last seen: a fencing of its former boot says nothing. */
static void test_fencing_is_of_a_boot(void **state)
{
	static const uint32_t three[] = { 1, 2, 3 };

	own_fenced(o, 3);				/* a member: nothing follows before it is out */
	assert_true(did_send(OWN_M_PROBE));
	assert_false(own_is_fenced(o, 3));
	node_3_leaves();
	start();
	assert_true(did_send(OWN_M_CLAIM));		/* it never answered */

	own_cancel(o, U, "");
	own_view(o, VIEW + 1, three, 3);		/* now it did, though nothing was heard of it */
	node_3_leaves();
	forget_outputs();
	start();
	assert_false(did_send(OWN_M_CLAIM));
	own_fenced(o, 3);
	hear_report(1, true, true, NULL);
	assert_true(did_send(OWN_M_CLAIM));
}

/*
 * A node that had just booted took fencings of long ago for new ones: members it had met since counted as fenced, and their
 * domains could have been claimed as soon as they were merely cut off.
 */
static void test_who_answers_was_not_fenced(void **state)
{
	uint64_t serial;

	own_fenced(o, 3);
	serial = sent[n_sent - 1].serial;
	hear(3, (struct own_msg){ .type = OWN_M_ALIVE, .whom = 2, .serial = serial });
	hear(3, (struct own_msg){ .type = OWN_M_ALIVE, .whom = 1, .serial = serial - 1 });
	assert_int_equal(own_node(o, 3)->probe, serial);
	hear(3, (struct own_msg){ .type = OWN_M_ALIVE, .whom = 1, .serial = serial });
	node_3_leaves();
	forget_outputs();
	start();
	assert_false(did_send(OWN_M_CLAIM));
}

/* The question is asked again in a new membership, and forgotten with the last one. */
static void test_probe_and_memberships(void **state)
{
	static const uint32_t two[] = { 1, 2 }, three[] = { 1, 2, 3 };

	own_fenced(o, 3);
	forget_outputs();
	own_view(o, VIEW, three, 3);
	assert_true(did_send(OWN_M_PROBE));
	own_view_lost(o);
	own_view(o, VIEW, two, 2);
	assert_false(own_is_fenced(o, 3));
	forget_outputs();
	hear(2, (struct own_msg){ .type = OWN_M_PROBE, .whom = 3, .serial = 9 });
	assert_false(did_send(OWN_M_ALIVE));
	hear(2, (struct own_msg){ .type = OWN_M_PROBE, .whom = 1, .serial = 9 });
	assert_true(did_send(OWN_M_ALIVE));
	assert_int_equal(sent[n_sent - 1].serial, 9);
}

/* What others know of fencings says nothing about a node that is a member since. */
static void test_member_is_not_fenced_by_hearsay(void **state)
{
	struct own_seen old = { .node = 3, .seen = 8, .fenced = 8 };
	struct own_msg m = { .type = OWN_M_REPORT, .report = { .full = true, .known = true, .incarnation = 5, .seen = &old, .n_seen = 1 } };

	hear(2, m);
	assert_false(own_is_fenced(o, 3));
}

static void test_message_of_another_membership_is_none(void **state)
{
	struct own_msg m = { .type = OWN_M_CLAIM, .epoch = 1, .view = VIEW + 1, .from = 2, .rec = record(1, 2, 0), .config = "{}" };

	strcpy(m.uuid, U);
	own_deliver(o, &m);
	assert_false(did_send(OWN_M_ACK));
}

static void test_no_ack_of_what_is_not_on_disk(void **state)
{
	persist_rc = -ENOSPC;
	hear(2, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = 1, .rec = record(1, 2, 0), .config = "{}" });
	assert_false(did_send(OWN_M_ACK));
	persist_rc = 0;
	hear(2, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = 1, .rec = record(1, 2, 0), .config = "{}" });
	assert_true(did_send(OWN_M_ACK));
}

/*
 * Who takes a record and has not written down that a fenced node came back would, started again and cut off, take that node for dead, and the
 * copy that the record gave it (the model, M_BOOTS).
 */
static void test_no_record_before_the_boots_are_written(void **state)
{
	struct own_msg claim = { .type = OWN_M_CLAIM, .epoch = 1, .serial = 9, .rec = record(1, 2, 0), .config = "{}" };

	persist_nodes_rc = -ENOSPC;
	hear(2, (struct own_msg){ .type = OWN_M_REPORT, .report = { .full = true, .known = true, .incarnation = 6 } });
	hear(2, claim);
	assert_false(did_send(OWN_M_ACK));
	assert_int_equal(own_find(o, U)->rec.epoch, 0);
	assert_int_equal(own_leave(o), -EBUSY);
	own_tick(o);
	hear(2, claim);
	assert_false(did_send(OWN_M_ACK));
	persist_nodes_rc = 0;
	hear(2, claim);
	assert_true(did_send(OWN_M_ACK));
}

/* A saved guest knows itself by its number: its claim is for that one, and ends when it is taken; an ordinary start takes another. */
static void test_restore_keeps_its_domid(void **state)
{
	struct own_record rec = { .name = "demo", .hash = "h", .domid = 42 };
	char text[OWN_TEXT_LEN];

	assert_int_equal(own_start(o, U, &rec, "{}", text), 0);
	assert_true(did_send(OWN_M_CLAIM));
	assert_int_equal(sent[n_sent - 1].domid, 42);
	hear(2, (struct own_msg){ .type = OWN_M_NACK, .epoch = 1, .serial = sent[n_sent - 1].serial, .what = OWN_M_CLAIM, .whom = 1,
				  .code = -EAGAIN, .text = "domid 42 is taken" });
	assert_int_equal(ended, OWN_J_START);
	forget_outputs();
	assert_int_equal(start(), 0);
	hear(2, (struct own_msg){ .type = OWN_M_NACK, .epoch = 1, .serial = sent[n_sent - 1].serial, .what = OWN_M_CLAIM, .whom = 1,
				  .code = -EAGAIN, .text = "domid 1 is taken" });
	assert_int_equal(ended, OWN_J_NONE);
}

static void test_claim_must_extend_my_record(void **state)
{
	hear(2, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 2, .serial = 1, .rec = record(2, 2, 0), .config = "{}" });
	assert_false(did_send(OWN_M_ACK));
}

static void test_name_is_one_domain_s(void **state)
{
	struct own_msg m = { .type = OWN_M_CLAIM, .epoch = 1, .serial = 9, .rec = record(1, 2, 0), .config = "{}", .view = VIEW, .from = 2 };

	run_here();
	strcpy(m.uuid, "00000000-0000-0000-0000-00000000000b");
	m.rec.domid = 77;
	own_deliver(o, &m);
	assert_true(did_send(OWN_M_NACK));
	assert_false(did_send(OWN_M_ACK));
}

/* A full report sent while a claim is outstanding must not take the hold away that the claim gave. */
static void test_report_beside_a_claim_holds(void **state)
{
	start();
	hear(1, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = sent[n_sent - 1].serial, .rec = record(1, 1, 0), .config = "{}" });
	forget_outputs();
	o->told_full = false;		/* a fencing, say, is news */
	own_run(o);
	assert_true(did_send(OWN_M_REPORT));
	assert_true(sent[0].holds);
}

/* A claim that other records overtook never counted, and for as long as it stood no other one was made: the domain stayed down (the simulator found it). */
static void test_claim_overtaken(void **state)
{
	struct own_entry there = { .rec = record(5, 2, 0), .act_known = true };
	uint64_t last = 0;

	assert_int_equal(start(), 0);
	assert_true(did_send(OWN_M_CLAIM));
	forget_outputs();
	hear_report(2, false, true, &there);
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	for (int i = 0; i < n_sent; i++)
		last = sent[i].type == OWN_M_CLAIM ? sent[i].epoch : last;
	assert_int_equal(last, 6);
}

/*
 * Who could not write a record asks everybody for theirs.  A claimer took its own claim, sent again meanwhile, for the answer; the other one
 * could not take that claim, and asked no more (the simulator found it).
 */
static void test_asked_while_claiming(void **state)
{
	struct own_msg claim = { .type = OWN_M_CLAIM, .epoch = 1, .rec = record(1, 1, 0), .config = "{}" };

	assert_int_equal(start(), 0);
	claim.serial = sent[0].serial;
	hear(1, claim);
	forget_outputs();
	hear(2, (struct own_msg){ .type = OWN_M_ASK });
	hear(1, claim);
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	assert_true(did_send(OWN_M_REPORT));
	for (int i = 0; i < n_sent; i++)
		assert_true(sent[i].type != OWN_M_REPORT || sent[i].holds);
}

/* A start that Pacemaker asks for while another node runs the guest waited for its whole time-out: it has to know who runs it. */
static void test_start_knows_who_runs_it(void **state)
{
	struct own_entry there = { .rec = record(3, 2, 0), .copy = OWN_RUN, .holds = true, .act_known = true };
	char text[OWN_TEXT_LEN];

	hear_report(2, false, true, &there);
	assert_int_equal(start(), 0);
	assert_int_equal(ended, OWN_J_NONE);
	assert_string_equal(own_runs_on(o, own_find(o, U)), "n2");
	own_quorum(o, false, true);
	assert_null(own_runs_on(o, own_find(o, U)));
	own_quorum(o, true, true);
	there.copy = OWN_HANDED;
	hear_report(2, false, true, &there);
	assert_null(own_runs_on(o, own_find(o, U)));
	assert_int_equal(own_cancel(o, U, "n2 runs it"), 0);
	assert_int_equal(ended, OWN_J_START);
	assert_int_equal(ended_rc, -ECANCELED);
	own_obstacle(o, own_find(o, U), text);
	assert_non_null(strstr(text, "n2"));
}

/* A restore that waited while another node started, and stopped, the guest went on with memory older than the disk. */
static void test_restore_waits_for_no_other_epoch(void **state)
{
	struct own_record rec = { .name = "demo", .hash = "h", .domid = 3 };
	struct own_entry saved = { .rec = record(3, 0, 0), .act_known = true }, ran = { .rec = record(5, 0, 0), .act_known = true };
	char text[OWN_TEXT_LEN];

	hear_report(2, false, true, &saved);
	own_quorum(o, false, true);
	forget_outputs();
	assert_int_equal(own_restore(o, U, &rec, "{}", 3, text), 0);
	assert_int_equal(ended, OWN_J_NONE);
	hear_report(2, false, true, &ran);
	own_quorum(o, true, true);
	assert_false(did_send(OWN_M_CLAIM));
	assert_int_equal(ended, OWN_J_START);
	assert_int_equal(ended_rc, -ESTALE);
	forget_outputs();
	assert_int_equal(own_restore(o, U, &rec, "{}", 5, text), 0);
	assert_true(did_send(OWN_M_CLAIM));
}

static void test_quorum_pauses_and_resumes(void **state)
{
	run_here();
	forget_outputs();
	own_quorum(o, false, false);
	assert_int_equal(acted[0].action, OWN_DO_QPAUSE);	/* before anything else that follows from it */
	local(OWN_QPAUSE, 0, 0);
	own_action_done(o, U, OWN_DO_QPAUSE, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	forget_outputs();
	own_quorum(o, true, true);
	assert_true(did_act(OWN_DO_QRESUME));
}

static void test_leave_only_with_empty_hands(void **state)
{
	run_here();
	assert_int_equal(own_leave(o), -EBUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_claim_waits_for_every_ack), T(test_no_claim_while_somebody_holds),
		T(test_no_claim_while_somebody_cannot_tell), T(test_fencing_is_of_a_boot), T(test_who_answers_was_not_fenced),
		T(test_probe_and_memberships), T(test_member_is_not_fenced_by_hearsay),
		T(test_message_of_another_membership_is_none), T(test_no_ack_of_what_is_not_on_disk),
		T(test_no_record_before_the_boots_are_written), T(test_restore_keeps_its_domid),
		T(test_claim_must_extend_my_record), T(test_name_is_one_domain_s), T(test_report_beside_a_claim_holds),
		T(test_claim_overtaken), T(test_asked_while_claiming), T(test_start_knows_who_runs_it),
		T(test_restore_waits_for_no_other_epoch), T(test_quorum_pauses_and_resumes), T(test_leave_only_with_empty_hands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
