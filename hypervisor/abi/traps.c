/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * traps.c - where the guest kernel wants to be entered: trap table, callbacks, kernel stack; and CR0.TS and the debug
 * registers it sets by hypercall.
 */
#include "hypervisor/abi/abi_private.h"
#include <xen/callback.h>
#include <xen/nmi.h>

/* A table longer than this is an endless one: 256 vectors, each twice. */
#define TRAP_TABLE_MAX 512

int64_t do_set_trap_table(struct vcpu *v, struct hypercall *c)
{
	uint64_t va = c->arg[0];

	if (!va) {
		memset(v->trap, 0, sizeof(v->trap));
		return 0;
	}
	for (unsigned i = 0; i < TRAP_TABLE_MAX; i++, va += sizeof(struct trap_info)) {
		struct trap_info t;

		if (guest_read(v, &t, va, sizeof(t)))
			return -EFAULT;
		if (!t.address)
			return 0;
		if (!va_is_canonical(t.address))
			return -EINVAL;
		v->trap[t.vector] = (struct trap_entry){ .address = t.address, .cs = t.cs | 3, .dpl = TI_GET_DPL(&t),
							 .mask_events = !!TI_GET_IF(&t) };
	}
	return -EINVAL;
}

static void nmi_callback_set(struct vcpu *v, uint64_t address)
{
	v->cb_nmi = address;
	v->trap[TRAP_NMI] = (struct trap_entry){ .address = address, .cs = FLAT_KERNEL_CS, .mask_events = 1 };
}

static int64_t callback_register_one(struct vcpu *v, const struct callback_register *r)
{
	bool mask = r->flags & CALLBACKF_mask_events;

	if (!va_is_canonical(r->address))
		return -EINVAL;
	switch (r->type) {
	case CALLBACKTYPE_event:
		v->cb_event = r->address;
		return 0;
	case CALLBACKTYPE_failsafe:
		v->cb_failsafe = r->address;
		v->cb_failsafe_mask = mask;
		return 0;
	case CALLBACKTYPE_syscall:
		v->cb_syscall = r->address;
		v->cb_syscall_mask = mask;
		return 0;
	case CALLBACKTYPE_syscall32:
		v->cb_syscall32 = r->address;
		v->cb_syscall32_mask = mask;
		return 0;
	case CALLBACKTYPE_sysenter:
	case CALLBACKTYPE_sysenter_deprecated:
		v->cb_sysenter = r->address;
		v->cb_sysenter_mask = mask;
		return 0;
	case CALLBACKTYPE_nmi:
		if (v->id)
			return -EINVAL;
		nmi_callback_set(v, r->address);
		return 0;
	}
	return -ENOSYS;
}

static int64_t callback_unregister_one(struct vcpu *v, uint16_t type)
{
	switch (type) {
	case CALLBACKTYPE_event:
	case CALLBACKTYPE_failsafe:
	case CALLBACKTYPE_syscall:
	case CALLBACKTYPE_syscall32:
	case CALLBACKTYPE_sysenter:
	case CALLBACKTYPE_sysenter_deprecated:
		return -EINVAL;
	case CALLBACKTYPE_nmi:
		nmi_callback_set(v, 0);
		return 0;
	}
	return -ENOSYS;
}

int64_t do_callback_op(struct vcpu *v, struct hypercall *c)
{
	struct callback_register reg;
	struct callback_unregister unreg;

	switch (c->arg[0]) {
	case CALLBACKOP_register:
		if (guest_read(v, &reg, c->arg[1], sizeof(reg)))
			return -EFAULT;
		return callback_register_one(v, &reg);
	case CALLBACKOP_unregister:
		if (guest_read(v, &unreg, c->arg[1], sizeof(unreg)))
			return -EFAULT;
		return callback_unregister_one(v, unreg.type);
	}
	return -ENOSYS;
}

/* The older form: three addresses at once. */
int64_t do_set_callbacks(struct vcpu *v, struct hypercall *c)
{
	if (!va_is_canonical(c->arg[0]) || !va_is_canonical(c->arg[1]) || !va_is_canonical(c->arg[2]))
		return -EINVAL;
	v->cb_event = c->arg[0];
	v->cb_failsafe = c->arg[1];
	v->cb_syscall = c->arg[2];
	return 0;
}

int64_t do_nmi_op(struct vcpu *v, struct hypercall *c)
{
	struct xennmi_callback cb;

	switch (c->arg[0]) {
	case XENNMI_register_callback:
		if (guest_read(v, &cb, c->arg[1], sizeof(cb)))
			return -EFAULT;
		if (v->id || !va_is_canonical(cb.handler_address))
			return -EINVAL;
		nmi_callback_set(v, cb.handler_address);
		return 0;
	case XENNMI_unregister_callback:
		nmi_callback_set(v, 0);
		return 0;
	}
	return -ENOSYS;
}

int64_t do_stack_switch(struct vcpu *v, struct hypercall *c)
{
	v->kernel_ss = (uint16_t)(c->arg[0] | 3);
	v->kernel_sp = c->arg[1];
	return 0;
}

int64_t do_fpu_taskswitch(struct vcpu *v, struct hypercall *c)
{
	v->cr0_ts = !!c->arg[0];
	return 0;
}

/* Fixed bits as in SDM vol. 3, 18.2.  The engine watches what DR7 arms (emulate_debug.c). */
int debugreg_set(struct vcpu *v, unsigned reg, uint64_t val)
{
	switch (reg) {
	case 0 ... 3:
		if (!va_is_canonical(val) || va_is_hypervisor(val))
			return -EPERM;
		v->dr[reg] = val;
		return 0;
	case 6:
		if (val >> 32)
			return -EINVAL;
		v->dr[6] = (val & 0xe00f) | 0xffff0ff0;
		return 0;
	case 7:
		if (val >> 32)
			return -EINVAL;
		if (val & 0x2000)                     /* DR7.GD would trap the hypervisor's own accesses */
			return -EPERM;
		v->dr[7] = (val & 0xffff03ff) | 0x400;
		return 0;
	}
	return -ENODEV;
}

int64_t do_set_debugreg(struct vcpu *v, struct hypercall *c)
{
	return c->arg[0] > 7 ? -ENODEV : debugreg_set(v, (unsigned)c->arg[0], c->arg[1]);
}

int64_t do_get_debugreg(struct vcpu *v, struct hypercall *c)
{
	switch (c->arg[0]) {
	case 0 ... 3:
	case 6:
	case 7:
		return (int64_t)v->dr[c->arg[0]];
	}
	return -ENODEV;
}
