/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fence_book.h - which entries of Pacemaker's fencing history are of a node's present boot: pure, no thread, no socket, no clock.
 *
 * The history names no boots, and it reaches a node late: a pacemaker-fenced that was just started has an empty one until its
 * peers hand it theirs, with every fencing of the past in it. An entry taken for one of the present boot makes a living node look
 * dead, so that another may start its domains. Hence an entry is told only when
 *	- it was not there before, and it is a finished, successful cut of power;
 *	- no mark excludes it: a mark says that the node came back, and what the history holds by then is of its former boot, as are
 *	  the fencings that run by then when it has booted again;
 *	- it is news: pacemaker-fenced has just said that it ended (live), or, when the history is read after a time in which nothing
 *	  could be heard, it ended since that time began and since the node last came back, by the clock.
 */
#ifndef HA_AGENT_FENCE_BOOK_H
#define HA_AGENT_FENCE_BOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>

#define FENCE_NODES 64
#define FENCE_NAME 128

struct fence_entry {
	const char *target, *key;	/* key: the same for the same entry at every reading */
	bool cuts_power, running, succeeded;
	int64_t completed_ns;		/* CLOCK_REALTIME; of a finished one */
};

struct fence_marked {
	char node[FENCE_NAME];
	uint32_t marks;			/* how often it came back */
	int skip;			/* fencings under way that are of a former boot */
	bool blind, unread;		/* the history could not be read when it came back; nor since */
	int64_t since_ns;		/* when it came back last */
};

struct fence_book {
	json_t *known;			/* {key: true} */
	int64_t since_ns;		/* nothing that ended since could have been missed */
	struct fence_marked marks[FENCE_NODES]; int n_marks;
};

/* since_ns: when listening began, or what fence_book_load() has. 0 or -ENOMEM. */
int fence_book_init(struct fence_book *b, int64_t since_ns);
void fence_book_dispose(struct fence_book *b);
/* What a former process of this boot knew; false: there is none. */
bool fence_book_load(struct fence_book *b, const json_t *saved, const char *boot_id);
json_t *fence_book_save(const struct fence_book *b, const char *boot_id);	/* caller's; NULL: no memory */

/* NULL: the table is full. */
struct fence_marked *fence_book_node(struct fence_book *b, const char *node);
/* The node came back; readable: its entries follow through fence_book_exclude(). */
void fence_book_mark(struct fence_book *b, const char *node, uint32_t marks, bool rebooted, bool readable, int64_t now_ns);
/* One entry of the history as it is when a node came back. True: the book changed. */
bool fence_book_exclude(struct fence_book *b, const struct fence_entry *e, bool rebooted);
/*
 * One entry of the history; live: pacemaker-fenced has just said that a fencing of this target ended. *ret_tell: it is a fencing
 * of the present boot. True: the book changed.
 */
bool fence_book_entry(struct fence_book *b, const struct fence_entry *e, bool live, bool *ret_tell);
/* The whole history was read at now_ns. */
void fence_book_read(struct fence_book *b, int64_t now_ns);

#endif
