/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Migration workers, from the connection to GO; links made again; pages that are owed. */
#include <errno.h>

#include "tests/unit/ownership_sim.h"

static bool reach(int a, int b)
{
	return nodes[a].up && nodes[b].up && nodes[a].class == nodes[b].class;
}

/* The source's copy and worker after the channel's end. */
void mig_end_source(struct mig *m, int rc, bool told)
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

void mig_end_target(struct mig *m, bool told)
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

void mig_step(struct mig *m)
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

/* A page service comes to its end: all has come, or (while faults happen) the guest there is no more. */
void pages_step(int i, int d)
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
