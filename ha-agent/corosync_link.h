/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * corosync_link.h - the cluster as ha-agentd sees it: nodes (cmap), membership and agreed order (CPG group "haven"), quorum.
 *
 * A membership's name ("view") is made of the ring id and the group's members with their pids, so that it differs when
 * a ha-agentd comes back on the same ring. Connections that break are made again for as long as the process lives.
 * Without a cluster (corolink_alone) the node is its own, always quorate membership and hears itself.
 */
#ifndef HA_AGENT_COROSYNC_LINK_H
#define HA_AGENT_COROSYNC_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <qb/qbloop.h>
#include "lib/err.h"

#define COROLINK_NODES 64

struct corolink_node { uint32_t id; char name[128]; char address[128]; };

struct corolink_ops {
	void (*nodes)(void *arg, uint32_t me, const struct corolink_node *nodes, int n, const char *cluster);
	/* quorum is called right after each view */
	void (*view)(void *arg, uint64_t view, const uint32_t *members, int n);
	void (*quorum)(void *arg, bool group_quorate, bool node_quorate);
	void (*lost)(void *arg);
	/* text: NUL-terminated, of the node `from`, in agreed order */
	void (*deliver)(void *arg, uint32_t from, const char *text);
};

struct corolink;

int corolink_start(qb_loop_t *loop, const struct corolink_ops *ops, void *arg, struct corolink **ret);
/* The same without a cluster: node 1 is this host. */
int corolink_alone(qb_loop_t *loop, const char *name, const struct corolink_ops *ops, void *arg, struct corolink **ret);
/* Steals text (malloc'd). Sent in order; what was not sent when the membership changes is dropped. */
void corolink_send(struct corolink *c, char *text);
bool corolink_connected(const struct corolink *c);
/* Leaves the group in order, after what was sent. */
void corolink_stop(struct corolink *c);

#endif
