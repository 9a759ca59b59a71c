/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain_new.h - how a struct domain comes to be and goes: memory, bitmaps, vCPU structures, then ABI and engine.
 *
 *	domain_new(&p, &d, err);        memory is there, all zero
 *	domain_attach(d, 0, err);       event channels, grants, engine, power-on vCPUs
 *	pv_build(d, ...) or the image's load
 *	domain_free(d);
 */
#ifndef HV_DOMAIN_NEW_H
#define HV_DOMAIN_NEW_H

#include "hypervisor/domain.h"
#include "lib/err.h"

#define DOMAIN_MIN_PAGES 1024UL                     /* 4 MiB: a kernel has to fit */
#define DOMAIN_MAX_PAGES (64UL << (30 - 12))        /* 64 GiB */

struct domain_params {
	const struct engine_ops *engine;   /* NULL: none, the domain is only looked at */
	uint16_t domid;
	uint8_t uuid[16];
	const char *name;
	uint64_t max_pages;                /* RAM frames of the number space (maxmem) */
	unsigned vcpus;
	int ram_fd;                        /* a sealed memfd of domain_memfd_bytes(), which domain_new takes over; -1: make one */
};

uint64_t domain_memfd_bytes(uint64_t max_pages);
/* 0 and *ret, or -errno with err; ram_fd is closed in both cases in the end (by domain_free, or here on error). */
int domain_new(const struct domain_params *p, struct domain **ret, struct err *err);
/* code_cache_bytes: the most that translations take, beside their records; 0: 64 MiB. */
int domain_attach(struct domain *d, size_t code_cache_bytes, struct err *err);
void domain_free(struct domain *d);                /* NULL allowed; no thread may use d any more */

/* The guest holds frames [0, n): populated bitmap and tot_pages. */
void domain_populate(struct domain *d, uint64_t n);
/* Machine-to-phys table: identity for frames the guest holds, invalid elsewhere. */
void domain_fill_m2p(struct domain *d);

#endif
