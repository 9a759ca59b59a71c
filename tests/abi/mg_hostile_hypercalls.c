/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: every hypercall with random numbers, commands and pointers (valid, half valid, hypervisor's, absurd) and
 * random structures behind the valid ones.  The domain may lose its own mind, the hypervisor may not: the guest is still
 * there to print its line.  Left out: what legitimately ends or deafens it.
 */
#include "micro_guest.h"
#include <xen/memory.h>

const char guest_name[] = "hostile_hypercalls";

static uint64_t *arena;                 /* pages nobody else uses */

static uint64_t a_value(void)
{
	static const uint64_t odd[] = { 0, 1, ~0UL, 1UL << 63, 0xffff800000000000UL, 0xffff87ffffffffffUL, 0x7fffffffffffUL,
					0x800000000000UL, 0x8000000, 0x8000001, 0x7ffffff, 0x80000000, 0x7fffffff, 4096, 0x7ff0 };

	switch (rnd() % 6) {
	case 0: return rnd() % 40;
	case 1: return odd[rnd() % (sizeof(odd) / sizeof(odd[0]))];
	case 2: return (uint64_t)arena + rnd() % (4 * 4096);
	case 3: return va_to_mfn(arena) + rnd() % 4;
	case 4: return (uint64_t)arena + 4 * 4096 - rnd() % 64;
	default: return rnd();
	}
}

static bool allowed(uint64_t nr, uint64_t a1, uint64_t a2)
{
	switch (nr) {
	case __HYPERVISOR_iret:
	case __HYPERVISOR_set_trap_table:
	case __HYPERVISOR_callback_op:
	case __HYPERVISOR_set_callbacks:
	case __HYPERVISOR_nmi_op:
	case __HYPERVISOR_stack_switch:
	case __HYPERVISOR_set_segment_base:
	case __HYPERVISOR_set_gdt:
	case __HYPERVISOR_console_io:
		return false;
	case __HYPERVISOR_set_debugreg:                 /* armed breakpoints make everything slow */
		return a1 != 7;
	case __HYPERVISOR_multicall:                    /* its entries are random calls as well */
		return false;
	case __HYPERVISOR_sched_op:
	case __HYPERVISOR_sched_op_compat:
		return a1 == SCHEDOP_yield || a1 > SCHEDOP_poll + 3;
	case __HYPERVISOR_vcpu_op:
		return a1 != VCPUOP_down && a1 != VCPUOP_send_nmi && a1 != VCPUOP_register_vcpu_info;
	case __HYPERVISOR_memory_op:                    /* giving up or exchanging what we stand on */
		return (a1 & 63) != XENMEM_decrease_reservation && (a1 & 63) != XENMEM_exchange;
	case __HYPERVISOR_grant_table_op:               /* copies to frames by number: the ones we run from are among them */
		return a1 != 5;
	case __HYPERVISOR_update_descriptor:            /* likewise */
		return false;
	case __HYPERVISOR_event_channel_op:             /* likewise: control blocks and event words */
		return a1 != EVTCHNOP_init_control && a1 != EVTCHNOP_expand_array;
	case __HYPERVISOR_mmuext_op:
	case __HYPERVISOR_mmu_update:
	case __HYPERVISOR_update_va_mapping:
	case __HYPERVISOR_update_va_mapping_otherdomain:
		return false;                           /* hostile_ptes does these in its own arena */
	}
	return true;
}

void guest_main(void)
{
	unsigned done = 0;

	arena = page_alloc();
	for (unsigned i = 1; i < 4; i++)
		page_alloc();
	for (unsigned round = 0; round < 200000; round++) {
		uint64_t nr = rnd() % 64, a[6];

		if (round % 16 == 0)
			for (unsigned i = 0; i < 4 * 512; i += 1 + rnd() % 8)
				arena[i] = a_value();
		for (unsigned i = 0; i < 6; i++)
			a[i] = a_value();
		if (rnd() % 4)
			a[0] = rnd() % 16;
		if (!allowed(nr, a[0], a[1]))
			continue;
		hypercall6((long)nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		done++;
	}
	CHECK(done > 10000);
	CHECK_EQ(hypercall(xen_version, 0, 0, 0, 0) >> 16, 4);
}
