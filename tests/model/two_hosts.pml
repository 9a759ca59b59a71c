/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * two_hosts.pml - a move between two plain hosts and `haven resolve` (docs/adr/0007-two-plain-hosts.md), for spin. Checked in every state: no
 * copy begins to run while the other runs, and none whose memory is older than the disk. Checked where nothing can go on: when no host lost
 * its power, one copy runs and the other host holds none.
 *
 * Host 0 runs the domain, host 1 is the target; a later move may go the other way. The link breaks at any moment, for any time; a host's power
 * goes (its copy is gone then, its disk is not); a worker dies with the link. The operators of both hosts say whatever words they like, at any
 * time and over each other, without --force: each word is what resolve_plan.c makes of what was seen, one step at a time, the steps of two
 * words interleaved, the link lost between them. A request over the link is one step, its answer may be lost: then the word ends there.
 *
 * Mutations; spin has to find what each breaks:
 *	M_GOES		the target's ready copy runs when the link is lost
 *	M_WAKES		the source's handed copy runs on when the link is lost
 *	M_UNSEEN	a word for the source's copy needs no look at the target
 *	M_LAST		a word for the target's copy is done although the source holds none: it may have run on before it lost it
 *	M_KEPT		the source's copy resumes first, the target's is dropped afterwards
 *	M_UNTAKEN	what the target's disk says of the move is not asked for
 *	M_GONE		a copy that is gone when it is to be dropped counts as dropped, though it may have run meanwhile
 *	M_STALE		a ready copy is known by its host alone, not by its attempt
 * X_TRACE prints each word's facts and steps for tests/model/resolve_replay.c.
 */
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef MOVES
#define MOVES 2
#endif
#ifndef WORDS
#define WORDS 2
#endif

#define NONE	0
#define RUN	1
#define PAUSED	2
#define HANDED	3
#define READY	4

#define LOOK_UNKNOWN 0
#define LOOK_NONE 1
#define LOOK_RUNS 2
#define LOOK_HANDED 3
#define LOOK_READY 4

#define END 0
#define DROP_READY 1
#define RESUME 2
#define TAKE 3
#define DROP_HANDED 4

byte copy[2], attempt[2], started[2];	/* started: on disk, the number of the last start or attempt */
bool old[2], up[2];
bool reach;				/* the network between the two */
byte stream;				/* of the move under way: 0 none, 1 up, 2 READY on its way, 3 GO on its way */
byte from_host, number, faults, moves, words;
bool lost;				/* a copy was lost with a host's power */
byte saw_s, saw_t, saw_taken, wants;	/* scratch */

inline begins_to_run(i)
{
	assert(copy[1 - i] != RUN);
	assert(!old[i]);
	if :: copy[1 - i] != NONE -> old[1 - i] = 1 :: else fi;
	copy[i] = RUN; attempt[i] = 0
}
inline vanishes(i) { copy[i] = NONE; attempt[i] = 0; old[i] = 0 }

#define SAME(i, a) (attempt[i] == (a))
#ifdef M_STALE
#define IS_READY(i, a) (copy[i] == READY)
#else
#define IS_READY(i, a) (copy[i] == READY && SAME(i, a))
#endif
/* What is seen of host i's copy, of attempt a, whose target is t. */
#define STATE(i, a, t) (copy[i] == NONE -> LOOK_NONE : (copy[i] == HANDED && SAME(i, a) && i != t -> LOOK_HANDED : \
	(IS_READY(i, a) && i == t -> LOOK_READY : LOOK_RUNS)))

/* resolve_plan.c, without force: first and second step, or none. wants: 1 the source's copy is to run, 2 the target's. */
byte plan1, plan2;	/* scratch */
inline plan()
{
	plan1 = END; plan2 = END;
	if
	:: wants == 1 && (saw_t == LOOK_RUNS || (saw_taken && saw_t != LOOK_READY)) -> skip
	:: wants == 1 && !(saw_t == LOOK_RUNS || (saw_taken && saw_t != LOOK_READY)) ->
		if
#ifdef M_UNSEEN
		:: saw_s == LOOK_HANDED && saw_t == LOOK_UNKNOWN -> plan1 = RESUME
#endif
		:: saw_s == LOOK_HANDED && saw_t == LOOK_READY ->
#ifdef M_KEPT
			plan1 = RESUME; plan2 = DROP_READY
#else
			plan1 = DROP_READY; plan2 = RESUME
#endif
		:: saw_s == LOOK_HANDED && saw_t == LOOK_NONE -> plan1 = RESUME
		:: saw_s == LOOK_RUNS && saw_t == LOOK_READY -> plan1 = DROP_READY
		:: else
		fi
	:: wants == 2 ->
		if
		:: saw_t == LOOK_READY && saw_s == LOOK_HANDED -> plan1 = TAKE; plan2 = DROP_HANDED
#ifdef M_LAST
		:: saw_t == LOOK_READY && saw_s == LOOK_NONE -> plan1 = TAKE
#endif
		:: saw_t != LOOK_READY && saw_t != LOOK_UNKNOWN && saw_s == LOOK_HANDED && (saw_t == LOOK_RUNS || saw_taken) -> plan1 = DROP_HANDED
		:: else
		fi
	:: else
	fi
}

/* A copy that is gone is as good as dropped, when it never ran. */
#ifdef M_GONE
#define GONE_IS_GOOD(t, a) 1
#else
#define GONE_IS_GOOD(t, a) (started[t] < a)
#endif
/* At the source s, target t, of attempt a; what is not as the step wants it is refused, and the word ends. */
inline step(what, s, t, a, ret_done)
{
	ret_done = 0;
	if
	:: what == DROP_READY && ((copy[t] == NONE && GONE_IS_GOOD(t, a)) || IS_READY(t, a)) -> vanishes(t); ret_done = 1
	:: what == RESUME && copy[s] == HANDED && SAME(s, a) -> begins_to_run(s); ret_done = 1
	:: what == TAKE && IS_READY(t, a) -> started[t] = attempt[t]; begins_to_run(t); ret_done = 1
	:: what == DROP_HANDED && (copy[s] == NONE || (copy[s] == HANDED && SAME(s, a))) -> vanishes(s); ret_done = 1
	:: else
	fi
}
#ifdef M_UNTAKEN
#define TAKEN(t, a) 0
#else
#define TAKEN(t, a) (started[t] >= a)
#endif
#ifdef X_TRACE
#define SAY_PLAN printf("P %d %d %d %d = %d %d\n", saw_s, saw_t, saw_taken, wants, plan1, plan2)
#else
#define SAY_PLAN skip
#endif

proctype Operator(byte i)
{
	byte a, s, t, first, second;
	bool done;

	do
	:: atomic {
		words < WORDS && up[i] && copy[i] != NONE && (copy[i] == HANDED || copy[i] == READY ||
			(reach && up[1 - i] && (copy[1 - i] == HANDED || copy[1 - i] == READY))) ->
		words++;
		/* the move: the copy that waits says which, the one here first */
		if
		:: copy[i] == HANDED -> s = i; a = attempt[i]
		:: copy[i] == READY -> s = 1 - i; a = attempt[i]
		:: copy[i] != HANDED && copy[i] != READY && copy[1 - i] == READY -> s = i; a = attempt[1 - i]
		:: copy[i] != HANDED && copy[i] != READY && copy[1 - i] == HANDED -> s = 1 - i; a = attempt[1 - i]
		fi;
		t = 1 - s;
		if :: wants = 1 :: wants = 2 fi;
		saw_s = (s == i || (reach && up[s]) -> STATE(s, a, t) : LOOK_UNKNOWN);
		saw_t = (t == i || (reach && up[t]) -> STATE(t, a, t) : LOOK_UNKNOWN);
		saw_taken = (t == i || (reach && up[t])) && TAKEN(t, a);
		plan();
		SAY_PLAN;
		first = plan1; second = plan2; plan1 = END; plan2 = END; saw_s = 0; saw_t = 0; saw_taken = 0; wants = 0 };
		do
		:: atomic {
			first != END && up[i] && (reach || ((first == RESUME || first == DROP_HANDED) == (s == i))) && up[0] && up[1] ->
			step(first, s, t, a, done);
			if :: done -> first = second; second = END :: else -> first = END; second = END fi; done = 0 }
		/* alone it does what is its own; what is over the link fails, or its answer is lost after it was done */
		:: atomic {
			first != END && up[i] && ((first == RESUME || first == DROP_HANDED) == (s == i)) && !up[1 - i] ->
			step(first, s, t, a, done);
			if :: done -> first = second; second = END :: else -> first = END; second = END fi; done = 0 }
		:: d_step { first != END && !((first == RESUME || first == DROP_HANDED) == (s == i)) && (!reach || !up[1 - i]) -> first = END; second = END }
		:: d_step { !up[i] -> first = END; second = END }
		:: d_step { faults < FAULTS && first != END && !((first == RESUME || first == DROP_HANDED) == (s == i)) && up[1 - i] -> faults++;
			step(first, s, t, a, done); done = 0; first = END; second = END }
		:: first == END -> break
		od;
		atomic { a = 0; s = 0; t = 0 }
	od
}

#define S from_host
#define T (1 - from_host)
#define AWAY (!reach || !up[S] || !up[T])
proctype Move()
{
	do
	/* a new one; what a host has ready of an earlier one of the same direction goes, since who begins another runs it */
	:: d_step { moves < MOVES && stream == 0 && up[0] && up[1] && reach && copy[0] == RUN && (copy[1] == NONE || copy[1] == READY) ->
		moves++; from_host = 0; number = number + 1; vanishes(1); attempt[0] = number; stream = 1 }
	:: d_step { moves < MOVES && stream == 0 && up[0] && up[1] && reach && copy[1] == RUN && (copy[0] == NONE || copy[0] == READY) ->
		moves++; from_host = 1; number = number + 1; vanishes(0); attempt[1] = number; stream = 1 }
	:: d_step { stream == 1 && copy[S] == RUN && attempt[S] == number -> copy[S] = PAUSED }
	:: d_step { stream == 1 && copy[S] == PAUSED && copy[T] == NONE && up[T] -> copy[T] = READY; attempt[T] = number; old[T] = old[S]; stream = 2 }
	/* READY came, or the link is gone as it is looked at for the last time: the mark, then GO */
	:: d_step { (stream == 2 || stream == 0) && copy[S] == PAUSED && attempt[S] == number && copy[T] != NONE -> copy[S] = HANDED;
		if :: stream == 2 -> stream = 3 :: else fi }
	:: d_step { stream == 3 && copy[T] == READY && attempt[T] == number && up[T] -> started[T] = number; begins_to_run(T); stream = 4 }
	/* DONE */
	:: d_step { stream == 4 && reach && up[S] && copy[S] == HANDED && attempt[S] == number -> vanishes(S); stream = 0 }
	/* the link is gone: who is paused runs on, who is ready stands still */
	:: d_step { stream != 0 && stream != 3 && AWAY -> stream = 0 }
	:: d_step { faults < FAULTS && stream != 0 -> faults++; stream = 0 }
	:: d_step { stream == 3 && !up[T] -> stream = 0 }
	:: d_step { stream == 4 && copy[S] != HANDED -> stream = 0 }
	:: d_step { stream == 3 && copy[T] != READY -> stream = 0 }
	:: d_step { (stream == 0 || stream > 2) && copy[S] == PAUSED -> begins_to_run(S) }
	/* the source says ABORT, and is heard */
	:: d_step { stream == 2 && copy[S] == PAUSED && !AWAY -> vanishes(T); begins_to_run(S); stream = 0 }
#ifdef M_GOES
	:: d_step { stream == 0 && copy[T] == READY -> begins_to_run(T) }
#endif
#ifdef M_WAKES
	:: d_step { stream == 0 && copy[S] == HANDED -> begins_to_run(S) }
#endif
	od
}

proctype Faults(byte i)
{
	do
	:: d_step { faults < FAULTS && up[i] -> faults++; up[i] = 0; if :: copy[i] != NONE -> lost = 1 :: else fi; vanishes(i) }
	:: d_step { !up[i] -> up[i] = 1 }
	:: d_step { i == 0 && faults < FAULTS && reach -> faults++; reach = 0 }
	:: d_step { i == 0 && !reach -> reach = 1 }
	od
}

/* Operators who looked at everything and said what could be said; what is left then has no word to wait for. */
#define WAITS ((copy[0] == HANDED || copy[0] == READY || copy[1] == HANDED || copy[1] == READY))
/* and one of them has a word that settles it: both can be asked */
#define SETTLES(i) ((copy[i] == HANDED && (copy[1 - i] == NONE || copy[1 - i] == RUN || (copy[1 - i] == READY && attempt[0] == attempt[1]))) || \
	(copy[i] == READY && (copy[1 - i] == RUN || (copy[1 - i] == HANDED && attempt[0] == attempt[1]))))
proctype Calm()
{
	do
	:: d_step { faults == FAULTS && reach && up[0] && up[1] && stream == 0 && WAITS && copy[0] != PAUSED && copy[1] != PAUSED && !lost && !SETTLES(0) && !SETTLES(1) -> assert(false) }
	:: d_step { faults == FAULTS && moves == MOVES && WAITS && words == WORDS && stream == 0 -> words = WORDS - 1 }	/* they go on until it is settled */
	:: d_step { !(faults == FAULTS && moves == MOVES) -> faults = FAULTS; moves = MOVES }
	:: atomic { timeout -> assert(lost || (copy[0] == RUN && copy[1] == NONE) || (copy[1] == RUN && copy[0] == NONE)); break }
	od
}

init
{
	atomic {
	d_step { up[0] = 1; up[1] = 1; reach = 1; copy[0] = RUN; number = 1; started[0] = 1; plan1 = END };
	run Operator(0); run Operator(1); run Move(); run Faults(0); run Faults(1); run Calm() }
}
