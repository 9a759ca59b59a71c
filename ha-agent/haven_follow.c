/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A move as its operator sees it: progress, result, and how it is ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ha-agent/cib_link.h"
#include "ha-agent/constraint.h"
#include "ha-agent/haven.h"
#include "lib/crm_run.h"
#include "lib/move_policy.h"
#include "lib/msg.h"

#define CLEAR_S 30
#define SETTLE_S 120		/* how long Pacemaker may take for what follows a move: migrate_from, stop */
#define RULE_S (4 * 3600)	/* a constraint that everybody died on ends by itself after this */
#define LOOK_US 300000
#define QUICK_LOOK_US 10000
#define RECORD_LOOKS 500	/* of that length: what follows a move takes a tenth of a second */
#define ASK_S 10
#define QUORUM_S 30
#define DELETE_TRIES 5
#define PINS_MAX 100		/* constraints in one change: it is an argument of a program */
#define FAILED_LOOKS 20		/* for a failure to come on record, and to go from it */
#define FAILED_LOOK_S 2
#define ENDING_TRIES 100	/* of 100 ms each, until a cancelled move's end is known */

static double number(const json_t *j, const char *key)
{
	return json_number_value(json_object_get(j, key));
}

void haven_print_progress(const json_t *dom, char **last)
{
	const json_t *news = json_object_get(dom, "news"), *p = json_object_get(news, "progress");
	char *line = NULL, how[256];
	int r;

	if (!p)
		return;
	move_line(p, how, sizeof(how));
	r = asprintf(&line, "%s to %s: %s", haven_str(dom, "name"), haven_str(news, "target"), how);
	if (r < 0)
		return;
	if (*last && !strcmp(*last, line)) {
		free(line);
		return;
	}
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K%s", line);
	else
		puts(line);
	fflush(stdout);
	free(*last);
	*last = line;
}

void haven_print_result(const char *name, const char *from, const char *to, const json_t *result)
{
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K");
	printf("%s moved from %s to %s in %.0f ms: %.0f rounds, %.1f MiB sent, vCPUs paused for %.1f ms\n", name, from, to,
	       number(result, "total_ms"), number(result, "rounds"), number(result, "bytes_sent") / 1048576, number(result, "downtime_vcpu_ms"));
	fflush(stdout);
}

void haven_cancel_move(const char *uuid)
{
	(void)msg_call_once("ha-agentd.sock", json_pack("{s:s,s:s}", "op", "cancel", "uuid", uuid), NULL, 5000, NULL);
}

/* Ends a running move of the domain (after GO it completes) and waits until it is over. 0, or -ETIMEDOUT. */
int haven_end_move(const char *uuid)
{
	for (int i = 0; i < ENDING_TRIES; i++) {
		json_t *s = haven_status();
		const json_t *d = s ? haven_find_domain(s, uuid) : NULL;
		bool over = d && !*haven_str(d, "intent");

		json_decref(s);
		if (over)
			return 0;
		if (i == 0)
			haven_cancel_move(uuid);
		usleep(100 * 1000);
	}
	return -ETIMEDOUT;
}

/* The value of an attribute in a tool's XML, into buf; "" when it is not there. */
static void xml_value(const char *xml, const char *attribute, char *buf, size_t size)
{
	const char *at = strstr(xml, attribute);

	snprintf(buf, size, "%.*s", at ? (int)strcspn(at + strlen(attribute), "\"") : 0, at ? at + strlen(attribute) : "");
}

bool haven_pacemaker_idle(void)
{
	char dc[128] = "", state[64] = "", option[160], *xml = NULL;

	if (crm_run(&xml, NULL, ASK_S, "crmadmin", "--dc_lookup", "--output-as=xml", NULL))
		return false;
	xml_value(xml, "<dc node_name=\"", dc, sizeof(dc));
	free(xml);
	xml = NULL;
	snprintf(option, sizeof(option), "--status=%s", dc);
	if (!*dc || crm_run(&xml, NULL, ASK_S, "crmadmin", option, "--output-as=xml", NULL))
		return false;
	xml_value(xml, " state=\"", state, sizeof(state));
	free(xml);
	return !strcmp(state, "S_IDLE");
}

/*
 * The controller itself is asked. crm_resource --wait works out anew what might be done, and waits for ever for what the controller
 * sees no reason to do, a stonith resource that would balance better elsewhere, say. Idle is what is idle at two looks.
 */
static int wait_idle(unsigned look_us)
{
	time_t end = time(NULL) + SETTLE_S;
	int idle = 0;

	while (idle < 2 && time(NULL) < end) {
		idle = haven_pacemaker_idle() ? idle + 1 : 0;
		if (idle < 2)
			usleep(look_us);
	}
	if (idle == 2)
		return 0;
	fprintf(stderr, "haven: Pacemaker is still busy after %d s\n", SETTLE_S);
	return -ETIMEDOUT;
}

int haven_wait_pacemaker(void)
{
	return wait_idle(LOOK_US);
}

/* Does Pacemaker hold a failed operation of it? node: where a move of it failed, or "". */
static bool has_failed(const char *resource, char *node, size_t size)
{
	char want[200], *xml = NULL, *at, *end;
	bool failed = false;

	*node = '\0';
	if (crm_run(&xml, NULL, CLEAR_S, "crm_mon", "--one-shot", "--output-as=xml", NULL))
		return false;
	snprintf(want, sizeof(want), "op_key=\"%s_migrate_", resource);
	at = strstr(xml, want);
	end = at ? strchr(at, '>') : NULL;
	if (end) {
		failed = true;
		*end = '\0';
		at = strstr(at, " node=\"");
		if (at)
			snprintf(node, size, "%.*s", (int)strcspn(at + 7, "\""), at + 7);
		*end = '>';
	}
	snprintf(want, sizeof(want), "<resource id=\"%s\"", resource);
	for (at = xml; !failed && (at = strstr(at, want)); at = end) {
		end = strchr(at, '>');
		if (!end)
			break;
		*end = '\0';
		failed = strstr(at, "failed=\"true\"") || strstr(at, "blocked=\"true\"");
		*end = '>';
	}
	free(xml);
	return failed;
}

/* --- the constraint that makes a move --------------------------------------------------------------------------------------- */

int haven_guard(int *fd, const char *resource, const char *uuid, const json_t *options)
{
	json_t *req = json_pack("{s:s,s:s,s:s*,s:O*}", "op", "guard", "resource", resource, "uuid", uuid, "options", options);
	time_t end = time(NULL) + SETTLE_S + CLEAR_S;
	struct err err;
	int rc = 0;

	if (*fd < 0)
		rc = *fd = msg_connect("ha-agentd.sock", &err);
	while (rc >= 0) {
		rc = msg_call(*fd, req, NULL, 0, NULL, NULL, NULL, 5000, NULL, NULL, &err);
		if (rc != -EAGAIN || haven_interrupted || time(NULL) > end)
			break;
		usleep(LOOK_US);	/* what an earlier command left is being cleaned up */
		rc = 0;
	}
	json_decref(req);
	return rc < 0 ? haven_fail("%s", err.text) : 0;
}

void haven_guard_release(int fd)
{
	json_t *req = json_pack("{s:s,s:s,s:b}", "op", "guard", "resource", "", "done", 1);

	if (fd >= 0)
		(void)msg_call(fd, req, NULL, 0, NULL, NULL, NULL, 5000, NULL, NULL, NULL);
	json_decref(req);
}

static void pin_xml(FILE *out, const char *resource, const char *node)
{
	time_t end = time(NULL) + RULE_S;
	char host[128] = "", when[32], id[400];
	struct tm tm;

	gethostname(host, sizeof(host) - 1);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%SZ", gmtime_r(&end, &tm));
	snprintf(id, sizeof(id), "haven-move-%s-from-%s", resource, host);
	fprintf(out, "<rsc_location id='%s' rsc='%s'><rule id='%s-r' score='INFINITY' boolean-op='and'>"
		"<expression id='%s-e' attribute='#uname' operation='eq' value='%s'/>"
		"<date_expression id='%s-d' operation='lt' end='%s'/></rule></rsc_location>", id, resource, id, id, node, id, when);
}

/* One change of the configuration for all, here and in haven_unpin_all(): Pacemaker plans once. */
int haven_pin_all(const struct haven_pin *pins, size_t n, struct err *err)
{
	size_t size = 0;
	char *xml = NULL;
	FILE *out;
	int rc = 0;

	for (size_t from = 0, to; from < n && rc == 0; from = to) {
		to = from + PINS_MAX < n ? from + PINS_MAX : n;
		out = open_memstream(&xml, &size);
		if (!out)
			return err_set(err, -ENOMEM, "out of memory");
		fputs("<constraints>", out);
		for (size_t i = from; i < to; i++)
			pin_xml(out, pins[i].resource, pins[i].node);
		fputs("</constraints>", out);
		if (fclose(out))
			rc = err_set(err, -ENOMEM, "out of memory");
		if (rc == 0)
			rc = cib_link_modify("constraints", xml, err);
		free(xml);
		xml = NULL;
	}
	return rc;
}

int haven_pin(const char *resource, const char *node, struct err *err)
{
	return haven_pin_all(&(struct haven_pin){ resource, node }, 1, err);
}

bool haven_pin_again(const char *resource, const char *node)
{
	char host[128] = "", xpath[512], *xml = NULL;
	struct err err;

	gethostname(host, sizeof(host) - 1);
	constraint_xpath(xpath, sizeof(xpath), resource, host);
	if (cib_link_query(xpath, &xml, &err) == 0) {
		free(xml);
		return false;
	}
	return haven_pin(resource, node, &err) == 0;
}

static int found_delete(const char *xpath, const char *whose)
{
	struct err err;

	for (int i = 0; i < DELETE_TRIES; i++) {
		if (cib_link_delete(xpath, &err) == 0)
			return 0;
		sleep(1);
	}
	return haven_fail("Haven's location constraint of %s could not be removed: %s; it ends by itself within hours", whose, err.text);
}

static int constraints_delete(const char *resource, const char *from)
{
	char xpath[512];

	constraint_xpath(xpath, sizeof(xpath), resource, from);
	return found_delete(xpath, resource);
}

int haven_unpin(const char *resource)
{
	return constraints_delete(resource, NULL);
}

int haven_unpin_all(const struct haven_pin *pins, size_t n)
{
	char one[512], *xpath = NULL;
	size_t size = 0;
	FILE *out;
	int rc = 0;

	for (size_t from = 0, to; from < n; from = to) {
		to = from + PINS_MAX < n ? from + PINS_MAX : n;
		out = open_memstream(&xpath, &size);
		if (!out)
			return haven_fail("out of memory");
		for (size_t i = from; i < to; i++) {
			constraint_xpath(one, sizeof(one), pins[i].resource, NULL);
			fprintf(out, "%s%s", i > from ? "|" : "", one);
		}
		rc |= fclose(out) ? haven_fail("out of memory") : found_delete(xpath, "the drain's guests");
		free(xpath);
		xpath = NULL;
	}
	return rc;
}

/*
 * The order matters. A constraint (or a standby) taken away while a move runs makes Pacemaker plan anew with the move half done,
 * and it then stops the guest on both nodes: so the move ends first, one way or the other, then what caused it goes, then
 * Pacemaker forgets the failure.
 */
int haven_put_back(const char *uuid, const char *resource, const char *from)
{
	char node[128];
	struct err err;

	if (haven_end_move(uuid))
		haven_fail("the move is not over after %d s; haven status shows where it stands", ENDING_TRIES / 10);
	usleep(500 * 1000);	/* Pacemaker records the agent's answer */
	(void)haven_wait_pacemaker();
	if (constraints_delete(resource, from))
		return HAVEN_FAILED;
	if (has_failed(resource, node, sizeof(node)) && haven_clear_failure(resource, &err))
		return haven_fail("%s", err.text);
	return HAVEN_OK;
}

/* malloc'd; "" when there is none. */
static char *last_record(const char *resource, const char *node, const char *op)
{
	char xpath[512], *xml = NULL;
	struct err err;

	snprintf(xpath, sizeof(xpath), "//node_state[@uname='%s']//lrm_resource[@id='%s']/lrm_rsc_op[@operation='%s']", node, resource, op);
	return cib_link_query(xpath, &xml, &err) ? strdup("") : xml;
}

void haven_records(const char *resource, const char *left, const char *to, struct haven_records *ret)
{
	*ret = (struct haven_records){ last_record(resource, left, "stop"), last_record(resource, to, "migrate_from"),
				       last_record(resource, to, "start") };
}

void haven_records_free(struct haven_records *r)
{
	free(r->stop);
	free(r->migrate_from);
	free(r->start);
}

/* Is another one on record there than before, which went well? */
static bool done_since(const char *resource, const char *node, const char *op, const char *before)
{
	char *now = last_record(resource, node, op);
	bool done = now && before && strcmp(now, before) && strstr(now, " rc-code=\"0\"");

	free(now);
	return done;
}

/*
 * The stop on the node it left is the last of the transition that moved it, and no more is waited for when nothing failed on the way; what
 * other resources' transitions do is not ours.  But when another node is lost between migrate_to and migrate_from Pacemaker plans anew: a stop
 * there, then a start where it has come, which finds it running.  Were the constraint gone in between, it would plan once more, would not
 * know where the guest is, choose the node it left, and in the end stop the guest.
 */
static bool move_on_record(const char *resource, const char *left, const char *to, const struct haven_records *before)
{
	return done_since(resource, left, "stop", before->stop) &&
	       (done_since(resource, to, "migrate_from", before->migrate_from) || done_since(resource, to, "start", before->start));
}

int haven_settle(const char *resource, const char *left, const char *to, const struct haven_records *before, const char *here)
{
	unsigned looks = 0;

	while (looks++ < RECORD_LOOKS && !move_on_record(resource, left, to, before))
		usleep(QUICK_LOOK_US);
	if (looks >= RECORD_LOOKS)
		(void)wait_idle(LOOK_US);
	return constraints_delete(resource, here) ? HAVEN_FAILED : HAVEN_OK;
}

static int refresh_on(const char *resource, const char *node, struct err *err)
{
	return crm_run(NULL, err, CLEAR_S, "crm_resource", "--refresh", "--resource", resource, "--node", node, NULL);
}

/* Every member but those two. */
static int refresh_others(const json_t *status, const char *resource, const char *owner, const char *failed, struct err *err)
{
	const json_t *n;
	size_t i;
	int rc = 0;

	json_array_foreach(json_object_get(status, "nodes"), i, n) {
		const char *name = haven_str(n, "name");

		if (!rc && haven_true(n, "member") && strcmp(name, owner) && strcmp(name, failed))
			rc = refresh_on(resource, name, err);
	}
	return rc;
}

static bool is_member(const json_t *status, const char *node)
{
	const json_t *n = *node ? haven_find_node(status, node) : NULL;

	return n && haven_true(n, "member");
}

/*
 * The node on which the move failed comes last: as long as its failure stands Pacemaker leaves the resource alone. Was it cleared
 * first, the scheduler would meet an older, successful move to it in another node's history without its end in its own, call that
 * an unfinished move, and restart the guest; or, when the guest did move after all, it would not find it where it is, and start it.
 * Where no move failed the owner is last.
 */
int haven_clear_failure(const char *resource, struct err *err)
{
	json_t *status = haven_status();
	const json_t *d = status ? haven_find_domain(status, resource) : NULL;
	const char *owner = d ? haven_str(d, "owner") : "";
	char failed[128];
	int rc = status ? 0 : err_set(err, -ENOTCONN, "ha-agentd does not answer; start it");

	(void)has_failed(resource, failed, sizeof(failed));
	if (!rc)
		rc = refresh_others(status, resource, owner, failed, err);
	if (!rc && is_member(status, owner) && strcmp(owner, failed))
		rc = refresh_on(resource, owner, err);
	if (!rc && is_member(status, failed))
		rc = refresh_on(resource, failed, err);
	json_decref(status);
	return rc;
}

/* Nothing, unless that node's constraint stands: then its command is gone, and the move with it. */
static int abandon(const char *resource, const char *from)
{
	const json_t *d;
	json_t *status;
	char xpath[512], uuid[64];

	constraint_xpath(xpath, sizeof(xpath), resource, from);
	if (crm_run(NULL, NULL, CLEAR_S, "cibadmin", "--query", "--xpath", xpath, NULL))
		return HAVEN_OK;
	status = haven_status();
	d = status ? haven_find_domain(status, resource) : NULL;
	snprintf(uuid, sizeof(uuid), "%s", d ? haven_str(d, "uuid") : "");
	json_decref(status);
	return *uuid ? haven_put_back(uuid, resource, from) : constraints_delete(resource, from);
}

static int abandon_here(const char *resource)
{
	char host[128] = "";

	gethostname(host, sizeof(host) - 1);
	return abandon(resource, host);
}

/*
 * Is it for others to say? A node that was only cut off for a moment is back, and its command runs on; a part of the cluster without
 * quorum cannot know, and a new membership is without it for a moment.
 */
static bool is_for_others(const char *node)
{
	time_t end = time(NULL) + QUORUM_S;
	char host[128] = "";
	bool ours = false, member = false;

	gethostname(host, sizeof(host) - 1);
	if (!strcmp(node, host))
		return false;
	while (!ours && !member && time(NULL) < end) {
		json_t *status = haven_status();

		member = status && is_member(status, node);
		ours = status && !member && haven_true(status, "quorate");
		json_decref(status);
		if (!ours && !member)
			usleep(LOOK_US);
	}
	return !ours;
}

/* Every resource that a constraint made on that node stands for. */
static int abandon_from(const char *node)
{
	char xpath[512], *xml = NULL, *at, *end;
	int rc = HAVEN_OK;

	if (is_for_others(node))
		return HAVEN_OK;
	constraint_xpath(xpath, sizeof(xpath), NULL, node);
	if (crm_run(&xml, NULL, CLEAR_S, "cibadmin", "--query", "--xpath", xpath, NULL))
		return HAVEN_OK;	/* none, or no Pacemaker to ask */
	for (at = xml; rc == HAVEN_OK && (at = strstr(at, " rsc=\"")); at = end + 1) {
		at += 6;
		end = strchr(at, '"');
		if (!end)
			break;
		*end = '\0';
		rc = abandon(at, node);
	}
	free(xml);
	return rc;
}

/*
 * While Pacemaker elects its controller (a node left in mid-move, say) a failure may not be on record yet, and what was asked for to
 * clear it may be lost: it is looked for, and cleared, until it was there and is gone. What stays keeps the resource unmanaged.
 */
static int clear_recorded(const char *resource)
{
	bool seen = false;
	char node[128];
	struct err err = { 0 };

	for (int i = 0; i < FAILED_LOOKS; i++) {
		bool failed = has_failed(resource, node, sizeof(node));

		if (seen && !failed)
			return HAVEN_OK;
		if (failed)
			(void)haven_clear_failure(resource, &err);
		seen |= failed;
		sleep(FAILED_LOOK_S);
	}
	return seen ? haven_fail("the failure of %s stays on record%s%s; Pacemaker leaves it alone until haven cleanup %s clears it", resource,
				 *err.text ? ": " : "", err.text, resource) : HAVEN_OK;
}

static int run_cleanup(int argc, char **argv)
{
	struct err err;

	if (argc == 3 && !strcmp(argv[1], "--abandon"))
		return abandon_here(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--abandon-from"))
		return abandon_from(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--failed"))
		return clear_recorded(argv[2]);
	if (argc != 2 || argv[1][0] == '-')
		return haven_usage(&haven_cmd_cleanup);
	return haven_clear_failure(argv[1], &err) ? haven_fail("%s", err.text) : HAVEN_OK;
}

const struct haven_command haven_cmd_cleanup = {
	"cleanup", "[--failed | --abandon] RESOURCE  or  --abandon-from NODE", "forgets a failed move",
	"What ha-agentd does by itself after a failed move, with back-off, so that it is tried again: Pacemaker forgets the resource's history\n"
	"on every node, the one where the move failed last, and looks again where it runs. --failed: once it holds a failure, and until it\n"
	"holds none. Use it rather than crm_resource --cleanup, which after an earlier\n"
	"move in the other direction makes Pacemaker restart the guest.\n"
	"--abandon: also ends a move under way and removes this node's location constraint of the resource, in the order that keeps the guest\n"
	"running (nothing is done when there is none); --abandon-from NODE: of every move begun on NODE, when NODE is out of the cluster. ha-agentd does both when the command or its node died.", run_cleanup
};
