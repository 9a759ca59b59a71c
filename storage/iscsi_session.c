/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iscsi_session.c - see iscsi_session.h; libiscsi without its own reconnecting, which knows nothing of reservations. */
#include "config.h"
#include "storage/iscsi_session.h"
#include "lib/clock.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define PR_IN_BYTES 1024

int session_service(struct iscsi_session *s, int wake_fd, int timeout_ms)
{
	struct pollfd p[2] = {
		{ .fd = iscsi_get_fd(s->c), .events = (short)iscsi_which_events(s->c) },
		{ .fd = wake_fd, .events = POLLIN },
	};
	int r = poll(p, 2, timeout_ms);

	if (r < 0)
		return errno == EINTR ? 0 : -ENOTCONN;
	/* with no events it looks after its time-outs */
	return iscsi_service(s->c, p[0].revents) < 0 ? -ENOTCONN : 0;
}

/* ---- waiting for one answer ---- */

struct session_answer { bool done; int status; };

static void answer_cb(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct session_answer *a = arg;

	a->done = true;
	a->status = status;
}

static void orphan_add(struct iscsi_session *s, struct session_answer *a, struct scsi_task *t)
{
	for (size_t i = 0; i < sizeof(s->orphan) / sizeof(s->orphan[0]); i++)
		if (!s->orphan[i].answer) {
			s->orphan[i] = (struct session_orphan){ a, t };
			return;
		}
}

/* 0: answered.  Else the session is no good any more, and a and t (or NULL) are its orphans. */
static int answer_wait(struct iscsi_session *s, struct session_answer *a, struct scsi_task *t)
{
	int64_t end = monotonic_ms() + SESSION_TIMEOUT_MS;
	int rc = 0;

	while (!a->done && rc == 0) {
		int64_t left = end - monotonic_ms();

		rc = left <= 0 ? -ENOTCONN : session_service(s, -1, (int)left);
	}
	if (a->done)
		return 0;
	orphan_add(s, a, t);
	return rc;
}

/* The verdict on a finished command. */
static int status_rc(struct iscsi_session *s, const char *what, int status, const struct scsi_task *t, struct err *err)
{
	const char *iqn = s->conf->iqn;

	switch (status) {
	case SCSI_STATUS_GOOD:
		return 0;
	case SCSI_STATUS_RESERVATION_CONFLICT:
		return err_set(err, -EBUSY, "%s: %s: reservation conflict: another node has the disk", iqn, what);
	case SCSI_STATUS_CHECK_CONDITION:
		return err_set(err, t && t->sense.key == SCSI_SENSE_UNIT_ATTENTION ? -EAGAIN : -EIO, "%s: %s: the target says %s, %s", iqn, what,
			       scsi_sense_key_str(t ? (int)t->sense.key : 0), scsi_sense_ascq_str(t ? t->sense.ascq : 0));
	case SCSI_STATUS_CANCELLED:
	case SCSI_STATUS_ERROR:
	case SCSI_STATUS_TIMEOUT:
		return err_set(err, -ENOTCONN, "%s: %s: %s", iqn, what, iscsi_get_error(s->c));
	default:
		return err_set(err, -EAGAIN, "%s: %s: SCSI status 0x%02x", iqn, what, (unsigned)status);
	}
}

/* ---- the session ---- */

int session_open(struct iscsi_session *s, const struct iscsi_conf *conf, struct err *err)
{
	struct session_answer *a = calloc(1, sizeof(*a));
	int rc = 0;

	s->conf = conf;
	s->c = iscsi_create_context(conf->initiator);
	if (!a || !s->c) {
		rc = err_set(err, -ENOMEM, "%s: out of memory", conf->iqn);
		goto out;
	}
	iscsi_set_session_type(s->c, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(s->c, ISCSI_HEADER_DIGEST_NONE);
	iscsi_set_noautoreconnect(s->c, 1);
	iscsi_set_no_ua_on_reconnect(s->c, 1);
	iscsi_set_isid_random(s->c, conf->isid & 0xffffff, conf->isid >> 24);
	iscsi_set_targetname(s->c, conf->iqn);
	if (iscsi_full_connect_async(s->c, conf->portal, conf->lun, answer_cb, a) < 0) {
		rc = err_set(err, -ENOTCONN, "%s at %s: %s", conf->iqn, conf->portal, iscsi_get_error(s->c));
		goto out;
	}
	if (answer_wait(s, a, NULL) < 0) {
		rc = err_set(err, -ENOTCONN, "%s: no answer from the portal %s; check the network and the target", conf->iqn, conf->portal);
		a = NULL;
	} else if (a->status != SCSI_STATUS_GOOD) {
		rc = err_set(err, -ENOTCONN, "%s at %s, LUN %d: %s", conf->iqn, conf->portal, conf->lun, iscsi_get_error(s->c));
	}
out:
	if (rc < 0)
		session_close(s, false);
	free(a);
	return rc;
}

void session_close(struct iscsi_session *s, bool logout)
{
	struct session_answer *a = logout && s->c ? calloc(1, sizeof(*a)) : NULL;

	if (a && iscsi_logout_async(s->c, answer_cb, a) == 0 && answer_wait(s, a, NULL) < 0)
		a = NULL;
	if (s->c)
		iscsi_destroy_context(s->c);
	s->c = NULL;
	for (size_t i = 0; i < sizeof(s->orphan) / sizeof(s->orphan[0]); i++) {
		free(s->orphan[i].answer);
		if (s->orphan[i].task)
			scsi_free_scsi_task(s->orphan[i].task);
		s->orphan[i] = (struct session_orphan){ 0 };
	}
	free(a);
}

/* Runs what `start` began.  *ret_task (the caller frees it) is set on 0 alone. */
static int command_finish(struct iscsi_session *s, const char *what, struct scsi_task *t, struct session_answer *a, struct scsi_task **ret_task,
			  struct err *err)
{
	int rc;

	if (!t) {
		free(a);
		return err_set(err, -ENOTCONN, "%s: %s: %s", s->conf->iqn, what, iscsi_get_error(s->c));
	}
	if (answer_wait(s, a, t) < 0)
		return err_set(err, -ENOTCONN, "%s: %s: no answer", s->conf->iqn, what);
	rc = status_rc(s, what, a->status, t, err);
	free(a);
	if (rc == 0 && ret_task)
		*ret_task = t;
	else
		scsi_free_scsi_task(t);
	return rc;
}

/* A unit attention says that something happened, and takes the command's place: it is given again. */
#define RETRY_UNIT_ATTENTION(rc, call) do { \
		int left_ = 4; \
		do \
			(rc) = (call); \
		while ((rc) == -EAGAIN && --left_); \
	} while (0)

static int capacity_once(struct iscsi_session *s, struct scsi_task **ret, struct err *err)
{
	struct session_answer *a = calloc(1, sizeof(*a));

	return a ? command_finish(s, "READ CAPACITY", iscsi_readcapacity16_task(s->c, s->conf->lun, answer_cb, a), a, ret, err) : -ENOMEM;
}

int session_capacity(struct iscsi_session *s, uint64_t *ret_blocks, uint32_t *ret_block_size, struct err *err)
{
	struct scsi_readcapacity16 *cap;
	struct scsi_task *t = NULL;
	int rc;

	RETRY_UNIT_ATTENTION(rc, capacity_once(s, &t, err));
	if (rc < 0)
		return rc;
	cap = scsi_datain_unmarshall(t);
	if (cap && (cap->block_length == 512 || cap->block_length == 4096) && cap->returned_lba < UINT64_MAX / 8192) {
		*ret_blocks = cap->returned_lba + 1;
		*ret_block_size = cap->block_length;
	} else {
		rc = err_set(err, -EINVAL, "%s: LUN %d has blocks of %u octets; 512 and 4096 are served", s->conf->iqn, s->conf->lun,
			     cap ? cap->block_length : 0);
	}
	scsi_free_scsi_task(t);
	return rc;
}

/* ---- persistent reservation: SPC-4 5.13; data laid out as in 6.15 ---- */

/* Both reads are given before the first is waited for: they are one round trip to a target that a paused guest waits for. */
static int pr_in_once(struct iscsi_session *s, struct scsi_task *ret[2], struct err *err)
{
	static const char what[] = "PERSISTENT RESERVE IN";
	static const int action[2] = { SCSI_PERSISTENT_RESERVE_READ_KEYS, SCSI_PERSISTENT_RESERVE_READ_RESERVATION };
	struct session_answer *a[2] = { calloc(1, sizeof(*a[0])), calloc(1, sizeof(*a[0])) };
	struct scsi_task *t[2] = { NULL, NULL };
	int rc = a[0] && a[1] ? 0 : -ENOMEM, rc2;

	ret[0] = ret[1] = NULL;
	if (rc < 0) {
		free(a[0]);
		free(a[1]);
		return rc;
	}
	for (int i = 0; i < 2; i++)
		t[i] = iscsi_persistent_reserve_in_task(s->c, s->conf->lun, action[i], PR_IN_BYTES, answer_cb, a[i]);
	rc = command_finish(s, what, t[0], a[0], &ret[0], err);
	if (rc == -ENOTCONN && t[1] && !a[1]->done) {
		orphan_add(s, a[1], t[1]);     /* nobody waits for it any more */
		return rc;
	}
	rc2 = command_finish(s, what, t[1], a[1], &ret[1], rc < 0 ? NULL : err);
	return rc < 0 ? rc : rc2;
}

static void tasks_free(struct scsi_task *t[2])
{
	for (int i = 0; i < 2; i++)
		if (t[i])
			scsi_free_scsi_task(t[i]);
}

static int pr_in_retry(struct iscsi_session *s, struct scsi_task *ret[2], struct err *err)
{
	int rc = pr_in_once(s, ret, err);

	if (rc == -EAGAIN) {
		tasks_free(ret);
		ret[0] = ret[1] = NULL;
	}
	return rc;
}

static void keys_parse(struct pr_state *p, const uint8_t *d, uint32_t n)
{
	uint32_t len = n >= 8 ? scsi_get_uint32(d + 4) : 0;

	p->generation = n >= 8 ? scsi_get_uint32(d) : 0;
	for (uint32_t i = 8; i + 8 <= n && i + 8 <= len + 8 && p->nr_keys < PR_MAX_KEYS; i += 8)
		p->key[p->nr_keys++] = scsi_get_uint64(d + i);
}

static void reservation_parse(struct pr_state *p, const uint8_t *d, uint32_t n)
{
	if (n < 24 || scsi_get_uint32(d + 4) < 16)
		return;
	p->reserved = true;
	p->holder = scsi_get_uint64(d + 8);
	p->type = d[21] & 15;
}

int session_pr_read(struct iscsi_session *s, struct pr_state *ret, struct err *err)
{
	struct scsi_task *t[2] = { NULL, NULL };
	int rc;

	memset(ret, 0, sizeof(*ret));
	RETRY_UNIT_ATTENTION(rc, pr_in_retry(s, t, err));
	if (rc == 0) {
		keys_parse(ret, t[0]->datain.data, (uint32_t)t[0]->datain.size);
		reservation_parse(ret, t[1]->datain.data, (uint32_t)t[1]->datain.size);
	}
	tasks_free(t);
	return rc;
}

bool pr_has_key(const struct pr_state *p, uint64_t key)
{
	for (unsigned i = 0; i < p->nr_keys; i++)
		if (p->key[i] == key)
			return true;
	return false;
}

static int pr_out_once(struct iscsi_session *s, int sa, uint64_t key, uint64_t argument, struct err *err)
{
	struct scsi_persistent_reserve_out_basic p = { .reservation_key = key, .service_action_reservation_key = argument };
	struct session_answer *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	return command_finish(s, "PERSISTENT RESERVE OUT",
			      iscsi_persistent_reserve_out_task(s->c, s->conf->lun, sa, SCSI_PERSISTENT_RESERVE_SCOPE_LU, PR_TYPE, &p,
								answer_cb, a), a, NULL, err);
}

int session_pr_out(struct iscsi_session *s, int sa, uint64_t key, uint64_t argument, struct err *err)
{
	int rc;

	RETRY_UNIT_ATTENTION(rc, pr_out_once(s, sa, key, argument, err));
	return rc;
}

int session_lun_reset(struct iscsi_session *s, struct err *err)
{
	struct session_answer *a = calloc(1, sizeof(*a));
	int rc = 0;

	if (!a)
		return -ENOMEM;
	if (iscsi_task_mgmt_lun_reset_async(s->c, (uint32_t)s->conf->lun, answer_cb, a) < 0 || answer_wait(s, a, NULL) < 0)
		return err_set(err, -ENOTCONN, "%s: LUN RESET: %s", s->conf->iqn, iscsi_get_error(s->c));
	if (a->status != SCSI_STATUS_GOOD)
		rc = err_set(err, -EIO, "%s: LUN RESET was refused", s->conf->iqn);
	free(a);
	return rc;
}
