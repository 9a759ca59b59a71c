/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_tlb.h - the soft TLB: structure of arrays, direct-mapped, one bank for the guest kernel's and one for its user
 * page tables.  Translated code reads it at fixed offsets from %gs; only the vCPU's own thread writes it.
 *
 * Tags hold the negated page address, so that address + tag is the offset into the page on a hit and one unsigned
 * compare catches miss and page crossing.  An invalid entry is BT_TLB_INVALID in tags and page: an address that
 * matches it by accident is non-canonical and so is the host address it yields, which faults and is sorted out by the
 * signal handler.  Its addend is 0 for the same reason.
 *
 * Everything here is usable in the fast context (bt.h).
 */
#ifndef HV_BT_TLB_H
#define HV_BT_TLB_H

#include "hypervisor/engine/bt/bt.h"

#define BT_TLB_BITS 15
#define BT_TLB_ENTRIES (1U << BT_TLB_BITS)
#define BT_TLB_INVALID 0x8000000000000000ULL
#define BT_TLB_LOG 4096                    /* valid entries to drop one by one, before we go through all */

/*
 * The address bits that index a bank, where pext takes them at no cost.  A kernel keeps its direct map, stacks, struct pages
 * and text at addresses whose low page bits often agree: bits 43..46 tell those regions of Linux apart (and the hypervisor's
 * own range from all of them).  User code has two regions, low and high.
 */
#define BT_TLB_MASK_KERNEL (0x7ffULL << 12 | 15ULL << 43)
#define BT_TLB_MASK_USER (0x3fffULL << 12 | 1ULL << 46)
_Static_assert(__builtin_popcountll(BT_TLB_MASK_KERNEL) == BT_TLB_BITS, "the index covers the table");
_Static_assert(__builtin_popcountll(BT_TLB_MASK_USER) == BT_TLB_BITS, "the index covers the table");

/* Which entries are valid, so that dropping them costs what filling them did.  nr > BT_TLB_LOG: it overflowed. */
struct bt_tlb_log { uint32_t nr; uint16_t at[BT_TLB_LOG]; };

struct bt_tlb {
	uint64_t ntag_r[BT_TLB_ENTRIES];
	uint64_t ntag_w[BT_TLB_ENTRIES];
	uint64_t page[BT_TLB_ENTRIES];     /* host address of the frame */
	uint64_t addend[BT_TLB_ENTRIES];   /* the same less the guest's address */
	uint64_t mask;                     /* for pext; 0: the low bits of the page number */
	struct bt_tlb_log low, high;       /* what a change of CR3 drops; the kernel's own half */
};

/* Per-frame facts the translator keeps (bt_domain.frame_flags), changed atomically. */
#define BT_FRAME_CODE 1                    /* holds translations: no write tags */
#define BT_FRAME_WTAG 2                    /* some vCPU may have a write tag for it */

struct bt_vcpu_tlb {                       /* first member of struct bt_vcpu */
	struct bt_tlb bank[BT_NR_BANKS];
};

struct bt_domain_frames {                  /* first member of struct bt_domain */
	_Atomic uint8_t *flags;            /* per frame index */
};

static inline struct bt_tlb *bt_tlb_of(struct vcpu *v, enum bt_bank bank)
{
	return &((struct bt_vcpu_tlb *)v->engine_private)->bank[bank];
}

static inline unsigned bt_tlb_index(const struct bt_tlb *t, uint64_t va)
{
	uint64_t i;

	if (!t->mask)
		return (va >> PAGE_SHIFT_HV) & (BT_TLB_ENTRIES - 1);
	__asm__("pextq %2, %1, %0" : "=r"(i) : "r"(va), "rm"(t->mask));
	return (unsigned)i;
}

/* Does a change of CR3 leave the address' entry alone? */
static inline bool bt_tlb_is_high(enum bt_bank bank, uint64_t va) { return bank == BT_KERNEL && va >> 63; }

static inline void bt_tlb_drop(struct bt_tlb *t, unsigned i)
{
	t->ntag_r[i] = t->ntag_w[i] = t->page[i] = BT_TLB_INVALID;
	t->addend[i] = 0;
}

/* Entry i is about to map va: log it, unless its old contents are in the same log. */
static inline void bt_tlb_note(struct bt_tlb *t, enum bt_bank bank, unsigned i, uint64_t va)
{
	bool high = bt_tlb_is_high(bank, va);
	struct bt_tlb_log *log = high ? &t->high : &t->low;

	if (t->ntag_r[i] != BT_TLB_INVALID && bt_tlb_is_high(bank, -t->ntag_r[i]) == high)
		return;
	if (log->nr < BT_TLB_LOG)
		log->at[log->nr++] = (uint16_t)i;
	else
		log->nr = BT_TLB_LOG + 1;
}

/*
 * Enter the mapping of va (any byte of the page) to frame mfn, which exists.  writable: give a write tag too (the guest
 * may write, D is set); withheld where the frame holds translations.  A write tag marks the page dirty.
 */
static inline void bt_tlb_fill(struct vcpu *v, enum bt_bank bank, uint64_t va, uint64_t mfn, bool writable)
{
	struct bt_tlb *t = bt_tlb_of(v, bank);
	struct domain *d = v->d;
	uint64_t frame = domain_frame_index(d, mfn), ntag = -(va & ~(PAGE_SIZE_HV - 1));
	unsigned i = bt_tlb_index(t, va);

	if (writable) {
		/* sequentially consistent, as the translator's setting of CODE and look at WTAG: one of us sees the other */
		uint8_t old = atomic_fetch_or(&((struct bt_domain_frames *)d->bt)->flags[frame], BT_FRAME_WTAG);

		writable = !(old & BT_FRAME_CODE);
	}
	bt_tlb_note(t, bank, i, va);
	t->ntag_r[i] = ntag;
	t->ntag_w[i] = writable ? ntag : BT_TLB_INVALID;
	t->page[i] = (uint64_t)(uintptr_t)(d->ram + (frame << PAGE_SHIFT_HV));
	t->addend[i] = t->page[i] + ntag;
	if (writable)
		domain_mark_dirty(d, mfn);
}

/* Forget one page. */
static inline void bt_tlb_flush_page(struct bt_tlb *t, uint64_t va)
{
	unsigned i = bt_tlb_index(t, va);

	if (t->ntag_r[i] == -(va & ~(PAGE_SIZE_HV - 1)))
		bt_tlb_drop(t, i);
}

/* What a change of CR3 drops: of the kernel's bank the lower half, of the user's everything. */
static inline void bt_tlb_flush_cr3(struct bt_tlb *t, enum bt_bank bank)
{
	if (t->low.nr <= BT_TLB_LOG) {
		for (unsigned n = 0; n < t->low.nr; n++)
			if (!bt_tlb_is_high(bank, -t->ntag_r[t->low.at[n]]))
				bt_tlb_drop(t, t->low.at[n]);
	} else {
		for (unsigned i = 0; i < BT_TLB_ENTRIES; i++)
			if (!bt_tlb_is_high(bank, -t->ntag_r[i]))
				bt_tlb_drop(t, i);
	}
	t->low.nr = 0;
}

/* Forget every page. */
static inline void bt_tlb_flush_all(struct bt_tlb *t)
{
	if (t->low.nr <= BT_TLB_LOG && t->high.nr <= BT_TLB_LOG) {
		for (unsigned n = 0; n < t->low.nr; n++)
			bt_tlb_drop(t, t->low.at[n]);
		for (unsigned n = 0; n < t->high.nr; n++)
			bt_tlb_drop(t, t->high.at[n]);
	} else {
		for (unsigned i = 0; i < BT_TLB_ENTRIES; i++)
			bt_tlb_drop(t, i);
	}
	t->low.nr = t->high.nr = 0;
}

/* Before the first use.  pext: the processor has a fast one. */
static inline void bt_tlb_init(struct bt_tlb *t, enum bt_bank bank, bool pext)
{
	t->mask = !pext ? 0 : bank == BT_KERNEL ? BT_TLB_MASK_KERNEL : BT_TLB_MASK_USER;
	t->low.nr = t->high.nr = BT_TLB_LOG + 1;
	bt_tlb_flush_all(t);
}

/* Take back write tags: all, or those of one frame. */
static inline void bt_tlb_revoke_log(struct bt_tlb *t, const struct bt_tlb_log *log, uint64_t host_page)
{
	for (unsigned n = 0; n < log->nr; n++)
		if (!host_page || t->page[log->at[n]] == host_page)
			t->ntag_w[log->at[n]] = BT_TLB_INVALID;
}

static inline void bt_tlb_revoke_writes(struct bt_tlb *t, uint64_t host_page)
{
	if (t->low.nr <= BT_TLB_LOG && t->high.nr <= BT_TLB_LOG) {
		bt_tlb_revoke_log(t, &t->low, host_page);
		bt_tlb_revoke_log(t, &t->high, host_page);
		return;
	}
	for (unsigned i = 0; i < BT_TLB_ENTRIES; i++)
		if (!host_page || t->page[i] == host_page)
			t->ntag_w[i] = BT_TLB_INVALID;
}

#endif
