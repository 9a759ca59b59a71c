/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * octet_link.h - migrated/tls_link.h without network and TLS: what is read comes from a fuzzer's octets, what is written is counted, and
 * time passes by the call.  The octets are cut into connections, so that one that breaks can be made again.
 */
#ifndef TESTS_FUZZ_OCTET_LINK_H
#define TESTS_FUZZ_OCTET_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OCTET_CONNECTIONS 3u

/*
 * One input: u16 lengths of the first connections' octets, then all octets.  patience: how often one has to ask in vain before there is
 * something to read.  endless: behind the octets ALIVE comes, for ever.  ssl: what the links are to have (an SSL *), borrowed.
 */
void octet_link_begin(const uint8_t *data, size_t size, unsigned patience, bool endless, void *ssl);
/* One connection more, for worker_dial(): a number that stands for a descriptor, or -ECONNREFUSED when there is none left. */
int octet_link_dial(void);
/* Records of that type (below 64) that were written. */
unsigned octet_link_sent(uint16_t type);

#endif
