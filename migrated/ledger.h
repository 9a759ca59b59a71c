/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ledger.h - what went over one connection and was not acknowledged yet: stretches of the round's bitmap, in the order sent.
 *
 * Pure, of fixed size.  A CHECK closes what was added since the last one; an ACK of its number settles that and all before it.
 *
 *	ledger_add(&l, from, to, pages);
 *	if (ledger_check_due(&l)) send CHECK(ledger_check(&l));
 *	on ACK(n): ledger_ack(&l, n, settled, arg);      (settled: clears those words of the round's bitmap)
 */
#ifndef MIGRATED_LEDGER_H
#define MIGRATED_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_ENTRIES 512u
#define LEDGER_OPEN_MAX 128u         /* entries that one CHECK closes at most */
#define LEDGER_PAGES 1024u           /* pages between two CHECKs, about: 4 MiB */

struct ledger_entry { size_t from, to; uint32_t serial; };   /* words [from, to); from == to: the round's zeros */

struct ledger {
	struct ledger_entry entry[LEDGER_ENTRIES];
	unsigned first, n, open;     /* open: the last ones, which no CHECK has closed */
	uint32_t serial, acked;      /* last CHECK sent, last one acknowledged */
	uint64_t pages;              /* since the last CHECK */
};

void ledger_reset(struct ledger *l);
bool ledger_full(const struct ledger *l);
/* Not when it is full. */
void ledger_add(struct ledger *l, size_t from, size_t to, uint64_t pages);
bool ledger_check_due(const struct ledger *l);
bool ledger_is_open(const struct ledger *l);              /* there is something that no CHECK has closed */
uint32_t ledger_check(struct ledger *l);                  /* the number of the CHECK that is sent now */
/* Calls settled for each entry; -EBADMSG: no CHECK of that number is waiting. */
int ledger_ack(struct ledger *l, uint32_t serial, void (*settled)(void *arg, const struct ledger_entry *e), void *arg);
bool ledger_is_settled(const struct ledger *l);           /* everything is acknowledged */

#endif
