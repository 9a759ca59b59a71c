/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls_context.h - one way to do TLS between nodes: 1.3, both sides certified by the cluster's CA, no switch to weaken it. */
#ifndef MIGRATED_TLS_CONTEXT_H
#define MIGRATED_TLS_CONTEXT_H

#include <stddef.h>
#include <openssl/ssl.h>
#include "lib/err.h"

/*
 * Reads path_conf()/pki (node.crt, ca.crt, crl.pem where present); signatures come from signer_fd (borrowed).  own gets this
 * node's name from its certificate.  NULL: err says which file and what to do.
 */
SSL_CTX *tls_context_new(int signer_fd, char *own, size_t own_size, struct err *err);

#endif
