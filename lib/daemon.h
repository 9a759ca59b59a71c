/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * daemon.h - how each of Haven's daemons begins and ends: in the foreground, as root, around one qb loop.
 *
 * Exit codes: 0 after SIGTERM or SIGINT; 1 when it cannot start, with the reason on standard error and in the log; 2 for a
 * wrong option.
 */
#ifndef LIB_DAEMON_H
#define LIB_DAEMON_H

#include <sys/types.h>
#include <qb/qbloop.h>

#include "lib/err.h"

struct daemon {
	const char *name;	/* of the program and its log */
	const char *what;	/* --help's sentence: what it does, where to read more */
	mode_t umask;		/* 0: as it was started with */
	/* Opens what it serves, and gives up what it does not need; 0 or -errno with err. */
	int (*start)(qb_loop_t *loop, void *arg, struct err *err);
	/* SIGTERM or SIGINT came: it stops the loop, at once or when it has said good-bye.  NULL: the loop is stopped. */
	void (*term)(void *arg);
	/* After the loop, when start had succeeded; may be NULL. */
	void (*end)(void *arg);
};

/* The whole of a daemon's main(): its exit code. arg goes to the three. */
int daemon_main(const struct daemon *d, void *arg, int argc, char **argv);

#endif
