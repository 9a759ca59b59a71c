/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stop rule is the predicted downtime: fixed part + pages left / rate.  Three things refine it:
 *  - a round that is cheap and still halves the dirty set is worth more than stopping at the goal: an idle guest then
 *    pauses with a handful of pages instead of 30 ms worth of them;
 *  - a stall (three rounds that beat the best result by less than a tenth) ends the waiting: stop when the limit allows it;
 *  - past round cap or deadline it is the limit that decides between stopping and giving up, never hope.
 *
 * A guest that may go on at the target with pages owed does so after the first round that did not help, and at the deadline, in
 * mid-round too: what another such round sends would be sent again.
 *
 * A guest that may be throttled and whose dirty set does not shrink loses time: each step takes a third to two thirds of what it
 * still has, sooner the nearer the deadline is, up to 999 of 1000.  Steps rather than a computed share: the dirty log tells which
 * pages were written, not how often, so a hot set that every round finds wholly dirty hides how fast the guest writes.
 */
#include "migrated/precopy.h"

#include <string.h>

#define NS_PER_S 1000000000ull
#define STALL_ROUNDS 3u
#define SHORT_ROUNDS_MAX 4u             /* extra rounds after the goal is met */
#define FEW_PAGES 64u                   /* so few are not worth another round */
#define THROTTLE_FROM 2u                /* stalled rounds before the first step */
#define SWITCH_ROUNDS 1u                /* stalled rounds before the switch to post-copy */
#define THROTTLE_ROUNDS 6u              /* as many rounds should still fit before the deadline, or the steps get long */
#define RATE_WINDOW_NS (20 * 1000000ull)
#define RATE_WINDOW_BYTES (4u << 20)
#define RATE_SLOW_NS (250 * 1000000ull)

void precopy_config_default(struct precopy_config *cfg)
{
	*cfg = (struct precopy_config){
		.goal_downtime_ns = 30 * 1000000ull,
		.max_downtime_ns = 300 * 1000000ull,
		.fixed_downtime_ns = 5 * 1000000ull,
		.deadline_ns = 300 * NS_PER_S,
		.max_rounds = 30,
	};
}

void precopy_init(struct precopy *p, const struct precopy_config *cfg, uint64_t frames, uint64_t now_ns)
{
	memset(p, 0, sizeof(*p));
	p->cfg = *cfg;
	if (p->cfg.goal_downtime_ns > p->cfg.max_downtime_ns)
		p->cfg.goal_downtime_ns = p->cfg.max_downtime_ns;
	p->frames = frames ? frames : 1;
	p->start_ns = p->round_start_ns = p->last_ns = now_ns;
	p->best_dirty = UINT64_MAX;
}

void precopy_round_begin(struct precopy *p, uint64_t pages, uint64_t now_ns)
{
	p->round++;
	p->round_pages = p->pending = pages;
	p->round_sent = 0;
	p->round_start_ns = p->last_ns = now_ns;
}

/* Bytes a second without overflow for any bytes below 2^63 and ns above 0. */
static uint64_t per_second(uint64_t bytes, uint64_t ns)
{
	double r = (double)bytes * (double)NS_PER_S / (double)(ns ? ns : 1);

	return r >= 1e18 ? (uint64_t)1e18 : (uint64_t)r;
}

/* Small samples measure the socket's buffer, not the link; a slow link gets more time instead. */
static bool window_full(const struct precopy *p)
{
	return (p->window_bytes >= RATE_WINDOW_BYTES && p->window_ns) ||
	       (p->window_ns >= RATE_WINDOW_NS && p->window_bytes >= RATE_WINDOW_BYTES / 4) || p->window_ns >= RATE_SLOW_NS;
}

/* A window of zero pages measures the scan. */
static void close_window(struct precopy *p)
{
	uint64_t now_rate = per_second(p->window_bytes, p->window_ns);

	if (p->window_bytes / PRECOPY_PAGE_SIZE >= p->window_pages / 2 && p->window_bytes >= PRECOPY_PAGE_SIZE)
		p->rate_bps = p->rate_bps ? p->rate_bps / 4 * 3 + now_rate / 4 : now_rate;
	p->window_ns = p->window_bytes = p->window_pages = 0;
}

void precopy_sent(struct precopy *p, uint64_t pages, uint64_t bytes, uint64_t now_ns)
{
	p->round_sent += pages;
	p->pending -= pages < p->pending ? pages : p->pending;
	p->pages_sent += pages;
	p->bytes_sent += bytes;
	p->window_ns += now_ns > p->last_ns ? now_ns - p->last_ns : 0;
	p->window_bytes += bytes;
	p->window_pages += pages;
	p->last_ns = now_ns;
	if (window_full(p))
		close_window(p);
}

uint64_t precopy_predict_ns(const struct precopy *p, uint64_t pages)
{
	double bytes = (double)pages * PRECOPY_PAGE_SIZE;
	double rate = p->rate_bps ? (double)p->rate_bps : 100e6; /* nothing measured yet: a guess on the low side */
	double ns = (double)p->cfg.fixed_downtime_ns + bytes * (double)NS_PER_S / rate;

	return ns >= 9e18 ? (uint64_t)9e18 : (uint64_t)ns;
}

bool precopy_expired(const struct precopy *p, uint64_t now_ns)
{
	return p->cfg.deadline_ns && now_ns > p->start_ns && now_ns - p->start_ns >= p->cfg.deadline_ns;
}

static void count_stall(struct precopy *p, uint64_t dirty)
{
	if (p->best_dirty == UINT64_MAX || dirty < p->best_dirty - p->best_dirty / 10) {
		p->stalled_rounds = 0;
		p->best_dirty = dirty;
	} else {
		p->stalled_rounds++;
	}
}

/* How many rounds of this size still fit before the deadline. */
static unsigned rounds_left(const struct precopy *p, uint64_t dirty, uint64_t now_ns)
{
	uint64_t spent = now_ns > p->start_ns ? now_ns - p->start_ns : 0;
	uint64_t left = p->cfg.deadline_ns > spent ? p->cfg.deadline_ns - spent : 0;
	uint64_t round_ns = precopy_predict_ns(p, dirty), n;

	if (!p->cfg.deadline_ns)
		return UINT32_MAX;
	n = left / (round_ns ? round_ns : 1);
	return n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
}

/* before: pages that the round sent; dirty: what it found written meanwhile. */
static void throttle_more(struct precopy *p, uint64_t before, uint64_t dirty, uint64_t now_ns)
{
	unsigned fit = rounds_left(p, dirty, now_ns), runs = 1000 - p->throttle;
	bool shrinks = p->round > 1 && dirty < before - before / 4, hurry = fit < THROTTLE_ROUNDS;

	if (fit < 3 && !shrinks)
		p->throttle = PRECOPY_THROTTLE_MAX;
	else if (!shrinks && (p->throttle || hurry || p->stalled_rounds >= THROTTLE_FROM))
		p->throttle = 1000 - (hurry ? runs / 3 : runs * 2 / 3);
	if (p->throttle > PRECOPY_THROTTLE_MAX)
		p->throttle = PRECOPY_THROTTLE_MAX;
}

unsigned precopy_throttle(const struct precopy *p)
{
	return p->throttle;
}

void precopy_resumed(struct precopy *p, uint64_t pages, uint64_t now_ns)
{
	p->idle_ns += now_ns > p->last_ns ? now_ns - p->last_ns : 0;
	p->last_ns = now_ns;
	p->pending = pages;
	p->round_pages = p->round_sent + pages;
	p->window_ns = p->window_bytes = p->window_pages = 0;
}

void precopy_waited(struct precopy *p, uint64_t now_ns)
{
	p->idle_ns += now_ns > p->last_ns ? now_ns - p->last_ns : 0;
	p->last_ns = now_ns;
}

static void explain(struct precopy *p, uint64_t now_ns)
{
	if (p->round <= 1 && !p->dirty_known)
		p->why = "the deadline passed before all of the guest's memory was sent once; raise deadline_s or bandwidth_mbs";
	else if (p->throttle)
		p->why = "the deadline passed, and the guest writes memory faster than the link carries it even when it is slowed down; raise "
			"max_downtime_ms, bandwidth_mbs or deadline_s";
	else if (precopy_expired(p, now_ns))
		p->why = "the deadline passed and the guest still writes memory faster than the link carries it; raise max_downtime_ms or deadline_s";
	else
		p->why = "the guest writes memory faster than the link carries it; raise max_downtime_ms, or move it when it is quieter";
}

bool precopy_too_late(struct precopy *p, uint64_t now_ns)
{
	if (!precopy_expired(p, now_ns) || precopy_predict_ns(p, p->pending) <= p->cfg.max_downtime_ns)
		return false;
	explain(p, now_ns);
	return true;
}

enum precopy_action precopy_round_end(struct precopy *p, uint64_t dirty, uint64_t now_ns)
{
	uint64_t round_ns = now_ns > p->round_start_ns ? now_ns - p->round_start_ns : 1;
	uint64_t predicted = precopy_predict_ns(p, dirty), before = p->round_pages;
	bool last;

	/* A round of a few microseconds says little about how fast the guest writes. */
	if (round_ns >= 1000000 || !p->dirty_bps)
		p->dirty_bps = per_second(dirty * PRECOPY_PAGE_SIZE, round_ns);
	p->dirty_known = true;
	p->pending = dirty;
	count_stall(p, dirty);

	if (predicted <= p->cfg.goal_downtime_ns) {
		bool shrinks = dirty > FEW_PAGES && dirty <= before / 2;

		return shrinks && p->short_rounds++ < SHORT_ROUNDS_MAX && !precopy_expired(p, now_ns) ? PRECOPY_ROUND : PRECOPY_STOP;
	}
	last = precopy_expired(p, now_ns) || (p->round >= p->cfg.max_rounds && !p->cfg.throttle);
	if ((last || p->throttle || p->stalled_rounds >= STALL_ROUNDS) && predicted <= p->cfg.max_downtime_ns)
		return PRECOPY_STOP;
	if (p->cfg.postcopy && predicted > p->cfg.max_downtime_ns && (last || p->stalled_rounds >= SWITCH_ROUNDS))
		return PRECOPY_SWITCH;
	if (!last && p->cfg.throttle)
		throttle_more(p, before, dirty, now_ns);
	if (!last)
		return PRECOPY_ROUND;
	explain(p, now_ns);
	return PRECOPY_GIVE_UP;
}

const char *precopy_why(const struct precopy *p)
{
	return p->why ? p->why : "";
}

uint64_t precopy_pace_ns(const struct precopy *p, uint64_t now_ns)
{
	return precopy_pace_for(p, p->bytes_sent, now_ns);
}

uint64_t precopy_pace_for(const struct precopy *p, uint64_t bytes, uint64_t now_ns)
{
	double due;

	if (!p->cfg.bandwidth_bps)
		return 0;
	due = (double)(p->start_ns + p->idle_ns) + (double)bytes * (double)NS_PER_S / (double)p->cfg.bandwidth_bps;
	return due > (double)now_ns ? (uint64_t)(due - (double)now_ns) : 0;
}

static bool converges(const struct precopy *p)
{
	return p->stalled_rounds < STALL_ROUNDS && (double)p->dirty_bps < (double)p->rate_bps * 0.95;
}

/* Seconds until the dirty set fits the goal: a geometric series with the ratio dirty rate / rate. */
static double eta_s(const struct precopy *p)
{
	double rate = (double)p->rate_bps, dirty = (double)p->dirty_bps;
	double left = (double)p->pending * PRECOPY_PAGE_SIZE;

	if (rate <= 0)
		return -1;
	if (p->dirty_known && !converges(p))
		return -1;
	return left / (rate - dirty);
}

void precopy_progress(struct precopy *p, struct precopy_progress *ret_progress)
{
	double sent = p->round_pages ? (double)p->round_sent / (double)p->round_pages : p->round ? 1.0 : 0.0;
	double percent;

	/* Round 0 is nearly all of the work: 85 %.  Later rounds share what is left by how much is still dirty. */
	if (p->round <= 1)
		percent = 85.0 * (sent < 1.0 ? sent : 1.0);
	else
		percent = 85.0 + 14.0 * (1.0 - (double)(p->pending < p->frames ? p->pending : p->frames) / (double)p->frames);
	if (percent > p->percent)
		p->percent = percent;
	*ret_progress = (struct precopy_progress){
		.percent = p->percent,
		.rounds = p->round,
		.bytes_sent = p->bytes_sent,
		.rate_mbs = (double)p->rate_bps / 1e6,
		.dirty_rate_mbs = (double)p->dirty_bps / 1e6,
		.eta_s = eta_s(p),
		.throttle_percent = p->throttle / 10.0,
		.known = p->dirty_known,
		.rate_known = p->rate_bps != 0,
		.converges = p->dirty_known && converges(p),
	};
}
