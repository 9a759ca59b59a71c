/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's clocks, timers and runstate in virtual time, and vCPUs coming up and going down. */
#include "tests/unit/abi_fake.h"

#define PTE(frame, flags) ((uint64_t)(frame) << 12 | (flags))
#define MS 1000000UL

static struct domain *d;
static struct vcpu *v;

static int setup(void **state)
{
	d = fake_domain(2, 256, 128);
	v = d->vcpu[0];
	((uint64_t *)hva(d, gva(2)))[0] = PTE(3, 0x67);
	((uint64_t *)hva(d, gva(3)))[0] = PTE(4, 0x67);
	((uint64_t *)hva(d, gva(4)))[0] = PTE(5, 0x67);
	for (unsigned i = 0; i < 128; i++)
		((uint64_t *)hva(d, gva(5)))[i] = PTE(i, 0x67);
	return 0;
}

static int teardown(void **state)
{
	fake_free(d);
	return 0;
}

/* As a guest computes it (xen.h, vcpu_time_info). */
static uint64_t guest_clock(const struct vcpu_time_info *t)
{
	uint64_t delta = abi_read_tsc() - t->tsc_timestamp;

	delta = t->tsc_shift < 0 ? delta >> -t->tsc_shift : delta << t->tsc_shift;
	return t->system_time + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
}

static void guest_and_hypervisor_agree(void **state)
{
	uint64_t last = 0;

	time_update_vcpu(v);
	assert_int_equal(v->info->time.flags, XEN_PVCLOCK_TSC_STABLE_BIT);
	assert_int_equal(v->info->time.version & 1, 0);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t t = guest_clock(&v->info->time), s = system_time_ns(d);

		assert_true(t >= last);
		assert_true(t + 5 > s && s + 5 > t);
		last = t;
		fake_now += 1 + (uint64_t)i * 977;
	}
	/* a year on, to a part in 10^9 */
	fake_now += 365UL * 86400 * 1000000000;
	assert_true(llabs((long long)(system_time_ns(d) - (fake_now - 5000000000UL))) < 50000000);
}

static void without_a_stable_tsc_the_pair_is_refreshed(void **state)
{
	uint32_t version;

	d->clock.stable = false;
	time_update_vcpu(v);
	version = v->info->time.version;
	assert_int_equal(v->info->time.flags, 0);
	fake_now += 12345;
	time_update_vcpu(v);
	assert_int_equal(v->info->time.version, version + 2);
	assert_int_equal(v->info->time.system_time, system_time_ns(d));
}

static void wallclock_is_the_time_of_system_time_zero(void **state)
{
	struct shared_info *s = domain_shared_info(d);

	fake_now += 10000 * MS;
	fake_real += 10000 * MS;
	time_update_wallclock(d);
	assert_int_equal(s->wc_sec, 1700000000);
	assert_int_equal(s->wc_version & 1, 0);
}

static uint32_t bind_timer(void)
{
	struct evtchn_bind_virq a = { .virq = VIRQ_TIMER, .vcpu = 0 };

	assert_int_equal(HCALL(v, event_channel_op, EVTCHNOP_bind_virq, &a), 0);
	return a.port;
}

static bool take_timer(uint32_t port)
{
	bool was = domain_shared_info(d)->evtchn_pending[0] >> port & 1;

	domain_shared_info(d)->evtchn_pending[0] = 0;
	v->info->evtchn_pending_sel = 0;
	v->info->evtchn_upcall_pending = 0;
	return was;
}

static int64_t vcpu_op(unsigned cmd, unsigned id, const void *arg, size_t n)
{
	if (n)
		memcpy(hva(d, gva(1)), arg, n);
	return hypercall(v, __HYPERVISOR_vcpu_op, cmd, id, n ? gva(1) : 0, 0);
}

static void one_shot_fires_once(void **state)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = system_time_ns(d) + 5 * MS };
	uint32_t port = bind_timer();

	assert_int_equal(vcpu_op(VCPUOP_set_singleshot_timer, 0, &t, sizeof(t)), 0);
	assert_true(llabs((long long)(time_next_deadline_ns(v) - (fake_now + 5 * MS))) < 10);
	fake_now += 4 * MS;
	time_poll_timers(v);
	assert_false(take_timer(port));
	fake_now += MS + 10;
	time_poll_timers(v);
	assert_true(take_timer(port));
	assert_int_equal(time_next_deadline_ns(v), UINT64_MAX);
	time_poll_timers(v);
	assert_false(take_timer(port));
}

static void one_shot_in_the_past(void **state)
{
	struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = 0, .flags = VCPU_SSHOTTMR_future };
	uint32_t port = bind_timer();

	fake_now += MS;
	assert_int_equal(vcpu_op(VCPUOP_set_singleshot_timer, 0, &t, sizeof(t)), -ETIME);
	t.flags = 0;
	assert_int_equal(vcpu_op(VCPUOP_set_singleshot_timer, 0, &t, sizeof(t)), 0);
	assert_int_equal(time_next_deadline_ns(v), fake_now);
	time_poll_timers(v);
	assert_true(take_timer(port));
	t.timeout_abs_ns = UINT64_MAX;
	assert_int_equal(vcpu_op(VCPUOP_set_singleshot_timer, 0, &t, sizeof(t)), 0);
	assert_true(time_next_deadline_ns(v) >= fake_now);
	assert_int_equal(vcpu_op(VCPUOP_set_singleshot_timer, 1, &t, sizeof(t)), -EINVAL);
}

static void periodic_keeps_its_phase(void **state)
{
	struct vcpu_set_periodic_timer t = { .period_ns = 10 * MS };
	uint32_t port = bind_timer();
	unsigned n = 0;

	assert_int_equal(vcpu_op(VCPUOP_set_periodic_timer, 0, &t, sizeof(t)), 0);
	for (unsigned i = 0; i < 1000; i++) {
		fake_now += MS;
		time_poll_timers(v);
		n += take_timer(port);
	}
	assert_in_range(n, 99, 100);
	fake_now += 1000 * MS;                          /* long asleep: one event, not a hundred */
	time_poll_timers(v);
	assert_true(take_timer(port));
	time_poll_timers(v);
	assert_false(take_timer(port));
	assert_int_equal(vcpu_op(VCPUOP_stop_periodic_timer, 0, NULL, 0), 0);
	fake_now += 100 * MS;
	time_poll_timers(v);
	assert_false(take_timer(port));
	t.period_ns = 999999;
	assert_int_equal(vcpu_op(VCPUOP_set_periodic_timer, 0, &t, sizeof(t)), -EINVAL);
}

static void runstate_times_add_up_to_system_time(void **state)
{
	struct vcpu_register_runstate_memory_area a = { .addr.p = gva(60) + 4080 };       /* crosses a page */
	struct vcpu_runstate_info r;
	uint64_t begun = v->runstate.state_entry_time;

	assert_int_equal(vcpu_op(VCPUOP_register_runstate_memory_area, 0, &a, sizeof(a)), 0);
	assert_int_equal(hypercall(v, __HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag, 0, 0), 0);
	for (unsigned i = 0; i < 100; i++) {
		fake_now += 3 * MS;
		runstate_change(v, (int)(i % 4));
	}
	memcpy(&r, hva(d, gva(60) + 4080), sizeof(r));
	assert_int_equal(r.state, 3);
	assert_false(r.state_entry_time >> 63);
	assert_int_equal(r.time[0] + r.time[1] + r.time[2] + r.time[3], r.state_entry_time - begun);
	fake_now += 7 * MS;
	assert_int_equal(vcpu_op(VCPUOP_get_runstate_info, 0, &r, sizeof(r)), 0);
	memcpy(&r, hva(d, gva(1)), sizeof(r));
	assert_int_equal(r.time[0] + r.time[1] + r.time[2] + r.time[3], system_time_ns(d) - begun);
}

static void time_area_is_a_second_copy(void **state)
{
	struct vcpu_register_time_memory_area a = { .addr.p = gva(61) };
	struct vcpu_time_info *t = hva(d, gva(61));

	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &a, sizeof(a)), 0);
	assert_int_equal(t->flags, XEN_PVCLOCK_TSC_STABLE_BIT);
	time_set(d, 99000 * MS);
	time_update_vcpu(v);
	assert_int_equal(t->system_time, 99000 * MS);
	assert_int_equal(t->version & 1, 0);
	assert_int_equal(t->version, v->info->time.version);
	a.addr.p = 1UL << 60;
	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &a, sizeof(a)), -EFAULT);
	a.addr.p = 0xffff800000000000UL;
	assert_int_equal(vcpu_op(VCPUOP_register_runstate_memory_area, 0, &a, sizeof(a)), -EFAULT);
}

/* ---- sleeping ---- */

static void block_with_something_pending_returns_at_once(void **state)
{
	v->info->evtchn_upcall_mask = 1;
	v->info->evtchn_upcall_pending = 1;
	assert_int_equal(hypercall(v, __HYPERVISOR_sched_op, SCHEDOP_block, 0, 0, 0), 0);
	assert_int_equal(atomic_load(&v->run_state), VCPU_RUNNABLE);
	assert_int_equal(v->info->evtchn_upcall_mask, 0);
	v->info->evtchn_upcall_pending = 0;
	assert_int_equal(hypercall(v, __HYPERVISOR_sched_op, SCHEDOP_block, 0, 0, 0), 0);
	assert_int_equal(atomic_load(&v->run_state), VCPU_BLOCKED);
}

static void poll_ends_with_its_timeout(void **state)
{
	struct sched_poll p = { .nr_ports = 1, .timeout = system_time_ns(d) + 2 * MS };
	uint32_t port = bind_timer();

	memcpy(hva(d, gva(9)), &port, sizeof(port));
	p.ports.p = (void *)gva(9);
	assert_int_equal(HCALL(v, sched_op, SCHEDOP_poll, &p), 0);
	assert_int_equal(atomic_load(&v->run_state), VCPU_POLLING);
	assert_true(time_next_deadline_ns(v) <= fake_now + 2 * MS);
	fake_now += 3 * MS;
	time_poll_timers(v);
	assert_int_equal(atomic_load(&v->run_state), VCPU_RUNNABLE);
	p.nr_ports = 129;
	assert_int_equal(HCALL(v, sched_op, SCHEDOP_poll, &p), -EINVAL);
	port = 4000;
	memcpy(hva(d, gva(9)), &port, sizeof(port));
	p.nr_ports = 1;
	assert_int_equal(HCALL(v, sched_op, SCHEDOP_poll, &p), -EINVAL);
	assert_int_equal(atomic_load(&v->run_state), VCPU_RUNNABLE);
}

static void shutdown_is_recorded_once(void **state)
{
	struct sched_shutdown s = { .reason = SHUTDOWN_reboot };

	s.reason = 6;
	assert_int_equal(HCALL(v, sched_op, SCHEDOP_shutdown, &s), -EINVAL);
	s.reason = SHUTDOWN_reboot;
	assert_int_equal(HCALL(v, sched_op, SCHEDOP_shutdown, &s), 0);
	assert_int_equal(atomic_load(&d->shutdown_reason), SHUTDOWN_reboot);
	s.reason = SHUTDOWN_poweroff;
	HCALL(v, sched_op, SCHEDOP_shutdown, &s);
	assert_int_equal(atomic_load(&d->shutdown_reason), SHUTDOWN_reboot);
	assert_int_equal(fake.shutdowns, 1);
	assert_int_equal(HCALL(v, sched_op, SCHEDOP_remote_shutdown, &s), -EPERM);
}

static void latched_code_is_what_the_shutdown_reports(void **state)
{
	struct sched_shutdown s = { .reason = SHUTDOWN_crash };

	assert_int_equal(HCALL(v, sched_op, SCHEDOP_shutdown_code, &s), 0);
	assert_int_equal(atomic_load(&d->shutdown_reason), DOMAIN_RUNNING);
	s.reason = SHUTDOWN_poweroff;
	assert_int_equal(HCALL(v, sched_op, SCHEDOP_shutdown, &s), 0);
	assert_int_equal(atomic_load(&d->shutdown_reason), SHUTDOWN_crash);
}

/* ---- vCPUs ---- */

static void second_vcpu_comes_up_and_goes_down(void **state)
{
	struct vcpu_guest_context *ctx = hva(d, gva(30));
	struct vcpu *v1 = d->vcpu[1];

	assert_int_equal(vcpu_op(VCPUOP_is_up, 1, NULL, 0), 0);
	assert_int_equal(vcpu_op(VCPUOP_is_up, 2, NULL, 0), -ENOENT);
	assert_int_equal(vcpu_op(VCPUOP_up, 1, NULL, 0), -EINVAL);
	*ctx = (struct vcpu_guest_context){ .flags = VGCF_IN_KERNEL, .kernel_sp = 0x9000, .gs_base_kernel = 0x77, .gdt_ents = 16 };
	ctx->user_regs.rip = 0x1234;
	ctx->user_regs.cs = 0x10;
	ctx->user_regs.ss = 0x18;
	ctx->user_regs.rdi = 5;
	ctx->ctrlreg[3] = gva(2);
	ctx->gdt_frames[0] = 14;
	ctx->event_callback_eip = 0xffffffff81000000UL;
	ctx->trap_ctxt[14] = (struct trap_info){ .vector = 14, .address = 0xffffffff81000010UL };
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, gva(30), 0), 0);
	assert_int_equal(v1->regs.sel[SEG_CS], 0x13);
	assert_int_equal(v1->regs.gpr[REG_RDI], 5);
	assert_int_equal(v1->regs.gs_base, 0x77);
	assert_int_equal(v1->cr3_kernel, 2);
	assert_int_equal(v1->trap[14].address, 0xffffffff81000010UL);
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, gva(30), 0), -EEXIST);
	assert_int_equal(vcpu_op(VCPUOP_up, 1, NULL, 0), 0);
	assert_int_equal(vcpu_op(VCPUOP_is_up, 1, NULL, 0), 1);
	assert_int_equal(fake.wakes[1], 1);
	assert_int_equal(vcpu_op(VCPUOP_down, 1, NULL, 0), 0);
	assert_int_equal(vcpu_op(VCPUOP_is_up, 1, NULL, 0), 0);
	assert_int_equal(vcpu_op(VCPUOP_down, 0, NULL, 0), 0);
	assert_int_equal(atomic_load(&d->shutdown_reason), SHUTDOWN_poweroff);    /* nobody left */
}

static void bad_contexts_are_refused(void **state)
{
	struct vcpu_guest_context *ctx = hva(d, gva(30));

	*ctx = (struct vcpu_guest_context){ .flags = VGCF_IN_KERNEL };
	ctx->ctrlreg[3] = gva(200);                     /* not held */
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, gva(30), 0), -EINVAL);
	ctx->ctrlreg[3] = gva(2);
	ctx->gdt_ents = 8000;
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, gva(30), 0), -EINVAL);
	ctx->gdt_ents = 0;
	ctx->fs_base = 1UL << 55;
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, gva(30), 0), -EINVAL);
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, gva(100000), 0), -EFAULT);
	assert_false(d->vcpu[1]->initialised);
	assert_int_equal(hypercall(v, __HYPERVISOR_vcpu_op, 99, 0, 0, 0), -ENOSYS);
}

static void vcpu_info_moves_with_its_contents(void **state)
{
	struct vcpu_register_vcpu_info a = { .mfn = 62, .offset = 4096 - 64 };

	v->info->arch.cr2 = 0x42;
	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_info, 0, &a, sizeof(a)), 0);
	assert_ptr_equal(v->info, hva(d, gva(62) + 4096 - 64));
	assert_int_equal(v->info->arch.cr2, 0x42);
	assert_int_equal(v->info->evtchn_upcall_pending, 1);
	assert_true(v->info->evtchn_pending_sel == ~0UL);
	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_info, 0, &a, sizeof(a)), -EINVAL);          /* once */
	a.offset = 4096 - 56;
	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_info, 1, &a, sizeof(a)), -EINVAL);
	a.offset = 4;
	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_info, 1, &a, sizeof(a)), -EINVAL);
	a = (struct vcpu_register_vcpu_info){ .mfn = SPECIAL_MFN + 1 };
	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_info, 1, &a, sizeof(a)), -EINVAL);
	a.mfn = UINT64_MAX;
	assert_int_equal(vcpu_op(VCPUOP_register_vcpu_info, 1, &a, sizeof(a)), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(guest_and_hypervisor_agree), T(without_a_stable_tsc_the_pair_is_refreshed),
		T(wallclock_is_the_time_of_system_time_zero), T(one_shot_fires_once), T(one_shot_in_the_past),
		T(periodic_keeps_its_phase), T(runstate_times_add_up_to_system_time), T(time_area_is_a_second_copy),
		T(block_with_something_pending_returns_at_once), T(poll_ends_with_its_timeout), T(shutdown_is_recorded_once),
		T(latched_code_is_what_the_shutdown_reports), T(second_vcpu_comes_up_and_goes_down), T(bad_contexts_are_refused),
		T(vcpu_info_moves_with_its_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
