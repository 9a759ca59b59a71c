/* SPDX-License-Identifier: GPL-2.0-or-later */
/* msg_peer.c - a daemon as client of another, on its own loop; see msg.h. */
#include "lib/msg.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <qb/qbutil.h>

#define RECONNECT_NS (250 * QB_TIME_NS_IN_MSEC)

struct pending { struct pending *next; msg_peer_reply_fn reply; void *arg; };

struct msg_peer {
	qb_loop_t *loop;
	char *name;
	void (*up)(struct msg_peer *, void *);
	void (*down)(struct msg_peer *, void *);
	void (*event)(struct msg_peer *, const json_t *, void *);
	void *arg;
	int fd;                        /* -1: not connected */
	qb_loop_timer_handle timer;
	struct pending *head, **tail;  /* requests in the order sent: replies come in order */
	unsigned busy;                 /* callbacks of ours on the stack */
	bool freed;
};

static void peer_try(void *data);

static void peer_retry_later(struct msg_peer *p)
{
	qb_loop_timer_add(p->loop, QB_LOOP_MED, RECONNECT_NS, p, peer_try, &p->timer);
}

static void pending_fail_all(struct msg_peer *p)
{
	struct pending *r = p->head;

	p->head = NULL;
	p->tail = &p->head;
	while (r) {
		struct pending *next = r->next;

		if (r->reply)
			r->reply(-ECONNRESET, NULL, NULL, 0, r->arg);
		free(r);
		r = next;
	}
}

static void peer_lost(struct msg_peer *p)
{
	qb_loop_poll_del(p->loop, p->fd);
	close(p->fd);
	p->fd = -1;
	if (p->down)
		p->down(p, p->arg);
	pending_fail_all(p);
	if (!p->freed)
		peer_retry_later(p);
}

static void peer_reply(struct msg_peer *p, const json_t *obj, int *fds, int nfds)
{
	struct pending *r = p->head;
	const char *code = json_string_value(json_object_get(obj, "code"));
	int rc = 0;

	if (!r)
		return;
	p->head = r->next;
	if (!p->head)
		p->tail = &p->head;
	if (!json_is_true(json_object_get(obj, "ok"))) {
		int e = code ? err_from_name(code) : 0;

		rc = -(e ? e : EIO);
	}
	if (r->reply)
		r->reply(rc, obj, fds, nfds, r->arg);
	free(r);
}

static void peer_unbusy(struct msg_peer *p)
{
	if (--p->busy == 0 && p->freed) {
		free(p->name);
		free(p);
	}
}

static int32_t peer_readable(int32_t fd, int32_t revents, void *data)
{
	struct msg_peer *p = data;
	int fds[MSG_MAX_FDS], nfds = 0;
	json_t *obj = NULL;
	int rc = msg_recv(fd, &obj, fds, &nfds);

	if (rc == -EAGAIN)
		return 0;
	p->busy++;
	if (rc <= 0)
		peer_lost(p);
	else if (json_object_get(obj, "event") || json_object_get(obj, "progress"))
		p->event ? p->event(p, obj, p->arg) : (void)0;
	else
		peer_reply(p, obj, fds, nfds);
	for (int i = 0; i < nfds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	json_decref(obj);
	peer_unbusy(p);
	return 0;
}

static void peer_try(void *data)
{
	struct msg_peer *p = data;
	int fd = msg_connect(p->name, NULL);

	p->timer = 0;
	if (fd >= 0) {
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		if (qb_loop_poll_add(p->loop, QB_LOOP_MED, fd, POLLIN, p, peer_readable) == 0) {
			p->fd = fd;
			p->busy++;
			if (p->up)
				p->up(p, p->arg);
			peer_unbusy(p);
			return;
		}
		close(fd);
	}
	peer_retry_later(p);
}

int msg_peer_new(qb_loop_t *loop, const char *name, void (*up)(struct msg_peer *, void *), void (*down)(struct msg_peer *, void *),
		 void (*event)(struct msg_peer *, const json_t *, void *), void *arg, struct msg_peer **ret)
{
	struct msg_peer *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct msg_peer){ .loop = loop, .name = strdup(name), .up = up, .down = down, .event = event, .arg = arg, .fd = -1 };
	p->tail = &p->head;
	if (!p->name) {
		free(p);
		return -ENOMEM;
	}
	*ret = p;
	/* from the loop, so that the caller has its handle when `up` comes */
	qb_loop_timer_add(loop, QB_LOOP_HIGH, 0, p, peer_try, &p->timer);
	return 0;
}

bool msg_peer_connected(const struct msg_peer *p)
{
	return p->fd >= 0;
}

pid_t msg_peer_pid(const struct msg_peer *p)
{
	struct ucred cred = { 0 };
	socklen_t n = sizeof(cred);

	return p && p->fd >= 0 && getsockopt(p->fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0 ? cred.pid : 0;
}

int msg_peer_call(struct msg_peer *p, json_t *request, const int *fds, int nfds, msg_peer_reply_fn reply, void *arg)
{
	struct pending *r = p->fd < 0 ? NULL : calloc(1, sizeof(*r));
	int rc = p->fd < 0 ? -ENOTCONN : r ? msg_send(p->fd, request, fds, nfds) : -ENOMEM;

	json_decref(request);
	if (rc < 0) {
		free(r);
		return rc;
	}
	*r = (struct pending){ NULL, reply, arg };
	*p->tail = r;
	p->tail = &r->next;
	return 0;
}

void msg_peer_free(struct msg_peer *p)
{
	if (!p)
		return;
	p->freed = true;
	p->busy++;
	if (p->timer)
		qb_loop_timer_del(p->loop, p->timer);
	if (p->fd >= 0) {
		qb_loop_poll_del(p->loop, p->fd);
		close(p->fd);
		p->fd = -1;
	}
	pending_fail_all(p);
	peer_unbusy(p);
}
