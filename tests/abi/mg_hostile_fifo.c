/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile, two vCPUs: FIFO control blocks and event arrays that are scribbled over, lie in page tables, in each other, or are
 * given up while events come.  The hypervisor writes links and never follows them, so events may be lost and no more.
 */
#include "micro_guest.h"
#include <xen/memory.h>

const char guest_name[] = "hostile_fifo";

static volatile uint32_t *array, *control;
static volatile bool stop, stopped;

static bool swallow(struct trap_regs *r)
{
	if (r->vector != TRAP_EVENT)
		return false;
	vcpu_info(0)->evtchn_upcall_pending = 0;
	return true;
}

static void second(void)
{
	uint64_t x = 88172645463325252UL;

	vcpu_info(1)->evtchn_upcall_mask = 1;
	while (!stop) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		array[x % 64] = (uint32_t)(x >> 16);
		control[x >> 50 & 31] = (uint32_t)(x >> 8);
	}
	stopped = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

void guest_main(void)
{
	struct evtchn_init_control ic = { .vcpu = 0 };
	struct evtchn_expand_array ea;
	uint8_t *page = page_alloc();
	uint32_t port[16];
	uint64_t end;

	trap_hook = swallow;
	array = (void *)page;
	control = (void *)page;                                 /* one on top of the other */
	ic.control_gfn = ea.array_gfn = va_to_mfn(page);
	CHECK_EQ(evtchn_op(EVTCHNOP_init_control, &ic), 0);
	ic.vcpu = 1;
	ic.control_gfn = va_to_mfn(pte_of((uint64_t)page));      /* a page table */
	ic.offset = 2048;
	evtchn_op(EVTCHNOP_init_control, &ic);
	for (unsigned i = 0; i < 6; i++)                        /* the same page again and again, until there is no room */
		evtchn_op(EVTCHNOP_expand_array, &ea);
	for (unsigned i = 0; i < 16; i++)
		port[i] = bind_ipi(0);
	vcpu_start(1, second);
	events_on();
	for (unsigned round = 0; round < 50000; round++) {
		struct evtchn_unmask u = { .port = port[rnd() % 16] };
		struct evtchn_set_priority sp = { .port = port[rnd() % 16], .priority = (uint32_t)(rnd() % 17) };

		event_send(port[rnd() % 16]);
		if (round % 4 == 0)
			evtchn_op(EVTCHNOP_unmask, &u);
		if (round % 16 == 0)
			evtchn_op(EVTCHNOP_set_priority, &sp);
	}
	stop = true;
	end = system_time(0) + 20000000000UL;
	while (!stopped)
		CHECK(system_time(0) < end);
	events_off();
	{
		struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };
		uint64_t frame = va_to_mfn(page);

		map_page((uint64_t)page, 0);
		r.extent_start.p = &frame;
		CHECK_EQ(hypercall(memory_op, XENMEM_decrease_reservation, &r, 0, 0), 1);
		for (unsigned i = 0; i < 16; i++)
			event_send(port[i]);                    /* into a frame that is gone */
	}
}
