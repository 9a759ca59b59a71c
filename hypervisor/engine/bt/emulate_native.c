/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_native.c - whitelisted instructions run by the host CPU on the guest's state.
 *
 * The instruction is re-encoded so that its memory operand, if it has one, is (A) with A a register it does not use;
 * around it a thunk loads the guest's registers, flags and, where they matter, vector state, and stores them again.
 * The operand is the guest's frame itself when it lies in one page, so that locked operations are atomic; across two
 * pages it is a bounce buffer with the same alignment.  A locked operation across a cache line is done on a bounce buffer within
 * one, while no other vCPU executes (bt_split_begin).
 *
 * A fault of the instruction (#DE, #GP of a misaligned SSE operand, #XM, #MF, #UD) arrives as a signal inside the thunk;
 * emu_signal() sends it on to the thunk's end with the guest's registers as they were, and it becomes the guest's.
 *
 * Constraints: instructions are let through by a whitelist of what they are and what their operands are, never by
 * exclusion; thunks are written through one mapping and run through another, so no page is writable and executable.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/emulate_fpstate.h"
#include "hypervisor/engine/bt/emulate_signal.h"

/* ---- the whitelist ---- */

enum { ALLOW_NO, ALLOW_GPR, ALLOW_VEC };

static const uint8_t isa_allowed[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
	[ZYDIS_ISA_SET_I86] = ALLOW_GPR, [ZYDIS_ISA_SET_I186] = ALLOW_GPR, [ZYDIS_ISA_SET_I386] = ALLOW_GPR,
	[ZYDIS_ISA_SET_I486] = ALLOW_GPR, [ZYDIS_ISA_SET_I486REAL] = ALLOW_GPR, [ZYDIS_ISA_SET_PENTIUMREAL] = ALLOW_GPR,
	[ZYDIS_ISA_SET_LONGMODE] = ALLOW_GPR, [ZYDIS_ISA_SET_CMOV] = ALLOW_GPR, [ZYDIS_ISA_SET_PPRO] = ALLOW_GPR,
	[ZYDIS_ISA_SET_FAT_NOP] = ALLOW_GPR, [ZYDIS_ISA_SET_LAHF] = ALLOW_GPR, [ZYDIS_ISA_SET_BMI1] = ALLOW_GPR,
	[ZYDIS_ISA_SET_BMI2] = ALLOW_GPR, [ZYDIS_ISA_SET_LZCNT] = ALLOW_GPR, [ZYDIS_ISA_SET_POPCNT] = ALLOW_GPR,
	[ZYDIS_ISA_SET_MOVBE] = ALLOW_GPR, [ZYDIS_ISA_SET_ADOX_ADCX] = ALLOW_GPR, [ZYDIS_ISA_SET_RDRAND] = ALLOW_GPR,
	[ZYDIS_ISA_SET_RDSEED] = ALLOW_GPR, [ZYDIS_ISA_SET_PREFETCH_NOP] = ALLOW_GPR, [ZYDIS_ISA_SET_CLFSH] = ALLOW_GPR,
	[ZYDIS_ISA_SET_CLFLUSHOPT] = ALLOW_GPR, [ZYDIS_ISA_SET_CLWB] = ALLOW_GPR,
	[ZYDIS_ISA_SET_CMPXCHG16B] = ALLOW_GPR,
	[ZYDIS_ISA_SET_X87] = ALLOW_VEC, [ZYDIS_ISA_SET_FCMOV] = ALLOW_VEC, [ZYDIS_ISA_SET_PENTIUMMMX] = ALLOW_VEC,
	[ZYDIS_ISA_SET_SSE] = ALLOW_VEC, [ZYDIS_ISA_SET_SSEMXCSR] = ALLOW_VEC, [ZYDIS_ISA_SET_SSE2] = ALLOW_VEC,
	[ZYDIS_ISA_SET_SSE2MMX] = ALLOW_VEC, [ZYDIS_ISA_SET_SSE3] = ALLOW_VEC, [ZYDIS_ISA_SET_SSE3X87] = ALLOW_VEC,
	[ZYDIS_ISA_SET_SSSE3] = ALLOW_VEC, [ZYDIS_ISA_SET_SSSE3MMX] = ALLOW_VEC, [ZYDIS_ISA_SET_SSE4] = ALLOW_VEC,
	[ZYDIS_ISA_SET_SSE42] = ALLOW_VEC, [ZYDIS_ISA_SET_AES] = ALLOW_VEC, [ZYDIS_ISA_SET_PCLMULQDQ] = ALLOW_VEC,
	[ZYDIS_ISA_SET_AVX] = ALLOW_VEC, [ZYDIS_ISA_SET_AVX2] = ALLOW_VEC, [ZYDIS_ISA_SET_AVXAES] = ALLOW_VEC,
	[ZYDIS_ISA_SET_F16C] = ALLOW_VEC, [ZYDIS_ISA_SET_FMA] = ALLOW_VEC, [ZYDIS_ISA_SET_SHA] = ALLOW_VEC,
	[ZYDIS_ISA_SET_VAES] = ALLOW_VEC, [ZYDIS_ISA_SET_VPCLMULQDQ] = ALLOW_VEC, [ZYDIS_ISA_SET_GFNI] = ALLOW_VEC,
	[ZYDIS_ISA_SET_AVX_GFNI] = ALLOW_VEC, [ZYDIS_ISA_SET_AVX_VNNI] = ALLOW_VEC,
};

static const bool category_allowed[ZYDIS_CATEGORY_MAX_VALUE + 1] = {
	[ZYDIS_CATEGORY_ADOX_ADCX] = true, [ZYDIS_CATEGORY_AES] = true, [ZYDIS_CATEGORY_AVX] = true,
	[ZYDIS_CATEGORY_AVX2] = true, [ZYDIS_CATEGORY_BINARY] = true, [ZYDIS_CATEGORY_BITBYTE] = true,
	[ZYDIS_CATEGORY_BLEND] = true, [ZYDIS_CATEGORY_BMI1] = true, [ZYDIS_CATEGORY_BMI2] = true,
	[ZYDIS_CATEGORY_BROADCAST] = true, [ZYDIS_CATEGORY_CLFLUSHOPT] = true, [ZYDIS_CATEGORY_CLWB] = true,
	[ZYDIS_CATEGORY_CMOV] = true, [ZYDIS_CATEGORY_CONVERT] = true, [ZYDIS_CATEGORY_DATAXFER] = true,
	[ZYDIS_CATEGORY_FCMOV] = true, [ZYDIS_CATEGORY_GFNI] = true, [ZYDIS_CATEGORY_LOGICAL] = true,
	[ZYDIS_CATEGORY_LOGICAL_FP] = true, [ZYDIS_CATEGORY_LZCNT] = true, [ZYDIS_CATEGORY_MMX] = true,
	[ZYDIS_CATEGORY_NOP] = true, [ZYDIS_CATEGORY_PCLMULQDQ] = true, [ZYDIS_CATEGORY_RDRAND] = true,
	[ZYDIS_CATEGORY_RDSEED] = true, [ZYDIS_CATEGORY_ROTATE] = true, [ZYDIS_CATEGORY_SEMAPHORE] = true,
	[ZYDIS_CATEGORY_SETCC] = true, [ZYDIS_CATEGORY_SHA] = true, [ZYDIS_CATEGORY_SHIFT] = true,
	[ZYDIS_CATEGORY_SSE] = true, [ZYDIS_CATEGORY_STTNI] = true, [ZYDIS_CATEGORY_VAES] = true,
	[ZYDIS_CATEGORY_VEX] = true, [ZYDIS_CATEGORY_VFMA] = true, [ZYDIS_CATEGORY_VPCLMULQDQ] = true,
	[ZYDIS_CATEGORY_WIDENOP] = true, [ZYDIS_CATEGORY_X87_ALU] = true,
};

/* Members of mixed categories (FLAGOP, MISC) that are ordinary. */
static bool mnemonic_allowed(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_CLC: case ZYDIS_MNEMONIC_STC: case ZYDIS_MNEMONIC_CMC: case ZYDIS_MNEMONIC_CLD:
	case ZYDIS_MNEMONIC_STD: case ZYDIS_MNEMONIC_LAHF: case ZYDIS_MNEMONIC_SAHF:
	case ZYDIS_MNEMONIC_CLFLUSH: case ZYDIS_MNEMONIC_LFENCE: case ZYDIS_MNEMONIC_MFENCE: case ZYDIS_MNEMONIC_SFENCE:
		return true;
	default:
		return false;
	}
}

static bool operand_allowed(const ZydisDecodedOperand *op)
{
	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return true;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return op->mem.type == ZYDIS_MEMOP_TYPE_MEM || op->mem.type == ZYDIS_MEMOP_TYPE_AGEN;
	case ZYDIS_OPERAND_TYPE_REGISTER:
		break;
	default:
		return false;
	}
	switch (ZydisRegisterGetClass(op->reg.value)) {
	case ZYDIS_REGCLASS_GPR8: case ZYDIS_REGCLASS_GPR16: case ZYDIS_REGCLASS_GPR32: case ZYDIS_REGCLASS_GPR64:
	case ZYDIS_REGCLASS_X87: case ZYDIS_REGCLASS_MMX: case ZYDIS_REGCLASS_XMM: case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_FLAGS:
		return true;
	default:       /* x87 and SSE control words count as registers; segments, cr, dr, tables, masks do not pass */
		return op->reg.value == ZYDIS_REGISTER_MXCSR || op->reg.value == ZYDIS_REGISTER_X87CONTROL ||
		       op->reg.value == ZYDIS_REGISTER_X87STATUS || op->reg.value == ZYDIS_REGISTER_X87TAG;
	}
}

static bool is_vector(const ZydisDecodedOperand *op)
{
	ZydisRegisterClass c = op->type == ZYDIS_OPERAND_TYPE_REGISTER ? ZydisRegisterGetClass(op->reg.value) :
			       ZYDIS_REGCLASS_INVALID;

	return c == ZYDIS_REGCLASS_X87 || c == ZYDIS_REGCLASS_MMX || c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM;
}

/* Instructions of vector sets that name no vector register (movnti, crc32, fences) do not care for CR0.TS. */
static bool uses_fpu(const struct emu *e)
{
	if (e->in.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return true;
	switch (e->in.meta.isa_set) {
	case ZYDIS_ISA_SET_X87: case ZYDIS_ISA_SET_FCMOV: case ZYDIS_ISA_SET_PENTIUMMMX: case ZYDIS_ISA_SET_SSEMXCSR:
		return true;
	default:
		break;
	}
	for (unsigned i = 0; i < e->in.operand_count; i++)
		if (is_vector(&e->op[i]))
			return true;
	return false;
}

/* ALLOW_*; the memory operand's index in *mem or -1. */
static unsigned classify(const struct emu *e, int *mem)
{
	unsigned allow = isa_allowed[e->in.meta.isa_set];

	*mem = -1;
	if (e->in.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && e->in.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return ALLOW_NO;
	if (e->in.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return ALLOW_NO;
	if (!category_allowed[e->in.meta.category] && !mnemonic_allowed(e->in.mnemonic))
		return ALLOW_NO;
	for (unsigned i = 0; i < e->in.operand_count; i++) {
		if (!operand_allowed(&e->op[i]))
			return ALLOW_NO;
		if (allow == ALLOW_GPR && is_vector(&e->op[i]))      /* fcomi counts as Pentium Pro */
			allow = ALLOW_VEC;
		if (e->op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (*mem >= 0 || e->op[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			return ALLOW_NO;
		*mem = (int)i;
	}
	if (*mem >= 0 && !(e->in.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		return ALLOW_NO;
	return allow;
}

/* ---- thunk memory ---- */

#define SLOT_SIZE 512
#define NR_SLOTS 32
#define CODE_SIZE (SLOT_SIZE * NR_SLOTS)
#define BOUNCE_SIZE 1024

/* Lies right behind the executable pages, so that thunks reach it rip-relative with every register in use. */
struct thunk_data {
	uint64_t gpr[NR_GPR];
	uint64_t flags;
	uint64_t host_sp;
	uint64_t addr;                        /* host address of the memory operand */
	uint32_t host_mxcsr, spare;
	uint8_t bounce[BOUNCE_SIZE] __attribute__((aligned(64)));
};

struct thunk_slot {
	uint8_t key[16];                      /* instruction, mode; length 0: empty */
	uint8_t len, code32, areg, vec;
	uint16_t recover;                     /* offset of where a fault goes on */
};

struct emu_thunks {
	uint8_t *exec;                        /* CODE_SIZE bytes, then struct thunk_data */
	uint8_t *write;                       /* the same code, writable */
	struct thunk_data *data;
	struct thunk_slot slot[NR_SLOTS];
	uint64_t xmask;                       /* XSAVE components of the host in use */
};

#define DATA_SIZE ((sizeof(struct thunk_data) + 4095) & ~4095UL)

int emu_vcpu_init(struct vcpu *v)
{
	struct emu_thunks *t = calloc(1, sizeof(*t));
	int fd = -1, rc = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->exec = t->write = MAP_FAILED;
	fd = (int)syscall(SYS_memfd_create, "haven-emulate", 1U /* MFD_CLOEXEC */);
	if (fd < 0 || ftruncate(fd, CODE_SIZE)) {
		rc = -errno;
		goto out;
	}
	t->exec = mmap(NULL, CODE_SIZE + DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t->write = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (t->exec == MAP_FAILED || t->write == MAP_FAILED ||
	    mmap(t->exec, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		rc = -errno;
		goto out;
	}
	t->data = (struct thunk_data *)(void *)(t->exec + CODE_SIZE);
	t->xmask = __builtin_cpu_supports("avx") ? XS_ALL : XS_X87 | XS_SSE;
	v->emu_private = t;
	xs_init_once(v);
	rc = 0;
out:
	if (fd >= 0)
		close(fd);
	if (rc) {
		v->emu_private = t;
		emu_vcpu_destroy(v);
	}
	return rc;
}

void emu_vcpu_destroy(struct vcpu *v)
{
	struct emu_thunks *t = v->emu_private;

	if (!t)
		return;
	if (t->exec != MAP_FAILED)
		munmap(t->exec, CODE_SIZE + DATA_SIZE);
	if (t->write != MAP_FAILED)
		munmap(t->write, CODE_SIZE);
	free(t);
	v->emu_private = NULL;
}

/* ---- encoding ---- */

struct out {
	uint8_t *p;                           /* where it is written */
	uint64_t va;                          /* where it will run */
	const struct emu_thunks *t;
};

static void put(struct out *o, const void *bytes, size_t n)
{
	memcpy(o->p, bytes, n);
	o->p += n;
	o->va += n;
}

#define PUT(o, ...) put(o, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* [rest of a rip-relative operand] */
static void put_rel(struct out *o, const void *target)
{
	int32_t rel = (int32_t)((uint64_t)(uintptr_t)target - (o->va + 4));

	put(o, &rel, 4);
}

/* mov between a 64-bit register and a field of the data page */
static void put_mov(struct out *o, bool load, unsigned reg, const void *field)
{
	PUT(o, 0x48 | (reg >> 3) << 2, load ? 0x8b : 0x89, (reg & 7) << 3 | 5);
	put_rel(o, field);
}

static bool is_legacy_prefix(uint8_t b, bool *drop)
{
	switch (b) {
	case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: case 0x67:   /* segments, address size */
		*drop = true;
		return true;
	case 0x66: case 0xf0: case 0xf2: case 0xf3:
		*drop = false;
		return true;
	default:
		return false;
	}
}

/* Bytes from i up to ModRM.  82 is another name of 80 that only 32-bit code has. */
static void put_opcode(struct out *o, const struct emu *e, unsigned i)
{
	if (e->code32 && e->in.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && e->bytes[i] == 0x82)
		PUT(o, 0x80);
	else
		put(o, e->bytes + i, e->in.raw.modrm.offset - i);
}

/* 32-bit code has no 64-bit general registers: VEX.W does not select them there. */
static bool vex_w_ignored(const struct emu *e)
{
	if (e->in.mnemonic == ZYDIS_MNEMONIC_VCVTSI2SS || e->in.mnemonic == ZYDIS_MNEMONIC_VCVTSI2SD ||
	    e->in.mnemonic == ZYDIS_MNEMONIC_VMOVD || e->in.mnemonic == ZYDIS_MNEMONIC_VPINSRD ||
	    e->in.mnemonic == ZYDIS_MNEMONIC_VPEXTRD)
		return true;
	for (unsigned i = 0; i < e->in.operand_count_visible; i++)
		if (e->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(e->op[i].reg.value) == ZYDIS_REGCLASS_GPR32)
			return true;
	return false;
}

/* Immediates; one that names a register in its upper half names one of eight in 32-bit code. */
static void put_tail(struct out *o, const struct emu *e, unsigned from)
{
	bool is4 = false;

	for (unsigned i = 0; i < e->in.operand_count; i++)
		is4 |= e->op[i].encoding == ZYDIS_OPERAND_ENCODING_IS4;
	if (is4 && e->code32)
		PUT(o, e->bytes[from] & 0x7f);
	else
		put(o, e->bytes + from, e->in.length - from);
}

/*
 * The instruction itself with its memory operand replaced by (areg), 64-bit encoding.  areg is a low register that needs
 * neither SIB nor displacement, so REX and VEX extension bits of the operand become 0.
 */
static void put_instruction(struct out *o, const struct emu *e, int mem, unsigned areg)
{
	unsigned i = 0, tail;
	bool drop;

	if (e->in.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
		uint8_t vex[3];
		unsigned n = e->in.raw.vex.size;

		i = e->in.raw.vex.offset;
		memcpy(vex, e->bytes + i, n);
		if ((mem >= 0 || e->code32) && n == 3)
			vex[1] |= 0x60;                 /* X and B, inverted */
		if (e->code32 && n == 3) {
			vex[2] |= 0x40;                 /* top bit of vvvv: there are eight registers */
			if (vex_w_ignored(e))
				vex[2] &= 0x7f;
		}
		put(o, vex, n);
		i += n;
	} else {
		while (is_legacy_prefix(e->bytes[i], &drop) || (!e->code32 && (e->bytes[i] & 0xf0) == 0x40)) {
			if ((e->bytes[i] & 0xf0) != 0x40 && !drop)
				put(o, &e->bytes[i], 1);
			i++;
		}
		if (e->in.attributes & ZYDIS_ATTRIB_HAS_REX)
			PUT(o, mem < 0 ? e->bytes[e->in.raw.rex.offset] : e->bytes[e->in.raw.rex.offset] & 0x4c);
		if (e->code32 && (e->bytes[i] & 0xf0) == 0x40) {     /* inc, dec reg: those are REX prefixes in 64-bit code */
			PUT(o, 0xff, 0xc0 | (e->bytes[i] & 15));
			return;
		}
	}
	if (mem < 0) {
		if (e->in.attributes & ZYDIS_ATTRIB_HAS_MODRM) {
			put_opcode(o, e, i);
			i = e->in.raw.modrm.offset;
			put(o, e->bytes + i++, 1);
		}
		put_tail(o, e, i);
		return;
	}
	put_opcode(o, e, i);
	PUT(o, e->in.raw.modrm.reg << 3 | areg);
	tail = e->in.raw.modrm.offset + 1u + (e->in.attributes & ZYDIS_ATTRIB_HAS_SIB ? 1 : 0) + e->in.raw.disp.size / 8u;
	put_tail(o, e, tail);
}

/* GPRs the instruction names, openly or not, as a bit mask; address registers of the operand do not count. */
static unsigned gprs_used(const struct emu *e)
{
	unsigned used = 0;

	for (unsigned i = 0; i < e->in.operand_count; i++) {
		ZydisRegister r;

		if (e->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		r = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, e->op[i].reg.value);
		if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
			used |= 1u << (r - ZYDIS_REGISTER_RAX);
	}
	return used;
}

/* Six low registers could be it, and no instruction uses more than five. */
static unsigned operand_register(unsigned used)
{
	unsigned r = 0;

	while (r == REG_RSP || r == REG_RBP || (used & 1u << r))
		r++;
	return r;
}

static const uint8_t save_regs[] = { 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57 };   /* rbx rbp r12-15 */
static const uint8_t restore_regs[] = { 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b };

/* mov $area, %rcx; mov $mask, %eax; xor %edx, %edx; then 0F AE or C7 with rcx: xsave64 /4, xrstor64 /5 */
static void put_xstate(struct out *o, const void *area, unsigned op)
{
	uint64_t a = (uint64_t)(uintptr_t)area;
	uint32_t mask = (uint32_t)o->t->xmask;

	PUT(o, 0x48, 0xb9);
	put(o, &a, 8);
	PUT(o, 0xb8);
	put(o, &mask, 4);
	PUT(o, 0x31, 0xd2, 0x48, 0x0f, 0xae, op << 3 | 1);
}

static void build_thunk(struct emu_thunks *t, unsigned n, const struct emu *e, int mem, bool vec)
{
	struct thunk_slot *s = &t->slot[n];
	struct thunk_data *d = t->data;
	struct out o = { .p = t->write + n * SLOT_SIZE, .va = (uint64_t)(uintptr_t)(t->exec + n * SLOT_SIZE), .t = t };
	unsigned used = gprs_used(e), areg = operand_register(used);

	PUT(&o, 0xf3, 0x0f, 0x1e, 0xfa);             /* endbr64 */
	put(&o, save_regs, sizeof(save_regs));
	if (vec) {
		PUT(&o, 0x0f, 0xae, 0x1d);           /* stmxcsr */
		put_rel(&o, &d->host_mxcsr);
		put_xstate(&o, e->v->xsave, 5);
	}
	put_mov(&o, false, REG_RSP, &d->host_sp);
	PUT(&o, 0xff, 0x35);                         /* push flags; popf */
	put_rel(&o, &d->flags);
	PUT(&o, 0x9d);
	for (unsigned r = 0; r < NR_GPR; r++)
		if (r != REG_RSP && !(mem >= 0 && r == areg))
			put_mov(&o, true, r, &d->gpr[r]);
	if (mem >= 0)
		put_mov(&o, true, areg, &d->addr);
	if (used & 1u << REG_RSP)
		put_mov(&o, true, REG_RSP, &d->gpr[REG_RSP]);
	put_instruction(&o, e, mem, areg);
	for (unsigned r = 0; r < NR_GPR; r++)
		if (r != REG_RSP ? !(mem >= 0 && r == areg) : !!(used & 1u << REG_RSP))
			put_mov(&o, false, r, &d->gpr[r]);
	s->recover = (uint16_t)(o.p - (t->write + n * SLOT_SIZE));
	put_mov(&o, true, REG_RSP, &d->host_sp);
	PUT(&o, 0x9c, 0x8f, 0x05);                   /* pushf; pop flags */
	put_rel(&o, &d->flags);
	PUT(&o, 0xfc);                               /* cld */
	if (vec) {
		put_xstate(&o, e->v->xsave, 4);
		PUT(&o, 0xdb, 0xe3);                 /* fninit */
		if (t->xmask & XS_YMM)
			PUT(&o, 0xc5, 0xf8, 0x77);   /* vzeroupper */
		PUT(&o, 0x0f, 0xae, 0x15);           /* ldmxcsr */
		put_rel(&o, &d->host_mxcsr);
	}
	put(&o, restore_regs, sizeof(restore_regs));
	PUT(&o, 0xc3);
	memset(s->key, 0, sizeof(s->key));
	memcpy(s->key, e->bytes, e->in.length);
	s->len = e->in.length;
	s->code32 = e->code32;
	s->vec = vec;
}

/*
 * Code written through another mapping needs a serialising instruction before it runs (SDM vol. 3 section 9.1.3); iret
 * to the next instruction is one that no hypervisor below us intercepts.
 */
static void serialise(void)
{
	uint64_t tmp;

	__asm__ volatile(
		"mov %%rsp, %0\n\t"
		"sub $128, %%rsp\n\t"
		"and $-16, %%rsp\n\t"
		"push %0\n\t"
		"mov %%ss, %k0\n\t"
		"xchg %0, (%%rsp)\n\t"          /* (rsp) = ss, tmp = old rsp */
		"push %0\n\t"
		"pushfq\n\t"
		"mov %%cs, %k0\n\t"
		"push %0\n\t"
		"lea 1f(%%rip), %0\n\t"
		"push %0\n\t"
		"iretq\n"
		"1:"
		: "=&r"(tmp) : : "memory", "cc");
}

static unsigned find_slot(struct emu_thunks *t, const struct emu *e, int mem, bool vec)
{
	uint32_t h = e->code32;
	struct thunk_slot *s;
	unsigned n;

	for (unsigned i = 0; i < e->in.length; i++)
		h = (h ^ e->bytes[i]) * 16777619U;
	n = (h ^ h >> 16) % NR_SLOTS;
	s = &t->slot[n];
	if (s->len != e->in.length || s->code32 != e->code32 || memcmp(s->key, e->bytes, e->in.length)) {
		build_thunk(t, n, e, mem, vec);
		serialise();
	}
	return n;
}

/* ---- running ---- */

static int run_thunk(struct emu *e, int mem, bool vec, void *addr)
{
	struct emu_thunks *t = e->v->emu_private;
	struct thunk_data *d = t->data;
	struct cpu_regs *r = &e->v->regs;
	unsigned n = find_slot(t, e, mem, vec);
	union { const uint8_t *p; void (*f)(void); } entry = { .p = t->exec + n * SLOT_SIZE };
	uint64_t fault;

	memcpy(d->gpr, r->gpr, sizeof(d->gpr));
	d->flags = (r->rflags & (FL_ARITH | FL_DF)) | FL_FIXED | FL_IF;
	d->addr = (uint64_t)(uintptr_t)addr;
	emu_window = (struct emu_window){ .start = (uint64_t)(uintptr_t)entry.p,
					  .end = (uint64_t)(uintptr_t)entry.p + t->slot[n].recover,
					  .recover = (uint64_t)(uintptr_t)entry.p + t->slot[n].recover };
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	entry.f();
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	emu_window.end = 0;
	fault = emu_window.vector;
	if (fault) {
		unsigned vector = (unsigned)fault - 1;

		/* a page fault here is a hole of guest memory the host could not fill: nothing the guest did wrong */
		if (vector == VEC_PF)
			return EMU_EXIT(EXIT_HALT);
		return mmu_raise(e->v, vector, 0);
	}
	memcpy(r->gpr, d->gpr, sizeof(d->gpr));
	r->rflags = (r->rflags & ~(FL_ARITH | FL_DF)) | (d->flags & (FL_ARITH | FL_DF));
	return 0;
}

/* fnstenv and fnsave store pointers to the last x87 instruction and operand, which are the host's. */
static void hide_fpu_pointers(const struct emu *e, uint8_t *area)
{
	bool env16 = e->in.operand_width == 16;

	if (e->in.mnemonic == ZYDIS_MNEMONIC_FNSTENV || e->in.mnemonic == ZYDIS_MNEMONIC_FNSAVE)
		memset(area + (env16 ? 6 : 12), 0, env16 ? 8 : 16);
}

/* Alignment the operand must have; the check comes before those of paging (SDM vol. 3 table 6-2, vol. 2 section 2.4). */
static unsigned operand_alignment(const struct emu *e, const ZydisDecodedOperand *op)
{
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_VMOVAPS: case ZYDIS_MNEMONIC_VMOVAPD: case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTDQ: case ZYDIS_MNEMONIC_VMOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVNTPD: case ZYDIS_MNEMONIC_VMOVNTPS:
		return op->size / 8;
	case ZYDIS_MNEMONIC_MOVUPS: case ZYDIS_MNEMONIC_MOVUPD: case ZYDIS_MNEMONIC_MOVDQU: case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI: case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI: case ZYDIS_MNEMONIC_PCMPISTRM:
		return 1;
	default:
		return e->in.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && op->size == 128 ? 16 : 1;
	}
}

/* Bytes that have to be the guest's; of what acts on a cache line, one of them. */
static size_t operand_bytes(const struct emu *e, int mem)
{
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_CLFLUSH: case ZYDIS_MNEMONIC_CLFLUSHOPT: case ZYDIS_MNEMONIC_CLWB:
		return 1;
	default:
		return e->op[mem].size < 8 ? 1 : e->op[mem].size / 8;
	}
}

static int native_operand(struct emu *e, int mem, bool vec, uint64_t va, bool split)
{
	struct emu_thunks *t = e->v->emu_private;
	const ZydisDecodedOperand *op = &e->op[mem];
	bool write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	bool pointers = e->in.mnemonic == ZYDIS_MNEMONIC_FNSTENV || e->in.mnemonic == ZYDIS_MNEMONIC_FNSAVE;
	size_t n = operand_bytes(e, mem);
	struct mmu_span s;
	uint8_t *host;
	int rc;

	if (n > BOUNCE_SIZE - 128)
		return emu_ud(e);
	if (va & (operand_alignment(e, op) - 1))
		return emu_gp(e);
	if (emu_map(e, op->mem.segment, va, n, write ? MMU_WRITE : MMU_READ, &s))
		return -1;
	host = mmu_span_direct(&s);
	if (host && !pointers && !split) {
		rc = run_thunk(e, mem, vec, host);
		if (write && rc == 0)
			mmu_span_stored(e->v->d, &s);
		return rc;
	}
	host = t->data->bounce + 64 + (split ? 0 : va & 63);
	mmu_span_read(&s, host);
	rc = run_thunk(e, mem, vec, host);
	if (rc == 0 && write) {
		hide_fpu_pointers(e, host);
		mmu_span_write(e->v->d, &s, host);
	}
	return rc;
}

static int native_memory(struct emu *e, int mem, bool vec, uint64_t va)
{
	bool locked = e->in.attributes & ZYDIS_ATTRIB_HAS_LOCK || e->in.mnemonic == ZYDIS_MNEMONIC_XCHG;
	int rc;

	if (!locked || !bt_is_split(va, e->op[mem].size / 8))
		return native_operand(e, mem, vec, va, false);
	bt_split_begin(e->v);
	rc = native_operand(e, mem, vec, va, true);
	bt_split_end(e->v);
	return rc;
}

static int native_checked(struct emu *e, const uint64_t *va)
{
	int mem, rc;
	unsigned allow = classify(e, &mem);
	bool vec = allow == ALLOW_VEC;

	if (allow == ALLOW_NO || !e->v->emu_private)
		return emu_ud(e);
	if (vec && e->v->cr0_ts && uses_fpu(e))
		return mmu_raise(e->v, VEC_NM, 0);
	/* AVX needs its state enabled in XCR0 */
	if (e->in.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && vec && (e->v->xcr0 & XS_ALL) != XS_ALL)
		return emu_ud(e);
	if (mem < 0)
		rc = run_thunk(e, mem, vec, NULL);
	else
		rc = native_memory(e, mem, vec, va ? *va : emu_address(e, &e->op[mem]));
	return rc;
}

int emu_native(struct emu *e) { return native_checked(e, NULL); }
int emu_native_at(struct emu *e, uint64_t va) { return native_checked(e, &va); }

size_t emu_native_encode(const struct emu *e, uint8_t *to, unsigned *ret_reg, size_t *ret_size, bool *ret_write)
{
	struct out o = { .p = to };
	int mem;

	if (classify(e, &mem) == ALLOW_NO)
		return 0;
	*ret_reg = operand_register(gprs_used(e));
	*ret_size = mem < 0 ? 0 : operand_bytes(e, mem);
	*ret_write = mem >= 0 && (e->op[mem].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
	put_instruction(&o, e, mem, *ret_reg);
	return (size_t)(o.p - to);
}
