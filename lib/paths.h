/* SPDX-License-Identifier: GPL-2.0-or-later */
/* paths.h - where Haven's files are; each folder can be moved by an environment variable, which the tests do. */
#ifndef LIB_PATHS_H
#define LIB_PATHS_H

#include <stddef.h>

const char *path_run(void);      /* HAVEN_RUN_DIR or /run/haven */
const char *path_state(void);    /* HAVEN_STATE_DIR or /var/lib/haven */
const char *path_conf(void);     /* HAVEN_CONF_DIR or /etc/haven */
const char *path_libexec(void);  /* HAVEN_LIBEXEC_DIR or the configured libexec folder: haven-* helpers, hv-domain, hv-disk */
const char *path_console_log(void); /* HAVEN_CONSOLE_LOG_DIR or /var/log/xen/console */

/* "DIR/REST" into buf; 0 or -ENAMETOOLONG. */
int path_join(char *buf, size_t size, const char *dir, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int path_mkdirs(const char *path, unsigned mode);   /* mkdir -p; 0 or -errno */

#endif
