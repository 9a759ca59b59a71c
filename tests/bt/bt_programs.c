/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bt_programs.c - see bt_programs.h. */
#include <stdio.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include "hypervisor/engine/bt/bt_int.h"
#include "tests/bt/bt_programs.h"

#define KEEP (PTRS | IDXS | 1U << REG_RSP)

uint8_t prog[MAX_PROG + 64];
unsigned prog_len;
unsigned long prog_instructions;
uint64_t rng;

static ZydisDecoder zd;

uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dULL >> 16;
}

unsigned below(unsigned n) { return (unsigned)(rnd() % n); }

void prog_begin(void) { ZydisDecoderInit(&zd, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64); }

static void p8(unsigned b) { prog[prog_len++] = (uint8_t)b; }
static void p32(uint32_t v) { memcpy(prog + prog_len, &v, 4); prog_len += 4; }

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

/* One random instruction with plain operands; its length. */
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
		rel = (int32_t)((uint64_t)(uint32_t)abs - (BTN_CODE_VA + prog_len + n));
		memcpy(b + at, &rel, 4);
	}
	memcpy(prog + prog_len, b, n);
	prog_len += n;
	prog_instructions++;
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

	at = prog_len;
	if (below(8))
		place_step(pointers[below(6)], steps[below(16)]);     /* no flags live at the head */
	if (below(5))
		p8(0x48), p8(0x85), p8(0xc0);
	for (unsigned n = 1 + below(5); n && prog_len - at < 150; n--) {
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
			jump = prog_len;
			p32(0);
		}
	}
	p8(0x49); p8(0x83); p8(0xc0 | (counter & 7)); p8((unsigned)step);
	p8(0x49); p8(0x81); p8(0xf8 | (counter & 7)); p32(rounds * (unsigned)step);
	p8(0x0f); p8(0x82); p32(at - (prog_len + 4));                /* jb */
	if (jump) {
		uint32_t rel = prog_len - (jump + 4);

		memcpy(prog + jump, &rel, 4);
	}
	p8(0x41); p8(0xb8 | (counter & 7)); p32(below(64));     /* mov $n, counter */
	p8(0x41); p8(0xb8 | (other & 7)); p32(below(64));
	for (unsigned i = 0; i < sizeof(pointers) && below(4); i++) {
		p8(0x48 | (pointers[i] & 8 ? 1 : 0)); p8(0xc7); p8(0xc0 | (pointers[i] & 7));
		p32((uint32_t)BTN_DATA_VA + 0x1800 + below(0xc000));
	}
}

static void place_insns(unsigned n)
{
	while (n--)
		place_insn();
}

/* A short displacement at `at` leads to here. */
static void lands_here(unsigned at) { prog[at] = (uint8_t)(prog_len - at - 1); }

/* A long one. */
static void lands_here_far(unsigned at)
{
	uint32_t rel = prog_len - (at + 4);

	memcpy(prog + at, &rel, 4);
}

/* jcc over some */
static void place_jcc(void)
{
	unsigned at;

	p8(0x70 | below(16));
	at = prog_len;
	p8(0);
	place_insns(1 + below(4));
	lands_here(at);
}

static void place_push_pop(void)
{
	push_reg(plain_reg());
	place_insns(below(3));
	pop_reg(plain_reg());
}

/* jmp over a function; call of it.  It may end in ret $8, with a push before the call. */
static void place_call(void)
{
	unsigned at, function;
	bool plain;

	p8(0xeb);
	at = prog_len;
	p8(0);
	function = prog_len;
	place_insns(2);
	plain = below(4);
	if (plain) {
		p8(0xc3);
	} else {
		p8(0xc2); p8(8); p8(0);
	}
	lands_here(at);
	if (!plain)
		push_reg(plain_reg());
	p8(0xe8);
	p32(function - (prog_len + 4));
}

/* A count in rcx, kept on the stack while random instructions may change it, and branches on it to the next instruction. */
static void place_count(void)
{
	p8(0xb9);
	p32(1 + below(5));
	place_insn();
	p8(0x51);                               /* push rcx */
	place_insn();
	p8(0x59);
	if (below(2)) {
		p8(0xff); p8(0xc9);             /* dec ecx; and $7, ecx; jnz */
		p8(0x83); p8(0xe1); p8(7);
		p8(0x75);
	} else {
		p8(0x83); p8(0xe1); p8(3);      /* and $3, ecx; jrcxz */
		p8(0xe3);
	}
	p8(0);
}

/* (rep) movs, stos */
static void place_string(void)
{
	p8(0xb9);
	p32(below(300));
	if (below(4))
		p8(0xf3);
	if (below(4) == 0)
		p8(0x66);
	if (below(2))
		p8(0x48);
	p8(0xa4 + below(2) + (below(2) ? 6 : 0));
}

/* push imm, push of memory, pops */
static void place_push_memory(void)
{
	p8(0x68);
	p32((uint32_t)rnd());
	p8(0xff); p8(0x73); p8(below(100));     /* push disp(rbx) */
	pop_reg(plain_reg());
	pop_reg(plain_reg());
}

/* lea n(rip), r; jmp *r over some */
static void place_indirect_jump(void)
{
	unsigned r = plain_reg(), at;

	p8(0x48 | (r & 8 ? 4 : 0)); p8(0x8d); p8(0x05 | (r & 7) << 3);
	at = prog_len;
	p32(0);
	if (r & 8)
		p8(0x41);
	p8(0xff); p8(0xe0 | (r & 7));
	place_insn();
	lands_here_far(at);
}

/* lea f(rip), rax; push rax; call *(rsp); pop rax; jmp over f */
static void place_indirect_call(void)
{
	unsigned function, over;

	p8(0x48); p8(0x8d); p8(0x05);
	function = prog_len;
	p32(0);
	p8(0x50);
	p8(0xff); p8(0x14); p8(0x24);
	p8(0x58);
	p8(0xeb);
	over = prog_len;
	p8(0);
	lands_here_far(function);
	place_insn();
	p8(0xc3);
	lands_here(over);
}

/* setcc, cmov, adc in memory: flags across checks */
static void place_flags(void)
{
	p8(0x0f); p8(0x90 | below(16)); p8(0x43); p8(below(100));
	p8(0x48); p8(0x0f); p8(0x40 | below(16)); p8(0x4d); p8(below(100));
	p8(0x48); p8(0x11); p8(0x06);           /* adc rax, (rsi) */
	p8(0x9f);                               /* lahf */
}

/* mov $k, r15d; body; sub $1, r15d; jnz */
static void place_loop(void)
{
	unsigned at;

	p8(0x41); p8(0xbf); p32(2 + below(6));
	at = prog_len;
	p8(0x48); p8(0x01); p8(0x03);           /* add rax, (rbx) */
	p8(0x48); p8(0x8b); p8(0x4e); p8(below(64));
	p8(0x48); p8(0x31); p8(0xc8);
	p8(0x49); p8(0x13); p8(0x44); p8(0x24); p8(below(64));   /* adc d(r12), rax */
	p8(0x41); p8(0x83); p8(0xef); p8(1);
	p8(0x75);
	p8(at - prog_len - 1);
}

static void place_two(void) { place_insns(2); }

/* push rsp; a few; pop rsp */
static void place_push_rsp(void)
{
	p8(0x54);
	place_insns(below(3));
	p8(0x5c);
}

/* mov of a selector that is null here and there */
static void place_selector(void)
{
	static const uint8_t null_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	unsigned r = plain_reg();

	if (below(3) == 0)
		p8(0x66);
	if (r & 8 || below(3) == 0)
		p8(0x40 | (r & 8 ? 1 : 0) | (below(2) ? 8 : 0));
	p8(0x8c);
	p8(0xc0 | null_segs[below(4)] << 3 | (r & 7));
}

/* Something with control flow, stack or strings around a few random instructions.  A seed's programs hang on the order. */
static void (*const constructs[])(void) = {
	place_jcc, place_push_pop, place_call, place_count, place_string, place_push_memory, place_indirect_jump, place_indirect_call,
	place_flags, place_insn, place_loop, place_two, place_push_rsp, place_selector,
	place_stepping_loop, place_stepping_loop, place_stepping_loop,
};
#define NR_CONSTRUCTS (sizeof(constructs) / sizeof(constructs[0]))

void prog_make(void)
{
	unsigned items = 1 + below(40);

	prog_len = 0;
	while (items-- && prog_len < MAX_PROG - 400) {
		if (below(5) == 0)
			constructs[below(NR_CONSTRUCTS)]();
		else
			place_insn();
	}
	p8(0x0f);
	p8(0x05);
}

void prog_move(unsigned off)
{
	for (unsigned at = 0; at < prog_len;) {
		struct bt_insn d;

		if (bt_decode(&d, BTN_CODE_VA + at, prog + at, prog_len - at))
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

void prog_memory(uint8_t *mem)
{
	random_bytes(mem + BTN_CODE_PAGES * 4096, (BTN_PAGES - BTN_CODE_PAGES) * 4096);
}

void prog_state(struct btn_state *s, uint64_t base, unsigned off)
{
	static const uint16_t fcw = 0x37f;
	static const uint32_t mxcsr = 0x1f80;
	static const uint64_t bv = 7;

	memset(s, 0, sizeof(*s));
	random_bytes(s->gpr, sizeof(s->gpr));
	for (int r = 0; r < 16; r++) {
		if (PTRS & 1U << r)
			s->gpr[r] = base + BTN_DATA_VA + 0x1800 + below(0xc000);
		if ((PTRS & 1U << r) && below(3))
			s->gpr[r] = (s->gpr[r] & ~0xfffUL) + 0x400 + (below(0x800) & ~15U);
		if (IDXS & 1U << r)
			s->gpr[r] = below(64);
	}
	s->gpr[REG_RSP] = base + BTN_STACK_VA + 0x1c00 + (below(0x800) & ~7U);
	if (below(6) == 0)
		s->gpr[REG_RSP] = base + BTN_STACK_VA + 0x2000 + below(64);
	s->rip = base + BTN_CODE_VA + off;
	s->rflags = 0x202 | (rnd() & BT_RFLAGS_STATUS);
	memcpy(s->xsave, &fcw, 2);
	memcpy(s->xsave + 24, &mxcsr, 4);
	memcpy(s->xsave + 512, &bv, 8);
	random_bytes(s->xsave + 160, 256);
	random_bytes(s->xsave + 576, 256);
}

void prog_print(uint64_t va)
{
	ZydisFormatter f;

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_ATT);
	for (unsigned at = 0; at < prog_len;) {
		ZydisDecodedInstruction zi;
		ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
		char text[128] = "?";

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zd, prog + at, prog_len - at, &zi, op)))
			break;
		ZydisFormatterFormatInstruction(&f, &zi, op, zi.operand_count_visible, text, sizeof(text),
						va + at, NULL);
		fprintf(stderr, "  %lx:", va + at);
		for (unsigned i = 0; i < zi.length; i++)
			fprintf(stderr, " %02x", prog[at + i]);
		fprintf(stderr, "\t%s\n", text);
		at += zi.length;
	}
}
