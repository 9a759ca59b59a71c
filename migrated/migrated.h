/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrated.h - a move as migrated's four files share it: migrated.c (processes, requests), migrated_callers.c (who calls from the network),
 * migrated_turns.c (whose turn it is), migrated_pages.c (guests that run elsewhere before all of their memory has left).
 */
#ifndef MIGRATED_MIGRATED_H
#define MIGRATED_MIGRATED_H

#include <stdbool.h>
#include <netinet/in.h>
#include <sys/types.h>
#include <jansson.h>
#include <qb/qbloop.h>
#include "lib/conf.h"
#include "lib/msg.h"
#include "migrated/fair_slots.h"
#include "migrated/stream.h"

#define JOBS_MAX 32                  /* moves at a time, both directions */
#define TARGETS_MAX 8                /* addresses of a target */
#define NS_PER_MS 1000000ull

struct job {
	int control;                     /* -1: no worker yet */
	pid_t pid;
	struct msg_call *call;           /* who asked for it; NULL: incoming, or answered */
	struct msg_client *client;
	bool incoming, authenticated, handed;
	struct fair_caller caller;       /* incoming: whose connection it is */
	uint64_t since_ns;
	char uuid[64], target[64];       /* of a move, for events */
	json_int_t attempt;
	char token[2 * STREAM_TOKEN_BYTES + 1];
	qb_loop_timer_handle timer;      /* a stranger's time to show its certificate */
	struct sockaddr_storage target_at[TARGETS_MAX];   /* where its target listens, as the worker told once */
	unsigned targets;
	int dial_fd;                     /* being connected for the worker; -1: none */
	qb_loop_timer_handle dial_timer;
	json_t *request;                 /* of a move that has to wait for its turn; NULL: it has none to wait for */
	bool pages_done;                 /* of a move by post-copy: its page service ended well before the move did */
	bool pages, serving;             /* it is a page service; serving: it met the target, or has said why not */
	json_t *moved;                   /* pages: the reply of the move whose call this has taken over */
	unsigned told_before;            /* moves before it, as progress told last */
};

/* --- migrated.c --- */
/* Starts a worker for the job's request.  0, or -errno. */
int job_launch(struct job *j, struct err *err);
/* A worker with that request, which waits for no turn; NULL with err. */
struct job *job_begin(const json_t *request, struct err *err);
/* To who asked, and to all who listen; steals. */
void job_answer(struct job *j, json_t *reply);
/* Progress, to who asked and to all who listen. */
void job_progress(struct job *j, json_t *progress);
/* Answers with that error and forgets it; its worker, if any, sees its socket close. */
void job_refuse(struct job *j, int rc, const char *text);

/* A worker for a connection that was let in; tcp is borrowed. */
void job_incoming(int tcp, const struct fair_caller *caller);
/* It is out of the jobs; its worker, if any, sees its socket close. */
void job_free(struct job *j);

/* --- migrated_callers.c --- */
/* Listens.  jobs as in node_turns_init().  0 and the port, or -errno with err. */
int node_callers_init(qb_loop_t *loop, struct job **jobs, const struct conf *conf, int *ret_port, struct err *err);
/* One who was let in has shown a certificate. */
void node_callers_known(const struct fair_caller *who);

/* --- migrated_turns.c --- */
/* jobs: JOBS_MAX of them, borrowed for good. */
void node_turns_init(qb_loop_t *loop, struct job **jobs, unsigned sending_max);
/* A move that leaves this node: its request is set, its worker is not started. */
void node_turns_enter(struct job *j);
void node_turns_heard(struct job *j, const json_t *obj);
/* It ends; node_turns_go() once it is out of the jobs. */
void node_turns_leave(struct job *j);
/* Tells whose turn it is, as long as there is anything to tell. */
void node_turns_go(void);
/* Does a guest stand still just now, so that what can wait should? */
bool node_turns_hush(void);

/* --- migrated_pages.c --- */
/* jobs as in node_turns_init(). */
void node_pages_init(qb_loop_t *loop, struct job **jobs);
/* What a worker said: false for a last word that answers nobody, since another service goes on. */
bool node_pages_heard(struct job *j, const json_t *obj);
/* Its worker is gone. */
void node_pages_ended(struct job *j);
/* Is that a move whose pages are on their way?  Then its call, and the reply, wait for them. */
bool node_pages_answer_later(struct job *j, json_t *reply);
/* Of a page service: the move's figures with its own.  Steals reply. */
json_t *node_pages_reply(struct job *j, json_t *reply);
void node_pages_client_gone(const struct msg_client *client);

#endif
