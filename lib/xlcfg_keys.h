/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of an xl.cfg: the specification strings of disk and vif lists. Part of lib/xlcfg. */
#ifndef HAVEN_LIB_XLCFG_KEYS_H
#define HAVEN_LIB_XLCFG_KEYS_H

#include <stdbool.h>

#include "lib/xlcfg_syntax.h"

#define XLCFG_DISKS_MAX 32
#define XLCFG_VIFS_MAX 8

/* Known to Xen, unknown to Haven. A value equal to `neutral` asks for what Haven does anyway and is let pass. */
struct xlcfg_refusal {
	const char *key;
	const char *neutral;	/* NULL: none but the empty value */
	const char *why;	/* NULL: plain "not supported" */
};

/* The refusal of `key`, or NULL when Xen has no such key. */
const struct xlcfg_refusal *xlcfg_refusal_find(const char *key);

/* One DISKSPEC of xl-disk-configuration(5) into a new object *ret_disk. */
int xlcfg_disk_parse(struct xlcfg_file *file, const struct xlcfg_value *spec, json_t **ret_disk);

/* One item of xl-network-configuration(5); the mac of one without is derived from uuid and index. */
int xlcfg_vif_parse(struct xlcfg_file *file, const struct xlcfg_value *spec, const char *uuid, unsigned index,
		    json_t **ret_vif);

/* "10.0.0.1", "10.0.0.1:3260", "[fd00::1]:3260" to canonical HOST:PORT in a new string; NULL: it is none. */
char *xlcfg_portal_normalise(const char *portal);

#endif
