/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Corosync: deliveries, memberships, what is lost with one; the quorum device. */
#include <string.h>

#include "tests/unit/ownership_sim.h"

void deliver_one(int i)
{
	struct node *n = &nodes[i];
	struct own_msg *m = n->inbox[0];

	memmove(n->inbox, n->inbox + 1, (size_t)--n->n_inbox * sizeof(n->inbox[0]));
	own_deliver(n->o, m);
	msg_free(m);
}

/*
 * As corosync_link.c has it: Corosync counts nodes (and the device's vote); the group may decide when it is all of them, or a majority.
 */
static void tell_quorum(int i)
{
	int n = 0, up = 0;
	bool quorate;

	for (int k = 0; k < N; k++) {
		n += nodes[k].agent && nodes[k].class == nodes[i].class && nodes[k].view == nodes[i].view;
		up += nodes[k].up && nodes[k].class == nodes[i].class;
	}
	quorate = N == 2 ? up + (vote >= 0 && nodes[vote].class == nodes[i].class) >= 2 : 2 * up > N;
	own_quorum(nodes[i].o, quorate && (n == up || 2 * n > N), quorate);
}

/* What no member of an old group in this class delivered may be lost, the same for all of them. */
void new_membership(int class)
{
	uint32_t members[N];
	int keep[N] = { 0 }, n = 0, up = 0;

	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].class != class)
			continue;
		int least = nodes[i].n_inbox;

		for (int k = 0; k < N; k++)
			if (nodes[k].agent && nodes[k].class == class && nodes[k].view == nodes[i].view && nodes[k].n_inbox < least)
				least = nodes[k].n_inbox;
		keep[i] = least;
	}
	uint32_t share = rnd(3);	/* of the undelivered tail: nothing lost, all lost, some */

	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].class != class)
			continue;
		int drop = share == 0 ? 0 : share == 1 ? keep[i] : keep[i] / 2;

		while (nodes[i].n_inbox > drop)
			deliver_one(i);
		while (nodes[i].n_inbox)
			msg_free(nodes[i].inbox[--nodes[i].n_inbox]);
	}
	for (int i = 0; i < N; i++) {
		up += nodes[i].up && nodes[i].class == class;
		if (nodes[i].agent && nodes[i].class == class)
			members[n++] = ids[i];
	}
	next_view++;
	say("membership %llu of class %d: %d agents on %d nodes", (unsigned long long)next_view, class, n, up);
	for (int i = 0; i < N; i++)
		if (nodes[i].class == class) {
			nodes[i].dirty = false;
			if (nodes[i].agent)
				nodes[i].view = next_view;
		}
	for (int i = 0; i < N; i++) {
		if (!nodes[i].agent || nodes[i].class != class)
			continue;
		own_view(nodes[i].o, next_view, members, n);
		tell_quorum(i);
	}
}

/* The device's mind changes without a change of membership; in the end it is with somebody who is there. */
void vote_step(void)
{
	int was = vote;

	if (N != 2)
		return;
	if (!calm)
		vote = (int)rnd(3) - 1;
	else if (vote < 0 || !nodes[vote].up)
		vote = (int)rnd(2);
	if (vote == was)
		return;
	say("the device votes for %s", vote < 0 ? "nobody" : node_names[vote]);
	for (int i = 0; i < N; i++)
		if (nodes[i].agent && nodes[i].view && !nodes[i].dirty)
			tell_quorum(i);
}
