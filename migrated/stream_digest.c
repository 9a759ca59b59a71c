/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stream_digest.c - see stream_digest.h. */
#include "migrated/stream_digest.h"

#include <errno.h>
#include <string.h>
#include <openssl/core_names.h>

#define SAMPLES_AT_ONCE 64u

static int digest_begin(struct stream_digest *d)
{
	static const char cipher[] = "AES-128-GCM";
	uint8_t nonce[12] = { 0 };
	char name[sizeof(cipher)];
	OSSL_PARAM params[3];

	for (int i = 0; i < 4; i++) {
		nonce[4 + i] = (uint8_t)(d->session >> (8 * i));
		nonce[8 + i] = (uint8_t)(d->serial >> (8 * i));
	}
	memcpy(name, cipher, sizeof(name));
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, name, 0);
	params[1] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, nonce, sizeof(nonce));
	params[2] = OSSL_PARAM_construct_end();
	return EVP_MAC_init(d->ctx, d->key, sizeof(d->key), params) ? 0 : -ENOMEM;
}

int stream_digest_init(struct stream_digest *d, const uint8_t token[STREAM_TOKEN_BYTES])
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "GMAC", NULL);

	memcpy(d->key, token, sizeof(d->key));
	d->session = d->serial = 0;
	d->samples = false;
	d->ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	if (d->ctx && digest_begin(d) == 0)
		return 0;
	stream_digest_free(d);
	return -ENOMEM;
}

int stream_digest_next(struct stream_digest *d)
{
	d->serial++;
	return digest_begin(d);
}

int stream_digest_session(struct stream_digest *d, uint32_t session)
{
	d->session = session;
	d->serial = 0;
	return digest_begin(d);
}

int stream_digest_add(struct stream_digest *d, const void *p, size_t n)
{
	return EVP_MAC_update(d->ctx, p, n) ? 0 : -ENOMEM;
}

/* Which octets depends on the frame, so that pages that lie in each other's place, or are shifted, show whatever part of them differs. */
int stream_digest_pages(struct stream_digest *d, const uint64_t *frame, const uint8_t *pages, uint32_t count)
{
	uint8_t gathered[SAMPLES_AT_ONCE * STREAM_SAMPLE];
	int rc = 0;

	if (!d->samples)
		return stream_digest_add(d, pages, (size_t)count * STREAM_PAGE);
	for (uint32_t done = 0, n; done < count && rc == 0; done += n) {
		n = count - done < SAMPLES_AT_ONCE ? count - done : SAMPLES_AT_ONCE;
		for (uint32_t i = 0; i < n; i++) {
			const uint8_t *page = pages + (size_t)(done + i) * STREAM_PAGE;

			memcpy(gathered + i * STREAM_SAMPLE, page + frame[done + i] % (STREAM_PAGE / STREAM_SAMPLE) * STREAM_SAMPLE, STREAM_SAMPLE);
		}
		rc = stream_digest_add(d, gathered, (size_t)n * STREAM_SAMPLE);
	}
	return rc;
}

int stream_digest_end(struct stream_digest *d, uint8_t ret[STREAM_DIGEST_BYTES])
{
	size_t n = 0;

	return EVP_MAC_final(d->ctx, ret, &n, STREAM_DIGEST_BYTES) && n == STREAM_DIGEST_BYTES ? 0 : -ENOMEM;
}

void stream_digest_free(struct stream_digest *d)
{
	EVP_MAC_CTX_free(d->ctx);
	d->ctx = NULL;
}
