/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel files: the ones that are fine, and each way a file can be wrong.  Kernels are made here, byte by byte, so that one
 * field at a time can be spoilt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <xen/elfnote.h>
#include <zlib.h>
#include <zstd.h>
#include "hypervisor/build/kernel_elf.h"
#include "hypervisor/build/kernel_unpack.h"

#define ELF_BYTES 0x3000u
#define TEXT_OFF 0x1000u
#define NOTE_OFF 0x200u
#define ENTRY 0xffffffff81000100UL

struct note64 { uint32_t namesz, descsz, type; char name[4]; uint8_t value[8]; };

static size_t note_put(uint8_t *p, uint32_t type, uint64_t value)
{
	struct note64 n = { 4, 8, type, "Xen", { 0 } };

	memcpy(n.value, &value, 8);
	memcpy(p, &n, sizeof n);
	return sizeof n;
}

/* A kernel of one segment at 16 MiB with the notes a Linux kernel has.  Caller frees. */
static uint8_t *elf_make(void)
{
	uint8_t *p = calloc(1, ELF_BYTES);
	Elf64_Ehdr eh = { .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1, .e_phoff = sizeof eh, .e_ehsize = sizeof eh,
			  .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 };
	Elf64_Phdr ph[2] = {
		{ .p_type = PT_LOAD, .p_offset = TEXT_OFF, .p_vaddr = ENTRY - 0x100, .p_paddr = 0x1000000, .p_filesz = 0x2000,
		  .p_memsz = 0x5000 },
		{ .p_type = PT_NOTE, .p_offset = NOTE_OFF },
	};
	size_t n = NOTE_OFF;

	assert_non_null(p);
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	n += note_put(p + n, XEN_ELFNOTE_ENTRY, ENTRY);
	n += note_put(p + n, XEN_ELFNOTE_VIRT_BASE, 0xffffffff80000000UL);
	n += note_put(p + n, XEN_ELFNOTE_INIT_P2M, 0x8000000000UL);
	n += note_put(p + n, XEN_ELFNOTE_MOD_START_PFN, 1);
	ph[1].p_filesz = n - NOTE_OFF;
	memcpy(p, &eh, sizeof eh);
	memcpy(p + sizeof eh, ph, sizeof ph);
	return p;
}

static Elf64_Ehdr *ehdr(uint8_t *p) { return (void *)p; }
static Elf64_Phdr *phdr(uint8_t *p, int i) { return (void *)(p + sizeof(Elf64_Ehdr) + i * sizeof(Elf64_Phdr)); }

static void test_elf_fields(void **state)
{
	uint8_t *p = elf_make();
	struct kernel_elf k;
	struct err err = { 0 };

	assert_int_equal(kernel_elf_parse("k", p, ELF_BYTES, &k, &err), 0);
	assert_int_equal(k.entry, ENTRY);
	assert_int_equal(k.virt_base, 0xffffffff80000000UL);
	assert_int_equal(k.init_p2m, 0x8000000000UL);
	assert_int_equal(k.hypercall_page, NOTE_UNSET);
	assert_true(k.mod_start_pfn);
	assert_int_equal(k.nr_segs, 1);
	assert_int_equal(k.gpa_start, 0x1000000);
	assert_int_equal(k.gpa_end, 0x1005000);
	free(p);
}

/* Each spoiler makes one lie; the parser has to name an error, never to read outside. */
static void spoil_class(uint8_t *p) { ehdr(p)->e_ident[EI_CLASS] = ELFCLASS32; }
static void spoil_machine(uint8_t *p) { ehdr(p)->e_machine = EM_AARCH64; }
static void spoil_phnum(uint8_t *p) { ehdr(p)->e_phnum = 0xffff; }
static void spoil_phoff(uint8_t *p) { ehdr(p)->e_phoff = UINT64_MAX - 8; }
static void spoil_phentsize(uint8_t *p) { ehdr(p)->e_phentsize = 8; }
static void spoil_offset(uint8_t *p) { phdr(p, 0)->p_offset = UINT64_MAX - 0x1000; }
static void spoil_filesz(uint8_t *p) { phdr(p, 0)->p_filesz = 0x2001; }
static void spoil_memsz(uint8_t *p) { phdr(p, 0)->p_memsz = 0x1000; }
static void spoil_memsz_huge(uint8_t *p) { phdr(p, 0)->p_memsz = UINT64_MAX; }
static void spoil_paddr(uint8_t *p) { phdr(p, 0)->p_paddr = UINT64_MAX - 0x1000; }
static void spoil_no_load(uint8_t *p) { phdr(p, 0)->p_type = PT_NULL; }
static void spoil_no_notes(uint8_t *p) { phdr(p, 1)->p_type = PT_NULL; }
static void spoil_entry(uint8_t *p) { note_put(p + NOTE_OFF, XEN_ELFNOTE_ENTRY, 0x1000); }
static void spoil_entry_pvh(uint8_t *p) { note_put(p + NOTE_OFF, XEN_ELFNOTE_PHYS32_ENTRY, 0x1000000); }
static void spoil_base(uint8_t *p) { note_put(p + NOTE_OFF + 24, XEN_ELFNOTE_VIRT_BASE, 0xffffffff80000001UL); }
static void spoil_note_size(uint8_t *p) { uint32_t big = UINT32_MAX; memcpy(p + NOTE_OFF + 4, &big, 4); }

static const struct { const char *what; void (*spoil)(uint8_t *); int rc; const char *says; } elf_lies[] = {
	{ "32-bit", spoil_class, -ENOEXEC, "32-bit" },
	{ "machine", spoil_machine, -ENOEXEC, "not a kernel" },
	{ "phnum", spoil_phnum, -EINVAL, "malformed" },
	{ "phoff", spoil_phoff, -ENOEXEC, "" },
	{ "phentsize", spoil_phentsize, -EINVAL, "malformed" },
	{ "offset", spoil_offset, -EINVAL, "truncated" },
	{ "filesz", spoil_filesz, -EINVAL, "truncated" },
	{ "memsz < filesz", spoil_memsz, -EINVAL, "impossible" },
	{ "memsz huge", spoil_memsz_huge, -EINVAL, "impossible" },
	{ "paddr", spoil_paddr, -EINVAL, "impossible" },
	{ "no segment", spoil_no_load, -ENOEXEC, "nothing to load" },
	{ "no notes", spoil_no_notes, -ENOEXEC, "without a PV entry" },
	{ "entry", spoil_entry, -EINVAL, "PV entry" },
	{ "PVH only", spoil_entry_pvh, -ENOEXEC, "PVH entry but no PV entry" },
	{ "virt_base", spoil_base, -EINVAL, "page-aligned" },
	{ "note size", spoil_note_size, -ENOEXEC, "without a PV entry" },
};

static void test_elf_lies(void **state)
{
	for (size_t i = 0; i < sizeof elf_lies / sizeof elf_lies[0]; i++) {
		uint8_t *p = elf_make();
		struct kernel_elf k;
		struct err err = { 0 };
		int rc;

		elf_lies[i].spoil(p);
		rc = kernel_elf_parse("k", p, ELF_BYTES, &k, &err);
		if (rc != elf_lies[i].rc || !strstr(err.text, elf_lies[i].says))
			fail_msg("%s: rc %d, \"%s\"", elf_lies[i].what, rc, err.text);
		free(p);
	}
}

static void test_elf_truncated_anywhere(void **state)
{
	uint8_t *p = elf_make();
	struct kernel_elf k;

	for (size_t n = 0; n < ELF_BYTES; n += n < 0x400 ? 1 : 61) {
		uint8_t *cut = malloc(n ? n : 1);          /* exactly n bytes: ASan sees a read past them */

		memcpy(cut, p, n);
		assert_true(kernel_elf_parse("k", cut, n, &k, NULL) < 0);
		free(cut);
	}
	free(p);
}

static size_t pack_gzip(const uint8_t *p, size_t n, uint8_t *out, size_t max)
{
	z_stream z = { 0 };

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = out;
	z.avail_out = (uInt)max;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	n = z.total_out;
	deflateEnd(&z);
	return n;
}

static size_t trailer(uint8_t *out, size_t at, size_t n)
{
	uint32_t len = (uint32_t)n;

	memcpy(out + at, &len, 4);
	return at + 4;
}

static size_t pack_xz(const uint8_t *p, size_t n, uint8_t *out, size_t max)
{
	size_t at = 0;

	assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, p, n, out, &at, max), LZMA_OK);
	return trailer(out, at, n);
}

static size_t pack_lz4(const uint8_t *p, size_t n, uint8_t *out, size_t max)
{
	static const uint8_t magic[] = { 0x02, 0x21, 0x4c, 0x18 };
	int len = LZ4_compress_default((const char *)p, (char *)out + 8, (int)n, (int)max - 8);

	assert_true(len > 0);
	memcpy(out, magic, 4);
	trailer(out, 4, (size_t)len);
	return trailer(out, 8 + (size_t)len, n);
}

static size_t pack_zstd(const uint8_t *p, size_t n, uint8_t *out, size_t max)
{
	size_t len = ZSTD_compress(out, max, p, n, 3);

	assert_false(ZSTD_isError(len));
	return trailer(out, len, n);
}

static size_t pack_stored(const uint8_t *p, size_t n, uint8_t *out, size_t max)
{
	memcpy(out, p, n);
	return n;
}

static const struct { const char *name; size_t (*pack)(const uint8_t *, size_t, uint8_t *, size_t); } packs[] = {
	{ "gzip", pack_gzip }, { "XZ", pack_xz }, { "LZ4", pack_lz4 }, { "ZSTD", pack_zstd }, { "stored", pack_stored },
};

#define SETUP_BYTES 1024u
#define BZ_MAX (SETUP_BYTES + 3 * ELF_BYTES)

/* bzImage of one setup sector with the given payload; its bytes. */
static size_t bzimage_make(uint8_t *bz, size_t pack)
{
	uint8_t *elf = elf_make();
	uint32_t len;

	memset(bz, 0, SETUP_BYTES);
	bz[0x1f1] = 1;
	bz[0x1fe] = 0x55;
	bz[0x1ff] = 0xaa;
	memcpy(bz + 0x202, "HdrS\x0f\x02", 6);
	len = (uint32_t)packs[pack].pack(elf, ELF_BYTES, bz + SETUP_BYTES, BZ_MAX - SETUP_BYTES);
	memcpy(bz + 0x24c, &len, 4);
	free(elf);
	return SETUP_BYTES + len;
}

static void test_bzimage_packings(void **state)
{
	uint8_t *bz = malloc(BZ_MAX), *elf = elf_make();

	for (size_t i = 0; i < sizeof packs / sizeof packs[0]; i++) {
		size_t n = bzimage_make(bz, i);
		struct kernel_image k = { 0 };
		struct err err = { 0 };

		if (kernel_unpack("k", bz, n, 1 << 20, &k, &err) || k.elf_len < ELF_BYTES || memcmp(k.elf, elf, ELF_BYTES))
			fail_msg("%s: %s", packs[i].name, err.text);
		kernel_image_free(&k);
		kernel_image_free(&k);
	}
	free(elf);
	free(bz);
}

static void test_bzimage_damage(void **state)
{
	uint8_t *bz = malloc(BZ_MAX);

	for (size_t i = 0; i + 1 < sizeof packs / sizeof packs[0]; i++) {
		size_t n = bzimage_make(bz, i);
		struct kernel_image k = { 0 };
		struct err err = { 0 };

		assert_int_equal(kernel_unpack("k", bz, n, ELF_BYTES - 1, &k, &err), -E2BIG);
		assert_int_equal(kernel_unpack("k", bz, n - 9, 1 << 20, &k, &err), -EINVAL);
		assert_non_null(strstr(err.text, "truncated"));
		for (size_t at = 0; at < n; at += at < SETUP_BYTES ? 1 : 7) {
			bz[at] ^= 0x41;
			if (kernel_unpack("k", bz, n, 1 << 20, &k, &err) == 0)
				kernel_image_free(&k);
			bz[at] ^= 0x41;
		}
	}
	free(bz);
}

static void test_not_a_kernel(void **state)
{
	static const char text[] = "root:x:0:0:root:/root:/bin/bash\n";
	struct kernel_image k = { 0 };
	struct err err = { 0 };

	assert_int_equal(kernel_unpack("f", (const uint8_t *)text, sizeof text, 1 << 20, &k, &err), -ENOEXEC);
	assert_non_null(strstr(err.text, "not a kernel"));
	assert_int_equal(kernel_unpack("f", (const uint8_t *)text, 0, 1 << 20, &k, &err), -ENOEXEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elf_fields), cmocka_unit_test(test_elf_lies), cmocka_unit_test(test_elf_truncated_anywhere),
		cmocka_unit_test(test_bzimage_packings), cmocka_unit_test(test_bzimage_damage), cmocka_unit_test(test_not_a_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
