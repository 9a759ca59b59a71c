/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * front_end.h - what a micro-guest needs to be a front end (xen/io/xenbus.h): requests to the store, a device's states and keys,
 * grants and a channel for its back end.  Everything waits at most some seconds and fails the guest then; nothing takes events.
 */
#ifndef TESTS_ABI_FRONT_END_H
#define TESTS_ABI_FRONT_END_H

#include "micro_guest.h"
#include <xen/grant_table.h>
#include <xen/io/xenbus.h>

struct front { char path[32], back[64]; };             /* its own nodes, from the domain's; the back end's */

void front_start(void);                                /* before all the others */

/* ---- the store ---- */
const char *store_read(const char *path);              /* until the next request; NULL: none */
bool store_write(const char *path, const char *value);
void store_remove(const char *path);
/* One request and its answer: what was signalled before has been looked at by the back ends meanwhile. */
void store_settle(void);

/* ---- a device ---- */
void front_find(struct front *f, const char *path);
void front_text(const struct front *f, const char *key, const char *value);
void front_number(const struct front *f, const char *key, uint64_t value);
void front_state(const struct front *f, unsigned state);
uint64_t back_number(const struct front *f, const char *key);        /* 0: none */
unsigned back_reaches(const struct front *f, unsigned states);         /* one of the bits 1 << state; which */
void front_reset(const struct front *f);               /* whatever went on: closed, and begun again as far as InitWait */

/* ---- grants and channels ---- */
extern volatile struct grant_entry_v1 *grants;         /* the table's first frame */
#define GRANTS 512U
uint32_t grant_frame(uint64_t mfn, uint16_t flags);    /* a reference for Domain-0; flags beside permit_access */
uint32_t grant_page(const void *page, uint16_t flags);
bool grant_in_use(uint32_t ref);
uint32_t port_new(void);                               /* for Domain-0 to connect to */

/* ---- time ---- */
void breathe(void);                                    /* a moment's sleep */
bool waited(uint64_t since_ns, const char *what);      /* true; after some seconds it fails the guest */

/* ---- frames given up and taken back ---- */
uint64_t frame_give_up(void *page);                    /* its frame; the page may not be touched until it is taken back */
void frame_take_back(void *page);                      /* zeros */

/* ---- another vCPU: runs job again and again while it is set ---- */
extern void (*volatile job)(void);
void job_stop(void);                                   /* returns when it has ended */
void job_vcpu_start(void);

#endif
