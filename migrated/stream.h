/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.h - the records of docs/specs/migration-stream.md: encoding and bounds-checked decoding.  No sockets here: readers
 * pull octets through a callback, so that TLS, a fuzzer and a test drive the same code.
 */
#ifndef MIGRATED_STREAM_H
#define MIGRATED_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"

#define STREAM_VERSION 2u                 /* the newest we speak */
#define STREAM_VERSION_OLDEST 1u
#define STREAM_VERSION_RESUME 2u          /* from here on: CHECK, ACK, RESUME, RESUMED, and JOIN names its session */
#define STREAM_PAGE 4096u
#define STREAM_HEADER_BYTES 8u
#define STREAM_PREAMBLE_BYTES 32u
#define STREAM_TOKEN_BYTES 16u
#define STREAM_DIGEST_BYTES 16u
#define STREAM_PAGES_MAX 256u             /* pages a PAGES record */
#define STREAM_ZEROS_MAX 1024u            /* runs a ZEROS record */
#define STREAM_PUSH_PAGES 16u             /* pages a PUSH record */
#define STREAM_PUSH_RUNS 256u             /* runs a PUSH_ZEROS record */
#define STREAM_REQUEST_MAX 64u            /* frames a REQUEST record */
#define STREAM_LAST 1u                    /* OWED, WANT: the last of a set */
#define STREAM_POSTCOPY 1u                /* ACCEPT's flags: this copy can run before all of its pages are there */
#define STREAM_TEXT_MAX 1024u
#define STREAM_HELLO_MAX (128u << 10)
#define STREAM_ANSWER_MAX (64u << 10)
/*
 * A guest's STATE, whatever the guest does: 16 MiB of store (xenstored exports no more) and 1 MiB of ports, grants, 32 vCPUs and devices, and by its memory
 * what is said of frames, in the most runs there can be: 8 octets a frame for who has memory, 16 for page tables, and hv-domain writes at most 32 MiB.
 */
#define STREAM_STATE_BESIDE (17u << 20)
#define STREAM_STATE_FRAME 24u
#define STREAM_STATE_FRAMES (32u << 20)
#define STREAM_STATE_MAX (STREAM_STATE_BESIDE + STREAM_STATE_FRAMES)
#define STREAM_UNKNOWN_MAX (64u << 10)
#define STREAM_CODE_MAX (64u << 10)       /* optional: who does not know it may refuse a longer one */
#define STREAM_OPTIONAL 0x8000u

enum stream_type {
	STREAM_HELLO = 1, STREAM_ANSWER, STREAM_ACCEPT, STREAM_JOIN, STREAM_PAGES, STREAM_ZEROS, STREAM_ROUND_END,
	STREAM_STATE, STREAM_END, STREAM_READY, STREAM_GO, STREAM_DONE, STREAM_ABORT, STREAM_CHECK, STREAM_ACK, STREAM_RESUME,
	STREAM_RESUMED,
	STREAM_OWED, STREAM_WANT, STREAM_REQUEST, STREAM_PUSH, STREAM_PUSH_ZEROS, STREAM_EXHAUSTED, STREAM_PRESENT,
	STREAM_ALIVE = 0x8001, STREAM_PING, STREAM_PONG, STREAM_PAUSED, STREAM_CODE,
};

struct stream_header { uint16_t type; uint32_t length; };
struct stream_run { uint64_t first, count; };
struct stream_accept { uint16_t version, flags; uint32_t connections; uint64_t frames; uint8_t token[STREAM_TOKEN_BYTES]; };
struct stream_done { uint64_t run_ns; uint32_t status; char text[STREAM_TEXT_MAX + 1]; };
struct stream_resume { uint8_t token[STREAM_TOKEN_BYTES]; uint64_t attempt; uint32_t session, round; };
struct stream_preamble { uint16_t version; bool further; uint8_t token[STREAM_TOKEN_BYTES]; };

/* Reads exactly n octets into dst: 0 or -errno. */
typedef int (*stream_read_fn)(void *arg, void *dst, size_t n);

/*
 * Type and length of a header, the length checked against the type's bounds.  0; -EMSGSIZE; -EBADMSG (reserved octets set);
 * -EPROTONOSUPPORT: an unknown mandatory record.  Unknown optional records pass: the caller skips them.
 */
int stream_header_decode(const uint8_t h[STREAM_HEADER_BYTES], struct stream_header *ret);
void stream_header_encode(uint8_t h[STREAM_HEADER_BYTES], uint16_t type, uint32_t length);
bool stream_type_known(uint16_t type);
uint32_t stream_state_max(uint64_t ram_frames);       /* octets of STATE that a guest of that memory can have */
const char *stream_type_name(uint16_t type);

void stream_preamble_encode(uint8_t p[STREAM_PREAMBLE_BYTES], const struct stream_preamble *pre);
int stream_preamble_decode(const uint8_t p[STREAM_PREAMBLE_BYTES], struct stream_preamble *ret);

/* Count of a PAGES body from its first eight octets and its length: 0 or -EBADMSG. */
int stream_pages_count(const uint8_t head[8], uint32_t length, uint32_t *ret_count);
/* count frame numbers, each below frames: 0 or -ERANGE. */
int stream_frames_decode(const uint8_t *table, uint32_t count, uint64_t frames, uint64_t *ret);
/* Runs of a ZEROS body, each within frames: 0, -EBADMSG or -ERANGE. */
int stream_zeros_decode(const uint8_t *body, uint32_t length, uint64_t frames, struct stream_run *ret, uint32_t *ret_count);

/* Runs of an OWED or WANT body, none to STREAM_ZEROS_MAX; *ret_last: STREAM_LAST is set.  0, -EBADMSG or -ERANGE. */
int stream_runs_decode(const uint8_t *body, uint32_t length, uint64_t frames, struct stream_run *ret, uint32_t *ret_count, bool *ret_last);
/* The same for sending: into body, of 8 + 16 * count octets. */
void stream_runs_encode(uint8_t *body, const struct stream_run *run, uint32_t count, uint32_t flags);
/* Frames of a REQUEST body, or the table of a PUSH one (length without pages and digest): 0, -EBADMSG or -ERANGE. */
int stream_request_decode(const uint8_t *body, uint32_t length, uint64_t frames, uint64_t *ret, uint32_t *ret_count);
void stream_request_encode(uint8_t *body, const uint64_t *frame, uint32_t count);   /* 8 + 8 * count octets */

int stream_accept_decode(const uint8_t *body, size_t n, struct stream_accept *ret);
void stream_accept_encode(struct buf *b, const struct stream_accept *a);
int stream_done_decode(const uint8_t *body, size_t n, struct stream_done *ret);
void stream_done_encode(struct buf *b, const struct stream_done *d);
/* RESUME: 0 or -EBADMSG. */
int stream_resume_decode(const uint8_t *body, size_t n, struct stream_resume *ret);
void stream_resume_encode(struct buf *b, const struct stream_resume *r);
/* A u32 and four zero octets (ROUND_END, ACK, RESUMED): 0 or -EBADMSG. */
int stream_u32_decode(const uint8_t body[8], uint32_t *ret);
void stream_u32_encode(uint8_t body[8], uint32_t v);
/* JOIN: token, then from version 2 on the session (0 before). */
int stream_join_decode(const uint8_t *body, size_t n, uint8_t ret_token[STREAM_TOKEN_BYTES], uint32_t *ret_session);
/* A bare u64 body (GO, ALIVE, PING, PAUSED): 0 or -EBADMSG. */
int stream_u64_decode(const uint8_t *body, size_t n, uint64_t *ret);
/* Text of an ABORT, control characters replaced: what a peer sends goes to logs and terminals. */
void stream_text_decode(const uint8_t *body, size_t n, char *ret, size_t size);

#endif
