/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start of day: what xen.h promises a PV guest before its first instruction (start_info, flags, rings, M2P, p2m), and
 * that both ways into the hypervisor work: a bare `syscall` and the hypercall page that older kernels call through.
 */
#include "micro_guest.h"
#include <xen/version.h>

const char guest_name[] = "hello";

extern uint8_t hypercall_page[4096];

static long through_the_page(long nr, uint64_t a1, uint64_t a2)
{
	void *entry = hypercall_page + nr * 32;
	long rax;

	__asm__ volatile("call *%[entry]" : "=a"(rax), "+D"(a1), "+S"(a2) : [entry] "r"(entry)
			 : "rcx", "r11", "rdx", "r8", "r9", "r10", "memory");
	return rax;
}

void guest_main(void)
{
	struct xen_feature_info f = { 0 };

	for (unsigned i = 0; i < 14; i++)
		CHECK(si->magic[i] == "xen-3.0-x86_64"[i]);
	CHECK(si->nr_pages >= 1024);
	CHECK(!(si->flags & (SIF_PRIVILEGED | SIF_INITDOMAIN)));
	CHECK(si->store_mfn && si->console.domU.mfn && si->store_evtchn && si->console.domU.evtchn);
	CHECK_EQ((uint64_t)si & 4095, 0);
	CHECK_EQ(vcpu_info(0)->evtchn_upcall_mask, 1);
	for (uint64_t pfn = 0; pfn < si->nr_pages; pfn += 37)
		CHECK_EQ(m2p[((uint64_t *)si->mfn_list)[pfn]], pfn);
	CHECK_EQ(hypercall(xen_version, XENVER_version, 0, 0, 0) >> 16, 4);
	CHECK_EQ(through_the_page(__HYPERVISOR_xen_version, XENVER_version, 0) >> 16, 4);
	CHECK_EQ(hypercall(xen_version, XENVER_get_features, &f, 0, 0), 0);
	CHECK(f.submap >> XENFEAT_mmu_pt_update_preserve_ad & 1);
	CHECK_EQ(hypercall6(63, 0, 0, 0, 0, 0, 0), -XEN_ENOSYS);
	CHECK_EQ(hypercall(platform_op, 0, 0, 0, 0), -XEN_EPERM);
}
