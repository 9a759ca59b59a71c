/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ownership messages as JSON. A message with a field of the wrong type or length is none; unknown fields are skipped. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/own_codec.h"

#define OWN_WIRE_VERSION 1

json_t *own_record_encode(const struct own_record *r)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:s,s:s,s:s}", "epoch", (json_int_t)r->epoch, "owner", (json_int_t)r->owner,
			 "to", (json_int_t)r->to, "domid", (json_int_t)r->domid, "hash", r->hash, "name", r->name,
			 "resource", r->resource);
}

static bool own_get_u64(const json_t *j, const char *key, uint64_t max, uint64_t *ret)
{
	const json_t *v = json_object_get(j, key);
	json_int_t n = json_integer_value(v);

	if (!v) {
		*ret = 0;
		return true;
	}
	if (!json_is_integer(v) || n < 0 || (uint64_t)n > max)
		return false;
	*ret = (uint64_t)n;
	return true;
}

static bool own_get_u32(const json_t *j, const char *key, uint32_t *ret)
{
	uint64_t v = 0;

	if (!own_get_u64(j, key, UINT32_MAX, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool own_get_str(const json_t *j, const char *key, char *ret, size_t size)
{
	const json_t *v = json_object_get(j, key);

	*ret = '\0';
	if (!v)
		return true;
	if (!json_is_string(v) || json_string_length(v) >= size)
		return false;
	memcpy(ret, json_string_value(v), json_string_length(v) + 1);
	return true;
}

static bool own_get_uuid(const json_t *j, char *ret)
{
	return own_get_str(j, "uuid", ret, OWN_UUID_LEN) && strspn(ret, "0123456789abcdef-") == strlen(ret);
}

int own_record_decode(const json_t *j, struct own_record *r)
{
	memset(r, 0, sizeof(*r));
	if (!json_is_object(j))
		return -EBADMSG;
	return own_get_u64(j, "epoch", INT64_MAX - 1, &r->epoch) && own_get_u32(j, "owner", &r->owner) &&
	       own_get_u32(j, "to", &r->to) && own_get_u32(j, "domid", &r->domid) &&
	       own_get_str(j, "hash", r->hash, sizeof(r->hash)) && own_get_str(j, "name", r->name, sizeof(r->name)) &&
	       own_get_str(j, "resource", r->resource, sizeof(r->resource)) ? 0 : -EBADMSG;
}

/* --- reports ------------------------------------------------------------------------------------------------------- */

static json_t *own_entry_encode(const struct own_entry *e)
{
	return json_pack("{s:s,s:o,s:s,s:b,s:b,s:I,s:I,s:I}", "uuid", e->uuid, "record", own_record_encode(&e->rec),
			 "copy", own_copy_name(e->copy), "holds", e->holds, "act_known", e->act_known,
			 "activated", (json_int_t)e->activated, "begun", (json_int_t)e->begun, "pending", (json_int_t)e->pending);
}

static json_t *own_report_encode(const struct own_report *r)
{
	json_t *entries = json_array(), *seen = json_array();

	for (size_t i = 0; i < r->n_entries; i++)
		json_array_append_new(entries, own_entry_encode(&r->entries[i]));
	for (size_t i = 0; i < r->n_seen; i++)
		json_array_append_new(seen, json_pack("{s:I,s:I,s:I,s:I}", "node", (json_int_t)r->seen[i].node,
						      "seen", (json_int_t)r->seen[i].seen, "fenced", (json_int_t)r->seen[i].fenced,
						      "left", (json_int_t)r->seen[i].left));
	return json_pack("{s:b,s:b,s:I,s:o,s:o}", "full", r->full, "known", r->known, "incarnation",
			 (json_int_t)r->incarnation, "domains", entries, "nodes", seen);
}

static bool own_entry_decode(const json_t *j, struct own_entry *e)
{
	const char *copy = json_string_value(json_object_get(j, "copy"));

	if (own_record_decode(json_object_get(j, "record"), &e->rec) || !own_get_uuid(j, e->uuid) || !copy)
		return false;
	e->copy = own_copy_from_name(copy);
	/* Anything but a plain "false" holds, anything but a plain "true" is unknown. */
	e->holds = !json_is_false(json_object_get(j, "holds"));
	e->act_known = json_is_true(json_object_get(j, "act_known"));
	return own_get_u64(j, "activated", INT64_MAX, &e->activated) && own_get_u64(j, "begun", INT64_MAX, &e->begun) &&
	       own_get_u64(j, "pending", INT64_MAX, &e->pending);
}

static bool own_seen_decode(const json_t *j, struct own_seen *s)
{
	return own_get_u32(j, "node", &s->node) && own_get_u64(j, "seen", INT64_MAX, &s->seen) &&
	       own_get_u64(j, "fenced", INT64_MAX, &s->fenced) && own_get_u64(j, "left", INT64_MAX, &s->left);
}

static int own_report_decode(const json_t *j, struct own_report *r)
{
	const json_t *entries = json_object_get(j, "domains"), *seen = json_object_get(j, "nodes"), *v;
	size_t i;

	if (!json_is_array(entries) || !json_is_array(seen) || json_array_size(entries) > OWN_DOMAINS_MAX ||
	    json_array_size(seen) > OWN_NODES || !own_get_u64(j, "incarnation", INT64_MAX, &r->incarnation))
		return -EBADMSG;
	r->full = json_is_true(json_object_get(j, "full"));
	r->known = json_is_true(json_object_get(j, "known"));
	r->entries = calloc(json_array_size(entries) + 1, sizeof(*r->entries));
	r->seen = calloc(json_array_size(seen) + 1, sizeof(*r->seen));
	if (!r->entries || !r->seen)
		return -ENOMEM;
	json_array_foreach(entries, i, v)
		if (!own_entry_decode(v, &r->entries[r->n_entries++]))
			return -EBADMSG;
	json_array_foreach(seen, i, v)
		if (!own_seen_decode(v, &r->seen[r->n_seen++]))
			return -EBADMSG;
	return 0;
}

/* --- messages ------------------------------------------------------------------------------------------------------ */

json_t *own_msg_encode(const struct own_msg *m)
{
	/* 64 bits of hash do not fit jansson's signed integer: the view travels as text */
	char view[24];
	json_t *j;

	snprintf(view, sizeof(view), "%016llx", (unsigned long long)m->view);
	j = json_pack("{s:i,s:s,s:s,s:s,s:I}", "v", OWN_WIRE_VERSION, "type", own_type_name(m->type), "view", view,
		      "uuid", m->uuid, "epoch", (json_int_t)m->epoch);
	if (!j)
		return NULL;
	if (m->type == OWN_M_ACK || m->type == OWN_M_NACK)
		json_object_set_new(j, "what", json_string(own_type_name(m->what)));
	if (m->serial)
		json_object_set_new(j, "serial", json_integer((json_int_t)m->serial));
	if (m->whom)
		json_object_set_new(j, "whom", json_integer(m->whom));
	if (m->type == OWN_M_REPORT)
		json_object_set_new(j, "report", own_report_encode(&m->report));
	else if (m->type == OWN_M_BEGIN || m->type == OWN_M_CLAIM || m->type == OWN_M_RUNNING || m->type == OWN_M_CONFIG)
		json_object_set_new(j, "record", own_record_encode(&m->rec));
	if (m->config)
		json_object_set_new(j, "config", json_string(m->config));
	if (m->type == OWN_M_NACK) {
		json_object_set_new(j, "fatal", json_boolean(m->code != -EAGAIN));
		json_object_set_new(j, "text", json_string(m->text ? m->text : ""));
	}
	return j;
}

static enum own_type own_type_from_name(const char *s)
{
	for (int t = OWN_M_REPORT; s && t < OWN_M_TYPES; t++)
		if (!strcmp(s, own_type_name((enum own_type)t)))
			return (enum own_type)t;
	return OWN_M_NONE;
}

int own_msg_decode(const json_t *j, struct own_msg *m)
{
	const char *view = json_string_value(json_object_get(j, "view"));
	const json_t *rec = json_object_get(j, "record");
	int rc = 0;

	memset(m, 0, sizeof(*m));
	m->type = own_type_from_name(json_string_value(json_object_get(j, "type")));
	m->what = own_type_from_name(json_string_value(json_object_get(j, "what")));
	if (m->type == OWN_M_NONE || !view || strlen(view) != 16 ||
	    json_integer_value(json_object_get(j, "v")) != OWN_WIRE_VERSION)
		return -EBADMSG;
	m->view = strtoull(view, NULL, 16);
	if (!own_get_uuid(j, m->uuid) || !own_get_u64(j, "epoch", INT64_MAX - 1, &m->epoch) || !own_get_u32(j, "whom", &m->whom) ||
	    !own_get_u64(j, "serial", INT64_MAX, &m->serial))
		return -EBADMSG;
	m->config = json_string_value(json_object_get(j, "config"));
	m->text = json_string_value(json_object_get(j, "text"));
	m->code = json_is_true(json_object_get(j, "fatal")) ? -EEXIST : -EAGAIN;
	if (rec && own_record_decode(rec, &m->rec))
		return -EBADMSG;
	if (m->type == OWN_M_REPORT)
		rc = own_report_decode(json_object_get(j, "report"), &m->report);
	else if (!*m->uuid && m->type != OWN_M_LEAVE && m->type != OWN_M_PROBE && m->type != OWN_M_ALIVE)
		rc = -EBADMSG;
	if (rc)
		own_msg_release(m);
	return rc;
}

void own_msg_release(struct own_msg *m)
{
	free(m->report.entries);
	free(m->report.seen);
	memset(&m->report, 0, sizeof(m->report));
}
