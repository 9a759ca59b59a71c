/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_find.c - making translations: finds the guest's bytes, sees to it that nobody has a write tag for their frame,
 * and calls the translator.  The vector state has been saved (bt_vec_save).
 */
#include "hypervisor/engine/bt/bt_int.h"

#include <stdio.h>
#include <inttypes.h>

/*
 * The frame is about to hold translations: from here on no vCPU gets, and after this none has, a write tag for it, as
 * long as the returned count stands: a store of another vCPU may find that the frame holds no code any more, and take
 * the claim back.
 */
static unsigned claim_frame(struct bt_vcpu *bv, uint64_t frame)
{
	struct bt_domain *bt = bv->bt;
	unsigned gone = atomic_load(bt_code_gone(bt, frame));
	uint8_t old = atomic_fetch_or(&bt->frames.flags[frame], BT_FRAME_CODE);

	if (!(old & BT_FRAME_WTAG))
		return gone;
	for (int b = 0; b < BT_NR_BANKS; b++)
		bt_tlb_revoke_writes(&bv->tlb.bank[b], (uint64_t)(uintptr_t)(bt->d->ram + (frame << PAGE_SHIFT_HV)));
	bt_request(bt->d, &bv->v, ~0UL, BT_REQ_WTAGS, 0);
	pthread_mutex_lock(&bt->lock);
	if (atomic_load(bt_code_gone(bt, frame)) == gone)
		atomic_fetch_and(&bt->frames.flags[frame], (uint8_t)~BT_FRAME_WTAG);
	pthread_mutex_unlock(&bt->lock);
	return gone;
}

/* Does the claim stand?  With the lock. */
static bool claimed(struct bt_domain *bt, uint64_t frame, unsigned gone)
{
	return (atomic_load(&bt->frames.flags[frame]) & BT_FRAME_CODE) && atomic_load(bt_code_gone(bt, frame)) == gone;
}

static void trace_block(const struct bt_block *b)
{
	fprintf(stderr, "bt: block %016" PRIx64 " %s frame %" PRIx64 " len %u insns %u cache %x..%x..%x\n", b->va,
		b->page->bank == BT_USER ? "user" : "kernel", b->page->frame, b->len, b->nr, b->ientry, b->body_end, b->end);
}

/*
 * The template address of a page at va that has none yet: the one that gives it the delta of the nearest page known, which most
 * likely belongs to the same library.  With the lock.
 */
static uint64_t template_for(const struct bt_vcpu *bv, uint64_t va, uint64_t frame)
{
	uint64_t best = BT_REL_END, t = 0;

	va &= ~(PAGE_SIZE_HV - 1);
	for (uint32_t i = 0; i < bv->nr_page_log[2] && i < BT_PAGE_LOG; i++) {
		uint32_t id = bv->page_log[2][i];
		uint64_t delta = bv->cdelta[id], at = bv->bt->page[id].va + delta, far = at > va ? at - va : va - at;

		if (delta == BT_NOWHERE || far >= best)
			continue;
		best = far;
		t = va - delta;
	}
	if (!bt_is_template(t))
		t = (va & 0x3fffffff) | 0x20000000;
	/* taken by a twin that is known elsewhere; there are fewer than BT_TWINS */
	while (bt_page_find(bv->bt, t, frame, BT_USER, true))
		t = t + 0x1000000 < BT_TEMPLATE_END ? t + 0x1000000 : BT_TEMPLATE_FIRST + (t & 0xfff000);
	return t;
}

/* Translates the block at va.  0, or -1 with v->exc filled; the caller looks it up again. */
int bt_make(struct bt_vcpu *bv, uint64_t va, uint64_t want)
{
	struct bt_domain *bt = bv->bt;
	struct domain *d = bt->d;
	enum bt_bank bank = bt_bank_of(&bv->v);
	uint64_t mfn, frame, frame2 = 0, at;
	unsigned gone, gone2 = 0;
	bool need_next = false, rel = bt_is_rel(bank, va);

	for (;;) {
		const uint8_t *next = NULL;
		struct bt_page *pg, *pg2 = NULL;
		struct bt_block *b;

		if (mmu_translate(&bv->v, va, MMU_EXEC, &mfn))
			return -1;
		frame = domain_frame_index(d, mfn);
		gone = claim_frame(bv, frame);
		if (need_next) {
			if (mmu_translate(&bv->v, (va | (PAGE_SIZE_HV - 1)) + 1, MMU_EXEC, &mfn))
				return -1;
			frame2 = domain_frame_index(d, mfn);
			gone2 = claim_frame(bv, frame2);
			next = d->ram + (frame2 << PAGE_SHIFT_HV);
		}
		pthread_mutex_lock(&bt->lock);
		if (!bt_room(bt)) {
			pthread_mutex_unlock(&bt->lock);
			bt_world_flush(bv);
			continue;
		}
		if (!claimed(bt, frame, gone) || (need_next && !claimed(bt, frame2, gone2))) {
			pthread_mutex_unlock(&bt->lock);
			continue;
		}
		pg = bt_page_pick(bv, va, frame, want);
		if (!pg)
			pg = bt_page_get(bt, !rel ? va : want != BT_ANYWHERE ? want : template_for(bv, va, frame), frame, bank, rel);
		if (need_next)
			pg2 = bt_page_get(bt, pg->va + PAGE_SIZE_HV, frame2, bank, rel);
		at = pg->va + (va & (PAGE_SIZE_HV - 1));
		b = bt_block_find(bt, pg, at);
		if (!b) {
			b = bt_translate(&bv->v, pg, pg2, at, va - at, d->ram + (frame << PAGE_SHIFT_HV), next, &need_next);
			if (b)
				bt_block_publish(bt, b);
			bt_cache_grown(bt);
		}
		if (b && bt->trace_blocks)
			trace_block(b);
		pthread_mutex_unlock(&bt->lock);
		if (b)
			return 0;
	}
}

/* The thunk of the access in bv->slow.  0; -1: the tables changed; 1: it cannot be done so. */
int bt_thunk_make(struct bt_vcpu *bv)
{
	struct bt_domain *bt = bv->bt;
	struct bt_site *s;
	uint8_t code[30];
	size_t n;
	int rc = -1;

	pthread_mutex_lock(&bt->lock);
	if (bv->slow_gen != bt->flushes)
		goto out;
	rc = 1;
	s = &bt->site[bv->slow_id];
	if (!s->thunk && bt_room(bt)) {
		uint64_t off = bv->v.regs.rip & (PAGE_SIZE_HV - 1);

		n = s->len;
		for (size_t i = 0; i < n; i++) {
			const struct bt_page *pg = off + i < PAGE_SIZE_HV ? s->block->page : s->block->page2;

			if (!pg)
				goto out;
			code[i] = bt->d->ram[(pg->frame << PAGE_SHIFT_HV) + ((off + i) & (PAGE_SIZE_HV - 1))];
		}
		if (!s->block->dead)
			bt_thunk_emit(bt, s, code, n, bv->v.regs.rip);
	}
	if (s->thunk) {
		bv->slow.thunk = s->thunk;
		rc = 0;
	}
out:
	pthread_mutex_unlock(&bt->lock);
	return rc;
}

/* One line for each block entered when HV_BT_TRACE has "exec", for each instruction emulated when it has "emulate". */
void bt_trace(struct bt_vcpu *bv)
{
	fprintf(stderr, "bt: v%u %c rip %016" PRIx64 " rsp %016" PRIx64 " rax %" PRIx64 " rdi %" PRIx64 " rsi %" PRIx64
		" rdx %" PRIx64 " rcx %" PRIx64 " fl %04x\n", bv->v.id, bv->v.regs.kernel_mode ? 'k' : 'u', bv->v.regs.rip,
		bv->v.regs.gpr[REG_RSP], bv->v.regs.gpr[REG_RAX], bv->v.regs.gpr[REG_RDI], bv->v.regs.gpr[REG_RSI], bv->v.regs.gpr[REG_RDX],
		bv->v.regs.gpr[REG_RCX], bv->fl);
}
