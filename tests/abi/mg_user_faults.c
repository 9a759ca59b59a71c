/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults of user mode: error codes with U set for reads, writes and fetches, NX, kernel addresses out of reach, #DE, int n
 * through closed gates, and hlt, cli and friends as #GP; each with rip at the instruction and cs of user mode.
 */
#include "micro_guest.h"

const char guest_name[] = "user_faults";

static void expect(const uint8_t *insns, size_t n, unsigned vector, uint64_t error, uint64_t rip)
{
	run_user(insns, n);
	if (back.vector != vector || back.error != error || back.rip != rip)
		fail("%x %x: vector %lu, error %lx, rip %lx; not %u, %lx", insns[0], insns[1], back.vector, back.error, back.rip,
		     vector, error);
	CHECK_EQ(back.cs & 3, 3);
}
#define EXPECT(vector, error, off, ...) do { static const uint8_t c[] = { __VA_ARGS__, 0xcc }; \
	expect(c, sizeof(c), vector, error, USER_CODE + (off)); } while (0)

void guest_main(void)
{
	static const uint8_t go_far[] = { 0xff, 0xe0 };                                   /* jmp *%rax */

	user_tables(false);
	EXPECT(14, 4, 1, 0x90, 0x48, 0x8b, 0x04, 0x25, 0x00, 0x10, 0, 0);               /* mov 0x1000, %rax */
	CHECK_EQ(vcpu_info(0)->arch.cr2, 0x1000);
	EXPECT(14, 6, 0, 0x48, 0x89, 0x04, 0x25, 0x00, 0x10, 0, 0);
	EXPECT(14, 7, 0, 0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x40, 0x00);               /* its own code, read-only */
	EXPECT(14, 4, 0, 0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x01, 0x80);               /* the kernel's text */
	user.rax = 0x700000;
	expect(go_far, 2, 14, 0x14, 0x700000);                                            /* a fetch */
	user.rax = 1UL << 60;
	run_user(go_far, 2);                                                              /* Intel: at the jump; AMD: at its target */
	CHECK(back.vector == 13 && back.error == 0 && (back.rip == USER_CODE || back.rip == 1UL << 60));
	user.rax = 0;
	EXPECT(0, 0, 0, 0x48, 0xf7, 0xf1);                                              /* div %rcx, rcx is 0 */
	EXPECT(13, 0, 0, 0xf4);                                                          /* hlt */
	EXPECT(13, 0, 0, 0xfa);                                                          /* cli */
	EXPECT(13, 0, 0, 0x0f, 0x01, 0x3f);                                             /* invlpg (%rdi) */
	EXPECT(13, 0, 0, 0x0f, 0x20, 0xc0);                                             /* mov %cr0, %rax */
	EXPECT(13, 0, 0, 0x0f, 0x23, 0xc0);                                             /* mov %rax, %db0 */
	EXPECT(13, 0, 0, 0x0f, 0x06);                                                   /* clts */
	EXPECT(13, 0, 0, 0x0f, 0x01, 0xf8);                                             /* swapgs */
	EXPECT(13, 0x81 * 8 + 2, 0, 0xcd, 0x81);                                        /* int $0x81: closed */
	EXPECT(13, 0x20 * 8 + 2, 0, 0xcd, 0x20);
	EXPECT(13, 0x20 * 8 + 2, 0, 0x66, 0xcd, 0x20);                                  /* three bytes */
	EXPECT(13, 13 * 8 + 2, 0, 0xcd, 0x0d);                                          /* a fault's gate */
	EXPECT(128, 0, 2, 0xcd, 0x80);
	EXPECT(3, 0, 1, 0xcc);
	EXPECT(6, 0, 0, 0x0f, 0x0b);
	EXPECT(6, 0, 0, 0x06);                                                          /* push %es: not in 64-bit code */
	EXPECT(6, 0, 0, 0xf0, 0x90);                                                    /* lock nop */
	EXPECT(1, 0, 1, 0xf1);                                                          /* int1 */
	EXPECT(13, 0, 0, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90);
}
