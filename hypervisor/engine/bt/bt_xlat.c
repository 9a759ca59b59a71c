/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_xlat.c - translation of one block: a run of guest instructions of one page, with conditional side exits, up to a
 * jump or an instruction that has to leave.
 *
 * A memory access becomes (A and I scratch; flags not needed, or saved before):
 *
 *	lea   ea, A                      [add %gs:segment base, A]
 *   retry:
 *	pext  %gs:mask, A, I             (or mov, shr, and)
 *	add   %gs:ntag{r,w}(,I,8), A
 *	cmp   $4096-size, A ; ja cold    miss, or crossing the page's end
 *	mov   %gs:page(,I,8), I
 *	op    (A,I)
 *
 * Scratch registers are guest registers spilled to their slots: one already spilled, else one whose slot is up to date,
 * else the instruction's own dead destination, else the one used farthest ahead.  Reloads are lazy.
 */
#include "hypervisor/engine/bt/bt_xlat.h"

static void xl_lea_rip(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];
	unsigned reg = (unsigned)__builtin_ctz(in->wr);

	if (in->opsize == 8 || x->rel)
		xl_emit_code_address(x, reg, (uint64_t)in->disp);
	else
		e_mov_imm(&x->e, reg, (uint32_t)in->disp);
	if (in->opsize == 4 && x->rel)
		e_rr(&x->e, 0, OP_STORE, reg, reg);
	xl_wrote(x, in->wr);
}

/* domain_guest_tsc() of the host's TSC in rdx:rax, which it writes anyway; scale and offset stay what they are. */
static void xl_rdtsc(struct xl *x)
{
	const struct domain *d = x->bt->d;
	struct emit *e = &x->e;

	xl_flags_guard(x, true);
	xl_record_op(x);
	e8(e, 0x0f); e8(e, 0x31);
	e8(e, 0x48); e8(e, 0xc1); e8(e, 0xe2); e8(e, 32);                 /* shl $32, rdx */
	e_rr(e, 1, 0x09, REG_RDX, REG_RAX);                               /* or rdx, rax */
	if (d->tsc_scale) {
		e_mov_imm(e, REG_RDX, d->tsc_scale);
		e8(e, 0x48); e8(e, 0xf7); e8(e, 0xe2);                    /* mul rdx */
		e8(e, 0x48); e8(e, 0x0f); e8(e, 0xac); e8(e, 0xd0); e8(e, TSC_SCALE_BITS);   /* shrd $bits, rdx, rax */
	}
	e_mov_imm(e, REG_RDX, (uint64_t)d->tsc_offset);
	e_rr(e, 1, 0x01, REG_RAX, REG_RDX);                               /* add rax, rdx */
	e_rr(e, 0, OP_STORE, REG_RDX, REG_RAX);                           /* mov edx, eax */
	e8(e, 0x48); e8(e, 0xc1); e8(e, 0xea); e8(e, 32);                 /* shr $32, rdx */
	xl_wrote(x, x->in[x->i].wr_full);
}

/* One instruction.  true: it ends the block. */
bool xl_insn(struct xl *x)
{
	const struct bt_insn *in = &x->in[x->i];

	switch ((enum bt_class)in->cls) {
	case BC_SKIP:
		return false;
	case BC_RDTSC:
		if (x->bt->d->tsc_scale || x->bt->d->tsc_offset) {
			xl_rdtsc(x);
			return false;
		}
		/* fall through */
	case BC_VERBATIM:
		if (in->fl_use && x->live[x->i])
			xl_flags_restore(x);
		xl_need(x, in->rd);
		xl_record_op(x);
		memcpy(x->e.base + x->e.p, in->bytes, in->len);
		x->e.p += in->len;
		xl_wrote(x, in->wr_full);
		x->clean &= ~(unsigned)in->wr;
		if (in->fl_write)
			xl_flags_written(x);
		return false;
	case BC_READ_SEG:
		xl_read_seg(x);
		return false;
	case BC_LEA_RIP:
		xl_lea_rip(x);
		return false;
	case BC_MEM:
		xl_mem(x);
		return false;
	case BC_BIT:
		xl_bit(x);
		return false;
	case BC_PUSH_REG: case BC_PUSH_IMM: case BC_PUSH_MEM:
		xl_push(x);
		return false;
	case BC_POP_REG: case BC_LEAVE:
		xl_pop(x);
		return false;
	case BC_JCC:
		xl_jcc(x);
		return false;
	case BC_LOOP:
		xl_loop(x);
		return true;
	case BC_JMP:
		xl_leave_direct(x, in->target);
		return true;
	case BC_CALL:
		xl_push_return(x, 0);
		xl_leave_direct(x, in->target);
		return true;
	case BC_JMP_REG: case BC_JMP_MEM:
		xl_indirect_target(x);
		xl_leave_indirect(x);
		return true;
	case BC_CALL_REG:
		if (in->reg != REG_RSP) {
			xl_push_return(x, 0);
			xl_indirect_target(x);
			xl_leave_indirect(x);
			return true;
		}
		/* fall through */
	case BC_CALL_MEM:
		xl_indirect_target(x);
		xl_push_return(x, R(BT_S0));
		xl_leave_indirect(x);
		return true;
	case BC_RET:
		xl_ret(x);
		return true;
	case BC_SYSCALL:
		xl_leave_to_c(x, BX_SYSCALL, in->va + in->len);
		return true;
	case BC_STRING:
		xl_leave_to_c(x, BX_STRING, in->va);
		return true;
	case BC_EMULATE:
		break;
	}
	xl_leave_to_c(x, BX_EMULATE, in->va);
	return true;
}

/* ---- the block ---- */

static bool ends_block(const struct bt_insn *in)
{
	switch (in->cls) {
	case BC_SKIP: case BC_RDTSC: case BC_READ_SEG: case BC_BIT: case BC_VERBATIM: case BC_LEA_RIP: case BC_MEM:
	 case BC_PUSH_REG: case BC_PUSH_IMM: case BC_PUSH_MEM:
	case BC_POP_REG: case BC_LEAVE: case BC_JCC:
		return false;
	default:
		return true;
	}
}

/*
 * A retpoline thunk, call 1f; 2: pause; lfence; jmp 2b; 1: mov %reg,(%rsp); ret, is a jump to reg and is translated as
 * one.  The word below the stack pointer that it leaves is the one difference.
 */
static void see_retpoline(struct xl *x, struct bt_insn *in)
{
	uint64_t off = in->target - x->page_va;
	const uint8_t *p;

	if (in->cls != BC_CALL || in->target - in->va > 64 || off > PAGE_SIZE_HV - 5)
		return;
	p = x->code + off;
	if ((p[0] != 0x48 && p[0] != 0x4c) || p[1] != 0x89 || (p[2] & 0xc7) != 0x04 || p[3] != 0x24 || p[4] != 0xc3)
		return;
	in->reg = (uint8_t)((p[2] >> 3 & 7) | (p[0] & 4 ? 8 : 0));
	if (in->reg == REG_RSP)
		return;
	in->cls = BC_JMP_REG;
	in->rd = (uint16_t)R(in->reg);
	if (off + 5 > x->b->dep_hi)
		x->b->dep_hi = (uint16_t)(off + 5);
}

/* Decodes the block's instructions.  false: the first one straddles and the next page's bytes are not given. */
static bool decode_block(struct xl *x, const uint8_t *next)
{
	uint64_t va = x->b->va;
	unsigned jccs = 0;

	while (x->n < BT_MAX_INSNS) {
		uint64_t off = va - x->page_va;
		struct bt_insn *in = &x->in[x->n];
		uint8_t buf[30];
		size_t left = PAGE_SIZE_HV - off;
		int rc;

		if (off >= PAGE_SIZE_HV)
			break;
		rc = bt_decode(in, va, x->code + off, left);
		if (rc) {
			bool more = rc == BT_DECODE_MORE && left < 15;

			if (left < 15 && x->n)
				break;
			if (more && !next)
				return false;
			if (more) {
				memcpy(buf, x->code + off, left);
				memcpy(buf + left, next, 15);
			}
			if (!more || bt_decode(in, va, buf, 15)) {
				in->cls = BC_EMULATE;         /* not valid: the emulator raises #UD */
				in->len = 1;
				in->fl_use = true;
				in->fl_part = false;
			}
			x->n++;
			va += in->len;
			break;
		}
		see_retpoline(x, in);
		if (x->rel && in->base == BT_RIP && in->disp != (int32_t)in->disp) {
			in->cls = BC_EMULATE;                 /* farther than a displacement from delta can name */
			in->fl_use = true;
		}
		x->n++;
		va += in->len;
		if (ends_block(in) || (in->cls == BC_JCC && ++jccs == MAX_SIDE))
			break;
	}
	x->b->len = (uint16_t)(va - x->b->va);
	return true;
}

/*
 * A block that reads the TSC has the domain's scale and offset in it, and before the guest's state is here nobody knows them.  There
 * is nothing else in a translation that comes with the state (bt_ahead.c).
 */
static bool must_wait(const struct xl *x)
{
	for (unsigned i = 0; i < x->n; i++)
		if (x->in[i].cls == BC_RDTSC)
			return true;
	return false;
}

static void flags_liveness(struct xl *x)
{
	const struct bt_insn *last = &x->in[x->n - 1];
	bool live;

	if (last->cls == BC_JMP || last->cls == BC_CALL)
		live = xl_flags_wanted(x, last->target);
	else if (ends_block(last))
		live = true;
	else
		live = xl_flags_wanted(x, last->va + last->len);
	x->live[x->n] = live;
	for (unsigned i = x->n; i-- > 0;) {
		const struct bt_insn *in = &x->in[i];

		if (in->cls == BC_JCC || (in->fl_use && !in->fl_part))
			live = true;
		else if (in->fl_kill)
			live = false;
		x->live[i] = live;
	}
}

/* cmpb $0, %gs:off */
static void emit_byte_check(struct emit *e, uint32_t off)
{
	e8(e, 0x65);
	e8(e, 0x80);
	e8(e, 0x3c);
	e8(e, 0x25);
	e32(e, off);
	e8(e, 0);
}

/*
 * Is the page known to be mapped as it was translated, relative code where the code runs?  Returns the condition that says it
 * is not.  Uses BT_S0.
 */
static unsigned emit_page_check(struct emit *e, const struct bt_page *pg)
{
	if (!pg->rel) {
		emit_byte_check(e, GS_OFF(cvalid) + pg->id);
		return CC_E;
	}
	e_load_gs(e, BT_S0, GS_OFF(delta));
	e_gs(e, 1, 0x3b, BT_S0, GS_OFF(cdelta) + 8 * pg->id);
	return CC_NE;
}

/* Around a check where the flags are live; BT_S1 keeps rax. */
static void emit_flags_push(struct emit *e)
{
	e_rr(e, 1, OP_STORE, REG_RAX, BT_S1);
	xl_emit_flags_store(e);
}

static void emit_flags_pop(struct emit *e)
{
	xl_emit_flags_load(e);
	e_rr(e, 1, OP_STORE, BT_S1, REG_RAX);
}

static void emit_ientry_fixed(struct xl *x)
{
	struct emit *e = &x->e;
	struct bt_block *b = x->b;
	uint32_t va_at;

	e_align(e, 0, 8);
	va_at = e->p;
	e64(e, b->va);
	b->ientry = e->p;
	e8(e, 0x4c); e8(e, 0x3b); e8(e, 0x15); e32(e, va_at - (e->p + 4));            /* cmp va(%rip), r10 */
	e_patch(e, e_jcc_fwd(e, CC_NE), x->bt->stub_ijmp);
	e_patch(e, e_jcc_fwd(e, emit_page_check(e, b->page)), x->bt->stub_ijmp);
}

/* The address it was called for says what delta would be: is the page known there? */
static void emit_ientry_rel(struct xl *x)
{
	struct emit *e = &x->e;
	struct bt_block *b = x->b;

	e_align(e, 0, 8);
	b->ientry = e->p;
	e_mem_disp(e, 1, OP_LEA, BT_S1, BT_S0, -(int32_t)b->va);
	e_gs(e, 1, 0x3b, BT_S1, GS_OFF(cdelta) + 8 * b->page->id);
	e_patch(e, e_jcc_fwd(e, CC_NE), x->bt->stub_ijmp);
	e_store_gs(e, BT_S1, GS_OFF(delta));
}

/*
 * ientry, right before the body: compares the address it was called for (BT_S0) with the block's, and the page; restores
 * the flags.  As long as it may miss, the flags stay in bt_vcpu.fl, for a block that does want them.
 * bt_block_kill() overwrites its first instruction.
 */
static void emit_ientry(struct xl *x)
{
	struct emit *e = &x->e;
	struct bt_block *b = x->b;
	if (b->rel)
		emit_ientry_rel(x);
	else
		emit_ientry_fixed(x);
	if (b->fl_live) {
		e_rr(e, 1, OP_STORE, REG_RAX, BT_S1);
		emit_flags_pop(e);
	}
	e_align(e, 0, 8);
}

/* xentry, for direct jumps from other pages, behind the body; and the way out of a block that cannot be entered. */
static void emit_xentry(struct xl *x)
{
	struct emit *e = &x->e;
	struct bt_block *b = x->b;

	b->xentry = e->p;
	if (b->fl_live)
		emit_flags_push(e);
	e_patch(e, e_jcc_fwd(e, emit_page_check(e, b->page)), x->c.p);
	if (b->fl_live) {
		emit_flags_pop(e);
		emit_flags_pop(&x->c);
	}
	e_jmp_to(e, b->entry);
	xl_emit_exit_stub(x, &x->c, b->self);
}

/* A block of a straddling instruction checks its second page at each entry.  Returns what to point at the way out. */
static uint32_t emit_page2(struct xl *x)
{
	struct emit *e = &x->e;
	uint32_t ok, miss;

	if (x->b->fl_live)
		emit_flags_push(e);
	ok = e_jcc_fwd(e, emit_page_check(e, x->b->page2) ^ 1);
	if (x->b->fl_live)
		emit_flags_pop(e);
	e8(e, 0xe9);
	e32(e, 0);
	miss = e->p - 4;
	e_patch(e, ok, e->p);
	if (x->b->fl_live)
		emit_flags_pop(e);
	return miss;
}

/*
 * With CR0.TS set a block that has FPU instructions goes through the emulator, an instruction at a time, until one of them
 * raises #NM.
 */
static void emit_ts_check(struct xl *x)
{
	struct emit *e = &x->e;
	bool fpu = false;
	uint32_t ok;

	for (unsigned i = 0; i < x->n; i++)
		fpu |= x->in[i].fpu;
	if (!fpu || !atomic_load(&x->bt->ts_checks))
		return;
	if (x->b->fl_live)
		emit_flags_push(e);
	emit_byte_check(e, GS_OFF(ts));
	ok = e_jcc_fwd(e, CC_E);
	if (x->b->fl_live)
		emit_flags_pop(e);
	xl_emit_exit_stub(x, e, xl_exit_new(x, BX_EMULATE, x->b->va, false));
	e_patch(e, ok, e->p);
	if (x->b->fl_live)
		emit_flags_pop(e);
}

static void emit_cold_paths(struct xl *x)
{
	struct emit *e = &x->e, hot = x->e;

	x->e = x->c;
	x->in_cold = true;
	for (unsigned k = 0; k < x->nr_cold; k++) {
		const struct cold *c = &x->cold[k];

		e_patch(e, c->jcc, e->p);
		if (c->const_va)
			e_mov_imm(e, c->a, c->va);
		e_store_gs_imm32(e, c->site, GS_OFF(site));
		e_jmp_to(e, x->bt->stub_cold);
	}
	for (unsigned k = 0; k < x->nr_side; k++) {
		const struct side *s = &x->side[k];

		e_patch(e, s->jcc, e->p);
		if (s->exit) {
			xl_emit_exit_stub(x, e, s->exit);
			continue;
		}
		x->spilled = s->at.spilled;
		x->clean = s->at.clean;
		xl_border(x);
		xl_emit_link(x, s->target, false);
	}
	if (x->back.used) {
		e_patch(e, x->back.jcc, e->p);
		xl_state_fix(x, x->back.from, x->back.to);
		e_jmp_to(e, x->back.head);
	}
	x->in_cold = false;
	x->c = x->e;
	x->e = hot;
}

/* The loop that the block is, if it is one. */
static int find_loop(const struct xl *x)
{
	for (unsigned i = 1; i < x->n && i < MAX_LOOP; i++)
		if ((x->in[i].cls == BC_JCC || x->in[i].cls == BC_JMP) && x->in[i].target == x->b->va)
			return (int)i;
	return -1;
}

/* The block's body.  false: it does not end by itself. */
static bool emit_body(struct xl *x)
{
	for (x->i = 0; (int)x->i <= x->loop_end; x->i++) {
		xl_record_start(x);
		if ((int)x->i == x->loop_end) {
			xl_loop_first_end(x);
			x->grp.valid = false;
		} else {
			xl_insn(x);
			xl_group_after(x);
		}
	}
	x->grp.valid = false;
	for (x->i = 0; x->i < x->n; x->i++) {
		xl_record_start(x);
		if ((int)x->i == x->loop_end) {
			xl_loop_second_end(x);
			if (x->in[x->i].cls == BC_JMP)
				return true;
		} else if (xl_insn(x)) {
			return true;
		}
		xl_group_after(x);
	}
	return false;
}

struct bt_block *bt_translate(struct vcpu *v, struct bt_page *pg, struct bt_page *pg2, uint64_t va, uint64_t delta,
			      const uint8_t *code, const uint8_t *next, bool *need_next)
{
	static struct xl xl;                     /* under bt->lock; one domain a process */
	struct bt_domain *bt = v->d->bt;
	struct xl *x = &xl;
	struct bt_block *b = &bt->block[bt->nr_blocks];
	uint32_t miss = 0;

	memset(b, 0, sizeof(*b));
	x->bt = bt;
	x->v = v;
	x->other_va = 1;                         /* no page */
	x->b = b;
	x->e = (struct emit){ .base = bt->rw, .p = (uint32_t)bt->used };
	x->c = (struct emit){ .base = bt->rw, .p = (uint32_t)bt->cold_used };
	x->in_cold = false;
	x->n = x->i = x->nr_cold = x->nr_side = x->nr_irec = 0;
	x->spilled = x->clean = BT_SLOT_REGS;
	x->back.used = false;
	x->grp.valid = false;
	x->table = BT_NO_REG;
	x->no_groups = bt->no_group[bt_no_group_index(va)];
	x->fl = FL_HOST;
	x->fl_slot_valid = false;
	x->bank = pg->bank;
	x->code = code;
	x->page_va = pg->va;
	x->delta = delta;
	x->rel = b->rel = pg->rel;
	b->page = pg;
	b->va = va;
	b->dep_lo = (uint16_t)(va - pg->va);
	*need_next = !decode_block(x, next);
	if (*need_next || (bt->ahead && must_wait(x)))
		return NULL;
	if (b->dep_hi < va - pg->va + b->len)
		b->dep_hi = (uint16_t)(va - pg->va + b->len);
	if (b->dep_hi > PAGE_SIZE_HV) {
		b->page2 = pg2;
		b->dep_hi = PAGE_SIZE_HV;
	}
	flags_liveness(x);
	b->fl_live = x->live[0];
	x->loop_end = find_loop(x);
	b->loops = x->loop_end >= 0;
	xl_fast_plan(x);
	b->irec = x->irec = &bt->irec[bt->nr_irecs];
	b->self = xl_exit_new(x, BX_SELF, va, false);
	emit_ientry(x);
	b->entry = b->start = x->e.p;
	/* a nop of five bytes: room for the jump of bt_block_kill() */
	e8(&x->e, 0x0f); e8(&x->e, 0x1f); e8(&x->e, 0x44); e8(&x->e, 0); e8(&x->e, 0);
	if (b->page2)
		miss = emit_page2(x);
	emit_ts_check(x);
	if (!emit_body(x)) {
		x->i = x->n - 1;
		xl_leave_direct(x, va + b->len);
	}
	if (x->fast.on)
		xl_fast_emit(x);
	b->nr = (uint16_t)x->nr_irec;
	bt->nr_irecs += x->nr_irec;
	b->body_end = x->e.p;
	emit_xentry(x);
	if (b->page2)
		e_patch(&x->e, miss, b->self->stub);
	emit_cold_paths(x);
	b->end = x->e.p;
	bt->used = (x->e.p + 15) & ~15UL;
	bt->cold_used = x->c.p;
	/* bt_block_at_host() searches without the lock: the entry is complete first */
	__atomic_store_n(&bt->nr_blocks, bt->nr_blocks + 1, __ATOMIC_RELEASE);
	return b;
}

/*
 * A thunk executes one instruction with bt_vcpu.bounce_addr for its memory operand.  Entered through enter_direct, so
 * everything is in place; leaves through a BX_BOUNCE exit.
 */
void bt_thunk_emit(struct bt_domain *bt, struct bt_site *s, const uint8_t *bytes, size_t n, uint64_t va)
{
	struct emit e = { .base = bt->rw, .p = (uint32_t)bt->cold_used };
	struct bt_insn in;
	unsigned a;
	struct bt_exit *ex = &bt->exit[bt->nr_exits++];

	*ex = (struct bt_exit){ .from = s->block, .target = va, .kind = BX_BOUNCE };
	if (bt_decode(&in, va, bytes, n) || in.cls != BC_MEM)
		return;
	for (a = 0; a < 8; a++)
		if (a != REG_RSP && !((in.rd | in.wr) & R(a)))
			break;
	e_align(&e, 0, 8);
	s->thunk = e.p;
	e_store_gs(&e, a, GS_GPR(a));
	e_load_gs(&e, a, GS_OFF(bounce_addr));
	for (unsigned r = BT_S0; r <= BT_S1; r++)
		if ((in.rd | in.wr) & R(r))
			e_load_gs(&e, r, GS_GPR(r));
	xl_emit_retargeted(&e, &in, a, BT_NO_REG, 0);
	for (unsigned r = BT_S0; r <= BT_S1; r++)
		if (in.wr & R(r))
			e_store_gs(&e, r, GS_GPR(r));
	e_load_gs(&e, a, GS_GPR(a));
	e_store_gs_imm32(&e, (uint32_t)(ex - bt->exit), GS_OFF(exit_id));
	e_jmp_to(&e, bt->stub_exit);
	bt->cold_used = e.p;
}

/* The thunk's first instruction stores its scratch register: 65 48 89 /r. */
unsigned bt_thunk_scratch(const struct bt_domain *bt, uint32_t thunk) { return (bt->rx[thunk + 3] >> 3) & 7; }
