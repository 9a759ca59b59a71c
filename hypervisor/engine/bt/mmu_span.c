/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmu_span.c - guest memory by virtual address, for hypercalls and the emulator.
 *
 * Every page is translated before its bytes move, and what was stored is marked: dirty log, and translations of the
 * frame.  Bytes move by `rep movsb`, not by libc: guest vector registers may be live in the host's.
 */
#include <errno.h>

#include "hypervisor/engine/bt/bt_tlb.h"
#include "hypervisor/engine/bt/mmu.h"

static void bytes_copy(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

/*
 * The host page of va through the soft TLB, or NULL: walk.  Only where other vCPUs wait for this one to answer their
 * shoot-downs (in_guest); a page that a write tag is given for is marked dirty and holds no code.
 */
static uint8_t *tlb_page(struct vcpu *v, uint64_t va, bool write)
{
	uint64_t ntag = -(va & ~(PAGE_SIZE_HV - 1));
	struct bt_tlb *t;
	unsigned i;

	if (!atomic_load_explicit(&v->in_guest, memory_order_relaxed) || !mmu_canonical(va))
		return NULL;
	t = bt_tlb_of(v, bt_bank_of(v));
	i = bt_tlb_index(t, va);
	if ((write ? t->ntag_w[i] : t->ntag_r[i]) != ntag &&
	    (mmu_fill(v, va, write ? MMU_WRITE : MMU_READ) || (write ? t->ntag_w[i] : t->ntag_r[i]) != ntag))
		return NULL;
	return (uint8_t *)(uintptr_t)t->page[i];
}

int mmu_copy_from(struct vcpu *v, void *dst, uint64_t va, size_t n, size_t *done)
{
	size_t at = 0;
	int rc = 0;

	while (at < n) {
		uint64_t off = (va + at) & (PAGE_SIZE_HV - 1);
		size_t piece = PAGE_SIZE_HV - off < n - at ? PAGE_SIZE_HV - off : n - at;
		uint8_t *page = tlb_page(v, va + at, false);
		struct mmu_xlat x;

		if (!page) {
			if (mmu_walk(v, va + at, MMU_READ, 0, &x)) {
				rc = -EFAULT;
				break;
			}
			page = x.page;
		}
		bytes_copy((uint8_t *)dst + at, page + off, piece);
		at += piece;
	}
	if (done)
		*done = at;
	return rc;
}

int mmu_copy_to(struct vcpu *v, uint64_t va, const void *src, size_t n, size_t *done)
{
	size_t at = 0;
	int rc = 0;

	while (at < n) {
		uint64_t off = (va + at) & (PAGE_SIZE_HV - 1);
		size_t piece = PAGE_SIZE_HV - off < n - at ? PAGE_SIZE_HV - off : n - at;
		uint8_t *page = tlb_page(v, va + at, true);
		struct mmu_xlat x;

		if (page) {
			bytes_copy(page + off, (const uint8_t *)src + at, piece);
		} else {
			if (mmu_walk(v, va + at, MMU_WRITE, 0, &x)) {
				rc = -EFAULT;
				break;
			}
			bytes_copy(x.page + off, (const uint8_t *)src + at, piece);
			bt_frame_written(v->d, x.mfn, (unsigned)off, (unsigned)piece);
		}
		at += piece;
	}
	if (done)
		*done = at;
	return rc;
}

int mmu_span_map(struct vcpu *v, uint64_t va, size_t n, enum mmu_access access, unsigned flags, struct mmu_span *s)
{
	uint64_t left = PAGE_SIZE_HV - (va & (PAGE_SIZE_HV - 1));

	s->va = va;
	s->n = n;
	s->first = n < left ? n : left;
	s->write = access == MMU_WRITE;
	if (mmu_walk(v, va, access, flags, &s->x[0]))
		return -1;
	if (s->first == n)
		return 0;
	/* 2^64 wraps to page 0, as the CPU's linear addresses do; the hole makes that non-canonical first in practice */
	return mmu_walk(v, va + s->first, access, flags, &s->x[1]);
}

void *mmu_span_direct(const struct mmu_span *s)
{
	return s->first == s->n ? s->x[0].page + (s->va & (PAGE_SIZE_HV - 1)) : NULL;
}

void mmu_span_read(const struct mmu_span *s, void *dst)
{
	bytes_copy(dst, s->x[0].page + (s->va & (PAGE_SIZE_HV - 1)), s->first);
	if (s->first < s->n)
		bytes_copy((uint8_t *)dst + s->first, s->x[1].page, s->n - s->first);
}

void mmu_span_write(struct domain *d, const struct mmu_span *s, const void *src)
{
	bytes_copy(s->x[0].page + (s->va & (PAGE_SIZE_HV - 1)), src, s->first);
	if (s->first < s->n)
		bytes_copy(s->x[1].page, (const uint8_t *)src + s->first, s->n - s->first);
	mmu_span_stored(d, s);
}

void mmu_span_stored(struct domain *d, const struct mmu_span *s)
{
	bt_frame_written(d, s->x[0].mfn, (unsigned)(s->va & (PAGE_SIZE_HV - 1)), (unsigned)s->first);
	if (s->first < s->n)
		bt_frame_written(d, s->x[1].mfn, 0, (unsigned)(s->n - s->first));
}
