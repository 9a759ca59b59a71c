/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_copy.h - the states of a domain's copy on this node (docs/specs/ownership.md), as a pure machine.
 *
 *	            RUN                 MOVE_PAUSE            HAND
 *	 building ───────► running ───────────────► paused ─────────► handed
 *	                   ▲ │ ▲ ▲◄──────────────────┘ MOVE_RESUME       │
 *	            QUORUM │ │ │ └───────────────────────────────────────┘ RESUME_HANDED
 *	            RESUME │ ▼ │ ACTIVATE
 *	     quorum-paused     └─── ready ◄─── incoming      any ─── DESTROY ──► dying
 *	                             LOADED
 *
 * QUORUM_PAUSE takes running to quorum-paused.  In `paused` it is remembered: MOVE_RESUME then goes to quorum-paused,
 * so that a move that fails after quorum was lost does not set the guest running again.
 * The operator's pause is a flag beside the states.  The guest executes in `running` without that flag, and nowhere else.
 */
#ifndef HV_DOMAIN_COPY_H
#define HV_DOMAIN_COPY_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/err.h"

enum copy_state {
	COPY_BUILDING, COPY_RUNNING, COPY_QUORUM_PAUSED, COPY_PAUSED, COPY_HANDED, COPY_INCOMING, COPY_READY, COPY_DYING, COPY_NR
};

enum copy_event {
	COPY_RUN, COPY_QUORUM_PAUSE, COPY_QUORUM_RESUME, COPY_MOVE_PAUSE, COPY_MOVE_RESUME, COPY_HAND, COPY_RESUME_HANDED,
	COPY_LOADED, COPY_ACTIVATE, COPY_DESTROY, COPY_EVENT_NR
};

struct copy {
	enum copy_state state;
	uint64_t attempt;              /* of the move this copy is part of; 0: none */
	char target[64];               /* node it was or is to be handed to */
	bool user_paused;
	bool no_quorum;                /* QUORUM_PAUSE came while `paused` */
};

const char *copy_state_name(enum copy_state s);
/*
 * 0 and the new state, or -EPERM with err and nothing changed.  attempt matters for HAND, RESUME_HANDED and ACTIVATE: it must be
 * the copy's own; target (may be NULL) for HAND.  Repeating HAND of the same attempt and target, or a quorum event, is harmless.
 */
int copy_apply(struct copy *c, enum copy_event e, uint64_t attempt, const char *target, struct err *err);
bool copy_executes(const struct copy *c);

#endif
