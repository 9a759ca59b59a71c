/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmuext_op and mmu_update with what they must refuse: frames that are not there, other domains' tables, hypervisor slots
 * of an L4, unknown commands; *pdone counts what was done before; clear and copy work on ours.
 */
#include "micro_guest.h"

const char guest_name[] = "mmuext_errors";

void guest_main(void)
{
	uint64_t *a = page_alloc(), *b = page_alloc(), l4 = va_to_mfn((void *)si->pt_base);
	struct mmuext_op op[3] = { { .cmd = MMUEXT_TLB_FLUSH_LOCAL }, { .cmd = MMUEXT_TLB_FLUSH_ALL }, { .cmd = 77 } };
	struct mmu_update u = { .ptr = l4 << 12 | (uint64_t)(300 * 8), .val = 0 };
	unsigned done = 55;

	CHECK_EQ(mmuext(MMUEXT_PIN_L4_TABLE, 1UL << 40, 0), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_UNPIN_TABLE, 1UL << 40, 0), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_NEW_BASEPTR, 1UL << 40, 0), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_NEW_BASEPTR, 0x8000000, 0), -XEN_EINVAL);        /* shared info's frame */
	CHECK_EQ(mmuext(MMUEXT_NEW_USER_BASEPTR, 1UL << 40, 0), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0), 0);
	CHECK_EQ(mmuext(77, 0, 0), -XEN_ENOSYS);
	CHECK_EQ(hypercall(mmuext_op, op, 3, &done, DOMID_SELF), -XEN_ENOSYS);
	CHECK_EQ(done, 2);
	CHECK((long)hypercall(mmuext_op, op, 1, 0, 44) < 0);
	CHECK((long)hypercall(mmuext_op, op, 1, 0, DOMID_IO) < 0);
	CHECK_EQ(hypercall(mmuext_op, 0x10, 1, 0, DOMID_SELF), -XEN_EFAULT);
	CHECK_EQ(hypercall(mmuext_op, op, 0, 0, DOMID_SELF), 0);
	CHECK((long)hypercall(mmu_update, &u, 1, 0, 44) < 0);
	CHECK_EQ(mmu_update((l4 << 12) + 260 * 8, pte(va_to_mfn(a), P_KERNEL)), -XEN_EINVAL);
	CHECK_EQ(mmu_update((l4 << 12) + 300 * 8, pte(1UL << 39, P_KERNEL)), -XEN_EINVAL);
	CHECK_EQ(mmu_update((1UL << 52) - 8, 0), -XEN_EINVAL);
	CHECK_EQ(mmu_update(0x8000000UL << 12, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(update_va_mapping, 0xffff800000000000UL, 0, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(update_va_mapping, 1UL << 60, 0, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(update_va_mapping, 0x1000, 0, 0, 0), -XEN_EINVAL);   /* no L1 there */
	CHECK((long)hypercall(update_va_mapping_otherdomain, a, 0, 0, 44) < 0);

	memset(a, 0x33, 4096);
	CHECK_EQ(mmuext(MMUEXT_COPY_PAGE, va_to_mfn(b), va_to_mfn(a)), 0);
	CHECK_EQ(b[511], 0x3333333333333333UL);
	CHECK_EQ(mmuext(MMUEXT_CLEAR_PAGE, va_to_mfn(a), 0), 0);
	CHECK_EQ(a[511], 0);
	CHECK_EQ(mmuext(MMUEXT_COPY_PAGE, 1UL << 41, va_to_mfn(a)), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_COPY_PAGE, va_to_mfn(a), 0x8000000), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_CLEAR_PAGE, 0x8000000 + 80, 0), -XEN_EINVAL);    /* the M2P */
}
