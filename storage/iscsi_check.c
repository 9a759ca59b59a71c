/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iscsi_check.c - see iscsi_check.h. */
#include "config.h"
#include "storage/iscsi_check.h"

#include <inttypes.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "storage/hv_disk_sandbox.h"
#include "storage/iscsi_conf.h"

/* What activation after GO would meet: keys of this domain, of whichever node, it may take; others it may not. */
static int hand_over_possible(const struct iscsi_conf *conf, uint64_t key, const struct pr_state *p, struct err *err)
{
	for (unsigned i = 0; i < p->nr_keys; i++)
		if ((p->key[i] & ISCSI_KEY_DOMAIN_MASK) != (key & ISCSI_KEY_DOMAIN_MASK))
			return err_set(err, -EBUSY, "%s lun %d is held by another domain (its reservation key is %016" PRIx64
				       "); stop that domain, or give this one a disk of its own", conf->iqn, conf->lun, p->key[i]);
	if (p->reserved && p->type != PR_TYPE)
		return err_set(err, -EBUSY, "%s lun %d is reserved in a way that is not Haven's (type %u, key %016" PRIx64
			       "); clear that reservation", conf->iqn, conf->lun, p->type, p->holder);
	return 0;
}

int iscsi_check(const json_t *q, const json_t *d, uint64_t *ret_sectors, uint32_t *ret_sector_size, struct err *err)
{
	const char *vdev = json_string_value(json_object_get(d, "vdev")), *mode = json_string_value(json_object_get(d, "mode"));
	struct iscsi_session s = { 0 };
	struct iscsi_conf conf;
	struct pr_state p = { 0 };
	uint64_t key, blocks = 0;
	uint32_t block_size = 0;
	int rc = iscsi_conf_parse(q, d, &conf, &key, err);

	if (rc < 0)
		return rc;
	conf.isid = iscsi_conf_other_isid(conf.isid, (uint32_t)getpid());
	rc = hv_disk_sandbox_enter((uid_t)json_integer_value(json_object_get(q, "uid")), err);
	if (rc == 0)
		rc = session_open(&s, &conf, err);
	if (rc == 0)
		rc = session_capacity(&s, &blocks, &block_size, err);
	/* who only reads needs no registration */
	if (rc == 0 && !(mode && strcmp(mode, "ro") == 0))
		rc = session_pr_read(&s, &p, err);
	if (rc == 0)
		rc = hand_over_possible(&conf, key, &p, err);
	if (session_is_open(&s))
		session_close(&s, rc == 0);
	if (rc < 0)
		return err_prefix(err, "disk %s", vdev ? vdev : "?");
	*ret_sectors = blocks * (block_size / 512);
	*ret_sector_size = block_size;
	return 0;
}
