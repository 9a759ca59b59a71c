/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signer_key.c - see signer_key.h.
 *
 * OpenSSL 3.0 treats an EC_KEY with a method of its own as foreign and keeps it out of the providers (EVP_PKEY_assign(3)), so that
 * ECDSA_sign(3) ends in our function.  EC_KEY_METHOD is deprecated in favour of whole providers, which for one signature a
 * connection is too much machinery; this file alone uses it.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "migrated/signer_key.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <openssl/ec.h>

#define SIGNER_WAIT_MS 5000

static pthread_mutex_t signer_lock = PTHREAD_MUTEX_INITIALIZER;
static int signer_socket = -1;

/* One request, one reply; 0 or -errno. */
static int signer_ask(const unsigned char *digest, unsigned char *sig, size_t size, size_t *ret_n)
{
	struct pollfd p = { .fd = signer_socket, .events = POLLIN };
	ssize_t r;

	if (send(signer_socket, digest, SIGNER_DIGEST_BYTES, MSG_NOSIGNAL) != SIGNER_DIGEST_BYTES)
		return -EIO;
	if (poll(&p, 1, SIGNER_WAIT_MS) != 1)
		return -ETIMEDOUT;
	r = recv(signer_socket, sig, size, MSG_TRUNC);
	if (r <= 1 || (size_t)r > size)
		return -EIO;
	*ret_n = (size_t)r;
	return 0;
}

static int sign_remotely(int type, const unsigned char *digest, int n, unsigned char *sig, unsigned int *siglen,
			 const BIGNUM *kinv, const BIGNUM *r, EC_KEY *key)
{
	unsigned char reply[SIGNER_REPLY_MAX];
	size_t len = 0;
	int rc;

	if (n != SIGNER_DIGEST_BYTES)
		return 0;
	pthread_mutex_lock(&signer_lock);
	rc = signer_ask(digest, reply, sizeof(reply), &len);
	pthread_mutex_unlock(&signer_lock);
	if (rc < 0 || len > (size_t)ECDSA_size(key))
		return 0;
	memcpy(sig, reply, len);
	*siglen = (unsigned)len;
	return 1;
}

EVP_PKEY *signer_key_new(X509 *cert, int signer_fd)
{
	EC_KEY *pub = EVP_PKEY_get1_EC_KEY(X509_get0_pubkey(cert)), *key = pub ? EC_KEY_dup(pub) : NULL;
	EC_KEY_METHOD *method = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
	EVP_PKEY *pkey = EVP_PKEY_new();

	EC_KEY_free(pub);
	if (!key || !method || !pkey) {
		EC_KEY_free(key);
		EC_KEY_METHOD_free(method);
		EVP_PKEY_free(pkey);
		return NULL;
	}
	signer_socket = signer_fd;
	/* the method lives as long as the process: keys point to it */
	EC_KEY_METHOD_set_sign(method, sign_remotely, NULL, NULL);
	if (!EC_KEY_set_method(key, method) || !EVP_PKEY_assign_EC_KEY(pkey, key)) {
		EC_KEY_free(key);
		EVP_PKEY_free(pkey);
		return NULL;
	}
	return pkey;
}
