/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_remote.h - hv-domain's end of the channel to hv-disk (lib/proto/hv_disk.h), one for all iSCSI disks of the domain.
 */
#ifndef HV_BLK_REMOTE_H
#define HV_BLK_REMOTE_H

#include "hypervisor/devices/io_loop.h"
#include "lib/proto/hv_disk.h"

/* Owned by the submitter, untouched by it until done. */
struct remote_req {
	struct remote_req *next;
	struct hv_disk_req wire;             /* id is filled in by submit */
	bool sent;
	void (*done)(struct remote_req *q, int status);
};

struct blk_remote;
struct blk_remote *blk_remote_create(struct io_loop *l);
void blk_remote_destroy(struct blk_remote *b);
/* Takes both over.  Requests without an answer are sent again.  0 or -errno (-EINVAL: the memfd's size is no whole number of regions). */
int blk_remote_set_channel(struct blk_remote *b, int fd, int bounce_fd);
/* HV_DISK_SLOT_SIZE octets, or NULL while there is no bounce buffer. */
void *blk_remote_slot(struct blk_remote *b, unsigned disk, unsigned slot);
/*
 * A disk without requests goes: the disks behind it move up by one, their waiting requests and slots with them.  -EBUSY while an
 * hv-disk is connected, which has the old numbers.
 */
int blk_remote_remove(struct blk_remote *b, unsigned disk);
void blk_remote_submit(struct blk_remote *b, struct remote_req *q);

#endif
