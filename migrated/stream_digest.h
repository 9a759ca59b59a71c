/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream_digest.h - the running digest of one connection's records: AES-128-GMAC under the move's token and a nonce of zeros.
 *
 * It guards against what goes wrong between our own buffers; TLS guards against the rest.  So speed decides: GHASH does
 * 10 GB/s where SHA-256 does one, and 128 bits of it miss an accident as rarely.
 */
#ifndef MIGRATED_STREAM_DIGEST_H
#define MIGRATED_STREAM_DIGEST_H

#include <openssl/evp.h>
#include "migrated/stream.h"

struct stream_digest { EVP_MAC_CTX *ctx; };

int stream_digest_init(struct stream_digest *d, const uint8_t token[STREAM_TOKEN_BYTES]);   /* 0 or -ENOMEM */
int stream_digest_add(struct stream_digest *d, const void *p, size_t n);                    /* 0 or -ENOMEM */
int stream_digest_end(struct stream_digest *d, uint8_t ret[STREAM_DIGEST_BYTES]);           /* once; 0 or -ENOMEM */
void stream_digest_free(struct stream_digest *d);                                           /* idempotent */

#endif
