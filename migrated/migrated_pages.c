/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrated_pages.c - page services (docs/adr/0008-post-copy.md): of a move that is about to switch by post-copy, and of copies that were
 * handed over and whose pages the target still fetches.
 *
 * What has to be served is, whoever began it and however often it ends: hypervisord is asked at the start and each second, while there may
 * be any, which copies serve.  A move by post-copy is not over before its pages are there, so its page service answers for it, and in the
 * time between two services its call waits here.
 *
 * A target that has had as many pages as its guest has frames, twice, and wants more, is served at ever longer intervals: what it costs this
 * node has an end, and a guest over there that truly waits gets its pages all the same.
 */
#include "config.h"
#include "migrated/migrated.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

#define KEEPER_MS 1000
#define GENEROUS 2u                  /* times all of the guest, before the intervals grow */
#define LATER_MAX_NS (600ull * 1000 * NS_PER_MS)

static struct {
	qb_loop_t *loop;
	struct job **job;
	struct msg_peer *hypervisord;    /* made when it is asked first */
	qb_loop_timer_handle keeper;
	bool asking;
	/* of copies whose page services ended before all was there; in turn, the oldest is forgotten */
	struct greed { char uuid[64]; json_int_t attempt; double pushed; uint64_t wait_ns, until_ns; } greed[JOBS_MAX];
	unsigned oldest;
	struct job *left[JOBS_MAX];      /* calls that are owed an answer while no page service runs: uuid, target, call, moved */
} n;

static void keeper_later(void);

static struct job *service_of(const char *uuid)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (n.job[i] && n.job[i]->pages && strcmp(n.job[i]->uuid, uuid) == 0)
			return n.job[i];
	return NULL;
}

/* The move whose worker waits for that page service, or has just had it: NULL when it is over. */
static struct job *mover_of(const struct job *service)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (n.job[i] && !n.job[i]->pages && !n.job[i]->incoming && n.job[i]->control >= 0 && strcmp(n.job[i]->uuid, service->uuid) == 0)
			return n.job[i];
	return NULL;
}

/* --- calls ----------------------------------------------------------------------------------------------------------------- */

static void take_call_over(struct job *to, struct job *from)
{
	to->call = from->call;
	to->client = from->client;
	from->call = NULL;
	from->client = NULL;
}

/* NULL: no room, and it is answered at once. */
static struct job *left_new(const struct job *j)
{
	for (int i = 0; i < JOBS_MAX; i++) {
		struct job *l = n.left[i] ? NULL : calloc(1, sizeof(*l));

		if (!l)
			continue;
		memcpy(l->uuid, j->uuid, sizeof(l->uuid));
		memcpy(l->target, j->target, sizeof(l->target));
		l->pages = true;
		keeper_later();
		n.left[i] = l;
		return l;
	}
	return NULL;
}

static void left_free(int i)
{
	json_decref(n.left[i]->moved);
	free(n.left[i]);
	n.left[i] = NULL;
}

bool node_pages_answer_later(struct job *j, json_t *reply)
{
	struct job *p;

	if (j->pages || j->pages_done || !json_is_true(json_object_get(reply, "postcopy")))
		return false;
	p = service_of(j->uuid);
	if (!p)
		p = left_new(j);         /* between two services */
	if (!p)
		return false;
	take_call_over(p, j);
	json_decref(p->moved);
	p->moved = reply;
	return true;
}

json_t *node_pages_reply(struct job *j, json_t *reply)
{
	json_t *moved = j->moved;

	j->moved = NULL;
	if (moved && json_is_true(json_object_get(reply, "ok"))) {
		json_object_set_new(moved, "total_ms", json_real(json_number_value(json_object_get(moved, "total_ms")) +
								 json_number_value(json_object_get(reply, "postcopy_ms"))));
		json_object_update_missing(moved, reply);
		json_decref(reply);
		return moved;
	}
	json_decref(moved);
	return reply;
}

void node_pages_client_gone(const struct msg_client *client)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (n.left[i] && n.left[i]->client == client)
			n.left[i]->client = NULL;
}

/* --- services ---------------------------------------------------------------------------------------------------------------- */

static void tell_mover(const struct job *service, bool ok, const char *code, const char *why)
{
	struct job *mover = mover_of(service);
	json_t *obj = json_pack("{s:s, s:b, s:s, s:s}", "op", "serving", "ok", ok, "code", code ? code : "EIO", "error", why ? why : "");

	if (mover)
		msg_send(mover->control, obj, NULL, 0);
	json_decref(obj);
}

static struct greed *greed_of(const char *uuid, json_int_t attempt)
{
	for (unsigned i = 0; i < JOBS_MAX; i++)
		if (n.greed[i].attempt == attempt && strcmp(n.greed[i].uuid, uuid) == 0)
			return &n.greed[i];
	return NULL;
}

/* A page service ended before all was there: links break, and what was on its way is sent again, but little of it. */
static void greed_count(const struct job *j, const json_t *obj)
{
	struct greed *g = greed_of(j->uuid, j->attempt);
	double frames = json_number_value(json_object_get(obj, "frames"));

	if (!g) {
		g = &n.greed[n.oldest++ % JOBS_MAX];
		*g = (struct greed){ .attempt = j->attempt };
		memcpy(g->uuid, j->uuid, sizeof(g->uuid));
	}
	g->pushed += json_number_value(json_object_get(obj, "pages_pushed"));
	if (frames <= 0 || g->pushed < GENEROUS * frames)
		return;
	g->wait_ns = g->wait_ns ? g->wait_ns * 2 : 2 * KEEPER_MS * NS_PER_MS;
	if (g->wait_ns > LATER_MAX_NS)
		g->wait_ns = LATER_MAX_NS;
	g->until_ns = qb_util_nano_current_get() + g->wait_ns;
	log_warn("%s: %s has had %.0f pages of a guest of %.0f, and wants more; it is served again in %.0f s", j->uuid, j->target, g->pushed, frames,
		 (double)g->wait_ns / 1e9);
}

static bool greed_waits(const char *uuid, json_int_t attempt)
{
	const struct greed *g = greed_of(uuid, attempt);

	return g && qb_util_nano_current_get() < g->until_ns;
}

static void service_start(const json_t *request)
{
	const char *uuid = json_string_value(json_object_get(request, "uuid")), *target = json_string_value(json_object_get(request, "target"));
	const char *op = json_string_value(json_object_get(request, "op"));
	struct err err = { 0 };
	struct job *j;

	if (!uuid || !target || !op || strcmp(op, "pages") != 0 || service_of(uuid) ||
	    greed_waits(uuid, json_integer_value(json_object_get(request, "attempt"))))
		return;
	j = job_begin(request, &err);
	if (!j) {
		log_warn("%s: its pages cannot be served to %s: %s", uuid, target, err.text);
		keeper_later();
		return;
	}
	j->pages = true;
	snprintf(j->uuid, sizeof(j->uuid), "%s", uuid);
	j->attempt = json_integer_value(json_object_get(request, "attempt"));
	snprintf(j->target, sizeof(j->target), "%s", target);
	for (int i = 0; i < JOBS_MAX; i++)
		if (n.left[i] && strcmp(n.left[i]->uuid, uuid) == 0 && !j->moved) {
			take_call_over(j, n.left[i]);
			j->moved = n.left[i]->moved;
			n.left[i]->moved = NULL;
			left_free(i);
		}
}

/* Its last word. */
static bool service_said(struct job *j, const json_t *obj)
{
	const char *state = json_string_value(json_object_get(obj, "state"));
	struct job *mover = mover_of(j);
	bool ok = json_is_true(json_object_get(obj, "ok")), again = !ok && state && strcmp(state, "handed") == 0;

	if (ok && mover)
		mover->pages_done = true;
	if (again)
		greed_count(j, obj);
	if (!ok && !j->serving)
		tell_mover(j, false, json_string_value(json_object_get(obj, "code")), json_string_value(json_object_get(obj, "error")));
	j->serving = true;
	return !again;
}

bool node_pages_heard(struct job *j, const json_t *obj)
{
	if (!j->pages) {
		if (json_object_get(obj, "serve") && !j->incoming)
			service_start(json_object_get(obj, "serve"));
		return true;
	}
	if (json_is_true(json_object_get(obj, "serving"))) {
		j->serving = true;
		tell_mover(j, true, NULL, NULL);
	}
	return json_object_get(obj, "ok") ? service_said(j, obj) : true;
}

void node_pages_ended(struct job *j)
{
	struct job *l;

	if (!j->pages)
		return;
	if (!j->serving)
		tell_mover(j, false, NULL, "it ended; see the log of migrated");
	keeper_later();
	l = j->moved && j->call ? left_new(j) : NULL;
	if (l) {
		take_call_over(l, j);
		l->moved = j->moved;
		j->moved = NULL;
	}
	json_decref(j->moved);
	j->moved = NULL;
}

/* --- the keeper ---------------------------------------------------------------------------------------------------------------- */

static bool is_served(const json_t *domains, const char *uuid)
{
	const json_t *d;
	size_t k;

	json_array_foreach(domains, k, d) {
		const char *have = json_string_value(json_object_get(d, "uuid"));

		if (have && strcmp(have, uuid) == 0 && json_is_object(json_object_get(d, "serves")))
			return true;
	}
	return false;
}

/* Its copy serves nobody any more, and no service told how it ended: it has gone, or runs here again. */
static void answer_left(const json_t *domains)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (n.left[i] && !is_served(domains, n.left[i]->uuid)) {
			job_answer(n.left[i], json_pack("{s:b}", "ok", 1));
			left_free(i);
		}
}

static void on_domains(int rc, const json_t *reply, int *fds, int nfds, void *arg)
{
	const json_t *domains = json_object_get(reply, "domains"), *d;
	bool again = rc != 0 || !json_is_array(domains);
	size_t i;

	n.asking = false;
	json_array_foreach(domains, i, d) {
		const json_t *serves = json_object_get(d, "serves");
		const char *copy = json_string_value(json_object_get(d, "copy"));

		if (!json_is_object(serves) || !copy || strcmp(copy, "handed") != 0)
			continue;
		again = true;
		service_start(serves);
	}
	if (rc == 0 && json_is_array(domains))
		answer_left(domains);
	if (again)
		keeper_later();
}

static void keeper_look(void *arg)
{
	n.keeper = 0;
	if (n.asking)
		return;
	if (!n.hypervisord)
		msg_peer_new(n.loop, "hypervisord.sock", NULL, NULL, NULL, NULL, &n.hypervisord);
	n.asking = n.hypervisord && msg_peer_call(n.hypervisord, json_pack("{s:s}", "op", "list"), NULL, 0, on_domains, NULL) == 0;
	if (!n.asking)
		keeper_later();
}

static void keeper_later(void)
{
	if (!n.keeper && qb_loop_timer_add(n.loop, QB_LOOP_LOW, KEEPER_MS * NS_PER_MS, NULL, keeper_look, &n.keeper) < 0)
		n.keeper = 0;
}

void node_pages_init(qb_loop_t *loop, struct job **jobs)
{
	n.loop = loop;
	n.job = jobs;
	keeper_later();
}
