/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv-disk - the iSCSI disks of one domain (lib/proto/hv_disk.h, docs/specs/messages.md).
 *
 * Holds: the sessions to the domain's LUNs and their reservation keys, the bounce memfd; no guest memory.
 * Hears: fixed requests from the domain's hv-domain, which it does not trust; JSON control from root's hypervisord; the target.
 * May do: connect to the portals it was configured with (their names resolved before the sandbox), read and write those LUNs,
 *   take and give back their reservations.  Own uid, empty root, no_new_privs, seccomp, from `config` on.
 *
 * Ends when hv-domain's end of the data channel closes, or by `shutdown`; either way it gives its reservations back.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/msg.h"
#include "storage/hv_disk_sandbox.h"
#include "storage/iscsi_conf.h"
#include "storage/iscsi_lun.h"

#define DRAIN_MS 5000

struct hv_disk {
	qb_loop_t *loop;
	struct msg_server *server;
	int data_fd;
	int bounce_fd;
	uint8_t *bounce;
	unsigned nr;
	struct lun *lun[HV_DISK_MAX];
	bool configured;
};

/* ---- data ---- */

/* On a LUN's thread.  One packet a reply: sends of several threads do not mix. */
static void reply_send(void *arg, uint64_t id, int status)
{
	struct hv_disk *h = arg;
	struct hv_disk_reply r = { .id = id, .status = status };
	struct pollfd p = { .fd = h->data_fd, .events = POLLOUT };

	while (send(h->data_fd, &r, sizeof(r), MSG_NOSIGNAL) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return;                            /* hv-domain is gone; the main loop sees it, too */
		if (poll(&p, 1, 1000) < 0 && errno != EINTR)
			return;
	}
}

static void release_all(struct hv_disk *h)
{
	struct err err;

	for (unsigned i = 0; i < h->nr; i++) {
		if (lun_drain(h->lun[i], 1000, &err) < 0)
			log_warn("%s", err.text);
		if (lun_state(h->lun[i]) != LUN_IDLE && lun_release(h->lun[i], &err) < 0)
			log_warn("%s", err.text);
	}
}

static int32_t data_readable(int32_t fd, int32_t revents, void *arg)
{
	struct hv_disk *h = arg;
	struct hv_disk_req q;
	ssize_t n;

	for (int i = 0; i < 64; i++) {
		n = recv(fd, &q, sizeof(q), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0) {
			release_all(h);
			qb_loop_stop(h->loop);
			return -1;
		}
		if (n != sizeof(q))
			continue;
		if (q.disk < h->nr)
			lun_submit(h->lun[q.disk], &q);
		else
			reply_send(h, q.id, -ENODEV);
	}
	return 0;
}

/* ---- config: names are resolved, threads made, then the sandbox closes ---- */

static const char *field(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int disk_config(struct hv_disk *h, const json_t *q, const json_t *d, struct err *err)
{
	struct lun_conf c = { .readonly = !strcmp(field(d, "mode"), "ro") };
	int rc = iscsi_conf_parse(q, d, &c.iscsi, &c.key, err);

	if (rc < 0)
		return rc;
	c.key_mask = ISCSI_KEY_MASK;
	c.key_domain_mask = ISCSI_KEY_DOMAIN_MASK;
	strcpy(c.vdev, field(d, "vdev"));
	c.io_timeout_s = (unsigned)json_integer_value(json_object_get(q, "io_timeout_s"));
	c.region = h->bounce + (size_t)HV_DISK_REGION * h->nr;
	h->lun[h->nr] = lun_create(&c, reply_send, h);
	if (!h->lun[h->nr])
		return err_set(err, -ENOMEM, "disk %s: out of memory or threads", c.vdev);
	h->nr++;
	return 0;
}

static int bounce_map(struct hv_disk *h, size_t disks, struct err *err)
{
	size_t size = HV_DISK_REGION * disks;
	struct stat st;
	void *p;

	if (fstat(h->bounce_fd, &st) < 0 || (uint64_t)st.st_size < size)
		return err_set(err, -EINVAL, "hv-disk: the bounce memfd is smaller than %zu octets", size);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, h->bounce_fd, 0);
	if (p == MAP_FAILED)
		return err_set(err, -errno, "hv-disk: bounce memfd: %s", strerror(errno));
	h->bounce = p;
	return 0;
}

static void op_config(struct msg_call *c, void *daemon)
{
	struct hv_disk *h = daemon;
	const json_t *q = msg_call_request(c), *disks = json_object_get(q, "disk");
	size_t n = json_array_size(disks);
	struct err err = { 0 };
	int rc = 0;

	if (h->configured)
		rc = err_set(&err, -EALREADY, "hv-disk: is configured already");
	else if (!n || n > HV_DISK_MAX)
		rc = err_set(&err, -EINVAL, "hv-disk: %zu disks; 1 to %u are served", n, HV_DISK_MAX);
	else
		rc = bounce_map(h, n, &err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = disk_config(h, q, json_array_get(disks, i), &err);
	if (rc == 0)
		rc = hv_disk_sandbox_enter((uid_t)json_integer_value(json_object_get(q, "uid")), &err);
	if (rc < 0) {
		msg_error_from(c, &err);
		return;
	}
	h->configured = true;
	msg_reply(c, NULL);
}

/* ---- control ---- */

static void op_register(struct msg_call *c, void *daemon)
{
	struct hv_disk *h = daemon;
	json_t *list = json_array();
	struct err err = { 0 };
	unsigned i;
	int rc = 0;

	for (i = 0; i < h->nr && rc == 0; i++)
		rc = lun_register(h->lun[i], &err);
	if (rc < 0) {
		json_decref(list);
		release_all(h);
		msg_error(c, rc, "disk %s: %s", lun_conf(h->lun[i - 1])->vdev, err.text);
		return;
	}
	/* requests of hv-domain that came before, when this one takes a dead hv-disk's place, have waited in the channel */
	qb_loop_poll_mod(h->loop, QB_LOOP_MED, h->data_fd, POLLIN, h, data_readable);
	for (i = 0; i < h->nr; i++)
		json_array_append_new(list, json_pack("{s:s,s:I,s:i}", "vdev", lun_conf(h->lun[i])->vdev, "sectors",
						      (json_int_t)lun_sectors(h->lun[i]), "sector_size", (int)lun_sector_size(h->lun[i])));
	msg_reply(c, json_pack("{s:o}", "disks", list));
}

/*
 * The first disk's error that has one; a guest waits for all of them, so they go side by side.  A disk that is to be let go of, and
 * whose target cannot be reached any more, is let go of (released): nothing is sent to it again, and whoever takes it pre-empts the key.
 */
static int finish_all(struct hv_disk *h, bool releasing, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < h->nr; i++) {
		struct err own = { 0 };
		int r = lun_finish(h->lun[i], &own);

		if (releasing && r == -ENOTCONN) {
			log_warn("%s", own.text);
			r = 0;
		}
		if (r < 0 && rc == 0) {
			rc = r;
			*err = own;
		}
	}
	return rc;
}

static void op_activate(struct msg_call *c, void *daemon)
{
	struct hv_disk *h = daemon;
	enum lun_take take = !msg_call_bool_opt(c, "preempt", false) ? LUN_TAKE_NOTHING :
			     msg_call_bool_opt(c, "older", false) ? LUN_TAKE_OLDER : LUN_TAKE_ALL;
	struct err err = { 0 };
	int rc;

	for (unsigned i = 0; i < h->nr; i++)
		lun_activate_begin(h->lun[i], take);
	rc = finish_all(h, false, &err);
	if (rc < 0)
		msg_error_from(c, &err);
	else
		msg_reply(c, NULL);
}

static int drain_all(struct hv_disk *h, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < h->nr && rc == 0; i++)
		rc = lun_drain(h->lun[i], DRAIN_MS, err);
	return rc;
}

static void op_drain(struct msg_call *c, void *daemon)
{
	struct err err = { 0 };
	int rc = drain_all(daemon, &err);

	if (rc < 0)
		msg_error_from(c, &err);
	else
		msg_reply(c, NULL);
}

static void op_release(struct msg_call *c, void *daemon)
{
	struct hv_disk *h = daemon;
	struct err err = { 0 };
	int rc = msg_call_bool_opt(c, "drain", false) ? drain_all(h, &err) : 0;

	for (unsigned i = 0; i < h->nr && rc == 0; i++)
		if (lun_in_flight(h->lun[i]))
			rc = err_set(&err, -EBUSY, "disk %s: has requests under way; drain first", lun_conf(h->lun[i])->vdev);
	if (rc == 0) {
		for (unsigned i = 0; i < h->nr; i++)
			lun_release_begin(h->lun[i]);
		rc = finish_all(h, true, &err);
	}
	if (rc < 0)
		msg_error_from(c, &err);
	else
		msg_reply(c, NULL);
}

static const char *state_name(const struct lun *l)
{
	static const char *const names[] = { [LUN_IDLE] = "idle", [LUN_REGISTERED] = "registered", [LUN_ACTIVE] = "connected",
					     [LUN_RELEASED] = "released", [LUN_KEY_LOST] = "reservation-lost" };
	enum lun_state s = lun_state(l);

	return (s == LUN_REGISTERED || s == LUN_ACTIVE) && !lun_connected(l) ? "lost" : names[s];
}

static void op_status(struct msg_call *c, void *daemon)
{
	struct hv_disk *h = daemon;
	json_t *list = json_array();
	char key[20];

	for (unsigned i = 0; i < h->nr; i++) {
		snprintf(key, sizeof(key), "%016llx", (unsigned long long)lun_conf(h->lun[i])->key);
		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:i}", "vdev", lun_conf(h->lun[i])->vdev, "state", state_name(h->lun[i]),
						      "key", key, "in_flight", (int)lun_in_flight(h->lun[i])));
	}
	msg_reply(c, json_pack("{s:o}", "disks", list));
}

static void op_shutdown(struct msg_call *c, void *daemon)
{
	struct hv_disk *h = daemon;

	release_all(h);
	msg_reply(c, NULL);
	qb_loop_stop(h->loop);
}

static void op_ping(struct msg_call *c, void *daemon)
{
	msg_reply(c, json_pack("{s:s,s:s,s:i}", "daemon", "hv-disk", "version", PACKAGE_VERSION, "pid", (int)getpid()));
}

static const struct msg_op ops[] = {
	{ "ping", MSG_ROOT, op_ping },
	{ "config", MSG_ROOT, op_config },
	{ "register", MSG_ROOT, op_register },
	{ "activate", MSG_ROOT, op_activate },
	{ "drain", MSG_ROOT, op_drain },
	{ "release", MSG_ROOT, op_release },
	{ "status", MSG_ROOT, op_status },
	{ "shutdown", MSG_ROOT, op_shutdown },
	{ NULL, MSG_ROOT, NULL },
};

/* ---- main ---- */

#ifdef HAVEN_ASAN
/* LeakSanitizer stops its process with ptrace, from a clone, which inside the sandbox never ends. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }
#endif

static int usage(void)
{
	fprintf(stderr, "usage: haven-hv-disk --control-fd=N --data-fd=N --bounce-fd=N   (hypervisord starts it)\n");
	return 2;
}

static int fd_option(const char *s)
{
	char *end;
	long n = strtol(s, &end, 10);

	return *s && !*end && n > 2 && n < 1024 ? (int)n : -1;
}

static bool options_parse(int argc, char **argv, struct hv_disk *h, int *control_fd)
{
	static const struct option options[] = { { "control-fd", required_argument, NULL, 'c' }, { "data-fd", required_argument, NULL, 'd' },
						 { "bounce-fd", required_argument, NULL, 'b' }, { 0 } };
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'c')
			*control_fd = fd_option(optarg);
		else if (o == 'd')
			h->data_fd = fd_option(optarg);
		else if (o == 'b')
			h->bounce_fd = fd_option(optarg);
		else
			return false;
	}
	return *control_fd >= 0 && h->data_fd >= 0 && h->bounce_fd >= 0 && optind == argc;
}

int main(int argc, char **argv)
{
	struct hv_disk h = { .data_fd = -1, .bounce_fd = -1 };
	int rc, control_fd = -1;

	if (!options_parse(argc, argv, &h, &control_fd))
		return usage();
	log_init("hv-disk");
	signal(SIGPIPE, SIG_IGN);                          /* libiscsi writes with writev(), also to a target that has gone */
	h.loop = qb_loop_create();
	rc = h.loop ? qb_loop_poll_add(h.loop, QB_LOOP_MED, h.data_fd, 0, &h, data_readable) : -ENOMEM;
	if (rc == 0)
		rc = msg_server_adopt(h.loop, control_fd, ops, &h, NULL, "hv-disk", &h.server);
	if (rc < 0) {
		log_err("cannot start: %s", strerror(-rc));
		return 1;
	}
	qb_loop_run(h.loop);
	for (unsigned i = 0; i < h.nr; i++)
		lun_destroy(h.lun[i]);
	msg_server_stop(h.server);
	log_fini();
	return 0;
}
