/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_hurry.c - processors first for what a guest waits for while it stands still for a move.
 *
 * The worker asks right before the pause, at either end, and says when it is over.  Raised are that domain's process, the worker that asked,
 * xenstored, and hypervisord itself: on a busy node each of some twenty changes of process would otherwise wait for its turn.  vCPUs follow
 * only where they are to stop, or to begin: a guest at work would keep the others, and the kernel's threads, from the processors.  What is
 * asked for and not taken back ends after a second, with the worker, with the domain, and with the next hypervisord's start; a few domains at
 * a time have it, and none of those threads can pass it on.  A guest that has come, and its back ends, keep it for a moment longer: what has piled up
 * for it in the pause is answered before the processors go to the old copy's memory, to agents and to whoever else has waited.  Where the kernel does not allow it (a container without CAP_SYS_NICE), or for less
 * than half of the time, moves go as they go without.
 */
#include "hypervisor/hypervisord.h"

#include <sys/pidfd.h>
#include <unistd.h>
#include "lib/hurry.h"
#include "lib/log.h"

#define HURRY_NS 1000000000ull
#define LANDING_NS 20000000ull             /* a guest at rest has answered its clients by then */
#define HURRIES_MAX 4u
#define VCPU_THREADS "vcpu"

static struct { unsigned domains; pid_t xenstored; bool refused; } now;

static bool lives(int pidfd)
{
	return pidfd >= 0 && pidfd_send_signal(pidfd, 0, NULL, 0) == 0;
}

static void daemons_raise(const struct hvd *h)
{
	bool pays = hurry_pays(getpid());
	int rc = pays ? hurry_raise_heirs(HURRY_HELPER) : -EPERM;      /* its jobs */

	if (rc && !now.refused)
		log_info("a guest that stands still for a move waits for processors like everything else: %s",
			 pays ? strerror(-rc) : "real-time priority is to be had for less than half of the time (sched_rt_runtime_us, cpu.rt_runtime_us)");
	now.refused = rc != 0;
	now.xenstored = rc ? 0 : msg_peer_pid(h->store);
	if (now.xenstored > 0 && hurry_pays(now.xenstored))
		hurry_raise(now.xenstored, HURRY_HELPER);
}

static void daemons_lower(void)
{
	hurry_lower(0);
	if (now.xenstored > 0)
		hurry_lower(now.xenstored);
	now.xenstored = 0;
}

static void worker_lower(struct dom *d)
{
	if (lives(d->hurry_worker))
		hurry_lower_process(d->hurry_pid);
	if (d->hurry_worker >= 0)
		close(d->hurry_worker);
	d->hurry_worker = -1;
}

void hurry_end(struct dom *d)
{
	if (!d->hurried)
		return;
	d->hurried = false;
	qb_loop_timer_del(d->hvd->loop, d->hurry_timer);
	if (lives(d->pidfd))
		hurry_lower_process(d->pid);
	worker_lower(d);
	d->landing = false;
	if (--now.domains == 0)
		daemons_lower();
}

static void on_landed(void *arg)
{
	hurry_end(arg);
}

/* The daemons keep theirs: vCPUs that have more to do than there are processors would else keep this one from ending it. */
static void hurry_land(struct dom *d)
{
	qb_loop_timer_handle timer;

	if (!d->hurried || d->landing)
		return;
	if (qb_loop_timer_add(d->hvd->loop, QB_LOOP_HIGH, LANDING_NS, d, on_landed, &timer) < 0) {
		hurry_end(d);
		return;
	}
	qb_loop_timer_del(d->hvd->loop, d->hurry_timer);
	d->hurry_timer = timer;
	d->hurry_client = NULL;                /* nobody's any more: its worker ends with the move */
	d->landing = true;
	worker_lower(d);
}

static void on_over(void *arg)
{
	struct dom *d = arg;

	log_info("domain %s (%u): its move's pause lasts; it waits for processors like everything else from here on", d->name, d->domid);
	hurry_end(d);
}

/* A guest that is about to stand still comes before those that have landed. */
static void landings_end(const struct hvd *h)
{
	for (struct dom *d = h->doms; d; d = d->next)
		if (d->landing)
			hurry_end(d);
}

static void hurry_begin(struct dom *d, const struct msg_call *c)
{
	hurry_end(d);
	landings_end(d->hvd);
	if (now.domains >= HURRIES_MAX || !lives(d->pidfd) || !hurry_pays(d->pid))
		return;
	if (qb_loop_timer_add(d->hvd->loop, QB_LOOP_HIGH, HURRY_NS, d, on_over, &d->hurry_timer) < 0)
		return;
	if (now.domains++ == 0)
		daemons_raise(d->hvd);
	d->hurried = true;
	d->hurry_client = msg_call_client(c);
	d->hurry_pid = msg_call_pid(c);
	d->hurry_worker = pidfd_open(d->hurry_pid, 0);
	hurry_raise_process(d->pid, VCPU_THREADS, HURRY_HELPER);
	if (lives(d->hurry_worker) && hurry_pays(d->hurry_pid))
		hurry_raise_process(d->hurry_pid, VCPU_THREADS, HURRY_HELPER);      /* a thread for each connection; none is a vCPU's */
}

/*
 * A job's thread may ask for this while the main thread ends the hurry: then hurry_end() may have lowered the vCPUs before they were raised, and
 * nobody else would.  It clears `hurried` before it lowers, so who raises looks once more afterwards.
 */
void hurry_guest(const struct dom *d)
{
	if (!d->hurried)
		return;
	hurry_raise_process(d->pid, VCPU_THREADS, HURRY_GUEST);
	if (!d->hurried)
		hurry_lower_process(d->pid);
}

void hurry_client_gone(struct hvd *h, const struct msg_client *client)
{
	for (struct dom *d = h->doms; d; d = d->next)
		if (d->hurried && d->hurry_client == client)
			hurry_end(d);
}

/* What an earlier hypervisord raised, and could not lower any more. */
void hurry_store_found(const struct hvd *h)
{
	pid_t pid = msg_peer_pid(h->store);

	if (pid > 0 && now.domains == 0)
		hurry_lower(pid);
}

void hurry_found(const struct dom *d)
{
	hurry_lower_process(d->pid);
}

void op_hurry(struct msg_call *c, void *h)
{
	struct dom *d = request_dom(h, c);
	bool over, landed;

	if (!d)
		return;
	over = msg_call_bool_opt(c, "over", false);
	landed = msg_call_bool_opt(c, "landed", false);
	if (!over && !msg_call_bool_opt(c, "guest", false))
		hurry_begin(d, c);
	else if (!over && lives(d->pidfd))
		hurry_guest(d);
	msg_reply(c, NULL);
	if (over && landed)
		hurry_land(d);
	else if (over)                         /* once lowered, who asked might wait for the answer */
		hurry_end(d);
}
