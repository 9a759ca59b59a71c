/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram_ready.c - see ram_ready.h. */
#include "hypervisor/build/ram_ready.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include "lib/huge.h"

#define CHUNK (4 * HUGE_PAGE)
#define HELPERS_MAX 3
#define STACK_BYTES (256UL << 10)

enum chunk_state { CHUNK_MISSING, CHUNK_BEGUN, CHUNK_THERE };

struct ram_ready {
	uint8_t *p; size_t n;
	unsigned nr_chunks, next_chunk;        /* below next_chunk all are begun or there */
	uint8_t *state;                        /* enum chunk_state of each */
	/* ram_ready_each */
	void (*fn)(void *job, unsigned i); void *job;
	unsigned jobs, next_job, jobs_done;
	bool end;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t helper[HELPERS_MAX]; unsigned nr_helpers;
};

/*
 * The host makes a large page only where it has a small one.  Whoever does not wait for a chunk may write it meanwhile: the
 * touch that brings the small page leaves what is there, and MADV_COLLAPSE and MADV_POPULATE_WRITE do by themselves.
 */
static void chunk_make(const struct ram_ready *r, unsigned c)
{
	uint8_t *p = r->p + c * CHUNK;
	size_t n = r->n - c * CHUNK < CHUNK ? r->n - c * CHUNK : CHUNK, whole = n & ~(HUGE_PAGE - 1);

	if ((uintptr_t)p & (HUGE_PAGE - 1))
		whole = 0;
	for (size_t at = 0; at < whole; at += HUGE_PAGE)
		__atomic_fetch_or(p + at, 0, __ATOMIC_RELAXED);
	if (whole && madvise(p, whole, MADV_COLLAPSE))
		whole = 0;
	if (whole < n)
		madvise(p + whole, n - whole, MADV_POPULATE_WRITE);
}

/* With the lock, which is let go of meanwhile. */
static void chunk_take(struct ram_ready *r, unsigned c)
{
	r->state[c] = CHUNK_BEGUN;
	while (r->next_chunk < r->nr_chunks && r->state[r->next_chunk] != CHUNK_MISSING)
		r->next_chunk++;
	pthread_mutex_unlock(&r->lock);
	chunk_make(r, c);
	pthread_mutex_lock(&r->lock);
	r->state[c] = CHUNK_THERE;
	pthread_cond_broadcast(&r->changed);
}

/* The same of one job. */
static void job_take(struct ram_ready *r)
{
	void (*fn)(void *, unsigned) = r->fn;
	unsigned i = r->next_job++;
	void *job = r->job;

	pthread_mutex_unlock(&r->lock);
	fn(job, i);
	pthread_mutex_lock(&r->lock);
	r->jobs_done++;
	pthread_cond_broadcast(&r->changed);
}

static void *helper_main(void *arg)
{
	struct ram_ready *r = arg;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		if (r->next_chunk < r->nr_chunks)
			chunk_take(r, r->next_chunk);
		else if (r->next_job < r->jobs)
			job_take(r);
		else if (r->end)
			break;
		else
			pthread_cond_wait(&r->changed, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void helpers_start(struct ram_ready *r)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int cpus = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	while (r->nr_helpers < HELPERS_MAX && (int)r->nr_helpers + 1 < cpus &&
	       !pthread_create(&r->helper[r->nr_helpers], &attr, helper_main, r))
		r->nr_helpers++;
	pthread_attr_destroy(&attr);
}

struct ram_ready *ram_ready_begin(uint8_t *p, size_t n)
{
	struct ram_ready *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->p = p;
	r->n = n;
	r->nr_chunks = (unsigned)((n + CHUNK - 1) / CHUNK);
	r->state = calloc(r->nr_chunks ? r->nr_chunks : 1, 1);
	if (!r->state) {
		free(r);
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	helpers_start(r);
	return r;
}

void ram_ready_need(struct ram_ready *r, const uint8_t *upto)
{
	unsigned end;

	if (!r || upto <= r->p)
		return;
	end = (size_t)(upto - r->p) >= r->n ? r->nr_chunks : (unsigned)((size_t)(upto - r->p + CHUNK - 1) / CHUNK);
	pthread_mutex_lock(&r->lock);
	for (unsigned c = 0; c < end; c++) {
		if (r->state[c] == CHUNK_MISSING)
			chunk_take(r, c);
		while (r->state[c] == CHUNK_BEGUN)
			pthread_cond_wait(&r->changed, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
}

void ram_ready_each(struct ram_ready *r, unsigned n, void (*fn)(void *job, unsigned i), void *job)
{
	if (!r) {
		for (unsigned i = 0; i < n; i++)
			fn(job, i);
		return;
	}
	pthread_mutex_lock(&r->lock);
	r->fn = fn;
	r->job = job;
	r->next_job = r->jobs_done = 0;
	r->jobs = n;
	pthread_cond_broadcast(&r->changed);
	while (r->next_job < n)
		job_take(r);
	while (r->jobs_done < n)
		pthread_cond_wait(&r->changed, &r->lock);
	r->jobs = 0;
	r->next_job = 0;
	pthread_mutex_unlock(&r->lock);
}

void ram_ready_end(struct ram_ready *r)
{
	if (!r)
		return;
	ram_ready_need(r, r->p + r->n);
	pthread_mutex_lock(&r->lock);
	r->end = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	for (unsigned i = 0; i < r->nr_helpers; i++)
		pthread_join(r->helper[i], NULL);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->changed);
	free(r->state);
	free(r);
}
