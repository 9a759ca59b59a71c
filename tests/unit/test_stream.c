/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The migration stream without a network: what page_source writes, page_sink must rebuild to the octet; and every record that is
 * short, long, out of range or changed by one bit must be refused before it touches memory it may not touch.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "migrated/page_sink.h"
#include "migrated/page_source.h"

#define FRAMES 300u
#define BYTES (FRAMES * STREAM_PAGE)

static const uint8_t token[STREAM_TOKEN_BYTES] = "0123456789abcde";
static bool source_samples, sink_samples;

static int write_buf(void *arg, const void *p, size_t n)
{
	buf_bytes(arg, p, n);
	return buf_ok(arg) ? 0 : -ENOSPC;
}

static int read_buf(void *arg, void *p, size_t n)
{
	return reader_bytes(arg, p, n) ? 0 : -ENODATA;
}

static uint8_t *pattern(void)
{
	uint8_t *ram = calloc(FRAMES, STREAM_PAGE);

	assert_non_null(ram);
	for (unsigned f = 0; f < FRAMES; f++)
		if (f % 3)
			memset(ram + f * STREAM_PAGE + f, (int)(f | 1), 100);
	/* one octet at the very end of a page is not zero */
	ram[6 * STREAM_PAGE + STREAM_PAGE - 1] = 1;
	return ram;
}

/* All frames, some by themselves and the others as one run, as one stream with ROUND_END, STATE and END. */
static void make_stream_of(struct buf *b, const uint8_t *ram, int fd)
{
	struct page_source *s = calloc(1, sizeof(*s));

	buf_init(b, 16 << 20);
	assert_int_equal(page_source_init(s, ram, fd, FRAMES, token, write_buf, b), 0);
	s->digest.samples = source_samples;
	for (unsigned f = 0; f < 5; f++)
		assert_int_equal(page_source_frames(s, f, 1), 0);
	assert_int_equal(page_source_frames(s, 5, FRAMES - 5), 0);
	assert_int_equal(page_source_frames(s, FRAMES - 1, 2), -ERANGE);
	assert_int_equal(page_source_frames(s, FRAMES, 1), -ERANGE);
	assert_int_equal(page_source_round_end(s, 0), 0);
	assert_int_equal(page_source_state(s, "state", 5), 0);
	assert_int_equal(page_source_end(s), 0);
	assert_int_equal(s->sent_pages + s->zero_pages, FRAMES);
	page_source_free(s);
	free(s);
}

static void make_stream(struct buf *b, const uint8_t *ram)
{
	make_stream_of(b, ram, -1);
}

/* Takes a stream into ram: 0 when its END verified. */
static int take_stream(const void *p, size_t n, uint8_t *ram, int fd)
{
	struct page_sink *s = calloc(1, sizeof(*s));
	uint8_t h[STREAM_HEADER_BYTES], digest[STREAM_DIGEST_BYTES];
	struct stream_header hdr;
	struct reader r;
	uint32_t round = 99;
	struct page_map map = { .word = NULL };
	int rc = fd < 0 ? 0 : page_map_init(&map, FRAMES, fd);

	if (rc == 0)
		rc = page_sink_init(s, ram, FRAMES, fd, fd < 0 ? NULL : &map, token);
	s->digest.samples = sink_samples;

	reader_init(&r, p, n);
	while (rc == 0) {
		rc = read_buf(&r, h, sizeof(h));
		if (rc == 0)
			rc = stream_header_decode(h, &hdr);
		if (rc == 0 && hdr.type == STREAM_END) {
			rc = read_buf(&r, digest, sizeof(digest));
			rc = rc < 0 ? rc : page_sink_verify(s, digest);
			break;
		}
		if (rc == 0 && hdr.type == STREAM_STATE) {
			const uint8_t *body = reader_view(&r, hdr.length);

			rc = body ? page_sink_digest(s, &hdr, body) : -ENODATA;
		} else if (rc == 0) {
			rc = page_sink_record(s, &hdr, read_buf, &r, &round);
		}
	}
	page_sink_free(s);
	page_map_free(&map);
	free(s);
	return rc;
}

static void test_file_is_read_as_memory_is(void **state)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	uint8_t *ram = pattern();
	struct buf a, b;

	assert_int_equal(write(fd, ram, FRAMES * STREAM_PAGE), FRAMES * STREAM_PAGE);
	make_stream_of(&a, ram, -1);
	make_stream_of(&b, NULL, fd);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	buf_free(&a);
	buf_free(&b);
	free(ram);
	close(fd);
}

#define ZEROS_END 100u                   /* written zeros, then pages that are not, a hole, and zeros again with one octet among them */
#define HOLE 150u
#define HOLE_END 200u
#define ODD_PAGE 250u

static int memory_with_zeros(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	uint8_t page[STREAM_PAGE] = { 0 };

	assert_int_equal(ftruncate(fd, BYTES), 0);
	for (unsigned f = 0; f < FRAMES; f++) {
		memset(page, f >= ZEROS_END && f < HOLE ? (int)f : 0, sizeof(page));
		page[STREAM_PAGE - 1] |= f == ODD_PAGE;
		if (f < HOLE || f >= HOLE_END)
			assert_int_equal(pwrite(fd, page, sizeof(page), f * STREAM_PAGE), sizeof(page));
	}
	return fd;
}

/* All of fd's frames as one stream, zero pages being looked for in look. */
static void make_stream_looking(struct buf *b, int fd, const uint8_t *look)
{
	struct page_source *s = calloc(1, sizeof(*s));

	buf_init(b, 16 << 20);
	assert_int_equal(page_source_init(s, NULL, fd, FRAMES, token, write_buf, b), 0);
	s->look = look;
	assert_int_equal(page_source_frames(s, 0, FRAMES), 0);
	assert_int_equal(page_source_round_end(s, 0), 0);
	assert_int_equal(page_source_end(s), 0);
	assert_int_equal(s->sent_pages, HOLE - ZEROS_END + 1);
	assert_int_equal(s->sent_pages + s->zero_pages, FRAMES);
	page_source_free(s);
	free(s);
}

static long blocks(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (long)st.st_blocks;
}

static void look_for_zeros(void)
{
	int fd = memory_with_zeros();
	const uint8_t *look = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);
	uint8_t *to = malloc(BYTES);
	long before = blocks(fd);
	struct buf b;

	assert_true(look != MAP_FAILED);
	memset(to, 0xee, BYTES);
	make_stream_looking(&b, fd, look);
	assert_int_equal(blocks(fd), before);
	assert_int_equal(take_stream(b.data, b.len, to, -1), 0);
	assert_memory_equal(to, look, BYTES);
	buf_free(&b);
	free(to);
	munmap((void *)(uintptr_t)look, BYTES);
	close(fd);
}

static void test_zeros_are_seen_where_they_lie(void **state)
{
	look_for_zeros();
}

/*
 * Looking at a hole would fill it: memory that the guest gave back, or a page that is still to come from another node.  The kernel tells of holes
 * only those who may write the file (mincore(2)); the worker, who is nobody in particular, has to be one of these.
 */
static void test_holes_stay_holes_for_an_ordinary_user(void **state)
{
	pid_t child;
	int how;

	if (getuid() != 0)
		skip();
	child = fork();
	if (child == 0) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(2);
		look_for_zeros();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_int_equal(how, 0);
}

/* A page that is looked at and zero is not read besides: here the file and what is looked at are two, and disagree. */
static void test_what_is_seen_to_be_zero_is_not_copied(void **state)
{
	int fd = memory_with_zeros(), other = memory_with_zeros();
	const uint8_t *look = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);
	struct buf b;

	assert_true(look != MAP_FAILED);
	assert_int_equal(pwrite(other, "x", 1, (ZEROS_END - 10) * STREAM_PAGE), 1);
	make_stream_looking(&b, other, look);
	buf_free(&b);
	munmap((void *)(uintptr_t)look, BYTES);
	close(fd);
	close(other);
}

static void test_memory_arrives_as_it_was(void **state)
{
	uint8_t *from = pattern(), *to = malloc(BYTES);
	struct buf b;

	memset(to, 0xee, BYTES);
	make_stream(&b, from);
	assert_int_equal(take_stream(b.data, b.len, to, -1), 0);
	assert_memory_equal(from, to, BYTES);
	buf_free(&b);
	free(from);
	free(to);
}

static int take_with(const struct buf *b, uint8_t *to, bool samples)
{
	int rc;

	sink_samples = samples;
	rc = take_stream(b->data, b->len, to, -1);
	sink_samples = false;
	return rc;
}

/* A digest of samples finds pages in each other's place, shifted, or named otherwise, and is no digest of whole pages. */
static void test_sampled_pages(void **state)
{
	uint8_t *from = malloc(BYTES), *to = malloc(BYTES), *first, *pages, keep[STREAM_PAGE];
	uint64_t count = 0;
	struct buf b;

	srandom(1);
	for (size_t i = 0; i < BYTES; i++)
		from[i] = (uint8_t)random();
	source_samples = true;
	make_stream(&b, from);
	source_samples = false;
	assert_int_equal(take_with(&b, to, true), 0);
	assert_memory_equal(from, to, BYTES);
	assert_int_equal(take_with(&b, to, false), -EILSEQ);
	first = b.data + STREAM_HEADER_BYTES;
	memcpy(&count, first, 8);
	assert_true(count > 2);
	pages = first + 8 + 8 * count;
	memcpy(keep, pages, STREAM_PAGE);
	memcpy(pages, pages + STREAM_PAGE, STREAM_PAGE);
	memcpy(pages + STREAM_PAGE, keep, STREAM_PAGE);
	assert_int_equal(take_with(&b, to, true), -EILSEQ);
	memcpy(pages + STREAM_PAGE, pages, STREAM_PAGE);
	memcpy(pages, keep, STREAM_PAGE);
	assert_int_equal(take_with(&b, to, true), 0);
	memmove(pages, pages + 16, (count - 1) * STREAM_PAGE);
	assert_int_equal(take_with(&b, to, true), -EILSEQ);
	memmove(pages + 16, pages, (count - 1) * STREAM_PAGE);
	memcpy(pages, keep, 16);
	assert_int_equal(take_with(&b, to, true), 0);
	first[8] ^= 1;
	assert_int_equal(take_with(&b, to, true), -EILSEQ);
	buf_free(&b);
	free(from);
	free(to);
}

static void test_zeros_leave_holes_alone(void **state)
{
	uint8_t *from = calloc(FRAMES, STREAM_PAGE), *to;
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct buf b;

	assert_int_equal(ftruncate(fd, BYTES), 0);
	to = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(to != MAP_FAILED);
	memset(to + 7 * STREAM_PAGE, 0xee, STREAM_PAGE);
	make_stream(&b, from);
	assert_int_equal(take_stream(b.data, b.len, to, fd), 0);
	/* page 7 was zeroed, page 8 on still is a hole */
	assert_true(lseek(fd, 8 * STREAM_PAGE, SEEK_DATA) < 0);
	assert_memory_equal(from, to, BYTES);
	munmap(to, BYTES);
	close(fd);
	buf_free(&b);
	free(from);
}

struct clearing { struct page_sink *sink; struct page_map map; uint8_t *ram; int fd; };

static void clearing_init(struct clearing *c, uint64_t ram_frames)
{
	c->sink = calloc(1, sizeof(*c->sink));
	c->fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(c->fd, BYTES), 0);
	c->ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	assert_true(c->ram != MAP_FAILED);
	memset(c->ram + 130 * STREAM_PAGE, 0xee, 3 * STREAM_PAGE);       /* there before the stream */
	assert_int_equal(page_map_init(&c->map, ram_frames, c->fd), 0);
	assert_int_equal(page_sink_init(c->sink, c->ram, FRAMES, c->fd, &c->map, token), 0);
}

static void clearing_end(struct clearing *c)
{
	page_sink_free(c->sink);
	free(c->sink);
	page_map_free(&c->map);
	munmap(c->ram, BYTES);
	close(c->fd);
}

static int put_page(struct clearing *c, uint64_t frame)
{
	static uint8_t body[16 + STREAM_PAGE];
	struct stream_header hdr = { .type = STREAM_PAGES, .length = sizeof(body) };
	struct reader r;
	uint32_t round;

	memset(body, 0xaa, sizeof(body));
	stream_request_encode(body, &frame, 1);
	reader_init(&r, body, sizeof(body));
	return page_sink_record(c->sink, &hdr, read_buf, &r, &round);
}

static int put_zeros(struct clearing *c, const struct stream_run *run, uint32_t count)
{
	uint8_t body[8 + 16 * 4];
	struct stream_header hdr = { .type = STREAM_ZEROS, .length = 8 + 16 * count };
	struct reader r;
	uint32_t round;

	stream_runs_encode(body, run, count, 0);
	reader_init(&r, body, hdr.length);
	return page_sink_record(c->sink, &hdr, read_buf, &r, &round);
}

/*
 * Sixteen octets of a ZEROS record had all of the guest's memory cleared, each time and a thousand times in one record: a source could keep the
 * target's worker from hearing a cancel for minutes. What was cleared once and not written since is not cleared again.
 */
static void test_zeros_clear_what_came_alone(void **state)
{
	static const struct stream_run all = { 0, FRAMES }, twice[2] = { { 0, FRAMES }, { 5, 1 } };
	struct clearing c;

	clearing_init(&c, FRAMES - 10);
	assert_int_equal(put_page(&c, 3), 0);
	assert_int_equal(put_page(&c, 63), 0);
	assert_int_equal(put_page(&c, 64), 0);
	assert_int_equal(put_page(&c, FRAMES - 11), 0);
	assert_int_equal(put_page(&c, FRAMES - 1), 0);
	assert_int_equal(put_zeros(&c, &all, 1), 0);
	for (size_t i = 0; i < BYTES; i++)
		assert_int_equal(c.ram[i], 0);
	memset(c.ram + 64 * STREAM_PAGE, 0x77, STREAM_PAGE);            /* behind the sink's back: to see whether it comes there */
	memset(c.ram + (FRAMES - 1) * STREAM_PAGE, 0x77, STREAM_PAGE);
	assert_int_equal(put_zeros(&c, &all, 1), 0);
	assert_int_equal(c.ram[64 * STREAM_PAGE], 0x77);
	assert_int_equal(c.ram[(FRAMES - 1) * STREAM_PAGE], 0);         /* a special frame is looked at each time */
	assert_int_equal(put_page(&c, 64), 0);
	assert_int_equal(put_zeros(&c, &(struct stream_run){ 64, 1 }, 1), 0);
	assert_int_equal(c.ram[64 * STREAM_PAGE], 0);
	assert_int_equal(put_zeros(&c, twice, 2), -EBADMSG);
	clearing_end(&c);
}

/* Runs that begin and end anywhere in the map's words clear their frames and no neighbour. */
static void test_zeros_clear_no_neighbour(void **state)
{
	static const struct stream_run runs[] = { { 0, 1 }, { 1, 63 }, { 62, 4 }, { 64, 64 }, { 60, 140 }, { 127, 2 }, { 190, 60 }, { FRAMES - 20, 20 } };
	struct clearing c;

	for (size_t k = 0; k < sizeof(runs) / sizeof(runs[0]); k++) {
		clearing_init(&c, FRAMES - 10);
		for (uint64_t f = 0; f < FRAMES; f++)
			assert_int_equal(put_page(&c, f), 0);
		assert_int_equal(put_zeros(&c, &runs[k], 1), 0);
		for (uint64_t f = 0; f < FRAMES; f++)
			assert_int_equal(c.ram[f * STREAM_PAGE + 9], f >= runs[k].first && f < runs[k].first + runs[k].count ? 0 : 0xaa);
		clearing_end(&c);
	}
}

static void test_every_truncation_is_refused(void **state)
{
	uint8_t *from = pattern(), *to = malloc(BYTES);
	struct buf b;

	make_stream(&b, from);
	for (size_t n = 0; n < b.len; n += n < 700 || n > b.len - 200 ? 1 : 4001)
		assert_true(take_stream(b.data, n, to, -1) < 0);
	buf_free(&b);
	free(from);
	free(to);
}

static void test_every_flipped_bit_is_refused(void **state)
{
	uint8_t *from = pattern(), *to = malloc(BYTES);
	struct buf b;

	make_stream(&b, from);
	for (size_t n = 0; n < b.len; n += n < 600 || n > b.len - 120 ? 1 : 50021) {
		b.data[n] ^= (uint8_t)(1u << (n % 8));
		assert_true(take_stream(b.data, b.len, to, -1) < 0);
		b.data[n] ^= (uint8_t)(1u << (n % 8));
	}
	assert_int_equal(take_stream(b.data, b.len, to, -1), 0);
	buf_free(&b);
	free(from);
	free(to);
}

static void test_lost_and_repeated_records_are_noticed(void **state)
{
	uint8_t *from = pattern(), *to = malloc(BYTES);
	struct buf b, cut;
	size_t first;

	make_stream(&b, from);
	first = STREAM_HEADER_BYTES + 8 + PAGE_BATCH * (8 + STREAM_PAGE);
	assert_int_equal(take_stream(b.data + first, b.len - first, to, -1), -EILSEQ);
	buf_init(&cut, 16 << 20);
	buf_bytes(&cut, b.data, first);
	buf_bytes(&cut, b.data, b.len);
	assert_int_equal(take_stream(cut.data, cut.len, to, -1), -EILSEQ);
	buf_free(&cut);
	buf_free(&b);
	free(from);
	free(to);
}

static void test_what_is_owed_and_asked_for(void **state)
{
	struct stream_run run[STREAM_ZEROS_MAX] = { { 3, 5 }, { 90, 10 } }, got[STREAM_ZEROS_MAX];
	uint64_t frame[STREAM_REQUEST_MAX] = { 7, 0 }, asked[STREAM_REQUEST_MAX];
	uint8_t body[8 + 16 * STREAM_ZEROS_MAX];
	uint32_t count;
	bool last;

	stream_runs_encode(body, run, 2, STREAM_LAST);
	assert_int_equal(stream_runs_decode(body, 8 + 32, 100, got, &count, &last), 0);
	assert_true(count == 2 && last && got[1].first == 90 && got[1].count == 10);
	assert_int_equal(stream_runs_decode(body, 8 + 32, 99, got, &count, &last), -ERANGE);
	assert_int_equal(stream_runs_decode(body, 8 + 16, 100, got, &count, &last), -EBADMSG);
	stream_runs_encode(body, run, 0, 0);
	assert_int_equal(stream_runs_decode(body, 8, 100, got, &count, &last), 0);
	assert_true(count == 0 && !last);
	body[4] = 2;
	assert_int_equal(stream_runs_decode(body, 8, 100, got, &count, &last), -EBADMSG);
	run[0].count = UINT64_MAX;
	stream_runs_encode(body, run, 1, 0);
	assert_int_equal(stream_runs_decode(body, 8 + 16, 100, got, &count, &last), -ERANGE);
	stream_request_encode(body, frame, 2);
	assert_int_equal(stream_request_decode(body, 8 + 16, 8, asked, &count), 0);
	assert_true(count == 2 && asked[0] == 7 && asked[1] == 0);
	assert_int_equal(stream_request_decode(body, 8 + 16, 7, asked, &count), -ERANGE);
	assert_int_equal(stream_request_decode(body, 8 + 8, 8, asked, &count), -EBADMSG);
	stream_request_encode(body, frame, 0);
	assert_int_equal(stream_request_decode(body, 8, 8, asked, &count), -EBADMSG);
}

static void test_accept_says_what_the_copy_can(void **state)
{
	struct stream_accept a = { .version = 2, .flags = STREAM_POSTCOPY, .connections = 1, .frames = 9 }, got;
	struct buf b = BUF_INIT(64);

	stream_accept_encode(&b, &a);
	assert_int_equal(stream_accept_decode(b.data, b.len, &got), 0);
	assert_int_equal(got.flags, STREAM_POSTCOPY);
	b.data[2] = 2;                                 /* a promise that we do not know */
	assert_int_equal(stream_accept_decode(b.data, b.len, &got), -EBADMSG);
	buf_free(&b);
}

static void test_headers_are_bounded(void **state)
{
	static const struct { uint16_t type; uint32_t length; int rc; } want[] = {
		{ STREAM_HELLO, STREAM_HELLO_MAX, 0 }, { STREAM_HELLO, STREAM_HELLO_MAX + 1, -EMSGSIZE },
		{ STREAM_PAGES, 8 + STREAM_PAGES_MAX * (8 + STREAM_PAGE), 0 }, { STREAM_PAGES, 0, -EMSGSIZE },
		{ STREAM_PAGES, 9 + STREAM_PAGES_MAX * (8 + STREAM_PAGE), -EMSGSIZE }, { STREAM_STATE, 0xffffffff, -EMSGSIZE },
		{ STREAM_READY, 1, -EMSGSIZE }, { STREAM_GO, 7, -EMSGSIZE }, { STREAM_END, STREAM_DIGEST_BYTES - 1, -EMSGSIZE },
		{ 0, 0, -EPROTONOSUPPORT }, { 25, 0, -EPROTONOSUPPORT }, { STREAM_PUSH, 8 + 8 + STREAM_PAGE, -EMSGSIZE }, { STREAM_OWED, 8, 0 },
		{ STREAM_REQUEST, 8 + 65 * 8, -EMSGSIZE }, { 0x7fff, 0, -EPROTONOSUPPORT },
		{ 0x8fff, STREAM_UNKNOWN_MAX, 0 }, { 0x8fff, STREAM_UNKNOWN_MAX + 1, -EMSGSIZE },
	};
	struct stream_header hdr;
	uint8_t h[STREAM_HEADER_BYTES];

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		stream_header_encode(h, want[i].type, want[i].length);
		assert_int_equal(stream_header_decode(h, &hdr), want[i].rc);
	}
	stream_header_encode(h, STREAM_GO, 8);
	h[2] = 1;
	assert_int_equal(stream_header_decode(h, &hdr), -EBADMSG);
}

/* 128 MiB of guest; one so large that hv-domain's own limit comes first; and no size there is makes it wrap. */
static void test_state_is_bounded_by_the_guest(void **state)
{
	assert_int_equal(stream_state_max(32768), (17u << 20) + 24 * 32768);
	assert_int_equal(stream_state_max(4u << 20), STREAM_STATE_MAX);
	assert_int_equal(stream_state_max(UINT64_MAX), STREAM_STATE_MAX);
}

static void test_frames_stay_within_the_domain(void **state)
{
	uint64_t frame[2];
	struct stream_run run[2];
	uint32_t n;
	struct buf b = BUF_INIT(64);

	buf_u64(&b, FRAMES - 1);
	buf_u64(&b, FRAMES);
	assert_int_equal(stream_frames_decode(b.data, 1, FRAMES, frame), 0);
	assert_int_equal(stream_frames_decode(b.data, 2, FRAMES, frame), -ERANGE);
	buf_free(&b);

	static const struct { uint64_t first, count; int rc; } runs[] = {
		{ 0, FRAMES, 0 }, { FRAMES - 1, 1, 0 }, { FRAMES - 1, 2, -ERANGE }, { FRAMES, 1, -ERANGE }, { 0, 0, -ERANGE },
		{ 1, UINT64_MAX, -ERANGE }, { UINT64_MAX, 1, -ERANGE },
	};

	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		buf_u64(&b, 1);
		buf_u64(&b, runs[i].first);
		buf_u64(&b, runs[i].count);
		assert_int_equal(stream_zeros_decode(b.data, (uint32_t)b.len, FRAMES, run, &n), runs[i].rc);
		buf_free(&b);
	}
}

static void test_small_records_round_trip(void **state)
{
	struct stream_accept a = { .version = 1, .connections = 4, .frames = 1ull << 40, .token = "0123456789abcde" }, a2;
	struct stream_done d = { .run_ns = 123456789, .status = 5, .text = "why" }, d2;
	struct stream_preamble p = { .version = 1, .further = true, .token = "fedcba987654321" }, p2;
	uint8_t raw[STREAM_PREAMBLE_BYTES];
	struct buf b = BUF_INIT(4096);
	char text[16];

	stream_accept_encode(&b, &a);
	assert_int_equal(stream_accept_decode(b.data, b.len, &a2), 0);
	assert_memory_equal(&a2.token, a.token, sizeof(a.token));
	assert_int_equal(a2.frames, a.frames);
	assert_int_equal(stream_accept_decode(b.data, b.len - 1, &a2), -EBADMSG);
	buf_free(&b);
	stream_done_encode(&b, &d);
	assert_int_equal(stream_done_decode(b.data, b.len, &d2), 0);
	assert_string_equal(d2.text, "why");
	assert_int_equal(stream_done_decode(b.data, 15, &d2), -EBADMSG);
	buf_free(&b);
	stream_preamble_encode(raw, &p);
	assert_int_equal(stream_preamble_decode(raw, &p2), 0);
	assert_true(p2.further);
	for (int i = 0; i < 16; i++) {
		raw[i] ^= 0x40;
		if (i != 8 && i != 9)        /* those hold the version: any but 0 is one we may come to know */
			assert_int_equal(stream_preamble_decode(raw, &p2), -EBADMSG);
		raw[i] ^= 0x40;
	}
	stream_text_decode((const uint8_t *)"a\033[31m\n\xff z and more than fits", 26, text, sizeof(text));
	assert_string_equal(text, "a?[31m?? z and ");
}

static void test_checks_in_sessions(void **state)
{
	static const uint8_t key[STREAM_TOKEN_BYTES] = "0123456789abcde";
	struct stream_digest a, b;
	uint8_t x[STREAM_DIGEST_BYTES], y[STREAM_DIGEST_BYTES];

	assert_int_equal(0, stream_digest_init(&a, key));
	assert_int_equal(0, stream_digest_init(&b, key));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(0, stream_digest_add(&a, "page", 4));
		assert_int_equal(0, stream_digest_add(&b, "page", 4));
		assert_int_equal(0, stream_digest_end(&a, x));
		assert_int_equal(0, stream_digest_end(&b, y));
		assert_memory_equal(x, y, sizeof(x));
		assert_int_equal(0, stream_digest_next(&a));
		assert_int_equal(0, i == 2 ? stream_digest_session(&b, 1) : stream_digest_next(&b));
	}
	/* what a session carried says nothing in another one */
	assert_int_equal(0, stream_digest_add(&a, "page", 4));
	assert_int_equal(0, stream_digest_add(&b, "page", 4));
	assert_int_equal(0, stream_digest_end(&a, x));
	assert_int_equal(0, stream_digest_end(&b, y));
	assert_memory_not_equal(x, y, sizeof(x));
	stream_digest_free(&a);
	stream_digest_free(&b);
}

static void test_resume_and_join(void **state)
{
	struct stream_resume r = { .attempt = 77, .session = 3, .round = 9 }, back;
	uint8_t got[STREAM_TOKEN_BYTES], eight[8];
	struct buf b = BUF_INIT(64);
	uint32_t v;

	memset(r.token, 'k', sizeof(r.token));
	stream_resume_encode(&b, &r);
	assert_int_equal(0, stream_resume_decode(b.data, b.len, &back));
	assert_memory_equal(&r, &back, sizeof(r));
	assert_int_equal(-EBADMSG, stream_resume_decode(b.data, b.len - 1, &back));
	b.data[24] = 0;		/* session 0 is no other session */
	assert_int_equal(-EBADMSG, stream_resume_decode(b.data, b.len, &back));
	assert_int_equal(0, stream_join_decode(b.data, 16, got, &v));
	assert_int_equal(0, v);
	assert_int_equal(-EBADMSG, stream_join_decode(b.data, 20, got, &v));
	buf_free(&b);
	stream_u32_encode(eight, 0x01020304);
	assert_int_equal(0, stream_u32_decode(eight, &v));
	assert_int_equal(0x01020304, v);
	eight[7] = 1;
	assert_int_equal(-EBADMSG, stream_u32_decode(eight, &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checks_in_sessions),
		cmocka_unit_test(test_resume_and_join),
		cmocka_unit_test(test_file_is_read_as_memory_is),
		cmocka_unit_test(test_zeros_are_seen_where_they_lie),
		cmocka_unit_test(test_holes_stay_holes_for_an_ordinary_user),
		cmocka_unit_test(test_what_is_seen_to_be_zero_is_not_copied),
		cmocka_unit_test(test_memory_arrives_as_it_was),
		cmocka_unit_test(test_sampled_pages),
		cmocka_unit_test(test_zeros_leave_holes_alone),
		cmocka_unit_test(test_zeros_clear_what_came_alone),
		cmocka_unit_test(test_zeros_clear_no_neighbour),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_every_flipped_bit_is_refused),
		cmocka_unit_test(test_lost_and_repeated_records_are_noticed),
		cmocka_unit_test(test_what_is_owed_and_asked_for), cmocka_unit_test(test_accept_says_what_the_copy_can),
		cmocka_unit_test(test_headers_are_bounded),
		cmocka_unit_test(test_state_is_bounded_by_the_guest),
		cmocka_unit_test(test_frames_stay_within_the_domain),
		cmocka_unit_test(test_small_records_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
