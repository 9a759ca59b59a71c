/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fd_write.h - all of it or an error: write(2) may take less than it was given, or nothing when a signal comes. */
#ifndef LIB_FD_WRITE_H
#define LIB_FD_WRITE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* 0 or -errno; how much was written is not known then. */
static inline int fd_write_all(int fd, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n) {
		ssize_t r = write(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

#endif
