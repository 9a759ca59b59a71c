/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gnttab.c - grant tables, version 1.
 *
 * The table lies in SPECIAL_GRANT frames, written by the guest at any time.  Back ends are the only ones that ever use
 * its entries (Domain-0 in the entry's domid), besides the guest itself through GNTTABOP_copy and by mapping what it
 * granted to itself (gnttab_map.c); other DomUs' frames are out of reach by construction.
 *
 * An entry in use is counted here, with the frame it named when it was first taken: the guest may scribble over the
 * entry meanwhile and what is in use stays what it was.  GTF_reading/GTF_writing in the entry tell the guest.  It may also
 * give the frame up: whoever uses it then writes to memory that is nobody's, and that goes with the last use.
 */
#include <stdlib.h>

#include "hypervisor/abi/gnttab.h"

#define GREFS_PER_FRAME (PAGE_SIZE_HV / sizeof(struct grant_entry_v1))

int grant_domain_init(struct domain *d)
{
	d->grant = calloc(1, sizeof(*d->grant));
	if (!d->grant)
		return -ENOMEM;
	d->grant->nr_frames = 1;
	return 0;
}

void grant_domain_destroy(struct domain *d)
{
	free(d->grant);
	d->grant = NULL;
}

static uint64_t grant_frame_mfn(uint32_t frame) { return SPECIAL_MFN + SPECIAL_GRANT + frame; }

static struct grant_entry_v1 *grant_entry(struct domain *d, uint32_t ref)
{
	struct grant_entry_v1 *frame;

	if (ref >= d->grant->nr_frames * GREFS_PER_FRAME)
		return NULL;
	frame = domain_frame(d, grant_frame_mfn(ref / GREFS_PER_FRAME));
	return frame ? &frame[ref % GREFS_PER_FRAME] : NULL;
}

static void grant_entry_touched(struct domain *d, uint32_t ref)
{
	domain_mark_dirty(d, grant_frame_mfn(ref / GREFS_PER_FRAME));
}

/* ---- taking and releasing ---- */

/* flags and domid are one 32-bit word: both are checked and the use marked in one atomic step. */
static uint16_t *entry_flags(struct grant_entry_v1 *e) { return &e->flags; }

static int grant_mark(struct grant_entry_v1 *e, uint16_t domid, uint16_t bits)
{
	uint32_t *word = (uint32_t *)(void *)entry_flags(e), old = __atomic_load_n(word, __ATOMIC_SEQ_CST);

	_Static_assert(sizeof(struct grant_entry_v1) == 8, "grant_table.h: v1 entry");
	do {
		if ((old & GTF_type_mask) != GTF_permit_access || old >> 16 != domid)
			return GNTST_bad_gntref;
		if ((bits & GTF_writing) && (old & GTF_readonly))
			return GNTST_permission_denied;
	} while (!__atomic_compare_exchange_n(word, &old, old | bits, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return GNTST_okay;
}

/* false: there was no such use.  d->lock held. */
static bool use_end(struct domain *d, uint32_t ref, bool write)
{
	struct grant_entry_v1 *e = grant_entry(d, ref);
	struct grant_use *use = &d->grant->use[ref];
	uint16_t clear = 0;

	if (!e || !(write ? use->writers : use->readers))
		return false;
	if (write)
		use->writers--;
	else
		use->readers--;
	if (!use->writers)
		clear |= GTF_writing;
	if (!use->writers && !use->readers)
		clear |= GTF_reading;
	if (clear) {
		__atomic_fetch_and(entry_flags(e), (uint16_t)~clear, __ATOMIC_SEQ_CST);
		grant_entry_touched(d, ref);
	}
	return true;
}

/* d->lock held.  GNTST_okay and the frame number. */
int grant_take(struct domain *d, uint32_t ref, uint16_t domid, bool write, uint64_t *ret_mfn)
{
	struct grant_entry_v1 *e = grant_entry(d, ref);
	struct grant_use *use;
	int status;

	if (!e)
		return GNTST_bad_gntref;
	use = &d->grant->use[ref];
	if (use->readers == UINT16_MAX || use->writers == UINT16_MAX)
		return GNTST_no_space;
	status = grant_mark(e, domid, write ? GTF_reading | GTF_writing : GTF_reading);
	if (status)
		return status;
	grant_entry_touched(d, ref);
	if (!use->readers && !use->writers)
		use->mfn = __atomic_load_n(&e->frame, __ATOMIC_SEQ_CST);
	if (write)
		use->writers++;
	else
		use->readers++;
	if (!frame_is_populated(d, use->mfn)) {
		use_end(d, ref, write);
		return GNTST_bad_page;
	}
	*ret_mfn = use->mfn;
	return GNTST_okay;
}

void grant_put(struct domain *d, uint32_t ref, bool write)
{
	const struct grant_use *use = &d->grant->use[ref];

	if (!use_end(d, ref, write) || use->readers || use->writers || frame_is_populated(d, use->mfn))
		return;
	if (d->ram_release)
		d->ram_release(d, use->mfn, 1);
	else
		memset(domain_frame(d, use->mfn), 0, PAGE_SIZE_HV);
}

void *grant_acquire_locked(struct domain *d, uint32_t ref, bool write, uint64_t *ret_mfn)
{
	uint64_t mfn = 0;

	if (grant_take(d, ref, 0, write, &mfn))
		return NULL;
	*ret_mfn = mfn;
	return domain_frame(d, mfn);
}

void *grant_acquire(struct domain *d, uint32_t ref, bool write, uint64_t *ret_mfn)
{
	void *page;

	pthread_mutex_lock(&d->lock);
	page = grant_acquire_locked(d, ref, write, ret_mfn);
	pthread_mutex_unlock(&d->lock);
	return page;
}

void grant_release_locked(struct domain *d, uint32_t ref, bool write)
{
	if (ref < GRANT_MAX_REFS)
		grant_put(d, ref, write);
}

void grant_release(struct domain *d, uint32_t ref, bool write)
{
	pthread_mutex_lock(&d->lock);
	grant_release_locked(d, ref, write);
	pthread_mutex_unlock(&d->lock);
}

/* Clear marks that stand for no use here. */
void grant_sweep(struct domain *d)
{
	for (uint32_t ref = 0; ref < d->grant->nr_frames * GREFS_PER_FRAME; ref++) {
		const struct grant_use *use = &d->grant->use[ref];
		struct grant_entry_v1 *e = grant_entry(d, ref);
		uint16_t clear = 0;

		if (!use->writers)
			clear |= GTF_writing;
		if (!use->writers && !use->readers)
			clear |= GTF_reading;
		if ((e->flags & GTF_type_mask) != GTF_permit_access || !(e->flags & clear))
			continue;
		__atomic_fetch_and(entry_flags(e), (uint16_t)~clear, __ATOMIC_SEQ_CST);
		grant_entry_touched(d, ref);
	}
}

/* ---- hypercall ---- */

static bool domid_is_self(const struct domain *d, uint16_t domid) { return domid == DOMID_SELF || domid == d->domid; }

static int op_setup_table(struct vcpu *v, void *arg)
{
	struct gnttab_setup_table *a = arg;
	struct domain *d = v->d;
	uint64_t frames[SPECIAL_NR_GRANT];

	if (!domid_is_self(d, a->dom)) {
		a->status = GNTST_permission_denied;
		return 0;
	}
	if (a->nr_frames > SPECIAL_NR_GRANT) {
		a->status = GNTST_general_error;
		return 0;
	}
	pthread_mutex_lock(&d->lock);
	if (d->grant->nr_frames < a->nr_frames)
		d->grant->nr_frames = a->nr_frames;
	pthread_mutex_unlock(&d->lock);
	for (uint32_t i = 0; i < a->nr_frames; i++)
		frames[i] = grant_frame_mfn(i);
	a->status = GNTST_okay;
	if (guest_write(v, (uint64_t)(uintptr_t)a->frame_list.p, frames, a->nr_frames * sizeof(frames[0])))
		return -EFAULT;
	return 0;
}

static int op_query_size(struct vcpu *v, void *arg)
{
	struct gnttab_query_size *a = arg;

	if (!domid_is_self(v->d, a->dom)) {
		a->status = GNTST_permission_denied;
		return 0;
	}
	a->nr_frames = v->d->grant->nr_frames;
	a->max_nr_frames = SPECIAL_NR_GRANT;
	a->status = GNTST_okay;
	return 0;
}

/* One side of a copy: a frame of the caller's, named by number or by a grant it made to itself. */
static int copy_side(struct vcpu *v, const struct gnttab_copy_ptr *p, bool by_ref, bool write, uint64_t *mfn)
{
	struct domain *d = v->d;
	int status;

	if (!domid_is_self(d, p->domid))
		return GNTST_bad_domain;
	if (!by_ref) {
		*mfn = p->u.gmfn;
		return frame_is_populated(d, *mfn) ? GNTST_okay : GNTST_bad_page;
	}
	pthread_mutex_lock(&d->lock);
	status = grant_take(d, p->u.ref, d->domid, write, mfn);
	pthread_mutex_unlock(&d->lock);
	return status;
}

static int copy_frames(struct vcpu *v, const struct gnttab_copy *a)
{
	bool src_ref = a->flags & GNTCOPY_source_gref, dst_ref = a->flags & GNTCOPY_dest_gref;
	struct domain *d = v->d;
	uint64_t src, dst;
	int status;

	if (a->source.offset + a->len > PAGE_SIZE_HV || a->dest.offset + a->len > PAGE_SIZE_HV)
		return GNTST_bad_copy_arg;
	status = copy_side(v, &a->source, src_ref, false, &src);
	if (status)
		return status;
	status = copy_side(v, &a->dest, dst_ref, true, &dst);
	if (!status) {
		memmove((uint8_t *)domain_frame(d, dst) + a->dest.offset,
			(const uint8_t *)domain_frame(d, src) + a->source.offset, a->len);
		frame_touched(d, dst);
		if (dst_ref)
			grant_release(d, a->dest.u.ref, true);
	}
	if (src_ref)
		grant_release(d, a->source.u.ref, false);
	return status;
}

static int op_copy(struct vcpu *v, void *arg)
{
	struct gnttab_copy *a = arg;

	a->status = (int16_t)copy_frames(v, a);
	return 0;
}

static int op_map_grant_ref(struct vcpu *v, void *arg)
{
	struct gnttab_map_grant_ref *a = arg;

	a->status = (int16_t)grant_map_self(v, a);
	return 0;
}

static int op_unmap_grant_ref(struct vcpu *v, void *arg)
{
	struct gnttab_unmap_grant_ref *a = arg;

	a->status = (int16_t)grant_unmap_self(v, a);
	return 0;
}

static int op_unmap_and_replace(struct vcpu *v, void *arg)
{
	struct gnttab_unmap_and_replace *a = arg;

	a->status = (int16_t)grant_replace_self(v, a);
	return 0;
}

static int op_transfer(struct vcpu *v, void *arg)
{
	struct gnttab_transfer *a = arg;

	a->status = GNTST_bad_domain;
	return 0;
}

static int op_swap_grant_ref(struct vcpu *v, void *arg)
{
	struct gnttab_swap_grant_ref *a = arg;
	struct domain *d = v->d;
	struct grant_entry_v1 *x, *y;

	pthread_mutex_lock(&d->lock);
	x = grant_entry(d, a->ref_a);
	y = grant_entry(d, a->ref_b);
	if (!x || !y) {
		a->status = GNTST_bad_gntref;
	} else if (d->grant->use[a->ref_a].readers || d->grant->use[a->ref_a].writers ||
		   d->grant->use[a->ref_b].readers || d->grant->use[a->ref_b].writers) {
		a->status = GNTST_eagain;
	} else {
		struct grant_entry_v1 tmp = *x;

		*x = *y;
		*y = tmp;
		grant_entry_touched(d, a->ref_a);
		grant_entry_touched(d, a->ref_b);
		a->status = GNTST_okay;
	}
	pthread_mutex_unlock(&d->lock);
	return 0;
}

#define OP(name, s) [GNTTABOP_ ## name] = { op_ ## name, sizeof(struct s) }
static const struct grant_opdesc {
	int (*fn)(struct vcpu *v, void *arg);
	size_t size;
} grant_ops[] = {
	OP(map_grant_ref, gnttab_map_grant_ref), OP(unmap_grant_ref, gnttab_unmap_grant_ref),
	OP(setup_table, gnttab_setup_table), OP(transfer, gnttab_transfer), OP(copy, gnttab_copy),
	OP(query_size, gnttab_query_size), OP(unmap_and_replace, gnttab_unmap_and_replace),
	OP(swap_grant_ref, gnttab_swap_grant_ref),
};
#undef OP

union grant_arg {
	struct gnttab_map_grant_ref map;
	struct gnttab_unmap_grant_ref unmap;
	struct gnttab_setup_table setup;
	struct gnttab_transfer transfer;
	struct gnttab_copy copy;
	struct gnttab_query_size query;
	struct gnttab_unmap_and_replace replace;
	struct gnttab_swap_grant_ref swap;
};

/* Not arrays of requests: one structure, and the version is the whole table's. */
static int64_t version_op(struct vcpu *v, uint64_t cmd, uint64_t va)
{
	struct gnttab_set_version set;
	struct gnttab_get_version get;
	int rc;

	if (cmd == GNTTABOP_set_version) {
		if (guest_read(v, &set, va, sizeof(set)))
			return -EFAULT;
		rc = set.version == 1 ? 0 : set.version == 2 ? -ENOSYS : -EINVAL;
		set.version = 1;                /* which one it is now, on failure too (grant_table.h) */
		return guest_write(v, va, &set, sizeof(set)) ? -EFAULT : rc;
	}
	if (guest_read(v, &get, va, sizeof(get)))
		return -EFAULT;
	if (!domid_is_self(v->d, get.dom))
		return -EPERM;
	get.version = 1;
	return guest_write(v, va, &get, sizeof(get));
}

int64_t do_grant_table_op(struct vcpu *v, struct hypercall *c)
{
	uint64_t cmd = c->arg[0], va = c->arg[1];
	uint32_t count = (uint32_t)c->arg[2];
	const struct grant_opdesc *op;

	if (cmd == GNTTABOP_set_version || cmd == GNTTABOP_get_version)
		return version_op(v, cmd, va);
	if (cmd >= sizeof(grant_ops) / sizeof(grant_ops[0]) || !grant_ops[cmd].fn)
		return -ENOSYS;
	op = &grant_ops[cmd];
	if ((int32_t)count < 0)
		return -EINVAL;
	if (count > 1 && (cmd == GNTTABOP_setup_table || cmd == GNTTABOP_query_size))
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++, va += op->size) {
		union grant_arg arg;
		int rc;

		if (i && hypercall_preempt(v)) {
			c->again = true;
			c->arg[1] = va;
			c->arg[2] = count - i;
			return 0;
		}
		if (guest_read(v, &arg, va, op->size))
			return -EFAULT;
		rc = op->fn(v, &arg);
		if (rc)
			return rc;
		if (guest_write(v, va, &arg, op->size))
			return -EFAULT;
	}
	return 0;
}
