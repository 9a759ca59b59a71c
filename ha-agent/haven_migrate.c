/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven migrate - a move through Pacemaker.
 *
 * migrate asks the target first, then puts one location constraint (constraint.h says who removes it when this command dies)
 * and watches ha-agentd. A failed move is cleaned up by ha-agentd with back-off and Pacemaker tries it again, as long as
 * the constraint stands. Ctrl-C puts everything back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ha-agent/cib_link.h"
#include "ha-agent/constraint.h"
#include "ha-agent/haven.h"
#include "lib/move_policy.h"
#include "lib/msg.h"

#define POLL_US 50000
#define PROGRESS_POLLS 3	/* a line of progress at most */
#define RESULT_POLLS (3000000 / (POLL_US))
#define QUIET_POLLS (5000000 / (POLL_US))	/* nothing begins: is the constraint still there? */
#define TRIES 4			/* a move that failed this often is given up */

struct migrate {
	char name[128], uuid[64], resource[128], from[128], to[128], here[128];
	bool json;
	int guard;
	long long seen;		/* the result told last before ours */
	long long domid;	/* travels with it: another one is another start */
	unsigned polls_moved;	/* since the record says it runs there */
	unsigned polls_quiet;	/* nothing of the move to be seen */
	unsigned polls;
	int failures;
	bool moved;
	char *last;		/* progress line printed last */
	struct haven_records before;	/* Pacemaker's, of the move's two ends */
	json_t *options;	/* how the move is to be made */
	char error[768];
};

static double mono(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- what is wrong before anything changes ---------------------------------------------------------------------------- */

int haven_node_refusal(const json_t *status, const char *node)
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

/* Has the node that attribute, for good or until it boots? */
static bool node_attribute(const char *node, const char *name, const char *value)
{
	char xpath[512], *xml = NULL;
	struct err err;
	bool set;

	snprintf(xpath, sizeof(xpath), "//*[self::node or self::node_state][@uname='%s']//nvpair[@name='%s'][@value='%s']", node, name, value);
	set = cib_link_query(xpath, &xml, &err) == 0;
	free(xml);
	return set;
}

/* Pacemaker must be willing to run it there: online, not in standby. */
static int pacemaker_refusal(const char *node)
{
	char *xml = NULL, xpath[256];
	struct err err;
	int rc;

	snprintf(xpath, sizeof(xpath), "//node_state[@uname='%s']", node);
	rc = cib_link_query(xpath, &xml, &err);
	if (rc == -ENXIO)
		rc = haven_fail("%s: Pacemaker knows no such node", node);
	else if (rc)
		rc = haven_fail("%s", err.text);
	else if (!strstr(xml, " crmd=\"online\"") || !strstr(xml, " join=\"member\""))
		rc = haven_fail("%s: Pacemaker does not run there; start it (systemctl start pacemaker)", node);
	else if (node_attribute(node, "standby", "on") || node_attribute(node, "standby", "true"))
		rc = haven_fail("%s is drained (standby): nothing may run there until haven undrain %s", node, node);
	else if (node_attribute(node, "maintenance", "true") || node_attribute(node, "maintenance", "on"))
		rc = haven_fail("%s is in maintenance mode: Pacemaker moves nothing there", node);
	free(xml);
	return rc;
}

/* What stands against that node taking the domain, or NULL (malloc'd); an error to ask is told the same way. */
char *haven_preflight(const char *uuid, const char *node)
{
	const json_t *n;
	json_t *reply = NULL;
	struct err err;
	char *ret = NULL;
	size_t i;

	if (msg_call_once("ha-agentd.sock", json_pack("{s:s,s:s,s:s}", "op", "check", "uuid", uuid, "node", node), &reply, 20000, &err))
		return strdup(err.text);
	json_array_foreach(json_object_get(reply, "nodes"), i, n) {
		const char *problem = json_string_value(json_array_get(json_object_get(n, "problems"), 0));

		if (!ret && problem && !strcmp(haven_str(n, "name"), node))
			ret = strdup(problem);
	}
	json_decref(reply);
	return ret;
}

static int preflight_refusal(const struct migrate *m)
{
	char *problem = haven_preflight(m->uuid, m->to);
	int rc = problem ? haven_fail("%s cannot take %s: %s", m->to, m->name, problem) : 0;

	free(problem);
	return rc;
}

static void guard_release(const struct migrate *m)
{
	haven_guard_release(m->guard);
}

/* --- watching ---------------------------------------------------------------------------------------------------------- */

enum verdict { V_WAIT, V_MOVED, V_FAILED, V_CANCELLED, V_GONE, V_AFRESH };

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
	} else if (!strcmp(haven_str(news, "type"), "x-progress") && m->polls++ % PROGRESS_POLLS == 0) {
		haven_print_progress(d, &m->last);
	}
	if (*haven_str(d, "owner") && m->domid && json_integer_value(json_object_get(d, "domid")) != m->domid)
		return V_AFRESH;
	/* by post-copy it runs there before all of its memory is: not moved yet */
	if (!strcmp(haven_str(json_object_get(news, "progress"), "phase"), "postcopy") && json_object_get(json_object_get(d, "copies"), m->from))
		return V_WAIT;
	/* RUNNING counts a moment before the source's worker has told its figures. */
	if (!strcmp(haven_str(d, "owner"), m->to) && !*haven_str(d, "intent"))
		return *result || ++m->polls_moved > RESULT_POLLS ? V_MOVED : V_WAIT;
	if (!*haven_str(d, "owner"))
		return V_GONE;
	return V_WAIT;
}

/* A target that is gone takes nothing: no further try is waited for once the domain runs where it was. */
static bool migrate_hopeless(const struct migrate *m, const json_t *status)
{
	const json_t *d = haven_find_domain(status, m->uuid), *n = haven_find_node(status, m->to);

	return m->failures && d && !*haven_str(d, "intent") && !strcmp(haven_str(d, "owner"), m->from) && (!n || !haven_true(n, "member"));
}

/* Pacemaker is asked once more when what it was asked is gone, or the command would wait for a move that nobody makes. */
static void migrate_insist(struct migrate *m, const json_t *status)
{
	const json_t *d = haven_find_domain(status, m->uuid);

	if (!d || *haven_str(d, "intent") || strcmp(haven_str(d, "owner"), m->from))
		m->polls_quiet = 0;
	else if (++m->polls_quiet % QUIET_POLLS == 0 && haven_pin_again(m->resource, m->to))
		puts("the cluster's configuration lost the request when its parts met again; asked once more");
}

static int migrate_put_back(struct migrate *m, const char *why)
{
	json_t *status;
	const json_t *d;
	int rc = haven_put_back(m->uuid, m->resource, m->here);

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
	int rc = HAVEN_OK;

	if (!*m->resource)
		return;
	rc = m->moved && !m->failures ? haven_settle(m->resource, m->from, m->to, &m->before, m->here)
				      : haven_put_back(m->uuid, m->resource, m->here);
	if (rc == HAVEN_OK)
		guard_release(m);
}

static int migrate_end(struct migrate *m, json_t *result, double begun)
{
	json_t *j = result ? json_deep_copy(result) : json_object();

	m->moved = true;
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
	bool hopeless;
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
		hopeless = (v == V_WAIT || v == V_FAILED) && migrate_hopeless(m, status);
		if (v == V_WAIT && !hopeless)
			migrate_insist(m, status);
		json_decref(status);
		if (hopeless)
			v = V_FAILED;
		if (hopeless || (v == V_FAILED && m->failures >= TRIES))
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
		migrate_settle(m);
		rc = haven_fail("%s was not moved: it ended meanwhile%s%s%s; haven status shows what is now", m->name,
				v == V_AFRESH ? " and was started afresh" : "", *m->error ? ": " : "", m->error);
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
	json_t *req = json_pack("{s:s,s:s,s:s,s:O}", "op", "migrate-out", "uuid", m->uuid, "target", m->to, "options", m->options), *reply = NULL;
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
	int rc = status ? haven_node_refusal(status, to) : HAVEN_FAILED;

	if (!rc)
		rc = domain_refusal(status, d, name, to);
	if (!rc) {
		snprintf(m->name, sizeof(m->name), "%s", haven_str(d, "name"));
		snprintf(m->uuid, sizeof(m->uuid), "%s", haven_str(d, "uuid"));
		snprintf(m->resource, sizeof(m->resource), "%s", haven_str(d, "resource"));
		snprintf(m->from, sizeof(m->from), "%s", haven_str(d, "owner"));
		snprintf(m->to, sizeof(m->to), "%s", to);
		gethostname(m->here, sizeof(m->here) - 1);
		m->seen = json_integer_value(json_object_get(json_object_get(d, "news"), "seq"));
		m->domid = json_integer_value(json_object_get(d, "domid"));
	}
	json_decref(status);
	if (!rc && *m->resource)
		rc = pacemaker_refusal(m->to);
	return rc ? rc : preflight_refusal(m);
}

/* NAME and NODE into words; an exit status. */
static int migrate_arguments(struct migrate *m, int argc, char **argv, const char *words[2])
{
	struct err err;
	int n = 0, rc;

	for (int i = 1; i < argc; i++) {
		rc = move_policy_argument(m->options, argc, argv, &i, &err);
		if (rc < 0) {
			haven_fail("%s", err.text);
			return HAVEN_USAGE;
		}
		if (rc)
			continue;
		if (!strcmp(argv[i], "--json"))
			m->json = true;
		else if (n < 2 && argv[i][0] != '-')
			words[n++] = argv[i];
		else
			return haven_usage(&haven_cmd_migrate);
	}
	return n == 2 ? HAVEN_OK : haven_usage(&haven_cmd_migrate);
}

static int migrate_managed(struct migrate *m, double begun)
{
	struct err err;
	int rc = haven_guard(&m->guard, m->resource, m->uuid, m->options);

	haven_records(m->resource, m->from, m->to, &m->before);
	if (!rc)
		rc = haven_pin(m->resource, m->to, &err) ? haven_fail("%s", err.text) : 0;
	return rc ? rc : migrate_watch(m, begun);
}

static int run_migrate(int argc, char **argv)
{
	struct migrate m = { .guard = -1, .options = json_object() };
	const char *words[2] = { NULL, NULL };
	double begun = mono();
	int rc = migrate_arguments(&m, argc, argv, words);

	if (!rc)
		rc = migrate_begin(&m, words[0], words[1]);
	if (!rc) {
		haven_catch_interrupts();
		rc = *m.resource ? migrate_managed(&m, begun) : migrate_direct(&m, begun);
	}
	free(m.last);
	haven_records_free(&m.before);
	json_decref(m.options);
	return rc;
}

const struct haven_command haven_cmd_migrate = {
	"migrate", "NAME NODE [--json] [HOW]", "moves a domain live",
	"Asks NODE whether it can take the domain, then has Pacemaker move it, with progress; prints total time, rounds, bytes and the pause the\n"
	"vCPUs saw (--json: one JSON object on the last line). A failed move leaves the domain where it was and is tried again, with\n"
	"growing pauses, four times in all. Ctrl-C cancels: the domain stays where it was, and it is not tried again. No location constraint\n"
	"outlives the command. HOW goes before what the resource, the xl.cfg and haven.conf say:\n" MOVE_POLICY_HELP, run_migrate
};
