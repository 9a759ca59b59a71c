/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions of kernel mode: vector, error code, cr2, and the rip a handler sees (at the instruction for faults, behind
 * it for int3), the frame's cs with RPL 0, IF as the complement of the upcall mask, and the gate's mask-events flag.
 */
#include "micro_guest.h"

const char guest_name[] = "traps";

static uint64_t rip_of_label;

void guest_main(void)
{
	TRY("lea 2f(%%rip), %%r10\n\tmov %%r10, %0\n2:\tud2", : "=m"(rip_of_label) : : "r10", "r11", "memory");
	CHECK_EQ(trapped.vector, 6);
	CHECK_EQ(trapped.rip, rip_of_label);
	CHECK_EQ(trapped.cs & 3, 0);
	CHECK_EQ(trapped.mask, 1);                      /* events are off, so IF is clear */
	CHECK_EQ(trapped.rflags & 0x200, 0);

	TRY("lea 2f(%%rip), %%r10\n\tmov %%r10, %0\n\tint3\n2:", : "=m"(rip_of_label) : : "r10", "r11", "memory");
	CHECK_EQ(trapped.vector, 3);
	CHECK_EQ(trapped.rip, rip_of_label);

	TRY("xor %%edx, %%edx\n\tmov $1, %%eax\n\txor %%ecx, %%ecx\n\tdiv %%ecx", : : : "rax", "rcx", "rdx", "r11", "memory");
	CHECK_EQ(trapped.vector, 0);

	TRY("mov (%0), %%rax", : : "r"(0x123456789000UL) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.error, 0);
	CHECK_EQ(trapped.cr2, 0x123456789000UL);
	TRY("movl $1, 5(%0)", : : "r"(0x123456789000UL) : "r11", "memory");
	CHECK_EQ(trapped.error, 2);
	CHECK_EQ(trapped.cr2, 0x123456789005UL);
	TRY("movl $1, (%0)", : : "r"(m2p) : "r11", "memory");                   /* the M2P is read-only */
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.error, 3);

	TRY("mov (%0), %%rax", : : "r"(1UL << 60) : "rax", "r11", "memory");   /* not canonical */
	CHECK_EQ(trapped.vector, 13);
	CHECK_EQ(trapped.error, 0);
	TRY("mov %%ss:(%0), %%rax", : : "r"(1UL << 60) : "rax", "r11", "memory");
	CHECK(trapped.vector == 13 || trapped.vector == 12);

	set_trap(6, 4, trap_stubs[6]);
	events_on();
	TRY("ud2", : : : "r11", "memory");
	CHECK_EQ(trapped.mask, 0);                      /* as it was */
	CHECK_EQ(trapped.rflags & 0x200, 0x200);
	CHECK_EQ(vcpu_info(0)->evtchn_upcall_mask, 0);  /* and as iret put it back */
}
