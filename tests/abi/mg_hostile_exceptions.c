/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: exceptions in storms: handlers that fault themselves six deep, every int n from both modes, single-stepping
 * through faults, traps at once with events and NMIs, page faults whose handler takes the page away again.
 */
#include "micro_guest.h"
#include <xen/callback.h>

const char guest_name[] = "hostile_exceptions";

static volatile unsigned depth, deepest, count, steps;
static volatile uint64_t resume_at;

static bool nested(struct trap_regs *r)
{
	if (r->vector == TRAP_EVENT) {
		vcpu_info(0)->evtchn_upcall_pending = 0;
		return true;
	}
	if (r->vector == 1 || r->vector == 2) {
		steps++;
		return true;
	}
	if (r->vector != 6)
		return false;
	count++;
	if (++depth > deepest)
		deepest = depth;
	if (depth < 6)
		__asm__ volatile("ud2" ::: "memory");
	depth--;
	r->rip += 2;
	return true;
}

void guest_main(void)
{
	uint8_t code[] = { 0xcd, 0, 0xcc };
	uint64_t end;
	uint32_t port;

	trap_hook = nested;
	for (unsigned i = 0; i < 200; i++)
		__asm__ volatile("ud2" ::: "memory");
	CHECK_EQ(count, 200 * 6);
	CHECK_EQ(deepest, 6);
	/* stepped, interrupted and nudged */
	set_callback(CALLBACKTYPE_nmi, 0, trap_stubs[2]);
	port = bind_ipi(0);
	events_on();
	for (unsigned i = 0; i < 200; i++) {
		event_send(port);
		vcpu_op(VCPUOP_send_nmi, 0, NULL);
		__asm__ volatile("pushf\n\torq $0x100, (%%rsp)\n\tpopf\n\tud2\n\tnop\n\tpushf\n\tandq $~0x100, (%%rsp)\n\tpopf" ::: "memory", "cc");
	}
	CHECK(steps > 600);
	events_off();
	trap_hook = NULL;
	/* gates nobody may use, and those that are open */
	user_tables(true);
	for (unsigned n = 0; n < 256; n++) {
		code[1] = (uint8_t)n;
		run_user(code, sizeof(code));
		CHECK_EQ(back.cs & 3, 3);
		if (n == 3 || n == 4)
			CHECK_EQ(back.vector, n);
		else if (n == 0x80)
			CHECK_EQ(back.vector, 128);
		else
			CHECK_EQ(back.vector, 13);
	}
	for (unsigned n = 0; n < 256; n++) {
		static uint8_t stub[4];

		stub[0] = 0xcd;
		stub[1] = (uint8_t)n;
		stub[2] = 0xc3;
		TRY_STACK("call *%0", : : "r"(stub) : "rbx", "r11", "memory");
	}
	/* a fault that comes back for ever is the guest's own time: the clock goes on */
	end = system_time(0) + 50000000;
	count = 0;
	while (count <= 100 || system_time(0) < end) {  /* a host that stands still leaves little of that time */
		CHECK(system_time(0) < end + 20000000000UL);
		TRY("mov (%0), %%rax", : : "r"(0x123456789000UL + count * 4096UL) : "rax", "r11", "memory");
		CHECK_EQ(trapped.vector, 14);
		count++;
	}
}
