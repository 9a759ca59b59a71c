/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ownership.c asks for (disks, messages, actions, grants), and agents and nodes that come and go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ownership_sim.h"

/* --- what the protocol asks for ----------------------------------------------------------------------------------------- */

/* For a while no node can write: what was sent then is on no disk. Of the seed and the step alone, so that it takes no number of the others'. */
static bool all_disks_full(void)
{
	uint64_t x = (seed << 20 | steps / 256) * UINT64_C(0x9e3779b97f4a7c15);

	return !calm && (x ^ x >> 29) % 16 == 0;
}

static int sim_persist(void *arg, const struct own_dom *dom)
{
	struct node *n = arg;
	struct disk *disk = &n->disk[dom_of(dom->uuid)];

	if ((!calm && rnd(400) == 0) || all_disks_full())
		return -ENOSPC;
	disk->rec = dom->rec;
	disk->begun = dom->begun;
	free(disk->config);
	disk->config = dom->config ? strdup(dom->config) : NULL;
	disk->have = true;
	return 0;
}

static int sim_persist_nodes(void *arg, const struct own *o)
{
	struct node *n = arg;

	if ((!calm && rnd(8) == 0) || all_disks_full())
		return -ENOSPC;
	for (int i = 0; i < o->n_nodes; i++)
		if (o->nodes[i].id >= 1 && o->nodes[i].id <= N)
			n->seen[o->nodes[i].id - 1] = (struct own_seen){ o->nodes[i].id, o->nodes[i].seen, o->nodes[i].fenced, o->nodes[i].left };
	return 0;
}

static struct own_msg *msg_copy(const struct own_msg *m)
{
	struct own_msg *c = malloc(sizeof(*c));

	*c = *m;
	c->config = m->config ? strdup(m->config) : NULL;
	c->text = m->text ? strdup(m->text) : NULL;
	c->report.entries = calloc(m->report.n_entries + 1, sizeof(*c->report.entries));
	c->report.seen = calloc(m->report.n_seen + 1, sizeof(*c->report.seen));
	if (m->report.n_entries)
		memcpy(c->report.entries, m->report.entries, m->report.n_entries * sizeof(*c->report.entries));
	if (m->report.n_seen)
		memcpy(c->report.seen, m->report.seen, m->report.n_seen * sizeof(*c->report.seen));
	return c;
}

void msg_free(struct own_msg *m)
{
	free((void *)(uintptr_t)m->config);
	free((void *)(uintptr_t)m->text);
	free(m->report.entries);
	free(m->report.seen);
	free(m);
}

static void sim_send(void *arg, const struct own_msg *m)
{
	struct node *n = arg;

	say("%s: sends %s %s epoch %llu", node_names[n - nodes], own_type_name(m->type), m->uuid + (*m->uuid ? 35 : 0),
	    (unsigned long long)m->epoch);
	for (size_t k = 0; k < m->report.n_entries; k++)
		say("      %s%s: %s, epoch %llu, activated %llu, pending %llu", m->report.full ? "all " : "", m->report.entries[k].uuid + 35,
		    m->report.entries[k].holds ? "holds" : "nothing", (unsigned long long)m->report.entries[k].rec.epoch,
		    (unsigned long long)m->report.entries[k].activated, (unsigned long long)m->report.entries[k].pending);
	for (int k = 0; k < N; k++) {
		struct node *to = &nodes[k];

		if (!to->agent || to->view != n->view || to->class != n->class || !n->view)
			continue;
		if (to->n_inbox == QUEUE)
			broken("the simulated network overflows: messages without end");
		to->inbox[to->n_inbox++] = msg_copy(m);
	}
}

static void sim_move(struct node *n, int d, uint64_t attempt, uint32_t to)
{
	for (int i = 0; i < 64; i++) {
		struct mig *m = &migs[i];

		if (m->used)
			continue;
		*m = (struct mig){ .used = true, .dom = d, .src = (int)(n - nodes), .dst = index_of(to), .attempt = attempt,
				   .phase = M_CONNECT, .link = true, .src_worker = true, .src_session = n->session };
		return;
	}
	broken("workers without end");
}

/* Does a guest run that lacks pages of this copy, on a node that is a member here? */
static bool pages_needed(const struct node *n, int d)
{
	for (int k = 0; k < N; k++)
		if (own_member(n->o, ids[k]) && nodes[k].copy[d].source == n - nodes + 1 && nodes[k].copy[d].pages_of == n->copy[d].attempt)
			return true;
	return false;
}

static void sim_act(void *arg, struct own_dom *dom, enum own_action action, uint64_t number)
{
	struct node *n = arg;

	say("%s: action %d for %s, %llu", node_names[n - nodes], action, dom->uuid + 35, (unsigned long long)number);
	if (action == OWN_DO_MOVE) {
		sim_move(n, dom_of(dom->uuid), number, dom->rec.to);
		return;
	}
	if (action == OWN_DO_DESTROY && n->copy[dom_of(dom->uuid)].state == OWN_HANDED && (!number || number & OWN_BIT(OWN_HANDED)) &&
	    pages_needed(n, dom_of(dom->uuid)))
		broken("a copy is destroyed whose pages a running guest lacks");
	if (n->n_jobs == QUEUE)
		broken("actions without end");
	n->jobs[n->n_jobs++] = (struct hv_job){ action, dom_of(dom->uuid), number, n->session };
}

static int sim_grant(void *arg, const char *uuid, uint64_t number)
{
	struct node *n = arg;

	if (n->n_grants == GRANTS)
		return -ENOSPC;
	n->grants[n->n_grants].dom = dom_of(uuid);
	n->grants[n->n_grants++].number = number;
	return 0;
}

bool grant_gone(struct node *n, int dom, uint64_t number)
{
	for (int i = 0; i < n->n_grants; i++) {
		if (n->grants[i].dom != dom || n->grants[i].number != number)
			continue;
		n->grants[i] = n->grants[--n->n_grants];
		return true;
	}
	return false;
}

static int sim_revoke(void *arg, const char *uuid, uint64_t number)
{
	return grant_gone(arg, dom_of(uuid), number) ? 0 : -ENOENT;
}

static void sim_job_done(void *arg, struct own_dom *d, enum own_job job, int rc, const char *text)
{
	struct node *n = arg;

	say("%s: job %d of %s: %d %s", node_names[n - nodes], job, d->uuid + 35, rc, text);
	if (job == OWN_J_MIGRATE && rc == 0)
		migrations++;
	if (job == OWN_J_START && rc == 0)
		failovers++;
}

static const struct own_ops ops = {
	.persist = sim_persist, .persist_nodes = sim_persist_nodes, .send = sim_send, .act = sim_act, .grant = sim_grant,
	.revoke = sim_revoke, .job_done = sim_job_done,
};

/* --- agents and nodes come and go ----------------------------------------------------------------------------------------- */

void touch(int class)
{
	for (int i = 0; i < N; i++)
		if (nodes[i].up && nodes[i].class == class)
			nodes[i].dirty = true;
}

void agent_start(int i)
{
	struct node *n = &nodes[i];

	n->agent = true;
	n->session++;
	n->agent_starts++;
	n->o = own_new(ids[i], ((n->boots + 1) << 20) + n->agent_starts, &ops, n);
	for (int k = 0; k < N; k++)
		own_load_node(n->o, &n->seen[k]);
	for (int d = 0; d < D; d++)
		if (n->disk[d].have)
			own_load_domain(n->o, uuids[d], &n->disk[d].rec, n->disk[d].begun, n->disk[d].config);
	own_set_nodes(n->o, ids, node_names, N);
	n->n_grants = 0;
	n->listing = true;
	n->view = 0;
	touch(n->class);
}

void agent_stop(int i)
{
	struct node *n = &nodes[i];

	if (!n->agent)
		return;
	own_free(n->o);
	n->o = NULL;
	n->agent = false;
	n->view = 0;
	while (n->n_inbox)
		msg_free(n->inbox[--n->n_inbox]);
	n->n_notes = 0;		/* n->jobs stay: hypervisord has them */
	touch(n->class);
}

void node_down(int i)
{
	struct node *n = &nodes[i];

	say("%s: power gone", node_names[i]);
	agent_stop(i);
	n->up = false;
	n->n_jobs = 0;
	n->n_grants = 0;
	for (int d = 0; d < D; d++)
		n->copy[d] = (struct copy){ .state = OWN_NONE, .target = -1 };
	for (int k = 0; k < 64; k++) {
		struct mig *m = &migs[k];

		if (!m->used)
			continue;
		if (m->src == i)
			m->src_worker = false;
		if (m->dst == i) {
			m->dst_worker = false;
			m->link = false;
		}
		if (m->src == i && m->phase != M_GO)	/* a GO in the target's socket stays */
			m->link = false;
	}
	touch(n->class);
}

void node_up(int i)
{
	nodes[i].up = true;
	nodes[i].boots++;
	nodes[i].agent_starts = 0;
	for (int k = 0; k < N; k++)
		nodes[i].seen[k].fenced = nodes[i].seen[k].left = 0;
	say("%s: power on", node_names[i]);
}
