/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_pool.c - threads rather than io_uring: they need preadv, pwritev, fdatasync and fallocate of the sandbox and nothing else.
 *
 * A thread that is done with a job says so itself if the loop's thread is asleep; else it leaves that to the loop.
 */
#include "hypervisor/devices/blk_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL_MAX_THREADS 16
#define POOL_MAX_IOV 1024u                    /* UIO_MAXIOV: what the kernel takes at once */

struct blk_pool {
	pthread_mutex_t lock;                /* over the queues and stop */
	pthread_cond_t work;
	struct blk_job *todo, **todo_tail, *done;
	bool stop;
	unsigned nr;
	pthread_t thread[POOL_MAX_THREADS];
	struct io_loop *loop;
	struct io_wake *wake;
};

static void iov_advance(struct blk_job *j, size_t n)
{
	j->offset += n;
	j->length -= n;
	while (j->nr_iov && n >= j->iov->iov_len) {
		n -= j->iov->iov_len;
		j->iov++;
		j->nr_iov--;
	}
	if (n) {
		j->iov->iov_base = (char *)j->iov->iov_base + n;
		j->iov->iov_len -= n;
	}
}

static int job_transfer(struct blk_job *j)
{
	ssize_t r;

	while (j->length) {
		r = j->op == BLK_READ ? preadv(j->fd, j->iov, (int)j->nr_iov, (off_t)j->offset)
				      : pwritev(j->fd, j->iov, (int)j->nr_iov, (off_t)j->offset);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;  /* 0: the file ends before the disk does */
		iov_advance(j, (size_t)r);
	}
	return 0;
}

static int job_run(struct blk_job *j)
{
	switch (j->op) {
	case BLK_READ:
	case BLK_WRITE:
		return job_transfer(j);
	case BLK_FLUSH:
		return fdatasync(j->fd) < 0 ? -errno : 0;
	case BLK_DISCARD:
		return fallocate(j->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)j->offset, (off_t)j->length) < 0 ? -errno : 0;
	}
	return -EINVAL;
}

int blk_read_cached(const struct blk_job *j)
{
	ssize_t r = preadv2(j->fd, j->iov, (int)j->nr_iov, (off_t)j->offset, RWF_NOWAIT);

	if (r < 0)
		return -errno;
	return (uint64_t)r == j->length ? 0 : -EAGAIN;
}

/* ---- lanes ---- */

/* With the lock: what waits behind j and is adjacent goes with it. */
static void lane_gather(struct blk_job *j)
{
	struct blk_lane *lane = j->lane;
	uint64_t end = j->offset + j->length;
	unsigned nr_iov = j->nr_iov;
	struct blk_job *next;

	while ((next = lane->head) && next->op == j->op && next->fd == j->fd && next->offset == end &&
	       nr_iov + next->nr_iov <= POOL_MAX_IOV) {
		lane->head = next->next;
		next->next = NULL;
		end += next->length;
		nr_iov += next->nr_iov;
		j->next = next;
		j = next;
	}
}

static void todo_add(struct blk_pool *p, struct blk_job *j)
{
	j->next = NULL;
	*p->todo_tail = j;
	p->todo_tail = &j->next;
}

/* With the lock: the lane's next is to be done, by this thread if no other is quicker. */
static void lane_next(struct blk_pool *p, struct blk_lane *lane)
{
	struct blk_job *j = lane->head;

	lane->busy = j;
	if (!j)
		return;
	lane->head = j->next;
	todo_add(p, j);
}

static int together_run(const struct blk_job *first)
{
	struct iovec iov[POOL_MAX_IOV];
	struct blk_job all = *first;

	all.iov = iov;
	all.nr_iov = 0;
	all.length = 0;
	for (const struct blk_job *j = first; j; j = j->next) {
		memcpy(&iov[all.nr_iov], j->iov, j->nr_iov * sizeof(iov[0]));
		all.nr_iov += j->nr_iov;
		all.length += j->length;
	}
	return job_transfer(&all);
}

/* When together they fail, each is tried alone: which of them cannot be done the guest hears. */
static void jobs_run(struct blk_job *first)
{
	bool together = first->next && together_run(first) == 0;

	for (struct blk_job *j = first; j; j = j->next)
		j->status = together ? 0 : job_run(j);
}

/* ---- threads ---- */

static void jobs_end(struct blk_job *j)
{
	struct blk_job *next;

	for (; j; j = next) {
		next = j->next;
		j->done(j);
	}
}

static void pool_deliver(struct blk_pool *p, struct blk_job *first)
{
	struct blk_job *last = first;
	bool ring;

	if (io_loop_enter(p->loop)) {
		jobs_end(first);
		io_loop_leave(p->loop);
		return;
	}
	while (last->next)
		last = last->next;
	pthread_mutex_lock(&p->lock);
	ring = !p->done;
	last->next = p->done;
	p->done = first;
	pthread_mutex_unlock(&p->lock);
	if (ring)
		io_wake_ring(p->wake);
}

static void *pool_thread(void *arg)
{
	struct blk_pool *p = arg;
	struct blk_job *j;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->todo && !p->stop)
			pthread_cond_wait(&p->work, &p->lock);
		if (p->stop)
			break;
		j = p->todo;
		p->todo = j->next;
		if (!p->todo)
			p->todo_tail = &p->todo;
		j->next = NULL;
		if (j->lane)
			lane_gather(j);
		pthread_mutex_unlock(&p->lock);
		jobs_run(j);
		pthread_mutex_lock(&p->lock);
		/* before the end of the last job is told: the lane may go with it */
		if (j->lane)
			lane_next(p, j->lane);
		pthread_mutex_unlock(&p->lock);
		pool_deliver(p, j);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pool_reap(void *arg)
{
	struct blk_pool *p = arg;
	struct blk_job *j;

	pthread_mutex_lock(&p->lock);
	j = p->done;
	p->done = NULL;
	pthread_mutex_unlock(&p->lock);
	jobs_end(j);
}

/* Signals are for the vCPU threads and the main thread. */
static int pool_start(struct blk_pool *p, unsigned threads)
{
	sigset_t all, old;
	int r = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (p->nr < threads && p->nr < POOL_MAX_THREADS && !r) {
		r = pthread_create(&p->thread[p->nr], NULL, pool_thread, p);
		if (!r)
			p->nr++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return p->nr ? 0 : -r;
}

struct blk_pool *blk_pool_create(struct io_loop *l, unsigned threads)
{
	struct blk_pool *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	p->todo_tail = &p->todo;
	p->loop = l;
	p->wake = io_wake_add(l, pool_reap, p);
	rc = p->wake ? pool_start(p, threads) : -errno;
	if (rc == 0)
		return p;
	blk_pool_destroy(p);
	errno = -rc;
	return NULL;
}

void blk_pool_destroy(struct blk_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nr; i++)
		pthread_join(p->thread[i], NULL);
	io_wake_del(p->wake);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void blk_pool_submit(struct blk_pool *p, struct blk_job *j)
{
	struct blk_lane *lane = j->lane;

	pthread_mutex_lock(&p->lock);
	if (lane && lane->busy) {
		j->next = NULL;
		if (lane->head)
			lane->last->next = j;
		else
			lane->head = j;
		lane->last = j;
	} else {
		if (lane)
			lane->busy = true;
		todo_add(p, j);
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
}
