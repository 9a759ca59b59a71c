/* SPDX-License-Identifier: GPL-2.0-or-later */
/* msg_packet.c - one JSON object with descriptors over a SOCK_SEQPACKET socket; see msg.h. */
#include "lib/msg.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int msg_send(int sock, const json_t *obj, const int *fds, int nfds)
{
	union { struct cmsghdr h; char buf[CMSG_SPACE(sizeof(int) * MSG_MAX_FDS)]; } control = { 0 };
	char *text = json_dumps(obj, JSON_COMPACT);
	struct iovec iov;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;
	int rc = 0;

	if (!text)
		return -ENOMEM;
	iov = (struct iovec){ text, strlen(text) };
	if (iov.iov_len > MSG_MAX_BYTES || nfds > MSG_MAX_FDS) {
		free(text);
		return -EMSGSIZE;
	}
	if (nfds > 0) {
		m.msg_control = control.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nfds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)nfds);
	}
	do
		r = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		rc = -errno;
	free(text);
	return rc;
}

/* Descriptors of a received message into fds[], the surplus closed. */
static void take_fds(struct msghdr *m, int *fds, int *nfds, int max)
{
	int n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (fds && n < max)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	if (nfds)
		*nfds = n;
}

int msg_recv(int sock, json_t **ret_obj, int *fds, int *nfds)
{
	union { struct cmsghdr h; char buf[CMSG_SPACE(sizeof(int) * MSG_MAX_FDS)]; } control;
	char *text = malloc(MSG_MAX_BYTES);
	struct iovec iov = { text, MSG_MAX_BYTES };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
	json_error_t je;
	json_t *obj;
	ssize_t r;
	int rc;

	if (nfds)
		*nfds = 0;
	if (!text)
		return -ENOMEM;
	do
		r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		rc = -errno;
		free(text);
		return rc == -ECONNRESET ? 0 : rc;
	}
	if (r == 0) {
		take_fds(&m, NULL, NULL, 0);
		free(text);
		return 0;
	}
	obj = (m.msg_flags & MSG_TRUNC) ? NULL : json_loadb(text, (size_t)r, JSON_REJECT_DUPLICATES, &je);
	free(text);
	if (!json_is_object(obj)) {
		json_decref(obj);
		take_fds(&m, NULL, NULL, 0);
		return -EBADMSG;
	}
	take_fds(&m, fds, nfds, fds ? MSG_MAX_FDS : 0);
	*ret_obj = obj;
	return 1;
}
