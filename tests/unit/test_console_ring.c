/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The console ring: both ways, without its daemon, over a move and over a new channel. */
#include "tests/unit/devices_guest.h"

#include <errno.h>
#include <sys/socket.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(console_both_ways), cmocka_unit_test(console_never_waits_without_daemon),
		cmocka_unit_test(console_io_travels), cmocka_unit_test(console_keeps_keys_of_the_old_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
