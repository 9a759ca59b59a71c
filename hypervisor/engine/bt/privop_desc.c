/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * privop_desc.c - instructions that look at descriptors: lar, lsl, verr, verw, arpl; and the table registers.
 *
 * All of these are unprivileged on hardware (Linux's vDSO reads the CPU number with lsl).  Privilege levels are taken as
 * CPL 3, where Xen runs kernel and user alike.
 */
#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/privop.h"

#define XEN_GDT_FIRST (14 * 512)               /* xen/arch-x86/xen.h FIRST_RESERVED_GDT_ENTRY */

/* Descriptor fields, SDM vol. 3 section 3.4.5. */
#define DESC_S (1UL << 44)
#define DESC_TYPE(d) ((unsigned)((d) >> 40 & 15))
#define DESC_G (1UL << 55)
#define TYPE_CODE 8
#define TYPE_RW 2                              /* code: readable, data: writable */

/* Xen's flat segments that a guest may use without putting them into its GDT. */
static const struct { uint16_t sel; uint64_t desc; } xen_gdt[] = {
	{ FLAT_RING3_CS32 & ~3, 0x00cffb000000ffffUL },
	{ FLAT_RING3_DS32 & ~3, 0x00cff3000000ffffUL },
	{ FLAT_RING3_CS64 & ~3, 0x00affb000000ffffUL },
};

int priv_descriptor(struct vcpu *v, uint16_t sel, uint64_t *desc)
{
	unsigned n = sel >> 3;
	const uint64_t *frame;
	uint64_t mfn;

	if (sel & 4) {
		/* in the kernel's tables, whichever are in force */
		if (n >= v->ldt_ents || mmu_probe(v, v->ldt_base + 8UL * n, true, MMU_READ, &mfn, NULL))
			return -1;
		frame = domain_frame(v->d, mfn);
		if (!frame)
			return -1;
		*desc = __atomic_load_n(&frame[(v->ldt_base / 8 + n) % 512], __ATOMIC_RELAXED);
		return 0;
	}
	if (n == 0)
		return -1;
	for (size_t i = 0; i < sizeof(xen_gdt) / sizeof(xen_gdt[0]); i++)
		if (xen_gdt[i].sel == (sel & ~3)) {
			*desc = xen_gdt[i].desc;
			return 0;
		}
	if (n >= v->gdt_ents || n >= XEN_GDT_FIRST)
		return -1;
	frame = domain_frame(v->d, v->gdt_mfn[n / 512]);
	if (!frame)
		return -1;
	*desc = __atomic_load_n(&frame[n % 512], __ATOMIC_RELAXED);
	return 0;
}

/* Code and data are visible whatever their DPL: Xen makes it 3 in every descriptor a 64-bit guest installs. */
static bool visible(uint64_t d) { return d & DESC_S; }

static void set_zf(struct emu *e, bool on)
{
	e->v->regs.rflags = (e->v->regs.rflags & ~FL_ZF) | (on ? FL_ZF : 0);
}

/* Selector operand: a register of any width, or 16 bits of memory. */
static int read_selector(struct emu *e, unsigned i, uint16_t *sel)
{
	const ZydisDecodedOperand *op = &e->op[i];

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		*sel = (uint16_t)emu_reg_read(e, op->reg.value);
		return 0;
	}
	return emu_read(e, op->mem.segment, emu_address(e, op), 2, sel);
}

/* The descriptor that selector operand i names; ZF says whether it can be seen, and d is 0 when not.  -1: the operand faults. */
static int read_descriptor(struct emu *e, unsigned i, uint64_t *d)
{
	uint16_t sel;

	if (read_selector(e, i, &sel))
		return -1;
	if (priv_descriptor(e->v, sel, d) || !visible(*d))
		*d = 0;
	set_zf(e, *d);
	return 0;
}

static int do_lsl(struct emu *e)
{
	uint64_t d, limit;

	if (read_descriptor(e, 1, &d))
		return -1;
	limit = (d & 0xffff) | (d >> 32 & 0xf0000);
	if (d & DESC_G)
		limit = limit << 12 | 0xfff;
	if (d)
		emu_reg_write(e, e->op[0].reg.value, limit);
	return 0;
}

static int do_lar(struct emu *e)
{
	uint64_t d;

	if (read_descriptor(e, 1, &d))
		return -1;
	if (d)
		emu_reg_write(e, e->op[0].reg.value, d >> 32 & 0xf0ff00);
	return 0;
}

static int do_verr(struct emu *e)
{
	uint64_t d;

	if (read_descriptor(e, 0, &d))
		return -1;
	set_zf(e, d && (!(DESC_TYPE(d) & TYPE_CODE) || (DESC_TYPE(d) & TYPE_RW)));
	return 0;
}

static int do_verw(struct emu *e)
{
	uint64_t d;

	if (read_descriptor(e, 0, &d))
		return -1;
	set_zf(e, (DESC_TYPE(d) & (TYPE_CODE | TYPE_RW)) == TYPE_RW);
	return 0;
}

static int do_arpl(struct emu *e)
{
	uint64_t dst, src;

	if (emu_operand_read(e, 0, &dst) || emu_operand_read(e, 1, &src))
		return -1;
	if ((dst & 3) < (src & 3)) {
		if (emu_operand_write(e, 0, (dst & ~3UL) | (src & 3)))
			return -1;
		set_zf(e, true);
	} else {
		set_zf(e, false);
	}
	return 0;
}

/*
 * sgdt, sidt, sldt, str, smsw show hardware state below the guest on Xen.  Here: fixed values that look like Xen's and
 * tell nothing of this host.
 */
#define FAKE_GDT_BASE 0xffff830000100000UL
#define FAKE_IDT_BASE 0xffff830000200000UL

static int store_table(struct emu *e, uint16_t limit, uint64_t base)
{
	const ZydisDecodedOperand *op = &e->op[0];
	uint8_t image[10];

	for (unsigned i = 0; i < 8; i++)
		image[2 + i] = (uint8_t)(base >> 8 * i);
	image[0] = (uint8_t)limit;
	image[1] = (uint8_t)(limit >> 8);
	return emu_write(e, op->mem.segment, emu_address(e, op), e->code32 ? 6 : 10, image);
}

static int store_word(struct emu *e, uint64_t x)
{
	const ZydisDecodedOperand *op = &e->op[0];

	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return emu_write(e, op->mem.segment, emu_address(e, op), 2, &x);
	emu_reg_write(e, op->reg.value, x);
	return 0;
}

static int do_sgdt(struct emu *e) { return store_table(e, 0xefff, FAKE_GDT_BASE); }
static int do_sidt(struct emu *e) { return store_table(e, 0x0fff, FAKE_IDT_BASE); }
static int do_sldt(struct emu *e) { return store_word(e, 0); }
static int do_str(struct emu *e) { return store_word(e, 0xe040); }
static int do_smsw(struct emu *e) { return store_word(e, PV_CR0 | (e->v->cr0_ts ? CR0_TS : 0)); }

emu_fn emu_desc_handler(const struct emu *e)
{
	switch (e->in.mnemonic) {
	case ZYDIS_MNEMONIC_LSL: return do_lsl;
	case ZYDIS_MNEMONIC_LAR: return do_lar;
	case ZYDIS_MNEMONIC_VERR: return do_verr;
	case ZYDIS_MNEMONIC_VERW: return do_verw;
	case ZYDIS_MNEMONIC_ARPL: return do_arpl;
	case ZYDIS_MNEMONIC_SGDT: return do_sgdt;
	case ZYDIS_MNEMONIC_SIDT: return do_sidt;
	case ZYDIS_MNEMONIC_SLDT: return do_sldt;
	case ZYDIS_MNEMONIC_STR: return do_str;
	case ZYDIS_MNEMONIC_SMSW: return do_smsw;
	default: return NULL;
	}
}
