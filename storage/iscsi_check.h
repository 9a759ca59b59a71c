/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iscsi_check.h - could this node take over that iSCSI disk?  Looked at, and nothing changed. */
#ifndef STORAGE_ISCSI_CHECK_H
#define STORAGE_ISCSI_CHECK_H

#include <jansson.h>
#include <stdint.h>
#include "lib/err.h"

/*
 * Logs in beside any session this node has to that disk, reads its size and its reservations, logs out.  q: node, uuid, and uid, which the
 * process has from here on, without files; d: the disk.  0; -EBUSY: another domain's, or reserved in a way no move ends; -errno of the
 * session, with err naming the disk.  ret_sectors: of 512 octets.
 */
int iscsi_check(const json_t *q, const json_t *d, uint64_t *ret_sectors, uint32_t *ret_sector_size, struct err *err);

#endif
