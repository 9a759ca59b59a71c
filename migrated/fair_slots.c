/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fair_slots.c - see fair_slots.h. */
#include "migrated/fair_slots.h"

#include <string.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

struct fair_caller fair_caller_v4(const uint8_t address[4])
{
	struct fair_caller c;

	memcpy(c.octet, mapped, sizeof(mapped));
	memcpy(c.octet + sizeof(mapped), address, 4);
	return c;
}

struct fair_caller fair_caller_v6(const uint8_t address[16])
{
	struct fair_caller c = { { 0 } };

	memcpy(c.octet, address, memcmp(address, mapped, sizeof(mapped)) == 0 ? 16 : 8);
	return c;
}

static bool same(const struct fair_slot *s, const struct fair_caller *who)
{
	return s->used && memcmp(s->who.octet, who->octet, FAIR_CALLER_BYTES) == 0;
}

unsigned fair_count(const struct fair_slot *slot, unsigned n, const struct fair_caller *who)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		count += same(&slot[i], who);
	return count;
}

int fair_victim(const struct fair_slot *slot, unsigned n, const struct fair_caller *who, bool own)
{
	unsigned most = fair_count(slot, n, who), count;
	const struct fair_caller *greedy = own ? who : NULL;
	int victim = -1;

	for (unsigned i = 0; i < n; i++)
		if (slot[i].used && (count = fair_count(slot, n, &slot[i].who)) > most) {
			most = count;
			greedy = &slot[i].who;
		}
	for (unsigned i = 0; greedy && i < n; i++)
		if (same(&slot[i], greedy) && (victim < 0 || slot[i].since < slot[victim].since))
			victim = (int)i;
	return victim;
}

static int budget_find(const struct fair_budget *b, const struct fair_caller *who)
{
	for (unsigned i = 0; i < FAIR_ADDRESSES; i++)
		if (b->of[i].used && memcmp(b->of[i].who.octet, who->octet, FAIR_CALLER_BYTES) == 0)
			return (int)i;
	return -1;
}

static unsigned budget_oldest(const struct fair_budget *b)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < FAIR_ADDRESSES; i++) {
		if (!b->of[i].used)
			return i;
		if (b->of[i].last_ns < b->of[oldest].last_ns)
			oldest = i;
	}
	return oldest;
}

bool fair_spend(struct fair_budget *b, const struct fair_caller *who, uint64_t now_ns)
{
	int at = budget_find(b, who);

	if (at < 0) {
		at = (int)budget_oldest(b);
		b->of[at].used = true;
		b->of[at].who = *who;
		b->of[at].left = FAIR_BURST;
	} else {
		b->of[at].left += (double)(now_ns - b->of[at].last_ns) * FAIR_PER_S / 1e9;
		if (b->of[at].left > FAIR_BURST)
			b->of[at].left = FAIR_BURST;
	}
	b->of[at].last_ns = now_ns;
	if (b->of[at].left < 1)
		return false;
	b->of[at].left -= 1;
	return true;
}

void fair_refund(struct fair_budget *b, const struct fair_caller *who)
{
	int at = budget_find(b, who);

	if (at >= 0 && b->of[at].left + 1 <= FAIR_BURST)
		b->of[at].left += 1;
}
