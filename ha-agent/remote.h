/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * remote.h - one long request to another daemon of this node, on a connection of its own (replies on one connection
 * come in order, so a create must not stand before everything else). Ending the connection cancels what can be cancelled.
 */
#ifndef HA_AGENT_REMOTE_H
#define HA_AGENT_REMOTE_H

#include <jansson.h>
#include <qb/qbloop.h>

struct remote;

/* rc: 0 or -errno of the reply (-ENOTCONN: the daemon does not run; -ECONNRESET: it went away before it answered). */
typedef void (*remote_done_fn)(void *arg, int rc, const json_t *reply, const char *text);
typedef void (*remote_progress_fn)(void *arg, const json_t *progress);

/* Steals request. done is called once, from the loop, unless remote_cancel() comes first. NULL: no memory. */
struct remote *remote_call(qb_loop_t *loop, const char *daemon, json_t *request, remote_progress_fn progress, remote_done_fn done,
			   void *arg);
/* With a descriptor, borrowed (it must stay open until the request is over); -1: none. */
struct remote *remote_call_fd(qb_loop_t *loop, const char *daemon, json_t *request, int fd, remote_progress_fn progress,
			      remote_done_fn done, void *arg);
void remote_cancel(struct remote *r);

#endif
