/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xenstored's cage: each call it has no use for kills, root's files and the way back to root are closed. */
#include "config.h"
#include "tests/unit/cage.h"
#include "dom0/xenstored/stored.h"

static char dir[] = "/tmp/haven-test-stored-XXXXXX";
static int dir_fd;

static int cage_enter(struct err *err) { return stored_sandbox_enter(err); }

static int do_bind(void) { return bind(0, NULL, 0); }
static int do_prctl(void) { return (int)syscall(SYS_prctl, 4, 1, 0, 0, 0); }
static int do_ioctl(void) { return (int)syscall(SYS_ioctl, 0, 0, 0); }

static void its_own_denied_calls_die(void **state)
{
	dies("bind", do_bind);
	dies("prctl(PR_SET_DUMPABLE)", do_prctl);
	dies("ioctl", do_ioctl);
}

static int do_roots_files(void)
{
	return !(open("/etc/shadow", O_RDONLY) < 0 && errno == EACCES && openat(dir_fd, "x", O_RDONLY) < 0 && errno == EACCES &&
		 unlinkat(dir_fd, "x", 0) < 0 && errno == EACCES && kill(1, 0) < 0 && errno == EPERM);
}

static void roots_things_are_out_of_reach(void **state)
{
	assert_int_equal(caged(do_roots_files), 0);
}

static int do_needed(void)
{
	int fd = (int)syscall(SYS_memfd_create, "x", 1);

	return !(fd >= 0 && write(fd, "a", 1) == 1 && socket(AF_UNIX, SOCK_DGRAM, 0) >= 0 && malloc(1 << 24));
}

static void needed_calls_work(void **state)
{
	assert_int_equal(caged(do_needed), 0);
}

static int setup(void **state)
{
	int fd;

	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	fd = openat(dir_fd, "x", O_CREAT | O_WRONLY, 0600);
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	unlinkat(dir_fd, "x", 0);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denied_calls_die), cmocka_unit_test(its_own_denied_calls_die),
		cmocka_unit_test(roots_things_are_out_of_reach), cmocka_unit_test(needed_calls_work),
	};

	return cage_untestable() ? cage_untestable() : cmocka_run_group_tests(tests, setup, teardown);
}
