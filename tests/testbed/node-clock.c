/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * node-clock.c - a node's clocks put wrong: preloaded into all daemons of a node of the test bed (LD_PRELOAD; a
 * shared object).
 *
 *	NODE_CLOCK="OFFSET_NS PPM BASE_NS"
 *
 * CLOCK_REALTIME reads OFFSET_NS ahead.  It and CLOCK_MONOTONIC_RAW run PPM parts in a million fast since BASE_NS of
 * the latter, which is one instant for the whole node: whoever measures the TSC by it (hypervisor/host_clock.c) finds
 * a TSC of another rate, as on another machine.  CLOCK_MONOTONIC stays: the kernel's own waits go by it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#define NS_PER_S 1000000000LL

static int (*real_gettime)(clockid_t id, struct timespec *ts);
static long long offset_ns, base_ns;
static double ppm;

__attribute__((constructor)) static void begin(void)
{
	const char *how = getenv("NODE_CLOCK");

	real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (!real_gettime || !how || sscanf(how, "%lld %lf %lld", &offset_ns, &ppm, &base_ns) != 3) {
		fputs("node-clock: NODE_CLOCK=\"OFFSET_NS PPM BASE_NS\" is needed\n", stderr);
		abort();
	}
}

static long long in_ns(const struct timespec *ts) { return ts->tv_sec * NS_PER_S + ts->tv_nsec; }

int clock_gettime(clockid_t id, struct timespec *ts)
{
	struct timespec raw;
	long long t;

	if (!real_gettime)                       /* before the constructor: whoever asks so early does not compare */
		begin();
	if (real_gettime(id, ts))
		return -1;
	if (id != CLOCK_REALTIME && id != CLOCK_MONOTONIC_RAW)
		return 0;
	real_gettime(CLOCK_MONOTONIC_RAW, &raw);
	t = in_ns(ts) + (long long)((double)(in_ns(&raw) - base_ns) * ppm / 1e6);
	t += id == CLOCK_REALTIME ? offset_ns : 0;
	ts->tv_sec = t / NS_PER_S;
	ts->tv_nsec = t % NS_PER_S;
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}
