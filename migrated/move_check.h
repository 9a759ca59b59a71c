/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move_check.h - could this node take that guest?  Asked before a byte of it moves; answered in well under a second. */
#ifndef MIGRATED_MOVE_CHECK_H
#define MIGRATED_MOVE_CHECK_H

#include <jansson.h>
#include "migrated/migrate_worker.h"

/*
 * Appends one line a problem to `problems`.  hello: what the source sent (uuid, domid, config, cpu_features); every field is
 * checked for its type.  info: reply of node-info; list: reply of list.
 */
void move_check(const struct worker *w, const json_t *hello, const json_t *info, const json_t *list, json_t *problems);

#endif
