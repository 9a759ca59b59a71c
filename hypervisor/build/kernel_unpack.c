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
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>
#include "lib/huge.h"

#define XZ_MEMORY_MAX (160UL << 20)         /* the kernel's xz_wrap.sh asks for a 32 MiB dictionary */
#define ZSTD_WINDOW_LOG_MAX 27              /* 128 MiB, what zstd -22 --ultra uses */
#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8UL << 20)

#define LZ4_BLOCKS_MAX 512
#define STEP (8UL << 20)                    /* so much room is asked for at a time */
#define COPY_OVERSHOOT 64                   /* decoders copy in words, past what they have to, within their room */
#define VMLINUX_ALIGN (2UL << 20)           /* the first segment of a vmlinux begins so far into the file */

struct out { uint8_t *p; size_t max, len, touched; const struct kernel_room *room; };

static void room_need(const struct out *out, size_t upto)
{
	if (out->room && out->room->need)
		out->room->need(out->room->arg, upto);
}

/* The next step's room behind `len`; 0: there is none. */
static size_t out_step(struct out *out, size_t len)
{
	size_t left = out->max - len, step = left < STEP ? left : STEP;

	room_need(out, len + step);
	return step;
}

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
	do {
		if (!z.avail_out)
			z.avail_out = (uInt)out_step(out, z.total_out);
		r = inflate(&z, Z_SYNC_FLUSH);
	} while (r == Z_OK && (z.avail_in || !z.avail_out));
	if (r == Z_STREAM_END)
		rc = 0;
	else if (z.total_out == out->max)
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
	do {
		if (!s.avail_out)
			s.avail_out = out_step(out, s.total_out);
		r = lzma_code(&s, LZMA_RUN);
	} while (r == LZMA_OK && (s.avail_in || !s.avail_out));
	if (r == LZMA_STREAM_END)
		rc = 0;
	else if (r == LZMA_MEMLIMIT_ERROR || r == LZMA_MEM_ERROR)
		rc = -ENOMEM;
	else if (s.total_out == out->max)
		rc = -E2BIG;
	out->len = s.total_out;
	lzma_end(&s);
	return rc;
}

/* The blocks of a payload.  Each is packed by itself, and all but the last unpack to LZ4_LEGACY_BLOCK. */
struct lz4_blocks {
	struct out *out;
	unsigned n;
	struct { const uint8_t *p; uint32_t packed; int len; } block[LZ4_BLOCKS_MAX];
};

static void lz4_block(void *arg, unsigned i)
{
	struct lz4_blocks *b = arg;
	size_t at = i * LZ4_LEGACY_BLOCK, step = out_step(b->out, at);

	b->block[i].len = LZ4_decompress_safe((const char *)b->block[i].p, (char *)b->out->p + at, (int)b->block[i].packed, (int)step);
}

/* On the threads of the room's `each`.  false: one of the blocks is none or not full; then one after the other tells. */
static bool lz4_unpack_side_by_side(struct lz4_blocks *b)
{
	const struct kernel_room *room = b->out->room;
	size_t len = 0;

	room->each(room->arg, b->n, lz4_block, b);
	for (unsigned i = 0; i < b->n; i++) {
		if (b->block[i].len < 0 || (i + 1 < b->n && (size_t)b->block[i].len != LZ4_LEGACY_BLOCK)) {
			b->out->touched = b->out->max;
			return false;
		}
		len += (size_t)b->block[i].len;
	}
	b->out->len = len;
	return true;
}

static int lz4_unpack_in_turn(struct lz4_blocks *b)
{
	struct out *out = b->out;

	for (unsigned i = 0; i < b->n; i++) {
		size_t step = out_step(out, out->len);
		int r;

		if (!step)
			return -E2BIG;
		r = LZ4_decompress_safe((const char *)b->block[i].p, (char *)out->p + out->len, (int)b->block[i].packed, (int)step);
		if (r < 0)
			return step < LZ4_LEGACY_BLOCK ? -E2BIG : -EINVAL;
		out->len += (size_t)r;
	}
	return 0;
}

/* Legacy frame: magic, then blocks of {u32 packed length, data}, each at most 8 MiB unpacked. */
static int unpack_lz4(const uint8_t *p, size_t n, struct out *out)
{
	struct lz4_blocks b = { .out = out };
	size_t at = 4;

	while (n - at >= 4) {
		uint32_t packed = le32(p + at);

		if (packed == LZ4_LEGACY_MAGIC) {
			at += 4;
			continue;
		}
		if (n - at == 4) {            /* the build's size trailer */
			at = n;
			break;
		}
		at += 4;
		if (packed > n - at || packed > INT_MAX)
			return -EINVAL;
		if (b.n == LZ4_BLOCKS_MAX)
			return -E2BIG;
		b.block[b.n].p = p + at;
		b.block[b.n++].packed = packed;
		at += packed;
	}
	if (n != at)
		return -EINVAL;
	if (b.n > 1 && (b.n - 1) * LZ4_LEGACY_BLOCK < out->max && out->room && out->room->each && lz4_unpack_side_by_side(&b))
		return 0;
	return lz4_unpack_in_turn(&b);
}

static int unpack_zstd(const uint8_t *p, size_t n, struct out *out)
{
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer o = { out->p, 0, 0 };
	ZSTD_DStream *s = ZSTD_createDStream();
	size_t r = 1;
	int rc = -EINVAL;

	if (!s)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(s, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
	while (r && !ZSTD_isError(r)) {
		size_t in_before = in.pos, out_before = o.pos;

		if (o.pos == o.size)
			o.size += out_step(out, o.pos);
		r = ZSTD_decompressStream(s, &o, &in);
		if (r && in.pos == in_before && o.pos == out_before)
			break;
	}
	if (!r)
		rc = 0;
	else if (o.pos == out->max)
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

static int unpack_with(const char *name, const struct packing *pk, const uint8_t *p, size_t n, struct out *out,
		       struct kernel_image *ret, struct err *err)
{
	int rc;

	rc = pk->unpack(p, n, out);
	if (!rc && is_elf(out->p, out->len)) {
		ret->elf = out->p;
		ret->elf_len = out->len;
		return 0;
	}
	if (!rc)
		return err_set(err, -ENOEXEC, "%s: not a kernel: what its %s data unpacks to is no ELF image", name, pk->name);
	if (rc == -E2BIG)
		return err_set(err, rc, "%s: unpacks to more than %zu MiB; no kernel is that large", name, out->max >> 20);
	if (rc == -ENOMEM)
		return err_set(err, rc, "%s: its %s data needs more memory to unpack than Haven allows", name, pk->name);
	return err_set(err, rc, "%s: damaged: its %s data does not unpack; copy the file again", name, pk->name);
}

/* What is in the file: *p and *n become the payload's.  1 and *ret_pk: packed; 0 and *ret: an ELF image as it is; or -errno. */
static int payload_find(const char *name, const uint8_t **p, size_t *n, const struct packing **ret_pk, struct kernel_image *ret,
			struct err *err)
{
	int rc;

	*ret = (struct kernel_image) { 0 };
	if (!*n)
		return err_set(err, -ENOEXEC, "%s: not a kernel: the file is empty", name);
	if (!is_elf(*p, *n) && !(*n >= 2 && (*p)[0] == 0x1f && (*p)[1] == 0x8b)) {
		rc = bzimage_payload(name, *p, *n, p, n, err);
		if (rc)
			return rc;
	}
	if (is_elf(*p, *n)) {
		*ret = (struct kernel_image) { .elf = *p, .elf_len = *n };
		return 0;
	}
	*ret_pk = packing_find(*p, *n);
	if (!*ret_pk)
		return err_set(err, -ENOTSUP, "%s: its payload is compressed in a way Haven does not know; use a kernel compressed "
			       "with gzip, XZ, LZ4 or ZSTD", name);
	if (!(*ret_pk)->unpack)
		return err_set(err, -ENOTSUP, "%s: compressed with %s, which Haven does not unpack; use a kernel compressed with "
			       "gzip, XZ, LZ4 or ZSTD", name, (*ret_pk)->name);
	return 1;
}

int kernel_unpack(const char *name, const uint8_t *p, size_t n, size_t max_out, struct kernel_image *ret, struct err *err)
{
	struct out out = { .max = max_out };
	const struct packing *pk;
	int rc = payload_find(name, &p, &n, &pk, ret, err);

	if (rc <= 0)
		return rc;
	out.p = huge_alloc(max_out);
	if (!out.p)
		return err_set(err, -ENOMEM, "%s: no memory to unpack the kernel", name);
	ret->map = out.p;
	ret->map_len = max_out;
	rc = unpack_with(name, pk, p, n, &out, ret, err);
	if (rc)
		kernel_image_free(ret);
	return rc;
}

int kernel_unpack_into(const char *name, const uint8_t *p, size_t n, const struct kernel_room *room, struct kernel_image *ret,
		       struct err *err)
{
	struct out out = { .p = room->p, .max = room->max, .room = room };
	const struct packing *pk;
	int rc = payload_find(name, &p, &n, &pk, ret, err);

	if (rc <= 0)
		return rc;
	rc = unpack_with(name, pk, p, n, &out, ret, err);
	if (rc || out.len + COPY_OVERSHOOT > out.max)
		out.touched = out.max;
	else if (out.touched < out.len + COPY_OVERSHOOT)
		out.touched = out.len + COPY_OVERSHOOT;
	ret->touched = out.touched;
	return rc;
}

/* init_size (0x260) counts from pref_address (0x258): boot.rst, protocol 2.10. */
bool kernel_place(const uint8_t *p, size_t n, uint64_t *ret_gpa, uint64_t *ret_end)
{
	uint64_t pref;

	if (n < 0x264 || p[0x1fe] != 0x55 || p[0x1ff] != 0xaa || memcmp(p + 0x202, "HdrS", 4) || (p[0x206] | p[0x207] << 8) < 0x20a)
		return false;
	pref = le32(p + 0x258) | (uint64_t)le32(p + 0x25c) << 32;
	if (pref < VMLINUX_ALIGN || pref > 1UL << 32 || pref % 4096)
		return false;
	*ret_gpa = pref - VMLINUX_ALIGN;
	*ret_end = pref + (le32(p + 0x260) < KERNEL_UNPACKED_MAX ? le32(p + 0x260) : KERNEL_UNPACKED_MAX);
	return true;
}

void kernel_image_free(struct kernel_image *k)
{
	if (k->map)
		munmap(k->map, k->map_len);
	*k = (struct kernel_image) { 0 };
}
