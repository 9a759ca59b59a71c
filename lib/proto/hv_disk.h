/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_disk.h - hv-domain and hv-disk trade blocks (docs/specs/messages.md).
 *
 * One SOCK_SEQPACKET pair and one memfd of bounce slots a domain.  hv-domain sends requests, hv-disk replies, in any
 * order, one reply a request, one message a packet.  The memfd holds HV_DISK_REGION bytes a disk, in the order of the
 * disks hv-disk was configured with; a slot belongs to hv-disk from the request to the reply, to hv-domain otherwise.
 * hv-disk never sees guest memory.  A request whose target is lost is held until the target is back or the operator's
 * time-out passed (-ETIMEDOUT); -EKEYREJECTED says that the reservation is another node's and no request will ever
 * succeed again.  After a new channel is set hv-domain sends its unanswered requests again.
 *
 * How hv-disk is started (by hypervisord):
 *   haven-hv-disk --control-fd=A --data-fd=B --bounce-fd=C
 * A: listening SOCK_SEQPACKET socket for control (it outlives hypervisord); B: hv-disk's end of the pair; C: the memfd
 * of HV_DISK_REGION * disks bytes.  Control, JSON, in this order:
 *   {"op":"config","domid":N,"uuid":"…","node":"n1","attempt":N,"uid":N,"io_timeout_s":0,"disk":[iscsi disks of the config]}
 *   {"op":"register"}                      connects, reads sizes, registers the key:
 *                                          {"ok":true,"disks":[{"vdev":"xvda","sectors":N,"sector_size":512}]}
 *   {"op":"activate","preempt":bool}       makes the reservation ours; a key of another node's is refused with EBUSY unless
 *                                          preempt says that it may be taken (after a move's GO, or after fencing)
 *   {"op":"drain"}                         replies when nothing is in flight and all caches are flushed
 *   {"op":"release"}                       unregisters; only after drain; no I/O after it
 *   {"op":"status"}                        {"ok":true,"disks":[{"vdev":…,"state":"connected|lost|reservation-lost",…}]}
 *   {"op":"shutdown"}                      release, then exit
 * EOF on the data channel (hv-domain is gone) is a shutdown too.
 */
#ifndef LIB_PROTO_HV_DISK_H
#define LIB_PROTO_HV_DISK_H

#include <stdint.h>

enum hv_disk_op { HV_DISK_READ, HV_DISK_WRITE, HV_DISK_FLUSH, HV_DISK_DISCARD };

struct hv_disk_req {
	uint64_t id;                 /* echoed; hv-domain's */
	uint64_t sector;             /* of 512 octets, whatever the disk's own sector size */
	uint32_t sectors;
	uint32_t slot_offset;        /* octets from the start of the disk's region; READ and WRITE */
	uint8_t op;                  /* enum hv_disk_op */
	uint8_t disk;                /* index in the order configured */
	uint8_t pad[6];
};
_Static_assert(sizeof(struct hv_disk_req) == 32, "hv_disk_req");

struct hv_disk_reply {
	uint64_t id;
	int32_t status;              /* 0 or -errno */
	uint32_t pad;
};
_Static_assert(sizeof(struct hv_disk_reply) == 16, "hv_disk_reply");

#define HV_DISK_SLOTS 32u
#define HV_DISK_SLOT_SIZE (256u * 1024)
#define HV_DISK_REGION (HV_DISK_SLOTS * HV_DISK_SLOT_SIZE)
#define HV_DISK_MAX 8u           /* iSCSI disks a domain */

#endif
