/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven resolve - the operator's word on what nobody can decide: a copy handed to a node that is away, a node that is off and was not fenced;
 * and, between two plain hosts, a move whose link broke after the copy was handed. There the other host is asked first: what it knows decides.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/haven.h"
#include "lib/conf.h"
#include "lib/msg.h"

#define RESOLVE_POLL_US 100000
#define RESOLVE_POLLS 300

/* --- two plain hosts ------------------------------------------------------------------------------------------------------ */

/* As migrated sees it: no cluster.conf, and standalone = yes. */
static bool is_standalone(void)
{
	struct conf *conf = NULL;
	bool yes;

	if (conf_exists("cluster.conf"))
		return false;
	(void)conf_load("haven.conf", &conf, NULL);
	yes = !strcmp(conf_get(conf, "standalone", "no"), "yes");
	conf_free(conf);
	return yes;
}

enum there { THERE_NOTHING, THERE_HAS_IT, THERE_UNKNOWN };

/* What the other host says of this move; text (size OUT) says it in words. */
static enum there ask_there(const json_t *d, char *text, size_t size)
{
	const char *target = haven_str(d, "target"), *p;
	struct conf *conf = NULL;
	json_t *reply = NULL, *v;
	enum there ret = THERE_NOTHING;
	struct err err;
	size_t i;
	int rc;

	(void)conf_load("haven.conf", &conf, NULL);
	rc = msg_call_once("migrated.sock", json_pack("{s:s,s:O,s:s,s:s,s:I,s:I}", "op", "preflight", "config", json_object_get(d, "config"), "target",
			   target, "address", target, "port", (json_int_t)conf_get_int(conf, "migration_port", 8002), "attempt",
			   json_integer_value(json_object_get(d, "attempt"))), &reply, 20000, &err);
	conf_free(conf);
	snprintf(text, size, "%s: never took it and holds no copy", target);
	if (rc) {
		snprintf(text, size, "%s cannot be asked: %s", target, err.text);
		ret = THERE_UNKNOWN;
	}
	json_array_foreach(json_object_get(reply, "problems"), i, v) {
		p = json_string_value(v);
		if (p && (strstr(p, "holds a copy of this domain") || strstr(p, "has taken this move"))) {
			snprintf(text, size, "%s", p);
			ret = THERE_HAS_IT;
		}
	}
	json_decref(reply);
	return ret;
}

static int settle_plain(const json_t *d, bool keep)
{
	json_t *req = keep ? json_pack("{s:s,s:O,s:O}", "op", "resume-handed", "domid", json_object_get(d, "domid"), "attempt",
				       json_object_get(d, "attempt"))
			   : json_pack("{s:s,s:O,s:[s]}", "op", "destroy", "domid", json_object_get(d, "domid"), "expect", "handed");
	struct err err;

	if (msg_call_once("hypervisord.sock", req, NULL, 60000, &err))
		return haven_fail("%s", err.text);
	printf("the copy of %s here %s\n", haven_str(d, "name"), keep ? "runs on" : "is dropped");
	return HAVEN_OK;
}

static int resolve_copy(const json_t *d, const char *keep)
{
	const char *name = haven_str(d, "name"), *target = haven_str(d, "target");
	char text[900] = "";
	enum there there;

	if (strcmp(haven_str(d, "copy"), "handed")) {
		if (keep)
			return haven_fail("%s: no copy here waits for a decision; it is %s", name, haven_str(d, "copy"));
		printf("%s here: %s\n", name, haven_str(d, "copy"));
		return HAVEN_OK;
	}
	there = ask_there(d, text, sizeof(text));
	if (!keep) {
		printf("%s here: handed to %s, stands still\n%s\n", name, target, text);
		if (there == THERE_UNKNOWN)
			puts("settle it when that host answers, or by what you see there");
		else
			printf("settle it: haven resolve %s %s\n", name, there == THERE_HAS_IT ? "there" : "here");
		return HAVEN_OK;
	}
	if (!strcmp(keep, "here") && there == THERE_HAS_IT)
		return haven_fail("%s; the copy here is older than its disk: haven resolve %s there", text, name);
	if (!strcmp(keep, "there") && there == THERE_NOTHING)
		return haven_fail("%s; the copy here is the only one: haven resolve %s here", text, name);
	return settle_plain(d, !strcmp(keep, "here"));
}

static int resolve_plain(int argc, char **argv)
{
	const char *keep = argc == 3 ? argv[2] : NULL;
	json_t *reply = NULL;
	const json_t *d;
	struct err err;
	int rc;

	if (argc < 2 || argc > 3 || argv[1][0] == '-' || (keep && strcmp(keep, "here") && strcmp(keep, "there")))
		return haven_usage(&haven_cmd_resolve);
	rc = msg_call_once("hypervisord.sock", json_pack("{s:s,s:s}", "op", "list", "name", argv[1]), &reply, 10000, &err);
	d = json_array_get(json_object_get(reply, "domains"), 0);
	if (rc && rc != -ENOENT)
		rc = haven_fail("%s", err.text);
	else if (!d)
		rc = haven_fail("%s: no copy of it is on this host", argv[1]);
	else
		rc = resolve_copy(d, keep);
	json_decref(reply);
	return rc;
}

/* --- in a cluster ------------------------------------------------------------------------------------------------------------- */

/* What was decided is done when the copy here is handed no more. */
static int resolve_wait(const char *name, const char *keep)
{
	for (int left = RESOLVE_POLLS; left > 0; left--) {
		json_t *s = haven_status();
		const json_t *d = s ? haven_find_domain(s, name) : NULL;
		const char *copy = haven_str(json_object_get(d, "copies"), s ? haven_str(s, "node") : "");
		bool handed = !d || !strcmp(copy, "handed");

		if (!handed)
			printf("the copy of %s here %s\n", name, *copy ? "runs on" : "is dropped");
		json_decref(s);
		if (!handed)
			return HAVEN_OK;
		usleep(RESOLVE_POLL_US);
	}
	return haven_fail("the copy of %s is to %s, but is still handed: see the log of ha-agentd", name, strcmp(keep, "here") ? "go" : "run on");
}

static int run_resolve(int argc, char **argv)
{
	json_t *req;
	struct err err;

	if (is_standalone())
		return resolve_plain(argc, argv);
	if (argc != 3 || (strcmp(argv[1], "--node") && strcmp(argv[2], "here") && strcmp(argv[2], "there")))
		return haven_usage(&haven_cmd_resolve);
	if (!strcmp(argv[1], "--node"))
		req = json_pack("{s:s,s:s}", "op", "resolve", "node", argv[2]);
	else
		req = json_pack("{s:s,s:s,s:s}", "op", "resolve", "name", argv[1], "keep", argv[2]);
	if (msg_call_once("ha-agentd.sock", req, NULL, 10000, &err))
		return haven_fail("%s", err.text);
	if (!strcmp(argv[1], "--node"))
		printf("%s counts as off from now on: its domains may be started elsewhere\n", argv[2]);
	else
		return resolve_wait(argv[1], argv[2]);
	return HAVEN_OK;
}

const struct haven_command haven_cmd_resolve = {
	"resolve", "NAME here|there  or  --node NODE", "the operator's word where nobody can decide",
	"NAME here|there: a copy that was handed to another node and waits here for its word: let it run here, or drop it.\n"
	"--node NODE: that node is off for good and was not fenced; its domains may be started elsewhere.\n"
	"Both can run a domain twice when the word is wrong: make sure first that the other node is off.\n"
	"Between two plain hosts NAME alone shows the copy here and what the other host says of the move; a word that the other host contradicts is\n"
	"refused.", run_resolve
};
