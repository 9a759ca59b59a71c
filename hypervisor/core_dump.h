/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core_dump.h - a domain's memory and vCPUs in Xen's core format (docs/misc/dump-core-format.txt of Xen): an ELF file of sections that
 * readers of `xl dump-core` take.  One program header, which Xen's has not, covers the notes: readelf -n and gdb look for no others.
 *
 *	.note.Xen         NONE, HEADER, XEN_VERSION, FORMAT_VERSION
 *	.note.CORE        NT_PRSTATUS, a vCPU's registers for gdb; not in Xen's
 *	.xen_prstatus     a vcpu_guest_context a vCPU
 *	.xen_shared_info  the page
 *	.xen_p2m          {u64 pfn, u64 gmfn} a page, in the order of .xen_pages
 *	.xen_pages        the pages
 */
#ifndef HV_CORE_DUMP_H
#define HV_CORE_DUMP_H

#include "hypervisor/vcpu.h"
#include "lib/err.h"

/* The domain's vCPUs stand still.  fd is seekable, empty, and stays the caller's.  0 or -errno with err; pages of zeros become holes. */
int core_dump_write(const struct domain *d, int fd, struct err *err);

#endif
