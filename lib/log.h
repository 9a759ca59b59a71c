/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.h - logging of daemons, over libqb.  Tools print instead.
 *
 * Levels by audience: err: an operator must act; warn: something is off and handled; info: what an operator would want in
 * the log of a normal day (a domain came, went, moved); debug: for us.  Guest-controlled text goes through log_escape().
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stddef.h>
#include <syslog.h>
#include <qb/qbdefs.h>
#include <qb/qblog.h>

/*
 * name: the daemon.  Logs to stderr when it is open on a terminal or HAVEN_LOG_STDERR is set, to the file HAVEN_LOG_DIR/NAME.log
 * when that variable is set, else to syslog.  HAVEN_DEBUG=1 lowers the level to debug.  Starts the black box, dumped at a crash, and clears up those
 * that killed processes of this daemon left in /dev/shm.
 */
void log_init(const char *name);
void log_fini(void);

#define log_err(fmt, ...) qb_log(LOG_ERR, fmt, ##__VA_ARGS__)
#define log_warn(fmt, ...) qb_log(LOG_WARNING, fmt, ##__VA_ARGS__)
#define log_info(fmt, ...) qb_log(LOG_INFO, fmt, ##__VA_ARGS__)
#define log_debug(fmt, ...) qb_log(LOG_DEBUG, fmt, ##__VA_ARGS__)

/* Copies at most n bytes of src into dst (NUL-terminated), control and non-ASCII bytes as \xNN. Returns dst. */
char *log_escape(char *dst, size_t dst_size, const void *src, size_t n);

#endif
