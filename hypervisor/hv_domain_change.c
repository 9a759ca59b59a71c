/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_change.c - what hypervisord changes of a guest that is there: devices that go, the limit of its memory, its name; an
 * NMI, a core dump.
 */
#include "hypervisor/hv_domain.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "hypervisor/core_dump.h"
#include "lib/log.h"

/* --- devices that go ------------------------------------------------------------------------------------------------ */

struct removal { const char *vdev; unsigned devid; bool force; };

static int io_remove_disk(struct hv *h, void *arg)
{
	const struct removal *x = arg;

	int rc = devices_remove_disk(h->ds, x->vdev, x->force);

	h->has_iscsi = devices_have_iscsi(h->ds);
	return rc;
}

static int io_remove_vif(struct hv *h, void *arg)
{
	const struct removal *x = arg;

	return devices_remove_vif(h->ds, x->devid, x->force);
}

static void removed(struct msg_call *c, int rc, const char *what)
{
	if (!rc)
		msg_reply(c, NULL);
	else
		msg_error(c, rc, "%s: %s", what, rc == -EBUSY ? "the guest still uses it" : rc == -EAGAIN ? "requests of it are under way"
			  : "the domain has no such device");
}

void hv_change_op_remove_disk(struct msg_call *c, void *arg)
{
	struct removal x = { .force = msg_call_bool_opt(c, "force", false) };
	struct hv *h = arg;
	int rc;

	if (!msg_call_str(c, "vdev", &x.vdev))
		return;
	rc = hv_io_call(h, io_remove_disk, &x);
	if (!rc)
		json_object_del(h->disk_sectors, x.vdev);
	removed(c, rc, x.vdev);
}

void hv_change_op_remove_vif(struct msg_call *c, void *h)
{
	struct removal x = { .devid = (unsigned)msg_call_int_opt(c, "devid", -1), .force = msg_call_bool_opt(c, "force", false) };
	char what[24];

	snprintf(what, sizeof what, "vif %u", x.devid);
	removed(c, hv_io_call(h, io_remove_vif, &x), what);
}

/* --- memory, NMI, name ------------------------------------------------------------------------------------------------ */

void hv_change_op_mem_limit(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	int64_t pages;

	if (!msg_call_int(c, "pages", &pages))
		return;
	if (pages < 0 || (uint64_t)pages > h->d->max_pages) {
		msg_error(c, -EINVAL, "domain %u: a limit of %lld pages, but it was built for %llu", h->d->domid, (long long)pages,
			  (unsigned long long)h->d->max_pages);
		return;
	}
	atomic_store(&h->d->limit_pages, (uint64_t)pages);
	msg_reply(c, NULL);
}

void hv_change_op_trigger(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	int64_t vcpu = msg_call_int_opt(c, "vcpu", 0);

	if (vcpu < 0 || vcpu >= h->d->nr_vcpus || atomic_load(&h->d->vcpu[vcpu]->run_state) == VCPU_DOWN)
		msg_error(c, -EINVAL, "domain %u has no vCPU %lld that is online; see xl vcpu-list", h->d->domid, (long long)vcpu);
	else {
		vcpu_send_nmi(h->d->vcpu[vcpu]);
		msg_reply(c, NULL);
	}
}

void hv_change_op_rename(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	const char *name;

	if (!msg_call_str(c, "name", &name))
		return;
	snprintf(h->d->name, sizeof h->d->name, "%s", name);
	msg_reply(c, NULL);
}

/* --- core dump -------------------------------------------------------------------------------------------------------- */

struct dump { struct msg_call *call; int fd; bool stood_still; };

static void dump_quiet(struct hv *h, int rc, void *arg)
{
	struct dump *dump = arg;
	struct err err = { 0 };

	if (rc)
		err_set(&err, rc, "domain %u: its devices do not come to rest: %s", h->d->domid, strerror(-rc));
	else
		rc = core_dump_write(h->d, dump->fd, &err);
	if (!dump->stood_still)
		hv_unquiesce(h);
	if (rc)
		msg_error_from(dump->call, &err);
	else
		msg_reply(dump->call, NULL);
	close(dump->fd);
	free(dump);
}

/* The guest stands still while it is written.  One that has ended does so anyway, and stays so. */
void hv_change_op_dump_core(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct dump *dump;
	int fd = msg_call_take_fd(c, 0);
	bool fits = h->have_guest && !h->move && (h->copy.state == COPY_RUNNING || h->copy.state == COPY_QUORUM_PAUSED);

	if (fd >= 0 && hv_pages_in_the_way(h, c, "dump-core")) {
		close(fd);
		return;
	}
	dump = fd >= 0 && fits ? calloc(1, sizeof *dump) : NULL;
	if (!dump) {
		if (fd >= 0)
			close(fd);
		msg_error(c, fd < 0 ? -EINVAL : -EPERM, fd < 0 ? "dump-core: no file came with the request" :
			  "dump-core: the domain is being built, saved or moved; try again when that is over");
		return;
	}
	*dump = (struct dump) { c, fd, h->drained };
	if (h->drained)
		dump_quiet(h, 0, dump);
	else
		hv_quiesce(h, dump_quiet, dump);
}

/* --- an ended guest that is kept ---------------------------------------------------------------------------------------- */

static int io_let_go(struct hv *h, void *arg)
{
	devices_release(h->ds);
	devices_release_taps(h->ds);
	return 0;
}

/* Its disks and taps are closed, for whoever comes in its place; its memory stays to be looked at. */
void hv_change_op_let_go(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (!h->end_told || !h->drained) {
		msg_error(c, -EPERM, "domain %u: its guest has not ended", h->d->domid);
		return;
	}
	hv_io_call(h, io_let_go, NULL);
	h->released = true;
	msg_reply(c, NULL);
}
