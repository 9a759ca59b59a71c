/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move_source.c - the sending side of a move, in file order.
 *
 *	connect → migrate-open → TLS → HELLO / ANSWER → ACCEPT → rounds → pause → last pages, state, END → READY
 *	    → mark-handed → released → GO → DONE
 *
 * Up to mark-handed every failure, and a cancel, ends by closing the migration channel: the copy here runs on.  From mark-handed on
 * nothing is undone here; the reply says "handed", and ha-agentd settles who owns the guest.
 */
#include "config.h"
#include "migrated/move_source.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/deadlines.h"
#include "lib/hold.h"
#include "lib/log.h"
#include "lib/msg.h"

#define STALE_NS (400 * NS_PER_MS)   /* since the pause: asked again before the mark */
#define DEFAULT_PORT 8002

static const char *const phase_name[PHASE_NR] = { "preflight", "prepare", "precopy", "reconnect", "last-pages", "state", "ready",
						  "handover", "activate" };

/* --- progress ------------------------------------------------------------------------------------------------------------- */

void source_enter_phase(struct source *s, enum phase p)
{
	uint64_t now = link_now_ns();

	s->phase_ns[s->phase] += now - s->phase_begin_ns;
	s->phase = p;
	s->phase_begin_ns = now;
	hold_at(phase_name[p]);
}

static void send_progress(struct worker *w, void *arg)
{
	struct source *s = arg;
	struct precopy_progress g;
	json_t *p;

	precopy_progress(&s->precopy, &g);
	p = json_pack("{s:s, s:f, s:i, s:I, s:f, s:f}", "phase", phase_name[s->phase], "percent", g.percent, "rounds", (int)g.rounds,
		      "bytes_sent", (json_int_t)g.bytes_sent, "eta_s", g.eta_s, "throttle_percent", g.throttle_percent);
	if (g.rate_known)
		json_object_set_new(p, "rate_mbs", json_real(g.rate_mbs));
	if (g.known) {
		json_object_set_new(p, "dirty_rate_mbs", json_real(g.dirty_rate_mbs));
		json_object_set_new(p, "converges", json_boolean(g.converges));
	}
	worker_send_control(w, json_pack("{s:o}", "progress", p));
}

/* --- request, local preparations -------------------------------------------------------------------------------------------- */

static int need_string(const struct source *s, const char *key, const char **ret, struct err *err)
{
	*ret = json_string_value(json_object_get(s->request, key));
	return *ret && **ret ? 0 : err_set(err, -EINVAL, "%s: a string is needed", key);
}

static int need_integer(const struct source *s, const char *key, json_int_t *ret, struct err *err)
{
	const json_t *v = json_object_get(s->request, key);

	*ret = json_integer_value(v);
	return json_is_integer(v) && *ret >= 0 ? 0 : err_set(err, -EINVAL, "%s: a number is needed", key);
}

static int parse_request(struct source *s, struct err *err)
{
	const char *op = json_string_value(json_object_get(s->request, "op"));
	const json_t *port = json_object_get(s->request, "port");
	int rc = need_string(s, "target", &s->target, err);

	s->word = op && strcmp(op, "copy") == 0 ? "" : NULL;
	s->only_ask = s->word || (op && strcmp(op, "preflight") == 0);
	s->turns = json_is_true(json_object_get(s->request, "turns"));
	s->port = json_is_integer(port) ? (int)json_integer_value(port) : DEFAULT_PORT;
	s->address = json_string_value(json_object_get(s->request, "address"));
	if (!s->address || !*s->address)
		s->address = s->target;      /* a name that resolves */
	if (rc == 0 && s->word) {
		if (json_string_value(json_object_get(s->request, "word")))
			s->word = json_string_value(json_object_get(s->request, "word"));
		s->config = json_object();
		rc = need_string(s, "uuid", &s->uuid, err);
		return rc == 0 ? need_integer(s, "attempt", &s->attempt, err) : rc;
	}
	if (rc == 0 && s->only_ask) {
		s->config = json_incref(json_object_get(s->request, "config"));
		s->uuid = json_string_value(json_object_get(s->config, "uuid"));
		return s->uuid ? 0 : err_set(err, -EINVAL, "config: an object with a uuid is needed");
	}
	if (rc == 0)
		rc = need_string(s, "uuid", &s->uuid, err);
	if (rc == 0)
		rc = need_integer(s, "domid", &s->domid, err);
	if (rc == 0)
		rc = need_integer(s, "attempt", &s->attempt, err);
	return rc;
}

static int open_domain(struct source *s, struct err *err)
{
	struct worker *w = s->w;
	int fds[MSG_MAX_FDS], nfds = 0;
	int rc = worker_call(w, w->hypervisord, json_pack("{s:s, s:I, s:I, s:s}", "op", "migrate-open", "domid", s->domid, "attempt",
			     s->attempt, "target", s->target), NULL, 0, NULL, fds, &nfds, DL_DAEMON, err);

	if (rc < 0)
		return rc;
	if (nfds != 2) {
		for (int i = 0; i < nfds; i++)
			close(fds[i]);
		return err_set(err, -EPROTO, "hypervisord: migrate-open: %d descriptors came, 2 expected", nfds);
	}
	w->channel = fds[0];
	s->ram_fd = fds[1];
	return 0;
}

static int channel_answer(struct source *s, const char *op, json_t **ret_reply, int *ret_fd, int timeout_ms, struct err *err)
{
	int fds[MSG_MAX_FDS], nfds = 0;
	int rc = worker_answer(s->w, s->w->channel, op, ret_reply, fds, &nfds, timeout_ms, err);

	for (int i = ret_fd && rc == 0 ? 1 : 0; i < nfds; i++)
		close(fds[i]);
	if (rc == 0 && ret_fd && nfds < 1) {
		if (ret_reply) {
			json_decref(*ret_reply);
			*ret_reply = NULL;
		}
		return err_set(err, -EPROTO, "hv-domain: %s: no descriptor came", op);
	}
	if (rc == 0 && ret_fd)
		*ret_fd = fds[0];
	return rc;
}

static int channel_call(struct source *s, const char *op, json_t **ret_reply, int *ret_fd, int timeout_ms, struct err *err)
{
	int rc = worker_ask(s->w->channel, json_pack("{s:s}", "op", op), NULL, 0, err);

	return rc < 0 ? rc : channel_answer(s, op, ret_reply, ret_fd, timeout_ms, err);
}

int source_channel_call(struct source *s, const char *op, int *ret_fd, struct err *err)
{
	return channel_call(s, op, NULL, ret_fd, DL_DAEMON, err);
}

static int measure_memory(struct source *s, struct err *err)
{
	json_t *info = NULL;
	json_t *features;
	json_int_t ram, special;
	int seals = fcntl(s->ram_fd, F_GET_SEALS);
	off_t size = lseek(s->ram_fd, 0, SEEK_END);
	int rc = channel_call(s, "info", &info, NULL, DL_DAEMON, err);

	if (rc < 0)
		return rc;
	ram = json_integer_value(json_object_get(info, "ram_pages"));
	special = json_integer_value(json_object_get(info, "special_pages"));
	features = json_object_get(info, "cpu_features");
	if (json_is_array(features)) {      /* the guest's own; the node may have more, which no target needs */
		json_decref(s->features);
		s->features = json_incref(features);
	}
	json_decref(info);
	if (ram < 1 || special < 0 || ram > (json_int_t)WORKER_FRAMES_MAX || special > (json_int_t)WORKER_FRAMES_MAX)
		return err_set(err, -EPROTO, "hv-domain: info: impossible page counts");
	s->ram_pages = (uint64_t)ram;
	s->frames = (uint64_t)(ram + special);
	s->words = (s->frames + 63) / 64;
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || size < 0 || (uint64_t)size < s->frames * STREAM_PAGE)
		return err_set(err, -EPROTO, "hypervisord: migrate-open: the memory is not sealed, or too small");
	return source_maps_new(s, err);
}

int source_open_memory(struct source *s, struct err *err)
{
	int rc = s->w->channel >= 0 ? 0 : open_domain(s, err);

	return rc < 0 || s->words ? rc : measure_memory(s, err);
}

/* Read, not mapped: the file is another process's and may shrink.  Bits beyond the last frame are dropped. */
static int read_bitmap(struct source *s, int fd, uint64_t *map, struct err *err)
{
	size_t want = s->words * 8, have = 0;
	ssize_t r;

	while (have < want && (r = pread(fd, (char *)map + have, want - have, (off_t)have)) > 0)
		have += (size_t)r;
	close(fd);
	if (have != want)
		return err_set(err, -EPROTO, "hv-domain: its dirty bitmap is too short");
	if (s->frames % 64)
		map[s->words - 1] &= (1ull << (s->frames % 64)) - 1;
	return 0;
}

int source_read_log(struct source *s, uint64_t *ret_pages, struct err *err)
{
	int fd = -1, rc = channel_call(s, "dirty-round", NULL, &fd, DL_DAEMON, err);

	if (rc == 0)
		rc = read_bitmap(s, fd, s->snap, err);
	if (rc == 0)
		*ret_pages = source_count(s, s->snap);
	return rc;
}

static int tell_throttle(struct source *s, struct err *err)
{
	unsigned want = precopy_throttle(&s->precopy);
	int rc;

	if (want == s->throttle)
		return 0;
	rc = worker_call(s->w, s->w->channel, json_pack("{s:s, s:i}", "op", "throttle", "thousandths", (int)want), NULL, 0, NULL, NULL, NULL,
			 DL_DAEMON, err);
	if (rc == 0) {
		log_info("%s: writes faster than the link carries, slowed down by %.1f %%", s->uuid, want / 10.0);
		s->throttle = want;
	}
	return rc;
}

/* The deadline came in mid-round: what went is there, the rest of the round and what was written meanwhile are owed. */
static int switch_in_mid_round(struct source *s, struct err *err)
{
	uint64_t dirty, ignored;
	int rc = source_cut_round(s, err);

	if (rc == 0 && !s->resumable)
		rc = source_ping(s, PINGS, &ignored, err);
	if (rc == 0)
		rc = source_read_log(s, &dirty, err);
	for (size_t i = 0; rc == 0 && i < s->words; i++)
		s->snap[i] |= s->todo[i];
	if (rc == 0)
		source_next_round(s);
	return rc;
}

static int hurry(struct source *s, struct err *err)
{
	s->hurried = true;
	return worker_hurry(s->w, s->domid, HURRY_BEGINS, err);
}

static void hurry_over(struct source *s)
{
	struct err ignored;

	if (s->hurried)
		worker_hurry(s->w, s->domid, HURRY_OVER, &ignored);
	s->hurried = false;
}

/* Rounds until the guest may be stopped; todo then names the pages known to be left.  *ret_switch: they are to be owed. */
static int precopy_rounds(struct source *s, bool *ret_switch, struct err *err)
{
	enum precopy_action action = PRECOPY_ROUND;
	uint64_t dirty = 0, ignored;
	int rc;

	source_enter_phase(s, PHASE_PRECOPY);
	precopy_init(&s->precopy, &s->cfg, s->frames, link_now_ns());
	s->w->progress_arg = s;
	s->w->progress = send_progress;
	rc = channel_call(s, "dirty-start", NULL, NULL, DL_DAEMON, err);
	if (rc == 0)
		rc = source_read_log(s, &dirty, err);
	if (rc == 0)
		rc = source_begin_with_everything(s, err);
	while (rc == 0 && action == PRECOPY_ROUND) {
		uint64_t pages = source_count(s, s->todo);

		precopy_round_begin(&s->precopy, pages, link_now_ns());
		s->in_round = true;
		rc = s->precopy.round == 1 ? source_tell_code(s, true, err) : 0;
		if (rc == 0)
			rc = source_send_round(s, err);
		/* what lies in buffers between here and there would be waited for in the pause; acknowledgements tell the same */
		if (rc == 0 && !s->resumable)
			rc = source_ping(s, PINGS, &ignored, err);
		while (rc < 0 && source_may_resume(s, rc)) {
			rc = source_resume(s, err);
			if (rc == 0)
				rc = source_send_round(s, err);
		}
		if (rc == -ETIME && s->cfg.postcopy) {
			*ret_switch = true;
			return switch_in_mid_round(s, err);
		}
		if (rc == 0)
			rc = source_read_log(s, &dirty, err);
		if (rc < 0)
			break;
		s->in_round = false;
		action = precopy_round_end(&s->precopy, dirty, link_now_ns());
		log_debug("%s: round %u: %llu pages sent, %llu dirty after it, %.0f MB/s", s->uuid, s->precopy.round - 1,
			  (unsigned long long)pages, (unsigned long long)dirty, (double)s->precopy.rate_bps / 1e6);
		source_next_round(s);
		if (s->precopy.round == 1)
			rc = source_tell_code(s, false, err);
		if (rc == 0 && action == PRECOPY_STOP && source_code_needs_time(s))
			action = PRECOPY_ROUND;
		if (rc == 0 && action == PRECOPY_STOP)
			rc = source_turn_pause(s, &action, err);
		if (rc == 0 && action == PRECOPY_STOP)
			rc = hurry(s, err);
		/* two clocks drift apart while the rounds last; the one that is right counts at the pause */
		if (rc == 0 && action == PRECOPY_STOP)
			rc = source_compare_clocks(s, err);
		while (rc < 0 && source_may_resume(s, rc)) {
			rc = source_resume(s, err);
			action = PRECOPY_ROUND;
		}
		if (rc == 0 && action == PRECOPY_ROUND)
			rc = tell_throttle(s, err);
	}
	if (rc == 0 && action == PRECOPY_GIVE_UP)
		rc = err_set(err, -ETIME, "%s", precopy_why(&s->precopy));
	*ret_switch = action == PRECOPY_SWITCH;
	return rc;
}

/* --- the guest stands still ----------------------------------------------------------------------------------------------------- */

static int pause_guest(struct source *s, struct err *err)
{
	uint64_t before = link_now_ns(), told;
	json_t *reply = NULL;
	int fd = -1, rc;

	source_enter_phase(s, PHASE_LAST_PAGES);
	rc = worker_ask(s->w->channel, json_pack("{s:s}", "op", "pause"), NULL, 0, err);
	if (rc == 0)
		rc = worker_hurry_guest(s->w, s->domid, err);     /* so that vCPUs which sleep, or wait for a processor, stop soon */
	if (rc == 0)
		rc = channel_answer(s, "pause", &reply, &fd, DL_PAUSE, err);
	if (rc < 0)
		return rc;
	s->paused = true;
	told = (uint64_t)json_integer_value(json_object_get(reply, "pause_ns"));
	s->pause_ns = told >= before && told <= link_now_ns() ? told : before;
	s->pause_realtime_ns = (uint64_t)json_integer_value(json_object_get(reply, "pause_realtime_ns"));
	json_decref(reply);
	rc = read_bitmap(s, fd, s->snap, err);
	for (size_t i = 0; rc == 0 && i < s->words; i++)
		s->todo[i] |= s->snap[i];
	return rc;
}

static int send_last_pages(struct source *s, struct err *err)
{
	precopy_round_begin(&s->precopy, source_count(s, s->todo), link_now_ns());
	return source_send_round(s, err);
}

static int send_state(struct source *s, struct err *err)
{
	uint64_t at = s->pause_realtime_ns ? s->pause_realtime_ns + (uint64_t)s->clock_offset_ns : 0;
	uint8_t le[16], *body = NULL;
	int fd = -1, rc;
	off_t size;

	source_enter_phase(s, PHASE_STATE);
	rc = channel_answer(s, "state-save", NULL, &fd, DL_STATE, err);
	if (rc < 0)
		return rc;
	size = lseek(fd, 0, SEEK_END);
	if (size <= 0 || size > (off_t)stream_state_max(s->ram_pages))
		rc = err_set(err, -EPROTO, "hv-domain: state-save: %lld octets of state; a guest of its memory has at most %u", (long long)size,
			     stream_state_max(s->ram_pages));
	else if (!(body = malloc((size_t)size)))
		rc = err_set(err, -ENOMEM, "out of memory");
	else if (pread(fd, body, (size_t)size, 0) != (ssize_t)size)
		rc = err_set(err, -EPROTO, "hv-domain: state-save: its memfd is short");
	close(fd);
	for (int i = 0; i < 8; i++) {
		le[i] = (uint8_t)(at >> (8 * i));
		le[8 + i] = (uint8_t)((uint64_t)s->clock_offset_ns >> (8 * i));
	}
	if (rc == 0)
		rc = link_record(&s->w->link, STREAM_PAUSED, le, s->accept.version >= STREAM_VERSION_RESUME ? 16 : 8);
	if (rc == 0)
		rc = page_source_state(&s->sender[0].pages, body, (uint32_t)size);
	/* the further connections' ends first: the target waits for them at the main one's */
	for (unsigned i = s->links; rc == 0 && i-- > 0; )
		rc = page_source_end(&s->sender[i].pages);
	free(body);
	return rc < 0 && !err->code ? worker_link_error(s->w, rc, err) : rc;
}

static int wait_ready(struct source *s, struct err *err)
{
	uint64_t ignored;
	int rc;

	source_enter_phase(s, PHASE_READY);
	rc = source_expect(s, STREAM_READY, NULL, NULL, err);
	/* a READY that may have lain here for long says little; once the copy is handed, a dead target costs the guest its memory */
	if (rc == 0 && link_now_ns() - s->pause_ns > STALE_NS)
		rc = source_ping(s, PINGS, &ignored, err);
	return rc;
}

/* --- post-copy: what is left of RAM is owed, and fetched from here when the guest runs there ---------------------------------- */

static int send_runs(struct source *s, const struct stream_run *run, uint32_t count, uint32_t flags, struct err *err)
{
	uint8_t body[8 + 16 * STREAM_ZEROS_MAX];
	int rc;

	stream_runs_encode(body, run, count, flags);
	rc = page_source_other(&s->sender[0].pages, STREAM_OWED, body, 8 + 16 * count);
	return rc < 0 ? worker_link_error(s->w, rc, err) : 0;
}

/* RAM frames of todo become owed, and the target hears of those that were not yet; special frames stay. */
static int owe_todo(struct source *s, struct err *err)
{
	struct stream_run run[STREAM_ZEROS_MAX];
	uint32_t n = 0;
	int rc = 0;

	for (uint64_t f = 0; f < s->ram_pages && rc == 0; f++) {
		uint64_t bit = 1ull << (f % 64);

		if (f % 64 == 0 && !s->todo[f / 64]) {
			f += 63;
			continue;
		}
		if (!(s->todo[f / 64] & bit))
			continue;
		s->todo[f / 64] &= ~bit;
		if (s->owed[f / 64] & bit)
			continue;
		s->owed[f / 64] |= bit;
		s->owed_pages++;
		if (n && run[n - 1].first + run[n - 1].count == f) {
			run[n - 1].count++;
			continue;
		}
		if (n == STREAM_ZEROS_MAX) {
			rc = send_runs(s, run, n, 0, err);
			n = 0;
		}
		run[n++] = (struct stream_run){ f, 1 };
	}
	return rc == 0 ? send_runs(s, run, n, STREAM_LAST, err) : rc;
}

/* How a page service of this move finds its way, now and when it is begun again: it stays with the copy. */
static json_t *serves_json(const struct source *s)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:i, s:I}", "op", "pages", "uuid", s->uuid, "domid", s->domid, "attempt", s->attempt,
			      "target", s->target, "address", s->address, "port", s->port, "bandwidth_mbs", (json_int_t)s->w->policy.bandwidth_mbs);

	if (s->owed_pages)
		json_object_set_new(o, "owed_pages", json_integer((json_int_t)s->owed_pages));
	if (json_is_array(json_object_get(s->request, "addresses")))
		json_object_set(o, "addresses", json_object_get(s->request, "addresses"));
	return o;
}

/* With the guest still running: the page service meets the target, and what is known to be owed is cleared away there. */
static int prepare_switch(struct source *s, struct err *err)
{
	enum precopy_action stays = PRECOPY_SWITCH;
	uint64_t ignored;
	int rc;

	s->owed = calloc(s->words, 8);
	if (!s->owed)
		return err_set(err, -ENOMEM, "out of memory");
	rc = worker_serve(s->w, serves_json(s), err);
	if (rc == 0)
		rc = owe_todo(s, err);
	hold_at("owed");
	if (rc == 0)
		rc = source_ping(s, PINGS, &ignored, err);
	if (rc == 0)
		rc = source_turn_pause(s, &stays, err);
	return rc == 0 ? hurry(s, err) : rc;
}

/* The guest stands still: however little at a time the target takes or says, that has an end. */
static int stop_and_copy(struct source *s, struct err *err)
{
	int patience = (int)s->w->policy.max_downtime_ms;
	struct worker_deadline none = worker_deadline(s->w, DL_STOPPED + patience, "the pause"), pause;
	int rc = pause_guest(s, err);

	pause = worker_deadline(s->w, DL_LAST_PAGES + DL_STATE + patience, "sending what was left");
	/* hv-domain gathers the state while the last pages go out */
	if (rc == 0)
		rc = worker_ask(s->w->channel, json_pack("{s:s, s:i}", "op", "state-save", "version", (int)s->accept.version), NULL, 0, err);
	if (rc == 0 && s->owed)
		rc = owe_todo(s, err);
	if (rc == 0)
		rc = send_last_pages(s, err);
	if (rc == 0)
		rc = send_state(s, err);
	s->w->deadline = pause;
	if (rc == 0)
		rc = wait_ready(s, err);
	s->w->deadline = none;
	return rc;
}

/* --- the switch -------------------------------------------------------------------------------------------------------------------- */

/*
 * A definite refusal leaves the copy paused, and closing the channel resumes it.  No answer at all may mean that it was marked: the
 * reply then says "handed", and the copy's own state, which ha-agentd reads, is the truth.
 */
static int mark_handed(struct source *s, bool *ret_released, struct err *err)
{
	struct worker *w = s->w;
	json_t *reply = NULL, *mark;
	const char *code;
	int rc;

	rc = worker_tick(w, false);
	if (rc == -ECANCELED)
		return err_set(err, rc, "cancelled");
	w->cancellable = false;
	s->handed = true;
	worker_send_control(w, json_pack("{s:b}", "handed", 1));
	mark = json_pack("{s:s, s:I, s:I, s:s, s:b}", "op", "mark-handed", "domid", s->domid, "attempt", s->attempt, "target", s->target,
			 "release", 1);
	if (s->owed)
		json_object_set_new(mark, "serves", serves_json(s));
	rc = worker_call(w, w->hypervisord, mark, NULL, 0, &reply, NULL, NULL, DL_MARK_HANDED, err);
	if (rc == -EPERM || rc == -EINVAL || rc == -ENOENT || rc == -EBUSY) {
		s->handed = false;
		worker_send_control(w, json_pack("{s:b}", "handed", 0));
	}
	*ret_released = json_is_true(json_object_get(reply, "released"));
	code = json_string_value(json_object_get(reply, "release_code"));
	if (rc == 0 && code)
		rc = err_set(err, -(err_from_name(code) ? err_from_name(code) : EIO), "%s",
			     json_string_value(json_object_get(reply, "release_error")));
	json_decref(reply);
	return rc;
}

static int send_go(struct source *s, struct err *err)
{
	uint8_t le[8];
	int rc;

	for (int i = 0; i < 8; i++)
		le[i] = (uint8_t)((uint64_t)s->attempt >> (8 * i));
	s->go_ns = link_now_ns();
	rc = link_record(&s->w->link, STREAM_GO, le, sizeof(le));
	s->go_sent = rc == 0;
	return rc < 0 ? worker_link_error(s->w, rc, err) : 0;
}

static int wait_done(struct source *s, struct err *err)
{
	int rc;

	source_enter_phase(s, PHASE_ACTIVATE);
	rc = source_read_done(s, err);
	s->done_ns = link_now_ns();
	return rc;
}

static int hand_over(struct source *s, struct err *err)
{
	bool released = false;
	int rc;

	source_enter_phase(s, PHASE_HANDOVER);
	rc = mark_handed(s, &released, err);
	hold_at("handed");
	if (rc == 0 && !released)
		rc = channel_call(s, "released", NULL, NULL, DL_RELEASED, err);
	hold_at("released");
	if (rc == 0)
		rc = send_go(s, err);
	if (rc == 0)
		rc = wait_done(s, err);
	source_turn_over(s);
	return rc;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------------ */

/* Two plain hosts have nobody who counts RUNNING: the target's DONE is the word that the copy here is over. */
static void end_standalone(struct source *s)
{
	struct err err = { 0 };

	if (s->w->ha_agentd < 0 && !s->owed &&      /* while it serves pages the page service says when it is over */
	    worker_call(s->w, s->w->hypervisord, json_pack("{s:s, s:I, s:s}", "op", "destroy", "domid", s->domid, "reason", "migrated"), NULL, 0,
			NULL, NULL, NULL, DL_DAEMON, &err) < 0)
		log_warn("%s: runs on %s, but its old copy here is not removed: %s", s->uuid, s->target, err.text);
}

/* From pause to running, by two clocks: what the round trip GO → DONE took beyond the target's own work is halved. */
static double downtime_ms(const struct source *s)
{
	uint64_t trip = s->done_ns - s->go_ns, way = trip > s->run_ns ? (trip - s->run_ns) / 2 : 0;

	return (double)(s->go_ns - s->pause_ns + s->run_ns + way) / 1e6;
}

static json_t *phases_json(const struct source *s)
{
	json_t *o = json_object();
	char key[32];

	for (int i = 0; i < PHASE_NR; i++) {
		snprintf(key, sizeof(key), "%s_ms", phase_name[i]);
		json_object_set_new(o, key, json_real((double)s->phase_ns[i] / 1e6));
	}
	return o;
}

/* Where the pause went belongs to it: of one that was long, this line is all that is left afterwards. */
static void log_moved(const struct source *s, double total_ms)
{
	char parts[160] = "";
	size_t n = 0;

	for (int i = PHASE_LAST_PAGES; i < PHASE_NR && n < sizeof(parts); i++)
		n += (size_t)snprintf(parts + n, sizeof(parts) - n, "%s%s %.1f", n ? ", " : "", phase_name[i], (double)s->phase_ns[i] / 1e6);
	log_info("%s: moved to %s in %.0f ms, down for %.1f ms (%s)", s->uuid, s->target, total_ms, downtime_ms(s), parts);
}

static json_t *figures(struct source *s)
{
	uint64_t zero = 0, sent = 0, bytes = 0;

	source_enter_phase(s, s->phase);
	for (unsigned i = 0; i < s->links; i++) {
		bytes += s->sender[i].link->bytes_out;
		zero += s->sender[i].pages.zero_pages;
		sent += s->sender[i].pages.sent_pages;
	}
	return json_pack("{s:b, s:s, s:b, s:f, s:f, s:f, s:i, s:I, s:I, s:I, s:f, s:f, s:i, s:i, s:i, s:s, s:o}", "ok", 1, "state", "running-there",
			 "postcopy", s->owed != NULL, "owed_mib", (double)s->owed_pages / 256, "total_ms",
			 (double)(link_now_ns() - s->begin_ns) / 1e6, "waited_ms", (double)s->waited_ns / 1e6, "rounds", (int)s->precopy.round, "bytes_sent",
			 (json_int_t)bytes, "pages_sent", (json_int_t)sent, "zero_pages", (json_int_t)zero, "downtime_vcpu_ms",
			 downtime_ms(s), "throttle_percent", s->throttle / 10.0, "resumed", (int)s->resumed, "connections", (int)s->links, "stream_version",
			 (int)s->accept.version, "tls", SSL_get_version(s->w->link.ssl), "phases", phases_json(s));
}

static json_t *failure(const struct source *s, const struct err *err)
{
	json_t *o = json_pack("{s:b, s:s, s:s, s:s, s:s}", "ok", 0, "code", err_name(err->code), "error", err->text, "state",
			      s->handed ? "handed" : "running-here", "phase", phase_name[s->phase]);

	if (s->problems)
		json_object_set(o, "problems", s->problems);
	return o;
}

static void source_end(struct source *s)
{
	for (unsigned i = 0; i < s->links; i++) {
		page_source_free(&s->sender[i].pages);
		if (i > 0)
			link_close(&s->sender[i].own, s->go_sent);
	}
	if (s->ram_fd >= 0)
		close(s->ram_fd);
	source_maps_free(s);
	json_decref(s->config);
	json_decref(s->features);
	json_decref(s->disk_sectors);
	json_decref(s->problems);
	json_decref(s->copy);
}

static int move(struct source *s, struct err *err)
{
	bool switches = false;
	int rc = source_prepare(s, err);

	if (rc == 0)
		rc = precopy_rounds(s, &switches, err);
	if (rc == 0 && switches)
		rc = prepare_switch(s, err);
	if (rc == 0)
		rc = stop_and_copy(s, err);
	return rc == 0 ? hand_over(s, err) : rc;
}

void move_source_run(struct worker *w, const json_t *request)
{
	struct source s = { .w = w, .request = request, .ram_fd = -1, .begin_ns = link_now_ns() };
	struct err err = { 0 };
	json_t *reply;
	int rc;

	s.phase_begin_ns = s.begin_ns;
	rc = parse_request(&s, &err);
	if (rc == 0)
		rc = source_meet(&s, &err);
	if (rc == 0 && !s.only_ask)
		rc = move(&s, &err);
	w->progress = NULL;
	w->deadline = (struct worker_deadline){ 0 };
	if (rc < 0) {
		/* the channel first: a paused copy runs again before the failure is told */
		if (w->channel >= 0)
			close(w->channel);
		w->channel = -1;
		w->alive = w->link.ssl != NULL && SSL_is_init_finished(w->link.ssl) && !s.handed;
		worker_send_abort(w, err.text);
		log_warn("%s: not moved to %s: %s", s.uuid ? s.uuid : "?", s.target ? s.target : "?", err.text);
		reply = failure(&s, &err);
	} else if (s.only_ask) {
		reply = json_pack("{s:b, s:O, s:O*}", "ok", 1, "problems", s.problems, "copy", s.copy);
	} else {
		reply = figures(&s);
		log_moved(&s, json_real_value(json_object_get(reply, "total_ms")));
		end_standalone(&s);
	}
	worker_send_control(w, reply);
	hurry_over(&s);                  /* after the word on how it went: nobody waits for this one */
	source_end(&s);
}
