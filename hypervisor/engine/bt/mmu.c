/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmu.c - the guest's page tables: walk, permission rules, accessed and dirty bits, soft TLB fill.
 *
 * Constraints: nothing the tables hold may lead to a host access outside domain_frame() of a RAM frame the guest
 * holds; every walk ends after four levels and a bounded number of restarts.  Runs in the fast context of bt.h.
 */
#include "hypervisor/engine/bt/bt_tlb.h"
#include "hypervisor/engine/bt/mmu.h"

/* A walk restarts when another vCPU changed an entry under it; past this many it reports a spurious "not present". */
#define WALK_RESTARTS 64

#define WALK_PROBE 0x100u                 /* beside MMU_PTWR: change nothing */

int mmu_raise(struct vcpu *v, unsigned vector, uint32_t error_code)
{
	v->exc = (struct guest_exception){ .vector = (uint8_t)vector, .error_code = error_code };
	return -1;
}

int mmu_raise_pf(struct vcpu *v, uint64_t va, uint32_t error_code)
{
	if (!v->regs.kernel_mode)
		error_code |= PFEC_U;
	v->exc = (struct guest_exception){ .vector = VEC_PF, .error_code = error_code, .cr2 = va };
	return -1;
}

bool mmu_frame_writable(const struct domain *d, uint64_t mfn)
{
	if (mfn < d->max_pages)
		return true;
	return mfn >= SPECIAL_MFN && mfn < SPECIAL_MFN + SPECIAL_GRANT + SPECIAL_NR_GRANT;
}

/* RAM that was ballooned out is no memory of the guest's. */
static bool frame_held(const struct domain *d, uint64_t mfn)
{
	return !d->populated || mfn >= d->max_pages ||
	       (__atomic_load_n(&d->populated[mfn / 64], __ATOMIC_RELAXED) >> (mfn % 64) & 1);
}

/* The frame of a page table: RAM only, so that neither M2P nor shared frames are ever taken for tables. */
static uint64_t *table_frame(const struct domain *d, uint64_t mfn)
{
	return mfn < d->max_pages && frame_held(d, mfn) ? domain_frame(d, mfn) : NULL;
}

/*
 * The hypervisor's own range: the machine-to-phys table, read-only, and nothing else.  Open to guest user mode too, as
 * on Xen.  0, or -1 with *ec set.
 */
static int walk_special(const struct domain *d, uint64_t va, enum mmu_access access, struct mmu_xlat *x, uint32_t *ec)
{
	uint64_t off = va - M2P_VIRT_START;

	*ec = access == MMU_WRITE ? PFEC_W : access == MMU_EXEC ? PFEC_I : 0;
	if (off / 8 >= d->max_pages)
		return -1;
	if (access != MMU_READ) {
		*ec |= PFEC_P;
		return -1;
	}
	x->mfn = SPECIAL_MFN + SPECIAL_M2P + (off >> PAGE_SHIFT_HV);
	x->page = domain_frame(d, x->mfn);
	x->writable = x->dirty = x->exec = x->ptwr = false;
	return x->page ? 0 : -1;
}

static bool in_special(uint64_t va)
{
	unsigned slot = va >> 39 & 511;

	return slot >= L4_XEN_FIRST && slot <= L4_XEN_LAST;
}

enum walk_result { WALK_OK, WALK_FAULT, WALK_AGAIN };

/* Set bits in an entry that still holds `old`; false when it changed meanwhile. */
static bool entry_set_bits(struct domain *d, uint64_t *slot, uint64_t old, uint64_t bits, uint64_t table_mfn)
{
	if ((old & bits) == bits)
		return true;
	if (!__atomic_compare_exchange_n(slot, &old, old | bits, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	domain_mark_dirty(d, table_mfn);
	return true;
}

/* One pass down the tables.  On WALK_FAULT *ec holds the error code. */
static enum walk_result walk_once(struct domain *d, uint64_t mfn, uint64_t va, enum mmu_access access, unsigned flags,
				  struct mmu_xlat *x, uint32_t *ec)
{
	uint64_t table_mfn[5], entry[5], *slot[5], big;
	bool rw = true, nx = false;
	int level;

	*ec = access == MMU_WRITE ? PFEC_W : access == MMU_EXEC ? PFEC_I : 0;
	for (level = 4; ; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t *table = table_frame(d, mfn);

		if (!table) {
			if (level < 4)
				*ec |= PFEC_P | PFEC_RSVD;
			return WALK_FAULT;
		}
		table_mfn[level] = mfn;
		slot[level] = &table[va >> shift & 511];
		entry[level] = __atomic_load_n(slot[level], __ATOMIC_ACQUIRE);
		if (!(entry[level] & PTE_P))
			return WALK_FAULT;
		rw &= !!(entry[level] & PTE_RW);
		nx |= !!(entry[level] & PTE_NX);
		mfn = (entry[level] & PTE_ADDR) >> PAGE_SHIFT_HV;
		if (level == 1)
			break;
		if (entry[level] & PTE_PSE) {
			big = (1UL << (shift - 12)) - 1;
			/* bit 12 is PAT, the rest below the page's size is reserved; no 512 GiB pages */
			if (level == 4 || (mfn & big & ~1UL)) {
				*ec |= PFEC_P | PFEC_RSVD;
				return WALK_FAULT;
			}
			mfn = (mfn & ~big) | (va >> PAGE_SHIFT_HV & big);
			break;
		}
	}
	x->mfn = mfn;
	x->page = domain_frame(d, mfn);
	*ec |= PFEC_P;
	if (!x->page || !frame_held(d, mfn)) {
		*ec |= PFEC_RSVD;
		return WALK_FAULT;
	}
	x->writable = rw && mmu_frame_writable(d, mfn);
	x->exec = !nx;
	x->ptwr = false;
	if (access == MMU_EXEC && nx)
		return WALK_FAULT;
	if (access == MMU_WRITE && !x->writable) {
		x->ptwr = (flags & MMU_PTWR) && mfn < d->max_pages && d->pt_type &&
			  __atomic_load_n(&d->pt_type[mfn], __ATOMIC_RELAXED);
		if (!x->ptwr)
			return WALK_FAULT;
	}
	x->dirty = (entry[level] & PTE_D) || (access == MMU_WRITE && !x->ptwr);
	if (flags & WALK_PROBE)
		return WALK_OK;
	for (int l = 4; l > level; l--)
		if (!entry_set_bits(d, slot[l], entry[l], PTE_A, table_mfn[l]))
			return WALK_AGAIN;
	if (!entry_set_bits(d, slot[level], entry[level],
			    access == MMU_WRITE && !x->ptwr ? PTE_A | PTE_D : PTE_A, table_mfn[level]))
		return WALK_AGAIN;
	return WALK_OK;
}

int mmu_walk(struct vcpu *v, uint64_t va, enum mmu_access access, unsigned flags, struct mmu_xlat *x)
{
	uint32_t ec = 0;

	if (!mmu_canonical(va))
		return mmu_raise(v, VEC_GP, 0);
	if (in_special(va))
		return walk_special(v->d, va, access, x, &ec) ? mmu_raise_pf(v, va, ec) : 0;
	if (!v->regs.kernel_mode)
		flags &= ~MMU_PTWR;
	for (int i = 0; i < WALK_RESTARTS; i++) {
		enum walk_result rc = walk_once(v->d, vcpu_cr3(v), va, access, flags, x, &ec);

		if (rc == WALK_OK)
			return 0;
		if (rc == WALK_FAULT)
			break;
		ec &= ~(uint32_t)PFEC_P;
	}
	return mmu_raise_pf(v, va, ec);
}

int mmu_fill(struct vcpu *v, uint64_t va, int access)
{
	struct mmu_xlat x;
	bool write;

	if (mmu_walk(v, va, (enum mmu_access)access, MMU_PTWR, &x))
		return -1;
	/*
	 * A page that is dirty already gets its write tag with the first read, except while dirty logging: a write tag
	 * counts as a write there.  Switching logging on revokes every tag after the flag is up, so none slips through.
	 */
	write = access == MMU_WRITE ? !x.ptwr :
		x.writable && x.dirty && !atomic_load_explicit(&v->d->dirty_logging, memory_order_acquire);
	bt_tlb_fill(v, bt_bank_of(v), va, x.mfn, write);
	return 0;
}

int mmu_translate(struct vcpu *v, uint64_t va, int access, uint64_t *ret_mfn)
{
	struct mmu_xlat x;

	if (mmu_walk(v, va, (enum mmu_access)access, MMU_PTWR, &x))
		return -1;
	*ret_mfn = x.mfn;
	return 0;
}

int mmu_probe(struct vcpu *v, uint64_t va, bool kernel, int access, uint64_t *ret_mfn, bool *ret_writable)
{
	struct mmu_xlat x;
	uint32_t ec;

	if (!mmu_canonical(va))
		return -1;
	if (in_special(va)) {
		if (walk_special(v->d, va, (enum mmu_access)access, &x, &ec))
			return -1;
	} else if (walk_once(v->d, kernel ? v->cr3_kernel : v->cr3_user, va, (enum mmu_access)access, WALK_PROBE, &x,
			     &ec) != WALK_OK) {
		return -1;
	}
	*ret_mfn = x.mfn;
	if (ret_writable)
		*ret_writable = x.writable;
	return 0;
}
