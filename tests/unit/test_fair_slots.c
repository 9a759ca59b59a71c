/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who gives way when all places are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "migrated/fair_slots.h"

static struct fair_caller host(uint8_t last)
{
	return fair_caller_v4((const uint8_t[]){ 192, 0, 2, last });
}

static void fill(struct fair_slot *slot, const char *who)
{
	for (unsigned i = 0; who[i]; i++)
		slot[i] = (struct fair_slot){ .used = who[i] != '.', .who = host((uint8_t)who[i]), .since = 100 + i };
}

static void test_the_greedy_give_way(void **state)
{
	struct fair_slot slot[8];
	struct fair_caller a = host('a'), b = host('b'), c = host('c');

	fill(slot, "aaaaaaaa");
	assert_int_equal(fair_victim(slot, 8, &b, false), 0);
	assert_int_equal(fair_victim(slot, 8, &a, false), -1);
	assert_int_equal(fair_victim(slot, 8, &a, true), 0);
	slot[0].since = 900;
	assert_int_equal(fair_victim(slot, 8, &b, false), 1);
	fill(slot, "abbbcbba");
	assert_int_equal(fair_victim(slot, 8, &a, false), 1);
	assert_int_equal(fair_victim(slot, 8, &c, true), 1);
	assert_int_equal(fair_victim(slot, 8, &b, false), -1);
	assert_int_equal(fair_count(slot, 8, &b), 5);
}

/* Among equals nobody is thrown out for a newcomer that would only be the next one of many. */
static void test_equals(void **state)
{
	struct fair_slot slot[8];
	struct fair_caller a = host('a'), z = host('z');

	fill(slot, "abcdefgh");
	assert_int_equal(fair_victim(slot, 8, &a, false), -1);
	assert_int_equal(fair_victim(slot, 8, &z, false), 0);
}

/* However many call, of however many addresses: somebody who has a place less than others always gets one. */
static void test_nobody_is_kept_out(void **state)
{
	struct fair_slot slot[8] = { { .used = false } };
	struct fair_caller node = host(1);
	unsigned n = 0;

	srand(3);
	for (unsigned t = 0; t < 10000; t++) {
		bool ours = t % 97 == 96;
		struct fair_caller who = ours ? node : host((uint8_t)(2 + rand() % 3));
		int at = n < 8 ? (int)n++ : fair_victim(slot, 8, &who, false);

		if (ours) {
			assert_true(at >= 0);
			slot[at] = (struct fair_slot){ .used = true, .who = who, .since = t };
			assert_int_equal(fair_count(slot, 8, &node), 1);
			/* it has shown what it is, and its place is free; the flood is there first */
			slot[at].who = host(2);
		} else if (at >= 0) {
			slot[at] = (struct fair_slot){ .used = true, .who = who, .since = t };
		}
	}
}

static void test_addresses(void **state)
{
	uint8_t six[16] = { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 1 }, map[16] = { [10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 7 };
	struct fair_caller x = fair_caller_v6(six), y, four = host(7);

	six[15] = 99;
	y = fair_caller_v6(six);
	assert_memory_equal(&x, &y, sizeof(x));        /* one host's */
	six[7] = 2;
	y = fair_caller_v6(six);
	assert_memory_not_equal(&x, &y, sizeof(x));
	y = fair_caller_v6(map);
	assert_memory_equal(&y, &four, sizeof(y));
}

static void test_budget(void **state)
{
	struct fair_budget b = { 0 };
	struct fair_caller a = host(1), c = host(2);
	uint64_t second = 1000000000ull, now = second;
	unsigned got = 0;

	for (unsigned i = 0; i < 1000; i++)
		got += fair_spend(&b, &a, now);
	assert_int_equal(got, FAIR_BURST);
	assert_true(fair_spend(&b, &c, now));
	got = 0;
	for (unsigned i = 0; i < 1000; i++)           /* for ten seconds */
		got += fair_spend(&b, &a, now += second / 100);
	assert_in_range(got, 10 * FAIR_PER_S - 1, 10 * FAIR_PER_S + 1);
	/* who shows a certificate each time may come as often as he likes */
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(fair_spend(&b, &c, now));
		fair_refund(&b, &c);
	}
	fair_refund(&b, &c);
	got = 0;
	for (unsigned i = 0; i < 1000; i++)
		got += fair_spend(&b, &c, now);
	assert_int_equal(got, FAIR_BURST);
	/* and more addresses than are remembered push out the one that was away longest */
	for (unsigned i = 0; i < FAIR_ADDRESSES; i++) {
		struct fair_caller x = host((uint8_t)(100 + i));

		assert_true(fair_spend(&b, &x, now += second));
	}
	assert_true(fair_spend(&b, &a, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_greedy_give_way), cmocka_unit_test(test_equals), cmocka_unit_test(test_nobody_is_kept_out),
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
