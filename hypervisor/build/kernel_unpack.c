/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_unpack.c - bzImage and the compressions Linux uses for its payload.
 *
 * bzImage: Documentation/x86/boot.rst: setup_sects at 0x1f1, "HdrS" at 0x202, version at 0x206, payload_offset and
 * payload_length at 0x248/0x24c counted from the protected-mode code at (setup_sects + 1) * 512.
 * The kernel's build appends the unpacked size (4 bytes) to XZ, LZ4 and ZSTD payloads; gzip has its own.
 */
#include "hypervisor/build/kernel_unpack.h"

#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>
#include "lib/huge.h"

#define XZ_MEMORY_MAX (160UL << 20)         /* the kernel's xz_wrap.sh asks for a 32 MiB dictionary */
#define ZSTD_WINDOW_LOG_MAX 27              /* 128 MiB, what zstd -22 --ultra uses */
#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8UL << 20)

struct out { uint8_t *p; size_t max, len; };

static uint32_t le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static int unpack_gzip(const uint8_t *p, size_t n, struct out *out)
{
	z_stream z = { 0 };
	int r, rc = -EINVAL;

	if (n > UINT_MAX || out->max > UINT_MAX || inflateInit2(&z, 15 + 16) != Z_OK)
		return -ENOMEM;
	z.next_in = (z_const Bytef *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = out->p;
	z.avail_out = (uInt)out->max;
	r = inflate(&z, Z_FINISH);
	if (r == Z_STREAM_END)
		rc = 0;
	else if (z.avail_out == 0)
		rc = -E2BIG;
	out->len = z.total_out;
	inflateEnd(&z);
	return rc;
}

static int unpack_xz(const uint8_t *p, size_t n, struct out *out)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_ret r;
	int rc = -EINVAL;

	if (lzma_stream_decoder(&s, XZ_MEMORY_MAX, 0) != LZMA_OK)
		return -ENOMEM;
	s.next_in = p;
	s.avail_in = n;
	s.next_out = out->p;
	s.avail_out = out->max;
	do
		r = lzma_code(&s, LZMA_RUN);
	while (r == LZMA_OK && s.avail_in && s.avail_out);
	if (r == LZMA_STREAM_END)
		rc = 0;
	else if (r == LZMA_MEMLIMIT_ERROR || r == LZMA_MEM_ERROR)
		rc = -ENOMEM;
	else if (!s.avail_out)
		rc = -E2BIG;
	out->len = s.total_out;
	lzma_end(&s);
	return rc;
}

/* Legacy frame: magic, then blocks of {u32 packed length, data}, each at most 8 MiB unpacked. */
static int unpack_lz4(const uint8_t *p, size_t n, struct out *out)
{
	size_t at = 4;

	while (n - at >= 4) {
		uint32_t packed = le32(p + at);
		size_t room = out->max - out->len;
		int r;

		if (packed == LZ4_LEGACY_MAGIC) {
			at += 4;
			continue;
		}
		if (n - at == 4)              /* the build's size trailer */
			return 0;
		at += 4;
		if (packed > n - at || packed > INT_MAX)
			return -EINVAL;
		if (!room)
			return -E2BIG;
		r = LZ4_decompress_safe((const char *)p + at, (char *)out->p + out->len, (int)packed,
					(int)(room < LZ4_LEGACY_BLOCK ? room : LZ4_LEGACY_BLOCK));
		if (r < 0)
			return room < LZ4_LEGACY_BLOCK ? -E2BIG : -EINVAL;
		at += packed;
		out->len += (size_t)r;
	}
	return n == at ? 0 : -EINVAL;
}

static int unpack_zstd(const uint8_t *p, size_t n, struct out *out)
{
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer o = { out->p, out->max, 0 };
	ZSTD_DStream *s = ZSTD_createDStream();
	size_t r = 1;
	int rc = -EINVAL;

	if (!s)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(s, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
	while (r && !ZSTD_isError(r)) {
		size_t in_before = in.pos, out_before = o.pos;

		r = ZSTD_decompressStream(s, &o, &in);
		if (r && in.pos == in_before && o.pos == out_before)
			break;
	}
	if (!r)
		rc = 0;
	else if (o.pos == o.size)
		rc = -E2BIG;
	out->len = o.pos;
	ZSTD_freeDStream(s);
	return rc;
}

static const struct packing {
	const char *name;
	uint8_t magic[6]; uint8_t magic_len;
	int (*unpack)(const uint8_t *p, size_t n, struct out *out);    /* NULL: known by name only */
} packings[] = {
	{ "gzip", { 0x1f, 0x8b }, 2, unpack_gzip },
	{ "XZ", { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6, unpack_xz },
	{ "LZ4", { 0x02, 0x21, 0x4c, 0x18 }, 4, unpack_lz4 },
	{ "ZSTD", { 0x28, 0xb5, 0x2f, 0xfd }, 4, unpack_zstd },
	{ "bzip2", { 'B', 'Z', 'h' }, 3, NULL },
	{ "LZMA", { 0x5d, 0, 0 }, 3, NULL },
	{ "LZO", { 0x89, 'L', 'Z', 'O' }, 4, NULL },
};

static const struct packing *packing_find(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < sizeof packings / sizeof packings[0]; i++)
		if (n >= packings[i].magic_len && !memcmp(p, packings[i].magic, packings[i].magic_len))
			return &packings[i];
	return NULL;
}

static bool is_elf(const uint8_t *p, size_t n)
{
	return n >= 4 && !memcmp(p, "\177ELF", 4);
}

/* The payload of a bzImage; -ENOEXEC when p is none. */
static int bzimage_payload(const char *name, const uint8_t *p, size_t n, const uint8_t **ret, size_t *ret_n, struct err *err)
{
	uint64_t setup, off, len;

	if (n < 0x250 || p[0x1fe] != 0x55 || p[0x1ff] != 0xaa || memcmp(p + 0x202, "HdrS", 4))
		return err_set(err, -ENOEXEC, "%s: not a kernel: neither a bzImage nor an ELF file; check kernel=", name);
	if ((p[0x206] | p[0x207] << 8) < 0x208)
		return err_set(err, -ENOTSUP, "%s: bzImage of boot protocol older than 2.08 has no payload to extract; "
			       "use a kernel of Linux 2.6.26 or later", name);
	setup = (p[0x1f1] ? p[0x1f1] : 4) + 1;
	off = setup * 512 + le32(p + 0x248);
	len = le32(p + 0x24c);
	if (off > n || len > n - off)
		return err_set(err, -EINVAL, "%s: truncated: its payload ends at byte %llu, the file at %zu; copy it again",
			       name, (unsigned long long)(off + len), n);
	*ret = p + off;
	*ret_n = len;
	return 0;
}

static int unpack_with(const char *name, const struct packing *pk, const uint8_t *p, size_t n, size_t max_out,
		       struct kernel_image *ret, struct err *err)
{
	struct out out = { .max = max_out };
	int rc;

	if (!pk->unpack)
		return err_set(err, -ENOTSUP, "%s: compressed with %s, which Haven does not unpack; use a kernel compressed with "
			       "gzip, XZ, LZ4 or ZSTD", name, pk->name);
	out.p = huge_alloc(max_out);
	if (!out.p)
		return err_set(err, -ENOMEM, "%s: no memory to unpack the kernel", name);
	rc = pk->unpack(p, n, &out);
	if (!rc && is_elf(out.p, out.len)) {
		*ret = (struct kernel_image) { out.p, out.len, out.p, max_out };
		return 0;
	}
	munmap(out.p, max_out);
	if (!rc)
		return err_set(err, -ENOEXEC, "%s: not a kernel: what its %s data unpacks to is no ELF image", name, pk->name);
	if (rc == -E2BIG)
		return err_set(err, rc, "%s: unpacks to more than %zu MiB; no kernel is that large", name, max_out >> 20);
	if (rc == -ENOMEM)
		return err_set(err, rc, "%s: its %s data needs more memory to unpack than Haven allows", name, pk->name);
	return err_set(err, rc, "%s: damaged: its %s data does not unpack; copy the file again", name, pk->name);
}

int kernel_unpack(const char *name, const uint8_t *p, size_t n, size_t max_out, struct kernel_image *ret, struct err *err)
{
	const struct packing *pk;
	int rc;

	if (!n)
		return err_set(err, -ENOEXEC, "%s: not a kernel: the file is empty", name);
	if (!is_elf(p, n) && !(n >= 2 && p[0] == 0x1f && p[1] == 0x8b)) {
		rc = bzimage_payload(name, p, n, &p, &n, err);
		if (rc)
			return rc;
	}
	if (is_elf(p, n)) {
		*ret = (struct kernel_image) { p, n, NULL, 0 };
		return 0;
	}
	pk = packing_find(p, n);
	if (!pk)
		return err_set(err, -ENOTSUP, "%s: its payload is compressed in a way Haven does not know; use a kernel compressed "
			       "with gzip, XZ, LZ4 or ZSTD", name);
	return unpack_with(name, pk, p, n, max_out, ret, err);
}

void kernel_image_free(struct kernel_image *k)
{
	if (k->map)
		munmap(k->map, k->map_len);
	*k = (struct kernel_image) { 0 };
}
