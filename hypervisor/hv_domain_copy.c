/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv_domain_copy.c - see hv_domain_copy.h.  No clock, no descriptor: tests drive it directly. */
#include "hypervisor/hv_domain_copy.h"

#include <stdio.h>
#include <string.h>

#define NONE COPY_NR
#define NAMED_ATTEMPT (1u << COPY_HAND | 1u << COPY_RESUME_HANDED | 1u << COPY_ACTIVATE)

static const char *const state_names[COPY_NR] = {
	"building", "running", "quorum-paused", "paused", "handed", "incoming", "ready", "dying"
};

static const char *const event_names[COPY_EVENT_NR] = {
	"run", "quorum-pause", "quorum-resume", "pause for a move", "resume after a move", "mark-handed", "resume-handed",
	"state-load", "activate", "destroy"
};

#define ANY_STATE COPY_NR

static const struct { enum copy_state from; enum copy_event on; enum copy_state to; } transitions[] = {
	{ COPY_BUILDING, COPY_RUN, COPY_RUNNING },
	{ COPY_RUNNING, COPY_QUORUM_PAUSE, COPY_QUORUM_PAUSED },
	{ COPY_QUORUM_PAUSED, COPY_QUORUM_PAUSE, COPY_QUORUM_PAUSED },
	{ COPY_QUORUM_PAUSED, COPY_QUORUM_RESUME, COPY_RUNNING },
	{ COPY_RUNNING, COPY_QUORUM_RESUME, COPY_RUNNING },
	{ COPY_PAUSED, COPY_QUORUM_PAUSE, COPY_PAUSED },
	{ COPY_PAUSED, COPY_QUORUM_RESUME, COPY_PAUSED },
	{ COPY_RUNNING, COPY_MOVE_PAUSE, COPY_PAUSED },
	{ COPY_PAUSED, COPY_MOVE_RESUME, COPY_RUNNING },
	{ COPY_PAUSED, COPY_HAND, COPY_HANDED },
	{ COPY_HANDED, COPY_HAND, COPY_HANDED },
	{ COPY_HANDED, COPY_RESUME_HANDED, COPY_RUNNING },
	{ COPY_INCOMING, COPY_LOADED, COPY_READY },
	{ COPY_READY, COPY_ACTIVATE, COPY_RUNNING },
	{ ANY_STATE, COPY_DESTROY, COPY_DYING },
};

const char *copy_state_name(enum copy_state s)
{
	return s < COPY_NR ? state_names[s] : "?";
}

static enum copy_state next_state(enum copy_state from, enum copy_event on)
{
	for (size_t i = 0; i < sizeof transitions / sizeof transitions[0]; i++)
		if (transitions[i].on == on && (transitions[i].from == from || transitions[i].from == ANY_STATE))
			return transitions[i].to;
	return NONE;
}

int copy_apply(struct copy *c, enum copy_event e, uint64_t attempt, const char *target, struct err *err)
{
	enum copy_state to = next_state(c->state, e);

	if (to == NONE)
		return err_set(err, -EPERM, "%s: the copy is %s", event_names[e], copy_state_name(c->state));
	if (NAMED_ATTEMPT >> e & 1 && attempt != c->attempt)
		return err_set(err, -EPERM, "%s: of attempt %llu, but the copy is part of attempt %llu", event_names[e],
			       (unsigned long long)attempt, (unsigned long long)c->attempt);
	if (e == COPY_HAND && target && c->target[0] && strcmp(target, c->target))
		return err_set(err, -EPERM, "mark-handed: to %s, but this move goes to %s", target, c->target);
	if (e == COPY_HAND && target)
		snprintf(c->target, sizeof c->target, "%s", target);
	if (e == COPY_QUORUM_PAUSE || e == COPY_QUORUM_RESUME)
		c->no_quorum = e == COPY_QUORUM_PAUSE && c->state == COPY_PAUSED;
	if (e == COPY_MOVE_RESUME && c->no_quorum)
		to = COPY_QUORUM_PAUSED;
	if (e == COPY_MOVE_RESUME || e == COPY_RESUME_HANDED) {
		c->no_quorum = false;
		c->target[0] = 0;
		c->attempt = 0;
	}
	c->state = to;
	return 0;
}

bool copy_executes(const struct copy *c)
{
	return c->state == COPY_RUNNING && !c->user_paused;
}
