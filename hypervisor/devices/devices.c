/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * devices.c - the life cycle of a domain's back ends, the ports they listen to, their image.
 *
 *   created --start--> serving --drain--> draining --(nothing in flight, flushed)--> drained --save, release
 *                         ^                   |                                        |
 *                         +------resume-------+----------------------------------------+
 */
#include "hypervisor/devices/device_priv.h"
#include "hypervisor/devices/blk_pool.h"
#include "hypervisor/devices/blk_remote.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL_THREADS 4

/* Record types of the devices' image (docs/specs/image.md). */
enum { DEVICE_STORE = 1, DEVICE_CONSOLE, DEVICE_VBD, DEVICE_VIF };

/* ---- ports ---- */

int devices_port_listen(struct devices *ds, uint32_t port, io_fn *fn, void *arg)
{
	if (!port)
		return -EINVAL;
	for (int i = 0; i < DEVICES_MAX_PORTS; i++)
		if (!atomic_load(&ds->ports[i].port)) {
			ds->ports[i].fn = fn;
			ds->ports[i].arg = arg;
			atomic_store(&ds->ports[i].direct, false);
			atomic_store(&ds->ports[i].pending, true);     /* what the guest signalled before we listened */
			atomic_store(&ds->ports[i].port, port);
			io_wake_ring(ds->wake);
			return i;
		}
	return -ENOSPC;
}

void devices_port_forget(struct devices *ds, int slot)
{
	if (slot >= 0)
		atomic_store(&ds->ports[slot].port, 0);
}

void devices_port_again(struct devices *ds, int slot)
{
	atomic_store(&ds->ports[slot].pending, true);
	io_wake_ring(ds->wake);
}

void devices_port_direct(struct devices *ds, int slot)
{
	atomic_store(&ds->ports[slot].direct, true);
}

/* A vCPU is not to stand still in the loop's lock for a page that is still to come. */
bool devices_notify(struct domain *d, uint32_t port)
{
	struct devices *ds = d->devices;

	for (int i = 0; i < DEVICES_MAX_PORTS; i++) {
		struct port_slot *p = &ds->ports[i];

		if (atomic_load(&p->port) != port)
			continue;
		if (atomic_exchange(&p->pending, true))
			return false;                  /* somebody is on the way to it */
		if (atomic_load(&p->direct) && !atomic_load(&d->pages_owed))
			return true;
		io_wake_ring(ds->wake);
		return false;
	}
	return false;
}

/* The vCPU that has signalled a disk serves it: nobody has to be woken, and it would wait for the answer anyway. */
void devices_turn(struct domain *d)
{
	struct devices *ds = d->devices;

	if (!io_loop_enter(ds->loop)) {
		io_wake_ring(ds->wake);
		return;
	}
	for (int i = 0; i < DEVICES_MAX_PORTS; i++) {
		struct port_slot *p = &ds->ports[i];

		if (atomic_load(&p->direct) && atomic_load(&p->port) && atomic_exchange(&p->pending, false))
			p->fn(p->arg);
	}
	io_loop_leave(ds->loop);
}

static void ports_serve(void *arg)
{
	struct devices *ds = arg;

	for (int i = 0; i < DEVICES_MAX_PORTS; i++)
		if (atomic_load(&ds->ports[i].port) && atomic_exchange(&ds->ports[i].pending, false))
			ds->ports[i].fn(ds->ports[i].arg);
}

void devices_console_write(struct domain *d, const char *s, size_t n)
{
	struct devices *ds = d->devices;

	if (ds->console)
		console_ring_early(ds->console, s, n);
}

bool devices_may_log(struct devices *ds)
{
	uint64_t now = monotonic_ns();

	if (now - ds->log_window_ns > 10000000000ull) {
		ds->log_window_ns = now;
		ds->logged = 0;
	}
	return ds->logged++ < 10;
}

/* ---- creation ---- */

struct devices *devices_create(struct domain *d, struct io_loop *l)
{
	struct devices *ds = calloc(1, sizeof(*ds));

	if (!ds)
		return NULL;
	ds->d = d;
	ds->loop = l;
	ds->wake = io_wake_add(l, ports_serve, ds);
	ds->be = xs_client_create(l);
	ds->remote = blk_remote_create(l);
	if (!ds->wake || !ds->be || !ds->remote) {
		devices_destroy(ds);
		errno = ENOMEM;
		return NULL;
	}
	d->devices = ds;
	d->evtchn_backend_turn = devices_turn;
	d->evtchn_notify_backend = devices_notify;
	d->console_write = devices_console_write;
	return ds;
}

void devices_destroy(struct devices *ds)
{
	if (!ds)
		return;
	xs_client_destroy(ds->be);
	ds->be = NULL;
	blk_pool_destroy(ds->pool);
	blk_remote_destroy(ds->remote);
	for (unsigned i = 0; i < ds->nr_vbd; i++)
		vbd_destroy(ds->vbd[i]);
	for (unsigned i = 0; i < ds->nr_vif; i++)
		vif_destroy(ds->vif[i]);
	store_ring_destroy(ds->store);
	console_ring_destroy(ds->console);
	io_wake_del(ds->wake);
	if (ds->d->devices == ds) {
		ds->d->evtchn_notify_backend = NULL;
		ds->d->evtchn_backend_turn = NULL;
		ds->d->console_write = NULL;
		ds->d->devices = NULL;
	}
	free(ds);
}

int devices_add_store(struct devices *ds)
{
	if (ds->store)
		return -EEXIST;
	ds->store = store_ring_create(ds);
	return ds->store ? 0 : -ENOMEM;
}

int devices_add_console(struct devices *ds)
{
	if (ds->console)
		return -EEXIST;
	ds->console = console_ring_create(ds);
	return ds->console ? 0 : -ENOMEM;
}

static struct vbd *find_vbd(struct devices *ds, const char *vdev)
{
	for (unsigned i = 0; i < ds->nr_vbd; i++)
		if (!strcmp(vbd_vdev(ds->vbd[i]), vdev))
			return ds->vbd[i];
	return NULL;
}

static struct vif *find_vif(struct devices *ds, unsigned devid)
{
	for (unsigned i = 0; i < ds->nr_vif; i++)
		if (vif_devid(ds->vif[i]) == devid)
			return ds->vif[i];
	return NULL;
}

int devices_add_disk(struct devices *ds, const struct device_disk *c)
{
	struct vbd *v;

	if (find_vbd(ds, c->vdev))
		return -EEXIST;
	if (ds->nr_vbd == DEVICES_MAX_VBD)
		return -ENOSPC;
	if (!c->iscsi && !ds->pool) {
		ds->pool = blk_pool_create(ds->loop, POOL_THREADS);
		if (!ds->pool)
			return -errno;
	}
	v = vbd_create(ds, c);
	if (!v)
		return -errno;
	ds->vbd[ds->nr_vbd++] = v;
	return ds->started ? vbd_start(v) : 0;
}

int devices_add_vif(struct devices *ds, const struct device_vif *c)
{
	struct vif *v;

	if (find_vif(ds, c->devid))
		return -EEXIST;
	if (ds->nr_vif == DEVICES_MAX_VIF)
		return -ENOSPC;
	v = vif_create(ds, c);
	if (!v)
		return -errno;
	ds->vif[ds->nr_vif++] = v;
	return ds->started ? vif_start(v) : 0;
}

int devices_remove_disk(struct devices *ds, const char *vdev, bool force)
{
	struct vbd *v = find_vbd(ds, vdev);
	unsigned i = 0;

	if (!v)
		return -ENOENT;
	if (!force && vbd_is_connected(v))
		return -EBUSY;
	vbd_stop(v);
	if (vbd_in_flight(v))
		return -EAGAIN;
	if (vbd_is_iscsi(v) && blk_remote_remove(ds->remote, vbd_iscsi_index(v)) < 0)
		return -EAGAIN;
	while (ds->vbd[i] != v)
		i++;
	memmove(&ds->vbd[i], &ds->vbd[i + 1], (--ds->nr_vbd - i) * sizeof(ds->vbd[0]));
	for (i = 0; vbd_is_iscsi(v) && i < ds->nr_vbd; i++)
		vbd_iscsi_removed(ds->vbd[i], vbd_iscsi_index(v));
	vbd_destroy(v);
	return 0;
}

bool devices_have_iscsi(const struct devices *ds)
{
	for (unsigned i = 0; i < ds->nr_vbd; i++)
		if (vbd_is_iscsi(ds->vbd[i]))
			return true;
	return false;
}

int devices_remove_vif(struct devices *ds, unsigned devid, bool force)
{
	struct vif *v = find_vif(ds, devid);
	unsigned i = 0;

	if (!v)
		return -ENOENT;
	if (!force && vif_is_connected(v))
		return -EBUSY;
	while (ds->vif[i] != v)
		i++;
	memmove(&ds->vif[i], &ds->vif[i + 1], (--ds->nr_vif - i) * sizeof(ds->vif[0]));
	vif_destroy(v);
	return 0;
}

/* ---- channels ---- */

static void serve_all(struct devices *ds)
{
	if (ds->store)
		store_ring_serve(ds->store);
	if (ds->console)
		console_ring_serve(ds->console);
	for (unsigned i = 0; i < ds->nr_vbd; i++)
		vbd_serve(ds->vbd[i]);
	for (unsigned i = 0; i < ds->nr_vif; i++)
		vif_serve(ds->vif[i]);
}

static int set_disk(struct devices *ds, const char *vdev, int fd)
{
	struct vbd *v = find_vbd(ds, vdev);

	if (!v || vbd_is_iscsi(v))
		return -ENOENT;
	vbd_set_fd(v, fd);
	return 0;
}

static int set_tap(struct devices *ds, const char *devid, int fd)
{
	uint64_t n;
	struct vif *v = xb_number(devid, UINT32_MAX, &n) ? find_vif(ds, (unsigned)n) : NULL;

	if (!v)
		return -ENOENT;
	vif_set_tap(v, fd);
	return 0;
}

/* 0: fd was taken over; -errno: the caller closes it. */
static int set_channel(struct devices *ds, const char *kind, int fd)
{
	if (!strcmp(kind, "store-be"))
		xs_client_set_channel(ds->be, fd);
	else if (!strcmp(kind, "store") && ds->store)
		store_ring_set_channel(ds->store, fd);
	else if (!strcmp(kind, "console") && ds->console)
		console_ring_set_channel(ds->console, fd);
	else if (!strncmp(kind, "disk:", 5))
		return set_disk(ds, kind + 5, fd);
	else if (!strncmp(kind, "tap:", 4))
		return set_tap(ds, kind + 4, fd);
	else
		return -ENOENT;
	return 0;
}

int devices_set_channel(struct devices *ds, const char *kind, int fd, int fd2)
{
	int rc;

	if (!strcmp(kind, "iscsi") && fd2 >= 0) {
		rc = blk_remote_set_channel(ds->remote, fd, fd2);
		serve_all(ds);
		return rc;
	}
	if (fd2 >= 0)
		close(fd2);
	rc = set_channel(ds, kind, fd);
	if (rc < 0)
		close(fd);
	return rc;
}

/* ---- serving ---- */

void devices_activate(struct devices *ds)
{
	ds->activated = true;
	serve_all(ds);
}

int devices_start(struct devices *ds)
{
	int rc = 0;

	if (ds->started)
		return -EALREADY;
	if (ds->store)
		rc = store_ring_start(ds->store);
	if (rc == 0 && ds->console)
		rc = console_ring_start(ds->console);
	for (unsigned i = 0; rc == 0 && i < ds->nr_vbd; i++)
		rc = vbd_start(ds->vbd[i]);
	for (unsigned i = 0; rc == 0 && i < ds->nr_vif; i++)
		rc = vif_start(ds->vif[i]);
	if (rc < 0)
		return rc;
	ds->started = true;
	ds->draining = true;
	devices_resume(ds);
	for (unsigned i = 0; i < ds->nr_vif; i++)
		vif_announce(ds->vif[i]);
	return 0;
}

static void quiet_all(struct devices *ds, bool quiet)
{
	xs_client_quiet(ds->be, quiet);
	if (ds->store)
		store_ring_quiet(ds->store, quiet);
	if (ds->console)
		console_ring_quiet(ds->console, quiet);
	for (unsigned i = 0; i < ds->nr_vif; i++)
		vif_quiet(ds->vif[i], quiet);
}

static unsigned in_flight(const struct devices *ds)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ds->nr_vbd; i++)
		n += vbd_in_flight(ds->vbd[i]);
	return n;
}

uint64_t devices_waiting_ns(const struct devices *ds, char *ret_vdev, size_t size)
{
	uint64_t oldest = UINT64_MAX, at, now = monotonic_ns();

	for (unsigned i = 0; i < ds->nr_vbd; i++) {
		at = vbd_oldest_ns(ds->vbd[i]);
		if (at >= oldest)
			continue;
		oldest = at;
		snprintf(ret_vdev, size, "%s", vbd_vdev(ds->vbd[i]));
	}
	return oldest < now ? now - oldest : 0;
}

static void drained_call(struct devices *ds, int rc)
{
	devices_drained_fn *cb = ds->drained;

	ds->drained = NULL;
	if (cb)
		cb(ds->drained_arg, rc);
}

void devices_drain_progress(struct devices *ds)
{
	if (!ds->draining || !ds->drained || in_flight(ds))
		return;
	if (!ds->flushing) {
		ds->flushing = true;
		for (unsigned i = 0; i < ds->nr_vbd; i++)
			vbd_flush_all(ds->vbd[i]);
		if (in_flight(ds))
			return;
	}
	drained_call(ds, 0);
}

void devices_drain(struct devices *ds, devices_drained_fn *cb, void *arg)
{
	ds->draining = true;
	ds->flushing = false;
	ds->drained = cb;
	ds->drained_arg = arg;
	quiet_all(ds, true);
	devices_drain_progress(ds);
}

void devices_resume(struct devices *ds)
{
	if (!ds->draining || !ds->started)
		return;
	ds->draining = false;
	drained_call(ds, -ECANCELED);
	quiet_all(ds, false);
	if (ds->store)
		evtchn_raise(ds->d, ds->d->store_port);
	if (ds->console)
		evtchn_raise(ds->d, ds->d->console_port);
	for (unsigned i = 0; i < ds->nr_vbd; i++)
		vbd_kick(ds->vbd[i]);
	for (unsigned i = 0; i < ds->nr_vif; i++)
		vif_kick(ds->vif[i]);
	serve_all(ds);
}

void devices_release(struct devices *ds)
{
	ds->activated = false;
	for (unsigned i = 0; i < ds->nr_vbd; i++)
		vbd_release(ds->vbd[i]);
}

void devices_release_taps(struct devices *ds)
{
	for (unsigned i = 0; i < ds->nr_vif; i++)
		vif_release(ds->vif[i]);
}

void devices_stats(struct devices *ds, struct devices_stat *ret_sum)
{
	memset(ret_sum, 0, sizeof(*ret_sum));
	for (unsigned i = 0; i < ds->nr_vbd; i++)
		vbd_stats(ds->vbd[i], ret_sum);
	for (unsigned i = 0; i < ds->nr_vif; i++)
		vif_stats(ds->vif[i], ret_sum);
}

/* ---- image ---- */

int devices_save(struct devices *ds, struct buf *out)
{
	size_t h;
	int rc = 0;

	if (ds->started && (!ds->draining || ds->drained || in_flight(ds)))
		return -EBUSY;
	if (ds->store) {
		h = record_begin(out, DEVICE_STORE);
		rc = store_ring_save(ds->store, out);
		record_end(out, h);
	}
	if (rc == 0 && ds->console) {
		h = record_begin(out, DEVICE_CONSOLE);
		rc = console_ring_save(ds->console, out);
		record_end(out, h);
	}
	for (unsigned i = 0; rc == 0 && i < ds->nr_vbd; i++) {
		h = record_begin(out, DEVICE_VBD);
		rc = vbd_save(ds->vbd[i], out);
		record_end(out, h);
	}
	for (unsigned i = 0; rc == 0 && i < ds->nr_vif; i++) {
		h = record_begin(out, DEVICE_VIF);
		rc = vif_save(ds->vif[i], out);
		record_end(out, h);
	}
	return rc < 0 ? rc : buf_ok(out) ? 0 : -ENOMEM;
}

static int load_vbd(struct devices *ds, struct reader *r)
{
	uint32_t devid = reader_u32(r);

	for (unsigned i = 0; i < ds->nr_vbd; i++)
		if (vbd_devid(ds->vbd[i]) == devid)
			return vbd_load(ds->vbd[i], r);
	return -EINVAL;
}

static int load_vif(struct devices *ds, struct reader *r)
{
	struct vif *v = find_vif(ds, reader_u32(r));

	return v ? vif_load(v, r) : -EINVAL;
}

static int load_record(struct devices *ds, uint32_t type, struct reader *body)
{
	switch (type) {
	case DEVICE_STORE:
		return ds->store ? store_ring_load(ds->store, body) : -EINVAL;
	case DEVICE_CONSOLE:
		return ds->console ? console_ring_load(ds->console, body) : -EINVAL;
	case DEVICE_VBD:
		return load_vbd(ds, body);
	case DEVICE_VIF:
		return load_vif(ds, body);
	default:
		return type & RECORD_OPTIONAL ? 0 : -EINVAL;
	}
}

int devices_load(struct devices *ds, const void *p, size_t n)
{
	struct reader r, body;
	uint32_t type;
	int rc;

	if (ds->started || ds->loaded)
		return -EALREADY;
	ds->loaded = true;
	reader_init(&r, p, n);
	while ((rc = record_next(&r, &type, &body)) > 0) {
		rc = load_record(ds, type, &body);
		if (rc < 0)
			return rc;
	}
	return rc;
}
