/* SPDX-License-Identifier: GPL-2.0-or-later */
/* worker_records.c - records of the main link, either direction: what to skip, what to believe of a length, what an end means. */
#include "config.h"
#include "migrated/migrate_worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/deadlines.h"

#define TICK_NS 200000000ull         /* as tls_link.c waits */

json_t *worker_versions(const struct worker *w)
{
	json_t *list = json_array();

	for (unsigned v = STREAM_VERSION_OLDEST; list && v <= w->version; v++)
		json_array_append_new(list, json_integer(v));
	return list;
}

struct worker_deadline worker_deadline(struct worker *w, int ms, const char *what)
{
	struct worker_deadline former = w->deadline;
	uint64_t ns = link_now_ns() + (uint64_t)deadline(ms) * 1000000ull;

	if (!former.ns || ns < former.ns)
		w->deadline = (struct worker_deadline){ ns, deadline(ms), what };
	return former;
}

bool worker_overdue(const struct worker *w)
{
	return w->deadline.ns && link_now_ns() > w->deadline.ns;
}

int worker_link_error(struct worker *w, int rc, struct err *err)
{
	char buf[256];

	if (rc == -ECANCELED)
		return err_set(err, rc, "cancelled");
	if (rc == -ETIMEDOUT && worker_overdue(w))
		return err_set(err, rc, "%s: %s took longer than %.1f s", w->link.peer[0] ? w->link.peer : "the peer", w->deadline.what,
			       w->deadline.ms / 1e3);
	return err_set(err, rc, "%s: %s", w->link.peer[0] ? w->link.peer : "the peer", link_explain(&w->link, rc, buf, sizeof(buf)));
}

/* Reads and forgets n octets. */
static int skip_body(struct worker *w, uint32_t n)
{
	uint8_t buf[4096];
	int rc = 0;

	while (n > 0 && rc == 0) {
		uint32_t part = n < sizeof(buf) ? n : (uint32_t)sizeof(buf);

		rc = link_read(&w->link, buf, part);
		n -= part;
	}
	return rc;
}

static int take_abort(struct worker *w, uint32_t n, struct err *err)
{
	uint8_t body[STREAM_TEXT_MAX];
	char text[STREAM_TEXT_MAX + 1];

	if (link_read(&w->link, body, n) < 0)
		n = 0;
	w->peer_aborted = true;
	stream_text_decode(body, n, text, sizeof(text));
	return err_set(err, -ECONNABORTED, "%s: %.600s", w->link.peer, text[0] ? text : "the other side ended the move");
}

/* What always has something to read never waits, and would never tick. */
static int worker_turn(struct worker *w)
{
	uint64_t now = link_now_ns();

	if (worker_overdue(w))
		return -ETIMEDOUT;
	if (now - w->link.ticked_ns < TICK_NS)
		return 0;
	w->link.ticked_ns = now;
	return worker_tick(w, false);
}

int worker_one_record(struct worker *w, struct stream_header *ret, struct err *err)
{
	uint8_t h[STREAM_HEADER_BYTES];
	int rc = worker_turn(w);

	if (rc == 0)
		rc = link_read(&w->link, h, sizeof(h));

	if (rc < 0)
		return worker_link_error(w, rc, err);
	rc = stream_header_decode(h, ret);
	if (rc < 0)
		return err_set(err, rc, "%s: sends what is no migration stream of version %u to %u; are both nodes' Haven versions alike?",
			       w->link.peer, STREAM_VERSION_OLDEST, w->version);
	if (ret->type == STREAM_ABORT)
		return take_abort(w, ret->length, err);
	if (ret->type != STREAM_ALIVE && ret->type != STREAM_ACK && stream_type_known(ret->type))
		return 0;
	ret->type = 0;
	rc = skip_body(w, ret->length);
	/* who talks without end is no reason not to hear of a cancel */
	if (rc == 0)
		rc = worker_tick(w, false);
	return rc < 0 ? worker_link_error(w, rc, err) : 0;
}

int worker_next_record(struct worker *w, struct stream_header *ret, struct err *err)
{
	int rc;

	do
		rc = worker_one_record(w, ret, err);
	while (rc == 0 && ret->type == 0);
	return rc;
}

int worker_read_body(struct worker *w, const struct stream_header *hdr, uint8_t **ret, struct err *err)
{
	uint8_t *body = malloc((size_t)hdr->length + 1);
	int rc;

	if (!body)
		return err_set(err, -ENOMEM, "out of memory");
	rc = link_read(&w->link, body, hdr->length);
	if (rc < 0) {
		free(body);
		return worker_link_error(w, rc, err);
	}
	body[hdr->length] = '\0';
	*ret = body;
	return 0;
}

void worker_send_abort(struct worker *w, const char *text)
{
	size_t n = strnlen(text, STREAM_TEXT_MAX);

	if (!w->link.ssl || !w->alive)
		return;
	w->alive = false;
	w->link.tick = NULL;
	w->link.silence_ns = 1000000000ull;
	link_record(&w->link, STREAM_ABORT, text, (uint32_t)n);
}

int json_text_list(json_t *list, char *buf, size_t size)
{
	size_t i, n = 0;
	json_t *v;

	buf[0] = '\0';
	json_array_foreach(list, i, v) {
		int m = snprintf(buf + n, size - n, "%s%s", n ? "; " : "", json_is_string(v) ? json_string_value(v) : "?");

		if (m < 0 || (size_t)m >= size - n)
			break;
		n += (size_t)m;
	}
	return (int)json_array_size(list);
}
