/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * msg_server.c - the serving side of msg.h on libqb's loop.
 *
 * Replies go out in the order of the requests, whoever answers first: clients tell them apart by nothing else. A reply that has to
 * wait for an earlier one is kept with its call; a client may have so many calls open and no more. One that does not read is
 * dropped when its socket is full, so a client costs bounded memory.
 */
#include "lib/msg.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"

#define MSG_MAX_CLIENTS 256
#define MSG_MAX_CALLS 512

struct msg_client {
	struct msg_server *server;
	struct msg_client *next;
	int fd;
	uid_t uid;
	pid_t pid;
	bool subscribed, closing;
	struct msg_call *calls;        /* not answered, or answered before an earlier one: the newest first */
	unsigned nr_calls;
};

struct msg_call {
	struct msg_client *client;     /* NULL once it has gone */
	struct msg_call *next;
	json_t *request;
	uid_t uid;
	pid_t pid;
	int fds[MSG_MAX_FDS], nfds;
	json_t *reply;                 /* waits for an earlier call's */
	int reply_fds[MSG_MAX_FDS], nr_reply_fds;
};

struct msg_server {
	qb_loop_t *loop;
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const struct msg_op *ops;
	void *daemon;
	void (*gone)(struct msg_client *, void *);
	const char *name;
	struct msg_client *clients;
	unsigned nr_clients;
};

static void call_free(struct msg_call *c)
{
	if (c->client) {
		struct msg_call **p = &c->client->calls;

		while (*p && *p != c)
			p = &(*p)->next;
		if (*p) {
			*p = c->next;
			c->client->nr_calls--;
		}
	}
	for (int i = 0; i < c->nfds; i++)
		if (c->fds[i] >= 0)
			close(c->fds[i]);
	for (int i = 0; i < c->nr_reply_fds; i++)
		close(c->reply_fds[i]);
	json_decref(c->reply);
	json_decref(c->request);
	free(c);
}

static void client_close(struct msg_client *cl)
{
	struct msg_server *s = cl->server;
	struct msg_client **p = &s->clients;

	if (cl->closing)
		return;
	cl->closing = true;
	if (s->gone)
		s->gone(cl, s->daemon);
	while (*p && *p != cl)
		p = &(*p)->next;
	if (*p)
		*p = cl->next;
	s->nr_clients--;
	for (struct msg_call *c = cl->calls, *next; c; c = next) {
		next = c->next;
		c->client = NULL;
		if (c->reply)
			call_free(c);          /* answered: nobody else will */
	}
	qb_loop_poll_del(s->loop, cl->fd);
	close(cl->fd);
	free(cl);
}

/* A send that fails marks the connection for closing by its next poll event; closing here would free under the caller. */
static void client_send(struct msg_client *cl, const json_t *obj, const int *fds, int nfds)
{
	int rc = msg_send(cl->fd, obj, fds, nfds);

	if (rc < 0) {
		log_debug("%s: client pid %d: %s; dropping it", cl->server->name, (int)cl->pid, strerror(-rc));
		shutdown(cl->fd, SHUT_RDWR);
	}
}

/* Keeps a reply until its turn comes. Takes fields; fds stay the caller's. */
static void call_keep(struct msg_call *c, json_t *fields, const int *fds, int nfds)
{
	c->reply = fields;
	for (int i = 0; i < nfds; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			shutdown(c->client->fd, SHUT_RDWR);	/* half a reply is none */
			break;
		}
		c->reply_fds[c->nr_reply_fds++] = fd;
	}
}

/* Sends a reply, or keeps it while an earlier call of that client is open; what waited for this one goes after it. */
static void call_answer(struct msg_call *c, json_t *fields, const int *fds, int nfds)
{
	struct msg_client *cl = c->client;

	if (cl && c->next) {
		call_keep(c, fields, fds, nfds);
		return;
	}
	if (cl)
		client_send(cl, fields, fds, nfds);
	json_decref(fields);
	call_free(c);
	while (cl && cl->calls) {
		for (c = cl->calls; c->next; c = c->next)
			;
		if (!c->reply)
			break;
		client_send(cl, c->reply, c->reply_fds, c->nr_reply_fds);
		call_free(c);
	}
}

static void handle_ping(struct msg_call *c)
{
	msg_reply(c, json_pack("{s:s, s:s, s:i}", "daemon", c->client->server->name, "version", "0.1.0", "pid", (int)getpid()));
}

static void dispatch(struct msg_call *c)
{
	struct msg_server *s = c->client->server;
	const char *op = json_string_value(json_object_get(c->request, "op"));

	if (!op) {
		msg_error(c, -EINVAL, "request without \"op\"");
		return;
	}
	if (strcmp(op, "ping") == 0) {
		handle_ping(c);
		return;
	}
	for (const struct msg_op *o = s->ops; o->name; o++) {
		if (strcmp(o->name, op) != 0)
			continue;
		if (o->privilege == MSG_ROOT && c->uid != 0)
			msg_error(c, -EPERM, "%s: %s needs root", s->name, op);
		else
			o->handler(c, s->daemon);
		return;
	}
	msg_error(c, -ENOSYS, "%s does not know the request '%.64s'", s->name, op);
}

static int32_t client_readable(int32_t fd, int32_t revents, void *data)
{
	struct msg_client *cl = data;
	struct msg_call *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return 0;
	rc = msg_recv(fd, &c->request, c->fds, &c->nfds);
	if (rc == -EAGAIN) {
		free(c);
		return 0;
	}
	if (rc <= 0) {
		free(c);
		client_close(cl);
		return 0;
	}
	if (cl->nr_calls >= MSG_MAX_CALLS) {
		log_warn("%s: client pid %d has %u requests open: dropping it", cl->server->name, (int)cl->pid, cl->nr_calls);
		call_free(c);
		client_close(cl);
		return 0;
	}
	c->client = cl;
	c->uid = cl->uid;
	c->pid = cl->pid;
	c->next = cl->calls;
	cl->calls = c;
	cl->nr_calls++;
	dispatch(c);
	return 0;
}

int msg_server_add_connection(struct msg_server *s, int fd, struct msg_client **ret)
{
	struct msg_client *cl = calloc(1, sizeof(*cl));
	struct ucred cred = { 0 };
	socklen_t n = sizeof(cred);

	if (!cl)
		return -ENOMEM;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	*cl = (struct msg_client){ .server = s, .next = s->clients, .fd = fd, .uid = cred.uid, .pid = cred.pid };
	if (qb_loop_poll_add(s->loop, QB_LOOP_MED, fd, POLLIN, cl, client_readable) < 0) {
		free(cl);
		return -ENOMEM;
	}
	s->clients = cl;
	s->nr_clients++;
	if (ret)
		*ret = cl;
	return 0;
}

static int32_t listener_readable(int32_t fd, int32_t revents, void *data)
{
	struct msg_server *s = data;
	int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (c < 0)
		return 0;
	if (s->nr_clients >= MSG_MAX_CLIENTS) {
		log_warn("%s: more than %d clients: refusing one", s->name, MSG_MAX_CLIENTS);
		close(c);
	} else if (msg_server_add_connection(s, c, NULL) < 0) {
		close(c);
	}
	return 0;
}

int msg_server_adopt(qb_loop_t *loop, int listen_fd, const struct msg_op *ops, void *daemon_arg,
		     void (*gone)(struct msg_client *client, void *daemon), const char *daemon_name, struct msg_server **ret)
{
	struct msg_server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct msg_server){ .loop = loop, .fd = listen_fd, .ops = ops, .daemon = daemon_arg, .gone = gone, .name = daemon_name };
	if (listen_fd >= 0 && qb_loop_poll_add(loop, QB_LOOP_MED, listen_fd, POLLIN, s, listener_readable) < 0) {
		free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

/* Every local user may connect; the row of each op decides what for. */
static int listen_at(const char *path, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, probe, rc;

	strcpy(sa.sun_path, path);
	probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (probe >= 0 && connect(probe, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
		close(probe);
		return err_set(err, -EADDRINUSE, "%s: another daemon answers there; stop it first", path);
	}
	if (probe >= 0)
		close(probe);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(path, 0666) < 0 || listen(fd, 64) < 0) {
		rc = -errno;
		close(fd);
		return err_set(err, rc, "%s: cannot listen: %s", path, strerror(-rc));
	}
	return fd;
}

int msg_server_start(qb_loop_t *loop, const char *name, const struct msg_op *ops, void *daemon_arg,
		     void (*gone)(struct msg_client *client, void *daemon), const char *daemon_name, struct msg_server **ret,
		     struct err *err)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd, rc;

	rc = path_join(path, sizeof(path), path_run(), "%s", name);
	if (rc < 0)
		return err_set(err, rc, "%s/%s: socket path too long", path_run(), name);
	rc = path_mkdirs(path_run(), 0755);
	if (rc < 0)
		return err_set(err, rc, "%s: %s", path_run(), strerror(-rc));
	fd = listen_at(path, err);
	if (fd < 0)
		return fd;
	rc = msg_server_adopt(loop, fd, ops, daemon_arg, gone, daemon_name, ret);
	if (rc < 0) {
		close(fd);
		return err_set(err, rc, "%s: out of memory", path);
	}
	strcpy((*ret)->path, path);
	return 0;
}

void msg_server_stop(struct msg_server *s)
{
	if (!s)
		return;
	while (s->clients)
		client_close(s->clients);
	if (s->fd >= 0) {
		qb_loop_poll_del(s->loop, s->fd);
		close(s->fd);
		if (s->path[0])
			unlink(s->path);
	}
	free(s);
}

const json_t *msg_call_request(const struct msg_call *c) { return c->request; }
struct msg_client *msg_call_client(const struct msg_call *c) { return c->client; }
uid_t msg_call_uid(const struct msg_call *c) { return c->uid; }
pid_t msg_call_pid(const struct msg_call *c) { return c->pid; }

int msg_call_take_fd(struct msg_call *c, int i)
{
	int fd = i < c->nfds ? c->fds[i] : -1;

	if (fd >= 0)
		c->fds[i] = -1;
	return fd;
}

bool msg_call_str(struct msg_call *c, const char *key, const char **ret)
{
	const json_t *v = json_object_get(c->request, key);

	if (!json_is_string(v)) {
		msg_error(c, -EINVAL, "field \"%s\" must be a string", key);
		return false;
	}
	*ret = json_string_value(v);
	return true;
}

bool msg_call_int(struct msg_call *c, const char *key, int64_t *ret)
{
	const json_t *v = json_object_get(c->request, key);

	if (!json_is_integer(v)) {
		msg_error(c, -EINVAL, "field \"%s\" must be a whole number", key);
		return false;
	}
	*ret = json_integer_value(v);
	return true;
}

const char *msg_call_str_opt(struct msg_call *c, const char *key, const char *dflt)
{
	const json_t *v = json_object_get(c->request, key);

	return json_is_string(v) ? json_string_value(v) : dflt;
}

int64_t msg_call_int_opt(struct msg_call *c, const char *key, int64_t dflt)
{
	const json_t *v = json_object_get(c->request, key);

	return json_is_integer(v) ? json_integer_value(v) : dflt;
}

bool msg_call_bool_opt(struct msg_call *c, const char *key, bool dflt)
{
	const json_t *v = json_object_get(c->request, key);

	return json_is_boolean(v) ? json_is_true(v) : dflt;
}

void msg_progress(struct msg_call *c, json_t *progress)
{
	json_t *obj = json_pack("{s:o}", "progress", progress);

	if (c->client && obj)
		client_send(c->client, obj, NULL, 0);
	json_decref(obj);
}

void msg_reply_fds(struct msg_call *c, json_t *fields, const int *fds, int nfds)
{
	if (!fields)
		fields = json_object();
	json_object_set_new(fields, "ok", json_true());
	call_answer(c, fields, fds, nfds);
}

void msg_reply(struct msg_call *c, json_t *fields)
{
	msg_reply_fds(c, fields, NULL, 0);
}

void msg_reply_error_fields(struct msg_call *c, int rc, const char *text, json_t *more)
{
	if (!more)
		more = json_object();
	json_object_set_new(more, "ok", json_false());
	json_object_set_new(more, "code", json_string(err_name(rc)));
	json_object_set_new(more, "error", json_string(text));
	call_answer(c, more, NULL, 0);
}

void msg_error(struct msg_call *c, int rc, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	msg_reply_error_fields(c, rc, text, NULL);
}

void msg_error_from(struct msg_call *c, const struct err *err)
{
	msg_reply_error_fields(c, err->code, err->text, NULL);
}

void msg_subscribe(struct msg_call *c)
{
	if (c->client)
		c->client->subscribed = true;
	msg_reply(c, NULL);
}

void msg_event(struct msg_server *s, json_t *event)
{
	for (struct msg_client *cl = s->clients; cl; cl = cl->next)
		if (cl->subscribed)
			client_send(cl, event, NULL, 0);
	json_decref(event);
}
