/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmu_op.c - mmu_update, update_va_mapping, mmuext_op.
 *
 * The engine checks every frame number and permission when it walks, so a page table here is a frame like any other
 * and Xen's typing of frames is not needed for isolation.  d->pt_type only says which frames the guest uses as tables:
 * the engine emulates a kernel store to one through a read-only mapping (Linux clears PTEs of pinned tables so).
 *
 *   set      PIN_*_TABLE and NEW_BASEPTR, for the tree below; a table linked into a table
 *   cleared  UNPIN of the frame itself; a writable mapping of the frame installed by hypercall (Xen refuses that while
 *            the frame is a table, so a correct guest does it only when the frame is a table no more); giving it up
 *
 * Stale marks would let a kernel store through a copy-on-write mapping succeed, hence the second way of clearing.
 */
#include "hypervisor/abi/abi_private.h"

/* count argument of a call that continues one cut short, as Xen encodes it: *pdone holds what was done before. */
#define CONTINUED 0x80000000U

/* ---- page tables as data ---- */

static unsigned va_slot(uint64_t va, unsigned level) { return (va >> (12 + 9 * (level - 1))) & 511; }

uint64_t *pt_l1_slot(struct domain *d, uint64_t l4, uint64_t va, uint64_t *ret_mfn)
{
	uint64_t mfn = l4;

	for (unsigned level = 4;; level--) {
		uint64_t *table = ram_frame(d, mfn), pte;

		if (!table)
			return NULL;
		if (level == 1) {
			*ret_mfn = mfn;
			return &table[va_slot(va, 1)];
		}
		pte = __atomic_load_n(&table[va_slot(va, level)], __ATOMIC_RELAXED);
		if (!(pte & PTE_PRESENT) || (pte & PTE_PSE))
			return NULL;
		mfn = pte_mfn(pte);
	}
}

static uint8_t pt_type_get(struct domain *d, uint64_t mfn) { return __atomic_load_n(&d->pt_type[mfn], __ATOMIC_RELAXED); }

static void pt_type_set(struct domain *d, uint64_t mfn, unsigned level)
{
	__atomic_store_n(&d->pt_type[mfn], (uint8_t)level, __ATOMIC_RELEASE);
}

/*
 * Mark the tree below mfn.  A frame that is marked already is not descended into, so the work is bounded by the frames
 * of the domain and loops in the guest's tables end; the recursion is bounded by the level.
 */
static void pt_mark_below(struct domain *d, uint64_t mfn, unsigned level)
{
	const uint64_t *table = ram_frame(d, mfn);

	if (!table || level < 2)
		return;
	for (unsigned i = 0; i < 512; i++) {
		uint64_t pte, child;

		if (level == 4 && i >= HYPERVISOR_L4_FIRST && i <= HYPERVISOR_L4_LAST)
			continue;
		pte = __atomic_load_n(&table[i], __ATOMIC_RELAXED);
		child = pte_mfn(pte);
		if (!(pte & PTE_PRESENT) || (pte & PTE_PSE) || !frame_is_populated(d, child) || pt_type_get(d, child))
			continue;
		pt_type_set(d, child, level - 1);
		pt_mark_below(d, child, level - 1);
	}
}

void pt_mark(struct domain *d, uint64_t mfn, unsigned level)
{
	if (!frame_is_populated(d, mfn))
		return;
	pt_type_set(d, mfn, level);
	pt_mark_below(d, mfn, level);
}

/* ---- writing entries ---- */

/* May an entry hold this value?  Frames that do not exist are refused as on Xen, where the walk would fault anyway. */
static bool pte_value_ok(const struct domain *d, uint64_t val)
{
	return !(val & PTE_PRESENT) || domain_frame_index(d, pte_mfn(val)) != UINT64_MAX;
}

static void pte_follow_types(struct domain *d, unsigned table_level, uint64_t val)
{
	uint64_t child = pte_mfn(val);

	if (!(val & PTE_PRESENT) || !frame_is_populated(d, child))
		return;
	if (table_level >= 2) {
		if (!(val & PTE_PSE) && !pt_type_get(d, child)) {
			pt_type_set(d, child, table_level - 1);
			pt_mark_below(d, child, table_level - 1);
		}
	} else if ((val & PTE_RW) && pt_type_get(d, child)) {
		pt_type_set(d, child, 0);
	}
}

static int pte_write(struct domain *d, uint64_t mfn, unsigned slot, uint64_t val, bool preserve_ad)
{
	uint64_t *table = ram_frame(d, mfn), old;
	unsigned level;

	if (!table || !pte_value_ok(d, val))
		return -EINVAL;
	level = pt_type_get(d, mfn);
	if (level == 4 && slot >= HYPERVISOR_L4_FIRST && slot <= HYPERVISOR_L4_LAST)
		return -EINVAL;
	if (preserve_ad) {
		old = __atomic_load_n(&table[slot], __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(&table[slot], &old, val | (old & (PTE_ACCESSED | PTE_DIRTY)), false,
						    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			;
	} else {
		__atomic_store_n(&table[slot], val, __ATOMIC_SEQ_CST);
	}
	frame_touched(d, mfn);
	pte_follow_types(d, level, val);
	return 0;
}

int pt_entry_write(struct domain *d, uint64_t mfn, unsigned slot, uint64_t val)
{
	return pte_write(d, mfn, slot, val, false);
}

/* ---- mmu_update ---- */

/* Both the owner of the tables and that of the frames they map are the caller. */
static int foreign_check(const struct domain *d, uint32_t foreigndom)
{
	uint32_t fd = foreigndom & 0xffff, pfd = foreigndom >> 16;

	if (fd != DOMID_SELF && fd != d->domid)
		return fd == DOMID_IO || fd == DOMID_XEN ? -EPERM : -ESRCH;
	if (pfd && pfd - 1 != DOMID_SELF && pfd - 1 != d->domid)
		return -ESRCH;
	return 0;
}

static int mmu_update_one(struct domain *d, const struct mmu_update *u)
{
	uint64_t mfn = u->ptr >> PAGE_SHIFT_HV;

	switch (u->ptr & 3) {
	case MMU_NORMAL_PT_UPDATE:
	case MMU_PT_UPDATE_NO_TRANSLATE:
	case MMU_PT_UPDATE_PRESERVE_AD:
		return pte_write(d, mfn, (u->ptr & (PAGE_SIZE_HV - 1)) / 8, u->val, (u->ptr & 3) == MMU_PT_UPDATE_PRESERVE_AD);
	case MMU_MACHPHYS_UPDATE:
		if (!frame_is_populated(d, mfn))
			return -EINVAL;
		m2p_set(d, mfn, u->val);
		return 0;
	}
	return -ENOSYS;
}

/*
 * The skeleton of mmu_update and mmuext_op: (entries[], count, *pdone, foreigndom).  *pdone gets how many were done,
 * on failure too; a continuation keeps the count so far there.
 */
static int64_t run_list(struct vcpu *v, struct hypercall *c, size_t entry_size, int (*one)(struct vcpu *, const void *))
{
	uint64_t list = c->arg[0], pdone = c->arg[2];
	uint32_t count = (uint32_t)c->arg[1], done = 0, i;
	int64_t rc = 0;
	uint8_t entry[32];

	if (count & CONTINUED) {
		count &= ~CONTINUED;
		if (pdone && guest_read(v, &done, pdone, sizeof(done)))
			return -EFAULT;
	}
	rc = foreign_check(v->d, (uint32_t)c->arg[3]);
	for (i = 0; !rc && i < count; i++) {
		if (i && hypercall_preempt(v)) {
			c->again = true;
			c->arg[0] = list + i * entry_size;
			c->arg[1] = (count - i) | CONTINUED;
			break;
		}
		rc = guest_read(v, entry, list + i * entry_size, entry_size);
		if (!rc)
			rc = one(v, entry);
		if (rc)
			break;
	}
	done += i;
	if (pdone && guest_write(v, pdone, &done, sizeof(done)))
		rc = -EFAULT;
	return rc;
}

static int mmu_update_entry(struct vcpu *v, const void *entry)
{
	struct mmu_update u;

	memcpy(&u, entry, sizeof(u));
	return mmu_update_one(v->d, &u);
}

int64_t do_mmu_update(struct vcpu *v, struct hypercall *c)
{
	return run_list(v, c, sizeof(struct mmu_update), mmu_update_entry);
}

/* ---- update_va_mapping ---- */

/* A bitmap of vCPUs in guest memory; ids past the domain's are ignored. */
static int read_vcpu_mask(struct vcpu *v, uint64_t va, uint64_t *ret)
{
	uint64_t mask = 0;

	if (guest_read(v, &mask, va, (v->d->nr_vcpus + 7) / 8))
		return -EFAULT;
	*ret = mask & vcpu_mask_all(v->d);
	return 0;
}

static int uvm_flush(struct vcpu *v, uint64_t va, uint64_t flags)
{
	uint64_t type = flags & UVMF_FLUSHTYPE_MASK, target = flags & ~UVMF_FLUSHTYPE_MASK, mask;
	const struct engine_ops *e = v->d->engine;
	int rc;

	if (type != UVMF_TLB_FLUSH && type != UVMF_INVLPG)
		return 0;
	if (target == UVMF_LOCAL) {
		if (type == UVMF_TLB_FLUSH)
			e->tlb_flush_local(v);
		else
			e->tlb_invlpg_local(v, va);
		return 0;
	}
	if (target == UVMF_ALL) {
		mask = vcpu_mask_all(v->d);
	} else {
		rc = read_vcpu_mask(v, target, &mask);
		if (rc)
			return rc;
	}
	e->tlb_shootdown(v, mask, va, type == UVMF_TLB_FLUSH);
	return 0;
}

int64_t do_update_va_mapping(struct vcpu *v, struct hypercall *c)
{
	uint64_t va = c->arg[0], val = c->arg[1], flags = c->arg[2], mfn, *slot;
	int rc;

	if (!va_is_canonical(va) || va_is_hypervisor(va))
		return -EINVAL;
	slot = pt_l1_slot(v->d, v->cr3_kernel, va, &mfn);
	if (!slot)
		return -EINVAL;
	rc = pte_write(v->d, mfn, va_slot(va, 1), val, false);
	return rc ? rc : uvm_flush(v, va, flags);
}

int64_t do_update_va_mapping_otherdomain(struct vcpu *v, struct hypercall *c)
{
	uint16_t domid = (uint16_t)c->arg[3];

	if (domid != DOMID_SELF && domid != v->d->domid)
		return -EPERM;
	return do_update_va_mapping(v, c);
}

/* ---- mmuext_op ---- */

static int ext_pin(struct vcpu *v, const struct mmuext_op *op)
{
	if (!frame_is_populated(v->d, op->arg1.mfn))
		return -EINVAL;
	pt_mark(v->d, op->arg1.mfn, op->cmd - MMUEXT_PIN_L1_TABLE + 1);
	return 0;
}

static int ext_unpin(struct vcpu *v, const struct mmuext_op *op)
{
	if (!frame_is_populated(v->d, op->arg1.mfn))
		return -EINVAL;
	pt_type_set(v->d, op->arg1.mfn, 0);
	return 0;
}

static int ext_new_baseptr(struct vcpu *v, const struct mmuext_op *op)
{
	uint64_t mfn = op->arg1.mfn;

	if (!frame_is_populated(v->d, mfn))
		return -EINVAL;
	if (pt_type_get(v->d, mfn) != 4)
		pt_mark(v->d, mfn, 4);
	v->cr3_kernel = mfn;
	v->d->engine->cr3_changed(v, true);
	return 0;
}

static int ext_new_user_baseptr(struct vcpu *v, const struct mmuext_op *op)
{
	uint64_t mfn = op->arg1.mfn;

	if (mfn && !frame_is_populated(v->d, mfn))
		return -EINVAL;
	if (mfn && pt_type_get(v->d, mfn) != 4)
		pt_mark(v->d, mfn, 4);
	v->cr3_user = mfn;
	v->d->engine->cr3_changed(v, false);
	return 0;
}

static int ext_flush_local(struct vcpu *v, const struct mmuext_op *op)
{
	v->d->engine->tlb_flush_local(v);
	return 0;
}

static int ext_invlpg_local(struct vcpu *v, const struct mmuext_op *op)
{
	if (va_is_canonical(op->arg1.linear_addr))
		v->d->engine->tlb_invlpg_local(v, op->arg1.linear_addr);
	return 0;
}

static int ext_multi(struct vcpu *v, const struct mmuext_op *op)
{
	uint64_t mask;
	int rc = read_vcpu_mask(v, (uint64_t)(uintptr_t)op->arg2.vcpumask.p, &mask);

	if (!rc)
		v->d->engine->tlb_shootdown(v, mask, op->arg1.linear_addr, op->cmd == MMUEXT_TLB_FLUSH_MULTI);
	return rc;
}

static int ext_all(struct vcpu *v, const struct mmuext_op *op)
{
	v->d->engine->tlb_shootdown(v, vcpu_mask_all(v->d), op->arg1.linear_addr, op->cmd == MMUEXT_TLB_FLUSH_ALL);
	return 0;
}

/* Every cache is coherent here. */
static int ext_nothing(struct vcpu *v, const struct mmuext_op *op) { return 0; }

static int ext_set_ldt(struct vcpu *v, const struct mmuext_op *op)
{
	uint64_t base = op->arg1.linear_addr;
	uint32_t ents = op->arg2.nr_ents;

	if ((base & (PAGE_SIZE_HV - 1)) || ents > 8192 || !va_is_canonical(base) || (ents && va_is_hypervisor(base)))
		return -EINVAL;
	v->ldt_base = base;
	v->ldt_ents = ents;
	return 0;
}

static int ext_clear_page(struct vcpu *v, const struct mmuext_op *op)
{
	void *page = ram_frame(v->d, op->arg1.mfn);

	if (!page)
		return -EINVAL;
	abi_full_context(v);
	memset(page, 0, PAGE_SIZE_HV);
	frame_touched(v->d, op->arg1.mfn);
	return 0;
}

static int ext_copy_page(struct vcpu *v, const struct mmuext_op *op)
{
	void *dst = ram_frame(v->d, op->arg1.mfn);
	const void *src = ram_frame(v->d, op->arg2.src_mfn);

	if (!dst || !src)
		return -EINVAL;
	abi_full_context(v);
	memmove(dst, src, PAGE_SIZE_HV);
	frame_touched(v->d, op->arg1.mfn);
	return 0;
}

static int ext_unsupported(struct vcpu *v, const struct mmuext_op *op) { return -EOPNOTSUPP; }

static int (*const ext_ops[])(struct vcpu *, const struct mmuext_op *) = {
	[MMUEXT_PIN_L1_TABLE] = ext_pin,
	[MMUEXT_PIN_L2_TABLE] = ext_pin,
	[MMUEXT_PIN_L3_TABLE] = ext_pin,
	[MMUEXT_PIN_L4_TABLE] = ext_pin,
	[MMUEXT_UNPIN_TABLE] = ext_unpin,
	[MMUEXT_NEW_BASEPTR] = ext_new_baseptr,
	[MMUEXT_TLB_FLUSH_LOCAL] = ext_flush_local,
	[MMUEXT_INVLPG_LOCAL] = ext_invlpg_local,
	[MMUEXT_TLB_FLUSH_MULTI] = ext_multi,
	[MMUEXT_INVLPG_MULTI] = ext_multi,
	[MMUEXT_TLB_FLUSH_ALL] = ext_all,
	[MMUEXT_INVLPG_ALL] = ext_all,
	[MMUEXT_FLUSH_CACHE] = ext_nothing,
	[MMUEXT_SET_LDT] = ext_set_ldt,
	[MMUEXT_NEW_USER_BASEPTR] = ext_new_user_baseptr,
	[MMUEXT_CLEAR_PAGE] = ext_clear_page,
	[MMUEXT_COPY_PAGE] = ext_copy_page,
	[MMUEXT_FLUSH_CACHE_GLOBAL] = ext_nothing,
	[MMUEXT_MARK_SUPER] = ext_unsupported,
	[MMUEXT_UNMARK_SUPER] = ext_unsupported,
};

static int mmuext_entry(struct vcpu *v, const void *entry)
{
	struct mmuext_op op;

	_Static_assert(sizeof(struct mmuext_op) == 24, "xen.h: mmuext_op on x86-64");
	memcpy(&op, entry, sizeof(op));
	if (op.cmd >= sizeof(ext_ops) / sizeof(ext_ops[0]) || !ext_ops[op.cmd])
		return -ENOSYS;
	return ext_ops[op.cmd](v, &op);
}

int64_t do_mmuext_op(struct vcpu *v, struct hypercall *c)
{
	return run_list(v, c, sizeof(struct mmuext_op), mmuext_entry);
}
