/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_remote.c - requests to hv-disk.  A lost hv-disk loses no request: they wait for the next channel and are sent again.
 */
#include "hypervisor/devices/blk_remote.h"

#include "lib/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct blk_remote {
	struct io_loop *l;
	int fd;
	struct io_fd *h;
	uint8_t *bounce;
	size_t bounce_size;
	uint64_t next_id;
	struct remote_req *head, **tail;     /* all without an answer, oldest first */
	bool answered;                       /* this channel's hv-disk has served; of one that never did, hypervisord tells */
	bool blocked;                        /* the channel is full: EPOLLOUT will say when not */
};

static void remote_lost(struct blk_remote *b)
{
	io_fd_del(b->h);
	b->h = NULL;
	close(b->fd);
	b->fd = -1;
}

static void remote_pump(struct blk_remote *b)
{
	if (b->fd < 0)
		return;
	b->blocked = false;
	for (struct remote_req *q = b->head; q; q = q->next) {
		if (q->sent)
			continue;
		if (send(b->fd, &q->wire, sizeof(q->wire), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			b->blocked = true;
			break;
		}
		q->sent = true;
	}
	io_fd_set(b->h, EPOLLIN | (b->blocked ? EPOLLOUT : 0));
}

static void remote_reply(struct blk_remote *b, const struct hv_disk_reply *r)
{
	struct remote_req **p = &b->head, *q;

	while (*p && !((*p)->sent && (*p)->wire.id == r->id))
		p = &(*p)->next;
	q = *p;
	if (!q)
		return;
	b->answered = true;
	*p = q->next;
	if (b->tail == &q->next)
		b->tail = p;
	q->done(q, r->status > 0 ? -EIO : r->status);
}

static void remote_event(void *arg, uint32_t events)
{
	struct blk_remote *b = arg;
	struct hv_disk_reply r;
	ssize_t n;

	for (int i = 0; i < 64 && b->fd >= 0; i++) {
		n = recv(b->fd, &r, sizeof(r), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			if (b->answered)
				log_err("hv-disk is gone: the iSCSI disks wait for the next one");
			remote_lost(b);
			return;
		}
		if (n == sizeof(r))
			remote_reply(b, &r);
	}
	remote_pump(b);
}

struct blk_remote *blk_remote_create(struct io_loop *l)
{
	struct blk_remote *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->l = l;
	b->fd = -1;
	b->tail = &b->head;
	return b;
}

void blk_remote_destroy(struct blk_remote *b)
{
	if (!b)
		return;
	if (b->fd >= 0)
		remote_lost(b);
	if (b->bounce)
		munmap(b->bounce, b->bounce_size);
	free(b);
}

static int bounce_map(struct blk_remote *b, int fd)
{
	struct stat st;
	size_t size;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	size = (size_t)st.st_size;
	if (!size || size % HV_DISK_REGION || size > (size_t)HV_DISK_REGION * HV_DISK_MAX)
		return -EINVAL;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	b->bounce = p;
	b->bounce_size = size;
	return 0;
}

/* A new hv-disk may come with a new memfd: what was to be written is copied over before the requests are sent again. */
static int bounce_replace(struct blk_remote *b, int fd)
{
	uint8_t *old = b->bounce;
	size_t old_size = b->bounce_size;
	int rc = bounce_map(b, fd);

	if (rc < 0)
		return rc;
	for (struct remote_req *q = b->head; q && old; q = q->next) {
		size_t at = (size_t)q->wire.disk * HV_DISK_REGION + q->wire.slot_offset, n = (size_t)q->wire.sectors * 512;

		if (q->wire.op == HV_DISK_WRITE && at + n <= b->bounce_size && at + n <= old_size)
			memcpy(b->bounce + at, old + at, n);
	}
	if (old)
		munmap(old, old_size);
	return 0;
}

int blk_remote_set_channel(struct blk_remote *b, int fd, int bounce_fd)
{
	int rc = bounce_replace(b, bounce_fd);

	close(bounce_fd);
	if (rc == 0 && b->fd >= 0)
		remote_lost(b);
	if (rc == 0 && !(b->h = io_fd_add(b->l, fd, EPOLLIN, remote_event, b)))
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	b->fd = fd;
	b->answered = false;
	for (struct remote_req *q = b->head; q; q = q->next)
		q->sent = false;
	remote_pump(b);
	return 0;
}

void *blk_remote_slot(struct blk_remote *b, unsigned disk, unsigned slot)
{
	size_t at = (size_t)disk * HV_DISK_REGION + (size_t)slot * HV_DISK_SLOT_SIZE;

	return b->bounce && at + HV_DISK_SLOT_SIZE <= b->bounce_size ? b->bounce + at : NULL;
}

int blk_remote_remove(struct blk_remote *b, unsigned disk)
{
	size_t at = (size_t)disk * HV_DISK_REGION;

	if (b->fd >= 0)
		return -EBUSY;
	if (b->bounce && at + HV_DISK_REGION < b->bounce_size)
		memmove(b->bounce + at, b->bounce + at + HV_DISK_REGION, b->bounce_size - at - HV_DISK_REGION);
	for (struct remote_req *q = b->head; q; q = q->next)
		if (q->wire.disk > disk)
			q->wire.disk--;
	return 0;
}

void blk_remote_submit(struct blk_remote *b, struct remote_req *q)
{
	q->wire.id = ++b->next_id;
	q->sent = false;
	q->next = NULL;
	*b->tail = q;
	b->tail = &q->next;
	if (!b->blocked)
		remote_pump(b);
}
