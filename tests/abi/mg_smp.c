/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A second vCPU (runs with two): brought up with a full context, sees the first one's stores, answers IPIs from a blocked
 * state, notices a TLB shoot-down, and goes down by itself.
 */
#include "micro_guest.h"

const char guest_name[] = "smp";

static volatile unsigned stage, echo;
static volatile uint64_t *window, read_back;
static uint32_t to_one;

static void second(void)
{
	vcpu_info(1)->evtchn_upcall_mask = 1;
	stage = 1;
	for (unsigned want = 1; want <= 100; want++) {
		struct sched_poll p = { .nr_ports = 1 };

		p.ports.p = &to_one;
		while (!(__atomic_fetch_and(&shared->evtchn_pending[0], ~(1UL << to_one), __ATOMIC_SEQ_CST) >> to_one & 1))
			sched_op(SCHEDOP_poll, &p);
		echo = want;
	}
	while (stage == 1)
		read_back = *window;
	/* from here on the window shows another page; an old translation would still show the first */
	for (unsigned i = 0; i < 1000; i++)
		if (*window != 0xbbbb)
			stage = 99;
	if (stage == 2)
		stage = 3;
	vcpu_op(VCPUOP_down, 1, NULL);
	fail("a vCPU that is down went on");
}

void guest_main(void)
{
	volatile uint64_t *a = page_alloc(), *b = page_alloc();
	uint64_t deadline;

	if (vcpu_op(VCPUOP_is_up, 1, NULL) == -XEN_ENOENT)
		fail("needs two vCPUs");
	CHECK_EQ(vcpu_op(VCPUOP_is_up, 1, NULL), 0);
	window = page_alloc();
	*a = 0xaaaa;
	*b = 0xbbbb;
	map_page((uint64_t)window, pte(va_to_mfn(a), P_KERNEL));
	to_one = bind_ipi(1);
	vcpu_start(1, second);
	CHECK_EQ(vcpu_op(VCPUOP_is_up, 1, NULL), 1);
	deadline = system_time(0) + 20000000000UL;
	while (stage != 1)
		CHECK(system_time(0) < deadline);
	for (unsigned n = 1; n <= 100; n++) {
		CHECK_EQ(event_send(to_one), 0);
		while (echo != n)
			CHECK(system_time(0) < deadline);
	}
	while (read_back != 0xaaaa)
		CHECK(system_time(0) < deadline);
	map_page((uint64_t)window, pte(va_to_mfn(b), P_KERNEL));        /* flushes everywhere before it returns */
	stage = 2;
	while (stage == 2)
		CHECK(system_time(0) < deadline);
	CHECK_EQ(stage, 3);
	while (vcpu_op(VCPUOP_is_up, 1, NULL))
		CHECK(system_time(0) < deadline);
}
