/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_ops.c - the table of requests, and the short ones: list, pause, shutdown, quorum, sysrq.
 */
#include "hypervisor/hypervisord.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <qb/qblog.h>
#include "lib/deadlines.h"
#include "lib/log.h"


/* --- list ------------------------------------------------------------------------------------------------------------ */

static int64_t task_cpu(pid_t pid, int64_t tid)
{
	char path[64], line[1024], *p;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%lld/stat", (int)pid, (long long)tid);
	f = fopen(path, "re");
	p = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
	if (f)
		fclose(f);
	for (int field = 2; p && field < 39; field++)          /* processor is field 39 of proc(5)'s stat */
		p = strchr(p + 1, ' ');
	return p ? strtol(p + 1, NULL, 10) : -1;
}

/* What hv-domain says about itself, into the table's object; numbers and strings only, in known places. */
static void status_merge(json_t *o, const json_t *status, pid_t pid)
{
	static const char *const keys[] = { "copy", "attempt", "target", "from", "user_paused", "state", "shutdown_reason", "memory_kib",
		"online_vcpus", "cpu_ns", "vcpu", "devices", "first_run_ns", "pages", "serves", "disk_sectors" };
	json_t *v;
	size_t i;

	for (i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (json_object_get(status, keys[i]))
			json_object_set(o, keys[i], json_object_get(status, keys[i]));
	json_array_foreach(json_object_get(o, "vcpu"), i, v)
		json_object_set_new(v, "cpu", json_integer(task_cpu(pid, config_int(v, "tid", 0))));
}

#define LIST_BYTES (MSG_MAX_BYTES - 1024)
#define AROUND_BYTES 256             /* what stands around a page's domains */

/*
 * One packet holds about forty domains with everything.  Beyond that a full list leaves out what a list of one domain
 * still has, the longest first.
 */
static void list_fit(json_t *reply)
{
	static const char *const expendable[] = { "config", "devices", "disk_sectors", "vcpu", "config_hash" };
	json_t *o;
	size_t i;

	for (size_t k = 0; k < sizeof expendable / sizeof expendable[0]; k++) {
		if (json_dumpb(reply, NULL, 0, JSON_COMPACT) < LIST_BYTES)
			return;
		json_array_foreach(json_object_get(reply, "domains"), i, o)
			json_object_del(o, expendable[k]);
		json_object_set_new(reply, "shortened", json_true());
	}
}

/* A page: as many as fit, with everything; "more" says that the next page begins after the last one's domid. */
static bool page_is_full(struct job *j, json_t *list, size_t i, size_t *bytes)
{
	*bytes += json_dumpb(json_array_get(list, i), NULL, 0, JSON_COMPACT) + 1;
	if (!j->flag || i == 0 || *bytes < LIST_BYTES - AROUND_BYTES)
		return false;
	while (json_array_size(list) > i)
		json_array_remove(list, json_array_size(list) - 1);
	json_object_set_new(j->reply, "more", json_true());
	return true;
}

/* Its control thread may be waiting for a page of the guest's: what is owed to it is told by the thread that waits for none. */
static void pages_merge(json_t *o, const struct dom *ask)
{
	json_t *look = json_pack("{s:s}", "op", "look"), *reply = NULL;
	char path[512];
	int sock = -1;

	if (!dom_path(path, sizeof path, ask->domid, ".pages.sock"))
		sock = msg_connect(path, NULL);
	if (sock >= 0 && msg_call(sock, look, NULL, 0, &reply, NULL, NULL, deadline(DL_STATUS), NULL, NULL, NULL) == 0 &&
	    json_object_get(reply, "pages"))
		json_object_set(o, "pages", json_object_get(reply, "pages"));
	if (sock >= 0)
		close(sock);
	json_decref(reply);
	json_decref(look);
}

static void list_work(struct job *j)
{
	json_t *list = json_object_get(j->reply, "domains"), *o;
	size_t i, bytes = 0;

	json_array_foreach(list, i, o) {
		struct dom ask = { .domid = (uint16_t)config_int(o, "domid", 0) };
		json_t *status = NULL;

		if (config_int(o, "hvdomain_pid", 0) > 0 &&
		    !child_call(&ask, json_pack("{s:s}", "op", "status"), NULL, 0, &status, NULL, NULL, deadline(DL_STATUS), NULL))
			status_merge(o, status, (pid_t)config_int(o, "hvdomain_pid", 0));
		else if (config_int(o, "hvdomain_pid", 0) > 0 && json_is_object(json_object_get(o, "pages")))
			pages_merge(o, &ask);
		json_decref(status);
		if (page_is_full(j, list, i, &bytes))
			break;
	}
	list_fit(j->reply);
}

/* Who waits for no guest's process asks for what the table knows by itself. */
static void list_brief(json_t *reply)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(reply, "domains"), i, o)
		json_object_del(o, "config");
	list_fit(reply);
}

static int by_domid(const void *a, const void *b)
{
	const struct dom *const *x = a, *const *y = b;

	return (int)(*x)->domid - (int)(*y)->domid;
}

void op_list(struct msg_call *c, void *arg)
{
	struct hvd *h = arg;
	const json_t *q = msg_call_request(c);
	bool one = json_object_get(q, "domid") || json_object_get(q, "name") || json_object_get(q, "uuid");
	struct dom *only = one ? request_dom(h, c) : NULL, *all[HVD_MAX_DOMAINS];
	json_t *list;
	struct job *j;
	size_t n = 0;

	if (one && !only)
		return;
	j = job_new(h, c, NULL);
	if (!j)
		return;
	list = json_array();
	j->flag = json_is_integer(json_object_get(j->req, "after"));
	for (struct dom *d = h->doms; d && n < HVD_MAX_DOMAINS; d = d->next)
		if ((!only || d == only) && d->domid > config_int(j->req, "after", 0))
			all[n++] = d;
	qsort(all, n, sizeof all[0], by_domid);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, dom_object(all[i]));
	j->reply = json_pack("{s:o}", "domains", list);
	if (json_is_true(json_object_get(j->req, "table"))) {
		list_brief(j->reply);
		job_finish_now(j);
		return;
	}
	j->work = list_work;
	job_start(j);
}

/* --- one request to hv-domain, passed on -------------------------------------------------------------------------------- */

static void pass_work(struct job *j)
{
	j->rc = child_call(j->dom, json_incref(j->data), NULL, 0, NULL, NULL, NULL, 10000, &j->err);
}

static void pass(struct msg_call *c, struct hvd *h, const char *op)
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	j->data = json_pack("{s:s, s:I}", "op", op, "attempt", (json_int_t)config_int(j->req, "attempt", 0));
	if (config_str(j->req, "target", NULL))
		json_object_set(j->data, "target", json_object_get(j->req, "target"));
	j->work = pass_work;
	job_start(j);
}

static void op_pause(struct msg_call *c, void *h) { pass(c, h, "pause"); }
static void op_unpause(struct msg_call *c, void *h) { pass(c, h, "unpause"); }

/*
 * All domains at once when none is named: a quorum is lost for the node.  A copy in a state the word does not concern (handed,
 * incoming) is no error.  All are told before the first one is waited for; the reply has when the last one had stopped.
 */
static void quorum_work(struct job *j)
{
	size_t n = json_array_size(j->data), i;
	int *asked = calloc(n ? n : 1, sizeof *asked);
	json_int_t last = 0;

	for (i = 0; asked && i < n; i++) {
		struct dom ask = { .domid = (uint16_t)json_integer_value(json_array_get(j->data, i)) };

		asked[i] = child_ask(&ask, json_pack("{s:s}", "op", j->flag ? "quorum-pause" : "quorum-resume"), NULL, 0, &j->err);
	}
	for (i = 0; asked && i < n; i++) {
		struct dom ask = { .domid = (uint16_t)json_integer_value(json_array_get(j->data, i)) };
		json_t *reply = NULL;
		int rc = asked[i] < 0 ? asked[i] : child_await(&ask, asked[i], "quorum", &reply, 5000, &j->err);
		json_int_t at = json_integer_value(json_object_get(reply, j->flag ? "stopped_ns" : "runs_ns"));

		if (rc && rc != -EPERM)
			j->rc = rc;
		last = at > last ? at : last;
		json_decref(reply);
	}
	if (!asked)
		job_fail(j, -ENOMEM, "hypervisord: out of memory");
	free(asked);
	j->reply = json_object();
	if (last)
		json_object_set_new(j->reply, j->flag ? "stopped_ns" : "runs_ns", json_integer(last));
}

static void quorum(struct msg_call *c, struct hvd *h, bool lost)
{
	bool one = json_object_get(msg_call_request(c), "domid") != NULL;
	struct dom *only = one ? request_dom(h, c) : NULL;
	struct job *j = one && !only ? NULL : job_new(h, c, NULL);

	if (!j)
		return;
	j->data = json_array();
	j->flag = lost;
	for (struct dom *d = h->doms; d; d = d->next)
		if ((!only || d == only) && d->pid > 0)
			json_array_append_new(j->data, json_integer(d->domid));
	j->work = quorum_work;
	job_start(j);
}

void op_quorum_pause(struct msg_call *c, void *h) { quorum(c, h, true); }
void op_quorum_resume(struct msg_call *c, void *h) { quorum(c, h, false); }

/* --- through the store --------------------------------------------------------------------------------------------------- */

/*
 * While a copy stands still for a move or a save its store has been exported, or is about to be: what is written here then may stay
 * behind.  A copy that runs after the write has not been exported before it.  Asking again does no harm, so the caller hears
 * of the doubt rather than a success.
 */
static void control_work(struct job *j)
{
	json_t *status = NULL;
	const char *copy;
	char path[64];

	snprintf(path, sizeof path, "/local/domain/%u/control/%s", j->dom->domid, config_str(j->data, "node", ""));
	j->rc = store_write(path, config_str(j->data, "value", ""), &j->err);
	if (!j->rc)
		j->rc = child_call(j->dom, json_pack("{s:s}", "op", "status"), NULL, 0, &status, NULL, NULL, deadline(DL_DAEMON), &j->err);
	copy = config_str(status, "copy", "running");
	if (!j->rc && strcmp(copy, "running") && strcmp(copy, "quorum-paused"))
		job_fail(j, -EBUSY, "domain %s is being moved or saved (its copy is %s); ask again when that is over", j->dom->name, copy);
	json_decref(status);
}

static void control_write(struct msg_call *c, struct hvd *h, const char *node, const char *value)
{
	struct dom *d = request_dom(h, c);
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	j->data = json_pack("{s:s, s:s}", "node", node, "value", value);
	j->work = control_work;
	job_start(j);
}

static void op_shutdown(struct msg_call *c, void *h) { control_write(c, h, "shutdown", "poweroff"); }
static void op_reboot(struct msg_call *c, void *h) { control_write(c, h, "shutdown", "reboot"); }

static void console_path_work(struct job *j)
{
	json_t *q = json_pack("{s:s, s:I}", "op", "path", "domid", (json_int_t)j->number);
	int sock = msg_connect("xenconsoled.sock", &j->err);

	j->rc = sock < 0 ? sock : msg_call(sock, q, NULL, 0, &j->reply, NULL, NULL, 5000, NULL, NULL, &j->err);
	if (sock >= 0)
		close(sock);
	json_decref(q);
}

static void op_console_path(struct msg_call *c, void *h)
{
	struct dom *d = request_dom(h, c);
	/* a guest that has just come here gets its console any moment: after that job */
	struct job *j = d ? job_new(h, c, d->settling ? d : NULL) : NULL;

	if (!j)
		return;
	j->number = d->domid;
	j->work = console_path_work;
	job_start(j);
}

/* --- the message ring ------------------------------------------------------------------------------------------------------ */

#define RING_BYTES 32768

static struct { pthread_mutex_t lock; char text[RING_BYTES]; size_t n; } ring = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void ring_add(const char *line)
{
	size_t n = strlen(line);

	if (n + 1 >= RING_BYTES / 2)
		return;
	if (ring.n + n + 1 > RING_BYTES) {
		size_t cut = ring.n - RING_BYTES / 2;

		memmove(ring.text, ring.text + cut, ring.n - cut);
		ring.n -= cut;
	}
	memcpy(ring.text + ring.n, line, n);
	ring.n += n;
	ring.text[ring.n++] = '\n';
}

void hvd_log(const char *fmt, ...)
{
	char line[512], stamped[560];
	struct timespec now;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	log_info("%s", line);
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(stamped, sizeof stamped, "(HAVEN) [%6lld.%06ld] %s", (long long)now.tv_sec, now.tv_nsec / 1000, line);
	pthread_mutex_lock(&ring.lock);
	ring_add(stamped);
	pthread_mutex_unlock(&ring.lock);
}

static void op_dmesg(struct msg_call *c, void *h)
{
	struct job *j = job_new(h, c, NULL);

	if (!j)
		return;
	pthread_mutex_lock(&ring.lock);
	j->reply = json_pack("{s:s%}", "dmesg", ring.text, ring.n);
	pthread_mutex_unlock(&ring.lock);
	job_finish_now(j);
}

static void op_subscribe(struct msg_call *c, void *h) { msg_subscribe(c); }

const struct msg_op hvd_ops[] = {
	{ "list", MSG_ANY, op_list },
	{ "node-info", MSG_ANY, op_node_info },
	{ "create", MSG_ROOT, op_create },
	{ "destroy", MSG_ROOT, op_destroy },
	{ "shutdown", MSG_ROOT, op_shutdown },
	{ "reboot", MSG_ROOT, op_reboot },
	{ "pause", MSG_ROOT, op_pause },
	{ "unpause", MSG_ROOT, op_unpause },
	{ "sysrq", MSG_ROOT, op_change },
	{ "mem-set", MSG_ROOT, op_change },
	{ "mem-max", MSG_ROOT, op_change },
	{ "vcpu-set", MSG_ROOT, op_change },
	{ "vcpu-pin", MSG_ROOT, op_change },
	{ "sched-set", MSG_ROOT, op_change },
	{ "disk-attach", MSG_ROOT, op_change },
	{ "disk-detach", MSG_ROOT, op_change },
	{ "vif-attach", MSG_ROOT, op_change },
	{ "vif-detach", MSG_ROOT, op_change },
	{ "rename", MSG_ROOT, op_change },
	{ "trigger", MSG_ROOT, op_change },
	{ "dump-core", MSG_ROOT, op_change },
	{ "dmesg", MSG_ROOT, op_dmesg },
	{ "console-path", MSG_ROOT, op_console_path },
	{ "save", MSG_ROOT, op_save },
	{ "restore", MSG_ROOT, op_restore },
	{ "image-info", MSG_ROOT, op_image_info },
	{ "incoming", MSG_ROOT, op_incoming },
	{ "takes", MSG_ROOT, op_takes },
	{ "migrate-open", MSG_ROOT, op_migrate_open },
	{ "pages-open", MSG_ROOT, op_pages_open },
	{ "serve-open", MSG_ROOT, op_serve_open },
	{ "pages-served", MSG_ROOT, op_pages_served },
	{ "pages-lost", MSG_ROOT, op_pages_lost },
	{ "hurry", MSG_ROOT, op_hurry },
	{ "mark-handed", MSG_ROOT, op_mark_handed },
	{ "activate", MSG_ROOT, op_activate },
	{ "activated", MSG_ROOT, op_activated },
	{ "resume-handed", MSG_ROOT, op_resume_handed },
	{ "quorum-pause", MSG_ROOT, op_quorum_pause },
	{ "quorum-resume", MSG_ROOT, op_quorum_resume },
	{ "subscribe", MSG_ROOT, op_subscribe },
	{ NULL },
};
