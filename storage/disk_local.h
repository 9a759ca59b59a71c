/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk_local.h - disks that are files or block devices of this node. */
#ifndef STORAGE_DISK_LOCAL_H
#define STORAGE_DISK_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/*
 * What an open is for.  CHECK and INCOMING look only: they open for reading, take no lock and change nothing (the source of a
 * move still has the disk).  USE takes the lock that says "one domain has it".
 */
enum disk_purpose { DISK_CHECK, DISK_INCOMING, DISK_USE };

struct disk_local { int fd; uint64_t sectors; uint32_t sector_size; };

/*
 * block: backend=phy, a block device is demanded; else a regular file.  0, or -errno with err: -ENOENT, -EBUSY naming the
 * holder, -EINVAL.  On success the caller owns ret->fd.
 */
int disk_local_open(const char *path, bool block, bool readonly, enum disk_purpose purpose, struct disk_local *ret, struct err *err);

#endif
