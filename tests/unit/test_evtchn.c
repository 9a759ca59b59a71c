/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event channels: who may bind what, what a raise leaves in shared info, who is woken; and FIFO's queues. */
#include "tests/unit/abi_fake.h"

#define OP(v, op, arg) HCALL(v, event_channel_op, EVTCHNOP_ ## op, arg)

static struct domain *d;
static struct vcpu *v;

static int setup(void **state)
{
	d = fake_domain(2, 256, 128);
	v = d->vcpu[0];
	return 0;
}

static int teardown(void **state)
{
	fake_free(d);
	return 0;
}

static uint32_t bind_ipi(unsigned vcpu)
{
	struct evtchn_bind_ipi a = { .vcpu = vcpu };

	assert_int_equal(OP(v, bind_ipi, &a), 0);
	return a.port;
}

static int64_t op_send(uint32_t port)
{
	struct evtchn_send a = { .port = port };

	return OP(v, send, &a);
}

static bool pending(uint32_t port)
{
	return domain_shared_info(d)->evtchn_pending[port / 64] >> (port % 64) & 1;
}

static void ipi_sets_bits_and_wakes_its_vcpu(void **state)
{
	uint32_t port = bind_ipi(1);
	struct vcpu_info *info = d->vcpu[1]->info;

	assert_int_equal(port, 1);
	assert_int_equal(op_send(port), 0);
	assert_true(pending(port));
	assert_int_equal(info->evtchn_pending_sel, 1);
	assert_int_equal(info->evtchn_upcall_pending, 1);
	assert_int_equal(fake.wakes[1], 1);
	assert_int_equal(op_send(port), 0);
	assert_int_equal(fake.wakes[1], 1);             /* already pending: no second wake-up */
}

static void masked_port_waits_for_unmask(void **state)
{
	uint32_t port = bind_ipi(0);
	struct evtchn_unmask u = { .port = port };

	domain_shared_info(d)->evtchn_mask[0] |= 1UL << port;
	assert_int_equal(op_send(port), 0);
	assert_true(pending(port));
	assert_int_equal(v->info->evtchn_upcall_pending, 0);
	assert_int_equal(OP(v, unmask, &u), 0);
	assert_int_equal(v->info->evtchn_upcall_pending, 1);
	assert_int_equal(domain_shared_info(d)->evtchn_mask[0] >> port & 1, 0);
}

static void bad_ports_and_vcpus_are_refused(void **state)
{
	struct evtchn_bind_ipi ipi = { .vcpu = 2 };
	struct evtchn_bind_virq virq = { .virq = NR_VIRQS };
	struct evtchn_close c = { .port = 0 };
	struct evtchn_alloc_unbound other = { .dom = 9 };
	struct evtchn_bind_interdomain inter = { .remote_dom = 9, .remote_port = 1 };

	assert_int_equal(OP(v, bind_ipi, &ipi), -ENOENT);
	assert_int_equal(OP(v, bind_virq, &virq), -EINVAL);
	virq = (struct evtchn_bind_virq){ .virq = VIRQ_TIMER, .vcpu = 77 };
	assert_int_equal(OP(v, bind_virq, &virq), -ENOENT);
	virq = (struct evtchn_bind_virq){ .virq = VIRQ_CONSOLE, .vcpu = 1 };
	assert_int_equal(OP(v, bind_virq, &virq), -EINVAL);
	assert_int_equal(OP(v, close, &c), -EINVAL);
	c.port = 0xffffffff;
	assert_int_equal(OP(v, close, &c), -EINVAL);
	assert_int_equal(op_send(EVTCHN_MAX_PORTS), -EINVAL);
	assert_int_equal(op_send(5), -EINVAL);
	assert_int_equal(OP(v, alloc_unbound, &other), -EPERM);
	assert_int_equal(OP(v, bind_interdomain, &inter), -ESRCH);
	assert_int_equal(hypercall(v, __HYPERVISOR_event_channel_op, EVTCHNOP_bind_pirq, gva(1), 0, 0), -EPERM);
	assert_int_equal(hypercall(v, __HYPERVISOR_event_channel_op, 1UL << 40, gva(1), 0, 0), -ENOSYS);
	assert_int_equal(hypercall(v, __HYPERVISOR_event_channel_op, EVTCHNOP_send, gva(100000), 0, 0), -EFAULT);
}

static void ports_run_out_without_harm(void **state)
{
	struct evtchn_bind_ipi a = { .vcpu = 0 };
	unsigned n = 0;

	while (OP(v, bind_ipi, &a) == 0)
		n++;
	assert_int_equal(n, EVTCHN_MAX_PORTS - 1);
	assert_int_equal(OP(v, bind_ipi, &a), -ENOSPC);
}

static void virq_is_bound_once_and_raised(void **state)
{
	struct evtchn_bind_virq a = { .virq = VIRQ_TIMER, .vcpu = 1 }, again = a;
	struct evtchn_close c;

	assert_int_equal(OP(v, bind_virq, &a), 0);
	assert_int_equal(OP(v, bind_virq, &again), -EEXIST);
	evtchn_raise_virq(d->vcpu[0], VIRQ_TIMER);
	assert_false(pending(a.port));                  /* vCPU 0's is not bound */
	evtchn_raise_virq(d->vcpu[1], VIRQ_TIMER);
	assert_true(pending(a.port));
	c.port = a.port;
	assert_int_equal(OP(v, close, &c), 0);
	assert_false(pending(a.port));
	evtchn_raise_virq(d->vcpu[1], VIRQ_TIMER);
	assert_false(pending(a.port));
}

static void backend_connects_signals_and_is_signalled(void **state)
{
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = 0 };
	struct evtchn_status s = { .dom = DOMID_SELF };

	assert_int_equal(OP(v, alloc_unbound, &a), 0);
	evtchn_raise(d, a.port);                        /* not connected yet: nothing */
	assert_false(pending(a.port));
	assert_int_equal(op_send(a.port), 0);
	assert_int_equal(fake.backend_notifies, 0);
	assert_int_equal(evtchn_connect_backend(d, a.port), 0);
	evtchn_raise(d, a.port);
	assert_true(pending(a.port));
	assert_int_equal(op_send(a.port), 0);
	assert_int_equal(fake.backend_notifies, 1);
	assert_int_equal(fake.backend_port, a.port);
	assert_int_equal(fake.backend_turns, 0);
	fake.backend_wants_turn = true;
	assert_int_equal(op_send(a.port), 0);           /* on this thread, the domain's lock being free */
	assert_int_equal(fake.backend_turns, 1);
	s.port = a.port;
	assert_int_equal(OP(v, status, &s), 0);
	assert_int_equal(s.status, EVTCHNSTAT_interdomain);
	assert_int_equal(s.u.interdomain.dom, 0);
}

static void backend_cannot_take_what_is_not_for_it(void **state)
{
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
	uint32_t ipi = bind_ipi(0);

	assert_int_equal(OP(v, alloc_unbound, &a), 0);
	assert_int_equal(evtchn_connect_backend(d, a.port), -EINVAL);
	assert_int_equal(evtchn_connect_backend(d, ipi), -EINVAL);
	assert_int_equal(evtchn_connect_backend(d, 0), -EINVAL);
	assert_int_equal(evtchn_connect_backend(d, 0xffffffff), -EINVAL);
	evtchn_raise(d, ipi);
	assert_false(pending(ipi));
}

static void loopback_pair_reaches_the_other_end(void **state)
{
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
	struct evtchn_bind_interdomain b = { .remote_dom = DOMID_SELF };
	struct evtchn_close c;
	struct evtchn_status s = { .dom = DOMID_SELF };

	assert_int_equal(OP(v, alloc_unbound, &a), 0);
	b.remote_port = a.port;
	assert_int_equal(OP(v, bind_interdomain, &b), 0);
	assert_true(pending(b.local_port));             /* always, on binding (event_channel.h) */
	assert_int_equal(op_send(b.local_port), 0);
	assert_true(pending(a.port));
	c.port = b.local_port;
	assert_int_equal(OP(v, close, &c), 0);
	s.port = a.port;
	assert_int_equal(OP(v, status, &s), 0);
	assert_int_equal(s.status, EVTCHNSTAT_unbound);
	assert_int_equal(op_send(a.port), 0);
}

static void bind_vcpu_moves_only_what_may_move(void **state)
{
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = 0 };
	struct evtchn_bind_vcpu b;
	uint32_t ipi = bind_ipi(0);

	assert_int_equal(OP(v, alloc_unbound, &a), 0);
	assert_int_equal(evtchn_connect_backend(d, a.port), 0);
	b = (struct evtchn_bind_vcpu){ .port = a.port, .vcpu = 1 };
	assert_int_equal(OP(v, bind_vcpu, &b), 0);
	evtchn_raise(d, a.port);
	assert_int_equal(d->vcpu[1]->info->evtchn_upcall_pending, 1);
	b = (struct evtchn_bind_vcpu){ .port = ipi, .vcpu = 1 };
	assert_int_equal(OP(v, bind_vcpu, &b), -EINVAL);
	b = (struct evtchn_bind_vcpu){ .port = a.port, .vcpu = 32 };
	assert_int_equal(OP(v, bind_vcpu, &b), -ENOENT);
}

static void reset_closes_everything(void **state)
{
	uint32_t port = bind_ipi(0);
	struct evtchn_reset r = { .dom = DOMID_SELF };

	assert_int_equal(OP(v, reset, &r), 0);
	assert_int_equal(op_send(port), -EINVAL);
}

/* A poller sleeps in SCHEDOP_poll for one port, which is masked: the raise must wake it all the same. */
static void raise_wakes_pollers(void **state)
{
	uint32_t port = bind_ipi(0), other = bind_ipi(0);

	domain_shared_info(d)->evtchn_mask[0] = ~0UL;
	atomic_store(&d->vcpu[1]->run_state, VCPU_POLLING);
	d->vcpu[1]->poll_port = port;
	op_send(other);
	assert_int_equal(atomic_load(&d->vcpu[1]->run_state), VCPU_POLLING);
	op_send(port);
	assert_int_equal(atomic_load(&d->vcpu[1]->run_state), VCPU_RUNNABLE);
	assert_int_equal(fake.wakes[1], 1);
}

/* ---- FIFO ---- */

#define CONTROL_FRAME 20
#define ARRAY_FRAME 21

static uint32_t *word(uint32_t port) { return (uint32_t *)hva(d, gva(ARRAY_FRAME)) + port; }
static struct evtchn_fifo_control_block *control(void) { return hva(d, gva(CONTROL_FRAME) + 256); }

static void fifo_on(void)
{
	struct evtchn_init_control i = { .control_gfn = CONTROL_FRAME, .offset = 256, .vcpu = 0 };
	struct evtchn_expand_array e = { .array_gfn = ARRAY_FRAME };

	assert_int_equal(OP(v, init_control, &i), 0);
	assert_int_equal(i.link_bits, EVTCHN_FIFO_LINK_BITS);
	assert_int_equal(OP(v, expand_array, &e), 0);
}

/* As a guest does: take the head of the default queue, clear LINKED, return the port. */
static uint32_t fifo_pop(void)
{
	uint32_t head = control()->head[EVTCHN_FIFO_PRIORITY_DEFAULT], w = *word(head);

	*word(head) = w & ~(1U << EVTCHN_FIFO_LINKED | EVTCHN_FIFO_LINK_MASK);
	if (w & EVTCHN_FIFO_LINK_MASK)
		control()->head[EVTCHN_FIFO_PRIORITY_DEFAULT] = w & EVTCHN_FIFO_LINK_MASK;
	return head;
}

static void fifo_keeps_order_and_wakes_once(void **state)
{
	uint32_t a, b, c;

	fifo_on();
	a = bind_ipi(0);
	b = bind_ipi(0);
	c = bind_ipi(0);
	op_send(b);
	op_send(a);
	op_send(c);
	op_send(a);
	assert_int_equal(control()->ready, 1U << EVTCHN_FIFO_PRIORITY_DEFAULT);
	assert_int_equal(v->info->evtchn_upcall_pending, 1);
	assert_int_equal(fake.wakes[0], 1);
	assert_int_equal(fifo_pop(), b);
	assert_int_equal(fifo_pop(), a);
	assert_int_equal(fifo_pop(), c);
	assert_false(*word(c) & EVTCHN_FIFO_LINK_MASK);
	/* the queue is empty: the next goes to its head again */
	*word(b) &= ~(1U << EVTCHN_FIFO_PENDING);
	op_send(b);
	assert_int_equal(control()->head[EVTCHN_FIFO_PRIORITY_DEFAULT], b);
}

static void fifo_masked_links_on_unmask(void **state)
{
	struct evtchn_unmask u;
	uint32_t a;

	fifo_on();
	a = bind_ipi(0);
	*word(a) |= 1U << EVTCHN_FIFO_MASKED;
	op_send(a);
	assert_true(*word(a) >> EVTCHN_FIFO_PENDING & 1);
	assert_false(*word(a) >> EVTCHN_FIFO_LINKED & 1);
	u.port = a;
	assert_int_equal(OP(v, unmask, &u), 0);
	assert_int_equal(control()->head[EVTCHN_FIFO_PRIORITY_DEFAULT], a);
}

static void fifo_priority_changes_queue(void **state)
{
	struct evtchn_set_priority p = { .priority = 2 };
	uint32_t a, b;

	fifo_on();
	a = bind_ipi(0);
	b = bind_ipi(0);
	op_send(a);
	op_send(b);
	fifo_pop();
	fifo_pop();
	*word(b) = 0;
	p.port = b;
	assert_int_equal(OP(v, set_priority, &p), 0);
	op_send(b);
	assert_int_equal(control()->head[2], b);
	/* b was the tail of the default queue: nothing may be linked behind it there */
	*word(a) = 0;
	op_send(a);
	assert_int_equal(control()->head[EVTCHN_FIFO_PRIORITY_DEFAULT], a);
	assert_int_equal(*word(b) & EVTCHN_FIFO_LINK_MASK, 0);
	p.priority = 16;
	assert_int_equal(OP(v, set_priority, &p), -EINVAL);
}

/*
 * A port that is the tail of vCPU 1's queue is closed and comes back as vCPU 0's.  Forgetting where it was linked left it
 * vCPU 1's tail: that vCPU's next event was linked behind it, on the wrong queue, and never seen (a CPU taken offline and
 * online again hung so).
 */
static void fifo_port_that_changes_hands_leaves_its_queue(void **state)
{
	struct evtchn_init_control i = { .control_gfn = CONTROL_FRAME + 5, .vcpu = 1 };
	struct evtchn_fifo_control_block *cb1 = hva(d, gva(CONTROL_FRAME + 5));
	struct evtchn_close c;
	uint32_t a, b;

	fifo_on();
	assert_int_equal(OP(v, init_control, &i), 0);
	a = bind_ipi(1);
	b = bind_ipi(1);
	op_send(a);
	assert_int_equal(cb1->head[EVTCHN_FIFO_PRIORITY_DEFAULT], a);
	c.port = a;
	assert_int_equal(OP(v, close, &c), 0);
	assert_int_equal(bind_ipi(0), a);
	*word(a) &= ~(1U << EVTCHN_FIFO_LINKED);        /* vCPU 1 takes it */
	op_send(a);
	assert_int_equal(control()->head[EVTCHN_FIFO_PRIORITY_DEFAULT], a);
	op_send(b);
	assert_int_equal(cb1->head[EVTCHN_FIFO_PRIORITY_DEFAULT], b);
	assert_int_equal(*word(a) & EVTCHN_FIFO_LINK_MASK, 0);
}

static void fifo_refuses_bad_frames(void **state)
{
	struct evtchn_init_control i = { .control_gfn = 200, .vcpu = 0 };       /* not held */
	struct evtchn_expand_array e = { .array_gfn = ARRAY_FRAME };

	assert_int_equal(OP(v, expand_array, &e), -EOPNOTSUPP);
	assert_int_equal(OP(v, init_control, &i), -EINVAL);
	i = (struct evtchn_init_control){ .control_gfn = CONTROL_FRAME, .offset = 4096 - 8 };
	assert_int_equal(OP(v, init_control, &i), -EINVAL);
	i = (struct evtchn_init_control){ .control_gfn = CONTROL_FRAME, .offset = 4 };
	assert_int_equal(OP(v, init_control, &i), -EINVAL);
	i = (struct evtchn_init_control){ .control_gfn = CONTROL_FRAME, .vcpu = 2 };
	assert_int_equal(OP(v, init_control, &i), -ENOENT);
	fifo_on();
	i = (struct evtchn_init_control){ .control_gfn = CONTROL_FRAME };
	assert_int_equal(OP(v, init_control, &i), -EINVAL);       /* once per vCPU */
	e.array_gfn = UINT64_MAX;
	assert_int_equal(OP(v, expand_array, &e), -EINVAL);
	for (unsigned n = 1; n < FIFO_MAX_PAGES; n++) {
		e.array_gfn = ARRAY_FRAME + n;
		assert_int_equal(OP(v, expand_array, &e), 0);
	}
	assert_int_equal(OP(v, expand_array, &e), -ENOSPC);
}

/* The guest owns the words and heads and may put anything there at any time; nothing may follow it. */
static void fifo_survives_garbage_in_the_words(void **state)
{
	uint32_t port[8];

	fifo_on();
	for (unsigned i = 0; i < 8; i++)
		port[i] = bind_ipi(i & 1);
	srand(1);
	for (unsigned round = 0; round < 20000; round++) {
		uint32_t *w = hva(d, gva(ARRAY_FRAME)), *c = hva(d, gva(CONTROL_FRAME));

		w[rand() % 16] = (uint32_t)rand() * 3;
		c[64 + rand() % 18] = (uint32_t)rand() * 3;
		op_send(port[rand() % 8]);
	}
}

static void events_pending_before_fifo_go_over(void **state)
{
	uint32_t a = bind_ipi(0);

	op_send(a);
	fifo_on();
	assert_true(*word(a) >> EVTCHN_FIFO_PENDING & 1);
	assert_int_equal(control()->head[EVTCHN_FIFO_PRIORITY_DEFAULT], a);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ipi_sets_bits_and_wakes_its_vcpu), T(masked_port_waits_for_unmask), T(bad_ports_and_vcpus_are_refused),
		T(ports_run_out_without_harm), T(virq_is_bound_once_and_raised), T(backend_connects_signals_and_is_signalled),
		T(backend_cannot_take_what_is_not_for_it), T(loopback_pair_reaches_the_other_end),
		T(bind_vcpu_moves_only_what_may_move), T(reset_closes_everything), T(raise_wakes_pollers),
		T(fifo_keeps_order_and_wakes_once), T(fifo_masked_links_on_unmask), T(fifo_priority_changes_queue),
		T(fifo_port_that_changes_hands_leaves_its_queue),
		T(fifo_refuses_bad_frames), T(fifo_survives_garbage_in_the_words), T(events_pending_before_fifo_go_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
