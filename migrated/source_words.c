/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source_words.c - what the target says, as the source reads it.
 *
 * All of it comes from another machine: lengths are checked before anything is allocated, text is made fit for logs and terminals, and
 * what does not belong where it came ends the move.  Nothing here opens, forks or waits but by the link it was given, so that
 * tests/fuzz/fuzz_source.c drives the very same code.
 */
#include "config.h"
#include "migrated/move_source.h"

#include <stdlib.h>
#include <string.h>

#include "lib/deadlines.h"
#include "lib/log.h"

#define HEAR_MAX 64u
#define PROBLEMS_MAX 32u

/* --- one after the other -------------------------------------------------------------------------------------------------- */

/* Who waits for what the target does waits longer than the target: its own error comes first. */
static const struct { uint16_t type; int ms; const char *what; } patience[] = {
	{ STREAM_ANSWER, DL_ANSWER, "its ANSWER" }, { STREAM_ACCEPT, DL_ACCEPT, "making a copy to fill (ACCEPT)" },
	{ STREAM_PONG, DL_PONG, "a PONG" }, { STREAM_RESUMED, DL_RESUMED, "RESUMED" },
	{ STREAM_READY, DL_READY, "building the guest (READY)" }, { STREAM_DONE, DL_DONE, "letting the guest run (DONE)" },
};

static struct worker_deadline begin_waiting(const struct source *s, uint16_t type)
{
	struct worker *w = s->w;

	/* two plain hosts do more before they answer */
	if (type == STREAM_ANSWER && (s->word || w->standalone))
		return worker_deadline(w, s->word ? DL_WORD : DL_ANSWER_ALONE, "its ANSWER");
	for (size_t i = 0; i < sizeof(patience) / sizeof(patience[0]); i++)
		if (patience[i].type == type)
			return worker_deadline(w, patience[i].ms, patience[i].what);
	return w->deadline;
}

int source_expect(struct source *s, uint16_t type, uint8_t **ret_body, uint32_t *ret_n, struct err *err)
{
	struct worker_deadline former = begin_waiting(s, type);
	struct stream_header hdr;
	int rc = worker_next_record(s->w, &hdr, err);

	if (rc == 0 && hdr.type != type)
		rc = err_set(err, -EBADMSG, "%s: %s expected, %s came", s->target, stream_type_name(type), stream_type_name(hdr.type));
	if (rc == 0 && ret_body)
		rc = worker_read_body(s->w, &hdr, ret_body, err);
	if (rc == 0 && ret_n)
		*ret_n = hdr.length;
	s->w->deadline = former;
	return rc;
}

/* What a person reads: at most so much of it as a packet to migrated holds, and nothing that a terminal would obey. */
static json_t *clean_problems(const json_t *list)
{
	json_t *clean = json_is_array(list) ? json_array() : NULL;
	char safe[600];
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v)
		if (json_is_string(v) && json_array_size(clean) < PROBLEMS_MAX) {
			stream_text_decode((const uint8_t *)json_string_value(v), json_string_length(v), safe, sizeof(safe));
			json_array_append_new(clean, json_string(safe));
		}
	return clean;
}

int source_read_answer(struct source *s, struct err *err)
{
	uint8_t *body = NULL;
	uint32_t n = 0;
	char text[600];
	json_error_t je;
	json_t *answer;
	json_int_t version;
	int rc = source_expect(s, STREAM_ANSWER, &body, &n, err);

	if (rc < 0)
		return rc;
	answer = json_loadb((const char *)body, n, 0, &je);
	free(body);
	s->problems = clean_problems(json_object_get(answer, "problems"));
	s->copy = json_incref(json_object_get(answer, "copy"));
	version = json_integer_value(json_object_get(answer, "version"));
	s->codes = json_integer_value(json_object_get(answer, "codes")) >= 2 ? 2 : 1;
	s->samples = json_is_true(json_object_get(answer, "samples"));
	if (!s->problems || version < STREAM_VERSION_OLDEST || version > s->w->version)
		rc = err_set(err, -EBADMSG, "%s: its ANSWER is malformed", s->target);
	if (rc == 0 && s->word && !json_is_object(s->copy) && json_array_size(s->problems) == 0)
		rc = err_set(err, -EPROTONOSUPPORT, "%s does not say what copy it has; bring both hosts to the same release", s->target);
	json_decref(answer);
	if (rc == 0 && !s->only_ask && json_text_list(s->problems, text, sizeof(text)) > 0)
		rc = err_set(err, -EREMOTEIO, "%s", text);
	return rc;
}

int source_read_accept(struct source *s, struct err *err)
{
	uint8_t *body = NULL;
	uint32_t n = 0;
	int rc = source_expect(s, STREAM_ACCEPT, &body, &n, err);

	if (rc < 0)
		return rc;
	if (stream_accept_decode(body, n, &s->accept) < 0 || s->accept.frames != s->frames || s->accept.connections < 1 ||
	    s->accept.connections > s->want_links || s->accept.version < STREAM_VERSION_OLDEST || s->accept.version > s->w->version)
		rc = err_set(err, -EBADMSG, "%s: its ACCEPT does not fit the guest", s->target);
	if (rc == 0 && s->user_paused && s->accept.version < STREAM_VERSION_RESUME)
		rc = err_set(err, -EOPNOTSUPP, "%s speaks version %u of the migration stream and would let the paused guest run; unpause it first, or "
			     "upgrade %s", s->target, s->accept.version, s->target);
	if (rc == 0 && s->w->policy.converge == MOVE_CONVERGE_POSTCOPY) {
		s->cfg.postcopy = s->accept.version >= STREAM_VERSION_RESUME && s->accept.flags & STREAM_POSTCOPY;
		s->cfg.throttle = !s->cfg.postcopy;
		if (!s->cfg.postcopy)
			log_warn("%s: %s takes no post-copy; the guest is slowed down instead if need be", s->uuid, s->target);
	}
	s->resumable = rc == 0 && s->accept.version >= STREAM_VERSION_RESUME && s->w->policy.reconnect_s > 0;
	free(body);
	return rc;
}

int source_ping(struct source *s, uint64_t cookie, uint64_t *ret_theirs, struct err *err)
{
	struct reader r;
	uint8_t *body = NULL;
	uint32_t n = 0;
	int rc = link_record(&s->w->link, STREAM_PING, &cookie, 8);

	if (rc < 0)
		return worker_link_error(s->w, rc, err);
	rc = source_expect(s, STREAM_PONG, &body, &n, err);
	if (rc < 0)
		return rc;
	reader_init(&r, body, n);
	if (reader_u64(&r) != cookie)
		rc = err_set(err, -EBADMSG, "%s: PONG to no PING", s->target);
	*ret_theirs = reader_u64(&r);
	free(body);
	return rc;
}

int source_read_resumed(struct source *s, struct err *err)
{
	uint32_t session = 0;
	uint8_t *body = NULL;
	int rc = source_expect(s, STREAM_RESUMED, &body, NULL, err);

	if (rc < 0)
		return rc;
	rc = stream_u32_decode(body, &session);
	free(body);
	return rc < 0 || session != s->session ? err_set(err, -EBADMSG, "%s: RESUMED for another session", s->target) : 0;
}

int source_read_done(struct source *s, struct err *err)
{
	struct stream_done d;
	uint8_t *body = NULL;
	uint32_t n = 0;
	int rc = source_expect(s, STREAM_DONE, &body, &n, err);

	if (rc < 0)
		return rc;
	rc = stream_done_decode(body, n, &d);
	free(body);
	if (rc < 0)
		return err_set(err, rc, "%s: its DONE is malformed", s->target);
	if (d.status)
		return err_set(err, d.status < 4096 ? -(int)d.status : -EIO, "%s: could not let the guest run: %.600s", s->target, d.text);
	s->run_ns = d.run_ns;
	return 0;
}

/* --- heard in mid-round ---------------------------------------------------------------------------------------------------- */

static void settled(void *arg, const struct ledger_entry *e)
{
	struct source *s = arg;

	if (e->from < e->to)
		memset(s->todo + e->from, 0, (e->to - e->from) * 8);
	else
		s->zeros_known = true;
}

static int take_ack(struct sender *n)
{
	uint8_t body[8];
	uint32_t serial;
	int rc = link_read(n->link, body, sizeof(body));

	if (rc == 0)
		rc = stream_u32_decode(body, &serial);
	if (rc == 0)
		rc = ledger_ack(&n->ledger, serial, settled, n->s);
	if (rc < 0)
		return rc;
	atomic_fetch_add(&n->s->acks, 1);
	atomic_store(&n->s->fruitless, 0);
	return 0;
}

static int take_abort(struct sender *n, uint32_t length, struct err *err)
{
	uint8_t text[STREAM_TEXT_MAX];
	char safe[STREAM_TEXT_MAX + 1];
	int rc = link_read(n->link, text, length);

	stream_text_decode(text, rc == 0 ? length : 0, safe, sizeof(safe));
	return err_set(err, -ECONNABORTED, "%s: %.600s", n->s->target, safe);
}

static int hear_one(struct sender *n, struct err *err)
{
	uint8_t h[STREAM_HEADER_BYTES], body[8];
	struct stream_header hdr = { 0 };
	int rc = link_read(n->link, h, sizeof(h));

	if (rc == 0)
		rc = stream_header_decode(h, &hdr);
	if (rc == 0 && hdr.type == STREAM_ABORT)
		return take_abort(n, hdr.length, err);
	if (rc == 0 && hdr.type == STREAM_ALIVE)
		rc = link_read(n->link, body, sizeof(body));
	else if (rc == 0 && hdr.type == STREAM_ACK && n->s->resumable)
		rc = take_ack(n);
	else if (rc == 0)
		rc = -EBADMSG;
	if (rc == -EBADMSG)
		return err_set(err, rc, "%s: sent %s in the middle of a round that does not belong there", n->s->target, stream_type_name(hdr.type));
	return rc < 0 ? worker_link_error(n->s->w, rc, err) : 0;
}

int source_hear(struct sender *n, bool wait, struct err *err)
{
	int rc = 0;

	/* a target that talks without end is heard a little at a time */
	for (unsigned i = 0; rc == 0 && i < HEAR_MAX && (wait || link_readable(n->link)); i++) {
		rc = hear_one(n, err);
		wait = false;
	}
	return rc;
}
