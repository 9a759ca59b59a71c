/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_kicks.c - a kick at every place: random programs (bt_programs.h) are run in the engine once for each host instruction of the
 * code cache that they come by, stubs and slow paths included, with the signal of a kick right there.  Whatever it meets, the
 * program ends as it does undisturbed: registers, flags, vector state, memory, fault.  Each goes on in the other mode after its
 * `syscall` (bt_gate.c), to another one.
 *
 *	bt_kicks [seconds [seed]]
 *
 * First the thread is stepped (TF), to see which places it comes by; then it is stopped at one of them by an int3.  Every run begins
 * with empty TLBs and an empty cache: its code lies where it lay before, and all slow paths are come by.
 */
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include "tests/bt/bt_guest.h"
#include "tests/bt/bt_programs.h"

#define MAX_STEPS 3000                  /* of a program: each is run as often */
#define MEM_AT (BTN_CODE_PAGES * 4096UL)
#define MEM_SIZE (BTN_PAGES * 4096UL - MEM_AT)
#define TF 0x100
#define IN_C 0
#define TAIL (3 * 4096UL + 0x40)        /* where it goes on, among its code */
#define PLAIN __attribute__((target("general-regs-only")))    /* the guest's vector registers are in the host's */

enum { UC_RIP = 16, UC_EFL };

static struct btg *guest;
static struct sigaction engine;
static void (*real_jc[BT_NR_BANKS])(struct bt_vcpu *), (*real_direct)(struct bt_vcpu *);
static volatile enum { UNDISTURBED, RECORD, BREAK } mode;
static uint32_t place[MAX_STEPS];       /* offsets in the cache, as they are come by; IN_C: bt_cold(), bt_gate() */
static volatile unsigned places;
static volatile uint32_t break_at;
static volatile unsigned break_left;    /* times that it is come by, until the kick */
static uint8_t under_break;
static volatile bool broken, over;      /* the int3 is there; the instruction there is being stepped over */

struct end { enum engine_exit how; struct guest_exception exc; struct cpu_regs regs; uint8_t xsave[832], mem[MEM_SIZE]; };

/* ---- stepping ---- */

PLAIN static void step_on(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp" : : "i"(TF) : "cc", "memory");
}

PLAIN static void step_off(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp" : : "i"(~TF) : "cc", "memory");
}

PLAIN static void record(uint32_t off)
{
	if (places < MAX_STEPS)
		place[places++] = off;
}

PLAIN static void break_in(void)
{
	struct bt_domain *bt = guest->d.bt;

	over = false;
	if (mode != BREAK || break_at == IN_C || broken || (break_at >= bt->used && break_at - bt->cold_first >= bt->cold_used - bt->cold_first))
		return;
	under_break = bt->rw[break_at];
	bt->rw[break_at] = 0xcc;
	broken = true;
}

PLAIN static void break_out(void)
{
	if (broken)
		guest->d.bt->rw[break_at] = under_break;
	broken = false;
}

/* Come by the place: is it time? */
PLAIN static bool break_ends(void)
{
	if (--break_left)
		return false;
	mode = UNDISTURBED;
	return true;
}

/* The engine changes its code in C alone, and then finds it as it left it. */
PLAIN static void enter(void (*real)(struct bt_vcpu *), struct bt_vcpu *bv)
{
	break_in();
	if (mode == RECORD)
		step_on();
	real(bv);
	step_off();
	break_out();
}

PLAIN static void enter_kernel(struct bt_vcpu *bv) { enter(real_jc[BT_KERNEL], bv); }
PLAIN static void enter_user(struct bt_vcpu *bv) { enter(real_jc[BT_USER], bv); }
PLAIN static void enter_direct(struct bt_vcpu *bv) { enter(real_direct, bv); }

/* In C it is what the signal's handler does there. */
PLAIN static int in_c(struct bt_vcpu *bv, int (*real)(struct bt_vcpu *))
{
	int rc;

	step_off();
	break_out();
	if (mode == RECORD)
		record(IN_C);
	else if (mode == BREAK && break_at == IN_C && break_ends())
		bv->attention = 1;
	rc = real(bv);
	break_in();
	if (mode == RECORD)
		step_on();
	return rc;
}

PLAIN static int cold(struct bt_vcpu *bv) { return in_c(bv, bt_cold); }
PLAIN static int gate(struct bt_vcpu *bv) { return in_c(bv, bt_gate); }

static volatile bool faulted;

/* What the layer above the engine does with the first `syscall`.  The second one is the program's end, as is a fault. */
PLAIN static int serve_once(struct vcpu *v, int why)
{
	uint64_t base = v->regs.rip < BTN_HIGH ? 0 : BTN_HIGH;

	v->d->serve = NULL;
	faulted = why == EXIT_EXCEPTION;
	if (faulted)
		return -1;
	v->regs.gpr[REG_RCX] = v->regs.rip;
	v->regs.gpr[REG_R11] = v->regs.rflags & BT_RFLAGS_STATUS;
	v->regs.gpr[REG_RBX] ^= (uint64_t)why;
	v->regs.rflags ^= 0x41;                         /* CF, ZF */
	v->regs.rip = base + BTN_CODE_VA + TAIL;
	v->regs.kernel_mode = !v->regs.kernel_mode;
	return 0;
}

/* adc %r11, %rax; sete %dl; mov %r12, %r10; syscall */
static const uint8_t tail[] = { 0x4c, 0x11, 0xd8, 0x0f, 0x94, 0xc2, 0x4d, 0x89, 0xe2, 0x0f, 0x05 };

static void on_break(greg_t *g, siginfo_t *si, void *ctx)
{
	break_out();
	g[UC_RIP]--;
	if (break_ends()) {
		engine.sa_sigaction(SIGUSR1, si, ctx);
		return;
	}
	over = true;
	g[UC_EFL] |= TF;
}

static void on_trap(int sig, siginfo_t *si, void *ctx)
{
	greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
	uint64_t off = (uint64_t)g[UC_RIP] - (uint64_t)(uintptr_t)guest->d.bt->rx;
	bool in_cache = off < guest->d.bt->size;

	if (mode == RECORD && places == MAX_STEPS) {    /* it may be endless */
		mode = UNDISTURBED;
		atomic_store(&guest->v->kick, true);
		g[UC_EFL] &= ~TF;
		engine.sa_sigaction(SIGUSR1, si, ctx);
	} else if (mode == RECORD && in_cache) {
		record((uint32_t)off);
	} else if (broken && off == break_at + 1UL && si->si_code != TRAP_TRACE) {
		on_break(g, si, ctx);
	} else if (over) {
		g[UC_EFL] &= ~TF;
		if (in_cache)
			break_in();
		over = false;
	} else if (mode != RECORD) {
		engine.sa_sigaction(sig, si, ctx);
	}
}

static void step_begin(void)
{
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct bt_domain *bt = guest->d.bt;

	sigfillset(&sa.sa_mask);
	sigaction(SIGTRAP, &sa, &engine);
	memcpy(real_jc, bt->enter_jc, sizeof(real_jc));
	real_direct = bt->enter_direct;
	bt->enter_jc[BT_KERNEL] = enter_kernel;
	bt->enter_jc[BT_USER] = enter_user;
	bt->enter_direct = enter_direct;
	bt_of(guest->v)->fn_cold = cold;
	bt_of(guest->v)->fn_gate = gate;
}

/* ---- runs ---- */

/* As it begins, the cache is as at its beginning, too. */
static void reset(const struct btn_state *in, const uint8_t *mem, bool kernel)
{
	struct bt_domain *bt = guest->d.bt;

	guest->d.serve = serve_once;
	faulted = false;
	guest->v->regs.kernel_mode = kernel;
	memcpy(btg_mem(guest), mem, MEM_AT + MEM_SIZE);
	memset(bt->no_group, 0, sizeof(bt->no_group));
	memset(bt->no_peek, 0, sizeof(bt->no_peek));
	bt_world_flush(bt_of(guest->v));
	btg_map_memory(guest, 0);                       /* accessed and dirty bits: misses come of those, too */
	btg_map_memory(guest, BTN_HIGH);
	engine_bt.tlb_flush_local(guest->v);
	btg_load(guest, in);
	memset(&guest->v->exc, 0, sizeof(guest->v->exc));
}

static void run(struct end *end)
{
	struct vcpu *v = guest->v;

	do {
		end->how = engine_bt.run(v);
	} while (end->how == EXIT_KICK && !faulted && places < MAX_STEPS);
	if (faulted)
		end->how = EXIT_EXCEPTION;
	atomic_store(&v->kick, false);
	mode = UNDISTURBED;
	end->exc = v->exc;
	end->regs = v->regs;
	memcpy(end->xsave, v->xsave, sizeof(end->xsave));
	memcpy(end->mem, btg_mem(guest) + MEM_AT, MEM_SIZE);
}

/* Components that are in their initial state are zeros, whatever lies there. */
static uint64_t vector_word(const struct end *e, unsigned at)
{
	uint64_t bv, x;

	memcpy(&bv, e->xsave + 512, 8);
	memcpy(&x, e->xsave + at, 8);
	if (at == 24)
		return (uint32_t)x;                     /* MXCSR */
	return bv & (at < 160 ? 1 : at < 416 ? 2 : 4) ? x : 0;
}

/* NULL, or what is not as it should be.  Of flags and the x87 no fault promises how it leaves them. */
static const char *compare(const struct end *got, const struct end *want)
{
	bool fault = want->how == EXIT_EXCEPTION;

	if (got->how != want->how || memcmp(&got->exc, &want->exc, sizeof(got->exc)))
		return "how it ended";
	if (got->regs.rip != want->regs.rip)
		return "rip";
	if (memcmp(got->regs.gpr, want->regs.gpr, sizeof(got->regs.gpr)))
		return "a register";
	if (!fault && ((got->regs.rflags ^ want->regs.rflags) & BT_RFLAGS_STATUS))
		return "flags";
	if (memcmp(got->mem, want->mem, MEM_SIZE))
		return "memory";
	for (unsigned i = 24; i < sizeof(got->xsave); i += 8)
		if (!(i >= 416 && i < 576) && !(fault && i >= 32 && i < 160) && vector_word(got, i) != vector_word(want, i))
			return "vector state";
	return NULL;
}

static unsigned long programs, kicked, missed;

static void complain(const char *what, unsigned at, const struct btn_state *in, const struct end *got, const struct end *want)
{
	fprintf(stderr, "kicked after %u steps, in the cache at %#x: %s\n", at, place[at], what);
	fprintf(stderr, "exit %d for %d, rip %#lx for %#lx, flags %#lx for %#lx\n", got->how, want->how, got->regs.rip, want->regs.rip,
		(unsigned long)(got->regs.rflags & BT_RFLAGS_STATUS), (unsigned long)(want->regs.rflags & BT_RFLAGS_STATUS));
	for (unsigned r = 0; r < NR_GPR; r++)
		if (got->regs.gpr[r] != want->regs.gpr[r])
			fprintf(stderr, "register %u: %#lx for %#lx\n", r, got->regs.gpr[r], want->regs.gpr[r]);
	prog_print(in->rip);
}

static uint8_t memory[BTN_PAGES * 4096];                /* as a program finds it */

/* The program's kick at its at-th place; NULL, or what it led to. */
static const char *kick_at(unsigned at, const struct btn_state *in, bool kernel, struct end *got, const struct end *want)
{
	reset(in, memory, kernel);
	break_at = place[at];
	break_left = 1;
	for (unsigned i = 0; i < at; i++)
		break_left += place[i] == place[at];
	mode = BREAK;
	run(got);
	kicked++;
	missed += break_left != 0;
	return compare(got, want);
}

/* Kicks the program, which is at `off`, wherever it comes by.  0; or 1: it ends otherwise then. */
static int kick_all(const struct btn_state *in, unsigned off, bool kernel)
{
	static struct end want, got;

	memset(memory, 0, MEM_AT);
	memcpy(memory + off, prog, prog_len);
	memcpy(memory + TAIL, tail, sizeof(tail));
	reset(in, memory, kernel);
	places = 0;
	mode = RECORD;
	run(&want);
	if (places == MAX_STEPS)
		return 0;                               /* long, or endless */
	programs++;
	for (unsigned at = 0; at < places; at++) {
		const char *what = kick_at(at, in, kernel, &got, &want);

		if (what) {
			complain(what, at, in, &got, &want);
			return 1;
		}
	}
	return 0;
}

static int one(unsigned long k)
{
	static struct btn_state in;
	uint64_t seed = rng, base = below(2) ? BTN_HIGH : 0;
	unsigned off;

	prog_make();
	off = below(3) ? below(256) : 4096 - below(prog_len < 200 ? prog_len : 200);
	prog_move(off);
	prog_state(&in, base, off);
	prog_memory(memory);
	if (!kick_all(&in, off, k & 1))
		return 0;
	fprintf(stderr, "program %lu of seed %#lx, %s mode\n", k, seed, k & 1 ? "kernel" : "user");
	return 1;
}

/* What random programs seldom have: a check that is an instruction's first code, with flags or scratch registers in their slots alone. */
static int known(void)
{
	static const struct { unsigned len; uint8_t b[20]; } code[] = {
		/* sub $1, eax; sets (rbx); mov 0x20001040, ecx */
		{ 15, { 0x83, 0xe8, 0x01, 0x0f, 0x98, 0x03, 0x8b, 0x0c, 0x25, 0x40, 0x10, 0x00, 0x20, 0x0f, 0x05 } },
		/* sub $1, eax; sets (rbx); jmp *0x20001048, to the syscall */
		{ 15, { 0x83, 0xe8, 0x01, 0x0f, 0x98, 0x03, 0xff, 0x24, 0x25, 0x48, 0x10, 0x00, 0x20, 0x0f, 0x05 } },
		/* mov r10, rax; mov r11, rcx; mov eax, 0x20001040; xor edx, edx */
		{ 17, { 0x4c, 0x89, 0xd0, 0x4c, 0x89, 0xd9, 0x89, 0x04, 0x25, 0x40, 0x10, 0x00, 0x20, 0x31, 0xd2, 0x0f, 0x05 } },
	};
	const uint64_t target = BTN_CODE_VA + 13;
	static struct btn_state in;

	for (unsigned i = 0; i < 2 * sizeof(code) / sizeof(code[0]); i++) {
		memcpy(prog, code[i / 2].b, code[i / 2].len);
		prog_len = code[i / 2].len;
		prog_state(&in, 0, 0);
		prog_memory(memory);
		memcpy(memory + MEM_AT + 0x1048, &target, 8);
		if (kick_all(&in, 0, i & 1))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atol(argv[1]) : 10);

	rng = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ULL;
	printf("seed %#lx\n", rng);
	fflush(stdout);
	prog_begin();
	guest = btg_new(4 << 20);
	btg_map_memory(guest, BTN_HIGH);
	step_begin();
	if (known())
		return 1;
	for (unsigned long k = 0; time(NULL) < end; k++)
		if (one(k))
			return 1;
	printf("%lu programs, kicked at %lu places, %lu not come by again: none ends otherwise\n", programs, kicked, missed);
	return programs && missed < kicked / 10 ? 0 : 1;
}
