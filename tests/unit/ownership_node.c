/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ownership_node.c - one node of three, for the tests of the ownership rules. */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ownership_node.h"

struct own *o;
struct node_sent sent[64];
struct node_acted acted[64];
int n_sent, n_acted, grants;
enum own_job ended;
int ended_rc;
int persist_rc, persist_nodes_rc, revoke_rc;

static int t_persist(void *arg, const struct own_dom *d) { return persist_rc; }
static int t_persist_nodes(void *arg, const struct own *x) { return persist_nodes_rc; }
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

const struct own_ops node_ops = { t_persist, t_persist_nodes, t_send, t_act, t_grant, t_revoke, t_done, NULL };

bool did_send(enum own_type t)
{
	for (int i = 0; i < n_sent; i++)
		if (sent[i].type == t)
			return true;
	return false;
}

bool did_act(enum own_action a)
{
	for (int i = 0; i < n_acted; i++)
		if (acted[i].action == a)
			return true;
	return false;
}

void forget_outputs(void) { n_sent = n_acted = 0; ended = OWN_J_NONE; }

void hear(uint32_t from, struct own_msg m)
{
	m.from = from;
	m.view = VIEW;
	strcpy(m.uuid, U);
	own_deliver(o, &m);
}

void hear_report(uint32_t from, bool full, bool known, const struct own_entry *e)
{
	struct own_entry copy = e ? *e : (struct own_entry){ .holds = false };

	strcpy(copy.uuid, U);
	hear(from, (struct own_msg){ .type = OWN_M_REPORT, .report = { .full = full, .known = known, .incarnation = 5,
				     .entries = &copy, .n_entries = e ? 1 : 0 } });
}

void hear_ack(uint32_t from, enum own_type what, uint64_t epoch, uint64_t serial)
{
	hear(from, (struct own_msg){ .type = OWN_M_ACK, .epoch = epoch, .serial = serial, .what = what, .whom = 1 });
}

void local(enum own_copy copy, uint64_t attempt, uint32_t target)
{
	struct own_local l = { .copy = copy, .attempt = attempt, .target = target, .domid = 3 };

	strcpy(l.uuid, U);
	if (own_local(o, &l))
		own_look(o);
}

int setup(void **state)
{
	static const uint32_t ids[] = { 1, 2, 3 };
	static const char *const names[] = { "n1", "n2", "n3" };

	persist_rc = persist_nodes_rc = grants = 0;
	revoke_rc = 0;
	o = own_new(1, 5, &node_ops, NULL);
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

int teardown(void **state)
{
	own_free(o);
	return 0;
}

int start(void)
{
	struct own_record rec = { .name = "demo", .hash = "h" };
	char text[OWN_TEXT_LEN];

	return own_start(o, U, &rec, "{}", text);
}

struct own_record record(uint64_t epoch, uint32_t owner, uint32_t to)
{
	return (struct own_record){ .epoch = epoch, .owner = owner, .to = to, .domid = 3, .name = "demo", .hash = "h" };
}

void claim_here(void)
{
	uint64_t serial;

	assert_int_equal(start(), 0);
	serial = sent[n_sent - 1].serial;
	hear(1, (struct own_msg){ .type = OWN_M_CLAIM, .epoch = 1, .serial = serial, .rec = record(1, 1, 0), .config = "{}" });
	for (uint32_t n = 1; n <= 3; n++)
		hear_ack(n, OWN_M_CLAIM, 1, serial);
}

void run_here(void)
{
	claim_here();
	assert_true(did_act(OWN_DO_CREATE));
	local(OWN_RUN, 0, 0);
	own_action_done(o, U, OWN_DO_CREATE, 0, 3, true, "");
	own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	assert_int_equal(ended, OWN_J_START);
	forget_outputs();
}
