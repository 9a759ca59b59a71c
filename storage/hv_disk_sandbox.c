/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See hv_disk_sandbox.h. */
#include "config.h"
#include "storage/hv_disk_sandbox.h"

#include <string.h>

#include "lib/sandbox.h"

int hv_disk_sandbox_enter(uid_t uid, struct err *err)
{
	static const struct sandbox_rule allowed[] = {
		{ SCMP_SYS(socket), "reconnects to the portal" },
		{ SCMP_SYS(connect), "the same" },
		{ SCMP_SYS(getsockopt), "the same" },
		{ SCMP_SYS(setsockopt), "the same" },
		{ SCMP_SYS(getpeername), "the same" },
		{ SCMP_SYS(getsockname), "the same" },
		{ SCMP_SYS(bind), "getaddrinfo() of an address asks netlink which families there are" },
		{ SCMP_SYS(accept), "hypervisord connects again after its restart" },
		{ SCMP_SYS(accept4), "the same" },
		{ SCMP_SYS(uname), "getaddrinfo()" },
		{ SCMP_SYS(sysinfo), "malloc arenas" },
		{ SCMP_SYS(sched_getaffinity), "malloc arenas" },
		{ SCMP_SYS(getuid), "peer credentials" },
		{ SCMP_SYS(geteuid), "the same" },
		{ SCMP_SYS(gettimeofday), "libiscsi's time-outs" },
		{ SCMP_SYS(time), "the same" },
		{ SCMP_SYS(timerfd_settime), "its loop" },
		{ SCMP_SYS(set_robust_list), "threads" },
	};
	static const int denied[] = { SCMP_SYS(openat), SCMP_SYS(open), SCMP_SYS(stat), SCMP_SYS(access), SCMP_SYS(ioctl) };
	struct sandbox_limits lim = { .uid = uid, .gid = uid, .empty_root = true, .no_dump = true };
	struct sandbox sb;
	int rc = sandbox_begin(&sb, "hv-disk");

	if (rc == 0)
		rc = sandbox_allow_basics(&sb);
	if (rc == 0)
		rc = sandbox_allow_list(&sb, allowed, sizeof(allowed) / sizeof(allowed[0]));
#ifndef HAVEN_ASAN
	for (size_t i = 0; rc == 0 && i < sizeof(denied) / sizeof(denied[0]); i++)
		rc = sandbox_deny(&sb, denied[i], EACCES, "libraries look for files and terminals; there are none");
#else
	(void)denied;
#endif
	if (rc < 0)
		return err_set(err, rc, "hv-disk: cannot build its sandbox: %s", strerror(-rc));
	return sandbox_enter(&sb, &lim, err);
}
