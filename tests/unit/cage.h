/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cage.h - the tests of a daemon's cage: each call that no daemon of ours has a use for kills. Each case runs in a process of its
 * own, which enters the very cage the daemon enters; the test that includes this defines cage_enter() as that.
 */
#ifndef TESTS_UNIT_CAGE_H
#define TESTS_UNIT_CAGE_H

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
#include "lib/err.h"

static int cage_enter(struct err *err);

static inline int caged(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err = { 0 };

		if (cage_enter(&err)) {
			fprintf(stderr, "%s\n", err.text);
			_exit(99);
		}
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static inline int do_execve(void) { return execl("/bin/true", "true", NULL) != 0; }
static inline int do_fork(void) { return (int)syscall(SYS_fork); }
static inline int do_clone(void) { return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static inline int do_ptrace(void) { return (int)ptrace(PTRACE_TRACEME, 0, 0, 0); }
static inline int do_listen(void) { return listen(0, 1); }
static inline int do_mount(void) { return mount("a", "b", "c", 0, NULL); }
static inline int do_setuid(void) { return setuid(0); }
static inline int do_chown(void) { return chown("/x", 0, 0); }
static inline int do_chmod(void) { return chmod("/x", 0777); }
static inline int do_link(void) { return link("/x", "/y"); }
static inline int do_symlink(void) { return symlink("/x", "/y"); }
static inline int do_mkdir(void) { return mkdir("/x", 0700); }
static inline int do_chroot(void) { return chroot("/"); }
static inline int do_bpf(void) { return (int)syscall(SYS_bpf, 0, 0, 0); }
static inline int do_io_uring(void) { return (int)syscall(SYS_io_uring_setup, 1, 0); }
static inline int do_vm_writev(void) { return (int)syscall(SYS_process_vm_writev, getpid(), 0, 0, 0, 0, 0); }
static inline int do_unshare(void) { return (int)syscall(SYS_unshare, 0x10000000); }

static const struct { const char *name; int (*fn)(void); } denied[] = {
	{ "execve", do_execve }, { "fork", do_fork }, { "clone", do_clone }, { "ptrace", do_ptrace },
	{ "listen", do_listen }, { "mount", do_mount }, { "setuid", do_setuid }, { "chown", do_chown }, { "chmod", do_chmod },
	{ "link", do_link }, { "symlink", do_symlink }, { "mkdir", do_mkdir }, { "chroot", do_chroot }, { "bpf", do_bpf },
	{ "io_uring_setup", do_io_uring }, { "process_vm_writev", do_vm_writev }, { "unshare", do_unshare },
};

static inline void dies(const char *name, int (*fn)(void))
{
	int status = caged(fn);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		fail_msg("%s did not kill: status %#x", name, status);
}

static inline void denied_calls_die(void **state)
{
	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
		dies(denied[i].name, denied[i].fn);
}

/* Why there is nothing to test here: the status to end with, or 0. */
static inline int cage_untestable(void)
{
#ifdef HAVEN_ASAN
	return 77;                             /* ASan's cage is wider, by name (lib/sandbox.c) */
#endif
	return geteuid() ? 77 : 0;             /* entering the cage takes root */
}

#endif
