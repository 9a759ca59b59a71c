/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which fencings are of a node's present boot; see fence_book.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ha-agent/fence_book.h"

#define KEYS_MAX 4096

int fence_book_init(struct fence_book *b, int64_t since_ns)
{
	memset(b, 0, sizeof(*b));
	b->since_ns = since_ns;
	b->known = json_object();
	return b->known ? 0 : -ENOMEM;
}

void fence_book_dispose(struct fence_book *b)
{
	json_decref(b->known);
	b->known = NULL;
}

bool fence_book_load(struct fence_book *b, const json_t *saved, const char *boot_id)
{
	const char *boot = json_string_value(json_object_get(saved, "boot"));
	json_t *known = json_object_get(saved, "known"), *since = json_object_get(saved, "since_ns");

	if (!json_is_object(known) || !json_is_integer(since) || !boot || strcmp(boot, boot_id))
		return false;
	json_decref(b->known);
	b->known = json_incref(known);
	b->since_ns = json_integer_value(since);
	return true;
}

json_t *fence_book_save(const struct fence_book *b, const char *boot_id)
{
	return json_pack("{s:s,s:I,s:O}", "boot", boot_id, "since_ns", (json_int_t)b->since_ns, "known", b->known);
}

struct fence_marked *fence_book_node(struct fence_book *b, const char *node)
{
	struct fence_marked *m;

	for (int i = 0; i < b->n_marks; i++)
		if (!strcmp(b->marks[i].node, node))
			return &b->marks[i];
	if (b->n_marks == FENCE_NODES)
		return NULL;
	m = &b->marks[b->n_marks++];
	memset(m, 0, sizeof(*m));
	snprintf(m->node, sizeof(m->node), "%s", node);
	return m;
}

void fence_book_mark(struct fence_book *b, const char *node, uint32_t marks, bool rebooted, bool readable, int64_t now_ns)
{
	struct fence_marked *m = fence_book_node(b, node);

	if (!m)
		return;
	m->marks = marks;
	m->since_ns = now_ns;
	m->blind = m->unread = !readable;
	if (rebooted)
		m->skip = 0;
}

static bool book_note(struct fence_book *b, const char *key)
{
	if (json_object_get(b->known, key))
		return false;
	if (json_object_size(b->known) >= KEYS_MAX)
		json_object_clear(b->known);
	json_object_set_new(b->known, key, json_true());
	return true;
}

bool fence_book_exclude(struct fence_book *b, const struct fence_entry *e, bool rebooted)
{
	struct fence_marked *m = fence_book_node(b, e->target);

	if (!e->cuts_power)
		return false;
	if (!e->running)
		return book_note(b, e->key);
	if (m && rebooted)
		m->skip++;
	return false;
}

bool fence_book_entry(struct fence_book *b, const struct fence_entry *e, bool live, bool *ret_tell)
{
	struct fence_marked *m;
	int64_t since;

	*ret_tell = false;
	m = e->cuts_power ? fence_book_node(b, e->target) : NULL;
	if (m && e->running && m->unread)
		m->skip++;		/* begun before or after it came back: nobody can tell */
	if (!m || e->running || !book_note(b, e->key))
		return false;
	if (m->skip > 0) {
		m->skip--;
		return true;
	}
	since = m->since_ns > b->since_ns ? m->since_ns : b->since_ns;
	*ret_tell = e->succeeded && ((live && !m->blind) || e->completed_ns > (live ? m->since_ns : since));
	return true;
}

void fence_book_read(struct fence_book *b, int64_t now_ns)
{
	b->since_ns = now_ns;
	for (int i = 0; i < b->n_marks; i++)
		b->marks[i].unread = false;
}
