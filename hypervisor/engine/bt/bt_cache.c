/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_cache.c - the code cache of a domain and its tables.  Code is allocated upwards and freed by a full flush only
 * (bt_world_flush), so an address in the cache stays harmless until then: a block that died has its entry patched to
 * a jump that leaves.  The cache is one memfd with two mappings, one writable and one executable.
 */
#include "hypervisor/engine/bt/bt_int.h"
#include "hypervisor/engine/bt/bt_emit.h"
#include "lib/huge.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* What one translation may need at most, with much to spare. */
#define ROOM_CODE 65536U
#define ROOM_RECORDS 512U

static unsigned hash_mix(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ (b << 17) ^ (b >> 13)) * 0x9e3779b97f4a7c15ULL;

	return (unsigned)(h >> 40) & (BT_HASH - 1);
}

static void *table_alloc(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Ahead of the guest a large page is taken as it is begun: to copy it when it is full would cost a vCPU milliseconds. */
void bt_cache_grown(struct bt_domain *bt)
{
	size_t to = bt->ahead ? bt->used + HUGE_PAGE : bt->used;

	while (bt->huge_end + HUGE_PAGE <= to && bt->huge_end + HUGE_PAGE <= bt->size) {
		if (huge_collapse(bt->rx + bt->huge_end))
			bt->huge_end = bt->size;
		else
			bt->huge_end += HUGE_PAGE;
	}
}

static void table_free(void *p, size_t n)
{
	if (p)
		munmap(p, n);
}

int bt_cache_init(struct bt_domain *bt, size_t bytes)
{
	int fd, rc = -ENOMEM;

	if (bytes < 1U << 20)
		bytes = 1U << 20;
	if (bytes > 1U << 30)
		bytes = 1U << 30;
	bt->size = bytes & ~4095UL;
	bt->cold_first = bt->cold_used = (bt->size / 8 * 5) & ~63UL;
	bt->max_blocks = (uint32_t)(bytes / 64);
	bt->max_exits = bt->max_sites = (uint32_t)(bytes / 24);
	bt->max_irecs = (uint32_t)(bytes / 12);
	fd = memfd_create("haven-code", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bt->size)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	bt->rw = huge_map(bt->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	bt->rx = huge_map(bt->size, PROT_READ | PROT_EXEC, MAP_SHARED, fd);
	close(fd);
	bt->block = table_alloc(bt->max_blocks * sizeof(*bt->block));
	bt->exit = table_alloc(bt->max_exits * sizeof(*bt->exit));
	bt->site = table_alloc(bt->max_sites * sizeof(*bt->site));
	bt->irec = table_alloc(bt->max_irecs * sizeof(*bt->irec));
	bt->page = table_alloc(BT_MAX_PAGES * sizeof(*bt->page));
	bt->page_hash = table_alloc(BT_HASH * sizeof(void *));
	bt->block_hash = table_alloc(BT_HASH * sizeof(void *));
	bt->frame_pages = table_alloc(domain_nr_frames(bt->d) * sizeof(void *));
	bt->frames.flags = table_alloc(domain_nr_frames(bt->d));
	if (!bt->rw || !bt->rx || !bt->block || !bt->exit || !bt->site || !bt->irec || !bt->page || !bt->page_hash ||
	    !bt->block_hash || !bt->frame_pages || !bt->frames.flags) {
		bt_cache_fini(bt);
		return rc;
	}
	bt_stubs_emit(bt);
	return 0;
}

void bt_cache_fini(struct bt_domain *bt)
{
	table_free(bt->rw, bt->size);
	table_free(bt->rx, bt->size);
	table_free(bt->block, bt->max_blocks * sizeof(*bt->block));
	table_free(bt->exit, bt->max_exits * sizeof(*bt->exit));
	table_free(bt->site, bt->max_sites * sizeof(*bt->site));
	table_free(bt->irec, bt->max_irecs * sizeof(*bt->irec));
	table_free(bt->page, BT_MAX_PAGES * sizeof(*bt->page));
	table_free(bt->page_hash, BT_HASH * sizeof(void *));
	table_free(bt->block_hash, BT_HASH * sizeof(void *));
	table_free(bt->frame_pages, domain_nr_frames(bt->d) * sizeof(void *));
	table_free((void *)(uintptr_t)bt->frames.flags, domain_nr_frames(bt->d));
	bt->rw = bt->rx = NULL;
}

/* Everything out.  With the lock, and no vCPU holding an address of the cache. */
void bt_cache_reset(struct bt_domain *bt)
{
	for (uint32_t i = 0; i < bt->nr_pages; i++) {
		bt->frame_pages[bt->page[i].frame] = NULL;
		atomic_fetch_and(&bt->frames.flags[bt->page[i].frame], (uint8_t)~BT_FRAME_CODE);
	}
	for (unsigned i = 0; i < BT_HASH; i++) {
		bt->page_hash[i] = NULL;
		bt->block_hash[i] = NULL;
	}
	bt->nr_blocks = bt->nr_exits = bt->nr_sites = bt->nr_pages = bt->nr_irecs = 0;
	bt->used = bt->first;
	bt->cold_used = bt->cold_first;
	bt->flushes++;
}

void bt_cache_release(struct bt_domain *bt)
{
	size_t keep = (bt->first + 4095) & ~4095UL;

	madvise(bt->rw + keep, bt->size - keep, MADV_REMOVE);
	madvise(bt->block, bt->max_blocks * sizeof(*bt->block), MADV_DONTNEED);
	madvise(bt->exit, bt->max_exits * sizeof(*bt->exit), MADV_DONTNEED);
	madvise(bt->site, bt->max_sites * sizeof(*bt->site), MADV_DONTNEED);
	madvise(bt->irec, bt->max_irecs * sizeof(*bt->irec), MADV_DONTNEED);
	madvise(bt->page, BT_MAX_PAGES * sizeof(*bt->page), MADV_DONTNEED);
	bt->huge_end = 0;
}

bool bt_room(const struct bt_domain *bt)
{
	return bt->used + ROOM_CODE <= bt->cold_first && bt->cold_used + ROOM_CODE <= bt->size && bt->nr_blocks + 2 <= bt->max_blocks &&
	       bt->nr_exits + ROOM_RECORDS <= bt->max_exits && bt->nr_sites + ROOM_RECORDS <= bt->max_sites &&
	       bt->nr_irecs + ROOM_RECORDS <= bt->max_irecs && bt->nr_pages + 4 <= BT_MAX_PAGES;
}

struct bt_page *bt_page_find(struct bt_domain *bt, uint64_t va, uint64_t frame, int bank, bool rel)
{
	struct bt_page *pg;

	va &= ~(PAGE_SIZE_HV - 1);
	for (pg = bt->page_hash[hash_mix(va >> PAGE_SHIFT_HV, frame)]; pg; pg = pg->next_hash)
		if (pg->va == va && pg->frame == frame && pg->bank == bank && pg->rel == rel)
			return pg;
	return NULL;
}

uint64_t bt_page_sum(const uint8_t *page)
{
	const uint64_t *w = (const uint64_t *)(const void *)page;
	uint64_t h = 0;

	for (unsigned i = 0; i < PAGE_SIZE_HV / 8; i++)
		h = ((h << 29 | h >> 35) ^ w[i]) * 0x9e3779b97f4a7c15ULL;
	return h;
}

static struct bt_page *page_pick(const struct bt_vcpu *bv, uint64_t va, uint64_t frame, uint64_t want)
{
	enum bt_bank bank = bt_bank_of(&bv->v);
	struct bt_page *pg, *free = NULL;
	unsigned seen = 0;

	if (!bt_is_rel(bank, va))
		return bt_page_find(bv->bt, va, frame, bank, false);
	if (want != BT_ANYWHERE)
		return bt_page_find(bv->bt, want, frame, bank, true);
	va &= ~(PAGE_SIZE_HV - 1);
	for (pg = bv->bt->frame_pages[frame]; pg; pg = pg->next_frame) {
		if (!pg->rel)
			continue;
		if (bv->cdelta[pg->id] == va - pg->va)
			return pg;
		if (bv->cdelta[pg->id] == BT_NOWHERE)
			free = pg;
		if (++seen == BT_TWINS)
			return free ? free : pg;
	}
	return free;
}

/* The page, made if need be; there is room. */
struct bt_page *bt_page_get(struct bt_domain *bt, uint64_t va, uint64_t frame, int bank, bool rel)
{
	struct bt_page *pg = bt_page_find(bt, va, frame, bank, rel), **slot;

	if (pg)
		return pg;
	va &= ~(PAGE_SIZE_HV - 1);
	pg = &bt->page[bt->nr_pages];
	slot = &bt->page_hash[hash_mix(va >> PAGE_SHIFT_HV, frame)];
	*pg = (struct bt_page){ .va = va, .frame = frame, .bank = (uint8_t)bank, .rel = rel, .id = bt->nr_pages++,
				.next_hash = *slot, .next_frame = bt->frame_pages[frame] };
	*slot = bt->frame_pages[frame] = pg;
	return pg;
}

static struct bt_block **block_slot(struct bt_domain *bt, const struct bt_page *pg, uint64_t va)
{
	return &bt->block_hash[hash_mix(va, pg->id)];
}

struct bt_block *bt_block_find(struct bt_domain *bt, const struct bt_page *pg, uint64_t va)
{
	struct bt_block *b;

	for (b = *block_slot(bt, pg, va); b; b = b->next_hash)
		if (b->va == va && b->page == pg)
			return b;
	return NULL;
}

void bt_block_publish(struct bt_domain *bt, struct bt_block *b)
{
	struct bt_block **slot = block_slot(bt, b->page, b->va);

	b->next_hash = *slot;
	*slot = b;
	b->next_page = b->page->blocks;
	b->page->blocks = b;
	if (b->page2) {
		b->next_page2 = b->page2->blocks2;
		b->page2->blocks2 = b;
	}
}

/* Patched code is read by other vCPUs: one aligned store. */
static void rel32_store(struct bt_domain *bt, uint32_t at, uint32_t to)
{
	__atomic_store_n((uint32_t *)(void *)(bt->rw + at), to - (at + 4), __ATOMIC_RELEASE);
}

void bt_link(struct bt_domain *bt, struct bt_exit *x, struct bt_block *to)
{
	bool known = x->from->page == to->page || x->from->page2 == to->page;

	if (x->to || x->from->dead || to->dead)
		return;
	x->to = to;
	x->next_in = to->in;
	to->in = x;
	rel32_store(bt, x->patch, known ? to->entry : to->xentry);
}

static void list_remove(struct bt_block **head, struct bt_block *b, size_t next)
{
	struct bt_block **p = head;

	while (*p && *p != b)
		p = (struct bt_block **)(void *)((uint8_t *)*p + next);
	if (*p)
		*p = *(struct bt_block **)(void *)((uint8_t *)b + next);
}

/* Overwrite an 8-aligned instruction of five bytes or more with a jump. */
static void jump_store(struct bt_domain *bt, uint32_t at, uint32_t to)
{
	uint64_t *p = (uint64_t *)(void *)(bt->rw + at);
	uint64_t jump = (*p & ~0xffffffffffULL) | 0xe9 | (uint64_t)(uint32_t)(to - (at + 5)) << 8;

	__atomic_store_n(p, jump, __ATOMIC_RELEASE);
}

/* Out of every table; whoever runs in it goes on to its end, whoever jumps to it leaves through b->self. */
void bt_block_kill(struct bt_domain *bt, struct bt_block *b)
{
	if (b->dead)
		return;
	b->dead = true;
	list_remove(block_slot(bt, b->page, b->va), b, offsetof(struct bt_block, next_hash));
	list_remove(&b->page->blocks, b, offsetof(struct bt_block, next_page));
	if (b->page2)
		list_remove(&b->page2->blocks2, b, offsetof(struct bt_block, next_page2));
	for (struct bt_exit *x = b->in, *next; x; x = next) {
		next = x->next_in;
		rel32_store(bt, x->patch, x->stub);
		x->to = NULL;
		x->next_in = NULL;
	}
	b->in = NULL;
	jump_store(bt, b->ientry, bt->stub_ijmp);
	jump_store(bt, b->entry, b->self->stub);
}

/* Drop the blocks that depend on bytes [lo, hi) of a frame.  true: one of them loops inside itself. */
static bool frame_invalidate(struct bt_domain *bt, uint64_t frame, unsigned lo, unsigned hi)
{
	bool left = false, loops = false;

	for (struct bt_page *pg = bt->frame_pages[frame]; pg; pg = pg->next_frame) {
		struct bt_block *b, *next;

		for (b = pg->blocks; b; b = next) {
			next = b->next_page;
			if (b->dep_lo < hi && lo < b->dep_hi) {
				loops |= b->loops;
				bt_block_kill(bt, b);
			}
		}
		for (b = pg->blocks2; b; b = next) {
			next = b->next_page2;
			if (lo < 15)
				bt_block_kill(bt, b);
		}
		left |= pg->blocks || pg->blocks2;
	}
	if (!left) {
		atomic_fetch_and(&bt->frames.flags[frame], (uint8_t)~BT_FRAME_CODE);
		atomic_fetch_add(bt_code_gone(bt, frame), 1);
	}
	return loops;
}

/*
 * The first time that blocks made ahead are wanted: is what they were made from what the guest brought?  If it is not, they go, and they
 * alone: nobody has run them, the frame's other pages hold what vCPUs translated from it as it is, and it stays claimed for code, by
 * who is about to translate it again perhaps (bt_make).
 */
void bt_page_prove(struct bt_domain *bt, struct bt_page *pg)
{
	if (!pg->ahead)
		return;
	pg->ahead = false;
	if (bt_page_sum(bt->d->ram + (pg->frame << PAGE_SHIFT_HV)) == pg->sum)
		return;
	while (pg->blocks)
		bt_block_kill(bt, pg->blocks);
}

struct bt_page *bt_page_pick(const struct bt_vcpu *bv, uint64_t va, uint64_t frame, uint64_t want)
{
	struct bt_page *pg = page_pick(bv, va, frame, want);

	if (pg)
		bt_page_prove(bv->bt, pg);
	return pg;
}

void bt_frame_written(struct domain *d, uint64_t mfn, unsigned off, unsigned len)
{
	uint64_t frame = domain_frame_index(d, mfn);
	struct bt_domain *bt = d->bt;
	bool loops;

	if (frame == UINT64_MAX)
		return;
	domain_mark_dirty(d, mfn);
	/* the store before the look: whoever claims the frame for code looks the other way round */
	atomic_thread_fence(memory_order_seq_cst);
	if (!bt || !(atomic_load(&bt->frames.flags[frame]) & BT_FRAME_CODE))
		return;
	pthread_mutex_lock(&bt->lock);
	loops = frame_invalidate(bt, frame, off, off + len);
	pthread_mutex_unlock(&bt->lock);
	/* whoever is inside such a block may stay there */
	for (unsigned i = 0; loops && i < d->nr_vcpus; i++)
		if (d->vcpu[i] && bt_of(d->vcpu[i]) && atomic_load(&bt_of(d->vcpu[i])->in_code))
			bt_attention(bt_of(d->vcpu[i]));
}

bool bt_frame_has_code(const struct domain *d, uint64_t mfn)
{
	uint64_t frame = domain_frame_index(d, mfn);

	return frame != UINT64_MAX && (atomic_load(&d->bt->frames.flags[frame]) & BT_FRAME_CODE);
}

/* The block whose code holds an offset of the cache; lock-free: blocks only grow, in order. */
struct bt_block *bt_block_at_host(struct bt_domain *bt, uint32_t off)
{
	uint32_t lo = 0, hi = __atomic_load_n(&bt->nr_blocks, __ATOMIC_ACQUIRE);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (bt->block[mid].start <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || off >= bt->block[lo - 1].end)
		return NULL;
	return &bt->block[lo - 1];
}
