/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resolve_plan.h - two plain hosts, a move that broke off: what follows from both copies' states and the operator's word. Pure: a table,
 * which tests/model/two_hosts.pml has too (docs/adr/0007-two-plain-hosts.md).
 *
 *	v = resolve_plan(&facts, RESOLVE_SOURCE, false);    v.step[0] ... are carried out in their order until one fails
 */
#ifndef HA_AGENT_RESOLVE_PLAN_H
#define HA_AGENT_RESOLVE_PLAN_H

#include <stdbool.h>

/* A copy, as far as this move (its attempt, between these two hosts) goes. */
enum resolve_copy {
	RESOLVE_UNKNOWN,	/* that host cannot be asked */
	RESOLVE_NONE,
	RESOLVE_RUNS,		/* it runs, or can by itself: nobody's word is waited for */
	RESOLVE_HANDED,		/* at the source: GO may have been sent */
	RESOLVE_READY,		/* at the target: everything but GO */
	RESOLVE_COPIES
};

enum resolve_word { RESOLVE_LOOK, RESOLVE_SOURCE, RESOLVE_TARGET };	/* whose copy is to run */

enum resolve_step {
	RESOLVE_END,
	RESOLVE_DROP_READY,	/* at the target: the promise. After it nothing of this move can run there */
	RESOLVE_RESUME,		/* at the source */
	RESOLVE_TAKE,		/* at the target: GO once more */
	RESOLVE_DROP_HANDED	/* at the source: DONE */
};

struct resolve_facts {
	enum resolve_copy source, target;
	bool taken;		/* the target's disk says that it ran (known unless the target is unknown) */
	bool serves;		/* the handed copy's pages are still fetched, or would be */
};

struct resolve_verdict {
	enum resolve_step step[3];	/* RESOLVE_END ends them; none: refused, or nothing to do */
	const char *why;		/* refused: the reason, a sentence about "the source" and "the target"; else NULL */
	bool forcible;			/* --force would do it: on the operator's word that the other host holds nothing that runs */
};

/* word: not RESOLVE_LOOK. force: the operator answers for what cannot be seen; what can be seen it does not overrule. */
struct resolve_verdict resolve_plan(const struct resolve_facts *f, enum resolve_word word, bool force);
/* Whose copy would be let run without force: neither, one or both, as bits 1 << RESOLVE_SOURCE, 1 << RESOLVE_TARGET. */
unsigned resolve_choices(const struct resolve_facts *f);

#endif
