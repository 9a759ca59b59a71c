/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate.h - inside of the single-step emulator.  The contract towards the translator, emu_step(), is in bt.h.
 *
 * Guest state is struct vcpu alone: general registers and flags in regs, vector state in v->xsave (standard format,
 * complete).  An instruction is decoded into struct emu, a handler is found by mnemonic, and the handler either does
 * all of it or, on -1 with v->exc filled, nothing that the architecture would not have done before the fault.
 *
 * One idea a file: emulate.c (fetch, decode, dispatch), emulate_operand.c, emulate_flow.c (jumps, calls, stack),
 * emulate_string.c, emulate_bits.c (bit strings, xlat, cmpxchg of two words), emulate_fpstate.c (fxsave, xsave),
 * emulate_vector.c (masked moves, gathers), emulate_debug.c (breakpoints), emulate_legacy.c (32-bit code only), emulate_native.c (everything else, run by the host CPU), privop*.c.
 */
#ifndef BT_EMULATE_H
#define BT_EMULATE_H

#include <Zydis/Zydis.h>

#include "hypervisor/engine/bt/mmu.h"

/* RFLAGS, SDM vol. 1 section 3.4.3. */
#define FL_CF 0x0001UL
#define FL_FIXED 0x0002UL
#define FL_PF 0x0004UL
#define FL_AF 0x0010UL
#define FL_ZF 0x0040UL
#define FL_SF 0x0080UL
#define FL_TF 0x0100UL
#define FL_IF 0x0200UL
#define FL_DF 0x0400UL
#define FL_OF 0x0800UL
#define FL_IOPL 0x3000UL
#define FL_NT 0x4000UL
#define FL_RF 0x10000UL
#define FL_VM 0x20000UL
#define FL_AC 0x40000UL
#define FL_ID 0x200000UL
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

struct emu {
	struct vcpu *v;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t bytes[16];
	uint64_t next;            /* rip after the instruction; handlers that jump or repeat store here */
	bool code32;
	uint8_t debug_hits;       /* data breakpoints touched, DR6 bits */
};

/* What a handler returns: 0 done, -1 exception in v->exc, or EMU_EXIT(enum engine_exit) after regs.rip = next. */
#define EMU_EXIT(how) (0x100 + (how))

typedef int (*emu_fn)(struct emu *e);

/* Operands (emulate_operand.c).  Sizes in bytes, 1..8; values zero-extended. */
uint64_t emu_reg_read(const struct emu *e, ZydisRegister reg);
void emu_reg_write(struct emu *e, ZydisRegister reg, uint64_t value);
uint64_t emu_linear(const struct emu *e, ZydisRegister seg, uint64_t offset);    /* segment base, width of the mode */
uint64_t emu_offset(const struct emu *e, const ZydisDecodedOperand *op);         /* without segment base (lea) */
uint64_t emu_base(const struct emu *e, const ZydisDecodedOperand *op);           /* the same without the index; not truncated */
uint64_t emu_address(const struct emu *e, const ZydisDecodedOperand *op);        /* linear address of a memory operand */
/* Map n bytes; a non-canonical stack reference becomes #SS.  `write` allows page-table stores. */
int emu_map(struct emu *e, ZydisRegister seg, uint64_t va, size_t n, enum mmu_access access, struct mmu_span *s);
int emu_read(struct emu *e, ZydisRegister seg, uint64_t va, size_t n, void *dst);
int emu_write(struct emu *e, ZydisRegister seg, uint64_t va, size_t n, const void *src);
int emu_operand_read(struct emu *e, unsigned i, uint64_t *value);                /* register, memory or immediate */
int emu_operand_write(struct emu *e, unsigned i, uint64_t value);
int emu_push(struct emu *e, uint64_t value, unsigned bytes);
int emu_pop(struct emu *e, unsigned bytes, uint64_t *value);                     /* moves rsp */
uint64_t emu_sp_add(const struct emu *e, int64_t by);                            /* rsp + by in the stack's width */
void emu_sp_set(struct emu *e, uint64_t sp);

/* Faults. */
static inline int emu_gp(struct emu *e) { return mmu_raise(e->v, VEC_GP, 0); }
static inline int emu_ud(struct emu *e) { return mmu_raise(e->v, VEC_UD, 0); }

/* Breakpoints (emulate_debug.c): bits of DR6 that an instruction at rip, or an access, sets. */
#define DR7_ENABLES 0xffUL
unsigned emu_debug_exec(const struct vcpu *v, uint64_t rip);
unsigned emu_debug_access(const struct vcpu *v, uint64_t va, size_t n, bool write);

/* Handler tables: NULL when the mnemonic is not theirs. */
emu_fn emu_flow_handler(const struct emu *e);
emu_fn emu_string_handler(const struct emu *e);
emu_fn emu_bits_handler(const struct emu *e);
emu_fn emu_fpstate_handler(const struct emu *e);
emu_fn emu_vector_handler(const struct emu *e);
emu_fn emu_priv_handler(const struct emu *e);
emu_fn emu_msr_handler(const struct emu *e);
emu_fn emu_desc_handler(const struct emu *e);
emu_fn emu_legacy_handler(const struct emu *e);

/* Whatever is left: run by the host CPU on a copy of the guest's state, if the whitelist has it, else #UD. */
int emu_native(struct emu *e);
int emu_native_at(struct emu *e, uint64_t va);    /* with its memory operand at va */
/*
 * What emu_native() has the CPU run for it, at most 32 bytes: their number, 0 when it is refused.  *ret_size: of its memory operand, which is
 * then the one that register *ret_reg points to; 0: it has none.
 */
size_t emu_native_encode(const struct emu *e, uint8_t *to, unsigned *ret_reg, size_t *ret_size, bool *ret_write);

/* emulate.c: bytes[0..n) into in and op; who does it. */
bool emu_decode(struct emu *e, size_t n, ZyanStatus *st);
emu_fn emu_handler(const struct emu *e);

#endif
