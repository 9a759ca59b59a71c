/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * huge.h - mappings that the host can back with its large pages.  A header, so that the engine, which links nothing, has it.
 *
 * Large pages are a wish everywhere: an older kernel or a full host goes on with small ones.
 */
#ifndef LIB_HUGE_H
#define LIB_HUGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define HUGE_PAGE (2UL << 20)
#ifndef MADV_COLLAPSE                        /* linux/mman.h, since 6.1 */
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE                  /* linux/mman.h, since 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

/* mmap() at an address where large pages fit; NULL: errno says why.  munmap(p, n) as ever. */
static inline void *huge_map(size_t n, int prot, int flags, int fd)
{
	uint8_t *area = mmap(NULL, n + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *p, *end;
	void *r;

	if (area == MAP_FAILED)
		return NULL;
	p = (uint8_t *)(((uintptr_t)area + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	end = p + ((n + 4095) & ~4095UL);
	if (p > area)
		munmap(area, (size_t)(p - area));
	munmap(end, (size_t)(area + n + HUGE_PAGE - end));
	r = mmap(p, n, prot, flags | MAP_FIXED, fd, 0);
	if (r != MAP_FAILED)
		return r;
	munmap(p, (size_t)(end - p));
	return NULL;
}

/* Private zeroed memory in large pages: one fault for 2 MiB.  As huge_map(). */
static inline void *huge_alloc(size_t n)
{
	void *p = huge_map(n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	if (p)
		madvise(p, n, MADV_HUGEPAGE);
	return p;
}

/* Moves one large page's worth of a mapping, holes included, to a large page.  0, or -1 with errno. */
static inline int huge_collapse(void *p) { return madvise(p, HUGE_PAGE, MADV_COLLAPSE); }

#endif
