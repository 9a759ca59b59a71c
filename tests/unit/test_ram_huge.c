/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_ram_huge.c - which ranges of a guest's RAM go to large pages, and that nothing in them changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/domain_new.h"
#include "hypervisor/ram_huge.h"
#include "lib/huge.h"

#define RANGES 4UL
#define FRAMES (HUGE_PAGE / 4096)

static struct domain *make(void)
{
	struct domain_params p = { .domid = 1, .name = "huge", .max_pages = RANGES * FRAMES, .vcpus = 1, .ram_fd = -1 };
	struct err err = { 0 };
	struct domain *d = NULL;

	assert_int_equal(domain_new(&p, &d, &err), 0);
	domain_populate(d, d->max_pages);
	return d;
}

static void touch(struct domain *d, uint64_t range, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		memset(d->ram + range * HUGE_PAGE + i * 4096UL, (int)(range * 7 + i) | 1, 4096);
}

/* The same as a move brings them: into the file, which this process has not looked at through its mapping. */
static void arrive(struct domain *d, uint64_t range, unsigned pages)
{
	unsigned char page[4096];

	for (unsigned i = 0; i < pages; i++) {
		memset(page, (int)(range * 7 + i) | 1, sizeof(page));
		assert_int_equal(pwrite(d->ram_fd, page, sizeof(page), (off_t)(range * HUGE_PAGE + i * 4096UL)), sizeof(page));
	}
}

static void check(const struct domain *d, uint64_t range, unsigned pages)
{
	for (unsigned i = 0; i < FRAMES; i++)
		for (unsigned at = 0; at < 4096; at += 511)
			assert_int_equal(d->ram[range * HUGE_PAGE + i * 4096UL + at], i < pages ? ((int)(range * 7 + i) | 1) & 255 : 0);
}

/* Pages of the range that the memfd has. */
static unsigned present(const struct domain *d, uint64_t range)
{
	off_t at = (off_t)(range * HUGE_PAGE), end = at + (off_t)HUGE_PAGE, n = 0;

	while (at < end) {
		off_t data = lseek(d->ram_fd, at, SEEK_DATA), hole;

		if (data < 0 || data >= end)
			break;
		hole = lseek(d->ram_fd, data, SEEK_HOLE);
		hole = hole > end ? end : hole;
		n += hole - data;
		at = hole;
	}
	return (unsigned)(n / 4096);
}

/*
 * Full, half, less than half, and full with one frame that the guest gave up: the first two move, the others keep their
 * holes, and what the guest wrote is there.
 */
static void ranges(void **state)
{
	struct domain *d = make();
	struct ram_huge *h = ram_huge_new(d);
	uint64_t lost = 3 * FRAMES + 77;
	unsigned moved;

	assert_non_null(h);
	touch(d, 0, FRAMES);
	arrive(d, 1, FRAMES / 2);
	arrive(d, 2, FRAMES / 2 - 1);
	touch(d, 3, FRAMES - 1);
	d->populated[lost / 64] &= ~(1UL << (lost % 64));
	atomic_store(&d->dirty_logging, true);    /* it is leaving: left alone */
	assert_int_equal(ram_huge_round(h), 0);
	atomic_store(&d->dirty_logging, false);
	moved = ram_huge_round(h);
	if (moved) {                              /* a host may have no large page to give */
		assert_int_equal(present(d, 0), FRAMES);
		assert_true(present(d, 1) == FRAMES || moved == 1);
	}
	assert_in_range(moved, 0, 2);
	moved += ram_huge_round(h);               /* what did not go the first time */
	assert_in_range(moved, 0, 2);
	assert_int_equal(present(d, 2), FRAMES / 2 - 1);
	assert_int_equal(present(d, 3), FRAMES - 1);
	check(d, 0, FRAMES);
	check(d, 1, FRAMES / 2);
	check(d, 2, FRAMES / 2 - 1);
	check(d, 3, FRAMES - 1);
	ram_huge_stop(h);
	domain_free(d);
}

/* Of a guest that is about to leave nothing moves; if it stays, it does as it would have. */
static void leaving(void **state)
{
	struct domain *d = make();
	struct ram_huge *h = ram_huge_new(d);

	assert_non_null(h);
	touch(d, 1, FRAMES / 2);
	atomic_store(&d->dirty_logging, true);
	assert_int_equal(ram_huge_round(h), 0);
	assert_int_equal(present(d, 1), FRAMES / 2);
	atomic_store(&d->dirty_logging, false);
	if (ram_huge_round(h))                    /* a host may have no large page to give */
		assert_int_equal(present(d, 1), FRAMES);
	check(d, 1, FRAMES / 2);
	ram_huge_stop(h);
	domain_free(d);
}

/* The thread starts, ends at once, and is not needed. */
static void thread(void **state)
{
	struct domain *d = make();
	struct ram_huge *h;

	touch(d, 0, FRAMES);
	d->first_run_ns = 1;                      /* it has been here for long */
	h = ram_huge_start(d);
	assert_non_null(h);
	usleep(300000);
	touch(d, 0, FRAMES);
	ram_huge_stop(h);
	ram_huge_stop(NULL);
	check(d, 0, FRAMES);
	domain_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(ranges), cmocka_unit_test(leaving), cmocka_unit_test(thread) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
