/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_job.c - work that may wait, off the main thread, and replies in the order of the requests.
 */
#include "hypervisor/hypervisord.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "lib/hurry.h"
#include "lib/log.h"

#define MAX_REQUESTS 256
#define MAX_REQUESTS_OTHERS 32

/* One request not answered yet.  A client's requests are answered in the order they came (messages.md). */
struct pending {
	struct pending *next;
	struct msg_call *call;
	struct msg_client *client;             /* identity only */
	struct job *ready;                     /* has the answer */
	struct job *job;
};

static struct {
	pthread_mutex_t lock;
	struct job *head, **tail;              /* come back */
	struct { struct pending *to; json_t *obj; } progress[256];
	unsigned nr_progress;
} back = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void main_wake(struct hvd *h)
{
	uint64_t one = 1;

	if (write(h->done_fd, &one, sizeof one) < 0)
		return;                        /* the counter is full: it is awake */
}

static void *job_thread(void *arg)
{
	struct job *j = arg;

	if (j->hurried)                        /* as the main thread is, but what it begins is ordinary */
		hurry_raise(0, HURRY_HELPER);
	else
		hurry_lower(0);
	j->work(j);
	pthread_mutex_lock(&back.lock);
	j->back_next = NULL;
	*back.tail = j;
	back.tail = &j->back_next;
	pthread_mutex_unlock(&back.lock);
	main_wake(j->h);
	return NULL;
}

static void job_free(struct job *j)
{
	json_decref(j->req);
	json_decref(j->reply);
	json_decref(j->data);
	if (j->in_fd >= 0)
		close(j->in_fd);
	for (int i = 0; i < j->nfds; i++)
		if (j->fds[i] >= 0)
			close(j->fds[i]);
	if (j->shadow)
		json_decref(j->shadow->config);
	free(j->shadow);
	free(j);
}

static void job_answer(struct msg_call *call, struct job *j)
{
	if (j->rc) {
		msg_reply_error_fields(call, j->rc, j->err.text[0] ? j->err.text : err_name(j->rc), j->reply);
		j->reply = NULL;
	} else {
		msg_reply_fds(call, j->reply, j->fds, j->nfds);
		j->reply = NULL;
	}
	job_free(j);
}

static bool pending_is_first(struct hvd *h, const struct pending *p)
{
	for (struct pending *q = h->pending_head; q != p; q = q->next)
		if (q->client == p->client && msg_call_client(q->call))
			return false;
	return true;
}

static void pending_flush(struct hvd *h)
{
	struct pending **at = &h->pending_head;

	while (*at) {
		struct pending *p = *at;

		if (!p->ready || !pending_is_first(h, p)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		if (!*at)
			h->pending_tail = at;
		job_answer(p->call, p->ready);
		free(p);
		at = &h->pending_head;
	}
	h->pending_tail = &h->pending_head;
	while (*h->pending_tail)
		h->pending_tail = &(*h->pending_tail)->next;
}

static void job_run(struct job *j)
{
	pthread_attr_t attr;
	pthread_t t;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 << 10);
	j->hurried = j->dom ? j->dom->hurried && !j->dom->landing : j->shadow && j->shadow->hurried && !j->shadow->landing;
	r = pthread_create(&t, &attr, job_thread, j);
	pthread_attr_destroy(&attr);
	if (r) {
		job_fail(j, -r, "hypervisord: no thread for the request; try again");
		job_finish_now(j);
	}
}

static void dom_next_job(struct dom *d)
{
	if (d->jobs_head)
		job_run(d->jobs_head);
}

/* On the main thread: results take effect, the reply goes out, the domain's next job begins. */
void job_finish_now(struct job *j)
{
	struct hvd *h = j->h;
	bool queued = j->dom && j->dom->jobs_head == j;
	struct pending *p;
	struct dom *d;

	if (j->done)
		j->done(j);
	p = j->pending;                        /* done() may have passed it to another job */
	d = j->dom;                            /* NULL when done() forgot the domain */
	if (d && queued) {
		d->jobs_head = j->next;
		if (!d->jobs_head)
			d->jobs_tail = &d->jobs_head;
	}
	if (p) {
		p->ready = j;
		pending_flush(h);
	} else {
		if (j->rc && j->err.text[0])
			log_warn("%s", j->err.text);
		job_free(j);
	}
	if (d && queued)
		dom_next_job(d);
}

static void progress_send(void)
{
	pthread_mutex_lock(&back.lock);
	for (unsigned i = 0; i < back.nr_progress; i++)
		msg_progress(back.progress[i].to->call, back.progress[i].obj);
	back.nr_progress = 0;
	pthread_mutex_unlock(&back.lock);
}

static int32_t jobs_back(int32_t fd, int32_t revents, void *data)
{
	uint64_t n;

	if (read(fd, &n, sizeof n) < 0)
		return 0;
	progress_send();
	for (;;) {
		struct job *j;

		pthread_mutex_lock(&back.lock);
		j = back.head;
		if (j) {
			back.head = j->back_next;
			if (!back.head)
				back.tail = &back.head;
		}
		pthread_mutex_unlock(&back.lock);
		if (!j)
			return 0;
		job_finish_now(j);
	}
}

int jobs_init(struct hvd *h)
{
	back.tail = &back.head;
	h->pending_tail = &h->pending_head;
	h->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->done_fd < 0)
		return -errno;
	return qb_loop_poll_add(h->loop, QB_LOOP_HIGH, h->done_fd, POLLIN, h, jobs_back);
}

/* A request is a thread for a while, so there is an end to them; reading requests of other users leave room for root's. */
static bool too_many(struct hvd *h, struct msg_call *call)
{
	unsigned all = 0, others = 0;

	for (struct pending *p = h->pending_head; p; p = p->next) {
		all++;
		others += msg_call_uid(p->call) != 0;
	}
	return all >= MAX_REQUESTS || (msg_call_uid(call) != 0 && others >= MAX_REQUESTS_OTHERS);
}

struct job *job_new(struct hvd *h, struct msg_call *call, struct dom *dom)
{
	struct job *j = calloc(1, sizeof *j);
	struct pending *p = call ? calloc(1, sizeof *p) : NULL;

	if (call && too_many(h, call)) {
		free(j);
		free(p);
		msg_error(call, -EBUSY, "hypervisord has too many requests under way; try again");
		return NULL;
	}
	if (!j || (call && !p)) {
		free(j);
		free(p);
		if (call)
			msg_error(call, -ENOMEM, "hypervisord: out of memory");
		return NULL;
	}
	*j = (struct job) { .h = h, .dom = dom, .pending = p, .in_fd = -1 };
	if (call) {
		*p = (struct pending) { .call = call, .client = msg_call_client(call), .job = j };
		*h->pending_tail = p;
		h->pending_tail = &p->next;
		j->req = json_deep_copy(msg_call_request(call));
		j->in_fd = msg_call_take_fd(call, 0);
	}
	return j;
}

void job_start(struct job *j)
{
	struct dom *d = j->dom;

	if (!d) {
		job_run(j);
		return;
	}
	*d->jobs_tail = j;
	d->jobs_tail = &j->next;
	if (d->jobs_head == j)
		job_run(j);
}

void job_start_beside(struct job *j)
{
	job_run(j);
}

void job_pending_move(struct job *from, struct job *to)
{
	to->pending = from->pending;
	from->pending = NULL;
	if (to->pending)
		to->pending->job = to;
}

int job_fail(struct job *j, int rc, const char *fmt, ...)
{
	char text[sizeof j->err.text];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	j->rc = rc;
	return err_set(&j->err, rc, "%s", text);
}

void job_progress(struct job *j, json_t *progress)
{
	pthread_mutex_lock(&back.lock);
	if (j->pending && back.nr_progress < sizeof back.progress / sizeof back.progress[0]) {
		back.progress[back.nr_progress].to = j->pending;
		back.progress[back.nr_progress++].obj = progress;
		progress = NULL;
	}
	pthread_mutex_unlock(&back.lock);
	json_decref(progress);
	main_wake(j->h);
}

void job_client_gone(struct hvd *h, struct msg_client *client)
{
	for (struct pending *p = h->pending_head; p; p = p->next)
		if (p->client == client && !p->ready)
			__atomic_store_n(&p->job->cancelled, true, __ATOMIC_RELAXED);
}
