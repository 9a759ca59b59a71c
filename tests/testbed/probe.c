/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * probe.c - the client outside the nodes: one UDP probe each millisecond and one TCP connection whose numbers must count up.
 *
 *	haven-probe ADDRESS LOGFILE      until SIGTERM
 *
 * LOGFILE, a line an event, times in ns of CLOCK_MONOTONIC:
 *	R SENT RECEIVED STATUS...     a reply, with the guest's status line (demo-guest.c)
 *	C TIME connected | lost | gap EXPECTED GOT     the TCP connection
 *	N TIME LAST                   the TCP counter, about once a second
 *	S FROM TO                     it was kept from sending: it stood still itself
 *	T TIME SEQ                    each 20 ms or so: what happened before TIME has been told; SEQ probes were sent
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define RING 65536
#define PERIOD_NS 1000000LL
#define LATE_NS 10000000LL        /* less than that is nobody's standing still */
#define FLUSH_NS 20000000LL

static volatile sig_atomic_t stop;
static long long sent_at[RING];

static void on_term(int sig) { stop = 1; }

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

struct tcp { int fd; bool connected; unsigned long next; char line[64]; size_t n; long long retry_at, said_at; };

static void tcp_lost(struct tcp *t, FILE *log)
{
	if (t->connected)
		fprintf(log, "C %lld lost\n", now_ns());
	close(t->fd);
	*t = (struct tcp){ .fd = -1, .retry_at = now_ns() + 100000000LL };
}

static void tcp_connect(struct tcp *t, const struct sockaddr_in *to)
{
	struct sockaddr_in a = *to;

	a.sin_port = htons(7001);
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	connect(t->fd, (struct sockaddr *)&a, sizeof(a));
	t->retry_at = now_ns() + 2000000000LL;
}

static void tcp_line(struct tcp *t, FILE *log)
{
	unsigned long got = strtoul(t->line, NULL, 10);
	long long now = now_ns();

	if (t->connected && got != t->next)
		fprintf(log, "C %lld gap %lu %lu\n", now, t->next, got);
	if (!t->connected)
		fprintf(log, "C %lld connected\n", now);
	t->connected = true;
	t->next = got + 1;
	if (now - t->said_at > 1000000000LL) {
		fprintf(log, "N %lld %lu\n", now, got);
		t->said_at = now;
	}
}

static void tcp_readable(struct tcp *t, FILE *log)
{
	char buf[512];
	ssize_t r = recv(t->fd, buf, sizeof(buf), 0);

	if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINPROGRESS && errno != ENOTCONN)) {
		tcp_lost(t, log);
		return;
	}
	for (ssize_t i = 0; i < r; i++) {
		if (buf[i] == '\n') {
			t->line[t->n] = '\0';
			t->n = 0;
			tcp_line(t, log);
		} else if (t->n + 1 < sizeof(t->line)) {
			t->line[t->n++] = buf[i];
		}
	}
}

static void udp_reply(int fd, FILE *log)
{
	char buf[512];
	ssize_t r;

	while ((r = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT)) > 0) {
		buf[r] = '\0';
		unsigned long seq = strtoul(buf, NULL, 10);

		fprintf(log, "R %lld %lld %s\n", sent_at[seq % RING], now_ns(), buf);
	}
}

static void udp_probe(int fd, unsigned long seq, FILE *log)
{
	char out[32];
	int n = snprintf(out, sizeof(out), "%lu", seq);
	long long now = now_ns(), due = sent_at[(seq - 1) % RING] + PERIOD_NS;

	if (seq > 1 && now - due > LATE_NS)
		fprintf(log, "S %lld %lld\n", due, now);
	sent_at[seq % RING] = now;
	if (send(fd, out, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;        /* no neighbour yet, or a port-unreachable came back: the missing reply says it all */
}

static int run(const struct sockaddr_in *to, FILE *log)
{
	struct itimerspec each_ms = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };
	int udp = socket(AF_INET, SOCK_DGRAM, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct tcp tcp = { .fd = -1 };
	unsigned long seq = 0;
	long long flushed = 0;

	if (connect(udp, (const struct sockaddr *)to, sizeof(*to)) < 0 || timerfd_settime(timer, 0, &each_ms, NULL) < 0) {
		perror("haven-probe");
		return 1;
	}
	while (!stop) {
		struct pollfd p[3] = { { timer, POLLIN, 0 }, { udp, POLLIN, 0 }, { tcp.fd, POLLIN, 0 } };
		unsigned long long ticks;

		if (poll(p, 3, 100) < 0)
			continue;
		if (p[0].revents && read(timer, &ticks, sizeof(ticks)) == sizeof(ticks))
			udp_probe(udp, ++seq, log);
		if (p[1].revents)
			udp_reply(udp, log);
		if (tcp.fd >= 0 && p[2].revents)
			tcp_readable(&tcp, log);
		if (tcp.fd < 0 && now_ns() > tcp.retry_at)
			tcp_connect(&tcp, to);
		else if (tcp.fd >= 0 && !tcp.connected && now_ns() > tcp.retry_at)
			tcp_lost(&tcp, log);
		if (now_ns() - flushed > FLUSH_NS) {
			flushed = now_ns();
			fprintf(log, "T %lld %lu\n", flushed, seq);
			fflush(log);
		}
	}
	fflush(log);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(7000) };
	FILE *log;

	if (argc != 3 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: haven-probe ADDRESS LOGFILE\n");
		return 2;
	}
	log = fopen(argv[2], "w");
	if (!log) {
		perror(argv[2]);
		return 1;
	}
	signal(SIGTERM, on_term);
	signal(SIGINT, on_term);
	return run(&to, log);
}
