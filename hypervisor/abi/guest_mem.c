/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_mem.c - the guest's memory as the ABI reaches it: hypercall arguments through the engine (which faults, sets A/D
 * and dirties as the guest itself would), hypervisor-kept areas through the kernel's page tables, and the M2P.
 */
#include "hypervisor/abi/abi_private.h"

/* Not libc's: guest vector registers may be live. */
static void bytes_copy(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

int guest_read(struct vcpu *v, void *dst, uint64_t va, size_t n)
{
	size_t done = 0;

	return v->d->engine->copy_from(v, dst, va, n, &done) ? -EFAULT : 0;
}

int guest_write(struct vcpu *v, uint64_t va, const void *src, size_t n)
{
	size_t done = 0;

	return v->d->engine->copy_to(v, va, src, n, &done) ? -EFAULT : 0;
}

/* One page's worth of [va, va+n): host address and how many bytes lie there. */
static uint8_t *kernel_chunk(struct vcpu *v, uint64_t va, size_t n, bool write, size_t *ret_len, uint64_t *ret_mfn)
{
	uint64_t l1_mfn, *slot, pte;
	size_t off = va & (PAGE_SIZE_HV - 1), len = PAGE_SIZE_HV - off;
	uint8_t *page;

	if (!va_is_canonical(va) || va_is_hypervisor(va))
		return NULL;
	slot = pt_l1_slot(v->d, v->cr3_kernel, va, &l1_mfn);
	if (!slot)
		return NULL;
	pte = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if (!(pte & PTE_PRESENT) || (write && !(pte & PTE_RW)))
		return NULL;
	page = ram_frame(v->d, pte_mfn(pte));
	if (!page)
		return NULL;
	*ret_len = len < n ? len : n;
	*ret_mfn = pte_mfn(pte);
	return page + off;
}

int guest_kernel_read(struct vcpu *v, void *dst, uint64_t va, size_t n)
{
	uint8_t *out = dst;

	while (n) {
		uint64_t mfn;
		size_t len;
		const uint8_t *p = kernel_chunk(v, va, n, false, &len, &mfn);

		if (!p)
			return -EFAULT;
		bytes_copy(out, p, len);
		out += len;
		va += len;
		n -= len;
	}
	return 0;
}

int guest_kernel_write(struct vcpu *v, uint64_t va, const void *src, size_t n)
{
	const uint8_t *in = src;

	while (n) {
		uint64_t mfn;
		size_t len;
		uint8_t *p = kernel_chunk(v, va, n, true, &len, &mfn);

		if (!p)
			return -EFAULT;
		bytes_copy(p, in, len);
		frame_touched(v->d, mfn);
		in += len;
		va += len;
		n -= len;
	}
	return 0;
}

void m2p_set(struct domain *d, uint64_t mfn, uint64_t gpfn)
{
	uint64_t frame = SPECIAL_MFN + SPECIAL_M2P + mfn / 512;
	uint64_t *table = domain_frame(d, frame);

	if (!table)
		return;
	__atomic_store_n(&table[mfn % 512], gpfn, __ATOMIC_RELAXED);
	domain_mark_dirty(d, frame);
}
