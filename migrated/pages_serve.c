/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pages_serve.c - the source's end of a page service (docs/specs/migration-stream.md, "Post-copy"): the memory of a copy that stands
 * still for good, given to the node where its guest runs already.
 *
 *	connect → serve-open → TLS → HELLO / ANSWER → WANT … → PUSH, what is asked for first → PRESENT → pages-served
 *
 * It keeps nothing but what the target said it wants: when connection or worker end, migrated begins another, and the target says it
 * again.  It writes no guest memory and decides nothing: the copy's end is ha-agentd's, once the copy serves nobody any more.
 */
#include "config.h"
#include "migrated/migrate_worker.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/deadlines.h"
#include "lib/hold.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "lib/zero_page.h"
#include "migrated/stream_digest.h"

#define DEFAULT_PORT 8002
#define TARGETS_MAX 8
#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define UNSENT_MAX (128u << 10)      /* octets in the socket's buffer that an urgent page may have to wait behind */
#define LOOK_MAX 512u                /* frames looked at for a batch */
#define URGENT_MAX 256u
#define IDLE_MS 100
#define SERVE_HEAR_MAX 256u
#define PUSHED_TIMES 4u              /* all of the guest: once, what was asked for just as it went, and what the target has to ask for again */

struct serve {
	struct worker *w;
	const char *uuid, *target;
	json_int_t domid, attempt;
	int ram_fd;
	uint64_t frames;                 /* of RAM: special ones went before the guest ran */
	uint64_t *want;
	uint64_t left, total, at;        /* total: that the move owed, to services before this one too; at: where the background goes on */
	uint64_t urgent[URGENT_MAX];
	unsigned nr_urgent;
	bool started, exhausted, over;
	uint32_t why;                    /* PRESENT's */
	struct stream_digest digest;
	uint8_t page[STREAM_PUSH_PAGES * STREAM_PAGE];
	uint8_t record[STREAM_HEADER_BYTES + 8 + STREAM_PUSH_PAGES * (8 + STREAM_PAGE) + STREAM_DIGEST_BYTES];
	uint64_t begin_ns, heard_ns, heard_bytes, pushed, requested;
	uint64_t bandwidth;              /* octets a second of the background; 0: no cap */
	uint64_t background;             /* octets it has sent */
};

/* --- meeting the target -------------------------------------------------------------------------------------------------------- */

static int parse_request(struct serve *s, const json_t *q, struct err *err)
{
	s->uuid = json_string_value(json_object_get(q, "uuid"));
	s->target = json_string_value(json_object_get(q, "target"));
	s->domid = json_integer_value(json_object_get(q, "domid"));
	s->attempt = json_integer_value(json_object_get(q, "attempt"));
	s->bandwidth = (uint64_t)json_integer_value(json_object_get(q, "bandwidth_mbs")) * 1000000;
	s->total = (uint64_t)json_integer_value(json_object_get(q, "owed_pages"));
	return s->uuid && s->target ? 0 : err_set(err, -EINVAL, "pages: uuid and target are needed");
}

static int connect_target(struct serve *s, const json_t *q, struct err *err)
{
	char at[TARGETS_MAX][LINK_ADDRESS_MAX];
	const char *first = json_string_value(json_object_get(q, "address"));
	int port = (int)json_integer_value(json_object_get(q, "port")), n, rc = -ENOENT;
	const json_t *v;
	struct err ignored;
	size_t i;

	n = link_resolve(first && *first ? first : s->target, at, TARGETS_MAX, err);
	json_array_foreach(json_object_get(q, "addresses"), i, v)
		if (json_is_string(v) && n >= 0 && n < TARGETS_MAX) {
			int more = link_resolve(json_string_value(v), at + n, TARGETS_MAX - n, &ignored);

			n += more > 0 ? more : 0;
		}
	for (int k = 0; k < n && rc < 0; k++)
		rc = link_connect(&s->w->link, at[k], port > 0 ? port : DEFAULT_PORT, deadline(DL_CONNECT), err);
	return n < 0 ? n : rc;
}

static int open_memory(struct serve *s, struct err *err)
{
	int fds[MSG_MAX_FDS], nfds = 0, seals;
	json_t *reply = NULL;
	json_int_t ram;
	off_t size;
	int rc = worker_call(s->w, s->w->hypervisord, json_pack("{s:s, s:s, s:I}", "op", "serve-open", "uuid", s->uuid, "attempt", s->attempt),
			     NULL, 0, &reply, fds, &nfds, DL_DAEMON, err);

	ram = json_integer_value(json_object_get(reply, "ram_pages"));
	json_decref(reply);
	for (int i = 1; i < nfds; i++)
		close(fds[i]);
	if (rc < 0)
		return rc;
	s->ram_fd = nfds > 0 ? fds[0] : -1;
	seals = fcntl(s->ram_fd, F_GET_SEALS);
	size = lseek(s->ram_fd, 0, SEEK_END);
	if (ram < 1 || ram > (json_int_t)WORKER_FRAMES_MAX || seals < 0 || !(seals & F_SEAL_SHRINK) || size < ram * (off_t)STREAM_PAGE)
		return err_set(err, -EPROTO, "hypervisord: serve-open: the memory is not what it should be");
	s->frames = (uint64_t)ram;
	s->want = calloc((s->frames + 63) / 64, 8);
	return s->want ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int send_hello(struct serve *s, struct err *err)
{
	json_t *hello = json_pack("{s:[i,i], s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:{}}", "versions", (int)STREAM_VERSION_OLDEST,
				  (int)STREAM_VERSION, "haven", PACKAGE_VERSION, "mode", "pages", "source", s->w->own, "target", s->target,
				  "uuid", s->uuid, "domid", s->domid, "attempt", s->attempt, "config");
	char *text = hello ? json_dumps(hello, JSON_COMPACT) : NULL;
	int rc = text ? link_record(&s->w->link, STREAM_HELLO, text, (uint32_t)strlen(text)) : -ENOMEM;

	free(text);
	json_decref(hello);
	return rc < 0 ? worker_link_error(s->w, rc, err) : 0;
}

static int take_token(struct serve *s, const json_t *answer, struct err *err)
{
	const char *hex = json_string_value(json_object_get(answer, "token"));
	uint8_t token[STREAM_TOKEN_BYTES];
	unsigned byte;

	for (size_t i = 0; i < sizeof(token); i++) {
		if (!hex || strlen(hex) != 2 * sizeof(token) || sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return err_set(err, -EBADMSG, "%s: its ANSWER is malformed", s->target);
		token[i] = (uint8_t)byte;
	}
	return stream_digest_init(&s->digest, token) < 0 ? err_set(err, -ENOMEM, "out of memory") : 0;
}

static int read_answer(struct serve *s, struct err *err)
{
	struct stream_header hdr;
	uint8_t *body = NULL;
	char problems[600];
	json_error_t je;
	json_t *answer;
	const char *pages;
	struct worker_deadline none = worker_deadline(s->w, DL_PAGES_ANSWER, "its ANSWER");
	int rc = worker_next_record(s->w, &hdr, err);

	if (rc == 0 && hdr.type != STREAM_ANSWER)
		rc = err_set(err, -EBADMSG, "%s: ANSWER expected, %s came", s->target, stream_type_name(hdr.type));
	if (rc == 0)
		rc = worker_read_body(s->w, &hdr, &body, err);
	s->w->deadline = none;
	if (rc < 0)
		return rc;
	answer = json_loadb((const char *)body, hdr.length, 0, &je);
	free(body);
	pages = json_string_value(json_object_get(answer, "pages"));
	if (json_text_list(json_object_get(answer, "problems"), problems, sizeof(problems)) > 0)
		rc = err_set(err, -EREMOTEIO, "%s", problems);
	else if (pages && strcmp(pages, "gone") == 0)
		s->why = 1;
	else
		rc = pages ? take_token(s, answer, err) : err_set(err, -EPROTO, "%s: knows of no page service", s->target);
	json_decref(answer);
	return rc;
}

static int meet(struct serve *s, const json_t *q, struct err *err)
{
	struct worker *w = s->w;
	struct stream_preamble pre = { .version = STREAM_VERSION };
	unsigned unsent = UNSENT_MAX;
	int rc = worker_open(w, err);

	if (rc == 0)
		rc = connect_target(s, q, err);
	if (rc == 0 && setsockopt(w->link.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent)) < 0)
		rc = err_set(err, -errno, "TCP_NOTSENT_LOWAT: %s", strerror(errno));
	if (rc == 0)
		rc = link_preamble(&w->link, &pre, s->target, err);
	if (rc == 0)
		rc = open_memory(s, err);
	if (rc == 0)
		rc = worker_drop_root(w, err);
	if (rc == 0)
		rc = link_handshake(&w->link, w->tls, false, s->target, err);
	if (rc == 0)
		rc = send_hello(s, err);
	if (rc == 0)
		rc = read_answer(s, err);
	return rc == 0 ? worker_close_doors(w, err) : rc;
}

/* --- what the target says ----------------------------------------------------------------------------------------------------------- */

/* Before the guest stands still its memory is nobody else's business: a target that asks too early is wrong, or worse. */
static int stands_still(struct serve *s, struct err *err)
{
	json_t *reply = NULL, *d;
	const char *copy;
	int rc = worker_call(s->w, s->w->hypervisord, json_pack("{s:s, s:s}", "op", "list", "uuid", s->uuid), NULL, 0, &reply, NULL, NULL,
			     DL_DAEMON, err);

	if (rc < 0)
		return rc;
	d = json_array_get(json_object_get(reply, "domains"), 0);
	copy = json_string_value(json_object_get(d, "copy"));
	if (!copy || (strcmp(copy, "paused") != 0 && strcmp(copy, "handed") != 0) ||
	    (json_object_get(d, "attempt") && json_integer_value(json_object_get(d, "attempt")) != s->attempt))
		rc = err_set(err, -EPERM, "%s: asks for memory of a guest that is %s here", s->target, copy ? copy : "not");
	json_decref(reply);
	return rc;
}

static int take_want(struct serve *s, const uint8_t *body, uint32_t n, struct err *err)
{
	struct stream_run run[STREAM_ZEROS_MAX];
	uint32_t count;
	bool last;
	int rc = stream_runs_decode(body, n, s->frames, run, &count, &last);

	for (uint32_t i = 0; rc == 0 && i < count; i++)
		for (uint64_t f = run[i].first; f < run[i].first + run[i].count; f++) {
			if (s->want[f / 64] >> (f % 64) & 1)
				return -EBADMSG;       /* a set names each frame once */
			s->want[f / 64] |= 1ull << (f % 64);
			s->left++;
		}
	if (rc < 0 || !last)
		return rc;
	if (s->total < s->left)
		s->total = s->left;
	s->exhausted = false;
	rc = s->started ? 0 : stands_still(s, err);
	s->started = rc == 0;
	hold_at("served");
	return rc;
}

/* Each is sent, wanted or not: who waits for it has not got it.  What is more than a guest has threads for goes with the rest. */
static int take_request(struct serve *s, const uint8_t *body, uint32_t n)
{
	uint64_t frame[STREAM_REQUEST_MAX];
	uint32_t count;
	int rc = s->started ? stream_request_decode(body, n, s->frames, frame, &count) : -EBADMSG;

	for (uint32_t i = 0; rc == 0 && i < count && s->nr_urgent < URGENT_MAX; i++) {
		s->urgent[s->nr_urgent++] = frame[i];
		s->requested++;
	}
	return rc;
}

static int take_record(struct serve *s, struct err *err)
{
	struct stream_header hdr;
	uint8_t *body = NULL;
	int rc = worker_one_record(s->w, &hdr, err);

	if (rc < 0 || hdr.type == 0)
		return rc;
	/* before its body: other types may be long */
	if (hdr.type != STREAM_WANT && hdr.type != STREAM_REQUEST && hdr.type != STREAM_PRESENT)
		return err_set(err, -EBADMSG, "%s: %s does not belong there", s->target, stream_type_name(hdr.type));
	rc = worker_read_body(s->w, &hdr, &body, err);
	if (rc < 0)
		return rc;
	switch (hdr.type) {
	case STREAM_WANT:
		rc = take_want(s, body, hdr.length, err);
		break;
	case STREAM_REQUEST:
		rc = take_request(s, body, hdr.length);
		break;
	default:
		rc = stream_u32_decode(body, &s->why);
		s->over = rc == 0;
	}
	free(body);
	if (rc < 0 && !err->code)
		err_set(err, rc, "%s: sent a malformed or misplaced %s record", s->target, stream_type_name(hdr.type));
	return rc;
}

/* --- pages -------------------------------------------------------------------------------------------------------------------------- */

/* A record without its digest is in s->record, n octets of it. */
static int send_digested(struct serve *s, size_t n)
{
	int rc = stream_digest_add(&s->digest, s->record, n);

	if (rc == 0)
		rc = stream_digest_end(&s->digest, s->record + n);
	if (rc == 0)
		rc = link_write(&s->w->link, s->record, n + STREAM_DIGEST_BYTES);
	return rc == 0 ? stream_digest_next(&s->digest) : rc;
}

static int send_pages(struct serve *s, const uint64_t *frame, uint32_t count)
{
	uint32_t body = 8 + count * (8 + STREAM_PAGE);

	if (!count)
		return 0;
	stream_header_encode(s->record, STREAM_PUSH, body + STREAM_DIGEST_BYTES);
	stream_request_encode(s->record + STREAM_HEADER_BYTES, frame, count);
	memcpy(s->record + STREAM_HEADER_BYTES + 8 + 8 * count, s->page, (size_t)count * STREAM_PAGE);
	return send_digested(s, STREAM_HEADER_BYTES + body);
}

static int send_zeros(struct serve *s, const struct stream_run *run, uint32_t count)
{
	if (!count)
		return 0;
	stream_header_encode(s->record, STREAM_PUSH_ZEROS, 8 + 16 * count + STREAM_DIGEST_BYTES);
	stream_runs_encode(s->record + STREAM_HEADER_BYTES, run, count, 0);
	return send_digested(s, STREAM_HEADER_BYTES + 8 + 16 * count);
}

/* What a batch holds until it is sent. */
struct batch {
	uint64_t frame[STREAM_PUSH_PAGES];
	struct stream_run run[STREAM_PUSH_RUNS];
	uint32_t pages, runs;
};

static int add_frame(struct serve *s, struct batch *b, uint64_t f)
{
	uint8_t *to = s->page + (size_t)b->pages * STREAM_PAGE;
	uint64_t bit = 1ull << (f % 64);

	if (pread(s->ram_fd, to, STREAM_PAGE, (off_t)(f * STREAM_PAGE)) != (ssize_t)STREAM_PAGE)
		return -EIO;
	if (s->want[f / 64] & bit) {
		s->want[f / 64] &= ~bit;
		s->left--;
	}
	s->pushed++;
	if (!page_is_zero(to))
		b->frame[b->pages++] = f;
	else if (b->runs && b->run[b->runs - 1].first + b->run[b->runs - 1].count == f)
		b->run[b->runs - 1].count++;
	else
		b->run[b->runs++] = (struct stream_run){ f, 1 };
	return 0;
}

static bool is_full(const struct batch *b)
{
	return b->pages == STREAM_PUSH_PAGES || b->runs == STREAM_PUSH_RUNS;
}

static int send_batch(struct serve *s, const struct batch *b)
{
	int rc = send_pages(s, b->frame, b->pages);

	return rc == 0 ? send_zeros(s, b->run, b->runs) : rc;
}

static bool is_wanted(const struct serve *s, uint64_t f)
{
	return f < s->frames && s->want[f / 64] >> (f % 64) & 1;
}

/* What something waits for, and what lies behind it: whoever wanted the one will want the others.  The background goes on from there. */
static int push_urgent(struct serve *s)
{
	struct batch b = { .pages = 0 };
	uint64_t f = s->urgent[0];
	int rc = add_frame(s, &b, f);

	s->nr_urgent--;
	memmove(s->urgent, s->urgent + 1, s->nr_urgent * sizeof(s->urgent[0]));
	while (rc == 0 && !is_full(&b) && is_wanted(s, f + 1))
		rc = add_frame(s, &b, ++f);
	s->at = f + 1 < s->frames ? f + 1 : 0;
	return rc == 0 ? send_batch(s, &b) : rc;
}

static int push_background(struct serve *s)
{
	uint64_t before = s->w->link.bytes_out;
	struct batch b = { .pages = 0 };
	unsigned looked = 0;
	int rc = 0;

	while (rc == 0 && s->left && !is_full(&b) && looked < LOOK_MAX) {
		if (s->at >= s->frames)
			s->at = 0;
		if (s->at % 64 == 0 && !s->want[s->at / 64]) {
			s->at += 64;
			continue;
		}
		if (is_wanted(s, s->at)) {
			rc = add_frame(s, &b, s->at);
			looked++;
		}
		s->at++;
	}
	if (rc == 0)
		rc = send_batch(s, &b);
	s->background += s->w->link.bytes_out - before;
	return rc;
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------------ */

static double rate_mbs(const struct serve *s)
{
	uint64_t ns = link_now_ns() - s->begin_ns;

	return ns ? (double)s->w->link.bytes_out * 1e3 / (double)ns : 0;
}

static void send_progress(struct worker *w, void *arg)
{
	struct serve *s = arg;
	double owed = (double)s->left / 256, rate = rate_mbs(s);

	if (!s->started)
		return;
	worker_send_control(w, json_pack("{s:{s:s, s:f, s:i, s:I, s:f, s:f, s:f, s:f}}", "progress", "phase", "postcopy", "percent",
					 99.0 + (s->total ? 1.0 - (double)s->left / (double)s->total : 0), "rounds", 0, "bytes_sent",
					 (json_int_t)w->link.bytes_out, "rate_mbs", rate, "eta_s", rate > 0 ? owed * 1.048576 / rate : -1.0,
					 "throttle_percent", 0.0, "owed_mib", owed));
}

/* Nanoseconds that the background still has to wait for its cap. */
static uint64_t pace_ns(const struct serve *s)
{
	double due, now = (double)(link_now_ns() - s->begin_ns);

	if (!s->bandwidth)
		return 0;
	due = (double)s->background * 1e9 / (double)s->bandwidth;
	return due > now ? (uint64_t)(due - now) : 0;
}

static bool has_room(const struct serve *s)
{
	struct pollfd p = { .fd = s->w->link.fd, .events = POLLOUT };

	return poll(&p, 1, 0) > 0 && p.revents & POLLOUT;
}

/* Nothing to send, or no room for it. */
static void wait_for_something(struct serve *s, uint64_t pace)
{
	bool pushes = s->left && !pace;
	struct pollfd p[2] = { { .fd = s->w->link.fd, .events = (short)(POLLIN | (pushes ? POLLOUT : 0)) },
			       { .fd = s->w->control, .events = POLLIN } };
	int ms = pace && pace / NS_PER_MS < IDLE_MS ? (int)(pace / NS_PER_MS) + 1 : IDLE_MS;

	link_poll(p, 2, ms, &s->heard_ns);
}

static int hear(struct serve *s, struct err *err)
{
	uint64_t now = link_now_ns();
	int rc = 0;

	/* a target that talks without end is heard a little at a time */
	for (unsigned i = 0; rc == 0 && i < SERVE_HEAR_MAX && !s->over && link_readable(&s->w->link); i++)
		rc = take_record(s, err);
	if (s->w->link.bytes_in != s->heard_bytes)
		s->heard_ns = now;
	s->heard_bytes = s->w->link.bytes_in;
	if (rc == 0 && now - s->heard_ns > s->w->link.silence_ns)
		rc = worker_link_error(s->w, -ETIMEDOUT, err);
	return rc;
}

static int turn(struct serve *s, struct err *err)
{
	uint64_t pace = s->left ? pace_ns(s) : 0;
	int rc;

	if (s->pushed / PUSHED_TIMES > s->frames)
		return err_set(err, -EBADMSG, "%s: wants the same pages again and again", s->target);
	if (s->nr_urgent) {
		rc = push_urgent(s);
	} else if (s->started && s->left && !pace && has_room(s)) {
		rc = push_background(s);
	} else if (s->started && !s->left && !s->exhausted) {
		s->exhausted = true;
		rc = link_record(&s->w->link, STREAM_EXHAUSTED, NULL, 0);
	} else {
		wait_for_something(s, pace);
		rc = worker_tick(s->w, false);
	}
	if (rc == 0)
		rc = worker_tick(s->w, false);
	return rc < 0 ? worker_link_error(s->w, rc, err) : 0;
}

static int serve(struct serve *s, struct err *err)
{
	int rc = 0;

	s->begin_ns = s->heard_ns = link_now_ns();
	s->w->alive = true;
	s->w->progress_arg = s;
	s->w->progress = send_progress;
	worker_send_control(s->w, json_pack("{s:b}", "serving", 1));
	while (rc == 0 && !s->over) {
		rc = hear(s, err);
		if (rc == 0 && !s->over)
			rc = turn(s, err);
	}
	return rc;
}

/* The target has it all, or its guest is no more: the copy here serves nobody. */
static void served(struct serve *s)
{
	struct worker *w = s->w;
	struct err err = { 0 };

	if (worker_call(w, w->hypervisord, json_pack("{s:s, s:s, s:I}", "op", "pages-served", "uuid", s->uuid, "attempt", s->attempt), NULL, 0,
			NULL, NULL, NULL, DL_DAEMON, &err) < 0)
		log_warn("%s: its copy here is not told that its pages are on %s: %s", s->uuid, s->target, err.text);
	/* two plain hosts have nobody else to end it */
	else if (w->ha_agentd < 0 && worker_call(w, w->hypervisord, json_pack("{s:s, s:I, s:s, s:[s]}", "op", "destroy", "domid", s->domid,
			"reason", "migrated", "expect", "handed"), NULL, 0, NULL, NULL, NULL, DL_DAEMON, &err) < 0)
		log_warn("%s: runs on %s, but its old copy here is not removed: %s", s->uuid, s->target, err.text);
}

static json_t *reply_of(const struct serve *s, int rc, const struct err *err)
{
	if (rc < 0)
		return json_pack("{s:b, s:s, s:s, s:s, s:s, s:I, s:I}", "ok", 0, "code", err_name(err->code), "error", err->text, "state", "handed",
				 "phase", "postcopy", "pages_pushed", (json_int_t)s->pushed, "frames", (json_int_t)s->frames);
	if (s->why)
		return json_pack("{s:b, s:s, s:s, s:s, s:s}", "ok", 0, "code", "ENOENT", "error", "the guest ended at the target before all of its "
				 "memory had come", "state", "running-there", "phase", "postcopy");
	return json_pack("{s:b, s:I, s:I, s:f}", "ok", 1, "pages_pushed", (json_int_t)s->pushed, "pages_requested", (json_int_t)s->requested,
			 "postcopy_ms", (double)(link_now_ns() - s->begin_ns) / 1e6);
}

void pages_serve_run(struct worker *w, const json_t *request)
{
	struct serve *s = calloc(1, sizeof(*s));
	struct err err = { 0 };
	int rc = s ? 0 : err_set(&err, -ENOMEM, "out of memory");

	if (s) {
		s->w = w;
		s->ram_fd = -1;
		rc = parse_request(s, request, &err);
	}
	if (rc == 0)
		rc = meet(s, request, &err);
	if (rc == 0 && !s->why)
		rc = serve(s, &err);
	w->progress = NULL;
	if (rc == 0)
		served(s);
	else
		log_warn("%s: its pages are not served to %s: %s", s && s->uuid ? s->uuid : "?", s && s->target ? s->target : "?", err.text);
	if (rc == 0 && !s->why)
		log_info("%s: %s has all of its memory: %llu pages, %llu of them asked for", s->uuid, s->target, (unsigned long long)s->pushed,
			 (unsigned long long)s->requested);
	if (rc < 0)
		worker_send_abort(w, err.text);
	if (s) {
		worker_send_control(w, reply_of(s, rc, &err));
		if (s->ram_fd >= 0)
			close(s->ram_fd);
		stream_digest_free(&s->digest);
		free(s->want);
		free(s);
	}
}
