/* SPDX-License-Identifier: GPL-2.0-or-later */
/* haven.h - what the commands of haven(8) share. */
#ifndef HA_AGENT_HAVEN_H
#define HA_AGENT_HAVEN_H

#include <stdbool.h>
#include <jansson.h>
#include "lib/err.h"

struct haven_command {
	const char *name, *args, *summary, *help;
	int (*run)(int argc, char **argv);	/* argv[0] is the command; returns the exit status */
};

/* Exit statuses: 0 done, 1 failed (one line said why and what the state is), 2 usage, 130 interrupted. */
enum { HAVEN_OK = 0, HAVEN_FAILED = 1, HAVEN_USAGE = 2, HAVEN_INTERRUPTED = 130 };

int haven_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));	/* prints "haven: ..."; returns HAVEN_FAILED */
int haven_usage(const struct haven_command *c);

/* ha-agentd's status, or NULL after a message. */
json_t *haven_status(void);
const json_t *haven_find_domain(const json_t *status, const char *name);	/* owned ones first; NULL: none */
const json_t *haven_find_node(const json_t *status, const char *name);
const char *haven_str(const json_t *j, const char *key);	/* "" when absent */
bool haven_true(const json_t *j, const char *key);
/* Ctrl-C and SIGTERM only set this, so that a command can put things back. */
extern volatile int haven_interrupted;
void haven_catch_interrupts(void);

extern const struct haven_command haven_cmd_setup, haven_cmd_status, haven_cmd_check, haven_cmd_migrate, haven_cmd_drain,
	haven_cmd_undrain, haven_cmd_cert, haven_cmd_resolve, haven_cmd_cleanup, haven_cmd_unmanage, haven_cmd_manage;

/* --- haven_settle.c --- */

/* haven resolve between two plain hosts: both copies' states, and the operator's word on them. argv as of the command. */
int haven_settle_plain(int argc, char **argv);

/* --- haven_migrate.c --- */

/* Why nothing can be done with that node now: printed, HAVEN_FAILED; 0: it can. */
int haven_node_refusal(const json_t *status, const char *node);
/* What stands against that node taking the domain, malloc'd, or NULL: nothing. */
char *haven_preflight(const char *uuid, const char *node);

/* --- haven_follow.c: a move's progress, for migrate and drain --- */

/* Prints what is new of the domain's move; *last keeps what was printed (the caller frees it). */
void haven_print_progress(const json_t *dom, char **last);
/* Prints "name moved ...". */
void haven_print_result(const char *name, const char *from, const char *to, const json_t *result);
/*
 * Haven's location constraint (constraint.h): the resource goes to that node and nowhere else, however Pacemaker plans anew meanwhile. guard:
 * a connection to ha-agentd (*fd; -1: made), which has the constraints of its resources removed when this process ends in any way
 * before haven_guard_release(). uuid and options (or NULL): how that domain's moves are made until then. guard and unpin print why they failed; pin is 0 or -errno with err.
 */
int haven_guard(int *fd, const char *resource, const char *uuid, const json_t *options);
void haven_guard_release(int fd);
int haven_pin(const char *resource, const char *node, struct err *err);
struct haven_pin { const char *resource, *node; };
int haven_pin_all(const struct haven_pin *pins, size_t n, struct err *err);
/*
 * Pins again what is not pinned any more; true: it was. A change of the CIB that one part of a divided cluster made can be lost when
 * the parts meet: the CIB of whoever becomes the controller (DC) then replaces the other one.
 */
bool haven_pin_again(const char *resource, const char *node);
int haven_unpin(const char *resource);
int haven_unpin_all(const struct haven_pin *pins, size_t n);	/* by their resources */
void haven_cancel_move(const char *uuid);	/* asks for it, waits for nothing */
int haven_end_move(const char *uuid);
bool haven_pacemaker_idle(void);		/* the scheduler has nothing under way at this moment */
int haven_wait_pacemaker(void);	/* until nothing is under way; -ETIMEDOUT: something still is, and it printed so */
/* Ends the domain's move, removes Haven's constraint (put on `from`; NULL: anywhere), has Pacemaker forget the failure. An exit status; it printed why. */
int haven_put_back(const char *uuid, const char *resource, const char *from);
/* What Pacemaker has on record of a move's two ends, to be compared: the last stop where it leaves, migrate_from and start where it comes. */
struct haven_records { char *stop, *migrate_from, *start; };
void haven_records(const char *resource, const char *left, const char *to, struct haven_records *ret);
void haven_records_free(struct haven_records *r);
/*
 * As haven_put_back() after a move from `left` to `to` that went through at once: `before` is what was on record before it, `here` where
 * the constraint was put.
 */
int haven_settle(const char *resource, const char *left, const char *to, const struct haven_records *before, const char *here);
/* Makes Pacemaker forget a failed move and look again. 0 or -errno with err. */
int haven_clear_failure(const char *resource, struct err *err);

#endif
