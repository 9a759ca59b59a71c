/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_save.c - save and restore: hv-domain writes and reads the file; a file is first read to its end by a process
 * that has nothing (haven-image-check), before a domain exists.
 */
#include "hypervisor/hypervisord.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "lib/spawn.h"

#define SAVE_TIMEOUT_MS (20 * 60 * 1000)

static int save_progress(const json_t *progress, void *arg)
{
	job_progress(arg, json_deep_copy(progress));
	return 0;
}

/* What the image says of when it was made: the cluster's epoch as the caller knows it, or this host's number of the last start. */
static json_t *save_request(struct job *j, bool keep)
{
	struct conf *conf = NULL;
	long long version = 2;
	struct dom *d = j->dom;
	uint64_t epoch = (uint64_t)config_int(j->req, "epoch", 0);

	if (!d->claim && started_read(d->uuid, &epoch))
		epoch = 0;
	if (!conf_load("haven.conf", &conf, NULL))
		version = conf_get_int(conf, "migration_version", version);
	conf_free(conf);
	return json_pack("{s:s, s:O, s:b, s:I, s:b, s:I}", "op", "save-state", "config", d->config, "resume", keep, "epoch", (json_int_t)epoch,
			 "cluster", d->claim != 0, "version", (json_int_t)version);
}

static void save_work(struct job *j)
{
	struct dom *d = j->dom;
	bool leave_paused = json_is_true(json_object_get(j->req, "leave_paused")), pause_it = leave_paused && !d->user_paused;
	bool keep = leave_paused || json_is_true(json_object_get(j->req, "checkpoint"));
	json_t *req = save_request(j, keep);
	char path[512];
	int sock = -1, rc = dom_path(path, sizeof path, d->domid, ".sock");

	if (!rc && pause_it)
		rc = child_call(d, json_pack("{s:s}", "op", "pause"), NULL, 0, NULL, NULL, NULL, 10000, &j->err);
	if (!rc)
		rc = sock = msg_connect(path, &j->err);
	if (rc >= 0) {
		rc = msg_call(sock, req, &j->in_fd, 1, NULL, NULL, NULL, SAVE_TIMEOUT_MS, save_progress, j, &j->err);
		close(sock);
		if (rc < 0 && pause_it)
			child_call(d, json_pack("{s:s}", "op", "unpause"), NULL, 0, NULL, NULL, NULL, 10000, NULL);
	}
	json_decref(req);
	j->rc = rc < 0 ? rc : 0;
	j->flag = !keep;
}

static void save_done(struct job *j)
{
	struct dom *d = j->dom;
	struct pollfd dead = { .fd = d->pidfd, .events = POLLIN };

	d->saving = false;
	if (j->rc && d->pidfd >= 0 && poll(&dead, 1, 0) > 0)
		dom_end(d, "lost", false);     /* child_gone() left it to us */
	else if (!j->rc && j->flag)
		dom_end_for(j, "saved");
}

void op_save(struct msg_call *c, void *h)
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	if (j->in_fd < 0) {
		job_fail(j, -EINVAL, "save: no file came with the request");
		j->dom = NULL;
		job_finish_now(j);
		return;
	}
	d->saving = true;
	j->work = save_work;
	j->done = save_done;
	job_start(j);
}

/* --- restore ------------------------------------------------------------------------------------------------------------- */

static int image_check(int fd, json_t **ret, struct err *err)
{
	char prog[512];
	char *argv[] = { prog, NULL };
	int sv[2] = { -1, -1 }, pidfd = -1, rc;
	json_t *reply = NULL;

	rc = path_join(prog, sizeof prog, path_libexec(), "haven-image-check");
	if (!rc && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		rc = -errno;
	if (rc)
		return err_set(err, rc, "haven-image-check: %s", strerror(-rc));
	rc = (int)spawn_program(argv, NULL, (int[]) { sv[0], -1, STDERR_FILENO, fd }, 4, &pidfd, err);
	close(sv[0]);
	if (rc > 0) {
		rc = msg_recv(sv[1], &reply, NULL, NULL);
		if (rc <= 0)
			rc = err_set(err, -EINVAL, "the image is damaged: checking it failed");
		else if (!json_is_true(json_object_get(reply, "ok")))
			rc = err_set(err, -EINVAL, "%s", config_str(reply, "error", "the image is damaged"));
		else
			rc = 0;
		spawn_kill_wait(pidfd, 5000);
		close(pidfd);
	}
	close(sv[1]);
	if (rc)
		json_decref(reply);
	else
		*ret = reply;
	return rc;
}

static int restore_steps(struct job *j)
{
	struct dom *d = j->dom;
	struct err *err = &j->err;
	int rc;

	store_wipe(d);
	rc = child_start(d, err);
	if (!rc)
		rc = disks_open(d, DISK_USE, d->claim != 0, err);
	if (!rc)
		rc = vifs_open(d, err);
	if (!rc)
		rc = dom_record_write(d);
	if (!rc)
		rc = child_call(d, json_pack("{s:s}", "op", "load-state"), &j->in_fd, 1, NULL, NULL, NULL, SAVE_TIMEOUT_MS, err);
	if (!rc)
		rc = d->claim ? activated_write(d->uuid, (uint64_t)d->claim) : started_write(d->uuid);
	if (!rc) {
		change_limit_apply(d);
		change_cpu_apply(d);
	}
	/* as asked for: what is known of the copy by now is what hv-domain says of one that was just loaded */
	if (!rc)
		rc = child_call(d, json_pack("{s:s, s:b}", "op", "run", "paused", json_is_true(json_object_get(j->req, "paused"))), NULL, 0,
				NULL, NULL, NULL, 20000, err);
	return rc;
}

static void restore_work(struct job *j)
{
	dom_undo(j, restore_steps(j), "cannot be restored");
}

static void restore_done(struct job *j)
{
	struct dom *d = j->dom;

	if (j->rc) {
		dom_forget(j);
		return;
	}
	snprintf(d->copy, sizeof d->copy, "running");
	child_watch(d);
	hvd_log("domain %s (%u): restored", d->name, d->domid);
	dom_event(d, "domain-created");
	j->reply = json_pack("{s:i, s:I}", "domid", d->domid, "saved_realtime_ns", (json_int_t)config_int(j->data, "saved_realtime_ns", 0));
}

static void check_work(struct job *j)
{
	j->rc = image_check(j->in_fd, &j->data, &j->err);
}

/*
 * Without a cluster this host's own count says whether the domain was started again since the save; in one ha-agentd has asked the
 * directory before it claimed.
 */
static int stale_check(const struct job *j, struct err *err)
{
	const json_t *config = json_object_get(j->data, "config");
	const char *name = config_str(config, "name", "?");
	uint64_t epoch = 0;

	if (config_int(j->req, "claim", 0) || json_is_true(json_object_get(j->req, "force")))
		return 0;
	if (json_is_true(json_object_get(j->data, "goes_on")))
		return err_set(err, -ESTALE, "%s ran on after this save (-c, -p): its disks have moved on, and memory of before would damage them; "
			       "restore with --force when the disks are of that moment too", name);
	if (json_is_true(json_object_get(j->data, "cluster")) || started_read(config_str(config, "uuid", ""), &epoch) ||
	    epoch != (uint64_t)config_int(j->data, "epoch", 0))
		return err_set(err, -ESTALE, "%s was started since this save, or saved on another host: its disks may have moved on, and memory of "
			       "before would damage them; restore with --force when you know that they have not", name);
	return 0;
}

/* The check's end: the domain begins, and the request goes on as a second job with the same reply. */
static void check_done(struct job *j)
{
	struct hvd *h = j->h;
	const json_t *config = json_object_get(j->data, "config");
	int64_t claim = config_int(j->req, "claim", 0), domid = config_int(j->req, "domid", config_int(j->data, "domid", 0));
	struct job *next;

	if (!j->rc)
		j->rc = stale_check(j, &j->err);
	if (j->rc)
		return;
	if (domid != config_int(j->data, "domid", 0)) {
		job_fail(j, -EINVAL, "restore: the guest was saved as domain %lld and knows itself by that number; it cannot become %lld",
			 (long long)config_int(j->data, "domid", 0), (long long)domid);
		return;
	}
	next = job_new(h, NULL, NULL);
	if (!next) {
		job_fail(j, -ENOMEM, "hypervisord: out of memory");
		return;
	}
	next->dom = dom_admit(h, config, domid, claim, claim, "building", &j->err);
	if (!next->dom) {
		j->rc = j->err.code ? j->err.code : -EINVAL;
		next->rc = j->rc;
		next->err = j->err;
		job_finish_now(next);
		return;
	}
	next->dom->user_paused = json_is_true(json_object_get(j->req, "paused"));
	next->in_fd = j->in_fd;
	j->in_fd = -1;
	next->req = json_incref(j->req);
	next->data = json_incref(j->data);
	job_pending_move(j, next);
	next->work = restore_work;
	next->done = restore_done;
	next->dom->on_store = next->dom->on_console = true;
	child_watch(next->dom);                /* the store's part is asked for while it loads */
	job_start(next);
}

/* A request that begins with reading the file which came with it. */
static void file_job(struct msg_call *c, struct hvd *h, const char *op, void (*done)(struct job *))
{
	struct job *j = job_new(h, c, NULL);

	if (!j)
		return;
	if (j->in_fd < 0) {
		job_fail(j, -EINVAL, "%s: no file came with the request", op);
		job_finish_now(j);
		return;
	}
	j->work = check_work;
	j->done = done;
	job_start(j);
}

void op_restore(struct msg_call *c, void *h)
{
	file_job(c, h, "restore", check_done);
}

/* --- what a file holds ---------------------------------------------------------------------------------------------------- */

static void info_done(struct job *j)
{
	if (j->rc)
		return;
	json_object_del(j->data, "ok");
	j->reply = json_incref(j->data);
}

void op_image_info(struct msg_call *c, void *h)
{
	file_job(c, h, "image-info", info_done);
}
