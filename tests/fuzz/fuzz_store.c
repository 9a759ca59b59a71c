/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's requests are hostile: input is a row of them, each one octet of type, one of transaction, one of body length.
 * Whatever they say, the store stays consistent, other domains' nodes stay as they are, and the journal's records replay.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "dom0/xenstored/store_core.h"
#include "dom0/xenstored/store_state.h"

#define SEED(text) { text, sizeof(text) - 1 }

const struct fuzz_seed fuzz_seeds[] = {
	SEED("\x0b\x00\x08" "data/x\0" "1" "\x02\x00\x07" "data/x\0" "\x04\x00\x07" "data\0t\0" "\x06\x00\x01\0" "\x0b\x01\x08" "data/y\0" "2"
	     "\x07\x01\x02T\0" "\x0d\x00\x07" "data/x\0" "\x05\x00\x07" "data\0t\0"),
	SEED("\x0e\x00\x0d" "data/x\0n5\0r6\0" "\x03\x00\x07" "data/x\0" "\x01\x00\x05" "data\0" "\x16\x00\x07" "data\0" "0\0" "\x15\x00\x01\0"
	     "\x0a\x00\x02" "5\0" "\x11\x00\x02" "5\0" "\x0c\x00\x10" "data/q/w/e/r/t\0\0"),
	{ NULL, 0 },
};

static void request(struct store_conn *c, uint32_t type, uint32_t tx, const uint8_t *body, size_t len)
{
	struct buf msg = BUF_INIT(65536), reply = BUF_INIT(65536);

	store_message(&msg, type, 1, tx, body, len);
	store_request(c, msg.data, msg.len, &reply);
	store_flush_events(c->store);
	buf_free(&msg);
	buf_free(&reply);
}

static int count(void *arg, const char *path, const struct tree_node *node)
{
	uint32_t *n = arg;

	(*n)++;
	return 0;
}

static uint32_t nodes(const struct store *s)
{
	uint32_t n = 0;

	(void)tree_walk(&s->tree, "/", count, &n);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t mkdir[] = "/local/domain/5/data", perms[] = "/local/domain/5/data\0n5", other[] = "/local/domain/6/x\0kept";
	struct store s, replayed;
	struct store_domain *d;
	struct store_conn *root;
	const struct tree_node *kept;
	struct reader r;
	int bad;

	if (store_init(&s) || store_domain_introduce(&s, 5, &d))
		return 0;
	root = store_conn_new(&s, STORE_CONN_SOCKET, 0);
	request(root, XS_MKDIR, 0, mkdir, sizeof(mkdir));
	request(root, XS_SET_PERMS, 0, perms, sizeof(perms));
	request(root, XS_WRITE, 0, other, sizeof(other) - 1);
	reader_init(&r, data, size);
	while (reader_ok(&r) && r.left) {
		uint8_t type = reader_u8(&r), tx = reader_u8(&r), len = reader_u8(&r);
		const uint8_t *body = reader_view(&r, len);

		if (body)
			request(d->guest, type, tx, body, len);
	}
	kept = tree_find(&s.tree, "/local/domain/6/x");
	bad = !kept || kept->value_len != 4 || tree_count_of(&s.tree, 5) > TREE_GUEST_NODES_MAX;
	if (!bad && store_init(&replayed) == 0) {
		replayed.replaying = true;
		bad = state_replay(&replayed, s.journal.data, s.journal.len) || nodes(&s) != nodes(&replayed);
		store_done(&replayed);
	}
	store_done(&s);
	return bad;
}
