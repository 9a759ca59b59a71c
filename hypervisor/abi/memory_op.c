/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memory_op.c - the memory reservation of the guest: ballooning and the queries around it.
 *
 * The domain's frame numbers are its own: 0 .. max_pages-1, of which it holds those in d->populated.  Giving a frame up
 * frees the host's memory behind it and getting one back yields zeros.  A guest page prefers the frame of its own
 * number, so a balloon that shrinks and grows leaves mfn == gfn where it can.
 */
#include "hypervisor/abi/abi_private.h"
#include <xen/memory.h>

/* Continuations: how many extents are done, above the sub-operation (as Xen encodes it). */
#define CMD_BITS 6
#define CMD_MASK ((1U << CMD_BITS) - 1)
#define MAX_ORDER 9                       /* 2 MiB, Xen's limit for a domU */

static void populated_set(struct domain *d, uint64_t mfn, bool on)
{
	uint64_t bit = 1UL << (mfn % 64);

	if (on)
		__atomic_fetch_or(&d->populated[mfn / 64], bit, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&d->populated[mfn / 64], ~bit, __ATOMIC_RELAXED);
}

/* Are [mfn, mfn+n) all free?  d->lock held. */
static bool range_is_free(const struct domain *d, uint64_t mfn, uint64_t n)
{
	if (mfn >= d->max_pages || n > d->max_pages - mfn)
		return false;
	for (uint64_t i = 0; i < n; i++)
		if (frame_is_populated(d, mfn + i))
			return false;
	return true;
}

/* First free, aligned run of 1 << order frames at or after `from`, or UINT64_MAX.  d->lock held. */
static uint64_t range_find(const struct domain *d, uint64_t from, unsigned order)
{
	uint64_t step = 1UL << order;

	for (uint64_t mfn = (from + step - 1) & ~(step - 1); mfn < d->max_pages; mfn += step) {
		if (order < 6 && !(mfn % 64) && d->populated[mfn / 64] == ~0UL) {
			mfn += 64 - step;
			continue;
		}
		if (range_is_free(d, mfn, step))
			return mfn;
	}
	return UINT64_MAX;
}

/* Take 1 << order free frames, wanted first; first frame or UINT64_MAX.  *hint speeds up a run of calls. */
static uint64_t frames_take(struct domain *d, uint64_t wanted, unsigned order, uint64_t *hint)
{
	uint64_t n = 1UL << order, mfn = wanted;

	pthread_mutex_lock(&d->lock);
	if (wanted == UINT64_MAX || (wanted & (n - 1)) || !range_is_free(d, wanted, n)) {
		mfn = range_find(d, *hint, order);
		if (mfn == UINT64_MAX && *hint)
			mfn = range_find(d, 0, order);
		if (mfn != UINT64_MAX)
			*hint = mfn;
	}
	if (mfn != UINT64_MAX) {
		for (uint64_t i = 0; i < n; i++)
			populated_set(d, mfn + i, true);
		atomic_fetch_add(&d->tot_pages, n);
	}
	pthread_mutex_unlock(&d->lock);
	return mfn;
}

/* Give [mfn, mfn+n) up; false when the guest does not hold all of it. */
static bool frames_give(struct domain *d, uint64_t mfn, uint64_t n)
{
	bool ok = mfn < d->max_pages && n <= d->max_pages - mfn;

	pthread_mutex_lock(&d->lock);
	for (uint64_t i = 0; ok && i < n; i++)
		ok = frame_is_populated(d, mfn + i);
	if (ok) {
		for (uint64_t i = 0; i < n; i++) {
			populated_set(d, mfn + i, false);
			__atomic_store_n(&d->pt_type[mfn + i], 0, __ATOMIC_RELAXED);
			m2p_set(d, mfn + i, M2P_INVALID);
		}
		atomic_fetch_sub(&d->tot_pages, n);
	}
	pthread_mutex_unlock(&d->lock);
	return ok;
}

/* The contents of frames just given up: freed, or zeroed; translations of them gone. */
static void frames_scrub(struct domain *d, uint64_t mfn, uint64_t n)
{
	if (d->ram_release)
		d->ram_release(d, mfn, n);
	else
		memset(domain_frame(d, mfn), 0, n << PAGE_SHIFT_HV);
	for (uint64_t i = 0; i < n; i++)
		frame_touched(d, mfn + i);
}

static void flush_everyone(struct vcpu *v)
{
	v->d->engine->tlb_shootdown(v, vcpu_mask_all(v->d), 0, true);
}

static int domid_check(const struct domain *d, uint16_t domid)
{
	if (domid == DOMID_SELF || domid == d->domid)
		return 0;
	return domid < DOMID_FIRST_RESERVED ? -ESRCH : -EPERM;
}

/* ---- populate, increase, decrease ---- */

static int reservation_read(struct vcpu *v, uint64_t va, struct xen_memory_reservation *r)
{
	if (guest_read(v, r, va, sizeof(*r)))
		return -EFAULT;
	if (domid_check(v->d, r->domid))
		return domid_check(v->d, r->domid);
	if (r->extent_order > MAX_ORDER)
		return -EPERM;
	return r->nr_extents > UINT64_MAX / sizeof(uint64_t) ? -EINVAL : 0;
}

/* What a list of extents keeps between them: where to look for free frames; frames given up and not yet scrubbed. */
#define BATCH 64U

struct extents {
	uint64_t hint;
	uint64_t given[BATCH];
	unsigned nr_given;
};

typedef int extent_fn(struct vcpu *v, const struct xen_memory_reservation *r, uint64_t slot_va, struct extents *x);

/* No one may write through an old translation once the memory is gone: first the flush, then the release. */
static void extents_scrub(struct vcpu *v, const struct xen_memory_reservation *r, struct extents *x)
{
	if (!x->nr_given)
		return;
	flush_everyone(v);
	for (unsigned i = 0; i < x->nr_given; i++)
		frames_scrub(v->d, x->given[i], 1UL << r->extent_order);
	x->nr_given = 0;
}

/* May the guest hold n frames more?  One vCPU changes the reservation at a time, so the answer stands until it has them. */
static bool within_limit(const struct domain *d, uint64_t n)
{
	uint64_t limit = atomic_load(&d->limit_pages), have = atomic_load(&d->tot_pages);

	return !limit || (have <= limit && n <= limit - have);
}

static int extent_populate(struct vcpu *v, const struct xen_memory_reservation *r, uint64_t slot_va, struct extents *x)
{
	uint64_t gpfn, mfn, n = 1UL << r->extent_order;

	if (guest_read(v, &gpfn, slot_va, sizeof(gpfn)))
		return -EFAULT;
	mfn = within_limit(v->d, n) ? frames_take(v->d, gpfn, r->extent_order, &x->hint) : UINT64_MAX;
	if (mfn == UINT64_MAX)
		return -ENOMEM;
	for (uint64_t i = 0; i < n; i++)
		m2p_set(v->d, mfn + i, gpfn + i);
	return guest_write(v, slot_va, &mfn, sizeof(mfn));
}

static int extent_increase(struct vcpu *v, const struct xen_memory_reservation *r, uint64_t slot_va, struct extents *x)
{
	uint64_t mfn = within_limit(v->d, 1UL << r->extent_order) ? frames_take(v->d, UINT64_MAX, r->extent_order, &x->hint)
								  : UINT64_MAX;

	if (mfn == UINT64_MAX)
		return -ENOMEM;
	return slot_va ? guest_write(v, slot_va, &mfn, sizeof(mfn)) : 0;
}

static int extent_decrease(struct vcpu *v, const struct xen_memory_reservation *r, uint64_t slot_va, struct extents *x)
{
	uint64_t mfn, n = 1UL << r->extent_order;

	if (guest_read(v, &mfn, slot_va, sizeof(mfn)))
		return -EFAULT;
	if (!frames_give(v->d, mfn, n))
		return -EINVAL;
	x->given[x->nr_given++] = mfn;
	if (x->nr_given == BATCH)
		extents_scrub(v, r, x);
	return 0;
}

/* The number of extents done is the result, errors included: that is how the header has it. */
static int64_t reservation_op(struct vcpu *v, struct hypercall *c, extent_fn *fn, bool list_optional)
{
	uint64_t start = (c->arg[0] & 0xffffffffUL) >> CMD_BITS, i, list;
	struct extents x = { 0 };
	struct xen_memory_reservation r;
	int rc = reservation_read(v, c->arg[1], &r);

	if (rc)
		return rc == -EFAULT ? rc : (int64_t)start;
	if (start > r.nr_extents)
		return -EINVAL;
	list = (uint64_t)(uintptr_t)r.extent_start.p;
	for (i = start; i < r.nr_extents; i++) {
		if (i > start && hypercall_preempt(v) && i < UINT32_MAX >> CMD_BITS) {
			c->again = true;
			c->arg[0] = (c->arg[0] & CMD_MASK) | i << CMD_BITS;
			break;
		}
		if (fn(v, &r, list || !list_optional ? list + i * sizeof(uint64_t) : 0, &x))
			break;
	}
	extents_scrub(v, &r, &x);
	return (int64_t)i;
}

/* ---- exchange ---- */

#define EXCHANGE_MAX_PAGES (1UL << MAX_ORDER)

static int exchange_check(const struct domain *d, const struct xen_memory_exchange *x)
{
	if (domid_check(d, x->in.domid) || x->in.domid != x->out.domid)
		return -EINVAL;
	if (x->in.extent_order > MAX_ORDER || x->out.extent_order > MAX_ORDER)
		return -EPERM;
	if (x->in.nr_extents > d->max_pages || x->out.nr_extents > d->max_pages ||
	    x->in.nr_extents << x->in.extent_order != x->out.nr_extents << x->out.extent_order ||
	    x->nr_exchanged > x->in.nr_extents)
		return -EINVAL;
	return 0;
}

/* The guest holds all of them, and no two are the same.  Under reservation_lock this stays so. */
static bool exchange_inputs_ok(const struct domain *d, const uint64_t *mfn, uint64_t n, uint64_t pages)
{
	for (uint64_t i = 0; i < n; i++) {
		if (mfn[i] >= d->max_pages || pages > d->max_pages - mfn[i])
			return false;
		for (uint64_t k = 0; k < pages; k++)
			if (!frame_is_populated(d, mfn[i] + k))
				return false;
		for (uint64_t k = 0; k < i; k++)
			if (mfn[i] < mfn[k] + pages && mfn[k] < mfn[i] + pages)
				return false;
	}
	return true;
}

/*
 * Without free frames the chunk's own may do: they are cut up, or happen to lie in a row.  Fills out[] and returns true
 * then.
 */
static bool exchange_in_place(const uint64_t *in, uint64_t n_in, uint64_t in_pages, uint64_t *out, uint64_t n_out,
			      uint64_t out_pages)
{
	if (in[0] & (out_pages - 1))
		return false;
	for (uint64_t i = 1; i < n_in; i++)
		if (in[i] != in[0] + i * in_pages)
			return false;
	for (uint64_t i = 0; i < n_out; i++)
		out[i] = in[0] + i * out_pages;
	return true;
}

static bool exchange_take(struct domain *d, uint64_t *out, uint64_t n, unsigned order)
{
	uint64_t hint = 0, i;

	for (i = 0; i < n; i++) {
		out[i] = frames_take(d, UINT64_MAX, order, &hint);
		if (out[i] == UINT64_MAX)
			break;
	}
	if (i == n)
		return true;
	while (i--)
		frames_give(d, out[i], 1UL << order);
	return false;
}

/* One chunk: all pages of n_in extents become n_out extents.  On failure the chunk is as it was. */
static int exchange_chunk(struct vcpu *v, const struct xen_memory_exchange *x, uint64_t in_first, uint64_t n_in,
			  uint64_t out_first, uint64_t n_out)
{
	uint64_t in_list = (uint64_t)(uintptr_t)x->in.extent_start.p + in_first * 8;
	uint64_t out_list = (uint64_t)(uintptr_t)x->out.extent_start.p + out_first * 8;
	uint64_t in_mfn[EXCHANGE_MAX_PAGES], gpfn[EXCHANGE_MAX_PAGES], out_mfn[EXCHANGE_MAX_PAGES];
	uint64_t in_pages = 1UL << x->in.extent_order, out_pages = 1UL << x->out.extent_order;
	bool taken;

	if (guest_read(v, in_mfn, in_list, n_in * 8) || guest_read(v, gpfn, out_list, n_out * 8))
		return -EFAULT;
	if (!exchange_inputs_ok(v->d, in_mfn, n_in, in_pages))
		return -EINVAL;
	taken = exchange_take(v->d, out_mfn, n_out, x->out.extent_order);
	if (!taken && !exchange_in_place(in_mfn, n_in, in_pages, out_mfn, n_out, out_pages))
		return -ENOMEM;
	if (guest_write(v, out_list, out_mfn, n_out * 8)) {
		for (uint64_t i = 0; taken && i < n_out; i++)
			frames_give(v->d, out_mfn[i], out_pages);
		return -EFAULT;
	}
	for (uint64_t i = 0; taken && i < n_in; i++)
		frames_give(v->d, in_mfn[i], in_pages);
	flush_everyone(v);
	for (uint64_t i = 0; i < n_in; i++)
		frames_scrub(v->d, in_mfn[i], in_pages);
	for (uint64_t i = 0; i < n_out; i++)
		for (uint64_t k = 0; k < out_pages; k++)
			m2p_set(v->d, out_mfn[i] + k, gpfn[i] + k);
	return 0;
}

/*
 * New frames come from what the domain does not hold: one built below its maxmem, or ballooned, has some.  Else only
 * what exchange_in_place() finds.
 */
static int64_t memory_exchange(struct vcpu *v, struct hypercall *c)
{
	struct xen_memory_exchange x;
	unsigned in_order, out_order;
	uint64_t n_in, n_out, done;
	int rc;

	if (guest_read(v, &x, c->arg[1], sizeof(x)))
		return -EFAULT;
	rc = exchange_check(v->d, &x);
	if (rc)
		return rc;
	in_order = x.in.extent_order;
	out_order = x.out.extent_order;
	n_in = in_order >= out_order ? 1 : 1UL << (out_order - in_order);
	n_out = out_order >= in_order ? 1 : 1UL << (in_order - out_order);
	for (done = x.nr_exchanged; done + n_in <= x.in.nr_extents; done += n_in) {
		if (done != x.nr_exchanged && hypercall_preempt(v)) {
			c->again = true;
			break;
		}
		rc = exchange_chunk(v, &x, done, n_in, done / n_in * n_out, n_out);
		if (rc)
			break;
	}
	if (guest_write(v, c->arg[1] + offsetof(struct xen_memory_exchange, nr_exchanged), &done, sizeof(done)))
		return -EFAULT;
	return rc;
}

/* ---- queries ---- */

static int64_t machphys_mapping(struct vcpu *v, uint64_t va)
{
	struct xen_machphys_mapping m = { .v_start = MACH2PHYS_VIRT_START, .v_end = MACH2PHYS_VIRT_END,
					  .max_mfn = v->d->max_pages - 1 };

	return guest_write(v, va, &m, sizeof(m));
}

/*
 * What libxl sets for a PV guest: RAM up to maxmem and 8 MiB of slack, where the guest puts frames that are not its own.
 * The guest learns there how far it may balloon.
 */
static int64_t memory_map(struct vcpu *v, uint64_t va)
{
	struct { uint64_t addr, size; uint32_t type; } __attribute__((packed)) e820 = {
		0, (v->d->max_pages << PAGE_SHIFT_HV) + (8UL << 20), 1
	};
	struct xen_memory_map m;

	if (guest_read(v, &m, va, sizeof(m)))
		return -EFAULT;
	if (m.nr_entries < 1)
		return -EINVAL;
	m.nr_entries = 1;
	if (guest_write(v, (uint64_t)(uintptr_t)m.buffer.p, &e820, sizeof(e820)) || guest_write(v, va, &m, sizeof(m)))
		return -EFAULT;
	return 0;
}

static int64_t domain_query(struct vcpu *v, unsigned op, uint64_t va)
{
	struct xen_memory_domain q;
	int rc;

	if (guest_read(v, &q, va, sizeof(q)))
		return -EFAULT;
	rc = domid_check(v->d, q.domid);
	if (rc)
		return rc;
	switch (op) {
	case XENMEM_current_reservation:
		return (int64_t)atomic_load(&v->d->tot_pages);
	case XENMEM_maximum_reservation:
		return (int64_t)v->d->max_pages;
	default:
		return (int64_t)v->d->max_pages - 1;
	}
}

/*
 * One vCPU changes the reservation at a time: a frame given up must not be taken again before it is scrubbed.  A vCPU
 * that waits here is outside the guest, so the holder's shoot-down does not wait for it.
 */
static int64_t reservation_change(struct vcpu *v, struct hypercall *c, unsigned op)
{
	int64_t rc;

	pthread_mutex_lock(&v->d->reservation_lock);
	switch (op) {
	case XENMEM_populate_physmap:
		rc = reservation_op(v, c, extent_populate, false);
		break;
	case XENMEM_increase_reservation:
		rc = reservation_op(v, c, extent_increase, true);
		break;
	case XENMEM_decrease_reservation:
		rc = reservation_op(v, c, extent_decrease, false);
		break;
	default:
		rc = memory_exchange(v, c);
		break;
	}
	pthread_mutex_unlock(&v->d->reservation_lock);
	return rc;
}

int64_t do_memory_op(struct vcpu *v, struct hypercall *c)
{
	unsigned op = c->arg[0] & CMD_MASK;

	switch (op) {
	case XENMEM_populate_physmap:
	case XENMEM_increase_reservation:
	case XENMEM_decrease_reservation:
	case XENMEM_exchange:
		return reservation_change(v, c, op);
	case XENMEM_maximum_ram_page:
		return (int64_t)v->d->max_pages - 1;
	case XENMEM_current_reservation:
	case XENMEM_maximum_reservation:
	case XENMEM_maximum_gpfn:
		return domain_query(v, op, c->arg[1]);
	case XENMEM_machphys_mapping:
		return machphys_mapping(v, c->arg[1]);
	case XENMEM_memory_map:
		return memory_map(v, c->arg[1]);
	case XENMEM_add_to_physmap:
	case XENMEM_add_to_physmap_batch:
	case XENMEM_remove_from_physmap:
		return -EACCES;                 /* translated guests only */
	case XENMEM_machine_memory_map:
	case XENMEM_set_memory_map:
	case XENMEM_set_pod_target:
	case XENMEM_get_pod_target:
		return -EPERM;
	}
	return -ENOSYS;
}
