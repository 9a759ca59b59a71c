/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The failsafe callback: a vCPU whose context names data selectors that do not load starts there, with the selectors in
 * its frame and null in the registers, instead of at its rip.
 */
#include "micro_guest.h"

const char guest_name[] = "failsafe";

extern void failsafe_entry(void);
__asm__(".text\nfailsafe_entry:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall failsafe_c\n\tud2\n");
void failsafe_c(const uint64_t *frame);

static volatile uint64_t seen[11];
static volatile uint16_t ds_now = 1;
static volatile bool done, normal;

void failsafe_c(const uint64_t *frame)
{
	uint16_t ds;

	for (unsigned i = 0; i < 11; i++)
		seen[i] = frame[i];
	__asm__ volatile("mov %%ds, %0" : "=r"(ds));
	ds_now = ds;
	done = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

static void second(void)
{
	normal = true;
	for (;;)
		;
}

void guest_main(void)
{
	static struct vcpu_guest_context ctx;
	uint64_t deadline, sp = (uint64_t)page_alloc() + 4096 - 8;

	ctx.flags = VGCF_IN_KERNEL;
	ctx.user_regs.rip = (uint64_t)second;
	ctx.user_regs.rsp = sp;
	ctx.user_regs.rcx = 0x1234;
	ctx.user_regs.cs = FLAT_KERNEL_CS;
	ctx.user_regs.ss = FLAT_KERNEL_SS;
	ctx.user_regs.ds = 0x4b;                        /* there is no GDT */
	ctx.user_regs.es = 0;
	ctx.user_regs.fs = 0xf;                         /* nor an LDT */
	ctx.user_regs.rflags = 0x200;
	ctx.kernel_ss = FLAT_KERNEL_SS;
	ctx.kernel_sp = sp;
	ctx.ctrlreg[3] = va_to_mfn((void *)si->pt_base) << 12;
	ctx.failsafe_callback_eip = (uint64_t)failsafe_entry;
	CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &ctx), 0);
	CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &ctx), -XEN_EEXIST);
	CHECK_EQ(vcpu_op(VCPUOP_up, 1, NULL), 0);
	deadline = system_time(0) + 10000000000UL;
	while (!done)
		CHECK(system_time(0) < deadline);
	CHECK(!normal);
	CHECK_EQ(seen[0], 0x1234);
	CHECK_EQ(seen[2] & 0xffff, 0x4b);
	CHECK_EQ(seen[3] & 0xffff, 0);
	CHECK_EQ(seen[4] & 0xffff, 0xf);
	CHECK_EQ(seen[6], (uint64_t)second);
	CHECK_EQ(seen[7] & 3, 0);
	CHECK_EQ(seen[9], sp);
	CHECK_EQ(ds_now, 0);
}
