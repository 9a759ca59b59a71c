/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guest_start.c - see guest_start.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/bench/guest_start.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAIT_STEP_US 50000
#define WAIT_STEPS 600

void guest_modules_load(void)
{
	FILE *order = fopen("/modules/order", "r");
	char name[64], path[80];

	while (order && fgets(name, sizeof(name), order)) {
		int fd;

		name[strcspn(name, "\n")] = 0;
		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			perror(path);
		if (fd >= 0)
			close(fd);
	}
	if (order)
		fclose(order);
}

void guest_address_set(const char *address)
{
	struct ifreq r = { .ifr_name = "eth0" };
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (int i = 0; i < WAIT_STEPS && ioctl(fd, SIOCGIFFLAGS, &r); i++)
		usleep(WAIT_STEP_US);
	inet_pton(AF_INET, address, &a.sin_addr);
	memcpy(&r.ifr_addr, &a, sizeof(a));
	if (ioctl(fd, SIOCSIFADDR, &r))
		perror(address);
	inet_pton(AF_INET, "255.255.255.0", &a.sin_addr);
	memcpy(&r.ifr_netmask, &a, sizeof(a));
	if (ioctl(fd, SIOCSIFNETMASK, &r))
		perror("eth0: netmask");
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &r))
		perror("eth0: up");
	close(fd);
}
