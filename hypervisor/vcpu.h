/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu.h - the architectural state of one PV vCPU.
 *
 * struct cpu_regs is what travels in save and migration and what hypercalls see.  While translated code runs, the
 * general registers live in the host's registers and this structure is stale except where an engine says otherwise;
 * every return from engine_ops.run() has it complete.
 */
#ifndef HV_VCPU_H
#define HV_VCPU_H

#include "hypervisor/domain.h"
#include <xen/xen.h>
#include <xen/vcpu.h>

/*
 * <signal.h> of glibc has REG_* too, in another order, where _GNU_SOURCE is set.  It comes first, and ours take their place.
 */
#include <signal.h>
#ifdef REG_RAX
#undef REG_RAX
#define REG_RAX GPR_RAX
#undef REG_RCX
#define REG_RCX GPR_RCX
#undef REG_RDX
#define REG_RDX GPR_RDX
#undef REG_RBX
#define REG_RBX GPR_RBX
#undef REG_RSP
#define REG_RSP GPR_RSP
#undef REG_RBP
#define REG_RBP GPR_RBP
#undef REG_RSI
#define REG_RSI GPR_RSI
#undef REG_RDI
#define REG_RDI GPR_RDI
#undef REG_R8
#define REG_R8 GPR_R8
#undef REG_R9
#define REG_R9 GPR_R9
#undef REG_R10
#define REG_R10 GPR_R10
#undef REG_R11
#define REG_R11 GPR_R11
#undef REG_R12
#define REG_R12 GPR_R12
#undef REG_R13
#define REG_R13 GPR_R13
#undef REG_R14
#define REG_R14 GPR_R14
#undef REG_R15
#define REG_R15 GPR_R15
#endif

enum { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
       REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, NR_GPR };   /* hardware encoding order */

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, NR_SEG };                         /* hardware encoding order */

struct cpu_regs {
	uint64_t gpr[NR_GPR];
	uint64_t rip;
	uint64_t rflags;             /* IF as the guest sees it is !evtchn_upcall_mask: not kept here; IOPL kept in vcpu.iopl */
	uint64_t fs_base;
	uint64_t gs_base;            /* active base */
	uint64_t gs_base_other;      /* the one swapgs would bring in: user's while the kernel runs, and back */
	uint16_t sel[NR_SEG];
	uint8_t kernel_mode;         /* 1: guest kernel (kernel CR3 in force), 0: guest user */
	uint8_t code32;              /* 1: CS is a 32-bit compatibility segment (user mode only) */
};

/* set_trap_table entries, decoded. */
struct trap_entry { uint64_t address; uint16_t cs; uint8_t dpl; uint8_t mask_events; };

enum vcpu_run_state { VCPU_DOWN, VCPU_RUNNABLE, VCPU_BLOCKED, VCPU_POLLING };

/*
 * What an exception carries.  error_code is meaningful for vectors that have one (vector_has_error_code); software is the
 * length of the instruction that asked for it (int n, int3, into), else 0.
 */
struct guest_exception { uint8_t vector; uint8_t software; uint32_t error_code; uint64_t cr2; };

#define XSAVE_AREA_SIZE 4096         /* AVX-512 needs 2696; checked against CPUID.0D at start */

struct vcpu {
	struct cpu_regs regs;        /* translated code keeps its registers here (engine_ops.vcpu_alloc) */
	struct domain *d;
	unsigned id;

	/* MMU */
	uint64_t cr3_kernel;         /* mfn of the L4 in force in kernel mode */
	uint64_t cr3_user;           /* mfn of the L4 in force in user mode; 0: none */
	uint64_t cr0_ts;             /* CR0.TS as fpu_taskswitch set it */
	uint64_t cr4;
	uint64_t xcr0;
	uint64_t dr[8];
	uint64_t msr_pat, msr_tsc_aux;

	/* PV CPU: segments, traps, callbacks (abi/) */
	uint64_t gdt_mfn[16]; unsigned gdt_ents;
	uint64_t ldt_base; unsigned ldt_ents;
	uint64_t kernel_sp; uint16_t kernel_ss;
	struct trap_entry trap[256];
	uint64_t cb_event, cb_failsafe, cb_syscall, cb_syscall32, cb_sysenter, cb_nmi;
	uint8_t cb_failsafe_mask, cb_syscall_mask, cb_syscall32_mask, cb_sysenter_mask;
	uint8_t iopl;
	uint64_t iobmp_va; uint32_t iobmp_ports;      /* PHYSDEVOP_set_iobitmap: where the kernel keeps it, ports it covers */
	_Atomic uint8_t nmi_pending;

	/* shared info, time, runstate: frame and offset, so that they travel; host pointers are derived */
	struct vcpu_info *info;                       /* never NULL: inside shared_info until registered elsewhere */
	uint64_t info_mfn; unsigned info_offset;
	uint64_t runstate_va, time_va;                /* guest virtual addresses registered, 0: none */
	uint32_t time_generation;                     /* domain.clock.generation the guest was told */
	struct vcpu_runstate_info runstate;           /* the hypervisor's own copy */
	uint64_t singleshot_ns;                       /* system time of the one-shot timer, 0: off */
	uint64_t periodic_ns, periodic_next_ns;

	_Atomic int run_state;                        /* enum vcpu_run_state */
	uint8_t initialised;                          /* has a context: start of day, VCPUOP_initialise or an image */
	uint64_t poll_until_ns; uint32_t poll_port;   /* while VCPU_POLLING */

	struct guest_exception exc;                   /* filled by whoever reports EXIT_EXCEPTION */

	/* The thread that runs it (vcpu_thread.c) */
	pthread_t thread; int tid;
	atomic_bool kick;                             /* leave the engine at the next chance */
	atomic_bool pause_requested;
	atomic_bool exit_requested;                   /* the thread is to end */
	atomic_bool in_guest;                         /* between entry to and exit from engine run() */
	uint64_t nap_ns;                              /* what a throttled vCPU has still to lose */
	struct vcpu_thread *th;                       /* vcpu_thread.c */

	void *engine_private;                         /* struct bt_vcpu */
	void *emu_private;                            /* struct emu_thunks */
	uint8_t xsave[XSAVE_AREA_SIZE] __attribute__((aligned(64)));
};

/* The guest's "interrupts enabled" is the complement of this byte in its vcpu_info. */
static inline uint8_t vcpu_upcall_mask(const struct vcpu *v) { return v->info->evtchn_upcall_mask; }

static inline uint64_t vcpu_cr3(const struct vcpu *v) { return v->regs.kernel_mode ? v->cr3_kernel : v->cr3_user; }

static inline int vector_has_error_code(unsigned vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

#endif
