/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: hypercalls that ask for a life's work: lists of 2^31 entries, reservations of 2^60 extents, masks and tables
 * without end.  Each stops for events within moments, so that the timer still ticks, and ends with an error or little done.  What took
 * longer is done again: a host that stands still does not do so five times in a row, a call that does not stop does.
 */
#include "micro_guest.h"
#include <xen/grant_table.h>
#include <xen/memory.h>

const char guest_name[] = "hostile_lists";

static volatile unsigned ticks;
static volatile uint64_t last_ns, worst_ns;

static void on_event(uint32_t port)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + 2000000 };
	uint64_t now = system_time(0);

	if (last_ns && now - last_ns > worst_ns)
		worst_ns = now - last_ns;
	last_ns = now;
	ticks++;
	vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
}

static uint64_t deadline;

/* Called again and again: true while there is time for the same call. */
static bool on_time(void) { return system_time(0) < deadline; }

static bool cut(struct trap_regs *r)
{
	if (r->vector == TRAP_EVENT && system_time(0) > deadline && trap_fixup && r->rip != trap_fixup) {
		vcpu_info(0)->evtchn_upcall_pending = 0;
		vcpu_info(0)->evtchn_pending_sel = 0;
		for (unsigned i = 0; i < 4; i++)
			shared->evtchn_pending[i] = 0;
		on_event(0);
		r->rip = trap_fixup;                    /* enough of this one */
		return true;
	}
	return false;
}

#define LONG_NS 5000000000UL
#define CALL(nr, a1, a2, a3, a4) for (unsigned tries = 5; tries--;) { \
	worst_ns = 0; \
	deadline = system_time(0) + 30000000; \
	__asm__ volatile("lea 1f(%%rip), %%r11\n\tmov %%r11, trap_fixup(%%rip)\n\tmov %5, %%r10\n\tsyscall\n1:\tmovq $0, trap_fixup(%%rip)" \
		: : "a"((uint64_t)__HYPERVISOR_ ## nr), "D"((uint64_t)(a1)), "S"((uint64_t)(a2)), "d"((uint64_t)(a3)), "b"(0UL), \
		    "r"((uint64_t)(a4)) : "rcx", "r11", "r10", "r8", "r9", "memory", "cc"); (void)on_time; \
	if (worst_ns < LONG_NS) \
		break; \
	CHECK(tries); }

void guest_main(void)
{
	struct xen_memory_reservation r = { .nr_extents = 1UL << 60, .domid = DOMID_SELF };
	struct xen_memory_exchange x = { .in = { .nr_extents = 1UL << 60, .domid = DOMID_SELF },
					 .out = { .nr_extents = 1UL << 60, .domid = DOMID_SELF } };
	uint64_t *list = page_alloc(), *zero = page_alloc();
	uint8_t *many = (uint8_t *)list;

	event_hook = on_event;
	trap_hook = cut;
	bind_virq(VIRQ_TIMER, 0);
	events_on();
	on_event(0);
	for (unsigned i = 0; i < 60; i++)
		page_alloc();
	CALL(mmu_update, many, 0x7fffffff, 0, DOMID_SELF);
	CALL(mmuext_op, many, 0x7fffffff, 0, DOMID_SELF);
	CALL(mmuext_op, many, 0xffffffff, zero, DOMID_SELF);
	CALL(multicall, many, 0xffffffff, 0, 0);
	CALL(grant_table_op, GNTTABOP_copy, many, 0x7fffffff, 0);
	CALL(grant_table_op, GNTTABOP_unmap_grant_ref, many, 0x7fffffff, 0);
	r.extent_start.p = list;
	CALL(memory_op, XENMEM_populate_physmap, &r, 0, 0);
	r.extent_start.p = zero;
	r.nr_extents = 1UL << 61;
	CALL(memory_op, XENMEM_populate_physmap, &r, 0, 0);
	x.in.extent_start.p = x.out.extent_start.p = list;
	CALL(memory_op, XENMEM_exchange, &x, 0, 0);
	CALL(set_trap_table, many, 0, 0, 0);
	CALL(vcpu_op, VCPUOP_is_up, 0xffffffff, 0, 0);
	CALL(update_va_mapping, zero, pte(va_to_mfn(zero), P_KERNEL), ~0UL, 0);
	for (unsigned i = 0; i < 2000; i++)                     /* a valid, cheap entry, over and over */
		((struct mmuext_op *)list)[i].cmd = MMUEXT_TLB_FLUSH_ALL;
	CALL(mmuext_op, many, 2000, 0, DOMID_SELF);
	events_off();
	trap_hook = NULL;
	CHECK(ticks > 3);
}
