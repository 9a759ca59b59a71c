/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * image.h - the records of a domain image (docs/specs/image.md): a saved domain in a file, or the state that travels in a move.
 *
 * Writing goes through struct image_writer, which keeps a SHA-256 over everything; the END record carries it.  Reading goes
 * record by record through struct image_reader, which bounds every length and keeps the same digest.
 */
#ifndef HV_IMAGE_H
#define HV_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/err.h"

#define IMAGE_MAGIC 0x65676d496e766148ULL      /* "HavnImge" */
#define IMAGE_VERSION 1u
#define IMAGE_DIGEST_BYTES 32
#define IMAGE_RECORD_MAX (64u << 20)           /* no record is longer; the store's export is the longest beside pages */
#define IMAGE_PAGES_PER_RECORD 256u

enum image_kind { IMAGE_FILE = 1, IMAGE_STATE = 2 };   /* with CONFIG and PAGES, or without */

enum image_type {
	IMAGE_HEADER = 1,              /* magic, version, kind, domid, CLOCK_REALTIME */
	IMAGE_CONFIG = 2,              /* canonical JSON */
	IMAGE_PAGES = 3,               /* u64 frame index, pages */
	IMAGE_DOMAIN = 4,              /* abi_domain_save */
	IMAGE_VCPU = 5,                /* u32 id, u32 0, abi_vcpu_save */
	IMAGE_DEVICES = 6,             /* devices_save */
	IMAGE_STORE = 7,               /* xenstored's export */
	IMAGE_END = 8,                 /* SHA-256 of all before */
	IMAGE_CPUID = (int)0x80000009, /* cpuid_policy_pack; may be missing */
	IMAGE_SAVED = (int)0x8000000a, /* struct image_saved; may be missing */
	IMAGE_WATCHDOG = (int)0x8000000b, /* u32 time-out in s of each SCHEDOP_watchdog, 0: off; may be missing */
	IMAGE_IOBITMAP = (int)0x8000000c, /* each vCPU's PHYSDEVOP_set_iobitmap; may be missing */
	IMAGE_TSC = (int)0x8000000e,   /* abi_tsc_save; missing: the TSC goes on from the reader's own count */
	IMAGE_OPERATOR = (int)0x8000000d, /* u32, bit 0: the operator has paused it; missing: he has not */
};

/*
 * When the domain was saved, in its owner's count: its disks have moved on when that count has.  `cluster`: the directory's epoch, else
 * this host's own number of its last start (0: none).  `goes_on`: the guest was not ended by the save.
 */
struct image_saved { uint64_t epoch; bool cluster, goes_on; };
#define IMAGE_SAVED_BYTES 16

struct image_header { uint32_t kind; uint32_t domid; uint64_t realtime_ns; uint64_t max_pages; uint64_t special_pages; };

struct image_digest;

struct image_writer { int fd; struct image_digest *digest; int rc; uint64_t bytes; };

void image_saved_pack(const struct image_saved *s, uint8_t ret[IMAGE_SAVED_BYTES]);
int image_saved_unpack(struct image_saved *ret, const uint8_t *body, size_t n);     /* 0 or -EINVAL */

/* Loads what the first image of a process needs of OpenSSL, which takes milliseconds, so that no guest waits for it. */
void image_prepare(void);
/* The first record is written by open.  Errors stick: rc of close says whether all is written (fsync'ed when asked). */
int image_writer_open(struct image_writer *w, int fd, const struct image_header *hdr);
void image_write(struct image_writer *w, uint32_t type, const void *prefix, size_t prefix_len, const void *body, size_t n);
int image_writer_close(struct image_writer *w, bool sync);

struct image_reader { int fd; struct image_digest *digest; uint64_t off, size; uint8_t *body; size_t cap; bool ended; };

/* Reads the header.  0, -EINVAL (not an image), -ENOTSUP (version), -errno. */
int image_reader_open(struct image_reader *r, int fd, struct image_header *ret, struct err *err);
/*
 * Next record: 1 with type, body (valid until the next call) and length; 0 after an END whose digest is right and that ends
 * the file; -EINVAL when truncated, altered or malformed.
 */
int image_read(struct image_reader *r, uint32_t *ret_type, const uint8_t **ret_body, size_t *ret_n, struct err *err);
void image_reader_close(struct image_reader *r);        /* idempotent */

#endif
