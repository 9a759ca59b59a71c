/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: the pages and words we share with the hypervisor (console ring, xenstore ring, event words, vcpu_info,
 * grant table, runstate area) filled with garbage while events fly.  Nothing out there may trip over it.
 */
#include "micro_guest.h"
#include <xen/grant_table.h>

const char guest_name[] = "hostile_rings";

static uint64_t *window(uint64_t mfn)
{
	uint64_t *p = page_alloc();

	map_page((uint64_t)p, pte(mfn, P_KERNEL));
	return p;
}

void guest_main(void)
{
	uint64_t *console = window(si->console.domU.mfn), *store = window(si->store_mfn), frame = 0, *grants;
	struct gnttab_setup_table s = { .dom = DOMID_SELF, .nr_frames = 1 };
	struct evtchn_init_control ic = { .vcpu = 0 };
	struct evtchn_expand_array ea;
	uint32_t *control = page_alloc(), *array = page_alloc(), port[4];
	struct vcpu_register_runstate_memory_area area = { .addr.p = (uint64_t)page_alloc() + 4090 };

	s.frame_list.p = &frame;
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_setup_table, &s, 1, 0), 0);
	grants = window(frame);
	ic.control_gfn = va_to_mfn(control);
	ea.array_gfn = va_to_mfn(array);
	CHECK_EQ(evtchn_op(EVTCHNOP_init_control, &ic), 0);
	CHECK_EQ(evtchn_op(EVTCHNOP_expand_array, &ea), 0);
	page_alloc();
	vcpu_op(VCPUOP_register_runstate_memory_area, 0, &area);
	for (unsigned i = 0; i < 4; i++)
		port[i] = bind_ipi(0);
	for (unsigned round = 0; round < 40000; round++) {
		console[rnd() % 512] = rnd();
		store[rnd() % 512] = rnd();
		console[384 + rnd() % 2] = rnd();                       /* indices, xen/io/console.h */
		store[256 + rnd() % 2] = rnd();                         /* indices, xen/io/xs_wire.h */
		grants[rnd() % 512] = rnd();
		array[rnd() % 64] = (uint32_t)rnd();
		control[rnd() % 18] = (uint32_t)rnd();
		((volatile uint64_t *)shared)[rnd() % 8 + 512 - 64] = rnd();
		event_send(port[rnd() % 4]);
		if (round % 8 == 0)
			event_send(si->console.domU.evtchn);
		if (round % 8 == 4)
			event_send(si->store_evtchn);
		if (round % 1000 == 0)
			sched_op(SCHEDOP_yield, NULL);
	}
}
