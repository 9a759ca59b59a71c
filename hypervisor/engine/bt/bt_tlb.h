/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_tlb.h - the soft TLB: structure of arrays, direct-mapped, one bank for the guest kernel's and one for its user
 * page tables.  Translated code reads it at fixed offsets from %gs; only the vCPU's own thread writes it.
 *
 * Tags hold the negated page address, so that address + tag is the offset into the page on a hit and one unsigned
 * compare catches miss and page crossing.  An invalid entry is BT_TLB_INVALID in tags and page: an address that
 * matches it by accident is non-canonical and so is the host address it yields, which faults and is sorted out by the
 * signal handler.
 *
 * Everything here is usable in the fast context (bt.h).
 */
#ifndef HV_BT_TLB_H
#define HV_BT_TLB_H

#include "hypervisor/engine/bt/bt.h"

#define BT_TLB_BITS 10
#define BT_TLB_ENTRIES (1U << BT_TLB_BITS)
#define BT_TLB_INVALID 0x8000000000000000ULL
#define BT_TLB_LOG 256                     /* entries to drop at a change of CR3, before we scan for them */

struct bt_tlb {
	uint64_t ntag_r[BT_TLB_ENTRIES];
	uint64_t ntag_w[BT_TLB_ENTRIES];
	uint64_t page[BT_TLB_ENTRIES];     /* host address of the frame */
	uint32_t nr_log;                   /* > BT_TLB_LOG: the log overflowed */
	uint16_t log[BT_TLB_LOG];
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

static inline unsigned bt_tlb_index(uint64_t va) { return (va >> PAGE_SHIFT_HV) & (BT_TLB_ENTRIES - 1); }

static inline void bt_tlb_drop(struct bt_tlb *t, unsigned i)
{
	t->ntag_r[i] = t->ntag_w[i] = t->page[i] = BT_TLB_INVALID;
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
	unsigned i = bt_tlb_index(va);

	if (writable) {
		/* sequentially consistent, as the translator's setting of CODE and look at WTAG: one of us sees the other */
		uint8_t old = atomic_fetch_or(&((struct bt_domain_frames *)d->bt)->flags[frame], BT_FRAME_WTAG);

		writable = !(old & BT_FRAME_CODE);
	}
	t->ntag_r[i] = ntag;
	t->ntag_w[i] = writable ? ntag : BT_TLB_INVALID;
	t->page[i] = (uint64_t)(uintptr_t)(d->ram + (frame << PAGE_SHIFT_HV));
	if (!(va >> 63) || bank == BT_USER) {
		if (t->nr_log < BT_TLB_LOG)
			t->log[t->nr_log++] = (uint16_t)i;
		else
			t->nr_log = BT_TLB_LOG + 1;
	}
	if (writable)
		domain_mark_dirty(d, mfn);
}

/* Forget one page, every page. */
static inline void bt_tlb_flush_page(struct bt_tlb *t, uint64_t va)
{
	unsigned i = bt_tlb_index(va);

	if (t->ntag_r[i] == -(va & ~(PAGE_SIZE_HV - 1)))
		bt_tlb_drop(t, i);
}

static inline void bt_tlb_flush_all(struct bt_tlb *t)
{
	for (unsigned i = 0; i < BT_TLB_ENTRIES; i++)
		bt_tlb_drop(t, i);
	t->nr_log = 0;
}

/* What a change of CR3 drops: of the kernel's bank the lower half, of the user's everything. */
static inline void bt_tlb_flush_cr3(struct bt_tlb *t, enum bt_bank bank)
{
	if (t->nr_log <= BT_TLB_LOG) {
		for (unsigned n = 0; n < t->nr_log; n++)
			if (bank == BT_USER || (-t->ntag_r[t->log[n]]) >> 63 == 0)
				bt_tlb_drop(t, t->log[n]);
	} else {
		for (unsigned i = 0; i < BT_TLB_ENTRIES; i++)
			if (bank == BT_USER || (-t->ntag_r[i]) >> 63 == 0)
				bt_tlb_drop(t, i);
	}
	t->nr_log = 0;
}

/* Take back write tags: all, or those of one frame. */
static inline void bt_tlb_revoke_writes(struct bt_tlb *t, uint64_t host_page)
{
	for (unsigned i = 0; i < BT_TLB_ENTRIES; i++)
		if (!host_page || t->page[i] == host_page)
			t->ntag_w[i] = BT_TLB_INVALID;
}

#endif
