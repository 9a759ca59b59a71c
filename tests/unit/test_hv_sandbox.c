/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cage of an hv-domain: each denied call kills, what it needs works, and the way back to root is closed.  Each case runs in a
 * process of its own, which enters the very cage hv-domain enters.
 */
#include "config.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "hypervisor/hv_domain.h"

#define CAGE_UID 1879048190u

static char run_dir[] = "/tmp/haven-test-sandbox-XXXXXX";

/* Runs fn inside the cage; the wait status. */
static int caged(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err = { 0 };

		if (hv_sandbox_enter(CAGE_UID, 1 << 20, &err)) {
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
static int do_clone_process(void) { return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static int do_ptrace(void) { return (int)ptrace(PTRACE_TRACEME, 0, 0, 0); }
static int do_kill(void) { return kill(1, 0); }
static int do_connect(void) { return connect(0, NULL, 0); }
static int do_bind(void) { return bind(0, NULL, 0); }
static int do_mount(void) { return mount("a", "b", "c", 0, NULL); }
static int do_setuid(void) { return setuid(0); }
static int do_open_by_handle(void) { return (int)syscall(SYS_open_by_handle_at, 0, 0, 0); }
static int do_bpf(void) { return (int)syscall(SYS_bpf, 0, 0, 0); }
static int do_io_uring(void) { return (int)syscall(SYS_io_uring_setup, 1, 0); }
static int do_vm_writev(void) { return (int)syscall(SYS_process_vm_writev, getpid(), 0, 0, 0, 0, 0); }
static int do_pidfd(void) { return (int)syscall(SYS_pidfd_open, 1, 0); }
static int do_unshare(void) { return (int)syscall(SYS_unshare, 0x10000000); }
static int do_dumpable(void) { return (int)syscall(SYS_prctl, 4, 1, 0, 0, 0); }
static int do_cpu_timer(void) { timer_t t; return timer_create(CLOCK_THREAD_CPUTIME_ID, NULL, &t); }
static int do_unlink(void) { return unlink("/x"); }

static const struct { const char *name; int (*fn)(void); } denied[] = {
	{ "execve", do_execve }, { "fork", do_fork }, { "clone of a process", do_clone_process }, { "ptrace", do_ptrace },
	{ "kill", do_kill }, { "connect", do_connect }, { "bind", do_bind }, { "mount", do_mount }, { "setuid", do_setuid },
	{ "open_by_handle_at", do_open_by_handle }, { "bpf", do_bpf }, { "io_uring_setup", do_io_uring },
	{ "process_vm_writev", do_vm_writev }, { "pidfd_open", do_pidfd }, { "unshare", do_unshare },
	{ "prctl(PR_SET_DUMPABLE)", do_dumpable }, { "unlink", do_unlink },
	{ "timer_create of a processor's time", do_cpu_timer },
};

static void test_denied_calls_die(void **state)
{
	for (size_t i = 0; i < sizeof denied / sizeof denied[0]; i++) {
		int status = caged(denied[i].fn);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s did not kill: status %#x", denied[i].name, status);
	}
}

static int do_refused(void)
{
	return !(open("/etc/passwd", O_RDONLY) < 0 && errno == ENOENT && socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EACCES &&
		 getuid() == CAGE_UID);
}

static void *thread_body(void *arg) { return arg; }

static volatile sig_atomic_t fired;

static void timer_fired(int sig) { fired = 1; }

static int do_needed(void)
{
	pthread_t t;
	void *ret = NULL;
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec soon = { .it_value.tv_nsec = 1 };
	timer_t timer;
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING), sv[2];

	if (fd < 0 || ftruncate(fd, 4096) < 0 || pwrite(fd, "a", 1, 0) != 1 || fdatasync(fd) < 0)
		return 1;
	if (pthread_create(&t, NULL, thread_body, &fd) || pthread_join(t, &ret) || ret != &fd)
		return 2;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv) < 0 || send(sv[0], "x", 1, 0) != 1)
		return 3;
	ev._sigev_un._tid = gettid();
	signal(SIGUSR1, timer_fired);
	if (timer_create(CLOCK_MONOTONIC, &ev, &timer) || timer_settime(timer, 0, &soon, NULL))
		return 4;
	for (int i = 0; i < 1000 && !fired; i++)
		usleep(1000);
	if (!fired || timer_delete(timer))
		return 5;
	return mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED;
}

static void test_refused_calls_fail(void **state)
{
	assert_int_equal(caged(do_refused), 0);
}

static void test_needed_calls_work(void **state)
{
	assert_int_equal(caged(do_needed), 0);
}

static int setup(void **state)
{
	return mkdtemp(run_dir) && setenv("HAVEN_RUN_DIR", run_dir, 1) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	char path[64];

	snprintf(path, sizeof path, "%s/empty", run_dir);
	rmdir(path);
	return rmdir(run_dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_denied_calls_die), cmocka_unit_test(test_refused_calls_fail),
		cmocka_unit_test(test_needed_calls_work),
	};

	if (geteuid() != 0)
		return 77;                     /* entering the cage takes root: skipped */
#ifdef HAVEN_ASAN
	return 77;                             /* ASan's cage is wider, by name (lib/sandbox.c) */
#endif
	return cmocka_run_group_tests(tests, setup, teardown);
}
