/* SPDX-License-Identifier: GPL-2.0-or-later */
/* migrate_ids.h - the user ids the move's processes run under; they own no file, so they need no entry in passwd. */
#ifndef MIGRATED_MIGRATE_IDS_H
#define MIGRATED_MIGRATE_IDS_H

#define MIGRATE_WORKER_UID 199001
#define MIGRATE_SIGNER_UID 199002

#endif
