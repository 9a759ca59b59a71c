/* SPDX-License-Identifier: GPL-2.0-or-later */
/* worker_sandbox.h - the two cages of a move's worker. */
#ifndef MIGRATED_WORKER_SANDBOX_H
#define MIGRATED_WORKER_SANDBOX_H

#include <stdbool.h>
#include "lib/err.h"

/* first: root is dropped, files may be looked at and connections made; then again with false: neither. 0, or -errno with err. */
int worker_sandbox_enter(bool first, struct err *err);

#endif
