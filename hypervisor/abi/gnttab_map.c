/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gnttab_map.c - a guest's mappings of grants: those it made to itself.
 *
 * Domains share nothing here, so a reference of another one's is refused with the status Xen gives for a domain that is
 * not there.  A self-map is an ordinary entry of the guest's own tables plus a handle that counts as a use of the grant;
 * the frame was the guest's before, so nothing depends on the guest keeping the entry as it was written.
 *
 * Order: the use and the handle under d->lock, the page table outside it (abi_private.h).  A handle that is being taken
 * down is busy, so that two vCPUs cannot both release it.
 */
#include "hypervisor/abi/gnttab.h"

#define NO_HANDLE (~0U)
#define MAP_KINDS (GNTMAP_host_map | GNTMAP_device_map)
#define MAP_KNOWN (MAP_KINDS | GNTMAP_readonly | GNTMAP_application_map | GNTMAP_contains_pte)
#define PTE_USER 0x004UL
#define PTE_AVAIL_SHIFT 9
#define NR_AVAIL_BITS 3

static struct grant_map *map_of(struct domain *d, uint32_t handle)
{
	return handle < GRANT_MAX_MAPS ? &d->grant->map[handle] : NULL;
}

/* d->lock held. */
static uint32_t handle_find_free(const struct domain *d)
{
	for (uint32_t i = 0; i < GRANT_MAX_MAPS; i++)
		if (d->grant->map[i].state == GRANT_MAP_FREE)
			return i;
	return NO_HANDLE;
}

static uint64_t map_pte(uint64_t mfn, uint32_t flags)
{
	uint64_t avail = (flags >> _GNTMAP_guest_avail0) & ((1U << NR_AVAIL_BITS) - 1);

	return mfn << PAGE_SHIFT_HV | PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | PTE_USER | avail << PTE_AVAIL_SHIFT |
	       (flags & GNTMAP_readonly ? 0 : PTE_RW);
}

/* The L1 entry that addr names: the machine address of one, or a virtual address in the tables in force. */
static uint64_t *map_slot(struct vcpu *v, uint64_t addr, bool is_pte, uint64_t *ret_mfn)
{
	uint64_t *table;

	if (!is_pte)
		return va_is_canonical(addr) && !va_is_hypervisor(addr) ? pt_l1_slot(v->d, v->cr3_kernel, addr, ret_mfn) : NULL;
	*ret_mfn = addr >> PAGE_SHIFT_HV;
	table = ram_frame(v->d, *ret_mfn);
	return table && !(addr & 7) ? &table[(addr & (PAGE_SIZE_HV - 1)) / 8] : NULL;
}

static int slot_store(struct vcpu *v, uint64_t addr, bool is_pte, uint64_t val)
{
	uint64_t mfn, *slot = map_slot(v, addr, is_pte, &mfn);

	if (!slot)
		return GNTST_general_error;
	return pt_entry_write(v->d, mfn, (unsigned)((uintptr_t)slot & (PAGE_SIZE_HV - 1)) / 8, val) ? GNTST_general_error :
	       GNTST_okay;
}

/* Nobody may reach the frame through the old entry once the use is released. */
static void slot_flush(struct vcpu *v, uint64_t addr, bool is_pte)
{
	v->d->engine->tlb_shootdown(v, vcpu_mask_all(v->d), is_pte ? 0 : addr, is_pte);
}

static void map_release(struct domain *d, struct grant_map *m)
{
	pthread_mutex_lock(&d->lock);
	grant_put(d, m->ref, !(m->flags & GNTMAP_readonly));
	m->state = GRANT_MAP_FREE;
	pthread_mutex_unlock(&d->lock);
}

int grant_map_self(struct vcpu *v, struct gnttab_map_grant_ref *a)
{
	struct domain *d = v->d;
	struct grant_map *m;
	uint64_t mfn = 0;
	uint32_t handle;
	int status;

	if (!(a->flags & MAP_KINDS))
		return GNTST_bad_gntref;
	if (a->dom != d->domid)
		return GNTST_bad_domain;
	pthread_mutex_lock(&d->lock);
	handle = handle_find_free(d);
	status = handle == NO_HANDLE ? GNTST_no_space : grant_take(d, a->ref, d->domid, !(a->flags & GNTMAP_readonly), &mfn);
	if (!status)
		d->grant->map[handle] = (struct grant_map){ .ref = a->ref, .mfn = (uint32_t)mfn, .state = GRANT_MAP_BUSY,
							    .flags = (uint16_t)(a->flags & MAP_KNOWN) };
	pthread_mutex_unlock(&d->lock);
	if (status)
		return status;
	m = &d->grant->map[handle];
	if (a->flags & GNTMAP_host_map)
		status = slot_store(v, a->host_addr, a->flags & GNTMAP_contains_pte, map_pte(mfn, a->flags));
	if (status) {
		map_release(d, m);
		return status;
	}
	if (a->flags & GNTMAP_host_map)
		slot_flush(v, a->host_addr, a->flags & GNTMAP_contains_pte);
	pthread_mutex_lock(&d->lock);
	m->state = GRANT_MAP_USED;
	pthread_mutex_unlock(&d->lock);
	a->handle = handle;
	a->dev_bus_addr = mfn << PAGE_SHIFT_HV;
	return GNTST_okay;
}

/* The handle becomes this vCPU's to take down, or NULL. */
static struct grant_map *map_claim(struct domain *d, uint32_t handle)
{
	struct grant_map *m = map_of(d, handle);

	if (!m)
		return NULL;
	pthread_mutex_lock(&d->lock);
	if (m->state == GRANT_MAP_USED)
		m->state = GRANT_MAP_BUSY;
	else
		m = NULL;
	pthread_mutex_unlock(&d->lock);
	return m;
}

static void map_unclaim(struct domain *d, struct grant_map *m)
{
	pthread_mutex_lock(&d->lock);
	m->state = GRANT_MAP_USED;
	pthread_mutex_unlock(&d->lock);
}

/* Put val where the claimed map's frame is mapped; the entry must still map it. */
static int map_take_down(struct vcpu *v, const struct grant_map *m, uint64_t addr, uint64_t val)
{
	bool is_pte = m->flags & GNTMAP_contains_pte;
	uint64_t mfn, *slot = map_slot(v, addr, is_pte, &mfn), pte;
	int status;

	if (!slot)
		return GNTST_general_error;
	pte = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if (!(pte & PTE_PRESENT) || pte_mfn(pte) != m->mfn)
		return GNTST_general_error;
	status = slot_store(v, addr, is_pte, val);
	if (!status)
		slot_flush(v, addr, is_pte);
	return status;
}

int grant_unmap_self(struct vcpu *v, const struct gnttab_unmap_grant_ref *a)
{
	struct grant_map *m = map_claim(v->d, a->handle);
	int status = GNTST_okay;

	if (!m)
		return GNTST_bad_handle;
	if (a->dev_bus_addr && a->dev_bus_addr != (uint64_t)m->mfn << PAGE_SHIFT_HV)
		status = GNTST_bad_dev_addr;
	if (!status && a->host_addr && (m->flags & GNTMAP_host_map))
		status = map_take_down(v, m, a->host_addr, 0);
	if (status) {
		map_unclaim(v->d, m);
		return status;
	}
	if (a->host_addr)
		m->flags &= (uint16_t)~GNTMAP_host_map;
	if (a->dev_bus_addr)
		m->flags &= (uint16_t)~GNTMAP_device_map;
	if (m->flags & MAP_KINDS)
		map_unclaim(v->d, m);
	else
		map_release(v->d, m);
	return GNTST_okay;
}

/* What is mapped at new_addr moves to host_addr, and new_addr is empty afterwards. */
int grant_replace_self(struct vcpu *v, const struct gnttab_unmap_and_replace *a)
{
	struct grant_map *m = map_claim(v->d, a->handle);
	uint64_t mfn, *slot;
	int status;

	if (!m)
		return GNTST_bad_handle;
	slot = map_slot(v, a->new_addr, false, &mfn);
	status = !slot || !(m->flags & GNTMAP_host_map) || (m->flags & GNTMAP_contains_pte) ? GNTST_general_error :
		 map_take_down(v, m, a->host_addr, __atomic_load_n(slot, __ATOMIC_RELAXED));
	if (status) {
		map_unclaim(v->d, m);
		return status;
	}
	slot_store(v, a->new_addr, false, 0);
	slot_flush(v, a->new_addr, false);
	map_release(v->d, m);
	return GNTST_okay;
}
