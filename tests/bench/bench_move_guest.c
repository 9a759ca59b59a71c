/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_move_guest.c - the guest that bench-migrate moves, as first program of its own initramfs: the same for Haven and QEMU.
 *
 * Kernel command line: move_mib=N (memory it fills), move_fill=random|zero|half (half: every other MiB random), move_dirty=MBS (pages it
 * writes for ever, in MB/s; 0: idle; max: as fast as it can), move_work=1 (instead: it computes for ever, within 64 KiB), move_address=A.B.C.D
 * (of eth0).
 *
 * UDP port 7000 answers haven-probe (tests/testbed/probe.c) in the form of its status line; memory_rounds there counts pages written, or
 * thousands of rounds of work, memory_errors those that were not what the guest had left.  "bench ready" on the console once the memory is filled.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/guest_start.h"

#define PAGE 4096UL
#define MAX_RATE (~0UL)

static char cmdline[2048], boot_id[40];
static _Atomic unsigned long written, errors;
static unsigned char *memory;
static size_t memory_bytes;

static long long now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	buf[strcspn(buf, "\n")] = '\0';
}

/* The value of key=... on the command line, or "". */
static const char *option(const char *key)
{
	static char value[64];
	const char *p = cmdline;

	value[0] = '\0';
	while ((p = strstr(p, key))) {
		if ((p == cmdline || p[-1] == ' ') && p[strlen(key)] == '=') {
			p += strlen(key) + 1;
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(p, " "), p);
			break;
		}
		p++;
	}
	return value;
}

static uint64_t noise(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* The first word of a page is its own number, xor'ed with how often it was written: what a lost page would show. */
static void fill(const char *how)
{
	uint64_t seed = 0x9e3779b97f4a7c15UL;
	bool half = !strcmp(how, "half");

	for (size_t at = 0; at < memory_bytes; at += PAGE) {
		uint64_t *page = (uint64_t *)(void *)(memory + at);

		if (!strcmp(how, "zero") || (half && (at >> 20) % 2)) {
			memset(page, 0, PAGE);
			continue;
		}
		for (size_t i = 0; i < PAGE / 8; i++)
			page[i] = noise(&seed);
	}
}

/* Writes a word of each page in turn; the word of the last turn must still be there. */
static void dirty(unsigned long mbs)
{
	size_t pages = memory_bytes / PAGE, i = 0;
	uint64_t turn = 0;
	long long begun = now_ns(CLOCK_MONOTONIC);
	unsigned long done = 0;

	for (;;) {
		uint64_t *word = (uint64_t *)(void *)(memory + i * PAGE);

		if (turn && *word != turn)
			errors++;
		*word = turn + 1;
		done++;
		if (++i == pages) {
			i = 0;
			turn++;
		}
		if (done % 64)
			continue;
		written = done;
		if (mbs == MAX_RATE)
			continue;
		long long due = begun + (long long)(done * PAGE * 1000 / mbs), left = due - now_ns(CLOCK_MONOTONIC);
		struct timespec ts = { left / 1000000000, left % 1000000000 };
		if (left > 0)
			nanosleep(&ts, NULL);
		else if (left < -200000000)	/* behind for good (a pause): the rate counts from here */
			begun -= left;
	}
}

/* What a program does that is neither idle nor writes much memory: arithmetic, loads, branches, and stores to a few pages. */
static void work(void)
{
	static uint64_t table[8192];
	uint64_t x = 88172645463325252UL;

	for (unsigned long done = 0; ; done++) {
		for (int i = 0; i < 1000; i++) {
			uint64_t at = noise(&x) % 8192;

			table[at] = table[at] & 1 ? table[at] / 3 + x : table[at] + 1;
		}
		written = done;
	}
}

static void *answer_probes(void *arg)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7000) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char in[64], out[320];

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		perror("bind");
	for (;;) {
		socklen_t n = sizeof(a);
		ssize_t r = recvfrom(fd, in, sizeof(in) - 1, 0, (struct sockaddr *)&a, &n);

		if (r <= 0)
			continue;
		in[r] = '\0';
		snprintf(out, sizeof(out), "%.20s %s 0 0 %lu %lu 0 0 %lld %lld", in, boot_id, written, errors, now_ns(CLOCK_MONOTONIC),
			 now_ns(CLOCK_REALTIME));
		sendto(fd, out, strlen(out), 0, (struct sockaddr *)&a, n);
	}
	return arg;
}

int main(void)
{
	char address[64], how[64];
	unsigned long rate;
	pthread_t t;

	mkdir("/proc", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	read_file("/proc/cmdline", cmdline, sizeof(cmdline));
	read_file("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id));
	guest_modules_load();
	snprintf(address, sizeof(address), "%s", option("move_address"));
	if (*address)
		guest_address_set(address);
	memory_bytes = strtoul(option("move_mib"), NULL, 10) << 20;
	snprintf(how, sizeof(how), "%s", option("move_fill"));
	if (memory_bytes) {
		memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED) {
			perror("memory");
			pause();
		}
		fill(how);
	}
	pthread_create(&t, NULL, answer_probes, NULL);
	printf("bench ready %s\n", boot_id);
	fflush(stdout);
	if (*option("move_work") == '1')
		work();
	rate = strcmp(option("move_dirty"), "max") ? strtoul(option("move_dirty"), NULL, 10) : MAX_RATE;
	if (rate && memory_bytes)
		dirty(rate);
	for (;;)
		pause();
}
