/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * native_run.c - one instruction with chosen registers: a signal handler replaces the context it interrupted by the
 * chosen one, and the trap behind the instruction (or its fault) is a signal that holds the result.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/native_run.h"

bool emu_signal(int sig, void *ucontext);

#define LINUX_CS32 0x23                 /* __USER32_CS */
#define LINUX_DS 0x2b                   /* __USER_DS; 64-bit processes start with null ones, no use to 32-bit code */
#define XSTATE_HEADER 512
#define XSTATE_YMM 576

static const int gregs[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
			       REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static struct native_state *current;
static ucontext_t saved;
static uint8_t saved_fpu[XSTATE_YMM + 256];

static void fpu_put(uint8_t *f, const struct native_state *s)
{
	memcpy(f, &s->fcw, 2);
	memcpy(f + 2, &s->fsw, 2);
	f[4] = s->ftw;
	memcpy(f + 24, &s->mxcsr, 4);
	for (unsigned i = 0; i < 8; i++)
		memcpy(f + 32 + 16 * i, s->st[i], 10);
	memcpy(f + 160, s->xmm, 256);
	memcpy(f + XSTATE_YMM, s->ymmh, 256);
	f[XSTATE_HEADER] |= 7;
}

static void fpu_get(const uint8_t *f, struct native_state *s)
{
	bool x87 = f[XSTATE_HEADER] & 1, sse = f[XSTATE_HEADER] & 2, avx = f[XSTATE_HEADER] & 4;

	s->fcw = 0x37f;
	s->fsw = 0;
	s->ftw = 0;
	memset(s->st, 0, sizeof(s->st));
	memset(s->xmm, 0, sizeof(s->xmm));
	memset(s->ymmh, 0, sizeof(s->ymmh));
	if (x87) {
		memcpy(&s->fcw, f, 2);
		memcpy(&s->fsw, f + 2, 2);
		s->ftw = f[4];
		for (unsigned i = 0; i < 8; i++)
			memcpy(s->st[i], f + 32 + 16 * i, 10);
	}
	memcpy(&s->mxcsr, f + 24, 4);
	if (sse)
		memcpy(s->xmm, f + 160, 256);
	if (avx)
		memcpy(s->ymmh, f + XSTATE_YMM, 256);
}

static void on_start(ucontext_t *uc)
{
	saved.uc_mcontext = uc->uc_mcontext;
	memcpy(saved_fpu, uc->uc_mcontext.fpregs, sizeof(saved_fpu));
	for (unsigned i = 0; i < 16; i++)
		uc->uc_mcontext.gregs[gregs[i]] = (greg_t)current->gpr[i];
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)current->rip;
	uc->uc_mcontext.gregs[REG_EFL] = (greg_t)current->rflags;
	if (current->code32) {
		uc->uc_mcontext.gregs[REG_CSGSFS] &= ~0xffffLL;
		uc->uc_mcontext.gregs[REG_CSGSFS] |= LINUX_CS32;
	}
	fpu_put((uint8_t *)uc->uc_mcontext.fpregs, current);
}

static void on_end(ucontext_t *uc, void *addr)
{
	struct native_state *s = current;
	void *fpu = uc->uc_mcontext.fpregs;
	greg_t trap = uc->uc_mcontext.gregs[REG_TRAPNO];

	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = (uint64_t)uc->uc_mcontext.gregs[gregs[i]];
	s->rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP] - (trap == 3);
	s->rflags = (uint64_t)uc->uc_mcontext.gregs[REG_EFL];
	s->vector = trap == 3 ? 0 : (uint64_t)trap + 1;
	s->cr2 = trap == 14 ? (uint64_t)(uintptr_t)addr : 0;
	fpu_get(fpu, s);
	current = NULL;
	uc->uc_mcontext = saved.uc_mcontext;
	uc->uc_mcontext.fpregs = fpu;
	memcpy(fpu, saved_fpu, sizeof(saved_fpu));
}

static void handler(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;

	if (sig == SIGUSR2) {
		on_start(uc);
		return;
	}
	if (emu_signal(sig, ctx))
		return;
	if (!current) {
		signal(sig, SIG_DFL);
		return;
	}
	on_end(uc, si->si_addr);
}

int native_signals(void)
{
	static const int sigs[] = { SIGUSR2, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		if (sigaction(sigs[i], &sa, NULL))
			return -1;
	return 0;
}

int native_setup(void)
{
	stack_t st = { .ss_size = 1 << 17 };

	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(LINUX_DS));
	st.ss_sp = malloc(st.ss_size);
	if (!st.ss_sp || sigaltstack(&st, NULL))
		return -1;
	if (mmap((void *)CODE_VA, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ||
	    mmap((void *)DATA_VA, NR_DATA * 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		return -1;
	return 0;
}

void native_teardown(void)
{
	stack_t st = { .ss_flags = SS_DISABLE }, old;

	munmap((void *)CODE_VA, 4096);
	munmap((void *)DATA_VA, NR_DATA * 4096);
	sigaltstack(&st, &old);
	free(old.ss_sp);
}

void native_run(struct native_state *s)
{
	current = s;
	raise(SIGUSR2);
}
