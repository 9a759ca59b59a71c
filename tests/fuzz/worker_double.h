/* SPDX-License-Identifier: GPL-2.0-or-later */
/* worker_double.h - a worker's sockets to its node's daemons (migrated/migrate_worker.h) without them: a fuzzer answers for all. */
#ifndef TESTS_FUZZ_WORKER_DOUBLE_H
#define TESTS_FUZZ_WORKER_DOUBLE_H

#include <stdbool.h>
#include <jansson.h>

/* The fuzzer's: what a daemon says to `op`; each pointer may be NULL.  0 or -errno. */
int daemon_says(const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds);
/* The worker has told migrated how it ended; the fuzzer clears it before each input. */
extern bool worker_replied;

#endif
