/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrate_worker.h - what both directions of a move share: the sockets of one worker, waiting with heartbeats, the sandbox.
 *
 * Descriptors at start: 3 control socket to migrated (JSON), 4 signer, 5 the accepted TCP connection (target only).
 * Control, migrated → worker:  the request (source), {"op": "incoming"} + fd (a spare that becomes a target), {"op": "cancel"},
 *                              {"op": "connection"} + fd, {"op": "dialed", "errno"} + fd, {"op": "serving", "ok", "error"},
 *                              {"op": "admit"|"send"|"pause"|"yield"|"go-on"} (move_turns.h)
 * Control, worker → migrated:  {"progress": {…}}, {"handed": true}, {"authenticated": true}, {"addresses": […], "port"}, {"dial": N},
 *                              {"turn": "measured", "bytes", "dirty_bps"}, {"turn": "send"|"pause"|"quiet"}, {"turn": "over", "rate_bps"},
 *                              {"serve": {…}} (has the page service of this move started), {"serving": true} (it is that, and is met),
 *                              one reply {"ok": …}
 * The end of the control socket is a cancel.
 */
#ifndef MIGRATED_MIGRATE_WORKER_H
#define MIGRATED_MIGRATE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <jansson.h>
#include <openssl/ssl.h>
#include "lib/err.h"
#include "lib/move_policy.h"
#include "migrated/tls_link.h"

#define WORKER_FD_CONTROL 3
#define WORKER_FD_SIGNER 4
#define WORKER_FD_TCP 5
#define WORKER_LINKS_MAX 8
#define WORKER_FRAMES_MAX (1ull << 32)       /* 16 TiB: more is no domain but a mistake */

/* Until when what is waited for has to be there.  ns 0: nothing but silence bounds it. */
struct worker_deadline { uint64_t ns; int ms; const char *what; };

struct worker {
	int control, hypervisord, ha_agentd, channel;     /* sockets; -1: none */
	struct move_policy policy;        /* of this node: haven.conf over the defaults */
	unsigned version;                 /* of the stream: the newest that this node speaks; haven.conf may hold it back */
	uint64_t idle_ns;                 /* target: without a page for so long a copy is given up */
	bool standalone;                  /* no cluster here: haven.conf says standalone = yes */
	bool cancelled;                   /* the client or migrated went away, or SIGTERM came */
	bool cancellable;                 /* until GO */
	bool answered;                    /* what worker_answer() waited for last did come, whatever it said */
	bool peer_aborted;                /* the peer said ABORT: of its own will, and knowing its copy */
	bool alive;                       /* the main link is up and version 1 is spoken: heartbeats may go out */
	uint64_t alive_sent_ns;
	int tcp;                          /* target: the accepted connection */
	char own[LINK_NAME_MAX];          /* this node, as its certificate names it */
	SSL_CTX *tls;
	struct tls_link link;             /* the first connection */
	int waiting_fd[WORKER_LINKS_MAX]; /* further connections that migrated passed on, not taken yet */
	unsigned nr_waiting;
	bool dialing;                     /* migrated was asked to connect, and has not answered */
	int serving;                      /* of the page service that was asked for: 0 not known yet, 1 it is there, -errno */
	char serving_why[256];
	int dialed_fd, dialed_errno;      /* its answer: the connection, or why not */
	int (*connections)(struct worker *w, void *arg);  /* takes what waits; called from every tick; may be NULL */
	void *connections_arg;
	void (*progress)(struct worker *w, void *arg);    /* at most five a second while waiting; may be NULL */
	void *progress_arg;
	uint64_t progress_ns;
	struct worker_deadline deadline; /* of what is under way: worker_deadline() */
	bool admitted, may_send, may_pause;  /* source: what migrated has said of its turn */
	atomic_bool yield;               /* and that it has to hold still; further connections' threads look at it too */
};

/* Sockets to the local daemons, TLS context, limits: what needs root.  ha-agentd is not asked where standalone = yes. */
int worker_open(struct worker *w, struct err *err);
/* HELLO's list of the stream's versions that this node speaks; the caller's. */
json_t *worker_versions(const struct worker *w);
/* Of that what knows of no move: the TLS context.  Idempotent. */
int worker_prepare(struct worker *w, struct err *err);
/* First sandbox: no root, no exec, no new files for writing. */
int worker_drop_root(struct worker *w, struct err *err);
/* Second: no files, no new sockets; what is left is descriptors, memory and threads. */
int worker_close_doors(struct worker *w, struct err *err);

/* Cancel, heartbeat, progress, deadline: to be called every now and then.  0, -ECANCELED or -ETIMEDOUT. */
int worker_tick(struct worker *w, bool writing);
/*
 * From now on `what` (for the error; borrowed) has ms of the tree (lib/deadlines.h), and never more than what it is part of.  Returns the
 * former one, which the caller puts back into w->deadline.
 */
struct worker_deadline worker_deadline(struct worker *w, int ms, const char *what);
bool worker_overdue(const struct worker *w);
/* Has migrated connect to the target's address of that number; bounded.  A descriptor (the caller's), or -errno: -ECANCELED, connect()'s. */
int worker_dial(struct worker *w, unsigned which);
/* Has migrated start the page service of this move, and waits until it has met the target.  0 or -errno with err. */
int worker_serve(struct worker *w, json_t *request, struct err *err);
/* Has the domain's process gone? */
bool worker_channel_ended(const struct worker *w);
/* The two halves of worker_call(), for what can be prepared there while something else happens here. */
int worker_ask(int sock, json_t *request, const int *fds, int nfds, struct err *err);
int worker_answer(struct worker *w, int sock, const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds, int timeout_ms,
		  struct err *err);
/*
 * One request to a local daemon or the migration channel, ticking while it waits.  `request` is stolen.  As msg_call() otherwise.
 * ret_fds: room for MSG_MAX_FDS.
 */
int worker_call(struct worker *w, int sock, json_t *request, const int *fds, int nfds, json_t **ret_reply, int *ret_fds,
		int *ret_nfds, int timeout_ms, struct err *err);
/*
 * Next record of the main link that is not ALIVE, ACK, or unknown and optional; its body is not read yet.  ABORT becomes -ECONNABORTED with
 * the peer's reason.  err is filled.
 */
int worker_next_record(struct worker *w, struct stream_header *ret, struct err *err);
/* The same of one record, for who has more to do than to wait: type 0 for one of those, read and forgotten. */
int worker_one_record(struct worker *w, struct stream_header *ret, struct err *err);
/* Reads a body, as long as its type may be, into malloc'd memory, NUL-terminated beyond n.  Caller frees. */
int worker_read_body(struct worker *w, const struct stream_header *hdr, uint8_t **ret, struct err *err);
/* Tells the peer why it ends (best effort). */
void worker_send_abort(struct worker *w, const char *text);
/* err for a failed call on the main link. */
int worker_link_error(struct worker *w, int rc, struct err *err);
/*
 * The domain's guest is about to stand still (or that is over: it runs again, or never stood still): what it waits for gets processors first, for a second at
 * most, where the node's hypervisord can do that.  -errno only when it did not answer, and then it is not asked anything any more.
 */
enum worker_hurry { HURRY_BEGINS, HURRY_OVER, HURRY_LANDED };   /* landed: over, and the guest runs here */
int worker_hurry(struct worker *w, json_int_t domid, enum worker_hurry word, struct err *err);
/* Its vCPUs too: they have been told to stop. */
int worker_hurry_guest(struct worker *w, json_int_t domid, struct err *err);
void worker_send_control(struct worker *w, json_t *obj);          /* steals; best effort */
void worker_close(struct worker *w);

int json_text_list(json_t *list, char *buf, size_t size);         /* "a; b; c" into buf */

/* The two directions: the whole life of a worker.  They send the reply on the control socket themselves. */
void move_source_run(struct worker *w, const json_t *request);
void move_target_run(struct worker *w);
/* The two ends of a page service: pages of a guest that runs already (pages_serve.c, pages_fetch.c). */
void pages_serve_run(struct worker *w, const json_t *request);

#endif
