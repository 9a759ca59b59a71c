/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * multicall with failures in it: each entry has its own result, those after a failed one are done all the same, nested
 * lists and iret are refused, unknown numbers are -ENOSYS, and only a list that is not there fails the call itself.
 */
#include "micro_guest.h"

const char guest_name[] = "multicall_partial";

static struct multicall_entry e[600];

void guest_main(void)
{
	uint64_t *page = page_alloc(), *two = page_alloc();
	struct mmu_update u[3];
	unsigned done = 99;

	e[0] = (struct multicall_entry){ .op = __HYPERVISOR_xen_version, .args = { 0 } };
	e[1] = (struct multicall_entry){ .op = __HYPERVISOR_update_va_mapping, .args = { (uint64_t)page, pte(1UL << 36, P_KERNEL), 0 } };
	e[2] = (struct multicall_entry){ .op = __HYPERVISOR_multicall, .args = { (uint64_t)e, 1 } };
	e[3] = (struct multicall_entry){ .op = __HYPERVISOR_iret };
	e[4] = (struct multicall_entry){ .op = 60 };
	e[5] = (struct multicall_entry){ .op = ~0UL };
	e[6] = (struct multicall_entry){ .op = __HYPERVISOR_update_va_mapping,
					 .args = { (uint64_t)page, pte(va_to_mfn(two), P_KERNEL), UVMF_INVLPG } };
	CHECK_EQ(hypercall(multicall, e, 7, 0, 0), 0);
	CHECK_EQ(e[0].result >> 16, 4);
	CHECK((long)e[1].result < 0);
	CHECK((long)e[2].result < 0);
	CHECK((long)e[3].result < 0);
	CHECK_EQ(e[4].result, -XEN_ENOSYS);
	CHECK_EQ(e[5].result, -XEN_ENOSYS);
	CHECK_EQ(e[6].result, 0);
	two[7] = 77;
	CHECK_EQ(page[7], 77);

	for (unsigned i = 0; i < 3; i++)
		u[i] = (struct mmu_update){ .ptr = ((va_to_mfn(pte_of((uint64_t)two)) << 12) + ((uint64_t)pte_of((uint64_t)two) & 4095)),
					    .val = i == 1 ? pte(1UL << 35, P_KERNEL) : pte(va_to_mfn(two), P_KERNEL) };
	CHECK((long)hypercall(mmu_update, u, 3, &done, DOMID_SELF) < 0);
	CHECK_EQ(done, 1);

	for (unsigned i = 0; i < 600; i++)
		e[i] = (struct multicall_entry){ .op = i % 2 ? __HYPERVISOR_xen_version : 61, .args = { 0 } };
	CHECK_EQ(hypercall(multicall, e, 600, 0, 0), 0);
	for (unsigned i = 0; i < 600; i++)
		CHECK_EQ(e[i].result, i % 2 ? e[1].result : (uint64_t)-XEN_ENOSYS);
	CHECK_EQ(hypercall(multicall, 0x10, 1, 0, 0), -XEN_EFAULT);
	CHECK_EQ(hypercall(multicall, 0x10, 0, 0, 0), 0);
}
