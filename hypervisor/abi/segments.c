/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * segments.c - descriptor tables and segment loads of a PV guest.
 *
 * The flat selectors of xen-x86_64.h are built in; everything else is looked up in the guest's own GDT frames or LDT.
 * Descriptors are only ever interpreted here, never given to the CPU, so they need no validation beyond what a load
 * checks.  DPL is ignored: Xen makes every descriptor of a 64-bit guest DPL 3, since kernel and user both run in ring 3.
 */
#include "hypervisor/abi/abi_private.h"

#define DESC_TYPE(d) ((unsigned)((d) >> 40 & 0xf))
#define DESC_S ((uint64_t)1 << 44)               /* code or data, not system */
#define DESC_P ((uint64_t)1 << 47)
#define DESC_L ((uint64_t)1 << 53)
#define TYPE_CODE 8U
#define TYPE_CONFORMING 4U                       /* code */
#define TYPE_EXPAND_DOWN 4U                      /* data */
#define TYPE_CALL_GATE 12U                       /* system */
#define TYPE_READ_WRITE 2U                       /* code: readable; data: writable */

static uint64_t desc_base(uint64_t desc)
{
	return (desc >> 16 & 0xffffff) | (desc >> 56 & 0xff) << 24;
}

/* Descriptors of the hypervisor's part of the GDT: flat, present, DPL 3. */
static bool flat_descriptor(uint16_t sel, uint64_t *ret)
{
	switch (sel | 3) {
	case FLAT_RING3_CS32:
		*ret = 0x00cffb000000ffffUL;
		return true;
	case FLAT_RING3_DS32:
		*ret = 0x00cff3000000ffffUL;
		return true;
	case FLAT_RING3_CS64:
		*ret = 0x00affb000000ffffUL;
		return true;
	}
	return false;
}

/* The descriptor a selector names, or false: outside its table or not readable. */
static bool descriptor_read(struct vcpu *v, uint16_t sel, uint64_t *ret)
{
	unsigned index = sel >> 3;
	const uint64_t *page;

	if (sel & 4) {
		if (index >= v->ldt_ents)
			return false;
		return !guest_kernel_read(v, ret, v->ldt_base + index * 8UL, 8);
	}
	if (index >= FIRST_RESERVED_GDT_ENTRY)
		return flat_descriptor(sel, ret);
	if (index >= v->gdt_ents)
		return false;
	page = ram_frame(v->d, v->gdt_mfn[index / 512]);
	if (!page)
		return false;
	*ret = __atomic_load_n(&page[index % 512], __ATOMIC_RELAXED);
	return true;
}

int pv_code_selector(struct vcpu *v, uint16_t sel)
{
	uint64_t desc;

	if (!(sel & ~3U) || !descriptor_read(v, sel, &desc))
		return 0;
	if (!(desc & DESC_S) || !(desc & DESC_P) || !(DESC_TYPE(desc) & TYPE_CODE))
		return 0;
	return desc & DESC_L ? 64 : 32;
}

int pv_iret_user32_cs(struct vcpu *v, uint16_t sel)
{
	int bits = pv_code_selector(v, sel);

	return bits ? bits == 32 : -1;
}

static bool desc_is_writable_data(uint64_t desc)
{
	return (desc & DESC_S) && !(DESC_TYPE(desc) & TYPE_CODE) && (DESC_TYPE(desc) & TYPE_READ_WRITE);
}

bool pv_stack_selector_ok(struct vcpu *v, uint16_t sel)
{
	uint64_t desc;

	return (sel & ~3U) && descriptor_read(v, sel, &desc) && desc_is_writable_data(desc) && (desc & DESC_P);
}

static int segment_fault(struct vcpu *v, uint8_t vector, uint16_t sel)
{
	v->exc = (struct guest_exception){ .vector = vector, .error_code = sel & 0xfffcU };
	return -1;
}

/* What a load of sel into seg brings: 0 and the base, or the vector of the fault. */
static int segment_check(struct vcpu *v, unsigned seg, uint16_t sel, uint64_t *base)
{
	uint64_t desc;

	*base = 0;
	if (!(sel & ~3U))
		return seg == SEG_SS && !v->regs.kernel_mode ? TRAP_GP : 0;
	if (!descriptor_read(v, sel, &desc) || !(desc & DESC_S))
		return TRAP_GP;
	if (seg == SEG_SS ? !desc_is_writable_data(desc) :
			    (DESC_TYPE(desc) & TYPE_CODE) && !(DESC_TYPE(desc) & TYPE_READ_WRITE))
		return TRAP_GP;
	if (!(desc & DESC_P))
		return seg == SEG_SS ? TRAP_SS : TRAP_NP;
	*base = desc_base(desc);
	return 0;
}

bool pv_segment_loadable(struct vcpu *v, unsigned seg, uint16_t sel)
{
	uint64_t base;

	return !segment_check(v, seg, sel, &base);
}

int pv_load_segment(struct vcpu *v, unsigned seg, uint16_t sel)
{
	uint64_t base;
	int vector;

	if (seg >= NR_SEG || seg == SEG_CS)
		return segment_fault(v, TRAP_UD, 0);
	vector = segment_check(v, seg, sel, &base);
	if (vector)
		return segment_fault(v, (uint8_t)vector, sel);
	v->regs.sel[seg] = sel;
	if (seg == SEG_FS)
		v->regs.fs_base = base;
	else if (seg == SEG_GS)
		v->regs.gs_base = base;
	return 0;
}

/* ---- hypercalls ---- */

int pv_set_gdt(struct vcpu *v, const uint64_t *frames, uint64_t entries)
{
	unsigned nr = (unsigned)((entries + 511) / 512);

	if (entries > FIRST_RESERVED_GDT_ENTRY)
		return -EINVAL;
	for (unsigned i = 0; i < nr; i++)
		if (!frame_is_populated(v->d, frames[i]))
			return -EINVAL;
	memset(v->gdt_mfn, 0, sizeof(v->gdt_mfn));
	memcpy(v->gdt_mfn, frames, nr * sizeof(frames[0]));
	v->gdt_ents = (unsigned)entries;
	return 0;
}

int64_t do_set_gdt(struct vcpu *v, struct hypercall *c)
{
	uint64_t frames[16], entries = (uint32_t)c->arg[1];

	if (entries > FIRST_RESERVED_GDT_ENTRY)
		return -EINVAL;
	if (guest_read(v, frames, c->arg[0], (entries + 511) / 512 * sizeof(frames[0])))
		return -EFAULT;
	return pv_set_gdt(v, frames, entries);
}

/*
 * What may be installed by hypercall, as Xen's check_descriptor(): code and data of any kind, empty and absent ones, call
 * gates (which no far transfer takes here).  Of other system descriptors a guest has no use.
 */
static bool descriptor_installable(uint64_t desc)
{
	return !(desc & DESC_P) || (desc & DESC_S) || DESC_TYPE(desc) == 0 || DESC_TYPE(desc) == TYPE_CALL_GATE;
}

int64_t do_update_descriptor(struct vcpu *v, struct hypercall *c)
{
	uint64_t pa = c->arg[0], *page = ram_frame(v->d, pa >> PAGE_SHIFT_HV);

	if ((pa & 7) || !page || !descriptor_installable(c->arg[1]))
		return -EINVAL;
	__atomic_store_n(&page[(pa & (PAGE_SIZE_HV - 1)) / 8], c->arg[1], __ATOMIC_RELAXED);
	frame_touched(v->d, pa >> PAGE_SHIFT_HV);
	return 0;
}

/*
 * The user's %gs selector, loaded while the kernel's base stays in force.  One that does not load becomes null instead
 * of an error: a thread may keep the selector of a TLS slot it has cleared, and Linux takes an error here for a bug.
 */
static void load_user_gs(struct vcpu *v, uint16_t sel)
{
	uint64_t base;

	if (segment_check(v, SEG_GS, sel, &base)) {
		sel = 0;
		base = 0;
	}
	v->regs.sel[SEG_GS] = sel;
	v->regs.gs_base_other = base;
}

int64_t do_set_segment_base(struct vcpu *v, struct hypercall *c)
{
	uint64_t base = c->arg[1];

	if (c->arg[0] != SEGBASE_GS_USER_SEL && !va_is_canonical(base))
		return -EINVAL;
	switch (c->arg[0]) {
	case SEGBASE_FS:
		v->regs.fs_base = base;
		return 0;
	case SEGBASE_GS_USER:
		v->regs.gs_base_other = base;
		return 0;
	case SEGBASE_GS_KERNEL:
		v->regs.gs_base = base;
		return 0;
	case SEGBASE_GS_USER_SEL:
		load_user_gs(v, (uint16_t)base);
		return 0;
	}
	return -EINVAL;
}
