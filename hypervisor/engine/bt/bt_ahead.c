/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_ahead.c - translations made ahead, for a guest that is about to come from another node.
 *
 * A guest that has moved finds an empty code cache: until what it uses is translated again, a few thousand blocks, it answers nobody.
 * So the node that it leaves notes which pages of code run from the first talk of the move on, and names their blocks, each once; the one it
 * goes to translates these while the guest still runs there.
 *
 * What a page holds at that moment may be overwritten by a later round, so the translator gets a copy of it, whose sum is kept.  The first
 * time that a vCPU wants a block of such a page the sum is compared (bt_page_prove), and what does not agree goes.  The frame counts as code
 * from the first moment, so that what the guest writes to it then is seen as ever.  A list that lies costs cache and time, both bounded, and
 * nothing else: what it has translated are bytes of this guest, as this guest could have had it done.
 *
 * All of it is over before the guest's state is loaded.  What a translation takes from that state would be wrong: it is left out (must_wait()
 * in bt_xlat.c).  And no vCPU has run, so no frame has a write tag that would have to be taken back, and nobody shares these pages.
 *
 * The list, little-endian: u32 pages, u32 0; a page is u64 va, u64 frame, u16 flags (1: user, 2: relative), u16 blocks, u32 0,
 * then blocks × u16 offset.  Relative pages are named by their template address (bt_int.h).
 */
#include "hypervisor/engine/bt/bt_int.h"

#include <errno.h>
#include <string.h>
#include "lib/buf.h"

#define FLAG_USER 1u
#define FLAG_REL 2u

void bt_code_watch(struct domain *d)
{
	struct bt_domain *bt = d->bt;

	pthread_mutex_lock(&bt->lock);
	for (uint32_t i = 0; i < bt->nr_pages; i++)
		__atomic_store_n(&bt->page[i].seen, false, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < bt->nr_blocks; i++)
		bt->block[i].told = false;
	pthread_mutex_unlock(&bt->lock);
	/* what a vCPU knows to be mapped it enters unnoticed: it looks again */
	bt_request(d, NULL, ~0UL, BT_REQ_FORGET, 0);
}

/* Those not told yet.  Blocks that straddle into the next page are few, and left out. */
static unsigned blocks_of(const struct bt_page *pg, struct buf *out)
{
	unsigned n = 0;

	for (struct bt_block *b = pg->blocks; b; b = b->next_page) {
		if (b->page2 || b->told)
			continue;
		n++;
		if (!out)
			continue;
		buf_u16(out, (uint16_t)(b->va - pg->va));
		b->told = true;
	}
	return n;
}

/* The pages made last first: what a guest did as it booted is the least likely to run again. */
int bt_code_list(struct domain *d, struct buf *out)
{
	struct bt_domain *bt = d->bt;
	size_t at = out->len;
	uint32_t pages = 0;

	buf_u32(out, 0);
	buf_u32(out, 0);
	pthread_mutex_lock(&bt->lock);
	for (uint32_t i = bt->nr_pages; i-- > 0; ) {
		const struct bt_page *pg = &bt->page[i];
		unsigned n = __atomic_load_n(&pg->seen, __ATOMIC_RELAXED) ? blocks_of(pg, NULL) : 0;

		if (!n)
			continue;
		if (out->len + 24 + 2 * (size_t)n > out->max)
			break;
		buf_u64(out, pg->va);
		buf_u64(out, pg->frame);
		buf_u16(out, (uint16_t)((pg->bank == BT_USER ? FLAG_USER : 0) | (pg->rel ? FLAG_REL : 0)));
		buf_u16(out, (uint16_t)n);
		buf_u32(out, 0);
		blocks_of(pg, out);
		pages++;
	}
	pthread_mutex_unlock(&bt->lock);
	buf_put_u32_at(out, at, pages);
	return buf_ok(out) ? 0 : -ENOMEM;
}

struct named { uint64_t va, frame; uint16_t flags, blocks; };

static bool named_valid(const struct domain *d, const struct named *n)
{
	int bank = n->flags & FLAG_USER ? BT_USER : BT_KERNEL;
	bool rel = n->flags & FLAG_REL;

	if (n->flags & ~(FLAG_USER | FLAG_REL) || n->va & (PAGE_SIZE_HV - 1) || n->frame >= d->max_pages || !n->blocks ||
	    n->blocks > PAGE_SIZE_HV)
		return false;
	if (rel)
		return bank == BT_USER && bt_is_template(n->va);
	return !bt_is_rel(bank, n->va) && (int64_t)(n->va << 16) >> 16 == (int64_t)n->va;
}

/*
 * The page as it is named, with what it holds in `copy`.  NULL: it was named before and holds something else by now; what was made of it goes
 * when it is proved.
 */
static struct bt_page *page_ahead(struct bt_domain *bt, const struct named *n, uint8_t copy[PAGE_SIZE_HV])
{
	int bank = n->flags & FLAG_USER ? BT_USER : BT_KERNEL;
	struct bt_page *pg = bt_page_find(bt, n->va, n->frame, bank, n->flags & FLAG_REL);

	bool known = pg != NULL;

	if (!known)
		pg = bt_page_get(bt, n->va, n->frame, bank, n->flags & FLAG_REL);
	atomic_fetch_or(&bt->frames.flags[n->frame], BT_FRAME_CODE);
	memcpy(copy, bt->d->ram + (n->frame << PAGE_SHIFT_HV), PAGE_SIZE_HV);
	if (known)
		return pg->ahead && pg->sum == bt_page_sum(copy) ? pg : NULL;
	pg->sum = bt_page_sum(copy);
	pg->ahead = true;
	return pg;
}

/* One page's blocks.  With the lock.  What they are made from is a copy: another round may write the frame meanwhile. */
static unsigned make_page(struct bt_domain *bt, const struct named *n, struct reader *offsets)
{
	static uint8_t copy[PAGE_SIZE_HV];           /* under bt->lock; one domain a process */
	struct bt_page *pg = NULL;
	unsigned made = 0;

	for (unsigned i = 0; i < n->blocks; i++) {
		uint16_t off = reader_u16(offsets);
		struct bt_block *b;
		bool straddles;

		if (off >= PAGE_SIZE_HV || !bt_room(bt) || bt->used - bt->first > (bt->cold_first - bt->first) / 2)
			continue;
		if (!pg && !(pg = page_ahead(bt, n, copy)))
			return 0;
		if (bt_block_find(bt, pg, pg->va + off))
			continue;
		b = bt_translate(bt->d->vcpu[0], pg, NULL, pg->va + off, 0, copy, NULL, &straddles);
		if (!b)
			continue;
		bt_block_publish(bt, b);
		bt_cache_grown(bt);
		made++;
	}
	return made;
}

int bt_code_make(struct domain *d, const void *list, size_t bytes, bool (*go_on)(void *arg), void *arg, unsigned *ret_blocks)
{
	struct bt_domain *bt = d->bt;
	struct reader r;
	uint32_t pages;

	*ret_blocks = 0;
	reader_init(&r, list, bytes);
	pages = reader_u32(&r);
	if (reader_u32(&r))
		return -EBADMSG;
	for (uint32_t i = 0; i < pages && reader_ok(&r) && go_on(arg); i++) {
		struct named n = { .va = reader_u64(&r), .frame = reader_u64(&r) };
		struct reader offsets;
		const uint8_t *at;

		n.flags = reader_u16(&r);
		n.blocks = reader_u16(&r);
		if (reader_u32(&r) || !reader_ok(&r) || !named_valid(d, &n))
			return -EBADMSG;
		at = reader_view(&r, 2 * (size_t)n.blocks);
		if (!at)
			return -EBADMSG;
		reader_init(&offsets, at, 2 * (size_t)n.blocks);
		pthread_mutex_lock(&bt->lock);
		bt->ahead = true;
		*ret_blocks += make_page(bt, &n, &offsets);
		bt->ahead = false;
		pthread_mutex_unlock(&bt->lock);
	}
	return reader_ok(&r) ? 0 : -EBADMSG;
}
