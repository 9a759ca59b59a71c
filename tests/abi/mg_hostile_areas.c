/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: the areas the hypervisor writes by itself (runstate, time, vcpu_info, FIFO words) registered over page tables,
 * code that runs, read-only and missing pages, the M2P, each other and page ends, then taken away while vCPUs sleep and wake.
 */
#include "micro_guest.h"
#include <xen/memory.h>

const char guest_name[] = "hostile_areas";

static void nap(void)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + 100000 };

	vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
	sched_op(SCHEDOP_block, NULL);
	events_off();
}

void guest_main(void)
{
	uint8_t *a = page_alloc(), *b = page_alloc(), *ro = page_alloc(), *code = page_alloc();
	uint64_t *spare = page_alloc(), before = m2p[9];
	uint64_t va[] = { (uint64_t)a + 4096 - 1, (uint64_t)a + 4096 - 24, (uint64_t)ro, (uint64_t)code, 0x123456789000UL, 8,
			  (uint64_t)m2p + 64, 0x7fffffffffffUL, ~0UL - 8, (uint64_t)si->pt_base, (uint64_t)pte_of((uint64_t)spare),
			  (uint64_t)b + 3, 1UL << 55, 0xffff87fffffffff8UL };

	bind_virq(VIRQ_TIMER, 0);
	memset(code, 0x90, 4095);
	code[4095] = 0xc3;
	make_readonly(ro);
	hypercall(vm_assist, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag, 0, 0);
	for (unsigned i = 0; i < sizeof(va) / sizeof(va[0]); i++) {
		struct vcpu_register_runstate_memory_area r = { .addr.p = va[i] };
		struct vcpu_register_time_memory_area t = { .addr.p = va[i] };

		vcpu_op(VCPUOP_register_runstate_memory_area, 0, &r);
		nap();
		vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &t);
		nap();
		nap();
		memset(code, 0x90, 4095);
		((void (*)(void))(uintptr_t)code)();
	}
	CHECK_EQ(m2p[9], before);
	{
		struct vcpu_register_runstate_memory_area r = { .addr.p = (uint64_t)b };
		struct xen_memory_reservation m = { .nr_extents = 1, .domid = DOMID_SELF };
		uint64_t frame = va_to_mfn(b);

		CHECK_EQ(vcpu_op(VCPUOP_register_runstate_memory_area, 0, &r), 0);
		m.extent_start.p = &frame;
		CHECK_EQ(hypercall(memory_op, XENMEM_decrease_reservation, &m, 0, 0), 1);      /* still mapped, gone */
		nap();
		map_page((uint64_t)b, 0);
		nap();
		frame = va_to_pfn(b);
		CHECK_EQ(hypercall(memory_op, XENMEM_populate_physmap, &m, 0, 0), 1);
		map_page((uint64_t)b, pte(frame, P_KERNEL));
		for (unsigned i = 0; i < 4096; i++)
			CHECK_EQ(b[i], 0);
		nap();
		CHECK_EQ(*(volatile int *)b, RUNSTATE_running);
	}
}
