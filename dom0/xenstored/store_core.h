/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The store without its sockets: connections, domains, the wire protocol's operations, what the journal keeps. Pure, so that
 * tests drive it with bytes and read bytes back.
 *
 * One request at a time: store_request() makes the reply and queues events; store_flush_events() hands those to their
 * connections; whatever must outlive the process has by then been appended to store.journal, for the caller to write out
 * before any of it is sent (docs/specs/xenstored-journal.md).
 */
#ifndef HAVEN_XENSTORED_STORE_H
#define HAVEN_XENSTORED_STORE_H

#include <errno.h>		/* before xs_wire.h, which then names the errors */
#include <stdbool.h>
#include <stdint.h>
#include <xen/io/xs_wire.h>

#include "dom0/xenstored/tree.h"
#include "dom0/xenstored/txn.h"
#include "dom0/xenstored/watch.h"
#include "lib/buf.h"

#define STORE_GUEST_WATCHES_MAX 128
#define STORE_GUEST_TXNS_MAX 10
#define STORE_DOM0_TXNS_MAX 1024
#define STORE_EVENTS_HIGH 256	/* undelivered events above which a guest's next request waits */
#define STORE_EVENTS_MAX 8192	/* above which a guest that never takes any loses the newest */

enum store_conn_kind {
	STORE_CONN_SOCKET = 1,		/* Domain-0's tools */
	STORE_CONN_SOCKET_RO = 2,
	STORE_CONN_GUEST = 4,
	STORE_CONN_BACKEND = 8,		/* the back ends of one domain, in its hv-domain */
};

struct store;

struct store_conn {
	struct store *store;
	struct store_conn *next;
	enum store_conn_kind kind;
	uint32_t domid;			/* of a guest, or of a back end's guest; else 0 */
	struct tree_caller who;
	struct txn **txns;
	size_t n_txns;
	uint32_t next_txn;
	/* Takes one event, path as the watcher wrote it. Not called while a request is executed. */
	void (*event)(struct store_conn *c, const char *path, const char *token);
	void *arg;			/* the owner's */
};

struct store_event {
	struct store_event *next;
	uint64_t seq;
	bool sent;			/* on the present channel */
	bool offered;			/* on any, perhaps in an earlier life: the guest may have had it */
	char *path, *token;
};

/* What is kept of a domain between introduce and release. */
struct store_domain {
	struct store_domain *next;
	uint32_t domid;
	struct store_conn *guest;	/* owns its watches and transactions; outlives every channel */
	uint64_t last_seq;		/* of the last request executed */
	uint8_t *last_reply;		/* its reply: header and body */
	size_t last_reply_len;
	struct store_event *events, **events_end;	/* not acknowledged yet, oldest first */
	size_t n_events;
	uint64_t event_seq;		/* of the newest event */
	bool overflow_logged;
	void *channel;			/* the owner's */
};

struct store_pending;

struct store {
	struct tree tree;
	struct watch_set watches;
	struct store_conn *conns;
	struct store_domain *domains;
	struct store_pending *pending, **pending_end;
	struct buf journal;		/* records since it was last taken */
	bool replaying;			/* records come from the journal: make none */
	void *arg;			/* the owner's */
};

/* An empty store with the nodes every Xen store begins with. */
int store_init(struct store *s);
void store_done(struct store *s);

/* ---- connections ---- */
struct store_conn *store_conn_new(struct store *s, enum store_conn_kind kind, uint32_t domid);
/* Its watches, transactions and queued events go with it. NULL is harmless. */
void store_conn_free(struct store_conn *c);

/*
 * Executes one message: `msg` is an xsd_sockmsg and its body, at least a header long; the reply is appended to *reply. Anything
 * malformed is an XS_ERROR reply.
 */
void store_request(struct store_conn *c, const uint8_t *msg, size_t len, struct buf *reply);
/* The decoded header; false when there are too few octets or the body is longer than the protocol allows. */
bool store_header(const uint8_t *msg, size_t len, struct xsd_sockmsg *ret);
/* A whole message: header and body. */
void store_message(struct buf *b, uint32_t type, uint32_t req_id, uint32_t tx_id, const void *body, size_t len);

/* ---- events ---- */
void store_flush_events(struct store *s);
/* Queues events for a change that is none of the tree's: @introduceDomain, @releaseDomain. */
void store_fire_special(struct store *s, const char *name);

/* ---- domains ---- */
struct store_domain *store_domain_find(struct store *s, uint32_t domid);
/* Found or made; makes what is needed to receive a domain's state. NULL: out of memory. */
struct store_domain *store_domain_get(struct store *s, uint32_t domid);
/* The same, journalled and announced with @introduceDomain when it was not there. */
int store_domain_introduce(struct store *s, uint32_t domid, struct store_domain **ret);
/* Its connection, transactions, watches and permissions go; @releaseDomain. -ENOENT when it is unknown. */
int store_domain_release(struct store *s, uint32_t domid);
/* Watches, transactions and undelivered events go: the guest began anew (XS_RESET_WATCHES, a guest's reconnect). */
void store_domain_reset(struct store_domain *d);
/* offered: one from records, which the guest may have had. */
int store_domain_event_add(struct store_domain *d, uint64_t seq, const char *path, const char *token, bool offered);
/* Forgets events up to and including seq. */
void store_domain_event_ack(struct store_domain *d, uint64_t seq);
int store_domain_reply_set(struct store_domain *d, uint64_t seq, const void *reply, size_t len);

/* ---- parts of one process, for its own files ---- */
struct txn *store_txn_find(const struct store_conn *c, uint32_t id);
/* A transaction with that id; doomed ones come from records. */
int store_txn_open(struct store_conn *c, uint32_t id, bool doomed);
void store_txn_close(struct store_conn *c, uint32_t id);
void store_queue_event(struct store_conn *c, const char *path, const char *token);
/* The paths a back end may read and write; a caller of another kind passes. */
bool store_conn_may(const struct store_conn *c, const char *path, unsigned right);

#endif
