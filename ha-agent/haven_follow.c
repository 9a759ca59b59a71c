/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A move as its operator sees it: progress, result, and how it is ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/crm_run.h"
#include "ha-agent/haven.h"
#include "lib/msg.h"

#define CLEAR_S 30
#define ENDING_TRIES 100	/* of 100 ms each, until a cancelled move's end is known */

static double number(const json_t *j, const char *key)
{
	return json_number_value(json_object_get(j, key));
}

void haven_print_progress(const json_t *dom, char **last)
{
	const json_t *news = json_object_get(dom, "news"), *p = json_object_get(news, "progress");
	char *line = NULL;
	int r;

	if (!p)
		return;
	r = asprintf(&line, "%s to %s: %s, %.0f %%, round %.0f, %.1f MiB sent at %.0f MB/s, dirtied at %.0f MB/s%s", haven_str(dom, "name"),
		     haven_str(news, "target"), haven_str(p, "phase"), number(p, "percent"), number(p, "rounds"), number(p, "bytes_sent") / 1048576,
		     number(p, "rate_mbs"), number(p, "dirty_rate_mbs"), "");
	if (r < 0)
		return;
	if (*last && !strcmp(*last, line)) {
		free(line);
		return;
	}
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K%s", line);
	else
		puts(line);
	fflush(stdout);
	free(*last);
	*last = line;
}

void haven_print_result(const char *name, const char *from, const char *to, const json_t *result)
{
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K");
	printf("%s moved from %s to %s in %.0f ms: %.0f rounds, %.1f MiB sent, vCPUs paused for %.1f ms\n", name, from, to,
	       number(result, "total_ms"), number(result, "rounds"), number(result, "bytes_sent") / 1048576, number(result, "downtime_vcpu_ms"));
	fflush(stdout);
}

void haven_end_move(const char *uuid, const char *resource)
{
	(void)msg_call_once("ha-agentd.sock", json_pack("{s:s,s:s}", "op", "cancel", "uuid", uuid), NULL, 5000, NULL);
	for (int i = 0; i < ENDING_TRIES; i++) {
		json_t *s = haven_status();
		const json_t *d = s ? haven_find_domain(s, uuid) : NULL;
		bool over = d && !*haven_str(d, "intent");

		json_decref(s);
		if (over)
			break;
		usleep(100 * 1000);
	}
	if (*resource) {
		struct err err;

		usleep(500 * 1000);	/* Pacemaker has recorded the failed move by then: what is cleared stays cleared */
		if (haven_clear_failure(resource, &err))
			haven_fail("%s", err.text);
	}
}

static int refresh_on(const char *resource, const char *node, struct err *err)
{
	return crm_run(NULL, err, CLEAR_S, "crm_resource", "--refresh", "--resource", resource, "--node", node, NULL);
}

/*
 * The owner's node comes last. Were it first, the scheduler would meet an older, successful move to it in another node's
 * history without its end in the owner's, call that an unfinished move, and restart the guest.
 */
int haven_clear_failure(const char *resource, struct err *err)
{
	json_t *status = haven_status();
	const json_t *d = status ? haven_find_domain(status, resource) : NULL, *n;
	const char *owner = d ? haven_str(d, "owner") : "";
	size_t i;
	int rc = status ? 0 : err_set(err, -ENOTCONN, "ha-agentd does not answer; start it");

	json_array_foreach(json_object_get(status, "nodes"), i, n)
		if (!rc && haven_true(n, "member") && strcmp(haven_str(n, "name"), owner))
			rc = refresh_on(resource, haven_str(n, "name"), err);
	if (!rc && *owner)
		rc = refresh_on(resource, owner, err);
	json_decref(status);
	return rc;
}

static int run_cleanup(int argc, char **argv)
{
	struct err err;

	if (argc != 2)
		return haven_usage(&haven_cmd_cleanup);
	return haven_clear_failure(argv[1], &err) ? haven_fail("%s", err.text) : HAVEN_OK;
}

const struct haven_command haven_cmd_cleanup = {
	"cleanup", "RESOURCE", "forgets a failed move, so that it is tried again",
	"What ha-agentd does by itself after a failed move, with back-off: Pacemaker forgets the resource's history on every node, the owner's last,\n"
	"and looks again where it runs. Use it rather than crm_resource --cleanup, which after an earlier move in the other direction\n"
	"makes Pacemaker restart the guest.", run_cleanup
};
