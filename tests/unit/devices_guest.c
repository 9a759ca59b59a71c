/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices_guest.c - see devices_guest.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/unit/devices_guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/unit/engine_none.h"

/* ---- a store ---- */

#define NODES 96
static struct { char path[128], value[64]; } node[NODES];
static char watched[8][128], token[8][16];
static unsigned nr_watched;

char *store_get(const char *path)
{
	for (int i = 0; i < NODES; i++)
		if (node[i].path[0] && !strcmp(node[i].path, path))
			return node[i].value;
	return NULL;
}

/* value NULL: the node goes. */
void store_set(const char *path, const char *value)
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
void pump(struct t *t)
{
	for (int quiet = 0; quiet < 5; quiet++) {
		while (io_loop_run_once(t->l, 1) > 0)
			quiet = 0;
		if (store_serve(t))
			quiet = 0;
	}
}

void front_write(struct t *t, const char *path, const char *value)
{
	store_set(path, value);
	for (unsigned i = 0; i < nr_watched; i++)
		if (!strcmp(watched[i], path))
			watch_fire(t->be, i);
	pump(t);
}

void pair(int *ours, int *theirs)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	*ours = sv[0];
	*theirs = sv[1];
}

struct grant_entry_v1 *grant(struct t *t, uint32_t ref)
{
	return (struct grant_entry_v1 *)domain_frame(t->d, SPECIAL_MFN + SPECIAL_GRANT) + ref;
}

/* A page of the guest's, granted to Domain-0. */
uint32_t give(struct t *t, uint8_t **page, bool readonly)
{
	uint32_t ref = t->next_ref++;
	uint64_t mfn = t->next_page++;

	*grant(t, ref) = (struct grant_entry_v1){ .flags = GTF_permit_access | (readonly ? GTF_readonly : 0), .frame = (uint32_t)mfn };
	*page = domain_frame(t->d, mfn);
	return ref;
}

bool pending(struct t *t, uint32_t port)
{
	uint64_t *w = ((struct shared_info *)domain_frame(t->d, SPECIAL_MFN))->evtchn_pending;
	bool p = w[port / 64] >> (port % 64) & 1;

	w[port / 64] &= ~(1UL << (port % 64));
	return p;
}

/* What a vCPU's evtchn_send comes to.  On the loop's own thread a turn is left to the loop. */
void notify(struct t *t, uint32_t port)
{
	if (devices_notify(t->d, port))
		devices_turn(t->d);
}

void kick(struct t *t, uint32_t port)
{
	notify(t, port);
	pump(t);
}

int disk_file(void)
{
	int fd = memfd_create("disk", 0);

	assert_int_equal(ftruncate(fd, 2048 * 512), 0);
	return fd;
}

void devices_make(struct t *t, bool iscsi)
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

struct t *setup(bool iscsi)
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

void ends_close(struct t *t)
{
	close(t->be), close(t->store), close(t->console), close(t->tap);
	if (t->remote)
		close(t->remote);
}

void teardown(struct t *t)
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
__attribute__((noinline)) void *page_of(struct t *t, uint64_t mfn)
{
	void *p = domain_frame(t->d, mfn);

	assert_non_null(p);
	return p;
}

int drain_rc;
void drained(void *arg, int rc) { drain_rc = rc; }

void store_watches_forget(void) { nr_watched = 0; }

bool is_watched(const char *path)
{
	for (unsigned i = 0; i < nr_watched; i++)
		if (!strcmp(watched[i], path))
			return true;
	return false;
}

/* ---- the store ring ---- */

struct xenstore_domain_interface *xs_ring(struct t *t) { return page_of(t, 1); }

void guest_puts(struct t *t, const void *p, size_t n)
{
	struct xenstore_domain_interface *r = xs_ring(t);

	for (size_t i = 0; i < n; i++) {
		while (r->req_prod - r->req_cons == XENSTORE_RING_SIZE)
			kick(t, t->d->store_port);
		r->req[MASK_XENSTORE_IDX(r->req_prod++)] = ((const char *)p)[i];
	}
	kick(t, t->d->store_port);
}

size_t guest_gets(struct t *t, void *p, size_t want)
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

size_t message(uint8_t *m, uint32_t type, uint32_t id, size_t body)
{
	struct xsd_sockmsg h = { .type = type, .req_id = id, .len = (uint32_t)body };

	memcpy(m, &h, sizeof(h));
	for (size_t i = 0; i < body; i++)
		m[sizeof(h) + i] = (uint8_t)(i * 7 + id);
	return sizeof(h) + body;
}

struct store_hdr channel_take(struct t *t, uint8_t *m)
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

void channel_put(struct t *t, uint32_t kind, uint64_t seq, const uint8_t *m, size_t n)
{
	struct store_hdr h = { .kind = kind, .len = (uint32_t)n, .seq = seq };
	uint8_t p[STORE_PACKET_MAX];

	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), m, n);
	assert_int_equal(send(t->store, p, sizeof(h) + n, 0), sizeof(h) + n);
	pump(t);
}

/* ---- disks ---- */

void blk_connect(struct t *t)
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

struct blkif_request *blk_next(struct t *t)
{
	struct blkif_request *r = RING_GET_REQUEST(&t->front, t->front.req_prod_pvt);

	t->front.req_prod_pvt++;
	memset(r, 0, sizeof(*r));
	r->id = 1000 + t->front.req_prod_pvt;
	return r;
}

void blk_push(struct t *t)
{
	t->ring->req_prod = t->front.req_prod_pvt;
	kick(t, t->blk_port);
}

/* The one response there is. */
int blk_status(struct t *t)
{
	struct blkif_response *r;

	for (int i = 0; i < 60000 && t->ring->rsp_prod == t->front.rsp_cons; i++) {
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

int blk_io(struct t *t, uint8_t op, uint64_t sector, uint32_t ref, uint8_t first, uint8_t last, uint8_t nr)
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

bool grants_released(struct t *t)
{
	for (uint32_t i = 9; i < t->next_ref; i++)
		if (grant(t, i)->flags & (GTF_reading | GTF_writing))
			return false;
	return true;
}

/* How many requests hv-disk was sent; each is answered. */
unsigned remote_answer(struct t *t)
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

void blk_put_writes(struct t *t, uint32_t ref, unsigned n)
{
	while (n--) {
		struct blkif_request *r = blk_next(t);

		*r = (struct blkif_request){ .operation = BLKIF_OP_WRITE, .nr_segments = 1, .id = r->id, .seg[0] = { ref, 0, 0 } };
	}
	blk_push(t);
}

void blk_again(struct t *t)
{
	front_write(t, "/local/domain/7/device/vbd/51712/state", "6");
	front_write(t, "/local/domain/7/device/vbd/51712/state", "1");
	blk_connect(t);
}

/* ---- network ---- */

void net_connect(struct t *t, struct net *n)
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

void net_post(struct t *t, struct net *n, unsigned count)
{
	for (unsigned i = 0; i < count; i++, n->rx_prod++) {
		uint32_t ref = give(t, &n->rxp[n->rx_prod % 20], false);

		n->rx->ring[n->rx_prod % 256].req = (struct netif_rx_request){ .id = (uint16_t)n->rx_prod, .gref = ref };
	}
	__atomic_store_n(&n->rx->req_prod, n->rx_prod, __ATOMIC_RELEASE);
	kick(t, n->port);
}

void net_send(struct t *t, struct net *n, struct netif_tx_request r)
{
	n->tx->ring[n->tx_prod++ % 256].req = r;
	__atomic_store_n(&n->tx->req_prod, n->tx_prod, __ATOMIC_RELEASE);
	kick(t, n->port);
}

const uint8_t udp_frame[UDP_FRAME] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 1, 2, 3, 8, 0,
	0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 7, 10, 0, 0, 9,
	0x12, 0x34, 0x56, 0x78, 0, 12, 0, 0, 'a', 'b', 'c', 'd',
};

void tap_write(struct t *t, const struct virtio_net_hdr *h, const uint8_t *frame, size_t n)
{
	uint8_t p[70000];

	memcpy(p, h, sizeof(*h));
	memcpy(p + sizeof(*h), frame, n);
	assert_int_equal(send(t->tap, p, sizeof(*h) + n, 0), sizeof(*h) + n);
	pump(t);
}
