/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pages.h - between an hv-domain whose guest runs before all of its pages are there, and the migration worker that fetches them
 * (docs/specs/messages.md, "Pages of a guest that runs already").
 *
 * A SOCK_SEQPACKET connection to RUN/domain/DOMID.pages.sock, made by hypervisord, which says as JSON {"attempt", "from"} for whom and
 * hands the other end to the worker; hv-domain answers as JSON, {"ok": true} or an error.  A later connection takes the place of an
 * earlier one.  ({"op": "look"} is answered with {"pages"}, as in status, and ends.)  From then on packets: struct pages_hdr, then
 *
 *   kind              from     payload
 *   PAGES_OWED        domain   count runs: what it lacks; in as many packets as it takes, again whenever a worker is new
 *   PAGES_OWED_END    domain   none: that was all of it
 *   PAGES_FAULT       domain   count frames that something waits for
 *   PAGES_PRESENT     domain   none: nothing is owed (any more)
 *   PAGES_DATA        worker   count frames (u64), then count pages
 *   PAGES_ZEROS       worker   count runs
 *   PAGES_EXHAUSTED   worker   none: the source has no more of what it was asked for; answered by PAGES_PRESENT, or PAGES_OWED anew
 *
 * What is not owed is not taken: a page that is there is the guest's, and newer.
 */
#ifndef LIB_PROTO_PAGES_H
#define LIB_PROTO_PAGES_H

#include <stdint.h>

enum pages_kind { PAGES_OWED = 1, PAGES_OWED_END, PAGES_FAULT, PAGES_PRESENT, PAGES_DATA, PAGES_ZEROS, PAGES_EXHAUSTED };

#define PAGES_SIZE 4096u
#define PAGES_DATA_MAX 16u                     /* pages a packet */
#define PAGES_RUNS_MAX 1024u                   /* runs a packet */
#define PAGES_FAULTS_MAX 64u

struct pages_hdr { uint32_t kind, count; };
struct pages_run { uint64_t first, count; };

#define PAGES_PACKET_MAX (sizeof(struct pages_hdr) + PAGES_DATA_MAX * (8 + PAGES_SIZE))

_Static_assert(sizeof(struct pages_hdr) == 8 && sizeof(struct pages_run) == 16, "as they travel");
_Static_assert(sizeof(struct pages_hdr) + PAGES_RUNS_MAX * sizeof(struct pages_run) <= PAGES_PACKET_MAX, "one buffer fits any");

#endif
