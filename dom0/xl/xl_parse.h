/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl_parse.h - what xl's users write on the command line, to numbers.  Pure. */
#ifndef HAVEN_XL_PARSE_H
#define HAVEN_XL_PARSE_H

#include <stdbool.h>
#include <stddef.h>

/* "256" (MiB), "256m", "2g", "1t", "262144k", "268435456b" to KiB; false for what is none, or beyond 2^40 KiB. */
bool xl_parse_memory(const char *text, long long *ret_kib);
/* A whole decimal number between min and max. */
bool xl_parse_number(const char *text, long long min, long long max, long long *ret);
/* Words joined with commas, malloc'd: `xl block-attach D phy:/dev/x xvdb w` is one specification in pieces. */
char *xl_parse_join(int n, char *const *words);

#endif
