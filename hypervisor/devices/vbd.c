/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vbd.c - the disk back end: xen/io/blkif.h, one ring of one page, 64-bit layout, up to 32 requests in flight.
 *
 * Each ring entry is copied once and every field checked; guest frames are reached through grants only.  Files and block
 * devices are read and written straight into the guest's frames; iSCSI goes through hv-disk and a bounce slot, so that this
 * process alone writes guest memory.  A read marks its frames dirty at completion, before the guest is told.
 *
 * The ring is served by the vCPU that signals it, where the loop's thread is asleep (devices_turn).  What is read and lies in the host's
 * page cache is there before that hypercall returns: no thread is woken, none waited for.  The rest, and all writes, since they may wait
 * for a disk, go to the pool's threads.
 *
 * Offered: FLUSH_DISKCACHE (the promise that what the guest was told is on disk, is), DISCARD on files, indirect
 * descriptors of up to VBD_MAX_SEGS segments.
 */
#include "hypervisor/devices/device_priv.h"
#include "hypervisor/devices/blk_pool.h"
#include "hypervisor/devices/blk_remote.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/vdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xen/io/blkif.h>

#define VBD_RING 32u
#define VBD_MAX_SEGS 64u                       /* of 4 KiB: one bounce slot */
#define VBD_BATCH 64                           /* requests a turn: the loop has others to serve, however many come to nothing at once */
#define VBD_CACHED_TURN (1u << 20)             /* octets copied from the page cache in a turn: the loop's lock is held meanwhile */
#define SEGS_PER_PAGE (PAGE_SIZE_HV / sizeof(struct blkif_request_segment))

_Static_assert(sizeof(struct blkif_request) == 112, "64-bit layout of blkif_request");
_Static_assert(sizeof(struct blkif_request_segment) == 8, "blkif_request_segment");
_Static_assert(__builtin_offsetof(struct blkif_request_indirect, indirect_grefs) == 28, "64-bit layout of blkif_request_indirect");
_Static_assert(VBD_MAX_SEGS * PAGE_SIZE_HV <= HV_DISK_SLOT_SIZE, "a request fits its bounce slot");

struct vreq_seg { grant_ref_t ref; uint8_t first, last; uint8_t *frame; uint64_t mfn; };

struct vreq {
	struct vbd *v;
	bool used;
	bool then_data;                      /* a FLUSH that carries data: written when the flush is done */
	uint8_t guest_op;
	uint64_t id, begun_ns;
	unsigned gen;                        /* of the connection it came over */
	enum blk_op op;
	uint64_t sector, sectors;
	unsigned nr_segs, acquired;
	struct vreq_seg seg[VBD_MAX_SEGS];
	struct iovec iov[VBD_MAX_SEGS];
	struct blk_job job;
	struct remote_req remote;
};

struct vbd {
	struct xb_dev x;
	struct device_disk conf;
	struct blkif_sring *ring;
	uint32_t ring_ref, port;
	uint64_t ring_mfn;
	int slot;
	RING_IDX req_cons, rsp_prod;
	RING_IDX rsp_told;                   /* what the guest sees of rsp_prod */
	unsigned gen;
	bool broken;                         /* the ring's indices make no sense: not served until it is connected anew */
	unsigned in_flight;
	struct vreq req[VBD_RING];
	struct vreq flush;                   /* the drain's own; also counted in in_flight */
	struct blk_lane writes;
	unsigned cached_left;                /* of this turn's VBD_CACHED_TURN */
	bool never_cached;                   /* its file cannot say what it has in memory */
	bool dirty;                          /* a write ended since the last flush began */
	uint64_t rd_req, wr_req, rd_sectors, wr_sectors;
};

static struct vbd *vbd_of(struct xb_dev *x) { return (struct vbd *)x; }
_Static_assert(__builtin_offsetof(struct vbd, x) == 0, "vbd_of");

/* ---- responses ---- */

static void ring_push(struct vbd *v, uint64_t id, uint8_t op, int16_t status)
{
	struct blkif_response *rsp = &v->ring->ring[v->rsp_prod++ & (VBD_RING - 1)].rsp;

	rsp->id = id;
	rsp->operation = op;
	rsp->status = status;
}

/* The guest hears once of all that ended in one turn. */
static void ring_tell(struct vbd *v)
{
	RING_IDX old = v->rsp_told, event;

	if (!v->ring || old == v->rsp_prod)
		return;
	v->rsp_told = v->rsp_prod;
	__atomic_store_n(&v->ring->rsp_prod, v->rsp_prod, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);           /* ring.h: rsp_prod is seen before rsp_event is read */
	event = __atomic_load_n(&v->ring->rsp_event, __ATOMIC_RELAXED);
	device_frame_written(v->x.ds->d, v->ring_mfn);
	if ((RING_IDX)(v->rsp_prod - event) < (RING_IDX)(v->rsp_prod - old))
		evtchn_raise(v->x.ds->d, v->port);
}

static void segs_release(struct vreq *q)
{
	struct domain *d = q->v->x.ds->d;

	for (unsigned i = 0; q->op == BLK_READ && i < q->acquired; i++)
		device_frame_written(d, q->seg[i].mfn);
	if (!q->acquired)
		return;
	pthread_mutex_lock(&d->lock);
	while (q->acquired)
		grant_release_locked(d, q->seg[--q->acquired].ref, q->op == BLK_READ);
	pthread_mutex_unlock(&d->lock);
}

static void vreq_end(struct vreq *q, int status)
{
	struct vbd *v = q->v;
	int16_t rsp = status == 0 ? BLKIF_RSP_OKAY : status == -EOPNOTSUPP ? BLKIF_RSP_EOPNOTSUPP : BLKIF_RSP_ERROR;

	if (status < 0 && status != -EOPNOTSUPP && devices_may_log(v->x.ds))
		log_warn("domain %u: %s: %s of %llu sectors at %llu failed: %s", v->x.ds->d->domid, v->conf.vdev,
			 q->op == BLK_READ ? "read" : q->op == BLK_WRITE ? "write" : q->op == BLK_FLUSH ? "flush" : "discard",
			 (unsigned long long)q->sectors, (unsigned long long)q->sector, strerror(-status));
	segs_release(q);
	q->used = false;
	if (v->x.connected && !v->broken && q->gen == v->gen)
		ring_push(v, q->id, q->guest_op, rsp);
}

/* ---- moving the data ---- */

static void vreq_done(struct vreq *q, int status);

static void job_done(struct blk_job *j)
{
	struct vreq *q = (struct vreq *)((char *)j - __builtin_offsetof(struct vreq, job));

	vreq_done(q, j->status);
}

static uint64_t seg_bytes(const struct vreq_seg *s)
{
	return (uint64_t)(s->last - s->first + 1) * 512;
}

static void bounce_copy(struct vreq *q, uint8_t *slot, bool to_guest)
{
	for (unsigned i = 0; i < q->nr_segs; i++) {
		uint8_t *p = q->seg[i].frame + q->seg[i].first * 512u;
		size_t n = seg_bytes(&q->seg[i]);

		if (to_guest)
			memcpy(p, slot, n);
		else
			memcpy(slot, p, n);
		slot += n;
	}
}

static unsigned vreq_slot(const struct vreq *q)
{
	return (unsigned)(q - q->v->req);
}

static void remote_done(struct remote_req *r, int status)
{
	struct vreq *q = (struct vreq *)((char *)r - __builtin_offsetof(struct vreq, remote));

	if (status == 0 && q->op == BLK_READ)
		bounce_copy(q, blk_remote_slot(q->v->x.ds->remote, q->v->conf.iscsi_index, vreq_slot(q)), true);
	vreq_done(q, status);
}

static void submit_remote(struct vreq *q)
{
	static const uint8_t ops[] = { [BLK_READ] = HV_DISK_READ, [BLK_WRITE] = HV_DISK_WRITE, [BLK_FLUSH] = HV_DISK_FLUSH,
				       [BLK_DISCARD] = HV_DISK_DISCARD };
	struct vbd *v = q->v;

	memset(&q->remote.wire, 0, sizeof(q->remote.wire));
	q->remote.wire.op = ops[q->op];
	q->remote.wire.disk = (uint8_t)v->conf.iscsi_index;
	q->remote.wire.sector = q->sector;
	q->remote.wire.sectors = (uint32_t)q->sectors;
	q->remote.done = remote_done;
	if (q->op == BLK_READ || q->op == BLK_WRITE)
		q->remote.wire.slot_offset = vreq_slot(q) * HV_DISK_SLOT_SIZE;
	if (q->op == BLK_WRITE)
		bounce_copy(q, blk_remote_slot(v->x.ds->remote, v->conf.iscsi_index, vreq_slot(q)), false);
	blk_remote_submit(v->x.ds->remote, &q->remote);
}

static void job_make(struct vreq *q)
{
	struct vbd *v = q->v;
	struct iovec *last = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < q->nr_segs; i++) {
		uint8_t *p = q->seg[i].frame + q->seg[i].first * 512u;

		/* frames of a buffer mostly lie side by side */
		if (last && p == (uint8_t *)last->iov_base + last->iov_len) {
			last->iov_len += seg_bytes(&q->seg[i]);
			continue;
		}
		last = &q->iov[n++];
		*last = (struct iovec){ p, seg_bytes(&q->seg[i]) };
	}
	q->job = (struct blk_job){ .op = q->op, .fd = v->conf.fd, .iov = q->iov, .nr_iov = n, .done = job_done,
				   .lane = q->op == BLK_WRITE ? &v->writes : NULL, .offset = q->sector * 512, .length = q->sectors * 512 };
}

/* true: what is read was at hand.  Not while guest memory is still to come, for which the copy would wait. */
static bool vreq_cached(struct vreq *q)
{
	struct vbd *v = q->v;
	int rc;

	if (q->op != BLK_READ || v->conf.iscsi || v->never_cached || q->sectors * 512 > v->cached_left ||
	    atomic_load(&v->x.ds->d->pages_owed))
		return false;
	job_make(q);
	rc = blk_read_cached(&q->job);
	v->never_cached = rc == -EOPNOTSUPP;
	if (rc == 0)
		v->cached_left -= (unsigned)(q->sectors * 512);
	return rc == 0;
}

static void submit_local(struct vreq *q)
{
	job_make(q);
	blk_pool_submit(q->v->x.ds->pool, &q->job);
}

static void vreq_submit(struct vreq *q)
{
	struct vbd *v = q->v;

	if (q->op == BLK_FLUSH)
		v->dirty = false;
	if (v->conf.iscsi)
		submit_remote(q);
	else
		submit_local(q);
}

static void vreq_done(struct vreq *q, int status)
{
	struct vbd *v = q->v;

	/* a write that ends after a flush began is not covered by it */
	if (q->op == BLK_WRITE || q->op == BLK_DISCARD || (q->op == BLK_FLUSH && status < 0))
		v->dirty = true;
	if (q->then_data && status == 0) {
		q->then_data = false;
		q->op = BLK_WRITE;
		vreq_submit(q);
		return;
	}
	v->in_flight--;
	if (q == &v->flush) {
		q->used = false;
		if (status < 0)
			log_err("domain %u: %s: flush failed: %s", v->x.ds->d->domid, v->conf.vdev, strerror(-status));
	} else {
		vreq_end(q, status);
		vbd_serve(v);
		ring_tell(v);                              /* when nothing is served any more, too */
	}
	devices_drain_progress(v->x.ds);
}

/* ---- requests: checked here, whole, before anything is submitted ---- */

/* d->lock held. */
static int seg_acquire(struct vreq *q, const struct blkif_request_segment *seg)
{
	struct vreq_seg *s = &q->seg[q->acquired];

	if (seg->first_sect > seg->last_sect || seg->last_sect >= PAGE_SIZE_HV / 512)
		return -EINVAL;
	s->ref = seg->gref;
	s->first = seg->first_sect;
	s->last = seg->last_sect;
	s->frame = grant_acquire_locked(q->v->x.ds->d, s->ref, q->op == BLK_READ, &s->mfn);
	if (!s->frame)
		return -EFAULT;
	q->acquired++;
	q->sectors += s->last - s->first + 1u;
	return 0;
}

static int segs_acquire(struct vreq *q, const struct blkif_request_segment *seg, unsigned n)
{
	struct domain *d = q->v->x.ds->d;
	int rc = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = seg_acquire(q, &seg[i]);
	pthread_mutex_unlock(&d->lock);
	q->nr_segs = q->acquired;
	return rc;
}

static int check_range(const struct vreq *q)
{
	uint64_t end;

	if (__builtin_add_overflow(q->sector, q->sectors, &end) || end > q->v->conf.sectors)
		return -EINVAL;
	if (q->sector * 512 % q->v->conf.sector_size || q->sectors * 512 % q->v->conf.sector_size)
		return -EINVAL;
	if (q->op != BLK_READ && q->v->conf.readonly)
		return -EROFS;
	return 0;
}

static int parse_direct(struct vreq *q, const struct blkif_request *r)
{
	int rc;

	if (r->nr_segments > BLKIF_MAX_SEGMENTS_PER_REQUEST || !r->nr_segments)
		return -EINVAL;
	q->sector = r->sector_number;
	rc = segs_acquire(q, r->seg, r->nr_segments);
	return rc < 0 ? rc : check_range(q);
}

static int parse_indirect(struct vreq *q, const struct blkif_request_indirect *r)
{
	struct blkif_request_segment seg[VBD_MAX_SEGS];
	struct domain *d = q->v->x.ds->d;
	uint64_t mfn;
	void *page;
	int rc;

	_Static_assert(VBD_MAX_SEGS <= SEGS_PER_PAGE, "one indirect page holds them all");
	if (!r->nr_segments || r->nr_segments > VBD_MAX_SEGS)
		return -EINVAL;
	if (r->indirect_op != BLKIF_OP_READ && r->indirect_op != BLKIF_OP_WRITE)
		return -EINVAL;
	q->op = r->indirect_op == BLKIF_OP_READ ? BLK_READ : BLK_WRITE;
	q->sector = r->sector_number;
	page = grant_acquire(d, r->indirect_grefs[0], false, &mfn);
	if (!page)
		return -EFAULT;
	memcpy(seg, page, r->nr_segments * sizeof(seg[0]));  /* once: the guest may change it under us */
	grant_release(d, r->indirect_grefs[0], false);
	rc = segs_acquire(q, seg, r->nr_segments);
	return rc < 0 ? rc : check_range(q);
}

static int parse_discard(struct vreq *q, const struct blkif_request_discard *r)
{
	if (q->v->conf.iscsi)
		return -EOPNOTSUPP;
	q->op = BLK_DISCARD;
	q->sector = r->sector_number;
	q->sectors = r->nr_sectors;
	if (!q->sectors)
		return -EINVAL;
	return check_range(q);
}

static int parse_flush(struct vreq *q, const struct blkif_request *r)
{
	int rc = 0;

	if (r->nr_segments) {
		q->op = BLK_WRITE;
		rc = parse_direct(q, r);
		q->then_data = true;
	}
	q->op = BLK_FLUSH;
	return rc;
}

static int vreq_parse(struct vreq *q, const struct blkif_request *r)
{
	switch (r->operation) {
	case BLKIF_OP_READ:
		q->op = BLK_READ;
		return parse_direct(q, r);
	case BLKIF_OP_WRITE:
		q->op = BLK_WRITE;
		return parse_direct(q, r);
	case BLKIF_OP_FLUSH_DISKCACHE:
		return parse_flush(q, r);
	case BLKIF_OP_INDIRECT: {
		struct blkif_request_indirect ind;

		memcpy(&ind, r, sizeof(ind));
		q->id = ind.id;
		q->guest_op = ind.indirect_op;      /* Linux matches the answer with what was asked for inside */
		return parse_indirect(q, &ind);
	}
	case BLKIF_OP_DISCARD: {
		struct blkif_request_discard dis;

		memcpy(&dis, r, sizeof(dis));
		return parse_discard(q, &dis);
	}
	default:
		return -EOPNOTSUPP;
	}
}

/* NULL: all are in flight.  Those of a connection that has ended count until they are done. */
static struct vreq *vreq_free(struct vbd *v)
{
	for (unsigned i = 0; i < VBD_RING; i++)
		if (!v->req[i].used)
			return &v->req[i];
	return NULL;
}

static void vreq_take(struct vbd *v, struct vreq *q, const struct blkif_request *r)
{
	int rc;

	q->v = v;
	q->used = true;
	q->then_data = false;
	q->gen = v->gen;
	q->begun_ns = monotonic_ns();
	q->id = r->id;
	q->guest_op = r->operation;
	q->op = BLK_FLUSH;
	q->sector = q->sectors = 0;
	q->nr_segs = q->acquired = 0;
	rc = vreq_parse(q, r);
	if (rc < 0) {
		vreq_end(q, rc);
		return;
	}
	if (q->op == BLK_READ) {
		v->rd_req++;
		v->rd_sectors += q->sectors;
	} else if (q->op == BLK_WRITE) {
		v->wr_req++;
		v->wr_sectors += q->sectors;
	}
	if (vreq_cached(q)) {
		vreq_end(q, 0);
		return;
	}
	v->in_flight++;
	vreq_submit(q);
}

static bool vbd_may_serve(const struct vbd *v)
{
	const struct devices *ds = v->x.ds;

	if (!v->x.connected || v->broken || !devices_serving(ds) || !ds->activated)
		return false;
	return v->conf.iscsi ? blk_remote_slot(ds->remote, v->conf.iscsi_index, 0) != NULL : v->conf.fd >= 0;
}

/* An index that went back behind what was taken is as absurd as one too far ahead. */
static bool ring_lies(const struct vbd *v, RING_IDX prod)
{
	RING_IDX unanswered = v->req_cons - v->rsp_prod;

	return (RING_IDX)(prod - v->req_cons) > VBD_RING - unanswered;
}

/* What is in flight ends unanswered. */
static void ring_break(struct vbd *v, RING_IDX prod)
{
	if (devices_may_log(v->x.ds))
		log_warn("domain %u: %s: its ring claims %u requests; the disk stops until it is connected anew", v->x.ds->d->domid,
			 v->conf.vdev, prod - v->req_cons);
	v->broken = true;
	v->req_cons = v->rsp_prod;
}

static void ring_serve(struct vbd *v)
{
	struct blkif_request r;
	struct vreq *q;
	RING_IDX prod;
	int left = VBD_BATCH;

	for (;;) {
		prod = __atomic_load_n(&v->ring->req_prod, __ATOMIC_ACQUIRE);
		if (ring_lies(v, prod)) {
			ring_break(v, prod);
			return;
		}
		if (v->req_cons == prod) {
			/* ring.h: ask for the next notification, then look once more */
			__atomic_store_n(&v->ring->req_event, prod + 1, __ATOMIC_RELAXED);
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (__atomic_load_n(&v->ring->req_prod, __ATOMIC_ACQUIRE) == prod)
				break;
			continue;
		}
		q = vreq_free(v);
		if (!q)
			break;                             /* the next that is done comes here again */
		if (!left--) {
			devices_port_again(v->x.ds, v->slot);
			break;
		}
		memcpy(&r, (const void *)&v->ring->ring[v->req_cons & (VBD_RING - 1)].req, sizeof(r));
		__asm__ volatile("" ::: "memory");         /* the copy is what is checked and used */
		v->req_cons++;
		vreq_take(v, q, &r);
	}
	device_frame_written(v->x.ds->d, v->ring_mfn);
}

void vbd_serve(struct vbd *v)
{
	if (!vbd_may_serve(v))
		return;
	v->cached_left = VBD_CACHED_TURN;
	ring_serve(v);
	ring_tell(v);
}

static void vbd_notified(void *arg)
{
	vbd_serve(arg);
}

/* ---- xenbus ---- */

static const char *const vbd_keys[] = { "ring-ref", "event-channel", "protocol", NULL };

static void vbd_announce(struct xb_dev *x)
{
	struct vbd *v = vbd_of(x);

	xb_write(x, "feature-flush-cache", "1");
	xb_write(x, "feature-barrier", "0");
	xb_write(x, "feature-persistent", "0");
	xb_write(x, "max-ring-page-order", "0");
	xb_write(x, "multi-queue-max-queues", "1");
	xb_write(x, "feature-max-indirect-segments", "%u", VBD_MAX_SEGS);
	if (!v->conf.iscsi && !v->conf.readonly) {
		xb_write(x, "feature-discard", "1");
		xb_write(x, "discard-granularity", "4096");
		xb_write(x, "discard-alignment", "0");
		xb_write(x, "discard-secure", "0");
	}
	xb_write(x, "hotplug-status", "connected");
}

static int vbd_attach(struct vbd *v, uint32_t ref, uint32_t port, bool connect_port)
{
	struct domain *d = v->x.ds->d;
	int rc;

	v->ring = grant_acquire(d, ref, true, &v->ring_mfn);
	if (!v->ring)
		return -EFAULT;
	rc = connect_port ? evtchn_connect_backend(d, port) : 0;
	if (rc == 0) {
		v->slot = devices_port_listen(v->x.ds, port, vbd_notified, v);
		rc = v->slot < 0 ? v->slot : 0;
	}
	if (rc < 0) {
		grant_release(d, ref, true);
		v->ring = NULL;
		return rc;
	}
	devices_port_direct(v->x.ds, v->slot);
	v->ring_ref = ref;
	v->port = port;
	v->broken = false;
	v->gen++;
	return 0;
}

static int vbd_connect(struct xb_dev *x, const char *const *values)
{
	struct vbd *v = vbd_of(x);
	uint64_t ref, port;
	int rc;

	if (!xb_number(values[0], UINT32_MAX, &ref) || !xb_number(values[1], UINT32_MAX, &port))
		return -EINVAL;
	if (values[2] && strcmp(values[2], "x86_64-abi"))
		return -EPROTONOSUPPORT;
	rc = vbd_attach(v, (uint32_t)ref, (uint32_t)port, true);
	if (rc < 0)
		return rc;
	v->req_cons = v->rsp_prod = v->rsp_told = __atomic_load_n(&v->ring->rsp_prod, __ATOMIC_RELAXED);
	xb_write(x, "sectors", "%llu", (unsigned long long)v->conf.sectors);
	xb_write(x, "info", "%u", v->conf.readonly ? VDISK_READONLY : 0u);
	xb_write(x, "sector-size", "%u", v->conf.sector_size);
	xb_write(x, "physical-sector-size", "%u", v->conf.sector_size > 512 ? v->conf.sector_size : 512u);
	return 0;
}

/* What is in flight finishes on its own and is not answered: the ring it came over is gone. */
static void vbd_disconnect(struct xb_dev *x)
{
	struct vbd *v = vbd_of(x);

	devices_port_forget(x->ds, v->slot);
	v->slot = -1;
	v->gen++;
	v->req_cons = v->rsp_prod = v->rsp_told = 0;
	grant_release(x->ds->d, v->ring_ref, true);
	v->ring = NULL;
}

static void vbd_connected(struct xb_dev *x)
{
	vbd_serve(vbd_of(x));
}

static const struct xb_ops vbd_ops = {
	.type = "vbd", .connect_at = 3 /* Initialised */, .keys = vbd_keys, .announce = vbd_announce, .connect = vbd_connect,
	.connected = vbd_connected, .disconnect = vbd_disconnect,
};

/* ---- life ---- */

struct vbd *vbd_create(struct devices *ds, const struct device_disk *c)
{
	struct vbd *v;
	uint32_t devid;
	int rc = vdev_to_devid(c->vdev, &devid);

	if (rc == 0 && ((c->sector_size != 512 && c->sector_size != 4096) || (c->iscsi && c->iscsi_index >= HV_DISK_MAX)))
		rc = -EINVAL;
	v = rc == 0 ? calloc(1, sizeof(*v)) : NULL;
	if (!v) {
		if (rc < 0)
			errno = -rc;
		return NULL;
	}
	v->conf = *c;
	v->slot = -1;
	v->flush.v = v;
	xb_init(&v->x, ds, &vbd_ops, devid);
	return v;
}

/* Pool and hv-disk channel are gone by now: nothing completes any more. */
void vbd_destroy(struct vbd *v)
{
	if (!v)
		return;
	xb_fini(&v->x);
	vbd_release(v);
	free(v);
}

const char *vbd_vdev(const struct vbd *v) { return v->conf.vdev; }
unsigned vbd_devid(const struct vbd *v) { return v->x.devid; }
bool vbd_is_iscsi(const struct vbd *v) { return v->conf.iscsi; }
unsigned vbd_in_flight(const struct vbd *v) { return v->in_flight; }

uint64_t vbd_oldest_ns(const struct vbd *v)
{
	uint64_t oldest = v->flush.used ? v->flush.begun_ns : UINT64_MAX;

	for (unsigned i = 0; i < VBD_RING; i++)
		if (v->req[i].used && v->req[i].begun_ns < oldest)
			oldest = v->req[i].begun_ns;
	return v->in_flight ? oldest : UINT64_MAX;
}

bool vbd_is_connected(const struct vbd *v) { return v->x.connected; }
unsigned vbd_iscsi_index(const struct vbd *v) { return v->conf.iscsi_index; }

void vbd_iscsi_removed(struct vbd *v, unsigned index)
{
	if (v->conf.iscsi && v->conf.iscsi_index > index)
		v->conf.iscsi_index--;
}

void vbd_stop(struct vbd *v) { xb_disconnect(&v->x); }

int vbd_start(struct vbd *v)
{
	return xb_start(&v->x);
}

void vbd_set_fd(struct vbd *v, int fd)
{
	if (v->conf.fd >= 0)
		close(v->conf.fd);
	v->conf.fd = fd;
	vbd_serve(v);
}

void vbd_flush_all(struct vbd *v)
{
	struct vreq *q = &v->flush;

	if (v->conf.readonly || !v->dirty || q->used || (!v->conf.iscsi && v->conf.fd < 0))
		return;
	q->used = true;
	q->begun_ns = monotonic_ns();
	q->op = BLK_FLUSH;
	q->sector = q->sectors = 0;
	q->nr_segs = q->acquired = 0;
	v->in_flight++;
	vreq_submit(q);
}

/* After a move or a pause: the guest looks at the ring, and we do. */
void vbd_kick(struct vbd *v)
{
	if (!v->x.connected)
		return;
	evtchn_raise(v->x.ds->d, v->port);
	vbd_serve(v);
}

void vbd_release(struct vbd *v)
{
	if (v->conf.fd >= 0)
		close(v->conf.fd);
	v->conf.fd = -1;
}

void vbd_stats(const struct vbd *v, struct devices_stat *sum)
{
	sum->rd_req += v->rd_req;
	sum->wr_req += v->wr_req;
	sum->rd_sectors += v->rd_sectors;
	sum->wr_sectors += v->wr_sectors;
}

/* ---- image: the body of a vbd, of a drained domain ---- */

int vbd_save(struct vbd *v, struct buf *out)
{
	buf_u32(out, v->x.devid);
	buf_u32(out, v->x.state);
	buf_u8(out, (uint8_t)(v->x.connected | v->broken << 1));
	buf_u32(out, v->ring_ref);
	buf_u32(out, v->port);
	buf_u32(out, v->req_cons);
	buf_u32(out, v->rsp_prod);
	return v->in_flight ? -EBUSY : buf_ok(out) ? 0 : -ENOMEM;
}

int vbd_load(struct vbd *v, struct reader *r)
{
	uint32_t state = reader_u32(r);
	uint8_t flags = reader_u8(r);
	uint32_t ref = reader_u32(r), port = reader_u32(r);
	RING_IDX cons = reader_u32(r), prod = reader_u32(r);
	int rc;

	if (!reader_ok(r) || state > 8 || flags > 3 || (flags == 1 && cons != prod))
		return -EINVAL;
	v->x.state = state;
	if (!(flags & 1))
		return 0;
	rc = vbd_attach(v, ref, port, false);
	if (rc < 0)
		return rc;
	v->x.connected = true;
	v->broken = flags & 2;
	v->req_cons = v->rsp_prod = v->rsp_told = prod;
	return 0;
}
