/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl_ask.c - what xl asks of the daemons: domains, whether Pacemaker manages one. */
#include "dom0/xl/xl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/conf.h"
#include "lib/crm_run.h"
#include "lib/msg.h"

#define ASK_MS 30000

int xl_hypervisord(json_t *request, json_t **ret_reply, struct err *err)
{
	return msg_call_once("hypervisord.sock", request, ret_reply, ASK_MS, err);
}

const char *xl_str(const json_t *domain, const char *key)
{
	const char *s = json_string_value(json_object_get(domain, key));

	return s ? s : "";
}

long long xl_int(const json_t *domain, const char *key)
{
	return json_integer_value(json_object_get(domain, key));
}

static bool parse_domid(const char *who, long long *ret)
{
	char *end;
	long long v = strtoll(who, &end, 10);

	if (end == who || *end || v < 0)
		return false;
	*ret = v;
	return true;
}

/* A packet holds some forty domains: page by page, from the domid behind the last one. */
int xl_list_all(json_t **ret_domains, struct err *err)
{
	json_t *all = json_array(), *reply, *page, *d;
	json_int_t after = 0;
	bool more = true;
	size_t i;
	int rc = 0;

	while (rc == 0 && more) {
		reply = NULL;
		rc = xl_hypervisord(json_pack("{s:s, s:I}", "op", "list", "after", after), &reply, err);
		page = json_object_get(reply, "domains");
		json_array_foreach(page, i, d)
			after = xl_int(d, "domid");
		json_array_extend(all, page);
		more = json_is_true(json_object_get(reply, "more")) && json_array_size(page);
		json_decref(reply);
	}
	if (rc == 0)
		*ret_domains = json_incref(all);
	json_decref(all);
	return rc;
}

/* Where the cluster says a domain runs, for the error of a tool used on the wrong node. */
static bool elsewhere(const char *who, char *node, size_t size)
{
	json_t *reply = NULL, *d;
	bool found = false;
	size_t i;

	if (!xl_clustered() || msg_call_once("ha-agentd.sock", json_pack("{s:s}", "op", "status"), &reply, 3000, NULL) < 0) {
		json_decref(reply);
		return false;
	}
	json_array_foreach(json_object_get(reply, "domains"), i, d) {
		if (strcmp(xl_str(d, "name"), who) == 0 && *xl_str(d, "owner")) {
			snprintf(node, size, "%s", xl_str(d, "owner"));
			found = true;
		}
	}
	json_decref(reply);
	return found;
}

int xl_find(const char *who, json_t **ret_domain, struct err *err)
{
	json_t *reply = NULL, *request, *d;
	char node[128];
	long long domid;
	int rc;

	if (parse_domid(who, &domid))
		request = json_pack("{s:s, s:I}", "op", "list", "domid", (json_int_t)domid);
	else
		request = json_pack("{s:s, s:s}", "op", "list", "name", who);
	rc = xl_hypervisord(request, &reply, err);
	d = rc == 0 ? json_array_get(json_object_get(reply, "domains"), 0) : NULL;
	if (d) {
		*ret_domain = json_incref(d);
	} else if (rc == 0 || rc == -ENOENT) {
		if (elsewhere(who, node, sizeof(node)))
			rc = err_set(err, -ENOENT, "%s does not run on this node; the cluster has it on %s", who, node);
		else
			rc = err_set(err, -ENOENT, "%s: no such domain; xl list shows those of this node", who);
	}
	json_decref(reply);
	return rc;
}

bool xl_clustered(void)
{
	return conf_exists("cluster.conf");
}

/*
 * The cluster remembers the resource by which a domain was started last.  It may have been deleted since: cibadmin then finds nothing.  When Pacemaker
 * cannot be asked the resource counts as there.
 */
static bool resource_is_gone(const char *resource)
{
	char xpath[256];
	struct err err;

	if (strpbrk(resource, "'\"") || (size_t)snprintf(xpath, sizeof(xpath), "//primitive[@id='%s']", resource) >= sizeof(xpath))
		return false;
	return crm_run(NULL, &err, 5, "cibadmin", "--query", "--xpath", xpath, NULL) == -EIO && strstr(err.text, strerror(ENXIO));
}

static int managed_by(const char *key, const char *who, char **ret, struct err *err)
{
	json_t *reply = NULL;
	int rc = 0;

	*ret = NULL;
	if (xl_clustered())
		rc = msg_call_once("ha-agentd.sock", json_pack("{s:s, s:s}", "op", "managed", key, who), &reply, 10000, err);
	if (rc == 0 && json_is_true(json_object_get(reply, "managed")) && !resource_is_gone(xl_str(reply, "resource")))
		*ret = strdup(*xl_str(reply, "resource") ? xl_str(reply, "resource") : who);
	json_decref(reply);
	return rc;
}

int xl_managed(const char *uuid, char **ret, struct err *err)
{
	return managed_by("uuid", uuid, ret, err);
}

bool xl_refuse_managed(const char *name, bool force, const char *verb, const char *instead)
{
	char *resource = NULL, command[512];
	struct err err = { 0 };
	const char *at;

	if (!force && managed_by("name", name, &resource, &err) < 0) {
		xl_fail("%s %s: whether Pacemaker manages it nobody can say: %s   (--force goes on regardless)", verb, name, err.text);
		return true;
	}
	if (!resource)
		return false;
	at = strstr(instead, "%s");
	snprintf(command, sizeof(command), "%.*s%s%s", at ? (int)(at - instead) : (int)strlen(instead), instead, at ? resource : "",
		 at ? at + 2 : "");
	xl_fail("%s %s: Pacemaker manages it (resource %s) and would undo this; use: %s   (--force overrides)", verb, name, resource, command);
	free(resource);
	return true;
}

void xl_note_managed(const char *name)
{
	char *resource = NULL;

	if (managed_by("name", name, &resource, NULL) == 0 && resource)
		fprintf(stderr, "xl: %s: Pacemaker manages it (resource %s): this stays through moves and the guest's own reboots, until the "
			"resource starts afresh from its xl.cfg; change that, too\n", name, resource);
	free(resource);
}
