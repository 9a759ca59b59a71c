/* SPDX-License-Identifier: GPL-2.0-or-later */
/* page_sink.c - see page_sink.h. */
#include "migrated/page_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/crypto.h>

#define BOUNCE_PAGES 64u             /* 256 KiB: what is read, digested and written stays in the cache meanwhile */

/* --- which frames hold data ------------------------------------------------------------------------------------------------ */

static uint64_t word_mask(uint64_t first, uint64_t end)
{
	return (~0ull << (first % 64)) & (end / 64 > first / 64 ? ~0ull : (1ull << (end % 64)) - 1);
}

/* Where the word of frame f ends, or the run that ends at end. */
static uint64_t word_end(uint64_t f, uint64_t end)
{
	uint64_t next = (f / 64 + 1) * 64;

	return next < end ? next : end;
}

static void map_set(struct page_map *m, uint64_t first, uint64_t count)
{
	uint64_t end = first + count < m->frames ? first + count : m->frames;

	for (uint64_t f = first; f < end; f = word_end(f, end))
		atomic_fetch_or_explicit(&m->word[f / 64], word_mask(f, word_end(f, end)), memory_order_relaxed);
}

int page_map_init(struct page_map *m, uint64_t frames, int ram_fd)
{
	off_t at = 0, end = (off_t)(frames * STREAM_PAGE);

	m->frames = frames;
	m->word = calloc(frames / 64 + 1, sizeof(*m->word));
	if (!m->word)
		return -ENOMEM;
	while (at < end) {
		off_t data = lseek(ram_fd, at, SEEK_DATA), hole;

		if (data < 0 || data >= end)
			break;
		hole = lseek(ram_fd, data, SEEK_HOLE);
		at = hole < data ? end : hole;
		map_set(m, (uint64_t)data / STREAM_PAGE, (uint64_t)(at - data + STREAM_PAGE - 1) / STREAM_PAGE);
	}
	return 0;
}

void page_map_free(struct page_map *m)
{
	free(m->word);
	m->word = NULL;
}

/* --- pages ----------------------------------------------------------------------------------------------------------------- */

int page_sink_init(struct page_sink *s, uint8_t *ram, uint64_t frames, int ram_fd, struct page_map *map, const uint8_t token[STREAM_TOKEN_BYTES])
{
	s->ram = ram;
	s->frames = frames;
	s->ram_fd = ram_fd;
	s->map = map;
	atomic_init(&s->pages, 0);
	s->digest.ctx = NULL;
	s->bounce = aligned_alloc(STREAM_PAGE, BOUNCE_PAGES * STREAM_PAGE);
	if (s->bounce && stream_digest_init(&s->digest, token) == 0)
		return 0;
	page_sink_free(s);
	return -ENOMEM;
}

void page_sink_free(struct page_sink *s)
{
	stream_digest_free(&s->digest);
	free(s->bounce);
	s->bounce = NULL;
}

static int digest_header(struct page_sink *s, const struct stream_header *hdr)
{
	uint8_t h[STREAM_HEADER_BYTES];

	stream_header_encode(h, hdr->type, hdr->length);
	return stream_digest_add(&s->digest, h, sizeof(h));
}

static int read_and_digest(struct page_sink *s, void *dst, size_t n, stream_read_fn read, void *arg)
{
	int rc = read(arg, dst, n);

	return rc < 0 ? rc : stream_digest_add(&s->digest, dst, n);
}

static int write_pages(const struct page_sink *s, uint64_t first, size_t n)
{
	off_t at = (off_t)(first * STREAM_PAGE);
	size_t done = 0;

	while (done < n) {
		ssize_t r = pwrite(s->ram_fd, s->bounce + done, n - done, at + (off_t)done);

		if (r == 0 || (r < 0 && errno != EINTR))
			return r < 0 ? -errno : -EIO;
		done += r > 0 ? (size_t)r : 0;
	}
	return 0;
}

/*
 * Written to the memfd rather than through its mapping: a fresh page then costs neither a fault nor being cleared first, which is
 * more than the copy takes.
 */
static int take_run(struct page_sink *s, const uint64_t *frame, uint32_t run, stream_read_fn read, void *arg)
{
	int rc = 0;

	while (run > 0 && rc == 0) {
		uint32_t n = run < BOUNCE_PAGES ? run : BOUNCE_PAGES;
		uint8_t *to = s->ram_fd < 0 ? s->ram + frame[0] * STREAM_PAGE : s->bounce;

		rc = read(arg, to, (size_t)n * STREAM_PAGE);
		if (rc == 0)
			rc = stream_digest_pages(&s->digest, frame, to, n);
		if (rc == 0 && s->ram_fd >= 0)
			rc = write_pages(s, frame[0], (size_t)n * STREAM_PAGE);
		frame += n;
		run -= n;
	}
	return rc;
}

/* Neighbouring frames are neighbours in memory too: each stretch is one read. */
static int take_pages(struct page_sink *s, const struct stream_header *hdr, stream_read_fn read, void *arg)
{
	uint64_t frame[STREAM_PAGES_MAX];
	uint32_t count, run;
	int rc = read_and_digest(s, s->table, 8, read, arg);

	if (rc == 0)
		rc = stream_pages_count(s->table, hdr->length, &count);
	if (rc == 0)
		rc = read_and_digest(s, s->table, (size_t)count * 8, read, arg);
	if (rc == 0)
		rc = stream_frames_decode(s->table, count, s->frames, frame);
	for (uint32_t i = 0; rc == 0 && i < count; i += run) {
		for (run = 1; i + run < count && frame[i + run] == frame[i] + run; run++)
			;
		if (s->map)
			map_set(s->map, frame[i], run);
		rc = take_run(s, &frame[i], run, read, arg);
	}
	if (rc == 0)
		atomic_fetch_add_explicit(&s->pages, count, memory_order_relaxed);
	return rc;
}

/* Zeroes what holds data only: a hole reads as zeros already, and touching it would cost the node a page. */
static int zero_data(struct page_sink *s, uint64_t first, uint64_t count)
{
	off_t at = (off_t)(first * STREAM_PAGE), end = at + (off_t)(count * STREAM_PAGE);

	if (s->ram_fd < 0) {
		memset(s->ram + at, 0, (size_t)(end - at));
		return 0;
	}
	while (at < end) {
		off_t data = lseek(s->ram_fd, at, SEEK_DATA), hole;

		if (data < 0 || data >= end)
			return data < 0 && errno != ENXIO ? -errno : 0;
		hole = lseek(s->ram_fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		hole = hole < end ? hole : end;
		memset(s->ram + data, 0, (size_t)(hole - data));
		at = hole;
	}
	return 0;
}

static void zero_frames(struct page_sink *s, uint64_t base, uint64_t bits)
{
	for (; bits; bits &= bits - 1)
		memset(s->ram + (base + (unsigned)__builtin_ctzll(bits)) * STREAM_PAGE, 0, STREAM_PAGE);
}

/* Special frames are few, and hv-domain may have written to them: these are looked at each time. */
static int zero_run(struct page_sink *s, const struct stream_run *run)
{
	uint64_t f = run->first, end = run->first + run->count, ram = s->map && s->map->frames < end ? s->map->frames : end;

	if (!s->map)
		return zero_data(s, f, run->count);
	for (; f < ram; f = word_end(f, ram)) {
		_Atomic uint64_t *word = &s->map->word[f / 64];
		uint64_t mask = word_mask(f, word_end(f, ram)), held = atomic_load_explicit(word, memory_order_relaxed) & mask;

		if (held) {
			zero_frames(s, f / 64 * 64, held);
			atomic_fetch_and_explicit(word, ~held, memory_order_relaxed);
		}
	}
	return f < end ? zero_data(s, f, end - f) : 0;
}

/* A round has each page once, and so has a record. */
static int take_zeros(struct page_sink *s, const struct stream_header *hdr, stream_read_fn read, void *arg)
{
	struct stream_run run[STREAM_ZEROS_MAX];
	uint64_t named = 0;
	uint32_t count;
	int rc = hdr->length <= sizeof(s->table) ? read_and_digest(s, s->table, hdr->length, read, arg) : -EMSGSIZE;

	if (rc == 0)
		rc = stream_zeros_decode(s->table, hdr->length, s->frames, run, &count);
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		named += run[i].count;
		rc = named > s->frames ? -EBADMSG : zero_run(s, &run[i]);
	}
	return rc;
}

static int take_round_end(struct page_sink *s, stream_read_fn read, void *arg, uint32_t *ret_round)
{
	struct reader r;
	int rc = read_and_digest(s, s->table, 8, read, arg);

	if (rc < 0)
		return rc;
	reader_init(&r, s->table, 8);
	*ret_round = reader_u32(&r);
	return reader_u32(&r) == 0 ? 0 : -EBADMSG;
}

int page_sink_record(struct page_sink *s, const struct stream_header *hdr, stream_read_fn read, void *arg, uint32_t *ret_round)
{
	int rc = digest_header(s, hdr);

	if (rc < 0)
		return rc;
	switch (hdr->type) {
	case STREAM_PAGES:
		return take_pages(s, hdr, read, arg);
	case STREAM_ZEROS:
		return take_zeros(s, hdr, read, arg);
	case STREAM_ROUND_END:
		return take_round_end(s, read, arg, ret_round);
	default:
		return -EBADMSG;
	}
}

int page_sink_digest(struct page_sink *s, const struct stream_header *hdr, const void *body)
{
	int rc = digest_header(s, hdr);

	return rc < 0 ? rc : stream_digest_add(&s->digest, body, hdr->length);
}

int page_sink_verify(struct page_sink *s, const uint8_t want[STREAM_DIGEST_BYTES])
{
	uint8_t have[STREAM_DIGEST_BYTES];
	int rc = stream_digest_end(&s->digest, have);

	if (rc < 0)
		return rc;
	return CRYPTO_memcmp(have, want, sizeof(have)) == 0 ? 0 : -EILSEQ;
}

int page_sink_check(struct page_sink *s, const uint8_t body[8 + STREAM_DIGEST_BYTES], uint32_t *ret_serial)
{
	int rc = stream_u32_decode(body, ret_serial);

	if (rc == 0)
		rc = page_sink_verify(s, body + 8);
	return rc < 0 ? rc : stream_digest_next(&s->digest);
}

int page_sink_session(struct page_sink *s, uint32_t session)
{
	return stream_digest_session(&s->digest, session);
}
