/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request, one connection; see remote.h. */
#include <errno.h>
#include <stdlib.h>

#include <qb/qbutil.h>

#include "ha-agent/remote.h"
#include "lib/msg.h"

#define CONNECT_NS (2 * QB_TIME_NS_IN_SEC)	/* a daemon that is being started again gets this long */

struct remote {
	qb_loop_t *loop;
	struct msg_peer *peer;
	json_t *request;
	int fd;
	remote_progress_fn progress;
	remote_done_fn done;
	void *arg;
	qb_loop_timer_handle timer;
};

static void remote_free(struct remote *r)
{
	if (r->timer)
		qb_loop_timer_del(r->loop, r->timer);
	json_decref(r->request);
	msg_peer_free(r->peer);
	free(r);
}

static void remote_end(struct remote *r, int rc, const json_t *reply, const char *text)
{
	remote_done_fn done = r->done;
	void *arg = r->arg;

	if (!done)
		return;
	r->done = NULL;		/* freeing the peer fails what is pending, which comes back here */
	done(arg, rc, reply, text);
	remote_free(r);
}

static void remote_on_reply(int rc, const json_t *reply, int *fds, int nfds, void *arg)
{
	const char *text = json_string_value(json_object_get(reply, "error"));

	remote_end(arg, rc, reply, text ? text : "");
}

static void remote_up(struct msg_peer *p, void *arg)
{
	struct remote *r = arg;
	json_t *request = r->request;
	int rc;

	if (!request)
		return;		/* a second connection: the reply was lost with the first and has been told */
	if (r->timer)
		qb_loop_timer_del(r->loop, r->timer);
	r->timer = 0;
	r->request = NULL;
	rc = msg_peer_call(p, request, r->fd >= 0 ? &r->fd : NULL, r->fd >= 0, remote_on_reply, r);
	if (rc)
		remote_end(r, rc, NULL, rc == -EMSGSIZE ? "the request is too long for a message" : "cannot be asked");
}

static void remote_event(struct msg_peer *p, const json_t *event, void *arg)
{
	struct remote *r = arg;
	const json_t *progress = json_object_get(event, "progress");

	if (progress && r->progress && r->done)
		r->progress(r->arg, progress);
}

static void remote_timeout(void *arg)
{
	struct remote *r = arg;

	r->timer = 0;
	remote_end(r, -ENOTCONN, NULL, "the daemon does not run");
}

struct remote *remote_call(qb_loop_t *loop, const char *daemon, json_t *request, remote_progress_fn progress, remote_done_fn done,
			   void *arg)
{
	return remote_call_fd(loop, daemon, request, -1, progress, done, arg);
}

struct remote *remote_call_fd(qb_loop_t *loop, const char *daemon, json_t *request, int fd, remote_progress_fn progress,
			      remote_done_fn done, void *arg)
{
	struct remote *r = calloc(1, sizeof(*r));

	if (!r || !request) {
		free(r);
		json_decref(request);
		return NULL;
	}
	*r = (struct remote){ .loop = loop, .request = request, .fd = fd, .progress = progress, .done = done, .arg = arg };
	if (msg_peer_new(loop, daemon, remote_up, NULL, remote_event, r, &r->peer)) {
		json_decref(request);
		free(r);
		return NULL;
	}
	qb_loop_timer_add(loop, QB_LOOP_MED, CONNECT_NS, r, remote_timeout, &r->timer);
	return r;
}

void remote_cancel(struct remote *r)
{
	if (!r)
		return;
	r->done = NULL;
	remote_free(r);
}
