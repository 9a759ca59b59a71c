/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven-storage - exec'd by hypervisord as root: one request on descriptor 0, one reply, exit (docs/specs/messages.md).  A request
 * with "wait": true keeps it for one more: what a move needs in its pause is asked of a process that is there.
 *
 * Holds: root's right to open the node's disks, for as long as one request takes.
 * Hears: one JSON packet from hypervisord.
 * May do: open the file or block device the request names, lock it, hand the descriptor over; for a check, log in to an iSCSI target, after it
 *   has given up root and every file.
 *
 *   {"op":"open","disk":{"backend":"file"|"phy","target":"/path","mode":"rw"|"ro","vdev":"xvda"},"domid":3,"for":"check"|"incoming"|"use"}
 *     {"ok":true,"sectors":N,"sector_size":512} + the descriptor, for "use"; without one, otherwise
 *   {"op":"check","disk":{…, of any backend},"node":"n2","uuid":"…","uid":N}
 *     the same, without a descriptor: could this node take that disk over?  Nothing is changed.
 */
#include "config.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/msg.h"
#include "storage/disk_local.h"
#include "storage/iscsi_check.h"

static const char *field(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int purpose_parse(const char *s, enum disk_purpose *ret, struct err *err)
{
	static const char *const names[] = { [DISK_CHECK] = "check", [DISK_INCOMING] = "incoming", [DISK_USE] = "use" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(s, names[i])) {
			*ret = (enum disk_purpose)i;
			return 0;
		}
	return err_set(err, -EINVAL, "for: must be check, incoming or use");
}

static int op_open(const json_t *q, enum disk_purpose *ret_purpose, struct disk_local *ret, struct err *err)
{
	const json_t *disk = json_object_get(q, "disk");
	const char *backend = field(disk, "backend"), *mode = field(disk, "mode");
	int rc = purpose_parse(field(q, "for"), ret_purpose, err);

	if (rc < 0)
		return rc;
	if (strcmp(backend, "file") && strcmp(backend, "phy"))
		return err_set(err, -EINVAL, "disk %s: backend \"%.40s\" is not a file or block device of this node", field(disk, "vdev"), backend);
	if (strcmp(mode, "rw") && strcmp(mode, "ro"))
		return err_set(err, -EINVAL, "disk %s: mode must be rw or ro", field(disk, "vdev"));
	rc = disk_local_open(field(disk, "target"), !strcmp(backend, "phy"), !strcmp(mode, "ro"), *ret_purpose, ret, err);
	return rc < 0 ? err_prefix(err, "disk %s", field(disk, "vdev")) : 0;
}

static int op_check(json_t *q, struct disk_local *ret, struct err *err)
{
	const json_t *disk = json_object_get(q, "disk");
	enum disk_purpose purpose;

	if (!strcmp(field(disk, "backend"), "iscsi"))
		return iscsi_check(q, disk, &ret->sectors, &ret->sector_size, err);
	json_object_set_new(q, "for", json_string("check"));
	return op_open(q, &purpose, ret, err);
}

static int serve_op(json_t *q, enum disk_purpose *ret_purpose, struct disk_local *ret, struct err *err)
{
	if (!strcmp(field(q, "op"), "open"))
		return op_open(q, ret_purpose, ret, err);
	if (!strcmp(field(q, "op"), "check"))
		return op_check(q, ret, err);
	return err_set(err, -ENOSYS, "haven-storage: unknown op");
}

/* Reply and descriptor go out.  0, or a negative error that was told. */
static int serve(json_t *request)
{
	struct disk_local disk = { .fd = -1 };
	enum disk_purpose purpose = DISK_CHECK;
	struct err err = { 0 };
	json_t *reply;
	int rc, r;

	rc = serve_op(request, &purpose, &disk, &err);
	if (rc < 0)
		reply = json_pack("{s:b,s:s,s:s}", "ok", 0, "code", err_name(rc), "error", err.text);
	else
		reply = json_pack("{s:b,s:I,s:i}", "ok", 1, "sectors", (json_int_t)disk.sectors, "sector_size", (int)disk.sector_size);
	r = msg_send(0, reply, &disk.fd, purpose == DISK_USE && disk.fd >= 0 ? 1 : 0);
	if (disk.fd >= 0)
		close(disk.fd);
	json_decref(reply);
	return rc < 0 ? rc : r;
}

int main(void)
{
	json_t *request = NULL;
	int rc = 0;

	signal(SIGPIPE, SIG_IGN);                          /* libiscsi writes with writev(), also to a target that has gone */
	if (msg_recv(0, &request, NULL, NULL) <= 0) {
		fprintf(stderr, "haven-storage: is started by hypervisord, with its request on descriptor 0\n");
		return 2;
	}
	while (request) {
		bool wait = json_is_true(json_object_get(request, "wait"));
		rc = serve(request);
		json_decref(request);
		request = NULL;
		if (wait && rc == 0)
			msg_recv(0, &request, NULL, NULL);
	}
	return rc < 0 ? 1 : 0;
}
