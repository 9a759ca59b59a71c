/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * precopy.h - when to send another round, when to stop the guest, when to give up; and what to tell the operator.
 *
 * Pure: no sockets, no clock (the caller passes nanoseconds of any monotonic clock), no allocation.  The worker drives it:
 *
 *	precopy_init(&p, &cfg, frames, now);
 *	loop:	precopy_round_begin(&p, pages, now);
 *		while sending: precopy_sent(&p, pages, bytes, now);
 *		switch (precopy_round_end(&p, dirty, now)) {	(dirty: what the dirty log gave after the round)
 *		case PRECOPY_ROUND:   send those pages as the next round
 *		case PRECOPY_STOP:    pause the guest; those pages and what the pause adds are the last ones
 *		case PRECOPY_SWITCH:  the same, but the pages are owed: the guest runs at the target before they are there
 *		case PRECOPY_GIVE_UP: the guest stays; precopy_why() says why
 *		and precopy_throttle(&p) says how much of its time the guest is to lose from here on
 */
#ifndef MIGRATED_PRECOPY_H
#define MIGRATED_PRECOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRECOPY_PAGE_SIZE 4096u

#define PRECOPY_THROTTLE_MAX 999u

enum precopy_action { PRECOPY_ROUND, PRECOPY_STOP, PRECOPY_SWITCH, PRECOPY_GIVE_UP };

struct precopy_config {
	uint64_t goal_downtime_ns;  /* stop as soon as the predicted downtime is this low */
	uint64_t max_downtime_ns;   /* stop here too, once more rounds stopped helping */
	uint64_t fixed_downtime_ns; /* part of every downtime that does not depend on pages: state, messages, activation */
	uint64_t deadline_ns;       /* from init to the pause; 0: none */
	uint64_t bandwidth_bps;     /* cap, bytes a second; 0: none */
	unsigned max_rounds;        /* full rounds before the stop or the surrender; a throttled guest's go on to the deadline */
	bool throttle;              /* a guest that does not converge may be slowed down */
	bool postcopy;              /* it may be moved on with pages owed; not beside throttle */
};

struct precopy {
	struct precopy_config cfg;
	uint64_t start_ns, round_start_ns, last_ns;
	uint64_t idle_ns;           /* without a connection: no bandwidth is owed for it */
	uint64_t frames;            /* pages the domain has: the size of round 0 at most */
	unsigned round;             /* rounds begun */
	uint64_t round_pages, round_sent;
	uint64_t bytes_sent, pages_sent;
	uint64_t window_ns, window_bytes, window_pages;   /* of the rate estimate */
	uint64_t rate_bps, dirty_bps;       /* bytes a second; 0: not known yet */
	uint64_t pending;           /* pages known dirty and not sent yet */
	uint64_t best_dirty;        /* fewest dirty pages after any round */
	unsigned stalled_rounds, short_rounds;
	unsigned throttle;          /* thousandths of its time the guest loses: 0 … PRECOPY_THROTTLE_MAX */
	bool dirty_known;
	double percent;             /* never falls */
	const char *why;
};

struct precopy_progress {
	double percent;             /* 0..100, never lower than in an earlier call */
	unsigned rounds;
	uint64_t bytes_sent;
	double rate_mbs, dirty_rate_mbs; /* 10^6 bytes a second */
	double eta_s;               /* to the switch; negative: unknown, or it will not converge at these rates */
	bool known, converges;      /* known: a round's end has told the dirty rate */
	bool rate_known;
	double throttle_percent;    /* of each vCPU's time, taken away; 0: none */
};

/* Defaults: goal 30 ms, limit 300 ms, 30 rounds, 300 s. */
void precopy_config_default(struct precopy_config *cfg);
void precopy_init(struct precopy *p, const struct precopy_config *cfg, uint64_t frames, uint64_t now_ns);
void precopy_round_begin(struct precopy *p, uint64_t pages, uint64_t now_ns);
/* pages: dealt with (sent or elided); bytes: what that put on the wire. */
void precopy_sent(struct precopy *p, uint64_t pages, uint64_t bytes, uint64_t now_ns);
/* The connection broke, and so many pages of the round are to be sent (again) on another one. */
void precopy_resumed(struct precopy *p, uint64_t pages, uint64_t now_ns);
/* Nothing was sent until now, by no fault of the wire's. */
void precopy_waited(struct precopy *p, uint64_t now_ns);
enum precopy_action precopy_round_end(struct precopy *p, uint64_t dirty, uint64_t now_ns);
/* Thousandths of its vCPUs' time that the guest is to lose.  Only ever rises; who stops the move takes it back. */
unsigned precopy_throttle(const struct precopy *p);
bool precopy_expired(const struct precopy *p, uint64_t now_ns);
/* Is the deadline over, and what is left too much for the pause?  To be asked between batches: a slow round ends in time too. */
bool precopy_too_late(struct precopy *p, uint64_t now_ns);
/* Nanoseconds to wait before more is sent, for the bandwidth cap. */
uint64_t precopy_pace_ns(const struct precopy *p, uint64_t now_ns);
/* The same when so many bytes are on the wire: reads nothing that precopy_sent() changes. */
uint64_t precopy_pace_for(const struct precopy *p, uint64_t bytes, uint64_t now_ns);
/* Predicted downtime when the guest is stopped with so many pages to send. */
uint64_t precopy_predict_ns(const struct precopy *p, uint64_t pages);
/* Why the last action was PRECOPY_GIVE_UP, or it was too late: static text. */
const char *precopy_why(const struct precopy *p);
void precopy_progress(struct precopy *p, struct precopy_progress *ret_progress);

#endif
