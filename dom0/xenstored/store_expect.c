/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Domains that are on their way here. Their channels are handed over before they come, with a connection over which their own
 * process says what the store is to hold: one request, `import`, makes the domain known and sets its channels going, so that the
 * guest, which stands still meanwhile, waits for one answer and nobody else's.
 *
 * Nothing of the domain is in the store before that, and nothing but its own nodes after it: the same checks as the admin socket's
 * `import`. What is never asked for goes with the domain's `release`.
 */
#include "dom0/xenstored/stored.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct expected {
	struct expected *next;
	struct stored *daemon;
	uint32_t domid;
	int guest_fd, backend_fd;	/* -1: handed on */
	struct msg_server *server;	/* of the one connection */
};

static void expected_import(struct msg_call *call, void *arg)
{
	struct expected *e = arg;
	struct stored *d = e->daemon;
	int fd = msg_call_take_fd(call, 0);
	int rc = part_import(d, e->domid, fd);

	if (rc == 0) {
		rc = channel_introduce(d, e->domid, e->guest_fd, e->backend_fd);
		e->guest_fd = e->backend_fd = -1;
	}
	stored_settle(d);
	if (rc < 0)
		msg_error(call, rc, "import domain: %s", strerror(-rc));
	else
		msg_reply(call, NULL);
}

static const struct msg_op ops[] = {
	{ "import", MSG_ANY, expected_import },	/* whoever holds the descriptor */
	{ NULL, MSG_ROOT, NULL },
};

void expect_forget(struct stored *d, uint32_t domid)
{
	struct expected **at = &d->expected, *e;

	while (*at && (*at)->domid != domid)
		at = &(*at)->next;
	e = *at;
	if (!e)
		return;
	*at = e->next;
	msg_server_stop(e->server);
	if (e->guest_fd >= 0)
		close(e->guest_fd);
	if (e->backend_fd >= 0)
		close(e->backend_fd);
	free(e);
}

int expect_domain(struct stored *d, uint32_t domid, int guest_fd, int backend_fd, int import_fd)
{
	struct expected *e = import_fd >= 0 ? calloc(1, sizeof(*e)) : NULL;
	int rc = import_fd < 0 ? -EBADF : e ? 0 : -ENOMEM;

	expect_forget(d, domid);
	if (rc == 0) {
		*e = (struct expected){ .next = d->expected, .daemon = d, .domid = domid, .guest_fd = guest_fd, .backend_fd = backend_fd };
		rc = msg_server_adopt(d->loop, -1, ops, e, NULL, "xenstored", &e->server);
	}
	if (rc == 0 && (rc = msg_server_add_connection(e->server, import_fd, NULL)) < 0)
		msg_server_stop(e->server);
	if (rc == 0) {
		d->expected = e;
		return 0;
	}
	for (int i = 0; i < 3; i++)
		if ((int[]){ guest_fd, backend_fd, import_fd }[i] >= 0)
			close((int[]){ guest_fd, backend_fd, import_fd }[i]);
	free(e);
	return rc;
}
