/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven drain, undrain - every guest off a node, through Pacemaker's standby (docs/adr/0006-drain.md).
 *
 * Before anything changes Pacemaker's own scheduler is asked, on a copy of the configuration, where each guest would go, and each of those
 * nodes whether it could take it: a standby with a guest that has nowhere to go would stop that guest. Then the standby, and the moves are
 * followed until the last guest has left. Ctrl-C ends the moves first and the standby after them: a standby taken away in mid-move makes
 * Pacemaker stop the guest on both nodes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/haven.h"
#include "lib/crm_run.h"
#include "lib/move_policy.h"

#define CIB_S 20
#define POLL_US 150000
#define FIGURES_POLLS (3000000 / (POLL_US))	/* how long a move's figures may follow its end */
#define INSIST_POLLS (5000000 / (POLL_US))
#define CALM_POLLS (300000000 / (POLL_US))	/* how long moves may take to end before the standby is left as it is */

struct guest {
	char uuid[64], name[128], resource[128], to[128];
	char *problem;		/* why it could not leave */
	char *last;		/* progress line printed last */
	long long seen;		/* the failure told last */
	bool left;
	int waited;
};

struct drain { char node[128]; struct guest *guests; size_t n, stay; int guard; json_t *options; };

static int set_standby(const char *node, bool on, struct err *err)
{
	return crm_run(NULL, err, CIB_S, "crm_attribute", "--node", node, "--name", "standby", "--lifetime", "forever",
		       "--update", on ? "on" : "off", NULL);
}

/* --- the plan ------------------------------------------------------------------------------------------------------------- */

/* Every managed guest that is there now. */
static int drain_guests(struct drain *dr, const json_t *status)
{
	const json_t *list = json_object_get(status, "domains"), *d;
	size_t i;

	dr->guests = calloc(json_array_size(list) + 1, sizeof(*dr->guests));
	if (!dr->guests)
		return haven_fail("out of memory");
	json_array_foreach(list, i, d) {
		struct guest *g = &dr->guests[dr->n];

		if (strcmp(haven_str(d, "owner"), dr->node))
			continue;
		if (!*haven_str(d, "resource")) {
			dr->stay++;
			printf("%s is no Pacemaker resource and stays on %s; move it with haven migrate\n", haven_str(d, "name"), dr->node);
			continue;
		}
		snprintf(g->uuid, sizeof(g->uuid), "%s", haven_str(d, "uuid"));
		snprintf(g->name, sizeof(g->name), "%s", haven_str(d, "name"));
		snprintf(g->resource, sizeof(g->resource), "%s", haven_str(d, "resource"));
		g->seen = json_integer_value(json_object_get(json_object_get(d, "news"), "seq"));
		dr->n++;
	}
	return 0;
}

/* What Pacemaker would do with the node in standby: crm_simulate's XML (malloc'd), or NULL after a message. */
static char *drain_simulate(const char *node)
{
	char path[] = "/tmp/haven-drain-XXXXXX", *xml = NULL;
	struct err err = { 0 };
	int fd = mkstemp(path), rc;

	if (fd < 0) {
		haven_fail("/tmp: no temporary file can be made: %s", strerror(errno));
		return NULL;
	}
	close(fd);
	unlink(path);		/* crm_simulate writes no file that is there */
	rc = crm_run(NULL, &err, CIB_S, "crm_simulate", "--live-check", "--save-input", path, NULL);
	if (!rc)
		rc = setenv("CIB_file", path, 1) ? -ENOMEM : set_standby(node, true, &err);
	unsetenv("CIB_file");
	if (!rc)
		rc = crm_run(&xml, &err, CIB_S, "crm_simulate", "--xml-file", path, "--simulate", "--output-as=xml", NULL);
	unlink(path);
	if (rc)
		haven_fail("Pacemaker cannot be asked where the guests of %s would go: %s", node, err.text);
	return rc ? NULL : xml;
}

/* Where the plan moves that resource to; "" when it does not. */
static void planned_target(const char *xml, const char *resource, char *ret, size_t size)
{
	char want[200];
	const char *at, *dest, *end;

	*ret = '\0';
	snprintf(want, sizeof(want), "<rsc_action action=\"migrate\" resource=\"%s\" ", resource);
	at = strstr(xml, want);
	end = at ? strchr(at, '>') : NULL;
	dest = at ? strstr(at, " dest=\"") : NULL;
	if (!dest || dest > end)
		return;
	dest += strlen(" dest=\"");
	end = strchr(dest, '"');
	if (end && (size_t)(end - dest) < size)
		snprintf(ret, size, "%.*s", (int)(end - dest), dest);
}

static int drain_plan(struct drain *dr)
{
	char *xml = dr->n ? drain_simulate(dr->node) : NULL;

	if (dr->n && !xml)
		return HAVEN_FAILED;
	for (size_t i = 0; i < dr->n; i++) {
		struct guest *g = &dr->guests[i];

		planned_target(xml, g->resource, g->to, sizeof(g->to));
		g->problem = *g->to ? haven_preflight(g->uuid, g->to)
				    : strdup("Pacemaker has no node for it (memory, constraints, standby) and would stop it");
	}
	free(xml);
	return 0;
}

/* One line with every guest that could not leave; 0: all could, or it is wanted all the same. */
static int drain_refusal(const struct drain *dr, bool force)
{
	char text[1024] = "";
	size_t n = 0, stuck = 0;

	for (size_t i = 0; i < dr->n; i++) {
		const struct guest *g = &dr->guests[i];

		if (!g->problem)
			continue;
		if (force)
			printf("%s%s%s: %s\n", g->name, *g->to ? " to " : "", g->to, g->problem);
		else if (n < sizeof(text) - 300)
			n += (size_t)snprintf(text + n, 300, "%s%s%s%s: %.180s", stuck ? "; " : "", g->name, *g->to ? " to " : "", g->to, g->problem);
		stuck++;
	}
	if (!stuck || force)
		return 0;
	return haven_fail("%s is not drained, %zu of its %zu guests could not leave: %s   (--force drains all the same; what cannot move is stopped)",
			  dr->node, stuck, dr->n, text);
}

/* --- following it ----------------------------------------------------------------------------------------------------------- */

static void guest_tell_failure(struct guest *g, const json_t *news)
{
	long long seq = json_integer_value(json_object_get(news, "seq"));

	if (strcmp(haven_str(news, "type"), "x-moved") || haven_true(news, "ok") || seq == g->seen)
		return;
	g->seen = seq;
	printf("%s was not moved to %s: %s; it runs on, and is moved again after a pause\n", g->name, haven_str(news, "target"),
	       haven_str(news, "error"));
	fflush(stdout);
}

/* How many guests are still there. */
static size_t drain_look(struct drain *dr, const json_t *status)
{
	size_t here = 0;

	for (size_t i = 0; i < dr->n; i++) {
		struct guest *g = &dr->guests[i];
		const json_t *d = haven_find_domain(status, g->uuid), *news = json_object_get(d, "news");
		const char *owner = d ? haven_str(d, "owner") : "";
		bool told = !strcmp(haven_str(news, "type"), "x-moved") && haven_true(news, "ok");

		if (g->left)
			continue;
		guest_tell_failure(g, news);
		if (!strcmp(owner, dr->node) || *haven_str(d, "intent")) {
			here++;
			haven_print_progress(d, &g->last);
			continue;
		}
		if (*owner && !told && ++g->waited < FIGURES_POLLS) {
			here++;		/* its figures are on their way */
			continue;
		}
		g->left = true;
		snprintf(g->to, sizeof(g->to), "%s", owner);
		if (*owner && told)
			haven_print_result(g->name, dr->node, owner, json_object_get(news, "result"));
		else
			printf("%s left %s; it is %s%s\n", g->name, dr->node, *owner ? "on " : "stopped", owner);
		fflush(stdout);
	}
	return here;
}

static bool moves_from(const char *node)
{
	json_t *status = haven_status();
	bool moving = !status;
	const json_t *d;
	size_t i;

	json_array_foreach(json_object_get(status, "domains"), i, d)
		moving = moving || (!strcmp(haven_str(d, "owner"), node) && *haven_str(d, "intent"));
	json_decref(status);
	return moving;
}

/* Cancels every move off the node; how many are under way. What was handed over completes. */
static size_t drain_cancel(const struct drain *dr)
{
	json_t *status = haven_status();
	size_t moving = status ? 0 : 1;
	const json_t *d;
	size_t i;

	json_array_foreach(json_object_get(status, "domains"), i, d) {
		if (strcmp(haven_str(d, "owner"), dr->node) || !*haven_str(d, "intent"))
			continue;
		moving++;
		haven_cancel_move(haven_str(d, "uuid"));
	}
	json_decref(status);
	return moving;
}

/*
 * Ends what is under way until Pacemaker has nothing more to do: a move that ended makes room for one that had waited, which is ended as
 * well. A cancelled move is not tried again, so this comes to an end. false: it did not.
 */
static bool drain_calm(const struct drain *dr)
{
	for (int left = CALM_POLLS; left > 0; left--) {
		if (drain_cancel(dr) == 0 && haven_pacemaker_idle() && !moves_from(dr->node))
			return true;
		usleep(POLL_US);
	}
	return false;
}

static void drain_unpin(const struct drain *dr)
{
	struct haven_pin *pins = calloc(dr->n + 1, sizeof(*pins));

	for (size_t i = 0; pins && i < dr->n; i++)
		pins[i].resource = dr->guests[i].resource;
	if (pins ? !haven_unpin_all(pins, dr->n) : !haven_fail("out of memory"))
		haven_guard_release(dr->guard);
	free(pins);
}

static void drain_say(const struct drain *dr)
{
	json_t *status = haven_status();

	for (size_t i = 0; status && i < dr->n; i++) {
		const json_t *d = haven_find_domain(status, dr->guests[i].uuid);
		const char *owner = d ? haven_str(d, "owner") : "";

		printf("%s %s%s\n", dr->guests[i].name, !*owner ? "is stopped" : !strcmp(owner, dr->node) ? "stayed on " : "is on ", owner);
	}
	fflush(stdout);
	json_decref(status);
}

static int drain_put_back(struct drain *dr)
{
	struct err err;

	printf("\nending the drain of %s: moves under way first\n", dr->node);
	fflush(stdout);
	if (!drain_calm(dr))
		haven_fail("%s stays drained: moves off it do not end; haven undrain %s when they have (haven status)", dr->node, dr->node);
	else if (set_standby(dr->node, false, &err))
		haven_fail("%s stays drained: %s", dr->node, err.text);
	else {
		for (size_t i = 0; i < dr->n; i++)
			(void)(dr->guests[i].left ? haven_unpin(dr->guests[i].resource) :
			       haven_put_back(dr->guests[i].uuid, dr->guests[i].resource, NULL));
		haven_guard_release(dr->guard);
		haven_fail("cancelled: %s takes guests again", dr->node);
	}
	drain_say(dr);
	return HAVEN_INTERRUPTED;
}

/* What the cluster's configuration lost when its parts met again is asked for once more (haven_pin_again). */
static void drain_insist(const struct drain *dr)
{
	char *value = NULL;
	struct err err;

	for (size_t i = 0; i < dr->n; i++)
		if (!dr->guests[i].left && *dr->guests[i].to)
			(void)haven_pin_again(dr->guests[i].resource, dr->guests[i].to);
	if (!crm_run(&value, &err, CIB_S, "crm_attribute", "--node", dr->node, "--name", "standby", "--lifetime", "forever", "--query",
		     "--quiet", "--default", "off", NULL) && strncmp(value, "on", 2))
		(void)set_standby(dr->node, true, &err);
	free(value);
}

static int drain_watch(struct drain *dr)
{
	json_t *status;
	size_t left = dr->n;
	unsigned polls = 0;

	while (left) {
		if (haven_interrupted)
			return drain_put_back(dr);
		usleep(POLL_US);
		status = haven_status();
		left = status ? drain_look(dr, status) : left;
		json_decref(status);
		if (left && ++polls % INSIST_POLLS == 0)
			drain_insist(dr);
	}
	(void)haven_wait_pacemaker();
	drain_unpin(dr);
	printf("%s is drained: %zu guest%s left%s; haven undrain %s lets guests on it again\n", dr->node, dr->n, dr->n == 1 ? "" : "s",
	       dr->stay ? ", those that are no resource stay" : "", dr->node);
	return HAVEN_OK;
}

/*
 * Each guest is held to its planned target. Pacemaker plans anew whenever a move fails, and a guest whose move is half done, and which it
 * would now rather have elsewhere, it stops on both nodes.
 */
static int drain_pin(struct drain *dr)
{
	struct haven_pin *pins = calloc(dr->n + 1, sizeof(*pins));
	struct err err;
	size_t n = 0;
	int rc = pins ? 0 : haven_fail("out of memory");

	for (size_t i = 0; i < dr->n && !rc; i++) {
		if (!*dr->guests[i].to)
			continue;
		rc = haven_guard(&dr->guard, dr->guests[i].resource, dr->guests[i].uuid, dr->options);
		pins[n++] = (struct haven_pin){ dr->guests[i].resource, dr->guests[i].to };
	}
	if (!rc && n && haven_pin_all(pins, n, &err))
		rc = haven_fail("%s", err.text);
	free(pins);
	return rc;
}

static int drain_begin(struct drain *dr, bool force)
{
	json_t *status = haven_status();
	struct err err;
	int rc = status ? haven_node_refusal(status, dr->node) : HAVEN_FAILED;

	if (!rc)
		rc = drain_guests(dr, status);
	json_decref(status);
	if (!rc)
		rc = drain_plan(dr);
	if (!rc)
		rc = drain_refusal(dr, force);
	if (rc)
		return rc;
	printf("draining %s: %zu guest%s to move", dr->node, dr->n, dr->n == 1 ? "" : "s");
	for (size_t i = 0; i < dr->n; i++)
		if (*dr->guests[i].to)
			printf("%s %s to %s", i ? "," : ":", dr->guests[i].name, dr->guests[i].to);
	putchar('\n');
	fflush(stdout);
	haven_catch_interrupts();
	rc = drain_pin(dr);	/* when it fails the guard's end takes away what there is */
	return rc ? rc : set_standby(dr->node, true, &err) ? haven_fail("%s", err.text) : 0;
}

static int run_drain(int argc, char **argv)
{
	struct drain dr = { .guard = -1, .options = json_object() };
	const char *node = NULL;
	bool force = false;
	struct err err;
	int rc;

	for (int i = 1; i < argc; i++) {
		rc = move_policy_argument(dr.options, argc, argv, &i, &err);
		if (rc < 0) {
			haven_fail("%s", err.text);
			return HAVEN_USAGE;
		}
		if (rc)
			continue;
		if (!strcmp(argv[i], "--force"))
			force = true;
		else if (!node && argv[i][0] != '-')
			node = argv[i];
		else
			return haven_usage(&haven_cmd_drain);
	}
	if (!node)
		return haven_usage(&haven_cmd_drain);
	snprintf(dr.node, sizeof(dr.node), "%s", node);
	rc = drain_begin(&dr, force);
	if (!rc)
		rc = drain_watch(&dr);
	for (size_t i = 0; i < dr.n; i++) {
		free(dr.guests[i].last);
		free(dr.guests[i].problem);
	}
	free(dr.guests);
	json_decref(dr.options);
	return rc;
}

/* --- undrain ---------------------------------------------------------------------------------------------------------------- */

/* A standby that ends in mid-move makes Pacemaker stop the guest on both nodes. false: interrupted. */
static bool wait_for_moves_from(const char *node)
{
	bool told = false;

	haven_catch_interrupts();
	while (!haven_interrupted) {
		if (!moves_from(node)) {
			if (haven_wait_pacemaker() == 0 && !moves_from(node))
				return true;
			continue;
		}
		if (!told)
			printf("waiting for the moves off %s that are under way\n", node);
		fflush(stdout);
		told = true;
		usleep(POLL_US);
	}
	return false;
}

static int run_undrain(int argc, char **argv)
{
	json_t *status;
	struct err err;
	bool known;

	if (argc != 2)
		return haven_usage(&haven_cmd_undrain);
	status = haven_status();
	if (!status)
		return HAVEN_FAILED;
	known = haven_find_node(status, argv[1]) != NULL;
	json_decref(status);
	if (!known)
		return haven_fail("%s: no node of the cluster has this name; haven status lists them", argv[1]);
	if (!wait_for_moves_from(argv[1])) {
		haven_fail("interrupted: %s stays drained", argv[1]);
		return HAVEN_INTERRUPTED;
	}
	if (set_standby(argv[1], false, &err))
		return haven_fail("%s", err.text);
	printf("%s takes guests again\n", argv[1]);
	return HAVEN_OK;
}

const struct haven_command haven_cmd_drain = {
	"drain", "NODE [--force] [HOW]", "moves every guest off a node",
	"Asks Pacemaker where each guest of NODE would go and each of those nodes whether it can take it, and refuses when one has nowhere to go\n"
	"(--force: drains all the same; such a guest is stopped). Then puts NODE in standby, so that Pacemaker moves the guests live, and follows\n"
	"them until the last has left; a move that fails is tried again. Of the moves that Pacemaker has begun (migration-limit; haven setup: 16) NODE\n"
	"lets two send at a time, those first that are over soonest by size and dirty rate, and one guest stand still (migrated(8)).\n"
	"Ctrl-C ends the drain: moves under way are cancelled, NODE takes guests again, guests that had left stay where they are. The drain\n"
	"itself is Pacemaker's: it goes on when this command dies, and haven drain NODE follows it again. HOW, while the command lives:\n"
	MOVE_POLICY_HELP, run_drain
};

const struct haven_command haven_cmd_undrain = {
	"undrain", "NODE", "lets guests on a drained node again",
	"Waits for moves off NODE that are under way, then ends the standby that haven drain set.", run_undrain
};
