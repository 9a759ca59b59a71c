/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store's pure parts: tree with rights and quotas, transactions and what makes them conflict, watches and who hears. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dom0/xenstored/txn.h"
#include "dom0/xenstored/watch.h"

static const struct tree_caller dom0 = { 0, TREE_NO_TARGET, true };
static const struct tree_caller dom5 = { 5, TREE_NO_TARGET, false }, dom6 = { 6, TREE_NO_TARGET, false };
static struct tree t;
static char seen[4096];

static void on_change(void *arg, const struct tree_change *c)
{
	static const char *const names[] = { "implied", "set", "removed", "below" };
	size_t n = strlen(seen);

	snprintf(seen + n, sizeof(seen) - n, "%s %s;", names[c->event], c->path);
}

static void give(const char *path, uint32_t owner, uint8_t others)
{
	struct tree_perm p = { owner, others };

	assert_int_equal(tree_write(&t, &dom0, path, "", 0), 0);
	assert_int_equal(tree_set_perms(&t, &dom0, path, &p, 1), 0);
}

static int setup(void **state)
{
	assert_int_equal(tree_init(&t), 0);
	give("/local/domain/5", 5, 0);
	give("/local/domain/6", 6, 0);
	t.changed = on_change;
	seen[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	tree_done(&t);
	return 0;
}

static const char *value(const struct tree *tree, const char *path)
{
	static char out[64];
	const struct tree_node *n = tree_find(tree, path);

	if (!n)
		return "(none)";
	snprintf(out, sizeof(out), "%.*s", (int)n->value_len, (const char *)n->value);
	return out;
}

static int put(const struct tree_caller *who, const char *path, const char *text)
{
	return tree_write(&t, who, path, text, strlen(text));
}

/* ---- tree ---- */

static void paths(void **state)
{
	static const char *const bad[] = { "", "a", "/a/", "//", "/a//b", "/a b", "/a:", "/\xff" };
	char longest[TREE_PATH_MAX + 2];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(tree_path_valid(bad[i]));
	assert_true(tree_path_valid("/"));
	assert_true(tree_path_valid("/@x/A-z_0"));
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[TREE_PATH_MAX + 1] = '\0';
	assert_false(tree_path_valid(longest));
	longest[TREE_PATH_MAX] = '\0';
	assert_true(tree_path_valid(longest));
}

static void writing_makes_parents(void **state)
{
	assert_int_equal(put(&dom0, "/a/b/c", "1"), 0);
	assert_string_equal(seen, "implied /a;implied /a/b;set /a/b/c;");
	assert_string_equal(value(&t, "/a/b/c"), "1");
	assert_string_equal(value(&t, "/a"), "");
	assert_int_equal(put(&dom0, "/a/b/c", "22"), 0);
	assert_string_equal(value(&t, "/a/b/c"), "22");
	assert_int_equal(tree_mkdir(&t, &dom0, "/a/b/c"), 0);
	assert_string_equal(value(&t, "/a/b/c"), "22");
}

static void removing_tells_of_all_below(void **state)
{
	put(&dom0, "/a/b/c", "1");
	put(&dom0, "/a/d", "1");
	seen[0] = '\0';
	assert_int_equal(tree_rm(&t, &dom0, "/a"), 0);
	assert_string_equal(seen, "removed /a;below /a/b;below /a/b/c;below /a/d;");
	assert_string_equal(value(&t, "/a/b"), "(none)");
	assert_int_equal(tree_rm(&t, &dom0, "/a"), 0);
	assert_int_equal(tree_rm(&t, &dom0, "/x/y"), -ENOENT);
	assert_int_equal(tree_rm(&t, &dom0, "/"), -EINVAL);
}

static void guests_stay_in_their_place(void **state)
{
	const struct tree_node *n;
	struct tree_perm p[2] = { { 5, 0 }, { 6, TREE_PERM_READ } };

	assert_int_equal(put(&dom5, "/local/domain/5/x", "1"), 0);
	assert_int_equal(put(&dom5, "/local/domain/6/x", "1"), -EACCES);
	assert_int_equal(put(&dom5, "/x", "1"), -EACCES);
	assert_int_equal(tree_rm(&t, &dom5, "/local/domain/6"), -EACCES);
	assert_int_equal(tree_check(&t, &dom6, "/local/domain/5/x", TREE_PERM_READ, &n), -EACCES);
	/* what is not there is not told apart from what may not be seen */
	assert_int_equal(tree_check(&t, &dom6, "/local/domain/5/nope", TREE_PERM_READ, &n), -EACCES);
	assert_int_equal(tree_check(&t, &dom5, "/local/domain/5/nope", TREE_PERM_READ, &n), -ENOENT);
	assert_int_equal(tree_set_perms(&t, &dom5, "/local/domain/5/x", p, 2), 0);
	assert_int_equal(tree_check(&t, &dom6, "/local/domain/5/x", TREE_PERM_READ, &n), 0);
	assert_int_equal(put(&dom6, "/local/domain/5/x", "2"), -EACCES);
	p[0].domid = 6;
	assert_int_equal(tree_set_perms(&t, &dom5, "/local/domain/5/x", p, 1), -EPERM);
	assert_int_equal(tree_set_perms(&t, &dom6, "/local/domain/5/x", p, 1), -EACCES);
}

static void quotas(void **state)
{
	static char big[TREE_VALUE_MAX + 1];
	struct tree_perm many[TREE_GUEST_PERMS_MAX + 1] = { { 5, 0 } };
	char path[64];
	int i, rc = 0;

	for (i = 0; rc == 0; i++) {
		snprintf(path, sizeof(path), "/local/domain/5/n/%d", i);
		rc = put(&dom5, path, "");
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(tree_count_of(&t, 5), TREE_GUEST_NODES_MAX);
	assert_int_equal(put(&dom6, "/local/domain/6/still", ""), 0);
	assert_int_equal(tree_rm(&t, &dom5, "/local/domain/5/n"), 0);
	assert_int_equal(tree_count_of(&t, 5), 1);
	assert_int_equal(tree_write(&t, &dom5, "/local/domain/5/v", big, TREE_GUEST_VALUE_MAX + 1), -ENOSPC);
	assert_int_equal(tree_write(&t, &dom0, "/v", big, TREE_VALUE_MAX + 1), -ENOSPC);
	assert_int_equal(put(&dom5, "/local/domain/5/v", ""), 0);
	assert_int_equal(tree_set_perms(&t, &dom5, "/local/domain/5/v", many, TREE_GUEST_PERMS_MAX + 1), -ENOSPC);
	assert_int_equal(tree_set_perms(&t, &dom5, "/local/domain/5/v", many, 0), -EINVAL);
}

static void snapshots_stand_still(void **state)
{
	struct tree snap;

	put(&dom0, "/a/b", "old");
	put(&dom0, "/a/c", "old");
	assert_int_equal(tree_snapshot(&t, &snap), 0);
	put(&dom0, "/a/b", "new");
	tree_rm(&t, &dom0, "/a/c");
	put(&dom0, "/a/d", "new");
	assert_string_equal(value(&snap, "/a/b"), "old");
	assert_string_equal(value(&snap, "/a/c"), "old");
	assert_string_equal(value(&snap, "/a/d"), "(none)");
	assert_int_equal(tree_write(&snap, &dom0, "/a/b", "mine", 4), 0);
	assert_string_equal(value(&t, "/a/b"), "new");
	tree_done(&snap);
	assert_string_equal(value(&t, "/a/b"), "new");
}

static void a_domain_is_forgotten(void **state)
{
	struct tree_perm p[2] = { { 0, 0 }, { 5, TREE_PERM_READ } };
	const struct tree_node *n;

	put(&dom5, "/local/domain/5/x", "1");
	put(&dom0, "/shared", "1");
	assert_int_equal(tree_set_perms(&t, &dom0, "/shared", p, 2), 0);
	assert_int_equal(tree_forget_domain(&t, 5), 0);
	assert_int_equal(tree_count_of(&t, 5), 0);
	assert_int_equal(tree_check(&t, &dom5, "/shared", TREE_PERM_READ, &n), -EACCES);
	assert_int_equal(tree_check(&t, &dom5, "/local/domain/5/x", TREE_PERM_READ, &n), -EACCES);
	assert_string_equal(value(&t, "/local/domain/5/x"), "1");
}

/* ---- transactions ---- */

static void transaction_is_alone_until_its_end(void **state)
{
	struct txn *x = txn_new(&t, 1, false);

	assert_int_equal(txn_write(x, &dom5, "/local/domain/5/a", "1", 1), 0);
	assert_string_equal(value(&t, "/local/domain/5/a"), "(none)");
	assert_string_equal(value(txn_tree(x), "/local/domain/5/a"), "1");
	assert_string_equal(seen, "");
	assert_int_equal(txn_commit(x, &dom5, &t), 0);
	assert_string_equal(seen, "set /local/domain/5/a;");
	txn_free(x);
	assert_string_equal(value(&t, "/local/domain/5/a"), "1");
}

/* One row: what the transaction looks at or does, what happens meanwhile, what its end says. */
struct race {
	const char *what;
	enum { LOOK, LIST, WRITE, RM } mine;
	const char *my_path;
	enum { THEY_WRITE, THEY_RM } theirs;
	const char *their_path;
	int rc;
};

static void races(void **state)
{
	static const struct race rows[] = {
		{ "read, then written", LOOK, "/a/b", THEY_WRITE, "/a/b", -EAGAIN },
		{ "read, another written", LOOK, "/a/b", THEY_WRITE, "/a/c", 0 },
		{ "read, a child made", LOOK, "/a/b", THEY_WRITE, "/a/b/new", 0 },
		{ "read, then removed", LOOK, "/a/b", THEY_RM, "/a/b", -EAGAIN },
		{ "read as missing, then made", LOOK, "/a/x", THEY_WRITE, "/a/x", -EAGAIN },
		{ "listed, a child made", LIST, "/a", THEY_WRITE, "/a/x", -EAGAIN },
		{ "listed, a child removed", LIST, "/a", THEY_RM, "/a/c", -EAGAIN },
		{ "listed, a child written", LIST, "/a", THEY_WRITE, "/a/b", 0 },
		{ "written by both", WRITE, "/a/b", THEY_WRITE, "/a/b", -EAGAIN },
		{ "made by both", WRITE, "/a/x", THEY_WRITE, "/a/x", -EAGAIN },
		{ "siblings made", WRITE, "/a/x", THEY_WRITE, "/a/y", 0 },
		{ "made, the parent removed", WRITE, "/a/x", THEY_RM, "/a", -EAGAIN },
		{ "made deeper, the parent made", WRITE, "/a/x/y", THEY_WRITE, "/a/x", 0 },
		{ "removed by both", RM, "/a/b", THEY_RM, "/a/b", -EAGAIN },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct race *r = &rows[i];
		struct txn *x;
		int rc;

		put(&dom0, "/a/b", "1");
		put(&dom0, "/a/c", "1");
		tree_rm(&t, &dom0, "/a/x");
		tree_rm(&t, &dom0, "/a/y");
		x = txn_new(&t, 1, false);
		if (r->mine == LOOK || r->mine == LIST)
			rc = txn_note(x, &dom0, r->my_path, r->mine == LOOK ? TXN_LOOK_NODE : TXN_LOOK_LIST);
		else
			rc = r->mine == WRITE ? txn_write(x, &dom0, r->my_path, "m", 1) : txn_rm(x, &dom0, r->my_path);
		assert_int_equal(rc, 0);
		if (r->theirs == THEY_WRITE)
			put(&dom0, r->their_path, "t");
		else
			tree_rm(&t, &dom0, r->their_path);
		rc = txn_commit(x, &dom0, &t);
		if (rc != r->rc)
			print_message("%s: %d\n", r->what, rc);
		assert_int_equal(rc, r->rc);
		txn_free(x);
	}
}

static void doomed_and_bounded(void **state)
{
	struct txn *x = txn_new(&t, 7, true);
	char path[64];
	int i, rc = 0;

	assert_int_equal(txn_write(x, &dom5, "/local/domain/5/a", "1", 1), 0);
	assert_int_equal(txn_commit(x, &dom5, &t), -EAGAIN);
	assert_string_equal(value(&t, "/local/domain/5/a"), "(none)");
	for (i = 0; rc == 0 && i < 2 * TXN_NOTES_MAX; i++) {
		snprintf(path, sizeof(path), "/local/domain/5/%d", i);
		rc = txn_note(x, &dom5, path, TXN_LOOK_NODE);
	}
	assert_int_equal(rc, -ENOSPC);
	for (i = 0, rc = 0; rc == 0 && i < 1000; i++)
		rc = txn_write(x, &dom5, "/local/domain/5/a", path, 60);
	txn_free(x);
	x = txn_new(&t, 8, false);
	for (i = 0, rc = 0; rc == 0 && i < 100000; i++)
		rc = txn_write(x, &dom5, "/local/domain/5/a", "1", 1);
	assert_int_equal(rc, -ENOSPC);
	txn_free(x);
}

/* The quota counts at the end too: a transaction begun with room may find none. */
static void quota_at_commit(void **state)
{
	struct txn *x = txn_new(&t, 1, false);
	char path[64];
	int i;

	for (i = 0; i < 10; i++) {
		snprintf(path, sizeof(path), "/local/domain/5/in/%d", i);
		assert_int_equal(txn_write(x, &dom5, path, "", 0), 0);
	}
	for (i = 0; put(&dom5, path, "") == 0; i++)
		snprintf(path, sizeof(path), "/local/domain/5/out/%d", i);
	assert_int_equal(txn_commit(x, &dom5, &t), -EAGAIN);
	txn_free(x);
}

/* ---- watches ---- */

static void watch_paths(void **state)
{
	static char owner[1];
	struct watch_set set = { NULL };
	struct watch_owner *o = (struct watch_owner *)(void *)owner;
	struct watch *w, *d, *root;

	assert_int_equal(watch_add(&set, o, "/local/domain/5/a", 16, "tok", WATCH_ANY_DEPTH, &w), 0);
	assert_int_equal(watch_add(&set, o, "/local/domain/5/a", 16, "tok", WATCH_ANY_DEPTH, &d), -EEXIST);
	assert_int_equal(watch_add(&set, o, "/local/domain/5/a", 0, "deep", 1, &d), 0);
	assert_int_equal(watch_add(&set, o, "/", 0, "root", WATCH_ANY_DEPTH, &root), 0);
	assert_true(watch_matches(w, "/local/domain/5/a", false));
	assert_true(watch_matches(w, "/local/domain/5/a/b/c", false));
	assert_false(watch_matches(w, "/local/domain/5/a/b", true));
	assert_false(watch_matches(w, "/local/domain/5/ab", false));
	assert_false(watch_matches(w, "/local/domain/5", false));
	assert_true(watch_matches(d, "/local/domain/5/a/b", false));
	assert_false(watch_matches(d, "/local/domain/5/a/b/c", false));
	assert_true(watch_matches(root, "/x", false));
	assert_false(watch_matches(root, "/@releaseDomain", false));
	assert_string_equal(watch_event_path(w, "/local/domain/5/a/b"), "a/b");
	assert_string_equal(watch_event_path(d, "/local/domain/5/a/b"), "/local/domain/5/a/b");
	assert_string_equal(watch_event_path(root, "/@releaseDomain"), "@releaseDomain");
	assert_int_equal(watch_count(&set, o), 3);
	assert_int_equal(watch_remove(&set, o, "/local/domain/5/a", "nope"), -ENOENT);
	assert_int_equal(watch_remove(&set, o, "/local/domain/5/a", "tok"), 0);
	watch_remove_all(&set, o);
	assert_int_equal(watch_count(&set, o), 0);
}

static struct tree_change last;
static bool heard5, heard6;

static void who_hears(void *arg, const struct tree_change *c)
{
	heard5 = watch_permitted(&dom5, c);
	heard6 = watch_permitted(&dom6, c);
	last = *c;
}

/* XSA-115: who may not read a node does not learn that it changed. */
static void watch_rights(void **state)
{
	struct tree_perm shared[2] = { { 5, 0 }, { 6, TREE_PERM_READ } };

	t.changed = who_hears;
	put(&dom5, "/local/domain/5/x", "1");
	assert_true(heard5);
	assert_false(heard6);
	assert_int_equal(tree_set_perms(&t, &dom5, "/local/domain/5/x", shared, 2), 0);
	assert_true(heard6);
	put(&dom5, "/local/domain/5/x", "2");
	assert_true(heard6);
	/* who loses the right hears of that, and of nothing after it */
	assert_int_equal(tree_set_perms(&t, &dom5, "/local/domain/5/x", shared, 1), 0);
	assert_true(heard6);
	put(&dom5, "/local/domain/5/x", "3");
	assert_false(heard6);
	assert_int_equal(tree_set_perms(&t, &dom5, "/local/domain/5/x", shared, 2), 0);
	assert_int_equal(tree_rm(&t, &dom5, "/local/domain/5/x"), 0);
	assert_true(heard6);
	put(&dom0, "/secret", "");
	assert_false(heard5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(paths), TEST(writing_makes_parents), TEST(removing_tells_of_all_below), TEST(guests_stay_in_their_place),
		TEST(quotas), TEST(snapshots_stand_still), TEST(a_domain_is_forgotten), TEST(transaction_is_alone_until_its_end),
		TEST(races), TEST(doomed_and_bounded), TEST(quota_at_commit), TEST(watch_paths), TEST(watch_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
