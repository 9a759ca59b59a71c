/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Held frames and page tables as runs, against the tables they were made of: every length of tail behind the last whole word, dense, thin
 * and empty ones.  What breaks here gives a guest that has moved frames that are not its own, or takes tables for plain pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hypervisor/abi/frame_runs.h"

#define FRAMES_MAX 1024u
#define WORDS (FRAMES_MAX / 64)

static struct domain *d;
static uint64_t held[WORDS];
static uint8_t tables[FRAMES_MAX];

static int setup(void **state)
{
	d = calloc(1, sizeof(*d));
	d->populated = calloc(WORDS, 8);
	d->pt_type = calloc(FRAMES_MAX, 1);
	return 0;
}

static int teardown(void **state)
{
	free(d->populated);
	free(d->pt_type);
	free(d);
	return 0;
}

static void fill(uint64_t frames, unsigned held_of_16, unsigned tables_of_16)
{
	d->max_pages = frames;
	memset(d->populated, 0, WORDS * 8);
	memset(d->pt_type, 0, FRAMES_MAX);
	for (uint64_t f = 0; f < frames; f++) {
		/* stretches of up to 79, so that runs begin and end inside of words and at their ends */
		uint64_t end = f + (uint64_t)rand() % 80;

		if ((unsigned)rand() % 16 < held_of_16)
			for (uint64_t k = f; k < frames && k < end; k++)
				d->populated[k / 64] |= 1ull << (k % 64);
		if ((unsigned)rand() % 16 < tables_of_16)
			d->pt_type[f] = (uint8_t)(1 + rand() % 4);
	}
}

static bool load(const struct buf *b, size_t n)
{
	struct reader r;

	memset(held, 0, sizeof(held));
	memset(tables, 0, sizeof(tables));
	reader_init(&r, b->data, n);
	return frame_runs_load(d, &r, held, tables) && reader_done(&r);
}

static void both_tables_come_back(void **state)
{
	srand(3);
	for (uint64_t frames = 1; frames <= FRAMES_MAX; frames += frames < 200 ? 1 : 61) {
		for (unsigned k = 0; k < 6; k++) {
			struct buf b = BUF_INIT(1 << 20);

			fill(frames, (const unsigned[]){ 0, 1, 1, 16, 4, 16 }[k], (const unsigned[]){ 0, 0, 1, 2, 16, 16 }[k]);
			frame_runs_save(d, &b);
			assert_true(buf_ok(&b));
			assert_true(load(&b, b.len));
			assert_memory_equal(held, d->populated, sizeof(held));
			assert_memory_equal(tables, d->pt_type, sizeof(tables));
			buf_free(&b);
		}
	}
}

/* All of it held and no table: two lists, of one run and of none. */
static void what_is_alike_is_one_run(void **state)
{
	struct buf b = BUF_INIT(1 << 20);

	fill(1000, 16, 0);
	for (uint64_t f = 0; f < 1000; f++)
		d->populated[f / 64] |= 1ull << (f % 64);
	frame_runs_save(d, &b);
	assert_int_equal(b.len, 4 + 16 + 4);
	buf_free(&b);
}

static void put_run(struct buf *b, uint64_t first, uint32_t frames, uint32_t value)
{
	buf_u64(b, first);
	buf_u32(b, frames);
	buf_u32(b, value);
}

static bool accepted(uint64_t first, uint32_t frames, uint32_t value, bool as_table)
{
	struct buf b = BUF_INIT(1 << 20);
	bool ok;

	buf_u32(&b, as_table ? 0 : 2);
	if (as_table)
		buf_u32(&b, 2);
	put_run(&b, 10, 20, 1);
	put_run(&b, first, frames, value);
	if (!as_table)
		buf_u32(&b, 0);
	ok = load(&b, b.len);
	buf_free(&b);
	return ok;
}

static void runs_that_break_a_rule_are_refused(void **state)
{
	fill(100, 0, 0);
	for (int as_table = 0; as_table < 2; as_table++) {
		assert_true(accepted(30, 70, 1, as_table));
		assert_false(accepted(29, 1, 1, as_table));              /* into the one before */
		assert_false(accepted(0, 5, 1, as_table));
		assert_false(accepted(30, 71, 1, as_table));             /* beyond RAM */
		assert_false(accepted(100, 1, 1, as_table));
		assert_false(accepted(UINT64_MAX, 2, 1, as_table));
		assert_false(accepted(30, 0, 1, as_table));
		assert_false(accepted(30, 1, 0, as_table));
		assert_false(accepted(30, 1, as_table ? 5 : 2, as_table));
	}
	assert_true(accepted(30, 1, 4, true));
}

static void a_list_cut_short_is_refused(void **state)
{
	struct buf b = BUF_INIT(1 << 20);

	srand(5);
	fill(300, 1, 1);
	frame_runs_save(d, &b);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *p = malloc(n ? n : 1);         /* its own size, so that ASan sees a read too far */
		struct buf cut = { .data = p, .len = n };

		memcpy(p, b.data, n);
		assert_false(load(&cut, n));
		free(p);
	}
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_tables_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_alike_is_one_run, setup, teardown),
		cmocka_unit_test_setup_teardown(runs_that_break_a_rule_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_list_cut_short_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
