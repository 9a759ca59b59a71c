/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv-disk's cage: each call it has no use for kills, no file is there, and it can still reach its portal. */
#include "config.h"
#include "tests/unit/cage.h"
#include "storage/hv_disk_sandbox.h"

static char run_dir[] = "/tmp/haven-test-hv-disk-XXXXXX";

static int cage_enter(struct err *err) { return hv_disk_sandbox_enter(1879048191u, err); }

static int do_kill(void) { return kill(1, 0); }
static int do_prctl(void) { return (int)syscall(SYS_prctl, 4, 1, 0, 0, 0); }
static int do_memfd(void) { return (int)syscall(SYS_memfd_create, "x", 1); }
static int do_pread(void) { return (int)pread(0, NULL, 0, 0); }
static int do_unlink(void) { return unlink("/x"); }
static int do_rename(void) { return rename("/x", "/y"); }

static void its_own_denied_calls_die(void **state)
{
	dies("kill", do_kill);
	dies("prctl(PR_SET_DUMPABLE)", do_prctl);
	dies("memfd_create", do_memfd);
	dies("pread64: it holds no disk but its sockets", do_pread);
	dies("unlink", do_unlink);
	dies("rename", do_rename);
}

static int do_refused(void)
{
	return !(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES && getuid() == 1879048191u);
}

static int do_needed(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	return !(fd >= 0 && connect(fd, NULL, 0) < 0 && errno != ENOSYS && malloc(1 << 24));
}

static void files_are_refused(void **state) { assert_int_equal(caged(do_refused), 0); }
static void needed_calls_work(void **state) { assert_int_equal(caged(do_needed), 0); }

static int setup(void **state)
{
	return mkdtemp(run_dir) && setenv("HAVEN_RUN_DIR", run_dir, 1) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/empty", run_dir);
	rmdir(path);
	return rmdir(run_dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denied_calls_die), cmocka_unit_test(its_own_denied_calls_die), cmocka_unit_test(files_are_refused),
		cmocka_unit_test(needed_calls_work),
	};

	return cage_untestable() ? cage_untestable() : cmocka_run_group_tests(tests, setup, teardown);
}
