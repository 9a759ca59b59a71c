/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that lives on its store ring, driven by tests/store/test-relay: saved, restored and bereft of its xenstored all the
 * while.  It writes and reads the ring as Linux does (a header and a body of their own, the other side told only when
 * xs_wire.h's rule says so) and holds every answer and every event against what must come:
 *
 *   - one reply a request, in order, with its request's number; a request executed twice would show (watch, unwatch);
 *   - node data/wN counts up one by one, the host waiting for data/aN to follow: one event a step, no more, no fewer;
 *   - control/shutdown is acted on as Linux does it, in a transaction.
 */
#include "micro_guest.h"
#include <xen/io/xs_wire.h>

const char guest_name[] = "store";

#define WATCHED 4
#define STALL_TICKS 25                 /* seconds of this guest's own life, not of the host's */
#define BIG 2000                       /* octets: more than the ring holds */

static struct xenstore_domain_interface *ring;
static uint32_t store_port;
static volatile unsigned ticks;
static uint32_t next_id;
static char body[XENSTORE_PAYLOAD_MAX + 1];
static struct xsd_sockmsg got;
static unsigned seen[WATCHED], told[WATCHED];   /* events of data/wN, the value last written to data/aN */
static unsigned extra_events;                   /* of the watch that is set and removed again and again */
static bool stopping;
static char big[BIG];

static size_t text_len(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static bool text_is(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static unsigned number_of(const char *s)
{
	unsigned n = 0;

	while (*s >= '0' && *s <= '9')
		n = n * 10 + (unsigned)(*s++ - '0');
	return n;
}

static const char *text_of(unsigned n)
{
	static char text[12];
	char *p = text + sizeof(text) - 1;

	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	return p;
}

/* ---- the ring ---- */

static void on_event(uint32_t port)
{
	if (port != store_port)
		ticks++;
}

static void dawdle(void)
{
	for (unsigned n = rnd() & 1 ? (unsigned)(rnd() % 300) : 0; n; n--)
		__asm__ volatile("pause");
}

static void stall_check(unsigned since, const char *what)
{
	if (ticks - since < STALL_TICKS)
		return;
	fail("%s: nothing for %u s; requests %u..%u, replies %u..%u, pending %lx, upcall %u", what, ticks - since, ring->req_cons,
	     ring->req_prod, ring->rsp_cons, ring->rsp_prod, shared->evtchn_pending[0], vcpu_info(0)->evtchn_upcall_pending);
}

/* Sleeps until an event; `*ready` is looked at first with events off, so none comes between. */
static void wait_for(bool (*ready)(void), const char *what)
{
	unsigned since = ticks;

	for (unsigned n = (unsigned)(rnd() % 2000); n && !ready(); n--)
		__asm__ volatile("pause");
	for (;;) {
		events_off();
		if (ready())
			break;
		sched_op(SCHEDOP_block, NULL);
		stall_check(since, what);
	}
	events_on();
	events_deliver();
}

static bool may_write(void) { return __atomic_load_n(&ring->req_prod, __ATOMIC_SEQ_CST) - __atomic_load_n(&ring->req_cons, __ATOMIC_SEQ_CST) < XENSTORE_RING_SIZE; }
static bool may_read(void) { return __atomic_load_n(&ring->rsp_prod, __ATOMIC_SEQ_CST) != ring->rsp_cons; }

static void ring_write(const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		uint32_t prod = ring->req_prod, room;

		wait_for(may_write, "room for a request");
		room = XENSTORE_RING_SIZE - (prod - __atomic_load_n(&ring->req_cons, __ATOMIC_SEQ_CST));
		if (room > n)
			room = (uint32_t)n;
		for (uint32_t i = 0; i < room; i++)
			ring->req[MASK_XENSTORE_IDX(prod + i)] = p[i];
		__atomic_store_n(&ring->req_prod, prod + room, __ATOMIC_RELEASE);
		/* The other side sleeps only if it had taken all there was before this. */
		if (prod == __atomic_load_n(&ring->req_cons, __ATOMIC_RELAXED))
			event_send(store_port);
		p += room;
		n -= room;
	}
}

static void ring_read(void *data, size_t n)
{
	char *p = data;

	while (n) {
		uint32_t cons = ring->rsp_cons, avail;

		wait_for(may_read, "a reply");
		avail = __atomic_load_n(&ring->rsp_prod, __ATOMIC_SEQ_CST) - cons;
		if (avail > XENSTORE_RING_SIZE)
			fail("reply indices %u..%u", cons, ring->rsp_prod);
		if (avail > n)
			avail = (uint32_t)n;
		for (uint32_t i = 0; i < avail; i++)
			p[i] = ring->rsp[MASK_XENSTORE_IDX(cons + i)];
		__atomic_store_n(&ring->rsp_cons, cons + avail, __ATOMIC_RELEASE);
		if (__atomic_load_n(&ring->rsp_prod, __ATOMIC_RELAXED) - cons >= XENSTORE_RING_SIZE)
			event_send(store_port);
		p += avail;
		n -= avail;
	}
}

/* ---- messages ---- */

/* A message without its last NUL is one whose last string is data. */
static uint32_t send(uint32_t type, uint32_t tx, const char *a, const char *b, size_t b_len)
{
	struct xsd_sockmsg h = { .type = type, .req_id = ++next_id, .tx_id = tx, .len = (uint32_t)(text_len(a) + 1 + b_len) };

	ring_write(&h, sizeof(h));
	dawdle();
	ring_write(a, text_len(a) + 1);
	if (b_len) {
		dawdle();
		ring_write(b, b_len);
	}
	return h.req_id;
}

static void event_take(void)
{
	const char *token = body + text_len(body) + 1;

	if (got.len < 4 || body[got.len - 1])
		fail("event without an end");
	if (*token >= '0' && *token < '0' + WATCHED)
		seen[*token - '0']++;
	else if (*token == 's')
		stopping = true;
	else if (*token == 'x')
		extra_events++;
	else
		fail("event %s of watch %s: no such watch", body, token);
}

static void message_take(void)
{
	ring_read(&got, sizeof(got));
	if (got.len > XENSTORE_PAYLOAD_MAX)
		fail("torn message: type %u, number %u, length %u", got.type, got.req_id, got.len);
	ring_read(body, got.len);
	body[got.len] = 0;
}

static void reply_take(uint32_t id, uint32_t type, const char *error)
{
	for (;;) {
		message_take();
		if (got.type != XS_WATCH_EVENT)
			break;
		event_take();
	}
	if (got.req_id != id)
		fail("reply %u (type %u) to request %u", got.req_id, got.type, id);
	if (got.type != (error ? (uint32_t)XS_ERROR : type) && !(got.type == XS_ERROR && error && !*error))
		fail("request %u of type %u: answer of type %u: %s", id, type, got.type, body);
	if (error && *error && !text_is(body, error))
		fail("request %u of type %u: %s, not %s", id, type, body, error);
}

static void ask(uint32_t type, uint32_t tx, const char *a, const char *b, size_t b_len, const char *error)
{
	reply_take(send(type, tx, a, b, b_len), type, error);
}

static void write_node(const char *path, const char *value) { ask(XS_WRITE, 0, path, value, text_len(value), NULL); }
static void read_node(const char *path) { ask(XS_READ, 0, path, NULL, 0, NULL); }

static uint32_t txn_start(void)
{
	ask(XS_TRANSACTION_START, 0, "", NULL, 0, NULL);
	return number_of(body);
}

/* false: EAGAIN, which a move or a new xenstored may be the cause of. */
static bool txn_end(uint32_t tx)
{
	uint32_t id = send(XS_TRANSACTION_END, tx, "T", NULL, 0);

	do {
		message_take();
		if (got.type == XS_WATCH_EVENT)
			event_take();
	} while (got.type == XS_WATCH_EVENT);
	if (got.req_id != id || (got.type == XS_ERROR && !text_is(body, "EAGAIN")))
		fail("end of transaction %u: answer %u of type %u: %s", tx, got.req_id, got.type, body);
	return got.type == XS_TRANSACTION_END;
}

/* ---- what it does all day ---- */

static void echo(unsigned n)
{
	write_node("data/n", text_of(n));
	read_node("data/n");
	if (number_of(body) != n)
		fail("data/n is %s, not %u", body, n);
}

/* Several requests before the first reply is looked at. */
static void pipeline(void)
{
	uint32_t id[6];

	for (unsigned i = 0; i < 6; i++)
		id[i] = send(XS_READ, 0, i & 1 ? "data/n" : "domid", NULL, 0);
	for (unsigned i = 0; i < 6; i++)
		reply_take(id[i], XS_READ, NULL);
}

/* What a request executed twice would answer differently. */
static void once(void)
{
	unsigned before = extra_events;

	write_node("data/once", "1");
	ask(XS_RM, 0, "data/once", NULL, 0, NULL);
	ask(XS_READ, 0, "data/once", NULL, 0, "ENOENT");
	ask(XS_WATCH, 0, "data/once", "x", 2, NULL);
	while (extra_events == before) {
		message_take();
		if (got.type != XS_WATCH_EVENT)
			fail("a reply (%u of type %u) nobody asked for", got.req_id, got.type);
		event_take();
	}
	ask(XS_UNWATCH, 0, "data/once", "x", 2, NULL);
	if (extra_events != before + 1)
		fail("%u first events of one watch", extra_events - before);
}

static void large(void)
{
	ask(XS_WRITE, 0, "data/big", big, sizeof(big), NULL);
	read_node("data/big");
	if (got.len != sizeof(big))
		fail("data/big has %u octets", got.len);
	for (unsigned i = 0; i < sizeof(big); i++)
		if (body[i] != big[i])
			fail("data/big differs at %u", i);
}

static void transaction(unsigned n)
{
	uint32_t tx;
	bool done;

	do {
		tx = txn_start();
		ask(XS_WRITE, tx, "data/t", text_of(n), text_len(text_of(n)), NULL);
		done = txn_end(tx);
	} while (!done);
	read_node("data/t");
	if (number_of(body) != n)
		fail("data/t is %s after a transaction that wrote %u", body, n);
}

/* Event number k of data/wN says that it is k - 1: the first came with the watch. */
static void follow(unsigned i)
{
	char path[] = "data/w0";

	if (seen[i] == told[i] + 1)
		return;
	path[6] = (char)('0' + i);
	read_node(path);
	if (seen[i] != told[i] + 2 || number_of(body) != told[i] + 1)
		fail("data/w%u is %s after %u events; %u was the last", i, body, seen[i], told[i]);
	told[i]++;
	path[5] = 'a';
	write_node(path, text_of(told[i]));
}

/* drivers/xen/manage.c, shutdown_handler. */
static bool stop_asked(void)
{
	uint32_t tx;
	bool off;

	stopping = false;
	do {
		tx = txn_start();
		ask(XS_READ, tx, "control/shutdown", NULL, 0, NULL);
		off = text_is(body, "poweroff");
		if (!off) {
			ask(XS_TRANSACTION_END, tx, "F", NULL, 0, NULL);
			return false;
		}
		ask(XS_WRITE, tx, "control/shutdown", "", 0, NULL);
	} while (!txn_end(tx));
	return true;
}

void guest_main(void)
{
	struct vcpu_set_periodic_timer timer = { .period_ns = 1000000000 };

	ring = mfn_to_va(si->store_mfn);
	store_port = si->store_evtchn;
	event_hook = on_event;
	bind_virq(VIRQ_TIMER, 0);
	CHECK_EQ(vcpu_op(VCPUOP_set_periodic_timer, 0, &timer), 0);
	events_on();
	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (char)('a' + i % 23);
	for (unsigned i = 0; i < WATCHED; i++) {
		char path[] = "data/w0", token[] = "0";

		path[6] = token[0] = (char)('0' + i);
		write_node(path, "0");
		ask(XS_WATCH, 0, path, token, 2, NULL);
	}
	ask(XS_WATCH, 0, "control/shutdown", "s", 2, NULL);
	while (!stopping)
		echo(0);
	stopping = false;
	write_node("data/ready", "1");
	for (unsigned n = 1;; n++) {
		echo(n);
		for (unsigned i = 0; i < WATCHED; i++)
			follow(i);
		if (stopping && stop_asked())
			return;
		switch (rnd() % 8) {
		case 0: pipeline(); break;
		case 1: once(); break;
		case 2: large(); break;
		case 3: transaction(n); break;
		}
	}
}
