/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: the kernel faults on a stack that cannot take the frame.  Xen ends such a domain; so do we, with a line that
 * says why, and only the domain.  The runner expects a crash.
 */
#include "micro_guest.h"

const char guest_name[] = "crash_stack";

void guest_main(void)
{
	__asm__ volatile("mov $0x1000, %rsp\n\tud2");
}
