/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A hostile source: records from the fuzzer's bytes into a small domain's memory, and every other decoder on the same bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrated/page_sink.h"
#include "tests/fuzz/fuzz.h"

#define FRAMES 64u

/* PAGES of one page at frame 3; ZEROS of two runs; ROUND_END; ALIVE, an unknown optional record, ABORT; a preamble */
static const uint8_t pages[8 + 8 + 8 + 4096] = { 5, 0, 0, 0, 0x10, 0x10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3 };
static const uint8_t zeros[] = { 6, 0, 0, 0, 40, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
	40, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
static const uint8_t others[] = { 1, 0x80, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x77, 0x80, 0, 0, 2, 0, 0, 0, 'h', 'i',
	13, 0, 0, 0, 3, 0, 0, 0, 'w', 'h', 'y' };
static const uint8_t preamble[32] = { 'H', 'A', 'V', 'E', 'N', 'M', 'I', 'G', 1, 0, 1 };

const struct fuzz_seed fuzz_seeds[] = {
	{ pages, sizeof(pages) }, { zeros, sizeof(zeros) }, { others, sizeof(others) }, { preamble, sizeof(preamble) }, { NULL, 0 },
};

static int take(void *arg, void *dst, size_t n)
{
	struct reader *r = arg;

	return reader_bytes(r, dst, n) ? 0 : -ENODATA;
}

static int check(struct page_sink *sink, struct reader *r)
{
	uint8_t body[8 + STREAM_DIGEST_BYTES];
	uint32_t serial;
	int rc = take(r, body, sizeof(body));

	return rc < 0 ? rc : page_sink_check(sink, body, &serial);
}

static void decode_alone(const uint8_t *data, size_t size)
{
	struct stream_accept a;
	struct stream_done d;
	char text[64];
	struct stream_resume resume;
	uint8_t token[STREAM_TOKEN_BYTES];
	uint32_t session, count;
	struct stream_run run[STREAM_ZEROS_MAX];
	uint64_t v, frame[STREAM_REQUEST_MAX];
	bool last;

	stream_runs_decode(data, (uint32_t)size, FRAMES, run, &count, &last);
	stream_request_decode(data, (uint32_t)size, FRAMES, frame, &count);
	stream_resume_decode(data, size, &resume);
	stream_join_decode(data, size, token, &session);
	stream_accept_decode(data, size, &a);
	stream_done_decode(data, size, &d);
	stream_u64_decode(data, size, &v);
	stream_text_decode(data, size, text, sizeof(text));
	if (size >= STREAM_PREAMBLE_BYTES) {
		struct stream_preamble p;

		stream_preamble_decode(data, &p);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct page_sink sink;
	uint8_t *ram = calloc(FRAMES, STREAM_PAGE);
	struct reader r;
	int rc = ram ? page_sink_init(&sink, ram, FRAMES, -1, NULL, (const uint8_t *)"0123456789abcdef") : -ENOMEM;

	decode_alone(data, size);
	reader_init(&r, data, size);
	while (rc == 0) {
		uint8_t h[STREAM_HEADER_BYTES];
		struct stream_header hdr;
		uint32_t round;

		rc = take(&r, h, sizeof(h));
		if (rc == 0)
			rc = stream_header_decode(h, &hdr);
		if (rc == 0 && (hdr.type == STREAM_PAGES || hdr.type == STREAM_ZEROS || hdr.type == STREAM_ROUND_END))
			rc = page_sink_record(&sink, &hdr, take, &r, &round);
		else if (rc == 0 && hdr.type == STREAM_CHECK)
			rc = check(&sink, &r);
		else if (rc == 0)
			rc = reader_view(&r, hdr.length) ? 0 : -ENODATA;
	}
	page_sink_free(&sink);
	free(ram);
	return 0;
}
