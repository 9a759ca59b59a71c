/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fencing, what Pacemaker and operators ask for, faults and repairs. */
#include <string.h>

#include <errno.h>

#include "tests/unit/ownership_sim.h"

void fence_step(int i, int x)
{
	struct node *n = &nodes[i];

	bool member;

	if (i == x || !n->agent || !n->view || n->dirty || !n->o->quorate)
		return;
	member = own_member(n->o, ids[x]);
	/* a member is fenced when a stop fails there, say: that counts among the faults */
	if (member && (faults_left <= 0 || rnd(10)))
		return;
	if (!member && nodes[x].up && nodes[x].class == n->class)
		return;
	faults_left -= member;
	if (n->o->nodes[own_index(n->o, ids[x])].fenced >= n->o->nodes[own_index(n->o, ids[x])].seen && !nodes[x].up)
		return;
	say("%s fences %s", node_names[i], node_names[x]);
	if (nodes[x].up)
		node_down(x);
	for (int k = 0; k < N; k++)
		if (nodes[k].agent && nodes[k].class == n->class && nodes[k].view == n->view)
			own_fenced(nodes[k].o, ids[x]);
}

/* A fencing of long ago comes up again: whoever answers is not taken for dead. */
void old_notice_step(int i, int x)
{
	struct node *n = &nodes[i];

	if (i == x || !n->agent || !n->view || n->dirty || nodes[x].dirty || !nodes[x].agent || nodes[x].view != n->view ||
	    nodes[x].class != n->class)
		return;
	say("%s hears of an old fencing of %s", node_names[i], node_names[x]);
	own_fenced(n->o, ids[x]);
	for (int k = 0; k < N; k++)
		while (nodes[k].agent && nodes[k].view == n->view && nodes[k].n_inbox)
			deliver_one(k);
	for (int k = 0; k < N; k++)
		while (nodes[k].agent && nodes[k].view == n->view && nodes[k].n_inbox)
			deliver_one(k);
	if (own_is_fenced(n->o, ids[x]))
		broken("a living member is taken for fenced");
}

static void start_step(int i, int d)
{
	struct own_record rec = { .domid = 0 };
	char text[OWN_TEXT_LEN];

	strcpy(rec.name, names[d]);
	strcpy(rec.hash, "hash");
	(void)own_start(nodes[i].o, uuids[d], &rec, "{}", text);
}

void request_step(int i)
{
	char text[OWN_TEXT_LEN];
	int d = (int)rnd(D);

	switch (rnd(calm ? 1 : 14)) {
	case 0:
		if (calm) {
			bool any = false;

			for (int k = 0; k < N; k++)
				any = any || nodes[k].copy[d].state != OWN_NONE;
			if (any)
				own_cancel(nodes[i].o, uuids[d], "not needed");
			else
				start_step(i, d);
		} else {
			start_step(i, d);
		}
		break;
	case 1:
		own_cancel(nodes[i].o, uuids[d], "cancelled");
		break;
	case 2:
		if (rnd(6) == 0)
			own_stop(nodes[i].o, uuids[d], text);
		break;
	case 3:
		own_nudge(nodes[i].o, uuids[d]);
		break;
	case 4: case 5: case 6: case 7: case 8: case 10: case 11: case 12:
		own_migrate(nodes[i].o, uuids[d], ids[rnd(N)], text);
		break;
	case 9:
		if (rnd(20) == 0 && own_leave(nodes[i].o) == 0) {
			say("%s: leaves in order", node_names[i]);
			if (rnd(2) && nodes[i].n_inbox)
				while (nodes[i].n_inbox)
					deliver_one(i);
			agent_stop(i);
		}
		break;
	default:
		break;
	}
}

/* A move that is under way, or a slot without one. */
static int some_move(void)
{
	int n = 0, used[64] = { 0 };

	for (int k = 0; k < 64; k++)
		if (migs[k].used)
			used[n++] = k;
	return n ? used[rnd((uint32_t)n)] : 0;
}

void fault_step(void)
{
	int i = (int)rnd(N), k = some_move();

	if (faults_left <= 0)
		return;
	if (migs[k].used && rnd(2))
		i = rnd(2) ? migs[k].src : migs[k].dst;
	switch (rnd(7)) {
	case 6:
		k = (int)rnd(D);
		if (nodes[i].up && nodes[i].copy[k].state != OWN_NONE) {
			faults_left--;
			say("%s: hv-domain of %s dies", node_names[i], names[k]);
			set_copy(i, k, OWN_NONE);
		}
		break;
	case 0:
		if (nodes[i].up) {
			faults_left--;
			node_down(i);
		}
		break;
	case 1:
		if (nodes[i].agent) {
			faults_left--;
			say("%s: ha-agentd dies", node_names[i]);
			agent_stop(i);
		}
		break;
	case 2:
		if (nodes[i].class == 0) {
			faults_left--;
			say("%s: cut off", node_names[i]);
			touch(0);
			nodes[i].class = i + 1;
			nodes[i].dirty = true;
		}
		break;
	case 3:
		if (migs[k].used && migs[k].link) {
			faults_left--;
			say("link of attempt %llu breaks", (unsigned long long)migs[k].attempt);
			migs[k].link = false;
		}
		break;
	case 4:
		if (migs[k].used && migs[k].src_worker) {
			faults_left--;
			say("source worker of attempt %llu dies", (unsigned long long)migs[k].attempt);
			mig_end_source(&migs[k], -EIO, true);
		}
		break;
	default:
		if (migs[k].used && migs[k].dst_worker) {
			faults_left--;
			say("target worker of attempt %llu dies", (unsigned long long)migs[k].attempt);
			mig_end_target(&migs[k], true);
		}
	}
}

void repair_step(int i)
{
	if (nodes[i].class != 0 && rnd(4) == 0) {
		say("%s: back in reach", node_names[i]);
		touch(nodes[i].class);
		nodes[i].class = 0;
		touch(0);
	} else if (!nodes[i].up && rnd(4) == 0) {
		node_up(i);
	} else if (nodes[i].up && !nodes[i].agent && rnd(2)) {
		say("%s: ha-agentd starts", node_names[i]);
		agent_start(i);
	}
}
