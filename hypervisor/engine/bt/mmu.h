/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmu.h - guest virtual memory of the binary translator: the page walk and spans of guest memory.  What the translator
 * calls (mmu_fill, mmu_translate, mmu_probe, the copies) is declared in bt.h.
 *
 * The guest's page tables are read live, through domain_frame() alone; every entry is hostile.  The rules are those a
 * PV guest sees on Xen: whether the guest is in its kernel or in user mode is decided by the CR3 in force and never by
 * U/S bits (Xen sets U in every entry, xen/arch/x86/pv/mm.h adjust_guest_l?e), CR0.WP and EFER.NXE are always on.
 */
#ifndef BT_MMU_H
#define BT_MMU_H

#include "hypervisor/engine/bt/bt.h"

/* Page-table entry bits, SDM vol. 3 table 4-20. */
#define PTE_P    0x001UL
#define PTE_RW   0x002UL
#define PTE_US   0x004UL
#define PTE_A    0x020UL
#define PTE_D    0x040UL
#define PTE_PSE  0x080UL
#define PTE_NX   (1UL << 63)
#define PTE_ADDR 0x000ffffffffff000UL

/* #PF error code bits, SDM vol. 3 section 4.7. */
#define PFEC_P    0x01
#define PFEC_W    0x02
#define PFEC_U    0x04
#define PFEC_RSVD 0x08
#define PFEC_I    0x10

#define M2P_VIRT_START 0xffff800000000000UL
#define L4_XEN_FIRST 256                  /* L4 slots of the hypervisor: never walked */
#define L4_XEN_LAST 271

enum { VEC_DE = 0, VEC_DB = 1, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6, VEC_NM = 7, VEC_DF = 8, VEC_TS = 10,
       VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14, VEC_MF = 16, VEC_AC = 17, VEC_XM = 19 };

/*
 * The guest kernel may store to a page it maps read-only when the frame is in use as a page table: the store is done
 * for it (Xen's ptwr emulation, xen/arch/x86/pv/ro-page-fault.c).
 */
#define MMU_PTWR 1u

struct mmu_xlat {
	uint64_t mfn;           /* the frame the address lies in */
	uint8_t *page;          /* host address of that frame's first byte */
	bool writable;          /* the tables allow writing and the frame may be written */
	bool dirty;             /* the leaf's D bit is set */
	bool exec;              /* no NX on the way */
	bool ptwr;              /* write allowed by MMU_PTWR alone */
};

static inline bool mmu_canonical(uint64_t va) { return (uint64_t)((int64_t)(va << 16) >> 16) == va; }

/* Fills v->exc; returns -1 so that callers can return it. */
int mmu_raise(struct vcpu *v, unsigned vector, uint32_t error_code);
int mmu_raise_pf(struct vcpu *v, uint64_t va, uint32_t error_code);

/*
 * Translate va under the CR3 in force, setting A (and D for MMU_WRITE) as hardware does.  0 with *x set, or -1 with
 * v->exc a #PF (non-canonical: #GP(0)).  Bounded, whatever the tables hold.
 */
int mmu_walk(struct vcpu *v, uint64_t va, enum mmu_access access, unsigned flags, struct mmu_xlat *x);

/* The guest may write to the frame at all: RAM, shared info and grant frames, but no M2P and no hypervisor tables. */
bool mmu_frame_writable(const struct domain *d, uint64_t mfn);

/*
 * A piece of guest memory the emulator works on: n (1 .. 4096) bytes at va, in one frame or across two.  Mapping it
 * checks both pages before anything is touched, so that an instruction faults before it has changed anything.
 */
struct mmu_span {
	uint64_t va;
	size_t n, first;        /* bytes in all, bytes in the first frame */
	struct mmu_xlat x[2];
	bool write;
};

int mmu_span_map(struct vcpu *v, uint64_t va, size_t n, enum mmu_access access, unsigned flags, struct mmu_span *s);
void mmu_span_read(const struct mmu_span *s, void *dst);
void mmu_span_write(struct domain *d, const struct mmu_span *s, const void *src);
/* Host address of the whole span when it lies in one frame, else NULL.  Stores through it: mmu_span_stored after. */
void *mmu_span_direct(const struct mmu_span *s);
void mmu_span_stored(struct domain *d, const struct mmu_span *s);

#endif
