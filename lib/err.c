/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err.c - see err.h. */
#include "lib/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_set(struct err *err, int rc, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return rc;
	err->code = rc;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return rc;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	char old[sizeof(err->text)];
	va_list ap;
	size_t n;

	if (!err)
		return 0;
	memcpy(old, err->text, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	snprintf(err->text + n, sizeof(err->text) - n, ": %s", old);
	return err->code;
}

const char *err_name(int rc)
{
	const char *name = strerrorname_np(rc < 0 ? -rc : rc);

	return name ? name : "EIO";
}

int err_from_name(const char *name)
{
	for (int i = 1; i < 134; i++) {
		const char *s = strerrorname_np(i);

		if (s && strcmp(s, name) == 0)
			return i;
	}
	return 0;
}
