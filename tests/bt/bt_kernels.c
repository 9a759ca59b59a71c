/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_kernels.c - loops whose slowdown under translation bt_speed measures.  They stand in one section, call nothing
 * outside it, keep no constants in memory, and find 64 KiB of zeroed memory at mem.
 */
#include <emmintrin.h>

#include "tests/bt/bt_kernels.h"

#define KERNEL __attribute__((section("bt_kernels"), noinline, used, optimize("no-tree-vectorize"), \
	no_stack_protector))

KERNEL static uint64_t sieve(uint8_t *mem)
{
	uint64_t count = 0;

	for (int round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 60000; i++)
			((volatile uint8_t *)mem)[i] = 1;
		for (unsigned i = 2; i < 60000; i++) {
			if (!mem[i])
				continue;
			count++;
			for (unsigned j = 2 * i; j < 60000; j += i)
				mem[j] = 0;
		}
	}
	return count;
}

KERNEL static uint64_t copy(uint8_t *mem)
{
	for (int round = 0; round < 2000; round++) {
		void *d = mem + 32768, *s = mem;
		uint64_t n = 4096;
		volatile uint64_t *to = (void *)(mem + 49152), *from = (void *)(mem + 8192);

		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		for (unsigned i = 0; i < 1024; i++)
			to[i] = from[i];
	}
	return mem[5];
}

struct node { struct node *next; uint64_t v; };

KERNEL static uint64_t chase(uint8_t *mem)
{
	struct node *n = (void *)mem;
	uint64_t sum = 0;
	unsigned at = 0;

	for (unsigned i = 0; i < 4000; i++) {
		unsigned to = (at + 1777) % 4000;

		n[at].next = &n[to];
		n[at].v = i;
		at = to;
	}
	for (unsigned i = 0; i < 4000000; i++) {
		sum += n->v;
		n = n->next;
	}
	return sum;
}

static inline uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

KERNEL static uint64_t sha256(uint8_t *mem)
{
	uint32_t *w = (void *)mem, *k = (void *)(mem + 1024), h[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	for (unsigned i = 0; i < 64; i++)
		k[i] = i * 0x9e3779b9U;
	for (unsigned block = 0; block < 10000; block++) {
		uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], hh = h[7];

		for (unsigned i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) +
			       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
		for (unsigned i = 0; i < 64; i++) {
			uint32_t t1 = hh + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
			uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));

			hh = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
		}
		h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += hh;
		w[block & 15] = a;
	}
	return h[0] ^ h[7];
}

__attribute__((section("bt_kernels"), noinline, noipa, used, optimize("no-optimize-sibling-calls", "no-inline"), no_stack_protector))
static uint64_t fib_of(uint64_t n)
{
	return n < 2 ? n : fib_of(n - 1) + fib_of(n - 2);
}

KERNEL static uint64_t fib(uint8_t *mem) { return fib_of(30); }

KERNEL static uint64_t sse(uint8_t *mem)
{
	volatile int unit = 1;            /* not a constant in memory */
	__m128d one = _mm_set1_pd((double)unit), half = _mm_div_pd(one, _mm_add_pd(one, one)), acc = half;
	double *p = (void *)mem, *q = (void *)(mem + 32768);

	for (int round = 0; round < 2000; round++)
		for (unsigned i = 0; i < 4096; i += 2) {
			__m128d v = _mm_add_pd(_mm_mul_pd(_mm_load_pd(p + i), half), one);

			v = _mm_max_pd(v, _mm_load_pd(q + i));
			acc = _mm_add_pd(acc, v);
			_mm_store_pd(p + i, v);
		}
	return (uint64_t)_mm_cvtsd_f64(acc);
}

KERNEL static void sort_range(uint32_t *a, long lo, long hi)
{
	while (lo < hi) {
		uint32_t pivot = a[(lo + hi) / 2], t;
		long i = lo, j = hi;

		while (i <= j) {
			while (a[i] < pivot)
				i++;
			while (a[j] > pivot)
				j--;
			if (i <= j) {
				t = a[i];
				a[i++] = a[j];
				a[j--] = t;
			}
		}
		sort_range(a, lo, j);
		lo = i;
	}
}

KERNEL static uint64_t qsort_(uint8_t *mem)
{
	uint32_t *a = (void *)mem, x = 12345;

	for (int round = 0; round < 30; round++) {
		for (unsigned i = 0; i < 16000; i++) {
			x = x * 1103515245 + 12345;
			a[i] = x >> 8;
		}
		sort_range(a, 0, 15999);
	}
	return a[0] ^ a[15999];
}

const struct bt_kernel bt_kernel_table[] = {
	{ "sieve", sieve }, { "memcpy", copy }, { "chase", chase }, { "sha256", sha256 }, { "fib", fib }, { "sse2", sse },
	{ "qsort", qsort_ }, { NULL, NULL },
};
