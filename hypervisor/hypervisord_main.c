/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_main.c - hypervisord: the node's domain table.
 *
 * Holds: root; the table of domains, a pidfd of each hv-domain and hv-disk, connections to them and to xenstored and xenconsoled.
 * Hears: operators and daemons of this node (uid 0) on hypervisord.sock, every local user's reading requests; events of hv-domain.
 * May do: exec hv-domain, hv-disk, haven-storage, haven-network; write the store; end domains; give what a guest waits for in
 *         mid-move processors first.  It never reads a guest's bytes.
 *
 * Restarting it is a no-op for guests: the domains are processes of their own, found again by RUN/domain/DOMID.json.
 */
#include "config.h"
#include "hypervisor/hypervisord.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "hypervisor/host_clock.h"
#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/paths.h"

/* --- xenstored and xenconsoled came (back): everyone gets fresh channels ----------------------------------------------- */

static void store_again_work(struct job *j)
{
	if (j->dom->pid <= 0 || !j->dom->on_store)
		return;
	j->rc = store_channels(j->dom, &j->err);
	if (!j->rc)
		console_name(j->dom);
}

static void console_again_work(struct job *j)
{
	if (j->dom->pid > 0 && j->dom->on_console)
		j->rc = console_attach(j->dom, &j->err);
}

static void node0_work(struct job *j)
{
	j->rc = store_node0(j->h->hostname, &j->err);
}

static void all_again(struct hvd *h, void (*work)(struct job *))
{
	for (struct dom *d = h->doms; d; d = d->next) {
		struct job *j = d->gone_seen ? NULL : job_new(h, NULL, d);

		if (!j)
			continue;
		j->work = work;
		job_start(j);
	}
}

static void store_up(struct msg_peer *p, void *arg)
{
	struct hvd *h = arg;
	struct job *j = job_new(h, NULL, NULL);

	hurry_store_found(h);
	if (j) {
		j->work = node0_work;
		job_start(j);
	}
	all_again(h, store_again_work);
}

static void console_up(struct msg_peer *p, void *arg)
{
	all_again(arg, console_again_work);
}

/* --- start and end -------------------------------------------------------------------------------------------------------- */

static void client_gone(struct msg_client *client, void *arg)
{
	hurry_client_gone(arg, client);
	job_client_gone(arg, client);
}

static void on_term(void *arg)
{
	struct hvd *h = arg;

	log_info("ending; the domains run on");
	qb_loop_stop(h->loop);
}

/* Its absence later says that this node's memory of activations was lost. */
static int state_mark(struct err *err)
{
	char path[512];
	int rc = path_mkdirs(path_state(), 0755), fd;

	if (!rc)
		rc = path_join(path, sizeof path, path_state(), "hypervisord.created");
	if (rc)
		return err_set(err, rc, "%s: %s", path_state(), strerror(-rc));
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fsync(fd) < 0)
		rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

static int folders_make(struct err *err)
{
	char path[512];
	int rc = path_join(path, sizeof path, path_run(), "domain");

	if (!rc)
		rc = path_mkdirs(path, 0755);
	return rc ? err_set(err, rc, "%s/domain: %s", path_run(), strerror(-rc)) : state_mark(err);
}

static int start(qb_loop_t *loop, void *arg, struct err *err)
{
	struct hvd *h = arg;
	int rc = folders_make(err);

	h->loop = loop;
	gethostname(h->hostname, sizeof h->hostname - 1);
	if (!rc)
		rc = jobs_init(h);
	if (rc)
		return err->text[0] ? rc : err_set(err, rc, "hypervisord: cannot start its jobs");
	rc = msg_server_start(h->loop, "hypervisord.sock", hvd_ops, h, client_gone, "hypervisord", &h->server, err);
	if (rc)
		return rc;
	disk_supervision_init(h);
	doms_find(h);
	msg_peer_new(h->loop, "xenstored-admin.sock", store_up, NULL, NULL, h, &h->store);
	msg_peer_new(h->loop, "xenconsoled.sock", console_up, NULL, NULL, h, &h->console);
	hvd_log("hypervisord " PACKAGE_VERSION " on %s, engine bt, %llu MiB", h->hostname, (unsigned long long)node_memory_total_kib() >> 10);
	return 0;
}

static void end(void *arg)
{
	struct hvd *h = arg;

	msg_server_stop(h->server);
}

int main(int argc, char **argv)
{
	static const struct daemon daemon = {
		.name = "hypervisord", .what = "Makes, keeps and ends this node's domains. Runs in the foreground; see hypervisord(8).",
		.start = start, .term = on_term, .end = end,
	};
	static struct hvd h = { .done_fd = -1 };

	host_clock_begin();
	return daemon_main(&daemon, &h, argc, argv);
}
