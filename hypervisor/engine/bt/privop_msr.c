/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * privop_msr.c - rdmsr, wrmsr: the model-specific registers a PV guest's kernel may see.
 *
 * What is not in the table is #GP, as on Xen (xen/arch/x86/pv/emul-priv-op.c read_msr, write_msr).  A write function
 * that is NULL allows writing the value the register reads as.
 */
#include "hypervisor/abi/abi.h"
#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/privop.h"

/* PAT as Xen sets it for PV guests: WB WT UC- UC WC WP UC UC. */
#define PV_PAT 0x0000050100070406UL
#define PV_EFER 0xd01UL                       /* SCE LME LMA NXE */
#define APIC_BASE_ENABLED 0xfee00800UL        /* xAPIC mode */
#define APIC_BASE_BSP 0x100UL
/*
 * No BTS, no PEBS; and fast strings "disabled": Linux then copies with plain loops, which stay in translated code where
 * string instructions leave it.
 */
#define MISC_ENABLE_FIXED 0x1800UL

static uint64_t read_fs_base(struct vcpu *v) { return v->regs.fs_base; }
static uint64_t read_gs_base(struct vcpu *v) { return v->regs.gs_base; }
static uint64_t read_gs_other(struct vcpu *v) { return v->regs.gs_base_other; }
static uint64_t read_efer(struct vcpu *v) { return PV_EFER; }
static uint64_t read_pat(struct vcpu *v) { return PV_PAT; }
static uint64_t read_apic(struct vcpu *v) { return APIC_BASE_ENABLED | (v->id == 0 ? APIC_BASE_BSP : 0); }
static uint64_t read_misc_enable(struct vcpu *v) { return MISC_ENABLE_FIXED; }
static uint64_t read_zero(struct vcpu *v) { return 0; }
static uint64_t read_tsc_aux(struct vcpu *v) { return (uint32_t)v->msr_tsc_aux; }

static int set_base(uint64_t *base, uint64_t x)
{
	if (!mmu_canonical(x))
		return -1;
	*base = x;
	return 0;
}

static int write_fs_base(struct vcpu *v, uint64_t x) { return set_base(&v->regs.fs_base, x); }
static int write_gs_base(struct vcpu *v, uint64_t x) { return set_base(&v->regs.gs_base, x); }
static int write_gs_other(struct vcpu *v, uint64_t x) { return set_base(&v->regs.gs_base_other, x); }

/*
 * What the guest need not do against speculation (Linux arch/x86/include/asm/msr-index.h, ARCH_CAP_*): nearly everything,
 * since it would not survive translation; return thunks (bit 62, ITS_NO) would only cost.  Not IBRS_ALL: with it Linux
 * clears the branch history at every system call.
 */
#define ARCH_CAP_NOTHING_TO_DO (1UL << 0 | 1UL << 3 | 1UL << 4 | 1UL << 5 | 1UL << 6 | 1UL << 8 | 1UL << 13 | 1UL << 14 | \
				1UL << 15 | 1UL << 20 | 1UL << 24 | 1UL << 26 | 1UL << 27 | 1UL << 62)

static uint64_t read_arch_cap(struct vcpu *v) { return ARCH_CAP_NOTHING_TO_DO; }

static int write_tsc_aux(struct vcpu *v, uint64_t x)
{
	if (x >> 32)
		return -1;
	v->msr_tsc_aux = x;
	return 0;
}

static const struct msr_row {
	uint32_t msr;
	uint64_t (*read)(struct vcpu *v);
	int (*write)(struct vcpu *v, uint64_t x);
} msrs[] = {
	{ 0xc0000101, read_gs_base, write_gs_base },
	{ 0xc0000102, read_gs_other, write_gs_other },
	{ 0xc0000100, read_fs_base, write_fs_base },
	{ 0x00000010, priv_guest_tsc, NULL },
	{ 0x00000017, read_zero, NULL },              /* PLATFORM_ID: the microcode loader looks */
	{ 0x0000001b, read_apic, NULL },
	{ 0x0000010a, read_arch_cap, NULL },
	{ 0x0000008b, read_zero, NULL },              /* UCODE_REV: written with 0 before it is read */
	{ 0x000000ce, read_zero, NULL },              /* PLATFORM_INFO: no CPUID faulting */
	{ 0x00000140, read_zero, NULL },              /* MISC_FEATURES_ENABLES */
	{ 0x000001a0, read_misc_enable, NULL },
	{ 0x00000277, read_pat, NULL },
	{ 0xc0000080, read_efer, NULL },
	{ 0xc0000103, read_tsc_aux, write_tsc_aux },
};

static const struct msr_row *find_msr(const struct vcpu *v)
{
	for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++)
		if (msrs[i].msr == (uint32_t)v->regs.gpr[REG_RCX])
			return &msrs[i];
	return NULL;
}

static int do_rdmsr(struct emu *e)
{
	const struct msr_row *m = find_msr(e->v);
	uint64_t x;

	if (!e->v->regs.kernel_mode || !m)
		return emu_gp(e);
	x = m->read(e->v);
	e->v->regs.gpr[REG_RAX] = (uint32_t)x;
	e->v->regs.gpr[REG_RDX] = x >> 32;
	return 0;
}

static int do_wrmsr(struct emu *e)
{
	uint64_t x = e->v->regs.gpr[REG_RDX] << 32 | (uint32_t)e->v->regs.gpr[REG_RAX];
	const struct msr_row *m = find_msr(e->v);

	if (!e->v->regs.kernel_mode || !m)
		return emu_gp(e);
	if (m->write)
		return m->write(e->v, x) ? emu_gp(e) : 0;
	return m->read(e->v) == x ? 0 : emu_gp(e);
}

emu_fn emu_msr_handler(const struct emu *e)
{
	return e->in.mnemonic == ZYDIS_MNEMONIC_RDMSR ? do_rdmsr :
	       e->in.mnemonic == ZYDIS_MNEMONIC_WRMSR ? do_wrmsr : NULL;
}
