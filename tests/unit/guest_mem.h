/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_mem.h - a small domain with one vCPU and page tables, for tests below the ABI.
 *
 * Frames: 0 unused, 1 L4, 2 L3, 3 L2, 4.. L1 and data.  gm_map() builds what is missing on the way down.
 */
#ifndef TESTS_GUEST_MEM_H
#define TESTS_GUEST_MEM_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hypervisor/engine/bt/bt_tlb.h"
#include "hypervisor/engine/bt/mmu.h"

#define GM_PAGES 512UL
#define GM_SPECIAL (SPECIAL_M2P + 1UL)
#define GM_L4 1UL

struct gm {
	struct domain d;
	struct vcpu *v;
	uint64_t next_free;
	struct bt_domain_frames frames;
	struct bt_vcpu_tlb tlb;
};

static inline uint64_t *gm_table(struct gm *g, uint64_t mfn) { return domain_frame(&g->d, mfn); }

static inline uint64_t gm_alloc(struct gm *g) { return g->next_free++; }

static inline struct gm *gm_new(void)
{
	struct gm *g = calloc(1, sizeof(*g));
	void *ram = mmap(NULL, (GM_PAGES + GM_SPECIAL) * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!g || ram == MAP_FAILED)
		abort();
	g->d.ram = ram;
	g->d.max_pages = GM_PAGES;
	g->d.nr_special = GM_SPECIAL;
	g->d.ram_fd = -1;
	g->d.nr_vcpus = 1;
	g->d.pt_type = calloc(1, GM_PAGES);
	g->d.dirty = calloc((GM_PAGES + GM_SPECIAL) / 64 + 1, 8);
	g->d.populated = malloc(GM_PAGES / 8);
	memset(g->d.populated, 0xff, GM_PAGES / 8);
	g->v = aligned_alloc(64, (sizeof(*g->v) + 63) & ~63UL);
	memset(g->v, 0, sizeof(*g->v));
	g->v->d = &g->d;
	g->d.vcpu[0] = g->v;
	g->v->regs.kernel_mode = 1;
	g->v->regs.rflags = 2;
	g->v->cr3_kernel = g->v->cr3_user = GM_L4;
	g->v->xcr0 = 7;
	g->frames.flags = calloc(1, GM_PAGES + GM_SPECIAL);
	g->d.bt = (struct bt_domain *)(void *)&g->frames;
	g->v->engine_private = &g->tlb;
	for (int b = 0; b < BT_NR_BANKS; b++)
		bt_tlb_init(&g->tlb.bank[b], (enum bt_bank)b, false);
	g->next_free = GM_L4 + 1;
	return g;
}

static inline void gm_free(struct gm *g)
{
	munmap(g->d.ram, (GM_PAGES + GM_SPECIAL) * 4096);
	free((void *)(uintptr_t)g->frames.flags);
	free(g->d.pt_type);
	free((void *)(uintptr_t)g->d.dirty);
	free(g->d.populated);
	free(g->v);
	free(g);
}

/* The slot of va at a level, tables above it made where missing (P|RW|US|A|D). */
static inline uint64_t *gm_slot(struct gm *g, uint64_t va, int level)
{
	uint64_t mfn = GM_L4;

	for (int l = 4; l > level; l--) {
		uint64_t *e = &gm_table(g, mfn)[va >> (12 + 9 * (l - 1)) & 511];

		if (!(*e & PTE_P))
			*e = gm_alloc(g) << 12 | PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D;
		mfn = (*e & PTE_ADDR) >> 12;
	}
	return &gm_table(g, mfn)[va >> (12 + 9 * (level - 1)) & 511];
}

static inline void gm_map(struct gm *g, uint64_t va, uint64_t mfn, uint64_t bits)
{
	*gm_slot(g, va, 1) = mfn << 12 | bits;
}

#endif
