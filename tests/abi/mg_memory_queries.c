/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What memory_op tells: reservations of the caller alone, the size and place of the M2P, an E820 that covers RAM; and
 * what is refused: other domains, translated guests' operations, numbers that are none.
 */
#include "micro_guest.h"
#include <xen/memory.h>

const char guest_name[] = "memory_queries";

static long op(unsigned cmd, void *arg) { return hypercall(memory_op, cmd, arg, 0, 0); }

void guest_main(void)
{
	domid_t me = DOMID_SELF, other = 33;
	struct xen_machphys_mapping map;
	struct { uint64_t addr, size; uint32_t type; } __attribute__((packed)) e[4];
	struct xen_memory_map mm = { .nr_entries = 4 };
	struct xen_memory_reservation r = { .nr_extents = 1, .extent_order = 10, .domid = DOMID_SELF };
	uint64_t frame = 5;

	CHECK_EQ(op(XENMEM_current_reservation, &me), si->nr_pages);
	CHECK(op(XENMEM_maximum_reservation, &me) >= (long)si->nr_pages);
	CHECK((long)op(XENMEM_current_reservation, &other) < 0);
	CHECK(op(XENMEM_maximum_ram_page, NULL) >= (long)si->nr_pages - 1);
	CHECK(op(XENMEM_maximum_gpfn, &me) >= (long)si->nr_pages - 1);
	CHECK_EQ(op(XENMEM_machphys_mapping, &map), 0);
	CHECK_EQ(map.v_start, (uint64_t)m2p);
	CHECK(map.v_end > map.v_start && map.max_mfn + 1 >= si->nr_pages);
	for (uint64_t pfn = 0; pfn < si->nr_pages; pfn++)
		CHECK_EQ(m2p[((uint64_t *)si->mfn_list)[pfn]], pfn);
	mm.buffer.p = e;
	CHECK_EQ(op(XENMEM_memory_map, &mm), 0);
	CHECK_EQ(e[0].addr, 0);
	CHECK(e[0].size >= si->nr_pages << 12);
	CHECK_EQ(e[0].type, 1);
	mm.nr_entries = 0;
	CHECK_EQ(op(XENMEM_memory_map, &mm), -XEN_EINVAL);
	CHECK((long)op(XENMEM_machine_memory_map, &mm) < 0);
	CHECK((long)op(XENMEM_add_to_physmap, &mm) < 0);
	CHECK_EQ(op(63, NULL), -XEN_ENOSYS);
	r.extent_start.p = &frame;
	CHECK_EQ(op(XENMEM_populate_physmap, &r), 0);            /* the order is too large: none done */
	r.extent_order = 0;
	r.domid = 33;
	CHECK_EQ(op(XENMEM_decrease_reservation, &r), 0);
	r.domid = DOMID_SELF;
	frame = 1UL << 50;
	CHECK_EQ(op(XENMEM_decrease_reservation, &r), 0);
	CHECK_EQ(op(XENMEM_decrease_reservation, (void *)0x10), -XEN_EFAULT);
	CHECK_EQ(op(XENMEM_current_reservation, &me), si->nr_pages);
}
