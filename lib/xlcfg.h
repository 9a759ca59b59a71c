/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xl.cfg(5) to the canonical domain configuration (docs/specs/messages.md, "The domain configuration").
 *
 * Pure but for xlcfg_parse_file's one read: nothing named in the file is opened. The text may be hostile: size, nesting,
 * list and string lengths are bounded. Every complaint is one line "FILE:LINE:COLUMN: text".
 *
 *	struct xlcfg_report report;
 *	json_t *config;
 *	int rc = xlcfg_parse_file("/etc/xen/demo.cfg", &config, &report);
 *	for (i = 0; i < report.n_warnings; i++) puts(report.warnings[i]);
 *	if (rc < 0) puts(report.error);
 *	xlcfg_report_done(&report);
 */
#ifndef HAVEN_LIB_XLCFG_H
#define HAVEN_LIB_XLCFG_H

#include <stddef.h>
#include <jansson.h>

#define XLCFG_FILE_MAX (256u * 1024)	/* bytes of an xl.cfg */
#define XLCFG_CONFIG_MAX (48u * 1024)	/* bytes of the JSON made of it: it must fit a packet with room to spare */

struct xlcfg_report {
	char error[1024];	/* one line, empty when there was none */
	char **warnings;	/* one line each */
	size_t n_warnings;
};

/*
 * Reads and parses `path`. On success *ret_config is a new reference. The report is initialised here, filled on success
 * (warnings) and on failure, and the caller's to release with xlcfg_report_done. -ENOENT, -EACCES... when the file cannot be
 * read; -EINVAL for a syntax error or a bad value; -ENOTSUP for a key or value of Xen's that Haven does not support;
 * -E2BIG when a bound is passed; -ENOMEM.
 */
int xlcfg_parse_file(const char *path, json_t **ret_config, struct xlcfg_report *report);

/*
 * The same from memory: `name` stands for the file in messages, `cluster` enters the uuid derived for a domain that names
 * none (NULL: the cluster of this node's configuration, or none).
 */
int xlcfg_parse_text(const char *name, const char *text, size_t len, const char *cluster, json_t **ret_config,
		     struct xlcfg_report *report);

/*
 * One disk or network interface as its specification string says (xl-disk-configuration(5), xl-network-configuration(5)).  uuid is
 * the domain's, index the interface's number to be: an interface that names no mac gets one of them.
 */
int xlcfg_parse_disk(const char *spec, json_t **ret_disk, struct xlcfg_report *report);
int xlcfg_parse_vif(const char *spec, const char *uuid, unsigned index, json_t **ret_vif, struct xlcfg_report *report);

/* Releases what a report holds. Harmless on a zeroed or already released one. */
void xlcfg_report_done(struct xlcfg_report *report);

/* The uuid (36 characters and NUL) of a domain whose xl.cfg names none: RFC 4122 version 5 of cluster and domain name. */
void xlcfg_derive_uuid(const char *cluster, const char *domain, char uuid[37]);

/*
 * This node's cluster name: "cluster_name" (or "name") of cluster.conf in HAVEN_CONF_DIR; empty when there is no cluster.
 * Truncated to fit.
 */
void xlcfg_cluster_name(char *buf, size_t size);

#endif
