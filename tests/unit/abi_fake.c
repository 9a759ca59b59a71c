/* SPDX-License-Identifier: GPL-2.0-or-later */
/* abi_fake.c - see abi_fake.h */
#include <sys/mman.h>

#include "tests/unit/abi_fake.h"

struct fake_counters fake;
uint64_t fake_now, fake_real;
bool fake_tsc_stable;
uint64_t fake_tsc_khz = FAKE_TSC_KHZ, fake_tsc_ahead;

/* ---- what abi/ asks of the world ---- */

uint64_t abi_now_ns(void) { return fake_now; }
uint64_t abi_realtime_ns(void) { return fake_real; }
uint64_t abi_read_tsc(void) { return (uint64_t)((unsigned __int128)fake_now * fake_tsc_khz / 1000000) + fake_tsc_ahead; }

uint64_t abi_tsc_khz(bool *ret_stable)
{
	*ret_stable = fake_tsc_stable;
	return fake_tsc_khz;
}

void vcpu_wake(struct vcpu *v)
{
	fake.wakes[v->id]++;
	atomic_store(&v->kick, true);
}

void vcpu_yield(struct vcpu *v) { }

/* ---- engine ---- */

static int copy_check(struct vcpu *v, uint64_t va, size_t n, size_t *done)
{
	*done = 0;
	if (va > gva(v->d->max_pages) || n > gva(v->d->max_pages) - va)
		return -EFAULT;
	*done = n;
	return 0;
}

static int fake_copy_from(struct vcpu *v, void *dst, uint64_t va, size_t n, size_t *done)
{
	if (copy_check(v, va, n, done))
		return -EFAULT;
	memcpy(dst, hva(v->d, va), n);
	return 0;
}

static int fake_copy_to(struct vcpu *v, uint64_t va, const void *src, size_t n, size_t *done)
{
	if (copy_check(v, va, n, done))
		return -EFAULT;
	memcpy(hva(v->d, va), src, n);
	return 0;
}

static void fake_flush(struct vcpu *v) { fake.flushes++; }
static void fake_invlpg(struct vcpu *v, uint64_t va) { fake.invlpgs++; }
static void fake_shootdown(struct vcpu *self, uint64_t mask, uint64_t va, bool all) { fake.shootdowns++; }
static void fake_cr3(struct vcpu *v, bool kernel) { fake.cr3_changes++; }
static void fake_mode(struct vcpu *v) { fake.mode_changes++; }
static void fake_written(struct domain *d, uint64_t mfn) { fake.frames_written++; }
static void fake_kick(struct vcpu *v) { atomic_store(&v->kick, true); }

static const struct engine_ops fake_engine = {
	.name = "fake", .kick = fake_kick, .copy_from = fake_copy_from, .copy_to = fake_copy_to, .tlb_flush_local = fake_flush,
	.tlb_invlpg_local = fake_invlpg, .tlb_shootdown = fake_shootdown, .cr3_changed = fake_cr3, .mode_changed = fake_mode,
	.frame_written = fake_written,
};

/* ---- callbacks ---- */

static bool fake_notify(struct domain *d, uint32_t port)
{
	fake.backend_notifies++;
	fake.backend_port = port;
	return fake.backend_wants_turn;
}

static void fake_turn(struct domain *d)
{
	fake.backend_turns++;
	/* the hypercall's own lock is free by now */
	assert_int_equal(pthread_mutex_trylock(&d->lock), 0);
	pthread_mutex_unlock(&d->lock);
}

static void fake_console(struct domain *d, const char *s, size_t n)
{
	assert_true(fake.console_len + n <= sizeof(fake.console));
	memcpy(fake.console + fake.console_len, s, n);
	fake.console_len += n;
}

static void fake_shutdown(struct domain *d) { fake.shutdowns++; }
static void fake_log(struct domain *d, const char *msg) { snprintf(fake.log, sizeof(fake.log), "%s", msg); }

/* ---- life ---- */

struct domain *fake_domain(unsigned vcpus, uint64_t pages, uint64_t held)
{
	struct domain *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	memset(&fake, 0, sizeof(fake));
	fake_now = 5000000000UL;
	fake_real = 1700000000000000000UL;
	fake_tsc_stable = true;
	d->domid = 7;
	d->max_pages = pages;
	d->nr_special = SPECIAL_M2P + (pages * 8 + PAGE_SIZE_HV - 1) / PAGE_SIZE_HV;
	d->nr_vcpus = vcpus;
	d->ram_fd = -1;
	d->ram = mmap(NULL, domain_nr_frames(d) << PAGE_SHIFT_HV, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(d->ram, MAP_FAILED);
	d->populated = calloc((pages + 63) / 64, 8);
	d->dirty = calloc((domain_nr_frames(d) + 63) / 64, 8);
	d->pt_type = calloc(pages, 1);
	for (uint64_t i = 0; i < held; i++)
		d->populated[i / 64] |= 1UL << (i % 64);
	atomic_store(&d->tot_pages, held);
	pthread_mutex_init(&d->lock, NULL);
	d->engine = &fake_engine;
	d->evtchn_notify_backend = fake_notify;
	d->evtchn_backend_turn = fake_turn;
	d->console_write = fake_console;
	d->shutdown_notify = fake_shutdown;
	d->log = fake_log;
	assert_int_equal(abi_domain_init(d), 0);
	for (unsigned i = 0; i < vcpus; i++) {
		struct vcpu *v = aligned_alloc(64, (sizeof(*v) + 63) & ~63UL);

		memset(v, 0, sizeof(*v));
		v->d = d;
		v->id = i;
		d->vcpu[i] = v;
		abi_vcpu_init(v);
	}
	d->vcpu[0]->initialised = 1;
	d->vcpu[0]->cr3_kernel = 2;
	atomic_store(&d->vcpu[0]->run_state, VCPU_RUNNABLE);
	d->vcpu[0]->info->evtchn_upcall_mask = 0;
	return d;
}

void fake_free(struct domain *d)
{
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		free(d->vcpu[i]);
	abi_domain_destroy(d);
	munmap(d->ram, domain_nr_frames(d) << PAGE_SHIFT_HV);
	free(d->populated);
	free((void *)(uintptr_t)d->dirty);
	free(d->pt_type);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

int64_t hypercall(struct vcpu *v, uint64_t nr, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4)
{
	v->regs.gpr[REG_RAX] = nr;
	v->regs.gpr[REG_RDI] = a1;
	v->regs.gpr[REG_RSI] = a2;
	v->regs.gpr[REG_RDX] = a3;
	v->regs.gpr[REG_R10] = a4;
	pv_hypercall(v);
	return (int64_t)v->regs.gpr[REG_RAX];
}

int64_t hypercall_arg(struct vcpu *v, uint64_t nr, uint64_t cmd, void *arg, size_t n)
{
	int64_t rc;

	memcpy(hva(v->d, gva(1)), arg, n);
	rc = hypercall(v, nr, cmd, gva(1), 1, 0);
	memcpy(arg, hva(v->d, gva(1)), n);
	return rc;
}

/* ---- a guest that has lived a little ---- */

static void bind_some_ports(struct domain *d)
{
	struct vcpu *v = d->vcpu[0];
	struct evtchn_bind_ipi ipi = { .vcpu = 1 };
	struct evtchn_bind_virq virq = { .virq = VIRQ_TIMER, .vcpu = 1 };
	struct evtchn_alloc_unbound u = { .dom = DOMID_SELF, .remote_dom = 0 }, loop = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
	struct evtchn_bind_interdomain b = { .remote_dom = DOMID_SELF };
	struct evtchn_init_control ic = { .control_gfn = 20, .offset = 64, .vcpu = 0 };
	struct evtchn_expand_array ea = { .array_gfn = 21 };

	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_init_control, &ic), 0);
	ic = (struct evtchn_init_control){ .control_gfn = 22, .vcpu = 1 };
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_init_control, &ic), 0);
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_expand_array, &ea), 0);
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_bind_ipi, &ipi), 0);
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_bind_virq, &virq), 0);
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_alloc_unbound, &u), 0);
	assert_int_equal(evtchn_connect_backend(d, u.port), 0);
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_alloc_unbound, &u), 0);
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_alloc_unbound, &loop), 0);
	b.remote_port = loop.port;
	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_bind_interdomain, &b), 0);
	evtchn_raise_virq(d->vcpu[1], VIRQ_TIMER);
	d->store_port = d->console_port = u.port;
}

struct domain *fake_busy_domain(void)
{
	struct domain *d = fake_domain(2, 256, 128);
	struct vcpu *v = d->vcpu[0];
	struct vcpu_register_vcpu_info info = { .mfn = 62, .offset = 128 };

	bind_some_ports(d);
	d->store_mfn = 40;
	d->console_mfn = 41;
	d->pt_type[2] = 4;
	d->pt_type[9] = d->pt_type[10] = 1;
	d->populated[1] &= ~(1UL << 7);
	d->vm_assist = 4;
	d->grant->nr_frames = 3;
	atomic_store(&d->tot_pages, 127);
	memcpy(hva(d, gva(1)), &info, sizeof(info));
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, gva(1), 0), 0);
	for (unsigned i = 0; i < NR_GPR; i++)
		v->regs.gpr[i] = 0x1111111111111111UL * i;
	v->regs.rip = 0xffffffff81000000UL;
	v->regs.sel[SEG_FS] = 0x63;
	v->cr3_user = 3;
	v->trap[14] = (struct trap_entry){ .address = 0xffffffff81000100UL, .cs = FLAT_KERNEL_CS, .dpl = 3, .mask_events = 1 };
	v->cb_event = 0xffffffff81000200UL;
	v->gdt_mfn[0] = 14;
	v->gdt_ents = 16;
	v->singleshot_ns = 12345678;
	v->runstate_va = gva(60);
	v->xsave[200] = 0x5a;
	return d;
}

void fake_run_on(struct domain *d, unsigned round)
{
	struct vcpu *v = d->vcpu[0];

	atomic_store(&d->shutdown_reason, DOMAIN_RUNNING);
	for (uint32_t port = 0; port < 10; port++)
		evtchn_raise(d, port);
	evtchn_raise_virq(d->vcpu[1], VIRQ_TIMER);
	time_poll_timers(v);
	time_update_vcpu(v);
	runstate_change(v, (int)(round % 4));
	v->exc = (struct guest_exception){ .vector = (uint8_t)(round % 32) };
	pv_exception(v);
	pv_deliver_events(v);
	hypercall(v, __HYPERVISOR_update_va_mapping, gva(round % 200), 0, 0, 0);
}
