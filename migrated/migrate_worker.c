/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven-migrate-worker source|target|spare
 *
 * Holds: one move: its TLS connections, that guest's RAM and migration channel, sockets to the local hypervisord and ha-agentd that
 *        were connected while it was root.  Never the private key.
 * Hears: migrated (control socket), the peer's worker over TLS, its own node's daemons.
 * May do: read (source) or write (target) that guest's memory; ask for pause, hand-over and activation of that guest.
 *
 * A spare has loaded what every move needs (certificates, OpenSSL) and waits for migrated to say which move is its.
 *
 * It decides nothing about who owns the guest: closing the migration channel is its one way out at any time, and hv-domain's own
 * state says what that means.
 */
#include "config.h"
#include "migrated/migrate_worker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <openssl/rand.h>

#include "lib/conf.h"
#include "lib/deadlines.h"
#include "lib/hold.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "lib/paths.h"
#include "migrated/migrate_ids.h"
#include "migrated/stream_digest.h"
#include "migrated/tls_context.h"
#include "migrated/worker_sandbox.h"

#define TICK_MS 200
#define ALIVE_NS 1000000000ull
#define PROGRESS_NS 200000000ull

static volatile sig_atomic_t terminated;

static void on_term(int sig)
{
	terminated = 1;
}

/* --- set-up ------------------------------------------------------------------------------------------------------------ */

static int open_daemons(struct worker *w, const struct conf *conf, struct err *err)
{
	struct err away = { 0 };

	w->standalone = strcmp(conf_get(conf, "standalone", "no"), "yes") == 0;
	w->hypervisord = msg_connect("hypervisord.sock", err);
	if (w->hypervisord < 0)
		return w->hypervisord;
	w->standalone = w->standalone && !conf_exists("cluster.conf");
	w->ha_agentd = w->standalone ? -1 : msg_connect("ha-agentd.sock", &away);
	if (w->ha_agentd >= 0 || w->standalone)
		return 0;
	*err = away;
	return err->code;
}

int worker_open(struct worker *w, struct err *err)
{
	struct conf *conf = NULL;
	long long silence_s, idle_s, version;
	int rc = conf_load("haven.conf", &conf, err);

	if (rc < 0)
		return rc;
	version = conf_get_int(conf, "migration_version", STREAM_VERSION);
	silence_s = conf_get_int(conf, "migration_silence_s", 10);
	w->link.silence_ns = (uint64_t)(silence_s >= 1 && silence_s <= 600 ? silence_s : 10) * 1000000000ull;
	idle_s = conf_get_int(conf, "migration_idle_s", 3600);
	w->idle_ns = (uint64_t)(idle_s >= 1 && idle_s <= 86400 ? idle_s : 3600) * 1000000000ull;
	move_policy_default(&w->policy);
	rc = move_policy_conf(&w->policy, conf, err);
	w->version = (unsigned)version;
	if (rc == 0 && (version < STREAM_VERSION_OLDEST || version > STREAM_VERSION))
		rc = err_set(err, -EINVAL, "%s/haven.conf: migration_version %lld: this Haven speaks versions %u to %u", path_conf(), version,
			     STREAM_VERSION_OLDEST, STREAM_VERSION);
	if (rc == 0)
		rc = open_daemons(w, conf, err);
	conf_free(conf);
	if (rc < 0)
		return rc;
	return worker_prepare(w, err);
}

int worker_prepare(struct worker *w, struct err *err)
{
	if (!w->tls)
		w->tls = tls_context_new(WORKER_FD_SIGNER, w->own, sizeof(w->own), err);
	return w->tls ? 0 : (err->code ? err->code : -EIO);
}

int worker_drop_root(struct worker *w, struct err *err)
{
	uint8_t warm[16];

	/* draw in what is loaded on demand, while files may still be opened */
	tzset();
	RAND_bytes(warm, sizeof(warm));
	json_object_seed(0);
	return worker_sandbox_enter(true, err);
}

int worker_close_doors(struct worker *w, struct err *err)
{
	return worker_sandbox_enter(false, err);
}

/* --- waiting ----------------------------------------------------------------------------------------------------------- */

static void take_turn(struct worker *w, const char *op)
{
	if (strcmp(op, "admit") == 0)
		w->admitted = true;
	else if (strcmp(op, "send") == 0)
		w->may_send = true;
	else if (strcmp(op, "pause") == 0)
		w->may_pause = true;
	else if (strcmp(op, "yield") == 0 || strcmp(op, "go-on") == 0)
		atomic_store(&w->yield, *op == 'y');
}

/* One message of migrated's, if there is one. */
static void control_take(struct worker *w)
{
	struct pollfd p = { .fd = w->control, .events = POLLIN };
	int fds[MSG_MAX_FDS], nfds = 0, rc;
	json_t *obj = NULL;
	const char *op;

	if (w->control < 0 || poll(&p, 1, 0) <= 0)
		return;
	rc = msg_recv(w->control, &obj, fds, &nfds);
	if (rc <= 0 && rc != -EAGAIN && rc != -EBADMSG) {
		close(w->control);
		w->control = -1;
		w->link.wake_fd = -1;
		w->cancelled = true;
		return;
	}
	op = json_string_value(json_object_get(obj, "op"));
	if (op && strcmp(op, "cancel") == 0)
		w->cancelled = true;
	if (op)
		take_turn(w, op);
	if (op && strcmp(op, "serving") == 0 && !w->serving) {
		const char *code = json_string_value(json_object_get(obj, "code")), *why = json_string_value(json_object_get(obj, "error"));
		int e = code ? err_from_name(code) : 0;

		w->serving = json_is_true(json_object_get(obj, "ok")) ? 1 : -(e ? e : EIO);
		snprintf(w->serving_why, sizeof(w->serving_why), "%s", why ? why : "it ended at once");
	}
	if (op && strcmp(op, "dialed") == 0 && w->dialing && w->dialed_errno == 0)
		w->dialed_errno = nfds ? -1 : (int)json_integer_value(json_object_get(obj, "errno"));
	for (int i = 0; i < nfds; i++) {
		if (op && strcmp(op, "connection") == 0 && w->nr_waiting < WORKER_LINKS_MAX)
			w->waiting_fd[w->nr_waiting++] = fds[i];
		else if (op && strcmp(op, "dialed") == 0 && w->dialing && w->dialed_fd < 0)
			w->dialed_fd = fds[i];
		else
			close(fds[i]);
	}
	json_decref(obj);
}

int worker_tick(struct worker *w, bool writing)
{
	uint64_t now = link_now_ns(), zero = 0;

	control_take(w);
	if (terminated)
		w->cancelled = true;
	if (w->cancelled && w->cancellable)
		return -ECANCELED;
	if (worker_overdue(w))
		return -ETIMEDOUT;
	if (w->connections) {
		int rc = w->connections(w, w->connections_arg);

		if (rc < 0)
			return rc;
	}
	if (w->progress && now - w->progress_ns >= PROGRESS_NS) {
		w->progress_ns = now;
		w->progress(w, w->progress_arg);
	}
	/* a record that is being written must not be cut by another */
	if (w->alive && !writing && now - w->alive_sent_ns >= ALIVE_NS) {
		w->alive_sent_ns = now;
		return link_record(&w->link, STREAM_ALIVE, &zero, 8);
	}
	return 0;
}

static int tick_of_link(void *arg, bool writing)
{
	return worker_tick(arg, writing);
}

int worker_dial(struct worker *w, unsigned which)
{
	uint64_t end = link_now_ns() + (uint64_t)deadline(DL_CONNECT + DL_WAY) * 1000000ull;
	int rc = 0;

	w->dialing = true;
	w->dialed_fd = -1;
	w->dialed_errno = 0;
	worker_send_control(w, json_pack("{s:i}", "dial", (int)which));
	while (rc == 0 && w->dialed_errno == 0) {
		struct pollfd p = { .fd = w->control, .events = POLLIN };

		poll(&p, 1, TICK_MS);
		rc = worker_tick(w, false);
		if (rc == 0 && link_now_ns() > end)
			rc = -ETIMEDOUT;
	}
	w->dialing = false;
	if (rc == 0 && w->dialed_fd >= 0)
		return w->dialed_fd;
	if (w->dialed_fd >= 0)
		close(w->dialed_fd);
	return rc < 0 ? rc : w->dialed_errno > 0 ? -w->dialed_errno : -EIO;
}

int worker_serve(struct worker *w, json_t *request, struct err *err)
{
	uint64_t end = link_now_ns() + (uint64_t)deadline(DL_SERVE) * 1000000ull;
	int rc = 0;

	w->serving = 0;
	worker_send_control(w, json_pack("{s:o}", "serve", request));
	while (rc == 0 && w->serving == 0) {
		struct pollfd p = { .fd = w->control, .events = POLLIN };

		poll(&p, 1, TICK_MS);
		rc = worker_tick(w, false);
		if (rc == 0 && link_now_ns() > end)
			rc = err_set(err, -ETIMEDOUT, "the page service does not come up");
	}
	if (rc == -ECANCELED)
		return err_set(err, rc, "cancelled");
	if (rc == 0 && w->serving < 0)
		rc = err_set(err, w->serving, "no page service: %s", w->serving_why);
	return rc;
}

bool worker_channel_ended(const struct worker *w)
{
	struct pollfd p = { .fd = w->channel, .events = POLLIN };

	return w->channel >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

static int reply_rc(const json_t *reply, const char *op, struct err *err)
{
	const char *code = json_string_value(json_object_get(reply, "code"));
	const char *text = json_string_value(json_object_get(reply, "error"));
	int e = code ? err_from_name(code) : 0;

	if (json_is_true(json_object_get(reply, "ok")))
		return 0;
	return err_set(err, -(e ? e : EIO), "%s", text ? text : op);
}

/* Waits for one packet; a tick that fails (cancel, link gone) ends the wait. */
static int wait_reply(struct worker *w, int sock, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = sock, .events = POLLIN }, { .fd = w->control, .events = POLLIN } };
		uint64_t now = link_now_ns(), left_ms = deadline_ns > now ? (deadline_ns - now) / 1000000 + 1 : 0;
		int r = poll(p, 2, left_ms < TICK_MS ? (int)left_ms : TICK_MS), rc;

		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0 && p[0].revents)
			return 0;
		rc = worker_tick(w, false);
		/* a dead link is found by whoever reads it next; here the local answer matters */
		if (rc == -ECANCELED || worker_overdue(w))
			return rc < 0 ? rc : -ETIMEDOUT;
		if (rc < 0)
			w->alive = false;
		if (link_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
}

int worker_ask(int sock, json_t *request, const int *fds, int nfds, struct err *err)
{
	int rc = sock < 0 ? -ENOTCONN : msg_send(sock, request, fds, nfds);

	if (rc < 0)
		err_set(err, rc, "%s: cannot ask: %s", json_string_value(json_object_get(request, "op")), strerror(-rc));
	json_decref(request);
	return rc;
}

int worker_answer(struct worker *w, int sock, const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds, int timeout_ms,
		  struct err *err)
{
	uint64_t end = link_now_ns() + (uint64_t)deadline(timeout_ms) * 1000000ull;

	w->answered = false;
	for (;;) {
		json_t *obj = NULL;
		int rc = wait_reply(w, sock, end);

		if (rc == -ETIMEDOUT && link_now_ns() < end)
			return err_set(err, rc, "%s: no answer, and %s took longer than %.1f s", op, w->deadline.what, w->deadline.ms / 1e3);
		if (rc < 0)
			return err_set(err, rc, rc == -ECANCELED ? "cancelled" : "%s: no answer within %d ms", op, deadline(timeout_ms));
		rc = msg_recv(sock, &obj, ret_fds, ret_nfds);
		if (rc <= 0)
			return err_set(err, rc ? rc : -ECONNRESET, "%s: the process that was asked went away", op);
		if (json_object_get(obj, "progress") || json_object_get(obj, "event")) {
			json_decref(obj);
			continue;
		}
		w->answered = true;
		rc = reply_rc(obj, op, err);
		if (ret_reply && rc == 0)
			*ret_reply = obj;
		else
			json_decref(obj);
		return rc;
	}
}

int worker_call(struct worker *w, int sock, json_t *request, const int *fds, int nfds, json_t **ret_reply, int *ret_fds,
		int *ret_nfds, int timeout_ms, struct err *err)
{
	char op[32];
	int rc;

	snprintf(op, sizeof(op), "%s", json_string_value(json_object_get(request, "op")));
	rc = worker_ask(sock, request, fds, nfds, err);
	return rc < 0 ? rc : worker_answer(w, sock, op, ret_reply, ret_fds, ret_nfds, timeout_ms, err);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* What answers nothing now might answer later, when something else was asked: that would be taken for the other's answer. */
static int hurry_call(struct worker *w, json_t *request, struct err *err)
{
	struct err why = { 0 };
	int rc;

	w->answered = false;             /* it may not even go out */
	rc = worker_call(w, w->hypervisord, request, NULL, 0, NULL, NULL, NULL, DL_DAEMON, &why);
	if (rc == 0 || w->answered)
		return 0;
	close_fd(&w->hypervisord);
	*err = why;
	return rc;
}

int worker_hurry(struct worker *w, json_int_t domid, enum worker_hurry word, struct err *err)
{
	return hurry_call(w, json_pack("{s:s, s:I, s:b, s:b}", "op", "hurry", "domid", domid, "over", word != HURRY_BEGINS, "landed", word == HURRY_LANDED),
			  err);
}

int worker_hurry_guest(struct worker *w, json_int_t domid, struct err *err)
{
	return hurry_call(w, json_pack("{s:s, s:I, s:b}", "op", "hurry", "domid", domid, "guest", 1), err);
}

/* --- the end --------------------------------------------------------------------------------------------------------------- */

void worker_send_control(struct worker *w, json_t *obj)
{
	if (w->control >= 0)
		msg_send(w->control, obj, NULL, 0);
	json_decref(obj);
}

void worker_close(struct worker *w)
{
	close_fd(&w->channel);
	close_fd(&w->hypervisord);
	close_fd(&w->ha_agentd);
	for (unsigned i = 0; i < w->nr_waiting; i++)
		close(w->waiting_fd[i]);
	w->nr_waiting = 0;
	link_close(&w->link, true);
	SSL_CTX_free(w->tls);
	w->tls = NULL;
}

#ifdef HAVEN_ASAN
/* LeakSanitizer stops its process with ptrace, from a clone, which inside the sandbox never ends. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }
#endif

/* What is loaded with a first connection, and a first digest, of a process. */
static void warm_up(SSL_CTX *tls)
{
	static const uint8_t token[STREAM_TOKEN_BYTES];
	struct stream_digest digest = { 0 };
	SSL *ssl = SSL_new(tls);

	SSL_free(ssl);
	if (stream_digest_init(&digest, token) == 0)
		stream_digest_free(&digest);
}

/* Without a certificate, or with migrated's end, a spare ends; a move then has a worker of its own, which says why. */
static int spare_wait(struct worker *w)
{
	struct err err = { 0 };
	struct pollfd p = { .fd = w->control, .events = POLLIN };

	if (worker_prepare(w, &err) < 0)
		return -1;
	warm_up(w->tls);
	while (poll(&p, 1, -1) < 0)
		if (terminated)
			return -1;
	return 0;
}

static const char *msg_op_name(const json_t *request)
{
	const char *op = json_string_value(json_object_get(request, "op"));

	return op ? op : "";
}

/* The first message is the move: a request, or "incoming" with its connection. */
static int run(struct worker *w, char *role)
{
	int fds[MSG_MAX_FDS], nfds = 0, rc;
	json_t *request = NULL;

	w->tcp = WORKER_FD_TCP;
	if (strcmp(role, "target") == 0) {
		hold_open();
		move_target_run(w);
		return 0;
	}
	if (strcmp(role, "spare") == 0 && spare_wait(w) < 0)
		return 1;
	rc = msg_recv(w->control, &request, fds, &nfds);
	if (rc <= 0)
		return 1;
	if (strcmp(role, "spare") == 0)
		memcpy(role, "moves", 5);      /* for ps */
	hold_open();
	if (strcmp(msg_op_name(request), "pages") == 0) {
		pages_serve_run(w, request);
	} else if (nfds == 1) {
		w->tcp = fds[0];
		move_target_run(w);
	} else {
		move_source_run(w, request);
	}
	json_decref(request);
	return 0;
}

int main(int argc, char **argv)
{
	struct worker w = { .control = WORKER_FD_CONTROL, .hypervisord = -1, .ha_agentd = -1, .channel = -1, .dialed_fd = -1,
			    .cancellable = true };
	struct sigaction sa = { .sa_handler = on_term };
	int rc = 0;

	if (argc != 2 || (strcmp(argv[1], "source") != 0 && strcmp(argv[1], "target") != 0 && strcmp(argv[1], "spare") != 0)) {
		fprintf(stderr, "usage: haven-migrate-worker source|target|spare (started by migrated)\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	log_init("migrated");
	/* the black box is a file in /dev/shm that nobody could remove from within the sandbox */
	qb_log_ctl(QB_LOG_BLACKBOX, QB_LOG_CONF_ENABLED, QB_FALSE);
	link_init(&w.link);
	w.link.tick = tick_of_link;
	w.link.tick_arg = &w;
	w.link.wake_fd = w.control;
	rc = run(&w, argv[1]);
	worker_close(&w);
	return rc;
}
