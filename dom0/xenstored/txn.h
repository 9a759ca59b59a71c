/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transactions. Pure. A transaction works on a snapshot, notes what it looked at and logs what it did; at its end, when
 * nothing it looked at has changed in the meantime, the log is played on the tree. Otherwise -EAGAIN, and nothing happened.
 * What it looked at: a node's value and permissions, or its list of children, so siblings made side by side do not conflict.
 *
 *	open --op--> open --end(T), no conflict--> committed
 *	                  --end(T), conflict-----> -EAGAIN
 *	                  --end(F)---------------> gone
 *	doomed: an open one from before a restart or a move. Works on a fresh snapshot; its end(T) is -EAGAIN.
 */
#ifndef HAVEN_XENSTORED_TXN_H
#define HAVEN_XENSTORED_TXN_H

#include "dom0/xenstored/tree.h"

/* Bounds of one transaction of a guest; Domain-0's are ten times these. */
#define TXN_NOTES_MAX 1024
#define TXN_LOG_MAX (256u * 1024)	/* octets */

enum txn_look { TXN_LOOK_NODE, TXN_LOOK_LIST };

struct txn;

/* A transaction on `main`. NULL: out of memory. */
struct txn *txn_new(const struct tree *main, uint32_t id, bool doomed);
void txn_free(struct txn *x);
uint32_t txn_id(const struct txn *x);

/* The tree to read from. What is read is to be noted first: -ENOSPC past the bound, -ENOMEM. */
struct tree *txn_tree(struct txn *x);
int txn_note(struct txn *x, const struct tree_caller *who, const char *path, enum txn_look look);

/* tree.h's operations within the transaction. */
int txn_write(struct txn *x, const struct tree_caller *who, const char *path, const void *value, size_t len);
int txn_mkdir(struct txn *x, const struct tree_caller *who, const char *path);
int txn_rm(struct txn *x, const struct tree_caller *who, const char *path);
int txn_set_perms(struct txn *x, const struct tree_caller *who, const char *path, const struct tree_perm *perms, size_t n);

/* Plays it on `main`, whose change callback hears of it. 0, -EAGAIN or -ENOMEM; x stays the caller's to free. */
int txn_commit(struct txn *x, const struct tree_caller *who, struct tree *main);

#endif
