/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_end.c - what the guest's own end leads to: on_poweroff, on_reboot, on_crash, on_watchdog of its configuration.
 */
#include "hypervisor/hypervisord.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "lib/log.h"
#include "lib/paths.h"

#define DUMP_TIMEOUT_MS (20 * 60 * 1000)

/* By SHUTDOWN_* of <xen/sched.h>; a suspend is none of ours, and a soft reset nobody offers. */
static const struct { const char *key, *dflt, *reason; } ends[] = {
	{ "on_poweroff", "destroy", "poweroff" }, { "on_reboot", "restart", "reboot" }, { "on_poweroff", "destroy", "poweroff" },
	{ "on_crash", "destroy", "crash" }, { "on_watchdog", "destroy", "watchdog" }, { "on_crash", "destroy", "crash" },
};
#define NR_ENDS ((int)(sizeof ends / sizeof ends[0]))

/* --- a core of it -------------------------------------------------------------------------------------------------------- */

static const char *dump_folder(void)
{
	const char *dir = getenv("HAVEN_DUMP_DIR");

	return dir ? dir : "/var/lib/xen/dump";
}

/* The file of an earlier core gives way when this one is whole. */
int dom_core_keep(struct dom *d, struct err *err)
{
	char path[512], part[528];
	int fd = -1, rc = path_mkdirs(dump_folder(), 0700);

	if (!rc)
		rc = path_join(path, sizeof path, dump_folder(), "%s", d->name);
	if (rc)
		return err_set(err, rc, "%s: %s", dump_folder(), strerror(-rc));
	snprintf(part, sizeof part, "%s.part", path);
	unlink(part);
	fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, -errno, "%s: %s", part, strerror(errno));
	rc = child_call(d, json_pack("{s:s}", "op", "dump-core"), &fd, 1, NULL, NULL, NULL, DUMP_TIMEOUT_MS, err);
	close(fd);
	if (!rc && rename(part, path) < 0)
		rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (rc)
		unlink(part);
	else
		hvd_log("domain %s (%u): core in %s", d->name, d->domid, path);
	return rc;
}

/* --- rename-restart ------------------------------------------------------------------------------------------------------- */

/* What stays behind: another name and uuid, and nothing that would begin it again. */
static json_t *kept_config(const struct dom *d)
{
	json_t *config = json_deep_copy(d->config);
	time_t now = time(NULL);
	char stamp[32], text[37];
	struct tm tm;
	uuid_t uuid;

	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	uuid_generate(uuid);
	uuid_unparse_lower(uuid, text);
	json_object_set_new(config, "name", json_sprintf("%.*s-%s", (int)(sizeof d->name - 20), d->name, stamp));
	json_object_set_new(config, "uuid", json_string(text));
	for (int i = 0; i < NR_ENDS; i++)
		json_object_set_new(config, ends[i].key, json_string("preserve"));
	json_object_set_new(config, "disk", json_array());
	json_object_set_new(config, "vif", json_array());
	return config;
}

/* Its disks and taps are let go of, for the one that begins in its place; memory and vCPUs stay, to be looked at. */
static void keep_work(struct job *j)
{
	struct dom *d = j->dom;

	j->data = kept_config(d);
	j->rc = child_call(d, json_pack("{s:s}", "op", "let-go"), NULL, 0, NULL, NULL, NULL, 10000, &j->err);
	if (j->rc)
		return;
	devices_close(d);
	d->has_iscsi = false;
	j->rc = store_vm_renamed(d, config_str(j->data, "uuid", ""), config_str(j->data, "name", ""), &j->err);
}

static void keep_done(struct job *j)
{
	struct dom *d = j->dom;
	struct hvd *h = j->h;
	json_t *config = json_incref(d->config);

	d->gone_seen = false;
	if (j->rc) {
		log_warn("domain %s (%u): cannot be kept (%s), so it is destroyed", d->name, d->domid, j->err.text);
		dom_end(d, d->reason, true);
	} else {
		d->reason[0] = 0;
		dom_config_set(d, json_incref(j->data));
		hvd_log("domain %s (%u): kept under this name; xl destroy ends it", d->name, d->domid);
		if (!dom_destroy_waits(j))
			dom_restart(h, config);
	}
	json_decref(config);
}

static void dom_keep(struct dom *d, const char *reason)
{
	struct job *j = job_new(d->hvd, NULL, d);

	if (!j)
		return;
	snprintf(d->reason, sizeof d->reason, "%s", reason);
	d->gone_seen = true;                   /* heard of twice, it is kept once */
	disk_unwatch(d);
	d->disk_released = true;
	j->work = keep_work;
	j->done = keep_done;
	job_start(j);
}

/* --- the table -------------------------------------------------------------------------------------------------------------- */

static void end_destroy(struct dom *d, const char *reason) { dom_end(d, reason, false); }
static void end_restart(struct dom *d, const char *reason) { dom_end(d, reason, true); }
static void end_core_destroy(struct dom *d, const char *reason) { dom_end_dumped(d, reason, false); }
static void end_core_restart(struct dom *d, const char *reason) { dom_end_dumped(d, reason, true); }
static void end_preserve(struct dom *d, const char *reason) { dom_event(d, "domain-changed"); }

/* The cluster knows one copy of a uuid; a second one beside it, shut down, it could not tell apart. */
static void end_rename_restart(struct dom *d, const char *reason)
{
	if (!d->claim) {
		dom_keep(d, reason);
		return;
	}
	hvd_log("domain %s (%u): a domain of the cluster is not kept beside the one that restarts", d->name, d->domid);
	dom_end(d, reason, true);
}

static const struct { const char *action; void (*run)(struct dom *d, const char *reason); } actions[] = {
	{ "destroy", end_destroy }, { "restart", end_restart }, { "preserve", end_preserve }, { "rename-restart", end_rename_restart },
	{ "coredump-destroy", end_core_destroy }, { "coredump-restart", end_core_restart },
};

void guest_ended(struct dom *d, int reason)
{
	const char *action;

	if (reason < 0 || d->gone_seen)
		return;
	d->shutdown_reason = reason;
	if (reason >= NR_ENDS)
		reason = 3;
	action = config_str(d->config, ends[reason].key, ends[reason].dflt);
	hvd_log("domain %s (%u): %s, so %s", d->name, d->domid, ends[reason].reason, action);
	for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
		if (!strcmp(actions[i].action, action)) {
			actions[i].run(d, ends[reason].reason);
			return;
		}
	dom_end(d, ends[reason].reason, false);
}
