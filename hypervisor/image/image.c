/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.c - see image.h.  A record: u32 type, u32 length, body, padding to 8. */
#include "hypervisor/image/image.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/buf.h"
#include "lib/fd_write.h"

#define HEADER_BYTES 48u

struct image_digest { EVP_MD_CTX *ctx; };

static struct image_digest *digest_new(void)
{
	struct image_digest *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->ctx = EVP_MD_CTX_new();
	if (!d->ctx || !EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL)) {
		EVP_MD_CTX_free(d->ctx);
		free(d);
		return NULL;
	}
	return d;
}

static void digest_free(struct image_digest *d)
{
	if (d)
		EVP_MD_CTX_free(d->ctx);
	free(d);
}

void image_prepare(void)
{
	digest_free(digest_new());
}

static void digest_final(struct image_digest *d, uint8_t out[IMAGE_DIGEST_BYTES])
{
	unsigned n = 0;

	EVP_DigestFinal_ex(d->ctx, out, &n);
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

static void put(struct image_writer *w, const void *p, size_t n, bool digest)
{
	if (digest)
		EVP_DigestUpdate(w->digest->ctx, p, n);
	if (!w->rc)
		w->rc = fd_write_all(w->fd, p, n);
	if (!w->rc)
		w->bytes += n;
}

static void record_put(struct image_writer *w, uint32_t type, const void *prefix, size_t prefix_len, const void *body, size_t n,
		       bool digest)
{
	static const uint8_t zeros[8];
	struct buf b = BUF_INIT(16);
	size_t len = prefix_len + n;

	if (len > IMAGE_RECORD_MAX) {
		w->rc = -E2BIG;
		return;
	}
	buf_u32(&b, type);
	buf_u32(&b, (uint32_t)len);
	if (!buf_ok(&b))
		w->rc = -ENOMEM;
	else
		put(w, b.data, b.len, digest);
	buf_free(&b);
	put(w, prefix, prefix_len, digest);
	put(w, body, n, digest);
	put(w, zeros, -len & 7, digest);
}

int image_writer_open(struct image_writer *w, int fd, const struct image_header *hdr)
{
	struct buf b = BUF_INIT(HEADER_BYTES);

	*w = (struct image_writer) { .fd = fd, .digest = digest_new() };
	if (!w->digest)
		return -ENOMEM;
	buf_u64(&b, IMAGE_MAGIC);
	buf_u32(&b, IMAGE_VERSION);
	buf_u32(&b, hdr->kind);
	buf_u32(&b, hdr->domid);
	buf_u32(&b, 0);
	buf_u64(&b, hdr->realtime_ns);
	buf_u64(&b, hdr->max_pages);
	buf_u64(&b, hdr->special_pages);
	if (!buf_ok(&b))
		w->rc = -ENOMEM;
	else
		image_write(w, IMAGE_HEADER, NULL, 0, b.data, b.len);
	buf_free(&b);
	return w->rc;
}

void image_write(struct image_writer *w, uint32_t type, const void *prefix, size_t prefix_len, const void *body, size_t n)
{
	if (!w->rc)
		record_put(w, type, prefix, prefix_len, body, n, true);
}

int image_writer_close(struct image_writer *w, bool sync)
{
	uint8_t md[IMAGE_DIGEST_BYTES];

	if (!w->rc) {
		digest_final(w->digest, md);
		record_put(w, IMAGE_END, NULL, 0, md, sizeof md, false);
	}
	if (!w->rc && sync && fsync(w->fd) < 0 && errno != EINVAL)
		w->rc = -errno;
	digest_free(w->digest);
	w->digest = NULL;
	return w->rc;
}

#define SAVED_GOES_ON 1u
#define SAVED_CLUSTER 2u

void image_saved_pack(const struct image_saved *s, uint8_t ret[IMAGE_SAVED_BYTES])
{
	uint32_t flags = (s->goes_on ? SAVED_GOES_ON : 0) | (s->cluster ? SAVED_CLUSTER : 0);

	memset(ret, 0, IMAGE_SAVED_BYTES);
	for (int i = 0; i < 8; i++)
		ret[i] = (uint8_t)(s->epoch >> (8 * i));
	ret[8] = (uint8_t)flags;
}

int image_saved_unpack(struct image_saved *ret, const uint8_t *body, size_t n)
{
	struct reader r;
	uint64_t epoch;
	uint32_t flags;

	reader_init(&r, body, n);
	epoch = reader_u64(&r);
	flags = reader_u32(&r);
	reader_u32(&r);
	if (!reader_done(&r) || flags & ~(SAVED_GOES_ON | SAVED_CLUSTER))
		return -EINVAL;
	*ret = (struct image_saved) { epoch, flags & SAVED_CLUSTER, flags & SAVED_GOES_ON };
	return 0;
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static int damaged(struct err *err, const char *how)
{
	return err_set(err, -EINVAL, "the image is %s; use another copy of it", how);
}

static int get(struct image_reader *r, void *p, size_t n)
{
	size_t done = 0;

	if (r->off > r->size || n > r->size - r->off)
		return -EINVAL;
	while (done < n) {
		ssize_t got = pread(r->fd, (uint8_t *)p + done, n - done, (off_t)(r->off + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EINVAL;
		done += (size_t)got;
	}
	r->off += n;
	return 0;
}

static int body_get(struct image_reader *r, size_t len, struct err *err)
{
	size_t padded = (len + 7) & ~7UL;

	if (padded > r->cap) {
		uint8_t *p = realloc(r->body, padded);

		if (!p)
			return err_set(err, -ENOMEM, "no memory to read the image");
		r->body = p;
		r->cap = padded;
	}
	return get(r, r->body, padded) ? damaged(err, "truncated") : 0;
}

static int end_check(struct image_reader *r, size_t len, struct err *err)
{
	uint8_t md[IMAGE_DIGEST_BYTES];

	digest_final(r->digest, md);
	if (len != sizeof md || memcmp(md, r->body, sizeof md))
		return damaged(err, "altered or damaged: its digest does not match");
	if (r->off != r->size)
		return damaged(err, "followed by something else");
	r->ended = true;
	return 0;
}

int image_read(struct image_reader *r, uint32_t *ret_type, const uint8_t **ret_body, size_t *ret_n, struct err *err)
{
	uint8_t head[8];
	struct reader h;
	uint32_t type, len;
	int rc;

	if (r->ended)
		return 0;
	if (get(r, head, sizeof head))
		return damaged(err, "truncated");
	reader_init(&h, head, sizeof head);
	type = reader_u32(&h);
	len = reader_u32(&h);
	if (len > IMAGE_RECORD_MAX)
		return damaged(err, "damaged: a record is too long");
	rc = body_get(r, len, err);
	if (rc)
		return rc;
	if (type == IMAGE_END)
		return end_check(r, len, err);
	EVP_DigestUpdate(r->digest->ctx, head, sizeof head);
	EVP_DigestUpdate(r->digest->ctx, r->body, (len + 7) & ~7UL);
	*ret_type = type;
	*ret_body = r->body;
	*ret_n = len;
	return 1;
}

static int header_parse(const uint8_t *p, size_t n, struct image_header *ret, struct err *err)
{
	struct reader r;
	uint64_t magic;
	uint32_t version;

	reader_init(&r, p, n);
	magic = reader_u64(&r);
	version = reader_u32(&r);
	ret->kind = reader_u32(&r);
	ret->domid = reader_u32(&r);
	reader_u32(&r);
	ret->realtime_ns = reader_u64(&r);
	ret->max_pages = reader_u64(&r);
	ret->special_pages = reader_u64(&r);
	if (magic != IMAGE_MAGIC)
		return err_set(err, -EINVAL, "not a saved domain: it does not begin like an image of Haven's");
	if (version != IMAGE_VERSION)
		return err_set(err, -ENOTSUP, "the image is of version %u, this Haven reads %u", version, IMAGE_VERSION);
	return reader_done(&r) ? 0 : damaged(err, "damaged: its header");
}

int image_reader_open(struct image_reader *r, int fd, struct image_header *ret, struct err *err)
{
	struct stat st;
	const uint8_t *body = NULL;
	uint32_t type = 0;
	size_t n = 0;
	int rc;

	*r = (struct image_reader) { .fd = fd };
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "not a saved domain: not a regular file");
	r->size = (uint64_t)st.st_size;
	r->digest = digest_new();
	if (!r->digest)
		return err_set(err, -ENOMEM, "no memory to read the image");
	rc = image_read(r, &type, &body, &n, err);
	if (rc == 1 && type == IMAGE_HEADER)
		rc = header_parse(body, n, ret, err);
	else
		rc = err_set(err, -EINVAL, "not a saved domain: it does not begin like an image of Haven's");
	if (rc)
		image_reader_close(r);
	return rc;
}

void image_reader_close(struct image_reader *r)
{
	digest_free(r->digest);
	r->digest = NULL;
	free(r->body);
	r->body = NULL;
	r->cap = 0;
}
