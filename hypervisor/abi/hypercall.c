/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypercall.c - from a `syscall` of the guest kernel to a handler and back.
 *
 * Number in rax, arguments in rdi, rsi, rdx, r10, r8, r9, result in rax (xen/arch-x86/xen-x86_64.h).  A handler that
 * stops half-way leaves its updated arguments in those registers and rip on the instruction, so that the guest takes
 * its events and issues the rest by itself.
 */
#include "hypervisor/abi/abi_private.h"
#include <xen/sched.h>

#define HYPERCALL_INSN_LEN 2          /* syscall and int $0x82 alike */

static hypercall_fn do_multicall;

/* Reserved to Domain-0 and to tools. */
static int64_t do_privileged(struct vcpu *v, struct hypercall *c) { return -EPERM; }

/* There is no virtual PMU: Linux takes this for a polite no. */
static int64_t do_xenpmu_op(struct vcpu *v, struct hypercall *c) { return -EOPNOTSUPP; }

/*
 * fast: the handler and all it reaches is built -mgeneral-regs-only, calls no libc memory function and waits for nothing but
 * a TLB shoot-down.  The others run in the full context (engine.h).
 */
static const struct { hypercall_fn *fn; const char *name; bool fast; } hypercalls[] = {
	[__HYPERVISOR_set_trap_table] = { do_set_trap_table, "set_trap_table" },
	[__HYPERVISOR_mmu_update] = { do_mmu_update, "mmu_update", true },
	[__HYPERVISOR_set_gdt] = { do_set_gdt, "set_gdt" },
	[__HYPERVISOR_stack_switch] = { do_stack_switch, "stack_switch", true },
	[__HYPERVISOR_set_callbacks] = { do_set_callbacks, "set_callbacks" },
	[__HYPERVISOR_fpu_taskswitch] = { do_fpu_taskswitch, "fpu_taskswitch", true },
	[__HYPERVISOR_sched_op_compat] = { do_sched_op_compat, "sched_op_compat" },
	[__HYPERVISOR_platform_op] = { do_privileged, "platform_op" },
	[__HYPERVISOR_set_debugreg] = { do_set_debugreg, "set_debugreg", true },
	[__HYPERVISOR_get_debugreg] = { do_get_debugreg, "get_debugreg", true },
	[__HYPERVISOR_update_descriptor] = { do_update_descriptor, "update_descriptor", true },
	[__HYPERVISOR_memory_op] = { do_memory_op, "memory_op" },
	[__HYPERVISOR_multicall] = { do_multicall, "multicall", true },
	[__HYPERVISOR_update_va_mapping] = { do_update_va_mapping, "update_va_mapping", true },
	[__HYPERVISOR_set_timer_op] = { do_set_timer_op, "set_timer_op" },
	[__HYPERVISOR_xen_version] = { do_xen_version, "xen_version" },
	[__HYPERVISOR_console_io] = { do_console_io, "console_io" },
	[__HYPERVISOR_grant_table_op] = { do_grant_table_op, "grant_table_op" },
	[__HYPERVISOR_vm_assist] = { do_vm_assist, "vm_assist" },
	[__HYPERVISOR_update_va_mapping_otherdomain] = { do_update_va_mapping_otherdomain, "update_va_mapping_otherdomain" },
	[__HYPERVISOR_iret] = { do_iret, "iret", true },
	[__HYPERVISOR_vcpu_op] = { do_vcpu_op, "vcpu_op" },
	[__HYPERVISOR_set_segment_base] = { do_set_segment_base, "set_segment_base", true },
	[__HYPERVISOR_mmuext_op] = { do_mmuext_op, "mmuext_op", true },
	[__HYPERVISOR_nmi_op] = { do_nmi_op, "nmi_op" },
	[__HYPERVISOR_sched_op] = { do_sched_op, "sched_op" },
	[__HYPERVISOR_callback_op] = { do_callback_op, "callback_op" },
	[__HYPERVISOR_event_channel_op] = { do_event_channel_op, "event_channel_op" },
	[__HYPERVISOR_physdev_op] = { do_physdev_op, "physdev_op" },
	[__HYPERVISOR_sysctl] = { do_privileged, "sysctl" },
	[__HYPERVISOR_domctl] = { do_privileged, "domctl" },
	[__HYPERVISOR_kexec_op] = { do_privileged, "kexec_op" },
	[__HYPERVISOR_xenpmu_op] = { do_xenpmu_op, "xenpmu_op" },
	[__HYPERVISOR_dm_op] = { do_privileged, "dm_op" },
};

#define NR_HYPERCALLS (sizeof(hypercalls) / sizeof(hypercalls[0]))

static hypercall_fn *hypercall_lookup(uint64_t nr)
{
	return nr < NR_HYPERCALLS ? hypercalls[nr].fn : NULL;
}

/* The handler, in the context it needs; NULL: there is none. */
static hypercall_fn *hypercall_enter(struct vcpu *v, uint64_t nr)
{
	hypercall_fn *fn = hypercall_lookup(nr);

	if (fn && !hypercalls[nr].fast)
		abi_full_context(v);
	return fn;
}

const char *hypercall_name(uint64_t nr)
{
	return hypercall_lookup(nr) ? hypercalls[nr].name : "unknown";
}

static int64_t multicall_one(struct vcpu *v, const struct multicall_entry *e, struct hypercall *c)
{
	hypercall_fn *fn = hypercall_enter(v, e->op);

	/* Neither nests nor leaves the kernel from inside a list. */
	if (!fn)
		return -ENOSYS;
	if (fn == do_multicall || fn == do_iret)
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++)
		c->arg[i] = e->args[i];
	return fn(v, c);
}

/*
 * multicall(entry list[], nr): each entry's result is its own; the call fails only where the list cannot be read or
 * written.  Preemptible between entries and, through the entry's own arguments, within one.
 */
static int64_t do_multicall(struct vcpu *v, struct hypercall *c)
{
	uint64_t list = c->arg[0];
	uint32_t nr = (uint32_t)c->arg[1];

	for (uint32_t i = 0; i < nr; i++, list += sizeof(struct multicall_entry)) {
		struct multicall_entry e;
		struct hypercall one = { .in_multicall = true };
		int64_t result;

		if (i && hypercall_preempt(v)) {
			c->again = true;
			c->arg[0] = list;
			c->arg[1] = nr - i;
			return 0;
		}
		if (guest_read(v, &e, list, sizeof(e)))
			return -EFAULT;
		result = multicall_one(v, &e, &one);
		if (one.again) {
			if (guest_write(v, list + offsetof(struct multicall_entry, args), one.arg, sizeof(one.arg)))
				return -EFAULT;
			c->again = true;
			c->arg[0] = list;
			c->arg[1] = nr - i;
			return 0;
		}
		if (guest_write(v, list + offsetof(struct multicall_entry, result), &result, sizeof(result)))
			return -EFAULT;
		if (atomic_load(&v->d->shutdown_reason) != DOMAIN_RUNNING && i + 1 < nr) {
			/* The rest is done should the domain go on after all, as after a suspend. */
			c->again = true;
			c->arg[0] = list + sizeof(struct multicall_entry);
			c->arg[1] = nr - i - 1;
			return 0;
		}
	}
	return 0;
}

int pv_hypercall(struct vcpu *v)
{
	static const uint8_t arg_reg[6] = { REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9 };
	struct cpu_regs *regs = &v->regs;
	hypercall_fn *fn = hypercall_enter(v, regs->gpr[REG_RAX]);
	struct hypercall c = { 0 };
	int64_t result;

	for (unsigned i = 0; i < 6; i++)
		c.arg[i] = regs->gpr[arg_reg[i]];
	result = fn ? fn(v, &c) : -ENOSYS;
	if (!c.no_return) {
		if (c.again) {
			for (unsigned i = 0; i < 6; i++)
				regs->gpr[arg_reg[i]] = c.arg[i];
			regs->rip -= HYPERCALL_INSN_LEN;
		} else {
			regs->gpr[REG_RAX] = (uint64_t)result;
		}
		/* The instruction's own clobbers (SDM, SYSCALL). */
		regs->gpr[REG_RCX] = regs->rip;
		regs->gpr[REG_R11] = regs->rflags | EFLAGS_IF;
	}
	return atomic_load(&v->d->shutdown_reason) == SHUTDOWN_crash ? -1 : 0;
}
