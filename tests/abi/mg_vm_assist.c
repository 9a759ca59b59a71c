/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm_assist: the types of a 64-bit PV guest can be switched on and off any number of times, others are -EINVAL, other
 * commands -ENOSYS; with architectural IOPL, frames carry the level that iret sets.
 */
#include "micro_guest.h"
#include <xen/physdev.h>

const char guest_name[] = "vm_assist";

void guest_main(void)
{
	static const unsigned known[] = { VMASST_TYPE_4gb_segments, VMASST_TYPE_4gb_segments_notify,
					  VMASST_TYPE_writable_pagetables, VMASST_TYPE_pae_extended_cr3,
					  VMASST_TYPE_architectural_iopl, VMASST_TYPE_runstate_update_flag, VMASST_TYPE_m2p_strict };
	struct physdev_set_iopl s = { .iopl = 2 };

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		CHECK_EQ(hypercall(vm_assist, VMASST_CMD_enable, known[i], 0, 0), 0);
		CHECK_EQ(hypercall(vm_assist, VMASST_CMD_enable, known[i], 0, 0), 0);
		CHECK_EQ(hypercall(vm_assist, VMASST_CMD_disable, known[i], 0, 0), 0);
	}
	CHECK_EQ(hypercall(vm_assist, VMASST_CMD_enable, 31, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(vm_assist, VMASST_CMD_enable, 0xffffffff, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(vm_assist, 2, 0, 0, 0), -XEN_ENOSYS);

	CHECK_EQ(hypercall(physdev_op, PHYSDEVOP_set_iopl, &s, 0, 0), 0);
	TRY("ud2", : : : "r11", "memory");
	CHECK_EQ(trapped.rflags & 0x3000, 0);
	CHECK_EQ(hypercall(vm_assist, VMASST_CMD_enable, VMASST_TYPE_architectural_iopl, 0, 0), 0);
	TRY("ud2", : : : "r11", "memory");
	CHECK_EQ(trapped.rflags & 0x3000, 0x2000);
	TRY("ud2", : : : "r11", "memory");                      /* iret took it from the frame and kept it */
	CHECK_EQ(trapped.rflags & 0x3000, 0x2000);
}
