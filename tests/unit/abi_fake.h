/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abi_fake.h - a domain without an engine, for tests of abi/, which is pure: guest virtual address = frame * 4096 for
 * the engine's copies, clocks that stand still until a test moves them, and counters of what the ABI asked for.
 */
#ifndef TESTS_ABI_FAKE_H
#define TESTS_ABI_FAKE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "hypervisor/abi/evtchn.h"
#include "hypervisor/abi/gnttab.h"
#include <xen/callback.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/version.h>

#define FAKE_TSC_KHZ 2100000UL         /* of the node a test begins on */

struct fake_counters {
	unsigned wakes[HV_MAX_VCPUS];
	unsigned shootdowns, flushes, invlpgs, cr3_changes, mode_changes, frames_written, shutdowns, backend_notifies;
	uint32_t backend_port;
	bool backend_wants_turn;
	unsigned backend_turns;
	char log[256];
	char console[1024];
	size_t console_len;
};

extern struct fake_counters fake;
extern uint64_t fake_now, fake_real;
extern bool fake_tsc_stable;
extern uint64_t fake_tsc_khz, fake_tsc_ahead;     /* another node's rate, and ticks it has counted besides */

/* pages of RAM, the first `held` of them the guest's; vCPU 0 runnable.  Asserts on failure. */
struct domain *fake_domain(unsigned vcpus, uint64_t pages, uint64_t held);
void fake_free(struct domain *d);

/* Two vCPUs, 127 of 256 frames held, page tables, ports of each kind, registers: something in each field of what is saved. */
struct domain *fake_busy_domain(void);
/* Events, timers, an exception and a hypercall on it; which of them depends on round. */
void fake_run_on(struct domain *d, unsigned round);

/* Guest address of a frame, and the host's view of guest memory. */
static inline uint64_t gva(uint64_t frame) { return frame << PAGE_SHIFT_HV; }
static inline void *hva(struct domain *d, uint64_t va) { return d->ram + va; }

/* One hypercall on v; its result. */
int64_t hypercall(struct vcpu *v, uint64_t nr, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4);
/* Copies *arg to the guest (frame 1), calls nr(cmd, arg), copies it back. */
int64_t hypercall_arg(struct vcpu *v, uint64_t nr, uint64_t cmd, void *arg, size_t n);
#define HCALL(v, nr, cmd, arg) hypercall_arg(v, __HYPERVISOR_ ## nr, cmd, arg, sizeof(*(arg)))

#endif
