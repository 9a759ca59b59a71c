/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signer_key.h - a private key that is not here: OpenSSL signs with it by asking the signer process.
 *
 * Packets on the SOCK_SEQPACKET channel: a request is the 32 octets of a SHA-256 digest, its reply the DER ECDSA signature, or
 * one zero octet for a refusal.
 */
#ifndef MIGRATED_SIGNER_KEY_H
#define MIGRATED_SIGNER_KEY_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#define SIGNER_DIGEST_BYTES 32
#define SIGNER_REPLY_MAX 256

/*
 * The private half of cert's key as far as OpenSSL can tell.  signer_fd: borrowed, must live as long as the key; one such key a
 * process.  Signatures may be asked for by several threads.  NULL: not an EC key, or out of memory.
 */
EVP_PKEY *signer_key_new(X509 *cert, int signer_fd);

#endif
