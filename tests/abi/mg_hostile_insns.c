/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: random bytes as kernel code.  Whatever they are, privileged, undefined, prefixed beyond measure, the guest
 * gets an exception or goes on; it never gets out.  Registers hold addresses of the arena so that memory operands hit.
 * Each trial ends in an int3, a fault, or by the timer when it loops.  Sooner or later one leaves the stack pointer where no
 * frame can go and the domain ends: the runner takes that as well, and starts the next with another seed.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_insns";

static uint8_t *code, *arena;
static uint64_t saved_sp;
static volatile unsigned long traps, timeouts;

static void arm(void)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time(0) + 20000000 };

	vcpu_op(VCPUOP_set_singleshot_timer, 0, &t);
}

static bool any_trap(struct trap_regs *r)
{
	if (r->vector == TRAP_EVENT) {
		vcpu_info(0)->evtchn_upcall_pending = 0;
		vcpu_info(0)->evtchn_pending_sel = 0;
		for (unsigned i = 0; i < 4; i++)
			shared->evtchn_pending[i] = 0;
		timeouts++;
		if (r->rip < (uint64_t)code || r->rip >= (uint64_t)code + 4096)
			return true;
	}
	traps++;
	__asm__ volatile("mov %0, %%rsp\n\tjmp trial_over" : : "m"(saved_sp));
	__builtin_unreachable();
}

static void __attribute__((noinline)) trial(uint64_t seed)
{
	__asm__ volatile(
		"push %%rbx\n\tpush %%rbp\n\tmov %%rsp, %[sp]\n\t"
		"mov %[arena], %%rax\n\tmov %%rax, %%rbx\n\tmov %%rax, %%rdx\n\tmov %%rax, %%rsi\n\tmov %%rax, %%rdi\n\t"
		"mov %%rax, %%rbp\n\tmov %%rax, %%r8\n\tmov %%rax, %%r9\n\tmov %%rax, %%r10\n\tmov %%rax, %%r11\n\t"
		"mov %%rax, %%r12\n\tmov %%rax, %%r13\n\tmov %%rax, %%r14\n\tmov %%rax, %%r15\n\tlea 2048(%%rax), %%rsp\n\t"
		"mov $5, %%ecx\n\tjmp *%[code]\n"
		"trial_over:\n\tcld\n\tpop %%rbp\n\tpop %%rbx"
		: [sp] "=m"(saved_sp) : [arena] "m"(arena), [code] "m"(code)
		: "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %0, %%fs\n\tmov %0, %%gs" : : "r"(0));
}

/* Calls that legitimately end or deafen the guest: a bare syscall is one of them with the wrong rax. */
static bool unwanted(const uint8_t *p)
{
	return (p[0] == 0x0f && p[1] == 0x05) || (p[0] == 0xcd && p[1] == 0x82);
}

void guest_main(void)
{
	for (const int8_t *c = si->cmd_line; *c; c++)   /* another seed, another run */
		for (int i = *c; i; i--)
			rnd();
	code = page_alloc();
	arena = page_alloc();
	for (unsigned i = 0; i < 6; i++)
		page_alloc();
	arena += 4096;
	bind_virq(VIRQ_TIMER, 0);
	trap_hook = any_trap;
	for (unsigned round = 0; round < 6000; round++) {
		for (unsigned i = 0; i < 16; i++) {
			static const uint8_t often[] = { 0x0f, 0x66, 0xf2, 0xf3, 0x48, 0x67, 0xc4, 0xc5, 0x62, 0x64, 0x65 };

			do
				code[i] = rnd() % 3 ? (uint8_t)rnd() : often[rnd() % sizeof(often)];
			while (code[i] == 0xf0 || code[i] == 0x86 || code[i] == 0x87);  /* see mg_hostile_user.c */
			if (i && unwanted(code + i - 1))
				code[i] = 0x90;
		}
		memset(code + 16, 0xcc, 4080);
		memset(arena - 4096, (int)(rnd() & 0xff), 3 * 4096);
		if (round % 64 == 0)
			arm();
		events_on();
		trial(round);
		events_off();
	}
	trap_hook = NULL;
}
