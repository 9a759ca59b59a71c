/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership_sim.h - the parts of test_ownership_sim, which says what is simulated: _world (chance, copies and what is checked of them), _agent (what
 * ownership.c asks for), _group (Corosync), _hv (hypervisord), _moves (migration workers), _faults (fencing, Pacemaker, faults, repairs).
 */
#ifndef TESTS_UNIT_OWNERSHIP_SIM_H
#define TESTS_UNIT_OWNERSHIP_SIM_H

#include "ha-agent/ownership_state.h"

#ifdef SIM_NODES
#define N SIM_NODES
#else
#define N 3
#endif
#define MOST_NODES 5
#define D 2
#define GRANTS 256
#define QUEUE 4096

struct copy {
	enum own_copy state;
	uint64_t attempt;
	int target;
	bool stale, attached;
	bool serves;			/* handed, by post-copy: pages of it are still fetched */
	int source; uint64_t pages_of;	/* it runs, and pages of it are on node source - 1, of that attempt; 0: none */
};
struct disk { struct own_record rec; uint64_t begun, activated; char *config; bool have; };
struct hv_job { enum own_action action; int dom; uint64_t number; unsigned session; };
struct hv_note { int dom; bool is_reply; enum own_action action; int rc; uint64_t number; struct own_local local; };

struct node {
	bool up, agent;
	struct own *o;
	unsigned session;
	uint64_t boots, agent_starts;
	int class;			/* nodes of one class reach each other */
	bool dirty;			/* a membership change is due */
	uint64_t view;
	struct disk disk[D];
	struct own_seen seen[N];
	struct copy copy[D];
	struct { int dom; uint64_t number; } grants[GRANTS]; int n_grants;
	struct hv_job jobs[QUEUE]; int n_jobs;		/* sent to hypervisord, not carried out */
	struct hv_note notes[QUEUE]; int n_notes;	/* from hypervisord, not heard */
	bool listing;			/* the first list is under way */
	struct own_msg *inbox[QUEUE]; int n_inbox;
};

enum mig_phase { M_CONNECT, M_ACCEPTED, M_PRECOPY, M_PAUSED, M_READY, M_GO, M_OVER };
struct mig {
	bool used;
	int dom, src, dst;
	uint64_t attempt;
	enum mig_phase phase;
	bool link, src_worker, dst_worker, postcopy;
	bool broken;			/* before the pause: the connection is being made again, by the same two */
	unsigned src_session, dst_session;	/* whose agent they answer to */
};

/* the world */
extern const char *const uuids[D], *const names[D], *const node_names[MOST_NODES];
extern const uint32_t ids[MOST_NODES];
extern uint64_t seed, rng, next_view;
extern int trace, faults_left, calm;
extern unsigned long steps;
extern struct node nodes[N];
extern struct mig migs[64];
extern int migrations, failovers, promises, by_post_copy, lost_pages, linked_again;
extern int vote;		/* of two nodes: on whose side the quorum device is; -1: on none */

/* ownership_sim_world.c */
uint32_t rnd(uint32_t n);
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void broken(const char *what);
int dom_of(const char *uuid);
int index_of(uint32_t id);
struct own_local local_of(int i, int d);
void note_copy(int i, int d);
void set_copy(int i, int d, enum own_copy state);

/* ownership_sim_agent.c */
void msg_free(struct own_msg *m);
bool grant_gone(struct node *n, int dom, uint64_t number);
void touch(int class);
void agent_start(int i);
void agent_stop(int i);
void node_down(int i);
void node_up(int i);

/* ownership_sim_group.c */
void deliver_one(int i);
void new_membership(int class);
void vote_step(void);

/* ownership_sim_hv.c */
void hv_step(int i);
void hear_step(int i);
void list_step(int i);

/* ownership_sim_moves.c */
void mig_end_source(struct mig *m, int rc, bool told);
void mig_end_target(struct mig *m, bool told);
void mig_step(struct mig *m);
void pages_step(int i, int d);

/* ownership_sim_faults.c */
void fence_step(int i, int x);
void old_notice_step(int i, int x);
void request_step(int i);
void fault_step(void);
void repair_step(int i);

#endif
