/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two cages of a move's worker: in both, each call it has no use for kills; in the second, which it moves the guest in, it makes no
 * connection and looks at no file any more, and cannot widen the cage.
 */
#include "config.h"
#include "tests/unit/cage.h"
#include "migrated/migrate_ids.h"
#include "migrated/worker_sandbox.h"

static bool second;

static int cage_enter(struct err *err)
{
	int rc = worker_sandbox_enter(true, err);

	return rc == 0 && second ? worker_sandbox_enter(false, err) : rc;
}

static int do_kill(void) { return kill(1, 0); }
static int do_bind(void) { return bind(0, NULL, 0); }
static int do_unlink(void) { return unlink("/x"); }
static int do_accept(void) { return accept(0, NULL, NULL); }
static int do_connect(void) { return connect(0, NULL, 0); }
static int do_socket(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static int do_stat(void) { return (int)syscall(SYS_stat, "/", NULL); }
static int do_seccomp(void) { return (int)syscall(SYS_seccomp, 0, 0, NULL); }
static int do_prctl(void) { return (int)syscall(SYS_prctl, 4, 1, 0, 0, 0); }

static int do_open_for_writing(void) { return open("/tmp/haven-test-worker", O_RDWR | O_CREAT, 0600); }

static void both_deny(void)
{
	denied_calls_die(NULL);
	dies("kill", do_kill);
	dies("bind", do_bind);
	dies("unlink", do_unlink);
	dies("accept", do_accept);
}

static void first_cage(void **state)
{
	second = false;
	both_deny();
	dies("open for writing", do_open_for_writing);
}

static void second_cage(void **state)
{
	second = true;
	both_deny();
	dies("connect", do_connect);
	dies("socket", do_socket);
	dies("stat", do_stat);
	dies("seccomp", do_seccomp);
	dies("prctl", do_prctl);
}

static int do_first(void)
{
	int fd = open("/etc/passwd", O_RDONLY);

	return !(fd >= 0 && socket(AF_INET, SOCK_STREAM, 0) >= 0);
}

static int do_second(void)
{
	return !(open("/etc/passwd", O_RDONLY) < 0 && errno == EPERM && syscall(SYS_memfd_create, "x", 1) >= 0 && malloc(1 << 24));
}

static void what_each_may(void **state)
{
	second = false;
	assert_int_equal(caged(do_first), 0);
	second = true;
	assert_int_equal(caged(do_second), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_cage), cmocka_unit_test(second_cage), cmocka_unit_test(what_each_may),
	};

	return cage_untestable() ? cage_untestable() : cmocka_run_group_tests(tests, NULL, NULL);
}
