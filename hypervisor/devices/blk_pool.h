/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_pool.h - a few threads that read and write files and block devices straight into and out of guest frames.
 */
#ifndef HV_BLK_POOL_H
#define HV_BLK_POOL_H

#include "hypervisor/devices/io_loop.h"
#include <sys/uio.h>

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD };

/* Owned by the submitter and untouched by it between submit and done, which runs on the loop's thread. */
struct blk_job {
	struct blk_job *next;
	enum blk_op op;
	int fd;
	struct iovec *iov;                   /* READ, WRITE; used up */
	unsigned nr_iov;
	uint64_t offset, length;             /* octets */
	int status;                          /* 0 or -errno, when done */
	void (*done)(struct blk_job *j);
};

struct blk_pool;
struct blk_pool *blk_pool_create(struct io_loop *l, unsigned threads);    /* NULL: errno */
void blk_pool_destroy(struct blk_pool *p);                                /* waits for what is under way; done() is not called */
void blk_pool_submit(struct blk_pool *p, struct blk_job *j);

#endif
