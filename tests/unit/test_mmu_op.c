/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Page-table updates, marks of page-table frames, the memory reservation, multicalls and their continuations. */
#include "tests/unit/abi_fake.h"

static struct domain *d;
static struct vcpu *v;

#define PTE(frame, flags) ((uint64_t)(frame) << 12 | (flags))

/* L4 in frame 2, L3 3, L2 4, L1 5: maps va 0 .. 2 MiB. */
static int setup(void **state)
{
	d = fake_domain(2, 512, 256);
	v = d->vcpu[0];
	((uint64_t *)hva(d, gva(2)))[0] = PTE(3, 0x67);
	((uint64_t *)hva(d, gva(3)))[0] = PTE(4, 0x67);
	((uint64_t *)hva(d, gva(4)))[0] = PTE(5, 0x67);
	return 0;
}

static int teardown(void **state)
{
	fake_free(d);
	return 0;
}

static uint64_t *l1(unsigned slot) { return (uint64_t *)hva(d, gva(5)) + slot; }

static int64_t update(uint64_t ptr, uint64_t val)
{
	struct mmu_update u = { .ptr = ptr, .val = val };

	memcpy(hva(d, gva(1)), &u, sizeof(u));
	return hypercall(v, __HYPERVISOR_mmu_update, gva(1), 1, 0, DOMID_SELF);
}

static int64_t ext(struct mmuext_op op)
{
	memcpy(hva(d, gva(1)), &op, sizeof(op));
	return hypercall(v, __HYPERVISOR_mmuext_op, gva(1), 1, 0, DOMID_SELF);
}

static void updates_write_entries(void **state)
{
	assert_int_equal(update(gva(5) + 8 * 7, PTE(40, 0x63)), 0);
	assert_int_equal(*l1(7), PTE(40, 0x63));
	assert_int_equal(update((gva(5) + 8 * 7) | MMU_PT_UPDATE_PRESERVE_AD, PTE(41, 0x03)), 0);
	assert_int_equal(*l1(7), PTE(41, 0x63));        /* A and D kept */
	assert_int_equal(update(gva(5) + 8 * 7, 0), 0);
	assert_int_equal(*l1(7), 0);
}

static void bad_frames_are_refused(void **state)
{
	assert_int_equal(update(gva(300), PTE(40, 0x63)), -EINVAL);                 /* not held */
	assert_int_equal(update(UINT64_MAX & ~7UL, 0), -EINVAL);
	assert_int_equal(update(gva(SPECIAL_MFN), 0), -EINVAL);                     /* shared info is no table */
	assert_int_equal(update(gva(5), PTE(0x7ffffff, 0x63)), -EINVAL);            /* maps what does not exist */
	assert_int_equal(update(gva(5), PTE(SPECIAL_MFN, 0x63)), 0);                /* shared info may be mapped */
	assert_int_equal(update(gva(5) | 3, PTE(40, 0x63)), 0);
	assert_int_equal(hypercall(v, __HYPERVISOR_mmu_update, gva(1), 1, 0, 9), -ESRCH);
	assert_int_equal(hypercall(v, __HYPERVISOR_mmu_update, gva(1), 1, 0, DOMID_SELF | 10 << 16), -ESRCH);
	assert_int_equal(hypercall(v, __HYPERVISOR_mmu_update, gva(1), 1, 0, DOMID_XEN), -EPERM);
}

static void hypervisor_slots_stay_ours(void **state)
{
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = 2 }), 0);
	assert_int_equal(update(gva(2) + 8 * 256, PTE(3, 0x67)), -EINVAL);
	assert_int_equal(update(gva(2) + 8 * 272, PTE(3, 0x67)), 0);
}

static void done_counts_up_to_the_failure(void **state)
{
	struct mmu_update *u = hva(d, gva(6));
	uint32_t *done = hva(d, gva(7));

	u[0] = (struct mmu_update){ gva(5), PTE(40, 0x63) };
	u[1] = (struct mmu_update){ gva(5) + 8, PTE(41, 0x63) };
	u[2] = (struct mmu_update){ gva(400), 0 };
	assert_int_equal(hypercall(v, __HYPERVISOR_mmu_update, gva(6), 3, gva(7), DOMID_SELF), -EINVAL);
	assert_int_equal(*done, 2);
	assert_int_equal(*l1(1), PTE(41, 0x63));
}

/* A kick in the middle: the call must come back to its instruction with the rest, and *done must add up. */
static void long_lists_continue_after_a_kick(void **state)
{
	struct mmu_update *u = hva(d, gva(6));
	uint32_t *done = hva(d, gva(7));

	for (unsigned i = 0; i < 3; i++)
		u[i] = (struct mmu_update){ gva(5) + 8 * i, PTE(40 + i, 0x63) };
	atomic_store(&v->kick, true);
	v->regs.rip = 5002;
	for (unsigned i = 1; i < 3; i++) {
		if (i == 1)
			assert_int_equal(hypercall(v, __HYPERVISOR_mmu_update, gva(6), 3, gva(7), DOMID_SELF),
					 __HYPERVISOR_mmu_update);
		else
			pv_hypercall(v);
		assert_int_equal(v->regs.rip, 5000);
		assert_int_equal(v->regs.gpr[REG_RSI] & 0x7fffffff, 3 - i);
		assert_int_equal(*done, i);
		v->regs.rip = 5002;
	}
	pv_hypercall(v);
	assert_int_equal(v->regs.rip, 5002);
	assert_int_equal(v->regs.gpr[REG_RAX], 0);
	assert_int_equal(*done, 3);
	assert_int_equal(*l1(2), PTE(42, 0x63));
}

static void pinning_marks_the_tree_and_mapping_writable_unmarks(void **state)
{
	*l1(0) = PTE(50, 0x61);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = 2 }), 0);
	assert_int_equal(d->pt_type[2], 4);
	assert_int_equal(d->pt_type[3], 3);
	assert_int_equal(d->pt_type[4], 2);
	assert_int_equal(d->pt_type[5], 1);
	assert_int_equal(d->pt_type[50], 0);            /* a leaf */
	assert_int_equal(update(gva(5) + 8 * 9, PTE(4, 0x61)), 0);
	assert_int_equal(d->pt_type[4], 2);             /* read-only mapping: still a table */
	assert_int_equal(update(gva(5) + 8 * 9, PTE(4, 0x63)), 0);
	assert_int_equal(d->pt_type[4], 0);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_UNPIN_TABLE, .arg1.mfn = 2 }), 0);
	assert_int_equal(d->pt_type[2], 0);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_PIN_L1_TABLE, .arg1.mfn = 300 }), -EINVAL);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_UNPIN_TABLE, .arg1.mfn = UINT64_MAX }), -EINVAL);
}

static void linking_a_table_marks_it(void **state)
{
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = 2 }), 0);
	assert_int_equal(update(gva(4) + 8 * 3, PTE(60, 0x67)), 0);
	assert_int_equal(d->pt_type[60], 1);
}

/* Tables that contain each other: marking must end. */
static void loops_in_tables_end(void **state)
{
	for (unsigned i = 0; i < 512; i++) {
		((uint64_t *)hva(d, gva(2)))[i] = PTE(2, 0x67);
		((uint64_t *)hva(d, gva(3)))[i] = PTE(2 + i % 4, 0x67);
	}
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = 3 }), 0);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = 2 }), 0);
}

static void update_va_mapping_acts_on_the_live_table(void **state)
{
	assert_int_equal(hypercall(v, __HYPERVISOR_update_va_mapping, 0x3000, PTE(70, 0x63), UVMF_INVLPG, 0), 0);
	assert_int_equal(*l1(3), PTE(70, 0x63));
	assert_int_equal(fake.invlpgs, 1);
	assert_int_equal(hypercall(v, __HYPERVISOR_update_va_mapping, 0x3000, 0, UVMF_TLB_FLUSH | UVMF_ALL, 0), 0);
	assert_int_equal(fake.shootdowns, 1);
	assert_int_equal(hypercall(v, __HYPERVISOR_update_va_mapping, 0x40000000, 0, 0, 0), -EINVAL);      /* no L1 there */
	assert_int_equal(hypercall(v, __HYPERVISOR_update_va_mapping, 0xffff800000000000UL, 0, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_update_va_mapping, 1UL << 55, 0, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_update_va_mapping_otherdomain, 0x3000, 0, 0, 5), -EPERM);
}

static void base_pointers(void **state)
{
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_NEW_BASEPTR, .arg1.mfn = 3 }), 0);
	assert_int_equal(v->cr3_kernel, 3);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_NEW_USER_BASEPTR, .arg1.mfn = 0 }), 0);
	assert_int_equal(v->cr3_user, 0);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_NEW_BASEPTR, .arg1.mfn = 400 }), -EINVAL);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_NEW_BASEPTR, .arg1.mfn = SPECIAL_MFN }), -EINVAL);
	assert_int_equal(v->cr3_kernel, 3);
	assert_int_equal(ext((struct mmuext_op){ .cmd = 99 }), -ENOSYS);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_SET_LDT, .arg1.linear_addr = 0x1001, .arg2.nr_ents = 1 }), -EINVAL);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_SET_LDT, .arg1.linear_addr = 0x1000, .arg2.nr_ents = 9000 }), -EINVAL);
}

static void pages_are_cleared_and_copied(void **state)
{
	memset(hva(d, gva(80)), 0x5a, 4096);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_COPY_PAGE, .arg1.mfn = 81, .arg2.src_mfn = 80 }), 0);
	assert_memory_equal(hva(d, gva(81)), hva(d, gva(80)), 4096);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_CLEAR_PAGE, .arg1.mfn = 80 }), 0);
	assert_int_equal(*(uint64_t *)hva(d, gva(80)), 0);
	assert_int_equal(ext((struct mmuext_op){ .cmd = MMUEXT_CLEAR_PAGE, .arg1.mfn = SPECIAL_MFN }), -EINVAL);
}

static void dirty_log_sees_what_hypercalls_write(void **state)
{
	atomic_store(&d->dirty_logging, true);
	assert_int_equal(update(gva(5), 0), 0);
	assert_true(d->dirty[0] >> 5 & 1);
	assert_int_equal(update(gva(9) | MMU_MACHPHYS_UPDATE, 77), 0);
	assert_true(d->dirty[(d->max_pages + SPECIAL_M2P) / 64] >> ((d->max_pages + SPECIAL_M2P) % 64) & 1);
	assert_int_equal(((uint64_t *)domain_frame(d, SPECIAL_MFN + SPECIAL_M2P))[9], 77);
}

/* ---- multicall ---- */

static void multicall_results_are_each_entrys_own(void **state)
{
	struct multicall_entry *m = hva(d, gva(6));

	m[0] = (struct multicall_entry){ .op = __HYPERVISOR_xen_version, .args = { XENVER_version } };
	m[1] = (struct multicall_entry){ .op = 63 };
	m[2] = (struct multicall_entry){ .op = __HYPERVISOR_update_va_mapping, .args = { 0x1000, PTE(44, 0x63), 0 } };
	m[3] = (struct multicall_entry){ .op = __HYPERVISOR_multicall };
	m[4] = (struct multicall_entry){ .op = 1UL << 40 };
	assert_int_equal(hypercall(v, __HYPERVISOR_multicall, gva(6), 5, 0, 0), 0);
	assert_int_equal(m[0].result, 4 << 16 | 17);
	assert_int_equal((int64_t)m[1].result, -ENOSYS);
	assert_int_equal(m[2].result, 0);
	assert_int_equal((int64_t)m[3].result, -EINVAL);
	assert_int_equal((int64_t)m[4].result, -ENOSYS);
	assert_int_equal(*l1(1), PTE(44, 0x63));
	assert_int_equal(hypercall(v, __HYPERVISOR_multicall, gva(100000), 5, 0, 0), -EFAULT);
}

/* An entry that is itself cut short keeps its progress in its own arguments. */
static void multicall_continues_inside_an_entry(void **state)
{
	struct multicall_entry *m = hva(d, gva(6));
	struct mmu_update *u = hva(d, gva(8));

	for (unsigned i = 0; i < 3; i++)
		u[i] = (struct mmu_update){ gva(5) + 8 * i, PTE(40 + i, 0x63) };
	m[0] = (struct multicall_entry){ .op = __HYPERVISOR_mmu_update, .args = { gva(8), 3, 0, DOMID_SELF } };
	m[1] = (struct multicall_entry){ .op = __HYPERVISOR_xen_version, .args = { XENVER_version } };
	atomic_store(&v->kick, true);
	v->regs.rip = 102;
	hypercall(v, __HYPERVISOR_multicall, gva(6), 2, 0, 0);
	assert_int_equal(v->regs.rip, 100);
	assert_int_equal(m[0].args[0], gva(8) + 16);
	v->regs.rip = 102;
	atomic_store(&v->kick, false);
	pv_hypercall(v);
	assert_int_equal(v->regs.rip, 102);
	assert_int_equal(v->regs.gpr[REG_RAX], 0);
	assert_int_equal(m[0].result, 0);
	assert_int_equal(m[1].result, 4 << 16 | 17);
	assert_int_equal(*l1(2), PTE(42, 0x63));
}

/* ---- reservation ---- */

static int64_t reserve(unsigned op, uint64_t list, uint64_t n, unsigned order)
{
	struct xen_memory_reservation r = { .nr_extents = n, .extent_order = order, .domid = DOMID_SELF };

	r.extent_start.p = (void *)list;
	memcpy(hva(d, gva(1)), &r, sizeof(r));
	return hypercall(v, __HYPERVISOR_memory_op, op, gva(1), 0, 0);
}

static void balloon_down_and_up(void **state)
{
	uint64_t *list = hva(d, gva(6));

	for (unsigned i = 0; i < 10; i++) {
		list[i] = 100 + i;
		memset(hva(d, gva(100 + i)), 0xee, 4096);
	}
	assert_int_equal(reserve(XENMEM_decrease_reservation, gva(6), 10, 0), 10);
	assert_int_equal(atomic_load(&d->tot_pages), 246);
	assert_false(frame_is_populated(d, 105));
	assert_int_equal(*(uint64_t *)hva(d, gva(105)), 0);
	assert_int_equal(reserve(XENMEM_decrease_reservation, gva(6), 10, 0), 0);       /* not held any more */
	assert_int_equal(reserve(XENMEM_populate_physmap, gva(6), 10, 0), 10);
	assert_int_equal(list[5], 105);                 /* its own number again */
	assert_int_equal(atomic_load(&d->tot_pages), 256);
	assert_int_equal(((uint64_t *)domain_frame(d, SPECIAL_MFN + SPECIAL_M2P))[105], 105);
}

static void memory_beyond_the_maximum_is_refused(void **state)
{
	struct xen_memory_domain q = { .domid = DOMID_SELF };
	uint64_t *list = hva(d, gva(6));

	for (unsigned i = 0; i < 300; i++)
		list[i] = 0;                            /* a gpfn that is taken: any free frame will do */
	assert_int_equal(reserve(XENMEM_populate_physmap, gva(6), 300, 0), 256);
	assert_int_equal(HCALL(v, memory_op, XENMEM_current_reservation, &q), 512);
	assert_int_equal(HCALL(v, memory_op, XENMEM_maximum_reservation, &q), 512);
	assert_int_equal(reserve(XENMEM_populate_physmap, gva(6), 1, 40), 0);
	assert_int_equal(reserve(XENMEM_populate_physmap, gva(6), UINT64_MAX, 0), 0);
	assert_int_equal(reserve(XENMEM_decrease_reservation, gva(100000), 5, 0), 0);
	q.domid = 3;
	assert_int_equal(HCALL(v, memory_op, XENMEM_current_reservation, &q), -ESRCH);
}

static void larger_extents_are_aligned(void **state)
{
	uint64_t *list = hva(d, gva(6));

	list[0] = 260;
	assert_int_equal(reserve(XENMEM_populate_physmap, gva(6), 1, 4), 1);
	assert_int_equal(list[0] % 16, 0);
	assert_int_equal(atomic_load(&d->tot_pages), 272);
	assert_int_equal(reserve(XENMEM_decrease_reservation, gva(6), 1, 4), 1);
}

static void exchange_swaps_frames(void **state)
{
	struct xen_memory_exchange x = { .in = { .nr_extents = 4, .domid = DOMID_SELF },
					 .out = { .nr_extents = 1, .extent_order = 2, .domid = DOMID_SELF } };
	uint64_t *in = hva(d, gva(6)), *out = hva(d, gva(7));

	for (unsigned i = 0; i < 4; i++)
		in[i] = 120 + 2 * i;
	out[0] = 120;
	x.in.extent_start.p = (void *)gva(6);
	x.out.extent_start.p = (void *)gva(7);
	assert_int_equal(HCALL(v, memory_op, XENMEM_exchange, &x), 0);
	assert_int_equal(x.nr_exchanged, 4);
	assert_int_equal(out[0] % 4, 0);
	assert_int_equal(atomic_load(&d->tot_pages), 256);
	assert_false(frame_is_populated(d, 122));
	assert_int_equal(((uint64_t *)domain_frame(d, SPECIAL_MFN + SPECIAL_M2P))[out[0] + 3], 123);
	x.nr_exchanged = 0;
	assert_int_equal(HCALL(v, memory_op, XENMEM_exchange, &x), -EINVAL);       /* gone already */
	x.in.nr_extents = UINT64_MAX;
	assert_int_equal(HCALL(v, memory_op, XENMEM_exchange, &x), -EINVAL);
}

static void machphys_mapping_says_where_and_how_far(void **state)
{
	struct xen_machphys_mapping m;

	assert_int_equal(HCALL(v, memory_op, XENMEM_machphys_mapping, &m), 0);
	assert_int_equal(m.v_start, 0xffff800000000000UL);
	assert_int_equal(m.max_mfn, 511);
	assert_int_equal(hypercall(v, __HYPERVISOR_memory_op, XENMEM_memory_map, gva(1), 0, 0), -EINVAL);   /* room for 0 entries */
	assert_int_equal(hypercall(v, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, gva(1), 0, 0), -EACCES);
}

/* ---- the rest ---- */

static void versions_and_features(void **state)
{
	struct xen_feature_info f = { 0 };
	char caps[1024];

	assert_int_equal(hypercall(v, __HYPERVISOR_xen_version, XENVER_version, 0, 0, 0), 4 << 16 | 17);
	assert_int_equal(HCALL(v, xen_version, XENVER_get_features, &f), 0);
	assert_int_equal(f.submap, 0x000220f0);         /* as real Xen 4.17 answers a PV domU */
	f.submap_idx = 1;
	assert_int_equal(HCALL(v, xen_version, XENVER_get_features, &f), -EINVAL);
	assert_int_equal(HCALL(v, xen_version, XENVER_capabilities, &caps), 0);
	assert_non_null(strstr(caps, "xen-3.0-x86_64"));
	assert_int_equal(hypercall(v, __HYPERVISOR_xen_version, 77, 0, 0, 0), -ENOSYS);
	assert_int_equal(hypercall(v, 1000, 0, 0, 0, 0), -ENOSYS);
	assert_int_equal(hypercall(v, __HYPERVISOR_platform_op, 0, 0, 0, 0), -EPERM);
	assert_int_equal(hypercall(v, __HYPERVISOR_xenpmu_op, 0, 0, 0, 0), -EOPNOTSUPP);
	assert_int_equal(hypercall(v, __HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables, 0, 0), 0);
	assert_int_equal(hypercall(v, __HYPERVISOR_vm_assist, VMASST_CMD_enable, 6, 0, 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_vm_assist, 2, 2, 0, 0), -ENOSYS);
}

static void console_writes_arrive_whole(void **state)
{
	memset(hva(d, gva(6)), 'x', 700);
	assert_int_equal(hypercall(v, __HYPERVISOR_console_io, CONSOLEIO_write, 700, gva(6), 0), 0);
	assert_int_equal(fake.console_len, 700);
	assert_int_equal(hypercall(v, __HYPERVISOR_console_io, CONSOLEIO_write, 0x80000000, gva(6), 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_console_io, CONSOLEIO_write, 10, gva(100000), 0), -EFAULT);
	assert_int_equal(hypercall(v, __HYPERVISOR_console_io, CONSOLEIO_read, 10, gva(6), 0), -EPERM);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(updates_write_entries), T(bad_frames_are_refused), T(hypervisor_slots_stay_ours), T(done_counts_up_to_the_failure),
		T(long_lists_continue_after_a_kick), T(pinning_marks_the_tree_and_mapping_writable_unmarks),
		T(linking_a_table_marks_it), T(loops_in_tables_end), T(update_va_mapping_acts_on_the_live_table), T(base_pointers),
		T(pages_are_cleared_and_copied), T(dirty_log_sees_what_hypercalls_write), T(multicall_results_are_each_entrys_own),
		T(multicall_continues_inside_an_entry), T(balloon_down_and_up), T(memory_beyond_the_maximum_is_refused),
		T(larger_extents_are_aligned), T(exchange_swaps_frames), T(machphys_mapping_says_where_and_how_far),
		T(versions_and_features), T(console_writes_arrive_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
