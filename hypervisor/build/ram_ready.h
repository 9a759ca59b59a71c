/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ram_ready.h - memory that is about to be written comes into being beside what writes it.
 *
 * Clearing 60 MiB takes the host as long as unpacking a kernel takes us.  Other threads do it from the lowest address on, in the
 * host's large pages, while the caller reads and unpacks; then they help to unpack.  Whoever needs memory that nobody has begun
 * with makes it itself, so that nothing is gained without a free processor, and nothing lost.
 */
#ifndef HV_BUILD_RAM_READY_H
#define HV_BUILD_RAM_READY_H

#include <stddef.h>
#include <stdint.h>

struct ram_ready;

/* [p, p + n) of a mapping, holes until now.  NULL: no memory for it; the functions below take that and do what is needed alone. */
struct ram_ready *ram_ready_begin(uint8_t *p, size_t n);
/* Returns when [p, upto) is there, as far as the host made it: it is a wish, and what is missing comes with a fault. */
void ram_ready_need(struct ram_ready *r, const uint8_t *upto);
/* fn(job, i) for each i below n, on all threads; returns when all have returned.  By one thread, the one that began. */
void ram_ready_each(struct ram_ready *r, unsigned n, void (*fn)(void *job, unsigned i), void *job);
/* Everything is there, the threads are gone, r is freed. */
void ram_ready_end(struct ram_ready *r);

#endif
