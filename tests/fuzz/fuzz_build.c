/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: the domain builder with a kernel whose headers and notes lie, and a ramdisk of any size (the input's last octet, in units
 * of 96 KiB).  What it accepts lies inside the guest's memory: every frame that the page tables name, and every table.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <xen/elfnote.h>
#include "hypervisor/abi/abi.h"
#include "hypervisor/build/pv_start.h"
#include "hypervisor/domain_new.h"
#include "tests/fuzz/fuzz.h"

#define PAGES 2048UL
#define RAMDISK_UNIT (96UL << 10)

struct note { uint32_t namesz, descsz, type; char name[4]; uint64_t value; } __attribute__((packed));

struct kernel {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[3];
	struct note note[6];
	uint8_t text[64];
};

#define KERNEL(base, p2m, hypercalls) { \
	.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 }, .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1, \
		.e_phoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3 }, \
	.ph = { \
		{ .p_type = PT_LOAD, .p_offset = 0, .p_paddr = 0x100000, .p_filesz = 200, .p_memsz = 0x9000 }, \
		{ .p_type = PT_LOAD, .p_offset = 64, .p_paddr = 0x110000, .p_filesz = 100, .p_memsz = 100 }, \
		{ .p_type = PT_NOTE, .p_offset = offsetof(struct kernel, note), .p_filesz = 6 * sizeof(struct note) }, \
	}, \
	.note = { \
		{ 4, 8, XEN_ELFNOTE_ENTRY, "Xen", (base) + 0x100010 }, { 4, 8, XEN_ELFNOTE_VIRT_BASE, "Xen", base }, \
		{ 4, 8, p2m ? XEN_ELFNOTE_INIT_P2M : 0, "Xen", p2m }, { 4, 8, XEN_ELFNOTE_PADDR_OFFSET, "Xen", 0 }, \
		{ 4, 8, hypercalls ? XEN_ELFNOTE_HYPERCALL_PAGE : 0, "Xen", hypercalls }, { 4, 8, XEN_ELFNOTE_MOD_START_PFN, "Xen", p2m != 0 }, \
	}, \
}

static const struct kernel linux_like = KERNEL(0xffffffff80000000, 0x8000000000, 0xffffffff80101000);
static const struct kernel grub_like = KERNEL(0UL, 0UL, 0x101000UL);
static const struct kernel at_the_end = KERNEL(0xffffffffffc00000, 0UL, 0UL);

const struct fuzz_seed fuzz_seeds[] = {
	{ &linux_like, sizeof linux_like }, { &grub_like, sizeof grub_like }, { &at_the_end, sizeof at_the_end }, { NULL, 0 },
};

/* Tables and what they map are frames the guest holds, and no table is mapped for writing. */
static int table_bad(const struct domain *d, uint64_t mfn, unsigned level)
{
	const uint64_t *t = domain_frame(d, mfn);

	if (mfn >= PAGES || d->pt_type[mfn] != level)
		return 1;
	for (unsigned i = 0; i < 512; i++) {
		uint64_t to = (t[i] & 0x000ffffffffff000UL) >> 12;

		if (!(t[i] & 1))
			continue;
		if (to >= PAGES || (level == 1 && d->pt_type[to] && (t[i] & 2)))
			return 1;
		if (level > 1 && table_bad(d, to, level - 1))
			return 1;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t ramdisk[255 * RAMDISK_UNIT];
	struct domain_params dp = { .domid = 3, .name = "t", .max_pages = PAGES, .vcpus = 1, .ram_fd = -1 };
	struct pv_params pp = { .kernel_name = "k", .kernel = data, .kernel_len = size, .ramdisk_name = "r", .ramdisk = ramdisk,
				.ramdisk_len = size ? data[size - 1] * RAMDISK_UNIT : 0, .cmdline = "", .nr_pages = PAGES };
	struct domain *d = NULL;
	struct err err = { 0 };
	int bad, rc = domain_new(&dp, &d, &err);

	if (rc || abi_domain_init(d))
		abort();
	abi_vcpu_init(d->vcpu[0]);
	rc = pv_build(d, &pp, &err);
	bad = rc ? !err.text[0] || strchr(err.text, '\n') != NULL : table_bad(d, d->vcpu[0]->cr3_kernel, 4);
	domain_free(d);
	return bad;
}
