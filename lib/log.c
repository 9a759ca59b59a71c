/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log.c - see log.h. */
#include "lib/log.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/paths.h"

static char blackbox_path[256];

/* The last messages of a daemon that crashed are worth more than its core: libqb keeps them in a ring. */
static void crash_dump(int sig)
{
	signal(sig, SIG_DFL);
	qb_log_blackbox_write_to_file(blackbox_path);
	raise(sig);
}

static void target_on(int32_t t, int level)
{
	qb_log_filter_ctl(t, QB_LOG_FILTER_ADD, QB_LOG_FILTER_FILE, "*", level);
	qb_log_format_set(t, "%T %N [%p] %b");
	qb_log_ctl(t, QB_LOG_CONF_ENABLED, QB_TRUE);
}

/*
 * The process whose black box a file of /dev/shm is, "qb-NAME-PID-blackbox-data" or "-header", if NAME is `base` or `base` and a number
 * (hv-domain-3); else 0.
 */
static pid_t blackbox_owner(const char *file, const char *base, size_t base_len)
{
	char *end = NULL;
	long pid = 0;

	if (strncmp(file, "qb-", 3) || strncmp(file + 3, base, base_len))
		return 0;
	for (file += 3 + base_len; file[0] == '-' && isdigit((unsigned char)file[1]); file = end) {
		errno = 0;
		pid = strtol(file + 1, &end, 10);
		if (errno)
			return 0;
	}
	return !strcmp(file, "-blackbox-data") || !strcmp(file, "-blackbox-header") ? (pid_t)pid : 0;
}

/*
 * A killed daemon leaves its black box behind, 70 KB each time, and where its number comes round again the next one's cannot be made.
 * Those of this daemon whose process is gone are removed; our own number's is not ours yet.  One that lives where we cannot see it
 * (another pid namespace) loses a name and nothing else: it has the file mapped.
 */
static void blackboxes_sweep(const char *name)
{
	DIR *dir = opendir("/dev/shm");
	size_t base_len = strlen(name);
	struct dirent *e;
	struct stat st;

	if (!dir)
		return;
	while (base_len && isdigit((unsigned char)name[base_len - 1]))
		base_len--;
	base_len = base_len && base_len < strlen(name) && name[base_len - 1] == '-' ? base_len - 1 : strlen(name);
	while ((e = readdir(dir))) {
		pid_t pid = blackbox_owner(e->d_name, name, base_len);

		if (pid <= 0 || (pid != getpid() && (kill(pid, 0) == 0 || errno != ESRCH)))
			continue;
		if (!fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) && st.st_uid == geteuid())
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	closedir(dir);
}

void log_init(const char *name)
{
	int level = getenv("HAVEN_DEBUG") ? LOG_DEBUG : LOG_INFO;
	const char *dir = getenv("HAVEN_LOG_DIR");
	char path[512];

	blackboxes_sweep(name);
	qb_log_init(name, LOG_DAEMON, LOG_INFO);
	qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, QB_FALSE);
	if (dir) {
		snprintf(path, sizeof(path), "%s/%s.log", dir, name);
		int32_t t = qb_log_file_open(path);
		if (t >= 0)
			target_on(t, level);
	}
	if (isatty(STDERR_FILENO) || getenv("HAVEN_LOG_STDERR")) {
		target_on(QB_LOG_STDERR, level);
	} else if (!dir) {
		qb_log_filter_ctl(QB_LOG_SYSLOG, QB_LOG_FILTER_ADD, QB_LOG_FILTER_FILE, "*", level);
		qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, QB_TRUE);
	}
	qb_log_filter_ctl(QB_LOG_BLACKBOX, QB_LOG_FILTER_ADD, QB_LOG_FILTER_FILE, "*", LOG_DEBUG);
	qb_log_ctl(QB_LOG_BLACKBOX, QB_LOG_CONF_SIZE, 64 * 1024);
	qb_log_ctl(QB_LOG_BLACKBOX, QB_LOG_CONF_ENABLED, QB_TRUE);
	snprintf(blackbox_path, sizeof(blackbox_path), "%s/%s-%d.blackbox", path_run(), name, (int)getpid());
	signal(SIGSEGV, crash_dump);
	signal(SIGBUS, crash_dump);
	signal(SIGABRT, crash_dump);
}

void log_fini(void)
{
	qb_log_fini();
}

char *log_escape(char *dst, size_t dst_size, const void *src, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = src;
	size_t o = 0;

	for (size_t i = 0; i < n && o + 5 <= dst_size; i++) {
		if (s[i] >= 0x20 && s[i] < 0x7f && s[i] != '\\') {
			dst[o++] = (char)s[i];
			continue;
		}
		dst[o++] = '\\';
		dst[o++] = 'x';
		dst[o++] = hex[s[i] >> 4];
		dst[o++] = hex[s[i] & 15];
	}
	if (dst_size)
		dst[o] = '\0';
	return dst;
}
