/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu_thread.h - the threads that run a domain's vCPUs, seen from the thread that controls them.
 *
 * All of these are called from one controlling thread, which is no vCPU's.
 */
#ifndef HV_VCPU_THREAD_H
#define HV_VCPU_THREAD_H

#include "hypervisor/vcpu.h"

/* One thread a vCPU, paused.  0, or -errno with none left. */
int vcpu_threads_start(struct domain *d);
/*
 * Pause returns when no vCPU thread is in the guest or in a hypercall: regs, vector state (engine sync_state) and everything in abi/
 * are complete and still.  Both are idempotent; down vCPUs count like any other.
 */
void vcpu_threads_pause(struct domain *d);
void vcpu_threads_resume(struct domain *d);
/* Ends and joins the threads.  Idempotent. */
void vcpu_threads_stop(struct domain *d);

#endif
