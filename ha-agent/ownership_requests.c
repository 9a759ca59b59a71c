/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership_requests.c - the requests of agents and operators, and how actions ended. A request only notes what is wanted (a job);
 * a rule carries it out when it may.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership_state.h"

/* --- inputs that answer actions ------------------------------------------------------------------------------------- */

static void own_created(struct own *o, struct own_dom *d, uint64_t claim, int rc, const char *text)
{
	int r;

	if (rc == 0) {
		d->unsure = true;	/* counts as held until the copy was seen */
		own_job_end(o, d, 0, "");
		return;
	}
	r = o->ops->revoke(o->arg, d->uuid, claim);
	if (rc == -ECONNRESET && r == -ENOENT) {
		d->unsure = true;	/* it may have begun: the list will tell */
		return;
	}
	d->creating = 0;
	d->act_fresh = false;
	if (rc == -ECONNRESET)
		rc = -EAGAIN;
	own_job_end(o, d, rc, text && *text ? text : "hypervisord went away before it began; start it and try again");
}

void own_action_done(struct own *o, const char *uuid, enum own_action a, int rc, uint64_t number, bool known, const char *text)
{
	struct own_dom *d = own_find(o, uuid);

	if (!d || d->busy != a || a == OWN_DO_NONE)
		return;
	d->busy = OWN_DO_NONE;
	if (a == OWN_DO_CREATE) {
		own_created(o, d, d->creating, rc, text);
	} else if (rc == -ECONNRESET || rc == -ENOTCONN) {
		d->unsure = true;
	} else if (a == OWN_DO_ACTIVATED) {
		d->act_fresh = rc == 0 && !d->unsure;
		d->act_known = known;
		d->activated = number;
		d->backoff = rc != 0;
	} else if (a == OWN_DO_REFRESH) {
		d->fresh = rc == 0 && !d->relook;
		d->unsure = !d->fresh;
		if (d->fresh)
			own_settle_pending(d);
		d->relook = false;
	} else {
		d->unsure = true;	/* destroyed, resumed or paused: the copy itself says so */
		d->backoff = rc != 0 && rc != -EBUSY && rc != -ENOENT;
	}
	own_run(o);
}

void own_move_done(struct own *o, const char *uuid, uint64_t attempt, int rc, const char *text)
{
	struct own_dom *d = own_find(o, uuid);

	if (!d || !d->worker || d->job_attempt != attempt)
		return;
	d->move_over = true;
	d->asked &= rc == 0;		/* where all went well the target's RUNNING comes unasked */
	own_look_again(o, d);
	d->job_rc = rc;
	snprintf(d->job_text, sizeof(d->job_text), "%s", text ? text : "");
	own_run(o);
}

void own_accept_gone(struct own *o, const char *uuid, uint64_t attempt)
{
	struct own_dom *d = own_find(o, uuid);
	int rc;

	if (!d || !d->accepted || d->accepted != attempt)
		return;
	rc = o->ops->revoke(o->arg, d->uuid, attempt);
	if (rc == 0) {
		d->accepted = 0;
		d->act_fresh = false;
	} else if (rc == -ENOENT) {
		d->accepted_over = true;
		d->unsure = true;
		own_look_again(o, d);
	}
	own_run(o);
}

void own_nudge(struct own *o, const char *uuid)
{
	struct own_dom *d = own_find(o, uuid);

	if (d) {
		d->unsure = true;
		own_look_again(o, d);
	}
	own_run(o);
}

/*
 * The record a re-send carries; false: not to be sent. Of one that is not on this disk yet it is made of what it was made of the first time:
 * who could not write its own record has to be heard acknowledging that very one, since nobody else waits for another.
 */
static bool own_resend_record(const struct own *o, const struct own_dom *d, const struct own_out *out, struct own_record *rec)
{
	bool ours = d->rec.owner == o->me || (out->type == OWN_M_RELEASE && !d->rec.owner);

	*rec = d->rec;
	if (d->rec.epoch == out->epoch)
		return ours;
	if (d->rec.epoch > out->epoch)
		return false;
	if (out->type != OWN_M_RUNNING && out->type != OWN_M_RELEASE)
		return own_unwritten(o, d, out, rec);
	rec->owner = out->type == OWN_M_RUNNING ? o->me : 0;
	rec->to = 0;
	if (out->type == OWN_M_RUNNING && d->copy_domid)
		rec->domid = d->copy_domid;
	return true;
}

/* A member that could not write a record when it came, its own sender too, acknowledges it when it comes again. */
static void own_resend(struct own *o, struct own_dom *d)
{
	const struct own_out out = d->outs[o->self];
	struct own_msg m = { .type = out.type, .epoch = out.epoch, .serial = out.serial };

	if (out.type == OWN_M_NONE || out.done || !o->view || !own_resend_record(o, d, &out, &m.rec))
		return;
	if (out.type == OWN_M_CLAIM)
		m.config = d->rec.epoch == out.epoch ? d->config : d->job_config;
	memcpy(m.uuid, d->uuid, sizeof(m.uuid));
	own_send(o, &m);
}

static void own_catch_up(struct own *o, struct own_dom *d)
{
	struct own_msg m = { .type = OWN_M_ASK };

	if (!d->behind || !o->view)
		return;
	d->behind = false;
	memcpy(m.uuid, d->uuid, sizeof(m.uuid));
	own_send(o, &m);
}

void own_tick(struct own *o)
{
	if (o->boots_unwritten)
		(void)own_save_boots(o);
	for (struct own_dom *d = o->doms; d; d = d->next) {
		if (!own_withdraw(o, d))
			own_resend(o, d);
		own_catch_up(o, d);
		d->backoff = false;
		d->asked = d->quiet = d->landing = false;
		d->abort_sent = 0;
		d->wanted = false;
	}
	own_run(o);
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

void own_obstacle(const struct own *o, const struct own_dom *d, char *text)
{
	*text = '\0';
	if (!o->known || !o->hv_up)
		snprintf(text, OWN_TEXT_LEN, "hypervisord does not answer on this node; start it");
	else if (!o->view)
		snprintf(text, OWN_TEXT_LEN, "this node is in no cluster membership; start corosync");
	else if (!o->quorate)
		snprintf(text, OWN_TEXT_LEN, "this part of the cluster is not quorate");
	else if (!own_synced(o))
		snprintf(text, OWN_TEXT_LEN, "not every member has reported what it holds yet");
	for (int j = 0; !*text && j < o->n_nodes; j++) {
		const struct own_node *n = &o->nodes[j];
		uint64_t bit = UINT64_C(1) << j;

		if (!n->configured || own_free_for(o, d, j))
			continue;
		if (!(o->members & bit))
			snprintf(text, OWN_TEXT_LEN, "%s is out of the cluster and not known to be fenced since it was last seen; "
				 "fence it, or if it is off for good: haven resolve --node %s", n->name, n->name);
		else if (o->unknown & bit)
			snprintf(text, OWN_TEXT_LEN, "%s cannot ask its hypervisord what it holds; start hypervisord there", n->name);
		else
			snprintf(text, OWN_TEXT_LEN, "%s holds a copy (%s)", n->name, own_copy_name(d->remote[j]));
	}
}

const char *own_runs_on(const struct own *o, const struct own_dom *d)
{
	for (int j = 0; j < o->n_nodes && o->view && o->quorate && own_synced(o); j++)
		if (j != o->self && (o->members & UINT64_C(1) << j) && (d->remote[j] == OWN_RUN || d->remote[j] == OWN_QPAUSE))
			return o->nodes[j].name;
	return NULL;
}

int own_restore(struct own *o, const char *uuid, const struct own_record *rec, const char *config, uint64_t from, char *text)
{
	struct own_dom *d = own_find_or_add(o, uuid);
	struct own_dom *named = own_find_name(o, rec->name);

	*text = '\0';
	if (!d)
		return snprintf(text, OWN_TEXT_LEN, "%s: not a uuid, or the directory is full", uuid), -EINVAL;
	if (own_runs(d) && d->job == OWN_J_NONE)
		return -EALREADY;
	if (named && named != d && (named->rec.owner || named->hold || own_holds(named)))
		return snprintf(text, OWN_TEXT_LEN, "the name %.60s belongs to domain %s on %.60s; choose another name= or stop that one",
				rec->name, named->uuid, own_node_name(o, named->rec.owner)), -EEXIST;
	if ((d->rec.owner || d->hold || own_holds(d)) && *d->rec.name && strcmp(d->rec.name, rec->name))
		return snprintf(text, OWN_TEXT_LEN, "the uuid %s belongs to domain %.60s on %.60s; choose another uuid= or leave it out",
				uuid, d->rec.name, own_node_name(o, d->rec.owner)), -EEXIST;
	if (d->job != OWN_J_NONE && d->job != OWN_J_START)
		return snprintf(text, OWN_TEXT_LEN, "%s is being %s; wait for that", rec->name,
				d->job == OWN_J_STOP ? "stopped" : "moved"), -EBUSY;
	if (d->job == OWN_J_START)
		return 0;
	d->job_config = strdup(config);
	if (!d->job_config)
		return -ENOMEM;
	d->job_rec = *rec;
	d->job_from = from;
	d->job = OWN_J_START;
	own_run(o);
	return 0;
}

int own_start(struct own *o, const char *uuid, const struct own_record *rec, const char *config, char *text)
{
	return own_restore(o, uuid, rec, config, 0, text);
}

int own_stop(struct own *o, const char *uuid, char *text)
{
	struct own_dom *d = own_find(o, uuid);

	*text = '\0';
	if (!d || (!own_holds(d) && d->rec.owner != o->me))
		return -ENOENT;
	if (d->job == OWN_J_STOP)
		return 0;
	if (d->job != OWN_J_NONE)
		own_job_end(o, d, -ECANCELED, "the domain is being stopped");
	d->job = OWN_J_STOP;
	own_run(o);
	return 0;
}

static int own_migrate_refusal(const struct own *o, const struct own_dom *d, uint32_t to, char *text)
{
	const struct own_node *n = own_node(o, to);

	if (!own_runs(d) && d->copy != OWN_PAUSED)
		return snprintf(text, OWN_TEXT_LEN, "%s does not run on this node", d->rec.name), -ENOENT;
	if (!n || !n->configured)
		return snprintf(text, OWN_TEXT_LEN, "no node of the cluster has id %u", to), -ENOENT;
	if (to == o->me)
		return snprintf(text, OWN_TEXT_LEN, "%s runs on %s already", d->rec.name, n->name), -EINVAL;
	if (!own_member(o, to))
		return snprintf(text, OWN_TEXT_LEN, "%s is not in the cluster now; start it, or choose another node", n->name), -EHOSTDOWN;
	if (!o->quorate)
		return snprintf(text, OWN_TEXT_LEN, "this part of the cluster is not quorate: nothing may move"), -EPERM;
	if (d->job != OWN_J_NONE || d->worker)
		return snprintf(text, OWN_TEXT_LEN, "%s is being started, stopped or moved already; wait for that", d->rec.name), -EBUSY;
	return 0;
}

int own_migrate(struct own *o, const char *uuid, uint32_t to, char *text)
{
	struct own_dom *d = own_find(o, uuid);
	int rc;

	*text = '\0';
	if (!d)
		return snprintf(text, OWN_TEXT_LEN, "%s: no such domain", uuid), -ENOENT;
	rc = own_migrate_refusal(o, d, to, text);
	if (rc)
		return rc;
	d->job = OWN_J_MIGRATE;
	d->job_to = to;
	d->job_attempt = 0;
	d->job_rc = 0;
	d->job_text[0] = '\0';
	own_run(o);
	return 0;
}

int own_cancel(struct own *o, const char *uuid, const char *text)
{
	struct own_dom *d = own_find(o, uuid);

	if (!d || (d->job != OWN_J_START && d->job != OWN_J_MIGRATE))
		return -ENOENT;
	if (d->worker || d->creating || d->job_attempt)
		return -EBUSY;
	own_job_end(o, d, -ECANCELED, text);
	own_run(o);
	return 0;
}

int own_accept(struct own *o, const char *uuid, uint64_t attempt, uint32_t from, const struct own_dom **ret, char *text)
{
	struct own_dom *d = own_find(o, uuid);

	*text = '\0';
	if (!d || d->bgn != attempt || !attempt || d->bgn_used >= attempt || !own_record_is(o, d, attempt) || d->rec.owner != from)
		return snprintf(text, OWN_TEXT_LEN, "no move of %s with attempt %llu was agreed on in this membership", uuid,
				(unsigned long long)attempt), -ESTALE;
	if (own_holds(d))
		return snprintf(text, OWN_TEXT_LEN, "%s already holds a copy of %s (%s)", own_node_name(o, o->me), d->rec.name,
				own_copy_name(d->copy)), -EEXIST;
	if (!o->known || !o->hv_up || o->leaving || d->unsure || d->busy == OWN_DO_DESTROY || d->job != OWN_J_NONE)
		return snprintf(text, OWN_TEXT_LEN, "%s is not ready for %s", own_node_name(o, o->me), d->rec.name), -EAGAIN;
	if (!own_member(o, from))
		return snprintf(text, OWN_TEXT_LEN, "the source left the cluster"), -EHOSTDOWN;
	if (!d->config)
		return snprintf(text, OWN_TEXT_LEN, "the config of %s has not arrived here yet", d->rec.name), -EAGAIN;
	if (o->ops->grant(o->arg, uuid, attempt))
		return snprintf(text, OWN_TEXT_LEN, "cannot write the grant below the run directory"), -EIO;
	d->bgn_used = attempt;
	d->accepted = attempt;
	d->accepted_from = from;
	d->accepted_over = false;
	d->act_fresh = false;		/* from here on it may be activated at any time */
	*ret = d;
	own_run(o);
	return 0;
}

int own_resolve(struct own *o, const char *uuid, bool keep, char *text)
{
	struct own_dom *d = own_find(o, uuid);

	*text = '\0';
	if (!d || d->copy != OWN_HANDED)
		return snprintf(text, OWN_TEXT_LEN, "%s: no copy here waits for a decision; haven status shows the copies", d ? d->rec.name : uuid), -ENOENT;
	d->verdict_resume = keep;
	d->verdict_drop = !keep;
	own_run(o);
	return 0;
}

int own_leave(struct own *o)
{
	struct own_msg m = { .type = OWN_M_LEAVE, .epoch = o->incarnation };

	for (const struct own_dom *d = o->doms; d; d = d->next)
		if (own_holds(d) || d->busy || d->unsure || d->job != OWN_J_NONE)
			return -EBUSY;
	if (!o->view || !o->known || (o->boots_unwritten && own_save_boots(o)))
		return -EBUSY;
	o->leaving = true;
	own_send(o, &m);
	return 0;
}
