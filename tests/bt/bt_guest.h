/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_guest.h - a domain with one vCPU and hand-made page tables that map what bt_native.h maps, for running code in
 * the real engine without a kernel.
 */
#ifndef TESTS_BT_GUEST_H
#define TESTS_BT_GUEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/engine/bt/bt_int.h"
#include "hypervisor/engine/bt/mmu.h"
#include "tests/bt/bt_native.h"

#define BTG_PAGES 1024UL
#define BTG_MEM 256UL                     /* first frame of the test's memory */

/* thunks: the vCPU's, where LeakSanitizer sees them; it does not look into the memory of vCPUs. */
struct btg { struct domain d; struct vcpu *v; uint64_t next; void *thunks; };

static inline uint64_t *btg_slot(struct btg *g, uint64_t va)
{
	uint64_t mfn = 1;

	for (int l = 4; l > 1; l--) {
		uint64_t *e = &((uint64_t *)domain_frame(&g->d, mfn))[va >> (12 + 9 * (l - 1)) & 511];

		if (!(*e & PTE_P))
			*e = g->next++ << 12 | PTE_P | PTE_RW | PTE_US | PTE_A;
		mfn = (*e & PTE_ADDR) >> 12;
	}
	return &((uint64_t *)domain_frame(&g->d, mfn))[va >> 12 & 511];
}

static inline void btg_map(struct btg *g, uint64_t va, unsigned pages, unsigned first)
{
	for (unsigned i = 0; i < pages; i++)
		*btg_slot(g, va + i * 4096UL) = (BTG_MEM + first + i) << 12 | PTE_P | PTE_RW | PTE_US;
}

/* All of the test's memory, `base` above where bt_native.h has it. */
static inline void btg_map_memory(struct btg *g, uint64_t base)
{
	btg_map(g, base + BTN_CODE_VA, BTN_CODE_PAGES, 0);
	btg_map(g, base + BTN_DATA_VA, BTN_DATA_PAGES, BTN_CODE_PAGES);
	btg_map(g, base + BTN_STACK_VA, BTN_STACK_PAGES, BTN_CODE_PAGES + BTN_DATA_PAGES);
	*btg_slot(g, base + BTN_DATA_VA + BTN_HOLE * 4096UL) = 0;
	*btg_slot(g, base + BTN_DATA_VA + BTN_RO * 4096UL) &= ~PTE_RW;
}

static inline struct btg *btg_new(size_t cache)
{
	struct btg *g = calloc(1, sizeof(*g));
	struct domain *d = &g->d;

	d->max_pages = BTG_PAGES;
	d->nr_special = SPECIAL_M2P + 8;
	d->ram_fd = memfd_create("bt-guest", 0);
	if (ftruncate(d->ram_fd, (off_t)(domain_nr_frames(d) * 4096)))
		abort();
	d->ram = mmap(NULL, domain_nr_frames(d) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, d->ram_fd, 0);
	d->populated = malloc(BTG_PAGES / 8);
	memset(d->populated, 0xff, BTG_PAGES / 8);
	d->dirty = calloc(domain_nr_frames(d) / 64 + 1, 8);
	d->pt_type = calloc(1, BTG_PAGES);
	d->nr_vcpus = 1;
	pthread_mutex_init(&d->lock, NULL);
	g->v = engine_bt.vcpu_alloc();
	g->v->d = d;
	d->vcpu[0] = g->v;
	g->v->regs.rflags = 2;
	g->v->cr3_kernel = g->v->cr3_user = 1;
	g->v->xcr0 = 7;
	g->next = 2;
	btg_map_memory(g, 0);
	if (engine_bt.domain_init(d, cache) || engine_bt.vcpu_init(g->v) || engine_bt.vcpu_enter_thread(g->v))
		abort();
	g->thunks = g->v->emu_private;
	return g;
}

static inline uint8_t *btg_mem(struct btg *g) { return g->d.ram + BTG_MEM * 4096; }

static inline void btg_written(struct btg *g, unsigned first, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		engine_bt.frame_written(&g->d, BTG_MEM + first + i);
}

static inline void btg_load(struct btg *g, const struct btn_state *s)
{
	memcpy(g->v->regs.gpr, s->gpr, sizeof(s->gpr));
	g->v->regs.rip = s->rip;
	g->v->regs.rflags = s->rflags;
	memcpy(g->v->xsave, s->xsave, BTN_XSAVE);
}

/* Runs until the guest executes syscall or faults. */
static inline enum engine_exit btg_run(struct btg *g)
{
	enum engine_exit e;

	do {
		e = engine_bt.run(g->v);
	} while (e == EXIT_KICK);
	return e;
}

#endif
