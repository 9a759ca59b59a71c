/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_shoot.c - what hypercalls ask of the engine while run() serves them: TLB shoot-downs, changes of CR3, and the way to the
 * full context.  Built -mgeneral-regs-only: the guest's vector registers may be live.
 */
#include "hypervisor/engine/bt/bt_int.h"

#include <sched.h>

/* Puts a request to the vCPUs in mask, self excepted, and waits until none of them can act without having served it. */
void bt_request(struct domain *d, struct vcpu *self, uint64_t mask, uint32_t req, uint64_t va)
{
	struct bt_vcpu *me = self ? bt_of(self) : NULL;
	uint64_t waiting = 0;

	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct vcpu *v = d->vcpu[i];
		uint32_t r = req;

		if (v == self || !v || !(mask & 1UL << i) || !bt_of(v))
			continue;
		if (r == BT_REQ_INVLPG) {
			if (atomic_load(&bt_of(v)->req) & BT_REQ_INVLPG)
				r = BT_REQ_FLUSH;
			else
				atomic_store(&bt_of(v)->req_va, va);
		}
		atomic_fetch_or(&bt_of(v)->req, r);
		if (atomic_load(&v->in_guest)) {
			bt_attention(bt_of(v));
			waiting |= 1UL << i;
		}
	}
	while (waiting) {
		for (unsigned i = 0; i < d->nr_vcpus; i++)
			if ((waiting & 1UL << i) &&
			    (!atomic_load(&bt_of(d->vcpu[i])->req) || !atomic_load(&d->vcpu[i]->in_guest)))
				waiting &= ~(1UL << i);
		if (me)
			bt_serve(me);
		if (waiting)
			sched_yield();
	}
}

void bt_tlb_shootdown(struct vcpu *self, uint64_t mask, uint64_t va, bool all)
{
	if (mask & 1UL << self->id) {
		if (all)
			bt_flush_local(self);
		else
			bt_invlpg_local(self, va);
	}
	bt_request(self->d, self, mask, all ? BT_REQ_FLUSH : BT_REQ_INVLPG, va);
}

void bt_cr3_changed(struct vcpu *v, bool kernel)
{
	struct bt_vcpu *bv = bt_of(v);
	enum bt_bank bank = kernel ? BT_KERNEL : BT_USER;

	bv->stat[BS_CR3]++;
	bt_tlb_flush_cr3(&bv->tlb.bank[bank], bank);
	pthread_mutex_lock(&bv->bt->lock);
	bt_pages_forget(bv, kernel ? 1 : 2);
	pthread_mutex_unlock(&bv->bt->lock);
}

void bt_mode_changed(struct vcpu *v)
{
	/* the mode is baked into translations and run() picks them by it */
}

/*
 * Out of the code cache, should bt_gate() have called.  From in_guest = false on others no longer wait for this vCPU to answer them: it will before it enters the cache again
 * (bt_run), and until then it uses no entry of the soft TLB.
 */
void bt_full_context(struct vcpu *v)
{
	struct bt_vcpu *bv = bt_of(v);

	bt_vec_save(bv);
	atomic_store(&bv->in_code, false);
	atomic_store(&v->in_guest, false);
}
