/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv_domain_pages.h - a guest that runs before all of its memory has come (docs/adr/0008-post-copy.md). */
#ifndef HV_DOMAIN_PAGES_H
#define HV_DOMAIN_PAGES_H

#include "hypervisor/hv_domain.h"

struct hv_pages;

/*
 * Before the sandbox, as root: a userfaultfd that also traps what the kernel touches for us.  listen_fd: where workers are brought
 * (pages.h).  What the kernel refuses makes post-copy impossible here and is no error.
 */
void hv_pages_init(struct hv *h, int listen_fd);
/* This copy came by no move: whoever would bring pages is refused.  Idempotent. */
void hv_pages_drop(struct hv *h);
bool hv_pages_possible(const struct hv *h);
/* An incoming copy: whose pages may be brought, and in which attempt. */
int hv_pages_expect(struct hv *h, uint64_t attempt, const char *from);
/*
 * What is owed, a bitmap of RAM frames (words of them); what the copy holds of it goes.  May be called again with more, until
 * hv_pages_begin(): from there on whoever touches such a frame waits for it.  0 or -errno with err: the copy is then of no use.
 */
int hv_pages_owe(struct hv *h, const uint64_t *bits, size_t words, struct err *err);
int hv_pages_begin(struct hv *h, struct err *err);
/* The guest gave these frames up: nobody is waited for.  Any thread. */
void hv_pages_forget(struct hv *h, uint64_t first, uint64_t n);
uint64_t hv_pages_left(const struct hv *h);
/* {"from", "owed_kib", "connected", "waiting"} while something is owed, else null. */
json_t *hv_pages_status(const struct hv *h);
/* The node the pages are on, while they are owed; "" else. */
const char *hv_pages_from(const struct hv *h);

#endif
