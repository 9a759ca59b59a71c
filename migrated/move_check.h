/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move_check.h - could this node take that guest?  Asked before a byte of it moves; answered in well under a second. */
#ifndef MIGRATED_MOVE_CHECK_H
#define MIGRATED_MOVE_CHECK_H

#include <jansson.h>
#include "migrated/migrate_worker.h"

/* hypervisord's replies: node-info, list (what the table knows is enough), takes. */
struct move_check_facts { json_t *info, *list, *takes; };

/*
 * Appends one line a problem to `problems`.  hello: what the source sent (uuid, domid, config, cpu_features); every field is
 * checked for its type.
 */
void move_check(const struct worker *w, const json_t *hello, const struct move_check_facts *facts, json_t *problems);

#endif
