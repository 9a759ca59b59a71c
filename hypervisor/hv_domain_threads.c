/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv_domain_threads.c - the I/O thread, and how the threads of an hv-domain talk to each other. */
#include "hypervisor/hv_domain.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "lib/log.h"

#define MAX_POSTS 256                          /* posts are rare: shutdown, drained, one a device event */

struct post { void (*fn)(struct hv *, int); int n; };

struct hv_posts {
	pthread_mutex_t lock;
	pthread_cond_t io_done;
	/* control -> I/O: one call at a time, the control thread waits for it */
	struct io_wake *io_wake;
	hv_io_fn *io_fn; void *io_arg; int io_rc; bool io_pending;
	/* any -> control */
	int event_fd;
	struct post post[MAX_POSTS]; unsigned nr_posts;
};

static void io_serve_call(void *arg)
{
	struct hv *h = arg;
	struct hv_posts *p = h->posts;
	hv_io_fn *fn;

	pthread_mutex_lock(&p->lock);
	fn = p->io_pending ? p->io_fn : NULL;
	pthread_mutex_unlock(&p->lock);
	if (!fn)
		return;
	p->io_rc = fn(h, p->io_arg);
	pthread_mutex_lock(&p->lock);
	p->io_pending = false;
	pthread_cond_signal(&p->io_done);
	pthread_mutex_unlock(&p->lock);
}

static void io_begin(struct hv_posts *p, hv_io_fn *fn, void *arg)
{
	p->io_fn = fn;
	p->io_arg = arg;
	p->io_pending = true;
	io_wake_ring(p->io_wake);
}

int hv_io_call(struct hv *h, hv_io_fn *fn, void *arg)
{
	struct hv_posts *p = h->posts;
	int rc;

	pthread_mutex_lock(&p->lock);
	while (p->io_pending)                  /* one that was not waited for */
		pthread_cond_wait(&p->io_done, &p->lock);
	io_begin(p, fn, arg);
	while (p->io_pending)
		pthread_cond_wait(&p->io_done, &p->lock);
	rc = p->io_rc;
	pthread_mutex_unlock(&p->lock);
	return rc;
}

int hv_io_try(struct hv *h, hv_io_fn *fn, void *arg, unsigned ms)
{
	struct hv_posts *p = h->posts;
	struct timespec end;
	int rc = -EAGAIN;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += (long)ms * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000L;
	end.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&p->lock);
	if (!p->io_pending) {
		io_begin(p, fn, arg);
		while (p->io_pending && pthread_cond_timedwait(&p->io_done, &p->lock, &end) == 0)
			;
		rc = p->io_pending ? -EAGAIN : p->io_rc;
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

void hv_post(struct hv *h, void (*fn)(struct hv *, int), int n)
{
	struct hv_posts *p = h->posts;
	uint64_t one = 1;

	pthread_mutex_lock(&p->lock);
	if (p->nr_posts < MAX_POSTS)
		p->post[p->nr_posts++] = (struct post) { fn, n };
	pthread_mutex_unlock(&p->lock);
	if (write(p->event_fd, &one, sizeof one) < 0)
		return;                        /* the counter is full: the control thread is awake */
}

static int32_t posts_serve(int32_t fd, int32_t revents, void *data)
{
	struct hv *h = data;
	struct hv_posts *p = h->posts;
	struct post todo[MAX_POSTS];
	unsigned n;
	uint64_t count;

	if (read(fd, &count, sizeof count) < 0)
		return 0;
	pthread_mutex_lock(&p->lock);
	n = p->nr_posts;
	for (unsigned i = 0; i < n; i++)
		todo[i] = p->post[i];
	p->nr_posts = 0;
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < n; i++)
		todo[i].fn(h, todo[i].n);
	return 0;
}

static void *io_thread_main(void *arg)
{
	struct hv *h = arg;
	int rc = io_loop_run(h->io);

	if (rc)
		log_err("I/O loop ended: %s", err_name(rc));
	return NULL;
}

int hv_threads_init(struct hv *h)
{
	struct hv_posts *p = calloc(1, sizeof *p);

	h->io = io_loop_create();
	if (!p || !h->io)
		return -ENOMEM;
	h->posts = p;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->io_done, NULL);
	p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->io_wake = io_wake_add(h->io, io_serve_call, h);
	if (p->event_fd < 0 || !p->io_wake)
		return -ENOMEM;
	if (qb_loop_poll_add(h->loop, QB_LOOP_HIGH, p->event_fd, POLLIN, h, posts_serve) < 0)
		return -ENOMEM;
	/* the store ring's barriers (store_ring.c): with a second thread the kernel waits for all processors, some 10 ms */
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	return -pthread_create(&h->io_thread, NULL, io_thread_main, h);
}
