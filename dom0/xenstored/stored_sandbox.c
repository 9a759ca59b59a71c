/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What xenstored may ask of the kernel once its sockets and its journal are open, and why. */
#include "config.h"
#include "dom0/xenstored/stored.h"

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

	return sandbox_enter_daemon("xenstored", STORED_UID, rules, sizeof(rules) / sizeof(rules[0]), err);
}
