/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk back end: files, hv-disk, who serves it, and what a hostile front end does.  Half of it is the latter. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/unit/devices_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

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

	alarm(600);
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

	alarm(600);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_reads_and_writes), cmocka_unit_test(disk_refuses), cmocka_unit_test(disk_indirect),
		cmocka_unit_test(disk_through_hv_disk), cmocka_unit_test(disk_detach_and_again),
		cmocka_unit_test(disk_ring_runs_backwards), cmocka_unit_test(disk_again_with_requests_in_flight),
		cmocka_unit_test(disk_flood_is_served_in_turns), cmocka_unit_test(disk_served_by_who_signals),
		cmocka_unit_test(disk_nonsense_in_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
