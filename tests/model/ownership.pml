/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership.pml - docs/specs/ownership.md for one domain on N nodes, for spin. Checked in every state: no copy begins to run
 * while another runs, none whose memory is older than the disk, and no guest is started afresh that nothing ended. Checked
 * in every state from which nothing can go on: exactly one copy runs, no other is left, every record names its node.
 *
 * Constraints: a report, an acknowledgement and a fencing notice reach a whole membership in one step; records queue at
 * each member, and what none of those that stay together delivered may be lost with the membership. An action of
 * hypervisord (destroy, resume, the look at the disk) is one step; a start is two. Reports of several steps, serials,
 * looks that cross events, hypervisord away: tests/unit/test_ownership_sim.c.
 *
 * -DN=2|3 nodes, -DFAULTS, -DMIGS, -DOPS: how many faults, moves and operations a run may have, at any moment; runs with
 * fewer are among them (step "calm"). Repairs are free. Extensions, each a switch:
 *	X_LEAVE		an agent that holds nothing says LEAVE and ends (OPS)
 *	X_DIE		hv-domain dies alone (FAULTS)
 *	X_OFF		the guest shuts itself down (OPS)
 *	X_STOP		Pacemaker stops the copy of a node in whatever state it is (OPS)
 *	X_FREEZE	Pacemaker fences nobody while a move's action runs in its partition
 *	X_NOTE		a member is fenced (FAULTS), and old fencings of a member are told late
 *	X_LATE		besides, the PROBE after such a late notice may be overtaken by a cut: then two copies run, which is why
 *			fence_book.c tells of no old fencing
 *	X_DISK		a node loses its disk with its power (FAULTS)
 *	X_WORD		haven resolve: keep here, drop here, and "that node is off"
 *	X_SAVE		the guest is saved into a file, and restored from it at any later time (OPS)
 *	X_TRACE		prints each message and record that a node hears, and what becomes of it
 *	X_STAY		a dead node stays dead while two others are up
 *	X_POST		a move may be by post-copy: the handed copy serves pages that the running one lacks
 *	X_LINK		before the pause a broken connection of a move may be made again, by the same two workers
 *	X_QDEV		two nodes and a quorum device: alone, only the one that has its vote is quorate (without: two_node, each is)
 *	X_KEYS		the disk's reservation: who takes the disk shuts the other out, who only reopens it does not
 *	X_FULL		a node's disk is full for a while (FAULTS): it takes no record, no boot and no activation, nor is an agent started on it
 *	X_LIES		a fence agent says "off" of a node that is not; with X_KEYS what is checked is that one copy alone writes, else
 *			that one alone runs, which cannot be
 * Mutations put one rule back to a more obvious reading; spin has to find what each breaks:
 *	M_GO		"GO was sent" is not marked in the source's copy before it is sent
 *	M_ACT		the activated attempt is kept in memory only
 *	M_CAS		a CLAIM is acknowledged whatever record it extends
 *	M_HOLD		a claimer counts as a holder only once a copy is there
 *	M_INCOMING	an incoming copy counts as nothing held
 *	M_FENCED	a fencing holds also for the boots after it
 *	M_LEFT		a LEAVE holds also after that node came back
 *	M_BEGUN		the target's word is a promise although it does not remember the BEGIN
 *	M_PROBE		a fencing notice about a member is believed without asking it
 *	M_OFF		the operator takes a node that is out of sight for one that is off
 *	M_KEEP		the operator keeps a handed copy without having looked at the target
 *	M_RESTORE	whether a save is still good is looked at when the restore is asked for, not when its CLAIM is made
 *	M_RELEASE	a RELEASE is taken only from the owner in my record, and its refusal is not answered
 *	M_PAUSED	quorum's return lets every paused copy run
 *	M_LOST		a handed copy waits although its target was fenced
 *	M_WAIT		(X_FREEZE) the move's action goes on while its target is out of the membership
 *	M_EARLY		the target runs when it has everything, before GO
 *	M_RESUME	a handed copy runs on when its link is lost, as a paused one does
 *	M_SERVES	(X_POST) a handed copy goes when its target runs, though its pages are still fetched
 *	M_TAKEBACK	(X_POST) a copy that serves takes its guest back when the target leaves the membership
 *	M_OWED		(X_POST) a guest whose pages are gone for good goes on waiting for them
 *	M_ATTEMPT	(X_LINK) a connection made again is not asked which attempt it is of
 *	M_VOTE		(X_QDEV) the device's vote stands for the fencing of the other node
 *	M_ONCE		(X_FULL) a record that a member could not write is not said again
 *	M_SAYSO		(X_FULL) a record is acknowledged that could not be written
 *	M_BOOTS		(X_FULL: of the boots alone) records are taken by who could not write down which boots it has seen
 *	M_STALE		(X_FULL) RUNNING of a copy that is gone is waited for, although a record of its epoch stands in its way
 *	M_PREEMPT	(X_LIES) a start registers with the disk and shuts nobody out
 *	M_UNLEFT	(X_LIES) GO is sent although the source could not let go of the disk
 *	M_KEY		(X_LIES) who was shut out registers again by itself
 */
#ifndef N
#define N 2
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef MIGS
#define MIGS 1
#endif
#ifndef OPS
#define OPS 0
#endif
#define QUEUE 6
#define EVERYBODY ((1 << N) - 1)
#define BIT(n) (1 << (n))
#define IN(mask, n) (((mask) >> (n)) & 1)
#define AT(a, i, j) a[(i) * N + (j)]

/* a copy; BUILD: its CLAIM counts, hypervisord makes it */
#define NONE	0
#define BUILD	1
#define RUN	2
#define QPAUSE	3
#define PAUSED	4
#define HANDED	5
#define INCOMING 6
#define READY	7

mtype = { nothing, begin, running, abort, claim, release, leave };

/* nodes: power, ha-agentd, network (nodes of equal class reach each other), boots and starts of the agent */
bool up[N], agent[N], stirred[N];
byte class[N], boot[N];
/* copies: attempt and target of a move, memory older than the disk */
byte copy[N], attempt[N], target[N];
bool old[N];
/* on disk: record (owner, to: N is nobody), last BEGIN taken, last attempt activated, boots of the others */
byte epoch[N], owner[N], to[N], begun[N], activated[N];
byte seen[N * N], fenced[N * N], left[N * N];
/* in a membership */
byte view[N], reported[N], holds[N], told[N], open_begin[N];	/* told: 0 nothing yet, 1 "I hold nothing", 2 "I hold" */
mtype out[N];
byte out_epoch[N], acks[N];
bool contradicted[N];
/* the move at its source: worker (1 connects, 2 copies, 3 has paused), and the job: target + 1, attempt */
byte worker[N], job[N], job_attempt[N];
/* the stream: 0 none, 1 up, 2 READY under way, 3 GO under way */
byte stream, from_node, to_node;
byte faults, moves, ops;
#ifdef X_POST
/* a handed copy's pages are fetched; a running copy lacks pages of node lacks - 1's, of that attempt; the GO under way is of such a move */
bool serves[N], owing;
byte lacks[N], lacks_of[N];
#endif
#ifdef X_KEYS
/* A registration that stands, its copy may write: the number (claim, attempt) the copy came with. What is registered only early is left out. */
byte key[N], let_go[N];	/* let_go: of a handed copy that gave its disk back, and can open it again */
#endif
#ifdef X_FULL
/*
 * What is on the full disk: boots (and a record, M_SAYSO); whose records it did not take, it has to ask what it missed. Since records are said
 * again: the BEGIN whose stream was taken in this membership, and that a report was made with records on their way.
 */
bool filled[N], behind[N], overtaken[N];
byte used_begin[N];
byte full_seen[N * N], full_fenced[N * N], full_left[N * N], missed[N];
#ifdef M_SAYSO
byte full_epoch[N], full_owner[N], full_to[N], full_begun[N];
#endif
#endif
#ifdef X_QDEV
byte vote;	/* whose side has the device's vote; N: nobody's */
#endif
bool ended;	/* something ended the guest: a fresh start is no loss */
#ifdef X_NOTE
byte probed[N];
bool was_fenced[N];
#endif
#ifdef X_SAVE
bool saved, saved_old, of_file[N], wants_file[N];
byte saved_epoch;
#endif
#if N == 2
bool all_seen[N];	/* wait_for_all */
#endif
chan inbox[N] = [QUEUE] of { mtype, byte, byte, byte };	/* type, sender, epoch, target */
hidden byte a, b, c, m_from, m_epoch, m_to, tail[N];
hidden mtype m_type;

#ifdef M_INCOMING
#define HOLDS(i) (copy[i] != NONE && copy[i] != INCOMING && copy[i] != READY)
#else
#define HOLDS(i) (copy[i] != NONE)
#endif
#define RUNS(i) (copy[i] == RUN || copy[i] == QPAUSE)
#define SYNCED(i) (view[i] != 0 && (reported[i] & view[i]) == view[i])
#define TOGETHER(i, j) (agent[j] && view[j] == view[i] && IN(view[i], j) && class[j] == class[i])
#ifdef M_FENCED
#define FENCED(i, j) (AT(fenced, i, j) != 0)
#else
#define FENCED(i, j) (AT(fenced, i, j) >= AT(seen, i, j))
#endif
#ifdef M_LEFT
#define LEFT(i, j) (AT(left, i, j) != 0)
#else
#define LEFT(i, j) (AT(left, i, j) >= AT(seen, i, j))
#endif
#if N == 2
#define NEAR(i, j) (up[j] && class[j] == class[i])
#ifdef X_QDEV
#define QUORATE(i) (view[i] == EVERYBODY || (vote == i && !NEAR(i, 1 - i)))
#define STARVED(i) (vote != i && !NEAR(i, 1 - i))
#else
#define QUORATE(i) (view[i] == EVERYBODY || (all_seen[i] && !NEAR(i, 1 - i)))
#define STARVED(i) 0
#endif
#define EACH(p) (p(0) && p(1))
#define COUNT(p) (p(0) + p(1))
#else
#define QUORATE(i) (view[i] == 3 || view[i] == 5 || view[i] == 6 || view[i] == 7)
#define NEAR(i, j) (up[j] && class[j] == class[i])
#define STARVED(i) (NEAR(i, 0) + NEAR(i, 1) + NEAR(i, 2) < 2)
#define EACH(p) (p(0) && p(1) && p(2))
#define COUNT(p) (p(0) + p(1) + p(2))
#endif
#define COUNTS(i) (QUORATE(i) && (acks[i] & view[i]) == view[i])
#ifdef M_VOTE
#define OUTVOTED(i) (vote == i)
#else
#define OUTVOTED(i) 0
#endif
#define FREE(i, j) (IN(view[i], j) -> (IN(reported[i], j) && !IN(holds[i], j)) : (FENCED(i, j) || LEFT(i, j) || OUTVOTED(i)))
#if N == 2
#define ALL_FREE(i) (FREE(i, 0) && FREE(i, 1))
#else
#define ALL_FREE(i) (FREE(i, 0) && FREE(i, 1) && FREE(i, 2))
#endif
#define LINKED(i) (stream != 0 && from_node == i)
#define FED(i) (stream != 0 && to_node == i)
/* a handed copy whose guest runs at its target, and still fetches pages from here */
#ifdef X_POST
#define SERVES(i) serves[i]
#define LACKS(i) (lacks[i] != 0)
#define NEEDED(i) (NEEDS(0, i) || NEEDS(1, i) || NEEDS(N - 1, i))
#define NEEDS(t, i) (RUNS(t) && lacks[t] == (i) + 1 && lacks_of[t] == attempt[i] && TOGETHER(i, t))
#define LOSES(i) (agent[i] && RUNS(i) && lacks[i] != 0 && (FENCED(i, lacks[i] - 1) || \
	(SYNCED(i) && IN(view[i], lacks[i] - 1) && IN(reported[i], lacks[i] - 1) && !IN(holds[i], lacks[i] - 1))))
#else
#define SERVES(i) 0
#define LACKS(i) 0
#define NEEDED(i) 0
#define LOSES(i) 0
#endif
#if defined(X_POST) && !defined(M_SERVES)
#define STAYS(i) (serves[i] && owner[i] == target[i])
#else
#define STAYS(i) 0
#endif
/* why a handed copy goes: its target's RUNNING counts, the record moved on, its target is fenced */
#define RUNS_THERE(i) (TOGETHER(i, target[i]) && out[target[i]] == running && out_epoch[target[i]] > attempt[i] && COUNTS(target[i]))
#define MOVED_ON(i) (epoch[i] > attempt[i] && owner[i] != i && SYNCED(i) && QUORATE(i) && !(IN(view[i], target[i]) && out[target[i]] == running))
/* May its disk be opened again, as it is? Nobody else is registered to write. */
#ifdef X_KEYS
#define DISK_FREE(i) (!let_go[i] || ((i == 0 || !key[0]) && (i == 1 || !key[1]) && (i == N - 1 || !key[N - 1])))
#ifdef M_PREEMPT
#define YOUNGER(i, n) 0
#else
#define YOUNGER(i, n) ((i != 0 && key[0] > n) || (i != 1 && key[1] > n) || (i != N - 1 && key[N - 1] > n))
#endif
#else
#define DISK_FREE(i) 1
#define YOUNGER(i, n) 0
#endif
/* The disk is let go of between the mark and GO; who was shut out of it cannot, and sends no GO. */
#if defined(X_KEYS) && !defined(M_UNLEFT)
#define LEAVES_DISK(i) (key[i] != 0)
#else
#define LEAVES_DISK(i) 1
#endif
#if defined(X_LIES) && defined(X_KEYS)
#define WRITES(i) (key[i] != 0)
#else
#define WRITES(i) 1
#endif
#ifdef X_LIES
#define BOUNDED(i) (epoch[i] < 12)	/* two that both run contradict each other for ever */
#else
#define BOUNDED(i) 1
#endif
#if defined(X_FULL) && !defined(M_SAYSO) && !defined(M_BOOTS)
#define UNWRITABLE(i) filled[i]
#else
#define UNWRITABLE(i) 0
#endif
#ifdef X_FULL
#define IS_FULL(i) filled[i]
#define USED(i) used_begin[i]
#define MISSED_OWN(i) IN(missed[i], i)
#define FORGET_MISSED(i) missed[i] = missed[i] & (EVERYBODY - BIT(i))
#else
#define IS_FULL(i) 0
#define USED(i) 0
#define MISSED_OWN(i) 0
#define FORGET_MISSED(i) skip
#endif
#ifdef M_BOOTS
#define COSTLESS (!SPENT)	/* of what it takes to find this */
#else
#define COSTLESS 0
#endif
#define SPENT (faults == FAULTS && moves == MIGS && ops == OPS)

/* --- copies ---------------------------------------------------------------------------------------------------------- */

inline begins_to_run(i)
{
	a = 0;
	do
	:: a < N && a != i && copy[a] != NONE ->
		assert(copy[a] != RUN || !(WRITES(a) && WRITES(i)));
#ifdef X_SAVE
		if :: copy[a] != BUILD || of_file[a] -> old[a] = 1 :: else fi;
#else
		if :: copy[a] != BUILD && WRITES(i) -> old[a] = 1 :: else fi;
#endif
		a++
	:: a < N && (a == i || copy[a] == NONE) -> a++
	:: a == N -> break
	od;
	assert(!old[i] || !WRITES(i));
	copy[i] = RUN;
#ifdef X_SAVE
	saved_old = saved; of_file[i] = 0
#endif
}

inline runs_again(i)
{
	begins_to_run(i); attempt[i] = 0; target[i] = 0;
#ifdef X_POST
	serves[i] = 0
#endif
}

/*
 * With the disk: after GO, or a CLAIM, everybody older is shut out before the first write, and somebody younger is in the way (YOUNGER). Who
 * resumes only opens it again.
 */
inline takes_disk(i, number)
{
#ifdef X_KEYS
	a = 0;
	do
#ifdef M_PREEMPT
	:: a < N -> if :: a == i -> key[a] = number :: else fi; a++
#else
	:: a < N -> key[a] = (a == i -> number : 0); a++
#endif
	:: else -> break
	od;
	a = 0
#else
	skip
#endif
}
inline opens_disk(i)
{
#ifdef X_KEYS
	if :: let_go[i] -> key[i] = let_go[i]; let_go[i] = 0 :: else fi
#else
	skip
#endif
}
inline leaves_disk(i)
{
#ifdef X_KEYS
	let_go[i] = key[i]; key[i] = 0
#else
	skip
#endif
}

inline vanishes(i)
{
	copy[i] = NONE; attempt[i] = 0; target[i] = 0; old[i] = 0;
#ifdef X_SAVE
	of_file[i] = 0;
#endif
#ifdef X_POST
	serves[i] = 0; lacks[i] = 0; lacks_of[i] = 0;
#endif
#ifdef X_KEYS
	let_go[i] = 0;
#endif
	if :: LINKED(i) && stream != 3 -> stream = 0 :: FED(i) -> stream = 0 :: else fi
}

/* --- messages -------------------------------------------------------------------------------------------------------- */

inline send(i, type, number, whither)
{
	a = 0;
	do
	:: a < N -> if :: TOGETHER(i, a) -> assert(nfull(inbox[a])); inbox[a]!type, i, number, whither :: else fi; a++
	:: else -> break
	od;
	a = 0
}

inline withdraw(i) { out[i] = nothing; out_epoch[i] = 0; acks[i] = 0 }
inline propose(i, type, whither) { withdraw(i); FORGET_MISSED(i); out[i] = type; out_epoch[i] = epoch[i] + 1; send(i, type, epoch[i] + 1, whither) }
inline record(i, e, o, t) { epoch[i] = e; owner[i] = o; to[i] = t; assert(e < 40) }
#ifdef X_TRACE
/* A line for each message and each reported record that a node hears, and what it made of it; tests/model/ownership_replay.c reads them. */
hidden byte took, was_told, has_word;
#define KIND ((m_type == begin) + 2 * (m_type == running) + 3 * (m_type == abort) + 4 * (m_type == claim) + 5 * (m_type == release))
#define WHAT_STANDS(i) epoch[i], owner[i], to[i], begun[i]
#define SAY_BEFORE(i) took = 0; was_told = told[i]; printf("D %d %d %d %d %d %d %d %d %d %d", i, KIND, m_from, m_epoch, m_to, WHAT_STANDS(i), HOLDS(i) + 2 * IS_FULL(i))
#define SAY_AFTER(i) printf(" = %d %d %d %d %d %d\n", WHAT_STANDS(i), took, told[i] == 0 && was_told != 0)
#define SAY_HEARD(i) printf("H %d %d %d %d %d %d %d %d %d %d", b, i, WHAT_STANDS(b), epoch[i], owner[i], to[i], HOLDS(b) + 2 * IS_FULL(b))
/* What follows for a handed copy, or one that lacks pages: does it go? RUNNING of its target: 0 none, 1 open, 2 counts, 3 not one this node's record is of */
#define GOES(i) (copy[i] == HANDED && (((RUNS_THERE(i) || MOVED_ON(i)) && !STAYS(i)) || FENCED(i, target[i])))
#define OPEN_THERE(i) (out[target[i]] != running -> 0 : (!(TOGETHER(i, target[i]) && epoch[i] == out_epoch[target[i]] && owner[i] == target[i]) -> 3 : 1 + COUNTS(target[i])))
#ifdef X_POST
#define OF_PAGES(i) serves[i], lacks[i]
#else
#define OF_PAGES(i) 0, 0
#endif
#define SAY_FOLLOWS(i) if \
	:: copy[i] == HANDED || LACKS(i) -> printf("W %d %d %d %d %d %d %d %d %d %d", i, copy[i] == HANDED, attempt[i], target[i], OF_PAGES(i), WHAT_STANDS(i)); \
		printf(" %d %d %d %d %d %d = %d %d\n", view[i], reported[i], holds[i], FENCED(i, 0) + 2 * FENCED(i, 1) + (N > 2) * 4 * FENCED(i, N - 1), \
			QUORATE(i), (copy[i] == HANDED -> OPEN_THERE(i) : 0), GOES(i), LOSES(i)) \
	:: else fi
/* a target's word to the source of its handed copy: what it makes of it, resumed or dropped */
#define SAY_WORD(i) has_word = (b != i && copy[b] == HANDED && target[b] == i); if \
	:: has_word -> printf("T %d %d %d %d %d %d %d", b, i, attempt[b], HOLDS(i) || out[i] == claim, activated[i], begun[i], open_begin[i]) \
	:: else fi
#define SAY_TAKEN if :: has_word -> printf(" = %d %d\n", RUNS(b), copy[b] == NONE) :: else fi
#define SAY_LEARNT printf(" = %d %d %d %d %d %d\n", WHAT_STANDS(b), contradicted[b], out[b] == claim)
#define TOOK took = 1;
#else
#define SAY_BEFORE(i) skip
#define SAY_AFTER(i) skip
#define SAY_HEARD(i) skip
#define SAY_LEARNT skip
#define SAY_WORD(i) skip
#define SAY_TAKEN skip
#define SAY_FOLLOWS(i) skip
#define TOOK
#endif

inline acknowledge(i)
{
	TOOK
	if
	:: TOGETHER(i, m_from) && out[m_from] == m_type && out_epoch[m_from] == m_epoch -> acks[m_from] = acks[m_from] | BIT(i)
	:: else
	fi
}
inline refused(i) { if :: m_from == i && out[i] == m_type -> withdraw(i) :: else fi }
/* refused by who has missed the one before */
inline gap(i)
{
#ifdef X_FULL
	if :: m_epoch > epoch[i] + 1 -> missed[i] = missed[i] | BIT(m_from) :: else fi
#else
	skip
#endif
}
inline misses(i, sender)
{
#ifdef X_FULL
	behind[i] = 1; missed[i] = missed[i] | sender
#else
	skip
#endif
}
#define EXTENDS(i) (m_epoch == epoch[i] + 1)

inline deliver(i)
{
	if
	:: m_type == begin ->
		if
		:: EXTENDS(i) || (m_epoch == epoch[i] && owner[i] == m_from && to[i] == m_to) ->
			if
			:: UNWRITABLE(i) -> misses(i, BIT(m_from))
			:: else ->
				record(i, m_epoch, m_from, m_to);
				if :: m_to == i -> begun[i] = m_epoch; if :: USED(i) != m_epoch -> open_begin[i] = m_epoch :: else fi :: else fi;
				acknowledge(i)
			fi
		:: else -> refused(i); gap(i)
		fi
	:: m_type == running ->
		if :: HOLDS(m_from) -> holds[i] = holds[i] | BIT(m_from) :: else fi;	/* else its report of that has come before, in one step */
		if :: m_from == i && !HOLDS(i) -> told[i] = 0 :: else fi;
		if
		:: m_epoch > epoch[i] || (m_epoch == epoch[i] && owner[i] == m_from) ->
			if
			:: UNWRITABLE(i) -> misses(i, BIT(m_from))
			:: else ->
				record(i, m_epoch, m_from, N);
				if :: m_from == i -> contradicted[i] = 0 :: else fi;
				acknowledge(i)
			fi
		:: else -> refused(i); told[i] = 0
		fi
	:: m_type == abort ->
		if
		:: epoch[i] == m_epoch && to[i] != N && owner[i] == m_from && !UNWRITABLE(i) -> record(i, m_epoch + 1, m_from, N)
		:: epoch[i] == m_epoch && to[i] != N && owner[i] == m_from && UNWRITABLE(i) -> misses(i, (m_from == i) * BIT(i))
		:: else
		fi
	:: m_type == claim ->
		if
#ifdef M_CAS
		:: m_epoch >= epoch[i] ->
#else
		:: EXTENDS(i) || (m_epoch == epoch[i] && owner[i] == m_from && to[i] == N) ->
#endif
			if
			:: UNWRITABLE(i) -> misses(i, BIT(m_from))
			:: else ->
				record(i, m_epoch, m_from, N);
#ifndef M_HOLD
				if :: HOLDS(m_from) || out[m_from] == claim -> holds[i] = holds[i] | BIT(m_from) :: else fi;
				if :: m_from == i && told[i] != 0 && (HOLDS(i) || out[i] == claim) -> told[i] = 2 :: else fi;
#endif
				acknowledge(i)
			fi
		:: else ->
			refused(i); gap(i);
			if :: m_epoch == epoch[i] -> told[i] = 0 :: else fi
		fi
	:: m_type == release ->
		if
#ifdef M_RELEASE
		:: (EXTENDS(i) && owner[i] == m_from) || (m_epoch == epoch[i] && owner[i] == N) ->
#else
		:: m_epoch > epoch[i] || (m_epoch == epoch[i] && owner[i] == N) ->
#endif
			if
			:: UNWRITABLE(i) -> misses(i, BIT(m_from))
			:: else -> record(i, m_epoch, N, N); acknowledge(i)
			fi
		:: else -> refused(i); told[i] = 0
		fi
	:: m_type == leave ->
		if :: AT(left, i, m_from) < m_epoch -> AT(left, i, m_from) = m_epoch :: else fi
	fi
}

#define RAISE(what, i, j, value) if :: AT(what, i, j) < value -> AT(what, i, j) = value :: else fi

/* What b hears of i: boots and fencings, whether it holds, its record, and a target's word on a handed copy. */
inline hear_boots(i)
{
	RAISE(seen, b, i, boot[i]);
	c = 0;
	do
	:: c < N ->
		RAISE(seen, b, c, AT(seen, i, c)); RAISE(fenced, b, c, AT(fenced, i, c)); RAISE(left, b, c, AT(left, i, c));
		if
		:: IN(view[b], c) && AT(fenced, b, c) >= AT(seen, b, c) && AT(left, b, c) < AT(seen, b, c) -> AT(seen, b, c) = AT(fenced, b, c) + 1
		:: else
		fi;
		c++
	:: else -> break
	od
}

/* RUNNING of a copy that is gone, which somebody's record of that epoch stands in the way of */
#ifdef M_STALE
#define STALE_RUNNING(i) 0
#else
#define STALE_RUNNING(i) (out[i] == running && !HOLDS(i))
#endif
inline hear_record(i)
{
	if
	:: epoch[i] > epoch[b] && !UNWRITABLE(b) -> record(b, epoch[i], owner[i], to[i])
	:: epoch[i] > epoch[b] && UNWRITABLE(b) -> misses(b, 0)
	:: epoch[i] == epoch[b] && (owner[i] != owner[b] || to[i] != to[b]) ->
		if
		:: HOLDS(b) && owner[b] == b -> contradicted[b] = 1
		:: !(HOLDS(b) && owner[b] == b) && (out[b] == claim || STALE_RUNNING(b)) && out_epoch[b] == epoch[i] -> withdraw(b)
		:: else
		fi
	:: else
	fi
}

inline hear_target(i)
{
	SAY_WORD(i);
	if
	:: b != i && copy[b] == HANDED && target[b] == i && !HOLDS(i) && out[i] != claim && open_begin[i] != attempt[b] ->
		if
		:: activated[i] >= attempt[b] -> vanishes(b)
#ifdef M_BEGUN
		:: activated[i] < attempt[b] -> runs_again(b)
#else
		:: activated[i] < attempt[b] && begun[i] >= attempt[b] && DISK_FREE(b) -> opens_disk(b); runs_again(b)
#endif
		:: else
		fi
	:: else
	fi;
	SAY_TAKEN
}

inline report(i)
{
	told[i] = ((HOLDS(i) || out[i] == claim) -> 2 : 1);
#ifdef X_FULL
	overtaken[i] = nempty(inbox[i]);
#endif
	b = 0;
	do
	:: b < N ->
		if
		:: TOGETHER(i, b) ->
			reported[b] = reported[b] | BIT(i);
			if :: told[i] == 2 -> holds[b] = holds[b] | BIT(i) :: else -> holds[b] = holds[b] & (EVERYBODY - BIT(i)) fi;
			hear_boots(i);
			SAY_HEARD(i);
			hear_record(i);
			SAY_LEARNT;
			hear_target(i);
			SAY_FOLLOWS(b)
		:: else
		fi;
		b++
	:: else -> break
	od;
	b = 0
}
#define OWES_REPORT(i) (agent[i] && view[i] != 0 && (told[i] == 0 || (told[i] == 1 && HOLDS(i)) || (told[i] == 2 && !HOLDS(i) && out[i] != claim)))

/* --- coming and going ------------------------------------------------------------------------------------------------ */

inline new_view_forgets(i)
{
	reported[i] = 0; holds[i] = 0; told[i] = 0; open_begin[i] = 0;
#ifdef X_FULL
	missed[i] = 0; used_begin[i] = 0; overtaken[i] = 0;
#endif
	withdraw(i)
}
#ifdef X_FULL
/* What a disk that is full keeps of node i while i knows more; and what an agent that is started again reads from it. */
inline disk_fills(i)
{
	filled[i] = 1; a = 0;
	do
	:: a < N -> AT(full_seen, i, a) = AT(seen, i, a); AT(full_fenced, i, a) = AT(fenced, i, a); AT(full_left, i, a) = AT(left, i, a); a++
	:: else -> break
	od;
	a = 0;
#ifdef M_SAYSO
	full_epoch[i] = epoch[i]; full_owner[i] = owner[i]; full_to[i] = to[i]; full_begun[i] = begun[i]
#endif
}
inline disk_forgets(i)
{
	a = 0;
	do
	:: a < N && filled[i] -> AT(seen, i, a) = AT(full_seen, i, a); AT(fenced, i, a) = AT(full_fenced, i, a); AT(left, i, a) = AT(full_left, i, a); a++
	:: else -> break
	od;
	a = 0;
#ifdef M_SAYSO
	if :: filled[i] -> epoch[i] = full_epoch[i]; owner[i] = full_owner[i]; to[i] = full_to[i]; begun[i] = full_begun[i] :: else fi;
#endif
	behind[i] = 0
}
inline disk_has_room(i)
{
	filled[i] = 0; a = 0;
	do
	:: a < N -> AT(full_seen, i, a) = 0; AT(full_fenced, i, a) = 0; AT(full_left, i, a) = 0; a++
	:: else -> break
	od;
	a = 0;
#ifdef M_SAYSO
	full_epoch[i] = 0; full_owner[i] = 0; full_to[i] = 0; full_begun[i] = 0
#endif
}
#endif
inline stir(k) { a = 0; do :: a < N -> if :: agent[a] && class[a] == k -> stirred[a] = 1 :: else fi; a++ :: else -> break od; a = 0 }
inline agent_ends(i)
{
	agent[i] = 0; view[i] = 0; stirred[i] = 0; job[i] = 0; job_attempt[i] = 0; contradicted[i] = 0;
	new_view_forgets(i);
#ifdef X_NOTE
	probed[i] = 0;
#endif
#ifdef X_SAVE
	wants_file[i] = 0;
#endif
#ifdef X_FULL
	disk_forgets(i);
#endif
	do :: len(inbox[i]) > 0 -> inbox[i]?m_type, m_from, m_epoch, m_to :: len(inbox[i]) == 0 -> break od;
	stir(class[i])
}
inline power_goes(i)
{
	if :: agent[i] -> agent_ends(i) :: else fi;
	if :: copy[i] != NONE -> ended = 1 :: else fi;
	up[i] = 0; worker[i] = 0;
	vanishes(i);
	a = 0;
	do :: a < N -> AT(fenced, i, a) = 0; AT(left, i, a) = 0; a++ :: else -> break od; a = 0;
#ifdef M_ACT
	activated[i] = 0;
#endif
#if N == 2
	all_seen[i] = 0;
#endif
}

/* --- one node: ha-agentd, its copy, its worker ------------------------------------------------------------------------ */

#define MAY_BEGIN(i, t) (moves < MIGS && agent[i] && copy[i] == RUN && owner[i] == i && to[i] == N && !contradicted[i] && \
	out[i] == nothing && job[i] == 0 && worker[i] == 0 && IN(view[i], t) && QUORATE(i) && SYNCED(i))
#define BEGIN_TO(i, t) d_step { MAY_BEGIN(i, t) -> moves++; job[i] = (t) + 1; propose(i, begin, t) }
#define TAKES(t, i) (up[t] && agent[t] && class[t] == class[i] && IN(view[t], i) && open_begin[t] == attempt[i] && epoch[t] == attempt[i] && \
	to[t] == t && owner[t] == i && copy[t] == NONE && out[t] != claim)
#define IS_MINE(i) (epoch[i] == attempt[i] && to[i] == i)
#ifdef X_SAVE
#define WANTS_FILE(i) wants_file[i]
#else
#define WANTS_FILE(i) 0
#endif
#ifdef M_RESTORE
#define STILL_GOOD(i) 1
#else
#define STILL_GOOD(i) (owner[i] == N && epoch[i] == saved_epoch + 1)
#endif
#define JOB_TO(i) (job[i] - 1)
/*
 * What a claim may cross: another's claim of its own epoch. All else was said before the reports that it goes by, which are one step here. Of a
 * later epoch than the other's it would go by a report that was made after that claim had been delivered.
 */
#define CLAIMS(i) (out[0] == claim || out[1] == claim || out[N - 1] == claim)
#define CROSSED_ALONE(i) (empty(inbox[i]) || (len(inbox[i]) == 1 && CLAIMS(i) && inbox[i]?[claim,_,eval(epoch[i] + 1),_]))

proctype Node(byte i)
{
	do
	:: d_step { agent[i] && nempty(inbox[i]) -> inbox[i]?m_type, m_from, m_epoch, m_to; SAY_BEFORE(i); deliver(i); SAY_AFTER(i); SAY_FOLLOWS(i); m_type = nothing }
	:: d_step { OWES_REPORT(i) -> report(i) }

	/* a move: BEGIN, the worker, the mark */
	:: BEGIN_TO(i, (i + 1) % N)
#if N > 2
	:: BEGIN_TO(i, (i + 2) % N)
#endif
	:: d_step { out[i] == begin && (epoch[i] > out_epoch[i] || job[i] == 0 || (COUNTS(i) && !(copy[i] == RUN && owner[i] == i && epoch[i] == out_epoch[i] && to[i] == JOB_TO(i)))) ->
		withdraw(i); job[i] = 0 }
	:: d_step { out[i] == begin && COUNTS(i) && job[i] != 0 && copy[i] == RUN && owner[i] == i && epoch[i] == out_epoch[i] && to[i] == JOB_TO(i) ->
		withdraw(i); worker[i] = 1; attempt[i] = epoch[i]; target[i] = to[i]; job_attempt[i] = epoch[i] }
	:: d_step { worker[i] == 1 && RUNS(i) && !LACKS(i) && stream == 0 && TAKES(target[i], i) ->
		worker[i] = 2; stream = 1; from_node = i; to_node = target[i];
		copy[to_node] = INCOMING; attempt[to_node] = attempt[i]; open_begin[to_node] = 0;
#ifdef X_FULL
		used_begin[to_node] = attempt[i];
#endif
#ifndef M_INCOMING
		report(to_node)	/* as it lets the stream in, before it answers anything else */
#else
		skip
#endif
		}
	:: d_step { worker[i] == 1 && !(RUNS(i) && !LACKS(i) && TAKES(target[i], i)) -> worker[i] = 0; attempt[i] = 0; target[i] = 0 }
#ifdef M_ATTEMPT
	:: d_step { worker[i] == 1 && RUNS(i) && stream == 0 && copy[target[i]] == INCOMING && class[target[i]] == class[i] ->
		worker[i] = 2; stream = 1; from_node = i; to_node = target[i] }
#endif
#ifdef X_LINK
	/* the connection broke (4): made again between the two that have the move in hand, or given up by either; nothing else looks at it */
	:: d_step { stream == 4 && from_node == i && worker[i] == 2 && RUNS(i) && up[to_node] && class[to_node] == class[i] && copy[to_node] == INCOMING &&
		attempt[to_node] == attempt[i] -> stream = 1 }
	:: d_step { stream == 4 && from_node == i && worker[i] == 2 -> worker[i] = 0; stream = 0; if :: RUNS(i) -> attempt[i] = 0; target[i] = 0 :: else fi }
	:: d_step { stream == 4 && to_node == i -> vanishes(i); stream = 0 }
#endif
	:: d_step { worker[i] == 2 && LINKED(i) && stream == 1 && RUNS(i) -> copy[i] = PAUSED; worker[i] = 3 }
#define MARKS(i) (worker[i] == 3 && copy[i] == PAUSED && (!LINKED(i) || stream == 2))
#ifdef M_GO
#define MARKED PAUSED
#else
#define MARKED HANDED
#endif
	:: d_step { MARKS(i) -> copy[i] = MARKED; worker[i] = 0; if :: LINKED(i) -> stream = (LEAVES_DISK(i) -> 3 : 0) :: else fi; leaves_disk(i) }
#ifdef X_POST
	:: d_step { MARKS(i) -> copy[i] = MARKED; worker[i] = 0; serves[i] = 1; if :: LINKED(i) -> stream = (LEAVES_DISK(i) -> 3 : 0); owing = 1 :: else fi; leaves_disk(i) }
#endif
	:: d_step { worker[i] >= 2 && !LINKED(i) -> worker[i] = 0;
		if :: copy[i] == PAUSED -> runs_again(i) :: RUNS(i) -> attempt[i] = 0; target[i] = 0 :: else fi }
	:: d_step { worker[i] == 0 && copy[i] == PAUSED -> if :: LINKED(i) && stream != 3 -> stream = 0 :: else fi; runs_again(i) }
	:: d_step { LINKED(i) && stream != 3 && !agent[i] -> stream = 0 }	/* a worker may follow its agent */

	/* the target's copy */
	:: d_step { FED(i) && stream == 1 && copy[i] == INCOMING && worker[from_node] == 3 && copy[from_node] == PAUSED ->
		copy[i] = READY; old[i] = old[from_node]; stream = 2 }
	:: d_step { FED(i) && stream == 3 && copy[i] == READY && IS_FULL(i) -> stream = 0 }
	:: d_step { FED(i) && stream == 3 && copy[i] == READY && !IS_FULL(i) ->
		activated[i] = attempt[i];
#ifdef X_POST
		lacks[i] = (owing -> from_node + 1 : 0); lacks_of[i] = (owing -> attempt[i] : 0); owing = 0;
#endif
		stream = 0;
		if
		:: YOUNGER(i, attempt[i]) -> ended = 1; vanishes(i)	/* the domain has moved on: nothing of it runs here */
		:: else -> takes_disk(i, attempt[i]); runs_again(i)
		fi }
#ifdef M_EARLY
	:: d_step { copy[i] == READY -> activated[i] = attempt[i]; runs_again(i) }
#endif
	:: d_step { (copy[i] == INCOMING || copy[i] == READY) && !FED(i) -> vanishes(i) }
	:: d_step { (copy[i] == INCOMING || copy[i] == READY) && agent[i] && view[i] != 0 && ((SYNCED(i) && !IS_MINE(i)) || (IS_MINE(i) && !IN(view[i], owner[i]))) ->
		vanishes(i) }

	/* what the owner, or who runs without being it, says */
	:: d_step { agent[i] && RUNS(i) && owner[i] == i && to[i] != N && worker[i] == 0 && out[i] == nothing && SYNCED(i) && empty(inbox[i]) && !MISSED_OWN(i) ->
		send(i, abort, epoch[i], N) }
	:: d_step { agent[i] && RUNS(i) && (owner[i] != i || contradicted[i]) && worker[i] == 0 && out[i] == nothing && SYNCED(i) && empty(inbox[i]) && BOUNDED(i) ->
		contradicted[i] = 0; propose(i, running, N) }
	:: d_step { out[i] == running && (contradicted[i] || epoch[i] > out_epoch[i]) -> withdraw(i) }
	:: d_step { agent[i] && owner[i] == i && !HOLDS(i) && out[i] == nothing && SYNCED(i) && QUORATE(i) && holds[i] == 0 && told[i] == 1 &&
		!(to[i] != N && (worker[i] != 0 || job[i] != 0)) && empty(inbox[i]) -> propose(i, release, N) }
	:: d_step { out[i] == release && epoch[i] > out_epoch[i] -> withdraw(i) }
	:: d_step { (out[i] == running || out[i] == release) && COUNTS(i) && epoch[i] == out_epoch[i] -> withdraw(i) }

#ifdef X_FULL
	/* a record is said again to who could not write it and can now, while it would still be made; what cannot count any more is withdrawn */
#define OTHERS_FREE(i) ((i == 0 || FREE(i, 0)) && (i == 1 || FREE(i, 1)) && (i == N - 1 || FREE(i, N - 1)))
#define MAY_CLAIM(i) (SYNCED(i) && QUORATE(i) && OTHERS_FREE(i))
#define MAY_STILL_BEGIN(i) (job[i] != 0 && IN(view[i], JOB_TO(i)) && copy[i] == RUN && owner[i] == i && to[i] == N && QUORATE(i) && SYNCED(i) && !contradicted[i])
#define WRITTEN(i) (epoch[i] == out_epoch[i] && (owner[i] == i || (out[i] == release && owner[i] == N)))
#define SAID_AGAIN(i) (WRITTEN(i) || (epoch[i] < out_epoch[i] && (out[i] == running || out[i] == release || (epoch[i] + 1 == out_epoch[i] && \
	((out[i] == claim && MAY_CLAIM(i)) || (out[i] == begin && MAY_STILL_BEGIN(i)))))))
#define BEATEN(i) (out[i] != nothing && epoch[i] == out_epoch[i] && !(owner[i] == (out[i] == release -> N : i) && to[i] == (out[i] == begin -> JOB_TO(i) : N)))
#define CAN_NOW(i, j) (IN(missed[j], i) && !filled[j] && TOGETHER(i, j) && empty(inbox[j]) && \
	(out[i] == running || out[i] == release || epoch[j] + 1 >= out_epoch[i]))
#ifndef M_ONCE
	:: d_step { agent[i] && out[i] != nothing && SAID_AGAIN(i) && empty(inbox[i]) && (CAN_NOW(i, 0) || CAN_NOW(i, 1) || CAN_NOW(i, N - 1)) ->
		b = 0;
		do :: b < N -> if :: CAN_NOW(i, b) -> missed[b] = missed[b] & (EVERYBODY - BIT(i)) :: else fi; b++ :: else -> break od;
		m_type = out[i]; m_epoch = out_epoch[i]; m_to = N; b = 0;
		if :: m_type == begin -> m_to = JOB_TO(i) :: else fi;
		send(i, m_type, m_epoch, m_to);
		m_type = nothing }
#endif
	:: d_step { agent[i] && (BEATEN(i) ||
		(out[i] == claim && epoch[i] < out_epoch[i] && !MAY_CLAIM(i) && MISSED_OWN(i))) -> withdraw(i); told[i] = 0 }
	:: d_step { MISSED_OWN(i) && !filled[i] && out[i] == nothing -> missed[i] = missed[i] - BIT(i) }
	/* a report that a record overtook is made again: who could not write that one would stay at this */
	:: d_step { agent[i] && overtaken[i] && empty(inbox[i]) -> overtaken[i] = 0; told[i] = 0 }
	/* the question comes after all that was under way */
#define HEARD(i, j) (!TOGETHER(i, j) || empty(inbox[j]))
	:: d_step { agent[i] && behind[i] && !filled[i] && view[i] != 0 && HEARD(i, 0) && HEARD(i, 1) && HEARD(i, N - 1) ->
		behind[i] = 0; b = 0;
		do :: b < N -> if :: TOGETHER(i, b) -> told[b] = 0 :: else fi; b++ :: else -> break od;
		b = 0 }
#endif

	/* a handed copy */
	:: d_step { agent[i] && copy[i] == HANDED && (RUNS_THERE(i) || MOVED_ON(i)) && !STAYS(i) -> assert(!NEEDED(i)); vanishes(i) }
#ifndef M_LOST
	:: d_step { agent[i] && copy[i] == HANDED && FENCED(i, target[i]) -> assert(!NEEDED(i)); ended = 1; vanishes(i) }
#endif
#ifdef M_RESUME
	:: d_step { copy[i] == HANDED && !LINKED(i) -> runs_again(i) }
#endif
#ifdef X_POST
	/* pages: the last one comes; who served is told, also that the guest there is no more; they are gone for good */
	:: d_step { lacks[i] != 0 && SERVES(lacks[i] - 1) && copy[lacks[i] - 1] == HANDED && attempt[lacks[i] - 1] == lacks_of[i] && class[lacks[i] - 1] == class[i] ->
		lacks[i] = 0; lacks_of[i] = 0 }
	:: d_step { serves[i] && copy[i] == HANDED && up[target[i]] && class[target[i]] == class[i] && activated[target[i]] >= attempt[i] &&
		!(lacks[target[i]] == i + 1 && lacks_of[target[i]] == attempt[i]) -> serves[i] = 0 }
#ifndef M_OWED
	:: d_step { LOSES(i) -> ended = 1; vanishes(i) }
#endif
#ifdef M_TAKEBACK
	:: d_step { agent[i] && copy[i] == HANDED && serves[i] && view[i] != 0 && !IN(view[i], target[i]) -> runs_again(i) }
#endif
#endif
#ifdef M_KEY
	:: d_step { RUNS(i) && !key[i] -> key[i] = 1; copy[i] = QPAUSE; begins_to_run(i) }
#endif
	:: d_step { agent[i] && copy[i] == HANDED && TOGETHER(i, target[i]) && copy[target[i]] == NONE && told[target[i]] == 1 && out[target[i]] != claim &&
		open_begin[target[i]] != attempt[i] && begun[target[i]] >= attempt[i] -> told[target[i]] = 0 }	/* ASK */

	/* courtesy */
	:: d_step { agent[i] && view[i] != 0 && copy[i] == RUN && STARVED(i) -> copy[i] = QPAUSE }
#ifdef M_PAUSED
	:: d_step { agent[i] && (copy[i] == QPAUSE || copy[i] == HANDED) && SYNCED(i) && QUORATE(i) && owner[i] == i -> runs_again(i) }
#endif
	:: d_step { agent[i] && view[i] != 0 && copy[i] == QPAUSE && !STARVED(i) -> begins_to_run(i) }

	/* a start, asked for on any node at any time */
	:: d_step { agent[i] && copy[i] == NONE && out[i] == nothing && job[i] == 0 && SYNCED(i) && QUORATE(i) && ALL_FREE(i) && CROSSED_ALONE(i) && !WANTS_FILE(i) -> propose(i, claim, N) }
	:: d_step { out[i] == claim && COUNTS(i) && copy[i] == NONE && epoch[i] == out_epoch[i] && owner[i] == i ->
		attempt[i] = out_epoch[i]; withdraw(i); copy[i] = BUILD; assert(ended);
#ifdef X_SAVE
		of_file[i] = wants_file[i]; old[i] = wants_file[i] && saved_old; wants_file[i] = 0
#endif
		}
	:: d_step { out[i] == claim && (epoch[i] > out_epoch[i] || (epoch[i] == out_epoch[i] && owner[i] != i)) && empty(inbox[i]) -> withdraw(i) }
	:: d_step { copy[i] == BUILD && up[i] -> takes_disk(i, attempt[i]); runs_again(i) }

	/* the move's job ends */
	:: d_step { job[i] != 0 && job_attempt[i] == 0 && out[i] != begin && worker[i] == 0 -> job[i] = 0 }
#ifndef M_WAIT
	:: d_step { job_attempt[i] != 0 && (copy[i] == HANDED || copy[i] == NONE) && view[i] != 0 && !IN(view[i], JOB_TO(i)) -> job[i] = 0; job_attempt[i] = 0 }
#endif
	:: d_step { job_attempt[i] != 0 && worker[i] == 0 && (RUNS(i) || (copy[i] == NONE &&
		((epoch[i] > job_attempt[i] && owner[i] != i) || FENCED(i, JOB_TO(i)) || (SYNCED(i) && FREE(i, JOB_TO(i)))))) -> job[i] = 0; job_attempt[i] = 0 }

#ifdef X_STOP
	:: d_step { ops < OPS && agent[i] && copy[i] != NONE && !(copy[i] == HANDED && SERVES(i) && IN(view[i], target[i])) ->
		ops++; ended = 1; job[i] = 0; job_attempt[i] = 0; vanishes(i) }
#endif
#ifdef X_OFF
	:: d_step { ops < OPS && copy[i] == RUN -> ops++; ended = 1; vanishes(i) }
#endif
#ifdef X_LEAVE
	:: d_step { ops < OPS && agent[i] && view[i] != 0 && !HOLDS(i) && out[i] == nothing && job[i] == 0 && !UNWRITABLE(i) ->
		ops++; send(i, leave, boot[i], N); agent_ends(i) }
#endif
#ifdef X_WORD
#ifdef M_KEEP
	:: d_step { agent[i] && copy[i] == HANDED -> runs_again(i) }
#else
	:: d_step { agent[i] && copy[i] == HANDED && !old[i] && !(stream == 3 && from_node == i) && DISK_FREE(i) -> opens_disk(i); runs_again(i) }
#endif
	:: d_step { agent[i] && copy[i] == HANDED -> ended = 1; vanishes(i) }
#endif
#ifdef X_SAVE
	:: d_step { ops < OPS && agent[i] && copy[i] == RUN && owner[i] == i && to[i] == N && worker[i] == 0 && job[i] == 0 && out[i] == nothing ->
		ops++; ended = 1; saved = 1; saved_old = 0; saved_epoch = epoch[i]; vanishes(i) }
	:: d_step { ops < OPS && agent[i] && saved && copy[i] == NONE && out[i] == nothing && !wants_file[i] && owner[i] == N && epoch[i] == saved_epoch + 1 &&
		SYNCED(i) && QUORATE(i) && ALL_FREE(i) -> ops++; wants_file[i] = 1 }
	:: d_step { wants_file[i] && copy[i] == NONE && out[i] == nothing && SYNCED(i) && QUORATE(i) && ALL_FREE(i) && CROSSED_ALONE(i) && STILL_GOOD(i) -> propose(i, claim, N) }
	:: d_step { wants_file[i] && out[i] != claim -> wants_file[i] = 0 }	/* its time is over */
#endif
	od
}

/* --- Corosync: a membership of all agents of one class ---------------------------------------------------------------- */

#define STIRRED(k) ((stirred[0] && class[0] == k) || (stirred[1] && class[1] == k) || (stirred[N - 1] && class[N - 1] == k))
proctype Corosync()
{
	byte k, i, j, least;
	bool lossy;

	do
	:: atomic {
		if :: STIRRED(0) -> k = 0 :: STIRRED(1) -> k = 1 :: STIRRED(2) -> k = 2
#if N > 2
		   :: STIRRED(3) -> k = 3
#endif
		fi;
		if :: lossy = 0 :: lossy = 1 fi;
		d_step {
		/* of what nobody of an old group that stays together delivered, all arrives or nothing */
		i = 0;
		do
		:: i < N ->
			least = 0;
			if
			:: lossy && agent[i] && class[i] == k ->
				least = len(inbox[i]); j = 0;
				do
				:: j < N -> if :: TOGETHER(i, j) && len(inbox[j]) < least -> least = len(inbox[j]) :: else fi; j++
				:: else -> break
				od
			:: else
			fi;
			tail[i] = least; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < N ->
			do
			:: agent[i] && class[i] == k && len(inbox[i]) > tail[i] -> inbox[i]?m_type, m_from, m_epoch, m_to; SAY_BEFORE(i); deliver(i); SAY_AFTER(i)
			:: !(agent[i] && class[i] == k && len(inbox[i]) > tail[i]) -> break
			od;
			do
			:: agent[i] && class[i] == k && len(inbox[i]) > 0 -> inbox[i]?m_type, m_from, m_epoch, m_to
			:: !(agent[i] && class[i] == k && len(inbox[i]) > 0) -> break
			od;
			i++
		:: else -> break
		od;
		least = 0; i = 0;
		do :: i < N -> if :: agent[i] && class[i] == k -> least = least | BIT(i) :: else fi; i++ :: else -> break od;
		i = 0;
		do
		:: i < N && IN(least, i) ->
			new_view_forgets(i);
			j = 0;
			do
			:: j < N ->
				if
				:: IN(least, j) && !IN(view[i], j) && (AT(fenced, i, j) >= AT(seen, i, j) || AT(left, i, j) >= AT(seen, i, j)) ->
					AT(seen, i, j) = (AT(fenced, i, j) > AT(left, i, j) -> AT(fenced, i, j) : AT(left, i, j)) + 1
				:: else
				fi;
#ifdef X_NOTE
				if :: IN(probed[i], j) && !IN(least, j) -> AT(fenced, i, j) = AT(seen, i, j); probed[i] = probed[i] - BIT(j) :: else fi;
#endif
				j++
			:: else -> break
			od;
			view[i] = least; stirred[i] = 0;
#if N == 2
			if :: up[1 - i] && class[1 - i] == class[i] -> all_seen[i] = 1 :: else fi;
#endif
			i++
		:: i < N && !IN(least, i) -> i++
		:: i == N -> break
		od;
		k = 0; i = 0; j = 0; least = 0; lossy = 0; m_type = nothing } }
	od
}

/* --- fencing, faults, repairs ----------------------------------------------------------------------------------------- */

#ifdef X_FREEZE
#define ACTS(i, j) (job[j] != 0 && (j == i || TOGETHER(i, j)))
#define FROZEN(i) (ACTS(i, 0) || ACTS(i, 1) || ACTS(i, N - 1))
#else
#define FROZEN(i) 0
#endif
#define KNOWN_FENCED(i, x) (AT(fenced, i, x) >= AT(seen, i, x))
#define TELL_FENCED(i, x) c = 0; do :: c < N -> if :: c == i || TOGETHER(i, c) -> AT(fenced, c, x) = AT(seen, c, x) :: else fi; c++ :: else -> break od; c = 0

inline fence(i, x)
{
	if :: up[x] -> power_goes(x) :: else fi;
#ifdef X_NOTE
	was_fenced[x] = 1;
#endif
	TELL_FENCED(i, x)
}

#define FENCES(i, x) d_step { agent[i] && view[i] != 0 && !stirred[i] && QUORATE(i) && !IN(view[i], x) && !(up[x] && class[x] == class[i]) && \
	(!KNOWN_FENCED(i, x) || copy[x] != NONE) && !FROZEN(i) -> fence(i, x) }
#define LIES(i, x) d_step { faults < FAULTS && agent[i] && view[i] != 0 && !stirred[i] && QUORATE(i) && !IN(view[i], x) && up[x] && class[x] != class[i] && \
	!KNOWN_FENCED(i, x) && !FROZEN(i) -> faults++; ended = 1; TELL_FENCED(i, x) }
#define FENCES_MEMBER(i, x) d_step { faults < FAULTS && agent[i] && !stirred[i] && QUORATE(i) && IN(view[i], x) && up[x] && TOGETHER(i, x) && !FROZEN(i) -> \
	faults++; was_fenced[x] = 1; power_goes(x); c = 0; \
	do :: c < N -> if :: agent[c] && view[c] == view[i] && class[c] == class[i] -> probed[c] = probed[c] | BIT(x) :: else fi; c++ :: else -> break od; c = 0 }
#define ANSWERS(i, x) d_step { agent[i] && IN(probed[i], x) && TOGETHER(i, x) -> probed[i] = probed[i] - BIT(x) }
#define SAYS_OFF(i, x) d_step { agent[i] && view[i] != 0 && !IN(view[i], x) && !KNOWN_FENCED(i, x) && IS_OFF(i, x) -> TELL_FENCED(i, x) }
#ifdef M_OFF
#define IS_OFF(i, x) (!up[x] || class[x] != class[i])
#else
#define IS_OFF(i, x) (!up[x])
#endif
/* told of a fencing of long ago: who is a member answers at once, which changes nothing; X_LATE leaves time between */
#ifdef M_PROBE
#define HEARS_LATE(i, x) d_step { was_fenced[x] && agent[i] && TOGETHER(i, x) -> was_fenced[x] = 0; AT(fenced, i, x) = AT(seen, i, x) }
#else
#define HEARS_LATE(i, x) d_step { was_fenced[x] && agent[i] && TOGETHER(i, x) -> was_fenced[x] = 0; probed[i] = probed[i] | BIT(x) }
#endif

#if N > 2
#define PAIRS(do_it) :: do_it(0, 1) :: do_it(1, 0) :: do_it(0, 2) :: do_it(2, 0) :: do_it(1, 2) :: do_it(2, 1)
#else
#define PAIRS(do_it) :: do_it(0, 1) :: do_it(1, 0)
#endif
proctype Fencing()
{
	do
	PAIRS(FENCES)
#ifdef X_LIES
	PAIRS(LIES)
#endif
#ifdef X_NOTE
	PAIRS(FENCES_MEMBER)
	PAIRS(ANSWERS)
#if defined(X_LATE) || defined(M_PROBE)
	PAIRS(HEARS_LATE)
#endif
#endif
#ifdef X_WORD
	PAIRS(SAYS_OFF)
#endif
	od
}

#ifdef X_STAY
#define MAY_BOOT(i) (up[0] + up[1] + up[N - 1] < 2 || !SPENT)
#else
#define MAY_BOOT(i) 1
#endif
proctype Faults(byte i)
{
	do
	:: d_step { faults < FAULTS && up[i] -> faults++; power_goes(i) }
	:: d_step { faults < FAULTS && agent[i] -> faults++; agent_ends(i) }
	:: d_step { faults < FAULTS && class[i] == 0 -> faults++; stir(0); class[i] = i + 1 }
	:: d_step { faults < FAULTS && worker[i] != 0 -> faults++; worker[i] = 0; if :: LINKED(i) && stream != 3 -> stream = 0 :: else fi }
	:: d_step { faults < FAULTS && (copy[i] == INCOMING || copy[i] == READY) -> faults++; vanishes(i) }
#ifdef X_DIE
	:: d_step { faults < FAULTS && copy[i] != NONE -> faults++; ended = 1; vanishes(i) }
#endif
#ifdef X_DISK
	:: d_step { faults < FAULTS && up[i] -> faults++; power_goes(i); record(i, 0, N, N); begun[i] = 0; activated[i] = 0;
		a = 0; do :: a < N -> AT(seen, i, a) = 1; a++ :: else -> break od; a = 0 }
#endif
#ifdef X_FULL
	:: d_step { (faults < FAULTS || COSTLESS) && !filled[i] && up[i] -> faults = faults + 1 - COSTLESS; disk_fills(i) }
	:: d_step { filled[i] -> disk_has_room(i) }
#endif
	:: d_step { class[i] != 0 -> stir(class[i]); class[i] = 0; stir(0) }
	:: d_step { !up[i] && MAY_BOOT(i) -> up[i] = 1; boot[i] = boot[i] + 8; }
	:: d_step { up[i] && !agent[i] && !IS_FULL(i) -> agent[i] = 1; boot[i] = boot[i] + 1; AT(seen, i, i) = boot[i]; stir(class[i]) }
	od
}

proctype Link()
{
	do
	:: d_step { faults < FAULTS && stream != 0 -> faults++; stream = 0 }
#ifdef X_LINK
	:: d_step { faults < FAULTS && stream == 1 -> faults++; stream = 4 }
	:: d_step { stream == 1 && worker[from_node] == 2 && class[from_node] != class[to_node] -> stream = 4 }
#endif
	:: d_step { stream != 0 && ((stream != 4 && class[from_node] != class[to_node]) || !up[to_node] || (stream != 3 && worker[from_node] == 0)) -> stream = 0 }
	:: d_step { stream != 0 && copy[to_node] != INCOMING && copy[to_node] != READY -> stream = 0 }
	:: d_step { stream == 0 && (from_node != 0 || to_node != 0) -> from_node = 0; to_node = 0 }
#ifdef X_POST
	:: d_step { stream == 0 && owing -> owing = 0 }
#endif
	od
}

#ifdef X_QDEV
/* The device gives its vote to one side, and takes it from a node that is off; a fault: it is away, or changes its mind. */
proctype Qdevice()
{
	do
	:: d_step { vote == N && up[0] -> vote = 0 }
	:: d_step { vote == N && up[1] -> vote = 1 }
	:: d_step { vote < N && !up[vote] -> vote = N }
	:: d_step { faults < FAULTS && vote < N -> faults++; vote = N }
	od
}
#endif

/* --- the end of a run ------------------------------------------------------------------------------------------------- */

#define RUNS_HERE(i) (copy[i] == RUN)
#define IN_ORDER(i) ((copy[i] == NONE || copy[i] == RUN) && !LACKS(i))
#define RIGHT(i) (!agent[i] || (to[i] == N && owner[i] < N && copy[owner[i]] == RUN))
proctype Calm()
{
	do
	:: d_step { !SPENT -> faults = FAULTS; moves = MIGS; ops = OPS }
#ifndef X_LIES
	:: atomic { timeout -> assert(COUNT(RUNS_HERE) == 1 && EACH(IN_ORDER) && EACH(RIGHT)); break }
#endif
	od
}

init
{
	atomic {
	d_step {
	a = 0;
	do
	:: a < N ->
		up[a] = 1; agent[a] = 1; view[a] = EVERYBODY; reported[a] = EVERYBODY; holds[a] = 1; told[a] = 1; out[a] = nothing;
		epoch[a] = 1; owner[a] = 0; to[a] = N; boot[a] = 1;
#if N == 2
		all_seen[a] = 1;
#endif
		b = 0;
		do :: b < N -> AT(seen, a, b) = 1; b++ :: else -> break od;
		a++
	:: else -> break
	od;
	told[0] = 2; copy[0] = RUN; takes_disk(0, 1); m_type = nothing };
	run Node(0); run Node(1);
#ifdef X_QDEV
	run Qdevice();
#endif
#if N > 2
	run Node(2); run Faults(2);
#endif
	run Faults(0); run Faults(1); run Corosync(); run Fencing(); run Link(); run Calm() }
}
