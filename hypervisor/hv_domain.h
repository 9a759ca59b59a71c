/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain.h - the parts of an hv-domain process.
 *
 * Threads: control (main: libqb loop, this file's structures), I/O (devices/, io_loop), one a vCPU; while a guest comes, one that makes its
 * code ready (hv_domain_ahead.c).  Everything in struct hv belongs to the control thread.  The control thread calls the I/O thread with
 * hv_io_call() and waits; the others reach the control thread through hv_post() alone and never wait for it.
 */
#ifndef HV_DOMAIN_PROCESS_H
#define HV_DOMAIN_PROCESS_H

#include <jansson.h>
#include <qb/qbloop.h>
#include "hypervisor/devices/devices.h"
#include "hypervisor/domain.h"
#include "hypervisor/hv_domain_copy.h"
#include "lib/msg.h"

struct hv_move;                        /* hv_domain_move.c: one migration channel */
struct hv_posts;
struct hv_pages;                       /* hv_domain_pages.c */

struct hv {
	struct domain *d;
	struct copy copy;
	qb_loop_t *loop;
	struct msg_server *control;
	struct io_loop *io;
	struct devices *ds;
	pthread_t io_thread;
	struct hv_posts *posts;        /* queues between the threads */
	json_t *disk_sectors;          /* {vdev: sectors of 512 octets} */
	json_t *config;                /* as hypervisord gave it; travels in the image */
	bool have_guest;               /* memory and vCPUs hold a guest: built or loaded */
	bool serving;                  /* devices_start was called */
	bool executing;                /* vCPU threads are not paused */
	bool drained;                  /* devices stand still */
	bool has_iscsi;
	char from[64];                 /* the node this copy came from by a move; "" */
	bool keeps_ready;              /* nobody can tell a ready copy what became of the other one but that node, or an operator */
	bool activating;               /* hypervisord is about to activate: the channel's end no longer ends the copy */
	bool end_told;                 /* hypervisord was told of the guest's own end */
	bool release_wanted;           /* hypervisord is to have hv-disk let its disks go */
	bool released;                 /* disks are closed: of a handed copy */
	uint64_t started_unix;
	struct hv_move *move;
	struct hv_pages *pages;        /* NULL: this copy has to have all of its memory before it runs */
	bool served;                   /* in mid-move: the target has all of it before the copy was handed */
	json_t *serves;                /* of a handed copy whose memory the target still fetches: to where (messages.md); NULL: it does not */
};

/* hv_domain_threads.c */
int hv_threads_init(struct hv *h);                              /* queues, I/O thread; before the sandbox */
typedef int hv_io_fn(struct hv *h, void *arg);
int hv_io_call(struct hv *h, hv_io_fn *fn, void *arg);          /* runs fn on the I/O thread; its result */
/* The same, waiting ms at most: -EAGAIN when it still runs, or an earlier one does; arg has to stay. */
int hv_io_try(struct hv *h, hv_io_fn *fn, void *arg, unsigned ms);
void hv_post(struct hv *h, void (*fn)(struct hv *h, int n), int n);  /* any thread: fn runs on the control thread later */

/* hv_domain_run.c: whether the guest executes follows from copy, shutdown and drain; one function makes it so. */
void hv_sync_execution(struct hv *h);
int hv_start_serving(struct hv *h);                             /* devices may touch disks, and serve */
int hv_build(struct hv *h, const json_t *req, int kernel_fd, int ramdisk_fd, struct err *err);
int hv_devices_create(struct hv *h);                            /* store and console; before the sandbox */
void hv_guest_ended(struct hv *h, int reason);                  /* posted when shutdown_reason was set */
void hv_changed(struct hv *h);                                  /* event domain-changed to hypervisord */
void hv_event(struct hv *h, const char *name, json_t *fields);  /* steals */
json_t *hv_status(struct hv *h);
/*
 * vCPUs stop, devices drain; done(h, rc, arg) on the control thread when guest memory is quiet.  hv_unquiesce serves again, and
 * takes a drain under way back (done gets -ECANCELED).
 */
typedef void hv_quiet_fn(struct hv *h, int rc, void *arg);
void hv_quiesce(struct hv *h, hv_quiet_fn *done, void *arg);
void hv_unquiesce(struct hv *h);

/* hv_domain_control.c */
int hv_control_start(struct hv *h, int listen_fd);

/* hv_domain_change.c: what is changed of a guest that is there (docs/specs/messages.md) */
void hv_change_op_remove_disk(struct msg_call *c, void *h);
void hv_change_op_remove_vif(struct msg_call *c, void *h);
void hv_change_op_mem_limit(struct msg_call *c, void *h);
void hv_change_op_trigger(struct msg_call *c, void *h);
void hv_change_op_rename(struct msg_call *c, void *h);
void hv_change_op_dump_core(struct msg_call *c, void *h);
void hv_change_op_let_go(struct msg_call *c, void *h);

/* hv_domain_sandbox.c */
/* Refuses what cannot be done while pages are on their way: true, and c was answered. */
bool hv_pages_in_the_way(struct hv *h, struct msg_call *c, const char *what);

int hv_sandbox_enter(uid_t uid, uint64_t ram_bytes, struct err *err);

/* hv_domain_move.c */
/* preserved: the guest's own end, if it has ended, was dealt with, and the domain stays */
void hv_move_open(struct hv *h, struct msg_call *call, uint64_t attempt, const char *target, bool preserved);
void hv_move_release(struct hv *h);                             /* of a handed copy: what needs nobody else; the rest is release_wanted */
void hv_move_op_release_done(struct msg_call *c, void *h);
/* keep: a copy that is ready outlives the channel: no cluster's record says later whether the source let it go */
void hv_move_incoming(struct hv *h, struct msg_call *call, uint64_t attempt, const char *from, bool keep);
void hv_move_op_serve_open(struct msg_call *c, void *h);
void hv_move_op_pages_served(struct msg_call *c, void *h);
void hv_move_op_pages_lost(struct msg_call *c, void *h);

#endif
