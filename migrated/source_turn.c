/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source_turn.c - several moves leave this node: the worker's side of move_turns.h.
 *
 * What is waited for is said by migrated over the control socket, so a cancel ends every wait, and migrated's own end
 * is one.
 */
#include "config.h"
#include "migrated/move_source.h"

#include <poll.h>
#include <sys/stat.h>
#include <time.h>

#define WAIT_MS 200
#define HUSH_MS 20
#define MEASURE_NS (100 * NS_PER_MS)
#define STALE_NS (3 * NS_PER_MS)     /* the guest wrote meanwhile: what it wrote goes before the pause, not in it */

static void ask(struct source *s, const char *what)
{
	worker_send_control(s->w, json_pack("{s:s}", "turn", what));
}

/* Until migrated has said so; before the rounds a target that gives up is heard. */
static int wait_for(struct source *s, const bool *flag, bool hear, struct err *err)
{
	while (!*flag) {
		struct pollfd p = { .fd = s->w->control, .events = POLLIN };
		int rc;

		poll(&p, 1, WAIT_MS);
		rc = worker_tick(s->w, false);
		if (rc == -ECANCELED || (rc < 0 && hear))
			return worker_link_error(s->w, rc, err);
		if (worker_channel_ended(s->w))
			return err_set(err, -ECONNRESET, "the domain's process ended");
		if (hear && (rc = source_hear(&s->sender[0], false, err)) < 0)
			return rc;
	}
	return 0;
}

/*
 * --- before it begins
 * ------------------------------------------------------------------------------------------------------
 */

static int nap(struct source *s, uint64_t ns)
{
	uint64_t end = link_now_ns() + ns, now;
	int rc = 0;

	while (rc == 0 && (now = link_now_ns()) < end) {
		struct pollfd p = { .fd = s->w->control, .events = POLLIN };

		poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1);
		rc = worker_tick(s->w, false);
	}
	return rc;
}

/* What the guest holds, from its memory's file; what it writes, from a short look at the dirty log. */
static int measure(struct source *s, struct err *err)
{
	uint64_t begin, pages = 0, ns, bytes, rate;
	struct stat st;
	int rc = source_open_memory(s, err);

	if (rc == 0)
		rc = source_channel_call(s, "dirty-start", NULL, err);
	if (rc == 0)
		rc = source_read_log(s, &pages, err);
	begin = link_now_ns();
	if (rc == 0 && nap(s, MEASURE_NS) < 0)
		rc = err_set(err, -ECANCELED, "cancelled");
	ns = link_now_ns() - begin;
	if (rc == 0)
		rc = source_read_log(s, &pages, err);
	if (rc == 0)
		rc = source_channel_call(s, "dirty-stop", NULL, err);
	if (rc < 0)
		return rc;
	bytes = fstat(s->ram_fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : s->frames * STREAM_PAGE;
	rate = pages * STREAM_PAGE * 1000 / (ns / NS_PER_MS + 1);
	worker_send_control(s->w, json_pack("{s:s, s:I, s:I}", "turn", "measured", "bytes", (json_int_t)bytes,
					    "dirty_bps", (json_int_t)rate));
	return 0;
}

int source_turn_begin(struct source *s, struct err *err)
{
	int rc;

	if (!json_is_true(json_object_get(s->request, "queued")))
		return 0;
	rc = measure(s, err);
	if (rc == 0)
		rc = wait_for(s, &s->w->admitted, false, err);
	s->waited_ns = link_now_ns() - s->begin_ns;
	s->begin_ns += s->waited_ns;
	s->phase_begin_ns = s->begin_ns;
	return rc;
}

int source_turn_send(struct source *s, struct err *err)
{
	if (!s->turns)
		return 0;
	ask(s, "send");
	return wait_for(s, &s->w->may_send, true, err);
}

/*
 * --- the pause
 * -------------------------------------------------------------------------------------------------------------
 */

int source_turn_pause(struct source *s, enum precopy_action *action, struct err *err)
{
	uint64_t begin = link_now_ns();
	int rc;

	if (!s->turns || s->holding)
		return 0;
	ask(s, "pause");
	rc = wait_for(s, &s->w->may_pause, false, err);
	if (rc < 0)
		return rc;
	s->holding = true;
	precopy_waited(&s->precopy, link_now_ns());
	if (link_now_ns() - begin > STALE_NS)
		*action = PRECOPY_ROUND;
	return 0;
}

void source_turn_over(struct source *s)
{
	uint64_t rate = s->cfg.bandwidth_bps ? 0 : s->precopy.rate_bps;

	if (s->holding)
		worker_send_control(s->w, json_pack("{s:s, s:I}", "turn", "over", "rate_bps", (json_int_t)rate));
	s->holding = false;
}

/*
 * --- another's pause
 * -------------------------------------------------------------------------------------------------------
 */

/* What this connection carried is in the target's memory. */
static int settle(struct sender *n, struct err *err)
{
	int rc = 0;

	if (!n->s->resumable)
		return page_source_flush(&n->pages);
	if (ledger_is_open(&n->ledger))
		rc = page_source_check(&n->pages, ledger_check(&n->ledger));
	while (rc == 0 && !ledger_is_settled(&n->ledger))
		rc = source_hear(n, true, err);
	return rc;
}

static int hush_further(struct source *s)
{
	const struct timespec ms = { .tv_nsec = NS_PER_MS };
	int rc;

	atomic_fetch_sub(&s->loud, 1);
	while ((rc = atomic_load(&s->failed)) == 0 && atomic_load(&s->w->yield))
		nanosleep(&ms, NULL);
	atomic_fetch_add(&s->loud, 1);
	return rc;
}

static int hush_main(struct source *s)
{
	bool told = false;
	int rc = 0;

	while (rc == 0 && atomic_load(&s->w->yield)) {
		struct pollfd p = { .fd = s->w->control, .events = POLLIN };

		if (!told && atomic_load(&s->loud) == 0) {
			ask(s, "quiet");
			told = true;
		}
		poll(&p, 1, told ? HUSH_MS : 1);
		rc = worker_tick(s->w, false);
		if (rc == 0)
			rc = atomic_load(&s->failed);
	}
	precopy_waited(&s->precopy, link_now_ns());
	return rc;
}

int source_turn_yield(struct sender *n, struct err *err)
{
	struct source *s = n->s;
	int rc;

	if (!atomic_load(&s->w->yield) || s->paused || s->holding)
		return 0;
	rc = settle(n, err);
	if (rc == 0)
		rc = n->main ? hush_main(s) : hush_further(s);
	return rc;
}
