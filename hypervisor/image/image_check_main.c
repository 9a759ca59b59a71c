/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * image_check_main.c - haven-image-check: is this file a whole, unaltered image, and of which domain?
 *
 * Holds: the file (descriptor 3), a socket for its one answer (descriptor 0).
 * Hears: the file, which is hostile.
 * May do: read it and answer, as nobody, in an empty root, under seccomp.
 */
#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "hypervisor/image/image.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "lib/sandbox.h"

#define FILE_FD 3
#define CHECK_UID 1879048191u                  /* one below hv-domain's first */

static int cage(struct err *err)
{
	struct sandbox sb;
	struct sandbox_limits lim = { .uid = CHECK_UID, .gid = CHECK_UID, .empty_root = true, .nofile = 16, .no_dump = true,
				      .address_space = 1UL << 30 };
	int rc = sandbox_begin(&sb, "haven-image-check");

	if (!rc)
		rc = sandbox_allow_basics(&sb);
	if (!rc)
		rc = sandbox_allow(&sb, SCMP_SYS(pread64), "the file");
	if (!rc)
		rc = sandbox_deny(&sb, SCMP_SYS(openat), ENOENT, "OpenSSL looks for its configuration: there is nothing in its root");
	return rc ? err_set(err, rc, "cannot make the sandbox's filter") : sandbox_enter(&sb, &lim, err);
}

static int check(json_t **ret, struct err *err)
{
	struct image_header hdr = { 0 };
	struct image_saved saved = { 0 };
	struct image_reader r;
	json_t *config = NULL;
	const uint8_t *body;
	uint32_t type;
	size_t n;
	int rc = image_reader_open(&r, FILE_FD, &hdr, err);

	if (rc)
		return rc;
	if (hdr.kind != IMAGE_FILE)
		rc = err_set(err, -EINVAL, "not a saved domain: a part of a move");
	while (!rc && (rc = image_read(&r, &type, &body, &n, err)) == 1) {
		rc = 0;
		if (type == IMAGE_CONFIG && !config)
			config = json_loadb((const char *)body, n, 0, NULL);
		else if (type == (uint32_t)IMAGE_SAVED && image_saved_unpack(&saved, body, n))
			rc = err_set(err, -EINVAL, "the image is damaged: when it was saved cannot be read");
	}
	image_reader_close(&r);
	if (!rc && !json_is_object(config))
		rc = err_set(err, -EINVAL, "the image is damaged: no configuration in it");
	if (!rc)
		*ret = json_pack("{s:b, s:i, s:O, s:I, s:b, s:b, s:I}", "ok", 1, "domid", (int)hdr.domid, "config", config, "epoch",
				 (json_int_t)saved.epoch, "cluster", saved.cluster, "goes_on", saved.goes_on, "saved_realtime_ns",
				 (json_int_t)hdr.realtime_ns);
	json_decref(config);
	return rc;
}

int main(void)
{
	struct err err = { 0 };
	json_t *reply = NULL;
	int rc;

	json_object_seed(0);
	rc = cage(&err);
	if (!rc)
		rc = check(&reply, &err);
	if (rc)
		reply = json_pack("{s:b, s:s, s:s}", "ok", 0, "code", err_name(rc), "error", err.text);
	rc = msg_send(0, reply, NULL, 0);
	json_decref(reply);
	return rc < 0;
}
