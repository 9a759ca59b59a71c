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
extern const struct bench bench_io_table[];        /* disk, network, bulk memory, two processors */

/* The node's end of the network rows; never returns. */
void bench_serve(void);
#define BENCH_PEER "10.79.0.1"
#define BENCH_PORT 7979

/* A program that bench_kernel_table's "execve" starts: ends at once. */
#define BENCH_NOTHING "--nothing"

#endif
