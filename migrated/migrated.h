/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrated.h - a move as migrated's two files share it: migrated.c (processes, requests, connections),
 * migrated_turns.c (whose turn it is).
 */
#ifndef MIGRATED_MIGRATED_H
#define MIGRATED_MIGRATED_H

#include <stdbool.h>
#include <netinet/in.h>
#include <sys/types.h>
#include <jansson.h>
#include <qb/qbloop.h>
#include "lib/msg.h"
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
	char uuid[64], target[64];       /* of a move, for events */
	char token[2 * STREAM_TOKEN_BYTES + 1];
	qb_loop_timer_handle timer;      /* a stranger's time to show its certificate */
	struct sockaddr_storage target_at[TARGETS_MAX];   /* where its target listens, as the worker told once */
	unsigned targets;
	int dial_fd;                     /* being connected for the worker; -1: none */
	qb_loop_timer_handle dial_timer;
	json_t *request;                 /* of a move that has to wait for its turn; NULL: it has none to wait for */
	unsigned told_before;            /* moves before it, as progress told last */
};

/* --- migrated.c --- */
/* Starts a worker for the job's request.  0, or -errno. */
int job_launch(struct job *j, struct err *err);
/* Progress, to who asked and to all who listen. */
void job_progress(struct job *j, json_t *progress);
/* Answers with that error and forgets it; its worker, if any, sees its socket close. */
void job_refuse(struct job *j, int rc, const char *text);

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

#endif
