/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership_records.c - what members say to each other: sending it, and what each record or report does to the state when it is
 * delivered. Each case here has its name in docs/specs/ownership.md and its model in tests/model/ownership.pml.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership_state.h"

/* --- sending ------------------------------------------------------------------------------------------------------- */

void own_send(struct own *o, const struct own_msg *m)
{
	struct own_msg copy = *m;

	copy.view = o->view;
	copy.from = o->me;
	o->ops->send(o->arg, &copy);
}

/* From its claim on, and until that is off, the claimer counts as a holder, whatever it has to report meanwhile. */
static bool own_tells_hold(const struct own *o, const struct own_dom *d)
{
	const struct own_out *out = &d->outs[o->self];

	return own_holds(d) || (out->type == OWN_M_CLAIM && !out->done);
}

static struct own_entry own_entry_of(const struct own *o, const struct own_dom *d)
{
	struct own_entry e = {
		.rec = d->rec, .copy = d->copy, .holds = own_tells_hold(o, d),
		.act_known = d->act_fresh && d->act_known, .activated = d->activated, .begun = d->begun,
		.pending = d->accepted ? d->accepted : d->bgn > d->bgn_used ? d->bgn : 0,
	};

	memcpy(e.uuid, d->uuid, sizeof(e.uuid));
	return e;
}

/* only: that domain's news; NULL: everything. */
void own_send_report(struct own *o, struct own_dom *only)
{
	struct own_msg m = { .type = OWN_M_REPORT };
	struct own_seen seen[OWN_NODES];
	struct own_entry *entries = calloc(only ? 1 : o->n_doms + 1, sizeof(*entries));
	size_t n = 0;

	if (!entries)
		return;		/* not told: the rule comes back at the next input */
	for (struct own_dom *d = only ? only : o->doms; d; d = only ? NULL : d->next) {
		entries[n++] = own_entry_of(o, d);
		d->told = true;
		d->told_holds = own_tells_hold(o, d);
		d->told_copy = d->copy;
	}
	for (int i = 0; i < o->n_nodes; i++)
		seen[i] = (struct own_seen){ o->nodes[i].id, o->nodes[i].seen, o->nodes[i].fenced, o->nodes[i].left };
	m.report = (struct own_report){
		.full = !only, .known = o->known, .incarnation = o->incarnation,
		.entries = entries, .n_entries = n, .seen = seen, .n_seen = (size_t)o->n_nodes,
	};
	if (!only) {
		o->told_full = true;
		o->told_known = o->known;
	}
	own_send(o, &m);
	free(entries);
}

static void own_ack(struct own *o, const struct own_msg *m)
{
	struct own_msg ack = { .type = OWN_M_ACK, .epoch = m->epoch, .serial = m->serial, .what = m->type, .whom = m->from };

	memcpy(ack.uuid, m->uuid, sizeof(ack.uuid));
	own_send(o, &ack);
}

static void own_nack(struct own *o, const struct own_msg *m, int code, const char *text)
{
	struct own_msg nack = {
		.type = OWN_M_NACK, .epoch = m->epoch, .serial = m->serial, .what = m->type, .whom = m->from, .code = code, .text = text,
	};

	memcpy(nack.uuid, m->uuid, sizeof(nack.uuid));
	own_send(o, &nack);
}

/* --- records delivered --------------------------------------------------------------------------------------------- */

/* Follows the sender's outstanding record, so that everybody can tell when it counts. */
static void own_track(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_out *out = &d->outs[own_index(o, m->from)];

	/* our own was noted when it was sent; if it is not there any more it was withdrawn */
	if (m->from == o->me || (out->type == m->type && out->serial == m->serial))
		return;
	*out = (struct own_out){ .type = m->type, .epoch = m->epoch, .serial = m->serial };
}

static void own_refused(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_out *out = &d->outs[o->self];

	if (m->from == o->me && out->type == m->type && out->serial == m->serial)
		*out = (struct own_out){ .type = OWN_M_NONE };
}

static bool own_same_intent(const struct own_record *r, const struct own_msg *m, uint32_t to)
{
	return m->epoch == r->epoch && r->owner == m->from && r->to == to;
}

static void own_on_begin(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_record rec = d->rec;
	uint64_t begun = d->begun;

	if (!m->rec.to || !(m->epoch == rec.epoch + 1 || own_same_intent(&rec, m, m->rec.to))) {
		own_refused(o, d, m);
		return;
	}
	rec.epoch = m->epoch;
	rec.owner = m->from;
	rec.to = m->rec.to;
	if (rec.to == o->me && m->epoch > d->begun)
		d->begun = m->epoch;
	if (own_set_record(o, d, &rec, NULL)) {
		d->begun = begun;
		return;
	}
	if (rec.to == o->me && m->epoch > d->bgn_used)
		d->bgn = m->epoch;
	own_track(o, d, m);
	own_ack(o, m);
}

static void own_on_running(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_record rec = d->rec;

	d->hold |= own_bit(o, m->from);
	if (m->from == o->me && !own_holds(d))
		d->told = false;	/* sent again just before it ended: the report that said so was overtaken */
	if (!(m->epoch > rec.epoch || (m->epoch == rec.epoch && rec.owner == m->from))) {
		own_refused(o, d, m);
		d->told = false;	/* the record that stands in its way is reported, so that it goes above it */
		return;
	}
	if (!*rec.name)
		rec = m->rec;
	rec.epoch = m->epoch;
	rec.owner = m->from;
	rec.to = 0;
	rec.domid = m->rec.domid ? m->rec.domid : rec.domid;
	own_track(o, d, m);	/* also when it cannot be written here: the others acknowledge it once, and a handed copy waits for all of them */
	if (own_set_record(o, d, &rec, NULL))
		return;
	if (m->from == o->me)
		d->contradicted = false;
	own_ack(o, m);
}

static void own_on_abort(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_record rec = d->rec;

	if (rec.epoch != m->epoch || !rec.to || rec.owner != m->from)
		return;
	rec.to = 0;
	rec.epoch++;
	(void)own_set_record(o, d, &rec, NULL);
}

/* What in the cluster forbids this claim: 0 nothing, -EEXIST for good, -EAGAIN another domid would do. */
static int own_claim_clash(const struct own *o, const struct own_dom *d, const struct own_record *rec, char *text)
{
	for (const struct own_dom *e = o->doms; e; e = e->next) {
		if (e == d || !own_in_use(e))
			continue;
		if (*rec->name && !strcmp(e->rec.name, rec->name)) {
			snprintf(text, OWN_TEXT_LEN, "the name %.60s belongs to domain %s on %.60s; choose another name= or stop that one",
				 rec->name, e->uuid, e->rec.owner ? own_node_name(o, e->rec.owner) : "another node");
			return -EEXIST;
		}
		if (rec->domid && e->rec.domid == rec->domid) {
			snprintf(text, OWN_TEXT_LEN, "domid %u is taken", rec->domid);
			return -EAGAIN;
		}
	}
	return 0;
}

static void own_on_claim(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_record rec = m->rec;
	char text[OWN_TEXT_LEN];
	int rc;

	if (!(m->epoch == d->rec.epoch + 1 || own_same_intent(&d->rec, m, 0))) {
		own_refused(o, d, m);
		if (m->epoch == d->rec.epoch)
			d->told = false;	/* two claims of one epoch: each side has to hear of it to go above it */
		return;
	}
	rc = own_claim_clash(o, d, &rec, text);
	if (rc) {
		own_refused(o, d, m);
		own_nack(o, m, rc, text);
		return;
	}
	rec.epoch = m->epoch;
	rec.owner = m->from;
	rec.to = 0;
	if (own_set_record(o, d, &rec, m->config))
		return;
	d->hold |= own_bit(o, m->from);
	/* the claim itself told everybody that this node holds it; but who asked for a report, having missed a record, cannot take the claim */
	if (m->from == o->me && d->told)
		d->told_holds = true;
	own_track(o, d, m);
	own_ack(o, m);
}

static void own_on_release(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_record rec = *d->rec.name ? d->rec : m->rec;

	/*
	 * Whoever my record says is the owner: its sender knew that nobody held anything, and records can differ after a BEGIN and
	 * a CLAIM of one epoch that only some delivered.
	 */
	if (m->epoch <= d->rec.epoch && !(m->epoch == d->rec.epoch && !d->rec.owner)) {
		own_refused(o, d, m);
		d->told = false;	/* two releases of one epoch: each side has to hear of what stands in its way to go above it */
		return;
	}
	rec.epoch = m->epoch;
	rec.owner = rec.to = 0;
	if (own_set_record(o, d, &rec, NULL))
		return;
	own_track(o, d, m);
	own_ack(o, m);
}

static void own_on_ack(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	int i = own_index(o, m->whom);

	if (i >= 0 && d->outs[i].type == m->what && d->outs[i].serial == m->serial)
		d->outs[i].acks |= own_bit(o, m->from);
}

/* A claim refused for its domid is made again with another, after a moment, unless it must be that one; a name that is taken ends the start. */
static void own_on_nack(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_out *out = &d->outs[o->self];

	if (m->whom != o->me || m->what != OWN_M_CLAIM || m->serial != d->claim_serial)
		return;
	if (out->type == OWN_M_CLAIM && out->serial == m->serial)
		*out = (struct own_out){ .type = OWN_M_NONE };
	if (m->code == -EAGAIN && !(d->job == OWN_J_START && d->job_rec.domid))
		d->backoff = true;
	else if (d->job == OWN_J_START)
		own_job_end(o, d, -EEXIST, m->text);
}

static void own_on_ask(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	if (m->whom != o->me && m->whom)
		return;
	d->told = false;
	if (!own_holds(d) && m->whom)
		d->act_fresh = false;
}

static void own_on_want(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	struct own_msg reply = { .type = OWN_M_CONFIG, .config = d->config };

	if (!d->config || m->from == o->me)
		return;
	memcpy(reply.uuid, d->uuid, sizeof(reply.uuid));
	memcpy(reply.rec.hash, d->rec.hash, sizeof(reply.rec.hash));
	own_send(o, &reply);
}

static void own_on_config(struct own *o, struct own_dom *d, const struct own_msg *m)
{
	if (!d->config && m->config && *d->rec.hash && !strcmp(d->rec.hash, m->rec.hash))
		(void)own_set_record(o, d, &d->rec, m->config);
}

static void own_on_leave(struct own *o, const struct own_msg *m)
{
	int i = own_index(o, m->from);

	if (o->nodes[i].left < m->epoch)
		o->nodes[i].left = m->epoch;
	(void)own_save_boots(o);
}

/* --- is it alive ---------------------------------------------------------------------------------------------------- */

static void own_on_probe(struct own *o, const struct own_msg *m)
{
	struct own_msg reply = { .type = OWN_M_ALIVE, .whom = m->from, .serial = m->serial };

	if (m->whom == o->me)
		own_send(o, &reply);
}

static void own_on_alive(struct own *o, const struct own_msg *m)
{
	struct own_node *n = &o->nodes[own_index(o, m->from)];

	if (m->whom == o->me && m->serial == n->probe)
		n->probe = 0;
}

/* --- reports ------------------------------------------------------------------------------------------------------- */

static void own_raise(uint64_t *have, uint64_t got, bool *changed)
{
	if (got > *have) {
		*have = got;
		*changed = true;
	}
}

static void own_merge_seen(struct own *o, const struct own_msg *m)
{
	const struct own_report *r = &m->report;
	bool changed = false;

	own_raise(&o->nodes[own_index(o, m->from)].seen, r->incarnation, &changed);
	for (size_t i = 0; i < r->n_seen; i++) {
		int j = own_index_add(o, r->seen[i].node);

		if (j < 0)
			continue;
		own_raise(&o->nodes[j].seen, r->seen[i].seen, &changed);
		own_raise(&o->nodes[j].fenced, r->seen[i].fenced, &changed);
		own_raise(&o->nodes[j].left, r->seen[i].left, &changed);
	}
	changed |= own_raise_members(o);
	if (changed)
		(void)own_save_boots(o);
}

static void own_merge_record(struct own *o, struct own_dom *d, const struct own_record *rec)
{
	struct own_out *out = &d->outs[o->self];
	struct own_record clean = *rec;

	if (!clean.owner)
		clean.to = 0;
	if (clean.epoch > d->rec.epoch) {
		(void)own_set_record(o, d, &clean, NULL);
		return;
	}
	if (rec->epoch != d->rec.epoch || (rec->owner == d->rec.owner && rec->to == d->rec.to))
		return;
	/* a node just started may not know yet what it holds; own_refreshed() takes it back when that is nothing */
	if ((own_holds(d) || !o->known) && d->rec.owner == o->me)
		d->contradicted = true;		/* the copy, once it runs, announces itself anew, higher */
	else if ((out->type == OWN_M_CLAIM || (out->type == OWN_M_RUNNING && !own_holds(d))) && !out->done && out->epoch == rec->epoch)
		*out = (struct own_out){ .type = OWN_M_NONE };	/* cannot count; withdrawn: a claim is made again above both, a copy that is gone released */
}

/* The target's word on a handed copy. It is a promise only from who remembers this attempt's BEGIN. */
static void own_hear_target(struct own *o, struct own_dom *d, const struct own_msg *m, const struct own_entry *e)
{
	uint64_t a = d->copy_attempt;

	if (m->from == o->me || d->copy != OWN_HANDED || d->copy_target != m->from || !m->report.known || e->holds)
		return;
	if (!e->act_known || e->begun < a || e->pending == a)
		return;
	if (e->activated >= a)
		d->verdict_drop = true;
	else if (!d->verdict_drop)
		d->verdict_resume = true;
}

static void own_on_report(struct own *o, const struct own_msg *m)
{
	const struct own_report *r = &m->report;
	int i = own_index(o, m->from);
	uint64_t bit = UINT64_C(1) << i;

	own_merge_seen(o, m);
	if (r->full) {
		o->reported |= bit;
		for (struct own_dom *d = o->doms; d; d = d->next) {
			d->hold &= ~bit;
			d->remote[i] = OWN_NONE;
		}
	}
	o->unknown = r->known ? o->unknown & ~bit : o->unknown | bit;
	for (size_t k = 0; k < r->n_entries; k++) {
		const struct own_entry *e = &r->entries[k];
		struct own_dom *d = own_find_or_add(o, e->uuid);

		if (!d)
			continue;
		d->hold = e->holds ? d->hold | bit : d->hold & ~bit;
		d->remote[i] = e->copy;
		if (m->from == o->me && e->rec.epoch < d->rec.epoch)
			d->told = false;	/* overtaken by a record; a member that could not follow that one would stay at this */
		own_merge_record(o, d, &e->rec);
		own_hear_target(o, d, m, e);
	}
}

/* --- dispatch ------------------------------------------------------------------------------------------------------ */

static void (*const own_on[OWN_M_TYPES])(struct own *, struct own_dom *, const struct own_msg *) = {
	[OWN_M_ACK] = own_on_ack, [OWN_M_NACK] = own_on_nack, [OWN_M_BEGIN] = own_on_begin,
	[OWN_M_RUNNING] = own_on_running, [OWN_M_ABORT] = own_on_abort, [OWN_M_CLAIM] = own_on_claim,
	[OWN_M_RELEASE] = own_on_release, [OWN_M_ASK] = own_on_ask, [OWN_M_WANT] = own_on_want,
	[OWN_M_CONFIG] = own_on_config,
};

void own_deliver(struct own *o, const struct own_msg *m)
{
	struct own_dom *d;

	if (!o->view || m->view != o->view || !own_member(o, m->from) || o->leaving)
		return;		/* of another membership: never happened */
	if (m->type == OWN_M_REPORT) {
		own_on_report(o, m);
	} else if (m->type == OWN_M_LEAVE) {
		own_on_leave(o, m);
	} else if (m->type == OWN_M_PROBE) {
		own_on_probe(o, m);
	} else if (m->type == OWN_M_ALIVE) {
		own_on_alive(o, m);
	} else if ((size_t)m->type < OWN_M_TYPES && own_on[m->type]) {
		d = own_find_or_add(o, m->uuid);
		if (d)
			own_on[m->type](o, d, m);
	}
	own_run(o);
}
