/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DomU - OCF 1.1 resource agent ocf:haven:DomU: a Xen DomU under Pacemaker.
 *
 * Holds: nothing; it lives as long as one action. Hears: its environment (OCF_RESKEY_*), ha-agentd's answers.
 * May do: ask ha-agentd (and hypervisord, for deeper checks); it changes nothing by itself.
 *
 * What differs from other agents: a failed migrate_to leaves the guest running and says so; stop and monitor depend on
 * what runs, never on a config file; a probe of an incoming copy says "not running"; when in doubt the answer is an
 * error, never "not running"; a killed agent's move is cancelled, because its connection ends.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/msg.h"
#include "lib/xlcfg.h"

enum {
	OCF_SUCCESS = 0, OCF_ERR_GENERIC = 1, OCF_ERR_ARGS = 2, OCF_ERR_UNIMPLEMENTED = 3, OCF_ERR_PERM = 4,
	OCF_ERR_INSTALLED = 5, OCF_ERR_CONFIGURED = 6, OCF_NOT_RUNNING = 7, OCF_DEGRADED = 190,
};

#define AGENTD "ha-agentd.sock"
#define RETRY_MS 200		/* between two tries while a daemon is being started again, or a state settles */
#define MARGIN_MS 2000		/* what an action keeps of Pacemaker's time-out for saying why it failed */
#define TIMEOUT_DEFAULT_MS 20000
#define UNSEEN_MS 15000		/* for a ha-agentd that is being started again to be told of a failed move */
#define OUTCOME_MS 60000	/* for a move's outcome after ha-agentd's restart; no verdict is better than a long one: nothing is fenced meanwhile */

static int64_t deadline_ms;	/* of this action, on monotonic_ms()'s clock */

static int64_t left_ms(void)
{
	int64_t left = deadline_ms - monotonic_ms();

	return left > 0 ? left : 0;
}

static int exit_reason(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int exit_reason(int rc, const char *fmt, ...)
{
	va_list ap;

	fputs("ocf-exit-reason:", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return rc;
}

/* --- the environment ------------------------------------------------------------------------------------------------- */

static const char *env(const char *name, const char *dflt)
{
	const char *s = getenv(name);

	return s && *s ? s : dflt;
}

static long env_long(const char *name, long dflt)
{
	const char *s = env(name, NULL);
	char *end;
	long v;

	if (!s)
		return dflt;
	v = strtol(s, &end, 10);
	if (!strcmp(end, "ms"))
		return v;
	return *end && strcmp(end, "s") ? dflt : v;
}

static const char *resource_name(void)
{
	return env("OCF_RESOURCE_INSTANCE", "");
}

static const char *config_path(void)
{
	static char path[PATH_MAX];
	const char *given = env("OCF_RESKEY_config", NULL);

	if (given)
		return given;
	snprintf(path, sizeof(path), "/etc/xen/%.200s.cfg", resource_name());
	return path;
}

static const char *domain_name(void)
{
	return env("OCF_RESKEY_name", resource_name());
}

/* --- asking ha-agentd ------------------------------------------------------------------------------------------------ */

static json_t *request(const char *op)
{
	return json_pack("{s:s,s:s,s:s}", "op", op, "resource", resource_name(), "name", domain_name());
}

static bool worth_retrying(int rc)
{
	return rc == -ENOENT || rc == -ECONNREFUSED || rc == -ECONNRESET || rc == -ENOTCONN || rc == -EPIPE || rc == -EAGAIN;
}

/*
 * One request (stolen). A daemon that is just being started again is waited for: its restart is no event for a guest.
 * 0 or -errno; *ret (may be NULL) is the caller's.
 */
static int ask(json_t *req, int64_t limit_ms, json_t **ret, struct err *err)
{
	int64_t end = monotonic_ms() + limit_ms;
	int fd, rc;

	for (;;) {
		fd = msg_connect(AGENTD, err);
		rc = fd;
		if (fd >= 0) {
			rc = msg_call(fd, req, NULL, 0, ret, NULL, NULL, (int)(end - monotonic_ms() > 1 ? end - monotonic_ms() : 1), NULL, NULL, err);
			close(fd);
			if (rc != -ECONNRESET && rc != -EAGAIN && rc != -EPIPE)
				break;
		}
		if (!worth_retrying(rc) || monotonic_ms() + RETRY_MS >= end)
			break;
		usleep(RETRY_MS * 1000);
	}
	json_decref(req);
	return rc;
}

struct where { char copy[32], owner[256], intent[256]; };

/* The domain's copy on this node ("none" when there is none), and what the directory says of it. */
static int where_is_it(int64_t limit_ms, struct where *w, struct err *err)
{
	json_t *reply = NULL;
	const json_t *dom;
	int rc = ask(request("state"), limit_ms, &reply, err);

	if (rc)
		return rc;
	dom = json_object_get(reply, "domain");
	snprintf(w->copy, sizeof(w->copy), "%s", dom ? json_string_value(json_object_get(dom, "copy")) : "none");
	snprintf(w->owner, sizeof(w->owner), "%s", dom ? json_string_value(json_object_get(dom, "owner")) : "");
	snprintf(w->intent, sizeof(w->intent), "%s", dom ? json_string_value(json_object_get(dom, "intent")) : "");
	json_decref(reply);
	return 0;
}

static bool is_one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(s, *list))
			return true;
	return false;
}

/* --- monitor --------------------------------------------------------------------------------------------------------- */

static const char *const running_states[] = { "running", "quorum-paused", "paused", NULL };
static const char *const absent_states[] = { "none", "incoming", "ready", NULL };

static bool any_vcpu_sleeps(const json_t *dom)
{
	const json_t *vcpu;
	size_t i;

	json_array_foreach(json_object_get(dom, "vcpu"), i, vcpu)
		if (strchr(json_string_value(json_object_get(vcpu, "state")) ?: "", 'b'))
			return true;
	return json_array_size(json_object_get(dom, "vcpu")) == 0;
}

/* Depth 10: the domain's own process answers. Depth 20: its vCPUs get somewhere, or sleep as an idle guest's do, or the operator paused it. */
static int deep_check(int level)
{
	json_t *reply = NULL;
	const json_t *dom;
	json_int_t before = 0, now;
	struct err err;
	int rc;

	for (int i = 0; i < (level >= 20 ? 2 : 1); i++) {
		rc = msg_call_once("hypervisord.sock", json_pack("{s:s,s:s}", "op", "list", "name", domain_name()), &reply,
				   (int)left_ms(), &err);
		if (rc)
			return exit_reason(OCF_ERR_GENERIC, "%s", err.text);
		dom = json_array_get(json_object_get(reply, "domains"), 0);
		now = json_integer_value(json_object_get(dom, "cpu_ns"));
		if (!dom || json_integer_value(json_object_get(dom, "hvdomain_pid")) <= 0) {
			json_decref(reply);
			return exit_reason(OCF_ERR_GENERIC, "%s: hypervisord lists no process of it", domain_name());
		}
		if (i && now == before && !any_vcpu_sleeps(dom) && !json_is_true(json_object_get(dom, "user_paused"))) {
			json_decref(reply);
			return exit_reason(OCF_ERR_GENERIC, "%s: its vCPUs want to run and did not for a second", domain_name());
		}
		before = now;
		json_decref(reply);
		reply = NULL;
		if (level >= 20 && !i)
			sleep(1);
	}
	return OCF_SUCCESS;
}

/* A copy in the other node's hands, or just going, is decided within moments: wait for that, then say what is. */
static int act_monitor(void)
{
	long level = env_long("OCF_CHECK_LEVEL", 0);
	struct where w = { "", "", "" };
	const char *copy = w.copy;
	struct err err;
	int rc;

	for (;;) {
		rc = where_is_it(left_ms(), &w, &err);
		if (rc)
			return exit_reason(OCF_ERR_GENERIC, "cannot tell whether %s runs: %s", domain_name(), err.text);
		if (is_one_of(copy, running_states))
			return level >= 10 ? deep_check((int)level) : OCF_SUCCESS;
		if (is_one_of(copy, absent_states))
			return OCF_NOT_RUNNING;
		if (!strcmp(copy, "building") && left_ms() < RETRY_MS)
			return OCF_SUCCESS;
		if (left_ms() < RETRY_MS)
			break;
		usleep(RETRY_MS * 1000);
	}
	if (!strcmp(copy, "handed"))
		return exit_reason(OCF_ERR_GENERIC, "%s was handed to another node that does not answer; it waits here for that node's report "
				   "or fencing (haven status)", domain_name());
	return exit_reason(OCF_ERR_GENERIC, "%s is %s and stays so", domain_name(), copy);
}

/* --- start ----------------------------------------------------------------------------------------------------------- */

/* The config of the file; of the directory when this node lacks the file. NULL after a reason; *ret is the exit code. */
static json_t *load_config(int *ret, bool quiet)
{
	struct xlcfg_report report;
	json_t *config = NULL, *reply = NULL;
	struct err err;
	int rc = xlcfg_parse_file(config_path(), &config, &report);

	if (rc && access(config_path(), F_OK) && ask(request("config-get"), left_ms(), &reply, &err) == 0) {
		config = json_incref(json_object_get(reply, "config"));
		json_decref(reply);
		rc = config ? 0 : -ENOENT;
	}
	if (!rc)
		*ret = OCF_SUCCESS;
	else if (rc == -ENOENT)
		*ret = quiet ? OCF_ERR_INSTALLED : exit_reason(OCF_ERR_INSTALLED, "%s: no such file on this node, and the cluster holds no "
								"config of %s yet; copy it here", config_path(), resource_name());
	else if (rc == -EACCES || rc == -EPERM)
		*ret = exit_reason(OCF_ERR_PERM, "%s", report.error);
	else	/* the file is this node's own: another node's may be right */
		*ret = exit_reason(OCF_ERR_ARGS, "%s", report.error);
	xlcfg_report_done(&report);
	return rc ? NULL : config;
}

static int act_start(void)
{
	int64_t limit;
	json_t *config, *req;
	struct err err;
	int rc;

	config = load_config(&rc, false);
	if (!config)
		return rc;
	limit = left_ms();
	req = json_pack("{s:s,s:s,s:o,s:I}", "op", "start", "resource", resource_name(), "config", config, "timeout_ms",
			(json_int_t)(limit > 1000 ? limit - 500 : limit));
	rc = ask(req, limit, NULL, &err);
	if (rc == 0)
		return OCF_SUCCESS;
	return exit_reason(rc == -EINVAL || rc == -ENOTSUP ? OCF_ERR_ARGS : OCF_ERR_GENERIC, "%s", err.text);
}

/* --- stop ------------------------------------------------------------------------------------------------------------ */

/* ha-agentd stays away: hypervisord itself says whether anything is here, and ends it. */
static int stop_without_agentd(void)
{
	json_t *reply = NULL;
	const json_t *dom;
	json_t *req = json_pack("{s:s,s:s}", "op", "list", "name", domain_name());
	struct err err;
	bool here = false;
	int fd = msg_connect("hypervisord.sock", &err), rc = fd;

	/* its own "no such domain" is an answer; a socket that is not there is none, though the errno is the same */
	if (fd >= 0)
		rc = msg_call(fd, req, NULL, 0, &reply, NULL, NULL, 2000, NULL, NULL, &err);
	json_decref(req);
	dom = json_array_get(json_object_get(reply, "domains"), 0);
	if (fd >= 0 && ((rc == 0 && !dom) || rc == -ENOENT)) {
		rc = 0;
	} else if (rc == 0) {
		here = true;
		rc = msg_call(fd, req = json_pack("{s:s,s:O}", "op", "destroy", "domid", json_object_get(dom, "domid")), NULL, 0, NULL, NULL, NULL,
			      (int)left_ms(), NULL, NULL, &err);
		json_decref(req);
		rc = rc == -ENOENT ? 0 : rc;
	}
	if (fd >= 0)
		close(fd);
	json_decref(reply);
	if (rc && here)
		return exit_reason(OCF_ERR_GENERIC, "%s does not stop: %s", domain_name(), err.text);
	return rc == 0 ? OCF_SUCCESS :
	       exit_reason(OCF_ERR_GENERIC, "neither ha-agentd nor hypervisord answers, so whether %s runs is not known: %s", domain_name(),
			   err.text);
}

static int act_stop(void)
{
	int64_t total = left_ms(), graceful = env_long("OCF_RESKEY_shutdown_timeout", 60) * 1000;
	json_t *req = request("stop");
	struct err err;
	int rc;

	/* the forced part must fit behind the graceful one, inside Pacemaker's time-out */
	if (graceful > total / 2)
		graceful = total / 2;
	json_object_set_new(req, "timeout_ms", json_integer(graceful));
	json_object_set_new(req, "force", json_boolean(graceful <= 0));
	rc = ask(req, total > 4 * MARGIN_MS ? total - MARGIN_MS : total / 2, NULL, &err);
	if (rc == 0)
		return OCF_SUCCESS;
	if (worth_retrying(rc) || rc == -ETIMEDOUT)
		return stop_without_agentd();
	return exit_reason(OCF_ERR_GENERIC, "%s does not stop: %s", domain_name(), err.text);
}

/* --- moves ----------------------------------------------------------------------------------------------------------- */

/* arg: how many moves were before it when it last said so; 0: its turn has come. */
static int follow_progress(const json_t *progress, void *arg)
{
	const char *phase = json_string_value(json_object_get(progress, "phase"));

	*(long *)arg = phase && !strcmp(phase, "waiting") ? (long)json_integer_value(json_object_get(progress, "waiting_for")) : 0;
	return left_ms() == 0;	/* out of time: giving up here, before Pacemaker kills us, leaves time to say why */
}

static void set_option(json_t *options, const char *key, const char *parameter)
{
	long v = env_long(parameter, 0);

	if (v > 0)
		json_object_set_new(options, key, json_integer(v));
}

/*
 * A failed move keeps the resource from every further action until Pacemaker is told to forget it. ha-agentd sees to that for the moves
 * it knows of; one that its former process had not begun yet is told to it from here.
 */
static int unseen_failure(int status)
{
	int64_t limit = left_ms() < UNSEEN_MS ? left_ms() : UNSEEN_MS;
	struct err err;

	(void)ask(request("move-failed"), limit, NULL, &err);
	return status;
}

/*
 * ha-agentd ended in mid-move and is started again: the move ends one way or the other by itself, and which way is what Pacemaker
 * has to be told. A guest that has moved while its source says "failed" would be looked for there, and started.
 */
static int outcome_after_restart(const char *target)
{
	int64_t end = monotonic_ms() + (left_ms() < OUTCOME_MS ? left_ms() : OUTCOME_MS);
	struct where w;
	struct err err;

	do {
		if (where_is_it(left_ms(), &w, &err))
			break;
		if (!strcmp(w.copy, "none") && !strcmp(w.owner, target))
			return OCF_SUCCESS;
		if (is_one_of(w.copy, running_states) && !*w.intent)
			return exit_reason(OCF_ERR_GENERIC, "%s was not moved to %s: ha-agentd was started again during the move; it runs on here",
					   domain_name(), target);
		if (!strcmp(w.copy, "none") && strcmp(w.owner, env("OCF_RESKEY_CRM_meta_migrate_source", w.owner)))
			break;
		usleep(RETRY_MS * 1000);
	} while (monotonic_ms() + RETRY_MS < end);
	return exit_reason(OCF_ERR_GENERIC, "ha-agentd ended during the move of %s to %s, and how that ended is not known here (haven status)",
			   domain_name(), target);
}

/* Why a failed move is not a failed guest is said here, for crm_mon to show. */
static int act_migrate_to(void)
{
	const char *target = env("OCF_RESKEY_CRM_meta_migrate_target", "");
	json_t *req, *options;
	struct where w;
	struct err err;
	long before = 0;
	int fd, rc = where_is_it(left_ms(), &w, &err);

	if (rc)
		return exit_reason(OCF_ERR_GENERIC, "%s stays where it is: %s", domain_name(), err.text);
	if (!*target)
		return exit_reason(OCF_ERR_ARGS, "migrate_to: Pacemaker named no target");
	if (!strcmp(w.copy, "none") && !strcmp(w.owner, target))
		return OCF_SUCCESS;	/* an earlier call moved it */
	/* what cannot move is asked for all the same: ha-agentd says why, and clears the failure for Pacemaker to see what is left */
	req = request("migrate-out");
	options = json_object();
	set_option(options, "max_downtime_ms", "OCF_RESKEY_max_downtime_ms");
	set_option(options, "deadline_s", "OCF_RESKEY_migration_deadline");
	set_option(options, "bandwidth_mbs", "OCF_RESKEY_bandwidth_mbs");
	set_option(options, "connections", "OCF_RESKEY_connections");
	set_option(options, "target_downtime_ms", "OCF_RESKEY_target_downtime_ms");
	if (env("OCF_RESKEY_converge", NULL))
		json_object_set_new(options, "converge", json_string(env("OCF_RESKEY_converge", "")));
	json_object_set_new(req, "target", json_string(target));
	json_object_set_new(req, "options", options);
	fd = msg_connect(AGENTD, &err);
	rc = fd < 0 ? fd : msg_call(fd, req, NULL, 0, NULL, NULL, NULL, (int)left_ms(), follow_progress, &before, &err);
	if (fd >= 0)
		close(fd);	/* ends the move when it is not over */
	json_decref(req);
	if (rc == 0)
		return OCF_SUCCESS;
	if (fd >= 0 && (rc == -ECONNRESET || rc == -EPIPE)) {
		rc = outcome_after_restart(target);
		return rc == OCF_SUCCESS ? rc : unseen_failure(rc);
	}
	if (before && (rc == -ETIMEDOUT || (rc == -ECANCELED && left_ms() == 0)))
		return exit_reason(OCF_ERR_GENERIC, "the move of %s to %s still waited for %ld others when migrate_to's time-out came, and was "
				   "cancelled; raise the time-out, or lower migration-limit", domain_name(), target, before);
	if (rc == -ETIMEDOUT || (rc == -ECANCELED && left_ms() == 0))
		return exit_reason(OCF_ERR_GENERIC, "the move of %s to %s did not end within migrate_to's time-out and was cancelled; raise "
				   "the time-out or max_downtime_ms", domain_name(), target);
	rc = exit_reason(OCF_ERR_GENERIC, "%s was not moved to %s: %s", domain_name(), target, err.text);
	return fd < 0 ? unseen_failure(rc) : rc;
}

static int act_migrate_from(void)
{
	json_t *req = request("migrate-in-wait");
	struct err err;
	int rc;

	json_object_set_new(req, "timeout_ms", json_integer(left_ms() > 1000 ? left_ms() - 500 : left_ms()));
	rc = ask(req, left_ms(), NULL, &err);
	return rc == 0 ? OCF_SUCCESS : exit_reason(OCF_ERR_GENERIC, "%s", err.text);
}

/* --- the rest -------------------------------------------------------------------------------------------------------- */

static void warn_of_problems(const json_t *reply)
{
	const json_t *node, *p;
	size_t i, k;

	json_array_foreach(json_object_get(reply, "nodes"), i, node)
		json_array_foreach(json_object_get(node, "problems"), k, p)
			fprintf(stderr, "WARNING: %s could not take %s: %s\n", json_string_value(json_object_get(node, "name")), domain_name(),
				json_string_value(p));
}

static int act_validate(void)
{
	json_t *config, *reply = NULL;
	struct err err;
	int rc;

	if (!*resource_name())
		return exit_reason(OCF_ERR_CONFIGURED, "OCF_RESOURCE_INSTANCE is not set");
	config = load_config(&rc, false);
	if (!config)
		return rc;
	json_decref(config);
	if (env_long("OCF_CHECK_LEVEL", 0) < 10)
		return OCF_SUCCESS;
	rc = ask(json_pack("{s:s}", "op", "ping"), left_ms(), NULL, &err);
	if (rc)
		return exit_reason(OCF_ERR_GENERIC, "%s", err.text);
	/* needs the domain in the directory, which before its first start it is not: then there is nothing to warn of */
	if (ask(request("check"), left_ms(), &reply, &err) == 0)
		warn_of_problems(reply);
	json_decref(reply);
	if (system("/usr/sbin/cibadmin --query --xpath \"//op_defaults/meta_attributes[@id='haven-op-migrate_to']\" >/dev/null 2>&1"))
		fputs("WARNING: the operation defaults of ocf:haven:DomU are missing, a failed move would restart the guest; run: haven setup\n",
		      stderr);
	return OCF_SUCCESS;
}

static const char metadata[] =
"<?xml version=\"1.0\"?>\n"
"<!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n"
"<resource-agent name=\"DomU\" version=\"0.1.0\">\n"
"<version>1.1</version>\n"
"<longdesc lang=\"en\">\n"
"A Xen DomU run by Haven on stock Linux. The domain is described by an xl.cfg; its owner is recorded in the cluster, so that it never\n"
"runs on two nodes, and it moves live without noticing. A failed or cancelled migration leaves it running where it was.\n"
"Monitor: 0 running (also while paused by a move or for lack of quorum), 7 cleanly stopped (also when the guest powered\n"
"itself off, or only an incoming copy is here), 1 when it cannot be told. Run \"haven setup\" once a cluster: it writes the operation\n"
"defaults that meta-data cannot carry (on-fail=block for migrations).\n"
"</longdesc>\n"
"<shortdesc lang=\"en\">Manages a Xen DomU under Haven</shortdesc>\n"
"<parameters>\n"
"<parameter name=\"config\" unique-group=\"config\" required=\"0\">\n"
"<longdesc lang=\"en\">Path of the xl.cfg. Needed on the node that starts the domain first; the cluster keeps a copy for the others.</longdesc>\n"
"<shortdesc lang=\"en\">xl.cfg</shortdesc><content type=\"string\" default=\"/etc/xen/RESOURCE.cfg\"/></parameter>\n"
"<parameter name=\"name\" unique-group=\"name\" required=\"0\">\n"
"<longdesc lang=\"en\">The domain's name, when it is not the resource's.</longdesc>\n"
"<shortdesc lang=\"en\">domain name</shortdesc><content type=\"string\" default=\"\"/></parameter>\n"
"<parameter name=\"shutdown_timeout\" reloadable=\"1\" required=\"0\">\n"
"<longdesc lang=\"en\">Seconds a stop waits for the guest to shut itself down before it is destroyed; at most half of the stop operation's time-out. 0: "
"destroyed at once.</longdesc>\n"
"<shortdesc lang=\"en\">graceful part of a stop</shortdesc><content type=\"integer\" default=\"60\"/></parameter>\n"
"<parameter name=\"max_downtime_ms\" reloadable=\"1\" required=\"0\">\n"
"<longdesc lang=\"en\">Milliseconds: the longest pause a move may make; 0: what the xl.cfg or haven.conf say, else 300.</longdesc>\n"
"<shortdesc lang=\"en\">longest pause of a move</shortdesc><content type=\"integer\" default=\"0\"/></parameter>\n"
"<parameter name=\"migration_deadline\" reloadable=\"1\" required=\"0\">\n"
"<longdesc lang=\"en\">Seconds after which a move that does not converge is given up; 0: migrated's default.</longdesc>\n"
"<shortdesc lang=\"en\">deadline of a move</shortdesc><content type=\"integer\" default=\"0\"/></parameter>\n"
"<parameter name=\"bandwidth_mbs\" reloadable=\"1\" required=\"0\">\n"
"<longdesc lang=\"en\">Upper bound of a move's rate in megabytes a second; 0: none.</longdesc>\n"
"<shortdesc lang=\"en\">bandwidth of a move</shortdesc><content type=\"integer\" default=\"0\"/></parameter>\n"
"<parameter name=\"connections\" reloadable=\"1\" required=\"0\">\n"
"<longdesc lang=\"en\">TLS connections a move uses; 0: migrated's default.</longdesc>\n"
"<shortdesc lang=\"en\">connections of a move</shortdesc><content type=\"integer\" default=\"0\"/></parameter>\n"
"<parameter name=\"target_downtime_ms\" reloadable=\"1\" required=\"0\">\n"
"<longdesc lang=\"en\">Milliseconds of pause a move aims at; 0: what the xl.cfg or haven.conf say, else 30.</longdesc>\n"
"<shortdesc lang=\"en\">pause a move aims at</shortdesc><content type=\"integer\" default=\"0\"/></parameter>\n"
"<parameter name=\"converge\" reloadable=\"1\" required=\"0\">\n"
"<longdesc lang=\"en\">What is done about a guest that writes its memory faster than the link carries it: throttle slows it down, postcopy lets it go on at the "
"target before all of its memory is there, no leaves it alone and gives the move up. Empty: what the xl.cfg or haven.conf say, else throttle.</longdesc>\n"
"<shortdesc lang=\"en\">how a move converges</shortdesc><content type=\"string\" default=\"\"/></parameter>\n"
"</parameters>\n"
"<actions>\n"
"<action name=\"start\" timeout=\"120s\"/>\n"
"<action name=\"stop\" timeout=\"120s\"/>\n"
"<action name=\"monitor\" timeout=\"30s\" interval=\"10s\" depth=\"0\"/>\n"
"<action name=\"monitor\" timeout=\"30s\" interval=\"60s\" depth=\"10\"/>\n"
"<action name=\"monitor\" timeout=\"30s\" interval=\"120s\" depth=\"20\"/>\n"
"<action name=\"migrate_to\" timeout=\"3600s\"/>\n"
"<action name=\"migrate_from\" timeout=\"120s\"/>\n"
"<action name=\"validate-all\" timeout=\"30s\" depth=\"0\"/>\n"
"<action name=\"validate-all\" timeout=\"30s\" depth=\"10\"/>\n"
"<action name=\"reload-agent\" timeout=\"30s\"/>\n"
"<action name=\"meta-data\" timeout=\"5s\"/>\n"
"</actions>\n"
"</resource-agent>\n";

static int act_metadata(void)
{
	fputs(metadata, stdout);
	return OCF_SUCCESS;
}

static int act_reload(void)
{
	return OCF_SUCCESS;	/* every reloadable parameter is read anew by the action that uses it */
}

static const struct { const char *name; int (*run)(void); bool root; } actions[] = {
	{ "start", act_start, true },
	{ "stop", act_stop, true },
	{ "monitor", act_monitor, true },
	{ "migrate_to", act_migrate_to, true },
	{ "migrate_from", act_migrate_from, true },
	{ "validate-all", act_validate, true },
	{ "reload-agent", act_reload, true },
	{ "meta-data", act_metadata, false },
};

int main(int argc, char **argv)
{
	int64_t timeout = env_long("OCF_RESKEY_CRM_meta_timeout", TIMEOUT_DEFAULT_MS);

	signal(SIGPIPE, SIG_IGN);
	deadline_ms = monotonic_ms() + (timeout > 3 * MARGIN_MS ? timeout - MARGIN_MS : timeout * 2 / 3);
	for (size_t i = 0; argc == 2 && i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(argv[1], actions[i].name))
			continue;
		if (actions[i].root && geteuid() != 0)
			return exit_reason(OCF_ERR_PERM, "needs root");
		if (actions[i].root && !*resource_name())
			return exit_reason(OCF_ERR_CONFIGURED, "OCF_RESOURCE_INSTANCE is not set: the agent is run by Pacemaker");
		return actions[i].run();
	}
	fputs("Usage: DomU start|stop|monitor|migrate_to|migrate_from|validate-all|reload-agent|meta-data (see ocf_haven_DomU(7))\n", stderr);
	return OCF_ERR_UNIMPLEMENTED;
}
