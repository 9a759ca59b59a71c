/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fencing notices; see fence_watch.h. The thread owns everything but the loop's ends of the pipes and the marks' counters. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <crm/stonith-ng.h>
#include <jansson.h>

#include "ha-agent/fence_book.h"
#include "ha-agent/fence_watch.h"
#include "lib/atomic_file.h"
#include "lib/log.h"

#define RETRY_MS 1000
#define HISTORY_TIMEOUT_S 10

/* One packet each way (a pipe write of this size is atomic). */
struct packet { uint32_t marks; bool rebooted; char node[FENCE_NAME]; };

struct counted { char node[FENCE_NAME]; uint32_t marks; };

struct fence_watch {
	qb_loop_t *loop;
	void (*fenced)(void *arg, const char *node);
	void *arg;
	int up[2], down[2];		/* thread -> loop, loop -> thread */
	pthread_t thread;
	struct counted mine[FENCE_NODES]; int n_mine;	/* the loop's counters */
	/* the thread's */
	struct fence_book book;
	char *state_file, *boot_id;
	stonith_t *st;
	int st_fd;
	bool look;
	char ended[FENCE_NODES][FENCE_NAME]; int n_ended;	/* targets of fencings that were just said to have ended */
};

static struct counted *counted_find(struct fence_watch *w, const char *node)
{
	for (int i = 0; i < w->n_mine; i++)
		if (!strcmp(w->mine[i].node, node))
			return &w->mine[i];
	if (w->n_mine == FENCE_NODES)
		return NULL;
	memset(&w->mine[w->n_mine], 0, sizeof(w->mine[0]));
	snprintf(w->mine[w->n_mine].node, FENCE_NAME, "%s", node);
	return &w->mine[w->n_mine++];
}

static int64_t watch_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* --- the thread ---------------------------------------------------------------------------------------------------- */

static void watch_save(struct fence_watch *w)
{
	json_t *j = fence_book_save(&w->book, w->boot_id);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	if (text)
		(void)atomic_file_write(w->state_file, text, strlen(text), 0600);
	free(text);
	json_decref(j);
}

static int watch_load(struct fence_watch *w)
{
	json_t *j = json_load_file(w->state_file, 0, NULL);
	int rc = fence_book_init(&w->book, watch_now_ns());

	if (!rc)
		(void)fence_book_load(&w->book, j, w->boot_id);
	json_decref(j);
	return rc;
}

static bool watch_cuts_power(const char *action)
{
	return action && (!strcmp(action, "off") || !strcmp(action, "reboot") || !strcmp(action, "poweroff"));
}

static void watch_tell(struct fence_watch *w, const char *node)
{
	struct fence_marked *m = fence_book_node(&w->book, node);
	struct packet p = { .marks = m->marks };

	memcpy(p.node, m->node, sizeof(p.node));
	if (write(w->up[1], &p, sizeof(p)) != sizeof(p))
		log_err("a fencing of %s could not be handed on", m->node);
}

static int watch_history(struct fence_watch *w, stonith_history_t **ret)
{
	int rc = w->st ? w->st->cmds->history(w->st, st_opt_sync_call, NULL, ret, HISTORY_TIMEOUT_S) : -ENOTCONN;

	return rc < 0 ? rc : 0;
}

static struct fence_entry watch_entry(const stonith_history_t *h, char *key, size_t size)
{
	struct fence_entry e = {
		.target = h->target, .key = key, .cuts_power = watch_cuts_power(h->action),
		.running = h->state != st_done && h->state != st_failed && h->state != st_duplicate,
		.succeeded = h->state == st_done,
		.completed_ns = (int64_t)h->completed * 1000000000 + h->completed_nsec,
	};

	snprintf(key, size, "%s %s %s %s %lld.%09ld", h->target, h->action ? h->action : "-", h->delegate ? h->delegate : "-",
		 h->origin ? h->origin : "-", (long long)h->completed, h->completed_nsec);
	return e;
}

static bool watch_is_live(const struct fence_watch *w, const char *target)
{
	for (int i = 0; i < w->n_ended; i++)
		if (!strcmp(w->ended[i], target))
			return true;
	return false;
}

/* The whole history; mark: a node that came back, whose entries are of a former boot. */
static int watch_read(struct fence_watch *w, const struct packet *mark)
{
	stonith_history_t *list = NULL;
	int64_t now = watch_now_ns();
	bool changed = false, tell;
	char key[512];
	int rc = watch_history(w, &list);

	if (mark)
		fence_book_mark(&w->book, mark->node, mark->marks, mark->rebooted, rc == 0, now);
	for (stonith_history_t *h = rc ? NULL : list; h; h = h->next) {
		struct fence_entry e;

		if (!h->target)
			continue;
		e = watch_entry(h, key, sizeof(key));
		if (mark && !strcmp(h->target, mark->node)) {
			changed |= fence_book_exclude(&w->book, &e, mark->rebooted);
			continue;
		}
		changed |= fence_book_entry(&w->book, &e, watch_is_live(w, h->target), &tell);
		if (tell)
			watch_tell(w, h->target);
	}
	stonith_history_free(list);
	if (rc)
		return rc;
	w->n_ended = 0;
	fence_book_read(&w->book, now);
	if (changed)
		watch_save(w);
	return 0;
}

/* libstonithd's callbacks carry no argument. */
static struct fence_watch *the_watch;

static void watch_on_synced(stonith_t *st, stonith_event_t *e)
{
	the_watch->look = true;
}

static void watch_on_fence(stonith_t *st, stonith_event_t *e)
{
	struct fence_watch *w = the_watch;

	w->look = true;
	if (e && e->target && e->result == 0 && !watch_is_live(w, e->target) && w->n_ended < FENCE_NODES)
		snprintf(w->ended[w->n_ended++], FENCE_NAME, "%s", e->target);
}

static void watch_close(struct fence_watch *w)
{
	if (w->st) {
		w->st->cmds->disconnect(w->st);
		stonith_api_delete(w->st);
	}
	w->st = NULL;
	w->st_fd = -1;
}

static void watch_open(struct fence_watch *w)
{
	w->st = stonith_api_new();
	if (!w->st)
		return;
	if (w->st->cmds->connect(w->st, "ha-agentd", &w->st_fd) != 0 || w->st_fd < 0) {
		watch_close(w);
		return;
	}
	w->n_ended = 0;
	w->st->cmds->register_notification(w->st, T_STONITH_NOTIFY_FENCE, watch_on_fence);
	w->st->cmds->register_notification(w->st, T_STONITH_NOTIFY_HISTORY_SYNCED, watch_on_synced);
	w->look = true;
}

/* false: the loop's end is closed. */
static bool watch_command(struct fence_watch *w)
{
	struct packet p;

	if (read(w->down[0], &p, sizeof(p)) != sizeof(p))
		return false;
	p.node[FENCE_NAME - 1] = '\0';
	if (watch_read(w, &p))
		watch_close(w);
	return true;
}

static void *watch_main(void *arg)
{
	struct fence_watch *w = arg;

	for (;;) {
		struct pollfd fds[2] = { { w->down[0], POLLIN, 0 }, { w->st_fd, POLLIN, 0 } };
		int r;

		if (!w->st)
			watch_open(w);
		if (w->look && w->st) {
			w->look = false;
			if (watch_read(w, NULL))
				watch_close(w);
		}
		fds[1].fd = w->st_fd;
		r = poll(fds, w->st ? 2 : 1, w->st ? -1 : RETRY_MS);
		if (r > 0 && fds[0].revents && !watch_command(w))
			break;
		if (r > 0 && w->st && fds[1].fd == w->st_fd && (fds[1].revents & (POLLHUP | POLLERR | POLLNVAL)))
			watch_close(w);
		else if (r > 0 && w->st && (fds[1].revents & POLLIN) && !stonith_dispatch(w->st))
			watch_close(w);
	}
	watch_close(w);
	return NULL;
}

/* --- the loop's side ------------------------------------------------------------------------------------------------ */

static int32_t watch_ready(int32_t fd, int32_t revents, void *data)
{
	struct fence_watch *w = data;
	struct packet p;
	struct counted *m;

	if (read(fd, &p, sizeof(p)) != sizeof(p))
		return 0;
	m = counted_find(w, p.node);
	if (m && m->marks == p.marks)
		w->fenced(w->arg, p.node);
	else
		log_info("a fencing of %s that ended before it came back is not of its present boot", p.node);
	return 0;
}

int fence_watch_start(qb_loop_t *loop, const char *state_file, const char *boot_id, void (*fenced)(void *arg, const char *node),
		      void *arg, struct fence_watch **ret)
{
	struct fence_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->loop = loop;
	w->fenced = fenced;
	w->arg = arg;
	w->st_fd = -1;
	w->state_file = strdup(state_file);
	w->boot_id = strdup(boot_id);
	if (!w->state_file || !w->boot_id || pipe2(w->up, O_CLOEXEC) || pipe2(w->down, O_CLOEXEC))
		return -errno;
	fcntl(w->up[0], F_SETFL, O_NONBLOCK);
	if (watch_load(w))
		return -ENOMEM;
	the_watch = w;
	if (qb_loop_poll_add(loop, QB_LOOP_HIGH, w->up[0], POLLIN, w, watch_ready))
		return -ENOMEM;
	*ret = w;
	return -pthread_create(&w->thread, NULL, watch_main, w);
}

void fence_watch_mark(struct fence_watch *w, const char *node, bool rebooted)
{
	struct packet p = { .rebooted = rebooted };
	struct counted *m = w ? counted_find(w, node) : NULL;

	if (!m)
		return;
	p.marks = ++m->marks;
	memcpy(p.node, m->node, sizeof(p.node));
	if (write(w->down[1], &p, sizeof(p)) != sizeof(p))
		log_err("the fencing thread is not there to hear that %s came back", node);
}

void fence_watch_stop(struct fence_watch *w)
{
	if (!w)
		return;
	close(w->down[1]);
	pthread_join(w->thread, NULL);
	qb_loop_poll_del(w->loop, w->up[0]);
	close(w->up[0]);
	close(w->up[1]);
	close(w->down[0]);
	fence_book_dispose(&w->book);
	free(w->state_file);
	free(w->boot_id);
	free(w);
}
