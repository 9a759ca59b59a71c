/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sandbox.c - see sandbox.h. */
#include "config.h"
#include "lib/sandbox.h"

#include <grp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"

int sandbox_begin(struct sandbox *sb, const char *name)
{
	sb->name = name;
	sb->ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!sb->ctx)
		return -ENOMEM;
	/* calls in the 32-bit ways: the process, not the thread alone */
	return seccomp_attr_set(sb->ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
}

int sandbox_allow(struct sandbox *sb, int nr, const char *why)
{
	(void)why;
	return seccomp_rule_add(sb->ctx, SCMP_ACT_ALLOW, nr, 0);
}

int sandbox_allow_arg(struct sandbox *sb, int nr, unsigned arg, uint64_t mask, uint64_t value, const char *why)
{
	struct scmp_arg_cmp cmp = { .arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value };

	(void)why;
	return seccomp_rule_add_array(sb->ctx, SCMP_ACT_ALLOW, nr, 1, &cmp);
}

int sandbox_deny(struct sandbox *sb, int nr, int e, const char *why)
{
	(void)why;
	return seccomp_rule_add(sb->ctx, SCMP_ACT_ERRNO((uint32_t)e), nr, 0);
}

int sandbox_allow_list(struct sandbox *sb, const struct sandbox_rule *rules, size_t n)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = sandbox_allow(sb, rules[i].nr, rules[i].why);
	return rc;
}

static const struct sandbox_rule basics[] = {
	{ SCMP_SYS(read), "descriptors it was handed" },
	{ SCMP_SYS(write), "the same; also stderr for last words" },
	{ SCMP_SYS(readv), "the same" },
	{ SCMP_SYS(writev), "the same" },
	{ SCMP_SYS(close), "gives descriptors back" },
	{ SCMP_SYS(futex), "threads wait on each other" },
	{ SCMP_SYS(rt_sigaction), "signal handlers" },
	{ SCMP_SYS(rt_sigprocmask), "the same" },
	{ SCMP_SYS(rt_sigreturn), "the same" },
	{ SCMP_SYS(sigaltstack), "the same" },
	{ SCMP_SYS(restart_syscall), "the kernel restarts an interrupted wait" },
	{ SCMP_SYS(exit), "threads end" },
	{ SCMP_SYS(exit_group), "the process ends" },
	{ SCMP_SYS(clock_gettime), "where the vDSO cannot serve" },
	{ SCMP_SYS(clock_nanosleep), "waits" },
	{ SCMP_SYS(nanosleep), "waits" },
	{ SCMP_SYS(gettimeofday), "where the vDSO cannot serve" },
	{ SCMP_SYS(brk), "malloc" },
	{ SCMP_SYS(munmap), "malloc" },
	{ SCMP_SYS(mremap), "realloc of large blocks" },
	{ SCMP_SYS(madvise), "malloc gives memory back" },
	{ SCMP_SYS(poll), "its loop" },
	{ SCMP_SYS(ppoll), "its loop" },
	{ SCMP_SYS(epoll_wait), "its loop" },
	{ SCMP_SYS(epoll_pwait), "its loop" },
	{ SCMP_SYS(epoll_ctl), "its loop" },
	{ SCMP_SYS(getpid), "log lines" },
	{ SCMP_SYS(gettid), "log lines, signals to its own threads" },
	{ SCMP_SYS(tgkill), "signals to its own threads; abort()" },
	{ SCMP_SYS(getrandom), "hash seeds of libraries" },
	{ SCMP_SYS(fcntl), "flags of descriptors" },
	{ SCMP_SYS(sendmsg), "messages over sockets it was handed" },
	{ SCMP_SYS(recvmsg), "the same" },
	{ SCMP_SYS(sendto), "the same" },
	{ SCMP_SYS(recvfrom), "the same" },
	{ SCMP_SYS(shutdown), "the same" },
	{ SCMP_SYS(lseek), "files it was handed" },
	{ SCMP_SYS(fstat), "the same" },
	{ SCMP_SYS(newfstatat), "fstat() of glibc: with an empty path" },
	{ SCMP_SYS(sched_yield), "spinning threads" },
	{ SCMP_SYS(rseq), "glibc registers it for each thread" },
};

#ifdef HAVEN_ASAN
static const struct sandbox_rule asan_needs[] = {
	{ SCMP_SYS(openat), "ASan reads /proc/self/maps" },
	{ SCMP_SYS(open), "the same" },
	{ SCMP_SYS(readlink), "the same" },
	{ SCMP_SYS(stat), "the same" },
	{ SCMP_SYS(clone), "LeakSanitizer's tracer" },
	{ SCMP_SYS(prctl), "the same" },
	{ SCMP_SYS(ptrace), "the same" },
	{ SCMP_SYS(wait4), "the same" },
	{ SCMP_SYS(sched_getaffinity), "ASan's thread set-up" },
	{ SCMP_SYS(getrlimit), "the same" },
	{ SCMP_SYS(prlimit64), "the same" },
	{ SCMP_SYS(ioctl), "isatty() before a report" },
	{ SCMP_SYS(getuid), "report" },
};
#endif

/* Two calls that may be limited to memory of some kinds. */
static const struct sandbox_rule maps[] = {
	{ SCMP_SYS(mmap), "malloc, memfds it was handed" },
	{ SCMP_SYS(mprotect), "malloc arenas, guard pages of threads" },
};

int sandbox_allow_basics(struct sandbox *sb)
{
	int rc = sandbox_allow_list(sb, basics, sizeof(basics) / sizeof(basics[0]));

	if (rc == 0)
		rc = sandbox_allow_list(sb, maps, sizeof(maps) / sizeof(maps[0]));
#ifdef HAVEN_ASAN
	if (rc == 0)
		rc = sandbox_allow_list(sb, asan_needs, sizeof(asan_needs) / sizeof(asan_needs[0]));
#endif
	return rc;
}

int sandbox_allow_basics_noexec(struct sandbox *sb)
{
#ifdef HAVEN_ASAN
	return sandbox_allow_basics(sb);
#else
	int rc = sandbox_allow_list(sb, basics, sizeof(basics) / sizeof(basics[0]));

	for (size_t i = 0; rc == 0 && i < sizeof(maps) / sizeof(maps[0]); i++)
		rc = sandbox_allow_arg(sb, maps[i].nr, 2, PROT_EXEC, 0, maps[i].why);
	return rc;
#endif
}

static int limit(int what, uint64_t value)
{
	struct rlimit r = { value, value };

	return setrlimit(what, &r) < 0 ? -errno : 0;
}

static int enter_empty_root(struct err *err)
{
	char dir[256];
	int rc = path_join(dir, sizeof(dir), path_run(), "empty");

	if (rc == 0)
		rc = path_mkdirs(path_run(), 0755);
	if (rc == 0 && mkdir(dir, 0555) < 0 && errno != EEXIST)
		rc = -errno;
	if (rc == 0 && (chroot(dir) < 0 || chdir("/") < 0))
		rc = -errno;
	return rc < 0 ? err_set(err, rc, "%s: cannot make it the root: %s", dir, strerror(-rc)) : 0;
}

static int apply_limits(const struct sandbox_limits *lim)
{
	int rc = 0;

	if (lim->nofile)
		rc = limit(RLIMIT_NOFILE, lim->nofile);
	if (rc == 0 && lim->nproc)
		rc = limit(RLIMIT_NPROC, lim->nproc);
#ifndef HAVEN_ASAN
	if (rc == 0 && lim->address_space)
		rc = limit(RLIMIT_AS, lim->address_space);
#endif
	if (rc == 0 && lim->no_dump)
		rc = limit(RLIMIT_CORE, 0);
	return rc;
}

static int drop_ids(const struct sandbox_limits *lim)
{
	if (!lim->uid)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(lim->gid, lim->gid, lim->gid) < 0 || setresuid(lim->uid, lim->uid, lim->uid) < 0)
		return -errno;
	return setuid(0) == 0 ? -EPERM : 0;        /* the way back must be closed */
}

int sandbox_enter(struct sandbox *sb, const struct sandbox_limits *lim, struct err *err)
{
	int rc = lim->empty_root ? enter_empty_root(err) : 0;

	if (rc < 0)
		goto out;
	rc = apply_limits(lim);
	if (rc == 0)
		rc = drop_ids(lim);
	if (rc == 0 && lim->no_dump && prctl(PR_SET_DUMPABLE, 0) < 0)
		rc = -errno;
	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	if (rc == 0)
		rc = seccomp_attr_set(sb->ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (rc == 0)
		rc = seccomp_load(sb->ctx);
	if (rc < 0)
		err_set(err, rc, "%s: cannot enter its sandbox: %s", sb->name, strerror(-rc));
out:
	seccomp_release(sb->ctx);
	sb->ctx = NULL;
	return rc;
}

int sandbox_enter_daemon(const char *name, uid_t uid, const struct sandbox_rule *rules, size_t n, struct err *err)
{
	struct sandbox_limits limits = { .uid = uid, .gid = (gid_t)uid, .no_dump = true };
	struct sandbox sb;
	int rc = sandbox_begin(&sb, name);

	if (rc == 0)
		rc = sandbox_allow_basics(&sb);
	if (rc == 0)
		rc = sandbox_allow_list(&sb, rules, n);
	if (rc == 0)
		rc = sandbox_allow_arg(&sb, SCMP_SYS(prlimit64), 2, UINT64_MAX, 0, "libqb reads RLIMIT_NOFILE; setting none");
	if (rc < 0)
		return err_set(err, rc, "%s: the list of system calls could not be made: %s", name, strerror(-rc));
	return sandbox_enter(&sb, &limits, err);
}
