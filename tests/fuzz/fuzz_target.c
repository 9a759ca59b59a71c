/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile source: the target's side of a move, or of a page service, from HELLO to GO, reads the fuzzer's octets.  All of migrated's
 * target code runs (fuzz_stream has the records alone, at greater depth); network, TLS and the worker's sockets are replaced as in
 * fuzz_source.
 *
 * Whatever the source says: nothing crashes, a copy is activated for the very GO of a stream whose digest was right and is given up
 * otherwise, and it ends.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/msg.h"
#include "lib/proto/pages.h"
#include "migrated/move_target.h"
#include "migrated/page_source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/octet_link.h"
#include "tests/fuzz/worker_double.h"

#define RAM 70u
#define SPECIAL 8u
#define FRAMES (RAM + SPECIAL)
#define TICKS_MAX 20000u             /* nothing takes that many turns: it never ends */
#define ATTEMPT 7

static struct {
	int ram, domain;                 /* domain: the far end of a page service */
	SSL_CTX *ctx;
	SSL *ssl;
	/* of one input */
	unsigned ticks;
	size_t handed;                   /* to the domain of a page service, at most in one packet */
	bool incoming, loaded, activated;
} f;

/* The token, and so the digests' key, is the same each time. */
int RAND_bytes(unsigned char *buf, int num);
int RAND_bytes(unsigned char *buf, int num)
{
	memset(buf, 0, (size_t)num);
	return 1;
}

/* Connections that never come are waited for in no time. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
	return ETIMEDOUT;
}

/* --- the local daemons ---------------------------------------------------------------------------------------------------- */

static void domain_close(void)
{
	uint8_t packet[PAGES_PACKET_MAX];
	ssize_t n;

	while (f.domain >= 0 && (n = recv(f.domain, packet, sizeof(packet), 0)) > 0)
		f.handed = (size_t)n > f.handed ? (size_t)n : f.handed;
	if (f.domain >= 0)
		close(f.domain);
	f.domain = -1;
}

/* hv-domain's end of a page service has said all it will say before it is asked. */
static int pages_socket(void)
{
	struct { struct pages_hdr hdr; uint64_t first, frames; } owed = { { PAGES_OWED, 1 }, 3, 40 };
	struct pages_hdr end = { PAGES_OWED_END, 0 };
	int pair[2], size = 1 << 20;
	json_t *ok = json_pack("{s:b}", "ok", 1);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (msg_send(pair[1], ok, NULL, 0) < 0 || send(pair[1], &owed, sizeof(owed), 0) < 0 || send(pair[1], &end, sizeof(end), 0) < 0)
		abort();
	json_decref(ok);
	domain_close();
	f.domain = pair[1];
	return pair[0];
}

static json_t *reply_of(const char *op)
{
	if (strcmp(op, "node-info") == 0)
		return json_pack("{s:[s]}", "cpu_features", "sse2");
	if (strcmp(op, "list") == 0)
		return json_pack("{s:[]}", "domains");
	if (strcmp(op, "takes") == 0)
		return json_pack("{s:[]}", "problems");
	if (strcmp(op, "incoming-accept") == 0)
		return json_pack("{s:i}", "domid", 3);
	if (strcmp(op, "info") == 0)
		return json_pack("{s:i, s:i, s:b}", "ram_pages", (int)RAM, "special_pages", (int)SPECIAL, "postcopy", 1);
	return json_object();
}

int daemon_says(const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds)
{
	int n = 0;

	f.loaded = f.loaded || strcmp(op, "state-load") == 0;
	f.activated = f.activated || strcmp(op, "activate") == 0;
	if (ret_fds && strcmp(op, "incoming") == 0) {
		f.incoming = true;
		ret_fds[n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
		ret_fds[n++] = dup(f.ram);
	} else if (ret_fds && strcmp(op, "pages-open") == 0) {
		ret_fds[n++] = pages_socket();
	}
	if (ret_nfds)
		*ret_nfds = n;
	if (ret_reply)
		*ret_reply = reply_of(op);
	return 0;
}

int worker_open(struct worker *w, struct err *err)
{
	w->version = STREAM_VERSION;
	snprintf(w->own, sizeof(w->own), "n1");
	return 0;
}


/* Time hardly passes here: how long a source that lives keeps a copy that is being filled (migration_idle_s), and a page service, is counted in ticks. */
int worker_tick(struct worker *w, bool writing)
{
	if (++f.ticks > TICKS_MAX && w->cancellable)
		return -ECANCELED;
	if (f.ticks > 2 * TICKS_MAX) {
		fprintf(stderr, "it goes on for ever\n");
		abort();
	}
	return worker_overdue(w) ? -ETIMEDOUT : 0;
}

/* --- a source that does as it should: what there is to vary ------------------------------------------------------------------ */

#define SEED_MAX 8000
static uint8_t seed_move[SEED_MAX], seed_old[SEED_MAX], seed_postcopy[SEED_MAX], seed_pages[SEED_MAX], seed_asks[400];
const struct fuzz_seed fuzz_seeds[] = {
	{ seed_move, 6250 }, { seed_old, 6200 }, { seed_postcopy, 6330 }, { seed_pages, 4700 }, { seed_asks, sizeof(seed_asks) }, { NULL, 0 },
};

struct writer { uint8_t *at, *begin; };

static int put(void *arg, const void *p, size_t n)
{
	struct writer *w = arg;

	if ((size_t)(w->at - w->begin) + n > SEED_MAX)
		abort();
	if (n)
		memcpy(w->at, p, n);
	w->at += n;
	return 0;
}

static void put_record(struct writer *w, uint16_t type, const void *body, uint32_t n)
{
	uint8_t h[STREAM_HEADER_BYTES];

	stream_header_encode(h, type, n);
	put(w, h, sizeof(h));
	put(w, body, n);
}

static void put_hello(struct writer *w, const char *mode, unsigned newest, bool postcopy)
{
	char text[600];

	snprintf(text, sizeof(text), "{\"versions\":[1,%u],\"mode\":\"%s\",\"source\":\"n2\",\"target\":\"n1\",\"uuid\":\"u\",\"domid\":3,\"attempt\":%d,"
		 "\"config\":{\"name\":\"d\"},\"frames\":%u,\"connections\":1,\"reconnect_s\":1,\"cpu_features\":[\"sse2\"],\"postcopy\":%s,\"samples\":%s}", newest, mode,
		 ATTEMPT, FRAMES, postcopy ? "true" : "false", postcopy ? "true" : "false");
	put_record(w, STREAM_HELLO, text, (uint32_t)strlen(text));
}

static void put_u64s(struct writer *w, uint16_t type, uint64_t a, uint64_t b, uint32_t n)
{
	uint64_t body[2] = { a, b };

	put_record(w, type, body, n);
}

static void seed_move_make(uint8_t *seed, unsigned version, bool postcopy)
{
	static const uint8_t token[STREAM_TOKEN_BYTES];
	static uint8_t ram[FRAMES * STREAM_PAGE];
	uint8_t runs[24];
	struct page_source pages;
	struct writer w = { .at = seed, .begin = seed };

	memset(seed, 0xff, 4);           /* all of it is one connection's */
	w.at += 4;
	ram[5 * STREAM_PAGE] = 1;
	put_hello(&w, "move", version, postcopy);
	if (page_source_init(&pages, ram, -1, FRAMES, token, put, &w) < 0)
		abort();
	pages.digest.samples = postcopy;
	page_source_frames(&pages, 0, FRAMES);
	page_source_flush(&pages);
	if (version > 1)
		page_source_check(&pages, 1);
	page_source_round_end(&pages, 0);
	put_u64s(&w, STREAM_PING, 1, 0, 8);
	put_u64s(&w, STREAM_ALIVE, 1, 0, 8);
	if (version > 1)
		put_u64s(&w, STREAM_CODE, 0, 0, 8);
	if (postcopy) {
		stream_runs_encode(runs, &(struct stream_run){ 9, 3 }, 1, STREAM_LAST);
		page_source_other(&pages, STREAM_OWED, runs, sizeof(runs));
	}
	page_source_round_end(&pages, 1);
	put_u64s(&w, STREAM_PAUSED, 5, 6, version > 1 ? 16 : 8);
	page_source_state(&pages, "state", 5);
	page_source_end(&pages);
	put_u64s(&w, STREAM_PING, 3, 0, 8);
	put_u64s(&w, STREAM_GO, ATTEMPT, 0, 8);
	page_source_free(&pages);
}

static void seed_pages_make(void)
{
	static const uint8_t token[STREAM_TOKEN_BYTES];
	static uint8_t record[STREAM_HEADER_BYTES + 16 + STREAM_PAGE + STREAM_DIGEST_BYTES];
	struct writer w = { .at = seed_pages, .begin = seed_pages };
	struct stream_digest d = { 0 };
	uint64_t frame = 5;

	memset(seed_pages, 0xff, 4);
	w.at += 4;
	put_hello(&w, "pages", 2, false);
	stream_header_encode(record, STREAM_PUSH, sizeof(record) - STREAM_HEADER_BYTES);
	stream_request_encode(record + STREAM_HEADER_BYTES, &frame, 1);
	if (stream_digest_init(&d, token) < 0 || stream_digest_add(&d, record, sizeof(record) - STREAM_DIGEST_BYTES) < 0 ||
	    stream_digest_end(&d, record + sizeof(record) - STREAM_DIGEST_BYTES) < 0)
		abort();
	stream_digest_free(&d);
	put(&w, record, sizeof(record));
	put_record(&w, STREAM_EXHAUSTED, NULL, 0);
}

static void seeds_make(void)
{
	struct writer w = { .at = seed_asks, .begin = seed_asks };

	seed_move_make(seed_move, 2, false);
	seed_move_make(seed_old, 1, false);
	seed_move_make(seed_postcopy, 2, true);
	seed_pages_make();
	memset(seed_asks, 0xff, 4);
	w.at += 4;
	put_hello(&w, "preflight", 2, false);
}

/* A seed that does not get to its end fuzzes its first records only. */
static void seeds_check(void)
{
	static const uint16_t last[] = { STREAM_DONE, STREAM_DONE, STREAM_DONE, STREAM_WANT, STREAM_ANSWER };

	for (unsigned i = 0; fuzz_seeds[i].data; i++)
		if (LLVMFuzzerTestOneInput(fuzz_seeds[i].data, fuzz_seeds[i].len) != 0 || !octet_link_sent(last[i])) {
			fprintf(stderr, "seed %u: no %s was sent\n", i, stream_type_name(last[i]));
			abort();
		}
	/* the last page service's domain got its page */
	if (f.handed < sizeof(struct pages_hdr) + 8 + STREAM_PAGE)
		abort();
}

/* --- set-up, and one input ------------------------------------------------------------------------------------------------------ */

__attribute__((constructor)) static void begin(void)
{
	f.ram = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (f.ram < 0 || ftruncate(f.ram, FRAMES * STREAM_PAGE) < 0 || fcntl(f.ram, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		abort();
	f.domain = -1;
	f.ctx = SSL_CTX_new(TLS_method());
	f.ssl = SSL_new(f.ctx);
	log_init("fuzz_target");
	qb_log_ctl(QB_LOG_BLACKBOX, QB_LOG_CONF_ENABLED, QB_FALSE);
	qb_log_ctl(QB_LOG_STDERR, QB_LOG_CONF_ENABLED, QB_FALSE);
	qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, QB_FALSE);
	seeds_make();
	seeds_check();
}

static int run_once(const uint8_t *data, size_t size, bool endless)
{
	struct worker w = { .control = -1, .hypervisord = -1, .ha_agentd = 0, .channel = -1, .tcp = -1, .dialed_fd = -1, .cancellable = true };

	f.ticks = 0;
	f.incoming = f.loaded = f.activated = worker_replied = false;
	link_init(&w.link);
	octet_link_begin(data, size, 0, endless, f.ssl);
	move_target_run(&w);
	domain_close();
	/* no READY, no activation; and a copy that is not activated goes with its channel */
	if (!worker_replied || (f.activated && (!f.loaded || !octet_link_sent(STREAM_READY))) || (f.incoming && !f.activated && w.channel >= 0))
		return 1;
	if (w.channel >= 0)
		close(w.channel);
	return 0;
}

/* As it is, and from a source that says behind it that it lives, without end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_once(data, size, true) || run_once(data, size, false);
}
