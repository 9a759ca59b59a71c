/* SPDX-License-Identifier: GPL-2.0-or-later */
/* privop.h - what the privileged-instruction emulation shares with its neighbours. */
#ifndef BT_PRIVOP_H
#define BT_PRIVOP_H

#include "hypervisor/abi/abi.h"
#include "hypervisor/vcpu.h"

/* CR0 of a PV guest: PG AM WP NE ET MP PE, and TS as fpu_taskswitch and clts leave it. */
#define PV_CR0 0x80050033UL
#define CR0_TS 0x8UL

/*
 * Port I/O, cli and sti: Xen's iopl_ok() (xen/arch/x86/pv/emul-priv-op.c).  set_iopl sets v->iopl; a guest kernel
 * counts as ring 1 unless it asked for the architectural meaning.
 */
static inline bool priv_io_allowed(const struct vcpu *v)
{
	unsigned cpl = !v->regs.kernel_mode ? 3 : v->d->vm_assist >> VMASST_TYPE_architectural_iopl & 1 ? 0 : 1;

	return v->iopl >= cpl;
}

/* `bytes` ports from one on: by that, or by the guest's bitmap. */
static inline bool priv_ports_allowed(struct vcpu *v, uint64_t port, unsigned bytes)
{
	return priv_io_allowed(v) || pv_ports_in_bitmap(v, (uint16_t)port, bytes);
}

/* TSC as the guest reads it. */
uint64_t priv_guest_tsc(struct vcpu *v);

/*
 * The descriptor behind a selector, from the GDT frames, the LDT or Xen's own part of the GDT: -1 when there is none
 * (null selector, past the end, unreadable).  Changes nothing.
 */
int priv_descriptor(struct vcpu *v, uint16_t sel, uint64_t *desc);

#endif
