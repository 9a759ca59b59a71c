/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * devices.h - a domain's back ends as hv-domain sees them: store ring, console, disks, network interfaces.
 *
 * Every function but devices_notify(), devices_turn() and devices_console_write() is called on the I/O loop's thread.
 *
 * Life on a fresh domain:
 *   devices_create; devices_add_store, _add_console, devices_add_disk/_add_vif for each of the config;
 *   devices_set_channel for "store", "store-be", "console" (and "disk:VDEV" for iSCSI);
 *   devices_activate (disks may be touched), devices_start (after the builder has set store_mfn, console_mfn and ports).
 * On the target of a move: create, add..., devices_load (instead of start), set_channel; then devices_activate and
 *   devices_start once the copy is to run.  Taps may come late, too ("tap:N").
 * Once started, devices_add_disk/_add_vif begin to serve at once, and devices_remove_* take away (the store's nodes are the
 *   caller's: the device waits for them to appear, and they go after it).
 * Before a pause: vCPUs stop, then devices_drain(cb); cb says that no request is in flight, everything completed is flushed and
 *   guest memory is quiet; then devices_save.  devices_resume goes on where drain stopped.
 */
#ifndef HV_DEVICES_H
#define HV_DEVICES_H

#include "hypervisor/abi/abi.h"
#include "hypervisor/devices/io_loop.h"

struct buf;
struct devices;

/* What a disk of the domain's configuration comes to.  Strings are copied. */
struct device_disk {
	char vdev[16];               /* "xvda" */
	bool readonly;
	bool iscsi;                  /* served through hv-disk: channel "disk:VDEV", bounce_fd below */
	int fd;                      /* file, phy: opened by the storage helper; -1 until devices_set_channel("disk:VDEV").  Taken over */
	uint64_t sectors;            /* of 512 octets */
	uint32_t sector_size;        /* logical: 512 or 4096 */
	unsigned iscsi_index;        /* position among the domain's iSCSI disks */
	char params[256];            /* for `params` in the store and for messages */
};

struct device_vif {
	unsigned devid;
	uint8_t mac[6];
	unsigned mtu;
	int tap_fd;                  /* non-blocking, IFF_TAP|IFF_NO_PI|IFF_VNET_HDR; -1: later.  Taken over */
	char bridge[16];
};

/* d lives longer than the devices.  Sets d->evtchn_notify_backend, d->evtchn_backend_turn and d->console_write.  NULL: errno. */
struct devices *devices_create(struct domain *d, struct io_loop *l);
void devices_destroy(struct devices *ds);

/* 0 or -errno (-EEXIST, -ENOSPC, -EINVAL for a vdev that is none). */
int devices_add_store(struct devices *ds);
int devices_add_console(struct devices *ds);
int devices_add_disk(struct devices *ds, const struct device_disk *c);
int devices_add_vif(struct devices *ds, const struct device_vif *c);

/*
 * Takes a device away: -EBUSY while the front end is connected, unless forced (the front end then talks to nobody); -EAGAIN while
 * requests of it are in flight, or of an iSCSI disk while hv-disk is connected: ask again; -ENOENT.  The iSCSI disks behind it move up.
 */
int devices_remove_disk(struct devices *ds, const char *vdev, bool force);
int devices_remove_vif(struct devices *ds, unsigned devid, bool force);
bool devices_have_iscsi(const struct devices *ds);

/*
 * (Re)connects one of the channels; kind is "store", "store-be", "console", "disk:VDEV", "tap:N" or "iscsi" (fd: data
 * channel, fd2: bounce memfd; one for all iSCSI disks).  fd2 is -1 otherwise.  Takes the descriptors over, also on error.
 * -ENOENT: no such device.
 */
int devices_set_channel(struct devices *ds, const char *kind, int fd, int fd2);

/* Disks may be read and written from here on.  Before, requests stay in the rings. */
void devices_activate(struct devices *ds);

/* Serve: attaches to the store's and console's ports, sets watches, announces the vifs' addresses. */
int devices_start(struct devices *ds);

/*
 * Stop serving; cb(arg, 0) once nothing is in flight (perhaps before drain returns).  With a lost disk that may take for
 * ever: devices_resume() takes it back (cb(arg, -ECANCELED) if still owed).  One drain at a time.
 */
typedef void devices_drained_fn(void *arg, int rc);
void devices_drain(struct devices *ds, devices_drained_fn *cb, void *arg);
void devices_resume(struct devices *ds);      /* serve again, and kick every port once */

/* How long the oldest request to a disk has been without an answer, and to which (size octets at ret_vdev); 0: none is. */
uint64_t devices_waiting_ns(const struct devices *ds, char *ret_vdev, size_t size);

/*
 * Closes the disks of a drained domain (the move's `released`).  Its taps stay: nothing passes them while it stands still, and closing
 * one takes the kernel a grace period that the guest would wait for.
 */
void devices_release(struct devices *ds);
void devices_release_taps(struct devices *ds);

/* State of all devices, of a drained domain.  After load failed (-EINVAL, -ENOMEM) the devices are fit for devices_destroy alone. */
int devices_save(struct devices *ds, struct buf *out);
int devices_load(struct devices *ds, const void *p, size_t n);

/*
 * d->evtchn_notify_backend, d->console_write: any thread, never block.  devices_turn() is d->evtchn_backend_turn, for a vCPU's thread
 * after a devices_notify() that came true: serves what may be served there, without waiting for a lock, another thread or a disk.
 */
bool devices_notify(struct domain *d, uint32_t port);
void devices_turn(struct domain *d);
void devices_console_write(struct domain *d, const char *s, size_t n);

/* Sums over all disks and vifs since the domain came to this process. */
struct devices_stat { uint64_t rd_req, wr_req, rd_sectors, wr_sectors, rx_bytes, tx_bytes, rx_packets, tx_packets; };
void devices_stats(struct devices *ds, struct devices_stat *ret_sum);

#endif
