/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One DISKSPEC of xl-disk-configuration(5):
 *
 *	[KEY=VALUE | FLAG,]* [TARGET, [FORMAT, [VDEV, [ACCESS]]]] [, KEY=VALUE | FLAG]* [, target=REST]
 *
 * with the deprecated prefixes (phy:, file:, raw:, tap:aio:) that real files carry; after one of them FORMAT is left out of the
 * positions. script=block-iscsi makes the target a list "iqn=...,portal=HOST:PORT[,lun=N][,initiator=IQN]".
 */
#include "lib/xlcfg_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/vdev.h"

enum disk_field { D_TARGET, D_FORMAT, D_VDEV, D_ACCESS, D_SCRIPT, D_BACKENDTYPE, D_PORTAL, D_IQN, D_LUN, D_INITIATOR, D_COUNT };

struct disk_spec {
	struct xlcfg_file *file;
	const struct xlcfg_value *spec;
	char *field[D_COUNT];		/* into `text`, or NULL */
	bool given[D_COUNT];
	bool had_prefix;
	const char *prefix_backend;	/* "phy", "file" or NULL */
	char *text;			/* the specification, cut up in place */
};

static const char *const field_names[D_COUNT] = {
	"target", "format", "vdev", "access", "script", "backendtype", "portal", "iqn", "lun", "initiator",
};

static int disk_error(struct disk_spec *d, int rc, const char *what, const char *text, const char *remedy)
{
	return xlcfg_error(d->file, d->spec->line, d->spec->column, rc, "disk: %s '%.120s' %s", what, text, remedy);
}

/* ---- cutting the specification up ---- */

static int field_set(struct disk_spec *d, enum disk_field field, char *value)
{
	if (d->given[field] && d->field[field] && *d->field[field])
		return disk_error(d, -EINVAL, "the parameter", field_names[field], "is given twice");
	d->given[field] = true;
	d->field[field] = value;
	return 0;
}

/* Keys that ask for nothing Haven would not do, and those it has no equal of. */
static int other_key(struct disk_spec *d, const char *key, const char *value)
{
	static const struct xlcfg_refusal others[] = {
		{ "backend", "0", "Domain-0 holds the back ends" },
		{ "devtype", "disk", "a CD-ROM cannot be given to a PV guest here; use access=ro" },
		{ "specification", "xen", NULL },
		{ "trusted", "1", NULL },
		{ "grant_usage", "1", NULL },
	};
	size_t i;

	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (strcmp(others[i].key, key))
			continue;
		if (strcmp(value, others[i].neutral) == 0 || !*value || (i == 0 && strcmp(value, "Domain-0") == 0))
			return 0;
		return xlcfg_error(d->file, d->spec->line, d->spec->column, -ENOTSUP, "disk: %s=%.80s is not supported by Haven%s%s",
				   key, value, others[i].why ? ": " : "", others[i].why ? others[i].why : "");
	}
	return disk_error(d, -EINVAL, "the parameter", key, "is unknown; see xl-disk-configuration(5)");
}

static int key_set(struct disk_spec *d, char *key, char *value)
{
	size_t i;

	for (i = 0; i < D_COUNT; i++)
		if (strcmp(field_names[i], key) == 0)
			return field_set(d, (enum disk_field)i, value);
	return other_key(d, key, value);
}

static bool flag_take(struct disk_spec *d, const char *flag, int *rc)
{
	static const char *const harmless[] = { "direct-io-safe", "discard", "no-discard" };
	size_t i;

	for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (strcmp(harmless[i], flag) == 0)
			return true;
	if (strcmp(flag, "cdrom") == 0 || strncmp(flag, "colo", 4) == 0) {
		*rc = disk_error(d, -ENOTSUP, "the flag", flag, "is not supported by Haven; a read-only disk has access=ro");
		return true;
	}
	return false;
}

static int positional_set(struct disk_spec *d, char *value)
{
	static const enum disk_field order[] = { D_TARGET, D_FORMAT, D_VDEV, D_ACCESS };
	size_t i;

	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (d->given[order[i]] || (order[i] == D_FORMAT && d->had_prefix))
			continue;
		return field_set(d, order[i], value);
	}
	if (!*value)
		return 0;
	return disk_error(d, -EINVAL, "the parameter", value, "has no place: target, format, vdev and access are all given");
}

/* Prefixes of old: "phy:/dev/x", "file:/x", "tap:aio:/x", "raw:/x"; several may stand before one another. */
static int prefixes_strip(struct disk_spec *d, char **target)
{
	static const struct { const char *prefix, *backend; bool refused; } prefixes[] = {
		{ "phy:", "phy", false }, { "file:", "file", false }, { "raw:", NULL, false }, { "aio:", "file", false },
		{ "tap:", "file", false }, { "tap2:", "file", false }, { "tapdisk:", "file", false }, { "ioemu:", NULL, false },
		{ "qcow:", NULL, true }, { "qcow2:", NULL, true }, { "vhd:", NULL, true }, { "drbd:", NULL, true },
		{ "nbd:", NULL, true }, { "iscsi:", NULL, true },
	};
	size_t i;

	for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t len = strlen(prefixes[i].prefix);

		if (strncmp(*target, prefixes[i].prefix, len))
			continue;
		if (prefixes[i].refused)
			return disk_error(d, -ENOTSUP, "the prefix", prefixes[i].prefix,
					  "is not supported by Haven; use phy:, file: or script=block-iscsi");
		d->had_prefix = true;
		if (prefixes[i].backend)
			d->prefix_backend = prefixes[i].backend;
		*target += len;
		i = (size_t)-1;
	}
	return 0;
}

/* The `=` of "key=value", when what stands before it can be a key. */
static char *key_end(char *param)
{
	size_t len = strspn(param, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	return len && param[len] == '=' ? param + len : NULL;
}

static int param_take(struct disk_spec *d, char *param)
{
	char *equals = key_end(param);
	int rc = 0;

	if (equals) {
		*equals = '\0';
		return key_set(d, param, equals + 1);
	}
	if (flag_take(d, param, &rc))
		return rc;
	return positional_set(d, param);
}

/* With block-iscsi the parameters of a target are a list of keys; they may equally stand beside it, so both go one way. */
static int spec_cut(struct disk_spec *d)
{
	char *at = d->text, *comma;
	bool first = true;
	int rc = 0;

	while (at && rc == 0) {
		at += strspn(at, " \t");
		if (strncmp(at, "target=", 7) == 0)
			return d->given[D_TARGET] && *d->field[D_TARGET] ?
				disk_error(d, -EINVAL, "the parameter", "target", "is given twice") :
				(d->given[D_TARGET] = false, field_set(d, D_TARGET, at + 7));
		if (first)
			rc = prefixes_strip(d, &at);
		first = false;
		comma = strchr(at, ',');
		if (comma)
			*comma++ = '\0';
		if (rc == 0)
			rc = param_take(d, at);
		at = comma;
	}
	return rc;
}

/* ---- making sense of it ---- */

static int set_text(json_t *disk, const char *key, const char *value)
{
	return json_object_set_new(disk, key, json_string(value)) ? -ENOMEM : 0;
}

static int access_get(struct disk_spec *d, const char **ret_mode)
{
	static const struct { const char *access, *mode; } modes[] = {
		{ "", "rw" }, { "w", "rw" }, { "rw", "rw" }, { "r", "ro" }, { "ro", "ro" },
	};
	const char *access = d->field[D_ACCESS] ? d->field[D_ACCESS] : "";
	size_t i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(modes[i].access, access) == 0) {
			*ret_mode = modes[i].mode;
			return 0;
		}
	return disk_error(d, -EINVAL, "the access", access, "is none; use rw or ro");
}

static int common_build(struct disk_spec *d, json_t *disk)
{
	const char *format = d->field[D_FORMAT], *vdev = d->field[D_VDEV], *mode;
	uint32_t devid;
	int rc;

	if (!vdev || !*vdev)
		return disk_error(d, -EINVAL, "the specification", d->spec->text, "names no virtual device; add vdev=xvda");
	if (vdev_to_devid(vdev, &devid))
		return disk_error(d, -EINVAL, "the virtual device", vdev, "is none; use xvda, xvdb, ...");
	if (format && *format && strcmp(format, "raw"))
		return disk_error(d, -ENOTSUP, "the format", format,
				  "is not supported by Haven; convert the image: qemu-img convert -O raw");
	rc = access_get(d, &mode);
	if (rc == 0)
		rc = set_text(disk, "vdev", vdev);
	if (rc == 0)
		rc = set_text(disk, "format", "raw");
	if (rc == 0)
		rc = set_text(disk, "mode", mode);
	return rc;
}

static int path_build(struct disk_spec *d, json_t *disk)
{
	const char *target = d->field[D_TARGET], *type = d->field[D_BACKENDTYPE], *backend = d->prefix_backend;
	char path[4096];
	int n;

	if (!target || !*target)
		return disk_error(d, -EINVAL, "the specification", d->spec->text, "names no target; add target=/path");
	n = snprintf(path, sizeof(path), "%s%s", *target == '/' ? "" : "/dev/", target);
	if (n < 0 || (size_t)n >= sizeof(path))
		return disk_error(d, -E2BIG, "the path", target, "is too long");
	if (type && *type) {
		if (strcmp(type, "phy") && strcmp(type, "qdisk"))
			return disk_error(d, -ENOTSUP, "the backendtype", type, "is not supported by Haven; leave it out");
		backend = strcmp(type, "phy") ? "file" : "phy";
	}
	if (!backend)
		backend = strncmp(path, "/dev/", 5) ? "file" : "phy";
	if (set_text(disk, "backend", backend) || set_text(disk, "target", path))
		return -ENOMEM;
	return 0;
}

char *xlcfg_portal_normalise(const char *portal)
{
	const char *host = portal, *port = "3260";
	size_t host_len;
	char *out;
	bool six = portal[0] == '[';

	if (six) {
		host_len = strspn(++host, "0123456789abcdefABCDEF:.");
		if (!host_len || host[host_len] != ']')
			return NULL;
		portal = host + host_len + 1;
	} else {
		host_len = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
		portal = host + host_len;
	}
	if (!host_len || host_len > 255 || (*portal && *portal != ':'))
		return NULL;
	if (*portal)
		port = portal + 1;
	if (!*port || strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atol(port) < 1 || atol(port) > 65535)
		return NULL;
	return asprintf(&out, "%s%.*s%s:%s", six ? "[" : "", (int)host_len, host, six ? "]" : "", port) < 0 ? NULL : out;
}

static bool iscsi_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len < 5 || len > 223 || (strncmp(name, "iqn.", 4) && strncmp(name, "eui.", 4) && strncmp(name, "naa.", 4)))
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:_") == len;
}

/* "iqn=...,portal=...,lun=1": the keys of a block-iscsi target. */
static int iscsi_cut(struct disk_spec *d)
{
	char *at = d->field[D_TARGET], *comma, *equals;
	int rc = 0;

	while (at && *at && rc == 0) {
		at += strspn(at, " \t");
		comma = strchr(at, ',');
		if (comma)
			*comma++ = '\0';
		at[strcspn(at, " \t")] = '\0';
		equals = key_end(at);
		if (!equals)
			return disk_error(d, -EINVAL, "the iSCSI target", at, "is not of the form iqn=IQN,portal=HOST:PORT,lun=N");
		*equals = '\0';
		if (strcmp(at, "iqn") && strcmp(at, "portal") && strcmp(at, "lun") && strcmp(at, "initiator"))
			return disk_error(d, -ENOTSUP, "the iSCSI parameter", at,
					  "is not supported by Haven; there are iqn, portal, lun and initiator");
		rc = key_set(d, at, equals + 1);
		at = comma;
	}
	return rc;
}

static int lun_get(struct disk_spec *d, long *ret_lun)
{
	const char *text = d->field[D_LUN] && *d->field[D_LUN] ? d->field[D_LUN] : "0";
	char *end;
	long lun = strtol(text, &end, 10);

	if (*end || *text < '0' || *text > '9' || lun < 0 || lun > 16383)
		return disk_error(d, -EINVAL, "the LUN", text, "is not a number between 0 and 16383");
	*ret_lun = lun;
	return 0;
}

static int iscsi_build(struct disk_spec *d, json_t *disk)
{
	const char *iqn, *initiator;
	char *portal;
	long lun;
	int rc = iscsi_cut(d);

	if (rc < 0)
		return rc;
	iqn = d->field[D_IQN] ? d->field[D_IQN] : "";
	initiator = d->field[D_INITIATOR];
	if (!iscsi_name_valid(iqn))
		return disk_error(d, -EINVAL, "the iSCSI name", iqn, "is none; write iqn=iqn.YYYY-MM.DOMAIN:NAME");
	if (initiator && *initiator && !iscsi_name_valid(initiator))
		return disk_error(d, -EINVAL, "the initiator name", initiator, "is none; write initiator=iqn.YYYY-MM.DOMAIN:NAME");
	rc = lun_get(d, &lun);
	if (rc < 0)
		return rc;
	portal = xlcfg_portal_normalise(d->field[D_PORTAL] ? d->field[D_PORTAL] : "");
	if (!portal)
		return disk_error(d, -EINVAL, "the portal", d->field[D_PORTAL] ? d->field[D_PORTAL] : "",
				  "is not of the form HOST:PORT");
	if (set_text(disk, "backend", "iscsi") || set_text(disk, "iqn", iqn) || set_text(disk, "portal", portal) ||
	    json_object_set_new(disk, "lun", json_integer(lun)) || (initiator && *initiator && set_text(disk, "initiator", initiator)))
		rc = -ENOMEM;
	free(portal);
	return rc;
}

static int target_build(struct disk_spec *d, json_t *disk)
{
	const char *script = d->field[D_SCRIPT] ? d->field[D_SCRIPT] : "", *base = strrchr(script, '/');

	base = base ? base + 1 : script;
	if (strcmp(base, "block-iscsi") == 0 || strcmp(base, "iscsi") == 0)
		return iscsi_build(d, disk);
	if (*base && strcmp(base, "block"))
		return disk_error(d, -ENOTSUP, "the script", script, "is not supported by Haven, which runs no scripts; there is block-iscsi");
	if (d->given[D_PORTAL] || d->given[D_IQN] || d->given[D_LUN] || d->given[D_INITIATOR])
		return disk_error(d, -EINVAL, "the specification", d->spec->text, "has iSCSI parameters without script=block-iscsi");
	return path_build(d, disk);
}

int xlcfg_disk_parse(struct xlcfg_file *file, const struct xlcfg_value *spec, json_t **ret_disk)
{
	struct disk_spec d = { .file = file, .spec = spec };
	json_t *disk = NULL;
	int rc;

	if (spec->kind != XLCFG_STRING)
		return xlcfg_error(file, spec->line, spec->column, -EINVAL, "disk: each disk is a string in quotes");
	d.text = strdup(spec->text);
	disk = json_object();
	if (!d.text || !disk) {
		rc = -ENOMEM;
		goto out;
	}
	rc = spec_cut(&d);
	if (rc == 0)
		rc = common_build(&d, disk);
	if (rc == 0)
		rc = target_build(&d, disk);
	if (rc == 0)
		*ret_disk = json_incref(disk);
out:
	json_decref(disk);
	free(d.text);
	return rc;
}
