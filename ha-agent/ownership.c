/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership.c - the directory's state: nodes, domains, memberships, this node's copies. What moves it is in the three files that
 * ownership_state.h names. Each case here has its name in docs/specs/ownership.md and its model in tests/model/ownership.pml.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership_state.h"

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

int own_index_add(struct own *o, uint32_t id)
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

uint64_t own_bit(const struct own *o, uint32_t id)
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

bool own_in_use(const struct own_dom *d)
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

int own_save_boots(struct own *o)
{
	int rc = o->ops->persist_nodes(o->arg, o);

	o->boots_unwritten = rc != 0;
	return rc;
}

/* Disk first: what could not be written was not heard. config NULL: keep the present one unless the hash moved on. */
int own_set_record(struct own *o, struct own_dom *d, const struct own_record *rec, const char *config)
{
	struct own_dom next = *d;
	char *copy = NULL, *drop = NULL;
	int rc = o->boots_unwritten ? own_save_boots(o) : 0;

	if (rc) {
		d->behind = true;
		return rc;
	}
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
bool own_raise_members(struct own *o)
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
		(void)own_save_boots(o);
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
	(void)own_save_boots(o);
	/* Members hear of it too: a report carries what is known of boots. */
	o->told_full = false;
	own_run(o);
}

bool own_counts(const struct own *o, const struct own_out *out)
{
	return out->type != OWN_M_NONE && o->view && o->quorate && (out->acks & o->members) == o->members;
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
	if (copy == OWN_HANDED && d->copy != copy && d->worker)
		d->asked = true;	/* the worker hears from the target first; a tick later it is asked all the same */
	d->copy = copy;
	d->copy_attempt = l ? l->attempt : 0;
	d->copy_target = l ? l->target : 0;
	d->copy_domid = l ? l->domid : 0;
	d->copy_serves = l && l->serves;
	d->copy_source = l ? l->source : 0;
	if (!own_holds(d))
		d->contradicted = false;
	if (l && !d->rec.epoch)		/* started behind our back: it gets a record when it is announced */
		snprintf(d->rec.name, sizeof(d->rec.name), "%s", l->name);
	if (copy != OWN_NONE && d->copy_attempt >= d->accepted)
		d->accepted = 0;	/* the copy itself counts from here */
	if (o->ops->changed)
		o->ops->changed(o->arg, d);
}

/* With the intent open: what a copy is in the pause, and the run whose RUNNING follows. */
static unsigned own_passes_through(const struct own *o, const struct own_dom *d)
{
	if (!d->rec.to)
		return 0;
	if (d->copy == OWN_RUN && d->rec.to == o->me)
		return OWN_LANDING_MS;
	return d->copy == OWN_PAUSED || d->copy == OWN_READY || d->copy == OWN_HANDED ? OWN_PAUSE_MS : 0;
}

unsigned own_local(struct own *o, const struct own_local *l)
{
	struct own_dom *d = own_find_or_add(o, l->uuid);
	enum own_copy was = d ? d->copy : OWN_NONE;
	unsigned later = 0;

	if (d) {
		own_set_local(o, d, l->copy == OWN_NONE ? NULL : l);
		own_look_again(o, d);
	}
	if (d && d->copy != was) {             /* said again, of whatever else of it changed, it keeps nobody waiting once more */
		later = own_passes_through(o, d);
		d->quiet = later;
		d->landing = later && d->copy == OWN_RUN;
	}
	if (!later)
		own_run(o);
	return later;
}

/* RUNNING tells what a report would; that follows with the next tick, for operators. */
void own_look(struct own *o)
{
	for (struct own_dom *d = o->doms; d; d = d->next) {
		d->quiet &= own_runs(d);
		d->landing = false;
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
