/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ledger against a plain array: whatever is sent and acknowledged in whatever steps, exactly what was acknowledged is settled. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "migrated/ledger.h"

#define WORDS 4096

static unsigned char settled_at[WORDS];

static void settle(void *arg, const struct ledger_entry *e)
{
	assert_true(e->from < e->to && e->to <= WORDS);
	for (size_t i = e->from; i < e->to; i++)
		settled_at[i]++;
}

static void test_only_what_was_acknowledged_is_settled(void **state)
{
	uint32_t serial_of[WORDS], acked = 0;
	struct ledger l;
	size_t at = 0;

	srand(7);
	ledger_reset(&l);
	memset(settled_at, 0, sizeof(settled_at));
	memset(serial_of, 0, sizeof(serial_of));
	while (at + 16 < WORDS) {
		size_t n = 1 + (size_t)rand() % 8, gap = rand() % 3 ? 0 : 1;

		while (ledger_full(&l)) {
			if (ledger_is_open(&l))
				ledger_check(&l);
			acked = l.serial;
			assert_int_equal(0, ledger_ack(&l, acked, settle, NULL));
		}
		ledger_add(&l, at, at + n, (uint64_t)rand() % 400);
		for (size_t i = at; i < at + n; i++)
			serial_of[i] = l.serial + 1;
		at += n + gap;
		if (ledger_check_due(&l) || rand() % 50 == 0)
			ledger_check(&l);
		if (l.serial > acked && rand() % 4 == 0) {
			acked += 1 + (uint32_t)rand() % (l.serial - acked);
			assert_int_equal(0, ledger_ack(&l, acked, settle, NULL));
		}
		for (size_t i = 0; i < at; i++)
			assert_int_equal(settled_at[i], serial_of[i] && serial_of[i] <= acked);
	}
	assert_false(ledger_is_settled(&l));
	if (ledger_is_open(&l))
		ledger_check(&l);
	assert_int_equal(0, ledger_ack(&l, l.serial, settle, NULL));
	assert_true(ledger_is_settled(&l));
}

static void test_lies_are_refused(void **state)
{
	struct ledger l;

	ledger_reset(&l);
	assert_int_equal(-EBADMSG, ledger_ack(&l, 0, settle, NULL));
	assert_int_equal(-EBADMSG, ledger_ack(&l, 1, settle, NULL));
	ledger_add(&l, 0, 4, 10);
	assert_int_equal(-EBADMSG, ledger_ack(&l, 1, settle, NULL));
	assert_int_equal(1, ledger_check(&l));
	ledger_add(&l, 4, 8, 10);
	assert_int_equal(-EBADMSG, ledger_ack(&l, 2, settle, NULL));
	assert_int_equal(-EBADMSG, ledger_ack(&l, UINT32_MAX, settle, NULL));
	assert_int_equal(0, ledger_ack(&l, 1, settle, NULL));
	assert_int_equal(-EBADMSG, ledger_ack(&l, 1, settle, NULL));
	assert_true(ledger_is_open(&l));
	assert_false(ledger_is_settled(&l));
}

static void test_a_full_ledger_asks_for_a_check(void **state)
{
	struct ledger l;

	ledger_reset(&l);
	for (size_t i = 0; i < LEDGER_OPEN_MAX; i++) {
		assert_false(ledger_check_due(&l));
		ledger_add(&l, 2 * i, 2 * i + 1, 1);
	}
	assert_true(ledger_check_due(&l));
	for (size_t i = LEDGER_OPEN_MAX; i < LEDGER_ENTRIES; i++)
		ledger_add(&l, 2 * i, 2 * i + 1, 1);
	assert_true(ledger_full(&l));
	ledger_check(&l);
	assert_int_equal(0, ledger_ack(&l, 1, settle, NULL));
	assert_false(ledger_full(&l));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_was_acknowledged_is_settled),
		cmocka_unit_test(test_lies_are_refused),
		cmocka_unit_test(test_a_full_ledger_asks_for_a_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
