/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CR0.TS: while it is set, x87, MMX, SSE and AVX instructions raise #NM, which clears it; the others do not care, those
 * of vector sets that name no vector register included.  By fpu_taskswitch, by mov to CR0, and cleared by clts.  Also in
 * the middle of a block and in a loop that ran before.
 */
#include "micro_guest.h"

const char guest_name[] = "ts";

static uint64_t word, vec[4] __attribute__((aligned(32)));

static uint64_t cr0(void)
{
	uint64_t x;

	__asm__ volatile("mov %%cr0, %0" : "=r"(x));
	return x;
}

static uint64_t sum(unsigned n)
{
	uint64_t x = 0;

	__asm__ volatile("pxor %%xmm0, %%xmm0\n1:\tmovd %1, %%xmm1\n\tpaddq %%xmm1, %%xmm0\n\tdec %1\n\tjnz 1b\n\tmovq %%xmm0, %0"
			 : "=r"(x), "+r"(n) : : "cc");
	return x;
}

static void set_ts(void) { CHECK_EQ(hypercall(fpu_taskswitch, 1, 0, 0, 0), 0); }

#define TRAPS(text) do { set_ts(); TRY(text, : : "r"(&word), "r"(vec) : "r11", "rax", "memory", "cc"); \
	CHECK_EQ(trapped.vector, 7); CHECK_EQ(cr0() & 8, 0); } while (0)
#define RUNS(text) do { set_ts(); TRY(text, : : "r"(&word), "r"(vec) : "r11", "rax", "memory", "cc"); \
	CHECK_EQ(trapped.vector, -1); CHECK_EQ(cr0() & 8, 8); } while (0)

void guest_main(void)
{
	CHECK_EQ(cr0() & 8, 0);
	CHECK_EQ(sum(100), 5050);
	set_ts();
	CHECK_EQ(cr0() & 8, 8);
	TRAPS("fld1");
	TRAPS("fnstcw (%0)");
	TRAPS("emms");
	TRAPS("movq (%0), %%mm0");
	TRAPS("nop\n\tadd $1, %%rax\n\tmovaps (%1), %%xmm2\n\tnop");
	TRAPS("movd %%xmm2, %%eax");
	TRAPS("ldmxcsr (%0)");
	TRAPS("vzeroupper");
	TRAPS("vmovups (%1), %%ymm3");
	TRAPS("cvtsi2sd %%eax, %%xmm1");
	TRAPS("maskmovdqu %%xmm1, %%xmm2");
	RUNS("mfence\n\tlfence\n\tsfence");
	RUNS("movnti %%rax, (%0)");
	RUNS("crc32q (%0), %%rax");
	RUNS("popcnt (%0), %%rax");
	RUNS("prefetcht0 (%0)\n\tpause\n\tmov (%0), %%rax\n\tclflush (%0)");
	__asm__ volatile("clts");
	CHECK_EQ(sum(100), 5050);
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0() | 8));
	TRY("pxor %%xmm0, %%xmm0", : : : "r11", "memory");
	CHECK_EQ(trapped.vector, 7);
	CHECK_EQ(sum(7), 28);
	set_ts();
	CHECK_EQ(hypercall(fpu_taskswitch, 0, 0, 0, 0), 0);
	CHECK_EQ(sum(10), 55);
}
