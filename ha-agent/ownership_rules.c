/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership_rules.c - the rules of docs/specs/ownership.md: each is a condition on the state and what follows from it. After every
 * input all of them run until none applies.
 *
 *	start:    job START   -> CLAIM -> counts -> create -> runs            -> job_done
 *	migrate:  job MIGRATE -> BEGIN -> counts -> move (migrated) -> handed -> RUNNING of the target counts -> destroy -> job_done
 *	stop:     job STOP    -> destroy -> RELEASE                           -> job_done
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/ownership_state.h"

bool own_runs(const struct own_dom *d)
{
	return d->copy == OWN_RUN || d->copy == OWN_QPAUSE;
}

static bool own_idle(const struct own *o, const struct own_dom *d)
{
	const struct own_out *out = &d->outs[o->self];

	return out->type == OWN_M_NONE || out->done;
}

static void own_out_clear(const struct own *o, struct own_dom *d)
{
	d->outs[o->self] = (struct own_out){ .type = OWN_M_NONE };
}

/* May hypervisord be asked for this domain now? */
static bool own_can_act(const struct own *o, const struct own_dom *d)
{
	return o->hv_up && o->known && !d->busy && !d->unsure && !d->backoff;
}

static void own_act(struct own *o, struct own_dom *d, enum own_action a, uint64_t number)
{
	d->busy = a;
	d->fresh = d->relook = false;
	o->ops->act(o->arg, d, a, number);
}

static bool own_refresh(struct own *o, struct own_dom *d)
{
	if (d->fresh || d->busy || !o->hv_up || !o->known)
		return false;
	own_act(o, d, OWN_DO_REFRESH, 0);
	return true;
}

static void own_record_send(struct own *o, struct own_dom *d, enum own_type type, uint64_t epoch, const struct own_record *rec,
			    const char *config)
{
	struct own_msg m = { .type = type, .epoch = epoch, .serial = ++o->serial, .config = config };

	memcpy(m.uuid, d->uuid, sizeof(m.uuid));
	m.rec = *rec;
	if (type == OWN_M_CLAIM) {
		d->claim_serial = m.serial;
		d->claim_domid = rec->domid;
	}
	if (type != OWN_M_ABORT)	/* an ABORT waits for nobody */
		d->outs[o->self] = (struct own_out){ .type = type, .epoch = epoch, .serial = m.serial };
	own_send(o, &m);
}

/* --- reporting ----------------------------------------------------------------------------------------------------- */

static bool rule_report_all(struct own *o)
{
	if (!o->view || (o->told_full && o->told_known == o->known))
		return false;
	own_send_report(o, NULL);
	return true;
}

/*
 * "I hold nothing" is said after the disk was read: it is the target's promise, or its word that the copy ran here.
 * While a claim is outstanding the claim itself is what was told.
 */
static bool rule_report_one(struct own *o, struct own_dom *d)
{
	const struct own_out *out = &d->outs[o->self];
	bool holds = own_holds(d);

	if (!o->view || !o->told_full || d->quiet || (d->told && d->told_holds == holds && d->told_copy == d->copy))
		return false;
	if (d->told && d->told_holds && !holds && out->type == OWN_M_CLAIM && !out->done)
		return false;
	if (!holds && !d->act_fresh) {
		if (!own_can_act(o, d))
			return false;
		own_act(o, d, OWN_DO_ACTIVATED, 0);
		return true;
	}
	own_send_report(o, d);
	return true;
}

static bool rule_want_config(struct own *o, struct own_dom *d)
{
	struct own_msg m = { .type = OWN_M_WANT };

	if (!o->view || d->wanted || d->config || !*d->rec.hash)
		return false;
	d->wanted = true;
	memcpy(m.uuid, d->uuid, sizeof(m.uuid));
	own_send(o, &m);
	return true;
}

/* --- looking again ------------------------------------------------------------------------------------------------- */

static bool rule_look(struct own *o, struct own_dom *d)
{
	if (!d->unsure || d->busy || !o->hv_up || !o->known)
		return false;
	own_act(o, d, OWN_DO_REFRESH, 0);
	return true;
}

static bool rule_move_over(struct own *o, struct own_dom *d)
{
	if (!d->move_over || d->unsure)
		return false;
	if (!d->fresh)
		return own_refresh(o, d);
	d->worker = false;
	d->move_over = false;
	if (d->job != OWN_J_MIGRATE)
		d->job_attempt = 0;
	return true;
}

/* --- records that count -------------------------------------------------------------------------------------------- */

static bool rule_begin_counts(struct own *o, struct own_dom *d)
{
	struct own_out *out = &d->outs[o->self];

	if (out->type != OWN_M_BEGIN || out->done)
		return false;
	/* something else came first, or nobody wants the move any more: it is not waited for */
	if (d->rec.epoch > out->epoch || d->job != OWN_J_MIGRATE) {
		own_out_clear(o, d);
		return true;
	}
	if (!own_counts(o, out) || d->rec.epoch != out->epoch)
		return false;
	if (d->copy != OWN_RUN || d->rec.owner != o->me || d->rec.to != d->job_to) {
		own_out_clear(o, d);
		return true;
	}
	if (d->busy || d->unsure)
		return false;
	out->done = true;
	d->worker = true;
	d->job_attempt = d->rec.epoch;
	o->ops->act(o->arg, d, OWN_DO_MOVE, d->rec.epoch);
	return true;
}

static bool rule_claim_counts(struct own *o, struct own_dom *d)
{
	struct own_out *out = &d->outs[o->self];

	if (out->type != OWN_M_CLAIM || out->done)
		return false;
	/* given up, or another record came after it, in which case it never counts: the report says that nothing is held */
	if (d->job != OWN_J_START || d->rec.epoch > out->epoch) {
		own_out_clear(o, d);
		return true;
	}
	if (!own_counts(o, out))
		return false;
	if (d->copy == OWN_NONE && d->rec.epoch == out->epoch && d->rec.owner == o->me) {
		if (!own_can_act(o, d))
			return false;
		out->done = true;
		if (o->ops->grant(o->arg, d->uuid, out->epoch)) {
			own_job_end(o, d, -EIO, "cannot write the grant below the run directory");
			return true;
		}
		d->creating = out->epoch;
		own_act(o, d, OWN_DO_CREATE, out->epoch);
		return true;
	}
	own_out_clear(o, d);	/* another record came after it */
	return true;
}

static bool rule_other_counts(struct own *o, struct own_dom *d)
{
	struct own_out *out = &d->outs[o->self];

	if ((out->type != OWN_M_RUNNING && out->type != OWN_M_RELEASE) || out->done)
		return false;
	if (out->type == OWN_M_RELEASE && d->rec.epoch > out->epoch) {
		own_out_clear(o, d);	/* another record came after it: it is not waited for, it would hold up all that follows */
		return true;
	}
	if (!own_counts(o, out))
		return false;
	out->done = true;
	return true;
}

/* --- the owner's records ------------------------------------------------------------------------------------------- */

/* The owner runs, an intent stands, no worker: the move is off. */
static bool rule_abort(struct own *o, struct own_dom *d)
{
	if (!own_runs(d) || d->rec.owner != o->me || !d->rec.to || d->worker || !own_idle(o, d) || !own_synced(o))
		return false;
	if (d->abort_sent == d->rec.epoch || d->unsure)
		return false;
	if (!d->fresh)
		return own_refresh(o, d);
	d->abort_sent = d->rec.epoch;
	own_record_send(o, d, OWN_M_ABORT, d->rec.epoch, &d->rec, NULL);
	return true;
}

/* Whoever runs and is not what the record says announces it, one epoch higher. */
static bool rule_announce(struct own *o, struct own_dom *d)
{
	struct own_out *out = &d->outs[o->self];
	struct own_record rec = d->rec;

	if (out->type == OWN_M_RUNNING && !out->done && (d->contradicted || d->rec.epoch > out->epoch)) {
		own_out_clear(o, d);	/* it cannot count: another record of that epoch stands somewhere */
		return true;
	}
	if (!own_runs(d) || d->landing || d->worker || !own_idle(o, d) || !own_synced(o) || d->unsure)
		return false;
	if (d->rec.owner == o->me && !d->contradicted)
		return false;
	if (!d->fresh)
		return own_refresh(o, d);
	rec.owner = o->me;
	rec.to = 0;
	rec.domid = d->copy_domid;
	d->contradicted = false;	/* what contradicts this one too says so again */
	own_record_send(o, d, OWN_M_RUNNING, d->rec.epoch + 1, &rec, NULL);
	return true;
}

/* The recorded owner holds nothing: the domain stopped. In mid-move, too, once worker and job are over and nobody holds what came. */
static bool rule_release(struct own *o, struct own_dom *d)
{
	struct own_record rec = d->rec;

	if (d->rec.owner != o->me || own_holds(d) || d->busy || d->unsure || !o->known)
		return false;
	if (d->rec.to && (d->worker || d->job == OWN_J_MIGRATE))
		return false;
	if (!own_idle(o, d) || !own_synced(o) || !o->quorate || d->job == OWN_J_START)
		return false;
	if (d->hold)		/* whoever holds a copy has more to say about it */
		return false;
	rec.owner = rec.to = 0;
	own_record_send(o, d, OWN_M_RELEASE, d->rec.epoch + 1, &rec, NULL);
	return true;
}

/* --- a handed copy ------------------------------------------------------------------------------------------------- */

static bool own_target_running_counts(const struct own *o, const struct own_dom *d)
{
	int t = own_index(o, d->copy_target);
	const struct own_out *out = t < 0 ? NULL : &d->outs[t];

	return out && out->type == OWN_M_RUNNING && out->epoch > d->copy_attempt && own_counts(o, out);
}

static bool own_target_running_open(const struct own *o, const struct own_dom *d)
{
	int t = own_index(o, d->copy_target);
	const struct own_out *out = t < 0 ? NULL : &d->outs[t];

	return out && own_member(o, d->copy_target) && out->type == OWN_M_RUNNING && !own_counts(o, out);
}

static bool own_moved_on(const struct own *o, const struct own_dom *d)
{
	return d->rec.epoch > d->copy_attempt && d->rec.owner != o->me && own_synced(o) && o->quorate &&
	       !own_target_running_open(o, d);
}

/* Its guest runs at the target and still fetches pages from here. Who else became owner has no use for them. */
static bool own_serves(const struct own_dom *d)
{
	return d->copy_serves && d->rec.owner == d->copy_target;
}

static bool rule_handed(struct own *o, struct own_dom *d)
{
	struct own_msg ask = { .type = OWN_M_ASK, .epoch = d->copy_attempt, .whom = d->copy_target };

	if (d->copy != OWN_HANDED)
		return false;
	if (!d->verdict_drop && (((own_target_running_counts(o, d) || own_moved_on(o, d)) && !own_serves(d)) ||
				 own_is_fenced(o, d->copy_target)))
		d->verdict_drop = true;
	if (d->verdict_drop || d->verdict_resume) {
		if (!own_can_act(o, d))
			return false;
		if (d->verdict_drop)
			own_act(o, d, OWN_DO_DESTROY, OWN_BIT(OWN_HANDED));
		else
			own_act(o, d, OWN_DO_RESUME_HANDED, d->copy_attempt);
		return true;
	}
	if (d->asked || !o->view || !own_member(o, d->copy_target) || !o->told_full)
		return false;
	d->asked = true;
	memcpy(ask.uuid, d->uuid, sizeof(ask.uuid));
	own_send(o, &ask);
	return true;
}

/*
 * A guest that runs here while pages of it are on another node cannot do without that node: fenced, or back without a copy of it, the
 * pages are gone. hv-domain has the last word, since they may all have come meanwhile; the claim that follows is Pacemaker's.
 */
static bool rule_pages_lost(struct own *o, struct own_dom *d)
{
	int s = own_index(o, d->copy_source);
	uint64_t bit = s < 0 ? 0 : UINT64_C(1) << s;
	bool gone = s >= 0 && (own_is_fenced(o, d->copy_source) ||
			       (own_synced(o) && own_member(o, d->copy_source) && !(o->unknown & bit) && !(d->hold & bit)));

	if (!own_runs(d) || !d->copy_source || !gone || !own_can_act(o, d))
		return false;
	own_act(o, d, OWN_DO_PAGES_LOST, 0);
	return true;
}

/* --- the target ---------------------------------------------------------------------------------------------------- */

bool own_record_is(const struct own *o, const struct own_dom *d, uint64_t attempt)
{
	return d->rec.epoch == attempt && d->rec.to == o->me;
}

/* Link and worker: hv-domain sees their end itself. Here: the source left the membership, or the record moved on. */
static bool own_hopeless(const struct own *o, const struct own_dom *d, uint64_t attempt)
{
	if (!o->view)
		return false;
	if (own_synced(o) && !own_record_is(o, d, attempt))
		return true;
	return own_record_is(o, d, attempt) && !own_member(o, d->rec.owner);
}

static bool rule_give_up(struct own *o, struct own_dom *d)
{
	if (d->copy != OWN_INCOMING && d->copy != OWN_READY)
		return false;
	if (!own_can_act(o, d) || !own_hopeless(o, d, d->copy_attempt))
		return false;
	own_act(o, d, OWN_DO_DESTROY, OWN_BIT(OWN_INCOMING) | OWN_BIT(OWN_READY));
	return true;
}

static bool rule_take_back(struct own *o, struct own_dom *d)
{
	if (!d->accepted || d->accepted_over || !own_hopeless(o, d, d->accepted))
		return false;
	own_accept_gone(o, d->uuid, d->accepted);
	return !d->accepted || d->accepted_over;
}

/* --- courtesy ------------------------------------------------------------------------------------------------------ */

static bool rule_quorum_pause(struct own *o, struct own_dom *d)
{
	if (!o->view || !own_can_act(o, d))
		return false;
	if (o->pause_wanted && d->copy == OWN_RUN)
		own_act(o, d, OWN_DO_QPAUSE, 0);
	else if (!o->pause_wanted && d->copy == OWN_QPAUSE)
		own_act(o, d, OWN_DO_QRESUME, 0);
	else
		return false;
	return true;
}

/* --- jobs ---------------------------------------------------------------------------------------------------------- */

void own_job_end(struct own *o, struct own_dom *d, int rc, const char *text)
{
	enum own_job job = d->job;
	char *config = d->job_config;

	d->job = OWN_J_NONE;
	d->job_config = NULL;
	d->job_to = 0;
	if (!d->worker)
		d->job_attempt = 0;
	if (job != OWN_J_NONE)
		o->ops->job_done(o->arg, d, job, rc, text);
	free(config);
}

bool own_free_for(const struct own *o, const struct own_dom *d, int j)
{
	const struct own_node *n = &o->nodes[j];
	uint64_t bit = UINT64_C(1) << j;

	if (o->members & bit)
		return (o->reported & bit) && !((d->hold | o->unknown) & bit);
	return n->fenced >= n->seen || n->left >= n->seen;
}

static bool own_free_all(const struct own *o, const struct own_dom *d, bool claimed)
{
	for (int j = 0; j < o->n_nodes; j++)
		if (o->nodes[j].configured && !own_free_for(o, d, j) && !(claimed && j == o->self))
			return false;
	return true;
}

/* Could it be claimed now? claimed: from the claim on this node counts as a holder. */
static bool own_may_claim(const struct own *o, const struct own_dom *d, bool claimed)
{
	return o->known && o->hv_up && o->quorate && own_synced(o) && own_free_all(o, d, claimed);
}

/* One above all that were ever given out, else the lowest hole; 0: none is left. */
static uint32_t own_pick_domid(const struct own *o, const struct own_dom *d)
{
	bool used[OWN_DOMID_MAX + 1] = { false };
	uint32_t max = 0;

	for (const struct own_dom *e = o->doms; e; e = e->next) {
		bool live = e != d && (e->rec.owner || e->hold || own_holds(e));

		if (e->rec.domid > OWN_DOMID_MAX)
			continue;
		if (live)
			used[e->rec.domid] = true;
		if (live && e->copy_domid <= OWN_DOMID_MAX)
			used[e->copy_domid] = true;
		if (e->rec.domid > max)
			max = e->rec.domid;
		if (live && e->copy_domid > max && e->copy_domid <= OWN_DOMID_MAX)
			max = e->copy_domid;
	}
	if (max < OWN_DOMID_MAX)
		return max + 1;
	for (uint32_t id = 1; id <= OWN_DOMID_MAX; id++)
		if (!used[id])
			return id;
	return 0;
}

static bool rule_start(struct own *o, struct own_dom *d)
{
	struct own_record rec = d->job_rec;

	if (d->job != OWN_J_START || d->unsure || d->busy)
		return false;
	if (own_runs(d) || d->copy == OWN_PAUSED) {
		own_job_end(o, d, 0, "");
		return true;
	}
	if (own_holds(d) || !own_idle(o, d) || d->backoff)
		return false;
	if (d->job_from && d->rec.epoch != d->job_from) {
		own_job_end(o, d, -ESTALE, "the domain was started since it was saved: its disks have moved on; restore with --force when they have not");
		return true;
	}
	if (!own_may_claim(o, d, false))
		return false;
	rec.owner = o->me;
	rec.to = 0;
	if (!rec.domid)		/* a saved guest knows itself by its number */
		rec.domid = own_pick_domid(o, d);
	own_record_send(o, d, OWN_M_CLAIM, d->rec.epoch + 1, &rec, d->job_config);
	return true;
}

/*
 * A running move is ended by its worker first (own_cancel); a copy that has left its hands is destroyed like any other. But for one whose
 * guest runs at a target that still fetches its memory: that is the target's now, and nothing of it runs here.
 */
static bool rule_stop(struct own *o, struct own_dom *d)
{
	if (d->job != OWN_J_STOP || !own_can_act(o, d))
		return false;
	if (d->accepted && !d->accepted_over) {
		own_accept_gone(o, d->uuid, d->accepted);
		return true;
	}
	if (d->copy == OWN_HANDED && d->copy_serves && own_member(o, d->copy_target)) {
		if (!own_serves(d))
			return false;		/* as good as decided: by the target's RUNNING, or by its promise */
		own_job_end(o, d, 0, "");
		return true;
	}
	/* one that is being handed over at this very moment is looked at again first */
	if (d->copy != OWN_NONE) {
		own_act(o, d, OWN_DO_DESTROY, d->copy == OWN_HANDED ? OWN_BIT(OWN_HANDED) : OWN_ANY_BUT_HANDED);
		return true;
	}
	if (own_holds(d))
		return false;
	/* Gone is gone: the release is the record's matter and needs a quorum. */
	if (d->rec.owner == o->me && (!d->rec.to || (!d->worker && !d->hold)) && o->quorate && own_synced(o))
		return false;
	own_job_end(o, d, 0, "");
	return true;
}

static bool own_may_begin(const struct own *o, const struct own_dom *d)
{
	return d->copy == OWN_RUN && d->rec.owner == o->me && !d->rec.to && o->quorate && own_synced(o) && !d->unsure && !d->busy && !d->contradicted;
}

/*
 * A CLAIM or a BEGIN that nobody could write, its own sender neither, is said again as it was, while it would still be made. Who could write it
 * after all has it already; where another record came in its place it is refused, as if it had been on its way that long.
 */
bool own_unwritten(const struct own *o, const struct own_dom *d, const struct own_out *out, struct own_record *rec)
{
	if (d->rec.epoch + 1 != out->epoch)
		return false;
	if (out->type == OWN_M_CLAIM && own_may_claim(o, d, true)) {
		*rec = d->job_rec;
		rec->to = 0;
		rec->domid = d->claim_domid;
	} else if (out->type == OWN_M_BEGIN && d->job == OWN_J_MIGRATE && own_member(o, d->job_to) && own_may_begin(o, d)) {
		*rec = d->rec;
		rec->to = d->job_to;
	} else {
		return false;
	}
	rec->owner = o->me;
	return true;
}

/*
 * Refused when it came, it would have been withdrawn then; but the disk took nothing, and it went by unseen. With another record of its epoch on the
 * disk it never counts. A claim that somebody else's stands in the way of is off as well: two that nobody wrote would wait for each other.
 */
bool own_withdraw(const struct own *o, struct own_dom *d)
{
	const struct own_out *out = &d->outs[o->self];
	uint32_t owner = out->type == OWN_M_RELEASE ? 0 : o->me, to = out->type == OWN_M_BEGIN ? d->job_to : 0;
	bool beaten = d->rec.epoch == out->epoch && (d->rec.owner != owner || d->rec.to != to);
	bool barred = out->type == OWN_M_CLAIM && d->rec.epoch < out->epoch && !own_may_claim(o, d, true);

	if (out->type == OWN_M_NONE || out->done || !(beaten || barred))
		return false;
	own_out_clear(o, d);
	d->told = false;
	return true;
}

static bool rule_migrate(struct own *o, struct own_dom *d)
{
	struct own_record rec = d->rec;

	if (d->job != OWN_J_MIGRATE || d->job_attempt || d->worker)
		return false;
	if (!own_runs(d) && d->copy != OWN_PAUSED) {
		own_job_end(o, d, -ENOENT, "the domain no longer runs here");
		return true;
	}
	if (!o->view)
		return false;
	if (!own_member(o, d->job_to)) {
		own_job_end(o, d, -EHOSTDOWN, "the target left the cluster");
		return true;
	}
	if (!own_idle(o, d) || !own_may_begin(o, d))
		return false;
	rec.to = d->job_to;
	own_record_send(o, d, OWN_M_BEGIN, d->rec.epoch + 1, &rec, NULL);
	return true;
}

/* The target has reported that it holds nothing (or is out and fenced). */
static bool own_target_empty(const struct own *o, const struct own_dom *d, uint32_t to)
{
	for (int j = 0; j < o->n_nodes; j++)
		if (o->nodes[j].id == to)
			return own_free_for(o, d, j);
	return false;
}

static bool rule_migrate_ends(struct own *o, struct own_dom *d)
{
	uint32_t to = d->job_to;

	if (d->job != OWN_J_MIGRATE || !d->job_attempt)
		return false;
	/* Pacemaker fences nobody while an agent's action runs: who waits for that fencing must not keep it from happening. */
	if ((d->copy == OWN_HANDED || d->copy == OWN_NONE) && o->view && !own_member(o, to)) {
		own_job_end(o, d, -EHOSTDOWN, d->copy == OWN_HANDED ?
			    "the target left the cluster after the hand-over; the copy here waits until it is back or fenced" :
			    "the target left the cluster after it had taken over; the domain is started afresh when it is fenced");
		return true;
	}
	if (d->worker || d->busy || d->unsure)
		return false;
	if (own_runs(d)) {
		own_job_end(o, d, d->job_rc ? d->job_rc : -EIO,
			    *d->job_text ? d->job_text : "the target gave the domain back; it runs here");
		return true;
	}
	if (d->copy != OWN_NONE)
		return false;
	if (d->rec.epoch > d->job_attempt && d->rec.owner == to)
		own_job_end(o, d, 0, "");
	else if (own_is_fenced(o, to))
		own_job_end(o, d, -EHOSTDOWN, "the target was fenced after it had taken over; the cluster starts the domain afresh");
	else if (d->rec.epoch > d->job_attempt && d->rec.owner != o->me)
		own_job_end(o, d, -ESTALE, "the domain moved on to another node meanwhile");
	else if (own_synced(o) && own_target_empty(o, d, to))
		own_job_end(o, d, -EIO, "the domain ended here before the target had it; the cluster starts it afresh");
	else
		return false;
	return true;
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

static bool (*const own_rules[])(struct own *, struct own_dom *) = {
	rule_look, rule_quorum_pause, rule_move_over, rule_take_back, rule_begin_counts, rule_claim_counts, rule_other_counts, rule_handed, rule_pages_lost,
	rule_give_up, rule_stop, rule_migrate_ends, rule_abort, rule_announce, rule_start, rule_migrate,
	rule_release, rule_report_one, rule_want_config,
};

static bool own_run_domain(struct own *o, struct own_dom *d)
{
	for (size_t i = 0; i < sizeof(own_rules) / sizeof(own_rules[0]); i++)
		if (own_rules[i](o, d))
			return true;
	return false;
}

static bool own_pass(struct own *o)
{
	bool moved = rule_report_all(o);

	for (struct own_dom *d = o->doms; d; d = d->next)
		moved |= own_run_domain(o, d);
	return moved;
}

/* Rules end by themselves: each either waits for an input or makes its own condition false. The bound is for our bugs. */
void own_run(struct own *o)
{
	int left = 10000;

	if (o->running) {
		o->again = true;
		return;
	}
	if (o->leaving)
		return;
	o->running = true;
	do {
		o->again = false;
		while (own_pass(o))
			assert(--left > 0);
	} while (o->again);
	o->running = false;
	own_assert_state(o);
}
