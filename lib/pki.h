/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pki.h - the cluster's certificate authority and the nodes' certificates (EC P-256, X.509), which is all that lets two
 * migrated processes talk.  Files, in path_conf()/pki:
 *
 *	ca.crt ca.key     the CA; ca.key only on the node that ran `haven cert init`
 *	crl.pem           who was revoked; optional on the other nodes, obeyed where it is
 *	index             "SERIAL NODE" a line: what the CA issued
 *	node.crt node.key this node's own
 *	issued/NODE/      what to copy to NODE: ca.crt crl.pem node.crt node.key
 *
 * Keys are 0600, everything is written atomically.  A node's name is its certificate's CN and its one DNS subject alternative name.
 */
#ifndef LIB_PKI_H
#define LIB_PKI_H

#include <stddef.h>
#include <jansson.h>
#include "lib/err.h"

#define PKI_NAME_MAX 63

/* Makes CA and an empty CRL; cluster names it.  -EEXIST when there is a CA already: it is never replaced. */
int pki_init(const char *cluster, struct err *err);
/*
 * Issues a certificate for the node into out_dir (NULL: path_conf()/pki/issued/NODE), with copies of ca.crt and crl.pem; for
 * this very host (gethostname) it is installed as node.crt and node.key too.  An earlier certificate of the node stays valid until revoked.
 */
int pki_issue(const char *node, const char *out_dir, struct err *err);
/* Revokes every certificate issued to the node so far; rewrites crl.pem, to be copied to the other nodes.  -ENOENT: none was. */
int pki_revoke(const char *node, struct err *err);
/*
 * {"ca": {"name", "expires", "sha256", "key_here": bool}, "node": {"name", "serial", "expires"}|absent,
 *  "crl": {"revoked": [serial…], "next_update"}|absent, "issued": [{"serial", "node", "revoked": bool}…]}.  expires: "YYYY-MM-DD".
 */
int pki_show(json_t **ret, struct err *err);
/* This node's name as its certificate has it, and the days it is still valid (negative: over).  days may be NULL. */
int pki_identity(char *name, size_t size, int *ret_days, struct err *err);

#endif
