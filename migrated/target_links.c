/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * target_links.c - the target's connections besides the main one, and how a session of them follows another.
 *
 * The token routes a connection here and grants nothing: what a connection may do it shows behind TLS, by the certificate of the node
 * that the move comes from, the token, the attempt and the session.  One that fails to is closed and costs the move nothing.
 *
 * A session ends with any of its connections.  Its threads are joined and its connections closed before RESUMED is sent, so nothing of it
 * can be written to the guest's memory behind what the next session brings.  The main thread alone switches; a thread only leaves the
 * authenticated connection in t->next.  The copy stays what it was, incoming, all the while.
 */
#include "config.h"
#include "migrated/move_target.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <openssl/crypto.h>

#include "lib/log.h"

#define ENDED_NS (5 * NS_PER_S)      /* a connection that was ended, not lost, comes again soon or never: its worker may be dead */

void target_links_init(struct target *t)
{
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->moved, NULL);
}

/* --- rounds ------------------------------------------------------------------------------------------------------------------- */

static void target_fail(struct target *t)
{
	pthread_mutex_lock(&t->lock);
	t->failed = true;
	pthread_cond_broadcast(&t->moved);
	pthread_mutex_unlock(&t->lock);
}

static bool all_reached(const struct target *t, uint32_t count)
{
	for (unsigned i = 0; i < t->links; i++)
		if (t->reached[i] < count)
			return false;
	return true;
}

int target_round_ended(struct target *t, unsigned index, uint32_t round)
{
	int rc = 0;

	pthread_mutex_lock(&t->lock);
	if (round != t->reached[index])
		rc = -EBADMSG;
	else
		t->reached[index]++;
	pthread_cond_broadcast(&t->moved);
	while (rc == 0 && !t->failed && !all_reached(t, round + 1)) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&t->moved, &t->lock, &until);
		if (index == 0) {
			pthread_mutex_unlock(&t->lock);
			rc = worker_tick(t->w, false);
			pthread_mutex_lock(&t->lock);
		}
	}
	if (t->failed && rc == 0)
		rc = -EPIPE;
	pthread_mutex_unlock(&t->lock);
	return rc;
}

int target_check(struct target *t, struct page_sink *sink, struct tls_link *link)
{
	uint8_t body[8 + STREAM_DIGEST_BYTES], ack[8];
	uint32_t serial = 0;
	int rc = t->version >= STREAM_VERSION_RESUME ? link_read(link, body, sizeof(body)) : -EBADMSG;

	if (rc == 0)
		rc = page_sink_check(sink, body, &serial);
	stream_u32_encode(ack, serial);
	return rc < 0 ? rc : link_record(link, STREAM_ACK, ack, sizeof(ack));
}

/* --- a connection's thread ------------------------------------------------------------------------------------------------------ */

static int further_tick(void *arg, bool writing)
{
	struct further *f = arg;

	/* one that has not shown what it is may be the next session's */
	return f->t->ending || (f->joined && f->t->failed) ? -ECONNABORTED : 0;
}

static bool is_joined(struct further *f)
{
	bool joined;

	pthread_mutex_lock(&f->t->lock);
	joined = f->joined;
	pthread_mutex_unlock(&f->t->lock);
	return joined;
}

static int take_join(struct further *f, const uint8_t *body, uint32_t n)
{
	struct target *t = f->t;
	uint8_t token[STREAM_TOKEN_BYTES];
	uint32_t session;
	int rc = stream_join_decode(body, n, token, &session);

	if (rc == 0 && CRYPTO_memcmp(token, t->token, sizeof(token)) != 0)
		rc = -EACCES;
	pthread_mutex_lock(&t->lock);
	if (rc == 0 && (session != t->session || t->joined + 1 >= t->links || t->failed))
		rc = -ESTALE;
	if (rc == 0) {
		f->index = ++t->joined;
		f->joined = true;
	}
	pthread_mutex_unlock(&t->lock);
	return rc;
}

static int take_resume(struct further *f, const uint8_t *body, uint32_t n)
{
	struct target *t = f->t;
	int rc = stream_resume_decode(body, n, &f->resume);

	if (rc == 0 && (CRYPTO_memcmp(f->resume.token, t->token, sizeof(t->token)) != 0 || f->resume.attempt != t->attempt))
		rc = -EACCES;
	pthread_mutex_lock(&t->lock);
	if (rc == 0 && (!t->reconnect_ns || f->resume.session <= t->session || (t->next && t->next->resume.session >= f->resume.session)))
		rc = -ESTALE;
	if (rc == 0) {
		f->resumes = true;
		t->next = f;
	}
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* TLS, and the record that says what this connection is for. */
static int further_meet(struct further *f)
{
	uint8_t h[STREAM_HEADER_BYTES], body[STREAM_TOKEN_BYTES + 16];
	struct stream_header hdr = { 0 };
	struct err err;
	int rc = link_handshake(&f->link, f->t->w->tls, true, NULL, &err);

	if (rc == 0 && strcmp(f->link.peer, f->t->source) != 0)
		rc = -EACCES;
	if (rc == 0)
		rc = link_read(&f->link, h, sizeof(h));
	if (rc == 0)
		rc = stream_header_decode(h, &hdr);
	if (rc == 0 && hdr.type != STREAM_JOIN && hdr.type != STREAM_RESUME)
		rc = -EBADMSG;
	if (rc == 0)
		rc = link_read(&f->link, body, hdr.length);
	if (rc < 0)
		return rc;
	return hdr.type == STREAM_JOIN ? take_join(f, body, hdr.length) : take_resume(f, body, hdr.length);
}

static int further_record(struct further *f)
{
	uint8_t h[STREAM_HEADER_BYTES], digest[STREAM_DIGEST_BYTES];
	struct stream_header hdr;
	uint32_t round = 0;
	int rc;

	/* between rounds it may be quiet here for long; the main link's heartbeat covers it */
	f->link.silence_ns = 3600 * NS_PER_S;
	rc = link_read(&f->link, h, sizeof(h));
	if (rc == 0)
		rc = stream_header_decode(h, &hdr);
	if (rc < 0)
		return rc;
	if (hdr.type == STREAM_CHECK)
		return target_check(f->t, &f->sink, &f->link);
	if (hdr.type == STREAM_END) {
		rc = link_read(&f->link, digest, sizeof(digest));
		if (rc == 0)
			rc = page_sink_verify(&f->sink, digest);
		f->ended = rc == 0;
		return rc;
	}
	rc = page_sink_record(&f->sink, &hdr, link_read_cb, &f->link, &round);
	if (rc == 0 && hdr.type == STREAM_ROUND_END)
		rc = target_round_ended(f->t, f->index, round);
	else if (rc == 0)
		target_paged(f->t);
	return rc;
}

static int further_data(struct further *f)
{
	struct target *t = f->t;
	int rc = page_sink_init(&f->sink, t->ram, t->frames, t->ram_fd, &t->map, t->token);

	f->sink.digest.samples = t->samples;
	if (rc == 0 && t->session)
		rc = page_sink_session(&f->sink, t->session);
	while (rc == 0 && !f->ended)
		rc = further_record(f);
	return rc;
}

static void *further_run(void *arg)
{
	struct further *f = arg;
	struct target *t = f->t;
	int rc = further_meet(f);

	if (rc == 0 && is_joined(f))
		rc = further_data(f);
	pthread_mutex_lock(&t->lock);
	f->rc = rc;
	if (rc < 0 && f->joined)
		t->failed = true;
	f->over = true;
	pthread_cond_broadcast(&t->moved);
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* --- the main thread: taking and ending them ------------------------------------------------------------------------------------- */

/* Its thread is over, or ends as its connection does. */
static void further_end(struct further *f)
{
	if (!f->used)
		return;
	if (f->link.fd >= 0)
		shutdown(f->link.fd, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	page_sink_free(&f->sink);
	link_close(&f->link, false);
	memset(f, 0, sizeof(*f));
}

/* Those that were none of ours, and former offers of a session. */
static void further_reap(struct target *t)
{
	for (unsigned i = 0; i < TARGET_SLOTS; i++) {
		struct further *f = &t->further[i];
		bool spent;

		pthread_mutex_lock(&t->lock);
		spent = f->used && f->over && !f->joined && t->next != f;
		pthread_mutex_unlock(&t->lock);
		if (spent)
			further_end(f);
	}
}

static int further_start(struct target *t, int fd)
{
	struct further *f = NULL;

	for (unsigned i = 0; i < TARGET_SLOTS && !f; i++)
		if (!t->further[i].used)
			f = &t->further[i];
	if (!f) {
		close(fd);
		return 0;
	}
	memset(f, 0, sizeof(*f));
	f->t = t;
	link_init(&f->link);
	f->link.silence_ns = t->w->link.silence_ns;
	f->link.tick = further_tick;
	f->link.tick_arg = f;
	if (link_adopt(&f->link, fd) < 0) {
		close(fd);
		return 0;
	}
	if (pthread_create(&f->thread, NULL, further_run, f) != 0) {
		link_close(&f->link, false);
		return -EAGAIN;
	}
	f->used = true;
	return 0;
}

void target_paged(struct target *t)
{
	atomic_store_explicit(&t->page_ns, link_now_ns(), memory_order_relaxed);
}

/*
 * The copy here has its memory whether pages come or not.  Words alone (ALIVE, PING, rounds with nothing in them, another session) keep it
 * no longer than a source may have to wait for its turn, and pages one by one no longer than the deadline that the source named.
 */
static int target_look_at_pages(struct target *t)
{
	uint64_t now = link_now_ns(), paged = atomic_load_explicit(&t->page_ns, memory_order_relaxed);
	uint64_t since = paged ? paged : t->accepted_ns;

	if (!t->accepted_ns)
		return 0;
	if (paged && !t->first_page_ns)
		t->first_page_ns = paged;
	if (now > since && now - since > t->w->idle_ns)
		t->w->deadline = (struct worker_deadline){ now - 1, (int)(t->w->idle_ns / 1000000), "the guest's next page" };
	else if (t->first_page_ns && now > t->first_page_ns && now - t->first_page_ns > t->whole_ns)
		t->w->deadline = (struct worker_deadline){ now - 1, (int)(t->whole_ns / 1000000), "the guest's memory, from its first page on," };
	else
		return 0;
	return -ETIMEDOUT;
}

int target_take_connections(struct worker *w, void *arg)
{
	struct target *t = arg;
	bool next;
	int rc = target_look_at_pages(t);

	if (rc < 0)
		return rc;
	if (w->nr_waiting)
		further_reap(t);
	while (rc == 0 && w->nr_waiting > 0)
		rc = further_start(t, w->waiting_fd[--w->nr_waiting]);
	pthread_mutex_lock(&t->lock);
	next = t->next != NULL;
	pthread_mutex_unlock(&t->lock);
	return rc == 0 && next && !t->paused ? -ERESTART : rc;
}

int target_wait_further(struct target *t)
{
	int rc = 0;

	for (unsigned i = 0; i < TARGET_SLOTS && rc == 0; i++) {
		struct further *f = &t->further[i];
		bool done = !f->used || !is_joined(f);

		while (!done && rc == 0) {
			pthread_mutex_lock(&t->lock);
			done = f->ended || f->rc < 0 || t->failed;
			pthread_mutex_unlock(&t->lock);
			if (!done)
				usleep(200);
			rc = worker_tick(t->w, false);
		}
		if (rc == 0 && f->used && is_joined(f) && !f->ended)
			rc = f->rc < 0 ? f->rc : -ECONNABORTED;
	}
	return rc;
}

/* --- another session ---------------------------------------------------------------------------------------------------------------- */

/* A further connection's failure that is not the connection's. */
static bool further_misbehaved(struct target *t)
{
	bool bad = false;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < TARGET_SLOTS; i++) {
		const struct further *f = &t->further[i];

		bad = bad || (f->used && f->joined && f->over && f->rc < 0 && f->rc != -ECONNABORTED && !f->link.broken);
	}
	pthread_mutex_unlock(&t->lock);
	return bad;
}

bool target_may_resume(struct target *t, int rc)
{
	if (!t->reconnect_ns || t->paused || rc == -ECANCELED || rc == -ECONNABORTED || worker_overdue(t->w) || further_misbehaved(t))
		return false;
	return rc == -ERESTART || t->w->link.broken || t->failed;
}

/* The connections of the session that is over; not who offers another one, nor who has not shown yet what it is. */
static void session_end(struct target *t)
{
	target_fail(t);
	for (unsigned i = 0; i < TARGET_SLOTS; i++)
		if (t->further[i].used && is_joined(&t->further[i]))
			further_end(&t->further[i]);
	t->w->alive = false;
	link_reset(&t->w->link);
	pthread_mutex_lock(&t->lock);
	t->joined = 0;
	pthread_mutex_unlock(&t->lock);
}

static int wait_for_next(struct target *t, uint64_t limit_ns)
{
	uint64_t end = link_now_ns() + limit_ns;

	for (;;) {
		int rc = worker_tick(t->w, false);

		if (rc == -ERESTART)
			return 0;
		if (rc < 0)
			return rc;
		if (worker_channel_ended(t->w))
			return -ECONNRESET;
		if (link_now_ns() > end)
			return -ETIMEDOUT;
		usleep(20000);
	}
}

/* t->next's connection becomes the main link; its thread has ended. */
static int session_begin(struct target *t)
{
	struct worker *w = t->w;
	struct further *f;
	uint8_t body[8];
	int rc;

	pthread_mutex_lock(&t->lock);
	f = t->next;
	t->next = NULL;
	t->session = f->resume.session;
	for (unsigned i = 0; i < WORKER_LINKS_MAX; i++)
		t->reached[i] = f->resume.round;
	t->failed = false;
	pthread_mutex_unlock(&t->lock);
	pthread_join(f->thread, NULL);
	w->link.fd = f->link.fd;
	w->link.ssl = f->link.ssl;
	memcpy(w->link.peer, f->link.peer, sizeof(w->link.peer));
	memset(f, 0, sizeof(*f));
	w->alive = true;
	rc = page_sink_session(&t->sink, t->session);
	stream_u32_encode(body, t->session);
	return rc < 0 ? rc : link_record(&w->link, STREAM_RESUMED, body, sizeof(body));
}

static bool was_ended(struct target *t)
{
	bool ended = t->w->link.ended;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < TARGET_SLOTS; i++)
		ended = ended || (t->further[i].used && t->further[i].joined && t->further[i].over && t->further[i].link.ended);
	pthread_mutex_unlock(&t->lock);
	return ended;
}

int target_resume(struct target *t, struct err *err)
{
	uint64_t limit = was_ended(t) && t->reconnect_ns > ENDED_NS ? ENDED_NS : t->reconnect_ns, begin = link_now_ns();
	struct err why = *err;
	int rc;

	session_end(t);
	if (!t->next)
		log_warn("domain %lld (%s): %s; waiting %.0f s for %s to connect again", t->domid, t->uuid, why.text, (double)limit / 1e9, t->source);
	rc = wait_for_next(t, limit);
	if (rc < 0)
		return err_set(err, rc, rc == -ECANCELED ? "cancelled" : "%.500s, and %s did not connect again within %.0f s", why.text, t->source,
			       (double)(link_now_ns() - begin) / 1e9);
	rc = session_begin(t);
	*err = (struct err){ 0 };
	log_info("domain %lld (%s): %s connected again, session %u", t->domid, t->uuid, t->source, t->session);
	return rc < 0 && !t->w->link.broken ? worker_link_error(t->w, rc, err) : 0;
}

void target_links_end(struct target *t)
{
	t->ending = true;
	target_fail(t);
	for (unsigned i = 0; i < TARGET_SLOTS; i++)
		further_end(&t->further[i]);
}
