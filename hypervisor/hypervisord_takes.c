/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_takes.c - could this node take that guest?  Everything that will not fit, named at once, before a byte of it moves.
 *
 * A helper for each disk looks at it, all at a time; what has not answered when the time is over (DL_CHECK) is a problem, too.  Helpers
 * that hang, in a storage that does, are ended after the reply.  Nothing is changed anywhere; the configuration may be another node's word.
 */
#include "hypervisor/hypervisord.h"

#include <stdlib.h>
#include <string.h>
#include "lib/deadlines.h"
#include "lib/proto/hv_disk.h"

#define DISKS_MAX 32
#define CHECKED_MAX 128u               /* disks looked at at a time, for whoever asks */
#define HURRY_MS 100                   /* of DL_CHECK, for the reply */

static void problem_add(struct job *j, const char *text)
{
	json_array_append_new(json_object_get(j->reply, "problems"), json_string(text));
}

static json_t *check_request(struct job *j, json_t *disk)
{
	return json_pack("{s:s, s:O, s:s, s:s, s:I}", "op", "check", "disk", disk, "node", j->h->hostname, "uuid", j->shadow->uuid, "uid",
			 (json_int_t)HVD_FIRST_UID);
}

static const char *disk_place(const json_t *disk)
{
	return config_str(disk, !strcmp(config_str(disk, "backend", "file"), "iscsi") ? "portal" : "target", "?");
}

static void disk_size_check(struct job *j, const json_t *disk, const json_t *size)
{
	const char *vdev = config_str(disk, "vdev", "");
	json_int_t here = config_int(size, "sectors", 0), there = config_int(json_object_get(j->req, "disk_sectors"), vdev, here);
	struct err err = { 0 };

	if (here == there)
		return;
	err_set(&err, -EINVAL, "disk %.16s: has %lld sectors here and %lld where the guest runs: it is another disk, or a stale one", vdev,
		(long long)here, (long long)there);
	problem_add(j, err.text);
}

static void disk_answer(struct job *j, const json_t *disk, const char *key)
{
	struct err err = { 0 };
	json_t *size = NULL;
	int rc = helper_try(j->shadow, key, &size, &err);

	if (rc == -ETIMEDOUT)
		err_set(&err, rc, "disk %.16s: %.200s: no answer within %.1f s", config_str(disk, "vdev", ""), disk_place(disk),
			deadline(DL_CHECK) / 1e3);
	if (rc)
		problem_add(j, err.text);
	else
		disk_size_check(j, disk, size);
	json_decref(size);
}

/* Keys are numbers: names are another node's word, and two of them may be alike. */
static const char *key_of(size_t i, char key[16])
{
	snprintf(key, 16, "disk %zu", i);
	return key;
}

static void takes_work(struct job *j)
{
	json_t *disks = json_object_get(j->data, "disk"), *v;
	struct err err = { 0 };
	char key[16];
	size_t i;

	helpers_within(j->shadow, deadline(DL_CHECK - HURRY_MS));
	json_array_foreach(disks, i, v)
		if (i < DISKS_MAX && helper_begin(j->shadow, key_of(i, key), "haven-storage", check_request(j, v), &err))
			problem_add(j, err.text);
	json_array_foreach(disks, i, v)
		if (i < DISKS_MAX && helper_begun(j->shadow, key_of(i, key)))
			disk_answer(j, v, key);
	if (json_array_size(disks) > DISKS_MAX)
		problem_add(j, "it has more disks than a domain can have");
}

static void end_late_helpers(struct job *j) { helpers_end(j->shadow); }
static void late_helpers_ended(struct job *j) { j->h->disks_checked -= (unsigned)j->number; }

/* Ending one that hangs takes as long as the kernel does. */
static void takes_done(struct job *j)
{
	struct job *late;

	late = j->shadow->helpers ? job_new(j->h, NULL, NULL) : NULL;
	if (!late) {                           /* out of memory: those that hang end with hypervisord */
		late_helpers_ended(j);
		return;
	}
	late->shadow = j->shadow;
	j->shadow = NULL;
	late->number = j->number;
	late->work = end_late_helpers;
	late->done = late_helpers_ended;
	job_start_beside(late);
}

void op_takes(struct msg_call *c, void *h)
{
	struct hvd *hvd = h;
	struct job *j = job_new(h, c, NULL);
	struct err err = { 0 };
	size_t i, iscsi = 0;
	json_t *v;

	if (!j)
		return;
	j->shadow = calloc(1, sizeof *j->shadow);
	j->data = json_incref(json_object_get(j->req, "config"));
	if (!j->shadow || !json_is_object(j->data)) {
		job_fail(j, j->shadow ? -EINVAL : -ENOMEM, j->shadow ? "takes: config: an object is needed" : "hypervisord: out of memory");
		job_finish_now(j);
		return;
	}
	i = json_array_size(json_object_get(j->data, "disk"));
	j->number = i < DISKS_MAX ? (int64_t)i : DISKS_MAX;
	if (j->number + hvd->disks_checked > CHECKED_MAX) {
		job_fail(j, -EBUSY, "hypervisord looks at %u disks for others already; ask again", hvd->disks_checked);
		job_finish_now(j);
		return;
	}
	hvd->disks_checked += (unsigned)j->number;
	j->shadow->hvd = h;
	snprintf(j->shadow->uuid, sizeof j->shadow->uuid, "%s", config_str(j->data, "uuid", ""));
	j->reply = json_pack("{s:[]}", "problems");
	if (node_memory_check(h, j->data, &err))
		problem_add(j, err.text);
	json_array_foreach(json_object_get(j->data, "disk"), i, v)
		iscsi += !strcmp(config_str(v, "backend", "file"), "iscsi");
	if (iscsi > HV_DISK_MAX)
		problem_add(j, "it has more iSCSI disks than a domain can have");
	j->work = takes_work;
	j->done = takes_done;
	job_start_beside(j);
}
