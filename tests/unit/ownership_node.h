/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership_node.h - for the tests of docs/specs/ownership.md's rules one by one: a single node's state machine (node 1 of three) is fed what
 * the others would say, and what it says and does is looked at. test_ownership_sim has the whole; there each obvious short cut has its test.
 */
#ifndef TESTS_UNIT_OWNERSHIP_NODE_H
#define TESTS_UNIT_OWNERSHIP_NODE_H

#include "ha-agent/ownership_state.h"

#define U "00000000-0000-0000-0000-00000000000a"
#define VIEW 7
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* The node, and what it has said and done since forget_outputs(). */
extern struct own *o;
extern const struct own_ops node_ops;
struct node_sent { enum own_type type; uint64_t epoch, serial; uint32_t domid; bool holds; };
struct node_acted { enum own_action action; uint64_t number; };
extern struct node_sent sent[64];
extern struct node_acted acted[64];
extern int n_sent, n_acted, grants;
extern enum own_job ended;
extern int ended_rc;
/* What its disk and its grants answer. */
extern int persist_rc, persist_nodes_rc, revoke_rc;

bool did_send(enum own_type t);
bool did_act(enum own_action a);
void forget_outputs(void);
void hear(uint32_t from, struct own_msg m);
void hear_report(uint32_t from, bool full, bool known, const struct own_entry *e);
void hear_ack(uint32_t from, enum own_type what, uint64_t epoch, uint64_t serial);
void local(enum own_copy copy, uint64_t attempt, uint32_t target);
int setup(void **state);		/* a synced, quorate view of three in which nothing is known */
int teardown(void **state);
int start(void);
struct own_record record(uint64_t epoch, uint32_t owner, uint32_t to);
void claim_here(void);			/* claims, and everybody acknowledges */
void run_here(void);			/* claims so, creates; the copy runs and everything is told */

#endif
