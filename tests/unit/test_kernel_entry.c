/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entering and leaving the guest kernel: the exact frames of xen-x86_64.h, masks, and guests with bad stacks. */
#include "tests/unit/abi_fake.h"

#define KSTACK gva(10)
#define USTACK 0x7f0000001008UL
#define HANDLER 0xffffffff81000100UL

static struct domain *d;
static struct vcpu *v;

static int setup(void **state)
{
	d = fake_domain(1, 256, 128);
	v = d->vcpu[0];
	v->kernel_sp = KSTACK;
	v->cr3_user = 3;
	v->regs.gpr[REG_RCX] = 0xc;
	v->regs.gpr[REG_R11] = 0xb;
	v->regs.gpr[REG_RSP] = KSTACK - 0x108;
	v->regs.rip = 0xffffffff81234567UL;
	v->regs.gs_base = 0x1000;
	v->regs.gs_base_other = 0x2000;
	for (unsigned i = 0; i < 32; i++)
		v->trap[i] = (struct trap_entry){ .address = HANDLER + i, .cs = FLAT_KERNEL_CS, .dpl = i == 3 ? 3 : 0 };
	return 0;
}

static int teardown(void **state)
{
	fake_free(d);
	return 0;
}

static void go_user(void)
{
	pv_toggle_mode(v);
	v->regs.sel[SEG_CS] = FLAT_USER_CS64;
	v->regs.sel[SEG_SS] = FLAT_USER_SS;
	v->regs.gpr[REG_RSP] = USTACK;
	v->regs.rip = 0x400123;
}

static uint64_t *frame(void) { return hva(d, v->regs.gpr[REG_RSP]); }

static void page_fault_from_user(void **state)
{
	uint64_t *f;

	go_user();
	v->exc = (struct guest_exception){ .vector = TRAP_PF, .error_code = 2, .cr2 = 0xdead000 };
	assert_int_equal(pv_exception(v), 0);
	f = frame();
	assert_int_equal(v->regs.gpr[REG_RSP], KSTACK - 64);
	assert_int_equal(f[0], 0xc);
	assert_int_equal(f[1], 0xb);
	assert_int_equal(f[2], 6);                      /* W | U: it was user mode */
	assert_int_equal(f[3], 0x400123);
	assert_int_equal(f[4], FLAT_USER_CS64);
	assert_true(f[5] & EFLAGS_IF);
	assert_int_equal(f[6], USTACK);
	assert_int_equal(f[7], FLAT_USER_SS);
	assert_int_equal(v->info->arch.cr2, 0xdead000);
	assert_int_equal(v->regs.rip, HANDLER + TRAP_PF);
	assert_int_equal(v->regs.sel[SEG_CS], FLAT_KERNEL_CS);
	assert_int_equal(v->regs.kernel_mode, 1);
	assert_int_equal(v->regs.gs_base, 0x1000);      /* the kernel's, after swapgs twice */
	assert_int_equal(v->info->evtchn_upcall_mask, 0);
}

static void fault_in_the_kernel_stays_on_its_stack(void **state)
{
	uint64_t *f, old_sp = v->regs.gpr[REG_RSP];

	v->info->evtchn_upcall_mask = 1;
	v->regs.rflags |= EFLAGS_TF | EFLAGS_AC | EFLAGS_NT | EFLAGS_CF;
	v->exc = (struct guest_exception){ .vector = TRAP_UD };
	assert_int_equal(pv_exception(v), 0);
	f = frame();
	assert_int_equal(v->regs.gpr[REG_RSP], (old_sp & ~15UL) - 56);   /* no error code: seven words */
	assert_int_equal(f[2], 0xffffffff81234567UL);
	assert_int_equal(f[3], (uint64_t)(FLAT_KERNEL_CS & ~3) | 1UL << 32);
	assert_false(f[4] & EFLAGS_IF);
	assert_int_equal(f[5], old_sp);
	assert_false(v->regs.rflags & (EFLAGS_TF | EFLAGS_AC | EFLAGS_NT));
	assert_true(v->regs.rflags & EFLAGS_CF);
}

static void gate_flag_masks_events(void **state)
{
	v->trap[TRAP_GP].mask_events = 1;
	v->exc = (struct guest_exception){ .vector = TRAP_GP, .error_code = 0x18 };
	assert_int_equal(pv_exception(v), 0);
	assert_int_equal(v->info->evtchn_upcall_mask, 1);
	assert_int_equal(frame()[2], 0x18);
	assert_int_equal(frame()[4] >> 32, 0);          /* the mask as it was */
}

static void events_come_when_unmasked_and_once(void **state)
{
	v->cb_event = HANDLER;
	v->info->evtchn_upcall_mask = 1;
	v->info->evtchn_upcall_pending = 1;
	assert_int_equal(pv_deliver_events(v), 0);
	assert_int_not_equal(v->regs.rip, HANDLER);
	v->info->evtchn_upcall_mask = 0;
	assert_true(pv_events_deliverable(v));
	assert_int_equal(pv_deliver_events(v), 0);
	assert_int_equal(v->regs.rip, HANDLER);
	assert_int_equal(v->info->evtchn_upcall_mask, 1);
	assert_false(pv_events_deliverable(v));
}

static void nmi_is_held_until_iret(void **state)
{
	struct callback_register cb = { .type = CALLBACKTYPE_nmi, .address = HANDLER + 0x500 };
	struct iret_context *f;

	assert_int_equal(HCALL(v, callback_op, CALLBACKOP_register, &cb), 0);
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_send_nmi, 0, 0, 0), 0);
	v->info->evtchn_upcall_mask = 1;                /* NMIs do not care */
	assert_int_equal(pv_deliver_events(v), 0);
	assert_int_equal(v->regs.rip, HANDLER + 0x500);
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_send_nmi, 0, 0, 0), 0);
	assert_false(pv_events_deliverable(v));
	v->regs.gpr[REG_RSP] = gva(12);
	f = hva(d, gva(12));
	*f = (struct iret_context){ .cs = FLAT_KERNEL_CS & ~3, .ss = FLAT_KERNEL_SS, .rip = 1, .rsp = gva(13) };
	hypercall(v, __HYPERVISOR_iret, 0, 0, 0, 0);
	assert_true(pv_events_deliverable(v));
}

static void stack_that_cannot_be_written_ends_the_domain(void **state)
{
	v->regs.gpr[REG_RSP] = gva(100000);
	v->exc = (struct guest_exception){ .vector = TRAP_UD };
	assert_int_equal(pv_exception(v), -1);
	assert_int_equal(atomic_load(&d->shutdown_reason), SHUTDOWN_crash);
	assert_non_null(strstr(fake.log, "stack"));
	assert_int_equal(fake.shutdowns, 1);
}

static void no_handler_ends_the_domain(void **state)
{
	v->trap[TRAP_UD].address = 0;
	v->exc = (struct guest_exception){ .vector = TRAP_UD };
	assert_int_equal(pv_exception(v), -1);
	assert_non_null(strstr(fake.log, "#UD"));
	assert_non_null(strstr(fake.log, "no handler"));
}

/* int n from user through a gate that is not for it must be #GP with the IDT bit, at the instruction. */
static void closed_gate_is_general_protection(void **state)
{
	go_user();
	v->trap[0x80] = (struct trap_entry){ .address = HANDLER + 0x80, .dpl = 0 };
	v->exc = (struct guest_exception){ .vector = 0x80, .software = 2 };
	v->regs.rip = 0x400125;
	assert_int_equal(pv_exception(v), 0);
	assert_int_equal(v->regs.rip, HANDLER + TRAP_GP);
	assert_int_equal(frame()[2], 0x80 << 3 | 2);
	assert_int_equal(frame()[3], 0x400123);
}

static void open_gates_let_int3_and_int80_in(void **state)
{
	go_user();
	v->trap[0x80] = (struct trap_entry){ .address = HANDLER + 0x80, .dpl = 3 };
	v->exc = (struct guest_exception){ .vector = 0x80, .software = 2 };
	assert_int_equal(pv_exception(v), 0);
	assert_int_equal(v->regs.rip, HANDLER + 0x80);
	go_user();
	v->exc = (struct guest_exception){ .vector = TRAP_BP, .software = 1 };
	assert_int_equal(pv_exception(v), 0);
	assert_int_equal(v->regs.rip, HANDLER + TRAP_BP);
}

static void syscall_bounces_and_iret_returns(void **state)
{
	struct callback_register cb = { .type = CALLBACKTYPE_syscall, .flags = CALLBACKF_mask_events, .address = HANDLER };
	struct iret_context *f;

	assert_int_equal(HCALL(v, callback_op, CALLBACKOP_register, &cb), 0);
	go_user();
	assert_int_equal(pv_syscall(v, EXIT_SYSCALL), 0);
	assert_int_equal(v->regs.rip, HANDLER);
	assert_int_equal(v->regs.gpr[REG_RSP], KSTACK - 56);
	assert_int_equal(frame()[0], 0x400123);         /* rcx: the return address */
	assert_true(frame()[1] & EFLAGS_IF);            /* r11: flags */
	assert_int_equal(frame()[2], 0x400123);
	assert_int_equal(frame()[6], FLAT_USER_SS);
	assert_int_equal(v->info->evtchn_upcall_mask, 1);

	v->regs.gpr[REG_RSP] = gva(12);
	f = hva(d, gva(12));
	*f = (struct iret_context){ .rax = 42, .r11 = 1, .rcx = 2, .flags = VGCF_in_syscall, .rip = 0x400123, .cs = 0x33,
				    .rflags = EFLAGS_IF | EFLAGS_CF, .rsp = USTACK, .ss = 0x2b };
	hypercall(v, __HYPERVISOR_iret, 0, 0, 0, 0);
	assert_int_equal(v->regs.kernel_mode, 0);
	assert_int_equal(v->regs.gpr[REG_RAX], 42);
	assert_int_equal(v->regs.gpr[REG_RCX], 0x400123);
	assert_int_equal(v->regs.rip, 0x400123);
	assert_int_equal(v->regs.gpr[REG_RSP], USTACK);
	assert_int_equal(v->regs.sel[SEG_CS], FLAT_USER_CS64);
	assert_true(v->regs.rflags & EFLAGS_CF);
	assert_int_equal(v->info->evtchn_upcall_mask, 0);
	assert_int_equal(v->regs.gs_base, 0x2000);
}

static void syscall_without_handler_is_undefined(void **state)
{
	go_user();
	assert_int_equal(pv_syscall(v, EXIT_SYSCALL32), 0);
	assert_int_equal(v->regs.rip, HANDLER + TRAP_UD);
	assert_int_equal(frame()[2], 0x400121);
}

/* The guest's GDT as Linux lays it out: 4 = user CS32, 5 = user DS, 6 = user CS64. */
static void gdt(void)
{
	uint64_t *g = hva(d, gva(14)), list = 14;

	g[4] = 0x00cffb000000ffffUL;
	g[5] = 0x00cff3000000ffffUL;
	g[6] = 0x00affb000000ffffUL;
	g[12] = 0x00cff3000000ffffUL | 0x12UL << 16 | 0x7fUL << 56;
	memcpy(hva(d, gva(1)), &list, 8);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_gdt, gva(1), 16, 0, 0), 0);
}

static void iret_to(uint16_t cs, uint16_t ss)
{
	struct iret_context *f = hva(d, gva(12));

	v->regs.gpr[REG_RSP] = gva(12);
	*f = (struct iret_context){ .rcx = 2, .rip = 0x400123, .cs = cs, .rflags = EFLAGS_IF, .rsp = USTACK, .ss = ss };
	hypercall(v, __HYPERVISOR_iret, 0, 0, 0, 0);
}

static void iret_knows_the_guests_selectors(void **state)
{
	gdt();
	iret_to(0x33, 0x2b);
	assert_int_equal(v->regs.kernel_mode, 0);
	assert_int_equal(v->regs.code32, 0);
	assert_int_equal(v->regs.gpr[REG_RCX], 2);
	pv_toggle_mode(v);
	iret_to(0x23, 0x2b);
	assert_int_equal(v->regs.code32, 1);
	assert_int_equal(pv_iret_user32_cs(v, 0x23), 1);
	assert_int_equal(pv_iret_user32_cs(v, 0x33), 0);
}

static void iret_to_a_bad_selector_is_a_fault_in_user_mode(void **state)
{
	gdt();
	iret_to(0x2b, 0x2b);                            /* data as code */
	assert_int_equal(v->regs.rip, HANDLER + TRAP_GP);
	assert_int_equal(frame()[2], 0x28);
	assert_int_equal(frame()[3], 0x400123);
	iret_to(0x33, 0);
	assert_int_equal(v->regs.rip, HANDLER + TRAP_GP);
	iret_to(0xfff3, 0x2b);                          /* beyond the table */
	assert_int_equal(v->regs.rip, HANDLER + TRAP_GP);
	assert_int_equal(atomic_load(&d->shutdown_reason), DOMAIN_RUNNING);
}

static void iret_from_a_bad_stack_ends_the_domain(void **state)
{
	v->regs.gpr[REG_RSP] = gva(100000);
	v->regs.gpr[REG_RAX] = __HYPERVISOR_iret;
	assert_int_equal(pv_hypercall(v), -1);
	assert_int_equal(atomic_load(&d->shutdown_reason), SHUTDOWN_crash);
}

static void iret_to_user_without_tables_ends_the_domain(void **state)
{
	v->cr3_user = 0;
	iret_to(0x33, 0x2b);
	assert_int_equal(atomic_load(&d->shutdown_reason), SHUTDOWN_crash);
}

static void segments_load_from_gdt_and_ldt(void **state)
{
	gdt();
	assert_int_equal(pv_load_segment(v, SEG_FS, 0x63), 0);
	assert_int_equal(v->regs.fs_base, 0x7f000012);
	assert_int_equal(v->regs.sel[SEG_FS], 0x63);
	assert_int_equal(pv_load_segment(v, SEG_FS, 0), 0);
	assert_int_equal(v->regs.fs_base, 0);
	assert_int_equal(pv_load_segment(v, SEG_DS, 0x6b), -1);         /* empty slot */
	assert_int_equal(v->exc.vector, TRAP_GP);
	assert_int_equal(v->exc.error_code, 0x68);
	assert_int_equal(pv_load_segment(v, SEG_DS, 7), -1);            /* no LDT */
	assert_int_equal(pv_load_segment(v, SEG_DS, FLAT_RING3_DS32), 0);
	assert_int_equal(pv_load_segment(v, SEG_SS, 0x33), -1);         /* code as stack */
	assert_int_equal(pv_load_segment(v, SEG_CS, 0x33), -1);
	assert_int_equal(pv_load_segment(v, 17, 0x33), -1);
}

static void segment_bases_by_hypercall(void **state)
{
	gdt();
	assert_int_equal(hypercall(v, __HYPERVISOR_set_segment_base, SEGBASE_FS, 0x1234, 0, 0), 0);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_segment_base, SEGBASE_GS_USER, 0x5678, 0, 0), 0);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_segment_base, SEGBASE_GS_KERNEL, 0x9abc, 0, 0), 0);
	assert_int_equal(v->regs.fs_base, 0x1234);
	assert_int_equal(v->regs.gs_base_other, 0x5678);
	assert_int_equal(v->regs.gs_base, 0x9abc);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_segment_base, SEGBASE_FS, 1UL << 50, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, 0x63, 0, 0), 0);
	assert_int_equal(v->regs.gs_base_other, 0x7f000012);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, 0x6b, 0, 0), 0);
	assert_int_equal(v->regs.sel[SEG_GS], 0);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_segment_base, 4, 0, 0, 0), -EINVAL);
}

static void gdt_frames_are_checked(void **state)
{
	uint64_t *list = hva(d, gva(1));

	list[0] = 200;                                  /* not held */
	assert_int_equal(hypercall(v, __HYPERVISOR_set_gdt, gva(1), 16, 0, 0), -EINVAL);
	list[0] = UINT64_MAX;
	assert_int_equal(hypercall(v, __HYPERVISOR_set_gdt, gva(1), 16, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_gdt, gva(1), 7169, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_update_descriptor, gva(200), 1, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_update_descriptor, gva(14) + 4, 1, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_update_descriptor, gva(14) + 8, 0x55, 0, 0), 0);
	assert_int_equal(((uint64_t *)hva(d, gva(14)))[1], 0x55);
}

static void trap_table_without_end_is_refused(void **state)
{
	struct trap_info *t = hva(d, gva(20));

	for (unsigned i = 0; i < 2048; i++)
		t[i] = (struct trap_info){ .vector = (uint8_t)i, .address = 0x1000 };
	assert_int_equal(hypercall(v, __HYPERVISOR_set_trap_table, gva(20), 0, 0, 0), -EINVAL);
	t[0] = (struct trap_info){ .vector = 5, .address = 1UL << 60 };
	assert_int_equal(hypercall(v, __HYPERVISOR_set_trap_table, gva(20), 0, 0, 0), -EINVAL);
	t[0] = (struct trap_info){ .vector = 5, .flags = 7, .cs = 0xe030, .address = 0x1000 };
	t[1].address = 0;
	assert_int_equal(hypercall(v, __HYPERVISOR_set_trap_table, gva(20), 0, 0, 0), 0);
	assert_int_equal(v->trap[5].dpl, 3);
	assert_int_equal(v->trap[5].mask_events, 1);
	assert_int_equal(hypercall(v, __HYPERVISOR_set_trap_table, gva(100000), 0, 0, 0), -EFAULT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(page_fault_from_user), T(fault_in_the_kernel_stays_on_its_stack), T(gate_flag_masks_events),
		T(events_come_when_unmasked_and_once), T(nmi_is_held_until_iret), T(stack_that_cannot_be_written_ends_the_domain),
		T(no_handler_ends_the_domain), T(closed_gate_is_general_protection), T(open_gates_let_int3_and_int80_in),
		T(syscall_bounces_and_iret_returns), T(syscall_without_handler_is_undefined), T(iret_knows_the_guests_selectors),
		T(iret_to_a_bad_selector_is_a_fault_in_user_mode), T(iret_from_a_bad_stack_ends_the_domain),
		T(iret_to_user_without_tables_ends_the_domain), T(segments_load_from_gdt_and_ldt), T(segment_bases_by_hypercall),
		T(gdt_frames_are_checked), T(trap_table_without_end_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
