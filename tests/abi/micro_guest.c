/* SPDX-License-Identifier: GPL-2.0-or-later */
/* micro_guest.c - see micro_guest.h */
#include <stdarg.h>

#include "micro_guest.h"
#include <xen/callback.h>

struct start_info *si;
struct shared_info *shared;
uint64_t *const m2p = (uint64_t *)0xffff800000000000UL;
uint64_t boot_stack_top;
uint8_t *kernel_stack_top;
bool (*trap_hook)(struct trap_regs *r);
void (*event_hook)(uint32_t port);
volatile struct trapped trapped;
volatile uint64_t trap_fixup;
volatile unsigned upcalls;

static uint8_t *free_page, *free_end;
static uint8_t kernel_stack[8192] __attribute__((aligned(16)));
static uint8_t shared_window[4096] __attribute__((aligned(4096)));

void guest_start(struct start_info *info);
void guest_trap(struct trap_regs *r);

/* ---- output ---- */

static char line[512];
static size_t line_len;

static void put_char(char c)
{
	if (line_len < sizeof(line))
		line[line_len++] = c;
}

static void put_number(uint64_t n, unsigned base)
{
	char digits[24];
	unsigned i = 0;

	do
		digits[i++] = "0123456789abcdef"[n % base];
	while (n /= base);
	while (i)
		put_char(digits[--i]);
}

static void put_signed(int64_t n)
{
	if (n < 0)
		put_char('-');
	put_number(n < 0 ? -(uint64_t)n : (uint64_t)n, 10);
}

static void vput(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		bool wide = false;

		if (*fmt != '%') {
			put_char(*fmt);
			continue;
		}
		if (*++fmt == 'l') {
			wide = true;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put_char(*s);
			break;
		case 'c':
			put_char((char)va_arg(ap, int));
			break;
		case 'u':
			put_number(wide ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 10);
			break;
		case 'x':
			put_number(wide ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 16);
			break;
		case 'd':
			put_signed(wide ? va_arg(ap, int64_t) : va_arg(ap, int));
			break;
		default:
			put_char('?');
		}
	}
}

static void flush_line(void)
{
	hypercall(console_io, CONSOLEIO_write, line_len, line, 0);
	line_len = 0;
}

void put(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vput(fmt, ap);
	va_end(ap);
	flush_line();
}

static void __attribute__((noreturn)) power_off(void)
{
	struct sched_shutdown s = { .reason = SHUTDOWN_poweroff };

	for (;;)
		sched_op(SCHEDOP_shutdown, &s);
}

void fail(const char *fmt, ...)
{
	va_list ap;

	line_len = 0;
	va_start(ap, fmt);
	for (const char *s = "FAIL "; *s; s++)
		put_char(*s);
	for (const char *s = guest_name; *s; s++)
		put_char(*s);
	put_char(':');
	put_char(' ');
	vput(fmt, ap);
	va_end(ap);
	put_char('\n');
	flush_line();
	power_off();
}

void pass(void)
{
	put("PASS %s\n", guest_name);
	power_off();
}

/* ---- traps and events ---- */

static void scan_events(void)
{
	struct vcpu_info *info = vcpu_info(0);

	upcalls++;
	while (__atomic_exchange_n(&info->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST)) {
		uint64_t sel = __atomic_exchange_n(&info->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);

		for (; sel; sel &= sel - 1) {
			unsigned w = (unsigned)__builtin_ctzl(sel);
			uint64_t bits = shared->evtchn_pending[w] & ~shared->evtchn_mask[w];

			for (; bits; bits &= bits - 1) {
				unsigned b = (unsigned)__builtin_ctzl(bits);

				__atomic_fetch_and(&shared->evtchn_pending[w], ~(1UL << b), __ATOMIC_SEQ_CST);
				if (event_hook)
					event_hook(w * 64 + b);
			}
		}
	}
}

void guest_trap(struct trap_regs *r)
{
	if (trap_hook && trap_hook(r))
		return;
	if (r->vector == TRAP_EVENT) {
		scan_events();
		return;
	}
	trapped.vector = (int)r->vector;
	trapped.error = r->error;
	trapped.cr2 = vcpu_info(0)->arch.cr2;
	trapped.rip = r->rip;
	trapped.cs = r->cs & 0xffff;
	trapped.mask = (uint8_t)(r->cs >> 32);
	trapped.rflags = r->rflags;
	trapped.rsp = r->rsp;
	if (!trap_fixup)
		fail("unexpected trap %lu, error %lx, at rip %lx, cr2 %lx, rsp %lx", r->vector, r->error, r->rip, trapped.cr2, r->rsp);
	r->rip = trap_fixup;
	r->rflags &= ~0x400UL;
}

void set_trap(unsigned vector, unsigned flags, uint64_t address)
{
	struct trap_info t[2] = { { .vector = (uint8_t)vector, .flags = (uint8_t)flags, .cs = FLAT_KERNEL_CS, .address = address } };

	if (hypercall(set_trap_table, t, 0, 0, 0))
		fail("set_trap_table of vector %u failed", vector);
}

void set_callback(unsigned type, unsigned flags, uint64_t address)
{
	struct callback_register c = { .type = (uint16_t)type, .flags = (uint16_t)flags, .address = address };

	if (hypercall(callback_op, CALLBACKOP_register, &c, 0, 0))
		fail("callback_op register %u failed", type);
}

uint32_t bind_ipi(unsigned cpu)
{
	struct evtchn_bind_ipi b = { .vcpu = cpu };

	if (evtchn_op(EVTCHNOP_bind_ipi, &b))
		fail("bind_ipi on vCPU %u failed", cpu);
	return b.port;
}

uint32_t bind_virq(unsigned virq, unsigned cpu)
{
	struct evtchn_bind_virq b = { .virq = virq, .vcpu = cpu };

	if (evtchn_op(EVTCHNOP_bind_virq, &b))
		fail("bind_virq %u on vCPU %u failed", virq, cpu);
	return b.port;
}

long event_send(uint32_t port)
{
	struct evtchn_send s = { .port = port };

	return evtchn_op(EVTCHNOP_send, &s);
}

/* An unbound channel for ourselves says whom it is for. */
uint16_t domid_self(void)
{
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
	struct evtchn_status s = { .dom = DOMID_SELF };
	struct evtchn_close c;

	CHECK_EQ(evtchn_op(EVTCHNOP_alloc_unbound, &a), 0);
	s.port = c.port = a.port;
	CHECK_EQ(evtchn_op(EVTCHNOP_status, &s), 0);
	CHECK_EQ(evtchn_op(EVTCHNOP_close, &c), 0);
	return s.u.unbound.dom;
}

/* ---- time ---- */

uint64_t system_time(unsigned cpu)
{
	volatile struct vcpu_time_info *t = &vcpu_info(cpu)->time;
	uint32_t version;
	uint64_t delta, ns;

	do {
		version = t->version & ~1U;
		__asm__ volatile("" ::: "memory");
		delta = rdtsc() - t->tsc_timestamp;
		delta = t->tsc_shift < 0 ? delta >> -t->tsc_shift : delta << t->tsc_shift;
		ns = t->system_time + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
		__asm__ volatile("" ::: "memory");
	} while (version != t->version);
	return ns;
}

/* ---- memory ---- */

uint64_t va_to_mfn(const volatile void *p) { return ((uint64_t *)si->mfn_list)[va_to_pfn(p)]; }
void *mfn_to_va(uint64_t mfn) { return (void *)(VIRT_BASE + (m2p[mfn] << 12)); }

void *page_alloc(void)
{
	void *p = free_page;

	if (free_page + 4096 > free_end)
		fail("out of pages in the initial mapping");
	free_page += 4096;
	memset(p, 0, 4096);
	return p;
}

uint64_t *pte_of(uint64_t va)
{
	uint64_t *table = (uint64_t *)si->pt_base;

	for (unsigned shift = 39; shift > 12; shift -= 9) {
		uint64_t e = table[va >> shift & 511];

		if (!(e & P_PRESENT))
			return NULL;
		table = mfn_to_va((e & 0xffffffffff000UL) >> 12);
	}
	return &table[va >> 12 & 511];
}

void map_page(uint64_t va, uint64_t val)
{
	if (hypercall(update_va_mapping, va, val, UVMF_INVLPG | UVMF_ALL, 0))
		fail("update_va_mapping of %lx to %lx failed", va, val);
}

void make_readonly(void *page) { map_page((uint64_t)page, pte(va_to_mfn(page), P_RO)); }

uint64_t rnd(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15UL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

/* ---- user mode ---- */

struct trap_regs user;
uint16_t user_cs = FLAT_USER_CS64, user_ss = FLAT_USER_SS;
volatile struct trap_regs back;
bool (*user_trap_hook)(struct trap_regs *r);
static uint8_t *user_code;
static uint64_t kernel_sp;

void user_tables(bool writable_code)
{
	uint64_t *l4 = page_alloc(), *l3 = page_alloc(), *l2 = page_alloc(), *l1 = page_alloc(), *l1_stack = page_alloc();
	uint64_t *tables[] = { l4, l3, l2, l1, l1_stack };

	user_code = page_alloc();
	l1[0] = pte(va_to_mfn(user_code), writable_code ? P_KERNEL : P_RO);
	for (unsigned i = 0; i < 4; i++)
		l1[(USER_STACK >> 12 & 511) - 1 - i] = pte(va_to_mfn(page_alloc()), P_KERNEL);
	l2[USER_CODE >> 21] = pte(va_to_mfn(l1), P_KERNEL);
	l3[0] = pte(va_to_mfn(l2), P_KERNEL);
	l4[0] = pte(va_to_mfn(l3), P_KERNEL);
	for (unsigned i = 0; i < 5; i++)
		make_readonly(tables[i]);
	CHECK_EQ(mmuext(MMUEXT_PIN_L4_TABLE, va_to_mfn(l4), 0), 0);
	CHECK_EQ(mmuext(MMUEXT_NEW_USER_BASEPTR, va_to_mfn(l4), 0), 0);
}

/* Any trap from user mode ends the trip; events are taken on the way. */
static bool from_user(struct trap_regs *r)
{
	if (user_trap_hook)
		user_trap_hook(r);
	if ((r->cs & 3) != 3 || r->vector == TRAP_EVENT)
		return false;
	*(struct trap_regs *)(uintptr_t)&back = *r;
	__asm__ volatile("mov %0, %%rsp\n\tjmp back_in_kernel" : : "m"(kernel_sp));
	__builtin_unreachable();
}

void __attribute__((noinline)) run_user(const void *insns, size_t n)
{
	bool (*hook)(struct trap_regs *r) = trap_hook;

	memset(user_code, 0xcc, 4096);
	memcpy(user_code, insns, n);
	user.rip = USER_CODE;
	user.cs = user_cs;
	user.ss = user_ss;
	user.rsp = USER_STACK;
	user.rflags = 0x200;
	trap_hook = from_user;
	events_off();                           /* no frame may land on `user`, which is the stack on the way out */
	__asm__ volatile("push %%rbx\n\tpush %%rbp\n\tmov %%rsp, %0\n\tmov %1, %%rdi\n\tjmp enter_user\n"
			 "back_in_kernel:\n\tpop %%rbp\n\tpop %%rbx"
			 : "=m"(kernel_sp) : "r"(&user) : "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
			   "r11", "r12", "r13", "r14", "r15");
	events_off();
	trap_hook = hook;
}

/* ---- second vCPU ---- */

void vcpu1_start(void);
volatile uint8_t vcpu1_runs;	/* set by vcpu1_start */

void vcpu_start(unsigned cpu, void (*fn)(void))
{
	static struct vcpu_guest_context ctx;
	uint8_t *stack = page_alloc();
	uint64_t end;

	memset(&ctx, 0, sizeof(ctx));
	ctx.flags = VGCF_IN_KERNEL;
	ctx.user_regs.rip = (uint64_t)vcpu1_start;
	ctx.user_regs.rbx = (uint64_t)fn;
	ctx.user_regs.rsp = (uint64_t)stack + 4096 - 16;
	ctx.user_regs.cs = FLAT_KERNEL_CS;
	ctx.user_regs.ss = FLAT_KERNEL_SS;
	ctx.user_regs.rflags = 0x200;
	ctx.kernel_ss = FLAT_KERNEL_SS;
	ctx.kernel_sp = (uint64_t)page_alloc() + 4096;
	ctx.ctrlreg[3] = va_to_mfn((void *)si->pt_base) << 12;
	for (unsigned i = 0; i < 32; i++)
		ctx.trap_ctxt[i] = (struct trap_info){ .vector = (uint8_t)i, .cs = FLAT_KERNEL_CS, .address = trap_stubs[i] };
	ctx.event_callback_eip = trap_stub_event;
	ctx.failsafe_callback_eip = trap_stub_failsafe;
	CHECK_EQ(vcpu_op(VCPUOP_initialise, cpu, &ctx), 0);
	vcpu1_runs = 0;
	CHECK_EQ(vcpu_op(VCPUOP_up, cpu, NULL), 0);
	for (end = system_time(0) + 20000000000UL; !vcpu1_runs; )
		CHECK(system_time(0) < end);
}

/* ---- start ---- */

static void traps_install(void)
{
	for (unsigned i = 0; i < 32; i++)
		set_trap(i, i == 3 || i == 4 ? 3 : 0, trap_stubs[i]);
	set_trap(0x80, 3, trap_stub_80);
	set_callback(CALLBACKTYPE_event, 0, trap_stub_event);
	set_callback(CALLBACKTYPE_failsafe, 0, trap_stub_failsafe);
	set_callback(CALLBACKTYPE_syscall, CALLBACKF_mask_events, trap_stub_syscall);
	kernel_stack_top = kernel_stack + sizeof(kernel_stack);
	if (hypercall(stack_switch, FLAT_KERNEL_SS, kernel_stack_top, 0, 0))
		fail("stack_switch failed");
}

void guest_start(struct start_info *info)
{
	si = info;
	shared = (struct shared_info *)shared_window;
	if (hypercall(update_va_mapping, shared_window, si->shared_info | P_KERNEL, UVMF_INVLPG, 0))
		fail("cannot map shared info");
	/* The builder maps at least 512 KiB behind the boot stack, up to a multiple of 4 MiB. */
	free_page = (uint8_t *)((boot_stack_top + 4095) & ~4095UL);
	free_end = (uint8_t *)(((uint64_t)free_page + 0x80000 + 0x3fffff) & ~0x3fffffUL);
	if (va_to_pfn(free_end) > si->nr_pages)
		free_end = (uint8_t *)(VIRT_BASE + (si->nr_pages << 12));
	traps_install();
	guest_main();
	pass();
}
