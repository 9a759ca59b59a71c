/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * page_source.h - the source's end of the pages: frames in, PAGES and ZEROS records and the running digest out.
 *
 * Each page is copied once, and what was copied is judged (zero?), digested and sent: the guest may write while we read.  Behind a zero page, where more
 * are likely, pages are first looked at where they lie, if the owner has mapped them: what is zero there is not copied.  All memory is taken at init, so that
 * nothing is allocated while the guest stands still.
 */
#ifndef MIGRATED_PAGE_SOURCE_H
#define MIGRATED_PAGE_SOURCE_H

#include "migrated/stream_digest.h"

#define PAGE_BATCH 64u               /* pages a record: 256 KiB */

/* Sends n octets: 0 or -errno. */
typedef int (*stream_write_fn)(void *arg, const void *p, size_t n);

struct page_source {
	const uint8_t *ram;              /* frames * 4096 octets, borrowed; NULL: ram_fd is read */
	int ram_fd;
	const uint8_t *look;             /* ram_fd's pages as the owner has mapped them, its to set and to take away; NULL: nothing is looked at */
	bool among_zeros;                /* the last page was one */
	uint64_t frames;
	struct stream_digest digest;
	stream_write_fn write;
	void *write_arg;
	uint8_t *batch;                  /* head room of a page, then PAGE_BATCH pages */
	uint64_t frame[PAGE_BATCH];
	uint32_t pages;
	struct stream_run run[STREAM_ZEROS_MAX];
	uint32_t runs;
	uint64_t bytes, sent_pages, zero_pages;   /* totals */
};

/*
 * The pages are in ram, or, where that is NULL, in the file ram_fd (borrowed): read, not mapped, since a page costs less to copy in
 * the kernel than to map.  token: the digest's key.  0 or -ENOMEM.
 */
int page_source_init(struct page_source *s, const uint8_t *ram, int ram_fd, uint64_t frames, const uint8_t token[STREAM_TOKEN_BYTES],
		     stream_write_fn write, void *write_arg);
void page_source_free(struct page_source *s);       /* idempotent after init or zeroing */
/* A run of frames as they are now; sends when a batch is full.  0 or the writer's error. */
int page_source_frames(struct page_source *s, uint64_t first, uint64_t count);
/* A stretch that is known to be zero (a hole), without looking at it. */
int page_source_zeros(struct page_source *s, uint64_t first, uint64_t count);
/* Sends what is gathered. */
int page_source_flush(struct page_source *s);
int page_source_round_end(struct page_source *s, uint32_t round);    /* flushes first */
/* A STATE record, digested; body is borrowed. */
int page_source_state(struct page_source *s, const void *body, uint32_t n);
/* Flushes; then the digest of all since the last one, in a CHECK record of that number.  0 or the writer's error. */
int page_source_check(struct page_source *s, uint32_t serial);
/* Forgets what was gathered and not sent: the connection is another one, of that session. */
int page_source_session(struct page_source *s, uint32_t session);
/* Any other record, digested. */
int page_source_other(struct page_source *s, uint16_t type, const void *body, uint32_t n);
/* The digest in an END record. */
int page_source_end(struct page_source *s);

#endif
