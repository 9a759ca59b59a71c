/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pages_fetch.c - the target's end of a page service: between the source's worker and the hv-domain whose guest runs already.
 *
 * It holds no guest memory: what hv-domain lacks and waits for goes out as WANT and REQUEST, what comes is compared with its digest and
 * handed to hv-domain, which takes what is owed and nothing else.  When either side ends this one ends; the source begins another.
 */
#include "config.h"
#include "migrated/move_target.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "lib/deadlines.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "lib/proto/pages.h"

#define WAIT_MS 200
#define CLOSE_NS (2 * NS_PER_S)

_Static_assert(PAGES_DATA_MAX == STREAM_PUSH_PAGES && PAGES_RUNS_MAX == STREAM_ZEROS_MAX && PAGES_FAULTS_MAX == STREAM_REQUEST_MAX &&
	       STREAM_PUSH_RUNS <= PAGES_RUNS_MAX, "a record fits a packet and the other way round");

struct fetch {
	struct target *t;
	struct worker *w;
	int domain;                      /* hv-domain's socket */
	uint8_t token[STREAM_TOKEN_BYTES];
	struct stream_digest digest;
	uint8_t body[8 + STREAM_PUSH_PAGES * (8 + STREAM_PAGE) + STREAM_DIGEST_BYTES];
	uint8_t packet[PAGES_PACKET_MAX];
	bool over;
	uint64_t heard_ns, heard_bytes;
};

/* --- meeting ---------------------------------------------------------------------------------------------------------------------- */

static int take_greeting(struct fetch *f, struct err *err)
{
	struct pollfd p = { .fd = f->domain, .events = POLLIN };
	json_t *o = NULL;
	const char *why, *code;
	int rc;

	if (poll(&p, 1, deadline(DL_DAEMON)) <= 0 || msg_recv(f->domain, &o, NULL, NULL) <= 0)
		return err_set(err, -EPROTO, "hv-domain: takes no pages");
	why = json_string_value(json_object_get(o, "error"));
	code = json_string_value(json_object_get(o, "code"));
	rc = json_is_true(json_object_get(o, "ok")) ? 0 : err_set(err, code && err_from_name(code) ? -err_from_name(code) : -EPROTO, "%s",
								   why ? why : "hv-domain takes no pages");
	json_decref(o);
	return rc;
}

static int open_domain(struct fetch *f, struct err *err)
{
	int fds[MSG_MAX_FDS], nfds = 0;
	int rc = worker_call(f->w, f->w->hypervisord, json_pack("{s:s, s:s, s:I, s:s}", "op", "pages-open", "uuid", f->t->uuid, "attempt",
			     (json_int_t)f->t->attempt, "from", f->w->link.peer), NULL, 0, NULL, fds, &nfds, DL_DAEMON, err);

	for (int i = 1; i < nfds; i++)
		close(fds[i]);
	if (rc < 0)
		return rc;
	if (nfds < 1)
		return err_set(err, -EPROTO, "hypervisord: pages-open: no descriptor came");
	f->domain = fds[0];
	return take_greeting(f, err);
}

/* Did this attempt's guest run here?  Then what is not here any more has ended, and needs no pages. */
static bool ran_here(struct fetch *f)
{
	json_t *reply = NULL;
	struct err ignored;
	json_int_t last;
	int rc = worker_call(f->w, f->w->hypervisord, json_pack("{s:s, s:s}", "op", "activated", "uuid", f->t->uuid), NULL, 0, &reply, NULL, NULL,
			     DL_DAEMON, &ignored);

	last = json_integer_value(json_object_get(reply, f->w->standalone ? "started" : "attempt"));
	json_decref(reply);
	return rc == 0 && last > 0 && (uint64_t)last >= f->t->attempt;
}

static int send_answer(struct fetch *f, const char *pages, const char *problem, struct err *err)
{
	json_t *problems = json_array(), *answer;
	char hex[2 * STREAM_TOKEN_BYTES + 1], *text;
	int rc;

	for (unsigned i = 0; i < sizeof(f->token); i++)
		snprintf(hex + 2 * i, 3, "%02x", f->token[i]);
	if (problem)
		json_array_append_new(problems, json_string(problem));
	answer = json_pack("{s:i, s:o, s:s, s:s, s:s, s:s}", "version", (int)f->t->version, "problems", problems, "node", f->w->own, "haven",
			   PACKAGE_VERSION, "pages", pages, "token", hex);
	text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	rc = text ? link_record(&f->w->link, STREAM_ANSWER, text, (uint32_t)strlen(text)) : -ENOMEM;
	free(text);
	json_decref(answer);
	return rc < 0 ? worker_link_error(f->w, rc, err) : 0;
}

static int meet(struct fetch *f, struct err *err)
{
	struct err why = { 0 };
	int rc = open_domain(f, &why);

	if (rc == 0 && (RAND_bytes(f->token, sizeof(f->token)) != 1 || stream_digest_init(&f->digest, f->token) < 0))
		return err_set(err, -EIO, "no random numbers");
	if (rc == 0) {
		rc = send_answer(f, "ok", NULL, err);
		return rc == 0 ? worker_close_doors(f->w, err) : rc;
	}
	f->over = true;
	/* not here, or another copy that came later or was started here */
	if ((rc == -ENOENT || rc == -ESTALE || rc == -ECONNREFUSED) && ran_here(f))
		return send_answer(f, "gone", NULL, err);
	rc = send_answer(f, "no", why.text, err);
	return rc < 0 ? rc : err_set(err, why.code, "%s", why.text);
}

/* --- from hv-domain to the source ------------------------------------------------------------------------------------------------- */

static int forward_owed(struct fetch *f, const uint8_t *body, size_t n, uint32_t count)
{
	struct stream_run run[PAGES_RUNS_MAX];
	uint8_t out[8 + 16 * PAGES_RUNS_MAX];

	if (count > PAGES_RUNS_MAX || n != count * sizeof(run[0]))
		return -EBADMSG;
	if (n)
		memcpy(run, body, n);
	stream_runs_encode(out, run, count, count ? 0 : STREAM_LAST);
	return link_record(&f->w->link, STREAM_WANT, out, 8 + 16 * count);
}

static int forward_faults(struct fetch *f, const uint8_t *body, size_t n, uint32_t count)
{
	uint64_t frame[PAGES_FAULTS_MAX];
	uint8_t out[8 + 8 * PAGES_FAULTS_MAX];

	if (count < 1 || count > PAGES_FAULTS_MAX || n != (size_t)count * 8)
		return -EBADMSG;
	memcpy(frame, body, n);
	stream_request_encode(out, frame, count);
	return link_record(&f->w->link, STREAM_REQUEST, out, 8 + 8 * count);
}

static int send_present(struct fetch *f, uint32_t why)
{
	uint8_t body[8];

	f->over = true;
	stream_u32_encode(body, why);
	return link_record(&f->w->link, STREAM_PRESENT, body, sizeof(body));
}

static int domain_ended(struct fetch *f, struct err *err)
{
	if (ran_here(f))
		return send_present(f, 1);
	return err_set(err, -ECONNRESET, "the copy on %s is gone", f->w->own);
}

static int take_packet(struct fetch *f, struct err *err)
{
	ssize_t n = recv(f->domain, f->packet, sizeof(f->packet), MSG_DONTWAIT);
	struct pages_hdr hdr;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < (ssize_t)sizeof(hdr))
		return domain_ended(f, err);
	memcpy(&hdr, f->packet, sizeof(hdr));
	switch (hdr.kind) {
	case PAGES_OWED:
		return hdr.count ? forward_owed(f, f->packet + sizeof(hdr), (size_t)n - sizeof(hdr), hdr.count) : -EBADMSG;
	case PAGES_OWED_END:
		return forward_owed(f, NULL, 0, 0);
	case PAGES_FAULT:
		return forward_faults(f, f->packet + sizeof(hdr), (size_t)n - sizeof(hdr), hdr.count);
	case PAGES_PRESENT:
		return send_present(f, 0);
	default:
		return -EBADMSG;
	}
}

/* --- from the source to hv-domain ------------------------------------------------------------------------------------------------- */

static int hand_on(struct fetch *f, uint32_t kind, uint32_t count, const void *body, size_t n)
{
	struct pages_hdr hdr = { kind, count };
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { (void *)(uintptr_t)body, n } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n ? 2 : 1 };
	ssize_t r;

	do
		r = sendmsg(f->domain, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	/* its end is heard where it is read */
	return r < 0 && errno != EPIPE && errno != ECONNRESET ? -errno : 0;
}

/* The record's own digest is its last octets: nothing of it goes on before they match. */
static int read_digested(struct fetch *f, const struct stream_header *hdr, uint32_t *ret_n)
{
	uint8_t h[STREAM_HEADER_BYTES], have[STREAM_DIGEST_BYTES];
	uint32_t n = hdr->length - STREAM_DIGEST_BYTES;
	int rc = hdr->length <= sizeof(f->body) ? link_read(&f->w->link, f->body, hdr->length) : -EMSGSIZE;

	stream_header_encode(h, hdr->type, hdr->length);
	if (rc == 0)
		rc = stream_digest_add(&f->digest, h, sizeof(h));
	if (rc == 0)
		rc = stream_digest_add(&f->digest, f->body, n);
	if (rc == 0)
		rc = stream_digest_end(&f->digest, have);
	if (rc == 0 && CRYPTO_memcmp(have, f->body + n, sizeof(have)) != 0)
		rc = -EILSEQ;
	*ret_n = n;
	return rc == 0 ? stream_digest_next(&f->digest) : rc;
}

static int take_push(struct fetch *f, uint32_t n)
{
	uint32_t count;
	int rc = stream_pages_count(f->body, n, &count);

	/* the table is little-endian, as hv-domain reads it here */
	return rc == 0 && count <= PAGES_DATA_MAX ? hand_on(f, PAGES_DATA, count, f->body + 8, n - 8) : -EBADMSG;
}

static int take_push_zeros(struct fetch *f, uint32_t n)
{
	struct stream_run run[STREAM_ZEROS_MAX];
	uint32_t count;
	int rc = stream_zeros_decode(f->body, n, UINT64_MAX, run, &count);

	return rc == 0 ? hand_on(f, PAGES_ZEROS, count, f->body + 8, n - 8) : rc;
}

static int take_record(struct fetch *f, struct err *err)
{
	struct stream_header hdr;
	uint32_t n;
	int rc = worker_one_record(f->w, &hdr, err);

	if (rc < 0 || hdr.type == 0)
		return rc;
	switch (hdr.type) {
	case STREAM_PUSH:
		rc = read_digested(f, &hdr, &n);
		return rc == 0 ? take_push(f, n) : rc;
	case STREAM_PUSH_ZEROS:
		rc = read_digested(f, &hdr, &n);
		return rc == 0 ? take_push_zeros(f, n) : rc;
	case STREAM_EXHAUSTED:
		return hand_on(f, PAGES_EXHAUSTED, 0, NULL, 0);
	default:
		return -EBADMSG;
	}
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------------ */

static int hear_source(struct fetch *f, struct err *err)
{
	uint64_t now = link_now_ns();
	int rc = 0;

	if (link_readable(&f->w->link))
		rc = take_record(f, err);
	if (f->w->link.bytes_in != f->heard_bytes)
		f->heard_ns = now;
	f->heard_bytes = f->w->link.bytes_in;
	if (rc == 0 && now - f->heard_ns > f->w->link.silence_ns)
		rc = -ETIMEDOUT;
	return rc;
}

static int turn(struct fetch *f, struct err *err)
{
	struct pollfd p[3] = { { .fd = f->domain, .events = POLLIN }, { .fd = f->w->link.fd, .events = POLLIN },
			       { .fd = f->w->control, .events = POLLIN } };
	int rc = 0;

	link_poll(p, 3, SSL_has_pending(f->w->link.ssl) ? 0 : WAIT_MS, &f->heard_ns);
	while (rc == 0 && !f->over && p[0].revents) {
		rc = take_packet(f, err);
		if (rc == 0)
			poll(p, 1, 0);
	}
	if (rc == 0 && !f->over)
		rc = hear_source(f, err);
	if (rc == 0)
		rc = worker_tick(f->w, false);
	return rc;
}

static int explain(struct fetch *f, int rc, struct err *err)
{
	const char *peer = f->w->link.peer;

	if (err->code)
		return rc;
	if (rc == -EBADMSG || rc == -ERANGE)
		return err_set(err, rc, "%s: a malformed or misplaced record of the page service", peer);
	if (rc == -EILSEQ)
		return err_set(err, rc, "%s: a page's digest does not match: something was lost or changed on the way", peer);
	return worker_link_error(f->w, rc, err);
}

/* The source hears PRESENT and closes; whoever closes first would cut it off. */
static void wait_for_close(struct fetch *f)
{
	uint8_t h[STREAM_HEADER_BYTES];

	uint64_t end = link_now_ns() + CLOSE_NS;

	f->w->link.silence_ns = CLOSE_NS;
	while (link_read(&f->w->link, h, sizeof(h)) == 0 && link_now_ns() < end)
		;
}

int pages_fetch_run(struct target *t, struct err *err)
{
	struct fetch *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return err_set(err, -ENOMEM, "out of memory");
	f->t = t;
	f->w = t->w;
	f->domain = -1;
	t->w->cancellable = true;
	rc = meet(f, err);
	f->heard_ns = link_now_ns();
	while (rc == 0 && !f->over) {
		rc = turn(f, err);
		if (rc < 0)
			explain(f, rc, err);
	}
	if (rc == 0)
		wait_for_close(f);
	if (f->domain >= 0)
		close(f->domain);
	stream_digest_free(&f->digest);
	free(f);
	return rc;
}
