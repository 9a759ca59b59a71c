/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: a kernel file, as an operator may name anything in kernel= (bzImage, packings, ELF headers, Xen notes). */
#include <elf.h>
#include <string.h>
#include <xen/elfnote.h>
#include "hypervisor/build/kernel_elf.h"
#include "hypervisor/build/kernel_unpack.h"
#include "tests/fuzz/fuzz.h"

#define UNPACKED_MAX (1UL << 20)

struct note { uint32_t namesz, descsz, type; char name[4]; uint64_t value; } __attribute__((packed));

static const struct {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[3];
	struct note note[4];
	uint8_t text[64];
} elf = {
	.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 }, .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1,
		.e_phoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3 },
	.ph = {
		{ .p_type = PT_LOAD, .p_offset = 0, .p_paddr = 0x1000000, .p_filesz = 200, .p_memsz = 0x9000 },
		{ .p_type = PT_LOAD, .p_offset = 64, .p_paddr = 0x1010000, .p_filesz = 100, .p_memsz = 100 },
		{ .p_type = PT_NOTE, .p_offset = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr), .p_filesz = 4 * sizeof(struct note) },
	},
	.note = {
		{ 4, 8, XEN_ELFNOTE_ENTRY, "Xen", 0xffffffff81000010 }, { 4, 8, XEN_ELFNOTE_VIRT_BASE, "Xen", 0xffffffff80000000 },
		{ 4, 8, XEN_ELFNOTE_INIT_P2M, "Xen", 0x8000000000 }, { 4, 8, XEN_ELFNOTE_PADDR_OFFSET, "Xen", 0 },
	},
};

/* A bzImage whose payload, a kilobyte in, is gzip data of a few octets. */
static const uint8_t bzimage[1100] = {
	[0x1f1] = 1, [0x1fe] = 0x55, [0x1ff] = 0xaa, [0x202] = 'H', [0x203] = 'd', [0x204] = 'r', [0x205] = 'S', [0x206] = 0x0f,
	[0x207] = 2, [0x24c] = 40, [1024] = 0x1f, [1025] = 0x8b, [1026] = 8, [1034] = 0x4b, [1035] = 0x4c, [1036] = 0x4a, [1037] = 6,
};

/* The same with an LZ4 block of five literals. */
static const uint8_t bzimage_lz4[1044] = {
	[0x1f1] = 1, [0x1fe] = 0x55, [0x1ff] = 0xaa, [0x202] = 'H', [0x203] = 'd', [0x204] = 'r', [0x205] = 'S', [0x206] = 0x0f,
	[0x207] = 2, [0x24c] = 18, [0x25b] = 1, [1024] = 0x02, [1025] = 0x21, [1026] = 0x4c, [1027] = 0x18, [1028] = 6, [1032] = 0x50,
	[1033] = 0x7f, [1034] = 'E', [1035] = 'L', [1036] = 'F', [1037] = 2, [1038] = 5,
};

static const uint8_t xz[] = { 0xfd, '7', 'z', 'X', 'Z', 0, 0, 1, 0x69, 0x22, 0xde, 0x36, 0, 0, 0, 0, 0x1c, 0xdf, 0x44, 0x21 };

const struct fuzz_seed fuzz_seeds[] = { { &elf, sizeof elf }, { bzimage, sizeof bzimage }, { bzimage_lz4, sizeof bzimage_lz4 }, { xz, sizeof xz }, { NULL, 0 } };

/* What was accepted must lie inside the file: the builder copies it without looking again. */
static int segments_bad(const struct kernel_elf *k)
{
	for (unsigned i = 0; i < k->nr_segs; i++) {
		const struct kernel_segment *s = &k->seg[i];

		if (s->file_off > k->n || s->file_len > k->n - s->file_off || s->mem_len < s->file_len ||
		    s->gpa < k->gpa_start || s->gpa + s->mem_len > k->gpa_end)
			return 1;
	}
	return 0;
}

static void backwards(void *arg, unsigned n, void (*fn)(void *job, unsigned i), void *job)
{
	while (n--)
		fn(job, n);
}

/* Into a room, blocks in any order: the same image or the same refusal. */
static int room_bad(const uint8_t *data, size_t size, int rc, const struct kernel_image *want)
{
	static uint8_t room[UNPACKED_MAX + 4096];
	const struct kernel_room r = { .p = room, .max = UNPACKED_MAX, .each = backwards };
	struct kernel_image image = { 0 };
	uint64_t gpa, end;
	int got;

	memset(room, 0x5c, sizeof room);
	got = kernel_unpack_into("k", data, size, &r, &image, NULL);
	kernel_place(data, size, &gpa, &end);
	for (size_t i = image.touched; i < sizeof room; i++)
		if (room[i] != 0x5c)
			return 1;
	return got != rc || (!rc && (image.elf_len != want->elf_len || memcmp(image.elf, want->elf, want->elf_len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kernel_image image = { 0 };
	struct kernel_elf k;
	struct err err = { 0 };
	int bad = 0, rc = kernel_unpack("k", data, size, UNPACKED_MAX, &image, &err);

	if (room_bad(data, size, rc, &image)) {
		kernel_image_free(&image);
		return 1;
	}
	if (!rc)
		rc = kernel_elf_parse("k", image.elf, image.elf_len, &k, &err);
	bad = rc ? !err.text[0] || strchr(err.text, '\n') != NULL : segments_bad(&k);
	kernel_image_free(&image);
	return bad;
}
