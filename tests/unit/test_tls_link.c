/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A link's keys do not outlive what AES-GCM allows: after so many records the sender goes on under another one, and nothing of what
 * it sends is lost or altered.  Both ends here, a thread each, with certificates of lib/pki.c.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/pki.h"
#include "migrated/tls_link.h"

#define RECORDS 100		/* a key */
#define OCTETS (16u << 20)	/* 1,024 full records, and some small ones */

static char dir[] = "/tmp/haven-link-XXXXXX";

static int setup(void **state)
{
	struct err err = { 0 };

	if (!mkdtemp(dir) || setenv("HAVEN_CONF_DIR", dir, 1) || setenv("D", dir, 1))
		return -1;
	return pki_init("demo", &err) || pki_issue("n1", NULL, &err) || pki_issue("n2", NULL, &err);
}

static int teardown(void **state)
{
	return system("rm -rf $D");
}

static SSL_CTX *context(const char *node)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	char path[4][256];
	static const char *const names[] = { "ca.crt", "node.crt", "node.key" };

	for (int i = 0; i < 3; i++)
		snprintf(path[i], sizeof(path[i]), "%s/pki/issued/%s/%s", dir, node, names[i]);
	assert_non_null(ctx);
	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION), 1);
	assert_int_equal(SSL_CTX_load_verify_locations(ctx, path[0], NULL), 1);
	assert_int_equal(SSL_CTX_use_certificate_file(ctx, path[1], SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, path[2], SSL_FILETYPE_PEM), 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return ctx;
}

static uint8_t octet(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void count_updates(int write_p, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
	if (!write_p && type == SSL3_RT_HANDSHAKE && n && *(const uint8_t *)p == SSL3_MT_KEY_UPDATE)
		++*(unsigned *)arg;
}

static void *sender(void *arg)
{
	struct tls_link *l = arg;
	static uint8_t data[OCTETS];
	struct err err = { 0 };
	SSL_CTX *ctx = context("n1");
	intptr_t rc = link_handshake(l, ctx, false, "n2", &err);

	for (size_t i = 0; i < OCTETS; i++)
		data[i] = octet(i);
	for (size_t at = 0, n; at < OCTETS && rc == 0; at += n) {
		n = at % 3 ? 70000 : 11;                        /* several records a call, and a fraction of one */
		n = n < OCTETS - at ? n : OCTETS - at;
		rc = link_write(l, data + at, n);
	}
	SSL_CTX_free(ctx);
	return (void *)rc;
}

static void test_key_changes_within_the_limit(void **state)
{
	struct tls_link out, in;
	static uint8_t got[OCTETS];
	struct err err = { 0 };
	unsigned updates = 0;
	pthread_t t;
	int sv[2];
	void *rc;
	SSL_CTX *ctx = context("n2");

	link_init(&out);
	link_init(&in);
	out.records_a_key = RECORDS;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	out.fd = sv[0];
	in.fd = sv[1];
	assert_int_equal(pthread_create(&t, NULL, sender, &out), 0);
	assert_int_equal(link_handshake(&in, ctx, true, "n1", &err), 0);
	SSL_set_msg_callback(in.ssl, count_updates);
	SSL_set_msg_callback_arg(in.ssl, &updates);
	assert_int_equal(link_read(&in, got, OCTETS), 0);
	assert_int_equal(pthread_join(t, &rc), 0);
	assert_int_equal((intptr_t)rc, 0);
	for (size_t i = 0; i < OCTETS; i++)
		if (got[i] != octet(i))
			fail_msg("octet %zu came as another", i);
	assert_in_range(updates, OCTETS / SSL3_RT_MAX_PLAIN_LENGTH / RECORDS, OCTETS / 11 / RECORDS);
	link_close(&out, false);
	link_close(&in, false);
	SSL_CTX_free(ctx);
}

static void test_limit_is_aes_gcms(void **state)
{
	struct tls_link l;

	link_init(&l);
	assert_in_range(l.records_a_key, 1, 23726566);          /* 2^24.5 */
}

/*
 * A host that stood still for longer than silence is borne took its peer for silent: its move was broken off, or had its connection made again,
 * though the peer had stood still as well, or had something on its way.  A process that is stopped stands in for it.
 */
static void test_who_stood_still_has_heard_no_silence(void **state)
{
	int sv[2], st;
	pid_t p;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	p = fork();
	if (!p) {
		struct tls_link l;
		struct err err = { 0 };

		link_init(&l);
		l.fd = sv[1];
		l.silence_ns = 2000000000;
		_exit(link_handshake(&l, context("n2"), true, "n1", &err) < 0 && strstr(err.text, "nothing heard") ? 7 : 8);
	}
	usleep(300000);
	assert_int_equal(kill(p, SIGSTOP), 0);
	usleep(2500000);
	assert_int_equal(kill(p, SIGCONT), 0);
	usleep(200000);
	assert_int_equal(waitpid(p, &st, WNOHANG), 0);          /* it waits on */
	assert_int_equal(waitpid(p, &st, 0), p);
	assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 7);     /* and not for ever */
	close(sv[0]);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_changes_within_the_limit),
		cmocka_unit_test(test_limit_is_aes_gcms),
		cmocka_unit_test(test_who_stood_still_has_heard_no_silence),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
