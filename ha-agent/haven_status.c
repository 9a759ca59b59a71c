/* SPDX-License-Identifier: GPL-2.0-or-later */
/* haven status and check: asking ha-agentd and printing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/haven.h"
#include "lib/move_policy.h"
#include "lib/msg.h"

static const char *node_state(const json_t *n)
{
	if (!haven_true(n, "member"))
		return haven_true(n, "fenced") ? "fenced" : haven_true(n, "left") ? "left in order" : "away, not fenced";
	if (!haven_true(n, "reported"))
		return "joining";
	return haven_true(n, "hypervisor") ? "member" : "member, hypervisord is down";
}

/* A handed copy whose target is away waits for a word that only a fencing or the operator can give. */
static void print_waiting(const json_t *status, const json_t *d)
{
	const json_t *v, *to = haven_find_node(status, haven_str(d, "intent"));
	const char *where, *name = haven_str(d, "name");

	if (!to || haven_true(to, "member"))
		return;
	json_object_foreach((json_t *)(uintptr_t)json_object_get(d, "copies"), where, v)
		if (!strcmp(json_string_value(v), "handed"))
			printf("%-20s        waits on %s for %s, which is away: fence it; or, when you know it is off: haven resolve %s here (on %s)\n", "",
			       where, haven_str(to, "name"), name, where);
}

static void print_move(const json_t *d, const json_t *progress)
{
	char how[256];

	move_line(progress, how, sizeof(how));
	printf("%-20s        moving to %s: %s\n", "", haven_str(d, "intent"), how);
}

/* A guest that came by post-copy, before all of its memory did. */
static void print_pages(const json_t *pages)
{
	if (json_is_object(pages))
		printf("%-20s        %s pages of %s: %lld MiB are still there%s\n", "", haven_true(pages, "waiting") ? "waiting for" : "fetches",
		       haven_str(pages, "from"), (long long)(json_integer_value(json_object_get(pages, "owed_kib")) + 1023) / 1024,
		       haven_true(pages, "connected") ? "" : ", and there is no connection to it");
}

static void print_domain(const json_t *status, const json_t *d)
{
	const json_t *v, *news = json_object_get(d, "news"), *progress = json_object_get(news, "progress");
	const char *where, *owner = haven_str(d, "owner");
	char state[256] = "";

	json_object_foreach((json_t *)(uintptr_t)json_object_get(d, "copies"), where, v)
		snprintf(state + strlen(state), sizeof(state) - strlen(state), "%s%s on %s", *state ? ", " : "", json_string_value(v), where);
	printf("%-20s %5lld  %-12s %s\n", haven_str(d, "name"), (long long)json_integer_value(json_object_get(d, "domid")),
	       *owner ? owner : "-", *state ? state : "stopped");
	if (*haven_str(d, "intent") && progress)
		print_move(d, progress);
	print_pages(json_object_get(d, "pages"));
	print_waiting(status, d);
}

static void print_status(const json_t *s)
{
	const json_t *v;
	size_t i;

	printf("Cluster %s, seen from %s: %s\n\n%-20s State\n", haven_str(s, "cluster"), haven_str(s, "node"),
	       !haven_true(s, "connected") ? "corosync does not answer" : haven_true(s, "quorate") ? "quorate" : "NOT quorate: nothing changes hands",
	       "Node");
	json_array_foreach(json_object_get(s, "nodes"), i, v)
		printf("%-20s %s\n", haven_str(v, "name"), node_state(v));
	printf("\n%-20s %5s  %-12s Copies\n", "Domain", "ID", "Owner");
	json_array_foreach(json_object_get(s, "domains"), i, v)
		print_domain(s, v);
}

static int run_status(int argc, char **argv)
{
	bool as_json = argc == 2 && !strcmp(argv[1], "--json");
	json_t *s;

	if (argc > 2 || (argc == 2 && !as_json))
		return haven_usage(&haven_cmd_status);
	s = haven_status();
	if (!s)
		return HAVEN_FAILED;
	if (as_json) {
		json_dumpf(s, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_status(s);
	}
	json_decref(s);
	return HAVEN_OK;
}

static int run_check(int argc, char **argv)
{
	const json_t *node, *p;
	json_t *reply = NULL;
	struct err err;
	size_t i, k;
	int able = 0;

	if (argc != 2)
		return haven_usage(&haven_cmd_check);
	if (msg_call_once("ha-agentd.sock", json_pack("{s:s,s:s}", "op", "check", "name", argv[1]), &reply, 30000, &err))
		return haven_fail("%s", err.text);
	json_array_foreach(json_object_get(reply, "nodes"), i, node) {
		able += haven_true(node, "ok") && !haven_true(node, "here");
		printf("%-20s %s\n", haven_str(node, "name"), haven_true(node, "here") ? "has it" :
		       haven_true(node, "ok") ? "could take it" : "could not take it:");
		json_array_foreach(json_object_get(node, "problems"), k, p)
			printf("%-20s   %s\n", "", json_string_value(p));
	}
	json_decref(reply);
	return able > 0 ? HAVEN_OK : haven_fail("no other node could take %s over now", argv[1]);
}

const struct haven_command haven_cmd_status = {
	"status", "[--json]", "nodes, domains, who owns what, running moves",
	"Shows the cluster as this node's ha-agentd sees it: which nodes take part, and for every domain its owner and every copy.", run_status
};

const struct haven_command haven_cmd_check = {
	"check", "NAME", "which nodes could take the domain over",
	"Asks every node, over the connection a move would use, whether it could run the domain: CPU features, memory, disks, bridges,\n"
	"names. Changes nothing. Exit status 1 when no other node could.", run_check
};
