/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients that wait: what they wait for, how long, and what they are told. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qb/qbutil.h>

#include "ha-agent/agentd.h"
#include "lib/log.h"

#define HANDED_NS (10 * QB_TIME_NS_IN_SEC)	/* how long a stop lets a copy in the other node's hands be decided */

#define ELSEWHERE_NS (10 * QB_TIME_NS_IN_SEC)	/* how long a start lets another node's running copy end: a stop there may be under way */

static void wait_unlink(struct agentd *a, struct wait *w)
{
	struct wait **p = &a->waits;

	while (*p && *p != w)
		p = &(*p)->next;
	if (*p)
		*p = w->next;
}

static void wait_free(struct agentd *a, struct wait *w)
{
	wait_unlink(a, w);
	if (w->timer)
		qb_loop_timer_del(a->loop, w->timer);
	if (w->look)
		qb_loop_timer_del(a->loop, w->look);
	json_decref(w->options);
	free(w);
}

struct wait *wait_find(struct agentd *a, enum wait_kind kind, const char *uuid)
{
	struct wait *w;

	for (w = a->waits; w && !(w->kind == kind && !strcmp(w->uuid, uuid)); w = w->next)
		;
	return w;
}

static struct agentd *the_agentd;	/* timers carry one pointer */

static void wait_force(struct agentd *a, struct wait *w)
{
	char text[OWN_TEXT_LEN];

	w->forced = true;
	if (own_stop(a->own, w->uuid, text) == -ENOENT) {
		msg_reply(w->call, NULL);
		wait_free(a, w);
	}
}

static void wait_timeout(void *data)
{
	struct wait *w = data;
	struct agentd *a = the_agentd;
	struct own_dom *d = own_find(a->own, w->uuid);
	char text[OWN_TEXT_LEN] = "";

	w->timer = 0;
	if (w->kind == WAIT_STOP) {
		wait_force(a, w);
		return;
	}
	if (d)
		own_obstacle(a->own, d, text);
	if (w->kind == WAIT_START) {
		msg_error(w->call, -ETIMEDOUT, "%s is not started: %s", d ? d->job_rec.name : w->uuid,
			  *text ? text : "hypervisord is still building it");
		w->call = NULL;
		if (own_cancel(a->own, w->uuid, "timed out") == 0)
			return;		/* the job's end has freed it */
	} else if (w->kind == WAIT_IN) {
		msg_error(w->call, -ETIMEDOUT, "%s has not arrived here: %s%s", d ? d->rec.name : w->uuid,
			  d && d->copy_source ? "it runs, but pages of it are still on " : d && d->copy != OWN_NONE ? own_copy_name(d->copy) :
			  "no copy of it is here", d && d->copy_source ? own_node_name(a->own, d->copy_source) : "");
	} else {
		move_cancel(a, w->uuid, "it took longer than the time-out", false);
		return;		/* the job's end answers */
	}
	wait_free(a, w);
}

struct wait *wait_new(struct agentd *a, enum wait_kind kind, const char *uuid, struct msg_call *call, int64_t timeout_ms)
{
	struct wait *w = calloc(1, sizeof(*w));

	if (!w) {
		msg_error(call, -ENOMEM, "out of memory");
		return NULL;
	}
	the_agentd = a;
	w->kind = kind;
	w->call = call;
	snprintf(w->uuid, sizeof(w->uuid), "%s", uuid);
	w->next = a->waits;
	a->waits = w;
	if (timeout_ms >= 0)
		qb_loop_timer_add(a->loop, QB_LOOP_MED, (uint64_t)timeout_ms * QB_TIME_NS_IN_MSEC, w, wait_timeout, &w->timer);
	return w;
}

static void wait_look_elsewhere(void *data)
{
	struct wait *w = data;
	struct agentd *a = the_agentd;
	const struct own_dom *d = own_find(a->own, w->uuid);
	const char *node = d ? own_runs_on(a->own, d) : NULL;
	char text[OWN_TEXT_LEN];

	w->look = 0;
	if (!node)
		return;
	snprintf(text, sizeof(text), "%.100s runs on %.60s: nothing is started; haven cleanup makes Pacemaker look where it runs", d->job_rec.name, node);
	if (own_cancel(a->own, w->uuid, text) == 0)
		after_start_elsewhere(a, d);
}

void wait_watch_elsewhere(struct agentd *a, struct wait *w)
{
	if (qb_loop_timer_add(a->loop, QB_LOOP_MED, ELSEWHERE_NS, w, wait_look_elsewhere, &w->look))
		w->look = 0;
}

static json_t *wait_move_result(struct agentd *a, const struct own_dom *d)
{
	struct move *m = move_find(a, d->uuid);
	json_t *j = m && m->result ? json_deep_copy(m->result) : json_object();

	json_object_del(j, "ok");
	json_object_del(j, "error");
	json_object_del(j, "code");
	if (m)
		json_object_set_new(j, "target", json_string(m->target));
	return j;
}

static void wait_tell_move(struct agentd *a, const struct own_dom *d, int rc, const char *text, json_t *result)
{
	struct move *m = move_find(a, d->uuid);

	agentd_cluster_send(a, json_pack("{s:s,s:s,s:I,s:I,s:b,s:b,s:s,s:s,s:O}", "type", "x-moved", "uuid", d->uuid,
					 "attempt", (json_int_t)(m ? m->attempt : 0), "seq",
					 (json_int_t)(qb_util_nano_from_epoch_get() / QB_TIME_NS_IN_MSEC), "ok", rc == 0, "cancelled", m && m->by_operator,
					 "error", text, "target", m ? m->target : "", "result", result));
}

static enum wait_kind wait_kind_of(enum own_job job)
{
	return job == OWN_J_START ? WAIT_START : job == OWN_J_STOP ? WAIT_STOP : WAIT_MIGRATE;
}

void wait_job_done(struct agentd *a, struct own_dom *d, enum own_job job, int rc, const char *text)
{
	json_t *result = job == OWN_J_MIGRATE ? wait_move_result(a, d) : json_object();
	struct wait *w;

	if (rc)
		log_warn("%s (%s): %s", d->rec.name, d->uuid, text);
	if (job == OWN_J_START)
		restore_over(a, d, rc);
	if (job == OWN_J_START && rc == 0)
		json_object_set_new(result, "domid", json_integer(d->rec.domid));
	if (job == OWN_J_MIGRATE) {
		wait_tell_move(a, d, rc, text, result);
		after_move(a, d, rc);
	}
	while ((w = wait_find(a, wait_kind_of(job), d->uuid))) {
		if (w->call && rc)
			msg_reply_error_fields(w->call, rc, text, json_deep_copy(result));
		else if (w->call)
			msg_reply(w->call, json_deep_copy(result));
		wait_free(a, w);
	}
	json_decref(result);
}

/* --- stop: ask the guest, wait, then destroy ------------------------------------------------------------------------- */

static void wait_ask_guest(struct agentd *a, struct wait *w, const struct own_dom *d)
{
	w->asked_guest = true;
	(void)agentd_ask_hv(a, json_pack("{s:s,s:i}", "op", "shutdown", "domid", (int)d->copy_domid), NULL, NULL);
}

static void wait_settle_stop(struct agentd *a, struct wait *w)
{
	struct own_dom *d = own_find(a->own, w->uuid);

	if (w->forced)
		return;
	if (!d || d->copy == OWN_NONE || d->copy == OWN_INCOMING || d->copy == OWN_READY)
		wait_force(a, w);
	else if (d->copy == OWN_RUN && !w->asked_guest && !d->worker)
		wait_ask_guest(a, w, d);
	else if (d->copy == OWN_HANDED && d->copy_serves)
		return;		/* as long as it may, it gives the guest, which runs elsewhere, its memory */
	else if (d->copy == OWN_HANDED && !w->asked_guest) {
		w->asked_guest = true;
		if (w->timer)
			qb_loop_timer_del(a->loop, w->timer);
		qb_loop_timer_add(a->loop, QB_LOOP_MED, HANDED_NS, w, wait_timeout, &w->timer);
	}
}

/* Nothing of it is here and no move brings it: it ended after it had come. Pacemaker must not wait for the time-out to hear that. */
static bool wait_in_is_vain(const struct own *o, const struct own_dom *d)
{
	return d && o->known && o->hv_up && own_synced(o) && !own_holds(d) && !d->busy && !d->unsure && d->rec.to != o->me;
}

static void wait_settle_in(struct agentd *a, struct wait *w)
{
	struct own_dom *d = own_find(a->own, w->uuid);

	if (wait_in_is_vain(a->own, d)) {
		msg_error(w->call, -ENOENT, "%s is not here, and no move to here is under way: it ended, or runs elsewhere", d->rec.name);
		wait_free(a, w);
		return;
	}
	if (!d || (d->copy != OWN_RUN && d->copy != OWN_QPAUSE) || d->rec.owner != a->own->me || d->rec.to)
		return;
	if (d->outs[a->own->self].type == OWN_M_RUNNING && !d->outs[a->own->self].done)
		return;
	if (d->copy_source)		/* what still needs the node it came from has not arrived */
		return;
	msg_reply(w->call, json_pack("{s:i}", "domid", (int)d->copy_domid));
	wait_free(a, w);
}

void wait_settle(struct agentd *a)
{
	struct wait *w, *next;

	for (w = a->waits; w; w = next) {
		next = w->next;
		if (w->kind == WAIT_STOP)
			wait_settle_stop(a, w);
		else if (w->kind == WAIT_IN)
			wait_settle_in(a, w);
	}
}

/* A move whose client went away is ended (before GO); a start or stop goes on: its agent's time-out is Pacemaker's matter. */
void wait_client_gone(struct agentd *a, struct msg_client *client)
{
	struct wait *w;
	bool found;

	do {
		found = false;
		for (w = a->waits; w && !found; w = w->next) {
			if (w->kind != WAIT_MIGRATE || !w->call || msg_call_client(w->call) != client)
				continue;
			found = true;
			log_info("the client that moved %s went away: the move is cancelled", w->uuid);
			msg_error(w->call, -ECANCELED, "cancelled");
			w->call = NULL;
			move_cancel(a, w->uuid, "cancelled", false);
		}
	} while (found);
}
