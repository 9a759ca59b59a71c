/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XENMEM_exchange: one large extent into small ones and back, the M2P following, contents gone; refused lists (frames we
 * do not hold, the same one twice, sums that differ) leave everything as it was, and a list that fails half-way says how
 * far it got.
 */
#include "micro_guest.h"
#include <xen/memory.h>

const char guest_name[] = "exchange";

static uint64_t in[8], out[8];

static long exchange(unsigned n_in, unsigned in_order, unsigned n_out, unsigned out_order, uint64_t *done)
{
	struct xen_memory_exchange x = { .in = { .nr_extents = n_in, .extent_order = in_order, .domid = DOMID_SELF },
					 .out = { .nr_extents = n_out, .extent_order = out_order, .domid = DOMID_SELF } };
	long rc;

	x.in.extent_start.p = in;
	x.out.extent_start.p = out;
	rc = hypercall(memory_op, XENMEM_exchange, &x, 0, 0);
	*done = x.nr_exchanged;
	return rc;
}

void guest_main(void)
{
	uint64_t *page[8], mfn[8], pfn[8], done;

	for (unsigned i = 0; i < 8; i++) {
		page[i] = page_alloc();
		pfn[i] = va_to_pfn(page[i]);
		mfn[i] = va_to_mfn(page[i]);
		page[i][0] = 0x1000 + i;
	}
	/* one page against another: ours to map again */
	in[0] = mfn[0];
	out[0] = pfn[0];
	map_page((uint64_t)page[0], 0);
	CHECK_EQ(exchange(1, 0, 1, 0, &done), 0);
	CHECK_EQ(done, 1);
	CHECK_EQ(m2p[out[0]], pfn[0]);
	map_page((uint64_t)page[0], pte(out[0], P_KERNEL));
	CHECK_EQ(page[0][0], 0);
	mfn[0] = out[0];
	((uint64_t *)si->mfn_list)[pfn[0]] = out[0];

	/* refused ones: nothing changes */
	in[0] = mfn[1];
	in[1] = mfn[1];
	out[0] = pfn[1];
	CHECK((long)exchange(2, 0, 1, 1, &done) < 0);            /* twice the same */
	CHECK_EQ(done, 0);
	in[1] = 1UL << 30;
	CHECK((long)exchange(2, 0, 1, 1, &done) < 0);            /* not there */
	CHECK((long)exchange(3, 0, 1, 1, &done) < 0);            /* sums differ */
	CHECK((long)exchange(1, 10, 1, 10, &done) < 0);          /* too large an order */
	CHECK_EQ(page[1][0], 0x1001);
	CHECK_EQ(m2p[mfn[1]], pfn[1]);

	/* half-way: the second of two is not ours */
	in[0] = mfn[2];
	in[1] = 1UL << 30;
	out[0] = pfn[2];
	out[1] = pfn[3];
	map_page((uint64_t)page[2], 0);
	CHECK((long)exchange(2, 0, 2, 0, &done) < 0);
	CHECK_EQ(done, 1);
	CHECK_EQ(m2p[out[0]], pfn[2]);
	map_page((uint64_t)page[2], pte(out[0], P_KERNEL));
	mfn[2] = out[0];
	((uint64_t *)si->mfn_list)[pfn[2]] = out[0];
	CHECK_EQ(page[3][0], 0x1003);

	/* two neighbours become one extent of two, when there is one */
	in[0] = mfn[4];
	in[1] = mfn[5];
	out[0] = pfn[4];
	map_page((uint64_t)page[4], 0);
	map_page((uint64_t)page[5], 0);
	if (exchange(2, 0, 1, 1, &done) == 0) {
		CHECK_EQ(done, 2);
		CHECK_EQ(out[0] & 1, 0);
		CHECK_EQ(m2p[out[0]], pfn[4]);
		CHECK_EQ(m2p[out[0] + 1], pfn[4] + 1);
		mfn[4] = out[0];
		mfn[5] = out[0] + 1;
		map_page((uint64_t)page[4], pte(mfn[4], P_KERNEL));
		map_page((uint64_t)page[5], pte(mfn[5], P_KERNEL));
		CHECK_EQ(page[5][0], 0);
		in[0] = mfn[4];
		out[0] = pfn[4];
		out[1] = pfn[5];
		CHECK_EQ(exchange(1, 1, 2, 0, &done), 0);        /* and is cut up again */
		CHECK_EQ(m2p[out[1]], pfn[5]);
	} else {
		CHECK_EQ(m2p[mfn[4]], pfn[4]);
	}
	CHECK_EQ(hypercall(memory_op, XENMEM_exchange, 0x10, 0, 0), -XEN_EFAULT);
}
