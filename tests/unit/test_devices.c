/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The back ends against a front end made of this test: real event channels, grants and rings in a small domain, a store of a
 * few lines at the other end of the back-end channel.  Half of it is what a hostile guest does.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>
#include <xen/grant_table.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/netif.h>
#include <linux/virtio_net.h>

#include "hypervisor/abi/evtchn.h"
#include "hypervisor/devices/devices.h"
#include "hypervisor/devices/netpkt.h"
#include "hypervisor/domain_new.h"
#include "lib/buf.h"
#include "lib/proto/hv_disk.h"
#include "lib/proto/store.h"

/* ---- what hv-domain brings ---- */

void vcpu_wake(struct vcpu *v) { }
void vcpu_yield(struct vcpu *v);
void vcpu_yield(struct vcpu *v) { }

static int eng_domain_init(struct domain *d, size_t n) { return 0; }
static void eng_domain_destroy(struct domain *d) { }
static int eng_vcpu_init(struct vcpu *v) { return 0; }
static unsigned frames_written;
static void eng_frame_written(struct domain *d, uint64_t mfn) { frames_written++; }
static const struct engine_ops engine_none = { .name = "none", .domain_init = eng_domain_init, .domain_destroy = eng_domain_destroy,
					       .vcpu_init = eng_vcpu_init, .frame_written = eng_frame_written };

/* ---- a store ---- */

#define NODES 96
static struct { char path[128], value[64]; } node[NODES];
static char watched[8][128], token[8][16];
static unsigned nr_watched;

static char *store_get(const char *path)
{
	for (int i = 0; i < NODES; i++)
		if (node[i].path[0] && !strcmp(node[i].path, path))
			return node[i].value;
	return NULL;
}

/* value NULL: the node goes. */
static void store_set(const char *path, const char *value)
{
	char *v = store_get(path);

	for (int i = 0; !value && i < NODES; i++)
		if (!strcmp(node[i].path, path))
			node[i].path[0] = 0;
	if (!value)
		return;
	for (int i = 0; !v && i < NODES; i++)
		if (!node[i].path[0]) {
			snprintf(node[i].path, sizeof(node[i].path), "%s", path);
			v = node[i].value;
		}
	assert_non_null(v);
	snprintf(v, 64, "%s", value);
}

static void xs_send(int fd, uint32_t type, uint32_t id, const void *body, size_t n)
{
	struct xsd_sockmsg h = { .type = type, .req_id = id, .len = (uint32_t)n };
	char p[STORE_MSG_MAX];

	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), body, n);
	assert_int_equal(send(fd, p, sizeof(h) + n, MSG_DONTWAIT), sizeof(h) + n);
}

static void watch_fire(int fd, unsigned i)
{
	char b[160];
	size_t p = strlen(watched[i]) + 1, t = strlen(token[i]) + 1;

	memcpy(b, watched[i], p);
	memcpy(b + p, token[i], t);
	xs_send(fd, XS_WATCH_EVENT, 0, b, p + t);
}

/* ---- the domain, its devices, its front ends ---- */

struct t {
	struct domain *d;
	struct io_loop *l;
	struct devices *ds;
	int be, store, console, tap, remote, disk;       /* the test's ends */
	uint8_t *bounce;
	uint32_t next_ref;
	uint64_t next_page;
	struct blkif_sring *ring;
	struct blkif_front_ring front;
	uint32_t blk_port;
};

/* Whether anybody asked for anything. */
static bool store_serve(struct t *t)
{
	char p[STORE_MSG_MAX + 1];
	struct xsd_sockmsg h;
	bool asked = false;
	ssize_t n;

	while ((n = recv(t->be, p, STORE_MSG_MAX, MSG_DONTWAIT)) > 0) {
		char *path = p + sizeof(h), *v;

		asked = true;
		p[n] = 0;
		memcpy(&h, p, sizeof(h));
		switch (h.type) {
		case XS_READ:
			v = store_get(path);
			xs_send(t->be, v ? XS_READ : XS_ERROR, h.req_id, v ? v : "ENOENT", v ? strlen(v) : 7);
			break;
		case XS_WRITE:
			store_set(path, path + strlen(path) + 1);
			xs_send(t->be, XS_WRITE, h.req_id, "OK", 3);
			break;
		case XS_WATCH:
			snprintf(watched[nr_watched], 128, "%.127s", path);
			snprintf(token[nr_watched], 16, "%.15s", path + strlen(path) + 1);
			xs_send(t->be, XS_WATCH, h.req_id, "OK", 3);
			watch_fire(t->be, nr_watched++);
			break;
		case XS_UNWATCH:
			for (unsigned i = 0; i < nr_watched; i++)
				if (!strcmp(watched[i], path) && !strcmp(token[i], path + strlen(path) + 1))
					watched[i][0] = 0;
			xs_send(t->be, XS_UNWATCH, h.req_id, "OK", 3);
			break;
		default:
			fail_msg("the back end sent store request %u", h.type);
		}
	}
	return asked;
}

/* Until nothing has happened for some rounds: what the pool's threads do comes by itself. */
static void pump(struct t *t)
{
	for (int quiet = 0; quiet < 5; quiet++) {
		while (io_loop_run_once(t->l, 1) > 0)
			quiet = 0;
		if (store_serve(t))
			quiet = 0;
	}
}

static void front_write(struct t *t, const char *path, const char *value)
{
	store_set(path, value);
	for (unsigned i = 0; i < nr_watched; i++)
		if (!strcmp(watched[i], path))
			watch_fire(t->be, i);
	pump(t);
}

static void pair(int *ours, int *theirs)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	*ours = sv[0];
	*theirs = sv[1];
}

static struct grant_entry_v1 *grant(struct t *t, uint32_t ref)
{
	return (struct grant_entry_v1 *)domain_frame(t->d, SPECIAL_MFN + SPECIAL_GRANT) + ref;
}

/* A page of the guest's, granted to Domain-0. */
static uint32_t give(struct t *t, uint8_t **page, bool readonly)
{
	uint32_t ref = t->next_ref++;
	uint64_t mfn = t->next_page++;

	*grant(t, ref) = (struct grant_entry_v1){ .flags = GTF_permit_access | (readonly ? GTF_readonly : 0), .frame = (uint32_t)mfn };
	*page = domain_frame(t->d, mfn);
	return ref;
}

static bool pending(struct t *t, uint32_t port)
{
	uint64_t *w = ((struct shared_info *)domain_frame(t->d, SPECIAL_MFN))->evtchn_pending;
	bool p = w[port / 64] >> (port % 64) & 1;

	w[port / 64] &= ~(1UL << (port % 64));
	return p;
}

/* What a vCPU's evtchn_send comes to.  On the loop's own thread a turn is left to the loop. */
static void notify(struct t *t, uint32_t port)
{
	if (devices_notify(t->d, port))
		devices_turn(t->d);
}

static void kick(struct t *t, uint32_t port)
{
	notify(t, port);
	pump(t);
}

static int disk_file(void)
{
	int fd = memfd_create("disk", 0);

	assert_int_equal(ftruncate(fd, 2048 * 512), 0);
	return fd;
}

static void devices_make(struct t *t, bool iscsi)
{
	struct device_disk disk = { .vdev = "xvda", .iscsi = iscsi, .fd = iscsi ? -1 : dup(t->disk), .sectors = 2048, .sector_size = 512 };
	struct device_vif vif = { .mac = { 0, 0x16, 0x3e, 1, 2, 3 }, .mtu = 1500, .tap_fd = -1 };
	int theirs;

	t->ds = devices_create(t->d, t->l);
	assert_non_null(t->ds);
	pair(&t->tap, &vif.tap_fd);
	assert_int_equal(devices_add_store(t->ds), 0);
	assert_int_equal(devices_add_console(t->ds), 0);
	assert_int_equal(devices_add_disk(t->ds, &disk), 0);
	assert_int_equal(devices_add_disk(t->ds, &disk), -EEXIST);
	assert_int_equal(devices_add_vif(t->ds, &vif), 0);
	pair(&t->be, &theirs);
	assert_int_equal(devices_set_channel(t->ds, "store-be", theirs, -1), 0);
	pair(&t->store, &theirs);
	assert_int_equal(devices_set_channel(t->ds, "store", theirs, -1), 0);
	pair(&t->console, &theirs);
	assert_int_equal(devices_set_channel(t->ds, "console", theirs, -1), 0);
	assert_int_equal(devices_set_channel(t->ds, "disk:xvdz", dup(0), -1), -ENOENT);
	if (iscsi) {
		int mem = memfd_create("bounce", 0);

		assert_int_equal(ftruncate(mem, HV_DISK_REGION), 0);
		t->bounce = mmap(NULL, HV_DISK_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
		pair(&t->remote, &theirs);
		assert_int_equal(devices_set_channel(t->ds, "iscsi", theirs, mem), 0);
	}
}

static struct t *setup(bool iscsi)
{
	struct domain_params p = { .engine = &engine_none, .domid = 7, .name = "t", .max_pages = 1024, .vcpus = 1, .ram_fd = -1 };
	struct t *t = calloc(1, sizeof(*t));
	struct err err;

	memset(node, 0, sizeof(node));
	nr_watched = 0;
	assert_int_equal(domain_new(&p, &t->d, &err), 0);
	domain_populate(t->d, 1024);
	assert_int_equal(domain_attach(t->d, 0, &err), 0);
	t->d->store_mfn = 1;
	t->d->console_mfn = 2;
	t->d->store_port = (uint32_t)evtchn_bind_backend(t->d);
	t->d->console_port = (uint32_t)evtchn_bind_backend(t->d);
	t->next_ref = 8;
	t->next_page = 16;
	t->l = io_loop_create();
	t->disk = disk_file();
	devices_make(t, iscsi);
	store_set("/local/domain/7/device/vbd/51712/state", "1");
	store_set("/local/domain/7/device/vif/0/state", "1");
	devices_activate(t->ds);
	assert_int_equal(devices_start(t->ds), 0);
	pump(t);
	pending(t, t->d->store_port);
	pending(t, t->d->console_port);
	return t;
}

static void ends_close(struct t *t)
{
	close(t->be), close(t->store), close(t->console), close(t->tap);
	if (t->remote)
		close(t->remote);
}

static void teardown(struct t *t)
{
	devices_destroy(t->ds);
	io_loop_destroy(t->l);
	ends_close(t);
	close(t->disk);
	if (t->bounce)
		munmap(t->bounce, HV_DISK_REGION);
	domain_free(t->d);
	free(t);
}

/* Not inline, or the compiler follows a NULL that cannot be. */
static __attribute__((noinline)) void *page_of(struct t *t, uint64_t mfn)
{
	void *p = domain_frame(t->d, mfn);

	assert_non_null(p);
	return p;
}

static int drain_rc;
static void drained(void *arg, int rc) { drain_rc = rc; }

/* ---- the store ring ---- */

static struct xenstore_domain_interface *xs_ring(struct t *t) { return page_of(t, 1); }

static void guest_puts(struct t *t, const void *p, size_t n)
{
	struct xenstore_domain_interface *r = xs_ring(t);

	for (size_t i = 0; i < n; i++) {
		while (r->req_prod - r->req_cons == XENSTORE_RING_SIZE)
			kick(t, t->d->store_port);
		r->req[MASK_XENSTORE_IDX(r->req_prod++)] = ((const char *)p)[i];
	}
	kick(t, t->d->store_port);
}

static size_t guest_gets(struct t *t, void *p, size_t want)
{
	struct xenstore_domain_interface *r = xs_ring(t);
	size_t n = 0;

	for (int i = 0; i < 50 && n < want; i++) {
		while (n < want && r->rsp_cons != r->rsp_prod)
			((char *)p)[n++] = r->rsp[MASK_XENSTORE_IDX(r->rsp_cons++)];
		kick(t, t->d->store_port);
	}
	return n;
}

static size_t message(uint8_t *m, uint32_t type, uint32_t id, size_t body)
{
	struct xsd_sockmsg h = { .type = type, .req_id = id, .len = (uint32_t)body };

	memcpy(m, &h, sizeof(h));
	for (size_t i = 0; i < body; i++)
		m[sizeof(h) + i] = (uint8_t)(i * 7 + id);
	return sizeof(h) + body;
}

static struct store_hdr channel_take(struct t *t, uint8_t *m)
{
	uint8_t p[STORE_PACKET_MAX];
	struct store_hdr h = { 0 };
	ssize_t n = recv(t->store, p, sizeof(p), MSG_DONTWAIT);

	if (n < (ssize_t)sizeof(h))
		return h;
	memcpy(&h, p, sizeof(h));
	assert_int_equal(h.len, n - (ssize_t)sizeof(h));
	if (m)
		memcpy(m, p + sizeof(h), h.len);
	return h;
}

static void channel_put(struct t *t, uint32_t kind, uint64_t seq, const uint8_t *m, size_t n)
{
	struct store_hdr h = { .kind = kind, .len = (uint32_t)n, .seq = seq };
	uint8_t p[STORE_PACKET_MAX];

	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), m, n);
	assert_int_equal(send(t->store, p, sizeof(h) + n, 0), sizeof(h) + n);
	pump(t);
}

static void store_whole_messages(void **state)
{
	struct t *t = setup(false);
	uint8_t m[STORE_MSG_MAX], got[STORE_MSG_MAX];
	struct store_hdr h;
	size_t n;

	/* sizes around the ring's, so that messages wrap and are longer than it */
	for (uint32_t i = 1; i <= 40; i++) {
		n = message(m, XS_READ, i, i == 40 ? XENSTORE_PAYLOAD_MAX : i * 61);
		guest_puts(t, m, n);
		h = channel_take(t, got);
		assert_int_equal(h.kind, STORE_REQ);
		assert_int_equal(h.seq, i);
		assert_int_equal(h.len, n);
		assert_memory_equal(got, m, n);
		n = message(m, XS_READ, i, 41 * i);
		channel_put(t, STORE_REPLY, i, m, n);
		assert_true(pending(t, t->d->store_port));
		assert_int_equal(guest_gets(t, got, n), n);
		assert_memory_equal(got, m, n);
	}
	teardown(t);
}

static void store_one_unanswered(void **state)
{
	struct t *t = setup(false);
	uint8_t m[200], got[STORE_MSG_MAX];
	size_t n = message(m, XS_READ, 1, 20);
	int theirs;

	guest_puts(t, m, n);
	guest_puts(t, m, n);
	assert_int_equal(channel_take(t, NULL).seq, 1);
	assert_int_equal(channel_take(t, NULL).kind, 0);           /* the second waits in the ring */
	close(t->store);                                           /* xenstored dies */
	pump(t);
	pair(&t->store, &theirs);
	devices_set_channel(t->ds, "store", theirs, -1);
	pump(t);
	assert_int_equal(channel_take(t, got).seq, 1);             /* the first again, the same */
	assert_memory_equal(got, m, n);
	channel_put(t, STORE_REPLY, 1, m, n);
	channel_put(t, STORE_REPLY, 1, m, n);                      /* a second reply is nobody's */
	assert_int_equal(channel_take(t, NULL).seq, 2);
	assert_int_equal(guest_gets(t, got, 2 * n), n);
	teardown(t);
}

static void store_events_acked_once(void **state)
{
	struct t *t = setup(false);
	uint8_t m[1200], got[4000];
	size_t n = message(m, XS_WATCH_EVENT, 0, 700);
	struct store_hdr h;
	int theirs;

	channel_put(t, STORE_EVENT, 1, m, n);
	h = channel_take(t, NULL);
	assert_int_equal(h.kind, STORE_EVENT_ACK);
	assert_int_equal(h.seq, 1);
	channel_put(t, STORE_EVENT, 2, m, n);                      /* does not fit any more: no acknowledgement yet */
	assert_int_equal(channel_take(t, NULL).kind, 0);
	close(t->store);
	pair(&t->store, &theirs);
	devices_set_channel(t->ds, "store", theirs, -1);
	channel_put(t, STORE_EVENT, 1, m, n);                      /* xenstored did not see the first one's either */
	channel_put(t, STORE_EVENT, 2, m, n);
	h = channel_take(t, NULL);
	assert_int_equal(h.kind, STORE_EVENT_ACK);
	assert_int_equal(h.seq, 1);
	assert_int_equal(guest_gets(t, got, 4000), 2 * n);         /* each once */
	h = channel_take(t, NULL);
	assert_int_equal(h.kind, STORE_EVENT_ACK);
	assert_int_equal(h.seq, 2);
	teardown(t);
}

static void store_hostile_ring(void **state)
{
	struct xsd_sockmsg h = { .type = XS_READ, .len = XENSTORE_PAYLOAD_MAX + 1 };
	struct t *t = setup(false);

	xs_ring(t)->req_prod = 5000;
	kick(t, t->d->store_port);
	assert_int_equal(xs_ring(t)->error, XENSTORE_ERROR_RINGIDX);
	assert_int_equal(channel_take(t, NULL).kind, 0);
	teardown(t);
	t = setup(false);
	guest_puts(t, &h, sizeof(h));
	assert_int_equal(xs_ring(t)->error, XENSTORE_ERROR_PROTO);
	assert_int_equal(channel_take(t, NULL).kind, 0);
	teardown(t);
	t = setup(false);
	xs_ring(t)->rsp_cons = 77;
	kick(t, t->d->store_port);
	assert_int_equal(xs_ring(t)->error, XENSTORE_ERROR_RINGIDX);
	teardown(t);
}

/* ---- console ---- */

static void console_both_ways(void **state)
{
	struct t *t = setup(false);
	struct xencons_interface *r = page_of(t, 2);
	char got[4096];

	memcpy(r->out, "hello", 5);
	r->out_prod = 5;
	kick(t, t->d->console_port);
	assert_int_equal(r->out_cons, 5);
	assert_int_equal(recv(t->console, got, sizeof(got), MSG_DONTWAIT), 5);
	assert_memory_equal(got, "hello", 5);
	assert_int_equal(send(t->console, "ls\n", 3, 0), 3);
	pump(t);
	assert_int_equal(r->in_prod, 3);
	assert_memory_equal(r->in, "ls\n", 3);
	assert_true(pending(t, t->d->console_port));
	devices_console_write(t->d, "early", 5);
	pump(t);
	assert_int_equal(recv(t->console, got, sizeof(got), MSG_DONTWAIT), 5);
	r->out_prod = r->out_cons + 99999;                         /* a lie */
	kick(t, t->d->console_port);
	assert_int_equal(r->out_cons, r->out_prod);
	r->in_cons = r->in_prod + 3;
	assert_int_equal(send(t->console, "x", 1, 0), 1);
	pump(t);
	teardown(t);
}

static void console_never_waits_without_daemon(void **state)
{
	struct t *t = setup(false);
	struct xencons_interface *r = page_of(t, 2);
	char got[4096];
	size_t total = 0;
	ssize_t n;
	int theirs;

	close(t->console);
	pump(t);
	for (unsigned i = 0; i < 100; i++) {
		memset(r->out, 'a' + (int)(i % 26), sizeof(r->out));
		r->out_prod += sizeof(r->out);
		notify(t, t->d->console_port);
		while (io_loop_run_once(t->l, 5) > 0)
			;
		assert_int_equal(r->out_cons, r->out_prod);
	}
	pair(&t->console, &theirs);
	devices_set_channel(t->ds, "console", theirs, -1);
	for (int i = 0; i < 100; i++) {
		while ((n = recv(t->console, got, sizeof(got), MSG_DONTWAIT)) > 0)
			total += (size_t)n;
		while (io_loop_run_once(t->l, 1) > 0)
			;
	}
	assert_int_equal(total, 65536);                            /* the newest */
	assert_int_equal(got[0], 'a' + 99 % 26);
	teardown(t);
}

/* Keys typed while hypervisord made another channel were lost with the old one. */
/* A guest's last words by console_io, and its save in the same moment: they travel. */
static void console_io_travels(void **state)
{
	struct t *t = setup(false);
	struct buf b = BUF_INIT(1 << 20);

	devices_drain(t->ds, drained, NULL);
	devices_console_write(t->d, "Kernel panic", 12);
	assert_int_equal(devices_save(t->ds, &b), 0);
	assert_non_null(memmem(b.data, b.len, "Kernel panic", 12));
	buf_free(&b);
	teardown(t);
}

static void console_keeps_keys_of_the_old_channel(void **state)
{
	struct t *t = setup(false);
	struct xencons_interface *r = page_of(t, 2);
	int theirs;

	r->in_prod = sizeof(r->in);                                /* the guest does not read: a packet waits, the next stay in the socket */
	assert_int_equal(send(t->console, "date", 4, 0), 4);
	pump(t);
	assert_int_equal(send(t->console, " -u", 3, 0), 3);
	assert_int_equal(send(t->console, "\n", 1, 0), 1);
	close(t->console);
	pair(&t->console, &theirs);
	assert_int_equal(devices_set_channel(t->ds, "console", theirs, -1), 0);
	r->in_cons = r->in_prod;
	kick(t, t->d->console_port);
	assert_int_equal(r->in_prod - r->in_cons, 8);
	assert_memory_equal(r->in, "date -u\n", 8);
	teardown(t);
}

/* ---- disks ---- */

static void blk_connect(struct t *t)
{
	uint8_t *page;
	uint32_t ref = give(t, &page, false);
	char v[16];

	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "2");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/feature-flush-cache"), "1");
	t->ring = (struct blkif_sring *)page;
	SHARED_RING_INIT(t->ring);
	FRONT_RING_INIT(&t->front, t->ring, PAGE_SIZE_HV);
	assert_int_equal(t->front.nr_ents, 32);
	t->blk_port = (uint32_t)evtchn_bind_backend(t->d);
	snprintf(v, sizeof(v), "%u", ref);
	store_set("/local/domain/7/device/vbd/51712/ring-ref", v);
	snprintf(v, sizeof(v), "%u", t->blk_port);
	store_set("/local/domain/7/device/vbd/51712/event-channel", v);
	store_set("/local/domain/7/device/vbd/51712/protocol", "x86_64-abi");
	front_write(t, "/local/domain/7/device/vbd/51712/state", "3");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "4");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/sectors"), "2048");
}

static struct blkif_request *blk_next(struct t *t)
{
	struct blkif_request *r = RING_GET_REQUEST(&t->front, t->front.req_prod_pvt);

	t->front.req_prod_pvt++;
	memset(r, 0, sizeof(*r));
	r->id = 1000 + t->front.req_prod_pvt;
	return r;
}

static void blk_push(struct t *t)
{
	t->ring->req_prod = t->front.req_prod_pvt;
	kick(t, t->blk_port);
}

/* The one response there is. */
static int blk_status(struct t *t)
{
	struct blkif_response *r;

	for (int i = 0; i < 100 && t->ring->rsp_prod == t->front.rsp_cons; i++) {
		usleep(1000);
		pump(t);
	}
	assert_int_equal(t->ring->rsp_prod, t->front.rsp_cons + 1);
	r = RING_GET_RESPONSE(&t->front, t->front.rsp_cons);
	t->front.rsp_cons++;
	t->ring->rsp_event = t->front.rsp_cons + 1;
	assert_int_equal(r->id, 1000 + t->front.rsp_cons);
	assert_true(pending(t, t->blk_port));
	return r->status;
}

static int blk_io(struct t *t, uint8_t op, uint64_t sector, uint32_t ref, uint8_t first, uint8_t last, uint8_t nr)
{
	struct blkif_request *r = blk_next(t);

	r->operation = op;
	r->nr_segments = nr;
	r->sector_number = sector;
	for (int i = 0; i < 11; i++)
		r->seg[i] = (struct blkif_request_segment){ ref, first, last };
	blk_push(t);
	return blk_status(t);
}

static bool grants_released(struct t *t)
{
	for (uint32_t i = 9; i < t->next_ref; i++)
		if (grant(t, i)->flags & (GTF_reading | GTF_writing))
			return false;
	return true;
}

static void disk_reads_and_writes(void **state)
{
	struct t *t = setup(false);
	uint8_t *w, *r, on_disk[1024];
	uint32_t wref, rref;
	uint64_t rmfn;

	blk_connect(t);
	wref = give(t, &w, true);
	rmfn = t->next_page;
	rref = give(t, &r, false);
	memset(w, 0x5a, PAGE_SIZE_HV);
	assert_int_equal(blk_io(t, BLKIF_OP_WRITE, 100, wref, 2, 3, 1), BLKIF_RSP_OKAY);
	assert_int_equal(pread(t->disk, on_disk, 1024, 51200), 1024);
	assert_memory_equal(on_disk, w, 1024);
	assert_int_equal(blk_io(t, BLKIF_OP_FLUSH_DISKCACHE, 0, 0, 0, 0, 0), BLKIF_RSP_OKAY);
	atomic_store(&t->d->dirty_logging, true);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 100, rref, 6, 7, 1), BLKIF_RSP_OKAY);
	assert_memory_equal(r + 3072, w, 1024);
	assert_int_equal(r[3071], 0);
	assert_true(t->d->dirty[rmfn / 64] >> (rmfn % 64) & 1);    /* what the disk wrote into memory travels */
	assert_int_equal(blk_io(t, BLKIF_OP_DISCARD, 100, 0, 0, 0, 0), BLKIF_RSP_ERROR);
	assert_true(grants_released(t));
	teardown(t);
}

static void disk_refuses(void **state)
{
	struct t *t = setup(false);
	struct blkif_request_indirect *ind;
	uint32_t ref, ro;
	uint8_t *p;

	blk_connect(t);
	ref = give(t, &p, false);
	ro = give(t, &p, true);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 2047, ref, 0, 1, 1), BLKIF_RSP_ERROR);              /* across the end */
	assert_int_equal(blk_io(t, BLKIF_OP_READ, UINT64_MAX, ref, 0, 0, 1), BLKIF_RSP_ERROR);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 3, 2, 1), BLKIF_RSP_ERROR);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 8, 1), BLKIF_RSP_ERROR);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 255, 1), BLKIF_RSP_ERROR);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 0, 0), BLKIF_RSP_ERROR);                 /* no segments */
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 0, 12), BLKIF_RSP_ERROR);                /* too many */
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 0, 255), BLKIF_RSP_ERROR);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ro, 0, 0, 1), BLKIF_RSP_ERROR);                  /* may not be written */
	assert_int_equal(blk_io(t, BLKIF_OP_WRITE, 0, 400, 0, 0, 1), BLKIF_RSP_ERROR);                /* no such grant */
	assert_int_equal(blk_io(t, BLKIF_OP_WRITE, 0, UINT32_MAX, 0, 0, 1), BLKIF_RSP_ERROR);
	grant(t, ro)->frame = 0x7fffffff;
	assert_int_equal(blk_io(t, BLKIF_OP_WRITE, 0, ro, 0, 0, 1), BLKIF_RSP_ERROR);                 /* no such frame */
	assert_int_equal(blk_io(t, BLKIF_OP_WRITE_BARRIER, 0, ref, 0, 0, 1), BLKIF_RSP_EOPNOTSUPP);
	assert_int_equal(blk_io(t, 200, 0, ref, 0, 0, 1), BLKIF_RSP_EOPNOTSUPP);
	for (unsigned n = 0; n <= 65535; n += 65) {                /* 0, then ever more than fit */
		ind = (struct blkif_request_indirect *)(void *)blk_next(t);
		ind->operation = BLKIF_OP_INDIRECT;
		ind->indirect_op = BLKIF_OP_READ;
		ind->nr_segments = (uint16_t)n;
		ind->id = 1000 + t->front.req_prod_pvt;
		ind->indirect_grefs[0] = ref;
		blk_push(t);
		assert_int_equal(blk_status(t), BLKIF_RSP_ERROR);
		if (n > 1000)
			n += 20000;
	}
	assert_true(grants_released(t));
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 7, 1), BLKIF_RSP_OKAY);                  /* and it works on */
	t->ring->req_prod += 1000;
	kick(t, t->blk_port);
	assert_int_equal(t->ring->rsp_prod, t->front.rsp_cons);    /* a ring that lies is left alone */
	teardown(t);
}

static void disk_indirect(void **state)
{
	struct t *t = setup(false);
	struct blkif_request_segment *seg;
	struct blkif_request_indirect *ind;
	uint8_t *list, *data[40];
	uint32_t lref;

	blk_connect(t);
	lref = give(t, &list, true);
	seg = (struct blkif_request_segment *)(void *)list;
	for (int i = 0; i < 40; i++) {
		seg[i] = (struct blkif_request_segment){ give(t, &data[i], false), 0, 7 };
		memset(data[i], i + 1, PAGE_SIZE_HV);
	}
	for (int pass = 0; pass < 2; pass++) {
		ind = (struct blkif_request_indirect *)(void *)blk_next(t);
		ind->operation = BLKIF_OP_INDIRECT;
		ind->indirect_op = pass ? BLKIF_OP_READ : BLKIF_OP_WRITE;
		ind->nr_segments = 40;
		ind->id = 1000 + t->front.req_prod_pvt;
		ind->sector_number = 16;
		ind->indirect_grefs[0] = lref;
		blk_push(t);
		assert_int_equal(blk_status(t), BLKIF_RSP_OKAY);
		for (int i = 0; i < 40; i++) {
			assert_int_equal(data[i][4095], pass || 1 ? i + 1 : 0);
			if (!pass)
				memset(data[i], 0, PAGE_SIZE_HV);
		}
	}
	teardown(t);
}

static void disk_through_hv_disk(void **state)
{
	struct t *t = setup(true);
	struct hv_disk_req q;
	struct hv_disk_reply a = { 0 };
	uint8_t *w, *r;
	uint32_t wref, rref;
	struct blkif_request *req;
	int theirs, mem;

	blk_connect(t);
	wref = give(t, &w, true);
	rref = give(t, &r, false);
	memset(w, 0x77, PAGE_SIZE_HV);
	req = blk_next(t);
	*req = (struct blkif_request){ .operation = BLKIF_OP_WRITE, .nr_segments = 1, .id = req->id, .sector_number = 8, .seg[0] = { wref, 1, 2 } };
	blk_push(t);
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	assert_int_equal(q.op, HV_DISK_WRITE);
	assert_int_equal(q.sector, 8);
	assert_int_equal(q.sectors, 2);
	assert_memory_equal(t->bounce + q.slot_offset, w, 1024);
	/* hv-disk dies: the request comes again on the next channel, with its data in the new memfd */
	close(t->remote);
	pump(t);
	mem = memfd_create("bounce", 0);
	assert_int_equal(ftruncate(mem, HV_DISK_REGION), 0);
	munmap(t->bounce, HV_DISK_REGION);
	t->bounce = mmap(NULL, HV_DISK_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	pair(&t->remote, &theirs);
	assert_int_equal(devices_set_channel(t->ds, "iscsi", theirs, mem), 0);
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	assert_memory_equal(t->bounce + q.slot_offset, w, 1024);
	a.id = q.id;
	assert_int_equal(send(t->remote, &a, sizeof(a), 0), sizeof(a));
	assert_int_equal(send(t->remote, &a, sizeof(a), 0), sizeof(a));          /* twice: the second is nobody's */
	assert_int_equal(blk_status(t), BLKIF_RSP_OKAY);
	req = blk_next(t);
	*req = (struct blkif_request){ .operation = BLKIF_OP_READ, .nr_segments = 1, .id = req->id, .sector_number = 8, .seg[0] = { rref, 7, 7 } };
	blk_push(t);
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	memset(t->bounce + q.slot_offset, 0x99, 512);
	a.id = q.id;
	assert_int_equal(send(t->remote, &a, sizeof(a), 0), sizeof(a));
	assert_int_equal(blk_status(t), BLKIF_RSP_OKAY);
	assert_int_equal(r[3584], 0x99);
	assert_int_equal(r[3583], 0);
	teardown(t);
}

static void drain_waits_and_flushes(void **state)
{
	struct t *t = setup(true);
	struct hv_disk_reply a = { 0 };
	struct hv_disk_req q;
	struct blkif_request *req;
	struct buf b = BUF_INIT(1 << 20);
	char vdev[8] = "";
	uint8_t *w;
	uint32_t ref;

	blk_connect(t);
	assert_int_equal(devices_waiting_ns(t->ds, vdev, sizeof(vdev)), 0);
	ref = give(t, &w, true);
	req = blk_next(t);
	*req = (struct blkif_request){ .operation = BLKIF_OP_WRITE, .nr_segments = 1, .id = req->id, .seg[0] = { ref, 0, 0 } };
	blk_push(t);
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	drain_rc = 1;
	devices_drain(t->ds, drained, NULL);
	pump(t);
	assert_int_equal(drain_rc, 1);                             /* a write is under way */
	usleep(20000);
	assert_true(devices_waiting_ns(t->ds, vdev, sizeof(vdev)) >= 20000000);
	assert_string_equal(vdev, "xvda");
	assert_int_equal(devices_save(t->ds, &b), -EBUSY);
	blk_next(t)->operation = BLKIF_OP_FLUSH_DISKCACHE;
	blk_push(t);
	a.id = q.id;
	assert_int_equal(send(t->remote, &a, sizeof(a), 0), sizeof(a));
	pump(t);
	assert_int_equal(drain_rc, 1);                             /* then the flush of it */
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	assert_int_equal(q.op, HV_DISK_FLUSH);
	a.id = q.id;
	assert_int_equal(send(t->remote, &a, sizeof(a), 0), sizeof(a));
	pump(t);
	assert_int_equal(drain_rc, 0);
	assert_int_equal(devices_waiting_ns(t->ds, vdev, sizeof(vdev)), 0);
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), -1);      /* the guest's later one stays in its ring */
	assert_int_equal(blk_status(t), BLKIF_RSP_OKAY);
	devices_resume(t->ds);
	pump(t);
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	assert_int_equal(q.op, HV_DISK_FLUSH);
	buf_free(&b);
	teardown(t);
}

static void drain_is_taken_back(void **state)
{
	struct t *t = setup(true);
	struct blkif_request *req;
	struct hv_disk_req q;
	uint8_t *w;
	uint32_t ref;

	blk_connect(t);
	ref = give(t, &w, true);
	req = blk_next(t);
	*req = (struct blkif_request){ .operation = BLKIF_OP_WRITE, .nr_segments = 1, .id = req->id, .seg[0] = { ref, 0, 0 } };
	blk_push(t);
	devices_drain(t->ds, drained, NULL);
	drain_rc = 1;
	devices_resume(t->ds);
	assert_int_equal(drain_rc, -ECANCELED);
	assert_int_equal(recv(t->remote, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	teardown(t);
}

static void disk_detach_and_again(void **state)
{
	struct t *t = setup(false);
	uint8_t *p;
	uint32_t ref;

	blk_connect(t);
	front_write(t, "/local/domain/7/device/vbd/51712/state", "5");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "5");
	front_write(t, "/local/domain/7/device/vbd/51712/state", "6");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "6");
	for (uint32_t i = 8; i < t->next_ref; i++)
		assert_false(grant(t, i)->flags & (GTF_reading | GTF_writing));    /* the guest can end its grants */
	front_write(t, "/local/domain/7/device/vbd/51712/state", "1");
	blk_connect(t);
	ref = give(t, &p, false);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 7, 1), BLKIF_RSP_OKAY);
	teardown(t);
}

/* How many requests hv-disk was sent; each is answered. */
static unsigned remote_answer(struct t *t)
{
	struct hv_disk_reply a = { 0 };
	struct hv_disk_req q;
	unsigned n = 0, before;

	do {
		for (before = n; recv(t->remote, &q, sizeof(q), MSG_DONTWAIT) == sizeof(q); n++) {
			a.id = q.id;
			assert_int_equal(send(t->remote, &a, sizeof(a), 0), sizeof(a));
		}
		pump(t);
	} while (n != before);
	return n;
}

static void blk_put_writes(struct t *t, uint32_t ref, unsigned n)
{
	while (n--) {
		struct blkif_request *r = blk_next(t);

		*r = (struct blkif_request){ .operation = BLKIF_OP_WRITE, .nr_segments = 1, .id = r->id, .seg[0] = { ref, 0, 0 } };
	}
	blk_push(t);
}

static void blk_again(struct t *t)
{
	front_write(t, "/local/domain/7/device/vbd/51712/state", "6");
	front_write(t, "/local/domain/7/device/vbd/51712/state", "1");
	blk_connect(t);
}

/*
 * req_prod goes back behind requests that were taken and are in flight.  A back end that only holds it against what was answered would
 * take the ring's old entries round and round, four thousand million of them, and serve nothing else meanwhile.  The guest still
 * moves: its image names no request that is not there.
 */
static void disk_ring_runs_backwards(void **state)
{
	struct t *t = setup(true);
	struct device_disk disk = { .vdev = "xvda", .iscsi = true, .fd = -1, .sectors = 2048, .sector_size = 512 };
	struct device_vif vif = { .mac = { 0, 0x16, 0x3e, 1, 2, 3 }, .mtu = 1500, .tap_fd = -1 };
	struct devices *spare;
	struct buf b = BUF_INIT(1 << 20);
	uint8_t *w;
	uint32_t ref;

	alarm(60);
	blk_connect(t);
	ref = give(t, &w, true);
	blk_put_writes(t, ref, 32);
	t->ring->req_prod -= 5;
	kick(t, t->blk_port);
	assert_int_equal(remote_answer(t), 32);
	assert_int_equal(t->ring->rsp_prod, 0);                    /* left alone */
	assert_true(grant(t, ref)->flags == (GTF_permit_access | GTF_readonly));
	drain_rc = 1;
	devices_drain(t->ds, drained, NULL);
	pump(t);
	remote_answer(t);                                          /* the drain's flush */
	assert_int_equal(drain_rc, 0);
	assert_int_equal(devices_save(t->ds, &b), 0);
	spare = devices_create(t->d, t->l);
	devices_add_store(spare);
	devices_add_console(spare);
	devices_add_disk(spare, &disk);
	devices_add_vif(spare, &vif);
	assert_int_equal(devices_load(spare, b.data, b.len), 0);
	devices_destroy(spare);
	t->d->devices = t->ds;
	t->d->evtchn_notify_backend = devices_notify;
	t->d->evtchn_backend_turn = devices_turn;
	devices_resume(t->ds);
	blk_again(t);
	blk_put_writes(t, ref, 1);
	assert_int_equal(remote_answer(t), 1);
	assert_int_equal(blk_status(t), BLKIF_RSP_OKAY);
	alarm(0);
	buf_free(&b);
	teardown(t);
}

/* A front end that comes again while the disk has all it takes of the last one's: the new requests wait, none is lost. */
static void disk_again_with_requests_in_flight(void **state)
{
	struct t *t = setup(true);
	struct buf b = BUF_INIT(1 << 20);
	uint8_t *w;
	uint32_t ref;

	blk_connect(t);
	ref = give(t, &w, true);
	blk_put_writes(t, ref, 32);
	blk_again(t);
	blk_put_writes(t, ref, 2);
	assert_int_equal(remote_answer(t), 34);
	assert_int_equal(t->ring->rsp_prod, 2);
	assert_int_equal(RING_GET_RESPONSE(&t->front, 0)->id, 1001);
	assert_int_equal(RING_GET_RESPONSE(&t->front, 1)->id, 1002);
	front_write(t, "/local/domain/7/device/vbd/51712/state", "6");
	drain_rc = 1;
	devices_drain(t->ds, drained, NULL);
	pump(t);
	remote_answer(t);
	assert_int_equal(drain_rc, 0);
	assert_int_equal(devices_save(t->ds, &b), 0);
	buf_free(&b);
	teardown(t);
}

/* A vCPU that puts requests which come to nothing, as fast as it can. */
static atomic_bool flood_stop;

static void *flood(void *arg)
{
	struct blkif_sring *ring = arg;

	while (!atomic_load(&flood_stop))
		__atomic_store_n(&ring->req_prod, __atomic_load_n(&ring->rsp_prod, __ATOMIC_ACQUIRE) + 20, __ATOMIC_RELEASE);
	return NULL;
}

/* However fast they come, the loop has its turns for others: the console here. */
static void disk_flood_is_served_in_turns(void **state)
{
	struct t *t = setup(false);
	struct xencons_interface *cons = page_of(t, 2);
	pthread_t thread;
	char got[8];
	int i;

	alarm(60);
	blk_connect(t);
	memset(t->ring->ring, 0xc8, 32 * sizeof(t->ring->ring[0]));        /* operation 200 */
	atomic_store(&flood_stop, false);
	assert_int_equal(pthread_create(&thread, NULL, flood, t->ring), 0);
	while (__atomic_load_n(&t->ring->rsp_prod, __ATOMIC_ACQUIRE) < 1000) {
		notify(t, t->blk_port);
		io_loop_run_once(t->l, 0);
	}
	cons->out[0] = 'x';
	cons->out_prod = 1;
	notify(t, t->d->console_port);
	for (i = 0; i < 10 && recv(t->console, got, sizeof(got), MSG_DONTWAIT) != 1; i++)
		io_loop_run_once(t->l, 0);
	assert_true(i < 10);
	atomic_store(&flood_stop, true);
	pthread_join(thread, NULL);
	alarm(0);
	teardown(t);
}

/* A vCPU's thread signals the disk while the loop sleeps. */
static void *vcpu_signals(void *arg)
{
	struct t *t = arg;

	usleep(20000);
	if (devices_notify(t->d, t->blk_port))
		devices_turn(t->d);
	return (void *)(uintptr_t)__atomic_load_n(&t->ring->rsp_prod, __ATOMIC_ACQUIRE);
}

/* What the host has in memory is answered before the hypercall returns; not while pages of the guest's are still to come. */
static void disk_served_by_who_signals(void **state)
{
	struct t *t = setup(false);
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);
	bool at_once = false;
	uint8_t *w, *r, probe;
	uint32_t wref, rref;
	struct iovec iov = { &probe, 1 };
	pthread_t thread;
	void *answered;

	if (fd < 0 || ftruncate(fd, 2048 * 512) < 0 || pwrite(fd, "x", 1, 0) != 1 || preadv2(fd, &iov, 1, 0, RWF_NOWAIT) != 1)
		skip();
	assert_int_equal(devices_set_channel(t->ds, "disk:xvda", fd, -1), 0);
	blk_connect(t);
	wref = give(t, &w, true);
	rref = give(t, &r, false);
	memset(w, 0x77, PAGE_SIZE_HV);
	assert_int_equal(blk_io(t, BLKIF_OP_WRITE, 8, wref, 0, 7, 1), BLKIF_RSP_OKAY);
	for (unsigned i = 0; i < 50 && !at_once; i++) {
		RING_IDX want = t->ring->rsp_prod + 1;
		struct blkif_request *q = blk_next(t);

		memset(r, 0, PAGE_SIZE_HV);
		*q = (struct blkif_request){ .operation = BLKIF_OP_READ, .nr_segments = 1, .id = q->id, .sector_number = 8, .seg[0] = { rref, 0, 7 } };
		t->ring->req_prod = t->front.req_prod_pvt;
		assert_int_equal(pthread_create(&thread, NULL, vcpu_signals, t), 0);
		io_loop_run_once(t->l, 60);
		pthread_join(thread, &answered);
		pump(t);
		at_once = (RING_IDX)(uintptr_t)answered == want;
		assert_int_equal(t->ring->rsp_prod, want);
		assert_memory_equal(r, w, PAGE_SIZE_HV);
		assert_int_equal(blk_status(t), BLKIF_RSP_OKAY);
	}
	assert_true(at_once);
	assert_true(grants_released(t));
	atomic_store(&t->d->pages_owed, true);
	assert_false(devices_notify(t->d, t->blk_port));
	pump(t);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 8, rref, 0, 7, 1), BLKIF_RSP_OKAY);
	atomic_store(&t->d->pages_owed, false);
	assert_true(devices_notify(t->d, t->blk_port));
	assert_false(devices_notify(t->d, t->blk_port));           /* somebody is on the way */
	devices_turn(t->d);
	teardown(t);
}

static bool is_watched(const char *path)
{
	for (unsigned i = 0; i < nr_watched; i++)
		if (!strcmp(watched[i], path))
			return true;
	return false;
}

/* Attached and detached while the others serve; one that was taken away listens to nothing any more. */
static void devices_come_and_go(void **state)
{
	struct device_disk disk = { .vdev = "xvdb", .fd = disk_file(), .sectors = 2048, .sector_size = 512, .readonly = true };
	struct device_vif vif = { .devid = 1, .mac = { 0, 0x16, 0x3e, 1, 2, 4 }, .mtu = 1500, .tap_fd = -1 };
	struct t *t = setup(false);
	uint8_t *p;
	uint32_t ref;

	blk_connect(t);
	assert_int_equal(devices_add_disk(t->ds, &disk), 0);
	assert_int_equal(devices_add_vif(t->ds, &vif), 0);
	pump(t);
	assert_null(store_get("/local/domain/0/backend/vbd/7/51728/state"));            /* its nodes are not there yet */
	front_write(t, "/local/domain/7/device/vbd/51728/state", "1");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51728/state"), "2");
	front_write(t, "/local/domain/7/device/vif/1/state", "1");
	assert_string_equal(store_get("/local/domain/0/backend/vif/7/1/state"), "2");

	assert_int_equal(devices_remove_disk(t->ds, "xvdc", false), -ENOENT);
	assert_int_equal(devices_remove_disk(t->ds, "xvda", false), -EBUSY);
	front_write(t, "/local/domain/7/device/vbd/51712/state", "5");
	ref = give(t, &p, false);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 7, 1), BLKIF_RSP_OKAY);    /* open still: it serves on */
	assert_int_equal(devices_remove_disk(t->ds, "xvda", false), -EBUSY);
	front_write(t, "/local/domain/7/device/vbd/51712/state", "6");
	assert_int_equal(devices_remove_disk(t->ds, "xvda", false), 0);
	assert_int_equal(devices_remove_disk(t->ds, "xvda", false), -ENOENT);
	assert_int_equal(devices_remove_vif(t->ds, 1, false), 0);
	assert_int_equal(devices_remove_vif(t->ds, 1, true), -ENOENT);
	pump(t);
	assert_false(is_watched("/local/domain/7/device/vbd/51712/state"));
	assert_false(is_watched("/local/domain/7/device/vif/1/state"));
	assert_true(is_watched("/local/domain/7/device/vbd/51728/state"));
	front_write(t, "/local/domain/7/device/vbd/51728/state", "6");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51728/state"), "6");
	teardown(t);
}

/* hv-disk has the old numbers as long as it is connected. */
static void iscsi_disk_goes(void **state)
{
	struct device_disk disk = { .vdev = "xvdb", .iscsi = true, .fd = -1, .sectors = 2048, .sector_size = 512, .iscsi_index = 1 };
	struct t *t = setup(true);

	blk_connect(t);
	assert_int_equal(devices_add_disk(t->ds, &disk), 0);
	pump(t);
	assert_int_equal(devices_remove_disk(t->ds, "xvda", true), -EAGAIN);
	close(t->remote);
	t->remote = 0;
	pump(t);
	assert_int_equal(devices_remove_disk(t->ds, "xvda", true), 0);
	assert_true(devices_have_iscsi(t->ds));
	assert_int_equal(devices_remove_disk(t->ds, "xvdb", false), 0);
	assert_false(devices_have_iscsi(t->ds));
	teardown(t);
}

/* The front end's nodes go and come again as Closed: the store says Closed too, or who waits for that waits for ever. */
static void front_end_goes_and_is_closed(void **state)
{
	struct t *t = setup(false);

	blk_connect(t);
	front_write(t, "/local/domain/7/device/vbd/51712/state", NULL);
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "4");       /* nothing is written: it may be gone too */
	assert_false(grant(t, 8)->flags & (GTF_reading | GTF_writing));
	front_write(t, "/local/domain/7/device/vbd/51712/state", "6");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "6");
	front_write(t, "/local/domain/7/device/vbd/51712/state", "1");
	blk_connect(t);
	teardown(t);
}

static void disk_nonsense_in_store(void **state)
{
	static const char *const refs[] = { "", "-1", "8x", "99999999999999999999", "4294967296", "511" };
	struct t *t = setup(false);

	for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
		front_write(t, "/local/domain/7/device/vbd/51712/state", "1");
		assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "2");
		store_set("/local/domain/7/device/vbd/51712/ring-ref", refs[i]);
		store_set("/local/domain/7/device/vbd/51712/event-channel", "4000");
		front_write(t, "/local/domain/7/device/vbd/51712/state", "3");
		assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "5");
		assert_non_null(store_get("/local/domain/0/backend/vbd/7/51712/error"));
	}
	front_write(t, "/local/domain/7/device/vbd/51712/state", "banana");
	front_write(t, "/local/domain/7/device/vbd/51712/state", "77");
	teardown(t);
}

/* ---- network ---- */

struct net { struct netif_tx_sring *tx; struct netif_rx_sring *rx; RING_IDX tx_prod, rx_prod; uint32_t port; uint8_t *txp[4], *rxp[20]; uint32_t txref[4]; };

static void net_connect(struct t *t, struct net *n)
{
	char v[16];
	uint8_t *p;

	snprintf(v, sizeof(v), "%u", give(t, &p, false));
	n->tx = (struct netif_tx_sring *)p;
	store_set("/local/domain/7/device/vif/0/tx-ring-ref", v);
	snprintf(v, sizeof(v), "%u", give(t, &p, false));
	n->rx = (struct netif_rx_sring *)p;
	store_set("/local/domain/7/device/vif/0/rx-ring-ref", v);
	SHARED_RING_INIT(n->tx);
	SHARED_RING_INIT(n->rx);
	n->port = (uint32_t)evtchn_bind_backend(t->d);
	snprintf(v, sizeof(v), "%u", n->port);
	store_set("/local/domain/7/device/vif/0/event-channel", v);
	store_set("/local/domain/7/device/vif/0/request-rx-copy", "1");
	store_set("/local/domain/7/device/vif/0/feature-sg", "1");
	store_set("/local/domain/7/device/vif/0/feature-gso-tcpv4", "1");
	store_set("/local/domain/7/device/vif/0/feature-gso-tcpv6", "1");
	front_write(t, "/local/domain/7/device/vif/0/state", "4");
	assert_string_equal(store_get("/local/domain/0/backend/vif/7/0/state"), "4");
	for (int i = 0; i < 4; i++)
		n->txref[i] = give(t, &n->txp[i], true);
	while (recv(t->tap, v, sizeof(v), MSG_DONTWAIT) > 0)
		;                                                  /* the first announcements */
}

static void net_post(struct t *t, struct net *n, unsigned count)
{
	for (unsigned i = 0; i < count; i++, n->rx_prod++) {
		uint32_t ref = give(t, &n->rxp[n->rx_prod % 20], false);

		n->rx->ring[n->rx_prod % 256].req = (struct netif_rx_request){ .id = (uint16_t)n->rx_prod, .gref = ref };
	}
	__atomic_store_n(&n->rx->req_prod, n->rx_prod, __ATOMIC_RELEASE);
	kick(t, n->port);
}

static void net_send(struct t *t, struct net *n, struct netif_tx_request r)
{
	n->tx->ring[n->tx_prod++ % 256].req = r;
	__atomic_store_n(&n->tx->req_prod, n->tx_prod, __ATOMIC_RELEASE);
	kick(t, n->port);
}

static const uint8_t udp_frame[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 1, 2, 3, 8, 0,
	0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 7, 10, 0, 0, 9,
	0x12, 0x34, 0x56, 0x78, 0, 12, 0, 0, 'a', 'b', 'c', 'd',
};

static void net_transmits(void **state)
{
	struct t *t = setup(false);
	struct virtio_net_hdr h;
	uint8_t got[4096];
	struct net n = { 0 };

	net_connect(t, &n);
	memcpy(n.txp[0] + 100, udp_frame, sizeof(udp_frame));
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[0], .offset = 100, .flags = NETTXF_csum_blank, .id = 5, .size = sizeof(udp_frame) });
	assert_int_equal(n.tx->rsp_prod, 1);
	assert_int_equal(n.tx->ring[0].rsp.status, NETIF_RSP_OKAY);
	assert_int_equal(n.tx->ring[0].rsp.id, 5);
	assert_int_equal(recv(t->tap, got, sizeof(got), MSG_DONTWAIT), sizeof(h) + sizeof(udp_frame));
	memcpy(&h, got, sizeof(h));
	assert_int_equal(h.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(h.csum_start, 34);
	assert_int_equal(h.csum_offset, 6);
	assert_memory_equal(got + sizeof(h), udp_frame, 40);       /* up to the checksum */
	teardown(t);
}

static void net_fragments_and_gso(void **state)
{
	struct t *t = setup(false);
	struct netif_extra_info gso = { .type = XEN_NETIF_EXTRA_TYPE_GSO };
	struct virtio_net_hdr h;
	uint8_t got[9000], frame[6000];
	struct net n = { 0 };

	net_connect(t, &n);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 3);
	memcpy(frame, udp_frame, 34);
	frame[14 + 9] = 6;                                         /* TCP */
	frame[34 + 12] = 0x50;
	memcpy(n.txp[0], frame, 2000);
	memcpy(n.txp[1], frame + 2000, 4000);
	gso.u.gso.size = 1400;
	gso.u.gso.type = XEN_NETIF_GSO_TYPE_TCPV4;
	n.tx->ring[0].req = (struct netif_tx_request){ .gref = n.txref[0], .flags = NETTXF_csum_blank | NETTXF_extra_info | NETTXF_more_data, .id = 1, .size = 6000 };
	memcpy(&n.tx->ring[1], &gso, sizeof(gso));
	n.tx_prod = 2;
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[1], .id = 2, .size = 4000 });
	assert_int_equal(n.tx->rsp_prod, 3);
	assert_int_equal(n.tx->ring[0].rsp.status, NETIF_RSP_OKAY);
	assert_int_equal(n.tx->ring[1].rsp.status, NETIF_RSP_NULL);
	assert_int_equal(n.tx->ring[2].rsp.status, NETIF_RSP_OKAY);
	assert_int_equal(recv(t->tap, got, sizeof(got), MSG_DONTWAIT), sizeof(h) + 6000);
	memcpy(&h, got, sizeof(h));
	assert_int_equal(h.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(h.gso_size, 1400);
	assert_int_equal(h.hdr_len, 54);
	assert_memory_equal(got + sizeof(h) + 54, frame + 54, 6000 - 54);
	teardown(t);
}

static void net_refuses(void **state)
{
	static const struct netif_tx_request bad[] = {
		{ .offset = 0, .size = 13 }, { .offset = 4090, .size = 60 }, { .offset = 65535, .size = 60 }, { .gref = 499, .size = 60 },
	};
	struct t *t = setup(false);
	struct net n = { 0 };
	uint8_t got[100];

	net_connect(t, &n);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct netif_tx_request r = bad[i];

		if (!r.gref)
			r.gref = n.txref[0];
		net_send(t, &n, r);
		assert_int_equal(n.tx->rsp_prod, i + 1);
		assert_int_equal(n.tx->ring[i].rsp.status, NETIF_RSP_ERROR);
	}
	/* fragments that add up to more than the whole */
	n.tx->ring[n.tx_prod++].req = (struct netif_tx_request){ .gref = n.txref[0], .flags = NETTXF_more_data, .size = 100 };
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[1], .size = 100 });
	assert_int_equal(n.tx->ring[n.tx_prod - 1].rsp.status, NETIF_RSP_ERROR);
	while (recv(t->tap, got, sizeof(got), MSG_DONTWAIT) > 0)
		assert_int_equal(got[sizeof(struct virtio_net_hdr) + 12], 0x80);       /* RARP: announcements, nothing else */
	/* a packet without an end */
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[0], .flags = NETTXF_more_data, .size = 100 });
	assert_int_equal(n.tx->rsp_prod, n.tx_prod - 1);
	teardown(t);
	t = setup(false);
	memset(&n, 0, sizeof(n));
	net_connect(t, &n);
	n.tx->req_prod = 1000;
	n.rx->req_prod = 9999;
	kick(t, n.port);
	assert_int_equal(n.tx->rsp_prod, 0);
	teardown(t);
}

static void tap_write(struct t *t, const struct virtio_net_hdr *h, const uint8_t *frame, size_t n)
{
	uint8_t p[70000];

	memcpy(p, h, sizeof(*h));
	memcpy(p + sizeof(*h), frame, n);
	assert_int_equal(send(t->tap, p, sizeof(*h) + n, 0), sizeof(*h) + n);
	pump(t);
}

static void net_receives(void **state)
{
	struct virtio_net_hdr h = { .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1400 }, plain = { 0 };
	struct t *t = setup(false);
	struct net n = { 0 };
	struct netif_extra_info e;
	uint8_t frame[6000];

	net_connect(t, &n);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 5);
	tap_write(t, &h, frame, sizeof(frame));                    /* no room posted: it waits */
	assert_int_equal(n.rx->rsp_prod, 0);
	net_post(t, &n, 2);
	assert_int_equal(n.rx->rsp_prod, 0);                       /* needs three */
	net_post(t, &n, 2);
	assert_int_equal(n.rx->rsp_prod, 3);
	assert_true(pending(t, n.port));
	assert_int_equal(n.rx->ring[0].rsp.status, 4096);
	assert_int_equal(n.rx->ring[0].rsp.flags, NETRXF_more_data | NETRXF_extra_info);
	memcpy(&e, &n.rx->ring[1], sizeof(e));
	assert_int_equal(e.type, XEN_NETIF_EXTRA_TYPE_GSO);
	assert_int_equal(e.u.gso.size, 1400);
	assert_int_equal(n.rx->ring[2].rsp.status, 6000 - 4096);
	assert_memory_equal(n.rxp[0], frame, 4096);
	assert_memory_equal(n.rxp[2], frame + 4096, 6000 - 4096);
	tap_write(t, &plain, udp_frame, sizeof(udp_frame));
	assert_int_equal(n.rx->rsp_prod, 4);
	assert_int_equal(n.rx->ring[3].rsp.status, sizeof(udp_frame));
	assert_int_equal(n.rx->ring[3].rsp.flags, 0);
	teardown(t);
}

/* ---- a move: the same memory, new devices ---- */

/* What a switch is told of where the guest is, and how often. */
struct heard { unsigned rarp, arp, na; };

static void hear(struct t *t, struct heard *h, const uint8_t ip4[4], const uint8_t ip6[16])
{
	uint8_t got[600], *f = got + sizeof(struct virtio_net_hdr);
	ssize_t r;

	pump(t);
	while ((r = recv(t->tap, got, sizeof(got), MSG_DONTWAIT)) > 0) {
		size_t n = (size_t)r - sizeof(struct virtio_net_hdr);

		h->rarp += n == 60 && f[12] == 0x80 && f[13] == 0x35;
		h->arp += n == 60 && f[12] == 8 && f[13] == 6 && !memcmp(f + 28, ip4, 4);
		h->na += n == 86 && f[12] == 0x86 && f[54] == 136 && !memcmp(f + 62, ip6, 16);
	}
}

static void image_travels(void **state)
{
	struct t *t = setup(false);
	struct buf b = BUF_INIT(1 << 20);
	struct net n = { 0 };
	static const uint8_t mac[6] = { 0, 0x16, 0x3e, 1, 2, 3 }, ip4[4] = { 10, 0, 0, 7 }, ip6[16] = { 0xfd, 1, [15] = 7 };
	struct heard heard = { 0 };
	uint8_t *p, m[64], got[600], arp[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 1, 2, 3, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
						 0, 0x16, 0x3e, 1, 2, 3, 10, 0, 0, 7 };
	uint32_t ref;
	size_t len = message(m, XS_READ, 9, 20);

	blk_connect(t);
	net_connect(t, &n);
	ref = give(t, &p, false);
	assert_int_equal(blk_io(t, BLKIF_OP_READ, 0, ref, 0, 7, 1), BLKIF_RSP_OKAY);
	memcpy(n.txp[0], arp, sizeof(arp));
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[0], .size = sizeof(arp) });
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[1], .size = (uint16_t)netpkt_unsolicited_na(n.txp[1], mac, ip6) });
	guest_puts(t, m, len);                                     /* a store request without an answer */
	assert_int_equal(channel_take(t, NULL).seq, 1);
	drain_rc = 1;
	devices_drain(t->ds, drained, NULL);
	pump(t);
	assert_int_equal(drain_rc, 0);
	assert_int_equal(devices_save(t->ds, &b), 0);
	/* requests put on the rings between pause and resume are found by the target */
	blk_next(t)->operation = BLKIF_OP_FLUSH_DISKCACHE;
	t->ring->req_prod = t->front.req_prod_pvt;
	devices_destroy(t->ds);
	ends_close(t);
	nr_watched = 0;
	devices_make(t, false);
	for (size_t i = 0; i < b.len; i += 3) {                    /* cut short anywhere: refused, nothing worse */
		struct devices *spare = devices_create(t->d, t->l);
		struct device_disk disk = { .vdev = "xvda", .fd = -1, .sectors = 2048, .sector_size = 512 };
		struct device_vif vif = { .mac = { 0, 0x16, 0x3e, 1, 2, 3 }, .mtu = 1500, .tap_fd = -1 };

		devices_add_store(spare);
		devices_add_console(spare);
		devices_add_disk(spare, &disk);
		devices_add_vif(spare, &vif);
		if (i % 8)
			assert_int_not_equal(devices_load(spare, b.data, i), 0);
		devices_destroy(spare);
	}
	devices_destroy(t->ds);
	ends_close(t);
	nr_watched = 0;
	devices_make(t, false);
	assert_int_equal(devices_load(t->ds, b.data, b.len), 0);
	pump(t);
	assert_int_equal(t->ring->rsp_prod, t->front.rsp_cons);    /* not before it is activated and started */
	devices_activate(t->ds);
	assert_int_equal(devices_start(t->ds), 0);
	pump(t);
	assert_int_equal(blk_status(t), BLKIF_RSP_OKAY);
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "4");
	assert_int_equal(channel_take(t, got).seq, 1);             /* the request again */
	assert_memory_equal(got, m, len);
	channel_put(t, STORE_REPLY, 1, m, len);
	assert_int_equal(guest_gets(t, got, len), len);
	/* announced at once, with the addresses seen at the source, and again: the first may be lost */
	hear(t, &heard, ip4, ip6);
	assert_true(heard.rarp && heard.arp && heard.na);
	for (int i = 0; i < 100 && (heard.rarp < 3 || heard.arp < 3 || heard.na < 3); i++)
		hear(t, &heard, ip4, ip6);
	assert_true(heard.rarp >= 3 && heard.arp >= 3 && heard.na >= 3);
	net_post(t, &n, 1);
	tap_write(t, &(struct virtio_net_hdr){ 0 }, udp_frame, sizeof(udp_frame));
	assert_int_equal(n.rx->rsp_prod, 1);
	front_write(t, "/local/domain/7/device/vbd/51712/state", "5");
	front_write(t, "/local/domain/7/device/vbd/51712/state", "6");
	assert_string_equal(store_get("/local/domain/0/backend/vbd/7/51712/state"), "6");
	buf_free(&b);
	teardown(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_whole_messages), cmocka_unit_test(store_one_unanswered), cmocka_unit_test(store_events_acked_once),
		cmocka_unit_test(store_hostile_ring), cmocka_unit_test(console_both_ways), cmocka_unit_test(console_never_waits_without_daemon),
		cmocka_unit_test(console_io_travels), cmocka_unit_test(console_keeps_keys_of_the_old_channel),
		cmocka_unit_test(disk_reads_and_writes), cmocka_unit_test(disk_refuses), cmocka_unit_test(disk_indirect),
		cmocka_unit_test(disk_through_hv_disk), cmocka_unit_test(drain_waits_and_flushes), cmocka_unit_test(drain_is_taken_back),
		cmocka_unit_test(disk_detach_and_again), cmocka_unit_test(disk_ring_runs_backwards),
		cmocka_unit_test(disk_again_with_requests_in_flight), cmocka_unit_test(disk_flood_is_served_in_turns),
		cmocka_unit_test(disk_served_by_who_signals),
		cmocka_unit_test(devices_come_and_go),
		cmocka_unit_test(iscsi_disk_goes), cmocka_unit_test(front_end_goes_and_is_closed),
		cmocka_unit_test(disk_nonsense_in_store), cmocka_unit_test(net_transmits),
		cmocka_unit_test(net_fragments_and_gso), cmocka_unit_test(net_refuses), cmocka_unit_test(net_receives),
		cmocka_unit_test(image_travels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
