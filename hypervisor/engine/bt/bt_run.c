/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_run.c - the loop around translated code, and the slow path of its memory accesses.
 *
 * Built -mgeneral-regs-only: the guest's vector registers stay in the host's while this runs, and are saved to
 * vcpu.xsave only when something else is to be called (bt_vec_save) and when run() returns.
 *
 * How a kick is not lost: whoever wants attention stores its request (vcpu.kick, bt_vcpu.req), then signals the thread
 * if it is in run().  The handler sets bt_vcpu.attention.  The loop clears attention before it looks at the requests;
 * the stubs look at attention as they enter the code cache; and a signal that finds the program counter in the cache
 * steps to the next guest instruction and leaves there (bt_signal.c).
 */
#include "hypervisor/engine/bt/bt_int.h"

#include <sched.h>

/* x87, SSE, AVX, and the AVX-512 components where the host has them; never PKRU or AMX. */
#define XSAVE_MASK_LO 0xe7

void bt_vec_save(struct bt_vcpu *bv)
{
	static const uint32_t mxcsr = 0x1f80;

	if (!bv->vec_live)
		return;
	bv->vec_live = false;
	__asm__ volatile("xsave64 %0" : "=m"(bv->v.xsave) : "a"(XSAVE_MASK_LO), "d"(0) : "memory");
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

void bt_vec_load(struct bt_vcpu *bv)
{
	if (bv->vec_live)
		return;
	bv->vec_live = true;
	__asm__ volatile("xrstor64 %0" : : "m"(bv->v.xsave), "a"(XSAVE_MASK_LO), "d"(0) : "memory");
}

/* ---- requests of other vCPUs ---- */

static void page_forget(struct bt_vcpu *bv, uint32_t id)
{
	bv->cvalid[id] = 0;
	bv->cdelta[id] = BT_NOWHERE;
}

void bt_pages_forget(struct bt_vcpu *bv, int log)
{
	uint32_t n = bv->nr_page_log[log];

	if (n > BT_PAGE_LOG) {
		for (unsigned i = 0; i < BT_MAX_PAGES; i += 8)
			*(uint64_t *)(void *)(bv->cvalid + i) = 0;
		for (unsigned i = 0; i < bv->bt->nr_pages; i++)
			bv->cdelta[i] = BT_NOWHERE;
		bv->nr_page_log[0] = bv->nr_page_log[1] = bv->nr_page_log[2] = 0;
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		page_forget(bv, bv->page_log[log][i]);
	bv->nr_page_log[log] = 0;
}

void bt_page_validate(struct bt_vcpu *bv, const struct bt_page *pg, uint64_t delta)
{
	int log = pg->bank == BT_USER ? 2 : pg->va >> 63 ? 0 : 1;
	bool known = bv->cvalid[pg->id];

	if (!pg->seen)
		__atomic_store_n(&bv->bt->page[pg->id].seen, true, __ATOMIC_RELAXED);
	bv->cvalid[pg->id] = 1;
	if (pg->rel)
		bv->cdelta[pg->id] = delta;
	if (known)
		return;
	if (bv->nr_page_log[log] < BT_PAGE_LOG)
		bv->page_log[log][bv->nr_page_log[log]++] = pg->id;
	else
		bv->nr_page_log[log] = BT_PAGE_LOG + 1;
}

/* A full flush: of the kernel's code pages only those that are mapped otherwise now; there are few, and all in use. */
static void kernel_pages_check(struct bt_vcpu *bv)
{
	uint32_t n = bv->nr_page_log[0];
	uint64_t mfn;

	if (n > BT_PAGE_LOG) {
		bt_pages_forget(bv, 0);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct bt_page *pg = &bv->bt->page[bv->page_log[0][i]];

		if (!mmu_probe(&bv->v, pg->va, true, MMU_EXEC, &mfn, NULL) &&
		    domain_frame_index(bv->v.d, mfn) == pg->frame)
			continue;
		bv->cvalid[bv->page_log[0][i]] = 0;
		bv->page_log[0][i--] = bv->page_log[0][--n];
	}
	bv->nr_page_log[0] = n;
}

void bt_flush_local(struct vcpu *v)
{
	struct bt_vcpu *bv = bt_of(v);

	bv->stat[BS_FLUSH]++;
	for (int b = 0; b < BT_NR_BANKS; b++)
		bt_tlb_flush_all(&bv->tlb.bank[b]);
	pthread_mutex_lock(&bv->bt->lock);       /* against bt_world_flush() of another vCPU */
	kernel_pages_check(bv);
	bt_pages_forget(bv, 1);
	bt_pages_forget(bv, 2);
	pthread_mutex_unlock(&bv->bt->lock);
}

void bt_invlpg_local(struct vcpu *v, uint64_t va)
{
	struct bt_vcpu *bv = bt_of(v);

	for (int b = 0; b < BT_NR_BANKS; b++)
		bt_tlb_flush_page(&bv->tlb.bank[b], va);
	pthread_mutex_lock(&bv->bt->lock);
	for (int l = 0; l < 3; l++) {
		uint32_t n = bv->nr_page_log[l];

		if ((l == 0) != (va >> 63))
			continue;
		if (n > BT_PAGE_LOG) {
			bt_pages_forget(bv, l);
			continue;
		}
		for (uint32_t i = 0; i < n; i++) {
			const struct bt_page *pg = &bv->bt->page[bv->page_log[l][i]];

			if (((pg->va + (pg->rel ? bv->cdelta[pg->id] : 0)) ^ va) < PAGE_SIZE_HV) {
				page_forget(bv, pg->id);
				bv->page_log[l][i--] = bv->page_log[l][--n];
			}
		}
		bv->nr_page_log[l] = n;
	}
	pthread_mutex_unlock(&bv->bt->lock);
}

static void pages_forget_all(struct bt_vcpu *bv)
{
	pthread_mutex_lock(&bv->bt->lock);       /* against bt_world_flush() of another vCPU */
	for (int l = 0; l < 3; l++)
		bt_pages_forget(bv, l);
	pthread_mutex_unlock(&bv->bt->lock);
}

/* Serves what was asked of this vCPU; on its own thread, outside translated code. */
void bt_serve(struct bt_vcpu *bv)
{
	uint32_t req = atomic_load(&bv->req);

	while (req) {
		if (req & BT_REQ_FLUSH)
			bt_flush_local(&bv->v);
		else if (req & BT_REQ_INVLPG)
			bt_invlpg_local(&bv->v, atomic_load(&bv->req_va));
		if (req & BT_REQ_FORGET)
			pages_forget_all(bv);
		if (req & BT_REQ_WTAGS)
			for (int b = 0; b < BT_NR_BANKS; b++)
				bt_tlb_revoke_writes(&bv->tlb.bank[b], 0);
		if (atomic_compare_exchange_strong(&bv->req, &req, 0))
			break;
	}
}

/* ---- slow path of a memory access ---- */

/*
 * Rebuild the state at a guest instruction's start from the host registers: those in mask are in their slots already.
 * The caller leaves translated code then.
 */
void bt_recover(struct bt_vcpu *bv, const uint64_t *regs, uint16_t fl, uint16_t mask, bool fl_slot, uint64_t rip)
{
	for (unsigned r = 0; r < NR_GPR; r++)
		if (!(mask & 1U << r))
			bv->v.regs.gpr[r] = regs[r];
	if (!fl_slot)
		bv->fl = fl;
	bv->v.regs.rip = rip;
	bv->exit_id = BT_EXIT_RECOVERED;
}

static int cold_leave(struct bt_vcpu *bv, const struct bt_site *s, enum bt_why why)
{
	uint64_t rip = bt_guest_va(bv, s->block->rel, s->block->va + s->block->irec[s->insn].goff);

	bt_recover(bv, bv->host, bv->fl, s->mask, true, rip);
	bv->why = why;
	return 1;
}

/*
 * Called by stub_cold: the access at bv->site found no tag.  0: resume at bv->resume, bv->host[] loaded; else leave.
 */
int bt_cold(struct bt_vcpu *bv)
{
	struct bt_domain *bt = bv->bt;
	struct bt_site *s = &bt->site[bv->site];
	enum bt_bank bank = bt_bank_of(&bv->v);
	struct bt_tlb *t = &bv->tlb.bank[bank];
	uint64_t va;
	unsigned idx;

	bv->stat[BS_COLD]++;
	if (bv->attention)
		return cold_leave(bv, s, BW_KICK);
	va = bv->host[s->a];
	if (s->i != BT_NO_REG) {
		const uint64_t *tag = s->write ? t->ntag_w : t->ntag_r;

		va -= tag[bv->host[s->i] & (BT_TLB_ENTRIES - 1)];
		bv->host[s->a] = va;
	}
	if ((va & (PAGE_SIZE_HV - 1)) + s->range > PAGE_SIZE_HV && s->range != s->size) {
		bv->slow = *s;
		bv->slow_gen = bt->flushes;
		return cold_leave(bv, s, BW_UNGROUP);
	}
	va += s->off;
	idx = bt_tlb_index(t, va);
	if (t->ntag_r[idx] != -(va & ~(PAGE_SIZE_HV - 1)) || s->write) {
		if (mmu_fill(&bv->v, va, s->write ? MMU_WRITE : MMU_READ)) {
			if (s->stack && bv->v.exc.vector == 13)
				bv->v.exc.vector = 12;
			return cold_leave(bv, s, BW_EXCEPTION);
		}
	}
	if ((va & (PAGE_SIZE_HV - 1)) + s->size > PAGE_SIZE_HV || (s->write && t->ntag_w[idx] == BT_TLB_INVALID) ||
	    (s->locked && (va & (s->size - 1U)))) {
		bv->slow = *s;
		bv->slow_id = bv->site;
		bv->slow_va = va;
		bv->slow_gen = bt->flushes;
		bv->slow_len = s->len;
		return cold_leave(bv, s, BW_SLOW);
	}
	bv->resume = bt_host(bt, s->resume);
	return 0;
}

/* ---- finding code ---- */

void bt_jc_set(struct bt_vcpu *bv, const struct bt_block *b, uint64_t va)
{
	bv->jc[b->page->bank][va & (BT_JC_ENTRIES - 1)] = bt_host(bv->bt, b->ientry);
	bv->jb[b->page->bank][va & (BT_JC_ENTRIES - 1)] = b;
}

/* May the block be what runs at va, if the page there is its own?  A relative page that is known elsewhere needs a twin. */
static bool may_run_at(const struct bt_vcpu *bv, const struct bt_block *b, uint64_t va)
{
	uint64_t delta = va - b->va;

	if (!b->rel)
		return !delta;
	return bt_is_rel(b->page->bank, va) && !(delta & (PAGE_SIZE_HV - 1)) &&
	       (bv->cdelta[b->page->id] == BT_NOWHERE || bv->cdelta[b->page->id] == delta);
}

/*
 * The usual reason for an indirect jump to miss: its block is in the jump cache, but the page is not known to be mapped
 * since the last flush.  1: it is; 0: look further; -1: fault.  Without the lock: bt_vcpu.in_code keeps the tables.
 */
static int find_again(struct bt_vcpu *bv)
{
	enum bt_bank bank = bt_bank_of(&bv->v);
	const struct bt_block *b;
	uint64_t mfn;
	int rc = 0;

	atomic_store(&bv->in_code, true);
	b = bv->jb[bank][bv->v.regs.rip & (BT_JC_ENTRIES - 1)];
	if (b && !atomic_load(&bv->bt->stopping) && !b->dead && !b->page2 && may_run_at(bv, b, bv->v.regs.rip)) {
		if (mmu_translate(&bv->v, bv->v.regs.rip, MMU_EXEC, &mfn)) {
			rc = -1;
		} else if (domain_frame_index(bv->v.d, mfn) == b->page->frame) {
			bt_page_validate(bv, b->page, bv->v.regs.rip - b->va);
			rc = 1;
		}
	}
	atomic_store_explicit(&bv->in_code, false, memory_order_release);
	return rc;
}

/*
 * Make bv->v.regs.rip enterable through the jump cache; link the exit it was reached by, if its table is still the one of
 * generation gen.  want: as for bt_page_pick().  0, or -1 with v->exc filled.
 */
static int find(struct bt_vcpu *bv, uint32_t exit_id, uint64_t gen, uint64_t want)
{
	struct bt_domain *bt = bv->bt;
	uint64_t va = bv->v.regs.rip, mfn, frame;
	struct bt_block *b = NULL;
	struct bt_page *pg;

	if (exit_id == BT_NO_EXIT && !bt->trace_exec) {
		int rc = find_again(bv);

		if (rc)
			return rc < 0 ? -1 : 0;
	}
	for (int try = 0; try < 2; try++) {
		if (mmu_translate(&bv->v, va, MMU_EXEC, &mfn))
			return -1;
		frame = domain_frame_index(bv->v.d, mfn);
		pthread_mutex_lock(&bt->lock);
		pg = bt_page_pick(bv, va, frame, want);
		b = pg ? bt_block_find(bt, pg, pg->va + (va & (PAGE_SIZE_HV - 1))) : NULL;
		if (b)
			break;
		pthread_mutex_unlock(&bt->lock);
		bt_vec_save(bv);
		bv->stat[BS_MAKE]++;
		if (bt_make(bv, va, want))
			return -1;
	}
	if (!b)
		return 0;                 /* killed again meanwhile: the caller comes back */
	bt_page_validate(bv, pg, va - b->va);
	if (b->page2) {
		uint64_t va2 = (va | (PAGE_SIZE_HV - 1)) + 1;

		if (mmu_translate(&bv->v, va2, MMU_EXEC, &mfn)) {
			pthread_mutex_unlock(&bt->lock);
			return -1;
		}
		if (domain_frame_index(bv->v.d, mfn) == b->page2->frame) {
			bt_page_prove(bt, b->page2);
			bt_page_validate(bv, b->page2, va - b->va);
		} else {
			bt_block_kill(bt, b);
		}
	}
	if (!b->dead) {
		bt_jc_set(bv, b, va);
		if (exit_id != BT_NO_EXIT && gen == bt->flushes && !bt->trace_exec) {
			struct bt_exit *x = &bt->exit[exit_id];

			if (x->no_flags && b->fl_live) {
				bt->no_peek[bt_no_group_index(x->from->va)] = 1;
				bt_block_kill(bt, x->from);
			} else if (x->target == b->va && x->rel == b->rel) {
				bt_link(bt, x, b);
			}
		}
		bv->target = bt_host(bt, b->entry);
		if (b->rel)
			bv->delta = va - b->va;
	}
	pthread_mutex_unlock(&bt->lock);
	return 0;
}

/* ---- the loop ---- */

int bt_step(struct bt_vcpu *bv)
{
	int rc;

	bv->stat[BS_EMULATE]++;
	bt_flags_out(bv);
	bt_vec_save(bv);
	if (bv->bt->trace_emulate)
		bt_trace(bv);
	while (atomic_store(&bv->in_emulator, true), atomic_load(&bv->bt->splitting)) {
		atomic_store(&bv->in_emulator, false);
		bt_serve(bv);
		sched_yield();
	}
	rc = emu_step(&bv->v);
	atomic_store_explicit(&bv->in_emulator, false, memory_order_release);
	bt_flags_in(bv);
	return rc;
}

/* A check of several accesses at once crossed a page's end: translate that block again, with a check for each. */
static void ungroup(struct bt_vcpu *bv)
{
	struct bt_domain *bt = bv->bt;

	pthread_mutex_lock(&bt->lock);
	if (bv->slow_gen == bt->flushes) {
		bt->no_group[bt_no_group_index(bv->slow.block->va)] = 1;
		bt_block_kill(bt, bv->slow.block);
	}
	pthread_mutex_unlock(&bt->lock);
}

/* An exit has been served, with this result.  It may have gone to the full context; requests are looked at from here. */
static int served(struct bt_vcpu *bv, int rc)
{
	if (!atomic_load_explicit(&bv->v.in_guest, memory_order_relaxed))
		atomic_store(&bv->v.in_guest, true);
	return rc ? EXIT_KICK : EMU_DONE;
}

/* What a return from translated code asks for.  EMU_DONE: go on; else what run() returns. */
static int handle_exit(struct bt_vcpu *bv)
{
	struct bt_domain *bt = bv->bt;
	uint32_t id = bv->exit_id;
	struct bt_exit x;
	uint64_t gen, want;
	uint8_t code[16];
	size_t n = 0;

	if (id == BT_EXIT_IJMP) {
		bv->stat[BS_IJMP]++;
		atomic_store(&bv->in_code, false);
		return find(bv, BT_NO_EXIT, 0, BT_ANYWHERE) ? EXIT_EXCEPTION : EMU_DONE;
	}
	if (id == BT_EXIT_RECOVERED) {
		int why = bv->why;

		bv->why = BW_KICK;
		atomic_store(&bv->in_code, false);
		switch (why) {
		case BW_KICK:
			bv->stat[BS_KICK]++;
			return EMU_DONE;
		case BW_EXCEPTION:
			return EXIT_EXCEPTION;
		case BW_UNGROUP:
			ungroup(bv);
			return EMU_DONE;
		case BW_SLOW:
			bv->stat[BS_SLOW]++;
			return bt_slow_access(bv);
		case BW_SERVED:
			return served(bv, 0);
		case BW_STOP:
			return served(bv, -1);
		default:
			return EXIT_HALT;
		}
	}
	x = bt->exit[id];
	gen = bt->flushes;
	bv->v.regs.rip = bt_guest_va(bv, x.rel, x.target);
	want = x.rel && bt_is_template(x.target) ? x.target : BT_ANYWHERE;
	if (x.kind == BX_STRING || x.kind == BX_EMULATE) {
		uint64_t off = x.target & (PAGE_SIZE_HV - 1);
		const uint8_t *p = bt->d->ram + (x.from->page->frame << PAGE_SHIFT_HV) + off;

		for (; n < 15 && off + n < PAGE_SIZE_HV; n++)
			code[n] = p[n];
	}
	atomic_store_explicit(&bv->in_code, false, memory_order_release);
	switch ((enum bt_exit_kind)x.kind) {
	case BX_LINK:
		bv->stat[BS_LINK]++;
		return find(bv, id, gen, want) ? EXIT_EXCEPTION : EMU_DONE;
	case BX_SELF:
		bv->stat[BS_SELF]++;
		return find(bv, BT_NO_EXIT, 0, want) ? EXIT_EXCEPTION : EMU_DONE;
	case BX_EMULATE: {
		int rc = bt->trace_emulate ? -2 : bt_quick(bv, code, n);

		return rc == -2 ? bt_step(bv) : rc;
	}
	case BX_STRING: {
		bv->stat[BS_STRING]++;
		int rc = bt_string(bv, code, n);

		return rc == -2 ? bt_step(bv) : rc;
	}
	case BX_SYSCALL:
		return bv->v.regs.kernel_mode ? EXIT_HYPERCALL : EXIT_SYSCALL;
	case BX_BOUNCE:
		break;
	}
	return EXIT_HALT;
}

/* Lets the layer above serve an exit without leaving run(): vector registers stay where they are.  As handle_exit(). */
static int serve(struct bt_vcpu *bv, int why)
{
	int rc;

	bt_flags_out(bv);
	rc = bv->v.d->serve(&bv->v, why);
	bt_flags_in(bv);
	return served(bv, rc);
}

enum engine_exit bt_run(struct vcpu *v)
{
	struct bt_vcpu *bv = bt_of(v);
	struct bt_domain *bt = bv->bt;
	int rc = EMU_DONE;

	atomic_store(&v->in_guest, true);
	bv->stat[BS_RUN]++;
	bt_flags_in(bv);
	while (rc == EMU_DONE) {
		bv->attention = 0;
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load(&bv->req))
			bt_serve(bv);
		if (atomic_load(&v->kick)) {
			atomic_store(&v->kick, false);
			rc = EXIT_KICK;
			break;
		}
		if (bt_is_stepped(v)) {
			rc = bt_step(bv);
			continue;
		}
		v->regs.rflags &= ~BT_RFLAGS_RF;      /* RF is for the one instruction it returned to */
		bv->ts = (uint8_t)v->cr0_ts;
		if (bv->ts && !atomic_load(&bt->ts_checks)) {
			bt_vec_save(bv);
			atomic_store(&bt->ts_checks, true);
			bt_world_flush(bv);
		}
		atomic_store(&bv->in_code, true);
		if (atomic_load(&bt->stopping)) {
			atomic_store(&bv->in_code, false);
			sched_yield();            /* and serve what is asked meanwhile */
			continue;
		}
		bt_vec_load(bv);
		bv->exit_id = BT_EXIT_RECOVERED;
		bv->why = BW_KICK;
		if (bt->trace_exec) {
			atomic_store(&bv->in_code, false);
			if (find(bv, BT_NO_EXIT, 0, BT_ANYWHERE)) {
				rc = EXIT_EXCEPTION;
				continue;
			}
			bt_vec_save(bv);
			bt_trace(bv);
			bt_vec_load(bv);
			atomic_store(&bv->in_code, true);
			bt->enter_direct(bv);
		} else {
			bt->enter_jc[bt_bank_of(v)](bv);
		}
		rc = handle_exit(bv);
		if (rc >= EXIT_HYPERCALL && rc <= EXIT_EXCEPTION && v->d->serve)
			rc = serve(bv, rc);
	}
	bt_flags_out(bv);
	bt_vec_save(bv);
	atomic_store(&v->in_guest, false);
	return (enum engine_exit)rc;
}
