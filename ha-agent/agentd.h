/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agentd.h - what the files of ha-agentd share: the daemon's one state. */
#ifndef HA_AGENT_AGENTD_H
#define HA_AGENT_AGENTD_H

#include <jansson.h>
#include <qb/qbloop.h>

#include "ha-agent/corosync_link.h"
#include "ha-agent/directory.h"
#include "ha-agent/fence_watch.h"
#include "ha-agent/ownership.h"
#include "ha-agent/remote.h"
#include "lib/msg.h"

enum wait_kind { WAIT_START, WAIT_STOP, WAIT_MIGRATE, WAIT_IN };

/* A client waiting for something to be true of a domain. */
struct wait {
	struct wait *next;
	enum wait_kind kind;
	char uuid[OWN_UUID_LEN];
	struct msg_call *call;
	qb_loop_timer_handle timer;
	qb_loop_timer_handle look;	/* start: when it is looked whether another node runs the domain; or 0 */
	bool paused;			/* start */
	bool asked_guest, forced;	/* stop */
	char target[OWN_NAME_LEN];	/* migrate */
	json_t *options;
};

/* migrated's move of one of our domains. */
struct move {
	struct move *next;
	struct agentd *a;
	char uuid[OWN_UUID_LEN], target[OWN_NAME_LEN];
	uint64_t attempt;
	struct remote *remote;
	qb_loop_timer_handle timer;
	json_t *result;			/* migrated's figures */
	uint64_t told_ns;		/* when progress was last told to the cluster */
	bool over;			/* migrated answered, or was told to end */
	bool by_operator;		/* cancelled by an operator's word: not tried again */
	char why[64];			/* cancelled for another reason */
};

/* A worker of ours that was let take a stream: its connection is its life. */
struct accept { struct accept *next; struct msg_client *client; char uuid[OWN_UUID_LEN]; uint64_t attempt; };
/* A `haven migrate` under way: with its connection end Haven's location constraint of that resource. */
struct guard { struct guard *next; struct msg_client *client; char resource[OWN_NAME_LEN], uuid[OWN_UUID_LEN]; bool policy; };
/* A cleanup after one that died: until it has ended no other command may put a constraint of that resource. */
struct abandon { struct abandon *next; struct agentd *a; char resource[OWN_NAME_LEN]; int pidfd; };

/* A start that continues a saved guest: kept from the request until the start is over, whoever waits for it. */
struct restore { struct restore *next; char uuid[OWN_UUID_LEN]; int fd; bool paused; uint64_t epoch; };

struct agentd {
	qb_loop_t *loop;
	struct directory dir;
	struct own *own;		/* NULL until the cluster told this node's id */
	struct corolink *link;
	struct fence_watch *fences;
	struct msg_server *server;
	struct msg_peer *hv;
	struct corolink_node nodes[COROLINK_NODES]; int n_nodes;
	uint64_t boots[OWN_NODES];	/* last boot told to fences */
	uint64_t members;
	char cluster[128];
	bool settling, ending;
	qb_loop_timer_handle look;	/* at what own_local() left for later; or 0 */
	uint64_t look_ns;
	bool node_quorate;
	uint64_t quorum_ns;		/* when Corosync last told of quorum lost or won */
	struct act *acts;		/* asked of hypervisord, not answered */
	struct wait *waits;
	struct move *moves;
	struct accept *accepts;
	struct guard *guards;
	struct restore *restores;
	json_t *unspent;		/* uuid -> the last restore that never ran: {saved, after}, epochs */
	struct abandon *abandons;
	json_t *news;			/* uuid -> the last progress or result any node told */
	json_t *pages;			/* uuid -> what a copy that runs here still lacks, as hypervisord tells it */
	json_t *policies;		/* uuid -> options of the `haven migrate` under way, whichever node it is on */
	json_t *offers;			/* node -> what it has to offer */
	json_t *failures;		/* uuid -> failed moves from here in a row */
};

extern const struct msg_op agentd_ops[];
void agentd_client_gone(struct msg_client *client, void *daemon);

/* --- ha-agentd.c --- */
void agentd_settle_later(struct agentd *a);	/* look at waiting clients again, after the present input */
void agentd_cluster_send(struct agentd *a, json_t *j);	/* steals; not a record: outside the protocol */
const struct corolink_node *agentd_node(const struct agentd *a, const char *name);
/* Asks hypervisord on the daemon's own connection; reply as msg_peer's. */
int agentd_ask_hv(struct agentd *a, json_t *request, msg_peer_reply_fn reply, void *arg);

/* --- agentd_ops.c --- */
struct own *ops_own(struct agentd *a, struct msg_call *call);	/* NULL after an error reply */
struct own_dom *ops_need(struct agentd *a, struct msg_call *call);	/* the domain a request names; NULL after an error reply */
/* The request's config as record and canonical text (caller frees); NULL after an error reply. */
char *ops_config(struct msg_call *call, const char **ret_uuid, struct own_record *rec);
/* Has whoever waits for a job that never began told so. */
void ops_end_wait(struct agentd *a, enum wait_kind kind, const char *uuid, int rc, const char *text);

/* --- agentd_restore.c --- */
void op_restore(struct msg_call *call, void *daemon);
const struct restore *restore_find(const struct agentd *a, const char *uuid);
/* The start of d is over, well or not: the file is let go. */
void restore_over(struct agentd *a, const struct own_dom *d, int rc);

/* --- agentd_wait.c --- */
struct wait *wait_new(struct agentd *a, enum wait_kind kind, const char *uuid, struct msg_call *call, int64_t timeout_ms);
void wait_job_done(struct agentd *a, struct own_dom *d, enum own_job job, int rc, const char *text);
void wait_settle(struct agentd *a);
struct wait *wait_find(struct agentd *a, enum wait_kind kind, const char *uuid);
/* A start is not to wait for its whole time-out for a domain that another node runs and goes on running. */
void wait_watch_elsewhere(struct agentd *a, struct wait *w);
void wait_client_gone(struct agentd *a, struct msg_client *client);

/* --- agentd_move.c --- */
void move_start(struct agentd *a, struct own_dom *d, uint64_t attempt);
struct move *move_find(struct agentd *a, const char *uuid);
void move_forget(struct agentd *a, const char *uuid);
/* Where that node's migrated listens, into a request to ours: address, addresses and port. */
void move_set_address(struct agentd *a, const char *node, json_t *request);
/* Ends a move, or a start that waits, wherever its worker stands; after GO it completes all the same. */
void move_cancel(struct agentd *a, const char *uuid, const char *why, bool by_operator);
/* Ends moves whose target is no member any more. */
void move_cancel_lost(struct agentd *a);

/* --- agentd_guard.c --- */
void op_guard(struct msg_call *call, void *daemon);
void guard_client_gone(struct agentd *a, const struct msg_client *client);
/* A cleanup that nobody waits for: `haven cleanup [OPTION] NAME`. */
void guard_cleanup(const char *option, const char *name);

/* --- agentd_after.c --- */
void after_move(struct agentd *a, const struct own_dom *d, int rc);
void op_move_failed(struct msg_call *call, void *daemon);
void after_start_elsewhere(struct agentd *a, const struct own_dom *d);	/* a start was refused: another node runs it */
void after_view(struct agentd *a);

#endif
