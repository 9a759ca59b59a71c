/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hypervisord: its actions take time, its answers and events arrive later, and not in one order. */
#include <errno.h>
#include <string.h>

#include "tests/unit/ownership_sim.h"

static void reply(int i, const struct hv_job *j, int rc, uint64_t number)
{
	struct node *n = &nodes[i];
	struct hv_note *note;

	if (!n->agent || n->session != j->session)
		return;
	note = &n->notes[n->n_notes++];
	memset(note, 0, sizeof(*note));
	note->is_reply = true;
	note->dom = j->dom;
	note->action = j->action;
	note->rc = rc;
	note->number = number;
	if (j->action == OWN_DO_REFRESH)
		note->local = local_of(i, j->dom);
	strcpy(note->local.uuid, uuids[j->dom]);
}

static int hv_create(int i, const struct hv_job *j)
{
	if (!grant_gone(&nodes[i], j->dom, j->number))
		return -EPERM;
	if (nodes[i].copy[j->dom].state != OWN_NONE)
		return -EEXIST;
	if (!calm && rnd(20) == 0)
		return -EIO;		/* a disk that is away */
	nodes[i].copy[j->dom] = (struct copy){ .state = OWN_NONE, .target = -1 };
	set_copy(i, j->dom, OWN_RUN);
	return 0;
}

static int hv_do(int i, const struct hv_job *j, uint64_t *number)
{
	struct copy *c = &nodes[i].copy[j->dom];

	switch (j->action) {
	case OWN_DO_CREATE:
		return hv_create(i, j);
	case OWN_DO_DESTROY:
		if (c->state == OWN_NONE)
			return -ENOENT;
		if (j->number && !(j->number & OWN_BIT(c->state)))
			return -EBUSY;
		set_copy(i, j->dom, OWN_NONE);
		return 0;
	case OWN_DO_PAGES_LOST:
		if (!c->source)
			return -ESTALE;		/* they have come meanwhile */
		if (nodes[c->source - 1].copy[j->dom].state == OWN_HANDED && nodes[c->source - 1].copy[j->dom].attempt == c->pages_of)
			broken("pages are taken for lost that are there");
		lost_pages++;
		set_copy(i, j->dom, OWN_NONE);
		return 0;
	case OWN_DO_RESUME_HANDED:
		if (c->state != OWN_HANDED || c->attempt != j->number)
			return -EBUSY;
		promises++;
		c->attempt = 0;
		c->serves = false;
		set_copy(i, j->dom, OWN_RUN);
		return 0;
	case OWN_DO_QPAUSE:
		if (c->state != OWN_RUN)
			return -EBUSY;
		set_copy(i, j->dom, OWN_QPAUSE);
		return 0;
	case OWN_DO_QRESUME:
		if (c->state != OWN_QPAUSE)
			return -EBUSY;
		set_copy(i, j->dom, OWN_RUN);
		return 0;
	case OWN_DO_ACTIVATED:
		*number = nodes[i].disk[j->dom].activated;
		return 0;
	default:
		return 0;
	}
}

void hv_step(int i)
{
	struct node *n = &nodes[i];
	struct hv_job j = n->jobs[0];
	uint64_t number = 0;
	int rc;

	memmove(n->jobs, n->jobs + 1, (size_t)--n->n_jobs * sizeof(n->jobs[0]));
	rc = hv_do(i, &j, &number);
	reply(i, &j, rc, number);
}

/* An answer waits for those before it, an event for nothing: it may overtake answers that were made up before it happened. */
void hear_step(int i)
{
	struct node *n = &nodes[i];
	struct hv_note note;
	int k = 0;

	if (rnd(4) == 0)
		while (k < n->n_notes && n->notes[k].is_reply)
			k++;
	if (k == n->n_notes)
		k = 0;
	note = n->notes[k];
	memmove(&n->notes[k], &n->notes[k + 1], (size_t)(--n->n_notes - k) * sizeof(n->notes[0]));
	if (note.is_reply) {
		if (note.action == OWN_DO_REFRESH)
			own_refreshed(n->o, &note.local);
		own_action_done(n->o, uuids[note.dom], note.action, note.rc, note.number, true, "refused");
	} else if (own_local(n->o, &note.local) && rnd(2)) {
		own_look(n->o);                        /* else another input, or a tick, has it looked at */
	}
}

void list_step(int i)
{
	struct node *n = &nodes[i];
	struct own_local l[D];
	int k = 0;

	memset(l, 0, sizeof(l));
	for (int d = 0; d < D; d++) {
		if (n->copy[d].state == OWN_NONE)
			continue;
		l[k] = local_of(i, d);
		strcpy(l[k++].uuid, uuids[d]);
	}
	n->listing = false;
	own_locals(n->o, l, (size_t)k);
}
