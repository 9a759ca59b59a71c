/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu_thread.h - the threads that run a domain's vCPUs: start, pause, resume, end; and how a vCPU sleeps and wakes.
 */
#ifndef HV_VCPU_THREAD_H
#define HV_VCPU_THREAD_H

#include "hypervisor/vcpu.h"

/*
 * The first four are called from one controlling thread, which is no vCPU's and holds no d->lock.
 *
 * start: one thread a vCPU, paused.  0, or -errno with none left.
 */
int vcpu_threads_start(struct domain *d);
/*
 * Pause returns when no vCPU thread is in the guest or in a hypercall: regs, vector state (engine sync_state) and
 * everything in abi/ are complete and still.  Both are idempotent; down vCPUs count like any other.
 */
void vcpu_threads_pause(struct domain *d);
/* The same without waiting: a vCPU that stands still in the middle of an instruction, for a page, parks behind it. */
void vcpu_threads_pause_soon(struct domain *d);
void vcpu_threads_resume(struct domain *d);
/* Takes so many thousandths (0 … 999) of their time from the vCPUs; 0 gives all of it back at once. */
void vcpu_threads_throttle(struct domain *d, unsigned thousandths);
/* Ends and joins the threads.  Idempotent. */
void vcpu_threads_stop(struct domain *d);

/* ---- for vcpu_loop.c, on v's own thread ---- */

void vcpu_wait(struct vcpu *v, uint64_t deadline_ns);       /* until vcpu_wake() or host monotonic time; UINT64_MAX: none */
void vcpu_thread_park(struct vcpu *v);                      /* acknowledge a pause, return when it is over */
void vcpu_timer_arm(struct vcpu *v, uint64_t deadline_ns);  /* kick v then, and perhaps at a time armed before; UINT64_MAX: never */

#endif
