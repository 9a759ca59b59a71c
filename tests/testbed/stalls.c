/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stalls.c - how long each processor of this machine stood still: a hypervisor took it away, or a quota of its cgroup was used up.
 *
 *	haven-stalls LOGFILE      until SIGTERM, or until its parent ends
 *
 * A thread bound to each processor sleeps for 5 ms again and again.  It goes before all that a node raises to real-time priority (lib/hurry.h) but for
 * Corosync, or, where it may not, before all that runs at ordinary priorities, in its session and with its session among the others (sched(7), autogroup):
 * so it wakes late only when its processor stood still.  What a hypervisor takes in shorter pieces it does not see; /proc/stat's steal does.
 *
 * LOGFILE, a line an event, times in ns of CLOCK_MONOTONIC:
 *	S CPU FROM TO                that processor stood still
 *	B CPU UNTIL LATE STEAL       each 100 ms: what happened before UNTIL has been told; in all it stood still for LATE, was stolen for STEAL
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS 5000000LL
#define LATE_NS 5000000LL        /* less than that is a timer's own, or the kernel's */
#define BEATS 20                 /* naps */
#define PRIORITY 50              /* far above hurry.h's two; Corosync's is 99 */

static int log_fd;

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void sleep_until(long long t)
{
	struct timespec ts = { t / 1000000000LL, t % 1000000000LL };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* ns that a hypervisor had the processor while something here wanted it, since boot: the eighth figure of its line in /proc/stat. */
static long long stolen_ns(int cpu)
{
	char line[256], name[16];
	long long ticks = 0;
	FILE *f = fopen("/proc/stat", "re");
	int n = snprintf(name, sizeof(name), "cpu%d ", cpu);

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, (size_t)n) == 0 && sscanf(line + n, "%*s %*s %*s %*s %*s %*s %*s %lld", &ticks) == 1)
			break;
	if (f)
		fclose(f);
	return ticks * (1000000000LL / sysconf(_SC_CLK_TCK));
}

/* Sessions are weighed against each other by this nice value, not by their threads'. */
static void session_first(void)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "-20", 3) != 3)
			fprintf(stderr, "haven-stalls: /proc/self/autogroup: %s\n", strerror(errno));
		close(fd);
	}
}

static void tell(const char *line, int n)
{
	if (write(log_fd, line, (size_t)n) != n)
		exit(1);
}

static void *watch(void *arg)
{
	int cpu = (int)(long)arg;
	long long late = 0, stolen = stolen_ns(cpu);
	char line[128];
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = PRIORITY }))
		setpriority(PRIO_PROCESS, 0, -20);  /* of this thread alone, on Linux */
	for (unsigned n = 0; ; n++) {
		long long due = now_ns() + NAP_NS, woke;

		sleep_until(due);
		woke = now_ns();
		if (woke - due > LATE_NS) {
			late += woke - due;
			tell(line, snprintf(line, sizeof(line), "S %d %lld %lld\n", cpu, due, woke));
		}
		if (n % BEATS == 0)
			tell(line, snprintf(line, sizeof(line), "B %d %lld %lld %lld\n", cpu, woke, late, stolen_ns(cpu) - stolen));
	}
	return NULL;
}

int main(int argc, char **argv)
{
	cpu_set_t all;

	if (argc != 2) {
		fprintf(stderr, "usage: haven-stalls LOGFILE\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setsid();
	session_first();
	log_fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (log_fd < 0 || sched_getaffinity(0, sizeof(all), &all) < 0) {
		perror(argv[1]);
		return 1;
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		pthread_t t;

		if (CPU_ISSET(cpu, &all) && pthread_create(&t, NULL, watch, (void *)(long)cpu) != 0)
			return 1;
	}
	for (;;)
		pause();
}
