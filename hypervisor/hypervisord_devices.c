/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_devices.c - a domain's disks and network interfaces: asks the helpers, hands what they open to hv-domain.
 */
#include "hypervisor/hypervisord.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <qb/qbutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "lib/conf.h"
#include "lib/deadlines.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "lib/proto/hv_disk.h"
#include "lib/spawn.h"

#define DISK_AGAIN_S 2
#define REMOVE_POLL_MS 50
#define REMOVE_TRIES 200

static bool disk_is_iscsi(const json_t *disk)
{
	return !strcmp(config_str(disk, "backend", "file"), "iscsi");
}

/* --- files and block devices ---------------------------------------------------------------------------------------- */

static int disk_add(struct dom *d, const json_t *disk, const json_t *size, int fd, unsigned iscsi_index, struct err *err)
{
	json_t *req = json_pack("{s:s, s:s, s:b, s:b, s:I, s:I, s:i, s:s}", "op", "add-disk", "vdev", config_str(disk, "vdev", ""),
				"readonly", !strcmp(config_str(disk, "mode", "rw"), "ro"), "iscsi", disk_is_iscsi(disk),
				"sectors", (json_int_t)config_int(size, "sectors", 0),
				"sector_size", (json_int_t)config_int(size, "sector_size", 512), "iscsi_index", (int)iscsi_index,
				"params", config_str(disk, disk_is_iscsi(disk) ? "iqn" : "target", ""));

	return child_call(d, req, &fd, fd >= 0 ? 1 : 0, NULL, NULL, NULL, deadline(DL_DAEMON), err);
}

static json_t *storage_request(const struct dom *d, json_t *disk, enum disk_use use)
{
	static const char *const uses[] = { "check", "incoming", "use" };

	return json_pack("{s:s, s:O, s:i, s:s, s:b}", "op", "open", "disk", disk, "domid", d->domid, "for", uses[use], "wait",
			 use == DISK_INCOMING);
}

/* A helper that was begun on an incoming copy's disk has looked at it, and waits until the copy is activated. */
static int disk_open_local(struct dom *d, json_t *disk, enum disk_use use, bool add, struct err *err)
{
	const char *vdev = config_str(disk, "vdev", "");
	json_t *size = NULL;
	int fd = -1, rc;
	char kind[32];

	if (d->helpers_begun)
		rc = helper_answer(d, vdev, use == DISK_INCOMING, &size, use == DISK_INCOMING ? NULL : &fd, err);
	else
		rc = helper_kept_call(d, vdev, "haven-storage", storage_request(d, disk, use), &size, &fd, err);
	if (!rc && add)
		rc = disk_add(d, disk, size, fd, 0, err);
	else if (!rc && use == DISK_USE) {
		snprintf(kind, sizeof kind, "disk:%s", vdev);
		rc = child_call(d, json_pack("{s:s, s:s}", "op", "channel-set", "kind", kind), &fd, 1, NULL, NULL, NULL, deadline(DL_DAEMON), err);
	}
	if (fd >= 0)
		close(fd);
	json_decref(size);
	return rc;
}

static int disks_open_local(struct dom *d, enum disk_use use, bool add, struct err *err)
{
	json_t *v;
	size_t i;
	int rc = 0;

	json_array_foreach(json_object_get(d->config, "disk"), i, v)
		if (!rc && !disk_is_iscsi(v))
			rc = disk_open_local(d, v, use, add, err);
	return rc;
}

/* --- iSCSI: one hv-disk a domain --------------------------------------------------------------------------------------- */

static json_t *iscsi_disks_of(const json_t *config)
{
	json_t *list = json_array(), *v;
	size_t i;

	json_array_foreach(json_object_get(config, "disk"), i, v)
		if (disk_is_iscsi(v))
			json_array_append(list, v);
	return list;
}

static json_t *iscsi_disks(const struct dom *d) { return iscsi_disks_of(d->config); }

static int disk_call(struct dom *d, json_t *req, json_t **ret_reply, int timeout_ms, struct err *err)
{
	char path[512];
	int sock = -1, rc = dom_path(path, sizeof path, d->domid, ".disk.sock");

	if (!rc)
		rc = sock = msg_connect(path, err);
	if (rc >= 0) {
		rc = msg_call(sock, req, NULL, 0, ret_reply, NULL, NULL, timeout_ms, NULL, NULL, err);
		close(sock);
	}
	json_decref(req);
	return rc < 0 ? rc : 0;
}

static int disk_listen(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof sa.sun_path)
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && chmod(path, 0600) == 0 && listen(fd, 8) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -EIO;
}

/* Execs hv-disk and connects hv-domain with it.  The bounce memory is sized for this domain's disks and sealed. */
static int disk_start(struct dom *d, unsigned nr, struct err *err)
{
	const struct scope scope = { "haven-disk", "the disks", d->name, d->domid, HVD_OVERHEAD_KIB, NULL };
	char prog[512], path[512];
	char *argv[] = { prog, (char[]) { "--control-fd=3" }, (char[]) { "--data-fd=4" }, (char[]) { "--bounce-fd=5" }, NULL };
	int sv[2] = { -1, -1 }, bounce = -1, listener = -1, rc;

	rc = path_join(prog, sizeof prog, path_libexec(), "haven-hv-disk");
	if (!rc)
		rc = dom_path(path, sizeof path, d->domid, ".disk.sock");
	if (!rc)
		rc = listener = disk_listen(path);
	if (rc >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		rc = -errno;
	if (rc >= 0) {
		bounce = memfd_create("haven-bounce", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (bounce < 0 || ftruncate(bounce, (off_t)nr * HV_DISK_REGION) < 0 ||
		    fcntl(bounce, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
			rc = -errno;
	}
	if (rc < 0) {
		err_set(err, rc, "domain %s: cannot prepare hv-disk: %s", d->name, strerror(-rc));
		goto out;
	}
	d->disk_pid = scope_spawn(argv, &scope, (int[]) { -1, STDERR_FILENO, STDERR_FILENO, listener, sv[0], bounce }, 6,
				  &d->disk_pidfd, err);
	if (d->disk_pid < 0) {
		rc = (int)d->disk_pid;
		d->disk_pid = 0;
		goto out;
	}
	d->disk_start = spawn_start_time(d->disk_pid);
	dom_record_write(d);
	rc = child_call(d, json_pack("{s:s, s:s}", "op", "channel-set", "kind", "iscsi"), (int[]) { sv[1], bounce }, 2, NULL, NULL, NULL,
			deadline(DL_DAEMON), err);
out:
	if (listener >= 0)
		close(listener);
	if (bounce >= 0)
		close(bounce);
	for (int i = 0; i < 2; i++)
		if (sv[i] >= 0)
			close(sv[i]);
	return rc < 0 ? rc : 0;
}

static int disk_configure(struct dom *d, json_t *disks, json_t **ret_sizes, struct err *err)
{
	json_t *req = json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:O}", "op", "config", "domid", d->domid, "uuid", d->uuid, "node",
				d->hvd->hostname, "attempt", (json_int_t)(d->attempt ? d->attempt : (uint64_t)d->claim),
				"uid", (json_int_t)(HVD_FIRST_UID + d->domid),
				"io_timeout_s", (json_int_t)config_int(d->config, "io_timeout_s", 0), "disk", disks);
	int rc = disk_call(d, req, NULL, deadline(DL_DAEMON), err);

	return rc ? rc : disk_call(d, json_pack("{s:s}", "op", "register"), ret_sizes, deadline(DL_ISCSI), err);
}

static int iscsi_open(struct dom *d, enum disk_use use, bool preempt, struct err *err)
{
	json_t *disks = iscsi_disks(d), *reply = NULL, *v;
	unsigned nr = (unsigned)json_array_size(disks);
	size_t i;
	int rc = 0;

	if (!nr)
		goto out;
	d->has_iscsi = true;
	if (nr > HV_DISK_MAX) {
		rc = err_set(err, -EINVAL, "domain %s: %u iSCSI disks, but a domain has at most %u", d->name, nr, HV_DISK_MAX);
		goto out;
	}
	rc = disk_start(d, nr, err);
	if (!rc)
		rc = disk_configure(d, disks, &reply, err);
	json_array_foreach(json_object_get(reply, "disks"), i, v)
		if (!rc && i < nr)
			rc = disk_add(d, json_array_get(disks, i), v, -1, (unsigned)i, err);
	if (!rc && use == DISK_USE)
		rc = disk_call(d, json_pack("{s:s, s:b}", "op", "activate", "preempt", preempt), NULL, deadline(DL_ISCSI), err);
out:
	json_decref(reply);
	json_decref(disks);
	return rc;
}

/* hv-disk's channel is set before the disks are added, since devices keep it for all iSCSI disks. */
int disks_open(struct dom *d, enum disk_use use, bool preempt, struct err *err)
{
	int rc = disks_open_local(d, use, true, err);

	return rc ? rc : iscsi_open(d, use, preempt, err);
}

/* Those the domain has already, for use, while it waits. */
static int disks_open_again(struct dom *d, struct err *err)
{
	int rc;

	helpers_within(d, deadline(DL_HELPERS));
	rc = disks_open_local(d, DISK_USE, false, err);
	helpers_within(d, 0);
	return rc;
}

/* In a cluster, where attempts are numbered by the directory, nobody is shut out who came later than this GO was sent. */
int disks_activate(struct dom *d, struct err *err)
{
	int rc = disks_open_again(d, err);

	if (!rc && d->has_iscsi)
		rc = disk_call(d, json_pack("{s:s, s:b, s:b}", "op", "activate", "preempt", true, "older", conf_exists("cluster.conf")), NULL,
			       deadline(DL_ISCSI), err);
	return rc;
}

static int disk_end(struct dom *d)
{
	int rc = 0;

	if (d->disk_pidfd >= 0) {
		rc = spawn_kill_wait(d->disk_pidfd, deadline(DL_GONE));
		close(d->disk_pidfd);
		d->disk_pidfd = -1;
		d->disk_pid = 0;
	}
	return rc;
}

/*
 * hv-disk for these disks in place of the one there is; hv-domain sends what was unanswered once more.  One that cannot have its disks
 * is ended: a process that serves nothing would pass for one that does.
 */
static int disk_begin_again(struct dom *d, json_t *disks, json_t **ret_sizes, struct err *err)
{
	int rc = disk_end(d);

	if (!rc)
		rc = disk_start(d, (unsigned)json_array_size(disks), err);
	if (!rc)
		rc = disk_configure(d, disks, ret_sizes, err);
	if (!rc && !d->incoming)
		rc = disk_call(d, json_pack("{s:s, s:b}", "op", "activate", "preempt", false), NULL, deadline(DL_ISCSI), err);
	if (rc)
		disk_end(d);
	return rc;
}

int disk_supervise(struct dom *d, struct err *err)
{
	json_t *disks = iscsi_disks(d);
	int rc = disk_begin_again(d, disks, NULL, err);

	json_decref(disks);
	return rc;
}

int disks_release(struct dom *d, struct err *err)
{
	return disk_call(d, json_pack("{s:s, s:b}", "op", "release", "drain", 1), NULL, deadline(DL_ISCSI), err);
}

int disks_reopen(struct dom *d, struct err *err)
{
	int rc = disks_open_again(d, err);

	if (!rc && d->has_iscsi)
		rc = disk_supervise(d, err);
	return rc;
}

/* false once it has ended within so many milliseconds, or where there is none. */
static bool disk_lives(const struct dom *d, int ms)
{
	struct pollfd gone = { .fd = d->disk_pidfd, .events = POLLIN };

	return d->disk_pidfd >= 0 && poll(&gone, 1, ms) == 0;
}

/*
 * A dead hv-disk is begun again; hv-domain sends what was unanswered once more.  When that fails (the target is away as
 * well), it is tried again after a while, for as long as the domain lives: its I/O waits.
 */
static void supervise_work(struct job *j)
{
	j->flag = !disk_lives(j->dom, 0);      /* else a job before this one has begun it */
	if (j->flag)
		j->rc = disk_supervise(j->dom, &j->err);
}

static void supervise_done(struct job *j)
{
	struct dom *d = j->dom;

	if (j->rc && d->disk_away)
		j->err.text[0] = 0;            /* said once is enough */
	if (j->flag && !j->rc)
		hvd_log("domain %s (%u): hv-disk was begun again", d->name, d->domid);
	d->disk_away = j->rc;
	disk_watch(d);
	disk_again_later(d);
}

static void supervise_start(struct dom *d)
{
	struct job *j = d->gone_seen || d->disk_released ? NULL : job_new(d->hvd, NULL, d);

	if (!j)
		return;
	j->work = supervise_work;
	j->done = supervise_done;
	job_start(j);
}

void disk_gone(struct dom *d)
{
	if (!d->gone_seen && !d->disk_released)
		log_warn("domain %s (%u): its hv-disk ended; it is begun again", d->name, d->domid);
	supervise_start(d);
}

static struct hvd *the_hvd;                    /* a timer that outlives its domain finds the domain by number */

void disk_supervision_init(struct hvd *h)
{
	the_hvd = h;
}

static void supervise_again(void *data)
{
	struct dom *d = dom_by_id(the_hvd, (int64_t)(uintptr_t)data);

	if (d && d->has_iscsi && d->disk_watched < 0)
		supervise_start(d);
}

void disk_again_later(struct dom *d)
{
	if (d->has_iscsi && d->disk_pidfd < 0)
		qb_loop_timer_add(d->hvd->loop, QB_LOOP_MED, DISK_AGAIN_S * QB_TIME_NS_IN_SEC, (void *)(uintptr_t)d->domid, supervise_again, NULL);
}

/* --- network ------------------------------------------------------------------------------------------------------------ */

/*
 * An incoming copy's tap is made and joined with everything else, but stays down: the bridge keeps a port that is down disabled, so
 * that nothing passes before the switch.  It goes with the copy's process.
 */
static int vif_begin(struct dom *d, json_t *vif, unsigned devid, struct err *err)
{
	char key[16];

	snprintf(key, sizeof key, "vif %u", devid);
	return helper_begin(d, key, "haven-network",
			    json_pack("{s:s, s:i, s:i, s:I, s:O, s:b}", "op", "tap", "domid", d->domid, "devid", (int)devid, "uid",
				      (json_int_t)(HVD_FIRST_UID + d->domid), "vif", vif, "up", !d->incoming), err);
}

static int vif_open(struct dom *d, json_t *vif, unsigned devid, struct err *err)
{
	char key[16];
	json_t *req;
	int fd = -1, rc;

	snprintf(key, sizeof key, "vif %u", devid);
	rc = helper_answer(d, key, false, NULL, &fd, err);
	if (!rc) {
		req = json_pack("{s:s, s:i, s:s, s:I, s:s}", "op", "add-vif", "devid", (int)devid, "mac", config_str(vif, "mac", ""),
				"mtu", (json_int_t)config_int(vif, "mtu", 1500), "bridge", config_str(vif, "bridge", ""));
		rc = child_call(d, req, &fd, fd >= 0 ? 1 : 0, NULL, NULL, NULL, deadline(DL_DAEMON), err);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

static int vifs_begin(struct dom *d, struct err *err)
{
	json_t *v;
	size_t i;
	int rc = 0;

	json_array_foreach(json_object_get(d->config, "vif"), i, v)
		if (!rc)
			rc = vif_begin(d, v, vif_number(v, i), err);
	return rc;
}

int vifs_open(struct dom *d, struct err *err)
{
	json_t *v;
	size_t i;
	int rc = d->helpers_begun ? 0 : vifs_begin(d, err);

	json_array_foreach(json_object_get(d->config, "vif"), i, v)
		if (!rc)
			rc = vif_open(d, v, vif_number(v, i), err);
	d->helpers_begun = false;
	return rc;
}

int devices_begin(struct dom *d, enum disk_use use, struct err *err)
{
	json_t *v;
	size_t i;
	int rc = vifs_begin(d, err);

	json_array_foreach(json_object_get(d->config, "disk"), i, v)
		if (!rc && !disk_is_iscsi(v))
			rc = helper_begin(d, config_str(v, "vdev", ""), "haven-storage", storage_request(d, v, use), err);
	d->helpers_begun = true;
	return rc;
}

/* One request to the kernel, which asks no protocol of its socket: nothing is started for it in the pause. */
static int link_up(int sock, const char *ifname)
{
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", ifname);
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(sock, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

/* After GO nothing goes back, so that a guest whose tap somebody took away runs without it. */
void vifs_up(struct dom *d)
{
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(d->config, "vif"), i, v) {
		char ours[IFNAMSIZ];
		const char *ifname = ours;
		int rc;

		snprintf(ours, sizeof ours, "vif%u.%u", d->domid, vif_number(v, i));
		ifname = config_str(v, "vifname", ours);
		rc = sock < 0 ? -errno : link_up(sock, ifname);
		if (rc)
			log_err("domain %s (%u): %s cannot be set up: %s; the guest has no network: ip link set %s up", d->name, d->domid,
				ifname, strerror(-rc), ifname);
	}
	if (sock >= 0)
		close(sock);
}

/* --- of a domain that runs ----------------------------------------------------------------------------------------------- */

int device_vif_attach(struct dom *d, json_t *vif, unsigned devid, struct err *err)
{
	int rc = vif_begin(d, vif, devid, err);

	return rc ? rc : vif_open(d, vif, devid, err);
}

/*
 * All iSCSI disks of a domain share one hv-disk and one bounce memory, so that another disk means another hv-disk.  When the new
 * disk cannot be had, the old ones are served again.
 */
static int iscsi_attach(struct dom *d, const json_t *config, json_t *disk, struct err *err)
{
	json_t *disks = iscsi_disks_of(config), *sizes = NULL;
	size_t n = json_array_size(disks);
	struct err again;
	int rc;

	d->has_iscsi = true;
	rc = n > HV_DISK_MAX ? err_set(err, -EINVAL, "domain %s: %zu iSCSI disks, but a domain has at most %u", d->name, n, HV_DISK_MAX)
			     : disk_begin_again(d, disks, &sizes, err);
	if (!rc)
		rc = disk_add(d, disk, json_array_get(json_object_get(sizes, "disks"), n - 1), -1, (unsigned)n - 1, err);
	if (rc && n > 1 && disk_supervise(d, &again))
		log_err("domain %s (%u): its iSCSI disks wait: %s", d->name, d->domid, again.text);
	if (rc && n == 1) {
		disk_end(d);
		d->has_iscsi = false;
	}
	json_decref(sizes);
	json_decref(disks);
	return rc;
}

int device_disk_attach(struct dom *d, const json_t *config, json_t *disk, struct err *err)
{
	return disk_is_iscsi(disk) ? iscsi_attach(d, config, disk, err) : disk_open_local(d, disk, DISK_USE, true, err);
}

/* While its requests are in flight hv-domain keeps it; they come to an end, or the time does. */
static int child_remove(struct dom *d, json_t *req, struct err *err)
{
	int rc = -EAGAIN;

	for (int i = 0; rc == -EAGAIN && i < REMOVE_TRIES; i++) {
		if (i)
			usleep(REMOVE_POLL_MS * 1000);
		rc = child_call(d, json_incref(req), NULL, 0, NULL, NULL, NULL, deadline(DL_DAEMON), err);
	}
	json_decref(req);
	return rc;
}

/* Reservations are let go of in order; then the disk leaves hv-domain while no hv-disk is there, and the others are served again. */
static int iscsi_detach(struct dom *d, const json_t *config, json_t *remove, struct err *err)
{
	json_t *disks = iscsi_disks_of(config);
	struct err ignored;
	int rc;

	if (disks_release(d, &ignored))
		log_warn("domain %s (%u): hv-disk: %s", d->name, d->domid, ignored.text);
	rc = disk_end(d);
	if (!rc)
		rc = child_remove(d, json_incref(remove), err);
	if (rc)
		disk_supervise(d, &ignored);
	else if (json_array_size(disks))
		rc = disk_begin_again(d, disks, NULL, err);
	else
		d->has_iscsi = false;
	json_decref(disks);
	return rc;
}

int device_disk_detach(struct dom *d, const json_t *config, const json_t *disk, bool force, struct err *err)
{
	json_t *req = json_pack("{s:s, s:s, s:b}", "op", "remove-disk", "vdev", config_str(disk, "vdev", ""), "force", force);
	int rc;

	if (!disk_is_iscsi(disk))
		return child_remove(d, req, err);
	rc = iscsi_detach(d, config, req, err);
	json_decref(req);
	return rc;
}

int device_vif_detach(struct dom *d, unsigned devid, bool force, struct err *err)
{
	return child_remove(d, json_pack("{s:s, s:i, s:b}", "op", "remove-vif", "devid", (int)devid, "force", force), err);
}

/* hv-disk first lets the reservation go, in its own time; taps go with their last descriptor. */
void devices_close(struct dom *d)
{
	struct err err = { 0 };

	helpers_end(d);
	if (d->has_iscsi && disk_lives(d, 0) && disk_call(d, json_pack("{s:s}", "op", "shutdown"), NULL, deadline(DL_DAEMON), &err) &&
	    disk_lives(d, 1000))
		log_warn("domain %s (%u): hv-disk: %s", d->name, d->domid, err.text);
}
