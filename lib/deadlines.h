/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * deadlines.h - how long the steps of a move may take, as one tree (docs/adr/0009-deadlines.md).
 *
 * Who waits for somebody who waits himself waits longer than that one does: the child's own error, which names what hung, gets to the
 * parent before the parent's patience ends.  So a parent's deadline is written as the sum of its children's, one after the other, each
 * class of them once (a process that hangs fails the first request, and the step with it), plus the way; the assertions below hold who changes a
 * leaf to it.  None of these decides who owns a guest: what a step that runs out of time means is settled as any other failure of it.
 *
 * Milliseconds.  deadline() is what callers use.
 */
#ifndef LIB_DEADLINES_H
#define LIB_DEADLINES_H

enum {
	/* --- leaves: one process of this node answers -------------------------------------------------------------------- */
	DL_WAY = 4000,               /* the network's part of a question over the link, and a process's turn on a busy node */
	DL_DAEMON = 10000,           /* a local daemon or hv-domain: an ordinary request */
	DL_STORE = 10000,            /* xenstored */
	DL_HELPERS = 15000,          /* haven-storage and haven-network: all of a domain's, begun together */
	DL_TARGET_IO = 5000,         /* one command to an iSCSI target */
	DL_ISCSI = 6 * DL_TARGET_IO, /* hv-disk: log in, size, reservation read, register, pre-empt, read again */
	DL_CHILD_START = 30000,      /* hv-domain: exec to its first answer */
	DL_STATUS = 2000,            /* hv-domain says how it is; one that does not in a list is listed without */
	DL_GONE = 15000,             /* a killed process of a domain: all of its memory given back */
	DL_GREETING = 1000,          /* who comes to hv-domain with a page service says for whom */
	DL_SILENT_DISK = 2000,       /* a disk that has not answered for so long: the pause is not begun */
	DL_CHECK = 700,              /* hypervisord's `takes`: could this node take that guest? */
	DL_OWED = 4000,              /* hv-domain empties what post-copy owes it, the guest standing still */
	DL_LOAD = 10000,             /* hv-domain builds the guest from its state */
	DL_PAUSE = 10000,            /* hv-domain stops its vCPUs, drains and flushes its disks */
	DL_STATE = 10000,            /* hv-domain writes its state */
	DL_LAST_PAGES = 10000,       /* what was dirty at the pause goes over; max_downtime_ms of the policy is added */
	DL_ACK = 60000,              /* from one acknowledgement of 4 MiB to the next, over a slow link */
	DL_CONNECT = 2000,           /* TCP, one address */
	DL_HELLO = 10000,            /* from a certificate to its HELLO */
	DL_STRANGER = 15000,         /* from a preamble to a certificate */

	/* --- hypervisord's requests --------------------------------------------------------------------------------------- */
	DL_INCOMING = DL_CHILD_START + DL_STORE + DL_HELPERS + DL_ISCSI + 2 * DL_DAEMON,
	DL_MARK_HANDED = DL_DAEMON + DL_ISCSI + DL_DAEMON,         /* with the release of its disks */
	DL_RELEASED = DL_ISCSI + DL_DAEMON,
	DL_DESTROY = 2 * DL_GONE + DL_TARGET_IO,                   /* hv-domain and hv-disk seen to be gone, its disks let go of */
	DL_ACTIVATE = DL_DAEMON + DL_HELPERS + DL_ISCSI + DL_STORE + DL_DAEMON,

	/* --- over the link: the source waits for the target's worker ------------------------------------------------------ */
	DL_ANSWER = DL_DAEMON + DL_CHECK + DL_WAY,                   /* questions to hypervisord go out together */
	DL_ANSWER_ALONE = DL_DAEMON + DL_DESTROY + DL_ANSWER,        /* plain hosts: what an earlier move left goes first */
	DL_WORD = 2 * DL_DAEMON + DL_ACTIVATE + DL_WAY,              /* and the word of one's operator on the other's copy is obeyed */
	DL_ACCEPT = DL_DAEMON + DL_INCOMING + DL_DAEMON + DL_WAY,    /* ha-agentd's leave, the copy, its channel */
	DL_READY = DL_OWED + DL_LOAD + DL_WAY,
	DL_DONE = DL_ACTIVATE + DL_WAY,
	DL_PONG = DL_HELLO,
	DL_RESUMED = DL_PONG,
	DL_PAGES_ANSWER = 2 * DL_DAEMON + DL_WAY,                    /* of a page service: hypervisord connects, hv-domain greets */
	DL_SERVE = DL_CONNECT + DL_DAEMON + DL_PAGES_ANSWER + DL_WAY,   /* migrated has a page service meet the target */

	/* --- and the target for the source's ------------------------------------------------------------------------------- */
	DL_GO = DL_PONG + DL_MARK_HANDED + DL_RELEASED + DL_WAY,     /* from READY on */

	/* --- who waits for all of it: ha-agentd, haven ---------------------------------------------------------------------- */
	DL_ACT_SHORT = 2 * DL_DAEMON,                                /* hypervisord's requests that start and end no process, open no disk */
	DL_ACT_LONG = 120000,                                        /* those that do, or open disks: a create that builds a large guest */
	DL_ARRIVED = DL_DONE + DL_WAY,                               /* migrate_from, where Pacemaker names no time-out */
	DL_SETTLE_HERE = DL_ACTIVATE + DL_WAY,                       /* haven resolve's word, carried out on this plain host, */
	DL_SETTLE_THERE = DL_CONNECT + DL_HELLO + DL_WORD + DL_WAY,  /* and on the other */

	/* --- how long a guest may stand still for a move that then fails: pause to the mark -------------------------------- */
	DL_STOPPED = DL_PAUSE + DL_LAST_PAGES + DL_STATE + DL_READY + DL_PONG,
};

_Static_assert(DL_ISCSI > DL_TARGET_IO && DL_INCOMING > DL_ISCSI && DL_INCOMING > DL_CHILD_START && DL_INCOMING > DL_HELPERS + DL_STORE,
	       "the copy's parts say first what is wrong with them");
_Static_assert(DL_ACCEPT > DL_INCOMING + DL_DAEMON && DL_ANSWER > DL_DAEMON + DL_CHECK && DL_DONE > DL_ACTIVATE && DL_READY > DL_LOAD + DL_OWED,
	       "the source hears the target's reason before its own patience ends");
_Static_assert(DL_WORD > DL_ACTIVATE + DL_DAEMON && DL_WORD > DL_DESTROY + DL_DAEMON && DL_ANSWER_ALONE > DL_DESTROY + DL_ANSWER, "so with plain hosts");
_Static_assert(DL_MARK_HANDED > DL_ISCSI + DL_DAEMON && DL_GO > DL_MARK_HANDED + DL_RELEASED, "the target waits for GO longer than the source for its disks");
_Static_assert(DL_STATUS < DL_DAEMON && DL_GONE >= DL_DAEMON, "a list waits for none of its domains longer than others do for the list");
_Static_assert(DL_DESTROY >= 2 * DL_GONE, "both of a domain's processes are waited for before a destroy gives up");
_Static_assert(DL_ACT_SHORT > DL_DAEMON && DL_ACT_LONG > DL_DESTROY && DL_ACT_LONG > DL_ACTIVATE && DL_ACT_LONG > DL_RELEASED,
	       "ha-agentd hears hypervisord's error before it asks on a new connection");
_Static_assert(DL_ARRIVED > DL_DONE, "an arrival is waited for as long as the source waits for it");
_Static_assert(DL_SETTLE_THERE > DL_WORD + DL_CONNECT && DL_SETTLE_HERE > DL_ACTIVATE && DL_SETTLE_HERE > DL_DESTROY,
	       "haven resolve hears what became of its word");
_Static_assert(DL_SILENT_DISK < DL_PAUSE, "a disk that does not answer is named, and not the pause's time over");
_Static_assert(DL_PAGES_ANSWER > DL_GREETING + DL_DAEMON, "who does not say for whom it comes does not cost who does its answer");
_Static_assert(DL_SERVE > DL_PAGES_ANSWER + DL_CONNECT, "a page service says first why it does not come up");
_Static_assert(DL_STOPPED >= DL_PAUSE + DL_LAST_PAGES + DL_STATE + DL_READY, "each step of the pause ends before the pause does");
_Static_assert(DL_CHECK + 300 <= 1000, "pre-flight takes less than a second");
_Static_assert(DL_STRANGER > DL_CONNECT + DL_WAY, "who connects has the time to show a certificate");

/* ms of the tree; tests shrink all of it alike by the environment's HAVEN_DEADLINE_PERCENT (1 to 1000). */
int deadline(int ms);

#endif
