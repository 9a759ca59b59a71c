/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_privop.c - privileged instructions as Xen shows them to PV guests, page-table writes through the emulator,
 * interruptible string instructions, CPUID, and noise: random bytes as kernel code with random page tables.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cpuid.h>

#include "hypervisor/abi/abi.h"
#include "hypervisor/engine/bt/cpuid.h"
#include "hypervisor/engine/bt/emulate.h"
#include "hypervisor/engine/bt/emulate_fpstate.h"
#include "tests/unit/guest_mem.h"
#include "tests/unit/native_run.h"

/* ---- neighbours of the emulator ---- */

static uint64_t invlpg_va;
static bool events;

void bt_frame_written(struct domain *d, uint64_t mfn, unsigned off, unsigned len)
{
	assert_true(off < 4096 && len <= 4096 - off);
	domain_mark_dirty(d, mfn);
}

void bt_split_begin(struct vcpu *v) { }
void bt_split_end(struct vcpu *v) { }
void bt_invlpg_local(struct vcpu *v, uint64_t va) { invlpg_va = va; }
int pv_iret_user32_cs(struct vcpu *v, uint16_t sel) { return sel == FLAT_RING3_CS32; }
bool pv_events_deliverable(const struct vcpu *v) { return events; }

bool pv_ports_in_bitmap(struct vcpu *v, uint16_t port, unsigned bytes) { return false; }

int debugreg_set(struct vcpu *v, unsigned reg, uint64_t val)
{
	v->dr[reg] = val;
	return 0;
}

int pv_load_segment(struct vcpu *v, unsigned seg, uint16_t sel)
{
	if (sel == 0x1238)
		return mmu_raise(v, VEC_GP, sel);
	v->regs.sel[seg] = sel;
	return 0;
}

static unsigned cr3_calls;
static void cr3_changed(struct vcpu *v, bool kernel) { cr3_calls++; }
static const struct engine_ops fake_engine = { .name = "fake", .cr3_changed = cr3_changed };

#define CODE CODE_VA
#define DATA DATA_VA

static struct gm *g;
static struct vcpu_info info;
static uint64_t code_mfn, data_mfn;

static int setup(void **state)
{
	g = gm_new();
	g->v->info = &info;
	g->d.engine = &fake_engine;
	memset(&info, 0, sizeof(info));
	code_mfn = gm_alloc(g);
	data_mfn = gm_alloc(g);
	gm_map(g, CODE, code_mfn, PTE_P);
	gm_map(g, DATA, data_mfn, PTE_P | PTE_RW);
	assert_int_equal(emu_vcpu_init(g->v), 0);
	assert_int_equal(native_setup(), 0);
	return 0;
}

static int teardown(void **state)
{
	native_teardown();
	emu_vcpu_destroy(g->v);
	gm_free(g);
	return 0;
}

static int step(const void *insn, size_t n)
{
	uint8_t *code = domain_frame(&g->d, code_mfn);

	memset(code, 0xcc, 64);
	memcpy(code, insn, n);
	g->v->regs.rip = CODE;
	memset(&g->v->exc, 0, sizeof(g->v->exc));
	return emu_step(g->v);
}

#define STEP(...) step((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void expect_gp(int how)
{
	assert_int_equal(how, EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, VEC_GP);
	assert_int_equal(g->v->exc.error_code, 0);
	assert_int_equal(g->v->regs.rip, CODE);
}

static void expect_ud(int how)
{
	assert_int_equal(how, EXIT_EXCEPTION);
	assert_int_equal(g->v->exc.vector, VEC_UD);
	assert_int_equal(g->v->regs.rip, CODE);
}

/* What guest user code gets for privileged instructions, whatever the kernel would get. */
static void user_mode_faults(void **state)
{
	static const uint8_t insn[][4] = {
		{ 0x0f, 0x20, 0xc0 }, { 0x0f, 0x22, 0xe0 }, { 0x0f, 0x21, 0xf8 }, { 0x0f, 0x06 }, { 0xf4 }, { 0x0f, 0x32 },
		{ 0x0f, 0x30 }, { 0x0f, 0x01, 0x38 }, { 0x0f, 0x09 }, { 0x0f, 0x08 }, { 0xfa }, { 0xfb }, { 0xec }, { 0xee },
		{ 0x0f, 0x01, 0x10 }, { 0x0f, 0x01, 0x18 }, { 0x0f, 0x00, 0xd0 }, { 0x0f, 0x00, 0xd8 }, { 0x0f, 0x01, 0xf0 },
		{ 0x0f, 0x01, 0xf8 }, { 0x48, 0x0f, 0x07 }, { 0x0f, 0x33 }, { 0x0f, 0x01, 0xd1 }, { 0x6c }, { 0x6e },
	};

	g->v->regs.kernel_mode = 0;
	g->v->regs.gpr[REG_RAX] = DATA;
	for (size_t i = 0; i < sizeof(insn) / sizeof(insn[0]); i++)
		expect_gp(step(insn[i], sizeof(insn[i])));
	expect_ud(STEP(0x0f, 0x01, 0xc1));              /* vmcall */
	expect_ud(STEP(0x0f, 0x01, 0xc9));              /* mwait */
	expect_ud(STEP(0x0f, 0x01, 0xcb));              /* stac */
	expect_ud(STEP(0xf3, 0x48, 0x0f, 0xae, 0xc0));  /* rdfsbase without CR4.FSGSBASE */
	expect_ud(STEP(0x0f, 0x0b));
}

static void control_registers(void **state)
{
	struct vcpu *v = g->v;

	v->cr0_ts = 1;
	info.arch.cr2 = 0x1234;
	assert_int_equal(STEP(0x0f, 0x20, 0xc0), EMU_DONE);     /* mov %cr0, %rax */
	assert_int_equal(v->regs.gpr[REG_RAX], 0x8005003b);
	assert_int_equal(v->regs.rip, CODE + 3);
	assert_int_equal(STEP(0x0f, 0x06), EMU_DONE);           /* clts */
	assert_int_equal(v->cr0_ts, 0);
	assert_int_equal(STEP(0x0f, 0x22, 0xc0), EMU_DONE);     /* mov %rax, %cr0: TS */
	assert_int_equal(v->cr0_ts, 1);
	assert_int_equal(STEP(0x0f, 0x28, 0xc1), EXIT_EXCEPTION);   /* movaps with TS */
	assert_int_equal(v->exc.vector, VEC_NM);
	v->cr0_ts = 0;
	v->regs.gpr[REG_RAX] = 0x80050033 & ~1UL;
	expect_gp(STEP(0x0f, 0x22, 0xc0));
	assert_int_equal(STEP(0x0f, 0x20, 0xd3), EMU_DONE);     /* mov %cr2, %rbx */
	assert_int_equal(v->regs.gpr[REG_RBX], 0x1234);
	assert_int_equal(STEP(0x0f, 0x20, 0xd9), EMU_DONE);     /* mov %cr3, %rcx */
	assert_int_equal(v->regs.gpr[REG_RCX], GM_L4 << 12);
	v->regs.gpr[REG_RAX] = -1UL;
	assert_int_equal(STEP(0x0f, 0x22, 0xe0), EMU_DONE);     /* cr4: what is the guest's choice, and no more */
	assert_int_equal(STEP(0x0f, 0x20, 0xe0), EMU_DONE);
	assert_int_equal(v->regs.gpr[REG_RAX], 1UL << 2 | 1UL << 3 | 1UL << 5 | 1UL << 9 | 1UL << 10 | 1UL << 18);
	/* cr3 takes a frame in use as a top-level table, and nothing else */
	v->regs.gpr[REG_RAX] = data_mfn << 12;
	expect_gp(STEP(0x0f, 0x22, 0xd8));
	g->d.pt_type[data_mfn] = 3;
	expect_gp(STEP(0x0f, 0x22, 0xd8));
	v->regs.gpr[REG_RAX] = 1UL << 50;
	expect_gp(STEP(0x0f, 0x22, 0xd8));
	g->d.pt_type[GM_L4] = 4;
	v->regs.gpr[REG_RAX] = GM_L4 << 12;
	assert_int_equal(STEP(0x0f, 0x22, 0xd8), EMU_DONE);
	assert_int_equal(cr3_calls, 1);
	expect_ud(STEP(0x0f, 0x20, 0xc8));                      /* cr1 */
}

static void msrs(void **state)
{
	static const struct { uint32_t msr; bool read, write; } t[] = {
		{ 0xc0000100, true, true }, { 0xc0000101, true, true }, { 0xc0000102, true, true },
		{ 0xc0000103, true, true }, { 0xc0000080, true, false }, { 0x277, true, false }, { 0x1b, true, false },
		{ 0xc0000082, false, false }, { 0x40000000, false, false }, { 0x10a, true, false }, { 0x174, false, false },
		{ 0x3a, false, false }, { 0xffffffff, false, false },
	};
	struct vcpu *v = g->v;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t was;
		int how;

		v->regs.gpr[REG_RCX] = 0xdead00000000 | t[i].msr;
		how = STEP(0x0f, 0x32);
		assert_int_equal(how, t[i].read ? EMU_DONE : EXIT_EXCEPTION);
		if (!t[i].read)
			continue;
		was = v->regs.gpr[REG_RDX] << 32 | v->regs.gpr[REG_RAX];
		assert_int_equal(STEP(0x0f, 0x30), t[i].msr == 0x10 ? EXIT_EXCEPTION : EMU_DONE);   /* the same value */
		v->regs.gpr[REG_RAX] = 0x1000 ^ was;
		how = STEP(0x0f, 0x30);
		assert_int_equal(how, t[i].write ? EMU_DONE : EXIT_EXCEPTION);
	}
	v->regs.gpr[REG_RCX] = 0xc0000101;
	v->regs.gpr[REG_RDX] = 0xffff8880;
	v->regs.gpr[REG_RAX] = 0x12345000;
	assert_int_equal(STEP(0x0f, 0x30), EMU_DONE);
	assert_int_equal(v->regs.gs_base, 0xffff888012345000);
	v->regs.gpr[REG_RDX] = 0x80000000;                      /* not canonical */
	expect_gp(STEP(0x0f, 0x30));
	assert_int_equal(v->regs.gs_base, 0xffff888012345000);
	v->regs.gpr[REG_RCX] = 0x277;
	assert_int_equal(STEP(0x0f, 0x32), EMU_DONE);
	assert_int_equal(v->regs.gpr[REG_RDX] << 32 | v->regs.gpr[REG_RAX], 0x050100070406);
}

static void ports_and_flags(void **state)
{
	struct vcpu *v = g->v;

	expect_gp(STEP(0xec));                                  /* iopl 0: a PV kernel is ring 1 */
	v->iopl = 1;
	v->regs.gpr[REG_RAX] = 0;
	assert_int_equal(STEP(0xec), EMU_DONE);
	assert_int_equal(v->regs.gpr[REG_RAX], 0xff);
	assert_int_equal(STEP(0xed), EMU_DONE);
	assert_int_equal(v->regs.gpr[REG_RAX], 0xffffffff);
	assert_int_equal(STEP(0xe6, 0x80), EMU_DONE);
	v->iopl = 0;
	g->d.vm_assist = 1UL << VMASST_TYPE_architectural_iopl;
	assert_int_equal(STEP(0xec), EMU_DONE);
	info.evtchn_upcall_mask = 1;
	assert_int_equal(STEP(0xfa), EMU_DONE);                 /* cli, sti: nothing */
	assert_int_equal(STEP(0xfb), EMU_DONE);
	assert_int_equal(info.evtchn_upcall_mask, 1);
	/* hlt blocks with events on */
	assert_int_equal(STEP(0xf4), EXIT_KICK);
	assert_int_equal(v->regs.rip, CODE + 1);
	assert_int_equal(info.evtchn_upcall_mask, 0);
	assert_int_equal(v->run_state, VCPU_BLOCKED);
	events = true;
	assert_int_equal(STEP(0xf4), EXIT_KICK);
	assert_int_equal(v->run_state, VCPU_RUNNABLE);
	events = false;
	/* the pushed flags show IF, and neither IOPL nor VM nor RF */
	v->regs.gpr[REG_RSP] = DATA + 512;
	v->regs.rflags = 0x3 | FL_RF | FL_IOPL;
	assert_int_equal(STEP(0x9c), EMU_DONE);
	assert_int_equal(*(uint64_t *)((uint8_t *)domain_frame(&g->d, data_mfn) + 504), 0x203);
}

static void software_interrupts(void **state)
{
	struct vcpu *v = g->v;

	assert_int_equal(STEP(0xcd, 0x80), EXIT_EXCEPTION);
	assert_int_equal(v->exc.vector, 0x80);
	assert_int_equal(v->exc.software, 2);
	assert_int_equal(v->regs.rip, CODE + 2);
	assert_int_equal(STEP(0xcc), EXIT_EXCEPTION);
	assert_int_equal(v->exc.vector, VEC_BP);
	assert_int_equal(v->regs.rip, CODE + 1);
	assert_int_equal(STEP(0xcd, 0x82), EXIT_HYPERCALL);
	assert_int_equal(STEP(0x0f, 0x05), EXIT_HYPERCALL);
	assert_int_equal(v->regs.rip, CODE + 2);
	v->regs.kernel_mode = 0;
	assert_int_equal(STEP(0x0f, 0x05), EXIT_SYSCALL);
	v->regs.code32 = 1;
	assert_int_equal(STEP(0x0f, 0x05), EXIT_SYSCALL32);
	assert_int_equal(STEP(0x0f, 0x34), EXIT_SYSENTER);
	v->regs.code32 = 0;
	/* single step: the trap comes after the instruction */
	v->regs.rflags |= FL_TF;
	assert_int_equal(STEP(0x90), EXIT_EXCEPTION);
	assert_int_equal(v->exc.vector, VEC_DB);
	assert_int_equal(v->regs.rip, CODE + 1);
	assert_true(v->dr[6] & 0x4000);
}

static void page_table_stores(void **state)
{
	struct vcpu *v = g->v;
	uint64_t pt = gm_alloc(g), va = DATA + 0x5000, *e = domain_frame(&g->d, pt);

	gm_map(g, va, pt, PTE_P);
	v->regs.gpr[REG_RBX] = va + 8;
	v->regs.gpr[REG_RAX] = 0x1122334455667788;
	assert_int_equal(STEP(0x48, 0x89, 0x03), EXIT_EXCEPTION);       /* not a page table */
	assert_int_equal(v->exc.error_code, PFEC_P | PFEC_W);
	g->d.pt_type[pt] = 1;
	atomic_store(&g->d.dirty_logging, true);
	assert_int_equal(STEP(0x48, 0x89, 0x03), EMU_DONE);             /* mov %rax, (%rbx) */
	assert_int_equal(e[1], 0x1122334455667788);
	assert_true(g->d.dirty[pt / 64] >> (pt % 64) & 1);
	v->regs.gpr[REG_RCX] = 7;
	assert_int_equal(STEP(0xf0, 0x48, 0x0f, 0xb1, 0x0b), EMU_DONE); /* lock cmpxchg %rcx, (%rbx) */
	assert_int_equal(e[1], 7);
	assert_int_equal(STEP(0x48, 0x87, 0x03), EMU_DONE);             /* xchg */
	assert_int_equal(v->regs.gpr[REG_RAX], 7);
	assert_int_equal(STEP(0xf0, 0x48, 0x0f, 0xba, 0x2b, 0x3f), EMU_DONE);  /* lock bts $63 */
	assert_int_equal(e[1], 0x9122334455667788);
	assert_int_equal(STEP(0xf0, 0x81, 0x23, 0xff, 0x0f, 0, 0), EMU_DONE);  /* lock andl $0xfff */
	assert_int_equal(e[1], 0x9122334400000788);
	v->regs.kernel_mode = 0;
	assert_int_equal(STEP(0x48, 0x89, 0x03), EXIT_EXCEPTION);
	assert_int_equal(v->exc.error_code, PFEC_P | PFEC_W | PFEC_U);
}

/* A long rep comes back in between with registers that tell how far it is, and faults at the right element. */
static void string_progress(void **state)
{
	struct vcpu *v = g->v;
	uint64_t va = 0x40000000;
	unsigned steps = 0;

	for (unsigned i = 0; i < 100; i++)
		gm_map(g, va + i * 4096, gm_alloc(g), PTE_P | PTE_RW);
	v->regs.gpr[REG_RDI] = va;
	v->regs.gpr[REG_RCX] = 100 * 512 + 5;
	v->regs.gpr[REG_RAX] = -1UL;
	do {
		uint64_t left = v->regs.gpr[REG_RCX];
		int how = STEP(0xf3, 0x48, 0xab);               /* rep stosq */

		steps++;
		assert_int_equal(v->regs.gpr[REG_RDI], va + 8 * (100 * 512 + 5 - v->regs.gpr[REG_RCX]));
		if (how == EXIT_EXCEPTION)
			break;
		assert_int_equal(how, EMU_DONE);
		assert_int_equal(v->regs.rip, CODE);
		assert_true(v->regs.gpr[REG_RCX] < left);
	} while (steps < 1000);
	assert_in_range(steps, 2, 100);
	assert_int_equal(v->exc.vector, VEC_PF);
	assert_int_equal(v->exc.cr2, va + 100 * 4096);
	assert_int_equal(v->exc.error_code, PFEC_W);
	assert_int_equal(v->regs.gpr[REG_RCX], 5);
}

/* ---- cpuid ---- */

static void xen_prefix(void **state)
{
	struct vcpu *v = g->v;

	v->regs.gpr[REG_RAX] = 0x40000000;
	assert_int_equal(STEP(0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2), EMU_DONE);
	assert_int_equal(v->regs.rip, CODE + 7);
	assert_int_equal(v->regs.gpr[REG_RBX], 0x566e6558);
	assert_int_equal(v->regs.gpr[REG_RCX], 0x65584d4d);
	assert_int_equal(v->regs.gpr[REG_RDX], 0x4d4d566e);
	v->regs.gpr[REG_RAX] = 0x40000001;
	assert_int_equal(STEP(0x0f, 0xa2), EMU_DONE);
	assert_int_equal(v->regs.gpr[REG_RAX], 4 << 16 | 17);
	expect_ud(STEP(0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa3));
}

static void cpuid_leaves(void **state)
{
	struct vcpu *v = g->v;
	uint32_t r[4], h[4], f[4];

	g->d.nr_vcpus = 3;
	v->id = 2;
	cpuid_guest(v, 1, 0, r);
	__cpuid(1, h[0], h[1], h[2], h[3]);
	__cpuid_count(7, 0, f[0], f[1], f[2], f[3]);
	/* family, model, stepping: the host's, unless that is one for which programs expect AVX-512 */
	assert_int_equal(r[0], f[1] & 1U << 16 && (h[0] >> 8 & 0xf) == 6 ? 0x406f1 : h[0]);
	assert_int_equal(r[1] >> 24, 2);
	assert_int_equal(r[1] >> 16 & 0xff, 4);
	assert_int_equal(r[2] & (1U << 5 | 1U << 3 | 1U << 21 | 1U << 17 | 1U << 24), 0);  /* vmx monitor x2apic pcid deadline */
	assert_true(r[2] & 1U << 31);
	assert_int_equal(r[3] & (1U << 3 | 1U << 12 | 1U << 13), 0);                       /* pse mtrr pge */
	assert_int_equal(!!(r[2] & 1U << 27), !!(r[2] & 1U << 26));     /* OSXSAVE whatever CR4 says */
	cpuid_guest(v, 7, 0, r);
	assert_int_equal(r[1] & (1U << 16 | 1U << 7 | 1U << 20 | 1U << 0 | 1U << 11 | 1U << 4), 0);
	assert_int_equal(r[2] & (1U << 3 | 1U << 2), 0);                /* pku umip */
	v->xcr0 = 7;
	cpuid_guest(v, 0xd, 0, r);
	if (r[0] == 7)
		assert_int_equal(r[1], 832);
	cpuid_guest(v, 0xb, 1, r);
	assert_int_equal(r[0], 2);
	assert_int_equal(r[1], 3);
	assert_int_equal(r[3], 2);
	cpuid_guest(v, 0x80000008, 0, r);
	assert_in_range(r[0] & 0xff, 40, 52);
	cpuid_guest(v, 0x12345678, 0, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
	cpuid_guest(v, 0xa, 0, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
}

static void cpuid_edits_only_take_away(void **state)
{
	struct cpuid_policy host, p;

	cpuid_policy_host(&host);
	p = host;
	cpuid_policy_edit(&p, 1, 0, 2, 1U << 28, 0xffffffff);            /* no AVX; "set" everything else */
	assert_int_equal(p.word[CPUID_1_ECX] & ~host.word[CPUID_1_ECX], 0);
	assert_int_equal(p.word[CPUID_1_ECX] >> 28 & 1, 0);
	assert_int_equal(p.word[CPUID_7_EBX] >> 5 & 1, 0);               /* AVX2 goes with it */
	assert_int_equal(p.word[CPUID_1_EDX], host.word[CPUID_1_EDX]);
	cpuid_policy_edit(&p, 1, 0, 2, 1U << 26, 0);
	assert_int_equal(p.word[CPUID_D1_EAX], 0);
	cpuid_policy_edit(&p, 1, 0, 0, 0xf00, 0x600);
	assert_int_equal(p.model & 0xf00, 0x600);
	cpuid_policy_edit(&p, 0x12345, 0, 3, ~0U, ~0U);
	p.word[CPUID_1_ECX] = 0;
	cpuid_policy_settle(&p);
	assert_int_equal(p.word[CPUID_1_ECX], 1U << 31);                 /* "hypervisor" stays */
}

static void cpuid_policies(void **state)
{
	struct cpuid_policy host, small, both, back;
	uint8_t bytes[CPUID_POLICY_BYTES];
	const char *names[128];
	size_t n;

	cpuid_policy_host(&host);
	n = cpuid_policy_features(&host, names, 128);
	assert_in_range(n, 20, 128);
	small = host;
	assert_int_equal(cpuid_policy_set_feature(&small, "sse2", false), 0);
	assert_int_equal(cpuid_policy_set_feature(&small, "no-such", false), -ENOENT);
	assert_int_equal(cpuid_policy_features(&small, names, 1), n - 1);
	assert_null(cpuid_policy_missing(&small, &host));
	assert_string_equal(cpuid_policy_missing(&host, &small), "sse2");
	assert_int_equal(cpuid_policy_min(&host, &small, &both), 0);
	assert_memory_equal(&both, &small, sizeof(both));
	small.vendor[0] ^= 1;
	assert_int_equal(cpuid_policy_min(&host, &small, &both), -EINVAL);
	cpuid_policy_pack(&host, bytes);
	assert_int_equal(cpuid_policy_unpack(&back, bytes, sizeof(bytes)), 0);
	assert_memory_equal(&back, &host, sizeof(host));
	assert_int_equal(cpuid_policy_unpack(&back, bytes, sizeof(bytes) - 1), -EINVAL);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(cpuid_policy_unpack(&back, bytes, sizeof(bytes)), 0);
	assert_int_equal(back.word[CPUID_7_EBX] & 1U << 16, 0);         /* nobody promises AVX-512 */
}

/* ---- noise ---- */

static uint64_t rnd(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

/* Random code, registers and table entries: whatever happens, it is the guest's own, and the engine goes on. */
static void noise(void **state)
{
	struct vcpu *v = g->v;
	uint8_t *code = domain_frame(&g->d, code_mfn);
	unsigned how_many[EXIT_HALT + 2] = { 0 };

	assert_int_equal(native_signals(), 0);
	for (unsigned i = 0; i < 300000; i++) {
		int how;

		for (unsigned k = 0; k < 16; k++)
			code[k] = (uint8_t)rnd();
		if (i & 1)
			code[rnd() % 3] = (uint8_t[]){ 0x0f, 0xc4, 0xc5, 0x66, 0xf2, 0xf3, 0xf0, 0x62 }[rnd() % 8];
		for (unsigned k = 0; k < NR_GPR; k++)
			v->regs.gpr[k] = rnd() % 3 ? DATA + rnd() % 5000 : rnd();
		v->regs.rip = CODE + (rnd() % 64 ? 0 : rnd() % 4096);
		v->regs.kernel_mode = rnd() & 1;
		v->regs.code32 = !v->regs.kernel_mode && rnd() % 4 == 0;
		v->regs.rflags = rnd();
		v->cr0_ts = rnd() % 16 == 0;
		v->iopl = rnd() & 3;
		v->gdt_ents = (unsigned)(rnd() % 8192);
		v->gdt_mfn[rnd() % 16] = rnd() % 2 ? rnd() : data_mfn;
		v->ldt_ents = (unsigned)(rnd() % 8192);
		v->ldt_base = rnd() % 2 ? rnd() : DATA;
		if (rnd() % 8 == 0)
			*gm_slot(g, DATA + 4096, 1) = rnd();
		if (rnd() % 64 == 0)
			*gm_slot(g, DATA, 1) = data_mfn << 12 | PTE_P | (rnd() & PTE_RW);
		how = emu_step(v);
		assert_in_range(how + 1, 0, EXIT_HALT + 1);
		assert_int_not_equal(how, EXIT_HALT);
		how_many[how + 1]++;
		if (how == EXIT_EXCEPTION && !v->exc.software)
			assert_in_range(v->exc.vector, 0, 31);
		v->cr3_kernel = v->cr3_user = GM_L4;
		/* the code page and the way to it stay; data may have been stored anywhere the tables lead */
		gm_map(g, CODE, code_mfn, PTE_P);
	}
	assert_true(how_many[EMU_DONE + 1] > 10000 && how_many[EXIT_EXCEPTION + 1] > 10000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(user_mode_faults), T(control_registers), T(msrs), T(ports_and_flags), T(software_interrupts),
		T(page_table_stores), T(string_progress), T(xen_prefix), T(cpuid_leaves), T(cpuid_policies), T(cpuid_edits_only_take_away), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
