/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xs_client.c - requests and watches of the back ends, one packet each.
 *
 * A few requests are in flight at a time (WINDOW); the rest wait in order.  Watches carry their number as token.
 */
#include "hypervisor/devices/xs_client.h"

#include "lib/log.h"
#include "lib/proto/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define WINDOW 16

struct request {
	struct request *next;
	uint32_t type, id;
	bool sent;
	xs_reply_fn *fn;
	void *arg;
	size_t len;
	char body[];
};

struct watch {
	struct watch *next;
	unsigned token;
	xs_watch_fn *fn;
	void *arg;
	char path[];
};

struct xs_client {
	struct io_loop *l;
	int fd;
	struct io_fd *h;
	bool quiet;
	uint32_t next_id;
	unsigned next_token, in_flight;
	struct request *head, **tail;
	struct watch *watches;
};

static void client_pump(struct xs_client *c);

/* ---- sending ---- */

static int client_queue(struct xs_client *c, uint32_t type, const void *body, size_t len, xs_reply_fn *fn, void *arg)
{
	struct request *r;

	if (len > XENSTORE_PAYLOAD_MAX)
		return -E2BIG;
	r = calloc(1, sizeof(*r) + len);
	if (!r)
		return -ENOMEM;
	r->type = type;
	r->id = ++c->next_id;
	r->fn = fn;
	r->arg = arg;
	r->len = len;
	memcpy(r->body, body, len);
	*c->tail = r;
	c->tail = &r->next;
	client_pump(c);
	return 0;
}

static int client_send(struct xs_client *c, const struct request *r)
{
	struct xsd_sockmsg h = { .type = r->type, .req_id = r->id, .len = (uint32_t)r->len };
	char packet[STORE_MSG_MAX];

	memcpy(packet, &h, sizeof(h));
	memcpy(packet + sizeof(h), r->body, r->len);
	if (send(c->fd, packet, sizeof(h) + r->len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return -errno;
}

static void client_pump(struct xs_client *c)
{
	uint32_t events = c->quiet ? 0 : EPOLLIN;

	if (c->fd < 0)
		return;
	for (struct request *r = c->head; r && !c->quiet && c->in_flight < WINDOW; r = r->next) {
		if (r->sent)
			continue;
		if (client_send(c, r) < 0) {
			events |= EPOLLOUT;
			break;
		}
		r->sent = true;
		c->in_flight++;
	}
	io_fd_set(c->h, events);
}

int xs_client_read(struct xs_client *c, const char *path, xs_reply_fn *fn, void *arg)
{
	return client_queue(c, XS_READ, path, strlen(path) + 1, fn, arg);
}

int xs_client_write(struct xs_client *c, const char *path, const char *value)
{
	char body[XENSTORE_PAYLOAD_MAX];
	size_t p = strlen(path) + 1, v = strlen(value);

	if (p + v > sizeof(body))
		return -E2BIG;
	memcpy(body, path, p);
	memcpy(body + p, value, v);
	return client_queue(c, XS_WRITE, body, p + v, NULL, NULL);
}

static int watch_set(struct xs_client *c, const struct watch *w)
{
	char body[XENSTORE_ABS_PATH_MAX + 32];
	int n = snprintf(body, sizeof(body), "%s%c%u", w->path, 0, w->token);

	return client_queue(c, XS_WATCH, body, (size_t)n + 1, NULL, NULL);
}

int xs_client_watch(struct xs_client *c, const char *path, xs_watch_fn *fn, void *arg)
{
	size_t n = strlen(path) + 1;
	struct watch *w;

	if (n > XENSTORE_ABS_PATH_MAX)
		return -E2BIG;
	w = calloc(1, sizeof(*w) + n);
	if (!w)
		return -ENOMEM;
	*w = (struct watch){ .next = c->watches, .token = ++c->next_token, .fn = fn, .arg = arg };
	memcpy(w->path, path, n);
	c->watches = w;
	return c->fd < 0 ? 0 : watch_set(c, w);           /* else set with the channel */
}

static void watch_end(struct xs_client *c, const struct watch *w)
{
	char body[XENSTORE_ABS_PATH_MAX + 32];
	int n = snprintf(body, sizeof(body), "%s%c%u", w->path, 0, w->token);

	if (c->fd >= 0 && client_queue(c, XS_UNWATCH, body, (size_t)n + 1, NULL, NULL) < 0)
		log_warn("out of memory: the store watch on %s stays, unheard", w->path);
}

void xs_client_forget(struct xs_client *c, const void *arg)
{
	struct watch **p = &c->watches, *w;

	while ((w = *p)) {
		if (w->arg != arg) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		watch_end(c, w);
		free(w);
	}
	for (struct request *r = c->head; r; r = r->next)
		if (r->arg == arg)
			r->fn = NULL;
}

/* ---- receiving ---- */

static int error_number(const char *name)
{
	for (size_t i = 0; i < sizeof(xsd_errors) / sizeof(xsd_errors[0]); i++)
		if (!strcmp(xsd_errors[i].errstring, name))
			return xsd_errors[i].errnum;
	return EIO;
}

/* body: path NUL token NUL */
static void client_event(struct xs_client *c, const char *body, size_t len)
{
	const char *token = memchr(body, 0, len);
	unsigned n;

	if (!token || token + 1 >= body + len)
		return;
	n = (unsigned)strtoul(token + 1, NULL, 10);
	for (struct watch *w = c->watches; w; w = w->next)
		if (w->token == n) {
			w->fn(w->arg);
			return;
		}
}

static void client_reply(struct xs_client *c, const struct xsd_sockmsg *h, const char *body)
{
	struct request **p = &c->head, *r;
	int err = h->type == XS_ERROR ? error_number(body) : 0;

	while (*p && !((*p)->sent && (*p)->id == h->req_id))
		p = &(*p)->next;
	r = *p;
	if (!r)
		return;                                    /* an answer from before the channel changed */
	*p = r->next;
	if (c->tail == &r->next)
		c->tail = p;
	c->in_flight--;
	if (err && r->type == XS_WRITE)
		log_warn("xenstored refused to write %.200s: %s", r->body, body);
	if (err == EEXIST && r->type == XS_WATCH)
		err = 0;
	if (r->fn)
		r->fn(r->arg, err, body, h->len);
	free(r);
}

static void client_lost(struct xs_client *c)
{
	io_fd_del(c->h);
	c->h = NULL;
	close(c->fd);
	c->fd = -1;
}

static void client_readable(void *arg, uint32_t events)
{
	struct xs_client *c = arg;
	char packet[STORE_MSG_MAX + 1];
	struct xsd_sockmsg h;
	ssize_t n;

	for (int i = 0; i < 32 && c->fd >= 0 && !c->quiet; i++) {
		n = recv(c->fd, packet, STORE_MSG_MAX, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			client_lost(c);                    /* hypervisord brings a new channel when xenstored is back */
			return;
		}
		if ((size_t)n < sizeof(h))
			continue;
		memcpy(&h, packet, sizeof(h));
		if (h.len != (size_t)n - sizeof(h))
			continue;
		packet[n] = 0;
		if (h.type == XS_WATCH_EVENT)
			client_event(c, packet + sizeof(h), h.len);
		else
			client_reply(c, &h, packet + sizeof(h));
	}
	if (c->fd >= 0 && c->quiet && (events & (EPOLLHUP | EPOLLERR)))
		client_lost(c);
	client_pump(c);
}

/* ---- life ---- */

struct xs_client *xs_client_create(struct io_loop *l)
{
	struct xs_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->l = l;
	c->fd = -1;
	c->tail = &c->head;
	return c;
}

void xs_client_set_channel(struct xs_client *c, int fd)
{
	struct request **p = &c->head, *r;

	if (c->fd >= 0)
		client_lost(c);
	c->h = io_fd_add(c->l, fd, 0, client_readable, c);
	if (!c->h) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->in_flight = 0;
	while (*p) {                                       /* watches are queued anew below */
		(*p)->sent = false;
		if ((*p)->type == XS_WATCH || (*p)->type == XS_UNWATCH) {
			r = *p;
			*p = r->next;
			free(r);
		} else {
			p = &(*p)->next;
		}
	}
	c->tail = p;
	for (struct watch *w = c->watches; w; w = w->next)
		if (watch_set(c, w) < 0)
			log_err("out of memory: store watch on %s is not set", w->path);
	client_pump(c);
}

void xs_client_quiet(struct xs_client *c, bool quiet)
{
	c->quiet = quiet;
	client_pump(c);
}

void xs_client_destroy(struct xs_client *c)
{
	struct request *r;
	struct watch *w;

	if (!c)
		return;
	if (c->fd >= 0)
		client_lost(c);
	while ((r = c->head)) {
		c->head = r->next;
		free(r);
	}
	while ((w = c->watches)) {
		c->watches = w->next;
		free(w);
	}
	free(c);
}
