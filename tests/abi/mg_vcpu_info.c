/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VCPUOP_register_vcpu_info: once per vCPU, to a page of the guest's; what was pending stays pending, upcalls and cr2 go
 * to the new place, and frames or offsets that do not work are refused with nothing changed.
 */
#include "micro_guest.h"

const char guest_name[] = "vcpu_info";

static struct vcpu_info *info;
static volatile unsigned got;
static uint32_t port;

static bool on_trap(struct trap_regs *r)
{
	if (r->vector != TRAP_EVENT)
		return false;
	info->evtchn_upcall_pending = 0;
	info->evtchn_pending_sel = 0;
	if (__atomic_fetch_and(&shared->evtchn_pending[port / 64], ~(1UL << port % 64), __ATOMIC_SEQ_CST) >> port % 64 & 1)
		got++;
	return true;
}

void guest_main(void)
{
	uint8_t *page = page_alloc();
	struct vcpu_register_vcpu_info r = { .mfn = 1UL << 40, .offset = 0 };

	trap_hook = on_trap;
	port = bind_ipi(0);
	CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_info, 0, &r), -XEN_EINVAL);
	r.mfn = si->shared_info >> 12;
	CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_info, 0, &r), -XEN_EINVAL);
	r.mfn = va_to_mfn(page);
	r.offset = 4096 - 32;
	CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_info, 0, &r), -XEN_EINVAL);
	r.offset = 0xfffffff0;
	CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_info, 0, &r), -XEN_EINVAL);
	CHECK_EQ(event_send(port), 0);
	r.offset = 128;
	CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_info, 0, &r), 0);
	info = (struct vcpu_info *)(page + 128);
	CHECK_EQ(info->evtchn_upcall_mask, 1);
	CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_info, 0, &r), -XEN_EINVAL);       /* once */
	vcpu_info(0)->evtchn_upcall_mask = 0;                    /* the old place no longer counts */
	events_deliver();
	CHECK_EQ(got, 0);
	info->evtchn_upcall_mask = 0;
	events_deliver();
	CHECK_EQ(got, 1);
	CHECK_EQ(event_send(port), 0);
	CHECK_EQ(got, 2);
	info->evtchn_upcall_mask = 1;
	TRY("mov (%0), %%rax", : : "r"(0x123456789000UL) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(info->arch.cr2, 0x123456789000UL);
	CHECK((info->time.version & 1) == 0 && info->time.tsc_to_system_mul);
}
