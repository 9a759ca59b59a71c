/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fair_slots.h - who gives way when all places for callers that have shown nothing yet are taken.  Pure.
 *
 * Who calls most often has least to say: of the address with the most places the caller that has had its longest goes, so that nobody who
 * opens connections without end keeps another node's out.
 */
#ifndef MIGRATED_FAIR_SLOTS_H
#define MIGRATED_FAIR_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#define FAIR_CALLER_BYTES 16u

/* An IPv4 address, or the network part of an IPv6 one (a host has as many of the rest as it likes). */
struct fair_caller { uint8_t octet[FAIR_CALLER_BYTES]; };
struct fair_slot { bool used; struct fair_caller who; uint64_t since; };

struct fair_caller fair_caller_v4(const uint8_t address[4]);
struct fair_caller fair_caller_v6(const uint8_t address[16]);      /* a mapped IPv4 one is that one */

/*
 * All n slots are used, and `who` calls: the slot that is to be given up, or -1: the newcomer goes.  own: may somebody of the newcomer's own
 * address give way when that one has the most?
 */
int fair_victim(const struct fair_slot *slot, unsigned n, const struct fair_caller *who, bool own);
/* How many of them are that caller's. */
unsigned fair_count(const struct fair_slot *slot, unsigned n, const struct fair_caller *who);

/*
 * What an address may cost before one of its callers has shown who it is: so many at once, so many a second.  Zeroed at first; the one
 * that has not called for longest is forgotten for a new one.
 */
#define FAIR_BURST 16u
#define FAIR_PER_S 4u
#define FAIR_ADDRESSES 16u
struct fair_budget { struct { bool used; struct fair_caller who; double left; uint64_t last_ns; } of[FAIR_ADDRESSES]; };

bool fair_spend(struct fair_budget *b, const struct fair_caller *who, uint64_t now_ns);
void fair_refund(struct fair_budget *b, const struct fair_caller *who);

#endif
