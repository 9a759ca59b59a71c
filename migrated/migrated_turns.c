/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrated_turns.c - moves that leave this node at the same time, and their turns (move_turns.h).
 *
 * A move that has to wait gets a worker all the same, one waiting move after the other: it looks at how large the
 * guest is and how fast it writes (a tenth of a second with the dirty log on), and then waits, which costs nothing.
 * Its deadline begins when it does.
 */
#include "config.h"
#include "migrated/migrated.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "migrated/move_turns.h"

#define TELL_MS 1000

_Static_assert(JOBS_MAX <= TURNS_MAX, "a slot for each job");

static struct {
	qb_loop_t *loop;
	struct job **job;
	struct turns turns;
	qb_loop_timer_handle wake, tell;
	bool going, again;
} n;

static int slot_of(const struct job *j)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (n.job[i] == j)
			return i;
	return -1;
}

/*
 * --- waiting
 * ------------------------------------------------------------------------------------------------------------------
 */

static json_t *progress_of(const struct turn *u, unsigned before)
{
	json_t *p = json_pack("{s:s, s:i, s:f, s:i, s:i, s:f}", "phase", "waiting", "waiting_for", (int)before, "percent", 0.0,
			      "rounds", 0, "bytes_sent", 0, "eta_s", -1.0);

	if (u->measured)
		json_object_set_new(p, "dirty_rate_mbs", json_real((double)u->dirty_bps / 1e6));
	return p;
}

static void tell_waiting(bool all)
{
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		struct job *j = n.job[i];
		unsigned before;

		if (!j || n.turns.turn[i].state != TURN_WAITING)
			continue;
		before = turns_before(&n.turns, i);
		if (before == j->told_before && !all)
			continue;
		j->told_before = before;
		job_progress(j, progress_of(&n.turns.turn[i], before));
	}
}

static void on_tell(void *arg)
{
	n.tell = 0;
	tell_waiting(true);
	for (unsigned i = 0; i < JOBS_MAX && !n.tell; i++)
		if (n.turns.turn[i].state == TURN_WAITING)
			qb_loop_timer_add(n.loop, QB_LOOP_LOW, TELL_MS * NS_PER_MS, NULL, on_tell, &n.tell);
}

/* One at a time: what the moves under way need is not taken from them by those that wait. */
static void measure_next(void)
{
	struct err err = { 0 };
	int next = -1;

	if (turns_pause_is_on(&n.turns))
		return;
	for (int i = 0; i < JOBS_MAX; i++) {
		const struct turn *u = &n.turns.turn[i];

		if (u->state != TURN_WAITING || u->measured)
			continue;
		if (n.job[i]->control >= 0)
			return;
		if (next < 0 || u->order < n.turns.turn[next].order)
			next = i;
	}
	if (next < 0)
		return;
	json_object_set_new(n.job[next]->request, "queued", json_true());
	if (job_launch(n.job[next], &err) < 0)
		job_refuse(n.job[next], err.code, err.text);
}

/*
 * --- telling whose turn it is
 * -------------------------------------------------------------------------------------------------
 */

static void tell(struct job *j, enum turn_word word)
{
	static const char *const name[] = { [TURN_ADMIT] = "admit", [TURN_SEND] = "send", [TURN_YIELD] = "yield",
					    [TURN_GO_ON] = "go-on", [TURN_PAUSE] = "pause" };
	struct err err = { 0 };
	json_t *obj;

	if (word == TURN_ADMIT && j->control < 0) {
		if (job_launch(j, &err) < 0)
			job_refuse(j, err.code, err.text);
		return;
	}
	obj = json_pack("{s:s}", "op", name[word]);
	if (j->control >= 0)
		msg_send(j->control, obj, NULL, 0);
	json_decref(obj);
}

static void on_wake(void *arg)
{
	n.wake = 0;
	node_turns_go();
}

void node_turns_go(void)
{
	enum turn_word word;
	unsigned slot;
	uint64_t wake;

	n.again = true;
	if (n.going)
		return;                          /* a job that ended in here: looked at again below */
	n.going = true;
	while (n.again) {
		n.again = false;
		while (turns_next(&n.turns, monotonic_ns(), &slot, &word))
			if (n.job[slot])
				tell(n.job[slot], word);
		measure_next();
	}
	n.going = false;
	if (n.wake)
		qb_loop_timer_del(n.loop, n.wake);
	n.wake = 0;
	wake = turns_wake_ns(&n.turns, monotonic_ns());
	if (wake)
		qb_loop_timer_add(n.loop, QB_LOOP_HIGH, wake, NULL, on_wake, &n.wake);
	tell_waiting(false);
	if (!n.tell)
		on_tell(NULL);
}

/*
 * --- what happens to a job
 * ----------------------------------------------------------------------------------------------------
 */

void node_turns_init(qb_loop_t *loop, struct job **jobs, unsigned sending_max)
{
	n.loop = loop;
	n.job = jobs;
	turns_init(&n.turns, sending_max);
}

void node_turns_enter(struct job *j)
{
	turns_add(&n.turns, (unsigned)slot_of(j));
	node_turns_go();
}

static uint64_t number(const json_t *obj, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(obj, key));

	return v > 0 ? (uint64_t)v : 0;
}

void node_turns_heard(struct job *j, const json_t *obj)
{
	const char *turn = json_string_value(json_object_get(obj, "turn"));
	unsigned slot = (unsigned)slot_of(j);

	if (!j->request)
		return;
	if (json_object_get(obj, "ok"))
		node_turns_leave(j);
	else if (!turn)
		return;
	else if (strcmp(turn, "measured") == 0) {
		turns_measured(&n.turns, slot, number(obj, "bytes"), number(obj, "dirty_bps"));
		log_info("%s to %s waits for %u moves: %.0f MiB, written at %.1f MB/s", j->uuid, j->target,
			 turns_before(&n.turns, slot), (double)number(obj, "bytes") / 1048576, (double)number(obj, "dirty_bps") / 1e6);
	} else if (strcmp(turn, "send") == 0) {
		turns_want_send(&n.turns, slot);
	} else if (strcmp(turn, "pause") == 0) {
		turns_want_pause(&n.turns, slot);
	} else if (strcmp(turn, "quiet") == 0) {
		turns_quiet(&n.turns, slot);
	} else if (strcmp(turn, "over") == 0) {
		turns_over(&n.turns, slot);
		turns_rate(&n.turns, number(obj, "rate_bps"));
	}
	node_turns_go();
}

void node_turns_leave(struct job *j)
{
	int slot = slot_of(j);

	if (!j->request || slot < 0)
		return;
	turns_end(&n.turns, (unsigned)slot);
	json_decref(j->request);
	j->request = NULL;
}

bool node_turns_hush(void)
{
	return turns_pause_is_on(&n.turns);
}
