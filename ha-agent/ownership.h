/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership.h - who owns which domain: one node's part of the hand-over protocol, as a pure state machine.
 *
 * Specification: docs/specs/ownership.md. No socket, no clock, no file: what happened comes in through the own_*()
 * functions below, what is to be done goes out through struct own_ops. Every input ends with all rules run until none
 * applies (own_run), so outputs follow inputs at once; an output that takes time (an action) is answered by an input.
 *
 *	o = own_new(me, incarnation, &ops, arg);    own_set_nodes(); own_load_domain() ...; own_load_node() ...
 *	own_local(known copies); own_view(...); own_deliver(...) ...
 *
 * Inputs from peers are parsed by own_codec.c before; they may still be wrong in any way but syntax.
 */
#ifndef HA_AGENT_OWNERSHIP_H
#define HA_AGENT_OWNERSHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OWN_NODES 64
#define OWN_UUID_LEN 37
#define OWN_NAME_LEN 128
#define OWN_HASH_LEN 72
#define OWN_TEXT_LEN 512
#define OWN_DOMAINS_MAX 4096
#define OWN_DOMID_MAX 32751	/* below DOMID_FIRST_RESERVED (xen.h) */

/* The copy's states are hv-domain's own (messages.md, hypervisord). */
enum own_copy {
	OWN_NONE, OWN_BUILDING, OWN_RUN, OWN_QPAUSE, OWN_PAUSED, OWN_HANDED, OWN_INCOMING, OWN_READY, OWN_DYING
};
#define OWN_BIT(copy) (1u << (copy))
#define OWN_ANY_BUT_HANDED (OWN_BIT(OWN_DYING + 1) - 1 - OWN_BIT(OWN_NONE) - OWN_BIT(OWN_HANDED))

enum own_type {
	OWN_M_NONE, OWN_M_REPORT, OWN_M_ACK, OWN_M_NACK, OWN_M_BEGIN, OWN_M_RUNNING, OWN_M_ABORT, OWN_M_CLAIM,
	OWN_M_RELEASE, OWN_M_ASK, OWN_M_LEAVE, OWN_M_WANT, OWN_M_CONFIG, OWN_M_PROBE, OWN_M_ALIVE, OWN_M_TYPES
};

enum own_action {
	OWN_DO_NONE,
	OWN_DO_CREATE,		/* hypervisord create with claim `number` */
	OWN_DO_DESTROY,		/* destroy, only in the states of the mask `number` (0: any) */
	OWN_DO_RESUME_HANDED,	/* resume-handed of attempt `number` */
	OWN_DO_QPAUSE, OWN_DO_QRESUME,
	OWN_DO_ACTIVATED,	/* read the last attempt activated here */
	OWN_DO_REFRESH,		/* look at this domain's copy again */
	OWN_DO_PAGES_LOST,	/* the node that had pages our copy lacks has them no more: it ends */
	OWN_DO_MOVE		/* migrated's move of attempt `number`; answered by own_move_done(), not own_action_done() */
};

enum own_job { OWN_J_NONE, OWN_J_START, OWN_J_STOP, OWN_J_MIGRATE };

struct own_record {
	uint64_t epoch;			/* 0: never heard of */
	uint32_t owner, to;		/* node ids; 0: nobody, no intent */
	uint32_t domid;
	char hash[OWN_HASH_LEN];	/* of the config */
	char name[OWN_NAME_LEN];
	char resource[OWN_NAME_LEN];	/* Pacemaker's name for it, "" when it has none */
};

struct own_entry {			/* one domain in a report */
	char uuid[OWN_UUID_LEN];
	struct own_record rec;
	enum own_copy copy;
	bool holds;			/* a copy in any state, or one allowed to come into being */
	bool act_known;			/* false: the state folder was lost; neither promise nor disclaimer */
	uint64_t activated;		/* last attempt activated there */
	uint64_t begun;			/* last attempt whose BEGIN (to it) its disk has acknowledged */
	uint64_t pending;		/* attempt it would still take a stream for, or 0 */
};

struct own_seen { uint32_t node; uint64_t seen, fenced, left; };

struct own_report {
	bool full;			/* everything it has; otherwise only the entries listed changed */
	bool known;			/* false: it cannot ask its hypervisord, so it may hold anything */
	uint64_t incarnation;
	struct own_entry *entries; size_t n_entries;
	struct own_seen *seen; size_t n_seen;
};

struct own_msg {
	enum own_type type;
	uint64_t view;			/* the membership it was sent in */
	uint32_t from;			/* by the transport, never by the message */
	char uuid[OWN_UUID_LEN];
	uint64_t epoch;			/* of the record; ABORT, ASK: the attempt; LEAVE: the incarnation */
	uint64_t serial;		/* of the sender's record; ACK, NACK, ALIVE: of what they answer */
	enum own_type what;		/* ACK, NACK: of which record, from whom */
	uint32_t whom;			/* ASK: who is to report; 0: everybody. PROBE: who is to answer; ALIVE: whom it answers */
	struct own_record rec;		/* BEGIN, CLAIM (whole); RUNNING: domid and names for who never heard of it */
	const char *config;		/* CLAIM, CONFIG; borrowed */
	int code;			/* NACK: -EEXIST for good, -EAGAIN another domid would do */
	const char *text;		/* NACK: why; borrowed */
	struct own_report report;	/* REPORT; arrays borrowed */
};

/*
 * A record under way. The serial tells two of one epoch apart: one that was withdrawn, and reported as such, must gain
 * nothing from acknowledgements of another.
 */
struct own_out { enum own_type type; uint64_t epoch, serial; uint64_t acks; bool done; };

/* A domain as this node sees it. Read-only outside the state machine (ownership_state.h). */
struct own_dom {
	struct own_dom *next;
	char uuid[OWN_UUID_LEN];
	/* on disk */
	struct own_record rec;
	uint64_t begun;
	bool behind;			/* a record could not be written: the others are asked for theirs */
	char *config;			/* canonical JSON, or NULL while only the hash is known */
	/* this node's copy, as hypervisord last said */
	enum own_copy copy;
	uint64_t copy_attempt;
	uint32_t copy_target;		/* handed: the target's node id */
	uint32_t copy_domid;
	bool copy_serves;		/* handed, and its target still fetches pages from it */
	uint32_t copy_source;		/* it runs, and pages of it are still on that node; 0: none */
	bool fresh;			/* the copy was looked at since anything changed */
	bool act_fresh, act_known;
	uint64_t activated;
	enum own_action busy;		/* an action of ours under way */
	bool unsure;			/* an action ended without an answer: look before anything else */
	bool relook;			/* a look is under way that may be of before what is known: its answer is no answer */
	bool backoff;			/* an action was refused: not again before the next tick */
	uint64_t creating;		/* CLAIM counted, create under way */
	bool worker;			/* migrated's move of ours under way */
	bool move_over;			/* it answered; the copy is to be looked at before that is used */
	uint64_t accepted;		/* a stream was let in, its copy not yet seen */
	uint32_t accepted_from;
	bool accepted_over;		/* its worker ended after it had used the grant: the next look decides */
	bool verdict_resume, verdict_drop;	/* a handed copy's way out, decided */
	bool contradicted;		/* a record of equal epoch says otherwise */
	/* in this membership */
	uint64_t hold;			/* mask of nodes */
	enum own_copy remote[OWN_NODES];	/* what each reported, for operators */
	struct own_out outs[OWN_NODES];
	uint64_t bgn, bgn_used;
	uint64_t claim_serial;		/* of our last claim */
	uint32_t claim_domid;		/* that it asked for */
	bool quiet;			/* in its move's pause, or just out of it: reported later (own_look) */
	bool landing;			/* its guest began to run: RUNNING waits, too */
	bool told;
	bool told_holds;
	enum own_copy told_copy;
	uint64_t abort_sent;
	bool asked, wanted;
	/* what was asked of us */
	enum own_job job;
	uint32_t job_to;
	uint64_t job_attempt;		/* the move's, once begun */
	int job_rc;			/* what the move's worker said */
	char job_text[OWN_TEXT_LEN];
	struct own_record job_rec;	/* the start's; domid 0: any */
	uint64_t job_from;		/* a restore's: the only epoch its claim may extend; 0: any */
	char *job_config;
	bool orphan;			/* kept by the daemon: a move whose ha-agentd died under it */
};

struct own;
struct own_ops {
	/* Writes the domain's disk part, fsync'ed before it returns. Non-zero: the record is not acknowledged nor used. */
	int (*persist)(void *arg, const struct own_dom *d);
	/* What is known of boots, the same way. Non-zero: no record is taken before it is written. */
	int (*persist_nodes)(void *arg, const struct own *o);
	void (*send)(void *arg, const struct own_msg *m);
	void (*act)(void *arg, struct own_dom *d, enum own_action action, uint64_t number);
	int (*grant)(void *arg, const char *uuid, uint64_t number);
	int (*revoke)(void *arg, const char *uuid, uint64_t number);	/* lib/grant.h: 0, or -ENOENT when used */
	void (*job_done)(void *arg, struct own_dom *d, enum own_job job, int rc, const char *text);
	/* May this node's record say it changed: for subscribers. May be NULL. */
	void (*changed)(void *arg, struct own_dom *d);
};

struct own_node {
	uint32_t id;
	bool configured;
	uint64_t seen, fenced, left;
	uint64_t probe;			/* serial: it was said to be fenced while it was a member, and has not answered yet */
	char name[OWN_NAME_LEN];
};

struct own {
	uint32_t me;
	int self;			/* index of me */
	uint64_t incarnation;
	struct own_node nodes[OWN_NODES]; int n_nodes;
	struct own_dom *doms; size_t n_doms;
	uint64_t view;			/* 0: in no membership */
	uint64_t members, reported, unknown;	/* masks, of this membership */
	bool quorate;			/* this membership may decide */
	bool pause_wanted;		/* the node lost quorum: courtesy */
	bool known;			/* hypervisord listed its copies once: no copy is unknown since */
	bool hv_up;			/* it can be asked now */
	bool told_full, told_known;
	bool boots_unwritten;		/* what is known of boots is not on disk */
	bool leaving;
	uint64_t serial;		/* last given to a record of ours */
	bool running, again;		/* in own_run(); an input came meanwhile */
	const struct own_ops *ops; void *arg;
};

/* --- life ---------------------------------------------------------------------------------------------------------- */

/* incarnation: counts this node's boots and, below, its agent's starts; never goes back. NULL: no memory. */
struct own *own_new(uint32_t me, uint64_t incarnation, const struct own_ops *ops, void *arg);
void own_free(struct own *o);
/* The configured nodes (corosync's nodelist); may be called again when it changes. 0 or -E2BIG. */
int own_set_nodes(struct own *o, const uint32_t *ids, const char *const *names, int n);
/* What the disk says, before anything else. config may be NULL. 0 or -ENOMEM, -E2BIG, -EINVAL. */
int own_load_domain(struct own *o, const char *uuid, const struct own_record *rec, uint64_t begun, const char *config);
void own_load_node(struct own *o, const struct own_seen *s);

/* --- inputs -------------------------------------------------------------------------------------------------------- */

/* A new membership. view: its name, never 0, the same at every member; members: node ids. */
void own_view(struct own *o, uint64_t view, const uint32_t *members, int n);
void own_view_lost(struct own *o);		/* Corosync went away */
void own_quorum(struct own *o, bool group_quorate, bool node_quorate);
void own_deliver(struct own *o, const struct own_msg *m);
/*
 * Its present boot was fenced; also the operator's word. Of a member it is believed when the member leaves without having answered
 * a question asked after this word: one that answers was not the one that was cut.
 */
void own_fenced(struct own *o, uint32_t node);

struct own_local {
	char uuid[OWN_UUID_LEN];
	enum own_copy copy;
	uint64_t attempt;
	uint32_t target, domid;
	bool serves;			/* handed: the target still fetches pages from it */
	uint32_t source;		/* the node that pages of it are still on; 0: none */
	char name[OWN_NAME_LEN];
};
void own_hypervisor(struct own *o, bool up);	/* the connection; own_locals() follows when it is up */
/* Every copy of this node, as hypervisord lists them; domains not in it have none. */
void own_locals(struct own *o, const struct own_local *l, size_t n);
/*
 * One of them changed: hypervisord's event. Not 0: it is told to nobody before own_look() in so many milliseconds: the guest stands still for its
 * move, or just did, every message of Corosync's costs it processors, and what it passes through is over before anybody reads of it.
 */
#define OWN_PAUSE_MS 100
#define OWN_LANDING_MS 25		/* it runs; RUNNING, and the end of the old copy, can wait until it has answered somebody */
unsigned own_local(struct own *o, const struct own_local *l);
void own_look(struct own *o);
/* What OWN_DO_REFRESH found, own_action_done() following; events heard meanwhile are younger and make it look once more. */
void own_refreshed(struct own *o, const struct own_local *l);
/* rc: of the action. ACTIVATED: number is the attempt, known whether the state folder is whole. */
void own_action_done(struct own *o, const char *uuid, enum own_action a, int rc, uint64_t number, bool known, const char *text);
void own_move_done(struct own *o, const char *uuid, uint64_t attempt, int rc, const char *text);
void own_accept_gone(struct own *o, const char *uuid, uint64_t attempt);	/* the accepted worker ended */
void own_nudge(struct own *o, const char *uuid);	/* a worker says something ended: look again */
void own_tick(struct own *o);		/* re-sends what an answer is owed to; every second or so */

/* --- requests; text (OWN_TEXT_LEN) says why not -------------------------------------------------------------------- */

/* 0: begun, job_done follows (or was called already); -EALREADY: it runs here; other: refused. */
int own_start(struct own *o, const char *uuid, const struct own_record *rec, const char *config, char *text);
/*
 * A start from a saved image, whose memory is as old as the record of epoch from: given up (-ESTALE) as soon as the record is another,
 * since the disks have then moved on. from 0: by the operator's word, whatever the record.
 */
int own_restore(struct own *o, const char *uuid, const struct own_record *rec, const char *config, uint64_t from, char *text);
/* The other member that said in this quorate membership, where all have reported, that its copy runs; NULL: none did. */
const char *own_runs_on(const struct own *o, const struct own_dom *d);
/* Destroys the copy here and releases. 0: job_done follows or was called. Never touches another node's copy. */
int own_stop(struct own *o, const char *uuid, char *text);
int own_migrate(struct own *o, const char *uuid, uint32_t to, char *text);
/* Gives a start or a move up. 0, -ENOENT (none), -EBUSY (move under way: end its worker; after GO it finishes). */
int own_cancel(struct own *o, const char *uuid, const char *text);
/* The target's worker asks to take a stream. 0: granted, *ret is the domain; else refused. */
int own_accept(struct own *o, const char *uuid, uint64_t attempt, uint32_t from, const struct own_dom **ret, char *text);
/* Operator's word on a handed copy that nobody can decide. */
int own_resolve(struct own *o, const char *uuid, bool keep, char *text);
/* Says goodbye when nothing is held. 0: said; -EBUSY: something is held here, or what is known of boots cannot be written. */
int own_leave(struct own *o);

/* --- looking ------------------------------------------------------------------------------------------------------- */

struct own_dom *own_find(const struct own *o, const char *uuid);
struct own_dom *own_find_name(const struct own *o, const char *name);	/* owned ones first */
struct own_dom *own_find_resource(const struct own *o, const char *resource);
const struct own_node *own_node(const struct own *o, uint32_t id);
const struct own_node *own_node_by_name(const struct own *o, const char *name);
const char *own_node_name(const struct own *o, uint32_t id);
bool own_member(const struct own *o, uint32_t id);
bool own_synced(const struct own *o);
bool own_holds(const struct own_dom *d);
/* Who stands in the way of a start, as a sentence; "" when nobody does. */
void own_obstacle(const struct own *o, const struct own_dom *d, char *text);
const char *own_copy_name(enum own_copy c);
enum own_copy own_copy_from_name(const char *s);	/* unknown names: OWN_DYING, which counts as held */
const char *own_type_name(enum own_type t);
/* Every invariant of the state; a broken one is our bug and aborts. */
void own_assert_state(const struct own *o);

#endif
