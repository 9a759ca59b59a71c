/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_opcodes.c - the whole opcode space against the cage: one-, two- and three-byte maps, VEX, EVEX, prefixes, ModRM forms.
 *
 * First what the translator decides about each encoding.  Copied verbatim, or with its memory operand checked, is only what
 * bt_opcodes_list.h names; what the decision says of the operand is compared with one decoded here by hand; no operand may
 * be one that reaches segments, control registers or memory by itself.
 *
 * Then the CPU itself is asked (bt_measure.h): does it take what is copied for an instruction of that length, does what is translated with
 * its operand replaced touch no more than is checked, and write only where that is checked?  So with what the emulator leaves to it.
 *
 * Then one encoding of each kind is run, in the real engine, in user, kernel and 32-bit code, by a process in which every
 * guest register holds a host address that faults when touched, a seccomp filter kills whatever calls the kernel from
 * the code cache or the emulator's thunks, and segments are compared after each.  What is left is a guest's exception or
 * an instruction that did no harm.  Encodings misjudged on purpose (mutations[]) show that this would be seen.
 *
 *	bt_opcodes [--long | --list]          --list prints the header anew: read what changed before it is committed
 */
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <Zydis/Zydis.h>

#include "hypervisor/engine/bt/bt_xlat.h"
#include "hypervisor/engine/bt/emulate.h"
#include "tests/bt/bt_guest.h"
#include "tests/bt/bt_measure.h"

struct allowed { uint8_t vex, map, opcode, pp, reg, mem; };     /* masks: of prefixes, of ModRM.reg in each form */
static const struct allowed allowed_list[] = {
#include "tests/bt/bt_opcodes_list.h"
};

enum { PP_NONE, PP_66, PP_F3, PP_F2 };
static uint8_t allow_reg[2][4][256][4], allow_mem[2][4][256][4], seen_reg[2][4][256][4], seen_mem[2][4][256][4];
static ZydisDecoder zd;
static unsigned long counts[BC_EMULATE + 2], complaints;
#define COUNT_NONE (BC_EMULATE + 1)

/* ---- one encoding ---- */

struct enc {
	uint8_t b[16];
	unsigned n;                     /* bytes up to ModRM */
	unsigned vex, map, opcode, pp;
	bool evex;
};

static void show(const char *why, const uint8_t *b)
{
	fprintf(stderr, "bt_opcodes: %s:", why);
	for (unsigned i = 0; i < 15; i++)
		fprintf(stderr, " %02x", b[i]);
	fputc('\n', stderr);
	complaints++;
}

/* The memory operand as the manual has it (SDM vol. 2, table 2-2 and 2-3), from the bytes alone. */
static bool operand_agrees(const struct bt_insn *in, const uint8_t *b, const ZydisDecodedInstruction *zi)
{
	unsigned at = in->modrm_off, mod = b[at] >> 6, rm = b[at] & 7, base = BT_NO_REG, index = BT_NO_REG, scale = 1, x = 0, bb = 0;
	int64_t disp = 0;
	int32_t d32;

	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
		bb = zi->raw.vex.size == 3 && !(b[zi->raw.vex.offset + 1] & 0x20) ? 8 : 0;
		x = zi->raw.vex.size == 3 && !(b[zi->raw.vex.offset + 1] & 0x40) ? 8 : 0;
	} else {
		bb = in->rex & 1 ? 8 : 0;
		x = in->rex & 2 ? 8 : 0;
	}
	if (mod == 3)
		return false;
	at++;
	if (rm == 4) {
		unsigned sib = b[at++];

		base = (sib & 7) + bb;
		index = (sib >> 3 & 7) + x;
		scale = 1U << (sib >> 6);
		if (index == 4)
			index = BT_NO_REG;
		if ((sib & 7) == 5 && mod == 0)
			base = BT_NO_REG;
	} else if (rm == 5 && mod == 0) {
		base = BT_RIP;
	} else {
		base = rm + bb;
	}
	if (mod == 1) {
		disp = (int8_t)b[at];
	} else if (mod == 2 || base == BT_RIP || (rm == 4 && base == BT_NO_REG)) {
		memcpy(&d32, b + at, 4);
		disp = d32;
	}
	if (base == BT_RIP)
		disp += (int64_t)(in->va + in->len);
	return in->base == base && in->index == index && (index == BT_NO_REG || in->scale == scale) && in->disp == disp;
}

/* Registers that code copied as it is may name: general, x87, MMX, SSE, AVX, flags and their control words. */
static bool register_harmless(ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8: case ZYDIS_REGCLASS_GPR16: case ZYDIS_REGCLASS_GPR32: case ZYDIS_REGCLASS_GPR64:
	case ZYDIS_REGCLASS_X87: case ZYDIS_REGCLASS_MMX: case ZYDIS_REGCLASS_XMM: case ZYDIS_REGCLASS_YMM: case ZYDIS_REGCLASS_FLAGS:
		return true;
	default:
		return r == ZYDIS_REGISTER_MXCSR || r == ZYDIS_REGISTER_X87CONTROL || r == ZYDIS_REGISTER_X87STATUS ||
		       r == ZYDIS_REGISTER_X87TAG;
	}
}

/* Their operand is one byte, whatever the size of the line it lies in, which ends in the same page. */
static bool acts_on_line(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_CLFLUSH || m == ZYDIS_MNEMONIC_CLFLUSHOPT || m == ZYDIS_MNEMONIC_CLWB;
}

/* NULL, or what is wrong with how the translator treats it. */
static const char *judge(const struct enc *e, const struct bt_insn *in)
{
	unsigned reg = e->b[e->n] >> 3 & 7, memory = 0;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction zi;
	bool copied = in->cls == BC_VERBATIM || in->cls == BC_LEA_RIP, checked = in->cls == BC_MEM || in->cls == BC_BIT;

	if (!copied && !checked)
		return NULL;
	if (e->evex || e->map > 3)
		return "EVEX or an unknown map is translated";
	if (!((copied ? allow_reg : allow_mem)[e->vex][e->map][e->opcode][e->pp] >> reg & 1))
		return copied ? "copied verbatim, but not on the list" : "translated with a memory operand, but not on the list";
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zd, e->b, 15, &zi, op)) || zi.length != in->len)
		return "decoded otherwise";
	if (zi.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return "privileged";
	for (unsigned i = 0; i < zi.operand_count; i++) {
		if (op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && !register_harmless(op[i].reg.value))
			return "names a register of the host's";
		if (op[i].type == ZYDIS_OPERAND_TYPE_POINTER)
			return "a far pointer";
		if (op[i].type != ZYDIS_OPERAND_TYPE_MEMORY || op[i].mem.type == ZYDIS_MEMOP_TYPE_AGEN)
			continue;
		memory++;
		if (copied)
			return "copied verbatim with a memory operand";
		if (op[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN || op[i].mem.type != ZYDIS_MEMOP_TYPE_MEM)
			return "its memory operand is not an ordinary one";
		if ((op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && !in->mem_wr && in->cls != BC_BIT)
			return "writes, and is checked for reading";
		if (in->mem_size * 8U < op[i].size && in->cls != BC_BIT && !acts_on_line(zi.mnemonic))
			return "touches more than is checked";
		if (!operand_agrees(in, e->b, &zi))
			return "its address is another one";
		if (in->seg != (op[i].mem.segment == ZYDIS_REGISTER_FS ? 4 : op[i].mem.segment == ZYDIS_REGISTER_GS ? 5 : 0))
			return "its segment is another one";
		if (in->addr32 != (zi.address_width == 32))
			return "its address has another width";
	}
	if (checked && memory != 1)
		return "not one memory operand";
	return NULL;
}

/* ---- mutations: what the translator is made to take for harmless ---- */

static const struct mutation { uint8_t b[8]; unsigned n; uint8_t cls; const char *what; } mutations[] = {
	{ { 0x48, 0x8b, 0x07 }, 3, BC_VERBATIM, "mov (rdi), rax" },
	{ { 0x48, 0x89, 0x07 }, 3, BC_VERBATIM, "mov rax, (rdi)" },
	{ { 0xf3, 0x48, 0x0f, 0xae, 0xd8 }, 5, BC_VERBATIM, "wrgsbase rax" },
	{ { 0x0f, 0x05 }, 2, BC_VERBATIM, "syscall" },
	{ { 0xcd, 0x80 }, 2, BC_VERBATIM, "int 0x80" },
	{ { 0x8e, 0xd8 }, 2, BC_VERBATIM, "mov eax, ds" },
	{ { 0x66, 0x0f, 0xf7, 0xc8 }, 4, BC_VERBATIM, "maskmovdqu xmm1, xmm0" },
	{ { 0x0f, 0xae, 0x27 }, 3, BC_VERBATIM, "xsave (rdi)" },
	{ { 0xd7 }, 1, BC_VERBATIM, "xlat" },
	{ { 0xa4 }, 1, BC_VERBATIM, "movsb" },
	{ { 0xc4, 0xe2, 0x79, 0x18, 0x07 }, 5, BC_VERBATIM, "vbroadcastss (rdi), xmm0" },
	{ { 0x50 }, 1, BC_VERBATIM, "push rax" },
	{ { 0x0f, 0xab, 0x07 }, 3, BC_VERBATIM, "bts eax, (rdi)" },
};
#define NR_MUTATIONS (sizeof(mutations) / sizeof(mutations[0]))

static const struct mutation *mutation;          /* in force */

int __real_bt_decode(struct bt_insn *in, uint64_t va, const uint8_t *bytes, size_t n);
int __wrap_bt_decode(struct bt_insn *in, uint64_t va, const uint8_t *bytes, size_t n);

int __wrap_bt_decode(struct bt_insn *in, uint64_t va, const uint8_t *bytes, size_t n)
{
	int rc = __real_bt_decode(in, va, bytes, n);

	if (mutation && !rc && n >= mutation->n && !memcmp(bytes, mutation->b, mutation->n))
		in->cls = mutation->cls;
	return rc;
}

/* ---- the walk ---- */

typedef void (*visit)(const struct enc *e);

static const uint8_t modrms_few[] = { 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0xc7, 0xcf, 0xd7, 0xdf, 0xe7, 0xef, 0xf7, 0xff,
				      0x05, 0x04, 0x84 };
static uint8_t modrms[256];
static unsigned nr_modrms;

static void modrms_set(bool every)
{
	nr_modrms = 0;
	if (!every) {
		memcpy(modrms, modrms_few, sizeof(modrms_few));
		nr_modrms = sizeof(modrms_few);
		return;
	}
	for (unsigned i = 0; i < 256; i++)
		modrms[nr_modrms++] = (uint8_t)i;
}

/* ModRM and what follows: a SIB of base rdi and index rsi or neither, a displacement far from anything. */
static void with_modrms(struct enc *e, visit f)
{
	for (unsigned i = 0; i < nr_modrms; i++) {
		static const uint8_t rest[] = { 0x37, 0x10, 0x00, 0x00, 0x40, 0x01, 0x02, 0x03, 0x04, 0x05 };

		e->b[e->n] = modrms[i];
		memcpy(e->b + e->n + 1, rest, 15 - e->n - 1 < sizeof(rest) ? 15 - e->n - 1 : sizeof(rest));
		if (modrms[i] == 0x04 && e->n + 1 < 15)
			e->b[e->n + 1] = 0x25;                   /* absolute */
		if ((modrms[i] & 0xc7) == 0x05 || modrms[i] == 0x04) {
			unsigned at = e->n + 1 + (modrms[i] == 0x04);

			for (unsigned k = 0; k < 4 && at + k < 15; k++)
				e->b[at + k] = k == 3 ? 0x40 : 0;
		}
		f(e);
	}
}

static void walk_legacy(visit f, bool every)
{
	static const struct { uint8_t n, b[3], pp; } prefixes[] = {
		{ 0, { 0 }, PP_NONE }, { 1, { 0x66 }, PP_66 }, { 1, { 0xf3 }, PP_F3 }, { 1, { 0xf2 }, PP_F2 }, { 1, { 0xf0 }, PP_NONE },
		{ 1, { 0x67 }, PP_NONE }, { 1, { 0x64 }, PP_NONE }, { 1, { 0x65 }, PP_NONE }, { 2, { 0xf0, 0x66 }, PP_66 },
		{ 1, { 0x2e }, PP_NONE }, { 2, { 0x66, 0xf3 }, PP_F3 }, { 2, { 0xf2, 0x66 }, PP_F2 }, { 2, { 0xf3, 0xf2 }, PP_F2 },
		{ 3, { 0x67, 0x66, 0x65 }, PP_66 }, { 2, { 0xf2, 0xf0 }, PP_F2 }, { 2, { 0xf3, 0xf0 }, PP_F3 },
	};
	static const uint8_t rexes[] = { 0, 0x48, 0x40, 0x4f };

	for (unsigned p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]); p++)
		for (unsigned r = 0; r < (every ? 4U : 2U); r++)
			for (unsigned map = 0; map < 4; map++)
				for (unsigned o = 0; o < 256; o++) {
					struct enc e = { .map = map, .opcode = o, .pp = prefixes[p].pp };

					memcpy(e.b, prefixes[p].b, prefixes[p].n);
					e.n = prefixes[p].n;
					if (rexes[r])
						e.b[e.n++] = rexes[r];
					if (map)
						e.b[e.n++] = 0x0f;
					if (map > 1)
						e.b[e.n++] = map == 2 ? 0x38 : 0x3a;
					e.b[e.n++] = (uint8_t)o;
					/* bytes that begin another encoding belong to its own walk */
					if (map == 0 && (o == 0x0f || o == 0xc4 || o == 0xc5 || o == 0x62 || (o & 0xf0) == 0x40 || o == 0x66 ||
							 o == 0x67 || o == 0xf0 || o == 0xf2 || o == 0xf3 || o == 0x26 || o == 0x2e ||
							 o == 0x36 || o == 0x3e || o == 0x64 || o == 0x65))
						continue;
					if (map == 1 && (o == 0x38 || o == 0x3a))
						continue;
					with_modrms(&e, f);
				}
}

static void walk_vex(visit f, bool every)
{
	for (unsigned map = 0; map < 32; map++)
		for (unsigned low = 0; low < 16; low++)                  /* W, L, pp */
			for (unsigned v = 0; v < (every ? 4U : 2U); v++)      /* vvvv; and with the extension bits */
				for (unsigned o = 0; o < 256; o += map < 4 ? 1 : 17) {
					static const uint8_t pps[4] = { PP_NONE, PP_66, PP_F3, PP_F2 };
					struct enc e = { .vex = 1, .map = map, .opcode = o, .pp = pps[low & 3], .n = 4 };

					e.b[0] = 0xc4;
					e.b[1] = (uint8_t)((v & 2 ? 0x00 : 0xe0) | map);
					e.b[2] = (uint8_t)((low & 8) << 4 | (v & 1 ? 0x28 : 0x78) | (low & 4) | (low & 3));
					e.b[3] = (uint8_t)o;
					with_modrms(&e, f);
				}
}

static void walk_evex(visit f, bool every)
{
	for (unsigned map = 0; map < 8; map++)
		for (unsigned low = 0; low < 8; low++)
			for (unsigned z = 0; z < 4; z++)
				for (unsigned o = 0; o < 256; o += every ? 1 : 3) {
					struct enc e = { .evex = true, .map = map, .opcode = o, .n = 5 };

					e.b[0] = 0x62;
					e.b[1] = (uint8_t)(0xf0 | map);
					e.b[2] = (uint8_t)((low & 4) << 5 | 0x7c | (low & 3));
					e.b[3] = (uint8_t)(z == 0 ? 0x08 : z == 1 ? 0x49 : z == 2 ? 0x98 : 0x28);
					e.b[4] = (uint8_t)o;
					with_modrms(&e, f);
				}
}

/* What no walk but the whole one comes to, and was got wrong once: a SIB without a base, with REX.B and 32-bit addresses. */
static void walk_corners(visit f)
{
	static const struct enc corners[] = {
		{ .b = { 0x67, 0x4f, 0x8b, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, .n = 3, .opcode = 0x8b },
		{ .b = { 0x67, 0x49, 0x8b, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, .n = 3, .opcode = 0x8b },
		{ .b = { 0x67, 0xc4, 0x81, 0x7a, 0x6f, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, .n = 5, .vex = 1, .map = 1, .opcode = 0x6f, .pp = PP_F3 },
	};

	for (unsigned i = 0; i < sizeof(corners) / sizeof(corners[0]); i++)
		f(&corners[i]);
}

static void walk(visit f, bool every)
{
	walk_corners(f);
	walk_legacy(f, every);
	walk_vex(f, every);
	walk_evex(f, every);
}

static void visit_judge(const struct enc *e)
{
	struct bt_insn in;
	const char *why;

	if (bt_decode(&in, BTN_CODE_VA, e->b, 15)) {
		counts[COUNT_NONE]++;
		return;
	}
	counts[in.cls]++;
	why = judge(e, &in);
	if (why && complaints < 40)
		show(why, e->b);
}

static void visit_list(const struct enc *e)
{
	unsigned bit = 1U << (e->b[e->n] >> 3 & 7);
	struct bt_insn in;

	if (bt_decode(&in, BTN_CODE_VA, e->b, 15) || e->evex || e->map > 3)
		return;
	if (in.cls == BC_VERBATIM || in.cls == BC_LEA_RIP)
		seen_reg[e->vex][e->map][e->opcode][e->pp] |= (uint8_t)bit;
	else if (in.cls == BC_MEM || in.cls == BC_BIT)
		seen_mem[e->vex][e->map][e->opcode][e->pp] |= (uint8_t)bit;
}

static void list_print(void)
{
	unsigned col = 0;

	printf("/* SPDX-License-Identifier: GPL-2.0-or-later */\n/*\n * What the translator may copy: VEX, map, opcode, "
	       "prefixes (1 none, 2 66, 4 f3, 8 f2), ModRM.reg in register\n * and in memory form.\n */\n");
	for (unsigned x = 0; x < 2; x++)
		for (unsigned m = 0; m < 4; m++)
			for (unsigned o = 0; o < 256; o++)
				for (unsigned done = 0, p = 0; p < 4; p++) {
					uint8_t r = seen_reg[x][m][o][p], w = seen_mem[x][m][o][p];
					unsigned pp = 0;

					if ((done >> p & 1) || (!r && !w))
						continue;
					for (unsigned q = p; q < 4; q++)
						if (seen_reg[x][m][o][q] == r && seen_mem[x][m][o][q] == w)
							pp |= 1U << q;
					done |= pp;
					printf("{ %u, %u, 0x%02x, %u, 0x%02x, 0x%02x },%s", x, m, o, pp, r, w, ++col % 3 ? " " : "\n");
				}
	printf("\n");
}

static void list_load(void)
{
	for (unsigned i = 0; i < sizeof(allowed_list) / sizeof(allowed_list[0]); i++)
		for (unsigned p = 0; p < 4; p++)
			if (allowed_list[i].pp >> p & 1) {
				const struct allowed *a = &allowed_list[i];

				allow_reg[a->vex][a->map][a->opcode][p] |= a->reg;
				allow_mem[a->vex][a->map][a->opcode][p] |= a->mem;
			}
}

/* ---- what the CPU says ---- */

static unsigned long measured, measured_done;

/* The bytes that run: as they are, or with (%rdi) for the operand.  Their number, 0: nothing of this kind. */
static size_t emitted(const struct bt_insn *in, uint8_t *to)
{
	struct emit e = { .base = to };

	if (in->cls == BC_VERBATIM) {
		memcpy(to, in->bytes, in->len);
		return in->len;
	}
	if (in->cls != BC_MEM && (in->cls != BC_BIT || in->reg == REG_RDI))        /* a bit that is not far away */
		return 0;
	xl_emit_operand(&e, in, REG_RDI, BT_NO_REG, 0, 0);
	return e.p;
}

/* NULL, or how the CPU has n bytes of code with an operand of size bytes at (reg). */
static const char *measure_code(const uint8_t *code, size_t n, size_t size, bool writes, unsigned reg)
{
	static const enum measure_data fills[] = { MEASURE_ZEROS, MEASURE_ONES };
	enum measured whole = MEASURED_FAULT, cut;

	measured++;
	for (unsigned i = 0; i < (writes ? 1 : 2); i++) {
		enum measured m = measure(code, n, writes ? MEASURE_WRITABLE : fills[i], size, reg);

		if (m == MEASURED_LONGER)
			return "the CPU takes it for longer";
		if (m == MEASURED_BEYOND)
			return "the CPU touches more than is checked";
		if (m == MEASURED_WROTE)
			return "the CPU writes, and it is checked for reading";
		if (m == MEASURED_ELSEWHERE)
			return "the CPU touches something else";
		if (m == MEASURED_DONE)
			whole = m;
	}
	measured_done += whole == MEASURED_DONE;
	if (n == 1)
		return NULL;
	cut = measure(code, n - 1, writes ? MEASURE_WRITABLE : MEASURE_ONES, size, reg);
	if (cut != MEASURED_LONGER && !(cut == MEASURED_FAULT && whole == MEASURED_FAULT))
		return "the CPU takes it for shorter";
	return NULL;
}

static const char *measure_judge(const struct bt_insn *in)
{
	uint8_t code[32];
	size_t n = emitted(in, code), size = in->cls == BC_VERBATIM ? 0 : in->cls == BC_BIT ? in->opsize : in->mem_size;

	return n ? measure_code(code, n, size, in->mem_wr, REG_RDI) : NULL;
}

/* The same of what the emulator leaves to the CPU, which of 32-bit code is another encoding. */
static const char *measure_emulated(const uint8_t *b, bool code32)
{
	struct emu e = { .code32 = code32 };
	unsigned reg = 0;
	uint8_t code[32];
	bool writes = false;
	size_t n, size = 0;
	ZyanStatus st;

	memcpy(e.bytes, b, 15);
	if (!emu_decode(&e, 15, &st) || emu_handler(&e) != emu_native)
		return NULL;
	n = emu_native_encode(&e, code, &reg, &size, &writes);
	return n ? measure_code(code, n, size, writes, reg) : NULL;
}

static unsigned measure_nr, measure_every;

static void visit_measure(const struct enc *e)
{
	struct bt_insn in;
	const char *why;

	if (measure_nr++ % measure_every || complaints > 20)
		return;
	why = bt_decode(&in, BTN_CODE_VA, e->b, 15) ? NULL : measure_judge(&in);
	if (why)
		show(why, e->b);
	for (unsigned code32 = 0; code32 < 2; code32++) {
		why = measure_emulated(e->b, code32);
		if (why) {
			fprintf(stderr, "in the emulator, %u bits: ", code32 ? 32 : 64);
			show(why, e->b);
		}
	}
}

/* What is decoded otherwise on purpose: it would be seen. */
static void measure_matters(void)
{
	static const struct { uint8_t b[8]; int8_t len, size; bool read; const char *what; } wrong[] = {
		{ { 0x83, 0xc0, 0x01, 0x90 }, 1, 0, false, "an immediate of two bytes" },
		{ { 0x81, 0xc0, 1, 2, 3, 4 }, -1, 0, false, "one of three" },
		{ { 0x48, 0x8b, 0x07 }, 0, -4, false, "a load of four bytes that is one of eight" },
		{ { 0x0f, 0x10, 0x07 }, 0, -1, false, "one of fifteen that is one of sixteen" },
		{ { 0x48, 0x89, 0x07 }, 0, 0, true, "a store taken for a load" },
		{ { 0xdd, 0x27 }, 0, -1, false, "frstor of a byte less" },
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct bt_insn in;

		if (__real_bt_decode(&in, BTN_CODE_VA, wrong[i].b, 8) || measure_judge(&in)) {
			show("right, but the CPU has it otherwise", wrong[i].b);
			continue;
		}
		in.len = (uint8_t)(in.len + wrong[i].len);
		memcpy(in.bytes, wrong[i].b, 8);
		in.mem_size = (uint16_t)(in.mem_size + wrong[i].size);
		in.mem_wr &= !wrong[i].read;
		if (!measure_judge(&in)) {
			fprintf(stderr, "bt_opcodes: the CPU was not asked well: nobody saw %s\n", wrong[i].what);
			complaints++;
		}
	}
}

/* In a process of its own, whose handlers these are.  0, or it complained. */
static int measure_all(bool every)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		complaints = 0;
		if (measure_begin())
			_exit(2);
		measure_matters();
		measure_every = every ? 1 : 3;
		modrms_set(false);                /* operands are replaced, and registers are alike */
		walk(visit_measure, every);
		printf("%lu asked of the CPU: %lu ran, %lu raised an exception; %lu otherwise than decoded\n", measured, measured_done,
		       measured - measured_done, complaints);
		fflush(stdout);
		_exit(complaints || measured_done < 1000 ? 1 : 0);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

/* ---- running them ---- */

#define TRAP_VA 0x2070000000UL          /* host memory that faults; nothing of the guest's; low half free in both as well */
#define TRAP_BYTES (64UL << 20)
#define THUNK_BYTES (16UL << 10)        /* emulate_native.c: 32 slots of 512 bytes */

struct shared { uint8_t b[16]; volatile unsigned long runs, undefined, fault_pf, fault_gp, other, went_on, leaks; volatile uint64_t leak_addr; };
static struct shared *sh;
static struct btg *guest;
static struct sigaction engine_segv;
static uint64_t fs_base, gs_base;
static uint16_t host_sel[4];

/* A fault with an address, from code we made, is an access that no check has seen. */
static void on_segv(int sig, siginfo_t *si, void *ctx)
{
	if (si->si_code == SEGV_MAPERR || si->si_code == SEGV_ACCERR) {
		sh->leaks++;
		sh->leak_addr = (uint64_t)(uintptr_t)si->si_addr;
	}
	engine_segv.sa_sigaction(sig, si, ctx);
}

static void on_alarm(int sig)
{
	atomic_store(&guest->v->kick, true);
	((struct bt_vcpu *)guest->v->engine_private)->attention = 1;
	bt_attention(guest->v->engine_private);
}

static void selectors(uint16_t s[4])
{
	__asm__ volatile("mov %%ds, %0\n\tmov %%es, %1\n\tmov %%fs, %2\n\tmov %%gs, %3" : "=r"(s[0]), "=r"(s[1]), "=r"(s[2]), "=r"(s[3]));
}

/* System calls from the code cache or the thunks, or in the 32-bit way, end the process. */
static void forbid_syscalls(uint64_t rx, uint64_t size, uint64_t thunks)
{
	const uint64_t lo[2] = { rx, thunks }, hi[2] = { rx + size, thunks + THUNK_BYTES };
	struct sock_filter f[40];
	struct sock_fprog prog = { .filter = f };
	unsigned n = 0;

#define F(...) f[n++] = (struct sock_filter)__VA_ARGS__
	F(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
	F(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	F(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
	for (unsigned i = 0; i < 2; i++) {
		/* both ranges lie within 4 GiB pages' upper halves: compare those, then the lower ones */
		F(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4));
		F(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(lo[i] >> 32), 0, 4));
		F(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)));
		F(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)lo[i], 0, 2));
		F(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, hi[i] >> 32 == lo[i] >> 32 ? (uint32_t)hi[i] : UINT32_MAX, 1, 0));
		F(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
	}
	F(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
#undef F
	prog.len = (unsigned short)n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		abort();
}

static void guest_open(void)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK }, al = { .sa_handler = on_alarm };
	void *p = mmap((void *)TRAP_VA, TRAP_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
	struct bt_domain *bt;
	uint64_t thunks;

	if (p != (void *)TRAP_VA)
		abort();
	guest = btg_new(8 << 20);
	guest->v->info = domain_frame(&guest->d, SPECIAL_MFN + SPECIAL_SHARED_INFO);
	guest->v->info_mfn = SPECIAL_MFN + SPECIAL_SHARED_INFO;
	bt = guest->d.bt;
	memcpy(&thunks, guest->v->emu_private, sizeof(thunks));
	sigfillset(&sa.sa_mask);
	sigaction(SIGSEGV, &sa, &engine_segv);
	al.sa_flags = SA_ONSTACK | SA_RESTART;
	sigaction(SIGALRM, &al, NULL);
	syscall(SYS_arch_prctl, 0x1003, &fs_base);
	syscall(SYS_arch_prctl, 0x1004, &gs_base);
	selectors(host_sel);
	forbid_syscalls((uint64_t)(uintptr_t)bt->rx, bt->size, thunks);
}

/* Every vector register all ones, so that masked stores store. */
static void state_reset(struct vcpu *v, unsigned mode)
{
	static const uint64_t bv = 7;
	static const uint32_t mxcsr = 0x1f80;
	static const uint16_t fcw = 0x37f;

	memset(&v->regs, 0, sizeof(v->regs));
	for (unsigned i = 0; i < NR_GPR; i++)
		v->regs.gpr[i] = TRAP_VA + (TRAP_BYTES >> 1);
	v->regs.gpr[REG_RAX] |= 0x2b;           /* a selector that loads */
	v->regs.rip = BTN_CODE_VA;
	v->regs.rflags = 0x202;
	v->regs.kernel_mode = mode == 1;
	v->regs.code32 = mode == 2;
	for (unsigned i = 0; i < NR_SEG; i++)
		v->regs.sel[i] = 0x2b;
	memset(v->xsave, 0, 832);
	memset(v->xsave + 160, 0xff, 256);
	memset(v->xsave + 576, 0xff, 256);
	memcpy(v->xsave, &fcw, 2);
	memcpy(v->xsave + 24, &mxcsr, 4);
	memcpy(v->xsave + 512, &bv, 8);
	v->dr[7] = 0;
	v->cr0_ts = 0;
	atomic_store(&v->run_state, VCPU_RUNNABLE);
}

static void tally(enum engine_exit how, const struct vcpu *v)
{
	sh->runs++;
	if (how != EXIT_EXCEPTION || v->exc.software)
		sh->went_on++;
	else if (v->exc.vector == 6)
		sh->undefined++;
	else if (v->exc.vector == 14)
		sh->fault_pf++;
	else if (v->exc.vector == 13)
		sh->fault_gp++;
	else
		sh->other++;
}

static void run_one(const uint8_t *b, unsigned mode)
{
	uint8_t *code = btg_mem(guest);
	uint64_t fs = 0, gs = 0;
	struct vcpu *v = guest->v;
	unsigned long leaks = sh->leaks;
	enum engine_exit how;
	uint16_t sel[4];
	struct bt_insn in;
	bool whole = !__real_bt_decode(&in, BTN_CODE_VA, b, 15);

	memcpy(sh->b, b, 15);
	memset(code, 0xcc, 64);
	memcpy(code, b, whole ? in.len : 15);     /* int3 behind it */
	engine_bt.frame_written(&guest->d, BTG_MEM);
	state_reset(v, mode);
	how = engine_bt.run(v);
	tally(how, v);
	if (how == EXIT_HALT)
		show("the engine gave up", b);
	if (sh->leaks != leaks)
		show("an access that was not checked", b);
	syscall(SYS_arch_prctl, 0x1003, &fs);
	syscall(SYS_arch_prctl, 0x1004, &gs);
	selectors(sel);
	if (fs != fs_base || gs != gs_base || memcmp(sel, host_sel, sizeof(sel)))
		show("a segment of the host's changed", b);
}

static unsigned slice, nr_slices, run_nr;
static bool run_every;

static void visit_run(const struct enc *e)
{
	run_nr++;
	if (run_nr % nr_slices != slice || complaints > 20)
		return;
	if (!run_every && run_nr / nr_slices % 3)
		return;
	run_one(e->b, run_nr / nr_slices / 3 % 3);
}

/* In a process of its own, since it may die: 0, or what it died of, or that it complained. */
static int in_child(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct itimerval every = { .it_interval.tv_usec = 100000, .it_value.tv_usec = 100000 };

		guest_open();
		setitimer(ITIMER_REAL, &every, NULL);
		complaints = 0;
		fn();
		_exit(complaints ? 1 : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	return status;
}

static void run_slice(void) { run_nr = 0; modrms_set(false); walk(visit_run, false); }

static void run_mutation(void)
{
	uint8_t b[16] = { 0 };

	memcpy(b, mutation->b, mutation->n);
	memset(b + mutation->n, 0x90, sizeof(b) - mutation->n);
	for (unsigned mode = 0; mode < 2; mode++)
		run_one(b, mode);
}

static unsigned mutations_unseen(void)
{
	int err = dup(2), null = open("/dev/null", O_WRONLY);
	unsigned unseen = 0;

	for (unsigned i = 0; i < NR_MUTATIONS; i++) {
		dup2(null, 2);
		mutation = &mutations[i];
		if (!in_child(run_mutation)) {
			dup2(err, 2);
			fprintf(stderr, "bt_opcodes: nobody saw that %s was copied verbatim\n", mutations[i].what);
			unseen++;
		}
		dup2(err, 2);
	}
	mutation = NULL;
	close(null);
	close(err);
	return unseen;
}

/* The list itself: an opcode taken off it must be missed by the walk. */
static bool list_matters(void)
{
	unsigned long before = complaints;
	uint8_t saved = allow_reg[0][0][0x01][PP_NONE];
	int err = dup(2), null = open("/dev/null", O_WRONLY);

	allow_reg[0][0][0x01][PP_NONE] = 0;
	dup2(null, 2);
	modrms_set(false);
	walk_legacy(visit_judge, false);
	dup2(err, 2);
	close(null);
	close(err);
	allow_reg[0][0][0x01][PP_NONE] = saved;
	saved = complaints != before;
	complaints = before;
	return saved;
}

int main(int argc, char **argv)
{
	bool every = (argc > 1 && !strcmp(argv[1], "--long")) || (getenv("HAVEN_LONG") && !strcmp(getenv("HAVEN_LONG"), "1"));
	unsigned failed = 0;

	bt_decode_init();
	ZydisDecoderInit(&zd, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	modrms_set(true);
	if (argc > 1 && !strcmp(argv[1], "--list")) {
		walk(visit_list, true);
		list_print();
		return 0;
	}
	list_load();
	modrms_set(every);
	walk(visit_judge, every);
	printf("%lu copied verbatim, %lu with a checked operand, %lu emulated, %lu no instruction; %lu wrong\n",
	       counts[BC_VERBATIM] + counts[BC_LEA_RIP], counts[BC_MEM] + counts[BC_BIT], counts[BC_EMULATE], counts[COUNT_NONE], complaints);
	failed += complaints != 0;
	memset(counts, 0, sizeof(counts));
	if (!list_matters()) {
		fprintf(stderr, "bt_opcodes: an opcode off the list was not missed\n");
		failed++;
	}

#ifdef __SANITIZE_ADDRESS__
	printf("what is translated is judged but not run: AddressSanitizer's shadow lies where the trap for stray accesses has to\n");
	return failed ? 1 : 0;
#endif
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return 1;
	failed += measure_all(every) != 0;
	run_every = every;
	nr_slices = 4;
	for (slice = 0; slice < nr_slices; slice++) {
		int status = in_child(run_slice);

		if (WIFSIGNALED(status))
			show(strsignal(WTERMSIG(status)), sh->b);
		failed += status != 0;
	}
	printf("%lu run: %lu undefined, %lu page faults, %lu general protection, %lu other faults, %lu went on; %lu unchecked accesses\n",
	       sh->runs, sh->undefined, sh->fault_pf, sh->fault_gp, sh->other, sh->went_on, sh->leaks);
	if (sh->runs < 10000 || !sh->undefined || !sh->fault_pf || !sh->went_on)
		failed++;
	failed += mutations_unseen();
	printf("%zu encodings misjudged on purpose: %s\n", NR_MUTATIONS, failed ? "see above" : "all seen");
	return failed ? 1 : 0;
}
