/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h - the two channels between hv-domain and xenstored (docs/specs/messages.md, "xenstored").
 *
 * Both are SOCK_SEQPACKET pairs handed to xenstored by `introduce`; one message is one packet.
 *
 * Guest channel: struct store_hdr, then `len` bytes.
 *
 *   kind             seq                       payload
 *   STORE_REQ        counts up by one per      an xsd_sockmsg and its body, as the guest put it on its ring
 *                    domain, from 1            (body at most XENSTORE_PAYLOAD_MAX, checked by hv-domain)
 *   STORE_REPLY      the request's             an xsd_sockmsg and its body
 *   STORE_EVENT      counts up by one per      an xsd_sockmsg of type XS_WATCH_EVENT and its body
 *                    domain, from 1
 *   STORE_EVENT_ACK  the event's               none.  Sent once, when the last octet of the event is on the ring
 *   STORE_RESET      the last REQ's seq        none.  The guest reset its connection: watches and transactions go
 *
 * hv-domain has at most one REQ unanswered: REQ n+1 says that REPLY n arrived, so the journal needs the last reply
 * alone.  After a new channel is set hv-domain sends its unanswered REQ again, under the same seq; xenstored answers
 * a seq it has executed already from its journal, and sends every EVENT without an ACK again, in order, under its old
 * seq (hv-domain drops, and acknowledges again, what it has had).  Both counters travel with the domain.
 *
 * Back-end channel: a packet is an xsd_sockmsg and its body, nothing else, both ways, as on xenstored's own socket.
 * Requests are idempotent; after a new channel is set hv-domain repeats those unanswered and sets its watches again.
 */
#ifndef LIB_PROTO_STORE_H
#define LIB_PROTO_STORE_H

#include <stdint.h>
#include <xen/io/xs_wire.h>

enum store_kind { STORE_REQ = 1, STORE_REPLY, STORE_EVENT, STORE_EVENT_ACK, STORE_RESET };

struct store_hdr {
	uint32_t kind;               /* enum store_kind */
	uint32_t len;                /* octets after this header */
	uint64_t seq;
};
_Static_assert(sizeof(struct store_hdr) == 16, "store_hdr");

#define STORE_MSG_MAX (sizeof(struct xsd_sockmsg) + XENSTORE_PAYLOAD_MAX)
#define STORE_PACKET_MAX (sizeof(struct store_hdr) + STORE_MSG_MAX)

#endif
