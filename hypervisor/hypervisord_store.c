/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_store.c - a domain's nodes in the store, as libxl writes them (paths, values and permissions compared with
 * real Xen's), and its channels to xenstored and xenconsoled.
 */
#include "hypervisor/hypervisord.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/deadlines.h"
#include "lib/log.h"


/* Who may do what: "own" is written by the guest, the others by Domain-0. */
enum perms { PERMS_NONE, PERMS_GUEST_READS, PERMS_GUEST_OWNS, PERMS_GUEST_OWNS_BACK_READS };

struct nodes { json_t *batch; unsigned domid; };

static json_t *perms_list(unsigned domid, enum perms p)
{
	char guest[16];

	switch (p) {
	case PERMS_GUEST_READS:
		snprintf(guest, sizeof guest, "r%u", domid);
		return json_pack("[s, s]", "n0", guest);
	case PERMS_GUEST_OWNS:
		snprintf(guest, sizeof guest, "n%u", domid);
		return json_pack("[s]", guest);
	case PERMS_GUEST_OWNS_BACK_READS:
		snprintf(guest, sizeof guest, "n%u", domid);
		return json_pack("[s, s]", guest, "r0");
	default:
		return json_pack("[s]", "n0");
	}
}

static void node(struct nodes *n, enum perms p, const char *path, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void node(struct nodes *n, enum perms p, const char *path, const char *fmt, ...)
{
	char value[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	json_array_append_new(n->batch, json_pack("{s:s, s:s, s:o}", "path", path, "value", value, "perms", perms_list(n->domid, p)));
}

static char *at(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static char *at(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return buf;
}

#define AT(...) at(path, sizeof path, __VA_ARGS__)

static void nodes_domain(struct nodes *n, const struct dom *d)
{
	static const char *const guest_dirs[] = { "data", "drivers", "feature", "attr", "error", "control/shutdown",
		"control/feature-poweroff", "control/feature-reboot", "control/feature-suspend", "control/sysrq",
		"device/suspend/event-channel" };
	static const char *const dirs[] = { "cpu", "memory", "device", "control", "device/suspend", "device/vbd", "device/vif",
		"store", "console" };
	char path[256];
	unsigned id = d->domid;

	node(n, PERMS_GUEST_READS, AT("/local/domain/%u", id), "%s", "");
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/vm", id), "/vm/%s", d->uuid);
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/name", id), "%s", d->name);
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/domid", id), "%u", id);
	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
		node(n, PERMS_GUEST_READS, AT("/local/domain/%u/%s", id, dirs[i]), "%s", "");
	for (size_t i = 0; i < sizeof guest_dirs / sizeof guest_dirs[0]; i++)
		node(n, PERMS_GUEST_OWNS, AT("/local/domain/%u/%s", id, guest_dirs[i]), "%s", "");
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/control/platform-feature-multiprocessor-suspend", id), "1");
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/control/platform-feature-xs_reset_watches", id), "1");
	for (int64_t i = 0; i < config_int(d->config, "vcpus", 1); i++) {
		bool online = i < config_int(d->config, "online_vcpus", INT64_MAX);

		node(n, PERMS_GUEST_READS, AT("/local/domain/%u/cpu/%d", id, (int)i), "%s", "");
		node(n, PERMS_GUEST_READS, AT("/local/domain/%u/cpu/%d/availability", id, (int)i), online ? "online" : "offline");
	}
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/memory/static-max", id), "%lld",
	     (long long)config_int(d->config, "maxmem_kib", config_int(d->config, "memory_kib", 0)));
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/memory/target", id), "%lld", (long long)config_int(d->config, "memory_kib", 0));
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/memory/videoram", id), "0");
}

static void nodes_vm(struct nodes *n, const struct dom *d)
{
	char path[256];

	node(n, PERMS_GUEST_READS, AT("/vm/%s", d->uuid), "%s", "");
	node(n, PERMS_GUEST_READS, AT("/vm/%s/uuid", d->uuid), "%s", d->uuid);
	node(n, PERMS_GUEST_READS, AT("/vm/%s/name", d->uuid), "%s", d->name);
	node(n, PERMS_GUEST_READS, AT("/vm/%s/image", d->uuid), "%s", "");
	node(n, PERMS_GUEST_READS, AT("/vm/%s/image/ostype", d->uuid), "linux");
	node(n, PERMS_GUEST_READS, AT("/vm/%s/image/kernel", d->uuid), "%s", config_str(d->config, "kernel", ""));
	if (json_object_get(d->config, "ramdisk"))
		node(n, PERMS_GUEST_READS, AT("/vm/%s/image/ramdisk", d->uuid), "%s", config_str(d->config, "ramdisk", ""));
	node(n, PERMS_GUEST_READS, AT("/vm/%s/image/cmdline", d->uuid), "%s", config_str(d->config, "cmdline", ""));
	node(n, PERMS_GUEST_READS, AT("/vm/%s/start_time", d->uuid), "%llu.00", (unsigned long long)d->started_unix);
}

static void nodes_rings(struct nodes *n, const struct dom *d, const json_t *status)
{
	char path[256];
	unsigned id = d->domid;

	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/store/ring-ref", id), "%lld", (long long)config_int(status, "store_mfn", 0));
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/store/port", id), "%lld", (long long)config_int(status, "store_port", 0));
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/console/ring-ref", id), "%lld",
	     (long long)config_int(status, "console_mfn", 0));
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/console/port", id), "%lld", (long long)config_int(status, "console_port", 0));
}

static void nodes_console(struct nodes *n, const struct dom *d)
{
	char path[256];
	unsigned id = d->domid;

	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/console/backend", id), "/local/domain/0/backend/console/%u/0", id);
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("/local/domain/%u/console/backend-id", id), "0");
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/console/limit", id), "1048576");
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/console/type", id), "xenconsoled");
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/console/output", id), "pty");
	node(n, PERMS_GUEST_READS, AT("/local/domain/%u/console/tty", id), "%s", "");
}

/* What a back end's folder and libxl's own copy of it have in common. */
struct key { const char *name, *value; };

static void nodes_backend(struct nodes *n, const struct dom *d, const char *kind, unsigned devid, const char *front,
			  const struct key *keys)
{
	char path[256];
	const enum perms perms[] = { PERMS_GUEST_READS, PERMS_NONE };
	unsigned id = d->domid;

	node(n, PERMS_NONE, AT("/local/domain/0/backend/%s", kind), "%s", "");
	node(n, PERMS_NONE, AT("/local/domain/0/backend/%s/%u", kind, id), "%s", "");
	for (int i = 0; i < 2; i++) {
		char root[160];

		if (i == 0)
			snprintf(root, sizeof root, "/local/domain/0/backend/%s/%u/%u", kind, id, devid);
		else
			snprintf(root, sizeof root, "/libxl/%u/device/%s/%u", id, kind, devid);
		node(n, perms[i], root, "%s", "");
		node(n, perms[i], AT("%s/frontend", root), "%s", front);
		if (i == 1)
			node(n, perms[i], AT("%s/backend", root), "/local/domain/0/backend/%s/%u/%u", kind, id, devid);
		node(n, perms[i], AT("%s/frontend-id", root), "%u", id);
		node(n, perms[i], AT("%s/online", root), "1");
		for (const struct key *k = keys; k->name; k++)
			node(n, perms[i], AT("%s/%s", root, k->name), "%s", k->value);
		node(n, perms[i], AT("%s/state", root), "1");
	}
}

static void nodes_console_backend(struct nodes *n, const struct dom *d)
{
	static const struct key keys[] = { { "protocol", "vt100" }, { NULL, NULL } };
	char front[64];

	snprintf(front, sizeof front, "/local/domain/%u/console", d->domid);
	nodes_backend(n, d, "console", 0, front, keys);
}

/* "xvda" 51712, "xvdb" 51728, ... "xvdq" 1 << 28 | ... : vbd-interface(7). */
static int vdev_number(const char *vdev)
{
	unsigned disk, part = 0;

	if (strncmp(vdev, "xvd", 3) || vdev[3] < 'a' || vdev[3] > 'z')
		return -EINVAL;
	disk = (unsigned)(vdev[3] - 'a');
	if (vdev[4])
		part = (unsigned)strtoul(vdev + 4, NULL, 10);
	return (int)(disk < 16 && part < 16 ? 202u << 8 | disk << 4 | part : 1u << 28 | disk << 8 | part);
}

static void nodes_vbd(struct nodes *n, const struct dom *d, const json_t *disk)
{
	const char *vdev = config_str(disk, "vdev", "xvda"), *backend = config_str(disk, "backend", "file");
	bool ro = !strcmp(config_str(disk, "mode", "rw"), "ro");
	char params[512], front[96], path[256];
	int number = vdev_number(vdev);
	const struct key keys[] = {
		{ "params", params }, { "script", "" }, { "type", "phy" }, { "dev", vdev }, { "mode", ro ? "r" : "w" },
		{ "device-type", "disk" }, { "bootable", "1" }, { "removable", "0" }, { "specification", "xen" },
		{ "discard-enable", ro ? "0" : "1" }, { NULL, NULL },
	};

	if (!strcmp(backend, "iscsi"))
		snprintf(params, sizeof params, "iscsi:%s,%s,%lld", config_str(disk, "portal", ""), config_str(disk, "iqn", ""),
			 (long long)config_int(disk, "lun", 0));
	else
		snprintf(params, sizeof params, "%s", config_str(disk, "target", ""));
	snprintf(front, sizeof front, "/local/domain/%u/device/vbd/%d", d->domid, number);
	nodes_backend(n, d, "vbd", (unsigned)number, front, keys);
	node(n, PERMS_GUEST_OWNS_BACK_READS, front, "%s", "");
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/backend", front), "/local/domain/0/backend/vbd/%u/%d", d->domid, number);
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/backend-id", front), "0");
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/state", front), "1");
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/virtual-device", front), "%d", number);
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/device-type", front), "disk");
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/trusted", front), "1");
}

static void nodes_vif(struct nodes *n, const struct dom *d, const json_t *vif, unsigned devid)
{
	const char *mac = config_str(vif, "mac", "");
	char handle[12], front[96], path[256];
	const struct key keys[] = {
		{ "handle", handle }, { "mac", mac }, { "bridge", config_str(vif, "bridge", "") }, { "script", "" }, { "type", "vif" },
		{ NULL, NULL },
	};

	snprintf(handle, sizeof handle, "%u", devid);
	snprintf(front, sizeof front, "/local/domain/%u/device/vif/%u", d->domid, devid);
	nodes_backend(n, d, "vif", devid, front, keys);
	node(n, PERMS_NONE, AT("/libxl/%u/device/vif/%u/hotplug-status", d->domid, devid), "%s", "");
	node(n, PERMS_GUEST_OWNS_BACK_READS, front, "%s", "");
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/backend", front), "/local/domain/0/backend/vif/%u/%u", d->domid, devid);
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/backend-id", front), "0");
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/state", front), "1");
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/handle", front), "%u", devid);
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/mac", front), "%s", mac);
	node(n, PERMS_GUEST_READS, AT("%s/mtu", front), "%lld", (long long)config_int(vif, "mtu", 1500));
	node(n, PERMS_GUEST_OWNS_BACK_READS, AT("%s/trusted", front), "1");
}

static json_t *nodes_all_but_rings(const struct dom *d)
{
	struct nodes n = { json_array(), d->domid };
	char path[64];
	size_t i;
	json_t *v;

	node(&n, PERMS_NONE, AT("/libxl/%u", d->domid), "%s", "");
	node(&n, PERMS_NONE, AT("/libxl/%u/type", d->domid), "pv");
	node(&n, PERMS_NONE, AT("/libxl/%u/dm-version", d->domid), "qemu_xen");
	nodes_vm(&n, d);
	nodes_domain(&n, d);
	nodes_console(&n, d);
	nodes_console_backend(&n, d);
	json_array_foreach(json_object_get(d->config, "disk"), i, v)
		nodes_vbd(&n, d, v);
	json_array_foreach(json_object_get(d->config, "vif"), i, v)
		nodes_vif(&n, d, v, vif_number(v, i));
	return n.batch;
}

/* --- talking to the daemons ------------------------------------------------------------------------------------------- */

static int daemon_call(const char *name, json_t *req, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds,
		       struct err *err)
{
	struct err dummy;
	int sock = -1, rc;

	if (!err)
		err = &dummy;
	rc = sock = msg_connect(name, err);
	if (rc >= 0) {
		rc = msg_call(sock, req, fds, nfds, ret_reply, ret_fds, ret_nfds, deadline(DL_STORE), NULL, NULL, err);
		close(sock);
	}
	json_decref(req);
	return rc < 0 ? rc : 0;
}

int store_call(json_t *req, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds, struct err *err)
{
	return daemon_call("xenstored-admin.sock", req, fds, nfds, ret_reply, ret_fds, ret_nfds, err);
}

int store_write(const char *path, const char *value, struct err *err)
{
	return store_call(json_pack("{s:s, s:s, s:s}", "op", "write", "path", path, "value", value), NULL, 0, NULL, NULL, NULL, err);
}

static int channel_pair(int sv[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0 ? -errno : 0;
}

static void pair_close(int sv[2])
{
	for (int i = 0; i < 2; i++)
		if (sv[i] >= 0)
			close(sv[i]);
}

int store_channels(struct dom *d, struct err *err)
{
	int guest[2] = { -1, -1 }, back[2] = { -1, -1 };
	int rc = channel_pair(guest);

	if (!rc)
		rc = channel_pair(back);
	if (rc) {
		err_set(err, rc, "domain %s: no channel to xenstored: %s", d->name, strerror(-rc));
		goto out;
	}
	rc = store_call(json_pack("{s:s, s:i}", "op", "introduce", "domid", d->domid), (int[]) { guest[0], back[0] }, 2, NULL, NULL,
			NULL, err);
	if (rc)
		goto out;
	d->on_store = true;
	rc = child_call(d, json_pack("{s:s, s:s}", "op", "channel-set", "kind", "store"), &guest[1], 1, NULL, NULL, NULL, deadline(DL_DAEMON), err);
	if (!rc)
		rc = child_call(d, json_pack("{s:s, s:s}", "op", "channel-set", "kind", "store-be"), &back[1], 1, NULL, NULL, NULL,
				deadline(DL_DAEMON), err);
out:
	pair_close(guest);
	pair_close(back);
	return rc;
}

/*
 * The channels of a copy that is on its way, and the connection over which its own process will bring what the store is to hold:
 * nothing of it is asked of us while the guest stands still.
 */
int store_expect(struct dom *d, struct err *err)
{
	static const char *const kinds[] = { "store", "store-be", "store-import" };
	int pair[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } }, rc = 0;

	for (int i = 0; i < 3 && !rc; i++)
		rc = channel_pair(pair[i]);
	if (rc)
		err_set(err, rc, "domain %s: no channel to xenstored: %s", d->name, strerror(-rc));
	else
		rc = store_call(json_pack("{s:s, s:i}", "op", "expect", "domid", d->domid), (int[]) { pair[0][0], pair[1][0], pair[2][0] }, 3,
				NULL, NULL, NULL, err);
	for (int i = 0; i < 3 && !rc; i++)
		rc = child_call(d, json_pack("{s:s, s:s}", "op", "channel-set", "kind", kinds[i]), &pair[i][1], 1, NULL, NULL, NULL, deadline(DL_DAEMON),
				err);
	for (int i = 0; i < 3; i++)
		pair_close(pair[i]);
	return rc;
}

/* A batch is one transaction; one that does not fit a packet goes in parts, parents first. */
static int batch_send(json_t *batch, struct err *err)
{
	size_t n = json_array_size(batch), i = 0;
	int rc = 0;

	while (i < n && !rc) {
		json_t *part = json_array();

		for (size_t k = 0; k < 100 && i < n; k++, i++)
			json_array_append(part, json_array_get(batch, i));
		rc = store_call(json_pack("{s:s, s:o}", "op", "batch", "batch", part), NULL, 0, NULL, NULL, NULL, err);
	}
	return rc;
}

char *store_read(const char *path)
{
	json_t *reply = NULL;
	char *value = NULL;

	if (!store_call(json_pack("{s:s, s:s}", "op", "read", "path", path), NULL, 0, &reply, NULL, NULL, NULL) &&
	    config_str(reply, "value", NULL))
		value = strdup(config_str(reply, "value", NULL));
	json_decref(reply);
	return value;
}

int store_remove(const char *path)
{
	return store_call(json_pack("{s:s, s:s}", "op", "rm", "path", path), NULL, 0, NULL, NULL, NULL, NULL);
}

/* A device of a domain that runs: one transaction, so that the guest sees all of it or nothing. */
int store_disk_add(struct dom *d, const json_t *disk, struct err *err)
{
	struct nodes n = { json_array(), d->domid };
	int rc;

	nodes_vbd(&n, d, disk);
	rc = batch_send(n.batch, err);
	json_decref(n.batch);
	return rc;
}

int store_vif_add(struct dom *d, const json_t *vif, unsigned devid, struct err *err)
{
	struct nodes n = { json_array(), d->domid };
	int rc;

	nodes_vif(&n, d, vif, devid);
	rc = batch_send(n.batch, err);
	json_decref(n.batch);
	return rc;
}

/* Name and, when it is another one, uuid: /vm/UUID of its own, and the domain's nodes that tell of them. */
int store_vm_renamed(struct dom *d, const char *uuid, const char *name, struct err *err)
{
	struct dom as = *d;
	struct nodes n = { json_array(), d->domid };
	char path[256];
	int rc;

	snprintf(as.name, sizeof as.name, "%s", name);
	snprintf(as.uuid, sizeof as.uuid, "%s", uuid);
	if (strcasecmp(uuid, d->uuid))
		nodes_vm(&n, &as);
	else
		node(&n, PERMS_GUEST_READS, AT("/vm/%s/name", uuid), "%s", name);
	node(&n, PERMS_GUEST_READS, AT("/local/domain/%u/vm", d->domid), "/vm/%s", uuid);
	node(&n, PERMS_GUEST_READS, AT("/local/domain/%u/name", d->domid), "%s", name);
	rc = batch_send(n.batch, err);
	json_decref(n.batch);
	return rc;
}

/* What a hypervisord that died, or a move cut short, may have left under this number is none of the new domain's. */
void store_wipe(struct dom *d)
{
	d->on_store = true;
	store_release(d);
	d->on_store = true;                    /* from here on there is something to take away */
}

int store_prepare(struct dom *d, struct err *err)
{
	json_t *batch = nodes_all_but_rings(d);
	int rc;

	store_wipe(d);
	rc = batch_send(batch, err);
	json_decref(batch);
	return rc;
}

int store_introduce(struct dom *d, const json_t *status, struct err *err)
{
	struct nodes n = { json_array(), d->domid };
	int rc;

	nodes_rings(&n, d, status);
	rc = batch_send(n.batch, err);
	json_decref(n.batch);
	return rc ? rc : store_channels(d, err);
}

void store_release(struct dom *d)
{
	static const char *const roots[] = { "/local/domain", "/local/domain/0/backend/vbd", "/local/domain/0/backend/vif",
		"/local/domain/0/backend/console", "/libxl" };
	struct err err = { 0 };
	char path[128];
	int rc;

	if (!d->on_store)
		return;
	d->on_store = false;
	rc = store_call(json_pack("{s:s, s:i}", "op", "release", "domid", d->domid), NULL, 0, NULL, NULL, NULL, &err);
	if (rc && rc != -ENOENT)               /* an incoming copy may not have got that far */
		log_warn("domain %s (%u): not released at xenstored: %s", d->name, d->domid, err.text);
	for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
		snprintf(path, sizeof path, "%s/%u", roots[i], d->domid);
		store_call(json_pack("{s:s, s:s}", "op", "rm", "path", path), NULL, 0, NULL, NULL, NULL, NULL);
	}
	snprintf(path, sizeof path, "/vm/%s", d->uuid);
	store_call(json_pack("{s:s, s:s}", "op", "rm", "path", path), NULL, 0, NULL, NULL, NULL, NULL);
}

int store_node0(const char *hostname, struct err *err)
{
	struct nodes n = { json_array(), 0 };
	uint64_t kib = node_memory_total_kib();
	int rc;

	node(&n, PERMS_NONE, "/local/domain/0", "%s", "");
	node(&n, PERMS_NONE, "/local/domain/0/domid", "0");
	node(&n, PERMS_NONE, "/local/domain/0/name", "Domain-0");
	node(&n, PERMS_NONE, "/local/domain/0/control/feature-poweroff", "1");
	node(&n, PERMS_NONE, "/local/domain/0/control/feature-reboot", "1");
	node(&n, PERMS_NONE, "/local/domain/0/control/feature-suspend", "1");
	node(&n, PERMS_NONE, "/local/domain/0/memory/target", "%llu", (unsigned long long)kib);
	node(&n, PERMS_NONE, "/local/domain/0/memory/static-max", "%llu", (unsigned long long)kib);
	node(&n, PERMS_NONE, "/local/domain/0/backend", "%s", "");
	node(&n, PERMS_NONE, "/local/pool/0/name", "Pool-0");
	node(&n, PERMS_NONE, "/vm", "%s", "");
	node(&n, PERMS_NONE, "/libxl", "%s", "");
	rc = batch_send(n.batch, err);
	json_decref(n.batch);
	return rc;
}

/* Where xl console looks for the pty.  A xenstored that is away is told when it comes back: console_name(). */
static void tty_write(const struct dom *d, const json_t *reply)
{
	char path[64];

	snprintf(path, sizeof path, "/local/domain/%u/console/tty", d->domid);
	store_write(path, config_str(reply, "path", ""), NULL);
}

void console_name(struct dom *d)
{
	json_t *reply = NULL;

	if (d->on_console && daemon_call("xenconsoled.sock", json_pack("{s:s, s:i}", "op", "path", "domid", d->domid), NULL, 0, &reply, NULL,
					 NULL, NULL) == 0)
		tty_write(d, reply);
	json_decref(reply);
}

int console_open(struct dom *d, int *ret_fd, struct err *err)
{
	int sv[2] = { -1, -1 };
	json_t *reply = NULL;
	int rc = channel_pair(sv);

	if (rc)
		return err_set(err, rc, "domain %s: no channel to xenconsoled: %s", d->name, strerror(-rc));
	rc = daemon_call("xenconsoled.sock", json_pack("{s:s, s:i, s:s}", "op", "attach", "domid", d->domid, "name", d->name), &sv[0], 1,
			 &reply, NULL, NULL, err);
	if (!rc) {
		d->on_console = true;
		*ret_fd = sv[1];
		sv[1] = -1;
	}
	if (!rc)
		tty_write(d, reply);
	json_decref(reply);
	pair_close(sv);
	return rc;
}

int console_connect(struct dom *d, int fd, struct err *err)
{
	int rc = child_call(d, json_pack("{s:s, s:s}", "op", "channel-set", "kind", "console"), &fd, 1, NULL, NULL, NULL, deadline(DL_DAEMON), err);

	close(fd);
	return rc;
}

int console_attach(struct dom *d, struct err *err)
{
	int fd = -1, rc = console_open(d, &fd, err);

	return rc ? rc : console_connect(d, fd, err);
}

void console_detach(struct dom *d)
{
	if (!d->on_console)
		return;
	d->on_console = false;
	daemon_call("xenconsoled.sock", json_pack("{s:s, s:i}", "op", "detach", "domid", d->domid), NULL, 0, NULL, NULL, NULL, NULL);
}
