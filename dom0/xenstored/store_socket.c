/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The public sockets: Xen's wire protocol over a stream, for Debian's xenstore tools and whatever links libxenstore. Root's
 * alone by the file's mode; "socket_ro" refuses to write. A client that does not read is cut off.
 */
#include "dom0/xenstored/stored.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"

#define MESSAGES_A_TURN 32

struct public_client {
	struct stored *daemon;
	struct public_client *next;
	struct store_conn *conn;
	int fd;
	uint8_t in[sizeof(struct xsd_sockmsg) + XENSTORE_PAYLOAD_MAX];
	size_t in_len;
	struct buf out;
	size_t out_done;
	bool out_polled;
};

/* ---- sending ---- */

/* The socket is shut down rather than closed: its next poll event frees it, and nobody's pointer dies meanwhile. */
static void client_cut(struct public_client *p)
{
	shutdown(p->fd, SHUT_RDWR);
	p->out.len = p->out_done = 0;
	p->out.bad = false;
}

static int32_t client_ready(int32_t fd, int32_t revents, void *data);

static void client_pump(struct public_client *p)
{
	ssize_t r = 0;
	bool want;

	if (!buf_ok(&p->out)) {
		log_warn("a client of the public socket leaves more than %u octets unread; cut off", STORED_OUT_MAX);
		client_cut(p);
	}
	while (p->out_done < p->out.len) {
		r = send(p->fd, p->out.data + p->out_done, p->out.len - p->out_done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (r <= 0)
			break;
		p->out_done += (size_t)r;
	}
	if (r < 0 && errno != EAGAIN && errno != EINTR)
		client_cut(p);
	if (p->out_done == p->out.len)
		p->out.len = p->out_done = 0;
	want = p->out.len > 0;
	if (want != p->out_polled)
		qb_loop_poll_mod(p->daemon->loop, QB_LOOP_MED, p->fd, POLLIN | (want ? POLLOUT : 0), p, client_ready);
	p->out_polled = want;
}

void public_pump_all(struct stored *d)
{
	struct public_client *p;

	for (p = d->clients; p; p = p->next)
		if (p->out.len || p->out.bad)
			client_pump(p);
}

/* What was sent makes room before more is queued; else a client that reads slowly would keep every octet it ever got. */
static void out_compact(struct public_client *p)
{
	if (p->out_done < p->out.len / 2)
		return;
	memmove(p->out.data, p->out.data + p->out_done, p->out.len - p->out_done);
	p->out.len -= p->out_done;
	p->out_done = 0;
}

static void client_event(struct store_conn *c, const char *path, const char *token)
{
	struct public_client *p = c->arg;
	struct buf body = BUF_INIT(XENSTORE_PAYLOAD_MAX);

	buf_bytes(&body, path, strlen(path) + 1);
	buf_bytes(&body, token, strlen(token) + 1);
	if (p->out.data)
		out_compact(p);
	if (buf_ok(&body))
		store_message(&p->out, XS_WATCH_EVENT, 0, 0, body.data, body.len);
	buf_free(&body);
}

/* ---- receiving ---- */

static void client_free(struct public_client *p)
{
	struct stored *d = p->daemon;
	struct public_client **at;

	for (at = &d->clients; *at != p; at = &(*at)->next)
		;
	*at = p->next;
	d->n_clients--;
	qb_loop_poll_del(d->loop, p->fd);
	close(p->fd);
	store_conn_free(p->conn);
	buf_free(&p->out);
	free(p);
}

/* 1: a whole message is there; 0: more is to come; -1: the client is gone or talks nonsense. */
static int message_read(struct public_client *p)
{
	struct xsd_sockmsg hdr;
	size_t want = sizeof(hdr);
	ssize_t r;

	for (;;) {
		if (p->in_len >= sizeof(hdr)) {
			if (!store_header(p->in, p->in_len, &hdr))
				return -1;
			want = sizeof(hdr) + hdr.len;
			if (p->in_len == want)
				return 1;
		}
		r = recv(p->fd, p->in + p->in_len, want - p->in_len, MSG_DONTWAIT);
		if (r == 0)
			return -1;
		if (r < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		p->in_len += (size_t)r;
	}
}

static int32_t client_ready(int32_t fd, int32_t revents, void *data)
{
	struct public_client *p = data;
	struct stored *d = p->daemon;
	int turn, r = 0;

	if (revents & POLLOUT)
		client_pump(p);
	for (turn = 0; turn < MESSAGES_A_TURN && (r = message_read(p)) == 1; turn++) {
		if (p->out.data)
			out_compact(p);
		store_request(p->conn, p->in, p->in_len, &p->out);
		p->in_len = 0;
		stored_settle(d);
	}
	if (r < 0 || (r == 0 && (revents & (POLLHUP | POLLERR))))
		client_free(p);
	return 0;
}

static int client_add(struct stored *d, int fd, enum store_conn_kind kind)
{
	struct public_client *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->daemon = d;
	p->fd = fd;
	buf_init(&p->out, STORED_OUT_MAX);
	p->conn = store_conn_new(&d->store, kind, 0);
	if (!p->conn || qb_loop_poll_add(d->loop, QB_LOOP_MED, fd, POLLIN, p, client_ready) < 0) {
		store_conn_free(p->conn);
		free(p);
		return -ENOMEM;
	}
	p->conn->event = client_event;
	p->conn->arg = p;
	p->next = d->clients;
	d->clients = p;
	d->n_clients++;
	return 0;
}

/* ---- listening ---- */

static int32_t accept_ready(int32_t fd, int32_t revents, void *data)
{
	struct stored *d = data;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (client < 0)
		return 0;
	if (d->n_clients >= STORED_SOCKETS_MAX ||
	    client_add(d, client, fd == d->listen_fd[0] ? STORE_CONN_SOCKET : STORE_CONN_SOCKET_RO) < 0) {
		log_warn("%u clients are connected to the public socket; refusing one more", d->n_clients);
		close(client);
	}
	return 0;
}

static int listen_at(struct stored *d, const char *dir, const char *name, mode_t mode, int *ret_fd, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, rc;

	rc = path_join(sun.sun_path, sizeof(sun.sun_path), dir, "%s", name);
	if (rc < 0)
		return err_set(err, rc, "%s/%s: too long for a socket", dir, name);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "no socket: %s", strerror(errno));
	unlink(sun.sun_path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || chmod(sun.sun_path, mode) < 0 || listen(fd, 64) < 0 ||
	    qb_loop_poll_add(d->loop, QB_LOOP_MED, fd, POLLIN, d, accept_ready) < 0) {
		rc = errno ? -errno : -ENOMEM;
		close(fd);
		return err_set(err, rc, "%s: cannot listen: %s", sun.sun_path, strerror(-rc));
	}
	*ret_fd = fd;
	return 0;
}

/* XENSTORED_RUNDIR moves the folder for libxenstore too. */
int public_open(struct stored *d, struct err *err)
{
	const char *dir = getenv("XENSTORED_RUNDIR");
	int rc;

	if (!dir || !*dir)
		dir = "/run/xenstored";
	rc = path_mkdirs(dir, 0755);
	if (rc < 0)
		return err_set(err, rc, "%s: cannot make the folder: %s", dir, strerror(-rc));
	rc = listen_at(d, dir, "socket", 0600, &d->listen_fd[0], err);
	return rc < 0 ? rc : listen_at(d, dir, "socket_ro", 0660, &d->listen_fd[1], err);
}

void public_close(struct stored *d)
{
	while (d->clients)
		client_free(d->clients);
}
