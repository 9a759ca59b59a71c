/* SPDX-License-Identifier: GPL-2.0-or-later */
/* buf.c - see buf.h. */
#include "lib/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf)BUF_INIT(max);
}

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT(b->max);
}

static uint8_t *buf_grow(struct buf *b, size_t n)
{
	if (b->bad || n > b->max || b->len > b->max - n) {
		b->bad = true;
		return NULL;
	}
	if (b->len + n > b->cap) {
		size_t cap = b->cap ? b->cap : 256;
		uint8_t *p;

		while (cap < b->len + n)
			cap *= 2;
		p = realloc(b->data, cap);
		if (!p) {
			b->bad = true;
			return NULL;
		}
		b->data = p;
		b->cap = cap;
	}
	b->len += n;
	return b->data + b->len - n;
}

static void put_le(uint8_t *p, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void buf_le(struct buf *b, uint64_t v, size_t n)
{
	uint8_t *p = buf_grow(b, n);

	if (p)
		put_le(p, v, n);
}

void buf_u8(struct buf *b, uint8_t v) { buf_le(b, v, 1); }
void buf_u16(struct buf *b, uint16_t v) { buf_le(b, v, 2); }
void buf_u32(struct buf *b, uint32_t v) { buf_le(b, v, 4); }
void buf_u64(struct buf *b, uint64_t v) { buf_le(b, v, 8); }

void buf_bytes(struct buf *b, const void *src, size_t n)
{
	uint8_t *p = buf_grow(b, n);

	if (p && n)
		memcpy(p, src, n);
}

void buf_str(struct buf *b, const char *s)
{
	size_t n = strlen(s);

	buf_u32(b, (uint32_t)n);
	buf_bytes(b, s, n);
}

void buf_put_u32_at(struct buf *b, size_t off, uint32_t v)
{
	if (!b->bad && off + 4 <= b->len)
		put_le(b->data + off, v, 4);
	else
		b->bad = true;
}

void reader_init(struct reader *r, const void *p, size_t n)
{
	*r = (struct reader){ .p = p, .left = n, .bad = false };
}

const uint8_t *reader_view(struct reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || n > r->left) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

static uint64_t reader_le(struct reader *r, size_t n)
{
	const uint8_t *p = reader_view(r, n);
	uint64_t v = 0;

	for (size_t i = 0; p && i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

uint8_t reader_u8(struct reader *r) { return (uint8_t)reader_le(r, 1); }
uint16_t reader_u16(struct reader *r) { return (uint16_t)reader_le(r, 2); }
uint32_t reader_u32(struct reader *r) { return (uint32_t)reader_le(r, 4); }
uint64_t reader_u64(struct reader *r) { return reader_le(r, 8); }

bool reader_bytes(struct reader *r, void *dst, size_t n)
{
	const uint8_t *p = reader_view(r, n);

	if (!p)
		return false;
	if (n)
		memcpy(dst, p, n);
	return true;
}

char *reader_str(struct reader *r, size_t max)
{
	uint32_t n = reader_u32(r);
	const uint8_t *p;
	char *s;

	if (r->bad || n > max) {
		r->bad = true;
		return NULL;
	}
	p = reader_view(r, n);
	if (!p || memchr(p, 0, n)) {
		r->bad = true;
		return NULL;
	}
	s = malloc((size_t)n + 1);
	if (!s) {
		r->bad = true;
		return NULL;
	}
	memcpy(s, p, n);
	s[n] = '\0';
	return s;
}

size_t record_begin(struct buf *b, uint32_t type)
{
	size_t handle = b->len;

	buf_u32(b, type);
	buf_u32(b, 0);
	return handle;
}

void record_end(struct buf *b, size_t handle)
{
	static const uint8_t zero[8];
	size_t body = b->len - handle - 8;

	if (b->bad || body > UINT32_MAX) {
		b->bad = true;
		return;
	}
	buf_put_u32_at(b, handle + 4, (uint32_t)body);
	buf_bytes(b, zero, (8 - body % 8) % 8);
}

int record_next(struct reader *r, uint32_t *ret_type, struct reader *ret_body)
{
	uint32_t type, n;
	const uint8_t *body, *pad;

	if (r->bad)
		return -EINVAL;
	if (r->left == 0)
		return 0;
	type = reader_u32(r);
	n = reader_u32(r);
	body = reader_view(r, n);
	pad = reader_view(r, (8 - n % 8) % 8);
	if (!body || !pad)
		return -EINVAL;
	*ret_type = type;
	reader_init(ret_body, body, n);
	return 1;
}
