/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GNTTABOP_map_grant_ref on the guest's own frames: the mapping shows the granted frame, counts as a use while it lasts,
 * obeys read-only, and its handle works once; by virtual address and by the address of a PTE.  Another domain's, or no
 * domain's, grant is refused with the statuses of xen/grant_table.h.
 */
#include "micro_guest.h"
#include <xen/grant_table.h>

const char guest_name[] = "grant_map";

#define REF 20

static volatile struct grant_entry_v1 *table;
static uint16_t self;

static void grants_open(void)
{
	uint64_t frame = 0;
	struct gnttab_setup_table s = { .dom = DOMID_SELF, .nr_frames = 1 };

	s.frame_list.p = &frame;
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_setup_table, &s, 1, 0), 0);
	table = page_alloc();
	map_page((uint64_t)table, pte(frame, P_KERNEL));
}

static int map(struct gnttab_map_grant_ref *m)
{
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_map_grant_ref, m, 1, 0), 0);
	return m->status;
}

static int unmap(uint32_t handle, uint64_t addr)
{
	struct gnttab_unmap_grant_ref u = { .host_addr = addr, .handle = handle };

	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &u, 1, 0), 0);
	return u.status;
}

static void grant(uint16_t flags, uint16_t domid, const void *page)
{
	table[REF].flags = 0;
	table[REF].domid = domid;
	table[REF].frame = (uint32_t)va_to_mfn(page);
	table[REF].flags = flags;
}

void guest_main(void)
{
	volatile uint64_t *page = page_alloc(), *at = page_alloc();
	uint64_t old = *pte_of((uint64_t)at);
	struct gnttab_map_grant_ref m = { .host_addr = (uint64_t)at, .flags = GNTMAP_host_map, .ref = REF };
	struct gnttab_unmap_and_replace r;
	uint32_t handle;

	self = domid_self();
	grants_open();
	page[3] = 0x1111;
	grant(GTF_permit_access, self, (void *)page);
	m.dom = self;
	map_page((uint64_t)at, 0);
	CHECK_EQ(map(&m), GNTST_okay);
	CHECK_EQ(m.dev_bus_addr, va_to_mfn(page) << 12);
	CHECK_EQ(at[3], 0x1111);
	at[4] = 0x2222;
	CHECK_EQ(page[4], 0x2222);
	CHECK_EQ(table[REF].flags & (GTF_reading | GTF_writing), GTF_reading | GTF_writing);
	CHECK_EQ(unmap(m.handle, (uint64_t)page + 8 * 4096), GNTST_general_error);      /* not where it is mapped */
	CHECK_EQ(unmap(m.handle, (uint64_t)at), GNTST_okay);
	CHECK_EQ(table[REF].flags & (GTF_reading | GTF_writing), 0);
	TRY("mov (%0), %%rax", : : "r"(at) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(unmap(m.handle, (uint64_t)at), GNTST_bad_handle);
	CHECK_EQ(unmap(0xffffffff, (uint64_t)at), GNTST_bad_handle);

	m.flags = GNTMAP_host_map | GNTMAP_readonly;
	grant(GTF_permit_access | GTF_readonly, self, (void *)page);
	CHECK_EQ(map(&m), GNTST_okay);
	handle = m.handle;
	CHECK_EQ(at[4], 0x2222);
	TRY("movq $1, (%0)", : : "r"(at) : "r11", "memory");
	CHECK_EQ(trapped.error, 3);
	CHECK_EQ(table[REF].flags & (GTF_reading | GTF_writing), GTF_reading);
	r = (struct gnttab_unmap_and_replace){ .host_addr = (uint64_t)at, .new_addr = (uint64_t)page, .handle = handle };
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_unmap_and_replace, &r, 1, 0), 0);
	CHECK_EQ(r.status, GNTST_okay);
	at[5] = 1;                                      /* page's own, writable, mapping moved here */
	TRY("mov (%0), %%rax", : : "r"(page) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(table[REF].flags & GTF_reading, 0);

	m.flags = GNTMAP_host_map;
	CHECK_EQ(map(&m), GNTST_permission_denied);     /* the grant is read-only */
	m.flags = 0;
	CHECK_EQ(map(&m), GNTST_bad_gntref);            /* maps nothing */
	m.flags = GNTMAP_host_map;
	m.ref = 500000;
	CHECK_EQ(map(&m), GNTST_bad_gntref);
	m.ref = REF;
	grant(GTF_permit_access, 0, (void *)at);
	CHECK_EQ(map(&m), GNTST_bad_gntref);            /* granted to Domain-0, not to us */
	m.dom = (domid_t)(self + 1);
	CHECK_EQ(map(&m), GNTST_bad_domain);
	m.dom = 0;
	CHECK_EQ(map(&m), GNTST_bad_domain);
	m.dom = self;
	grant(GTF_permit_access, self, (void *)at);
	m.host_addr = 0xffff800000000000UL;             /* the hypervisor's */
	CHECK_EQ(map(&m), GNTST_general_error);
	CHECK_EQ(table[REF].flags & (GTF_reading | GTF_writing), 0);
	m.host_addr = 1UL << 62;
	CHECK_EQ(map(&m), GNTST_general_error);

	grant(GTF_permit_access, self, (void *)page);
	m.flags = GNTMAP_host_map | GNTMAP_contains_pte;
	m.host_addr = (va_to_mfn(pte_of((uint64_t)page)) << 12) + ((uint64_t)pte_of((uint64_t)page) & 4095);
	CHECK_EQ(map(&m), GNTST_okay);
	mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	CHECK_EQ(page[4], 0x2222);
	CHECK_EQ(unmap(m.handle, m.host_addr), GNTST_okay);
	map_page((uint64_t)at, old);

	map_page((uint64_t)page, pte(va_to_mfn(page), P_KERNEL));
	/* over and over, for runs in which the guest moves all the time: handle, use and entry survive that */
	m = (struct gnttab_map_grant_ref){ .host_addr = (uint64_t)at, .flags = GNTMAP_host_map, .ref = REF, .dom = self };
	for (unsigned round = 0; round < 200; round++) {
		uint64_t until = system_time(0) + 200000;

		CHECK_EQ(map(&m), GNTST_okay);
		at[6] = round;
		while (system_time(0) < until)
			;
		CHECK_EQ(page[6], round);
		CHECK_EQ(table[REF].flags & (GTF_reading | GTF_writing), GTF_reading | GTF_writing);
		CHECK_EQ(unmap(m.handle, (uint64_t)at), GNTST_okay);
	}
	map_page((uint64_t)at, old);
}
