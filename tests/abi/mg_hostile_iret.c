/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: the iret hypercall with every kind of frame: random selectors of kernel and user, addresses that are not
 * canonical, flags with VM, NT, TF, IOPL, AC, RF set, 32-bit and unmapped code.  Each ends in a trap the kernel gets, with
 * user frames having user's cs and kernel frames kernel's.
 */
#include "micro_guest.h"

const char guest_name[] = "hostile_iret";

static uint64_t saved_sp;
static volatile unsigned user_traps, kernel_traps, vectors[32];

static bool on_trap(struct trap_regs *r)
{
	if ((r->cs & 3) == 3)
		user_traps++;
	else
		kernel_traps++;
	if (r->vector < 32)
		vectors[r->vector]++;
	__asm__ volatile("mov %0, %%rsp\n\tjmp iret_over" : : "m"(saved_sp));
	__builtin_unreachable();
}

static void __attribute__((noinline)) go(const struct iret_context *f)
{
	__asm__ volatile("push %%rbx\n\tpush %%rbp\n\tmov %%rsp, %[sp]\n\tmov %[f], %%rsp\n\tmov $23, %%eax\n\tsyscall\n"
			 "iret_over:\n\tcld\n\tpop %%rbp\n\tpop %%rbx"
			 : [sp] "=m"(saved_sp) : [f] "r"(f)
			 : "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
}

static uint64_t pick(const uint64_t *from, unsigned n) { return rnd() % 4 ? from[rnd() % n] : rnd(); }

void guest_main(void)
{
	static const uint8_t insns[] = { 0xcc };
	static struct iret_context f __attribute__((aligned(16)));
	static uint8_t stack[512] __attribute__((aligned(16)));
	uint64_t *gdt = page_alloc(), frame = va_to_mfn(gdt), target = (uint64_t)page_alloc();
	const uint64_t cs[] = { FLAT_USER_CS64, FLAT_USER_CS32, FLAT_KERNEL_CS & ~3UL, 0x33, 0x3b, 0x30, 0, 8, 0xfff3, 0x10003 };
	const uint64_t ss[] = { FLAT_USER_SS, FLAT_KERNEL_SS, 0, 3, 0x2b, 0x28, 0x33, 0x7fff };
	const uint64_t rip[] = { USER_CODE, target, USER_CODE + 1, 1UL << 47, ~0UL, 0xffff800000000000UL, 0 };
	const uint64_t rsp[] = { USER_STACK, (uint64_t)stack + 512, USER_STACK - 8 };

	memset((void *)target, 0xcc, 4096);
	gdt[5] = 0x00cff3000000ffffUL;
	gdt[6] = 0x00cffb000000ffffUL;
	gdt[7] = 0x00affb000000ffffUL;
	make_readonly(gdt);
	CHECK_EQ(hypercall(set_gdt, &frame, 512, 0, 0), 0);
	user_tables(false);
	run_user(insns, 1);
	trap_hook = on_trap;
	for (unsigned i = 0; i < 4000; i++) {
		f.rax = rnd();
		f.r11 = rnd();
		f.rcx = rnd();
		f.flags = rnd() & 1 ? VGCF_in_syscall : rnd() & 3 ? 0 : rnd();
		f.rip = pick(rip, 7);
		f.cs = pick(cs, 10);
		f.rflags = rnd() & ~0x200UL;
		f.ss = pick(ss, 8);
		f.rsp = (f.cs & 3) == 3 ? pick(rsp, 3) : (uint64_t)stack + 512 - (rnd() & 15);  /* a kernel's must take frames */
		go(&f);
	}
	trap_hook = NULL;
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(0));
	CHECK(user_traps > 500 && kernel_traps > 100);
	CHECK(vectors[3] > 50 && vectors[13] > 50 && vectors[14] > 50);
}
