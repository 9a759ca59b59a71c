/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_wire.c - the limit of the wire beside a move: the same bytes through OpenSSL over the same link.
 *
 *	bench-wire receive PORT CONNECTIONS MIB PKI     prints "SECONDS CPU_SECONDS"
 *	bench-wire send ADDRESS PORT CONNECTIONS MIB PKI
 *	bench-wire scan MIB                             prints the seconds of a read-only scan of zero memory
 *
 * TLS 1.3, both sides with certificates, as migrated's workers have it (PKI: a folder with node.crt, node.key and ca.crt).  Each
 * connection is a thread that moves its share out of a filled memfd into a fresh one of the same size; allocating both is timed, since
 * a move has to do the same, and so is connecting.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RECORD (256 * 1024)
#define MOST 16

struct share { int fd; SSL_CTX *ctx; unsigned char *from; size_t bytes; bool sends, failed; };

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static SSL_CTX *context(const char *pki)
{
	SSL_CTX *c = SSL_CTX_new(TLS_method());
	char path[512];

	SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
	snprintf(path, sizeof(path), "%s/ca.crt", pki);
	if (SSL_CTX_load_verify_file(c, path) != 1)
		fail(path);
	snprintf(path, sizeof(path), "%s/node.crt", pki);
	if (SSL_CTX_use_certificate_chain_file(c, path) != 1)
		fail(path);
	snprintf(path, sizeof(path), "%s/node.key", pki);
	if (SSL_CTX_use_PrivateKey_file(c, path, SSL_FILETYPE_PEM) != 1)
		fail(path);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return c;
}

static unsigned char *memory(size_t bytes, bool filled)
{
	int fd = memfd_create("bench-wire", MFD_CLOEXEC);
	unsigned char *p;
	unsigned long x = 88172645463325252UL;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		fail("memfd");
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		fail("mmap");
	close(fd);
	for (size_t i = 0; filled && i < bytes; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(p + i, &x, 8);
	}
	return p;
}

static void *move(void *arg)
{
	struct share *s = arg;
	SSL *ssl = SSL_new(s->ctx);
	int one = 1;

	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	SSL_set_fd(ssl, s->fd);
	if ((s->sends ? SSL_connect(ssl) : SSL_accept(ssl)) != 1)
		fail("TLS");
	for (size_t done = 0; done < s->bytes; ) {
		size_t n = s->bytes - done < RECORD ? s->bytes - done : RECORD;
		int r = s->sends ? SSL_write(ssl, s->from + done, (int)n) : SSL_read(ssl, s->from + done, (int)n);

		if (r <= 0)
			fail("moving");
		done += (size_t)r;
	}
	/* the receiver's last word: all is there */
	if (s->sends ? SSL_read(ssl, &one, 1) != 1 : SSL_write(ssl, "k", 1) != 1)
		fail("the last word");
	SSL_free(ssl);
	close(s->fd);
	return NULL;
}

static int connect_to(const char *address, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };

	inet_pton(AF_INET, address, &a.sin_addr);
	for (int i = 0; i < 200; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return fd;
		close(fd);
		usleep(20000);
	}
	fail(address);
	return -1;
}

static int listen_on(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, MOST) < 0)
		fail("listen");
	return fd;
}

static void scan(size_t bytes)
{
	unsigned char *p = memory(bytes, false);
	unsigned long sum = 0;
	double begun;

	memset(p, 0, bytes);
	begun = seconds();
	for (size_t i = 0; i < bytes; i += 8)
		sum |= *(volatile unsigned long *)(void *)(p + i);
	printf("%.6f\n", seconds() - begun + (sum ? 1 : 0));
}

static void run(struct share *shares, int n, unsigned char *p, size_t bytes)
{
	pthread_t t[MOST];

	for (int i = 0; i < n; i++) {
		size_t part = bytes / (size_t)n / 4096 * 4096;

		shares[i].from = p + (size_t)i * part;
		shares[i].bytes = i == n - 1 ? bytes - (size_t)i * part : part;
		if (pthread_create(&t[i], NULL, move, &shares[i]) != 0)
			fail("thread");
	}
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

int main(int argc, char **argv)
{
	struct share shares[MOST] = { { 0 } };
	bool sends = argc == 7 && !strcmp(argv[1], "send");
	char **a = argv + (sends ? 3 : 2);
	double begun, cpu;
	unsigned char *p;
	int port, n, listener;
	size_t bytes;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "scan"))
		return scan(strtoul(argv[2], NULL, 10) << 20), 0;
	if (!sends && (argc != 6 || strcmp(argv[1], "receive"))) {
		fprintf(stderr, "usage: bench-wire receive PORT CONNECTIONS MIB PKI | send ADDRESS PORT CONNECTIONS MIB PKI | scan MIB\n");
		return 2;
	}
	port = atoi(a[0]);
	n = atoi(a[1]);
	bytes = strtoul(a[2], NULL, 10) << 20;
	if (n < 1 || n > MOST)
		return 2;
	shares[0].ctx = context(a[3]);
	p = sends ? memory(bytes, true) : NULL;
	listener = sends ? -1 : listen_on(port);
	printf("ready\n");
	fflush(stdout);
	if (sends && getchar() == EOF)
		return 1;
	cpu = cpu_seconds();
	begun = seconds();
	for (int i = 0; i < n; i++) {
		shares[i].ctx = shares[0].ctx;
		shares[i].sends = sends;
		shares[i].fd = sends ? connect_to(argv[2], port) : accept(listener, NULL, NULL);
		if (i == 0 && !sends) {
			begun = seconds();	/* from the first connection on */
			p = memory(bytes, false);
		}
	}
	run(shares, n, p, bytes);
	printf("%.6f %.6f\n", seconds() - begun, cpu_seconds() - cpu);
	return 0;
}
