/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source_links.c - the source's connections: made at first, and made again when they break before the pause.
 *
 * All connections of a move are one session.  When one of them fails all are closed, the main one is made anew with RESUME, the others
 * join it, and the round goes on with what its bitmap still names: what was acknowledged is out of it.  Whoever owns the guest is not
 * touched by this: it is the same attempt, between the same two workers.
 */
#include "config.h"
#include "migrated/move_source.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/deadlines.h"
#include "lib/log.h"

#define AGAIN_MS 200                 /* between two tries */
#define LAST_WORD_NS (200 * NS_PER_MS)
#define FRUITLESS_MAX 3u              /* connections in a row over which nothing was acknowledged */
#define STRIKES 5u                   /* tries in a row that reached the node and met nobody who knows this move */

/* --- made at first --------------------------------------------------------------------------------------------------------- */

static int resolve(struct source *s, const char *address, struct err *err)
{
	int n = link_resolve(address, s->target_at + s->targets, (int)(SOURCE_TARGETS_MAX - s->targets), err);

	if (n > 0)
		s->targets += (unsigned)n;
	return n < 0 ? n : 0;
}

/* migrated connects later, when this worker may not any more, and to these addresses alone. */
static void tell_addresses(struct source *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->targets; i++)
		json_array_append_new(list, json_string(s->target_at[i]));
	worker_send_control(s->w, json_pack("{s:o, s:i}", "addresses", list, "port", s->port));
}

int source_connect(struct source *s, struct err *err)
{
	const json_t *more = json_object_get(s->request, "addresses"), *v;
	struct err ignored;
	size_t i;
	int rc = resolve(s, s->address, err);

	if (rc < 0)
		return rc;
	json_array_foreach(more, i, v)
		if (json_is_string(v) && strcmp(json_string_value(v), s->address) != 0 && s->targets < SOURCE_TARGETS_MAX)
			(void)resolve(s, json_string_value(v), &ignored);
	tell_addresses(s);
	rc = -ENOENT;
	for (unsigned k = 0; k < s->targets && rc < 0; k++)
		rc = link_connect(&s->w->link, s->target_at[k], s->port, deadline(DL_CONNECT), err);
	return rc;
}

/* A TCP connection that migrated made, up to TLS. */
static int dial(struct source *s, struct tls_link *l, unsigned which, struct err *err)
{
	struct stream_preamble pre = { .version = (uint16_t)s->w->version, .further = true };
	int fd = worker_dial(s->w, which), rc;

	if (fd == -ECANCELED)
		return err_set(err, fd, "cancelled");
	if (fd < 0)
		return err_set(err, fd, "%s port %d: cannot connect: %s", s->target_at[which], s->port, strerror(-fd));
	rc = link_adopt(l, fd);
	if (rc < 0) {
		close(fd);
		return err_set(err, rc, "%s: %s", s->target_at[which], strerror(-rc));
	}
	memcpy(pre.token, s->accept.token, sizeof(pre.token));
	rc = link_preamble(l, &pre, s->target_at[which], err);
	return rc < 0 ? rc : link_handshake(l, s->w->tls, false, s->target, err);
}

static int write_link(void *arg, const void *p, size_t n)
{
	return link_write(arg, p, n);
}

/* Anew, or again for a sender that has carried an earlier session. */
static int add_sender(struct source *s, struct tls_link *l, struct err *err)
{
	struct sender *n = &s->sender[s->links];
	int rc;

	n->s = s;
	n->link = l;
	n->main = s->links == 0;
	ledger_reset(&n->ledger);
	if (n->pages.batch)
		rc = page_source_session(&n->pages, s->session);
	else
		rc = page_source_init(&n->pages, NULL, s->ram_fd, s->frames, s->accept.token, write_link, l);
	n->pages.look = s->look;
	n->pages.digest.samples = s->samples;
	if (rc == 0 && s->session && n->pages.digest.session != s->session)
		rc = page_source_session(&n->pages, s->session);
	if (rc < 0)
		return err_set(err, -ENOMEM, "out of memory");
	s->links++;
	return 0;
}

static int further_tick(void *arg, bool writing)
{
	struct sender *n = arg;

	/* the main connection's thread waits for this one: the deadline is looked at here, too */
	return atomic_load(&n->s->failed) ? -ECONNABORTED : worker_overdue(n->s->w) ? -ETIMEDOUT : 0;
}

static int send_join(struct source *s, struct tls_link *l)
{
	uint8_t body[STREAM_TOKEN_BYTES + 8];

	memcpy(body, s->accept.token, STREAM_TOKEN_BYTES);
	stream_u32_encode(body + STREAM_TOKEN_BYTES, s->session);
	return link_record(l, STREAM_JOIN, body, s->accept.version >= STREAM_VERSION_RESUME ? sizeof(body) : STREAM_TOKEN_BYTES);
}

static int join_one(struct source *s, unsigned which, struct err *err)
{
	struct sender *n = &s->sender[s->links];
	int rc;

	if (!n->pages.batch)
		link_init(&n->own);
	else
		link_reset(&n->own);
	n->own.tick = NULL;
	n->own.silence_ns = s->w->link.silence_ns;
	rc = dial(s, &n->own, which, err);
	if (rc == 0 && send_join(s, &n->own) < 0)
		rc = err_set(err, -EIO, "%s: a further connection broke off", s->target);
	n->own.tick = further_tick;
	n->own.tick_arg = n;
	if (rc == 0)
		rc = add_sender(s, &n->own, err);
	if (rc < 0)
		link_close(&n->own, false);
	return rc;
}

static int join_at(struct source *s, unsigned which, struct err *err)
{
	int rc;

	s->links = 0;
	rc = add_sender(s, &s->w->link, err);
	while (rc == 0 && s->links < s->accept.connections)
		rc = join_one(s, which, err);
	return rc;
}

int source_join_main(struct source *s, struct err *err)
{
	s->links = 0;
	return add_sender(s, &s->w->link, err);
}

int source_join_links(struct source *s, struct err *err)
{
	return join_at(s, 0, err);
}

/* --- made again ------------------------------------------------------------------------------------------------------------- */

bool source_may_resume(const struct source *s, int rc)
{
	bool broken = false;

	for (unsigned i = 0; i < s->links; i++)
		broken = broken || s->sender[i].link->broken;
	return s->resumable && !s->paused && broken && rc != -ECANCELED && rc != -ECONNABORTED && rc != -ETIME && rc != -EBADMSG;
}

static int send_resume(struct source *s, struct err *err)
{
	struct stream_resume r = { .attempt = (uint64_t)s->attempt, .session = s->session, .round = s->precopy.round - s->in_round };
	struct buf b = BUF_INIT(64);
	int rc;

	memcpy(r.token, s->accept.token, sizeof(r.token));
	stream_resume_encode(&b, &r);
	rc = buf_ok(&b) ? link_record(&s->w->link, STREAM_RESUME, b.data, (uint32_t)b.len) : -ENOMEM;
	buf_free(&b);
	return rc < 0 ? worker_link_error(s->w, rc, err) : source_read_resumed(s, err);
}

static void close_links(struct source *s)
{
	s->w->alive = false;
	for (unsigned i = 1; i < s->links; i++)
		link_reset(&s->sender[i].own);
	link_reset(&s->w->link);
	atomic_store(&s->failed, 0);
}

static int resume_at(struct source *s, unsigned which, struct err *err)
{
	int rc;

	s->session++;
	rc = dial(s, &s->w->link, which, err);
	if (rc == 0)
		rc = send_resume(s, err);
	if (rc == 0) {
		s->w->alive = true;
		rc = join_at(s, which, err);
	}
	return rc;
}

static int wait_a_little(struct source *s)
{
	for (int i = 0; i < AGAIN_MS / 20; i++) {
		int rc = worker_tick(s->w, false);

		if (rc < 0)
			return rc;
		usleep(20000);
	}
	return 0;
}

/* Did it reach the node, and nobody there knew this move?  A node that is not reached says nothing. */
static bool unknown_there(const struct source *s, int rc)
{
	return rc == -ECONNREFUSED || (rc < 0 && s->w->link.broken && s->w->link.ended);
}

/* One address after the other, until one connects, the target says no, or the time is over. */
static int try_again(struct source *s, uint64_t end_ns, struct err *err)
{
	unsigned strikes = 0;
	int rc;

	for (unsigned k = 0; ; k++) {
		rc = resume_at(s, k % s->targets, err);
		if (rc == 0 || rc == -ECONNABORTED || rc == -ECANCELED || rc == -EBADMSG)
			return rc;
		strikes = unknown_there(s, rc) ? strikes + 1 : 0;
		close_links(s);
		if (strikes >= STRIKES * s->targets || link_now_ns() >= end_ns)
			return rc;
		if (worker_channel_ended(s->w))
			return err_set(err, -ECONNRESET, "the domain's process ended");
		if (wait_a_little(s) < 0)
			return err_set(err, -ECANCELED, "cancelled");
	}
}

/* The bitmap still names what was sent and not acknowledged. */
static void take_back(struct source *s)
{
	s->told_pages = atomic_load(&s->done_pages);
	s->told_bytes = atomic_load(&s->done_bytes);
	precopy_resumed(&s->precopy, source_count(s, s->todo), link_now_ns());
}

/* A target that ended the move may have said so behind what it broke off; what it acknowledged counts too. */
static int last_word(struct source *s, struct err *err)
{
	uint64_t silence_ns = s->w->link.silence_ns;
	int rc = 0;

	s->w->link.silence_ns = LAST_WORD_NS;
	if (s->w->link.ssl)
		rc = source_hear(&s->sender[0], false, err);
	s->w->link.silence_ns = silence_ns;
	return rc;
}

int source_resume(struct source *s, struct err *err)
{
	uint64_t begin = link_now_ns(), end = begin + (uint64_t)s->w->policy.reconnect_s * NS_PER_S;
	uint64_t late = s->precopy.start_ns + s->cfg.deadline_ns;
	struct err why = *err;
	int rc;

	if (last_word(s, err) == -ECONNABORTED)
		return -ECONNABORTED;
	if (precopy_expired(&s->precopy, begin))
		return err_set(err, -ETIME, "%.500s, and the deadline passed; raise deadline_s", why.text);
	if (atomic_fetch_add(&s->fruitless, 1) >= FRUITLESS_MAX)
		return err_set(err, -EPROTO, "%.500s; %s was connected to %u times and acknowledged nothing", why.text, s->target, FRUITLESS_MAX);
	log_warn("%s: %s; connecting to %s again", s->uuid, why.text, s->target);
	source_enter_phase(s, PHASE_RECONNECT);
	close_links(s);
	rc = try_again(s, end < late ? end : late, err);
	if (rc < 0) {
		char last[400];

		snprintf(last, sizeof(last), "%.390s", err->text);
		if (rc == -ECANCELED || rc == -ECONNABORTED)
			return rc;
		return err_set(err, rc, "%.300s, and for %.0f s no connection could be made again: %s", why.text,
			       (double)(link_now_ns() - begin) / 1e9, last);
	}
	*err = (struct err){ 0 };
	take_back(s);
	s->resumed++;
	log_info("%s: connected to %s again after %.1f s, %llu pages of this round are to be sent", s->uuid, s->target,
		 (double)(link_now_ns() - begin) / 1e9, (unsigned long long)s->precopy.pending);
	source_enter_phase(s, PHASE_PRECOPY);
	return 0;
}
