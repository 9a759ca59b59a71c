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

#include "lib/log.h"

#define HEAR_MAX 64u

/* --- one after the other -------------------------------------------------------------------------------------------------- */

int source_expect(struct source *s, uint16_t type, struct stream_header *ret, struct err *err)
{
	int rc = worker_next_record(s->w, ret, err);

	if (rc == 0 && ret->type != type)
		rc = err_set(err, -EBADMSG, "%s: %s expected, %s came", s->target, stream_type_name(type), stream_type_name(ret->type));
	return rc;
}

int source_read_answer(struct source *s, struct err *err)
{
	struct stream_header hdr;
	uint8_t *body = NULL;
	char text[600];
	json_error_t je;
	json_t *answer;
	json_int_t version;
	int rc = source_expect(s, STREAM_ANSWER, &hdr, err);

	if (rc == 0)
		rc = worker_read_body(s->w, &hdr, &body, err);
	if (rc < 0)
		return rc;
	answer = json_loadb((const char *)body, hdr.length, 0, &je);
	free(body);
	s->problems = json_incref(json_object_get(answer, "problems"));
	version = json_integer_value(json_object_get(answer, "version"));
	if (!json_is_array(s->problems) || version < STREAM_VERSION_OLDEST || version > s->w->version)
		rc = err_set(err, -EBADMSG, "%s: its ANSWER is malformed", s->target);
	json_decref(answer);
	if (rc == 0 && !s->only_ask && json_text_list(s->problems, text, sizeof(text)) > 0)
		rc = err_set(err, -EREMOTEIO, "%s", text);
	return rc;
}

int source_read_accept(struct source *s, struct err *err)
{
	struct stream_header hdr;
	uint8_t *body = NULL;
	int rc = source_expect(s, STREAM_ACCEPT, &hdr, err);

	if (rc == 0)
		rc = worker_read_body(s->w, &hdr, &body, err);
	if (rc < 0)
		return rc;
	if (stream_accept_decode(body, hdr.length, &s->accept) < 0 || s->accept.frames != s->frames || s->accept.connections < 1 ||
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

/* One round trip; the target's clock at its turning point. */
int source_ping(struct source *s, uint64_t cookie, uint64_t *ret_theirs, struct err *err)
{
	struct stream_header hdr;
	struct reader r;
	uint8_t *body = NULL;
	int rc = link_record(&s->w->link, STREAM_PING, &cookie, 8);

	if (rc < 0)
		return worker_link_error(s->w, rc, err);
	rc = source_expect(s, STREAM_PONG, &hdr, err);
	if (rc == 0)
		rc = worker_read_body(s->w, &hdr, &body, err);
	if (rc < 0)
		return rc;
	reader_init(&r, body, hdr.length);
	if (reader_u64(&r) != cookie)
		rc = err_set(err, -EBADMSG, "%s: PONG to no PING", s->target);
	*ret_theirs = reader_u64(&r);
	free(body);
	return rc;
}

int source_read_resumed(struct source *s, struct err *err)
{
	struct stream_header hdr;
	uint8_t body[8];
	uint32_t session = 0;
	int rc = source_expect(s, STREAM_RESUMED, &hdr, err);

	if (rc < 0)
		return rc;
	rc = link_read(&s->w->link, body, sizeof(body));
	if (rc < 0)
		return worker_link_error(s->w, rc, err);
	if (stream_u32_decode(body, &session) < 0 || session != s->session)
		return err_set(err, -EBADMSG, "%s: RESUMED for another session", s->target);
	return 0;
}

int source_read_done(struct source *s, const struct stream_header *hdr, struct err *err)
{
	struct stream_done d;
	uint8_t *body = NULL;
	int rc = worker_read_body(s->w, hdr, &body, err);

	if (rc < 0)
		return rc;
	rc = stream_done_decode(body, hdr->length, &d);
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
	if (rc == 0)
		atomic_store(&n->s->fruitless, 0);
	return rc;
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
