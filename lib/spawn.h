/* SPDX-License-Identifier: GPL-2.0-or-later */
/* spawn.h - fork+exec of our own programs with chosen descriptors, and their pidfds.  Never a bare fork. */
#ifndef LIB_SPAWN_H
#define LIB_SPAWN_H

#include <stdint.h>
#include <sys/types.h>
#include "lib/err.h"

/*
 * Execs argv[0] (absolute path) with fds[i] as descriptor i (so fds[0..2] are stdin, stdout, stderr; -1: /dev/null) and nothing
 * else open, default signals, its own session.  env: NULL for ours.  *ret_pidfd (may be NULL) CLOEXEC.  pid or -errno;
 * an exec that fails is reported here, not later.
 */
pid_t spawn_program(char *const argv[], char *const env[], const int *fds, int nfds, int *ret_pidfd, struct err *err);
/* Start time of a pid in clock ticks since boot (field 22 of /proc/PID/stat): with the pid, it names a process. 0: gone. */
uint64_t spawn_start_time(pid_t pid);
/* pidfd of (pid, start time), or -ESRCH when that process is gone. */
int spawn_reopen(pid_t pid, uint64_t start_time);
/* SIGKILL and wait until it is gone; 0 or -ETIMEDOUT. */
int spawn_kill_wait(int pidfd, int timeout_ms);

#endif
