/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_loop.h - the one loop of an hv-domain's I/O thread: epoll, timers, wake-ups from other threads.
 *
 * Everything in devices/ and the domain's control channels run on the thread that calls io_loop_run(); nothing here takes a lock but
 * io_wake_ring(), which any thread may call.  What another thread may do as well (a vCPU that has just signalled its disk, a thread
 * that is done with a request) is done between io_loop_enter() and io_loop_leave().  Handlers may add and remove handlers, their own
 * too.
 */
#ifndef HV_IO_LOOP_H
#define HV_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct io_loop;
struct io_fd;
struct io_timer;
struct io_wake;

/* NULL when out of memory or descriptors (errno). */
struct io_loop *io_loop_create(void);
void io_loop_destroy(struct io_loop *l);      /* frees what is still registered; closes none of the caller's descriptors */
int io_loop_run(struct io_loop *l);           /* until io_loop_stop(); 0 or -errno */
int io_loop_run_once(struct io_loop *l, int timeout_ms);   /* one round, for tests; -1: wait for something */
void io_loop_stop(struct io_loop *l);         /* on the loop's thread */

/*
 * A descriptor that polls readable when a round would find something, to put this loop inside another one (libqb's, which
 * msg_server wants): on POLLIN call io_loop_run_once(l, 0).  Stays the loop's.
 */
int io_loop_fd(const struct io_loop *l);

/*
 * Any thread but the loop's: true when the loop's thread does nothing meanwhile, until io_loop_leave().  Never waits; false: ring a
 * wake-up, and the loop will do it.  Between the two: no adding and removing of handlers.  Keep it well under a millisecond.
 */
bool io_loop_enter(struct io_loop *l);
void io_loop_leave(struct io_loop *l);

/* A descriptor: events is a set of EPOLLIN|EPOLLOUT; fn gets what is there (EPOLLHUP, EPOLLERR always).  Level-triggered. */
typedef void io_fd_fn(void *arg, uint32_t events);
struct io_fd *io_fd_add(struct io_loop *l, int fd, uint32_t events, io_fd_fn *fn, void *arg);
int io_fd_set(struct io_fd *h, uint32_t events);
void io_fd_del(struct io_fd *h);              /* NULL is fine; the descriptor stays open */

/* A timer, one shot each time it is set; CLOCK_MONOTONIC. */
typedef void io_fn(void *arg);
struct io_timer *io_timer_add(struct io_loop *l, io_fn *fn, void *arg);
void io_timer_set(struct io_timer *t, uint64_t delay_ns);
void io_timer_clear(struct io_timer *t);
void io_timer_del(struct io_timer *t);

/* fn runs on the loop's thread some time after each io_wake_ring(); several rings may become one run. */
struct io_wake *io_wake_add(struct io_loop *l, io_fn *fn, void *arg);
void io_wake_ring(struct io_wake *w);         /* any thread; never blocks */
void io_wake_del(struct io_wake *w);

#endif
