/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram_huge.h - puts a guest's RAM into the host's large pages, in the background. */
#ifndef HV_RAM_HUGE_H
#define HV_RAM_HUGE_H

#include "hypervisor/domain.h"

/* A thread of its own for d, or NULL: RAM stays in small pages then, which changes nothing but speed. */
struct ram_huge *ram_huge_start(struct domain *d);
/* Ends it and frees.  NULL allowed.  Before d's memory goes. */
void ram_huge_stop(struct ram_huge *h);

/* Without a thread, for tests: one look at all of d's RAM, which returns how many ranges moved to a large page. */
struct ram_huge *ram_huge_new(struct domain *d);
unsigned ram_huge_round(struct ram_huge *h);

#endif
