/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory's files (ha-agent/directory.c), in a folder of the test's own: what a start of ha-agentd finds there. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ha-agent/directory.h"
#include "lib/paths.h"

#define U "00000000-0000-0000-0000-00000000000a"

static char top[] = "/tmp/haven-test-directory-XXXXXX";

static int t_persist(void *arg, const struct own_dom *d) { return directory_save_domain(d); }
static int t_persist_nodes(void *arg, const struct own *o) { return directory_save_nodes(o); }
static void t_send(void *arg, const struct own_msg *m) { }
static void t_act(void *arg, struct own_dom *d, enum own_action a, uint64_t number) { }
static int t_grant(void *arg, const char *uuid, uint64_t n) { return 0; }
static void t_done(void *arg, struct own_dom *d, enum own_job job, int rc, const char *text) { }
static const struct own_ops ops = { t_persist, t_persist_nodes, t_send, t_act, t_grant, t_grant, t_done, NULL };

/* A start of ha-agentd on node 1. */
static struct own *start(void)
{
	struct directory d;
	struct err err;
	struct own *o;

	assert_int_equal(directory_open(&d, &err), 0);
	o = own_new(1, directory_incarnation(&d), &ops, NULL);
	assert_int_equal(directory_load(&d, o, &err), 0);
	return o;
}

/* The run folder is emptied by it. */
static void boot(void)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/run/boot-id", top);
	assert_int_equal(unlink(path), 0);
}

static void fence(struct own *o, uint32_t id)
{
	struct own_seen s = { .node = id, .seen = 5, .fenced = 5 };

	own_load_node(o, &s);
	assert_int_equal(directory_save_nodes(o), 0);
}

static void test_incarnations_go_up(void **state)
{
	struct own *a = start(), *b = start(), *c;

	assert_true(b->incarnation == a->incarnation + 1);
	boot();
	c = start();
	assert_true(c->incarnation > b->incarnation + 1);
	own_free(a);
	own_free(b);
	own_free(c);
}

/* Of the same boot a fencing is remembered: the node may be claimed for without being fenced once more. */
static void test_fencing_outlives_the_agent(void **state)
{
	struct own *o = start();

	fence(o, 2);
	own_free(o);
	o = start();
	assert_true(own_node(o, 2)->seen == 5 && own_node(o, 2)->fenced == 5);
	own_free(o);
}

/*
 * Others may have seen the fenced node since this one went down. The first start of a boot forgot the fencing, the second one read it again from the
 * file, which nothing had rewritten: a node that had come back meanwhile, and ran the domain, was taken for dead.
 */
static void test_fencing_of_an_earlier_boot_is_forgotten_by_every_start(void **state)
{
	struct own *o = start();

	fence(o, 2);
	own_free(o);
	boot();
	for (int i = 0; i < 3; i++) {
		o = start();
		assert_true(own_node(o, 2)->seen == 5);
		assert_true(own_node(o, 2)->fenced == 0);
		own_free(o);
	}
	o = start();
	fence(o, 2);		/* one of this boot counts again */
	own_free(o);
	o = start();
	assert_true(own_node(o, 2)->fenced == 5);
	own_free(o);
}

static void test_record_comes_back(void **state)
{
	struct own_record rec = { .epoch = 7, .owner = 1, .to = 2, .domid = 3, .name = "demo", .hash = "h" };
	struct own *o = start();
	const struct own_dom *d;

	assert_int_equal(own_load_domain(o, U, &rec, 6, "{\"a\":1}"), 0);
	assert_int_equal(directory_save_domain(own_find(o, U)), 0);
	own_free(o);
	o = start();
	d = own_find(o, U);
	assert_non_null(d);
	assert_true(d->rec.epoch == 7 && d->rec.owner == 1 && d->rec.to == 2 && d->rec.domid == 3 && d->begun == 6);
	assert_string_equal(d->rec.name, "demo");
	assert_string_equal(d->config, "{\"a\":1}");
	own_free(o);
}

/* A record that cannot be read is not passed over: who knows less than it had acknowledged would acknowledge another. */
static void test_damaged_record_is_an_error(void **state)
{
	char path[200];
	struct directory d;
	struct err err;
	struct own *o;
	FILE *f;

	snprintf(path, sizeof(path), "%s/state/directory/" U ".json", top);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("{\"record\": {\"epoch\":", f);
	fclose(f);
	assert_int_equal(directory_open(&d, &err), 0);
	o = own_new(1, directory_incarnation(&d), &ops, NULL);
	assert_true(directory_load(&d, o, &err) < 0);
	own_free(o);
	assert_int_equal(unlink(path), 0);
}

static int setup(void **state)
{
	char path[200];

	if (!mkdtemp(top))
		return -1;
	snprintf(path, sizeof(path), "%s/run", top);
	setenv("HAVEN_RUN_DIR", path, 1);
	snprintf(path, sizeof(path), "%s/state", top);
	setenv("HAVEN_STATE_DIR", path, 1);
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {
		"run/boot-id", "run", "state/directory/" U ".json", "state/directory/nodes.json", "state/directory/boot.json", "state/directory", "state", "",
	};
	char path[200];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", top, files[i]);
		remove(path);
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_incarnations_go_up), cmocka_unit_test(test_fencing_outlives_the_agent),
		cmocka_unit_test(test_fencing_of_an_earlier_boot_is_forgotten_by_every_start), cmocka_unit_test(test_record_comes_back),
		cmocka_unit_test(test_damaged_record_is_an_error),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
