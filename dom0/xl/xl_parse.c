/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See xl_parse.h. */
#include "dom0/xl/xl_parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KIB_MAX (1LL << 40)

bool xl_parse_number(const char *text, long long min, long long max, long long *ret)
{
	char *end;
	long long v;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || *end || v < min || v > max)
		return false;
	*ret = v;
	return true;
}

bool xl_parse_memory(const char *text, long long *ret_kib)
{
	static const struct { char letter; long long kib; } units[] = {
		{ 't', 1LL << 30 }, { 'g', 1LL << 20 }, { 'm', 1LL << 10 }, { 'k', 1 }, { 'b', 0 },
	};
	size_t n = strlen(text);
	char digits[24];
	long long v;

	if (!n || n >= sizeof(digits))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if ((text[n - 1] | 0x20) != units[i].letter)
			continue;
		memcpy(digits, text, n - 1);
		digits[n - 1] = '\0';
		if (!xl_parse_number(digits, 0, units[i].kib ? KIB_MAX / units[i].kib : KIB_MAX * 1024, &v))
			return false;
		*ret_kib = units[i].kib ? v * units[i].kib : v / 1024;
		return true;
	}
	if (!xl_parse_number(text, 0, KIB_MAX / 1024, &v))
		return false;
	*ret_kib = v * 1024;
	return true;
}

char *xl_parse_join(int n, char *const *words)
{
	size_t len = 1;
	char *text;

	for (int i = 0; i < n; i++)
		len += strlen(words[i]) + 1;
	text = calloc(1, len);
	for (int i = 0; text && i < n; i++) {
		if (i)
			strcat(text, ",");
		strcat(text, words[i]);
	}
	return text;
}
