/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile target: the source's side of a move, or of a page service, from ANSWER to DONE, reads the fuzzer's octets.  All of migrated's
 * source code runs; network, TLS and the worker's sockets are replaced (octet_link.c, and the local daemons here, who always say yes).
 *
 * Whatever the target says: nothing crashes, memory stays bounded, the guest that was paused is handed over or let go, it ends.
 */
#include "config.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/msg.h"
#include "migrated/move_source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/octet_link.h"
#include "tests/fuzz/worker_double.h"

#define RAM 70u                      /* two words of bitmap, the second not full */
#define SPECIAL 8u
#define FRAMES (RAM + SPECIAL)
#define TICKS_MAX 20000u             /* nothing takes that many turns: it never ends */

static struct {
	int ram, bitmap, state, code, channel;
	SSL_CTX *ctx;
	SSL *ssl;
	json_t *move, *postcopy, *pages;
	/* of one input */
	unsigned ticks, dirty_rounds;
	bool paused, handed, pages_run;
} f;

/* --- the local daemons ---------------------------------------------------------------------------------------------------- */

int daemon_says(const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds)
{
	json_t *reply = NULL;
	int fds[2], n = 0;

	if (strcmp(op, "node-info") == 0)
		reply = json_pack("{s:b, s:[s]}", "ok", 1, "cpu_features", "sse2");
	else if (strcmp(op, "list") == 0)
		reply = json_pack("{s:[{s:s, s:s, s:{s:s, s:i}}]}", "domains", "uuid", "u", "copy", "handed", "config", "name", "demo", "memory_kib",
				  280);
	else if (strcmp(op, "info") == 0 || strcmp(op, "serve-open") == 0)
		reply = json_pack("{s:i, s:i}", "ram_pages", (int)RAM, "special_pages", (int)SPECIAL);
	if (strcmp(op, "migrate-open") == 0) {
		fds[n++] = dup(f.channel);
		fds[n++] = dup(f.ram);
	} else if (strcmp(op, "serve-open") == 0) {
		fds[n++] = dup(f.ram);
	} else if (strcmp(op, "dirty-round") == 0 || strcmp(op, "pause") == 0) {
		fds[n++] = dup(f.bitmap);
	} else if (strcmp(op, "state-save") == 0) {
		fds[n++] = dup(f.state);
	} else if (strcmp(op, "code-list") == 0) {
		fds[n++] = dup(f.code);
	}
	f.paused = f.paused || strcmp(op, "pause") == 0;
	f.handed = f.handed || strcmp(op, "mark-handed") == 0;
	for (int i = 0; i < n; i++)
		if (ret_fds)
			ret_fds[i] = fds[i];
		else
			close(fds[i]);
	if (ret_nfds)
		*ret_nfds = n;
	if (ret_reply)
		*ret_reply = reply ? reply : json_object();
	else
		json_decref(reply);
	return 0;
}

int worker_open(struct worker *w, struct err *err)
{
	move_policy_default(&w->policy);
	w->version = STREAM_VERSION;
	snprintf(w->own, sizeof(w->own), "n1");
	w->link.silence_ns = 3 * NS_PER_S;
	return 0;
}

int worker_serve(struct worker *w, json_t *request, struct err *err) { json_decref(request); return 0; }
int worker_dial(struct worker *w, unsigned which) { return octet_link_dial(); }

int worker_tick(struct worker *w, bool writing)
{
	if (++f.ticks > TICKS_MAX && f.pages_run)
		return -ECANCELED;       /* a page service stays as long as there is a target that lives */
	if (f.ticks > TICKS_MAX) {
		fprintf(stderr, "it goes on for ever\n");
		abort();
	}
	if (w->progress && f.ticks % 8 == 0)
		w->progress(w, w->progress_arg);
	return worker_overdue(w) ? -ETIMEDOUT : 0;
}

/* --- a target that does as it should: what there is to vary --------------------------------------------------------------- */

/* filled by seeds_make(); what is left of one is zeros behind its end */
static uint8_t seed_move[368], seed_resume[388], seed_postcopy[376], seed_refuses[112], seed_pages[216];
const struct fuzz_seed fuzz_seeds[] = {
	{ seed_move, sizeof(seed_move) }, { seed_resume, sizeof(seed_resume) }, { seed_postcopy, sizeof(seed_postcopy) },
	{ seed_refuses, sizeof(seed_refuses) }, { seed_pages, sizeof(seed_pages) }, { NULL, 0 },
};

struct writer { uint8_t *at, *begin; };

static void put(struct writer *w, const void *p, size_t n)
{
	if (n)
		memcpy(w->at, p, n);
	w->at += n;
}

static void put_record(struct writer *w, uint16_t type, const void *body, uint32_t n)
{
	stream_header_encode(w->at, type, n);
	w->at += STREAM_HEADER_BYTES;
	put(w, body, n);
}

static void put_text(struct writer *w, uint16_t type, const char *text) { put_record(w, type, text, (uint32_t)strlen(text)); }

static void put_u32(struct writer *w, uint16_t type, uint32_t v)
{
	uint8_t body[8];

	stream_u32_encode(body, v);
	put_record(w, type, body, 8);
}

static void put_pong(struct writer *w, uint64_t cookie)
{
	uint64_t body[2] = { cookie, 1700000000ull * NS_PER_S };

	put_record(w, STREAM_PONG, body, 16);
}

static void put_pongs(struct writer *w)
{
	for (uint64_t i = 0; i < PINGS; i++)
		put_pong(w, i);
}

static void put_accept(struct writer *w, uint16_t flags)
{
	struct stream_accept a = { .version = 2, .flags = flags, .connections = 1, .frames = FRAMES };
	struct buf b = BUF_INIT(64);

	put_text(w, STREAM_ANSWER, "{\"version\": 2, \"problems\": [], \"node\": \"n2\", \"codes\": 2, \"samples\": true}");
	stream_accept_encode(&b, &a);
	put_record(w, STREAM_ACCEPT, b.data, (uint32_t)b.len);
	buf_free(&b);
	put_pongs(w);
}

static void put_done(struct writer *w, uint32_t status, const char *text)
{
	struct stream_done d = { .run_ns = 1000000, .status = status };
	struct buf b = BUF_INIT(STREAM_TEXT_MAX + 64);

	put_record(w, STREAM_READY, NULL, 0);
	snprintf(d.text, sizeof(d.text), "%s", text);
	stream_done_encode(&b, &d);
	put_record(w, STREAM_DONE, b.data, (uint32_t)b.len);
	buf_free(&b);
}

/* The first connection's length is told where it is not all. */
static void seed_end(unsigned i, const struct writer *w, const uint8_t *first_end)
{
	size_t n = (size_t)((first_end ? first_end : w->at) - w->begin) - 5;

	w->begin[0] = (uint8_t)n;
	w->begin[1] = (uint8_t)(n >> 8);
	w->begin[2] = w->begin[3] = 0xff;
	if ((size_t)(w->at - w->begin) > fuzz_seeds[i].len) {
		fprintf(stderr, "seed %u has %td octets\n", i, w->at - w->begin);
		abort();
	}
}

/* Octet 4 says what runs: bits 0 and 1: a move, one by post-copy, a page service, a question; the others: how soon the target speaks. */
static struct writer seed_begin(unsigned i, uint8_t kind)
{
	struct writer w = { .begin = (uint8_t *)(uintptr_t)fuzz_seeds[i].data };

	w.begin[4] = kind;
	w.at = w.begin + 5;
	return w;
}

static void seeds_make(void)
{
	struct writer w = seed_begin(0, 0);
	uint8_t runs[24], resumed[8];
	const uint8_t *cut;

	put_accept(&w, 0);
	put_u32(&w, STREAM_ALIVE, 1);
	put_u32(&w, STREAM_ACK, 1);
	put_pongs(&w);
	put_done(&w, 0, "");
	seed_end(0, &w, NULL);

	w = seed_begin(1, 0);
	put_accept(&w, 0);
	cut = w.at;
	stream_u32_encode(resumed, 1);
	put_record(&w, STREAM_RESUMED, resumed, 8);
	put_u32(&w, STREAM_ACK, 1);
	put_pongs(&w);
	put_done(&w, 5, "no \x1b[2J disk");
	seed_end(1, &w, cut);

	w = seed_begin(2, 1);
	put_accept(&w, STREAM_POSTCOPY);
	put_u32(&w, STREAM_ACK, 1);
	put_u32(&w, STREAM_ACK, 2);
	put_pong(&w, PINGS);
	put_done(&w, 0, "");
	seed_end(2, &w, NULL);

	w = seed_begin(3, 3);
	put_text(&w, STREAM_ANSWER, "{\"version\": 2, \"problems\": [\"n2: no bridge \\u001b[1m\", 5, {}, []], \"node\": \"n2\"}");
	put_text(&w, STREAM_ABORT, "why");
	seed_end(3, &w, NULL);

	w = seed_begin(4, 2);
	put_text(&w, STREAM_ANSWER, "{\"version\": 2, \"problems\": [], \"pages\": \"ok\", \"token\": \"000102030405060708090a0b0c0d0e0f\"}");
	stream_runs_encode(runs, &(struct stream_run){ 3, 40 }, 1, STREAM_LAST);
	put_record(&w, STREAM_WANT, runs, 24);
	stream_request_encode(runs, (uint64_t[]){ 9, 60 }, 2);
	put_record(&w, STREAM_REQUEST, runs, 24);
	put_u32(&w, STREAM_ALIVE, 0);
	put_u32(&w, STREAM_PRESENT, 0);
	seed_end(4, &w, NULL);
}

/* --- set-up, and one input ---------------------------------------------------------------------------------------------------- */

static int file_of(const char *name, size_t size, int seals)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || (seals && fcntl(fd, F_ADD_SEALS, seals) < 0))
		abort();
	return fd;
}

static json_t *request_of(const char *op, const char *converge, int downtime_ms)
{
	json_t *options = json_pack("{s:i, s:i, s:s, s:i, s:i, s:i}", "connections", 1, "reconnect_s", 1, "converge", converge, "deadline_s", 20,
				    "target_downtime_ms", downtime_ms, "max_downtime_ms", downtime_ms);

	return json_pack("{s:s, s:s, s:i, s:i, s:s, s:s, s:i, s:o, s:{s:s}}", "op", op, "uuid", "u", "domid", 3, "attempt", 1, "target", "n2",
			 "address", "192.0.2.1", "port", 8002, "options", options, "config", "uuid", "u");
}

/* A seed that does not get to its end fuzzes its first records only. */
static void seeds_check(void)
{
	static const uint16_t last[] = { STREAM_GO, STREAM_GO, STREAM_GO, STREAM_HELLO, STREAM_PUSH };

	for (unsigned i = 0; fuzz_seeds[i].data; i++)
		if (LLVMFuzzerTestOneInput(fuzz_seeds[i].data, fuzz_seeds[i].len) != 0 || !octet_link_sent(last[i])) {
			fprintf(stderr, "seed %u: no %s was sent\n", i, stream_type_name(last[i]));
			abort();
		}
}

__attribute__((constructor)) static void begin(void)
{
	/* a page of code, one in no frame that there is, and one whose blocks are not there */
	static const uint8_t code[8 + 26 + 26 + 24] = { 3, [16] = 3, [26] = 1, [42] = 0xff, [49] = 0x7f, [52] = 1, [68] = 6, [78] = 9 };
	static const uint8_t all[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f }, data[4096] = { 1 };

	f.ram = file_of("ram", FRAMES * STREAM_PAGE, F_SEAL_SHRINK | F_SEAL_GROW);
	f.bitmap = file_of("bitmap", 16, 0);
	f.state = file_of("state", 100, 0);
	f.code = file_of("code", sizeof(code), 0);
	f.channel = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (unsigned i = 0; i < FRAMES; i += 3)
		if (pwrite(f.ram, data, sizeof(data), (off_t)i * STREAM_PAGE) != sizeof(data))
			abort();
	if (pwrite(f.bitmap, all, sizeof(all), 0) != sizeof(all) || pwrite(f.code, code, sizeof(code), 0) != sizeof(code))
		abort();
	f.ctx = SSL_CTX_new(TLS_method());
	f.ssl = SSL_new(f.ctx);
	f.move = request_of("move", "throttle", 300);
	f.postcopy = request_of("move", "postcopy", 1);
	f.pages = request_of("pages", "no", 1);
	log_init("fuzz_source");
	qb_log_ctl(QB_LOG_BLACKBOX, QB_LOG_CONF_ENABLED, QB_FALSE);
	qb_log_ctl(QB_LOG_STDERR, QB_LOG_CONF_ENABLED, QB_FALSE);
	qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, QB_FALSE);
	seeds_make();
	seeds_check();
}

static int run_once(const uint8_t *data, size_t size, bool endless)
{
	struct worker w = { .control = -1, .hypervisord = -1, .ha_agentd = -1, .channel = -1, .dialed_fd = -1, .cancellable = true };
	unsigned kind = size > 4 ? data[4] % 4 : 0, patience = size > 4 ? 63 - data[4] / 4 : 0;
	uint8_t *octets = malloc(size > 5 ? size - 1 : 4);
	size_t n = size > 5 ? size - 1 : 4;

	if (!octets)
		return 1;
	memset(octets, 0, n);
	memcpy(octets, data, size < 4 ? size : 4);
	if (size > 5)
		memcpy(octets + 4, data + 5, size - 5);
	f.ticks = f.dirty_rounds = 0;
	f.pages_run = kind == 2;
	f.paused = f.handed = worker_replied = false;
	link_init(&w.link);
	octet_link_begin(octets, n, patience < 63 ? patience : 4, endless, f.ssl);
	if (kind == 2)
		pages_serve_run(&w, f.pages);
	else if (kind == 3) {
		json_t *question = json_copy(f.move);

		json_object_set_new(question, "op", json_string("preflight"));
		move_source_run(&w, question);
		json_decref(question);
	} else {
		move_source_run(&w, kind ? f.postcopy : f.move);
	}
	free(octets);
	/* a guest that was paused is handed over, or its channel was closed, which lets it go */
	if (!worker_replied || (f.paused && !f.handed && w.channel >= 0) || (octet_link_sent(STREAM_GO) && !f.handed))
		return 1;
	if (w.channel >= 0)
		close(w.channel);
	return 0;
}

/* As it is, and from a target that says behind it that it lives, without end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_once(data, size, true) || run_once(data, size, false);
}
