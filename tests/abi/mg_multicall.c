/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long lists while a timer keeps interrupting: every entry of a multicall and of a big mmu_update is done exactly once,
 * in order, although the calls are cut short and continued.
 */
#include "micro_guest.h"

const char guest_name[] = "multicall";

#define N 4096

static volatile unsigned ticks;

static void on_event(uint32_t port)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + 200000 };

	ticks++;
	vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
}

static struct multicall_entry calls[N];
static struct mmu_update updates[N];

void guest_main(void)
{
	uint64_t *table = page_alloc();
	uint32_t done = 0;

	bind_virq(VIRQ_TIMER, 0);
	event_hook = on_event;
	on_event(0);
	events_on();
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < N; i++) {
			updates[i].ptr = (va_to_mfn(table) << 12) + i % 512 * 8;
			updates[i].val = (uint64_t)(round * N + i) << 1;        /* not present: any value */
			calls[i] = (struct multicall_entry){ .op = __HYPERVISOR_mmu_update, .result = 99,
							     .args = { (uint64_t)&updates[i], 1, 0, DOMID_SELF } };
		}
		CHECK_EQ(hypercall(multicall, calls, N, 0, 0), 0);
		for (unsigned i = 0; i < N; i++)
			CHECK_EQ(calls[i].result, 0);
		for (unsigned i = 0; i < 512; i++)
			CHECK_EQ(table[i], (uint64_t)(round * N + N - 512 + i) << 1);
		memset(table, 0, 4096);
		CHECK_EQ(hypercall(mmu_update, updates, N, &done, DOMID_SELF), 0);
		CHECK_EQ(done, N);
		for (unsigned i = 0; i < 512; i++)
			CHECK_EQ(table[i], (uint64_t)(round * N + N - 512 + i) << 1);
	}
	CHECK(ticks > 0);
}
