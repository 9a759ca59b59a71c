/* SPDX-License-Identifier: GPL-2.0-or-later */
/* make_pki DIR NODE...: a cluster CA in DIR/pki and a certificate a node in DIR/NODE; "-NODE" revokes that node's afterwards. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/pki.h"

int main(int argc, char **argv)
{
	struct err err = { 0 };
	char out[512];
	int rc;

	if (argc < 3 || setenv("HAVEN_CONF_DIR", argv[1], 1) < 0)
		return 2;
	rc = pki_init("test", &err);
	for (int i = 2; i < argc && (rc == 0 || rc == -EEXIST); i++) {
		snprintf(out, sizeof(out), "%s/%s", argv[1], argv[i]);
		rc = argv[i][0] == '-' ? pki_revoke(argv[i] + 1, &err) : pki_issue(argv[i], out, &err);
	}
	if (rc < 0)
		fprintf(stderr, "make_pki: %s\n", err.text);
	return rc < 0;
}
