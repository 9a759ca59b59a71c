/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ram_huge.c - the thread behind ram_huge.h.
 *
 * RAM is a memfd, which gets small pages from most hosts (shmem_enabled is "never" unless the administrator changed it):
 * a pointer chase then pays the host's TLB twice, for guest memory and for its own.  MADV_COLLAPSE moves a range to a
 * large page whatever sysfs says, and fills what was missing in it.  So only ranges are moved that the guest holds as a whole
 * (nothing ballooned out) and has touched at least half of; it may touch the rest whenever it likes.  What a guest
 * balloons out afterwards is punched out of the large page as out of small ones.
 *
 * A move copies 2 MiB while the guest waits if it touches that range: one at a time, with pauses.
 *
 * While pages of the guest are still on their way from another node nothing is moved: what is missing there is not zero.  Nor while it leaves for
 * another, or into a file: copies, and a look at all the ranges of a large guest, would take the processors from a move that they cannot serve any more,
 * and in the pause this thread is raised with the process' others (lib/hurry.h).  And a guest that has just come has better things to wait for.
 *
 * The same thread sees when the guest has been idle for long, and then has the engine give back what it can make anew.
 */
#include "hypervisor/ram_huge.h"
#include "hypervisor/engine/engine.h"
#include "hypervisor/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include "lib/clock.h"
#include "lib/huge.h"

#define RANGE_FRAMES (HUGE_PAGE >> PAGE_SHIFT_HV)
#define BUSY_MS 200                            /* between two looks while there was something to do */
#define IDLE_MS 16000                          /* the longest, when nothing changes */
#define PAUSE_FACTOR 4                         /* rest after a move, in the time it took */
#define SETTLE_MS 2000                         /* from a guest's first instruction here on */
#define LOOK_MS 5000                           /* between two looks whether the guest is idle */
#define IDLE_LOOKS 6                           /* so many in a row and it is */
#define IDLE_PERCENT 2                         /* of one processor, all vCPUs together */
#define REFUSALS 64                            /* "invalid" so often without a success: this kernel does not do it */

struct ram_huge {
	struct domain *d;
	uint64_t ranges;
	uint8_t *done;
	unsigned refused;
	bool hopeless;                         /* the host does not do it */
	uint64_t looked_ns, cpu_ns;
	unsigned idle_looks;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stop;
};

/* true: it is to end. */
static bool rest(struct ram_huge *h, uint64_t ns)
{
	uint64_t end = monotonic_ns() + ns;
	struct timespec ts = { .tv_sec = (time_t)(end / 1000000000UL), .tv_nsec = (long)(end % 1000000000UL) };
	bool stop;

	pthread_mutex_lock(&h->lock);
	while (!h->stop && pthread_cond_timedwait(&h->cond, &h->lock, &ts) != ETIMEDOUT)
		;
	stop = h->stop;
	pthread_mutex_unlock(&h->lock);
	return stop;
}

static bool held_whole(const struct domain *d, uint64_t range)
{
	for (uint64_t w = range * RANGE_FRAMES / 64; w < (range + 1) * RANGE_FRAMES / 64; w++)
		if (__atomic_load_n(&d->populated[w], __ATOMIC_RELAXED) != UINT64_MAX)
			return false;
	return true;
}

/* At least half of the range is there.  mincore(), since lseek(SEEK_HOLE) walks on to the end of the data, beyond the range: all of a guest's memory, for each. */
static bool touched(const struct domain *d, uint64_t range)
{
	unsigned char there[RANGE_FRAMES];
	unsigned n = 0;

	if (mincore(d->ram + range * HUGE_PAGE, HUGE_PAGE, there))
		return false;
	for (unsigned i = 0; i < RANGE_FRAMES; i++)
		n += there[i] & 1;
	return n >= RANGE_FRAMES / 2;
}

/* 0, or -errno: huge_collapse()'s, -EAGAIN while pages are owed. */
static int collapse(struct ram_huge *h, uint64_t range)
{
	int rc = -EAGAIN;

	pthread_mutex_lock(&h->d->collapse_lock);
	if (!atomic_load(&h->d->pages_owed))
		rc = huge_collapse(h->d->ram + range * HUGE_PAGE) ? -errno : 0;
	pthread_mutex_unlock(&h->d->collapse_lock);
	return rc;
}

unsigned ram_huge_round(struct ram_huge *h)
{
	unsigned moved = 0;

	for (uint64_t r = 0; r < h->ranges && !h->hopeless && !atomic_load(&h->d->dirty_logging); r++) {
		uint64_t begun;
		int rc;

		if (h->done[r] || !held_whole(h->d, r) || !touched(h->d, r))
			continue;
		begun = monotonic_ns();
		rc = collapse(h, r);
		if (rc) {
			/* somebody uses one of the small: another time; no large page free: so it is for the other ranges */
			h->hopeless = rc == -EINVAL && ++h->refused > REFUSALS;
			if (rc == -ENOMEM)
				break;
			continue;
		}
		h->done[r] = 1;
		h->refused = 0;
		moved++;
		if (rest(h, PAUSE_FACTOR * (monotonic_ns() - begun)))
			break;
	}
	return moved;
}

static uint64_t vcpus_cpu_ns(const struct domain *d)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct timespec ts;
		clockid_t clock;

		if (pthread_getcpuclockid(d->vcpu[i]->thread, &clock) || clock_gettime(clock, &ts))
			continue;
		sum += (uint64_t)ts.tv_sec * 1000000000UL + (uint64_t)ts.tv_nsec;
	}
	return sum;
}

static void idle_look(struct ram_huge *h)
{
	uint64_t now = monotonic_ns(), cpu = vcpus_cpu_ns(h->d);
	bool idle = (cpu - h->cpu_ns) * 100 < (now - h->looked_ns) * IDLE_PERCENT;

	h->looked_ns = now;
	h->cpu_ns = cpu;
	h->idle_looks = idle ? h->idle_looks + 1 : 0;
	if (h->idle_looks == IDLE_LOOKS)
		h->d->engine->trim(h->d);
}

static bool settled(const struct domain *d)
{
	uint64_t first = atomic_load(&d->first_run_ns);

	return first && monotonic_ns() - first >= SETTLE_MS * 1000000UL;
}

static void *main_of(void *arg)
{
	struct ram_huge *h = arg;
	uint64_t ms = BUSY_MS, next_round = monotonic_ns() + ms * 1000000UL, next_look = monotonic_ns() + LOOK_MS * 1000000UL;

	for (;;) {
		uint64_t now = monotonic_ns(), next = next_round < next_look ? next_round : next_look;

		if (next > now && rest(h, next - now))
			return NULL;
		now = monotonic_ns();
		if (now >= next_round) {
			ms = !settled(h->d) || ram_huge_round(h) ? BUSY_MS : ms < IDLE_MS / 2 ? 2 * ms : IDLE_MS;
			next_round = h->hopeless ? UINT64_MAX : monotonic_ns() + ms * 1000000UL;
		}
		if (now >= next_look) {
			idle_look(h);
			next_look = now + LOOK_MS * 1000000UL;
		}
	}
}

struct ram_huge *ram_huge_new(struct domain *d)
{
	struct ram_huge *h = calloc(1, sizeof(*h));
	pthread_condattr_t ca;

	if (!h)
		return NULL;
	h->d = d;
	h->ranges = d->max_pages / RANGE_FRAMES;
	h->done = calloc(h->ranges ? h->ranges : 1, 1);
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&ca);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_cond_init(&h->cond, &ca);
	pthread_condattr_destroy(&ca);
	if (h->done)
		return h;
	free(h);
	return NULL;
}

struct ram_huge *ram_huge_start(struct domain *d)
{
	struct ram_huge *h = ram_huge_new(d);

	if (h)
		h->started = !pthread_create(&h->thread, NULL, main_of, h);
	if (h && !h->started) {
		ram_huge_stop(h);
		h = NULL;
	}
	return h;
}

void ram_huge_stop(struct ram_huge *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->cond);
	pthread_mutex_unlock(&h->lock);
	if (h->started)
		pthread_join(h->thread, NULL);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->cond);
	free(h->done);
	free(h);
}
