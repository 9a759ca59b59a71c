/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fencing notices; see fence_watch.h. The thread owns everything but the loop's ends of the pipes and the marks' counters. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <crm/stonith-ng.h>
#include <jansson.h>

#include "ha-agent/fence_watch.h"
#include "lib/atomic_file.h"
#include "lib/log.h"

#define NAME_MAX_LEN 128
#define NODES 64
#define KEYS_MAX 4096
#define RETRY_MS 1000
#define HISTORY_TIMEOUT_S 10

/* One packet each way (a pipe write of this size is atomic). */
struct packet { uint32_t marks; bool rebooted; char node[NAME_MAX_LEN]; };

struct marked { char node[NAME_MAX_LEN]; uint32_t marks; int skip; };

struct fence_watch {
	qb_loop_t *loop;
	void (*fenced)(void *arg, const char *node);
	void *arg;
	int up[2], down[2];		/* thread -> loop, loop -> thread */
	pthread_t thread;
	struct marked mine[NODES]; int n_mine;		/* the loop's counters */
	/* the thread's */
	struct marked marks[NODES]; int n_marks;
	char *state_file, *boot_id;
	json_t *known;			/* {key: true} */
	stonith_t *st;
	int st_fd;
	bool look;
};

static struct marked *marked_find(struct marked *list, int *n, const char *node)
{
	for (int i = 0; i < *n; i++)
		if (!strcmp(list[i].node, node))
			return &list[i];
	if (*n == NODES)
		return NULL;
	memset(&list[*n], 0, sizeof(list[*n]));
	snprintf(list[*n].node, NAME_MAX_LEN, "%s", node);
	return &list[(*n)++];
}

/* --- the thread ---------------------------------------------------------------------------------------------------- */

static void watch_save(struct fence_watch *w)
{
	json_t *j = json_pack("{s:s,s:O}", "boot", w->boot_id, "known", w->known);
	char *text = json_dumps(j, JSON_COMPACT);

	if (text)
		(void)atomic_file_write(w->state_file, text, strlen(text), 0600);
	free(text);
	json_decref(j);
}

static void watch_load(struct fence_watch *w)
{
	json_t *j = json_load_file(w->state_file, 0, NULL), *known = json_object_get(j, "known");
	const char *boot = json_string_value(json_object_get(j, "boot"));

	if (json_is_object(known) && boot && !strcmp(boot, w->boot_id))
		w->known = json_incref(known);
	else
		w->known = json_object();
	json_decref(j);
}

static bool watch_cuts_power(const char *action)
{
	return action && (!strcmp(action, "off") || !strcmp(action, "reboot") || !strcmp(action, "poweroff"));
}

static void watch_tell(struct fence_watch *w, const struct marked *m)
{
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

static bool watch_running(const stonith_history_t *h)
{
	return h->state != st_done && h->state != st_failed && h->state != st_duplicate;
}

/* A finished entry that was not there before: tell it, unless a mark excludes it. mark: nothing is told. */
static bool watch_entry(struct fence_watch *w, const stonith_history_t *h, bool excluded)
{
	char key[512];
	struct marked *m;

	if (!h->target || !watch_cuts_power(h->action) || watch_running(h))
		return false;
	snprintf(key, sizeof(key), "%s %s %s %s %lld.%09ld", h->target, h->action, h->delegate ? h->delegate : "-",
		 h->origin ? h->origin : "-", (long long)h->completed, h->completed_nsec);
	if (json_object_get(w->known, key))
		return false;
	if (json_object_size(w->known) >= KEYS_MAX)
		json_object_clear(w->known);
	json_object_set_new(w->known, key, json_true());
	m = marked_find(w->marks, &w->n_marks, h->target);
	if (!m || excluded)
		return true;
	if (m->skip > 0)
		m->skip--;
	else if (h->state == st_done)
		watch_tell(w, m);
	return true;
}

static int watch_read(struct fence_watch *w, const struct packet *mark)
{
	stonith_history_t *list = NULL, *h;
	struct marked *m = mark ? marked_find(w->marks, &w->n_marks, mark->node) : NULL;
	bool changed = false;
	int rc = watch_history(w, &list);

	if (m)
		m->marks = mark->marks;
	if (m && mark->rebooted)
		m->skip = 0;
	for (h = rc ? NULL : list; h; h = h->next) {
		bool of_mark = mark && h->target && !strcmp(h->target, mark->node);

		changed |= watch_entry(w, h, of_mark);
		if (m && mark->rebooted && of_mark && watch_cuts_power(h->action) && watch_running(h))
			m->skip++;
	}
	stonith_history_free(list);
	if (changed)
		watch_save(w);
	return rc;
}

/* libstonithd's callbacks carry no argument. */
static struct fence_watch *the_watch;

static void watch_on_notice(stonith_t *st, stonith_event_t *e)
{
	the_watch->look = true;
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
	w->st->cmds->register_notification(w->st, T_STONITH_NOTIFY_FENCE, watch_on_notice);
	w->st->cmds->register_notification(w->st, T_STONITH_NOTIFY_HISTORY_SYNCED, watch_on_notice);
	w->look = true;
}

/* false: the loop's end is closed. */
static bool watch_command(struct fence_watch *w)
{
	struct packet p;

	if (read(w->down[0], &p, sizeof(p)) != sizeof(p))
		return false;
	p.node[NAME_MAX_LEN - 1] = '\0';
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
	struct marked *m;

	if (read(fd, &p, sizeof(p)) != sizeof(p))
		return 0;
	m = marked_find(w->mine, &w->n_mine, p.node);
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
	watch_load(w);
	the_watch = w;
	if (qb_loop_poll_add(loop, QB_LOOP_HIGH, w->up[0], POLLIN, w, watch_ready))
		return -ENOMEM;
	*ret = w;
	return -pthread_create(&w->thread, NULL, watch_main, w);
}

void fence_watch_mark(struct fence_watch *w, const char *node, bool rebooted)
{
	struct packet p = { .rebooted = rebooted };
	struct marked *m = w ? marked_find(w->mine, &w->n_mine, node) : NULL;

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
	json_decref(w->known);
	free(w->state_file);
	free(w->boot_id);
	free(w);
}
