/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: giving up what is in use: the page that runs, a page table, the GDT, a granted page, the vcpu_info page, one seed
 * a run.  The domain may crash or go on; frames it gave up are out of its reach and come back as zeros.
 */
#include "micro_guest.h"
#include <xen/memory.h>

const char guest_name[] = "hostile_balloon";

static long give(uint64_t mfn)
{
	struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };

	r.extent_start.p = &mfn;
	return hypercall(memory_op, XENMEM_decrease_reservation, &r, 0, 0);
}

void guest_main(void)
{
	uint64_t *page = page_alloc(), mfn = va_to_mfn(page);
	unsigned kind = 0;

	for (const int8_t *c = si->cmd_line; *c >= '0' && *c <= '9'; c++)
		kind = kind * 10 + (unsigned)(*c - '0');
	switch (kind % 6) {
	case 0:                                         /* mapped and used on */
		page[0] = 1;
		CHECK_EQ(give(mfn), 1);
		TRY("mov (%0), %%rax", : : "r"(page) : "rax", "r11", "memory");
		CHECK_EQ(trapped.vector, 14);
		TRY("movq $1, (%0)", : : "r"(page) : "r11", "memory");
		CHECK_EQ(trapped.vector, 14);
		CHECK_EQ(give(mfn), 0);                 /* it is not ours any more */
		break;
	case 1:
		give(va_to_mfn(pte_of((uint64_t)page)));
		page[0] = 2;
		break;
	case 2:
		give(va_to_mfn((void *)si->pt_base));
		break;
	case 3:
		give(va_to_mfn((void *)(uintptr_t)guest_main));
		break;
	case 4: {
		struct vcpu_register_vcpu_info r = { .mfn = mfn };

		CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_info, 0, &r), 0);
		give(mfn);
		hypercall(sched_op, SCHEDOP_yield, 0, 0, 0);
		break;
	}
	default:
		give(va_to_mfn(kernel_stack_top - 8));
		give(si->store_mfn);
		give(si->console.domU.mfn);
		give(0x8000000);
		for (uint64_t m = 0; m < si->nr_pages; m++)
			if (rnd() % 16 == 0)
				give(m);
	}
}
