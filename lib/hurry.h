/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hurry.h - processors first, for the threads that a guest waits for while it stands still.
 *
 * Real time (SCHED_RR) rather than a nice value: that is weighed against the neighbours in one control group or session alone, and each
 * domain has its own.  Both levels are the lowest there are, below Corosync's and the kernel's.  What a raised thread begins, thread or
 * process, starts out as ordinary (SCHED_RESET_ON_FORK), so that whoever raised threads can lower all of them.  The exception is a daemon
 * whose threads do what is waited for: such a thread would have to wait for a processor to be raised.
 */
#ifndef HAVEN_HURRY_H
#define HAVEN_HURRY_H

#include <stdbool.h>
#include <sys/types.h>

#define HURRY_SHARE_LEAST 50u        /* of a hundred: with less, who is raised would soon stand still where an ordinary thread goes on */

enum hurry_level { HURRY_GUEST = 1, HURRY_HELPER = 2 };

/* A thread (0: the calling one) gets processors before all ordinary ones.  0, or -errno: -EPERM where the kernel or a container forbids it. */
int hurry_raise(pid_t tid, enum hurry_level level);
/* The calling thread, and those that it begins, each of which then has to say at once which it is: hurry_raise(0, …) or hurry_lower(0). */
int hurry_raise_heirs(enum hurry_level level);
/* Has anybody raised that thread (0: the calling one)? */
bool hurry_is_raised(pid_t tid);
/* It is an ordinary one again, if hurry_raise() had made it anything else; needs no privilege for a thread of one's own. */
void hurry_lower(pid_t tid);
/* Threads of a process: those whose name begins with `guest` at HURRY_GUEST, the others at HURRY_HELPER, one kind at a time. */
int hurry_raise_process(pid_t pid, const char *guest, enum hurry_level level);
/* All of them. */
void hurry_lower_process(pid_t pid);
/* How many hundredths of each period the kernel lets that process run at real-time priority; `root` is where /proc and /sys are ("": here). */
unsigned hurry_share(const char *root, pid_t pid);
/* Has it half of the time or more? */
bool hurry_pays(pid_t pid);

#endif
