/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a console: DIR/guest-NAME.log, raw octets as the guest wrote them. At CONSOLE_LOG_MAX it becomes NAME.log.1, so a
 * guest fills at most twice that.
 */
#ifndef HAVEN_XENCONSOLED_CONSOLE_LOG_H
#define HAVEN_XENCONSOLED_CONSOLE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#define CONSOLE_LOG_MAX (4u * 1024 * 1024)

struct console_log {
	char path[1024];
	int fd;			/* -1: not open */
	size_t size;
	bool failed;		/* said so already */
};

/*
 * "DIR/guest-NAME.log"; what is not a letter, digit or one of "._+:@-" in the name stands as %XX, and so does a leading dot.
 * 0 or -ENAMETOOLONG.
 */
int console_log_path(char *buf, size_t size, const char *dir, const char *name);
/* Opens for appending; makes the folder. 0 or -errno: the console works without its log. */
int console_log_open(struct console_log *l, const char *dir, const char *name);
void console_log_write(struct console_log *l, const char *data, size_t len);
void console_log_close(struct console_log *l);

#endif
