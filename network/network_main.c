/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven-network - exec'd by hypervisord as root: one request on descriptor 0, one reply, exit (docs/specs/messages.md).
 *
 * Holds: root's right to make network devices, for as long as one request takes.
 * Hears: one JSON packet from hypervisord; every name in it is checked before it reaches the kernel.
 * May do: make or remove a tap called as the request says, give it its MTU, join it to a bridge, set it up.
 *
 * Requests:
 *   {"op":"tap","domid":3,"devid":0,"uid":200003,"vif":{"mac":"00:16:3e:…","bridge":"xenbr0","mtu":1500},
 *      "up":true}                                                                          {"ok":true,"ifname":"vif3.0"} + the tap
 *   {"op":"check","vif":{…}}                                                              {"ok":true}
 *   {"op":"remove","domid":3,"devid":0,"vif":{…}}                                         {"ok":true}
 * "up": false leaves the tap down, joined but passing nothing: an incoming copy's, which is set up when the copy is activated.
 * A tap is not persistent: it goes with the last descriptor, so `remove` is for one that outlived its process's tidy end.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/msg.h"
#include "network/tap.h"

struct request { const json_t *json, *vif; const char *bridge, *ifname; char ifname_buf[IFNAMSIZ]; unsigned mtu; };

static int request_common(struct request *q, struct err *err)
{
	q->vif = json_object_get(q->json, "vif");
	if (!json_is_object(q->vif))
		return err_set(err, -EINVAL, "vif: an object is needed");
	q->bridge = json_string_value(json_object_get(q->vif, "bridge"));
	if (!q->bridge || !tap_name_ok(q->bridge))
		return err_set(err, -EINVAL, "vif: bridge= is missing or is no interface name");
	q->mtu = (unsigned)json_integer_value(json_object_get(q->vif, "mtu"));
	if (!q->mtu)
		q->mtu = 1500;
	if (q->mtu < 68 || q->mtu > 65521)
		return err_set(err, -EINVAL, "vif: mtu=%u is not between 68 and 65521", q->mtu);
	return 0;
}

static int request_ifname(struct request *q, struct err *err)
{
	json_int_t domid = json_integer_value(json_object_get(q->json, "domid"));
	json_int_t devid = json_integer_value(json_object_get(q->json, "devid"));

	q->ifname = json_string_value(json_object_get(q->vif, "vifname"));
	if (!q->ifname) {
		if (domid < 1 || domid > 32751 || devid < 0 || devid > 255)
			return err_set(err, -EINVAL, "domid and devid: out of range");
		snprintf(q->ifname_buf, sizeof(q->ifname_buf), "vif%d.%d", (int)domid, (int)devid);
		q->ifname = q->ifname_buf;
	}
	if (!tap_name_ok(q->ifname))
		return err_set(err, -EINVAL, "vif: vifname=%.40s is no interface name (1 to 15 letters, digits, '.', '-', '_')", q->ifname);
	return 0;
}

static int op_tap(struct request *q, int *ret_fd, struct err *err)
{
	json_int_t uid = json_integer_value(json_object_get(q->json, "uid"));
	bool up = !json_is_false(json_object_get(q->json, "up"));
	int rc = request_ifname(q, err);

	if (rc == 0)
		rc = tap_create(q->ifname, (unsigned)uid, ret_fd, err);
	if (rc == 0) {
		rc = tap_join(q->ifname, q->bridge, q->mtu, up, err);
		if (rc < 0) {
			close(*ret_fd);
			*ret_fd = -1;
		}
	}
	return rc;
}

static int op_check(struct request *q, int *ret_fd, struct err *err)
{
	return tap_check_bridge(q->bridge, err);
}

static int op_remove(struct request *q, int *ret_fd, struct err *err)
{
	int rc = request_ifname(q, err);

	return rc < 0 ? rc : tap_remove(q->ifname, err);
}

static const struct { const char *name; int (*run)(struct request *q, int *ret_fd, struct err *err); } ops[] = {
	{ "tap", op_tap },
	{ "check", op_check },
	{ "remove", op_remove },
};

static int dispatch(struct request *q, int *ret_fd, struct err *err)
{
	const char *op = json_string_value(json_object_get(q->json, "op"));
	int rc;

	for (size_t i = 0; op && i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(op, ops[i].name)) {
			rc = request_common(q, err);
			return rc < 0 ? rc : ops[i].run(q, ret_fd, err);
		}
	return err_set(err, -ENOSYS, "haven-network: unknown op");
}

int main(void)
{
	struct request q = { 0 };
	struct err err = { 0 };
	json_t *request = NULL, *reply;
	int rc, fd = -1;

	if (msg_recv(0, &request, NULL, NULL) <= 0) {
		fprintf(stderr, "haven-network: is started by hypervisord, with its request on descriptor 0\n");
		return 2;
	}
	q.json = request;
	rc = dispatch(&q, &fd, &err);
	if (rc < 0)
		reply = json_pack("{s:b,s:s,s:s}", "ok", 0, "code", err_name(rc), "error", err.text);
	else
		reply = json_pack("{s:b,s:s*}", "ok", 1, "ifname", q.ifname);
	rc = msg_send(0, reply, &fd, fd >= 0 ? 1 : 0);
	json_decref(reply);
	json_decref(request);
	return rc < 0 ? 1 : 0;
}
