/* SPDX-License-Identifier: GPL-2.0-or-later */
/* msg_client.c - blocking requests of tools and short-lived processes; see msg.h. */
#include "lib/clock.h"
#include "lib/msg.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/paths.h"

static void daemon_of(const char *name, char *ret, size_t size)
{
	const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
	size_t n = strcspn(base, ".");

	if (strncmp(base + n, ".sock", 5) == 0 && n > 6 && strncmp(base + n - 6, "-admin", 6) == 0)
		n -= 6;
	snprintf(ret, size, "%.*s", (int)n, base);
}

int msg_connect(const char *name, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char daemon_name[64];
	int fd, rc;

	daemon_of(name, daemon_name, sizeof(daemon_name));
	if (name[0] == '/')
		rc = strlen(name) < sizeof(sa.sun_path) ? (strcpy(sa.sun_path, name), 0) : -ENAMETOOLONG;
	else
		rc = path_join(sa.sun_path, sizeof(sa.sun_path), path_run(), "%s", name);
	if (rc < 0)
		return err_set(err, rc, "%s: socket path too long", name);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		rc = -errno;
		close(fd);
		if (rc == -EACCES || rc == -EPERM)
			return err_set(err, rc, "not allowed to talk to %s (%s): run this as root", daemon_name, sa.sun_path);
		if (*daemon_name >= '0' && *daemon_name <= '9')		/* a domain's own socket is named by its domid */
			return err_set(err, rc, "domain %s has no process that answers (%s: %s)", daemon_name, sa.sun_path, strerror(-rc));
		return err_set(err, rc, "%s is not running (%s: %s); start it with: systemctl start %s", daemon_name, sa.sun_path,
			       strerror(-rc), daemon_name);
	}
	return fd;
}

static int wait_readable(int sock, int64_t deadline_ms)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };

	for (;;) {
		int64_t left = deadline_ms < 0 ? -1 : deadline_ms - monotonic_ms();
		int r;

		if (deadline_ms >= 0 && left < 0)
			left = 0;
		r = poll(&p, 1, (int)left);
		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int reply_error(const json_t *reply, struct err *err)
{
	const char *text = json_string_value(json_object_get(reply, "error"));
	const char *code = json_string_value(json_object_get(reply, "code"));
	int e = code ? err_from_name(code) : 0;

	return err_set(err, -(e ? e : EIO), "%s", text ? text : "request failed without a reason");
}

int msg_call(int sock, const json_t *request, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds,
	     int timeout_ms, msg_progress_fn progress, void *arg, struct err *err)
{
	const char *op = json_string_value(json_object_get(request, "op"));
	int rc = msg_send(sock, request, fds, nfds);

	if (rc < 0)
		return err_set(err, rc, "%s: cannot send the request: %s", op, strerror(-rc));
	return msg_await(sock, op, ret_reply, ret_fds, ret_nfds, timeout_ms, progress, arg, err);
}

int msg_await(int sock, const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds, int timeout_ms, msg_progress_fn progress,
	      void *arg, struct err *err)
{
	int64_t deadline = timeout_ms < 0 ? -1 : monotonic_ms() + timeout_ms;

	for (;;) {
		json_t *obj = NULL, *p;
		int rc = wait_readable(sock, deadline);

		if (rc < 0)
			return err_set(err, rc, "%s: no answer within %d ms", op, timeout_ms);
		rc = msg_recv(sock, &obj, ret_fds, ret_nfds);
		if (rc == 0)
			return err_set(err, -ECONNRESET, "%s: the daemon closed the connection before it answered", op);
		if (rc < 0)
			return err_set(err, rc, "%s: unreadable answer: %s", op, strerror(-rc));
		p = json_object_get(obj, "progress");
		if (p || json_object_get(obj, "event")) {
			int stop = p && progress ? progress(p, arg) : 0;

			json_decref(obj);
			if (stop)
				return err_set(err, -ECANCELED, "%s: cancelled", op);
			continue;
		}
		rc = json_is_true(json_object_get(obj, "ok")) ? 0 : reply_error(obj, err);
		if (ret_reply)
			*ret_reply = obj;
		else
			json_decref(obj);
		return rc;
	}
}

int msg_call_once(const char *name, json_t *request, json_t **ret_reply, int timeout_ms, struct err *err)
{
	int fd = msg_connect(name, err), rc = fd;

	if (fd >= 0) {
		rc = msg_call(fd, request, NULL, 0, ret_reply, NULL, NULL, timeout_ms, NULL, NULL, err);
		close(fd);
	}
	json_decref(request);
	return rc;
}
