/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: GDT and LDT full of call gates, task gates, TSSs, ring 0 code and data, conforming code and random bits; every
 * selector loaded into every segment register, jumped to, called, looked at with lar, lsl, verr and verw, from kernel and
 * user mode, and installed by update_descriptor.  Privilege comes from nowhere: code selectors that load run in ring 3.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_descriptors";

static uint64_t *gdt, *ldt;
static struct { uint64_t off; uint16_t sel; } __attribute__((packed)) far;

static bool any_end(struct trap_regs *r) { return false; }

static void fill(uint64_t *t, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		uint64_t x = rnd();

		switch (rnd() % 6) {
		case 0: x = 0x0000ec00e0330000UL | (rnd() & 0xffff0000ffffUL << 0); break;     /* call gate to flat code */
		case 1: x = 0x00af9b000000ffffUL; break;                /* ring 0 code */
		case 2: x = 0x00cf93000000ffffUL; break;                /* ring 0 data */
		case 3: x = (x & ~(0x1fUL << 40)) | (rnd() & 15) << 40 | 1UL << 47; break;      /* system, present */
		case 4: x |= 1UL << 47 | 1UL << 44; break;
		}
		t[i] = x;
	}
}

/* Our own CS again: what names one of a table that changes is no place for an exception to return to. */
static void flat_cs(void)
{
	far.sel = FLAT_KERNEL_CS | 3;
	__asm__ volatile("lea 7f(%%rip), %%rax\n\tmov %%rax, %0\n\trex.w ljmp *%0\n7:" : "+m"(far) : : "rax", "memory");
}

static void try_selector(uint16_t sel)
{
	uint64_t x = 0x55;

	TRY("mov %0, %%ds\n\tmov %%ds, %%eax", : : "r"(sel) : "rax", "r11", "memory");
	TRY("mov %0, %%es", : : "r"(sel) : "r11", "memory");
	TRY("mov %0, %%fs\n\tmov %%fs:0, %%rax", : : "r"(sel) : "rax", "r11", "memory");
	TRY("lar %1, %0", : "+a"(x) : "r"((uint64_t)sel) : "r11", "memory", "cc");
	CHECK_EQ(trapped.vector, -1);
	TRY("lsl %1, %0", : "+a"(x) : "r"((uint64_t)sel) : "r11", "memory", "cc");
	CHECK_EQ(trapped.vector, -1);
	TRY("verr %0\n\tverw %0", : : "r"(sel) : "r11", "memory", "cc");
	CHECK_EQ(trapped.vector, -1);
	far.sel = sel;
	TRY("lea 7f(%%rip), %%rax\n\tmov %%rax, %0\n\trex.w ljmp *%0\n7:", : "+m"(far) : : "rax", "r11", "memory");
	if (trapped.vector == -1) {
		uint16_t cs;

		__asm__ volatile("mov %%cs, %0" : "=r"(cs));
		CHECK_EQ(cs & 3, 3);
		flat_cs();
	}
	TRY_STACK("lea 7f(%%rip), %%rax\n\tpush %1\n\tpush %%rax\n\trex.w lret\n7:",
	    : "+m"(far) : "r"((uint64_t)sel) : "rax", "rbx", "r11", "memory");
	if (trapped.vector == -1)
		flat_cs();
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %0, %%fs" : : "r"(0));
}

void guest_main(void)
{
	uint64_t frame;
	static uint8_t load[] = { 0xb8, 0, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x0f, 0x02, 0xd8, 0x0f, 0x03, 0xc8, 0xcc };

	gdt = page_alloc();
	ldt = page_alloc();
	frame = va_to_mfn(gdt);
	user_tables(false);
	user_trap_hook = any_end;
	for (unsigned round = 0; round < 40; round++) {
		fill(gdt, 512);
		fill(ldt, 512);
		CHECK_EQ(hypercall(set_gdt, &frame, 512, 0, 0), 0);
		CHECK_EQ(mmuext(MMUEXT_SET_LDT, (uint64_t)ldt, 512), 0);
		for (unsigned i = 0; i < 60; i++) {
			uint16_t sel = (uint16_t)(rnd() & 0xfff);

			if (sel >> 3 == 0)
				continue;
			try_selector(sel);
			memcpy(load + 1, &sel, 2);
			if (i % 4 == 0) {
				run_user(load, sizeof(load));
				CHECK_EQ(back.cs & 3, 3);
			}
			hypercall(update_descriptor, (frame << 12) + (sel & 0xff8U), rnd(), 0, 0);
		}
	}
	CHECK_EQ(hypercall(update_descriptor, (frame << 12) + 64, 0x0000890000000067UL, 0, 0), -XEN_EINVAL);     /* TSS */
	CHECK_EQ(hypercall(update_descriptor, (frame << 12) + 64, 0x00008e0000000000UL, 0, 0), -XEN_EINVAL);     /* gates */
	CHECK_EQ(hypercall(update_descriptor, (frame << 12) + 64, 0x00008f0000000000UL, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(update_descriptor, (frame << 12) + 65, 0, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(update_descriptor, 1UL << 50, 0, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(update_descriptor, 0x8000000UL << 12, 0, 0, 0), -XEN_EINVAL);
	CHECK_EQ(mmuext(MMUEXT_SET_LDT, 0x12345000, 8192), 0);  /* not mapped: every load faults, nothing else */
	TRY("mov %0, %%ds", : : "r"((uint16_t)0x1f) : "r11", "memory");
	CHECK_EQ(trapped.vector, 13);
	frame = 1UL << 33;
	CHECK_EQ(hypercall(set_gdt, &frame, 512, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(set_gdt, &frame, 8193, 0, 0), -XEN_EINVAL);
	CHECK_EQ(hypercall(set_gdt, 0x10, 512, 0, 0), -XEN_EFAULT);
}
