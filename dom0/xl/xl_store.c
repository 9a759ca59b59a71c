/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl_store.c - reads the store over xenstored's public socket (xen/io/xs_wire.h). */
#include "dom0/xl/xl.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <xen/io/xs_wire.h>

static int store_fd = -1;

static int store_open(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const char *path = getenv("XENSTORED_PATH");

	if (store_fd >= 0)
		return store_fd;
	if (!path)
		path = "/run/xenstored/socket";
	if (strlen(path) >= sizeof(sa.sun_path))
		return -1;
	strcpy(sa.sun_path, path);
	store_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (store_fd >= 0 && connect(store_fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		close(store_fd);
		store_fd = -1;
	}
	return store_fd;
}

static bool transfer(int fd, void *p, size_t n, bool out)
{
	char *q = p;

	while (n) {
		ssize_t r = out ? send(fd, q, n, MSG_NOSIGNAL) : recv(fd, q, n, 0);

		if (r <= 0)
			return false;
		q += r;
		n -= (size_t)r;
	}
	return true;
}

/* Body of the reply, NUL-terminated and malloc'd, *ret_n its length; NULL on any error. */
static char *store_ask(uint32_t type, const char *path, size_t *ret_n)
{
	struct xsd_sockmsg h = { .type = type, .len = (uint32_t)strlen(path) + 1 };
	char copy[XENSTORE_ABS_PATH_MAX + 1], *body;
	int fd = store_open();

	if (fd < 0 || strlen(path) >= sizeof(copy))
		return NULL;
	strcpy(copy, path);
	if (!transfer(fd, &h, sizeof(h), true) || !transfer(fd, copy, strlen(copy) + 1, true) || !transfer(fd, &h, sizeof(h), false) ||
	    h.len > XENSTORE_PAYLOAD_MAX)
		return NULL;
	body = malloc(h.len + 1);
	if (!body || !transfer(fd, body, h.len, false)) {
		free(body);
		return NULL;
	}
	body[h.len] = '\0';
	*ret_n = h.len;
	if (h.type == type)
		return body;
	free(body);
	return NULL;
}

char *xl_store_read(const char *fmt, ...)
{
	char path[XENSTORE_ABS_PATH_MAX + 1];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return store_ask(XS_READ, path, &n);
}

char **xl_store_directory(const char *fmt, ...)
{
	char path[XENSTORE_ABS_PATH_MAX + 1], *body, **names;
	size_t n, count = 0, i = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	body = store_ask(XS_DIRECTORY, path, &n);
	if (!body)
		return NULL;
	for (size_t at = 0; at < n; at += strlen(body + at) + 1)
		count++;
	names = calloc(count + 1, sizeof(*names));
	for (size_t at = 0; names && at < n; at += strlen(body + at) + 1)
		names[i++] = strdup(body + at);
	free(body);
	return names;
}

void xl_store_free(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}
