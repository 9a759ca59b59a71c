/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xl_format.h - the columns of Xen's xl, octet for octet, since scripts cut them apart. Pure: what is printed comes in, where it
 * goes is `out`.
 */
#ifndef HAVEN_XL_FORMAT_H
#define HAVEN_XL_FORMAT_H

#include <stdbool.h>
#include <stdio.h>
#include <jansson.h>

struct xl_row {
	const char *name, *state, *uuid;
	long long domid, mib, vcpus, reason;	/* reason: of a shutdown; negative: none */
	double seconds;
};

void xl_format_list_header(FILE *out, bool verbose);
void xl_format_list(FILE *out, const struct xl_row *row, bool verbose);

void xl_format_vcpu_header(FILE *out);
/* `cpu` negative: it is on none; `state` "r--", "-b-" or "--p"; `hard`: the CPUs it is pinned to, or "all". */
void xl_format_vcpu(FILE *out, const char *name, long long domid, long long vcpu, long long cpu, const char *state, double seconds,
		    const char *hard);

void xl_format_credit2_header(FILE *out);
void xl_format_credit2(FILE *out, const char *name, long long domid, long long weight, long long cap);

void xl_format_uptime_header(FILE *out);
void xl_format_uptime(FILE *out, const char *name, long long domid, long long seconds);
void xl_format_uptime_short(FILE *out, const char *clock, const char *name, long long domid, long long seconds);

void xl_format_block_header(FILE *out);
void xl_format_block(FILE *out, const char *vdev, const char *state, const char *evtchn, const char *ring, const char *backend);

void xl_format_network_header(FILE *out);
void xl_format_network(FILE *out, const char *devid, const char *mac, const char *state, const char *evtchn, const char *tx_ring,
		       const char *rx_ring, const char *backend);

/* Haven's domain configuration in the shape of libxl's JSON ("c_info", "b_info", "disks", "nics"); a new reference. */
json_t *xl_format_config(const json_t *config);
/* One domain object as an item of `xl list -l`: domid, config, and under "haven" what libxl has no place for. New reference. */
json_t *xl_format_domain(const json_t *domain);

#endif
