/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership.c - the directory's state: what records, reports and memberships do to it. The rules that act on the state
 * are in ownership_rules.c. Each case here has its name in docs/specs/ownership.md and its model in reference/ownership.pml.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership.h"

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static const char *const copy_names[] = {
	"none", "building", "running", "quorum-paused", "paused", "handed", "incoming", "ready", "dying"
};

static const char *const type_names[OWN_M_TYPES] = {
	"none", "report", "ack", "nack", "begin", "running", "abort", "claim", "release", "ask", "leave", "want", "config",
	"probe", "alive"
};

const char *own_copy_name(enum own_copy c)
{
	return (size_t)c < ARRAY(copy_names) ? copy_names[c] : "?";
}

enum own_copy own_copy_from_name(const char *s)
{
	for (size_t i = 0; s && i < ARRAY(copy_names); i++)
		if (!strcmp(s, copy_names[i]))
			return (enum own_copy)i;
	return OWN_DYING;
}

const char *own_type_name(enum own_type t)
{
	return (size_t)t < OWN_M_TYPES ? type_names[t] : "?";
}

/* --- nodes --------------------------------------------------------------------------------------------------------- */

int own_index(const struct own *o, uint32_t id)
{
	for (int i = 0; i < o->n_nodes; i++)
		if (o->nodes[i].id == id)
			return i;
	return -1;
}

static int own_index_add(struct own *o, uint32_t id)
{
	int i = own_index(o, id);

	if (i >= 0 || !id)
		return i;
	if (o->n_nodes == OWN_NODES)
		return -1;
	i = o->n_nodes++;
	memset(&o->nodes[i], 0, sizeof(o->nodes[i]));
	o->nodes[i].id = id;
	o->nodes[i].seen = 1;	/* taken as seen: a node nobody ever saw is no free node, it is an unknown one */
	snprintf(o->nodes[i].name, OWN_NAME_LEN, "node %u", id);
	return i;
}

static uint64_t own_bit(const struct own *o, uint32_t id)
{
	int i = own_index(o, id);

	return i < 0 ? 0 : UINT64_C(1) << i;
}

const struct own_node *own_node(const struct own *o, uint32_t id)
{
	int i = own_index(o, id);

	return i < 0 ? NULL : &o->nodes[i];
}

const struct own_node *own_node_by_name(const struct own *o, const char *name)
{
	for (int i = 0; i < o->n_nodes; i++)
		if (o->nodes[i].configured && !strcmp(o->nodes[i].name, name))
			return &o->nodes[i];
	return NULL;
}

const char *own_node_name(const struct own *o, uint32_t id)
{
	const struct own_node *n = own_node(o, id);

	return n ? n->name : "";
}

bool own_member(const struct own *o, uint32_t id)
{
	return o->members & own_bit(o, id);
}

bool own_is_fenced(const struct own *o, uint32_t id)
{
	const struct own_node *n = own_node(o, id);

	return n && n->fenced >= n->seen;
}

bool own_synced(const struct own *o)
{
	return o->view && (o->reported & o->members) == o->members;
}

int own_set_nodes(struct own *o, const uint32_t *ids, const char *const *names, int n)
{
	for (int i = 0; i < o->n_nodes; i++)
		o->nodes[i].configured = false;
	for (int i = 0; i < n; i++) {
		int j = own_index_add(o, ids[i]);

		if (j < 0)
			return -E2BIG;
		o->nodes[j].configured = true;
		snprintf(o->nodes[j].name, OWN_NAME_LEN, "%s", names[i]);
	}
	own_run(o);
	return 0;
}

void own_load_node(struct own *o, const struct own_seen *s)
{
	int i = own_index_add(o, s->node);

	if (i < 0)
		return;
	o->nodes[i].seen = s->seen > o->nodes[i].seen ? s->seen : o->nodes[i].seen;
	o->nodes[i].fenced = s->fenced;
	o->nodes[i].left = s->left;
}

/* --- domains ------------------------------------------------------------------------------------------------------- */

struct own_dom *own_find(const struct own *o, const char *uuid)
{
	struct own_dom *d;

	for (d = o->doms; d && strcmp(d->uuid, uuid); d = d->next)
		;
	return d;
}

struct own_dom *own_find_or_add(struct own *o, const char *uuid)
{
	struct own_dom *d = own_find(o, uuid);

	if (d)
		return d;
	if (!*uuid || strlen(uuid) >= OWN_UUID_LEN || o->n_doms >= OWN_DOMAINS_MAX)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
	d->told = true;		/* a full report without it says that nothing is held */
	d->next = o->doms;
	o->doms = d;
	o->n_doms++;
	return d;
}

static bool own_in_use(const struct own_dom *d)
{
	return d->rec.owner || own_holds(d) || d->hold;
}

struct own_dom *own_find_name(const struct own *o, const char *name)
{
	struct own_dom *found = NULL;

	for (struct own_dom *d = o->doms; d; d = d->next)
		if (!strcmp(d->rec.name, name) && (!found || (own_in_use(d) && !own_in_use(found)) ||
						   (own_in_use(d) == own_in_use(found) && d->rec.epoch > found->rec.epoch)))
			found = d;
	return found;
}

struct own_dom *own_find_resource(const struct own *o, const char *resource)
{
	struct own_dom *found = NULL;

	for (struct own_dom *d = o->doms; d; d = d->next)
		if (*resource && !strcmp(d->rec.resource, resource) && (!found || (own_in_use(d) && !own_in_use(found))))
			found = d;
	return found;
}

bool own_holds(const struct own_dom *d)
{
	return d->copy != OWN_NONE || d->creating || d->accepted;
}

int own_load_domain(struct own *o, const char *uuid, const struct own_record *rec, uint64_t begun, const char *config)
{
	struct own_dom *d = own_find_or_add(o, uuid);

	if (!d)
		return o->n_doms >= OWN_DOMAINS_MAX ? -E2BIG : -EINVAL;
	d->rec = *rec;
	d->rec.to = rec->owner ? rec->to : 0;
	d->begun = begun;
	free(d->config);
	d->config = config ? strdup(config) : NULL;
	return config && !d->config ? -ENOMEM : 0;
}

/*
 * What was known of the copy is out of date. A look that is under way, or the list that a new connection to hypervisord begins
 * with, may have been taken before.
 */
void own_look_again(struct own *o, struct own_dom *d)
{
	d->fresh = false;
	if (d->busy == OWN_DO_REFRESH || !o->hv_up)
		d->relook = true;
}

/* Disk first: what could not be written was not heard. config NULL: keep the present one unless the hash moved on. */
int own_set_record(struct own *o, struct own_dom *d, const struct own_record *rec, const char *config)
{
	struct own_dom next = *d;
	char *copy = NULL, *drop = NULL;
	int rc;

	if (config) {
		copy = strdup(config);
		if (!copy)
			return -ENOMEM;
		next.config = copy;
		drop = d->config;
	} else if (strcmp(rec->hash, d->rec.hash)) {
		next.config = NULL;
		drop = d->config;
	}
	next.rec = *rec;
	rc = o->ops->persist(o->arg, &next);
	if (rc) {
		free(copy);
		d->behind = true;
		return rc;
	}
	if (next.config != d->config)
		free(drop);
	d->rec = *rec;
	d->config = next.config;
	d->begun = next.begun;
	own_look_again(o, d);
	if (o->ops->changed)
		o->ops->changed(o->arg, d);
	return 0;
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

struct own *own_new(uint32_t me, uint64_t incarnation, const struct own_ops *ops, void *arg)
{
	struct own *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->me = me;
	o->incarnation = incarnation;
	o->ops = ops;
	o->arg = arg;
	o->self = own_index_add(o, me);
	o->nodes[o->self].seen = incarnation;
	return o;
}

void own_free(struct own *o)
{
	struct own_dom *d, *next;

	if (!o)
		return;
	for (d = o->doms; d; d = next) {
		next = d->next;
		free(d->config);
		free(d->job_config);
		free(d);
	}
	free(o);
}

/* --- memberships --------------------------------------------------------------------------------------------------- */

/* What belongs to one membership ends with it. */
static void own_forget(struct own *o)
{
	for (struct own_dom *d = o->doms; d; d = d->next) {
		d->hold = 0;
		memset(d->outs, 0, sizeof(d->outs));
		memset(d->remote, 0, sizeof(d->remote));
		d->bgn = d->bgn_used = 0;
		d->told = d->told_holds = false;
		d->abort_sent = 0;
		d->asked = d->wanted = false;
		d->fresh = false;
	}
	o->reported = o->unknown = 0;
	o->told_full = false;
}

static void own_probe(struct own *o, struct own_node *n)
{
	struct own_msg m = { .type = OWN_M_PROBE, .whom = n->id };

	n->probe = m.serial = ++o->serial;
	own_send(o, &m);
}

/* Who was said to be fenced and left without an answer is; who is still a member is asked again. */
static bool own_settle_probes(struct own *o)
{
	bool changed = false;

	for (int i = 0; i < o->n_nodes; i++) {
		struct own_node *n = &o->nodes[i];

		if (n->probe && (o->members & (UINT64_C(1) << i))) {
			own_probe(o, n);
		} else if (n->probe) {
			n->probe = 0;
			n->fenced = n->seen;
			changed = true;
		}
	}
	return changed;
}

/* A member has been seen since any fencing that is known of; its word of leaving stands. */
static bool own_raise_members(struct own *o)
{
	bool changed = false;

	for (int i = 0; i < o->n_nodes; i++) {
		struct own_node *n = &o->nodes[i];

		if (!(o->members & (UINT64_C(1) << i)) || n->fenced < n->seen || n->left >= n->seen)
			continue;
		n->seen = n->fenced + 1;
		changed = true;
	}
	return changed;
}

void own_view(struct own *o, uint64_t view, const uint32_t *members, int n)
{
	uint64_t before = o->members;
	bool raised = false;

	assert(view);
	own_forget(o);
	o->view = view;
	o->members = 0;
	for (int i = 0; i < n; i++) {
		int j = own_index_add(o, members[i]);
		struct own_node *node = j < 0 ? NULL : &o->nodes[j];

		if (!node)
			continue;
		o->members |= UINT64_C(1) << j;
		/* A node that comes in has been seen since its last fencing, even if its report never arrives. */
		if (!(before & (UINT64_C(1) << j)) && (node->fenced >= node->seen || node->left >= node->seen)) {
			node->seen = (node->fenced > node->left ? node->fenced : node->left) + 1;
			raised = true;
		}
	}
	raised |= own_settle_probes(o);
	if (raised)
		(void)o->ops->persist_nodes(o->arg, o);
	own_run(o);
}

void own_view_lost(struct own *o)
{
	own_forget(o);
	for (int i = 0; i < o->n_nodes; i++)
		o->nodes[i].probe = 0;		/* its answer could not arrive: nothing follows from the silence */
	o->view = 0;
	o->members = 0;
	o->quorate = false;
	own_run(o);
}

void own_quorum(struct own *o, bool group_quorate, bool node_quorate)
{
	o->quorate = group_quorate;
	o->pause_wanted = !node_quorate;
	own_run(o);
}

void own_fenced(struct own *o, uint32_t id)
{
	int i = own_index(o, id);

	if (i < 0 || id == o->me)
		return;
	if (own_member(o, id)) {
		own_probe(o, &o->nodes[i]);
		own_run(o);
		return;
	}
	o->nodes[i].fenced = o->nodes[i].seen;
	(void)o->ops->persist_nodes(o->arg, o);
	/* Members hear of it too: a report carries what is known of boots. */
	o->told_full = false;
	own_run(o);
}

bool own_counts(const struct own *o, const struct own_out *out)
{
	return out->type != OWN_M_NONE && o->view && o->quorate && (out->acks & o->members) == o->members;
}

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
	if (own_set_record(o, d, &rec, NULL))
		return;
	if (m->from == o->me)
		d->contradicted = false;
	own_track(o, d, m);
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
	if (m->from == o->me) {
		d->told = true;		/* the claim itself told everybody that this node holds it */
		d->told_holds = true;
	}
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
	(void)o->ops->persist_nodes(o->arg, o);
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
		(void)o->ops->persist_nodes(o->arg, o);
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
	if (own_holds(d) && d->rec.owner == o->me)
		d->contradicted = true;		/* the copy, once it runs, announces itself anew, higher */
	else if (out->type == OWN_M_CLAIM && !out->done && out->epoch == rec->epoch)
		*out = (struct own_out){ .type = OWN_M_NONE };	/* cannot count; withdrawn, and made again above both */
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

/* --- this node's copies -------------------------------------------------------------------------------------------- */

void own_hypervisor(struct own *o, bool up)
{
	o->hv_up = up;
	own_run(o);
}

static void own_set_local(struct own *o, struct own_dom *d, const struct own_local *l)
{
	enum own_copy copy = l ? l->copy : OWN_NONE;

	if (d->copy != copy || (l && d->copy_attempt != l->attempt)) {
		d->act_fresh = false;
		d->fresh = false;
		d->backoff = false;
		d->asked = false;
		d->verdict_resume = d->verdict_drop = false;
		if (d->busy == OWN_DO_ACTIVATED)
			d->unsure = true;	/* its answer may be of before */
	}
	d->copy = copy;
	d->copy_attempt = l ? l->attempt : 0;
	d->copy_target = l ? l->target : 0;
	d->copy_domid = l ? l->domid : 0;
	if (!own_holds(d))
		d->contradicted = false;
	if (l && !d->rec.epoch)		/* started behind our back: it gets a record when it is announced */
		snprintf(d->rec.name, sizeof(d->rec.name), "%s", l->name);
	if (copy != OWN_NONE && d->copy_attempt >= d->accepted)
		d->accepted = 0;	/* the copy itself counts from here */
	if (o->ops->changed)
		o->ops->changed(o->arg, d);
}

void own_local(struct own *o, const struct own_local *l)
{
	struct own_dom *d = own_find_or_add(o, l->uuid);

	if (d) {
		own_set_local(o, d, l->copy == OWN_NONE ? NULL : l);
		own_look_again(o, d);
	}
	own_run(o);
}

void own_refreshed(struct own *o, const struct own_local *l)
{
	struct own_dom *d = own_find(o, l->uuid);

	if (d && !d->relook)
		own_set_local(o, d, l->copy == OWN_NONE ? NULL : l);
}

/* A grant used before the list was made shows in the list, so what is neither listed nor granted will never be. */
void own_settle_pending(struct own_dom *d)
{
	if (d->creating && d->busy != OWN_DO_CREATE)
		d->creating = 0;
	if (d->accepted_over)
		d->accepted = 0;
	d->accepted_over = false;
}

void own_locals(struct own *o, const struct own_local *l, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)own_find_or_add(o, l[i].uuid);
	for (struct own_dom *d = o->doms; d; d = d->next) {
		const struct own_local *found = NULL;

		for (size_t i = 0; i < n && !found; i++)
			if (!strcmp(l[i].uuid, d->uuid))
				found = &l[i];
		/* the list may be older than what an event said since: one more look; the first list is all there is */
		bool again = d->relook || d->accepted_over;

		if (!o->known || !again) {
			own_set_local(o, d, found);
			own_settle_pending(d);
		}
		d->relook = false;
		d->unsure = again;
		d->fresh = !again;
	}
	o->known = true;
	o->hv_up = true;
	own_run(o);
}

void own_assert_state(const struct own *o)
{
	assert(o->self >= 0 && o->nodes[o->self].id == o->me);
	assert(!o->members || o->view);
	for (const struct own_dom *d = o->doms; d; d = d->next) {
		assert(!(d->rec.to && !d->rec.owner));
		assert(!d->worker || d->job_attempt);
		assert(!d->accepted || d->accepted <= d->bgn_used || !o->view || d->bgn_used == 0);
		assert(!(d->creating && d->accepted));
		assert(d->bgn == 0 || d->begun >= d->bgn);
		assert(!(d->verdict_resume || d->verdict_drop) || d->copy == OWN_HANDED);
	}
}
