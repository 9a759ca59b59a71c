/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watches. Pure: who watches what, and which watches a change fires. Who a watcher is and how it is told is the caller's
 * business (struct watch_owner is opaque here).
 */
#ifndef HAVEN_XENSTORED_WATCH_H
#define HAVEN_XENSTORED_WATCH_H

#include "dom0/xenstored/tree.h"

#define WATCH_TOKEN_MAX 1000	/* with a path of TREE_PATH_MAX it fits XENSTORE_PAYLOAD_MAX */
#define WATCH_ANY_DEPTH (-1)

struct watch_owner;

struct watch {
	struct watch *next;
	struct watch_owner *owner;
	char *path;		/* canonical; special ones are "/@introduceDomain" and "/@releaseDomain" */
	char *token;
	size_t relative;	/* how much of an event's path its owner did not write: "/local/domain/3/" of a relative one */
	int depth;		/* levels below `path` that count; WATCH_ANY_DEPTH: all */
};

struct watch_set {
	struct watch *head;	/* in order of registration */
};

/* -EEXIST when this owner has the same path and token; -ENOMEM. *ret is the set's. */
int watch_add(struct watch_set *set, struct watch_owner *owner, const char *path, size_t relative, const char *token, int depth,
	      struct watch **ret);
/* -ENOENT when there is no such watch. */
int watch_remove(struct watch_set *set, const struct watch_owner *owner, const char *path, const char *token);
void watch_remove_all(struct watch_set *set, const struct watch_owner *owner);
unsigned watch_count(const struct watch_set *set, const struct watch_owner *owner);

/*
 * Does a change at `path` fire the watch? `exact`: only a watch on the very path does (nodes below one that was removed:
 * watchers further up hear of the removed one alone).
 */
bool watch_matches(const struct watch *w, const char *path, bool exact);
/* May a watcher with these credentials hear of the change? See the rules of XSA-115 in watch.c. */
bool watch_permitted(const struct tree_caller *who, const struct tree_change *change);
/* The path as the watch's owner is told it: into the middle of `path`, or `path` itself. */
const char *watch_event_path(const struct watch *w, const char *path);

#endif
