/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host_clock.c - the host's clocks as abi/ sees them (abi.h): monotonic, real, and the TSC with its rate.
 *
 * The rate is measured once a process against CLOCK_MONOTONIC_RAW, which on these machines is the TSC itself scaled by
 * what the kernel knows of it: 20 ms give it to about one part in a million, longer is better.  hypervisord measures from its
 * start on and tells each hv-domain, so that no domain waits for it.  CPUID says whether the TSC is invariant.
 */
#include <cpuid.h>
#include <pthread.h>
#include <time.h>
#include <x86intrin.h>

#include "hypervisor/abi/abi.h"
#include "hypervisor/host_clock.h"

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
static uint64_t khz, first_tsc, first_ns;
static bool stable;

void host_clock_begin(void) { sample(&first_tsc, &first_ns); }
void host_clock_told(uint64_t tsc_khz) { khz = tsc_khz; }

static void calibrate(void)
{
	uint64_t tsc = 0, ns = 0;

	stable = tsc_is_invariant();
	if (khz)
		return;
	if (!first_ns)
		host_clock_begin();
	for (;;) {
		struct timespec rest = { 0 };

		sample(&tsc, &ns);
		if (ns - first_ns >= CALIBRATE_NS)
			break;
		rest.tv_nsec = (long)(CALIBRATE_NS - (ns - first_ns));
		nanosleep(&rest, NULL);
	}
	khz = (uint64_t)((unsigned __int128)(tsc - first_tsc) * 1000000 / (ns - first_ns));
}

uint64_t abi_tsc_khz(bool *ret_stable)
{
	pthread_once(&once, calibrate);
	*ret_stable = stable;
	return khz;
}
