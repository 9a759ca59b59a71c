/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: iret from a stack that is not there, after the guest has thrown its user tables away.  The runner expects a
 * crash of the domain, and nothing else.
 */
#include "micro_guest.h"

const char guest_name[] = "crash_iret";

void guest_main(void)
{
	__asm__ volatile("movabs $0xffff800000000000, %rsp\n\tsub $32, %rsp\n\tmov $23, %eax\n\tsyscall");
}
