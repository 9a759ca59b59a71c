/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ledger.c - see ledger.h.  A ring: entries begin at `first`. */
#include "migrated/ledger.h"

#include <errno.h>
#include <string.h>

static struct ledger_entry *at(struct ledger *l, unsigned i)
{
	return &l->entry[(l->first + i) % LEDGER_ENTRIES];
}

void ledger_reset(struct ledger *l)
{
	memset(l, 0, sizeof(*l));
}

bool ledger_full(const struct ledger *l)
{
	return l->n == LEDGER_ENTRIES;
}

void ledger_add(struct ledger *l, size_t from, size_t to, uint64_t pages)
{
	struct ledger_entry *last = l->open ? at(l, l->n - 1) : NULL;

	l->pages += pages;
	if (last && last->to == from && last->from < last->to && from < to) {
		last->to = to;
		return;
	}
	if (ledger_full(l))
		return;
	*at(l, l->n) = (struct ledger_entry){ from, to, l->serial + 1 };
	l->n++;
	l->open++;
}

bool ledger_check_due(const struct ledger *l)
{
	return l->open && (l->pages >= LEDGER_PAGES || l->open >= LEDGER_OPEN_MAX || ledger_full(l));
}

bool ledger_is_open(const struct ledger *l)
{
	return l->open > 0;
}

uint32_t ledger_check(struct ledger *l)
{
	l->open = 0;
	l->pages = 0;
	return ++l->serial;
}

int ledger_ack(struct ledger *l, uint32_t serial, void (*settled)(void *arg, const struct ledger_entry *e), void *arg)
{
	if (serial <= l->acked || serial > l->serial)
		return -EBADMSG;
	l->acked = serial;
	while (l->n > l->open && at(l, 0)->serial <= serial) {
		settled(arg, at(l, 0));
		l->first = (l->first + 1) % LEDGER_ENTRIES;
		l->n--;
	}
	return 0;
}

bool ledger_is_settled(const struct ledger *l)
{
	return l->n == 0;
}
