/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * demo-guest.c - what runs inside the demo guest (static, so that a busybox userland suffices).
 *
 *	demo-guest DATAFILE PATTERN_MIB [JOURNAL]
 *
 * - UDP port 7000: answers each probe "SEQ" with one status line (below), so that a client sees to the millisecond when
 *   the guest does not answer.
 * - TCP port 7001: sends a line with a number that counts up, every 10 ms, on each connection.
 * - A writer appends to DATAFILE (a number, fsync'ed, then acknowledged in the status) every 20 ms.
 * - A checker fills PATTERN_MIB of memory with a pattern that depends on address and round, and verifies it for ever.
 * - A clock watcher checks that neither CLOCK_MONOTONIC nor RDTSC ever steps back, and that the two stay together.
 *
 * - With JOURNAL, a block device of its own: a record each 25 ms, one a sector, without the page cache: {"HJ", epoch, seq, nonce}.
 *   The epoch is one more than the last record's found at the start. Before a record is written, its sector has to be empty and
 *   the one before it to hold what this copy of the guest wrote there: a second copy that runs, or an older one, is found.
 *
 * Status line: SEQ boot_id durable recovered memory_rounds memory_errors clock_errors write_errors monotonic_ns realtime_ns
 * journal_epoch journal_seq journal_errors tsc
 */
#include <arpa/inet.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char boot_id[40];
static _Atomic unsigned long durable, recovered, memory_rounds, memory_errors, clock_errors, write_errors;
static size_t pattern_bytes;
static const char *data_file, *journal_file;
static _Atomic unsigned long journal_epoch, journal_seq, journal_errors;

static long long now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

static int listen_on(int type, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	int fd = socket(AF_INET, type, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || (type == SOCK_STREAM && listen(fd, 8) < 0)) {
		perror("demo-guest: bind");
		exit(1);
	}
	return fd;
}

static void *probes(void *arg)
{
	int fd = listen_on(SOCK_DGRAM, 7000);
	char in[64], out[320];
	struct sockaddr_in from;

	for (;;) {
		socklen_t n = sizeof(from);
		ssize_t r = recvfrom(fd, in, sizeof(in) - 1, 0, (struct sockaddr *)&from, &n);

		if (r <= 0)
			continue;
		in[r] = '\0';
		snprintf(out, sizeof(out), "%.20s %s %lu %lu %lu %lu %lu %lu %lld %lld %lu %lu %lu %llu", in, boot_id, durable, recovered,
			 memory_rounds, memory_errors, clock_errors, write_errors, now_ns(CLOCK_MONOTONIC), now_ns(CLOCK_REALTIME),
			 journal_epoch, journal_seq, journal_errors, __builtin_ia32_rdtsc());
		sendto(fd, out, strlen(out), 0, (struct sockaddr *)&from, n);
	}
	return arg;
}

static void *count_up(void *arg)
{
	int fd = (int)(long)arg;
	char line[32];

	for (unsigned long i = 0; ; i++) {
		int n = snprintf(line, sizeof(line), "%lu\n", i);

		if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
			break;
		sleep_ms(10);
	}
	close(fd);
	return NULL;
}

static void *counters(void *arg)
{
	int fd = listen_on(SOCK_STREAM, 7001);

	for (;;) {
		int c = accept(fd, NULL, NULL);
		pthread_t t;

		if (c >= 0 && pthread_create(&t, NULL, count_up, (void *)(long)c) == 0)
			pthread_detach(t);
	}
	return arg;
}

/* What an earlier boot left, read before the first probe is answered. */
static int data_open(void)
{
	int fd = open(data_file, O_RDWR | O_CREAT, 0644);
	char line[24] = "";

	if (fd >= 0 && pread(fd, line, sizeof(line) - 1, 0) > 0)
		recovered = strtoul(line, NULL, 10);
	return fd;
}

/* What is acknowledged in `durable` has been fsync'ed: a later boot must find at least that. */
static void *writer(void *arg)
{
	int fd = (int)(long)arg;
	char line[24] = "";
	unsigned long n = recovered;

	for (;; sleep_ms(20)) {
		int len = snprintf(line, sizeof(line), "%020lu\n", n + 1);

		if (fd < 0 || pwrite(fd, line, (size_t)len, 0) != len || fsync(fd) < 0) {
			write_errors++;
			sleep_ms(200);
			continue;
		}
		durable = ++n;
	}
	return arg;
}

#define SECTOR 512
struct record { char magic[8]; uint64_t epoch, seq, nonce; };
union sector { struct record r; char bytes[SECTOR]; };

static bool sector_read(int fd, union sector *s, unsigned long at)
{
	if (pread(fd, s, SECTOR, (off_t)(at * SECTOR)) == SECTOR)
		return true;
	write_errors++;
	return false;
}

/* The first sector without a record: they are written without a gap. */
static unsigned long journal_end(int fd, union sector *s, unsigned long sectors)
{
	unsigned long lo = 0, hi = sectors;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;

		if (sector_read(fd, s, mid) && memcmp(s->r.magic, "HJ", 3) == 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Whether this copy of the guest, and no other, wrote the last record. */
static bool journal_ours(int fd, union sector *s, unsigned long at, const struct record *last)
{
	if (!sector_read(fd, s, at) || s->bytes[0] || s->bytes[1])
		return false;
	return !last->seq || (sector_read(fd, s, at - 1) && memcmp(&s->r, last, sizeof(*last)) == 0);
}

static void *journal(void *arg)
{
	union sector *s = aligned_alloc(4096, 4096);
	unsigned long sectors, at;
	struct record last = { .magic = "HJ" };
	int fd = -1;

	for (int i = 0; i < 300 && fd < 0; i++, sleep_ms(100))        /* the second disk may come later than the first */
		fd = open(journal_file, O_RDWR | O_DIRECT | O_DSYNC);
	if (!s || fd < 0) {
		journal_errors++;
		return arg;
	}
	sectors = (unsigned long)lseek(fd, 0, SEEK_END) / SECTOR;
	at = journal_end(fd, s, sectors);
	if (at && sector_read(fd, s, at - 1))
		last.epoch = s->r.epoch;
	journal_epoch = ++last.epoch;
	for (; at < sectors; at++) {
		if (!journal_ours(fd, s, at, &last))
			journal_errors++;
		last.seq++;
		last.nonce = (uint64_t)now_ns(CLOCK_MONOTONIC) ^ __builtin_ia32_rdtsc();
		memset(s, 0, SECTOR);
		s->r = last;
		if (pwrite(fd, s, SECTOR, (off_t)(at * SECTOR)) != SECTOR)
			write_errors++;
		journal_seq = last.seq;
		sleep_ms(25);
	}
	return arg;
}

static unsigned long pattern(unsigned long i, unsigned long round)
{
	return (i * 0x9e3779b97f4a7c15UL) ^ (round * 0xbf58476d1ce4e5b9UL);
}

/* Every word is read against the round it was written in, then written for the next round. */
static void *memory_checker(void *arg)
{
	unsigned long words = pattern_bytes / sizeof(unsigned long), *m;

	m = mmap(NULL, pattern_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return arg;
	for (unsigned long i = 0; i < words; i++)
		m[i] = pattern(i, 0);
	for (unsigned long round = 0; ; round++) {
		for (unsigned long i = 0; i < words; i++) {
			if (m[i] != pattern(i, round))
				memory_errors++;
			m[i] = pattern(i, round + 1);
			if (i % (512 * 64) == 0)
				sleep_ms(2);
		}
		memory_rounds = round + 1;
	}
	return arg;
}

struct instant { long long ns; unsigned long long tsc; };

static struct instant instant(void)
{
	struct instant best = { 0 };
	long long shortest = LLONG_MAX;

	for (int i = 0; i < 3; i++) {
		long long before = now_ns(CLOCK_MONOTONIC), after;
		unsigned long long tsc = __builtin_ia32_rdtsc();

		after = now_ns(CLOCK_MONOTONIC);
		if (after - before < shortest) {
			shortest = after - before;
			best = (struct instant) { before + shortest / 2, tsc };
		}
	}
	return best;
}

/*
 * An invariant TSC is what Linux makes its clocks of, by Xen's formula: taken by itself it has to run as they do, wherever the guest is.  Its rate is
 * what it did in the first two seconds; after an hour that may be a few thousandths of a per mille off.
 */
static void *clock_watcher(void *arg)
{
	struct instant first = instant(), last = first, t;
	double ns_per_tick = 0, apart;
	unsigned a, b, c, d = 0;
	bool invariant = __get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1U << 8;

	for (;; sleep_ms(1), last = t) {
		t = instant();
		if (t.ns < last.ns || (invariant && t.tsc < last.tsc))
			clock_errors++;
		if (invariant && !ns_per_tick && t.ns - first.ns > 2000000000)
			ns_per_tick = (double)(t.ns - first.ns) / (double)(t.tsc - first.tsc);
		apart = ns_per_tick ? (double)(t.tsc - first.tsc) * ns_per_tick - (double)(t.ns - first.ns) : 0;
		if (apart < -9e9) {                     /* it slept in a file, which the TSC leaves out (docs/specs/image.md) */
			first = t;
			apart = 0;
		}
		if (apart > 2e7 + 2e-5 * (double)(t.ns - first.ns) || -apart > 2e7 + 2e-5 * (double)(t.ns - first.ns))
			clock_errors++;
	}
	return arg;
}

int main(int argc, char **argv)
{
	void *(*const threads[])(void *) = { writer, counters, memory_checker, clock_watcher };
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
	pthread_t t;
	long data;

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: demo-guest DATAFILE PATTERN_MIB [JOURNAL]\n");
		return 2;
	}
	data_file = argv[1];
	pattern_bytes = strtoul(argv[2], NULL, 10) << 20;
	if (fd < 0 || read(fd, boot_id, 36) != 36) {
		perror("demo-guest: boot_id");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	data = data_open();
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++)
		if (pthread_create(&t, NULL, threads[i], (void *)data) != 0)
			return 1;
	journal_file = argv[3];
	if (journal_file && pthread_create(&t, NULL, journal, NULL) != 0)
		return 1;
	probes(NULL);
	return 0;
}
