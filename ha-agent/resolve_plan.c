/* SPDX-License-Identifier: GPL-2.0-or-later */
/* resolve_plan.c - see resolve_plan.h. */
#include "ha-agent/resolve_plan.h"

#include <stddef.h>

static struct resolve_verdict refuse(const char *why, bool forcible)
{
	return (struct resolve_verdict){ .why = why, .forcible = forcible };
}

static struct resolve_verdict steps(enum resolve_step first, enum resolve_step second)
{
	return (struct resolve_verdict){ .step = { first, second } };
}

/* The source's copy runs when the target's is gone for certain, and never was let run. */
static struct resolve_verdict plan_source(const struct resolve_facts *f, bool force)
{
	if (f->target == RESOLVE_RUNS)
		return refuse("the target runs it; the copy at the source is older than its disk", false);
	if (f->taken && f->target != RESOLVE_READY)	/* one that is ready yet was to run, and never did */
		return refuse("the target has taken this move and run it; the copy at the source is older than its disk", false);
	if (f->source == RESOLVE_HANDED && f->target == RESOLVE_UNKNOWN)
		return force ? steps(RESOLVE_RESUME, RESOLVE_END) : refuse("the target cannot be asked, and may run it", true);
	if (f->source == RESOLVE_HANDED)
		return f->target == RESOLVE_READY ? steps(RESOLVE_DROP_READY, RESOLVE_RESUME) : steps(RESOLVE_RESUME, RESOLVE_END);
	if (f->target != RESOLVE_READY)
		return refuse("no copy waits for a word", false);
	if (f->source == RESOLVE_RUNS || force)
		return steps(RESOLVE_DROP_READY, RESOLVE_END);
	return f->source == RESOLVE_UNKNOWN ? refuse("the source cannot be asked, and may have lost its copy", true)
					    : refuse("the source holds no copy; the one at the target is the last", true);
}

/* The target's copy runs when the source's stands still for certain, and stood still since it was sent. */
static struct resolve_verdict plan_target(const struct resolve_facts *f, bool force)
{
	if (f->target == RESOLVE_READY && f->source == RESOLVE_RUNS)
		return refuse("the source runs it; the copy at the target is older than its disk", false);
	if (f->target == RESOLVE_READY && f->source == RESOLVE_HANDED)
		return steps(RESOLVE_TAKE, f->serves ? RESOLVE_END : RESOLVE_DROP_HANDED);
	if (f->target == RESOLVE_READY && force)
		return steps(RESOLVE_TAKE, RESOLVE_END);
	if (f->target == RESOLVE_READY)
		return f->source == RESOLVE_UNKNOWN ? refuse("the source cannot be asked, and may run it", true)
			: refuse("the source holds no copy, and cannot tell whether it ran on before it lost it", true);
	if (f->source != RESOLVE_HANDED)
		return refuse("no copy waits for a word", false);
	if (f->target == RESOLVE_UNKNOWN)
		return force ? steps(RESOLVE_DROP_HANDED, RESOLVE_END) : refuse("the target cannot be asked, and may never have taken it", true);
	if (f->target == RESOLVE_RUNS && f->serves)
		return refuse("the target runs it and still fetches its memory from the source", false);
	if (f->target == RESOLVE_RUNS || f->taken)
		return steps(RESOLVE_DROP_HANDED, RESOLVE_END);
	return refuse("the target never took it and holds no copy; the one at the source is the only one", false);
}

struct resolve_verdict resolve_plan(const struct resolve_facts *f, enum resolve_word word, bool force)
{
	return word == RESOLVE_SOURCE ? plan_source(f, force) : plan_target(f, force);
}

unsigned resolve_choices(const struct resolve_facts *f)
{
	unsigned ret = 0;

	for (enum resolve_word w = RESOLVE_SOURCE; w <= RESOLVE_TARGET; w++)
		if (!resolve_plan(f, w, false).why)
			ret |= 1u << w;
	return ret;
}
