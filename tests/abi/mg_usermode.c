/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User mode: entered by iret with the user's own tables, left by syscall, int $0x80 and faults; each comes in on the
 * kernel stack with the registers user code had.  Kernel memory is out of user's reach because it is not in its tables,
 * whatever the U/S bits say.  %gs bases swap with the mode.
 */
#include "micro_guest.h"

const char guest_name[] = "usermode";

static uint64_t secret = 0x5ec2e7;

#define USER(...) do { static const uint8_t insns_[] = { __VA_ARGS__ }; run_user(insns_, sizeof(insns_)); } while (0)

void guest_main(void)
{
	user_tables(false);
	user.rax = 39;
	user.rdi = 0x1111222233334444UL;
	user.r15 = 0x5555;
	USER(0x0f, 0x05);                                       /* syscall */
	CHECK_EQ(back.vector, TRAP_SYSCALL);
	CHECK_EQ(back.rax, 39);
	CHECK_EQ(back.rdi, 0x1111222233334444UL);
	CHECK_EQ(back.r15, 0x5555);
	CHECK_EQ(back.rip, USER_CODE + 2);
	CHECK_EQ(back.rsp, USER_STACK);
	CHECK_EQ(back.rflags & 0x200, 0x200);

	USER(0x90, 0xcd, 0x80);                                 /* nop; int $0x80 */
	CHECK_EQ(back.vector, 0x80);
	CHECK_EQ(back.rip, USER_CODE + 3);
	USER(0xcd, 0x06);                                       /* int $6: the gate is not for user mode */
	CHECK_EQ(back.vector, 13);
	CHECK_EQ(back.error, 6 << 3 | 2);
	CHECK_EQ(back.rip, USER_CODE);
	USER(0x0f, 0x0b);
	CHECK_EQ(back.vector, 6);
	CHECK_EQ(back.rip, USER_CODE);
	USER(0xcc);
	CHECK_EQ(back.vector, 3);
	CHECK_EQ(back.rip, USER_CODE + 1);

	user.rax = (uint64_t)&secret;
	USER(0x48, 0x8b, 0x00);                                 /* mov (%rax), %rax */
	CHECK_EQ(back.vector, 14);
	CHECK_EQ(back.error, 4);                                /* user, read, not present */
	CHECK_EQ(vcpu_info(0)->arch.cr2, (uint64_t)&secret);
	user.rax = USER_CODE;
	USER(0x48, 0x89, 0x00);                                 /* mov %rax, (%rax): code is read-only */
	CHECK_EQ(back.error, 7);
	USER(0xf4);                                             /* hlt */
	CHECK_EQ(back.vector, 13);
	USER(0x0f, 0x01, 0xf8);                                 /* swapgs */
	CHECK(back.vector == 13 || back.vector == 6);
	USER(0x50, 0x58, 0x0f, 0x05);                           /* push, pop: the stack works */
	CHECK_EQ(back.vector, TRAP_SYSCALL);
	CHECK_EQ(back.rax, USER_CODE);

	CHECK_EQ(hypercall(set_segment_base, SEGBASE_GS_USER, USER_CODE, 0, 0), 0);
	CHECK_EQ(hypercall(set_segment_base, SEGBASE_GS_KERNEL, &secret, 0, 0), 0);
	USER(0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x0f, 0x05);     /* mov %gs:0, %rax; syscall */
	CHECK_EQ(back.vector, TRAP_SYSCALL);
	CHECK_EQ(back.rax & 0xffff, 0x4865);
	{
		uint64_t x;

		__asm__ volatile("mov %%gs:0, %0" : "=r"(x));
		CHECK_EQ(x, secret);                       /* the kernel's base again */
	}
}
