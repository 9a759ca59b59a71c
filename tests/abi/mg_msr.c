/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Model-specific registers as a PV kernel meets them: the bases work, EFER and PAT read what Xen shows and take the same
 * value back, unknown ones are #GP on both sides, and user mode has none.
 */
#include "micro_guest.h"

const char guest_name[] = "msr";

static uint64_t rd(uint32_t msr)
{
	uint32_t a = 0, d = 0;

	TRY("rdmsr", : "+a"(a), "+d"(d) : "c"(msr) : "r11", "memory");
	return a | (uint64_t)d << 32;
}
static int wr(uint32_t msr, uint64_t x)
{
	TRY("wrmsr", : : "c"(msr), "a"((uint32_t)x), "d"((uint32_t)(x >> 32)) : "r11", "memory");
	return trapped.vector;
}

static uint64_t magic = 0x1234567890abcdefUL;

void guest_main(void)
{
	static const uint8_t user_rdmsr[] = { 0x0f, 0x32, 0xcc };
	uint64_t x;

	CHECK_EQ(rd(0xc0000080) & 0xd01, 0xd01);
	CHECK_EQ(wr(0xc0000080, rd(0xc0000080)), -1);
	CHECK_EQ(wr(0xc0000080, 0), 13);
	CHECK_EQ(rd(0x277), 0x0000050100070406UL);
	CHECK_EQ(wr(0x277, 0), 13);
	CHECK_EQ(wr(0xc0000100, (uint64_t)&magic), -1);
	__asm__ volatile("mov %%fs:0, %0" : "=r"(x));
	CHECK_EQ(x, magic);
	CHECK_EQ(rd(0xc0000100), (uint64_t)&magic);
	CHECK_EQ(wr(0xc0000101, (uint64_t)&magic), -1);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(x));
	CHECK_EQ(x, magic);
	CHECK_EQ(wr(0xc0000102, 0x7000), -1);
	CHECK_EQ(rd(0xc0000102), 0x7000);
	CHECK_EQ(wr(0xc0000100, 1UL << 60), 13);
	CHECK_EQ(wr(0xc0000102, 1UL << 63), 13);
	rd(0x12345);
	CHECK_EQ(trapped.vector, 13);
	rd(0xc0011029);
	CHECK_EQ(trapped.vector, 13);
	CHECK_EQ(wr(0x174, 0), 13);                             /* SYSENTER_CS */
	CHECK_EQ(wr(0xc0000082, 0), 13);                        /* LSTAR */
	CHECK_EQ(wr(0xc0000103, 1UL << 40), 13);                /* TSC_AUX has 32 bits */
	CHECK_EQ(wr(0xc0000103, 5), -1);
	CHECK_EQ(rd(0xc0000103), 5);
	user_tables(false);
	run_user(user_rdmsr, sizeof(user_rdmsr));
	CHECK_EQ(back.vector, 13);
}
