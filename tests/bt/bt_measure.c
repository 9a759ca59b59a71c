/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bt_measure.c - see bt_measure.h. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/bt/bt_measure.h"

#define PAGE 4096UL

static uint8_t *code_end, *data_end[3];
static volatile uint64_t at_rip, at_address;
static volatile int at_signal;
static volatile bool with_address;
uint64_t measure_host_rsp, measure_target, measure_gpr[16];

void measure_enter(void);
void measure_leave(void);

/* The guest's stack pointer is none: handlers have a stack of their own. */
__asm__(
	".text\n"
	".globl measure_enter\n"
	"measure_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, measure_host_rsp(%rip)\n"
	"	lea measure_gpr(%rip), %rdi\n"
	"	mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
	"	mov 32(%rdi), %rsp; mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
	"	mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
	"	mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
	"	mov 56(%rdi), %rdi\n"
	"	jmp *measure_target(%rip)\n"
	".globl measure_leave\n"
	"measure_leave:\n"
	"	fninit\n"
	"	mov measure_host_rsp(%rip), %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	cld\n"
	"	ret\n");

static void on_fault(int sig, siginfo_t *si, void *ctx)
{
	static const uint32_t mxcsr = 0x1f80;
	ucontext_t *uc = ctx;
	greg_t *g = uc->uc_mcontext.gregs;

	at_rip = (uint64_t)g[REG_RIP];
	at_signal = sig;
	with_address = sig == SIGSEGV && (si->si_code == SEGV_MAPERR || si->si_code == SEGV_ACCERR);
	at_address = (uint64_t)(uintptr_t)si->si_addr;
	memcpy((uint8_t *)uc->uc_mcontext.fpregs + 24, &mxcsr, 4);
	g[REG_RIP] = (greg_t)(uintptr_t)measure_leave;
	g[REG_EFL] &= ~0x500L;
}

/* A page with nothing before and behind it; its end. */
static uint8_t *page_between(int prot)
{
	uint8_t *p = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED || mprotect(p + PAGE, PAGE, prot) ? NULL : p + 2 * PAGE;
}

int measure_begin(void)
{
	static uint8_t stack[65536];
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };

	code_end = page_between(PROT_READ | PROT_WRITE | PROT_EXEC);
	for (unsigned i = 0; i < 3; i++)
		data_end[i] = page_between(PROT_READ | PROT_WRITE);
	if (!code_end || !data_end[0] || !data_end[1] || !data_end[2])
		return -ENOMEM;
	memset(data_end[MEASURE_ONES] - PAGE, 1, PAGE);
	if (mprotect(data_end[MEASURE_ZEROS] - PAGE, PAGE, PROT_READ) || mprotect(data_end[MEASURE_ONES] - PAGE, PAGE, PROT_READ) ||
	    sigaltstack(&ss, NULL))
		return -errno;
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		if (sigaction(sigs[i], &sa, NULL))
			return -errno;
	return 0;
}

enum measured measure(const uint8_t *code, size_t n, enum measure_data data, size_t size, unsigned reg)
{
	uint64_t start = (uint64_t)(uintptr_t)(code_end - n), end = (uint64_t)(uintptr_t)code_end;
	uint64_t operand = (uint64_t)(uintptr_t)(data_end[data] - size);

	memcpy(code_end - n, code, n);
	if (data == MEASURE_WRITABLE)
		memset(data_end[data] - 256, 1, 256);
	measure_target = start;
	memset(measure_gpr, 0, sizeof(measure_gpr));
	measure_gpr[reg] = operand;
	measure_enter();
	if (with_address && at_address == end && at_rip == end)
		return MEASURED_DONE;
	if (at_rip != start)
		return MEASURED_ELSEWHERE;
	if (!with_address)
		return MEASURED_FAULT;
	if (at_address == end)
		return MEASURED_LONGER;
	if (at_address >= operand + size && at_address < operand + size + PAGE)
		return MEASURED_BEYOND;
	if (data != MEASURE_WRITABLE && at_address >= operand && at_address < operand + size)
		return MEASURED_WROTE;
	return MEASURED_ELSEWHERE;
}
