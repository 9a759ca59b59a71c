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

static unsigned octets_of(const struct migration_addr *a)
{
	return a->family == AF_INET6 ? 16 : 4;
}

static int address_parse(const char *text, struct migration_addr *ret)
{
	*ret = (struct migration_addr){ .family = strchr(text, ':') ? AF_INET6 : AF_INET };
	return inet_pton(ret->family, text, ret->octet) == 1 ? 0 : -EINVAL;
}

/* fe80::/10: means nothing to another node, which does not know over which interface. */
static bool is_link_local(const struct migration_addr *a)
{
	return a->family == AF_INET6 && a->octet[0] == 0xfe && (a->octet[1] & 0xc0) == 0x80;
}

static bool address_from(const struct sockaddr *sa, struct migration_addr *ret)
{
	struct sockaddr_in6 six;
	struct sockaddr_in four;

	if (!sa || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
		return false;
	*ret = (struct migration_addr){ .family = sa->sa_family };
	if (sa->sa_family == AF_INET6) {
		memcpy(&six, sa, sizeof(six));
		memcpy(ret->octet, &six.sin6_addr, 16);
	} else {
		memcpy(&four, sa, sizeof(four));
		memcpy(ret->octet, &four.sin_addr, 4);
	}
	return true;
}

static bool same_network(const struct migration_addr *a, const struct migration_addr *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (a->family != b->family || memcmp(a->octet, b->octet, whole) != 0)
		return false;
	return !rest || ((a->octet[whole] ^ b->octet[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

/* Own address within that network. */
static int address_own(const struct migration_addr *net, unsigned bits, struct migration_addr *ret)
{
	struct ifaddrs *all = NULL;
	struct migration_addr a;
	int rc = -EADDRNOTAVAIL;

	if (getifaddrs(&all) < 0)
		return -errno;
	for (struct ifaddrs *i = all; i && rc < 0; i = i->ifa_next)
		if (address_from(i->ifa_addr, &a) && !is_link_local(&a) && same_network(&a, net, bits)) {
			*ret = a;
			ret->own = true;
			rc = 0;
		}
	freeifaddrs(all);
	return rc;
}

/* "ADDRESS/LENGTH": an own address within; or the address itself. */
static int address_in(const char *network, struct migration_addr *ret)
{
	char text[INET6_ADDRSTRLEN], *end;
	const char *slash = strchr(network, '/');
	size_t n = slash ? (size_t)(slash - network) : strlen(network);
	struct migration_addr a;
	long bits;
	int rc;

	if (n >= sizeof(text))
		return -EINVAL;
	memcpy(text, network, n);
	text[n] = '\0';
	rc = address_parse(text, &a);
	if (rc < 0 || is_link_local(&a))
		return -EINVAL;
	if (!slash) {
		*ret = a;                /* whoever binds it finds out, when no interface has it */
		(void)address_own(&a, 8 * octets_of(&a), ret);
		return 0;
	}
	bits = strtol(slash + 1, &end, 10);
	if (!slash[1] || *end || bits < 1 || bits > 8 * (long)octets_of(&a))
		return -EINVAL;
	return address_own(&a, (unsigned)bits, ret);
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
			       "write ADDRESS or ADDRESS/LENGTH, IPv4 or IPv6 but no link-local one, several with commas between" : strerror(-rc));
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

const char *migration_net_text(const struct migration_addr *a, char buf[INET6_ADDRSTRLEN])
{
	return inet_ntop(a->family, a->octet, buf, INET6_ADDRSTRLEN) ? buf : "";
}

socklen_t migration_net_sockaddr(const struct migration_addr *a, int port, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	memset(ret, 0, sizeof(*ret));
	if (a->family == AF_INET6) {
		memcpy(&six.sin6_addr, a->octet, 16);
		memcpy(ret, &six, sizeof(six));
		return sizeof(six);
	}
	memcpy(&four.sin_addr, a->octet, 4);
	memcpy(ret, &four, sizeof(four));
	return sizeof(four);
}
