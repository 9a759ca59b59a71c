/* SPDX-License-Identifier: GPL-2.0-or-later */
/* page_source.c - see page_source.h. */
#include "migrated/page_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/zero_page.h"

#define HEAD_ROOM STREAM_PAGE        /* header and table end where the pages, aligned, begin */

_Static_assert(HEAD_ROOM >= STREAM_HEADER_BYTES + 8 + 8 * PAGE_BATCH, "a record's table fits before its pages");

int page_source_init(struct page_source *s, const uint8_t *ram, int ram_fd, uint64_t frames, const uint8_t token[STREAM_TOKEN_BYTES],
		     stream_write_fn write, void *write_arg)
{
	memset(s, 0, sizeof(*s));
	s->ram = ram;
	s->ram_fd = ram_fd;
	s->frames = frames;
	s->write = write;
	s->write_arg = write_arg;
	s->batch = aligned_alloc(STREAM_PAGE, HEAD_ROOM + PAGE_BATCH * STREAM_PAGE);
	if (!s->batch || stream_digest_init(&s->digest, token) < 0) {
		page_source_free(s);
		return -ENOMEM;
	}
	return 0;
}

void page_source_free(struct page_source *s)
{
	free(s->batch);
	stream_digest_free(&s->digest);
	s->batch = NULL;
}

static void put_le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static int send_octets(struct page_source *s, const uint8_t *p, size_t n)
{
	int rc = s->write(s->write_arg, p, n);

	if (rc == 0)
		s->bytes += n;
	return rc;
}

/* A complete record, header included: digested and sent. */
static int send_record(struct page_source *s, const uint8_t *record, size_t n)
{
	int rc = stream_digest_add(&s->digest, record, n);

	return rc < 0 ? rc : send_octets(s, record, n);
}

/* The table of frames is as long as the batch has pages, so the record begins that much before the first page. */
static int flush_pages(struct page_source *s)
{
	uint8_t *record = s->batch + HEAD_ROOM - 8 * s->pages - 8 - STREAM_HEADER_BYTES;
	uint32_t count = s->pages, head = STREAM_HEADER_BYTES + 8 + 8 * count, body = 8 + count * (8 + STREAM_PAGE);
	int rc;

	if (s->pages == 0)
		return 0;
	stream_header_encode(record, STREAM_PAGES, body);
	put_le(record + STREAM_HEADER_BYTES, count, 8);
	for (uint32_t i = 0; i < count; i++)
		put_le(record + STREAM_HEADER_BYTES + 8 + 8 * i, s->frame[i], 8);
	s->sent_pages += count;
	s->pages = 0;
	rc = stream_digest_add(&s->digest, record, head);
	if (rc == 0)
		rc = stream_digest_pages(&s->digest, s->frame, record + head, count);
	return rc < 0 ? rc : send_octets(s, record, STREAM_HEADER_BYTES + body);
}

static int flush_zeros(struct page_source *s)
{
	uint8_t record[STREAM_HEADER_BYTES + 8 + 16 * STREAM_ZEROS_MAX];
	uint32_t body = 8 + 16 * s->runs;

	if (s->runs == 0)
		return 0;
	stream_header_encode(record, STREAM_ZEROS, body);
	put_le(record + STREAM_HEADER_BYTES, s->runs, 8);
	for (uint32_t i = 0; i < s->runs; i++) {
		put_le(record + STREAM_HEADER_BYTES + 8 + 16 * i, s->run[i].first, 8);
		put_le(record + STREAM_HEADER_BYTES + 16 + 16 * i, s->run[i].count, 8);
	}
	s->runs = 0;
	return send_record(s, record, STREAM_HEADER_BYTES + body);
}

int page_source_zeros(struct page_source *s, uint64_t first, uint64_t count)
{
	struct stream_run *last = s->runs ? &s->run[s->runs - 1] : NULL;
	int rc;

	if (count == 0)
		return 0;
	if (first >= s->frames || count > s->frames - first)
		return -ERANGE;
	s->zero_pages += count;
	if (last && last->first + last->count == first) {
		last->count += count;
		return 0;
	}
	if (s->runs == STREAM_ZEROS_MAX) {
		rc = flush_zeros(s);
		if (rc < 0)
			return rc;
	}
	s->run[s->runs++] = (struct stream_run){ first, count };
	return 0;
}

static int fetch(const struct page_source *s, uint8_t *to, uint64_t first, uint64_t count)
{
	size_t want = count * STREAM_PAGE, have = 0;
	off_t at = (off_t)(first * STREAM_PAGE);
	ssize_t r;

	if (s->ram) {
		memcpy(to, s->ram + at, want);
		return 0;
	}
	while (have < want) {
		r = pread(s->ram_fd, to + have, want - have, at + (off_t)have);
		if (r == 0 || (r < 0 && errno != EINTR))
			return r < 0 ? -errno : -EIO;
		have += r > 0 ? (size_t)r : 0;
	}
	return 0;
}

/* What was fetched behind the batch's pages: zero pages go as runs, and the others close the gaps. */
static int keep_pages(struct page_source *s, uint64_t first, uint64_t count)
{
	const uint8_t *from = s->batch + HEAD_ROOM + s->pages * STREAM_PAGE;
	int rc = 0;

	for (uint64_t i = 0; i < count && rc == 0; i++, from += STREAM_PAGE) {
		uint8_t *to = s->batch + HEAD_ROOM + s->pages * STREAM_PAGE;

		s->among_zeros = page_is_zero(from);
		if (s->among_zeros) {
			rc = page_source_zeros(s, first + i, 1);
			continue;
		}
		if (to != from)
			memcpy(to, from, STREAM_PAGE);
		s->frame[s->pages++] = first + i;
	}
	return rc == 0 && s->pages == PAGE_BATCH ? flush_pages(s) : rc;
}

/*
 * How many of these pages, a batch's at most, are there and zero.  One that is not there is not touched: the file would get it, as it does where
 * the guest gives a page back between the two looks at it.
 */
static uint64_t zeros_seen(const struct page_source *s, uint64_t first, uint64_t count)
{
	const uint8_t *at = s->look + first * STREAM_PAGE;
	unsigned char there[PAGE_BATCH];
	uint64_t n = 0;

	if (count > PAGE_BATCH)
		count = PAGE_BATCH;
	if (mincore((void *)(uintptr_t)at, count * STREAM_PAGE, there) < 0)
		return 0;
	while (n < count && there[n] & 1 && live_page_is_zero(at + n * STREAM_PAGE))
		n++;
	return n;
}

/* At most count pages, as many as the batch has room for, copied: *ret_n. */
static int copy_pages(struct page_source *s, uint64_t first, uint64_t count, uint64_t *ret_n)
{
	uint64_t room = PAGE_BATCH - s->pages;
	int rc;

	*ret_n = count < room ? count : room;
	rc = fetch(s, s->batch + HEAD_ROOM + s->pages * STREAM_PAGE, first, *ret_n);
	return rc == 0 ? keep_pages(s, first, *ret_n) : rc;
}

int page_source_frames(struct page_source *s, uint64_t first, uint64_t count)
{
	int rc = 0;

	if (first >= s->frames || count > s->frames - first)
		return -ERANGE;
	while (count > 0 && rc == 0) {
		uint64_t n;

		if (s->look && s->among_zeros) {
			n = zeros_seen(s, first, count);
			s->among_zeros = n > 0;
			rc = page_source_zeros(s, first, n);
		} else {
			rc = copy_pages(s, first, count, &n);
		}
		first += n;
		count -= n;
	}
	return rc;
}

int page_source_flush(struct page_source *s)
{
	int rc = flush_pages(s);

	return rc < 0 ? rc : flush_zeros(s);
}

int page_source_round_end(struct page_source *s, uint32_t round)
{
	uint8_t record[STREAM_HEADER_BYTES + 8];
	int rc = page_source_flush(s);

	stream_header_encode(record, STREAM_ROUND_END, 8);
	put_le(record + STREAM_HEADER_BYTES, round, 8);
	return rc < 0 ? rc : send_record(s, record, sizeof(record));
}

int page_source_other(struct page_source *s, uint16_t type, const void *body, uint32_t n)
{
	uint8_t h[STREAM_HEADER_BYTES];
	int rc;

	stream_header_encode(h, type, n);
	rc = send_record(s, h, sizeof(h));
	return rc < 0 ? rc : send_record(s, body, n);
}

int page_source_state(struct page_source *s, const void *body, uint32_t n)
{
	return page_source_other(s, STREAM_STATE, body, n);
}

int page_source_end(struct page_source *s)
{
	uint8_t record[STREAM_HEADER_BYTES + STREAM_DIGEST_BYTES];
	int rc = stream_digest_end(&s->digest, record + STREAM_HEADER_BYTES);

	stream_header_encode(record, STREAM_END, STREAM_DIGEST_BYTES);
	return rc < 0 ? rc : s->write(s->write_arg, record, sizeof(record));
}

int page_source_check(struct page_source *s, uint32_t serial)
{
	uint8_t record[STREAM_HEADER_BYTES + 8 + STREAM_DIGEST_BYTES];
	int rc = page_source_flush(s);

	if (rc == 0)
		rc = stream_digest_end(&s->digest, record + STREAM_HEADER_BYTES + 8);
	stream_header_encode(record, STREAM_CHECK, 8 + STREAM_DIGEST_BYTES);
	stream_u32_encode(record + STREAM_HEADER_BYTES, serial);
	if (rc == 0)
		rc = s->write(s->write_arg, record, sizeof(record));
	if (rc == 0)
		s->bytes += sizeof(record);
	return rc < 0 ? rc : stream_digest_next(&s->digest);
}

int page_source_session(struct page_source *s, uint32_t session)
{
	s->pages = s->runs = 0;
	return stream_digest_session(&s->digest, session);
}
