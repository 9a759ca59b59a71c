/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move_policy.h - how a move is to go about it: one table of options for the command line, xl.cfg, haven.conf, the DomU resource
 * and messages.  An options object is JSON {NAME: number or string} and holds only what was said; who says more wins:
 * the command, the resource's parameters, the domain's xl.cfg, haven.conf, the defaults.
 *
 *	json_t *options = json_object();
 *	rc = move_policy_set(options, "deadline_s", "60", &err);
 *	move_policy_default(&p);
 *	rc = move_policy_apply(&p, options, &err);
 */
#ifndef LIB_MOVE_POLICY_H
#define LIB_MOVE_POLICY_H

#include <stdint.h>
#include <jansson.h>

#include "lib/conf.h"
#include "lib/err.h"

enum move_converge { MOVE_CONVERGE_NO, MOVE_CONVERGE_THROTTLE, MOVE_CONVERGE_POSTCOPY };

struct move_policy {
	int64_t target_downtime_ms;      /* pause as soon as so long a pause is predicted */
	int64_t max_downtime_ms;         /* pause here too, once more rounds do not help */
	int64_t bandwidth_mbs;           /* 10^6 bytes a second, before the pause; 0: no cap */
	int64_t connections;             /* 0: move_connections_default() */
	int64_t deadline_s;              /* from the first byte to the pause */
	int64_t reconnect_s;             /* how long a broken connection is tried to be made again; 0: not at all */
	int64_t converge;                /* enum move_converge: what is done about a guest that writes too fast */
};

#define MOVE_POLICY_HELP \
	"--target-downtime MS  pause as soon as a pause of so many milliseconds is predicted (30)\n" \
	"--max-downtime MS     the longest pause that is accepted when more rounds do not help (300)\n" \
	"--bandwidth MBS       at most so many megabytes a second before the pause; 0: no cap\n" \
	"--connections N       TLS connections, 1 to 8; 0: by the domain's size\n" \
	"--deadline S          seconds after which a move that has not reached its pause is given up (300)\n" \
	"--reconnect S         how long a broken connection is tried to be made again; 0: the move fails at once (30)\n" \
	"--converge HOW        a guest that writes faster than the link carries is slowed down (throttle), goes on at the target while pages\n" \
	"                      are still on their way (postcopy), or is left alone (no)\n"

void move_policy_default(struct move_policy *p);
/* One option by its name in messages (max_downtime_ms), as text.  0, or -EINVAL naming it. */
int move_policy_set(json_t *options, const char *name, const char *text, struct err *err);
/* "NAME=VALUE,NAME=VALUE", as in an xl.cfg.  *ret_options (the caller's) on success. */
int move_policy_parse(const char *text, json_t **ret_options, struct err *err);
/*
 * Is argv[*i] one of the options of MOVE_POLICY_HELP, "--bandwidth 50" or "--bandwidth=50"?  1: it was, it is in options, *i stands
 * on its last word; 0: it is none of them; -EINVAL.
 */
int move_policy_argument(json_t *options, int argc, char **argv, int *i, struct err *err);
/* Puts what the object says over what p holds (NULL or JSON null: nothing).  0, or -EINVAL naming the option; others are ignored. */
int move_policy_apply(struct move_policy *p, const json_t *options, struct err *err);
/* The node's own: migration_NAME in haven.conf. */
int move_policy_conf(struct move_policy *p, const struct conf *conf, struct err *err);

/*
 * How many for a guest of so much memory where nobody says it.  Each keeps a thread busy at either end, and a processor by TLS alone: one a GiB,
 * as far as there are processors (the source's), and four at the most.
 */
unsigned move_connections_default(int64_t memory_kib, unsigned processors);
/*
 * A move's progress for who reads it, cut off at size: "precopy, 56 %, round 2, 96.7 MiB sent at 182 MB/s, dirtied at 12 MB/s, about 3 s left".
 * What is not known yet is left out.
 */
void move_line(const json_t *progress, char *buf, size_t size);

#endif
