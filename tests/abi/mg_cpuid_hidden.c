/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What CPUID hides is not there: AVX-512 and AMX are neither listed nor in XCR0's reach, and their instructions, as those
 * of every other hidden set, raise #UD.  What it lists runs.  Xen's own leaves answer behind the prefix and without.
 * Nor is the model one that has AVX-512: programs that go by the model (GCC's target_clones; stress-ng has hundreds of them) died
 * of SIGILL on a host with AVX-512.
 */
#include "micro_guest.h"

const char guest_name[] = "cpuid_hidden";

static uint32_t r[4];

static void cpuid(uint32_t leaf, uint32_t sub)
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

#define UD(text) do { TRY(text, : : "D"(buffer) : "rax", "rbx", "rcx", "rdx", "r11", "memory", "cc"); \
	if (trapped.vector != 6) fail("%s: trap %d", text, trapped.vector); } while (0)

static uint8_t buffer[4096] __attribute__((aligned(64)));

/* libgcc's cpuinfo, "get_intel_cpu": models for which it takes code with AVX-512 */
static bool model_has_avx512(uint32_t eax)
{
	static const uint8_t models[] = { 0x55, 0x57, 0x66, 0x6a, 0x6c, 0x7d, 0x7e, 0x85, 0x8c, 0x8d, 0x8f, 0xa7, 0xad, 0xae, 0xcf };
	uint32_t model = (eax >> 4 & 0xf) | (eax >> 12 & 0xf0);

	for (unsigned i = 0; i < sizeof models; i++)
		if ((eax >> 8 & 0xf) == 6 && models[i] == model)
			return true;
	return false;
}

void guest_main(void)
{
	uint32_t a, b, c, d, lo, hi;

	cpuid(0, 0);
	if (r[1] == 0x756e6547) {                               /* GenuineIntel */
		cpuid(1, 0);
		CHECK(!model_has_avx512(r[0]));
	}

	cpuid(1, 0);
	CHECK(r[2] >> 31 & 1);                                  /* hypervisor */
	CHECK(!(r[2] >> 3 & 1) && !(r[2] >> 5 & 1));            /* monitor, vmx */
	cpuid(7, 0);
	CHECK_EQ(r[1] & 0xdc230000U, 0);                        /* avx512 f dq ifma pf er cd bw vl */
	CHECK_EQ(r[1] & 1, 0);                                  /* fsgsbase */
	CHECK_EQ(r[3] & 7U << 24 & ~(1U << 24 & 0), 0);         /* amx-tile, amx-int8 (and bit 26) */
	CHECK_EQ(r[3] >> 22 & 1, 0);                            /* amx-bf16 */
	cpuid(0xd, 0);
	CHECK_EQ(r[0] & ~7U, 0);
	CHECK_EQ(r[3], 0);
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	CHECK_EQ(lo & ~7U, 0);
	TRY("xsetbv", : : "a"(0xe7), "d"(0), "c"(0) : "r11", "memory");
	CHECK_EQ(trapped.vector, 13);
	TRY("xsetbv", : : "a"(0x60007), "d"(0), "c"(0) : "r11", "memory");
	CHECK_EQ(trapped.vector, 13);

	UD("vpxord %%zmm0, %%zmm0, %%zmm0");
	UD("vpxord %%xmm0, %%xmm0, %%xmm0");
	UD("vmovdqu64 (%0), %%zmm1");
	UD("vpaddd (%0)%{1to16%}, %%zmm1, %%zmm2");
	UD("kmovw %%eax, %%k1");
	UD("kxorq %%k1, %%k1, %%k1");
	UD("vmovups %%zmm17, (%0)");
	UD("vpscatterdd %%zmm1, (%0, %%zmm2, 4)%{%%k1%}");
	UD(".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0");               /* tilerelease */
	UD(".byte 0xc4, 0xe2, 0x78, 0x49, 0x07");               /* ldtilecfg (rdi) */
	UD(".byte 0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x07");         /* tileloadd */
	UD("rdfsbase %%rax");
	UD("wrgsbase %%rax");
	UD("xsaves (%0)");
	UD("xrstors (%0)");
	UD("movdir64b (%0), %%rax");
	UD("umonitor %%rax");
	UD("xbegin .");
	UD("xabort $1");
	UD("xend");
	UD("enqcmd (%0), %%rax");
	UD("ptwrite %%rax");
	UD("incsspq %%rax");
	UD("wrssq %%rax, (%0)");
	UD("rdpid %%rax");
	UD("rdpkru");
	UD("clac");
	UD("vmcall");
	UD("vmxoff");
	UD("vmread %%rax, %%rax");
	UD("invvpid (%0), %%rax");
	UD("getsec");
	UD("encls");
	UD("enclu");

	cpuid(0x40000000, 0);
	CHECK(r[1] == 0x566e6558 && r[2] == 0x65584d4d && r[3] == 0x4d4d566e);
	__asm__ volatile("ud2\n\t.ascii \"xen\"\n\tcpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x40000001), "c"(0));
	CHECK_EQ(a >> 16, 4);
	cpuid(0x80000001, 0);
	CHECK(r[3] >> 29 & 1);                                  /* long mode */
	cpuid(0x12345678, 0);
}
