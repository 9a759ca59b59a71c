/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_table.c - the node's domains, and RUN/domain/DOMID.json, from which a restarted hypervisord finds them again.
 */
#include "hypervisor/hypervisord.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "lib/atomic_file.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "lib/spawn.h"

#define RECORD_MAX (256u << 10)
#define DOMID_LAST 32751                       /* DOMID_FIRST_RESERVED is 0x7ff0 */

const char *config_str(const json_t *config, const char *key, const char *dflt)
{
	const char *s = json_string_value(json_object_get(config, key));

	return s ? s : dflt;
}

int64_t config_int(const json_t *config, const char *key, int64_t dflt)
{
	const json_t *v = json_object_get(config, key);

	return json_is_integer(v) ? json_integer_value(v) : dflt;
}

int dom_path(char *buf, size_t n, unsigned domid, const char *suffix)
{
	return path_join(buf, n, path_run(), "domain/%u%s", domid, suffix);
}

struct dom *dom_by_id(struct hvd *h, int64_t domid)
{
	for (struct dom *d = h->doms; d; d = d->next)
		if (d->domid == domid)
			return d;
	return NULL;
}

struct dom *dom_by_name(struct hvd *h, const char *name)
{
	for (struct dom *d = h->doms; d; d = d->next)
		if (!strcmp(d->name, name))
			return d;
	return NULL;
}

struct dom *dom_by_uuid(struct hvd *h, const char *uuid)
{
	for (struct dom *d = h->doms; d; d = d->next)
		if (!strcasecmp(d->uuid, uuid))
			return d;
	return NULL;
}

static void config_hash(const json_t *config, char hex[65])
{
	char *text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	unsigned char md[32];
	unsigned n = 0;

	if (text)
		EVP_Digest(text, strlen(text), md, &n, EVP_sha256(), NULL);
	for (unsigned i = 0; i < n && i < sizeof md; i++)
		snprintf(hex + 2 * i, 3, "%02x", md[i]);
	free(text);
}

static unsigned domid_free(struct hvd *h)
{
	for (unsigned i = 1; i <= DOMID_LAST; i++) {
		unsigned id = (h->last_domid + i - 1) % DOMID_LAST + 1;

		if (!dom_by_id(h, id))
			return id;
	}
	return 0;
}

int dom_name_check(struct hvd *h, const char *name, struct err *err)
{
	struct dom *d;

	if (!*name || strlen(name) >= sizeof d->name)
		return err_set(err, -EINVAL, "a domain needs a name of 1 to %zu characters; set name=", sizeof d->name - 1);
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < 0x21 || *p == '/' || (unsigned char)*p == 0x7f)
			return err_set(err, -EINVAL, "a domain's name takes no spaces, slashes or control characters; change name=");
	d = dom_by_name(h, name);
	if (d)
		return err_set(err, -EEXIST, "domain %s exists already on this node (domid %u); choose another name=", name, d->domid);
	return 0;
}

static int identity_check(struct hvd *h, const char *name, const char *uuid, int64_t domid, struct err *err)
{
	struct dom *d;
	uuid_t u;
	int rc = dom_name_check(h, name, err);

	if (rc)
		return rc;
	if (uuid_parse(uuid, u))
		return err_set(err, -EINVAL, "%s: uuid=%s is no UUID", name, uuid);
	d = dom_by_uuid(h, uuid);
	if (d)
		return err_set(err, -EEXIST, "uuid %s is domain %s's already (domid %u); leave uuid= out or choose another", uuid, d->name,
			       d->domid);
	if (domid < 0 || domid > DOMID_LAST)
		return err_set(err, -EINVAL, "domid %lld is not between 1 and %d", (long long)domid, DOMID_LAST);
	d = domid ? dom_by_id(h, domid) : NULL;
	if (d)
		return err_set(err, -EEXIST, "domid %lld is in use by domain %s on this node", (long long)domid, d->name);
	return 0;
}

struct dom *dom_add(struct hvd *h, const json_t *config, int64_t domid, int64_t claim, const char *copy, struct err *err)
{
	const char *name = config_str(config, "name", ""), *uuid = config_str(config, "uuid", "");
	struct dom *d;

	if (identity_check(h, name, uuid, domid, err))
		return NULL;
	if (!domid)
		domid = domid_free(h);
	d = calloc(1, sizeof *d);
	if (!d || !domid) {
		free(d);
		err_set(err, -ENOMEM, "%s: no room for another domain", name);
		return NULL;
	}
	*d = (struct dom) { .hvd = h, .domid = (uint16_t)domid, .claim = claim, .pidfd = -1, .disk_pidfd = -1, .disk_watched = -1,
			    .started_unix = (uint64_t)time(NULL), .shutdown_reason = -1 };
	d->jobs_tail = &d->jobs_head;
	snprintf(d->name, sizeof d->name, "%s", name);
	snprintf(d->uuid, sizeof d->uuid, "%s", uuid);
	snprintf(d->copy, sizeof d->copy, "%s", copy);
	d->config = json_deep_copy(config);
	config_hash(config, d->config_hash);
	if ((unsigned)domid > h->last_domid && !claim)
		h->last_domid = (unsigned)domid;
	d->next = h->doms;
	h->doms = d;
	return d;
}

void dom_remove(struct dom *d)
{
	static const char *const suffixes[] = { ".json", ".sock", ".pages.sock", ".disk.sock" };
	struct dom **at = &d->hvd->doms;
	char path[512];

	while (*at && *at != d)
		at = &(*at)->next;
	if (*at)
		*at = d->next;
	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
		if (!dom_path(path, sizeof path, d->domid, suffixes[i]))
			unlink(path);
	hurry_end(d);
	child_unwatch(d);
	helpers_end(d);
	if (d->pidfd >= 0)
		close(d->pidfd);
	if (d->disk_pidfd >= 0)
		close(d->disk_pidfd);
	json_decref(d->config);
	json_decref(d->pages);
	json_decref(d->serves);
	free(d);
}

int dom_record_write(const struct dom *d)
{
	json_t *o = json_pack("{s:i, s:s, s:s, s:O, s:I, s:I, s:b, s:I, s:i, s:I, s:i, s:I, s:b}", "domid", d->domid, "uuid", d->uuid,
			      "name", d->name, "config", d->config, "claim", (json_int_t)d->claim, "started", (json_int_t)d->started_unix,
			      "incoming", d->incoming, "attempt", (json_int_t)d->attempt, "pid", (int)d->pid,
			      "pid_start", (json_int_t)d->pid_start, "disk_pid", (int)d->disk_pid,
			      "disk_start", (json_int_t)d->disk_start, "has_iscsi", d->has_iscsi);
	char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
	char path[512];
	int rc = text ? dom_path(path, sizeof path, d->domid, ".json") : -ENOMEM;

	if (!rc)
		rc = atomic_file_write(path, text, strlen(text), 0600);
	free(text);
	json_decref(o);
	return rc;
}

static void dom_find(struct hvd *h, const char *file)
{
	char path[512], *text = NULL;
	struct err err = { 0 };
	json_t *o = NULL;
	struct dom *d;
	size_t n;

	if (path_join(path, sizeof path, path_run(), "domain/%s", file) || atomic_file_read(path, RECORD_MAX, &text, &n))
		return;
	o = json_loads(text, 0, NULL);
	d = o ? dom_add(h, json_object_get(o, "config"), config_int(o, "domid", -1), config_int(o, "claim", 0), "building", &err) : NULL;
	if (!d) {
		log_err("%s: not a domain's record (%s); ignoring it", path, err.text);
		goto out;
	}
	d->started_unix = (uint64_t)config_int(o, "started", 0);
	d->incoming = json_is_true(json_object_get(o, "incoming"));
	d->attempt = (uint64_t)config_int(o, "attempt", 0);
	d->has_iscsi = json_is_true(json_object_get(o, "has_iscsi"));
	d->pid = (pid_t)config_int(o, "pid", 0);
	d->pid_start = (uint64_t)config_int(o, "pid_start", 0);
	d->pidfd = d->pid > 0 ? spawn_reopen(d->pid, d->pid_start) : -ESRCH;
	d->disk_pid = (pid_t)config_int(o, "disk_pid", 0);
	d->disk_start = (uint64_t)config_int(o, "disk_start", 0);
	d->disk_pidfd = d->disk_pid > 0 ? spawn_reopen(d->disk_pid, d->disk_start) : -1;
	d->on_store = d->on_console = d->found = true;
	if (d->pidfd >= 0) {
		hvd_log("domain %s (%u): found again, pid %d", d->name, d->domid, (int)d->pid);
		hurry_found(d);
		child_watch(d);
	} else {
		d->pidfd = -1;
		log_warn("domain %s (%u): its hv-domain ended while hypervisord was away", d->name, d->domid);
		dom_end(d, "lost", false);
	}
out:
	json_decref(o);
	free(text);
}

void doms_find(struct hvd *h)
{
	char path[512];
	DIR *dir;

	if (path_join(path, sizeof path, path_run(), "domain"))
		return;
	dir = opendir(path);
	if (!dir)
		return;
	for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		const char *dot = strrchr(e->d_name, '.');

		if (e->d_name[0] != '.' && dot && !strcmp(dot, ".json"))
			dom_find(h, e->d_name);
	}
	closedir(dir);
}

unsigned vif_number(const json_t *vif, size_t place) { return (unsigned)config_int(vif, "devid", (int64_t)place); }

void dom_config_set(struct dom *d, json_t *config)
{
	json_decref(d->config);
	d->config = config;
	config_hash(config, d->config_hash);
	snprintf(d->name, sizeof d->name, "%s", config_str(config, "name", d->name));
	snprintf(d->uuid, sizeof d->uuid, "%s", config_str(config, "uuid", d->uuid));
	if (dom_record_write(d))
		log_err("domain %s (%u): its changed record cannot be written under %s", d->name, d->domid, path_run());
	dom_event(d, "domain-changed");
}

json_t *dom_object(const struct dom *d)
{
	return json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:i, s:I, s:s, s:i, s:i, s:I, s:O, s:s, s:[], s:b, s:I, s:O, s:O}",
			 "domid", d->domid, "uuid", d->uuid, "name", d->name, "copy", d->copy, "attempt", (json_int_t)d->attempt,
			 "target", d->target, "memory_kib", (json_int_t)config_int(d->config, "memory_kib", 0),
			 "maxmem_kib", (json_int_t)config_int(d->config, "maxmem_kib", 0),
			 "vcpus", (json_int_t)config_int(d->config, "vcpus", 1), "online_vcpus", 0, "cpu_ns", (json_int_t)0,
			 "state", "--p---", "shutdown_reason", d->shutdown_reason, "hvdomain_pid", (int)d->pid,
			 "started", (json_int_t)d->started_unix, "config", d->config, "config_hash", d->config_hash,
			 "vcpu", "user_paused", d->user_paused, "claim", (json_int_t)d->claim,
			 "pages", d->pages ? d->pages : json_null(), "serves", d->serves ? d->serves : json_null());
}
