/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hypervisord_child.c - hv-domain as hypervisord sees it: started, asked, watched, ended. */
#include "hypervisor/hypervisord.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "hypervisor/abi/abi.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/deadlines.h"
#include "lib/paths.h"
#include "lib/spawn.h"


static int control_listen(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, rc;

	if (strlen(path) >= sizeof sa.sun_path)
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 || chmod(path, 0600) < 0 || listen(fd, 16) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

/*
 * Under systemd each process of a domain is a scope of its own, so that nothing done to hypervisord.service reaches a guest.
 * systemd-run --scope execs in place: pid and descriptors stay.  systemd stops units in the reverse of their order of start: a
 * scope that comes before pacemaker.service lives until Pacemaker has moved or stopped its guest, and one that comes after the
 * daemons and the network (systemd.unit(5), Before=, After=) has them to its end.
 */
pid_t scope_spawn(char *const argv[], const struct scope *scope, const int *fds, int nfds, int *ret_pidfd, struct err *err)
{
	char unit[64], what[160], limit[64], after[160];
	char *scoped[40] = { (char[]) { "/usr/bin/systemd-run" }, (char[]) { "--scope" }, (char[]) { "--quiet" }, (char[]) { "--collect" },
			     (char[]) { "--slice=haven.slice" }, (char[]) { "-p" }, (char[]) { "Before=pacemaker.service" },
			     (char[]) { "-p" }, after, (char[]) { "-p" }, limit, unit, what };
	unsigned n = 13;

	if (access("/run/systemd/private", F_OK) < 0 || access(scoped[0], X_OK) < 0)
		return spawn_program(argv, NULL, fds, nfds, ret_pidfd, err);
	snprintf(unit, sizeof unit, "--unit=%s-%u.scope", scope->kind, scope->domid);
	snprintf(what, sizeof what, "--description=Haven: %s of %s", scope->what, scope->name);
	snprintf(limit, sizeof limit, "MemoryMax=%lluK", (unsigned long long)scope->memory_kib);
	snprintf(after, sizeof after, "After=network.target remote-fs.target xenstored.service xenconsoled.service hypervisord.service");
	if (scope->after_kind)
		snprintf(after + strlen(after), sizeof after - strlen(after), " %s-%u.scope", scope->after_kind, scope->domid);
	while (*argv && n + 1 < sizeof scoped / sizeof scoped[0])
		scoped[n++] = *argv++;
	return spawn_program(scoped, NULL, fds, nfds, ret_pidfd, err);
}

/* code_cache of haven.conf, in MiB. */
static int code_cache_read(unsigned *ret, struct err *err)
{
	struct conf *conf = NULL;
	int rc = conf_load("haven.conf", &conf, err);
	long long mib;

	if (rc)
		return rc;
	mib = conf_get_int(conf, "code_cache", 64);
	conf_free(conf);
	if (mib < 4 || mib > 512)
		return err_set(err, -EINVAL, "code_cache of haven.conf: %lld MiB; it goes from 4 to 512", mib);
	*ret = (unsigned)mib;
	return 0;
}

int child_begin(struct dom *d, struct err *err)
{
	char prog[512], path[512], domid[16], max_pages[24], vcpus[16], uid[16], cache[24], khz[24];
	int64_t max_kib = config_int(d->config, "maxmem_kib", config_int(d->config, "memory_kib", 0));
	/* the disk's scope is told to come first, though it starts later: at a shutdown it is then the last to go */
	struct scope scope = { "haven-domain", "the vCPUs", d->name, d->domid, (uint64_t)max_kib + HVD_OVERHEAD_KIB, "haven-disk" };
	unsigned cache_mib;
	char *argv[] = { prog, (char[]) { "--domid" }, domid, (char[]) { "--uuid" }, d->uuid, (char[]) { "--name" }, d->name,
			 (char[]) { "--max-pages" }, max_pages, (char[]) { "--vcpus" }, vcpus, (char[]) { "--uid" }, uid, (char[]) { "--code-cache-mib" }, cache,
			 (char[]) { "--tsc-khz" }, khz, (char[]) { "--pages-fd" }, (char[]) { "4" }, NULL };
	bool stable;
	int listener, pages, rc = path_join(prog, sizeof prog, path_libexec(), "haven-hv-domain");

	if (!rc)
		rc = dom_path(path, sizeof path, d->domid, ".sock");
	if (rc)
		return err_set(err, rc, "domain %s: path too long", d->name);
	rc = code_cache_read(&cache_mib, err);
	if (rc)
		return rc;
	snprintf(cache, sizeof cache, "%u", cache_mib);
	if (cache_mib > 64)                            /* HVD_OVERHEAD_KIB has room for 64; records take about as much again */
		scope.memory_kib += (uint64_t)(cache_mib - 64) << 11;
	snprintf(domid, sizeof domid, "%u", d->domid);
	snprintf(max_pages, sizeof max_pages, "%lld", (long long)max_kib / 4);
	snprintf(vcpus, sizeof vcpus, "%lld", (long long)config_int(d->config, "vcpus", 1));
	snprintf(khz, sizeof khz, "%llu", (unsigned long long)abi_tsc_khz(&stable));
	snprintf(uid, sizeof uid, "%u", HVD_FIRST_UID + d->domid);
	listener = control_listen(path);
	if (listener < 0)
		return err_set(err, listener, "%s: cannot listen: %s", path, strerror(-listener));
	if (dom_path(path, sizeof path, d->domid, ".pages.sock") || (pages = control_listen(path)) < 0) {
		close(listener);
		return err_set(err, -EIO, "%s: cannot listen", path);
	}
	d->pid = scope_spawn(argv, &scope, (int[]) { -1, STDERR_FILENO, STDERR_FILENO, listener, pages }, 5, &d->pidfd, err);
	close(listener);
	close(pages);
	if (d->pid < 0) {
		rc = (int)d->pid;
		d->pid = 0;
		d->pidfd = -1;
		return rc;
	}
	d->pid_start = spawn_start_time(d->pid);
	rc = dom_record_write(d);
	return rc ? err_set(err, rc, "%s: cannot write the domain's record: %s", path_run(), strerror(-rc)) : 0;
}

int child_answers(struct dom *d, struct err *err)
{
	return child_call(d, json_pack("{s:s}", "op", "status"), NULL, 0, NULL, NULL, NULL, deadline(DL_CHILD_START), err);
}

int child_start(struct dom *d, struct err *err)
{
	int rc = child_begin(d, err);

	return rc ? rc : child_answers(d, err);
}

static int child_ended(const struct dom *d, int rc, struct err *err)
{
	if (rc == -ECONNRESET || rc == -EPIPE)
		err_set(err, rc, "domain %s (%u): its process ended unexpectedly; see its log", d->name, d->domid);
	return rc;
}

int child_ask(struct dom *d, json_t *req, const int *fds, int nfds, struct err *err)
{
	char path[512];
	int sock = -1, rc = dom_path(path, sizeof path, d->domid, ".sock");

	if (!rc)
		rc = sock = msg_connect(path, err);
	if (rc >= 0)
		rc = msg_send(sock, req, fds, nfds);
	json_decref(req);
	if (rc >= 0)
		return sock;
	if (sock >= 0) {
		close(sock);
		err_set(err, rc, "domain %s (%u): its process cannot be asked: %s", d->name, d->domid, strerror(-rc));
	}
	return child_ended(d, rc, err);
}

int child_await(struct dom *d, int sock, const char *op, json_t **ret_reply, int timeout_ms, struct err *err)
{
	int rc = msg_await(sock, op, ret_reply, NULL, NULL, timeout_ms, NULL, NULL, err);

	close(sock);
	return child_ended(d, rc, err);
}

int child_call(struct dom *d, json_t *req, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds,
	       int timeout_ms, struct err *err)
{
	char path[512];
	struct err dummy;
	int sock = -1, rc;

	if (!err)
		err = &dummy;
	rc = dom_path(path, sizeof path, d->domid, ".sock");
	if (!rc)
		rc = sock = msg_connect(path, err);
	if (rc >= 0) {
		rc = msg_call(sock, req, fds, nfds, ret_reply, ret_fds, ret_nfds, timeout_ms, NULL, NULL, err);
		close(sock);
		child_ended(d, rc, err);
	}
	json_decref(req);
	return rc < 0 ? rc : 0;
}

/* A child of an earlier hypervisord is nobody's to wait for; the pidfd says when it is gone all the same. */
static int process_end(int *pidfd, pid_t *pid)
{
	int rc = *pidfd >= 0 ? spawn_kill_wait(*pidfd, deadline(DL_GONE)) : 0;

	if (rc)
		return rc;
	if (*pidfd >= 0)
		close(*pidfd);
	*pidfd = -1;
	*pid = 0;
	return 0;
}

int child_kill(struct dom *d)
{
	int rc = process_end(&d->pidfd, &d->pid);

	if (!rc)
		rc = process_end(&d->disk_pidfd, &d->disk_pid);
	return rc;
}

/* --- main thread ----------------------------------------------------------------------------------------------------- */

/* null, or not there: what was known is over, or stays. */
static void object_heard(json_t **at, const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	if (!v)
		return;
	json_decref(*at);
	*at = json_is_object(v) ? json_incref(v) : NULL;
}

static void copy_heard(struct dom *d, const json_t *o)
{
	const char *copy = config_str(o, "copy", NULL);

	if (copy)
		snprintf(d->copy, sizeof d->copy, "%s", copy);
	if (json_is_boolean(json_object_get(o, "user_paused")))
		d->user_paused = json_is_true(json_object_get(o, "user_paused"));
	d->attempt = (uint64_t)config_int(o, "attempt", (int64_t)d->attempt);
	object_heard(&d->pages, o, "pages");
	object_heard(&d->serves, o, "serves");
	if (config_str(o, "target", NULL))
		snprintf(d->target, sizeof d->target, "%s", config_str(o, "target", ""));
}

static void status_heard(int rc, const json_t *reply, int *fds, int nfds, void *arg)
{
	struct dom *d = arg;

	if (rc || !reply)
		return;
	copy_heard(d, reply);
	if (json_is_true(json_object_get(reply, "store_wanted")))
		dom_store_wanted(d);
	if (json_is_true(json_object_get(reply, "store_arrived")))
		dom_store_arrived(d);
	if (json_is_true(json_object_get(reply, "release_wanted")))
		dom_release_wanted(d);
	d->disk_released |= json_is_true(json_object_get(reply, "released"));
	if (d->found && d->has_iscsi && d->disk_pidfd < 0)
		disk_gone(d);                  /* it died while hypervisord was away */
	if (!strcmp(d->copy, "building") && d->found && !d->gone_seen) {
		log_warn("domain %s (%u): hypervisord ended while it was being made; it is taken away", d->name, d->domid);
		dom_end(d, "lost", false);
		return;
	}
	d->found = false;
	if (strcmp(d->copy, "running"))
		return;
	d->incoming = false;
	guest_ended(d, (int)config_int(reply, "shutdown_reason", -1));
}

static void peer_up(struct msg_peer *p, void *arg)
{
	msg_peer_call(p, json_pack("{s:s}", "op", "subscribe"), NULL, 0, NULL, NULL);
	msg_peer_call(p, json_pack("{s:s}", "op", "status"), NULL, 0, status_heard, arg);
}

static void peer_event(struct msg_peer *p, const json_t *o, void *arg)
{
	struct dom *d = arg;
	const char *name = config_str(o, "event", "");

	if (!strcmp(name, "domain-changed")) {
		copy_heard(d, o);
		dom_event(d, "domain-changed");
	} else if (!strcmp(name, "shutdown")) {
		guest_ended(d, (int)config_int(o, "reason", -1));
	} else if (!strcmp(name, "store-wanted")) {
		dom_store_wanted(d);
	} else if (!strcmp(name, "store-arrived")) {
		dom_store_arrived(d);
	} else if (!strcmp(name, "release-wanted")) {
		dom_release_wanted(d);
	}
}

static int32_t child_gone(int32_t fd, int32_t revents, void *data)
{
	struct dom *d = data;

	qb_loop_poll_del(d->hvd->loop, fd);
	if (!d->gone_seen && !d->saving) {
		if (d->incoming)
			hvd_log("domain %s (%u): its move did not come to an end, the incoming copy is gone", d->name, d->domid);
		else
			log_err("domain %s (%u): its hv-domain ended by itself", d->name, d->domid);
		dom_end(d, d->incoming ? "destroyed" : "lost", false);
	}
	return 0;
}

static int32_t hv_disk_gone(int32_t fd, int32_t revents, void *data)
{
	struct dom *d = data;

	qb_loop_poll_del(d->hvd->loop, fd);
	d->disk_watched = -1;
	disk_gone(d);
	return 0;
}

/* Again after every job that may have begun a new hv-disk. */
void disk_watch(struct dom *d)
{
	if (d->disk_watched == d->disk_pidfd)
		return;
	disk_unwatch(d);
	if (d->disk_pidfd >= 0 && qb_loop_poll_add(d->hvd->loop, QB_LOOP_MED, d->disk_pidfd, POLLIN, d, hv_disk_gone) == 0)
		d->disk_watched = d->disk_pidfd;
}

void disk_unwatch(struct dom *d)
{
	if (d->disk_watched >= 0)
		qb_loop_poll_del(d->hvd->loop, d->disk_watched);
	d->disk_watched = -1;
}

void child_watch(struct dom *d)
{
	char path[512];

	if (dom_path(path, sizeof path, d->domid, ".sock"))
		return;
	if (d->pidfd >= 0)
		qb_loop_poll_add(d->hvd->loop, QB_LOOP_MED, d->pidfd, POLLIN, d, child_gone);
	disk_watch(d);
	if (!d->peer)
		msg_peer_new(d->hvd->loop, path, peer_up, NULL, peer_event, d, &d->peer);
}

void child_unwatch(struct dom *d)
{
	disk_unwatch(d);
	if (d->pidfd >= 0)
		qb_loop_poll_del(d->hvd->loop, d->pidfd);
	if (d->peer)
		msg_peer_free(d->peer);
	d->peer = NULL;
}
