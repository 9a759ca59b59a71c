/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt.h - the seam inside the bt engine, between the translator (bt_*.c) and the MMU and emulator (mmu.c, emulate*.c,
 * privop.c).
 *
 * Two rules of context:
 *   fast    mmu_fill() and whatever it calls run while the guest's vector registers are live in the host's: they are
 *           built -mgeneral-regs-only and call neither libc's memcpy/memset nor anything outside this folder.
 *   full    emu_step() runs after a full exit: v->regs is complete, the vector state is in v->xsave (standard XSAVE
 *           format, XSTATE_BV honoured) and is loaded again from there afterwards; anything may be called.
 */
#ifndef HV_BT_H
#define HV_BT_H

#include "hypervisor/engine/engine.h"

/* What an access wants of a mapping.  A read-modify-write is a write. */
enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXEC };

/*
 * Which half of the soft TLB serves an access: the mode that is baked into a translation.  Kernel = the guest kernel's
 * page tables in force (cr3_kernel), user = cr3_user.
 */
enum bt_bank { BT_KERNEL, BT_USER, BT_NR_BANKS };

static inline enum bt_bank bt_bank_of(const struct vcpu *v) { return v->regs.kernel_mode ? BT_KERNEL : BT_USER; }

/* ---- provided by mmu.c ---- */

/*
 * Soft-TLB miss of v at va in the mode in force (v->regs.kernel_mode).  Walks the guest's tables, sets A and D
 * (atomically, marked dirty), and calls bt_tlb_fill().
 *   0    the access is permitted; the read tag is filled.  For MMU_WRITE the write tag is too, unless the write must
 *        take the slow path: the frame is a page table the guest maps read-only (fill with writable = false), or
 *        bt_tlb_fill() withheld it because the frame holds translations.  The caller then stores through the read
 *        tag's page and calls bt_frame_written().
 *   -1   not permitted; v->exc describes the #PF (or #GP/#SS for a non-canonical va; the caller corrects #GP to #SS for
 *        stack accesses).
 * Context: fast.
 */
int mmu_fill(struct vcpu *v, uint64_t va, int access);

/*
 * The frame behind va for an access, as mmu_fill() decides it, without filling the TLB.  Sets A (and D for writes).
 * 0 and *ret_mfn, or -1 with v->exc filled.  Context: fast.
 */
int mmu_translate(struct vcpu *v, uint64_t va, int access, uint64_t *ret_mfn);

/*
 * Same question without side effects: no A/D, v->exc untouched.  0 and *ret_mfn (and *ret_writable when not NULL), or
 * -1.  kernel chooses the tables.  Context: fast.
 */
int mmu_probe(struct vcpu *v, uint64_t va, bool kernel, int access, uint64_t *ret_mfn, bool *ret_writable);

/* Behind engine_ops.copy_from/copy_to (contract there).  copy_to calls bt_frame_written().  Context: full. */
int mmu_copy_from(struct vcpu *v, void *dst, uint64_t va, size_t n, size_t *done);
int mmu_copy_to(struct vcpu *v, uint64_t va, const void *src, size_t n, size_t *done);

/* ---- provided by emulate.c ---- */

/*
 * Execute exactly the one instruction at v->regs.rip (one iteration or more of a rep string instruction; rip stays on
 * it while it is unfinished).  Context: full.  Complete enough for: everything the translator does not do inline (see
 * xlat_classify in bt_decode.c): string instructions, stack instructions whose operand crosses pages, privileged and
 * system instructions, xsave family, bt mem,reg, far transfers, enter, xlat, maskmov, gathers, 32-bit code.
 * Everything it cannot do raises #UD for the guest.
 *   EMU_DONE            done: regs.rip is where the guest goes on
 *   an engine_exit      run() returns it; EXIT_EXCEPTION with v->exc filled, rip as engine.h says
 */
#define EMU_DONE (-1)
int emu_step(struct vcpu *v);

/*
 * Executable memory for emu_step(), mapped at set-up so that no later mmap is needed.  0 or -errno; destroy is
 * idempotent.  Also puts v->xsave to its initial state when it is all zero.
 */
int emu_vcpu_init(struct vcpu *v);
void emu_vcpu_destroy(struct vcpu *v);

/*
 * First thing in the handler of SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP (SA_SIGINFO | SA_ONSTACK): true when the
 * fault is that of an instruction emu_step() runs natively and the context has been set to go on; just return then.
 */
bool emu_signal(int sig, void *ucontext);

/* ---- provided by the translator ---- */

/*
 * Bytes [off, off+len) of a frame were written by something other than translated code with a write tag: drops
 * translations of them and marks the frame dirty.  After the write.  A block being executed by the caller is left at
 * the next instruction.  Any thread, context fast.
 */
void bt_frame_written(struct domain *d, uint64_t mfn, unsigned off, unsigned len);

/* The frame holds translations: no write tag may be given.  Context fast. */
bool bt_frame_has_code(const struct domain *d, uint64_t mfn);

/*
 * Around a locked access that crosses a cache line, which the host does not do (bt_slow.c, "split locks").  From begin on until end no
 * other vCPU executes an instruction; the translation of the address belongs in between.  On v's own thread, context full.
 */
void bt_split_begin(struct vcpu *v);
void bt_split_end(struct vcpu *v);
static inline bool bt_is_split(uint64_t va, size_t n) { return (va & 63) + n > 64; }

/* engine_ops.tlb_*: also for emulated invlpg, mov to cr3/cr4. On v's own thread. */
void bt_flush_local(struct vcpu *v);
void bt_invlpg_local(struct vcpu *v, uint64_t va);

#endif
