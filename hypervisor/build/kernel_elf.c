/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_elf.c - ELF-64 headers, PT_LOAD segments and Xen notes, through bounds-checked getters only.
 *
 * Defaults of absent notes as Xen's libelf has them: VIRT_BASE 0, PADDR_OFFSET 0.
 */
#include "hypervisor/build/kernel_elf.h"

#include <elf.h>
#include <string.h>
#include <xen/elfnote.h>
#include "lib/buf.h"

#define MAX_PHDRS 64
#define MAX_SHDRS 4096
#define GPA_LIMIT (1UL << 46)

struct notes {
	uint64_t value[XEN_ELFNOTE_MAX + 1];
	bool any;
};

struct ehdr { uint64_t phoff, shoff; unsigned phentsize, phnum, shentsize, shnum; };

/* A reader on [off, off+len) of the file, bad from the start when that is not inside it. */
static struct reader file_range(const uint8_t *p, size_t n, uint64_t off, uint64_t len)
{
	struct reader r;

	reader_init(&r, p, 0);
	if (off > n || len > n - off)
		r.bad = true;
	else
		reader_init(&r, p + off, len);
	return r;
}

static int ehdr_read(const char *name, const uint8_t *p, size_t n, struct ehdr *h, struct err *err)
{
	struct reader r;
	const uint8_t *id;
	unsigned type, machine;

	reader_init(&r, p, n);
	id = reader_view(&r, EI_NIDENT);
	if (!id || memcmp(id, ELFMAG, SELFMAG))
		return err_set(err, -ENOEXEC, "%s: not a kernel: no ELF image in it", name);
	if (id[EI_CLASS] != ELFCLASS64)
		return err_set(err, -ENOEXEC, "%s: a 32-bit kernel; Haven runs 64-bit PV kernels only", name);
	type = reader_u16(&r);
	machine = reader_u16(&r);
	if (id[EI_DATA] != ELFDATA2LSB || machine != EM_X86_64 || type != ET_EXEC)
		return err_set(err, -ENOEXEC, "%s: not a kernel: not an executable x86-64 ELF image", name);
	reader_u32(&r);                       /* e_version */
	reader_u64(&r);                       /* e_entry: the note decides */
	h->phoff = reader_u64(&r);
	h->shoff = reader_u64(&r);
	reader_u32(&r);                       /* e_flags */
	reader_u16(&r);                       /* e_ehsize */
	h->phentsize = reader_u16(&r);
	h->phnum = reader_u16(&r);
	h->shentsize = reader_u16(&r);
	h->shnum = reader_u16(&r);
	if (!reader_ok(&r) || !h->phnum || h->phnum > MAX_PHDRS || h->phentsize != sizeof(Elf64_Phdr))
		return err_set(err, -EINVAL, "%s: malformed ELF header; copy the file again", name);
	return 0;
}

struct phdr { uint32_t type; uint64_t off, paddr, filesz, memsz; };

/* Program header i; false when it or the bytes it names lie outside the file. */
static bool phdr_read(const uint8_t *p, size_t n, const struct ehdr *h, unsigned i, struct phdr *ret)
{
	struct reader r;

	if (h->phoff > n)
		return false;
	r = file_range(p, n, h->phoff + (uint64_t)i * h->phentsize, h->phentsize);
	ret->type = reader_u32(&r);
	reader_u32(&r);                       /* p_flags */
	ret->off = reader_u64(&r);
	reader_u64(&r);                       /* p_vaddr: Xen places by p_paddr */
	ret->paddr = reader_u64(&r);
	ret->filesz = reader_u64(&r);
	ret->memsz = reader_u64(&r);
	return reader_ok(&r) && ret->off <= n && ret->filesz <= n - ret->off;
}

static void note_take(struct kernel_elf *k, struct notes *notes, uint32_t type, struct reader *desc)
{
	size_t len = desc->left;

	if (type > XEN_ELFNOTE_MAX)
		return;
	notes->any = true;
	if (type == XEN_ELFNOTE_GUEST_OS) {
		if (len > sizeof k->guest_os - 1)
			len = sizeof k->guest_os - 1;
		reader_bytes(desc, k->guest_os, len);
	} else if (len == 8) {
		notes->value[type] = reader_u64(desc);
	} else if (len == 4) {
		notes->value[type] = reader_u32(desc);
	}
}

/* One note segment or section: {namesz, descsz, type, name, desc}, name and desc padded to 4.  Stops at the first bad one. */
static void notes_read(struct kernel_elf *k, struct notes *notes, struct reader r)
{
	while (reader_ok(&r) && r.left >= 12) {
		uint32_t namesz = reader_u32(&r), descsz = reader_u32(&r), type = reader_u32(&r);
		const uint8_t *nm = reader_view(&r, namesz);
		const uint8_t *d;
		struct reader desc;

		reader_view(&r, -namesz & 3);
		d = reader_view(&r, descsz);
		if (!nm || !d)
			return;
		if (namesz == 4 && !memcmp(nm, "Xen", 4)) {
			reader_init(&desc, d, descsz);
			note_take(k, notes, type, &desc);
		}
		if (r.left < (-descsz & 3))
			return;
		reader_view(&r, -descsz & 3);
	}
}

static void notes_from_segments(struct kernel_elf *k, const struct ehdr *h, struct notes *notes)
{
	struct phdr ph;

	for (unsigned i = 0; i < h->phnum; i++)
		if (phdr_read(k->p, k->n, h, i, &ph) && ph.type == PT_NOTE)
			notes_read(k, notes, file_range(k->p, k->n, ph.off, ph.filesz));
}

/* Kernels linked without PT_NOTE still have the sections. */
static void notes_from_sections(struct kernel_elf *k, const struct ehdr *h, struct notes *notes)
{
	if (h->shoff > k->n || h->shnum > MAX_SHDRS || h->shentsize != sizeof(Elf64_Shdr))
		return;
	for (unsigned i = 0; i < h->shnum; i++) {
		struct reader r = file_range(k->p, k->n, h->shoff + (uint64_t)i * h->shentsize, h->shentsize);
		uint32_t type;
		uint64_t off, size;

		reader_u32(&r);               /* sh_name */
		type = reader_u32(&r);
		reader_u64(&r);               /* sh_flags */
		reader_u64(&r);               /* sh_addr */
		off = reader_u64(&r);
		size = reader_u64(&r);
		if (reader_ok(&r) && type == SHT_NOTE)
			notes_read(k, notes, file_range(k->p, k->n, off, size));
	}
}

static int notes_apply(const char *name, struct kernel_elf *k, const struct ehdr *h, uint64_t *ret_paddr_offset, struct err *err)
{
	struct notes notes = { .any = false };
	uint64_t *v = notes.value;

	for (unsigned i = 0; i <= XEN_ELFNOTE_MAX; i++)
		v[i] = NOTE_UNSET;
	notes_from_segments(k, h, &notes);
	if (!notes.any)
		notes_from_sections(k, h, &notes);
	if (v[XEN_ELFNOTE_ENTRY] == NOTE_UNSET && v[XEN_ELFNOTE_PHYS32_ENTRY] != NOTE_UNSET)
		return err_set(err, -ENOEXEC, "%s: has a PVH entry but no PV entry; use a kernel built with CONFIG_XEN_PV=y "
			       "(Debian's linux-image-amd64 and -cloud-amd64 are)", name);
	if (v[XEN_ELFNOTE_ENTRY] == NOTE_UNSET)
		return err_set(err, -ENOEXEC, "%s: a kernel without a PV entry; use one built with CONFIG_XEN_PV=y "
			       "(Debian's linux-image-amd64 and -cloud-amd64 are)", name);
	k->entry = v[XEN_ELFNOTE_ENTRY];
	k->virt_base = v[XEN_ELFNOTE_VIRT_BASE] == NOTE_UNSET ? 0 : v[XEN_ELFNOTE_VIRT_BASE];
	k->init_p2m = v[XEN_ELFNOTE_INIT_P2M];
	k->hypercall_page = v[XEN_ELFNOTE_HYPERCALL_PAGE];
	k->mod_start_pfn = v[XEN_ELFNOTE_MOD_START_PFN] != NOTE_UNSET && v[XEN_ELFNOTE_MOD_START_PFN] != 0;
	*ret_paddr_offset = v[XEN_ELFNOTE_PADDR_OFFSET] == NOTE_UNSET ? 0 : v[XEN_ELFNOTE_PADDR_OFFSET];
	if (k->virt_base & 0xfff || (k->init_p2m != NOTE_UNSET && k->init_p2m & 0xfff))
		return err_set(err, -EINVAL, "%s: its Xen notes name addresses that are not page-aligned; the file is damaged", name);
	return 0;
}

static int segments_read(const char *name, struct kernel_elf *k, const struct ehdr *h, uint64_t paddr_offset, struct err *err)
{
	struct phdr ph;

	k->gpa_start = UINT64_MAX;
	for (unsigned i = 0; i < h->phnum; i++) {
		struct kernel_segment *s = &k->seg[k->nr_segs];

		if (!phdr_read(k->p, k->n, h, i, &ph))
			return err_set(err, -EINVAL, "%s: truncated: segment %u is not inside the file; copy it again", name, i);
		if (ph.type != PT_LOAD || !ph.memsz)
			continue;
		if (k->nr_segs == KERNEL_MAX_SEGMENTS)
			return err_set(err, -EINVAL, "%s: more than %d segments to load; no kernel has that many", name,
				       KERNEL_MAX_SEGMENTS);
		*s = (struct kernel_segment) { ph.paddr - paddr_offset, ph.off, ph.filesz, ph.memsz };
		if (ph.filesz > ph.memsz || ph.memsz > GPA_LIMIT || ph.paddr < paddr_offset || s->gpa > GPA_LIMIT)
			return err_set(err, -EINVAL, "%s: segment %u has impossible sizes or addresses; the file is damaged", name, i);
		if (s->gpa < k->gpa_start)
			k->gpa_start = s->gpa;
		if (s->gpa + s->mem_len > k->gpa_end)
			k->gpa_end = s->gpa + s->mem_len;
		k->nr_segs++;
	}
	if (!k->nr_segs)
		return err_set(err, -ENOEXEC, "%s: not a kernel: nothing to load in it", name);
	if (k->entry < k->virt_base || k->entry - k->virt_base >= k->gpa_end)
		return err_set(err, -EINVAL, "%s: its PV entry %#llx lies outside the kernel; the file is damaged", name,
			       (unsigned long long)k->entry);
	return 0;
}

int kernel_elf_parse(const char *name, const uint8_t *p, size_t n, struct kernel_elf *ret, struct err *err)
{
	struct ehdr h = { 0 };
	uint64_t paddr_offset = 0;
	int rc;

	*ret = (struct kernel_elf) { .p = p, .n = n };
	rc = ehdr_read(name, p, n, &h, err);
	if (!rc)
		rc = notes_apply(name, ret, &h, &paddr_offset, err);
	if (!rc)
		rc = segments_read(name, ret, &h, paddr_offset, err);
	return rc;
}
