/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_buf.c - bounds of readers and writers, records; atomic files, configuration and spawning beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/atomic_file.h"
#include "lib/buf.h"
#include "lib/conf.h"
#include "lib/err.h"
#include "lib/spawn.h"

static void test_round_trip(void **state)
{
	struct buf b = BUF_INIT(1000);
	struct reader r;
	char *s;

	buf_u8(&b, 0xab);
	buf_u16(&b, 0x1234);
	buf_u32(&b, 0xdeadbeef);
	buf_u64(&b, 0x0102030405060708);
	buf_str(&b, "haven");
	assert_true(buf_ok(&b));
	reader_init(&r, b.data, b.len);
	assert_int_equal(reader_u8(&r), 0xab);
	assert_int_equal(reader_u16(&r), 0x1234);
	assert_int_equal(reader_u32(&r), 0xdeadbeef);
	assert_true(reader_u64(&r) == 0x0102030405060708);
	s = reader_str(&r, 16);
	assert_string_equal(s, "haven");
	assert_true(reader_done(&r));
	free(s);
	buf_free(&b);
}

static void test_bounds_stick(void **state)
{
	struct buf b = BUF_INIT(5);
	struct reader r;

	reader_init(&r, "\1\2\3", 3);
	assert_int_equal(reader_u32(&r), 0);
	assert_false(reader_ok(&r));
	assert_int_equal(reader_u8(&r), 0);       /* although a byte is left */
	reader_init(&r, "\xff\xff\xff\xff" "abc", 7);
	assert_null(reader_str(&r, 1 << 20));
	assert_false(reader_ok(&r));
	buf_u32(&b, 1);
	assert_true(buf_ok(&b));
	buf_u32(&b, 1);
	assert_false(buf_ok(&b));
	assert_int_equal(b.len, 4);
	buf_free(&b);
}

static void test_records(void **state)
{
	struct buf b = BUF_INIT(1000);
	struct reader r, body;
	uint32_t type;
	size_t h = record_begin(&b, 7);

	buf_u8(&b, 42);
	record_end(&b, h);
	h = record_begin(&b, RECORD_OPTIONAL | 9);
	record_end(&b, h);
	reader_init(&r, b.data, b.len);
	assert_int_equal(record_next(&r, &type, &body), 1);
	assert_int_equal(type, 7);
	assert_int_equal(reader_u8(&body), 42);
	assert_true(reader_done(&body));
	assert_int_equal(record_next(&r, &type, &body), 1);
	assert_int_equal(record_next(&r, &type, &body), 0);
	for (size_t cut = 1; cut < b.len; cut++) {        /* every truncation is seen, or ends at a record's end */
		int rc;

		reader_init(&r, b.data, cut);
		while ((rc = record_next(&r, &type, &body)) == 1)
			;
		assert_true(rc == -EINVAL || cut == 16);
	}
	buf_free(&b);
}

static void test_atomic_file_and_conf(void **state)
{
	char dir[] = "/tmp/haven-test-buf-XXXXXX", path[64];
	struct conf *c;
	struct err err;
	char *text;
	size_t n;

	assert_non_null(mkdtemp(dir));
	setenv("HAVEN_CONF_DIR", dir, 1);
	snprintf(path, sizeof(path), "%s/haven.conf", dir);
	assert_int_equal(conf_load("haven.conf", &c, &err), 0);
	conf_free(c);
	assert_int_equal(atomic_file_write(path, "# c\nport = 8002 # x\n name = 'a b'\n", 34, 0600), 0);
	assert_int_equal(atomic_file_read(path, 100, &text, &n), 0);
	assert_int_equal(n, 34);
	free(text);
	assert_int_equal(atomic_file_read(path, 10, &text, &n), -EFBIG);
	assert_int_equal(conf_load("haven.conf", &c, &err), 0);
	assert_int_equal(conf_get_int(c, "port", 0), 8002);
	assert_string_equal(conf_get(c, "name", ""), "a b");
	assert_string_equal(conf_get(c, "none", "d"), "d");
	conf_free(c);
	assert_int_equal(atomic_file_write(path, "good = 1\nrubbish\n", 17, 0600), 0);
	assert_int_equal(conf_load("haven.conf", &c, &err), -EINVAL);
	assert_non_null(strstr(err.text, "haven.conf:2"));
	assert_int_equal(atomic_file_remove(path), 0);
	rmdir(dir);
}

static void test_spawn(void **state)
{
	char missing_path[] = "/nonexistent/program", sleep_path[] = "/bin/sleep", seconds[] = "60";
	char *const missing[] = { missing_path, NULL }, *const sleeper[] = { sleep_path, seconds, NULL };
	struct err err;
	int pidfd = -1, again;
	pid_t pid;

	assert_int_equal(spawn_program(missing, NULL, NULL, 0, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/program"));
	pid = spawn_program(sleeper, NULL, NULL, 0, &pidfd, &err);
	assert_true(pid > 0);
	again = spawn_reopen(pid, spawn_start_time(pid));
	assert_true(again >= 0);
	close(again);
	assert_int_equal(spawn_reopen(pid, spawn_start_time(pid) + 1), -ESRCH);
	assert_int_equal(spawn_kill_wait(pidfd, 2000), 0);
	close(pidfd);
}

static void test_prepared_file_takes_the_place(void **state)
{
	char folder[] = "/tmp/haven-test-prepared-XXXXXX", path[64], next[64], *text = NULL;
	size_t n = 0;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/number", folder);
	snprintf(next, sizeof(next), "%s/number.next", folder);
	assert_int_equal(atomic_file_commit(next, path), -ENOENT);
	assert_int_equal(atomic_file_write(path, "1", 1, 0600), 0);
	assert_int_equal(atomic_file_write(next, "2", 1, 0600), 0);
	assert_int_equal(atomic_file_commit(next, path), 0);
	assert_int_equal(access(next, F_OK), -1);
	assert_int_equal(atomic_file_read(path, 64, &text, &n), 0);
	assert_string_equal(text, "2");
	free(text);
	assert_int_equal(atomic_file_remove(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prepared_file_takes_the_place),
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bounds_stick), cmocka_unit_test(test_records),
		cmocka_unit_test(test_atomic_file_and_conf), cmocka_unit_test(test_spawn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
