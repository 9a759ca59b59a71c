/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord.h - the parts of hypervisord.
 *
 * The main thread (libqb loop) owns the domain table and every socket.  What may wait - helpers, hv-domain, xenstored, a
 * lost disk - is a job: a thread of its own that works with blocking calls and comes back to the main thread when it is done.
 * Jobs of one domain run one after the other, in the order asked; that is how "activate" and "destroy", "mark-handed" and
 * "resume-handed" are serialised.  While a domain's job runs, the fields marked J are the job's, else the main thread's.
 */
#ifndef HYPERVISORD_H
#define HYPERVISORD_H

#include <jansson.h>
#include <qb/qbloop.h>
#include <stdbool.h>
#include <stdint.h>
#include "lib/err.h"
#include "lib/msg.h"

#define HVD_MAX_DOMAINS 512
#define HVD_OVERHEAD_KIB (256u << 10)          /* a domain's process beside its RAM: code caches, tables, the ramdisk while it builds */
#define HVD_FIRST_UID 1879048192u              /* hv-domain's uid: this + domid; far above what useradd hands out */

struct hvd;
struct job;

struct dom {
	struct hvd *hvd;
	struct dom *next;
	uint16_t domid;
	char uuid[37], name[80];
	json_t *config;
	char config_hash[65];
	int64_t claim;                         /* epoch; 0: stands alone */
	uint64_t started_unix;
	bool incoming;                         /* came by `incoming`, not activated yet */

	char copy[16];                         /* as last heard */
	uint64_t attempt;                      /* as last heard, or as `incoming` said */
	char target[64];
	bool user_paused;                      /* as last heard, or as create said */
	json_t *pages, *serves;                /* as last heard: what is owed to this copy, whom it serves; NULL: nothing */
	int shutdown_reason;                   /* as last heard; -1: none */

	pid_t pid; int pidfd; uint64_t pid_start;          /* J: hv-domain; pid 0, pidfd -1: none */
	pid_t disk_pid; int disk_pidfd; uint64_t disk_start; /* J: hv-disk */
	struct helper *helpers;                /* J: begun, or of an incoming copy, that wait for its activation */
	int64_t helpers_until_ms;              /* J: for all that are asked from here on; 0: each has its own time */
	bool helpers_begun;                    /* J: devices_begin was called, vifs_open was not yet */
	bool has_iscsi;
	int disk_watched;                      /* descriptor of disk_pidfd the loop watches; -1: none */
	bool disk_away;                        /* hv-disk could not be begun again: that was said, and is tried every now and then */
	bool disk_released;                    /* hv-disk was told to let go: its end is none of supervision's */
	bool on_store, on_console;             /* J: introduced there */
	char reason[16];                       /* why it will be gone: for domain-destroyed */
	bool gone_seen;                        /* its hv-domain's end is being dealt with */
	bool settling;                         /* just activated: its console and its helpers are being seen to by a job */
	bool found;                            /* an earlier hypervisord's; its status was not heard yet */
	_Atomic bool hurried;                  /* what its guest waits for gets processors first (hypervisord_hurry.c) */
	bool landing;                          /* the guest runs, its worker is done, and what is left of that has a moment more */
	struct msg_client *hurry_client;       /* who asked for that: identity only, */
	pid_t hurry_pid; int hurry_worker;     /* process and pidfd */
	qb_loop_timer_handle hurry_timer;
	bool saving;                           /* a save is under way: the end of its hv-domain is that job's affair */

	struct msg_peer *peer;                 /* events of hv-domain */
	struct job *jobs_head, **jobs_tail;    /* waiting or running (the first) */
};

struct hvd {
	qb_loop_t *loop;
	struct msg_server *server;
	struct dom *doms;
	unsigned last_domid;
	struct msg_peer *store, *console;      /* to know when they (re)appear */
	int done_fd;                           /* eventfd: jobs have come back */
	struct pending *pending_head, **pending_tail;
	char hostname[65];
	unsigned disks_checked;                /* helpers of `takes` under way */
	uint64_t reserved_kib;                 /* memory of copies being made, not yet in anybody's status */
};

/* --- jobs (hypervisord_job.c) --------------------------------------------------------------------------------------- */

#define JOB_MAX_FDS MSG_MAX_FDS

struct job {
	struct hvd *h;
	struct dom *dom;                       /* NULL: none in particular */
	struct pending *pending;               /* who waits for the reply; NULL: nobody */
	json_t *req;                           /* the request, or NULL */
	int in_fd;                             /* fd[0] of the request, or -1; closed with the job */
	void (*work)(struct job *);            /* thread; may be NULL */
	void (*done)(struct job *);            /* main thread, may be NULL; before the reply goes out */
	bool hurried;                          /* a guest waits for it while it stands still */
	bool cancelled;                        /* the client went away (set by the main thread, read by the job) */
	/* result */
	int rc; struct err err;
	json_t *reply;
	int fds[JOB_MAX_FDS], nfds;            /* of the reply; closed after it */
	/* private to an operation */
	json_t *data; int64_t number; bool flag;
	struct dom *shadow;                    /* a copy of the domain's identity, for work beside its jobs; owned */
	struct job *next;                      /* of the domain's queue */
	struct job *back_next;                 /* among those that came back */
};

int jobs_init(struct hvd *h);
/* A job for a request; takes fd 0 and the request.  Every request is answered in its client's order. */
struct job *job_new(struct hvd *h, struct msg_call *call, struct dom *dom);
void job_start(struct job *j);                 /* now, or after the domain's earlier jobs */
void job_start_beside(struct job *j);          /* beside the domain's jobs: j->dom is NULL, it has a shadow */
void job_pending_move(struct job *from, struct job *to);   /* who waits for one waits for the other */
void job_finish_now(struct job *j);            /* for jobs that need no thread */
int job_fail(struct job *j, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void job_progress(struct job *j, json_t *progress);   /* any thread; steals */
void job_client_gone(struct hvd *h, struct msg_client *client);

/* --- table (hypervisord_table.c) -------------------------------------------------------------------------------------- */

struct dom *dom_by_id(struct hvd *h, int64_t domid);
struct dom *dom_by_name(struct hvd *h, const char *name);
struct dom *dom_by_uuid(struct hvd *h, const char *uuid);
/* New entry in state `copy`; checks name, uuid, domid (0: next free) for being free.  NULL with err. */
struct dom *dom_add(struct hvd *h, const json_t *config, int64_t domid, int64_t claim, const char *copy, struct err *err);
void dom_remove(struct dom *d);                /* forgets it, with its files under RUN/domain */
int dom_record_write(const struct dom *d);     /* RUN/domain/DOMID.json */
void doms_find(struct hvd *h);                 /* at start: those of an earlier hypervisord */
json_t *dom_object(const struct dom *d);       /* what the table alone knows */
void dom_config_set(struct dom *d, json_t *config);   /* main thread; steals: in force, written down, told */
int dom_name_check(struct hvd *h, const char *name, struct err *err);   /* a name, and free */
unsigned vif_number(const json_t *vif, size_t place); /* its devid: what a detach of another left it, or its place in the list */
int dom_path(char *buf, size_t n, unsigned domid, const char *suffix);
const char *config_str(const json_t *config, const char *key, const char *dflt);
int64_t config_int(const json_t *config, const char *key, int64_t dflt);

/* --- hv-domain (hypervisord_child.c); blocking, jobs only ------------------------------------------------------------ */

int child_start(struct dom *d, struct err *err);           /* execs hv-domain; its control socket answers */
int child_begin(struct dom *d, struct err *err);           /* the same in two halves: the process is there, */
int child_answers(struct dom *d, struct err *err);         /* and answers */

/* One process of a domain, as systemd and its reader are to know it. */
struct scope {
	const char *kind;		/* the unit is KIND-DOMID.scope */
	const char *what, *name;	/* "WHAT of NAME": what systemctl status shows */
	uint32_t domid;
	uint64_t memory_kib;		/* MemoryMax */
	const char *after_kind;		/* that scope of this domain outlives this one at a shutdown; or NULL */
};
pid_t scope_spawn(char *const argv[], const struct scope *scope, const int *fds, int nfds, int *ret_pidfd, struct err *err);

int child_kill(struct dom *d);                             /* gone for sure, hv-disk too; 0 or -ETIMEDOUT */
/* One control request; steals req.  *ret_reply and *ret_fds may be NULL. */
int child_call(struct dom *d, json_t *req, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds,
	       int timeout_ms, struct err *err);
/* The same in two halves.  ask: a connection, for await, which closes it.  A process that does not listen yet answers when it does. */
int child_ask(struct dom *d, json_t *req, const int *fds, int nfds, struct err *err);
int child_await(struct dom *d, int sock, const char *op, json_t **ret_reply, int timeout_ms, struct err *err);
void child_watch(struct dom *d);                           /* main thread: pidfd and events */
void child_unwatch(struct dom *d);
void disk_watch(struct dom *d);
void disk_unwatch(struct dom *d);

/* --- devices (hypervisord_devices.c); blocking, jobs only ------------------------------------------------------------- */

enum disk_use { DISK_CHECK, DISK_INCOMING, DISK_USE };
int disks_open(struct dom *d, enum disk_use use, bool preempt, struct err *err);   /* files and blocks, hv-disk */
int devices_begin(struct dom *d, enum disk_use use, struct err *err);  /* helpers begin on what disks_open(use), vifs_open then ask for */
int disks_activate(struct dom *d, struct err *err);                               /* after GO: opened for use */
int vifs_open(struct dom *d, struct err *err);             /* taps, which hv-domain is told of */
void vifs_up(struct dom *d);                               /* after GO: an incoming copy's taps; errors are logged */
void devices_close(struct dom *d);                         /* taps removed, hv-disk shut down; errors are logged */
int disk_supervise(struct dom *d, struct err *err);        /* hv-disk again, for one that died or let go */
int disks_release(struct dom *d, struct err *err);         /* drained, reservations released; files stay hv-domain's */
int disks_reopen(struct dom *d, struct err *err);          /* after a release: all disks again, for use */
void disk_supervision_init(struct hvd *h);
/* Of a domain that runs; config is its configuration as it is to become.  The store's nodes are the caller's. */
int device_disk_attach(struct dom *d, const json_t *config, json_t *disk, struct err *err);
int device_vif_attach(struct dom *d, json_t *vif, unsigned devid, struct err *err);
int device_disk_detach(struct dom *d, const json_t *config, const json_t *disk, bool force, struct err *err);
int device_vif_detach(struct dom *d, unsigned devid, bool force, struct err *err);
void disk_gone(struct dom *d);                             /* main thread: hv-disk ended */
void disk_again_later(struct dom *d);                      /* main thread: after a while, where the domain should have an hv-disk and has none */

/* --- root helpers (hypervisord_helper.c); blocking, jobs only.  All steal req; ret_reply and ret_fd may be NULL. ------------ */

int helper_call(const char *name, json_t *req, json_t **ret_reply, int *ret_fd, struct err *err);
/* The two halves of a call, under a key of the domain's (at most 31 octets), so that several helpers work at a time. */
int helper_begin(struct dom *d, const char *key, const char *name, json_t *req, struct err *err);
/* keep: the helper stays for one more request (it was begun with "wait"), until helpers_end. */
int helper_answer(struct dom *d, const char *key, bool keep, json_t **ret_reply, int *ret_fd, struct err *err);
/* Asks the kept one; a fresh one where there is none or it fails. */
int helper_kept_call(struct dom *d, const char *key, const char *name, json_t *req, json_t **ret_reply, int *ret_fd, struct err *err);
/* An answer without waiting longer than the helper has: one that did not answer in time (-ETIMEDOUT) stays, until helpers_end. */
int helper_try(struct dom *d, const char *key, json_t **ret_reply, struct err *err);
bool helper_begun(struct dom *d, const char *key);
/* Helpers that are begun, or kept ones that are asked, from here on have so much time together; 0: each its own again. */
void helpers_within(struct dom *d, int ms);
void helpers_end(struct dom *d);

/* --- store and console (hypervisord_store.c); blocking, jobs only ------------------------------------------------------ */

int store_prepare(struct dom *d, struct err *err);         /* nodes, but for those of the guest's rings, which are not known yet */
int store_introduce(struct dom *d, const json_t *status, struct err *err);  /* the rings' nodes, channels */
int store_channels(struct dom *d, struct err *err);        /* fresh channels only */
int store_expect(struct dom *d, struct err *err);          /* channels of a copy to come, whose process will import its store */
void store_wipe(struct dom *d);                            /* leftovers under its number, before it begins */
void store_release(struct dom *d);                         /* nodes and connection go; errors are logged */
int store_write(const char *path, const char *value, struct err *err);
char *store_read(const char *path);                        /* malloc'd; NULL: no such node, or xenstored is away */
int store_remove(const char *path);
int store_disk_add(struct dom *d, const json_t *disk, struct err *err);
int store_vif_add(struct dom *d, const json_t *vif, unsigned devid, struct err *err);
int store_vm_renamed(struct dom *d, const char *uuid, const char *name, struct err *err);
int console_attach(struct dom *d, struct err *err);        /* the same in two halves: its pty is there and hv-domain's end in *ret_fd, */
int console_open(struct dom *d, int *ret_fd, struct err *err);
int console_connect(struct dom *d, int fd, struct err *err);   /* which hv-domain gets; takes fd */
void console_name(struct dom *d);   /* the pty xenconsoled has for it, into the store: after xenstored came back */
void console_detach(struct dom *d);
int store_node0(const char *hostname, struct err *err);    /* Domain-0's own nodes */
int store_call(json_t *req, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds, struct err *err);

void hvd_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* the log, and xl dmesg */

/* --- run-time changes (hypervisord_change.c) --------------------------------------------------------------------------- */

void op_change(struct msg_call *c, void *h);               /* every request of its table */
/* Blocking, jobs only: limits, pinning and share of the configuration, on a copy just made.  Failures are logged: it runs without. */
void change_limit_apply(struct dom *d);
void change_cpu_apply(struct dom *d);
int cgroup_set(struct dom *d, int64_t weight, int64_t cap, struct err *err);   /* hypervisord_cgroup.c */

/* --- the guest's own end (hypervisord_end.c) ----------------------------------------------------------------------------- */

void guest_ended(struct dom *d, int reason);               /* main thread; SHUTDOWN_* of <xen/sched.h> */
int dom_core_keep(struct dom *d, struct err *err);         /* blocking: its core, into /var/lib/xen/dump/NAME */

/* --- a guest that stands still (hypervisord_hurry.c); main thread --------------------------------------------------------- */

void op_hurry(struct msg_call *c, void *h);
void hurry_end(struct dom *d);
void hurry_guest(const struct dom *d);                     /* its vCPUs as well: any thread, while it is `hurried` and its process there */
void hurry_client_gone(struct hvd *h, const struct msg_client *client);
void hurry_found(const struct dom *d);                     /* an earlier hypervisord's: what that one raised is lowered, */
void hurry_store_found(const struct hvd *h);               /* and xenstored */

/* --- operations -------------------------------------------------------------------------------------------------------- */

extern const struct msg_op hvd_ops[];
void op_create(struct msg_call *c, void *h);
void op_restore(struct msg_call *c, void *h);
void op_image_info(struct msg_call *c, void *h);
void op_save(struct msg_call *c, void *h);
void op_destroy(struct msg_call *c, void *h);
void op_list(struct msg_call *c, void *h);
void op_node_info(struct msg_call *c, void *h);
void op_incoming(struct msg_call *c, void *h);
void op_pages_open(struct msg_call *c, void *h);
void op_serve_open(struct msg_call *c, void *h);
void op_pages_served(struct msg_call *c, void *h);
void op_pages_lost(struct msg_call *c, void *h);
void op_migrate_open(struct msg_call *c, void *h);
void op_mark_handed(struct msg_call *c, void *h);
void op_activate(struct msg_call *c, void *h);
void op_takes(struct msg_call *c, void *h);
void op_activated(struct msg_call *c, void *h);
void op_resume_handed(struct msg_call *c, void *h);
void op_quorum_pause(struct msg_call *c, void *h);
void op_quorum_resume(struct msg_call *c, void *h);

/* The domain of a request by domid, name or uuid; NULL: the error was sent. */
struct dom *request_dom(struct hvd *h, struct msg_call *c);
/* Ends a domain by a job of its own and says so with `reason`; restart: begins it again afterwards. */
void dom_end(struct dom *d, const char *reason, bool restart);
void dom_end_dumped(struct dom *d, const char *reason, bool restart);   /* its core is written first */
void dom_restart(struct hvd *h, json_t *config);   /* as a domain of its own, with the next number */
void dom_end_for(struct job *waiting, const char *reason);   /* whoever waits for that job waits for the end */
struct dom *dom_admit(struct hvd *h, const json_t *config, int64_t domid, int64_t claim, int64_t grant, const char *copy,
		      struct err *err);
void dom_end_work(struct job *j);              /* blocking part: everything of it is gone */
/* A domain whose steps into being ended with rc: at an error everything of it goes, and that error stays the job's. */
void dom_undo(struct job *j, int rc, const char *what);
void dom_forget(struct job *j);                /* the entry of j's domain goes; j->dom is NULL then */
bool dom_destroy_waits(const struct job *j);   /* a request to destroy j's domain, whatever its state, waits behind j */
void dom_event(struct dom *d, const char *event);
void dom_store_wanted(struct dom *d);          /* hv-domain asks for the store's export */
void dom_release_wanted(struct dom *d);        /* hv-domain gives its disks up */
void dom_store_arrived(struct dom *d);         /* hv-domain holds a store image to import */
uint64_t node_memory_total_kib(void);
uint64_t node_memory_free_kib(void);
int node_memory_grow_check(struct hvd *h, const struct dom *d, uint64_t more_kib, struct err *err);
int cpu_baseline_read(json_t **ret, struct err *err);          /* haven.conf's; 0 and a new array of names, or NULL when there is none */
int node_memory_check(struct hvd *h, const json_t *config, struct err *err);
int activated_write(const char *uuid, uint64_t attempt);
/* A number of this host's own for each start without a claim: what a save of it is held against. */
uint64_t started_next(const char *uuid);
int started_write(const char *uuid);
int started_read(const char *uuid, uint64_t *ret);          /* 0 and *ret (0: never), or -errno */
/* The attempt whose copy ran here: the cluster's, or of two plain hosts; kept apart, since the two count differently. */
int ran_write(const struct dom *d, uint64_t attempt);
/* What ran_write will say lies on disk beside it already, unsaid: before the pause, so that saying it costs one commit. */
int ran_prepare(const struct dom *d, uint64_t attempt);
int ran_read(const struct dom *d, uint64_t *ret);
int activated_read(const char *uuid, uint64_t *ret, bool *ret_known);

#endif
