/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk_local.c - opening and locking files and block devices.
 *
 * The lock is an open-file-description lock over the whole disk (exclusive for writers, shared for readers): it lives exactly as
 * long as the descriptor that hv-domain gets, whatever happens to this helper.  A block device is opened O_EXCL besides, which
 * the kernel refuses while the device is mounted, in a RAID or claimed by other means.
 */
#include "config.h"
#include "storage/disk_local.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does the process have the disk open? */
static bool process_holds(const char *pid, const struct stat *disk)
{
	char path[300];
	struct dirent *e;
	struct stat st;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%.16s/fd/%.16s", pid, e->d_name);
		if (!isdigit((unsigned char)e->d_name[0]) || stat(path, &st) < 0)
			continue;
		if (S_ISBLK(disk->st_mode))
			found = S_ISBLK(st.st_mode) && st.st_rdev == disk->st_rdev;
		else
			found = st.st_dev == disk->st_dev && st.st_ino == disk->st_ino;
	}
	if (d)
		closedir(d);
	return found;
}

/* "domain demo" of an hv-domain, whose arguments say so; else the command line.  args: n octets, NUL between arguments. */
static void process_describe(const char *pid, char *args, size_t n, char *buf, size_t size)
{
	for (size_t i = 0; i + 7 < n; i++)
		if (!memcmp(args + i, "--name", 7) && (i == 0 || !args[i - 1])) {
			snprintf(buf, size, "domain %.80s (pid %.16s)", args + i + 7, pid);
			return;
		}
	for (size_t i = 0; i < n; i++)
		if (!isprint((unsigned char)args[i]))
			args[i] = ' ';
	snprintf(buf, size, "pid %.16s (%.100s)", pid, args);
}

/* An open-file-description lock names no process, so who has the disk open is looked for. */
static void holder_describe(const struct stat *disk, char *buf, size_t size)
{
	char path[64], args[512];
	struct dirent *e;
	size_t n;
	FILE *f;
	DIR *d = opendir("/proc");

	snprintf(buf, size, "a process of another node or container");
	while (d && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]) || atoi(e->d_name) == getpid() || !process_holds(e->d_name, disk))
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/cmdline", e->d_name);
		f = fopen(path, "r");
		n = f ? fread(args, 1, sizeof(args) - 1, f) : 0;
		args[n] = 0;
		if (f)
			fclose(f);
		process_describe(e->d_name, args, n, buf, size);
		break;
	}
	if (d)
		closedir(d);
}

static int busy(const char *path, int fd, struct err *err)
{
	char holder[256];
	struct stat st;

	if (fd >= 0 ? fstat(fd, &st) : stat(path, &st))
		return err_set(err, -EBUSY, "%s: is in use", path);
	holder_describe(&st, holder, sizeof(holder));
	return err_set(err, -EBUSY, "%s: is in use by %s; shut that down, or give the domain another disk", path, holder);
}

static int disk_lock(const char *path, int fd, bool readonly, struct err *err)
{
	struct flock l = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return busy(path, fd, err);
	return err_set(err, -errno, "%s: cannot be locked: %s", path, strerror(errno));
}

static int file_size(const char *path, int fd, bool block, struct disk_local *r, struct err *err)
{
	struct stat st;
	uint64_t bytes;
	int ss = 512;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (block ? !S_ISBLK(st.st_mode) : !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, block ? "%s: is no block device; a file is given as file:%s"
						   : "%s: is no regular file; a block device is given as phy:%s", path, path);
	bytes = (uint64_t)st.st_size;
	if (block && (ioctl(fd, BLKGETSIZE64, &bytes) < 0 || ioctl(fd, BLKSSZGET, &ss) < 0))
		return err_set(err, -errno, "%s: its size is not known: %s", path, strerror(errno));
	if (bytes < 512)
		return err_set(err, -EINVAL, "%s: is empty; a disk has at least one sector", path);
	r->sectors = bytes / 512;
	r->sector_size = ss >= 4096 ? 4096 : 512;
	return 0;
}

/* Without opening it for writing, which some devices take as a claim. */
static int writable(const char *path, int fd, bool block, struct err *err)
{
	int ro = 0;

	if (access(path, W_OK) < 0)
		return err_set(err, -errno, "%s: cannot be written: %s", path, strerror(errno));
	if (block && ioctl(fd, BLKROGET, &ro) == 0 && ro)
		return err_set(err, -EROFS, "%s: is read-only on this node", path);
	return 0;
}

int disk_local_open(const char *path, bool block, bool readonly, enum disk_purpose purpose, struct disk_local *ret, struct err *err)
{
	bool use = purpose == DISK_USE;
	int flags = O_CLOEXEC | O_NOCTTY | (use && !readonly ? O_RDWR : O_RDONLY) | (use && block && !readonly ? O_EXCL : 0);
	struct disk_local r = { .fd = -1 };
	struct stat st;
	int rc;

	if (path[0] != '/')
		return err_set(err, -EINVAL, "%s: the path of a disk begins with /", path);
	/* before it is opened: there are devices that take that for a command, and names may be another node's word */
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, -EINVAL, "%s: is neither a file nor a block device", path);
	r.fd = open(path, flags | O_NONBLOCK);             /* a FIFO must not hang us */
	if (r.fd < 0)
		return errno == EBUSY ? busy(path, -1, err)
				      : err_set(err, -errno, "%s: %s; check the disk= line", path, strerror(errno));
	rc = file_size(path, r.fd, block, &r, err);
	if (rc == 0 && fcntl(r.fd, F_SETFL, fcntl(r.fd, F_GETFL) & ~O_NONBLOCK) < 0)
		rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (rc == 0 && purpose == DISK_CHECK && !readonly)
		rc = writable(path, r.fd, block, err);
	if (rc == 0 && use)
		rc = disk_lock(path, r.fd, readonly, err);
	if (rc == 0 && use && block)
		ioctl(r.fd, BLKFLSBUF, 0);                 /* pages cached when the domain was here last are stale since */
	if (rc == 0)
		*ret = r;
	else
		close(r.fd);
	return rc;
}
