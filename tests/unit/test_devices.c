/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The back ends together: draining, coming and going, and a move: the same memory, new devices. */
#include "tests/unit/devices_guest.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "hypervisor/devices/netpkt.h"

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

#define ANNOUNCED 6u            /* once, and after each of vif.c's announce_gap_ms */

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
	store_watches_forget();
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
	store_watches_forget();
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
	/* announced at once, with the addresses seen at the source, and five times more: the first may be lost */
	hear(t, &heard, ip4, ip6);
	assert_true(heard.rarp && heard.arp && heard.na);
	for (int i = 0; i < 1000 && heard.na < ANNOUNCED; i++)
		hear(t, &heard, ip4, ip6);
	for (int i = 0; i < 10; i++)
		hear(t, &heard, ip4, ip6);
	assert_true(heard.rarp == ANNOUNCED && heard.arp == ANNOUNCED && heard.na == ANNOUNCED);
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
		cmocka_unit_test(drain_waits_and_flushes), cmocka_unit_test(drain_is_taken_back), cmocka_unit_test(devices_come_and_go),
		cmocka_unit_test(iscsi_disk_goes), cmocka_unit_test(front_end_goes_and_is_closed), cmocka_unit_test(image_travels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
