/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_round.c - a round of pages: the bitmap over all connections, its end, and what of it is acknowledged. */
#include "config.h"
#include "migrated/move_source.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/deadlines.h"
#include "lib/huge.h"

#define PARALLEL_PAGES 8192u         /* fewer than this go over the first connection alone */
#define CHUNK_WORDS 16u              /* 4 MiB a turn */
#define ACK_POLL_MS 20
#define UNMAP_AT_ONCE (1ull << 30)

uint64_t source_count(const struct source *s, const uint64_t *map)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->words; i++)
		n += (uint64_t)__builtin_popcountll(map[i]);
	return n;
}

/* What the senders did since last time goes into the estimate; the target and the client get a hearing. */
static int between_batches(struct source *s)
{
	uint64_t now = link_now_ns(), pages = atomic_load(&s->done_pages), bytes = atomic_load(&s->done_bytes), pace;
	int rc = atomic_load(&s->failed);

	precopy_sent(&s->precopy, pages - s->told_pages, bytes - s->told_bytes, now);
	s->told_pages = pages;
	s->told_bytes = bytes;
	if (rc == 0)
		rc = worker_tick(s->w, false);
	if (rc == 0 && !s->paused && !s->cut && precopy_too_late(&s->precopy, now))
		rc = -ETIME;
	while (rc == 0 && !s->paused && (pace = precopy_pace_ns(&s->precopy, link_now_ns())) > NS_PER_MS) {
		struct pollfd p = { .fd = s->w->control, .events = POLLIN };

		poll(&p, 1, pace / NS_PER_MS < 100 ? (int)(pace / NS_PER_MS) : 100);
		rc = worker_tick(s->w, false);
	}
	return rc;
}

static int send_bits(struct sender *n, uint64_t base, uint64_t bits)
{
	int rc = 0;

	while (bits && rc == 0) {
		unsigned first = (unsigned)__builtin_ctzll(bits);
		uint64_t rest = ~(bits >> first);
		unsigned run = rest ? (unsigned)__builtin_ctzll(rest) : 64;

		rc = page_source_frames(&n->pages, base + first, run);
		bits &= first + run < 64 ? ~0ull << (first + run) : 0;
	}
	return rc;
}

static int send_word(struct sender *n, uint64_t base, uint64_t bits)
{
	uint64_t bytes = n->pages.bytes;
	int rc = send_bits(n, base, bits);

	atomic_fetch_add(&n->s->done_pages, (uint64_t)__builtin_popcountll(bits));
	atomic_fetch_add(&n->s->done_bytes, n->pages.bytes - bytes);
	return rc;
}

/* A further connection keeps to the same cap; what all have sent is behind what the first has told the estimate. */
static int pace_further(struct source *s)
{
	struct timespec nap = { .tv_nsec = NS_PER_MS };
	int rc;

	while ((rc = atomic_load(&s->failed)) == 0 && !s->paused &&
	       precopy_pace_for(&s->precopy, atomic_load(&s->done_bytes), link_now_ns()) > NS_PER_MS)
		nanosleep(&nap, NULL);
	return rc;
}

static int explain_round(struct source *s, int rc, struct err *err)
{
	if (rc == -ETIME)
		return err_set(err, rc, "%s", precopy_why(&s->precopy));
	if (atomic_load(&s->failed) && rc != -ECANCELED)
		return err_set(err, rc, "%s: a further connection broke off", s->target);
	return worker_link_error(s->w, rc, err);
}

/*
 * A stretch of the bitmap is sent (or in this sender's batch).  Now and then what was sent so far is closed by a CHECK, whose ACK strikes it
 * from the bitmap; nobody waits for that here unless the ledger is full.
 */
static int enter_chunk(struct sender *n, size_t from, size_t to, uint64_t pages, struct err *err)
{
	int rc = 0;

	if (!n->s->resumable || n->s->paused || (pages == 0 && from < to))
		return 0;
	while (rc == 0 && ledger_full(&n->ledger)) {
		if (ledger_is_open(&n->ledger))
			rc = page_source_check(&n->pages, ledger_check(&n->ledger));
		if (rc == 0)
			rc = source_hear(n, true, err);
	}
	if (rc < 0)
		return rc;
	ledger_add(&n->ledger, from, to, pages);
	return ledger_check_due(&n->ledger) ? page_source_check(&n->pages, ledger_check(&n->ledger)) : 0;
}

/* One word's pages are sent: what is due besides. */
static int after_word(struct sender *n, struct err *err)
{
	int rc;

	if (!n->main)
		return pace_further(n->s);
	rc = between_batches(n->s);
	return rc < 0 ? rc : source_hear(n, false, err);
}

static int send_chunk(struct sender *n, size_t from, size_t to, struct err *err)
{
	struct source *s = n->s;
	uint64_t pages = 0;
	int rc = 0;

	for (size_t i = from; i < to && rc == 0; i++) {
		if (!s->todo[i])
			continue;
		pages += (uint64_t)__builtin_popcountll(s->todo[i]);
		rc = send_word(n, i * 64, s->todo[i]);
		if (rc == 0)
			rc = after_word(n, err);
	}
	if (rc == 0)
		rc = enter_chunk(n, from, to, pages, err);
	if (rc == 0 && !n->main && pages)
		rc = source_hear(n, false, err);
	return rc;
}

/* Chunk after chunk of the round's bitmap, until there is no more. */
static int send_share(struct sender *n, struct err *err)
{
	struct source *s = n->s;
	int rc = 0;

	err->code = 0;
	while (rc == 0) {
		size_t from = atomic_fetch_add(&s->next_word, CHUNK_WORDS), to = from + CHUNK_WORDS;

		if (from >= s->words)
			return 0;
		rc = source_turn_yield(n, err);
		if (rc == 0)
			rc = send_chunk(n, from, to < s->words ? to : s->words, err);
	}
	return n->main && !err->code ? explain_round(s, rc, err) : rc;
}

int source_send_beforehand(struct source *s, const uint64_t *map, struct err *err)
{
	struct sender *n = &s->sender[0];
	uint64_t bytes = n->pages.bytes, ignored;
	int rc = 0;

	err->code = 0;
	for (size_t i = 0; i < s->words && rc == 0; i++) {
		if (!map[i])
			continue;
		rc = send_bits(n, i * 64, map[i]);
		atomic_fetch_add(&s->done_bytes, n->pages.bytes - bytes);
		bytes = n->pages.bytes;
		if (rc == 0)
			rc = after_word(n, err);
	}
	if (rc == 0)
		rc = page_source_flush(&n->pages);
	atomic_fetch_add(&s->done_bytes, n->pages.bytes - bytes);
	/* none of them may be on its way when another connection brings it again, as zeros perhaps: which came last would be chance */
	if (rc == 0 && s->links > 1)
		return source_ping(s, PINGS, &ignored, err);
	return rc < 0 && !err->code ? explain_round(s, rc, err) : rc;
}

static void *share_thread(void *arg)
{
	struct sender *n = arg;
	struct err ignored;
	int rc = send_share(n, &ignored), none = 0;

	if (rc == 0)
		rc = page_source_flush(&n->pages);
	if (rc < 0)
		atomic_compare_exchange_strong(&n->s->failed, &none, rc);
	atomic_fetch_sub(&n->s->loud, 1);
	return NULL;
}

/* Which frames the memory file holds data for; the rest never was touched and reads as zeros. */
static void find_data(struct source *s, uint64_t *map)
{
	off_t end = (off_t)(s->frames * STREAM_PAGE), at = 0;

	memset(map, 0, s->words * 8);
	while (at < end) {
		off_t data = lseek(s->ram_fd, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return;
		if (data < 0)
			data = at;                   /* no such knowledge: all of it may be data */
		hole = lseek(s->ram_fd, data, SEEK_HOLE);
		at = hole < 0 || hole > end ? end : hole;
		for (uint64_t f = (uint64_t)data / STREAM_PAGE; f * STREAM_PAGE < (uint64_t)at; f++)
			map[f / 64] |= 1ull << (f % 64);
	}
}

/* Runs of what is no data as the move begins. */
static int send_zeros(struct source *s, struct err *err)
{
	struct page_source *to = &s->sender[0].pages;
	int rc = 0;

	for (uint64_t f = 0; f < s->frames && rc == 0; f++) {
		if (s->holes[f / 64] == ~0ull && f % 64 == 0 && s->frames - f >= 64) {
			rc = page_source_zeros(to, f, 64);
			f += 63;
		} else if (s->holes[f / 64] >> (f % 64) & 1) {
			rc = page_source_zeros(to, f, 1);
		}
	}
	s->zeros_sent = true;
	if (rc == 0)
		rc = enter_chunk(&s->sender[0], 0, 0, 0, err);
	return rc < 0 ? worker_link_error(s->w, rc, err) : 0;
}

/*
 * Until the target has all of the round: then one bitmap is enough to know what it lacks, and what lies in buffers between here and there
 * is not waited for in the pause.
 */
static int wait_for_acks(struct source *s, struct err *err)
{
	uint64_t end = 0, heard = 0, patience = (uint64_t)deadline(DL_ACK) * NS_PER_MS, ack_by = link_now_ns() + patience;
	unsigned acks = atomic_load(&s->acks);

	for (;;) {
		struct pollfd p[WORKER_LINKS_MAX];
		uint64_t now = link_now_ns(), in = 0;
		bool open = false;
		int rc = 0;

		for (unsigned i = 0; i < s->links && rc == 0; i++) {
			rc = source_hear(&s->sender[i], false, err);
			open = open || !ledger_is_settled(&s->sender[i].ledger);
			in += s->sender[i].link->bytes_in;
			p[i] = (struct pollfd){ .fd = s->sender[i].link->fd, .events = POLLIN };
		}
		if (rc < 0 || !open)
			return rc;
		if (in != heard || !end)
			end = now + s->w->link.silence_ns;
		heard = in;
		if (acks != atomic_load(&s->acks))
			ack_by = now + patience;
		acks = atomic_load(&s->acks);
		if (!s->cut && !s->cfg.postcopy && precopy_expired(&s->precopy, now))
			return err_set(err, -ETIME, "the deadline passed before %s acknowledged what was sent; raise deadline_s", s->target);
		/* one that lives and takes nothing is no better than one that is gone */
		if (now > ack_by) {
			s->w->link.broken = true;
			return err_set(err, -ETIMEDOUT, "%s: acknowledged nothing for %.0f s", s->target, (double)patience / 1e9);
		}
		if (now > end) {
			s->w->link.broken = true;
			return worker_link_error(s->w, -ETIMEDOUT, err);
		}
		link_poll(p, s->links, ACK_POLL_MS, &end);
		rc = worker_tick(s->w, false);
		if (rc < 0)
			return worker_link_error(s->w, rc, err);
	}
}

static int end_round(struct source *s, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < s->links && rc == 0; i++) {
		struct sender *n = &s->sender[i];
		uint64_t bytes = n->pages.bytes;

		if (ledger_is_open(&n->ledger))
			rc = page_source_check(&n->pages, ledger_check(&n->ledger));
		if (rc == 0)
			rc = page_source_round_end(&n->pages, s->precopy.round - 1);
		atomic_fetch_add(&s->done_bytes, n->pages.bytes - bytes);
		if (rc < 0)
			return worker_link_error(s->w, rc, err);
	}
	rc = between_batches(s);
	return rc < 0 ? explain_round(s, rc, err) : 0;
}

static int send_shares(struct source *s, struct err *err)
{
	unsigned threads = s->links > 1 && s->precopy.pending >= PARALLEL_PAGES ? s->links : 1, started;
	int rc, none = 0;

	atomic_store(&s->next_word, 0);
	atomic_store(&s->loud, threads - 1);
	for (started = 1; started < threads; started++)
		if (pthread_create(&s->sender[started].thread, NULL, share_thread, &s->sender[started]) != 0)
			break;
	atomic_fetch_sub(&s->loud, threads - started);
	rc = send_share(&s->sender[0], err);
	if (rc < 0)
		atomic_compare_exchange_strong(&s->failed, &none, rc);
	for (unsigned i = 1; i < started; i++)
		pthread_join(s->sender[i].thread, NULL);
	if (rc == 0 && atomic_load(&s->failed))
		rc = err_set(err, atomic_load(&s->failed), "%s: a further connection broke off", s->target);
	return rc;
}

static void look_at(struct source *s, const uint8_t *memory)
{
	s->look = memory;
	for (unsigned i = 0; i < s->links; i++)
		s->sender[i].pages.look = memory;
}

/*
 * What only the first round needs; a mapping that goes away later would do so in the pause, or after it.  Of small pages a GiB takes 14 to 45
 * milliseconds to be let go of: the target and the client get a hearing in between, unless rc says that it is over anyway.  rc, or the tick's.
 */
static int first_round_over(struct source *s, int rc)
{
	uint64_t size = s->frames * STREAM_PAGE, n;
	const uint8_t *memory = s->look;

	look_at(s, NULL);
	for (uint64_t at = 0; memory && at < size; at += n) {
		n = size - at < UNMAP_AT_ONCE ? size - at : UNMAP_AT_ONCE;
		munmap((void *)(uintptr_t)(memory + at), n);
		if (rc == 0)
			rc = worker_tick(s->w, false);
	}
	free(s->holes);
	s->holes = NULL;
	return rc;
}

static int end_first_round(struct source *s, int rc, struct err *err)
{
	int ended = first_round_over(s, rc);

	return rc == 0 && ended < 0 ? worker_link_error(s->w, ended, err) : rc;
}

int source_cut_round(struct source *s, struct err *err)
{
	int rc;

	s->cut = true;
	atomic_store(&s->failed, 0);
	*err = (struct err){ 0 };
	rc = s->holes && !s->zeros_sent ? send_zeros(s, err) : 0;
	if (rc == 0)
		rc = end_round(s, err);
	if (rc == 0 && s->resumable)
		rc = wait_for_acks(s, err);
	return end_first_round(s, rc, err);
}

int source_send_round(struct source *s, struct err *err)
{
	int rc = 0;

	if (s->holes && !s->zeros_known && (!s->zeros_sent || s->resumable))
		rc = send_zeros(s, err);
	if (rc == 0)
		rc = send_shares(s, err);
	if (rc == 0)
		rc = end_round(s, err);
	if (rc == 0 && s->resumable && !s->paused)
		rc = wait_for_acks(s, err);
	return rc == 0 ? end_first_round(s, rc, err) : rc;
}

/* What the log calls dirty at its start is all the guest holds. */
int source_begin_with_everything(struct source *s, struct err *err)
{
	s->holes = calloc(s->words, 8);
	if (!s->holes)
		return err_set(err, -ENOMEM, "out of memory");
	look_at(s, huge_map(s->frames * STREAM_PAGE, PROT_READ, MAP_SHARED, s->ram_fd));
	find_data(s, s->todo);
	for (size_t i = 0; i < s->words; i++) {
		s->todo[i] &= s->snap[i];
		s->holes[i] = ~s->todo[i];
	}
	return 0;
}

void source_next_round(struct source *s)
{
	uint64_t *t = s->todo;

	s->todo = s->snap;
	s->snap = t;
}

int source_maps_new(struct source *s, struct err *err)
{
	s->todo = calloc(s->words, 8);
	s->snap = calloc(s->words, 8);
	return s->todo && s->snap ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void source_maps_free(struct source *s)
{
	free(s->todo);
	free(s->snap);
	(void)first_round_over(s, -ECANCELED);
	free(s->owed);
}
