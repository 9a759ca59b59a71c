/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Grants: see grant.h. /run is emptied by a boot, and so are the grants. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/grant.h"
#include "lib/paths.h"

static const char *grant_dir(char *buf, size_t size)
{
	snprintf(buf, size, "%s/grant", path_run());
	return buf;
}

static int grant_path(char *path, size_t size, const char *uuid, uint64_t number)
{
	char dir[PATH_MAX / 2];
	int n;

	if (!*uuid || strlen(uuid) > 36 || strspn(uuid, "0123456789abcdefABCDEF-") != strlen(uuid))
		return -EINVAL;
	n = snprintf(path, size, "%s/%s.%llu", grant_dir(dir, sizeof(dir)), uuid, (unsigned long long)number);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int grant_make(const char *uuid, uint64_t number)
{
	char path[PATH_MAX], dir[PATH_MAX / 2];
	int rc = grant_path(path, sizeof(path), uuid, number), fd;

	if (rc)
		return rc;
	if (mkdir(grant_dir(dir, sizeof(dir)), 0700) && errno != EEXIST)
		return -errno;
	fd = open(path, O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int grant_unlink(const char *uuid, uint64_t number)
{
	char path[PATH_MAX];
	int rc = grant_path(path, sizeof(path), uuid, number);

	if (rc)
		return rc;
	return unlink(path) ? -errno : 0;
}

int grant_take(const char *uuid, uint64_t number)
{
	int rc = grant_unlink(uuid, number);

	return rc == -ENOENT ? -EPERM : rc;
}

int grant_revoke(const char *uuid, uint64_t number)
{
	return grant_unlink(uuid, number);
}

int grant_revoke_all(void)
{
	char name[PATH_MAX / 2];
	struct dirent *e;
	DIR *dir = opendir(grant_dir(name, sizeof(name)));
	int rc = 0;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		if (unlinkat(dirfd(dir), e->d_name, 0) && errno != ENOENT)
			rc = -errno;
	}
	closedir(dir);
	return rc;
}
