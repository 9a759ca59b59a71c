/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The admin socket's requests (docs/specs/messages.md, "xenstored"): hypervisord's and the operator's, uid 0 alone. */
#include "dom0/xenstored/stored.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOMID_MAX 0x7fef	/* DOMID_FIRST_RESERVED - 1 */
#define BATCH_MAX 4096

static const struct tree_caller dom0 = { .domid = 0, .target = TREE_NO_TARGET, .privileged = true };

static bool call_domid(struct msg_call *call, uint32_t *ret)
{
	int64_t domid;

	if (!msg_call_int(call, "domid", &domid))
		return false;
	if (domid < 1 || domid > DOMID_MAX) {
		msg_error(call, -EINVAL, "domid %lld is none of a guest's", (long long)domid);
		return false;
	}
	*ret = (uint32_t)domid;
	return true;
}

/* Events, journal and sends first: what is answered as done is done. */
static void finish(struct msg_call *call, struct stored *d, int rc, const char *what, const char *name)
{
	stored_settle(d);
	if (rc < 0)
		msg_error(call, rc, "%s %s: %s", what, name, strerror(-rc));
	else
		msg_reply(call, NULL);
}

/* ---- domains ---- */

static void admin_introduce(struct msg_call *call, void *daemon)
{
	struct stored *d = daemon;
	uint32_t domid;
	int rc;

	if (!call_domid(call, &domid))
		return;
	rc = channel_introduce(d, domid, msg_call_take_fd(call, 0), msg_call_take_fd(call, 1));
	finish(call, d, rc, "introduce", "domain");
}

static void admin_release(struct msg_call *call, void *daemon)
{
	struct stored *d = daemon;
	uint32_t domid;
	int rc;

	if (!call_domid(call, &domid))
		return;
	channel_forget(d, domid);
	expect_forget(d, domid);
	rc = store_domain_release(&d->store, domid);
	finish(call, d, rc, "release", "domain");
}

static void admin_export(struct msg_call *call, void *daemon)
{
	uint32_t domid;
	size_t len;
	int fd;

	if (!call_domid(call, &domid))
		return;
	fd = part_export(daemon, domid, &len);
	if (fd < 0)
		msg_error(call, fd, "export: domain %u: %s", domid, strerror(-fd));
	else
		msg_reply_fds(call, json_pack("{s:I}", "octets", (json_int_t)len), &fd, 1);
	if (fd >= 0)
		close(fd);
}

static void admin_import(struct msg_call *call, void *daemon)
{
	uint32_t domid;

	if (call_domid(call, &domid))
		finish(call, daemon, part_import(daemon, domid, msg_call_take_fd(call, 0)), "import", "domain");
}

static void admin_expect(struct msg_call *call, void *daemon)
{
	uint32_t domid;
	int rc;

	if (!call_domid(call, &domid))
		return;
	rc = expect_domain(daemon, domid, msg_call_take_fd(call, 0), msg_call_take_fd(call, 1), msg_call_take_fd(call, 2));
	finish(call, daemon, rc, "expect", "domain");
}

/* ---- nodes ---- */

static int perms_parse(const json_t *list, struct tree_perm perms[TREE_PERMS_MAX], size_t *ret_n)
{
	static const char letters[] = "nrwb";
	size_t i, n = json_array_size(list);
	const json_t *item;

	if (n > TREE_PERMS_MAX)
		return -ENOSPC;
	json_array_foreach(list, i, item) {
		const char *text = json_string_value(item), *at = text && *text ? strchr(letters, *text) : NULL;
		char *end;

		if (!at || text[1] < '0' || text[1] > '9')
			return -EINVAL;
		perms[i].domid = (uint32_t)strtoul(text + 1, &end, 10);
		perms[i].bits = (uint8_t)(at - letters);
		if (*end)
			return -EINVAL;
	}
	*ret_n = n;
	return 0;
}

static int item_write(struct txn *x, const char *path, const json_t *item)
{
	const json_t *value = json_object_get(item, "value");

	if (!json_is_string(value))
		return -EINVAL;
	return txn_write(x, &dom0, path, json_string_value(value), json_string_length(value));
}

static int item_mkdir(struct txn *x, const char *path, const json_t *item)
{
	return txn_mkdir(x, &dom0, path);
}

static int item_rm(struct txn *x, const char *path, const json_t *item)
{
	int rc = txn_rm(x, &dom0, path);

	return rc == -ENOENT ? 0 : rc;
}

static int item_setperms(struct txn *x, const char *path, const json_t *item)
{
	return json_array_size(json_object_get(item, "perms")) ? 0 : -EINVAL;
}

static const struct {
	const char *op;
	int (*run)(struct txn *x, const char *path, const json_t *item);
} item_ops[] = {
	{ "write", item_write }, { "mkdir", item_mkdir }, { "rm", item_rm }, { "setperms", item_setperms },
};

/* One {"op", "path", "value", "perms"}; the operation named by `op` when the item names none. */
static int item_run(struct txn *x, const char *op, const json_t *item)
{
	const char *own = json_string_value(json_object_get(item, "op")), *path = json_string_value(json_object_get(item, "path"));
	struct tree_perm perms[TREE_PERMS_MAX];
	size_t n = 0, i;
	int rc = -ENOSYS;

	if (!path || !tree_path_valid(path))
		return -EINVAL;
	op = own ? own : op;
	for (i = 0; i < sizeof(item_ops) / sizeof(item_ops[0]); i++)
		if (strcmp(item_ops[i].op, op) == 0)
			rc = item_ops[i].run(x, path, item);
	if (rc == 0)
		rc = perms_parse(json_object_get(item, "perms"), perms, &n);
	return rc == 0 && n ? txn_set_perms(x, &dom0, path, perms, n) : rc;
}

/* All of it, or nothing. *ret_at: the item that failed. */
static int items_run(struct stored *d, const char *op, const json_t *const *items, size_t n, size_t *ret_at)
{
	struct txn *x = txn_new(&d->store.tree, 0, false);
	size_t i;
	int rc = x ? 0 : -ENOMEM;

	for (i = 0; rc == 0 && i < n; i++) {
		*ret_at = i;
		rc = item_run(x, op, items[i]);
	}
	if (rc == 0)
		rc = txn_commit(x, &dom0, &d->store.tree);
	txn_free(x);
	return rc;
}

static void one_item(struct msg_call *call, struct stored *d, const char *op)
{
	json_t *item = json_copy((json_t *)(uintptr_t)msg_call_request(call));
	const json_t *items[1] = { item };
	const char *path;
	size_t at = 0;

	json_object_del(item, "op");
	if (msg_call_str(call, "path", &path))
		finish(call, d, items_run(d, op, items, 1, &at), op, path);
	json_decref(item);
}

static void admin_write(struct msg_call *call, void *daemon)
{
	one_item(call, daemon, "write");
}

static void admin_mkdir(struct msg_call *call, void *daemon)
{
	one_item(call, daemon, "mkdir");
}

static void admin_rm(struct msg_call *call, void *daemon)
{
	one_item(call, daemon, "rm");
}

static void admin_setperms(struct msg_call *call, void *daemon)
{
	one_item(call, daemon, "setperms");
}

static void admin_batch(struct msg_call *call, void *daemon)
{
	const json_t *batch = json_object_get(msg_call_request(call), "batch"), *item;
	const json_t **items;
	const char *path;
	size_t i, n = json_array_size(batch), at = 0;
	int rc;

	if (!json_is_array(batch) || n > BATCH_MAX) {
		msg_error(call, -EINVAL, "batch is a list of at most %d items", BATCH_MAX);
		return;
	}
	items = calloc(n ? n : 1, sizeof(*items));
	if (!items) {
		msg_error(call, -ENOMEM, "batch: out of memory");
		return;
	}
	json_array_foreach(batch, i, item)
		items[i] = item;
	rc = items_run(daemon, "write", items, n, &at);
	path = n ? json_string_value(json_object_get(items[at], "path")) : NULL;
	finish(call, daemon, rc, "batch", path ? path : "item without path");
	free(items);
}

static void admin_read(struct msg_call *call, void *daemon)
{
	struct stored *d = daemon;
	const struct tree_node *node;
	json_t *value, *children;
	const char *path;
	size_t i;

	if (!msg_call_str(call, "path", &path))
		return;
	node = tree_path_valid(path) ? tree_find(&d->store.tree, path) : NULL;
	if (!node) {
		msg_error(call, -ENOENT, "read %s: no such node", path);
		return;
	}
	value = json_stringn((const char *)node->value, node->value_len);
	if (!value) {
		msg_error(call, -EILSEQ, "read %s: the value is not UTF-8; use xenstore-read", path);
		return;
	}
	children = json_array();
	for (i = 0; i < node->n_children && i < 512; i++)
		json_array_append_new(children, json_string(node->children[i].name));
	msg_reply(call, json_pack("{s:o, s:o}", "value", value, "children", children));
}

const struct msg_op admin_ops[] = {
	{ "introduce", MSG_ROOT, admin_introduce },
	{ "release", MSG_ROOT, admin_release },
	{ "export", MSG_ROOT, admin_export },
	{ "import", MSG_ROOT, admin_import },
	{ "expect", MSG_ROOT, admin_expect },
	{ "write", MSG_ROOT, admin_write },
	{ "mkdir", MSG_ROOT, admin_mkdir },
	{ "rm", MSG_ROOT, admin_rm },
	{ "setperms", MSG_ROOT, admin_setperms },
	{ "batch", MSG_ROOT, admin_batch },
	{ "read", MSG_ROOT, admin_read },
	{ NULL, MSG_ROOT, NULL },
};
