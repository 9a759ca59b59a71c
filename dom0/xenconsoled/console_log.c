/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See console_log.h. */
#include "dom0/xenconsoled/console_log.h"

#include <dirent.h>
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

/* A log that root kept: an ordinary file with this one name. */
static int log_give(int dir, const char *file, uid_t uid)
{
	struct stat st;
	int rc = 0, fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return errno == ELOOP || errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && st.st_nlink == 1 && fchown(fd, uid, uid) < 0))
		rc = -errno;
	close(fd);
	return rc;
}

static int folder_give(int dir, uid_t uid)
{
	int rc = 0, fd = dup(dir);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!list) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (rc == 0 && (e = readdir(list)))
		if (strncmp(e->d_name, "guest-", 6) == 0)
			rc = log_give(dir, e->d_name, uid);
	closedir(list);
	return rc == 0 && fchown(dir, uid, uid) < 0 ? -errno : rc;
}

int console_log_folder(const char *path, uid_t uid)
{
	struct stat st;
	int rc = path_mkdirs(path, 0755), dir;

	if (rc < 0)
		return rc;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0)
		rc = -errno;
	else if (st.st_uid != uid)
		rc = folder_give(dir, uid);
	if (rc < 0 && dir >= 0)
		close(dir);
	return rc < 0 ? rc : dir;
}

static int file_open(struct console_log *l)
{
	struct stat st;

	l->fd = openat(l->dir, l->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	if (l->fd < 0)
		return -errno;
	l->size = fstat(l->fd, &st) == 0 ? (size_t)st.st_size : 0;
	return 0;
}

int console_log_open(struct console_log *l, int dir, const char *name)
{
	int rc = console_log_path(l->path, sizeof(l->path), path_console_log(), name);

	l->fd = -1;
	if (rc < 0)
		return rc;
	l->dir = dir;
	l->file = strrchr(l->path, '/') + 1;
	return file_open(l);
}

static void rotate(struct console_log *l)
{
	char old[sizeof(l->path) + 2];

	snprintf(old, sizeof(old), "%s.1", l->file);
	close(l->fd);
	l->fd = -1;
	if (renameat(l->dir, l->file, l->dir, old) < 0 || file_open(l) < 0)
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
