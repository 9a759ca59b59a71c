/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move_target.c - the receiving side of a move, in file order.
 *
 *	TLS → HELLO → checks → ANSWER → ha-agentd's leave → hypervisord's incoming copy → ACCEPT
 *	    → pages … STATE, END → copy loaded → READY → GO → hypervisord activates → DONE
 *
 * Up to GO whatever goes wrong ends in the same way: the migration channel is closed, and hv-domain destroys the incoming copy.
 */
#include "config.h"
#include "migrated/move_target.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "lib/deadlines.h"
#include "lib/hold.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "migrated/move_check.h"

#define STATE_CHUNK (64u << 10)
#define RECONNECT_MAX_S 600
#define DEADLINE_MAX_S 86400         /* of the option deadline_s */
#define HURRY_AGAIN_NS 500000000ull  /* hypervisord's lasts for a second */
#define HURRIES_MAX 64u              /* of a move: rounds that its source might well have paused after, and did not */
#define CODES_MAX 2u                 /* as the first round begins, and after it */
#define OWED_SETS 2u                 /* before the pause, and what came since */

/* --- HELLO, checks, ANSWER ------------------------------------------------------------------------------------------------ */

static const char *hello_str(const struct target *t, const char *key)
{
	const char *s = json_string_value(json_object_get(t->hello, key));

	return s ? s : "";
}

/* The newest that both speak; 0: none. */
static unsigned common_version(const struct worker *w, const json_t *versions)
{
	json_int_t best = 0;
	json_t *v;
	size_t i;

	json_array_foreach(versions, i, v)
		if (json_is_integer(v) && json_integer_value(v) > best && json_integer_value(v) >= STREAM_VERSION_OLDEST &&
		    json_integer_value(v) <= w->version)
			best = json_integer_value(v);
	return (unsigned)best;
}

/* The source says how long it tries; we wait no longer than that, nor than our own bound. */
static uint64_t reconnect_ns(const struct target *t)
{
	json_int_t s = json_integer_value(json_object_get(t->hello, "reconnect_s"));

	if (t->version < STREAM_VERSION_RESUME || s < 1)
		return 0;
	return (uint64_t)(s < RECONNECT_MAX_S ? s : RECONNECT_MAX_S) * NS_PER_S;
}

/* The source ends it at its deadline; the rest is for the pause, and for others' pauses before it. */
static uint64_t whole_ns(const struct target *t)
{
	json_int_t s = json_integer_value(json_object_get(t->hello, "deadline_s"));

	return (uint64_t)(s >= 1 && s < DEADLINE_MAX_S ? s : DEADLINE_MAX_S) * NS_PER_S + t->w->idle_ns;
}

static int hello_valid(struct target *t, struct err *err)
{
	struct worker *w = t->w;

	t->whole_ns = whole_ns(t);
	t->version = common_version(w, json_object_get(t->hello, "versions"));
	t->reconnect_ns = reconnect_ns(t);
	t->samples = t->version >= STREAM_VERSION_RESUME && json_is_true(json_object_get(t->hello, "samples"));
	if (!t->version)
		return err_set(err, -EPROTONOSUPPORT, "%s speaks no version of the migration stream that %s (Haven %s) speaks; "
			       "bring both to the same release", w->link.peer, w->own, PACKAGE_VERSION);
	if (strcmp(hello_str(t, "source"), w->link.peer) != 0)
		return err_set(err, -EACCES, "%s: says that it is %.63s", w->link.peer, hello_str(t, "source"));
	if (strcmp(hello_str(t, "target"), w->own) != 0)
		return err_set(err, -EINVAL, "this is %s, not %.63s; check the migration address", w->own, hello_str(t, "target"));
	if (!json_is_object(json_object_get(t->hello, "config")) || strlen(hello_str(t, "uuid")) >= sizeof(t->uuid) || !*hello_str(t, "uuid") ||
	    !json_is_integer(json_object_get(t->hello, "domid")) || !json_is_integer(json_object_get(t->hello, "attempt")) ||
	    json_integer_value(json_object_get(t->hello, "attempt")) < 0)
		return err_set(err, -EINVAL, "%s: its HELLO lacks a field", w->link.peer);
	snprintf(t->uuid, sizeof(t->uuid), "%s", hello_str(t, "uuid"));
	snprintf(t->source, sizeof(t->source), "%s", w->link.peer);
	t->attempt = (uint64_t)json_integer_value(json_object_get(t->hello, "attempt"));
	t->domid = json_integer_value(json_object_get(t->hello, "domid"));
	return 0;
}

static int read_hello(struct target *t, struct err *err)
{
	struct stream_header hdr;
	uint8_t *body = NULL;
	json_error_t je;
	struct worker_deadline former = worker_deadline(t->w, DL_HELLO, "its HELLO");
	int rc = worker_next_record(t->w, &hdr, err);

	if (rc == 0 && hdr.type != STREAM_HELLO)
		rc = err_set(err, -EBADMSG, "%s: HELLO expected, %s came", t->w->link.peer, stream_type_name(hdr.type));
	if (rc == 0)
		rc = worker_read_body(t->w, &hdr, &body, err);
	t->w->deadline = former;
	if (rc < 0)
		return rc;
	t->hello = json_loadb((const char *)body, hdr.length, JSON_REJECT_DUPLICATES, &je);
	free(body);
	if (!json_is_object(t->hello))
		return err_set(err, -EBADMSG, "%s: its HELLO is no JSON object", t->w->link.peer);
	return hello_valid(t, err);
}

static int send_answer(struct target *t, json_t *problems, struct err *err)
{
	json_t *answer = json_pack("{s:i, s:O, s:i, s:b, s:s, s:s}", "version", (int)t->version, "problems", problems,
				   "codes", (int)CODES_MAX, "samples", t->samples, "node", t->w->own, "haven", PACKAGE_VERSION);
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	int rc = text ? link_record(&t->w->link, STREAM_ANSWER, text, (uint32_t)strlen(text)) : -ENOMEM;

	free(text);
	json_decref(answer);
	return rc < 0 ? worker_link_error(t->w, rc, err) : 0;
}

/* All questions go out together: what takes longest is what it all takes. */
static int ask_facts(struct target *t, struct move_check_facts *f, struct err *err)
{
	struct worker *w = t->w;
	json_t *takes = json_pack("{s:s, s:O}", "op", "takes", "config", json_object_get(t->hello, "config"));
	int rc;

	if (json_is_object(json_object_get(t->hello, "disk_sectors")))
		json_object_set(takes, "disk_sectors", json_object_get(t->hello, "disk_sectors"));
	rc = worker_ask(w->hypervisord, json_pack("{s:s}", "op", "node-info"), NULL, 0, err);
	if (rc == 0)
		rc = worker_ask(w->hypervisord, json_pack("{s:s, s:b}", "op", "list", "table", 1), NULL, 0, err);
	if (rc < 0) {
		json_decref(takes);
		return rc;
	}
	rc = worker_ask(w->hypervisord, takes, NULL, 0, err);
	if (rc == 0)
		rc = worker_answer(w, w->hypervisord, "node-info", &f->info, NULL, NULL, DL_DAEMON, err);
	if (rc == 0)
		rc = worker_answer(w, w->hypervisord, "list", &f->list, NULL, NULL, DL_DAEMON, err);
	if (rc == 0)
		rc = worker_answer(w, w->hypervisord, "takes", &f->takes, NULL, NULL, DL_DAEMON, err);
	return rc;
}

/* 1: go on; 0: it was a question only, or there are problems; -errno. */
static int answer_hello(struct target *t, struct err *err)
{
	json_t *problems = json_array();
	struct move_check_facts facts = { NULL, NULL, NULL };
	bool only_asks = strcmp(hello_str(t, "mode"), "move") != 0;
	struct worker_deadline none = worker_deadline(t->w, DL_DAEMON + DL_CHECK, "hypervisord");
	int rc = only_asks ? 0 : copy_word_outdated(t, err);

	if (rc == 0)
		rc = ask_facts(t, &facts, err);
	t->w->deadline = none;
	if (rc == 0) {
		move_check(t->w, t->hello, &facts, problems);
		rc = send_answer(t, problems, err);
	}
	if (rc == 0)
		rc = only_asks || json_array_size(problems) ? 0 : 1;
	json_decref(facts.info);
	json_decref(facts.list);
	json_decref(facts.takes);
	json_decref(problems);
	return rc;
}

/* --- leave, incoming copy, ACCEPT ------------------------------------------------------------------------------------------ */

/* The cluster's word that this attempt may come here; *ret_grant has what it adds: config, domid, claim. */
static int ask_leave(struct target *t, json_t **ret_grant, struct err *err)
{
	struct worker *w = t->w;

	if (w->ha_agentd < 0) {
		*ret_grant = json_object();
		return *ret_grant ? 0 : -ENOMEM;
	}
	return worker_call(w, w->ha_agentd, json_pack("{s:s, s:s, s:I, s:s}", "op", "incoming-accept", "uuid", t->uuid, "attempt",
			   (json_int_t)t->attempt, "from", w->link.peer), NULL, 0, ret_grant, NULL, NULL, DL_DAEMON, err);
}

static const char *config_str(const json_t *config, const char *key)
{
	const char *s = json_string_value(json_object_get(config, key));

	return s ? s : "";
}

/*
 * The cluster's record is what the guest was started with; the source knows what it has become since (attached disks, memory).  The
 * peer is the node the record let in, and what it says is taken for that very domain alone.
 */
static json_t *config_of(const struct target *t, const json_t *grant)
{
	json_t *recorded = json_object_get(grant, "config"), *present = json_object_get(t->hello, "config");
	bool same = strcasecmp(config_str(recorded, "uuid"), config_str(present, "uuid")) == 0 &&
		    strcmp(config_str(recorded, "name"), config_str(present, "name")) == 0;

	return json_is_object(recorded) && !same ? recorded : present;
}

static int make_copy(struct target *t, const json_t *grant, struct err *err)
{
	struct worker *w = t->w;
	json_t *config = config_of(t, grant), *claim = json_object_get(grant, "claim"), *req;
	int fds[MSG_MAX_FDS], nfds = 0, rc;

	if (json_is_integer(json_object_get(grant, "domid")))
		t->domid = json_integer_value(json_object_get(grant, "domid"));
	req = json_pack("{s:s, s:O, s:I, s:I, s:s}", "op", "incoming", "config", config, "domid", (json_int_t)t->domid, "attempt",
			(json_int_t)t->attempt, "from", w->link.peer);
	if (claim)
		json_object_set(req, "claim", claim);
	rc = worker_call(w, w->hypervisord, req, NULL, 0, NULL, fds, &nfds, DL_INCOMING, err);
	if (rc < 0)
		return rc;
	if (nfds != 2) {
		for (int i = 0; i < nfds; i++)
			close(fds[i]);
		return err_set(err, -EPROTO, "hypervisord: incoming: %d descriptors came, 2 expected", nfds);
	}
	w->channel = fds[0];
	t->ram_fd = fds[1];
	return 0;
}

/* The memory must be sealed: a file that shrinks under a mapping kills who reads it. */
static int map_memory(struct target *t, struct err *err)
{
	json_t *info = NULL;
	json_int_t ram, special;
	int fds[MSG_MAX_FDS], nfds = 0, seals = fcntl(t->ram_fd, F_GET_SEALS);
	off_t size = lseek(t->ram_fd, 0, SEEK_END);
	int rc = worker_call(t->w, t->w->channel, json_pack("{s:s}", "op", "info"), NULL, 0, &info, fds, &nfds, DL_DAEMON, err);

	for (int i = 0; i < nfds; i++)
		close(fds[i]);
	if (rc < 0)
		return rc;
	t->postcopy = json_is_true(json_object_get(info, "postcopy")) && json_is_true(json_object_get(t->hello, "postcopy")) &&
		t->version >= STREAM_VERSION_RESUME;
	ram = json_integer_value(json_object_get(info, "ram_pages"));
	special = json_integer_value(json_object_get(info, "special_pages"));
	json_decref(info);
	if (ram < 1 || special < 0 || ram > (json_int_t)WORKER_FRAMES_MAX || special > (json_int_t)WORKER_FRAMES_MAX)
		return err_set(err, -EPROTO, "hv-domain: info: impossible page counts");
	t->frames = (uint64_t)(ram + special);
	t->owed_words = ((size_t)ram + 63) / 64;
	t->ram_frames = (uint64_t)ram;
	if (json_is_integer(json_object_get(t->hello, "frames")) &&
	    (uint64_t)json_integer_value(json_object_get(t->hello, "frames")) != t->frames)
		return err_set(err, -EINVAL, "the guest has %lld frames on %s, but %llu here: its configuration differs",
			       (long long)json_integer_value(json_object_get(t->hello, "frames")), t->w->link.peer,
			       (unsigned long long)t->frames);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || size < 0 || (uint64_t)size < t->frames * STREAM_PAGE)
		return err_set(err, -EPROTO, "hypervisord: incoming: the memory is not sealed, or too small");
	t->ram = mmap(NULL, t->frames * STREAM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, t->ram_fd, 0);
	if (t->ram == MAP_FAILED) {
		t->ram = NULL;
		return err_set(err, -errno, "cannot map the guest's memory: %s", strerror(errno));
	}
	return 0;
}

static int send_accept(struct target *t, struct err *err)
{
	json_int_t want = json_integer_value(json_object_get(t->hello, "connections"));
	struct stream_accept a = { .version = (uint16_t)t->version, .frames = t->frames };
	struct buf b = BUF_INIT(64);
	int rc;

	t->links = want < 1 ? 1 : want > WORKER_LINKS_MAX ? WORKER_LINKS_MAX : (unsigned)want;
	a.connections = t->links;
	a.flags = t->postcopy ? STREAM_POSTCOPY : 0;
	memcpy(a.token, t->token, sizeof(a.token));
	stream_accept_encode(&b, &a);
	rc = buf_ok(&b) ? link_record(&t->w->link, STREAM_ACCEPT, b.data, (uint32_t)b.len) : -ENOMEM;
	buf_free(&b);
	return rc < 0 ? worker_link_error(t->w, rc, err) : 0;
}

/* --- the data of the main link ------------------------------------------------------------------------------------------------ */

/*
 * STATE goes into a memfd in chunks: what a peer announces costs no more memory than what it sends, and that is bounded by the memory that
 * the guest was let in with.
 */
static int take_state(struct target *t, const struct stream_header *hdr, struct err *err)
{
	static uint8_t chunk[STATE_CHUNK];
	uint8_t h[STREAM_HEADER_BYTES];
	uint32_t left = hdr->length;
	int rc = t->state_bytes ? -EBADMSG : 0;

	if (left > stream_state_max(t->ram_frames))
		return err_set(err, -EMSGSIZE, "%s: a STATE of %u octets; a guest of this memory has at most %u", t->w->link.peer, left,
			       stream_state_max(t->ram_frames));
	t->paused = true;
	stream_header_encode(h, hdr->type, hdr->length);
	if (rc == 0)
		rc = stream_digest_add(&t->sink.digest, h, sizeof(h));
	while (rc == 0 && left > 0) {
		uint32_t n = left < STATE_CHUNK ? left : STATE_CHUNK;

		rc = link_read(&t->w->link, chunk, n);
		if (rc == 0)
			rc = stream_digest_add(&t->sink.digest, chunk, n);
		if (rc == 0 && write(t->state_fd, chunk, n) != (ssize_t)n)
			rc = -EIO;
		left -= n;
	}
	if (rc == 0)
		t->state_bytes = hdr->length;
	return rc;
}

/* hv-domain empties what is owed; with begin, it watches over all of it from here on. */
static int tell_owed(struct target *t, bool begin, struct err *err)
{
	int fd = memfd_create("haven-owed", MFD_CLOEXEC), rc;

	if (fd < 0 || write(fd, t->owed, t->owed_words * 8) != (ssize_t)(t->owed_words * 8)) {
		if (fd >= 0)
			close(fd);
		return err_set(err, -ENOMEM, "no memory for what is owed");
	}
	rc = worker_call(t->w, t->w->channel, json_pack("{s:s, s:b}", "op", "pages-owed", "begin", begin), &fd, 1, NULL, NULL, NULL, DL_OWED, err);
	close(fd);
	return rc;
}

/* Between the last round before the pause and END; each set ends with STREAM_LAST, and is dealt with then. */
static int take_owed(struct target *t, const struct stream_header *hdr, struct err *err)
{
	uint8_t body[8 + 16 * STREAM_ZEROS_MAX];
	struct stream_run run[STREAM_ZEROS_MAX];
	uint32_t count;
	bool last;
	int rc = t->postcopy && t->owed_sets < OWED_SETS ? link_read(&t->w->link, body, hdr->length) : -EBADMSG;

	if (rc == 0)
		rc = page_sink_digest(&t->sink, hdr, body);
	if (rc == 0)
		rc = stream_runs_decode(body, hdr->length, t->ram_frames, run, &count, &last);
	if (rc == 0 && !t->owed && !(t->owed = calloc(t->owed_words, 8)))
		rc = -ENOMEM;
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count; i++)
		for (uint64_t f = run[i].first; f < run[i].first + run[i].count; f++) {
			if (t->owed[f / 64] >> (f % 64) & 1)
				return -EBADMSG;       /* named once: what a peer can have us do is bounded by the guest's size */
			t->owed[f / 64] |= 1ull << (f % 64);
		}
	t->owed_sets += last;
	return last ? tell_owed(t, false, err) : 0;
}

/* Who compares clocks after a round is about to stop the guest: the next answer waits for this one, and the pause for that. */
static int expect_pause(struct target *t, struct err *err)
{
	if (!t->rested || t->version < STREAM_VERSION_RESUME)
		return 0;                        /* the former version ends each round like that */
	t->rested = false;
	/* what it gave lasts, and a source that is about to pause for ever has nothing for it */
	if (t->hurried && link_now_ns() - t->hurry_ns < HURRY_AGAIN_NS)
		return 0;
	if (t->hurries++ >= HURRIES_MAX)
		return 0;
	t->hurry_ns = link_now_ns();
	t->hurried = true;
	return worker_hurry(t->w, t->domid, HURRY_BEGINS, err);
}

static int answer_ping(struct target *t, struct err *err)
{
	uint8_t body[16];
	struct timespec ts;
	struct buf b = BUF_INIT(16);
	int rc = link_read(&t->w->link, body, 8);

	if (rc < 0)
		return rc;
	clock_gettime(CLOCK_REALTIME, &ts);
	buf_bytes(&b, body, 8);
	buf_u64(&b, (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec);
	rc = buf_ok(&b) ? link_record(&t->w->link, STREAM_PONG, b.data, 16) : -ENOMEM;
	buf_free(&b);
	return rc == 0 ? expect_pause(t, err) : rc;
}

/*
 * What the guest runs, for hv-domain to have it ready.  Nothing depends on it: what is wrong with it ends the stream no more than a list that
 * names nothing would.  As the first round begins and once after it, no oftener: it costs time.
 */
static int take_code(struct target *t, const struct stream_header *hdr, struct err *err)
{
	static uint8_t list[STREAM_CODE_MAX];
	struct err why = { 0 };
	int fd, asked = 0, rc = t->code_told == CODES_MAX || t->paused ? -EBADMSG : link_read(&t->w->link, list, hdr->length);

	if (rc < 0)
		return rc;
	t->code_told++;
	t->w->answered = false;
	fd = memfd_create("haven-code-list", MFD_CLOEXEC);
	if (fd < 0 || write(fd, list, hdr->length) != (ssize_t)hdr->length)
		rc = err_set(err, -ENOMEM, "no memory for the list of what runs");
	else
		asked = worker_call(t->w, t->w->channel, json_pack("{s:s}", "op", "code-make"), &fd, 1, NULL, NULL, NULL, DL_DAEMON, &why);
	if (asked < 0 && !t->w->answered)
		rc = err_set(err, why.code, "%s", why.text);
	else if (asked < 0)
		log_warn("%s: its code is not ready before it comes: %s", t->w->link.peer, why.text);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int take_paused(struct target *t, const struct stream_header *hdr)
{
	uint8_t body[16];
	uint64_t offset;
	int rc = link_read(&t->w->link, body, hdr->length);

	t->paused = true;
	if (rc == 0)
		rc = stream_u64_decode(body, 8, &t->pause_realtime_ns);
	if (rc < 0 || hdr->length == 8)
		return rc;
	rc = stream_u64_decode(body + 8, hdr->length - 8, &offset);
	t->clock_offset_ns = (int64_t)offset;
	t->clock_told = rc == 0;
	return rc;
}

static int take_end(struct target *t, bool *ret_ended)
{
	uint8_t digest[STREAM_DIGEST_BYTES];
	int rc = link_read(&t->w->link, digest, sizeof(digest));

	if (rc == 0)
		rc = page_sink_verify(&t->sink, digest);
	if (rc == 0)
		rc = target_wait_further(t);
	if (rc == 0 && t->state_bytes == 0)
		rc = -EBADMSG;
	*ret_ended = rc == 0;
	return rc;
}

static int take_record(struct target *t, const struct stream_header *hdr, bool *ret_ended, struct err *err)
{
	uint32_t round = 0;
	int rc;

	switch (hdr->type) {
	case STREAM_STATE:
		return take_state(t, hdr, err);
	case STREAM_OWED:
		return take_owed(t, hdr, err);
	case STREAM_PING:
		return answer_ping(t, err);
	case STREAM_PAUSED:
		return take_paused(t, hdr);
	case STREAM_CODE:
		return take_code(t, hdr, err);
	case STREAM_END:
		return take_end(t, ret_ended);
	case STREAM_CHECK:
		return target_check(t, &t->sink, &t->w->link);
	default:
		rc = page_sink_record(&t->sink, hdr, link_read_cb, &t->w->link, &round);
		if (rc == 0 && hdr->type == STREAM_ROUND_END)
			rc = target_round_ended(t, 0, round);
		else if (rc == 0)
			target_paged(t);
		t->rested = rc == 0 && hdr->type == STREAM_ROUND_END;
		return rc;
	}
}

static int explain_data(struct target *t, const struct stream_header *hdr, int rc, struct err *err)
{
	const char *peer = t->w->link.peer, *what = stream_type_name(hdr->type);

	switch (rc) {
	case -ERANGE:
		return err_set(err, rc, "%s: sent a frame that the guest does not have", peer);
	case -EBADMSG:
		return err_set(err, rc, "%s: sent a malformed or misplaced %s record", peer, what);
	case -EILSEQ:
		return err_set(err, rc, "%s: the stream's digest does not match: something was lost or changed on the way", peer);
	default:
		return worker_link_error(t->w, rc, err);
	}
}

static int receive_data(struct target *t, struct err *err)
{
	bool ended = false;
	int rc = 0;

	while (rc == 0 && !ended) {
		struct stream_header hdr;

		rc = worker_next_record(t->w, &hdr, err);
		if (rc == 0)
			err->code = 0;
		if (rc == 0 && (rc = take_record(t, &hdr, &ended, err)) < 0 && !err->code)
			explain_data(t, &hdr, rc, err);
		if (rc < 0 && target_may_resume(t, rc))
			rc = target_resume(t, err);
	}
	return rc;
}

/* --- READY, GO, DONE ------------------------------------------------------------------------------------------------------------ */

static int load_state(struct target *t, struct err *err)
{
	json_t *req;

	if (t->owed && tell_owed(t, true, err) < 0)
		return err->code;
	if (lseek(t->state_fd, 0, SEEK_SET) < 0)
		return err_set(err, -errno, "state: %s", strerror(errno));
	req = json_pack("{s:s, s:I}", "op", "state-load", "pause_realtime_ns",
			(json_int_t)(t->pause_realtime_ns <= INT64_MAX ? t->pause_realtime_ns : 0));
	if (t->clock_told)
		json_object_set_new(req, "clock_offset_ns", json_integer(t->clock_offset_ns));
	return worker_call(t->w, t->w->channel, req, &t->state_fd, 1, NULL, NULL, NULL, DL_LOAD, err);
}

static int wait_go(struct target *t, struct err *err)
{
	struct stream_header hdr;
	uint8_t body[8];
	uint64_t attempt;
	int rc;

	hold_at("loaded");
	t->said_ready = true;
	worker_deadline(t->w, DL_GO, "the hand-over (GO)");      /* to the end: GO ends it, a failure the move */
	rc = link_record(&t->w->link, STREAM_READY, NULL, 0);
	if (rc < 0)
		return worker_link_error(t->w, rc, err);
	do {
		rc = worker_next_record(t->w, &hdr, err);
		if (rc < 0)
			return rc;
		if (hdr.type == STREAM_PING && (rc = answer_ping(t, err)) < 0)
			return worker_link_error(t->w, rc, err);
	} while (hdr.type == STREAM_PING);
	if (hdr.type != STREAM_GO)
		return err_set(err, -EBADMSG, "%s: GO expected, %s came", t->w->link.peer, stream_type_name(hdr.type));
	rc = link_read(&t->w->link, body, sizeof(body));
	if (rc < 0)
		return worker_link_error(t->w, rc, err);
	rc = stream_u64_decode(body, sizeof(body), &attempt);
	if (rc < 0 || attempt != t->attempt)
		return err_set(err, -EBADMSG, "%s: GO for another attempt", t->w->link.peer);
	return 0;
}

static void send_done(struct target *t, uint64_t run_ns, const struct err *err)
{
	struct stream_done d = { .run_ns = run_ns, .status = (uint32_t)-err->code };
	struct buf b = BUF_INIT(4096);

	snprintf(d.text, sizeof(d.text), "%s", err->text);
	stream_done_encode(&b, &d);
	if (buf_ok(&b))
		link_record(&t->w->link, STREAM_DONE, b.data, (uint32_t)b.len);
	buf_free(&b);
}

static void hurry_over(struct target *t, enum worker_hurry word)
{
	struct err ignored;

	if (t->hurried)
		worker_hurry(t->w, t->domid, word, &ignored);
	t->hurried = false;
}

/* From here the link decides nothing: the guest is activated whether the source hears of it or not. */
static int activate(struct target *t, uint64_t go_ns, struct err *err)
{
	struct worker *w = t->w;
	json_t *reply = NULL;
	uint64_t run_ns;
	json_int_t told;
	int rc;

	w->cancellable = false;
	w->deadline = (struct worker_deadline){ 0 };
	hold_at("go");
	rc = worker_call(w, w->hypervisord, json_pack("{s:s, s:I, s:I}", "op", "activate", "domid", (json_int_t)t->domid, "attempt",
			 (json_int_t)t->attempt), NULL, 0, &reply, NULL, NULL, DL_ACTIVATE, err);
	run_ns = link_now_ns() - go_ns;
	told = json_integer_value(json_object_get(reply, "run_ns"));
	if (told > 0 && (uint64_t)told >= go_ns && (uint64_t)told - go_ns < run_ns)
		run_ns = (uint64_t)told - go_ns;
	json_decref(reply);
	hold_at("activated");
	send_done(t, run_ns, err);
	hurry_over(t, rc < 0 ? HURRY_OVER : HURRY_LANDED);
	return rc;
}

static void tell_ha(struct target *t, const char *op)
{
	struct err ignored;

	if (t->w->ha_agentd >= 0 && *t->uuid)
		worker_call(t->w, t->w->ha_agentd, json_pack("{s:s, s:s, s:I}", "op", op, "uuid", t->uuid, "attempt", (json_int_t)t->attempt),
			    NULL, 0, NULL, NULL, NULL, DL_DAEMON, &ignored);
}

/* --- the whole --------------------------------------------------------------------------------------------------------------------- */

/* Secret between the two workers, known to migrated, which routes further connections by it. */
static int make_token(struct target *t, struct err *err)
{
	char hex[2 * STREAM_TOKEN_BYTES + 1];

	if (RAND_bytes(t->token, sizeof(t->token)) != 1)
		return err_set(err, -EIO, "no random numbers");
	for (unsigned i = 0; i < sizeof(t->token); i++)
		snprintf(hex + 2 * i, 3, "%02x", t->token[i]);
	worker_send_control(t->w, json_pack("{s:b, s:s, s:s}", "authenticated", 1, "token", hex, "peer", t->w->link.peer));
	return 0;
}

static int target_meet(struct target *t, struct err *err)
{
	struct worker *w = t->w;
	int rc = link_adopt(&w->link, w->tcp);

	if (rc < 0)
		return err_set(err, rc, "TCP connection: %s", strerror(-rc));
	rc = worker_open(w, err);
	if (rc == 0)
		rc = worker_drop_root(w, err);
	if (rc == 0)
		rc = link_handshake(&w->link, w->tls, true, NULL, err);
	if (rc == 0)
		rc = make_token(t, err);
	if (rc < 0)
		return rc;
	w->alive = true;
	rc = read_hello(t, err);
	if (rc == 0 && strcmp(hello_str(t, "mode"), "pages") == 0)
		return pages_fetch_run(t, err);
	if (rc == 0 && strcmp(hello_str(t, "mode"), "copy") == 0)
		return copy_word_answer(t, err);
	return rc == 0 ? answer_hello(t, err) : rc;
}

static int target_prepare(struct target *t, struct err *err)
{
	json_t *grant = NULL;
	int rc = ask_leave(t, &grant, err);

	if (rc == 0)
		rc = make_copy(t, grant, err);
	json_decref(grant);
	if (rc == 0)
		rc = map_memory(t, err);
	if (rc == 0 && (page_map_init(&t->map, t->ram_frames, t->ram_fd) < 0 ||
			page_sink_init(&t->sink, t->ram, t->frames, t->ram_fd, &t->map, t->token) < 0))
		rc = err_set(err, -ENOMEM, "out of memory");
	t->sink.digest.samples = t->samples;
	t->state_fd = rc == 0 ? memfd_create("haven-state", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
	if (rc == 0 && t->state_fd < 0)
		rc = err_set(err, -errno, "memfd: %s", strerror(errno));
	if (rc == 0)
		rc = worker_close_doors(t->w, err);
	if (rc == 0)
		rc = send_accept(t, err);
	t->accepted_ns = rc == 0 ? link_now_ns() : 0;
	t->w->connections_arg = t;
	t->w->connections = target_take_connections;
	return rc;
}

/* What of the pause was spent here: told in the log. */
struct target_times { uint64_t data_ns, loaded_ns, go_ns, end_ns; };

static int target_take(struct target *t, struct target_times *times, bool *ret_go, struct err *err)
{
	int rc = receive_data(t, err);

	times->data_ns = link_now_ns();
	t->accepted_ns = 0;              /* what follows has deadlines of its own */
	if (rc == 0)
		rc = load_state(t, err);
	times->loaded_ns = link_now_ns();
	if (rc == 0)
		rc = wait_go(t, err);
	if (rc < 0)
		return rc;
	*ret_go = true;
	times->go_ns = link_now_ns();
	rc = activate(t, times->go_ns, err);
	times->end_ns = link_now_ns();
	return rc;
}

static void log_arrival(const struct target *t, const struct target_times *times)
{
	log_info("domain %lld (%s) came from %s, attempt %llu: state loaded in %.1f, GO after %.1f, activated in %.1f ms", t->domid, t->uuid,
		 t->w->link.peer, (unsigned long long)t->attempt, (double)(times->loaded_ns - times->data_ns) / 1e6,
		 (double)(times->go_ns - times->loaded_ns) / 1e6, (double)(times->end_ns - times->go_ns) / 1e6);
}

static void target_end(struct target *t)
{
	target_links_end(t);
	page_sink_free(&t->sink);
	page_map_free(&t->map);
	if (t->ram)
		munmap(t->ram, t->frames * STREAM_PAGE);
	if (t->ram_fd >= 0)
		close(t->ram_fd);
	if (t->state_fd >= 0)
		close(t->state_fd);
	free(t->owed);
	json_decref(t->hello);
}

void move_target_run(struct worker *w)
{
	struct target t = { .w = w, .ram_fd = -1, .state_fd = -1 };
	struct err err = { 0 };
	struct target_times times = { 0 };
	bool go = false;
	int rc;

	target_links_init(&t);
	rc = target_meet(&t, &err);
	if (rc > 0) {
		rc = target_prepare(&t, &err);
		if (rc == 0)
			rc = target_take(&t, &times, &go, &err);
		if (rc < 0 && !go)
			worker_send_abort(w, err.text);
		w->deadline = (struct worker_deadline){ 0 };
		if (rc < 0 && !go)
			copy_word_failed(&t);
		/* the copy goes with its channel; only then is there something to report */
		if (rc < 0 && w->channel >= 0) {
			close(w->channel);
			w->channel = -1;
		}
		tell_ha(&t, rc < 0 ? "incoming-failed" : "activated");
		if (rc == 0)
			log_arrival(&t, &times);
		else
			log_warn("domain %lld (%s) did not come from %s: %s", t.domid, t.uuid, t.source, err.text);
	} else if (rc < 0) {
		worker_send_abort(w, err.text);
		log_warn("migration connection refused: %s", err.text);
	}
	worker_send_control(w, rc < 0 ? json_pack("{s:b, s:s, s:s}", "ok", 0, "code", err_name(rc), "error", err.text) :
			    json_pack("{s:b}", "ok", 1));
	hurry_over(&t, HURRY_OVER);
	target_end(&t);
}
