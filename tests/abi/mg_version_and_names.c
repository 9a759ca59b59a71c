/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xen_version's answers: a version of the 4.x line, texts that end in a zero, the features a Linux guest panics without,
 * page size, UUID; -ENOSYS for numbers that are none and -EFAULT for buffers that are not there.
 */
#include "micro_guest.h"
#include <xen/features.h>
#include <xen/version.h>

const char guest_name[] = "version_and_names";

static long op(unsigned cmd, void *arg) { return hypercall(xen_version, cmd, arg, 0, 0); }

static void text(unsigned cmd, size_t size, const char *begins)
{
	char b[1100];
	bool ends = false;

	memset(b, 0x7f, sizeof(b));
	CHECK_EQ(op(cmd, b), 0);
	for (size_t i = 0; i < size; i++)
		ends |= !b[i];
	CHECK(ends);
	CHECK_EQ(b[size], 0x7f);
	for (size_t i = 0; begins[i]; i++)
		CHECK_EQ(b[i], begins[i]);
}

void guest_main(void)
{
	struct xen_feature_info f = { .submap_idx = 0 };
	struct xen_platform_parameters p;
	uint8_t uuid[16];

	CHECK_EQ(op(XENVER_version, NULL) >> 16, 4);
	text(XENVER_extraversion, XEN_EXTRAVERSION_LEN, ".");
	text(XENVER_capabilities, XEN_CAPABILITIES_INFO_LEN, "xen-3.0-x86_64");
	text(XENVER_changeset, XEN_CHANGESET_INFO_LEN, "");
	text(XENVER_commandline, sizeof(xen_commandline_t), "");
	CHECK_EQ(op(XENVER_get_features, &f), 0);
	CHECK(f.submap >> XENFEAT_mmu_pt_update_preserve_ad & 1);
	CHECK(f.submap >> XENFEAT_gnttab_map_avail_bits & 1);
	CHECK(!(f.submap >> XENFEAT_auto_translated_physmap & 1));
	f.submap_idx = 9;
	CHECK_EQ(op(XENVER_get_features, &f), -XEN_EINVAL);
	CHECK_EQ(op(XENVER_pagesize, NULL), 4096);
	CHECK_EQ(op(XENVER_guest_handle, uuid), 0);
	CHECK_EQ(op(XENVER_platform_parameters, &p), 0);
	CHECK_EQ(p.virt_start, 0xffff800000000000UL);
	CHECK_EQ(op(77, uuid), -XEN_ENOSYS);
	CHECK_EQ(op(XENVER_extraversion, (void *)0x10), -XEN_EFAULT);
	CHECK_EQ(op(XENVER_get_features, (void *)0xffff800000000000UL), -XEN_EFAULT);   /* read-only to us */
	CHECK_EQ(hypercall6(63, 0, 0, 0, 0, 0, 0), -XEN_ENOSYS);
	CHECK_EQ(hypercall6(-1, 0, 0, 0, 0, 0, 0), -XEN_ENOSYS);
	CHECK_EQ(hypercall(platform_op, 0, 0, 0, 0), -XEN_EPERM);
	CHECK((long)hypercall(domctl, 0, 0, 0, 0) < 0);
	CHECK((long)hypercall(sysctl, 0, 0, 0, 0) < 0);
	CHECK_EQ(hypercall(xenpmu_op, 0, 0, 0, 0), -XEN_EOPNOTSUPP);
}
