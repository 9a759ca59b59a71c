/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FIFO event-channel ABI from the guest's side: events are linked onto the queue of their priority in the order they
 * came, READY and the upcall say so, a masked one waits for the unmask hypercall, and the 2-level bitmaps stay empty.
 */
#include "micro_guest.h"

const char guest_name[] = "fifo";

static volatile uint32_t *array;
static volatile struct evtchn_fifo_control_block *cb;
static uint32_t got[16], nr_got;
static uint32_t head[16];

/* What a FIFO guest does in its upcall (event_channel.h). */
static void consume(void)
{
	uint32_t ready;

	vcpu_info(0)->evtchn_upcall_pending = 0;
	while ((ready = __atomic_exchange_n((uint32_t *)(uintptr_t)&cb->ready, 0, __ATOMIC_SEQ_CST)))
		while (ready) {
			unsigned q = (unsigned)__builtin_ctz(ready);
			uint32_t port = head[q] ? head[q] : cb->head[q], word;

			if (!head[q])
				__atomic_thread_fence(__ATOMIC_SEQ_CST);
			while (port) {
				word = __atomic_load_n(&array[port], __ATOMIC_SEQ_CST);
				head[q] = word & EVTCHN_FIFO_LINK_MASK;
				__atomic_fetch_and(&array[port], ~((1U << EVTCHN_FIFO_LINKED) | EVTCHN_FIFO_LINK_MASK), __ATOMIC_SEQ_CST);
				if ((word & 1U << EVTCHN_FIFO_PENDING) && !(word & 1U << EVTCHN_FIFO_MASKED)) {
					__atomic_fetch_and(&array[port], ~(1U << EVTCHN_FIFO_PENDING), __ATOMIC_SEQ_CST);
					CHECK(nr_got < 16);
					got[nr_got++] = port;
				}
				port = head[q];
			}
			ready &= ready - 1;
		}
}

static bool on_trap(struct trap_regs *r)
{
	if (r->vector != TRAP_EVENT)
		return false;
	upcalls++;
	consume();
	return true;
}

void guest_main(void)
{
	struct evtchn_init_control ic = { .vcpu = 0, .offset = 64 };
	struct evtchn_expand_array ea;
	struct evtchn_set_priority sp;
	struct evtchn_unmask um;
	struct evtchn_close cl;
	uint32_t p[4];
	uint8_t *page = page_alloc();

	array = page_alloc();
	cb = (void *)(page + 64);
	ea.array_gfn = va_to_mfn(array);
	CHECK((long)evtchn_op(EVTCHNOP_expand_array, &ea) < 0);         /* not before init_control */
	ic.control_gfn = 1UL << 40;
	CHECK((long)evtchn_op(EVTCHNOP_init_control, &ic) < 0);
	ic.control_gfn = va_to_mfn(page);
	ic.offset = 4095;
	CHECK((long)evtchn_op(EVTCHNOP_init_control, &ic) < 0);
	ic.offset = 64;
	ic.vcpu = 99;
	CHECK_EQ(evtchn_op(EVTCHNOP_init_control, &ic), -XEN_ENOENT);
	ic.vcpu = 0;
	trap_hook = on_trap;
	CHECK_EQ(evtchn_op(EVTCHNOP_init_control, &ic), 0);
	CHECK_EQ(ic.link_bits, EVTCHN_FIFO_LINK_BITS);
	CHECK_EQ(evtchn_op(EVTCHNOP_expand_array, &ea), 0);
	for (unsigned i = 0; i < 4; i++)
		p[i] = bind_ipi(0);

	CHECK_EQ(event_send(p[2]), 0);
	CHECK_EQ(event_send(p[0]), 0);
	CHECK_EQ(event_send(p[0]), 0);                                   /* once more is still one event */
	sp = (struct evtchn_set_priority){ .port = p[1], .priority = EVTCHN_FIFO_PRIORITY_MAX };
	CHECK_EQ(evtchn_op(EVTCHNOP_set_priority, &sp), 0);
	sp.priority = 16;
	CHECK_EQ(evtchn_op(EVTCHNOP_set_priority, &sp), -XEN_EINVAL);
	CHECK_EQ(event_send(p[1]), 0);
	array[p[3]] |= 1U << EVTCHN_FIFO_MASKED;
	CHECK_EQ(event_send(p[3]), 0);
	CHECK_EQ(upcalls, 0);
	events_on();
	events_deliver();
	CHECK_EQ(nr_got, 3);
	CHECK_EQ(got[0], p[1]);                                          /* priority first, then order */
	CHECK_EQ(got[1], p[2]);
	CHECK_EQ(got[2], p[0]);
	CHECK(array[p[3]] & 1U << EVTCHN_FIFO_PENDING);
	um.port = p[3];
	CHECK_EQ(evtchn_op(EVTCHNOP_unmask, &um), 0);
	CHECK_EQ(nr_got, 4);
	CHECK_EQ(got[3], p[3]);
	for (unsigned i = 0; i < 64; i++)
		CHECK_EQ(shared->evtchn_pending[i], 0);
	cl.port = p[0];
	CHECK_EQ(evtchn_op(EVTCHNOP_close, &cl), 0);
	CHECK_EQ(event_send(p[0]), -XEN_EINVAL);
	for (unsigned round = 0; round < 1000; round++) {
		nr_got = 0;
		CHECK_EQ(event_send(p[1 + round % 3]), 0);
		CHECK_EQ(nr_got, 1);
		CHECK_EQ(got[0], p[1 + round % 3]);
	}
	events_off();
}
