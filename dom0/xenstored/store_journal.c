/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See store_journal.h. No fsync: the page cache of a tmpfs is the file, and a killed process' writes are in it. */
#include "dom0/xenstored/store_journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "dom0/xenstored/store_state.h"
#include "lib/atomic_file.h"
#include "lib/fd_write.h"
#include "lib/log.h"

static const char magic[8] = "HVNSTOR1";

static uint32_t checksum(const void *data, size_t len)
{
	return (uint32_t)crc32(crc32(0, NULL, 0), data, (uInt)len);
}

/* One frame, one write: header and records together. */
static int frame_write(struct journal *j, int fd, const struct buf *records, size_t *ret_size)
{
	struct buf frame = BUF_INIT(JOURNAL_FILE_MAX);
	int rc;

	buf_u32(&frame, (uint32_t)records->len);
	buf_u32(&frame, checksum(records->data, records->len));
	buf_bytes(&frame, records->data, records->len);
	rc = buf_ok(&frame) ? fd_write_all(fd, frame.data, frame.len) : -ENOMEM;
	*ret_size += frame.len;
	buf_free(&frame);
	return rc;
}

int journal_compact(struct journal *j, struct store *s)
{
	struct buf all = BUF_INIT(JOURNAL_FILE_MAX);
	const char *name = strrchr(j->path, '/') + 1;
	char fresh[300];
	size_t size = sizeof(magic);
	int rc, fd = -1;

	snprintf(fresh, sizeof(fresh), "%s.new", name);
	rc = state_write_all(s, &all);
	if (rc < 0)
		goto out;
	/* The folder is not root's, who begins here: nothing that lies there is opened, nor followed. */
	(void)unlinkat(j->dir, fresh, 0);
	fd = openat(j->dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		rc = -errno;
		goto out;
	}
	rc = fd_write_all(fd, magic, sizeof(magic));
	if (rc == 0)
		rc = frame_write(j, fd, &all, &size);
	if (rc == 0 && renameat(j->dir, fresh, j->dir, name) < 0)
		rc = -errno;
	if (rc < 0)
		goto out;
	if (j->fd >= 0)
		close(j->fd);
	j->fd = fd;
	fd = -1;
	j->size = j->compact_size = size;
	s->journal.len = 0;
	s->journal.bad = false;
out:
	if (fd >= 0)
		close(fd);
	buf_free(&all);
	return rc;
}

int journal_commit(struct journal *j, struct store *s)
{
	int rc;

	if (!s->journal.len && !s->journal.bad)
		return 0;
	if (s->journal.bad || (j->size > JOURNAL_COMPACT_MIN && j->size > 4 * j->compact_size))
		return journal_compact(j, s);
	rc = frame_write(j, j->fd, &s->journal, &j->size);
	s->journal.len = 0;
	return rc;
}

/* Frames until the end or the first that is not whole; *ret_used: how far it was good. */
static int frames_replay(struct store *s, const uint8_t *data, size_t len, size_t *ret_used)
{
	struct reader r;
	const uint8_t *records;
	uint32_t n, sum;
	int rc = 0;

	reader_init(&r, data, len);
	while (rc == 0 && r.left) {
		n = reader_u32(&r);
		sum = reader_u32(&r);
		records = reader_view(&r, n);
		if (!records || checksum(records, n) != sum)
			break;
		rc = state_replay(s, records, n);
		*ret_used = len - r.left;
	}
	return rc;
}

static int file_replay(struct journal *j, struct store *s, struct err *err)
{
	char *data;
	size_t len, used = 0;
	int rc = atomic_file_read(j->path, JOURNAL_FILE_MAX, &data, &len);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return err_set(err, rc, "%s: cannot read the store's journal: %s", j->path, strerror(-rc));
	if (len < sizeof(magic) || memcmp(data, magic, sizeof(magic))) {
		free(data);
		return err_set(err, -EINVAL, "%s is no journal of this xenstored; remove it when no domain runs here", j->path);
	}
	s->replaying = true;
	rc = frames_replay(s, (const uint8_t *)data + sizeof(magic), len - sizeof(magic), &used);
	s->replaying = false;
	if (rc == 0 && used + sizeof(magic) < len)
		log_info("journal: the last %zu octets are of a request that was cut short; dropped", len - sizeof(magic) - used);
	free(data);
	return rc < 0 ? err_set(err, rc, "%s: damaged journal; remove it when no domain runs here", j->path) : 0;
}

int journal_open(struct journal *j, const char *path, struct store *s, struct err *err)
{
	int rc;

	char folder[sizeof(j->path)];

	j->fd = j->dir = -1;
	snprintf(j->path, sizeof(j->path), "%s", path);
	snprintf(folder, sizeof(folder), "%s", path);
	if (!strrchr(folder, '/'))
		return err_set(err, -EINVAL, "%s: the store's journal wants a path with its folder", path);
	strrchr(folder, '/')[1] = '\0';
	j->dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->dir < 0)
		return err_set(err, -errno, "%s: cannot open the folder of the store's journal: %s", folder, strerror(errno));
	rc = file_replay(j, s, err);
	if (rc < 0)
		return rc;
	rc = journal_compact(j, s);
	return rc < 0 ? err_set(err, rc, "%s: cannot write the store's journal: %s", path, strerror(-rc)) : 0;
}

int journal_give(const struct journal *j, uid_t uid)
{
	return fchown(j->dir, uid, uid) < 0 || fchown(j->fd, uid, uid) < 0 ? -errno : 0;
}

void journal_close(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd);
	if (j->dir >= 0)
		close(j->dir);
	j->fd = j->dir = -1;
}
