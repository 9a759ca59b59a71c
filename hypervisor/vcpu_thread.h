/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu_thread.h - the threads that run a domain's vCPUs: start, pause, resume, end; and how a vCPU sleeps and wakes.
 */
#ifndef HV_VCPU_THREAD_H
#define HV_VCPU_THREAD_H

#include "hypervisor/vcpu.h"

/*
 * One thread per vCPU and one for the timers of vCPUs that are in the guest.  They start paused (one vcpus_resume is
 * due).  0 or -errno, with nothing left behind on error.  Context: a thread that is not a vCPU's.
 */
int vcpu_threads_start(struct domain *d);

/* Ends and joins them.  Idempotent. */
void vcpu_threads_stop(struct domain *d);

/*
 * Pause: when it returns every vCPU thread is parked outside the guest, its registers and vector state complete in
 * struct vcpu.  Pauses count: as many resumes are due.  Not on vCPU threads, nor with d->lock held.
 */
void vcpus_pause(struct domain *d);
void vcpus_resume(struct domain *d);
bool vcpus_are_paused(struct domain *d);

/* ---- for vcpu_loop.c, on v's own thread ---- */

void vcpu_wait(struct vcpu *v, uint64_t deadline_ns);       /* until vcpu_wake() or host monotonic time; UINT64_MAX: none */
void vcpu_thread_park(struct vcpu *v);                      /* acknowledge a pause, return when it is over */
void vcpu_timer_arm(struct vcpu *v, uint64_t deadline_ns);  /* kick v then; UINT64_MAX: never */

#endif
