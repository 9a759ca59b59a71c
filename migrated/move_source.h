/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move_source.h - the sending side of a move, as its files share it: move_source.c, source_meet.c, source_words.c, source_round.c,
 * source_links.c, source_turn.c, source_code.c. */
#ifndef MIGRATED_MOVE_SOURCE_H
#define MIGRATED_MOVE_SOURCE_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrated/ledger.h"
#include "migrated/migrate_worker.h"
#include "migrated/page_source.h"
#include "migrated/precopy.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define SOURCE_TARGETS_MAX 8
#define PINGS 3                      /* to compare clocks; cookies from here on say that something arrived */

struct source;

struct sender {
	struct source *s;
	struct tls_link *link;
	struct tls_link own;             /* of the further ones */
	struct page_source pages;
	struct ledger ledger;            /* sent, not acknowledged */
	pthread_t thread;
	bool main;
};

enum phase { PHASE_PREFLIGHT, PHASE_PREPARE, PHASE_PRECOPY, PHASE_RECONNECT, PHASE_LAST_PAGES, PHASE_STATE, PHASE_READY, PHASE_HANDOVER,
	     PHASE_ACTIVATE, PHASE_NR };

struct source {
	struct worker *w;
	const json_t *request;
	const char *target, *address, *uuid;
	int port;
	bool only_ask, handed, go_sent;
	const char *word;                /* only asks, what copy is there, and says this of it ("": nothing); NULL: another question */
	json_t *copy;                    /* the answer to it */
	json_int_t domid, attempt;
	json_t *config, *features, *problems, *disk_sectors;
	int ram_fd;
	uint64_t frames, ram_pages;
	/* bitmaps of `words` words: what this round sends, less what was acknowledged; what the log gave last; frames that hold nothing as the
	 * move begins (until the target knows) */
	uint64_t *todo, *snap, *holes;
	size_t words;
	const uint8_t *look;             /* its memory, mapped while there is holes: the first round meets most of the zero pages; NULL: not */
	struct stream_accept accept;
	struct sender sender[WORKER_LINKS_MAX];
	unsigned links, want_links;      /* connections there are; that the policy asks for */
	char target_at[SOURCE_TARGETS_MAX][LINK_ADDRESS_MAX];    /* numeric: where the target listens */
	unsigned targets;
	bool resumable;                  /* both speak of CHECK and RESUME, and the policy lets a broken connection be made again */
	uint32_t session;                /* of connections: counts the attempts to make them again */
	unsigned resumed;
	atomic_uint acks;                /* that came */
	atomic_uint fruitless;           /* sessions since something was acknowledged */
	bool zeros_sent, zeros_known;    /* holes: said, and acknowledged */
	struct precopy_config cfg;
	struct precopy precopy;
	unsigned throttle;               /* thousandths that hv-domain was told */
	/* a round over several connections */
	_Atomic size_t next_word;
	_Atomic uint64_t done_pages, done_bytes;
	uint64_t told_pages, told_bytes;
	atomic_int failed;               /* -errno of a further connection */
	bool paused, hurried;
	bool in_round;                   /* its ROUND_END is the next one; else that of the round to come */
	unsigned codes;                  /* lists of its code that the target takes */
	bool samples;                    /* the target digests a sample of each page */
	uint64_t code_ready_ns;          /* when the target will have made ready what was told of the guest's code, as far as it is waited for */
	bool user_paused;                /* by its operator */
	bool turns;                      /* migrated gives turns to the moves that leave this node */
	bool holding;                    /* the pause is ours */
	atomic_uint loud;                /* further connections that have not held still yet */
	uint64_t waited_ns;              /* before its turn to begin came */
	bool cut;                        /* the deadline ended a round early: what is left of it is owed */
	/* post-copy: RAM frames that go when the guest runs at the target; NULL: none */
	uint64_t *owed;
	uint64_t owed_pages;
	int64_t clock_offset_ns;         /* target's CLOCK_REALTIME − ours */
	uint64_t begin_ns, pause_ns, pause_realtime_ns, go_ns, done_ns, run_ns;
	enum phase phase;
	uint64_t phase_begin_ns, phase_ns[PHASE_NR];
};

/* --- move_source.c --- */
void source_enter_phase(struct source *s, enum phase p);
/* The domain's migration channel, its memory and bitmaps; nothing when it is open already. */
int source_open_memory(struct source *s, struct err *err);
/* A request on the migration channel: *ret_fd (may be NULL) is the caller's. */
int source_channel_call(struct source *s, const char *op, int *ret_fd, struct err *err);
/* What was written since the last look goes into snap. */
int source_read_log(struct source *s, uint64_t *ret_pages, struct err *err);

/* --- source_meet.c --- */
/* Up to the target's ANSWER.  0, or -errno: also when it names problems. */
int source_meet(struct source *s, struct err *err);
/* From ACCEPT on, up to the first page. */
int source_prepare(struct source *s, struct err *err);
/* clock_offset_ns, anew. */
int source_compare_clocks(struct source *s, struct err *err);

/* --- source_words.c --- */
/*
 * The next record of the main link, which has to be of that type, within that type's time (lib/deadlines.h).  ret_body: malloc'd, the
 * caller's, ret_n octets; both may be NULL of a type without one.
 */
int source_expect(struct source *s, uint16_t type, uint8_t **ret_body, uint32_t *ret_n, struct err *err);
/* ANSWER, into problems: of a move, one is enough to end it. */
int source_read_answer(struct source *s, struct err *err);
/* ACCEPT, into accept; it settles whether connections resume and whether pages may be owed. */
int source_read_accept(struct source *s, struct err *err);
/* One round trip; the target's clock at its turning point. */
int source_ping(struct source *s, uint64_t cookie, uint64_t *ret_theirs, struct err *err);
int source_read_resumed(struct source *s, struct err *err);
/* DONE, into run_ns; -errno: the guest does not run there, and why. */
int source_read_done(struct source *s, struct err *err);
/* What the target says in the middle of a round: that it lives, what it has, that it gives up.  wait: until it has said something. */
int source_hear(struct sender *n, bool wait, struct err *err);

/* --- source_code.c --- */
/* What the guest runs from here on is noted. */
int source_watch_code(struct source *s, struct err *err);
/* As the first round begins, and after it: what was noted and not told yet. */
int source_tell_code(struct source *s, bool begins, struct err *err);
/*
 * A guest that writes next to nothing could be stopped before the target has made anything ready: it runs on for as long as that takes,
 * and what it writes meanwhile is a round more.  true: it did.
 */
bool source_code_needs_time(const struct source *s);

/* --- source_turn.c --- */
/* Before the target is met: a move that has to wait tells how large its guest is and how fast it writes, and waits. */
int source_turn_begin(struct source *s, struct err *err);
int source_turn_send(struct source *s, struct err *err);
/* Before the guest is stopped.  *action becomes another round when that took so long that one is worth it. */
int source_turn_pause(struct source *s, enum precopy_action *action, struct err *err);
/* Between two stretches of a round: holds still while another guest is paused, once what was sent is there. */
int source_turn_yield(struct sender *n, struct err *err);
/* The guest runs again. */
void source_turn_over(struct source *s);

/* --- source_links.c --- */
/* Where the target listens, and a TCP connection to it: while the worker may still open sockets. */
int source_connect(struct source *s, struct err *err);
/* The main link as it is: while the move waits for its turn to send.  A further one has nobody who says now and then that it lives. */
int source_join_main(struct source *s, struct err *err);
/* The main link as it is, and as many further ones as were agreed. */
int source_join_links(struct source *s, struct err *err);
/* Is rc, of a round, a connection's failure that another connection may mend? */
bool source_may_resume(const struct source *s, int rc);
/* err: why it broke.  0: connected again, and todo names what is to be sent; else it ends here. */
int source_resume(struct source *s, struct err *err);

/* --- source_round.c --- */
int source_maps_new(struct source *s, struct err *err);
void source_maps_free(struct source *s);
uint64_t source_count(const struct source *s, const uint64_t *map);
/* Pages that something said next needs: over the main link, before it.  They stay in the round's todo: nobody acknowledges them. */
int source_send_beforehand(struct source *s, const uint64_t *map, struct err *err);
/* The first round's todo, from snap: what of it is data; the rest goes as zeros. */
int source_begin_with_everything(struct source *s, struct err *err);
/* Sends what todo names and ends the round on every connection. */
int source_send_round(struct source *s, struct err *err);
/* Ends a round that the deadline broke off: all that went is there, and todo names (at least) the rest. */
int source_cut_round(struct source *s, struct err *err);
/* todo becomes what the log gave last. */
void source_next_round(struct source *s);

#endif
