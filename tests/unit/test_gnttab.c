/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Grants: what a back end may take, how use shows in the entry, and what the hypercall refuses. */
#include "tests/unit/abi_fake.h"

#define OP(v, op, arg) HCALL(v, grant_table_op, GNTTABOP_ ## op, arg)

static struct domain *d;
static struct vcpu *v;

static int setup(void **state)
{
	d = fake_domain(1, 256, 128);
	v = d->vcpu[0];
	return 0;
}

static int teardown(void **state)
{
	fake_free(d);
	return 0;
}

static struct grant_entry_v1 *entry(uint32_t ref)
{
	return (struct grant_entry_v1 *)domain_frame(d, SPECIAL_MFN + SPECIAL_GRANT) + ref;
}

static void grant(uint32_t ref, uint16_t flags, uint16_t domid, uint32_t frame)
{
	*entry(ref) = (struct grant_entry_v1){ .flags = flags, .domid = domid, .frame = frame };
}

static void use_shows_in_the_flags_until_the_last_release(void **state)
{
	uint64_t mfn;

	grant(9, GTF_permit_access, 0, 40);
	assert_ptr_equal(grant_acquire(d, 9, false, &mfn), domain_frame(d, 40));
	assert_int_equal(mfn, 40);
	assert_int_equal(entry(9)->flags, GTF_permit_access | GTF_reading);
	assert_non_null(grant_acquire(d, 9, true, &mfn));
	assert_int_equal(entry(9)->flags, GTF_permit_access | GTF_reading | GTF_writing);
	grant_release(d, 9, false);
	assert_int_equal(entry(9)->flags, GTF_permit_access | GTF_reading | GTF_writing);
	grant_release(d, 9, true);
	assert_int_equal(entry(9)->flags, GTF_permit_access);
	grant_release(d, 9, true);                      /* once too often: harmless */
	assert_int_equal(entry(9)->flags, GTF_permit_access);
}

static void what_is_not_granted_is_not_given(void **state)
{
	uint64_t mfn;

	assert_null(grant_acquire(d, 3, false, &mfn));                  /* invalid entry */
	grant(3, GTF_permit_access, 5, 40);
	assert_null(grant_acquire(d, 3, false, &mfn));                  /* for someone else */
	grant(3, GTF_permit_access | GTF_readonly, 0, 40);
	assert_null(grant_acquire(d, 3, true, &mfn));                   /* read-only */
	assert_non_null(grant_acquire(d, 3, false, &mfn));
	grant_release(d, 3, false);
	grant(3, GTF_transitive, 0, 40);
	assert_null(grant_acquire(d, 3, false, &mfn));
	grant(3, GTF_permit_access, 0, 200);
	assert_null(grant_acquire(d, 3, false, &mfn));                  /* frame not held */
	assert_int_equal(entry(3)->flags, GTF_permit_access);           /* and no mark left behind */
	grant(3, GTF_permit_access, 0, SPECIAL_MFN);
	assert_null(grant_acquire(d, 3, false, &mfn));                  /* the hypervisor's own frames */
	assert_null(grant_acquire(d, 512, false, &mfn));                /* past the table */
	assert_null(grant_acquire(d, UINT32_MAX, false, &mfn));
	grant_release(d, UINT32_MAX, true);
}

/* While a reference is in use the guest may change the entry; a second taker must get the frame of the first. */
static void frame_in_use_stays_what_it_was(void **state)
{
	uint64_t mfn;

	grant(4, GTF_permit_access, 0, 40);
	assert_non_null(grant_acquire(d, 4, false, &mfn));
	entry(4)->frame = 41;
	assert_non_null(grant_acquire(d, 4, false, &mfn));
	assert_int_equal(mfn, 40);
	grant_release(d, 4, false);
	grant_release(d, 4, false);
	assert_non_null(grant_acquire(d, 4, false, &mfn));
	assert_int_equal(mfn, 41);
	grant_release(d, 4, false);
}

/*
 * A back end writes to a frame that the guest gave up meanwhile: with memory behind it again the guest would hold more than the node
 * counts, and find there what was written once it gets the frame back, where zeros are promised.
 */
static void what_is_written_to_a_frame_given_up_goes_with_the_use(void **state)
{
	uint64_t mfn, bit = 1UL << 40;
	uint8_t *page;

	grant(5, GTF_permit_access, 0, 40);
	page = grant_acquire(d, 5, true, &mfn);
	assert_non_null(page);
	assert_non_null(grant_acquire(d, 5, false, &mfn));
	d->populated[0] &= ~bit;
	memset(page, 0x5a, PAGE_SIZE_HV);
	grant_release(d, 5, true);
	assert_int_equal(page[0], 0x5a);                /* in use still */
	grant_release(d, 5, false);
	assert_int_equal(page[0], 0);
	assert_int_equal(page[PAGE_SIZE_HV - 1], 0);
	page[0] = 1;
	assert_null(grant_acquire(d, 5, true, &mfn));
	grant_release(d, 5, true);
	assert_int_equal(page[0], 1);                   /* nobody's use ended */
	d->populated[0] |= bit;
	assert_ptr_equal(grant_acquire(d, 5, true, &mfn), page);
	grant_release(d, 5, true);
	assert_int_equal(page[0], 1);
}

static void setup_table_names_fixed_frames(void **state)
{
	struct gnttab_setup_table a = { .dom = DOMID_SELF, .nr_frames = 4 };
	struct gnttab_query_size q = { .dom = DOMID_SELF };
	uint64_t *list = hva(d, gva(30));
	uint64_t mfn;

	a.frame_list.p = (void *)gva(30);
	assert_int_equal(OP(v, setup_table, &a), 0);
	assert_int_equal(a.status, GNTST_okay);
	assert_int_equal(list[3], SPECIAL_MFN + SPECIAL_GRANT + 3);
	assert_int_equal(OP(v, query_size, &q), 0);
	assert_int_equal(q.nr_frames, 4);
	assert_int_equal(q.max_nr_frames, 64);
	grant(4 * 512 - 1, GTF_permit_access, 0, 40);
	assert_non_null(grant_acquire(d, 4 * 512 - 1, false, &mfn));
	a.nr_frames = 65;
	assert_int_equal(OP(v, setup_table, &a), 0);
	assert_int_equal(a.status, GNTST_general_error);
	a = (struct gnttab_setup_table){ .dom = 3, .nr_frames = 1 };
	assert_int_equal(OP(v, setup_table, &a), 0);
	assert_int_equal(a.status, GNTST_permission_denied);
}

static void only_version_one(void **state)
{
	struct gnttab_set_version s = { .version = 1 };

	assert_int_equal(OP(v, set_version, &s), 0);
	s.version = 2;
	assert_int_equal(OP(v, set_version, &s), -ENOSYS);
	s.version = 3;
	assert_int_equal(OP(v, set_version, &s), -EINVAL);
}

static void foreign_frames_are_out_of_reach(void **state)
{
	struct gnttab_map_grant_ref m = { .dom = 3, .ref = 1, .flags = GNTMAP_host_map };
	struct gnttab_copy c = { .source = { .u.gmfn = 1, .domid = 3 }, .dest = { .u.gmfn = 2, .domid = DOMID_SELF }, .len = 8 };

	assert_int_equal(OP(v, map_grant_ref, &m), 0);
	assert_int_equal(m.status, GNTST_bad_domain);
	assert_int_equal(OP(v, copy, &c), 0);
	assert_int_equal(c.status, GNTST_bad_domain);
}

static void copy_stays_in_its_pages(void **state)
{
	struct gnttab_copy c = { .source = { .u.gmfn = 50, .domid = DOMID_SELF, .offset = 4090 },
				 .dest = { .u.gmfn = 51, .domid = DOMID_SELF, .offset = 100 }, .len = 6 };

	memcpy(hva(d, gva(50) + 4090), "haven", 6);
	assert_int_equal(OP(v, copy, &c), 0);
	assert_int_equal(c.status, GNTST_okay);
	assert_memory_equal(hva(d, gva(51) + 100), "haven", 6);
	c.len = 7;
	assert_int_equal(OP(v, copy, &c), 0);
	assert_int_equal(c.status, GNTST_bad_copy_arg);
	c.len = 1;
	c.dest.u.gmfn = SPECIAL_MFN;
	assert_int_equal(OP(v, copy, &c), 0);
	assert_int_equal(c.status, GNTST_bad_page);
	c.flags = GNTCOPY_source_gref;
	c.source.u.ref = 77;
	assert_int_equal(OP(v, copy, &c), 0);
	assert_int_equal(c.status, GNTST_bad_gntref);
}

/* After a move: marks of the source's uses go, those of back ends that connected here stay. */
static void sweep_clears_what_nobody_uses(void **state)
{
	uint64_t mfn;

	grant(8, GTF_permit_access | GTF_reading | GTF_writing, 0, 40);
	grant(9, GTF_permit_access | GTF_reading | GTF_writing, 0, 41);
	assert_non_null(grant_acquire(d, 9, true, &mfn));
	d->grant->unsettled = true;
	abi_domain_settle(d);
	assert_int_equal(entry(8)->flags, GTF_permit_access);
	assert_int_equal(entry(9)->flags, GTF_permit_access | GTF_reading | GTF_writing);
	grant_release(d, 9, true);
	assert_int_equal(entry(9)->flags, GTF_permit_access);
}

static void huge_counts_stop_for_a_kick(void **state)
{
	atomic_store(&v->kick, true);
	v->regs.rip = 1000;
	assert_int_equal(hypercall(v, __HYPERVISOR_grant_table_op, GNTTABOP_copy, gva(10), 0x7fffffff, 0),
			 __HYPERVISOR_grant_table_op);
	assert_int_equal(v->regs.rip, 998);
	assert_int_equal(v->regs.gpr[REG_RSI], gva(10) + sizeof(struct gnttab_copy));
	assert_int_equal(v->regs.gpr[REG_RDX], 0x7ffffffe);
	assert_int_equal(hypercall(v, __HYPERVISOR_grant_table_op, GNTTABOP_copy, gva(10), 0x80000000, 0), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(use_shows_in_the_flags_until_the_last_release), T(what_is_not_granted_is_not_given),
		T(frame_in_use_stays_what_it_was), T(what_is_written_to_a_frame_given_up_goes_with_the_use),
		T(setup_table_names_fixed_frames), T(only_version_one),
		T(foreign_frames_are_out_of_reach), T(copy_stays_in_its_pages), T(sweep_clears_what_nobody_uses),
		T(huge_counts_stop_for_a_kick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
