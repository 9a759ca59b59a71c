/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream_digest.h - the running digest of one connection's records: AES-128-GMAC under the move's token; the nonce is four zero
 * octets, the session and the number of CHECKs sent in it.
 *
 * It guards against what goes wrong between our own buffers; TLS guards against the rest.  So speed decides: GHASH does
 * 10 GB/s where SHA-256 does one, and 128 bits of it miss an accident as rarely.  Of pages, two ends that both can digest a sample each
 * (docs/adr/0005-migration-transport.md): which page lies where is what may go wrong here.
 */
#ifndef MIGRATED_STREAM_DIGEST_H
#define MIGRATED_STREAM_DIGEST_H

#include <openssl/evp.h>
#include "migrated/stream.h"

#define STREAM_SAMPLE 64u            /* octets of a page, from (frame mod 64) * 64 on */

struct stream_digest {
	EVP_MAC_CTX *ctx;
	uint8_t key[STREAM_TOKEN_BYTES];
	uint32_t session, serial;
	bool samples;                    /* of pages; set by who begins it, as both ends agreed */
};

int stream_digest_init(struct stream_digest *d, const uint8_t token[STREAM_TOKEN_BYTES]);   /* 0 or -ENOMEM */
int stream_digest_add(struct stream_digest *d, const void *p, size_t n);                    /* 0 or -ENOMEM */
int stream_digest_end(struct stream_digest *d, uint8_t ret[STREAM_DIGEST_BYTES]);           /* once; 0 or -ENOMEM */
/* count pages of 4096 octets, one behind the other, as the guest's memory has them at frame[0], frame[1], …: whole, or a sample of each. */
int stream_digest_pages(struct stream_digest *d, const uint64_t *frame, const uint8_t *pages, uint32_t count);
/* Begins anew: behind a CHECK, or in another session. */
int stream_digest_next(struct stream_digest *d);
int stream_digest_session(struct stream_digest *d, uint32_t session);
void stream_digest_free(struct stream_digest *d);                                           /* idempotent */

#endif
