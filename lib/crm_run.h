/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crm_run.h - Pacemaker's own tools as child processes: no shell, bounded output, bounded time. */
#ifndef LIB_CRM_RUN_H
#define LIB_CRM_RUN_H

#include <stddef.h>

#include "lib/err.h"

/*
 * Runs a tool of /usr/sbin with arguments up to a NULL. *ret_out (may be NULL; the caller frees) is what it printed, at most
 * 1 MiB. 0 when it exited with 0; -EIO with what it complained of in err otherwise; -ENOENT when it is not installed; -ETIMEDOUT.
 */
int crm_run(char **ret_out, struct err *err, int timeout_s, const char *tool, ...) __attribute__((sentinel));

/* Of a tool's output, plain or XML, the line that says why it failed. */
void crm_complaint(const char *out, char *ret, size_t size);

#endif
