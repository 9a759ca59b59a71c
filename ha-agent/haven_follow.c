/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A move as its operator sees it: progress, result, and how it is ended. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/crm_run.h"
#include "ha-agent/haven.h"
#include "lib/msg.h"

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
		usleep(500 * 1000);	/* Pacemaker has recorded the failed move by then: what is cleared stays cleared */
		(void)crm_run(NULL, NULL, 20, "crm_resource", "--cleanup", "--resource", resource, NULL);
	}
}
