/* SPDX-License-Identifier: GPL-2.0-or-later */
/* atomic_file.h - files that are either old or complete: written beside, fsync'ed, renamed, the folder fsync'ed. */
#ifndef LIB_ATOMIC_FILE_H
#define LIB_ATOMIC_FILE_H

#include <stddef.h>

int atomic_file_write(const char *path, const void *data, size_t n, unsigned mode);
/*
 * A file that atomic_file_write put beside path, in the same folder, takes path's place: what has to be on disk at once then costs one
 * commit of the folder.  0 (it is on disk) or -errno.
 */
int atomic_file_commit(const char *prepared, const char *path);   /* 0 or -errno */
/* Reads a whole file of at most max bytes; *ret is malloc'd and NUL-terminated (not counted). 0 or -errno (-EFBIG). */
int atomic_file_read(const char *path, size_t max, char **ret, size_t *ret_n);
int atomic_file_remove(const char *path);             /* unlink + fsync of the folder; 0 also when absent */

#endif
