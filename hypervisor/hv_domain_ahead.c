/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_ahead.c - the thread that makes a guest's code ready while the guest still runs elsewhere (docs/adr/0012-code-made-ahead.md).
 *
 * The move waits for it nowhere: it works beside the rounds, and is stopped, within a page of code, before the guest's state is loaded or a page
 * is owed.  What it has not come to is translated when it runs, as ever.  It gives way by yielding and not by a lower priority: who stops it
 * waits for its page, in the pause, and must not wait for all others of the host with it.  Raised with the process' other threads (lib/hurry.h)
 * it ends by itself: that is how it hears of the pause, in which it would keep the rest of the move from a processor.
 */
#include "hypervisor/hv_domain_ahead.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "hypervisor/engine/engine.h"
#include "lib/clock.h"
#include "lib/hurry.h"
#include "lib/log.h"

#define LIST_MAX 65536u                        /* as the stream's CODE, */
#define LISTS 2u                               /* of which there are so many in a move */
#define LONGEST_NS 2000000000ull               /* a list that has it work for longer is a lie */

static struct {
	struct domain *d;
	pthread_t thread;
	bool started;                          /* there is a thread to join */
	atomic_bool stop;
	uint8_t list[LISTS][LIST_MAX];
	size_t bytes[LISTS];
	uint64_t begun_ns, worked_ns;
	unsigned blocks;
	int rc;
	pthread_mutex_t lock;                  /* of the following */
	unsigned lists, done;
	bool working;                          /* the thread will look for another list before it ends */
} ahead = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* After each page of code: whoever else wants this processor has it first. */
static bool go_on(void *arg)
{
	sched_yield();
	return !atomic_load(&ahead.stop) && !hurry_is_raised(0) && monotonic_ns() - ahead.begun_ns < LONGEST_NS;
}

static bool another(unsigned *ret_list)
{
	bool there;

	pthread_mutex_lock(&ahead.lock);
	there = ahead.working = ahead.done < ahead.lists;
	if (there)
		*ret_list = ahead.done++;
	pthread_mutex_unlock(&ahead.lock);
	return there;
}

static void *make(void *arg)
{
	unsigned i;

	prctl(PR_SET_NAME, "ahead");
	while (another(&i)) {
		unsigned blocks;
		int rc;

		ahead.begun_ns = monotonic_ns();
		rc = ahead.d->engine->code_make(ahead.d, ahead.list[i], ahead.bytes[i], go_on, NULL, &blocks);
		ahead.worked_ns += monotonic_ns() - ahead.begun_ns;
		ahead.blocks += blocks;
		ahead.rc = rc ? rc : ahead.rc;
	}
	return NULL;
}

static void join(void)
{
	if (ahead.started)
		pthread_join(ahead.thread, NULL);
	ahead.started = false;
}

int hv_ahead_start(struct domain *d, int list)
{
	bool working;
	ssize_t n;
	int rc;

	if (!d->engine->code_make || ahead.lists == LISTS)
		return -EPERM;
	n = pread(list, ahead.list[ahead.lists], LIST_MAX, 0);
	if (n < 0)
		return -errno;
	pthread_mutex_lock(&ahead.lock);
	ahead.bytes[ahead.lists++] = (size_t)n;
	working = ahead.working;
	ahead.working = true;
	pthread_mutex_unlock(&ahead.lock);
	if (working)
		return 0;
	join();
	ahead.d = d;
	rc = -pthread_create(&ahead.thread, NULL, make, NULL);
	ahead.started = rc == 0;
	if (rc) {
		pthread_mutex_lock(&ahead.lock);
		ahead.working = false;
		pthread_mutex_unlock(&ahead.lock);
	}
	return rc;
}

void hv_ahead_stop(void)
{
	if (!ahead.started)
		return;
	atomic_store(&ahead.stop, true);
	join();
	log_info("domain %u: %u translations made ahead in %.1f ms%s", ahead.d->domid, ahead.blocks, (double)ahead.worked_ns / 1e6,
		 ahead.rc ? "; a list of them made no sense" : "");
}
