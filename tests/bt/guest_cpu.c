/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_cpu.c - /init of a guest that looks at its own processor: faults and the signals they become, privileged
 * instructions in user mode, vector state across signals and switches, code that changes, 32-bit code, single steps.
 *
 * Static; test-guest-cpu boots it and reads "checks: N, failed: M" off the console.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static int checks, failed;

static void check(const char *what, bool ok)
{
	checks++;
	failed += !ok;
	printf("%s %s\n", ok ? "ok  " : "FAIL", what);
}

/* ---- faults ---- */

static sigjmp_buf back;
static volatile int got_signal;
static volatile uint64_t got_trap, got_error, got_cr2;

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;

	got_signal = sig;
	got_trap = (uint64_t)g[REG_TRAPNO];
	got_error = (uint64_t)g[REG_ERR];
	got_cr2 = (uint64_t)g[REG_CR2];
	siglongjmp(back, 1);
}

/* Runs `statement`, which is to end in signal sig (0: none) with that trap number and error code. */
#define FAULT(what, sig, trap, error, statement) do { \
	got_signal = 0; \
	if (!sigsetjmp(back, 1)) { statement; } \
	if (got_signal != (sig) || ((sig) && (got_trap != (trap) || got_error != (error)))) \
		printf("  signal %d trap %lu error %#lx\n", got_signal, (unsigned long)got_trap, (unsigned long)got_error); \
	check(what, got_signal == (sig) && (!(sig) || (got_trap == (trap) && got_error == (error)))); \
} while (0)

#define INSN(text) __asm__ volatile(text : : : "rax", "rcx", "rdx", "memory")

static void memory_faults(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile char *p = page, *volatile nothing = NULL;
	union { char *data; void (*code)(void); } u = { .data = page };

	FAULT("read of nothing", SIGSEGV, 14, 4, (void)nothing[8]);
	check("cr2", got_cr2 == 8);
	FAULT("write to nothing", SIGSEGV, 14, 6, nothing[16] = 1);
	FAULT("first write", 0, 0, 0, p[5] = 1);
	mprotect(page, 4096, PROT_READ);
	FAULT("write to a read-only page", SIGSEGV, 14, 7, p[5] = 2);
	FAULT("write across into a read-only page", 0, 0, 0, *(volatile uint64_t *)(page + 4096) = 3);
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	FAULT("write after mprotect", 0, 0, 0, p[5] = 2);
	FAULT("no-execute", SIGSEGV, 14, 0x15, u.code());
	FAULT("kernel address", SIGSEGV, 14, 5, (void)*(volatile char *)0xffffffff81000000);
	FAULT("address with a hole in it", SIGSEGV, 13, 0, (void)*(volatile char *)(1UL << 60));
	mprotect(page + 4096, 4096, PROT_NONE);
	FAULT("write across into nothing", SIGSEGV, 14, 6, *(volatile uint64_t *)(page + 4092) = -1UL);
	check("cr2 of the second page", got_cr2 == (uint64_t)(uintptr_t)page + 4096);
	check("nothing of it was written", page[4092] == 0 && page[4095] == 0);
	munmap(page, 8192);
	FAULT("read after munmap", SIGSEGV, 14, 4, (void)p[0]);
}

static void instruction_faults(void)
{
	static char buf[64] __attribute__((aligned(64)));
	static const uint32_t unmasked = 0x1d80, normal = 0x1f80;      /* divide by zero */
	volatile long pid = 0;

	FAULT("division by zero", SIGFPE, 0, 0, INSN("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx"));
	FAULT("ud2", SIGILL, 6, 0, INSN("ud2"));
	FAULT("int3", SIGTRAP, 3, 0, INSN("int3"));
	FAULT("hlt", SIGSEGV, 13, 0, INSN("hlt"));
	FAULT("cli", SIGSEGV, 13, 0, INSN("cli"));
	FAULT("in", SIGSEGV, 13, 0, INSN("in $0x80, %%al"));
	FAULT("rdmsr", SIGSEGV, 13, 0, INSN("mov $0xc0000080, %%ecx; rdmsr"));
	FAULT("mov from cr0", SIGSEGV, 13, 0, INSN("mov %%cr0, %%rax"));
	FAULT("swapgs", SIGSEGV, 13, 0, INSN("swapgs"));
	FAULT("rdfsbase is not offered", SIGILL, 6, 0, INSN("rdfsbase %%rax"));
	FAULT("vmcall", SIGILL, 6, 0, INSN("vmcall"));
	FAULT("misaligned movaps", SIGSEGV, 13, 0,
	      __asm__ volatile("movaps %0, %%xmm0" : : "m"(buf[1]) : "xmm0"));
	FAULT("SSE exception", SIGFPE, 19, 0,
	      __asm__ volatile("ldmxcsr %0; xorps %%xmm0, %%xmm0; mov $0x3f800000, %%eax; movd %%eax, %%xmm1; divss %%xmm0, %%xmm1"
			       : : "m"(unmasked) : "rax", "xmm0", "xmm1"));
	__asm__ volatile("ldmxcsr %0" : : "m"(normal));
	FAULT("int $0x80 from 64-bit code", 0, 0, 0,
	      long r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11"); pid = r);
	check("its result", pid == getpid());
}

/* ---- vector state ---- */

__attribute__((target("avx2"))) static bool avx2_works(void)
{
	static const int table[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	__m256i v = _mm256_mullo_epi32(_mm256_set1_epi32(3), _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8));
	int out[8];

	v = _mm256_add_epi32(v, _mm256_i32gather_epi32(table, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0), 4));
	_mm256_storeu_si256((__m256i *)(void *)out, v);
	return out[0] == 11 && out[7] == 25;
}

static void *sum_roots(void *arg)
{
	double sum = 0;

	for (int i = 0; i < 300000; i++)
		sum += sqrt(i);
	*(double *)arg = sum;
	return NULL;
}

static volatile int ticks;

static void on_tick(int sig)
{
	volatile double x = ticks;

	ticks = (int)(x + 1.0);
}

static void vector_state(void)
{
	volatile long double three = 3;
	pthread_t t[4];
	double sum[4];
	struct timespec a, b;
	volatile double acc = 0;

	if (__builtin_cpu_supports("avx2"))
		check("AVX2 and a gather", avx2_works());
	check("x87", fabsl(sqrtl(three) * sinl(three) - 0.24442702392L) < 1e-9L);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, sum_roots, &sum[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	check("floating point in four threads", sum[0] == sum[1] && sum[1] == sum[2] && sum[2] == sum[3] && sum[0] > 1e8);
	signal(SIGALRM, on_tick);
	ualarm(2000, 2000);
	clock_gettime(CLOCK_MONOTONIC, &a);
	do {
		for (int i = 0; i < 1000; i++)
			acc += 0.5;
		clock_gettime(CLOCK_MONOTONIC, &b);
	} while (b.tv_sec - a.tv_sec < 2 && ticks < 20);
	ualarm(0, 0);
	check("timer signals amid floating point", ticks >= 20 && acc == floor(acc * 2) / 2);
}

/* ---- code that changes, and code of another width ---- */

static void changing_code(void)
{
	uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	union { uint8_t *p; int (*f)(void); } u = { .p = code };
	bool ok = true;

	for (int i = 0; i < 1000; i++) {
		code[0] = 0xb8;                          /* mov $i, %eax; ret */
		memcpy(code + 1, &i, 4);
		code[5] = 0xc3;
		ok &= u.f() == i;
	}
	check("code written over a thousand times", ok);
}

/* A far call to the compatibility segment (Linux: 0x23), with a stack below 4 GiB. */
static uint32_t call32(const uint8_t *text, size_t n)
{
	static uint8_t *low;
	struct { uint32_t offset; uint16_t sel; } __attribute__((packed)) to = { 0, 0x23 };
	uint64_t r = 0;

	if (!low)
		low = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	memcpy(low, text, n);
	to.offset = (uint32_t)(uintptr_t)low;
	__asm__ volatile("mov %%rsp, %%r12; mov %2, %%rsp; lcall *(%1); mov %%r12, %%rsp"
			 : "=&a"(r) : "r"(&to), "r"(low + 8000) : "rcx", "rdx", "r12", "memory", "cc");
	return (uint32_t)r;
}

static void code32(void)
{
	/* mov $0x12345678, %eax; inc %eax; aaa; mov $10, %ecx; 1: add %ecx, %eax; loop 1b; lret */
	static const uint8_t count[] = { 0xb8, 0x78, 0x56, 0x34, 0x12, 0x40, 0x37, 0xb9, 0x0a, 0, 0, 0, 0x01, 0xc8, 0xe2, 0xfc, 0xcb };
	static const uint8_t getpid32[] = { 0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xcb };

	check("32-bit code", call32(count, sizeof(count)) == 0x12345640);
	check("32-bit system call", call32(getpid32, sizeof(getpid32)) == (uint32_t)getpid());
}

/* ---- processes ---- */

static void single_step(void)
{
	pid_t p = fork();
	int st, steps = 0;

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		__asm__ volatile("nop; nop; nop; mov $60, %%eax; xor %%edi, %%edi; syscall" : : : "rax", "rdi");
	}
	waitpid(p, &st, 0);
	while (WIFSTOPPED(st) && steps < 10000) {
		steps++;
		ptrace(PTRACE_SINGLESTEP, p, 0, 0);
		if (waitpid(p, &st, 0) < 0)
			break;
	}
	check("single steps to the end", WIFEXITED(st) && WEXITSTATUS(st) == 0 && steps > 5 && steps < 1000);
}

static void processes(void)
{
	bool ok = true;
	unsigned cpu = 99;
	int st, cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);

	for (int i = 0; i < 20; i++) {
		pid_t p = fork();

		if (!p)
			_exit(i);
		ok &= waitpid(p, &st, 0) == p && WEXITSTATUS(st) == i;
	}
	check("forks", ok);
	for (int i = 0; i < cpus; i++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(i, &set);
		ok = sched_setaffinity(0, sizeof(set), &set) == 0;
		syscall(SYS_getcpu, &cpu, NULL, NULL);
		check("CPU number, by system call and by segment limit", ok && sched_getcpu() == i && cpu == (unsigned)i);
		instruction_faults();                    /* on every vCPU: each has its own trap table */
	}
}

int main(void)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };
	int fd;

	mkdir("/dev", 0755);
	mknod("/dev/console", S_IFCHR | 0600, makedev(5, 1));
	fd = open("/dev/console", O_RDWR);
	if (fd >= 0)
		dup2(fd, 1);
	setvbuf(stdout, NULL, _IONBF, 0);
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	memory_faults();
	vector_state();
	changing_code();
	code32();
	single_step();
	processes();
	printf("checks: %d, failed: %d\n", checks, failed);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
