/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ha-agentd.sock: docs/specs/messages.md, "ha-agentd". Each handler answers at once or leaves its call to a struct wait. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "ha-agent/agentd.h"
#include "lib/deadlines.h"
#include "lib/log.h"

#define CONFIG_MAX (48u * 1024)
#define START_MS 60000
#define STOP_MS 20000

/* --- naming things ---------------------------------------------------------------------------------------------------- */

/* The protocol's state, or NULL after an error reply. */
struct own *ops_own(struct agentd *a, struct msg_call *call)
{
	if (!a->own)
		msg_error(call, -EAGAIN, "corosync does not answer on this node; start it (systemctl start corosync)");
	return a->own;
}

/* By uuid, name or resource; NULL when there is none (no reply is sent). */
static struct own_dom *ops_find(struct agentd *a, struct msg_call *call)
{
	const char *uuid = msg_call_str_opt(call, "uuid", NULL), *name = msg_call_str_opt(call, "name", NULL);
	const char *resource = msg_call_str_opt(call, "resource", NULL);
	struct own_dom *d = NULL;

	if (uuid)
		d = own_find(a->own, uuid);
	if (!d && resource)
		d = own_find_resource(a->own, resource);
	if (!d && name)
		d = own_find_name(a->own, name);
	return d;
}

struct own_dom *ops_need(struct agentd *a, struct msg_call *call)
{
	struct own_dom *d = ops_own(a, call) ? ops_find(a, call) : NULL;

	if (a->own && !d)
		msg_error(call, -ENOENT, "%s: the cluster knows no such domain; haven status lists them",
			  msg_call_str_opt(call, "name", msg_call_str_opt(call, "resource", msg_call_str_opt(call, "uuid", "?"))));
	return d;
}

/* --- looking ---------------------------------------------------------------------------------------------------------- */

static json_t *ops_domain(struct agentd *a, const struct own_dom *d)
{
	const struct own *o = a->own;
	json_t *j = json_pack("{s:s,s:s,s:s,s:i,s:s,s:I,s:s,s:s,s:s,s:I,s:s,s:b}", "uuid", d->uuid, "name", d->rec.name,
			      "resource", d->rec.resource, "domid", (int)d->rec.domid, "owner", own_node_name(o, d->rec.owner),
			      "epoch", (json_int_t)d->rec.epoch, "intent", own_node_name(o, d->rec.to),
			      "copy", d->creating && d->copy == OWN_NONE ? "building" : own_copy_name(d->copy),
			      "config_hash", d->rec.hash, "attempt", (json_int_t)d->copy_attempt,
			      "job", d->job == OWN_J_START ? "start" : d->job == OWN_J_STOP ? "stop" : d->job == OWN_J_MIGRATE ? "migrate" : "",
			      "config_here", d->config != NULL);
	json_t *copies = json_object();
	const json_t *news = json_object_get(a->news, d->uuid), *pages = json_object_get(a->pages, d->uuid);

	for (int i = 0; i < o->n_nodes; i++)
		if ((d->hold & (UINT64_C(1) << i)) && d->remote[i] != OWN_NONE)
			json_object_set_new(copies, o->nodes[i].name, json_string(own_copy_name(d->remote[i])));
	if (d->copy != OWN_NONE)
		json_object_set_new(copies, own_node_name(o, o->me), json_string(own_copy_name(d->copy)));
	json_object_set_new(j, "copies", copies);
	if (pages && d->copy != OWN_NONE)
		json_object_set_new(j, "pages", json_deep_copy(pages));
	if (news)
		json_object_set_new(j, "news", json_deep_copy(news));
	return j;
}

static json_t *ops_nodes(const struct agentd *a)
{
	const struct own *o = a->own;
	json_t *list = json_array();

	for (int i = 0; i < o->n_nodes; i++) {
		const struct own_node *n = &o->nodes[i];
		const struct corolink_node *c = agentd_node(a, n->name);
		uint64_t bit = UINT64_C(1) << i;

		if (!n->configured)
			continue;
		json_array_append_new(list, json_pack("{s:s,s:I,s:b,s:b,s:b,s:b,s:s,s:b}", "name", n->name, "id", (json_int_t)n->id,
						      "member", (o->members & bit) != 0, "reported", (o->reported & bit) != 0,
						      "hypervisor", (o->reported & bit) && !(o->unknown & bit),
						      "fenced", !(o->members & bit) && n->fenced >= n->seen,
						      "address", c ? c->address : "", "left", !(o->members & bit) && n->left >= n->seen));
		json_object_update(json_array_get(list, json_array_size(list) - 1), json_object_get(a->offers, n->name));
	}
	return list;
}

static void op_status(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	json_t *doms;

	if (!ops_own(a, call))
		return;
	doms = json_array();
	for (struct own_dom *d = a->own->doms; d; d = d->next)
		if (d->rec.epoch || d->copy != OWN_NONE)
			json_array_append_new(doms, ops_domain(a, d));
	msg_reply(call, json_pack("{s:s,s:s,s:b,s:b,s:b,s:o,s:o}", "node", own_node_name(a->own, a->own->me), "cluster", a->cluster,
				  "connected", corolink_connected(a->link) && a->own->view, "quorate", a->own->quorate,
				  "hypervisor", a->own->known && a->own->hv_up, "nodes", ops_nodes(a), "domains", doms));
}

/* For monitor: what is here, and what the directory says. An unknown domain is an answer, not an error. */
static void op_state(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d;

	if (!ops_own(a, call))
		return;
	if (!a->own->known || !a->own->hv_up) {
		msg_error(call, -EAGAIN, "hypervisord does not answer on this node; start it (systemctl start hypervisord)");
		return;
	}
	d = ops_find(a, call);
	if (d)
		msg_reply(call, json_pack("{s:b,s:o,s:s}", "known", 1, "domain", ops_domain(a, d), "node",
					  own_node_name(a->own, a->own->me)));
	else
		msg_reply(call, json_pack("{s:b,s:s}", "known", 0, "node", own_node_name(a->own, a->own->me)));
}

static void op_config_get(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d = ops_need(a, call);
	json_t *config = d && d->config ? json_loads(d->config, 0, NULL) : NULL;

	if (!d)
		return;
	if (!config)
		msg_error(call, -ENODATA, "the config of %s has not reached this node; ask the node that runs it", d->rec.name);
	else
		msg_reply(call, json_pack("{s:o,s:s}", "config", config, "config_hash", d->rec.hash));
}

static void op_managed(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d = a->own ? ops_find(a, call) : NULL;

	msg_reply(call, json_pack("{s:b,s:s}", "managed", d && *d->rec.resource, "resource", d ? d->rec.resource : ""));
}

/* --- start and stop ----------------------------------------------------------------------------------------------------- */

static void ops_hash(const char *text, char *ret, size_t size)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	*ret = '\0';
	if (!EVP_Digest(text, strlen(text), md, &n, EVP_sha256(), NULL))
		return;
	for (unsigned int i = 0; i < n && 2 * i + 2 < size; i++)
		snprintf(ret + 2 * i, size - 2 * i, "%02x", md[i]);
}

/* The request's config as record and canonical text (caller frees); NULL after an error reply. */
char *ops_config(struct msg_call *call, const char **ret_uuid, struct own_record *rec)
{
	const json_t *config = json_object_get(msg_call_request(call), "config");
	const char *name = json_string_value(json_object_get(config, "name"));
	char *text;

	*ret_uuid = json_string_value(json_object_get(config, "uuid"));
	if (!name || !*name || strlen(name) >= OWN_NAME_LEN || !*ret_uuid || strlen(*ret_uuid) != 36 ||
	    strspn(*ret_uuid, "0123456789abcdef-") != 36) {
		msg_error(call, -EINVAL, "config: needs a name, and a uuid in lower-case hexadecimal");
		return NULL;
	}
	text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	if (!text || strlen(text) > CONFIG_MAX) {
		msg_error(call, -E2BIG, "%s: its config is over %u KiB; shorten it", name, CONFIG_MAX / 1024);
		free(text);
		return NULL;
	}
	memset(rec, 0, sizeof(*rec));
	strncpy(rec->name, name, sizeof(rec->name) - 1);
	strncpy(rec->resource, msg_call_str_opt(call, "resource", ""), sizeof(rec->resource) - 1);
	ops_hash(text, rec->hash, sizeof(rec->hash));
	return text;
}

void ops_end_wait(struct agentd *a, enum wait_kind kind, const char *uuid, int rc, const char *text)
{
	struct own_dom dummy = { 0 };
	const struct own_dom *d = own_find(a->own, uuid);

	/* only to answer: the job itself never began */
	if (d)
		dummy.rec = d->rec;
	snprintf(dummy.uuid, sizeof(dummy.uuid), "%s", uuid);
	wait_job_done(a, &dummy, kind == WAIT_START ? OWN_J_START : kind == WAIT_STOP ? OWN_J_STOP : OWN_J_MIGRATE, rc, text);
}

static void op_start(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_record rec;
	const char *uuid;
	char text[OWN_TEXT_LEN], *config;
	struct wait *w;
	struct own_dom *d;
	int rc;

	if (!ops_own(a, call))
		return;
	config = ops_config(call, &uuid, &rec);
	if (!config)
		return;
	d = own_find(a->own, uuid);
	if (d && (d->copy == OWN_RUN || d->copy == OWN_QPAUSE) && d->job == OWN_J_NONE) {
		msg_reply(call, json_pack("{s:i,s:b}", "domid", (int)d->copy_domid, "already", 1));
		free(config);
		return;
	}
	if (d && (d->job == OWN_J_STOP || d->job == OWN_J_MIGRATE)) {
		msg_error(call, -EBUSY, "%s is being %s; wait for that", rec.name, d->job == OWN_J_STOP ? "stopped" : "moved");
		free(config);
		return;
	}
	w = wait_new(a, WAIT_START, uuid, call, msg_call_int_opt(call, "timeout_ms", START_MS));
	if (w) {
		w->paused = msg_call_bool_opt(call, "paused", false);
		log_info("start of %s (%s)", rec.name, uuid);
		wait_watch_elsewhere(a, w);
		rc = own_start(a->own, uuid, &rec, config, text);
		if (rc)
			ops_end_wait(a, WAIT_START, uuid, rc, text);
	}
	free(config);
}

static void op_stop(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d;
	struct wait *w;
	bool force = msg_call_bool_opt(call, "force", false);

	if (!ops_own(a, call))
		return;
	if (!a->own->known) {
		msg_error(call, -EAGAIN, "hypervisord has not answered since ha-agentd started, so what runs here is not known; start it");
		return;
	}
	d = ops_find(a, call);
	if (!d || (!own_holds(d) && d->rec.owner != a->own->me)) {
		msg_reply(call, json_pack("{s:b}", "absent", 1));
		return;
	}
	if (d->worker || d->job == OWN_J_MIGRATE)
		move_cancel(a, d->uuid, "the domain is being stopped", true);
	w = wait_new(a, WAIT_STOP, d->uuid, call, force ? 0 : msg_call_int_opt(call, "timeout_ms", STOP_MS));
	if (w) {
		w->asked_guest = force;
		log_info("stop of %s (%s)%s", d->rec.name, d->uuid, force ? ", by force" : "");
		agentd_settle_later(a);
	}
}

/* --- moves --------------------------------------------------------------------------------------------------------------- */

static void op_migrate_out(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d = ops_need(a, call);
	const json_t *options = json_object_get(msg_call_request(call), "options");
	const struct own_node *n;
	const char *target;
	char text[OWN_TEXT_LEN];
	struct wait *w;
	int rc;

	if (!d || !msg_call_str(call, "target", &target))
		return;
	n = own_node_by_name(a->own, target);
	if (!n) {
		msg_error(call, -ENOENT, "%s: no node of the cluster has this name; haven status lists them", target);
		return;
	}
	if (d->job == OWN_J_MIGRATE || d->worker) {
		msg_error(call, -EBUSY, "%s is being moved already; wait for that", d->rec.name);
		return;
	}
	w = wait_new(a, WAIT_MIGRATE, d->uuid, call, msg_call_int_opt(call, "timeout_ms", -1));
	if (!w)
		return;
	strncpy(w->target, target, sizeof(w->target) - 1);
	w->options = json_is_object(options) ? json_deep_copy(options) : NULL;
	move_forget(a, d->uuid);
	rc = own_migrate(a->own, d->uuid, n->id, text);
	if (rc)
		ops_end_wait(a, WAIT_MIGRATE, d->uuid, rc, text);
}

static void op_cancel(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d = ops_need(a, call);

	if (!d)
		return;
	agentd_cluster_send(a, json_pack("{s:s,s:s}", "type", "x-cancel", "uuid", d->uuid));
	msg_reply(call, NULL);
}

static void op_incoming_accept(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	const struct own_dom *d = NULL;
	const struct own_node *n;
	const char *uuid, *from;
	char text[OWN_TEXT_LEN];
	struct accept *acc;
	int64_t attempt;
	int rc;

	if (!ops_own(a, call) || !msg_call_str(call, "uuid", &uuid) || !msg_call_str(call, "from", &from) ||
	    !msg_call_int(call, "attempt", &attempt))
		return;
	n = own_node_by_name(a->own, from);
	acc = calloc(1, sizeof(*acc));
	if (!n || !acc || attempt < 1) {
		free(acc);
		msg_error(call, n ? -EINVAL : -ENOENT, "%s: no node of the cluster has this name", from);
		return;
	}
	rc = own_accept(a->own, uuid, (uint64_t)attempt, n->id, &d, text);
	if (rc) {
		log_warn("a stream from %s is refused: %s", from, text);
		free(acc);
		msg_error(call, rc, "%s", text);
		return;
	}
	acc->client = msg_call_client(call);
	acc->attempt = (uint64_t)attempt;
	memcpy(acc->uuid, d->uuid, sizeof(acc->uuid));
	acc->next = a->accepts;
	a->accepts = acc;
	log_info("%s (%s) comes in from %s, attempt %lld", d->rec.name, uuid, from, (long long)attempt);
	msg_reply(call, json_pack("{s:o,s:i,s:I}", "config", json_loads(d->config, 0, NULL), "domid", (int)d->rec.domid,
				  "claim", (json_int_t)attempt));
}

static void op_migrate_in_wait(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d = ops_need(a, call);

	if (d && wait_new(a, WAIT_IN, d->uuid, call, msg_call_int_opt(call, "timeout_ms", deadline(DL_ARRIVED))))
		agentd_settle_later(a);
}

static void op_nudge(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	const char *uuid;

	if (!ops_own(a, call) || !msg_call_str(call, "uuid", &uuid))
		return;
	own_nudge(a->own, uuid);
	msg_reply(call, NULL);
}

/* --- check: who could take it ------------------------------------------------------------------------------------------- */

struct check { struct agentd *a; struct msg_call *call; int left; json_t *nodes; };
struct check_one { struct check *check; char node[OWN_NAME_LEN]; };

static void check_end(struct check *c)
{
	if (--c->left > 0)
		return;
	msg_reply(c->call, json_pack("{s:o}", "nodes", c->nodes));
	free(c);
}

/* problems: NULL: it runs there. */
static void check_answer(struct check *c, const char *node, json_t *problems)
{
	json_array_append_new(c->nodes, json_pack("{s:s,s:b,s:b,s:o}", "name", node, "ok", json_array_size(problems) == 0,
						  "here", problems == NULL, "problems", problems ? problems : json_array()));
	check_end(c);
}

static void check_replied(void *arg, int rc, const json_t *reply, const char *text)
{
	struct check_one *one = arg;
	json_t *problems = json_object_get(reply, "problems");

	if (rc == -ENOTCONN)
		text = "migrated does not run on this node, so the others cannot be asked; start it";
	problems = rc == 0 && json_is_array(problems) ? json_deep_copy(problems) : rc ? json_pack("[s]", text) : json_array();
	check_answer(one->check, one->node, problems);
	free(one);
}

static void check_ask(struct check *c, const struct own_dom *d, const struct own_node *n, json_t *config)
{
	struct check_one *one = calloc(1, sizeof(*one));
	json_t *request;

	if (d->rec.owner == n->id && !d->rec.to) {
		check_answer(c, n->name, NULL);
		free(one);
		return;
	}
	if (!own_member(c->a->own, n->id) || !one) {
		check_answer(c, n->name, json_pack("[s]", "is not in the cluster now"));
		free(one);
		return;
	}
	one->check = c;
	memcpy(one->node, n->name, sizeof(one->node));
	request = json_pack("{s:s,s:O,s:s,s:s,s:i}", "op", "preflight", "config", config, "target", n->name, "uuid", d->uuid, "domid",
			    (int)d->rec.domid);
	move_set_address(c->a, n->name, request);
	if (!remote_call(c->a->loop, "migrated.sock", request, NULL, check_replied, one))
		check_replied(one, -ENOMEM, NULL, "out of memory");
}

static void op_check(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_dom *d = ops_need(a, call);
	json_t *config = d && d->config ? json_loads(d->config, 0, NULL) : NULL;
	const char *only = msg_call_str_opt(call, "node", NULL);
	struct check *c;

	if (!d)
		return;
	c = config ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		msg_error(call, -ENODATA, "the config of %s has not reached this node; ask the node that runs it", d->rec.name);
		json_decref(config);
		return;
	}
	*c = (struct check){ .a = a, .call = call, .left = 1, .nodes = json_array() };
	for (int i = 0; i < a->own->n_nodes; i++) {
		const struct own_node *n = &a->own->nodes[i];

		if (!n->configured || (only && strcmp(only, n->name)))
			continue;
		c->left++;
		check_ask(c, d, n, config);
	}
	json_decref(config);
	check_end(c);
}

/* --- the operator's word ------------------------------------------------------------------------------------------------- */

static void op_resolve(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	const char *node = msg_call_str_opt(call, "node", NULL), *keep = msg_call_str_opt(call, "keep", NULL);
	const struct own_node *n;
	struct own_dom *d;
	char text[OWN_TEXT_LEN];
	int rc;

	if (!ops_own(a, call))
		return;
	if (node) {
		n = own_node_by_name(a->own, node);
		if (!n)
			msg_error(call, -ENOENT, "%s: no node of the cluster has this name; haven status lists them", node);
		else if (own_member(a->own, n->id))
			msg_error(call, -EBUSY, "%s is in the cluster now; only a node that is off can be declared gone", node);
		else {
			log_warn("the operator says that %s is off for good", node);
			own_fenced(a->own, n->id);
			msg_reply(call, NULL);
		}
		return;
	}
	d = ops_need(a, call);
	if (!d)
		return;
	if (!keep || (strcmp(keep, "here") && strcmp(keep, "there"))) {
		msg_error(call, -EINVAL, "keep: here or there");
		return;
	}
	rc = own_resolve(a->own, d->uuid, !strcmp(keep, "here"), text);
	if (rc)
		msg_error(call, rc, "%s", text);
	else
		msg_reply(call, NULL);
}

/* --- clients that go ----------------------------------------------------------------------------------------------------- */

static void accept_client_gone(struct agentd *a, const struct msg_client *client)
{
	for (struct accept **p = &a->accepts; *p; ) {
		struct accept *acc = *p;

		if (acc->client != client) {
			p = &acc->next;
			continue;
		}
		*p = acc->next;
		if (a->own)
			own_accept_gone(a->own, acc->uuid, acc->attempt);
		free(acc);
	}
}

void agentd_client_gone(struct msg_client *client, void *daemon)
{
	struct agentd *a = daemon;

	accept_client_gone(a, client);
	guard_client_gone(a, client);
	wait_client_gone(a, client);
	agentd_settle_later(a);
}

static void op_subscribe(struct msg_call *call, void *daemon)
{
	msg_subscribe(call);
}

const struct msg_op agentd_ops[] = {
	{ "status", MSG_ANY, op_status },
	{ "start", MSG_ROOT, op_start },
	{ "restore", MSG_ROOT, op_restore },
	{ "stop", MSG_ROOT, op_stop },
	{ "state", MSG_ROOT, op_state },
	{ "migrate-out", MSG_ROOT, op_migrate_out },
	{ "move-failed", MSG_ROOT, op_move_failed },
	{ "incoming-accept", MSG_ROOT, op_incoming_accept },
	{ "migrate-in-wait", MSG_ROOT, op_migrate_in_wait },
	{ "incoming-failed", MSG_ROOT, op_nudge },
	{ "activated", MSG_ROOT, op_nudge },
	{ "config-get", MSG_ROOT, op_config_get },
	{ "check", MSG_ROOT, op_check },
	{ "cancel", MSG_ROOT, op_cancel },
	{ "guard", MSG_ROOT, op_guard },
	{ "resolve", MSG_ROOT, op_resolve },
	{ "managed", MSG_ANY, op_managed },
	{ "subscribe", MSG_ANY, op_subscribe },
	{ NULL, MSG_ROOT, NULL },
};
