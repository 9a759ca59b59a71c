/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_pages.c - see hv_domain_pages.h.
 *
 * What is owed is a hole in the memory file, and a userfaultfd is registered for all of RAM: whoever touches a hole, a vCPU, the I/O
 * thread or the kernel on its behalf (a disk's write from a guest's page), stands still there.  A thread of its own, which touches no
 * guest memory, hears of it.  A hole that is not owed is zero and is filled at once; an owed one is asked for.  Pages are put in by
 * UFFDIO_COPY, which puts a page where none is or does nothing: what is there is never written over, and no half page is ever seen.
 *
 * The bitmap is the truth: a bit goes when its page is there.  The worker that fetches may die and another come at any time; it is told
 * what is owed, and everyone who waits is woken, faults again, and so is heard of again.  That needs the control thread for nothing,
 * since that one may itself wait for a page.
 */
#include "config.h"
#include "hypervisor/hv_domain_pages.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "lib/clock.h"
#include "lib/deadlines.h"
#include "lib/log.h"
#include "lib/proto/pages.h"

#define TICK_MS 200
#define WAITING_NS 1000000000UL                /* a fault this old is told of */
#define AGAIN_NS 1000000000UL                  /* so often everyone who waits looks again */
#define SEND_S 5
#define ASKS_MAX 128                           /* faults at a time: a thread has one */
#define PACKETS_A_TURN 32
#define PUNCH_TRIES 3

enum pages_state { PAGES_NONE, PAGES_EXPECTED, PAGES_RUNNING, PAGES_DONE };

struct ask { uint64_t frame, since_ns; };

struct hv_pages {
	struct hv *h;
	int uffd, listener, conn, wake;        /* conn: the service thread's; -1: none */
	_Atomic int state;
	uint64_t attempt;
	char from[64];
	_Atomic uint64_t *owed;                /* a bit a RAM frame */
	uint64_t *asked;                       /* of this connection; the service thread's */
	bool told;                             /* this connection knows what is owed: a set names each frame once */
	size_t words;
	_Atomic uint64_t left;
	uint64_t total;
	atomic_bool connected, waiting;        /* waiting: something has waited for more than a moment */
	struct ask ask[ASKS_MAX];
	unsigned nr_asks;
	uint64_t woken_ns;
	uint8_t *packet;
	pthread_t thread;
};

static bool is_owed(const struct hv_pages *p, uint64_t frame)
{
	return frame / 64 < p->words && atomic_load(&p->owed[frame / 64]) >> (frame % 64) & 1;
}

/* true: it was owed until now. */
static bool settle(struct hv_pages *p, uint64_t frame)
{
	uint64_t bit = 1UL << (frame % 64);

	if (!(atomic_fetch_and(&p->owed[frame / 64], ~bit) & bit))
		return false;
	atomic_fetch_sub(&p->left, 1);
	return true;
}

/* --- what userfaultfd does ------------------------------------------------------------------------------------------------- */

static uint64_t address_of(const struct hv_pages *p, uint64_t frame)
{
	return (uint64_t)(uintptr_t)p->h->d->ram + (frame << PAGE_SHIFT_HV);
}

static void wake(struct hv_pages *p, uint64_t frame, uint64_t n)
{
	struct uffdio_range r = { .start = address_of(p, frame), .len = n << PAGE_SHIFT_HV };

	ioctl(p->uffd, UFFDIO_WAKE, &r);
}

static void wake_all(struct hv_pages *p)
{
	p->woken_ns = monotonic_ns();
	wake(p, 0, p->h->d->max_pages);
}

/* One page, from data or (NULL) zeros: 0, -EEXIST (there was one), or why not. */
static int put_page(struct hv_pages *p, uint64_t frame, const uint8_t *data)
{
	struct uffdio_copy c = { .dst = address_of(p, frame), .src = (uint64_t)(uintptr_t)data, .len = PAGE_SIZE_HV };
	struct uffdio_zeropage z = { .range = { .start = address_of(p, frame), .len = PAGE_SIZE_HV } };
	int r;

	do
		r = data ? ioctl(p->uffd, UFFDIO_COPY, &c) : ioctl(p->uffd, UFFDIO_ZEROPAGE, &z);
	while (r < 0 && errno == EAGAIN);
	if (r < 0 && errno == EEXIST)
		wake(p, frame, 1);
	return r < 0 ? -errno : 0;
}

/* --- packets --------------------------------------------------------------------------------------------------------------- */

static void pages_changed(struct hv *h, int n)
{
	hv_changed(h);
}

static void conn_end(struct hv_pages *p)
{
	if (p->conn < 0)
		return;
	close(p->conn);
	p->conn = -1;
	atomic_store(&p->connected, false);
	hv_post(p->h, pages_changed, 0);
}

/* Blocks for SEND_S at most: the worker reads. */
static void conn_send(struct hv_pages *p, uint32_t kind, uint32_t count, const void *body, size_t n)
{
	struct pages_hdr hdr = { kind, count };
	struct iovec iov[2] = { { &hdr, sizeof hdr }, { (void *)(uintptr_t)body, n } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n ? 2 : 1 };
	ssize_t r;

	if (p->conn < 0)
		return;
	do
		r = sendmsg(p->conn, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		conn_end(p);
}

static void send_owed(struct hv_pages *p)
{
	struct pages_run run[PAGES_RUNS_MAX];
	uint32_t n = 0;

	for (uint64_t f = 0; f < p->h->d->max_pages; ) {
		if (f % 64 == 0 && !atomic_load(&p->owed[f / 64])) {
			f += 64;
			continue;
		}
		if (!is_owed(p, f++))
			continue;
		if (n && run[n - 1].first + run[n - 1].count == f - 1) {
			run[n - 1].count++;
			continue;
		}
		if (n == PAGES_RUNS_MAX) {
			conn_send(p, PAGES_OWED, n, run, n * sizeof run[0]);
			n = 0;
		}
		run[n++] = (struct pages_run){ f - 1, 1 };
	}
	if (n)
		conn_send(p, PAGES_OWED, n, run, n * sizeof run[0]);
	conn_send(p, PAGES_OWED_END, 0, NULL, 0);
}

/* A worker is new, or the set is: it hears all that is owed, and from everyone who waits. */
static void tell_worker(struct hv_pages *p)
{
	int state = atomic_load(&p->state);

	if (p->conn < 0)
		return;
	memset(p->asked, 0, p->words * sizeof p->asked[0]);
	p->told = state == PAGES_RUNNING || state == PAGES_DONE;
	if (state == PAGES_DONE)
		conn_send(p, PAGES_PRESENT, 0, NULL, 0);
	if (state != PAGES_RUNNING)
		return;
	send_owed(p);
	wake_all(p);
}

static void all_present(struct hv_pages *p)
{
	struct uffdio_range r = { .start = address_of(p, 0), .len = p->h->d->max_pages << PAGE_SHIFT_HV };

	if (atomic_load(&p->state) != PAGES_RUNNING || atomic_load(&p->left))
		return;
	ioctl(p->uffd, UFFDIO_UNREGISTER, &r); /* wakes who still waits for a zero page */
	atomic_store(&p->state, PAGES_DONE);
	atomic_store(&p->waiting, false);
	atomic_store(&p->h->d->pages_owed, false);
	log_info("domain %u: all of its %llu pages have come from %s", p->h->d->domid, (unsigned long long)p->total, p->from);
	conn_send(p, PAGES_PRESENT, 0, NULL, 0);
	hv_post(p->h, pages_changed, 0);
}

/* --- faults ------------------------------------------------------------------------------------------------------------------ */

static void note_ask(struct hv_pages *p, uint64_t frame)
{
	for (unsigned i = 0; i < p->nr_asks; i++)
		if (p->ask[i].frame == frame)
			return;
	if (p->nr_asks < ASKS_MAX)
		p->ask[p->nr_asks++] = (struct ask){ frame, monotonic_ns() };
}

static void serve_fault(struct hv_pages *p, uint64_t frame)
{
	if (!is_owed(p, frame)) {
		put_page(p, frame, NULL);
		return;
	}
	note_ask(p, frame);
	if (p->conn < 0 || p->asked[frame / 64] >> (frame % 64) & 1)
		return;
	p->asked[frame / 64] |= 1UL << (frame % 64);
	conn_send(p, PAGES_FAULT, 1, &frame, sizeof frame);
}

static void take_faults(struct hv_pages *p)
{
	struct uffd_msg m[16];
	ssize_t r = read(p->uffd, m, sizeof m);

	for (ssize_t i = 0; i < r / (ssize_t)sizeof m[0]; i++)
		if (m[i].event == UFFD_EVENT_PAGEFAULT)
			serve_fault(p, (m[i].arg.pagefault.address - address_of(p, 0)) >> PAGE_SHIFT_HV);
}

/* Who waits, and for how long; a wake-up that went astray is made good. */
static void look_at_asks(struct hv_pages *p)
{
	uint64_t now = monotonic_ns(), oldest = now;
	unsigned n = 0;
	bool waiting;

	for (unsigned i = 0; i < p->nr_asks; i++)
		if (is_owed(p, p->ask[i].frame)) {
			oldest = p->ask[i].since_ns < oldest ? p->ask[i].since_ns : oldest;
			p->ask[n++] = p->ask[i];
		} else {
			wake(p, p->ask[i].frame, 1);   /* given up meanwhile, it may be */
		}
	p->nr_asks = n;
	waiting = n && now - oldest > WAITING_NS;
	if (n && now - p->woken_ns > AGAIN_NS)
		wake_all(p);
	if (waiting == atomic_load(&p->waiting))
		return;
	atomic_store(&p->waiting, waiting);
	if (waiting)
		log_warn("domain %u: waits for pages of %s%s", p->h->d->domid, p->from, p->conn < 0 ? ", to which there is no connection" : "");
	else
		log_info("domain %u: goes on, pages come from %s again", p->h->d->domid, p->from);
	hv_post(p->h, pages_changed, 0);
}

/* --- what a worker brings ------------------------------------------------------------------------------------------------------- */

/* 0, or -errno: the packet is malformed, or there is no memory for a page. */
static int take_page(struct hv_pages *p, uint64_t frame, const uint8_t *data)
{
	int rc;

	if (frame >= p->h->d->max_pages)
		return -ERANGE;
	if (!is_owed(p, frame))
		return 0;
	rc = put_page(p, frame, data);
	if (rc == 0 || rc == -EEXIST)
		settle(p, frame);
	return rc == -EEXIST ? 0 : rc;
}

static int take_data(struct hv_pages *p, const uint8_t *body, size_t n, uint32_t count)
{
	int rc = count && count <= PAGES_DATA_MAX && n == (size_t)count * (8 + PAGES_SIZE) ? 0 : -EBADMSG;

	for (uint32_t i = 0; i < count && rc == 0; i++) {
		uint64_t frame;

		memcpy(&frame, body + 8 * i, 8);
		rc = take_page(p, frame, body + 8 * count + (size_t)i * PAGES_SIZE);
	}
	return rc;
}

static int take_zeros(struct hv_pages *p, const uint8_t *body, size_t n, uint32_t count)
{
	uint64_t pages = p->h->d->max_pages;
	int rc = count && count <= PAGES_RUNS_MAX && n == count * sizeof(struct pages_run) ? 0 : -EBADMSG;

	for (uint32_t i = 0; i < count && rc == 0; i++) {
		struct pages_run run;

		memcpy(&run, body + i * sizeof run, sizeof run);
		if (run.first >= pages || !run.count || run.count > pages - run.first)
			return -ERANGE;
		for (uint64_t f = 0; f < run.count && rc == 0; f++)
			rc = take_page(p, run.first + f, NULL);
	}
	return rc;
}

static int take_packet(struct hv_pages *p, const uint8_t *packet, size_t n)
{
	struct pages_hdr hdr;

	if (n < sizeof hdr || atomic_load(&p->state) != PAGES_RUNNING)
		return n < sizeof hdr ? -EBADMSG : 0;
	memcpy(&hdr, packet, sizeof hdr);
	switch (hdr.kind) {
	case PAGES_DATA:
		return take_data(p, packet + sizeof hdr, n - sizeof hdr, hdr.count);
	case PAGES_ZEROS:
		return take_zeros(p, packet + sizeof hdr, n - sizeof hdr, hdr.count);
	case PAGES_EXHAUSTED:
		if (atomic_load(&p->left))
			tell_worker(p);
		return 0;
	default:
		return -EBADMSG;
	}
}

static void conn_take(struct hv_pages *p)
{
	for (unsigned i = 0; i < PACKETS_A_TURN && p->conn >= 0; i++) {
		ssize_t r = recv(p->conn, p->packet, PAGES_PACKET_MAX, MSG_DONTWAIT | MSG_TRUNC);
		int rc;

		if (r < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		rc = r <= 0 || r > (ssize_t)PAGES_PACKET_MAX ? -EBADMSG : take_packet(p, p->packet, (size_t)r);
		if (rc == -ENOMEM)
			log_err("domain %u: no memory for a page that came; it is asked for again", p->h->d->domid);
		else if (rc && r > 0)
			log_warn("domain %u: its migration worker sent what it must not", p->h->d->domid);
		if (rc)
			conn_end(p);
	}
	all_present(p);
}

/* --- a worker comes ---------------------------------------------------------------------------------------------------------------- */

static bool greeting_fits(const struct hv_pages *p, const json_t *o, struct err *err)
{
	const char *from = json_string_value(json_object_get(o, "from"));
	uint64_t attempt = (uint64_t)json_integer_value(json_object_get(o, "attempt"));

	if (attempt == p->attempt && from && !strcmp(from, p->from))
		return true;
	err_set(err, attempt == p->attempt ? -EACCES : -ESTALE, "domain %u: waits for no pages of attempt %llu from %.63s", p->h->d->domid,
		(unsigned long long)attempt, from ? from : "?");
	return false;
}

/* hypervisord brings a worker: for whom, in one packet at once. */
static void worker_comes(struct hv_pages *p)
{
	struct timeval limit = { .tv_sec = SEND_S };
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t n = sizeof peer;
	struct err err = { 0 };
	json_t *o = NULL, *answer;
	int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
	struct pollfd in = { .fd = fd, .events = POLLIN };
	bool fits;

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || peer.uid != 0 || poll(&in, 1, deadline(DL_GREETING)) <= 0 ||
	    msg_recv(fd, &o, NULL, NULL) <= 0) {
		close(fd);
		return;
	}
	/* hypervisord looks: the control thread may be waiting for a page itself */
	if (json_object_get(o, "op")) {
		answer = json_pack("{s:b, s:o}", "ok", 1, "pages", hv_pages_status(p->h));
		msg_send(fd, answer, NULL, 0);
		json_decref(answer);
		json_decref(o);
		close(fd);
		return;
	}
	fits = greeting_fits(p, o, &err);
	answer = fits ? json_pack("{s:b}", "ok", 1) : json_pack("{s:b, s:s, s:s}", "ok", 0, "code", err_name(err.code), "error", err.text);
	json_decref(o);
	msg_send(fd, answer, NULL, 0);
	json_decref(answer);
	if (!fits) {
		close(fd);
		return;
	}
	conn_end(p);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	p->conn = fd;
	p->told = false;
	atomic_store(&p->connected, true);
	tell_worker(p);
	hv_post(p->h, pages_changed, 0);
}

static void *service_main(void *arg)
{
	struct hv_pages *p = arg;
	uint64_t count;

	pthread_setname_np(pthread_self(), "pages");
	for (;;) {
		bool running = atomic_load(&p->state) == PAGES_RUNNING;
		struct pollfd in[4] = { { .fd = p->wake, .events = POLLIN }, { .fd = p->listener, .events = POLLIN },
					{ .fd = p->conn, .events = POLLIN }, { .fd = running ? p->uffd : -1, .events = POLLIN } };

		poll(in, 4, TICK_MS);
		/* what is owed begins to count */
		if (in[0].revents && read(p->wake, &count, sizeof count) > 0) {
			if (!p->told)
				tell_worker(p);
			all_present(p);
		}
		if (in[3].revents)
			take_faults(p);
		if (in[2].revents)
			conn_take(p);
		if (in[1].revents)
			worker_comes(p);
		look_at_asks(p);
		all_present(p);                /* a frame given up may have been the last */
	}
	return NULL;
}

/* --- from the control thread ---------------------------------------------------------------------------------------------------------- */

static int uffd_open(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) < 0 || !(api.features & UFFD_FEATURE_MISSING_SHMEM)) {
		close(fd);
		return -ENOSYS;
	}
	return fd;
}

void hv_pages_init(struct hv *h, int listen_fd)
{
	struct hv_pages *p = listen_fd >= 0 ? calloc(1, sizeof *p) : NULL;

	if (!p)
		return;
	*p = (struct hv_pages){ .h = h, .listener = listen_fd, .conn = -1, .words = (h->d->max_pages + 63) / 64 };
	p->uffd = uffd_open();
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->uffd >= 0 && p->wake >= 0) {
		h->pages = p;
		return;
	}
	if (p->wake >= 0)
		close(p->wake);
	if (p->uffd >= 0)
		close(p->uffd);
	close(listen_fd);
	free(p);
}

void hv_pages_drop(struct hv *h)
{
	struct hv_pages *p = h->pages;

	if (!p || atomic_load(&p->state) != PAGES_NONE || p->owed)
		return;
	h->pages = NULL;
	close(p->uffd);
	close(p->wake);
	close(p->listener);
	free(p);
}

bool hv_pages_possible(const struct hv *h)
{
	return h->pages && atomic_load(&h->pages->state) == PAGES_EXPECTED;
}

int hv_pages_expect(struct hv *h, uint64_t attempt, const char *from)
{
	struct hv_pages *p = h->pages;
	int rc;

	if (!p || !*from)
		return -EOPNOTSUPP;
	p->owed = calloc(p->words, sizeof p->owed[0]);
	p->asked = calloc(p->words, sizeof p->asked[0]);
	p->packet = malloc(PAGES_PACKET_MAX);
	if (!p->owed || !p->asked || !p->packet)
		return -ENOMEM;
	p->attempt = attempt;
	snprintf(p->from, sizeof p->from, "%s", from);
	rc = -pthread_create(&p->thread, NULL, service_main, p);
	if (!rc)
		atomic_store(&p->state, PAGES_EXPECTED);
	return rc;
}

static int punch(struct hv_pages *p, uint64_t first, uint64_t n)
{
	return fallocate(p->h->d->ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first << PAGE_SHIFT_HV),
			 (off_t)(n << PAGE_SHIFT_HV)) < 0 ? -errno : 0;
}

/* Calls fn for each run of bits; stops at its first error. */
static int each_run(struct hv_pages *p, const uint64_t *bits, size_t words, int (*fn)(struct hv_pages *, uint64_t, uint64_t))
{
	uint64_t first = 0, end = words * 64;
	int rc = 0;

	for (uint64_t f = 0; f <= end && rc == 0; f++) {
		bool set = f < end && bits[f / 64] >> (f % 64) & 1;

		if (f < end && f % 64 == 0 && (bits[f / 64] == 0 || bits[f / 64] == ~0UL)) {
			if (!set && first < f)
				rc = fn(p, first, f - first);
			f += 63;
			if (!set)
				first = f + 1;
			continue;
		}
		if (set)
			continue;
		if (first < f)
			rc = fn(p, first, f - first);
		first = f + 1;
	}
	return rc;
}

int hv_pages_owe(struct hv *h, const uint64_t *bits, size_t words, struct err *err)
{
	struct hv_pages *p = h->pages;
	int rc;

	if (!p || atomic_load(&p->state) != PAGES_EXPECTED || h->copy.state != COPY_INCOMING || h->have_guest)
		return err_set(err, -EPERM, "domain %u: no pages can be owed to a copy that is %s", h->d->domid,
			       copy_state_name(h->copy.state));
	if (words != p->words || (h->d->max_pages % 64 && bits[words - 1] >> (h->d->max_pages % 64)))
		return err_set(err, -EINVAL, "domain %u: what is owed is more than its memory", h->d->domid);
	pthread_mutex_lock(&h->d->collapse_lock);      /* a large page under way is finished; none is begun after it */
	atomic_store(&h->d->pages_owed, true);
	pthread_mutex_unlock(&h->d->collapse_lock);
	rc = each_run(p, bits, words, punch);
	if (rc)
		return err_set(err, rc, "domain %u: its memory cannot be emptied: %s", h->d->domid, strerror(-rc));
	for (size_t i = 0; i < words; i++)
		atomic_fetch_or(&p->owed[i], bits[i]);
	return 0;
}

/* 1: the file still holds something of it.  A large page that somebody looks at is zeroed where it cannot be split. */
static int holds_data(struct hv_pages *p, uint64_t first, uint64_t n)
{
	off_t data = lseek(p->h->d->ram_fd, (off_t)(first << PAGE_SHIFT_HV), SEEK_DATA);

	return data >= 0 && data < (off_t)((first + n) << PAGE_SHIFT_HV);
}

static int empty_all(struct hv_pages *p, uint64_t *bits)
{
	int rc = 1;

	for (unsigned i = 0; i < PUNCH_TRIES && rc == 1; i++) {
		rc = i ? each_run(p, bits, p->words, punch) : 0;
		if (!rc)
			rc = each_run(p, bits, p->words, holds_data);
	}
	return rc > 0 ? -EBUSY : rc;
}

int hv_pages_begin(struct hv *h, struct err *err)
{
	struct hv_pages *p = h->pages;
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	uint64_t one = 1, *bits;
	int rc;

	if (!p || atomic_load(&p->state) != PAGES_EXPECTED || h->copy.state != COPY_INCOMING || h->have_guest)
		return err_set(err, -EPERM, "domain %u: no pages can be owed to a copy that is %s", h->d->domid,
			       copy_state_name(h->copy.state));
	bits = malloc(p->words * sizeof *bits);
	if (!bits)
		return err_set(err, -ENOMEM, "domain %u: out of memory", h->d->domid);
	for (size_t i = 0; i < p->words; i++) {
		bits[i] = atomic_load(&p->owed[i]);
		p->total += (uint64_t)__builtin_popcountll(bits[i]);
	}
	rc = empty_all(p, bits);
	free(bits);
	reg.range = (struct uffdio_range){ .start = address_of(p, 0), .len = h->d->max_pages << PAGE_SHIFT_HV };
	if (!rc && ioctl(p->uffd, UFFDIO_REGISTER, &reg) < 0)
		rc = -errno;
	if (rc)
		return err_set(err, rc, "domain %u: its memory cannot be watched for what is missing: %s", h->d->domid, strerror(-rc));
	atomic_store(&p->left, p->total);
	atomic_store(&p->state, PAGES_RUNNING);
	log_info("domain %u: %llu pages (%llu MiB) are still on %s", h->d->domid, (unsigned long long)p->total,
		 (unsigned long long)p->total >> 8, p->from);
	return write(p->wake, &one, sizeof one) == sizeof one ? 0 : -EIO;
}

void hv_pages_forget(struct hv *h, uint64_t first, uint64_t n)
{
	struct hv_pages *p = h->pages;

	if (!p || atomic_load(&p->state) != PAGES_RUNNING)
		return;
	for (uint64_t f = first; f < first + n && f < h->d->max_pages; f++)
		settle(p, f);
}

uint64_t hv_pages_left(const struct hv *h)
{
	return h->pages && atomic_load(&h->pages->state) == PAGES_RUNNING ? atomic_load(&h->pages->left) : 0;
}

const char *hv_pages_from(const struct hv *h)
{
	return h->pages && atomic_load(&h->pages->state) == PAGES_RUNNING ? h->pages->from : "";
}

json_t *hv_pages_status(const struct hv *h)
{
	const struct hv_pages *p = h->pages;

	if (!p || atomic_load(&p->state) != PAGES_RUNNING)
		return json_null();
	return json_pack("{s:s, s:I, s:b, s:b}", "from", p->from, "owed_kib", (json_int_t)atomic_load(&p->left) * 4,
			 "connected", atomic_load(&p->connected), "waiting", atomic_load(&p->waiting));
}
