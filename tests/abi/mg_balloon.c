/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Giving memory up and getting it back: the reservation counts, pages come back as zeros, the M2P follows, a mapping of
 * a page that was given up faults instead of showing someone's data, and none can be had beyond the maximum.
 */
#include "micro_guest.h"
#include <xen/memory.h>

const char guest_name[] = "balloon";

#define N 64

static uint64_t list[N];

static long reserve(int op, unsigned n)
{
	struct xen_memory_reservation r = { .nr_extents = n, .domid = DOMID_SELF };

	r.extent_start.p = list;
	return hypercall(memory_op, op, &r, 0, 0);
}

void guest_main(void)
{
	struct xen_memory_domain q = { .domid = DOMID_SELF };
	long held = hypercall(memory_op, XENMEM_current_reservation, &q, 0, 0);
	uint64_t *pages[N];

	CHECK(held > 0);
	CHECK_EQ(held, si->nr_pages);
	for (unsigned i = 0; i < N; i++) {
		pages[i] = page_alloc();
		*pages[i] = 0x5ec2e7;
		list[i] = va_to_mfn(pages[i]);
	}
	*(volatile uint64_t *)pages[7];                         /* a translation exists */
	CHECK_EQ(reserve(XENMEM_decrease_reservation, N), N);
	CHECK_EQ(hypercall(memory_op, XENMEM_current_reservation, &q, 0, 0), held - N);
	TRY("mov (%0), %%rax", : : "r"(pages[7]) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(reserve(XENMEM_decrease_reservation, N), 0);   /* not ours any more */
	for (unsigned i = 0; i < N; i++)
		list[i] = va_to_pfn(pages[i]);
	CHECK_EQ(reserve(XENMEM_populate_physmap, N), N);
	for (unsigned i = 0; i < N; i++) {
		CHECK_EQ(m2p[list[i]], va_to_pfn(pages[i]));
		map_page((uint64_t)pages[i], pte(list[i], P_KERNEL));
		CHECK_EQ(*(volatile uint64_t *)pages[i], 0);
	}
	CHECK_EQ(hypercall(memory_op, XENMEM_current_reservation, &q, 0, 0), held);
	CHECK(hypercall(memory_op, XENMEM_maximum_reservation, &q, 0, 0) >= held);
	for (unsigned i = 0; i < N; i++)
		list[i] = i;
	if (hypercall(memory_op, XENMEM_maximum_reservation, &q, 0, 0) == held)
		CHECK_EQ(reserve(XENMEM_populate_physmap, N), 0);
}
