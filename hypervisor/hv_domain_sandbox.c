/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv_domain_sandbox.c - what an hv-domain may ask of the kernel once it runs a guest, and why. */
#include "config.h"
#include "hypervisor/hv_domain.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <asm/prctl.h>
#include "lib/sandbox.h"

/* Code caches, kernel and ramdisk while they are unpacked, thread stacks, dirty bitmaps; beside the guest's RAM. */
#define ADDRESS_SPACE_BESIDE_RAM (8UL << 30)
/* vCPUs, I/O, disks, the builder's helpers; and in two copies of a domain, for where both ends of a move are on one machine. */
#define THREADS_MAX 1024

#define CLONE_ELSEWHERE (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE)

static const struct sandbox_rule allowed[] = {
	{ SCMP_SYS(accept4), "hypervisord connects to the control socket" },
	{ SCMP_SYS(getsockopt), "SO_PEERCRED of who connects" },
	{ SCMP_SYS(setsockopt), "buffer sizes of channels" },
	{ SCMP_SYS(getsockname), "kinds of the sockets handed in" },
	{ SCMP_SYS(socketpair), "the migration channel, one end of which is handed out" },
	{ SCMP_SYS(memfd_create), "dirty bitmaps and images that are handed out" },
	{ SCMP_SYS(ftruncate), "their size" },
	{ SCMP_SYS(eventfd2), "wake-ups between its threads" },
	{ SCMP_SYS(timerfd_create), "timers of its loops" },
	{ SCMP_SYS(timerfd_settime), "the same" },
	{ SCMP_SYS(timerfd_gettime), "the same" },
	{ SCMP_SYS(epoll_create1), "a loop of its own for a thread" },
	{ SCMP_SYS(epoll_pwait2), "the loops' waits in nanoseconds" },
	{ SCMP_SYS(pread64), "disks, kernel, image files it was handed" },
	{ SCMP_SYS(pwrite64), "disks, image files" },
	{ SCMP_SYS(preadv), "disks" },
	{ SCMP_SYS(pwritev), "disks" },
	{ SCMP_SYS(preadv2), "disks" },
	{ SCMP_SYS(pwritev2), "disks" },
	{ SCMP_SYS(fdatasync), "the guest's flushes" },
	{ SCMP_SYS(fsync), "image files" },
	{ SCMP_SYS(fallocate), "ballooned-out memory goes back; discards" },
	{ SCMP_SYS(dup), "descriptors kept past a message" },
	{ SCMP_SYS(sched_getaffinity), "glibc's thread attributes" },
	{ SCMP_SYS(set_robust_list), "glibc sets it in each thread" },
	{ SCMP_SYS(clock_getres), "the clocks' resolution" },
	{ SCMP_SYS(uname), "libqb's log lines" },
	{ SCMP_SYS(getuid), "the same" },
	{ SCMP_SYS(pipe2), "libqb's signal pipe" },
	{ SCMP_SYS(set_tid_address), "glibc, in new threads" },
	{ SCMP_SYS(membarrier), "barriers of the vCPUs, for the store ring" },
	{ SCMP_SYS(msync), "image files" },
	{ SCMP_SYS(mincore), "which of the guest's pages are there" },
	{ SCMP_SYS(timer_settime), "the vCPUs' timers" },
	{ SCMP_SYS(timer_delete), "the same" },
	{ SCMP_SYS(rt_tgsigqueueinfo), "kicks of its own vCPU threads" },
	{ SCMP_SYS(getcpu), "where a vCPU runs" },
	{ SCMP_SYS(arch_prctl), "the gs base of a vCPU thread" },
};

/* What is asked of a tap and of the userfaultfd, by name; isatty() of stdio and the like are refused. */
static int allow_ioctls(struct sandbox *sb)
{
	static const struct { unsigned long cmd; const char *why; } asked[] = {
		{ TUNSETOFFLOAD, "what the tap's front end cannot take" },
		{ UFFDIO_REGISTER, "memory whose pages come after the guest runs" },
		{ UFFDIO_UNREGISTER, "the same, when all have come" },
		{ UFFDIO_COPY, "a page that came" },
		{ UFFDIO_ZEROPAGE, "one that is zero" },
		{ UFFDIO_WAKE, "who waits looks again" },
	};
	static const unsigned long refused[] = { TCGETS, 0x802c542aUL /* TCGETS2 */, TIOCGWINSZ, FIONREAD, FIONBIO };
	int rc = 0;

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]) && !rc; i++)
		rc = sandbox_allow_arg(sb, SCMP_SYS(ioctl), 1, ~0UL, asked[i].cmd, asked[i].why);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]) && !rc; i++) {
		struct scmp_arg_cmp cmp = { .arg = 1, .op = SCMP_CMP_EQ, .datum_a = refused[i] };

		rc = seccomp_rule_add_array(sb->ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1, &cmp);
	}
	return rc;
}

static int allow_bound(struct sandbox *sb)
{
	int rc = sandbox_allow_arg(sb, SCMP_SYS(clone), 0, CLONE_THREAD | CLONE_VM | CLONE_ELSEWHERE, CLONE_THREAD | CLONE_VM,
				   "threads, not processes, and in this process's namespaces");

	if (!rc)
		rc = sandbox_allow_arg(sb, SCMP_SYS(timer_create), 0, ~0UL, CLOCK_MONOTONIC, "a timer a vCPU, which signals its thread");
	if (!rc)
		rc = sandbox_deny(sb, SCMP_SYS(clone3), ENOSYS, "its flags cannot be looked at; glibc then takes clone");
	if (!rc)
		rc = sandbox_allow_arg(sb, SCMP_SYS(prctl), 0, ~0UL, PR_SET_NAME, "names of threads");
	if (!rc)
		rc = sandbox_allow_arg(sb, SCMP_SYS(prctl), 0, ~0UL, PR_SET_VMA, "glibc names its arenas");
	if (!rc)
		rc = sandbox_allow_arg(sb, SCMP_SYS(sched_getscheduler), 0, ~0UL, 0, "was this thread raised for a pause?");
	if (!rc)
		rc = sandbox_allow_arg(sb, SCMP_SYS(sched_getparam), 0, ~0UL, 0, "the same");
	if (!rc)
		rc = sandbox_allow_arg(sb, SCMP_SYS(prlimit64), 2, ~0UL, 0, "stack size of new threads; setting none");
	if (!rc)
		rc = allow_ioctls(sb);
	if (!rc)
		rc = sandbox_deny(sb, SCMP_SYS(openat), ENOENT, "time zones and the like: there is nothing in its root");
	if (!rc)
		rc = sandbox_deny(sb, SCMP_SYS(socket), EACCES, "syslog(3) when its socket is lost");
	return rc;
}

int hv_sandbox_enter(uid_t uid, uint64_t ram_bytes, struct err *err)
{
	struct sandbox sb;
	struct sandbox_limits lim = {
		.uid = uid, .gid = uid, .empty_root = true, .nofile = 256, .nproc = THREADS_MAX, .no_dump = true,
		.address_space = 2 * ram_bytes + ADDRESS_SPACE_BESIDE_RAM,
	};
	int rc = sandbox_begin(&sb, "hv-domain");

	if (!rc)
		rc = sandbox_allow_basics_noexec(&sb);    /* what runs translated code is mapped before */
	if (rc == 0)
		rc = sandbox_allow_list(&sb, allowed, sizeof(allowed) / sizeof(allowed[0]));
	if (!rc)
		rc = allow_bound(&sb);
	if (rc)
		return err_set(err, rc, "cannot make the sandbox's filter");
	return sandbox_enter(&sb, &lim, err);
}
