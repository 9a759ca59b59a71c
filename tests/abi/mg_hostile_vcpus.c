/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: contexts of a second vCPU that are garbage field by field (base pointers, selectors, callbacks, GDT, LDT, stacks,
 * flags), brought up and down while they crash, fault and sleep.  Refused, or that vCPU's own trouble; a context that is
 * in order still starts afterwards, as long as nothing ended the domain.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_vcpus";

static volatile bool ran;

static void second(void)
{
	ran = true;
	for (;;)
		vcpu_op(VCPUOP_down, 1, NULL);
}

static bool nmis(struct trap_regs *r) { return r->vector == 2; }

void guest_main(void)
{
	static struct vcpu_guest_context ctx;
	uint64_t end;
	unsigned refused = 0;

	for (unsigned round = 0; round < 3000; round++) {
		uint64_t *w = (uint64_t *)&ctx;

		for (unsigned i = 0; i < sizeof(ctx) / 8; i++)
			w[i] = rnd();
		for (unsigned i = 0; i < 256; i++)
			ctx.trap_ctxt[i].address = 0;
		if (rnd() % 2)
			ctx.event_callback_eip = ctx.failsafe_callback_eip = ctx.syscall_callback_eip = 0;
		if (rnd() % 2)
			ctx.fs_base = ctx.gs_base_kernel = ctx.gs_base_user = 0;
		if (rnd() % 2)
			ctx.ctrlreg[3] = va_to_mfn((void *)si->pt_base) << 12;
		if (rnd() % 2)
			ctx.ctrlreg[1] = 0;
		if (rnd() % 2)
			ctx.ldt_base = ctx.ldt_ents = 0;
		if (rnd() % 2)
			ctx.gdt_ents = 0;
		ctx.gdt_ents |= 1UL << 20;              /* so that none of them is ever taken */
		refused += vcpu_op(VCPUOP_initialise, 1, &ctx) != 0;
		CHECK_EQ(vcpu_op(VCPUOP_up, 1, NULL), -XEN_EINVAL);
		CHECK_EQ(vcpu_op(VCPUOP_is_up, 1, NULL), 0);
	}
	CHECK_EQ(refused, 3000);
	CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, (void *)0x10), -XEN_EFAULT);
	CHECK_EQ(vcpu_op(VCPUOP_initialise, 2, &ctx), -XEN_ENOENT);
	CHECK_EQ(vcpu_op(VCPUOP_initialise, 0, &ctx), -XEN_EEXIST);
	CHECK_EQ(vcpu_op(99, 1, &ctx), -XEN_ENOSYS);
	trap_hook = nmis;
	vcpu_start(1, second);
	end = system_time(0) + 10000000000UL;
	while (!ran)
		CHECK(system_time(0) < end);
	for (unsigned i = 0; i < 2000; i++) {           /* up and down from both sides */
		vcpu_op(VCPUOP_up, 1, NULL);
		if (rnd() & 1)
			vcpu_op(VCPUOP_down, 1, NULL);
		if (rnd() % 8 == 0)
			vcpu_op(VCPUOP_send_nmi, 1, NULL);
	}
	while (vcpu_op(VCPUOP_is_up, 1, NULL) == 1)
		CHECK(system_time(0) < end + 10000000000UL);
}
