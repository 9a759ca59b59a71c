/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_pool.h - a few threads that read and write files and block devices straight into and out of guest frames.
 */
#ifndef HV_BLK_POOL_H
#define HV_BLK_POOL_H

#include "hypervisor/devices/io_loop.h"
#include <sys/uio.h>

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD };

/*
 * Jobs of one lane go to the disk one after the other; what has come together meanwhile and is adjacent goes as one.  For writes: a file
 * system lets one of them into a file at a time, and threads that wait for each other there cost more than they bring.  All zero: free.
 */
struct blk_lane {
	bool busy;
	struct blk_job *head, *last;         /* those that wait for the one under way */
};

/*
 * Owned by the submitter and untouched by it between submit and done.  done runs on the loop's thread, or on one of the pool's between
 * io_loop_enter() and io_loop_leave().
 */
struct blk_job {
	struct blk_job *next;
	struct blk_lane *lane;               /* NULL: beside all others */
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

/*
 * A BLK_READ by the caller's own thread if the host has all of it in memory, of a descriptor without O_DIRECT: 0; -EAGAIN: it has not, and
 * no disk was waited for; -EOPNOTSUPP: not with this file; -errno.  The job is as before, fit for submit.
 */
int blk_read_cached(const struct blk_job *j);

#endif
