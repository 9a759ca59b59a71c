/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move_check.c - see move_check.h.  Names arrive from the peer: they are bounded and never become part of a path unchecked.
 */
#include "migrated/move_check.h"

#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"

static void problem(json_t *problems, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void problem(json_t *problems, const char *fmt, ...)
{
	char text[512], safe[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (json_array_size(problems) < 32)
		json_array_append_new(problems, json_string(log_escape(safe, sizeof(safe), text, strlen(text))));
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int has_string(const json_t *list, const char *s)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
		if (json_is_string(v) && strcmp(json_string_value(v), s) == 0)
			return 1;
	return 0;
}

static void check_cpu(const struct worker *w, const json_t *hello, const json_t *info, json_t *problems)
{
	const json_t *need = json_object_get(hello, "cpu_features"), *have = json_object_get(info, "cpu_features");
	char missing[300] = "";
	size_t i, n = 0;
	json_t *v;

	if (!json_is_array(have))
		return;
	json_array_foreach(need, i, v) {
		if (!json_is_string(v) || has_string(have, json_string_value(v)))
			continue;
		n += (size_t)snprintf(missing + n, sizeof(missing) - n, " %.30s", json_string_value(v));
		if (n > sizeof(missing) - 40)
			break;
	}
	if (n)
		problem(problems, "%s: its CPU lacks what the guest was started with:%s", w->own, missing);
}

static void check_domains(const struct worker *w, const json_t *hello, const json_t *list, json_t *problems)
{
	const json_t *config = json_object_get(hello, "config"), *domains = json_object_get(list, "domains");
	json_t *d;
	size_t i;

	json_array_foreach(domains, i, d) {
		if (strcmp(str(d, "uuid"), str(hello, "uuid")) == 0)
			problem(problems, "%s: holds a copy of this domain already (domain %lld, %s)", w->own,
				(long long)json_integer_value(json_object_get(d, "domid")), str(d, "copy"));
		else if (strcmp(str(d, "name"), str(config, "name")) == 0)
			problem(problems, "%s: has another domain named %s", w->own, str(config, "name"));
		else if (json_integer_value(json_object_get(d, "domid")) == json_integer_value(json_object_get(hello, "domid")))
			problem(problems, "%s: domain id %lld is taken by %s; domids must be unique in the cluster", w->own,
				(long long)json_integer_value(json_object_get(d, "domid")), str(d, "name"));
	}
}

static void check_bridges(const struct worker *w, const json_t *config, json_t *problems)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(config, "vif"), i, v) {
		const char *bridge = str(v, "bridge");
		char path[64];

		if (!*bridge)
			continue;
		if (strlen(bridge) >= IFNAMSIZ || strchr(bridge, '/') || bridge[0] == '.') {
			problem(problems, "%s: '%.20s' is no name of a bridge", w->own, bridge);
			continue;
		}
		snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", bridge);
		if (access(path, F_OK) < 0)
			problem(problems, "%s: has no bridge %s; make it, as on the node the guest is on", w->own, bridge);
	}
}

/* What hypervisord says of memory and disks. */
static void check_takes(const struct worker *w, const json_t *takes, json_t *problems)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(takes, "problems"), i, v)
		if (json_is_string(v))
			problem(problems, "%s: %s", w->own, json_string_value(v));
}

void move_check(const struct worker *w, const json_t *hello, const struct move_check_facts *f, json_t *problems)
{
	const json_t *config = json_object_get(hello, "config");

	if (strcmp(str(hello, "source"), w->own) == 0 && strcmp(str(hello, "mode"), "move") == 0) {
		problem(problems, "%s: the domain is on this node already", w->own);
		return;
	}
	check_domains(w, hello, f->list, problems);
	check_cpu(w, hello, f->info, problems);
	check_bridges(w, config, problems);
	check_takes(w, f->takes, problems);
}
