/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vif.c - the network back end: xen/io/netif.h, one queue, a tap with virtio-net headers behind it.
 *
 * Frames are copied, both ways: what was checked is what is sent, and only this process writes guest memory.  The tap's virtio-net
 * header carries what the ring says about checksums and segmentation (include/uapi/linux/virtio_net.h), so that large sends
 * cross as one frame.  A frame from the wire waits here until the guest has posted room for it; the tap's queue is where
 * the rest waits, and overflows.
 */
#include "hypervisor/devices/device_priv.h"
#include "hypervisor/devices/netpkt.h"

#include "lib/log.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/io/netif.h>

#define VIF_RING 256u
#define VIF_MAX_SLOTS 18u                      /* of a frame; netif.h: XEN_NETIF_NR_SLOTS_MIN */
#define VIF_MAX_EXTRAS 4u
#define VIF_FRAME_MAX 65536u
#define VIF_BATCH 64                           /* frames a turn, so that disks get theirs */

_Static_assert(sizeof(union netif_tx_sring_entry) == 12, "netif_tx ring entry");
_Static_assert(sizeof(union netif_rx_sring_entry) == 8, "netif_rx ring entry");
_Static_assert(sizeof(struct netif_extra_info) == 8, "netif_extra_info");

struct vif {
	struct xb_dev x;
	struct device_vif conf;
	struct io_fd *tap;
	struct io_timer *announce_timer;
	unsigned announce_round;

	struct netif_tx_sring *tx;
	struct netif_rx_sring *rx;
	uint32_t tx_ref, rx_ref, tx_port, rx_port;
	uint64_t tx_mfn, rx_mfn;
	int tx_slot, rx_slot;
	RING_IDX tx_cons, tx_rsp, rx_cons, rx_rsp;
	bool broken;
	uint8_t features;                        /* FE_* of the front end */

	struct netpkt_addrs addrs;
	size_t rx_len;                           /* a frame (with its header) that waits for room; 0: none */
	uint8_t rx_buf[sizeof(struct virtio_net_hdr) + VIF_FRAME_MAX];
	uint8_t tx_buf[sizeof(struct virtio_net_hdr) + VIF_FRAME_MAX];
	uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets;
};

enum { FE_SG = 1, FE_GSO4 = 2, FE_GSO6 = 4, FE_NO_CSUM4 = 8, FE_CSUM6 = 16 };

static struct vif *vif_of(struct xb_dev *x) { return (struct vif *)x; }
_Static_assert(__builtin_offsetof(struct vif, x) == 0, "vif_of");

static bool vif_may_serve(const struct vif *v)
{
	return v->x.connected && !v->broken && devices_serving(v->x.ds);
}

static void vif_break(struct vif *v, const char *why)
{
	if (devices_may_log(v->x.ds))
		log_warn("domain %u: vif %u: %s; the interface stops until it is connected anew", v->x.ds->d->domid, v->conf.devid, why);
	v->broken = true;
}

/* ---- guest to wire ---- */

struct tx_packet {
	unsigned nr_slots;                       /* ring entries, extras included */
	bool is_extra[VIF_MAX_SLOTS + VIF_MAX_EXTRAS];
	uint16_t id[VIF_MAX_SLOTS + VIF_MAX_EXTRAS];
	unsigned nr_frags;
	struct netif_tx_request frag[VIF_MAX_SLOTS];
	struct netif_extra_info gso;             /* type 0: none */
};

static void tx_push(struct vif *v, uint16_t id, int16_t status)
{
	struct netif_tx_response *rsp = &v->tx->ring[v->tx_rsp & (VIF_RING - 1)].rsp;

	rsp->id = id;
	rsp->status = status;
	v->tx_rsp++;
}

static void tx_respond(struct vif *v, const struct tx_packet *p, int16_t status)
{
	RING_IDX old = v->tx_rsp, event;

	for (unsigned i = 0; i < p->nr_slots; i++)
		tx_push(v, p->id[i], p->is_extra[i] ? NETIF_RSP_NULL : status);
	__atomic_store_n(&v->tx->rsp_prod, v->tx_rsp, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = __atomic_load_n(&v->tx->rsp_event, __ATOMIC_RELAXED);
	if ((RING_IDX)(v->tx_rsp - event) < (RING_IDX)(v->tx_rsp - old))
		evtchn_raise(v->x.ds->d, v->tx_port);
}

/* One ring entry, copied; false: the packet ends before the guest said it would. */
static bool tx_entry(struct vif *v, RING_IDX prod, void *entry, size_t n, struct tx_packet *p, bool extra)
{
	if (v->tx_cons == prod || p->nr_slots == VIF_MAX_SLOTS + VIF_MAX_EXTRAS)
		return false;
	memcpy(entry, (const void *)&v->tx->ring[v->tx_cons & (VIF_RING - 1)], n);
	__asm__ volatile("" ::: "memory");
	p->is_extra[p->nr_slots] = extra;
	p->id[p->nr_slots] = extra ? 0 : ((struct netif_tx_request *)entry)->id;
	p->nr_slots++;
	v->tx_cons++;
	return true;
}

/* 0, or -1: the ring cannot be followed any further. */
static int tx_collect(struct vif *v, RING_IDX prod, struct tx_packet *p)
{
	struct netif_extra_info extra = { .flags = XEN_NETIF_EXTRA_FLAG_MORE };
	struct netif_tx_request *frag;

	p->nr_slots = p->nr_frags = 0;
	p->gso.type = XEN_NETIF_EXTRA_TYPE_NONE;
	if (!tx_entry(v, prod, &p->frag[0], sizeof(p->frag[0]), p, false))
		return -1;
	p->nr_frags = 1;
	if (!(p->frag[0].flags & NETTXF_extra_info))
		extra.flags = 0;
	while (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) {
		if (!tx_entry(v, prod, &extra, sizeof(extra), p, true) || !extra.type || extra.type >= XEN_NETIF_EXTRA_TYPE_MAX)
			return -1;
		if (extra.type == XEN_NETIF_EXTRA_TYPE_GSO)
			p->gso = extra;
	}
	while (p->frag[p->nr_frags - 1].flags & NETTXF_more_data) {
		if (p->nr_frags == VIF_MAX_SLOTS)
			return -1;
		frag = &p->frag[p->nr_frags];
		if (!tx_entry(v, prod, frag, sizeof(*frag), p, false))
			return -1;
		p->nr_frags++;
	}
	return 0;
}

/* Copies the frame behind the header in tx_buf; its length, or -EINVAL, -EFAULT. */
static ssize_t tx_copy(struct vif *v, struct tx_packet *p)
{
	uint8_t *dst = v->tx_buf + sizeof(struct virtio_net_hdr);
	size_t total = p->frag[0].size, rest = 0, at = 0;
	uint64_t mfn;

	for (unsigned i = 1; i < p->nr_frags; i++)
		rest += p->frag[i].size;
	if (total < 14 || rest >= total)
		return -EINVAL;
	p->frag[0].size = (uint16_t)(total - rest);        /* netif.h: the first one's size is the whole frame's */
	for (unsigned i = 0; i < p->nr_frags; i++) {
		const struct netif_tx_request *f = &p->frag[i];
		const uint8_t *page;

		if (f->offset + (size_t)f->size > PAGE_SIZE_HV)
			return -EINVAL;
		page = grant_acquire(v->x.ds->d, f->gref, false, &mfn);
		if (!page)
			return -EFAULT;
		memcpy(dst + at, page + f->offset, f->size);
		grant_release(v->x.ds->d, f->gref, false);
		at += f->size;
	}
	return (ssize_t)total;
}

/* The ring's word on checksums and segments in the tap's terms; -EINVAL: they do not fit the frame. */
static int tx_header(struct vif *v, const struct tx_packet *p, size_t n, struct virtio_net_hdr *h)
{
	uint8_t *frame = v->tx_buf + sizeof(*h);
	bool gso = p->gso.type == XEN_NETIF_EXTRA_TYPE_GSO;
	struct netpkt_csum c;

	memset(h, 0, sizeof(*h));
	if (!(p->frag[0].flags & NETTXF_csum_blank) && !gso)
		return 0;
	if (!netpkt_find_csum(frame, n, &c))
		return gso ? -EINVAL : 0;                  /* not ours to finish: sent as it is */
	netpkt_put_pseudo(frame, n, &c);
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = (uint16_t)c.start;
	h->csum_offset = (uint16_t)c.offset;
	if (!gso)
		return 0;
	if (!c.tcp || !p->gso.u.gso.size || p->gso.u.gso.type != (c.v6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4))
		return -EINVAL;
	h->gso_type = c.v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	h->gso_size = p->gso.u.gso.size;
	h->hdr_len = (uint16_t)c.header_len;
	return 0;
}

static int16_t tx_send(struct vif *v, struct tx_packet *p)
{
	struct virtio_net_hdr h;
	ssize_t n = tx_copy(v, p);

	if (n < 0 || tx_header(v, p, (size_t)n, &h) < 0)
		return NETIF_RSP_ERROR;
	netpkt_learn(&v->addrs, v->conf.mac, v->tx_buf + sizeof(h), (size_t)n);
	memcpy(v->tx_buf, &h, sizeof(h));
	if (v->conf.tap_fd < 0 || write(v->conf.tap_fd, v->tx_buf, sizeof(h) + (size_t)n) < 0)
		return NETIF_RSP_DROPPED;
	v->tx_packets++;
	v->tx_bytes += (uint64_t)n;
	return NETIF_RSP_OKAY;
}

/* true: there is more than a batch. */
static bool tx_serve(struct vif *v)
{
	struct tx_packet p;
	RING_IDX prod;
	int left = VIF_BATCH;

	while (left) {
		prod = __atomic_load_n(&v->tx->req_prod, __ATOMIC_ACQUIRE);
		if ((RING_IDX)(prod - v->tx_rsp) > VIF_RING) {
			vif_break(v, "its transmit ring claims more requests than it holds");
			return false;
		}
		if (v->tx_cons == prod) {
			__atomic_store_n(&v->tx->req_event, prod + 1, __ATOMIC_RELAXED);
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (__atomic_load_n(&v->tx->req_prod, __ATOMIC_ACQUIRE) == prod)
				break;
			continue;
		}
		if (tx_collect(v, prod, &p) < 0) {
			vif_break(v, "a packet on its transmit ring has no end");
			return false;
		}
		tx_respond(v, &p, tx_send(v, &p));
		left--;
	}
	device_frame_written(v->x.ds->d, v->tx_mfn);
	return left == 0;
}

/* ---- wire to guest ---- */

static unsigned rx_extras(const struct virtio_net_hdr *h)
{
	return (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_NONE;
}

static unsigned rx_slots_needed(const struct vif *v, const struct virtio_net_hdr *h)
{
	size_t n = v->rx_len - sizeof(*h);

	return (unsigned)((n + PAGE_SIZE_HV - 1) / PAGE_SIZE_HV) + rx_extras(h);
}

/* Posted buffers, or -1: the ring lies. */
static int rx_room(struct vif *v)
{
	RING_IDX prod = __atomic_load_n(&v->rx->req_prod, __ATOMIC_ACQUIRE);

	if ((RING_IDX)(prod - v->rx_rsp) > VIF_RING) {
		vif_break(v, "its receive ring claims more requests than it holds");
		return -1;
	}
	return (int)(prod - v->rx_cons);
}

/* Asks to be told when there are `need` buffers; true: there are already. */
static bool rx_wait_for(struct vif *v, unsigned need)
{
	__atomic_store_n(&v->rx->req_event, v->rx_cons + need, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	device_frame_written(v->x.ds->d, v->rx_mfn);
	return rx_room(v) >= (int)need;
}

static int16_t rx_fill(struct vif *v, const struct netif_rx_request *r, const uint8_t *p, size_t n)
{
	uint64_t mfn;
	uint8_t *page = grant_acquire(v->x.ds->d, r->gref, true, &mfn);

	if (!page)
		return NETIF_RSP_ERROR;
	memcpy(page, p, n);
	device_frame_written(v->x.ds->d, mfn);
	grant_release(v->x.ds->d, r->gref, true);
	return (int16_t)n;
}

/* netif.h: a response goes to the very entry its request came from. */
static void rx_extra(struct vif *v, const struct virtio_net_hdr *h)
{
	struct netif_extra_info e = { .type = XEN_NETIF_EXTRA_TYPE_GSO };

	e.u.gso.size = h->gso_size;
	e.u.gso.type = (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6 ? XEN_NETIF_GSO_TYPE_TCPV6
											     : XEN_NETIF_GSO_TYPE_TCPV4;
	memcpy((void *)&v->rx->ring[v->rx_rsp & (VIF_RING - 1)], &e, sizeof(e));
	v->rx_cons++;
	v->rx_rsp++;
}

static void rx_put(struct vif *v, const struct virtio_net_hdr *h, uint16_t flags)
{
	const uint8_t *p = v->rx_buf + sizeof(*h);
	size_t left = v->rx_len - sizeof(*h);
	bool first = true;

	while (left) {
		union netif_rx_sring_entry *e = &v->rx->ring[v->rx_cons & (VIF_RING - 1)];
		size_t n = left < PAGE_SIZE_HV ? left : PAGE_SIZE_HV;
		struct netif_rx_request req;
		struct netif_rx_response rsp = { 0 };

		memcpy(&req, (const void *)&e->req, sizeof(req));
		__asm__ volatile("" ::: "memory");
		rsp.id = req.id;
		rsp.status = rx_fill(v, &req, p, n);
		if (n < left)
			rsp.flags |= NETRXF_more_data;
		if (first)
			rsp.flags |= flags;
		memcpy((void *)&e->rsp, &rsp, sizeof(rsp));
		v->rx_cons++;
		v->rx_rsp++;
		if (first && rx_extras(h))
			rx_extra(v, h);
		first = false;
		p += n;
		left -= n;
	}
}

/* What the front end cannot finish itself is finished here. */
static uint16_t rx_flags(struct vif *v, const struct virtio_net_hdr *h)
{
	uint8_t *frame = v->rx_buf + sizeof(*h);
	size_t n = v->rx_len - sizeof(*h);
	struct netpkt_csum c;

	if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		return NETRXF_data_validated;
	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 0;
	if (netpkt_find_csum(frame, n, &c) && c.start == h->csum_start && c.offset == h->csum_offset &&
	    (c.v6 ? v->features & FE_CSUM6 : !(v->features & FE_NO_CSUM4)))
		return NETRXF_csum_blank | NETRXF_data_validated;
	netpkt_finish_csum(frame, n, h->csum_start, h->csum_offset);
	return 0;
}

static void rx_deliver(struct vif *v)
{
	struct virtio_net_hdr h;
	RING_IDX old = v->rx_rsp, event;
	uint16_t flags;

	memcpy(&h, v->rx_buf, sizeof(h));
	flags = rx_flags(v, &h);
	if (rx_extras(&h))
		flags |= NETRXF_extra_info;
	rx_put(v, &h, flags);
	v->rx_packets++;
	v->rx_bytes += v->rx_len - sizeof(h);
	v->rx_len = 0;
	__atomic_store_n(&v->rx->rsp_prod, v->rx_rsp, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = __atomic_load_n(&v->rx->rsp_event, __ATOMIC_RELAXED);
	device_frame_written(v->x.ds->d, v->rx_mfn);
	if ((RING_IDX)(v->rx_rsp - event) < (RING_IDX)(v->rx_rsp - old))
		evtchn_raise(v->x.ds->d, v->rx_port);
}

/* A frame the guest's ring could never take: only from a tap whose offloads do not fit its front end. */
static bool rx_acceptable(const struct vif *v, const struct virtio_net_hdr *h)
{
	unsigned gso = h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;

	if (v->rx_len < sizeof(*h) + 14 || rx_slots_needed(v, h) > VIF_MAX_SLOTS)
		return false;
	if (gso == VIRTIO_NET_HDR_GSO_TCPV4)
		return v->features & FE_GSO4;
	if (gso == VIRTIO_NET_HDR_GSO_TCPV6)
		return v->features & FE_GSO6;
	return gso == VIRTIO_NET_HDR_GSO_NONE && (v->features & FE_SG || rx_slots_needed(v, h) == 1);
}

/* The frame that waits, or the tap's next one; false: there is none. */
static bool rx_next(struct vif *v, struct virtio_net_hdr *h)
{
	ssize_t n;

	if (!v->rx_len) {
		n = read(v->conf.tap_fd, v->rx_buf, sizeof(v->rx_buf));
		if (n < (ssize_t)sizeof(*h))
			return false;
		v->rx_len = (size_t)n;
	}
	memcpy(h, v->rx_buf, sizeof(*h));
	return true;
}

static void rx_serve(struct vif *v)
{
	struct virtio_net_hdr h;
	unsigned need;
	int room;

	for (int i = 0; i < VIF_BATCH && rx_next(v, &h); i++) {
		if (!rx_acceptable(v, &h)) {
			v->rx_len = 0;
			continue;
		}
		need = rx_slots_needed(v, &h);
		room = rx_room(v);
		if (room < 0)
			return;
		if (room < (int)need && !rx_wait_for(v, need)) {
			if (!v->broken)
				io_fd_set(v->tap, 0);      /* until the guest posts room */
			return;
		}
		rx_deliver(v);
	}
	io_fd_set(v->tap, EPOLLIN);
}

void vif_serve(struct vif *v)
{
	if (!vif_may_serve(v)) {
		if (v->tap)
			io_fd_set(v->tap, 0);
		return;
	}
	if (tx_serve(v))
		devices_port_again(v->x.ds, v->tx_slot);
	if (v->tap && !v->broken)
		rx_serve(v);
}

static void vif_notified(void *arg)
{
	vif_serve(arg);
}

static void tap_event(void *arg, uint32_t events)
{
	struct vif *v = arg;

	if (events & (EPOLLERR | EPOLLHUP)) {
		log_err("domain %u: vif %u: its tap device was removed", v->x.ds->d->domid, v->conf.devid);
		vif_release(v);
		return;
	}
	if (vif_may_serve(v))
		rx_serve(v);
	else
		io_fd_set(v->tap, 0);
}

/* ---- announcing ---- */

/* Switches learn from the first; the rest is for a first that was lost. */
static const unsigned announce_gap_ms[] = { 50, 100, 250, 600, 1000 };

static void announce_send(void *arg)
{
	struct vif *v = arg;
	uint8_t frame[sizeof(struct virtio_net_hdr) + NETPKT_ANNOUNCE_MAX] = { 0 };
	size_t n;

	if (v->conf.tap_fd < 0)
		return;
	for (unsigned i = 0; (n = netpkt_announcement(frame + sizeof(struct virtio_net_hdr), v->conf.mac, &v->addrs, i)) != 0; i++)
		if (write(v->conf.tap_fd, frame, sizeof(struct virtio_net_hdr) + n) < 0)
			break;                             /* the next round tries again */
	if (v->announce_round < sizeof(announce_gap_ms) / sizeof(announce_gap_ms[0]))
		io_timer_set(v->announce_timer, announce_gap_ms[v->announce_round++] * 1000000ull);
}

void vif_announce(struct vif *v)
{
	v->announce_round = 0;
	announce_send(v);
}

/* ---- xenbus ---- */

static const char *const vif_keys[] = { "tx-ring-ref", "rx-ring-ref", "event-channel-tx", "event-channel-rx", "event-channel",
					"request-rx-copy", "feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6",
					"feature-no-csum-offload", "feature-ipv6-csum-offload", NULL };
enum { K_TX_REF, K_RX_REF, K_EV_TX, K_EV_RX, K_EV, K_COPY, K_SG, K_GSO4, K_GSO6, K_NO_CSUM4, K_CSUM6 };

static void vif_features(struct xb_dev *x)
{
	xb_write(x, "feature-sg", "1");
	xb_write(x, "feature-gso-tcpv4", "1");
	xb_write(x, "feature-gso-tcpv6", "1");
	xb_write(x, "feature-ipv6-csum-offload", "1");
	xb_write(x, "feature-rx-copy", "1");
	xb_write(x, "feature-rx-flip", "0");
	xb_write(x, "feature-split-event-channels", "1");
	xb_write(x, "multi-queue-max-queues", "1");
	xb_write(x, "hotplug-status", "connected");
}

static bool flag(const char *value)
{
	uint64_t n;

	return xb_number(value, UINT32_MAX, &n) && n;
}

/* The tap comes with all offloads on; a front end without some has them switched off, or large frames would be lost. */
static void tap_offloads(const struct vif *v)
{
	unsigned long all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, f = TUN_F_CSUM;

	if (v->features & FE_SG && v->features & FE_GSO4)
		f |= TUN_F_TSO4 | TUN_F_TSO_ECN;
	if (v->features & FE_SG && v->features & FE_GSO6)
		f |= TUN_F_TSO6;
	if (v->conf.tap_fd >= 0 && f != all && ioctl(v->conf.tap_fd, TUNSETOFFLOAD, f) < 0)
		log_warn("domain %u: vif %u: tap offloads: %s", v->x.ds->d->domid, v->conf.devid, strerror(errno));
}

static void vif_detach(struct vif *v)
{
	struct domain *d = v->x.ds->d;

	devices_port_forget(v->x.ds, v->tx_slot);
	devices_port_forget(v->x.ds, v->rx_slot);
	v->tx_slot = v->rx_slot = -1;
	if (v->tx)
		grant_release(d, v->tx_ref, true);
	if (v->rx)
		grant_release(d, v->rx_ref, true);
	v->tx = NULL;
	v->rx = NULL;
}

static int vif_attach(struct vif *v, bool connect_ports)
{
	struct domain *d = v->x.ds->d;
	bool split = v->rx_port != v->tx_port;
	int rc = 0;

	v->tx = grant_acquire(d, v->tx_ref, true, &v->tx_mfn);
	v->rx = grant_acquire(d, v->rx_ref, true, &v->rx_mfn);
	if (!v->tx || !v->rx)
		rc = -EFAULT;
	if (rc == 0 && connect_ports)
		rc = evtchn_connect_backend(d, v->tx_port);
	if (rc == 0 && connect_ports && split)
		rc = evtchn_connect_backend(d, v->rx_port);
	if (rc == 0)
		v->tx_slot = devices_port_listen(v->x.ds, v->tx_port, vif_notified, v);
	if (rc == 0 && split)
		v->rx_slot = devices_port_listen(v->x.ds, v->rx_port, vif_notified, v);
	if (rc == 0 && (v->tx_slot < 0 || (split && v->rx_slot < 0)))
		rc = -ENOSPC;
	if (rc < 0) {
		vif_detach(v);
		return rc;
	}
	v->broken = false;
	v->rx_len = 0;
	tap_offloads(v);
	return 0;
}

static int vif_connect(struct xb_dev *x, const char *const *k)
{
	struct vif *v = vif_of(x);
	uint64_t tx_ref, rx_ref, tx_port, rx_port;
	int rc;

	if (!xb_number(k[K_TX_REF], UINT32_MAX, &tx_ref) || !xb_number(k[K_RX_REF], UINT32_MAX, &rx_ref))
		return -EINVAL;
	if (!xb_number(k[K_EV_TX], UINT32_MAX, &tx_port) || !xb_number(k[K_EV_RX], UINT32_MAX, &rx_port)) {
		if (!xb_number(k[K_EV], UINT32_MAX, &tx_port))
			return -EINVAL;
		rx_port = tx_port;
	}
	if (!flag(k[K_COPY]))
		return -EOPNOTSUPP;                        /* page flipping went with Xen 4 */
	v->features = (uint8_t)((flag(k[K_SG]) ? FE_SG : 0) | (flag(k[K_GSO4]) ? FE_GSO4 : 0) | (flag(k[K_GSO6]) ? FE_GSO6 : 0) |
				(flag(k[K_NO_CSUM4]) ? FE_NO_CSUM4 : 0) | (flag(k[K_CSUM6]) ? FE_CSUM6 : 0));
	v->tx_ref = (uint32_t)tx_ref;
	v->rx_ref = (uint32_t)rx_ref;
	v->tx_port = (uint32_t)tx_port;
	v->rx_port = (uint32_t)rx_port;
	rc = vif_attach(v, true);
	if (rc < 0)
		return rc;
	v->tx_cons = v->tx_rsp = __atomic_load_n(&v->tx->rsp_prod, __ATOMIC_RELAXED);
	v->rx_cons = v->rx_rsp = __atomic_load_n(&v->rx->rsp_prod, __ATOMIC_RELAXED);
	return 0;
}

static void vif_disconnect(struct xb_dev *x)
{
	vif_detach(vif_of(x));
}

static void vif_connected(struct xb_dev *x)
{
	vif_serve(vif_of(x));
}

static const struct xb_ops vif_ops = {
	.type = "vif", .connect_at = 4 /* Connected */, .keys = vif_keys, .announce = vif_features, .connect = vif_connect,
	.connected = vif_connected, .disconnect = vif_disconnect,
};

/* ---- life ---- */

struct vif *vif_create(struct devices *ds, const struct device_vif *c)
{
	struct vif *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->conf = *c;
	v->conf.tap_fd = -1;
	v->tx_slot = v->rx_slot = -1;
	xb_init(&v->x, ds, &vif_ops, c->devid);
	v->announce_timer = io_timer_add(ds->loop, announce_send, v);
	if (v->announce_timer) {
		if (c->tap_fd >= 0)
			vif_set_tap(v, c->tap_fd);
		return v;
	}
	vif_destroy(v);
	errno = ENOMEM;
	return NULL;
}

void vif_destroy(struct vif *v)
{
	if (!v)
		return;
	xb_fini(&v->x);
	vif_release(v);
	io_timer_del(v->announce_timer);
	free(v);
}

unsigned vif_devid(const struct vif *v) { return v->conf.devid; }
bool vif_is_connected(const struct vif *v) { return v->x.connected; }

int vif_start(struct vif *v)
{
	return xb_start(&v->x);
}

void vif_release(struct vif *v)
{
	io_fd_del(v->tap);
	v->tap = NULL;
	if (v->conf.tap_fd >= 0)
		close(v->conf.tap_fd);
	v->conf.tap_fd = -1;
}

void vif_set_tap(struct vif *v, int fd)
{
	vif_release(v);
	v->tap = io_fd_add(v->x.ds->loop, fd, 0, tap_event, v);
	if (!v->tap) {
		log_err("domain %u: vif %u: tap: %s", v->x.ds->d->domid, v->conf.devid, strerror(errno));
		close(fd);
		return;
	}
	v->conf.tap_fd = fd;
	if (v->x.connected)
		tap_offloads(v);
	vif_serve(v);
}

void vif_quiet(struct vif *v, bool quiet)
{
	if (v->tap && quiet)
		io_fd_set(v->tap, 0);
	if (quiet)
		io_timer_clear(v->announce_timer);
}

void vif_kick(struct vif *v)
{
	if (!v->x.connected)
		return;
	evtchn_raise(v->x.ds->d, v->tx_port);
	if (v->rx_port != v->tx_port)
		evtchn_raise(v->x.ds->d, v->rx_port);
	vif_serve(v);
}

void vif_stats(const struct vif *v, struct devices_stat *sum)
{
	sum->rx_bytes += v->rx_bytes;
	sum->tx_bytes += v->tx_bytes;
	sum->rx_packets += v->rx_packets;
	sum->tx_packets += v->tx_packets;
}

/* ---- image: the body of a vif, of a drained domain ---- */

int vif_save(struct vif *v, struct buf *out)
{
	buf_u32(out, v->conf.devid);
	buf_u32(out, v->x.state);
	buf_u8(out, (uint8_t)(v->x.connected | v->broken << 1));
	buf_u8(out, v->features);
	buf_u32(out, v->tx_ref);
	buf_u32(out, v->rx_ref);
	buf_u32(out, v->tx_port);
	buf_u32(out, v->rx_port);
	buf_u32(out, v->tx_cons);
	buf_u32(out, v->rx_cons);
	buf_u8(out, (uint8_t)v->addrs.nr4);
	buf_bytes(out, v->addrs.v4, v->addrs.nr4 * sizeof(v->addrs.v4[0]));
	buf_u8(out, (uint8_t)v->addrs.nr6);
	buf_bytes(out, v->addrs.v6, v->addrs.nr6 * sizeof(v->addrs.v6[0]));
	return buf_ok(out) ? 0 : -ENOMEM;
}

int vif_load(struct vif *v, struct reader *r)
{
	uint32_t state = reader_u32(r);
	uint8_t flags = reader_u8(r);
	int rc;

	v->features = reader_u8(r);
	v->tx_ref = reader_u32(r);
	v->rx_ref = reader_u32(r);
	v->tx_port = reader_u32(r);
	v->rx_port = reader_u32(r);
	v->tx_cons = v->tx_rsp = reader_u32(r);
	v->rx_cons = v->rx_rsp = reader_u32(r);
	v->addrs.nr4 = reader_u8(r);
	if (v->addrs.nr4 > NETPKT_MAX_ADDRS || !reader_bytes(r, v->addrs.v4, v->addrs.nr4 * sizeof(v->addrs.v4[0])))
		return -EINVAL;
	v->addrs.nr6 = reader_u8(r);
	if (v->addrs.nr6 > NETPKT_MAX_ADDRS || !reader_bytes(r, v->addrs.v6, v->addrs.nr6 * sizeof(v->addrs.v6[0])))
		return -EINVAL;
	if (!reader_ok(r) || state > 8 || flags > 3)
		return -EINVAL;
	v->x.state = state;
	if (!(flags & 1))
		return 0;
	rc = vif_attach(v, false);
	if (rc < 0)
		return rc;
	v->x.connected = true;
	v->broken = flags & 2;
	return 0;
}
