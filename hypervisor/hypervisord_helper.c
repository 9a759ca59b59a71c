/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_helper.c - the root helpers that are exec'd for one request (haven-storage, haven-network), and those that are kept.
 *
 * A kept helper has answered a first request and waits for its second one: what a move needs while its guest stands still is asked
 * of a process that is there already.  It ends with its socket, so that none outlives hypervisord or the domain it is for.
 */
#include "hypervisor/hypervisord.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/clock.h"
#include "lib/deadlines.h"
#include "lib/paths.h"
#include "lib/spawn.h"

struct helper {
	struct helper *next;
	char key[32];
	const char *name;
	int sock, pidfd;
	int64_t until_ms;                      /* to answer what it was asked */
};

static int time_left(const struct helper *h)
{
	int64_t left = h->until_ms - monotonic_ms();

	return left > 1 ? (int)left : 1;
}

static int helper_start(struct helper *h, const char *name, struct err *err)
{
	char prog[512];
	char *argv[] = { prog, NULL };
	int sv[2] = { -1, -1 }, rc = path_join(prog, sizeof prog, path_libexec(), "%s", name);

	*h = (struct helper) { .name = name, .sock = -1, .pidfd = -1, .until_ms = monotonic_ms() + deadline(DL_HELPERS) };
	if (!rc && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		rc = -errno;
	if (rc)
		return err_set(err, rc, "%s: %s", name, strerror(-rc));
	rc = (int)spawn_program(argv, NULL, (int[]) { sv[0], -1, STDERR_FILENO }, 3, &h->pidfd, err);
	close(sv[0]);
	h->sock = sv[1];
	return rc < 0 ? rc : 0;
}

/* It has answered, or never will. */
static void helper_end(struct helper *h)
{
	if (h->sock >= 0)
		close(h->sock);
	if (h->pidfd >= 0) {
		spawn_kill_wait(h->pidfd, 5000);
		close(h->pidfd);
	}
	h->sock = h->pidfd = -1;
}

static int helper_answered(const struct helper *h, int rc, const int *fds, int nfds, int *ret_fd, struct err *err)
{
	if (!rc && nfds > 0 && ret_fd)
		*ret_fd = fds[0];
	for (int i = ret_fd && !rc ? 1 : 0; i < nfds; i++)
		close(fds[i]);
	if (rc == -ETIMEDOUT)
		err_set(err, rc, "%s: no answer within %d s", h->name, deadline(DL_HELPERS) / 1000);
	return rc;
}

static int helper_ask(struct helper *h, const json_t *req, json_t **ret_reply, int *ret_fd, struct err *err)
{
	int fds[MSG_MAX_FDS], nfds = 0;
	int rc = msg_call(h->sock, req, NULL, 0, ret_reply, fds, &nfds, time_left(h), NULL, NULL, err);

	return helper_answered(h, rc, fds, nfds, ret_fd, err);
}

int helper_call(const char *name, json_t *req, json_t **ret_reply, int *ret_fd, struct err *err)
{
	struct helper h;
	int rc = helper_start(&h, name, err);

	if (!rc)
		rc = helper_ask(&h, req, ret_reply, ret_fd, err);
	helper_end(&h);
	json_decref(req);
	return rc;
}

/* The reply to what helper_begin() sent. */
static int helper_reply(struct helper *h, json_t **ret_reply, int *ret_fd, struct err *err)
{
	int fds[MSG_MAX_FDS], nfds = 0;
	int rc = msg_await(h->sock, h->name, ret_reply, fds, &nfds, time_left(h), NULL, NULL, err);

	return helper_answered(h, rc, fds, nfds, ret_fd, err);
}

int helper_begin(struct dom *d, const char *key, const char *name, json_t *req, struct err *err)
{
	struct helper *h = calloc(1, sizeof *h);
	int rc = h ? helper_start(h, name, err) : err_set(err, -ENOMEM, "%s: out of memory", name);

	if (!rc && d->helpers_until_ms)
		h->until_ms = d->helpers_until_ms;
	if (!rc && (rc = msg_send(h->sock, req, NULL, 0)) < 0)
		err_set(err, rc, "%s: cannot be asked: %s", name, strerror(-rc));
	json_decref(req);
	if (rc) {
		if (h)
			helper_end(h);
		free(h);
		return rc;
	}
	snprintf(h->key, sizeof h->key, "%s", key);
	h->next = d->helpers;
	d->helpers = h;
	return 0;
}

static struct helper **helper_find(struct dom *d, const char *key)
{
	struct helper **at = &d->helpers;

	while (*at && strcmp((*at)->key, key))
		at = &(*at)->next;
	return at;
}

int helper_answer(struct dom *d, const char *key, bool keep, json_t **ret_reply, int *ret_fd, struct err *err)
{
	struct helper **at = helper_find(d, key), *h = *at;
	int rc;

	if (!h)
		return err_set(err, -ENOENT, "domain %s: nobody was asked for %s", d->name, key);
	rc = helper_reply(h, ret_reply, ret_fd, err);
	if (!rc && keep)
		return 0;
	*at = h->next;
	helper_end(h);
	free(h);
	return rc;
}

bool helper_begun(struct dom *d, const char *key) { return *helper_find(d, key) != NULL; }

int helper_try(struct dom *d, const char *key, json_t **ret_reply, struct err *err)
{
	struct helper **at = helper_find(d, key), *h = *at;
	int rc = h ? helper_reply(h, ret_reply, NULL, err) : -ENOENT;

	if (!h || rc == -ETIMEDOUT)
		return rc;
	*at = h->next;
	helper_end(h);
	free(h);
	return rc;
}

int helper_kept_call(struct dom *d, const char *key, const char *name, json_t *req, json_t **ret_reply, int *ret_fd, struct err *err)
{
	struct helper *h = *helper_find(d, key);

	if (h)
		h->until_ms = d->helpers_until_ms ? d->helpers_until_ms : monotonic_ms() + deadline(DL_HELPERS);
	/* one that a restarted hypervisord lost, or that was killed, is replaced: the fresh one's answer counts */
	if (h && helper_ask(h, req, ret_reply, ret_fd, err) == 0) {
		json_decref(req);
		return 0;
	}
	return helper_call(name, req, ret_reply, ret_fd, err);
}

void helpers_within(struct dom *d, int ms)
{
	d->helpers_until_ms = ms ? monotonic_ms() + ms : 0;
}

void helpers_end(struct dom *d)
{
	while (d->helpers) {
		struct helper *h = d->helpers;

		d->helpers = h->next;
		helper_end(h);
		free(h);
	}
}
