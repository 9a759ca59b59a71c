/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenstored - the store of this node's domains.
 *
 * Holds: every node, watch and transaction; the journal, which outlives it. No guest memory: a domain's own process relays
 *	its ring over a channel.
 * Hears: tools on /run/xenstored/socket (Xen's wire protocol, root), hypervisord on its admin socket (JSON, root), each
 *	domain's hv-domain on the channels hypervisord handed over: hostile octets, checked in store_ops.c and store_channel.c.
 * May do: what the system-call list of stored_sandbox.c says, as a uid of its own from when its sockets and its journal are open; it
 *	opens no file but the journal's next and starts nothing.
 */
#include "config.h"
#include "dom0/xenstored/stored.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/paths.h"

void stored_settle(struct stored *d)
{
	int rc;

	store_flush_events(&d->store);
	rc = journal_commit(&d->journal, &d->store);
	if (rc < 0) {
		/* A reply sent now would be forgotten by a restart. The last good journal holds all that was answered. */
		log_err("%s: cannot write the store's journal (%s); restarting from it", d->journal.path, strerror(-rc));
		abort();
	}
	channel_pump_all(d);
	public_pump_all(d);
}

static int start(qb_loop_t *loop, void *arg, struct err *err)
{
	struct stored *d = arg;
	char dir[200], path[256];
	int rc;

	d->loop = loop;
	rc = store_init(&d->store);
	if (rc < 0)
		return err_set(err, rc, "out of memory");
	rc = path_join(dir, sizeof(dir), path_run(), "xenstored");
	if (rc == 0)
		rc = path_mkdirs(dir, 0700);
	if (rc == 0)
		rc = path_join(path, sizeof(path), dir, "journal");
	if (rc < 0)
		return err_set(err, rc, "%s/xenstored: cannot make the folder: %s", path_run(), strerror(-rc));
	/* The admin socket first: it tells when another xenstored lives, whose journal is not to be touched. */
	rc = msg_server_start(d->loop, "xenstored-admin.sock", admin_ops, d, NULL, "xenstored", &d->admin, err);
	if (rc == 0)
		rc = journal_open(&d->journal, path, &d->store, err);
	if (rc == 0)
		rc = public_open(d, err);
	if (rc == 0 && (rc = journal_give(&d->journal, STORED_UID)) < 0)
		err_set(err, rc, "%s: cannot give it to uid %d: %s", path, STORED_UID, strerror(-rc));
	return rc < 0 ? rc : stored_sandbox_enter(err);
}

#ifdef HAVEN_ASAN
/* LeakSanitizer stops its process with ptrace, from a clone, which inside the sandbox never ends. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }
#endif

static void end(void *arg)
{
	struct stored *d = arg;

	log_info("ends; its journal keeps the store for the next one");
	public_close(d);
	msg_server_stop(d->admin);
	journal_close(&d->journal);
}

int main(int argc, char **argv)
{
	static const struct daemon daemon = {
		.name = "xenstored", .what = "The store of this node's domains. Runs in the foreground; see xenstored(8).",
		.umask = 077, .start = start, .end = end,
	};
	static struct stored d = { .journal = { .fd = -1, .dir = -1 }, .listen_fd = { -1, -1 } };

	return daemon_main(&daemon, &d, argc, argv);
}
