/* SPDX-License-Identifier: GPL-2.0-or-later */
/* haven cert: the cluster's CA and the nodes' certificates (lib/pki). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ha-agent/haven.h"
#include "lib/paths.h"
#include "lib/pki.h"
#include "lib/xlcfg.h"

static int cert_init(int argc, char **argv)
{
	char cluster[128] = "";
	struct err err;

	if (argc > 1)
		return haven_usage(&haven_cmd_cert);
	xlcfg_cluster_name(cluster, sizeof(cluster));
	if (pki_init(argc ? argv[0] : *cluster ? cluster : "haven", &err))
		return haven_fail("%s", err.text);
	printf("made the cluster's CA in %s/pki; its key stays on this node. Next, for every node: haven cert issue NODE\n", path_conf());
	return HAVEN_OK;
}

static int cert_issue(int argc, char **argv)
{
	const char *out = argc == 3 && !strcmp(argv[1], "--out") ? argv[2] : NULL;
	struct err err;

	if (argc != 1 && !out)
		return haven_usage(&haven_cmd_cert);
	if (pki_issue(argv[0], out, &err))
		return haven_fail("%s", err.text);
	if (out)
		printf("issued a certificate for %s: copy the files of %s to %s/pki there\n", argv[0], out, path_conf());
	else
		printf("issued a certificate for %s: copy the files of %s/pki/issued/%s to %s/pki there\n", argv[0], path_conf(), argv[0], path_conf());
	return HAVEN_OK;
}

static int cert_revoke(int argc, char **argv)
{
	struct err err;

	if (argc != 1)
		return haven_usage(&haven_cmd_cert);
	if (pki_revoke(argv[0], &err))
		return haven_fail("%s", err.text);
	printf("revoked every certificate of %s: copy %s/pki/crl.pem to the other nodes\n", argv[0], path_conf());
	return HAVEN_OK;
}

static int cert_show(int argc, char **argv)
{
	const json_t *v;
	json_t *j = NULL;
	struct err err;
	size_t i;

	if (argc)
		return haven_usage(&haven_cmd_cert);
	if (pki_show(&j, &err))
		return haven_fail("%s", err.text);
	v = json_object_get(j, "ca");
	printf("CA    %s, expires %s, sha256 %s%s\n", haven_str(v, "name"), haven_str(v, "expires"), haven_str(v, "sha256"),
	       haven_true(v, "key_here") ? ", key on this node" : "");
	v = json_object_get(j, "node");
	if (v)
		printf("node  %s, expires %s, serial %s\n", haven_str(v, "name"), haven_str(v, "expires"), haven_str(v, "serial"));
	else
		puts("node  no certificate: haven cert issue, on the node with the CA's key");
	json_array_foreach(json_object_get(j, "issued"), i, v)
		printf("      issued to %s, serial %s%s\n", haven_str(v, "node"), haven_str(v, "serial"), haven_true(v, "revoked") ? ", revoked" : "");
	json_decref(j);
	return HAVEN_OK;
}

static const struct { const char *name; int (*run)(int argc, char **argv); int least; } verbs[] = {
	{ "init", cert_init, 0 }, { "issue", cert_issue, 1 }, { "show", cert_show, 0 }, { "revoke", cert_revoke, 1 },
};

static int run_cert(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(argv[1], verbs[i].name) && argc - 2 >= verbs[i].least)
			return verbs[i].run(argc - 2, argv + 2);
	return haven_usage(&haven_cmd_cert);
}

const struct haven_command haven_cmd_cert = {
	"cert", "init [CLUSTER] | issue NODE [--out DIR] | show | revoke NODE", "the certificates that let nodes talk",
	"init: makes the cluster's certificate authority, once, on one node.\n"
	"issue NODE: a certificate for a node, with what to copy there. Guests move only between nodes with certificates of one CA.\n"
	"show: the CA, this node's certificate, and what was issued.\n"
	"revoke NODE: its certificates are refused from then on, by every node that has the new crl.pem.", run_cert
};
