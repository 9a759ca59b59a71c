/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: a guest against its disks' back end, over xenbus as any front end.  Rings that are nothing or something else, indices
 * ahead, behind and running backwards while requests are in flight, requests for what is not the disk, segments of nothing,
 * descriptors changed while they are read, frames given up under way, states that flip as fast as the store takes them.  Each
 * request must be answered with an error, or its ring left alone; afterwards the device connects again and the disk works.
 *
 * The first MiB of xvda is written to; nothing beyond it, and nothing on xvdb, which is read-only.  tests/hypervisor/test-hostile runs it,
 * looks at the files, and at who else might have noticed.
 */
#include "front_end.h"
#include <xen/io/blkif.h>

const char guest_name[] = "hostile_vbd";

#define RING 32U
#define STORM_NS 250000000UL            /* how long each thing without an end goes on */
#define SCRATCH (1U << 11)              /* sectors we may write to */
#define NOTHING 500U                    /* a reference that grants nothing */

static struct front disk, disk_ro;
static struct blkif_sring *ring, *ring_ro;
static uint32_t ring_ref, ring_ro_ref, port, port_ro, data_ref, data_ro_ref, into_ref, list_ref;
static uint8_t *data, *into;
static struct blkif_request_segment *list;
static uint64_t sectors;

/* ---- an honest front end ---- */

struct conn { const struct front *f; struct blkif_sring *ring; uint32_t ref, port; RING_IDX prod; };
static struct conn rw, ro;

static void conn_open(struct conn *c)
{
	memset(c->ring, 0, 4096);
	c->ring->req_event = c->ring->rsp_event = 1;
	c->prod = 0;
	front_reset(c->f);
	front_number(c->f, "ring-ref", c->ref);
	front_number(c->f, "event-channel", c->port);
	front_text(c->f, "protocol", "x86_64-abi");
	front_state(c->f, XenbusStateInitialised);
	back_reaches(c->f, 1 << XenbusStateConnected);
	front_state(c->f, XenbusStateConnected);
}

static struct blkif_request *conn_next(struct conn *c)
{
	struct blkif_request *r = &c->ring->ring[c->prod++ % RING].req;

	memset(r, 0, sizeof(*r));
	r->id = 7000 + c->prod;
	return r;
}

static void conn_show(const struct conn *c)
{
	__atomic_store_n(&c->ring->req_prod, c->prod, __ATOMIC_SEQ_CST);
	event_send(c->port);
}

static void conn_wait(const struct conn *c)
{
	uint64_t since = system_time(0);

	while (__atomic_load_n(&c->ring->rsp_prod, __ATOMIC_SEQ_CST) != c->prod)
		waited(since, "a disk's answer");
}

/* The last request's status; no grant of it is in use any more. */
static int conn_answer(const struct conn *c)
{
	const struct blkif_response *rsp = &c->ring->ring[(c->prod - 1) % RING].rsp;

	conn_show(c);
	conn_wait(c);
	CHECK_EQ(rsp->id, 7000 + c->prod);
	CHECK(!grant_in_use(data_ref) && !grant_in_use(data_ro_ref) && !grant_in_use(into_ref) && !grant_in_use(list_ref));
	return rsp->status;
}

static int io(struct conn *c, uint8_t op, uint64_t sector, uint32_t ref, uint8_t first, uint8_t last, uint8_t nr)
{
	struct blkif_request *r = conn_next(c);

	r->operation = op;
	r->nr_segments = nr;
	r->sector_number = sector;
	for (unsigned i = 0; i < BLKIF_MAX_SEGMENTS_PER_REQUEST; i++)
		r->seg[i] = (struct blkif_request_segment){ .gref = ref, .first_sect = first, .last_sect = last };
	return conn_answer(c);
}

static int io_indirect(struct conn *c, uint8_t op, uint64_t sector, uint32_t ref, uint16_t nr)
{
	struct blkif_request_indirect *r = (void *)conn_next(c);

	r->operation = BLKIF_OP_INDIRECT;
	r->indirect_op = op;
	r->nr_segments = nr;
	r->id = 7000 + c->prod;
	r->sector_number = sector;
	for (unsigned i = 0; i < BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST; i++)
		r->indirect_grefs[i] = ref;
	return conn_answer(c);
}

static int io_discard(struct conn *c, uint64_t sector, uint64_t n)
{
	struct blkif_request_discard *r = (void *)conn_next(c);

	r->operation = BLKIF_OP_DISCARD;
	r->sector_number = sector;
	r->nr_sectors = n;
	return conn_answer(c);
}

static void fill(uint8_t *p, uint64_t seed)
{
	for (unsigned i = 0; i < 4096; i++)
		p[i] = (uint8_t)(seed * 31 + i * 7);
}

/* Connected anew, what is written is on the disk. */
static void works(void)
{
	static uint64_t seed;

	conn_open(&rw);
	fill(data, ++seed);
	memset(into, 0, 4096);
	CHECK_EQ(io(&rw, BLKIF_OP_WRITE, seed * 8 % SCRATCH, data_ref, 0, 7, 1), BLKIF_RSP_OKAY);
	CHECK_EQ(io(&rw, BLKIF_OP_FLUSH_DISKCACHE, 0, 0, 0, 0, 0), BLKIF_RSP_OKAY);
	CHECK_EQ(io(&rw, BLKIF_OP_READ, seed * 8 % SCRATCH, into_ref, 0, 7, 1), BLKIF_RSP_OKAY);
	for (unsigned i = 0; i < 4096; i++)
		if (into[i] != data[i])
			fail("octet %u of sector %lu differs", i, seed * 8 % SCRATCH);
}

/* ---- requests ---- */

static void requests_of_nothing(void)
{
	static const uint64_t at[] = { ~0UL, ~0UL - 7, 1UL << 63, 1UL << 55, (1UL << 55) - 1, 1UL << 54, 1UL << 32 };
	const int no = BLKIF_RSP_ERROR;

	for (unsigned op = BLKIF_OP_READ; op <= BLKIF_OP_WRITE; op++) {
		for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
			CHECK_EQ(io(&rw, (uint8_t)op, at[i], data_ref, 0, 7, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, sectors, data_ref, 0, 0, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, sectors - 7, data_ref, 0, 7, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, sectors - 80, data_ref, 0, 7, 11), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 5, 4, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 0, 8, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 255, 255, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 255, 0, 11), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 0, 7, 0), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 0, 7, 12), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 0, 7, 255), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, NOTHING, 0, 7, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, GRANTS, 0, 7, 1), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, 0x7fffffff, 0, 7, 11), no);
		CHECK_EQ(io(&rw, (uint8_t)op, 0, ~0U, 0, 7, 1), no);
	}
	CHECK_EQ(io(&rw, BLKIF_OP_READ, 0, data_ro_ref, 0, 7, 1), no);
	for (unsigned op = 0; op < 256; op++)
		if (op > BLKIF_OP_WRITE && op != BLKIF_OP_FLUSH_DISKCACHE && op != BLKIF_OP_INDIRECT && op != BLKIF_OP_DISCARD)
			CHECK_EQ(io(&rw, (uint8_t)op, 0, data_ref, 0, 7, 1), BLKIF_RSP_EOPNOTSUPP);
	CHECK_EQ(io(&rw, BLKIF_OP_FLUSH_DISKCACHE, ~0UL, data_ref, 0, 7, 1), no);
	CHECK_EQ(io(&rw, BLKIF_OP_FLUSH_DISKCACHE, 0, data_ref, 0, 255, 1), no);
	CHECK_EQ(io_discard(&rw, 0, 0), no);
	CHECK_EQ(io_discard(&rw, 0, ~0UL), no);
	CHECK_EQ(io_discard(&rw, 1, ~0UL), no);
	CHECK_EQ(io_discard(&rw, ~0UL, 2), no);
	CHECK_EQ(io_discard(&rw, 8, sectors - 7), no);
	CHECK_EQ(io_discard(&rw, sectors, 1), no);
	CHECK_EQ(io_discard(&rw, 1UL << 55, 1UL << 55), no);
	CHECK_EQ(io_discard(&rw, 0, 8), BLKIF_RSP_OKAY);
}

static void descriptors_of_nothing(void)
{
	static const uint16_t counts[] = { 0, 65, 512, 513, 65535 };
	const int no = BLKIF_RSP_ERROR;

	for (unsigned i = 0; i < 512; i++)
		list[i] = (struct blkif_request_segment){ .gref = data_ref, .first_sect = 0, .last_sect = 7 };
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_WRITE, 0, list_ref, 64), BLKIF_RSP_OKAY);
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		CHECK_EQ(io_indirect(&rw, BLKIF_OP_READ, 0, list_ref, counts[i]), no);
	for (unsigned op = BLKIF_OP_WRITE + 1; op < 256; op++)
		CHECK_EQ(io_indirect(&rw, (uint8_t)op, 0, list_ref, 1), no);
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_READ, 0, NOTHING, 1), no);
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_READ, 0, ~0U, 64), no);
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_WRITE, ~0UL - 3, list_ref, 64), no);
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_WRITE, sectors - 511, list_ref, 64), no);
	list[63].last_sect = 8;
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_WRITE, 0, list_ref, 64), no);
	list[63].first_sect = 7, list[63].last_sect = 6;
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_WRITE, 0, list_ref, 64), no);
	list[63].first_sect = 0, list[63].gref = NOTHING;
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_WRITE, 0, list_ref, 64), no);
	for (unsigned i = 0; i < 64; i++)                       /* the list is what it reads into */
		list[i].gref = list_ref;
	CHECK_EQ(io_indirect(&rw, BLKIF_OP_READ, 0, list_ref, 64), BLKIF_RSP_OKAY);
}

static void read_only(void)
{
	conn_open(&ro);
	CHECK_EQ(io(&ro, BLKIF_OP_READ, 0, into_ref, 0, 7, 1), BLKIF_RSP_OKAY);
	CHECK_EQ(io(&ro, BLKIF_OP_WRITE, 0, data_ref, 0, 7, 1), BLKIF_RSP_ERROR);
	CHECK_EQ(io(&ro, BLKIF_OP_FLUSH_DISKCACHE, 0, data_ref, 0, 7, 1), BLKIF_RSP_ERROR);
	CHECK_EQ(io_discard(&ro, 0, 8), BLKIF_RSP_ERROR);
	list[0] = (struct blkif_request_segment){ .gref = data_ref, .first_sect = 0, .last_sect = 7 };
	CHECK_EQ(io_indirect(&ro, BLKIF_OP_WRITE, 0, list_ref, 1), BLKIF_RSP_ERROR);
	front_state(&disk_ro, XenbusStateClosed);
	back_reaches(&disk_ro, 1 << XenbusStateClosed);
}

/* ---- the ring ---- */

static void indices(void)
{
	static const uint32_t steps[] = { RING + 1, 1000, 1U << 31, (1U << 31) + 1, ~0U, ~0U - RING, 0x55555555 };

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		conn_open(&rw);
		rw.prod += steps[i];
		conn_show(&rw);
		store_settle();
		CHECK_EQ(rw.ring->rsp_prod, 0);
		rw.prod = 1;                                    /* no way back but by a new connection */
		conn_show(&rw);
		store_settle();
		CHECK_EQ(rw.ring->rsp_prod, 0);
	}
	/* indices that begin anywhere are no lie */
	conn_open(&rw);
	front_reset(&disk);
	rw.ring->rsp_prod = rw.ring->req_prod = rw.prod = ~0U - 2;
	rw.ring->rsp_event = rw.prod + 1;
	front_state(&disk, XenbusStateInitialised);
	back_reaches(&disk, 1 << XenbusStateConnected);
	for (unsigned n = 0; n < 8; n++)
		CHECK_EQ(io(&rw, BLKIF_OP_READ, n, into_ref, 0, 7, 1), BLKIF_RSP_OKAY);
}

/* Full of requests that take their time, and then fewer than were taken. */
static void backwards(void)
{
	for (unsigned round = 0; round < 4; round++) {
		conn_open(&rw);
		for (unsigned n = 0; n < RING; n++) {
			struct blkif_request *r = conn_next(&rw);

			r->operation = BLKIF_OP_FLUSH_DISKCACHE;        /* and then its data */
			r->nr_segments = 1;
			r->sector_number = n * 8;
			r->seg[0] = (struct blkif_request_segment){ .gref = data_ref, .first_sect = 0, .last_sect = 7 };
		}
		conn_show(&rw);
		while (__atomic_load_n(&rw.ring->req_event, __ATOMIC_SEQ_CST) != RING + 1)
			;                                       /* all are taken: it asks to be told of the next */
		rw.prod -= 1 + round;
		for (unsigned n = 0; n < 50; n++) {
			conn_show(&rw);
			store_settle();
		}
	}
}

static void *table_page;

static void rings_of_nothing(void)
{
	static const char *const refs[] = { "", "-1", "8x", "0x8", " 8", "4294967296", "99999999999999999999999999999999999999999999999999999999",
					    "4294967295", "512", "500" };
	const unsigned refused = 1 << XenbusStateClosing;
	uint32_t table_ref = grant_page(table_page, 0), wild_ref = grant_frame(0x7fffffff, 0), ro_ref = grant_page(data, GTF_readonly);
	uint32_t end_ref = grant_frame(si->nr_pages, 0);
	const uint32_t bad[] = { wild_ref, end_ref, ro_ref, grant_frame(si->shared_info >> 12, 0), grant_frame(*pte_of((uint64_t)grants) >> 12, 0) };

	for (unsigned i = 0; i < sizeof(refs) / sizeof(refs[0]) + sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned b = i - sizeof(refs) / sizeof(refs[0]);

		front_reset(&disk);
		front_number(&disk, "event-channel", port);
		if (i < sizeof(refs) / sizeof(refs[0]))
			front_text(&disk, "ring-ref", refs[i]);
		else
			front_number(&disk, "ring-ref", bad[b]);
		front_state(&disk, XenbusStateInitialised);
		back_reaches(&disk, refused);
	}
	/* a ring of several pages, which is not offered: no ring-ref of its own */
	front_reset(&disk);
	store_remove("device/vbd/51712/ring-ref");
	front_text(&disk, "ring-page-order", "9");
	front_text(&disk, "num-ring-pages", "4294967295");
	for (unsigned i = 0; i < 4; i++)
		front_number(&disk, (const char *[]){ "ring-ref0", "ring-ref1", "ring-ref2", "ring-ref3" }[i], ring_ref);
	front_state(&disk, XenbusStateInitialised);
	back_reaches(&disk, refused);
	/* channels that are none */
	for (unsigned i = 0; i < 4; i++) {
		front_reset(&disk);
		front_number(&disk, "ring-ref", ring_ref);
		front_text(&disk, "event-channel", (const char *[]){ "0", "4000", "4294967295", "zero" }[i]);
		front_state(&disk, XenbusStateInitialised);
		back_reaches(&disk, refused);
	}
	front_reset(&disk);
	front_number(&disk, "event-channel", bind_ipi(0));
	front_state(&disk, XenbusStateInitialised);
	back_reaches(&disk, refused);
	front_reset(&disk);
	front_number(&disk, "event-channel", port);
	front_text(&disk, "protocol", "x86_32-abi");
	front_state(&disk, XenbusStateInitialised);
	back_reaches(&disk, refused);
	/* a page table for a ring: refused or not, it is ours, and holds for nothing but our own memory */
	front_reset(&disk);
	front_text(&disk, "protocol", "x86_64-abi");
	front_number(&disk, "ring-ref", table_ref);
	front_state(&disk, XenbusStateInitialised);
	if (back_reaches(&disk, refused | 1 << XenbusStateConnected) == XenbusStateConnected) {
		event_send(port);
		store_settle();
	}
}

/* The machine address of the L2 entry for va, whose L3 has one. */
static uint64_t l2_entry(uint64_t va)
{
	uint64_t *table = (uint64_t *)si->pt_base;

	for (unsigned shift = 39; shift > 21; shift -= 9) {
		CHECK(table[va >> shift & 511] & P_PRESENT);
		table = mfn_to_va((table[va >> shift & 511] & 0xffffffffff000UL) >> 12);
	}
	return va_to_mfn(table) << 12 | (va >> 21 & 511) * 8;
}

/* The entries of a table in use come from the disk: they reach nothing that is not ours, however they got there. */
static void table_from_disk(void)
{
	const uint64_t va = VIRT_BASE + (256UL << 20), entry = l2_entry(va);
	uint64_t *l1 = page_alloc(), *entries = (uint64_t *)data;
	uint32_t ref = grant_page(l1, 0);

	for (unsigned i = 0; i < 512; i++)
		entries[i] = pte(i & 1 ? si->nr_pages + i : rnd() >> 27 | 1UL << 38, P_KERNEL);
	CHECK_EQ(io(&rw, BLKIF_OP_WRITE, 0, data_ref, 0, 7, 1), BLKIF_RSP_OKAY);
	make_readonly(l1);
	CHECK_EQ(mmu_update(entry, pte(va_to_mfn(l1), P_KERNEL)), 0);
	io(&rw, BLKIF_OP_READ, 0, ref, 0, 7, 1);
	for (unsigned i = 0; i < 512; i++) {
		TRY("mov (%0), %%rax", : : "r"(va + i * 4096UL) : "rax", "r11", "memory");
		CHECK_EQ(trapped.vector, 14);
		TRY("mov %%rax, (%0)", : : "r"(va + i * 4096UL) : "rax", "r11", "memory");
		CHECK_EQ(trapped.vector, 14);
	}
	CHECK_EQ(mmu_update(entry, 0), 0);
}

/* ---- frames given up ---- */

static void given_up(void)
{
	/* the ring itself, signalled all the while */
	conn_open(&rw);
	frame_give_up(ring);
	for (unsigned i = 0; i < 20; i++)
		event_send(port);
	store_settle();
	front_state(&disk, XenbusStateClosed);
	back_reaches(&disk, 1 << XenbusStateClosed);
	frame_take_back(ring);
	for (unsigned i = 0; i < 512; i++)
		CHECK_EQ(((uint64_t *)ring)[i], 0);
	grants[ring_ref].frame = (uint32_t)va_to_mfn(ring);
	/* what is read into, with many reads of it under way */
	conn_open(&rw);
	for (unsigned i = 0; i < 512; i++)
		list[i] = (struct blkif_request_segment){ .gref = into_ref, .first_sect = 0, .last_sect = 7 };
	for (unsigned n = 0; n < RING; n++) {
		struct blkif_request_indirect *r = (void *)conn_next(&rw);

		*r = (struct blkif_request_indirect){ .operation = BLKIF_OP_INDIRECT, .indirect_op = BLKIF_OP_READ, .nr_segments = 64,
						      .indirect_grefs[0] = list_ref };
	}
	conn_show(&rw);
	frame_give_up(into);
	conn_wait(&rw);
	frame_take_back(into);
	for (unsigned i = 0; i < 512; i++)
		CHECK_EQ(((uint64_t *)into)[i], 0);
	grants[into_ref].frame = (uint32_t)va_to_mfn(into);
}

/* We say that grants persist, which is not offered: each is released with its request, and one that goes is gone. */
static void persistent(void)
{
	uint16_t flags = grants[data_ref].flags;

	front_reset(&disk);
	front_text(&disk, "feature-persistent", "1");
	conn_open(&rw);
	CHECK_EQ(io(&rw, BLKIF_OP_WRITE, 0, data_ref, 0, 7, 1), BLKIF_RSP_OKAY);
	grants[data_ref].flags = GTF_invalid;
	CHECK_EQ(io(&rw, BLKIF_OP_WRITE, 0, data_ref, 0, 7, 1), BLKIF_RSP_ERROR);
	grants[data_ref].flags = flags;
	/* revoked, and given to another frame, while it is in use */
	for (unsigned n = 0; n < 200; n++) {
		for (unsigned i = 0; i < 8; i++) {
			struct blkif_request *r = conn_next(&rw);

			r->operation = BLKIF_OP_READ;
			r->nr_segments = 1;
			r->seg[0] = (struct blkif_request_segment){ .gref = data_ref, .first_sect = 0, .last_sect = 7 };
		}
		conn_show(&rw);
		grants[data_ref].frame = (uint32_t)(rnd() & 0xffffffff) | 1U << 30;
		grants[data_ref].flags = (uint16_t)rnd();
		grants[data_ref].domid = (uint16_t)rnd();
		conn_wait(&rw);
		grants[data_ref].frame = (uint32_t)va_to_mfn(data);
		grants[data_ref].domid = 0;
		grants[data_ref].flags = flags;
	}
}

/* ---- things without an end ---- */

/* The other vCPU: turns what a request says to and fro, in its place on the ring and in the list of segments. */
static void flip(void)
{
	static const uint8_t ops[] = { BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_INDIRECT, BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, 200 };

	for (unsigned n = 0; n < 1000; n++) {
		volatile struct blkif_request *r = &rw.ring->ring[rnd() % RING].req;
		volatile struct blkif_request_segment *s = n & 1 ? &list[rnd() % 64] : &r->seg[rnd() % 11];
		uint64_t x = rnd();

		r->operation = ops[x % 6];
		r->nr_segments = x & 64 ? 1 : (uint8_t)(x >> 8);
		r->sector_number = x & 128 ? 8 : ~0UL << (x >> 16 & 63);
		s->gref = x & 1 << 24 ? data_ref : (uint32_t)(x >> 32);
		s->first_sect = x & 1 << 25 ? 0 : (uint8_t)(x >> 40);
		s->last_sect = x & 1 << 26 ? 7 : (uint8_t)(x >> 48);
	}
}

static void double_fetch(void)
{
	uint64_t until = system_time(0) + STORM_NS;

	conn_open(&rw);
	for (unsigned i = 0; i < 64; i++)
		list[i] = (struct blkif_request_segment){ .gref = data_ref, .first_sect = 0, .last_sect = 7 };
	job = flip;
	while (system_time(0) < until) {
		rw.prod += 1 + (uint32_t)(rnd() % RING);
		conn_show(&rw);
		conn_wait(&rw);
	}
	job_stop();
}

/* The other vCPU: requests that come to nothing at once, as fast as they can be put. */
static void put_nothing(void)
{
	for (unsigned n = 0; n < 1000; n++)
		__atomic_store_n(&rw.ring->req_prod, __atomic_load_n(&rw.ring->rsp_prod, __ATOMIC_SEQ_CST) + 20, __ATOMIC_SEQ_CST);
	event_send(port);
}

static void flood(void)
{
	uint64_t until = system_time(0) + STORM_NS;
	unsigned n = 0;

	conn_open(&rw);
	memset(rw.ring->ring, 200, sizeof(rw.ring->ring[0]) * RING);
	job = put_nothing;
	for (; system_time(0) < until; n++)
		store_settle();                                 /* the loop that serves the disk serves the store too */
	job_stop();
	put("%u requests refused, %u answers of the store meanwhile\n", rw.ring->rsp_prod, n);
}

static void state_storm(void)
{
	static const char *const states[] = { "6", "1", "3", "4", "5", "0", "8", "7", "2", "9", "", "x" };
	uint64_t until = system_time(0) + STORM_NS;

	for (unsigned n = 0; system_time(0) < until; n++)
		front_text(&disk, "state", states[n % 3]);
	until = system_time(0) + STORM_NS;
	while (system_time(0) < until) {
		uint64_t x = rnd();

		front_text(&disk, "state", states[x % 12]);
		if (x & 0x100)
			front_number(&disk, "ring-ref", x & 0x200 ? ring_ref : rnd() % GRANTS);
		if (x & 0x400)
			front_number(&disk, "event-channel", x & 0x800 ? port : rnd() % 64);
		if (!(x & 0x3000))
			store_remove("device/vbd/51712/state");
		event_send(port);
		ring->req_prod = (uint32_t)(x >> 16);
	}
}

void guest_main(void)
{
	static void (*const hostile[])(void) = { requests_of_nothing, descriptors_of_nothing, read_only, table_from_disk, indices, backwards,
						 rings_of_nothing, given_up, persistent, double_fetch, flood, state_storm };

	front_start();
	front_find(&disk, "device/vbd/51712");
	front_find(&disk_ro, "device/vbd/51728");
	ring = page_alloc(), ring_ro = page_alloc(), data = page_alloc(), into = page_alloc(), list = page_alloc();
	ring_ref = grant_page(ring, 0), ring_ro_ref = grant_page(ring_ro, 0);
	data_ref = grant_page(data, 0), data_ro_ref = grant_page(data, GTF_readonly), into_ref = grant_page(into, 0), list_ref = grant_page(list, 0);
	port = port_new(), port_ro = port_new();
	rw = (struct conn){ .f = &disk, .ring = ring, .ref = ring_ref, .port = port };
	ro = (struct conn){ .f = &disk_ro, .ring = ring_ro, .ref = ring_ro_ref, .port = port_ro };
	table_page = page_alloc();
	make_readonly(table_page);
	CHECK_EQ(mmuext(MMUEXT_PIN_L1_TABLE, va_to_mfn(table_page), 0), 0);
	job_vcpu_start();
	works();
	sectors = back_number(&disk, "sectors");
	CHECK(sectors > SCRATCH);
	for (unsigned i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		put("%u at %lu ms\n", i, system_time(0) / 1000000);
		hostile[i]();
		works();
	}
}
