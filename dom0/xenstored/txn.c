/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See txn.h. The base snapshot stays as it was when the transaction began; `work` is the one the transaction writes to. */
#include "dom0/xenstored/txn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum log_kind { LOG_WRITE, LOG_MKDIR, LOG_RM, LOG_PERMS };

struct log_entry {
	enum log_kind kind;
	char *path;
	void *data;		/* value, or struct tree_perm[] */
	size_t n;		/* octets, or permissions */
};

struct note {
	char *path;
	enum txn_look look;
};

struct txn {
	uint32_t id;
	bool doomed;
	struct tree base, work;
	struct log_entry *log;
	size_t n_log, log_octets;
	struct note *notes;	/* sorted */
	size_t n_notes;
};

struct txn *txn_new(const struct tree *main, uint32_t id, bool doomed)
{
	struct txn *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->id = id;
	x->doomed = doomed;
	if (tree_snapshot(main, &x->base) || tree_snapshot(main, &x->work)) {
		txn_free(x);
		return NULL;
	}
	return x;
}

void txn_free(struct txn *x)
{
	size_t i;

	if (!x)
		return;
	for (i = 0; i < x->n_log; i++) {
		free(x->log[i].path);
		free(x->log[i].data);
	}
	for (i = 0; i < x->n_notes; i++)
		free(x->notes[i].path);
	free(x->log);
	free(x->notes);
	if (x->base.root)
		tree_done(&x->base);
	if (x->work.root)
		tree_done(&x->work);
	free(x);
}

uint32_t txn_id(const struct txn *x)
{
	return x->id;
}

struct tree *txn_tree(struct txn *x)
{
	return &x->work;
}

/* ---- what it looked at ---- */

static bool note_search(const struct txn *x, const char *path, enum txn_look look, size_t *ret_at)
{
	size_t low = 0, high = x->n_notes;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int c = strcmp(x->notes[mid].path, path);

		if (c == 0)
			c = (int)x->notes[mid].look - (int)look;
		if (c == 0)
			return true;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_at = low;
	return false;
}

int txn_note(struct txn *x, const struct tree_caller *who, const char *path, enum txn_look look)
{
	struct note *more;
	size_t at;

	if (note_search(x, path, look, &at))
		return 0;
	if (x->n_notes >= (who->privileged ? 10 * TXN_NOTES_MAX : TXN_NOTES_MAX))
		return -ENOSPC;
	more = realloc(x->notes, (x->n_notes + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	x->notes = more;
	memmove(more + at + 1, more + at, (x->n_notes - at) * sizeof(*more));
	more[at] = (struct note){ .path = strdup(path), .look = look };
	if (more[at].path) {
		x->n_notes++;
		return 0;
	}
	memmove(more + at, more + at + 1, (x->n_notes - at) * sizeof(*more));
	return -ENOMEM;
}

/* A writer depends on the node it writes, or on its absence and the rights of the node above that let it be made. */
static int note_for_write(struct txn *x, const struct tree_caller *who, const char *path)
{
	char above[TREE_PATH_MAX + 1];
	size_t len;
	int rc = txn_note(x, who, path, TXN_LOOK_NODE);

	(void)tree_find_nearest(&x->base, path, &len);
	if (rc < 0 || len == strlen(path))
		return rc;
	memcpy(above, path, len);
	above[len] = '\0';
	return txn_note(x, who, above, TXN_LOOK_NODE);
}

static bool note_holds(const struct note *note, const struct tree *base, const struct tree *main)
{
	const struct tree_node *was = tree_find(base, note->path), *is = tree_find(main, note->path);

	if (!was || !is)
		return was == is;
	return note->look == TXN_LOOK_NODE ? was->gen == is->gen : was->children_gen == is->children_gen;
}

/* ---- what it did ---- */

static int log_add(struct txn *x, const struct tree_caller *who, enum log_kind kind, const char *path, const void *data, size_t n)
{
	size_t octets = kind == LOG_PERMS ? n * sizeof(struct tree_perm) : n;
	struct log_entry *more;

	x->log_octets += octets + strlen(path) + sizeof(*more);
	if (x->log_octets > (who->privileged ? 10 * TXN_LOG_MAX : TXN_LOG_MAX))
		return -ENOSPC;
	more = realloc(x->log, (x->n_log + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	x->log = more;
	more += x->n_log;
	*more = (struct log_entry){ .kind = kind, .path = strdup(path), .data = malloc(octets ? octets : 1), .n = n };
	if (!more->path || !more->data) {
		free(more->path);
		free(more->data);
		return -ENOMEM;
	}
	if (octets)
		memcpy(more->data, data, octets);
	x->n_log++;
	return 0;
}

static int log_play(const struct log_entry *e, const struct tree_caller *who, struct tree *t)
{
	switch (e->kind) {
	case LOG_WRITE:
		return tree_write(t, who, e->path, e->data, e->n);
	case LOG_MKDIR:
		return tree_mkdir(t, who, e->path);
	case LOG_RM:
		return tree_rm(t, who, e->path);
	case LOG_PERMS:
		return tree_set_perms(t, who, e->path, e->data, e->n);
	}
	return -EINVAL;
}

/* Notes, logs and does one operation. An operation that fails in the snapshot leaves no log entry. */
static int operate(struct txn *x, const struct tree_caller *who, enum log_kind kind, const char *path, const void *data, size_t n)
{
	int rc = note_for_write(x, who, path);

	if (rc == 0)
		rc = log_add(x, who, kind, path, data, n);
	if (rc < 0)
		return rc;
	rc = log_play(&x->log[x->n_log - 1], who, &x->work);
	if (rc < 0) {
		x->n_log--;
		free(x->log[x->n_log].path);
		free(x->log[x->n_log].data);
	}
	return rc;
}

int txn_write(struct txn *x, const struct tree_caller *who, const char *path, const void *value, size_t len)
{
	return operate(x, who, LOG_WRITE, path, value, len);
}

int txn_mkdir(struct txn *x, const struct tree_caller *who, const char *path)
{
	return operate(x, who, LOG_MKDIR, path, NULL, 0);
}

int txn_rm(struct txn *x, const struct tree_caller *who, const char *path)
{
	return operate(x, who, LOG_RM, path, NULL, 0);
}

int txn_set_perms(struct txn *x, const struct tree_caller *who, const char *path, const struct tree_perm *perms, size_t n)
{
	return operate(x, who, LOG_PERMS, path, perms, n);
}

/* ---- the end ---- */

/* Played on a scratch copy first: rights and quotas may have changed where no note tells, and a half-played log must not be. */
static int rehearse(const struct txn *x, const struct tree_caller *who, const struct tree *main)
{
	struct tree scratch;
	size_t i;
	int rc = tree_snapshot(main, &scratch);

	if (rc < 0)
		return rc;
	for (i = 0; rc == 0 && i < x->n_log; i++)
		rc = log_play(&x->log[i], who, &scratch);
	tree_done(&scratch);
	return rc == 0 || rc == -ENOMEM ? rc : -EAGAIN;
}

int txn_commit(struct txn *x, const struct tree_caller *who, struct tree *main)
{
	size_t i;
	int rc;

	if (x->doomed)
		return -EAGAIN;
	for (i = 0; i < x->n_notes; i++)
		if (!note_holds(&x->notes[i], &x->base, main))
			return -EAGAIN;
	rc = rehearse(x, who, main);
	for (i = 0; rc == 0 && i < x->n_log; i++)
		rc = log_play(&x->log[i], who, main);
	return rc;
}
