/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_loop.c - epoll, timers and wake-ups of hv-domain's I/O thread.
 *
 * Timers share one timerfd, armed for the earliest: a domain has a handful, so a list will do.  Handlers removed while a round of events is
 * being served are freed after it, since the round may still name them.
 *
 * The loop's lock is its thread's but for epoll_wait(): what the loop guards needs no thought on that thread.  Another thread gets
 * it by io_loop_enter(), which never waits; and not at all once the loop's own thread wants it, so that a guest whose vCPUs come
 * here without end keeps nobody out.
 */
#include "hypervisor/devices/io_loop.h"
#include "lib/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct io_fd {
	struct io_loop *l;
	struct io_fd *next;
	int fd;
	uint32_t events;
	bool dead;
	io_fd_fn *fn;
	void *arg;
};

struct io_timer {
	struct io_loop *l;
	struct io_timer *next;
	uint64_t at_ns;                       /* UINT64_MAX: not set */
	bool dead;
	io_fn *fn;
	void *arg;
};

struct io_wake {
	int fd;
	struct io_fd *h;
	io_fn *fn;
	void *arg;
};

struct io_loop {
	int epfd, timerfd;
	struct io_fd *fds;
	struct io_timer *timers;
	struct io_fd *timer_h;
	uint64_t armed_ns;
	bool stop, reap;
	pthread_mutex_t lock;
	bool held;                            /* the loop's thread: it has the lock */
	atomic_bool wanted;                   /* it waits for it */
};

/* ---- descriptors ---- */

struct io_fd *io_fd_add(struct io_loop *l, int fd, uint32_t events, io_fd_fn *fn, void *arg)
{
	struct io_fd *h = calloc(1, sizeof(*h));
	struct epoll_event ev = { .events = events };

	if (!h)
		return NULL;
	*h = (struct io_fd){ .l = l, .next = l->fds, .fd = fd, .events = events, .fn = fn, .arg = arg };
	ev.data.ptr = h;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(h);
		return NULL;
	}
	l->fds = h;
	return h;
}

int io_fd_set(struct io_fd *h, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = h };

	if (h->events == events)
		return 0;
	h->events = events;
	return epoll_ctl(h->l->epfd, EPOLL_CTL_MOD, h->fd, &ev) < 0 ? -errno : 0;
}

void io_fd_del(struct io_fd *h)
{
	if (!h)
		return;
	epoll_ctl(h->l->epfd, EPOLL_CTL_DEL, h->fd, NULL);
	h->dead = true;
	h->l->reap = true;
}

/* ---- timers ---- */

static void timers_arm(struct io_loop *l)
{
	uint64_t at = UINT64_MAX;
	struct itimerspec its = { 0 };

	for (struct io_timer *t = l->timers; t; t = t->next)
		if (!t->dead && t->at_ns < at)
			at = t->at_ns;
	if (at == l->armed_ns)
		return;
	l->armed_ns = at;
	if (at != UINT64_MAX) {
		its.it_value.tv_sec = (time_t)(at / 1000000000u);
		its.it_value.tv_nsec = (long)(at % 1000000000u);
		if (!at)
			its.it_value.tv_nsec = 1;
	}
	timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void timers_due(void *arg, uint32_t events)
{
	struct io_loop *l = arg;
	uint64_t n, now = monotonic_ns();

	if (read(l->timerfd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	l->armed_ns = UINT64_MAX - 1;                  /* spent: arm anew whatever comes next */
	for (struct io_timer *t = l->timers; t; t = t->next)
		if (!t->dead && t->at_ns <= now) {
			t->at_ns = UINT64_MAX;
			t->fn(t->arg);
		}
	timers_arm(l);
}

struct io_timer *io_timer_add(struct io_loop *l, io_fn *fn, void *arg)
{
	struct io_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct io_timer){ .l = l, .next = l->timers, .at_ns = UINT64_MAX, .fn = fn, .arg = arg };
	l->timers = t;
	return t;
}

void io_timer_set(struct io_timer *t, uint64_t delay_ns)
{
	t->at_ns = monotonic_ns() + delay_ns;
	timers_arm(t->l);
}

void io_timer_clear(struct io_timer *t)
{
	t->at_ns = UINT64_MAX;
	timers_arm(t->l);
}

void io_timer_del(struct io_timer *t)
{
	if (!t)
		return;
	t->dead = true;
	t->l->reap = true;
	timers_arm(t->l);
}

/* ---- wake-ups ---- */

static void wake_read(void *arg, uint32_t events)
{
	struct io_wake *w = arg;
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) == sizeof(n))
		w->fn(w->arg);
}

struct io_wake *io_wake_add(struct io_loop *l, io_fn *fn, void *arg)
{
	struct io_wake *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct io_wake){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = fn, .arg = arg };
	if (w->fd >= 0)
		w->h = io_fd_add(l, w->fd, EPOLLIN, wake_read, w);
	if (w->h)
		return w;
	if (w->fd >= 0)
		close(w->fd);
	free(w);
	return NULL;
}

void io_wake_ring(struct io_wake *w)
{
	uint64_t one = 1;

	/* EAGAIN means that the counter is full, so the loop will wake anyway */
	if (write(w->fd, &one, sizeof(one)) < 0)
		return;
}

void io_wake_del(struct io_wake *w)
{
	if (!w)
		return;
	io_fd_del(w->h);
	close(w->fd);
	free(w);
}

/* ---- the lock ---- */

static void loop_lock(struct io_loop *l)
{
	if (pthread_mutex_trylock(&l->lock)) {
		atomic_store(&l->wanted, true);
		pthread_mutex_lock(&l->lock);
		atomic_store(&l->wanted, false);
	}
	l->held = true;
}

static void loop_unlock(struct io_loop *l)
{
	if (!l->held)
		return;
	l->held = false;
	pthread_mutex_unlock(&l->lock);
}

bool io_loop_enter(struct io_loop *l)
{
	return !atomic_load(&l->wanted) && !pthread_mutex_trylock(&l->lock);
}

void io_loop_leave(struct io_loop *l)
{
	pthread_mutex_unlock(&l->lock);
}

/* ---- the loop ---- */

static void loop_reap(struct io_loop *l)
{
	struct io_fd **h = &l->fds, *dead_h;
	struct io_timer **t = &l->timers, *dead_t;

	l->reap = false;
	while (*h)
		if ((*h)->dead) {
			dead_h = *h;
			*h = dead_h->next;
			free(dead_h);
		} else {
			h = &(*h)->next;
		}
	while (*t)
		if ((*t)->dead) {
			dead_t = *t;
			*t = dead_t->next;
			free(dead_t);
		} else {
			t = &(*t)->next;
		}
}

struct io_loop *io_loop_create(void)
{
	struct io_loop *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	l->timerfd = -1;
	l->armed_ns = UINT64_MAX;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd >= 0)
		l->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timerfd >= 0)
		l->timer_h = io_fd_add(l, l->timerfd, EPOLLIN, timers_due, l);
	if (l->timer_h)
		return l;
	io_loop_destroy(l);
	return NULL;
}

void io_loop_destroy(struct io_loop *l)
{
	if (!l)
		return;
	for (struct io_fd *h = l->fds; h; h = h->next)
		h->dead = true;
	for (struct io_timer *t = l->timers; t; t = t->next)
		t->dead = true;
	loop_reap(l);
	if (l->timerfd >= 0)
		close(l->timerfd);
	if (l->epfd >= 0)
		close(l->epfd);
	loop_unlock(l);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int io_loop_run_once(struct io_loop *l, int timeout_ms)
{
	struct epoll_event ev[16];
	int n;

	loop_unlock(l);
	n = epoll_wait(l->epfd, ev, 16, timeout_ms);
	loop_lock(l);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct io_fd *h = ev[i].data.ptr;

		if (!h->dead)
			h->fn(h->arg, ev[i].events);
	}
	if (l->reap)
		loop_reap(l);
	return n;
}

int io_loop_run(struct io_loop *l)
{
	int r = 0;

	l->stop = false;
	while (!l->stop && r >= 0)
		r = io_loop_run_once(l, -1);
	return r < 0 ? r : 0;
}

void io_loop_stop(struct io_loop *l)
{
	l->stop = true;
}

int io_loop_fd(const struct io_loop *l)
{
	return l->epfd;
}
