/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_pool.c - threads rather than io_uring: they need preadv, pwritev, fdatasync and fallocate of the sandbox and nothing else.
 */
#include "hypervisor/devices/blk_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define POOL_MAX_THREADS 16

struct blk_pool {
	pthread_mutex_t lock;                /* over the queues and stop */
	pthread_cond_t work;
	struct blk_job *todo, **todo_tail, *done;
	bool stop;
	unsigned nr;
	pthread_t thread[POOL_MAX_THREADS];
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
		pthread_mutex_unlock(&p->lock);
		j->status = job_run(j);
		pthread_mutex_lock(&p->lock);
		j->next = p->done;
		p->done = j;
		io_wake_ring(p->wake);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pool_reap(void *arg)
{
	struct blk_pool *p = arg;
	struct blk_job *j, *next;

	pthread_mutex_lock(&p->lock);
	j = p->done;
	p->done = NULL;
	pthread_mutex_unlock(&p->lock);
	for (; j; j = next) {
		next = j->next;
		j->done(j);
	}
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
	pthread_mutex_lock(&p->lock);
	j->next = NULL;
	*p->todo_tail = j;
	p->todo_tail = &j->next;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}
