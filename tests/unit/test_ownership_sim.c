/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Three nodes (or five: test_ownership_sim5; or two and a quorum device, whose vote goes about: test_ownership_sim2), two domains, everything
 * that may go wrong, in virtual time: ownership.c against the claims of docs/specs/ownership.md. Corosync, hypervisord, the copies, migration workers, fencing and Pacemaker are simulated as
 * reference/ownership.pml has them, but with every step of its own: an action takes time, an event arrives later.
 *
 * Checked at every step: no copy runs while another runs; none runs with memory older than its disk. When the faults have
 * stopped and everything is repaired: exactly one copy of each domain runs, no other copy is left, every record names its node.
 *
 *	test_ownership_sim [FIRST_SEED [COUNT]]      a seed that fails is printed; run it alone to see it again
 *	SIM_TRACE=1 test_ownership_sim SEED 1        every step of it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ownership_sim.h"

#define FAULT_STEPS 6000
#define CALM_STEPS (20000 * N)         /* a step is one node's: so many are as much for each, whatever N is */

static void one_step(void)
{
	int i = (int)rnd(N), r = (int)rnd(100);
	struct node *n = &nodes[i];

	steps++;
	if (r < 35) {
		if (n->agent && n->n_inbox)
			deliver_one(i);
	} else if (r < 50) {
		if (n->up && n->n_jobs)
			hv_step(i);
	} else if (r < 65) {
		if (n->agent && n->n_notes)
			hear_step(i);
		else if (n->agent && n->listing)
			list_step(i);
	} else if (r < 80) {
		for (int k = 0; k < 64; k++)
			if (migs[k].used && rnd(2)) {
				mig_step(&migs[k]);
				break;
			}
	} else if (r < 85) {
		for (int c = 0; c <= N; c++)
			for (int k = 0; k < N; k++)
				if (nodes[k].class == c && nodes[k].dirty) {
					new_membership(c);
					return;
				}
	} else if (r < 88) {
		if (n->agent)
			request_step(i);
	} else if (r < 90) {
		if (!calm && rnd(40) == 0)
			old_notice_step(i, (int)rnd(N));
		else
			fence_step(i, (int)rnd(N));
	} else if (r < 92) {
		if (n->agent)
			own_tick(n->o);
	} else if (r < 94) {
		if (!calm && rnd(3) == 0)
			fault_step();
		else if (calm || rnd(8) == 0)
			vote_step();
	} else if (r < 97) {
		if (calm || rnd(5) == 0)
			repair_step(i);
	} else if (rnd(3) == 0) {
		pages_step(i, (int)rnd(D));
	}
}

/* --- a run --------------------------------------------------------------------------------------------------------------------- */

/* Everything in order and nothing left to do. */
static bool settled(const char **why)
{
	*why = "nothing";
	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].dirty || nodes[i].class || nodes[i].n_inbox || nodes[i].n_jobs || nodes[i].n_notes ||
		    nodes[i].listing)
			return *why = "something is still under way", false;
	}
	for (int d = 0; d < D; d++) {
		int runs = -1;

		for (int i = 0; i < N; i++) {
			enum own_copy s = nodes[i].copy[d].state;

			if (nodes[i].copy[d].source)
				return *why = "pages are owed", false;
			if (s == OWN_RUN && runs >= 0)
				return *why = "two run", false;
			if (s == OWN_RUN)
				runs = i;
			else if (s != OWN_NONE)
				return *why = "a copy that does not run is left", false;
		}
		if (runs < 0)
			return *why = "no copy runs", false;
		for (int i = 0; i < N; i++) {
			const struct own_dom *dom = own_find(nodes[i].o, uuids[d]);

			if (!dom || dom->rec.owner != ids[runs] || dom->rec.to)
				return *why = "a record does not name the node it runs on", false;
		}
	}
	return true;
}

static void run_seed(void)
{
	const char *why;

	rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (int i = 0; i < 20; i++)
		(void)rnd(2);
	memset(migs, 0, sizeof(migs));
	vote = N == 2 ? 0 : -1;
	steps = 0;
	calm = 0;
	faults_left = 1 + (int)rnd(8);
	for (int i = 0; i < N; i++) {
		for (int d = 0; d < D; d++)
			free(nodes[i].disk[d].config);
		memset(&nodes[i], 0, sizeof(nodes[i]));
		for (int d = 0; d < D; d++)
			nodes[i].copy[d].target = -1;
		for (int k = 0; k < N; k++)
			nodes[i].seen[k].node = ids[k];
		node_up(i);
		agent_start(i);
	}
	for (int i = 0; i < FAULT_STEPS; i++)
		one_step();
	calm = 1;
	for (int i = 0; i < CALM_STEPS; i++) {
		one_step();
		if (i % 16 == 0 && settled(&why))
			break;
	}
	if (!settled(&why))
		broken(why);
	for (int i = 0; i < N; i++)
		agent_stop(i);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1500;
	const char *is_long = getenv("HAVEN_LONG");

	if (argc < 3 && is_long && *is_long == '1')
		count = 65000;
	trace = getenv("SIM_TRACE") != NULL;
	for (seed = first; seed < first + count; seed++)
		run_seed();
	printf("seeds %llu to %llu: %d moves, %d starts, %d resumed on a promise, %d by post-copy, %d ended for their pages, %d links made again\n",
	       (unsigned long long)first, (unsigned long long)(first + count - 1), migrations, failovers, promises, by_post_copy, lost_pages, linked_again);
	return 0;
}
