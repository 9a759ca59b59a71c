/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_main.c - hv-domain: one DomU.
 *
 * Holds: the guest's RAM (a sealed memfd), its disks' and taps' descriptors, channels to xenstored, xenconsoled and hv-disk,
 *        the control socket's listener.
 * Hears: the guest (hostile: kernel file, instructions, hypercalls, rings), hypervisord's control requests, the one
 *        migration worker it was opened for, the daemons behind its channels.
 * May do: what a descriptor in its hands allows, as a uid of its own in an empty root, under seccomp.  It opens nothing.
 *
 *	hv-domain --domid N --uuid U --name NAME --max-pages N --vcpus N --uid N [--code-cache-mib N] [--tsc-khz N] [--pages-fd N]
 *	descriptor 3: the listener; pages-fd: the listener of whoever brings pages that a move left behind (hv_domain_pages.c)
 */
#include "config.h"
#include "hypervisor/hv_domain.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <qb/qbutil.h>
#include <uuid/uuid.h>
#include "hypervisor/domain_new.h"
#include "hypervisor/host_clock.h"
#include "hypervisor/hv_domain_pages.h"
#include "hypervisor/vcpu_thread.h"
#include "lib/log.h"

#define LISTEN_FD 3
#define ORPHAN_S 120

struct args {
	struct domain_params domain;
	uid_t uid;
	const char *name;
	size_t code_cache;                     /* bytes; 0: what is usual */
	int pages_fd;                          /* listener; -1: none */
};

static struct hv the_hv;                       /* one domain a process; callbacks of struct domain find it here */

static void on_shutdown(struct domain *d)
{
	hv_post(&the_hv, hv_guest_ended, atomic_load(&d->shutdown_reason));
}

static void on_log(struct domain *d, const char *msg)
{
	log_info("domain %u: %s", d->domid, msg);
}

/* Holes read as zeros; a failure leaves the guest's old bytes, which it owns. */
static void on_ram_release(struct domain *d, uint64_t mfn, uint64_t n)
{
	hv_pages_forget(d->owner, mfn, n);
	if (fallocate(d->ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(mfn << 12), (off_t)(n << 12)) < 0)
		for (uint64_t i = 0; i < n; i++)
			memset(domain_frame(d, mfn + i), 0, PAGE_SIZE_HV);
}

static int args_parse(int argc, char **argv, struct args *a)
{
	static const struct option longs[] = {
		{ "domid", required_argument, NULL, 'd' }, { "uuid", required_argument, NULL, 'u' },
		{ "name", required_argument, NULL, 'n' }, { "max-pages", required_argument, NULL, 'm' },
		{ "vcpus", required_argument, NULL, 'c' }, { "uid", required_argument, NULL, 'i' },
		{ "code-cache-mib", required_argument, NULL, 'k' }, { "tsc-khz", required_argument, NULL, 't' },
		{ "pages-fd", required_argument, NULL, 'p' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'd': a->domain.domid = (uint16_t)strtoul(optarg, NULL, 10); break;
		case 'u':
			if (uuid_parse(optarg, a->domain.uuid))
				return -EINVAL;
			break;
		case 'n': a->name = optarg; break;
		case 'm': a->domain.max_pages = strtoull(optarg, NULL, 10); break;
		case 'c': a->domain.vcpus = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'k': a->code_cache = strtoull(optarg, NULL, 10) << 20; break;
		case 't': host_clock_told(strtoull(optarg, NULL, 10)); break;
		case 'p': a->pages_fd = (int)strtol(optarg, NULL, 10); break;
		case 'i': a->uid = (uid_t)strtoul(optarg, NULL, 10); break;
		default: return -EINVAL;
		}
	}
	return a->name && a->domain.domid && a->domain.max_pages && a->domain.vcpus && a->uid ? 0 : -EINVAL;
}

/* hypervisord died before it wrote down that we exist: nobody will ever ask us for anything. */
static void nobody_came(void *data)
{
	struct hv *h = data;

	if (h->copy.state != COPY_BUILDING || h->have_guest)
		return;
	log_warn("domain %u: nothing was built within %d s; ending", h->d->domid, ORPHAN_S);
	_exit(0);
}

static int domain_make(struct hv *h, const struct args *a, struct err *err)
{
	struct domain_params p = a->domain;
	int rc;

	p.name = a->name;
	p.ram_fd = -1;
	p.engine = &engine_bt;
	rc = domain_new(&p, &h->d, err);
	if (rc)
		return rc;
	h->d->owner = h;
	h->d->shutdown_notify = on_shutdown;
	h->d->log = on_log;
	h->d->ram_release = on_ram_release;
	rc = domain_attach(h->d, a->code_cache, err);
	if (rc)
		return rc;
	rc = hv_threads_init(h);
	if (rc)
		return err_set(err, rc, "domain %u: cannot start its I/O thread", p.domid);
	rc = hv_devices_create(h);
	return rc ? err_set(err, rc, "domain %u: cannot make its devices", p.domid) : 0;
}

int main(int argc, char **argv)
{
	struct hv *h = &the_hv;
	struct args a = { .uid = 0, .pages_fd = -1 };
	struct err err = { 0 };
	char name[32];
	int rc = args_parse(argc, argv, &a);

	if (rc || fcntl(LISTEN_FD, F_GETFD) < 0) {
		fprintf(stderr, "hv-domain is started by hypervisord; use xl create\n");
		return 64;
	}
	snprintf(name, sizeof name, "hv-domain-%u", a.domain.domid);
	log_init(name);
	signal(SIGPIPE, SIG_IGN);
	h->loop = qb_loop_create();
	h->started_unix = (uint64_t)time(NULL);
	h->copy.state = COPY_BUILDING;
	h->disk_sectors = json_object();
	rc = h->loop ? domain_make(h, &a, &err) : err_set(&err, -ENOMEM, "no memory for the loop");
	if (!rc)
		hv_pages_init(h, a.pages_fd);
	if (!rc)
		rc = hv_sandbox_enter(a.uid, domain_memfd_bytes(a.domain.max_pages), &err);
	if (!rc && vcpu_threads_start(h->d))
		rc = err_set(&err, -EAGAIN, "cannot start the vCPU threads");
	if (!rc)
		rc = hv_control_start(h, LISTEN_FD);
	if (rc) {
		log_err("domain %u: %s", a.domain.domid, err.text);
		return 1;
	}
	qb_loop_timer_add(h->loop, QB_LOOP_LOW, ORPHAN_S * QB_TIME_NS_IN_SEC, h, nobody_came, NULL);
	qb_loop_run(h->loop);
	return 0;
}
