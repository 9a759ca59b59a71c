/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads for disks, lanes among them, reads that wait for no disk, and who has the loop when. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "hypervisor/devices/blk_pool.h"

#define N 8
#define LEN 4096u

static struct io_loop *loop;
static struct blk_pool *pool;
static int disk;
static atomic_int ended;

struct write { struct blk_job job; struct iovec iov; uint8_t data[LEN]; };
static struct write w[N];
static struct blk_lane lane;

/* Reads or writes that this process asked the kernel for; 0 where it does not say. */
static unsigned long write_calls(void)
{
	FILE *f = fopen("/proc/self/io", "r");
	unsigned long n = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "syscw: %lu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static void count(struct blk_job *j) { atomic_fetch_add(&ended, 1); }

static void write_make(struct write *x, uint64_t offset, uint8_t with)
{
	memset(x->data, with, LEN);
	x->iov = (struct iovec){ x->data, LEN };
	x->job = (struct blk_job){ .op = BLK_WRITE, .lane = &lane, .fd = disk, .iov = &x->iov, .nr_iov = 1, .offset = offset, .length = LEN,
				   .status = 1, .done = count };
}

static int setup(void **state)
{
	loop = io_loop_create();
	pool = blk_pool_create(loop, 1);
	disk = open(".", O_TMPFILE | O_RDWR, 0600);
	if (disk < 0)
		disk = memfd_create("disk", 0);
	memset(&lane, 0, sizeof(lane));
	atomic_store(&ended, 0);
	return loop && pool && disk >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
	blk_pool_destroy(pool);
	io_loop_destroy(loop);
	close(disk);
	return 0;
}

static void wait_ended(int n)
{
	for (int i = 0; i < 24000 && atomic_load(&ended) < n; i++)
		usleep(5000);
	assert_int_equal(atomic_load(&ended), n);
}

/* On the pool's only thread, so that they all wait when it comes back for more. */
static unsigned long calls_before;

static void submit_the_rest(struct blk_job *j)
{
	calls_before = write_calls();
	for (unsigned i = 1; i < N; i++)
		blk_pool_submit(pool, &w[i].job);
	count(j);
}

static void check_disk(unsigned n)
{
	uint8_t got[LEN];

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(pread(disk, got, LEN, (off_t)(i * LEN)), LEN);
		assert_memory_equal(got, w[i].data, LEN);
	}
}

static void adjacent_writes_go_as_one(void **state)
{
	for (unsigned i = 0; i < N; i++)
		write_make(&w[i], i * LEN, (uint8_t)(i + 1));
	w[0].job.done = submit_the_rest;
	blk_pool_submit(pool, &w[0].job);
	wait_ended(N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(w[i].job.status, 0);
	check_disk(N);
	if (calls_before)
		assert_int_equal(write_calls() - calls_before, 1);
	assert_false(lane.busy);
}

/* One of several that went together cannot be done: that one fails, the others are there. */
static void one_of_many_fails(void **state)
{
	struct rlimit was, small = { (N - 1) * LEN, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small.rlim_max = was.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (unsigned i = 0; i < N; i++)
		write_make(&w[i], i * LEN, (uint8_t)(i + 1));
	w[0].job.done = submit_the_rest;
	blk_pool_submit(pool, &w[0].job);
	wait_ended(N);
	setrlimit(RLIMIT_FSIZE, &was);
	for (unsigned i = 0; i < N - 1; i++)
		assert_int_equal(w[i].job.status, 0);
	assert_int_equal(w[N - 1].job.status, -EFBIG);
	check_disk(N - 1);
}

/* What is not adjacent goes alone, and in its turn: the last of those that write the same place stays. */
static void a_lane_keeps_its_order(void **state)
{
	blk_pool_destroy(pool);
	pool = blk_pool_create(loop, 4);
	for (int round = 0; round < 100; round++) {
		atomic_store(&ended, 0);
		for (unsigned i = 0; i < N; i++) {
			write_make(&w[i], 0, (uint8_t)(round + (int)i));
			blk_pool_submit(pool, &w[i].job);
		}
		wait_ended(N);
		memcpy(w[0].data, w[N - 1].data, LEN);
		check_disk(1);
	}
}

static void a_cached_read_or_none(void **state)
{
	uint8_t got[2 * LEN];
	struct iovec iov = { got, LEN };
	struct blk_job j = { .op = BLK_READ, .fd = disk, .iov = &iov, .nr_iov = 1, .length = LEN };
	int rc;

	memset(w[0].data, 7, LEN);
	assert_int_equal(pwrite(disk, w[0].data, LEN, 0), LEN);
	rc = blk_read_cached(&j);
	if (rc == -EOPNOTSUPP)
		skip();
	assert_int_equal(rc, 0);
	assert_memory_equal(got, w[0].data, LEN);
	iov.iov_len = j.length = 2 * LEN;              /* the file ends before */
	assert_int_equal(blk_read_cached(&j), -EAGAIN);
	assert_int_equal(j.length, 2 * LEN);
	j.fd = -1;
	assert_int_equal(blk_read_cached(&j), -EBADF);
}

/* ---- the loop's lock ---- */

static struct io_wake *bell;
static atomic_int entered, rounds;
static atomic_bool stop;

static void *try_once(void *arg)
{
	bool got = io_loop_enter(loop);

	if (got)
		io_loop_leave(loop);
	atomic_store(&entered, got);
	return NULL;
}

static void handler(void *arg)
{
	pthread_t t;

	pthread_create(&t, NULL, try_once, NULL);
	pthread_join(t, NULL);
}

static void nobody_enters_beside_a_handler(void **state)
{
	bell = io_wake_add(loop, handler, NULL);
	atomic_store(&entered, 1);
	io_wake_ring(bell);
	while (io_loop_run_once(loop, 100) <= 0)
		;
	assert_int_equal(atomic_load(&entered), 0);
	handler(NULL);                                  /* nor between the rounds: it is the loop's thread still */
	assert_int_equal(atomic_load(&entered), 0);
	io_wake_del(bell);
}

static void *try_on(void *arg)
{
	while (!io_loop_enter(loop))
		usleep(100);
	atomic_store(&entered, 1);
	io_wake_ring(bell);                            /* the loop wakes and waits for us */
	usleep(20000);
	atomic_store(&rounds, 100);
	io_loop_leave(loop);
	return NULL;
}

static void bell_rang(void *arg) { assert_int_equal(atomic_exchange(&rounds, 0), 100); }

static void a_loop_that_sleeps_may_be_entered(void **state)
{
	pthread_t t;

	bell = io_wake_add(loop, bell_rang, NULL);
	atomic_store(&entered, 0);
	atomic_store(&rounds, 0);
	assert_int_equal(pthread_create(&t, NULL, try_on, NULL), 0);
	while (io_loop_run_once(loop, 1000) <= 0)
		;
	pthread_join(t, NULL);
	assert_int_equal(atomic_load(&entered), 1);
	assert_int_equal(atomic_load(&rounds), 0);
	io_wake_del(bell);
}

static void *enter_always(void *arg)
{
	while (!atomic_load(&stop))
		if (io_loop_enter(loop)) {
			for (volatile int i = 0; i < 100000; i++)
				;
			io_loop_leave(loop);
		}
	return NULL;
}

static void count_round(void *arg) { atomic_fetch_add(&rounds, 1); }

/* Whoever enters again and again keeps the loop out no longer than one time each. */
static void the_loop_gets_its_turns(void **state)
{
	pthread_t t[2];

	alarm(600);
	bell = io_wake_add(loop, count_round, NULL);
	atomic_store(&rounds, 0);
	atomic_store(&stop, false);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, enter_always, NULL), 0);
	while (atomic_load(&rounds) < 200) {
		io_wake_ring(bell);
		io_loop_run_once(loop, 1000);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	alarm(0);
	io_wake_del(bell);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(adjacent_writes_go_as_one), TEST(one_of_many_fails), TEST(a_lane_keeps_its_order), TEST(a_cached_read_or_none),
		TEST(nobody_enters_beside_a_handler), TEST(a_loop_that_sleeps_may_be_entered), TEST(the_loop_gets_its_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
