/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * msg.h - the one IPC: JSON objects over SOCK_SEQPACKET unix sockets (docs/specs/messages.md).
 *
 * Server: one const table a daemon; the row says who may call.  Handlers reply at once, or keep the struct msg_call and
 * reply later (msg_call outlives the handler until msg_reply*() or msg_error() is called exactly once; when the client has
 * gone by then, the reply is dropped).  Client: blocking calls with a time-out, for tools and short-lived processes,
 * and msg_peer for daemons that call each other from their own loop.
 */
#ifndef LIB_MSG_H
#define LIB_MSG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <jansson.h>
#include <qb/qbloop.h>
#include "lib/err.h"

#define MSG_MAX_BYTES 65536
#define MSG_MAX_FDS 8

/* --- packets ------------------------------------------------------------------------------------------------------ */

/* Sends one object with fds (borrowed; nfds 0..MSG_MAX_FDS).  0 or -errno; -EMSGSIZE over MSG_MAX_BYTES. */
int msg_send(int sock, const json_t *obj, const int *fds, int nfds);
/*
 * Receives one object.  1: *ret_obj (caller decrefs) and fds (caller closes, *nfds set, CLOEXEC); 0: the peer closed; -EAGAIN
 * on a non-blocking socket; -EBADMSG: not a JSON object.  fds may be NULL: received ones are closed.
 */
int msg_recv(int sock, json_t **ret_obj, int *fds, int *nfds);

/* --- client ------------------------------------------------------------------------------------------------------- */

/* Connects to path_run()/NAME (or NAME itself when it begins with '/').  fd or -errno; err names the daemon and the remedy. */
int msg_connect(const char *name, struct err *err);
/*
 * One request, one reply.  `request` is borrowed.  progress (may be NULL) is called for each {"progress": …}; a non-zero
 * return gives up with -ECANCELED (the caller then closes the socket).  timeout_ms < 0: none.
 * 0: *ret_reply (may be NULL) is the whole reply object; else -errno from the reply's code or from the transport, err filled.
 */
typedef int (*msg_progress_fn)(const json_t *progress, void *arg);
int msg_call(int sock, const json_t *request, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds,
	     int timeout_ms, msg_progress_fn progress, void *arg, struct err *err);
/* The second half of msg_call(), for who has sent the request himself; `op` is for messages. */
int msg_await(int sock, const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds, int timeout_ms, msg_progress_fn progress,
	      void *arg, struct err *err);
/* connect + call + close.  `request` is stolen (json_pack result may be passed directly). */
int msg_call_once(const char *name, json_t *request, json_t **ret_reply, int timeout_ms, struct err *err);

/* --- server ------------------------------------------------------------------------------------------------------- */

struct msg_server;
struct msg_client;            /* one connection */
struct msg_call;              /* one request waiting for its reply */

enum msg_privilege { MSG_ROOT, MSG_ANY };

struct msg_op {
	const char *name;
	enum msg_privilege privilege;
	void (*handler)(struct msg_call *call, void *daemon);
};

/*
 * Listens at path_run()/NAME (replacing a dead socket file; -EADDRINUSE with err when a live daemon answers there).
 * ops ends with a NULL name.  gone (may be NULL) is called when a client disconnects, before its calls become orphans.
 */
int msg_server_start(qb_loop_t *loop, const char *name, const struct msg_op *ops, void *daemon,
		     void (*gone)(struct msg_client *client, void *daemon), const char *daemon_name, struct msg_server **ret,
		     struct err *err);
/* The same on a listening socket made elsewhere (ownership passes), or on one connected socket (no listening). */
int msg_server_adopt(qb_loop_t *loop, int listen_fd, const struct msg_op *ops, void *daemon,
		     void (*gone)(struct msg_client *client, void *daemon), const char *daemon_name, struct msg_server **ret);
int msg_server_add_connection(struct msg_server *s, int fd, struct msg_client **ret);
void msg_server_stop(struct msg_server *s);        /* closes everything; calls become orphans */

const json_t *msg_call_request(const struct msg_call *c);
struct msg_client *msg_call_client(const struct msg_call *c);      /* NULL when it has gone */
uid_t msg_call_uid(const struct msg_call *c);
pid_t msg_call_pid(const struct msg_call *c);
/* fd i of the request, or -1; taken: the caller owns it from here on (others are closed with the call). */
int msg_call_take_fd(struct msg_call *c, int i);
/* Typed fields; the *_opt forms return dflt when absent.  false: an error reply was sent (EINVAL naming the field). */
bool msg_call_str(struct msg_call *c, const char *key, const char **ret);
bool msg_call_int(struct msg_call *c, const char *key, int64_t *ret);
const char *msg_call_str_opt(struct msg_call *c, const char *key, const char *dflt);
int64_t msg_call_int_opt(struct msg_call *c, const char *key, int64_t dflt);
bool msg_call_bool_opt(struct msg_call *c, const char *key, bool dflt);

void msg_progress(struct msg_call *c, json_t *progress);           /* steals */
void msg_reply(struct msg_call *c, json_t *fields);                /* steals; "ok": true is added; NULL: only that */
void msg_reply_fds(struct msg_call *c, json_t *fields, const int *fds, int nfds);   /* fds borrowed */
void msg_error(struct msg_call *c, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void msg_error_from(struct msg_call *c, const struct err *err);
void msg_reply_error_fields(struct msg_call *c, int rc, const char *text, json_t *more); /* error reply with more fields; steals */

/* Subscribers: the daemon's "subscribe" handler calls msg_subscribe(call) (it replies); events go to all subscribers. */
void msg_subscribe(struct msg_call *c);
void msg_event(struct msg_server *s, json_t *event);               /* steals */

/* --- asynchronous client on the daemon's loop ---------------------------------------------------------------------- */

struct msg_peer;
typedef void (*msg_peer_reply_fn)(int rc, const json_t *reply, int *fds, int nfds, void *arg);  /* fds: taken if set to -1 */
/*
 * Connects to a daemon and stays connected: reconnects every 250 ms when it is away; `up` is called at each (re)connection, `down` at loss,
 * `event` for packets that are no replies.  Requests under way at a loss get rc = -ECONNRESET.
 */
int msg_peer_new(qb_loop_t *loop, const char *name, void (*up)(struct msg_peer *, void *), void (*down)(struct msg_peer *, void *),
		 void (*event)(struct msg_peer *, const json_t *, void *), void *arg, struct msg_peer **ret);
bool msg_peer_connected(const struct msg_peer *p);
pid_t msg_peer_pid(const struct msg_peer *p);     /* of who listens there; 0 while it is not connected */
/* Steals request.  reply may be NULL; progress packets go to `event`.  0 or -ENOTCONN. */
int msg_peer_call(struct msg_peer *p, json_t *request, const int *fds, int nfds, msg_peer_reply_fn reply, void *arg);
void msg_peer_free(struct msg_peer *p);

#endif
