/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain's part of the store in a memfd: how it leaves for an image or another node, and how it comes. */
#include "dom0/xenstored/stored.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dom0/xenstored/store_state.h"

static int memfd_of(const struct buf *b)
{
	int fd = memfd_create("haven-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t at = 0;
	ssize_t r;

	if (fd < 0)
		return -errno;
	while (at < b->len) {
		r = write(fd, b->data + at, b->len - at);
		if (r < 0) {
			r = -errno;
			close(fd);
			return (int)r;
		}
		at += (size_t)r;
	}
	(void)lseek(fd, 0, SEEK_SET);
	/* not F_SEAL_WRITE: hv_domain_move.c says why */
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

int part_export(struct stored *d, uint32_t domid, size_t *ret_len)
{
	struct buf b = BUF_INIT(STATE_EXPORT_MAX);
	int rc = state_export(&d->store, domid, &b), fd = rc < 0 ? rc : memfd_of(&b);

	*ret_len = b.len;
	buf_free(&b);
	return fd;
}

/* The descriptor's whole content, by pread: it may be sparse, shrink, or be no file at all. */
static int fd_read(int fd, uint8_t **ret, size_t *ret_len)
{
	struct stat st;
	size_t at = 0, len;
	uint8_t *data;
	ssize_t r = 1;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > (off_t)STATE_EXPORT_MAX)
		return -EINVAL;
	len = (size_t)st.st_size;
	data = malloc(len);
	if (!data)
		return -ENOMEM;
	while (at < len && (r = pread(fd, data + at, len - at, (off_t)at)) > 0)
		at += (size_t)r;
	if (at < len) {
		free(data);
		return -EINVAL;
	}
	*ret = data;
	*ret_len = len;
	return 0;
}

int part_import(struct stored *d, uint32_t domid, int fd)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int rc = fd < 0 ? -EBADF : fd_read(fd, &data, &len);

	if (rc == 0)
		rc = state_import(&d->store, domid, data, len);
	if (fd >= 0)
		close(fd);
	free(data);
	return rc;
}
