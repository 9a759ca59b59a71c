/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl_domain.c - the commands that change a domain: create, shutdown, reboot, destroy, pause, save, restore, migrate. */
#include "dom0/xl/xl.h"
#include "dom0/xl/xl_format.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/atomic_file.h"
#include "lib/move_policy.h"
#include "lib/msg.h"
#include "lib/xlcfg.h"

#define CREATE_MS 120000
#define WAIT_POLL_MS 100
#define WAIT_FAILURES_MAX 100	/* 10 s of them */

enum { OPT_FORCE = 256, OPT_LIVE };
static const struct option long_options[] = {
	{ "force", 0, NULL, OPT_FORCE }, { "live", 0, NULL, OPT_LIVE }, { "dryrun", 0, NULL, 'n' }, { "quiet", 0, NULL, 'q' },
	{ "all", 0, NULL, 'a' }, { "wait", 0, NULL, 'w' }, { NULL, 0, NULL, 0 },
};

/* --- create --------------------------------------------------------------------------------------------------------------- */

/* The file's text with the command line's KEY=VALUE settings as further lines; later lines win as in xl. */
static int read_config(const char *path, int nr_vars, char **vars, json_t **ret)
{
	struct xlcfg_report report = { .error = "" };
	char *text = NULL;
	size_t n = 0;
	int rc = atomic_file_read(path, XLCFG_FILE_MAX, &text, &n);

	if (rc < 0)
		return xl_fail("%s: cannot read it: %s", path, strerror(-rc));
	for (int i = 0; i < nr_vars; i++) {
		size_t m = strlen(vars[i]);
		char *more = realloc(text, n + m + 3);

		if (!more) {
			free(text);
			return xl_fail("out of memory");
		}
		text = more;
		n += (size_t)sprintf(text + n, "\n%s\n", vars[i]);
	}
	rc = xlcfg_parse_text(path, text, n, NULL, ret, &report);
	free(text);
	for (size_t i = 0; i < report.n_warnings; i++)
		fprintf(stderr, "xl: warning: %s\n", report.warnings[i]);
	if (rc < 0)
		xl_fail("%s", report.error);
	xlcfg_report_done(&report);
	return rc < 0 ? XL_FAILED : XL_OK;
}

static int start_domain(json_t *config, bool paused, long long *ret_domid)
{
	const char *op = xl_clustered() ? "start" : "create", *daemon_sock = xl_clustered() ? "ha-agentd.sock" : "hypervisord.sock";
	json_t *reply = NULL;
	struct err err;
	int rc = msg_call_once(daemon_sock, json_pack("{s:s, s:O, s:b, s:i}", "op", op, "config", config, "paused", paused, "timeout_ms", CREATE_MS),
			       &reply, CREATE_MS, &err);

	if (rc == 0)
		*ret_domid = xl_int(reply, "domid");
	json_decref(reply);
	return rc < 0 ? xl_error(&err) : XL_OK;
}

int cmd_create(int argc, char **argv)
{
	bool console = false, paused = false, dry = false, force = false, quiet = false;
	json_t *config = NULL;
	long long domid = -1;
	const char *file = NULL;
	int c, rc;

	while ((c = getopt_long(argc, argv, "cpnFqdef:", long_options, NULL)) != -1) {
		switch (c) {
		case 'c': console = true; break;
		case 'p': paused = true; break;
		case 'n': dry = true; break;
		case 'f': file = optarg; break;
		case OPT_FORCE: force = true; break;
		case 'q': quiet = true; break;
		case 'F': case 'd': case 'e': break;      /* Xen's; nothing to do here */
		default: return xl_usage("create");
		}
	}
	if (!file && optind < argc)
		file = argv[optind++];
	if (!file)
		return xl_usage("create");
	if (!quiet) {
		printf("Parsing config from %s\n", file);
		fflush(stdout);
	}
	rc = read_config(file, argc - optind, argv + optind, &config);
	if (rc != XL_OK)
		return rc;
	if (dry) {
		json_t *shape = xl_format_config(config);

		json_dumpf(shape, stdout, JSON_INDENT(4));
		printf("\n");
		json_decref(shape);
	} else if (xl_refuse_managed(xl_str(config, "name"), force, "create", "crm_resource --meta -r %s -p target-role -v Started")) {
		rc = XL_FAILED;
	} else {
		rc = start_domain(config, paused, &domid);
	}
	json_decref(config);
	return rc == XL_OK && console && !dry ? xl_console_attach(domid) : rc;
}

/* --- shutdown, reboot, destroy, pause ---------------------------------------------------------------------------------------- */

/* Sends {"op": op, "domid": N}. */
static int simple_op(const char *op, long long domid)
{
	struct err err;

	return xl_hypervisord(json_pack("{s:s, s:I}", "op", op, "domid", (json_int_t)domid), NULL, &err) < 0 ? xl_error(&err) : XL_OK;
}

/* Shut down, and kept as it is because its configuration says so. */
static bool domain_is_kept(const json_t *d)
{
	static const char *const actions[] = { "on_poweroff", "on_reboot", NULL, "on_crash", "on_watchdog" };	/* by SHUTDOWN_* of xen/sched.h */
	long long reason = json_object_get(d, "shutdown_reason") ? xl_int(d, "shutdown_reason") : -1;

	return reason >= 0 && reason < (long long)(sizeof(actions) / sizeof(actions[0])) && actions[reason] &&
		strcmp(xl_str(json_object_get(d, "config"), actions[reason]), "preserve") == 0;
}

/*
 * Is this very domain still there and running? 1, 0, or -errno: nobody could say. One that came back under its uuid (a reboot)
 * has another start.
 */
static int domain_runs(const json_t *d, struct err *err)
{
	json_t *reply = NULL, *now;
	int rc = xl_hypervisord(json_pack("{s:s, s:s}", "op", "list", "uuid", xl_str(d, "uuid")), &reply, err), runs = 0;
	size_t i;

	json_array_foreach(json_object_get(reply, "domains"), i, now)
		if (xl_int(now, "started") == xl_int(d, "started") && !domain_is_kept(now))
			runs = 1;
	json_decref(reply);
	return rc < 0 && rc != -ENOENT ? rc : runs;
}

/* A hypervisord that restarts is no reason to give up; one that stays away is. */
static int wait_gone(const json_t *d)
{
	struct err err = { 0 };
	int r, failed = 0;

	while ((r = domain_runs(d, &err)) != 0) {
		failed = r < 0 ? failed + 1 : 0;
		if (failed > WAIT_FAILURES_MAX)
			return xl_fail("domain %lld was asked, but whether it is gone nobody can say: %s", xl_int(d, "domid"), err.text);
		usleep(WAIT_POLL_MS * 1000);
	}
	printf("Domain %lld has been shut down\n", xl_int(d, "domid"));
	return XL_OK;
}

static int ask_domain(const json_t *d, const char *op, bool force)
{
	const char *instead = strcmp(op, "reboot") == 0 ? "crm_resource --restart -r %s" : "crm_resource --meta -r %s -p target-role -v Stopped";

	if (xl_refuse_managed(xl_str(d, "name"), force, op, instead))
		return XL_FAILED;
	printf("%s domain %lld\n", strcmp(op, "reboot") == 0 ? "Rebooting" : "Shutting down", xl_int(d, "domid"));
	return simple_op(op, xl_int(d, "domid"));
}

static int shutdown_or_reboot(int argc, char **argv, const char *op)
{
	bool all = false, wait = false, force = false;
	json_t *domains = NULL, *d;
	struct err err;
	size_t i;
	int c, rc = XL_OK;

	while ((c = getopt_long(argc, argv, "awF", long_options, NULL)) != -1) {
		switch (c) {
		case 'a': all = true; break;
		case 'w': wait = true; break;
		case 'F': break;
		case OPT_FORCE: force = true; break;
		default: return xl_usage(op);
		}
	}
	if (all == (optind < argc))
		return xl_usage(op);
	if (all) {
		if (xl_list_all(&domains, &err) < 0)
			return xl_error(&err);
	} else {
		if (xl_find(argv[optind], &d, &err) < 0)
			return xl_error(&err);
		domains = json_pack("[o]", d);
	}
	json_array_foreach(domains, i, d)
		if (ask_domain(d, op, force) != XL_OK)
			rc = XL_FAILED;
	if (rc == XL_OK && wait) {
		printf("Waiting for %zu domains\n", json_array_size(domains));
		fflush(stdout);
		json_array_foreach(domains, i, d)
			if (wait_gone(d) != XL_OK)
				rc = XL_FAILED;
	}
	json_decref(domains);
	return rc;
}

int cmd_shutdown(int argc, char **argv) { return shutdown_or_reboot(argc, argv, "shutdown"); }
int cmd_reboot(int argc, char **argv) { return shutdown_or_reboot(argc, argv, "reboot"); }

/* In a cluster the record must say that the domain is gone, so ha-agentd does it. */
static int destroy_domain(const json_t *d)
{
	struct err err;

	if (!xl_clustered())
		return simple_op("destroy", xl_int(d, "domid"));
	return msg_call_once("ha-agentd.sock", json_pack("{s:s, s:s, s:b}", "op", "stop", "uuid", xl_str(d, "uuid"), "force", 1), NULL, CREATE_MS,
			     &err) < 0 ? xl_error(&err) : XL_OK;
}

int cmd_destroy(int argc, char **argv)
{
	bool force = false;
	struct err err;
	json_t *d;
	int c, rc;

	while ((c = getopt_long(argc, argv, "f", long_options, NULL)) != -1) {
		if (c != 'f' && c != OPT_FORCE)
			return xl_usage("destroy");
		force = true;
	}
	if (optind + 1 != argc)
		return xl_usage("destroy");
	if (xl_find(argv[optind], &d, &err) < 0)
		return xl_error(&err);
	if (xl_refuse_managed(xl_str(d, "name"), force, "destroy", "crm_resource --meta -r %s -p target-role -v Stopped"))
		rc = XL_FAILED;
	else
		rc = destroy_domain(d);
	json_decref(d);
	return rc;
}

static int pause_or_unpause(int argc, char **argv, const char *op)
{
	struct err err;
	json_t *d;
	int rc;

	if (argc != 2)
		return xl_usage(op);
	if (xl_find(argv[1], &d, &err) < 0)
		return xl_error(&err);
	rc = simple_op(op, xl_int(d, "domid"));
	json_decref(d);
	return rc;
}

int cmd_pause(int argc, char **argv) { return pause_or_unpause(argc, argv, "pause"); }
int cmd_unpause(int argc, char **argv) { return pause_or_unpause(argc, argv, "unpause"); }

/* --- save, restore, migrate ----------------------------------------------------------------------------------------------------- */

int xl_show_progress(const json_t *progress, void *arg)
{
	const char *phase = xl_str(progress, "phase");
	long long percent = xl_int(progress, "percent");

	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%s %3lld%%%s", *phase ? phase : (const char *)arg, percent, percent >= 100 ? "\n" : "");
	return 0;
}

/* A request with one descriptor, which is of `file`, to hypervisord, with progress. */
static int call_with_fd(json_t *request, const char *file, int fd, json_t **ret, const char *what)
{
	struct err err;
	int sock = msg_connect("hypervisord.sock", &err), rc;
	char label[16];

	snprintf(label, sizeof(label), "%s", what);
	if (sock < 0) {
		json_decref(request);
		return xl_error(&err);
	}
	rc = msg_call(sock, request, &fd, 1, ret, NULL, NULL, -1, xl_show_progress, label, &err);
	close(sock);
	json_decref(request);
	return rc < 0 ? xl_fail("%s: %s", file, err.text) : XL_OK;
}

/* `haven VERB RESOURCE [ROLE]`, waited for: what a cluster adds is its own. */
static int run_haven(const char *verb, const char *resource, const char *role)
{
	char *argv[] = { (char[]){ "haven" }, strdup(verb), strdup(resource), role ? strdup(role) : NULL, NULL };
	int status = 0, r = -1;
	pid_t pid;

	if (argv[1] && argv[2])
		r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	for (int i = 1; i < 4; i++)
		free(argv[i]);
	if (r)
		return xl_fail("cannot run haven: %s; is Haven installed completely?", strerror(r > 0 ? r : ENOMEM));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? XL_OK : XL_FAILED;
}

/* A save or a restore that began ends: half of one leaves a guest in a file nobody looks for, or a resource Pacemaker leaves alone. */
static void hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* The directory's epoch of the domain, which the file will carry; 0 without a cluster. */
static int epoch_of(const char *uuid, json_int_t *ret, struct err *err)
{
	json_t *reply = NULL;
	int rc = 0;

	*ret = 0;
	if (xl_clustered())
		rc = msg_call_once("ha-agentd.sock", json_pack("{s:s, s:s}", "op", "state", "uuid", uuid), &reply, 10000, err);
	if (rc == 0)
		*ret = xl_int(json_object_get(reply, "domain"), "epoch");
	json_decref(reply);
	return rc;
}

static int save_to(const json_t *d, const char *file, bool checkpoint, bool leave_paused)
{
	char tmp[PATH_MAX];
	json_int_t epoch;
	struct err err;
	int fd, rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.incomplete", file) >= sizeof(tmp))
		return xl_fail("%s: name too long", file);
	if (epoch_of(xl_str(d, "uuid"), &epoch, &err) < 0)
		return xl_error(&err);
	fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return xl_fail("%s: cannot write it: %s", tmp, strerror(errno));
	rc = call_with_fd(json_pack("{s:s, s:I, s:s, s:b, s:b, s:I}", "op", "save", "domid", (json_int_t)xl_int(d, "domid"), "path", file,
				    "checkpoint", checkpoint, "leave_paused", leave_paused, "epoch", epoch), file, fd, NULL, "saving");
	if (rc == XL_OK && rename(tmp, file) < 0)
		rc = xl_fail("%s: the domain is saved there, but it cannot be renamed to %s: %s", tmp, file, strerror(errno));
	else if (rc != XL_OK)
		unlink(tmp);
	close(fd);
	return rc;
}

/* Pacemaker looks away while the domain goes into the file, and finds a resource that is meant to be stopped. */
static int save_managed(const json_t *d, const char *resource, const char *file)
{
	int rc = run_haven("unmanage", resource, NULL);

	if (rc != XL_OK)
		return rc;
	rc = save_to(d, file, false, false);
	if (run_haven("manage", resource, rc == XL_OK ? "Stopped" : NULL) != XL_OK)
		rc = XL_FAILED;
	if (rc == XL_OK)
		printf("%s is saved, and its resource %s stopped; xl restore %s continues it, on any node\n", xl_str(d, "name"), resource, file);
	return rc;
}

int cmd_save(int argc, char **argv)
{
	bool checkpoint = false, leave_paused = false, force = false;
	char *resource = NULL;
	struct err err;
	json_t *d;
	int c, rc;

	while ((c = getopt_long(argc, argv, "cp", long_options, NULL)) != -1) {
		switch (c) {
		case 'c': checkpoint = true; break;
		case 'p': leave_paused = true; break;
		case OPT_FORCE: force = true; break;
		default: return xl_usage("save");
		}
	}
	if (optind + 2 != argc)
		return xl_usage("save");
	if (xl_find(argv[optind], &d, &err) < 0)
		return xl_error(&err);
	rc = checkpoint || leave_paused || force ? 0 : xl_managed(xl_str(d, "uuid"), &resource, &err);
	hold_signals();
	if (rc < 0)
		rc = xl_fail("save %s: whether Pacemaker manages it nobody can say: %s   (--force goes on regardless)", argv[optind], err.text);
	else if (resource)
		rc = save_managed(d, resource, argv[optind + 1]);
	else
		rc = save_to(d, argv[optind + 1], checkpoint, leave_paused);
	free(resource);
	json_decref(d);
	return rc;
}

/* --- restore --- */

static int agentd_restore(json_t *request, const char *file, int fd, json_t **ret)
{
	struct err err;
	int sock = msg_connect("ha-agentd.sock", &err), rc = sock;

	if (sock >= 0) {
		rc = msg_call(sock, request, &fd, 1, ret, NULL, NULL, -1, NULL, NULL, &err);
		close(sock);
	}
	json_decref(request);
	return rc < 0 ? xl_fail("%s: %s", file, err.text) : XL_OK;
}

/* In a cluster the domain is claimed first, as at a start; and Pacemaker looks again once it runs. */
static int restore_clustered(const char *file, int fd, bool paused, bool force, long long *ret_domid, long long *ret_saved_ns)
{
	json_t *info = NULL, *request, *reply = NULL;
	char *resource = NULL;
	struct err err;
	int rc = call_with_fd(json_pack("{s:s}", "op", "image-info"), file, fd, &info, "checking");

	if (rc != XL_OK)
		return rc;
	*ret_saved_ns = xl_int(info, "saved_realtime_ns");
	request = json_deep_copy(info);
	json_object_del(request, "ok");
	json_object_del(request, "saved_realtime_ns");
	json_object_update_new(request, json_pack("{s:s, s:b, s:b}", "op", "restore", "paused", paused, "force", force));
	json_object_set_new(request, "check", json_true());
	rc = agentd_restore(json_deep_copy(request), file, fd, NULL);
	json_object_del(request, "check");
	if (rc == XL_OK && xl_managed(xl_str(json_object_get(info, "config"), "uuid"), &resource, &err) < 0)
		rc = xl_error(&err);
	if (rc == XL_OK && resource)
		rc = run_haven("unmanage", resource, NULL);
	if (rc == XL_OK) {
		rc = agentd_restore(json_incref(request), file, fd, &reply);
		if (resource && run_haven("manage", resource, rc == XL_OK ? "Started" : NULL) != XL_OK)
			rc = XL_FAILED;
	}
	*ret_domid = xl_int(reply, "domid");
	json_decref(reply);
	json_decref(request);
	json_decref(info);
	free(resource);
	return rc;
}

static int restore_alone(const char *file, int fd, bool paused, bool force, long long *ret_domid, long long *ret_saved_ns)
{
	json_t *reply = NULL;
	int rc = call_with_fd(json_pack("{s:s, s:b, s:b}", "op", "restore", "paused", paused, "force", force), file, fd, &reply, "restoring");

	*ret_domid = xl_int(reply, "domid");
	*ret_saved_ns = xl_int(reply, "saved_realtime_ns");
	json_decref(reply);
	return rc;
}

static const char *span(long long s, char *buf, size_t size)
{
	if (s < 60)
		snprintf(buf, size, "%lld s", s);
	else
		snprintf(buf, size, "%lld d %02lld:%02lld:%02lld", s / 86400, s / 3600 % 24, s / 60 % 60, s % 60);
	return buf;
}

#define SLEEP_S 10                     /* docs/specs/image.md, "A sleep" */

/* The guest was not asked, so it is its operator who has to know. */
static void say_clocks(const char *file, long long saved_ns)
{
	struct timespec now;
	char text[64];
	long long s;

	clock_gettime(CLOCK_REALTIME, &now);
	s = (long long)now.tv_sec - saved_ns / 1000000000;
	if (!saved_ns)
		return;
	if (s < 0) {
		printf("%s was saved %s ahead of this node's clock: the guest's clocks stand where they were\n", file,
		       span(-s, text, sizeof(text)));
		return;
	}
	printf("%s was saved %s ago: the guest's clocks, monotonic ones too, %s\n", file, span(s, text, sizeof(text)),
	       s < SLEEP_S ? "have gone on by that time" : "go on by that time as soon as all its vCPUs are idle");
}

int cmd_restore(int argc, char **argv)
{
	bool console = false, paused = false, force = false;
	long long domid = -1, saved_ns = 0;
	int c, fd, rc;

	while ((c = getopt_long(argc, argv, "cp", long_options, NULL)) != -1) {
		switch (c) {
		case 'c': console = true; break;
		case 'p': paused = true; break;
		case OPT_FORCE: force = true; break;
		default: return xl_usage("restore");
		}
	}
	if (optind + 1 != argc)
		return xl_usage("restore");
	fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return xl_fail("%s: cannot read it: %s", argv[optind], strerror(errno));
	hold_signals();
	rc = (xl_clustered() ? restore_clustered : restore_alone)(argv[optind], fd, paused, force, &domid, &saved_ns);
	close(fd);
	if (rc == XL_OK)
		say_clocks(argv[optind], saved_ns);
	return rc == XL_OK && console ? xl_console_attach(domid) : rc;
}

/* argv is xl's own, from "migrate" on. */
static int migrate_by_haven(char **argv)
{
	char haven[] = "haven", *args[64] = { haven };

	for (size_t i = 0; argv[i]; i++) {
		if (i + 2 >= sizeof(args) / sizeof(args[0]))
			return xl_usage("migrate");
		args[i + 1] = argv[i];
	}
	execvp(haven, args);
	return xl_fail("cannot run haven: %s; is Haven installed completely?", strerror(errno));
}

/* Moves are the cluster's business: `haven migrate` goes through Pacemaker for a managed domain, and through ha-agentd else. */
int cmd_migrate(int argc, char **argv)
{
	json_t *options = json_object();
	const char *words[2] = { NULL, NULL };
	int n = 0, rc = 0, kept = 1;
	struct err err;

	for (int i = 1; i < argc && rc >= 0; i++) {
		int first = i;

		if (!strcmp(argv[i], "--live"))
			continue;
		rc = move_policy_argument(options, argc, argv, &i, &err);
		if (rc == 0 && (n == 2 || argv[i][0] == '-'))
			return xl_usage("migrate");
		if (rc == 0)
			words[n++] = argv[i];
		while (first <= i)
			argv[kept++] = argv[first++];
	}
	argv[kept] = NULL;
	if (rc < 0)
		rc = xl_error(&err);
	else if (n != 2)
		rc = xl_usage("migrate");
	else if (!xl_clustered())
		rc = xl_migrate_plain(words[0], words[1], options);
	else
		rc = migrate_by_haven(argv);
	json_decref(options);
	return rc;
}
