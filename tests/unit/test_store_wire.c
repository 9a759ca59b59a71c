/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store as its clients see it: octets in, octets out; the journal and a domain's move as what comes back of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dom0/xenstored/store_core.h"
#include "dom0/xenstored/store_journal.h"
#include "dom0/xenstored/store_state.h"

static struct store s;
static struct store_conn *root, *guest;
static struct store_domain *dom;
static char events[4096];

static void on_event(struct store_conn *c, const char *path, const char *token)
{
	size_t n = strlen(events);

	snprintf(events + n, sizeof(events) - n, "%s=%s;", path, token);
}

/* One request, body with its zero bytes; the reply's body as text with zero bytes as '|', an error as "!EINVAL|". */
static const char *ask_tx(struct store_conn *c, uint32_t type, uint32_t tx, const char *body, size_t len)
{
	static char text[XENSTORE_PAYLOAD_MAX + 2];
	struct buf msg = BUF_INIT(65536), reply = BUF_INIT(65536);
	struct xsd_sockmsg hdr;
	size_t i, n = 0;

	store_message(&msg, type, 77, tx, body, len);
	store_request(c, msg.data, msg.len, &reply);
	store_flush_events(&s);
	assert_true(store_header(reply.data, reply.len, &hdr));
	assert_int_equal(hdr.len, reply.len - sizeof(hdr));
	assert_int_equal(hdr.req_id, 77);
	assert_int_equal(hdr.tx_id, tx);
	if (hdr.type == XS_ERROR)
		text[n++] = '!';
	else
		assert_int_equal(hdr.type, type);
	for (i = sizeof(hdr); i < reply.len; i++)
		text[n++] = reply.data[i] ? (char)reply.data[i] : '|';
	text[n] = '\0';
	buf_free(&msg);
	buf_free(&reply);
	return text;
}

#define ask(c, type, body) ask_tx(c, type, 0, body, sizeof(body) - 1)

static int setup(void **state)
{
	assert_int_equal(store_init(&s), 0);
	root = store_conn_new(&s, STORE_CONN_SOCKET, 0);
	root->event = on_event;
	assert_int_equal(store_domain_introduce(&s, 5, &dom), 0);
	guest = dom->guest;
	assert_string_equal(ask(root, XS_MKDIR, "/local/domain/5\0"), "OK|");
	assert_string_equal(ask(root, XS_SET_PERMS, "/local/domain/5\0n0\0r5\0"), "OK|");
	assert_string_equal(ask(root, XS_MKDIR, "/local/domain/5/data\0"), "OK|");
	assert_string_equal(ask(root, XS_SET_PERMS, "/local/domain/5/data\0n5\0"), "OK|");
	events[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	store_done(&s);
	return 0;
}

static void reading_and_writing(void **state)
{
	assert_string_equal(ask(root, XS_WRITE, "/a/b\0value"), "OK|");
	assert_string_equal(ask(root, XS_READ, "/a/b\0"), "value");
	assert_string_equal(ask(root, XS_READ, "/a/c\0"), "!ENOENT|");
	assert_string_equal(ask(root, XS_WRITE, "/a/c\0"), "OK|");
	assert_string_equal(ask(root, XS_DIRECTORY, "/a\0"), "b|c|");
	assert_string_equal(ask(root, XS_GET_PERMS, "/local/domain/5\0"), "n0|r5|");
	assert_string_equal(ask(root, XS_RM, "/a\0"), "OK|");
	assert_string_equal(ask(root, XS_DIRECTORY, "/a\0"), "!ENOENT|");
	assert_string_equal(ask(guest, XS_WRITE, "data/x\0""1"), "OK|");
	assert_string_equal(ask(guest, XS_READ, "/local/domain/5/data/x\0"), "1");
	assert_string_equal(ask(guest, XS_GET_PERMS, "data/x\0"), "n5|");
	assert_string_equal(ask(guest, XS_WRITE, "x\0""1"), "!EACCES|");
	assert_string_equal(ask(guest, XS_READ, "/tool/xenstored\0"), "!EACCES|");
	assert_string_equal(ask(guest, XS_GET_DOMAIN_PATH, "9\0"), "/local/domain/9|");
	assert_string_equal(ask(root, XS_IS_DOMAIN_INTRODUCED, "5\0"), "T|");
	assert_string_equal(ask(root, XS_IS_DOMAIN_INTRODUCED, "6\0"), "F|");
	assert_string_equal(ask(root, XS_CONTROL, "check\0"), "OK|");
}

static void malformed_requests(void **state)
{
	struct buf reply = BUF_INIT(65536);
	static char big[XENSTORE_PAYLOAD_MAX + 1];
	uint32_t type;
	uint8_t hdr[16] = { 0 };

	for (type = 0; type < 40; type++) {
		(void)ask_tx(guest, type, 0, "", 0);
		(void)ask_tx(guest, type, 0, "no end", 6);
		(void)ask_tx(guest, type, 0, "\0\0\0\0", 4);
		(void)ask_tx(guest, type, 99, "x\0", 2);
		(void)ask_tx(root, type, 0, big, XENSTORE_PAYLOAD_MAX);
	}
	assert_string_equal(ask(guest, XS_READ, "no end"), "!EINVAL|");
	assert_string_equal(ask(guest, XS_READ, "a\0b\0"), "!EINVAL|");
	assert_string_equal(ask(guest, XS_READ, "../6/x\0"), "!EINVAL|");
	assert_string_equal(ask(guest, 20, ""), "!ENOSYS|");
	assert_string_equal(ask(guest, XS_INTRODUCE, "5\0""1\0""1\0"), "!EACCES|");
	assert_string_equal(ask(guest, XS_RELEASE, "5\0"), "!EACCES|");
	assert_string_equal(ask(root, XS_RELEASE, "0\0"), "!EINVAL|");
	assert_string_equal(ask(root, XS_RELEASE, "99999999999\0"), "!EINVAL|");
	assert_string_equal(ask(root, XS_SET_PERMS, "/tool\0x0\0"), "!EINVAL|");
	assert_string_equal(ask(root, XS_SET_PERMS, "/tool\0"), "!EINVAL|");
	assert_string_equal(ask(root, XS_SET_PERMS, "/tool\0n0\0r-1\0"), "!EINVAL|");
	store_request(guest, hdr, 3, &reply);
	hdr[12] = 200;
	store_request(guest, hdr, sizeof(hdr), &reply);
	assert_true(buf_ok(&reply));
	buf_free(&reply);
}

static void read_only_socket(void **state)
{
	struct store_conn *ro = store_conn_new(&s, STORE_CONN_SOCKET_RO, 0);

	ro->event = on_event;
	assert_string_equal(ask(ro, XS_READ, "/tool/xenstored\0"), "haven");
	assert_string_equal(ask(ro, XS_WRITE, "/x\0""1"), "!EROFS|");
	assert_string_equal(ask(ro, XS_RM, "/tool\0"), "!EROFS|");
	store_conn_free(ro);
}

static void backend_channel(void **state)
{
	struct store_conn *be = store_conn_new(&s, STORE_CONN_BACKEND, 5);

	be->event = on_event;
	ask(root, XS_WRITE, "/local/domain/0/backend/vbd/5/51712/state\0""1");
	ask(root, XS_WRITE, "/local/domain/0/backend/vbd/55/51712/state\0""1");
	assert_string_equal(ask(be, XS_WRITE, "/local/domain/0/backend/vbd/5/51712/state\0""4"), "OK|");
	assert_string_equal(ask(be, XS_READ, "/local/domain/5/data\0"), "");
	assert_string_equal(ask(be, XS_WRITE, "/local/domain/5/data/x\0""1"), "!EACCES|");
	assert_string_equal(ask(be, XS_READ, "/local/domain/0/backend/vbd/55/51712/state\0"), "!EACCES|");
	assert_string_equal(ask(be, XS_READ, "/tool/xenstored\0"), "!EACCES|");
	assert_string_equal(ask(be, XS_WATCH, "/local\0t\0"), "!EACCES|");
	assert_string_equal(ask(be, XS_WATCH, "/local/domain/5/data\0t\0"), "OK|");
	assert_string_equal(events, "/local/domain/5/data=t;");
	assert_string_equal(ask(be, XS_RELEASE, "5\0"), "!EACCES|");
	store_conn_free(be);
}

static void directory_in_parts(void **state)
{
	char body[64], name[64];
	const char *text;
	size_t i, got = 0, offset = 0, n;
	int parts = 0;

	for (i = 0; i < 600; i++) {
		n = (size_t)snprintf(body, sizeof(body), "/big/child-number-%03zu", i);
		assert_string_equal(ask_tx(root, XS_WRITE, 0, body, n + 1), "OK|");
	}
	assert_string_equal(ask(root, XS_DIRECTORY, "/big\0"), "!E2BIG|");
	for (;;) {
		n = (size_t)snprintf(body, sizeof(body), "/big%c%zu", 0, offset);
		text = ask_tx(root, XS_DIRECTORY_PART, 0, body, n + 1);
		assert_int_not_equal(text[0], '!');
		parts++;
		text = strchr(text, '|') + 1;	/* past the generation */
		while (*text && *text != '|') {
			snprintf(name, sizeof(name), "child-number-%03zu|", got++);
			assert_int_equal(strncmp(text, name, strlen(name)), 0);
			text += strlen(name);
			offset += strlen(name);
		}
		if (*text == '|')
			break;
	}
	assert_int_equal(got, 600);
	assert_true(parts > 1);
	assert_string_equal(ask(root, XS_DIRECTORY_PART, "/big\0""3\0"), "!EINVAL|");
	assert_string_equal(ask(root, XS_DIRECTORY_PART, "/big\0""999999\0"), "!EINVAL|");
}

static void watches_fire(void **state)
{
	assert_string_equal(ask(root, XS_WATCH, "/local/domain/5\0tok\0"), "OK|");
	assert_string_equal(events, "/local/domain/5=tok;");
	assert_string_equal(ask(root, XS_WATCH, "/local/domain/5\0tok\0"), "!EEXIST|");
	events[0] = '\0';
	ask(guest, XS_WRITE, "data/x\0""1");
	assert_string_equal(events, "/local/domain/5/data/x=tok;");
	assert_string_equal(ask(guest, XS_WATCH, "data\0g\0"), "OK|");
	assert_string_equal(dom->events->path, "data");
	ask(root, XS_WRITE, "/local/domain/5/data/y\0""1");
	assert_int_equal(dom->n_events, 2);
	assert_string_equal(dom->events->next->path, "data/y");
	/* the same again while the first waits: said once */
	ask(root, XS_WRITE, "/local/domain/5/data/y\0""2");
	assert_int_equal(dom->n_events, 2);
	events[0] = '\0';
	assert_string_equal(ask(root, XS_UNWATCH, "/local/domain/5\0tok\0"), "OK|");
	assert_string_equal(ask(root, XS_UNWATCH, "/local/domain/5\0tok\0"), "!ENOENT|");
	ask(guest, XS_WRITE, "data/x\0""2");
	assert_string_equal(events, "");
	ask(root, XS_WATCH, "@releaseDomain\0rel\0");
	ask(root, XS_WATCH, "@introduceDomain\0int\0");
	ask(guest, XS_WATCH, "@releaseDomain\0rel\0");
	events[0] = '\0';
	assert_int_equal(store_domain_introduce(&s, 6, &dom), 0);
	store_flush_events(&s);
	assert_string_equal(events, "@introduceDomain=int;");
	assert_string_equal(ask(root, XS_RELEASE, "6\0"), "OK|");
	assert_string_equal(events, "@introduceDomain=int;@releaseDomain=rel;");
}

static void watch_quota_and_reset(void **state)
{
	char body[32];
	int i;
	size_t n;

	for (i = 0; i < STORE_GUEST_WATCHES_MAX; i++) {
		n = (size_t)snprintf(body, sizeof(body), "data/%d%ct", i, 0);
		assert_string_equal(ask_tx(guest, XS_WATCH, 0, body, n + 1), "OK|");
	}
	assert_string_equal(ask(guest, XS_WATCH, "data/more\0t\0"), "!E2BIG|");
	assert_string_equal(ask(guest, XS_RESET_WATCHES, "\0"), "OK|");
	assert_int_equal(dom->n_events, 0);
	assert_string_equal(ask(guest, XS_WATCH, "data/more\0t\0"), "OK|");
}

static void transactions(void **state)
{
	uint32_t id;
	int i;

	id = (uint32_t)atoi(ask(guest, XS_TRANSACTION_START, "\0"));
	assert_int_not_equal(id, 0);
	assert_string_equal(ask_tx(guest, XS_WRITE, id, "data/x\0""1", 8), "OK|");
	assert_string_equal(ask(guest, XS_READ, "data/x\0"), "!ENOENT|");
	assert_string_equal(ask_tx(guest, XS_TRANSACTION_START, id, "", 1), "!EBUSY|");
	assert_string_equal(ask_tx(guest, XS_TRANSACTION_END, id, "X", 2), "!EINVAL|");
	assert_string_equal(ask_tx(guest, XS_TRANSACTION_END, id, "T", 2), "OK|");
	assert_string_equal(ask(guest, XS_READ, "data/x\0"), "1");
	assert_string_equal(ask_tx(guest, XS_TRANSACTION_END, id, "T", 2), "!ENOENT|");
	assert_string_equal(ask(guest, XS_TRANSACTION_END, "T\0"), "!ENOENT|");
	for (i = 0; i < STORE_GUEST_TXNS_MAX; i++)
		id = (uint32_t)atoi(ask(guest, XS_TRANSACTION_START, "\0"));
	assert_string_equal(ask(guest, XS_TRANSACTION_START, "\0"), "!ENOSPC|");
	ask_tx(guest, XS_READ, id, "data/x", 7);
	ask(root, XS_WRITE, "/local/domain/5/data/x\0""other");
	assert_string_equal(ask_tx(guest, XS_TRANSACTION_END, id, "T", 2), "!EAGAIN|");
}

/* ---- the journal ---- */

static char journal_path[64];
static struct journal journal;

/* What another process would find: everything of this one is dropped, the file read again. */
static void come_back(void)
{
	struct err err = { 0 };

	journal_close(&journal);
	store_done(&s);
	assert_int_equal(store_init(&s), 0);
	assert_int_equal(journal_open(&journal, journal_path, &s, &err), 0);
	root = store_conn_new(&s, STORE_CONN_SOCKET, 0);
	root->event = on_event;
	dom = store_domain_find(&s, 5);
	guest = dom ? dom->guest : NULL;
}

static int journal_setup(void **state)
{
	struct err err = { 0 };

	setup(state);
	snprintf(journal_path, sizeof(journal_path), "/tmp/test-store-journal-%d", (int)getpid());
	unlink(journal_path);
	assert_int_equal(journal_open(&journal, journal_path, &s, &err), 0);
	return 0;
}

static int journal_teardown(void **state)
{
	journal_close(&journal);
	unlink(journal_path);
	return teardown(state);
}

static void guest_asks(uint64_t seq, uint32_t type, const char *body, size_t len)
{
	struct buf msg = BUF_INIT(65536), reply = BUF_INIT(65536);

	store_message(&msg, type, 1, 0, body, len);
	store_request(guest, msg.data, msg.len, &reply);
	assert_int_equal(store_domain_reply_set(dom, seq, reply.data, reply.len), 0);
	state_log_reply(&s, dom);
	store_flush_events(&s);
	buf_free(&msg);
	buf_free(&reply);
}

static void journal_brings_all_back(void **state)
{
	uint8_t reply[64];
	size_t reply_len;
	uint32_t id;

	ask(root, XS_WRITE, "/gone\0""1");
	ask(root, XS_WRITE, "/a/b\0kept");
	ask(root, XS_RM, "/gone\0");
	guest_asks(1, XS_WATCH, "data\0tok\0", 9);
	guest_asks(2, XS_WRITE, "data/x\0""1", 8);
	id = (uint32_t)atoi(ask(guest, XS_TRANSACTION_START, "\0"));
	assert_int_equal(dom->n_events, 2);
	store_domain_event_ack(dom, 1);
	state_log_ack(&s, 5, 1);
	assert_int_equal(journal_commit(&journal, &s), 0);
	reply_len = dom->last_reply_len;
	memcpy(reply, dom->last_reply, reply_len);
	come_back();
	assert_non_null(dom);
	assert_string_equal(ask(root, XS_READ, "/a/b\0"), "kept");
	assert_string_equal(ask(root, XS_READ, "/gone\0"), "!ENOENT|");
	assert_string_equal(ask(root, XS_GET_PERMS, "/local/domain/5\0"), "n0|r5|");
	assert_int_equal(dom->last_seq, 2);
	assert_int_equal(dom->last_reply_len, reply_len);
	assert_memory_equal(dom->last_reply, reply, reply_len);
	assert_int_equal(dom->n_events, 1);
	assert_int_equal(dom->events->seq, 2);
	assert_string_equal(dom->events->path, "data/x");
	assert_int_equal(dom->event_seq, 2);
	/* the watch is there, and the transaction that was open cannot commit */
	ask(root, XS_WRITE, "/local/domain/5/data/y\0""1");
	assert_int_equal(dom->n_events, 2);
	assert_int_equal(dom->event_seq, 3);
	assert_string_equal(ask_tx(guest, XS_READ, id, "data/x", 7), "1");
	assert_string_equal(ask_tx(guest, XS_WRITE, id, "data/x\0""9", 8), "OK|");
	assert_string_equal(ask_tx(guest, XS_TRANSACTION_END, id, "T", 2), "!EAGAIN|");
	assert_string_equal(ask(guest, XS_READ, "data/x\0"), "1");
	/* the guest may have had data/x before the journal was read, and then drops it as it comes again: a change since is news */
	ask(root, XS_WRITE, "/local/domain/5/data/x\0""2");
	assert_int_equal(dom->n_events, 3);
	assert_int_equal(dom->event_seq, 4);
	/* of that one nobody has heard: another says nothing that it does not */
	ask(root, XS_WRITE, "/local/domain/5/data/x\0""1");
	assert_int_equal(dom->n_events, 3);
	/* counters of a domain with no event under way survive, and so does its end */
	store_domain_event_ack(dom, 4);
	state_log_ack(&s, 5, 4);
	assert_int_equal(journal_commit(&journal, &s), 0);
	come_back();
	come_back();
	assert_int_equal(dom->event_seq, 4);
	assert_int_equal(store_domain_release(&s, 5), 0);
	assert_int_equal(journal_commit(&journal, &s), 0);
	come_back();
	assert_null(dom);
	assert_string_equal(ask(root, XS_CONTROL, "check\0"), "OK|");
}

/* Cut anywhere, the file gives a state that was: the last request is there whole, or not at all. */
static void journal_cut_anywhere(void **state)
{
	size_t before, size, cut;
	const char *text;
	FILE *f;
	char *data;

	assert_int_equal(journal_commit(&journal, &s), 0);
	before = journal.size;
	ask(root, XS_WRITE, "/cut/me\0""1");
	assert_int_equal(journal_commit(&journal, &s), 0);
	size = journal.size;
	assert_true(size > before);
	data = malloc(size);
	f = fopen(journal_path, "r");
	assert_int_equal(fread(data, 1, size, f), size);
	fclose(f);
	for (cut = before; cut <= size; cut++) {
		f = fopen(journal_path, "w");
		assert_int_equal(fwrite(data, 1, cut, f), cut);
		fclose(f);
		come_back();
		text = ask(root, XS_READ, "/cut/me\0");
		assert_string_equal(text, cut == size ? "1" : "!ENOENT|");
		assert_non_null(dom);
	}
	/* an octet that flipped counts like a cut */
	for (cut = before; cut < size; cut++) {
		f = fopen(journal_path, "w");
		data[cut] ^= 0x10;
		assert_int_equal(fwrite(data, 1, size, f), size);
		data[cut] ^= 0x10;
		fclose(f);
		come_back();
		assert_string_equal(ask(root, XS_READ, "/cut/me\0"), "!ENOENT|");
	}
	free(data);
}

static void journal_stays_small(void **state)
{
	int i;

	for (i = 0; i < 60000; i++) {
		ask(root, XS_WRITE, "/counter\0some value that is a little longer");
		assert_int_equal(journal_commit(&journal, &s), 0);
	}
	assert_true(journal.size < 3 * JOURNAL_COMPACT_MIN);
	come_back();
	assert_string_equal(ask(root, XS_READ, "/counter\0"), "some value that is a little longer");
}

/* ---- a domain that moves ---- */

static void move_between(struct buf *b)
{
	ask(root, XS_WRITE, "/vm/0b369cb7-88df-425c-91b0-429b9139c355/name\0d");
	ask(root, XS_WRITE, "/local/domain/5/vm\0/vm/0b369cb7-88df-425c-91b0-429b9139c355");
	ask(root, XS_WRITE, "/local/domain/0/backend/vbd/5/51712/state\0""4");
	ask(root, XS_WRITE, "/other\0""1");
	guest_asks(1, XS_WATCH, "data\0tok\0", 9);
	guest_asks(2, XS_WRITE, "data/x\0""1", 8);
	assert_int_equal(state_export(&s, 5, b), 0);
}

static void export_and_import(void **state)
{
	struct buf b = BUF_INIT(STATE_EXPORT_MAX);

	move_between(&b);
	assert_int_equal(state_import(&s, 5, b.data, b.len), -EEXIST);
	store_done(&s);
	setup(state);
	assert_int_equal(store_domain_release(&s, 5), 0);
	ask(root, XS_RM, "/local/domain/5\0");
	assert_true(state_import(&s, 6, b.data, b.len) < 0);
	assert_string_equal(ask(root, XS_READ, "/local/domain/5/vm\0"), "!ENOENT|");
	ask(root, XS_WATCH, "@introduceDomain\0int\0");
	events[0] = '\0';
	assert_int_equal(state_import(&s, 5, b.data, b.len), 0);
	store_flush_events(&s);
	assert_string_equal(events, "@introduceDomain=int;");
	dom = store_domain_find(&s, 5);
	guest = dom->guest;
	assert_string_equal(ask(root, XS_READ, "/vm/0b369cb7-88df-425c-91b0-429b9139c355/name\0"), "d");
	assert_string_equal(ask(root, XS_READ, "/local/domain/0/backend/vbd/5/51712/state\0"), "4");
	assert_string_equal(ask(root, XS_READ, "/other\0"), "!ENOENT|");
	assert_string_equal(ask(guest, XS_READ, "data/x\0"), "1");
	assert_string_equal(ask(root, XS_GET_PERMS, "/local/domain/5\0"), "n0|r5|");
	assert_int_equal(dom->last_seq, 2);
	assert_int_equal(dom->n_events, 2);
	ask(guest, XS_WRITE, "data/z\0""1");
	assert_int_equal(dom->event_seq, 3);
	buf_free(&b);
}

/* Damaged records are refused before anything is touched, or make something valid; never more than the domain's own. */
static void import_of_damage(void **state)
{
	struct buf b = BUF_INIT(STATE_EXPORT_MAX);
	size_t i;

	move_between(&b);
	assert_int_equal(store_domain_release(&s, 5), 0);
	dom = NULL;
	for (i = 0; i < b.len; i++) {
		assert_true(state_import(&s, 5, b.data, i) < 0 || store_domain_find(&s, 5));
		(void)store_domain_release(&s, 5);
		b.data[i] ^= 0xff;
		(void)state_import(&s, 5, b.data, b.len);
		b.data[i] ^= 0xff;
		(void)store_domain_release(&s, 5);
	}
	assert_string_equal(ask(root, XS_READ, "/tool/xenstored\0"), "haven");
	assert_string_equal(ask(root, XS_CONTROL, "check\0"), "OK|");
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define JOURNAL(f) cmocka_unit_test_setup_teardown(f, journal_setup, journal_teardown)
		TEST(reading_and_writing), TEST(malformed_requests), TEST(read_only_socket), TEST(backend_channel),
		TEST(directory_in_parts), TEST(watches_fire), TEST(watch_quota_and_reset), TEST(transactions),
		JOURNAL(journal_brings_all_back), JOURNAL(journal_cut_anywhere), JOURNAL(journal_stays_small),
		TEST(export_and_import), TEST(import_of_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
