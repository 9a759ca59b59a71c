/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device_priv.h - what the back ends of one domain share: the ports they listen to, the store client, the life cycle.
 */
#ifndef HV_DEVICE_PRIV_H
#define HV_DEVICE_PRIV_H

#include "hypervisor/devices/devices.h"
#include "hypervisor/devices/xs_client.h"
#include "lib/buf.h"

#define DEVICES_MAX_PORTS 64
#define DEVICES_MAX_VBD 16
#define DEVICES_MAX_VIF 8

/* A port of the guest that a back end listens to.  port 0: free. */
struct port_slot {
	_Atomic uint32_t port;
	atomic_bool pending;
	atomic_bool direct;                   /* devices_port_direct */
	io_fn *fn;
	void *arg;
};

struct store_ring;
struct console_ring;
struct vbd;
struct vif;
struct blk_pool;
struct blk_remote;

struct devices {
	struct domain *d;
	struct io_loop *loop;
	struct io_wake *wake;
	struct port_slot ports[DEVICES_MAX_PORTS];

	struct xs_client *be;                 /* the back-end channel to xenstored */
	struct store_ring *store;
	struct console_ring *console;
	struct vbd *vbd[DEVICES_MAX_VBD];
	unsigned nr_vbd;
	struct vif *vif[DEVICES_MAX_VIF];
	unsigned nr_vif;
	struct blk_pool *pool;                /* threads for files and block devices */
	struct blk_remote *remote;            /* hv-disk */

	bool loaded;                          /* state came from devices_load: ports are connected already */
	bool started;
	bool activated;
	bool draining;                        /* from devices_drain to devices_resume */
	bool flushing;                        /* the drain's flushes are submitted */
	uint64_t log_window_ns;               /* devices_may_log */
	unsigned logged;
	devices_drained_fn *drained;
	void *drained_arg;
};

/* May guest memory be touched and the store be talked to? */
static inline bool devices_serving(const struct devices *ds) { return ds->started && !ds->draining; }

/* fn(arg) on the loop after each notification of the port.  Slot number or -ENOSPC. */
int devices_port_listen(struct devices *ds, uint32_t port, io_fn *fn, void *arg);
void devices_port_forget(struct devices *ds, int slot);         /* -1 is fine */
/* fn may run on the thread of the vCPU that signals, too, between io_loop_enter() and io_loop_leave(): it waits for nothing. */
void devices_port_direct(struct devices *ds, int slot);
/* fn once more, after the others have had their turn. */
void devices_port_again(struct devices *ds, int slot);

/* A request in flight came to its end: the drain may be complete. */
void devices_drain_progress(struct devices *ds);

/* A few lines every ten seconds for what a guest can cause at will. */
bool devices_may_log(struct devices *ds);

/* The guest's frame was written by us: dirty log and translations. */
static inline void device_frame_written(struct domain *d, uint64_t mfn)
{
	domain_mark_dirty(d, mfn);
	if (d->engine && d->engine->frame_written)
		d->engine->frame_written(d, mfn);
}

/* ---- the guest's store ring (store_ring.c) ---- */
struct store_ring *store_ring_create(struct devices *ds);
void store_ring_destroy(struct store_ring *s);
void store_ring_set_channel(struct store_ring *s, int fd);      /* takes fd over */
int store_ring_start(struct store_ring *s);
void store_ring_serve(struct store_ring *s);
void store_ring_quiet(struct store_ring *s, bool quiet);        /* leave channel and ring alone */
int store_ring_save(struct store_ring *s, struct buf *out);
int store_ring_load(struct store_ring *s, struct reader *r);    /* into one just created; 0 or -EINVAL, -ENOMEM */

/* ---- console (console_ring.c) ---- */
struct console_ring *console_ring_create(struct devices *ds);
void console_ring_destroy(struct console_ring *c);
void console_ring_set_channel(struct console_ring *c, int fd);
int console_ring_start(struct console_ring *c);
void console_ring_serve(struct console_ring *c);
void console_ring_quiet(struct console_ring *c, bool quiet);
int console_ring_save(struct console_ring *c, struct buf *out);
int console_ring_load(struct console_ring *c, struct reader *r);
void console_ring_early(struct console_ring *c, const char *s, size_t n);  /* any thread */

/* ---- a device on xenbus (xenbus_back.c) ---- */

#define XB_MAX_KEYS 12
#define XB_VALUE_MAX 64

struct xb_dev;
struct xb_ops {
	const char *type;                    /* "vbd", "vif" */
	unsigned connect_at;                 /* the front end's state from which connect() is called */
	const char *const *keys;             /* what connect() wants to know of the front end; NULL-terminated, at most XB_MAX_KEYS */
	void (*announce)(struct xb_dev *x);  /* writes features (xb_write) before InitWait */
	/* values[i] belongs to keys[i]; NULL: absent.  Writes what comes before Connected.  0, or -errno: the device closes */
	int (*connect)(struct xb_dev *x, const char *const *values);
	void (*connected)(struct xb_dev *x); /* Connected is written: begin to serve */
	void (*disconnect)(struct xb_dev *x);
};

struct xb_dev {
	struct devices *ds;
	const struct xb_ops *ops;
	unsigned devid;
	unsigned state;                      /* ours, enum xenbus_state */
	unsigned frontend;                   /* the front end's, as last read */
	bool connected;
	char fe[64], be[64];                 /* paths */

	struct xb_gather *gather;            /* the connect under way */
	bool reading, read_again;            /* its state is being read; it changed meanwhile */
};

void xb_init(struct xb_dev *x, struct devices *ds, const struct xb_ops *ops, unsigned devid);
void xb_fini(struct xb_dev *x);
void xb_disconnect(struct xb_dev *x);
int xb_start(struct xb_dev *x);                                 /* sets the watch; everything else follows from it */
void xb_write(struct xb_dev *x, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A number that is the whole of the value; false when it is none or above max. */
bool xb_number(const char *value, uint64_t max, uint64_t *ret);

/* ---- disks (vbd.c) ---- */
struct vbd *vbd_create(struct devices *ds, const struct device_disk *c);
void vbd_destroy(struct vbd *v);
const char *vbd_vdev(const struct vbd *v);
unsigned vbd_devid(const struct vbd *v);
bool vbd_is_iscsi(const struct vbd *v);
bool vbd_is_connected(const struct vbd *v);
unsigned vbd_iscsi_index(const struct vbd *v);
void vbd_iscsi_removed(struct vbd *v, unsigned index);           /* the one with that index is gone: its own may change */
void vbd_stop(struct vbd *v);                                    /* takes no further request */
int vbd_start(struct vbd *v);
void vbd_set_fd(struct vbd *v, int fd);
void vbd_serve(struct vbd *v);
unsigned vbd_in_flight(const struct vbd *v);
uint64_t vbd_oldest_ns(const struct vbd *v);                    /* when the oldest request in flight was begun; UINT64_MAX: none is */
void vbd_flush_all(struct vbd *v);                               /* for the drain; ends in devices_drain_progress */
void vbd_kick(struct vbd *v);
void vbd_release(struct vbd *v);
int vbd_save(struct vbd *v, struct buf *out);
int vbd_load(struct vbd *v, struct reader *r);
void vbd_stats(const struct vbd *v, struct devices_stat *sum);

/* ---- network interfaces (vif.c) ---- */
struct vif *vif_create(struct devices *ds, const struct device_vif *c);
void vif_destroy(struct vif *v);
unsigned vif_devid(const struct vif *v);
bool vif_is_connected(const struct vif *v);
int vif_start(struct vif *v);
void vif_set_tap(struct vif *v, int fd);
void vif_serve(struct vif *v);
void vif_quiet(struct vif *v, bool quiet);
void vif_kick(struct vif *v);
void vif_announce(struct vif *v);                                /* where the guest is, from now for a few seconds */
void vif_release(struct vif *v);
int vif_save(struct vif *v, struct buf *out);
int vif_load(struct vif *v, struct reader *r);
void vif_stats(const struct vif *v, struct devices_stat *sum);

#endif
