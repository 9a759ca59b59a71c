/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrated
 *
 * Holds: the listening TCP sockets of the migration networks, migrated.sock, a control socket to each running worker.
 * Hears: operators and ha-agentd (uid 0) on migrated.sock; from the network 32 octets a connection, and nothing more.
 * May do: start workers and signers; open node.key and hand it to a signer; connect a worker whose connection broke to its target again,
 *        at the addresses it named before it had read a byte from there.  It speaks no TLS and touches no guest.
 *
 * Each move is a process of its own, so a worker that dies takes its move with it and nothing else; migrated's own end is
 * a cancel to every move that was not handed over yet.  A page service ends with migrated too, and the next one begins it again: the copy
 * itself knows whom it serves.  One worker, with its signer, waits for the next move.
 */
#include "config.h"
#include "migrated/migrated.h"

#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <qb/qbloop.h>

#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/daemon.h"
#include "lib/deadlines.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "lib/paths.h"
#include "lib/pki.h"
#include "lib/spawn.h"
#include "migrated/move_turns.h"
#include "migrated/stream.h"

#define SPARE_LATER_MS 1000
#define SPARE_HUSH_MS 50

/* A worker and its signer, ready for the next move: what they load takes longer than meeting the other node. */
struct spare {
	int control;                     /* -1: there is none */
	pid_t pid;
	uint64_t made_of;                /* spare_stamp() */
};

static struct {
	qb_loop_t *loop;
	struct msg_server *server;
	int port;
	struct job *job[JOBS_MAX];
	struct spare spare;
	qb_loop_timer_handle spare_timer;
} m = { .spare.control = -1 };

/* --- jobs: one worker each ------------------------------------------------------------------------------------------------- */

static void spare_later(unsigned ms);

/* Also when who asked is gone. */
static void tell_end(const struct job *j, const json_t *reply)
{
	json_t *event = json_pack("{s:s, s:s, s:s}", "event", "move-ended", "uuid", j->uuid, "target", j->target);

	json_object_update(event, (json_t *)(uintptr_t)reply);
	msg_event(m.server, event);
}

void job_answer(struct job *j, json_t *reply)
{
	struct err err = { 0 };
	const char *code;
	int e;

	if (node_pages_answer_later(j, reply))
		return;
	reply = node_pages_reply(j, reply);
	code = json_string_value(json_object_get(reply, "code"));
	e = code ? err_from_name(code) : 0;
	if (*j->uuid)
		tell_end(j, reply);
	if (!j->call) {
		json_decref(reply);
		return;
	}
	if (json_is_true(json_object_get(reply, "ok"))) {
		json_object_del(reply, "ok");
		msg_reply(j->call, reply);
	} else {
		err_set(&err, -(e ? e : EIO), "%s", json_string_value(json_object_get(reply, "error")));
		json_object_del(reply, "ok");
		json_object_del(reply, "code");
		json_object_del(reply, "error");
		msg_reply_error_fields(j->call, err.code, err.text, reply);
	}
	j->call = NULL;
	j->client = NULL;
}

/* --- connecting again for a worker that may open no sockets any more ------------------------------------------------------- */

static void dial_end(struct job *j)
{
	if (j->dial_fd < 0)
		return;
	qb_loop_poll_del(m.loop, j->dial_fd);
	qb_loop_timer_del(m.loop, j->dial_timer);
	close(j->dial_fd);
	j->dial_fd = -1;
	j->dial_timer = 0;
}

static void dial_answer(struct job *j, int e)
{
	json_t *obj = json_pack("{s:s, s:i}", "op", "dialed", "errno", e);

	msg_send(j->control, obj, e ? NULL : &j->dial_fd, e ? 0 : 1);
	json_decref(obj);
	dial_end(j);
}

static void dial_timeout(void *arg)
{
	struct job *j = arg;

	j->dial_timer = 0;
	dial_answer(j, ETIMEDOUT);
}

static int32_t on_dialed(int32_t fd, int32_t revents, void *arg)
{
	struct job *j = arg;
	socklen_t n = sizeof(int);
	int e = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
		e = errno;
	/* the descriptor leaves the loop before it leaves the process: epoll would go on watching it */
	qb_loop_poll_del(m.loop, fd);
	dial_answer(j, e);
	return 0;
}

static void dial(struct job *j, json_int_t which)
{
	struct sockaddr_storage *to = &j->target_at[which >= 0 && which < (json_int_t)j->targets ? which : 0];
	socklen_t n = to->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int r;

	if (j->incoming || !j->targets || j->dial_fd >= 0)
		return;
	j->dial_fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = j->dial_fd < 0 ? -1 : connect(j->dial_fd, (struct sockaddr *)to, n);
	if (r < 0 && errno != EINPROGRESS) {
		dial_answer(j, errno);
		return;
	}
	qb_loop_timer_add(m.loop, QB_LOOP_MED, (uint64_t)deadline(DL_CONNECT) * NS_PER_MS, j, dial_timeout, &j->dial_timer);
	qb_loop_poll_add(m.loop, QB_LOOP_MED, j->dial_fd, POLLOUT, j, on_dialed);
}

/* Once: later a peer may have got at the worker. */
static void take_targets(struct job *j, const json_t *list, json_int_t port)
{
	const json_t *v;
	size_t i;

	if (j->targets || j->incoming || port < 1 || port > 65535)
		return;
	json_array_foreach(list, i, v) {
		struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV }, *ai = NULL;
		char service[16];

		snprintf(service, sizeof(service), "%d", (int)port);
		/* the worker names them by number: one that is left out would shift the others */
		if (!json_is_string(v) || j->targets == TARGETS_MAX || getaddrinfo(json_string_value(v), service, &hints, &ai) != 0)
			break;
		memcpy(&j->target_at[j->targets++], ai->ai_addr, ai->ai_addrlen);
		freeaddrinfo(ai);
	}
}

/*
 * A move is told by one worker after another, and a page service that is begun again has to send again what was on its way: what was said
 * once of an attempt stays said.
 */
static void never_backwards(const struct job *j, json_t *progress)
{
	static struct { char uuid[sizeof(j->uuid)]; json_int_t attempt; double percent; } told[JOBS_MAX];
	static unsigned oldest;
	double percent = json_number_value(json_object_get(progress, "percent"));
	unsigned i = 0;

	while (i < JOBS_MAX && (told[i].attempt != j->attempt || strcmp(told[i].uuid, j->uuid) != 0))
		i++;
	if (i == JOBS_MAX) {
		i = oldest++ % JOBS_MAX;
		memcpy(told[i].uuid, j->uuid, sizeof(j->uuid));
		told[i].attempt = j->attempt;
		told[i].percent = 0;
	}
	if (percent < told[i].percent)
		json_object_set_new(progress, "percent", json_real(told[i].percent));
	else
		told[i].percent = percent;
}

void job_progress(struct job *j, json_t *progress)
{
	if (*j->uuid)
		never_backwards(j, progress);
	if (*j->uuid)
		msg_event(m.server, json_pack("{s:s, s:s, s:s, s:O}", "event", "move-progress", "uuid", j->uuid, "target", j->target,
					      "progress", progress));
	if (j->call)
		msg_progress(j->call, progress);
	else
		json_decref(progress);
}

/* The worker is gone: what it did not answer is answered from what it last said. */
void job_free(struct job *j)
{
	node_pages_ended(j);
	if (j->call)
		job_answer(j, json_pack("{s:b, s:s, s:s, s:s}", "ok", 0, "code", "EIO", "error",
					"the migration worker died; see the log of migrated", "state", j->handed ? "handed" : "running-here"));
	dial_end(j);
	qb_loop_timer_del(m.loop, j->timer);
	if (j->control >= 0) {
		qb_loop_poll_del(m.loop, j->control);
		close(j->control);
	}
	node_turns_leave(j);
	for (int i = 0; i < JOBS_MAX; i++)
		if (m.job[i] == j)
			m.job[i] = NULL;
	free(j);
	spare_later(0);                  /* it may have been a question that its move will follow */
	node_turns_go();
}

void job_refuse(struct job *j, int rc, const char *text)
{
	job_answer(j, json_pack("{s:b, s:s, s:s, s:s}", "ok", 0, "code", err_name(rc), "error", text, "state", "running-here"));
	job_free(j);
}

static void job_heard(struct job *j, json_t *obj)
{
	const char *token = json_string_value(json_object_get(obj, "token"));
	json_t *progress = json_object_get(obj, "progress"), *handed = json_object_get(obj, "handed");

	if (progress)
		job_progress(j, json_incref(progress));
	if (handed)
		j->handed = json_is_true(handed);
	if (json_is_true(json_object_get(obj, "authenticated"))) {
		j->authenticated = true;
		node_callers_known(&j->caller);
		qb_loop_timer_del(m.loop, j->timer);
		j->timer = 0;
		if (token)
			snprintf(j->token, sizeof(j->token), "%s", token);
	}
	if (json_object_get(obj, "addresses"))
		take_targets(j, json_object_get(obj, "addresses"), json_integer_value(json_object_get(obj, "port")));
	if (json_object_get(obj, "dial"))
		dial(j, json_integer_value(json_object_get(obj, "dial")));
	node_turns_heard(j, obj);
	if (node_pages_heard(j, obj) && json_object_get(obj, "ok"))
		job_answer(j, json_incref(obj));
}

static int32_t on_job(int32_t fd, int32_t revents, void *arg)
{
	struct job *j = arg;
	json_t *obj = NULL;
	int rc = msg_recv(fd, &obj, NULL, NULL);

	if (rc == 1) {
		job_heard(j, obj);
		json_decref(obj);
	} else if (rc != -EAGAIN && rc != -EBADMSG) {
		job_free(j);
	}
	return 0;
}

/* Reaps whoever ended: workers and signers. */
static int32_t on_child(int32_t sig, void *arg)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (WIFSIGNALED(status))
			log_warn("process %d of a move died by signal %d", (int)pid, WTERMSIG(status));
	return 0;
}

static void stranger_timeout(void *arg)
{
	struct job *j = arg;

	j->timer = 0;
	log_warn("a migration connection showed no certificate within %d s; closed", deadline(DL_STRANGER) / 1000);
	kill(j->pid, SIGKILL);
}

static int spawn_signer(int *ret_fd, struct err *err)
{
	char prog[PATH_MAX], key_path[PATH_MAX];
	char *argv[] = { prog, NULL };
	int pair[2], key, fds[5];
	pid_t pid;

	if (path_join(prog, sizeof(prog), path_libexec(), "haven-migrate-signer") < 0 ||
	    path_join(key_path, sizeof(key_path), path_conf(), "pki/node.key") < 0)
		return err_set(err, -ENAMETOOLONG, "path too long");
	key = open(key_path, O_RDONLY | O_CLOEXEC);
	if (key < 0)
		return err_set(err, -errno, "%s: %s; this node needs a certificate: haven cert issue NODE", key_path, strerror(errno));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		close(key);
		return err_set(err, -errno, "socketpair: %s", strerror(errno));
	}
	memcpy(fds, (int[]){ -1, -1, STDERR_FILENO, pair[1], key }, sizeof(fds));
	pid = spawn_program(argv, NULL, fds, 5, NULL, err);
	close(key);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return pid;
	}
	*ret_fd = pair[0];
	return 0;
}

static int job_slot(void)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (!m.job[i])
			return i;
	return -1;
}

/* Execs a worker as source, target or spare; tcp (borrowed) for a target, else -1.  Its control socket, non-blocking here. */
static int worker_spawn(const char *role, int tcp, int *ret_control, pid_t *ret_pid, struct err *err)
{
	char prog[PATH_MAX], argument[16];
	char *argv[] = { prog, argument, NULL };
	int pair[2], signer = -1, fds[6], rc;

	snprintf(argument, sizeof(argument), "%s", role);
	if (path_join(prog, sizeof(prog), path_libexec(), "haven-migrate-worker") < 0)
		return err_set(err, -ENAMETOOLONG, "path too long");
	rc = spawn_signer(&signer, err);
	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		close(signer);
		return err_set(err, -errno, "cannot start a migration worker: %s", strerror(errno));
	}
	memcpy(fds, (int[]){ -1, -1, STDERR_FILENO, pair[1], signer, tcp }, sizeof(fds));
	/* the worker's end blocks: it sends little and waits on purpose */
	fcntl(pair[1], F_SETFL, fcntl(pair[1], F_GETFL) & ~O_NONBLOCK);
	*ret_pid = spawn_program(argv, NULL, fds, tcp >= 0 ? 6 : 5, NULL, err);
	close(signer);
	close(pair[1]);
	if (*ret_pid < 0) {
		close(pair[0]);
		return *ret_pid;
	}
	*ret_control = pair[0];
	return 0;
}

/* --- the spare -------------------------------------------------------------------------------------------------------------- */

/* Of the files that a worker reads before it knows its move: with another one of them a spare is stale. */
static uint64_t spare_stamp(void)
{
	static const char *const files[] = { "haven.conf", "pki/node.crt", "pki/node.key", "pki/ca.crt", "pki/crl.pem" };
	uint64_t h = 0xcbf29ce484222325ull;      /* FNV-1a, word by word */
	char path[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		uint64_t of[4] = { 0 };

		if (path_join(path, sizeof(path), path_conf(), "%s", files[i]) == 0 && stat(path, &st) == 0)
			memcpy(of, (uint64_t[]){ st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec },
			       sizeof(of));
		for (int k = 0; k < 4; k++)
			h = (h ^ of[k]) * 0x100000001b3ull;
	}
	return h;
}

static void spare_end(void)
{
	if (m.spare.control < 0)
		return;
	qb_loop_poll_del(m.loop, m.spare.control);
	close(m.spare.control);
	m.spare.control = -1;
}

/* It says nothing before it has a move: it has ended. */
static int32_t on_spare(int32_t fd, int32_t revents, void *arg)
{
	spare_end();
	return 0;
}

static void spare_make(void *arg)
{
	struct spare s = { .control = -1, .made_of = spare_stamp() };
	struct err err = { 0 };

	m.spare_timer = 0;
	if (node_turns_hush()) {
		spare_later(SPARE_HUSH_MS);
		return;
	}
	if (m.spare.control >= 0 || worker_spawn("spare", -1, &s.control, &s.pid, &err) < 0)
		return;
	m.spare = s;
	qb_loop_poll_add(m.loop, QB_LOOP_LOW, s.control, POLLIN | POLLHUP, NULL, on_spare);
}

static void spare_later(unsigned ms)
{
	if (m.spare_timer)
		qb_loop_timer_del(m.loop, m.spare_timer);
	if (qb_loop_timer_add(m.loop, QB_LOOP_LOW, ms * NS_PER_MS, NULL, spare_make, &m.spare_timer) < 0)
		m.spare_timer = 0;
}

/* The spare, for the move it is told of: request and tcp as in job_work().  -ENOENT: there is none that could do it. */
static int spare_take(const json_t *request, int tcp, int *ret_control, pid_t *ret_pid)
{
	json_t *incoming = json_pack("{s:s}", "op", "incoming");
	int rc = m.spare.control < 0 || m.spare.made_of != spare_stamp() ? -ENOENT : 0;

	if (rc == 0)
		rc = msg_send(m.spare.control, request ? request : incoming, &tcp, request ? 0 : 1);
	json_decref(incoming);
	if (rc < 0) {
		spare_end();
		return -ENOENT;
	}
	qb_loop_poll_del(m.loop, m.spare.control);
	*ret_control = m.spare.control;
	*ret_pid = m.spare.pid;
	m.spare.control = -1;
	return 0;
}

/* --- a job's start ------------------------------------------------------------------------------------------------------------ */

/* A worker of its own for a move, and told of it. */
static int worker_start(const json_t *request, int tcp, int *ret_control, pid_t *ret_pid, struct err *err)
{
	int rc = worker_spawn(request ? "source" : "target", tcp, ret_control, ret_pid, err);

	if (rc < 0 || !request)
		return rc;
	rc = msg_send(*ret_control, request, NULL, 0);
	if (rc < 0) {
		kill(*ret_pid, SIGKILL);
		close(*ret_control);
		return err_set(err, rc, "the migration worker died at once; see the log of migrated");
	}
	return 0;
}

/* Anew, without a worker. */
static struct job *job_new(bool incoming, struct err *err)
{
	int slot = job_slot();
	struct job *j = slot < 0 ? NULL : calloc(1, sizeof(*j));

	if (slot < 0)
		err_set(err, -EBUSY, "%d moves are under way on this node already; wait for one to end", JOBS_MAX);
	else if (!j)
		err_set(err, -ENOMEM, "cannot start a migration worker: %s", strerror(ENOMEM));
	if (!j)
		return NULL;
	j->control = j->dial_fd = -1;
	j->incoming = incoming;
	m.job[slot] = j;
	return j;
}

/* Its worker, for a request, or for an incoming connection (request NULL; tcp is borrowed). */
static int job_work(struct job *j, const json_t *request, int tcp, struct err *err)
{
	int control = -1, rc = 0;

	if (spare_take(request, tcp, &control, &j->pid) < 0)
		rc = worker_start(request, tcp, &control, &j->pid, err);
	spare_later(SPARE_LATER_MS);     /* the move needs the processors more */
	if (rc < 0)
		return rc;
	j->control = control;
	qb_loop_poll_add(m.loop, QB_LOOP_MED, j->control, POLLIN | POLLHUP, j, on_job);
	if (j->incoming)
		qb_loop_timer_add(m.loop, QB_LOOP_LOW, (uint64_t)deadline(DL_STRANGER) * NS_PER_MS, j, stranger_timeout, &j->timer);
	return 0;
}

int job_launch(struct job *j, struct err *err)
{
	return job_work(j, j->request, -1, err);
}

struct job *job_begin(const json_t *request, struct err *err)
{
	struct job *j = job_new(false, err);

	if (j && job_work(j, request, -1, err) < 0) {
		job_free(j);
		return NULL;
	}
	return j;
}

void job_incoming(int tcp, const struct fair_caller *caller)
{
	struct err err = { 0 };
	struct job *j = job_new(true, &err);

	if (j) {
		j->caller = *caller;
		j->since_ns = monotonic_ns();
	}
	if (j && job_work(j, NULL, tcp, &err) < 0)
		job_free(j);
	if (err.code)
		log_warn("an incoming migration is refused: %s", err.text);
}

/* --- requests ----------------------------------------------------------------------------------------------------------------- */

/* A job of this call's, which is answered when there can be none. */
static struct job *call_job(struct msg_call *call)
{
	struct err err = { 0 };
	struct job *j = job_new(false, &err);

	if (!j) {
		msg_reply_error_fields(call, err.code, err.text, json_pack("{s:s}", "state", "running-here"));
		return NULL;
	}
	j->call = call;
	j->client = msg_call_client(call);
	return j;
}

static void op_preflight(struct msg_call *call, void *daemon)
{
	struct err err = { 0 };
	struct job *j = call_job(call);

	if (j && job_work(j, msg_call_request(call), -1, &err) < 0)
		job_refuse(j, err.code, err.text);
}

static void op_move(struct msg_call *call, void *daemon)
{
	struct job *j = call_job(call);

	if (!j)
		return;
	snprintf(j->uuid, sizeof(j->uuid), "%s", msg_call_str_opt(call, "uuid", ""));
	j->attempt = msg_call_int_opt(call, "attempt", 0);
	snprintf(j->target, sizeof(j->target), "%s", msg_call_str_opt(call, "target", ""));
	j->request = json_deep_copy(msg_call_request(call));
	if (!j->request) {
		job_refuse(j, -ENOMEM, "out of memory");
		return;
	}
	json_object_set_new(j->request, "turns", json_true());
	node_turns_enter(j);
}

static void op_identity(struct msg_call *call, void *daemon)
{
	struct err err = { 0 };
	char name[PKI_NAME_MAX + 1];
	int days = 0;

	if (pki_identity(name, sizeof(name), &days, &err) < 0)
		msg_error_from(call, &err);
	else
		msg_reply(call, json_pack("{s:s, s:i, s:i}", "node", name, "days_left", days, "port", m.port));
}

static void op_subscribe(struct msg_call *call, void *daemon)
{
	msg_subscribe(call);
}

/* A move that has no worker yet ends with its client. */
static void on_client_gone(struct msg_client *client, void *daemon)
{
	json_t *cancel = json_pack("{s:s}", "op", "cancel");

	for (int i = 0; i < JOBS_MAX; i++) {
		struct job *j = m.job[i];

		if (!j || !j->call || j->client != client)
			continue;
		j->client = NULL;
		if (j->pages)
			continue;                /* nothing is left to cancel */
		if (j->control >= 0)
			msg_send(j->control, cancel, NULL, 0);
		else
			job_refuse(j, -ECANCELED, "cancelled");
	}
	node_pages_client_gone(client);
	json_decref(cancel);
}

static const struct msg_op ops[] = {
	{ "move", MSG_ROOT, op_move },
	{ "preflight", MSG_ROOT, op_preflight },
	{ "copy", MSG_ROOT, op_preflight },
	{ "identity", MSG_ROOT, op_identity },
	{ "subscribe", MSG_ANY, op_subscribe },
	{ NULL, MSG_ROOT, NULL },
};

/* --- main --------------------------------------------------------------------------------------------------------------------------- */

static int start(qb_loop_t *loop, void *arg, struct err *err)
{
	struct conf *conf = NULL;
	int rc = conf_load("haven.conf", &conf, err);
	long long parallel;

	if (rc < 0)
		return rc;
	m.loop = loop;
	rc = node_callers_init(m.loop, m.job, conf, &m.port, err);
	parallel = conf_get_int(conf, "migration_parallel", TURNS_SENDING);
	node_turns_init(m.loop, m.job, parallel >= 1 && parallel <= JOBS_MAX ? (unsigned)parallel : TURNS_SENDING);
	conf_free(conf);
	if (rc < 0)
		return rc;
	rc = msg_server_start(m.loop, "migrated.sock", ops, NULL, on_client_gone, "migrated", &m.server, err);
	if (rc < 0)
		return rc;
	qb_loop_signal_add(m.loop, QB_LOOP_MED, SIGCHLD, NULL, on_child, NULL);
	log_info("listening on port %d", m.port);
	node_pages_init(m.loop, m.job);
	spare_later(SPARE_LATER_MS);
	return 0;
}

/* Workers see their control sockets close: what was not handed over is cancelled. */
static void end(void *arg)
{
	msg_server_stop(m.server);
}

int main(int argc, char **argv)
{
	static const struct daemon daemon = {
		.name = "migrated", .what = "Moves domains between nodes. Runs in the foreground; see migrated(8).", .start = start, .end = end,
	};

	return daemon_main(&daemon, NULL, argc, argv);
}
