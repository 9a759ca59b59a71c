/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The store's tree: nodes, permissions, generations, quotas. Pure: no descriptors, no clock, no globals.
 *
 * Nodes are counted references and copied on write, so a snapshot costs one reference and a write in either tree copies only
 * the nodes on its path. Every node carries two generations: `gen` moves with its value and permissions (and at creation),
 * `children_gen` with its list of children. Two transactions conflict only where these moved.
 *
 * Paths are canonical here: "/" or "/a/b", valid by tree_path_valid().
 */
#ifndef HAVEN_XENSTORED_TREE_H
#define HAVEN_XENSTORED_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_PERM_READ 1u
#define TREE_PERM_WRITE 2u

#define TREE_PATH_MAX 3072	/* XENSTORE_ABS_PATH_MAX of Xen's xs_wire.h */
#define TREE_VALUE_MAX 4096
#define TREE_PERMS_MAX 32	/* entries a node may carry */

/* Quotas of a guest, those of Xen's xenstored; Domain-0 has none. */
#define TREE_GUEST_NODES_MAX 1000
#define TREE_GUEST_VALUE_MAX 2048
#define TREE_GUEST_PERMS_MAX 5

/* Entry 0: the owner, and what domains not listed may do. */
struct tree_perm {
	uint32_t domid;
	uint8_t bits;
};

struct tree_node {
	unsigned refs;
	uint64_t gen, children_gen;
	uint8_t *value;
	size_t value_len;
	struct tree_perm *perms;
	size_t n_perms;
	struct tree_child *children;	/* by name */
	size_t n_children;
};

struct tree_child {
	char *name;
	struct tree_node *node;
};

/* Who asks. A guest may act with its target's permissions too (a stub domain for its guest); TREE_NO_TARGET: none. */
#define TREE_NO_TARGET UINT32_MAX
struct tree_caller {
	uint32_t domid, target;
	bool privileged;
};

enum tree_event {
	TREE_IMPLIED,	/* a missing parent was made */
	TREE_SET,	/* created, written or permissions changed */
	TREE_REMOVED,	/* the root of what was removed */
	TREE_REMOVED_BELOW,
};

/*
 * One change as it happens. `old` is the node before (NULL: it was not there), `now` after (NULL: it is gone), `parent` the
 * parent after the change. Valid during the call only.
 */
struct tree_change {
	enum tree_event event;
	const char *path;
	const struct tree_node *old, *now, *parent;
};

typedef void (*tree_changed_fn)(void *arg, const struct tree_change *change);

struct tree_count {
	uint32_t domid;
	uint32_t nodes;
};

struct tree {
	struct tree_node *root;
	uint64_t gen;			/* the last one given out */
	struct tree_count *counts;	/* nodes owned, by domain */
	size_t n_counts;
	tree_changed_fn changed;	/* may be NULL */
	void *arg;
};

/* A tree of one node, "/", owned by domain 0. */
int tree_init(struct tree *t);
void tree_done(struct tree *t);
/* *to becomes what *from is (without its change callback); cheap. */
int tree_snapshot(const struct tree *from, struct tree *to);

bool tree_path_valid(const char *path);
/* NULL: not there. */
const struct tree_node *tree_find(const struct tree *t, const char *path);
const struct tree_node *tree_node_find(const struct tree_node *root, const char *path);
/* The deepest node on the way to `path` that is there, `path` itself included. *ret_len: the length of its path ("/": 1). */
const struct tree_node *tree_find_nearest(const struct tree *t, const char *path, size_t *ret_len);
/* What `who` may do with the node. */
unsigned tree_node_rights(const struct tree_node *node, const struct tree_caller *who);
uint32_t tree_count_of(const struct tree *t, uint32_t domid);

/*
 * The operations, with Xen's checks and errors: -EACCES (no right), -ENOENT (and none that the caller may know of), -ENOSPC
 * (quota), -EINVAL, -EPERM (owner), -ENOMEM. On failure nothing changed.
 */
int tree_check(const struct tree *t, const struct tree_caller *who, const char *path, unsigned right,
	       const struct tree_node **ret_node);
int tree_write(struct tree *t, const struct tree_caller *who, const char *path, const void *value, size_t len);
int tree_mkdir(struct tree *t, const struct tree_caller *who, const char *path);
int tree_rm(struct tree *t, const struct tree_caller *who, const char *path);
int tree_set_perms(struct tree *t, const struct tree_caller *who, const char *path, const struct tree_perm *perms, size_t n);

/* Sets a node as a record says it was, without checks; parents that are missing are made like their parent. */
int tree_restore_node(struct tree *t, const char *path, const void *value, size_t len, const struct tree_perm *perms, size_t n);
/* Removes without checks; -ENOENT when it is not there. */
int tree_remove(struct tree *t, const char *path);
/* A domain is gone: what it owned is domain 0's, and no permission names it. */
int tree_forget_domain(struct tree *t, uint32_t domid);

/* Calls fn for the node at `path` and all below, parents first. A non-zero return ends it and is returned. */
int tree_walk(const struct tree *t, const char *path, int (*fn)(void *arg, const char *path, const struct tree_node *node),
	      void *arg);

#endif
