/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hvrun - boots one PV kernel in one process, with its console on stdin and stdout: the developer's tool.
 *
 *	hvrun -k KERNEL [-r RAMDISK] [-m MiB] [-c VCPUS] [-a CMDLINE] [-t SECONDS] [-C MIB] [-M MS] [-R PPM] [-L MS]
 *
 * -C: the most that translations take (64).
 * -L: the dirty log is on, and taken every MS milliseconds, as a move's rounds do; SIGUSR2 switches it off, and on again.
 * -M: every MS milliseconds the guest moves into a domain made anew, through the records that save and migration use.
 * -R: each second host that it moves to takes its TSC to be PPM parts in a million faster than it is: that host's TSC has another
 *     rate, and has counted to elsewhere.
 *
 * No daemon, no disk, no network, no sandbox.  The guest finds an empty xenstore: every read says ENOENT.  Ends with the guest
 * (exit status 0 after power-off, 2 after a crash, 3 when -t ran out); Ctrl-] ends it from the keyboard.
 */
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <xen/io/console.h>
#include <xen/io/xs_wire.h>
#include <xen/sched.h>
#include "hypervisor/abi/abi.h"
#include "hypervisor/build/pv_start.h"
#include "hypervisor/domain_new.h"
#include "hypervisor/host_clock.h"
#include "hypervisor/vcpu_thread.h"
#include "lib/buf.h"

#define ESCAPE 0x1d                            /* Ctrl-] */

struct hvrun {
	struct domain *d;
	int wake_fd;                           /* the guest did something: rings, shutdown */
	uint8_t req[sizeof(struct xsd_sockmsg) + XENSTORE_PAYLOAD_MAX]; size_t req_len;
	uint8_t reply[4096]; size_t reply_len, reply_done;
};

struct options { const char *kernel, *ramdisk, *cmdline; unsigned mib, vcpus, seconds, cache_mib, move_ms, log_ms; int ppm; };

static void wake(struct hvrun *h)
{
	uint64_t one = 1;

	if (write(h->wake_fd, &one, sizeof one) < 0)
		return;                        /* the counter is full: it is awake */
}

static bool on_notify(struct domain *d, uint32_t port)
{
	wake(d->owner);
	return false;
}

static void on_shutdown(struct domain *d)
{
	wake(d->owner);
}

static void on_console_write(struct domain *d, const char *s, size_t n)
{
	if (write(STDOUT_FILENO, s, n) < 0)
		return;
}

static void on_log(struct domain *d, const char *msg)
{
	fprintf(stderr, "[hvrun] %s\r\n", msg);
}

static struct xencons_interface *console_ring(struct hvrun *h)
{
	return (void *)(h->d->ram + (h->d->console_mfn << PAGE_SHIFT_HV));     /* the builder's, hence RAM */
}

static void console_out(struct hvrun *h)
{
	struct xencons_interface *r = console_ring(h);
	uint32_t prod = __atomic_load_n(&r->out_prod, __ATOMIC_ACQUIRE), cons = r->out_cons;
	char text[sizeof r->out];
	size_t n = 0;

	if (prod - cons > sizeof r->out || prod == cons)
		return;
	while (cons != prod)
		text[n++] = r->out[MASK_XENCONS_IDX(cons++, r->out)];
	__atomic_store_n(&r->out_cons, cons, __ATOMIC_RELEASE);
	domain_mark_dirty(h->d, h->d->console_mfn);
	on_console_write(h->d, text, n);
	evtchn_raise(h->d, h->d->console_port);
}

enum input { INPUT_MORE, INPUT_END, INPUT_ESCAPE };

/* What the operator typed, to the guest. */
static enum input console_in(struct hvrun *h)
{
	struct xencons_interface *r = console_ring(h);
	uint32_t cons = __atomic_load_n(&r->in_cons, __ATOMIC_ACQUIRE), prod = r->in_prod;
	char text[256];
	size_t room = sizeof r->in - (prod - cons);
	ssize_t n;

	if (prod - cons > sizeof r->in)
		return INPUT_MORE;
	n = read(STDIN_FILENO, text, room < sizeof text ? room : sizeof text);
	if (n <= 0)
		return INPUT_END;
	for (ssize_t i = 0; i < n; i++) {
		if (text[i] == ESCAPE)
			return INPUT_ESCAPE;
		r->in[MASK_XENCONS_IDX(prod++, r->in)] = text[i];
	}
	__atomic_store_n(&r->in_prod, prod, __ATOMIC_RELEASE);
	domain_mark_dirty(h->d, h->d->console_mfn);
	evtchn_raise(h->d, h->d->console_port);
	return INPUT_MORE;
}

static bool console_room(struct hvrun *h)
{
	struct xencons_interface *r = console_ring(h);

	return r->in_prod - r->in_cons < sizeof r->in;
}

static struct xenstore_domain_interface *store_ring(struct hvrun *h)
{
	return (void *)(h->d->ram + (h->d->store_mfn << PAGE_SHIFT_HV));
}

/* An empty store: transactions and watches succeed, what is read is not there. */
static void store_answer(struct hvrun *h, const struct xsd_sockmsg *req)
{
	struct xsd_sockmsg hdr = { .type = req->type, .req_id = req->req_id, .tx_id = req->tx_id };
	const char *body = "OK";

	switch (req->type) {
	case XS_READ: case XS_DIRECTORY: case XS_DIRECTORY_PART: case XS_GET_PERMS:
		hdr.type = XS_ERROR;
		body = "ENOENT";
		break;
	case XS_TRANSACTION_START:
		body = "1";
		break;
	default:
		break;
	}
	hdr.len = (uint32_t)strlen(body) + 1;
	memcpy(h->reply, &hdr, sizeof hdr);
	memcpy(h->reply + sizeof hdr, body, hdr.len);
	h->reply_len = sizeof hdr + hdr.len;
	h->reply_done = 0;
}

static bool store_take(struct hvrun *h)
{
	struct xenstore_domain_interface *r = store_ring(h);
	struct xsd_sockmsg hdr;
	uint32_t prod = __atomic_load_n(&r->req_prod, __ATOMIC_ACQUIRE), cons = r->req_cons;

	if (prod - cons > XENSTORE_RING_SIZE || prod == cons)
		return false;
	while (cons != prod && h->req_len < sizeof h->req)
		h->req[h->req_len++] = (uint8_t)r->req[MASK_XENSTORE_IDX(cons++)];
	__atomic_store_n(&r->req_cons, cons, __ATOMIC_RELEASE);
	if (h->req_len < sizeof hdr)
		return true;
	memcpy(&hdr, h->req, sizeof hdr);
	if (hdr.len > XENSTORE_PAYLOAD_MAX)
		h->req_len = 0;
	else if (h->req_len >= sizeof hdr + hdr.len) {
		store_answer(h, &hdr);
		h->req_len -= sizeof hdr + hdr.len;
		memmove(h->req, h->req + sizeof hdr + hdr.len, h->req_len);
	}
	return true;
}

static bool store_give(struct hvrun *h)
{
	struct xenstore_domain_interface *r = store_ring(h);
	uint32_t cons = __atomic_load_n(&r->rsp_cons, __ATOMIC_ACQUIRE), prod = r->rsp_prod;
	size_t before = h->reply_done;

	while (h->reply_done < h->reply_len && prod - cons < XENSTORE_RING_SIZE)
		r->rsp[MASK_XENSTORE_IDX(prod++)] = (char)h->reply[h->reply_done++];
	__atomic_store_n(&r->rsp_prod, prod, __ATOMIC_RELEASE);
	return h->reply_done != before;
}

static void store_serve(struct hvrun *h)
{
	bool any = false;

	for (;;) {
		bool gave = store_give(h);
		bool took = h->reply_done == h->reply_len && store_take(h);

		if (!gave && !took)
			break;
		any = true;
	}
	if (any)
		evtchn_raise(h->d, h->d->store_port);
}

static int file_map(const char *path, const uint8_t **ret, size_t *ret_n)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	close(fd);
	if (p == MAP_FAILED)
		return -EINVAL;
	*ret = p;
	*ret_n = (size_t)st.st_size;
	return 0;
}

static int domain_make(struct hvrun *h, const struct options *o, struct domain **ret, struct err *err)
{
	struct domain_params dp = { .domid = 1, .name = "hvrun", .max_pages = (uint64_t)o->mib << 8, .vcpus = o->vcpus, .ram_fd = -1,
				    .engine = &engine_bt };
	int rc = domain_new(&dp, ret, err);

	if (rc)
		return rc;
	(*ret)->owner = h;
	(*ret)->evtchn_notify_backend = on_notify;
	(*ret)->console_write = on_console_write;
	(*ret)->shutdown_notify = on_shutdown;
	(*ret)->log = on_log;
	return domain_attach(*ret, (size_t)o->cache_mib << 20, err);
}

static int build(struct hvrun *h, const struct options *o, struct err *err)
{
	struct pv_params pp = { .kernel_name = o->kernel, .ramdisk_name = o->ramdisk, .cmdline = o->cmdline,
				.nr_pages = (uint64_t)o->mib << 8 };
	int rc = file_map(o->kernel, &pp.kernel, &pp.kernel_len);

	if (rc)
		return err_set(err, rc, "%s: %s", o->kernel, strerror(-rc));
	rc = o->ramdisk ? file_map(o->ramdisk, &pp.ramdisk, &pp.ramdisk_len) : 0;
	if (rc)
		return err_set(err, rc, "%s: %s", o->ramdisk, strerror(-rc));
	rc = domain_make(h, o, &h->d, err);
	if (rc)
		return rc;
	rc = pv_build(h->d, &pp, err);
	if (rc)
		return rc;
	evtchn_connect_backend(h->d, h->d->store_port);
	evtchn_connect_backend(h->d, h->d->console_port);
	return 0;
}

/* Another host's TSC, or this one's again. */
static void host_change(int ppm)
{
	static uint64_t khz, moves;
	bool stable;

	if (!khz)
		khz = abi_tsc_khz(&stable);
	host_clock_told((uint64_t)((int64_t)khz + (int64_t)khz / 1000000 * (++moves % 2 ? ppm : 0)));
}

/* State of `from`, which is paused, into `to`, which never ran: memory, the domain's record, each vCPU's. */
static int transfer(struct domain *from, struct domain *to)
{
	struct buf b;
	int rc;

	memcpy(to->ram, from->ram, domain_nr_frames(from) << PAGE_SHIFT_HV);
	buf_init(&b, 64 << 20);
	rc = abi_domain_save(from, &b);
	if (!rc)
		rc = abi_domain_load(to, b.data, b.len);
	buf_free(&b);
	buf_init(&b, 1 << 20);
	if (!rc)
		rc = abi_tsc_save(from, &b);
	if (!rc)
		rc = abi_tsc_load(to, b.data, b.len);
	buf_free(&b);
	for (unsigned i = 0; !rc && i < from->nr_vcpus; i++) {
		buf_init(&b, 1 << 20);
		rc = abi_vcpu_save(from->vcpu[i], &b);
		if (!rc)
			rc = abi_vcpu_load(to->vcpu[i], b.data, b.len);
		buf_free(&b);
	}
	return rc;
}

static int move(struct hvrun *h, const struct options *o)
{
	struct domain *old = h->d, *fresh = NULL;
	struct err err = { 0 };
	int rc;

	host_change(o->ppm);
	rc = domain_make(h, o, &fresh, &err);
	if (!rc) {
		vcpu_threads_pause(old);
		rc = transfer(old, fresh);
	}
	if (!rc) {
		vcpu_threads_stop(old);
		domain_free(old);
		h->d = fresh;
		rc = vcpu_threads_start(fresh);
	}
	if (rc)
		fprintf(stderr, "[hvrun] the move failed: %s\r\n", err.code ? err.text : strerror(-rc));
	else
		vcpu_threads_resume(fresh);
	return rc;
}

static volatile sig_atomic_t log_switched;     /* off */

static void on_switch(int sig) { log_switched = !log_switched; }

/* The dirty log's next round, if it is time: what a source's would be, but for the sending. */
static void log_round(struct hvrun *h, const struct options *o, uint64_t *next)
{
	static uint64_t *dirty;
	static bool on;

	if (on && log_switched) {
		h->d->engine->dirty_log(h->d, DIRTY_LOG_OFF);
		on = false;
	}
	if (log_switched || abi_now_ns() < *next)
		return;
	*next = abi_now_ns() + o->log_ms * 1000000UL;
	if (!dirty)
		dirty = calloc((domain_nr_frames(h->d) + 63) / 64, sizeof *dirty);
	if (on)
		h->d->engine->dirty_sync(h->d, dirty);
	else
		on = dirty && h->d->engine->dirty_log(h->d, DIRTY_LOG_ON) == 0;
}

/* How long to wait for something to happen. */
static unsigned wait_ms(const struct options *o)
{
	unsigned ms = 200;

	if (o->move_ms && o->move_ms < ms)
		ms = o->move_ms;
	if (o->log_ms && o->log_ms < ms)
		ms = o->log_ms;
	return ms;
}

/* Until the guest ends, the time is over or the operator leaves.  The exit status. */
static int serve(struct hvrun *h, const struct options *o)
{
	uint64_t end = o->seconds ? abi_now_ns() + o->seconds * 1000000000UL : UINT64_MAX, n;
	uint64_t next_move = o->move_ms ? abi_now_ns() + o->move_ms * 1000000UL : UINT64_MAX, next_log = o->log_ms ? 0 : UINT64_MAX;
	struct pollfd p[2] = { { .fd = h->wake_fd, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };
	const struct timespec wait = { .tv_nsec = wait_ms(o) * 1000000L };
	sigset_t none;

	sigemptyset(&none);
	for (;;) {
		int reason = atomic_load(&h->d->shutdown_reason);

		console_out(h);
		store_serve(h);
		if (reason != DOMAIN_RUNNING) {
			fprintf(stderr, "[hvrun] the guest ended, reason %d\r\n", reason);
			return reason == SHUTDOWN_crash ? 2 : 0;
		}
		if (abi_now_ns() >= end) {
			fprintf(stderr, "[hvrun] %u s are over\r\n", o->seconds);
			return 3;
		}
		if (abi_now_ns() >= next_move) {
			if (move(h, o))
				return 1;
			next_move = abi_now_ns() + o->move_ms * 1000000UL;
		}
		log_round(h, o, &next_log);
		p[1].fd = console_room(h) && p[1].fd >= 0 ? STDIN_FILENO : p[1].fd;
		p[0].revents = p[1].revents = 0;
		if (ppoll(p, p[1].fd >= 0 && console_room(h) ? 2 : 1, &wait, &none) < 0 && errno != EINTR)
			return 1;
		if (p[0].revents && read(h->wake_fd, &n, sizeof n) < 0)
			continue;
		if (p[1].fd >= 0 && p[1].revents & POLLIN) {
			enum input in = console_in(h);

			if (in == INPUT_ESCAPE)
				return 0;
			if (in == INPUT_END)
				p[1].fd = -1;            /* at its end it would be readable for ever */
		} else if (p[1].revents & POLLHUP) {
			p[1].fd = -1;
		}
	}
}

static struct termios saved_tty;
static bool tty_changed;

static void tty_raw(void)
{
	struct termios t;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved_tty) < 0)
		return;
	t = saved_tty;
	cfmakeraw(&t);
	tty_changed = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static void tty_restore(void)
{
	if (tty_changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved_tty);
}

static int usage(void)
{
	fprintf(stderr, "usage: hvrun -k KERNEL [-r RAMDISK] [-m MiB] [-c VCPUS] [-a CMDLINE] [-t SECONDS] [-C MIB] [-M MS] [-R PPM] [-L MS]\n");
	return 64;
}

int main(int argc, char **argv)
{
	struct options o = { .mib = 256, .vcpus = 1, .cmdline = "console=hvc0 earlyprintk=xen" };
	struct hvrun h = { .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	struct sigaction sa = { .sa_handler = on_switch };
	struct err err = { 0 };
	sigset_t held;
	int c, status;

	while ((c = getopt(argc, argv, "k:r:m:c:a:t:C:M:R:L:")) != -1) {
		switch (c) {
		case 'k': o.kernel = optarg; break;
		case 'r': o.ramdisk = optarg; break;
		case 'm': o.mib = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'c': o.vcpus = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'a': o.cmdline = optarg; break;
		case 't': o.seconds = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'C': o.cache_mib = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'M': o.move_ms = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'R': o.ppm = (int)strtol(optarg, NULL, 0); break;
		case 'L': o.log_ms = (unsigned)strtoul(optarg, NULL, 0); break;
		default: return usage();
		}
	}
	if (!o.kernel)
		return usage();
	sigemptyset(&held);
	sigaddset(&held, SIGUSR2);             /* for this thread alone, where it waits */
	sigprocmask(SIG_BLOCK, &held, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	if (build(&h, &o, &err) || vcpu_threads_start(h.d)) {
		fprintf(stderr, "hvrun: %s\n", err.code ? err.text : "cannot start the vCPU threads");
		domain_free(h.d);
		return 1;
	}
	vcpu_threads_resume(h.d);
	tty_raw();
	status = serve(&h, &o);
	tty_restore();
	vcpu_threads_stop(h.d);
	domain_free(h.d);
	return status;
}
