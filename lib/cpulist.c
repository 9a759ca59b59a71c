/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpulist.c - see cpulist.h. */
#include "lib/cpulist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number at *at, which moves past it. */
static bool number_take(const char **at, unsigned long *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*ret = strtoul(*at, &end, 10);
	*at = end;
	return !errno;
}

/* N or N-M or all, perhaps behind ^, up to a comma or the end. */
static int item_take(const char **at, unsigned nr_cpus, cpu_set_t *set)
{
	bool away = **at == '^';
	unsigned long first = 0, last = nr_cpus - 1;

	*at += away;
	if (!strncmp(*at, "all", 3)) {
		*at += 3;
	} else {
		if (!number_take(at, &first))
			return -EINVAL;
		last = first;
		if (**at == '-' && (++*at, !number_take(at, &last)))
			return -EINVAL;
	}
	if ((**at && **at != ',') || last < first)
		return -EINVAL;
	if (last >= nr_cpus)
		return -ERANGE;
	for (unsigned long i = first; i <= last; i++) {
		if (away)
			CPU_CLR(i, set);
		else
			CPU_SET(i, set);
	}
	return 0;
}

int cpulist_parse(const char *text, unsigned nr_cpus, cpu_set_t *ret)
{
	const char *at = text;
	cpu_set_t set;
	int rc;

	CPU_ZERO(&set);
	if (!nr_cpus || nr_cpus > CPU_SETSIZE)
		return -EINVAL;
	do {
		rc = item_take(&at, nr_cpus, &set);
	} while (!rc && *at++ == ',');
	if (!rc && !CPU_COUNT(&set))
		rc = -ENOENT;
	if (!rc)
		*ret = set;
	return rc;
}

int cpulist_format(const cpu_set_t *set, unsigned nr_cpus, char *buf, size_t size)
{
	size_t n = 0;

	if ((unsigned)CPU_COUNT(set) >= nr_cpus)
		return (size_t)snprintf(buf, size, "all") < size ? 0 : -E2BIG;
	if (size)
		buf[0] = 0;
	for (unsigned i = 0; i < nr_cpus && i < CPU_SETSIZE; i++) {
		unsigned last = i;

		if (!CPU_ISSET(i, set))
			continue;
		while (last + 1 < nr_cpus && CPU_ISSET(last + 1, set))
			last++;
		n += (size_t)snprintf(buf + n, size - n, last > i ? "%s%u-%u" : "%s%u", n ? "," : "", i, last);
		if (n >= size)
			return -E2BIG;
		i = last;
	}
	return 0;
}
