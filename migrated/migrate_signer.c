/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven-migrate-signer
 *
 * Holds: the node's private key, for the length of one move, and the socket to that move's worker.
 * Hears: digests of 32 octets from the worker.
 * May do: sign at most SIGNATURES_MAX of them with the key; nothing else.  It never sees the network, and opens nothing.
 *
 * Descriptors: 3 the worker's socket, 4 the key file, opened by migrated.
 */
#include "config.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "lib/log.h"
#include "lib/sandbox.h"
#include "migrated/migrate_ids.h"
#include "migrated/signer_key.h"

#define FD_WORKER 3
#define FD_KEY 4
#define KEY_MAX 8192
#define SIGNATURES_MAX 32        /* one a TLS connection; a taken-over worker gets no oracle for the night */

static EVP_PKEY *key_read(void)
{
	char pem[KEY_MAX];
	size_t n = 0;
	ssize_t r;
	BIO *bio;
	EVP_PKEY *key;

	while (n < sizeof(pem) && (r = read(FD_KEY, pem + n, sizeof(pem) - n)) > 0)
		n += (size_t)r;
	close(FD_KEY);
	bio = BIO_new_mem_buf(pem, (int)n);
	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	OPENSSL_cleanse(pem, sizeof(pem));
	return key;
}

/* DER signature of a SHA-256 digest; its length, or 0. */
static size_t key_sign(EVP_PKEY_CTX *ctx, const unsigned char *digest, unsigned char *sig, size_t size)
{
	size_t n = size;

	if (EVP_PKEY_sign_init(ctx) <= 0 || EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) <= 0 ||
	    EVP_PKEY_sign(ctx, sig, &n, digest, SIGNER_DIGEST_BYTES) <= 0)
		return 0;
	return n;
}

static int enter_sandbox(struct err *err)
{
	const struct sandbox_limits lim = { .uid = MIGRATE_SIGNER_UID, .gid = MIGRATE_SIGNER_UID, .empty_root = true,
					    .address_space = 1ull << 30, .nofile = 16, .no_dump = true };
	struct sandbox sb;
	int rc = sandbox_begin(&sb, "haven-migrate-signer");

	if (rc == 0)
		rc = sandbox_allow_basics(&sb);
	return rc == 0 ? sandbox_enter(&sb, &lim, err) : err_set(err, rc, "haven-migrate-signer: no sandbox");
}

#ifdef HAVEN_ASAN
/* LeakSanitizer stops its process with ptrace, from a clone, which inside the sandbox never ends. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }
#endif

int main(void)
{
	unsigned char digest[SIGNER_DIGEST_BYTES + 1], sig[SIGNER_REPLY_MAX];
	struct err err = { 0 };
	EVP_PKEY *key = key_read();
	EVP_PKEY_CTX *ctx = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;

	if (!ctx) {
		fprintf(stderr, "haven-migrate-signer: node.key is not a private key in PEM form; see haven cert\n");
		return 1;
	}
	/* a first signature draws in what OpenSSL loads on demand, while files may still be opened */
	memset(digest, 0, sizeof(digest));
	if (!key_sign(ctx, digest, sig, sizeof(sig)) || enter_sandbox(&err) < 0) {
		fprintf(stderr, "haven-migrate-signer: %s\n", err.text);
		return 1;
	}
	for (int i = 0; i < SIGNATURES_MAX; i++) {
		ssize_t r = recv(FD_WORKER, digest, sizeof(digest), 0);
		size_t n;

		if (r <= 0)
			break;
		n = r == SIGNER_DIGEST_BYTES ? key_sign(ctx, digest, sig, sizeof(sig)) : 0;
		if (n == 0)
			sig[n++] = 0;
		if (send(FD_WORKER, sig, n, MSG_NOSIGNAL) < 0)
			break;
	}
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	return 0;
}
