/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_debug.c - breakpoints of DR0..DR3 as DR7 arms them (SDM vol. 3, chapter 18.2).
 *
 * No hardware breakpoint is ever armed: while DR7 enables any, the vCPU runs in the emulator, which asks here for each
 * instruction and each of its memory accesses.  Local and global enables mean the same, since Linux sets either.  I/O
 * breakpoints never match: no port is there.
 */
#include "hypervisor/engine/bt/emulate.h"

enum { DR_EXEC, DR_WRITE, DR_IO, DR_ACCESS };

static unsigned armed_type(const struct vcpu *v, unsigned i)
{
	return v->dr[7] >> (2 * i) & 3 ? v->dr[7] >> (16 + 4 * i) & 3 : DR_IO;
}

unsigned emu_debug_exec(const struct vcpu *v, uint64_t rip)
{
	unsigned hits = 0;

	for (unsigned i = 0; i < 4; i++)
		if (armed_type(v, i) == DR_EXEC && v->dr[i] == rip)
			hits |= 1U << i;
	return hits;
}

unsigned emu_debug_access(const struct vcpu *v, uint64_t va, size_t n, bool write)
{
	static const uint8_t length[4] = { 1, 2, 8, 4 };
	unsigned hits = 0;

	for (unsigned i = 0; i < 4; i++) {
		unsigned type = armed_type(v, i), len = length[v->dr[7] >> (18 + 4 * i) & 3];
		uint64_t at = v->dr[i] & ~(uint64_t)(len - 1);

		if ((type == DR_ACCESS || (type == DR_WRITE && write)) && va < at + len && at < va + n)
			hits |= 1U << i;
	}
	return hits;
}
