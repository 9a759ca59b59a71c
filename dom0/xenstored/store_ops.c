/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations of Xen's wire protocol (xs_wire.h, docs/misc/xenstore.txt of Xen): one const table, the kinds of connection
 * that may call in its rows. Bodies are octets of a guest: strings are taken out of them with their ends checked.
 */
#include "dom0/xenstored/store_core.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dom0/xenstored/store_state.h"

#define SOCKET STORE_CONN_SOCKET
#define RO STORE_CONN_SOCKET_RO
#define GUEST STORE_CONN_GUEST
#define BACKEND STORE_CONN_BACKEND
#define ANYONE (SOCKET | RO | GUEST | BACKEND)
#define WRITERS (SOCKET | GUEST | BACKEND)

struct request {
	struct store_conn *conn;
	struct store *store;
	struct xsd_sockmsg hdr;
	const uint8_t *body;
	size_t len;
	struct txn *txn;	/* the one it belongs to, or NULL */
	struct buf *out;	/* the reply's body */
};

/* ---- taking the body apart ---- */

/* String number `n` of the body; NULL when it is missing or has no end. */
static const char *arg_string(const struct request *q, unsigned n)
{
	const uint8_t *p = q->body, *end = q->body + q->len, *nul;

	for (;; p = nul + 1) {
		nul = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
		if (!nul)
			return NULL;
		if (n-- == 0)
			return (const char *)p;
	}
}

static unsigned arg_count(const struct request *q)
{
	unsigned n = 0;

	while (arg_string(q, n))
		n++;
	return n;
}

/* The body is exactly `n` strings. */
static bool args_are(const struct request *q, unsigned n)
{
	return arg_count(q) == n && q->len && !q->body[q->len - 1];
}

static int number_parse(const char *text, uint32_t max, uint32_t *ret)
{
	unsigned long n;
	char *end;

	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 10)
		return -EINVAL;
	n = strtoul(text, &end, 10);
	if (*end || n > max)
		return -EINVAL;
	*ret = (uint32_t)n;
	return 0;
}

static int domid_arg(const struct request *q, unsigned n, uint32_t *ret)
{
	const char *text = arg_string(q, n);

	return text ? number_parse(text, 0x7fef, ret) : -EINVAL;	/* below DOMID_FIRST_RESERVED */
}

/*
 * A path as the client wrote it to a canonical one: relative ones are below the client's own /local/domain/DOMID, "@NAME" is
 * the special node. *ret_relative: how much was put before it.
 */
static int path_canonical(const struct request *q, const char *text, char path[TREE_PATH_MAX + 1], size_t *ret_relative)
{
	int n, prefix = 0;

	if (!text)
		return -EINVAL;
	if (text[0] != '/' && text[0] != '@') {
		if (strlen(text) > XENSTORE_REL_PATH_MAX)
			return -EINVAL;
		prefix = snprintf(path, TREE_PATH_MAX + 1, "/local/domain/%u/", q->conn->who.domid);
	}
	n = snprintf(path + prefix, (size_t)(TREE_PATH_MAX + 1 - prefix), "%s%s", text[0] == '@' ? "/" : "", text);
	if (n < 0 || prefix + n > TREE_PATH_MAX)
		return -EINVAL;
	if (prefix && !*text)
		path[prefix - 1] = '\0';
	*ret_relative = (size_t)prefix;
	return tree_path_valid(path) ? 0 : -EINVAL;
}

static int path_arg(const struct request *q, unsigned n, unsigned right, char path[TREE_PATH_MAX + 1])
{
	size_t relative;
	int rc = path_canonical(q, arg_string(q, n), path, &relative);

	if (rc == 0 && !store_conn_may(q->conn, path, right))
		rc = -EACCES;
	return rc;
}

static struct tree *tree_of(struct request *q)
{
	return q->txn ? txn_tree(q->txn) : &q->store->tree;
}

static int done(struct request *q)
{
	buf_bytes(q->out, "OK", 3);
	return 0;
}

/* ---- reading ---- */

static int node_get(struct request *q, enum txn_look look, const struct tree_node **ret)
{
	char path[TREE_PATH_MAX + 1];
	int rc = path_arg(q, 0, TREE_PERM_READ, path);

	if (rc == 0 && q->txn)
		rc = txn_note(q->txn, &q->conn->who, path, look);
	return rc < 0 ? rc : tree_check(tree_of(q), &q->conn->who, path, TREE_PERM_READ, ret);
}

static int op_read(struct request *q)
{
	const struct tree_node *node;
	int rc = args_are(q, 1) ? node_get(q, TXN_LOOK_NODE, &node) : -EINVAL;

	if (rc == 0)
		buf_bytes(q->out, node->value, node->value_len);
	return rc;
}

static int op_directory(struct request *q)
{
	const struct tree_node *node;
	int rc = args_are(q, 1) ? node_get(q, TXN_LOOK_LIST, &node) : -EINVAL;
	size_t i;

	for (i = 0; rc == 0 && i < node->n_children; i++) {
		buf_bytes(q->out, node->children[i].name, strlen(node->children[i].name) + 1);
		if (q->out->len > XENSTORE_PAYLOAD_MAX)
			rc = -E2BIG;
	}
	return rc;
}

/* Generation, then whole names from an offset on; an empty one when the list ends here. */
static int op_directory_part(struct request *q)
{
	const struct tree_node *node;
	uint32_t offset, at = 0;
	size_t i, len;
	char gen[24];
	int rc = args_are(q, 2) ? number_parse(arg_string(q, 1), UINT32_MAX, &offset) : -EINVAL;

	if (rc == 0)
		rc = node_get(q, TXN_LOOK_LIST, &node);
	if (rc < 0)
		return rc;
	snprintf(gen, sizeof(gen), "%" PRIu64, node->children_gen);
	buf_bytes(q->out, gen, strlen(gen) + 1);
	for (i = 0; i < node->n_children; i++) {
		len = strlen(node->children[i].name) + 1;
		at += (uint32_t)len;
		if (at <= offset)
			continue;
		if (at - len < offset)
			return -EINVAL;		/* in the middle of a name */
		if (q->out->len + len + 1 > XENSTORE_PAYLOAD_MAX)
			return 0;
		buf_bytes(q->out, node->children[i].name, len);
	}
	if (offset > at)
		return -EINVAL;
	buf_u8(q->out, 0);
	return 0;
}

static int op_get_perms(struct request *q)
{
	static const char letters[] = "nrwb";
	const struct tree_node *node;
	int rc = args_are(q, 1) ? node_get(q, TXN_LOOK_NODE, &node) : -EINVAL;
	char text[16];
	size_t i;

	for (i = 0; rc == 0 && i < node->n_perms; i++) {
		snprintf(text, sizeof(text), "%c%u", letters[node->perms[i].bits & 3], node->perms[i].domid);
		buf_bytes(q->out, text, strlen(text) + 1);
	}
	return rc;
}

/* ---- writing ---- */

static int op_write(struct request *q)
{
	char path[TREE_PATH_MAX + 1];
	const char *text = arg_string(q, 0);
	int rc = path_arg(q, 0, TREE_PERM_WRITE, path);
	size_t skip;

	if (rc < 0)
		return rc;
	skip = strlen(text) + 1;
	if (q->txn)
		rc = txn_write(q->txn, &q->conn->who, path, q->body + skip, q->len - skip);
	else
		rc = tree_write(&q->store->tree, &q->conn->who, path, q->body + skip, q->len - skip);
	return rc < 0 ? rc : done(q);
}

static int op_mkdir(struct request *q)
{
	char path[TREE_PATH_MAX + 1];
	int rc = args_are(q, 1) ? path_arg(q, 0, TREE_PERM_WRITE, path) : -EINVAL;

	if (rc == 0)
		rc = q->txn ? txn_mkdir(q->txn, &q->conn->who, path) : tree_mkdir(&q->store->tree, &q->conn->who, path);
	return rc < 0 ? rc : done(q);
}

static int op_rm(struct request *q)
{
	char path[TREE_PATH_MAX + 1];
	int rc = args_are(q, 1) ? path_arg(q, 0, TREE_PERM_WRITE, path) : -EINVAL;

	if (rc == 0)
		rc = q->txn ? txn_rm(q->txn, &q->conn->who, path) : tree_rm(&q->store->tree, &q->conn->who, path);
	return rc < 0 ? rc : done(q);
}

static int perm_parse(const char *text, struct tree_perm *ret)
{
	static const char letters[] = "nrwb";
	const char *at = *text ? strchr(letters, *text) : NULL;

	if (!at || number_parse(text + 1, 0x7ff4, &ret->domid))		/* DOMID_INVALID and below */
		return -EINVAL;
	ret->bits = (uint8_t)(at - letters);
	return 0;
}

static int op_set_perms(struct request *q)
{
	char path[TREE_PATH_MAX + 1];
	struct tree_perm perms[TREE_PERMS_MAX];
	unsigned n = arg_count(q), i;
	int rc = path_arg(q, 0, TREE_PERM_WRITE, path);

	if (rc < 0)
		return rc;
	if (n < 2 || !args_are(q, n))
		return -EINVAL;
	if (--n > TREE_PERMS_MAX)
		return -ENOSPC;
	for (i = 0; rc == 0 && i < n; i++)
		rc = perm_parse(arg_string(q, i + 1), &perms[i]);
	if (rc == 0 && q->txn)
		rc = txn_set_perms(q->txn, &q->conn->who, path, perms, n);
	else if (rc == 0)
		rc = tree_set_perms(&q->store->tree, &q->conn->who, path, perms, n);
	return rc < 0 ? rc : done(q);
}

/* ---- watches ---- */

static int op_watch(struct request *q)
{
	char path[TREE_PATH_MAX + 1];
	const char *text = arg_string(q, 0), *token = arg_string(q, 1), *depth_text = arg_string(q, 2);
	struct watch_owner *owner = (struct watch_owner *)(void *)q->conn;
	uint32_t depth = 0;
	struct watch *w;
	size_t relative;
	int rc;

	if (!token || arg_count(q) > 3 || strlen(token) > WATCH_TOKEN_MAX || (depth_text && number_parse(depth_text, 1024, &depth)))
		return -EINVAL;
	rc = path_canonical(q, text, path, &relative);
	if (rc == 0 && !store_conn_may(q->conn, path, TREE_PERM_READ))
		rc = -EACCES;
	if (rc == 0 && !q->conn->who.privileged && watch_count(&q->store->watches, owner) >= STORE_GUEST_WATCHES_MAX)
		rc = -E2BIG;		/* as Xen's xenstored */
	if (rc == 0)
		rc = watch_add(&q->store->watches, owner, path, relative, token, depth_text ? (int)depth : WATCH_ANY_DEPTH, &w);
	if (rc < 0)
		return rc;
	if (q->conn->kind == STORE_CONN_GUEST)
		state_log_watch(q->store, q->conn->domid, w);
	store_queue_event(q->conn, text, token);
	return done(q);
}

static int op_unwatch(struct request *q)
{
	char path[TREE_PATH_MAX + 1];
	const char *token = arg_string(q, 1);
	size_t relative;
	int rc;

	if (!args_are(q, 2))
		return -EINVAL;
	rc = path_canonical(q, arg_string(q, 0), path, &relative);
	if (rc == 0)
		rc = watch_remove(&q->store->watches, (struct watch_owner *)(void *)q->conn, path, token);
	if (rc < 0)
		return rc;
	if (q->conn->kind == STORE_CONN_GUEST)
		state_log_unwatch(q->store, q->conn->domid, path, token);
	return done(q);
}

static int op_reset_watches(struct request *q)
{
	struct store_domain *d = q->conn->kind == STORE_CONN_GUEST ? store_domain_find(q->store, q->conn->domid) : NULL;

	if (d)
		store_domain_reset(d);
	else
		watch_remove_all(&q->store->watches, (struct watch_owner *)(void *)q->conn);
	return done(q);
}

/* ---- transactions ---- */

static int op_transaction_start(struct request *q)
{
	struct store_conn *c = q->conn;
	uint32_t id = c->next_txn;
	char text[16];
	int rc;

	if (q->txn)
		return -EBUSY;
	if (c->n_txns >= (c->who.privileged ? STORE_DOM0_TXNS_MAX : STORE_GUEST_TXNS_MAX))
		return -ENOSPC;
	while (!id || store_txn_find(c, id))
		id++;
	rc = store_txn_open(c, id, false);
	if (rc < 0)
		return rc;
	c->next_txn = id + 1;
	if (c->kind == STORE_CONN_GUEST)
		state_log_txn(q->store, c->domid, id, true);
	snprintf(text, sizeof(text), "%u", id);
	buf_bytes(q->out, text, strlen(text) + 1);
	return 0;
}

static int op_transaction_end(struct request *q)
{
	const char *how = arg_string(q, 0);
	uint32_t id = q->hdr.tx_id;
	int rc = 0;

	if (!args_are(q, 1) || (strcmp(how, "T") && strcmp(how, "F")))
		return -EINVAL;
	if (!q->txn)
		return -ENOENT;
	if (*how == 'T')
		rc = txn_commit(q->txn, &q->conn->who, &q->store->tree);
	store_txn_close(q->conn, id);
	if (q->conn->kind == STORE_CONN_GUEST)
		state_log_txn(q->store, q->conn->domid, id, false);
	return rc < 0 ? rc : done(q);
}

/* ---- domains ---- */

static int op_get_domain_path(struct request *q)
{
	char path[40];
	uint32_t domid;
	int rc = args_are(q, 1) ? domid_arg(q, 0, &domid) : -EINVAL;

	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	buf_bytes(q->out, path, strlen(path) + 1);
	return 0;
}

static int op_is_domain_introduced(struct request *q)
{
	uint32_t domid;
	int rc = args_are(q, 1) ? domid_arg(q, 0, &domid) : -EINVAL;

	if (rc == 0)
		buf_bytes(q->out, domid == 0 || store_domain_find(q->store, domid) ? "T" : "F", 2);
	return rc;
}

/* A guest's ring is its hv-domain's to relay, so a domain nobody introduced with its channel cannot be introduced by number. */
static int op_introduce(struct request *q)
{
	uint32_t domid;
	int rc = arg_count(q) >= 3 ? domid_arg(q, 0, &domid) : -EINVAL;

	if (rc == 0 && !store_domain_find(q->store, domid))
		rc = -ENOENT;
	if (rc < 0)
		return rc;
	store_fire_special(q->store, "@introduceDomain");
	return done(q);
}

static int op_release(struct request *q)
{
	uint32_t domid;
	int rc = args_are(q, 1) ? domid_arg(q, 0, &domid) : -EINVAL;

	if (rc == 0 && domid == 0)
		rc = -EINVAL;
	if (rc == 0)
		rc = store_domain_release(q->store, domid);
	return rc < 0 ? rc : done(q);
}

static int op_resume(struct request *q)
{
	uint32_t domid;
	int rc = args_are(q, 1) ? domid_arg(q, 0, &domid) : -EINVAL;

	if (rc == 0 && !store_domain_find(q->store, domid))
		rc = -ENOENT;
	return rc < 0 ? rc : done(q);
}

static int op_set_target(struct request *q)
{
	uint32_t domid, target;
	struct store_domain *d;
	int rc = args_are(q, 2) ? domid_arg(q, 0, &domid) : -EINVAL;

	if (rc == 0)
		rc = domid_arg(q, 1, &target);
	d = rc == 0 ? store_domain_find(q->store, domid) : NULL;
	if (rc == 0 && (!d || !store_domain_find(q->store, target)))
		rc = -ENOENT;
	if (rc < 0)
		return rc;
	d->guest->who.target = target;
	state_log_domain(q->store, domid, target);
	return done(q);
}

/* ---- control ---- */

static int control_help(struct request *q)
{
	static const char text[] = "supported: check help quota memreport";

	buf_bytes(q->out, text, sizeof(text));
	return 0;
}

static int control_quota(struct request *q)
{
	char text[160];

	snprintf(text, sizeof(text), "nodes %d\nvalue %d\npermissions %d\nwatches %d\ntransactions %d\n", TREE_GUEST_NODES_MAX,
		 TREE_GUEST_VALUE_MAX, TREE_GUEST_PERMS_MAX, STORE_GUEST_WATCHES_MAX, STORE_GUEST_TXNS_MAX);
	buf_bytes(q->out, text, strlen(text) + 1);
	return 0;
}

static int control_memreport(struct request *q)
{
	char text[80];
	size_t i;

	for (i = 0; i < q->store->tree.n_counts && i < 40; i++) {
		snprintf(text, sizeof(text), "domain %u: %u nodes\n", q->store->tree.counts[i].domid, q->store->tree.counts[i].nodes);
		buf_bytes(q->out, text, strlen(text));
	}
	buf_u8(q->out, 0);
	return 0;
}

/* The tree and its counts agree, or this answers EIO. */
static int check_count(void *arg, const char *path, const struct tree_node *node)
{
	uint32_t *left = arg;

	(*left)--;
	return 0;
}

static int control_check(struct request *q)
{
	uint32_t left = 0;
	size_t i;

	for (i = 0; i < q->store->tree.n_counts; i++)
		left += q->store->tree.counts[i].nodes;
	(void)tree_walk(&q->store->tree, "/", check_count, &left);
	return left ? -EIO : done(q);
}

static int op_control(struct request *q)
{
	static const struct { const char *name; int (*run)(struct request *q); } commands[] = {
		{ "check", control_check }, { "help", control_help }, { "quota", control_quota }, { "memreport", control_memreport },
	};
	const char *name = arg_string(q, 0);
	size_t i;

	for (i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return commands[i].run(q);
	return -EINVAL;
}

/* ---- dispatch ---- */

static const struct {
	uint32_t type;
	unsigned who;
	int (*run)(struct request *q);
} ops[] = {
	{ XS_CONTROL, SOCKET, op_control },
	{ XS_DIRECTORY, ANYONE, op_directory },
	{ XS_READ, ANYONE, op_read },
	{ XS_GET_PERMS, ANYONE, op_get_perms },
	{ XS_WATCH, ANYONE, op_watch },
	{ XS_UNWATCH, ANYONE, op_unwatch },
	{ XS_TRANSACTION_START, ANYONE, op_transaction_start },
	{ XS_TRANSACTION_END, ANYONE, op_transaction_end },
	{ XS_INTRODUCE, SOCKET, op_introduce },
	{ XS_RELEASE, SOCKET, op_release },
	{ XS_GET_DOMAIN_PATH, ANYONE, op_get_domain_path },
	{ XS_WRITE, WRITERS, op_write },
	{ XS_MKDIR, WRITERS, op_mkdir },
	{ XS_RM, WRITERS, op_rm },
	{ XS_SET_PERMS, WRITERS, op_set_perms },
	{ XS_IS_DOMAIN_INTRODUCED, ANYONE, op_is_domain_introduced },
	{ XS_RESUME, SOCKET, op_resume },
	{ XS_SET_TARGET, SOCKET, op_set_target },
	{ XS_RESET_WATCHES, ANYONE, op_reset_watches },
	{ XS_DIRECTORY_PART, ANYONE, op_directory_part },
};

static int dispatch(struct request *q)
{
	size_t i;

	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (ops[i].type != q->hdr.type)
			continue;
		if (!(ops[i].who & q->conn->kind))
			return q->conn->kind == STORE_CONN_SOCKET_RO ? -EROFS : -EACCES;
		if (q->hdr.tx_id) {
			q->txn = store_txn_find(q->conn, q->hdr.tx_id);
			if (!q->txn && q->hdr.type != XS_RESET_WATCHES)
				return -ENOENT;
		}
		return ops[i].run(q);
	}
	return -ENOSYS;
}

static const char *error_text(int rc)
{
	size_t i;

	for (i = 0; i < sizeof(xsd_errors) / sizeof(xsd_errors[0]); i++)
		if (xsd_errors[i].errnum == -rc)
			return xsd_errors[i].errstring;
	return "EINVAL";
}

bool store_header(const uint8_t *msg, size_t len, struct xsd_sockmsg *ret)
{
	struct reader r;

	reader_init(&r, msg, len);
	ret->type = reader_u32(&r);
	ret->req_id = reader_u32(&r);
	ret->tx_id = reader_u32(&r);
	ret->len = reader_u32(&r);
	return reader_ok(&r) && ret->len <= XENSTORE_PAYLOAD_MAX;
}

void store_message(struct buf *b, uint32_t type, uint32_t req_id, uint32_t tx_id, const void *body, size_t len)
{
	buf_u32(b, type);
	buf_u32(b, req_id);
	buf_u32(b, tx_id);
	buf_u32(b, (uint32_t)len);
	buf_bytes(b, body, len);
}

void store_request(struct store_conn *c, const uint8_t *msg, size_t len, struct buf *reply)
{
	struct buf out = BUF_INIT(2 * XENSTORE_PAYLOAD_MAX);
	struct request q = { .conn = c, .store = c->store, .out = &out };
	const char *text;
	int rc = -EINVAL;

	if (store_header(msg, len, &q.hdr) && len == sizeof(q.hdr) + q.hdr.len) {
		q.body = msg + sizeof(q.hdr);
		q.len = q.hdr.len;
		rc = dispatch(&q);
	}
	if (rc == 0 && !buf_ok(&out))
		rc = -ENOMEM;
	if (rc == 0 && out.len > XENSTORE_PAYLOAD_MAX)
		rc = -E2BIG;
	text = error_text(rc);
	if (rc < 0)
		store_message(reply, XS_ERROR, q.hdr.req_id, q.hdr.tx_id, text, strlen(text) + 1);
	else
		store_message(reply, q.hdr.type, q.hdr.req_id, q.hdr.tx_id, out.data, out.len);
	buf_free(&out);
}
