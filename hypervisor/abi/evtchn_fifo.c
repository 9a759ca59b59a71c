/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evtchn_fifo.c - the FIFO event-channel ABI (event_channel.h; design in Xen's docs/designs "FIFO-based event channels").
 *
 * One 32-bit word a port in array pages of the guest's, and per vCPU a control block with the heads of 16 queues.  The
 * words hold PENDING, MASKED, LINKED, BUSY and the link to the next event.  We append at the tail, which is ours; the
 * guest takes from the head.  Links are written and never followed here, so nothing the guest puts there matters to us.
 *
 * A queue is empty when its tail's LINKED bit is clear: the guest has taken it.
 */
#include "hypervisor/abi/evtchn.h"

#define W_PENDING (1U << EVTCHN_FIFO_PENDING)
#define W_MASKED (1U << EVTCHN_FIFO_MASKED)
#define W_LINKED (1U << EVTCHN_FIFO_LINKED)
#define W_BUSY (1U << EVTCHN_FIFO_BUSY)

/* A guest that fights over a word loses an event of its own after this many tries. */
#define LINK_TRIES 4

static uint32_t *fifo_word(const struct domain *d, uint32_t port)
{
	const struct evtchn_state *s = d->evtchn;
	unsigned page = port / FIFO_WORDS_PER_PAGE;
	uint32_t *words;

	if (page >= s->fifo_nr_pages)
		return NULL;
	words = ram_frame(d, s->fifo_page_mfn[page]);
	return words ? &words[port % FIFO_WORDS_PER_PAGE] : NULL;
}

static void fifo_word_touched(struct domain *d, uint32_t port)
{
	domain_mark_dirty(d, d->evtchn->fifo_page_mfn[port / FIFO_WORDS_PER_PAGE]);
}

static struct evtchn_fifo_control_block *fifo_control(const struct domain *d, unsigned vcpu)
{
	const struct fifo_vcpu *f = &d->evtchn->fifo_vcpu[vcpu];
	uint8_t *page = f->control_mfn ? ram_frame(d, f->control_mfn) : NULL;

	return page ? (struct evtchn_fifo_control_block *)(void *)(page + f->control_offset) : NULL;
}

/* Link `word`, the tail, to port: 1 done, 0 the tail is not linked (queue empty), -EAGAIN it changed under us. */
static int try_set_link(uint32_t *word, uint32_t *w, uint32_t port)
{
	if (!(*w & W_LINKED))
		return 0;
	return __atomic_compare_exchange_n(word, w, (*w & ~(W_BUSY | EVTCHN_FIFO_LINK_MASK)) | port, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ? 1 : -EAGAIN;
}

static bool set_link(uint32_t *word, uint32_t port)
{
	uint32_t w = __atomic_load_n(word, __ATOMIC_SEQ_CST);
	int r = try_set_link(word, &w, port);

	if (r >= 0)
		return r;
	/* BUSY keeps a well-behaved guest from touching the word. */
	w = __atomic_or_fetch(word, W_BUSY, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < LINK_TRIES; i++) {
		r = try_set_link(word, &w, port);
		if (r == 1)
			return true;
		if (r == 0)
			break;
	}
	__atomic_fetch_and(word, ~W_BUSY, __ATOMIC_SEQ_CST);
	return r != 0;
}

/* Append port to its queue. */
static void fifo_link(struct domain *d, uint32_t port, uint32_t *word)
{
	struct evtchn *e = &d->evtchn->port[port];
	struct evtchn_fifo_control_block *cb = fifo_control(d, e->vcpu);
	struct fifo_vcpu *fv = &d->evtchn->fifo_vcpu[e->vcpu];
	struct fifo_queue *q = &fv->queue[e->priority];
	struct fifo_queue *old_q = &d->evtchn->fifo_vcpu[e->last_vcpu].queue[e->last_priority];
	bool linked = false;

	if (!cb)
		return;
	if (__atomic_fetch_or(word, W_LINKED, __ATOMIC_SEQ_CST) & W_LINKED)
		return;
	/* Was it the tail of another queue, that one is empty: nothing may be linked behind this event there. */
	if (old_q->tail == port)
		old_q->tail = 0;
	e->last_vcpu = e->vcpu;
	e->last_priority = e->priority;
	if (q->tail) {
		uint32_t *tail_word = fifo_word(d, q->tail);

		if (tail_word) {
			linked = set_link(tail_word, port);
			fifo_word_touched(d, q->tail);
		}
	}
	if (!linked)
		__atomic_store_n(&cb->head[e->priority], port, __ATOMIC_SEQ_CST);
	q->tail = port;
	if (!linked && !(__atomic_fetch_or(&cb->ready, 1U << e->priority, __ATOMIC_SEQ_CST) >> e->priority & 1))
		vcpu_mark_events_pending(d->vcpu[e->vcpu]);
	domain_mark_dirty(d, fv->control_mfn);
}

bool fifo_set_pending(struct domain *d, uint32_t port)
{
	uint32_t *word = fifo_word(d, port), old;

	if (!word) {
		d->evtchn->port[port].fifo_pending = 1;
		return true;
	}
	old = __atomic_fetch_or(word, W_PENDING, __ATOMIC_SEQ_CST);
	if (!(old & (W_MASKED | W_LINKED)))
		fifo_link(d, port, word);
	fifo_word_touched(d, port);
	return !(old & W_PENDING);
}

bool fifo_is_pending(const struct domain *d, uint32_t port)
{
	const uint32_t *word = fifo_word(d, port);

	return word && (__atomic_load_n(word, __ATOMIC_SEQ_CST) & W_PENDING);
}

void fifo_clear_pending(struct domain *d, uint32_t port)
{
	uint32_t *word = fifo_word(d, port);

	if (word) {
		__atomic_fetch_and(word, ~W_PENDING, __ATOMIC_SEQ_CST);
		fifo_word_touched(d, port);
	}
}

void fifo_unmask(struct domain *d, uint32_t port)
{
	uint32_t *word = fifo_word(d, port);

	if (!word)
		return;
	__atomic_fetch_and(word, ~W_MASKED, __ATOMIC_SEQ_CST);
	fifo_word_touched(d, port);
	if (__atomic_load_n(word, __ATOMIC_SEQ_CST) & W_PENDING)
		fifo_set_pending(d, port);
}

/* ---- set-up ---- */

/* Events pending in the 2-level bitmaps go over; the words do not exist yet. */
static void fifo_switch(struct domain *d)
{
	const struct shared_info *s = domain_shared_info(d);

	for (uint32_t port = 1; port < EVTCHN_MAX_PORTS; port++) {
		struct evtchn *e = &d->evtchn->port[port];

		if (e->kind == EC_FREE)
			continue;
		e->priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
		e->fifo_pending = s->evtchn_pending[port / 64] >> (port % 64) & 1;
	}
	d->evtchn->fifo = true;
}

int64_t fifo_init_control(struct vcpu *v, struct evtchn_init_control *a)
{
	struct domain *d = v->d;
	struct fifo_vcpu *f;

	a->link_bits = EVTCHN_FIFO_LINK_BITS;
	if (a->vcpu >= d->nr_vcpus)
		return -ENOENT;
	if (a->offset > PAGE_SIZE_HV - sizeof(struct evtchn_fifo_control_block) || (a->offset & 7))
		return -EINVAL;
	f = &d->evtchn->fifo_vcpu[a->vcpu];
	/* Frame 0 stands for "none" here; it is the kernel's or the builder's, never a control block. */
	if (f->control_mfn || !a->control_gfn || !frame_is_populated(d, a->control_gfn))
		return -EINVAL;
	memset(f, 0, sizeof(*f));
	f->control_mfn = a->control_gfn;
	f->control_offset = a->offset;
	if (!d->evtchn->fifo)
		fifo_switch(d);
	return 0;
}

int64_t fifo_expand_array(struct vcpu *v, const struct evtchn_expand_array *a)
{
	struct domain *d = v->d;
	struct evtchn_state *s = d->evtchn;
	uint32_t first = s->fifo_nr_pages * (uint32_t)FIFO_WORDS_PER_PAGE;

	if (!s->fifo)
		return -EOPNOTSUPP;
	if (s->fifo_nr_pages >= FIFO_MAX_PAGES)
		return -ENOSPC;
	if (!frame_is_populated(d, a->array_gfn))
		return -EINVAL;
	s->fifo_page_mfn[s->fifo_nr_pages++] = a->array_gfn;
	for (uint32_t port = first; port < first + FIFO_WORDS_PER_PAGE; port++)
		if (s->port[port].fifo_pending) {
			s->port[port].fifo_pending = 0;
			fifo_set_pending(d, port);
		}
	return 0;
}

int64_t fifo_set_priority(struct domain *d, const struct evtchn_set_priority *a)
{
	if (!d->evtchn->fifo)
		return -ENOSYS;
	if (!evtchn_port_valid(d, a->port) || a->priority > EVTCHN_FIFO_PRIORITY_MIN)
		return -EINVAL;
	d->evtchn->port[a->port].priority = (uint8_t)a->priority;
	return 0;
}

void fifo_reset(struct domain *d)
{
	struct evtchn_state *s = d->evtchn;

	s->fifo = false;
	s->fifo_nr_pages = 0;
	memset(s->fifo_vcpu, 0, sizeof(s->fifo_vcpu));
	memset(s->port, 0, sizeof(s->port));
}
