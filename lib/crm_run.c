/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pacemaker's tools as child processes; see crm_run.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crm_run.h"
#include "lib/spawn.h"

#define ARGS_MAX 24
#define OUT_MAX (1u << 20)

/* Reads to the end or the deadline. 0, -ETIMEDOUT or -errno. */
static int crm_collect(int fd, char **out, int timeout_s)
{
	int64_t end = monotonic_ms() + (int64_t)timeout_s * 1000;
	size_t n = 0, size = 4096;
	char *buf = malloc(size);

	while (buf) {
		struct pollfd p = { fd, POLLIN, 0 };
		int64_t left = end - monotonic_ms();
		ssize_t r = left > 0 ? poll(&p, 1, (int)left) : 0;

		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0) {
			free(buf);
			return -ETIMEDOUT;
		}
		if (n + 1 == size && size < OUT_MAX) {
			char *more = realloc(buf, size *= 2);

			if (!more)
				break;
			buf = more;
		}
		if (n + 1 == size)
			n = size / 2;	/* too much: the end is what matters */
		r = read(fd, buf + n, size - 1 - n);
		if (r <= 0) {
			buf[n] = '\0';
			*out = buf;
			return 0;
		}
		n += (size_t)r;
	}
	free(buf);
	return -ENOMEM;
}

/* What stands between two marks; "" when nothing does. */
static void crm_between(const char *text, const char *begin, const char *end, char *ret, size_t size)
{
	const char *at = strstr(text, begin), *to = at ? strstr(at + strlen(begin), end) : NULL;

	*ret = '\0';
	if (to)
		snprintf(ret, size, "%.*s", (int)(to - at - (long)strlen(begin)), at + strlen(begin));
}

/* The last line before `to`, or "". */
static void crm_last_line(const char *text, const char *to, char *ret, size_t size)
{
	const char *line;

	while (to > text && (to[-1] == '\n' || to[-1] == ' '))
		to--;
	for (line = to; line > text && line[-1] != '\n'; line--)
		;
	snprintf(ret, size, "%.*s", (int)(to - line), line);
}

/* Asked for XML a tool ends with its verdict in it; what it complained of stands in there, or in front: both its outputs are one pipe. */
void crm_complaint(const char *out, char *ret, size_t size)
{
	const char *xml = strstr(out, "<pacemaker-result"), *status = xml ? strstr(xml, "<status code=") : NULL;
	char said[512] = "", verdict[256] = "";

	if (status) {
		crm_between(status, " message=\"", "\"", verdict, sizeof(verdict));
		crm_between(status, "<error>", "</error>", said, sizeof(said));
	}
	if (!*said)
		crm_last_line(out, xml ? xml : out + strlen(out), said, sizeof(said));
	if (*said && *verdict)
		snprintf(ret, size, "%s (%s)", said, verdict);
	else
		snprintf(ret, size, "%s", *said ? said : *verdict ? verdict : "failed");
}

static int crm_args(char **argv, char *path, size_t size, const char *tool, va_list ap)
{
	int n = 1;
	char *s;

	snprintf(path, size, "/usr/sbin/%s", tool);
	argv[0] = path;
	while ((s = va_arg(ap, char *)) && n < ARGS_MAX)
		argv[n++] = s;
	argv[n] = NULL;
	return n < ARGS_MAX ? 0 : -E2BIG;
}

int crm_run(char **ret_out, struct err *err, int timeout_s, const char *tool, ...)
{
	char *argv[ARGS_MAX + 1], path[256], why[800], *out = NULL;
	int pipes[2], fds[3], status = 0, rc;
	va_list ap;
	pid_t pid;

	va_start(ap, tool);
	rc = crm_args(argv, path, sizeof(path), tool, ap);
	va_end(ap);
	if (rc || access(path, X_OK))
		return err_set(err, rc ? rc : -ENOENT, "%s is not installed; apt-get install pacemaker pacemaker-cli-utils", path);
	if (pipe2(pipes, O_CLOEXEC))
		return err_set(err, -errno, "pipe: %s", strerror(errno));
	fds[0] = -1;
	fds[1] = fds[2] = pipes[1];
	pid = spawn_program(argv, NULL, fds, 3, NULL, err);
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return pid;
	}
	rc = crm_collect(pipes[0], &out, timeout_s);
	close(pipes[0]);
	if (rc)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (rc)
		err_set(err, rc, "%s did not answer within %d s; is pacemaker running?", tool, timeout_s);
	else if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		crm_complaint(out, why, sizeof(why));
		rc = err_set(err, -EIO, "%s: %s", tool, why);
	}
	if (rc == 0 && ret_out)
		*ret_out = out;
	else
		free(out);
	return rc;
}
