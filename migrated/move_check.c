/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move_check.c - see move_check.h.  Names arrive from the peer: they are bounded and never become part of a path unchecked.
 */
#include "migrated/move_check.h"

#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"

#define OVERHEAD_KIB (32 * 1024)     /* hv-domain itself, translation cache, page cache of the state */
#define PORTAL_WAIT_MS 500

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

static void check_memory(const struct worker *w, const json_t *config, const json_t *info, json_t *problems)
{
	long long need = json_integer_value(json_object_get(config, "memory_kib"));
	const json_t *free_kib = json_object_get(info, "memory_free_kib");

	if (json_is_integer(free_kib) && json_integer_value(free_kib) < need + OVERHEAD_KIB)
		problem(problems, "%s: not enough memory: %lld MiB needed, %lld MiB free", w->own, (need + OVERHEAD_KIB) / 1024,
			(long long)json_integer_value(free_kib) / 1024);
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

/* Does anything answer at HOST:PORT?  0 or -errno. */
static int portal_answers(const char *portal)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai = NULL;
	char host[256], port[8] = "3260";
	const char *colon = strrchr(portal, ':');
	size_t n = colon ? (size_t)(colon - portal) : strlen(portal);
	int fd, rc = 0, e = 0;
	socklen_t len = sizeof(e);

	if (n > 2 && portal[0] == '[' && portal[n - 1] == ']') {
		portal++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(host))
		return -EINVAL;
	memcpy(host, portal, n);
	host[n] = '\0';
	if (colon)
		snprintf(port, sizeof(port), "%.5s", colon + 1);
	if (getaddrinfo(host, port, &hints, &ai) != 0)
		return -ENOENT;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS))
		rc = -errno;
	if (rc == 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		if (poll(&p, 1, PORTAL_WAIT_MS) != 1)
			rc = -ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 || e)
			rc = -(e ? e : errno);
	}
	if (fd >= 0)
		close(fd);
	freeaddrinfo(ai);
	return rc;
}

static void check_disks(const struct worker *w, const json_t *config, json_t *problems)
{
	json_t *d;
	size_t i;

	json_array_foreach(json_object_get(config, "disk"), i, d) {
		const char *backend = str(d, "backend"), *target = str(d, "target"), *portal = str(d, "portal");
		int rc;

		if (i >= 16)
			break;
		if (strcmp(backend, "iscsi") == 0) {
			rc = portal_answers(portal);
			if (rc < 0)
				problem(problems, "%s: cannot reach the iSCSI portal %s of disk %s: %s", w->own, portal, str(d, "vdev"),
					strerror(-rc));
		} else if (*target && access(target, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR)) {
			problem(problems, "%s: disk %s: %s is not there; a guest that moves needs its disks on both nodes", w->own,
				str(d, "vdev"), target);
		}
	}
}

void move_check(const struct worker *w, const json_t *hello, const json_t *info, const json_t *list, json_t *problems)
{
	const json_t *config = json_object_get(hello, "config");

	if (strcmp(str(hello, "source"), w->own) == 0 && strcmp(str(hello, "mode"), "move") == 0) {
		problem(problems, "%s: the domain is on this node already", w->own);
		return;
	}
	check_domains(w, hello, list, problems);
	check_cpu(w, hello, info, problems);
	check_memory(w, config, info, problems);
	check_bridges(w, config, problems);
	check_disks(w, config, problems);
}
