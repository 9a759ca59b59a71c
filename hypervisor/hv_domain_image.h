/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_image.h - a domain as records: what save, restore and both ends of a move share.
 *
 * Saving needs the store's part, which only hypervisord can get from xenstored: event store-wanted, answered by request
 * store-state.  Loading hands it back: to xenstored where that expects it (the target of a move), else event store-arrived, request
 * store-take, and store-done when channels stand.
 */
#ifndef HV_DOMAIN_IMAGE_H
#define HV_DOMAIN_IMAGE_H

#include "hypervisor/hv_domain.h"
#include "hypervisor/image/image.h"

/* Asks for the store's export; cb(h, fd, arg) with a descriptor it takes over, or -errno (err says why). */
typedef void hv_store_fn(struct hv *h, int fd, const struct err *err, void *arg);
void hv_image_store_want(struct hv *h, hv_store_fn *cb, void *arg);
/*
 * Takes the loaded export to xenstored, which expects it (hv_image_import_channel), or offers it to hypervisord; cb when everything is
 * connected.  fd is taken over.
 */
typedef void hv_done_fn(struct hv *h, int rc, const struct err *err, void *arg);
void hv_image_store_offer(struct hv *h, int fd, hv_done_fn *cb, void *arg);
/* The connection over which xenstored takes the store of this copy, once.  fd is taken over.  0 or -errno. */
int hv_image_import_channel(struct hv *h, int fd);
bool hv_image_store_is_wanted(void);
bool hv_image_store_is_offered(void);
void hv_image_forget(void);                    /* who waited is gone: callbacks are dropped */

/*
 * CPU, ABI, devices, store (store_fd: -1 for none); of a quiet domain.  previous: as the version before wrote it, see hv_image_previous().
 * 0 or -errno, in w->rc too.
 */
int hv_image_write_state(struct hv *h, struct image_writer *w, int store_fd, bool previous);
/*
 * Takes all records of an image just opened, whose header was found right, and closes it; unknown mandatory ones are refused, and pages
 * in one that is a state alone.  *ret_store_fd is a memfd once the store record came.  No vCPU has run yet, so the engine has nothing to forget.
 */
int hv_image_read(struct hv *h, struct image_reader *r, const struct image_header *hdr, int *ret_store_fd, struct err *err);
/* Is the image that c asks for to be as a Haven of migration stream version 1 wrote it: without OPERATOR and TSC? */
bool hv_image_previous(struct msg_call *c);
uint64_t hv_realtime_ns(void);

void hv_image_op_store_state(struct msg_call *c, void *h);
void hv_image_op_store_take(struct msg_call *c, void *h);
void hv_image_op_store_done(struct msg_call *c, void *h);
void hv_image_op_save(struct msg_call *c, void *h);
void hv_image_op_load(struct msg_call *c, void *h);

#endif
