/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move_turns.c - see move_turns.h. */
#include "migrated/move_turns.h"

#include <string.h>

#define RATE_GUESS 200000000ull
#define RATE_LEAST 1000000ull
#define RATE_MOST 1000000000000ull
#define SLOWEST 20                   /* at 95 % of the wire's rate, or beyond, a guest counts as twenty of its size */

void turns_init(struct turns *t, unsigned sending_max)
{
	memset(t, 0, sizeof(*t));
	t->sending_max = sending_max ? sending_max : TURNS_SENDING;
	t->pause = -1;
	t->rate_bps = RATE_GUESS;
}

uint64_t turns_expected_ns(uint64_t bytes, uint64_t dirty_bps, uint64_t rate_bps)
{
	double rate = (double)(rate_bps ? rate_bps : RATE_GUESS), left = 1 - (double)dirty_bps / rate;
	double ns = (double)bytes * 1e9 / rate / (left > 1.0 / SLOWEST ? left : 1.0 / SLOWEST);

	return ns < 9e18 ? (uint64_t)ns : (uint64_t)9e18;
}

/*
 * --- what was heard
 * -----------------------------------------------------------------------------------------------------------
 */

void turns_add(struct turns *t, unsigned slot)
{
	t->turn[slot] = (struct turn){ .state = TURN_WAITING, .order = ++t->orders };
}

void turns_measured(struct turns *t, unsigned slot, uint64_t bytes, uint64_t dirty_bps)
{
	struct turn *u = &t->turn[slot];

	u->measured = true;
	u->bytes = bytes;
	u->dirty_bps = dirty_bps;
}

void turns_want_send(struct turns *t, unsigned slot)
{
	if (t->turn[slot].state == TURN_MEETING)
		t->turn[slot].state = TURN_READY;
}

void turns_want_pause(struct turns *t, unsigned slot)
{
	struct turn *u = &t->turn[slot];

	if (u->state != TURN_SENDING)
		return;
	u->state = TURN_WANTS;
	u->order = ++t->orders;
}

void turns_quiet(struct turns *t, unsigned slot)
{
	t->turn[slot].quiet = t->turn[slot].yielding;
}

static void pause_ends(struct turns *t, unsigned slot)
{
	if (t->pause == (int)slot)
		t->pause = -1;
}

void turns_over(struct turns *t, unsigned slot)
{
	if (t->turn[slot].state != TURN_PAUSING)
		return;
	t->turn[slot].state = TURN_OVER;
	pause_ends(t, slot);
}

void turns_end(struct turns *t, unsigned slot)
{
	t->turn[slot] = (struct turn){ 0 };
	pause_ends(t, slot);
}

void turns_rate(struct turns *t, uint64_t rate_bps)
{
	if (rate_bps >= RATE_LEAST && rate_bps <= RATE_MOST)
		t->rate_bps = t->rate_bps / 4 * 3 + rate_bps / 4;
}

/*
 * --- what is to be done
 * -------------------------------------------------------------------------------------------------------
 */

static unsigned count(const struct turns *t, enum turn_state from, enum turn_state to)
{
	unsigned n = 0;

	for (unsigned i = 0; i < TURNS_MAX; i++)
		n += t->turn[i].state >= from && t->turn[i].state <= to;
	return n;
}

/* Does a go before b?  Those that are not measured yet come behind those that are. */
static bool sooner(const struct turns *t, const struct turn *a, const struct turn *b)
{
	uint64_t x, y;

	if (a->measured != b->measured)
		return a->measured;
	x = a->measured ? turns_expected_ns(a->bytes, a->dirty_bps, t->rate_bps) : 0;
	y = b->measured ? turns_expected_ns(b->bytes, b->dirty_bps, t->rate_bps) : 0;
	return x != y ? x < y : a->order < b->order;
}

static int best(const struct turns *t, enum turn_state state)
{
	int found = -1;

	for (unsigned i = 0; i < TURNS_MAX; i++) {
		const struct turn *u = &t->turn[i];

		if (u->state != state)
			continue;
		if (found < 0 || (state == TURN_WANTS ? u->order < t->turn[found].order :
							sooner(t, u, &t->turn[found])))
			found = (int)i;
	}
	return found;
}

bool turns_pause_is_on(const struct turns *t)
{
	return t->pause >= 0;
}

/* The senders before the pause of t->pause, then the pause itself. */
static bool next_of_pause(struct turns *t, uint64_t now_ns, unsigned *ret_slot, enum turn_word *ret_word)
{
	bool loud = false;

	for (unsigned i = 0; i < TURNS_MAX; i++) {
		struct turn *u = &t->turn[i];

		if (u->state != TURN_SENDING)
			continue;
		loud = loud || !u->quiet;
		if (u->yielding)
			continue;
		u->yielding = true;
		*ret_slot = i;
		*ret_word = TURN_YIELD;
		return true;
	}
	if (t->paused || (loud && now_ns - t->pause_ns < TURNS_QUIET_NS))
		return false;
	t->paused = true;
	t->pause_ns = now_ns;
	t->turn[t->pause].state = TURN_PAUSING;
	t->turn[t->pause].yielding = t->turn[t->pause].quiet = false;
	*ret_slot = (unsigned)t->pause;
	*ret_word = TURN_PAUSE;
	return true;
}

static bool next_of_senders(struct turns *t, unsigned *ret_slot, enum turn_word *ret_word)
{
	int i;

	for (unsigned k = 0; k < TURNS_MAX; k++) {
		struct turn *u = &t->turn[k];

		if (!u->yielding)
			continue;
		u->yielding = u->quiet = false;
		*ret_slot = k;
		*ret_word = TURN_GO_ON;
		return true;
	}
	if (count(t, TURN_SENDING, TURN_WANTS) < t->sending_max && (i = best(t, TURN_READY)) >= 0) {
		t->turn[i].state = TURN_SENDING;
		*ret_slot = (unsigned)i;
		*ret_word = TURN_SEND;
		return true;
	}
	if (count(t, TURN_MEETING, TURN_PAUSING) < t->sending_max + TURNS_AHEAD && (i = best(t, TURN_WAITING)) >= 0) {
		t->turn[i].state = TURN_MEETING;
		*ret_slot = (unsigned)i;
		*ret_word = TURN_ADMIT;
		return true;
	}
	return false;
}

bool turns_next(struct turns *t, uint64_t now_ns, unsigned *ret_slot, enum turn_word *ret_word)
{
	int wants = best(t, TURN_WANTS);

	if (t->pause >= 0 && t->paused && now_ns - t->pause_ns >= TURNS_LEASE_NS)
		t->pause = -1;
	if (t->pause < 0 && wants >= 0) {
		t->pause = wants;
		t->paused = false;
		t->pause_ns = now_ns;
	}
	return t->pause >= 0 ? next_of_pause(t, now_ns, ret_slot, ret_word) : next_of_senders(t, ret_slot, ret_word);
}

uint64_t turns_wake_ns(const struct turns *t, uint64_t now_ns)
{
	uint64_t end = t->pause_ns + (t->paused ? TURNS_LEASE_NS : TURNS_QUIET_NS);

	return t->pause < 0 ? 0 : end > now_ns ? end - now_ns : 1;
}

unsigned turns_before(const struct turns *t, unsigned slot)
{
	unsigned n = count(t, TURN_MEETING, TURN_OVER);

	for (unsigned i = 0; i < TURNS_MAX; i++)
		n += i != slot && t->turn[i].state == TURN_WAITING && sooner(t, &t->turn[i], &t->turn[slot]);
	return n;
}
