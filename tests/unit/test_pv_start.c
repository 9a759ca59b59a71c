/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start of day, seen as the guest sees it: through its page tables, from its start_info.  The expected frames of the first test are
 * those that Xen 4.17's builder chose for a kernel of this shape (128 MiB, 46 MiB of kernel, 2 MiB of ramdisk).
 */
#include "config.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <elf.h>
#include <lz4.h>
#include <xen/elfnote.h>
#include <xen/grant_table.h>
#include "hypervisor/abi/abi.h"
#include "hypervisor/build/pv_start.h"
#include "hypervisor/domain_new.h"

#define MB (1UL << 20)
#define ELF_BYTES 0x2000u
#define NOTE_OFF 0x200u
#define BASE 0xffffffff80000000UL

struct note64 { uint32_t namesz, descsz, type; char name[4]; uint8_t value[8]; };

static size_t note_put(uint8_t *p, uint32_t type, uint64_t value)
{
	struct note64 n = { 4, 8, type, "Xen", { 0 } };

	memcpy(n.value, &value, 8);
	memcpy(p, &n, sizeof n);
	return sizeof n;
}

struct shape { uint64_t base, paddr, mem, p2m, hypercall_page; bool mod_pfn; };

static const struct shape linux_shape = { BASE, 16 * MB, 46 * MB, 0x8000000000UL, 0, true };

static uint8_t *kernel_make(const struct shape *s)
{
	uint8_t *p = calloc(1, ELF_BYTES);
	Elf64_Ehdr eh = { .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1, .e_phoff = sizeof eh, .e_ehsize = sizeof eh,
			  .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 };
	Elf64_Phdr ph[2] = {
		{ .p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = s->paddr, .p_filesz = 0x1000, .p_memsz = s->mem },
		{ .p_type = PT_NOTE, .p_offset = NOTE_OFF },
	};
	size_t n = NOTE_OFF;

	assert_non_null(p);
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	n += note_put(p + n, XEN_ELFNOTE_ENTRY, s->base + s->paddr + 0x10);
	n += note_put(p + n, XEN_ELFNOTE_VIRT_BASE, s->base);
	if (s->p2m)
		n += note_put(p + n, XEN_ELFNOTE_INIT_P2M, s->p2m);
	if (s->hypercall_page)
		n += note_put(p + n, XEN_ELFNOTE_HYPERCALL_PAGE, s->hypercall_page);
	if (s->mod_pfn)
		n += note_put(p + n, XEN_ELFNOTE_MOD_START_PFN, 1);
	ph[1].p_filesz = n - NOTE_OFF;
	memcpy(p, &eh, sizeof eh);
	memcpy(p + sizeof eh, ph, sizeof ph);
	memset(p + 0x1000, 0xab, 0x1000);
	return p;
}

static int build(const struct shape *s, uint64_t mib, size_t ramdisk_len, struct domain **ret, struct err *err)
{
	struct domain_params dp = { .domid = 3, .name = "t", .max_pages = mib << 8, .vcpus = 2, .ram_fd = -1 };
	struct pv_params pp = { .kernel_name = "k", .kernel_len = ELF_BYTES, .ramdisk_name = "r", .ramdisk_len = ramdisk_len,
				.cmdline = "console=hvc0", .nr_pages = mib << 8 };
	uint8_t *kernel = kernel_make(s), *ramdisk = ramdisk_len ? malloc(ramdisk_len) : NULL;
	int rc;

	if (ramdisk)
		memset(ramdisk, 0xcd, ramdisk_len);
	pp.kernel = kernel;
	pp.ramdisk = ramdisk;
	assert_int_equal(domain_new(&dp, ret, err), 0);
	assert_int_equal(abi_domain_init(*ret), 0);
	for (unsigned i = 0; i < 2; i++)
		abi_vcpu_init((*ret)->vcpu[i]);
	rc = pv_build(*ret, &pp, err);
	free(kernel);
	free(ramdisk);
	return rc;
}

/* The leaf entry for va, and the flags all levels above agree on (ANDed); 0: not mapped. */
static uint64_t walk(const struct domain *d, uint64_t va, uint64_t *ret_above)
{
	uint64_t pte = d->vcpu[0]->cr3_kernel << 12;

	*ret_above = ~0UL;
	for (int level = 4; level >= 1; level--) {
		const uint64_t *t = domain_frame(d, (pte & 0xffffffffff000UL) >> 12);

		assert_non_null(t);
		assert_int_equal(d->pt_type[(pte & 0xffffffffff000UL) >> 12], level);
		pte = t[va >> (12 + 9 * (level - 1)) & 511];
		if (!(pte & 1))
			return 0;
		if (level > 1)
			*ret_above &= pte & 0xfff;
	}
	return pte;
}

static void *at_va(const struct domain *d, uint64_t va)
{
	uint64_t above, pte = walk(d, va, &above);

	assert_true(pte & 1);
	return (uint8_t *)domain_frame(d, (pte & 0xffffffffff000UL) >> 12) + (va & 0xfff);
}

static void test_linux_layout(void **state)
{
	struct domain *d;
	struct err err = { 0 };
	const struct start_info *si;
	struct vcpu *v;
	uint64_t above;

	assert_int_equal(build(&linux_shape, 128, 0x212e10, &d, &err), 0);
	v = d->vcpu[0];
	si = at_va(d, v->regs.gpr[REG_RSI]);
	assert_string_equal(si->magic, "xen-3.0-x86_64");
	assert_int_equal(si->nr_pages, 0x8000);
	assert_int_equal(v->regs.gpr[REG_RSI], BASE + 0x3e00000);
	assert_int_equal(si->store_mfn, 0x3e01);
	assert_int_equal(si->console.domU.mfn, 0x3e02);
	assert_int_equal(si->pt_base, BASE + 0x3e03000);
	assert_int_equal(si->nr_pt_frames, 0x23);
	assert_int_equal(v->regs.gpr[REG_RSP], BASE + 0x3e27000);
	assert_int_equal(si->mod_start, 0x4000);
	assert_int_equal(si->mod_len, 0x212e10);
	assert_true(si->flags & SIF_MOD_START_PFN);
	assert_int_equal(si->mfn_list, 0x8000000000UL);
	assert_int_equal(si->first_p2m_pfn, 0x4213);
	assert_int_equal(si->nr_p2m_frames, 0x43);
	assert_string_equal((const char *)si->cmd_line, "console=hvc0");
	assert_int_equal(v->regs.rip, BASE + 0x1000010);
	assert_int_equal(v->regs.sel[SEG_CS], 0xe033);
	assert_int_equal(v->regs.sel[SEG_SS], 0xe02b);
	assert_int_equal(atomic_load(&v->run_state), VCPU_RUNNABLE);
	assert_int_equal(atomic_load(&d->vcpu[1]->run_state), VCPU_DOWN);
	/* mapped up to 4 MiB boundary and not further; the ramdisk is not */
	assert_int_equal(walk(d, BASE + 0x3fff000, &above) & 0xfff, 0x23);
	assert_int_equal(above & 0x67, 0x67);
	assert_int_equal(walk(d, BASE + 0x4000000, &above), 0);
	assert_int_equal(*(uint8_t *)at_va(d, BASE + 0x1000000), 0xab);
	assert_int_equal(*(uint8_t *)domain_frame(d, 0x4000), 0xcd);
	domain_free(d);
}

static void test_page_tables_are_read_only(void **state)
{
	struct domain *d;
	struct err err = { 0 };
	uint64_t above, tables = 0;

	assert_int_equal(build(&linux_shape, 128, 0, &d, &err), 0);
	for (uint64_t pfn = 0; pfn < 0x4000; pfn++) {
		uint64_t pte = walk(d, BASE + pfn * 4096, &above);

		assert_int_equal((pte & 0xffffffffff000UL) >> 12, pfn);
		assert_int_equal(!(pte & 2), d->pt_type[pfn] != 0);
		tables += d->pt_type[pfn] != 0;
	}
	assert_int_equal(tables, 0x23);
	domain_free(d);
}

static void test_tables_between_guest_and_machine(void **state)
{
	struct domain *d;
	struct err err = { 0 };
	const uint64_t *m2p;
	const grant_entry_v1_t *g;

	assert_int_equal(build(&linux_shape, 128, 0, &d, &err), 0);
	m2p = domain_frame(d, SPECIAL_MFN + SPECIAL_M2P);
	for (uint64_t i = 0; i < 0x8000; i += 511) {
		assert_int_equal(m2p[i], i);
		assert_int_equal(*(uint64_t *)at_va(d, 0x8000000000UL + i * 8), i);
	}
	g = domain_frame(d, SPECIAL_MFN + SPECIAL_GRANT);
	assert_int_equal(g[GNTTAB_RESERVED_CONSOLE].frame, d->console_mfn);
	assert_int_equal(g[GNTTAB_RESERVED_XENSTORE].frame, d->store_mfn);
	assert_int_equal(g[GNTTAB_RESERVED_XENSTORE].flags, GTF_permit_access);
	assert_int_not_equal(d->store_port, 0);
	assert_int_not_equal(d->console_port, d->store_port);
	domain_free(d);
}

/* As GRUB for PV asks: linked at 0, p2m list and ramdisk inside the mapping, a hypercall page. */
static void test_base_zero(void **state)
{
	static const struct shape grub = { 0, 0, 6 * MB, 0, 0x1000, false };
	struct domain *d;
	struct err err = { 0 };
	const struct start_info *si;
	const uint8_t *page;

	assert_int_equal(build(&grub, 64, 3 * MB, &d, &err), 0);
	si = at_va(d, d->vcpu[0]->regs.gpr[REG_RSI]);
	assert_false(si->flags & SIF_MOD_START_PFN);
	assert_int_equal(*(uint8_t *)at_va(d, si->mod_start), 0xcd);
	assert_int_equal(*(uint64_t *)at_va(d, si->mfn_list + 8 * 77), 77);
	assert_int_equal(si->first_p2m_pfn, 0);
	page = at_va(d, 0x1000);
	assert_int_equal(page[32 * 17 + 3], 0xb8);             /* mov $17, %eax; syscall */
	assert_int_equal(page[32 * 17 + 4], 17);
	assert_int_equal(page[32 * 17 + 9], 0x05);
	domain_free(d);
}

static const struct { const char *what; struct shape s; uint64_t mib; size_t ramdisk; int rc; } refusals[] = {
	{ "kernel larger than memory", { BASE, 16 * MB, 200 * MB, 0x8000000000UL, 0, true }, 128, 0, -ENOMEM },
	{ "ramdisk larger than memory", { BASE, 16 * MB, 46 * MB, 0x8000000000UL, 0, true }, 128, 90 * MB, -ENOMEM },
	{ "no room for tables", { BASE, 0, 64 * MB - 4096, 0, 0, true }, 64, 0, -ENOMEM },
	{ "not canonical", { 0x0000900000000000UL, 16 * MB, MB, 0, 0, true }, 128, 0, -EINVAL },
	{ "in the hypervisor's slots", { 0xffff800000000000UL, 16 * MB, MB, 0, 0, true }, 128, 0, -EINVAL },
	{ "wraps", { 0xfffffffffff00000UL, 0, 2 * MB, 0, 0, true }, 128, 0, -EINVAL },
	{ "p2m not canonical", { BASE, 16 * MB, MB, 0x0000900000000000UL, 0, true }, 128, 0, -EINVAL },
	{ "p2m in the hypervisor's slots", { BASE, 16 * MB, MB, 0xffff800000000000UL, 0, true }, 128, 0, -EINVAL },
	{ "p2m over the kernel", { BASE, 16 * MB, MB, BASE + 0x1000000, 0, true }, 128, 0, -EINVAL },
	{ "p2m wraps", { 0, 16 * MB, MB, 0xfffffffffffff000UL, 0, true }, 128, 0, -EINVAL },
	{ "hypercall page outside", { BASE, 16 * MB, MB, 0, BASE + 64 * MB, true }, 128, 0, -EINVAL },
	{ "hypercall page below", { BASE, 16 * MB, MB, 0, 0x1000, true }, 128, 0, -EINVAL },
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		struct domain *d;
		struct err err = { 0 };
		int rc = build(&refusals[i].s, refusals[i].mib, refusals[i].ramdisk, &d, &err);

		if (rc != refusals[i].rc || !err.text[0])
			fail_msg("%s: rc %d, \"%s\"", refusals[i].what, rc, err.text);
		domain_free(d);
	}
}

static void test_domain_limits(void **state)
{
	struct domain_params dp = { .domid = 3, .name = "t", .max_pages = 100, .vcpus = 1, .ram_fd = -1 };
	struct domain *d;

	assert_int_equal(domain_new(&dp, &d, NULL), -EINVAL);
	dp.max_pages = DOMAIN_MAX_PAGES + 1;
	assert_int_equal(domain_new(&dp, &d, NULL), -EINVAL);
	dp.max_pages = 0x8000;
	dp.vcpus = HV_MAX_VCPUS + 1;
	assert_int_equal(domain_new(&dp, &d, NULL), -EINVAL);
	dp.vcpus = 0;
	assert_int_equal(domain_new(&dp, &d, NULL), -EINVAL);
}

/* --- a packed kernel, unpacked to where it belongs --------------------------------------------------------------------------- */

#define LZ4_BLOCK (8 * MB)
#define PREF (16 * MB)                          /* where the header says that the kernel belongs; its image 2 MiB below */

struct part { uint64_t off, gpa, file, mem; };

static const struct packed_case {
	const char *what;
	uint64_t mib, image, block;
	struct part part[3];
} packed_cases[] = {
	{ "all in place", 64, 13 * MB, LZ4_BLOCK, { { 2 * MB, 16 * MB, 9 * MB, 9 * MB }, { 11 * MB, 25 * MB, MB, 2 * MB } } },
	{ "as Linux: some move down", 64, 18 * MB, LZ4_BLOCK,
	  { { 2 * MB, 16 * MB, 9 * MB, 9 * MB }, { 12 * MB, 25 * MB + 4096, 5000, 5000 }, { 13 * MB, 26 * MB, 4 * MB, 5 * MB } } },
	{ "the image is longer than the kernel", 64, 30 * MB, LZ4_BLOCK, { { 2 * MB, 16 * MB, 3 * MB, 4 * MB } } },
	{ "one would cover the next", 64, 13 * MB, LZ4_BLOCK, { { 2 * MB, 16 * MB, 5 * MB, 9 * MB }, { 8 * MB, 25 * MB, MB, MB } } },
	{ "the other way round in the file", 64, 13 * MB, LZ4_BLOCK, { { 9 * MB, 16 * MB, 3 * MB, 3 * MB }, { 2 * MB, 19 * MB, 6 * MB, 6 * MB } } },
	{ "elsewhere than the header says", 64, 13 * MB, LZ4_BLOCK, { { 2 * MB, 40 * MB, 9 * MB, 9 * MB } } },
	{ "blocks that are not full", 64, 13 * MB, 3 * MB, { { 2 * MB, 16 * MB, 9 * MB, 9 * MB } } },
	{ "memory for the kernel, not for its file as it lies there", 32, 40 * MB, LZ4_BLOCK, { { 2 * MB, 16 * MB, 3 * MB, 4 * MB } } },
};

static uint8_t *image_make(const struct packed_case *c)
{
	uint8_t *p = kernel_make(&linux_shape), *image = calloc(1, c->image);
	Elf64_Ehdr eh;
	Elf64_Phdr note, ph[4];
	unsigned n = 0;

	assert_non_null(image);
	memcpy(&eh, p, sizeof eh);
	memcpy(&note, p + sizeof eh + sizeof note, sizeof note);
	for (uint64_t i = 0x1000, x = 1; i < c->image; i++, x = x * 6364136223846793005UL + 1442695040888963407UL)
		image[i] = (uint8_t)(x >> 62);
	for (; n < 3 && c->part[n].mem; n++)
		ph[n] = (Elf64_Phdr) { .p_type = PT_LOAD, .p_offset = c->part[n].off, .p_paddr = c->part[n].gpa, .p_filesz = c->part[n].file,
				       .p_memsz = c->part[n].mem };
	ph[n++] = note;
	eh.e_phnum = (uint16_t)n;
	memcpy(image, p, 0x1000);
	note_put(image + NOTE_OFF, XEN_ELFNOTE_ENTRY, BASE + c->part[0].gpa + 16);
	memcpy(image, &eh, sizeof eh);
	memset(image + sizeof eh, 0, NOTE_OFF - sizeof eh);
	memcpy(image + sizeof eh, ph, n * sizeof ph[0]);
	free(p);
	return image;
}

static uint8_t *bzimage_make(const uint8_t *image, uint64_t n, uint64_t block, size_t *ret_n)
{
	size_t max = n + n / 64 + MB, at = 1024;
	uint8_t *bz = calloc(1, max);
	uint64_t pref = PREF;
	uint32_t v = 46 * MB;

	assert_non_null(bz);
	bz[0x1f1] = 1;
	bz[0x1fe] = 0x55;
	bz[0x1ff] = 0xaa;
	memcpy(bz + 0x202, "HdrS\x0f\x02", 6);
	memcpy(bz + 0x258, &pref, 8);
	memcpy(bz + 0x260, &v, 4);
	memcpy(bz + at, "\x02\x21\x4c\x18", 4);
	at += 4;
	for (uint64_t from = 0; from < n; from += block) {
		int len = LZ4_compress_default((const char *)image + from, (char *)bz + at + 4, (int)(n - from < block ? n - from : block),
					       (int)(max - at - 8));

		assert_true(len > 0);
		memcpy(bz + at, &len, 4);
		at += 4 + (size_t)len;
	}
	v = (uint32_t)n;
	memcpy(bz + at, &v, 4);
	v = (uint32_t)(at + 4 - 1024);
	memcpy(bz + 0x24c, &v, 4);
	*ret_n = at + 4;
	return bz;
}

static struct domain *built(const struct packed_case *c, const uint8_t *kernel, size_t n)
{
	struct domain_params dp = { .domid = 3, .name = "t", .max_pages = c->mib << 8, .vcpus = 2, .ram_fd = -1 };
	struct pv_params pp = { .kernel_name = "k", .kernel = kernel, .kernel_len = n, .cmdline = "", .nr_pages = c->mib << 8 };
	struct err err = { 0 };
	struct domain *d;

	assert_int_equal(domain_new(&dp, &d, &err), 0);
	assert_int_equal(abi_domain_init(d), 0);
	for (unsigned i = 0; i < 2; i++)
		abi_vcpu_init(d->vcpu[i]);
	if (pv_build(d, &pp, &err))
		fail_msg("%s: %s", c->what, err.text);
	return d;
}

/* Memory is the same to the last byte as from the same image that was not packed, which is copied to its place. */
static void test_packed_kernels(void **state)
{
	for (size_t i = 0; i < sizeof packed_cases / sizeof packed_cases[0]; i++) {
		const struct packed_case *c = &packed_cases[i];
		uint8_t *image = image_make(c), *bz;
		struct domain *d[2];
		size_t n = 0;

		bz = bzimage_make(image, c->image, c->block, &n);
		d[0] = built(c, image, c->image);
		d[1] = built(c, bz, n);
		for (uint64_t pfn = 0; pfn < c->mib << 8; pfn++)
			if (memcmp(domain_frame(d[0], pfn), domain_frame(d[1], pfn), 4096))
				fail_msg("%s: frame %#llx differs", c->what, (unsigned long long)pfn);
		domain_free(d[0]);
		domain_free(d[1]);
		free(bz);
		free(image);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linux_layout), cmocka_unit_test(test_page_tables_are_read_only),
		cmocka_unit_test(test_tables_between_guest_and_machine), cmocka_unit_test(test_base_zero),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_domain_limits), cmocka_unit_test(test_packed_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
