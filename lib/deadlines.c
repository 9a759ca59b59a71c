/* SPDX-License-Identifier: GPL-2.0-or-later */
/* deadlines.c - see deadlines.h. */
#include "lib/deadlines.h"

#include <pthread.h>
#include <stdlib.h>

static long percent = 100;

static void percent_read(void)
{
	const char *s = getenv("HAVEN_DEADLINE_PERCENT");
	long v = s ? strtol(s, NULL, 10) : 100;

	percent = v >= 1 && v <= 1000 ? v : 100;
}

int deadline(int ms)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, percent_read);
	return (int)((long)ms * percent / 100);
}
