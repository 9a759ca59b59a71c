/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migration_net.h - this node's addresses on the migration networks: what migrated listens on and ha-agentd tells the others.
 * haven.conf: migration_address or migration_network, each a list "A.B.C.D, E.F.G.H/LENGTH, X:Y::Z, X:Y::/LENGTH"; neither: all addresses.
 */
#ifndef LIB_MIGRATION_NET_H
#define LIB_MIGRATION_NET_H

#include <netinet/in.h>
#include <stdbool.h>

#include "lib/conf.h"
#include "lib/err.h"

#define MIGRATION_ADDRESSES 4

struct migration_addr {
	int family;                      /* AF_INET or AF_INET6 */
	uint8_t octet[16];               /* 4 of them, or 16 */
	bool own;                        /* an interface of this node has it */
};

struct migration_net {
	struct migration_addr address[MIGRATION_ADDRESSES];
	unsigned n;                      /* 0: nothing is configured */
	char missing[64];                /* a network in which this node has no address, "": none */
};

/* 0, also when some but not all of the networks are missing; -errno naming haven.conf's line. */
int migration_net_own(const struct conf *conf, struct migration_net *ret, struct err *err);
/* As other nodes are told.  Returns buf, of INET6_ADDRSTRLEN octets. */
const char *migration_net_text(const struct migration_addr *a, char buf[INET6_ADDRSTRLEN]);
/* With that port, to bind; returns its length. */
socklen_t migration_net_sockaddr(const struct migration_addr *a, int port, struct sockaddr_storage *ret);

#endif
