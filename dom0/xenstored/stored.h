/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xenstored's shell around the store: what main, the sockets and the admin requests share. */
#ifndef HAVEN_XENSTORED_STORED_H
#define HAVEN_XENSTORED_STORED_H

#include <qb/qbloop.h>

#include "dom0/xenstored/store_journal.h"
#include "dom0/xenstored/store_core.h"
#include "lib/msg.h"

#define STORED_SOCKETS_MAX 512		/* clients of the public socket */
#define STORED_OUT_MAX (8u * 1024 * 1024)	/* octets a client may leave unread */
#define STORED_BACKEND_OUT_MAX (1024u * 1024)

struct public_client;
struct backend_channel;
struct expected;

struct stored {
	qb_loop_t *loop;
	struct store store;
	struct journal journal;
	struct msg_server *admin;
	int listen_fd[2];		/* read-write, read-only */
	struct public_client *clients;
	unsigned n_clients;
	struct backend_channel *backends;
	struct expected *expected;
};

/*
 * Ends every request: events to their connections, the journal written, then everything that waits sent. No reply leaves
 * before its record is in the journal.
 */
void stored_settle(struct stored *d);

/* store_socket.c */
int public_open(struct stored *d, struct err *err);
void public_close(struct stored *d);
void public_pump_all(struct stored *d);

/* store_channel.c: both descriptors become the callee's, also on failure; -1 for none. */
int channel_introduce(struct stored *d, uint32_t domid, int guest_fd, int backend_fd);
void channel_forget(struct stored *d, uint32_t domid);	/* before the domain is released */
void channel_pump_all(struct stored *d);

/* store_expect.c: channels of a domain to come, and the connection its import comes over. All three become the callee's. */
int expect_domain(struct stored *d, uint32_t domid, int guest_fd, int backend_fd, int import_fd);
void expect_forget(struct stored *d, uint32_t domid);

/* stored_sandbox.c. The uid owns the journal and nothing else; it needs no entry in passwd. 0, or -errno with err. */
#define STORED_UID 199003
int stored_sandbox_enter(struct err *err);

/* store_part.c: a domain's part of the store as a memfd: sealed, the caller's, or -errno; and from one, which is closed: the caller settles. */
int part_export(struct stored *d, uint32_t domid, size_t *ret_len);
int part_import(struct stored *d, uint32_t domid, int fd);

/* store_admin.c */
extern const struct msg_op admin_ops[];

#endif
