/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat.h - what the files of the translation of one block share, and nobody else sees.  R() is a mask of one register;
 * FL_HOST and FL_SLOT say where the status flags are; struct xl is the translation under way.
 */
#ifndef HV_BT_XLAT_H
#define HV_BT_XLAT_H

#include "hypervisor/engine/bt/bt_int.h"
#include "hypervisor/engine/bt/bt_emit.h"

#define MAX_LOOP BT_MAX_INSNS                         /* instructions of a loop that is translated twice */
#define MAX_COLD (2 * (BT_MAX_INSNS + 2 * MAX_LOOP))
#define MAX_SIDE 4
#define MAX_HOIST 6
#define R(n) (1U << (n))

enum { FL_HOST, FL_SLOT };
enum { CC_E = 4, CC_NE = 5, CC_A = 7 };

struct cold { uint32_t jcc; uint32_t site; uint64_t va; uint8_t a; bool const_va; };
struct regstate { unsigned spilled, clean; };
struct side { uint32_t jcc; uint64_t target; struct regstate at; struct bt_exit *exit; };

/*
 * A group: several accesses of the block at constant offsets from one register are checked together, as one range
 * [lo, hi) from its value then; d holds what host addresses there are more than the guest's.  delta is what the stack
 * pointer moved since.
 */
struct group { bool valid, write; uint8_t base, d; int32_t lo, hi, delta; };

/*
 * The fast form of a loop (bt_xlat_loop.c): the pages of some of its accesses are looked up once for many rounds.  A lin
 * is what a register holds, by what others held at the loop's head: b + x * s + c; BT_NO_REG for none.  at: of a constant
 * address its page, else 0.
 */
struct lin { uint8_t b, x, s; bool known; int32_t c; };
enum hoist_part { HP_NONE, HP_BASE, HP_INDEX, HP_ALL };   /* of the operand, what h stands for beside the addend */
struct hoist {
	uint8_t b, x, s, part, scale, inv, h;
	bool write;
	unsigned n;
	uint64_t at;
	int32_t lo, hi, step;
};
struct fast {
	bool on, now;                       /* the block has one; it is being emitted */
	struct hoist g[MAX_HOIST];
	unsigned nr, take, pinned;          /* registers of the groups; the same while it is being emitted */
	unsigned heads;                     /* what addresses come from at the loop's head */
	unsigned used, written;             /* what it uses beside; what it writes */
	uint8_t of[MAX_LOOP];               /* 1 + hoist of an instruction's access; 0: checked as elsewhere */
	uint8_t iv;                         /* the register that ends it; BT_NO_REG: none has to */
	int32_t iv_step;
};

struct xl {
	struct bt_domain *bt;
	struct bt_block *b;
	struct emit e, c;                   /* hot code, and cold: bt_domain.used, .cold_used */
	bool in_cold;                       /* e is the cold one for a while */
	struct bt_insn in[BT_MAX_INSNS];
	bool live[BT_MAX_INSNS + 1];        /* flags live before instruction i */
	unsigned n, i;
	unsigned spilled, clean;            /* guest value in the slot only; slot up to date */
	int fl;
	bool fl_slot_valid;
	int bank;
	const uint8_t *code;
	uint64_t page_va, delta;
	bool rel;
	struct vcpu *v;
	const uint8_t *other;               /* the other page that flags_wanted() looked at last */
	uint64_t other_va;
	struct cold cold[MAX_COLD]; unsigned nr_cold;
	struct side side[3 * MAX_SIDE + 1]; unsigned nr_side;
	struct bt_irec *irec;
	unsigned nr_irec;
	struct group grp;
	bool no_groups;
	uint8_t table;                      /* the register that holds the vCPU's address, for a loop's checks; BT_NO_REG */
	int loop_end;                       /* instruction that jumps back to the first; -1: none */
	struct { uint32_t jcc, head; struct regstate from, to; bool used; } back;
	struct fast fast;
};

struct access { int32_t disp; unsigned size; bool write; };

static inline unsigned xl_insn_regs(const struct bt_insn *in) { return in->rd | in->wr | in->ea_regs; }

/* bt_xlat.c */
bool xl_insn(struct xl *x);

/* bt_xlat_state.c */
void xl_spill(struct xl *x, unsigned r);
void xl_need(struct xl *x, unsigned mask);
void xl_wrote(struct xl *x, unsigned mask);
unsigned xl_scratch(struct xl *x, unsigned excl);
void xl_flags_save(struct xl *x);
void xl_border(struct xl *x);
void xl_emit_flags_store(struct emit *e);
void xl_emit_flags_load(struct emit *e);
void xl_flags_restore(struct xl *x);
void xl_flags_restore_busy(struct xl *x, unsigned busy);
void xl_flags_written(struct xl *x);
void xl_flags_guard(struct xl *x, bool needed_later);
void xl_record_start(struct xl *x);
void xl_record_op(struct xl *x);
struct bt_exit *xl_exit_new(struct xl *x, enum bt_exit_kind kind, uint64_t target, bool no_flags);
void xl_emit_exit_stub(struct xl *x, struct emit *e, struct bt_exit *ex);
void xl_emit_link(struct xl *x, uint64_t target, bool no_flags);

/* bt_xlat_check.c */
struct bt_site *xl_emit_check_locked(struct xl *x, unsigned a, unsigned i, unsigned size, bool write,
	bool locked);
struct bt_site *xl_emit_check(struct xl *x, unsigned a, unsigned i, unsigned size, bool write);
struct bt_site *xl_emit_check_addend(struct xl *x, unsigned a, unsigned i, unsigned size, bool write);
struct bt_site *xl_emit_check_const(struct xl *x, unsigned a, uint64_t va, unsigned size, bool write);
void xl_emit_retargeted(struct emit *e, const struct bt_insn *in, unsigned a, unsigned i, int32_t disp);
void xl_emit_operand(struct emit *e, const struct bt_insn *in, unsigned base, unsigned index, unsigned scale, int32_t disp);
void xl_emit_lea(struct xl *x, unsigned dst, const struct bt_insn *in);
void xl_emit_index(struct xl *x, unsigned a, unsigned i);
uint32_t xl_tlb_off(const struct xl *x, size_t member);
bool xl_const_address(const struct xl *x, const struct bt_insn *in, unsigned size);
void xl_emit_code_address(struct xl *x, unsigned reg, uint64_t va);
void xl_emit_address(struct xl *x, const struct bt_insn *in, unsigned a);

/* bt_xlat_group.c */
bool xl_base_access(const struct bt_insn *in, unsigned base, struct access *ac);
bool xl_group_use(struct xl *x, unsigned base, struct access ac, unsigned regs, bool guard);
void xl_group_after(struct xl *x);

/* bt_xlat_loop.c */
void xl_fast_plan(struct xl *x);
void xl_fast_emit(struct xl *x);
bool xl_fast_access(struct xl *x);
void xl_fast_wait(struct xl *x);
void xl_loop_table(struct xl *x);

/* bt_xlat_mem.c */
void xl_rsp_add(struct xl *x, int32_t n);
void xl_mem(struct xl *x);
void xl_bit(struct xl *x);
void xl_stack_access(struct xl *x, int32_t disp, bool write, unsigned a, unsigned i);
void xl_push_return(struct xl *x, unsigned excl);
void xl_push(struct xl *x);
void xl_pop(struct xl *x);

/* bt_xlat_flow.c */
bool xl_flags_wanted(struct xl *x, uint64_t target);
void xl_leave_direct(struct xl *x, uint64_t target);
void xl_leave_indirect(struct xl *x);
void xl_leave_to_c(struct xl *x, enum bt_exit_kind kind, uint64_t rip);
void xl_jcc(struct xl *x);
void xl_loop_first_end(struct xl *x);
void xl_state_fix(struct xl *x, struct regstate from, struct regstate to);
void xl_loop_second_end(struct xl *x);
void xl_loop(struct xl *x);
void xl_ret(struct xl *x);
void xl_indirect_target(struct xl *x);
void xl_read_seg(struct xl *x);

#endif
