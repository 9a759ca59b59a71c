/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a `haven migrate` that died leaves behind: its connection ends, and `haven cleanup --abandon` ends the move and takes its
 * location constraint away. The next command for that resource waits for that, or the cleanup would take its constraint too.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/agentd.h"
#include "ha-agent/constraint.h"
#include "lib/log.h"
#include "lib/move_policy.h"

static struct guard *guard_of(struct agentd *a, const char *resource)
{
	struct guard *g;

	for (g = a->guards; g && strcmp(g->resource, resource); g = g->next)
		;
	return g;
}

/* Which node the domain leaves is not the command's node: every ha-agentd hears how the command wants the move made. */
static void guard_tell_policy(struct agentd *a, const struct guard *g, const json_t *options)
{
	agentd_cluster_send(a, json_pack("{s:s,s:s,s:O?}", "type", "x-policy", "uuid", g->uuid, "options", options));
}

static struct abandon *abandon_of(struct agentd *a, const char *resource)
{
	struct abandon *b;

	for (b = a->abandons; b && strcmp(b->resource, resource); b = b->next)
		;
	return b;
}

static int32_t abandon_ended(int32_t fd, int32_t revents, void *data)
{
	struct abandon *b = data, **p = &b->a->abandons;

	qb_loop_poll_del(b->a->loop, fd);
	close(fd);
	while (*p && *p != b)
		p = &(*p)->next;
	if (*p)
		*p = b->next;
	free(b);
	return 0;
}

static void abandon_begin(struct agentd *a, const char *resource)
{
	struct abandon *b = calloc(1, sizeof(*b));
	int pidfd = constraint_cleanup("--abandon", resource);

	if (!b || pidfd < 0 || qb_loop_poll_add(a->loop, QB_LOOP_MED, pidfd, POLLIN, b, abandon_ended)) {
		if (pidfd >= 0)
			close(pidfd);
		free(b);
		return;
	}
	log_info("a command that moved %s is gone: its move is ended, its constraint removed", resource);
	b->a = a;
	b->pidfd = pidfd;
	snprintf(b->resource, sizeof(b->resource), "%s", resource);
	b->next = a->abandons;
	a->abandons = b;
}

void guard_cleanup(const char *option, const char *name)
{
	int pidfd = constraint_cleanup(option, name);

	if (pidfd >= 0)
		close(pidfd);
}

/* abandon: what the command put is to be taken away, unless another command of this node wants the same. */
static void guard_drop(struct agentd *a, const struct msg_client *client, bool abandon)
{
	for (struct guard **p = &a->guards; *p; ) {
		struct guard *g = *p;

		if (g->client != client) {
			p = &g->next;
			continue;
		}
		*p = g->next;
		if (g->policy)
			guard_tell_policy(a, g, NULL);
		if (abandon && !guard_of(a, g->resource) && !abandon_of(a, g->resource))
			abandon_begin(a, g->resource);
		free(g);
	}
}

void guard_client_gone(struct agentd *a, const struct msg_client *client)
{
	guard_drop(a, client, true);
}

void op_guard(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	const json_t *options = json_object_get(msg_call_request(call), "options");
	const char *resource, *uuid = msg_call_str_opt(call, "uuid", "");
	struct move_policy checked;
	struct err err;
	struct guard *g;

	if (!msg_call_str(call, "resource", &resource))
		return;
	if (msg_call_bool_opt(call, "done", false)) {
		guard_drop(a, msg_call_client(call), false);
		msg_reply(call, NULL);
		return;
	}
	if (abandon_of(a, resource)) {
		msg_error(call, -EAGAIN, "%s: what an earlier command left is still being cleaned up; try again in a moment", resource);
		return;
	}
	if (move_policy_apply(&checked, options, &err)) {
		msg_error_from(call, &err);
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g || strlen(uuid) >= sizeof(g->uuid) || strlen(resource) >= sizeof(g->resource)) {
		free(g);
		msg_error(call, -EINVAL, "resource or uuid: too long");
		return;
	}
	strncpy(g->resource, resource, sizeof(g->resource) - 1);
	strncpy(g->uuid, uuid, sizeof(g->uuid) - 1);
	g->policy = *uuid && json_object_size(options) > 0;
	if (g->policy)
		guard_tell_policy(a, g, options);
	g->client = msg_call_client(call);
	g->next = a->guards;
	a->guards = g;
	msg_reply(call, NULL);
}
