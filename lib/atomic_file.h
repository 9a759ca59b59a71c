/* SPDX-License-Identifier: GPL-2.0-or-later */
/* atomic_file.h - files that are either old or complete: written beside, fsync'ed, renamed, the folder fsync'ed. */
#ifndef LIB_ATOMIC_FILE_H
#define LIB_ATOMIC_FILE_H

#include <stddef.h>

int atomic_file_write(const char *path, const void *data, size_t n, unsigned mode);   /* 0 or -errno */
/* Reads a whole file of at most max bytes; *ret is malloc'd and NUL-terminated (not counted). 0 or -errno (-EFBIG). */
int atomic_file_read(const char *path, size_t max, char **ret, size_t *ret_n);
int atomic_file_remove(const char *path);             /* unlink + fsync of the folder; 0 also when absent */

#endif
