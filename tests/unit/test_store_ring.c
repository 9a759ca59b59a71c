/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store ring: whole messages, one unanswered, events once, and what a hostile guest does to it. */
#include "tests/unit/devices_guest.h"

#include <sys/socket.h>
#include <xen/io/xs_wire.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_whole_messages), cmocka_unit_test(store_one_unanswered),
		cmocka_unit_test(store_events_acked_once), cmocka_unit_test(store_hostile_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
