/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest against its back ends, and a hostile image: the input is what a guest does to connected devices.
 *
 *   0 page offset(2) n bytes…   writes to a page: rings, grants, data
 *   1 which                     signals a port, and lets the back ends work
 *   2 n(2) bytes…               a frame from the wire, with its virtio-net header
 *   3 kind seq n bytes…         a packet from xenstored
 *   4                           drain and resume
 *   255 bytes…                  (first octet only) the rest is an image to load
 *
 * Nothing may crash, hang, or leave a request without an end.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xen/grant_table.h>

#include "hypervisor/devices/devices.h"
#include "lib/buf.h"
#include "lib/proto/store.h"
#include "tests/unit/engine_none.h"

/* ---- a guest with one of each, connected ---- */

enum { PAGE_GRANT, PAGE_STORE, PAGE_CONSOLE, PAGE_BLK, PAGE_TX, PAGE_RX, PAGE_DATA, NR_PAGES = PAGE_DATA + 2 };
#define REF_OF(page) (8u + (page))

struct guest { struct domain *d; struct io_loop *l; struct devices *ds; int store, tap; uint32_t port[5]; };

/* blkif: a write of two segments; netif: one frame out, one buffer in; each then signalled */
static const uint8_t seed_blk[] = { 0, 3, 64, 0, 40, 1, 2, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 0, 7, 0, 0,
				    15, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 4, 1, 0, 0, 0, 1, 2, 4, 1, 2 };
static const uint8_t seed_indirect[] = { 0, 6, 0, 0, 8, 15, 0, 0, 0, 0, 7, 0, 0, 0, 3, 64, 0, 32, 6, 0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0,
					 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 0, 0, 3, 0, 0, 4, 1, 0, 0, 0, 1, 2 };
static const uint8_t seed_net[] = { 0, 6, 12, 0, 3, 8, 0, 0x45, 0, 4, 64, 0, 12, 14, 0, 0, 0, 0, 0, 1, 0, 7, 0, 90, 0, 0, 4, 0, 0, 4, 1, 0, 0, 0, 1, 3,
				    0, 5, 64, 0, 8, 1, 0, 0, 0, 15, 0, 0, 0, 0, 5, 0, 0, 4, 1, 0, 0, 0, 2, 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
				    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0, 1, 2, 1, 4 };
static const uint8_t seed_store[] = { 0, 1, 0, 0, 20, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 'a', 'b', 'c', 0, 0, 1, 4, 8, 4, 20, 0, 0, 0, 1, 0,
				      3, 2, 1, 20, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 'o', 'k', 0, 0, 1, 0, 3, 3, 1, 18, 15, 0, 0, 0, 0, 0, 0, 0, 0,
				      0, 0, 0, 2, 0, 0, 0, 'a', 0, 1, 0 };
static const uint8_t seed_console[] = { 0, 2, 0, 4, 5, 'h', 'e', 'l', 'l', 'o', 0, 2, 12, 12, 4, 5, 0, 0, 0, 1, 1, 4, 1, 1 };
static const uint8_t seed_image[] = { 255, 3, 0, 0, 0, 25, 0, 0, 0, 0, 0xca, 0, 0, 4, 0, 0, 0, 1, 11, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
				      0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
#define SEED(a) { a, sizeof(a) }
const struct fuzz_seed fuzz_seeds[] = { SEED(seed_blk), SEED(seed_indirect), SEED(seed_net), SEED(seed_store), SEED(seed_console), SEED(seed_image),
					{ NULL, 0 } };

static void *page(struct guest *g, unsigned n)
{
	return domain_frame(g->d, n == PAGE_GRANT ? SPECIAL_MFN + SPECIAL_GRANT : 16 + n);
}

static int channel(int *ours)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv) < 0)
		abort();
	*ours = sv[0];
	return sv[1];
}

static void image_connected(const struct guest *g, struct buf *b)
{
	size_t h = record_begin(b, 3);

	buf_u32(b, 51712);
	buf_u32(b, 4);
	buf_u8(b, 1);
	buf_u32(b, REF_OF(PAGE_BLK));
	buf_u32(b, g->port[2]);
	buf_u32(b, 0);
	buf_u32(b, 0);
	record_end(b, h);
	h = record_begin(b, 4);
	buf_u32(b, 0);
	buf_u32(b, 4);
	buf_u8(b, 1);
	buf_u8(b, 7);
	buf_u32(b, REF_OF(PAGE_TX));
	buf_u32(b, REF_OF(PAGE_RX));
	buf_u32(b, g->port[3]);
	buf_u32(b, g->port[4]);
	buf_u32(b, 0);
	buf_u32(b, 0);
	buf_u8(b, 0);
	buf_u8(b, 0);
	record_end(b, h);
}

static void guest_make(struct guest *g)
{
	struct domain_params p = { .engine = &engine_none, .domid = 7, .name = "fuzz", .max_pages = 1024, .vcpus = 1, .ram_fd = -1 };
	struct device_disk disk = { .vdev = "xvda", .sectors = 2048, .sector_size = 512 };
	struct device_vif vif = { .mac = { 0, 0x16, 0x3e, 1, 2, 3 }, .mtu = 1500 };
	struct grant_entry_v1 *grants;
	struct err err;

	if (domain_new(&p, &g->d, &err) < 0)
		abort();
	domain_populate(g->d, 1024);
	if (domain_attach(g->d, 0, &err) < 0)
		abort();
	grants = page(g, PAGE_GRANT);
	for (unsigned i = 1; i < NR_PAGES; i++)
		grants[REF_OF(i)] = (struct grant_entry_v1){ .flags = GTF_permit_access, .frame = 16 + i };
	for (unsigned i = 0; i < 5; i++) {
		g->port[i] = (uint32_t)evtchn_bind_backend(g->d);
		evtchn_connect_backend(g->d, g->port[i]);
	}
	g->d->store_mfn = 16 + PAGE_STORE;
	g->d->console_mfn = 16 + PAGE_CONSOLE;
	g->d->store_port = g->port[0];
	g->d->console_port = g->port[1];
	g->l = io_loop_create();
	g->ds = devices_create(g->d, g->l);
	disk.fd = memfd_create("disk", 0);
	vif.tap_fd = channel(&g->tap);
	if (ftruncate(disk.fd, 2048 * 512) < 0 || devices_add_store(g->ds) || devices_add_console(g->ds) || devices_add_disk(g->ds, &disk) ||
	    devices_add_vif(g->ds, &vif))
		abort();
	devices_set_channel(g->ds, "store", channel(&g->store), -1);
}

static void guest_free(struct guest *g)
{
	devices_destroy(g->ds);
	io_loop_destroy(g->l);
	domain_free(g->d);
	close(g->store);
	close(g->tap);
}

/* ---- what it does ---- */

static void run(struct guest *g)
{
	uint8_t sink[70000];

	for (int i = 0; i < 20 && io_loop_run_once(g->l, 0) > 0; i++)
		;
	while (recv(g->tap, sink, sizeof(sink), MSG_DONTWAIT) > 0 || recv(g->store, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

static void page_write(struct guest *g, struct reader *r)
{
	unsigned n = reader_u8(r) % NR_PAGES, off = reader_u16(r) % PAGE_SIZE_HV, len = reader_u8(r);
	uint8_t *p = page(g, n);

	if (len > PAGE_SIZE_HV - off)
		len = (unsigned)(PAGE_SIZE_HV - off);
	reader_bytes(r, p + off, len);
}

static void frame_in(struct guest *g, struct reader *r)
{
	size_t n = reader_u16(r);
	const uint8_t *p = reader_view(r, n);

	if (p && send(g->tap, p, n, MSG_DONTWAIT) >= 0)
		run(g);
}

static void store_in(struct guest *g, struct reader *r)
{
	struct store_hdr h = { .kind = reader_u8(r), .seq = reader_u8(r), .len = reader_u8(r) };
	const uint8_t *p = reader_view(r, h.len);
	uint8_t packet[sizeof(h) + 255];

	if (!p)
		return;
	memcpy(packet, &h, sizeof(h));
	memcpy(packet + sizeof(h), p, h.len);
	if (send(g->store, packet, sizeof(h) + h.len, MSG_DONTWAIT) >= 0)
		run(g);
}

static void drained(void *arg, int rc) { *(int *)arg = 1; }

/* Whatever was begun comes to an end: the disk is a file, so in no more than moments. */
static void drain(struct guest *g)
{
	int done = 0;

	devices_drain(g->ds, drained, &done);
	for (int i = 0; i < 500 && !done; i++)
		io_loop_run_once(g->l, 10);
	if (!done)
		abort();
	devices_resume(g->ds);
}

static void notify(struct guest *g, uint32_t port)
{
	if (devices_notify(g->d, port))
		devices_turn(g->d);
}

static void step(struct guest *g, struct reader *r)
{
	switch (reader_u8(r)) {
	case 0:
		page_write(g, r);
		break;
	case 1:
		notify(g, g->port[reader_u8(r) % 5]);
		run(g);
		break;
	case 2:
		frame_in(g, r);
		break;
	case 3:
		store_in(g, r);
		break;
	default:
		drain(g);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf image = BUF_INIT(4096);
	struct guest g = { 0 };
	struct reader r;

	guest_make(&g);
	if (size && data[0] == 255) {
		devices_load(g.ds, data + 1, size - 1);
		guest_free(&g);
		return 0;
	}
	image_connected(&g, &image);
	if (devices_load(g.ds, image.data, image.len) < 0)
		abort();
	buf_free(&image);
	devices_activate(g.ds);
	if (devices_start(g.ds) < 0)
		abort();
	reader_init(&r, data, size);
	for (int i = 0; i < 200 && reader_ok(&r) && r.left; i++)
		step(&g, &r);
	drain(&g);
	guest_free(&g);
	return 0;
}
