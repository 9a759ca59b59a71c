/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl.h - what xl's commands share: the command table's row, requests to the daemons, domains by name or number. */
#ifndef XL_H
#define XL_H

#include <stdbool.h>
#include <jansson.h>
#include "lib/err.h"

/* Exit codes: scripts of xl's users test for zero; the rest tells usage from failure. */
enum { XL_OK = 0, XL_FAILED = 1, XL_USAGE = 2 };

struct xl_command {
	const char *name;
	int (*run)(int argc, char **argv);     /* argv[0] is the command's name */
	const char *args;                      /* after the name, in the usage line */
	const char *summary;
	const char *options;                   /* a line an option, or NULL */
};
extern const struct xl_command xl_commands[];

int xl_usage(const char *name);                /* prints the usage of a command on stderr; XL_USAGE */
int xl_error(const struct err *err);           /* prints it; XL_FAILED */
int xl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* prints a line; XL_FAILED */

/* One request to hypervisord; reply may be NULL. Steals request. 0 or -errno with err. */
int xl_hypervisord(json_t *request, json_t **ret_reply, struct err *err);
/*
 * Domain object by name or domid as hypervisord lists it; new reference. -ENOENT with err naming what was asked for, and the
 * node it runs on when the cluster knows.
 */
int xl_find(const char *who, json_t **ret_domain, struct err *err);
int xl_list_all(json_t **ret_domains, struct err *err);     /* array, new reference */
const char *xl_str(const json_t *domain, const char *key);  /* "" when absent */
long long xl_int(const json_t *domain, const char *key);

bool xl_clustered(void);                        /* cluster.conf is there */
/* *ret: the resource that manages the domain, malloc'd, or NULL. -errno with err when ha-agentd cannot say. */
int xl_managed(const char *uuid, char **ret, struct err *err);
/*
 * True when Pacemaker manages the domain, or nobody can say whether, and force is not given: the refusal, naming the command to use instead, has been printed.
 * `instead` is a format with one %s for the resource.
 */
bool xl_refuse_managed(const char *name, bool force, const char *verb, const char *instead);

/* On a domain that Pacemaker manages: a line on stderr that says how long a change of the running domain lasts. */
void xl_note_managed(const char *name);

/* Store (read-only, over xenstored's public socket): value, malloc'd, or NULL. Directory: NULL-ended array, or NULL. */
char *xl_store_read(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char **xl_store_directory(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void xl_store_free(char **names);

int xl_console_attach(long long domid);
int xl_show_progress(const json_t *progress, void *arg);

/* A move between two hosts that are in no cluster, by migrated alone. */
/* options: an object of lib/move_policy.h's. */
int xl_migrate_plain(const char *who, const char *host, const json_t *options);

int cmd_create(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_vcpu_list(int argc, char **argv);
int cmd_block_list(int argc, char **argv);
int cmd_network_list(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_uptime(int argc, char **argv);
int cmd_domid(int argc, char **argv);
int cmd_domname(int argc, char **argv);
int cmd_console(int argc, char **argv);
int cmd_shutdown(int argc, char **argv);
int cmd_reboot(int argc, char **argv);
int cmd_destroy(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_unpause(int argc, char **argv);
int cmd_save(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_dmesg(int argc, char **argv);
int cmd_mem_set(int argc, char **argv);
int cmd_mem_max(int argc, char **argv);
int cmd_vcpu_set(int argc, char **argv);
int cmd_vcpu_pin(int argc, char **argv);
int cmd_sched_credit2(int argc, char **argv);
int cmd_block_attach(int argc, char **argv);
int cmd_block_detach(int argc, char **argv);
int cmd_network_attach(int argc, char **argv);
int cmd_network_detach(int argc, char **argv);
int cmd_sysrq(int argc, char **argv);
int cmd_trigger(int argc, char **argv);
int cmd_rename(int argc, char **argv);
int cmd_dump_core(int argc, char **argv);
int cmd_help(int argc, char **argv);

#endif
