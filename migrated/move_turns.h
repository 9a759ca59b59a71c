/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move_turns.h - whose turn it is among the moves that leave this node.
 *
 * Pure: no sockets, no clock, no allocation.  A few moves send at a time, so that the wire is never without work; one
 * more meets its target meanwhile; the others wait, and the one that is over soonest goes first.  One guest stands
 * still at a time, and while it does nobody else sends: its last pages do not queue behind other guests' memory.
 *
 *	WAITING ─admit→ MEETING ─wants send→ READY ─send→ SENDING
 *	    ─wants pause→ WANTS ─pause→ PAUSING ─over→ OVER ─end→ NONE
 *
 * Before a move gets the pause the sending ones are told to hold still, and are given a moment to say that what they
 * sent is there. A pause that lasts longer than its lease is no reason for the others to wait.
 *
 *	turns_add(&t, slot, now);
 *	turns_want_send(&t, slot) …
 *	while (turns_next(&t, now, &slot, &word)) tell slot's worker the word
 *	look again after turns_wake_ns(&t, now)
 */
#ifndef MIGRATED_MOVE_TURNS_H
#define MIGRATED_MOVE_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#define TURNS_MAX 32u
#define TURNS_SENDING 2u             /* moves that send at a time, unless haven.conf says otherwise */
#define TURNS_AHEAD 1u               /* moves that meet their targets besides */
#define TURNS_QUIET_NS 60000000ull   /* for the senders to hold still before a pause */
#define TURNS_LEASE_NS 2000000000ull /* of the pause */

enum turn_state {
	TURN_NONE, TURN_WAITING, TURN_MEETING, TURN_READY, TURN_SENDING, TURN_WANTS, TURN_PAUSING, TURN_OVER
};
enum turn_word { TURN_ADMIT, TURN_SEND, TURN_YIELD, TURN_GO_ON, TURN_PAUSE };

struct turn {
	enum turn_state state;
	bool measured;                   /* bytes and dirty_bps are known */
	bool yielding, quiet;            /* told to hold still; does */
	uint64_t bytes, dirty_bps;
	uint64_t order;                  /* of arrival, then of wanting the pause */
};

struct turns {
	struct turn turn[TURNS_MAX];
	unsigned sending_max;
	int pause;                       /* slot that has, or is about to get, the pause; -1: none */
	bool paused;                     /* it was told so */
	uint64_t pause_ns;               /* since when it is about to, or has it */
	uint64_t rate_bps;               /* what moves from here got; a guess before the first */
	uint64_t orders;
};

void turns_init(struct turns *t, unsigned sending_max);
void turns_add(struct turns *t, unsigned slot);
/* A waiting guest's size and how fast it writes, in bytes and bytes a second. */
void turns_measured(struct turns *t, unsigned slot, uint64_t bytes, uint64_t dirty_bps);
void turns_want_send(struct turns *t, unsigned slot);
void turns_want_pause(struct turns *t, unsigned slot);
void turns_quiet(struct turns *t, unsigned slot);
/* The guest runs again, there or here. */
void turns_over(struct turns *t, unsigned slot);
void turns_end(struct turns *t, unsigned slot);
/* How fast a move's link was that nobody capped; 0: not known. */
void turns_rate(struct turns *t, uint64_t rate_bps);
/* The next word to be told, with its slot; false: no more now. */
bool turns_next(struct turns *t, uint64_t now_ns, unsigned *ret_slot, enum turn_word *ret_word);
/* Nanoseconds until something is due by itself; 0: nothing is. */
uint64_t turns_wake_ns(const struct turns *t, uint64_t now_ns);
bool turns_pause_is_on(const struct turns *t);
/* How many moves go before a waiting one. */
unsigned turns_before(const struct turns *t, unsigned slot);
/*
 * How long a move of such a guest takes: all of it, then what it wrote meanwhile, and so on.  A guest that outruns
 * the wire comes last.
 */
uint64_t turns_expected_ns(uint64_t bytes, uint64_t dirty_bps, uint64_t rate_bps);

#endif
