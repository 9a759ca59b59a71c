/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_create.c - create: everything, or nothing is left; and destroy.
 */
#include "hypervisor/hypervisord.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "hypervisor/engine/bt/cpuid.h"
#include "lib/conf.h"
#include "lib/deadlines.h"
#include "lib/grant.h"
#include "lib/log.h"
#include "lib/spawn.h"

#define BUILD_TIMEOUT_MS 60000

struct dom *request_dom(struct hvd *h, struct msg_call *c)
{
	const json_t *q = msg_call_request(c);
	const char *name = config_str(q, "name", NULL), *uuid = config_str(q, "uuid", NULL);
	int64_t domid = config_int(q, "domid", -1);
	struct dom *d = domid >= 0 ? dom_by_id(h, domid) : name ? dom_by_name(h, name) : uuid ? dom_by_uuid(h, uuid) : NULL;

	if (d)
		return d;
	if (domid < 0 && !name && !uuid)
		msg_error(c, -EINVAL, "which domain? name it by domid, name or uuid");
	else if (domid >= 0)
		msg_error(c, -ENOENT, "there is no domain %lld on this node; see xl list", (long long)domid);
	else
		msg_error(c, -ENOENT, "there is no domain %s on this node; see xl list", name ? name : uuid);
	return NULL;
}

void dom_event(struct dom *d, const char *event)
{
	json_t *o = json_pack("{s:s, s:i, s:s, s:o}", "event", event, "domid", d->domid, "uuid", d->uuid, "domain", dom_object(d));

	if (d->reason[0])
		json_object_set_new(o, "reason", json_string(d->reason));
	msg_event(d->hvd->server, o);
}

/* --- taking a domain down ------------------------------------------------------------------------------------------------- */

/* Of a domain that failed half-way as of one that ran: whatever is there goes. */
void dom_end_work(struct job *j)
{
	struct dom *d = j->dom;
	int rc;

	if (d->pid > 0 && d->pidfd >= 0) {
		/* first the guest stands still for good, then its disks are let go of */
		rc = spawn_kill_wait(d->pidfd, deadline(DL_GONE));
		if (rc) {
			job_fail(j, rc, "domain %s (%u): its process %d does not end (a disk that hangs?); look at it, then destroy again",
				 d->name, d->domid, (int)d->pid);
			return;
		}
	}
	devices_close(d);
	rc = child_kill(d);
	if (rc) {
		job_fail(j, rc, "domain %s (%u): its hv-disk %d does not end; look at it, then destroy again", d->name, d->domid,
			 (int)d->disk_pid);
		return;
	}
	console_detach(d);
	store_release(d);
}

void dom_undo(struct job *j, int rc, const char *what)
{
	struct err why;

	if (!rc)
		return;
	if (!j->err.text[0])
		err_set(&j->err, rc, "domain %s: %s: %s", j->dom->name, what, strerror(-rc));
	why = j->err;
	j->rc = 0;
	dom_end_work(j);
	if (j->rc)
		log_err("%s", j->err.text);
	j->err = why;
	j->rc = rc;
}

static void restart_begin(struct hvd *h, json_t *config, int64_t domid, int64_t claim, struct dom *same);

static void destroy_work(struct job *j);

bool dom_destroy_waits(const struct job *j)
{
	for (const struct job *w = j->next; w; w = w->next)
		if (w->work == destroy_work && !json_is_array(json_object_get(w->req, "expect")))
			return true;
	return false;
}

/* The entry of j's domain goes; what still waited for it finds it gone, which is what a destroy asked for. */
void dom_forget(struct job *j)
{
	struct dom *d = j->dom;
	struct job *w = d->jobs_head == j ? j->next : d->jobs_head;

	j->dom = NULL;
	while (w) {
		struct job *next = w->next;

		w->dom = NULL;
		w->done = NULL;
		if (w->work != destroy_work)
			job_fail(w, -ENOENT, "domain %s (%u) is gone", d->name, d->domid);
		job_finish_now(w);
		w = next;
	}
	dom_remove(d);
}

static void dom_end_done(struct job *j)
{
	struct dom *d = j->dom;
	struct hvd *h = j->h;
	bool restart = j->flag && !dom_destroy_waits(j);       /* asked to be destroyed while it ended: it does not come back */
	json_t *config;

	if (j->rc) {
		d->gone_seen = false;
		return;
	}
	if (restart && d->claim) {             /* stays in the table: the cluster's word for it stands */
		snprintf(d->copy, sizeof d->copy, "building");
		d->shutdown_reason = -1;
		d->gone_seen = false;
		d->reason[0] = 0;
		restart_begin(h, d->config, d->domid, d->claim, d);
		return;
	}
	config = json_incref(d->config);
	snprintf(d->copy, sizeof d->copy, "dying");
	hvd_log("domain %s (%u): gone, %s", d->name, d->domid, d->reason);
	dom_event(d, "domain-destroyed");
	dom_forget(j);
	if (restart)
		restart_begin(h, config, 0, 0, NULL);
	json_decref(config);
}

static void dom_end_start(struct job *j, const char *reason, void (*work)(struct job *), void (*done)(struct job *))
{
	struct dom *d = j->dom;

	snprintf(d->reason, sizeof d->reason, "%s", reason);
	d->gone_seen = true;
	child_unwatch(d);
	j->work = work;
	j->done = done;
	job_start(j);
}

static void dom_end_dumped_work(struct job *j)
{
	struct err err = { 0 };

	if (dom_core_keep(j->dom, &err))
		hvd_log("domain %s (%u): no core: %s", j->dom->name, j->dom->domid, err.text);
	dom_end_work(j);
}

void dom_end_dumped(struct dom *d, const char *reason, bool restart)
{
	struct job *j = job_new(d->hvd, NULL, d);

	if (!j)
		return;
	j->flag = restart;
	dom_end_start(j, reason, dom_end_dumped_work, dom_end_done);
}

void dom_restart(struct hvd *h, json_t *config) { restart_begin(h, config, 0, 0, NULL); }

void dom_end(struct dom *d, const char *reason, bool restart)
{
	struct job *j = job_new(d->hvd, NULL, d);

	if (!j)
		return;
	j->flag = restart;
	dom_end_start(j, reason, dom_end_work, dom_end_done);
}

void dom_end_for(struct job *waiting, const char *reason)
{
	struct job *j = job_new(waiting->h, NULL, waiting->dom);

	if (!j) {
		job_fail(waiting, -ENOMEM, "hypervisord: out of memory");
		return;
	}
	job_pending_move(waiting, j);
	dom_end_start(j, reason, dom_end_work, dom_end_done);
}

static bool expected(const struct dom *d, const json_t *expect)
{
	size_t i;
	json_t *v;

	json_array_foreach(expect, i, v)
		if (json_is_string(v) && !strcmp(json_string_value(v), d->copy))
			return true;
	return false;
}

/* `expect` is looked at again when the earlier jobs (an activate, say) are through. */
static void destroy_work(struct job *j)
{
	const json_t *expect = json_object_get(j->req, "expect");
	json_t *status = NULL;
	const char *copy = j->dom->copy;

	if (json_is_array(expect)) {
		if (j->dom->pid > 0 && !child_call(j->dom, json_pack("{s:s}", "op", "status"), NULL, 0, &status, NULL, NULL, 5000, NULL))
			copy = config_str(status, "copy", copy);
		snprintf(j->dom->copy, sizeof j->dom->copy, "%s", copy);
		json_decref(status);
		if (!expected(j->dom, expect)) {
			job_fail(j, -EBUSY, "domain %s (%u): its copy is %s", j->dom->name, j->dom->domid, j->dom->copy);
			return;
		}
	}
	dom_end_work(j);
}

static void destroy_done(struct job *j)
{
	if (j->rc == -EBUSY) {
		j->dom->gone_seen = false;
		j->dom->reason[0] = 0;
		child_watch(j->dom);
		return;
	}
	dom_end_done(j);
}

void op_destroy(struct msg_call *c, void *arg)
{
	struct dom *d = request_dom(arg, c);
	struct job *j = d ? job_new(arg, c, d) : NULL;

	if (!j)
		return;
	dom_end_start(j, config_str(j->req, "reason", "destroyed"), destroy_work, destroy_done);
}

/* --- building one up ------------------------------------------------------------------------------------------------------- */

static int file_open(const char *what, const char *key, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return err_set(err, -errno, "%s %s: %s; check %s=", what, path, strerror(errno), key);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, -EINVAL, "%s %s: not a regular file; check %s=", what, path, key);
	}
	return fd;
}

#define BASELINE_MAX (16U * 1024)

/*
 * The cluster's CPU baseline, if haven.conf names one: features by name, separated by blanks or lines, '#' comments.  0 and
 * an array or NULL; -errno with FILE:LINE in err.
 */
int cpu_baseline_read(json_t **ret, struct err *err)
{
	struct cpuid_policy scratch;
	char path[PATH_MAX], line[1024];
	struct conf *conf = NULL;
	unsigned nr = 0;
	json_t *list;
	FILE *f;
	int rc = conf_load("haven.conf", &conf, err);

	*ret = NULL;
	if (rc)
		return rc;
	snprintf(path, sizeof path, "%s", conf_get(conf, "cpu_baseline", ""));
	conf_free(conf);
	if (!path[0])
		return 0;
	f = fopen(path, "re");
	if (!f)
		return err_set(err, -errno, "cpu_baseline of haven.conf: %s cannot be read: %s", path, strerror(errno));
	cpuid_policy_host(&scratch);
	list = json_array();
	while (!rc && nr < BASELINE_MAX && fgets(line, sizeof line, f)) {
		char *save = NULL, *word;

		nr++;
		line[strcspn(line, "#\n")] = '\0';
		for (word = strtok_r(line, " \t,", &save); word && !rc; word = strtok_r(NULL, " \t,", &save)) {
			if (cpuid_policy_set_feature(&scratch, word, true))
				rc = err_set(err, -EINVAL, "%s:%u: '%.40s' is no CPU feature that guests see; xl info lists them", path, nr, word);
			else if (json_array_append_new(list, json_string(word)))
				rc = -ENOMEM;
		}
	}
	fclose(f);
	if (rc) {
		json_decref(list);
		return rc;
	}
	*ret = list;
	return 0;
}

/* The builder runs in hv-domain; here the files are opened, no more.  A connection over which it will say that it has built. */
static int guest_build_ask(struct dom *d, struct err *err)
{
	const char *kernel = config_str(d->config, "kernel", ""), *ramdisk = config_str(d->config, "ramdisk", NULL);
	json_t *baseline = NULL, *req;
	int fds[2] = { -1, -1 }, rc;

	rc = cpu_baseline_read(&baseline, err);
	if (rc)
		return rc;
	rc = fds[0] = file_open("kernel", "kernel", kernel, err);
	if (rc >= 0 && ramdisk)
		rc = fds[1] = file_open("ramdisk", "ramdisk", ramdisk, err);
	if (rc >= 0) {
		req = json_pack("{s:s, s:s, s:s, s:s, s:I}", "op", "build", "kernel", kernel, "ramdisk", ramdisk ? ramdisk : "",
				"cmdline", config_str(d->config, "cmdline", ""),
				"memory_pages", (json_int_t)config_int(d->config, "memory_kib", 0) / 4);
		if (baseline)
			json_object_set(req, "cpu_baseline", baseline);
		if (json_object_get(d->config, "cpuid"))
			json_object_set(req, "cpuid", json_object_get(d->config, "cpuid"));
		rc = child_ask(d, req, fds, ramdisk ? 2 : 1, err);
	}
	json_decref(baseline);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return rc;
}

/*
 * hv-domain starts, and builds as soon as it is up; meanwhile helpers open disks and make taps, and what the daemons need of the
 * domain, but for what the builder decides, is told them here.
 */
static int create_steps(struct job *j)
{
	struct dom *d = j->dom;
	json_t *status = NULL;
	struct err *err = &j->err, build_err = { 0 };
	uint64_t start = d->claim ? (uint64_t)d->claim : started_next(d->uuid);
	int building = -1, console = -1, built, rc = child_begin(d, err);

	if (!rc)
		rc = building = guest_build_ask(d, err);
	if (rc < 0)
		return rc;
	rc = devices_begin(d, DISK_USE, err);
	if (!rc)
		rc = store_prepare(d, err);
	if (!rc)
		rc = console_open(d, &console, err);
	if (!rc)
		rc = ran_prepare(d, start);
	built = child_await(d, building, "build", &status, BUILD_TIMEOUT_MS, &build_err);
	if (built) {                           /* a kernel that is none is told of first */
		*err = build_err;
		rc = built;
	}
	if (!rc)
		rc = disks_open(d, DISK_USE, d->claim != 0, err);
	if (!rc)
		rc = vifs_open(d, err);
	if (!rc)
		rc = store_introduce(d, status, err);
	if (!rc) {
		rc = console_connect(d, console, err);
		console = -1;
	}
	if (console >= 0)
		close(console);
	json_decref(status);
	if (!rc)
		rc = ran_write(d, start);
	if (!rc) {
		change_limit_apply(d);
		change_cpu_apply(d);
	}
	if (!rc)
		rc = child_call(d, json_pack("{s:s, s:b}", "op", "run", "paused", d->user_paused), NULL, 0, NULL, NULL, NULL, 20000, err);
	return rc;
}

static void create_work(struct job *j)
{
	dom_undo(j, create_steps(j), "cannot be created");
}

static void create_done(struct job *j)
{
	struct dom *d = j->dom;

	if (j->rc) {
		log_warn("domain %s (%u): not created: %s", d->name, d->domid, j->err.text);
		snprintf(d->reason, sizeof d->reason, "lost");
		if (j->flag)                   /* a restart: people were told of it before */
			dom_event(d, "domain-destroyed");
		dom_forget(j);
		return;
	}
	snprintf(d->copy, sizeof d->copy, "running");
	child_watch(d);
	hvd_log("domain %s (%u): created, uuid %s", d->name, d->domid, d->uuid);
	dom_event(d, "domain-created");
	j->reply = json_pack("{s:i}", "domid", d->domid);
}

static int config_check(const json_t *config, struct err *err)
{
	const char *name = config_str(config, "name", "?");
	int64_t memory = config_int(config, "memory_kib", 0), max = config_int(config, "maxmem_kib", memory);

	if (!json_is_object(config))
		return err_set(err, -EINVAL, "create: no config came with the request");
	if (strcmp(config_str(config, "type", "pv"), "pv"))
		return err_set(err, -ENOTSUP, "%s: type=%s: this version runs PV guests only; set type=\"pv\"", name,
			       config_str(config, "type", "?"));
	if (!*config_str(config, "kernel", ""))
		return err_set(err, -EINVAL, "%s: a PV guest needs kernel=", name);
	if (memory < 4096 || memory % 4 || max < memory || max % 4 || max > (int64_t)64 << 20)
		return err_set(err, -EINVAL, "%s: memory of %lld KiB with maxmem of %lld KiB: 4 MiB to 64 GiB, maxmem at least memory", name,
			       (long long)memory, (long long)max);
	if (config_int(config, "vcpus", 1) < 1 || config_int(config, "vcpus", 1) > 32)
		return err_set(err, -EINVAL, "%s: vcpus=%lld: a domain has 1 to 32", name, (long long)config_int(config, "vcpus", 1));
	return 0;
}

/* Everything that can be refused at once, before anything is made.  The entry, or NULL with err. */
struct dom *dom_admit(struct hvd *h, const json_t *config, int64_t domid, int64_t claim, int64_t grant, const char *copy, struct err *err)
{
	struct dom *d;
	int rc = config_check(config, err);

	if (!rc && !claim && conf_exists("cluster.conf"))
		rc = err_set(err, -EPERM, "%s: this node is part of a cluster, which decides where a domain starts; "
			     "use `xl create` (it asks ha-agentd) or `pcs resource enable %s`", config_str(config, "name", "?"),
			     config_str(config, "name", "?"));
	if (!rc)
		rc = node_memory_check(h, config, err);
	if (rc)
		return NULL;
	d = dom_add(h, config, domid, claim, copy, err);
	if (!d || !grant)
		return d;
	rc = grant_take(d->uuid, (uint64_t)grant);
	if (!rc)
		return d;
	err_set(err, rc, "%s: its start was taken back by the cluster (%s)", d->name, strerror(-rc));
	dom_remove(d);
	return NULL;
}

void op_create(struct msg_call *c, void *arg)
{
	struct hvd *h = arg;
	struct job *j = job_new(h, c, NULL);
	int64_t claim;

	if (!j)
		return;
	claim = config_int(j->req, "claim", 0);
	j->dom = dom_admit(h, json_object_get(j->req, "config"), config_int(j->req, "domid", 0), claim, claim, "building", &j->err);
	if (!j->dom) {
		j->rc = j->err.code ? j->err.code : -EINVAL;
		job_finish_now(j);
		return;
	}
	j->dom->user_paused = json_is_true(json_object_get(j->req, "paused"));
	j->work = create_work;
	j->done = create_done;
	job_start(j);
}

static void restart_begin(struct hvd *h, json_t *config, int64_t domid, int64_t claim, struct dom *same)
{
	struct job *j = job_new(h, NULL, NULL);

	if (!j)
		return;
	j->dom = same ? same : dom_add(h, config, domid, claim, "building", &j->err);
	if (!j->dom) {
		j->rc = j->err.code;
		job_finish_now(j);
		return;
	}
	j->dom->user_paused = false;
	j->dom->started_unix = (uint64_t)time(NULL);
	j->flag = true;
	j->work = create_work;
	j->done = create_done;
	job_start(j);
}
