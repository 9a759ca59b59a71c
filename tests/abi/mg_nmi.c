/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NMI: the callback is registered for vCPU 0 alone, a pending one comes even while events are masked, further ones wait
 * until iret, and unregistering holds them off.  What `xl trigger NAME nmi` uses.
 */
#include "micro_guest.h"
#include <xen/callback.h>
#include <xen/nmi.h>

const char guest_name[] = "nmi";

static volatile unsigned nmis, nested, depth;

static bool on_trap(struct trap_regs *r)
{
	if (r->vector != 2)
		return false;
	if (++depth > 1)
		nested++;
	if (++nmis == 1) {
		CHECK_EQ(vcpu_op(VCPUOP_send_nmi, 0, NULL), 0);          /* waits for our iret */
		CHECK_EQ(nmis, 1);
	}
	depth--;
	return true;
}

void guest_main(void)
{
	struct callback_register c = { .type = CALLBACKTYPE_nmi, .address = 1UL << 60 };
	struct callback_unregister u = { .type = CALLBACKTYPE_nmi };
	struct xennmi_callback n = { .handler_address = trap_stubs[2] };

	trap_hook = on_trap;
	CHECK_EQ(hypercall(callback_op, CALLBACKOP_register, &c, 0, 0), -XEN_EINVAL);
	c.type = 99;
	CHECK((long)hypercall(callback_op, CALLBACKOP_register, &c, 0, 0) < 0);
	set_callback(CALLBACKTYPE_nmi, 0, trap_stubs[2]);
	CHECK_EQ(vcpu_op(VCPUOP_send_nmi, 0, NULL), 0);
	CHECK_EQ(nmis, 2);
	CHECK_EQ(nested, 0);
	CHECK_EQ(vcpu_info(0)->evtchn_upcall_mask, 1);
	CHECK_EQ(vcpu_op(VCPUOP_send_nmi, 50, NULL), -XEN_ENOENT);
	CHECK_EQ(hypercall(callback_op, CALLBACKOP_unregister, &u, 0, 0), 0);
	CHECK_EQ(vcpu_op(VCPUOP_send_nmi, 0, NULL), 0);
	CHECK_EQ(nmis, 2);
	CHECK_EQ(hypercall(nmi_op, XENNMI_register_callback, &n, 0, 0), 0);
	events_deliver();
	CHECK_EQ(nmis, 3);
	CHECK_EQ(hypercall(nmi_op, XENNMI_unregister_callback, 0, 0, 0), 0);
	CHECK_EQ(hypercall(nmi_op, 77, 0, 0, 0), -XEN_ENOSYS);
}
