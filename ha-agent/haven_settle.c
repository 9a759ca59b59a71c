/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven_settle.c - haven resolve between two plain hosts (docs/adr/0007-two-plain-hosts.md): shows both copies of a domain whose move broke
 * off, and carries out what resolve_plan.c makes of them and of the operator's word. The other host is asked over the migration link.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/haven.h"
#include "ha-agent/resolve_plan.h"
#include "lib/conf.h"
#include "lib/deadlines.h"
#include "lib/msg.h"

struct host {
	char name[64];
	bool asked;                  /* copy is what it said */
	json_t *copy;                /* copy, attempt, target, from, started, serves */
	char why[800];               /* not asked: why */
};

struct settle {
	const char *name, *keep;     /* keep: here, there or NULL */
	bool force;
	char uuid[64];
	json_int_t domid, attempt;
	struct host here, there;
	bool source_here;
	struct resolve_facts facts;
};

/* --- asking ------------------------------------------------------------------------------------------------------------------------- */

static int ask_here(struct settle *s)
{
	json_t *reply = NULL, *ran = NULL, *me = NULL, *d;
	struct err err = { 0 };
	int rc = msg_call_once("migrated.sock", json_pack("{s:s}", "op", "identity"), &me, 10000, &err);

	snprintf(s->here.name, sizeof(s->here.name), "%s", me ? haven_str(me, "node") : "");
	if (!rc)
		rc = msg_call_once("hypervisord.sock", json_pack("{s:s,s:s}", "op", "list", "name", s->name), &reply, 10000, &err);
	d = json_array_get(json_object_get(reply, "domains"), 0);
	if (rc == -ENOENT || (!rc && !d))
		rc = haven_fail("%s: no copy of it is on this host", s->name);
	else if (rc)
		rc = haven_fail("%s", err.text);
	if (!rc && msg_call_once("hypervisord.sock", json_pack("{s:s,s:s}", "op", "activated", "uuid", haven_str(d, "uuid")), &ran, 10000, &err))
		rc = haven_fail("%s", err.text);
	if (!rc) {
		s->here.copy = json_incref(d);
		s->here.asked = true;
		json_object_set(d, "started", json_object_get(ran, "started"));
		snprintf(s->uuid, sizeof(s->uuid), "%s", haven_str(d, "uuid"));
		s->domid = json_integer_value(json_object_get(d, "domid"));
		s->attempt = json_integer_value(json_object_get(d, "attempt"));
	}
	json_decref(me);
	json_decref(reply);
	json_decref(ran);
	return rc;
}

/* word: "" to ask only; else it is refused or done. 0, or the exit status after a message; a host that cannot be asked is no failure of a question. */
static int ask_there(struct settle *s, const char *word)
{
	struct conf *conf = NULL;
	json_t *reply = NULL;
	const char *problem;
	struct err err = { 0 };
	int rc;

	(void)conf_load("haven.conf", &conf, NULL);
	rc = msg_call_once("migrated.sock", json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:s}", "op", "copy", "uuid", s->uuid, "target", s->there.name, "address",
			   s->there.name, "port", (json_int_t)conf_get_int(conf, "migration_port", 8002), "attempt", s->attempt, "word", word),
			   &reply, deadline(DL_SETTLE_THERE), &err);
	conf_free(conf);
	problem = json_string_value(json_array_get(json_object_get(reply, "problems"), 0));
	s->there.asked = !rc && !problem && json_is_object(json_object_get(reply, "copy"));
	if (rc || problem)
		snprintf(s->there.why, sizeof(s->there.why), "%s", rc ? err.text : problem);
	if (rc && *word)
		rc = haven_fail("%s: %s; see haven resolve %s", s->there.name, err.text, s->name);
	else if (problem && *word)
		rc = haven_fail("%s", problem);
	else
		rc = 0;
	json_decref(s->there.copy);
	s->there.copy = s->there.asked ? json_incref(json_object_get(reply, "copy")) : NULL;
	json_decref(reply);
	return rc;
}

/* --- what they said -------------------------------------------------------------------------------------------------------------------- */

static enum resolve_copy state_of(const struct settle *s, const struct host *h, const struct host *other)
{
	const char *copy = h->copy ? haven_str(h->copy, "copy") : "";
	bool this_move = h->copy && json_integer_value(json_object_get(h->copy, "attempt")) == s->attempt;

	if (!h->asked)
		return RESOLVE_UNKNOWN;
	if (!*copy)
		return RESOLVE_NONE;
	if (this_move && !strcmp(copy, "handed") && !strcmp(haven_str(h->copy, "target"), other->name))
		return RESOLVE_HANDED;
	if (this_move && !strcmp(copy, "ready") && !strcmp(haven_str(h->copy, "from"), other->name))
		return RESOLVE_READY;
	return RESOLVE_RUNS;
}

/* Which move it is, and who was to run it: a copy that waits says so; the other host's, when the one here runs. */
static void find_move(struct settle *s)
{
	const char *copy = haven_str(s->here.copy, "copy"), *theirs;

	s->source_here = strcmp(copy, "ready") != 0;
	if (!strcmp(copy, "handed") || !strcmp(copy, "ready"))
		return;
	theirs = s->there.copy ? haven_str(s->there.copy, "copy") : "";
	if (!strcmp(theirs, "handed") || !strcmp(theirs, "ready")) {
		s->attempt = json_integer_value(json_object_get(s->there.copy, "attempt"));
		s->source_here = strcmp(theirs, "ready") == 0;
	}
}

static void take_facts(struct settle *s)
{
	const struct host *source = s->source_here ? &s->here : &s->there, *target = s->source_here ? &s->there : &s->here;

	s->facts = (struct resolve_facts){ .source = state_of(s, source, target), .target = state_of(s, target, source) };
	s->facts.taken = target->asked && s->attempt > 0 && json_integer_value(json_object_get(target->copy, "started")) >= s->attempt;
	s->facts.serves = source->copy && (json_is_object(json_object_get(source->copy, "serves")) || haven_true(source->copy, "serves"));
}

static void show_host(const struct settle *s, const struct host *h, bool is_source)
{
	enum resolve_copy c = is_source ? s->facts.source : s->facts.target;
	const char *at = h == &s->here ? " (here)" : "", *other = h == &s->here ? s->there.name : s->here.name;

	if (c == RESOLVE_UNKNOWN)
		printf("%s cannot be asked: %s\n", h->name, h->why);
	else if (c == RESOLVE_NONE && !is_source && s->facts.taken)
		printf("%s%s: has taken this move and run it; holds no copy any more\n", h->name, at);
	else if (c == RESOLVE_NONE)
		printf("%s%s: %sholds no copy\n", h->name, at, is_source ? "" : "never took it and ");
	else if (c == RESOLVE_HANDED)
		printf("%s%s: handed to %s, stands still\n", h->name, at, other);
	else if (c == RESOLVE_READY)
		printf("%s%s: has all of it from %s but the word to run, stands still\n", h->name, at, other);
	else
		printf("%s%s: %s\n", h->name, at, haven_str(h->copy, "copy"));
}

static const char *side_of(const struct settle *s, enum resolve_word w)
{
	return (w == RESOLVE_SOURCE) == s->source_here ? "here" : "there";
}

static int show(const struct settle *s)
{
	unsigned choices = resolve_choices(&s->facts);
	bool waits = s->facts.source == RESOLVE_HANDED || s->facts.target == RESOLVE_READY;

	printf("%s:\n", s->name);
	show_host(s, &s->here, s->source_here);
	show_host(s, &s->there, !s->source_here);
	for (enum resolve_word w = RESOLVE_SOURCE; w <= RESOLVE_TARGET; w++)
		if (choices >> w & 1)
			printf("settle it: haven resolve %s %s (it runs on %s)\n", s->name, side_of(s, w),
			       strcmp(side_of(s, w), "here") ? s->there.name : s->here.name);
	if (!choices && waits)
		printf("settle it when both hosts can be asked; or, when you know that nothing runs on the other one, with --force\n");
	else if (!waits)
		printf("nothing waits for a word\n");
	return HAVEN_OK;
}

/* --- settling ---------------------------------------------------------------------------------------------------------------------------- */

static int step_here(const struct settle *s, enum resolve_step step)
{
	json_t *req;
	struct err err = { 0 };

	if (step == RESOLVE_RESUME || step == RESOLVE_TAKE)
		req = json_pack("{s:s,s:I,s:I}", "op", step == RESOLVE_RESUME ? "resume-handed" : "activate", "domid", s->domid, "attempt", s->attempt);
	else
		req = json_pack("{s:s,s:I,s:[s]}", "op", "destroy", "domid", s->domid, "expect", step == RESOLVE_DROP_READY ? "ready" : "handed");
	return msg_call_once("hypervisord.sock", req, NULL, deadline(DL_SETTLE_HERE), &err) ? haven_fail("%s", err.text) : 0;
}

static int step_do(struct settle *s, enum resolve_step step)
{
	static const char *const words[] = { [RESOLVE_DROP_READY] = "drop", [RESOLVE_RESUME] = "resume", [RESOLVE_TAKE] = "take",
					     [RESOLVE_DROP_HANDED] = "taken" };
	bool at_source = step == RESOLVE_RESUME || step == RESOLVE_DROP_HANDED;

	return at_source == s->source_here ? step_here(s, step) : ask_there(s, words[step]);
}

/* "the source ..." in the hosts' names. */
static void in_names(const struct settle *s, const char *why, char *text, size_t size)
{
	const char *source = s->source_here ? s->here.name : s->there.name, *target = s->source_here ? s->there.name : s->here.name;
	size_t n = 0;

	while (*why && n + 1 < size) {
		const char *put = !strncmp(why, "the source", 10) ? source : !strncmp(why, "the target", 10) ? target : NULL;
		int m = put ? snprintf(text + n, size - n, "%s", put) : 1;

		if (!put)
			text[n] = *why;
		n += (size_t)m < size - n ? (size_t)m : size - n - 1;
		why += put ? 10 : 1;
	}
	text[n] = '\0';
}

static int settle(struct settle *s)
{
	enum resolve_word w = (!strcmp(s->keep, "here")) == s->source_here ? RESOLVE_SOURCE : RESOLVE_TARGET;
	struct resolve_verdict v = resolve_plan(&s->facts, w, s->force);
	char why[300];
	int rc = 0;

	if (v.why) {
		in_names(s, v.why, why, sizeof(why));
		return haven_fail("%s: %s%s", s->name, why, v.forcible ? "; make sure of that host, then --force" : "");
	}
	for (int i = 0; rc == 0 && v.step[i] != RESOLVE_END; i++)
		rc = step_do(s, v.step[i]);
	if (rc == 0)
		printf("%s: settled, it is %s's\n", s->name, !strcmp(s->keep, "here") ? s->here.name : s->there.name);
	return rc;
}

/* --- the command --------------------------------------------------------------------------------------------------------------------------- */

static int run(struct settle *s, const char *host)
{
	const char *copy, *other;
	int rc = ask_here(s);

	if (rc)
		return rc;
	copy = haven_str(s->here.copy, "copy");
	other = !strcmp(copy, "handed") ? haven_str(s->here.copy, "target") : haven_str(s->here.copy, "from");
	snprintf(s->there.name, sizeof(s->there.name), "%s", host ? host : other);
	if (!*s->there.name) {
		if (s->keep)
			return haven_fail("%s: no copy here waits for a word; it is %s (another host's: --host HOST)", s->name, copy);
		printf("%s:\n%s (here): %s; it came from no other host: name one with --host HOST\n", s->name, s->here.name, copy);
		return HAVEN_OK;
	}
	rc = ask_there(s, "");
	find_move(s);
	take_facts(s);
	return rc ? rc : s->keep ? settle(s) : show(s);
}

int haven_settle_plain(int argc, char **argv)
{
	struct settle s = { .domid = 0 };
	const char *host = NULL;
	bool bad = argc < 2 || argv[1][0] == '-';
	int rc;

	for (int i = 2; i < argc && !bad; i++) {
		if (!strcmp(argv[i], "--force"))
			s.force = true;
		else if (!strcmp(argv[i], "--host") && i + 1 < argc)
			host = argv[++i];
		else if (!s.keep && (!strcmp(argv[i], "here") || !strcmp(argv[i], "there")))
			s.keep = argv[i];
		else
			bad = true;
	}
	if (bad)
		return haven_usage(&haven_cmd_resolve);
	s.name = argv[1];
	rc = run(&s, host);
	json_decref(s.here.copy);
	json_decref(s.there.copy);
	return rc;
}
