/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iscsi_lun.c - see iscsi_lun.h. */
#include "config.h"
#include "storage/iscsi_lun.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

#define DEPTH 32
#define RECONNECT_MS 500
#define BUSY_RETRY_MS 20
#define NOP_EVERY_MS 2000
#define NOPS_LOST 3                      /* unanswered: the target hangs, or the network eats everything */

struct io {
	struct io *next;
	struct lun *l;
	struct hv_disk_req q;
	int64_t since_ms, not_before_ms;
	bool in_flight;
	unsigned epoch;                      /* of the session it was given to */
	struct scsi_iovec iov;
};

enum lun_command { CMD_NONE, CMD_REGISTER, CMD_ACTIVATE, CMD_RELEASE };

struct lun {
	struct lun_conf conf;
	lun_reply_fn *reply;
	void *reply_arg;
	pthread_t thread;
	int wake_fd;

	pthread_mutex_t lock;                /* over inbox, cmd*, stop */
	pthread_cond_t changed;
	struct io *inbox, **inbox_tail;
	enum lun_command cmd;
	enum lun_take cmd_take;
	bool stop;
	int cmd_rc;
	struct err cmd_err;

	/* the thread's own */
	struct iscsi_session session;
	unsigned epoch, in_flight;
	struct io *todo;                     /* everything without an answer, oldest first, in flight or not */
	bool recheck;                        /* the target doubts our key */
	int64_t reconnect_at_ms, nop_at_ms;
	bool complained;

	/* read by others */
	_Atomic int state;
	atomic_bool connected;
	atomic_uint waiting;
	_Atomic uint64_t blocks;
	atomic_uint block_size;
};

static void wake(struct lun *l)
{
	uint64_t one = 1;

	if (write(l->wake_fd, &one, sizeof(one)) < 0)
		return;                                    /* full: it wakes anyway */
}

/* ---- session ---- */

static void session_lost(struct lun *l, const char *why)
{
	if (!l->complained)
		log_warn("%s (%s): the target is lost, I/O waits: %s", l->conf.vdev, l->conf.iscsi.iqn, why);
	l->complained = true;
	atomic_store(&l->connected, false);
	l->epoch++;
	l->in_flight = 0;
	for (struct io *i = l->todo; i; i = i->next)
		i->in_flight = false;
	session_close(&l->session, false);
	l->reconnect_at_ms = monotonic_ms() + RECONNECT_MS;
}

static void key_lost(struct lun *l, const char *what)
{
	log_err("%s (%s): reservation lost: %s. The domain's disk stands still; destroy the domain here", l->conf.vdev, l->conf.iscsi.iqn, what);
	atomic_store(&l->state, LUN_KEY_LOST);
}

/*
 * Does the target still know us as we left it?  1: yes; 0: it knows nobody, having lost its memory; -EKEYREJECTED: somebody
 * else's; other -errno.
 */
static int standing(struct lun *l, struct err *err)
{
	bool active = atomic_load(&l->state) == LUN_ACTIVE;
	struct pr_state p;
	int rc = session_pr_read(&l->session, &p, err);

	if (rc < 0)
		return rc;
	if (pr_has_key(&p, l->conf.key) && (!active || (p.reserved && p.holder == l->conf.key)))
		return 1;
	if (!p.nr_keys && !p.reserved && p.generation == 0)
		return 0;
	return err_set(err, -EKEYREJECTED, "key %016" PRIx64 " is %sregistered, the reservation's holder is %016" PRIx64, l->conf.key,
		       pr_has_key(&p, l->conf.key) ? "" : "not ", p.holder);
}

/*
 * The registration of a session that is gone may remain at the target under our key.  Pre-empting one's own key moves
 * the reservation to this session and removes it (SPC-4 5.13.11.2.4); a target that will not is left as it is.
 */
static int own_key_move(struct lun *l, struct err *err)
{
	int rc = session_pr_out(&l->session, SCSI_PERSISTENT_RESERVE_PREEMPT, l->conf.key, l->conf.key, err);

	return rc == -ENOTCONN ? rc : 0;
}

/* reserve: the target knows nobody any more, so the reservation is made anew. */
static int reregister(struct lun *l, bool reserve, struct err *err)
{
	int rc = session_pr_out(&l->session, SCSI_PERSISTENT_RESERVE_REGISTER_AND_IGNORE_EXISTING_KEY, 0, l->conf.key, err);

	if (rc < 0 || atomic_load(&l->state) != LUN_ACTIVE)
		return rc;
	return reserve ? session_pr_out(&l->session, SCSI_PERSISTENT_RESERVE_RESERVE, l->conf.key, 0, err) : own_key_move(l, err);
}

static int session_restore(struct lun *l, struct err *err)
{
	int state = atomic_load(&l->state), rc = 0;

	if (l->conf.readonly || (state != LUN_REGISTERED && state != LUN_ACTIVE))
		return 0;
	rc = standing(l, err);
	if (rc < 0)
		return rc;
	return reregister(l, rc == 0, err);
}

static int connect_now(struct lun *l, struct err *err)
{
	int rc = session_open(&l->session, &l->conf.iscsi, err);

	if (rc < 0)
		return rc;
	l->epoch++;
	rc = session_restore(l, err);
	if (rc < 0) {
		session_close(&l->session, false);
		return rc;
	}
	if (l->complained)
		log_info("%s (%s): the target is back", l->conf.vdev, l->conf.iscsi.iqn);
	l->complained = false;
	l->recheck = false;
	l->nop_at_ms = monotonic_ms() + NOP_EVERY_MS;
	atomic_store(&l->connected, true);
	return 0;
}

static void reconnect(struct lun *l)
{
	struct err err = { 0 };
	int rc;

	if (monotonic_ms() < l->reconnect_at_ms)
		return;
	rc = connect_now(l, &err);
	if (rc == -EKEYREJECTED)
		key_lost(l, err.text);
	else if (rc < 0)
		session_lost(l, err.text);
}

/* A conflict on a standing session: either we were pre-empted, or the target forgot this session. */
static void recheck(struct lun *l)
{
	struct err err = { 0 };
	int rc = session_restore(l, &err);

	l->recheck = false;
	if (rc == -EKEYREJECTED)
		key_lost(l, err.text);
	else if (rc < 0)
		session_lost(l, err.text);
}

static void nop_cb(struct iscsi_context *c, int status, void *data, void *arg)
{
}

static void keep_alive(struct lun *l)
{
	if (monotonic_ms() < l->nop_at_ms)
		return;
	l->nop_at_ms = monotonic_ms() + NOP_EVERY_MS;
	if (iscsi_get_nops_in_flight(l->session.c) >= NOPS_LOST)
		session_lost(l, "it does not answer");
	else if (iscsi_nop_out_async(l->session.c, nop_cb, NULL, 0, NULL) < 0)
		session_lost(l, iscsi_get_error(l->session.c));
}

/* ---- I/O ---- */

static void io_end(struct io *i, int status)
{
	struct lun *l = i->l;
	struct io **p = &l->todo;

	while (*p != i)
		p = &(*p)->next;
	*p = i->next;
	atomic_fetch_sub(&l->waiting, 1);
	l->reply(l->reply_arg, i->q.id, status);
	free(i);
}

static void sense_verdict(struct io *i, const struct scsi_sense *sense)
{
	switch ((int)sense->key) {
	case SCSI_SENSE_UNIT_ATTENTION:                    /* 2a03..2a05: reservations changed */
		if (sense->ascq >= 0x2a03 && sense->ascq <= 0x2a05)
			i->l->recheck = true;
		break;
	case SCSI_SENSE_NOT_READY:
	case SCSI_SENSE_COMMAND_ABORTED:
		i->not_before_ms = monotonic_ms() + BUSY_RETRY_MS;
		break;
	case SCSI_SENSE_ILLEGAL_REQUEST:                   /* without a cache there is nothing to flush */
		io_end(i, i->q.op == HV_DISK_FLUSH ? 0 : -EIO);
		break;
	default:
		log_err("%s (%s): %s of sector %" PRIu64 ": %s, %s", i->l->conf.vdev, i->l->conf.iscsi.iqn,
			i->q.op == HV_DISK_READ ? "read" : "write", i->q.sector, scsi_sense_key_str((int)sense->key),
			scsi_sense_ascq_str(sense->ascq));
		io_end(i, -EIO);
		break;
	}
}

/* With the thread's own session only: what is left of an older one is freed. */
static void io_cb(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct io *i = arg;
	struct lun *l = i->l;
	struct scsi_task *t = data;
	struct scsi_sense sense = { 0 };

	if (t) {
		sense = t->sense;
		scsi_free_scsi_task(t);
	}
	if (status == SCSI_STATUS_CANCELLED || !i->in_flight || c != l->session.c)
		return;                                    /* the session ends: session_lost put i back */
	i->in_flight = false;
	l->in_flight--;
	switch (status) {
	case SCSI_STATUS_GOOD:
		io_end(i, 0);
		break;
	case SCSI_STATUS_CHECK_CONDITION:
		sense_verdict(i, &sense);
		break;
	case SCSI_STATUS_RESERVATION_CONFLICT:
		l->recheck = true;
		break;
	default:                                           /* busy, task set full, a failing session: again, a little later */
		i->not_before_ms = monotonic_ms() + BUSY_RETRY_MS;
		break;
	}
}

static int io_start(struct lun *l, struct io *i)
{
	uint32_t bs = atomic_load(&l->block_size), bytes = i->q.sectors * 512;
	uint64_t lba = i->q.sector * 512 / bs;
	int lun = l->conf.iscsi.lun;
	struct scsi_task *t = NULL;

	i->iov = (struct scsi_iovec){ .iov_base = l->conf.region + i->q.slot_offset, .iov_len = bytes };
	switch (i->q.op) {
	case HV_DISK_READ:
		t = iscsi_read16_iov_task(l->session.c, lun, lba, bytes, (int)bs, 0, 0, 0, 0, 0, io_cb, i, &i->iov, 1);
		break;
	case HV_DISK_WRITE:
		t = iscsi_write16_iov_task(l->session.c, lun, lba, NULL, bytes, (int)bs, 0, 0, 0, 0, 0, io_cb, i, &i->iov, 1);
		break;
	default:
		t = iscsi_synchronizecache10_task(l->session.c, lun, 0, 0, 0, 0, io_cb, i);
		break;
	}
	if (!t)
		return -ENOTCONN;
	i->in_flight = true;
	l->in_flight++;
	return 0;
}

static void io_start_all(struct lun *l)
{
	int64_t now = monotonic_ms();

	for (struct io *i = l->todo; i && l->in_flight < DEPTH; i = i->next)
		if (!i->in_flight && i->not_before_ms <= now && io_start(l, i) < 0) {
			session_lost(l, iscsi_get_error(l->session.c));
			return;
		}
}

/* The operator's time-out: only what is not in the target's hands can be given up. */
static void io_expire(struct lun *l)
{
	int64_t limit = (int64_t)l->conf.io_timeout_s * 1000, now = monotonic_ms();
	struct io *next;

	if (!limit || atomic_load(&l->connected) || atomic_load(&l->state) == LUN_KEY_LOST)
		return;
	for (struct io *i = l->todo; i; i = next) {
		next = i->next;
		if (now - i->since_ms > limit)
			io_end(i, -ETIMEDOUT);
	}
}

static bool io_valid(const struct lun *l, const struct hv_disk_req *q)
{
	uint64_t bytes = (uint64_t)q->sectors * 512, end;
	uint32_t bs = atomic_load(&l->block_size);

	if (q->op == HV_DISK_FLUSH)
		return true;
	if ((q->op != HV_DISK_READ && q->op != HV_DISK_WRITE) || (q->op == HV_DISK_WRITE && l->conf.readonly) || !bs)
		return false;
	if (!q->sectors || bytes > HV_DISK_SLOT_SIZE || q->slot_offset > HV_DISK_REGION - bytes)
		return false;
	if (__builtin_add_overflow(q->sector, q->sectors, &end) || end > lun_sectors(l))
		return false;
	return q->sector * 512 % bs == 0 && bytes % bs == 0;
}

void lun_submit(struct lun *l, const struct hv_disk_req *q)
{
	struct io *i = io_valid(l, q) ? calloc(1, sizeof(*i)) : NULL;

	if (!i) {
		l->reply(l->reply_arg, q->id, io_valid(l, q) ? -ENOMEM : -EINVAL);
		return;
	}
	i->l = l;
	i->q = *q;
	i->since_ms = monotonic_ms();
	atomic_fetch_add(&l->waiting, 1);
	pthread_mutex_lock(&l->lock);
	*l->inbox_tail = i;
	l->inbox_tail = &i->next;
	pthread_mutex_unlock(&l->lock);
	wake(l);
}

/* ---- commands, on the thread ---- */

/* A claim proves that this domain runs nowhere else; of another domain it proves nothing. */
static bool claimable(const struct lun *l, uint64_t key)
{
	return (key & l->conf.key_domain_mask) == (l->conf.key & l->conf.key_domain_mask);
}

/* With type 5 every registrant may write, so a foreign key that only is registered is in the way too. */
static int refuse_foreign(const struct lun *l, const struct pr_state *p, struct err *err)
{
	for (unsigned i = 0; i < p->nr_keys; i++)
		if (!claimable(l, p->key[i]))
			return err_set(err, -EBUSY, "%s lun %d is held by another domain (its reservation key is %016" PRIx64
				       "); stop that domain, or give this one a disk of its own", l->conf.iscsi.iqn, l->conf.iscsi.lun, p->key[i]);
	return 0;
}

static int do_register(struct lun *l, struct err *err)
{
	struct pr_state p = { 0 };
	uint64_t blocks = 0;
	uint32_t bs = 0;
	int rc = session_is_open(&l->session) ? 0 : connect_now(l, err);

	if (rc == 0)
		rc = session_capacity(&l->session, &blocks, &bs, err);
	/* before our key is there: a domain that may not have the disk leaves no trace on it */
	if (rc == 0 && !l->conf.readonly)
		rc = session_pr_read(&l->session, &p, err);
	if (rc == 0)
		rc = refuse_foreign(l, &p, err);
	if (rc == 0 && !l->conf.readonly)
		rc = session_pr_out(&l->session, SCSI_PERSISTENT_RESERVE_REGISTER_AND_IGNORE_EXISTING_KEY, 0, l->conf.key, err);
	if (rc < 0)
		return rc;
	atomic_store(&l->blocks, blocks);
	atomic_store(&l->block_size, bs);
	atomic_store(&l->state, LUN_REGISTERED);
	return 0;
}

static bool ours_stale(const struct lun *l, uint64_t key)
{
	return key != l->conf.key && (key & l->conf.key_mask) == (l->conf.key & l->conf.key_mask);
}

/* Removes a key.  One that vanished in the meantime is as good as removed. */
static int take_key(struct lun *l, uint64_t victim, struct err *err)
{
	struct pr_state p;
	int rc = session_pr_out(&l->session, SCSI_PERSISTENT_RESERVE_PREEMPT, l->conf.key, victim, err);

	if (rc != -EBUSY)
		return rc;
	rc = session_pr_read(&l->session, &p, err);
	return rc < 0 ? rc : pr_has_key(&p, victim) ? err_set(err, -EBUSY, "key %016" PRIx64 " cannot be pre-empted", victim) : 0;
}

/*
 * A claim shuts everybody out. A GO has waited, perhaps, while the domain was taken for dead and claimed: what came after it is in the way.
 */
static bool shuts_out(const struct lun *l, enum lun_take take, uint64_t key)
{
	uint64_t number = ~l->conf.key_mask;

	return take == LUN_TAKE_ALL || ours_stale(l, key) ||
	       (take == LUN_TAKE_OLDER && (int8_t)((l->conf.key & number) - (key & number)) >= 0);
}

static int in_the_way(const struct lun *l, enum lun_take take, uint64_t key, struct err *err)
{
	if (take == LUN_TAKE_OLDER)
		return err_set(err, -EKEYREJECTED, "%s: the domain has moved on (reservation key %016" PRIx64 "); what came here is older than its disk",
			       l->conf.iscsi.iqn, key);
	return err_set(err, -EBUSY, "%s: is in use by another node (its reservation key is %016" PRIx64 "); stop the domain there first",
		       l->conf.iscsi.iqn, key);
}

static int reservation_take(struct lun *l, enum lun_take take, struct err *err)
{
	bool took = false;
	struct pr_state p;
	int rc = session_pr_read(&l->session, &p, err);

	if (rc == 0 && !pr_has_key(&p, l->conf.key))
		rc = err_set(err, -EKEYREJECTED, "our registration was removed; another node has the disk");
	if (rc == 0)
		rc = refuse_foreign(l, &p, err);
	if (rc == 0 && p.reserved && p.holder != l->conf.key && !shuts_out(l, take, p.holder))
		rc = in_the_way(l, take, p.holder, err);
	for (unsigned i = 0; rc == 0 && i < p.nr_keys; i++)
		if (p.key[i] != l->conf.key && shuts_out(l, take, p.key[i])) {
			rc = take_key(l, p.key[i], err);
			took = true;
		}
	if (rc == 0 && took)
		rc = session_pr_read(&l->session, &p, err);
	if (rc == 0 && p.reserved && p.holder == l->conf.key && !took)
		rc = own_key_move(l, err);
	if (rc == 0 && !p.reserved)
		rc = session_pr_out(&l->session, SCSI_PERSISTENT_RESERVE_RESERVE, l->conf.key, 0, err);
	if (rc == 0 && took)
		rc = session_lun_reset(&l->session, err);          /* what the pre-empted node had under way ends before our first write */
	return rc;
}

static int do_activate(struct lun *l, enum lun_take take, struct err *err)
{
	struct pr_state p;
	int rc = session_is_open(&l->session) ? 0 : connect_now(l, err);

	if (rc < 0)
		return rc;
	if (atomic_load(&l->state) == LUN_ACTIVE)
		return 0;
	if (atomic_load(&l->state) != LUN_REGISTERED)
		return err_set(err, -EINVAL, "%s: is not registered", l->conf.vdev);
	if (!l->conf.readonly) {
		rc = reservation_take(l, take, err);
		if (rc == 0)
			rc = session_pr_read(&l->session, &p, err);
		if (rc == 0 && (!p.reserved || p.holder != l->conf.key || p.type != PR_TYPE))
			rc = err_set(err, -EBUSY, "%s: the reservation went to another node (key %016" PRIx64 ")", l->conf.iscsi.iqn, p.holder);
	}
	if (rc < 0)
		return err_prefix(err, "disk %s", l->conf.vdev);
	atomic_store(&l->state, LUN_ACTIVE);
	return 0;
}

/*
 * Unregistering gives the reservation back, too (SPC-4 5.13.11.2.3).  A lost target is left to whoever pre-empts.  Who was shut out says so:
 * what it has is older than the disk, and must not be handed on.
 */
static int do_release(struct lun *l, struct err *err)
{
	int state = atomic_load(&l->state), rc = 0;

	if (state == LUN_KEY_LOST)
		return err_set(err, -EKEYREJECTED, "disk %s: another node has taken it", l->conf.vdev);
	atomic_store(&l->state, LUN_RELEASED);
	if (!l->conf.readonly && (state == LUN_REGISTERED || state == LUN_ACTIVE)) {
		rc = session_is_open(&l->session) ? 0 : err_set(err, -ENOTCONN, "%s: the target is lost; the reservation could not be given back", l->conf.vdev);
		if (rc == 0)
			rc = session_pr_out(&l->session, SCSI_PERSISTENT_RESERVE_REGISTER, l->conf.key, 0, err);
	}
	atomic_store(&l->connected, false);
	return rc;
}

static void command_run(struct lun *l, enum lun_command cmd, enum lun_take take)
{
	struct err err = { 0 };
	int rc = cmd == CMD_REGISTER ? do_register(l, &err) : cmd == CMD_ACTIVATE ? do_activate(l, take, &err) : do_release(l, &err);

	if (rc == -ENOTCONN && cmd != CMD_RELEASE && session_is_open(&l->session))
		session_lost(l, err.text);
	pthread_mutex_lock(&l->lock);
	l->cmd = CMD_NONE;
	l->cmd_rc = rc;
	l->cmd_err = err;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	/* the log-out lets nothing go that the key did not; a move's pause need not wait for it */
	if (cmd == CMD_RELEASE)
		session_close(&l->session, true);
}

static void lun_begin(struct lun *l, enum lun_command cmd, enum lun_take take)
{
	pthread_mutex_lock(&l->lock);
	l->cmd = cmd;
	l->cmd_take = take;
	wake(l);
	pthread_mutex_unlock(&l->lock);
}

int lun_finish(struct lun *l, struct err *err)
{
	int rc;

	pthread_mutex_lock(&l->lock);
	while (l->cmd != CMD_NONE)
		pthread_cond_wait(&l->changed, &l->lock);
	rc = l->cmd_rc;
	if (rc < 0 && err)
		*err = l->cmd_err;
	pthread_mutex_unlock(&l->lock);
	return rc;
}

static int lun_command(struct lun *l, enum lun_command cmd, enum lun_take take, struct err *err)
{
	lun_begin(l, cmd, take);
	return lun_finish(l, err);
}

void lun_activate_begin(struct lun *l, enum lun_take take) { lun_begin(l, CMD_ACTIVATE, take); }
void lun_release_begin(struct lun *l) { lun_begin(l, CMD_RELEASE, LUN_TAKE_NOTHING); }
int lun_register(struct lun *l, struct err *err) { return lun_command(l, CMD_REGISTER, LUN_TAKE_NOTHING, err); }
int lun_activate(struct lun *l, enum lun_take take, struct err *err) { return lun_command(l, CMD_ACTIVATE, take, err); }
int lun_release(struct lun *l, struct err *err) { return lun_command(l, CMD_RELEASE, LUN_TAKE_NOTHING, err); }

int lun_drain(struct lun *l, int timeout_ms, struct err *err)
{
	int64_t end = monotonic_ms() + timeout_ms;
	struct timespec ms = { .tv_nsec = 1000000 };

	while (atomic_load(&l->waiting)) {
		if (monotonic_ms() > end)
			return err_set(err, -ETIMEDOUT, "disk %s: %u requests wait for %s", l->conf.vdev, atomic_load(&l->waiting),
				       lun_connected(l) ? "the target" : "a lost target");
		nanosleep(&ms, NULL);
	}
	return 0;
}

/* ---- the thread ---- */

/* Where the session stands still for a moment, how long may it be until something is due? */
static int idle_ms(const struct lun *l)
{
	for (const struct io *i = l->todo; i; i = i->next)
		if (!i->in_flight)
			return BUSY_RETRY_MS;
	return 1000;
}

static void wake_drain(struct lun *l)
{
	uint64_t n;

	if (read(l->wake_fd, &n, sizeof(n)) < 0)
		return;
}

static void serve_session(struct lun *l)
{
	if (atomic_load(&l->state) == LUN_ACTIVE) {
		if (l->recheck)
			recheck(l);
		if (session_is_open(&l->session) && atomic_load(&l->state) == LUN_ACTIVE)
			io_start_all(l);
	}
	if (session_is_open(&l->session))
		keep_alive(l);
	if (session_is_open(&l->session) && session_service(&l->session, l->wake_fd, idle_ms(l)) < 0)
		session_lost(l, iscsi_get_error(l->session.c));
}

static void serve_nothing(struct lun *l)
{
	struct pollfd p = { .fd = l->wake_fd, .events = POLLIN };
	int state = atomic_load(&l->state);

	if (state == LUN_REGISTERED || state == LUN_ACTIVE)
		reconnect(l);
	if (!session_is_open(&l->session) && poll(&p, 1, 50) < 0 && errno != EINTR)
		log_err("poll: %s", strerror(errno));
	io_expire(l);
}

static void *lun_thread(void *arg)
{
	struct lun *l = arg;
	enum lun_command cmd;
	struct io **tail;
	enum lun_take take;
	bool stop;

	for (;;) {
		wake_drain(l);
		pthread_mutex_lock(&l->lock);
		for (tail = &l->todo; *tail; tail = &(*tail)->next)
			;
		*tail = l->inbox;
		l->inbox = NULL;
		l->inbox_tail = &l->inbox;
		cmd = l->cmd;
		take = l->cmd_take;
		stop = l->stop;
		pthread_mutex_unlock(&l->lock);
		if (cmd != CMD_NONE)
			command_run(l, cmd, take);
		if (stop)
			return NULL;
		if (session_is_open(&l->session))
			serve_session(l);
		else
			serve_nothing(l);
	}
}

struct lun *lun_create(const struct lun_conf *conf, lun_reply_fn *reply, void *arg)
{
	struct lun *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->conf = *conf;
	l->reply = reply;
	l->reply_arg = arg;
	l->inbox_tail = &l->inbox;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	if (l->wake_fd >= 0 && pthread_create(&l->thread, NULL, lun_thread, l) == 0)
		return l;
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	free(l);
	return NULL;
}

void lun_destroy(struct lun *l)
{
	struct io *i;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_mutex_unlock(&l->lock);
	wake(l);
	pthread_join(l->thread, NULL);
	session_close(&l->session, false);
	while ((i = l->todo)) {
		l->todo = i->next;
		free(i);
	}
	while ((i = l->inbox)) {
		l->inbox = i->next;
		free(i);
	}
	close(l->wake_fd);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->changed);
	free(l);
}

enum lun_state lun_state(const struct lun *l) { return (enum lun_state)atomic_load(&l->state); }
bool lun_connected(const struct lun *l) { return atomic_load(&l->connected); }
uint64_t lun_sectors(const struct lun *l) { return atomic_load(&l->blocks) * (atomic_load(&l->block_size) / 512); }
uint32_t lun_sector_size(const struct lun *l) { return atomic_load(&l->block_size); }
const struct lun_conf *lun_conf(const struct lun *l) { return &l->conf; }
unsigned lun_in_flight(const struct lun *l) { return atomic_load(&l->waiting); }
