/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netpkt.h - what a vif must know of Ethernet frames: checksum offload, whose addresses, announcements.  Pure.
 *
 * Frames come from the guest or the wire: every length is checked, nothing is cast.
 */
#ifndef HV_NETPKT_H
#define HV_NETPKT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETPKT_MAX_ADDRS 8                    /* of each family; the oldest gives way */

/* The addresses a guest was seen to own: by its ARP and neighbour discovery, which it cannot do without. */
struct netpkt_addrs {
	unsigned nr4, nr6;
	uint8_t v4[NETPKT_MAX_ADDRS][4];
	uint8_t v6[NETPKT_MAX_ADDRS][16];
};

/* Learns from a frame the guest sent, if its source is mac.  True: the list changed. */
bool netpkt_learn(struct netpkt_addrs *a, const uint8_t mac[6], const uint8_t *frame, size_t n);

/* Where the transport checksum of a TCP or UDP frame lies. */
struct netpkt_csum {
	unsigned start;              /* of the transport header */
	unsigned offset;             /* of the checksum field in it */
	unsigned header_len;         /* all headers; TCP's options counted */
	bool v6, tcp;
};

/* False: not TCP or UDP directly over IPv4 or IPv6 (one VLAN tag is looked through; fragments and extension headers are not). */
bool netpkt_find_csum(const uint8_t *frame, size_t n, struct netpkt_csum *ret);
/* Puts the pseudo-header's sum into the field, as CHECKSUM_PARTIAL has it. */
void netpkt_put_pseudo(uint8_t *frame, size_t n, const struct netpkt_csum *c);
/* Finishes a checksum whose pseudo-header sum is in the field at start+offset; false when they lie outside the frame. */
bool netpkt_finish_csum(uint8_t *frame, size_t n, unsigned start, unsigned offset);

/* Announcements.  buf holds NETPKT_ANNOUNCE_MAX octets; the frame's length is returned, 0: there is no such announcement. */
#define NETPKT_ANNOUNCE_MAX 96
size_t netpkt_rarp(uint8_t *buf, const uint8_t mac[6]);
size_t netpkt_gratuitous_arp(uint8_t *buf, const uint8_t mac[6], const uint8_t ip[4]);
size_t netpkt_unsolicited_na(uint8_t *buf, const uint8_t mac[6], const uint8_t ip[16]);
/* Announcement i of all there are for a guest: RARP first, then a gratuitous ARP and an NA for each address. */
size_t netpkt_announcement(uint8_t *buf, const uint8_t mac[6], const struct netpkt_addrs *a, unsigned i);

#endif
