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
 *	H me from  EPOCH OWNER TO BEGUN  epoch owner to  holds = EPOCH OWNER TO BEGUN contradicted claiming      another's record
 *
 * Nodes count from 0 there and NODES is nobody; here from 1, and 0 is nobody.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership.h"

#define U "00000000-0000-0000-0000-00000000000a"
#define VIEW 7
#define MOST 3

static unsigned nodes;
static bool acknowledged, reported;

static int no_persist(void *arg, const struct own_dom *d) { return 0; }
static int no_persist_nodes(void *arg, const struct own *o) { return 0; }
static int no_grant(void *arg, const char *uuid, uint64_t n) { return 0; }
static void no_act(void *arg, struct own_dom *d, enum own_action a, uint64_t n) { }
static void no_done(void *arg, struct own_dom *d, enum own_job job, int rc, const char *text) { }

static void note_sent(void *arg, const struct own_msg *m)
{
	acknowledged |= m->type == OWN_M_ACK;
	reported |= m->type == OWN_M_REPORT;
}

static const struct own_ops ops = { .persist = no_persist, .persist_nodes = no_persist_nodes, .send = note_sent, .act = no_act,
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
	struct own *o = make(w[0], w + 5, w[9]);
	bool own_word = w[2] == w[0], owes;
	const char *wrong;

	hear(o, w[2], (struct own_msg){ .type = kinds[w[1]], .epoch = w[3], .serial = 1, .rec = record(rec), .config = "{}" });
	wrong = record_differs(o, w + 10);
	owes = reported || !own_find(o, U)->told;
	if (!wrong && acknowledged != !!w[14])
		wrong = acknowledged ? "it is acknowledged" : "it is not acknowledged";
	/* what a node says of itself is reported when the copy's state is, which is not in question here */
	if (!wrong && w[15] && !own_word && !owes)
		wrong = "it is refused without a report";
	own_free(o);
	return wrong;
}

/* me from | record | epoch owner to | holds | record | contradicted claiming */
static const char *replay_report(const unsigned *w)
{
	struct own_entry e = { .rec = record(w + 6) };
	struct own *o = make(w[0], w + 2, w[9]);
	const char *wrong;

	hear_report(o, w[1], false, &e);
	wrong = record_differs(o, w + 10);
	/* it may have been contradicted before; and once it is, it announces itself in the same breath */
	if (!wrong && !w[14] && own_find(o, U)->contradicted)
		wrong = "it takes its record for contradicted";
	own_free(o);
	return wrong;
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
	unsigned w[16], lines = 0, bad = 0;
	const char *wrong;
	char line[256];

	nodes = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	if (nodes < 2 || nodes > MOST) {
		fprintf(stderr, "usage: ownership-replay 2|3 < LINES\n");
		return 2;
	}
	while (fgets(line, sizeof(line), stdin)) {
		const char *at = line + strspn(line, " ");

		if ((*at != 'D' && *at != 'H') || numbers(at + 1, w, 16) != 16) {
			fprintf(stderr, "not a line of the model: %s", line);
			return 2;
		}
		lines++;
		if (*at == 'D' && (w[1] < 1 || w[1] > 5))
			continue;                /* a LEAVE: the node's, no domain's */
		wrong = *at == 'D' ? replay_message(w) : replay_report(w);
		if (wrong && bad++ < 20)
			printf("%.*s: %s\n", (int)strcspn(line, "\n"), line, wrong);
	}
	printf("%u transitions of %u nodes, %u differ\n", lines, nodes, bad);
	return bad || !lines;
}
