/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven resolve - the operator's word on what nobody can decide: a copy handed to a node that is away, a node that is off and was not fenced.
 * Between two plain hosts: haven_settle.c.
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
		return haven_settle_plain(argc, argv);
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
	"resolve", "NAME [here|there] [--host HOST] [--force]  or  --node NODE", "the operator's word where nobody can decide",
	"NAME here|there: a copy that was handed to another node and waits here for its word: let it run here, or drop it.\n"
	"--node NODE: that node is off for good and was not fenced; its domains may be started elsewhere.\n"
	"Both can run a domain twice when the word is wrong: make sure first that the other node is off.\n"
	"Between two plain hosts, on either, NAME alone shows both hosts' copies of a move that broke off, and which word there is to say. A word\n"
	"that would run an old copy, or two, is refused; so is one that depends on a host which cannot be asked, but for --force. --host HOST: the\n"
	"other host, where the copy here does not know it.", run_resolve
};
