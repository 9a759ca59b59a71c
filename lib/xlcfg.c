/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the settings of an xl.cfg to the domain configuration. Two tables carry it: `settings` says where each supported key
 * is kept, `steps` builds the configuration from them in order; what Xen knows and Haven does not is in xlcfg_keys.c.
 */
#include "lib/xlcfg.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "lib/atomic_file.h"
#include "lib/conf.h"
#include "lib/cpulist.h"
#include "lib/move_policy.h"
#include "lib/xlcfg_cpuid.h"
#include "lib/xlcfg_keys.h"
#include "lib/xlcfg_syntax.h"

#define NAME_LEN_MAX 128
#define MEMORY_MIB_MAX (16u * 1024 * 1024)
#define VCPUS_MAX 128
#define CMDLINE_LEN_MAX 2047	/* COMMAND_LINE_SIZE of x86 Linux is 2048 */
#define IO_TIMEOUT_S_MAX (7 * 24 * 3600)

struct settings {
	const struct xlcfg_setting *name, *uuid, *type, *builder, *kernel, *ramdisk, *root, *extra, *cmdline, *memory, *maxmem,
		*vcpus, *maxvcpus, *cpus, *cpu_weight, *cap, *disk, *vif, *on_poweroff, *on_reboot, *on_crash, *on_watchdog,
		*io_timeout, *cpuid, *migration;
};

struct build {
	struct xlcfg_file *file;
	const char *cluster;
	struct settings set;
	json_t *config;
	char uuid[37];
};

static const struct {
	const char *key;
	size_t offset;
	enum xlcfg_kind kind;	/* XLCFG_STRING and XLCFG_NUMBER both take either */
} settings[] = {
#define ROW(field, kind) { #field, offsetof(struct settings, field), kind }
	ROW(name, XLCFG_STRING), ROW(uuid, XLCFG_STRING), ROW(type, XLCFG_STRING), ROW(builder, XLCFG_STRING),
	ROW(kernel, XLCFG_STRING), ROW(ramdisk, XLCFG_STRING), ROW(root, XLCFG_STRING), ROW(extra, XLCFG_STRING),
	ROW(cmdline, XLCFG_STRING), ROW(memory, XLCFG_NUMBER), ROW(maxmem, XLCFG_NUMBER), ROW(vcpus, XLCFG_NUMBER),
	ROW(maxvcpus, XLCFG_NUMBER), ROW(disk, XLCFG_LIST), ROW(vif, XLCFG_LIST), ROW(on_poweroff, XLCFG_STRING),
	ROW(on_reboot, XLCFG_STRING), ROW(on_crash, XLCFG_STRING), ROW(on_watchdog, XLCFG_STRING),
	ROW(io_timeout, XLCFG_NUMBER), ROW(cpus, XLCFG_STRING), ROW(cpu_weight, XLCFG_NUMBER), ROW(cap, XLCFG_NUMBER),
	ROW(cpuid, XLCFG_STRING), ROW(migration, XLCFG_STRING),
#undef ROW
};

/* ---- sorting the settings ---- */

static bool value_is_neutral(const struct xlcfg_value *v, const struct xlcfg_refusal *refusal)
{
	if (v->kind == XLCFG_LIST)
		return v->n_items == 0;
	return v->text[0] == '\0' || (refusal->neutral && strcmp(v->text, refusal->neutral) == 0);
}

static int setting_refuse(struct build *b, const struct xlcfg_setting *s)
{
	const struct xlcfg_refusal *refusal = xlcfg_refusal_find(s->name);

	if (!refusal) {
		xlcfg_warn(b->file, s->line, s->column, "%s: xl.cfg has no such setting; ignored", s->name);
		return 0;
	}
	if (value_is_neutral(&s->value, refusal))
		return 0;
	return xlcfg_error(b->file, s->line, s->column, -ENOTSUP, "%s is not supported by Haven%s%s; remove this setting", s->name,
			   refusal->why ? ": " : "", refusal->why ? refusal->why : "");
}

static int setting_sort(struct build *b, const struct xlcfg_setting *s)
{
	size_t i;

	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		if (strcmp(settings[i].key, s->name))
			continue;
		if (strcmp(s->name, "cpuid") && (settings[i].kind == XLCFG_LIST) != (s->value.kind == XLCFG_LIST))
			return xlcfg_error(b->file, s->value.line, s->value.column, -EINVAL, "%s takes a %s", s->name,
					   settings[i].kind == XLCFG_LIST ? "list: [ 'ITEM', ... ]" :
					   settings[i].kind == XLCFG_NUMBER ? "number" : "string");
		*(const struct xlcfg_setting **)(void *)((char *)&b->set + settings[i].offset) = s;
		return 0;
	}
	return setting_refuse(b, s);
}

static int complain(struct build *b, const struct xlcfg_setting *s, int rc, const char *text)
{
	return xlcfg_error(b->file, s->value.line, s->value.column, rc, "%s: '%.80s' %s", s->name, s->value.text, text);
}

static int config_set(struct build *b, const char *key, json_t *value)
{
	return json_object_set_new(b->config, key, value) ? -ENOMEM : 0;
}

/* A whole number of decimal, 0x or 0 form between min and max. */
static int number_get(struct build *b, const struct xlcfg_setting *s, unsigned long min, unsigned long max, unsigned long *ret_n)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(s->value.text, &end, 0);
	if (errno || end == s->value.text || *end || s->value.text[0] < '0' || s->value.text[0] > '9')
		return complain(b, s, -EINVAL, "is not a number");
	if (n < min || n > max)
		return xlcfg_error(b->file, s->value.line, s->value.column, -EINVAL, "%s: %lu is not between %lu and %lu", s->name,
				   n, min, max);
	*ret_n = n;
	return 0;
}

/* ---- the steps ---- */

static int build_name(struct build *b)
{
	const struct xlcfg_setting *s = b->set.name;
	const char *c;

	if (!s || !s->value.text[0])
		return xlcfg_error(b->file, 0, 0, -EINVAL, "the domain has no name: add a line  name = \"...\"");
	if (strlen(s->value.text) > NAME_LEN_MAX)
		return xlcfg_error(b->file, s->value.line, s->value.column, -E2BIG, "name: longer than %d bytes", NAME_LEN_MAX);
	for (c = s->value.text; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '/')
			return xlcfg_error(b->file, s->value.line, s->value.column, -EINVAL,
					   "name: a name has no spaces, slashes or control characters");
	if (strspn(s->value.text, "0123456789") == strlen(s->value.text))
		return complain(b, s, -EINVAL, "would be taken for a domain id; a name has a letter in it");
	if (strcmp(s->value.text, "Domain-0") == 0)
		return complain(b, s, -EINVAL, "is the host itself; choose another name");
	return config_set(b, "name", json_string(s->value.text));
}

static int build_uuid(struct build *b)
{
	const struct xlcfg_setting *s = b->set.uuid;
	char dashed[37];
	const char *text;
	uuid_t parsed;

	if (!s || !s->value.text[0]) {
		xlcfg_derive_uuid(b->cluster, b->set.name->value.text, b->uuid);
		return config_set(b, "uuid", json_string(b->uuid));
	}
	text = s->value.text;
	if (strlen(text) == 32) {
		snprintf(dashed, sizeof(dashed), "%.8s-%.4s-%.4s-%.4s-%.12s", text, text + 8, text + 12, text + 16, text + 20);
		text = dashed;
	}
	if (uuid_parse(text, parsed) || uuid_is_null(parsed))
		return complain(b, s, -EINVAL, "is not a uuid such as 0b369cb7-88df-425c-91b0-429b9139c355");
	uuid_unparse_lower(parsed, b->uuid);
	return config_set(b, "uuid", json_string(b->uuid));
}

static int build_type(struct build *b)
{
	const struct xlcfg_setting *s = b->set.type ? b->set.type : b->set.builder;

	if (s && strcmp(s->value.text, s == b->set.type ? "pv" : "generic")) {
		if (strcmp(s->value.text, "pvh") == 0 || strcmp(s->value.text, "hvm") == 0)
			return complain(b, s, -ENOTSUP,
					"guests need VT-x or AMD-V through /dev/kvm, which Haven does not use yet; a PV guest runs");
		return complain(b, s, -EINVAL, s == b->set.type ? "is no guest type; Haven runs type = \"pv\"" :
				"is no builder; write type = \"pv\" instead");
	}
	return config_set(b, "type", json_string("pv"));
}

static int path_set(struct build *b, const struct xlcfg_setting *s)
{
	if (s->value.text[0] != '/')
		return complain(b, s, -EINVAL, "is not an absolute path");
	if (strlen(s->value.text) >= 4096)
		return xlcfg_error(b->file, s->value.line, s->value.column, -E2BIG, "%s: the path is too long", s->name);
	return config_set(b, s->name, json_string(s->value.text));
}

static int build_kernel(struct build *b)
{
	int rc;

	if (!b->set.kernel || !b->set.kernel->value.text[0])
		return xlcfg_error(b->file, 0, 0, -EINVAL, "the domain has no kernel: add a line  kernel = \"/path/of/vmlinuz\"");
	rc = path_set(b, b->set.kernel);
	if (rc == 0 && b->set.ramdisk && b->set.ramdisk->value.text[0])
		rc = path_set(b, b->set.ramdisk);
	return rc;
}

/* xl.cfg(5): cmdline replaces what root and extra would make. */
static int build_cmdline(struct build *b)
{
	const struct xlcfg_setting *cmdline = b->set.cmdline, *root = b->set.root, *extra = b->set.extra;
	char *text;
	int rc;

	if (cmdline && (root || extra))
		xlcfg_warn(b->file, cmdline->line, cmdline->column, "cmdline is set, so root and extra do not count");
	if (cmdline)
		rc = asprintf(&text, "%s", cmdline->value.text);
	else
		rc = asprintf(&text, "%s%s%s%s", root ? "root=" : "", root ? root->value.text : "", root && extra ? " " : "",
			      extra ? extra->value.text : "");
	if (rc < 0)
		return -ENOMEM;
	if (strlen(text) > CMDLINE_LEN_MAX)
		rc = xlcfg_error(b->file, 0, 0, -E2BIG, "the kernel's command line is %zu bytes long; Linux takes %d", strlen(text),
				 CMDLINE_LEN_MAX);
	else
		rc = config_set(b, "cmdline", json_string(text));
	free(text);
	return rc;
}

static int build_memory(struct build *b)
{
	unsigned long memory, maxmem;
	int rc;

	if (!b->set.memory)
		return xlcfg_error(b->file, 0, 0, -EINVAL, "the domain has no memory: add a line  memory = MEGABYTES");
	rc = number_get(b, b->set.memory, 4, MEMORY_MIB_MAX, &memory);
	if (rc < 0)
		return rc;
	maxmem = memory;
	if (b->set.maxmem)
		rc = number_get(b, b->set.maxmem, 4, MEMORY_MIB_MAX, &maxmem);
	if (rc == 0 && maxmem < memory)
		rc = xlcfg_error(b->file, b->set.maxmem->value.line, b->set.maxmem->value.column, -EINVAL,
				 "maxmem: %lu is less than memory, %lu", maxmem, memory);
	if (rc == 0)
		rc = config_set(b, "memory_kib", json_integer((json_int_t)memory * 1024));
	if (rc == 0)
		rc = config_set(b, "maxmem_kib", json_integer((json_int_t)maxmem * 1024));
	return rc;
}

/* xl.cfg(5): maxvcpus is how many there are, vcpus how many of them are online at first. */
static int build_vcpus(struct build *b)
{
	unsigned long vcpus = 1, maxvcpus;
	int rc = 0;

	if (b->set.vcpus)
		rc = number_get(b, b->set.vcpus, 1, VCPUS_MAX, &vcpus);
	maxvcpus = vcpus;
	if (rc == 0 && b->set.maxvcpus)
		rc = number_get(b, b->set.maxvcpus, 1, VCPUS_MAX, &maxvcpus);
	if (rc == 0 && maxvcpus < vcpus)
		rc = complain(b, b->set.maxvcpus, -EINVAL, "is less than vcpus");
	if (rc == 0 && maxvcpus > vcpus)
		rc = config_set(b, "online_vcpus", json_integer((json_int_t)vcpus));
	return rc < 0 ? rc : config_set(b, "vcpus", json_integer((json_int_t)maxvcpus));
}

/* Which physical CPUs a node has is known where the domain starts; here the form is checked. */
static int build_cpus(struct build *b)
{
	json_int_t vcpus = json_integer_value(json_object_get(b->config, "vcpus"));
	const struct xlcfg_setting *s = b->set.cpus;
	json_t *list;
	cpu_set_t set;

	if (!s || !s->value.text[0] || strcmp(s->value.text, "all") == 0)
		return 0;
	if (cpulist_parse(s->value.text, CPU_SETSIZE, &set) || strlen(s->value.text) >= CPULIST_TEXT_MAX)
		return complain(b, s, -EINVAL, "is no list of CPUs such as 0-3,^2 or all");
	list = json_array();
	for (json_int_t i = 0; i < vcpus; i++)
		json_array_append_new(list, json_string(s->value.text));
	return config_set(b, "affinity", list);
}

/* What asks for the middle and for no cap asks for nothing. */
static int build_share(struct build *b)
{
	unsigned long weight = 256, cap = 0;
	int rc = 0;

	if (b->set.cpu_weight)
		rc = number_get(b, b->set.cpu_weight, 1, 65535, &weight);
	if (rc == 0 && b->set.cap)
		rc = number_get(b, b->set.cap, 0, 100 * VCPUS_MAX, &cap);
	if (rc == 0 && weight != 256)
		rc = config_set(b, "weight", json_integer((json_int_t)weight));
	if (rc == 0 && cap)
		rc = config_set(b, "cap", json_integer((json_int_t)cap));
	return rc;
}

static int build_action(struct build *b, const struct xlcfg_setting *s, const char *key, const char *fallback)
{
	static const char *const supported[] = { "destroy", "restart", "preserve", "rename-restart", "coredump-destroy",
						 "coredump-restart" };
	size_t i;

	if (!s || !s->value.text[0])
		return fallback ? config_set(b, key, json_string(fallback)) : 0;
	for (i = 0; i < sizeof(supported) / sizeof(supported[0]); i++)
		if (strcmp(s->value.text, supported[i]) == 0)
			return config_set(b, key, json_string(supported[i]));
	if (strcmp(s->value.text, "soft-reset") == 0)
		return complain(b, s, -ENOTSUP, "is not supported by Haven; use restart");
	return complain(b, s, -EINVAL,
			"is no action; use destroy, restart, preserve, rename-restart, coredump-destroy or coredump-restart");
}

static int build_actions(struct build *b)
{
	const struct { const struct xlcfg_setting *set; const char *key, *fallback; } actions[] = {
		{ b->set.on_poweroff, "on_poweroff", "destroy" }, { b->set.on_reboot, "on_reboot", "restart" },
		{ b->set.on_crash, "on_crash", "destroy" }, { b->set.on_watchdog, "on_watchdog", NULL },
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(actions) / sizeof(actions[0]); i++)
		rc = build_action(b, actions[i].set, actions[i].key, actions[i].fallback);
	return rc;
}

/* A string or a list; left out of the configuration when it changes nothing. */
static int build_cpuid(struct build *b)
{
	json_t *edits = NULL;
	int rc;

	if (!b->set.cpuid || (b->set.cpuid->value.kind != XLCFG_LIST && !b->set.cpuid->value.text[0]))
		return 0;
	rc = xlcfg_cpuid_parse(b->file, &b->set.cpuid->value, &edits);
	if (rc == 0 && json_array_size(edits))
		return config_set(b, "cpuid", edits);
	json_decref(edits);
	return rc;
}

static int build_io_timeout(struct build *b)
{
	unsigned long s = 0;
	int rc = 0;

	if (b->set.io_timeout)
		rc = number_get(b, b->set.io_timeout, 0, IO_TIMEOUT_S_MAX, &s);
	return rc < 0 ? rc : config_set(b, "io_timeout_s", json_integer((json_int_t)s));
}

/* An earlier item of `list` with the same text under `key`. */
static bool list_has(json_t *list, const char *key, const char *text)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (strcmp(json_string_value(json_object_get(item, key)), text) == 0)
			return true;
	return false;
}

static int device_add(struct build *b, const struct xlcfg_value *spec, json_t *list, json_t *item, const char *key, const char *name)
{
	const char *text = json_string_value(json_object_get(item, key));

	if (list_has(list, key, text)) {
		xlcfg_error(b->file, spec->line, spec->column, -EINVAL, "%s: two have %s %s", name, key, text);
		json_decref(item);
		return -EINVAL;
	}
	return json_array_append_new(list, item) ? -ENOMEM : 0;
}

static int build_disks(struct build *b)
{
	const struct xlcfg_setting *s = b->set.disk;
	json_t *list = json_array(), *disk;
	size_t i;
	int rc = list ? 0 : -ENOMEM;

	if (rc == 0 && s && s->value.n_items > XLCFG_DISKS_MAX)
		rc = xlcfg_error(b->file, s->line, s->column, -E2BIG, "disk: at most %d disks", XLCFG_DISKS_MAX);
	for (i = 0; rc == 0 && s && i < s->value.n_items; i++) {
		rc = xlcfg_disk_parse(b->file, &s->value.items[i], &disk);
		if (rc == 0)
			rc = device_add(b, &s->value.items[i], list, disk, "vdev", "disk");
	}
	if (rc == 0)
		rc = config_set(b, "disk", json_incref(list));
	json_decref(list);
	return rc;
}

static int build_vifs(struct build *b)
{
	const struct xlcfg_setting *s = b->set.vif;
	json_t *list = json_array(), *vif;
	size_t i;
	int rc = list ? 0 : -ENOMEM;

	if (rc == 0 && s && s->value.n_items > XLCFG_VIFS_MAX)
		rc = xlcfg_error(b->file, s->line, s->column, -E2BIG, "vif: at most %d interfaces", XLCFG_VIFS_MAX);
	for (i = 0; rc == 0 && s && i < s->value.n_items; i++) {
		rc = xlcfg_vif_parse(b->file, &s->value.items[i], b->uuid, (unsigned)i, &vif);
		if (rc == 0)
			rc = device_add(b, &s->value.items[i], list, vif, "mac", "vif");
	}
	if (rc == 0)
		rc = config_set(b, "vif", json_incref(list));
	json_decref(list);
	return rc;
}

/* Haven's own: how a move of this domain goes about it. */
static int build_migration(struct build *b)
{
	const struct xlcfg_setting *s = b->set.migration;
	json_t *options = NULL;
	struct err err;
	int rc;

	if (!s || !s->value.text[0])
		return 0;
	rc = move_policy_parse(s->value.text, &options, &err);
	if (rc < 0)
		return xlcfg_error(b->file, s->value.line, s->value.column, rc, "migration: %s", err.text);
	return config_set(b, "migration", options);
}

static int (*const steps[])(struct build *) = {
	build_name, build_uuid, build_type, build_kernel, build_cmdline, build_memory, build_vcpus, build_cpus, build_share,
	build_disks, build_vifs, build_actions, build_io_timeout, build_cpuid, build_migration,
};

static int config_build(struct build *b)
{
	size_t i;
	int rc = 0;

	for (i = 0; rc == 0 && i < b->file->n_settings; i++)
		rc = setting_sort(b, &b->file->settings[i]);
	for (i = 0; rc == 0 && i < sizeof(steps) / sizeof(steps[0]); i++)
		rc = steps[i](b);
	if (rc == 0 && json_dumpb(b->config, NULL, 0, JSON_COMPACT) > XLCFG_CONFIG_MAX)
		rc = xlcfg_error(b->file, 0, 0, -E2BIG, "the configuration is too long; shorten its paths and lists");
	if (rc == -ENOMEM)
		xlcfg_error(b->file, 0, 0, rc, "out of memory");
	return rc;
}

/* ---- the public face ---- */

void xlcfg_report_done(struct xlcfg_report *report)
{
	size_t i;

	for (i = 0; i < report->n_warnings; i++)
		free(report->warnings[i]);
	free(report->warnings);
	memset(report, 0, sizeof(*report));
}

int xlcfg_parse_text(const char *name, const char *text, size_t len, const char *cluster, json_t **ret_config,
		     struct xlcfg_report *report)
{
	struct xlcfg_file file = { .name = name, .report = report };
	struct build b = { .file = &file, .cluster = cluster, .config = json_object() };
	char own[64];
	int rc;

	memset(report, 0, sizeof(*report));
	if (!cluster) {
		xlcfg_cluster_name(own, sizeof(own));
		b.cluster = own;
	}
	rc = xlcfg_syntax_parse(&file, text, len);
	if (rc == 0)
		rc = config_build(&b);
	if (rc == 0)
		*ret_config = json_incref(b.config);
	json_decref(b.config);
	xlcfg_file_done(&file);
	return rc;
}

static int device_parse(const char *what, const char *spec, const char *uuid, unsigned index, json_t **ret, struct xlcfg_report *report)
{
	struct xlcfg_file file = { .name = what, .report = report };
	struct xlcfg_value value = { .kind = XLCFG_STRING, .line = 1, .column = 1 };
	int rc;

	memset(report, 0, sizeof(*report));
	value.text = strdup(spec);
	if (!value.text)
		return -ENOMEM;
	rc = uuid ? xlcfg_vif_parse(&file, &value, uuid, index, ret) : xlcfg_disk_parse(&file, &value, ret);
	free(value.text);
	return rc;
}

int xlcfg_parse_disk(const char *spec, json_t **ret_disk, struct xlcfg_report *report)
{
	return device_parse("block-attach", spec, NULL, 0, ret_disk, report);
}

int xlcfg_parse_vif(const char *spec, const char *uuid, unsigned index, json_t **ret_vif, struct xlcfg_report *report)
{
	return device_parse("network-attach", spec, uuid, index, ret_vif, report);
}

int xlcfg_parse_file(const char *path, json_t **ret_config, struct xlcfg_report *report)
{
	char *text = NULL;
	size_t len = 0;
	int rc;

	memset(report, 0, sizeof(*report));
	rc = atomic_file_read(path, XLCFG_FILE_MAX, &text, &len);
	if (rc == -EFBIG)
		snprintf(report->error, sizeof(report->error), "%s: an xl.cfg has at most %u bytes", path, XLCFG_FILE_MAX);
	else if (rc < 0)
		snprintf(report->error, sizeof(report->error), "%s: cannot read the configuration file: %s", path, strerror(-rc));
	else
		rc = xlcfg_parse_text(path, text, len, NULL, ret_config, report);
	free(text);
	return rc;
}

void xlcfg_derive_uuid(const char *cluster, const char *domain, char uuid[37])
{
	/* The name space of Haven's domains: a random uuid, fixed for ever, since guests' identities hang on it. */
	static const uuid_t name_space = { 0x8e, 0x1c, 0x5a, 0x0b, 0x63, 0xd9, 0x4f, 0x27, 0xb1, 0x44, 0x0a, 0x97, 0x2d, 0xc6, 0x7e, 0x35 };
	uuid_t derived;
	size_t cluster_len = strlen(cluster), domain_len = strlen(domain);
	char *both = calloc(1, cluster_len + 1 + domain_len + 1);

	if (!both) {
		snprintf(uuid, 37, "00000000-0000-0000-0000-000000000000");
		return;
	}
	memcpy(both, cluster, cluster_len);
	memcpy(both + cluster_len + 1, domain, domain_len);
	uuid_generate_sha1(derived, name_space, both, cluster_len + 1 + domain_len);
	uuid_unparse_lower(derived, uuid);
	free(both);
}

void xlcfg_cluster_name(char *buf, size_t size)
{
	struct conf *conf = NULL;

	buf[0] = '\0';
	if (conf_load("cluster.conf", &conf, NULL) < 0)
		return;
	snprintf(buf, size, "%s", conf_get(conf, "cluster_name", conf_get(conf, "name", "")));
	conf_free(conf);
}
