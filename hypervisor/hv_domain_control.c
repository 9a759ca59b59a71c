/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_control.c - what hypervisord asks of an hv-domain (docs/specs/messages.md, "hv-domain control").
 *
 * One connection or many; the copy's state is here, so it does not matter which hypervisord asks.
 */
#include "hypervisor/hv_domain.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "hypervisor/hv_domain_image.h"
#include "hypervisor/hv_domain_pages.h"
#include "lib/clock.h"
#include "lib/log.h"

static void op_status(struct msg_call *c, void *arg)
{
	msg_reply(c, hv_status(arg));
}

static void reply_rc(struct msg_call *c, int rc, const struct err *err)
{
	if (!rc)
		msg_reply(c, NULL);
	else if (err && err->text[0])
		msg_error_from(c, err);
	else
		msg_error(c, rc, "hv-domain: %s", strerror(-rc));
}

/* --- devices ------------------------------------------------------------------------------------------------------- */

static int io_add_disk(struct hv *h, void *arg) { return devices_add_disk(h->ds, arg); }
static int io_add_vif(struct hv *h, void *arg) { return devices_add_vif(h->ds, arg); }

static void op_add_disk(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	const char *vdev;
	struct device_disk disk = {
		.readonly = msg_call_bool_opt(c, "readonly", false), .iscsi = msg_call_bool_opt(c, "iscsi", false),
		.sectors = (uint64_t)msg_call_int_opt(c, "sectors", 0), .sector_size = (uint32_t)msg_call_int_opt(c, "sector_size", 512),
		.iscsi_index = (unsigned)msg_call_int_opt(c, "iscsi_index", 0),
	};
	int rc;

	if (!msg_call_str(c, "vdev", &vdev))
		return;
	snprintf(disk.vdev, sizeof disk.vdev, "%s", vdev);
	snprintf(disk.params, sizeof disk.params, "%s", msg_call_str_opt(c, "params", ""));
	disk.fd = msg_call_take_fd(c, 0);
	h->has_iscsi |= disk.iscsi;
	rc = hv_io_call(h, io_add_disk, &disk);
	if (!rc)
		json_object_set_new(h->disk_sectors, disk.vdev, json_integer((json_int_t)disk.sectors));
	if (rc)
		msg_error(c, rc, "disk %s: %s", vdev, rc == -EINVAL ? "no name of a virtual disk; use xvda, xvdb, ..." : strerror(-rc));
	else
		msg_reply(c, NULL);
}

static bool mac_parse(const char *text, uint8_t mac[6])
{
	unsigned b[6];
	char end;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) != 6)
		return false;
	for (int i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
	return true;
}

static void op_add_vif(struct msg_call *c, void *arg)
{
	const char *mac;
	struct device_vif vif = { .devid = (unsigned)msg_call_int_opt(c, "devid", 0), .mtu = (unsigned)msg_call_int_opt(c, "mtu", 1500) };

	if (!msg_call_str(c, "mac", &mac))
		return;
	if (!mac_parse(mac, vif.mac)) {
		msg_error(c, -EINVAL, "vif %u: mac=%s is no MAC address", vif.devid, mac);
		return;
	}
	snprintf(vif.bridge, sizeof vif.bridge, "%s", msg_call_str_opt(c, "bridge", ""));
	vif.tap_fd = msg_call_take_fd(c, 0);
	reply_rc(c, hv_io_call(arg, io_add_vif, &vif), NULL);
}

struct channel_set { const char *kind; int fd, fd2; };

static int io_set_channel(struct hv *h, void *arg)
{
	struct channel_set *s = arg;

	return devices_set_channel(h->ds, s->kind, s->fd, s->fd2);
}

static void op_channel_set(struct msg_call *c, void *arg)
{
	struct channel_set s = { .fd = -1, .fd2 = -1 };

	if (!msg_call_str(c, "kind", &s.kind))
		return;
	s.fd = msg_call_take_fd(c, 0);
	s.fd2 = msg_call_take_fd(c, 1);
	if (!strcmp(s.kind, "store-import")) {
		reply_rc(c, hv_image_import_channel(arg, s.fd), NULL);
		return;
	}
	reply_rc(c, hv_io_call(arg, io_set_channel, &s), NULL);
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

static void op_build(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct err err = { 0 };
	int kernel = msg_call_take_fd(c, 0), ramdisk = msg_call_take_fd(c, 1);
	int rc = hv_build(h, msg_call_request(c), kernel, ramdisk, &err);

	if (kernel >= 0)
		close(kernel);
	if (ramdisk >= 0)
		close(ramdisk);
	if (rc)
		msg_error_from(c, &err);
	else
		msg_reply(c, hv_status(h));
}

static void apply(struct msg_call *c, struct hv *h, enum copy_event e, uint64_t attempt, const char *target)
{
	struct err err = { 0 };
	int rc = copy_apply(&h->copy, e, attempt, target, &err);

	if (rc) {
		msg_error_from(c, &err);
		return;
	}
	hv_sync_execution(h);
	hv_changed(h);
	msg_reply(c, hv_status(h));
}

static void op_run(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	int rc;

	if (!h->have_guest) {
		msg_error(c, -EPERM, "domain %u: nothing was built or loaded", h->d->domid);
		return;
	}
	h->copy.user_paused = msg_call_bool_opt(c, "paused", h->copy.user_paused);
	hv_pages_drop(h);
	rc = hv_start_serving(h);
	if (rc)
		msg_error(c, rc, "domain %u: its devices do not start: %s", h->d->domid, strerror(-rc));
	else
		apply(c, h, COPY_RUN, 0, NULL);
}

/* From here on the worker's end is not the copy's: hypervisord writes the activation down next. */
static void op_activate_begin(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct copy trial = h->copy;
	struct err err = { 0 };

	if (copy_apply(&trial, COPY_ACTIVATE, (uint64_t)msg_call_int_opt(c, "attempt", 0), NULL, &err)) {
		msg_error_from(c, &err);
		return;
	}
	h->activating = true;
	msg_reply(c, NULL);
}

static void op_activate(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	uint64_t attempt = (uint64_t)msg_call_int_opt(c, "attempt", 0);
	struct copy trial = h->copy;
	struct err err = { 0 };
	int rc = copy_apply(&trial, COPY_ACTIVATE, attempt, NULL, &err);

	if (!rc) {
		rc = hv_start_serving(h);
		if (rc)
			err_set(&err, rc, "domain %u: its devices do not start: %s", h->d->domid, strerror(-rc));
	}
	if (rc) {
		msg_error_from(c, &err);
		return;
	}
	h->drained = false;
	copy_apply(&h->copy, COPY_ACTIVATE, attempt, NULL, NULL);
	if (!h->move)                    /* else the channel's end ends the attempt */
		h->copy.attempt = 0;
	hv_sync_execution(h);
	msg_reply(c, json_pack("{s:I}", "run_ns", (json_int_t)monotonic_ns()));
	hv_changed(h);
}

static void op_user_pause(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	h->copy.user_paused = true;
	hv_sync_execution(h);
	hv_changed(h);
	msg_reply(c, NULL);
}

static void op_user_unpause(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	h->copy.user_paused = false;
	hv_sync_execution(h);
	hv_changed(h);
	msg_reply(c, NULL);
}

/* All vCPUs have parked when this says so, but for one that waits for a page: it parks when it has it. The reply waits for nobody's counters. */
static void quorum(struct msg_call *c, struct hv *h, enum copy_event e)
{
	struct err err = { 0 };
	json_t *reply;

	if (copy_apply(&h->copy, e, 0, NULL, &err)) {
		msg_error_from(c, &err);
		return;
	}
	hv_sync_execution(h);
	reply = json_pack("{s:I}", h->executing ? "runs_ns" : "stopped_ns", (json_int_t)monotonic_ns());
	hv_changed(h);
	msg_reply(c, reply);
}

static void op_quorum_pause(struct msg_call *c, void *arg) { quorum(c, arg, COPY_QUORUM_PAUSE); }
static void op_quorum_resume(struct msg_call *c, void *arg) { quorum(c, arg, COPY_QUORUM_RESUME); }

/* With `release` the disks are let go of in the same breath; what hv-disk holds stays wanted until hypervisord says release-done. */
static void op_mark_handed(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct err err = { 0 };
	int rc = copy_apply(&h->copy, COPY_HAND, (uint64_t)msg_call_int_opt(c, "attempt", 0), msg_call_str_opt(c, "target", ""), &err);

	if (rc) {
		msg_error_from(c, &err);
		return;
	}
	if (json_is_object(json_object_get(msg_call_request(c), "serves")) && !h->serves && !h->served)
		h->serves = json_deep_copy(json_object_get(msg_call_request(c), "serves"));
	if (msg_call_bool_opt(c, "release", false))
		hv_move_release(h);
	msg_reply(c, json_pack("{s:b}", "released", h->released));
	hv_changed(h);
}

static int io_activate(struct hv *h, void *arg)
{
	devices_activate(h->ds);
	return 0;
}

/* Of a released copy hypervisord has opened disks and taps again before it asks this. */
static void op_resume_handed(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct err err = { 0 };
	int rc = copy_apply(&h->copy, COPY_RESUME_HANDED, (uint64_t)msg_call_int_opt(c, "attempt", 0), NULL, &err);

	if (rc) {
		msg_error_from(c, &err);
		return;
	}
	json_decref(h->serves);
	h->serves = NULL;
	if (h->released)
		hv_io_call(h, io_activate, NULL);
	h->released = false;
	hv_unquiesce(h);
	hv_sync_execution(h);
	hv_changed(h);
	msg_reply(c, hv_status(h));
}

static void op_migrate_open(struct msg_call *c, void *arg)
{
	hv_move_open(arg, c, (uint64_t)msg_call_int_opt(c, "attempt", 0), msg_call_str_opt(c, "target", ""),
		     msg_call_bool_opt(c, "preserved", false));
}

static void op_incoming_open(struct msg_call *c, void *arg)
{
	hv_move_incoming(arg, c, (uint64_t)msg_call_int_opt(c, "attempt", 0), msg_call_str_opt(c, "from", ""), msg_call_bool_opt(c, "keep", false));
}

static void op_destroy_now(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	copy_apply(&h->copy, COPY_DESTROY, 0, NULL, NULL);
	hv_sync_execution(h);
	msg_reply(c, NULL);
	_exit(0);
}

static void op_subscribe(struct msg_call *c, void *arg) { msg_subscribe(c); }

static const struct msg_op ops[] = {
	{ "status", MSG_ROOT, op_status },
	{ "subscribe", MSG_ROOT, op_subscribe },
	{ "add-disk", MSG_ROOT, op_add_disk },
	{ "add-vif", MSG_ROOT, op_add_vif },
	{ "channel-set", MSG_ROOT, op_channel_set },
	{ "build", MSG_ROOT, op_build },
	{ "run", MSG_ROOT, op_run },
	{ "activate-begin", MSG_ROOT, op_activate_begin },
	{ "activate", MSG_ROOT, op_activate },
	{ "pause", MSG_ROOT, op_user_pause },
	{ "unpause", MSG_ROOT, op_user_unpause },
	{ "quorum-pause", MSG_ROOT, op_quorum_pause },
	{ "quorum-resume", MSG_ROOT, op_quorum_resume },
	{ "mark-handed", MSG_ROOT, op_mark_handed },
	{ "resume-handed", MSG_ROOT, op_resume_handed },
	{ "remove-disk", MSG_ROOT, hv_change_op_remove_disk },
	{ "remove-vif", MSG_ROOT, hv_change_op_remove_vif },
	{ "mem-limit", MSG_ROOT, hv_change_op_mem_limit },
	{ "trigger", MSG_ROOT, hv_change_op_trigger },
	{ "rename", MSG_ROOT, hv_change_op_rename },
	{ "dump-core", MSG_ROOT, hv_change_op_dump_core },
	{ "let-go", MSG_ROOT, hv_change_op_let_go },
	{ "migrate-open", MSG_ROOT, op_migrate_open },
	{ "incoming-open", MSG_ROOT, op_incoming_open },
	{ "serve-open", MSG_ROOT, hv_move_op_serve_open },
	{ "pages-served", MSG_ROOT, hv_move_op_pages_served },
	{ "pages-lost", MSG_ROOT, hv_move_op_pages_lost },
	{ "release-done", MSG_ROOT, hv_move_op_release_done },
	{ "store-state", MSG_ROOT, hv_image_op_store_state },
	{ "store-take", MSG_ROOT, hv_image_op_store_take },
	{ "store-done", MSG_ROOT, hv_image_op_store_done },
	{ "save-state", MSG_ROOT, hv_image_op_save },
	{ "load-state", MSG_ROOT, hv_image_op_load },
	{ "destroy-now", MSG_ROOT, op_destroy_now },
	{ NULL },
};

int hv_control_start(struct hv *h, int listen_fd)
{
	return msg_server_adopt(h->loop, listen_fd, ops, h, NULL, "hv-domain", &h->control);
}
