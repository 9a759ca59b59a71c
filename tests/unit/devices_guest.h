/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * devices_guest.h - a guest for the tests of the back ends: real event channels, grants and rings in a small domain, a store of a few
 * lines at the other end of the back-end channel, front ends made of the test.
 */
#ifndef HV_DEVICES_GUEST_H
#define HV_DEVICES_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <xen/grant_table.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/netif.h>
#include <linux/virtio_net.h>

#include "hypervisor/abi/evtchn.h"
#include "hypervisor/devices/devices.h"
#include "lib/buf.h"
#include "lib/proto/hv_disk.h"
#include "lib/proto/store.h"

struct t {
	struct domain *d;
	struct io_loop *l;
	struct devices *ds;
	int be, store, console, tap, remote, disk;       /* the test's ends */
	uint8_t *bounce;
	uint32_t next_ref;
	uint64_t next_page;
	struct blkif_sring *ring;
	struct blkif_front_ring front;
	uint32_t blk_port;
};

/* A domain with store, console, a disk (behind hv-disk: iscsi) and an interface, started. */
struct t *setup(bool iscsi);
void teardown(struct t *t);
void devices_make(struct t *t, bool iscsi);
void ends_close(struct t *t);
int disk_file(void);
void pair(int *ours, int *theirs);

/* The store. */
char *store_get(const char *path);
void store_set(const char *path, const char *value);
bool is_watched(const char *path);
void store_watches_forget(void);
void front_write(struct t *t, const char *path, const char *value);

/* Until nothing has happened for some rounds. */
void pump(struct t *t);
/* What a vCPU's evtchn_send comes to; kick: and all that follows from it. */
void notify(struct t *t, uint32_t port);
void kick(struct t *t, uint32_t port);
bool pending(struct t *t, uint32_t port);

/* Memory and grants. */
void *page_of(struct t *t, uint64_t mfn);
struct grant_entry_v1 *grant(struct t *t, uint32_t ref);
uint32_t give(struct t *t, uint8_t **page, bool readonly);
bool grants_released(struct t *t);

/* devices_drain's callback. */
extern int drain_rc;
void drained(void *arg, int rc);

/* The store ring and its channel. */
struct xenstore_domain_interface *xs_ring(struct t *t);
void guest_puts(struct t *t, const void *p, size_t n);
size_t guest_gets(struct t *t, void *p, size_t want);
size_t message(uint8_t *m, uint32_t type, uint32_t id, size_t body);
struct store_hdr channel_take(struct t *t, uint8_t *m);
void channel_put(struct t *t, uint32_t kind, uint64_t seq, const uint8_t *m, size_t n);

/* Disks.  blk_io: one request, and its answer's status. */
void blk_connect(struct t *t);
struct blkif_request *blk_next(struct t *t);
void blk_push(struct t *t);
int blk_status(struct t *t);
int blk_io(struct t *t, uint8_t op, uint64_t sector, uint32_t ref, uint8_t first, uint8_t last, uint8_t nr);
unsigned remote_answer(struct t *t);
void blk_put_writes(struct t *t, uint32_t ref, unsigned n);
void blk_again(struct t *t);

/* Network. */
struct net { struct netif_tx_sring *tx; struct netif_rx_sring *rx; RING_IDX tx_prod, rx_prod; uint32_t port; uint8_t *txp[4], *rxp[20]; uint32_t txref[4]; };
#define UDP_FRAME 46
extern const uint8_t udp_frame[UDP_FRAME];
void net_connect(struct t *t, struct net *n);
void net_post(struct t *t, struct net *n, unsigned count);
void net_send(struct t *t, struct net *n, struct netif_tx_request r);
void tap_write(struct t *t, const struct virtio_net_hdr *h, const uint8_t *frame, size_t n);

#endif
