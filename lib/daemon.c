/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See daemon.h. */
#include "config.h"
#include "lib/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"

struct run {
	const struct daemon *d;
	void *arg;
	qb_loop_t *loop;
};

static int32_t on_signal(int32_t sig, void *data)
{
	struct run *r = data;

	if (r->d->term)
		r->d->term(r->arg);
	else
		qb_loop_stop(r->loop);
	return 0;
}

static int usage(const struct daemon *d, FILE *out, int status)
{
	fprintf(out, "usage: %s [--help] [--version]\n%s\n", d->name, d->what);
	return status;
}

/* -1: go on; else the exit code. */
static int options_read(const struct daemon *d, int argc, char **argv)
{
	static const struct option options[] = { { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		if (c == 'h')
			return usage(d, stdout, 0);
		if (c == 'V')
			return printf("%s (Haven) %s\n", d->name, PACKAGE_VERSION) < 0;
		return usage(d, stderr, 2);
	}
	return optind < argc ? usage(d, stderr, 2) : -1;
}

static int start(struct run *r, struct err *err)
{
	int rc;

	r->loop = qb_loop_create();
	if (!r->loop)
		return err_set(err, -ENOMEM, "out of memory");
	rc = r->d->start(r->loop, r->arg, err);
	if (rc < 0)
		return rc;
	if (qb_loop_signal_add(r->loop, QB_LOOP_HIGH, SIGTERM, r, on_signal, NULL) < 0 ||
	    qb_loop_signal_add(r->loop, QB_LOOP_HIGH, SIGINT, r, on_signal, NULL) < 0)
		return err_set(err, -ENOMEM, "it could not listen for signals");
	return 0;
}

int daemon_main(const struct daemon *d, void *arg, int argc, char **argv)
{
	struct run r = { .d = d, .arg = arg };
	struct err err = { 0 };
	int status = options_read(d, argc, argv);

	if (status >= 0)
		return status;
	if (geteuid()) {
		fprintf(stderr, "%s: only root can run it\n", d->name);
		return 1;
	}
	if (d->umask)
		umask(d->umask);
	signal(SIGPIPE, SIG_IGN);
	log_init(d->name);
	status = start(&r, &err) < 0;
	if (status) {
		log_err("%s", err.text);
		fprintf(stderr, "%s: %s\n", d->name, err.text);
	} else {
		log_info("ready");
		qb_loop_run(r.loop);
		if (d->end)
			d->end(arg);
	}
	log_fini();
	return status;
}
