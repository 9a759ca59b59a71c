/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile, two vCPUs: grants change under copies and maps: flags, domain, frame and type rewritten while the other vCPU has
 * the hypervisor copy through them and map and unmap them; handles released twice from both sides.  Uses end at zero.
 */
#include "micro_guest.h"
#include <xen/grant_table.h>

const char guest_name[] = "hostile_grants";

#define REF 30
#define NR 8

static volatile struct grant_entry_v1 *table;
static uint64_t *page[NR];
static volatile bool stop, stopped;
static volatile uint32_t handle[4];
static uint16_t self;

static void second(void)
{
	uint64_t x = 88172645463325252UL;

	vcpu_info(1)->evtchn_upcall_mask = 1;
	while (!stop) {
		unsigned i;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		i = REF + x % NR;
		switch (x >> 8 & 7) {
		case 0: table[i].flags = (uint16_t)(x >> 16); break;
		case 1: table[i].domid = x & 0x100000 ? self : (uint16_t)(x >> 30); break;
		case 2: table[i].frame = (uint32_t)(x >> 20) | 0x100000; break;          /* beyond RAM */
		case 3: table[i].frame = (uint32_t)va_to_mfn(page[x >> 30 & (NR - 1)]); break;
		case 4: {
			struct gnttab_unmap_grant_ref u = { .host_addr = (uint64_t)page[x >> 40 & 3], .handle = handle[x >> 40 & 3] };

			hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &u, 1, 0);
			break;
		}
		default:
			table[i].domid = self;
			table[i].flags = GTF_permit_access;
		}
	}
	stopped = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

void guest_main(void)
{
	struct gnttab_setup_table s = { .dom = DOMID_SELF, .nr_frames = 1 };
	uint64_t frame = 0, end, windows;
	unsigned copied = 0, mapped = 0;

	self = domid_self();
	s.frame_list.p = &frame;
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_setup_table, &s, 1, 0), 0);
	table = page_alloc();
	map_page((uint64_t)table, pte(frame, P_KERNEL));
	for (unsigned i = 0; i < NR; i++)
		page[i] = page_alloc();
	windows = (uint64_t)page[0];
	vcpu_start(1, second);
	/* who waits long enough for a processor misses 6000 rounds of the other's */
	end = system_time(0) + 20000000000UL;
	for (unsigned round = 0; round < 6000 || ((!copied || !mapped) && system_time(0) < end); round++) {
		struct gnttab_copy c = { .len = 64, .flags = GNTCOPY_source_gref | GNTCOPY_dest_gref };
		struct gnttab_map_grant_ref m = { .host_addr = windows + (round & 3) * 4096, .dom = self, .ref = (grant_ref_t)(REF + rnd() % NR),
						  .flags = GNTMAP_host_map | (rnd() & 1 ? GNTMAP_readonly : 0) };
		struct gnttab_unmap_grant_ref u = { .host_addr = m.host_addr };

		c.source.domid = c.dest.domid = DOMID_SELF;
		c.source.u.ref = (grant_ref_t)(REF + rnd() % NR);
		c.dest.u.ref = (grant_ref_t)(REF + rnd() % NR);
		hypercall(grant_table_op, GNTTABOP_copy, &c, 1, 0);
		copied += c.status == GNTST_okay;
		hypercall(grant_table_op, GNTTABOP_map_grant_ref, &m, 1, 0);
		if (m.status == GNTST_okay) {
			mapped++;
			handle[round & 3] = m.handle;
			u.handle = m.handle;
			hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &u, 1, 0);
		}
	}
	stop = true;
	end = system_time(0) + 20000000000UL;
	while (!stopped)
		CHECK(system_time(0) < end);
	CHECK(copied > 0 && mapped > 0);
	for (uint32_t h = 0; h < 1024; h++) {
		struct gnttab_unmap_grant_ref u = { .host_addr = 0, .handle = h };

		hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &u, 1, 0);
	}
	hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, 0x10, 0x7fffffff, 0);
}
