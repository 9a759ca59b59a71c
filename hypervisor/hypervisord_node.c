/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hypervisord_node.c - what this node is and has, and what was activated on it. */
#include "hypervisor/hypervisord.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "hypervisor/engine/bt/cpuid.h"
#include "lib/atomic_file.h"
#include "lib/paths.h"

/* Beside the guest's RAM: hv-domain itself, its code cache and bitmaps, and some air for the node. */
#define OVERHEAD_KIB (96u << 10)
#define NODE_KEEPS_KIB (128u << 10)
#define RAM_FD_BELOW 64                /* hv-domain opens its memory early */

static uint64_t meminfo_kib(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long long v = 0;

	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			v = strtoull(line + strlen(key) + 1, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

uint64_t node_memory_total_kib(void) { return meminfo_kib("MemTotal"); }
uint64_t node_memory_free_kib(void) { return meminfo_kib("MemAvailable"); }

/* Of the domain's memory file: what a migration worker wrote, and nobody here has touched since, is there as well. */
static uint64_t ram_filled_kib(const struct dom *d)
{
	char path[64], link[128];
	struct stat st;
	ssize_t n;

	for (int fd = 0; fd < RAM_FD_BELOW; fd++) {
		snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)d->pid, fd);
		n = readlink(path, link, sizeof link - 1);
		link[n > 0 ? n : 0] = '\0';
		if (strstr(link, "memfd:haven-domain-") && stat(path, &st) == 0)
			return (uint64_t)st.st_blocks / 2;
	}
	return 0;
}

/* And what its process has besides. */
static uint64_t process_kib(const struct dom *d)
{
	char path[64], line[128];
	unsigned long long kib = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)d->pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, "RssAnon:", 8))
			kib = strtoull(line + 8, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

/*
 * RAM a guest may still touch counts as taken: its memory is promised, whatever it uses today.  So it is with a copy that is being made, or
 * filled by a move: its entry is in the table from the moment it was let in.
 */
static uint64_t promised_kib(struct hvd *h)
{
	uint64_t sum = 0;

	for (struct dom *d = h->doms; d; d = d->next) {
		uint64_t kib = (uint64_t)config_int(d->config, "memory_kib", 0) + OVERHEAD_KIB;
		uint64_t has = d->pid > 0 ? ram_filled_kib(d) + process_kib(d) : 0;

		if (kib > has)
			sum += kib - has;
	}
	return sum;
}

int node_memory_check(struct hvd *h, const json_t *config, struct err *err)
{
	uint64_t need = (uint64_t)config_int(config, "memory_kib", 0) + OVERHEAD_KIB;
	uint64_t have = node_memory_free_kib(), promised = promised_kib(h) + NODE_KEEPS_KIB;

	have = have > promised ? have - promised : 0;
	if (need <= have)
		return 0;
	return err_set(err, -ENOMEM, "domain %s needs %llu MiB (memory= and %u MiB for its process), but this node has %llu MiB left; "
		       "lower memory= or move a domain away", config_str(config, "name", "?"), (unsigned long long)need >> 10,
		       OVERHEAD_KIB >> 10, (unsigned long long)have >> 10);
}

int node_memory_grow_check(struct hvd *h, const struct dom *d, uint64_t more_kib, struct err *err)
{
	uint64_t have = node_memory_free_kib(), promised = promised_kib(h) + NODE_KEEPS_KIB;

	have = have > promised ? have - promised : 0;
	if (more_kib <= have)
		return 0;
	return err_set(err, -ENOMEM, "domain %s needs %llu MiB more, but this node has %llu MiB left; ask for less or move a domain away",
		       d->name, (unsigned long long)more_kib >> 10, (unsigned long long)have >> 10);
}

static bool names_has(const json_t *names, const char *name)
{
	const json_t *v;
	size_t i;

	json_array_foreach(names, i, v)
		if (!strcmp(json_string_value(v), name))
			return true;
	return false;
}

/*
 * What a guest of this node may use, by name: moves are checked against it, so it names nothing that guests never see.  With a
 * baseline (may be NULL), what one is given that starts here.
 */
static json_t *cpu_features(const json_t *baseline)
{
	const char *names[256];
	struct cpuid_policy host;
	json_t *list = json_array();
	size_t n;

	cpuid_policy_host(&host);
	n = cpuid_policy_features(&host, names, 256);
	for (size_t i = 0; i < n && i < 256; i++)
		if (!baseline || names_has(baseline, names[i]))
			json_array_append_new(list, json_string(names[i]));
	return list;
}

static double cpu_mhz(void)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	double mhz = 0;

	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, "cpu MHz", 7) && strchr(line, ':')) {
			mhz = strtod(strchr(line, ':') + 1, NULL);
			break;
		}
	if (f)
		fclose(f);
	return mhz;
}

void op_node_info(struct msg_call *c, void *arg)
{
	struct hvd *h = arg;
	struct job *j = job_new(h, c, NULL);
	uint64_t have = node_memory_free_kib(), promised = promised_kib(h) + NODE_KEEPS_KIB;
	json_t *baseline = NULL;
	struct utsname u;
	struct sysinfo si;

	if (!j)
		return;
	if (cpu_baseline_read(&baseline, &j->err))      /* whoever starts a guest is told; what the node has is no less true */
		memset(&j->err, 0, sizeof j->err);
	uname(&u);
	sysinfo(&si);
	j->reply = json_pack("{s:I, s:I, s:I, s:i, s:f, s:o, s:s, s:I, s:s, s:s, s:s, s:s}",
			     "memory_total_kib", (json_int_t)node_memory_total_kib(), "memory_free_kib", (json_int_t)node_memory_free_kib(),
			     "memory_usable_kib", (json_int_t)(have > promised ? have - promised : 0),
			     "cpus", (int)sysconf(_SC_NPROCESSORS_ONLN), "cpu_mhz", cpu_mhz(), "cpu_features", cpu_features(NULL),
			     "version", "0.1.0", "uptime_s", (json_int_t)si.uptime, "hostname", h->hostname, "release", u.release,
			     "machine", u.machine, "engine", "bt");
	if (baseline)
		json_object_set_new(j->reply, "cpu_guest_features", cpu_features(baseline));
	json_decref(baseline);
	job_finish_now(j);
}

/* --- activations: the one fact about a move that must outlive this node's processes -------------------------------------- */

static int number_path(char *buf, size_t n, const char *folder, const char *uuid)
{
	for (const char *p = uuid; *p; p++)
		if (!isxdigit((unsigned char)*p) && *p != '-')
			return -EINVAL;
	return path_join(buf, n, path_state(), "%s/%s", folder, uuid);
}

static int number_write(const char *folder, const char *uuid, uint64_t number)
{
	char path[512], text[32];
	int rc = path_join(path, sizeof path, path_state(), "%s", folder);

	if (!rc)
		rc = path_mkdirs(path, 0700);
	if (!rc)
		rc = number_path(path, sizeof path, folder, uuid);
	snprintf(text, sizeof text, "%llu\n", (unsigned long long)number);
	return rc ? rc : atomic_file_write(path, text, strlen(text), 0600);
}

/* 0 when there is none. */
static int number_read(const char *folder, const char *uuid, uint64_t *ret)
{
	char path[512], *text = NULL;
	size_t n;
	int rc = number_path(path, sizeof path, folder, uuid);

	*ret = 0;
	if (!rc)
		rc = atomic_file_read(path, 64, &text, &n);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	*ret = strtoull(text, NULL, 10);
	free(text);
	return 0;
}

int activated_write(const char *uuid, uint64_t attempt)
{
	return number_write("activated", uuid, attempt);
}

static const char *ran_folder(const struct dom *d) { return d->claim ? "activated" : "started"; }

static int number_next_path(char *buf, size_t n, const char *folder, const char *uuid)
{
	int rc = number_path(buf, n, folder, uuid);

	return rc ? rc : strlen(buf) + 6 > n ? -ENAMETOOLONG : (strcat(buf, ".next"), 0);
}

int ran_prepare(const struct dom *d, uint64_t attempt)
{
	char path[512], text[32];
	int rc = path_join(path, sizeof path, path_state(), "%s", ran_folder(d));

	if (!rc)
		rc = path_mkdirs(path, 0700);
	if (!rc)
		rc = number_next_path(path, sizeof path, ran_folder(d), d->uuid);
	snprintf(text, sizeof text, "%llu\n", (unsigned long long)attempt);
	return rc ? rc : atomic_file_write(path, text, strlen(text), 0600);
}

/* Is the prepared file there, and of this attempt? */
static bool next_is(const char *path, uint64_t attempt)
{
	char *text = NULL;
	size_t n;
	bool is = atomic_file_read(path, 64, &text, &n) == 0 && strtoull(text, NULL, 10) == attempt;

	free(text);
	return is;
}

int ran_write(const struct dom *d, uint64_t attempt)
{
	char next[512], path[512];

	if (number_path(path, sizeof path, ran_folder(d), d->uuid) == 0 && number_next_path(next, sizeof next, ran_folder(d), d->uuid) == 0 &&
	    next_is(next, attempt) && atomic_file_commit(next, path) == 0)
		return 0;
	return number_write(ran_folder(d), d->uuid, attempt);
}

int ran_read(const struct dom *d, uint64_t *ret)
{
	return number_read(ran_folder(d), d->uuid, ret);
}

/* The clock makes it new even where the folder was lost. */
uint64_t started_next(const char *uuid)
{
	struct timespec now;
	uint64_t last = 0, number;

	clock_gettime(CLOCK_REALTIME, &now);
	number = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	return number_read("started", uuid, &last) == 0 && number <= last ? last + 1 : number;
}

int started_write(const char *uuid)
{
	return number_write("started", uuid, started_next(uuid));
}

int started_read(const char *uuid, uint64_t *ret)
{
	return number_read("started", uuid, ret);
}

int activated_read(const char *uuid, uint64_t *ret, bool *ret_known)
{
	char path[512];
	int rc = path_join(path, sizeof path, path_state(), "hypervisord.created");

	if (rc)
		return rc;
	*ret_known = access(path, F_OK) == 0;
	rc = number_read("activated", uuid, ret);
	if (rc == -EINVAL)
		return rc;
	if (rc)
		*ret_known = false;            /* something is there and cannot be read */
	return 0;
}

void op_activated(struct msg_call *c, void *h)
{
	struct job *j = job_new(h, c, NULL);
	const char *uuid;
	uint64_t attempt = 0, started = 0;
	bool known = false;

	if (!j)
		return;
	uuid = config_str(j->req, "uuid", "");
	if (activated_read(uuid, &attempt, &known) || started_read(uuid, &started))
		job_fail(j, -EINVAL, "activated: uuid \"%.40s\" is none", uuid);
	else
		j->reply = json_pack("{s:I, s:b, s:I}", "attempt", (json_int_t)attempt, "known", known, "started", (json_int_t)started);
	job_finish_now(j);
}
