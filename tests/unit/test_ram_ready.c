/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What broke: a kernel's segments went to their places while helpers made the memory there, and the first octet of a large page
 * was zero afterwards: making memory wrote to it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hypervisor/build/ram_ready.h"
#include "lib/huge.h"

#define LARGE_PAGES 48
#define ROUNDS 20

static void test_what_is_written_meanwhile_stays(void **state)
{
	for (int round = 0; round < ROUNDS; round++) {
		uint8_t *p = huge_alloc(LARGE_PAGES * HUGE_PAGE);
		struct ram_ready *r;

		assert_non_null(p);
		r = ram_ready_begin(p, LARGE_PAGES * HUGE_PAGE);
		assert_non_null(r);
		for (int i = LARGE_PAGES - 1; i >= 0; i--)
			p[i * HUGE_PAGE] = (uint8_t)(i + 1);
		ram_ready_end(r);
		for (int i = 0; i < LARGE_PAGES; i++)
			assert_int_equal(p[i * HUGE_PAGE], i + 1);
		munmap(p, LARGE_PAGES * HUGE_PAGE);
	}
}

static uint8_t done[100];

static void job(void *arg, unsigned i)
{
	__atomic_fetch_add(&((uint8_t *)arg)[i], 1, __ATOMIC_RELAXED);
}

static void test_jobs_are_done_once_each(void **state)
{
	uint8_t *p = huge_alloc(LARGE_PAGES * HUGE_PAGE);
	struct ram_ready *r = ram_ready_begin(p, LARGE_PAGES * HUGE_PAGE);

	ram_ready_need(r, p + HUGE_PAGE);
	ram_ready_each(r, sizeof done, job, done);
	ram_ready_end(r);
	ram_ready_each(NULL, sizeof done, job, done);
	for (unsigned i = 0; i < sizeof done; i++)
		assert_int_equal(done[i], 2);
	munmap(p, LARGE_PAGES * HUGE_PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_meanwhile_stays), cmocka_unit_test(test_jobs_are_done_once_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
