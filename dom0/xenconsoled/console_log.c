/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See console_log.h. */
#include "dom0/xenconsoled/console_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"

int console_log_path(char *buf, size_t size, const char *dir, const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+:@-";
	char escaped[768];
	size_t n = 0, i;
	int r;

	for (i = 0; name[i]; i++) {
		if (n + 4 > sizeof(escaped))
			return -ENAMETOOLONG;
		if (strchr(plain, name[i]) && !(i == 0 && name[i] == '.'))
			escaped[n++] = name[i];
		else
			n += (size_t)snprintf(escaped + n, 4, "%%%02X", (unsigned char)name[i]);
	}
	escaped[n] = '\0';
	r = snprintf(buf, size, "%s/guest-%s.log", dir, escaped);
	return r < 0 || (size_t)r >= size ? -ENAMETOOLONG : 0;
}

static int file_open(struct console_log *l)
{
	struct stat st;

	l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	if (l->fd < 0)
		return -errno;
	l->size = fstat(l->fd, &st) == 0 ? (size_t)st.st_size : 0;
	return 0;
}

int console_log_open(struct console_log *l, const char *dir, const char *name)
{
	int rc;

	l->fd = -1;
	rc = console_log_path(l->path, sizeof(l->path), dir, name);
	if (rc == 0)
		rc = path_mkdirs(dir, 0755);
	return rc < 0 ? rc : file_open(l);
}

static void rotate(struct console_log *l)
{
	char old[sizeof(l->path) + 2];

	snprintf(old, sizeof(old), "%s.1", l->path);
	close(l->fd);
	l->fd = -1;
	if (rename(l->path, old) < 0 || file_open(l) < 0)
		log_warn("%s: cannot begin a new one: %s; the console is not logged", l->path, strerror(errno));
}

void console_log_write(struct console_log *l, const char *data, size_t len)
{
	ssize_t r;

	if (l->fd >= 0 && l->size + len > CONSOLE_LOG_MAX)
		rotate(l);
	if (l->fd < 0)
		return;
	r = write(l->fd, data, len);
	if (r > 0)
		l->size += (size_t)r;
	if (r < 0 && !l->failed)
		log_warn("%s: %s; the console goes on without its log until that is over", l->path, strerror(errno));
	l->failed = r < 0;
}

void console_log_close(struct console_log *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
