/* SPDX-License-Identifier: GPL-2.0-or-later */
/* directory/UUID.json a domain, directory/nodes.json what is known of boots, boot.json this node's own counters. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <jansson.h>

#include "ha-agent/directory.h"
#include "ha-agent/own_codec.h"
#include "lib/atomic_file.h"
#include "lib/log.h"
#include "lib/paths.h"

#define FILE_MAX (1u << 20)
#define SESSION_BITS 20		/* agent starts within a boot; the boot is above */

static int dir_path(char *path, const char *name)
{
	return path_join(path, PATH_MAX, path_state(), "directory/%s", name);
}

static int dir_write(const char *path, json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	int rc = text ? atomic_file_write(path, text, strlen(text), 0600) : -ENOMEM;

	if (rc)
		log_err("%s: cannot be written: %s; nothing changes hands on this node until it can", path, strerror(-rc));
	free(text);
	json_decref(j);
	return rc;
}

static int dir_read(const char *path, json_t **ret)
{
	char *text = NULL;
	size_t n = 0;
	int rc = atomic_file_read(path, FILE_MAX, &text, &n);

	if (rc)
		return rc;
	*ret = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	return json_is_object(*ret) ? 0 : (json_decref(*ret), -EBADMSG);
}

/* --- boots --------------------------------------------------------------------------------------------------------- */

/* The run folder is emptied by a boot: what is written there names the boot (nodes in namespaces share the kernel's). */
static int dir_boot_id(char *id, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char random[16];
	char path[PATH_MAX], *text = NULL;
	size_t n;
	int rc = path_join(path, sizeof(path), path_run(), "boot-id");

	if (rc)
		return rc;
	if (atomic_file_read(path, 64, &text, &n) == 0 && n == 32) {
		snprintf(id, size, "%s", text);
		free(text);
		return 0;
	}
	free(text);
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -errno;
	for (size_t i = 0; i < sizeof(random) && 2 * i + 2 < size; i++) {
		id[2 * i] = hex[random[i] >> 4];
		id[2 * i + 1] = hex[random[i] & 15];
		id[2 * i + 2] = '\0';
	}
	return atomic_file_write(path, id, strlen(id), 0600);
}

int directory_open(struct directory *d, struct err *err)
{
	char path[PATH_MAX];
	json_t *j = NULL;
	const char *last;
	bool first_of_boot;
	int rc;

	memset(d, 0, sizeof(*d));
	rc = dir_path(path, "");
	if (!rc)
		rc = path_mkdirs(path, 0700);
	if (!rc)
		rc = path_mkdirs(path_run(), 0755);
	if (!rc)
		rc = dir_boot_id(d->boot_id, sizeof(d->boot_id));
	if (rc)
		return err_set(err, rc, "%s: cannot be used: %s; make it writable for root", path_state(), strerror(-rc));
	dir_path(path, "boot.json");
	rc = dir_read(path, &j);
	if (rc && rc != -ENOENT)
		return err_set(err, rc, "%s: cannot be read: %s; this node's boot counter must not go back: put the file back, or write "
			       "{\"boot\": N} with N above any boot this node had", path, strerror(-rc));
	d->boot = (uint64_t)json_integer_value(json_object_get(j, "boot"));
	d->session = (uint64_t)json_integer_value(json_object_get(j, "session"));
	last = json_string_value(json_object_get(j, "boot_id"));
	first_of_boot = !last || strcmp(last, d->boot_id);
	json_decref(j);
	if (first_of_boot) {
		d->boot++;
		d->session = 0;
	}
	d->session++;
	rc = dir_write(path, json_pack("{s:I,s:I,s:s}", "boot", (json_int_t)d->boot, "session", (json_int_t)d->session,
				       "boot_id", d->boot_id));
	return rc ? err_set(err, rc, "%s: cannot be written: %s", path, strerror(-rc)) : 0;
}

uint64_t directory_incarnation(const struct directory *d)
{
	return ((d->boot + 1) << SESSION_BITS) + d->session;
}

/* --- loading ------------------------------------------------------------------------------------------------------- */

static void dir_load_nodes(const struct directory *d, struct own *o)
{
	char path[PATH_MAX];
	json_t *j = NULL, *v;
	size_t i;

	if (dir_path(path, "nodes.json") || dir_read(path, &j))
		return;
	json_array_foreach(json_object_get(j, "nodes"), i, v) {
		struct own_seen s = {
			.node = (uint32_t)json_integer_value(json_object_get(v, "node")),
			.seen = (uint64_t)json_integer_value(json_object_get(v, "seen")),
			.fenced = (uint64_t)json_integer_value(json_object_get(v, "fenced")),
			.left = (uint64_t)json_integer_value(json_object_get(v, "left")),
		};

		/*
		 * What a node that was down knows of fencings is out of date: others may have seen the fenced node since. The file says of which
		 * boot it is, since a later start of this boot may read it as the boot before left it.
		 */
		if ((uint64_t)json_integer_value(json_object_get(j, "boot")) != d->boot)
			s.fenced = s.left = 0;
		own_load_node(o, &s);
	}
	json_decref(j);
}

static int dir_load_domain(struct own *o, const char *file, struct err *err)
{
	char path[PATH_MAX], uuid[OWN_UUID_LEN];
	struct own_record rec;
	json_t *j = NULL;
	int rc;

	snprintf(uuid, sizeof(uuid), "%.36s", file);
	rc = dir_path(path, file);
	if (!rc)
		rc = dir_read(path, &j);
	if (!rc)
		rc = own_record_decode(json_object_get(j, "record"), &rec);
	if (!rc)
		rc = own_load_domain(o, uuid, &rec, (uint64_t)json_integer_value(json_object_get(j, "begun")),
				     json_string_value(json_object_get(j, "config")));
	json_decref(j);
	return rc ? err_set(err, rc, "%s: cannot be read: %s; remove it only if that domain runs nowhere", path, strerror(-rc)) : 0;
}

int directory_load(const struct directory *d, struct own *o, struct err *err)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *dir;
	int rc = dir_path(path, "");

	dir_load_nodes(d, o);
	dir = rc ? NULL : opendir(path);
	if (!dir)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	while (!rc && (e = readdir(dir))) {
		size_t n = strlen(e->d_name);

		if (n == 41 && !strcmp(e->d_name + 36, ".json") && strspn(e->d_name, "0123456789abcdef-") == 36)
			rc = dir_load_domain(o, e->d_name, err);
	}
	closedir(dir);
	return rc;
}

/* --- saving -------------------------------------------------------------------------------------------------------- */

int directory_save_domain(const struct own_dom *dom)
{
	char path[PATH_MAX];
	json_t *j = json_pack("{s:o,s:I,s:s*}", "record", own_record_encode(&dom->rec), "begun", (json_int_t)dom->begun,
			      "config", dom->config);
	int rc = path_join(path, sizeof(path), path_state(), "directory/%s.json", dom->uuid);

	if (!j || rc) {
		json_decref(j);
		return rc ? rc : -ENOMEM;
	}
	return dir_write(path, j);
}

int directory_save_nodes(const struct own *o)
{
	char path[PATH_MAX];
	json_t *list = json_array();
	int rc = dir_path(path, "nodes.json");

	for (int i = 0; i < o->n_nodes; i++)
		json_array_append_new(list, json_pack("{s:I,s:I,s:I,s:I}", "node", (json_int_t)o->nodes[i].id,
						      "seen", (json_int_t)o->nodes[i].seen, "fenced", (json_int_t)o->nodes[i].fenced,
						      "left", (json_int_t)o->nodes[i].left));
	if (rc) {
		json_decref(list);
		return rc;
	}
	return dir_write(path, json_pack("{s:o,s:I}", "nodes", list, "boot", (json_int_t)((o->incarnation >> SESSION_BITS) - 1)));
}
