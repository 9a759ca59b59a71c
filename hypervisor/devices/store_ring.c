/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store_ring.c - relays whole messages between the guest's xenstore page and xenstored (lib/proto/store.h).
 *
 * Holds: the request being assembled, the one request without an answer, and what waits for room on the reply ring.
 * The guest's indices and lengths are read once and bounded; a ring that lies is left alone until the domain ends, since its
 * framing is lost (xen/io/xs_wire.h: XENSTORE_ERROR_*).
 *
 *      guest ring --(whole message)--> unanswered --REQ--> xenstored
 *      guest ring <--(as room allows)-- out queue <--REPLY, EVENT-- xenstored
 */
#include "hypervisor/devices/device_priv.h"

#include "lib/log.h"
#include "lib/proto/store.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OUT_MAX 64                    /* messages waiting for the reply ring; then the channel is not read */

struct out_msg {
	struct out_msg *next;
	uint64_t event_seq;                  /* 0: a reply */
	size_t len, done;
	uint8_t data[];
};

struct store_ring {
	struct devices *ds;
	int fd;
	struct io_fd *h;
	int slot;                            /* port */
	bool quiet, broken;
	bool unfenced;                       /* an index of ours was stored since the vCPUs' last barrier */

	uint8_t in[STORE_MSG_MAX];           /* bytes of the message being assembled, or the unanswered message */
	size_t in_len;
	bool unanswered, sent;
	uint64_t req_seq;                    /* of the last request */
	uint64_t event_seq;                  /* of the last event received */

	struct out_msg *out, **out_tail;
	unsigned nr_out;

	uint64_t *acks;                      /* event seqs to acknowledge when the channel has room */
	unsigned nr_acks, cap_acks;
};

static struct xenstore_domain_interface *ring_page(struct store_ring *s)
{
	return domain_frame(s->ds->d, s->ds->d->store_mfn);
}

/* ---- guest to xenstored ---- */

static void ring_break(struct store_ring *s, struct xenstore_domain_interface *r, uint32_t error)
{
	log_warn("domain %u: its store ring is corrupt (error %u); the store ignores the domain from here on", s->ds->d->domid, error);
	s->broken = true;
	r->error = error;
	device_frame_written(s->ds->d, s->ds->d->store_mfn);
}

/*
 * Whether to look at the guest's index again before it is believed.
 *
 * A guest tells us of what it wrote only if we had taken everything before it, and of room only if it found the ring full (Linux'
 * xb_write: "prod <= req_cons", xb_read: "rsp_prod - cons >= XENSTORE_RING_SIZE").  So each side stores its own index, then loads
 * the other's, and needs a barrier between, or both take the other to be awake and a message lies in the ring for ever.  Linux
 * has none there: its processor may load before the store is seen.  xenstored of Xen gets away with it, as it looks again
 * microseconds later; we look at once.  The barrier of the guest's side is therefore made from here: membarrier(2) returns when
 * each vCPU's thread has been through one, and what it stored before is seen by the next look.
 */
static bool look_again(struct store_ring *s)
{
	if (!s->unfenced)
		return false;
	s->unfenced = false;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
		log_err("domain %u: membarrier: %s; the guest's store may stall", s->ds->d->domid, strerror(errno));
	return true;
}

/* Moves up to `want` octets from the ring to the message; how many came, or -1: the ring is broken. */
static ssize_t ring_take(struct store_ring *s, struct xenstore_domain_interface *r, size_t want)
{
	uint32_t cons = __atomic_load_n(&r->req_cons, __ATOMIC_RELAXED);
	uint32_t prod = __atomic_load_n(&r->req_prod, __ATOMIC_SEQ_CST);
	uint32_t n = prod - cons;

	if (n > XENSTORE_RING_SIZE) {
		ring_break(s, r, XENSTORE_ERROR_RINGIDX);
		return -1;
	}
	if (n > want)
		n = (uint32_t)want;
	for (uint32_t i = 0; i < n; i++)
		s->in[s->in_len + i] = (uint8_t)r->req[MASK_XENSTORE_IDX(cons + i)];
	s->in_len += n;
	if (n) {
		__atomic_store_n(&r->req_cons, cons + n, __ATOMIC_SEQ_CST);
		s->unfenced = true;
	}
	return n;
}

/* true: the message in s->in is whole. */
static bool ring_assemble(struct store_ring *s, struct xenstore_domain_interface *r, bool *moved)
{
	struct xsd_sockmsg h;
	size_t need;
	ssize_t n;

	for (;;) {
		need = sizeof(h);
		if (s->in_len >= sizeof(h)) {
			memcpy(&h, s->in, sizeof(h));
			if (h.len > XENSTORE_PAYLOAD_MAX) {
				ring_break(s, r, XENSTORE_ERROR_PROTO);
				return false;
			}
			need += h.len;
			if (s->in_len == need)
				return true;
		}
		n = ring_take(s, r, need - s->in_len);
		if (n < 0 || (n == 0 && !look_again(s)))
			return false;
		*moved |= n > 0;
	}
}

static bool channel_send(struct store_ring *s, uint32_t kind, uint64_t seq, const void *p, size_t n)
{
	struct store_hdr h = { .kind = kind, .len = (uint32_t)n, .seq = seq };
	uint8_t packet[STORE_PACKET_MAX];

	memcpy(packet, &h, sizeof(h));
	if (n)
		memcpy(packet + sizeof(h), p, n);
	return send(s->fd, packet, sizeof(h) + n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void serve_requests(struct store_ring *s, struct xenstore_domain_interface *r)
{
	bool moved = false;

	if (!s->unanswered && ring_assemble(s, r, &moved)) {
		s->unanswered = true;
		s->sent = false;
		s->req_seq++;
	}
	if (s->unanswered && !s->sent && s->fd >= 0)
		s->sent = channel_send(s, STORE_REQ, s->req_seq, s->in, s->in_len);
	if (moved) {
		device_frame_written(s->ds->d, s->ds->d->store_mfn);
		evtchn_raise(s->ds->d, s->ds->d->store_port);
	}
}

/* ---- xenstored to guest ---- */

static void ack_queue(struct store_ring *s, uint64_t seq)
{
	uint64_t *p;

	if (s->nr_acks == s->cap_acks) {
		p = realloc(s->acks, (s->cap_acks + 16) * sizeof(*p));
		if (!p)
			return;                            /* xenstored sends the event again on the next channel; it is dropped then */
		s->acks = p;
		s->cap_acks += 16;
	}
	s->acks[s->nr_acks++] = seq;
}

static void acks_send(struct store_ring *s)
{
	unsigned i = 0;

	while (s->fd >= 0 && i < s->nr_acks && channel_send(s, STORE_EVENT_ACK, s->acks[i], NULL, 0))
		i++;
	if (i)
		memmove(s->acks, s->acks + i, (s->nr_acks - i) * sizeof(*s->acks));
	s->nr_acks -= i;
}

static void out_pop(struct store_ring *s)
{
	struct out_msg *m = s->out;

	if (m->event_seq)
		ack_queue(s, m->event_seq);
	s->out = m->next;
	if (!s->out)
		s->out_tail = &s->out;
	s->nr_out--;
	free(m);
}

/* What fits of the queue goes to the ring; how many octets. */
static uint32_t ring_fill(struct store_ring *s, struct xenstore_domain_interface *r, uint32_t prod, uint32_t room)
{
	uint32_t start = prod;

	while (s->out && room) {
		struct out_msg *m = s->out;
		uint32_t n = m->len - m->done < room ? (uint32_t)(m->len - m->done) : room;

		for (uint32_t i = 0; i < n; i++)
			r->rsp[MASK_XENSTORE_IDX(prod + i)] = (char)m->data[m->done + i];
		m->done += n;
		prod += n;
		room -= n;
		if (m->done == m->len)
			out_pop(s);
	}
	return prod - start;
}

static void serve_replies(struct store_ring *s, struct xenstore_domain_interface *r)
{
	uint32_t prod = __atomic_load_n(&r->rsp_prod, __ATOMIC_RELAXED), start = prod;

	for (;;) {
		uint32_t used = prod - __atomic_load_n(&r->rsp_cons, __ATOMIC_SEQ_CST), n;

		if (used > XENSTORE_RING_SIZE) {
			ring_break(s, r, XENSTORE_ERROR_RINGIDX);
			return;
		}
		n = ring_fill(s, r, prod, XENSTORE_RING_SIZE - used);
		if (n) {
			prod += n;
			__atomic_store_n(&r->rsp_prod, prod, __ATOMIC_SEQ_CST);
			s->unfenced = true;
		} else if (!s->out || !look_again(s)) {
			break;
		}
	}
	if (prod == start)
		return;
	device_frame_written(s->ds->d, s->ds->d->store_mfn);
	evtchn_raise(s->ds->d, s->ds->d->store_port);
}

static int out_push(struct store_ring *s, const uint8_t *p, size_t n, size_t done, uint64_t event_seq)
{
	struct out_msg *m = malloc(sizeof(*m) + n);

	if (!m)
		return -ENOMEM;
	m->next = NULL;
	m->event_seq = event_seq;
	m->len = n;
	m->done = done;
	memcpy(m->data, p, n);
	*s->out_tail = m;
	s->out_tail = &m->next;
	s->nr_out++;
	return 0;
}

/* xenstored's bytes: framing is checked all the same, the guest must never see a torn message. */
static void channel_message(struct store_ring *s, const uint8_t *p, size_t n)
{
	struct store_hdr h;
	struct xsd_sockmsg m;

	if (n < sizeof(h) + sizeof(m))
		return;
	memcpy(&h, p, sizeof(h));
	memcpy(&m, p + sizeof(h), sizeof(m));
	if (h.len != n - sizeof(h) || m.len != h.len - sizeof(m))
		return;
	if (h.kind == STORE_REPLY && s->unanswered && h.seq == s->req_seq) {
		if (out_push(s, p + sizeof(h), h.len, 0, 0) < 0)
			return;
		s->unanswered = false;
		s->in_len = 0;
	} else if (h.kind == STORE_EVENT && h.seq > s->event_seq) {
		if (out_push(s, p + sizeof(h), h.len, 0, h.seq) == 0)
			s->event_seq = h.seq;
	} else if (h.kind == STORE_EVENT) {
		for (struct out_msg *o = s->out; o; o = o->next)
			if (o->event_seq == h.seq)
				return;                    /* acknowledged when it is on the ring */
		ack_queue(s, h.seq);
	}
}

static void channel_poll(struct store_ring *s)
{
	bool serving = !s->quiet && !s->broken && devices_serving(s->ds);
	uint32_t events = 0;

	if (s->fd < 0)
		return;
	if (!s->quiet && s->nr_out < OUT_MAX)
		events |= EPOLLIN;
	if (serving && ((s->unanswered && !s->sent) || s->nr_acks))
		events |= EPOLLOUT;
	io_fd_set(s->h, events);
}

static void channel_lost(struct store_ring *s)
{
	io_fd_del(s->h);
	s->h = NULL;
	close(s->fd);
	s->fd = -1;
	s->sent = false;
}

static void channel_event(void *arg, uint32_t events)
{
	struct store_ring *s = arg;
	uint8_t packet[STORE_PACKET_MAX];
	ssize_t n;

	while (s->fd >= 0 && !s->quiet && s->nr_out < OUT_MAX) {
		n = recv(s->fd, packet, sizeof(packet), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			channel_lost(s);
			return;
		}
		channel_message(s, packet, (size_t)n);
	}
	if (s->fd >= 0 && (events & (EPOLLHUP | EPOLLERR)) && (s->quiet || s->nr_out >= OUT_MAX)) {
		channel_lost(s);                           /* what it still held is sent again on the next one */
		return;
	}
	store_ring_serve(s);
	channel_poll(s);
}

/* ---- both ---- */

static void ring_notified(void *arg)
{
	store_ring_serve(arg);
}

void store_ring_serve(struct store_ring *s)
{
	struct xenstore_domain_interface *r = ring_page(s);

	if (!r || s->broken || s->quiet || !devices_serving(s->ds))
		return;
	serve_replies(s, r);
	if (!s->broken)
		serve_requests(s, r);
	acks_send(s);
	channel_poll(s);
}

struct store_ring *store_ring_create(struct devices *ds)
{
	struct store_ring *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0)
		log_err("domain %u: membarrier: %s; does the kernel lack CONFIG_MEMBARRIER?", ds->d->domid, strerror(errno));
	s->ds = ds;
	s->fd = -1;
	s->slot = -1;
	s->out_tail = &s->out;
	return s;
}

void store_ring_destroy(struct store_ring *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		channel_lost(s);
	devices_port_forget(s->ds, s->slot);
	while (s->out)
		out_pop(s);
	free(s->acks);
	free(s);
}

void store_ring_set_channel(struct store_ring *s, int fd)
{
	if (s->fd >= 0)
		channel_lost(s);
	s->h = io_fd_add(s->ds->loop, fd, s->quiet ? 0 : EPOLLIN, channel_event, s);
	if (!s->h) {
		log_err("domain %u: store channel: %s", s->ds->d->domid, strerror(errno));
		close(fd);
		return;
	}
	s->fd = fd;
	s->sent = false;
	s->nr_acks = 0;                                    /* events without an acknowledgement come again */
	store_ring_serve(s);
}

int store_ring_start(struct store_ring *s)
{
	struct domain *d = s->ds->d;
	int rc;

	if (!ring_page(s))
		return -EINVAL;
	if (!s->ds->loaded) {
		rc = evtchn_connect_backend(d, d->store_port);
		if (rc < 0)
			return rc;
	}
	s->slot = devices_port_listen(s->ds, d->store_port, ring_notified, s);
	return s->slot < 0 ? s->slot : 0;
}

void store_ring_quiet(struct store_ring *s, bool quiet)
{
	s->quiet = quiet;
	if (s->fd >= 0 && quiet)
		io_fd_set(s->h, 0);
	if (!quiet)
		store_ring_serve(s);
}

/* ---- image: docs/specs/image.md, device record DEVICE_STORE ---- */

int store_ring_save(struct store_ring *s, struct buf *out)
{
	buf_u64(out, s->req_seq);
	buf_u64(out, s->event_seq);
	buf_u8(out, (uint8_t)(s->unanswered | s->broken << 1));
	buf_u32(out, (uint32_t)s->in_len);
	buf_bytes(out, s->in, s->in_len);
	buf_u32(out, s->nr_out);
	for (struct out_msg *m = s->out; m; m = m->next) {
		buf_u64(out, m->event_seq);
		buf_u32(out, (uint32_t)m->done);
		buf_u32(out, (uint32_t)m->len);
		buf_bytes(out, m->data, m->len);
	}
	return buf_ok(out) ? 0 : -ENOMEM;
}

int store_ring_load(struct store_ring *s, struct reader *r)
{
	uint8_t flags;
	uint32_t n;

	s->req_seq = reader_u64(r);
	s->event_seq = reader_u64(r);
	flags = reader_u8(r);
	s->unanswered = flags & 1;
	s->broken = flags & 2;
	s->in_len = reader_u32(r);
	if (s->in_len > sizeof(s->in) || !reader_bytes(r, s->in, s->in_len))
		return -EINVAL;
	n = reader_u32(r);
	if (n > OUT_MAX + 1)
		return -EINVAL;
	while (n--) {
		uint64_t seq = reader_u64(r);
		uint32_t done = reader_u32(r), len = reader_u32(r);
		const uint8_t *p;

		if (len > STORE_MSG_MAX || done > len)
			return -EINVAL;
		p = reader_view(r, len);
		if (!p)
			return -EINVAL;
		if (out_push(s, p, len, done, seq) < 0)
			return -ENOMEM;
	}
	return reader_ok(r) ? 0 : -EINVAL;
}
