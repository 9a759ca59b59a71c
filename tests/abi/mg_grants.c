/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The grant table from the inside: the frames are there and writable, the reserved entries name the rings, copy works
 * between one's own frames and refuses others'; mapping another domain's grant is refused.
 */
#include "micro_guest.h"
#include <xen/grant_table.h>

const char guest_name[] = "grants";

static struct grant_entry_v1 *table;

static long op(int cmd, void *arg) { return hypercall(grant_table_op, cmd, arg, 1, 0); }

void guest_main(void)
{
	uint64_t frame = 0;
	struct gnttab_setup_table s = { .dom = DOMID_SELF, .nr_frames = 1 };
	struct gnttab_copy c = { .len = 100 };
	struct gnttab_map_grant_ref m = { .dom = 3, .ref = 8, .flags = GNTMAP_host_map };
	uint8_t *a = page_alloc(), *b = page_alloc();

	s.frame_list.p = &frame;
	CHECK_EQ(op(GNTTABOP_setup_table, &s), 0);
	CHECK_EQ(s.status, GNTST_okay);
	table = page_alloc();
	map_page((uint64_t)table, pte(frame, P_KERNEL));
	CHECK_EQ(table[GNTTAB_RESERVED_CONSOLE].frame, si->console.domU.mfn);
	CHECK_EQ(table[GNTTAB_RESERVED_XENSTORE].frame, si->store_mfn);
	CHECK_EQ(table[GNTTAB_RESERVED_XENSTORE].flags & GTF_type_mask, GTF_permit_access);

	memset(a, 0x5a, 4096);
	c.source.domid = c.dest.domid = DOMID_SELF;
	c.source.u.gmfn = va_to_mfn(a);
	c.dest.u.gmfn = va_to_mfn(b);
	c.dest.offset = 4096 - 100;
	CHECK_EQ(op(GNTTABOP_copy, &c), 0);
	CHECK_EQ(c.status, GNTST_okay);
	CHECK_EQ(b[4095], 0x5a);
	CHECK_EQ(b[4096 - 101], 0);
	c.dest.offset++;
	CHECK_EQ(op(GNTTABOP_copy, &c), 0);
	CHECK_EQ(c.status, GNTST_bad_copy_arg);
	c.dest.offset = 0;
	c.source.domid = 0;
	CHECK_EQ(op(GNTTABOP_copy, &c), 0);
	CHECK_EQ(c.status, GNTST_bad_domain);
	CHECK_EQ(op(GNTTABOP_map_grant_ref, &m), 0);
	CHECK(m.status < 0);
}
