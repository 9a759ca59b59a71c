/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Three nodes (or five: test_ownership_sim5; or two and a quorum device, whose vote goes about: test_ownership_sim2), two domains, everything
 * that may go wrong, in virtual time: ownership.c against the claims of docs/specs/ownership.md. Corosync, hypervisord, the copies, migration workers, fencing and Pacemaker are simulated as
 * reference/ownership.pml has them, but with every step of its own: an action takes time, an event arrives later.
 *
 * Checked at every step: no copy runs while another runs; none runs with memory older than its disk. When the faults have
 * stopped and everything is repaired: exactly one copy of each domain runs, no other copy is left, every record names its node.
 *
 *	test_ownership_sim [FIRST_SEED [COUNT]]      a seed that fails is printed; run it alone to see it again
 *	SIM_TRACE=1 test_ownership_sim SEED 1        every step of it
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership_state.h"

#ifdef SIM_NODES
#define N SIM_NODES
#else
#define N 3
#endif
#define MOST_NODES 5
#define D 2
#define GRANTS 256
#define QUEUE 4096
#define FAULT_STEPS 6000
#define CALM_STEPS 60000

static const char *const uuids[D] = { "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002" };
static const char *const names[D] = { "one", "two" };
static const char *const node_names[MOST_NODES] = { "n1", "n2", "n3", "n4", "n5" };
static const uint32_t ids[MOST_NODES] = { 1, 2, 3, 4, 5 };

static uint64_t seed, rng;
static int trace;
static unsigned long steps;

static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 33) % n;
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
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

static void broken(const char *what)
{
	show();
	printf("seed %llu, step %lu: %s\n", (unsigned long long)seed, steps, what);
	fflush(stdout);
	exit(1);
}

/* --- the world -------------------------------------------------------------------------------------------------------- */

struct copy {
	enum own_copy state;
	uint64_t attempt;
	int target;
	bool stale, attached;
	bool serves;			/* handed, by post-copy: pages of it are still fetched */
	int source; uint64_t pages_of;	/* it runs, and pages of it are on node source - 1, of that attempt; 0: none */
};
struct disk { struct own_record rec; uint64_t begun, activated; char *config; bool have; };
struct hv_job { enum own_action action; int dom; uint64_t number; unsigned session; };
struct hv_note { int dom; bool is_reply; enum own_action action; int rc; uint64_t number; struct own_local local; };

struct node {
	bool up, agent;
	struct own *o;
	unsigned session;
	uint64_t boots, agent_starts;
	int class;			/* nodes of one class reach each other */
	bool dirty;			/* a membership change is due */
	uint64_t view;
	struct disk disk[D];
	struct own_seen seen[N];
	struct copy copy[D];
	struct { int dom; uint64_t number; } grants[GRANTS]; int n_grants;
	struct hv_job jobs[QUEUE]; int n_jobs;		/* sent to hypervisord, not carried out */
	struct hv_note notes[QUEUE]; int n_notes;	/* from hypervisord, not heard */
	bool listing;			/* the first list is under way */
	struct own_msg *inbox[QUEUE]; int n_inbox;
};

enum mig_phase { M_CONNECT, M_ACCEPTED, M_PRECOPY, M_PAUSED, M_READY, M_GO, M_OVER };
struct mig {
	bool used;
	int dom, src, dst;
	uint64_t attempt;
	enum mig_phase phase;
	bool link, src_worker, dst_worker, postcopy;
	bool broken;			/* before the pause: the connection is being made again, by the same two */
	unsigned src_session, dst_session;	/* whose agent they answer to */
};

static struct node nodes[N];
static struct mig migs[64];
static uint64_t next_view;
static int faults_left, calm;
static int migrations, failovers, promises, by_post_copy, lost_pages, linked_again;
static int vote = -1;			/* of two nodes: on whose side the quorum device is; -1: on none */

static int dom_of(const char *uuid)
{
	for (int d = 0; d < D; d++)
		if (!strcmp(uuids[d], uuid))
			return d;
	abort();
}

static int index_of(uint32_t id) { return (int)id - 1; }

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

static struct own_local local_of(int i, int d)
{
	const struct copy *c = &nodes[i].copy[d];

	return (struct own_local){ .copy = c->state, .attempt = c->attempt, .domid = 7,
				   .target = c->target >= 0 && c->state == OWN_HANDED ? ids[c->target] : 0,
				   .serves = c->state == OWN_HANDED && c->serves,
				   .source = c->source && (c->state == OWN_RUN || c->state == OWN_QPAUSE) ? ids[c->source - 1] : 0 };
}

static void note_copy(int i, int d)
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

static void set_copy(int i, int d, enum own_copy state)
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

static void msg_free(struct own_msg *m)
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

static bool grant_gone(struct node *n, int dom, uint64_t number)
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

static void touch(int class)
{
	for (int i = 0; i < N; i++)
		if (nodes[i].up && nodes[i].class == class)
			nodes[i].dirty = true;
}

static void agent_start(int i)
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

static void agent_stop(int i)
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

static void mig_end_target(struct mig *m, bool told);

static void node_down(int i)
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

static void node_up(int i)
{
	nodes[i].up = true;
	nodes[i].boots++;
	nodes[i].agent_starts = 0;
	for (int k = 0; k < N; k++)
		nodes[i].seen[k].fenced = nodes[i].seen[k].left = 0;
	say("%s: power on", node_names[i]);
}

/* --- Corosync -------------------------------------------------------------------------------------------------------------- */

static void deliver_one(int i)
{
	struct node *n = &nodes[i];
	struct own_msg *m = n->inbox[0];

	memmove(n->inbox, n->inbox + 1, (size_t)--n->n_inbox * sizeof(n->inbox[0]));
	own_deliver(n->o, m);
	msg_free(m);
}

/*
 * As corosync_link.c has it: Corosync counts nodes (and the device's vote); the group may decide when it is all of them, or a majority.
 */
static void tell_quorum(int i)
{
	int n = 0, up = 0;
	bool quorate;

	for (int k = 0; k < N; k++) {
		n += nodes[k].agent && nodes[k].class == nodes[i].class && nodes[k].view == nodes[i].view;
		up += nodes[k].up && nodes[k].class == nodes[i].class;
	}
	quorate = N == 2 ? up + (vote >= 0 && nodes[vote].class == nodes[i].class) >= 2 : 2 * up > N;
	own_quorum(nodes[i].o, quorate && (n == up || 2 * n > N), quorate);
}

/* What no member of an old group in this class delivered may be lost, the same for all of them. */
static void new_membership(int class)
{
	uint32_t members[N];
	int keep[N] = { 0 }, n = 0, up = 0;

	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].class != class)
			continue;
		int least = nodes[i].n_inbox;

		for (int k = 0; k < N; k++)
			if (nodes[k].agent && nodes[k].class == class && nodes[k].view == nodes[i].view && nodes[k].n_inbox < least)
				least = nodes[k].n_inbox;
		keep[i] = least;
	}
	uint32_t share = rnd(3);	/* of the undelivered tail: nothing lost, all lost, some */

	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].class != class)
			continue;
		int drop = share == 0 ? 0 : share == 1 ? keep[i] : keep[i] / 2;

		while (nodes[i].n_inbox > drop)
			deliver_one(i);
		while (nodes[i].n_inbox)
			msg_free(nodes[i].inbox[--nodes[i].n_inbox]);
	}
	for (int i = 0; i < N; i++) {
		up += nodes[i].up && nodes[i].class == class;
		if (nodes[i].agent && nodes[i].class == class)
			members[n++] = ids[i];
	}
	next_view++;
	say("membership %llu of class %d: %d agents on %d nodes", (unsigned long long)next_view, class, n, up);
	for (int i = 0; i < N; i++)
		if (nodes[i].class == class) {
			nodes[i].dirty = false;
			if (nodes[i].agent)
				nodes[i].view = next_view;
		}
	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].class != class)
			continue;
		own_view(nodes[i].o, next_view, members, n);
		tell_quorum(i);
	}
}

/* The device's mind changes without a change of membership; in the end it is with somebody who is there. */
static void vote_step(void)
{
	int was = vote;

	if (N != 2)
		return;
	if (!calm)
		vote = (int)rnd(3) - 1;
	else if (vote < 0 || !nodes[vote].up)
		vote = (int)rnd(2);
	if (vote == was)
		return;
	say("the device votes for %s", vote < 0 ? "nobody" : node_names[vote]);
	for (int i = 0; i < N; i++)
		if (nodes[i].agent && nodes[i].view && !nodes[i].dirty)
			tell_quorum(i);
}

/* --- hypervisord and the copies ----------------------------------------------------------------------------------------------- */

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

static void hv_step(int i)
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
static void hear_step(int i)
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
	} else {
		own_local(n->o, &note.local);
	}
}

static void list_step(int i)
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

/* --- workers ------------------------------------------------------------------------------------------------------------------ */

static bool reach(int a, int b)
{
	return nodes[a].up && nodes[b].up && nodes[a].class == nodes[b].class;
}

/* The source's copy and worker after the channel's end. */
static void mig_end_source(struct mig *m, int rc, bool told)
{
	struct copy *c = &nodes[m->src].copy[m->dom];
	struct node *n = &nodes[m->src];

	if (n->up && c->attached && c->attempt == m->attempt) {
		c->attached = false;
		if (c->state == OWN_PAUSED)
			set_copy(m->src, m->dom, OWN_RUN);
	}
	m->src_worker = false;
	if (told && n->agent && n->session == m->src_session)
		own_move_done(n->o, uuids[m->dom], m->attempt, rc, "the move failed");
}

static void mig_end_target(struct mig *m, bool told)
{
	struct copy *c = &nodes[m->dst].copy[m->dom];
	struct node *n = &nodes[m->dst];

	if (n->up && (c->state == OWN_INCOMING || c->state == OWN_READY) && c->attempt == m->attempt)
		set_copy(m->dst, m->dom, OWN_NONE);	/* hv-domain exits at the channel's end */
	m->dst_worker = false;
	if (told && n->agent && n->session == m->dst_session)
		own_accept_gone(n->o, uuids[m->dom], m->attempt);
}

static void mig_connect(struct mig *m)
{
	struct node *t = &nodes[m->dst];
	struct copy *c = &nodes[m->src].copy[m->dom];
	const struct own_dom *d;
	char text[OWN_TEXT_LEN];

	if (!reach(m->src, m->dst) || !t->agent || (c->state != OWN_RUN && c->state != OWN_QPAUSE) || c->attached || c->source) {
		m->link = false;
		return;
	}
	if (own_accept(t->o, uuids[m->dom], m->attempt, ids[m->src], &d, text)) {
		say("%s refuses attempt %llu: %s", node_names[m->dst], (unsigned long long)m->attempt, text);
		m->link = false;
		return;
	}
	c->attached = true;
	c->attempt = m->attempt;
	c->target = m->dst;
	m->dst_worker = true;
	m->dst_session = t->session;
	m->phase = M_ACCEPTED;
}

static void mig_incoming(struct mig *m)
{
	struct copy *c = &nodes[m->dst].copy[m->dom];

	if (!grant_gone(&nodes[m->dst], m->dom, m->attempt) || c->state != OWN_NONE) {
		m->link = false;
		return;
	}
	*c = (struct copy){ .state = OWN_NONE, .attempt = m->attempt, .target = -1 };
	set_copy(m->dst, m->dom, OWN_INCOMING);
	m->phase = M_PRECOPY;
}

static void mig_mark(struct mig *m)
{
	struct copy *c = &nodes[m->src].copy[m->dom];

	if (c->state != OWN_PAUSED || c->attempt != m->attempt) {
		m->link = false;
		return;
	}
	c->serves = m->postcopy = rnd(2);
	set_copy(m->src, m->dom, OWN_HANDED);
	m->phase = M_GO;
}

static void mig_go(struct mig *m)
{
	struct node *t = &nodes[m->dst];
	struct copy *c = &t->copy[m->dom];

	if (m->dst_worker && c->state == OWN_READY && c->attempt == m->attempt) {
		t->disk[m->dom].activated = m->attempt;
		c->attempt = 0;
		if (m->postcopy) {
			c->source = m->src + 1;
			c->pages_of = m->attempt;
		}
		set_copy(m->dst, m->dom, OWN_RUN);
	}
	m->phase = M_OVER;
	mig_end_target(m, true);
	if (m->src_worker)
		mig_end_source(m, 0, true);
	m->used = false;
}

static void mig_forward(struct mig *m)
{
	struct copy *s = &nodes[m->src].copy[m->dom], *t = &nodes[m->dst].copy[m->dom];

	switch (m->phase) {
	case M_CONNECT:
		mig_connect(m);
		break;
	case M_ACCEPTED:
		mig_incoming(m);
		break;
	case M_PRECOPY:
		if (s->state == OWN_RUN || s->state == OWN_QPAUSE) {
			set_copy(m->src, m->dom, OWN_PAUSED);
			m->phase = M_PAUSED;
		}
		break;
	case M_PAUSED:
		if (t->state == OWN_INCOMING && s->state == OWN_PAUSED) {
			t->stale = s->stale;
			set_copy(m->dst, m->dom, OWN_READY);
			m->phase = M_READY;
		}
		break;
	case M_READY:
		mig_mark(m);
		break;
	default:
		mig_go(m);
	}
}

/* Before the pause a connection may be made again by those who have the move in hand; the protocol does not see it. True: that is all for now. */
static bool mig_again(struct mig *m)
{
	if (!m->broken && m->link && m->phase == M_PRECOPY && nodes[m->src].up && nodes[m->dst].up &&
	    (!reach(m->src, m->dst) ? rnd(2) : !calm && rnd(10) == 0))
		m->broken = true;
	if (!m->broken)
		return false;
	if (!nodes[m->src].up || !nodes[m->dst].up || !m->src_worker || !m->dst_worker || rnd(12) == 0) {
		m->broken = m->link = false;	/* given up */
		return false;
	}
	if (reach(m->src, m->dst) && rnd(3) == 0) {
		say("the link of attempt %llu is made again", (unsigned long long)m->attempt);
		m->broken = false;
		linked_again++;
	}
	return true;
}

static void mig_step(struct mig *m)
{
	if (mig_again(m))
		return;
	if (m->link && m->phase < M_GO && (!reach(m->src, m->dst) || !m->src_worker || (m->phase > M_CONNECT && !m->dst_worker)))
		m->link = false;
	/* a copy that was destroyed takes its worker's channel, and so the link, with it */
	if (m->phase > M_CONNECT && m->phase < M_GO && !(nodes[m->src].copy[m->dom].attached && nodes[m->src].copy[m->dom].attempt == m->attempt))
		m->link = false;
	if (m->phase > M_ACCEPTED && m->phase < M_GO && nodes[m->dst].copy[m->dom].attempt != m->attempt)
		m->link = false;
	if (m->phase == M_GO && m->link && !m->dst_worker)
		m->link = false;
	/* an agent that went away: its worker ends, if it notices before GO */
	if (m->src_worker && m->phase < M_GO && (!nodes[m->src].agent || nodes[m->src].session != m->src_session) && rnd(3) == 0)
		m->link = false;
	if (m->link && (m->src_worker || m->phase == M_GO)) {
		mig_forward(m);
		return;
	}
	/* a mark may come although the link is gone already: a GO that is lost */
	if (m->phase == M_READY && m->src_worker && rnd(3) == 0)
		mig_mark(m);
	if (m->src_worker && rnd(2)) {
		mig_end_source(m, -EIO, true);
		return;
	}
	if (m->dst_worker && rnd(2)) {
		mig_end_target(m, true);
		return;
	}
	if (!m->src_worker && !m->dst_worker) {
		/* the source's worker died untold: hv-domain sees the channel's end by itself */
		mig_end_source(m, -EIO, true);
		m->used = false;
	}
}

/* --- fencing, Pacemaker, faults -------------------------------------------------------------------------------------------------- */

static void fence_step(int i, int x)
{
	struct node *n = &nodes[i];

	bool member;

	if (i == x || !n->agent || !n->view || n->dirty || !n->o->quorate)
		return;
	member = own_member(n->o, ids[x]);
	/* a member is fenced when a stop fails there, say: that counts among the faults */
	if (member && (faults_left <= 0 || rnd(10)))
		return;
	if (!member && nodes[x].up && nodes[x].class == n->class)
		return;
	faults_left -= member;
	if (n->o->nodes[own_index(n->o, ids[x])].fenced >= n->o->nodes[own_index(n->o, ids[x])].seen && !nodes[x].up)
		return;
	say("%s fences %s", node_names[i], node_names[x]);
	if (nodes[x].up)
		node_down(x);
	for (int k = 0; k < N; k++)
		if (nodes[k].agent && nodes[k].class == n->class && nodes[k].view == n->view)
			own_fenced(nodes[k].o, ids[x]);
}

/* A fencing of long ago comes up again: whoever answers is not taken for dead. */
static void old_notice_step(int i, int x)
{
	struct node *n = &nodes[i];

	if (i == x || !n->agent || !n->view || n->dirty || nodes[x].dirty || !nodes[x].agent || nodes[x].view != n->view ||
	    nodes[x].class != n->class)
		return;
	say("%s hears of an old fencing of %s", node_names[i], node_names[x]);
	own_fenced(n->o, ids[x]);
	for (int k = 0; k < N; k++)
		while (nodes[k].agent && nodes[k].view == n->view && nodes[k].n_inbox)
			deliver_one(k);
	for (int k = 0; k < N; k++)
		while (nodes[k].agent && nodes[k].view == n->view && nodes[k].n_inbox)
			deliver_one(k);
	if (own_is_fenced(n->o, ids[x]))
		broken("a living member is taken for fenced");
}

static void start_step(int i, int d)
{
	struct own_record rec = { .domid = 0 };
	char text[OWN_TEXT_LEN];

	strcpy(rec.name, names[d]);
	strcpy(rec.hash, "hash");
	(void)own_start(nodes[i].o, uuids[d], &rec, "{}", text);
}

static void request_step(int i)
{
	char text[OWN_TEXT_LEN];
	int d = (int)rnd(D);

	switch (rnd(calm ? 1 : 14)) {
	case 0:
		if (calm) {
			bool any = false;

			for (int k = 0; k < N; k++)
				any = any || nodes[k].copy[d].state != OWN_NONE;
			if (any)
				own_cancel(nodes[i].o, uuids[d], "not needed");
			else
				start_step(i, d);
		} else {
			start_step(i, d);
		}
		break;
	case 1:
		own_cancel(nodes[i].o, uuids[d], "cancelled");
		break;
	case 2:
		if (rnd(6) == 0)
			own_stop(nodes[i].o, uuids[d], text);
		break;
	case 3:
		own_nudge(nodes[i].o, uuids[d]);
		break;
	case 4: case 5: case 6: case 7: case 8: case 10: case 11: case 12:
		own_migrate(nodes[i].o, uuids[d], ids[rnd(N)], text);
		break;
	case 9:
		if (rnd(20) == 0 && own_leave(nodes[i].o) == 0) {
			say("%s: leaves in order", node_names[i]);
			if (rnd(2) && nodes[i].n_inbox)
				while (nodes[i].n_inbox)
					deliver_one(i);
			agent_stop(i);
		}
		break;
	default:
		break;
	}
}

/* A move that is under way, or a slot without one. */
static int some_move(void)
{
	int n = 0, used[64] = { 0 };

	for (int k = 0; k < 64; k++)
		if (migs[k].used)
			used[n++] = k;
	return n ? used[rnd((uint32_t)n)] : 0;
}

static void fault_step(void)
{
	int i = (int)rnd(N), k = some_move();

	if (faults_left <= 0)
		return;
	if (migs[k].used && rnd(2))
		i = rnd(2) ? migs[k].src : migs[k].dst;
	switch (rnd(7)) {
	case 6:
		k = (int)rnd(D);
		if (nodes[i].up && nodes[i].copy[k].state != OWN_NONE) {
			faults_left--;
			say("%s: hv-domain of %s dies", node_names[i], names[k]);
			set_copy(i, k, OWN_NONE);
		}
		break;
	case 0:
		if (nodes[i].up) {
			faults_left--;
			node_down(i);
		}
		break;
	case 1:
		if (nodes[i].agent) {
			faults_left--;
			say("%s: ha-agentd dies", node_names[i]);
			agent_stop(i);
		}
		break;
	case 2:
		if (nodes[i].class == 0) {
			faults_left--;
			say("%s: cut off", node_names[i]);
			touch(0);
			nodes[i].class = i + 1;
			nodes[i].dirty = true;
		}
		break;
	case 3:
		if (migs[k].used && migs[k].link) {
			faults_left--;
			say("link of attempt %llu breaks", (unsigned long long)migs[k].attempt);
			migs[k].link = false;
		}
		break;
	case 4:
		if (migs[k].used && migs[k].src_worker) {
			faults_left--;
			say("source worker of attempt %llu dies", (unsigned long long)migs[k].attempt);
			mig_end_source(&migs[k], -EIO, true);
		}
		break;
	default:
		if (migs[k].used && migs[k].dst_worker) {
			faults_left--;
			say("target worker of attempt %llu dies", (unsigned long long)migs[k].attempt);
			mig_end_target(&migs[k], true);
		}
	}
}

static void repair_step(int i)
{
	if (nodes[i].class != 0 && rnd(4) == 0) {
		say("%s: back in reach", node_names[i]);
		touch(nodes[i].class);
		nodes[i].class = 0;
		touch(0);
	} else if (!nodes[i].up && rnd(4) == 0) {
		node_up(i);
	} else if (nodes[i].up && !nodes[i].agent && rnd(2)) {
		say("%s: ha-agentd starts", node_names[i]);
		agent_start(i);
	}
}

/* A page service comes to its end: all has come, or (while faults happen) the guest there is no more. */
static void pages_step(int i, int d)
{
	struct copy *s = &nodes[i].copy[d], *t = s->target >= 0 ? &nodes[s->target].copy[d] : NULL;

	if (s->state != OWN_HANDED || !s->serves || !t || !reach(i, s->target))
		return;
	if (t->source == i + 1 && t->pages_of == s->attempt) {
		by_post_copy++;
		t->source = 0;
		note_copy(s->target, d);
	} else if (calm || nodes[s->target].disk[d].activated < s->attempt) {
		return;
	}
	s->serves = false;
	note_copy(i, d);
}

static void one_step(void)
{
	int i = (int)rnd(N), r = (int)rnd(100);
	struct node *n = &nodes[i];

	steps++;
	if (r < 35) {
		if (n->agent && n->n_inbox)
			deliver_one(i);
	} else if (r < 50) {
		if (n->up && n->n_jobs)
			hv_step(i);
	} else if (r < 65) {
		if (n->agent && n->n_notes)
			hear_step(i);
		else if (n->agent && n->listing)
			list_step(i);
	} else if (r < 80) {
		for (int k = 0; k < 64; k++)
			if (migs[k].used && rnd(2)) {
				mig_step(&migs[k]);
				break;
			}
	} else if (r < 85) {
		for (int c = 0; c <= N; c++)
			for (int k = 0; k < N; k++)
				if (nodes[k].class == c && nodes[k].dirty) {
					new_membership(c);
					return;
				}
	} else if (r < 88) {
		if (n->agent)
			request_step(i);
	} else if (r < 90) {
		if (!calm && rnd(40) == 0)
			old_notice_step(i, (int)rnd(N));
		else
			fence_step(i, (int)rnd(N));
	} else if (r < 92) {
		if (n->agent)
			own_tick(n->o);
	} else if (r < 94) {
		if (!calm && rnd(3) == 0)
			fault_step();
		else if (calm || rnd(8) == 0)
			vote_step();
	} else if (r < 97) {
		if (calm || rnd(5) == 0)
			repair_step(i);
	} else if (rnd(3) == 0) {
		pages_step(i, (int)rnd(D));
	}
}

/* --- a run --------------------------------------------------------------------------------------------------------------------- */

/* Everything in order and nothing left to do. */
static bool settled(const char **why)
{
	*why = "nothing";
	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].dirty || nodes[i].class || nodes[i].n_inbox || nodes[i].n_jobs || nodes[i].n_notes ||
		    nodes[i].listing)
			return *why = "something is still under way", false;
	}
	for (int d = 0; d < D; d++) {
		int runs = -1;

		for (int i = 0; i < N; i++) {
			enum own_copy s = nodes[i].copy[d].state;

			if (nodes[i].copy[d].source)
				return *why = "pages are owed", false;
			if (s == OWN_RUN && runs >= 0)
				return *why = "two run", false;
			if (s == OWN_RUN)
				runs = i;
			else if (s != OWN_NONE)
				return *why = "a copy that does not run is left", false;
		}
		if (runs < 0)
			return *why = "no copy runs", false;
		for (int i = 0; i < N; i++) {
			const struct own_dom *dom = own_find(nodes[i].o, uuids[d]);

			if (!dom || dom->rec.owner != ids[runs] || dom->rec.to)
				return *why = "a record does not name the node it runs on", false;
		}
	}
	return true;
}

static void run_seed(void)
{
	const char *why;

	rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (int i = 0; i < 20; i++)
		(void)rnd(2);
	memset(migs, 0, sizeof(migs));
	vote = N == 2 ? 0 : -1;
	steps = 0;
	calm = 0;
	faults_left = 1 + (int)rnd(8);
	for (int i = 0; i < N; i++) {
		for (int d = 0; d < D; d++)
			free(nodes[i].disk[d].config);
		memset(&nodes[i], 0, sizeof(nodes[i]));
		for (int d = 0; d < D; d++)
			nodes[i].copy[d].target = -1;
		for (int k = 0; k < N; k++)
			nodes[i].seen[k].node = ids[k];
		node_up(i);
		agent_start(i);
	}
	for (int i = 0; i < FAULT_STEPS; i++)
		one_step();
	calm = 1;
	for (int i = 0; i < CALM_STEPS; i++) {
		one_step();
		if (i % 16 == 0 && settled(&why))
			break;
	}
	if (!settled(&why))
		broken(why);
	for (int i = 0; i < N; i++)
		agent_stop(i);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1500;
	const char *is_long = getenv("HAVEN_LONG");

	if (argc < 3 && is_long && *is_long == '1')
		count = 65000;
	trace = getenv("SIM_TRACE") != NULL;
	for (seed = first; seed < first + count; seed++)
		run_seed();
	printf("seeds %llu to %llu: %d moves, %d starts, %d resumed on a promise, %d by post-copy, %d ended for their pages, %d links made again\n",
	       (unsigned long long)first, (unsigned long long)(first + count - 1), migrations, failovers, promises, by_post_copy, lost_pages, linked_again);
	return 0;
}
