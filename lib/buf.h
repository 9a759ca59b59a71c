/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf.h - bounds-checked reading and growing writing of little-endian records.
 *
 * Reading never goes past the end: the first short read makes the reader sticky-bad, further getters return 0, and the
 * caller checks reader_ok() once at the end.  Writing grows up to buf.max; running out makes the buffer sticky-bad.
 */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf { uint8_t *data; size_t len, cap, max; bool bad; };

#define BUF_INIT(limit) { .data = NULL, .len = 0, .cap = 0, .max = (limit), .bad = false }
void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);                    /* idempotent */
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_bytes(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, const char *s);      /* u32 length, bytes, no NUL */
void buf_put_u32_at(struct buf *b, size_t off, uint32_t v);  /* patches a length written earlier */
static inline bool buf_ok(const struct buf *b) { return !b->bad; }

struct reader { const uint8_t *p; size_t left; bool bad; };

void reader_init(struct reader *r, const void *p, size_t n);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
bool reader_bytes(struct reader *r, void *dst, size_t n);
const uint8_t *reader_view(struct reader *r, size_t n);        /* n bytes in place, or NULL (bad) */
char *reader_str(struct reader *r, size_t max);                /* malloc'd, NUL-terminated, no inner NUL; NULL: bad */
static inline bool reader_ok(const struct reader *r) { return !r->bad; }
static inline bool reader_done(const struct reader *r) { return !r->bad && r->left == 0; }

/*
 * TLV records: u32 type, u32 length, body padded to 8 bytes.  Types with bit 31 set are optional: a reader that does
 * not know one skips it; an unknown type without the bit is refused by the caller.
 */
#define RECORD_OPTIONAL 0x80000000u
size_t record_begin(struct buf *b, uint32_t type);             /* returns a handle for record_end */
void record_end(struct buf *b, size_t handle);
/* Next record of r: 1 and its type and body, 0 at the end, -EINVAL when malformed. */
int record_next(struct reader *r, uint32_t *ret_type, struct reader *ret_body);

#endif
