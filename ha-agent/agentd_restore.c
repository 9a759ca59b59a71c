/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A saved guest is continued: a start whose copy comes from a file, under the number the guest knows itself by. What the file says of itself
 * (config, epoch) the client read through hypervisord's image-info; the rules of the claim are a start's. A save is good once: it is refused
 * when the domain's record says that it was started since (docs/specs/image.md, SAVED).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/agentd.h"
#include "lib/log.h"

#define RESTORE_MS (20 * 60 * 1000)

const struct restore *restore_find(const struct agentd *a, const char *uuid)
{
	const struct restore *r;

	for (r = a->restores; r && strcmp(r->uuid, uuid); r = r->next)
		;
	return r;
}

/*
 * A restore that failed before the guest ran leaves the save good: the claim it took and the release that follows are no start. Whether it ran
 * hypervisord's activation says, which is written before a vCPU runs and read before the copy is reported gone.
 */
void restore_over(struct agentd *a, const struct own_dom *d, int rc)
{
	for (struct restore **p = &a->restores; *p; p = &(*p)->next) {
		struct restore *r = *p;

		if (strcmp(r->uuid, d->uuid))
			continue;
		*p = r->next;
		if (rc && r->epoch && d->rec.owner == a->own->me)
			json_object_set_new(a->unspent, d->uuid, json_pack("{s:I,s:I}", "saved", (json_int_t)r->epoch, "claim",
									     (json_int_t)d->rec.epoch));
		close(r->fd);
		free(r);
		return;
	}
}

static bool restore_is_unspent(const struct agentd *a, const struct own_dom *d, uint64_t epoch)
{
	const json_t *u = json_object_get(a->unspent, d->uuid);
	uint64_t saved = (uint64_t)json_integer_value(json_object_get(u, "saved"));
	uint64_t claim = (uint64_t)json_integer_value(json_object_get(u, "claim"));

	return u && saved == epoch && d->rec.epoch == claim + 1 && d->act_fresh && d->act_known && d->activated < claim;
}

/* 0, or the refusal in text. */
static int restore_refusal(const struct agentd *a, const struct own_dom *d, const json_t *saved, const char *name, char *text)
{
	uint64_t epoch = (uint64_t)json_integer_value(json_object_get(saved, "epoch"));

	if (d && d->job != OWN_J_NONE)
		return snprintf(text, OWN_TEXT_LEN, "%.100s is being started, stopped or moved already; wait for that", name), -EBUSY;
	if (d && own_holds(d))
		return snprintf(text, OWN_TEXT_LEN, "%.100s is here already (%s); end it first", name, own_copy_name(d->copy)), -EEXIST;
	for (int i = 0; d && i < a->own->n_nodes; i++)
		if (d->hold & (UINT64_C(1) << i))
			return snprintf(text, OWN_TEXT_LEN, "%.100s is on %.60s already (%s); end it first", name, a->own->nodes[i].name,
					own_copy_name(d->remote[i])), -EEXIST;
	if (json_is_true(json_object_get(saved, "force")))
		return 0;
	if (json_is_true(json_object_get(saved, "goes_on")))
		return snprintf(text, OWN_TEXT_LEN, "%.100s ran on after this save (-c, -p): its disks have moved on, and memory of before would damage "
				"them; restore with --force when the disks are of that moment too", name), -ESTALE;
	if (!d || !epoch || !json_is_true(json_object_get(saved, "cluster")))
		return snprintf(text, OWN_TEXT_LEN, "%.100s was not saved in this cluster: whether its disks have moved on since nobody knows; restore "
				"with --force when you know that they have not", name), -ESTALE;
	if ((!d->rec.owner && d->rec.epoch == epoch + 1) || (!d->rec.owner && restore_is_unspent(a, d, epoch)))
		return 0;
	return snprintf(text, OWN_TEXT_LEN, "%.100s was started since this save: its disks have moved on, and memory of before would damage them; restore "
			"with --force when the disks are of that moment too", name), -ESTALE;
}

/* Its file is let go without a word on whether the save is still good. */
static void restore_drop(struct agentd *a, const char *uuid)
{
	struct own_dom dummy = { 0 };

	snprintf(dummy.uuid, sizeof(dummy.uuid), "%s", uuid);
	restore_over(a, &dummy, 0);
}

static struct restore *restore_keep(struct agentd *a, struct msg_call *call, const char *uuid)
{
	struct restore *r = calloc(1, sizeof(*r));

	if (!r) {
		msg_error(call, -ENOMEM, "out of memory");
		return NULL;
	}
	r->fd = msg_call_take_fd(call, 0);
	if (r->fd < 0) {
		free(r);
		msg_error(call, -EINVAL, "restore: no file came with the request");
		return NULL;
	}
	snprintf(r->uuid, sizeof(r->uuid), "%s", uuid);
	r->paused = msg_call_bool_opt(call, "paused", false);
	r->epoch = (uint64_t)msg_call_int_opt(call, "epoch", 0);
	r->next = a->restores;
	a->restores = r;
	return r;
}

static void restore_start(struct agentd *a, struct msg_call *call, const char *uuid, struct own_record *rec, const char *config)
{
	const struct own_dom *d = own_find(a->own, uuid);
	bool force = msg_call_bool_opt(call, "force", false);
	uint64_t from = d && !force ? d->rec.epoch : 0;
	char text[OWN_TEXT_LEN] = "";
	int rc = restore_refusal(a, d, msg_call_request(call), rec->name, text);

	if (rc == 0 && d) {	/* an operator waits for it: what stands in its way now is said now */
		own_obstacle(a->own, d, text);
		rc = *text ? -EAGAIN : 0;
	}
	if (rc || msg_call_bool_opt(call, "check", false)) {
		if (rc)
			msg_error(call, rc, "%s", text);
		else
			msg_reply(call, NULL);
		return;
	}
	if (d && !*rec->resource)
		memcpy(rec->resource, d->rec.resource, sizeof(rec->resource));
	if (!restore_keep(a, call, uuid))
		return;
	if (!wait_new(a, WAIT_START, uuid, call, msg_call_int_opt(call, "timeout_ms", RESTORE_MS))) {
		restore_drop(a, uuid);
		return;
	}
	log_info("restore of %s (%s)%s", rec->name, uuid, force ? ", by force" : "");
	rc = own_restore(a->own, uuid, rec, config, from, text);
	if (rc)
		ops_end_wait(a, WAIT_START, uuid, rc, text);
}

void op_restore(struct msg_call *call, void *daemon)
{
	struct agentd *a = daemon;
	struct own_record rec;
	const char *uuid;
	int64_t domid;
	char *config;

	if (!ops_own(a, call) || !msg_call_int(call, "domid", &domid))
		return;
	if (domid < 1 || domid > OWN_DOMID_MAX) {
		msg_error(call, -EINVAL, "domid: 1 to %d", OWN_DOMID_MAX);
		return;
	}
	config = ops_config(call, &uuid, &rec);
	if (!config)
		return;
	rec.domid = (uint32_t)domid;
	restore_start(a, call, uuid, &rec, config);
	free(config);
}
