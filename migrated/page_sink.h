/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * page_sink.h - the target's end of the pages: PAGES and ZEROS bodies straight into the domain's memory, and the running digest.
 * One sink a connection; several may share one memory, since a round sends each page once.
 */
#ifndef MIGRATED_PAGE_SINK_H
#define MIGRATED_PAGE_SINK_H

#include <stdatomic.h>
#include "migrated/stream_digest.h"

/*
 * Which RAM frames hold data, for all sinks of one memory: ZEROS clears those alone. What a peer can have us clear is so bounded by the pages that
 * it sent, however often it names them.
 */
struct page_map { _Atomic uint64_t *word; uint64_t frames; };

struct page_sink {
	uint8_t *ram;                 /* frames * 4096 octets, borrowed */
	uint64_t frames;
	int ram_fd;                   /* the memfd behind ram, to write to and to find its holes; -1: plain memory */
	struct page_map *map;         /* of the memory; borrowed; NULL: all may hold data */
	uint8_t *bounce;              /* BOUNCE_PAGES, between TLS and the memfd */
	struct stream_digest digest;
	_Atomic uint64_t pages;       /* written so far; read by the heartbeat */
	uint8_t table[8 + 16 * STREAM_ZEROS_MAX];
};

/* frames: of RAM; what the file holds by now counts as data.  0 or -ENOMEM. */
int page_map_init(struct page_map *m, uint64_t frames, int ram_fd);
void page_map_free(struct page_map *m);
/* token: the digest's key.  0 or -ENOMEM. */
int page_sink_init(struct page_sink *s, uint8_t *ram, uint64_t frames, int ram_fd, struct page_map *map, const uint8_t token[STREAM_TOKEN_BYTES]);
void page_sink_free(struct page_sink *s);
/*
 * Takes the body of a PAGES, ZEROS or ROUND_END record whose header was decoded; reads exactly hdr->length octets unless it
 * fails.  ret_round gets ROUND_END's number.  0 or -errno: -EBADMSG, -ERANGE (a frame the domain has not), the reader's own.
 */
int page_sink_record(struct page_sink *s, const struct stream_header *hdr, stream_read_fn read, void *arg, uint32_t *ret_round);
/* Adds a record held in memory (STATE) to the digest. */
int page_sink_digest(struct page_sink *s, const struct stream_header *hdr, const void *body);
/* The same at a CHECK, body and all; a new digest begins.  ret_serial: its number. */
int page_sink_check(struct page_sink *s, const uint8_t body[8 + STREAM_DIGEST_BYTES], uint32_t *ret_serial);
/* The connection is another one, of that session. */
int page_sink_session(struct page_sink *s, uint32_t session);
/* Compares and ends the digest: 0, or -EILSEQ when the connection lost or changed something. */
int page_sink_verify(struct page_sink *s, const uint8_t want[STREAM_DIGEST_BYTES]);

#endif
