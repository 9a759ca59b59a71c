/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_main.c - runs the benchmark's programs by name: as a process of the host, or as /init of a guest.
 *
 *	bench-guest --serve       the node's end of the network rows
 *	bench-guest NAME...       each once, on standard output "NAME SECONDS CPU-SECONDS RESULT"
 *	bench-guest               the same for names read from standard input, a line each; "quit" ends it
 *
 * As process 1 it makes its file systems first, loads the modules that /modules/order names, gives eth0 the address that the
 * kernel's command line has as BENCH_ADDRESS=, says "bench ready" and powers off at the end.  Native runs are held on one
 * processor, since a guest has one vCPU.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/guest_start.h"

static double cpu_seconds(void)
{
	double sum = 0;

	for (int who = 0; who < 2; who++) {
		struct rusage u;

		getrusage(who ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
		sum += (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	}
	return sum;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const struct bench *find(const struct bench *table, const char *name)
{
	for (; table->name; table++)
		if (!strcmp(table->name, name))
			return table;
	return NULL;
}

static void run(const char *name)
{
	const struct bench *b = find(bench_compute_table, name);
	double begun, cpu;
	uint64_t result;

	if (!b)
		b = find(bench_kernel_table, name);
	if (!b)
		b = find(bench_io_table, name);
	if (!b) {
		printf("%s unknown\n", name);
		return;
	}
	cpu = cpu_seconds();
	begun = seconds();
	result = b->fn();
	begun = seconds() - begun;
	printf("%s %.9f %.6f %llx\n", name, begun, cpu_seconds() - cpu, (unsigned long long)result);
	fflush(stdout);
}

static void as_init(void)
{
	struct termios t;
	int fd;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	fd = open("/dev/console", O_RDWR);
	if (fd >= 0)
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
	if (!tcgetattr(0, &t)) {
		t.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(0, TCSANOW, &t);
	}
	guest_modules_load();
	if (getenv("BENCH_ADDRESS"))
		guest_address_set(getenv("BENCH_ADDRESS"));
}

int main(int argc, char **argv)
{
	char line[64];
	cpu_set_t one;

	if (argc > 1 && !strcmp(argv[1], BENCH_NOTHING))
		return 0;
	if (argc > 1 && !strcmp(argv[1], "--serve"))
		bench_serve();
	if (getpid() == 1) {
		as_init();
	} else {
		CPU_ZERO(&one);
		CPU_SET(sched_getcpu(), &one);
		sched_setaffinity(0, sizeof(one), &one);
	}
	if (getpid() != 1 && argc > 1) {
		for (int i = 1; i < argc; i++)
			run(argv[i]);
		return 0;
	}
	printf("bench ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\r\n")] = 0;
		if (!strcmp(line, "quit"))
			break;
		if (line[0])
			run(line);
	}
	if (getpid() == 1)
		reboot(RB_POWER_OFF);
	return 0;
}
