/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xl_migrate.c - xl migrate between two plain hosts (standalone = yes): migrated does it without a directory. The attempt's number is the
 * time, so that it is new on both. What a broken link leaves undecided `haven resolve` settles.
 */
#include "dom0/xl/xl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/conf.h"
#include "lib/move_policy.h"
#include "lib/msg.h"
#include "lib/paths.h"

#define SETTLE_POLLS 100	/* of 100 ms: a cancelled move's copy runs again */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig) { interrupted = 1; }

static int plain_progress(const json_t *progress, void *arg)
{
	char how[256];

	move_line(progress, how, sizeof(how));
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K%s: %s", (const char *)arg, how);
	fflush(stdout);
	return interrupted;
}

/* What became of the copy here: its state, "" when it is gone, "?" when nobody can say. */
static void copy_here(const char *uuid, char *ret, size_t size)
{
	json_t *reply = NULL;
	struct err err;
	int rc = xl_hypervisord(json_pack("{s:s, s:s}", "op", "list", "uuid", uuid), &reply, &err);

	snprintf(ret, size, "%s", rc == 0 ? xl_str(json_array_get(json_object_get(reply, "domains"), 0), "copy") : rc == -ENOENT ? "" : "?");
	json_decref(reply);
}

static int plain_failed(const json_t *d, const char *host, const struct err *err)
{
	const char *name = xl_str(d, "name");
	char copy[32] = "?";

	for (int i = 0; i < SETTLE_POLLS; i++) {
		copy_here(xl_str(d, "uuid"), copy, sizeof(copy));
		if (strcmp(copy, "paused") && strcmp(copy, "?"))
			break;
		usleep(100 * 1000);
	}
	if (!strcmp(copy, "handed"))
		return xl_fail("%s: %s; whether %s has taken it is not known, it stands still here: haven resolve %s", name, err->text, host, name);
	if (!*copy)
		return xl_fail("%s: %s; it is no longer here: look on %s", name, err->text, host);
	return xl_fail("%s was not moved to %s: %s; it is %s here", name, host, interrupted ? "cancelled" : err->text, copy);
}

static json_t *plain_request(const json_t *d, const char *host, const struct conf *conf, const json_t *options)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:O}", "op", "move", "uuid", xl_str(d, "uuid"), "domid", (json_int_t)xl_int(d, "domid"),
			 "attempt", (json_int_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, "target", host, "address", host, "port",
			 (json_int_t)conf_get_int(conf, "migration_port", 8002), "options", options);
}

static int plain_move(const json_t *d, const char *host, const struct conf *conf, const json_t *options)
{
	json_t *req = plain_request(d, host, conf, options), *reply = NULL;
	struct sigaction sa = { .sa_handler = on_interrupt };
	struct err err = { 0 };
	int fd = msg_connect("migrated.sock", &err), rc = fd;
	char label[128];

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	snprintf(label, sizeof(label), "%.100s to %.20s", xl_str(d, "name"), host);
	if (fd >= 0) {
		rc = msg_call(fd, req, NULL, 0, &reply, NULL, NULL, -1, plain_progress, label, &err);
		close(fd);	/* ends the move when it is not over */
	}
	json_decref(req);
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K");
	if (rc < 0)
		return plain_failed(d, host, &err);
	printf("%s moved to %s in %.0f ms: %lld rounds, %.1f MiB sent, vCPUs paused for %.1f ms\n", xl_str(d, "name"), host,
	       json_number_value(json_object_get(reply, "total_ms")), xl_int(reply, "rounds"),
	       json_number_value(json_object_get(reply, "bytes_sent")) / 1048576, json_number_value(json_object_get(reply, "downtime_vcpu_ms")));
	json_decref(reply);
	return XL_OK;
}

int xl_migrate_plain(const char *who, const char *host, const json_t *options)
{
	struct conf *conf = NULL;
	struct err err;
	json_t *d = NULL;
	int rc;

	if (conf_load("haven.conf", &conf, &err) < 0)
		return xl_error(&err);
	if (strcmp(conf_get(conf, "standalone", "no"), "yes"))
		rc = xl_fail("this host is in no cluster; to move domains between two plain hosts set standalone = yes in %s/haven.conf on both and "
			     "give each a certificate (haven cert)", path_conf());
	else if (xl_find(who, &d, &err) < 0)
		rc = xl_error(&err);
	else if (strcmp(xl_str(d, "copy"), "running"))
		rc = xl_fail("%s is %s%s", who, xl_str(d, "copy"), strcmp(xl_str(d, "copy"), "handed") ? ": wait for that" : " to another host: haven resolve");
	else
		rc = plain_move(d, host, conf, options);
	json_decref(d);
	conf_free(conf);
	return rc;
}
