/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections, domains and events of the store; see store_core.h. The operations are in store_ops.c, the records in store_state.c. */
#include "dom0/xenstored/store_core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dom0/xenstored/store_state.h"

struct store_pending {
	struct store_pending *next;
	struct store_conn *conn;
	char *path, *token;
};

static const struct tree_caller dom0 = { .domid = 0, .target = TREE_NO_TARGET, .privileged = true };

/* ---- events ---- */

static void pending_free(struct store_pending *p)
{
	free(p->path);
	free(p->token);
	free(p);
}

void store_queue_event(struct store_conn *c, const char *path, const char *token)
{
	struct store_pending *p = calloc(1, sizeof(*p));

	if (!p)
		return;
	p->conn = c;
	p->path = strdup(path);
	p->token = strdup(token);
	if (!p->path || !p->token) {
		pending_free(p);
		return;
	}
	*c->store->pending_end = p;
	c->store->pending_end = &p->next;
}

void store_flush_events(struct store *s)
{
	struct store_pending *p;

	while ((p = s->pending)) {
		s->pending = p->next;
		if (!s->pending)
			s->pending_end = &s->pending;
		p->conn->event(p->conn, p->path, p->token);
		pending_free(p);
	}
}

static void pending_drop(struct store *s, const struct store_conn *c)
{
	struct store_pending **at = &s->pending, *p;

	while ((p = *at)) {
		if (p->conn != c) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		pending_free(p);
	}
	s->pending_end = at;
}

static struct store_conn *watch_conn(const struct watch *w)
{
	return (struct store_conn *)(void *)w->owner;
}

static void change_fire(struct store *s, const struct tree_change *change)
{
	const struct watch *w;

	for (w = s->watches.head; w; w = w->next) {
		struct store_conn *c = watch_conn(w);

		if (!watch_matches(w, change->path, change->event == TREE_REMOVED_BELOW))
			continue;
		if (!watch_permitted(&c->who, change))
			continue;
		store_queue_event(c, watch_event_path(w, change->path), w->token);
	}
}

static void tree_changed(void *arg, const struct tree_change *change)
{
	struct store *s = arg;

	if (change->event == TREE_REMOVED)
		state_log_remove(s, change->path);
	else if (change->event != TREE_REMOVED_BELOW)
		state_log_node(s, change->path, change->now);
	if (change->event != TREE_IMPLIED && !s->replaying)
		change_fire(s, change);
}

void store_fire_special(struct store *s, const char *name)
{
	char path[64];
	const struct tree_node *node;
	struct tree_change change = { .event = TREE_SET, .path = path };

	snprintf(path, sizeof(path), "/%s", name);
	node = tree_find(&s->tree, path);
	change.old = change.now = node;
	if (node && !s->replaying)
		change_fire(s, &change);
}

/* ---- connections ---- */

struct store_conn *store_conn_new(struct store *s, enum store_conn_kind kind, uint32_t domid)
{
	struct store_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->store = s;
	c->kind = kind;
	c->domid = domid;
	c->who = dom0;
	if (kind == STORE_CONN_GUEST)
		c->who = (struct tree_caller){ .domid = domid, .target = TREE_NO_TARGET };
	c->next_txn = 1;
	c->next = s->conns;
	s->conns = c;
	return c;
}

static void conn_reset(struct store_conn *c)
{
	size_t i;

	watch_remove_all(&c->store->watches, (struct watch_owner *)(void *)c);
	pending_drop(c->store, c);
	for (i = 0; i < c->n_txns; i++)
		txn_free(c->txns[i]);
	free(c->txns);
	c->txns = NULL;
	c->n_txns = 0;
}

void store_conn_free(struct store_conn *c)
{
	struct store_conn **at;

	if (!c)
		return;
	conn_reset(c);
	for (at = &c->store->conns; *at && *at != c; at = &(*at)->next)
		;
	if (*at)
		*at = c->next;
	free(c);
}

struct txn *store_txn_find(const struct store_conn *c, uint32_t id)
{
	size_t i;

	for (i = 0; i < c->n_txns; i++)
		if (txn_id(c->txns[i]) == id)
			return c->txns[i];
	return NULL;
}

int store_txn_open(struct store_conn *c, uint32_t id, bool doomed)
{
	struct txn **more = realloc(c->txns, (c->n_txns + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	c->txns = more;
	more[c->n_txns] = txn_new(&c->store->tree, id, doomed);
	if (!more[c->n_txns])
		return -ENOMEM;
	c->n_txns++;
	if (id >= c->next_txn)
		c->next_txn = id + 1;
	return 0;
}

void store_txn_close(struct store_conn *c, uint32_t id)
{
	size_t i;

	for (i = 0; i < c->n_txns; i++) {
		if (txn_id(c->txns[i]) != id)
			continue;
		txn_free(c->txns[i]);
		c->txns[i] = c->txns[--c->n_txns];
		return;
	}
}

static bool path_below(const char *path, const char *root)
{
	size_t len = strlen(root);

	return strncmp(path, root, len) == 0 && (!path[len] || path[len] == '/');
}

/* /local/domain/0/backend/KIND/DOMID and below */
static bool path_is_backend_of(const char *path, uint32_t domid)
{
	static const char root[] = "/local/domain/0/backend/";
	char id[16];

	if (strncmp(path, root, sizeof(root) - 1))
		return false;
	path += sizeof(root) - 1;
	path += strcspn(path, "/");
	snprintf(id, sizeof(id), "/%u", domid);
	return path_below(path, id);
}

bool store_conn_may(const struct store_conn *c, const char *path, unsigned right)
{
	char front[40];

	if (c->kind != STORE_CONN_BACKEND || path_is_backend_of(path, c->domid))
		return true;
	snprintf(front, sizeof(front), "/local/domain/%u", c->domid);
	return !(right & TREE_PERM_WRITE) && path_below(path, front);
}

/* ---- domains ---- */

struct store_domain *store_domain_find(struct store *s, uint32_t domid)
{
	struct store_domain *d;

	for (d = s->domains; d; d = d->next)
		if (d->domid == domid)
			return d;
	return NULL;
}

static void guest_event(struct store_conn *c, const char *path, const char *token)
{
	struct store_domain *d = store_domain_find(c->store, c->domid);
	const struct store_event *e;

	/*
	 * An event that waits already says all that another of the same watch and path could, unless the guest may have had it: a
	 * relay that has drops it when it comes once more.
	 */
	for (e = d->events; e; e = e->next)
		if (!e->offered && strcmp(e->path, path) == 0 && strcmp(e->token, token) == 0)
			return;
	if (d->n_events >= STORE_EVENTS_MAX || store_domain_event_add(d, d->event_seq + 1, path, token, false))
		return;
	state_log_event(c->store, d->domid, d->event_seq, path, token);
}

struct store_domain *store_domain_get(struct store *s, uint32_t domid)
{
	struct store_domain *d = store_domain_find(s, domid);

	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->guest = store_conn_new(s, STORE_CONN_GUEST, domid);
	if (!d->guest) {
		free(d);
		return NULL;
	}
	d->domid = domid;
	d->guest->event = guest_event;
	d->events_end = &d->events;
	d->next = s->domains;
	s->domains = d;
	return d;
}

int store_domain_introduce(struct store *s, uint32_t domid, struct store_domain **ret)
{
	bool known = store_domain_find(s, domid) != NULL;
	struct store_domain *d = store_domain_get(s, domid);

	if (!d)
		return -ENOMEM;
	if (!known) {
		state_log_domain(s, domid, d->guest->who.target);
		store_fire_special(s, "@introduceDomain");
	}
	*ret = d;
	return 0;
}

static void events_clear(struct store_domain *d)
{
	store_domain_event_ack(d, UINT64_MAX);
}

static void domain_free(struct store_domain *d)
{
	events_clear(d);
	store_conn_free(d->guest);
	free(d->last_reply);
	free(d);
}

int store_domain_release(struct store *s, uint32_t domid)
{
	struct store_domain **at, *d;
	int rc;

	for (at = &s->domains; (d = *at) && d->domid != domid; at = &d->next)
		;
	if (!d)
		return -ENOENT;
	*at = d->next;
	domain_free(d);
	rc = tree_forget_domain(&s->tree, domid);
	state_log_release(s, domid);
	store_fire_special(s, "@releaseDomain");
	return rc;
}

void store_domain_reset(struct store_domain *d)
{
	conn_reset(d->guest);
	events_clear(d);
	state_log_reset(d->guest->store, d->domid);
}

int store_domain_event_add(struct store_domain *d, uint64_t seq, const char *path, const char *token, bool offered)
{
	struct store_event *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->seq = seq;
	e->offered = offered;
	e->path = strdup(path);
	e->token = strdup(token);
	if (!e->path || !e->token) {
		free(e->path);
		free(e->token);
		free(e);
		return -ENOMEM;
	}
	d->event_seq = seq;
	*d->events_end = e;
	d->events_end = &e->next;
	d->n_events++;
	return 0;
}

void store_domain_event_ack(struct store_domain *d, uint64_t seq)
{
	struct store_event *e;

	while ((e = d->events) && e->seq <= seq) {
		d->events = e->next;
		if (!d->events)
			d->events_end = &d->events;
		d->n_events--;
		free(e->path);
		free(e->token);
		free(e);
	}
}

int store_domain_reply_set(struct store_domain *d, uint64_t seq, const void *reply, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, reply, len);
	free(d->last_reply);
	d->last_reply = copy;
	d->last_reply_len = len;
	d->last_seq = seq;
	return 0;
}

/* ---- the store ---- */

int store_init(struct store *s)
{
	static const struct { const char *path, *value; } nodes[] = {
		{ "/@introduceDomain", "" }, { "/@releaseDomain", "" }, { "/local/domain", "" }, { "/local/domain/0/domid", "0" },
		{ "/local/domain/0/name", "Domain-0" }, { "/local/pool/0/name", "Pool-0" }, { "/tool/xenstored", "haven" },
	};
	size_t i;
	int rc;

	memset(s, 0, sizeof(*s));
	s->pending_end = &s->pending;
	buf_init(&s->journal, 64u * 1024 * 1024);
	rc = tree_init(&s->tree);
	s->tree.changed = tree_changed;
	s->tree.arg = s;
	for (i = 0; rc == 0 && i < sizeof(nodes) / sizeof(nodes[0]); i++)
		rc = tree_write(&s->tree, &dom0, nodes[i].path, nodes[i].value, strlen(nodes[i].value));
	return rc;
}

void store_done(struct store *s)
{
	struct store_domain *d;

	while ((d = s->domains)) {
		s->domains = d->next;
		domain_free(d);
	}
	while (s->conns)
		store_conn_free(s->conns);
	store_flush_events(s);
	if (s->tree.root)
		tree_done(&s->tree);
	buf_free(&s->journal);
}
