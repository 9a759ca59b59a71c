/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sandbox.h - how a process gives up what it does not need.  A step that fails is fatal to its caller.
 *
 *	sandbox_begin(&sb, "hv-domain");
 *	sandbox_allow(&sb, SCMP_SYS(futex), "vCPU threads wait on each other");
 *	sandbox_enter(&sb, &(struct sandbox_limits){ .uid = 200003, .gid = 200003, .empty_root = true });
 */
#ifndef LIB_SANDBOX_H
#define LIB_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <seccomp.h>
#include "lib/err.h"

struct sandbox { scmp_filter_ctx ctx; const char *name; };

struct sandbox_limits {
	uid_t uid; gid_t gid;          /* 0: keep */
	bool empty_root;               /* chroot into an empty folder of path_run(), read-only in effect: nothing in it */
	uint64_t address_space;        /* RLIMIT_AS, bytes; 0: none.  Not applied in ASan builds */
	unsigned nofile;               /* RLIMIT_NOFILE; 0: keep */
	unsigned nproc;                /* RLIMIT_NPROC: threads of the uid's; 0: keep */
	bool no_dump;                  /* PR_SET_DUMPABLE 0, RLIMIT_CORE 0 */
};

/* Default action: kill the process (in ASan builds: the calls ASan needs are allowed, by name). */
int sandbox_begin(struct sandbox *sb, const char *name);
int sandbox_allow(struct sandbox *sb, int syscall_nr, const char *why);
/* A program's own list of them. 0 or the first -errno. */
struct sandbox_rule { int nr; const char *why; };
int sandbox_allow_list(struct sandbox *sb, const struct sandbox_rule *rules, size_t n);
/* Only when argument `arg` masked equals value. */
int sandbox_allow_arg(struct sandbox *sb, int syscall_nr, unsigned arg, uint64_t mask, uint64_t value, const char *why);
/* Refused with an errno instead of death, where a library probes. */
int sandbox_deny(struct sandbox *sb, int syscall_nr, int err, const char *why);
/* What every one of our processes needs to run and end: read, write, close, futex, rt_sig*, exit, clock, memory. */
int sandbox_allow_basics(struct sandbox *sb);
/* The same without executable memory: no mapping is made so, and none becomes so.  (All of it in ASan builds.) */
int sandbox_allow_basics_noexec(struct sandbox *sb);
/* Applies limits, root, uid, no_new_privs, then the filter to all threads (TSYNC).  Frees sb.  0 or -errno with err. */
int sandbox_enter(struct sandbox *sb, const struct sandbox_limits *lim, struct err *err);
/* A daemon of dom0, from now on `uid`: the basics, libqb's look at its limits, and what `rules` lists.  0 or -errno with err. */
int sandbox_enter_daemon(const char *name, uid_t uid, const struct sandbox_rule *rules, size_t n, struct err *err);

#endif
