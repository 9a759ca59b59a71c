/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The channels of a domain (lib/proto/store.h): the guest's, relayed by its hv-domain from the ring, and its back ends'. Both
 * are replaceable: what they carry belongs to the domain, and is sent again on the next one.
 *
 *	REQ seq = last+1 --> executed, journalled, REPLY        REQ seq = last --> REPLY from the journal
 *	the very first   --> executed under whatever seq it has: the store may be younger than the domain
 *	any other seq    --> the channel is closed: that relay has lost count
 */
#include "dom0/xenstored/stored.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dom0/xenstored/store_state.h"
#include "lib/log.h"
#include "lib/proto/store.h"

#define EVENT_WINDOW 16		/* events under way to one guest */
#define PACKETS_A_TURN 16

struct guest_channel {
	struct stored *daemon;
	struct store_domain *domain;
	int fd;
	bool polled_out, reply_due;
	uint8_t held[STORE_MSG_MAX];	/* the request that waits until the guest takes its events */
	size_t held_len;
	uint64_t held_seq;
};

struct backend_channel {
	struct stored *daemon;
	struct backend_channel *next;
	struct store_conn *conn;
	uint32_t domid;
	int fd;
	bool polled_out;
	struct buf out;			/* whole messages, one behind the other */
	size_t out_done;
};

/* ---- guest: sending ---- */

static int32_t guest_ready(int32_t fd, int32_t revents, void *data);

/* 0, or -errno of send. */
static int packet_send(int fd, uint32_t kind, uint64_t seq, const void *payload, size_t len)
{
	struct buf b = BUF_INIT(STORE_PACKET_MAX);
	ssize_t r;
	int rc = -EMSGSIZE;

	buf_u32(&b, kind);
	buf_u32(&b, (uint32_t)len);
	buf_u64(&b, seq);
	buf_bytes(&b, payload, len);
	if (buf_ok(&b)) {
		r = send(fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		rc = r < 0 ? -errno : 0;
	}
	buf_free(&b);
	return rc;
}

static int event_send(const struct guest_channel *g, const struct store_event *e)
{
	struct buf body = BUF_INIT(XENSTORE_PAYLOAD_MAX), msg = BUF_INIT(STORE_MSG_MAX);
	int rc = -EMSGSIZE;

	buf_bytes(&body, e->path, strlen(e->path) + 1);
	buf_bytes(&body, e->token, strlen(e->token) + 1);
	store_message(&msg, XS_WATCH_EVENT, 0, 0, body.data, body.len);
	if (buf_ok(&body) && buf_ok(&msg))
		rc = packet_send(g->fd, STORE_EVENT, e->seq, msg.data, msg.len);
	buf_free(&body);
	buf_free(&msg);
	return rc;
}

static void guest_pump(struct guest_channel *g)
{
	struct store_domain *d = g->domain;
	struct store_event *e;
	unsigned window = 0;
	int rc = 0;

	if (g->reply_due)
		rc = packet_send(g->fd, STORE_REPLY, d->last_seq, d->last_reply, d->last_reply_len);
	if (rc == 0)
		g->reply_due = false;
	for (e = d->events; rc == 0 && e && window < EVENT_WINDOW; e = e->next, window++) {
		if (e->sent)
			continue;
		rc = event_send(g, e);
		e->sent = rc == 0 || rc == -EMSGSIZE;
		e->offered |= e->sent;
	}
	if (rc < 0 && rc != -EAGAIN && rc != -EMSGSIZE)
		shutdown(g->fd, SHUT_RDWR);	/* its poll event closes it */
	if ((rc == -EAGAIN) != g->polled_out)
		qb_loop_poll_mod(g->daemon->loop, QB_LOOP_MED, g->fd, POLLIN | (rc == -EAGAIN ? POLLOUT : 0), g, guest_ready);
	g->polled_out = rc == -EAGAIN;
}

/* ---- guest: receiving ---- */

static void guest_close(struct guest_channel *g)
{
	qb_loop_poll_del(g->daemon->loop, g->fd);
	close(g->fd);
	g->domain->channel = NULL;
	free(g);
}

static void request_execute(struct guest_channel *g, uint64_t seq, const uint8_t *msg, size_t len)
{
	struct store_domain *d = g->domain;
	struct buf reply = BUF_INIT(STORE_MSG_MAX);

	store_request(d->guest, msg, len, &reply);
	if (buf_ok(&reply) && store_domain_reply_set(d, seq, reply.data, reply.len) == 0) {
		state_log_reply(d->guest->store, d);
		g->reply_due = true;
	} else {
		log_err("domain %u: no memory for a reply; its channel is closed", d->domid);
		shutdown(g->fd, SHUT_RDWR);
	}
	buf_free(&reply);
	stored_settle(g->daemon);
}

static void held_release(struct guest_channel *g)
{
	size_t len = g->held_len;

	if (!len || g->domain->n_events >= STORE_EVENTS_HIGH)
		return;
	g->held_len = 0;
	request_execute(g, g->held_seq, g->held, len);
}

/* false: the relay broke the protocol. */
static bool request_take(struct guest_channel *g, uint64_t seq, const uint8_t *msg, size_t len)
{
	struct store_domain *d = g->domain;

	if (seq == d->last_seq && seq) {
		g->reply_due = true;
		guest_pump(g);
		return true;
	}
	if (!seq || (d->last_seq && seq != d->last_seq + 1) || g->held_len || len < sizeof(struct xsd_sockmsg) || len > sizeof(g->held))
		return false;
	if (d->n_events < STORE_EVENTS_HIGH) {
		request_execute(g, seq, msg, len);
		return true;
	}
	memcpy(g->held, msg, len);
	g->held_len = len;
	g->held_seq = seq;
	return true;
}

static bool ack_take(struct guest_channel *g, uint64_t seq)
{
	struct store_domain *d = g->domain;

	if (seq > d->event_seq)
		return false;
	if (d->events && seq >= d->events->seq) {
		store_domain_event_ack(d, seq);
		state_log_ack(d->guest->store, d->domid, seq);
	}
	held_release(g);
	stored_settle(g->daemon);
	return true;
}

static bool reset_take(struct guest_channel *g)
{
	g->held_len = 0;
	store_domain_reset(g->domain);
	stored_settle(g->daemon);
	return true;
}

static bool packet_take(struct guest_channel *g, const uint8_t *packet, size_t n)
{
	struct reader r;
	uint32_t kind, len;
	uint64_t seq;

	reader_init(&r, packet, n);
	kind = reader_u32(&r);
	len = reader_u32(&r);
	seq = reader_u64(&r);
	if (!reader_ok(&r) || len != r.left)
		return false;
	switch (kind) {
	case STORE_REQ:
		return request_take(g, seq, r.p, len);
	case STORE_EVENT_ACK:
		return len == 0 && ack_take(g, seq);
	case STORE_RESET:
		return len == 0 && reset_take(g);
	default:
		return false;
	}
}

static int32_t guest_ready(int32_t fd, int32_t revents, void *data)
{
	struct guest_channel *g = data;
	static uint8_t packet[STORE_PACKET_MAX + 1];
	ssize_t r = -1;
	int turn;

	if (revents & POLLOUT)
		guest_pump(g);
	for (turn = 0; turn < PACKETS_A_TURN; turn++) {
		r = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
		if (r <= 0)
			break;
		if (!packet_take(g, packet, (size_t)r)) {
			log_warn("domain %u: its relay sent what the store protocol has no place for; channel closed",
				 g->domain->domid);
			r = 0;
			break;
		}
	}
	if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
		guest_close(g);
	return 0;
}

static int guest_open(struct stored *d, struct store_domain *domain, int fd)
{
	struct guest_channel *g = calloc(1, sizeof(*g));
	struct store_event *e;

	if (!g)
		return -ENOMEM;
	if (domain->channel)
		guest_close(domain->channel);
	*g = (struct guest_channel){ .daemon = d, .domain = domain, .fd = fd };
	if (qb_loop_poll_add(d->loop, QB_LOOP_MED, fd, POLLIN, g, guest_ready) < 0) {
		free(g);
		return -ENOMEM;
	}
	domain->channel = g;
	for (e = domain->events; e; e = e->next)
		e->sent = false;
	return 0;
}

/* ---- back ends ---- */

static int32_t backend_ready(int32_t fd, int32_t revents, void *data);

static void backend_close(struct backend_channel *b)
{
	struct backend_channel **at;

	for (at = &b->daemon->backends; *at != b; at = &(*at)->next)
		;
	*at = b->next;
	qb_loop_poll_del(b->daemon->loop, b->fd);
	close(b->fd);
	store_conn_free(b->conn);
	buf_free(&b->out);
	free(b);
}

static void backend_pump(struct backend_channel *b)
{
	struct xsd_sockmsg hdr;
	ssize_t r = 0;
	bool want;

	if (!buf_ok(&b->out)) {
		log_warn("domain %u: its back ends do not take their messages; channel closed", b->domid);
		shutdown(b->fd, SHUT_RDWR);
		b->out.len = b->out_done = 0;
		b->out.bad = false;
	}
	while (b->out_done < b->out.len && store_header(b->out.data + b->out_done, b->out.len - b->out_done, &hdr)) {
		r = send(b->fd, b->out.data + b->out_done, sizeof(hdr) + hdr.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (r < 0)
			break;
		b->out_done += sizeof(hdr) + hdr.len;
	}
	if (r < 0 && errno != EAGAIN && errno != EINTR)
		shutdown(b->fd, SHUT_RDWR);
	if (b->out_done == b->out.len)
		b->out.len = b->out_done = 0;
	want = b->out.len > 0;
	if (want != b->polled_out)
		qb_loop_poll_mod(b->daemon->loop, QB_LOOP_MED, b->fd, POLLIN | (want ? POLLOUT : 0), b, backend_ready);
	b->polled_out = want;
}

static void backend_event(struct store_conn *c, const char *path, const char *token)
{
	struct backend_channel *b = c->arg;
	struct buf body = BUF_INIT(XENSTORE_PAYLOAD_MAX);

	buf_bytes(&body, path, strlen(path) + 1);
	buf_bytes(&body, token, strlen(token) + 1);
	if (buf_ok(&body))
		store_message(&b->out, XS_WATCH_EVENT, 0, 0, body.data, body.len);
	buf_free(&body);
}

static int32_t backend_ready(int32_t fd, int32_t revents, void *data)
{
	struct backend_channel *b = data;
	static uint8_t packet[STORE_MSG_MAX + 1];
	ssize_t r = -1;
	int turn;

	if (revents & POLLOUT)
		backend_pump(b);
	for (turn = 0; turn < PACKETS_A_TURN; turn++) {
		r = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
		if (r <= 0)
			break;
		store_request(b->conn, packet, (size_t)r, &b->out);
		stored_settle(b->daemon);
	}
	if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
		backend_close(b);
	return 0;
}

static int backend_open(struct stored *d, uint32_t domid, int fd)
{
	struct backend_channel *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	*b = (struct backend_channel){ .daemon = d, .domid = domid, .fd = fd };
	buf_init(&b->out, STORED_BACKEND_OUT_MAX);
	b->conn = store_conn_new(&d->store, STORE_CONN_BACKEND, domid);
	if (!b->conn || qb_loop_poll_add(d->loop, QB_LOOP_MED, fd, POLLIN, b, backend_ready) < 0) {
		store_conn_free(b->conn);
		free(b);
		return -ENOMEM;
	}
	b->conn->event = backend_event;
	b->conn->arg = b;
	b->next = d->backends;
	d->backends = b;
	return 0;
}

static void backends_close(struct stored *d, uint32_t domid)
{
	struct backend_channel *b, *next;

	for (b = d->backends; b; b = next) {
		next = b->next;
		if (b->domid == domid)
			backend_close(b);
	}
}

/* ---- both ---- */

int channel_introduce(struct stored *d, uint32_t domid, int guest_fd, int backend_fd)
{
	struct store_domain *domain;
	int rc = store_domain_introduce(&d->store, domid, &domain);

	if (rc == 0 && guest_fd >= 0) {
		rc = guest_open(d, domain, guest_fd);
		guest_fd = rc == 0 ? -1 : guest_fd;
	}
	if (rc == 0 && backend_fd >= 0) {
		backends_close(d, domid);
		rc = backend_open(d, domid, backend_fd);
		backend_fd = rc == 0 ? -1 : backend_fd;
	}
	if (guest_fd >= 0)
		close(guest_fd);
	if (backend_fd >= 0)
		close(backend_fd);
	return rc;
}

void channel_forget(struct stored *d, uint32_t domid)
{
	struct store_domain *domain = store_domain_find(&d->store, domid);

	if (domain && domain->channel)
		guest_close(domain->channel);
	backends_close(d, domid);
}

void channel_pump_all(struct stored *d)
{
	struct backend_channel *b;
	struct store_domain *domain;

	for (domain = d->store.domains; domain; domain = domain->next)
		if (domain->channel)
			guest_pump(domain->channel);
	for (b = d->backends; b; b = b->next)
		if (b->out.len || b->out.bad)
			backend_pump(b);
}
