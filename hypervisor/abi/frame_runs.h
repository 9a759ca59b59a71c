/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * frame_runs.h - which frames of RAM are held and which are page tables, as runs (docs/specs/image.md, "domain").
 *
 * The guest stands still while they are written and read, so neither goes frame by frame: the held ones by words of the bitmap, the rest
 * by runs.
 */
#ifndef HV_ABI_FRAME_RUNS_H
#define HV_ABI_FRAME_RUNS_H

#include "hypervisor/domain.h"
#include "lib/buf.h"

/* Both tables of d, whose vCPUs do not run. */
void frame_runs_save(const struct domain *d, struct buf *out);

/* Into tables of zeros that are as large as d's own; false: the record breaks a rule, and they are half written. */
bool frame_runs_load(const struct domain *d, struct reader *r, uint64_t *populated, uint8_t *pt_type);

#endif
