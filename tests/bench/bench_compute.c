/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_compute.c - user code that asks nothing of the kernel: integer, memory, calls, vectors.
 *
 * Loops are kept as written (no-tree-vectorize): what GCC would make of them is not what the row's name says.
 */
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/bench/bench.h"

#define PLAIN __attribute__((noinline, optimize("no-tree-vectorize", "no-tree-loop-distribute-patterns")))

/* Page-aligned zeroed memory, present. */
static void *memory(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void memory_free(void *p, size_t n) { munmap(p, n); }

#define SIEVE_N 2000000U

PLAIN static uint64_t sieve(void)
{
	uint8_t *mem = memory(SIEVE_N);
	uint64_t count = 0;

	for (int round = 0; round < 8; round++) {
		memset(mem, 1, SIEVE_N);
		for (unsigned i = 2; i < SIEVE_N; i++) {
			if (!mem[i])
				continue;
			count++;
			for (unsigned j = 2 * i; j < SIEVE_N; j += i)
				mem[j] = 0;
		}
	}
	memory_free(mem, SIEVE_N);
	return count;
}

#define COPY_N (256U << 10)

PLAIN static uint64_t copy_rep(void)
{
	uint8_t *mem = memory(2 * COPY_N);
	uint64_t sum = 0;

	for (unsigned round = 0; round < 4000; round++) {
		void *d = mem + COPY_N, *s = mem;
		uint64_t n = COPY_N;

		mem[round] = (uint8_t)round;
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		sum += mem[COPY_N + round / 2];
	}
	memory_free(mem, 2 * COPY_N);
	return sum;
}

PLAIN static uint64_t copy_words(void)
{
	uint64_t *from = memory(COPY_N), *to = memory(COPY_N), sum = 0;

	for (unsigned round = 0; round < 2000; round++) {
		from[round] = round;
		for (unsigned i = 0; i < COPY_N / 8; i++)
			((volatile uint64_t *)to)[i] = from[i];
		sum += to[round / 2];
	}
	memory_free(from, COPY_N);
	memory_free(to, COPY_N);
	return sum;
}

struct node { struct node *next; uint64_t v[7]; };

/* One cycle through n nodes of a cache line each, in an order that no prefetcher follows. */
static struct node *chain(struct node *n, unsigned count)
{
	uint32_t x = 12345;
	unsigned *order = malloc(count * sizeof(*order));

	for (unsigned i = 0; i < count; i++)
		order[i] = i;
	for (unsigned i = count - 1; i > 0; i--) {
		unsigned j, t;

		x = x * 1664525 + 1013904223;
		j = (unsigned)((uint64_t)x * (i + 1) >> 32);
		t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (unsigned i = 0; i < count; i++) {
		n[order[i]].next = &n[order[(i + 1) % count]];
		n[order[i]].v[0] = i;
	}
	free(order);
	return n;
}

PLAIN static uint64_t chase_over(unsigned count, unsigned steps)
{
	struct node *mem = memory(count * sizeof(*mem)), *n = chain(mem, count);
	uint64_t sum = 0;

	for (unsigned i = 0; i < steps; i++) {
		sum += n->v[0];
		n = n->next;
	}
	memory_free(mem, count * sizeof(*mem));
	return sum;
}

/* 1 MiB: the second-level cache; 16 MiB: more pages than a small TLB has entries. */
static uint64_t chase(void) { return chase_over(1U << 14, 12000000); }
static uint64_t chase_far(void) { return chase_over(1U << 18, 3000000); }

static inline uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
static const uint32_t sha_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

PLAIN static void sha256_block(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], hh = h[7];

	for (unsigned i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (unsigned i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) +
		       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
	for (unsigned i = 0; i < 64; i++) {
		uint32_t t1 = hh + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + sha_k[i] + w[i];
		uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));

		hh = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
	}
	h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += hh;
}

static uint64_t sha256(void)
{
	uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	uint8_t *mem = memory(1U << 20);

	for (unsigned i = 0; i < 1U << 20; i++)
		mem[i] = (uint8_t)(i * 7);
	for (unsigned round = 0; round < 24; round++)
		for (unsigned at = 0; at < 1U << 20; at += 64)
			sha256_block(h, mem + at);
	memory_free(mem, 1U << 20);
	return (uint64_t)h[0] << 32 | h[7];
}

__attribute__((noinline, noipa, optimize("no-optimize-sibling-calls", "no-inline"))) static uint64_t fib_of(uint64_t n)
{
	return n < 2 ? n : fib_of(n - 1) + fib_of(n - 2);
}

static uint64_t fib(void) { return fib_of(36); }

static int less(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The C library's, with its calls through a pointer. */
static uint64_t qsort_libc(void)
{
	const unsigned n = 400000;
	uint32_t *a = memory(n * 4), x = 12345;
	uint64_t sum = 0;

	for (int round = 0; round < 4; round++) {
		for (unsigned i = 0; i < n; i++) {
			x = x * 1103515245 + 12345;
			a[i] = x >> 8;
		}
		qsort(a, n, 4, less);
		sum += a[n / 3];
	}
	memory_free(a, n * 4);
	return sum;
}

#define VEC_N 8192U                                     /* doubles: 64 KiB, twice */

PLAIN static uint64_t sse2(void)
{
	double *p = memory(VEC_N * 8), *q = memory(VEC_N * 8);
	__m128d acc = _mm_set1_pd(0), half = _mm_set1_pd(0.5), one = _mm_set1_pd(1);

	for (int round = 0; round < 10000; round++)
		for (unsigned i = 0; i < VEC_N; i += 2) {
			__m128d v = _mm_add_pd(_mm_mul_pd(_mm_load_pd(p + i), half), one);

			v = _mm_max_pd(v, _mm_load_pd(q + i));
			acc = _mm_add_pd(acc, v);
			_mm_store_pd(p + i, v);
		}
	memory_free(p, VEC_N * 8);
	memory_free(q, VEC_N * 8);
	return (uint64_t)_mm_cvtsd_f64(acc);
}

__attribute__((target("avx2,fma"))) PLAIN static uint64_t avx2(void)
{
	uint32_t *p = memory(VEC_N * 8), *q = memory(VEC_N * 8);
	__m256i acc = _mm256_setzero_si256(), k = _mm256_set1_epi32(0x01000193);
	__m256 facc = _mm256_setzero_ps(), half = _mm256_set1_ps(0.5f);

	for (int round = 0; round < 3000; round++)
		for (unsigned i = 0; i < VEC_N * 2; i += 8) {
			__m256i v = _mm256_load_si256((const __m256i *)(const void *)(p + i));

			v = _mm256_add_epi32(_mm256_xor_si256(v, k), _mm256_load_si256((const __m256i *)(const void *)(q + i)));
			facc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(v, 8)), half, _mm256_mul_ps(facc, half));
			acc = _mm256_add_epi32(acc, v);
			_mm256_store_si256((__m256i *)(void *)(p + i), v);
		}
	memory_free(p, VEC_N * 8);
	memory_free(q, VEC_N * 8);
	return (uint64_t)_mm256_extract_epi64(acc, 1) + (uint64_t)_mm256_cvtss_f32(facc);
}

const struct bench bench_compute_table[] = {
	{ "sieve", sieve }, { "memcpy_rep", copy_rep }, { "memcpy_words", copy_words }, { "chase", chase },
	{ "chase_far", chase_far }, { "sha256", sha256 }, { "fib", fib }, { "qsort", qsort_libc }, { "sse2", sse2 },
	{ "avx2", avx2 }, { NULL, NULL },
};
