/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pv_start.h - the PV domain builder: puts a kernel and its start of day into a domain (docs/specs/start-of-day.md).
 */
#ifndef HV_BUILD_PV_START_H
#define HV_BUILD_PV_START_H

#include "hypervisor/domain.h"
#include "lib/err.h"

struct pv_params {
	const char *kernel_name; const uint8_t *kernel; size_t kernel_len;          /* borrowed */
	const char *ramdisk_name; const uint8_t *ramdisk; size_t ramdisk_len;       /* NULL, 0: none */
	const char *cmdline;
	uint64_t nr_pages;             /* memory the guest starts with; at most max_pages */
	struct ram_ready *ready;       /* of pv_ram_begin(), or NULL; pv_build() ends it */
};

/*
 * Memory for what `p` will have built begins to be made; kernel_len and ramdisk_len are known and the kernel's first page is read.
 * NULL: nothing to be made ahead.  For p->ready, or ram_ready_end().
 */
struct ram_ready *pv_ram_begin(struct domain *d, const struct pv_params *p);

/*
 * d is attached (domain_attach) and its memory zero.  Fills memory, M2P, p2m, start_info, grants 0 and 1, the store's and the
 * console's ports, pt_type, and vCPU 0, runnable at the kernel's entry.  0, or -errno with err; d is then good for
 * domain_free() only.
 */
int pv_build(struct domain *d, const struct pv_params *p, struct err *err);

#endif
