/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tap.h - taps and bridges through netlink.  All return 0 or -errno with err filled. */
#ifndef NETWORK_TAP_H
#define NETWORK_TAP_H

#include <net/if.h>
#include <stdbool.h>

#include "lib/err.h"

/* 1 to 15 of letters, digits, '.', '-', '_'; neither "." nor "..". */
bool tap_name_ok(const char *name);

/* A tap, one queue, with virtio-net headers, down; *ret_fd non-blocking.  -EBUSY: there is one of that name in use. */
int tap_create(const char *ifname, unsigned uid, int *ret_fd, struct err *err);

/* MTU, bridge, and up when wanted.  The tap's own Ethernet address is fe:ff:ff:ff:ff:ff, so that the bridge never takes it for its own. */
int tap_join(const char *ifname, const char *bridge, unsigned mtu, bool up, struct err *err);

int tap_check_bridge(const char *bridge, struct err *err);
int tap_remove(const char *ifname, struct err *err);        /* 0 too when there is none */

#endif
