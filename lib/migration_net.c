/* SPDX-License-Identifier: GPL-2.0-or-later */
/* migration_net.c - see migration_net.h. */
#include "lib/migration_net.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/paths.h"

/* Own address within "a.b.c.d/len", or the address itself. */
static int address_in(const char *network, struct in_addr *ret)
{
	char text[32];
	const char *slash = strchr(network, '/');
	struct ifaddrs *all = NULL;
	struct in_addr net;
	uint32_t mask;
	int len, rc = -EADDRNOTAVAIL;

	if (!slash)
		return inet_pton(AF_INET, network, ret) == 1 ? 0 : -EINVAL;
	len = atoi(slash + 1);
	if (slash - network >= (ptrdiff_t)sizeof(text) || len < 1 || len > 32)
		return -EINVAL;
	snprintf(text, sizeof(text), "%.*s", (int)(slash - network), network);
	if (inet_pton(AF_INET, text, &net) != 1)
		return -EINVAL;
	mask = htonl(len == 32 ? UINT32_MAX : ~(UINT32_MAX >> len));
	if (getifaddrs(&all) < 0)
		return -errno;
	for (struct ifaddrs *i = all; i && rc < 0; i = i->ifa_next) {
		struct sockaddr_in sin;

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
			continue;
		memcpy(&sin, i->ifa_addr, sizeof(sin));
		if (((sin.sin_addr.s_addr ^ net.s_addr) & mask) == 0) {
			*ret = sin.sin_addr;
			rc = 0;
		}
	}
	freeifaddrs(all);
	return rc;
}

static int add_network(struct migration_net *m, const char *network, struct err *err)
{
	int rc = m->n < MIGRATION_ADDRESSES ? address_in(network, &m->address[m->n]) : -E2BIG;

	if (rc == 0)
		m->n++;
	else if (rc == -EADDRNOTAVAIL)
		snprintf(m->missing, sizeof(m->missing), "%s", network);
	else
		return err_set(err, rc, "%s/haven.conf: migration_network %s: %s", path_conf(), network, rc == -EINVAL ?
			       "write ADDRESS or ADDRESS/LENGTH, several with commas between" : strerror(-rc));
	return 0;
}

int migration_net_own(const struct conf *conf, struct migration_net *ret, struct err *err)
{
	const char *networks = conf_get(conf, "migration_address", conf_get(conf, "migration_network", NULL));
	struct migration_net m = { .n = 0 };
	char copy[256], *rest = copy, *item;
	int rc = 0;

	if (networks && (size_t)snprintf(copy, sizeof(copy), "%s", networks) >= sizeof(copy))
		return err_set(err, -E2BIG, "%s/haven.conf: migration_network is too long", path_conf());
	while (networks && rc == 0 && (item = strsep(&rest, ", \t")) != NULL)
		if (*item)
			rc = add_network(&m, item, err);
	if (rc == 0 && m.n == 0 && *m.missing)
		rc = err_set(err, -EADDRNOTAVAIL, "%s/haven.conf: migration_network %s: this node has no address in it", path_conf(), m.missing);
	if (rc == 0)
		*ret = m;
	return rc;
}
