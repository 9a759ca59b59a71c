/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What xenstored may ask of the kernel once its sockets and its journal are open, and why. */
#include "config.h"
#include "dom0/xenstored/stored.h"

#include <string.h>

#include "lib/sandbox.h"

int stored_sandbox_enter(struct err *err)
{
	static const struct sandbox_rule rules[] = {
		{ SCMP_SYS(accept4), "clients of its sockets" },
		{ SCMP_SYS(getsockopt), "who a client is (SO_PEERCRED)" },
		{ SCMP_SYS(openat), "the journal's next file; the black box of a crash; the time zone of log lines" },
		{ SCMP_SYS(rename), "the journal's next file takes its place" },
		{ SCMP_SYS(renameat), "the same" },
		{ SCMP_SYS(renameat2), "the same" },
		{ SCMP_SYS(unlink), "its sockets, at the end; refused where the folder is root's, and the next start removes them" },
		{ SCMP_SYS(unlinkat), "the black box, at the end; what lies where the journal's next file goes" },
		{ SCMP_SYS(pread64), "an import's memfd" },
		{ SCMP_SYS(memfd_create), "an export" },
		{ SCMP_SYS(socket), "syslog" },
		{ SCMP_SYS(connect), "syslog" },
		{ SCMP_SYS(stat), "the time zone of log lines" },
		{ SCMP_SYS(ftruncate), "the black box of a crash" },
		{ SCMP_SYS(kill), "raise() after the black box" },
	};
	struct sandbox_limits limits = { .uid = STORED_UID, .gid = STORED_UID, .no_dump = true };
	struct sandbox sb;
	int rc = sandbox_begin(&sb, "xenstored");

	if (rc == 0)
		rc = sandbox_allow_basics(&sb);
	if (rc == 0)
		rc = sandbox_allow_list(&sb, rules, sizeof(rules) / sizeof(rules[0]));
	if (rc == 0)
		rc = sandbox_allow_arg(&sb, SCMP_SYS(prlimit64), 2, UINT64_MAX, 0, "libqb reads RLIMIT_NOFILE; setting none");
	if (rc < 0)
		return err_set(err, rc, "the list of system calls could not be made: %s", strerror(-rc));
	return sandbox_enter(&sb, &limits, err);
}
