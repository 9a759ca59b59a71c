/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a console: DIR/guest-NAME.log, raw octets as the guest wrote them. At CONSOLE_LOG_MAX it becomes NAME.log.1, so a
 * guest fills at most twice that.
 */
#ifndef HAVEN_XENCONSOLED_CONSOLE_LOG_H
#define HAVEN_XENCONSOLED_CONSOLE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONSOLE_LOG_MAX (4u * 1024 * 1024)

struct console_log {
	char path[1024];
	const char *file;	/* the path's last part: what is opened, in the folder dir */
	int dir;		/* the daemon's */
	int fd;			/* -1: not open */
	size_t size;
	bool failed;		/* said so already */
};

/*
 * "DIR/guest-NAME.log"; what is not a letter, digit or one of "._+:@-" in the name stands as %XX, and so does a leading dot.
 * 0 or -ENAMETOOLONG.
 */
int console_log_path(char *buf, size_t size, const char *dir, const char *name);
/*
 * Makes the folder of the logs and gives it to uid, with the logs that root kept there; for root. A folder that is the uid's already
 * is left alone, since what lies in it is not to be trusted. A descriptor of it, the caller's, or -errno.
 */
int console_log_folder(const char *path, uid_t uid);
/* Opens for appending, in the folder dir (console_log_folder's, path_console_log()). 0 or -errno: the console works without its log. */
int console_log_open(struct console_log *l, int dir, const char *name);
void console_log_write(struct console_log *l, const char *data, size_t len);
void console_log_close(struct console_log *l);

#endif
