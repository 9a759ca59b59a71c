/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cage of an hv-domain: every call that is not on its list kills, what it needs works, memory, descriptors and threads end where
 * its limits are, and the way back to root is closed.  Each case runs in a process of its own, which enters the very cage hv-domain
 * enters.
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
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "hypervisor/hv_domain.h"
#include "lib/hurry.h"

#define CAGE_UID 1879048190u
#define RAM_BYTES (1UL << 20)
#define FDS_MAX 256                     /* of hv_domain_sandbox.c */
#define AS_MAX ((8UL << 30) + 2 * RAM_BYTES)
#define THREADS_MAX 1024
#define LAST_CALL 511

static char run_dir[] = "/tmp/haven-test-sandbox-XXXXXX";

/* Runs fn inside the cage; the wait status. */
static int caged(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err = { 0 };

		if (hv_sandbox_enter(CAGE_UID, RAM_BYTES, &err)) {
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
static int do_setrlimit(void) { struct rlimit r = { 1, 1 }; return setrlimit(RLIMIT_NOFILE, &r); }
static int do_prlimit(void) { struct rlimit r = { 1024, 1024 }; return prlimit(getpid(), RLIMIT_NOFILE, &r, NULL); }
static int do_mmap_exec(void) { return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED; }
static int do_mmap_wx(void) { return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED; }

static int do_mprotect_exec(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int do_x32(void) { return (int)syscall(0x40000000 | SYS_getpid); }

/* getpid of the 32-bit table, in the 32-bit way */
static int do_int80(void)
{
	int rax = 20;

	__asm__ volatile("int $0x80" : "+a"(rax) : : "memory", "r8", "r9", "r10", "r11");
	return rax;
}

static const struct { const char *name; int (*fn)(void); } denied[] = {
	{ "execve", do_execve }, { "fork", do_fork }, { "clone of a process", do_clone_process }, { "ptrace", do_ptrace },
	{ "kill", do_kill }, { "connect", do_connect }, { "bind", do_bind }, { "mount", do_mount }, { "setuid", do_setuid },
	{ "open_by_handle_at", do_open_by_handle }, { "bpf", do_bpf }, { "io_uring_setup", do_io_uring },
	{ "process_vm_writev", do_vm_writev }, { "pidfd_open", do_pidfd }, { "unshare", do_unshare },
	{ "prctl(PR_SET_DUMPABLE)", do_dumpable }, { "unlink", do_unlink },
	{ "timer_create of a processor's time", do_cpu_timer }, { "setrlimit", do_setrlimit }, { "prlimit", do_prlimit },
	{ "mmap of code", do_mmap_exec }, { "mmap to write and execute", do_mmap_wx }, { "mprotect to execute", do_mprotect_exec },
	{ "a call of the x32 table", do_x32 }, { "int 0x80", do_int80 },
};

static void test_denied_calls_die(void **state)
{
	for (size_t i = 0; i < sizeof denied / sizeof denied[0]; i++) {
		int status = caged(denied[i].fn);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s did not kill: status %#x", denied[i].name, status);
	}
}

/* What is allowed, whole or with some arguments, or refused with an errno; the rest of the table has to kill. */
static const short not_killed[] = {
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_close, SYS_futex, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
	SYS_sigaltstack, SYS_restart_syscall, SYS_exit, SYS_exit_group, SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep,
	SYS_gettimeofday, SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mprotect, SYS_poll, SYS_ppoll, SYS_epoll_wait,
	SYS_epoll_pwait, SYS_epoll_ctl, SYS_getpid, SYS_gettid, SYS_tgkill, SYS_getrandom, SYS_fcntl, SYS_sendmsg, SYS_recvmsg,
	SYS_sendto, SYS_recvfrom, SYS_shutdown, SYS_lseek, SYS_fstat, SYS_newfstatat, SYS_sched_yield, SYS_rseq,
	SYS_accept4, SYS_getsockopt, SYS_setsockopt, SYS_getsockname, SYS_socketpair, SYS_memfd_create, SYS_ftruncate, SYS_eventfd2,
	SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_epoll_create1, 441 /* epoll_pwait2 */, SYS_pread64, SYS_pwrite64,
	SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_fdatasync, SYS_fsync, SYS_fallocate, SYS_dup, SYS_sched_getaffinity,
	SYS_set_robust_list, SYS_clock_getres, SYS_uname, SYS_getuid, SYS_pipe2, SYS_set_tid_address, SYS_membarrier, SYS_msync, SYS_mincore,
	SYS_timer_settime, SYS_timer_delete, SYS_rt_tgsigqueueinfo, SYS_getcpu, SYS_arch_prctl,
	SYS_clone3, SYS_openat, SYS_socket,                                                         /* an errno */
	335, 336,       /* uretprobe, uprobe: Linux lets no filter see them, and answers nobody but its own trampolines */
};

static long swept;

static int do_swept(void) { return (int)syscall(swept, -1L, -1L, -1L, -1L, -1L, -1L); }

static bool is_not_killed(long nr)
{
	for (size_t i = 0; i < sizeof not_killed / sizeof not_killed[0]; i++)
		if (not_killed[i] == nr)
			return true;
	return false;
}

static void test_every_other_call_dies(void **state)
{
	for (swept = 0; swept <= LAST_CALL; swept++) {
		int status = is_not_killed(swept) ? SIGSYS : caged(do_swept);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("call %ld did not kill: status %#x", swept, status);
	}
}

/* ---- limits ---- */

static int listener = -1;                       /* with a client that waits, made outside */

static int fd_eventfd(void) { return eventfd(0, 0); }
static int fd_memfd(void) { return memfd_create("x", 0); }
static int fd_dup(void) { return dup(0); }
static int fd_dupfd(void) { return fcntl(0, F_DUPFD, 0); }
static int fd_pair(void) { int sv[2] = { -1, -1 }; return socketpair(AF_UNIX, SOCK_STREAM, 0, sv); }
static int fd_pipe(void) { int p[2]; return pipe2(p, 0); }
static int fd_timer(void) { return timerfd_create(CLOCK_MONOTONIC, 0); }
static int fd_epoll(void) { return epoll_create1(0); }
static int fd_accept(void) { return accept4(listener, NULL, NULL, 0); }

static const struct { const char *name; int (*make)(void); } fd_makers[] = {
	{ "eventfd", fd_eventfd }, { "memfd_create", fd_memfd }, { "dup", fd_dup }, { "F_DUPFD", fd_dupfd }, { "socketpair", fd_pair },
	{ "pipe2", fd_pipe }, { "timerfd_create", fd_timer }, { "epoll_create1", fd_epoll }, { "accept4", fd_accept },
};

/* One that is sent past the limit does not arrive, and its message says so. */
static bool fd_does_not_arrive(const int sv[2])
{
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } u = { .c = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof u.room };

	u.c.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&u.c), &sv[0], sizeof(int));
	if (sendmsg(sv[0], &m, 0) != 1)
		return false;
	m.msg_controllen = sizeof u.room;
	return recvmsg(sv[1], &m, 0) == 1 && (m.msg_flags & MSG_CTRUNC) && !m.msg_controllen;
}

static int do_fds(void)
{
	int n = 0, last = -1, fd, sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv))
		return 101;
	while ((fd = eventfd(0, 0)) >= 0 && n++ < 2 * FDS_MAX)
		last = fd;
	if (errno != EMFILE || last >= FDS_MAX || n < FDS_MAX / 2)
		return 102;
	for (size_t i = 0; i < sizeof fd_makers / sizeof fd_makers[0]; i++) {
		errno = 0;
		if (fd_makers[i].make() >= 0 || errno != EMFILE) {
			fprintf(stderr, "%s past the limit: %s\n", fd_makers[i].name, strerror(errno));
			return 103;
		}
	}
	if (!fd_does_not_arrive(sv))
		return 104;
	close(last);
	return eventfd(0, 0) == last ? 0 : 105;
}

/* Address space, in pieces; then everything that would take more. */
static int do_memory(void)
{
	size_t piece = 256UL << 20, all = 0, small = 1UL << 20;
	void *p, *first = NULL;

	while ((p = mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) != MAP_FAILED) {
		first = first ? first : p;
		all += piece;
		if (all > AS_MAX)
			return 101;
	}
	if (errno != ENOMEM || all < AS_MAX / 2)
		return 102;
	while (mmap(NULL, small, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
		;
	if (errno != ENOMEM)
		return 103;
	errno = 0;
	if (mremap(first, piece, piece + (64UL << 20), MREMAP_MAYMOVE) != MAP_FAILED || errno != ENOMEM)
		return 104;
	if (sbrk(64 << 20) != (void *)-1 || errno != ENOMEM)
		return 105;
	p = malloc(64UL << 20);
	if (p)
		return 106;
	/* what it has is its own: it can be written and given back, and then there is room */
	memset(first, 0x5a, small);
	return munmap(first, piece) || mmap(NULL, small, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? 107 : 0;
}

static void *thread_waits(void *arg)
{
	char c;

	return read(*(int *)arg, &c, 1) ? arg : NULL;
}

static int do_threads(void)
{
	int p[2], n = 0, r;
	pthread_attr_t attr;
	pthread_t t;

	if (pipe2(p, 0))
		return 101;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	while ((r = pthread_create(&t, &attr, thread_waits, &p[0])) == 0)
		if (++n > 2 * THREADS_MAX)
			return 102;
	if (r != EAGAIN || n < 64 || n >= THREADS_MAX) {
		fprintf(stderr, "%d threads, then %s\n", n, strerror(r));
		return 103;
	}
	return 0;
}

/* What is outside goes on as before. */
static void limit_holds(int (*fn)(void))
{
	void *p;
	int fd;

	assert_int_equal(caged(fn), 0);
	p = mmap(NULL, AS_MAX + RAM_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(p != MAP_FAILED);
	munmap(p, AS_MAX + RAM_BYTES);
	fd = eventfd(0, 0);
	assert_true(fd >= 0);
	close(fd);
}

static void test_descriptors_end(void **state)
{
	int sv[2];

	/* a listener with a name of the kernel's choosing, and somebody who waits to be let in */
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	socklen_t len = sizeof sa;

	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	sv[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(listener >= 0 && sv[0] >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa.sun_family), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(connect(sv[0], (struct sockaddr *)&sa, len), 0);
	limit_holds(do_fds);
	close(sv[0]);
	close(listener);
}

static void test_memory_ends(void **state) { limit_holds(do_memory); }
static void test_threads_end(void **state) { limit_holds(do_threads); }

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
	for (int i = 0; i < 60000 && !fired; i++)
		usleep(1000);
	if (!fired || timer_delete(timer))
		return 5;
	if (hurry_is_raised(0))                 /* what the thread that makes code ahead asks after each page */
		return 6;
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
		cmocka_unit_test(test_needed_calls_work), cmocka_unit_test(test_every_other_call_dies),
		cmocka_unit_test(test_descriptors_end), cmocka_unit_test(test_memory_ends), cmocka_unit_test(test_threads_end),
	};

	if (geteuid() != 0)
		return 77;                     /* entering the cage takes root: skipped */
#ifdef HAVEN_ASAN
	return 77;                             /* ASan's cage is wider, by name (lib/sandbox.c) */
#endif
	return cmocka_run_group_tests(tests, setup, teardown);
}
