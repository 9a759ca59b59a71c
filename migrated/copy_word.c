/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy_word.c - between two plain hosts, which have no cluster to remember for them: what copy of a domain is here, of which move, and the
 * word of the other host's operator on it (docs/adr/0007-two-plain-hosts.md).
 *
 * What a peer may have done is what it could do in the move itself: the source of a ready copy say GO or ABORT, the target of a handed one DONE
 * or its promise; each about the copy that names that very node and attempt, and nothing else. hypervisord serialises it with what this host's
 * own operator says.
 */
#include "migrated/move_target.h"

#include <stdlib.h>
#include <string.h>

#include "lib/deadlines.h"
#include "lib/log.h"

struct word {
	const char *name;
	const char *copy;            /* what the copy here has to be for it */
	bool if_gone;                /* nothing left to do when it is gone */
	const char *op;              /* hypervisord's */
};

static const struct word words[] = {
	{ "take", "ready", false, "activate" },         /* the source again says GO */
	{ "drop", "ready", true, "destroy" },           /* the source wants its copy back: the promise; gone is none when it ran before */
	{ "resume", "handed", false, "resume-handed" }, /* the target's promise, given: nothing is there, nor was taken */
	{ "taken", "handed", true, "destroy" },         /* the target's DONE */
};

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int list_copy(struct target *t, json_t **ret, struct err *err)
{
	json_t *list = NULL;
	int rc = worker_call(t->w, t->w->hypervisord, json_pack("{s:s, s:s}", "op", "list", "uuid", t->uuid), NULL, 0, &list, NULL, NULL, DL_DAEMON,
			     err);

	if (rc == -ENOENT) {
		*ret = json_object();
		return 0;
	}
	*ret = rc == 0 ? json_incref(json_array_get(json_object_get(list, "domains"), 0)) : NULL;
	json_decref(list);
	if (rc == 0 && !*ret)
		*ret = json_object();
	return rc;
}

/* Is it this copy that the peer has a say in? */
static bool concerns(const struct target *t, const json_t *d, const char *copy)
{
	const char *other = strcmp(copy, "ready") == 0 ? str(d, "from") : str(d, "target");

	return strcmp(str(d, "copy"), copy) == 0 && (uint64_t)json_integer_value(json_object_get(d, "attempt")) == t->attempt &&
	       strcmp(other, t->source) == 0;
}

static int destroy(struct target *t, const json_t *d, const char *expect, struct err *err)
{
	return worker_call(t->w, t->w->hypervisord, json_pack("{s:s, s:O, s:[s]}", "op", "destroy", "domid", json_object_get(d, "domid"), "expect",
			   expect), NULL, 0, NULL, NULL, NULL, DL_DESTROY, err);
}

static int started(struct target *t, uint64_t *ret, struct err *err)
{
	json_t *reply = NULL;
	int rc = worker_call(t->w, t->w->hypervisord, json_pack("{s:s, s:s}", "op", "activated", "uuid", t->uuid), NULL, 0, &reply, NULL, NULL,
			     DL_DAEMON, err);

	*ret = (uint64_t)json_integer_value(json_object_get(reply, "started"));
	json_decref(reply);
	return rc;
}

/* The copy that is gone: for a source that would resume, it must never have run. */
static int gone(struct target *t, const struct word *word, struct err *err)
{
	uint64_t number = 0;
	int rc = strcmp(word->name, "drop") == 0 ? started(t, &number, err) : 0;

	if (rc == 0 && number >= t->attempt)
		rc = err_set(err, -ESTALE, "%.63s: has taken this move and run it meanwhile", t->w->own);
	return rc;
}

/* 0: done; -errno with err: refused, or it failed. */
static int do_word(struct target *t, const struct word *word, const json_t *d, struct err *err)
{
	const char *copy = str(d, "copy");

	if (!*copy && word->if_gone)
		return gone(t, word, err);
	if (!concerns(t, d, word->copy))
		return err_set(err, -ESTALE, "%.63s: has no %s copy of that move: %s", t->w->own, word->copy, *copy ? copy : "it holds none");
	if (strcmp(word->name, "taken") == 0 && json_is_object(json_object_get(d, "serves")))
		return 0;                        /* its pages are fetched; it goes when they are there */
	log_info("%s: its %s copy here: %s, says %s", t->uuid, word->copy, word->name, t->source);
	if (strcmp(word->op, "destroy") == 0)
		return destroy(t, d, word->copy, err);
	return worker_call(t->w, t->w->hypervisord, json_pack("{s:s, s:O, s:I}", "op", word->op, "domid", json_object_get(d, "domid"), "attempt",
			   (json_int_t)t->attempt), NULL, 0, NULL, NULL, NULL, DL_ACTIVATE, err);
}

static int obey(struct target *t, json_t *problems, struct err *err)
{
	const char *name = str(t->hello, "word");
	const struct word *word = NULL;
	json_t *d = NULL;
	struct err why = { 0 };
	int rc;

	if (!*name)
		return 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i].name, name) == 0)
			word = &words[i];
	if (!word)
		return err_set(err, -EINVAL, "%s: '%.20s' is no word on a copy", t->source, name);
	rc = list_copy(t, &d, err);
	if (rc == 0 && do_word(t, word, d, &why) < 0)
		json_array_append_new(problems, json_string(why.text));
	json_decref(d);
	return rc;
}

/* The copy as it is, and the number of the last start: whether the move was taken. */
static int describe(struct target *t, json_t **ret, struct err *err)
{
	json_t *d = NULL;
	uint64_t number = 0;
	int rc = list_copy(t, &d, err);

	if (rc == 0)
		rc = started(t, &number, err);
	if (rc == 0)
		*ret = json_pack("{s:s, s:I, s:s, s:s, s:I, s:b}", "copy", str(d, "copy"), "attempt",
				 (json_int_t)json_integer_value(json_object_get(d, "attempt")), "target", str(d, "target"), "from", str(d, "from"),
				 "started", (json_int_t)number, "serves",
				 json_is_object(json_object_get(d, "serves")));
	json_decref(d);
	return rc;
}

int copy_word_answer(struct target *t, struct err *err)
{
	json_t *problems = json_array(), *copy = NULL, *answer;
	char *text = NULL;
	int rc = 0;

	if (!t->w->standalone)
		json_array_append_new(problems, json_string("this node is one of a cluster, which decides; see haven status there"));
	else
		rc = obey(t, problems, err);
	if (rc == 0 && t->w->standalone)
		rc = describe(t, &copy, err);
	answer = json_pack("{s:i, s:o, s:s, s:o*}", "version", (int)t->version, "problems", problems, "node", t->w->own, "copy", copy);
	if (rc == 0)
		text = json_dumps(answer, JSON_COMPACT);
	if (rc == 0) {
		rc = text ? link_record(&t->w->link, STREAM_ANSWER, text, (uint32_t)strlen(text)) : -ENOMEM;
		if (rc < 0)
			worker_link_error(t->w, rc, err);
	}
	free(text);
	json_decref(answer);
	return rc;
}

/* Who begins another move of it runs it: its channel was opened before it said HELLO. */
int copy_word_outdated(struct target *t, struct err *err)
{
	json_t *d = NULL;
	int rc = t->w->standalone ? list_copy(t, &d, err) : 0;

	if (rc == 0 && d && strcmp(str(d, "copy"), "ready") == 0 && strcmp(str(d, "from"), t->source) == 0 &&
	    (uint64_t)json_integer_value(json_object_get(d, "attempt")) < t->attempt) {
		log_info("%s: %s moves it once more: what is left of an earlier move goes", t->uuid, t->source);
		rc = destroy(t, d, "ready", err);
	}
	json_decref(d);
	return rc;
}

void copy_word_failed(struct target *t)
{
	struct err err = { 0 };
	json_t *d = NULL;

	if (!t->w->standalone)
		return;
	if (list_copy(t, &d, &err) == 0 && concerns(t, d, "ready")) {
		if (t->w->peer_aborted || !t->said_ready)
			destroy(t, d, "ready", &err);
		else
			log_warn("%s: whether %s has let go of it is not known; the copy here stands still: haven resolve %s", t->uuid, t->source,
				 str(d, "name"));
	}
	json_decref(d);
}
