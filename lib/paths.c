/* SPDX-License-Identifier: GPL-2.0-or-later */
/* paths.c - see paths.h. */
#include "lib/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *env_or(const char *name, const char *dflt)
{
	const char *s = secure_getenv(name);

	return s && *s ? s : dflt;
}

const char *path_run(void) { return env_or("HAVEN_RUN_DIR", "/run/haven"); }
const char *path_state(void) { return env_or("HAVEN_STATE_DIR", "/var/lib/haven"); }
const char *path_conf(void) { return env_or("HAVEN_CONF_DIR", SYSCONFDIR "/haven"); }
const char *path_libexec(void) { return env_or("HAVEN_LIBEXEC_DIR", LIBEXECDIR); }
const char *path_console_log(void) { return env_or("HAVEN_CONSOLE_LOG_DIR", "/var/log/xen/console"); }

int path_join(char *buf, size_t size, const char *dir, const char *fmt, ...)
{
	int n = snprintf(buf, size, "%s/", dir), m;
	va_list ap;

	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	va_start(ap, fmt);
	m = vsnprintf(buf + n, size - (size_t)n, fmt, ap);
	va_end(ap);
	return m < 0 || (size_t)m >= size - (size_t)n ? -ENAMETOOLONG : 0;
}

int path_mkdirs(const char *path, unsigned mode)
{
	char buf[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(buf))
		return -ENAMETOOLONG;
	memcpy(buf, path, n + 1);
	for (char *p = buf + 1; ; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char c = *p;

		*p = '\0';
		if (mkdir(buf, mode) < 0 && errno != EEXIST)
			return -errno;
		*p = c;
		if (c == '\0')
			return 0;
	}
}
