/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HV_VCPU_LOOP_H
#define HV_VCPU_LOOP_H

#include "hypervisor/vcpu.h"

/* Runs v until v->exit_requested.  On v's thread, after engine->vcpu_enter_thread(). */
void vcpu_loop(struct vcpu *v);

#endif
