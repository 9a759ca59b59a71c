/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copy-on-write tree. A node with one reference, reached through nodes with one reference, is this tree's alone and is
 * changed in place; any other is cloned first (slot_own). Depth is bounded by the path length.
 */
#include "dom0/xenstored/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- nodes ---- */

static void node_unref(struct tree_node *n)
{
	size_t i;

	if (!n || --n->refs)
		return;
	for (i = 0; i < n->n_children; i++) {
		free(n->children[i].name);
		node_unref(n->children[i].node);
	}
	free(n->children);
	free(n->value);
	free(n->perms);
	free(n);
}

static void *bytes_dup(const void *p, size_t n)
{
	void *copy = malloc(n ? n : 1);

	if (copy && n)
		memcpy(copy, p, n);
	return copy;
}

static struct tree_node *node_new(const void *value, size_t len, const struct tree_perm *perms, size_t n_perms)
{
	struct tree_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->refs = 1;
	n->value = bytes_dup(value, len);
	n->value_len = len;
	n->perms = bytes_dup(perms, n_perms * sizeof(*perms));
	n->n_perms = n_perms;
	if (!n->value || !n->perms) {
		node_unref(n);
		return NULL;
	}
	return n;
}

static struct tree_node *node_clone(const struct tree_node *from)
{
	struct tree_node *n = node_new(from->value, from->value_len, from->perms, from->n_perms);
	size_t i;

	if (!n)
		return NULL;
	n->gen = from->gen;
	n->children_gen = from->children_gen;
	n->children = from->n_children ? calloc(from->n_children, sizeof(*n->children)) : NULL;
	if (from->n_children && !n->children)
		goto fail;
	for (i = 0; i < from->n_children; i++) {
		n->children[i].name = strdup(from->children[i].name);
		if (!n->children[i].name)
			goto fail;
		n->children[i].node = from->children[i].node;
		n->children[i].node->refs++;
		n->n_children = i + 1;
	}
	return n;
fail:
	node_unref(n);
	return NULL;
}

/* The node in *slot becomes this tree's alone. */
static struct tree_node *slot_own(struct tree_node **slot)
{
	struct tree_node *clone;

	if ((*slot)->refs == 1)
		return *slot;
	clone = node_clone(*slot);
	if (!clone)
		return NULL;
	node_unref(*slot);
	*slot = clone;
	return clone;
}

/* Where `name` is among the children, or would be; true when it is there. */
static bool child_search(const struct tree_node *n, const char *name, size_t len, size_t *ret_at)
{
	size_t low = 0, high = n->n_children;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int c = strncmp(n->children[mid].name, name, len);

		if (c == 0 && n->children[mid].name[len])
			c = 1;
		if (c == 0) {
			*ret_at = mid;
			return true;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_at = low;
	return false;
}

static int child_insert(struct tree_node *parent, size_t at, const char *name, size_t len, struct tree_node *child)
{
	struct tree_child *more = realloc(parent->children, (parent->n_children + 1) * sizeof(*more));
	char *copy = strndup(name, len);

	if (more)
		parent->children = more;
	if (!more || !copy) {
		free(copy);
		return -ENOMEM;
	}
	memmove(more + at + 1, more + at, (parent->n_children - at) * sizeof(*more));
	more[at].name = copy;
	more[at].node = child;
	parent->n_children++;
	return 0;
}

/* ---- paths ---- */

bool tree_path_valid(const char *path)
{
	size_t len = strlen(path), i;

	if (path[0] != '/' || len > TREE_PATH_MAX)
		return false;
	if (len > 1 && path[len - 1] == '/')
		return false;
	for (i = 0; i < len; i++) {
		char c = path[i];

		if (c == '/' && i + 1 < len && path[i + 1] == '/')
			return false;
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && !strchr("-/_@", c))
			return false;
	}
	return true;
}

/* Next component after *p (which points at '/' or the end): its start and length; false at the end. */
static bool component_next(const char **p, const char **ret_name, size_t *ret_len)
{
	while (**p == '/')
		(*p)++;
	if (!**p)
		return false;
	*ret_name = *p;
	*ret_len = strcspn(*p, "/");
	*p += *ret_len;
	return true;
}

static const struct tree_node *nearest(const struct tree_node *root, const char *path, const char **ret_rest)
{
	const struct tree_node *n = root;
	const char *p = path, *name;
	size_t len, at;

	*ret_rest = p;
	while (component_next(&p, &name, &len)) {
		if (!child_search(n, name, len, &at))
			return n;
		n = n->children[at].node;
		*ret_rest = p;
	}
	*ret_rest = p;
	return n;
}

const struct tree_node *tree_node_find(const struct tree_node *root, const char *path)
{
	const char *rest;
	const struct tree_node *n = nearest(root, path, &rest);

	return *rest && strcmp(rest, "/") ? NULL : n;
}

const struct tree_node *tree_find(const struct tree *t, const char *path)
{
	return tree_node_find(t->root, path);
}

const struct tree_node *tree_find_nearest(const struct tree *t, const char *path, size_t *ret_len)
{
	const char *rest;
	const struct tree_node *n = nearest(t->root, path, &rest);

	*ret_len = rest == path ? 1 : (size_t)(rest - path);
	return n;
}

/* The parent's path into buf (TREE_PATH_MAX + 1). */
static void parent_path(const char *path, char *buf)
{
	size_t len = (size_t)(strrchr(path, '/') - path);

	memcpy(buf, path, len);
	buf[len] = '\0';
	if (!len)
		strcpy(buf, "/");
}

/* ---- rights and quotas ---- */

static unsigned rights_of(const struct tree_node *n, uint32_t domid)
{
	size_t i;

	if (n->perms[0].domid == domid)
		return TREE_PERM_READ | TREE_PERM_WRITE;
	for (i = 1; i < n->n_perms; i++)
		if (n->perms[i].domid == domid)
			return n->perms[i].bits;
	return n->perms[0].bits;
}

unsigned tree_node_rights(const struct tree_node *node, const struct tree_caller *who)
{
	if (who->privileged)
		return TREE_PERM_READ | TREE_PERM_WRITE;
	if (who->target != TREE_NO_TARGET)
		return rights_of(node, who->domid) | rights_of(node, who->target);
	return rights_of(node, who->domid);
}

static struct tree_count *count_find(const struct tree *t, uint32_t domid)
{
	size_t i;

	for (i = 0; i < t->n_counts; i++)
		if (t->counts[i].domid == domid)
			return &t->counts[i];
	return NULL;
}

uint32_t tree_count_of(const struct tree *t, uint32_t domid)
{
	const struct tree_count *c = count_find(t, domid);

	return c ? c->nodes : 0;
}

/* Room for a domain's count, so that count_add cannot fail later. */
static int count_reserve(struct tree *t, uint32_t domid)
{
	struct tree_count *more;
	size_t i;

	if (count_find(t, domid))
		return 0;
	for (i = 0; i < t->n_counts; i++)
		if (!t->counts[i].nodes) {
			t->counts[i].domid = domid;
			return 0;
		}
	more = realloc(t->counts, (t->n_counts + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	t->counts = more;
	more[t->n_counts++] = (struct tree_count){ .domid = domid };
	return 0;
}

static void count_add(struct tree *t, uint32_t domid, int n)
{
	struct tree_count *c = count_find(t, domid);

	if (c)
		c->nodes += (uint32_t)n;
}

static void count_drop_all(struct tree *t, const struct tree_node *n)
{
	size_t i;

	count_add(t, n->perms[0].domid, -1);
	for (i = 0; i < n->n_children; i++)
		count_drop_all(t, n->children[i].node);
}

/* Nodes on the way to `path` that are not there. */
static uint32_t missing_nodes(const struct tree *t, const char *path)
{
	const char *rest, *name;
	uint32_t n = 0;
	size_t len;

	(void)nearest(t->root, path, &rest);
	while (component_next(&rest, &name, &len))
		n++;
	return n;
}

/*
 * The node at `path`, when `who` has `right` on it. Of a node that is not there a caller learns so only when it might have
 * read the nearest one above.
 */
int tree_check(const struct tree *t, const struct tree_caller *who, const char *path, unsigned right,
	       const struct tree_node **ret_node)
{
	const char *rest;
	const struct tree_node *n = nearest(t->root, path, &rest);
	bool there = !*rest || strcmp(rest, "/") == 0;

	if ((tree_node_rights(n, who) & right) != right)
		return -EACCES;
	if (!there)
		return -ENOENT;
	*ret_node = n;
	return 0;
}

/* ---- changing ---- */

static void notify(struct tree *t, enum tree_event event, const char *path, const struct tree_node *old,
		   const struct tree_node *now, const struct tree_node *parent)
{
	struct tree_change change = { .event = event, .path = path, .old = old, .now = now, .parent = parent };

	if (t->changed)
		t->changed(t->arg, &change);
}

/* The node at `path`, which is there, owned with all above it. */
static struct tree_node *path_own(struct tree *t, const char *path)
{
	struct tree_node *n = slot_own(&t->root);
	const char *p = path, *name;
	size_t len, at;

	while (n && component_next(&p, &name, &len)) {
		if (!child_search(n, name, len, &at))
			return NULL;
		n = slot_own(&n->children[at].node);
	}
	return n;
}

/* Makes one child of `parent`, which is owned. Empty value; permissions like the parent's, but a guest owns what it makes. */
static struct tree_node *child_make(struct tree *t, struct tree_node *parent, const struct tree_caller *who, const char *name,
				    size_t len)
{
	struct tree_node *n = node_new(NULL, 0, parent->perms, parent->n_perms);
	size_t at;

	if (!n)
		return NULL;
	if (!who->privileged)
		n->perms[0].domid = who->domid;
	if (count_reserve(t, n->perms[0].domid) || child_search(parent, name, len, &at) ||
	    child_insert(parent, at, name, len, n)) {
		node_unref(n);
		return NULL;
	}
	parent->children_gen = ++t->gen;
	n->gen = n->children_gen = t->gen;
	count_add(t, n->perms[0].domid, 1);
	return n;
}

/*
 * Makes `path` and the parents it lacks. The implied ones are announced, the last one is the caller's to announce.
 * Out of memory half way leaves empty parents behind, announced, as if someone had made them.
 */
static struct tree_node *path_make(struct tree *t, const struct tree_caller *who, const char *path)
{
	char sofar[TREE_PATH_MAX + 1];
	struct tree_node *n = slot_own(&t->root), *parent;
	const char *p = path, *name;
	size_t len, at;

	while (n && component_next(&p, &name, &len)) {
		parent = n;
		if (child_search(n, name, len, &at)) {
			n = slot_own(&n->children[at].node);
			continue;
		}
		n = child_make(t, n, who, name, len);
		if (n && *p) {
			memcpy(sofar, path, (size_t)(p - path));
			sofar[p - path] = '\0';
			notify(t, TREE_IMPLIED, sofar, NULL, n, parent);
		}
	}
	return n;
}

static const struct tree_node *parent_of(const struct tree *t, const char *path)
{
	char parent[TREE_PATH_MAX + 1];

	parent_path(path, parent);
	return tree_find(t, parent);
}

/* May `who` make `path`, which is not there? */
static int create_check(const struct tree *t, const struct tree_caller *who, const char *path)
{
	size_t len;
	const struct tree_node *above = tree_find_nearest(t, path, &len);

	if (!(tree_node_rights(above, who) & TREE_PERM_WRITE))
		return -EACCES;
	if (!who->privileged && tree_count_of(t, who->domid) + missing_nodes(t, path) > TREE_GUEST_NODES_MAX)
		return -ENOSPC;
	return 0;
}

static int value_set(struct tree *t, const char *path, const struct tree_caller *who, const void *value, size_t len)
{
	const struct tree_node *old = tree_find(t, path);
	uint8_t *copy = bytes_dup(value, len);
	struct tree_node *n;
	bool created = !old;

	n = copy ? path_make(t, who, path) : NULL;
	if (!n) {
		free(copy);
		return -ENOMEM;
	}
	free(n->value);
	n->value = copy;
	n->value_len = len;
	n->gen = ++t->gen;
	/* A value has no bearing on who may see the change, so the node as it is stands for the old one. */
	notify(t, TREE_SET, path, created ? NULL : n, n, parent_of(t, path));
	return 0;
}

int tree_write(struct tree *t, const struct tree_caller *who, const char *path, const void *value, size_t len)
{
	const struct tree_node *n = tree_find(t, path);
	int rc = 0;

	if (len > (who->privileged ? TREE_VALUE_MAX : TREE_GUEST_VALUE_MAX))
		return -ENOSPC;
	if (!n)
		rc = create_check(t, who, path);
	else if (!(tree_node_rights(n, who) & TREE_PERM_WRITE))
		rc = -EACCES;
	return rc < 0 ? rc : value_set(t, path, who, value, len);
}

int tree_mkdir(struct tree *t, const struct tree_caller *who, const char *path)
{
	const struct tree_node *n = tree_find(t, path);
	int rc;

	if (n)
		return tree_node_rights(n, who) & TREE_PERM_WRITE ? 0 : -EACCES;
	rc = create_check(t, who, path);
	return rc < 0 ? rc : value_set(t, path, who, NULL, 0);
}

static void removed_notify(struct tree *t, char *path, size_t len, const struct tree_node *n)
{
	size_t i, child_len;

	for (i = 0; i < n->n_children; i++) {
		child_len = strlen(n->children[i].name);
		path[len] = '/';
		memcpy(path + len + 1, n->children[i].name, child_len + 1);
		notify(t, TREE_REMOVED_BELOW, path, n->children[i].node, NULL, NULL);
		removed_notify(t, path, len + 1 + child_len, n->children[i].node);
	}
	path[len] = '\0';
}

int tree_remove(struct tree *t, const char *path)
{
	char buf[TREE_PATH_MAX + 1];
	const char *name = strrchr(path, '/') + 1;
	struct tree_node *parent, *gone;
	size_t at;

	if (!*name)
		return -EINVAL;
	if (!tree_find(t, path))
		return -ENOENT;
	parent_path(path, buf);
	parent = path_own(t, buf);
	if (!parent || !child_search(parent, name, strlen(name), &at))
		return -ENOMEM;
	gone = parent->children[at].node;
	free(parent->children[at].name);
	parent->n_children--;
	memmove(parent->children + at, parent->children + at + 1, (parent->n_children - at) * sizeof(*parent->children));
	parent->children_gen = ++t->gen;
	count_drop_all(t, gone);
	notify(t, TREE_REMOVED, path, gone, NULL, parent);
	strcpy(buf, path);
	removed_notify(t, buf, strlen(buf), gone);
	node_unref(gone);
	return 0;
}

/* As Xen's: removing what is not there is no error when its parent is. */
int tree_rm(struct tree *t, const struct tree_caller *who, const char *path)
{
	const struct tree_node *n;
	int rc;

	if (strcmp(path, "/") == 0)
		return -EINVAL;
	rc = tree_check(t, who, path, TREE_PERM_WRITE, &n);
	if (rc == -ENOENT && parent_of(t, path))
		return 0;
	return rc < 0 ? rc : tree_remove(t, path);
}

static int perms_set(struct tree *t, const char *path, const struct tree_perm *perms, size_t n)
{
	struct tree_perm *copy = bytes_dup(perms, n * sizeof(*perms));
	struct tree_node *node = NULL, *before;
	const struct tree_node *old = tree_find(t, path);

	before = copy && old ? node_new(NULL, 0, old->perms, old->n_perms) : NULL;
	if (before && count_reserve(t, perms[0].domid) == 0)
		node = path_own(t, path);
	if (!node) {
		node_unref(before);
		free(copy);
		return -ENOMEM;
	}
	count_add(t, node->perms[0].domid, -1);
	count_add(t, perms[0].domid, 1);
	free(node->perms);
	node->perms = copy;
	node->n_perms = n;
	node->gen = ++t->gen;
	notify(t, TREE_SET, path, before, node, path[1] ? parent_of(t, path) : node);
	node_unref(before);
	return 0;
}

int tree_set_perms(struct tree *t, const struct tree_caller *who, const char *path, const struct tree_perm *perms, size_t n)
{
	const struct tree_node *node;
	uint32_t owner;
	int rc;

	if (!n)
		return -EINVAL;
	if (n > (who->privileged ? TREE_PERMS_MAX : TREE_GUEST_PERMS_MAX))
		return -ENOSPC;
	rc = tree_check(t, who, path, TREE_PERM_WRITE, &node);
	if (rc < 0)
		return rc;
	owner = node->perms[0].domid;
	if (!who->privileged && ((owner != who->domid && owner != who->target) || perms[0].domid != owner))
		return -EPERM;
	return perms_set(t, path, perms, n);
}

int tree_restore_node(struct tree *t, const char *path, const void *value, size_t len, const struct tree_perm *perms, size_t n)
{
	static const struct tree_caller dom0 = { .privileged = true, .target = TREE_NO_TARGET };
	int rc;

	if (!n || n > TREE_PERMS_MAX || len > TREE_VALUE_MAX)
		return -EINVAL;
	rc = value_set(t, path, &dom0, value, len);
	return rc < 0 ? rc : perms_set(t, path, perms, n);
}

/* ---- whole trees ---- */

int tree_init(struct tree *t)
{
	static const struct tree_perm dom0 = { .domid = 0, .bits = 0 };

	memset(t, 0, sizeof(*t));
	t->root = node_new(NULL, 0, &dom0, 1);
	if (!t->root || count_reserve(t, 0)) {
		tree_done(t);
		return -ENOMEM;
	}
	t->root->gen = t->root->children_gen = t->gen = 1;
	count_add(t, 0, 1);
	return 0;
}

void tree_done(struct tree *t)
{
	node_unref(t->root);
	free(t->counts);
	memset(t, 0, sizeof(*t));
}

int tree_snapshot(const struct tree *from, struct tree *to)
{
	struct tree_count *counts = bytes_dup(from->counts, from->n_counts * sizeof(*counts));

	if (!counts)
		return -ENOMEM;
	*to = (struct tree){ .root = from->root, .gen = from->gen, .counts = counts, .n_counts = from->n_counts };
	to->root->refs++;
	return 0;
}

static int walk(char *path, size_t len, const struct tree_node *n, int (*fn)(void *, const char *, const struct tree_node *),
		void *arg)
{
	int rc = fn(arg, len ? path : "/", n);
	size_t i, child_len;

	for (i = 0; rc == 0 && i < n->n_children; i++) {
		child_len = strlen(n->children[i].name);
		path[len] = '/';
		memcpy(path + len + 1, n->children[i].name, child_len + 1);
		rc = walk(path, len + 1 + child_len, n->children[i].node, fn, arg);
		path[len] = '\0';
	}
	return rc;
}

int tree_walk(const struct tree *t, const char *path, int (*fn)(void *, const char *, const struct tree_node *), void *arg)
{
	char buf[TREE_PATH_MAX + 1];
	const struct tree_node *n = tree_find(t, path);

	if (!n)
		return 0;
	strcpy(buf, path[1] ? path : "");
	return walk(buf, strlen(buf), n, fn, arg);
}

struct forget {
	uint32_t domid;
	char **paths;
	size_t n_paths;
};

static int forget_collect(void *arg, const char *path, const struct tree_node *node)
{
	struct forget *f = arg;
	char **more;
	size_t i;

	for (i = 0; i < node->n_perms && node->perms[i].domid != f->domid; i++)
		;
	if (i == node->n_perms)
		return 0;
	more = realloc(f->paths, (f->n_paths + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	f->paths = more;
	more[f->n_paths] = strdup(path);
	return more[f->n_paths++] ? 0 : -ENOMEM;
}

static int forget_node(struct tree *t, const char *path, uint32_t domid)
{
	const struct tree_node *node = tree_find(t, path);
	struct tree_perm perms[TREE_PERMS_MAX];
	size_t i, n = 0;

	perms[n++] = node->perms[0].domid == domid ? (struct tree_perm){ .domid = 0 } : node->perms[0];
	for (i = 1; i < node->n_perms; i++)
		if (node->perms[i].domid != domid)
			perms[n++] = node->perms[i];
	return perms_set(t, path, perms, n);
}

int tree_forget_domain(struct tree *t, uint32_t domid)
{
	struct forget f = { .domid = domid };
	int rc = tree_walk(t, "/", forget_collect, &f);
	size_t i;

	for (i = 0; i < f.n_paths; i++) {
		if (rc == 0)
			rc = forget_node(t, f.paths[i], domid);
		free(f.paths[i]);
	}
	free(f.paths);
	return rc;
}
