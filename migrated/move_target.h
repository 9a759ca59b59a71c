/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move_target.h - the receiving side of a move, as its two files share it: move_target.c and target_links.c. */
#ifndef MIGRATED_MOVE_TARGET_H
#define MIGRATED_MOVE_TARGET_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrated/migrate_worker.h"
#include "migrated/page_sink.h"

#define NS_PER_S 1000000000ull
#define TARGET_SLOTS (WORKER_LINKS_MAX + 4)      /* of a session, and some that have not shown what they are */

struct target;

/* One connection besides the main one: a thread of its own. */
struct further {
	struct target *t;
	struct tls_link link;
	struct page_sink sink;
	pthread_t thread;
	bool used;                       /* the thread was started; the main thread's */
	/* under t->lock */
	bool over;                       /* the thread does no more than end */
	bool joined;                     /* it is one of the session's, with this index */
	unsigned index;                  /* 1 … */
	bool resumes;                    /* it is to be the main link of another session: t->next */
	struct stream_resume resume;
	int rc;
	bool ended;                      /* END came and its digest was right */
};

struct target {
	struct worker *w;
	json_t *hello;
	uint64_t attempt;
	long long domid;
	char uuid[64], source[LINK_NAME_MAX];   /* source: the node of the first connection's certificate */
	uint64_t frames, ram_frames;
	uint8_t *ram;
	int ram_fd, state_fd;
	uint32_t state_bytes;
	uint64_t pause_realtime_ns;      /* the source's pause in this node's clock; 0: not told */
	int64_t clock_offset_ns;         /* what this node's clock is ahead of the source's; version 2 tells it */
	bool clock_told;
	uint8_t token[STREAM_TOKEN_BYTES];
	unsigned version;                /* of the stream: the newest that both speak */
	unsigned links;                  /* connections agreed on */
	uint64_t reconnect_ns;           /* how long a broken connection is waited for; 0: not at all */
	/* what a stream may take: all of it from its first page on, and from one page to the next */
	uint64_t whole_ns, first_page_ns, accepted_ns;
	atomic_uint_least64_t page_ns;   /* any connection's last; 0: none came yet */
	/* post-copy: RAM frames whose content will come when the guest runs, words of it; NULL: none */
	uint64_t *owed;
	size_t owed_words;
	bool postcopy;                   /* this copy could run so, and the source asked for it */
	unsigned code_told;              /* lists of what the guest runs that came */
	bool rested, hurried;            /* a round is all there and nothing came since; what the guest waits for gets processors first */
	unsigned hurries;                /* so often has it been asked for, */
	uint64_t hurry_ns;               /* and when last */
	bool paused;                     /* the source has paused the guest: a connection that breaks now ends the move */
	bool said_ready;                 /* it may have let go of its copy since */
	unsigned owed_sets;              /* that came */
	struct page_map map;
	bool samples;                    /* of each page the digest has a sample: HELLO offers it, ANSWER takes it */
	struct page_sink sink;
	/* rounds over several connections: reached[i] counts the ROUND_ENDs of connection i */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	uint32_t reached[WORKER_LINKS_MAX];
	atomic_bool failed, ending;      /* this session; all of it */
	uint32_t session;                /* of connections: the number of the RESUME that began it, 0 at first */
	unsigned joined;                 /* further connections of this session */
	struct further *next;            /* asks to begin another session */
	struct further further[TARGET_SLOTS];
};

/* --- target_links.c --- */
void target_links_init(struct target *t);
/* A connection came to the end of round `round`: waits for the others.  The main thread (index 0) ticks meanwhile. */
int target_round_ended(struct target *t, unsigned index, uint32_t round);
/* CHECK: compared, and acknowledged on the same connection. */
int target_check(struct target *t, struct page_sink *sink, struct tls_link *link);
/* A page record of that connection has been taken. */
void target_paged(struct target *t);
/* Connections that migrated passed on get a thread each.  -ERESTART: one of them begins another session. */
int target_take_connections(struct worker *w, void *arg);
/* All connections have ended well: waits for the slower ones. */
int target_wait_further(struct target *t);
/* Is rc the end of a connection that the source may make again? */
bool target_may_resume(struct target *t, int rc);
/* Waits until the source has connected again, and begins that session.  err: why the last one ended. */
int target_resume(struct target *t, struct err *err);
void target_links_end(struct target *t);

/* --- copy_word.c: two plain hosts (docs/adr/0007-two-plain-hosts.md) --- */
/* HELLO asks what copy is here, and perhaps has a word for it: answered.  0 or -errno with err. */
int copy_word_answer(struct target *t, struct err *err);
/* A ready copy of an earlier move from that very node would be in the way of this one: who moves it has it again, so it is out of date, and goes. */
int copy_word_outdated(struct target *t, struct err *err);
/* The move ended before GO.  A ready copy stays, unless the source said that its own runs on, or has not heard of READY. */
void copy_word_failed(struct target *t);

/* --- pages_fetch.c --- */
/* HELLO was of a page service: answers it and fetches until all is there.  0 or -errno with err. */
int pages_fetch_run(struct target *t, struct err *err);

#endif
