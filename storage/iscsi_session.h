/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iscsi_session.h - one session to one LUN: login, size, SCSI-3 persistent reservation.  Used by one thread.
 *
 * Calls wait, each for at most its time-out; while they wait, answers to asynchronous tasks of the same session are served.
 * Errors: -ENOTCONN (the session is gone; session_close it), -EBUSY (RESERVATION CONFLICT), -EIO and others from the target.
 */
#ifndef STORAGE_ISCSI_SESSION_H
#define STORAGE_ISCSI_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "lib/deadlines.h"
#include "lib/err.h"

struct iscsi_conf {
	char portal[128];            /* numeric address and port */
	char iqn[224], initiator[224];
	int lun;
	uint32_t isid;               /* the same after a reconnect, so that the target ends the old session's tasks (RFC 7143 6.3.5) */
};

struct session_answer;
struct iscsi_session {
	struct iscsi_context *c;
	const struct iscsi_conf *conf;
	struct session_orphan {              /* of waits that gave up: freed with the context, which may still name them */
		struct session_answer *answer;
		struct scsi_task *task;
	} orphan[3];
};

#define SESSION_TIMEOUT_MS DL_TARGET_IO

/* Starts empty: { 0 }.  On error it is empty again. */
int session_open(struct iscsi_session *s, const struct iscsi_conf *conf, struct err *err);
void session_close(struct iscsi_session *s, bool logout);
static inline bool session_is_open(const struct iscsi_session *s) { return s->c != NULL; }

/* Serves the session for at most timeout_ms, or until wake_fd (-1: none) is readable.  0 or -ENOTCONN. */
int session_service(struct iscsi_session *s, int wake_fd, int timeout_ms);

int session_capacity(struct iscsi_session *s, uint64_t *ret_blocks, uint32_t *ret_block_size, struct err *err);

#define PR_MAX_KEYS 64
struct pr_state {
	uint32_t generation;         /* counts every change; 0: none since the target came up */
	unsigned nr_keys;            /* registered, at most PR_MAX_KEYS of them */
	uint64_t key[PR_MAX_KEYS];
	bool reserved;
	uint64_t holder;
	unsigned type;
};
int session_pr_read(struct iscsi_session *s, struct pr_state *ret, struct err *err);
bool pr_has_key(const struct pr_state *p, uint64_t key);

#define PR_TYPE SCSI_PERSISTENT_RESERVE_TYPE_WRITE_EXCLUSIVE_REGISTRANTS_ONLY
/* Service action sa (SCSI_PERSISTENT_RESERVE_*) with our key and its argument. */
int session_pr_out(struct iscsi_session *s, int sa, uint64_t key, uint64_t argument, struct err *err);

int session_lun_reset(struct iscsi_session *s, struct err *err);

#endif
