/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records that contradict each other, overtake each other, or find a disk that takes nothing. */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ownership_node.h"

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

	claim_here();
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
	o = own_new(1, 6, &node_ops, NULL);
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

/*
 * It ran here, announced that, and ended before everybody had acknowledged it; who could not write it took another record of that epoch. Both
 * waited for acknowledgements that neither gave, and no start went through (the model, X_FULL with M_STALE).
 */
static void test_running_of_a_copy_that_is_gone(void **state)
{
	struct own_entry other = { .rec = record(1, 3, 0) }, released = { .rec = record(2, 0, 0) }, mine = { .rec = record(2, 1, 0) };
	uint64_t serial;

	run_here();
	hear_report(3, false, true, &other);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	serial = sent[n_sent - 1].serial;
	hear(1, (struct own_msg){ .type = OWN_M_RUNNING, .epoch = 2, .serial = serial, .rec = record(2, 1, 0) });
	local(OWN_NONE, 0, 0);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	own_action_done(o, U, OWN_DO_ACTIVATED, 0, 0, true, "");
	hear_report(1, false, true, &mine);
	assert_int_equal(own_find(o, U)->outs[0].type, OWN_M_RUNNING);
	forget_outputs();
	hear_report(3, false, true, &released);
	assert_true(did_send(OWN_M_RELEASE));
	assert_int_equal(sent[n_sent - 1].epoch, 3);
}

/* A copy that runs and whose announcement was not written here; what was written instead is of the same epoch: it goes above that. */
static void test_running_that_another_record_beat(void **state)
{
	struct own_entry other = { .rec = record(1, 3, 0) }, better = { .rec = record(2, 3, 0) };

	run_here();
	hear_report(3, false, true, &other);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	persist_rc = -ENOSPC;
	hear(1, (struct own_msg){ .type = OWN_M_RUNNING, .epoch = 2, .serial = sent[n_sent - 1].serial, .rec = record(2, 1, 0) });
	persist_rc = 0;
	hear_report(2, false, true, &better);
	forget_outputs();
	own_tick(o);
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_true(did_send(OWN_M_RUNNING));
	for (int i = 0; i < n_sent; i++)
		assert_true(sent[i].type != OWN_M_RUNNING || sent[i].epoch == 3);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_contradicted_copy_goes_above), T(test_contradicted_before_it_runs), T(test_contradicted_before_it_knows),
		T(test_overtaken_report_is_said_anew), T(test_late_running_is_taken_back),
		T(test_running_its_sender_could_not_write), T(test_running_of_a_copy_that_is_gone),
		T(test_running_that_another_record_beat), T(test_release_its_sender_could_not_write),
		T(test_claim_nobody_could_write), T(test_unwritten_claim_gives_way), T(test_begin_nobody_could_write),
		T(test_overtaken_release_is_given_up), T(test_crossing_releases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
