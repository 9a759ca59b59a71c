/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 32-bit user code: a compatibility segment of the guest's GDT, its own addressing, int $0x80 through the trap table with
 * the right frame, faults with 32-bit addresses, syscall through its callback, and back to 64-bit code by a far jump.
 */
#include "micro_guest.h"
#include <xen/callback.h>

const char guest_name[] = "user32";

static const uint8_t code[] = {
	0xb8, 0x05, 0x00, 0x00, 0x00,                           /* mov $5, %eax */
	0x40,                                                   /* inc %eax (a REX prefix in 64-bit code) */
	0x68, 0x78, 0x56, 0x34, 0x12,                           /* push $0x12345678: four bytes */
	0x8b, 0x0c, 0x24,                                       /* mov (%esp), %ecx */
	0x58 + 3,                                               /* pop %ebx */
	0xcd, 0x80,
};
static const uint8_t fault[] = { 0x66, 0xb8, 0x2b, 0x00, 0x8e, 0xd8, /* mov $0x2b, %ax; mov %ax, %ds */
	0xa1, 0x00, 0x10, 0x00, 0xf0, 0xcc };  /* mov 0xf0001000, %eax */
static const uint8_t wrap[] = { 0x8b, 0x80, 0xfc, 0xff, 0xff, 0xff, 0xcc };     /* mov -4(%eax), %eax: wraps at 4 GiB */
static const uint8_t call32[] = { 0x0f, 0x05, 0xcc };
static const uint8_t far[] = {
	0xea, 0x0c, 0x00, 0x40, 0x00, 0x33, 0xe0,               /* ljmp to 64-bit code */
	0x90, 0x90, 0x90, 0x90, 0x90,
	0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8,                     /* movabs */
	0xcc,
};

void guest_main(void)
{
	uint64_t *gdt = page_alloc(), frame = va_to_mfn(gdt);

	gdt[5] = 0x00cff3000000ffffUL;
	gdt[6] = 0x00cffb000000ffffUL;                          /* 32-bit code */
	make_readonly(gdt);
	CHECK_EQ(hypercall(set_gdt, &frame, 512, 0, 0), 0);
	set_callback(CALLBACKTYPE_syscall32, CALLBACKF_mask_events, trap_stub_syscall32);
	user_tables(false);
	user_cs = 0x33;
	user_ss = 0x2b;
	run_user(code, sizeof(code));
	CHECK_EQ(back.vector, 128);
	CHECK_EQ(back.rax, 6);
	CHECK_EQ(back.rcx, 0x12345678);
	CHECK_EQ(back.rbx, 0x12345678);
	CHECK_EQ(back.rip, USER_CODE + sizeof(code));
	CHECK_EQ(back.rsp, USER_STACK);
	CHECK_EQ(back.cs & 0xffff, 0x33);
	run_user(fault, sizeof(fault));
	CHECK_EQ(back.vector, 14);
	CHECK_EQ(vcpu_info(0)->arch.cr2, 0xf0001000UL);
	CHECK_EQ(back.error, 4);
	user.rax = 0;
	run_user(wrap, sizeof(wrap));
	CHECK_EQ(back.vector, 14);
	CHECK_EQ(vcpu_info(0)->arch.cr2, 0xfffffffcUL);
	run_user(call32, sizeof(call32));
	CHECK_EQ(back.vector, TRAP_SYSCALL32);
	run_user(far, sizeof(far));
	CHECK_EQ(back.vector, 3);
	CHECK_EQ(back.cs & 0xffff, 0xe033);
	CHECK_EQ(back.rax, 0x0807060504030201UL);
}
