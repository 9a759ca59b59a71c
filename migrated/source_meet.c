/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source_meet.c - the source meets the target: what is asked at home, HELLO, ANSWER, ACCEPT, the further connections, the clocks.
 *
 * root is dropped before the first octet from the target is read, and no door is open any more when pages go.
 */
#include "config.h"
#include "migrated/move_source.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/deadlines.h"

/* --- at home ----------------------------------------------------------------------------------------------------------------- */

static unsigned processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* haven.conf, the domain's own, this command's: who comes later wins. */
static int decide_policy(struct source *s, struct err *err)
{
	struct move_policy *p = &s->w->policy;
	long long kib = json_integer_value(json_object_get(s->config, "memory_kib"));
	int rc = move_policy_apply(p, json_object_get(s->config, "migration"), err);

	if (rc == 0)
		rc = move_policy_apply(p, json_object_get(s->request, "options"), err);
	precopy_config_default(&s->cfg);
	s->cfg.goal_downtime_ns = (uint64_t)p->target_downtime_ms * NS_PER_MS;
	s->cfg.max_downtime_ns = (uint64_t)p->max_downtime_ms * NS_PER_MS;
	s->cfg.deadline_ns = (uint64_t)p->deadline_s * NS_PER_S;
	s->cfg.bandwidth_bps = (uint64_t)p->bandwidth_mbs * 1000000;
	s->cfg.throttle = p->converge == MOVE_CONVERGE_THROTTLE;
	s->want_links = p->connections ? (unsigned)p->connections : move_connections_default(kib, processors());
	return rc;
}

/* A question may be put by any node; the one where it runs knows how large its disks are. */
static void ask_sectors(struct source *s)
{
	struct err elsewhere;
	json_t *list = NULL;

	if (worker_call(s->w, s->w->hypervisord, json_pack("{s:s, s:s}", "op", "list", "uuid", s->uuid), NULL, 0, &list, NULL, NULL, DL_DAEMON,
			&elsewhere) < 0)
		return;
	s->disk_sectors = json_incref(json_object_get(json_array_get(json_object_get(list, "domains"), 0), "disk_sectors"));
	json_decref(list);
}

/* Configuration of the domain that runs here, and what its CPU has. */
static int ask_hypervisord(struct source *s, struct err *err)
{
	struct worker *w = s->w;
	json_t *info = NULL, *list = NULL, *d;
	int rc = worker_call(w, w->hypervisord, json_pack("{s:s}", "op", "node-info"), NULL, 0, &info, NULL, NULL, DL_DAEMON, err);

	s->features = json_incref(json_object_get(info, json_object_get(info, "cpu_guest_features") ? "cpu_guest_features" : "cpu_features"));
	json_decref(info);
	if (rc < 0)
		return rc;
	if (s->only_ask) {
		ask_sectors(s);
		return 0;
	}
	rc = worker_call(w, w->hypervisord, json_pack("{s:s, s:I}", "op", "list", "domid", s->domid), NULL, 0, &list, NULL, NULL,
			 DL_DAEMON, err);
	if (rc < 0)
		return rc;
	d = json_array_get(json_object_get(list, "domains"), 0);
	s->config = json_incref(json_object_get(d, "config"));
	s->disk_sectors = json_incref(json_object_get(d, "disk_sectors"));
	s->user_paused = json_is_true(json_object_get(d, "user_paused"));
	if (!s->config || !json_is_string(json_object_get(d, "uuid")) ||
	    strcasecmp(json_string_value(json_object_get(d, "uuid")), s->uuid) != 0)
		rc = err_set(err, -ENOENT, "domain %lld with uuid %s is not on this node; see xl list", (long long)s->domid, s->uuid);
	json_decref(list);
	return rc;
}

/* --- the target --------------------------------------------------------------------------------------------------------------- */

static int send_hello(struct source *s, struct err *err)
{
	struct worker *w = s->w;
	json_t *hello = json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:O, s:i, s:I}", "versions", worker_versions(w), "haven", PACKAGE_VERSION,
				  "mode", s->word ? "copy" : s->only_ask ? "preflight" : "move", "source", w->own, "target", s->target, "uuid", s->uuid,
				  "domid", s->domid, "attempt", s->attempt, "config", s->config, "connections", (int)s->want_links,
				  "reconnect_s", (json_int_t)(w->policy.reconnect_s < w->policy.deadline_s ? w->policy.reconnect_s : w->policy.deadline_s));
	char *text;
	int rc;

	if (hello && !s->only_ask && w->version >= STREAM_VERSION_RESUME && w->policy.converge == MOVE_CONVERGE_POSTCOPY)
		json_object_set_new(hello, "postcopy", json_true());
	if (hello && w->version >= STREAM_VERSION_RESUME)
		json_object_set_new(hello, "samples", json_true());
	if (hello && json_is_object(s->disk_sectors))
		json_object_set(hello, "disk_sectors", s->disk_sectors);
	if (hello)
		json_object_set_new(hello, "deadline_s", json_integer((json_int_t)s->w->policy.deadline_s));
	if (hello && s->word)
		json_object_set_new(hello, "word", json_string(s->word));
	if (hello && s->features)
		json_object_set(hello, "cpu_features", s->features);
	if (hello && !s->only_ask)
		json_object_set_new(hello, "frames", json_integer((json_int_t)s->frames));
	text = hello ? json_dumps(hello, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(hello);
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	rc = strlen(text) > STREAM_HELLO_MAX ? -EMSGSIZE : link_record(&w->link, STREAM_HELLO, text, (uint32_t)strlen(text));
	free(text);
	return rc < 0 ? worker_link_error(w, rc, err) : 0;
}

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* The quickest of a few round trips tells best how far the clocks are apart. */
int source_compare_clocks(struct source *s, struct err *err)
{
	uint64_t best = UINT64_MAX;
	int rc = 0;

	for (uint64_t i = 0; i < PINGS && rc == 0; i++) {
		uint64_t before = realtime_ns(), after, theirs;

		rc = source_ping(s, i, &theirs, err);
		after = realtime_ns();
		if (rc == 0 && after - before < best) {
			best = after - before;
			s->clock_offset_ns = (int64_t)(theirs - (before + (after - before) / 2));
		}
	}
	return rc;
}

int source_meet(struct source *s, struct err *err)
{
	struct worker *w = s->w;
	struct stream_preamble pre = { 0 };
	int rc = worker_open(w, err);

	if (rc == 0 && !s->only_ask && strcmp(w->own, s->target) == 0)
		rc = err_set(err, -EEXIST, "the domain is on %s already", s->target);
	if (rc == 0 && s->turns)
		rc = source_turn_begin(s, err);
	if (rc == 0)
		rc = source_connect(s, err);
	pre.version = (uint16_t)w->version;
	if (rc == 0)                           /* early: the target's worker comes while this one asks at home */
		rc = link_preamble(&w->link, &pre, s->address, err);
	if (rc == 0)
		rc = ask_hypervisord(s, err);
	if (rc == 0)
		rc = decide_policy(s, err);
	if (rc == 0)
		rc = worker_drop_root(w, err);
	if (rc == 0)
		rc = link_handshake(&w->link, w->tls, false, s->target, err);
	if (rc == 0 && !s->only_ask)
		rc = source_open_memory(s, err);
	if (rc == 0 && !s->only_ask)
		rc = source_watch_code(s, err);
	if (rc == 0)
		rc = send_hello(s, err);
	if (rc == 0)
		rc = source_read_answer(s, err);
	return rc;
}

int source_prepare(struct source *s, struct err *err)
{
	int rc;

	source_enter_phase(s, PHASE_PREPARE);
	rc = source_read_accept(s, err);
	s->w->alive = rc == 0;
	if (rc == 0)
		rc = source_join_main(s, err);
	if (rc == 0)
		rc = worker_close_doors(s->w, err);
	if (rc == 0)
		rc = source_turn_send(s, err);
	if (rc == 0 && s->turns)               /* that may have taken long: what ran last counts */
		rc = source_watch_code(s, err);
	if (rc == 0)
		rc = source_join_links(s, err);
	return rc == 0 ? source_compare_clocks(s, err) : rc;
}
