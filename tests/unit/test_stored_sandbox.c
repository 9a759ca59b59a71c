/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenstored's cage: each call it has no use for kills, root's files and the way back to root are closed. Each case runs in a
 * process of its own, which enters the very cage xenstored enters.
 */
#include "config.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "dom0/xenstored/stored.h"

static char dir[] = "/tmp/haven-test-stored-XXXXXX";
static int dir_fd;

static int caged(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err = { 0 };

		if (stored_sandbox_enter(&err)) {
			fprintf(stderr, "%s\n", err.text);
			_exit(99);
		}
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int do_execve(void) { return execl("/bin/true", "true", NULL) != 0; }
static int do_fork(void) { return (int)syscall(SYS_fork); }
static int do_clone(void) { return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static int do_ptrace(void) { return (int)ptrace(PTRACE_TRACEME, 0, 0, 0); }
static int do_bind(void) { return bind(0, NULL, 0); }
static int do_listen(void) { return listen(0, 1); }
static int do_mount(void) { return mount("a", "b", "c", 0, NULL); }
static int do_setuid(void) { return setuid(0); }
static int do_chown(void) { return chown("/x", 0, 0); }
static int do_chmod(void) { return chmod("/x", 0777); }
static int do_link(void) { return link("/x", "/y"); }
static int do_symlink(void) { return symlink("/x", "/y"); }
static int do_mkdir(void) { return mkdir("/x", 0700); }
static int do_chroot(void) { return chroot("/"); }
static int do_bpf(void) { return (int)syscall(SYS_bpf, 0, 0, 0); }
static int do_io_uring(void) { return (int)syscall(SYS_io_uring_setup, 1, 0); }
static int do_vm_writev(void) { return (int)syscall(SYS_process_vm_writev, getpid(), 0, 0, 0, 0, 0); }
static int do_unshare(void) { return (int)syscall(SYS_unshare, 0x10000000); }
static int do_prctl(void) { return (int)syscall(SYS_prctl, 4, 1, 0, 0, 0); }
static int do_ioctl(void) { return (int)syscall(SYS_ioctl, 0, 0, 0); }

static const struct { const char *name; int (*fn)(void); } denied[] = {
	{ "execve", do_execve }, { "fork", do_fork }, { "clone", do_clone }, { "ptrace", do_ptrace }, { "bind", do_bind },
	{ "listen", do_listen }, { "mount", do_mount }, { "setuid", do_setuid }, { "chown", do_chown }, { "chmod", do_chmod },
	{ "link", do_link }, { "symlink", do_symlink }, { "mkdir", do_mkdir }, { "chroot", do_chroot }, { "bpf", do_bpf },
	{ "io_uring_setup", do_io_uring }, { "process_vm_writev", do_vm_writev }, { "unshare", do_unshare },
	{ "prctl(PR_SET_DUMPABLE)", do_prctl }, { "ioctl", do_ioctl },
};

static void denied_calls_die(void **state)
{
	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
		int status = caged(denied[i].fn);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s did not kill: status %#x", denied[i].name, status);
	}
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
		cmocka_unit_test(denied_calls_die), cmocka_unit_test(roots_things_are_out_of_reach), cmocka_unit_test(needed_calls_work),
	};

	if (geteuid() != 0)
		return 77;                     /* entering the cage takes root: skipped */
#ifdef HAVEN_ASAN
	return 77;                             /* ASan's cage is wider, by name (lib/sandbox.c) */
#endif
	return cmocka_run_group_tests(tests, setup, teardown);
}
