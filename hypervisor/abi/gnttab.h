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

/* A mapping the guest made of its own grant (gnttab_map.c); its place in the array is the handle. */
enum { GRANT_MAP_FREE, GRANT_MAP_USED, GRANT_MAP_BUSY };        /* busy: one vCPU takes it down */
#define GRANT_MAX_MAPS 1024U

struct grant_map {
	uint32_t ref, mfn;
	uint16_t flags;                       /* GNTMAP_*, less the guest's own bits */
	uint8_t state;
};

struct grant_state {
	uint32_t nr_frames;                   /* of the table, as the guest set it up */
	struct grant_map map[GRANT_MAX_MAPS];
	bool unsettled;                       /* came with an image: marks of uses that ended with the source */
	struct grant_use use[GRANT_MAX_REFS];
};

/* Take a use of ref for domid; GNTST_okay and the frame.  d->lock held. */
int grant_take(struct domain *d, uint32_t ref, uint16_t domid, bool write, uint64_t *ret_mfn);
void grant_put(struct domain *d, uint32_t ref, bool write);     /* d->lock held */
void grant_sweep(struct domain *d);                                 /* d->lock held */

/* GNTTABOP_map_grant_ref, unmap_grant_ref, unmap_and_replace: one entry each (gnttab_map.c).  The status, GNTST_*. */
int grant_map_self(struct vcpu *v, struct gnttab_map_grant_ref *a);
int grant_unmap_self(struct vcpu *v, const struct gnttab_unmap_grant_ref *a);
int grant_replace_self(struct vcpu *v, const struct gnttab_unmap_and_replace *a);

#endif
