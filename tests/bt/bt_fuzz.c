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
#include <Zydis/Zydis.h>

#include "tests/bt/bt_guest.h"

#define MAX_PROG 3500
#define PTRS (1U << REG_RBX | 1U << REG_RBP | 1U << REG_RSI | 1U << REG_RDI | 1U << REG_R12 | 1U << REG_R13)
#define IDXS (1U << REG_R8 | 1U << REG_R14)
#define KEEP (PTRS | IDXS | 1U << REG_RSP)

static struct btn_shared *nat;
static struct btg *guest;
static uint64_t rng;
static ZydisDecoder zd;
static unsigned long programs, instructions, faults;
static uint64_t high;                   /* what the program's addresses are above bt_native.h's */
#define NR_ELSEWHERE 3

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dULL >> 16;
}

static unsigned below(unsigned n) { return (unsigned)(rnd() % n); }

/* ---- programs ---- */

static uint8_t prog[MAX_PROG + 64];
static unsigned len;

static void p8(unsigned b) { prog[len++] = (uint8_t)b; }
static void p32(uint32_t v) { memcpy(prog + len, &v, 4); len += 4; }

static bool refused(const ZydisDecodedInstruction *zi)
{
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_FNSTENV: case ZYDIS_MNEMONIC_FNSAVE: case ZYDIS_MNEMONIC_FLDENV: case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_RDRAND: case ZYDIS_MNEMONIC_RDSEED: case ZYDIS_MNEMONIC_MOVNTDQA:
		return true;
	default:
		return false;
	}
}

/* One random instruction with plain operands, of at most `room` bytes; its length. */
static unsigned random_insn(uint8_t *out)
{
	for (;;) {
		uint8_t b[16];
		unsigned n = 0, kind = below(16), modrm_at;
		ZydisDecodedInstruction zi;
		struct bt_insn in;

		for (unsigned i = 0; i < 16; i++)
			b[i] = (uint8_t)rnd();
		if (below(4) == 0)
			b[n++] = 0x66;
		if (below(6) == 0)
			b[n++] = below(2) ? 0xf2 : 0xf3;
		if (below(20) == 0)
			b[n++] = 0xf0;
		if (below(40) == 0)
			b[n++] = 0x67;
		if (kind < 3) {
			b[n++] = 0xc4;                         /* VEX */
			b[n] = (uint8_t)((b[n] & 0xe0) | (1 + below(3)));
			n += 3;
		} else {
			if (below(2))
				b[n++] = (uint8_t)(0x40 | below(16));
			if (kind < 9) {
				b[n++] = 0x0f;
				if (below(6) == 0)
					b[n++] = below(2) ? 0x38 : 0x3a;
			}
			n++;
		}
		modrm_at = n;
		if (below(3))
			b[modrm_at] = (uint8_t)((b[modrm_at] & 0x3f) | below(3) << 6);
		memset(&in, 0, sizeof(in));
		if (bt_decode(&in, BTN_CODE_VA, b, 15) ||
		    (in.cls != BC_VERBATIM && in.cls != BC_MEM && in.cls != BC_BIT))
			continue;
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&zd, NULL, b, 15, &zi)) || refused(&zi))
			continue;
		if (in.wr & KEEP)
			continue;
		if (in.seg)
			continue;
		if (in.cls == BC_MEM || in.cls == BC_BIT) {
			if (in.base == BT_RIP) {
				int32_t to = (int32_t)(BTN_DATA_VA + 0x800 + below(0xc000) - 0);

				memcpy(b + zi.raw.disp.offset, &to, 4);        /* made relative in place_insn() */
			} else {
				if (in.base == BT_NO_REG || !(1U << in.base & (PTRS | 1U << REG_RSP)))
					continue;
				if (in.index != BT_NO_REG && !(1U << in.index & IDXS))
					continue;
				if (in.addr32 && in.base == REG_RSP)
					continue;
				if (zi.raw.disp.size == 32) {
					int32_t d = (int32_t)below(0x2000) - 0x1000;

					memcpy(b + zi.raw.disp.offset, &d, 4);
				}
			}
		}
		memcpy(out, b, in.len);
		return in.len;
	}
}

static void place_insn(void)
{
	uint8_t b[16];
	unsigned n = random_insn(b);
	struct bt_insn in;

	bt_decode(&in, BTN_CODE_VA, b, n);
	if ((in.cls == BC_MEM || in.cls == BC_BIT) && in.base == BT_RIP) {
		unsigned at = in.modrm_off + 1U;
		int32_t abs, rel;

		memcpy(&abs, b + at, 4);
		rel = (int32_t)((uint64_t)(uint32_t)abs - (BTN_CODE_VA + len + n));
		memcpy(b + at, &rel, 4);
	}
	memcpy(prog + len, b, n);
	len += n;
	instructions++;
}

static const uint8_t plain_regs[] = { REG_RAX, REG_RCX, REG_RDX, REG_R9, REG_R10, REG_R11, REG_R15 };

static unsigned plain_reg(void) { return plain_regs[below(sizeof(plain_regs))]; }

static void push_reg(unsigned r)
{
	if (r & 8)
		p8(0x41);
	p8(0x50 | (r & 7));
}

static void pop_reg(unsigned r)
{
	if (r & 8)
		p8(0x41);
	p8(0x58 | (r & 7));
}

/* reg += step, in one of the forms that the translator knows for such. */
static void place_step(unsigned r, int step)
{
	unsigned rex = 0x48 | (r & 8 ? 1 : 0), form = below(4);

	if (form == 0 && (step == 1 || step == -1)) {
		p8(rex); p8(0xff); p8((step < 0 ? 0xc8 : 0xc0) | (r & 7));
	} else if (form == 1 && (r & 7) != 4) {                 /* lea step(r), r */
		p8(rex | (r & 8 ? 4 : 0)); p8(0x8d); p8(0x80 | (r & 7) << 3 | (r & 7)); p32((uint32_t)step);
	} else if (form == 2) {
		p8(rex); p8(0x83); p8(0xe8 | (r & 7)); p8((unsigned)-step);
	} else {
		p8(rex); p8(0x81); p8(0xc0 | (r & 7)); p32((uint32_t)step);
	}
}

/* A plain load or store of 1 to 8 bytes at disp(base), disp(base,index,scale) or an address computed before. */
static void place_access(void)
{
	static const uint8_t bases[] = { REG_RBX, REG_RBP, REG_RSI, REG_RDI };
	unsigned base = bases[below(4)], reg = plain_reg(), sib = below(2), index = below(2) ? REG_R8 : REG_R14;
	unsigned scale = below(4);

	if (below(4) == 0) {                                    /* lea (base,index,scale), r9; access (r9) */
		p8(0x4e); p8(0x8d); p8(0x4c); p8(scale << 6 | (index & 7) << 3 | base); p8(below(64));
		p8(0x49 | (reg & 8 ? 4 : 0)); p8(below(2) ? 0x89 : 0x8b); p8(0x41 | (reg & 7) << 3); p8(below(64));
		return;
	}
	if (below(3) == 0)
		p8(0x66);
	p8((below(2) ? 0x48 : 0x40) | (reg & 8 ? 4 : 0) | (sib ? 2 : 0));
	p8((below(2) ? 0x88 : 0x8a) | !!below(4));
	p8(0x40 | (reg & 7) << 3 | (sib ? 4 : base));
	if (sib)
		p8(scale << 6 | (index & 7) << 3 | base);
	p8(below(128));
}

/*
 * Many rounds of a loop whose pointers and indices step by constants, over pages' ends, into the hole and the read-only
 * page; what it steps is as random as before when it ends.
 */
static void place_stepping_loop(void)
{
	static const int steps[] = { 1, -1, 8, -8, 16, 4, -4, 3, 24, 32, -16, 64, 100, -72, 2, 40 };
	static const uint8_t pointers[] = { REG_RBX, REG_RBP, REG_RSI, REG_RDI, REG_R12, REG_R13 };
	unsigned counter = below(2) ? REG_R8 : REG_R14, other = counter ^ REG_R8 ^ REG_R14;
	unsigned rounds = 2 + below(400), at, jump = 0;
	int step = (int[]){ 1, 2, 4, 8, 16, 24 }[below(6)];

	at = len;
	if (below(8))
		place_step(pointers[below(6)], steps[below(16)]);     /* no flags live at the head */
	if (below(5))
		p8(0x48), p8(0x85), p8(0xc0);
	for (unsigned n = 1 + below(5); n && len - at < 150; n--) {
		if (below(4))
			place_access();
		else
			place_insn();
		if (below(3) == 0)
			place_step(pointers[below(6)], steps[below(16)]);
		if (below(8) == 0)
			place_step(other, steps[below(16)]);
		if (!jump && below(6) == 0) {                   /* a way out in the middle */
			p8(0x0f); p8(0x80 | below(16));
			jump = len;
			p32(0);
		}
	}
	p8(0x49); p8(0x83); p8(0xc0 | (counter & 7)); p8((unsigned)step);
	p8(0x49); p8(0x81); p8(0xf8 | (counter & 7)); p32(rounds * (unsigned)step);
	p8(0x0f); p8(0x82); p32(at - (len + 4));                /* jb */
	if (jump) {
		uint32_t rel = len - (jump + 4);

		memcpy(prog + jump, &rel, 4);
	}
	p8(0x41); p8(0xb8 | (counter & 7)); p32(below(64));     /* mov $n, counter */
	p8(0x41); p8(0xb8 | (other & 7)); p32(below(64));
	for (unsigned i = 0; i < sizeof(pointers) && below(4); i++) {
		p8(0x48 | (pointers[i] & 8 ? 1 : 0)); p8(0xc7); p8(0xc0 | (pointers[i] & 7));
		p32((uint32_t)BTN_DATA_VA + 0x1800 + below(0xc000));
	}
}

/* Something with control flow, stack or strings around a few random instructions. */
static void place_construct(void)
{
	unsigned at, n;

	switch (below(17)) {
	case 14: case 15: case 16:
		place_stepping_loop();
		break;
	case 0:                                         /* jcc over some */
		p8(0x70 | below(16));
		at = len;
		p8(0);
		for (n = 1 + below(4); n; n--)
			place_insn();
		prog[at] = (uint8_t)(len - at - 1);
		break;
	case 1:
		push_reg(plain_reg());
		for (n = below(3); n; n--)
			place_insn();
		pop_reg(plain_reg());
		break;
	case 2:                                         /* call over a jump into a function */
		p8(0xeb);
		at = len;
		p8(0);
		n = len;
		place_insn();
		place_insn();
		if (below(4)) {
			p8(0xc3);
		} else {
			p8(0xc2);                       /* ret 8, with a push before the call */
			p8(8);
			p8(0);
		}
		prog[at] = (uint8_t)(len - at - 1);
		if (prog[len - 1] == 0 && prog[len - 3] == 0xc2)
			push_reg(plain_reg());
		p8(0xe8);
		p32(n - (len + 4));
		break;
	case 3:                                         /* loop of a few rounds in rcx */
		p8(0xb9);
		p32(1 + below(5));
		at = len;
		place_insn();
		p8(0x51);                               /* push rcx: a random instruction may change it */
		place_insn();
		p8(0x59);
		if (below(2)) {
			p8(0xff); p8(0xc9);             /* dec ecx; and $7, ecx; jnz */
			p8(0x83); p8(0xe1); p8(7);
			if (at + 100 > len) {
				p8(0x75);
				p8(at + 10 - len);      /* fixed below */
				prog[len - 1] = 0;      /* falls through: rounds are made by the other form */
			}
		} else {
			p8(0x83); p8(0xe1); p8(3);      /* and $3, ecx */
			p8(0xe3);
			p8(0);                          /* jrcxz next */
		}
		break;
	case 4:                                         /* rep movs or stos */
		p8(0xb9);
		p32(below(300));
		if (below(4))
			p8(0xf3);
		if (below(4) == 0)
			p8(0x66);
		if (below(2))
			p8(0x48);
		p8(0xa4 + below(2) + (below(2) ? 6 : 0));
		break;
	case 12:                                        /* push rsp; pop rsp, with a few between */
		p8(0x54);
		for (n = below(3); n; n--)
			place_insn();
		p8(0x5c);
		break;
	case 13: {                                      /* mov of a selector that is null here and there */
		static const uint8_t null_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
		unsigned r = plain_reg();

		if (below(3) == 0)
			p8(0x66);
		if (r & 8 || below(3) == 0)
			p8(0x40 | (r & 8 ? 1 : 0) | (below(2) ? 8 : 0));
		p8(0x8c);
		p8(0xc0 | null_segs[below(4)] << 3 | (r & 7));
		break;
	}
	case 5:                                         /* push imm, push/pop memory, leave */
		p8(0x68);
		p32((uint32_t)rnd());
		p8(0xff); p8(0x73); p8(below(100));     /* push disp(rbx) */
		pop_reg(plain_reg());
		pop_reg(plain_reg());
		break;
	case 6:                                         /* indirect jump over some: lea n(rip), r; jmp *r */
		n = plain_reg();
		p8(0x48 | (n & 8 ? 4 : 0)); p8(0x8d); p8(0x05 | (n & 7) << 3);
		at = len;
		p32(0);
		if (n & 8)
			p8(0x41);
		p8(0xff); p8(0xe0 | (n & 7));
		place_insn();
		n = len - at - 4;
		memcpy(prog + at, &n, 4);
		break;
	case 7:                                         /* indirect call through memory on the stack */
		p8(0x48); p8(0x8d); p8(0x05);           /* lea f(rip), rax */
		at = len;
		p32(0);
		p8(0x50);                               /* push rax; call *(rsp); pop rax; jmp over f */
		p8(0xff); p8(0x14); p8(0x24);
		p8(0x58);
		p8(0xeb);
		n = len;
		p8(0);
		{
			uint32_t rel = len - at - 4;

			memcpy(prog + at, &rel, 4);
		}
		place_insn();
		p8(0xc3);
		prog[n] = (uint8_t)(len - n - 1);
		break;
	case 8:                                         /* setcc, cmov, adc in memory: flags across checks */
		p8(0x0f); p8(0x90 | below(16)); p8(0x43); p8(below(100));
		p8(0x48); p8(0x0f); p8(0x40 | below(16)); p8(0x4d); p8(below(100));
		p8(0x48); p8(0x11); p8(0x06);           /* adc rax, (rsi) */
		p8(0x9f);                               /* lahf */
		break;
	case 9:
		p8(0xc8 + 1);                           /* leave needs rbp on the stack: mov rsp->rbp is not ours */
		len--;
		place_insn();
		break;
	case 10:                                        /* a real loop: mov $k, r15d; body; sub $1, r15d; jnz */
		p8(0x41); p8(0xbf); p32(2 + below(6));
		at = len;
		p8(0x48); p8(0x01); p8(0x03);           /* add rax, (rbx) */
		p8(0x48); p8(0x8b); p8(0x4e); p8(below(64));
		p8(0x48); p8(0x31); p8(0xc8);
		p8(0x49); p8(0x13); p8(0x44); p8(0x24); p8(below(64));   /* adc d(r12), rax */
		p8(0x41); p8(0x83); p8(0xef); p8(1);
		p8(0x75);
		p8(at - len - 1);
		break;
	default:
		place_insn();
		place_insn();
	}
}

static void make_program(void)
{
	unsigned items = 1 + below(40);

	len = 0;
	while (items-- && len < MAX_PROG - 400) {
		if (below(5) == 0)
			place_construct();
		else
			place_insn();
	}
	p8(0x0f);
	p8(0x05);
}

static void random_bytes(void *p, size_t n)
{
	uint8_t *b = p;

	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint64_t v = rnd() << 20 ^ rnd();

		if ((v & 7) == 0)
			v = (v >> 8) & 0xff;
		memcpy(b + i, &v, 8);
	}
}

static void make_state(struct btn_state *s, unsigned off)
{
	static const uint16_t fcw = 0x37f;
	static const uint32_t mxcsr = 0x1f80;
	static const uint64_t bv = 7;

	memset(s, 0, sizeof(*s));
	random_bytes(s->gpr, sizeof(s->gpr));
	for (int r = 0; r < 16; r++) {
		if (PTRS & 1U << r)
			s->gpr[r] = high + BTN_DATA_VA + 0x1800 + below(0xc000);
		if ((PTRS & 1U << r) && below(3))
			s->gpr[r] = (s->gpr[r] & ~0xfffUL) + 0x400 + (below(0x800) & ~15U);
		if (IDXS & 1U << r)
			s->gpr[r] = below(64);
	}
	s->gpr[REG_RSP] = high + BTN_STACK_VA + 0x1c00 + (below(0x800) & ~7U);
	if (below(6) == 0)
		s->gpr[REG_RSP] = high + BTN_STACK_VA + 0x2000 + below(64);
	s->rip = high + BTN_CODE_VA + off;
	s->rflags = 0x202 | (rnd() & BT_RFLAGS_STATUS);
	memcpy(s->xsave, &fcw, 2);
	memcpy(s->xsave + 24, &mxcsr, 4);
	memcpy(s->xsave + 512, &bv, 8);
	random_bytes(s->xsave + 160, 256);
	random_bytes(s->xsave + 576, 256);
}

/* ---- comparison ---- */

static int bad;

static void dump_program(unsigned off)
{
	ZydisFormatter f;

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_ATT);
	for (unsigned at = 0; at < len;) {
		ZydisDecodedInstruction zi;
		ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
		char text[128] = "?";

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zd, prog + at, len - at, &zi, op)))
			break;
		ZydisFormatterFormatInstruction(&f, &zi, op, zi.operand_count_visible, text, sizeof(text),
						high + BTN_CODE_VA + off + at, NULL);
		fprintf(stderr, "  %lx:", high + BTN_CODE_VA + off + at);
		for (unsigned i = 0; i < zi.length; i++)
			fprintf(stderr, " %02x", prog[at + i]);
		fprintf(stderr, "\t%s\n", text);
		at += zi.length;
	}
}

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
	for (unsigned at = 0; at < len;) {
		struct bt_insn d;

		if (bt_decode(&d, BTN_CODE_VA + at, prog + at, len - at))
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

/* The rip-relative operands, which were placed for offset 0. */
static void place_relative(unsigned off)
{
	for (unsigned at = 0; at < len;) {
		struct bt_insn d;

		if (bt_decode(&d, BTN_CODE_VA + at, prog + at, len - at))
			break;
		if ((d.cls == BC_MEM || d.cls == BC_BIT) && d.base == BT_RIP) {
			int32_t rel;

			memcpy(&rel, prog + at + d.modrm_off + 1, 4);
			rel -= (int32_t)off;
			memcpy(prog + at + d.modrm_off + 1, &rel, 4);
		}
		at += d.len;
	}
}

/*
 * Runs the program at offset off, in memory as mem has it (the code aside, which is put there), natively and twice in the engine.
 * false: they differ, and it is printed how.
 */
static bool agrees(const struct btn_state *in, uint8_t *mem, unsigned off, bool kernel)
{
	/* no code of earlier programs, where a jump astray could read a LOCK prefix that is not there natively */
	memset(mem, 0, BTN_CODE_PAGES * 4096);
	memcpy(mem + off, prog, len);
	memcpy(nat->mem, mem, sizeof(nat->mem));
	native_unlock(nat->mem + off);
	nat->mem[off + len - 1] = 0x0b;                 /* ud2 where the guest has syscall */
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
	dump_program(off);
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
	make_program();
	off = below(3) ? below(256) : 4096 - below(len < 200 ? len : 200);
	place_relative(off);
	make_state(&in, off);
	random_bytes(memory + BTN_CODE_PAGES * 4096, sizeof(memory) - BTN_CODE_PAGES * 4096);
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
	static struct btn_state in;
	const size_t code = BTN_CODE_PAGES * 4096;

	len = 0;
	for (unsigned i = 0; i < s->n; i++)
		p8(s->b[i]);
	p8(0x0f);
	p8(0x05);
	make_state(&in, 0);
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
	ZydisDecoderInit(&zd, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
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
	printf("%lu programs, %lu instructions, %lu ended in a fault: no difference\n", programs, instructions, faults);
	return 0;
}
