/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * err.h - the one error convention: functions return 0 or -errno, and those whose failure a person will read also fill
 * a struct err with one line that names the thing and the remedy.
 *
 *	return err_set(err, -ENOENT, "%s: no such kernel; check kernel= in %s", kernel, cfg);
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#include <errno.h>

struct err { int code; char text[768]; };   /* code: 0 or -errno */

/* Fills err (NULL is allowed) and returns rc, so that it stands in a return statement. */
int err_set(struct err *err, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "text: " before the message already there. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Symbolic name of an errno ("ENOENT"), and back (0 when unknown).  rc may be negative. */
const char *err_name(int rc);
int err_from_name(const char *name);

#endif
