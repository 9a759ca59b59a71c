/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of docs/specs/ownership.md one by one: a single node's state machine (node 1 of three) is fed what the others would
 * say, and what it says and does is looked at. test_ownership_sim.c has the whole; here each obvious short cut has its test.
 */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ha-agent/own_codec.h"
#include "ha-agent/ownership_state.h"

#define U "00000000-0000-0000-0000-00000000000a"
#define VIEW 7

static struct own *o;
static struct { enum own_type type; uint64_t epoch, serial; uint32_t domid; bool holds; } sent[64];
static int n_sent;
static struct { enum own_action action; uint64_t number; } acted[64];
static int n_acted, persist_rc, grants, revoke_rc;
static enum own_job ended;
static int ended_rc;

static int t_persist(void *arg, const struct own_dom *d) { return persist_rc; }
static int t_persist_nodes(void *arg, const struct own *x) { return 0; }
static int t_grant(void *arg, const char *uuid, uint64_t n) { grants++; return 0; }
static int t_revoke(void *arg, const char *uuid, uint64_t n) { return revoke_rc; }

static void t_send(void *arg, const struct own_msg *m)
{
	sent[n_sent].type = m->type;
	sent[n_sent].epoch = m->epoch;
	sent[n_sent].serial = m->serial;
	sent[n_sent].domid = m->rec.domid;
	sent[n_sent++].holds = m->type == OWN_M_REPORT && m->report.n_entries && m->report.entries[0].holds;
}

static void t_act(void *arg, struct own_dom *d, enum own_action a, uint64_t number)
{
	acted[n_acted].action = a;
	acted[n_acted++].number = number;
}

static void t_done(void *arg, struct own_dom *d, enum own_job job, int rc, const char *text)
{
	ended = job;
	ended_rc = rc;
}

static const struct own_ops ops = { t_persist, t_persist_nodes, t_send, t_act, t_grant, t_revoke, t_done, NULL };

static bool did_send(enum own_type t)
{
	for (int i = 0; i < n_sent; i++)
		if (sent[i].type == t)
			return true;
	return false;
}

static bool did_act(enum own_action a)
{
	for (int i = 0; i < n_acted; i++)
		if (acted[i].action == a)
			return true;
	return false;
}

static void forget_outputs(void) { n_sent = n_acted = 0; ended = OWN_J_NONE; }

static void hear(uint32_t from, struct own_msg m)
{
	m.from = from;
	m.view = VIEW;
	strcpy(m.uuid, U);
	own_deliver(o, &m);
}

static void hear_report(uint32_t from, bool full, bool known, const struct own_entry *e)
{
	struct own_entry copy = e ? *e : (struct own_entry){ .holds = false };

	strcpy(copy.uuid, U);
	hear(from, (struct own_msg){ .type = OWN_M_REPORT, .report = { .full = full, .known = known, .incarnation = 5,
				     .entries = &copy, .n_entries = e ? 1 : 0 } });
}

static void hear_ack(uint32_t from, enum own_type what, uint64_t epoch, uint64_t serial)
{
	hear(from, (struct own_msg){ .type = OWN_M_ACK, .epoch = epoch, .serial = serial, .what = what, .whom = 1 });
}

static void local(enum own_copy copy, uint64_t attempt, uint32_t target)
{
	struct own_local l = { .copy = copy, .attempt = attempt, .target = target, .domid = 3 };

	strcpy(l.uuid, U);
	own_local(o, &l);
}

/* A synced, quorate view of three in which nothing is known. */
static int setup(void **state)
{
	static const uint32_t ids[] = { 1, 2, 3 };
	static const char *const names[] = { "n1", "n2", "n3" };

	persist_rc = grants = 0;
	revoke_rc = 0;
	o = own_new(1, 5, &ops, NULL);
	own_set_nodes(o, ids, names, 3);
	own_locals(o, NULL, 0);
	own_view(o, VIEW, ids, 3);
	own_quorum(o, true, true);
	hear_report(1, true, true, NULL);
	hear_report(2, true, true, NULL);
	hear_report(3, true, true, NULL);
	forget_outputs();
	return 0;
}

static int teardown(void **state)
{
	own_free(o);
	return 0;
}

static int start(void)
{
	struct own_record rec = { .name = "demo", .hash = "h" };
	char text[OWN_TEXT_LEN];

	return own_start(o, U, &rec, "{}", text);
}

static struct own_record record(uint64_t epoch, uint32_t owner, uint32_t to)
{
	return (struct own_record){ .epoch = epoch, .owner = owner, .to = to, .domid = 3, .name = "demo", .hash = "h" };
}

/* Claims, has everybody acknowledge, creates; the copy runs and everything is told. */
static void run_here(void)
{
	uint64_t serial;

	assert_int_equal(start(), 0);
	serial = sent[n_sent - 1].serial;
	hear(1, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = serial, .rec = record(1, 1, 0), .config = "{}" });
	for (uint32_t n = 1; n <= 3; n++)
		hear_ack(n, OWN_M_CLAIM, 1, serial);
	assert_true(did_act(OWN_DO_CREATE));
	local(OWN_RUN, 0, 0);
	own_action_done(o, U, OWN_DO_CREATE, 0, 3, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_int_equal(ended, OWN_J_START);
	forget_outputs();
}

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

/* A node that is out must have been fenced since it was last seen: a fencing of its former boot says nothing. */
static void test_fencing_is_of_a_boot(void **state)
{
	static const uint32_t two[] = { 1, 2 }, three[] = { 1, 2, 3 };

	own_fenced(o, 3);				/* a member: nothing follows before it is out */
	assert_true(did_send(OWN_M_PROBE));
	assert_false(own_is_fenced(o, 3));
	own_view(o, VIEW, two, 2);
	own_quorum(o, true, true);
	hear_report(1, true, true, NULL);
	hear_report(2, true, true, NULL);
	start();
	assert_true(did_send(OWN_M_CLAIM));		/* it never answered */

	own_cancel(o, U, "");
	own_view(o, VIEW + 1, three, 3);		/* now it did, though nothing was heard of it */
	own_view(o, VIEW, two, 2);
	own_quorum(o, true, true);
	hear_report(1, true, true, NULL);
	hear_report(2, true, true, NULL);
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
	static const uint32_t two[] = { 1, 2 };
	uint64_t serial;

	own_fenced(o, 3);
	serial = sent[n_sent - 1].serial;
	hear(3, (struct own_msg){ .type = OWN_M_ALIVE, .whom = 2, .serial = serial });
	hear(3, (struct own_msg){ .type = OWN_M_ALIVE, .whom = 1, .serial = serial - 1 });
	assert_int_equal(own_node(o, 3)->probe, serial);
	hear(3, (struct own_msg){ .type = OWN_M_ALIVE, .whom = 1, .serial = serial });
	own_view(o, VIEW, two, 2);
	own_quorum(o, true, true);
	hear_report(1, true, true, NULL);
	hear_report(2, true, true, NULL);
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

static void test_contradicted_copy_goes_above(void **state)
{
	struct own_entry e = { .rec = record(1, 3, 0) };

	run_here();
	hear_report(3, false, true, &e);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_true(did_send(OWN_M_RUNNING));
	assert_int_equal(sent[n_sent - 1].epoch, 2);
}

/* ... and a copy that is still being made when the contradiction is heard, once it runs: the claim counted, a report comes late. */
static void test_contradicted_before_it_runs(void **state)
{
	struct own_entry e = { .rec = record(1, 3, 0) };
	uint64_t serial;

	assert_int_equal(start(), 0);
	serial = sent[n_sent - 1].serial;
	hear(1, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = serial, .rec = record(1, 1, 0), .config = "{}" });
	for (uint32_t n = 1; n <= 3; n++)
		hear_ack(n, OWN_M_CLAIM, 1, serial);
	hear_report(3, false, true, &e);
	local(OWN_RUN, 0, 0);
	own_action_done(o, U, OWN_DO_CREATE, 0, 3, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_true(did_send(OWN_M_RUNNING));
}

/*
 * A ha-agentd that was started again hears that others took its domain for released before hypervisord has told it that the copy runs:
 * the others went on taking it for nobody's (simulator, seed 1002043).
 */
static void test_contradicted_before_it_knows(void **state)
{
	static const uint32_t ids[] = { 1, 2, 3 };
	static const char *const names[] = { "n1", "n2", "n3" };
	struct own_record mine = record(8, 1, 0);
	struct own_entry released = { .rec = record(8, 0, 0) };
	struct own_local l = { .copy = OWN_RUN, .domid = 3 };

	own_free(o);
	o = own_new(1, 6, &ops, NULL);
	own_set_nodes(o, ids, names, 3);
	assert_int_equal(own_load_domain(o, U, &mine, 0, "{}"), 0);
	own_view(o, VIEW, ids, 3);
	own_quorum(o, true, true);
	hear_report(1, true, false, NULL);
	hear_report(2, true, true, &released);
	hear_report(3, true, true, &released);
	strcpy(l.uuid, U);
	own_locals(o, &l, 1);
	hear_report(1, true, true, NULL);
	assert_true(did_send(OWN_M_RUNNING));
	assert_int_equal(sent[n_sent - 1].epoch, 9);
}

/*
 * A member that missed a record cannot follow the next one, and an older report then raised it only half way: it took a domain for moving
 * that was not (simulator, five nodes, seed 1000574). Whoever sees its own report overtaken says it anew.
 */
static void test_overtaken_report_is_said_anew(void **state)
{
	struct own_entry old = { .rec = record(7, 2, 3) }, now = { .rec = record(8, 2, 0) };

	hear_report(2, false, true, &now);
	forget_outputs();
	hear_report(1, false, true, &now);
	assert_false(did_send(OWN_M_REPORT));
	hear_report(3, false, true, &old);
	assert_false(did_send(OWN_M_REPORT));
	hear_report(1, false, true, &old);
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, NULL);
	assert_true(did_send(OWN_M_REPORT));
	assert_int_equal(sent[n_sent - 1].type, OWN_M_REPORT);
}

/* An announcement that was sent again came after the report that the copy had ended: the node counted as a holder for ever. */
static void test_late_running_is_taken_back(void **state)
{
	struct own_entry e = { .rec = record(1, 3, 0) };
	uint64_t serial;

	run_here();
	hear_report(3, false, true, &e);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	serial = sent[n_sent - 1].serial;
	local(OWN_NONE, 0, 0);
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	forget_outputs();
	hear(1, (struct own_msg){ .type = OWN_M_RUNNING, .epoch = 2, .serial = serial, .rec = record(2, 1, 0) });
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	assert_true(did_send(OWN_M_REPORT));
	for (int i = 0; i < n_sent; i++)
		assert_false(sent[i].type == OWN_M_REPORT && sent[i].holds);
}

/*
 * A handed copy waits for this very RUNNING: its sender, who could not write it, says it again until it has acknowledged it, also when a
 * report brings the record meanwhile (simulator, two nodes and a device, seeds 17706 and 37832).
 */
static void test_running_its_sender_could_not_write(void **state)
{
	struct own_entry other = { .rec = record(1, 3, 0) }, written = { .rec = record(2, 1, 0) };
	const struct own_dom *d;
	struct own_msg m;

	run_here();
	d = own_find(o, U);
	hear_report(3, false, true, &other);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_int_equal(sent[n_sent - 1].type, OWN_M_RUNNING);
	m = (struct own_msg){ .type = OWN_M_RUNNING, .epoch = 2, .serial = sent[n_sent - 1].serial, .rec = record(2, 1, 0) };
	forget_outputs();
	persist_rc = -ENOSPC;
	hear(1, m);
	hear_ack(2, OWN_M_RUNNING, 2, m.serial);
	hear_ack(3, OWN_M_RUNNING, 2, m.serial);
	assert_false(did_send(OWN_M_ACK));
	own_tick(o);
	assert_int_equal(sent[0].type, OWN_M_RUNNING);
	assert_true(sent[0].epoch == 2 && sent[0].serial == m.serial && sent[0].domid == 3);
	persist_rc = 0;
	hear_report(2, false, true, &written);
	assert_int_equal(d->rec.epoch, 2);
	assert_false(d->outs[0].done);
	forget_outputs();
	own_tick(o);
	assert_true(sent[0].type == OWN_M_RUNNING && sent[0].epoch == 2 && sent[0].serial == m.serial);
	hear(1, m);
	assert_true(did_send(OWN_M_ACK));
	hear_ack(1, OWN_M_RUNNING, 2, m.serial);
	assert_true(d->outs[0].done);
	forget_outputs();
	own_tick(o);
	assert_false(did_send(OWN_M_RUNNING));
}

/* It ran here, was stopped and is gone: the serial of the RELEASE, of epoch 2, that says so. */
static uint64_t release_here(void)
{
	char text[OWN_TEXT_LEN];
	uint64_t serial = 0;

	run_here();
	own_stop(o, U, text);
	local(OWN_NONE, 0, 0);
	own_action_done(o, U, OWN_DO_DESTROY, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	hear_report(1, false, true, &(struct own_entry){ .rec = record(1, 1, 0) });
	assert_true(did_send(OWN_M_RELEASE));
	for (int i = 0; i < n_sent; i++)
		serial = sent[i].type == OWN_M_RELEASE ? sent[i].serial : serial;
	return serial;
}

/* The same of a RELEASE; and it is said no more once another record is above it. */
static void test_release_its_sender_could_not_write(void **state)
{
	uint64_t serial = release_here();

	persist_rc = -ENOSPC;
	hear(1, (struct own_msg){ .type = OWN_M_RELEASE, .epoch = 2, .serial = serial, .rec = record(2, 0, 0) });
	persist_rc = 0;
	forget_outputs();
	own_tick(o);
	assert_true(sent[0].type == OWN_M_RELEASE && sent[0].epoch == 2 && sent[0].serial == serial);
	hear_report(2, false, true, &(struct own_entry){ .rec = record(3, 2, 0), .holds = true });
	forget_outputs();
	own_tick(o);
	assert_false(did_send(OWN_M_RELEASE));
}

/* Nobody could write it: it is said again as it was, for the domid it was made for, until somebody can. */
static void test_claim_nobody_could_write(void **state)
{
	struct own_msg m;

	start();
	m = (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = sent[n_sent - 1].serial, .rec = record(1, 1, 0), .config = "{}" };
	m.rec.domid = sent[n_sent - 1].domid;
	persist_rc = -ENOSPC;
	hear(1, m);
	for (int i = 0; i < 3; i++) {
		forget_outputs();
		own_tick(o);
		assert_int_equal(sent[0].type, OWN_M_CLAIM);
		assert_true(sent[0].epoch == 1 && sent[0].serial == m.serial && sent[0].domid == m.rec.domid);
		hear(1, m);
		assert_false(did_send(OWN_M_ACK));
	}
	persist_rc = 0;
	hear(1, m);
	for (uint32_t n = 1; n <= 3; n++)
		hear_ack(n, OWN_M_CLAIM, 1, m.serial);
	assert_true(did_act(OWN_DO_CREATE));
}

/* Two claims, or a claim and a release, of one epoch that nobody could write would wait for each other. */
static void test_unwritten_claim_gives_way(void **state)
{
	struct own_entry other = { .rec = { .epoch = 0 }, .holds = true };
	struct own_msg m;

	start();
	m = (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = sent[n_sent - 1].serial, .rec = record(1, 1, 0), .config = "{}" };
	persist_rc = -ENOSPC;
	hear(1, m);
	hear_report(2, false, true, &other);
	forget_outputs();
	own_tick(o);
	assert_false(did_send(OWN_M_CLAIM));
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	assert_true(did_send(OWN_M_REPORT));
	other.holds = false;
	forget_outputs();
	hear_report(2, false, true, &other);
	assert_true(did_send(OWN_M_CLAIM));		/* made anew, since all are free */
	assert_true(sent[n_sent - 1].serial != m.serial);
	persist_rc = 0;
	hear(2, (struct own_msg){ .type = OWN_M_RELEASE, .epoch = 1, .serial = 1, .rec = record(1, 0, 0) });
	forget_outputs();
	own_tick(o);					/* another record of its epoch is on the disk */
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_true(did_send(OWN_M_CLAIM));
	for (int i = 0; i < n_sent; i++)
		assert_true(sent[i].type != OWN_M_CLAIM || sent[i].epoch == 2);
}

static void test_begin_nobody_could_write(void **state)
{
	char text[OWN_TEXT_LEN];
	struct own_msg m;

	run_here();
	assert_int_equal(own_migrate(o, U, 2, text), 0);
	assert_int_equal(sent[n_sent - 1].type, OWN_M_BEGIN);
	m = (struct own_msg){ .type = OWN_M_BEGIN, .epoch = 2, .serial = sent[n_sent - 1].serial, .rec = record(2, 1, 2) };
	persist_rc = -ENOSPC;
	hear(1, m);
	forget_outputs();
	own_tick(o);
	assert_int_equal(sent[0].type, OWN_M_BEGIN);
	assert_true(sent[0].epoch == 2 && sent[0].serial == m.serial);
	persist_rc = 0;
	hear(1, m);
	for (uint32_t n = 1; n <= 3; n++)
		hear_ack(n, OWN_M_BEGIN, 2, m.serial);
	assert_true(did_act(OWN_DO_MOVE));
	forget_outputs();
	own_tick(o);
	assert_false(did_send(OWN_M_BEGIN));
}

/* A release that another record came after is not waited for: the node's next announcement did not go out while it was. */
static void test_overtaken_release_is_given_up(void **state)
{
	release_here();
	hear_report(2, false, true, &(struct own_entry){ .rec = record(7, 2, 0), .holds = true });
	assert_int_equal(own_find(o, U)->outs[0].type, OWN_M_NONE);
}

/* Two owners on two records of one epoch, neither with a copy: their releases waited for each other and no start went through. */
static void test_crossing_releases(void **state)
{
	const struct own_dom *d;

	run_here();
	forget_outputs();
	hear(2, (struct own_msg){ .type = OWN_M_RELEASE, .epoch = 1, .serial = 9, .rec = record(1, 0, 0) });
	d = own_find(o, U);
	assert_int_equal(d->rec.owner, 1);
	assert_false(did_send(OWN_M_ACK));
	assert_true(did_send(OWN_M_REPORT));
	forget_outputs();
	hear(2, (struct own_msg){ .type = OWN_M_RELEASE, .epoch = 3, .serial = 10, .rec = record(3, 0, 0) });
	assert_int_equal(d->rec.epoch, 3);
	assert_int_equal(d->rec.owner, 0);
	assert_true(did_send(OWN_M_ACK));
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

static void test_leave_only_with_empty_hands(void **state)
{
	run_here();
	assert_int_equal(own_leave(o), -EBUSY);
}

/* --- the codec -------------------------------------------------------------------------------------------------------- */

static void test_codec_round_trip(void **state)
{
	struct own_entry e = { .rec = record(9, 2, 3), .copy = OWN_HANDED, .holds = true, .act_known = true, .activated = 7, .begun = 8, .pending = 9 };
	struct own_seen seen = { 3, 10, 11, 12 };
	struct own_msg m = { .type = OWN_M_REPORT, .view = UINT64_C(0xfedcba9876543210), .report = { true, true, 77, &e, 1, &seen, 1 } }, back;
	json_t *j;

	strcpy(e.uuid, U);
	j = own_msg_encode(&m);
	assert_int_equal(own_msg_decode(j, &back), 0);
	assert_true(back.view == m.view && back.report.full && back.report.known && back.report.incarnation == 77);
	assert_memory_equal(&back.report.entries[0], &e, sizeof(e));
	assert_memory_equal(&back.report.seen[0], &seen, sizeof(seen));
	own_msg_release(&back);
	json_decref(j);
}

static void test_codec_refuses(void **state)
{
	static const char *const bad[] = {
		"{}", "[]", "{\"v\":1,\"type\":\"claim\"}", "{\"v\":2,\"type\":\"leave\",\"view\":\"0000000000000001\",\"uuid\":\"\"}",
		"{\"v\":1,\"type\":\"claim\",\"view\":\"0000000000000001\",\"uuid\":\"../../etc/passwd\",\"epoch\":1}",
		"{\"v\":1,\"type\":\"claim\",\"view\":\"0000000000000001\",\"uuid\":\"" U "\",\"epoch\":-1}",
		"{\"v\":1,\"type\":\"claim\",\"view\":\"0000000000000001\",\"uuid\":\"" U "\",\"epoch\":1,\"record\":{\"owner\":4294967296}}",
		"{\"v\":1,\"type\":\"report\",\"view\":\"0000000000000001\",\"uuid\":\"\",\"report\":{\"domains\":[{}],\"nodes\":[]}}",
		"{\"v\":1,\"type\":\"report\",\"view\":\"0000000000000001\",\"uuid\":\"\",\"report\":{\"domains\":7,\"nodes\":[]}}",
	};
	struct own_msg m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *j = json_loads(bad[i], 0, NULL);

		assert_int_equal(own_msg_decode(j, &m), -EBADMSG);
		json_decref(j);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_claim_waits_for_every_ack), T(test_no_claim_while_somebody_holds), T(test_no_claim_while_somebody_cannot_tell),
		T(test_fencing_is_of_a_boot), T(test_who_answers_was_not_fenced), T(test_probe_and_memberships),
		T(test_member_is_not_fenced_by_hearsay), T(test_message_of_another_membership_is_none), T(test_no_ack_of_what_is_not_on_disk),
		T(test_claim_must_extend_my_record), T(test_restore_keeps_its_domid), T(test_name_is_one_domain_s), T(test_report_beside_a_claim_holds),
		T(test_stream_only_for_a_begin_of_this_membership), T(test_no_promise_from_an_old_look),
		T(test_event_is_younger_than_the_answer), T(test_handed_resumes_on_a_promise_alone),
		T(test_handed_is_dropped_when_it_ran_there), T(test_handed_is_dropped_when_the_target_is_fenced),
		T(test_a_copy_that_serves_stays), T(test_stop_leaves_a_copy_that_serves), T(test_a_copy_that_serves_goes_when_nobody_can_use_it), T(test_a_guest_ends_when_its_pages_are_lost),
		T(test_handed_waits_for_running_to_count), T(test_move_ends_when_the_target_is_lost), T(test_move_whose_copy_died), T(test_contradicted_copy_goes_above),
		T(test_contradicted_before_it_runs), T(test_contradicted_before_it_knows), T(test_overtaken_report_is_said_anew), T(test_late_running_is_taken_back),
		T(test_running_its_sender_could_not_write), T(test_release_its_sender_could_not_write),
		T(test_claim_nobody_could_write), T(test_unwritten_claim_gives_way), T(test_begin_nobody_could_write),
		T(test_overtaken_release_is_given_up),
		T(test_crossing_releases),
		T(test_quorum_pauses_and_resumes), T(test_claim_overtaken), T(test_asked_while_claiming), T(test_start_knows_who_runs_it),
		T(test_restore_waits_for_no_other_epoch), T(test_leave_only_with_empty_hands),
		cmocka_unit_test(test_codec_round_trip), cmocka_unit_test(test_codec_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
