/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector registers are the guest's own: they survive hypercalls, upcalls, sleeping, faults and slow-path instructions,
 * whatever the hypervisor's C code does with them meanwhile.
 */
#include "micro_guest.h"

const char guest_name[] = "fpu";

static void on_event(uint32_t port) { }

static uint8_t in[16][16] __attribute__((aligned(16))), out[16][16] __attribute__((aligned(16)));

#define EACH(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD(n) "movdqa " #n "*16(%0), %%xmm" #n "\n\t"
#define STORE(n) "movdqa %%xmm" #n ", " #n "*16(%0)\n\t"

static void load(void) { __asm__ volatile(EACH(LOAD) : : "r"(in) : "memory"); }
static void store(void) { __asm__ volatile(EACH(STORE) : : "r"(out) : "memory"); }

static void same(const char *after)
{
	store();
	for (unsigned i = 0; i < sizeof(in); i++)
		if (((uint8_t *)in)[i] != ((uint8_t *)out)[i])
			fail("vector registers differ after %s", after);
}

void guest_main(void)
{
	struct vcpu_set_singleshot_timer t;
	uint32_t mxcsr = 0x3f80, got, port = bind_ipi(0);

	bind_virq(VIRQ_TIMER, 0);
	event_hook = on_event;
	for (unsigned i = 0; i < sizeof(in); i++)
		((uint8_t *)in)[i] = (uint8_t)rnd();
	load();
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	hypercall(xen_version, 0, 0, 0, 0);
	same("a hypercall");
	events_on();
	event_send(port);
	same("an upcall");
	for (unsigned i = 0; i < 20; i++) {
		events_off();                           /* block unmasks; the timer must not be taken before it */
		t.timeout_abs_ns = system_time(0) + 1000000;
		vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
		load();
		sched_op(SCHEDOP_block, NULL);
		same("sleeping");
	}
	for (unsigned i = 0; i < 100; i++) {
		TRY("ud2", : : : "r11", "memory");
		same("a fault");
	}
	{
		uint64_t src[64], dst[64], n = 512, *s = src, *d = dst;

		__asm__ volatile("rep movsb" : "+c"(n), "+S"(s), "+D"(d) : : "memory");
		same("rep movsb");
	}
	__asm__ volatile("stmxcsr %0" : "=m"(got));
	CHECK_EQ(got, mxcsr);
}
