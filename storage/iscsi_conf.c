/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iscsi_conf.c - see iscsi_conf.h. */
#include "config.h"
#include "storage/iscsi_conf.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define VDEV_MAX 16

/* FNV-1a */
static uint64_t hash(uint64_t h, const char *s)
{
	while (*s)
		h = (h ^ (uint8_t)*s++) * 0x100000001b3ull;
	return (h ^ 0xff) * 0x100000001b3ull;
}

#define HASH_START 0xcbf29ce484222325ull

/* "H", node, domain, attempt: 8, 20, 28 and 8 bits. */
static uint64_t key_make(const char *node, const char *uuid, unsigned attempt)
{
	return 0x48ull << 56 | (hash(HASH_START, node) >> 44) << 36 | (hash(HASH_START, uuid) >> 36) << 8 | (attempt & 0xff);
}

/* "host[:port]", "[v6]:port" to a numeric address that libiscsi takes. */
static int portal_resolve(const char *portal, char *out, size_t size, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai = NULL;
	char host[128], addr[64], *colon;
	const char *port = "3260";
	int r;

	if (strlen(portal) >= sizeof(host))
		return err_set(err, -EINVAL, "portal %.40s…: too long", portal);
	strcpy(host, portal);
	colon = strrchr(host, ':');
	if (colon && !strchr(colon, ']') && (host[0] == '[' || strchr(host, ':') == colon)) {
		*colon = 0;
		port = colon + 1;
	}
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = 0;
		memmove(host, host + 1, strlen(host));
	}
	r = getaddrinfo(host, port, &hints, &ai);
	if (r == 0)
		r = getnameinfo(ai->ai_addr, ai->ai_addrlen, addr, sizeof(addr), NULL, 0, NI_NUMERICHOST);
	if (r == 0)
		snprintf(out, size, ai->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", addr, port);
	if (ai)
		freeaddrinfo(ai);
	return r ? err_set(err, -EINVAL, "portal %s: %s", portal, gai_strerror(r)) : 0;
}

static const char *field(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

int iscsi_conf_parse(const json_t *q, const json_t *d, struct iscsi_conf *ret, uint64_t *ret_key, struct err *err)
{
	const char *node = field(q, "node"), *uuid = field(q, "uuid"), *vdev = field(d, "vdev"), *iqn = field(d, "iqn");
	const char *initiator = field(d, "initiator");
	json_int_t lun = json_integer_value(json_object_get(d, "lun"));
	struct iscsi_conf c = { .lun = (int)lun };
	int rc;

	if (!iqn[0] || strlen(iqn) >= sizeof(c.iqn) || strlen(initiator) >= sizeof(c.initiator) || strlen(vdev) >= VDEV_MAX)
		return err_set(err, -EINVAL, "disk %.16s: target or initiator name missing or too long", vdev);
	if (lun < 0 || lun > 16383)
		return err_set(err, -EINVAL, "disk %s: lun=%lld is no LUN", vdev, (long long)lun);
	rc = portal_resolve(field(d, "portal"), c.portal, sizeof(c.portal), err);
	if (rc < 0)
		return err_prefix(err, "disk %s", vdev);
	strcpy(c.iqn, iqn);
	if (initiator[0])
		strcpy(c.initiator, initiator);
	else
		snprintf(c.initiator, sizeof(c.initiator), "iqn.2026-11.haven:%.64s", node);
	c.isid = (uint32_t)hash(hash(hash(HASH_START, node), uuid), vdev);
	*ret_key = key_make(node, uuid, (unsigned)json_integer_value(json_object_get(q, "attempt")));
	*ret = c;
	return 0;
}

uint32_t iscsi_conf_other_isid(uint32_t isid, uint32_t salt)
{
	char text[32];

	snprintf(text, sizeof(text), "%x looks %x", isid, salt);
	return (uint32_t)hash(HASH_START, text);
}
