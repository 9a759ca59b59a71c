/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locked accesses across a cache line and across a page, from two vCPUs at once: no increment is lost, a lock that is taken by
 * xchg and cmpxchg and let go by a plain store keeps them apart, bits set and reset by lock bts/btr are the only ones that change.
 * On a host that traps split locks the first of them would never end.
 */
#include "micro_guest.h"

const char guest_name[] = "split";

#define ROUNDS 1500

static uint8_t *page;                   /* two of them */
static volatile unsigned arrived, gone;
static volatile uint64_t guarded;

struct place { uint64_t *counter, *lock; uint32_t *small; uint8_t *bits; };

static struct place place_at(unsigned edge)     /* each operand across the end of a line of its own, the last one's the page's */
{
	return (struct place){ (uint64_t *)(page + edge - 3), (uint64_t *)(page + edge - 64 - 5), (uint32_t *)(page + edge - 128 - 1),
			       page + edge - 192 - 2 };
}

static void lock_take(uint64_t *lock, unsigned n)
{
	uint64_t old;

	do {
		old = 0;
		if (n & 1) {
			old = 1;
			__asm__ volatile("xchgq %0, %1" : "+r"(old), "+m"(*lock) : : "memory");
		} else {
			__asm__ volatile("lock cmpxchgq %2, %1" : "+a"(old), "+m"(*lock) : "r"(1UL) : "memory", "cc");
		}
	} while (old);
}

static void work(struct place p, unsigned cpu)
{
	for (unsigned n = 0; n < ROUNDS; n++) {
		uint64_t one = 1, at = cpu * 17 + n % 13;
		uint32_t back = 0x10001;
		uint8_t was;

		__asm__ volatile("lock xaddq %0, %1" : "+r"(one), "+m"(*p.counter) : : "memory", "cc");
		__asm__ volatile("lock incq %0" : "+m"(*p.counter) : : "memory", "cc");
		__asm__ volatile("lock addl %1, %0" : "+m"(*p.small) : "r"(back) : "memory", "cc");
		__asm__ volatile("lock btsq %2, %1\n\tsetc %0" : "=q"(was), "+m"(*(uint64_t *)(void *)p.bits) : "r"(at) : "memory", "cc");
		CHECK_EQ(was, 0);
		lock_take(p.lock, n);
		guarded = guarded + 1;
		*(volatile uint64_t *)p.lock = 0;
		__asm__ volatile("lock btrq %2, %1\n\tsetc %0" : "=q"(was), "+m"(*(uint64_t *)(void *)p.bits) : "r"(at) : "memory", "cc");
		CHECK_EQ(was, 1);
	}
}

static void both(unsigned cpu)
{
	static const unsigned edges[] = { 1024, 4096 };

	for (unsigned i = 0; i < 2; i++) {
		__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
		while (arrived < 2 * (i + 1))
			__asm__ volatile("pause");
		work(place_at(edges[i]), cpu);
		__atomic_fetch_add(&gone, 1, __ATOMIC_SEQ_CST);
		while (gone < 2 * (i + 1))
			__asm__ volatile("pause");
	}
}

static void second(void)
{
	both(1);
	for (;;)
		sched_op(SCHEDOP_block, NULL);
}

static void check(struct place p, uint64_t guard)
{
	CHECK_EQ(*p.counter, 4 * ROUNDS);
	CHECK_EQ(*p.small, (uint32_t)(2 * ROUNDS * 0x10001));
	CHECK_EQ(*(uint64_t *)(void *)p.bits, 0);
	CHECK_EQ(*p.lock, 0);
	CHECK_EQ(guarded, guard);
}

/* The flags, the other operand and a comparison that fails, one vCPU's work. */
static void results(void)
{
	uint64_t *p = (uint64_t *)(void *)(page + 4096 - 4), rax = 5, x = 7;
	uint8_t equal;

	*p = 0x1122334455667788UL;
	__asm__ volatile("lock cmpxchgq %3, %1\n\tsete %2" : "+a"(rax), "+m"(*p), "=q"(equal) : "r"(x) : "memory", "cc");
	CHECK_EQ(rax, 0x1122334455667788UL);
	CHECK_EQ(equal, 0);
	__asm__ volatile("lock cmpxchgq %3, %1\n\tsete %2" : "+a"(rax), "+m"(*p), "=q"(equal) : "r"(x) : "memory", "cc");
	CHECK_EQ(equal, 1);
	CHECK_EQ(*p, 7);
	__asm__ volatile("lock negq %0\n\tsetc %1" : "+m"(*p), "=q"(equal) : : "memory", "cc");
	CHECK_EQ(*p, (uint64_t)-7);
	CHECK_EQ(equal, 1);
	*p = 0;
	/* within a line, unaligned */
	p = (uint64_t *)(void *)(page + 65);
	*p = 40;
	__asm__ volatile("lock xaddq %0, %1" : "+r"(x), "+m"(*p) : : "memory", "cc");
	CHECK_EQ(*p, 47);
	CHECK_EQ(x, 40);
	*p = 0;
	/* cmpxchg16b does not do unaligned operands at all */
	TRY("lock cmpxchg16b (%%rsi)", : : "S"(page + 4096 - 8), "a"(0), "b"(0), "c"(0), "d"(0) : "r11", "memory", "cc");
	CHECK_EQ(trapped.vector, 13);
}

void guest_main(void)
{
	page = page_alloc();
	CHECK_EQ((uint64_t)page_alloc(), (uint64_t)page + 4096);
	results();
	vcpu_start(1, second);
	both(0);
	check(place_at(1024), 4 * ROUNDS);
	check(place_at(4096), 4 * ROUNDS);
}
