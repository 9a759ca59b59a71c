/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_bt_ahead.c - translations made ahead for a guest that comes: what the source lists is what ran, the target has nothing left to
 * translate, code that changed in between is what runs, and a list that lies does no harm.
 */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include "lib/buf.h"
#include "tests/bt/bt_guest.h"

#define HIGH BTN_HIGH

static bool ever(void *arg) { return true; }
static bool never(void *arg) { return false; }

static struct btg *source, *target;
static struct buf list;

/* At 0: calls what is at 0x1100, on the next page, three times, and adds up what it says in eax. */
static const uint8_t caller[] = {
	0x31, 0xdb,                                  /* xor ebx, ebx */
	0xbd, 0x03, 0x00, 0x00, 0x00,                /* mov $3, ebp */
	0xe8, 0xf4, 0x10, 0x00, 0x00,                /* at 7: call 0x1100 */
	0x01, 0xc3,                                  /* add eax, ebx */
	0xff, 0xcd,                                  /* dec ebp */
	0x75, 0xf5,                                  /* jnz the call */
	0x89, 0xd8,                                  /* mov ebx, eax */
	0x0f, 0x05,
};
static const uint8_t callee[] = { 0xb8, 0x05, 0x00, 0x00, 0x00, 0xc3 };
/* At 0x2800: rdtsc; shl $32, rdx; or rdx, rax. */
static const uint8_t clock_code[] = { 0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0x0f, 0x05 };
/* At 0x2ffd, into the next page: mov $7, eax; add $1, eax; jmp 0x3010, where it is done. */
static const uint8_t straddler[] = { 0xb8, 0x07, 0x00, 0x00, 0x00, 0x83, 0xc0, 0x01, 0xeb, 0x09 };
static const uint8_t done[] = { 0x83, 0xc0, 0x02, 0x0f, 0x05 };                    /* at 0x3010: add $2, eax */
static const uint8_t later[] = { 0xb8, 0x21, 0x00, 0x00, 0x00, 0x0f, 0x05 };       /* at 0x1800: mov $33, eax */
static const uint8_t other[] = { 0xb8, 0x63, 0x00, 0x00, 0x00, 0x0f, 0x05 };       /* at 0x2000: mov $99, eax */

static uint64_t run(struct btg *g, uint64_t base, uint64_t off)
{
	assert_int_equal(engine_bt.vcpu_enter_thread(g->v), 0);
	memset(g->v->regs.gpr, 0, sizeof(g->v->regs.gpr));
	g->v->regs.rip = base + BTN_CODE_VA + off;
	g->v->regs.rflags = 2;
	g->v->regs.gpr[REG_RSP] = base + BTN_STACK_VA + 0x2000;
	g->v->regs.kernel_mode = 0;
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	return g->v->regs.gpr[REG_RAX];
}

static void end(struct btg *g)
{
	engine_bt.vcpu_destroy(g->v);
	engine_bt.domain_destroy(&g->d);
	engine_bt.vcpu_free(g->v);
	munmap(g->d.ram, domain_nr_frames(&g->d) * 4096);
	close(g->d.ram_fd);
	free(g->d.populated);
	free((void *)(uintptr_t)g->d.dirty);
	free(g->d.pt_type);
	free(g);
}

static struct btg *begin(void)
{
	struct btg *g = btg_new(1 << 20);

	btg_map_memory(g, HIGH);
	memcpy(btg_mem(g), caller, sizeof(caller));
	memcpy(btg_mem(g) + 0x1100, callee, sizeof(callee));
	memcpy(btg_mem(g) + 0x1800, later, sizeof(later));
	memcpy(btg_mem(g) + 0x2000, other, sizeof(other));
	memcpy(btg_mem(g) + 0x2800, clock_code, sizeof(clock_code));
	memcpy(btg_mem(g) + 0x2ffd, straddler, sizeof(straddler));
	memcpy(btg_mem(g) + 0x3010, done, sizeof(done));
	return g;
}

/* The guest runs at the source, low and high (where code is relative), and is listed. */
static int setup(void **state)
{
	source = begin();
	target = begin();
	run(source, 0, 0x2000);
	engine_bt.code_watch(&source->d);
	assert_int_equal(run(source, 0, 0), 15);
	assert_int_equal(run(source, HIGH, 0), 15);
	buf_init(&list, 65536);
	assert_int_equal(engine_bt.code_list(&source->d, &list), 0);
	return 0;
}

static int teardown(void **state)
{
	end(source);
	end(target);
	buf_free(&list);
	return 0;
}

static unsigned make(const void *p, size_t n)
{
	unsigned blocks = 0;

	assert_int_equal(engine_bt.code_make(&target->d, p, n, ever, NULL, &blocks), 0);
	return blocks;
}

static uint64_t made_since(uint64_t before) { return bt_of(target->v)->stat[BS_MAKE] - before; }

static void what_ran_is_ready(void **state)
{
	assert_true(make(list.data, list.len) >= 6);
	assert_int_equal(run(target, 0, 0), 15);
	assert_int_equal(run(target, HIGH, 0), 15);
	assert_int_equal(made_since(0), 0);
}

/* What ran before code_watch() alone is not listed, and a full flush forgets what was. */
static void what_did_not_run_is_not_listed(void **state)
{
	struct buf empty = BUF_INIT(65536);

	make(list.data, list.len);
	assert_int_equal(run(target, 0, 0x2000), 99);
	assert_int_equal(made_since(0), 1);
	engine_bt.code_watch(&source->d);
	assert_int_equal(engine_bt.code_list(&source->d, &empty), 0);
	assert_int_equal(empty.len, 8);
	buf_free(&empty);
}

/* What was listed once is not listed again; what runs later is, of pages that were made ahead too. */
static void what_runs_later_is_ready_too(void **state)
{
	struct buf more = BUF_INIT(65536);

	make(list.data, list.len);
	assert_int_equal(run(source, 0, 0x1800), 33);
	assert_int_equal(run(source, 0, 0x2000), 99);
	assert_int_equal(engine_bt.code_list(&source->d, &more), 0);
	assert_in_range(more.len, 8 + 2 * 26, list.len - 1);
	assert_int_equal(make(more.data, more.len), 2);
	assert_int_equal(run(target, 0, 0), 15);
	assert_int_equal(run(target, 0, 0x1800), 33);
	assert_int_equal(run(target, 0, 0x2000), 99);
	assert_int_equal(made_since(0), 0);
	buf_free(&more);
}

/* Of a page whose first blocks were made of other bytes nothing more is made before it is proved. */
static void a_page_that_changed_between_lists_is_left(void **state)
{
	struct buf more = BUF_INIT(65536);

	make(list.data, list.len);
	assert_int_equal(run(source, 0, 0x1800), 33);
	assert_int_equal(engine_bt.code_list(&source->d, &more), 0);
	btg_mem(target)[0x1101] = 7;
	assert_int_equal(make(more.data, more.len), 0);
	assert_int_equal(run(target, 0, 0), 21);
	buf_free(&more);
}

/* A later round of the move brings another page: memory changes with no word to the engine, once before anything ran. */
static void what_changed_meanwhile_is_what_runs(void **state)
{
	make(list.data, list.len);
	btg_mem(target)[0x1101] = 7;
	assert_int_equal(run(target, 0, 0), 21);
	assert_int_equal(run(target, HIGH, 0), 21);
	assert_true(made_since(0) > 0);
}

/* Who translates a page again has claimed it already when what was made ahead of it turns out stale: the claim stands. */
static void stale_code_takes_no_claim_away(void **state)
{
	make(list.data, list.len);
	btg_mem(target)[0x1101] = 7;
	target->v->regs.kernel_mode = 0;
	assert_int_equal(bt_make(bt_of(target->v), BTN_CODE_VA + 0x1100, BT_ANYWHERE), 0);
	assert_true(bt_frame_has_code(&target->d, BTG_MEM + 1));
	assert_int_equal(run(target, 0, 0), 21);
	btg_mem(target)[0x1101] = 5;
	btg_written(target, 1, 1);
	assert_int_equal(run(target, 0, 0), 15);
}

/* What is not known before the guest's state comes is in no translation: its TSC. */
static void clocks_are_those_of_the_state(void **state)
{
	struct buf b = BUF_INIT(65536);
	const uint64_t ahead = 1ULL << 60;
	uint64_t t;

	engine_bt.code_watch(&source->d);
	assert_true(run(source, 0, 0x2800) < ahead);
	assert_int_equal(engine_bt.code_list(&source->d, &b), 0);
	make(b.data, b.len);
	target->d.tsc_offset = (int64_t)ahead;
	t = run(target, 0, 0x2800);
	assert_true(t > ahead);
	assert_true(run(target, 0, 0x2800) > t);
	buf_free(&b);
}

/* An instruction that ends on a page made ahead makes that page known as mapped: it is proved before. */
static void what_is_straddled_into_is_proved(void **state)
{
	struct buf b = BUF_INIT(65536);

	engine_bt.code_watch(&source->d);
	assert_int_equal(run(source, 0, 0x2ffd), 10);
	assert_int_equal(engine_bt.code_list(&source->d, &b), 0);
	make(b.data, b.len);
	btg_mem(target)[0x3012] = 3;
	assert_int_equal(run(target, 0, 0x2ffd), 11);
	btg_mem(target)[0x3012] = 2;
	btg_written(target, 3, 1);
	assert_int_equal(run(target, 0, 0x2ffd), 10);
	buf_free(&b);
}

/* From the first step on the guest's own writes are seen, in pages that nobody has entered yet too. */
static void what_the_guest_writes_is_seen(void **state)
{
	make(list.data, list.len);
	assert_true(bt_frame_has_code(&target->d, BTG_MEM + 1));
	btg_mem(target)[0x1101] = 9;
	btg_written(target, 1, 1);
	assert_int_equal(run(target, 0, 0), 27);
	btg_mem(target)[0x1101] = 5;
	btg_written(target, 1, 1);
	assert_int_equal(run(target, HIGH, 0), 15);
}

static void time_is_bounded(void **state)
{
	unsigned blocks = 1;

	assert_int_equal(engine_bt.code_make(&target->d, list.data, list.len, never, NULL, &blocks), 0);
	assert_int_equal(blocks, 0);
	assert_int_equal(run(target, 0, 0), 15);
}

/* The bound of a list is a bound of its octets; what fits of it is whole. */
static void a_short_list_is_a_list(void **state)
{
	for (size_t max = 8; max < list.len; max += 7) {
		struct buf b = BUF_INIT(max);

		engine_bt.code_watch(&source->d);
		run(source, 0, 0);
		run(source, HIGH, 0);
		assert_int_equal(engine_bt.code_list(&source->d, &b), 0);
		assert_true(b.len <= max);
		make(b.data, b.len);
		buf_free(&b);
	}
}

static void refused(size_t at, uint8_t value)
{
	uint8_t lie[4096];
	unsigned blocks;

	memcpy(lie, list.data, list.len);
	lie[at] = value;
	assert_int_equal(engine_bt.code_make(&target->d, lie, list.len, ever, NULL, &blocks), -EBADMSG);
}

static void lies_are_refused(void **state)
{
	unsigned blocks;

	refused(4, 1);                               /* the head's zero */
	refused(0, 200);                             /* more pages than there are */
	refused(8, 1);                               /* an address in mid-page */
	refused(15, 0x40);                           /* not canonical */
	refused(16 + 3, 0xff);                       /* a frame that the guest does not have */
	refused(24, 0xff);                           /* flags */
	refused(26, 0);                              /* no blocks */
	refused(28, 1);                              /* the page's zero */
	for (size_t n = 0; n < list.len; n++)
		assert_int_equal(engine_bt.code_make(&target->d, list.data, n, ever, NULL, &blocks), -EBADMSG);
	assert_int_equal(run(target, 0, 0), 15);
}

/* Octets at random: nothing but time and cache is lost, and the guest runs as it would have. */
static void random_lies_do_no_harm(void **state)
{
	uint8_t lie[4096];
	uint32_t seed = 1;
	unsigned blocks;

	assert_true(list.len <= sizeof(lie));
	for (unsigned i = 0; i < 20000; i++) {
		memcpy(lie, list.data, list.len);
		for (unsigned k = 0; k < 1 + i % 4; k++) {
			seed = seed * 1664525 + 1013904223;
			lie[(seed >> 8) % list.len] = (uint8_t)(seed >> 24);
		}
		engine_bt.code_make(&target->d, lie, list.len, ever, NULL, &blocks);
	}
	assert_true(target->d.bt->used - target->d.bt->first <= (target->d.bt->cold_first - target->d.bt->first) / 2 + 65536);
	assert_int_equal(run(target, 0, 0), 15);
	assert_int_equal(run(target, HIGH, 0), 15);
	assert_int_equal(run(target, HIGH, 0x2000), 99);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_ran_is_ready, setup, teardown),
		cmocka_unit_test_setup_teardown(what_did_not_run_is_not_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(what_runs_later_is_ready_too, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_that_changed_between_lists_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(what_changed_meanwhile_is_what_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(stale_code_takes_no_claim_away, setup, teardown),
		cmocka_unit_test_setup_teardown(clocks_are_those_of_the_state, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_straddled_into_is_proved, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_guest_writes_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(time_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_short_list_is_a_list, setup, teardown),
		cmocka_unit_test_setup_teardown(lies_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(random_lies_do_no_harm, setup, teardown),
	};

	return cmocka_run_group_tests_name("bt_ahead", tests, NULL, NULL);
}
