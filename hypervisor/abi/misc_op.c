/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * misc_op.c - xen_version, console_io, physdev_op, vm_assist.
 */
#include <stdio.h>

#include "hypervisor/abi/abi_private.h"
#include <xen/physdev.h>
#include <xen/version.h>

/* The Xen whose ABI this is. */
#define ABI_MAJOR 4U
#define ABI_MINOR 17U

/* ---- xen_version ---- */

/*
 * Features of a PV domU as real Xen 4.17 gives them (0x000220f0): no write protection of tables is asked of the guest's
 * descriptors beyond what it does anyway; see features.h for the names.
 */
static const uint32_t feature_map = 1U << XENFEAT_pae_pgdir_above_4gb | 1U << XENFEAT_mmu_pt_update_preserve_ad |
	1U << XENFEAT_highmem_assist | 1U << XENFEAT_gnttab_map_avail_bits | 1U << XENFEAT_memory_op_vnode_supported |
	1U << XENFEAT_direct_mapped;

static int64_t put_text(struct vcpu *v, uint64_t va, const char *text, size_t size)
{
	char out[1024] = { 0 };

	snprintf(out, size, "%s", text);
	return guest_write(v, va, out, size);
}

static int64_t put_compile_info(struct vcpu *v, uint64_t va)
{
	struct xen_compile_info info = { .compiler = "gcc", .compile_by = "haven", .compile_domain = "haven" };

	return guest_write(v, va, &info, sizeof(info));
}

static int64_t put_features(struct vcpu *v, uint64_t va)
{
	struct xen_feature_info f;

	if (guest_read(v, &f, va, sizeof(f)))
		return -EFAULT;
	if (f.submap_idx)
		return -EINVAL;
	f.submap = feature_map;
	return guest_write(v, va, &f, sizeof(f));
}

int64_t do_xen_version(struct vcpu *v, struct hypercall *c)
{
	const struct xen_platform_parameters params = { .virt_start = HYPERVISOR_VIRT_START };
	uint64_t va = c->arg[1];

	switch (c->arg[0]) {
	case XENVER_version:
		return ABI_MAJOR << 16 | ABI_MINOR;
	case XENVER_extraversion:
		return put_text(v, va, ".7-haven", XEN_EXTRAVERSION_LEN);
	case XENVER_compile_info:
		return put_compile_info(v, va);
	case XENVER_capabilities:
		return put_text(v, va, "xen-3.0-x86_64 ", XEN_CAPABILITIES_INFO_LEN);
	case XENVER_changeset:
		return put_text(v, va, "unavailable", XEN_CHANGESET_INFO_LEN);
	case XENVER_platform_parameters:
		return guest_write(v, va, &params, sizeof(params));
	case XENVER_get_features:
		return put_features(v, va);
	case XENVER_pagesize:
		return PAGE_SIZE_HV;
	case XENVER_guest_handle:
		return guest_write(v, va, v->d->uuid, sizeof(v->d->uuid));
	case XENVER_commandline:
		return put_text(v, va, "", sizeof(xen_commandline_t));
	}
	return -ENOSYS;
}

/* ---- console_io ---- */

#define CONSOLE_CHUNK 256U

int64_t do_console_io(struct vcpu *v, struct hypercall *c)
{
	uint32_t count = (uint32_t)c->arg[1];
	uint64_t va = c->arg[2];

	if (c->arg[0] != CONSOLEIO_write)
		return c->arg[0] == CONSOLEIO_read ? -EPERM : -ENOSYS;
	if ((int32_t)count < 0)
		return -EINVAL;
	for (bool first = true; count; first = false) {
		uint32_t n = count < CONSOLE_CHUNK ? count : CONSOLE_CHUNK;
		char text[CONSOLE_CHUNK];

		if (!first && hypercall_preempt(v)) {
			c->again = true;
			c->arg[1] = count;
			c->arg[2] = va;
			return 0;
		}
		if (guest_read(v, text, va, n))
			return -EFAULT;
		if (v->d->console_write)
			v->d->console_write(v->d, text, n);
		count -= n;
		va += n;
	}
	return 0;
}

/* ---- physdev_op: no devices; the rights to ports, which all read as empty ---- */

/* The second half of Xen's guest_io_okay() (xen/arch/x86/pv/emul-priv-op.c). */
bool pv_ports_in_bitmap(struct vcpu *v, uint16_t port, unsigned bytes)
{
	uint8_t bits[2];                               /* set: not allowed; so is what cannot be read */

	if (port + bytes > v->iobmp_ports)
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (guest_kernel_read(v, &bits[i], v->iobmp_va + port / 8 + i, 1))
			bits[i] = 0xff;
	return !((bits[0] | bits[1] << 8) & ((1U << bytes) - 1) << (port & 7));
}

int64_t do_physdev_op(struct vcpu *v, struct hypercall *c)
{
	struct physdev_set_iopl iopl;
	struct physdev_set_iobitmap bitmap;

	switch (c->arg[0]) {
	case PHYSDEVOP_set_iopl:
		if (guest_read(v, &iopl, c->arg[1], sizeof(iopl)))
			return -EFAULT;
		if (iopl.iopl > 3)
			return -EINVAL;
		v->iopl = (uint8_t)iopl.iopl;
		return 0;
	case PHYSDEVOP_set_iobitmap:
		if (guest_read(v, &bitmap, c->arg[1], sizeof(bitmap)))
			return -EFAULT;
		if (bitmap.nr_ports > 65536)
			return -EINVAL;
		v->iobmp_va = (uint64_t)(uintptr_t)bitmap.bitmap.p;
		v->iobmp_ports = bitmap.nr_ports;
		return 0;
	}
	return -ENOSYS;
}

/* ---- vm_assist ---- */

int64_t do_vm_assist(struct vcpu *v, struct hypercall *c)
{
	static const uint64_t valid = 1UL << VMASST_TYPE_4gb_segments | 1UL << VMASST_TYPE_4gb_segments_notify |
		1UL << VMASST_TYPE_writable_pagetables | 1UL << VMASST_TYPE_pae_extended_cr3 |
		1UL << VMASST_TYPE_architectural_iopl | 1UL << VMASST_TYPE_runstate_update_flag |
		1UL << VMASST_TYPE_m2p_strict;
	uint32_t cmd = (uint32_t)c->arg[0], type = (uint32_t)c->arg[1];

	if (cmd != VMASST_CMD_enable && cmd != VMASST_CMD_disable)
		return -ENOSYS;
	if (type >= 64 || !(valid >> type & 1))
		return -EINVAL;
	if (cmd == VMASST_CMD_enable)
		__atomic_fetch_or(&v->d->vm_assist, 1UL << type, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&v->d->vm_assist, ~(1UL << type), __ATOMIC_RELAXED);
	return 0;
}
