/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls_context.c - see tls_context.h. */
#include "migrated/tls_context.h"

#include <limits.h>
#include <unistd.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/paths.h"
#include "lib/pki.h"
#include "migrated/signer_key.h"

#define READ_AHEAD_BYTES (64 << 10)

static int load_own(SSL_CTX *ctx, int signer_fd, struct err *err)
{
	char path[PATH_MAX];
	EVP_PKEY *key;
	int ok;

	if (path_join(path, sizeof(path), path_conf(), "pki/node.crt") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	if (SSL_CTX_use_certificate_file(ctx, path, SSL_FILETYPE_PEM) != 1)
		return err_set(err, -EINVAL, "%s: cannot use this node's certificate; see haven cert show", path);
	key = signer_key_new(SSL_CTX_get0_certificate(ctx), signer_fd);
	ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;
	EVP_PKEY_free(key);
	return ok ? 0 : err_set(err, -EINVAL, "%s: its key is not an EC key; issue it with haven cert", path);
}

static int load_trust(SSL_CTX *ctx, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
	char path[PATH_MAX];

	if (path_join(path, sizeof(path), path_conf(), "pki/ca.crt") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	if (SSL_CTX_load_verify_file(ctx, path) != 1)
		return err_set(err, -EINVAL, "%s: cannot use the cluster CA's certificate; see haven cert show", path);
	if (path_join(path, sizeof(path), path_conf(), "pki/crl.pem") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	if (access(path, F_OK) < 0)
		return 0;
	/* there is a list: from here on it is obeyed, also when it cannot be read */
	if (X509_load_crl_file(X509_STORE_add_lookup(store, X509_LOOKUP_file()), path, X509_FILETYPE_PEM) != 1)
		return err_set(err, -EINVAL, "%s: cannot use the revocation list; copy it again from the node with the CA", path);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK);
	return 0;
}

SSL_CTX *tls_context_new(int signer_fd, char *own, size_t own_size, struct err *err)
{
	SSL_CTX *ctx = NULL;

	if (pki_identity(own, own_size, NULL, err) < 0)
		return NULL;
	ctx = SSL_CTX_new(TLS_method());
	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) || !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")) {
		err_set(err, -EIO, "OpenSSL cannot do TLS 1.3");
		goto fail;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_verify_depth(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD_BYTES);
	if (load_own(ctx, signer_fd, err) < 0 || load_trust(ctx, err) < 0)
		goto fail;
	return ctx;
fail:
	SSL_CTX_free(ctx);
	return NULL;
}
