/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iscsi_lun.h - one iSCSI disk of the domain: a thread that keeps its session, its reservation and its I/O.
 *
 *   IDLE --register--> REGISTERED --activate--> ACTIVE --release--> RELEASED
 *                                                 |
 *                                                 +-- another node's key is found --> KEY_LOST
 *
 * A lost session is no state of its own: whatever the state, the thread connects again every half second, checks that the
 * registration and the reservation still stand as ours, registers the session, and gives every unanswered request to the target
 * again.  Writes given twice are the same octets to the same place, and the old session's tasks have ended before the new
 * one exists (same ISID).  In KEY_LOST no request is ever answered: the guest's disk stands still.
 */
#ifndef STORAGE_ISCSI_LUN_H
#define STORAGE_ISCSI_LUN_H

#include "lib/proto/hv_disk.h"
#include "storage/iscsi_session.h"

enum lun_state { LUN_IDLE, LUN_REGISTERED, LUN_ACTIVE, LUN_RELEASED, LUN_KEY_LOST };

/* Whom an activation shuts out: nobody (who holds the disk is in the way); this domain's keys of older numbers alone; all of this domain's. */
enum lun_take { LUN_TAKE_NOTHING, LUN_TAKE_OLDER, LUN_TAKE_ALL };

struct lun;

struct lun_conf {
	struct iscsi_conf iscsi;
	char vdev[16];
	bool readonly;               /* no key, no reservation */
	uint64_t key;                /* ours */
	uint64_t key_mask;           /* keys equal to ours under this mask are this domain's on this node, from an earlier start */
	/* its bits outside key_mask are the number of the claim or attempt, which counts up and wraps */
	uint64_t key_domain_mask;    /* keys equal to ours under this mask are this domain's on any node: a claim may take these, no others */
	unsigned io_timeout_s;       /* 0: wait for a lost target for ever */
	uint8_t *region;             /* HV_DISK_REGION octets of bounce slots */
};

/* reply runs on the LUN's thread, once for each request. */
typedef void lun_reply_fn(void *arg, uint64_t id, int status);
struct lun *lun_create(const struct lun_conf *conf, lun_reply_fn *reply, void *arg);
/* Ends the thread; requests without an answer are dropped. */
void lun_destroy(struct lun *l);

/* Each waits for its end.  0 or -errno with err. */
int lun_register(struct lun *l, struct err *err);
int lun_activate(struct lun *l, enum lun_take take, struct err *err);
int lun_drain(struct lun *l, int timeout_ms, struct err *err);     /* -ETIMEDOUT: requests are still held */
int lun_release(struct lun *l, struct err *err);                   /* -EKEYREJECTED: it had been shut out; nothing is left to give back */
/* The same begun only, for all of a domain's disks at once; lun_finish waits, once for each begin, and says what came of it. */
void lun_activate_begin(struct lun *l, enum lun_take take);
void lun_release_begin(struct lun *l);
int lun_finish(struct lun *l, struct err *err);

/* From any thread.  An invalid request is answered with -EINVAL. */
void lun_submit(struct lun *l, const struct hv_disk_req *q);

enum lun_state lun_state(const struct lun *l);
bool lun_connected(const struct lun *l);
uint64_t lun_sectors(const struct lun *l);            /* of 512 octets; after register */
uint32_t lun_sector_size(const struct lun *l);
const struct lun_conf *lun_conf(const struct lun *l);
unsigned lun_in_flight(const struct lun *l);          /* without an answer */

#endif
