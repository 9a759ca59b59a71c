/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_fuzz.c - the translator against the host CPU: random programs run natively (bt_native.c) and in the real engine
 * must agree in registers, flags, vector state, memory, and in the fault that ended them.  Half of them run at high addresses,
 * most of those after they have run elsewhere: user code is the same translation then.  First stores across a page's end, whose
 * second half faults: nothing is stored.
 *
 *	bt_fuzz [seconds [seed [number]]]      as printed with a difference: begin with that program
 *
 * With CACHE=FILE in the environment the code cache is written to FILE where they differ, for objdump -b binary
 * (HV_BT_TRACE=block says which block is where).
 */
#include <pthread.h>
#include <time.h>

#include "tests/bt/bt_guest.h"
#include "tests/bt/bt_programs.h"

static struct btn_shared *nat;
static struct btg *guest;
static unsigned long programs, faults;
static uint64_t high;                   /* what the program's addresses are above bt_native.h's */
#define NR_ELSEWHERE 3

/* ---- comparison ---- */

static int bad;

static void dump_cache(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(guest->d.bt->rw, 1, guest->d.bt->size, f) != guest->d.bt->size || fclose(f))
		perror(path);
}

static void differ(const char *what, uint64_t native, uint64_t translated)
{
	fprintf(stderr, "%s: native %#lx, translated %#lx\n", what, native, translated);
	bad++;
}

/* Where an address, low or high, lies in the test's memory; -1: nowhere. */
static long memory_offset(uint64_t va)
{
	static const struct { uint64_t va; unsigned pages; } parts[] = {
		{ BTN_CODE_VA, BTN_CODE_PAGES }, { BTN_DATA_VA, BTN_DATA_PAGES }, { BTN_STACK_VA, BTN_STACK_PAGES },
	};
	uint64_t first = 0;

	va -= va < BTN_HIGH ? 0 : BTN_HIGH;
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (va - parts[i].va < parts[i].pages * 4096UL)
			return (long)(first + va - parts[i].va);
		first += parts[i].pages * 4096UL;
	}
	return -1;
}

/*
 * A store of ten bytes by the x87 may be two accesses, and the first of them done when the second faults (SDM vol. 3, "Guaranteed
 * Atomic Operations"): Intel's CPUs store eight bytes where those end in the first page.  The engine stores none, so what lies
 * there is not compared.
 */
#define HALF_STORE 9

static void forget_half_store(void)
{
	const struct vcpu *v = guest->v;
	long code = memory_offset(v->regs.rip), at = memory_offset(v->exc.cr2 - HALF_STORE);
	struct bt_insn in;

	if (v->exc.vector != 14 || nat->out.vector != 14 || (v->exc.cr2 & 4095) || code < 0 || at < 0)
		return;
	if (bt_decode(&in, v->regs.rip, nat->mem + code, sizeof(nat->mem) - (size_t)code) || in.cls != BC_MEM || !in.mem_wr ||
	    in.mem_size != HALF_STORE + 1)
		return;
	memcpy(nat->mem + at, btg_mem(guest) + at, HALF_STORE);
}

static void compare(enum engine_exit e, const struct btn_state *in)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10",
					     "r11", "r12", "r13", "r14", "r15" };
	const struct btn_state *n = &nat->out;
	struct vcpu *v = guest->v;
	bool fault = e == EXIT_EXCEPTION;
	uint64_t xbv;

#ifdef __SANITIZE_ADDRESS__
	/* AddressSanitizer's shadow is mapped for the native run alone (0x7fff8000 to 0x10007fff8000 on x86-64 Linux) */
	if (fault && v->exc.vector == 14 && v->exc.cr2 >= 0x7fff8000UL && v->exc.cr2 < 0x10007fff8000UL)
		return;
#endif
	/* not mapped, and misaligned or with an x87 exception pending: the order of those is the one we do not keep */
	if (fault && (n->vector == 13 || n->vector == 16) && v->exc.vector == 14)
		return;
	/* a store of the x87 that raises an exception which is not masked stores nothing, and here has looked at its operand before */
	if (fault && v->exc.vector == 14 && (n->xsave[2] & 0x80))
		return;
	/* a jump to a non-canonical address faults at the jump on Intel, at its target on AMD and here */
	if (fault && v->exc.vector == 13 && v->regs.rip + (1UL << 47) >= 1UL << 48)
		return;
	if (fault ? n->vector != v->exc.vector : n->vector != BTN_END_VECTOR)
		differ("vector", n->vector, fault ? v->exc.vector : 1000U + e);
	if (n->rip != (fault ? v->regs.rip : v->regs.rip - 2))
		differ("rip", n->rip, v->regs.rip);
	if (fault && v->exc.vector == 14 && n->vector == 14 && n->cr2 != v->exc.cr2)
		differ("cr2", n->cr2, v->exc.cr2);
	for (int r = 0; r < 16; r++)
		if (n->gpr[r] != v->regs.gpr[r])
			differ(names[r], n->gpr[r], v->regs.gpr[r]);
	if (!fault && ((n->rflags ^ v->regs.rflags) & BT_RFLAGS_STATUS))
		differ("rflags", n->rflags & BT_RFLAGS_STATUS, v->regs.rflags & BT_RFLAGS_STATUS);
	if (fault)
		forget_half_store();
	for (unsigned i = 0; i < BTN_PAGES * 4096; i += 8) {
		uint64_t a, b;

		if (i < BTN_CODE_PAGES * 4096)
			continue;
		memcpy(&a, nat->mem + i, 8);
		memcpy(&b, btg_mem(guest) + i, 8);
		if (a != b) {
			fprintf(stderr, "memory at %#x: ", i - BTN_CODE_PAGES * 4096);
			differ("", a, b);
			break;
		}
	}
	memcpy(&xbv, v->xsave + 512, 8);
	for (unsigned i = 24; i < 832; i += 8) {
		uint64_t a, b, zero = 0;

		if (i >= 416 && i < 576)
			continue;
		memcpy(&a, n->xsave + i, 8);
		memcpy(&b, v->xsave + i, 8);
		if (i >= 160 && i < 416 && !(xbv & 2))
			b = zero;
		if (i >= 576 && !(xbv & 4))
			b = zero;
		if (i >= 576) {
			uint64_t nbv;

			memcpy(&nbv, n->xsave + 512, 8);
			if (!(nbv & 4))
				a = 0;
		}
		if (i == 24) {
			/* a store that converts and then faults may have raised its flags already */
			a &= fault ? 0xffc0 : 0xffff;
			b &= fault ? 0xffc0 : 0xffff;
		}
		/* an MMX instruction that faults has switched the x87 stack already; here it has not */
		if (i >= 32 && i < 160 && (fault || !(xbv & 1) || (i & 8)))
			continue;
		if (a != b) {
			fprintf(stderr, "xsave+%u: ", i);
			differ("", a, b);
			break;
		}
	}
	if (fault)
		faults++;
	(void)in;
}

/*
 * The host does not do locked accesses across a cache line (it may trap them for ever): natively a LOCK prefix becomes one that does
 * nothing, which for one CPU is the same instruction.
 */
static void native_unlock(uint8_t *code)
{
	for (unsigned at = 0; at < prog_len;) {
		struct bt_insn d;

		if (bt_decode(&d, BTN_CODE_VA + at, prog + at, prog_len - at))
			break;
		for (unsigned i = 0; d.locked && i < d.pfx_len; i++)
			if (code[at + i] == 0xf0)
				code[at + i] = 0x3e;
		at += d.len;
	}
}

static void memory_back(const uint8_t *mem)
{
	memcpy(btg_mem(guest) + BTN_CODE_PAGES * 4096, mem + BTN_CODE_PAGES * 4096, (BTN_DATA_PAGES + BTN_STACK_PAGES) * 4096);
	if (memcmp(btg_mem(guest), mem, BTN_CODE_PAGES * 4096)) {     /* it changed its own code */
		memcpy(btg_mem(guest), mem, BTN_CODE_PAGES * 4096);
		btg_written(guest, 0, BTN_CODE_PAGES);
	}
}

/* With the addresses moved: in the same address space, or, as far as the engine can tell, in another. */
static void run_elsewhere(const struct btn_state *in, const uint8_t *mem)
{
	uint64_t by = (1 + below(NR_ELSEWHERE)) * 0x100000000UL;
	static struct btn_state moved;

	moved = *in;
	moved.rip += by;
	for (int r = 0; r < 16; r++)
		if ((PTRS | 1U << REG_RSP) & 1U << r)
			moved.gpr[r] += by;
	btg_load(guest, &moved);
	/* what ends here may be endless there */
	for (unsigned kicks = 0; kicks < 1000 && engine_bt.run(guest->v) == EXIT_KICK; kicks++)
		;
	memory_back(mem);
	if (below(3))
		engine_bt.cr3_changed(guest->v, guest->v->regs.kernel_mode);
}

/*
 * Runs the program at offset off, in memory as mem has it (the code aside, which is put there), natively and twice in the engine.
 * false: they differ, and it is printed how.
 */
static bool agrees(const struct btn_state *in, uint8_t *mem, unsigned off, bool kernel)
{
	/* no code of earlier programs, where a jump astray could read a LOCK prefix that is not there natively */
	memset(mem, 0, BTN_CODE_PAGES * 4096);
	memcpy(mem + off, prog, prog_len);
	memcpy(nat->mem, mem, sizeof(nat->mem));
	native_unlock(nat->mem + off);
	nat->mem[off + prog_len - 1] = 0x0b;                 /* ud2 where the guest has syscall */
	nat->in = *in;
	if (btn_run(nat)) {
		fprintf(stderr, "the native process died\n");
		return false;
	}
	if (nat->out.vector == 255)
		return true;                            /* endless */
	memcpy(btg_mem(guest), mem, sizeof(nat->mem));
	btg_written(guest, 0, BTN_CODE_PAGES);
	guest->v->regs.kernel_mode = kernel;
	if (high && below(4))
		run_elsewhere(in, mem);
	for (int round = 0; round < 2; round++) {
		enum engine_exit e;

		if (round)
			memory_back(mem);
		btg_load(guest, in);
		e = btg_run(guest);
		compare(e, in);
		if (bad) {
			fprintf(stderr, "round %d, exit %d, %s mode\n", round, e, kernel ? "kernel" : "user");
			return false;
		}
	}
	programs++;
	return true;
}

static void give_up(unsigned off)
{
	prog_print(high + BTN_CODE_VA + off);
	if (getenv("CACHE"))
		dump_cache(getenv("CACHE"));
	exit(1);
}

static uint8_t memory[BTN_PAGES * 4096];                /* as a program finds it */

static void one(unsigned long k)
{
	uint64_t seed = rng;
	static struct btn_state in;
	unsigned off;

	high = below(2) ? BTN_HIGH : 0;
	prog_make();
	off = below(3) ? below(256) : 4096 - below(prog_len < 200 ? prog_len : 200);
	prog_move(off);
	prog_state(&in, high, off);
	prog_memory(memory);
	if (!agrees(&in, memory, off, k & 1)) {
		fprintf(stderr, "program %lu of seed %#lx\n", k, seed);
		give_up(off);
	}
}

/* ---- stores that fault in their second page ---- */

static const struct store { const char *name; unsigned size, n; uint8_t b[5]; } stores[] = {
	{ "mov rax, (rbx)", 8, 3, { 0x48, 0x89, 0x03 } },
	{ "add rax, (rbx)", 8, 3, { 0x48, 0x01, 0x03 } },
	{ "lock add rax, (rbx)", 8, 4, { 0xf0, 0x48, 0x01, 0x03 } },
	{ "movq mm0, (rbx)", 8, 3, { 0x0f, 0x7f, 0x03 } },
	{ "fistpll (rbx)", 8, 2, { 0xdf, 0x3b } },
	{ "fstpt (rbx)", 10, 2, { 0xdb, 0x3b } },
	{ "fbstp (rbx)", 10, 2, { 0xdf, 0x33 } },
	{ "movdqu xmm0, (rbx)", 16, 4, { 0xf3, 0x0f, 0x7f, 0x03 } },
	{ "vmovdqu ymm0, (rbx)", 32, 4, { 0xc5, 0xfe, 0x7f, 0x03 } },
};

static void store_across(const struct store *s, unsigned page, unsigned cut, bool kernel)
{
	static const uint8_t syscall[] = { 0x0f, 0x05 };
	static struct btn_state in;
	const size_t code = BTN_CODE_PAGES * 4096;

	memcpy(prog, s->b, s->n);
	memcpy(prog + s->n, syscall, sizeof(syscall));
	prog_len = s->n + sizeof(syscall);
	prog_state(&in, high, 0);
	in.gpr[REG_RBX] = high + BTN_DATA_VA + page * 4096UL - cut;
	memset(memory + code, 0x5c, sizeof(memory) - code);
	if (!agrees(&in, memory, 0, kernel)) {
		fprintf(stderr, "%s, %u bytes before a page's end\n", s->name, cut);
		give_up(0);
	}
	if (guest->v->exc.vector != 14 || memcmp(btg_mem(guest) + code, memory + code, sizeof(memory) - code)) {
		fprintf(stderr, "%s, %u bytes before a page's end: vector %u, or something was stored\n", s->name, cut,
			guest->v->exc.vector);
		give_up(0);
	}
}

static void stores_across(void)
{
	static const unsigned pages[] = { BTN_HOLE, BTN_RO };

	for (unsigned i = 0; i < sizeof(stores) / sizeof(stores[0]); i++)
		for (unsigned cut = 1; cut < stores[i].size; cut++)
			for (unsigned how = 0; how < 8; how++) {
				high = how & 1 ? BTN_HIGH : 0;
				store_across(&stores[i], pages[how >> 1 & 1], cut, how >> 2);
			}
}

/* Kicks at any moment: the guest leaves translated code between any two instructions, and goes on. */
static void *kicker(void *arg)
{
	(void)arg;
	for (unsigned k = 0;; k++) {
		usleep(20 + k % 180);
		engine_bt.kick(guest->v);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	long seconds = argc > 1 ? atol(argv[1]) : 20;
	time_t end = time(NULL) + seconds;

	const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ULL;
	printf("seed %#lx\n", seed);
	fflush(stdout);
	prog_begin();
	nat = btn_start();
	if (!nat)
		return 1;
	guest = btg_new(4 << 20);
	for (unsigned i = 0; i <= NR_ELSEWHERE; i++)
		btg_map_memory(guest, BTN_HIGH + i * 0x100000000UL);
	if (pthread_create(&thread, NULL, kicker, NULL))
		return 1;
	rng = 1;
	stores_across();
	rng = seed;
	for (unsigned long k = argc > 3 ? strtoul(argv[3], NULL, 0) : 0; time(NULL) < end; k++)
		one(k);
	btn_stop();
	printf("%lu programs, %lu instructions, %lu ended in a fault: no difference\n", programs, prog_instructions, faults);
	return 0;
}
