/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tap.c - see tap.h; libnl-route for everything but making the tap, which is /dev/net/tun's. */
#include "network/tap.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/inet6.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool tap_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (!n || n >= IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr(".-_", name[i]))
			return false;
	return true;
}

static int open_tun(struct err *err)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_set(err, -errno, "/dev/net/tun: %s; the tun module is needed: modprobe tun", strerror(errno));
	return fd;
}

int tap_create(const char *ifname, unsigned uid, int *ret_fd, struct err *err)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL };
	unsigned long offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	int hdr = sizeof(struct virtio_net_hdr), rc = 0, fd = open_tun(err);

	if (fd < 0)
		return fd;
	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		rc = err_set(err, -errno, "%s: cannot make the tap: %s%s", ifname, strerror(errno),
			     errno == EBUSY || errno == EEXIST ? "; another domain or program has an interface of that name" : "");
		goto out;
	}
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0 || ioctl(fd, TUNSETOFFLOAD, offload) < 0 ||
	    (uid && ioctl(fd, TUNSETOWNER, uid) < 0))
		rc = err_set(err, -errno, "%s: cannot set up the tap: %s", ifname, strerror(errno));
out:
	if (rc < 0)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

/* A netlink socket; NULL with err filled. */
static struct nl_sock *route_open(struct err *err)
{
	struct nl_sock *s = nl_socket_alloc();
	int r = s ? nl_connect(s, NETLINK_ROUTE) : -NLE_NOMEM;

	if (r == 0)
		return s;
	err_set(err, -EIO, "netlink: %s", nl_geterror(r));
	nl_socket_free(s);
	return NULL;
}

static struct rtnl_link *link_get(struct nl_sock *s, const char *name)
{
	struct rtnl_link *l = NULL;

	return rtnl_link_get_kernel(s, 0, name, &l) == 0 ? l : NULL;
}

static int bridge_get(struct nl_sock *s, const char *bridge, struct rtnl_link **ret, struct err *err)
{
	struct rtnl_link *b = link_get(s, bridge);

	if (!b)
		return err_set(err, -ENOENT, "%s: there is no such bridge on this node; make it (ip link add %s type bridge) or correct bridge= of the vif",
			       bridge, bridge);
	if (!rtnl_link_is_bridge(b)) {
		rtnl_link_put(b);
		return err_set(err, -EINVAL, "%s: is an interface but no bridge; correct bridge= of the vif", bridge);
	}
	*ret = b;
	return 0;
}

/* No link-local address and no discovery of the host's own on the guest's cable.  A host without IPv6 has neither anyway. */
static void link_no_ipv6(struct nl_sock *s, struct rtnl_link *l)
{
	struct rtnl_link *want = rtnl_link_alloc();

	if (want && rtnl_link_inet6_set_addr_gen_mode(want, IN6_ADDR_GEN_MODE_NONE) == 0)
		rtnl_link_change(s, l, want, 0);
	rtnl_link_put(want);
}

static int link_change(struct nl_sock *s, struct rtnl_link *l, int master, unsigned mtu, bool up, struct err *err)
{
	struct rtnl_link *want = rtnl_link_alloc();
	struct nl_addr *mac = NULL;
	int r = want ? nl_addr_parse("fe:ff:ff:ff:ff:ff", AF_LLC, &mac) : -NLE_NOMEM;

	if (r == 0) {
		rtnl_link_set_addr(want, mac);
		rtnl_link_set_mtu(want, mtu);
		rtnl_link_set_master(want, master);
		if (up)
			rtnl_link_set_flags(want, IFF_UP);
		r = rtnl_link_change(s, l, want, 0);
	}
	nl_addr_put(mac);
	rtnl_link_put(want);
	return r < 0 ? err_set(err, -EIO, "%s: cannot be joined to its bridge%s: %s", rtnl_link_get_name(l),
			       up ? " and set up" : "", nl_geterror(r)) : 0;
}

int tap_join(const char *ifname, const char *bridge, unsigned mtu, bool up, struct err *err)
{
	struct rtnl_link *b = NULL, *l = NULL;
	struct nl_sock *s = route_open(err);
	int rc = s ? bridge_get(s, bridge, &b, err) : -EIO;

	if (rc == 0) {
		l = link_get(s, ifname);
		if (l)
			link_no_ipv6(s, l);
		rc = l ? link_change(s, l, rtnl_link_get_ifindex(b), mtu, up, err)
		       : err_set(err, -ENODEV, "%s: the tap vanished while it was set up", ifname);
	}
	rtnl_link_put(l);
	rtnl_link_put(b);
	nl_socket_free(s);
	return rc;
}

int tap_check_bridge(const char *bridge, struct err *err)
{
	struct rtnl_link *b = NULL;
	struct nl_sock *s = route_open(err);
	int fd, rc = s ? bridge_get(s, bridge, &b, err) : -EIO;

	if (rc == 0) {
		fd = open_tun(err);
		if (fd < 0)
			rc = fd;
		else
			close(fd);
	}
	rtnl_link_put(b);
	nl_socket_free(s);
	return rc;
}

int tap_remove(const char *ifname, struct err *err)
{
	struct nl_sock *s = route_open(err);
	struct rtnl_link *l = s ? link_get(s, ifname) : NULL;
	int r = l ? rtnl_link_delete(s, l) : 0;

	rtnl_link_put(l);
	nl_socket_free(s);
	if (!s)
		return -EIO;
	return r < 0 ? err_set(err, -EIO, "%s: cannot be removed: %s", ifname, nl_geterror(r)) : 0;
}
