/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A move's worker as ha-agentd sees it: one request to migrated, its progress told to clients and to the cluster. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <qb/qbutil.h>

#include "ha-agent/agentd.h"
#include "lib/conf.h"
#include "lib/log.h"

#define TELL_NS (400 * QB_TIME_NS_IN_MSEC)
/* migrated hears of a cancel by its socket's end; the copy is looked at only when it has had time to act on that */
#define CANCEL_NS (500 * QB_TIME_NS_IN_MSEC)

struct move *move_find(struct agentd *a, const char *uuid)
{
	struct move *m;

	for (m = a->moves; m && strcmp(m->uuid, uuid); m = m->next)
		;
	return m;
}

void move_forget(struct agentd *a, const char *uuid)
{
	for (struct move **p = &a->moves; *p; p = &(*p)->next) {
		struct move *m = *p;

		if (strcmp(m->uuid, uuid))
			continue;
		*p = m->next;
		remote_cancel(m->remote);
		if (m->timer)
			qb_loop_timer_del(a->loop, m->timer);
		json_decref(m->result);
		free(m);
		return;
	}
}

/* A message of Corosync's would cost the guest, which stands still, more than anybody could read of it. */
static bool in_pause(const json_t *progress)
{
	static const char *const phases[] = { "last-pages", "state", "ready", "handover", "activate" };
	const char *phase = json_string_value(json_object_get(progress, "phase"));

	for (size_t i = 0; phase && i < sizeof(phases) / sizeof(phases[0]); i++)
		if (!strcmp(phase, phases[i]))
			return true;
	return false;
}

static void move_tell(struct move *m, const json_t *progress)
{
	struct wait *w = wait_find(m->a, WAIT_MIGRATE, m->uuid);
	uint64_t now = qb_util_nano_current_get();

	if (w)
		msg_progress(w->call, json_deep_copy(progress));
	if (now - m->told_ns < TELL_NS || in_pause(progress))
		return;
	m->told_ns = now;
	agentd_cluster_send(m->a, json_pack("{s:s,s:s,s:I,s:s,s:O}", "type", "x-progress", "uuid", m->uuid,
					    "attempt", (json_int_t)m->attempt, "target", m->target, "progress", progress));
}

static void move_progress(void *arg, const json_t *progress)
{
	struct move *m = arg;
	json_t *copy = json_deep_copy(progress);

	move_tell(m, copy);
	json_decref(copy);
}

static void move_done(void *arg, int rc, const json_t *reply, const char *text)
{
	struct move *m = arg;

	m->remote = NULL;
	m->over = true;
	m->result = reply ? json_deep_copy(reply) : NULL;
	if (rc == -ENOTCONN)
		text = "migrated does not run on this node; start it";
	if (rc)
		log_warn("move of %s to %s, attempt %llu: %s", m->uuid, m->target, (unsigned long long)m->attempt, text);
	own_move_done(m->a->own, m->uuid, m->attempt, rc, text);
	agentd_settle_later(m->a);
}

static void move_cancelled(void *arg)
{
	struct move *m = arg;

	m->timer = 0;
	own_move_done(m->a->own, m->uuid, m->attempt, -ECANCELED, *m->why ? m->why : "cancelled; the domain runs on where it was");
	agentd_settle_later(m->a);
}

/* What the node told; else Corosync's address of it. */
void move_set_address(struct agentd *a, const char *node, json_t *request)
{
	const struct corolink_node *n = agentd_node(a, node);
	json_t *told = json_object_get(json_object_get(a->offers, node), "addresses");
	const char *first = json_string_value(json_array_get(told, 0));
	struct conf *conf = NULL;

	(void)conf_load("haven.conf", &conf, NULL);
	json_object_set_new(request, "address", json_string(first ? first : n ? n->address : ""));
	json_object_set_new(request, "port", json_integer(conf_get_int(conf, "migration_port", 8002)));
	if (first)
		json_object_set(request, "addresses", told);
	conf_free(conf);
}

static json_t *move_request(struct agentd *a, const struct own_dom *d, const struct move *m, const struct wait *w)
{
	json_t *j, *options;

	j = json_pack("{s:s,s:s,s:i,s:I,s:s}", "op", "move", "uuid", d->uuid, "domid", (int)d->copy_domid, "attempt",
		      (json_int_t)m->attempt, "target", m->target);
	move_set_address(a, m->target, j);
	options = w && w->options ? json_deep_copy(w->options) : json_object();
	json_object_update(options, json_object_get(a->policies, d->uuid));      /* the command's word before the resource's */
	json_object_set_new(j, "options", options);
	return j;
}

void move_start(struct agentd *a, struct own_dom *d, uint64_t attempt)
{
	struct move *m;

	move_forget(a, d->uuid);
	m = calloc(1, sizeof(*m));
	if (!m)
		return;		/* no worker: the client's time-out ends it, and the intent with it */
	m->a = a;
	m->attempt = attempt;
	memcpy(m->uuid, d->uuid, sizeof(m->uuid));
	strncpy(m->target, own_node_name(a->own, d->rec.to), sizeof(m->target) - 1);
	m->next = a->moves;
	a->moves = m;
	log_info("moving %s (%s) to %s, attempt %llu", d->rec.name, d->uuid, m->target, (unsigned long long)attempt);
	m->remote = remote_call(a->loop, "migrated.sock", move_request(a, d, m, wait_find(a, WAIT_MIGRATE, d->uuid)), move_progress,
				move_done, m);
}

void move_cancel(struct agentd *a, const char *uuid, const char *why, bool by_operator)
{
	struct move *m = move_find(a, uuid);

	if (m)
		m->by_operator = by_operator;
	if (m && !by_operator)
		snprintf(m->why, sizeof(m->why), "%s", why);
	if (own_cancel(a->own, uuid, why) != -EBUSY || !m || m->over)
		return;
	remote_cancel(m->remote);
	m->remote = NULL;
	m->over = true;
	qb_loop_timer_add(a->loop, QB_LOOP_MED, CANCEL_NS, m, move_cancelled, &m->timer);
}

/*
 * Its worker would find out by itself, after the stream's silence; until then Pacemaker fences nobody, so the guests of the lost node
 * would wait for it too. After the mark this changes nothing: see rule_migrate_ends().
 */
void move_cancel_lost(struct agentd *a)
{
	for (struct move *m = a->moves; m; m = m->next) {
		const struct own_node *n = own_node_by_name(a->own, m->target);

		if (m->over || !m->remote || !n || own_member(a->own, n->id))
			continue;
		log_info("%s left the cluster: the move of %s to it is cancelled", m->target, m->uuid);
		move_cancel(a, m->uuid, "the target left the cluster", false);
	}
}
