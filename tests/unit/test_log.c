/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What killed daemons leave in /dev/shm goes when the next one begins: black boxes of this daemon whose process is dead, and no
 * others.  And the escaping of what guests say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/log.h"

static char name[40];

static pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

static const char *box(const char *daemon, pid_t pid, const char *what)
{
	static char path[8][160];
	static unsigned n;
	char *p = path[n++ % 8];

	snprintf(p, sizeof(path[0]), "/dev/shm/qb-%s-%d-blackbox-%s", daemon, (int)pid, what);
	return p;
}

static const char *made(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);

	assert_true(fd >= 0);
	close(fd);
	return path;
}

static void boxes_of_the_dead_go(void **state)
{
	char other[64], numbered[64];
	pid_t dead = dead_pid();
	const char *data, *header, *numbers, *alive, *others, *odd;

	snprintf(name, sizeof(name), "haven-test-log%d-7", (int)getpid());
	snprintf(numbered, sizeof(numbered), "haven-test-log%d-12", (int)getpid());
	snprintf(other, sizeof(other), "haven-test-log%dx", (int)getpid());
	data = made(box(name, dead, "data"));
	header = made(box(name, dead, "header"));
	numbers = made(box(numbered, dead, "data"));
	alive = made(box(numbered, getppid(), "data"));
	others = made(box(other, dead, "data"));
	odd = made(box(name, dead, "data.bak"));
	made(box(name, getpid(), "data"));              /* of an earlier process with our number: in the way */
	made(box(name, getpid(), "header"));
	log_init(name);
	assert_int_not_equal(access(data, F_OK), 0);
	assert_int_not_equal(access(header, F_OK), 0);
	assert_int_not_equal(access(numbers, F_OK), 0);
	assert_int_equal(access(alive, F_OK), 0);
	assert_int_equal(access(others, F_OK), 0);
	assert_int_equal(access(odd, F_OK), 0);
	assert_int_equal(access(box(name, getpid(), "header"), F_OK), 0);        /* ours, made anew */
	log_fini();
	assert_int_not_equal(access(box(name, getpid(), "header"), F_OK), 0);
	unlink(alive);
	unlink(others);
	unlink(odd);
}

static void what_guests_say_is_escaped(void **state)
{
	char out[16];

	assert_string_equal(log_escape(out, sizeof(out), "a\n\\b", 4), "a\\x0a\\x5cb");
	assert_string_equal(log_escape(out, 8, "abcdefgh", 8), "abcd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(boxes_of_the_dead_go), cmocka_unit_test(what_guests_say_is_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
