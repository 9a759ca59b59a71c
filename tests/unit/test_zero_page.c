/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Zero pages.  What broke: of a page that its guest wrote meanwhile memcmp() found a difference, looked again where it had been, found none, and
 * the page was told as zero with the rest of it unseen.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/zero_page.h"

#define LOOKS 300000

static _Alignas(ZERO_PAGE_OCTETS) uint8_t page[ZERO_PAGE_OCTETS];

static void test_any_octet_counts(void **state)
{
	memset(page, 0, sizeof(page));
	assert_true(page_is_zero(page));
	assert_true(live_page_is_zero(page));
	for (size_t i = 0; i < sizeof(page); i++) {
		page[i] = (uint8_t)(1 + i % 255);
		assert_false(page_is_zero(page));
		assert_false(live_page_is_zero(page));
		page[i] = 0;
	}
}

static void *write_on(void *stop)
{
	volatile uint8_t *octet = page + 2001;

	while (!atomic_load((atomic_bool *)stop)) {
		*octet = 1;
		*octet = 0;
	}
	return NULL;
}

static void test_a_page_that_is_written_meanwhile(void **state)
{
	atomic_bool stop = false;
	pthread_t writer;
	unsigned wrong = 0;

	memset(page, 0, sizeof(page));
	page[ZERO_PAGE_OCTETS - 1] = 1;
	assert_int_equal(pthread_create(&writer, NULL, write_on, &stop), 0);
	for (unsigned i = 0; i < LOOKS; i++)
		wrong += live_page_is_zero(page);
	atomic_store(&stop, true);
	pthread_join(writer, NULL);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_any_octet_counts), cmocka_unit_test(test_a_page_that_is_written_meanwhile) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
