/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every part of the simulator stands on: chance, the trace, and the copies, each step of which is checked. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ownership_sim.h"

const char *const uuids[D] = { "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002" };
const char *const names[D] = { "one", "two" };
const char *const node_names[MOST_NODES] = { "n1", "n2", "n3", "n4", "n5" };
const uint32_t ids[MOST_NODES] = { 1, 2, 3, 4, 5 };
uint64_t seed, rng, next_view;
int trace, faults_left, calm;
unsigned long steps;
struct node nodes[N];
struct mig migs[64];
int migrations, failovers, promises, by_post_copy, lost_pages, linked_again;
int vote = -1;

uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 33) % n;
}

void say(const char *fmt, ...)
{
	va_list ap;

	if (!trace)
		return;
	printf("%6lu ", steps);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void show(void);

void broken(const char *what)
{
	show();
	printf("seed %llu, step %lu: %s\n", (unsigned long long)seed, steps, what);
	fflush(stdout);
	exit(1);
}

/* --- copies ---------------------------------------------------------------------------------------------------------- */

int dom_of(const char *uuid)
{
	for (int d = 0; d < D; d++)
		if (!strcmp(uuids[d], uuid))
			return d;
	abort();
}

int index_of(uint32_t id) { return (int)id - 1; }

static void run_checks(int i, int d)
{
	for (int k = 0; k < N; k++) {
		if (k == i)
			continue;
		if (nodes[k].copy[d].state == OWN_RUN)
			broken("two copies run");
		if (nodes[k].copy[d].state != OWN_NONE)
			nodes[k].copy[d].stale = true;	/* this one writes at once */
	}
	if (nodes[i].copy[d].stale)
		broken("a copy runs that is older than its disk");
}

struct own_local local_of(int i, int d)
{
	const struct copy *c = &nodes[i].copy[d];

	return (struct own_local){ .copy = c->state, .attempt = c->attempt, .domid = 7,
				   .target = c->target >= 0 && c->state == OWN_HANDED ? ids[c->target] : 0,
				   .serves = c->state == OWN_HANDED && c->serves,
				   .source = c->source && (c->state == OWN_RUN || c->state == OWN_QPAUSE) ? ids[c->source - 1] : 0 };
}

void note_copy(int i, int d)
{
	struct node *n = &nodes[i];
	struct hv_note *note;

	if (!n->agent || n->listing || n->n_notes == QUEUE)
		return;
	note = &n->notes[n->n_notes++];
	memset(note, 0, sizeof(*note));
	note->dom = d;
	note->local = local_of(i, d);
	strcpy(note->local.uuid, uuids[d]);
}

void set_copy(int i, int d, enum own_copy state)
{
	say("%s: copy of %s is %s", node_names[i], names[d], own_copy_name(state));
	nodes[i].copy[d].state = state;
	if (state == OWN_NONE)
		nodes[i].copy[d] = (struct copy){ .state = OWN_NONE, .target = -1 };
	if (state == OWN_RUN)
		run_checks(i, d);
	note_copy(i, d);
}

static void show(void)
{
	for (int i = 0; trace && i < N; i++)
		for (int d = 0; nodes[i].o && d < D; d++) {
			const struct own_dom *o = own_find(nodes[i].o, uuids[d]);

			if (o)
				printf("%s: %s: copy %s (known %s), record epoch %llu owner %u to %u, job %d, out %s%s, busy %d, unsure %d, backoff %d, "
				       "hold %llx, contradicted %d, worker %d, fresh %d, abort %llu, reported %llx of %llx\n", node_names[i], names[d], own_copy_name(nodes[i].copy[d].state),
				       own_copy_name(o->copy), (unsigned long long)o->rec.epoch, o->rec.owner, o->rec.to, o->job,
				       own_type_name(o->outs[nodes[i].o->self].type), o->outs[nodes[i].o->self].done ? " (done)" : "", o->busy, o->unsure, o->backoff,
				       (unsigned long long)o->hold, o->contradicted, o->worker, o->fresh, (unsigned long long)o->abort_sent,
				       (unsigned long long)nodes[i].o->reported, (unsigned long long)nodes[i].o->members);
		}
}
