/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership_replay.c - the transitions of the Promela model, each carried out by ha-agent/ownership.c.
 *
 *	ownership-replay NODES < LINES
 *
 * A line of the model (ownership.pml, X_TRACE): what a node has on record, what it hears, and what its record is then. The same
 * is told to a fresh struct own, which has to end with the same record.
 *
 *	D me kind from epoch to  EPOCH OWNER TO BEGUN holds = EPOCH OWNER TO BEGUN taken owes    a message: is it acknowledged, or answered
 *	                                                                                        with a report?
 *	holds: 1 a copy, 2 its disk takes nothing, 3 both
 *	H me from  EPOCH OWNER TO BEGUN  epoch owner to  holds = EPOCH OWNER TO BEGUN contradicted claiming      another's record
 *
 *	W me handed attempt target serves lacks  EPOCH OWNER TO BEGUN  view reported holds fenced quorate there = goes loses
 *		a handed copy (or one that runs and lacks pages of node lacks - 1's), and what the membership is known to hold (masks):
 *		is it destroyed, does it end for its pages? there: RUNNING of the target, 0 none, 1 open, 2 counts, 3 not told apart
 *
 *	T me from attempt holds activated begun pending = resumed dropped	the target's word, to the source of a handed copy
 *
 * Nodes count from 0 there and NODES is nobody; here from 1, and 0 is nobody.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership.h"

#define U "00000000-0000-0000-0000-00000000000a"
#define VIEW 7
#define MOST 3
#define NUMBERS 20

static unsigned nodes;
static bool acknowledged, reported, destroyed, resumed, ended, looks;
static int disk;	/* what the disk says to a record */

static int persist(void *arg, const struct own_dom *d) { return disk; }
static int no_persist_nodes(void *arg, const struct own *o) { return 0; }
static int no_grant(void *arg, const char *uuid, uint64_t n) { return 0; }

static void note_act(void *arg, struct own_dom *d, enum own_action a, uint64_t n)
{
	destroyed |= a == OWN_DO_DESTROY;
	resumed |= a == OWN_DO_RESUME_HANDED && n;
	ended |= a == OWN_DO_PAGES_LOST;
	looks |= a == OWN_DO_REFRESH;
}
static void no_done(void *arg, struct own_dom *d, enum own_job job, int rc, const char *text) { }

static void note_sent(void *arg, const struct own_msg *m)
{
	acknowledged |= m->type == OWN_M_ACK;
	reported |= m->type == OWN_M_REPORT;
}

static const struct own_ops ops = { .persist = persist, .persist_nodes = no_persist_nodes, .send = note_sent, .act = note_act,
				    .grant = no_grant, .revoke = no_grant, .job_done = no_done };

static uint32_t id_of(unsigned node) { return node == nodes ? 0 : node + 1; }

static struct own_record record(const unsigned *r)
{
	return (struct own_record){ .epoch = r[0], .owner = id_of(r[1]), .to = id_of(r[2]), .domid = 3, .name = "demo", .hash = "h" };
}

static void hear(struct own *o, unsigned from, struct own_msg m)
{
	m.view = VIEW;
	m.from = id_of(from);
	strcpy(m.uuid, U);
	own_deliver(o, &m);
}

static void hear_report(struct own *o, unsigned from, bool full, const struct own_entry *e)
{
	struct own_entry copy = e ? *e : (struct own_entry){ .holds = false };

	strcpy(copy.uuid, U);
	hear(o, from, (struct own_msg){ .type = OWN_M_REPORT, .report = { .full = full, .known = true, .incarnation = 5, .entries = &copy,
									  .n_entries = e ? 1 : 0 } });
}

/* Node `me` in a view of all, with that record and, with `holds`, a copy that runs. */
static struct own *make(unsigned me, const unsigned *rec, bool holds)
{
	static const uint32_t ids[MOST] = { 1, 2, 3 };
	static const char *const names[MOST] = { "n1", "n2", "n3" };
	struct own_record r = record(rec);
	struct own *o = own_new(id_of(me), 5, &ops, NULL);
	struct own_local l = { .copy = OWN_RUN, .domid = 3 };

	strcpy(l.uuid, U);
	if (!o || own_set_nodes(o, ids, names, (int)nodes) || own_load_domain(o, U, &r, rec[3], "{}"))
		abort();
	own_locals(o, &l, holds ? 1 : 0);
	own_view(o, VIEW, ids, (int)nodes);
	own_quorum(o, true, true);
	for (unsigned i = 0; i < nodes; i++)
		hear_report(o, i, true, NULL);
	acknowledged = reported = false;
	return o;
}

static const char *record_differs(struct own *o, const unsigned *want)
{
	static char text[128];
	const struct own_dom *d = own_find(o, U);

	if (d->rec.epoch == want[0] && d->rec.owner == id_of(want[1]) && d->rec.to == id_of(want[2]) && d->begun == want[3])
		return NULL;
	snprintf(text, sizeof(text), "its record is then epoch %llu, owner %u, to %u, begun %llu", (unsigned long long)d->rec.epoch,
		 d->rec.owner, d->rec.to, (unsigned long long)d->begun);
	return text;
}

/* me kind from epoch to | record | holds | record | taken owes */
static const char *replay_message(const unsigned *w)
{
	static const enum own_type kinds[] = { OWN_M_NONE, OWN_M_BEGIN, OWN_M_RUNNING, OWN_M_ABORT, OWN_M_CLAIM, OWN_M_RELEASE };
	unsigned rec[3] = { w[3], w[2], w[4] };
	struct own *o = make(w[0], w + 5, w[9] & 1);
	bool own_word = w[2] == w[0], owes;
	const char *wrong;

	disk = w[9] & 2 ? -ENOSPC : 0;
	hear(o, w[2], (struct own_msg){ .type = kinds[w[1]], .epoch = w[3], .serial = 1, .rec = record(rec), .config = "{}" });
	wrong = record_differs(o, w + 10);
	owes = reported || !own_find(o, U)->told;
	if (!wrong && acknowledged != !!w[14])
		wrong = acknowledged ? "it is acknowledged" : "it is not acknowledged";
	/* what a node says of itself is reported when the copy's state is, which is not in question here */
	if (!wrong && w[15] && !own_word && !owes)
		wrong = "it is refused without a report";
	disk = 0;
	own_free(o);
	return wrong;
}

/* me from | record | epoch owner to | holds | record | contradicted claiming */
static const char *replay_report(const unsigned *w)
{
	struct own_entry e = { .rec = record(w + 6) };
	struct own *o = make(w[0], w + 2, w[9] & 1);
	const char *wrong;

	disk = w[9] & 2 ? -ENOSPC : 0;
	hear_report(o, w[1], false, &e);
	wrong = record_differs(o, w + 10);
	/* it may have been contradicted before; and once it is, it announces itself in the same breath */
	if (!wrong && !w[14] && own_find(o, U)->contradicted)
		wrong = "it takes its record for contradicted";
	disk = 0;
	own_free(o);
	return wrong;
}

/* RUNNING of the target, which its record is of; with `counts`, every member has it. */
static void hear_running(struct own *o, unsigned target, const unsigned *rec, unsigned view, bool counts)
{
	hear(o, target, (struct own_msg){ .type = OWN_M_RUNNING, .epoch = rec[0], .serial = 1, .rec = record(rec) });
	for (unsigned i = 0; counts && i < nodes; i++)
		if (view >> i & 1)
			hear(o, i, (struct own_msg){ .type = OWN_M_ACK, .what = OWN_M_RUNNING, .whom = id_of(target), .epoch = rec[0], .serial = 1 });
}

/* Of a view of those nodes, where `told` have reported what `held` hold. */
static struct own *make_part(unsigned me, const unsigned *rec, const struct own_local *l, unsigned target, const unsigned *w)
{
	static const uint32_t all[MOST] = { 1, 2, 3 };
	static const char *const names[MOST] = { "n1", "n2", "n3" };
	struct own_record r = record(rec);
	struct own *o = own_new(id_of(me), 5, &ops, NULL);
	uint32_t members[MOST];
	int n = 0;

	if (!o || own_set_nodes(o, all, names, (int)nodes) || own_load_domain(o, U, &r, rec[3], "{}"))
		abort();
	for (unsigned i = 0; i < nodes; i++) {
		struct own_seen s = { .node = id_of(i), .seen = 5, .fenced = w[3] >> i & 1 ? 6 : 0 };

		own_load_node(o, &s);
		if (w[0] >> i & 1)
			members[n++] = id_of(i);
	}
	own_locals(o, l, 1);
	own_view(o, VIEW, members, n);
	own_quorum(o, w[4], true);
	if (w[5])
		hear_running(o, target, rec, w[0], w[5] == 2);
	for (unsigned i = 0; i < nodes; i++) {
		struct own_entry e = { .rec = r, .copy = OWN_RUN, .holds = true };

		if (w[1] >> i & 1)
			hear_report(o, i, true, w[2] >> i & 1 ? &e : NULL);
	}
	return o;
}

static const char *replay_copy(const unsigned *w)
{
	struct own_local l = { .copy = w[1] ? OWN_HANDED : OWN_RUN, .attempt = w[2], .domid = 3, .serves = w[1] && w[4] };
	const char *wrong = NULL;
	struct own *o;

	strcpy(l.uuid, U);
	l.target = w[1] ? id_of(w[3]) : 0;
	l.source = w[5] ? id_of(w[5] - 1) : 0;
	destroyed = ended = looks = false;
	o = make_part(w[0], w + 6, &l, w[3], w + 10);
	while (looks) {
		looks = false;
		own_refreshed(o, &l);
		own_action_done(o, U, OWN_DO_REFRESH, 0, 0, true, "");
	}
	if (destroyed != !!w[16])
		wrong = destroyed ? "it is destroyed" : "it is not destroyed";
	else if (ended != !!w[17])
		wrong = ended ? "it ends for its pages" : "it waits for its pages";
	own_free(o);
	return wrong;
}

/* me from attempt holds activated begun pending = resumed dropped */
static const char *replay_word(const unsigned *w)
{
	const unsigned rec[4] = { w[2], w[0], w[1], 0 }, part[6] = { (1u << nodes) - 1, 0, 0, 0, 1, 0 };
	struct own_local l = { .copy = OWN_HANDED, .attempt = w[2], .domid = 3, .target = id_of(w[1]) };
	struct own_entry e = { .rec = record(rec), .holds = w[3], .act_known = true, .activated = w[4], .begun = w[5], .pending = w[6] };
	struct own *o;

	strcpy(l.uuid, U);
	destroyed = resumed = false;
	o = make_part(w[0], rec, &l, w[1], part);
	hear_report(o, w[1], true, &e);
	own_free(o);
	if (resumed != !!w[7])
		return resumed ? "it resumes" : "it does not resume";
	return destroyed == !!w[8] ? NULL : destroyed ? "it is dropped" : "it is not dropped";
}

/* How many numbers there are; those of the record after `=` follow the others. */
static unsigned numbers(const char *s, unsigned *w, unsigned max)
{
	unsigned n = 0;
	char *end;

	for (; *s && n < max; s = end) {
		s += strspn(s, " =\n");
		w[n] = (unsigned)strtoul(s, &end, 10);
		if (end == s)
			break;
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	static const struct { char letter; unsigned numbers; const char *(*replay)(const unsigned *w); } kinds[] = {
		{ 'D', 16, replay_message }, { 'H', 16, replay_report }, { 'W', 18, replay_copy }, { 'T', 9, replay_word },
	};
	unsigned w[NUMBERS], lines = 0, bad = 0, k;
	const char *wrong;
	char line[256];

	nodes = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	if (nodes < 2 || nodes > MOST) {
		fprintf(stderr, "usage: ownership-replay 2|3 < LINES\n");
		return 2;
	}
	while (fgets(line, sizeof(line), stdin)) {
		const char *at = line + strspn(line, " ");

		for (k = 0; k < 4 && kinds[k].letter != *at; k++)
			;
		if (k == 4 || numbers(at + 1, w, NUMBERS) != kinds[k].numbers) {
			fprintf(stderr, "not a line of the model: %s", line);
			return 2;
		}
		lines++;
		if ((*at == 'D' && (w[1] < 1 || w[1] > 5)) || (*at == 'W' && w[15] == 3))
			continue;                /* a LEAVE: the node's, no domain's; a RUNNING that is under way */
		wrong = kinds[k].replay(w);
		if (wrong && bad++ < 20)
			printf("%.*s: %s\n", (int)strcspn(line, "\n"), line, wrong);
	}
	printf("%u transitions of %u nodes, %u differ\n", lines, nodes, bad);
	return bad || !lines;
}
