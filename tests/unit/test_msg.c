/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_msg.c - requests, errors, progress, descriptors and hostile packets over lib/msg. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/msg.h"

static char run_dir[] = "/tmp/haven-test-msg-XXXXXX";
static qb_loop_t *loop;
static struct msg_server *server;
static struct msg_call *kept;

static void op_echo(struct msg_call *c, void *d)
{
	const char *s;

	if (msg_call_str(c, "text", &s))
		msg_reply(c, json_pack("{s:s}", "text", s));
}

static void op_fail(struct msg_call *c, void *d) { msg_error(c, -ENOSPC, "%s: no room; free some", "the disk"); }

static void op_long(struct msg_call *c, void *d)
{
	for (int i = 0; i < 3; i++)
		msg_progress(c, json_pack("{s:i}", "percent", i * 50));
	msg_reply(c, NULL);
}

static void op_fd(struct msg_call *c, void *d)
{
	int fd = msg_call_take_fd(c, 0);

	msg_reply_fds(c, NULL, &fd, 1);
	close(fd);
}

static void op_keep(struct msg_call *c, void *d) { kept = c; }

/* Answers itself first, then the call that was kept. */
static void op_release(struct msg_call *c, void *d)
{
	struct msg_call *k = kept;
	int fd = dup(STDIN_FILENO);

	kept = NULL;
	msg_reply_fds(c, json_pack("{s:s}", "text", "release"), &fd, 1);
	close(fd);
	msg_reply(k, json_pack("{s:s}", "text", "kept"));
}

static void op_quit(struct msg_call *c, void *d) { msg_reply(c, NULL); qb_loop_stop(loop); }

static const struct msg_op ops[] = {
	{ "echo", MSG_ANY, op_echo }, { "fail", MSG_ROOT, op_fail }, { "long", MSG_ROOT, op_long }, { "fd", MSG_ROOT, op_fd },
	{ "keep", MSG_ROOT, op_keep }, { "release", MSG_ROOT, op_release }, { "quit", MSG_ROOT, op_quit }, { NULL, MSG_ROOT, NULL },
};

/* An orphan's reply is dropped, and frees it. */
static void client_gone(struct msg_client *cl, void *d)
{
	struct msg_call *c = kept;

	if (c && msg_call_client(c) == cl) {
		kept = NULL;
		msg_reply(c, NULL);
	}
}

static void *serve(void *arg)
{
	qb_loop_run(loop);
	return arg;
}

static int sum_percent(const json_t *p, void *arg)
{
	*(int *)arg += (int)json_integer_value(json_object_get(p, "percent"));
	return 0;
}

static void test_request_and_reply(void **state)
{
	struct err err;
	json_t *r = NULL;

	assert_int_equal(msg_call_once("t.sock", json_pack("{s:s,s:s}", "op", "echo", "text", "hello"), &r, 2000, &err), 0);
	assert_string_equal(json_string_value(json_object_get(r, "text")), "hello");
	json_decref(r);
	assert_int_equal(msg_call_once("t.sock", json_pack("{s:s}", "op", "ping"), &r, 2000, &err), 0);
	assert_string_equal(json_string_value(json_object_get(r, "daemon")), "tester");
	json_decref(r);
}

static void test_errors_name_things(void **state)
{
	struct err err;

	assert_int_equal(msg_call_once("t.sock", json_pack("{s:s}", "op", "fail"), NULL, 2000, &err), -ENOSPC);
	assert_string_equal(err.text, "the disk: no room; free some");
	assert_int_equal(msg_call_once("t.sock", json_pack("{s:s}", "op", "nonsense"), NULL, 2000, &err), -ENOSYS);
	assert_int_equal(msg_call_once("t.sock", json_pack("{s:s}", "op", "echo"), NULL, 2000, &err), -EINVAL);
	assert_non_null(strstr(err.text, "\"text\""));
	assert_int_equal(msg_call_once("absent.sock", json_pack("{s:s}", "op", "x"), NULL, 2000, &err), -ENOENT);
	assert_non_null(strstr(err.text, "absent is not running"));
}

static void test_progress_comes_before_the_reply(void **state)
{
	struct err err;
	int sum = 0, s = msg_connect("t.sock", &err);
	json_t *q = json_pack("{s:s}", "op", "long");

	assert_true(s >= 0);
	assert_int_equal(msg_call(s, q, NULL, 0, NULL, NULL, NULL, 2000, sum_percent, &sum, &err), 0);
	assert_int_equal(sum, 150);
	json_decref(q);
	close(s);
}

static void test_descriptors_pass_both_ways(void **state)
{
	struct err err;
	int s = msg_connect("t.sock", &err), p[2], got[MSG_MAX_FDS], n = 0;
	json_t *q = json_pack("{s:s}", "op", "fd");
	char c = 0;

	assert_int_equal(pipe(p), 0);
	assert_int_equal(msg_call(s, q, &p[1], 1, NULL, got, &n, 2000, NULL, NULL, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(write(got[0], "x", 1), 1);
	assert_int_equal(read(p[0], &c, 1), 1);
	assert_int_equal(c, 'x');
	close(got[0]);
	close(p[0]);
	close(p[1]);
	close(s);
	json_decref(q);
}

/*
 * A daemon's refusal at once overtook the answer to an earlier request that took time. Clients match them by their order: ha-agentd
 * took "ok" to something else for "never activated here".
 */
static void test_replies_come_in_order(void **state)
{
	static const char *const requests[] = { "{\"op\":\"keep\"}", "{\"op\":\"fail\"}", "{\"op\":\"echo\",\"text\":\"echo\"}",
						"{\"op\":\"release\"}" };
	static const char *const texts[] = { "kept", NULL, "echo", "release" };
	int s, got[MSG_MAX_FDS], n;
	struct err err;

	s = msg_connect("t.sock", &err);
	assert_true(s >= 0);
	for (int i = 0; i < 4; i++)
		assert_true(send(s, requests[i], strlen(requests[i]), 0) >= 0);
	for (int i = 0; i < 4; i++) {
		json_t *r = NULL;
		const char *text;

		n = 0;
		assert_true(msg_recv(s, &r, got, &n) > 0);
		text = json_string_value(json_object_get(r, "text"));
		if (texts[i])
			assert_string_equal(text, texts[i]);
		else
			assert_string_equal(json_string_value(json_object_get(r, "code")), "ENOSPC");
		assert_int_equal(n, i == 3);
		while (n > 0)
			close(got[--n]);
		json_decref(r);
	}
	/* one that leaves with answers waiting for an earlier one */
	for (int i = 0; i < 3; i++)
		assert_true(send(s, requests[i], strlen(requests[i]), 0) >= 0);
	close(s);
	test_request_and_reply(state);
}

/* A client that sends rubbish, or leaves before its answer, loses its own connection; the daemon serves the next one. */
static void test_rubbish_and_orphans_are_survived(void **state)
{
	static const char *const bad[] = { "{", "[]", "\xff\xfe", "{\"op\":5}", "{\"op\":\"echo\",\"text\":7}", "{\"op\":\"keep\"}" };
	struct err err;
	char big[MSG_MAX_BYTES + 5000];
	int s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s = msg_connect("t.sock", &err);
		assert_true(s >= 0);
		assert_true(send(s, bad[i], strlen(bad[i]), 0) >= 0);
		close(s);
	}
	s = msg_connect("t.sock", &err);
	memset(big, ' ', sizeof(big));
	send(s, big, sizeof(big), 0);
	close(s);
	test_request_and_reply(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_and_reply), cmocka_unit_test(test_errors_name_things),
		cmocka_unit_test(test_progress_comes_before_the_reply), cmocka_unit_test(test_descriptors_pass_both_ways),
		cmocka_unit_test(test_replies_come_in_order), cmocka_unit_test(test_rubbish_and_orphans_are_survived),
	};
	pthread_t th;
	struct err err;
	int rc;

	if (!mkdtemp(run_dir))
		return 99;
	setenv("HAVEN_RUN_DIR", run_dir, 1);
	loop = qb_loop_create();
	if (msg_server_start(loop, "t.sock", ops, NULL, client_gone, "tester", &server, &err) < 0)
		return 99;
	pthread_create(&th, NULL, serve, NULL);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	msg_call_once("t.sock", json_pack("{s:s}", "op", "quit"), NULL, 2000, &err);
	pthread_join(th, NULL);
	msg_server_stop(server);
	qb_loop_destroy(loop);
	rmdir(run_dir);
	return rc;
}
