/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_io.c - disk and network of a guest, memory written in bulk, and two processors at once.
 *
 * The disk is the first of /dev/xvdb and /dev/vda, without the guest's page cache.  The network's other end is this very
 * program on the node (bench_serve, port BENCH_PORT of BENCH_PEER), which takes a letter: S sinks, R sends until the
 * connection ends, P echoes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define MIB (1UL << 20)
#define DISK_MIB 128UL
#define STREAM_MIB 128UL

static void must(long r) { if (r < 0) abort(); }

static void *memory(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

/* ---- disk ---- */

static int disk_open(void)
{
	int fd = open("/dev/xvdb", O_RDWR | O_DIRECT);

	if (fd < 0)
		fd = open("/dev/vda", O_RDWR | O_DIRECT);
	must(fd);
	return fd;
}

/* Reads and writes in turn, one at a time, all over the disk. */
static uint64_t disk_random(void)
{
	int fd = disk_open();
	uint64_t *buf = memory(4096), x = 12345;

	for (unsigned i = 0; i < 8000; i++) {
		x = x * 6364136223846793005UL + 1442695040888963407UL;
		off_t at = (off_t)((x >> 33) % (DISK_MIB * 256)) * 4096;

		buf[0] = i;
		must((i & 1 ? pwrite(fd, buf, 4096, at) : pread(fd, buf, 4096, at)) - 4096);
	}
	munmap(buf, 4096);
	close(fd);
	return 1;
}

static uint64_t disk_sequential(void)
{
	int fd = disk_open();
	uint64_t *buf = memory(MIB);

	for (int write = 1; write >= 0; write--)
		for (unsigned round = 0; round < 3; round++)
			for (off_t at = 0; at < (off_t)(DISK_MIB * MIB); at += (off_t)MIB)
				must((write ? pwrite(fd, buf, MIB, at) : pread(fd, buf, MIB, at)) - (long)MIB);
	munmap(buf, MIB);
	close(fd);
	return 1;
}

/* ---- network ---- */

static int peer_open(char what)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(BENCH_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	inet_pton(AF_INET, BENCH_PEER, &a.sin_addr);
	must(fd);
	must(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	must(write(fd, &what, 1) - 1);
	return fd;
}

/* Out, then in. */
static uint64_t net_stream(void)
{
	uint8_t *buf = memory(64 << 10);
	int fd = peer_open('S');
	uint64_t n;
	char c;

	for (n = 0; n < STREAM_MIB * MIB; n += 64 << 10)
		must(write(fd, buf, 64 << 10) - (64 << 10));
	shutdown(fd, SHUT_WR);
	must(read(fd, &c, 1) - 1);
	close(fd);
	fd = peer_open('R');
	for (n = 0; n < STREAM_MIB * MIB;) {
		ssize_t r = read(fd, buf, 64 << 10);

		must(r - 1);
		n += (uint64_t)r;
	}
	close(fd);
	munmap(buf, 64 << 10);
	return 1;
}

static uint64_t net_request(void)
{
	int fd = peer_open('P');
	char c = 1;

	for (unsigned i = 0; i < 10000; i++) {
		must(write(fd, &c, 1) - 1);
		must(read(fd, &c, 1) - 1);
	}
	close(fd);
	return (uint64_t)c;
}

static void serve_one(int fd)
{
	static uint8_t buf[64 << 10];
	int one = 1;
	char what;
	ssize_t r;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (read(fd, &what, 1) != 1)
		return;
	if (what == 'R') {
		while (send(fd, buf, sizeof(buf), MSG_NOSIGNAL) > 0)
			;
		return;
	}
	while ((r = read(fd, buf, sizeof(buf))) > 0)
		if (what == 'P' && send(fd, buf, (size_t)r, MSG_NOSIGNAL) != r)
			return;
	if (what == 'S')
		send(fd, "", 1, MSG_NOSIGNAL);
}

void bench_serve(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(BENCH_PORT), .sin_addr = { htonl(INADDR_ANY) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, c;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	must(bind(fd, (struct sockaddr *)&a, sizeof(a)));
	must(listen(fd, 8));
	for (;;) {
		c = accept(fd, NULL, NULL);
		must(c);
		serve_one(c);
		close(c);
	}
}

/* ---- memory ---- */

/* A word of each cache line of 256 MiB, three times over: what a dirty log makes dear is the first write of each page. */
static uint64_t write_256m(void)
{
	static volatile uint64_t *p;
	uint64_t n = 256 * MIB / 8;

	if (!p)
		p = memory(n * 8);
	for (uint64_t round = 1; round <= 3; round++)
		for (uint64_t i = 0; i < n; i += 8)
			p[i] = round;
	return p[n / 2];
}

/* ---- two processors ---- */

#define PACK_BYTES (4UL << 20)
#define PACK_HASH 8192U
#define PACK_PIECES 256U

/* Text-like bytes with repetitions of all lengths. */
static uint8_t *text(void)
{
	uint8_t *p = memory(PACK_BYTES);
	uint32_t x = 99;
	uint64_t i = 0;

	while (i < PACK_BYTES) {
		uint64_t len, from;

		x = x * 1664525 + 1013904223;
		len = 4 + (x >> 27);
		from = i > 70000 && (x & 3) ? i - 1 - (x >> 12) % 65000 : UINT64_MAX;
		for (; len-- && i < PACK_BYTES; i++) {
			x = x * 1664525 + 1013904223;
			p[i] = from != UINT64_MAX ? p[from++] : (uint8_t)('a' + (x >> 24) % 26);
		}
	}
	return p;
}

/* A matcher by hashed words of four bytes, as fast compressors have; the size its output would have. */
static uint64_t pack(const uint8_t *p, uint64_t n)
{
	static uint32_t head[PACK_HASH];
	uint64_t i = 4, out = 0;

	memset(head, 0, sizeof(head));
	while (i + 8 < n) {
		uint32_t word, h, len = 0, at;

		memcpy(&word, p + i, 4);
		h = word * 2654435761U >> 19;
		at = head[h];
		head[h] = (uint32_t)i;
		if (i - at < 65536)
			while (i + len < n && len < 255 && p[at + len] == p[i + len])
				len++;
		if (len < 4) {
			out++;
			i++;
		} else {
			out += 3;
			i += len;
		}
	}
	return out;
}

/*
 * The same work in so many processes, each of which takes the next piece, as parallel compressors do: a processor that another
 * guest of the host's slows down does less.  The text is made once, by the first call.
 */
static uint64_t pack_in(unsigned processes)
{
	static uint8_t *p;
	uint64_t *out = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), sum = 0, *next = &out[PACK_PIECES];
	pid_t pid[2];
	cpu_set_t all;

	if (!p)
		p = text();
	memset(&all, 0xff, sizeof(all));
	for (unsigned k = 0; k < processes; k++) {
		uint64_t i;

		pid[k] = fork();
		must(pid[k]);
		if (pid[k])
			continue;
		sched_setaffinity(0, sizeof(all), &all);
		while ((i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < PACK_PIECES)
			out[i] = pack(p + i % 16 * (PACK_BYTES / 16), PACK_BYTES / 16);
		_exit(0);
	}
	for (unsigned k = 0; k < processes; k++) {
		int status;

		must(waitpid(pid[k], &status, 0));
		if (status)
			abort();
	}
	for (unsigned i = 0; i < PACK_PIECES; i++)
		sum += out[i];
	munmap(out, 4096);
	return sum;
}

static uint64_t pack_1(void) { return pack_in(1); }
static uint64_t pack_2(void) { return pack_in(2); }

const struct bench bench_io_table[] = {
	{ "disk_4k_random", disk_random }, { "disk_1m_sequential", disk_sequential }, { "net_stream", net_stream },
	{ "net_request_response", net_request }, { "write_256m", write_256m }, { "pack_1", pack_1 }, { "pack_2", pack_2 },
	{ NULL, NULL },
};
