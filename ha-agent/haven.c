/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven - what a cluster adds to xl: setup, status, check, migrate by node name, drain, certificates, the operator's word.
 *
 * Holds: nothing. Hears: its command line, ha-agentd. May do: change Pacemaker's configuration through Pacemaker's tools,
 * make certificates; it moves nothing itself: Pacemaker does, and ha-agentd.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/haven.h"
#include "lib/msg.h"

static const struct haven_command *const commands[] = {
	&haven_cmd_status, &haven_cmd_setup, &haven_cmd_check, &haven_cmd_migrate, &haven_cmd_drain, &haven_cmd_undrain,
	&haven_cmd_cleanup, &haven_cmd_unmanage, &haven_cmd_manage, &haven_cmd_cert, &haven_cmd_resolve,
};

volatile int haven_interrupted;

int haven_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("haven: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return HAVEN_FAILED;
}

int haven_usage(const struct haven_command *c)
{
	fprintf(stderr, "Usage: haven %s %s\n", c->name, c->args);
	return HAVEN_USAGE;
}

static void on_interrupt(int sig)
{
	haven_interrupted = 1;
}

void haven_catch_interrupts(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

json_t *haven_status(void)
{
	json_t *reply = NULL;
	struct err err;

	if (msg_call_once("ha-agentd.sock", json_pack("{s:s}", "op", "status"), &reply, 10000, &err)) {
		haven_fail("%s", err.text);
		return NULL;
	}
	return reply;
}

const char *haven_str(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

bool haven_true(const json_t *j, const char *key)
{
	return json_is_true(json_object_get(j, key));
}

const json_t *haven_find_domain(const json_t *status, const char *name)
{
	const json_t *d, *found = NULL;
	size_t i;

	json_array_foreach(json_object_get(status, "domains"), i, d)
		if ((!strcmp(haven_str(d, "name"), name) || !strcmp(haven_str(d, "uuid"), name) || !strcmp(haven_str(d, "resource"), name)) &&
		    (!found || (!*haven_str(found, "owner") && *haven_str(d, "owner"))))
			found = d;
	return found;
}

const json_t *haven_find_node(const json_t *status, const char *name)
{
	const json_t *n;
	size_t i;

	json_array_foreach(json_object_get(status, "nodes"), i, n)
		if (!strcmp(haven_str(n, "name"), name))
			return n;
	return NULL;
}

static void print_help(void)
{
	puts("Usage: haven COMMAND [ARGUMENTS]\n\nCommands (haven COMMAND --help says more):");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		printf("  %-8s %-34s %s\n", commands[i]->name, commands[i]->args, commands[i]->summary);
	puts("\nExit status: 0 done; 1 failed, and the message says what the state is; 2 usage; 130 interrupted and put back.");
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help") || !strcmp(argv[1], "-h")) {
		print_help();
		return argc < 2 ? HAVEN_USAGE : HAVEN_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("haven (Haven) 0.1.0");
		return HAVEN_OK;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i]->name))
			continue;
		if (argc > 2 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
			printf("Usage: haven %s %s\n\n%s\n", commands[i]->name, commands[i]->args, commands[i]->help);
			return HAVEN_OK;
		}
		if (geteuid() != 0 && commands[i] != &haven_cmd_status)
			return haven_fail("%s needs root; run it with sudo", argv[1]);
		return commands[i]->run(argc - 1, argv + 1);
	}
	haven_fail("%s: no such command; haven --help lists them", argv[1]);
	return HAVEN_USAGE;
}
