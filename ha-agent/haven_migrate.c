/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven migrate, drain, undrain - moves through Pacemaker.
 *
 * migrate asks the target first, then puts one location constraint (constraint.h says who removes it when this command dies)
 * and watches ha-agentd. A failed move is cleaned up by ha-agentd with back-off and Pacemaker tries it again, as long as
 * the constraint stands. drain is Pacemaker's standby, watched the same way. Ctrl-C puts everything back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ha-agent/constraint.h"
#include "ha-agent/crm_run.h"
#include "ha-agent/haven.h"
#include "lib/msg.h"

#define CIB_S 20
#define POLL_US 150000
#define RESULT_POLLS (3000000 / (POLL_US))
#define RULE_S (4 * 3600)	/* a constraint that everybody died on ends by itself after this */
#define TRIES 4			/* a move that failed this often is given up */

struct migrate {
	char name[128], uuid[64], resource[128], from[128], to[128], constraint[400];
	bool json;
	int guard;
	long long seen;		/* the result told last before ours */
	unsigned polls_moved;	/* since the record says it runs there */
	int failures;
	char *last;		/* progress line printed last */
	char error[768];
};

static double mono(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- what is wrong before anything changes ---------------------------------------------------------------------------- */

static int node_refusal(const json_t *status, const char *node)
{
	const json_t *n = haven_find_node(status, node);

	if (!haven_true(status, "connected"))
		return haven_fail("corosync does not answer on this node; start it (systemctl start corosync)");
	if (!n)
		return haven_fail("%s: no node of the cluster has this name; haven status lists them", node);
	if (!haven_true(status, "quorate"))
		return haven_fail("this part of the cluster is not quorate: nothing moves until it is (haven status)");
	if (!haven_true(n, "member"))
		return haven_fail("%s is not in the cluster now; start it, or choose another node", node);
	if (!haven_true(n, "hypervisor"))
		return haven_fail("%s: its hypervisord does not answer; start it there (systemctl start hypervisord)", node);
	return 0;
}

static int domain_refusal(const json_t *status, const json_t *d, const char *name, const char *to)
{
	const char *owner = d ? haven_str(d, "owner") : "";

	if (!d)
		return haven_fail("%s: the cluster knows no such domain; haven status lists them", name);
	if (!*owner)
		return haven_fail("%s does not run anywhere; start it first", name);
	if (!strcmp(owner, to))
		return haven_fail("%s runs on %s already", name, to);
	if (*haven_str(d, "intent"))
		return haven_fail("%s is being moved to %s already; wait for that (haven status)", name, haven_str(d, "intent"));
	if (!*haven_str(d, "resource") && strcmp(owner, haven_str(status, "node")))
		return haven_fail("%s is no Pacemaker resource: run haven migrate on %s, where it runs, or add it with haven setup", name, owner);
	return 0;
}

/* Pacemaker must be willing to run it there: online, not in standby. */
static int pacemaker_refusal(const char *node)
{
	char *xml = NULL, want[160], *at, *end;
	struct err err;
	int rc = 0;

	if (crm_run(&xml, &err, CIB_S, "crm_mon", "--one-shot", "--output-as=xml", NULL))
		return haven_fail("%s", err.text);
	snprintf(want, sizeof(want), "<node name=\"%s\"", node);
	at = strstr(xml, want);
	end = at ? strchr(at, '>') : NULL;
	if (end)
		*end = '\0';
	if (!end)
		rc = haven_fail("%s: Pacemaker knows no such node", node);
	else if (!strstr(at, "online=\"true\""))
		rc = haven_fail("%s: Pacemaker does not run there; start it (systemctl start pacemaker)", node);
	else if (strstr(at, "standby=\"true\""))
		rc = haven_fail("%s is drained (standby): nothing may run there until haven undrain %s", node, node);
	else if (strstr(at, "maintenance=\"true\""))
		rc = haven_fail("%s is in maintenance mode: Pacemaker moves nothing there", node);
	free(xml);
	return rc;
}

static int preflight_refusal(const struct migrate *m)
{
	const json_t *n, *p;
	json_t *reply = NULL;
	struct err err;
	size_t i;
	int rc = 0;

	if (msg_call_once("ha-agentd.sock", json_pack("{s:s,s:s,s:s}", "op", "check", "uuid", m->uuid, "node", m->to), &reply, 20000, &err))
		return haven_fail("%s", err.text);
	json_array_foreach(json_object_get(reply, "nodes"), i, n) {
		p = json_array_get(json_object_get(n, "problems"), 0);
		if (!strcmp(haven_str(n, "name"), m->to) && p)
			rc = haven_fail("%s cannot take %s: %s", m->to, m->name, json_string_value(p));
	}
	json_decref(reply);
	return rc;
}

/* --- the constraint ---------------------------------------------------------------------------------------------------- */

/* Held open until the end: ha-agentd removes the constraint when this process ends in any way. */
static int guard_open(struct migrate *m)
{
	json_t *req = json_pack("{s:s,s:s}", "op", "guard", "resource", m->resource);
	struct err err;
	int rc;

	m->guard = msg_connect("ha-agentd.sock", &err);
	rc = m->guard < 0 ? m->guard : msg_call(m->guard, req, NULL, 0, NULL, NULL, NULL, 5000, NULL, NULL, &err);
	json_decref(req);
	return rc ? haven_fail("%s", err.text) : 0;
}

static int constraint_put(struct migrate *m)
{
	time_t end = time(NULL) + RULE_S;
	char host[128] = "", when[32], *xml = NULL;
	struct err err;
	struct tm tm;
	int rc;

	gethostname(host, sizeof(host) - 1);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%SZ", gmtime_r(&end, &tm));
	snprintf(m->constraint, sizeof(m->constraint), "haven-move-%s-from-%s", m->resource, host);
	if (asprintf(&xml, "<rsc_location id='%s' rsc='%s'><rule id='%s-r' score='INFINITY' boolean-op='and'>"
		     "<expression id='%s-e' attribute='#uname' operation='eq' value='%s'/>"
		     "<date_expression id='%s-d' operation='lt' end='%s'/></rule></rsc_location>", m->constraint, m->resource, m->constraint,
		     m->constraint, m->to, m->constraint, when) < 0)
		return haven_fail("out of memory");
	rc = crm_run(NULL, &err, CIB_S, "cibadmin", "--modify", "--allow-create", "--scope", "constraints", "--xml-text", xml, NULL);
	free(xml);
	return rc ? haven_fail("%s", err.text) : 0;
}

/* Everything is put back: the end of the connection means nothing any more. */
static void guard_release(const struct migrate *m)
{
	json_t *req = json_pack("{s:s,s:s,s:b}", "op", "guard", "resource", m->resource, "done", 1);

	(void)msg_call(m->guard, req, NULL, 0, NULL, NULL, NULL, 5000, NULL, NULL, NULL);
	json_decref(req);
}

/* --- watching ---------------------------------------------------------------------------------------------------------- */

enum verdict { V_WAIT, V_MOVED, V_FAILED, V_CANCELLED, V_GONE };

static enum verdict migrate_look(struct migrate *m, const json_t *status, json_t **result)
{
	const json_t *d = haven_find_domain(status, m->uuid), *news = json_object_get(d, "news");
	long long seq = json_integer_value(json_object_get(news, "seq"));

	if (!d)
		return V_GONE;
	if (!strcmp(haven_str(news, "type"), "x-moved") && seq != m->seen) {
		m->seen = seq;
		if (!haven_true(news, "ok")) {
			m->failures++;
			snprintf(m->error, sizeof(m->error), "%s", haven_str(news, "error"));
			return haven_true(news, "cancelled") ? V_CANCELLED : V_FAILED;
		}
		json_decref(*result);
		*result = json_deep_copy(json_object_get(news, "result"));
	} else if (!strcmp(haven_str(news, "type"), "x-progress")) {
		haven_print_progress(d, &m->last);
	}
	/* RUNNING counts a moment before the source's worker has told its figures. */
	if (!strcmp(haven_str(d, "owner"), m->to) && !*haven_str(d, "intent"))
		return *result || ++m->polls_moved > RESULT_POLLS ? V_MOVED : V_WAIT;
	if (!*haven_str(d, "owner"))
		return V_GONE;
	return V_WAIT;
}

static int migrate_put_back(struct migrate *m, const char *why)
{
	json_t *status;
	const json_t *d;
	int rc = haven_put_back(m->uuid, m->resource);

	if (!rc)
		guard_release(m);
	status = haven_status();
	d = status ? haven_find_domain(status, m->uuid) : NULL;
	if (d && !strcmp(haven_str(d, "owner"), m->to))
		haven_fail("%s, too late: %s was handed over and runs on %s", why, m->name, m->to);
	else
		haven_fail("%s: %s %s%s", why, m->name, d && *haven_str(d, "owner") ? "runs on where it was, on " : "is stopped",
			   d ? haven_str(d, "owner") : "");
	json_decref(status);
	return rc ? rc : HAVEN_FAILED;
}

/* A constraint taken away in mid-transition makes Pacemaker plan anew: it goes when nothing is under way. */
static void migrate_settle(struct migrate *m)
{
	if (*m->resource && haven_put_back(m->uuid, m->resource) == HAVEN_OK)
		guard_release(m);
}

static int migrate_end(struct migrate *m, json_t *result, double begun)
{
	json_t *j = result ? json_deep_copy(result) : json_object();

	migrate_settle(m);
	haven_print_result(m->name, m->from, m->to, j);
	if (m->json) {
		json_object_set_new(j, "name", json_string(m->name));
		json_object_set_new(j, "from", json_string(m->from));
		json_object_set_new(j, "to", json_string(m->to));
		json_object_set_new(j, "failed_tries", json_integer(m->failures));
		json_object_set_new(j, "elapsed_ms", json_real((mono() - begun) * 1000));
		json_dumpf(j, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
		putchar('\n');
	}
	json_decref(j);
	return HAVEN_OK;
}

static int migrate_watch(struct migrate *m, double begun)
{
	json_t *result = NULL, *status;
	enum verdict v = V_WAIT;
	int rc;

	while (v == V_WAIT || v == V_FAILED) {
		if (haven_interrupted) {
			json_decref(result);
			migrate_put_back(m, "cancelled");
			return HAVEN_INTERRUPTED;
		}
		usleep(POLL_US);
		status = haven_status();
		if (!status)
			continue;	/* ha-agentd is being started again */
		v = migrate_look(m, status, &result);
		json_decref(status);
		if (v == V_FAILED && m->failures >= TRIES)
			break;
		if (v == V_FAILED)
			printf("the move failed: %s; cleaning up and trying again (%d of %d)\n", m->error, m->failures + 1, TRIES);
		fflush(stdout);
	}
	if (v == V_MOVED)
		rc = migrate_end(m, result, begun);
	else if (v == V_FAILED || v == V_CANCELLED)
		rc = migrate_put_back(m, m->error);
	else {
		(void)haven_put_back(m->uuid, m->resource);
		rc = haven_fail("%s stopped while it was to be moved%s%s; haven status shows what is now", m->name, *m->error ? ": " : "", m->error);
	}
	json_decref(result);
	return rc;
}

/* --- without Pacemaker --------------------------------------------------------------------------------------------------- */

static int direct_progress(const json_t *progress, void *arg)
{
	struct migrate *m = arg;
	json_t *dom = json_pack("{s:s,s:{s:s,s:O}}", "name", m->name, "news", "target", m->to, "progress", progress);

	haven_print_progress(dom, &m->last);
	json_decref(dom);
	return haven_interrupted;
}

static int migrate_direct(struct migrate *m, double begun)
{
	json_t *req = json_pack("{s:s,s:s,s:s}", "op", "migrate-out", "uuid", m->uuid, "target", m->to), *reply = NULL;
	struct err err;
	int fd = msg_connect("ha-agentd.sock", &err), rc;

	rc = fd < 0 ? fd : msg_call(fd, req, NULL, 0, &reply, NULL, NULL, -1, direct_progress, m, &err);
	if (fd >= 0)
		close(fd);
	json_decref(req);
	if (rc) {
		haven_fail("%s was not moved: %s", m->name, err.text);
		return haven_interrupted ? HAVEN_INTERRUPTED : HAVEN_FAILED;
	}
	json_object_del(reply, "ok");
	rc = migrate_end(m, reply, begun);
	json_decref(reply);
	return rc;
}

/* --- migrate -------------------------------------------------------------------------------------------------------------- */

static int migrate_begin(struct migrate *m, const char *name, const char *to)
{
	json_t *status = haven_status();
	const json_t *d = status ? haven_find_domain(status, name) : NULL;
	int rc = status ? node_refusal(status, to) : HAVEN_FAILED;

	if (!rc)
		rc = domain_refusal(status, d, name, to);
	if (!rc) {
		snprintf(m->name, sizeof(m->name), "%s", haven_str(d, "name"));
		snprintf(m->uuid, sizeof(m->uuid), "%s", haven_str(d, "uuid"));
		snprintf(m->resource, sizeof(m->resource), "%s", haven_str(d, "resource"));
		snprintf(m->from, sizeof(m->from), "%s", haven_str(d, "owner"));
		snprintf(m->to, sizeof(m->to), "%s", to);
		m->seen = json_integer_value(json_object_get(json_object_get(d, "news"), "seq"));
	}
	json_decref(status);
	if (!rc && *m->resource)
		rc = pacemaker_refusal(m->to);
	return rc ? rc : preflight_refusal(m);
}

static int run_migrate(int argc, char **argv)
{
	struct migrate m = { .guard = -1 };
	const char *words[2] = { NULL, NULL };
	double begun = mono();
	int n = 0, rc;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			m.json = true;
		else if (n < 2 && argv[i][0] != '-')
			words[n++] = argv[i];
		else
			return haven_usage(&haven_cmd_migrate);
	}
	if (n != 2)
		return haven_usage(&haven_cmd_migrate);
	rc = migrate_begin(&m, words[0], words[1]);
	if (rc)
		return rc;
	haven_catch_interrupts();
	if (!*m.resource)
		return migrate_direct(&m, begun);
	rc = guard_open(&m);
	if (!rc)
		rc = constraint_put(&m);
	if (!rc)
		rc = migrate_watch(&m, begun);
	free(m.last);
	return rc;
}

/* --- drain ---------------------------------------------------------------------------------------------------------------- */

static int set_standby(const char *node, bool on, struct err *err)
{
	return crm_run(NULL, err, CIB_S, "crm_attribute", "--node", node, "--name", "standby", "--lifetime", "forever",
		       "--update", on ? "on" : "off", NULL);
}

struct guest { char uuid[64], name[128], resource[128]; char *last; bool left; int waited; };
struct drain { char node[128]; struct guest *guests; size_t n; };

/* The plan: every managed guest that is there now. */
static int drain_plan(struct drain *dr, const json_t *status)
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
			fprintf(stderr, "haven: %s on %s is no Pacemaker resource and stays; move it with haven migrate\n", haven_str(d, "name"), dr->node);
			continue;
		}
		snprintf(g->uuid, sizeof(g->uuid), "%s", haven_str(d, "uuid"));
		snprintf(g->name, sizeof(g->name), "%s", haven_str(d, "name"));
		snprintf(g->resource, sizeof(g->resource), "%s", haven_str(d, "resource"));
		dr->n++;
	}
	return 0;
}

/* How many guests are still there. */
static size_t drain_look(struct drain *dr, const json_t *status)
{
	size_t here = 0;

	for (size_t i = 0; i < dr->n; i++) {
		struct guest *g = &dr->guests[i];
		const json_t *d = haven_find_domain(status, g->uuid), *news = json_object_get(d, "news");
		const char *owner = d ? haven_str(d, "owner") : "";

		if (g->left)
			continue;
		if (!strcmp(owner, dr->node) || *haven_str(d, "intent")) {
			here++;
			haven_print_progress(d, &g->last);
			continue;
		}
		if (*owner && ++g->waited < RESULT_POLLS && !(!strcmp(haven_str(news, "type"), "x-moved") && haven_true(news, "ok"))) {
			here++;		/* its figures are on their way */
			continue;
		}
		g->left = true;
		if (*owner && !strcmp(haven_str(news, "type"), "x-moved") && haven_true(news, "ok"))
			haven_print_result(g->name, dr->node, owner, json_object_get(news, "result"));
		else
			printf("%s left %s; it is %s%s\n", g->name, dr->node, *owner ? "on " : "stopped", owner);
		fflush(stdout);
	}
	return here;
}

static int drain_put_back(struct drain *dr)
{
	struct err err;

	/* moves end before the standby does: see haven_put_back() */
	for (size_t i = 0; i < dr->n; i++)
		if (!dr->guests[i].left)
			(void)haven_end_move(dr->guests[i].uuid);
	usleep(500 * 1000);
	haven_wait_pacemaker();
	if (set_standby(dr->node, false, &err))
		haven_fail("%s stays drained: %s", dr->node, err.text);
	for (size_t i = 0; i < dr->n; i++)
		if (!dr->guests[i].left)
			(void)haven_put_back(dr->guests[i].uuid, dr->guests[i].resource);
	haven_fail("cancelled: %s takes guests again; those that had left stay where they are", dr->node);
	return HAVEN_INTERRUPTED;
}

static int drain_watch(struct drain *dr)
{
	json_t *status;
	size_t left = dr->n;

	while (left) {
		if (haven_interrupted)
			return drain_put_back(dr);
		usleep(POLL_US);
		status = haven_status();
		left = status ? drain_look(dr, status) : left;
		json_decref(status);
	}
	haven_wait_pacemaker();
	printf("%s is drained: %zu guest%s left; haven undrain %s lets guests on it again\n", dr->node, dr->n, dr->n == 1 ? "" : "s", dr->node);
	return HAVEN_OK;
}

static int run_drain(int argc, char **argv)
{
	struct drain dr = { .n = 0 };
	json_t *status;
	struct err err;
	int rc;

	if (argc != 2)
		return haven_usage(&haven_cmd_drain);
	status = haven_status();
	if (!status)
		return HAVEN_FAILED;
	snprintf(dr.node, sizeof(dr.node), "%s", argv[1]);
	rc = node_refusal(status, dr.node);
	if (!rc)
		rc = drain_plan(&dr, status);
	json_decref(status);
	haven_catch_interrupts();
	if (!rc) {
		printf("draining %s: %zu guest%s to move\n", dr.node, dr.n, dr.n == 1 ? "" : "s");
		fflush(stdout);
	}
	if (!rc && set_standby(dr.node, true, &err))
		rc = haven_fail("%s", err.text);
	if (!rc)
		rc = drain_watch(&dr);
	for (size_t i = 0; i < dr.n; i++)
		free(dr.guests[i].last);
	free(dr.guests);
	return rc;
}

/* A standby that ends in mid-move makes Pacemaker stop the guest on both nodes. false: interrupted. */
static bool wait_for_moves_from(const char *node)
{
	bool moving = true, told = false;

	haven_catch_interrupts();
	while (moving && !haven_interrupted) {
		json_t *status = haven_status();
		const json_t *d;
		size_t i;

		moving = false;
		json_array_foreach(json_object_get(status, "domains"), i, d)
			moving = moving || (!strcmp(haven_str(d, "owner"), node) && *haven_str(d, "intent"));
		json_decref(status);
		if (!moving)
			break;
		if (!told)
			printf("waiting for the moves off %s that are under way\n", node);
		fflush(stdout);
		told = true;
		usleep(POLL_US);
	}
	if (!haven_interrupted)
		haven_wait_pacemaker();
	return !haven_interrupted;
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
	if (!wait_for_moves_from(argv[1]))
		return HAVEN_INTERRUPTED;
	if (set_standby(argv[1], false, &err))
		return haven_fail("%s", err.text);
	printf("%s takes guests again\n", argv[1]);
	return HAVEN_OK;
}

const struct haven_command haven_cmd_migrate = {
	"migrate", "NAME NODE [--json]", "moves a domain live",
	"Asks NODE whether it can take the domain, then has Pacemaker move it, with progress; prints total time, rounds, bytes and the pause the\n"
	"vCPUs saw (--json: one JSON object on the last line). A failed move leaves the domain where it was and is tried again, with\n"
	"growing pauses, four times in all. Ctrl-C cancels: the domain stays where it was, and it is not tried again. No location constraint\n"
	"outlives the command.", run_migrate
};

const struct haven_command haven_cmd_drain = {
	"drain", "NODE", "moves every guest off a node",
	"Puts NODE in standby, so that Pacemaker moves its guests live to the others, and follows them until the last has left. Ctrl-C ends\n"
	"the drain: NODE takes guests again, moves under way are cancelled, guests that had left stay where they are.", run_drain
};

const struct haven_command haven_cmd_undrain = {
	"undrain", "NODE", "lets guests on a drained node again", "Ends the standby that haven drain set.", run_undrain
};
