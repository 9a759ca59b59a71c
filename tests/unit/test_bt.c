/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_bt.c - the bt engine beside plain execution (bt_fuzz does that): self-modifying code, changed mappings, kicks,
 * the dirty log, two vCPUs on one cache, full flushes.
 */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include "tests/bt/bt_guest.h"

static struct btg *g;

static void load_code(const uint8_t *code, size_t n)
{
	bt_signals_install();                                   /* cmocka has put its own handlers over ours */
	memcpy(btg_mem(g), code, n);
	btg_written(g, 0, BTN_CODE_PAGES);
}

static void start(struct vcpu *v, uint64_t off)
{
	memset(v->regs.gpr, 0, sizeof(v->regs.gpr));
	v->regs.rip = BTN_CODE_VA + off;
	v->regs.rflags = 2;
	v->regs.gpr[REG_RSP] = BTN_STACK_VA + 0x2000;
	v->regs.gpr[REG_RBX] = BTN_DATA_VA;
	v->regs.kernel_mode = 0;
}

#define CODE(...) do { static const uint8_t c[] = { __VA_ARGS__ }; load_code(c, sizeof(c)); start(g->v, 0); } while (0)

/* A store to an instruction ahead in the same block takes effect before it is reached. */
static void self_modifying(void **state)
{
	for (int i = 0; i < 20; i++) {
		CODE(0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x2a,   /* movb $42, 1(%rip): the immediate of the next */
		     0xb8, 0x01, 0x00, 0x00, 0x00,               /* mov $1, eax */
		     0x0f, 0x05);
		assert_int_equal(btg_run(g), EXIT_SYSCALL);
		assert_int_equal(g->v->regs.gpr[REG_RAX], 42);
		assert_int_equal(g->v->regs.rip, BTN_CODE_VA + 14);
	}
}

/* Written through another mapping of the frame, as kernels patch themselves. */
static void modified_through_alias(void **state)
{
	uint64_t alias = 0x40000000;

	*btg_slot(g, alias) = BTG_MEM << 12 | PTE_P | PTE_RW | PTE_US;
	CODE(0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05,           /* mov $1, eax; syscall */
	     0xc6, 0x01, 0x07, 0x0f, 0x05);                      /* at 7: movb $7, (rcx); syscall */
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	assert_int_equal(g->v->regs.gpr[REG_RAX], 1);
	start(g->v, 7);
	g->v->regs.gpr[REG_RCX] = alias + 1;
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	start(g->v, 0);
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	assert_int_equal(g->v->regs.gpr[REG_RAX], 7);
	*btg_slot(g, alias) = 0;
	engine_bt.tlb_invlpg_local(g->v, alias);
}

static void code_page_remapped(void **state)
{
	uint64_t *slot = btg_slot(g, BTN_CODE_VA), was = *slot;
	uint8_t *other = btg_mem(g) + 4096;

	CODE(0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05);
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	assert_int_equal(g->v->regs.gpr[REG_RAX], 1);
	memcpy(other, btg_mem(g), 16);
	other[1] = 9;
	btg_written(g, 1, 1);
	*slot = (was & 0xfff) | (BTG_MEM + 1) << 12;
	engine_bt.tlb_invlpg_local(g->v, BTN_CODE_VA);
	start(g->v, 0);
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	assert_int_equal(g->v->regs.gpr[REG_RAX], 9);
	*slot = was;
	engine_bt.tlb_flush_local(g->v);
	start(g->v, 0);
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	assert_int_equal(g->v->regs.gpr[REG_RAX], 1);
}

static void exceptions(void **state)
{
	CODE(0x31, 0xd2, 0x31, 0xc9, 0xf7, 0xf1);                /* xor edx,edx; xor ecx,ecx; div ecx */
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 0);
	assert_int_equal(g->v->regs.rip, BTN_CODE_VA + 4);
	CODE(0x90, 0x0f, 0x0b);
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 6);
	assert_int_equal(g->v->regs.rip, BTN_CODE_VA + 1);
	CODE(0xcc);
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 3);
	assert_int_equal(g->v->regs.rip, BTN_CODE_VA + 1);
	CODE(0xff, 0xc0, 0x48, 0x89, 0x83, 0x00, 0xc0, 0x00, 0x00);  /* inc eax; mov rax, hole(rbx) */
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 14);
	assert_int_equal(g->v->exc.error_code, PFEC_W | PFEC_U);
	assert_int_equal(g->v->exc.cr2, BTN_DATA_VA + 0xc000);
	assert_int_equal(g->v->regs.rip, BTN_CODE_VA + 2);
	assert_int_equal(g->v->regs.gpr[REG_RAX], 1);
	CODE(0x48, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8b, 0x03); /* mov $1<<63, rbx; mov (rbx), eax */
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 13);
	CODE(0x90, 0x90, 0x0f, 0x05);
	g->v->regs.rflags |= 0x100;                              /* single step */
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 1);
	assert_int_equal(g->v->regs.rip, BTN_CODE_VA + 1);
}

/*
 * At the end of what is mapped the fetch faults only if more octets are needed to tell what it is.  One that no octets make valid was reported as
 * a page fault of the next page.
 */
static void end_of_what_is_mapped(void **state)
{
	const unsigned at = BTN_CODE_PAGES * 4096 - 1;
	uint8_t *last = btg_mem(g) + at;

	*last = 0x2f;                                            /* das: not in 64-bit mode */
	btg_written(g, BTN_CODE_PAGES - 1, 1);
	start(g->v, at);
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 6);
	assert_int_equal(g->v->regs.rip, BTN_CODE_VA + at);
	*last = 0x48;                                            /* a prefix */
	btg_written(g, BTN_CODE_PAGES - 1, 1);
	start(g->v, at);
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 14);
	assert_int_equal(g->v->exc.cr2, BTN_CODE_VA + at + 1);
	assert_int_equal(g->v->regs.rip, BTN_CODE_VA + at);
	*last = 0;
	btg_written(g, BTN_CODE_PAGES - 1, 1);
}

/* ---- kicks ---- */

static atomic_bool stop;

static void *kicker(void *arg)
{
	struct timespec ts = { 0, 300000 };

	while (!atomic_load(&stop)) {
		nanosleep(&ts, NULL);
		engine_bt.kick(arg);
	}
	return NULL;
}

/* Endless loops of several kinds end with EXIT_KICK, and a counter they keep in two places never disagrees. */
static void kick_loops(void (*once_loaded)(void))
{
	static const uint8_t loops[][40] = {
		{ 0xeb, 0xfe },                                          /* jmp . */
		{ 0x48, 0xff, 0xc0, 0x48, 0xff, 0xc1, 0xeb, 0xf8 },      /* inc rax; inc rcx; jmp */
		{ 0x48, 0xff, 0xc0, 0x48, 0xff, 0x03, 0x48, 0x8b, 0x0b, 0xeb, 0xf5 },   /* inc rax; inc (rbx); mov (rbx),rcx */
		{ 0x48, 0xff, 0xc0, 0x50, 0x59, 0xe8, 0x02, 0x00, 0x00, 0x00, 0xeb, 0xf4, 0xc3 },  /* push; pop; call; ret */
		{ 0x48, 0x89, 0xdf, 0x48, 0x89, 0xde, 0xb9, 0x00, 0x20, 0x00, 0x00, 0xf3, 0xa4, 0xeb, 0xf1 },  /* rep movs */
		{ 0x48, 0xff, 0xc0, 0x48, 0xff, 0x83, 0xfd, 0x0f, 0x00, 0x00, 0xeb, 0xf4 },     /* inc across pages */
	};
	pthread_t t;

	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&t, NULL, kicker, g->v), 0);
	for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		load_code(loops[i], sizeof(loops[i]));
		if (once_loaded)
			once_loaded();
		start(g->v, 0);
		memset(btg_mem(g) + BTN_CODE_PAGES * 4096, 0, 8192);
		for (int k = 0; k < 100; k++) {
			assert_int_equal(engine_bt.run(g->v), EXIT_KICK);
			assert_in_range(g->v->regs.rip, BTN_CODE_VA, BTN_CODE_VA + 20);
			if (i >= 1 && i <= 3)
				assert_in_range(g->v->regs.gpr[REG_RAX] - g->v->regs.gpr[REG_RCX], 0, 1);
			if (i == 5) {
				uint64_t n;

				memcpy(&n, btg_mem(g) + BTN_CODE_PAGES * 4096 + 0xffd, 8);
				assert_in_range(g->v->regs.gpr[REG_RAX] - n, 0, 1);
			}
		}
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	atomic_store(&g->v->kick, false);
}

static void kicks(void **state) { kick_loops(NULL); }

static struct sigaction engine_trap;

/* As Linux tells a #DB whose DR6 a hypervisor has left empty. */
static void on_step_as_breakpoint(int sig, siginfo_t *si, void *ctx)
{
	si->si_code = TRAP_BRKPT;
	engine_trap.sa_sigaction(sig, si, ctx);
}

static void tell_steps_as_breakpoints(void)
{
	struct sigaction sa = { .sa_sigaction = on_step_as_breakpoint, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigfillset(&sa.sa_mask);
	sigaction(SIGTRAP, &sa, &engine_trap);
}

/* An hv-domain with eight vCPUs died of SIGTRAP, of a step to where it could be kicked that was told as something else. */
static void steps_told_as_breakpoints(void **state)
{
	uint64_t steps = bt_of(g->v)->stat[BS_STEP];

	kick_loops(tell_steps_as_breakpoints);
	assert_true(bt_of(g->v)->stat[BS_STEP] > steps);
	sigaction(SIGTRAP, &engine_trap, NULL);
}

/*
 * A kick that finds the vCPU where an access is tried again after its miss.  That may be the first byte of the instruction's code,
 * where the guest's flags and a scratch register are no longer in the host's.
 */
static unsigned colds, cold_to_trap;
static uint64_t resume;

void resume_trap(void);
__asm__(".text\n.globl resume_trap\nresume_trap:\n\tint3\n");

static int cold_then_trap(struct bt_vcpu *bv)
{
	int rc = bt_cold(bv);

	if (!rc && colds++ == cold_to_trap) {
		resume = bv->resume;
		bv->resume = (uint64_t)(uintptr_t)resume_trap;
	}
	return rc;
}

/* The trap is the kick's signal at the place where the engine was going. */
static void on_trap(int sig, siginfo_t *si, void *ctx)
{
	enum { UC_RIP = 16 };
	greg_t *rip = &((ucontext_t *)ctx)->uc_mcontext.gregs[UC_RIP];

	if (*rip == (greg_t)(uintptr_t)resume_trap + 1) {
		*rip = (greg_t)resume;
		sig = SIGUSR1;
	}
	engine_trap.sa_sigaction(sig, si, ctx);
}

static void run_missing(unsigned trap, struct cpu_regs *end)
{
	start(g->v, 0);
	for (unsigned r = REG_R8; r < NR_GPR; r++)
		g->v->regs.gpr[r] = 0x1111 * r;
	engine_bt.tlb_flush_local(g->v);
	btg_written(g, 0, 1);                                    /* the block as a whole, not from where the last one was left */
	colds = 0;
	cold_to_trap = trap;
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	*end = g->v->regs;
}

static void kicked_after_miss(void **state)
{
	static const struct { unsigned misses; uint8_t b[20]; } code[] = {
		/* sub $1, eax; sets (rbx); mov 0x20001040, ecx: the flags are in their slot since the sets */
		{ 2, { 0x83, 0xe8, 0x01, 0x0f, 0x98, 0x03, 0x8b, 0x0c, 0x25, 0x40, 0x10, 0x00, 0x20, 0x0f, 0x05 } },
		/* sub $1, eax; sets (rbx); jmp *0x20001048, to the syscall behind it */
		{ 2, { 0x83, 0xe8, 0x01, 0x0f, 0x98, 0x03, 0xff, 0x24, 0x25, 0x48, 0x10, 0x00, 0x20, 0x0f, 0x05 } },
		/* mov r10, rax; mov r11, rcx; mov eax, 0x20001040; xor edx, edx: the slots of r10 and r11 are up to date */
		{ 1, { 0x4c, 0x89, 0xd0, 0x4c, 0x89, 0xd9, 0x89, 0x04, 0x25, 0x40, 0x10, 0x00, 0x20, 0x31, 0xd2, 0x0f, 0x05 } },
	};
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	const uint64_t target = BTN_CODE_VA + 13;

	sigfillset(&sa.sa_mask);
	memcpy(btg_mem(g) + BTN_CODE_PAGES * 4096 + 0x1048, &target, 8);
	for (unsigned i = 0; i < sizeof(code) / sizeof(code[0]); i++) {
		struct cpu_regs want, got;

		load_code(code[i].b, sizeof(code[i].b));
		sigaction(SIGTRAP, &sa, &engine_trap);
		bt_of(g->v)->fn_cold = cold_then_trap;
		run_missing(~0U, &want);
		assert_int_equal(colds, code[i].misses);
		for (unsigned trap = 0; trap < code[i].misses; trap++) {
			uint64_t kicked = bt_of(g->v)->stat[BS_KICK];

			run_missing(trap, &got);
			assert_int_equal(bt_of(g->v)->stat[BS_KICK], kicked + 1);
			assert_memory_equal(got.gpr, want.gpr, sizeof(got.gpr));
			assert_int_equal(got.rflags & BT_RFLAGS_STATUS, want.rflags & BT_RFLAGS_STATUS);
		}
		bt_of(g->v)->fn_cold = bt_cold;
		sigaction(SIGTRAP, &engine_trap, NULL);
	}
}

/* ---- dirty log ---- */

static bool is_dirty(const uint64_t *map, uint64_t frame) { return map[frame / 64] >> (frame % 64) & 1; }

static void dirty_log(void **state)
{
	uint64_t *map = calloc(domain_nr_frames(&g->d) / 64 + 1, 8), data = BTG_MEM + BTN_CODE_PAGES;

	CODE(0x48, 0xff, 0x03, 0x0f, 0x05);                      /* inc (rbx); syscall */
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	assert_int_equal(engine_bt.dirty_log(&g->d, DIRTY_LOG_ON), 0);
	for (int i = 0; i < 3; i++) {
		start(g->v, 0);
		g->v->regs.gpr[REG_RBX] = BTN_DATA_VA + 4096;
		assert_int_equal(btg_run(g), EXIT_SYSCALL);
		assert_int_equal(engine_bt.dirty_sync(&g->d, map), 0);
		assert_false(is_dirty(map, data));
		assert_true(is_dirty(map, data + 1));
		assert_int_equal(engine_bt.dirty_sync(&g->d, map), 0);
		assert_false(is_dirty(map, data + 1));
		start(g->v, 0);
		g->v->regs.gpr[REG_RBX] = BTN_DATA_VA + 4093;    /* across two pages */
		assert_int_equal(btg_run(g), EXIT_SYSCALL);
		assert_int_equal(engine_bt.dirty_sync(&g->d, map), 0);
		assert_true(is_dirty(map, data) && is_dirty(map, data + 1));
	}
	assert_int_equal(engine_bt.dirty_log(&g->d, DIRTY_LOG_OFF), 0);
	free(map);
}

/* ---- the dirty log and a loop that looks its pages up for many rounds ---- */

#define LOG_PAGES 8

static atomic_bool halt, halted;
static unsigned missed, seen;

/* Takes the log and a copy of the pages while they are written to: what differs later has to be in the next log. */
static void *log_taker(void *arg)
{
	static uint8_t copy[LOG_PAGES * 4096];
	uint64_t *map = calloc(domain_nr_frames(&g->d) / 64 + 1, 8), first = BTG_MEM + BTN_CODE_PAGES + 4;
	const uint8_t *pages = btg_mem(g) + (BTN_CODE_PAGES + 4) * 4096;

	for (unsigned n = 0; n < 300; n++) {
		engine_bt.dirty_sync(&g->d, map);
		memcpy(copy, pages, sizeof(copy));
		usleep(n % 7 * 30);
		atomic_store(&halt, true);
		engine_bt.kick(g->v);
		while (!atomic_load(&halted))
			usleep(10);
		engine_bt.dirty_sync(&g->d, map);
		for (unsigned i = 0; i < LOG_PAGES; i++)
			if (memcmp(copy + i * 4096, pages + i * 4096, 4096)) {
				seen++;
				missed += !is_dirty(map, first + i);
			}
		atomic_store(&halted, false);
		atomic_store(&halt, false);
	}
	atomic_store(&stop, true);
	engine_bt.kick(g->v);
	free(map);
	return arg;
}

static void dirty_log_of_loops(void **state)
{
	pthread_t t;

	CODE(0x48, 0x89, 0xdf,                                   /* mov rbx, rdi */
	     0xb9, 0x00, 0x10, 0x00, 0x00,                       /* mov $4096, ecx */
	     0x48, 0xff, 0xc0,                                   /* inc rax */
	     0x48, 0x89, 0x07, 0x48, 0x83, 0xc7, 0x08,           /* 1: mov rax, (rdi); add $8, rdi */
	     0xff, 0xc9, 0x75, 0xf5, 0xeb, 0xe9);                /* dec ecx; jnz 1b; jmp */
	g->v->regs.gpr[REG_RBX] = BTN_DATA_VA + 4 * 4096;
	atomic_store(&stop, false);
	assert_int_equal(engine_bt.dirty_log(&g->d, DIRTY_LOG_ON), 0);
	assert_int_equal(pthread_create(&t, NULL, log_taker, NULL), 0);
	while (!atomic_load(&stop)) {
		assert_int_equal(engine_bt.run(g->v), EXIT_KICK);
		if (!atomic_load(&halt))
			continue;
		atomic_store(&halted, true);
		while (atomic_load(&halted))
			usleep(10);
	}
	pthread_join(t, NULL);
	assert_true(seen > 30);
	assert_int_equal(missed, 0);
	assert_int_equal(engine_bt.dirty_log(&g->d, DIRTY_LOG_OFF), 0);
	atomic_store(&g->v->kick, false);
}

/* ---- two vCPUs ---- */

#define ROUNDS 300000U

static void *second(void *arg)
{
	struct vcpu *v = arg;
	enum engine_exit e;

	if (engine_bt.vcpu_enter_thread(v))
		return (void *)1;
	do {
		e = engine_bt.run(v);
	} while (e == EXIT_KICK);
	return e == EXIT_SYSCALL ? NULL : (void *)2;
}

static void *disturber(void *arg)
{
	uint64_t *map = calloc(domain_nr_frames(&g->d) / 64 + 1, 8);
	struct timespec ts = { 0, 200000 };

	while (!atomic_load(&stop)) {
		nanosleep(&ts, NULL);
		engine_bt.dirty_sync(&g->d, map);
		engine_bt.frame_written(&g->d, BTG_MEM);         /* retranslate */
		bt_request(&g->d, NULL, ~0UL, BT_REQ_FLUSH, 0);
	}
	free(map);
	return NULL;
}

#define HIGH(i) (BTN_HIGH + (i) * 0x123000000UL)

static void start_at(struct vcpu *v, uint64_t base, uint64_t off)
{
	start(v, off);
	v->regs.rip += base;
	v->regs.gpr[REG_RSP] += base;
	v->regs.gpr[REG_RBX] += base;
}

/* Locked increments by two vCPUs lose nothing while tags are revoked, code dropped and TLBs flushed under them. */
static void two_vcpus_at(uint64_t base, uint64_t base_w)
{
	struct vcpu *w = engine_bt.vcpu_alloc();
	pthread_t t, u;
	void *ret;
	uint64_t n;

	w->d = &g->d;
	w->id = 1;
	w->cr3_kernel = w->cr3_user = 1;
	w->xcr0 = 7;
	assert_int_equal(engine_bt.vcpu_init(w), 0);
	g->d.vcpu[1] = w;
	g->d.nr_vcpus = 2;
	CODE(0xb9, 0xe0, 0x93, 0x04, 0x00,                       /* mov $300000, ecx */
	     0xf0, 0x48, 0xff, 0x03,                             /* lock inc (rbx) */
	     0x53, 0x5b,                                         /* push rbx; pop rbx */
	     0xe8, 0x06, 0x00, 0x00, 0x00,                       /* call */
	     0xff, 0xc9, 0x75, 0xf1,                             /* dec ecx; jnz */
	     0x0f, 0x05,
	     0xf0, 0x48, 0xff, 0x43, 0x08, 0xc3);                /* lock inc 8(rbx); ret */
	start_at(g->v, base, 0);
	start_at(w, base_w, 0);
	w->regs.gpr[REG_RSP] -= 0x400;
	memset(btg_mem(g) + BTN_CODE_PAGES * 4096, 0, 16);
	atomic_store(&stop, false);
	engine_bt.dirty_log(&g->d, DIRTY_LOG_ON);
	assert_int_equal(pthread_create(&t, NULL, second, w), 0);
	assert_int_equal(pthread_create(&u, NULL, disturber, NULL), 0);
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	pthread_join(t, &ret);
	atomic_store(&stop, true);
	pthread_join(u, NULL);
	assert_null(ret);
	engine_bt.dirty_log(&g->d, DIRTY_LOG_OFF);
	for (int i = 0; i < 2; i++) {
		memcpy(&n, btg_mem(g) + BTN_CODE_PAGES * 4096 + i * 8, 8);
		assert_int_equal(n, 2 * ROUNDS);
	}
	g->d.nr_vcpus = 1;
	g->d.vcpu[1] = NULL;
	engine_bt.vcpu_destroy(w);
	engine_bt.vcpu_free(w);
}

static void two_vcpus(void **state) { two_vcpus_at(0, 0); }

/* The same code at two addresses at once. */
static void two_vcpus_apart(void **state) { two_vcpus_at(HIGH(0), HIGH(1)); }

/* Takes the translations away under running vCPUs. */
static void *trimmer(void *arg)
{
	while (!atomic_load((atomic_bool *)arg)) {
		engine_bt.trim(&g->d);
		usleep(500);
	}
	return NULL;
}

/*
 * Code without end in a cache of 1 MiB: full flushes, and the second vCPU is stopped for them.  In the first half another thread
 * trims the cache all the time.
 */
static void full_flushes(void **state)
{
	struct vcpu *w = engine_bt.vcpu_alloc();
	static const uint8_t spin[] = { 0x48, 0xff, 0x03, 0x83, 0x3c, 0x25, 0x00, 0x10, 0x00, 0x20, 0x00, 0x74, 0xf3, 0x0f, 0x05 };
	uint64_t was = g->d.bt->flushes;
	atomic_bool enough = false;
	pthread_t t, trims;
	void *ret;

	w->d = &g->d;
	w->id = 1;
	w->cr3_kernel = w->cr3_user = 1;
	assert_int_equal(engine_bt.vcpu_init(w), 0);
	g->d.vcpu[1] = w;
	g->d.nr_vcpus = 2;
	bt_signals_install();
	memset(btg_mem(g) + BTN_CODE_PAGES * 4096, 0, 8192);
	memcpy(btg_mem(g) + 3 * 4096, spin, sizeof(spin));       /* until the word at data + 4096 is not 0 */
	btg_written(g, 3, 1);
	start(w, 3 * 4096);
	assert_int_equal(pthread_create(&t, NULL, second, w), 0);
	assert_int_equal(pthread_create(&trims, NULL, trimmer, &enough), 0);
	while (g->d.bt->flushes < was + 6) {
		if (!atomic_load(&enough) && g->d.bt->flushes >= was + 3) {
			atomic_store(&enough, true);
			pthread_join(trims, NULL);
		}
		for (unsigned at = 0; at < 4000; at += 2) {
			btg_mem(g)[at] = 0xeb;                   /* jmp to the next: a block each */
			btg_mem(g)[at + 1] = 0;
		}
		btg_mem(g)[4000] = 0x0f;
		btg_mem(g)[4001] = 0x05;
		btg_written(g, 0, 1);
		start(g->v, 0);
		assert_int_equal(btg_run(g), EXIT_SYSCALL);
	}
	engine_bt.trim(&g->d);
	start(g->v, 0);
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	*(volatile uint32_t *)(void *)(btg_mem(g) + (BTN_CODE_PAGES + 1) * 4096) = 1;
	pthread_join(t, &ret);
	assert_null(ret);
	g->d.nr_vcpus = 1;
	g->d.vcpu[1] = NULL;
	engine_bt.vcpu_destroy(w);
	engine_bt.vcpu_free(w);
}

/* ---- relative code ---- */

/*
 * One program at many addresses, one after the other: its addresses, return addresses, data and faults are those of where it runs, and it
 * is translated once.
 */
static void relative_moves(void **state)
{
	static const uint8_t code[] = {
		0x48, 0x8d, 0x05, 0x00, 0x00, 0x00, 0x00,        /* 0: lea 0(%rip), rax */
		0xe8, 0xf4, 0x0f, 0x00, 0x00,                    /* 7: call 0x1000 */
		0xff, 0x05, 0xee, 0xff, 0xff, 0x0f,              /* c: incl BTN_DATA_VA(%rip), from there */
		0x8d, 0x15, 0x00, 0x00, 0x00, 0x00,              /* 12: lea 0(%rip), edx */
		0x8b, 0x83, 0x00, 0xc0, 0x00, 0x00,              /* 18: mov hole(rbx), eax */
	};
	static const uint8_t callee[] = { 0x48, 0x8b, 0x0c, 0x24, 0xc3 };        /* mov (rsp), rcx; ret */
	uint32_t blocks = 0, n;

	load_code(code, sizeof(code));
	memcpy(btg_mem(g) + 4096, callee, sizeof(callee));
	btg_written(g, 1, 1);
	memset(btg_mem(g) + BTN_CODE_PAGES * 4096, 0, 4);
	for (unsigned i = 0; i < 6; i++) {
		uint64_t base = HIGH(i % 3);

		engine_bt.cr3_changed(g->v, false);
		start_at(g->v, base, 0);
		assert_int_equal(btg_run(g), EXIT_EXCEPTION);
		assert_int_equal(g->v->exc.vector, 14);
		assert_int_equal(g->v->exc.cr2, base + BTN_DATA_VA + 0xc000);
		assert_int_equal(g->v->regs.rip, base + BTN_CODE_VA + 0x18);
		assert_int_equal(g->v->regs.gpr[REG_RAX], base + BTN_CODE_VA + 7);
		assert_int_equal(g->v->regs.gpr[REG_RCX], base + BTN_CODE_VA + 0xc);
		assert_int_equal(g->v->regs.gpr[REG_RDX], (uint32_t)(base + BTN_CODE_VA + 0x18));
		memcpy(&n, btg_mem(g) + BTN_CODE_PAGES * 4096, 4);
		assert_int_equal(n, i + 1);
		if (i)
			assert_int_equal(g->d.bt->nr_blocks, blocks);
		blocks = g->d.bt->nr_blocks;
	}
}

/* Many addresses in one address space, in turn: right at each, and few translations. */
static void relative_twins(void **state)
{
	static const uint8_t code[] = { 0xe8, 0x00, 0x00, 0x00, 0x00, 0x58, 0x0f, 0x05 };        /* call next; pop rax; syscall */
	uint32_t blocks = 0;

	load_code(code, sizeof(code));
	for (unsigned i = 0; i < 40; i++)
		btg_map_memory(g, HIGH(i));
	for (unsigned i = 0; i < 400; i++) {
		start_at(g->v, HIGH(i % 40), 0);
		assert_int_equal(btg_run(g), EXIT_SYSCALL);
		assert_int_equal(g->v->regs.rip, HIGH(i % 40) + BTN_CODE_VA + 8);
		assert_int_equal(g->v->regs.gpr[REG_RAX], HIGH(i % 40) + BTN_CODE_VA + 5);
		if (i == 80)
			blocks = g->d.bt->nr_blocks;
	}
	assert_int_equal(g->d.bt->nr_blocks, blocks);
}

/* Code that goes on on a page that is another one in another address space, and on none where that is not mapped. */
static void relative_neighbours(void **state)
{
	static const uint8_t first[] = { 0xe9, 0xfb, 0x0f, 0x00, 0x00 };         /* jmp 0x1000 */
	static const uint8_t second_page[] = { 0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05 };
	uint64_t *slot = btg_slot(g, HIGH(1) + BTN_CODE_VA + 4096), was = *slot;

	load_code(first, sizeof(first));
	memcpy(btg_mem(g) + 4096, second_page, sizeof(second_page));
	memcpy(btg_mem(g) + 8192, second_page, sizeof(second_page));
	btg_mem(g)[8193] = 2;
	btg_written(g, 1, 2);
	*slot = (was & 0xfff) | (BTG_MEM + 2) << 12;
	for (unsigned i = 0; i < 8; i++) {
		engine_bt.cr3_changed(g->v, false);
		start_at(g->v, HIGH(i & 1), 0);
		assert_int_equal(btg_run(g), EXIT_SYSCALL);
		assert_int_equal(g->v->regs.gpr[REG_RAX], 1 + (i & 1));
	}
	*slot = 0;
	engine_bt.tlb_invlpg_local(g->v, HIGH(1) + BTN_CODE_VA + 4096);
	start_at(g->v, HIGH(1), 0);
	assert_int_equal(btg_run(g), EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, 14);
	assert_int_equal(g->v->exc.cr2, HIGH(1) + BTN_CODE_VA + 4096);
	assert_int_equal(g->v->regs.rip, HIGH(1) + BTN_CODE_VA + 4096);
	*slot = was;
	engine_bt.tlb_flush_local(g->v);
	/* an instruction across the two pages */
	memcpy(btg_mem(g) + 4094, second_page, sizeof(second_page));
	btg_written(g, 0, 2);
	for (unsigned i = 0; i < 8; i++) {
		engine_bt.cr3_changed(g->v, false);
		btg_mem(g)[4095] = (uint8_t)i;
		btg_written(g, 0, 1);
		start_at(g->v, HIGH(i % 3), 4094);
		assert_int_equal(btg_run(g), EXIT_SYSCALL);
		assert_int_equal(g->v->regs.gpr[REG_RAX], i);
		assert_int_equal(g->v->regs.rip, HIGH(i % 3) + BTN_CODE_VA + 4094 + 7);
	}
}

/* Code at the address that is the template of other code, which is known nowhere any more: a delta of nothing is none. */
static void relative_template(void **state)
{
	static const uint8_t code[] = { 0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05 };
	uint64_t at = 0;

	load_code(code, sizeof(code));
	memcpy(btg_mem(g) + 4096, code, sizeof(code));
	btg_mem(g)[4097] = 2;
	btg_written(g, 1, 1);
	start_at(g->v, HIGH(0), 0);
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	for (uint32_t i = 0; i < g->d.bt->nr_pages; i++) {
		const struct bt_page *pg = &g->d.bt->page[i];

		if (pg->rel && pg->frame == BTG_MEM && bt_of(g->v)->cdelta[i] == HIGH(0) + BTN_CODE_VA - pg->va)
			at = pg->va;
	}
	assert_int_not_equal(at, 0);
	btg_map(g, at, 1, 1);
	engine_bt.cr3_changed(g->v, false);
	start(g->v, 0);
	g->v->regs.rip = at;
	assert_int_equal(btg_run(g), EXIT_SYSCALL);
	assert_int_equal(g->v->regs.gpr[REG_RAX], 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(self_modifying), cmocka_unit_test(modified_through_alias),
		cmocka_unit_test(code_page_remapped), cmocka_unit_test(exceptions), cmocka_unit_test(end_of_what_is_mapped), cmocka_unit_test(kicks),
		cmocka_unit_test(steps_told_as_breakpoints),
		cmocka_unit_test(kicked_after_miss), cmocka_unit_test(dirty_log), cmocka_unit_test(dirty_log_of_loops), cmocka_unit_test(two_vcpus),
		cmocka_unit_test(two_vcpus_apart),
		cmocka_unit_test(relative_moves), cmocka_unit_test(relative_twins), cmocka_unit_test(relative_neighbours),
		cmocka_unit_test(relative_template),
		cmocka_unit_test(full_flushes),
	};

	g = btg_new(1 << 20);
	for (unsigned i = 0; i < 3; i++)
		btg_map_memory(g, HIGH(i));
	return cmocka_run_group_tests_name("bt", tests, NULL, NULL);
}
