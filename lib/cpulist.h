/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpulist.h - lists of physical CPUs as xl writes them: "all", "0-3,^2,6", numbers from 0.  Pure. */
#ifndef LIB_CPULIST_H
#define LIB_CPULIST_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#define CPULIST_TEXT_MAX 512

/*
 * Into *ret, for a node of nr_cpus (at most CPU_SETSIZE); "^N" and "^N-M" take away from what stands before.  0; -EINVAL: no list;
 * -ERANGE: it names a CPU the node has not; -ENOENT: nothing is left of it.
 */
int cpulist_parse(const char *text, unsigned nr_cpus, cpu_set_t *ret);
/* "all" when all nr_cpus are in it, else ranges: "0-1,3".  -E2BIG when it does not fit. */
int cpulist_format(const cpu_set_t *set, unsigned nr_cpus, char *buf, size_t size);

#endif
