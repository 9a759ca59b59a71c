/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The store's state as records (docs/specs/xenstored-journal.md): the journal's, and those of a domain that moves.
 * Encoding appends to a buf; the state_log_* ones append to store.journal unless the store is replaying.
 */
#ifndef HAVEN_XENSTORED_STORE_STATE_H
#define HAVEN_XENSTORED_STORE_STATE_H

#include "dom0/xenstored/store_core.h"

#define STATE_EXPORT_MAX (16u * 1024 * 1024)	/* octets of one domain's records */

void state_log_node(struct store *s, const char *path, const struct tree_node *node);
void state_log_remove(struct store *s, const char *path);
void state_log_domain(struct store *s, uint32_t domid, uint32_t target);
void state_log_release(struct store *s, uint32_t domid);
void state_log_reset(struct store *s, uint32_t domid);
void state_log_watch(struct store *s, uint32_t domid, const struct watch *w);
void state_log_unwatch(struct store *s, uint32_t domid, const char *path, const char *token);
void state_log_txn(struct store *s, uint32_t domid, uint32_t id, bool open);
void state_log_reply(struct store *s, const struct store_domain *d);
void state_log_event(struct store *s, uint32_t domid, uint64_t seq, const char *path, const char *token);
void state_log_ack(struct store *s, uint32_t domid, uint64_t seq);

/* Everything that outlives the process, as records. */
int state_write_all(struct store *s, struct buf *out);
/* Applies records of the store's own journal; the store is to be `replaying`. -EINVAL when they are malformed. */
int state_replay(struct store *s, const uint8_t *records, size_t len);

/* One domain: its nodes, connection, counters. -ENOENT when it is unknown. */
int state_export(struct store *s, uint32_t domid, struct buf *out);
/*
 * The same, back, journalled. The records may come from anywhere: they are checked before anything is changed, and can
 * name no node but the domain's own. -EINVAL, -EEXIST when the domain is known here, -EPERM when they reach further.
 */
int state_import(struct store *s, uint32_t domid, const uint8_t *records, size_t len);

#endif
