/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_emulate.c - the single-step emulator against the host CPU.
 *
 * Each case runs one instruction twice from the same state: by emu_step() in a small domain in user mode, and natively
 * at the same addresses in this process.  The native run sets every register through a signal frame, and the int3 bytes
 * around the instruction, or its fault, bring control back with every register in another.  Registers, flags, vector
 * state, memory and faults must agree.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/unit/native_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>

#include "hypervisor/abi/abi.h"
#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/emulate_fpstate.h"
#include "tests/unit/guest_mem.h"

/* ---- neighbours of the emulator ---- */

void bt_frame_written(struct domain *d, uint64_t mfn, unsigned off, unsigned len) { domain_mark_dirty(d, mfn); }
void bt_split_begin(struct vcpu *v) { }
void bt_split_end(struct vcpu *v) { }
void bt_invlpg_local(struct vcpu *v, uint64_t va) { }
bool pv_ports_in_bitmap(struct vcpu *v, uint16_t port, unsigned bytes) { return false; }

int debugreg_set(struct vcpu *v, unsigned reg, uint64_t val)
{
	v->dr[reg] = val;
	return 0;
}

int pv_load_segment(struct vcpu *v, unsigned seg, uint16_t sel) { v->regs.sel[seg] = sel; return 0; }
int pv_iret_user32_cs(struct vcpu *v, uint16_t sel) { return sel == FLAT_RING3_CS32; }
bool pv_events_deliverable(const struct vcpu *v) { return false; }

static struct gm *g;
static bool mode32;                   /* compatibility mode */
static uint64_t code_mfn, data_mfn[NR_DATA];

static int setup(void **state)
{
	assert_int_equal(native_setup(), 0);
	g = gm_new();
	assert_int_equal(emu_vcpu_init(g->v), 0);
	code_mfn = gm_alloc(g);
	gm_map(g, CODE_VA, code_mfn, PTE_P | PTE_US);
	for (unsigned i = 0; i < NR_DATA; i++) {
		data_mfn[i] = gm_alloc(g);
		gm_map(g, DATA_VA + i * 4096, data_mfn[i], PTE_P | PTE_RW | PTE_US);
	}
	g->v->regs.kernel_mode = 0;
	for (unsigned i = 0; i < NR_SEG; i++)
		g->v->regs.sel[i] = i == SEG_CS ? FLAT_RING3_CS64 : FLAT_RING3_DS32;
	return 0;
}

static int teardown(void **state)
{
	native_teardown();
	emu_vcpu_destroy(g->v);
	gm_free(g);
	return 0;
}

static uint64_t rnd(void)
{
	static uint64_t x = 88172645463325252UL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

/* What random operands look like: small numbers, edges and noise. */
static uint64_t rnd_value(void)
{
	static const uint64_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0xffffffff,
					  0x7fffffffffffffff, 0x8000000000000000, -1UL };
	switch (rnd() % 4) {
	case 0: return edges[rnd() % (sizeof(edges) / 8)];
	case 1: return rnd() % 300;
	default: return rnd();
	}
}

static void random_state(struct native_state *s)
{
	memset(s, 0, sizeof(*s));
	s->code32 = mode32;
	for (unsigned i = 0; i < NR_GPR; i++)
		s->gpr[i] = mode32 ? (uint32_t)rnd_value() : rnd_value();
	s->gpr[REG_RSP] = DATA_VA + 4096 + (rnd() % 256) * 8;
	s->rip = CODE_VA + 0x800;
	s->rflags = FL_FIXED | FL_IF | (rnd() & FL_ARITH);
	for (unsigned i = 0; i < sizeof(s->xmm); i++)
		((uint8_t *)s->xmm)[i] = (uint8_t)(rnd() % 3 ? rnd() : 0);
	for (unsigned i = 0; i < sizeof(s->ymmh); i++)
		((uint8_t *)s->ymmh)[i] = (uint8_t)rnd();
	for (unsigned i = 0; i < 8; i++) {
		uint64_t m = rnd() | 1UL << 63;

		memcpy(s->st[i], &m, 8);
		s->st[i][8] = (uint8_t)(rnd() % 64);
		s->st[i][9] = 0x3f | (rnd() & 0x80);
	}
	s->fcw = 0x37f;
	s->ftw = 0xff;
	s->mxcsr = 0x1f80;
}

static void state_to_vcpu(const struct native_state *s)
{
	struct vcpu *v = g->v;

	memcpy(v->regs.gpr, s->gpr, sizeof(v->regs.gpr));
	v->regs.rip = s->rip;
	v->regs.code32 = (uint8_t)s->code32;
	v->regs.rflags = s->rflags & ~FL_IF;
	memset(v->xsave, 0, XS_SIZE);
	memcpy(v->xsave, &s->fcw, 2);
	memcpy(v->xsave + 2, &s->fsw, 2);
	v->xsave[4] = s->ftw;
	memcpy(v->xsave + 24, &s->mxcsr, 4);
	for (unsigned i = 0; i < 8; i++)
		memcpy(v->xsave + XS_OFF_ST + 16 * i, s->st[i], 10);
	memcpy(v->xsave + XS_OFF_XMM, s->xmm, 256);
	memcpy(v->xsave + XS_OFF_YMM, s->ymmh, 256);
	v->xsave[XS_OFF_HEADER] = 7;
}

static void vcpu_to_state(struct native_state *s, int how)
{
	struct vcpu *v = g->v;

	xs_expand(v);
	memset(s, 0, sizeof(*s));
	memcpy(s->gpr, v->regs.gpr, sizeof(s->gpr));
	s->rip = v->regs.rip;
	s->rflags = v->regs.rflags | FL_IF;
	memcpy(&s->fcw, v->xsave, 2);
	memcpy(&s->fsw, v->xsave + 2, 2);
	s->ftw = v->xsave[4];
	memcpy(&s->mxcsr, v->xsave + 24, 4);
	for (unsigned i = 0; i < 8; i++)
		memcpy(s->st[i], v->xsave + XS_OFF_ST + 16 * i, 10);
	memcpy(s->xmm, v->xsave + XS_OFF_XMM, 256);
	memcpy(s->ymmh, v->xsave + XS_OFF_YMM, 256);
	if (how == EXIT_EXCEPTION) {
		s->vector = v->exc.vector + 1;
		s->cr2 = v->exc.vector == VEC_PF ? v->exc.cr2 : 0;
	} else if (how != EMU_DONE) {
		s->vector = 1000;
	}
}

static const char *describe(const uint8_t *insn, size_t n)
{
	static char text[160];
	ZydisDisassembledInstruction d;
	int at = 0;

	for (size_t i = 0; i < n; i++)
		at += snprintf(text + at, sizeof(text) - (size_t)at, "%02x", insn[i]);
	if (ZYAN_SUCCESS(ZydisDisassembleIntel(mode32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64, 0, insn, n, &d)))
		snprintf(text + at, sizeof(text) - (size_t)at, " %s", d.text);
	return text;
}

static unsigned differences;

static void differ(const char *what, const uint8_t *insn, size_t n, uint64_t ours, uint64_t theirs)
{
	if (differences++ < 40)
		print_error("%s: %s: emulated %#lx, host %#lx\n", describe(insn, n), what, ours, theirs);
}

#define FL_STICKY (FL_NT | FL_ID)        /* Linux's sigreturn leaves them as they are */

/* Memory contents of both sides before and after. */
static uint8_t before[NR_DATA * 4096];

static void fill_memory(void)
{
	for (unsigned i = 0; i < sizeof(before); i += 8) {
		uint64_t x = rnd_value();

		memcpy(before + i, &x, 8);
	}
}

static void load_memory(void)
{
	memcpy((void *)DATA_VA, before, sizeof(before));
	for (unsigned i = 0; i < NR_DATA; i++)
		memcpy(domain_frame(&g->d, data_mfn[i]), before + i * 4096, 4096);
}

static void load_code(const uint8_t *insn, size_t n)
{
	uint8_t *code = domain_frame(&g->d, code_mfn);

	memset(code, 0xcc, 4096);
	memcpy(code + 0x800, insn, n);
	memset((void *)CODE_VA, 0xcc, 4096);
	memcpy((void *)(CODE_VA + 0x800), insn, n);
}

/* Saved x87 images do not show the host's instruction pointers: where such an image begins, or SIZE_MAX. */
static size_t mask_at = SIZE_MAX;

/*
 * A store of ten bytes may be two accesses, and the first of them done when the second faults (SDM vol. 3, "Guaranteed Atomic
 * Operations"); the emulator does none.  Where the bytes begin that the host may have stored, or SIZE_MAX.
 */
#define HALF_STORE 9

static size_t half_store(const uint8_t *insn, size_t n, const struct native_state *host)
{
	ZydisDisassembledInstruction d;

	if (host->vector != VEC_PF + 1 || (host->cr2 & 4095) ||
	    !ZYAN_SUCCESS(ZydisDisassembleIntel(mode32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64, 0, insn, n, &d)) ||
	    d.operands[0].type != ZYDIS_OPERAND_TYPE_MEMORY || !(d.operands[0].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) ||
	    d.operands[0].size != 8 * (HALF_STORE + 1))
		return SIZE_MAX;
	return host->cr2 - HALF_STORE - DATA_VA;
}

/* The host's side runs `native`, which has the same length: what the host cannot do and another instruction does as well. */
static bool agree_with(const uint8_t *insn, const uint8_t *native, size_t n, const struct native_state *start)
{
	struct native_state host = *start, ours;
	unsigned was = differences;
	int how, steps = 0;
	size_t half;

	load_memory();
	load_code(insn, n);
	memcpy((void *)(CODE_VA + 0x800), native, n);
	native_run(&host);
	state_to_vcpu(start);
	do {
		how = emu_step(g->v);
	} while (how == EMU_DONE && g->v->regs.rip == start->rip && ++steps < 1000);
	vcpu_to_state(&ours, how);
	if (!ours.vector && host.vector == VEC_PF + 1 && host.cr2 == ours.rip)
		host.vector = host.cr2 = 0;             /* the fault is the next instruction's */
	if (ours.vector != host.vector)
		differ("vector + 1", insn, n, ours.vector, host.vector);
	else if (ours.cr2 != host.cr2 && !strstr(describe(insn, n), "maskmov") &&
		 !strstr(describe(insn, n), "xsave") &&
		 !strstr(describe(insn, n), "rstor"))      /* which of their bytes is up to the CPU */
		differ("cr2", insn, n, ours.cr2, host.cr2);
	/* a faulting cmps or scas leaves flags the manual does not promise; it is begun again anyway */
	if (host.vector && (insn[n - 1] >> 1 == 0xa6 >> 1 || insn[n - 1] >> 1 == 0xae >> 1))
		host.rflags = ours.rflags;
	if (host.vector && strstr(describe(insn, n), "xrstor"))
		return differences == was;              /* the state may be anything between */
	if (ours.vector == VEC_DE + 1 || host.vector == VEC_DE + 1)
		host.rflags = ours.rflags;              /* undefined */
	if (ours.rip != host.rip)
		differ("rip", insn, n, ours.rip, host.rip);
	if ((ours.rflags ^ host.rflags) & ~(FL_RF | FL_STICKY))
		differ("rflags", insn, n, ours.rflags, host.rflags);
	for (unsigned i = 0; i < NR_GPR; i++)
		if (mode32 ? (uint32_t)ours.gpr[i] != (uint32_t)host.gpr[i] : ours.gpr[i] != host.gpr[i])
			differ("gpr", insn, n, ours.gpr[i], host.gpr[i]);
	if (memcmp(ours.xmm, host.xmm, sizeof(host.xmm)))
		differ("xmm", insn, n, 0, 0);
	for (unsigned i = 0; i < 16; i++)
		if (memcmp(ours.ymmh[i], host.ymmh[i], 16))
			differ("ymm", insn, n, i, host.vector);
	if (ours.mxcsr != host.mxcsr)
		differ("mxcsr", insn, n, ours.mxcsr, host.mxcsr);
	if (ours.fcw != host.fcw || ours.fsw != host.fsw || ours.ftw != host.ftw ||
	    memcmp(ours.st, host.st, sizeof(host.st)))
		differ("x87", insn, n, ours.fsw, host.fsw);
	half = half_store(insn, n, &host);
	for (size_t i = 0; i < NR_DATA * 4096; i++) {
		if (host.vector == VEC_GP + 1 && insn[0] == 0xff)
			break;                          /* a call has stored its return address before it finds out */
		uint8_t a = ((uint8_t *)domain_frame(&g->d, data_mfn[i / 4096]))[i % 4096], b = ((uint8_t *)DATA_VA)[i];

		if (a != b && i - mask_at - 8 >= 16 && (half == SIZE_MAX || i - half >= HALF_STORE)) {
			differ("memory", insn, n, a, b);
			if (mask_at != SIZE_MAX)
				print_error("  image offset %zd\n", (ssize_t)(i - mask_at));
			break;
		}
	}
	return differences == was;
}

static bool agree(const uint8_t *insn, size_t n, const struct native_state *start) { return agree_with(insn, insn, n, start); }

/* ---- random instructions ---- */

/* Instructions whose result is not a function of the state, or that the other side may not run. */
static bool comparable(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op)
{
	static const ZydisMnemonic never[] = {
		ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_INT, ZYDIS_MNEMONIC_INT1,
		ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_RDTSC, ZYDIS_MNEMONIC_RDTSCP, ZYDIS_MNEMONIC_CPUID,
		ZYDIS_MNEMONIC_RDRAND, ZYDIS_MNEMONIC_RDSEED, ZYDIS_MNEMONIC_RDPID, ZYDIS_MNEMONIC_SGDT,
		ZYDIS_MNEMONIC_SIDT, ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_SMSW, ZYDIS_MNEMONIC_LAR,
		ZYDIS_MNEMONIC_LSL, ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW, ZYDIS_MNEMONIC_XGETBV,
		ZYDIS_MNEMONIC_RDFSBASE, ZYDIS_MNEMONIC_RDGSBASE, ZYDIS_MNEMONIC_WRFSBASE, ZYDIS_MNEMONIC_WRGSBASE,
		ZYDIS_MNEMONIC_FNSAVE, ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS, ZYDIS_MNEMONIC_LSS,
		ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ, ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1,
		ZYDIS_MNEMONIC_UD2, ZYDIS_MNEMONIC_IN, ZYDIS_MNEMONIC_OUT, ZYDIS_MNEMONIC_CLI, ZYDIS_MNEMONIC_STI,
		ZYDIS_MNEMONIC_POPF, ZYDIS_MNEMONIC_POPFD, ZYDIS_MNEMONIC_POPFQ, ZYDIS_MNEMONIC_RDPKRU, ZYDIS_MNEMONIC_WRPKRU,
		ZYDIS_MNEMONIC_SERIALIZE, ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXRSTOR64, ZYDIS_MNEMONIC_XRSTOR,
		ZYDIS_MNEMONIC_XRSTOR64, ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXSAVE64, ZYDIS_MNEMONIC_XSAVE,
		ZYDIS_MNEMONIC_XSAVE64, ZYDIS_MNEMONIC_XSAVEC, ZYDIS_MNEMONIC_XSAVEC64, ZYDIS_MNEMONIC_XSAVEOPT,
		ZYDIS_MNEMONIC_XSAVEOPT64, ZYDIS_MNEMONIC_XSAVES, ZYDIS_MNEMONIC_XSAVES64, ZYDIS_MNEMONIC_XRSTORS,
		ZYDIS_MNEMONIC_XRSTORS64, ZYDIS_MNEMONIC_MASKMOVQ, ZYDIS_MNEMONIC_RDSSPD, ZYDIS_MNEMONIC_RDSSPQ,
		ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_VLDMXCSR,
		ZYDIS_MNEMONIC_XBEGIN, ZYDIS_MNEMONIC_XEND, ZYDIS_MNEMONIC_XTEST, ZYDIS_MNEMONIC_XABORT,
		ZYDIS_MNEMONIC_MOVDIRI, ZYDIS_MNEMONIC_MOVDIR64B, ZYDIS_MNEMONIC_UMWAIT, ZYDIS_MNEMONIC_TPAUSE,
		ZYDIS_MNEMONIC_UMONITOR, ZYDIS_MNEMONIC_ENQCMD, ZYDIS_MNEMONIC_ENQCMDS, ZYDIS_MNEMONIC_PTWRITE,
		ZYDIS_MNEMONIC_CLUI, ZYDIS_MNEMONIC_STUI, ZYDIS_MNEMONIC_TESTUI, ZYDIS_MNEMONIC_UIRET,
		ZYDIS_MNEMONIC_SENDUIPI, ZYDIS_MNEMONIC_XRESLDTRK, ZYDIS_MNEMONIC_XSUSLDTRK,
		ZYDIS_MNEMONIC_RET, ZYDIS_MNEMONIC_VMCALL, ZYDIS_MNEMONIC_VMMCALL,
		ZYDIS_MNEMONIC_LDTILECFG, ZYDIS_MNEMONIC_STTILECFG, ZYDIS_MNEMONIC_TILERELEASE,
		ZYDIS_MNEMONIC_ENCLU,        /* #UD without SGX; #GP in a virtual machine that is only not told of it */
	};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (in->mnemonic == never[i])
			return false;
	if (in->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return false;
	if (in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && in->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	if (in->meta.category == ZYDIS_CATEGORY_AMX_TILE || in->meta.category == ZYDIS_CATEGORY_KMASK ||
	    in->meta.category == ZYDIS_CATEGORY_CET || in->meta.category == ZYDIS_CATEGORY_MPX ||
	    in->meta.category == ZYDIS_CATEGORY_IOSTRINGOP || in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
	    in->meta.isa_set == ZYDIS_ISA_SET_AMD || in->meta.isa_set == ZYDIS_ISA_SET_SSE4A ||
	    in->meta.isa_set == ZYDIS_ISA_SET_AMD3DNOW || in->meta.isa_set == ZYDIS_ISA_SET_FMA4)
		return false;
	if (in->meta.category == ZYDIS_CATEGORY_STRINGOP && in->address_width == 16)
		return false;                /* both operands fault, in the CPU's own order */
	if (in->raw.imm[0].is_relative && in->operand_width == 16)
		return false;                /* goes to the first 64 KiB */
	if ((in->mnemonic == ZYDIS_MNEMONIC_JMP || in->mnemonic == ZYDIS_MNEMONIC_CALL) && !in->raw.imm[0].is_relative)
		return false;                /* see flow_against_host() */
	for (unsigned i = 0; i < in->operand_count; i++)
		if (op[i].type == ZYDIS_OPERAND_TYPE_REGISTER) {
			ZydisRegisterClass c = ZydisRegisterGetClass(op[i].reg.value);

			if (c == ZYDIS_REGCLASS_SEGMENT || c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG ||
			    c == ZYDIS_REGCLASS_TEST || c == ZYDIS_REGCLASS_BOUND || c == ZYDIS_REGCLASS_MASK)
				return false;
		} else if (op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && in->operand_count &&
			   (op[i].mem.segment == ZYDIS_REGISTER_FS || op[i].mem.segment == ZYDIS_REGISTER_GS)) {
			return false;
		}
	return true;
}

static size_t random_instruction(uint8_t *b, ZydisDecodedInstruction *in, ZydisDecodedOperand *op)
{
	ZydisDecoder dec;

	if (mode32)
		ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (;;) {
		size_t n = 0;

		switch (rnd() % 8) {
		case 0: b[n++] = 0x66; break;
		case 1: b[n++] = 0xf2; break;
		case 2: b[n++] = 0xf3; break;
		case 3: if (rnd() % 4 == 0) b[n++] = 0xf0; break;
		case 4: if (rnd() % 4 == 0) b[n++] = 0x67; break;
		default: break;
		}
		if (!mode32 && rnd() % 2)
			b[n++] = 0x40 | (rnd() & 15);
		switch (rnd() % 8) {
		case 0: case 1: b[n++] = 0x0f; break;
		case 2: b[n++] = 0x0f; b[n++] = 0x38; break;
		case 3: b[n++] = 0x0f; b[n++] = 0x3a; break;
		case 4: n = 0; b[n++] = 0xc5; b[n++] = (uint8_t)rnd(); break;
		case 5: n = 0; b[n++] = 0xc4; b[n++] = (uint8_t)((rnd() & 0xe0) | (1 + rnd() % 3)); b[n++] = (uint8_t)rnd(); break;
		default: break;
		}
		while (n < 15)
			b[n++] = (uint8_t)rnd();
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, b, 15, in, op)) || !comparable(in, op))
			continue;
		return in->length;
	}
}

/* Registers that make the memory operand lie in the data pages, mostly. */
static void aim(struct native_state *s, const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op, uint8_t *b)
{
	uint64_t to = DATA_VA + 1024 + rnd() % (NR_DATA * 4096 - 2048);

	if (rnd() % 4)
		to &= ~63UL;
	if (rnd() % 16 == 0)
		to = DATA_VA + NR_DATA * 4096 - rnd() % 64;              /* into the page that is not there */
	else if (rnd() % 8 == 0)
		to = DATA_VA + 4096 * (1 + rnd() % 2) - rnd() % 64;      /* across two pages */
	if (in->meta.category == ZYDIS_CATEGORY_STRINGOP) {
		s->gpr[REG_RSI] = DATA_VA + 1024 + rnd() % 8192;
		s->gpr[REG_RDI] = to;
		s->gpr[REG_RCX] = rnd() % 3000;
		if (rnd() % 4 == 0)
			s->rflags |= FL_DF;
		return;
	}
	if (in->raw.imm[0].is_relative && in->raw.imm[0].size == 8)
		b[in->raw.imm[0].offset] &= 0x7f;                /* forward, where there is nothing but int3 */
	if (in->raw.imm[0].is_relative && in->raw.imm[0].size == 32) {
		int32_t rel = (int32_t)(rnd() % 1024);

		memcpy(b + in->raw.imm[0].offset, &rel, 4);
	}
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperandMem *m = &op[i].mem;
		uint64_t index = 0;
		unsigned base;

		if (op[i].type != ZYDIS_OPERAND_TYPE_MEMORY || op[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			continue;
		if (m->base == ZYDIS_REGISTER_RIP) {
			int32_t d = (int32_t)(to - (s->rip + in->length));

			memcpy(b + in->raw.disp.offset, &d, 4);
			continue;
		}
		if (m->base == ZYDIS_REGISTER_NONE || m->base == ZYDIS_REGISTER_EIP)
			continue;
		base = (unsigned)ZydisRegisterGetId(m->base);
		if (m->index != ZYDIS_REGISTER_NONE && m->index != m->base) {
			if (ZydisRegisterGetClass(m->index) == ZYDIS_REGCLASS_XMM ||
			    ZydisRegisterGetClass(m->index) == ZYDIS_REGCLASS_YMM) {
				unsigned x = (unsigned)ZydisRegisterGetId(m->index);

				for (unsigned k = 0; k < 16; k++) {      /* small offsets, either index width */
					s->xmm[x][k] = k % 4 == 0 ? (uint8_t)rnd() : 0;
					s->ymmh[x][k] = k % 4 == 0 ? (uint8_t)rnd() : 0;
					if (k % 8 == 4 && rnd() % 2)
						s->xmm[x][k] = s->ymmh[x][k] = 0;
				}
			} else {
				index = s->gpr[ZydisRegisterGetId(m->index)] = rnd() % 64;
				index *= m->scale;
			}
		}
		s->gpr[base] = (mode32 ? 0xffffffff : -1UL) & (to - index - (uint64_t)(m->disp.has_displacement ? m->disp.value : 0));
	}
	/* bit strings reach far */
	if ((in->mnemonic == ZYDIS_MNEMONIC_BT || in->mnemonic == ZYDIS_MNEMONIC_BTS || in->mnemonic == ZYDIS_MNEMONIC_BTR ||
	     in->mnemonic == ZYDIS_MNEMONIC_BTC) && op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	    op[0].type == ZYDIS_OPERAND_TYPE_MEMORY && op[0].mem.base != op[1].reg.value)
		s->gpr[ZydisRegisterGetId(op[1].reg.value)] = rnd() % 8000 - 4000;
}

/*
 * Locked accesses across a cache line, of which hosts trap every one: natively without the LOCK prefix, which for one CPU is the same.
 * A prefix that does nothing stands in its place.
 */
static void split_locks(void **state)
{
	static const struct { uint8_t n, b[8]; } insns[] = {
		{ 4, { 0xf0, 0x48, 0x01, 0x03 } }, { 3, { 0xf0, 0x11, 0x03 } }, { 4, { 0xf0, 0x66, 0x29, 0x03 } }, { 4, { 0xf0, 0x48, 0x31, 0x03 } },
		{ 4, { 0xf0, 0x48, 0xff, 0x03 } }, { 4, { 0xf0, 0x48, 0xf7, 0x1b } }, { 5, { 0xf0, 0x48, 0x0f, 0xc1, 0x03 } },
		{ 5, { 0xf0, 0x48, 0x0f, 0xb1, 0x0b } }, { 4, { 0xf0, 0x0f, 0xb1, 0x0b } }, { 4, { 0xf0, 0x0f, 0xc7, 0x0b } },
		{ 6, { 0xf0, 0x48, 0x0f, 0xba, 0x2b, 0x29 } }, { 5, { 0xf0, 0x48, 0x0f, 0xab, 0x0b } }, { 4, { 0xf0, 0x0f, 0xb3, 0x0b } },
	};

	assert_int_equal(native_signals(), 0);
	differences = 0;
	for (unsigned k = 0; k < 40; k++)
		for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
			uint8_t native[8];
			struct native_state s;

			memcpy(native, insns[i].b, sizeof(native));
			native[0] = 0x3e;
			random_state(&s);
			fill_memory();
			/* across a line, across a page, into the page that is not there */
			s.gpr[REG_RBX] = DATA_VA + (k % 10 == 9 ? NR_DATA * 4096UL : k & 1 ? 4096 : 1088) - 1 - k / 2 % 7;
			s.gpr[REG_RCX] &= 7;
			if (k & 2)                                    /* a comparison that holds */
				memcpy(&s.gpr[REG_RAX], before + (s.gpr[REG_RBX] - DATA_VA), k % 10 == 9 ? 0 : 8);
			agree_with(insns[i].b, native, insns[i].n, &s);
		}
	assert_int_equal(differences, 0);
}

/* Some of an instruction's accesses are in the page that is not there: the same exception as natively, and nothing is stored. */
static void parts_missing(void **state)
{
	static const struct { bool code32; uint8_t size, n, b[4]; } insns[] = {
		{ false, 10, 2, { 0xdb, 0x3b } }, { false, 10, 2, { 0xdf, 0x33 } },                 /* fstpt, fbstp (rbx) */
		{ true, 10, 2, { 0xdb, 0x3b } }, { true, 10, 2, { 0xdf, 0x33 } },
		{ true, 8, 2, { 0x62, 0x33 } }, { true, 4, 3, { 0x66, 0x62, 0x33 } },               /* bound esi, (ebx) */
	};

	assert_int_equal(native_signals(), 0);
	differences = 0;
	for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++)
		for (unsigned k = 0; k < 20 * insns[i].size; k++) {
			struct native_state s;

			mode32 = insns[i].code32;
			random_state(&s);
			fill_memory();
			s.gpr[REG_RBX] = DATA_VA + NR_DATA * 4096UL - k % insns[i].size;
			agree(insns[i].b, insns[i].n, &s);
			for (unsigned p = 0; p < NR_DATA; p++)
				assert_memory_equal(domain_frame(&g->d, data_mfn[p]), before + p * 4096, 4096);
		}
	mode32 = false;
	assert_int_equal(differences, 0);
}

static void random_against_host(unsigned seconds)
{
	time_t end = time(NULL) + seconds;
	unsigned long n = 0;

	assert_int_equal(native_signals(), 0);
	differences = 0;
	if (getenv("EMULATE_SECONDS"))
		end = time(NULL) + atoi(getenv("EMULATE_SECONDS"));
	if (getenv("EMULATE_SEED"))
		for (int i = atoi(getenv("EMULATE_SEED")); i > 0; i--)
			rnd();
	while (time(NULL) < end && differences < 40) {
		ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
		ZydisDecodedInstruction in;
		struct native_state s;
		uint8_t b[16];
		size_t len = random_instruction(b, &in, op);

		random_state(&s);
		fill_memory();
		aim(&s, &in, op, b);
		if (getenv("EMULATE_TRACE"))
			print_message("%s\n", describe(b, len));
		agree(b, len, &s);
		n++;
	}
	print_message("%lu random instructions\n", n);
	assert_int_equal(differences, 0);
}

/* AddressSanitizer's shadow lies where random 32-bit addresses point, and the native side would write to it. */
#ifdef __SANITIZE_ADDRESS__
#define SHADOW_IN_REACH true
#else
#define SHADOW_IN_REACH false
#endif

static void random_64bit(void **state)
{
	if (SHADOW_IN_REACH)
		skip();
	mode32 = false;
	random_against_host(5);
}

static void random_32bit(void **state)
{
	if (SHADOW_IN_REACH)
		skip();
	mode32 = true;
	random_against_host(3);
}

/* ---- xsave family ---- */

static void put(uint8_t *p, uint64_t x, size_t n) { memcpy(p, &x, n); }

/* An image to restore at `at` in the data pages: plausible, and sometimes not. */
static void random_image(uint8_t *at)
{
	bool compact = rnd() % 3 == 0;
	uint64_t bv = rnd() % 8, comp = compact ? 1UL << 63 | (bv | rnd() % 8) : 0;

	for (unsigned i = 0; i < XS_SIZE; i++)
		at[i] = (uint8_t)rnd();
	put(at, 0x37f, 8);                       /* no pending x87 exception */
	at[4] = (uint8_t)rnd();
	put(at + XS_OFF_MXCSR, 0x1f80 | rnd() % 64, 4);
	memset(at + XS_OFF_HEADER, 0, 64);
	switch (rnd() % 16) {
	case 0: put(at + XS_OFF_MXCSR, 1UL << (16 + rnd() % 16), 4); break;
	case 1: bv |= 1UL << 63; break;
	case 2: comp ^= 1; break;
	case 3: at[XS_OFF_HEADER + 16 + rnd() % 8] = 1; break;
	case 4: at[XS_OFF_HEADER + 24 + rnd() % 40] = 1; break;
	default: break;
	}
	put(at + XS_OFF_HEADER, bv, 8);
	put(at + XS_OFF_HEADER + 8, comp, 8);
}

static void xsave_against_host(void **state)
{
	static const struct { uint8_t b[4]; uint8_t n; bool restore; } insn[] = {
		{ { 0x0f, 0xae, 0x03 }, 3, false }, { { 0x48, 0x0f, 0xae, 0x03 }, 4, false },       /* fxsave */
		{ { 0x0f, 0xae, 0x0b }, 3, true }, { { 0x48, 0x0f, 0xae, 0x0b }, 4, true },         /* fxrstor */
		{ { 0x0f, 0xae, 0x23 }, 3, false }, { { 0x48, 0x0f, 0xae, 0x23 }, 4, false },       /* xsave */
		{ { 0x0f, 0xae, 0x2b }, 3, true }, { { 0x48, 0x0f, 0xae, 0x2b }, 4, true },         /* xrstor */
		{ { 0x0f, 0xc7, 0x23 }, 3, false }, { { 0x48, 0x0f, 0xc7, 0x23 }, 4, false },       /* xsavec */
	};

	mode32 = false;
	assert_int_equal(native_signals(), 0);
	differences = 0;
	for (unsigned i = 0; i < 40000 && differences < 40; i++) {
		unsigned k = (unsigned)(rnd() % (sizeof(insn) / sizeof(insn[0])));
		size_t at = 64 * (rnd() % ((NR_DATA * 4096 - XS_SIZE) / 64));
		struct native_state s;

		if (rnd() % 16 == 0)
			at += rnd() % 64;                     /* misaligned */
		if (rnd() % 16 == 0)
			at = NR_DATA * 4096 - 64 * (1 + rnd() % 13);
		random_state(&s);
		s.gpr[REG_RBX] = DATA_VA + at;
		s.gpr[REG_RAX] = rnd() % 8;
		s.gpr[REG_RDX] = 0;
		fill_memory();
		if (insn[k].restore && at + XS_SIZE > sizeof(before))
			at = 0, s.gpr[REG_RBX] = DATA_VA;
		if (insn[k].restore)
			random_image(before + at);
		mask_at = insn[k].restore ? SIZE_MAX : at;
		agree(insn[k].b, insn[k].n, &s);
		mask_at = SIZE_MAX;
	}
	assert_int_equal(differences, 0);
}

/* ---- addresses that the decoding library has otherwise than the CPU ---- */

/*
 * A SIB without a base, with REX.B or VEX.B and an address-size prefix: Zydis 4.0 made it r13, without the displacement, so the access went
 * to another address.
 */
static void addresses_without_base(void **state)
{
	static const struct { uint8_t b[12]; uint8_t n; } insn[] = {
		{ { 0x67, 0x4f, 0x8b, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, 9 },             /* mov 0x20000040(,r12d,1), r8 */
		{ { 0x67, 0x4d, 0x8b, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, 9 },             /* mov 0x20000040, r8 */
		{ { 0x67, 0x43, 0x89, 0x04, 0x65, 0x40, 0x00, 0x00, 0x20 }, 9 },             /* mov eax, 0x20000040(,r12d,2) */
		{ { 0x67, 0x47, 0x8d, 0x04, 0xe5, 0x40, 0x00, 0x00, 0x20 }, 9 },             /* lea 0x20000040(,r12d,8), r8d */
		{ { 0x4f, 0x8b, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, 8 },                   /* with r12 */
		{ { 0x67, 0xc4, 0x81, 0x7a, 0x6f, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, 11 },   /* vmovdqu 0x20000040(,r12d,1), xmm0 */
		{ { 0x67, 0xc4, 0x82, 0x71, 0x90, 0x04, 0x25, 0x40, 0x00, 0x00, 0x20 }, 11 },   /* vpgatherdd xmm1, 0x20000040(,xmm12,1), xmm0 */
	};
	const unsigned gather = 6;

	mode32 = false;
	assert_int_equal(native_signals(), 0);
	differences = 0;
	for (unsigned i = 0; i < 2000; i++) {
		unsigned k = i % (sizeof(insn) / sizeof(insn[0]));
		struct native_state s;

		random_state(&s);
		fill_memory();
		s.gpr[REG_R12] = 8 * (rnd() % 64);
		s.gpr[REG_R13] = rnd() % 2 ? 1024 : rnd();
		if (k == gather)
			for (unsigned j = 0; j < 16; j++)
				s.xmm[12][j] = j % 4 ? 0 : (uint8_t)rnd();
		agree(insn[k].b, insn[k].n, &s);
	}
	assert_int_equal(differences, 0);
}

/* ---- control flow ---- */


static void flow_against_host(void **state)
{
	static const struct { uint8_t b[6]; uint8_t n; } insn[] = {
		{ { 0xff, 0xe3 }, 2 }, { { 0xff, 0xd3 }, 2 },                       /* jmp, call rbx */
		{ { 0xff, 0x21 }, 2 }, { { 0xff, 0x11 }, 2 },                       /* jmp, call [rcx] */
		{ { 0xc3 }, 1 }, { { 0xc2, 0x20, 0x00 }, 3 }, { { 0xf2, 0xc3 }, 2 },
		{ { 0xff, 0x24, 0x24 }, 3 }, { { 0xff, 0x14, 0x24 }, 3 },           /* jmp, call [rsp] */
		{ { 0x9c }, 1 }, { { 0x9d }, 1 }, { { 0x66, 0x9c }, 2 }, { { 0x66, 0x9d }, 2 },
		{ { 0x48, 0xcf }, 2 },                                              /* iretq */
		{ { 0xc8, 0x20, 0x00, 0x00 }, 4 }, { { 0xc8, 0x10, 0x01, 0x03 }, 4 }, { { 0xc9 }, 1 },
		{ { 0x5c }, 1 }, { { 0x54 }, 1 }, { { 0x8f, 0x04, 0x24 }, 3 },      /* pop, push rsp; pop [rsp] */
	};

	mode32 = false;
	assert_int_equal(native_signals(), 0);
	differences = 0;
	for (unsigned i = 0; i < 40000 && differences < 40; i++) {
		unsigned k = (unsigned)(rnd() % (sizeof(insn) / sizeof(insn[0])));
		uint64_t to = CODE_VA + rnd() % 4096, frame[5];
		struct native_state s;
		size_t at;

		if (to - CODE_VA - 0x800 < 8)
			to += 16;
		/* not canonical; a call has stored its return address by then, which the manual does not say */
		if (rnd() % 8 == 0 && insn[k].b[0] != 0xff)
			to = 1UL << (47 + rnd() % 16);
		random_state(&s);
		fill_memory();
		s.gpr[REG_RBX] = to;
		s.gpr[REG_RCX] = DATA_VA + 64;
		s.gpr[REG_RBP] = DATA_VA + 4096 + 8 * (rnd() % 256);
		put(before + 64, to, 8);
		/* stack at the edge; which of iret's words faults first is up to the CPU */
		if (rnd() % 8 == 0 && insn[k].b[1] != 0xcf && insn[k].b[0] != 0x9d && insn[k].b[1] != 0x9d)
			s.gpr[REG_RSP] = DATA_VA + (rnd() % 2 ? 0 : NR_DATA * 4096) + 8 * (rnd() % 8) - 32;
		at = s.gpr[REG_RSP] - DATA_VA;
		if (insn[k].b[0] == 0x9d || insn[k].b[1] == 0x9d)
			to = rnd() & ~(FL_TF | FL_AC | FL_STICKY);
		frame[0] = to;
		frame[1] = 0x33;                             /* Linux's own selectors, on both sides */
		frame[2] = rnd() & ~(FL_TF | FL_AC | FL_RF | FL_STICKY);
		frame[3] = rnd() % 2 ? DATA_VA + 512 : rnd();
		frame[4] = 0x2b;
		if (at < sizeof(before) && at + 40 <= sizeof(before))
			memcpy(before + at, frame, 40);
		g->v->regs.sel[SEG_CS] = 0x33;
		g->v->regs.sel[SEG_SS] = 0x2b;
		agree(insn[k].b, insn[k].n, &s);
	}
	assert_int_equal(differences, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xsave_against_host),
		cmocka_unit_test(addresses_without_base),
		cmocka_unit_test(flow_against_host),
		cmocka_unit_test(split_locks),
		cmocka_unit_test(parts_missing),
		cmocka_unit_test(random_64bit),
		cmocka_unit_test(random_32bit),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
