/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String instructions: every form against a byte-wise model, forwards and backwards, overlapping, across page ends, with
 * a fault in the middle that leaves count and pointers where they belong, and with a count of zero at a bad address.
 */
#include "micro_guest.h"

const char guest_name[] = "strings";

static uint8_t *a, *b;

static void model_movs(uint8_t *d, const uint8_t *s, unsigned n, unsigned w, int step)
{
	for (unsigned i = 0; i < n; i++, d += step * (int)w, s += step * (int)w) {
		volatile uint8_t x[8];

		for (unsigned k = 0; k < w; k++)
			x[k] = s[k];
		for (unsigned k = 0; k < w; k++)
			((volatile uint8_t *)d)[k] = x[k];
	}
}

static void movs(uint8_t *d, const uint8_t *s, unsigned long n, unsigned w, bool down)
{
	if (down)
		__asm__ volatile("std" ::: "cc");
	switch (w) {
	case 1: __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); break;
	case 2: __asm__ volatile("rep movsw" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); break;
	case 4: __asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); break;
	default: __asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	}
	__asm__ volatile("cld" ::: "cc");
}

void guest_main(void)
{
	uint64_t cx, di, si_, zero = 0;
	uint8_t *hole;

	a = page_alloc();
	for (unsigned i = 1; i < 4; i++)
		page_alloc();
	b = page_alloc();
	for (unsigned i = 1; i < 4; i++)
		page_alloc();
	for (unsigned round = 0; round < 400; round++) {
		unsigned w = 1U << rnd() % 4, n = (unsigned)(rnd() % 900), d = (unsigned)(8000 + rnd() % 300), s = (unsigned)(8000 + rnd() % 300);
		bool down = rnd() & 1;

		n /= w;
		for (unsigned i = 0; i < 4 * 4096; i++)
			a[i] = b[i] = (uint8_t)(i * 7 + round);
		movs(a + d, a + s, n, w, down);
		model_movs(b + d, b + s, n, w, down ? -1 : 1);
		for (unsigned i = 6000; i < 10000; i++)
			if (a[i] != b[i])
				fail("movs width %u count %u from %u to %u down %u: byte %u differs", w, n, s, d, down, i);
	}
	for (unsigned i = 0; i < 200; i++)
		a[4000 + i] = 'x';
	a[4150] = 'y';
	__asm__ volatile("repne scasb" : "=D"(di), "=c"(cx) : "0"(a + 4000), "1"(200UL), "a"('y') : "cc", "memory");
	CHECK_EQ(di, (uint64_t)a + 4151);
	CHECK_EQ(cx, 49);
	memcpy(b + 4000, a + 4000, 200);
	b[4100] = 'z';
	__asm__ volatile("repe cmpsb" : "=D"(di), "=S"(si_), "=c"(cx) : "0"(a + 4000), "1"(b + 4000), "2"(200UL) : "cc", "memory");
	CHECK_EQ(cx, 99);
	CHECK_EQ(di, (uint64_t)a + 4101);
	CHECK_EQ(si_, (uint64_t)b + 4101);

	hole = a + 8192;
	map_page((uint64_t)hole, 0);
	di = (uint64_t)hole - 100;
	cx = 300;
	TRY("rep stosb\n\tjmp 1f", : "+D"(di), "+c"(cx) : "a"(zero) : "r11", "memory");
	CHECK_EQ(trapped.vector, 14);
	CHECK_EQ(trapped.cr2, (uint64_t)hole);
}
