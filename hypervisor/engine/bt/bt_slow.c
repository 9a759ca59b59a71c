/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_slow.c - memory accesses that cannot go through the soft TLB: those that cross a page's end, and writes to frames
 * that hold translations or page tables.  The state is that of the instruction's start.  An instruction with one
 * memory operand is executed by a thunk (bt_thunk_emit) on the frame itself, or across pages on a bounce buffer; both
 * pages are checked before, so that a fault is precise.  Others go to the emulator.
 *
 * Split locks: a locked access that crosses a cache line holds every CPU's bus, so hosts trap it (split_lock_detect), and here it never
 * ends.  It is done on a bounce buffer within one line while every other vCPU of the domain is kept out of translated code and out
 * of the emulator.  So it is atomic towards every instruction of the guest's vCPUs but (rep) movs and stos, which test no lock words; not
 * towards hypercalls and back ends, which change none.  Translated code sends every unaligned locked access here: those within
 * a line are done in place.
 *
 * Also the fast form of (rep) movs and stos.  Built -mgeneral-regs-only.
 */
#include "hypervisor/engine/bt/bt_int.h"

#define PAGE_OFF(va) ((va) & (PAGE_SIZE_HV - 1))

static void copy_bytes(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

static int emulate(struct bt_vcpu *bv)
{
	return bt_step(bv);
}

static void stack_fault(struct bt_vcpu *bv)
{
	if (bv->slow.stack && bv->v.exc.vector == 13)
		bv->v.exc.vector = 12;
}

/* Runs the thunk on the host address; true: the instruction was executed, false: bv->why tells. */
static bool run_thunk(struct bt_vcpu *bv, uint64_t host)
{
	bv->bounce_addr = host;
	bv->target = bt_host(bv->bt, bv->slow.thunk);
	bv->in_thunk = 1;
	bv->exit_id = BT_EXIT_RECOVERED;
	bv->why = BW_KICK;
	bv->bt->enter_direct(bv);
	bv->in_thunk = 0;
	return bv->exit_id != BT_EXIT_RECOVERED;
}

#define EMULATE_IT (-2)

/* The access itself, with its thunk made.  EMU_DONE, what run() returns, or EMULATE_IT. */
static int access_run(struct bt_vcpu *bv, bool split)
{
	struct domain *d = bv->v.d;
	struct bt_domain *bt = bv->bt;
	uint64_t va = bv->slow_va, mfn, mfn2 = 0;
	unsigned size = bv->slow.size, off = (unsigned)PAGE_OFF(va), first;
	int access = bv->slow.write ? MMU_WRITE : MMU_READ;
	uint8_t *host, *host2 = NULL, *buf;
	bool done;

	first = off + size > PAGE_SIZE_HV ? (unsigned)PAGE_SIZE_HV - off : size;
	if (mmu_translate(&bv->v, va, access, &mfn) ||
	    (first < size && mmu_translate(&bv->v, va + first, access, &mfn2))) {
		stack_fault(bv);
		return EXIT_EXCEPTION;
	}
	host = domain_frame(d, mfn);
	if (first < size)
		host2 = domain_frame(d, mfn2);
	if (!host || (first < size && !host2))
		return EMULATE_IT;
	host += off;
	atomic_store(&bv->in_code, true);
	if ((atomic_load(&bt->stopping) && !split) || bv->slow_gen != bt->flushes) {
		atomic_store(&bv->in_code, false);
		return EMU_DONE;
	}
	bt_vec_load(bv);
	if (first == size && !split) {
		done = run_thunk(bv, (uint64_t)(uintptr_t)host);
	} else {
		/* the alignment is the operand's, for what faults on it; of a split lock cmpxchg16b alone does */
		buf = bv->bounce + (split && size <= 8 ? 0 : va & 63);
		copy_bytes(buf, host, first);
		copy_bytes(buf + first, host2, size - first);
		done = run_thunk(bv, (uint64_t)(uintptr_t)buf);
		if (done && bv->slow.write) {
			copy_bytes(host, buf, first);
			copy_bytes(host2, buf + first, size - first);
		}
	}
	atomic_store(&bv->in_code, false);
	if (!done)
		return bv->why == BW_EXCEPTION ? EXIT_EXCEPTION : bv->why == BW_KICK ? EMU_DONE : EXIT_HALT;
	bv->v.regs.rip += bv->slow_len;
	if (bv->slow.write) {
		bt_frame_written(d, mfn, off, first);
		if (first < size)
			bt_frame_written(d, mfn2, 0, size - first);
	}
	return EMU_DONE;
}

/* Completes the access noted by bt_cold() in bv->slow*.  EMU_DONE or what run() returns. */
int bt_slow_access(struct bt_vcpu *bv)
{
	int rc;

	if (!bv->slow.simple)
		return emulate(bv);
	if (!bv->slow.thunk) {
		bt_vec_save(bv);
		rc = bt_thunk_make(bv);
		if (rc == -1)
			return EMU_DONE;          /* the tables changed: try again from the instruction's start */
		if (rc)
			return emulate(bv);
	}
	if (bv->slow.locked && bt_is_split(bv->slow_va, bv->slow.size)) {
		bt_vec_save(bv);
		bt_split_begin(&bv->v);
		rc = access_run(bv, true);
		bt_vec_save(bv);
		bt_split_end(&bv->v);
	} else {
		rc = access_run(bv, false);
	}
	return rc == EMULATE_IT ? emulate(bv) : rc;
}

/* ---- (rep) movs, stos ---- */

/* Host address of va for an access through the soft TLB; NULL: *rc says fault (-1) or that the emulator must (-2). */
static uint8_t *tlb_host(struct bt_vcpu *bv, uint64_t va, bool write, int *rc)
{
	struct bt_tlb *t = &bv->tlb.bank[bt_bank_of(&bv->v)];
	unsigned idx = bt_tlb_index(t, va);
	uint64_t ntag = -(va & ~(PAGE_SIZE_HV - 1));

	if ((write ? t->ntag_w[idx] : t->ntag_r[idx]) != ntag || ntag == BT_TLB_INVALID) {
		if (mmu_fill(&bv->v, va, write ? MMU_WRITE : MMU_READ)) {
			*rc = -1;
			return NULL;
		}
		if (write && t->ntag_w[idx] != ntag) {
			*rc = -2;
			return NULL;
		}
	}
	return (uint8_t *)(uintptr_t)(t->page[idx] + PAGE_OFF(va));
}

static void string_op(unsigned size, bool movs, uint8_t *dst, const uint8_t *src, uint64_t n, uint64_t rax)
{
	if (movs && size == 1)
		__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	else if (movs && size == 2)
		__asm__ volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	else if (movs && size == 4)
		__asm__ volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	else if (movs)
		__asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	else if (size == 1)
		__asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(rax) : "memory");
	else if (size == 2)
		__asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(rax) : "memory");
	else if (size == 4)
		__asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(rax) : "memory");
	else
		__asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(rax) : "memory");
}

/*
 * The string instruction at bv->v.regs.rip, whose bytes are code[0..n).  EMU_DONE (rip on it while a kick interrupts it), an
 * engine_exit, or -2: the emulator must do (the rest of) it.
 */
int bt_string(struct bt_vcpu *bv, const uint8_t *code, size_t n)
{
	unsigned i = 0, size = 4;
	bool rep = false, movs;
	uint64_t count;
	int rc = 0;

	for (; i < n && (code[i] == 0xf3 || code[i] == 0xf2 || code[i] == 0x66); i++) {
		if (code[i] == 0x66)
			size = 2;
		else
			rep = true;
	}
	if (i < n && (code[i] & 0xf0) == 0x40)
		size = code[i++] & 8 ? 8 : size;
	if (i >= n || (code[i] & 0xfe) != 0xa4)
		if (i >= n || (code[i] & 0xfe) != 0xaa)
			return -2;
	movs = (code[i] & 0xfe) == 0xa4;
	if (!(code[i] & 1))
		size = 1;
	i++;
	count = rep ? bv->v.regs.gpr[REG_RCX] : 1;
	while (count) {
		uint64_t to = bv->v.regs.gpr[REG_RDI], from = bv->v.regs.gpr[REG_RSI], k = (PAGE_SIZE_HV - PAGE_OFF(to)) / size;
		uint8_t *dst, *src = NULL;

		if (movs && (PAGE_SIZE_HV - PAGE_OFF(from)) / size < k)
			k = (PAGE_SIZE_HV - PAGE_OFF(from)) / size;
		if (k > count)
			k = count;
		if (!k)
			return -2;
		if (movs)
			src = tlb_host(bv, from, false, &rc);
		if (!rc)
			dst = tlb_host(bv, to, true, &rc);
		if (rc)
			return rc == -1 ? EXIT_EXCEPTION : -2;
		/* filling dst may have taken src's entry of the TLB; its host address stays good */
		string_op(size, movs, dst, src, k, bv->v.regs.gpr[REG_RAX]);
		bv->v.regs.gpr[REG_RDI] += k * size;
		if (movs)
			bv->v.regs.gpr[REG_RSI] += k * size;
		count -= k;
		if (rep)
			bv->v.regs.gpr[REG_RCX] = count;
		if (count && bv->attention)
			return EMU_DONE;
	}
	bv->v.regs.rip += i;
	return EMU_DONE;
}
