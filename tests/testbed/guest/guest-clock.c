/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest-clock - tells a guest's clocks to who asks over UDP.
 *
 *	guest-clock PORT
 *
 * Answers each packet with its first 8 octets and then, as 64-bit little-endian nanoseconds, CLOCK_REALTIME, CLOCK_MONOTONIC and
 * CLOCK_BOOTTIME.  Ends with status 3 when CLOCK_MONOTONIC is ever seen to step back.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static uint64_t now_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint64_t last = 0;

	here.sin_port = htons(argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here)) {
		perror("guest-clock");
		return 1;
	}
	for (;;) {
		struct sockaddr_in from;
		socklen_t len = sizeof from;
		uint64_t p[4];

		if (recvfrom(fd, p, sizeof p[0], 0, (struct sockaddr *)&from, &len) != sizeof p[0])
			continue;
		p[1] = now_ns(CLOCK_REALTIME);
		p[2] = now_ns(CLOCK_MONOTONIC);
		p[3] = now_ns(CLOCK_BOOTTIME);
		if (p[2] < last)
			return 3;
		last = p[2];
		sendto(fd, p, sizeof p, 0, (struct sockaddr *)&from, len);
	}
}
