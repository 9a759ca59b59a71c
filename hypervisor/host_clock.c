/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host_clock.c - the host's clocks as abi/ sees them (abi.h): monotonic, real, and the TSC with its rate.
 *
 * The rate is measured once a process against CLOCK_MONOTONIC_RAW, which on these machines is the TSC itself scaled by
 * what the kernel knows of it: 20 ms give it to about one part in a million.  CPUID says whether the TSC is invariant.
 */
#include <cpuid.h>
#include <pthread.h>
#include <time.h>
#include <x86intrin.h>

#include "hypervisor/abi/abi.h"

#define CALIBRATE_NS 20000000UL
#define CALIBRATE_TRIES 8

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000UL + (uint64_t)ts.tv_nsec;
}

uint64_t abi_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t abi_realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }
uint64_t abi_read_tsc(void) { return __rdtsc(); }

/* One instant on both clocks: the try in which the least passed between the two readings of the TSC. */
static void sample(uint64_t *ret_tsc, uint64_t *ret_ns)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < CALIBRATE_TRIES; i++) {
		uint64_t before = __rdtsc(), ns = clock_ns(CLOCK_MONOTONIC_RAW), after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			*ret_tsc = before + best / 2;
			*ret_ns = ns;
		}
	}
}

static bool tsc_is_invariant(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1 << 8);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t khz;
static bool stable;

static void calibrate(void)
{
	const struct timespec wait = { .tv_nsec = CALIBRATE_NS };
	uint64_t tsc0 = 0, ns0 = 0, tsc1 = 0, ns1 = 0;

	sample(&tsc0, &ns0);
	do {
		nanosleep(&wait, NULL);
		sample(&tsc1, &ns1);
	} while (ns1 - ns0 < CALIBRATE_NS);
	khz = (uint64_t)((unsigned __int128)(tsc1 - tsc0) * 1000000 / (ns1 - ns0));
	stable = tsc_is_invariant();
}

uint64_t abi_tsc_khz(bool *ret_stable)
{
	pthread_once(&once, calibrate);
	*ret_stable = stable;
	return khz;
}
