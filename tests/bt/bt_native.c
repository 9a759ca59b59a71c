/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_native.c - see bt_native.h.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/bt/bt_native.h"

static struct btn_shared *shared;
static pid_t child;
static int to_child[2], from_child[2];
uint64_t btn_target;
uint64_t host_rsp;                   /* of the asm below */
static uint64_t best_ns;

static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
			       REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

void btn_enter(struct btn_state *s);
void btn_leave(void);

/* Loads the state and jumps; comes back through btn_leave with the stack as it was. */
__asm__(
	".text\n"
	".globl btn_enter\n"
	"btn_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, host_rsp(%rip)\n"
	"	mov $0xe7, %eax; xor %edx, %edx; lea 192(%rdi), %rcx; xrstor64 (%rcx)\n"
	"	pushq 136(%rdi); popfq\n"
	"	mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
	"	mov 32(%rdi), %rsp; mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
	"	mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
	"	mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
	"	mov 56(%rdi), %rdi\n"
	"	jmp *btn_target(%rip)\n"
	".globl btn_leave\n"
	"btn_leave:\n"
	"	mov host_rsp(%rip), %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	cld\n"
	"	ret\n");



static void on_fault(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;
	greg_t *g = uc->uc_mcontext.gregs;
	struct btn_state *o = &shared->out;
	static const uint32_t mxcsr = 0x1f80;

	for (int i = 0; i < 16; i++)
		o->gpr[i] = (uint64_t)g[order[i]];
	o->rip = (uint64_t)g[REG_RIP];
	o->rflags = (uint64_t)g[REG_EFL];
	o->vector = sig == SIGVTALRM ? 255 : (uint64_t)g[REG_TRAPNO];
	o->cr2 = (uint64_t)g[REG_CR2];
	/* xsave: the kernel's frame may be compacted by nobody; fpregs points at a standard-format area */
	memcpy(o->xsave, uc->uc_mcontext.fpregs, 832);
	memcpy((uint8_t *)uc->uc_mcontext.fpregs + 24, &mxcsr, 4);
	g[REG_RIP] = (greg_t)(uintptr_t)btn_leave;
	g[REG_EFL] &= ~0x500L;
}

static void map_fixed(int fd, uint64_t va, unsigned pages, unsigned first)
{
	if (mmap((void *)va, pages * 4096UL, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd,
		 (off_t)(offsetof(struct btn_shared, mem) + first * 4096UL)) == MAP_FAILED)
		_exit(3);
}

static void map_memory(int fd, uint64_t base)
{
	map_fixed(fd, base + BTN_CODE_VA, BTN_CODE_PAGES, 0);
	map_fixed(fd, base + BTN_DATA_VA, BTN_DATA_PAGES, BTN_CODE_PAGES);
	map_fixed(fd, base + BTN_STACK_VA, BTN_STACK_PAGES, BTN_CODE_PAGES + BTN_DATA_PAGES);
	mprotect((void *)(base + BTN_DATA_VA + BTN_HOLE * 4096UL), 4096, PROT_NONE);
	mprotect((void *)(base + BTN_DATA_VA + BTN_RO * 4096UL), 4096, PROT_READ);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000UL + (uint64_t)ts.tv_nsec;
}

/* Of its own processor time: a busy machine makes no program endless. */
static void limit_ms(unsigned ms)
{
	struct itimerval t = { .it_value.tv_usec = (suseconds_t)ms * 1000 };

	setitimer(ITIMER_VIRTUAL, &t, NULL);
}

static void child_main(int fd)
{
	static uint8_t stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGVTALRM };
	uint32_t cmd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map_memory(fd, 0);
	map_memory(fd, BTN_HIGH);
	sigaltstack(&ss, NULL);
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	while (read(to_child[0], &cmd, sizeof(cmd)) == sizeof(cmd)) {
		uint64_t best = UINT64_MAX;

		btn_target = shared->in.rip;
		if (cmd == 0)
			limit_ms(500);
		else
			mprotect((void *)BTN_DATA_VA, BTN_DATA_PAGES * 4096UL, PROT_READ | PROT_WRITE);
		for (uint32_t i = 0; i < (cmd ? cmd : 1); i++) {
			uint64_t t = now_ns();

			btn_enter(&shared->in);
			t = now_ns() - t;
			if (t < best)
				best = t;
		}
		limit_ms(0);
		if (write(from_child[1], &best, sizeof(best)) != sizeof(best))
			_exit(4);
	}
	_exit(0);
}

struct btn_shared *btn_start(void)
{
	int fd = memfd_create("bt-native", 0);

	if (fd < 0 || ftruncate(fd, sizeof(*shared)) || pipe(to_child) || pipe(from_child))
		return NULL;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return NULL;
	child = fork();
	if (!child)
		child_main(fd);
	close(fd);
	return child > 0 ? shared : NULL;
}

/* 0; or -1: the child is dead.  However busy the machine is, an answer comes: what it runs has a limit of its own processor time. */
static int command(uint32_t cmd)
{
	struct pollfd p = { .fd = from_child[0], .events = POLLIN };

	if (write(to_child[1], &cmd, sizeof(cmd)) != sizeof(cmd))
		return -1;
	while (poll(&p, 1, 1000) != 1)
		if (waitpid(child, NULL, WNOHANG) != 0)
			return -1;
	return read(from_child[0], &best_ns, sizeof(best_ns)) == sizeof(best_ns) ? 0 : -1;
}

int btn_run(struct btn_shared *s) { return command(0); }

uint64_t btn_time(struct btn_shared *s, unsigned times) { return command(times) ? 0 : best_ns; }

void btn_stop(void)
{
	close(to_child[1]);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
