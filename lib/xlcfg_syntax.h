/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The syntax of xl.cfg(5), without meaning: text to a list of settings. Part of lib/xlcfg; see lib/xlcfg.h.
 *
 *	setting := NAME ('=' | '+=') value        ended by newline, ';' or the end
 *	value   := STRING | NUMBER | '[' [ value { ',' value } [ ',' ] ] ']'       newlines are free inside brackets
 */
#ifndef HAVEN_LIB_XLCFG_SYNTAX_H
#define HAVEN_LIB_XLCFG_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/xlcfg.h"

enum xlcfg_kind { XLCFG_STRING, XLCFG_NUMBER, XLCFG_LIST };

struct xlcfg_value {
	enum xlcfg_kind kind;
	unsigned line, column;		/* where it begins, from 1 */
	char *text;			/* STRING: the value; NUMBER: as written; LIST: NULL */
	struct xlcfg_value *items;	/* LIST */
	size_t n_items;
};

struct xlcfg_setting {
	char *name;
	unsigned line, column;
	struct xlcfg_value value;
};

struct xlcfg_file {
	const char *name;		/* borrowed, for messages */
	struct xlcfg_setting *settings;
	size_t n_settings;
	struct xlcfg_report *report;	/* borrowed */
};

/* Fills file->settings; file->name and file->report are set by the caller. xlcfg_file_done releases also after failure. */
int xlcfg_syntax_parse(struct xlcfg_file *file, const char *text, size_t len);
void xlcfg_file_done(struct xlcfg_file *file);

/* The report's error line (only the first one stays) and one more warning. Return value of _error: the rc given. */
int xlcfg_error(struct xlcfg_file *file, unsigned line, unsigned column, int rc, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void xlcfg_warn(struct xlcfg_file *file, unsigned line, unsigned column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
