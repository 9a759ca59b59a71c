/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ha-agentd - who owns which domain.
 *
 * Holds: the ownership directory (ownership.c, on disk below /var/lib/haven/directory), connections to Corosync (CPG, quorum,
 * cmap), pacemaker-fenced, hypervisord and, per move, migrated.
 * Hears: /run/haven/ha-agentd.sock (root; read-only ops anybody): the OCF agent, `haven`, xl, migrated's workers; the CPG group
 * "haven"; hypervisord's events; fencing notices.
 * May do: have hypervisord create, destroy, pause for quorum and resume handed copies of this node, make and take back grants
 * (lib/grant.h), and end Haven's own location constraints. It never reads guest memory and opens no network socket.
 * Its end disturbs nothing: copies keep their states in hv-domain, records are on disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <qb/qbutil.h>

#include "ha-agent/agentd.h"
#include "ha-agent/own_codec.h"
#include "lib/conf.h"
#include "lib/daemon.h"
#include "lib/deadlines.h"
#include "lib/grant.h"
#include "lib/log.h"
#include "lib/paths.h"

#define TICK_NS (2 * QB_TIME_NS_IN_SEC)
#define GOODBYE_NS (300 * QB_TIME_NS_IN_MSEC)
#define ACT_NS(dl) ((uint64_t)deadline(dl) * QB_TIME_NS_IN_MSEC)
#define ACT_RESTORE_NS (20 * 60 * QB_TIME_NS_IN_SEC)	/* a file is read twice */
#define BOOT_OF(incarnation) ((incarnation) >> 20)

/* --- looking again --------------------------------------------------------------------------------------------------- */

static void agentd_mark_boots(struct agentd *a)
{
	const struct own *o = a->own;

	for (int i = 0; i < o->n_nodes; i++) {
		uint64_t bit = UINT64_C(1) << i, boot = BOOT_OF(o->nodes[i].seen);

		if (o->nodes[i].id == o->me)
			continue;
		if (a->boots[i] && boot != a->boots[i])
			fence_watch_mark(a->fences, o->nodes[i].name, true);
		else if ((o->members & bit) && !(a->members & bit))
			fence_watch_mark(a->fences, o->nodes[i].name, false);
		a->boots[i] = boot;
	}
	a->members = o->members;
}

/* Its OCF agent was told nothing but the end of its connection: the failure is told, and cleared, when the intent ends. */
static void agentd_settle_orphans(struct agentd *a)
{
	for (struct own_dom *d = a->own->doms; d; d = d->next) {
		if (!d->orphan || d->rec.to)
			continue;
		d->orphan = false;
		if (d->rec.owner == a->own->me)
			wait_job_done(a, d, OWN_J_MIGRATE, -ECONNRESET, "ha-agentd was started again during the move");
	}
}

static void agentd_settle(void *data)
{
	struct agentd *a = data;

	a->settling = false;
	if (!a->own)
		return;
	agentd_mark_boots(a);
	agentd_settle_orphans(a);
	wait_settle(a);
}

void agentd_settle_later(struct agentd *a)
{
	if (a->settling)
		return;
	a->settling = true;
	qb_loop_job_add(a->loop, QB_LOOP_HIGH, a, agentd_settle);
}

/* --- hypervisord ----------------------------------------------------------------------------------------------------- */

int agentd_ask_hv(struct agentd *a, json_t *request, msg_peer_reply_fn reply, void *arg)
{
	if (!a->hv || !msg_peer_connected(a->hv)) {
		json_decref(request);
		return -ENOTCONN;
	}
	return msg_peer_call(a->hv, request, NULL, 0, reply, arg);
}

static void agentd_note_pages(struct agentd *a, const char *uuid, const json_t *pages)
{
	if (json_is_object(pages))
		json_object_set(a->pages, uuid, (json_t *)(uintptr_t)pages);
	else
		json_object_del(a->pages, uuid);
}

/* A domain object of hypervisord's; false: it names no uuid. */
static bool agentd_parse_local(struct agentd *a, const json_t *j, struct own_local *l)
{
	const char *uuid = json_string_value(json_object_get(j, "uuid")), *name = json_string_value(json_object_get(j, "name"));
	const char *target = json_string_value(json_object_get(j, "target"));
	const char *source = json_string_value(json_object_get(json_object_get(j, "pages"), "from"));
	const struct own_node *n = target && *target ? own_node_by_name(a->own, target) : NULL;

	memset(l, 0, sizeof(*l));
	if (!uuid || strlen(uuid) >= sizeof(l->uuid))
		return false;
	memcpy(l->uuid, uuid, strlen(uuid) + 1);
	l->copy = own_copy_from_name(json_string_value(json_object_get(j, "copy")));
	l->attempt = (uint64_t)json_integer_value(json_object_get(j, "attempt"));
	l->domid = (uint32_t)json_integer_value(json_object_get(j, "domid"));
	l->target = n ? n->id : 0;
	l->serves = l->copy == OWN_HANDED && json_is_object(json_object_get(j, "serves"));
	n = own_node_by_name(a->own, source ? source : "");
	l->source = n ? n->id : 0;
	strncpy(l->name, name ? name : "", sizeof(l->name) - 1);
	agentd_note_pages(a, l->uuid, json_object_get(j, "pages"));
	return true;
}

static void agentd_on_list(int rc, const json_t *reply, int *fds, int nfds, void *arg)
{
	struct agentd *a = arg;
	const json_t *list = json_object_get(reply, "domains"), *v;
	struct own_local *locals;
	size_t i, n = 0;

	if (rc || !json_is_array(list)) {
		if (rc != -ECONNRESET)
			log_err("hypervisord does not list its domains; nothing starts or moves here until it does");
		return;
	}
	locals = calloc(json_array_size(list) + 1, sizeof(*locals));
	if (!locals)
		return;
	for (struct own_dom *d = a->own->doms; d && !a->own->known; d = d->next)
		d->orphan = d->rec.to && d->rec.owner == a->own->me;
	json_array_foreach(list, i, v)
		if (agentd_parse_local(a, v, &locals[n]))
			n++;
	own_locals(a->own, locals, n);
	free(locals);
	agentd_settle_later(a);
}

/*
 * Grants of a former process end before the list is made, so that nothing can begin that is not in it. Within this
 * process's life the grants it made stay: the protocol counts them as held.
 */
static void agentd_list_hv(struct agentd *a)
{
	int rc;

	if (!a->own || !a->hv || !msg_peer_connected(a->hv))
		return;
	if (!a->own->known) {
		rc = grant_revoke_all();
		if (rc) {
			log_err("%s/grant: cannot be emptied: %s", path_run(), strerror(-rc));
			return;
		}
	}
	(void)agentd_ask_hv(a, json_pack("{s:s}", "op", "list"), agentd_on_list, a);
}

static void agentd_hv_up(struct msg_peer *p, void *arg)
{
	struct agentd *a = arg;

	(void)agentd_ask_hv(a, json_pack("{s:s}", "op", "subscribe"), NULL, NULL);
	agentd_list_hv(a);
	after_view(a);
}

static void agentd_hv_down(struct msg_peer *p, void *arg)
{
	struct agentd *a = arg;

	if (a->own)
		own_hypervisor(a->own, false);
}

static void agentd_look(void *data)
{
	struct agentd *a = data;

	a->look = 0;
	if (!a->ending)
		own_look(a->own);
	agentd_settle_later(a);
}

/* The sooner of what is asked for. */
static void agentd_look_in(struct agentd *a, unsigned ms)
{
	uint64_t at = qb_util_nano_current_get() + ms * QB_TIME_NS_IN_MSEC;

	if (!ms || (a->look && a->look_ns <= at))
		return;
	if (a->look)
		qb_loop_timer_del(a->loop, a->look);
	a->look = 0;
	a->look_ns = at;
	qb_loop_timer_add(a->loop, QB_LOOP_HIGH, ms * QB_TIME_NS_IN_MSEC, a, agentd_look, &a->look);
}

static void agentd_hv_event(struct msg_peer *p, const json_t *event, void *arg)
{
	struct agentd *a = arg;
	const char *name = json_string_value(json_object_get(event, "event"));
	const json_t *dom = json_object_get(event, "domain");
	struct own_local l;

	if (!a->own || !name || !agentd_parse_local(a, json_is_object(dom) ? dom : event, &l))
		return;
	if (!a->own->known) {
		own_nudge(a->own, l.uuid);	/* younger than the list that is on its way */
		return;
	}
	if (!strcmp(name, "domain-destroyed"))
		l.copy = OWN_NONE;
	else if (strcmp(name, "domain-created") && strcmp(name, "domain-changed"))
		return;
	agentd_look_in(a, own_local(a->own, &l));
	agentd_settle_later(a);
}

/* The first connection, or another in place of one that hangs; what was asked on that fails with ECONNRESET. */
static int agentd_connect_hv(struct agentd *a)
{
	if (a->hv) {
		agentd_hv_down(a->hv, a);
		msg_peer_free(a->hv);
	}
	a->hv = NULL;
	return msg_peer_new(a->loop, "hypervisord.sock", agentd_hv_up, agentd_hv_down, agentd_hv_event, a, &a->hv);
}

/* --- actions --------------------------------------------------------------------------------------------------------- */

struct act {
	struct act *next;
	struct agentd *a;
	char uuid[OWN_UUID_LEN];
	enum own_action action;
	int rc;
	uint64_t since_ns;
	struct remote *remote;		/* create, destroy */
};

static void act_end(struct act *t, int rc, uint64_t number, bool known, const char *text)
{
	struct act **p = &t->a->acts;

	while (*p && *p != t)
		p = &(*p)->next;
	if (*p)
		*p = t->next;
	own_action_done(t->a->own, t->uuid, t->action, rc, number, known, text);
	agentd_settle_later(t->a);
	free(t);
}

/* What is asked over the one connection is answered in order: behind a resume, which opens disks again, or an end, all of it takes as long. */
static uint64_t act_limit(const struct agentd *a)
{
	for (const struct act *t = a->acts; t; t = t->next)
		if (!t->remote && (t->action == OWN_DO_RESUME_HANDED || t->action == OWN_DO_PAGES_LOST))
			return ACT_NS(DL_ACT_LONG);
	return ACT_NS(DL_ACT_SHORT);
}

/*
 * hypervisord answers, or it hangs. What is not answered in time is asked again on a new connection; nothing is concluded from
 * the silence but that the copy has to be looked at.
 */
static void act_watch(struct agentd *a)
{
	uint64_t now = qb_util_nano_current_get(), limit = act_limit(a);
	bool stuck = false;
	struct act *t, *next;

	for (t = a->acts; t; t = next) {
		next = t->next;
		if (t->remote && now - t->since_ns > (restore_find(a, t->uuid) ? ACT_RESTORE_NS : ACT_NS(DL_ACT_LONG))) {
			log_warn("hypervisord does not answer for %s; it is asked again", t->uuid);
			remote_cancel(t->remote);
			act_end(t, -ECONNRESET, 0, false, "hypervisord does not answer");
			next = a->acts;
		} else if (!t->remote && now - t->since_ns > limit) {
			stuck = true;
		}
	}
	if (stuck) {
		log_warn("hypervisord does not answer; connecting anew");
		agentd_connect_hv(a);
	}
}

static void act_failed(void *data)
{
	struct act *t = data;

	act_end(t, t->rc, 0, false, "hypervisord cannot be asked; start it");
}

static void act_fail_later(struct act *t, int rc)
{
	t->rc = rc == -ENOTCONN ? -ECONNRESET : rc;
	qb_loop_job_add(t->a->loop, QB_LOOP_HIGH, t, act_failed);
}

static void act_refreshed(int rc, const json_t *reply, int *fds, int nfds, void *arg)
{
	struct act *t = arg;
	struct own_local l;

	if (rc == -ENOENT)
		rc = 0;
	else if (rc == 0 && !json_is_array(json_object_get(reply, "domains")))
		rc = -EIO;
	if (rc == 0) {
		if (!agentd_parse_local(t->a, json_array_get(json_object_get(reply, "domains"), 0), &l)) {
			memset(&l, 0, sizeof(l));
			memcpy(l.uuid, t->uuid, sizeof(l.uuid));
		}
		own_refreshed(t->a->own, &l);
	}
	act_end(t, rc, 0, false, "");
}

/*
 * The courtesy pause is worth what it takes from Corosync's word to the last vCPU's standing still, which hv-domain tells in this very
 * clock (CLOCK_MONOTONIC); until it is known here when it does not.
 */
static void act_tell_quorum(const struct act *t, const json_t *reply)
{
	const struct own_dom *d = own_find(t->a->own, t->uuid);
	json_int_t at = json_integer_value(json_object_get(reply, t->action == OWN_DO_QPAUSE ? "stopped_ns" : "runs_ns"));
	double ms = ((double)(at ? (uint64_t)at : qb_util_nano_current_get()) - (double)t->a->quorum_ns) / 1e6;

	log_info("%s (%s) %s, %.1f ms after corosync told of it", d ? d->rec.name : "?", t->uuid,
		 t->action == OWN_DO_QPAUSE ? "is paused: quorum is lost" : "runs on: quorum is back", ms);
}

static void act_replied(int rc, const json_t *reply, int *fds, int nfds, void *arg)
{
	struct act *t = arg;
	const json_t *known = json_object_get(reply, "known");

	if (rc == 0 && (t->action == OWN_DO_QPAUSE || t->action == OWN_DO_QRESUME))
		act_tell_quorum(t, reply);
	else if (rc && rc != -ECONNRESET && t->action == OWN_DO_RESUME_HANDED)
		log_warn("%s: its handed copy could not be let go on: %s", t->uuid, json_string_value(json_object_get(reply, "error")));
	act_end(t, rc, (uint64_t)json_integer_value(json_object_get(reply, "attempt")), !json_is_false(known),
		json_string_value(json_object_get(reply, "error")));
}

static void act_remote_done(void *arg, int rc, const json_t *reply, const char *text)
{
	act_end(arg, rc == -ENOTCONN ? -ECONNRESET : rc, 0, false, text);
}

static json_t *act_create(struct agentd *a, const struct own_dom *d, uint64_t claim)
{
	const struct wait *w = wait_find(a, WAIT_START, d->uuid);
	const struct restore *r = restore_find(a, d->uuid);
	json_t *config = d->config ? json_loads(d->config, 0, NULL) : NULL;

	if (r) {
		json_decref(config);
		return json_pack("{s:s,s:b,s:i,s:I}", "op", "restore", "paused", r->paused, "domid", (int)d->rec.domid, "claim",
				 (json_int_t)claim);
	}
	return json_pack("{s:s,s:o*,s:b,s:i,s:I}", "op", "create", "config", config, "paused", w && w->paused,
			 "domid", (int)d->rec.domid, "claim", (json_int_t)claim);
}

static json_t *act_destroy(const struct own_dom *d, uint64_t states)
{
	json_t *j = json_pack("{s:s,s:i}", "op", "destroy", "domid", (int)d->copy_domid), *list = json_array();

	for (int c = OWN_BUILDING; c <= OWN_DYING; c++)
		if (states & OWN_BIT(c))
			json_array_append_new(list, json_string(own_copy_name((enum own_copy)c)));
	if (states)
		json_object_set_new(j, "expect", list);
	else
		json_decref(list);
	return j;
}

static json_t *act_request(struct agentd *a, const struct own_dom *d, enum own_action action, uint64_t number)
{
	static const char *const ops[] = { [OWN_DO_QPAUSE] = "quorum-pause", [OWN_DO_QRESUME] = "quorum-resume" };

	switch (action) {
	case OWN_DO_CREATE:
		return act_create(a, d, number);
	case OWN_DO_DESTROY:
		return act_destroy(d, number);
	case OWN_DO_RESUME_HANDED:
		return json_pack("{s:s,s:i,s:I}", "op", "resume-handed", "domid", (int)d->copy_domid, "attempt", (json_int_t)number);
	case OWN_DO_QPAUSE:
	case OWN_DO_QRESUME:
		return json_pack("{s:s,s:i}", "op", ops[action], "domid", (int)d->copy_domid);
	case OWN_DO_PAGES_LOST:
		return json_pack("{s:s,s:s,s:s}", "op", "pages-lost", "uuid", d->uuid, "from", own_node_name(a->own, d->copy_source));
	case OWN_DO_ACTIVATED:
		return json_pack("{s:s,s:s}", "op", "activated", "uuid", d->uuid);
	default:
		return json_pack("{s:s,s:s}", "op", "list", "uuid", d->uuid);
	}
}

static void agentd_act(void *arg, struct own_dom *d, enum own_action action, uint64_t number)
{
	struct agentd *a = arg;
	const struct restore *saved = action == OWN_DO_CREATE ? restore_find(a, d->uuid) : NULL;
	struct act *t;
	json_t *request;
	int rc = 0;

	if (action == OWN_DO_MOVE) {
		move_start(a, d, number);
		return;
	}
	t = calloc(1, sizeof(*t));
	request = act_request(a, d, action, number);
	if (!t || !request)
		abort();	/* out of memory with an action owed: a restart takes it up again */
	t->a = a;
	t->action = action;
	t->since_ns = qb_util_nano_current_get();
	t->next = a->acts;
	a->acts = t;
	memcpy(t->uuid, d->uuid, sizeof(t->uuid));
	log_debug("%s: action %d, %llu", d->uuid, action, (unsigned long long)number);
	if (action == OWN_DO_DESTROY)
		log_info("destroying the copy of %s (%s) here, which is %s", d->rec.name, d->uuid, own_copy_name(d->copy));
	else if (action == OWN_DO_PAGES_LOST)
		log_err("%s (%s): pages of its memory were lost with %s; the copy here ends", d->rec.name, d->uuid,
			own_node_name(a->own, d->copy_source));
	else if (action == OWN_DO_RESUME_HANDED)
		log_info("the target of %s (%s) never ran it: it runs on here", d->rec.name, d->uuid);
	if (action == OWN_DO_CREATE || action == OWN_DO_DESTROY) {
		t->remote = remote_call_fd(a->loop, "hypervisord.sock", request, saved ? saved->fd : -1, NULL, act_remote_done, t);
		rc = t->remote ? 0 : -ENOMEM;
	} else {
		rc = agentd_ask_hv(a, request, action == OWN_DO_REFRESH ? act_refreshed : act_replied, t);
	}
	if (rc)
		act_fail_later(t, rc);
}

/* --- the protocol's other outputs ------------------------------------------------------------------------------------- */

static int agentd_persist(void *arg, const struct own_dom *d)
{
	log_debug("record of %s (%s): epoch %llu, owner %u, to %u, domid %u", d->rec.name, d->uuid, (unsigned long long)d->rec.epoch,
		  d->rec.owner, d->rec.to, d->rec.domid);
	return directory_save_domain(d);
}

static int agentd_persist_nodes(void *arg, const struct own *o)
{
	return directory_save_nodes(o);
}

static void agentd_send(void *arg, const struct own_msg *m)
{
	struct agentd *a = arg;
	json_t *j = own_msg_encode(m);

	log_debug("send %s %s epoch %llu", own_type_name(m->type), m->uuid, (unsigned long long)m->epoch);
	corolink_send(a->link, j ? json_dumps(j, JSON_COMPACT) : NULL);
	json_decref(j);
}

static int agentd_grant(void *arg, const char *uuid, uint64_t number)
{
	return grant_make(uuid, number);
}

static int agentd_revoke(void *arg, const char *uuid, uint64_t number)
{
	return grant_revoke(uuid, number);
}

static void agentd_job_done(void *arg, struct own_dom *d, enum own_job job, int rc, const char *text)
{
	wait_job_done(arg, d, job, rc, text);
}

static void agentd_changed(void *arg, struct own_dom *d)
{
	struct agentd *a = arg;

	agentd_settle_later(a);
	if (a->server)
		msg_event(a->server, json_pack("{s:s,s:s,s:s,s:s,s:I,s:s,s:s}", "event", "domain", "uuid", d->uuid, "name", d->rec.name,
					       "copy", own_copy_name(d->copy), "epoch", (json_int_t)d->rec.epoch,
					       "owner", own_node_name(a->own, d->rec.owner), "intent", own_node_name(a->own, d->rec.to)));
}

static const struct own_ops agentd_own_ops = {
	.persist = agentd_persist, .persist_nodes = agentd_persist_nodes, .send = agentd_send, .act = agentd_act,
	.grant = agentd_grant, .revoke = agentd_revoke, .job_done = agentd_job_done, .changed = agentd_changed,
};

/* --- the cluster ------------------------------------------------------------------------------------------------------ */

void agentd_cluster_send(struct agentd *a, json_t *j)
{
	corolink_send(a->link, j ? json_dumps(j, JSON_COMPACT) : NULL);
	json_decref(j);
}

const struct corolink_node *agentd_node(const struct agentd *a, const char *name)
{
	for (int i = 0; i < a->n_nodes; i++)
		if (!strcmp(a->nodes[i].name, name))
			return &a->nodes[i];
	return NULL;
}

static void agentd_fenced(void *arg, const char *node)
{
	struct agentd *a = arg;
	const struct own_node *n = a->own ? own_node_by_name(a->own, node) : NULL;

	log_info("%s was fenced", node);
	if (n)
		own_fenced(a->own, n->id);
	agentd_settle_later(a);
}

static void agentd_begin(struct agentd *a, uint32_t me)
{
	char path[PATH_MAX];
	struct err err;

	a->own = own_new(me, directory_incarnation(&a->dir), &agentd_own_ops, a);
	if (!a->own || directory_load(&a->dir, a->own, &err)) {
		log_err("%s", a->own ? err.text : "out of memory");
		exit(1);
	}
	if (path_join(path, sizeof(path), path_state(), "directory/fencings") == 0 &&
	    fence_watch_start(a->loop, path, a->dir.boot_id, agentd_fenced, a, &a->fences))
		log_err("fencings cannot be watched: domains of fenced nodes are not started until this process can");
}

static void agentd_on_nodes(void *arg, uint32_t me, const struct corolink_node *nodes, int n, const char *cluster)
{
	struct agentd *a = arg;
	const char *names[COROLINK_NODES];
	uint32_t ids[COROLINK_NODES];
	bool first = !a->own;

	memcpy(a->nodes, nodes, (size_t)n * sizeof(*nodes));
	a->n_nodes = n;
	strncpy(a->cluster, cluster, sizeof(a->cluster) - 1);
	for (int i = 0; i < n; i++) {
		ids[i] = a->nodes[i].id;
		names[i] = a->nodes[i].name;
	}
	if (first)
		agentd_begin(a, me);
	if (a->own->me != me) {
		log_err("this node's id changed from %u to %u; ha-agentd starts again", a->own->me, me);
		exit(1);
	}
	own_set_nodes(a->own, ids, names, n);
	if (first)
		agentd_list_hv(a);
	if (first)	/* what a command that died with the ha-agentd of before left */
		guard_cleanup("--abandon-from", own_node_name(a->own, me));
}

static void agentd_on_view(void *arg, uint64_t view, const uint32_t *members, int n)
{
	struct agentd *a = arg;
	uint64_t before = a->own->members;

	log_info("membership %016llx: %d of %d nodes", (unsigned long long)view, n, a->n_nodes);
	own_view(a->own, view, members, n);
	move_cancel_lost(a);
	/* What a `haven migrate` on a node that went away left behind, its members take away; the first of them does it. */
	for (int i = 0; i < a->own->n_nodes; i++)
		if ((before & ~a->own->members) & (UINT64_C(1) << i) && n > 0 && members[0] == a->own->me)
			guard_cleanup("--abandon-from", a->own->nodes[i].name);
	after_view(a);
	agentd_settle_later(a);
}

static void agentd_on_quorum(void *arg, bool group, bool node)
{
	struct agentd *a = arg;

	if (node != a->node_quorate)
		a->quorum_ns = qb_util_nano_current_get();
	a->node_quorate = node;
	if (group != a->own->quorate)
		log_info("%s", group ? "quorate" : "not quorate: nothing changes hands here");
	own_quorum(a->own, group, node);
	agentd_settle_later(a);
}

static void agentd_on_lost(void *arg)
{
	struct agentd *a = arg;

	if (a->own)
		own_view_lost(a->own);
}

static void agentd_policy(struct agentd *a, const char *uuid, json_t *options)
{
	if (json_is_object(options))
		json_object_set(a->policies, uuid, options);
	else
		json_object_del(a->policies, uuid);
}

/* The same for who subscribed: a move's progress, and its end. */
static void agentd_tell_move(struct agentd *a, const char *uuid, const char *type, const json_t *j)
{
	json_t *event;

	if (!a->server || (strcmp(type, "x-progress") && strcmp(type, "x-moved")))
		return;
	event = json_deep_copy(j);
	json_object_del(event, "type");
	json_object_del(event, "seq");
	json_object_set_new(event, "name", json_string(own_find(a->own, uuid)->rec.name));
	json_object_set_new(event, "event", json_string(strcmp(type, "x-moved") ? "move-progress" : "move-ended"));
	msg_event(a->server, event);
}

/* Progress and results for whoever asks any node; cancels. None of it decides anything. */
static void agentd_on_news(struct agentd *a, uint32_t from, const char *type, json_t *j)
{
	const char *uuid = json_string_value(json_object_get(j, "uuid"));

	if (!strcmp(type, "x-node")) {
		json_object_set_new(a->offers, own_node_name(a->own, from), json_pack("{s:I,s:I,s:O?}", "memory_mib",
				    json_integer_value(json_object_get(j, "memory_mib")), "vcpus",
				    json_integer_value(json_object_get(j, "vcpus")), "addresses", json_object_get(j, "addresses")));
		return;
	}
	if (!uuid || !own_find(a->own, uuid))
		return;
	if (!strcmp(type, "x-cancel")) {
		move_cancel(a, uuid, "cancelled", true);
	} else if (!strcmp(type, "x-policy")) {
		agentd_policy(a, uuid, json_object_get(j, "options"));
	} else {
		json_object_set_new(j, "from", json_string(own_node_name(a->own, from)));
		json_object_set(a->news, uuid, j);
		agentd_tell_move(a, uuid, type, j);
	}
}

static void agentd_on_message(void *arg, uint32_t from, const char *text)
{
	struct agentd *a = arg;
	json_t *j = json_loads(text, 0, NULL);
	const char *type = json_string_value(json_object_get(j, "type"));
	struct own_msg m;

	if (type && !strncmp(type, "x-", 2)) {
		agentd_on_news(a, from, type, j);
	} else if (own_msg_decode(j, &m) == 0) {
		m.from = from;
		log_debug("deliver %s of %u: %s epoch %llu", own_type_name(m.type), from, m.uuid, (unsigned long long)m.epoch);
		own_deliver(a->own, &m);
		own_msg_release(&m);
	} else {
		log_warn("node %u sent a message that is none of ours; is its Haven another version?", from);
	}
	json_decref(j);
	agentd_settle_later(a);
}

static const struct corolink_ops agentd_link_ops = {
	.nodes = agentd_on_nodes, .view = agentd_on_view, .quorum = agentd_on_quorum, .lost = agentd_on_lost,
	.deliver = agentd_on_message,
};

/* --- life ------------------------------------------------------------------------------------------------------------- */

static void agentd_tick(void *data)
{
	struct agentd *a = data;
	qb_loop_timer_handle timer;

	if (a->own && !a->ending) {
		act_watch(a);
		own_tick(a->own);
	}
	agentd_settle_later(a);
	qb_loop_timer_add(a->loop, QB_LOOP_LOW, TICK_NS, a, agentd_tick, &timer);
}

static void agentd_goodbye(void *data)
{
	struct agentd *a = data;

	corolink_stop(a->link);
	qb_loop_stop(a->loop);
}

/* A node that holds nothing says so as it goes: then it is in nobody's way while it is off. */
static void agentd_term(void *arg)
{
	struct agentd *a = arg;
	qb_loop_timer_handle timer;

	if (a->ending)
		return;
	a->ending = true;
	if (a->own && own_leave(a->own) == 0)
		qb_loop_timer_add(a->loop, QB_LOOP_HIGH, GOODBYE_NS, a, agentd_goodbye, &timer);
	else
		agentd_goodbye(a);
}

static int agentd_link(struct agentd *a)
{
	char host[128] = "localhost";

	if (conf_exists("cluster.conf") || access("/etc/corosync/corosync.conf", F_OK) == 0)
		return corolink_start(a->loop, &agentd_link_ops, a, &a->link);
	gethostname(host, sizeof(host) - 1);
	log_info("no cluster is configured: this node is alone");
	return corolink_alone(a->loop, host, &agentd_link_ops, a, &a->link);
}

/* Beside moves nobody keeps a record of, its rules would give their copies up. */
static bool agentd_is_idle(void)
{
	struct conf *conf = NULL;
	bool standalone;

	if (conf_exists("cluster.conf"))
		return false;
	(void)conf_load("haven.conf", &conf, NULL);
	standalone = !strcmp(conf_get(conf, "standalone", "no"), "yes");
	conf_free(conf);
	return standalone;
}

static int agentd_start(qb_loop_t *loop, void *arg, struct err *err)
{
	struct agentd *a = arg;
	qb_loop_timer_handle timer;
	int rc;

	a->loop = loop;
	if (agentd_is_idle()) {
		log_info("standalone = yes: moves between plain hosts go without a directory; nothing to do here");
		return 0;
	}
	a->news = json_object();
	a->pages = json_object();
	a->policies = json_object();
	a->offers = json_object();
	a->failures = json_object();
	a->unspent = json_object();
	if (!a->news || !a->pages || !a->policies || !a->offers || !a->failures || !a->unspent)
		return err_set(err, -ENOMEM, "out of memory");
	rc = directory_open(&a->dir, err);
	if (rc)
		return rc;
	rc = msg_server_start(a->loop, "ha-agentd.sock", agentd_ops, a, agentd_client_gone, "ha-agentd", &a->server, err);
	if (rc)
		return rc;
	rc = agentd_connect_hv(a);
	if (!rc)
		rc = agentd_link(a);
	if (rc)
		return err_set(err, rc, "cannot begin: %s", strerror(-rc));
	qb_loop_timer_add(a->loop, QB_LOOP_LOW, TICK_NS, a, agentd_tick, &timer);
	return 0;
}

static void agentd_end(void *arg)
{
	struct agentd *a = arg;

	msg_server_stop(a->server);
}

int main(int argc, char **argv)
{
	static const struct daemon daemon = {
		.name = "ha-agentd",
		.what = "Keeps who owns which domain in the cluster; see ha-agentd(8). HAVEN_DEBUG=1 logs every record.",
		.start = agentd_start, .term = agentd_term, .end = agentd_end,
	};
	static struct agentd a;

	return daemon_main(&daemon, &a, argc, argv);
}
