/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * console_ring.c - relays the PV console (xen/io/console.h) between the guest's page and xenconsoled.
 *
 * The guest never waits for a lost xenconsoled: what it prints goes to a bounded buffer, whose oldest octets give way.  While
 * xenconsoled is there but slow the guest's ring holds the rest, as it does on Xen.
 */
#include "hypervisor/devices/device_priv.h"

#include "lib/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xen/io/console.h>

#define OUT_SIZE 65536                /* octets kept for xenconsoled */
#define PACKET_MAX 2048
#define EARLY_MAX 16384               /* console_io octets on their way from vCPU threads */

struct console_ring {
	struct devices *ds;
	int fd;
	struct io_fd *h;
	int slot;
	bool quiet;

	char out[OUT_SIZE];                  /* circular: guest to xenconsoled */
	size_t out_pos, out_len;
	char in[PACKET_MAX];                 /* xenconsoled to guest: a packet, and what a channel that ended still held */
	size_t in_pos, in_len;

	pthread_mutex_t early_lock;          /* over early and early_len */
	char early[EARLY_MAX];
	size_t early_len;
	struct io_wake *early_wake;
};

static struct xencons_interface *ring_page(struct console_ring *c)
{
	return domain_frame(c->ds->d, c->ds->d->console_mfn);
}

/* ---- towards xenconsoled ---- */

static void out_append(struct console_ring *c, const char *p, size_t n)
{
	if (n > OUT_SIZE) {
		p += n - OUT_SIZE;
		n = OUT_SIZE;
	}
	if (c->out_len + n > OUT_SIZE) {
		size_t lost = c->out_len + n - OUT_SIZE;

		c->out_pos = (c->out_pos + lost) % OUT_SIZE;
		c->out_len -= lost;
	}
	for (size_t i = 0; i < n; i++)
		c->out[(c->out_pos + c->out_len + i) % OUT_SIZE] = p[i];
	c->out_len += n;
}

static void out_send(struct console_ring *c)
{
	while (c->fd >= 0 && c->out_len) {
		size_t n = OUT_SIZE - c->out_pos;
		ssize_t r;

		if (n > c->out_len)
			n = c->out_len;
		if (n > PACKET_MAX)
			n = PACKET_MAX;
		r = send(c->fd, c->out + c->out_pos, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0)
			break;
		c->out_pos = (c->out_pos + (size_t)r) % OUT_SIZE;
		c->out_len -= (size_t)r;
	}
}

static bool ring_to_out(struct console_ring *c, struct xencons_interface *r)
{
	XENCONS_RING_IDX cons = __atomic_load_n(&r->out_cons, __ATOMIC_RELAXED);
	XENCONS_RING_IDX prod = __atomic_load_n(&r->out_prod, __ATOMIC_ACQUIRE);
	XENCONS_RING_IDX n = prod - cons;
	char tmp[sizeof(r->out)];

	if (n > sizeof(r->out)) {                          /* a lie: skip to where the guest claims to be */
		__atomic_store_n(&r->out_cons, prod, __ATOMIC_RELEASE);
		return true;
	}
	if (c->fd >= 0 && n > OUT_SIZE - c->out_len)
		n = (XENCONS_RING_IDX)(OUT_SIZE - c->out_len);
	if (!n)
		return false;
	for (XENCONS_RING_IDX i = 0; i < n; i++)
		tmp[i] = r->out[MASK_XENCONS_IDX(cons + i, r->out)];
	out_append(c, tmp, n);
	__atomic_store_n(&r->out_cons, cons + n, __ATOMIC_RELEASE);
	return true;
}

/* ---- towards the guest ---- */

static bool in_to_ring(struct console_ring *c, struct xencons_interface *r)
{
	XENCONS_RING_IDX prod = __atomic_load_n(&r->in_prod, __ATOMIC_RELAXED);
	XENCONS_RING_IDX cons = __atomic_load_n(&r->in_cons, __ATOMIC_ACQUIRE);
	XENCONS_RING_IDX start = prod;

	if (prod - cons > sizeof(r->in))
		return false;
	while (c->in_len && prod - cons < sizeof(r->in)) {
		r->in[MASK_XENCONS_IDX(prod, r->in)] = c->in[c->in_pos++];
		c->in_len--;
		prod++;
	}
	__atomic_store_n(&r->in_prod, prod, __ATOMIC_RELEASE);
	return prod != start;
}

static void channel_poll(struct console_ring *c)
{
	if (c->fd >= 0)
		io_fd_set(c->h, c->quiet ? 0 : (c->in_len ? 0 : EPOLLIN) | (c->out_len ? EPOLLOUT : 0));
}

/* What was typed into the channel that ends (hypervisord came back and made another) the guest still gets, if it fits. */
static void in_keep(struct console_ring *c)
{
	ssize_t n = 1;

	memmove(c->in, c->in + c->in_pos, c->in_len);
	c->in_pos = 0;
	while (n > 0 && c->in_len < sizeof(c->in)) {
		n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
		c->in_len += n > 0 ? (size_t)n : 0;
	}
}

static void channel_lost(struct console_ring *c)
{
	in_keep(c);
	io_fd_del(c->h);
	c->h = NULL;
	close(c->fd);
	c->fd = -1;
}

static void channel_event(void *arg, uint32_t events)
{
	struct console_ring *c = arg;
	ssize_t n;

	if (events & EPOLLIN && !c->in_len) {
		n = recv(c->fd, c->in, sizeof(c->in), MSG_DONTWAIT);
		if (n > 0) {
			c->in_pos = 0;
			c->in_len = (size_t)n;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			channel_lost(c);
		}
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		channel_lost(c);
	}
	console_ring_serve(c);
}

/* ---- both ---- */

void console_ring_serve(struct console_ring *c)
{
	struct xencons_interface *r = ring_page(c);
	bool moved;

	if (r && !c->quiet && devices_serving(c->ds)) {
		out_send(c);
		moved = ring_to_out(c, r);
		moved |= in_to_ring(c, r);
		if (moved) {
			device_frame_written(c->ds->d, c->ds->d->console_mfn);
			evtchn_raise(c->ds->d, c->ds->d->console_port);
		}
	}
	out_send(c);
	channel_poll(c);
}

static void ring_notified(void *arg)
{
	console_ring_serve(arg);
}

static void early_take(struct console_ring *c)
{
	pthread_mutex_lock(&c->early_lock);
	out_append(c, c->early, c->early_len);
	c->early_len = 0;
	pthread_mutex_unlock(&c->early_lock);
}

static void early_drain(void *arg)
{
	early_take(arg);
	console_ring_serve(arg);
}

/* Drops what does not fit: a guest that floods console_io loses its own lines. */
void console_ring_early(struct console_ring *c, const char *s, size_t n)
{
	pthread_mutex_lock(&c->early_lock);
	if (n > EARLY_MAX - c->early_len)
		n = EARLY_MAX - c->early_len;
	memcpy(c->early + c->early_len, s, n);
	c->early_len += n;
	pthread_mutex_unlock(&c->early_lock);
	io_wake_ring(c->early_wake);
}

struct console_ring *console_ring_create(struct devices *ds)
{
	struct console_ring *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->ds = ds;
	c->fd = -1;
	c->slot = -1;
	pthread_mutex_init(&c->early_lock, NULL);
	c->early_wake = io_wake_add(ds->loop, early_drain, c);
	if (c->early_wake)
		return c;
	free(c);
	return NULL;
}

void console_ring_destroy(struct console_ring *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		channel_lost(c);
	devices_port_forget(c->ds, c->slot);
	io_wake_del(c->early_wake);
	pthread_mutex_destroy(&c->early_lock);
	free(c);
}

void console_ring_set_channel(struct console_ring *c, int fd)
{
	if (c->fd >= 0)
		channel_lost(c);
	c->h = io_fd_add(c->ds->loop, fd, 0, channel_event, c);
	if (!c->h) {
		log_err("domain %u: console channel: %s", c->ds->d->domid, strerror(errno));
		close(fd);
		return;
	}
	c->fd = fd;
	console_ring_serve(c);
}

int console_ring_start(struct console_ring *c)
{
	struct domain *d = c->ds->d;
	int rc;

	if (!ring_page(c))
		return -EINVAL;
	if (!c->ds->loaded) {
		rc = evtchn_connect_backend(d, d->console_port);
		if (rc < 0)
			return rc;
	}
	c->slot = devices_port_listen(c->ds, d->console_port, ring_notified, c);
	return c->slot < 0 ? c->slot : 0;
}

void console_ring_quiet(struct console_ring *c, bool quiet)
{
	c->quiet = quiet;
	console_ring_serve(c);
}

/* Typed-ahead input travels; output waiting for xenconsoled, too: the log of the target continues with it. */
int console_ring_save(struct console_ring *c, struct buf *out)
{
	early_take(c);
	buf_u32(out, (uint32_t)c->in_len);
	buf_bytes(out, c->in + c->in_pos, c->in_len);
	buf_u32(out, (uint32_t)c->out_len);
	for (size_t i = 0; i < c->out_len; i++)
		buf_u8(out, (uint8_t)c->out[(c->out_pos + i) % OUT_SIZE]);
	return buf_ok(out) ? 0 : -ENOMEM;
}

int console_ring_load(struct console_ring *c, struct reader *r)
{
	c->in_pos = c->out_pos = 0;
	c->in_len = reader_u32(r);
	if (c->in_len > sizeof(c->in) || !reader_bytes(r, c->in, c->in_len))
		return -EINVAL;
	c->out_len = reader_u32(r);
	if (c->out_len > OUT_SIZE || !reader_bytes(r, c->out, c->out_len))
		return -EINVAL;
	return 0;
}
