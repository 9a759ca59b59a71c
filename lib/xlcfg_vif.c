/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One item of a vif list, xl-network-configuration(5): comma-separated KEY=VALUE pairs, all of them optional. */
#include "lib/xlcfg_keys.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

struct vif_spec {
	struct xlcfg_file *file;
	const struct xlcfg_value *spec;
	unsigned index;
	char mac[18];
	char bridge[16], vifname[16];	/* IFNAMSIZ with its NUL */
	long mtu;
};

static int vif_error(struct vif_spec *v, int rc, const char *key, const char *value, const char *remedy)
{
	return xlcfg_error(v->file, v->spec->line, v->spec->column, rc, "vif: %s '%.80s' %s", key, value, remedy);
}

static int mac_take(struct vif_spec *v, const char *key, const char *value)
{
	unsigned b[6];
	char rest;
	int i;

	if (strlen(value) > 17 || strspn(value, "0123456789abcdefABCDEF:") != strlen(value) ||
	    sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &rest) != 6)
		return vif_error(v, -EINVAL, key, value, "is not of the form 00:16:3e:XX:XX:XX");
	if (b[0] & 1)
		return vif_error(v, -EINVAL, key, value, "is a multicast address; the first byte is even");
	for (i = 0; i < 6; i++)
		snprintf(v->mac + 3 * i, 4, i < 5 ? "%02x:" : "%02x", b[i]);
	return 0;
}

static int ifname_take(struct vif_spec *v, const char *key, const char *value)
{
	char *out = strcmp(key, "bridge") == 0 ? v->bridge : v->vifname;

	if (!*value || strlen(value) > 15 || strpbrk(value, "/ \t:") || strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
		return vif_error(v, -EINVAL, key, value, "is no interface name: 1 to 15 characters without slash, colon or space");
	snprintf(out, 16, "%s", value);
	return 0;
}

static int mtu_take(struct vif_spec *v, const char *key, const char *value)
{
	char *end;

	v->mtu = strtol(value, &end, 10);
	if (!*value || *end || v->mtu < 68 || v->mtu > 65521)
		return vif_error(v, -EINVAL, key, value, "is not a number between 68 and 65521");
	return 0;
}

static int devid_take(struct vif_spec *v, const char *key, const char *value)
{
	char own[16];

	snprintf(own, sizeof(own), "%u", v->index);
	if (strcmp(own, value))
		return vif_error(v, -ENOTSUP, key, value, "is not supported by Haven: an interface's number is its place in the list");
	return 0;
}

static int backend_take(struct vif_spec *v, const char *key, const char *value)
{
	if (strcmp(value, "0") && strcmp(value, "Domain-0"))
		return vif_error(v, -ENOTSUP, key, value, "is not supported by Haven: Domain-0 holds the back ends");
	return 0;
}

static int script_take(struct vif_spec *v, const char *key, const char *value)
{
	const char *base = strrchr(value, '/');

	if (*value && strcmp(base ? base + 1 : value, "vif-bridge"))
		return vif_error(v, -ENOTSUP, key, value, "is not supported by Haven, which runs no scripts; there is bridge=");
	return 0;
}

static int type_take(struct vif_spec *v, const char *key, const char *value)
{
	if (strcmp(value, "vif"))
		return vif_error(v, -ENOTSUP, key, value, "is not supported by Haven: PV guests have type=vif");
	return 0;
}

static int unsupported_take(struct vif_spec *v, const char *key, const char *value)
{
	if (!*value)
		return 0;
	return vif_error(v, -ENOTSUP, key, value, "is not supported by Haven; remove it");
}

static const struct {
	const char *key;
	int (*take)(struct vif_spec *v, const char *key, const char *value);
} vif_keys[] = {
	{ "mac", mac_take }, { "bridge", ifname_take }, { "vifname", ifname_take }, { "mtu", mtu_take }, { "devid", devid_take },
	{ "backend", backend_take }, { "script", script_take }, { "type", type_take }, { "gatewaydev", unsupported_take },
	{ "netdev", unsupported_take }, { "model", unsupported_take }, { "ip", unsupported_take }, { "rate", unsupported_take },
	{ "accel", unsupported_take }, { "forwarddev", unsupported_take }, { "colo_checkpoint_port", unsupported_take },
	{ "trusted", unsupported_take },
};

static int param_take(struct vif_spec *v, char *param)
{
	char *equals = strchr(param, '=');
	size_t i;

	if (!*param)
		return 0;
	if (!equals)
		return vif_error(v, -EINVAL, "parameter", param, "has no value; write KEY=VALUE");
	*equals = '\0';
	for (i = 0; i < sizeof(vif_keys) / sizeof(vif_keys[0]); i++)
		if (strcmp(vif_keys[i].key, param) == 0)
			return vif_keys[i].take(v, param, equals + 1);
	return vif_error(v, -EINVAL, "parameter", param, "is unknown; see xl-network-configuration(5)");
}

static int spec_cut(struct vif_spec *v, char *text)
{
	char *at = text, *comma;
	int rc = 0;

	while (at && rc == 0) {
		at += strspn(at, " \t");
		comma = strchr(at, ',');
		if (comma)
			*comma++ = '\0';
		at[strcspn(at, " \t")] = '\0';
		rc = param_take(v, at);
		at = comma;
	}
	return rc;
}

/* One file is one guest on every node, so a mac nobody chose follows from the uuid. 00:16:3e is Xen's own prefix. */
static void mac_derive(struct vif_spec *v, const char *uuid)
{
	uuid_t space, hash;
	char text[16];

	uuid_clear(space);
	(void)uuid_parse(uuid, space);
	snprintf(text, sizeof(text), "vif %u", v->index);
	uuid_generate_sha1(hash, space, text, strlen(text));
	snprintf(v->mac, sizeof(v->mac), "00:16:3e:%02x:%02x:%02x", hash[0] & 0x7f, hash[1], hash[2]);
}

int xlcfg_vif_parse(struct xlcfg_file *file, const struct xlcfg_value *spec, const char *uuid, unsigned index, json_t **ret_vif)
{
	struct vif_spec v = { .file = file, .spec = spec, .index = index, .bridge = "xenbr0", .mtu = 1500 };
	char *text;
	json_t *vif = NULL;
	int rc;

	if (spec->kind != XLCFG_STRING)
		return xlcfg_error(file, spec->line, spec->column, -EINVAL, "vif: each interface is a string in quotes");
	text = strdup(spec->text);
	if (!text)
		return -ENOMEM;
	rc = spec_cut(&v, text);
	free(text);
	if (rc < 0)
		return rc;
	if (!v.mac[0])
		mac_derive(&v, uuid);
	vif = json_pack("{s:s, s:s, s:i}", "mac", v.mac, "bridge", v.bridge, "mtu", (int)v.mtu);
	if (!vif || (v.vifname[0] && json_object_set_new(vif, "vifname", json_string(v.vifname)))) {
		json_decref(vif);
		return -ENOMEM;
	}
	*ret_vif = vif;
	return 0;
}
