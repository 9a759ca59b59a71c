/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_mmu.c - the guest page walk: permissions, error codes, A/D bits, hostile tables, copies.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/guest_mem.h"

/* The translator's part, as far as it concerns memory: what was written, and where. */
static uint64_t written_mfn;
static unsigned written_off, written_len;

void bt_frame_written(struct domain *d, uint64_t mfn, unsigned off, unsigned len)
{
	domain_mark_dirty(d, mfn);
	written_mfn = mfn;
	written_off = off;
	written_len = len;
}

#define VA 0xffff888000123000UL
#define ALL (PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D)

static int setup(void **state) { *state = gm_new(); return 0; }
static int teardown(void **state) { gm_free(*state); return 0; }

/* Expect a #PF of that error code at va. */
static void expect_pf(struct gm *g, uint64_t va, enum mmu_access access, uint32_t ec)
{
	struct mmu_xlat x;

	memset(&g->v->exc, 0xee, sizeof(g->v->exc));
	assert_int_equal(mmu_walk(g->v, va, access, 0, &x), -1);
	assert_int_equal(g->v->exc.vector, VEC_PF);
	assert_int_equal(g->v->exc.error_code, ec);
	assert_int_equal(g->v->exc.cr2, va);
}

static void permission_table(void **state)
{
	/* leaf bits, access, error code or -1 for success */
	static const struct { uint64_t bits; enum mmu_access access; int ec; } t[] = {
		{ PTE_P, MMU_READ, -1 },
		{ PTE_P, MMU_WRITE, PFEC_P | PFEC_W },
		{ PTE_P, MMU_EXEC, -1 },
		{ PTE_P | PTE_NX, MMU_READ, -1 },
		{ PTE_P | PTE_NX, MMU_EXEC, PFEC_P | PFEC_I },
		{ PTE_P | PTE_RW, MMU_WRITE, -1 },
		{ PTE_P | PTE_RW | PTE_US, MMU_WRITE, -1 },
		{ 0, MMU_READ, 0 },
		{ PTE_RW, MMU_WRITE, PFEC_W },
		{ 0, MMU_EXEC, PFEC_I },
	};
	struct gm *g = *state;
	uint64_t mfn = gm_alloc(g);

	for (unsigned user = 0; user < 2; user++)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct mmu_xlat x;

			g->v->regs.kernel_mode = !user;
			gm_map(g, VA, mfn, t[i].bits);
			if (t[i].ec >= 0) {
				expect_pf(g, VA + 5, t[i].access, (uint32_t)t[i].ec | (user ? PFEC_U : 0));
				assert_int_equal(*gm_slot(g, VA, 1), mfn << 12 | t[i].bits);
				continue;
			}
			assert_int_equal(mmu_walk(g->v, VA + 5, t[i].access, 0, &x), 0);
			assert_int_equal(x.mfn, mfn);
			assert_ptr_equal(x.page, domain_frame(&g->d, mfn));
			assert_int_equal(x.writable, !!(t[i].bits & PTE_RW));
			assert_int_equal(*gm_slot(g, VA, 1) & (PTE_A | PTE_D),
					 t[i].access == MMU_WRITE ? PTE_A | PTE_D : PTE_A);
		}
}

/* RW and NX are taken from every level, and a table outside RAM is a reserved-bit fault. */
static void upper_levels(void **state)
{
	struct gm *g = *state;
	uint64_t mfn = gm_alloc(g);

	gm_map(g, VA, mfn, ALL);
	for (int level = 2; level <= 4; level++) {
		uint64_t *e = gm_slot(g, VA, level), old = *e;
		struct mmu_xlat x;

		*e = old & ~PTE_RW;
		expect_pf(g, VA, MMU_WRITE, PFEC_P | PFEC_W);
		*e = old | PTE_NX;
		expect_pf(g, VA, MMU_EXEC, PFEC_P | PFEC_I);
		*e = old & ~PTE_P;
		expect_pf(g, VA, MMU_READ, 0);
		*e = (old & ~PTE_ADDR) | GM_PAGES << 12;
		expect_pf(g, VA, MMU_READ, PFEC_P | PFEC_RSVD);
		*e = old | PTE_ADDR;
		expect_pf(g, VA, MMU_WRITE, PFEC_P | PFEC_W | PFEC_RSVD);
		/* neither grant frames nor the M2P are page tables */
		*e = (old & ~PTE_ADDR) | (SPECIAL_MFN + SPECIAL_GRANT) << 12;
		expect_pf(g, VA, MMU_READ, PFEC_P | PFEC_RSVD);
		*e = old & ~PTE_A;
		assert_int_equal(mmu_walk(g->v, VA, MMU_READ, 0, &x), 0);
		assert_int_equal(*e, old | PTE_A);
	}
}

static void hostile_leaves(void **state)
{
	struct gm *g = *state;
	uint64_t mfn = gm_alloc(g);
	struct mmu_xlat x;

	gm_map(g, VA, GM_PAGES, ALL);
	expect_pf(g, VA, MMU_READ, PFEC_P | PFEC_RSVD);
	gm_map(g, VA, SPECIAL_MFN + GM_SPECIAL, ALL);
	expect_pf(g, VA, MMU_READ, PFEC_P | PFEC_RSVD);
	gm_map(g, VA, 0xffffffffffUL, ALL);
	expect_pf(g, VA, MMU_EXEC, PFEC_P | PFEC_RSVD | PFEC_I);
	/* the M2P and the hypervisor's tables may be mapped, but not for writing */
	gm_map(g, VA, SPECIAL_MFN + SPECIAL_M2P, ALL);
	assert_int_equal(mmu_walk(g->v, VA, MMU_READ, 0, &x), 0);
	assert_false(x.writable);
	expect_pf(g, VA, MMU_WRITE, PFEC_P | PFEC_W);
	gm_map(g, VA, SPECIAL_MFN + SPECIAL_GRANT, ALL);
	assert_int_equal(mmu_walk(g->v, VA, MMU_WRITE, 0, &x), 0);
	/* ballooned out */
	gm_map(g, VA, mfn, ALL);
	g->d.populated[mfn / 64] &= ~(1UL << (mfn % 64));
	expect_pf(g, VA, MMU_READ, PFEC_P | PFEC_RSVD);
	/* no CR3, CR3 out of range */
	g->v->cr3_kernel = 0x123456789a;
	expect_pf(g, VA, MMU_READ, 0);
	/* L4 that maps itself: every level is the same table, and the walk ends */
	g->v->cr3_kernel = GM_L4;
	gm_table(g, GM_L4)[511] = GM_L4 << 12 | ALL;
	assert_int_equal(mmu_walk(g->v, -1UL, MMU_WRITE, 0, &x), 0);
	assert_int_equal(x.mfn, GM_L4);
	/* random garbage in a table never leads outside */
	for (int i = 0; i < 200000; i++) {
		uint64_t *e = gm_slot(g, VA, 1 + (i & 3));
		uint64_t old = *e;

		*e = ((uint64_t)random() << 33 ^ (uint64_t)random() << 8 ^ (uint64_t)random()) | PTE_P;
		if (i & 4)
			*e &= ~PTE_ADDR | 0x7ff000UL;
		if (!mmu_walk(g->v, VA, i % 3, 0, &x))
			assert_true(x.page >= g->d.ram && x.page < g->d.ram + (GM_PAGES + GM_SPECIAL) * 4096);
		*e = old;
	}
}

static void big_pages(void **state)
{
	struct gm *g = *state;
	struct mmu_xlat x;

	*gm_slot(g, VA, 2) = ALL | PTE_PSE;
	assert_int_equal(mmu_walk(g->v, VA + 7, MMU_WRITE, 0, &x), 0);
	assert_int_equal(x.mfn, VA >> 12 & 511);
	*gm_slot(g, VA, 2) = ALL | PTE_PSE | 1 << 13;
	expect_pf(g, VA, MMU_READ, PFEC_P | PFEC_RSVD);
	*gm_slot(g, VA, 3) = ALL | PTE_PSE;
	assert_int_equal(mmu_walk(g->v, VA, MMU_READ, 0, &x), 0);
	assert_int_equal(x.mfn, VA >> 12 & 0x3ffff);
	/* within the page but past RAM */
	expect_pf(g, VA + 0x400000, MMU_READ, PFEC_P | PFEC_RSVD);
	*gm_slot(g, VA, 4) |= PTE_PSE;
	expect_pf(g, VA, MMU_READ, PFEC_P | PFEC_RSVD);
}

static void hypervisor_range(void **state)
{
	struct gm *g = *state;
	struct mmu_xlat x;

	assert_int_equal(mmu_walk(g->v, M2P_VIRT_START + 8, MMU_READ, 0, &x), 0);
	assert_int_equal(x.mfn, SPECIAL_MFN + SPECIAL_M2P);
	expect_pf(g, M2P_VIRT_START, MMU_WRITE, PFEC_P | PFEC_W);
	expect_pf(g, M2P_VIRT_START, MMU_EXEC, PFEC_P | PFEC_I);
	expect_pf(g, M2P_VIRT_START + GM_PAGES * 8, MMU_READ, 0);
	/* what the guest puts into those slots is never looked at */
	gm_table(g, GM_L4)[256] = gm_table(g, GM_L4)[271] = GM_L4 << 12 | ALL;
	expect_pf(g, M2P_VIRT_START + GM_PAGES * 8, MMU_READ, 0);
	expect_pf(g, 0xffff87ffffffffffUL, MMU_WRITE, PFEC_W);
	assert_int_equal(mmu_walk(g->v, 1UL << 47, MMU_READ, 0, &x), -1);
	assert_int_equal(g->v->exc.vector, VEC_GP);
	assert_int_equal(g->v->exc.error_code, 0);
}

static void page_table_writes(void **state)
{
	struct gm *g = *state;
	uint64_t mfn = gm_alloc(g);
	struct mmu_xlat x;

	gm_map(g, VA, mfn, PTE_P | PTE_A);
	assert_int_equal(mmu_walk(g->v, VA, MMU_WRITE, MMU_PTWR, &x), -1);
	g->d.pt_type[mfn] = 1;
	assert_int_equal(mmu_walk(g->v, VA, MMU_WRITE, MMU_PTWR, &x), 0);
	assert_true(x.ptwr && !x.writable && !x.dirty);
	assert_int_equal(*gm_slot(g, VA, 1) & PTE_D, 0);
	assert_int_equal(mmu_walk(g->v, VA, MMU_WRITE, 0, &x), -1);
	g->v->regs.kernel_mode = 0;
	assert_int_equal(mmu_walk(g->v, VA, MMU_WRITE, MMU_PTWR, &x), -1);
	assert_int_equal(g->v->exc.error_code, PFEC_P | PFEC_W | PFEC_U);
}

static bool is_dirty(struct gm *g, uint64_t mfn)
{
	uint64_t i = domain_frame_index(&g->d, mfn);

	return g->d.dirty[i / 64] >> (i % 64) & 1;
}

static void copies(void **state)
{
	struct gm *g = *state;
	uint64_t a = gm_alloc(g), b = gm_alloc(g);
	uint8_t in[6000], out[6000];
	size_t done;

	gm_map(g, VA, a, PTE_P | PTE_RW);
	gm_map(g, VA + 4096, b, PTE_P | PTE_RW);
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	atomic_store(&g->d.dirty_logging, true);
	assert_int_equal(mmu_copy_to(g->v, VA + 100, in, sizeof(in), &done), 0);
	assert_int_equal(done, sizeof(in));
	assert_true(is_dirty(g, a) && is_dirty(g, b));
	assert_true(is_dirty(g, (*gm_slot(g, VA, 2) & PTE_ADDR) >> 12));   /* A and D went into the L1 */
	assert_int_equal(written_mfn, b);
	assert_int_equal(written_off, 0);
	assert_int_equal(written_len, sizeof(in) - (4096 - 100));
	assert_int_equal(mmu_copy_from(g->v, out, VA + 100, sizeof(out), &done), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(mmu_copy_to(g->v, VA + 4096 + 4000, in, 200, &done), -EFAULT);
	assert_int_equal(done, 96);
	assert_int_equal(g->v->exc.cr2, VA + 8192);
	assert_int_equal(g->v->exc.error_code, PFEC_W);
	assert_int_equal(mmu_copy_from(g->v, out, VA - 10, 20, &done), -EFAULT);
	assert_int_equal(done, 0);
}

static void spans(void **state)
{
	struct gm *g = *state;
	uint64_t a = gm_alloc(g), b = gm_alloc(g), x64 = 0x1122334455667788UL, y64 = 0;
	struct mmu_span s;

	gm_map(g, VA, a, PTE_P | PTE_RW);
	assert_int_equal(mmu_span_map(g->v, VA + 4093, 8, MMU_WRITE, 0, &s), -1);
	assert_int_equal(g->v->exc.cr2, VA + 4096);
	gm_map(g, VA + 4096, b, PTE_P | PTE_RW);
	assert_int_equal(mmu_span_map(g->v, VA + 4093, 8, MMU_WRITE, 0, &s), 0);
	assert_null(mmu_span_direct(&s));
	mmu_span_write(&g->d, &s, &x64);
	mmu_span_read(&s, &y64);
	assert_int_equal(x64, y64);
	assert_int_equal(((uint8_t *)domain_frame(&g->d, b))[0], 0x55);
	assert_int_equal(mmu_span_map(g->v, VA + 4088, 8, MMU_READ, 0, &s), 0);
	assert_ptr_equal(mmu_span_direct(&s), (uint8_t *)domain_frame(&g->d, a) + 4088);
}

static bool has_tag(struct gm *g, enum bt_bank bank, uint64_t va, bool write)
{
	struct bt_tlb *t = &g->tlb.bank[bank];
	unsigned i = bt_tlb_index(t, va);

	return (write ? t->ntag_w[i] : t->ntag_r[i]) == -(va & ~4095UL);
}

/* Which tags a miss yields, by what the leaf says and what the frame is. */
static void fill_tags(void **state)
{
	static const struct { uint64_t bits; uint8_t pt, code, log; enum mmu_access access; bool w; } t[] = {
		{ PTE_RW, 0, 0, 0, MMU_READ, false },             /* clean: the first write must set D */
		{ PTE_RW | PTE_D, 0, 0, 0, MMU_READ, true },
		{ PTE_RW | PTE_D, 0, 0, 1, MMU_READ, false },     /* a write tag would count as a write */
		{ PTE_D, 0, 0, 0, MMU_READ, false },
		{ PTE_RW, 0, 0, 0, MMU_WRITE, true },
		{ PTE_RW, 0, 0, 1, MMU_WRITE, true },
		{ PTE_RW, 0, 1, 0, MMU_WRITE, false },            /* holds translations */
		{ PTE_RW | PTE_D, 0, 1, 0, MMU_READ, false },
		{ 0, 1, 0, 0, MMU_WRITE, false },                 /* page table mapped read-only */
		{ PTE_RW, 1, 0, 0, MMU_WRITE, true },
	};
	struct gm *g = *state;
	uint64_t mfn = gm_alloc(g);

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bt_tlb_flush_all(&g->tlb.bank[BT_KERNEL]);
		g->d.pt_type[mfn] = t[i].pt;
		g->frames.flags[mfn] = t[i].code ? BT_FRAME_CODE : 0;
		g->d.dirty_logging = t[i].log;
		g->d.dirty[mfn / 64] = 0;
		gm_map(g, VA, mfn, PTE_P | t[i].bits);
		assert_int_equal(mmu_fill(g->v, VA + 9, t[i].access), 0);
		assert_true(has_tag(g, BT_KERNEL, VA, false));
		assert_false(has_tag(g, BT_USER, VA, false));
		assert_int_equal(has_tag(g, BT_KERNEL, VA, true), t[i].w);
		assert_int_equal(is_dirty(g, mfn), t[i].w && t[i].log);
		assert_int_equal(g->tlb.bank[BT_KERNEL].page[bt_tlb_index(&g->tlb.bank[BT_KERNEL], VA)], domain_frame(&g->d, mfn));
	}
	bt_tlb_flush_all(&g->tlb.bank[BT_KERNEL]);
	gm_map(g, VA, mfn, 0);
	assert_int_equal(mmu_fill(g->v, VA, MMU_READ), -1);
	assert_false(has_tag(g, BT_KERNEL, VA, false));
}

static void probe_changes_nothing(void **state)
{
	struct gm *g = *state;
	uint64_t mfn = gm_alloc(g), got = 0;
	bool w = false;

	gm_map(g, VA, mfn, PTE_P | PTE_RW);
	memset(&g->v->exc, 0x77, sizeof(g->v->exc));
	g->v->cr3_user = 0;
	assert_int_equal(mmu_probe(g->v, VA, true, MMU_WRITE, &got, &w), 0);
	assert_int_equal(got, mfn);
	assert_true(w);
	assert_int_equal(mmu_probe(g->v, VA, false, MMU_READ, &got, NULL), -1);
	assert_int_equal(mmu_probe(g->v, VA + 4096, true, MMU_READ, &got, NULL), -1);
	assert_int_equal(mmu_probe(g->v, 1UL << 50, true, MMU_READ, &got, NULL), -1);
	assert_int_equal(*gm_slot(g, VA, 1), mfn << 12 | PTE_P | PTE_RW);
	assert_int_equal(g->v->exc.vector, 0x77);
	assert_int_equal(mmu_translate(g->v, VA, MMU_WRITE, &got), 0);
	assert_int_equal(*gm_slot(g, VA, 1), mfn << 12 | PTE_P | PTE_RW | PTE_A | PTE_D);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(permission_table, setup, teardown),
		cmocka_unit_test_setup_teardown(upper_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(big_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(hypervisor_range, setup, teardown),
		cmocka_unit_test_setup_teardown(page_table_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(copies, setup, teardown),
		cmocka_unit_test_setup_teardown(spans, setup, teardown),
		cmocka_unit_test_setup_teardown(fill_tags, setup, teardown),
		cmocka_unit_test_setup_teardown(probe_changes_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
