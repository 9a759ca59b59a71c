/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Grant table versions: 1 is what there is; 2 is refused with -ENOSYS and others with -EINVAL, and the structure says
 * version 1 afterwards all the same (xen/grant_table.h).  Operations that need version 2, or that do not exist, say so.
 */
#include "micro_guest.h"
#include <xen/grant_table.h>

const char guest_name[] = "grant_versions";

static long op(int cmd, void *arg) { return hypercall(grant_table_op, cmd, arg, 1, 0); }

void guest_main(void)
{
	struct gnttab_set_version s = { .version = 2 };
	struct gnttab_get_version g = { .dom = DOMID_SELF };
	struct gnttab_query_size q = { .dom = DOMID_SELF };
	uint8_t junk[64] = { 0 };

	CHECK_EQ(op(GNTTABOP_set_version, &s), -XEN_ENOSYS);
	CHECK_EQ(s.version, 1);
	s.version = 7;
	CHECK_EQ(op(GNTTABOP_set_version, &s), -XEN_EINVAL);
	CHECK_EQ(s.version, 1);
	CHECK_EQ(op(GNTTABOP_set_version, &s), 0);
	CHECK_EQ(op(GNTTABOP_get_version, &g), 0);
	CHECK_EQ(g.version, 1);
	g.dom = 77;
	CHECK((long)op(GNTTABOP_get_version, &g) < 0);
	CHECK_EQ(op(GNTTABOP_get_status_frames, junk), -XEN_ENOSYS);
	CHECK_EQ(op(GNTTABOP_cache_flush, junk), -XEN_ENOSYS);
	CHECK_EQ(op(99, junk), -XEN_ENOSYS);
	CHECK_EQ(op(GNTTABOP_query_size, &q), 0);
	CHECK(q.nr_frames >= 1 && q.max_nr_frames >= 4);
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_query_size, &q, 2, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_copy, &q, 0x80000000U, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_copy, 0x10, 1, 0), -XEN_EFAULT);
}
