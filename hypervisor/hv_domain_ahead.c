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

#define LIST_MAX 65536u                        /* as the stream's CODE */
#define LONGEST_NS 2000000000ull               /* a list that has it work for longer is a lie */

static struct {
	struct domain *d;
	pthread_t thread;
	bool running;
	atomic_bool stop;
	uint8_t list[LIST_MAX];
	size_t bytes;
	uint64_t begun_ns, ended_ns;
	unsigned blocks;
	int rc;
} ahead;

/* After each page of code: whoever else wants this processor has it first. */
static bool go_on(void *arg)
{
	sched_yield();
	return !atomic_load(&ahead.stop) && !hurry_is_raised(0) && monotonic_ns() - ahead.begun_ns < LONGEST_NS;
}

static void *make(void *arg)
{
	prctl(PR_SET_NAME, "ahead");
	ahead.rc = ahead.d->engine->code_make(ahead.d, ahead.list, ahead.bytes, go_on, NULL, &ahead.blocks);
	ahead.ended_ns = monotonic_ns();
	return NULL;
}

int hv_ahead_start(struct domain *d, int list)
{
	ssize_t n = pread(list, ahead.list, LIST_MAX, 0);
	int rc;

	if (n < 0)
		return -errno;
	if (ahead.running || !d->engine->code_make)
		return -EPERM;
	ahead.d = d;
	ahead.bytes = (size_t)n;
	ahead.begun_ns = ahead.ended_ns = monotonic_ns();
	ahead.blocks = 0;
	atomic_store(&ahead.stop, false);
	rc = -pthread_create(&ahead.thread, NULL, make, NULL);
	ahead.running = rc == 0;
	return rc;
}

void hv_ahead_stop(void)
{
	if (!ahead.running)
		return;
	atomic_store(&ahead.stop, true);
	pthread_join(ahead.thread, NULL);
	ahead.running = false;
	log_info("domain %u: %u translations made ahead in %.1f ms%s", ahead.d->domid, ahead.blocks,
		 (double)(ahead.ended_ns - ahead.begun_ns) / 1e6, ahead.rc ? "; then its list made no sense" : "");
}
