/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * privop.c - privileged and sensitive instructions as a PV guest may execute them.
 *
 * The guest's kernel is emulated what Xen emulates (xen/arch/x86/pv/emul-priv-op.c, emul-inv-op.c); everything else that
 * faults at CPL 3 is #GP(0), for guest user code always.
 */
#include <string.h>

#include "hypervisor/abi/abi.h"
#include "hypervisor/engine/bt/cpuid.h"
#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/privop.h"

static int do_privileged(struct emu *e) { return emu_gp(e); }

/* ---- control and debug registers ---- */

#define CR4_TSD (1UL << 2)
#define CR4_FSGSBASE (1UL << 16)
#define CR4_GUEST (CR4_TSD | 1UL << 3 /* DE */ | 1UL << 18 /* OSXSAVE */)   /* the guest's own choice */
#define CR4_FIXED (1UL << 5 /* PAE */ | 1UL << 9 /* OSFXSR */ | 1UL << 10 /* OSXMMEXCPT */)

static int read_cr(struct emu *e, ZydisRegister cr, uint64_t *x)
{
	struct vcpu *v = e->v;

	switch (cr) {
	case ZYDIS_REGISTER_CR0: *x = PV_CR0 | (v->cr0_ts ? CR0_TS : 0); return 0;
	case ZYDIS_REGISTER_CR2: *x = v->info ? v->info->arch.cr2 : 0; return 0;
	case ZYDIS_REGISTER_CR3: *x = v->cr3_kernel << PAGE_SHIFT_HV; return 0;
	case ZYDIS_REGISTER_CR4: *x = CR4_FIXED | (v->cr4 & CR4_GUEST); return 0;
	default: return emu_gp(e);
	}
}

static int write_cr3(struct emu *e, uint64_t x)
{
	struct vcpu *v = e->v;
	uint64_t mfn = (x & PTE_ADDR) >> PAGE_SHIFT_HV;

	/* as NEW_BASEPTR would: the frame must be a top-level table by now */
	if (mfn >= v->d->max_pages || !v->d->pt_type || v->d->pt_type[mfn] != 4)
		return emu_gp(e);
	v->cr3_kernel = mfn;
	v->d->engine->cr3_changed(v, true);
	return 0;
}

static int write_cr(struct emu *e, ZydisRegister cr, uint64_t x)
{
	struct vcpu *v = e->v;

	switch (cr) {
	case ZYDIS_REGISTER_CR0:
		if ((x ^ PV_CR0) & ~CR0_TS)
			return emu_gp(e);
		v->cr0_ts = !!(x & CR0_TS);
		return 0;
	case ZYDIS_REGISTER_CR2:
		if (v->info) {
			v->info->arch.cr2 = x;
			domain_mark_dirty(v->d, v->info_mfn);
		}
		return 0;
	case ZYDIS_REGISTER_CR3:
		return write_cr3(e, x);
	case ZYDIS_REGISTER_CR4:
		v->cr4 = CR4_FIXED | (x & CR4_GUEST);
		return 0;
	default:
		return emu_gp(e);
	}
}

/* DR4 and DR5 are the old names of DR6 and DR7; there are no more than eight. */
static int dr_number(unsigned n) { return n > 7 ? -1 : n == 4 || n == 5 ? (int)n + 2 : (int)n; }

static int read_dr(struct emu *e, unsigned n, uint64_t *x)
{
	int i = dr_number(n);

	if (i < 0)
		return emu_ud(e);
	*x = i == 6 ? (e->v->dr[6] & 0xe00f) | 0xffff0ff0 : i == 7 ? (e->v->dr[7] & 0xffff03ff) | 0x400 : e->v->dr[i];
	return 0;
}

static int write_dr(struct emu *e, unsigned n, uint64_t x)
{
	int i = dr_number(n);

	if (i < 0)
		return emu_ud(e);
	return debugreg_set(e->v, (unsigned)i, x) ? emu_gp(e) : 0;
}

static int do_mov_system(struct emu *e)
{
	ZydisRegister to = e->op[0].reg.value, from = e->op[1].reg.value;
	uint64_t x = 0;
	int rc;

	if (!e->v->regs.kernel_mode)
		return emu_gp(e);
	if (ZydisRegisterGetClass(to) == ZYDIS_REGCLASS_CONTROL)
		return write_cr(e, to, emu_reg_read(e, from));
	if (ZydisRegisterGetClass(to) == ZYDIS_REGCLASS_DEBUG)
		return write_dr(e, (unsigned)ZydisRegisterGetId(to) & 15, emu_reg_read(e, from));
	if (ZydisRegisterGetClass(from) == ZYDIS_REGCLASS_CONTROL)
		rc = read_cr(e, from, &x);
	else
		rc = read_dr(e, (unsigned)ZydisRegisterGetId(from) & 15, &x);
	if (rc == 0)
		emu_reg_write(e, to, x);
	return rc;
}

static int do_clts(struct emu *e)
{
	if (!e->v->regs.kernel_mode)
		return emu_gp(e);
	e->v->cr0_ts = 0;
	return 0;
}

/* ---- interrupts flag, idling ---- */

/* The virtual interrupt flag is vcpu_info's mask; the instructions themselves do nothing where I/O is allowed. */
static int do_cli_sti(struct emu *e)
{
	return e->v->regs.kernel_mode || priv_io_allowed(e->v) ? 0 : emu_gp(e);
}

/* hlt is SCHEDOP_block: events on, sleep unless one is waiting. */
static int do_hlt(struct emu *e)
{
	struct vcpu *v = e->v;

	if (!v->regs.kernel_mode)
		return emu_gp(e);
	v->info->evtchn_upcall_mask = 0;
	domain_mark_dirty(v->d, v->info_mfn);
	atomic_store(&v->run_state, VCPU_BLOCKED);
	if (pv_events_deliverable(v))
		atomic_store(&v->run_state, VCPU_RUNNABLE);
	return EMU_EXIT(EXIT_KICK);
}

/* ---- TLB, caches ---- */

static int do_invlpg(struct emu *e)
{
	if (!e->v->regs.kernel_mode)
		return emu_gp(e);
	bt_invlpg_local(e->v, emu_address(e, &e->op[0]));
	return 0;
}

/* The guest has no device that would see its caches. */
static int do_wbinvd(struct emu *e) { return e->v->regs.kernel_mode ? 0 : emu_gp(e); }

/* ---- ports: no device, so all ones ---- */

static bool port_allowed(struct emu *e, const ZydisDecodedOperand *port, const ZydisDecodedOperand *data)
{
	uint64_t p = port->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? port->imm.value.u : e->v->regs.gpr[REG_RDX];

	return priv_ports_allowed(e->v, p, data->size / 8);
}

static int do_in(struct emu *e)
{
	if (!port_allowed(e, &e->op[1], &e->op[0]))
		return emu_gp(e);
	emu_reg_write(e, e->op[0].reg.value, -1UL);
	return 0;
}

static int do_out(struct emu *e) { return port_allowed(e, &e->op[0], &e->op[1]) ? 0 : emu_gp(e); }

/* ---- time ---- */

uint64_t priv_guest_tsc(struct vcpu *v)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
	return domain_guest_tsc(v->d, (uint64_t)hi << 32 | lo);
}

static int do_rdtsc(struct emu *e)
{
	uint64_t t;

	if (!e->v->regs.kernel_mode && (e->v->cr4 & CR4_TSD))
		return emu_gp(e);
	t = priv_guest_tsc(e->v);
	e->v->regs.gpr[REG_RAX] = (uint32_t)t;
	e->v->regs.gpr[REG_RDX] = t >> 32;
	if (e->in.mnemonic == ZYDIS_MNEMONIC_RDTSCP)
		e->v->regs.gpr[REG_RCX] = (uint32_t)e->v->msr_tsc_aux;
	return 0;
}

/* ---- bases ---- */

static int do_fsgsbase(struct emu *e)
{
	bool fs = e->in.mnemonic == ZYDIS_MNEMONIC_RDFSBASE || e->in.mnemonic == ZYDIS_MNEMONIC_WRFSBASE;
	bool rd = e->in.mnemonic == ZYDIS_MNEMONIC_RDFSBASE || e->in.mnemonic == ZYDIS_MNEMONIC_RDGSBASE;
	uint64_t *base = fs ? &e->v->regs.fs_base : &e->v->regs.gs_base, x;

	if (e->code32 || !(e->v->cr4 & CR4_FSGSBASE))
		return emu_ud(e);
	if (rd) {
		emu_reg_write(e, e->op[0].reg.value, *base);
		return 0;
	}
	x = emu_reg_read(e, e->op[0].reg.value);
	if (!mmu_canonical(x))
		return emu_gp(e);
	*base = x;
	return 0;
}

/* ---- cpuid, plain and behind Xen's prefix ---- */

static void cpuid_regs(struct vcpu *v)
{
	uint32_t r[4];

	cpuid_guest(v, (uint32_t)v->regs.gpr[REG_RAX], (uint32_t)v->regs.gpr[REG_RCX], r);
	v->regs.gpr[REG_RAX] = r[0];
	v->regs.gpr[REG_RBX] = r[1];
	v->regs.gpr[REG_RCX] = r[2];
	v->regs.gpr[REG_RDX] = r[3];
}

static int do_cpuid(struct emu *e)
{
	cpuid_regs(e->v);
	return 0;
}

/* ud2, "xen", cpuid (xen/arch-x86/xen.h XEN_EMULATE_PREFIX); without what must follow it is an ordinary ud2. */
static int do_ud2(struct emu *e)
{
	static const uint8_t follow[5] = { 'x', 'e', 'n', 0x0f, 0xa2 };
	struct guest_exception none = { .vector = VEC_UD };
	uint8_t bytes[sizeof(follow)];
	struct mmu_span s;

	if (!mmu_span_map(e->v, e->next, sizeof(bytes), MMU_EXEC, 0, &s)) {
		mmu_span_read(&s, bytes);
		if (!memcmp(bytes, follow, sizeof(follow))) {
			cpuid_regs(e->v);
			e->next += sizeof(follow);
			return 0;
		}
	}
	e->v->exc = none;
	return -1;
}

static const struct { ZydisMnemonic m; emu_fn f; } rows[] = {
	{ ZYDIS_MNEMONIC_CPUID, do_cpuid }, { ZYDIS_MNEMONIC_UD2, do_ud2 },
	{ ZYDIS_MNEMONIC_CLTS, do_clts },
	{ ZYDIS_MNEMONIC_CLI, do_cli_sti }, { ZYDIS_MNEMONIC_STI, do_cli_sti },
	{ ZYDIS_MNEMONIC_HLT, do_hlt },
	{ ZYDIS_MNEMONIC_INVLPG, do_invlpg }, { ZYDIS_MNEMONIC_WBINVD, do_wbinvd },
	{ ZYDIS_MNEMONIC_IN, do_in }, { ZYDIS_MNEMONIC_OUT, do_out },
	{ ZYDIS_MNEMONIC_RDTSC, do_rdtsc }, { ZYDIS_MNEMONIC_RDTSCP, do_rdtsc },
	{ ZYDIS_MNEMONIC_RDFSBASE, do_fsgsbase }, { ZYDIS_MNEMONIC_RDGSBASE, do_fsgsbase },
	{ ZYDIS_MNEMONIC_WRFSBASE, do_fsgsbase }, { ZYDIS_MNEMONIC_WRGSBASE, do_fsgsbase },
	{ ZYDIS_MNEMONIC_RDPMC, do_privileged }, { ZYDIS_MNEMONIC_SWAPGS, do_privileged },
	{ ZYDIS_MNEMONIC_LGDT, do_privileged }, { ZYDIS_MNEMONIC_LIDT, do_privileged },
	{ ZYDIS_MNEMONIC_LLDT, do_privileged }, { ZYDIS_MNEMONIC_LTR, do_privileged },
	{ ZYDIS_MNEMONIC_LMSW, do_privileged }, { ZYDIS_MNEMONIC_INVD, do_privileged },
	{ ZYDIS_MNEMONIC_SYSRET, do_privileged }, { ZYDIS_MNEMONIC_SYSEXIT, do_privileged },
};

static bool is_system_register(const ZydisDecodedOperand *op)
{
	ZydisRegisterClass c;

	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	c = ZydisRegisterGetClass(op->reg.value);
	return c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG;
}

emu_fn emu_priv_handler(const struct emu *e)
{
	if (e->in.mnemonic == ZYDIS_MNEMONIC_MOV && (is_system_register(&e->op[0]) || is_system_register(&e->op[1])))
		return do_mov_system;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].m == e->in.mnemonic)
			return rows[i].f;
	return NULL;
}
