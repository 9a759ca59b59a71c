/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port I/O of a guest: the kernel has it once it asked for IOPL 1 (and at 0 only with the architectural meaning), user
 * code at IOPL 3 alone; every port reads as all ones, and cli and sti without the right are ignored by the kernel and
 * #GP in user code, as under Xen.  A bitmap gives user code single ports: Linux's ioperm() said yes and the first IN of its
 * caller was #GP all the same (stress-ng --ioport).
 */
#include "micro_guest.h"
#include <xen/physdev.h>

const char guest_name[] = "iopl";

static long set_iopl(unsigned level)
{
	struct physdev_set_iopl s = { .iopl = level };

	return hypercall(physdev_op, PHYSDEVOP_set_iopl, &s, 0, 0);
}

static const uint8_t in_code[] = { 0x66, 0xba, 0x61, 0x00, 0xec, 0xcc };        /* mov $0x61, %dx; in; int3 */
static const uint8_t cli_code[] = { 0xfa, 0xcc };

static uint8_t bits[65536 / 8 + 1];

static void check_in(unsigned port, unsigned width, int vector)
{
	uint8_t code[] = { 0x66, 0xba, (uint8_t)port, (uint8_t)(port >> 8), width == 1 ? 0x90 : 0x66, width == 1 ? 0xec : 0xed, 0xcc };

	if (width == 4)
		code[4] = 0x90;
	run_user(code, sizeof(code));
	if ((int)back.vector != vector)
		fail("in of %u from %x: vector %d, want %d", width, port, (int)back.vector, vector);
}

static void check_bitmap(void)
{
	struct physdev_set_iobitmap bitmap = { .nr_ports = 0x100 };

	memset(bits, 0xff, sizeof(bits));
	bits[0x60 / 8] = 0xfd;                                  /* 61 alone */
	bits[0xf8 / 8] = 0x7f;                                  /* ff */
	bits[0x100 / 8] = 0;
	bits[0x88 / 8] = 0x3f;                                  /* 8e to 91 */
	bits[0x90 / 8] = 0xfc;
	set_xen_guest_handle(bitmap.bitmap, bits);
	CHECK_EQ(hypercall(physdev_op, PHYSDEVOP_set_iobitmap, &bitmap, 0, 0), 0);
	check_in(0x61, 1, 3);
	check_in(0x60, 1, 13);
	check_in(0x61, 2, 13);
	check_in(0x8e, 4, 3);
	check_in(0x8f, 4, 13);
	check_in(0xff, 1, 3);
	check_in(0xff, 2, 13);                                  /* past the end */
	check_in(0x100, 1, 13);
	bitmap.nr_ports = 65536;
	set_xen_guest_handle(bitmap.bitmap, (uint8_t *)0x10);   /* nothing is there */
	CHECK_EQ(hypercall(physdev_op, PHYSDEVOP_set_iobitmap, &bitmap, 0, 0), 0);
	check_in(0x61, 1, 13);
	check_in(0xffff, 1, 13);
	bitmap.nr_ports = 0;
	CHECK_EQ(hypercall(physdev_op, PHYSDEVOP_set_iobitmap, &bitmap, 0, 0), 0);
	check_in(0x61, 1, 13);
}

void guest_main(void)
{
	struct physdev_set_iobitmap bitmap = { .nr_ports = 65536 };
	uint32_t x = 0;

	TRY("in %%dx, %%eax", : : "d"(0xcf8) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 13);
	CHECK_EQ(set_iopl(4), -XEN_EINVAL);
	CHECK_EQ(set_iopl(1), 0);
	__asm__ volatile("in %%dx, %%eax" : "=a"(x) : "d"(0xcf8));
	CHECK_EQ(x, 0xffffffff);
	__asm__ volatile("out %%eax, %%dx" : : "a"(1), "d"(0xcf8));
	__asm__ volatile("cli\n\tsti");
	CHECK_EQ(vcpu_info(0)->evtchn_upcall_mask, 1);          /* the virtual flag is not theirs */
	bitmap.nr_ports = 65537;
	CHECK_EQ(hypercall(physdev_op, PHYSDEVOP_set_iobitmap, &bitmap, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(physdev_op, 12345, &bitmap, 0, 0), -XEN_ENOSYS);
	CHECK_EQ(hypercall(physdev_op, PHYSDEVOP_set_iopl, 0x10, 0, 0), -XEN_EFAULT);

	user_tables(false);
	check_bitmap();
	run_user(in_code, sizeof(in_code));
	CHECK_EQ(back.vector, 13);
	run_user(cli_code, sizeof(cli_code));
	CHECK_EQ(back.vector, 13);
	CHECK_EQ(set_iopl(3), 0);
	user.rax = 0;
	run_user(in_code, sizeof(in_code));
	CHECK_EQ(back.vector, 3);
	CHECK_EQ(back.rax & 0xff, 0xff);
	run_user(cli_code, sizeof(cli_code));
	CHECK_EQ(back.vector, 3);
	CHECK_EQ(set_iopl(0), 0);
	run_user(in_code, sizeof(in_code));
	CHECK_EQ(back.vector, 13);
	TRY("in %%dx, %%eax", : : "d"(0x61) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, 13);
	CHECK_EQ(hypercall(vm_assist, VMASST_CMD_enable, VMASST_TYPE_architectural_iopl, 0, 0), 0);
	TRY("in %%dx, %%eax", : : "d"(0x61) : "rax", "r11", "memory");
	CHECK_EQ(trapped.vector, -1);
}
