/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: a guest against xenstored, the kind named by the command line.  0: nodes, watches and transactions until each is refused, and
 * on for a while.  1: requests whose answers nobody takes.  2: watch events that set off more of them, not taken either.  3: headers
 * with absurd lengths and types.  tests/hypervisor/test-hostile runs it; the store refuses, forgets or hangs up on it, and others have theirs.
 */
#include "micro_guest.h"
#include <xen/io/xs_wire.h>

const char guest_name[] = "hostile_store";

#define FOR_NS 700000000UL              /* how long the kinds without an end go on */

static struct xenstore_domain_interface *ring;
static uint64_t end_ns;
static uint32_t next_id;

static bool time_is_up(void) { return system_time(0) > end_ns; }

/* false: no room for it until the end. */
static bool ring_write(const void *data, uint32_t n)
{
	const uint8_t *p = data;

	for (uint32_t i = 0; i < n; i++) {
		while (ring->req_prod - __atomic_load_n(&ring->req_cons, __ATOMIC_SEQ_CST) >= XENSTORE_RING_SIZE) {
			if (time_is_up())
				return false;
			event_send(si->store_evtchn);
			sched_op(SCHEDOP_yield, NULL);
		}
		ring->req[MASK_XENSTORE_IDX(ring->req_prod)] = (char)p[i];
		__atomic_store_n(&ring->req_prod, ring->req_prod + 1, __ATOMIC_RELEASE);
	}
	event_send(si->store_evtchn);
	return true;
}

static bool ask(uint32_t type, uint32_t tx, const char *text, uint32_t len)
{
	struct xsd_sockmsg h = { .type = type, .req_id = ++next_id, .tx_id = tx, .len = len };

	return ring_write(&h, sizeof(h)) && ring_write(text, len);
}

static bool ring_read(void *data, uint32_t n)
{
	uint8_t *p = data;

	for (uint32_t i = 0; i < n; i++) {
		while (__atomic_load_n(&ring->rsp_prod, __ATOMIC_SEQ_CST) == ring->rsp_cons) {
			if (time_is_up())
				return false;
			sched_op(SCHEDOP_yield, NULL);
		}
		if (p)
			p[i] = (uint8_t)ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons)];
		__atomic_store_n(&ring->rsp_cons, ring->rsp_cons + 1, __ATOMIC_RELEASE);
	}
	event_send(si->store_evtchn);
	return true;
}

/* The type of the answer to the last request, its text gone; events on the way are dropped. */
static uint32_t answer(void)
{
	struct xsd_sockmsg h;

	do {
		if (!ring_read(&h, sizeof(h)) || h.len > XENSTORE_PAYLOAD_MAX || !ring_read(NULL, h.len))
			fail("no answer to request %u", next_id);
	} while (h.type == XS_WATCH_EVENT);
	return h.type;
}

/* "data/" and n in ten letters. */
static char *node(unsigned n)
{
	static char path[2048] = "data/";

	for (unsigned i = 0; i < 10; i++, n /= 26)
		path[5 + i] = (char)('a' + n % 26);
	path[15] = 0;
	return path;
}

static void until_refused(void)
{
	unsigned nodes = 0, watches = 0, transactions = 0;

	for (unsigned n = 0; n < 3000; n++)
		nodes += ask(XS_WRITE, 0, node(n), 1900) && answer() == XS_WRITE;
	for (unsigned n = 0; n < 1000; n++) {
		char *p = node(n);

		p[16] = 't';
		p[17] = 0;
		watches += ask(XS_WATCH, 0, p, 18) && answer() == XS_WATCH;
	}
	for (unsigned n = 0; n < 100; n++)
		transactions += ask(XS_TRANSACTION_START, 0, "", 1) && answer() == XS_TRANSACTION_START;
	put("%u nodes, %u watches, %u transactions\n", nodes, watches, transactions);
	if (!nodes || nodes >= 3000 || !watches || watches >= 1000 || !transactions || transactions >= 100)
		fail("it was not held to its share");
}

static void answers_left(void)
{
	while (!time_is_up() && ask(XS_DIRECTORY, 0, "/local/domain", 14))
		;
}

static void events_left(void)
{
	static const char watch[] = "data\0t";

	ask(XS_WATCH, 0, watch, sizeof(watch));
	for (unsigned n = 0; !time_is_up() && ask(XS_WRITE, 0, node(n % 8), 40); n++)
		;
}

static void headers_absurd(void)
{
	while (!time_is_up()) {
		struct xsd_sockmsg h = { .type = (uint32_t)rnd(), .req_id = (uint32_t)rnd(), .tx_id = (uint32_t)rnd(), .len = (uint32_t)rnd() };

		if (rnd() & 1) {
			h.type %= 24;
			h.len %= 64;
		}
		if (!ring_write(&h, sizeof(h)))
			break;
		if (rnd() % 64 == 0)
			__atomic_store_n(&ring->req_prod, (uint32_t)rnd(), __ATOMIC_RELEASE);
	}
}

void guest_main(void)
{
	static void (*const kinds[])(void) = { until_refused, answers_left, events_left, headers_absurd };
	unsigned kind = (unsigned)(si->cmd_line[0] - '0') % 4;

	ring = mfn_to_va(si->store_mfn);
	end_ns = system_time(0) + (kind ? FOR_NS : 20 * 1000000000UL);
	kinds[kind]();
}
