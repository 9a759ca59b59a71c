/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * micro_guest.h - the library under the micro-guests: 64-bit PV kernels of a page or two, each of which checks one thing of
 * the ABI or the engine from the inside and prints "PASS name" or "FAIL name: why".
 *
 * A guest is one file with `const char guest_name[]` and `void guest_main(void)`; returning is passing.
 */
#ifndef TESTS_ABI_GUEST_H
#define TESTS_ABI_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/errno.h>

extern const char guest_name[];
void guest_main(void);

/* ---- what the hypervisor gave us ---- */

#define VIRT_BASE 0xffffffff80000000UL
extern struct start_info *si;
extern struct shared_info *shared;
extern uint64_t *const m2p;

static inline uint64_t va_to_pfn(const volatile void *p) { return ((uint64_t)p - VIRT_BASE) >> 12; }
uint64_t va_to_mfn(const volatile void *p);
void *mfn_to_va(uint64_t mfn);                         /* of frames in the initial mapping */
void *page_alloc(void);                                /* zeroed, in the initial mapping, for ever */

/* ---- output ---- */

void put(const char *fmt, ...) __attribute__((format(printf, 1, 2)));    /* %s %u %d %x %lx %lu %ld %c only */
void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void pass(void) __attribute__((noreturn));
#define CHECK(cond) do { if (!(cond)) fail("%s:%u: %s", __FILE__, __LINE__, #cond); } while (0)
#define CHECK_EQ(a, b) do { uint64_t a_ = (uint64_t)(a), b_ = (uint64_t)(b); if (a_ != b_) \
	fail("%s:%u: %s is %lx, not %lx", __FILE__, __LINE__, #a, a_, b_); } while (0)

/* ---- hypercalls ---- */

static inline long hypercall6(long nr, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6)
{
	register uint64_t r10 __asm__("r10") = a4, r8 __asm__("r8") = a5, r9 __asm__("r9") = a6;
	long rax = nr;

	__asm__ volatile("syscall" : "+a"(rax), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8), "+r"(r9)
			 : : "rcx", "r11", "memory", "cc");
	return rax;
}
#define hypercall(nr, a1, a2, a3, a4) hypercall6(__HYPERVISOR_ ## nr, (uint64_t)(a1), (uint64_t)(a2), (uint64_t)(a3), \
						 (uint64_t)(a4), 0, 0)
static inline long evtchn_op(int op, void *arg) { return hypercall(event_channel_op, op, arg, 0, 0); }
static inline long vcpu_op(int op, unsigned cpu, void *arg) { return hypercall(vcpu_op, op, cpu, arg, 0); }
static inline long sched_op(int op, void *arg) { return hypercall(sched_op, op, arg, 0, 0); }
static inline long mmuext(int cmd, uint64_t arg1, uint64_t arg2)
{
	struct mmuext_op op = { .cmd = (unsigned)cmd, .arg1.mfn = arg1, .arg2.src_mfn = arg2 };

	return hypercall(mmuext_op, &op, 1, 0, DOMID_SELF);
}
static inline long mmu_update(uint64_t ptr, uint64_t val)
{
	struct mmu_update u = { .ptr = ptr, .val = val };

	return hypercall(mmu_update, &u, 1, 0, DOMID_SELF);
}

/* ---- traps ---- */

struct trap_regs {
	uint64_t rdi, rsi, rdx, rcx, rax, r8, r9, r10, r11, rbx, rbp, r12, r13, r14, r15;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

enum { TRAP_EVENT = 256, TRAP_SYSCALL = 257, TRAP_FAILSAFE = 258, TRAP_SYSCALL32 = 259 };

/*
 * Called for every trap.  true: handled, go back to *r.  Without one, or when it says false: a trap inside TRY goes on
 * at its end with `trapped` filled, any other fails the guest.
 */
extern bool (*trap_hook)(struct trap_regs *r);
extern volatile struct trapped { int vector; uint64_t error, cr2, rip, cs, rflags, rsp; uint8_t mask; } trapped;
extern volatile uint64_t trap_fixup;

/* Run one asm text; trapped.vector is -1 afterwards when nothing trapped. */
#define TRY(text, ...) do { trapped.vector = -1; __asm__ volatile("lea 1f(%%rip), %%r11\n\tmov %%r11, trap_fixup(%%rip)\n\t" \
	text "\n1:\tmovq $0, trap_fixup(%%rip)" __VA_ARGS__); } while (0)

/* The same for a text that moves the stack pointer: it is put back.  Clobbers rbx. */
#define TRY_STACK(text, ...) do { trapped.vector = -1; __asm__ volatile("mov %%rsp, %%rbx\n\tlea 1f(%%rip), %%r11\n\t" \
	"mov %%r11, trap_fixup(%%rip)\n\t" text "\n1:\tmov %%rbx, %%rsp\n\tmovq $0, trap_fixup(%%rip)" __VA_ARGS__); } while (0)

extern const uint64_t trap_stubs[32], trap_stub_80, trap_stub_event, trap_stub_syscall, trap_stub_failsafe, trap_stub_syscall32;
void enter_user(struct trap_regs *r) __attribute__((noreturn));
void set_trap(unsigned vector, unsigned flags, uint64_t address);
void set_callback(unsigned type, unsigned flags, uint64_t address);
extern uint8_t *kernel_stack_top;

/* ---- events ---- */

static inline struct vcpu_info *vcpu_info(unsigned cpu) { return &shared->vcpu_info[cpu]; }
static inline void events_on(void) { *(volatile uint8_t *)&vcpu_info(0)->evtchn_upcall_mask = 0; __asm__ volatile("" ::: "memory"); }
static inline void events_off(void) { *(volatile uint8_t *)&vcpu_info(0)->evtchn_upcall_mask = 1; __asm__ volatile("" ::: "memory"); }
/* What Linux does after unmasking: any hypercall delivers what is pending. */
static inline void events_deliver(void) { hypercall(xen_version, 0, 0, 0, 0); }
extern void (*event_hook)(uint32_t port);              /* per pending port of the 2-level ABI, from the upcall */
extern volatile unsigned upcalls;
uint32_t bind_ipi(unsigned cpu);
uint32_t bind_virq(unsigned virq, unsigned cpu);
long event_send(uint32_t port);
uint16_t domid_self(void);                             /* our number, as the hypervisor knows it */

/* ---- time ---- */

uint64_t system_time(unsigned cpu);                    /* ns, from vcpu_time_info */
static inline uint64_t rdtsc(void)
{
	uint32_t a, d;

	__asm__ volatile("rdtsc" : "=a"(a), "=d"(d));
	return (uint64_t)d << 32 | a;
}

/* ---- memory ---- */

#define P_PRESENT 1UL
#define P_RW 2UL
#define P_USER 4UL
#define P_A 0x20UL
#define P_D 0x40UL
#define P_KERNEL (P_PRESENT | P_RW | P_A | P_D | P_USER)
#define P_RO (P_PRESENT | P_A | P_USER)
static inline uint64_t pte(uint64_t mfn, uint64_t flags) { return mfn << 12 | flags; }
uint64_t *pte_of(uint64_t va);                         /* L1 entry in the initial tables, read-only mapped; NULL: none */
void map_page(uint64_t va, uint64_t val);              /* update_va_mapping with a flush of the page; fails the guest */
/* A fresh L4 like ours in the kernel half, read-only mapped and pinned; user: with code and stack pages below 1 MiB. */
void make_readonly(void *page);

static inline void *memset(void *p, int c, size_t n)
{
	void *d = p;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return p;
}

static inline void *memcpy(void *p, const void *q, size_t n)
{
	void *d = p;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(q), "+c"(n) : : "memory");
	return p;
}

/* xorshift, seeded: every run is the same run */
uint64_t rnd(void);

/*
 * User mode: tables with one code page (writable too when asked) and four stack pages, nothing else.  run_user runs n
 * bytes of code from registers `user` until a trap that is no event; `back` has the registers then.
 */
#define USER_CODE 0x400000UL
#define USER_STACK 0x500000UL           /* top */
extern struct trap_regs user;
extern uint16_t user_cs, user_ss;        /* of run_user: flat 64-bit unless set otherwise */
extern volatile struct trap_regs back;
extern bool (*user_trap_hook)(struct trap_regs *r);      /* sees every trap of run_user first, may change *r */
void user_tables(bool writable_code);
void run_user(const void *insns, size_t n);

/* Second vCPU: runs fn on a stack of its own with our tables.  It has no vcpu_info of its own beyond shared info. */
void vcpu_start(unsigned cpu, void (*fn)(void));

#endif
