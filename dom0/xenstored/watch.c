/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See watch.h. */
#include "dom0/xenstored/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void watch_free(struct watch *w)
{
	free(w->path);
	free(w->token);
	free(w);
}

int watch_add(struct watch_set *set, struct watch_owner *owner, const char *path, size_t relative, const char *token, int depth,
	      struct watch **ret)
{
	struct watch **end = &set->head, *w;

	for (; *end; end = &(*end)->next)
		if ((*end)->owner == owner && strcmp((*end)->path, path) == 0 && strcmp((*end)->token, token) == 0)
			return -EEXIST;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct watch){ .owner = owner, .path = strdup(path), .token = strdup(token), .relative = relative, .depth = depth };
	if (!w->path || !w->token) {
		watch_free(w);
		return -ENOMEM;
	}
	*end = w;
	*ret = w;
	return 0;
}

int watch_remove(struct watch_set *set, const struct watch_owner *owner, const char *path, const char *token)
{
	struct watch **at, *w;

	for (at = &set->head; (w = *at); at = &w->next) {
		if (w->owner != owner || strcmp(w->path, path) || strcmp(w->token, token))
			continue;
		*at = w->next;
		watch_free(w);
		return 0;
	}
	return -ENOENT;
}

void watch_remove_all(struct watch_set *set, const struct watch_owner *owner)
{
	struct watch **at = &set->head, *w;

	while ((w = *at)) {
		if (w->owner != owner) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		watch_free(w);
	}
}

unsigned watch_count(const struct watch_set *set, const struct watch_owner *owner)
{
	const struct watch *w;
	unsigned n = 0;

	for (w = set->head; w; w = w->next)
		n += w->owner == owner;
	return n;
}

bool watch_matches(const struct watch *w, const char *path, bool exact)
{
	size_t len = strlen(w->path);
	int depth = 0;

	if (strcmp(w->path, path) == 0)
		return true;
	if (exact)
		return false;
	if (len == 1)
		path += 1;		/* "/": everything is below it */
	else if (strncmp(path, w->path, len) == 0 && path[len] == '/')
		path += len + 1;
	else
		return false;
	if (w->depth == WATCH_ANY_DEPTH)
		return path[0] != '@';
	for (depth = 1; (path = strchr(path, '/')); path++)
		depth++;
	return depth <= w->depth;
}

/*
 * XSA-115: an event tells that a node exists, so only who may read it hears of it: by its permissions after the change or
 * before it; when it came or went, by its parent's as well, since who may list the parent sees that anyway.
 */
bool watch_permitted(const struct tree_caller *who, const struct tree_change *change)
{
	if (who->privileged)
		return true;
	if (change->now && tree_node_rights(change->now, who) & TREE_PERM_READ)
		return true;
	if (change->old && tree_node_rights(change->old, who) & TREE_PERM_READ)
		return true;
	return (!change->now || !change->old) && change->parent && tree_node_rights(change->parent, who) & TREE_PERM_READ;
}

const char *watch_event_path(const struct watch *w, const char *path)
{
	size_t len = strlen(path);

	if (strncmp(path, "/@", 2) == 0)
		return path + 1;
	return w->relative < len ? path + w->relative : path;
}
