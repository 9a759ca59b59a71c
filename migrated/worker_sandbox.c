/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a move's worker may ask of the kernel, in two stages: while it looks around, and once it moves a guest. */
#include "config.h"
#include "migrated/worker_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>

#include "lib/sandbox.h"
#include "migrated/migrate_ids.h"

static const struct sandbox_rule both_stages[] = {
	{ SCMP_SYS(memfd_create), "the state's memfd" },
	{ SCMP_SYS(ftruncate), "the same" },
	{ SCMP_SYS(pread64), "bitmaps, state and guest memory from memfds" },
	{ SCMP_SYS(pwrite64), "the memfds of the state and of the guest's memory" },
	{ SCMP_SYS(mincore), "which pages of guest memory are there to be looked at" },
	{ SCMP_SYS(set_robust_list), "threads of further connections" },
	{ SCMP_SYS(setsockopt), "options of a further connection" },
	{ SCMP_SYS(getpeername), "OpenSSL looks at its socket" },
	{ SCMP_SYS(getsockopt), "the same" },
};

static const struct sandbox_rule first_stage[] = {
	{ SCMP_SYS(socket), "is an iSCSI portal there" },
	{ SCMP_SYS(connect), "the same" },
	{ SCMP_SYS(access), "bridges in /sys/class/net, disks" },
	{ SCMP_SYS(faccessat), "the same" },
	{ SCMP_SYS(faccessat2), "the same" },
	{ SCMP_SYS(stat), "the same" },
	{ SCMP_SYS(seccomp), "the second stage" },
	{ SCMP_SYS(prctl), "the same" },
};

#ifndef HAVEN_ASAN
/* Probed by libraries at times we do not choose (locale, time zone, entropy): an error there is harmless, a kill is not. */
static const struct sandbox_rule refused[] = {
	{ SCMP_SYS(openat), "time zone, OpenSSL's configuration" },
	{ SCMP_SYS(readlink), "the same" },
	{ SCMP_SYS(sched_getaffinity), "malloc arenas" },
	{ SCMP_SYS(ioctl), "isatty()" },
	{ SCMP_SYS(uname), "libraries" },
	{ SCMP_SYS(getuid), "libraries" },
	{ SCMP_SYS(sysinfo), "qsort() of glibc" },
};
#endif

int worker_sandbox_enter(bool first, struct err *err)
{
	const struct sandbox_limits drop = { .uid = MIGRATE_WORKER_UID, .gid = MIGRATE_WORKER_UID, .nofile = 128, .no_dump = true };
	const struct sandbox_limits none = { 0 };
	struct sandbox sb;
	int rc = sandbox_begin(&sb, "haven-migrate-worker");

	if (rc == 0)
		rc = sandbox_allow_basics(&sb);
	if (rc == 0)
		rc = sandbox_allow_list(&sb, both_stages, sizeof(both_stages) / sizeof(both_stages[0]));
	if (rc == 0 && first)
		rc = sandbox_allow_list(&sb, first_stage, sizeof(first_stage) / sizeof(first_stage[0]));
#ifndef HAVEN_ASAN
	/* threads, no processes; clone3 hides its flags behind a pointer, so glibc is sent back to clone */
	if (rc == 0)
		rc = sandbox_deny(&sb, SCMP_SYS(clone3), ENOSYS, "its flags cannot be seen here");
	if (rc == 0)
		rc = sandbox_allow_arg(&sb, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD, "threads of further connections");
	if (rc == 0 && first)
		rc = sandbox_allow_arg(&sb, SCMP_SYS(openat), 2, O_ACCMODE, O_RDONLY, "what is looked at is not written");
	for (size_t i = first ? 1 : 0; rc == 0 && i < sizeof(refused) / sizeof(refused[0]); i++)
		rc = sandbox_deny(&sb, refused[i].nr, EPERM, refused[i].why);
#else
	if (rc == 0)
		rc = sandbox_allow(&sb, SCMP_SYS(clone3), "threads");
#endif
	if (rc < 0)
		return err_set(err, rc, "haven-migrate-worker: cannot build its sandbox: %s", strerror(-rc));
	return sandbox_enter(&sb, first ? &drop : &none, err);
}
