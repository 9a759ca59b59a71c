/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_noabi.c - the few functions of the Xen ABI that the emulator calls, for tests of the engine alone: no events, no
 * descriptor tables.
 */
#include "hypervisor/abi/abi.h"

bool pv_events_deliverable(const struct vcpu *v) { return false; }
int pv_iret_user32_cs(struct vcpu *v, uint16_t sel) { return 0; }
void pv_swapgs(struct vcpu *v) { }

bool pv_ports_in_bitmap(struct vcpu *v, uint16_t port, unsigned bytes) { return false; }

int debugreg_set(struct vcpu *v, unsigned reg, uint64_t val)
{
	v->dr[reg] = val;
	return 0;
}

int pv_load_segment(struct vcpu *v, unsigned seg, uint16_t sel)
{
	v->exc = (struct guest_exception){ .vector = 13, .error_code = sel };
	return -1;
}
