/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_change.c - changes of a domain that is there: memory, vCPUs, devices, name, NMI, core dump.
 *
 * A change is a job of its domain: it runs after the earlier ones and before the next, a move's beginning included.  What it makes
 * different goes into the domain's configuration, which reboots, saved images and moves begin from.  A device is written down before
 * it is there, and after it is gone: a hypervisord that dies in between leaves a configuration that asks for too much, never for too
 * little.
 */
#include "hypervisor/hypervisord.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lib/cpulist.h"
#include "lib/log.h"
#include "lib/vdev.h"

#define MIN_KIB 4096
#define SLACK_KIB 1024                 /* what libxl lets a guest hold beyond its target (LIBXL_MAXMEM_CONSTANT) */
#define CLOSE_TIMEOUT_MS 10000         /* as long as libxl waits for a device to close */
#define CLOSE_POLL_MS 50
#define MAX_VIFS 8
#define DUMP_TIMEOUT_MS (20 * 60 * 1000)

enum { RUNS = 1, NO_QUORUM = 2, ENDED = 4, MOVING = 8 };   /* in which a change is allowed; ENDED: its guest has shut down and is kept */

struct change {
	const char *op;
	unsigned states;
	int (*admit)(struct dom *d, const json_t *req, struct err *err);   /* main thread; may be NULL */
	int (*work)(struct job *j, json_t *config);    /* thread; config: a copy to be changed, in force when it returned 0 */
	bool keeps_config;                             /* it changes none */
	bool restarts_disk;                            /* hv-disk may be begun again */
};

/* --- small things ------------------------------------------------------------------------------------------------------ */

static int child_op(struct dom *d, json_t *req, struct err *err)
{
	return child_call(d, req, NULL, 0, NULL, NULL, NULL, 10000, err);
}

static int node_write(const struct dom *d, const char *node, const char *value, struct err *err)
{
	char path[128];

	snprintf(path, sizeof path, "/local/domain/%u/%s", d->domid, node);
	return store_write(path, value, err);
}

/* The record as it is to become, while d->config is still the old one. */
static int record_ahead(const struct dom *d, json_t *config, struct err *err)
{
	struct dom as = *d;
	int rc;

	as.config = config;
	rc = dom_record_write(&as);
	return rc ? err_set(err, rc, "domain %s: its record cannot be written: %s", d->name, strerror(-rc)) : 0;
}

static int number_get(const json_t *req, const char *key, int64_t min, int64_t max, int64_t *ret, struct err *err)
{
	const json_t *v = json_object_get(req, key);

	*ret = json_integer_value(v);
	if (!json_is_integer(v) || *ret < min || *ret > max)
		return err_set(err, -EINVAL, "%s: a number from %lld to %lld is needed", key, (long long)min, (long long)max);
	return 0;
}

/* --- memory ------------------------------------------------------------------------------------------------------------- */

static int limit_send(struct dom *d, int64_t kib, struct err *err)
{
	int64_t max = config_int(d->config, "maxmem_kib", config_int(d->config, "memory_kib", 0));

	return child_op(d, json_pack("{s:s, s:I}", "op", "mem-limit", "pages", (json_int_t)(kib > max ? max : kib) / 4), err);
}

void change_limit_apply(struct dom *d)
{
	int64_t kib = config_int(d->config, "limit_kib", 0);
	struct err err = { 0 };

	if (kib > 0 && limit_send(d, kib, &err))
		log_warn("domain %s (%u): without its limit of memory: %s", d->name, d->domid, err.text);
}

static int mem_get(const struct dom *d, const json_t *req, int64_t *ret_kib, struct err *err)
{
	int64_t max = config_int(d->config, "maxmem_kib", config_int(d->config, "memory_kib", 0));
	const json_t *v = json_object_get(req, "kib");

	*ret_kib = json_integer_value(v) & ~3LL;
	if (!json_is_integer(v) || *ret_kib < MIN_KIB)
		return err_set(err, -EINVAL, "domain %s: a domain has at least %d MiB", d->name, MIN_KIB >> 10);
	if (*ret_kib > max)
		return err_set(err, -EINVAL, "domain %s: %lld MiB is more than the %lld MiB it was built for; raise maxmem= and start it again",
			       d->name, (long long)*ret_kib >> 10, (long long)max >> 10);
	return 0;
}

static int mem_set_admit(struct dom *d, const json_t *req, struct err *err)
{
	int64_t kib, have = config_int(d->config, "memory_kib", 0);
	int rc = mem_get(d, req, &kib, err);

	return rc || kib <= have ? rc : node_memory_grow_check(d->hvd, d, (uint64_t)(kib - have), err);
}

/* The balloon in the guest watches memory/target; beyond it, it gets no frame. */
static int mem_set(struct job *j, json_t *config)
{
	int64_t kib;
	char value[24];
	int rc = mem_get(j->dom, j->req, &kib, &j->err);

	if (!rc)
		rc = limit_send(j->dom, kib + SLACK_KIB, &j->err);
	if (rc)
		return rc;
	snprintf(value, sizeof value, "%lld", (long long)kib);
	json_object_set_new(config, "memory_kib", json_integer(kib));
	json_object_set_new(config, "limit_kib", json_integer(kib + SLACK_KIB));
	return node_write(j->dom, "memory/target", value, &j->err);
}

static int mem_max(struct job *j, json_t *config)
{
	int64_t kib, target = config_int(config, "memory_kib", 0);
	int rc = mem_get(j->dom, j->req, &kib, &j->err);

	if (!rc && kib < target)
		rc = job_fail(j, -EINVAL, "domain %s: its memory is set to %lld MiB, so it cannot have %lld at most; use xl mem-set %s %lld first",
			      j->dom->name, (long long)target >> 10, (long long)kib >> 10, j->dom->name, (long long)kib >> 10);
	if (!rc)
		rc = limit_send(j->dom, kib, &j->err);
	if (!rc)
		json_object_set_new(config, "limit_kib", json_integer(kib));
	return rc;
}

/* --- vCPUs ---------------------------------------------------------------------------------------------------------------- */

static int vcpu_set(struct job *j, json_t *config)
{
	int64_t n, all = config_int(config, "vcpus", 1);
	char node[48];
	int rc = number_get(j->req, "vcpus", 1, INT32_MAX, &n, &j->err);

	if (!rc && n > all)
		rc = job_fail(j, -EINVAL, "domain %s has %lld vCPUs at most; raise maxvcpus= and start it again", j->dom->name, (long long)all);
	for (int64_t i = 0; !rc && i < all; i++) {
		snprintf(node, sizeof node, "cpu/%d/availability", (int)i);
		rc = node_write(j->dom, node, i < n ? "online" : "offline", &j->err);
	}
	if (!rc)
		json_object_set_new(config, "online_vcpus", json_integer(n));
	return rc;
}

/* The thread of one vCPU; its number came from the domain's own process, so it must be a thread of that process. */
static int thread_pin(const struct dom *d, int64_t tid, const cpu_set_t *set)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/task/%lld", (int)d->pid, (long long)tid);
	if (tid <= 0 || access(path, F_OK) < 0)
		return -ESRCH;
	return sched_setaffinity((pid_t)tid, sizeof *set, set) < 0 ? -errno : 0;
}

static unsigned node_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	return n < 1 ? 1 : n > CPU_SETSIZE ? CPU_SETSIZE : (unsigned)n;
}

/* affinity: a list a vCPU; "all" and what is missing: every CPU. */
static int pin_apply(struct dom *d, const json_t *affinity, struct err *err)
{
	json_t *status = NULL, *v;
	size_t i;
	int rc = child_call(d, json_pack("{s:s}", "op", "status"), NULL, 0, &status, NULL, NULL, 10000, err);

	json_array_foreach(json_object_get(status, "vcpu"), i, v) {
		const char *list = json_string_value(json_array_get(affinity, i));
		cpu_set_t set;

		if (!rc)
			rc = cpulist_parse(list ? list : "all", node_cpus(), &set);
		if (!rc)
			rc = thread_pin(d, config_int(v, "tid", 0), &set);
		if (rc && !err->text[0])
			err_set(err, rc, "domain %s: vCPU %zu cannot be pinned to %.60s: %s", d->name, i, list ? list : "all", strerror(-rc));
	}
	json_decref(status);
	return rc;
}

void change_cpu_apply(struct dom *d)
{
	const json_t *affinity = json_object_get(d->config, "affinity");
	struct err err = { 0 };

	if (affinity && pin_apply(d, affinity, &err))
		log_warn("domain %s (%u): not pinned as it was: %s", d->name, d->domid, err.text);
	err.text[0] = 0;
	if ((json_object_get(d->config, "weight") || json_object_get(d->config, "cap")) &&
	    cgroup_set(d, config_int(d->config, "weight", 256), config_int(d->config, "cap", 0), &err))
		log_warn("domain %s (%u): without its share of the CPUs: %s", d->name, d->domid, err.text);
}

static int vcpu_pin(struct job *j, json_t *config)
{
	int64_t vcpus = config_int(config, "vcpus", 1), which = config_int(j->req, "vcpu", -1);
	const char *cpus = config_str(j->req, "cpus", "");
	json_t *affinity = json_array();
	char text[CPULIST_TEXT_MAX];
	cpu_set_t set;
	int rc = cpulist_parse(cpus, node_cpus(), &set);

	if (rc)
		job_fail(j, rc, "\"%.60s\": %s", cpus, rc == -ERANGE ? "this node has no such CPU; see xl info" : rc == -ENOENT ?
			 "no CPU is left of it" : "no list of CPUs such as 0-3,^2 or all");
	else if (which >= vcpus)
		rc = job_fail(j, -EINVAL, "domain %s has no vCPU %lld; see xl vcpu-list", j->dom->name, (long long)which);
	else
		rc = cpulist_format(&set, node_cpus(), text, sizeof text);
	for (int64_t i = 0; i < vcpus; i++) {
		const char *old = json_string_value(json_array_get(json_object_get(config, "affinity"), (size_t)i));

		json_array_append_new(affinity, json_string(which < 0 || which == i ? (rc ? "all" : text) : old ? old : "all"));
	}
	if (!rc)
		rc = pin_apply(j->dom, affinity, &j->err);
	if (!rc)
		json_object_set(config, "affinity", affinity);
	json_decref(affinity);
	return rc;
}

static int sched_set(struct job *j, json_t *config)
{
	int64_t weight = config_int(config, "weight", 256), cap = config_int(config, "cap", 0);
	int rc = 0;

	if (json_object_get(j->req, "weight"))
		rc = number_get(j->req, "weight", 1, 65535, &weight, &j->err);
	if (!rc && json_object_get(j->req, "cap"))
		rc = number_get(j->req, "cap", 0, 100 * (int64_t)config_int(config, "vcpus", 1), &cap, &j->err);
	if (!rc)
		rc = cgroup_set(j->dom, weight, cap, &j->err);
	if (!rc) {
		json_object_set_new(config, "weight", json_integer(weight));
		json_object_set_new(config, "cap", json_integer(cap));
	}
	return rc;
}

/* --- devices ---------------------------------------------------------------------------------------------------------------- */

/* A device's three places in the store: back end, front end, libxl's copy. */
static void device_paths(const struct dom *d, const char *class, unsigned devid, char path[3][96])
{
	snprintf(path[0], 96, "/local/domain/0/backend/%s/%u/%u", class, d->domid, devid);
	snprintf(path[1], 96, "/local/domain/%u/device/%s/%u", d->domid, class, devid);
	snprintf(path[2], 96, "/libxl/%u/device/%s/%u", d->domid, class, devid);
}

static void device_nodes_remove(const struct dom *d, const char *class, unsigned devid)
{
	char path[3][96];

	device_paths(d, class, devid, path);
	for (int i = 1; i < 4; i++)            /* the front end's first: the guest then lets go of what it still has */
		store_remove(path[i % 3]);
}

static int state_of(const char *root)
{
	char path[112], *value;
	int state;

	snprintf(path, sizeof path, "%s/state", root);
	value = store_read(path);
	state = value ? atoi(value) : 0;
	free(value);
	return state;
}

/* Asks the guest to give the device up, and waits for it.  One whose front end never began has nothing to give up. */
static int device_close(struct dom *d, const char *class, unsigned devid, const char *what, struct err *err)
{
	char path[3][96], node[112];
	int rc = 0;

	device_paths(d, class, devid, path);
	if (state_of(path[1]) <= 1 || state_of(path[0]) == 6)
		return 0;
	snprintf(node, sizeof node, "%s/online", path[0]);
	rc = store_write(node, "0", err);
	snprintf(node, sizeof node, "%s/state", path[0]);
	if (!rc)
		rc = store_write(node, "5", err);
	for (int ms = 0; !rc && ms < CLOSE_TIMEOUT_MS; ms += CLOSE_POLL_MS) {
		if (state_of(path[0]) == 6)
			return 0;
		usleep(CLOSE_POLL_MS * 1000);
	}
	return rc ? rc : err_set(err, -EBUSY, "domain %s does not let go of %s within %d s; is it in use there? --force takes it away all the same",
				 d->name, what, CLOSE_TIMEOUT_MS / 1000);
}

static json_t *disk_find(const json_t *config, uint32_t devid, size_t *ret_at)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(config, "disk"), i, v) {
		uint32_t id;

		if (vdev_to_devid(config_str(v, "vdev", ""), &id) == 0 && id == devid) {
			if (ret_at)
				*ret_at = i;
			return v;
		}
	}
	return NULL;
}

static int disk_attach(struct job *j, json_t *config)
{
	json_t *disk = json_object_get(j->req, "disk"), *list = json_object_get(config, "disk");
	const char *vdev = config_str(disk, "vdev", "");
	struct dom *d = j->dom;
	struct err ignored;
	uint32_t devid;
	int rc;

	if (!json_is_object(disk) || vdev_to_devid(vdev, &devid))
		return job_fail(j, -EINVAL, "disk: \"%.20s\" is no virtual disk; use xvda, xvdb, ...", vdev);
	if (disk_find(config, devid, NULL))
		return job_fail(j, -EEXIST, "domain %s has a disk %s already; choose another vdev, see xl block-list %s", d->name, vdev, d->name);
	if (!json_is_array(list))
		json_object_set_new(config, "disk", list = json_array());
	json_array_append(list, disk);
	rc = record_ahead(d, config, &j->err);
	if (!rc)
		rc = device_disk_attach(d, config, disk, &j->err);
	if (!rc) {
		rc = store_disk_add(d, disk, &j->err);
		if (rc)
			device_disk_detach(d, d->config, disk, true, &ignored);
	}
	if (rc)
		dom_record_write(d);
	return rc;
}

static int disk_detach(struct job *j, json_t *config)
{
	bool force = json_is_true(json_object_get(j->req, "force"));
	const char *vdev = config_str(j->req, "vdev", "");
	struct dom *d = j->dom;
	json_t *disk = NULL;
	uint32_t devid;
	size_t at = 0;
	int rc = 0;

	if (vdev_to_devid(vdev, &devid) == 0)
		disk = disk_find(config, devid, &at);
	if (!disk)
		return job_fail(j, -ENOENT, "domain %s has no disk %.20s; see xl block-list %s", d->name, vdev, d->name);
	json_incref(disk);
	json_array_remove(json_object_get(config, "disk"), at);
	if (!force)
		rc = device_close(d, "vbd", devid, config_str(disk, "vdev", vdev), &j->err);
	if (!rc)
		rc = device_disk_detach(d, config, disk, force, &j->err);
	if (!rc)
		device_nodes_remove(d, "vbd", devid);
	json_decref(disk);
	return rc;
}

/* Places in the list become numbers of their own before the list changes. */
static json_t *vifs_numbered(json_t *config)
{
	json_t *list = json_object_get(config, "vif"), *v;
	size_t i;

	if (!json_is_array(list))
		json_object_set_new(config, "vif", list = json_array());
	json_array_foreach(list, i, v)
		json_object_set_new(v, "devid", json_integer(vif_number(v, i)));
	return list;
}

static json_t *vif_find(const json_t *list, int64_t devid, size_t *ret_at)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
		if (vif_number(v, i) == devid) {
			if (ret_at)
				*ret_at = i;
			return v;
		}
	return NULL;
}

static bool mac_is_taken(const json_t *list, const char *mac)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
		if (!strcasecmp(config_str(v, "mac", ""), mac))
			return true;
	return false;
}

static int vif_attach(struct job *j, json_t *config)
{
	json_t *vif = json_deep_copy(json_object_get(j->req, "vif")), *list = vifs_numbered(config);
	struct dom *d = j->dom;
	unsigned devid = 0;
	struct err ignored;
	int rc;

	while (vif_find(list, devid, NULL))
		devid++;
	if (!json_is_object(vif) || !*config_str(vif, "mac", "")) {
		json_decref(vif);
		return job_fail(j, -EINVAL, "vif: an object with a mac is needed");
	}
	rc = 0;
	if (json_array_size(list) >= MAX_VIFS)
		rc = job_fail(j, -ENOSPC, "domain %s has %d interfaces, and no room for more; detach one first", d->name, MAX_VIFS);
	else if (mac_is_taken(list, config_str(vif, "mac", "")))
		rc = job_fail(j, -EEXIST, "domain %s has an interface with mac=%.20s already; choose another mac=", d->name,
			      config_str(vif, "mac", ""));
	if (rc) {
		json_decref(vif);
		return rc;
	}
	json_object_set_new(vif, "devid", json_integer(devid));
	json_array_append_new(list, vif);
	rc = record_ahead(d, config, &j->err);
	if (!rc)
		rc = device_vif_attach(d, vif, devid, &j->err);
	if (!rc) {
		rc = store_vif_add(d, vif, devid, &j->err);
		if (rc)
			device_vif_detach(d, devid, true, &ignored);
	}
	if (rc)
		dom_record_write(d);
	else
		j->reply = json_pack("{s:i}", "devid", (int)devid);
	return rc;
}

static int vif_detach(struct job *j, json_t *config)
{
	bool force = json_is_true(json_object_get(j->req, "force"));
	int64_t devid = config_int(j->req, "devid", -1);
	json_t *list = vifs_numbered(config);
	struct dom *d = j->dom;
	char what[24];
	size_t at = 0;
	int rc = 0;

	if (!vif_find(list, devid, &at))
		return job_fail(j, -ENOENT, "domain %s has no interface %lld; see xl network-list %s", d->name, (long long)devid, d->name);
	json_array_remove(list, at);
	snprintf(what, sizeof what, "interface %d", (int)devid);
	if (!force)
		rc = device_close(d, "vif", (unsigned)devid, what, &j->err);
	if (!rc)
		rc = device_vif_detach(d, (unsigned)devid, force, &j->err);
	if (!rc)
		device_nodes_remove(d, "vif", (unsigned)devid);
	return rc;
}

/* --- the rest --------------------------------------------------------------------------------------------------------------- */

static int rename_admit(struct dom *d, const json_t *req, struct err *err)
{
	const char *name = config_str(req, "new_name", "");

	if (d->claim)
		return err_set(err, -EPERM, "domain %s is in the cluster's directory under that name; stop it, change name= in its xl.cfg and start it",
			       d->name);
	if (!strcmp(name, "Domain-0") || (*name && strspn(name, "0123456789") == strlen(name)))
		return err_set(err, -EINVAL, "%s would be taken for another domain; a name has a letter in it", name);
	return dom_name_check(d->hvd, name, err);
}

static int rename_work(struct job *j, json_t *config)
{
	const char *name = config_str(j->req, "new_name", "");
	int rc = store_vm_renamed(j->dom, j->dom->uuid, name, &j->err);

	if (!rc)
		rc = child_op(j->dom, json_pack("{s:s, s:s}", "op", "rename", "name", name), &j->err);
	if (!rc)
		json_object_set_new(config, "name", json_string(name));
	return rc;
}

static int state_allows(struct job *j);

/* Written while the copy stands still, it may have stayed behind in a move (see control_work): looked at once more afterwards. */
static int sysrq(struct job *j, json_t *config)
{
	const char *key = config_str(j->req, "key", "");
	int rc;

	if (strlen(key) != 1)
		return job_fail(j, -EINVAL, "sysrq: key must be one character");
	rc = node_write(j->dom, "control/sysrq", key, &j->err);
	return rc ? rc : state_allows(j);
}

static int trigger(struct job *j, json_t *config)
{
	if (strcmp(config_str(j->req, "trigger", ""), "nmi"))
		return job_fail(j, -ENOTSUP, "trigger: a PV guest takes nmi alone");
	return child_op(j->dom, json_pack("{s:s, s:I}", "op", "trigger", "vcpu", (json_int_t)config_int(j->req, "vcpu", 0)), &j->err);
}

static int dump_core(struct job *j, json_t *config)
{
	if (j->in_fd < 0)
		return job_fail(j, -EINVAL, "dump-core: no file came with the request");
	return child_call(j->dom, json_pack("{s:s}", "op", "dump-core"), &j->in_fd, 1, NULL, NULL, NULL, DUMP_TIMEOUT_MS, &j->err);
}

static const struct change changes[] = {
	{ "sysrq", RUNS | MOVING, NULL, sysrq, .keeps_config = true },
	{ "trigger", RUNS | MOVING, NULL, trigger, .keeps_config = true },
	{ "mem-set", RUNS, mem_set_admit, mem_set },
	{ "mem-max", RUNS, NULL, mem_max },
	{ "vcpu-set", RUNS, NULL, vcpu_set },
	{ "vcpu-pin", RUNS | NO_QUORUM, NULL, vcpu_pin },
	{ "sched-set", RUNS | NO_QUORUM, NULL, sched_set },
	{ "disk-attach", RUNS, NULL, disk_attach, .restarts_disk = true },
	{ "disk-detach", RUNS, NULL, disk_detach, .restarts_disk = true },
	{ "vif-attach", RUNS, NULL, vif_attach },
	{ "vif-detach", RUNS, NULL, vif_detach },
	{ "rename", RUNS | NO_QUORUM | ENDED, rename_admit, rename_work },
	{ "dump-core", RUNS | NO_QUORUM | ENDED, NULL, dump_core, .keeps_config = true },
};

static const struct change *change_find(const char *op)
{
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
		if (!strcmp(changes[i].op, op))
			return &changes[i];
	return NULL;
}

/* --- one change ------------------------------------------------------------------------------------------------------------- */

/* As the copy is now, when the earlier jobs are through. */
static int state_allows(struct job *j)
{
	const struct change *row = change_find(config_str(j->req, "op", ""));
	const struct dom *d = j->dom;
	json_t *status = NULL;
	const char *copy;
	unsigned is;
	int rc = child_call(j->dom, json_pack("{s:s}", "op", "status"), NULL, 0, &status, NULL, NULL, 10000, &j->err);

	if (rc)
		return rc;
	copy = config_str(status, "copy", "");
	is = !strcmp(copy, "running") ? RUNS : !strcmp(copy, "quorum-paused") ? NO_QUORUM : 0;
	if (config_int(status, "shutdown_reason", -1) >= 0)
		is = ENDED;
	if (!(is & row->states))
		rc = job_fail(j, -EPERM, "%s: domain %s (%u) is %s", row->op, d->name, d->domid, is == ENDED ? "shut down and kept" : copy);
	else if (json_is_true(json_object_get(status, "moving")) && !(row->states & MOVING))
		rc = job_fail(j, -EBUSY, "%s: domain %s (%u) is being moved; try again when the move is over", row->op, d->name, d->domid);
	json_decref(status);
	return rc;
}

static void change_work(struct job *j)
{
	const struct change *row = change_find(config_str(j->req, "op", ""));

	j->rc = state_allows(j);
	if (j->rc)
		return;
	j->data = json_deep_copy(j->dom->config);
	j->rc = row->work(j, j->data);
	if (j->rc && !j->err.text[0])
		job_fail(j, j->rc, "%s: domain %s: %s", row->op, j->dom->name, strerror(-j->rc));
}

static void change_done(struct job *j)
{
	const struct change *row = change_find(config_str(j->req, "op", ""));

	if (row->restarts_disk && !j->dom->gone_seen) {
		disk_watch(j->dom);
		disk_again_later(j->dom);
	}
	if (j->rc)
		return;
	hvd_log("domain %s (%u): %s", j->dom->name, j->dom->domid, row->op);
	if (!row->keeps_config)
		dom_config_set(j->dom, json_incref(j->data));
}

void op_change(struct msg_call *c, void *h)
{
	const struct change *row = change_find(config_str(msg_call_request(c), "op", ""));
	struct dom *d = row ? request_dom(h, c) : NULL;
	struct job *j = d ? job_new(h, c, d) : NULL;

	if (!j)
		return;
	if (row->admit)
		j->rc = row->admit(d, j->req, &j->err);
	if (j->rc) {
		j->dom = NULL;
		job_finish_now(j);
		return;
	}
	if (row->restarts_disk)
		disk_unwatch(d);
	j->work = change_work;
	j->done = change_done;
	job_start(j);
}
