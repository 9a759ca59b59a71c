/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest-check - looks at the machine from inside a guest: its vCPUs and its memory.
 *
 *	guest-check PERCENT
 *
 * A thread bound to each processor computes for a while, all at once, whole numbers and doubles, and looks that it stays where it
 * is bound; then PERCENT of the memory that is available is written, each page with words of its own, and read again.  Prints
 *
 *	is: vcpus HAVE of THREADS, N wrong
 *	is: filled MIB MiB, N pages wrong
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_CPUS 64
#define ROUNDS 3000000u
#define PAGE_WORDS (4096 / sizeof(uint64_t))

struct result { uint64_t sum; double x; unsigned strayed; };

static uint64_t mix(uint64_t v)
{
	v ^= v >> 31;
	v *= 0x9e3779b97f4a7c15u;
	return v ^ v >> 29;
}

static void compute(struct result *r, int cpu)
{
	r->sum = 1;
	r->x = 1;
	for (unsigned i = 0; i < ROUNDS; i++) {
		r->sum = mix(r->sum + i);
		r->x = r->x * 0.999 + (double)(i & 7);
		if ((i & 0xffff) == 0 && cpu >= 0 && sched_getcpu() != cpu)
			r->strayed++;
	}
}

struct worker { pthread_t thread; int cpu; struct result r; };

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set))
		w->r.strayed++;
	compute(&w->r, w->cpu);
	return NULL;
}

static void check_vcpus(void)
{
	static struct worker w[MAX_CPUS];
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned started = 0, wrong = 0;
	struct result want = { 0 };

	for (long i = 0; i < n && i < MAX_CPUS; i++) {
		w[i].cpu = (int)i;
		if (pthread_create(&w[i].thread, NULL, worker_run, &w[i]))
			break;
		started++;
	}
	compute(&want, -1);
	for (unsigned i = 0; i < started; i++) {
		pthread_join(w[i].thread, NULL);
		wrong += w[i].r.sum != want.sum || fabs(w[i].r.x - want.x) > 0 || w[i].r.strayed;
	}
	printf("is: vcpus %ld of %u, %u wrong\n", n, started, wrong);
}

static uint64_t available_kib(void)
{
	char line[256];
	unsigned long long v = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "MemAvailable: %llu kB", &v) == 1)
			break;
	if (f)
		fclose(f);
	return v;
}

static void check_memory(unsigned percent)
{
	uint64_t pages = available_kib() * percent / 100 / 4, wrong = 0;
	uint64_t *m = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED) {
		perror("guest-check: mmap");
		return;
	}
	for (uint64_t p = 0; p < pages; p++)
		for (unsigned i = 0; i < PAGE_WORDS; i++)
			m[p * PAGE_WORDS + i] = mix(p) + i;
	for (uint64_t p = 0; p < pages; p++) {
		uint64_t bad = 0;

		for (unsigned i = 0; i < PAGE_WORDS; i++)
			bad |= m[p * PAGE_WORDS + i] ^ (mix(p) + i);
		wrong += bad != 0;
	}
	printf("is: filled %llu MiB, %llu pages wrong\n", (unsigned long long)(pages >> 8), (unsigned long long)wrong);
}

int main(int argc, char **argv)
{
	unsigned percent = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;

	check_vcpus();
	fflush(stdout);
	check_memory(percent > 95 ? 95 : percent);
	return 0;
}
