/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_signal.c - signals that find a vCPU thread in translated code.
 *
 *   SIGUSR1   attention; from the vCPU's timer a kick too.  In the code cache the thread leaves at the start of a guest
 *             instruction, to which it is stepped (TF); in C it will look at bt_vcpu.attention before it enters the cache.
 *   SIGTRAP   such a step, and by the flag, which nobody else sets: now and then a hypervisor delivers #DB with an empty DR6, which
 *             Linux (exc_debug_user) takes for INT1 and calls TRAP_BRKPT.
 *   SIGSEGV, SIGBUS, SIGFPE, SIGILL   a guest instruction faulted: the state at its start is rebuilt from the block's
 *             records and the guest gets the exception.
 *
 * The handlers run on an alternate stack (the stack pointer is the guest's), disarmed while in use: a guest stack
 * pointer that happens to lie inside it must not be taken for it.
 */
/* With _GNU_SOURCE <sys/ucontext.h> names registers as vcpu.h does. */
#undef _GNU_SOURCE
#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 700
#include "hypervisor/engine/bt/bt_int.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
#define ALTSTACK_SIZE (128 * 1024)
#define EFLAGS_TF 0x100

/* Indices into mcontext_t.gregs. */
enum { UC_R8, UC_R9, UC_R10, UC_R11, UC_R12, UC_R13, UC_R14, UC_R15, UC_RDI, UC_RSI, UC_RBP, UC_RBX, UC_RDX, UC_RAX, UC_RCX,
       UC_RSP, UC_RIP, UC_EFL, UC_TRAPNO = 20 };

static __thread struct bt_vcpu *self;

static const int gpr_index[NR_GPR] = {
	UC_RAX, UC_RCX, UC_RDX, UC_RBX, UC_RSP, UC_RBP, UC_RSI, UC_RDI,
	UC_R8, UC_R9, UC_R10, UC_R11, UC_R12, UC_R13, UC_R14, UC_R15,
};

static uint16_t fl_of(uint64_t eflags) { return bt_rflags_to_fl(eflags); }

/* Go on in the stub that returns from enter; the guest's state is in memory. */
static void leave(struct bt_vcpu *bv, greg_t *g, int why)
{
	bv->why = why;
	g[UC_RIP] = (greg_t)bt_host(bv->bt, bv->bt->stub_leave);
	g[UC_EFL] = (greg_t)((uint64_t)g[UC_EFL] & ~(uint64_t)(EFLAGS_TF | 0x400));
}

static void recover(struct bt_vcpu *bv, const greg_t *g, uint16_t mask, bool fl_slot, uint64_t rip)
{
	uint64_t regs[NR_GPR];

	for (unsigned i = 0; i < NR_GPR; i++)
		regs[i] = (uint64_t)g[gpr_index[i]];
	bt_recover(bv, regs, fl_of((uint64_t)g[UC_EFL]), mask, fl_slot, rip);
}

/* Offset of the program counter in the cache, or UINT32_MAX. */
static uint32_t cache_offset(const struct bt_vcpu *bv, const greg_t *g)
{
	uint64_t off = (uint64_t)g[UC_RIP] - (uint64_t)(uintptr_t)bv->bt->rx;

	return off < bv->bt->size ? (uint32_t)off : UINT32_MAX;
}

/* The record of the instruction whose code holds host offset off. */
static const struct bt_irec *irec_at(const struct bt_block *b, uint32_t off)
{
	unsigned lo = 0, hi = b->nr;

	off -= b->start;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (b->irec[mid].hoff <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &b->irec[lo - 1] : NULL;
}

/* If a guest instruction starts at this offset of the cache. */
static bool leave_at_start(struct bt_vcpu *bv, greg_t *g, uint32_t off)
{
	const struct bt_block *b = bt_block_at_host(bv->bt, off);
	const struct bt_irec *r;

	if (!b || bv->in_thunk || off >= b->body_end)
		return false;
	r = irec_at(b, off);
	if (!r || r->hoff + b->start != off)
		return false;
	recover(bv, g, r->mask, r->fl_slot, bt_guest_va(bv, b->rel, b->va + r->goff));
	leave(bv, g, BW_KICK);
	return true;
}

static void on_step(struct bt_vcpu *bv, greg_t *g)
{
	uint32_t off = cache_offset(bv, g);

	bv->stat[BS_STEP]++;
	if (off == UINT32_MAX)
		g[UC_EFL] = (greg_t)((uint64_t)g[UC_EFL] & ~(uint64_t)EFLAGS_TF);
	else
		leave_at_start(bv, g, off);
}

static void on_attention(struct bt_vcpu *bv, greg_t *g)
{
	uint32_t off = cache_offset(bv, g);

	bv->attention = 1;
	if (off != UINT32_MAX && !leave_at_start(bv, g, off))
		g[UC_EFL] |= EFLAGS_TF;
}

static void exception_from(struct bt_vcpu *bv, const greg_t *g)
{
	unsigned vector = (unsigned)g[UC_TRAPNO];

	if (vector == 14 || vector > 31)
		vector = 13;          /* only a non-canonical address gets past the soft TLB's tags */
	bv->v.exc = (struct guest_exception){ .vector = (uint8_t)vector };
}

/* A fault of translated code; false: it is not the guest's. */
static bool on_fault(struct bt_vcpu *bv, greg_t *g)
{
	uint32_t off = cache_offset(bv, g);
	const struct bt_block *b;
	const struct bt_irec *r;

	if (off == UINT32_MAX)
		return false;
	if (bv->in_thunk) {
		/* the scratch register is one of the low eight and has its value in the slot, as BT_SLOT_REGS do */
		recover(bv, g, (uint16_t)(1U << bt_thunk_scratch(bv->bt, bv->slow.thunk) | BT_SLOT_REGS), false, bv->v.regs.rip);
		exception_from(bv, g);
		leave(bv, g, BW_EXCEPTION);
		return true;
	}
	b = bt_block_at_host(bv->bt, off);
	r = b && off < b->body_end ? irec_at(b, off) : NULL;
	if (!r)
		return false;
	recover(bv, g, r->op_mask, r->op_fl_slot, bt_guest_va(bv, b->rel, b->va + r->goff));
	exception_from(bv, g);
	leave(bv, g, BW_EXCEPTION);
	return true;
}

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
	struct bt_vcpu *bv = self;
	int saved = errno;

	if (sig != SIGUSR1 && emu_signal(sig, ctx))
		return;
	if (sig == SIGUSR1) {
		if (bv) {
			if (si->si_code == SI_TIMER)
				atomic_store(&bv->v.kick, true);
			on_attention(bv, g);
		}
	} else if (sig == SIGTRAP && bv && (si->si_code == TRAP_TRACE || (uint64_t)g[UC_EFL] & EFLAGS_TF)) {
		on_step(bv, g);
	} else if (!bv || !on_fault(bv, g)) {
		struct sigaction dfl = { .sa_handler = SIG_DFL };

		sigaction(sig, &dfl, NULL);       /* our own bug: crash at the instruction that did it */
	}
	errno = saved;
}

/* Process-wide handlers. */
int bt_signals_install(void)
{
	static const int sigs[] = { SIGUSR1, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigfillset(&sa.sa_mask);
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		if (sigaction(sigs[i], &sa, NULL))
			return -errno;
	return 0;
}

int bt_signals_thread(struct bt_vcpu *bv)
{
	stack_t ss = { .ss_size = ALTSTACK_SIZE, .ss_flags = (int)SS_AUTODISARM };
	sigset_t set;

	if (!bv->altstack) {
		bv->altstack = mmap(NULL, ALTSTACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (bv->altstack == MAP_FAILED) {
			bv->altstack = NULL;
			return -ENOMEM;
		}
	}
	ss.ss_sp = bv->altstack;
	if (sigaltstack(&ss, NULL))
		return -errno;
	self = bv;
	bv->tid = (pid_t)syscall(SYS_gettid);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return 0;
}

/* Make the vCPU's thread leave translated code; any thread. */
void bt_attention(struct bt_vcpu *bv)
{
	if (bv->tid)
		syscall(SYS_tgkill, getpid(), bv->tid, SIGUSR1);
}
