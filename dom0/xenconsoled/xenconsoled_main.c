/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenconsoled - the consoles of this node's domains.
 *
 * Holds: a pty and a log file for each domain, and the channel its hv-domain relays the console ring over.
 * Hears: hypervisord on its socket (JSON, root); octets of guests and keystrokes of operators, which it copies and never reads.
 * May do: make ptys, append to and rotate /var/log/xen/console/guest-NAME.log: as a uid of its own from when its socket is open, which
 *	owns that folder and nothing else.
 */
#include "config.h"
#include "dom0/xenconsoled/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "lib/paths.h"
#include "lib/sandbox.h"

#define CONSOLES_MAX 512
#define CONSOLED_UID 199004	/* beside xenstored's 199003; needs no entry in passwd(5) */

struct consoled {
	qb_loop_t *loop;
	struct msg_server *server;
	int log_dir;		/* -1: no log is kept */
	struct console *consoles;
	unsigned n_consoles;
};

/* ---- requests ---- */

static struct console *console_find(struct consoled *d, int64_t domid)
{
	struct console *c;

	for (c = d->consoles; c; c = c->next)
		if (c->domid == domid)
			return c;
	return NULL;
}

static void console_drop(struct console *c, void *arg)
{
	struct consoled *d = arg;
	struct console **at;

	for (at = &d->consoles; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	d->n_consoles--;
	console_free(c);
}

static int console_make(struct consoled *d, uint32_t domid, const char *name, struct console **ret, struct err *err)
{
	int rc;

	if (d->n_consoles >= CONSOLES_MAX)
		return err_set(err, -EMFILE, "%u consoles are open; no more", d->n_consoles);
	rc = console_new(d->loop, domid, name, d->log_dir, ret, err);
	if (rc < 0)
		return rc;
	(*ret)->ended = console_drop;
	(*ret)->arg = d;
	(*ret)->next = d->consoles;
	d->consoles = *ret;
	d->n_consoles++;
	return 0;
}

static void op_attach(struct msg_call *call, void *daemon)
{
	struct consoled *d = daemon;
	struct console *c;
	struct err err = { 0 };
	const char *name;
	int64_t domid;
	int fd;

	if (!msg_call_int(call, "domid", &domid) || !msg_call_str(call, "name", &name))
		return;
	if (domid < 1 || domid > 0x7fef || !*name || strlen(name) >= sizeof(c->name)) {
		msg_error(call, -EINVAL, "attach: domid is 1 to 32751 and name has 1 to 255 octets");
		return;
	}
	c = console_find(d, domid);
	if (c && strcmp(c->name, name)) {	/* another domain had this domid: its pty is not this one's */
		console_drop(c, d);
		c = NULL;
	}
	if (!c && console_make(d, (uint32_t)domid, name, &c, &err) < 0) {
		msg_error_from(call, &err);
		return;
	}
	fd = msg_call_take_fd(call, 0);
	if (fd < 0 || console_attach(c, fd) < 0) {
		msg_error(call, -EBADF, "attach: domain %u: no channel came with the request", c->domid);
		return;
	}
	msg_reply(call, json_pack("{s:s}", "path", c->tty));
}

static void op_detach(struct msg_call *call, void *daemon)
{
	struct console *c;
	int64_t domid;

	if (!msg_call_int(call, "domid", &domid))
		return;
	c = console_find(daemon, domid);
	if (!c) {
		msg_error(call, -ENOENT, "domain %lld has no console here", (long long)domid);
		return;
	}
	console_detach(c);
	msg_reply(call, NULL);
}

static void op_list(struct msg_call *call, void *daemon)
{
	struct consoled *d = daemon;
	json_t *list = json_array();
	struct console *c;

	for (c = d->consoles; c; c = c->next)
		json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:s, s:b}", "domid", (int)c->domid, "name", c->name, "path",
						      c->tty, "log", c->log.path, "attached", c->channel >= 0));
	msg_reply(call, json_pack("{s:o}", "consoles", list));
}

static void op_path(struct msg_call *call, void *daemon)
{
	struct console *c;
	int64_t domid;

	if (!msg_call_int(call, "domid", &domid))
		return;
	c = console_find(daemon, domid);
	if (c)
		msg_reply(call, json_pack("{s:s}", "path", c->tty));
	else
		msg_error(call, -ENOENT, "domain %lld has no console here", (long long)domid);
}

static const struct msg_op ops[] = {
	{ "attach", MSG_ROOT, op_attach }, { "detach", MSG_ROOT, op_detach }, { "list", MSG_ROOT, op_list },
	{ "path", MSG_ROOT, op_path }, { NULL, MSG_ROOT, NULL },
};

/* ---- the process ---- */

static int sandbox_apply(struct err *err)
{
	static const struct sandbox_rule rules[] = {
		{ SCMP_SYS(accept4), "hypervisord" },
		{ SCMP_SYS(getsockopt), "who a client is (SO_PEERCRED)" },
		{ SCMP_SYS(socket), "xenstored, again after its restart; syslog" },
		{ SCMP_SYS(connect), "the same" },
		{ SCMP_SYS(openat), "ptys, logs; the black box of a crash; the time zone of log lines" },
		{ SCMP_SYS(ioctl), "ptys" },
		{ SCMP_SYS(rename), "log rotation" },
		{ SCMP_SYS(renameat), "the same" },
		{ SCMP_SYS(renameat2), "the same" },
		{ SCMP_SYS(statfs), "glibc's look at devpts" },
		{ SCMP_SYS(fstatfs), "the same" },
		{ SCMP_SYS(stat), "the same; the time zone of log lines" },
		{ SCMP_SYS(readlink), "glibc's name of a pty" },
		{ SCMP_SYS(unlink), "its socket, at the end; refused where the folder is root's, and the next start removes it" },
		{ SCMP_SYS(unlinkat), "the black box, at the end" },
		{ SCMP_SYS(ftruncate), "the black box of a crash" },
		{ SCMP_SYS(kill), "raise() after the black box" },
		{ SCMP_SYS(getuid), "grantpt()" },
		{ SCMP_SYS(geteuid), "the same" },
	};

	return sandbox_enter_daemon("xenconsoled", CONSOLED_UID, rules, sizeof(rules) / sizeof(rules[0]), err);
}

static int start(qb_loop_t *loop, void *arg, struct err *err)
{
	struct consoled *d = arg;
	int rc = msg_server_start(loop, "xenconsoled.sock", ops, d, NULL, "xenconsoled", &d->server, err);

	if (rc < 0)
		return rc;
	d->loop = loop;
	d->log_dir = console_log_folder(path_console_log(), CONSOLED_UID);
	if (d->log_dir < 0)
		log_warn("%s: %s; no console is logged", path_console_log(), strerror(-d->log_dir));
	return sandbox_apply(err);
}

static void end(void *arg)
{
	struct consoled *d = arg;

	while (d->consoles)
		console_drop(d->consoles, d);
	msg_server_stop(d->server);
}

#ifdef HAVEN_ASAN
/* LeakSanitizer stops its process with ptrace, from a clone, which inside the sandbox never ends. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }
#endif

int main(int argc, char **argv)
{
	static const struct daemon daemon = {
		.name = "xenconsoled", .what = "The consoles of this node's domains. Runs in the foreground; see xenconsoled(8).",
		.umask = 027, .start = start, .end = end,
	};
	static struct consoled d = { .log_dir = -1 };

	return daemon_main(&daemon, &d, argc, argv);
}
