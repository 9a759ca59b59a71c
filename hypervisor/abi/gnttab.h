/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gnttab.h - the grant table's state, shared by gnttab.c and abi_image.c.  Under d->lock.
 */
#ifndef HV_GRANT_H
#define HV_GRANT_H

#include "hypervisor/abi/abi_private.h"
#include <xen/grant_table.h>

#define GRANT_MAX_REFS (SPECIAL_NR_GRANT * 512U)

/* How often a reference is in use, and the frame it named when it was first taken. */
struct grant_use {
	uint16_t readers, writers;
	uint32_t mfn;
};

struct grant_state {
	uint32_t nr_frames;                   /* of the table, as the guest set it up */
	bool unsettled;                       /* came with an image: marks of uses that ended with the source */
	struct grant_use use[GRANT_MAX_REFS];
};

void grant_put(struct domain *d, uint32_t ref, bool write);     /* d->lock held */
void grant_sweep(struct domain *d);                                 /* d->lock held */

#endif
