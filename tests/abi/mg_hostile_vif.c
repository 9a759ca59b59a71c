/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: a guest against its network interface's back end, over xenbus as any front end, with a second interface on the same
 * bridge that is honest and sees what gets through.  Frames past their page, of no size and without an end, segmentation offloads of
 * nothing, rings and buffers that are nothing or something else, indices that lie, frames given up under way, requests changed while
 * they are read, features and states that flip as fast as the store takes them.  Each is refused, or its ring left alone; afterwards
 * the interface connects again and frames pass both ways; the honest one never notices.
 *
 * tests/hypervisor/test-hostile runs it, and looks at who else might have noticed.
 */
#include "front_end.h"
#include <xen/io/netif.h>

const char guest_name[] = "hostile_vif";

#define RING 256U
#define BUFFERS 16U                     /* posted by an honest interface */
#define STORM_NS 250000000UL            /* how long each thing without an end goes on */
#define NOTHING 500U                    /* a reference that grants nothing */
#define ETHERTYPE 0x88b5U               /* IEEE 802: local experimental */

struct conn {
	struct front f;
	struct netif_tx_sring *tx;
	struct netif_rx_sring *rx;
	uint8_t *frame, *buffer[BUFFERS];
	uint32_t tx_ref, rx_ref, frame_ref, buffer_ref[BUFFERS], port;
	RING_IDX tx_prod, rx_prod, rx_cons;
	uint32_t heard;                 /* the last of the other's numbers */
};
static struct conn bad, good;
static uint32_t ro_ref, wild_ref, table_ref;
static void *table_page;

/* ---- an honest interface ---- */

static void conn_make(struct conn *c, const char *path)
{
	front_find(&c->f, path);
	c->tx = page_alloc(), c->rx = page_alloc(), c->frame = page_alloc();
	c->tx_ref = grant_page(c->tx, 0), c->rx_ref = grant_page(c->rx, 0), c->frame_ref = grant_page(c->frame, GTF_readonly);
	for (unsigned i = 0; i < BUFFERS; i++) {
		c->buffer[i] = page_alloc();
		c->buffer_ref[i] = grant_page(c->buffer[i], 0);
	}
	c->port = port_new();
}

static void rx_post(struct conn *c, uint32_t ref)
{
	c->rx->ring[c->rx_prod % RING].req = (struct netif_rx_request){ .id = (uint16_t)(c->rx_prod % RING), .gref = ref };
	__atomic_store_n(&c->rx->req_prod, ++c->rx_prod, __ATOMIC_SEQ_CST);
}

static void conn_keys(const struct conn *c)
{
	front_number(&c->f, "tx-ring-ref", c->tx_ref);
	front_number(&c->f, "rx-ring-ref", c->rx_ref);
	front_number(&c->f, "event-channel", c->port);
	front_text(&c->f, "request-rx-copy", "1");
	front_text(&c->f, "feature-sg", "1");
}

/* Connected, without a buffer to receive into. */
static void conn_begin(struct conn *c)
{
	front_state(&c->f, XenbusStateClosed);
	back_reaches(&c->f, 1 << XenbusStateClosed);
	memset(c->tx, 0, 4096);
	memset(c->rx, 0, 4096);
	c->tx->req_event = c->tx->rsp_event = c->rx->req_event = c->rx->rsp_event = 1;
	c->tx_prod = c->rx_prod = c->rx_cons = 0;
	front_reset(&c->f);
	conn_keys(c);
	front_state(&c->f, XenbusStateConnected);
	back_reaches(&c->f, 1 << XenbusStateConnected);
}

static void conn_open(struct conn *c)
{
	conn_begin(c);
	for (unsigned i = 0; i < BUFFERS; i++)
		rx_post(c, c->buffer_ref[i]);
	event_send(c->port);
}

static struct netif_tx_request *tx_next(struct conn *c)
{
	struct netif_tx_request *r = &c->tx->ring[c->tx_prod % RING].req;

	/* an answer in its place must not read as a reference to a page of ours: see the rings that are one page */
	*r = (struct netif_tx_request){ .gref = c->frame_ref, .id = (uint16_t)(0x4000 | c->tx_prod % RING), .size = 60 };
	c->tx_prod++;
	return r;
}

static void tx_extra(struct conn *c, uint8_t type, uint8_t flags, uint8_t gso_type, uint16_t gso_size)
{
	struct netif_extra_info *e = (void *)&c->tx->ring[c->tx_prod++ % RING];

	*e = (struct netif_extra_info){ .type = type, .flags = flags };
	e->u.gso.size = gso_size;
	e->u.gso.type = gso_type;
}

static void tx_show(const struct conn *c)
{
	__atomic_store_n(&c->tx->req_prod, c->tx_prod, __ATOMIC_SEQ_CST);
	event_send(c->port);
}

static void tx_wait(const struct conn *c)
{
	uint64_t since = system_time(0);

	while (__atomic_load_n(&c->tx->rsp_prod, __ATOMIC_SEQ_CST) != c->tx_prod)
		waited(since, c->f.path);
}

/* The status of the entry put last; nothing granted for sending is in use any more. */
static int tx_answer(const struct conn *c)
{
	tx_show(c);
	tx_wait(c);
	CHECK(!grant_in_use(c->frame_ref));
	return c->tx->ring[(c->tx_prod - 1) % RING].rsp.status;
}

static void frame_make(struct conn *c, uint32_t number)
{
	memset(c->frame, 0xff, 6);
	memcpy(c->frame + 6, "\x02\x16\x3e\xaa\xbb", 5);
	c->frame[11] = c == &good;
	c->frame[12] = ETHERTYPE >> 8;
	c->frame[13] = ETHERTYPE & 0xff;
	memcpy(c->frame + 14, &number, 4);
	memset(c->frame + 18, 0x33, 42);
}

/* Takes what has come, and posts the buffers again. */
static void rx_take(struct conn *c)
{
	while (c->rx_cons != __atomic_load_n(&c->rx->rsp_prod, __ATOMIC_SEQ_CST)) {
		struct netif_rx_response rsp = c->rx->ring[c->rx_cons++ % RING].rsp;
		const uint8_t *p;

		CHECK(rsp.id < RING && rsp.status != 0 && rsp.status <= 4096 && rsp.offset == 0);
		p = c->buffer[rsp.id % BUFFERS];
		if (rsp.status >= 60 && p[12] == ETHERTYPE >> 8 && p[13] == (ETHERTYPE & 0xff) && p[59] == 0x33 && p[11] != (c == &good))
			memcpy(&c->heard, p + 14, 4);
		rx_post(c, c->buffer_ref[rsp.id % BUFFERS]);
	}
	event_send(c->port);
}

/* A frame from one is what the other hears, before long: what was sent earlier may be in the way. */
static void passes(struct conn *from, struct conn *to)
{
	static uint32_t number;
	uint64_t since = system_time(0);

	for (number++; to->heard != number; waited(since, to->f.path)) {
		frame_make(from, number);
		tx_next(from);
		CHECK_EQ(tx_answer(from), NETIF_RSP_OKAY);
		rx_take(from);
		for (unsigned i = 0; i < 20 && to->heard != number; i++, breathe())
			rx_take(to);
	}
}

static void works(void)
{
	conn_open(&bad);
	passes(&bad, &good);
	passes(&good, &bad);
	CHECK_EQ(back_number(&good.f, "state"), XenbusStateConnected);
}

/* ---- frames ---- */

/* One of so many parts, all of one page; the sizes of the whole and of each other part. */
static void parts_put(struct conn *c, unsigned n, uint16_t whole, uint16_t part)
{
	for (unsigned i = 0; i < n; i++) {
		struct netif_tx_request *r = tx_next(c);

		r->size = i ? part : whole;
		r->flags = i + 1 < n ? NETTXF_more_data : 0;
	}
}

static void frames_of_nothing(void)
{
	static const struct { uint16_t offset, size; } outside[] = {
		{ 0, 0 }, { 0, 13 }, { 4095, 0 }, { 4096, 60 }, { 4090, 60 }, { 65535, 65535 }, { 0, 4097 }, { 0, 65535 }, { 65535, 14 }, { 1, 4096 },
	};
	const uint32_t refs[] = { NOTHING, GRANTS, ~0U, 0x7fffffff, wild_ref };
	const int no = NETIF_RSP_ERROR;

	conn_open(&bad);
	frame_make(&bad, 0);
	for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		struct netif_tx_request *r = tx_next(&bad);

		r->offset = outside[i].offset;
		r->size = outside[i].size;
		r->flags = (uint16_t)(i << 4 | NETTXF_csum_blank);
		CHECK_EQ(tx_answer(&bad), no);
	}
	for (unsigned i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
		tx_next(&bad)->gref = refs[i];
		CHECK_EQ(tx_answer(&bad), no);
	}
	for (unsigned n = 2; n <= 18; n++) {
		parts_put(&bad, n, 60, 60);
		CHECK_EQ(tx_answer(&bad), no);
		parts_put(&bad, n, 65535, 65535);
		CHECK_EQ(tx_answer(&bad), no);
		parts_put(&bad, n, (uint16_t)(4096 * n), 4096);         /* 16 of them are 0, 17 and 18 less than their parts */
		if (n > 15)
			CHECK_EQ(tx_answer(&bad), no);
		else
			tx_answer(&bad);
		parts_put(&bad, n, 14, 0);
		tx_answer(&bad);
	}
}

/* An IPv4 or IPv6 frame of TCP or UDP with a payload of sorts. */
static void frame_ip(struct conn *c, bool v6, uint8_t proto, uint8_t lengths, uint8_t data_offset)
{
	uint8_t *ip = c->frame + 14, *tcp = ip + (v6 ? 40 : 20);

	frame_make(c, 0);
	memset(ip, 0, 4096 - 14);
	c->frame[12] = v6 ? 0x86 : 8;
	c->frame[13] = v6 ? 0xdd : 0;
	ip[0] = lengths;
	ip[2] = 0x20;
	ip[v6 ? 6 : 9] = proto;
	ip[v6 ? 7 : 8] = 64;
	tcp[12] = data_offset;
}

static int gso(struct conn *c, uint16_t frame_size, uint8_t type, uint16_t size)
{
	struct netif_tx_request *r = tx_next(c);

	r->size = frame_size;
	r->flags = NETTXF_csum_blank | NETTXF_data_validated | NETTXF_extra_info;
	tx_extra(c, XEN_NETIF_EXTRA_TYPE_GSO, 0, type, size);
	tx_show(c);
	tx_wait(c);
	return c->tx->ring[(c->tx_prod - 2) % RING].rsp.status;
}

static void offloads_of_nothing(void)
{
	static const uint16_t sizes[] = { 0, 1, 13, 1460, 4095, 32768, 65535 };
	static const uint8_t lengths[] = { 0x45, 0x40, 0x44, 0x4f, 0x60, 0x65, 0x00, 0xff };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		frame_make(&bad, 0);
		for (unsigned type = 0; type < 256; type++)
			CHECK_EQ(gso(&bad, 60, (uint8_t)type, sizes[i]), NETIF_RSP_ERROR);      /* neither IP nor TCP */
		frame_ip(&bad, false, 17, 0x45, 0);
		CHECK_EQ(gso(&bad, 1000, XEN_NETIF_GSO_TYPE_TCPV4, sizes[i]), NETIF_RSP_ERROR); /* UDP */
		frame_ip(&bad, false, 6, 0x45, 0x50);
		CHECK_EQ(gso(&bad, 1000, XEN_NETIF_GSO_TYPE_TCPV6, sizes[i]), NETIF_RSP_ERROR);
		CHECK_EQ(gso(&bad, 20, XEN_NETIF_GSO_TYPE_TCPV4, sizes[i]), NETIF_RSP_ERROR);
		if (!sizes[i])
			CHECK_EQ(gso(&bad, 1000, XEN_NETIF_GSO_TYPE_TCPV4, 0), NETIF_RSP_ERROR);
		for (unsigned v6 = 0; v6 < 2; v6++)             /* sent, dropped or refused: the node's own kernel looks at them */
			for (unsigned l = 0; l < sizeof(lengths) * 16; l++) {
				frame_ip(&bad, v6, 6, lengths[l / 16], (uint8_t)(l << 4));
				gso(&bad, 4096, v6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4, sizes[i]);
			}
	}
	/* as many segments of a frame as can be */
	frame_ip(&bad, false, 6, 0x45, 0x50);
	for (uint64_t until = system_time(0) + STORM_NS; system_time(0) < until;) {
		tx_next(&bad)->size = 65520;
		bad.tx->ring[(bad.tx_prod - 1) % RING].req.flags = NETTXF_csum_blank | NETTXF_extra_info | NETTXF_more_data;
		tx_extra(&bad, XEN_NETIF_EXTRA_TYPE_GSO, 0, XEN_NETIF_GSO_TYPE_TCPV4, 1);
		parts_put(&bad, 15, 4096, 4096);
		tx_show(&bad);
		tx_wait(&bad);
	}
}

/* Packets that go on for ever, or into what is none: nothing is answered, by no later entry either. */
static void no_end(void)
{
	for (unsigned kind = 0; kind < 8; kind++) {
		conn_open(&bad);
		switch (kind) {
		case 0: tx_next(&bad)->flags = NETTXF_more_data; break;
		case 1: tx_next(&bad)->flags = NETTXF_extra_info; break;
		case 2: parts_put(&bad, 19, 60, 1); break;
		case 3: parts_put(&bad, RING, 60, 0); break;
		case 4: case 5: case 6:
			tx_next(&bad)->flags = NETTXF_extra_info;
			for (unsigned i = 1; i < (kind == 4 ? RING : 2); i++)
				tx_extra(&bad, kind == 4 ? XEN_NETIF_EXTRA_TYPE_GSO : kind == 5 ? 0 : 255, XEN_NETIF_EXTRA_FLAG_MORE, 1, 1460);
			break;
		default:
			tx_next(&bad)->flags = NETTXF_extra_info | NETTXF_more_data;
			tx_extra(&bad, XEN_NETIF_EXTRA_TYPE_GSO, 0, 1, 1460);
		}
		tx_show(&bad);
		store_settle();
		CHECK_EQ(bad.tx->rsp_prod, 0);
		frame_make(&bad, 0);
		tx_next(&bad);
		tx_show(&bad);
		store_settle();
		CHECK_EQ(bad.tx->rsp_prod, 0);
	}
}

/* ---- rings and buffers ---- */

static void indices(void)
{
	static const uint32_t steps[] = { RING + 1, 5000, 1U << 31, (1U << 31) + 1, ~0U, ~0U - RING, 0x55555555 };

	for (unsigned i = 0; i < 2 * sizeof(steps) / sizeof(steps[0]); i++) {
		conn_begin(&bad);
		if (i & 1) {
			bad.rx->req_prod = steps[i / 2];
			event_send(bad.port);
			frame_make(&good, 0);
			tx_next(&good);                         /* only a frame makes it look there */
			tx_answer(&good);
			store_settle();
			CHECK_EQ(bad.rx->rsp_prod, 0);
		} else {
			bad.tx_prod = steps[i / 2];
			tx_show(&bad);
			store_settle();
			CHECK_EQ(bad.tx->rsp_prod, 0);
		}
	}
	conn_open(&bad);
	for (unsigned n = 0; n < 200; n++) {
		tx_next(&bad);
		tx_show(&bad);
		bad.tx_prod -= (uint32_t)(rnd() % 3);
		bad.rx->req_prod -= (uint32_t)(rnd() % 3);
		tx_show(&bad);
	}
	store_settle();
}

/* Frames come, and there is nothing behind the buffers posted for them. */
static void buffers_of_nothing(void)
{
	const uint32_t refs[] = { NOTHING, GRANTS, ~0U, ro_ref, wild_ref, table_ref, bad.buffer_ref[0], bad.rx_ref };
	void *gone = bad.buffer[0];

	frame_give_up(gone);
	for (unsigned kinds = 7; kinds <= 8; kinds++) {         /* what comes over the ring itself ends it */
		uint64_t since = system_time(0);

		conn_begin(&bad);
		for (unsigned i = 0; i < RING; i++)
			rx_post(&bad, refs[i % kinds]);
		event_send(bad.port);
		frame_make(&good, 0);
		for (unsigned i = 0; i < RING; i++) {
			tx_next(&good);
			CHECK_EQ(tx_answer(&good), NETIF_RSP_OKAY);
		}
		while (kinds == 7 && __atomic_load_n(&bad.rx->rsp_prod, __ATOMIC_SEQ_CST) < RING / 4)
			waited(since, "buffers to be used");
	}
	store_settle();
	front_state(&bad.f, XenbusStateClosed);
	back_reaches(&bad.f, 1 << XenbusStateClosed);
	frame_take_back(gone);
	for (unsigned i = 0; i < 512; i++)
		CHECK_EQ(((uint64_t *)gone)[i], 0);
	grants[bad.buffer_ref[0]].frame = (uint32_t)va_to_mfn(gone);
}

static void rings_of_nothing(void)
{
	static const char *const keys[] = { "tx-ring-ref", "rx-ring-ref", "event-channel", "request-rx-copy" };
	static const char *const values[] = { "", "-1", "8x", "4294967296", "99999999999999999999999999999999999999999999999999999999", "4294967295",
					      "512", "500" };
	const unsigned refused = 1 << XenbusStateClosing;
	const uint32_t refs[] = { ro_ref, wild_ref };

	for (unsigned k = 0; k < 4; k++)
		for (unsigned i = 0; i < (k < 2 ? 10 : k == 3 ? 3 : 8); i++) {
			front_reset(&bad.f);
			conn_keys(&bad);
			if (i < 8)
				front_text(&bad.f, keys[k], values[i]);
			else
				front_number(&bad.f, keys[k], refs[i - 8]);
			front_state(&bad.f, XenbusStateConnected);
			back_reaches(&bad.f, refused);
		}
	/* half a pair of channels is none, and the common one counts; the same page twice is the guest's own trouble */
	conn_begin(&bad);
	front_reset(&bad.f);
	front_number(&bad.f, "event-channel-tx", 4000);
	front_number(&bad.f, "rx-ring-ref", bad.tx_ref);
	front_text(&bad.f, "multi-queue-num-queues", "4294967295");
	front_state(&bad.f, XenbusStateConnected);
	back_reaches(&bad.f, 1 << XenbusStateConnected);
	for (unsigned n = 0; n < 50; n++) {
		tx_next(&bad);
		tx_show(&bad);
		tx_next(&good);
		tx_answer(&good);
	}
	store_settle();
	/* page tables for rings */
	front_reset(&bad.f);
	front_number(&bad.f, "tx-ring-ref", table_ref);
	front_number(&bad.f, "rx-ring-ref", table_ref);
	front_state(&bad.f, XenbusStateConnected);
	back_reaches(&bad.f, refused | 1 << XenbusStateConnected);
	event_send(bad.port);
	store_settle();
	store_remove("device/vif/0/event-channel-tx");
}

static void given_up(void)
{
	void *const page[] = { bad.tx, bad.rx };
	const uint32_t ref[] = { bad.tx_ref, bad.rx_ref };

	conn_open(&bad);
	frame_give_up(bad.tx);
	frame_give_up(bad.rx);
	for (unsigned i = 0; i < 40; i++) {
		event_send(bad.port);
		frame_make(&good, 0);
		tx_next(&good);
		tx_answer(&good);
	}
	store_settle();
	front_state(&bad.f, XenbusStateClosed);
	back_reaches(&bad.f, 1 << XenbusStateClosed);
	for (unsigned k = 0; k < 2; k++) {
		frame_take_back(page[k]);
		for (unsigned i = 0; i < 512; i++)
			CHECK_EQ(((uint64_t *)page[k])[i], 0);
		grants[ref[k]].frame = (uint32_t)va_to_mfn(page[k]);
	}
}

/* ---- things without an end ---- */

/* The other vCPU: turns what the entries say to and fro. */
static void flip(void)
{
	for (unsigned n = 0; n < 1000; n++) {
		volatile struct netif_tx_request *r = &bad.tx->ring[rnd() % RING].req;
		uint64_t x = rnd();

		r->flags = x & 7 ? 0 : (uint16_t)(x >> 3 & 15);
		r->size = x & 64 ? 60 : (uint16_t)(x >> 16);
		r->offset = x & 128 ? 0 : (uint16_t)(x >> 32);
		r->gref = x & 256 ? bad.frame_ref : (uint32_t)(x >> 32);
	}
}

static void double_fetch(void)
{
	uint64_t until = system_time(0) + STORM_NS;

	conn_open(&bad);
	frame_make(&bad, 0);
	job = flip;
	while (system_time(0) < until) {
		uint64_t since = system_time(0);

		bad.tx_prod += 20;
		tx_show(&bad);
		while (bad.tx->rsp_prod != bad.tx_prod && system_time(0) - since < 1000000)
			;
		if (bad.tx->rsp_prod == bad.tx_prod)
			continue;
		job_stop();                                     /* one of them had no end */
		conn_open(&bad);
		job = flip;
	}
	job_stop();
}

/* The other vCPU: frames from the honest one, all the while. */
static void send_on(void)
{
	for (unsigned n = 0; n < 100; n++) {
		tx_next(&good);
		tx_show(&good);
		while (__atomic_load_n(&good.tx->rsp_prod, __ATOMIC_SEQ_CST) != good.tx_prod)
			;
	}
}

static void state_storm(void)
{
	static const char *const states[] = { "6", "1", "4", "3", "5", "0", "8", "7", "2", "9", "", "x" };
	static const char *const features[] = { "feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6", "feature-no-csum-offload",
						"feature-ipv6-csum-offload", "request-rx-copy", "feature-rx-notify", "feature-split-event-channels" };
	uint64_t until = system_time(0) + STORM_NS;

	conn_open(&bad);
	frame_make(&good, 0);
	job = send_on;
	for (unsigned n = 0; system_time(0) < until; n++) {
		front_text(&bad.f, "state", states[n % 3]);
		event_send(bad.port);
	}
	until = system_time(0) + STORM_NS;
	while (system_time(0) < until) {
		uint64_t x = rnd();

		front_text(&bad.f, "state", states[x % 12]);
		front_text(&bad.f, features[x >> 8 & 7], x & 0x800 ? "1" : x & 0x1000 ? "0" : "-1");
		if (!(x & 0xe000))
			front_number(&bad.f, x & 0x10000 ? "tx-ring-ref" : "rx-ring-ref", x & 0x20000 ? rnd() % GRANTS : bad.rx_ref);
		bad.tx->req_prod = bad.tx->rsp_prod + (uint32_t)(x >> 56);
		bad.rx->req_prod = bad.rx->rsp_prod + (uint32_t)(x >> 48 & 255);
		event_send(bad.port);
	}
	job_stop();
	for (unsigned i = 0; i < 8; i++)
		front_text(&bad.f, features[i], "1");
}

void guest_main(void)
{
	static void (*const hostile[])(void) = { frames_of_nothing, offloads_of_nothing, no_end, indices, buffers_of_nothing, rings_of_nothing,
						 given_up, double_fetch, state_storm };

	front_start();
	conn_make(&bad, "device/vif/0");
	conn_make(&good, "device/vif/1");
	table_page = page_alloc();
	make_readonly(table_page);
	CHECK_EQ(mmuext(MMUEXT_PIN_L1_TABLE, va_to_mfn(table_page), 0), 0);
	ro_ref = grant_page(bad.buffer[1], GTF_readonly), wild_ref = grant_frame(0x7fffffff, 0), table_ref = grant_page(table_page, 0);
	job_vcpu_start();
	conn_open(&good);
	works();
	for (unsigned i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		put("%u at %lu ms\n", i, system_time(0) / 1000000);
		hostile[i]();
		works();
	}
}
