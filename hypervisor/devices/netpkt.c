/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netpkt.c - frames by octet offsets: RFC 826 (ARP), RFC 903 (RARP), RFC 5227 (announcement), RFC 4861 (neighbour discovery).
 */
#include "hypervisor/devices/netpkt.h"

#include <string.h>

enum { ETH_IP = 0x0800, ETH_ARP = 0x0806, ETH_RARP = 0x8035, ETH_IPV6 = 0x86dd, ETH_VLAN = 0x8100 };
enum { PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMPV6 = 58 };
enum { ND_SOLICIT = 135, ND_ADVERT = 136 };

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* Offset of the network header and its EtherType behind at most one VLAN tag; 0: the frame is too short. */
static size_t network_offset(const uint8_t *f, size_t n, unsigned *ret_type)
{
	if (n < 14)
		return 0;
	*ret_type = get16(f + 12);
	if (*ret_type != ETH_VLAN)
		return 14;
	if (n < 18)
		return 0;
	*ret_type = get16(f + 16);
	return 18;
}

/* ---- learning ---- */

/* Moves x to the end of the list, adding it when it is not there; true when it was added. */
static bool addr_touch(uint8_t *list, unsigned *nr, size_t size, const uint8_t *x)
{
	bool added = true;
	unsigned i = 0;

	while (i < *nr && memcmp(list + i * size, x, size))
		i++;
	if (i < *nr)
		added = false;
	else if (*nr < NETPKT_MAX_ADDRS)
		i = (*nr)++;
	else
		i = 0;
	memmove(list + i * size, list + (i + 1) * size, (*nr - 1 - i) * size);
	memcpy(list + (*nr - 1) * size, x, size);
	return added;
}

static bool v4_usable(const uint8_t *ip)
{
	return ip[0] != 0 && ip[0] != 127 && ip[0] < 224;
}

static bool v6_usable(const uint8_t *ip)
{
	static const uint8_t zeros[15];

	return ip[0] != 0xff && (memcmp(ip, zeros, 15) || ip[15] > 1);   /* not multicast, ::, ::1 */
}

static bool learn_arp(struct netpkt_addrs *a, const uint8_t mac[6], const uint8_t *p, size_t n)
{
	if (n < 28 || get16(p) != 1 || get16(p + 2) != ETH_IP || p[4] != 6 || p[5] != 4)
		return false;
	if (memcmp(p + 8, mac, 6) || !v4_usable(p + 14))
		return false;
	return addr_touch(a->v4[0], &a->nr4, 4, p + 14);
}

/* A solicitation's source address, an advertisement's target. */
static bool learn_nd(struct netpkt_addrs *a, const uint8_t *p, size_t n)
{
	const uint8_t *addr;

	if (n < 40 + 24 || p[0] >> 4 != 6 || p[6] != PROTO_ICMPV6 || p[7] != 255)
		return false;
	if (p[40] == ND_SOLICIT)
		addr = p + 8;
	else if (p[40] == ND_ADVERT)
		addr = p + 48;
	else
		return false;
	return v6_usable(addr) && addr_touch(a->v6[0], &a->nr6, 16, addr);
}

bool netpkt_learn(struct netpkt_addrs *a, const uint8_t mac[6], const uint8_t *frame, size_t n)
{
	unsigned type;
	size_t off = network_offset(frame, n, &type);

	if (off != 14 || memcmp(frame + 6, mac, 6))
		return false;
	if (type == ETH_ARP)
		return learn_arp(a, mac, frame + off, n - off);
	if (type == ETH_IPV6)
		return learn_nd(a, frame + off, n - off);
	return false;
}

/* ---- checksums ---- */

static uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t n)
{
	for (; n >= 2; p += 2, n -= 2) {
		sum += get16(p);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	if (n)
		sum += (uint32_t)p[0] << 8;
	return sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

bool netpkt_find_csum(const uint8_t *f, size_t n, struct netpkt_csum *ret)
{
	struct netpkt_csum c = { 0 };
	unsigned type, proto;
	size_t off = network_offset(f, n, &type);

	if (off && type == ETH_IP && n >= off + 20 && f[off] >> 4 == 4) {
		unsigned ihl = (f[off] & 15) * 4u;

		if (ihl < 20 || get16(f + off + 6) & 0x3fff)       /* a fragment */
			return false;
		proto = f[off + 9];
		c.start = (unsigned)off + ihl;
	} else if (off && type == ETH_IPV6 && n >= off + 40 && f[off] >> 4 == 6) {
		proto = f[off + 6];
		c.start = (unsigned)off + 40;
		c.v6 = true;
	} else {
		return false;
	}
	if (proto == PROTO_TCP && n >= c.start + 20) {
		unsigned len = (f[c.start + 12] >> 4) * 4u;

		c.tcp = true;
		c.offset = 16;
		c.header_len = c.start + len;
		if (len < 20 || c.header_len > n)
			return false;
	} else if (proto == PROTO_UDP && n >= c.start + 8) {
		c.offset = 6;
		c.header_len = c.start + 8;
	} else {
		return false;
	}
	*ret = c;
	return true;
}

void netpkt_put_pseudo(uint8_t *f, size_t n, const struct netpkt_csum *c)
{
	const uint8_t *addrs = c->v6 ? f + c->start - 32 : NULL;
	uint32_t sum = (uint32_t)(n - c->start) + (c->tcp ? PROTO_TCP : PROTO_UDP);
	unsigned type;

	if (!c->v6)
		addrs = f + network_offset(f, n, &type) + 12;
	sum = sum_add((sum & 0xffff) + (sum >> 16), addrs, c->v6 ? 32 : 8);
	put16(f + c->start + c->offset, sum_fold(sum));
}

bool netpkt_finish_csum(uint8_t *f, size_t n, unsigned start, unsigned offset)
{
	uint16_t sum;

	if ((size_t)start + offset + 2 > n)
		return false;
	sum = (uint16_t)~sum_fold(sum_add(0, f + start, n - start));
	put16(f + start + offset, sum ? sum : 0xffff);     /* RFC 768: 0 means no checksum */
	return true;
}

/* ---- announcements ---- */

static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static size_t arp_build(uint8_t *b, unsigned ethertype, unsigned op, const uint8_t mac[6], const uint8_t ip[4], bool target_mac)
{
	memset(b, 0, 60);
	memcpy(b, broadcast, 6);
	memcpy(b + 6, mac, 6);
	put16(b + 12, ethertype);
	put16(b + 14, 1);                                  /* Ethernet */
	put16(b + 16, ETH_IP);
	b[18] = 6;
	b[19] = 4;
	put16(b + 20, op);
	memcpy(b + 22, mac, 6);
	memcpy(b + 28, ip, 4);
	if (target_mac)
		memcpy(b + 32, mac, 6);
	memcpy(b + 38, ip, 4);
	return 60;
}

size_t netpkt_rarp(uint8_t *buf, const uint8_t mac[6])
{
	static const uint8_t none[4];

	return arp_build(buf, ETH_RARP, 3, mac, none, true);       /* reverse request: who am I */
}

size_t netpkt_gratuitous_arp(uint8_t *buf, const uint8_t mac[6], const uint8_t ip[4])
{
	return arp_build(buf, ETH_ARP, 1, mac, ip, false);         /* RFC 5227 2.3: a request for one's own address */
}

size_t netpkt_unsolicited_na(uint8_t *b, const uint8_t mac[6], const uint8_t ip[16])
{
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
	uint32_t sum;

	memset(b, 0, 86);
	put16(b, 0x3333);
	b[5] = 1;
	memcpy(b + 6, mac, 6);
	put16(b + 12, ETH_IPV6);
	b[14] = 0x60;
	put16(b + 18, 32);                                 /* payload */
	b[20] = PROTO_ICMPV6;
	b[21] = 255;                                       /* RFC 4861 7.1.2 */
	memcpy(b + 22, ip, 16);
	memcpy(b + 38, all_nodes, 16);
	b[54] = ND_ADVERT;
	b[58] = 0x20;                                      /* override */
	memcpy(b + 62, ip, 16);
	b[78] = 2;                                         /* target link-layer address */
	b[79] = 1;
	memcpy(b + 80, mac, 6);
	sum = sum_add(32 + PROTO_ICMPV6, b + 22, 32);
	sum = sum_add((sum & 0xffff) + (sum >> 16), b + 54, 32);
	put16(b + 56, (uint16_t)~sum_fold(sum));
	return 86;
}

size_t netpkt_announcement(uint8_t *buf, const uint8_t mac[6], const struct netpkt_addrs *a, unsigned i)
{
	if (i == 0)
		return netpkt_rarp(buf, mac);
	i--;
	if (i < a->nr4)
		return netpkt_gratuitous_arp(buf, mac, a->v4[i]);
	i -= a->nr4;
	return i < a->nr6 ? netpkt_unsolicited_na(buf, mac, a->v6[i]) : 0;
}
