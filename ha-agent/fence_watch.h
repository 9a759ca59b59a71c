/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fence_watch.h - which fencings succeeded, from pacemaker-fenced (libstonithd), told to the loop.
 *
 * A fencing is of a boot, but Pacemaker's history names no boots: so whoever sees a node come back says so
 * (fence_watch_mark), and what the history holds by then, running ones included, is of an earlier boot and is not told.
 * libstonithd blocks for an answer, so all of it lives in a thread of its own; nothing is shared but two pipes.
 */
#ifndef HA_AGENT_FENCE_WATCH_H
#define HA_AGENT_FENCE_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <qb/qbloop.h>

struct fence_watch;

/*
 * state_file: where what is known of the history is kept over a restart of this process (within one boot: it is
 * dropped when boot_id differs). fenced is called on the loop for every fencing of `node` that a mark does not exclude.
 */
int fence_watch_start(qb_loop_t *loop, const char *state_file, const char *boot_id, void (*fenced)(void *arg, const char *node),
		      void *arg, struct fence_watch **ret);
/* The node came back. rebooted: fencings under way are of the former boot too; else only finished ones are. */
void fence_watch_mark(struct fence_watch *w, const char *node, bool rebooted);
void fence_watch_stop(struct fence_watch *w);

#endif
