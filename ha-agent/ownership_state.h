/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership_state.h - between the files of the directory's state machine:
 *
 *	ownership.c           the state: nodes, domains, memberships, this node's copies
 *	ownership_records.c   what members send each other, and what it does to the state
 *	ownership_rules.c     what follows from the state
 *	ownership_requests.c  what agents and operators want of it, and how actions ended
 */
#ifndef HA_AGENT_OWNERSHIP_STATE_H
#define HA_AGENT_OWNERSHIP_STATE_H

#include "ha-agent/ownership.h"

/* --- ownership.c --------------------------------------------------------------------------------------------------- */

int own_index(const struct own *o, uint32_t id);			/* in nodes[], and of its bit in the masks; -1: no such node */
int own_index_add(struct own *o, uint32_t id);			/* a place in nodes[], made when there is none; -1: full */
uint64_t own_bit(const struct own *o, uint32_t id);		/* in the masks of members; 0: no such node */
bool own_raise_members(struct own *o);				/* what the membership says of who was seen; whether it changed anything */
bool own_is_fenced(const struct own *o, uint32_t id);		/* its present boot is dead for certain */
struct own_dom *own_find_or_add(struct own *o, const char *uuid);
bool own_in_use(const struct own_dom *d);			/* owned, held here, or wanted */
/*
 * Writes down what is known of boots. 0, or what persist_nodes said: no record is taken until it is written, for who acknowledged one and then forgot
 * that a fenced node had come back would take that node for dead, and its copy with it.
 */
int own_save_boots(struct own *o);
/* On disk first. 0, or what persist said: the record is then as it was. */
int own_set_record(struct own *o, struct own_dom *d, const struct own_record *rec, const char *config);
bool own_counts(const struct own *o, const struct own_out *out);	/* every member of a quorate membership has it on disk */
void own_settle_pending(struct own_dom *d);
void own_look_again(struct own *o, struct own_dom *d);		/* this node's copy may be another than it was told */

/* --- ownership_records.c --------------------------------------------------------------------------------------------- */

void own_send(struct own *o, const struct own_msg *m);
void own_send_report(struct own *o, struct own_dom *only);	/* NULL: of every domain */

/* --- ownership_rules.c ----------------------------------------------------------------------------------------------- */

void own_run(struct own *o);					/* every rule, until none applies */
void own_job_end(struct own *o, struct own_dom *d, int rc, const char *text);
bool own_free_for(const struct own *o, const struct own_dom *d, int j);	/* node j holds no copy that stands in a start's way */
bool own_runs(const struct own_dom *d);
/* Whether a CLAIM or BEGIN of ours that is not on this disk is to be sent again, and of what record. */
bool own_unwritten(const struct own *o, const struct own_dom *d, const struct own_out *out, struct own_record *rec);
bool own_withdraw(const struct own *o, struct own_dom *d);	/* our record, when it will never count */
bool own_record_is(const struct own *o, const struct own_dom *d, uint64_t attempt);	/* the move hither of that number */

#endif
