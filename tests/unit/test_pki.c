/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CA's life: made once, issues, shows, revokes; what it writes verifies with OpenSSL's own tool and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/pki.h"

static char dir[] = "/tmp/haven-pki-XXXXXX";

/* A shell command with the test's folder as $D. */
static int run(const char *cmd)
{
	return system(cmd);
}

static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	return setenv("HAVEN_CONF_DIR", dir, 1) || setenv("D", dir, 1);
}

static int teardown(void **state)
{
	return run("rm -rf $D");
}

static void test_before_init_everything_says_so(void **state)
{
	struct err err = { 0 };
	char name[64];
	json_t *j = NULL;

	assert_int_equal(pki_issue("n1", NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "haven cert init"));
	assert_int_equal(pki_identity(name, sizeof(name), NULL, &err), -ENOENT);
	assert_int_equal(pki_show(&j, &err), -ENOENT);
	assert_int_equal(pki_revoke("n1", &err), -ENOENT);
}

static void test_init_makes_it_once(void **state)
{
	struct err err = { 0 };
	struct stat st;
	char path[256];

	assert_int_equal(pki_init("demo", &err), 0);
	snprintf(path, sizeof(path), "%s/pki/ca.key", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(pki_init("demo", &err), -EEXIST);
}

static void test_issue_verifies(void **state)
{
	struct err err = { 0 };
	struct stat st;
	char path[256];

	assert_int_equal(pki_issue("n1", NULL, &err), 0);
	assert_int_equal(pki_issue("n2", NULL, &err), 0);
	assert_int_equal(run("openssl verify -x509_strict -CAfile $D/pki/ca.crt $D/pki/issued/n1/node.crt >/dev/null"), 0);
	assert_int_equal(run("openssl x509 -in $D/pki/issued/n1/node.crt -noout -checkhost n1 | grep -q 'does match'"), 0);
	assert_int_not_equal(run("openssl x509 -in $D/pki/issued/n1/node.crt -noout -checkhost n2 | grep -q 'does match'"), 0);
	snprintf(path, sizeof(path), "%s/pki/issued/n1/node.key", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_issue_refuses_odd_names(void **state)
{
	static const char *const odd[] = { "", "a/b", "../x", ".n1", "n 1", "n1\n", "a,DNS:b",
		"0123456789012345678901234567890123456789012345678901234567890123" };
	struct err err = { 0 };

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(pki_issue(odd[i], NULL, &err), -EINVAL);
}

static void test_issue_for_this_host_installs(void **state)
{
	struct err err = { 0 };
	char host[128] = "", name[64];
	int days = 0;

	assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
	assert_int_equal(pki_issue(host, NULL, &err), 0);
	assert_int_equal(pki_identity(name, sizeof(name), &days, &err), 0);
	assert_string_equal(name, host);
	assert_in_range(days, 3640, 3651);
}

static void test_revoke_reaches_only_that_node(void **state)
{
	struct err err = { 0 };
	json_t *j = NULL, *e;
	unsigned revoked = 0;
	size_t i;

	assert_int_equal(pki_revoke("nobody", &err), -ENOENT);
	assert_int_equal(pki_revoke("n1", &err), 0);
	assert_int_equal(pki_revoke("n1", &err), 0);
	assert_int_not_equal(run("cd $D/pki && openssl verify -crl_check -CAfile ca.crt -CRLfile crl.pem issued/n1/node.crt >/dev/null 2>&1"), 0);
	assert_int_equal(run("cd $D/pki && openssl verify -crl_check -CAfile ca.crt -CRLfile crl.pem issued/n2/node.crt >/dev/null"), 0);
	assert_int_equal(pki_show(&j, &err), 0);
	assert_int_equal(json_array_size(json_object_get(json_object_get(j, "crl"), "revoked")), 1);
	json_array_foreach(json_object_get(j, "issued"), i, e) {
		bool is = json_is_true(json_object_get(e, "revoked"));

		revoked += is;
		assert_int_equal(is, strcmp(json_string_value(json_object_get(e, "node")), "n1") == 0);
	}
	assert_int_equal(revoked, 1);
	json_decref(j);
	/* a certificate issued after the revocation is good */
	assert_int_equal(pki_issue("n1", NULL, &err), 0);
	assert_int_equal(run("cd $D/pki && openssl verify -crl_check -CAfile ca.crt -CRLfile crl.pem issued/n1/node.crt >/dev/null"), 0);
}

static void test_garbage_files_are_named(void **state)
{
	struct err err = { 0 };
	char name[64];

	assert_int_equal(run("echo garbage > $D/pki/node.crt"), 0);
	assert_int_equal(pki_identity(name, sizeof(name), NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "node.crt"));
	assert_int_equal(run("echo garbage > $D/pki/ca.key"), 0);
	assert_int_equal(pki_issue("n3", NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "ca.key"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_init_everything_says_so),
		cmocka_unit_test(test_init_makes_it_once),
		cmocka_unit_test(test_issue_verifies),
		cmocka_unit_test(test_issue_refuses_odd_names),
		cmocka_unit_test(test_issue_for_this_host_installs),
		cmocka_unit_test(test_revoke_reaches_only_that_node),
		cmocka_unit_test(test_garbage_files_are_named),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
