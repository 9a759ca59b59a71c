/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench.h - the programs that `make bench-engine` times.  Each does a fixed amount of work, the same everywhere, and
 * returns a value that depends on all of it, so that native and guest can be compared and nothing is optimised away.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdint.h>

struct bench { const char *name; uint64_t (*fn)(void); };

/* Each table ends with a NULL name. */
extern const struct bench bench_compute_table[];   /* user code alone */
extern const struct bench bench_kernel_table[];    /* what needs the guest's kernel */

/* A program that bench_kernel_table's "execve" starts: ends at once. */
#define BENCH_NOTHING "--nothing"

#endif
