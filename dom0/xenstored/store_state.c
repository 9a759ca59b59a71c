/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See store_state.h. One encoder and one table of decoders serve the journal and a domain's move. */
#include "dom0/xenstored/store_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum state_record {
	REC_NODE = 1, REC_REMOVE, REC_DOMAIN, REC_RELEASE, REC_RESET, REC_WATCH, REC_UNWATCH, REC_TXN_OPEN, REC_TXN_CLOSE, REC_REPLY,
	REC_EVENT, REC_ACK,
};

/* ---- encoding ---- */

static void put_node(struct buf *b, const char *path, const struct tree_node *node)
{
	size_t at = record_begin(b, REC_NODE), i;

	buf_str(b, path);
	buf_u32(b, (uint32_t)node->n_perms);
	for (i = 0; i < node->n_perms; i++) {
		buf_u32(b, node->perms[i].domid);
		buf_u8(b, node->perms[i].bits);
	}
	buf_u32(b, (uint32_t)node->value_len);
	buf_bytes(b, node->value, node->value_len);
	record_end(b, at);
}

static void put_path(struct buf *b, uint32_t type, const char *path)
{
	size_t at = record_begin(b, type);

	buf_str(b, path);
	record_end(b, at);
}

static void put_domid(struct buf *b, uint32_t type, uint32_t domid, const uint32_t *more)
{
	size_t at = record_begin(b, type);

	buf_u32(b, domid);
	if (more)
		buf_u32(b, *more);
	record_end(b, at);
}

static void put_watch(struct buf *b, uint32_t domid, const struct watch *w)
{
	size_t at = record_begin(b, REC_WATCH);

	buf_u32(b, domid);
	buf_str(b, w->path);
	buf_str(b, w->token);
	buf_u32(b, (uint32_t)w->relative);
	buf_u32(b, (uint32_t)w->depth);
	record_end(b, at);
}

static void put_reply(struct buf *b, const struct store_domain *d)
{
	size_t at = record_begin(b, REC_REPLY);

	buf_u32(b, d->domid);
	buf_u64(b, d->last_seq);
	buf_u32(b, (uint32_t)d->last_reply_len);
	buf_bytes(b, d->last_reply, d->last_reply_len);
	record_end(b, at);
}

static void put_event(struct buf *b, uint32_t domid, uint64_t seq, const char *path, const char *token)
{
	size_t at = record_begin(b, REC_EVENT);

	buf_u32(b, domid);
	buf_u64(b, seq);
	buf_str(b, path);
	buf_str(b, token);
	record_end(b, at);
}

static void put_ack(struct buf *b, uint32_t domid, uint64_t seq)
{
	size_t at = record_begin(b, REC_ACK);

	buf_u32(b, domid);
	buf_u64(b, seq);
	record_end(b, at);
}

void state_log_node(struct store *s, const char *path, const struct tree_node *node)
{
	if (!s->replaying)
		put_node(&s->journal, path, node);
}

void state_log_remove(struct store *s, const char *path)
{
	if (!s->replaying)
		put_path(&s->journal, REC_REMOVE, path);
}

void state_log_domain(struct store *s, uint32_t domid, uint32_t target)
{
	if (!s->replaying)
		put_domid(&s->journal, REC_DOMAIN, domid, &target);
}

void state_log_release(struct store *s, uint32_t domid)
{
	if (!s->replaying)
		put_domid(&s->journal, REC_RELEASE, domid, NULL);
}

void state_log_reset(struct store *s, uint32_t domid)
{
	if (!s->replaying)
		put_domid(&s->journal, REC_RESET, domid, NULL);
}

void state_log_watch(struct store *s, uint32_t domid, const struct watch *w)
{
	if (!s->replaying)
		put_watch(&s->journal, domid, w);
}

void state_log_unwatch(struct store *s, uint32_t domid, const char *path, const char *token)
{
	size_t at;

	if (s->replaying)
		return;
	at = record_begin(&s->journal, REC_UNWATCH);
	buf_u32(&s->journal, domid);
	buf_str(&s->journal, path);
	buf_str(&s->journal, token);
	record_end(&s->journal, at);
}

void state_log_txn(struct store *s, uint32_t domid, uint32_t id, bool open)
{
	if (!s->replaying)
		put_domid(&s->journal, open ? REC_TXN_OPEN : REC_TXN_CLOSE, domid, &id);
}

void state_log_reply(struct store *s, const struct store_domain *d)
{
	if (!s->replaying)
		put_reply(&s->journal, d);
}

void state_log_event(struct store *s, uint32_t domid, uint64_t seq, const char *path, const char *token)
{
	if (!s->replaying)
		put_event(&s->journal, domid, seq, path, token);
}

void state_log_ack(struct store *s, uint32_t domid, uint64_t seq)
{
	if (!s->replaying)
		put_ack(&s->journal, domid, seq);
}

static int walk_put(void *arg, const char *path, const struct tree_node *node)
{
	struct buf *b = arg;

	put_node(b, path, node);
	return buf_ok(b) ? 0 : -E2BIG;
}

/* The connection of one domain: watches, open transactions, the last reply, events under way. */
static void put_domain(struct buf *b, struct store *s, const struct store_domain *d)
{
	const struct store_event *e;
	const struct watch *w;
	uint32_t id;
	size_t i;

	put_domid(b, REC_DOMAIN, d->domid, &d->guest->who.target);
	for (w = s->watches.head; w; w = w->next)
		if (w->owner == (struct watch_owner *)(void *)d->guest)
			put_watch(b, d->domid, w);
	for (i = 0; i < d->guest->n_txns; i++) {
		id = txn_id(d->guest->txns[i]);
		put_domid(b, REC_TXN_OPEN, d->domid, &id);
	}
	put_reply(b, d);
	/* The counter itself, also when no event is under way. */
	put_ack(b, d->domid, d->events ? d->events->seq - 1 : d->event_seq);
	for (e = d->events; e; e = e->next)
		put_event(b, d->domid, e->seq, e->path, e->token);
}

int state_write_all(struct store *s, struct buf *out)
{
	const struct store_domain *d;
	int rc = tree_walk(&s->tree, "/", walk_put, out);

	for (d = s->domains; rc == 0 && d; d = d->next)
		put_domain(out, s, d);
	return rc < 0 ? rc : buf_ok(out) ? 0 : -ENOMEM;
}

/* ---- decoding ---- */

/*
 * Records name a domain; `only` is the one they may name when they come from elsewhere (then every path is checked too), and
 * `dry` leaves everything as it is.
 */
struct apply {
	struct store *store;
	bool foreign, dry, seen;
	uint32_t only;
	char vm[TREE_PATH_MAX + 1];	/* the domain's /vm/UUID, once its node names it */
};

static bool below(const char *path, const char *root)
{
	size_t len = strlen(root);

	return len && strncmp(path, root, len) == 0 && (!path[len] || path[len] == '/');
}

static bool path_allowed(struct apply *a, const char *path)
{
	char front[40], libxl[32];
	struct store_conn probe = { .kind = STORE_CONN_BACKEND, .domid = a->only };

	if (!tree_path_valid(path))
		return false;
	if (!a->foreign)
		return true;
	snprintf(front, sizeof(front), "/local/domain/%u", a->only);
	snprintf(libxl, sizeof(libxl), "/libxl/%u", a->only);
	return below(path, front) || below(path, libxl) || below(path, a->vm) || store_conn_may(&probe, path, TREE_PERM_WRITE);
}

/* /local/domain/DOMID/vm says which /vm node is the domain's: "/vm/" and a uuid, nothing else. */
static void vm_learn(struct apply *a, const char *path, const uint8_t *value, size_t len)
{
	char name[48];

	snprintf(name, sizeof(name), "/local/domain/%u/vm", a->only);
	if (!a->foreign || strcmp(path, name) || len != 40 || memcmp(value, "/vm/", 4))
		return;
	memcpy(a->vm, value, len);
	a->vm[len] = '\0';
	if (strspn(a->vm + 4, "0123456789abcdefABCDEF-") != 36)
		a->vm[0] = '\0';
}

static int take_domain(struct apply *a, struct reader *r, struct store_domain **ret)
{
	uint32_t domid = reader_u32(r);

	if (!reader_ok(r) || (a->foreign && domid != a->only))
		return -EINVAL;
	a->seen = true;
	*ret = a->dry ? NULL : store_domain_get(a->store, domid);
	return a->dry || *ret ? 0 : -ENOMEM;
}

static int take_node(struct apply *a, struct reader *r)
{
	char *path = reader_str(r, TREE_PATH_MAX);
	uint32_t n_perms = reader_u32(r), len, i;
	struct tree_perm perms[TREE_PERMS_MAX];
	const uint8_t *value;
	int rc = -EINVAL;

	if (!path || !n_perms || n_perms > TREE_PERMS_MAX)
		goto out;
	for (i = 0; i < n_perms; i++) {
		perms[i].domid = reader_u32(r);
		perms[i].bits = reader_u8(r);
		if (perms[i].bits > 3 || (a->foreign && perms[i].domid && perms[i].domid != a->only))
			goto out;
	}
	len = reader_u32(r);
	value = len <= TREE_VALUE_MAX ? reader_view(r, len) : NULL;
	if (!value && len)
		goto out;
	if (!reader_done(r))
		goto out;
	vm_learn(a, path, value, len);
	rc = -EPERM;
	if (path_allowed(a, path))
		rc = a->dry ? 0 : tree_restore_node(&a->store->tree, path, value, len, perms, n_perms);
out:
	free(path);
	return rc;
}

static int take_remove(struct apply *a, struct reader *r)
{
	char *path = reader_str(r, TREE_PATH_MAX);
	int rc = -EINVAL;

	if (path && path_allowed(a, path) && reader_done(r))
		rc = a->dry ? 0 : tree_remove(&a->store->tree, path);
	free(path);
	return rc == -ENOENT ? 0 : rc;
}

static int take_introduced(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	uint32_t target = reader_u32(r);

	if (rc < 0 || !reader_done(r) || (a->foreign && target != TREE_NO_TARGET))
		return -EINVAL;
	if (d)
		d->guest->who.target = target;
	return 0;
}

static int take_release(struct apply *a, struct reader *r)
{
	uint32_t domid = reader_u32(r);
	int rc;

	if (!reader_done(r) || a->foreign)
		return -EINVAL;
	rc = store_domain_release(a->store, domid);
	return rc == -ENOENT ? 0 : rc;
}

static int take_reset(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);

	if (rc == 0 && d)
		store_domain_reset(d);
	return rc;
}

static int take_watch(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	char *path = reader_str(r, TREE_PATH_MAX), *token = reader_str(r, WATCH_TOKEN_MAX);
	uint32_t relative = reader_u32(r);
	int32_t depth = (int32_t)reader_u32(r);
	struct watch *w;

	if (rc == 0 && (!path || !token || !reader_done(r) || !tree_path_valid(path) || relative > TREE_PATH_MAX))
		rc = -EINVAL;
	if (rc == 0 && d) {
		if (watch_count(&a->store->watches, (struct watch_owner *)(void *)d->guest) >= STORE_GUEST_WATCHES_MAX)
			rc = -ENOSPC;
		else
			rc = watch_add(&a->store->watches, (struct watch_owner *)(void *)d->guest, path, relative, token, depth, &w);
		if (rc == -EEXIST)
			rc = 0;
	}
	free(path);
	free(token);
	return rc;
}

static int take_unwatch(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	char *path = reader_str(r, TREE_PATH_MAX), *token = reader_str(r, WATCH_TOKEN_MAX);

	if (rc == 0 && (!path || !token || !reader_done(r)))
		rc = -EINVAL;
	if (rc == 0 && d)
		(void)watch_remove(&a->store->watches, (struct watch_owner *)(void *)d->guest, path, token);
	free(path);
	free(token);
	return rc;
}

/* What it had read and written is lost, so it is one that cannot commit. */
static int take_txn_open(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	uint32_t id = reader_u32(r);

	if (rc < 0 || !reader_done(r) || !id)
		return -EINVAL;
	if (!d || store_txn_find(d->guest, id))
		return 0;
	return d->guest->n_txns >= STORE_GUEST_TXNS_MAX ? -ENOSPC : store_txn_open(d->guest, id, true);
}

static int take_txn_close(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	uint32_t id = reader_u32(r);

	if (rc < 0 || !reader_done(r))
		return -EINVAL;
	if (d)
		store_txn_close(d->guest, id);
	return 0;
}

static int take_reply(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	uint64_t seq = reader_u64(r);
	uint32_t len = reader_u32(r);
	const uint8_t *reply = len <= sizeof(struct xsd_sockmsg) + XENSTORE_PAYLOAD_MAX ? reader_view(r, len) : NULL;

	if (rc < 0 || !reader_done(r) || (!reply && len))
		return -EINVAL;
	return d ? store_domain_reply_set(d, seq, reply, len) : 0;
}

static int take_event(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	uint64_t seq = reader_u64(r);
	char *path = reader_str(r, TREE_PATH_MAX), *token = reader_str(r, WATCH_TOKEN_MAX);

	if (rc == 0 && (!path || !token || !reader_done(r) || strlen(path) + strlen(token) + 2 > XENSTORE_PAYLOAD_MAX))
		rc = -EINVAL;
	if (rc == 0 && d)
		rc = d->n_events >= STORE_EVENTS_MAX ? -ENOSPC : store_domain_event_add(d, seq, path, token, true);
	free(path);
	free(token);
	return rc;
}

static int take_ack(struct apply *a, struct reader *r)
{
	struct store_domain *d;
	int rc = take_domain(a, r, &d);
	uint64_t seq = reader_u64(r);

	if (rc < 0 || !reader_done(r))
		return -EINVAL;
	if (d) {
		store_domain_event_ack(d, seq);
		if (seq > d->event_seq)
			d->event_seq = seq;
	}
	return 0;
}

static const struct {
	enum state_record type;
	int (*take)(struct apply *a, struct reader *r);
} takers[] = {
	{ REC_NODE, take_node }, { REC_REMOVE, take_remove }, { REC_DOMAIN, take_introduced }, { REC_RELEASE, take_release },
	{ REC_RESET, take_reset }, { REC_WATCH, take_watch }, { REC_UNWATCH, take_unwatch }, { REC_TXN_OPEN, take_txn_open },
	{ REC_TXN_CLOSE, take_txn_close }, { REC_REPLY, take_reply }, { REC_EVENT, take_event }, { REC_ACK, take_ack },
};

static int record_apply(struct apply *a, uint32_t type, struct reader *body)
{
	size_t i;

	for (i = 0; i < sizeof(takers) / sizeof(takers[0]); i++)
		if (takers[i].type == type)
			return takers[i].take(a, body);
	return type & RECORD_OPTIONAL ? 0 : -EINVAL;
}

static int records_apply(struct apply *a, const uint8_t *records, size_t len)
{
	struct reader r, body;
	uint32_t type;
	int rc;

	reader_init(&r, records, len);
	while ((rc = record_next(&r, &type, &body)) == 1) {
		rc = record_apply(a, type, &body);
		if (rc < 0)
			return rc;
	}
	return rc;
}

int state_replay(struct store *s, const uint8_t *records, size_t len)
{
	struct apply a = { .store = s };

	return records_apply(&a, records, len);
}

/* ---- a domain that moves ---- */

static int collect_backend(struct store *s, uint32_t domid, struct buf *out)
{
	const struct tree_node *root = tree_find(&s->tree, "/local/domain/0/backend");
	char path[TREE_PATH_MAX + 1];
	size_t i;
	int rc = 0;

	for (i = 0; rc == 0 && root && i < root->n_children; i++) {
		snprintf(path, sizeof(path), "/local/domain/0/backend/%s/%u", root->children[i].name, domid);
		rc = tree_walk(&s->tree, path, walk_put, out);
	}
	return rc;
}

int state_export(struct store *s, uint32_t domid, struct buf *out)
{
	const struct store_domain *d = store_domain_find(s, domid);
	struct apply probe = { .store = s, .foreign = true, .only = domid };
	const struct tree_node *vm;
	char path[64];
	int rc;

	if (!d)
		return -ENOENT;
	snprintf(path, sizeof(path), "/local/domain/%u/vm", domid);
	vm = tree_find(&s->tree, path);
	if (vm)
		vm_learn(&probe, path, vm->value, vm->value_len);
	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	rc = tree_walk(&s->tree, path, walk_put, out);
	snprintf(path, sizeof(path), "/libxl/%u", domid);
	if (rc == 0)
		rc = tree_walk(&s->tree, path, walk_put, out);
	if (rc == 0 && probe.vm[0])
		rc = tree_walk(&s->tree, probe.vm, walk_put, out);
	if (rc == 0)
		rc = collect_backend(s, domid, out);
	if (rc == 0)
		put_domain(out, s, d);
	return rc < 0 ? rc : buf_ok(out) ? 0 : -E2BIG;
}

int state_import(struct store *s, uint32_t domid, const uint8_t *records, size_t len)
{
	struct apply a = { .store = s, .foreign = true, .dry = true, .only = domid };
	struct store_domain *d;
	int rc;

	if (store_domain_find(s, domid))
		return -EEXIST;
	rc = records_apply(&a, records, len);
	if (rc == 0 && !a.seen)
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	a.dry = false;
	a.vm[0] = '\0';
	/* Nodes are journalled by the tree's own callback; the connection in one piece, as it then is. */
	rc = records_apply(&a, records, len);
	d = store_domain_find(s, domid);
	if (rc == 0 && d) {
		put_domain(&s->journal, s, d);
		store_fire_special(s, "@introduceDomain");
	} else if (rc < 0) {
		(void)store_domain_release(s, domid);
	}
	return rc;
}
