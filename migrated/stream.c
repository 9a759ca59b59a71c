/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stream.c - see stream.h.  One table holds every record's bounds; nothing is read before its length passed it. */
#include "migrated/stream.h"

#include <errno.h>
#include <string.h>

static const uint8_t magic[8] = { 'H', 'A', 'V', 'E', 'N', 'M', 'I', 'G' };

struct bounds { uint16_t type; const char *name; uint32_t min, max; };

static const struct bounds known[] = {
	{ STREAM_HELLO, "HELLO", 2, STREAM_HELLO_MAX },
	{ STREAM_ANSWER, "ANSWER", 2, STREAM_ANSWER_MAX },
	{ STREAM_ACCEPT, "ACCEPT", 32, 32 },
	{ STREAM_JOIN, "JOIN", STREAM_TOKEN_BYTES, STREAM_TOKEN_BYTES + 8 },
	{ STREAM_PAGES, "PAGES", 8 + 8 + STREAM_PAGE, 8 + STREAM_PAGES_MAX * (8 + STREAM_PAGE) },
	{ STREAM_ZEROS, "ZEROS", 8 + 16, 8 + STREAM_ZEROS_MAX * 16 },
	{ STREAM_ROUND_END, "ROUND_END", 8, 8 },
	{ STREAM_STATE, "STATE", 1, STREAM_STATE_MAX },
	{ STREAM_END, "END", STREAM_DIGEST_BYTES, STREAM_DIGEST_BYTES },
	{ STREAM_READY, "READY", 0, 0 },
	{ STREAM_GO, "GO", 8, 8 },
	{ STREAM_DONE, "DONE", 16, 16 + STREAM_TEXT_MAX },
	{ STREAM_ABORT, "ABORT", 0, STREAM_TEXT_MAX },
	{ STREAM_CHECK, "CHECK", 8 + STREAM_DIGEST_BYTES, 8 + STREAM_DIGEST_BYTES },
	{ STREAM_ACK, "ACK", 8, 8 },
	{ STREAM_RESUME, "RESUME", STREAM_TOKEN_BYTES + 16, STREAM_TOKEN_BYTES + 16 },
	{ STREAM_RESUMED, "RESUMED", 8, 8 },
	{ STREAM_OWED, "OWED", 8, 8 + STREAM_ZEROS_MAX * 16 },
	{ STREAM_WANT, "WANT", 8, 8 + STREAM_ZEROS_MAX * 16 },
	{ STREAM_REQUEST, "REQUEST", 8 + 8, 8 + STREAM_REQUEST_MAX * 8 },
	{ STREAM_PUSH, "PUSH", 8 + 8 + STREAM_PAGE + STREAM_DIGEST_BYTES, 8 + STREAM_PUSH_PAGES * (8 + STREAM_PAGE) + STREAM_DIGEST_BYTES },
	{ STREAM_PUSH_ZEROS, "PUSH_ZEROS", 8 + 16 + STREAM_DIGEST_BYTES, 8 + STREAM_PUSH_RUNS * 16 + STREAM_DIGEST_BYTES },
	{ STREAM_EXHAUSTED, "EXHAUSTED", 0, 0 },
	{ STREAM_PRESENT, "PRESENT", 8, 8 },
	{ STREAM_ALIVE, "ALIVE", 8, 8 },
	{ STREAM_PING, "PING", 8, 8 },
	{ STREAM_PONG, "PONG", 16, 16 },
	{ STREAM_PAUSED, "PAUSED", 8, 16 },
	{ STREAM_CODE, "CODE", 8, STREAM_CODE_MAX },
};

static const struct bounds *bounds_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].type == type)
			return &known[i];
	return NULL;
}

bool stream_type_known(uint16_t type)
{
	return bounds_of(type) != NULL;
}

uint32_t stream_state_max(uint64_t ram_frames)
{
	uint64_t runs = ram_frames > STREAM_STATE_FRAMES / STREAM_STATE_FRAME ? STREAM_STATE_FRAMES : ram_frames * STREAM_STATE_FRAME;

	return STREAM_STATE_BESIDE + (uint32_t)runs;
}

const char *stream_type_name(uint16_t type)
{
	const struct bounds *b = bounds_of(type);

	return b ? b->name : "an unknown record";
}

void stream_header_encode(uint8_t h[STREAM_HEADER_BYTES], uint16_t type, uint32_t length)
{
	h[0] = (uint8_t)type;
	h[1] = (uint8_t)(type >> 8);
	h[2] = h[3] = 0;
	for (int i = 0; i < 4; i++)
		h[4 + i] = (uint8_t)(length >> (8 * i));
}

int stream_header_decode(const uint8_t h[STREAM_HEADER_BYTES], struct stream_header *ret)
{
	const struct bounds *b;
	struct stream_header hdr;
	struct reader r;
	uint16_t reserved;

	reader_init(&r, h, STREAM_HEADER_BYTES);
	hdr.type = reader_u16(&r);
	reserved = reader_u16(&r);
	hdr.length = reader_u32(&r);
	if (reserved)
		return -EBADMSG;
	b = bounds_of(hdr.type);
	if (!b && !(hdr.type & STREAM_OPTIONAL))
		return -EPROTONOSUPPORT;
	if (b ? hdr.length < b->min || hdr.length > b->max : hdr.length > STREAM_UNKNOWN_MAX)
		return -EMSGSIZE;
	*ret = hdr;
	return 0;
}

void stream_preamble_encode(uint8_t p[STREAM_PREAMBLE_BYTES], const struct stream_preamble *pre)
{
	memset(p, 0, STREAM_PREAMBLE_BYTES);
	memcpy(p, magic, sizeof(magic));
	p[8] = (uint8_t)pre->version;
	p[9] = (uint8_t)(pre->version >> 8);
	p[10] = pre->further;
	memcpy(p + 16, pre->token, STREAM_TOKEN_BYTES);
}

int stream_preamble_decode(const uint8_t p[STREAM_PREAMBLE_BYTES], struct stream_preamble *ret)
{
	struct reader r;
	uint8_t m[sizeof(magic)];
	uint16_t kind;
	uint32_t zero;

	reader_init(&r, p, STREAM_PREAMBLE_BYTES);
	reader_bytes(&r, m, sizeof(m));
	ret->version = reader_u16(&r);
	kind = reader_u16(&r);
	zero = reader_u32(&r);
	reader_bytes(&r, ret->token, sizeof(ret->token));
	ret->further = kind == 1;
	return reader_done(&r) && memcmp(m, magic, sizeof(m)) == 0 && kind <= 1 && zero == 0 && ret->version ? 0 : -EBADMSG;
}

int stream_pages_count(const uint8_t head[8], uint32_t length, uint32_t *ret_count)
{
	struct reader r;
	uint32_t count, zero;

	reader_init(&r, head, 8);
	count = reader_u32(&r);
	zero = reader_u32(&r);
	if (zero || count == 0 || count > STREAM_PAGES_MAX || length != 8 + count * (8 + STREAM_PAGE))
		return -EBADMSG;
	*ret_count = count;
	return 0;
}

int stream_frames_decode(const uint8_t *table, uint32_t count, uint64_t frames, uint64_t *ret)
{
	struct reader r;

	reader_init(&r, table, (size_t)count * 8);
	for (uint32_t i = 0; i < count; i++) {
		ret[i] = reader_u64(&r);
		if (ret[i] >= frames)
			return -ERANGE;
	}
	return reader_done(&r) ? 0 : -ERANGE;
}

/* u32 count, u32 flags, then the runs: ZEROS, and what a page service says of owed pages. */
static int runs_decode(const uint8_t *body, uint32_t length, uint64_t frames, struct stream_run *ret, uint32_t *ret_count, uint32_t *ret_flags)
{
	struct reader r;
	uint32_t count;

	reader_init(&r, body, length);
	count = reader_u32(&r);
	*ret_flags = reader_u32(&r);
	if (!reader_ok(&r) || count > STREAM_ZEROS_MAX || length != 8 + count * 16)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		ret[i].first = reader_u64(&r);
		ret[i].count = reader_u64(&r);
		if (ret[i].first >= frames || ret[i].count == 0 || ret[i].count > frames - ret[i].first)
			return -ERANGE;
	}
	*ret_count = count;
	return 0;
}

int stream_zeros_decode(const uint8_t *body, uint32_t length, uint64_t frames, struct stream_run *ret, uint32_t *ret_count)
{
	uint32_t count = 0, flags = 0;
	int rc = runs_decode(body, length, frames, ret, &count, &flags);

	if (flags || (rc == 0 && count == 0))
		return -EBADMSG;
	if (rc == 0)
		*ret_count = count;
	return rc;
}

int stream_runs_decode(const uint8_t *body, uint32_t length, uint64_t frames, struct stream_run *ret, uint32_t *ret_count, bool *ret_last)
{
	uint32_t count = 0, flags = 0;
	int rc = runs_decode(body, length, frames, ret, &count, &flags);

	if (flags & ~STREAM_LAST)
		return -EBADMSG;
	if (rc == 0) {
		*ret_count = count;
		*ret_last = flags & STREAM_LAST;
	}
	return rc;
}

static void put_le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void stream_runs_encode(uint8_t *body, const struct stream_run *run, uint32_t count, uint32_t flags)
{
	put_le(body, count, 4);
	put_le(body + 4, flags, 4);
	for (uint32_t i = 0; i < count; i++) {
		put_le(body + 8 + 16 * i, run[i].first, 8);
		put_le(body + 16 + 16 * i, run[i].count, 8);
	}
}

int stream_request_decode(const uint8_t *body, uint32_t length, uint64_t frames, uint64_t *ret, uint32_t *ret_count)
{
	struct reader r;
	uint32_t count, zero;

	reader_init(&r, body, length);
	count = reader_u32(&r);
	zero = reader_u32(&r);
	if (!reader_ok(&r) || zero || count == 0 || count > STREAM_REQUEST_MAX || length != 8 + count * 8)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		ret[i] = reader_u64(&r);
		if (ret[i] >= frames)
			return -ERANGE;
	}
	*ret_count = count;
	return 0;
}

void stream_request_encode(uint8_t *body, const uint64_t *frame, uint32_t count)
{
	put_le(body, count, 8);
	for (uint32_t i = 0; i < count; i++)
		put_le(body + 8 + 8 * i, frame[i], 8);
}

int stream_accept_decode(const uint8_t *body, size_t n, struct stream_accept *ret)
{
	struct reader r;

	reader_init(&r, body, n);
	ret->version = reader_u16(&r);
	ret->flags = reader_u16(&r);
	ret->connections = reader_u32(&r);
	ret->frames = reader_u64(&r);
	reader_bytes(&r, ret->token, sizeof(ret->token));
	return reader_done(&r) && !(ret->flags & ~STREAM_POSTCOPY) && ret->version >= 1 && ret->version <= STREAM_VERSION ? 0 : -EBADMSG;
}

void stream_accept_encode(struct buf *b, const struct stream_accept *a)
{
	buf_u16(b, a->version);
	buf_u16(b, a->flags);
	buf_u32(b, a->connections);
	buf_u64(b, a->frames);
	buf_bytes(b, a->token, sizeof(a->token));
}

int stream_done_decode(const uint8_t *body, size_t n, struct stream_done *ret)
{
	struct reader r;
	uint32_t zero;

	reader_init(&r, body, n);
	ret->run_ns = reader_u64(&r);
	ret->status = reader_u32(&r);
	zero = reader_u32(&r);
	if (!reader_ok(&r) || zero)
		return -EBADMSG;
	stream_text_decode(r.p, r.left, ret->text, sizeof(ret->text));
	return 0;
}

void stream_done_encode(struct buf *b, const struct stream_done *d)
{
	buf_u64(b, d->run_ns);
	buf_u32(b, d->status);
	buf_u32(b, 0);
	buf_bytes(b, d->text, strnlen(d->text, STREAM_TEXT_MAX));
}

int stream_u64_decode(const uint8_t *body, size_t n, uint64_t *ret)
{
	struct reader r;

	reader_init(&r, body, n);
	*ret = reader_u64(&r);
	return reader_done(&r) ? 0 : -EBADMSG;
}

void stream_text_decode(const uint8_t *body, size_t n, char *ret, size_t size)
{
	if (n > size - 1)
		n = size - 1;
	for (size_t i = 0; i < n; i++)
		ret[i] = body[i] >= 0x20 && body[i] < 0x7f ? (char)body[i] : '?';
	ret[n] = '\0';
}

void stream_resume_encode(struct buf *b, const struct stream_resume *r)
{
	buf_bytes(b, r->token, sizeof(r->token));
	buf_u64(b, r->attempt);
	buf_u32(b, r->session);
	buf_u32(b, r->round);
}

int stream_resume_decode(const uint8_t *body, size_t n, struct stream_resume *ret)
{
	struct reader r;

	reader_init(&r, body, n);
	reader_bytes(&r, ret->token, sizeof(ret->token));
	ret->attempt = reader_u64(&r);
	ret->session = reader_u32(&r);
	ret->round = reader_u32(&r);
	return reader_done(&r) && ret->session ? 0 : -EBADMSG;
}

void stream_u32_encode(uint8_t body[8], uint32_t v)
{
	for (int i = 0; i < 8; i++)
		body[i] = i < 4 ? (uint8_t)(v >> (8 * i)) : 0;
}

int stream_u32_decode(const uint8_t body[8], uint32_t *ret)
{
	struct reader r;

	reader_init(&r, body, 8);
	*ret = reader_u32(&r);
	return reader_u32(&r) == 0 && reader_done(&r) ? 0 : -EBADMSG;
}

int stream_join_decode(const uint8_t *body, size_t n, uint8_t ret_token[STREAM_TOKEN_BYTES], uint32_t *ret_session)
{
	struct reader r;

	reader_init(&r, body, n);
	reader_bytes(&r, ret_token, STREAM_TOKEN_BYTES);
	*ret_session = n > STREAM_TOKEN_BYTES ? reader_u32(&r) : 0;
	if (n > STREAM_TOKEN_BYTES && reader_u32(&r) != 0)
		return -EBADMSG;
	return reader_done(&r) ? 0 : -EBADMSG;
}
