/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_move.c - the two ends of a move, as far as they are hypervisord's: channels opened, the copy on the target made
 * and activated, the store's part carried across.
 */
#include "hypervisor/hypervisord.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lib/clock.h"
#include "lib/deadlines.h"
#include "lib/conf.h"
#include "lib/log.h"

static double ms(uint64_t ns) { return (double)ns / 1e6; }

/* --- source ------------------------------------------------------------------------------------------------------------ */

static void migrate_open_work(struct job *j)
{
	/* one that has ended and is here all the same is preserved: its end leads to nothing any more, so it may move as it is */
	j->rc = child_call(j->dom, json_pack("{s:s, s:I, s:s, s:b}", "op", "migrate-open", "attempt", (json_int_t)j->number, "target",
					     config_str(j->req, "target", ""), "preserved", j->dom->shutdown_reason >= 0), NULL, 0, &j->reply,
			   j->fds, &j->nfds, deadline(DL_DAEMON), &j->err);
	if (j->rc) {
		json_decref(j->reply);
		j->reply = NULL;
	}
}

void op_migrate_open(struct msg_call *c, void *h)
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	j->number = config_int(j->req, "attempt", 0);
	j->work = migrate_open_work;
	job_start(j);
}

/* Its identity, for work beside its jobs. */
static struct dom *shadow_of(const struct dom *d)
{
	struct dom *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	*s = (struct dom) { .hvd = d->hvd, .domid = d->domid, .config = json_incref(d->config), .claim = d->claim,
				    .attempt = d->attempt, .incoming = d->incoming, .has_iscsi = d->has_iscsi, .hurried = d->hurried, .pidfd = -1,
				    .disk_pidfd = -1, .disk_watched = -1 };
	memcpy(s->name, d->name, sizeof d->name);
	memcpy(s->uuid, d->uuid, sizeof d->uuid);
	return s;
}

/*
 * The store's part is moved while a job of the domain (save, restore) may wait for just that, so it runs beside the domain's jobs,
 * on a copy of its identity. Only an incoming copy takes its store as a job of its own: nothing waits for it, and its end must not
 * overtake it, or what is imported stays behind and is in the next attempt's way.
 */
static struct job *job_beside(struct dom *d)
{
	struct job *j = d->gone_seen ? NULL : job_new(d->hvd, NULL, NULL);

	if (!j)
		return NULL;
	j->shadow = shadow_of(d);
	if (j->shadow)
		return j;
	job_finish_now(j);
	return NULL;
}

/* hv-domain stands still and asks for what xenstored knows of its guest. */
static void store_wanted_work(struct job *j)
{
	struct dom *d = j->shadow;
	int fds[MSG_MAX_FDS], nfds = 0, rc;
	struct err err = { 0 };

	rc = store_call(json_pack("{s:s, s:i}", "op", "export", "domid", d->domid), NULL, 0, NULL, fds, &nfds, &err);
	if (!rc && nfds < 1)
		rc = err_set(&err, -EPROTO, "xenstored: its export came without a descriptor");
	j->rc = child_call(d, rc ? json_pack("{s:s, s:s, s:s}", "op", "store-state", "code", err_name(rc), "error", err.text)
				   : json_pack("{s:s}", "op", "store-state"), fds, rc ? 0 : 1, NULL, NULL, NULL, deadline(DL_DAEMON), &j->err);
	for (int i = 0; i < nfds; i++)
		close(fds[i]);
}

void dom_store_wanted(struct dom *d)
{
	struct job *j = job_beside(d);

	if (!j)
		return;
	j->work = store_wanted_work;
	job_start_beside(j);
}

/* The reservations go, then hv-domain hears of it. */
static int release_disks(struct dom *d, struct err *err)
{
	int rc = disks_release(d, err);

	if (rc && !err->text[0])
		err_set(err, rc, "domain %s: its disks are not let go of: %s", d->name, strerror(-rc));
	child_call(d, rc ? json_pack("{s:s, s:s, s:s}", "op", "release-done", "code", err_name(rc), "error", err->text)
			 : json_pack("{s:s}", "op", "release-done"), NULL, 0, NULL, NULL, NULL, deadline(DL_DAEMON), NULL);
	return rc;
}

static void release_wanted_work(struct job *j)
{
	j->rc = release_disks(j->shadow, &j->err);
}

/* A handed copy lets its reservations go before the worker says GO: what a hypervisord that ended in the middle of it left. */
void dom_release_wanted(struct dom *d)
{
	struct job *j = job_beside(d);

	if (!j)
		return;
	d->disk_released = true;
	j->work = release_wanted_work;
	job_start_beside(j);
}

/*
 * The mark, and with `release` what has to follow it before GO: one request of the worker's for the two, since the guest waits.  What
 * became of the release is told apart from the mark: the copy is handed whether or not its disks were let go of.
 */
static void mark_handed_work(struct job *j)
{
	json_t *mark = json_pack("{s:s, s:I, s:s, s:b}", "op", "mark-handed", "attempt", (json_int_t)j->number, "target",
				 config_str(j->req, "target", ""), "release", j->flag);
	struct dom *d = j->dom;
	struct err err = { 0 };
	int rc;

	if (json_object_get(j->req, "serves"))
		json_object_set(mark, "serves", json_object_get(j->req, "serves"));
	j->rc = child_call(d, mark, NULL, 0, &j->reply, NULL, NULL, deadline(DL_DAEMON), &j->err);
	if (j->rc) {
		json_decref(j->reply);
		j->reply = NULL;
		return;
	}
	if (!j->flag || json_is_true(json_object_get(j->reply, "released")))
		return;
	rc = release_disks(d, &err);
	if (rc)
		json_object_update_new(j->reply, json_pack("{s:s, s:s}", "release_code", err_name(rc), "release_error", err.text));
	else
		json_object_set_new(j->reply, "released", json_true());
}

static void mark_handed_done(struct job *j)
{
	struct dom *d = j->dom;

	if (!j->rc || !j->flag || json_is_true(j->data))
		return;                        /* refused of a copy that had let go before: it still has */
	d->disk_released = false;
	if (d->has_iscsi && d->disk_pidfd >= 0 && d->disk_watched < 0)
		disk_gone(d);                  /* while nobody was to care */
}

void op_mark_handed(struct msg_call *c, void *h)
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	j->number = config_int(j->req, "attempt", 0);
	j->flag = json_is_true(json_object_get(j->req, "release"));
	j->data = json_boolean(d->disk_released);
	d->disk_released |= j->flag;           /* before the mark: an hv-disk begun again after it would take the reservation back */
	j->work = mark_handed_work;
	j->done = mark_handed_done;
	job_start(j);
}

/*
 * Memory of a handed copy for the worker that serves it to the target, and its last word: passed on beside the domain's jobs, one of
 * which may be the very activation or destruction that waits for pages.
 */
static void serve_open_work(struct job *j)
{
	j->rc = child_call(j->shadow, json_pack("{s:s, s:I}", "op", "serve-open", "attempt", (json_int_t)j->number), NULL, 0, &j->reply, j->fds,
			   &j->nfds, deadline(DL_DAEMON), &j->err);
	if (j->rc) {
		json_decref(j->reply);
		j->reply = NULL;
	}
}

static void pages_served_work(struct job *j)
{
	j->rc = child_call(j->shadow, json_pack("{s:s, s:I}", "op", "pages-served", "attempt", (json_int_t)j->number), NULL, 0, NULL, NULL, NULL,
			   deadline(DL_DAEMON), &j->err);
}

static void pages_lost_work(struct job *j)
{
	j->rc = child_call(j->shadow, json_pack("{s:s, s:s}", "op", "pages-lost", "from", config_str(j->req, "from", "")), NULL, 0, NULL, NULL,
			   NULL, deadline(DL_DAEMON), &j->err);
}

/* The worker gets a connection of its own to hv-domain, which judges by itself whose it is. */
static void pages_open_work(struct job *j)
{
	json_t *greeting = json_pack("{s:I, s:s}", "attempt", (json_int_t)j->number, "from", config_str(j->req, "from", ""));
	char path[512];
	int fd = -1, rc = dom_path(path, sizeof path, j->shadow->domid, ".pages.sock");

	if (!rc)
		rc = fd = msg_connect(path, &j->err);
	if (rc >= 0)
		rc = msg_send(fd, greeting, NULL, 0);
	json_decref(greeting);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		j->rc = j->err.code ? rc : job_fail(j, rc, "domain %s takes no pages", j->shadow->name);
		return;
	}
	j->fds[j->nfds++] = fd;
	j->reply = json_object();
}

static void beside(struct msg_call *c, struct hvd *h, void (*work)(struct job *))
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, NULL) : NULL;

	if (!j)
		return;
	j->number = config_int(j->req, "attempt", 0);
	j->shadow = shadow_of(d);
	if (!j->shadow) {
		job_fail(j, -ENOMEM, "hypervisord: out of memory");
		job_finish_now(j);
		return;
	}
	j->work = work;
	job_start_beside(j);
}

void op_serve_open(struct msg_call *c, void *h) { beside(c, h, serve_open_work); }
void op_pages_served(struct msg_call *c, void *h) { beside(c, h, pages_served_work); }
void op_pages_lost(struct msg_call *c, void *h) { beside(c, h, pages_lost_work); }
void op_pages_open(struct msg_call *c, void *h) { beside(c, h, pages_open_work); }

/* The target's promise sets a handed copy going again: what it released is opened once more first. */
static void resume_handed_work(struct job *j)
{
	struct dom *d = j->dom;
	json_t *status = NULL;
	int rc = child_call(d, json_pack("{s:s}", "op", "status"), NULL, 0, &status, NULL, NULL, deadline(DL_DAEMON), &j->err);

	if (!rc && strcmp(config_str(status, "copy", ""), "handed"))
		rc = job_fail(j, -EPERM, "resume-handed: domain %s (%u) is %s, not handed", d->name, d->domid, config_str(status, "copy", "?"));
	if (!rc && config_int(status, "attempt", 0) != j->number)
		rc = job_fail(j, -EPERM, "resume-handed: of attempt %lld, but the copy is part of attempt %lld", (long long)j->number,
			      (long long)config_int(status, "attempt", 0));
	if (!rc && json_is_true(json_object_get(status, "released")))
		rc = disks_reopen(d, &j->err);
	if (!rc)
		rc = child_call(d, json_pack("{s:s, s:I}", "op", "resume-handed", "attempt", (json_int_t)j->number), NULL, 0, NULL, NULL,
				NULL, deadline(DL_DAEMON), &j->err);
	j->rc = rc;
	json_decref(status);
}

static void resume_handed_done(struct job *j)
{
	if (j->rc)
		return;
	j->dom->disk_released = false;
	disk_watch(j->dom);
}

void op_resume_handed(struct msg_call *c, void *h)
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	disk_unwatch(d);
	j->number = config_int(j->req, "attempt", 0);
	j->work = resume_handed_work;
	j->done = resume_handed_done;
	job_start(j);
}

/* --- target ------------------------------------------------------------------------------------------------------------ */

static int incoming_steps(struct job *j)
{
	struct dom *d = j->dom;
	int rc;

	/* processes begin side by side; what needs none of them is done meanwhile, and nothing of it while the guest stands still */
	rc = child_begin(d, &j->err);
	if (!rc)
		rc = devices_begin(d, DISK_INCOMING, &j->err);
	if (!rc)
		rc = ran_prepare(d, d->attempt);
	store_wipe(d);
	if (!rc)
		rc = child_answers(d, &j->err);
	if (!rc)
		rc = store_expect(d, &j->err);
	if (!rc)
		rc = disks_open(d, DISK_INCOMING, false, &j->err);
	if (!rc)
		rc = vifs_open(d, &j->err);
	if (!rc)
		rc = dom_record_write(d);
	if (!rc)
		change_limit_apply(d);
	if (!rc)
		rc = child_call(d, json_pack("{s:s, s:I, s:s, s:b}", "op", "incoming-open", "attempt", (json_int_t)d->attempt, "from",
				  config_str(j->req, "from", ""), "keep", !conf_exists("cluster.conf")), NULL, 0, &j->reply,
				j->fds, &j->nfds, deadline(DL_DAEMON), &j->err);
	return rc;
}

static void incoming_work(struct job *j)
{
	dom_undo(j, incoming_steps(j), "no incoming copy");
}

static void incoming_done(struct job *j)
{
	struct dom *d = j->dom;

	if (j->rc) {
		snprintf(d->reason, sizeof d->reason, "destroyed");
		dom_event(d, "domain-destroyed");
		dom_forget(j);
		return;
	}
	child_watch(d);
	json_object_set_new(j->reply, "domid", json_integer(d->domid));
	hvd_log("domain %s (%u): incoming from %s, attempt %llu", d->name, d->domid, config_str(j->req, "from", "?"),
		 (unsigned long long)d->attempt);
	dom_event(d, "domain-created");
}

void op_incoming(struct msg_call *c, void *arg)
{
	struct hvd *h = arg;
	struct job *j = job_new(h, c, NULL);
	int64_t attempt, grant;

	if (!j)
		return;
	attempt = config_int(j->req, "attempt", 0);
	grant = conf_exists("cluster.conf") ? attempt : 0;     /* two plain hosts have nobody who would grant */
	j->dom = attempt > 0 ? dom_admit(h, json_object_get(j->req, "config"), config_int(j->req, "domid", 0),
					 config_int(j->req, "claim", 0), grant, "incoming", &j->err)
			     : (job_fail(j, -EINVAL, "incoming: attempt must be a positive number"), NULL);
	if (!j->dom) {
		j->rc = j->err.code ? j->err.code : -EINVAL;
		job_finish_now(j);
		return;
	}
	j->dom->incoming = j->dom->on_store = j->dom->on_console = true;
	j->dom->attempt = (uint64_t)attempt;
	j->work = incoming_work;
	j->done = incoming_done;
	job_start(j);
}

/*
 * hv-domain has loaded the state and could not bring the store's part to xenstored itself (a restore; or xenstored began anew since
 * the incoming copy was made): it is imported here, and channels are connected.  Who asked for the load waits for "store-done".
 */
static int store_import(struct dom *d, const int *fds, int nfds, struct err *err)
{
	return store_call(json_pack("{s:s, s:i}", "op", "import", "domid", d->domid), fds, nfds, NULL, NULL, NULL, err);
}

static struct dom *arrived_dom(struct job *j)
{
	return j->shadow ? j->shadow : j->dom;
}

static int store_arrived_steps(struct job *j)
{
	struct dom *d = arrived_dom(j);
	int fds[MSG_MAX_FDS], nfds = 0, rc;
	struct err *err = &j->err;

	rc = child_call(d, json_pack("{s:s}", "op", "store-take"), NULL, 0, NULL, fds, &nfds, deadline(DL_DAEMON), err);
	if (rc)
		return rc;
	rc = nfds < 1 ? err_set(err, -EPROTO, "domain %s: the image holds no store", d->name)
		      : store_import(d, fds, 1, err);
	if (rc == -EEXIST && d->incoming) {    /* a hypervisord that ended in the middle of this had begun it */
		store_wipe(d);
		rc = store_import(d, fds, 1, err);
	}
	for (int i = 0; i < nfds; i++)
		close(fds[i]);
	if (!rc)
		rc = store_channels(d, err);
	if (!rc && !d->incoming)               /* its console says nothing before the copy runs */
		rc = console_attach(d, err);
	return rc;
}

static void store_arrived_work(struct job *j)
{
	int rc = store_arrived_steps(j);
	json_t *done = rc ? json_pack("{s:s, s:s, s:s}", "op", "store-done", "code", err_name(rc), "error",
				      j->err.text[0] ? j->err.text : strerror(-rc))
			  : json_pack("{s:s}", "op", "store-done");

	j->rc = rc;
	child_call(arrived_dom(j), done, NULL, 0, NULL, NULL, NULL, deadline(DL_DAEMON), NULL);
}

static void store_take_back_work(struct job *j)
{
	j->shadow->on_store = j->shadow->on_console = true;
	console_detach(j->shadow);
	store_release(j->shadow);
}

/* The domain ended in the meantime: what was just put into the store goes again. */
static void store_arrived_done(struct job *j)
{
	struct dom *d = dom_by_id(j->h, j->shadow->domid);
	struct job *back;

	if (d && !strcmp(d->uuid, j->shadow->uuid)) {
		d->on_store = d->on_console = true;
		return;
	}
	back = d ? NULL : job_beside(j->shadow);
	if (!back)
		return;
	back->work = store_take_back_work;
	job_start_beside(back);
}

void dom_store_arrived(struct dom *d)
{
	struct job *j = !d->incoming ? job_beside(d) : d->gone_seen ? NULL : job_new(d->hvd, NULL, d);

	if (!j)
		return;
	j->work = store_arrived_work;
	if (d->incoming) {
		job_start(j);
		return;
	}
	j->done = store_arrived_done;
	job_start_beside(j);
}

/* Asked again for an attempt that was activated, and runs. */
static bool activated_before(struct dom *d, uint64_t attempt)
{
	json_t *status = NULL;
	uint64_t done = 0;
	bool runs = !child_call(d, json_pack("{s:s}", "op", "status"), NULL, 0, &status, NULL, NULL, deadline(DL_DAEMON), NULL) &&
		    !strcmp(config_str(status, "copy", ""), "running");

	json_decref(status);
	return runs && ran_read(d, &done) == 0 && done == attempt;
}

/* The guest runs, and the worker knows: what need not be there sooner. */
static void activate_rest_work(struct job *j)
{
	struct dom *d = j->dom;
	struct err err = { 0 };

	if (console_attach(d, &err))           /* xenconsoled's return attaches it */
		log_warn("domain %s (%u): no console yet: %s", d->name, d->domid, err.text);
	change_cpu_apply(d);
	helpers_end(d);
}

static void activate_rest_done(struct job *j)
{
	j->dom->settling = false;
}

static void activate_rest(struct dom *d)
{
	struct job *j = job_new(d->hvd, NULL, d);

	if (!j)
		return;
	d->settling = true;
	j->work = activate_rest_work;
	j->done = activate_rest_done;
	job_start(j);
}

/*
 * The point of no return on the target: the activation is on disk before a disk is opened for writing and before a vCPU
 * runs.  hv-domain says whether the copy is ready, and of that attempt.
 */
static void activate_work(struct job *j)
{
	struct dom *d = j->dom;
	uint64_t attempt = (uint64_t)j->number;
	uint64_t begin = monotonic_ns(), checked, recorded, opened, runs;

	j->rc = child_call(d, json_pack("{s:s, s:I}", "op", "activate-begin", "attempt", (json_int_t)attempt), NULL, 0, NULL, NULL,
			   NULL, deadline(DL_DAEMON), &j->err);
	if (j->rc == -EPERM && activated_before(d, attempt)) {
		j->rc = 0;
		j->reply = json_object();
		return;
	}
	if (j->rc)
		return;
	checked = monotonic_ns();
	j->rc = ran_write(d, attempt);
	if (j->rc) {
		job_fail(j, j->rc, "activate: cannot record it on disk: %s", strerror(-j->rc));
		return;
	}
	recorded = monotonic_ns();
	j->rc = disks_activate(d, &j->err);
	if (!j->rc)
		vifs_up(d);
	hurry_guest(d);                        /* if it still hurries: opening disks may have taken longer than it may */
	opened = monotonic_ns();
	if (!j->rc)
		j->rc = child_call(d, json_pack("{s:s, s:I}", "op", "activate", "attempt", (json_int_t)attempt), NULL, 0, &j->reply, NULL,
				   NULL, 20000, &j->err);
	runs = (uint64_t)config_int(j->reply, "run_ns", (json_int_t)monotonic_ns());
	if (j->rc) {
		json_decref(j->reply);
		j->reply = NULL;
		helpers_end(d);
		return;
	}
	hvd_log("domain %s (%u): activated, attempt %llu: asked %.1f, recorded %.1f, disks and taps %.1f, running %.1f ms", d->name, d->domid,
		(unsigned long long)attempt, ms(checked - begin), ms(recorded - checked), ms(opened - recorded), ms(runs - opened));
}

static void activate_done(struct job *j)
{
	struct dom *d = j->dom;

	if (j->rc)
		return;
	if (d->incoming)
		activate_rest(d);
	d->incoming = false;
	dom_record_write(d);
}

void op_activate(struct msg_call *c, void *h)
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	j->number = config_int(j->req, "attempt", 0);
	j->work = activate_work;
	j->done = activate_done;
	job_start(j);
}
