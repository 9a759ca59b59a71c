/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ha-agentd does beside the protocol: cleans up after a failed move, with back-off, so that Pacemaker tries it again as
 * long as it is wanted (a standby, a constraint); and tells the cluster what this node has to offer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <qb/qbutil.h>

#include "ha-agent/agentd.h"
#include "lib/log.h"
#include "lib/migration_net.h"

#define VCPUS_PER_CPU 8		/* guests' vCPUs a node is said to have room for, for each of its own */

static const unsigned backoff_s[] = { 2, 5, 15, 30, 60 };

struct cleanup { struct agentd *a; char resource[OWN_NAME_LEN]; bool start; };

/* A move that runs again by now is not disturbed: somebody has cleared the failure already, and its own end is seen to. */
static void cleanup_run(void *data)
{
	struct cleanup *c = data;
	const struct own_dom *d = own_find_resource(c->a->own, c->resource);

	if (!d || (d->job != OWN_J_MIGRATE && !d->worker)) {
		log_info("clearing the failed %s of %s, so that %s", c->start ? "start" : "move", c->resource,
			 c->start ? "Pacemaker looks again where it runs" : "it can be tried again");
		guard_cleanup(c->start ? NULL : "--failed", c->resource);
	}
	free(c);
}

static void cleanup_later(struct agentd *a, const struct own_dom *d, unsigned seconds, bool start)
{
	struct cleanup *c = calloc(1, sizeof(*c));
	qb_loop_timer_handle timer;

	if (!c)
		return;
	c->a = a;
	c->start = start;
	memcpy(c->resource, d->rec.resource, sizeof(c->resource));
	if (qb_loop_timer_add(a->loop, QB_LOOP_LOW, seconds * QB_TIME_NS_IN_SEC, c, cleanup_run, &timer))
		free(c);
}

/* The operator's own cancel is his command's matter; everything else that ended a move is tried again. */
void after_move(struct agentd *a, const struct own_dom *d, int rc)
{
	struct move *m = move_find(a, d->uuid);
	json_int_t failures = json_integer_value(json_object_get(a->failures, d->uuid));
	size_t i;

	if (rc == 0) {
		json_object_del(a->failures, d->uuid);
		return;
	}
	if (!*d->rec.resource || (m && m->by_operator))
		return;
	i = (size_t)failures < sizeof(backoff_s) / sizeof(backoff_s[0]) ? (size_t)failures : sizeof(backoff_s) / sizeof(backoff_s[0]) - 1;
	json_object_set_new(a->failures, d->uuid, json_integer(failures + 1));
	cleanup_later(a, d, backoff_s[i], false);
}

/*
 * The agent's action failed and this process may know nothing of it: its former one ended before the move began. One that is on record
 * as begun (or whose failure was seen to already) is seen to by agentd_settle_orphans().
 */
void op_move_failed(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	const struct own_dom *d = ops_need(a, call);

	if (!d)
		return;
	if (!d->orphan && d->job != OWN_J_MIGRATE && !d->worker && !json_object_get(a->failures, d->uuid))
		after_move(a, d, -ECONNRESET);
	msg_reply(call, NULL);
}

/* Pacemaker lost sight of where the guest runs (a node out of sight in mid-move, say): it is made to look, not left to start it anew. */
void after_start_elsewhere(struct agentd *a, const struct own_dom *d)
{
	if (*d->rec.resource)
		cleanup_later(a, d, backoff_s[0], true);
}

/* --- what this node has ----------------------------------------------------------------------------------------------- */

/* Where this node's migrated listens; empty: on every address, so Corosync's will do. */
static json_t *after_addresses(void)
{
	json_t *list = json_array();
	struct migration_net net = { .n = 0 };
	struct conf *conf = NULL;
	char text[INET6_ADDRSTRLEN];

	if (conf_load("haven.conf", &conf, NULL) == 0 && migration_net_own(conf, &net, NULL) < 0)
		net.n = 0;
	conf_free(conf);
	for (unsigned i = 0; i < net.n; i++)
		json_array_append_new(list, json_string(migration_net_text(&net.address[i], text)));
	return list;
}

static void after_node_info(int rc, const json_t *reply, int *fds, int nfds, void *arg)
{
	struct agentd *a = arg;
	json_int_t kib = json_integer_value(json_object_get(reply, "memory_total_kib"));
	json_int_t cpus = json_integer_value(json_object_get(reply, "cpus"));

	if (rc || !a->own || kib <= 0)
		return;
	agentd_cluster_send(a, json_pack("{s:s,s:I,s:I,s:o}", "type", "x-node", "memory_mib", kib / 1024, "vcpus", cpus * VCPUS_PER_CPU,
					 "addresses", after_addresses()));
}

void after_view(struct agentd *a)
{
	(void)agentd_ask_hv(a, json_pack("{s:s}", "op", "node-info"), after_node_info, a);
}
