/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenbus_back.c - the back end's half of the xenbus handshake (xen/io/xenbus.h), for disks and network interfaces alike.
 *
 *   front end's state (watched)        what the back end does                         its state then
 *   Initialising                       writes its features                            InitWait
 *   Initialised or Connected           reads the front end's keys, connects           Connected
 *   Closing                            serves on: who has the device open still may   Closing
 *   Closed, or gone                    disconnects                                    Closed
 *
 * After a move the device is connected before the watch is set; the watch then finds nothing to do.
 */
#include "hypervisor/devices/device_priv.h"

#include "lib/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xen/io/xenbus.h>

/* The keys of one connect under way, arriving one by one. */
struct xb_gather {
	struct xb_dev *x;
	unsigned nr, got;
	bool stale;                          /* the front end moved on: drop it when complete */
	struct gather_key { struct xb_gather *g; bool present; char value[XB_VALUE_MAX]; } key[XB_MAX_KEYS];
};

void xb_write(struct xb_dev *x, const char *key, const char *fmt, ...)
{
	char path[160], value[512];
	va_list ap;

	snprintf(path, sizeof(path), "%s/%s", x->be, key);
	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (xs_client_write(x->ds->be, path, value) < 0)
		log_err("domain %u: out of memory writing %s", x->ds->d->domid, path);
}

bool xb_number(const char *value, uint64_t max, uint64_t *ret)
{
	char *end;
	uint64_t n;

	if (!value || value[0] < '0' || value[0] > '9')
		return false;
	errno = 0;
	n = strtoull(value, &end, 10);
	if (*end || errno || n > max)
		return false;
	*ret = n;
	return true;
}

static void set_state(struct xb_dev *x, unsigned state)
{
	x->state = state;
	xb_write(x, "state", "%u", state);
}

static void disconnect(struct xb_dev *x)
{
	if (x->gather) {
		x->gather->stale = true;
		x->gather = NULL;
	}
	if (!x->connected)
		return;
	x->connected = false;
	x->ops->disconnect(x);
}

/* ---- connect: read the keys, then try ---- */

static void gather_complete(struct xb_gather *g)
{
	const char *values[XB_MAX_KEYS] = { NULL };
	struct xb_dev *x = g->x;
	int rc;

	x->gather = NULL;
	for (unsigned i = 0; i < g->nr; i++)
		values[i] = g->key[i].present ? g->key[i].value : NULL;
	rc = x->ops->connect(x, values);
	if (rc == 0) {
		x->connected = true;
		set_state(x, XenbusStateConnected);
		x->ops->connected(x);
		return;
	}
	if (devices_may_log(x->ds))
		log_warn("domain %u: %s %u: the front end's keys do not describe a connection: %s", x->ds->d->domid,
			 x->ops->type, x->devid, strerror(-rc));
	xb_write(x, "error", "%d connecting: %s", -rc, strerror(-rc));
	set_state(x, XenbusStateClosing);
}

static void key_read(void *arg, int err, const char *data, size_t len)
{
	struct gather_key *k = arg;
	struct xb_gather *g = k->g;

	if (!err && len < sizeof(k->value) && strlen(data) == len) {
		memcpy(k->value, data, len + 1);
		k->present = true;
	}
	if (++g->got < g->nr)
		return;
	if (!g->stale)
		gather_complete(g);
	free(g);
}

static void connect_begin(struct xb_dev *x)
{
	struct xb_gather *g;
	char path[160];

	if (x->connected || x->gather || x->state != XenbusStateInitWait)
		return;
	g = calloc(1, sizeof(*g));
	if (!g)
		return;
	g->x = x;
	while (x->ops->keys[g->nr])
		g->nr++;
	x->gather = g;
	for (unsigned i = 0; i < g->nr; i++) {
		g->key[i].g = g;
		snprintf(path, sizeof(path), "%s/%s", x->fe, x->ops->keys[i]);
		if (xs_client_read(x->ds->be, path, key_read, &g->key[i]) < 0)
			g->got++;
	}
	if (g->got < g->nr)
		return;
	x->gather = NULL;
	free(g);
}

/* ---- the front end's state ---- */

static void frontend_changed(struct xb_dev *x)
{
	switch (x->frontend) {
	case XenbusStateInitialising:
		if (x->state == XenbusStateInitWait)
			break;
		disconnect(x);
		x->ops->announce(x);
		set_state(x, XenbusStateInitWait);
		break;
	case XenbusStateInitialised:
	case XenbusStateConnected:
		if (x->frontend >= x->ops->connect_at)
			connect_begin(x);
		break;
	case XenbusStateClosing:
		if (x->state != XenbusStateClosing)
			set_state(x, XenbusStateClosing);
		break;
	case XenbusStateUnknown:                           /* the toolstack removed it: write nothing that it removed */
		disconnect(x);
		x->state = XenbusStateUnknown;
		break;
	case XenbusStateClosed:
		disconnect(x);
		if (x->state != XenbusStateClosed)
			set_state(x, XenbusStateClosed);
		break;
	default:
		break;
	}
}

static void state_event(void *arg);

static void state_read(void *arg, int err, const char *data, size_t len)
{
	struct xb_dev *x = arg;
	uint64_t n = XenbusStateUnknown;

	x->reading = false;
	/* a guest's nonsense changes nothing */
	if (err ? err == ENOENT : xb_number(data, XenbusStateReconfigured, &n)) {
		x->frontend = (unsigned)n;
		frontend_changed(x);
	}
	if (x->read_again)
		state_event(x);
}

/* One read at a time, behind the writes of the last change: a guest that flips its state makes no queue here. */
static void state_event(void *arg)
{
	struct xb_dev *x = arg;
	char path[160];

	x->read_again = x->reading;
	if (x->reading)
		return;
	x->reading = true;
	snprintf(path, sizeof(path), "%s/state", x->fe);
	if (xs_client_read(x->ds->be, path, state_read, x) == 0)
		return;
	x->reading = false;
	log_err("domain %u: out of memory reading %s", x->ds->d->domid, path);
}

void xb_init(struct xb_dev *x, struct devices *ds, const struct xb_ops *ops, unsigned devid)
{
	x->ds = ds;
	x->ops = ops;
	x->devid = devid;
	x->state = XenbusStateInitialising;
	snprintf(x->fe, sizeof(x->fe), "/local/domain/%u/device/%s/%u", ds->d->domid, ops->type, devid);
	snprintf(x->be, sizeof(x->be), "/local/domain/0/backend/%s/%u/%u", ops->type, ds->d->domid, devid);
}

int xb_start(struct xb_dev *x)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/state", x->fe);
	return xs_client_watch(x->ds->be, path, state_event, x);
}

void xb_disconnect(struct xb_dev *x) { disconnect(x); }

/* Nothing answers to x any more. */
void xb_fini(struct xb_dev *x)
{
	if (x->ds->be)
		xs_client_forget(x->ds->be, x);
	disconnect(x);
}
