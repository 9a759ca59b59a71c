/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which addresses a node has on its migration networks, of either family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/migration_net.h"

static char folder[] = "/tmp/haven-test-net-XXXXXX";

static int own(const char *line, struct migration_net *ret, struct err *err)
{
	char path[64];
	struct conf *conf = NULL;
	FILE *f;
	int rc;

	snprintf(path, sizeof(path), "%s/haven.conf", folder);
	f = fopen(path, "we");
	assert_non_null(f);
	fprintf(f, "%s\n", line);
	fclose(f);
	assert_int_equal(conf_load("haven.conf", &conf, err), 0);
	memset(ret, 0, sizeof(*ret));
	rc = migration_net_own(conf, ret, err);
	conf_free(conf);
	return rc;
}

static void expect_texts(const char *line, const char *first, const char *second)
{
	const char *want[] = { first, second };
	struct migration_net net;
	struct err err = { 0 };
	char text[INET6_ADDRSTRLEN];

	assert_int_equal(own(line, &net, &err), 0);
	assert_int_equal(net.n, second ? 2 : first ? 1 : 0);
	for (unsigned i = 0; i < net.n; i++)
		assert_string_equal(migration_net_text(&net.address[i], text), want[i]);
}

static void test_addresses(void **state)
{
	expect_texts("", NULL, NULL);
	expect_texts("migration_address = 192.0.2.7", "192.0.2.7", NULL);
	expect_texts("migration_network = 127.0.0.0/8", "127.0.0.1", NULL);
	expect_texts("migration_address = 2001:db8::7, 192.0.2.7", "2001:db8::7", "192.0.2.7");
}

/* Where the machine has IPv6 at all. */
static void test_own_ipv6(void **state)
{
	struct migration_net net;
	struct err err = { 0 };

	if (own("migration_network = ::1/128", &net, &err) == -EADDRNOTAVAIL)
		skip();
	expect_texts("migration_network = ::1/128, 127.0.0.0/8", "::1", "127.0.0.1");
	expect_texts("migration_network = ::/127", "::1", NULL);
}

static void test_missing(void **state)
{
	struct migration_net net;
	struct err err = { 0 };

	assert_int_equal(own("migration_network = fd99:9:9::/48", &net, &err), -EADDRNOTAVAIL);
	assert_int_equal(own("migration_network = fd99:9:9::/48, 127.0.0.0/8", &net, &err), 0);
	assert_string_equal(net.missing, "fd99:9:9::/48");
	assert_int_equal(net.n, 1);
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "::1/129", "::1/0", "::1/", "::1/x", "::1/12x", "1.2.3.4/33", "1.2.3", "fe80::1", "fe80::/10", "[::1]",
					   "1.2.3.4:8002", "::1%lo", "host", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/1" };
	struct migration_net net;
	char line[128];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = { 0 };

		snprintf(line, sizeof(line), "migration_network = %s", bad[i]);
		assert_int_equal(own(line, &net, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i]));
	}
}

static void test_sockaddr(void **state)
{
	struct migration_addr six = { .family = AF_INET6, .octet = { [15] = 1 } }, four = { .family = AF_INET, .octet = { 127, 0, 0, 1 } };
	struct sockaddr_storage sa;
	struct sockaddr_in6 in6;
	struct sockaddr_in in;

	assert_int_equal(migration_net_sockaddr(&six, 8002, &sa), sizeof(in6));
	memcpy(&in6, &sa, sizeof(in6));
	assert_true(in6.sin6_family == AF_INET6 && in6.sin6_port == htons(8002) && IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr));
	assert_int_equal(migration_net_sockaddr(&four, 8002, &sa), sizeof(in));
	memcpy(&in, &sa, sizeof(in));
	assert_true(in.sin_family == AF_INET && in.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
}

static int setup(void **state)
{
	return mkdtemp(folder) ? setenv("HAVEN_CONF_DIR", folder, 1) : -1;
}

static int teardown(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/haven.conf", folder);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_own_ipv6), cmocka_unit_test(test_missing), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_sockaddr),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
